//! `Shard`: one thread's world, and `Turn`, the only way to change one.
//!
//! A shard is one `Box`, may travel to another thread, and is driven by one thread at a time. A
//! turn has one shard in hand, or all that a command over several shards has borrowed; either way
//! the same synchronous code runs. Blocked readers are served inside the turn that made their
//! entry. [`Shard::end_turn`] appends what the turn changed as one frame, and only then tells
//! those readers.
//!
//! A turn is told the time; it knows no clock and no thread.

pub mod check;
pub mod checkpoint;
pub mod recovery;
pub mod waiters;

use crate::codec::Records;
use crate::command::table::{self, Row};
use crate::command::{self, Out, Protocol, Ran, Request, Wait};
use crate::error::{CommandError, StorageError};
use crate::keyspace::txn::Notice;
use crate::keyspace::{
    DATABASES, Database, KeyName, Keyspace, LogBuffer, Rules, Spaces, Txn, Value, slot_of,
};
use crate::persist::Position;
use crate::persist::aof::{Aof, FRAME_HEADER_MAX};
use crate::stream::{Garbage, UnixMs};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::hash::RandomState;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::oneshot;
use waiters::{KeyQueue, Served, WaitCell, Waiter, Waiters, Woken};

/// How many keys of one database expire in one look, at most; the rest follows soon.
const EXPIRED_AT_ONCE: usize = 200;
/// In how many streams idempotent IDs are forgotten in one look; the rest follows soon.
const FORGETTING_AT_ONCE: usize = 1000;
/// How many of the readers that a turn serves hear of it at its end; the others at the next ones.
const WOKEN_AT_ONCE: usize = 256;
/// Room for the reply to a reader: most are about one small entry.
const REPLY_BYTES: usize = 96;

/// One shard: the keys of a range of hash slots, and who waits on them.
#[derive(Debug)]
pub struct Shard {
    keyspace: Keyspace,
    waiters: Waiters,
    rules: Arc<Rules>,
    log: LogBuffer,
    notices: Vec<Notice>,
    /// Readers that the turn serves, with their replies.
    served: Vec<(oneshot::Sender<Woken>, Vec<u8>)>,
    /// Readers whose replies are in the log and who are to be told.
    waking: VecDeque<(oneshot::Sender<Woken>, Served)>,
    /// Where the log was after this shard's last change.
    position: Position,
    /// Whether keys expire though nobody asks for them.
    expires: bool,
    /// Why a change of the turn that a reply waits for may not be in the log.
    lost: Option<StorageError>,
}

/// Who blocks, and how it will be told.
#[derive(Debug)]
pub struct Blocker {
    /// The client.
    pub client: u64,
    /// The right to end the wait.
    pub cell: Arc<WaitCell>,
    /// The client's database.
    pub db: u8,
    /// The client's protocol.
    pub protocol: Protocol,
}

/// Figures of one shard, for INFO.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShardFigures {
    /// Keys that are waited on.
    pub blocking_keys: usize,
    /// Keys that readers of a group wait on.
    pub blocking_keys_of_groups: usize,
    /// Keys that are watched.
    pub watched_keys: usize,
}

impl Shard {
    /// An empty shard for these hash slots; it keeps a log of its changes if `logged`.
    pub fn new(slots: Range<u16>, hasher: RandomState, rules: Arc<Rules>, logged: bool) -> Self {
        let mut shard = Shard {
            keyspace: Keyspace::new(slots, hasher),
            waiters: Waiters::default(),
            rules: rules.clone(),
            log: LogBuffer::new(FRAME_HEADER_MAX, logged),
            notices: Vec::new(),
            served: Vec::new(),
            waking: VecDeque::new(),
            position: Position::default(),
            expires: true,
            lost: None,
        };
        shard.set_rules(rules);
        shard
    }

    /// The keys.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The keys, to fill them before the first turn and to change what is no state.
    pub fn keyspace_mut(&mut self) -> &mut Keyspace {
        &mut self.keyspace
    }

    /// Changes the settings it goes by.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.keyspace.set_limits(rules.blocks);
        self.rules = rules;
    }

    /// Keeps a log of the changes from now on, or not.
    pub fn set_logged(&mut self, logged: bool) {
        self.log.set_enabled(logged);
    }

    /// Lets keys expire though nobody asks for them, or not (DEBUG SET-ACTIVE-EXPIRE).
    pub fn set_expires(&mut self, expires: bool) {
        self.expires = expires;
    }

    /// Figures for INFO.
    pub fn figures(&self) -> ShardFigures {
        let (blocking_keys, blocking_keys_of_groups) = self.waiters.keys();
        ShardFigures {
            blocking_keys,
            blocking_keys_of_groups,
            watched_keys: self.keyspace.watched_len(),
        }
    }

    /// Bytes the turn has to log so far.
    pub fn unlogged_bytes(&self) -> usize {
        self.log.len()
    }

    /// When the shard next wants a turn though nobody asks for one.
    pub fn next_due(&self) -> Option<UnixMs> {
        let databases = (0..DATABASES).map(|db| self.keyspace.database(db));
        let expiring = databases.filter(|database| database.expiring_len() > 0);
        let expiry = expiring.filter_map(Database::next_expiry).min();
        let expiry = expiry.filter(|_| self.expires);
        [expiry, self.waiters.next_retry()].into_iter().flatten().min()
    }

    /// Appends what the turn changed, then tells blocked readers that they were served, a few of
    /// many: the ends of the next turns tell the others. Changes that no reply waits for stay
    /// behind unless `all`. Returns where the log is after this shard's last change; at the
    /// beginning if it is broken and no reply waits for the turn's changes, because then reads go
    /// on from memory, and nothing of it will become durable before a snapshot does.
    ///
    /// # Errors
    /// What broke the log, if replies wait for the turn's changes. They have been applied; whether
    /// they are in the log is unknown, so no reply of the turn may leave.
    pub fn end_turn(&mut self, aof: Option<&Aof>, all: bool) -> Result<Position, StorageError> {
        self.end_turn_by(Aof::append, aof, all)
    }

    /// [`Shard::end_turn`] for a caller that makes durable itself what it is told of, by
    /// [`Aof::sync_through`].
    ///
    /// # Errors
    /// As [`Shard::end_turn`].
    pub fn end_turn_to_sync(&mut self, aof: Option<&Aof>) -> Result<Position, StorageError> {
        self.end_turn_by(Aof::append_to_sync, aof, false)
    }

    fn end_turn_by(
        &mut self,
        append: fn(&Aof, &mut Records) -> Result<Position, StorageError>,
        aof: Option<&Aof>,
        all: bool,
    ) -> Result<Position, StorageError> {
        let urgent = self.log.is_urgent();
        let mut lost = self.lost.take();
        if let Some(aof) = aof
            && (urgent || (all && !self.log.is_empty()))
        {
            let appended = append(aof, self.log.records_mut());
            self.log.clear();
            match appended {
                Ok(position) => self.position = position,
                Err(error) if urgent => _ = lost.get_or_insert(error),
                // The log says why it takes nothing; no reply tells of these changes.
                Err(_) => {}
            }
        }
        if let Some(error) = lost {
            self.served.clear();
            return Err(error);
        }
        let broken = !urgent && aof.is_some_and(Aof::is_broken);
        let position = if broken { Position::default() } else { self.position };
        if !self.served.is_empty() {
            let served = self.served.drain(..);
            self.waking.extend(served.map(|(wake, reply)| (wake, Served { reply, position })));
        }
        self.wake(WOKEN_AT_ONCE);
        Ok(position)
    }

    /// Whether the next end of a turn has readers to tell of this one.
    pub fn has_more_to_wake(&self) -> bool {
        !self.waking.is_empty()
    }

    /// Tells the next readers that they were served, at most `max`.
    pub fn wake(&mut self, max: usize) {
        let n = self.waking.len().min(max);
        if n == 0 {
            return;
        }
        for (wake, served) in self.waking.drain(..n) {
            // The reader may have disconnected; then nobody needs to know.
            drop(wake.send(Woken::Served(served)));
        }
    }

    /// Raises the position that later replies carry: a command over several shards may have
    /// changed this one, too.
    pub fn reached(&mut self, position: Position) {
        self.position = self.position.max(position);
    }

    /// Takes what others are to be told of the turn.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Takes what was removed and may be large.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        self.keyspace.take_garbage()
    }

    /// Whether there are notices or garbage to take.
    pub fn has_leftovers(&self) -> bool {
        !self.notices.is_empty() || self.keyspace.has_garbage()
    }

    fn forget_waiter(&mut self, client: u64) {
        let abandoned = self.waiters.remove(client);
        abandoned.iter().for_each(|name| self.keyspace.wait_off(name));
    }
}

/// The shards in hand, at one time.
#[derive(Debug)]
pub struct Turn<'t, 's> {
    shards: &'t mut [&'s mut Shard],
    now: UnixMs,
    /// Whether the commands leave alone when their keys were last used (CLIENT NO-TOUCH).
    pub no_touch: bool,
}

impl<'t, 's> Turn<'t, 's> {
    /// A turn of these shards.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(shards: &'t mut [&'s mut Shard], now: UnixMs) -> Self {
        assert!(!shards.is_empty());
        Turn { shards, now, no_touch: false }
    }

    /// The wall clock of this turn.
    pub fn now(&self) -> UnixMs {
        self.now
    }

    /// The bytes that the shards in hand have to log so far.
    pub fn unlogged_bytes(&self) -> usize {
        self.shards().map(Shard::unlogged_bytes).sum()
    }

    /// The shards in hand.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Shard> + '_ {
        self.shards.iter().map(|shard| &**shard)
    }

    /// The shards in hand, to change what is no state.
    pub fn shards_mut(&mut self) -> impl Iterator<Item = &mut Shard> + '_ {
        self.shards.iter_mut().map(|shard| &mut **shard)
    }

    /// How many clients wait on keys of the shards in hand.
    pub fn blocked_clients(&self) -> usize {
        let clients = self.shards().flat_map(|shard| shard.waiters.clients());
        clients.collect::<BTreeSet<u64>>().len()
    }

    /// Runs a command on keys. Those it wakes are served by [`Turn::serve`], which the caller
    /// calls after it, or after the last command of a transaction.
    ///
    /// # Errors
    /// As the command; nothing has changed, and `out` is as before.
    #[inline]
    pub fn run(
        &mut self,
        row: &Row,
        request: &Request<'_>,
        db: u8,
        out: &mut Out<'_>,
    ) -> Result<Ran, CommandError> {
        let mark = out.len();
        let no_touch = self.no_touch;
        let ran = self.with_txn_of(request.whole, |txn| {
            txn.db = db;
            txn.no_touch = no_touch;
            command::run(row.name, request, txn, out)
        });
        if ran.is_err() {
            out.truncate(mark);
        }
        ran
    }

    /// Lends the transaction view of the shards in hand.
    ///
    /// # Panics
    /// Never: a turn has a shard.
    #[inline]
    pub fn with_txn<R>(&mut self, run: impl FnOnce(&mut Txn<'_, '_>) -> R) -> R {
        self.with_txn_of(None, run)
    }

    /// [`Turn::with_txn`] for a command whose strings may lie in `whole`.
    #[inline]
    fn with_txn_of<R>(
        &mut self,
        whole: Option<&Bytes>,
        run: impl FnOnce(&mut Txn<'_, '_>) -> R,
    ) -> R {
        let (first, rest) = self.shards.split_first_mut().expect("a turn has a shard");
        let Shard { keyspace, log, notices, rules, .. } = &mut **first;
        let (mut one, mut all);
        let list = if rest.is_empty() {
            one = [keyspace];
            &mut one[..]
        } else {
            let rest = rest.iter_mut().map(|shard| &mut shard.keyspace);
            all = std::iter::once(keyspace).chain(rest).collect::<Vec<_>>();
            &mut all[..]
        };
        let mut txn = Txn::new(Spaces::new(list), log, notices, rules, self.now);
        txn.whole = whole;
        run(&mut txn)
    }

    /// Ends the turn of several shards: appends one frame, and tells the blocked readers that were
    /// served. A reply of the turn may tell of whatever any of the shards held, so the position is
    /// that of the latest change of all. Nothing stays behind: what concerns one shard must not
    /// wait in the buffer of another, behind what that logs next.
    ///
    /// # Errors
    /// As [`Shard::end_turn`].
    ///
    /// # Panics
    /// Never: a turn has a shard.
    pub fn end(&mut self, aof: Option<&Aof>) -> Result<Position, StorageError> {
        let latest = self.shards().map(|shard| shard.position).max().unwrap_or_default();
        let (first, others) = self.shards.split_first_mut().expect("a turn has a shard");
        first.reached(latest);
        let position = first.end_turn(aof, true)?;
        others.iter_mut().for_each(|shard| shard.reached(position));
        Ok(position)
    }

    /// Appends what has changed so far, in the middle of the turn: what follows goes by the end of
    /// the log.
    ///
    /// # Errors
    /// As [`Turn::end`], which then fails too.
    pub fn flush(&mut self, aof: Option<&Aof>) -> Result<(), StorageError> {
        let ended = self.end(aof);
        if let (Err(error), Some(first)) = (&ended, self.shards.first_mut()) {
            first.lost = Some(error.clone());
        }
        ended.map(drop)
    }

    /// Whether something of the turn is still to be logged or told, so that what is told now would
    /// come too early.
    pub fn is_untold(&self) -> bool {
        self.shards().any(|shard| shard.log.is_urgent() || !shard.notices.is_empty())
    }

    /// Tells others something when the turn has ended and its changes are in the log.
    pub fn tell(&mut self, notice: Notice) {
        self.shards[0].notices.push(notice);
    }

    /// Registers a blocked reader with those of its keys whose shards are in hand.
    pub fn block(&mut self, wait: Wait, blocker: Blocker) {
        let Wait { mut keys, group, claim_idle_ms, retry_at, request, .. } = wait;
        let Blocker { client, cell, db, protocol } = blocker;
        keys.sort_unstable();
        keys.dedup();
        let foreign = Waiter::no_foreign(keys.len(), group.is_some());
        let waiter =
            Waiter { client, cell, db, protocol, keys, foreign, group, claim_idle_ms, request };
        let waiter = Arc::new(waiter);
        for shard in &mut *self.shards {
            let slots = shard.keyspace.slots();
            let keys = waiter.keys.iter().map(|key| &**key);
            let keys: Vec<&[u8]> = keys.filter(|key| slots.contains(&slot_of(key))).collect();
            if !keys.is_empty() {
                keys.iter().for_each(|key| shard.keyspace.wait_on(db, key));
                shard.waiters.add(&waiter, retry_at, &keys);
            }
        }
    }

    /// Takes a client's wait out of the shards in hand.
    pub fn unblock(&mut self, client: u64) {
        self.shards_mut().for_each(|shard| shard.forget_waiter(client));
    }

    /// Removes keys that are due, looks again at readers that asked for it.
    pub fn tend(&mut self) {
        if self.shards[0].expires {
            self.with_txn(|txn| txn.expire_due(EXPIRED_AT_ONCE));
        }
        for at in 0..self.shards.len() {
            while let Some(name) = self.shards[at].waiters.pop_retry(self.now) {
                self.serve_key(at, name);
            }
        }
        self.serve();
    }

    /// Forgets the idempotent IDs whose time is over, in the next streams of many.
    pub fn forget_idempotent_ids(&mut self) {
        self.with_txn(|txn| txn.forget_idempotent_ids(FORGETTING_AT_ONCE));
        // A look at a key whose time is over removes it, which ends waits.
        self.serve();
    }

    /// Serves those who wait on keys that were signalled, in the order of the signals.
    #[inline]
    pub fn serve(&mut self) {
        if self.shards().any(|shard| shard.keyspace.next_signal().is_some()) {
            self.serve_signals();
        }
    }

    fn serve_signals(&mut self) {
        loop {
            let next = |at: usize| Some((self.shards[at].keyspace.next_signal()?, at));
            let Some((_, at)) = (0..self.shards.len()).filter_map(next).min() else { return };
            if let Some(name) = self.shards[at].keyspace.take_signal() {
                self.serve_key(at, name);
            }
        }
    }

    /// Tries everyone who waits on a key, each once.
    fn serve_key(&mut self, at: usize, name: KeyName) {
        let Some(mut queue) = self.shards[at].waiters.take_queue(&name) else {
            return;
        };
        let value = self.shards[at].keyspace.value(name.0, &name.1);
        let is_stream = matches!(value, Some(Value::Stream(_)));
        let foreign = value.is_some() && !is_stream;
        queue.readers.values().for_each(|waiter| waiter.set_foreign(&name.1, foreign));
        if is_stream {
            let (readers, mut known) = (std::mem::take(&mut queue.readers), None);
            queue.readers = readers
                .into_iter()
                .filter(|(_, waiter)| self.try_serve(at, &name, waiter, &mut known).is_err())
                .collect();
        }
        self.serve_groups(at, &name, &mut queue);
        let shard = &mut *self.shards[at];
        if let Some(abandoned) = shard.waiters.put_back(name, queue) {
            shard.keyspace.wait_off(&abandoned);
        }
    }

    fn serve_groups(&mut self, at: usize, name: &KeyName, queue: &mut KeyQueue) {
        for members in queue.groups.values_mut() {
            let (mut from, mut below_ms, mut failed) = (0, None, None);
            while let Some((ticket, waiter)) = members.next(from, below_ms) {
                from = ticket + 1;
                match self.try_serve(at, name, &waiter, &mut None) {
                    Ok(()) => members.remove(ticket),
                    Err(retry_at) => {
                        // Nothing is left for this group that is new, or that was idle for as long.
                        failed = waiter.claim_idle_ms.zip(retry_at);
                        let idle_ms = failed.map(|(idle_ms, at)| {
                            // The oldest of what is pending will have been idle for so long then.
                            idle_ms.saturating_add(1).saturating_sub(at.since(self.now))
                        });
                        below_ms = Some(idle_ms.or(waiter.claim_idle_ms).unwrap_or(u64::MAX));
                    }
                }
            }
            if let Some(((idle_ms, retry_at), least_ms)) = failed.zip(members.least_idle_ms()) {
                // Those that were not tried wait for the same pending entries.
                let least_at = retry_at.0.saturating_sub(idle_ms).saturating_add(least_ms);
                let at_ms = least_at.max(self.now.0 + 1);
                self.shards[at].waiters.retry(UnixMs(at_ms), name.clone());
            }
        }
    }

    /// Runs a reader's command again. `Ok` if its wait has ended, now or earlier; else when to
    /// look again although nothing happens. `known` is what a reader without a group was told last,
    /// since when nothing has changed.
    fn try_serve(
        &mut self,
        at: usize,
        name: &KeyName,
        waiter: &Arc<Waiter>,
        known: &mut Option<(Arc<Waiter>, Vec<u8>)>,
    ) -> Result<(), Option<UnixMs>> {
        let Some(taken) = waiter.take() else {
            self.shards[at].forget_waiter(waiter.client);
            return Ok(());
        };
        let mut reply = Vec::with_capacity(REPLY_BYTES);
        let same = known.as_ref().filter(|(other, _)| waiter.asks_the_same(other));
        let ran = match same {
            Some((_, same)) => {
                reply.extend_from_slice(same);
                Ok(Ran::Replied)
            }
            None => self.run_again(waiter, &mut reply),
        };
        match ran {
            Ok(Ran::WouldBlock(wait)) => {
                if let Some(retry_at) = wait.retry_at {
                    self.shards[at].waiters.retry(retry_at, name.clone());
                }
                return Err(wait.retry_at);
            }
            Ok(Ran::Replied) => {
                if waiter.group.is_none() && same.is_none() {
                    *known = Some((waiter.clone(), reply.clone()));
                }
                let holds = |shard: &Shard, slot| shard.keyspace.slots().contains(&slot);
                if waiter.has_foreign(|key| self.shards().any(|shard| holds(shard, slot_of(key)))) {
                    // As if all shards were in hand.
                    reply.clear();
                    Out::new(&mut reply, waiter.protocol).error(&CommandError::WrongType);
                }
            }
            Err(error) => Out::new(&mut reply, waiter.protocol).error(&error),
        }
        if let Some(wake) = taken.end() {
            self.shards[0].served.push((wake, reply));
        }
        self.unblock(waiter.client);
        Ok(())
    }

    fn run_again(&mut self, waiter: &Waiter, reply: &mut Vec<u8>) -> Result<Ran, CommandError> {
        let request = waiter.request.request();
        let row = table::lookup(&request)?;
        self.run(row, &request, waiter.db, &mut Out::new(reply, waiter.protocol))
    }
}

#[cfg(test)]
mod tests;
