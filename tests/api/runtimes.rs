//! Calls are futures that ask nothing of who polls them, and no poll waits for the disk.

use super::{memory, poll_once};
use millstream::persist::disk::{Access, Disk, DiskFile, OsDisk};
use millstream::{Db, Error, Fsync, Start, block_on};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, RwLock, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

/// Producers and consumers at once; how many entries went through.
async fn use_it(db: Arc<Db>, name: String) -> Result<u64, Error> {
    let jobs = db.stream(name);
    let worker = jobs.group("workers", Start::First).await?.consumer("w");
    let mut done = 0;
    for n in 0..50 {
        jobs.add([("n", n.to_string())]).await?;
        let job = worker.next().await?;
        done += u64::from(job.ack().await?);
    }
    Ok(done)
}

/// An executor of the simplest kind: a queue of tasks for two threads, so that a task goes on with
/// another thread's waker than it began with.
struct Executor {
    queue: Mutex<VecDeque<Arc<Task>>>,
    wanted: Condvar,
}

struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    executor: Weak<Executor>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if let Some(executor) = self.executor.upgrade() {
            executor.queue.lock().unwrap().push_back(self);
            executor.wanted.notify_one();
        }
    }
}

impl Executor {
    fn start() -> Arc<Executor> {
        let executor = Arc::new(Executor { queue: Mutex::default(), wanted: Condvar::new() });
        for _ in 0..2 {
            let executor = executor.clone();
            thread::spawn(move || executor.run());
        }
        executor
    }

    fn spawn(self: &Arc<Self>, future: impl Future<Output = ()> + Send + 'static) {
        let future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(future);
        Arc::new(Task { future: Mutex::new(Some(future)), executor: Arc::downgrade(self) }).wake();
    }

    fn run(&self) {
        loop {
            let queue = self.queue.lock().unwrap();
            let mut queue = self.wanted.wait_while(queue, |queue| queue.is_empty()).unwrap();
            let task = queue.pop_front().unwrap();
            drop(queue);
            let mut future = task.future.lock().unwrap();
            let waker = Waker::from(task.clone());
            if let Some(running) = &mut *future
                && running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
            {
                *future = None;
            }
        }
    }
}

#[test]
fn any_executor_may_poll() {
    let db = Arc::new(memory());
    let work = |name: &str| use_it(db.clone(), name.to_owned());
    assert_eq!(block_on(work("blocking")), Ok(50));

    let (tell, told) = std::sync::mpsc::channel();
    let executor = Executor::start();
    for n in 0..4 {
        let (work, tell) = (work(&format!("own-{n}")), tell.clone());
        executor.spawn(async move { tell.send(work.await).unwrap() });
    }
    assert_eq!(told.iter().take(4).collect::<Vec<_>>(), vec![Ok(50); 4]);

    for several in [false, true] {
        let mut builder = match several {
            true => tokio::runtime::Builder::new_multi_thread(),
            false => tokio::runtime::Builder::new_current_thread(),
        };
        let runtime = builder.enable_all().build().unwrap();
        let tasks: Vec<_> =
            (0..4).map(|n| runtime.spawn(work(&format!("tokio-{several}-{n}")))).collect();
        for task in tasks {
            assert_eq!(runtime.block_on(task).unwrap(), Ok(50));
        }
        // On its own thread, too, where waiting would stop the whole runtime.
        assert_eq!(runtime.block_on(work(&format!("tokio-{several}"))), Ok(50));
    }
}

/// A disk that takes nothing while somebody holds the lock.
struct Gated(Arc<RwLock<()>>);

struct GatedFile(Arc<dyn DiskFile>, Arc<RwLock<()>>);

impl Disk for Gated {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(GatedFile(OsDisk.open(path, access)?, self.0.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        OsDisk.free_bytes(dir)
    }

    fn seed(&self) -> u64 {
        OsDisk.seed()
    }
}

impl DiskFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _open = self.1.read().unwrap();
        self.0.write_at(bytes, offset)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }

    fn sync(&self) -> io::Result<()> {
        let _open = self.1.read().unwrap();
        self.0.sync()
    }

    fn drop_cache(&self) {
        self.0.drop_cache();
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn has_name(&self) -> io::Result<bool> {
        self.0.has_name()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }
}

#[test]
fn no_poll_waits_for_the_disk() {
    for fsync in [Fsync::Always, Fsync::EverySec] {
        let dir = tempfile::tempdir().unwrap();
        let gate = Arc::new(RwLock::new(()));
        let mut config = millstream::config::Config::default();
        config.dir = dir.path().join("queue");
        config.appendfsync = fsync;
        let db = Db::open_on(config, Arc::new(Gated(gate.clone()))).unwrap();
        let jobs = db.stream("jobs");
        let group = jobs.group("workers", Start::First).wait().unwrap();
        let (first, second) = (group.consumer("a"), group.consumer("b"));
        jobs.add_many(["one", "two"]).wait().unwrap();
        let (one, two) = (block_on(first.next()).unwrap(), block_on(second.next()).unwrap());

        let shut = gate.write().unwrap();
        let mut adding = pin!(jobs.add("three"));
        let mut acknowledging = pin!(one.ack());
        let mut giving_back = pin!(two.nack());
        let mut taking = pin!(first.next());
        // If one of these waited for the disk, it would wait forever.
        assert!(poll_once(adding.as_mut()).is_pending());
        assert!(poll_once(acknowledging.as_mut()).is_pending());
        assert!(poll_once(giving_back.as_mut()).is_pending());
        assert!(matches!(poll_once(taking.as_mut()), Poll::Pending));
        drop(shut);

        block_on(adding).unwrap();
        assert!(block_on(acknowledging).unwrap());
        block_on(giving_back).unwrap();
        let again = block_on(taking).unwrap();
        assert_eq!(again.bytes(), Some(&b"two"[..]));
        assert!(block_on(again.ack()).unwrap());
        assert_eq!(block_on(first.next()).unwrap().bytes(), Some(&b"three"[..]));
    }
}
