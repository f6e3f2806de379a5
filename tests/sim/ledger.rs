//! The log beside the shards: what stands in which frame, what a crash may take back, and whether
//! what is found afterwards is a prefix of what ran that includes everything acknowledged.

use crate::model::{Bytes, Model};
use crate::workload::Hand;
use crate::world::{difference, dump, new_shards};
use millstream::error::StorageError;
use millstream::persist::aof::{Aof, AofOptions};
use millstream::persist::{Directory, Position, SyncPolicy};
use millstream::shard::Shard;
use millstream::shard::checkpoint::{self, Slice};
use millstream::shard::recovery::{self, Found, LoadProgress};
use millstream::testing::{Fault, FaultDisk};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the model needs to run a turn again.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Command { now: u64, in_hand: Option<Hand>, words: Vec<Bytes> },
    Expire { now: u64, hand: Hand },
    Forget { now: u64, hand: Hand },
}

/// How a run is logged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSetup {
    pub(crate) seed: u64,
    pub(crate) policy: SyncPolicy,
    /// Whether each turn logs also what no reply waits for: then nothing at all may differ.
    pub(crate) everything: bool,
}

/// The log and the model's side of it.
pub(crate) struct Ledger {
    setup: LogSetup,
    disk: FaultDisk,
    directory: Arc<Directory>,
    pub(crate) aof: Arc<Aof>,
    /// The snapshot that is being taken.
    pub(crate) snapshot: Option<Snapshot>,
    /// The newest snapshots that are whole.
    kept: Vec<Position>,
    /// The state when the log was opened.
    base: Model,
    /// Each frame since: its end, and what it holds.
    frames: Vec<(Position, Vec<Op>)>,
    /// Each shard's turn that has not ended.
    open: Vec<Vec<Op>>,
    /// The end of the last frame that touched each shard.
    touched: Vec<Position>,
    /// The frame that broke the log, and may be in it: where the log ended before, and what it
    /// holds.
    broken: Option<(Position, Vec<Op>)>,
    /// Whether the power is gone.
    is_off: bool,
}

/// A snapshot that is being taken.
pub(crate) struct Snapshot {
    position: Position,
    /// The model's state then, as of this time.
    now: u64,
    expected: String,
    epochs: Vec<u32>,
    slices: Vec<Slice>,
}

impl Ledger {
    pub(crate) fn new(setup: LogSetup, shards: usize, base: Model) -> Ledger {
        let disk = FaultDisk::new(setup.seed);
        let (directory, aof, _) =
            open(&disk, setup.policy, &mut new_shards(1, (0, false), true)).unwrap();
        Ledger {
            setup,
            disk,
            directory,
            aof,
            snapshot: None,
            kept: Vec::new(),
            base,
            frames: Vec::new(),
            open: vec![Vec::new(); shards],
            touched: vec![Position::default(); shards],
            broken: None,
            is_off: false,
        }
    }

    pub(crate) fn everything(&self) -> bool {
        self.setup.everything
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_off || self.broken.is_some() || self.aof.failure().is_some()
    }

    pub(crate) fn note(&mut self, shard: usize, op: Op) {
        self.open[shard].push(op);
    }

    /// Forgets what a turn did that left nothing to log.
    pub(crate) fn forget_turn(&mut self, shard: usize) {
        self.open[shard].clear();
    }

    /// What the end of a shard's turn gave; the turn had these shards in hand.
    pub(crate) fn turn_ended(
        &mut self,
        shard: usize,
        hand: &BTreeSet<usize>,
        before: Position,
        result: &Result<Position, StorageError>,
    ) -> Result<(), String> {
        let Ok(position) = result else {
            self.broken = Some((before, std::mem::take(&mut self.open[shard])));
            return Ok(());
        };
        if self.aof.failure().is_some() {
            // It took nothing that a reply waits for: whether the rest is in it is unknown.
            self.broken = Some((before, std::mem::take(&mut self.open[shard])));
            return Ok(());
        }
        if self.aof.end() > before {
            if *position != self.aof.end() {
                return Err(format!("a frame ends at {}, not at {position}", self.aof.end()));
            }
            self.frames.push((*position, std::mem::take(&mut self.open[shard])));
            hand.iter().for_each(|&n| self.touched[n] = *position);
        }
        match hand.iter().find(|&&n| self.touched[n] > *position) {
            Some(n) => Err(format!("a reply waits for {position}, before what shard {n} holds")),
            None => Ok(()),
        }
    }

    pub(crate) fn fail(&mut self, fault: Fault) {
        self.disk.fail(fault);
    }

    /// Fixes the state that the next snapshot has: every shard's turn has ended.
    pub(crate) fn begin_snapshot(&mut self, shards: &mut [Shard], model: &Model) {
        if self.kept.last() == Some(&self.aof.end()) && self.aof.append_mark().is_err() {
            return;
        }
        let epochs = shards.iter_mut().map(|shard| shard.keyspace_mut().begin_handover());
        self.snapshot = Some(Snapshot {
            position: self.aof.end(),
            now: model.now,
            expected: model.dump(true),
            epochs: epochs.collect(),
            slices: Vec::new(),
        });
        // The log goes on where it is if it cannot.
        drop(self.aof.rotate());
    }

    /// A shard hands over keys.
    pub(crate) fn hand_over(&mut self, shards: &mut [Shard], n: usize, budget: usize) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let mut frozen = Vec::new();
        shards[n].keyspace_mut().hand_over(budget, &mut frozen);
        snapshot.slices.push(Slice { shard: n.try_into().unwrap(), frozen });
    }

    /// Writes the snapshot; the power goes with an operation of that, if it has as many. True if
    /// there is a new one, which then has the state that it was to have.
    pub(crate) fn end_snapshot(
        &mut self,
        shards: &mut [Shard],
        cut: Option<u64>,
        rules: (usize, bool),
    ) -> Result<bool, String> {
        for n in 0..shards.len() {
            self.hand_over(shards, n, usize::MAX);
        }
        let Some(snapshot) = self.snapshot.take() else { return Ok(false) };
        let Snapshot { position, now, expected, epochs, slices } = snapshot;
        let off_at = cut.map(|operations| self.disk.operations() + operations);
        off_at.iter().for_each(|&at| self.disk.power_off_at(at));
        let mut slices = slices.into_iter();
        let aof = Some(&*self.aof);
        let taken = checkpoint::take(&self.directory, aof, position, &mut || Ok(slices.next()));
        if taken.is_ok() {
            self.kept.push(position);
            // What cannot be removed now is removed later.
            drop(checkpoint::retire(&self.directory, &self.aof, &mut self.kept));
        }
        for (shard, epoch) in shards.iter_mut().zip(epochs) {
            shard.keyspace_mut().end_handover(epoch);
        }
        self.is_off = off_at.is_some_and(|at| self.disk.operations() > at);
        if !self.is_off && cut.is_some() {
            self.disk.power_off_at(u64::MAX);
        }
        if taken.is_ok() {
            let mut loaded = new_shards(3, rules, true);
            let mut spaces: Vec<_> = loaded.iter_mut().map(Shard::keyspace_mut).collect();
            let disk = Arc::new(self.disk.kill());
            let directory = Directory::open(DIR, disk).map_err(|error| error.to_string())?;
            recovery::load(&directory, position, &mut spaces, &LoadProgress::default())
                .map_err(|error| format!("the snapshot does not load: {error}"))?;
            difference(&expected, &dump(&loaded, now, true))
                .map_err(|error| format!("the snapshot at {position}: {error}"))?;
        }
        Ok(taken.is_ok())
    }

    /// Ends the process, or the power too, and opens what is left with `count` shards.
    pub(crate) fn crash(
        &mut self,
        (seed, kill): (u64, bool),
        (count, rules): (u16, (usize, bool)),
        now: u64,
    ) -> Result<(Vec<Shard>, Model, bool), String> {
        let (durable, end) = (self.aof.durable(), self.aof.end());
        let promised = if kill && !self.is_broken() { end } else { durable };
        self.disk = if kill { self.disk.kill() } else { self.disk.crash(seed) };
        let mut shards = new_shards(count, rules, true);
        self.snapshot = None;
        let (directory, aof, found) = open(&self.disk, self.setup.policy, &mut shards)
            .map_err(|error| format!("the log does not open: {error}"))?;
        (self.directory, self.aof) = (directory, aof);
        if let Some(error) = found.damaged.first() {
            return Err(format!("a snapshot that has a name is not whole: {error}"));
        }
        self.kept = found.snapshot.iter().map(|loaded| loaded.position).collect();
        let found = found.log.end;
        shards.iter().for_each(|shard| shard.keyspace().check());
        if found < promised {
            return Err(format!("{promised} was promised, {found} is there"));
        }
        let lost = self.frames.iter().filter(|(position, _)| *position > found).count();
        let kept = self.frames.len() - lost;
        let mut ops: Vec<Op> =
            self.frames[..kept].iter().flat_map(|(_, ops)| ops).cloned().collect();
        let got = dump(&shards, now, self.setup.everything);
        // Only the log's end tells whether it is there: it may have changed nothing that a dump
        // shows, but which entries share a block, by which `~` goes.
        if let Some((before, broken)) = &self.broken
            && found > *before
        {
            ops.extend(broken.iter().cloned());
        }
        let model = self.replay(&ops, now);
        difference(&model.dump(self.setup.everything), &got)
            .map_err(|error| format!("after a crash at {found} of {end}: {error}"))?;
        shards.iter_mut().for_each(|shard| shard.reached(found));
        self.base = model.clone();
        self.frames.clear();
        self.open = vec![Vec::new(); usize::from(count)];
        self.touched = vec![Position::default(); usize::from(count)];
        self.broken = None;
        self.is_off = false;
        Ok((shards, model, !self.kept.is_empty()))
    }

    /// The model after these.
    fn replay(&self, ops: &[Op], now: u64) -> Model {
        let mut model = self.base.clone();
        for op in ops {
            match op {
                Op::Command { now, in_hand, words } => {
                    model.now = *now;
                    model.in_hand.clone_from(in_hand);
                    model.run(words);
                    model.in_hand = None;
                }
                Op::Expire { now, hand } => {
                    model.now = *now;
                    model.expire_due(|key| hand.holds(key));
                }
                Op::Forget { now, hand } => {
                    model.now = *now;
                    model.forget_idempotent_ids(hand);
                }
            }
        }
        model.now = now;
        model.forget_waits();
        model
    }
}

const DIR: &str = "data";

/// Opens what a disk has, and fills shards.
fn open(
    disk: &FaultDisk,
    policy: SyncPolicy,
    shards: &mut [Shard],
) -> Result<(Arc<Directory>, Arc<Aof>, Found), StorageError> {
    let options = AofOptions {
        policy,
        unsynced_bytes_max: 64 << 10,
        segment_bytes: 6 << 10,
        space_bytes: 32 << 10,
        reserve_bytes: 1 << 10,
        cuts_torn_end: true,
        sync_thread: false,
    };
    let directory = Directory::open(DIR, Arc::new(disk.clone()))?;
    let mut shards: Vec<&mut Shard> = shards.iter_mut().collect();
    let (aof, found) = recovery::open(&directory, options, &mut shards, &LoadProgress::default())?;
    Ok((directory, aof, found))
}
