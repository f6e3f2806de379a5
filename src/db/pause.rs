//! CLIENT PAUSE: for a time, commands wait, and nothing changes by itself.
//!
//! Every connection asks before each command; while nobody pauses, that is one relaxed load. The
//! time is that of a clock that nobody sets: a step of the wall clock neither ends a pause nor
//! makes it longer.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// What stands for a pause longer than the clock can tell.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Which commands wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Paused {
    /// Those that may change something.
    Writes = 1,
    /// All.
    All = 2,
}

/// The pause of a server, if there is one.
#[derive(Debug, Default)]
pub struct Pause {
    /// 0, or the number of a [`Paused`].
    level: AtomicU8,
    until: Mutex<Option<(Paused, Instant)>>,
    ended: Notify,
}

impl Pause {
    /// Pauses for so long from `now` on; a pause that is longer or stricter already stays so.
    pub fn begin(&self, paused: Paused, length: Duration, now: Instant) {
        let until = now + length.min(LONGEST);
        let mut state = self.lock();
        let active = state.filter(|(_, end)| *end > now);
        let (paused, until) =
            active.map_or((paused, until), |(level, end)| (level.max(paused), end.max(until)));
        *state = Some((paused, until));
        self.level.store(paused as u8, Ordering::SeqCst);
    }

    /// Ends the pause.
    pub fn end(&self) {
        *self.lock() = None;
        self.level.store(0, Ordering::SeqCst);
        self.ended.notify_waiters();
    }

    /// Whether commands that change something wait.
    pub fn is_active(&self) -> bool {
        self.level.load(Ordering::Relaxed) != 0
    }

    /// Until when a command waits, if it has to.
    pub fn holds(&self, writes: bool) -> Option<Instant> {
        if !self.is_active() {
            return None;
        }
        self.holds_at(writes, Instant::now())
    }

    fn holds_at(&self, writes: bool, now: Instant) -> Option<Instant> {
        let (paused, until) = (*self.lock())?;
        if until <= now {
            self.end();
            return None;
        }
        (writes || paused == Paused::All).then_some(until)
    }

    /// Ready when the pause is ended after this call.
    pub fn ended(&self) -> Notified<'_> {
        self.ended.notified()
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Paused, Instant)>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_and_the_stricter_pause_wins() {
        let pause = Pause::default();
        let begun = Instant::now();
        let length = Duration::from_secs;
        let at = |s| begun + length(s);
        assert_eq!(pause.holds_at(true, at(1)), None);
        pause.begin(Paused::All, length(9), at(1));
        pause.begin(Paused::Writes, length(18), at(2));
        assert_eq!(pause.holds_at(false, at(15)), Some(at(20)));
        assert_eq!(pause.holds_at(false, at(20)), None);
        assert!(!pause.is_active());
        pause.begin(Paused::Writes, length(10), at(30));
        assert_eq!(pause.holds_at(false, at(31)), None);
        assert_eq!(pause.holds_at(true, at(31)), Some(at(40)));
        pause.end();
        assert_eq!(pause.holds_at(true, at(31)), None);
        pause.begin(Paused::All, Duration::MAX, begun);
        assert!(pause.holds(true).is_some());
    }
}
