//! The workloads, each after an example, without end; and the look at what they left.

use super::ledger::Found;
use millstream::command::typed::{NewId, XAdd};
use millstream::{CommandError, Consumer, Db, Delivery, EntryId, Error, Fsync, Start, Stream};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What a log keeps at least; it is trimmed in whole blocks.
const KEPT: usize = 200;
/// The rows of the table that is migrated.
const ROWS: u64 = 1500;
/// A workload waits when so much is left to do.
const BACKLOG: u64 = 50;
/// A child whose parent is gone ends by itself, after about so many jobs.
const JOBS_MAX: usize = 200_000;

/// Prints a line at once, whole.
fn say(what: &str, jobs: &[String]) {
    let line = format!("@{what} {}.\n", jobs.join(" "));
    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
        // Nobody reads any more.
        std::process::exit(1);
    }
}

/// Runs a workload until it is killed.
pub(crate) fn run(workload: &str, dir: &Path, life: u64) {
    // The test harness has begun a line.
    std::io::stdout().write_all(b"\n").unwrap();
    let fsync = if workload == "shutdown" { Fsync::Always } else { Fsync::EverySec };
    let db = Db::builder().dir(dir).appendfsync(fsync).open().unwrap();
    let names = Names { life, next: AtomicUsize::new(0) };
    let ran = match workload {
        "work_queue" => work_queue(&db, &names),
        "fan_out" => fan_out(&db, &names),
        "threads" => threads(&db, &names),
        "axum" => tasks(&db, names, 4),
        "shutdown" => tasks(&db, names, 1),
        "serve" => serve(&db, &names),
        "sqlite" => migrate(&db),
        _ => panic!("there is no such workload"),
    };
    ran.unwrap();
}

/// Names of jobs, none of which is ever used again.
struct Names {
    life: u64,
    next: AtomicUsize,
}

impl Names {
    fn next(&self) -> String {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(n < JOBS_MAX, "nobody has killed this process");
        format!("{}-{n}", self.life)
    }
}

/// The name that an entry was added under.
fn name(job: &Delivery) -> [String; 1] {
    [job.text("data").unwrap().to_owned()]
}

async fn add(jobs: &Stream, names: &Names, count: usize) -> Result<(), Error> {
    let batch: Vec<String> = (0..count).map(|_| names.next()).collect();
    say("add?", &batch);
    jobs.add_many(&batch).await?;
    say("add", &batch);
    Ok(())
}

fn acknowledge(job: Delivery) -> Result<(), Error> {
    let name = name(&job);
    say("ack?", &name);
    assert!(job.ack().wait()?);
    say("ack", &name);
    Ok(())
}

/// Adds three together; some fail and are tried again.
fn work_queue(db: &Db, names: &Names) -> Result<(), Error> {
    let jobs = db.stream("jobs");
    let group = jobs.group("workers", Start::First).wait()?;
    let group = group.delete_acknowledged().lease(Duration::from_millis(20));
    let worker = group.consumer("worker");
    let mut taken = 0_u64;
    loop {
        millstream::block_on(add(&jobs, names, 3))?;
        while let Some(job) = worker.take(1).wait()?.pop() {
            taken += 1;
            say("got", &name(&job));
            if taken.is_multiple_of(5) {
                drop(job);
                break;
            }
            acknowledge(job)?;
        }
    }
}

/// A trimmed log and its followers.
fn fan_out(db: &Db, names: &Names) -> Result<(), Error> {
    let log = db.stream("jobs").max_len(KEPT as u64);
    let mut follower = db.stream("jobs").follow(Start::New);
    thread::spawn(move || while follower.next_wait().is_ok() {});
    loop {
        let name = [names.next()];
        say("add?", &name);
        log.add(&name[0]).wait()?;
        say("add", &name);
    }
}

/// Two that add and two that work, without async.
fn threads(db: &Db, names: &Names) -> Result<(), Error> {
    let jobs = db.stream("jobs");
    let group = jobs.group("workers", Start::First).wait()?;
    let work = |worker: Consumer| -> Result<(), Error> {
        // What the life before has left; its leases are not over.
        let mut left = worker.pending(u64::MAX).wait()?;
        loop {
            let job = left.pop().map_or_else(|| worker.next_wait(), Ok)?;
            say("got", &name(&job));
            acknowledge(job)?;
        }
    };
    thread::scope(|scope| {
        for n in 0..2 {
            let (jobs, worker) = (jobs.clone(), group.consumer(format!("worker-{n}")));
            scope.spawn(move || work(worker));
            let group = group.clone();
            scope.spawn(move || {
                loop {
                    if group.pending().wait()?.count < BACKLOG {
                        millstream::block_on(add(&jobs, names, 1))?;
                    }
                }
                #[expect(unreachable_code, reason = "it tells the closure's type")]
                Ok::<(), Error>(())
            });
        }
    });
    Ok(())
}

/// Tasks on another runtime's threads: handlers that add, and one that works.
fn tasks(db: &Db, names: Names, adders: usize) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let names = std::sync::Arc::new(names);
    runtime.block_on(async {
        let jobs = db.stream("jobs");
        let group = jobs.group("workers", Start::First).await?;
        let group = group.delete_acknowledged().lease(Duration::from_millis(20));
        for _ in 0..adders {
            let (jobs, names) = (jobs.clone(), names.clone());
            tokio::spawn(async move {
                loop {
                    add(&jobs, &names, 2).await.unwrap();
                }
            });
        }
        let worker = group.consumer("worker");
        loop {
            let job = worker.next().await?;
            let name = name(&job);
            say("got", &name);
            say("ack?", &name);
            assert!(job.ack().await?);
            say("ack", &name);
        }
    })
}

/// A client adds over the wire, the program works.
fn serve(db: &Db, names: &Names) -> Result<(), Error> {
    let listening = db.serve("127.0.0.1:0")?;
    let url = format!("redis://{}", listening.address());
    let group = db.stream("jobs").group("workers", Start::First).wait()?;
    let group = group.delete_acknowledged().lease(Duration::from_millis(20));
    let worker = group.consumer("inside");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = redis::Client::open(url).unwrap().get_connection().unwrap();
            loop {
                let name = [names.next()];
                say("add?", &name);
                let add = ["jobs", "*", "data", &name[0]];
                redis::cmd("XADD").arg(&add).exec(&mut client).unwrap();
                say("add", &name);
            }
        });
        loop {
            let job = worker.next_wait()?;
            say("got", &name(&job));
            acknowledge(job)?;
        }
    })
}

/// Rows under their numbers, from the beginning in each life.
fn migrate(db: &Db) -> Result<(), Error> {
    loop {
        for row in 0..ROWS {
            let name = [format!("row-{row}")];
            say("add?", &name);
            let id = NewId::Given(EntryId::new(0, row + 1));
            let fields = vec![("data".into(), name[0].clone().into())];
            let add = XAdd { key: "jobs".into(), fields, id, ..XAdd::default() };
            match db.call(add).wait() {
                Ok(_) | Err(Error::Command(CommandError::IdTooSmall)) => {}
                Err(error) => return Err(error),
            }
            say("add", &name);
        }
    }
}

/// Opens a directory and tells what is in it.
pub(crate) fn look(workload: &str, dir: &Path) -> Found {
    let db = Db::builder().dir(dir).open().unwrap();
    let stream = db.stream("jobs");
    let names = |text: Option<&str>| text.unwrap().to_owned();
    let jobs = stream.range(..).wait().unwrap();
    let jobs = jobs.iter().map(|entry| names(entry.text("data"))).collect();
    let mut found = Found { jobs, left: None, kept: None };
    match workload {
        "fan_out" => found.kept = Some(KEPT),
        "sqlite" => {}
        _ => {
            let group = stream.group("workers", Start::First).wait().unwrap();
            let looker = group.lease(Duration::ZERO).consumer("looker");
            let all = looker.take(1_000_000).wait().unwrap();
            found.left = Some(all.iter().map(|job| names(job.text("data"))).collect());
            all.into_iter().for_each(|job| drop(job.keep()));
        }
    }
    db.close().unwrap();
    found
}
