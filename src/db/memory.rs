//! What memory is used for, and MEMORY.

use super::info::percent;
use super::{Core, process};
use crate::command::Out;
use crate::command::table::Name;
use crate::keyspace::{DATABASES, Slot};
use crate::shard::Turn;
use crate::stream::UnixMs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What memory is used for, in bytes. The allocator keeps no count that is cheap to ask for, so
/// what is used is what is resident.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MemoryUse {
    /// All of it.
    pub(super) used: u64,
    /// The most that was ever used.
    pub(super) peak: u64,
    /// Used before there was anything to hold.
    pub(super) startup: u64,
    /// The buffers of clients.
    pub(super) clients: u64,
}

impl MemoryUse {
    /// What is no data.
    pub(super) fn overhead(&self) -> u64 {
        (self.startup + self.clients).min(self.used)
    }

    /// What is data.
    pub(super) fn dataset(&self) -> u64 {
        self.used - self.overhead()
    }
}

impl Core {
    /// What memory is used for.
    pub(super) fn memory_use(&self) -> MemoryUse {
        let process::Memory { resident, peak } = process::memory();
        MemoryUse {
            used: resident,
            peak,
            startup: self.identity.startup_bytes,
            clients: self.stats.sum(|thread| thread.client_bytes.get()),
        }
    }
}

/// MEMORY DOCTOR, MALLOC-STATS, PURGE, STATS.
pub(super) fn run(core: &Core, turn: &Turn<'_, '_>, name: Name, out: &mut Out<'_>) {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left is STATS")]
    match name {
        Name::MemoryDoctor => out.verbatim("Nothing about memory needs attention.\n"),
        Name::MemoryMallocStats => out.verbatim("Stats not supported for the current allocator"),
        Name::MemoryPurge => out.ok(),
        _ => statistics(core, turn, out),
    }
}

fn statistics(core: &Core, turn: &Turn<'_, '_>, out: &mut Out<'_>) {
    let used = core.memory_use();
    let keys_in = |db| turn.shards().map(move |shard| shard.keyspace().database(db).len()).sum();
    let databases: Vec<(u8, usize)> =
        (0..DATABASES).map(|db| (db, keys_in(db))).filter(|(_, keys)| *keys > 0).collect();
    let keys: u64 = databases.iter().map(|(_, keys)| *keys as u64).sum();
    let counts = [
        ("peak.allocated", used.peak),
        ("total.allocated", used.used),
        ("startup.allocated", used.startup),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", used.clients),
        ("cluster.links", 0),
        ("aof.buffer", turn.shards().map(|shard| shard.unlogged_bytes() as u64).sum()),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("script.VMs", 0),
    ];
    let more = [
        ("overhead.total", used.overhead()),
        ("keys.count", keys),
        ("keys.bytes-per-key", used.dataset().checked_div(keys).unwrap_or_default()),
        ("dataset.bytes", used.dataset()),
    ];
    let net = used.used.saturating_sub(used.startup);
    let ratios = [
        ("dataset.percentage", percent(used.dataset(), net)),
        ("peak.percentage", percent(used.used, used.peak)),
        ("fragmentation", 1.0),
    ];
    let allocator = [
        ("allocator.allocated", used.used),
        ("allocator.active", used.used),
        ("allocator.resident", used.used),
        ("fragmentation.bytes", 0),
    ];
    out.map(counts.len() + databases.len() + more.len() + ratios.len() + allocator.len());
    counts.iter().for_each(|(name, value)| figure(name, *value, out));
    for (db, keys) in &databases {
        out.bulk(format!("db.{db}").as_bytes());
        out.map(2);
        figure("overhead.hashtable.main", (keys * size_of::<Slot>()) as u64, out);
        figure("overhead.hashtable.expires", 0, out);
    }
    more.iter().for_each(|(name, value)| figure(name, *value, out));
    for (name, value) in &ratios {
        out.bulk(name.as_bytes());
        out.double(&value.to_string());
    }
    allocator.iter().for_each(|(name, value)| figure(name, *value, out));
}

fn figure(name: &str, value: u64, out: &mut Out<'_>) {
    out.bulk(name.as_bytes());
    out.unsigned(value);
}

/// The memory limit, and whether it is reached: the process's resident memory, looked at by at
/// most one command in a while, so that the others pay for a load.
#[derive(Debug, Default)]
pub(super) struct MemoryLimit {
    /// `maxmemory`; 0 is none.
    bytes: AtomicU64,
    looked_at: AtomicU64,
    reached: AtomicBool,
}

impl MemoryLimit {
    /// How old a look may be, in milliseconds. Chosen: at 100 MB a second the limit is overrun by
    /// half a megabyte.
    const LOOK_MS: u64 = 5;

    pub(super) fn new(bytes: u64) -> Self {
        MemoryLimit { bytes: AtomicU64::new(bytes), ..MemoryLimit::default() }
    }

    pub(super) fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.looked_at.store(0, Ordering::Relaxed);
    }

    /// Whether the process uses more than it may.
    pub(super) fn is_reached(&self, now: UnixMs) -> bool {
        let limit = self.bytes.load(Ordering::Relaxed);
        if limit == 0 {
            return false;
        }
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        if now.0.abs_diff(looked_at) >= Self::LOOK_MS {
            self.looked_at.store(now.0, Ordering::Relaxed);
            self.reached.store(process::resident() > limit, Ordering::Relaxed);
        }
        self.reached.load(Ordering::Relaxed)
    }
}
