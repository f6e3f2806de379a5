//! When a snapshot is due: at the save points, when the log has grown, after it has failed.
//!
//! Looked at once a second, and as soon as the log has grown by [`OUTGROWN`] times what calls for
//! one: a short queue at full speed logs a hundred megabytes in a second.

use super::{Cause, RETRY_DELAY, State, all_shards, begin};
use crate::config::Config;
use crate::db::Core;
use crate::db::home::Home;
use crate::error::StorageError;
use crate::persist::Position;
use crate::persist::aof::Aof;
use crate::shard::checkpoint;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// How many times what calls for a snapshot the log may have grown before the next look; chosen.
const OUTGROWN: u64 = 8;
/// How many times that may be kept behind the snapshot before; chosen.
const LATE: u64 = 4;

impl Core {
    /// To be told how a turn ended: has a snapshot begun if the log has outgrown the one before.
    #[inline]
    pub(in crate::db) fn log_has_grown(&self, end: &Result<Position, StorageError>) {
        let bound = self.saver.outgrown_at.load(Ordering::Relaxed);
        if end.as_ref().is_ok_and(|end| end.0 >= bound) {
            self.outgrown();
        }
    }

    #[cold]
    fn outgrown(&self) {
        // Once; who looks again says where.
        if self.saver.outgrown_at.swap(u64::MAX, Ordering::Relaxed) != u64::MAX {
            // A database that stops takes none.
            drop(self.call(0, begin_if_due));
        }
    }
}

/// Begins a snapshot if one is due. Called once a second on the first shard's thread.
pub(in crate::db) fn tick(home: &Rc<Home>) {
    let core = home.core();
    let state = core.saver.state();
    if state.running.is_none() {
        watch_growth(core, &state);
    }
    drop(state);
    begin_if_due(home);
}

fn begin_if_due(home: &Rc<Home>) {
    let core = home.core();
    let Some(cause) = due(core) else { return };
    let home = home.clone();
    tokio::task::spawn_local(async move {
        let core = home.core().clone();
        let set = all_shards(&core);
        // How it went is noted; of what has stopped nobody asks.
        drop(home.visit(&set, move |turn| begin(&core, turn, cause)).await);
    });
}

fn due(core: &Core) -> Option<Cause> {
    let (saver, config) = (&core.saver, core.config());
    let storage = saver.storage.get()?;
    let mut state = saver.state();
    let recent = state.tried.is_some_and(|tried| tried.elapsed() < RETRY_DELAY);
    if state.running.is_some() {
        return None;
    }
    let logging = saver.logging.load(Ordering::Acquire);
    if logging && storage.aof.is_broken() {
        return (!recent).then_some(Cause::Resume);
    }
    if let Some(cause) = state.scheduled.take() {
        return Some(cause);
    }
    let changes: u64 = saver.changes.iter().map(|changes| changes.load(Ordering::Relaxed)).sum();
    let points = config.save.iter().map(|point| (point.seconds, point.changes));
    let elapsed = state.saved.elapsed().as_secs();
    let may_save = state.save.ok || !recent;
    // Writes may be refused until one succeeds: then nothing else makes one due.
    let refuses = !logging && saver.is_failing() && refuses_when_failing(&config);
    if may_save && (refuses || checkpoint::is_due(points, elapsed, changes + state.unsaved)) {
        return Some(Cause::Save);
    }
    let may_rewrite = logging && (state.rewrite.ok || !recent);
    (may_rewrite && is_grown(&config, &state, &storage.aof)).then_some(Cause::Rewrite)
}

/// Whether writes are refused when there is no log and the last snapshot has failed.
pub(in crate::db) fn refuses_when_failing(config: &Config) -> bool {
    config.stop_writes_on_bgsave_error && !config.save.is_empty()
}

/// Whether the log has outgrown the newest snapshot; or what is kept of it is as much as only a
/// late snapshot leaves: another lets go of what is behind that.
fn is_grown(config: &Config, state: &State, aof: &Aof) -> bool {
    let percentage = u64::from(config.auto_aof_rewrite_percentage);
    let min_bytes = config.auto_aof_rewrite_min_size;
    let base = state.kept.last().copied().unwrap_or_default();
    let is_grown = |times: u64, log_bytes| {
        let (percentage, min_bytes) = (times * percentage, min_bytes.saturating_mul(times));
        checkpoint::is_grown(percentage, min_bytes, state.base_bytes, log_bytes)
    };
    is_grown(1, aof.end().0.saturating_sub(base.0)) || is_grown(LATE, aof.counters().kept_bytes)
}

/// Says where the log will have grown by so much that its snapshot is begun at once.
pub(super) fn watch_growth(core: &Core, state: &State) {
    let config = core.config();
    let percentage = u64::from(config.auto_aof_rewrite_percentage);
    let least = state.base_bytes.saturating_mul(percentage) / 100;
    let allowed = least.max(config.auto_aof_rewrite_min_size).saturating_mul(OUTGROWN);
    let base = state.kept.last().copied().unwrap_or_default();
    let at = if percentage == 0 { u64::MAX } else { base.0.saturating_add(allowed) };
    core.saver.outgrown_at.store(at, Ordering::Relaxed);
}
