//! A panic with a shard in hand: the shard may be in any state, so nothing of it must be read or
//! logged any more, and the database stops for good. Later calls answer
//! [`Error::Stopped`](crate::error::Error::Stopped); what was logged before is there when it is
//! opened again. The server's process ends at a panic wherever it is (`main.rs`).

use super::Core;
use super::home::Message;
use crate::error::StorageError;
use std::sync::atomic::Ordering;

/// Held while shards are in hand.
pub(super) struct InHand<'a> {
    core: &'a Core,
    /// Whether the thread panicked before, elsewhere.
    panicked: bool,
}

impl Drop for InHand<'_> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicked {
            self.core.stop_for_good();
        }
    }
}

impl Core {
    /// To be held as long as shards are in hand.
    #[inline]
    pub(super) fn in_hand(&self) -> InHand<'_> {
        InHand { core: self, panicked: std::thread::panicking() }
    }

    /// Whether somebody has panicked with a shard in hand.
    #[inline]
    pub(super) fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Acquire)
    }

    #[cold]
    fn stop_for_good(&self) {
        self.panicked.store(true, Ordering::Release);
        tracing::error!("a command has panicked: the database stops");
        self.asking.close();
        for door in &self.doors {
            // A thread that has stopped already needs no telling.
            drop(door.send(Message::Stop));
        }
    }
}

/// Why a turn ends with nothing logged.
pub(super) fn panicked() -> StorageError {
    StorageError::Stopped("a command has panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::command::{Reply, Requests};
    use crate::config::Config;
    use crate::db::ask::{Answer, Ask};
    use crate::db::{Db, block_on};
    use crate::error::Error;
    use crate::testing::FaultDisk;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    fn open(disk: &FaultDisk, shards: &str) -> Db {
        let mut config = Config::default();
        let settings = [("shards", shards), ("enable-debug-command", "yes"), ("save", "")];
        for (name, value) in settings {
            config.apply(name, value).unwrap();
        }
        Db::open_on(config, Arc::new(disk.clone())).unwrap()
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
}
