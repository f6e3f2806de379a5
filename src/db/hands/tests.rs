//! Panics, wherever they happen, stop the database and lose nothing.

use crate::command::{Reply, Requests};
use crate::config::Config;
use crate::db::ask::{Answer, Ask};
use crate::db::{Db, block_on};
use crate::error::Error;
use crate::persist::disk::{Access, Disk, DiskFile};
use crate::testing::FaultDisk;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A disk on which the thread of a name panics when it syncs.
#[derive(Clone)]
struct Trap(FaultDisk, Arc<OnceLock<&'static str>>);

struct TrapFile(Arc<dyn DiskFile>, Arc<OnceLock<&'static str>>);

impl Disk for Trap {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(TrapFile(self.0.open(path, access)?, self.1.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        self.0.free_bytes(dir)
    }

    fn seed(&self) -> u64 {
        self.0.seed()
    }
}

impl DiskFile for TrapFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }

    fn sync(&self) -> io::Result<()> {
        let thread = std::thread::current();
        assert!(thread.name().is_none() || thread.name() != self.1.get().copied(), "the trap");
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

fn open(disk: &FaultDisk, shards: &str) -> Db {
    open_on(Arc::new(disk.clone()), shards)
}

fn open_on(disk: Arc<dyn Disk>, shards: &str) -> Db {
    let mut config = Config::default();
    let settings = [("shards", shards), ("enable-debug-command", "yes"), ("save", "")];
    for (name, value) in settings {
        config.apply(name, value).unwrap();
    }
    Db::open_on(config, disk).unwrap()
}

#[test]
fn a_panic_with_a_shard_in_hand_stops_the_database_for_good() {
    for (shards, waits) in [("1", true), ("1", false), ("4", true), ("4", false)] {
        let disk = FaultDisk::new(1);
        let db = open(&disk, shards);
        let ask = |words: &str| db.command(words.split(' ')).wait();
        for n in 0..20 {
            assert_eq!(ask(&format!("SET k{n} {n}")), Ok(Reply::Simple("OK".to_owned())));
        }
        // Half of it is in the turn when it panics, and must not be logged.
        let mut requests = Requests::new();
        for words in ["SET k0 half", "SET k1 half", "SET k2 half", "DEBUG PANIC"] {
            requests.args(words.split(' '));
            requests.end();
        }
        let core = db.core().clone();
        let bad = Ask { core, db: 0, requests, is_transaction: false, lost: None };
        let bad = Answer::new(bad, |_| Ok(()));
        let answer = if waits {
            catch_unwind(AssertUnwindSafe(|| bad.wait())).unwrap_or(Err(Error::Stopped))
        } else {
            block_on(bad)
        };
        assert_eq!(answer.unwrap_err(), Error::Stopped, "{shards}");
        for n in 0..20 {
            assert_eq!(ask(&format!("GET k{n}")), Err(Error::Stopped), "{shards}");
            let answer = block_on(db.command(["INCR", "n"]));
            assert_eq!(answer, Err(Error::Stopped), "{shards}");
        }
        assert_eq!(db.close(), Err(Error::Stopped));
        drop(db);
        let db = open(&disk, shards);
        for n in 0..20 {
            let reply = db.command(["GET", &format!("k{n}")]).wait().unwrap();
            assert_eq!(reply.as_text(), Some(&*n.to_string()), "{shards}");
        }
    }
}

#[test]
fn a_panic_of_a_thread_that_the_data_depends_on_stops_the_database_for_good() {
    for (thread, waits) in [
        ("snapshot", true),
        ("snapshot", false),
        ("millstream-sync", true),
        ("millstream-sync", false),
    ] {
        let trap = Trap(FaultDisk::new(1), Arc::default());
        let db = open_on(Arc::new(trap.clone()), "1");
        let ask = |words: &str| match waits {
            true => db.command(words.split(' ')).wait(),
            false => block_on(db.command(words.split(' '))),
        };
        ask("SET k v").unwrap();
        trap.1.set(thread).unwrap();
        if thread == "snapshot" {
            ask("BGSAVE").unwrap();
        } else {
            db.core().aof().unwrap().request_sync();
        }
        let end = Instant::now() + Duration::from_secs(60);
        // Until it is heard of everywhere, the log may refuse what changes something.
        while ask("SET k2 v") != Err(Error::Stopped) {
            assert!(Instant::now() < end, "{thread} has panicked");
        }
        assert_eq!(ask("GET k"), Err(Error::Stopped), "{thread}");
        assert!(db.close().is_err(), "{thread}");
        drop(db);
        let db = open(&trap.0.kill(), "1");
        assert_eq!(db.command(["GET", "k"]).wait().unwrap().as_text(), Some("v"), "{thread}");
    }
}
