//! Blocked readers: who waits on which key, in arrival order, and who may answer them.
//!
//! A reader that waits on keys of several shards stands in each of them with one [`WaitCell`].
//! A shard that may serve it takes the cell, runs its command, and either answers or gives the
//! cell back; time-out, CLIENT UNBLOCK and disconnect end the same cell. Whoever finds it ended
//! does nothing.
//!
//! On one key the readers of one group stand in a queue of their own: when the first finds
//! nothing new, nobody behind it can, so serving one costs the same with 10 or 10,000 behind it.
//! Only a reader that takes pending entries (XREADGROUP CLAIM) may still find something, if the
//! one before it asked for entries that have been idle for longer.

use crate::command::{OwnedRequest, Protocol};
use crate::keyspace::KeyName;
use crate::persist::Position;
use crate::stream::UnixMs;
use crate::sync::{AtomicBool, AtomicU8, Mutex, yield_now};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::oneshot;

/// What ends a wait from within.
#[derive(Debug)]
pub struct Served {
    /// The reply, in the reader's protocol.
    pub reply: Vec<u8>,
    /// The reply may leave when the log has come this far.
    pub position: Position,
}

/// What ends a wait.
#[derive(Debug)]
pub enum Woken {
    /// Entries came, or the wait has become vain.
    Served(Served),
    /// CLIENT UNBLOCK … TIMEOUT.
    TimedOut,
    /// CLIENT UNBLOCK … ERROR.
    Unblocked,
}

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const ENDED: u8 = 2;

/// The one right to end a wait.
#[derive(Debug)]
pub struct WaitCell {
    state: AtomicU8,
    wake: Mutex<Option<oneshot::Sender<Woken>>>,
}

impl WaitCell {
    /// A wait, and where its end arrives.
    pub fn new() -> (Arc<WaitCell>, oneshot::Receiver<Woken>) {
        let (wake, woken) = oneshot::channel();
        let cell = WaitCell { state: AtomicU8::new(WAITING), wake: Mutex::new(Some(wake)) };
        (Arc::new(cell), woken)
    }

    /// Ends the wait; true if it had not ended before. If a shard is trying to serve it at this
    /// moment, waits for the result: that is a command's run time at most.
    pub fn end(&self) -> bool {
        self.leave_waiting(ENDED)
    }

    /// Ends the wait and says why; true if it had not ended before.
    pub fn wake(&self, woken: Woken) -> bool {
        let ended = self.end();
        if ended && let Some(wake) = self.take_wake() {
            // The reader may be gone; then nobody needs to know.
            drop(wake.send(woken));
        }
        ended
    }

    fn leave_waiting(&self, to: u8) -> bool {
        loop {
            let exchanged =
                self.state.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire);
            match exchanged {
                Ok(_) => return true,
                Err(ENDED) => return false,
                Err(_) => yield_now(),
            }
        }
    }

    fn take_wake(&self) -> Option<oneshot::Sender<Woken>> {
        self.wake.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A wait that this shard has taken; given back when dropped.
pub(super) struct Taken<'a> {
    cell: &'a WaitCell,
    to: u8,
}

impl Taken<'_> {
    /// Ends the wait.
    pub(super) fn end(mut self) -> Option<oneshot::Sender<Woken>> {
        self.to = ENDED;
        self.cell.take_wake()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.cell.state.store(self.to, Ordering::Release);
    }
}

/// A blocked reader.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The client; it waits at most once at a time.
    pub(super) client: u64,
    /// The right to end the wait.
    pub(super) cell: Arc<WaitCell>,
    /// The client's database.
    pub(super) db: u8,
    /// The client's protocol.
    pub(super) protocol: Protocol,
    /// All keys of the command, each once, also those of other shards.
    pub(super) keys: Vec<Box<[u8]>>,
    /// Which of the keys hold what is no stream: a shard knows of the others' keys no more. Empty
    /// where nobody asks: for one key, and for a group, whose wait ends at once.
    pub(super) foreign: Box<[AtomicBool]>,
    /// The group, if it reads for one.
    pub(super) group: Option<Box<[u8]>>,
    /// How long pending entries must have been idle for it to take them, if it takes any
    /// (XREADGROUP CLAIM).
    pub(super) claim_idle_ms: Option<u64>,
    /// What to run again.
    pub(super) request: OwnedRequest,
}

impl Waiter {
    /// Takes the wait to try to serve it; `None` if it has ended.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        // Made only when taken: dropping it gives the wait back.
        self.cell.leave_waiting(TAKEN).then(|| Taken { cell: &self.cell, to: WAITING })
    }

    /// Whether the reply is the same as another reader's: neither changes anything by reading.
    pub(super) fn asks_the_same(&self, other: &Waiter) -> bool {
        self.group.is_none()
            && (self.db, self.protocol) == (other.db, other.protocol)
            && self.request == other.request
    }

    /// Room for [`Waiter::foreign`].
    pub(super) fn no_foreign(keys: usize, group: bool) -> Box<[AtomicBool]> {
        let count = if group || keys == 1 { 0 } else { keys };
        (0..count).map(|_| AtomicBool::new(false)).collect()
    }

    /// Says what one of the keys holds now.
    pub(super) fn set_foreign(&self, key: &[u8], foreign: bool) {
        let at = self.keys.binary_search_by(|one| (**one).cmp(key)).ok();
        if let Some(known) = at.and_then(|at| self.foreign.get(at)) {
            known.store(foreign, Ordering::Release);
        }
    }

    /// Whether a key that does not satisfy `seen` holds what is no stream.
    pub(super) fn has_foreign(&self, seen: impl Fn(&[u8]) -> bool) -> bool {
        let mut known = self.keys.iter().zip(&self.foreign);
        known.any(|(key, foreign)| foreign.load(Ordering::Acquire) && !seen(key))
    }
}

type Queue = BTreeMap<u64, Arc<Waiter>>;

/// Those who wait on one key, by their tickets, which are handed out in arrival order.
#[derive(Debug, Default)]
pub(super) struct KeyQueue {
    /// Readers without a group.
    pub(super) readers: Queue,
    /// Readers of each group.
    pub(super) groups: BTreeMap<Box<[u8]>, GroupQueue>,
}

/// Those who wait on one key for one group.
#[derive(Debug, Default)]
pub(super) struct GroupQueue {
    all: Queue,
    /// Tickets of those that also take pending entries, by the idle time they ask for.
    claiming: BTreeMap<u64, BTreeSet<u64>>,
}

impl GroupQueue {
    fn insert(&mut self, ticket: u64, waiter: Arc<Waiter>) {
        if let Some(idle_ms) = waiter.claim_idle_ms {
            self.claiming.entry(idle_ms).or_default().insert(ticket);
        }
        self.all.insert(ticket, waiter);
    }

    /// Takes a reader out.
    pub(super) fn remove(&mut self, ticket: u64) {
        let idle_ms = self.all.remove(&ticket).and_then(|waiter| waiter.claim_idle_ms);
        if let Some(idle_ms) = idle_ms
            && let Some(tickets) = self.claiming.get_mut(&idle_ms)
        {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.claiming.remove(&idle_ms);
            }
        }
    }

    /// The next reader to try, from a ticket on. Once one has found nothing, those are left that
    /// take pending entries which have been idle for less than `below_ms`.
    /// **Cost**: logarithmic, for each idle time that is asked for.
    pub(super) fn next(&self, from: u64, below_ms: Option<u64>) -> Option<(u64, Arc<Waiter>)> {
        let Some(below_ms) = below_ms else {
            return self.all.range(from..).next().map(|(ticket, waiter)| (*ticket, waiter.clone()));
        };
        let claiming = self.claiming.range(..below_ms);
        let ticket = *claiming.filter_map(|(_, tickets)| tickets.range(from..).next()).min()?;
        self.all.get(&ticket).map(|waiter| (ticket, waiter.clone()))
    }

    /// The shortest idle time that a reader asks for who takes pending entries.
    pub(super) fn least_idle_ms(&self) -> Option<u64> {
        self.claiming.first_key_value().map(|(idle_ms, _)| *idle_ms)
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl KeyQueue {
    fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.groups.is_empty()
    }
}

/// The blocked readers of one shard.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next_ticket: u64,
    by_key: HashMap<KeyName, KeyQueue>,
    by_client: HashMap<u64, (u64, Arc<Waiter>)>,
    /// When to look at a key again although nothing happened.
    retries: BTreeSet<(UnixMs, KeyName)>,
}

impl Waiters {
    /// Registers a reader on these of its keys, which are this shard's.
    pub(super) fn add(&mut self, waiter: &Arc<Waiter>, retry_at: Option<UnixMs>, keys: &[&[u8]]) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.by_client.insert(waiter.client, (ticket, waiter.clone()));
        for key in keys {
            let name: KeyName = (waiter.db, (*key).into());
            if let Some(at) = retry_at {
                self.retries.insert((at, name.clone()));
            }
            let queue = self.by_key.entry(name).or_default();
            match &waiter.group {
                None => drop(queue.readers.insert(ticket, waiter.clone())),
                Some(group) => {
                    queue.groups.entry(group.clone()).or_default().insert(ticket, waiter.clone());
                }
            }
        }
    }

    /// Looks again at the readers of a key at this time.
    pub(super) fn retry(&mut self, at: UnixMs, name: KeyName) {
        self.retries.insert((at, name));
    }

    /// When to look next.
    pub(super) fn next_retry(&self) -> Option<UnixMs> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// A key to look at again now.
    pub(super) fn pop_retry(&mut self, now: UnixMs) -> Option<KeyName> {
        let (at, _) = self.retries.first()?;
        if *at > now {
            return None;
        }
        self.retries.pop_first().map(|(_, name)| name)
    }

    /// Takes a client's registrations back; returns the keys that nobody waits on any more.
    pub(super) fn remove(&mut self, client: u64) -> Vec<KeyName> {
        let mut abandoned = Vec::new();
        let Some((ticket, waiter)) = self.by_client.remove(&client) else { return abandoned };
        for key in &waiter.keys {
            let name: KeyName = (waiter.db, key.clone());
            let Some(queue) = self.by_key.get_mut(&name) else { continue };
            match &waiter.group {
                None => drop(queue.readers.remove(&ticket)),
                Some(group) => {
                    if let Some(members) = queue.groups.get_mut(group) {
                        members.remove(ticket);
                        if members.is_empty() {
                            queue.groups.remove(group);
                        }
                    }
                }
            }
            if queue.is_empty() {
                self.by_key.remove(&name);
                abandoned.push(name);
            }
        }
        abandoned
    }

    /// Takes the queue of a key, to walk it; [`Waiters::put_back`] takes what is left.
    pub(super) fn take_queue(&mut self, name: &KeyName) -> Option<KeyQueue> {
        self.by_key.remove(name)
    }

    /// Puts a queue back; returns its key if nobody waits on that any more.
    pub(super) fn put_back(&mut self, name: KeyName, mut queue: KeyQueue) -> Option<KeyName> {
        queue.groups.retain(|_, members| !members.is_empty());
        if queue.is_empty() {
            return Some(name);
        }
        self.by_key.insert(name, queue);
        None
    }

    /// The clients that wait.
    pub(super) fn clients(&self) -> impl Iterator<Item = u64> + '_ {
        self.by_client.keys().copied()
    }

    /// How many keys are waited on, and how many of them by readers of a group.
    pub(super) fn keys(&self) -> (usize, usize) {
        let of_groups = self.by_key.values().filter(|queue| !queue.groups.is_empty());
        (self.by_key.len(), of_groups.count())
    }
}

#[cfg(all(test, interleave))]
mod interleaved;

#[cfg(test)]
mod tests {
    use super::{GroupQueue, WaitCell, Waiter};
    use crate::command::{OwnedRequest, Protocol};
    use std::sync::Arc;

    fn waiter(claim_idle_ms: Option<u64>) -> Arc<Waiter> {
        let (cell, _) = WaitCell::new();
        let request = OwnedRequest::default();
        let (keys, group) = (vec![b"s"[..].into()], Some(b"g"[..].into()));
        let (client, db, protocol) = (1, 0, Protocol::Resp2);
        let foreign = Waiter::no_foreign(1, true);
        Arc::new(Waiter {
            client,
            cell,
            db,
            protocol,
            keys,
            foreign,
            group,
            claim_idle_ms,
            request,
        })
    }

    #[test]
    fn a_wait_that_has_ended_stays_ended_when_a_shard_wants_it() {
        let waiter = waiter(None);
        drop(waiter.take().unwrap());
        assert!(waiter.take().unwrap().end().is_some());
        assert!(waiter.take().is_none());
        assert!(waiter.take().is_none(), "the attempt before must not have given it back");
        assert!(!waiter.cell.end());
    }

    #[test]
    fn after_one_that_found_nothing_only_those_are_tried_that_ask_for_less() {
        let mut queue = GroupQueue::default();
        let idle = [None, Some(50), None, Some(100), Some(10), None];
        for (ticket, idle_ms) in (0..).zip(idle) {
            queue.insert(ticket, waiter(idle_ms));
        }
        let next = |queue: &GroupQueue, from, below| queue.next(from, below).map(|next| next.0);
        assert_eq!(next(&queue, 0, None), Some(0));
        assert_eq!(next(&queue, 1, Some(u64::MAX)), Some(1));
        assert_eq!(next(&queue, 2, Some(u64::MAX)), Some(3));
        assert_eq!(next(&queue, 2, Some(50)), Some(4));
        assert_eq!(next(&queue, 5, Some(10)), None);
        queue.remove(4);
        assert_eq!(next(&queue, 2, Some(50)), None);
        (0..6).for_each(|ticket| queue.remove(ticket));
        assert!(queue.is_empty() && queue.claiming.is_empty());
    }
}
