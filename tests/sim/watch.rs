//! Watched keys: whatever changes one must set its flag, and nothing else may.

use crate::model::{Bytes, Model};
use crate::workload::{shard_of, split_db};
use crate::world::Step;
use millstream::shard::Shard;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keys that are watched at one time, at most; the oldest goes.
const WATCHED_MAX: usize = 6;

/// A watched key.
struct Watched {
    db: u8,
    key: Bytes,
    flag: Arc<AtomicBool>,
    /// What it held when the watch began.
    held: String,
    /// Whether something may have concerned it since.
    concerned: bool,
}

/// All that are watched.
#[derive(Default)]
pub(crate) struct Watches {
    all: Vec<Watched>,
}

impl Watches {
    /// Begins a watch.
    pub(crate) fn add(&mut self, shards: &mut [Shard], model: &Model, db: u8, key: &Bytes) {
        if self.all.len() == WATCHED_MAX {
            let old = self.all.remove(0);
            self.space(shards, &old.key).unwatch(old.db, &old.key, &old.flag);
        }
        let flag = Arc::default();
        self.space(shards, key).watch(db, key, &flag);
        let (held, concerned) = (model.dump_of(db, key), false);
        self.all.push(Watched { db, key: key.clone(), flag, held, concerned });
    }

    fn space<'s>(
        &self,
        shards: &'s mut [Shard],
        key: &[u8],
    ) -> &'s mut millstream::keyspace::Keyspace {
        let count = u16::try_from(shards.len()).unwrap();
        shards[shard_of(key, count)].keyspace_mut()
    }

    /// Forgets all, as a crash does.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    /// Compares the flags with what the keys hold after a step.
    pub(crate) fn check(&mut self, step: &Step, model: &Model) -> Result<(), String> {
        for watched in &mut self.all {
            let Watched { db, key, flag, held, .. } = watched;
            let is_set = flag.load(Ordering::Acquire);
            let changed = model.dump_of(*db, key) != *held;
            watched.concerned |= changed || concerns(step, *db, key);
            let name = String::from_utf8_lossy(key);
            if changed && !is_set {
                return Err(format!("{name} of {db} has changed, and its watcher does not know"));
            }
            if is_set && !watched.concerned {
                return Err(format!("nothing concerned {name} of {db}, and its watcher aborts"));
            }
        }
        Ok(())
    }
}

/// Whether a step may have to do with a key: any but one that runs commands without it.
fn concerns(step: &Step, db: u8, key: &Bytes) -> bool {
    let Step::Run { batch, .. } = step else { return !matches!(step, Step::EndTurn { .. }) };
    batch.iter().any(|words| {
        let (of, words) = split_db(words);
        let across = [&b"MOVE"[..], b"SWAPDB", b"COPY", b"FLUSHALL", b"FLUSHDB"];
        across.contains(&words[0].as_slice()) || (of == db && words.contains(key))
    })
}
