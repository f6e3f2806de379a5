//! Real shards beside the model: every step runs on both, every reply is compared.

use crate::ledger::{Ledger, LogSetup, Op};
use crate::model::{Bytes, Model};
use crate::reply::{Reply, Wait, is_as_expected, show};
use crate::watch::Watches;
use crate::workload::{DATABASES, Hand, RESTORE_DUMP_OF, in_db, shard_of, slots, split_db};
use millstream::command::{Out, OwnedRequest, Protocol, Ran, table};
use millstream::config::NotifyFlags;
use millstream::keyspace::{Rules, Value};
use millstream::persist::Position;
use millstream::shard::waiters::{WaitCell, Woken};
use millstream::shard::{Blocker, Shard, Turn};
use millstream::stream::{BlockLimits, UnixMs};
use millstream::testing::Fault;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hash::RandomState;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Readers that wait at one time, at most.
const BLOCKED_MAX: usize = 10;

/// What a run is about.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) shards: u16,
    pub(crate) protocol: Protocol,
    pub(crate) block_entries: usize,
    pub(crate) log: Option<LogSetup>,
    /// Whether the profile is Valkey's.
    pub(crate) valkey: bool,
}

impl Setup {
    /// What the shards go by.
    fn rules(&self) -> (usize, bool) {
        (self.block_entries, self.valkey)
    }
}

/// One thing that happens, fully decided, so that it can be played again.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Commands at one time; several are a transaction.
    Run { now: u64, batch: Vec<Vec<Bytes>> },
    /// The periodic task of a shard.
    Tend { now: u64, shard: usize },
    /// Idempotent IDs whose time is over are forgotten, in a shard.
    Forget { now: u64, shard: usize },
    /// A key is watched from now on.
    Watch { db: u8, key: Bytes },
    /// A shard's turn ends. Without a log every step is a turn.
    EndTurn { shard: usize },
    /// The log is made durable.
    Sync,
    /// The log's periodic task.
    TendLog,
    /// The disk will fail.
    Fault(Fault),
    /// A snapshot begins, or a shard hands over some keys to it.
    Snapshot { shard: usize, budget: usize },
    /// The snapshot is written; the power goes with the operation of that number.
    Save { cut: Option<u64> },
    /// The process ends, or the power; then everything is opened again with so many shards.
    Crash { seed: u64, kill: bool, shards: u16 },
}

/// A reader that waits.
struct Blocked {
    cell: Arc<WaitCell>,
    woken: oneshot::Receiver<Woken>,
    deadline: Option<u64>,
}

/// Shards and model.
pub(crate) struct World {
    setup: Setup,
    pub(crate) shards: Vec<Shard>,
    pub(crate) model: Model,
    pub(crate) ledger: Option<Ledger>,
    blocked: BTreeMap<u64, Blocked>,
    /// Readers that were served in a turn that has not ended: its shard, and the reply.
    served: BTreeMap<u64, (usize, Reply)>,
    next_client: u64,
    watches: Watches,
    /// Everything that was answered.
    pub(crate) trace: Vec<u8>,
    pub(crate) figures: Figures,
}

/// What a run has covered.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) commands: usize,
    pub(crate) refused: usize,
    pub(crate) several_keys: usize,
    pub(crate) crossing: usize,
    pub(crate) waits: usize,
    pub(crate) served: usize,
    pub(crate) timed_out: usize,
    pub(crate) crashes: usize,
    pub(crate) snapshots: usize,
    pub(crate) from_snapshots: usize,
}

/// The settings all shards go by.
pub(crate) fn rules(block_entries: usize, valkey: bool) -> Arc<Rules> {
    Arc::new(Rules {
        blocks: BlockLimits { bytes: 0, entries: block_entries },
        notify: NotifyFlags::parse(b"AKE").unwrap(),
        valkey,
        ..Rules::default()
    })
}

/// Empty shards; they keep logs if `logged`.
pub(crate) fn new_shards(
    count: u16,
    (block_entries, valkey): (usize, bool),
    logged: bool,
) -> Vec<Shard> {
    let hasher = RandomState::new();
    let rules = rules(block_entries, valkey);
    (0..count).map(|n| Shard::new(slots(n, count), hasher.clone(), rules.clone(), logged)).collect()
}

impl World {
    pub(crate) fn new(setup: &Setup) -> World {
        let block_entries = setup.block_entries as u64;
        let resp3 = setup.protocol == Protocol::Resp3;
        let model = Model::new(block_entries, resp3, setup.valkey);
        let shards = usize::from(setup.shards);
        World {
            setup: setup.clone(),
            shards: new_shards(setup.shards, setup.rules(), setup.log.is_some()),
            ledger: setup.log.map(|log| Ledger::new(log, shards, model.clone())),
            model,
            blocked: BTreeMap::new(),
            served: BTreeMap::new(),
            next_client: 1,
            watches: Watches::default(),
            trace: Vec::new(),
            figures: Figures::default(),
        }
    }

    pub(crate) fn may_block(&self) -> bool {
        self.blocked.len() < BLOCKED_MAX
    }

    /// Does a step on both sides.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Step::Crash { seed, kill, shards } = step {
            return self.crash(*seed, *kill, *shards);
        }
        if self.ledger.as_ref().is_some_and(Ledger::is_broken) {
            return Ok(());
        }
        let shard = |shard: &usize| shard % self.shards.len();
        match step {
            Step::Run { now, batch } => {
                self.set_time(*now)?;
                self.run(batch)?;
            }
            Step::Tend { now, shard: n } => {
                let n = shard(n);
                self.set_time(*now)?;
                self.tend(n)?;
            }
            Step::Forget { now, shard: n } => {
                let n = shard(n);
                self.set_time(*now)?;
                self.forget(n)?;
            }
            Step::Watch { db, key } => {
                self.watches.add(&mut self.shards, &self.model, *db, key);
            }
            Step::EndTurn { shard: n } => self.end_turn(shard(n), &BTreeSet::new(), false)?,
            Step::Snapshot { shard: n, budget } => self.snapshot(shard(n), *budget)?,
            Step::Save { cut } => {
                let rules = self.setup.rules();
                if let Some(ledger) = &mut self.ledger {
                    let taken = ledger.end_snapshot(&mut self.shards, *cut, rules)?;
                    self.figures.snapshots += usize::from(taken);
                    self.trace.push(u8::from(taken));
                }
            }
            Step::Sync | Step::TendLog | Step::Fault(_) | Step::Crash { .. } => {
                self.log_step(step);
            }
        }
        self.shards.iter().for_each(|shard| shard.keyspace().check());
        self.watches.check(step, &self.model)
    }

    fn log_step(&mut self, step: &Step) {
        let Some(ledger) = &mut self.ledger else { return };
        match step {
            // A failure shows when a turn ends.
            Step::Sync => drop(ledger.aof.sync()),
            Step::TendLog => ledger.aof.tend(),
            Step::Fault(fault) => ledger.fail(*fault),
            Step::Run { .. }
            | Step::Tend { .. }
            | Step::Forget { .. }
            | Step::Watch { .. }
            | Step::EndTurn { .. }
            | Step::Snapshot { .. }
            | Step::Save { .. }
            | Step::Crash { .. } => {}
        }
    }

    /// Begins a snapshot, for which all shards are in hand; or one hands over keys to it.
    fn snapshot(&mut self, n: usize, budget: usize) -> Result<(), String> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        if ledger.snapshot.is_some() {
            ledger.hand_over(&mut self.shards, n, budget);
            return Ok(());
        }
        let all: BTreeSet<usize> = (0..self.shards.len()).collect();
        for &n in &all {
            self.end_turn(n, &BTreeSet::new(), true)?;
        }
        self.end_turn(0, &all, true)?;
        match &mut self.ledger {
            Some(ledger) if !ledger.is_broken() => {
                ledger.begin_snapshot(&mut self.shards, &self.model);
            }
            _ => {}
        }
        Ok(())
    }

    fn crash(&mut self, seed: u64, kill: bool, count: u16) -> Result<(), String> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        let now = self.model.now;
        self.shards.clear();
        let left = ledger.crash((seed, kill), (count, self.setup.rules()), now)?;
        (self.shards, self.model) = (left.0, left.1);
        self.figures.from_snapshots += usize::from(left.2);
        self.setup.shards = count;
        self.blocked.clear();
        self.served.clear();
        self.watches.clear();
        self.figures.crashes += 1;
        self.trace.extend(self.model.dump(true).as_bytes());
        Ok(())
    }

    fn forget(&mut self, shard: usize) -> Result<(), String> {
        let now = self.model.now;
        let hand = self.hand(&BTreeSet::from([shard]));
        Turn::new(&mut [&mut self.shards[shard]], UnixMs(now)).forget_idempotent_ids();
        self.model.forget_idempotent_ids(&hand);
        self.note(shard, Op::Forget { now, hand });
        self.serve(&BTreeSet::from([shard]), false)
    }

    fn hand(&self, shards: &BTreeSet<usize>) -> Hand {
        Hand { shards: shards.clone(), of: self.setup.shards }
    }

    fn note(&mut self, shard: usize, op: Op) {
        if let Some(ledger) = &mut self.ledger {
            ledger.note(shard, op);
        }
    }

    /// Sets the clock and ends the waits whose time is over.
    fn set_time(&mut self, now: u64) -> Result<(), String> {
        self.model.now = now;
        let over = |blocked: &Blocked| blocked.deadline.is_some_and(|at| at <= now);
        let over = self.blocked.iter().filter(|(_, blocked)| over(blocked));
        let over: Vec<u64> = over.map(|(client, _)| *client).collect();
        for client in over {
            if self.served.contains_key(&client) {
                // Its wait has ended already; it is told at the end of the turn.
                continue;
            }
            let blocked = self.blocked.remove(&client).unwrap();
            if !blocked.cell.wake(Woken::TimedOut) {
                return Err(format!("the wait of client {client} ended unseen"));
            }
            let mut hand: Vec<&mut Shard> = self.shards.iter_mut().collect();
            Turn::new(&mut hand, UnixMs(now)).unblock(client);
            self.model.unblock(client);
            self.figures.timed_out += 1;
        }
        Ok(())
    }

    /// The shards that commands need.
    fn shards_of(&mut self, batch: &[Vec<Bytes>]) -> BTreeSet<usize> {
        let count = self.setup.shards;
        let mut all = BTreeSet::new();
        for words in batch {
            let (_, words) = split_db(words);
            if words[0] == RESTORE_DUMP_OF {
                all.extend(words[1..].iter().map(|key| shard_of(key, count)));
                continue;
            }
            let request = OwnedRequest::new(words.iter().map(Vec::as_slice));
            let request = request.request();
            let Ok(row) = table::lookup(&request) else { continue };
            if ["flushall", "flushdb", "swapdb"].contains(&row.full_name()) {
                all.extend(0..usize::from(count));
            }
            let Ok(indexes) = table::keys(row, &request) else { continue };
            let keys: BTreeSet<&[u8]> = indexes.map(|at| request.arg(at)).collect();
            let mine: BTreeSet<usize> = keys.iter().map(|key| shard_of(key, count)).collect();
            self.figures.several_keys += usize::from(keys.len() > 1);
            self.figures.crossing += usize::from(mine.len() > 1);
            all.extend(mine);
        }
        if all.is_empty() {
            all.insert(0);
        }
        all
    }

    /// Makes ready for a turn of these shards; false if the log refuses.
    fn may_run(&mut self, hand: &BTreeSet<usize>) -> Result<bool, String> {
        let Some(ledger) = &self.ledger else { return Ok(true) };
        if ledger.aof.is_behind() || ledger.aof.room(8 << 10, true).is_err() {
            return Ok(false);
        }
        if hand.len() > 1 {
            // Before a shard lends itself it appends what its turn has done.
            for &n in hand {
                self.end_turn(n, &BTreeSet::new(), true)?;
            }
        }
        Ok(!self.ledger.as_ref().is_some_and(Ledger::is_broken))
    }

    fn run(&mut self, batch: &[Vec<Bytes>]) -> Result<(), String> {
        let hand_set = self.shards_of(batch);
        if !self.may_run(&hand_set)? {
            return Ok(());
        }
        let first = *hand_set.first().unwrap();
        let (now, protocol) = (UnixMs(self.model.now), self.setup.protocol);
        let mut wait = None;
        for words in batch {
            let expected = self.model.run(words);
            self.note(first, Op::Command { now: now.0, in_hand: None, words: words.clone() });
            let mut hand = in_hand(&mut self.shards, &hand_set);
            let mut turn = Turn::new(&mut hand, now);
            let mut got = Vec::new();
            let product_wait = run_on(&mut turn, words, protocol, &mut got);
            self.figures.commands += 1;
            self.figures.refused += usize::from(got.first() == Some(&b'-'));
            let expected = match (expected, product_wait) {
                (Reply::Waits(model), Some(product)) if batch.len() == 1 => {
                    compare_waits(&model, &product)?;
                    wait = Some((model, product));
                    continue;
                }
                (Reply::Waits(_), Some(_)) => {
                    Reply::NullArray.encode(protocol, &mut got);
                    Reply::NullArray
                }
                (reply, Some(_)) => {
                    return Err(format!("expected {reply:?}, the product waits"));
                }
                (reply, None) => reply,
            };
            let expected = expected.bytes(protocol);
            self.trace.extend_from_slice(&got);
            if !is_as_expected(&expected, &got) {
                let (expected, got) = (show(&expected), show(&got));
                return Err(format!("expected {expected}\n     got {got}"));
            }
        }
        let mut hand = in_hand(&mut self.shards, &hand_set);
        let mut turn = Turn::new(&mut hand, now);
        if let Some((model, product)) = wait {
            let (client, (cell, woken)) = (self.next_client, WaitCell::new());
            let deadline = (model.timeout_ms > 0).then(|| now.0 + model.timeout_ms);
            self.next_client += 1;
            let (db, _) = split_db(&batch[0]);
            turn.block(product, Blocker { client, cell: cell.clone(), db, protocol });
            self.model.block(client, db, *model);
            self.blocked.insert(client, Blocked { cell, woken, deadline });
            self.figures.waits += 1;
        }
        turn.serve();
        self.serve(&hand_set, false)
    }

    fn tend(&mut self, shard: usize) -> Result<(), String> {
        let set = BTreeSet::from([shard]);
        let hand = self.hand(&set);
        let now = self.model.now;
        Turn::new(&mut [&mut self.shards[shard]], UnixMs(now)).tend();
        self.model.expire_due(|key| hand.holds(key));
        self.note(shard, Op::Expire { now, hand });
        self.serve(&set, true)
    }

    /// Serves the model's waiters as the product has served its own, then ends the turn if every
    /// step is one, or if several shards were in hand.
    fn serve(&mut self, hand: &BTreeSet<usize>, retry: bool) -> Result<(), String> {
        let (now, first) = (self.model.now, *hand.first().unwrap());
        let in_hand = Some(self.hand(hand));
        let mut ops = Vec::new();
        let mut note = |words: &[Bytes]| {
            let in_hand = in_hand.clone();
            ops.push(Op::Command { now, in_hand, words: words.to_vec() });
        };
        self.model.in_hand.clone_from(&in_hand);
        let mut served = Vec::new();
        if retry {
            served.extend(self.model.retry(&mut note));
        }
        served.extend(self.model.serve(&mut note));
        self.model.in_hand = None;
        ops.into_iter().for_each(|op| self.note(first, op));
        for (client, reply) in served {
            if self.served.insert(client, (first, reply)).is_some() {
                return Err(format!("client {client} was served twice"));
            }
        }
        match &self.ledger {
            None => (0..self.shards.len()).try_for_each(|n| self.end_turn(n, hand, true)),
            Some(_) if hand.len() > 1 => self.end_turn(first, hand, true),
            Some(_) => Ok(()),
        }
    }

    /// Ends a shard's turn, which had these shards in hand, and compares who was served in it.
    fn end_turn(&mut self, n: usize, hand: &BTreeSet<usize>, all: bool) -> Result<(), String> {
        if self.ledger.as_ref().is_some_and(|ledger| ledger.is_broken()) {
            return Ok(());
        }
        let mut position = Position::default();
        if let Some(ledger) = &mut self.ledger {
            let (before, all) = (ledger.aof.end(), all || ledger.everything());
            let several = if hand.len() > 1 { hand.clone() } else { BTreeSet::from([n]) };
            let result = if hand.len() > 1 {
                let mut hand = in_hand(&mut self.shards, hand);
                Turn::new(&mut hand, UnixMs(self.model.now)).end(Some(&ledger.aof))
            } else {
                self.shards[n].end_turn(Some(&ledger.aof), all)
            };
            ledger.turn_ended(n, &several, before, &result)?;
            let Ok(reached) = result else { return Ok(()) };
            position = reached;
            if self.shards[n].unlogged_bytes() == 0 {
                ledger.forget_turn(n);
            }
        } else {
            self.shards[n].end_turn(None, true).map_err(|error| error.to_string())?;
        }
        self.shards[n].take_notices();
        self.shards[n].take_garbage();
        self.compare_served(n, position)
    }

    /// Compares which readers a turn has served, and with what.
    fn compare_served(&mut self, n: usize, position: Position) -> Result<(), String> {
        let mut gone = Vec::new();
        for (client, blocked) in &mut self.blocked {
            let got = match blocked.woken.try_recv() {
                Ok(Woken::Served(served)) if served.position == position => Some(served.reply),
                Ok(other) => return Err(format!("client {client} got {other:?} at {position}")),
                Err(_) => None,
            };
            let reply = self.served.get(client).filter(|(shard, _)| *shard == n);
            let reply = reply.map(|(_, reply)| reply.bytes(self.setup.protocol));
            if reply != got {
                let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| show(&bytes));
                let (reply, got) = (text(reply), text(got));
                return Err(format!("client {client} expects {reply:?}\n  it got {got:?}"));
            }
            if let Some(got) = got {
                self.trace.extend(got);
                gone.push(*client);
            }
        }
        self.figures.served += gone.len();
        for client in gone {
            self.blocked.remove(&client);
            self.served.remove(&client);
        }
        Ok(())
    }

    /// Compares the whole state.
    pub(crate) fn compare_state(&mut self) -> Result<(), String> {
        let (expected, got) = (self.model.dump(true), dump(&self.shards, self.model.now, true));
        self.trace.extend_from_slice(got.as_bytes());
        difference(&expected, &got)
    }
}

/// An error that shows where two dumps part.
pub(crate) fn difference(expected: &str, got: &str) -> Result<(), String> {
    if expected == got {
        return Ok(());
    }
    let (mut expected_lines, mut got_lines) = (expected.lines(), got.lines());
    let mut key = "";
    loop {
        let (expected, got) = (expected_lines.next(), got_lines.next());
        if expected != got {
            return Err(format!("state of {key}: expected {expected:?}\n     got {got:?}"));
        }
        key = expected.filter(|line| !line.starts_with(' ')).unwrap_or(key);
    }
}

/// The state of shards as the model dumps its own.
pub(crate) fn dump(shards: &[Shard], now: u64, with_lazy: bool) -> String {
    let mut keys = BTreeMap::new();
    for (shard, db) in shards.iter().flat_map(|shard| (0..DATABASES).map(move |db| (shard, db))) {
        for (_, slot) in shard.keyspace().database(db).slots_from(0) {
            if slot.expire_at().is_none_or(|at| at.0 > now) {
                keys.insert((db, slot.key.clone()), slot);
            }
        }
    }
    let mut out = String::new();
    for ((db, key), slot) in keys {
        let key = String::from_utf8_lossy(&key).escape_debug().to_string();
        writeln!(out, "{db} {key} expires {:?}", slot.expire_at().map(|at| at.0)).unwrap();
        match &slot.value {
            Value::String(string) => crate::model::dump_string(&mut out, string),
            Value::Stream(stream) => {
                crate::model::dump_image(&mut out, &stream.to_image(), with_lazy);
            }
        }
    }
    out
}

pub(crate) fn in_hand<'a>(shards: &'a mut [Shard], set: &BTreeSet<usize>) -> Vec<&'a mut Shard> {
    let shards = shards.iter_mut().enumerate();
    shards.filter(|(n, _)| set.contains(n)).map(|(_, shard)| shard).collect()
}

/// Runs a command on the product; its reply goes to `got` unless it waits.
pub(crate) fn run_on(
    turn: &mut Turn<'_, '_>,
    words: &[Bytes],
    protocol: Protocol,
    got: &mut Vec<u8>,
) -> Option<millstream::command::Wait> {
    let (db, words) = split_db(words);
    if words[0] == RESTORE_DUMP_OF {
        restore(turn, db, words, protocol, got);
        return None;
    }
    let request = OwnedRequest::new(words.iter().map(Vec::as_slice));
    let request = request.request();
    let mut out = Out::new(got, protocol);
    let ran = table::lookup(&request).and_then(|row| turn.run(row, &request, db, &mut out));
    match ran {
        Ok(Ran::Replied) => None,
        Ok(Ran::WouldBlock(wait)) => Some(*wait),
        Err(error) => {
            out.error(&error);
            None
        }
    }
}

/// DUMP, and RESTORE with REPLACE under another name.
fn restore(
    turn: &mut Turn<'_, '_>,
    db: u8,
    words: &[Bytes],
    protocol: Protocol,
    got: &mut Vec<u8>,
) {
    let mut dumped = Vec::new();
    let dump = in_db(db, vec![b"DUMP".to_vec(), words[1].clone()]);
    run_on(turn, &dump, protocol, &mut dumped);
    if !dumped.starts_with(b"$") || dumped.starts_with(b"$-1") {
        got.extend(dumped);
        return;
    }
    let head = dumped.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let payload = dumped[head..dumped.len() - 2].to_vec();
    let mut restore = vec![b"RESTORE".to_vec(), words[2].clone(), b"0".to_vec(), payload];
    restore.push(b"REPLACE".to_vec());
    run_on(turn, &in_db(db, restore), protocol, got);
}

fn compare_waits(model: &Wait, product: &millstream::command::Wait) -> Result<(), String> {
    let request = product.request.request();
    let product = Wait {
        timeout_ms: product.timeout_ms,
        keys: product.keys.iter().map(|key| key.to_vec()).collect(),
        group: product.group.as_ref().map(|group| group.to_vec()),
        claim: product.claim_idle_ms,
        retry_at: product.retry_at.map(|at| at.0),
        words: request.from(0).map(<[u8]>::to_vec).collect(),
    };
    if *model == product { Ok(()) } else { Err(format!("expected {model:?}\n got {product:?}")) }
}

impl Figures {
    pub(crate) fn add(&mut self, other: Figures) {
        self.commands += other.commands;
        self.refused += other.refused;
        self.several_keys += other.several_keys;
        self.crossing += other.crossing;
        self.waits += other.waits;
        self.served += other.served;
        self.timed_out += other.timed_out;
        self.crashes += other.crashes;
        self.snapshots += other.snapshots;
        self.from_snapshots += other.from_snapshots;
    }
}
