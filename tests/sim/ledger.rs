//! The log beside the shards: what stands in which frame, what a crash may take back, and whether
//! what is found afterwards is a prefix of what ran that includes everything acknowledged.

use crate::model::{Bytes, Model};
use crate::workload::Hand;
use crate::world::{difference, dump, new_shards};
use millstream::error::StorageError;
use millstream::keyspace::{Change, Keyspace, Spaces};
use millstream::persist::aof::{Aof, AofOptions};
use millstream::persist::{Directory, Position, SyncPolicy};
use millstream::shard::Shard;
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
    pub(crate) aof: Arc<Aof>,
    /// The state when the log was opened.
    base: Model,
    /// Each frame since: its end, and what it holds.
    frames: Vec<(Position, Vec<Op>)>,
    /// Each shard's turn that has not ended.
    open: Vec<Vec<Op>>,
    /// The end of the last frame that touched each shard.
    touched: Vec<Position>,
    /// The frame that broke the log, and may be in it.
    broken: Option<Vec<Op>>,
}

impl Ledger {
    pub(crate) fn new(setup: LogSetup, shards: usize, base: Model) -> Ledger {
        let disk = FaultDisk::new(setup.seed);
        let (aof, _) = open(&disk, setup.policy, &mut []).unwrap();
        Ledger {
            setup,
            disk,
            aof,
            base,
            frames: Vec::new(),
            open: vec![Vec::new(); shards],
            touched: vec![Position::default(); shards],
            broken: None,
        }
    }

    pub(crate) fn everything(&self) -> bool {
        self.setup.everything
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some() || self.aof.failure().is_some()
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
            self.broken = Some(std::mem::take(&mut self.open[shard]));
            return Ok(());
        };
        if self.aof.failure().is_some() {
            // It took nothing that a reply waits for: whether the rest is in it is unknown.
            self.broken = Some(std::mem::take(&mut self.open[shard]));
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

    /// Ends the process, or the power too, and opens what is left with `count` shards.
    pub(crate) fn crash(
        &mut self,
        (seed, kill): (u64, bool),
        (count, rules): (u16, (usize, bool)),
        now: u64,
    ) -> Result<(Vec<Shard>, Model), String> {
        let (durable, end) = (self.aof.durable(), self.aof.end());
        let promised = if kill && !self.is_broken() { end } else { durable };
        self.disk = if kill { self.disk.kill() } else { self.disk.crash(seed) };
        let mut shards = new_shards(count, rules, true);
        let (aof, found) = open(&self.disk, self.setup.policy, &mut shards)
            .map_err(|error| format!("the log does not open: {error}"))?;
        self.aof = aof;
        shards.iter().for_each(|shard| shard.keyspace().check());
        if found < promised {
            return Err(format!("{promised} was promised, {found} is there"));
        }
        let lost = self.frames.iter().filter(|(position, _)| *position > found).count();
        let kept = self.frames.len() - lost;
        let mut ops: Vec<Op> =
            self.frames[..kept].iter().flat_map(|(_, ops)| ops).cloned().collect();
        let got = dump(&shards, now, self.setup.everything);
        let mut model = self.replay(&ops, now);
        let mut same = difference(&model.dump(self.setup.everything), &got);
        if let (Err(_), 0, Some(broken)) = (&same, lost, &self.broken) {
            ops.extend(broken.iter().cloned());
            model = self.replay(&ops, now);
            same = difference(&model.dump(self.setup.everything), &got);
        }
        same.map_err(|error| format!("after a crash at {found} of {end}: {error}"))?;
        shards.iter_mut().for_each(|shard| shard.reached(found));
        self.base = model.clone();
        self.frames.clear();
        self.open = vec![Vec::new(); usize::from(count)];
        self.touched = vec![Position::default(); usize::from(count)];
        self.broken = None;
        Ok((shards, model))
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

/// Opens the log of a disk and replays it; gives its end.
fn open(
    disk: &FaultDisk,
    policy: SyncPolicy,
    shards: &mut [Shard],
) -> Result<(Arc<Aof>, Position), StorageError> {
    let options = AofOptions {
        policy,
        unsynced_bytes_max: 64 << 10,
        segment_bytes: 6 << 10,
        space_bytes: 32 << 10,
        reserve_bytes: 1 << 10,
        sync_thread: false,
    };
    let directory = Directory::open("data", Arc::new(disk.clone()))?;
    let mut keyspaces: Vec<&mut Keyspace> =
        shards.iter_mut().map(|shard| shard.keyspace_mut()).collect();
    let (aof, found) = Aof::open(directory, options, Position::default(), &mut |at, payload| {
        let mut spaces = Spaces::new(&mut keyspaces);
        Change::decode_all(payload, &mut |change| spaces.apply(&change)).map_err(|error| {
            StorageError::Damaged {
                path: "data".into(),
                offset: at.0,
                reason: format!("a change does not apply: {error}"),
            }
        })
    })?;
    drop(keyspaces);
    Ok((aof, found.end))
}
