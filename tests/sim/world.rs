//! Real shards beside the model: every step runs on both, every reply is compared.

use crate::model::{Bytes, Model};
use crate::reply::{Reply, Wait, is_as_expected, show};
use crate::workload::{KEYS, shard_of, slots};
use millstream::command::{Out, OwnedRequest, Protocol, Ran, table};
use millstream::config::NotifyFlags;
use millstream::keyspace::{Rules, Value};
use millstream::shard::waiters::{WaitCell, Woken};
use millstream::shard::{Blocker, Shard, Turn};
use millstream::stream::{BlockLimits, UnixMs};
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
    blocked: BTreeMap<u64, Blocked>,
    next_client: u64,
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
}

/// The settings all shards go by.
pub(crate) fn rules(block_entries: usize) -> Arc<Rules> {
    Arc::new(Rules {
        blocks: BlockLimits { bytes: 0, entries: block_entries },
        idmp_duration_s: 100,
        idmp_maxsize: 100,
        notify: NotifyFlags::parse(b"AKE").unwrap(),
        valkey: false,
    })
}

/// Empty shards; they keep logs if `logged`.
pub(crate) fn new_shards(count: u16, block_entries: usize, logged: bool) -> Vec<Shard> {
    let hasher = RandomState::new();
    let rules = rules(block_entries);
    (0..count).map(|n| Shard::new(slots(n, count), hasher.clone(), rules.clone(), logged)).collect()
}

impl World {
    pub(crate) fn new(setup: &Setup) -> World {
        let block_entries = setup.block_entries as u64;
        let resp3 = setup.protocol == Protocol::Resp3;
        World {
            setup: setup.clone(),
            shards: new_shards(setup.shards, setup.block_entries, false),
            model: Model::new(block_entries, resp3),
            blocked: BTreeMap::new(),
            next_client: 1,
            trace: Vec::new(),
            figures: Figures::default(),
        }
    }

    pub(crate) fn may_block(&self) -> bool {
        self.blocked.len() < BLOCKED_MAX
    }

    /// Does a step on both sides.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Run { now, batch } => {
                self.set_time(*now)?;
                self.run(batch)?;
            }
            Step::Tend { now, shard } => {
                self.set_time(*now)?;
                self.tend(*shard)?;
            }
            Step::Forget { now, shard } => {
                self.set_time(*now)?;
                let mut hand = [&mut self.shards[*shard]];
                Turn::new(&mut hand, UnixMs(*now)).forget_idempotent_ids();
                self.model.forget_idempotent_ids();
            }
        }
        self.shards.iter().for_each(|shard| shard.keyspace().check());
        Ok(())
    }

    /// Sets the clock and ends the waits whose time is over.
    fn set_time(&mut self, now: u64) -> Result<(), String> {
        self.model.now = now;
        let over = |blocked: &Blocked| blocked.deadline.is_some_and(|at| at <= now);
        let over = self.blocked.iter().filter(|(_, blocked)| over(blocked));
        let over: Vec<u64> = over.map(|(client, _)| *client).collect();
        for client in over {
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
            let request = OwnedRequest::new(words.iter().map(Vec::as_slice));
            let request = request.request();
            let Ok(row) = table::lookup(&request) else { continue };
            if row.full_name() == "flushall" {
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

    fn run(&mut self, batch: &[Vec<Bytes>]) -> Result<(), String> {
        let hand_set = self.shards_of(batch);
        let (now, protocol) = (UnixMs(self.model.now), self.setup.protocol);
        let mut wait = None;
        for words in batch {
            let expected = self.model.run(words);
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
            turn.block(product, Blocker { client, cell: cell.clone(), db: 0, protocol });
            self.model.block(client, *model);
            self.blocked.insert(client, Blocked { cell, woken, deadline });
            self.figures.waits += 1;
        }
        turn.serve();
        self.model.in_hand = Some(keys_of(&hand_set, self.setup.shards));
        let served = self.model.serve(&mut |_| ());
        self.model.in_hand = None;
        self.compare_served(served)
    }

    fn tend(&mut self, shard: usize) -> Result<(), String> {
        let set = BTreeSet::from([shard]);
        let mine = keys_of(&set, self.setup.shards);
        let mut hand = in_hand(&mut self.shards, &set);
        Turn::new(&mut hand, UnixMs(self.model.now)).tend();
        self.model.in_hand = Some(mine.clone());
        self.model.expire_due(|key| mine.contains(key));
        let mut served = self.model.retry(&mut |_| ());
        served.extend(self.model.serve(&mut |_| ()));
        self.model.in_hand = None;
        self.compare_served(served)
    }

    /// Compares which readers were served, and with what.
    fn compare_served(&mut self, expected: Vec<(u64, Reply)>) -> Result<(), String> {
        for shard in &mut self.shards {
            shard.end_turn(None, true).map_err(|error| error.to_string())?;
            shard.take_events();
            shard.take_garbage();
        }
        let mut expected: BTreeMap<u64, Reply> = expected.into_iter().collect();
        let mut gone = Vec::new();
        for (client, blocked) in &mut self.blocked {
            let got = match blocked.woken.try_recv() {
                Ok(Woken::Served(served)) => Some(served.reply),
                Ok(other) => return Err(format!("client {client} got {other:?}")),
                Err(_) => None,
            };
            let reply = expected.remove(client).map(|reply| reply.bytes(self.setup.protocol));
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
        gone.iter().for_each(|client| drop(self.blocked.remove(client)));
        match expected.first_key_value() {
            None => Ok(()),
            Some((client, _)) => Err(format!("client {client} was served twice")),
        }
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
    for shard in shards {
        for (_, slot) in shard.keyspace().database(0).slots_from(0) {
            if slot.expire_at().is_none_or(|at| at.0 > now) {
                keys.insert(slot.key.clone(), slot);
            }
        }
    }
    let mut out = String::new();
    for (key, slot) in keys {
        let key = String::from_utf8_lossy(&key).escape_debug().to_string();
        writeln!(out, "{key} expires {:?}", slot.expire_at().map(|at| at.0)).unwrap();
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

/// The keys of the workload that these shards hold.
pub(crate) fn keys_of(set: &BTreeSet<usize>, shards: u16) -> BTreeSet<Bytes> {
    let mine = KEYS.iter().filter(|key| set.contains(&shard_of(key.as_bytes(), shards)));
    mine.map(|key| key.as_bytes().to_vec()).collect()
}

/// Runs a command on the product; its reply goes to `got` unless it waits.
pub(crate) fn run_on(
    turn: &mut Turn<'_, '_>,
    words: &[Bytes],
    protocol: Protocol,
    got: &mut Vec<u8>,
) -> Option<millstream::command::Wait> {
    let request = OwnedRequest::new(words.iter().map(Vec::as_slice));
    let request = request.request();
    let mut out = Out::new(got, protocol);
    let ran = table::lookup(&request).and_then(|row| turn.run(row, &request, 0, &mut out));
    match ran {
        Ok(Ran::Replied) => None,
        Ok(Ran::WouldBlock(wait)) => Some(wait),
        Err(error) => {
            out.error(&error);
            None
        }
    }
}

fn compare_waits(model: &Wait, product: &millstream::command::Wait) -> Result<(), String> {
    let request = product.request.request();
    let product = Wait {
        timeout_ms: product.timeout_ms,
        keys: product.keys.iter().map(|key| key.to_vec()).collect(),
        group: product.group.as_ref().map(|group| group.to_vec()),
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
    }
}
