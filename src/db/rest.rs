//! Shards at rest: a caller that may block runs its requests itself instead of asking a thread.
//!
//! Asking a thread costs two wake-ups, some 20 µs and more; a command costs one. So when a blocking
//! call was answered and nothing else is going on, the thread lays its shard down here, and
//! the next such call takes it up under the lock, for one turn. The thread fetches it as soon as
//! it wants it itself: for a connection, an awaited call, a key that expires. Awaited calls never
//! come here, for the turn's `write` may block.
//!
//! What was sent to the thread before comes first: while something is on its way there, a shard
//! that still rests is left to the thread.

use super::Core;
use super::home::ShardSet;
use crate::error::Error;
use crate::persist::Position;
use crate::shard::{Shard, Turn};
use crate::stream::UnixMs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Where the shards rest, by their numbers.
#[derive(Debug)]
pub(super) struct Rest {
    places: Box<[Mutex<Option<Resting>>]>,
    /// How many calls are on their way to each shard's thread.
    on_the_way: Box<[AtomicUsize]>,
}

/// A shard at rest.
#[derive(Debug)]
struct Resting {
    shard: Box<Shard>,
    /// When its thread means that it wants a turn.
    due: Option<UnixMs>,
}

impl Rest {
    /// For so many shards, none of which rests.
    pub(super) fn new(shards: usize) -> Self {
        Rest {
            places: (0..shards).map(|_| Mutex::new(None)).collect(),
            on_the_way: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Lays a shard down.
    pub(super) fn lay(&self, index: usize, shard: Box<Shard>, due: Option<UnixMs>) {
        *self.places[index].lock().expect("no turn has panicked") = Some(Resting { shard, due });
    }

    /// Takes a shard up, if it rests. Waits for a turn that someone has with it.
    ///
    /// # Panics
    /// If a turn has panicked: its shard may be in any state.
    pub(super) fn take(&self, index: usize) -> Option<Box<Shard>> {
        let resting = self.places[index].lock().expect("no turn has panicked").take();
        resting.map(|resting| resting.shard)
    }

    /// When a shard that rests wants a turn.
    ///
    /// # Panics
    /// As [`Rest::take`].
    pub(super) fn due(&self, index: usize) -> Option<Option<UnixMs>> {
        let place = self.places[index].lock().expect("no turn has panicked");
        place.as_ref().map(|resting| resting.due)
    }
}

/// A call on its way to shards; dropped when it has run, or never will.
pub(super) struct OnTheWay {
    core: Arc<Core>,
    set: ShardSet,
}

impl OnTheWay {
    fn counters(&self) -> impl Iterator<Item = &AtomicUsize> {
        self.set.shards().iter().map(|shard| &self.core.rest.on_the_way[*shard])
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.counters().for_each(|counter| _ = counter.fetch_sub(1, Ordering::Relaxed));
    }
}

impl Core {
    /// Says that a call goes to these shards now.
    pub(super) fn on_the_way(self: &Arc<Self>, set: &ShardSet) -> OnTheWay {
        let call = OnTheWay { core: self.clone(), set: set.clone() };
        // The caller's next call is on the same thread, or hears of this one first.
        call.counters().for_each(|counter| _ = counter.fetch_add(1, Ordering::Relaxed));
        call
    }

    /// Has a turn with a shard that rests; nothing if it does not, or if others were there first.
    /// Tells where the log is then, which the caller makes durable if it must be
    /// ([`Aof::sync_through`](crate::persist::aof::Aof::sync_through)).
    ///
    /// # Errors
    /// [`Error::Stopped`] if an earlier turn has panicked; [`Error::Storage`] if the log broke.
    pub(super) fn turn_at_rest<R>(
        &self,
        index: usize,
        work: impl FnOnce(&mut Turn<'_, '_>) -> R,
    ) -> Result<Option<(R, Position)>, Error> {
        let mut place = self.rest.places[index].lock().map_err(|_| Error::Stopped)?;
        let Some(Resting { shard, due }) = place.as_mut() else { return Ok(None) };
        if self.rest.on_the_way[index].load(Ordering::Relaxed) > 0 {
            return Ok(None);
        }
        if self.has_panicked() {
            return Err(Error::Stopped);
        }
        let in_hand = self.in_hand();
        let done = work(&mut Turn::new(&mut [&mut **shard], self.now()));
        let position = match self.waits_for_disk.load(Ordering::Relaxed) {
            true => shard.end_turn_to_sync(self.aof()),
            false => shard.end_turn(self.aof(), false),
        };
        // Nobody else waits for this thread.
        shard.wake(usize::MAX);
        if shard.has_leftovers() {
            self.publish(shard.take_notices());
            self.discard(shard.take_garbage());
        }
        drop(in_hand);
        self.log_has_grown(&position);
        let (next, before) = (shard.next_due(), *due);
        *due = next;
        drop(place);
        if next != before {
            self.call(index, |home| home.heed_rest())?;
        }
        Ok(Some((done, position?)))
    }
}
