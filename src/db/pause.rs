//! CLIENT PAUSE: for a time, commands wait, and nothing changes by itself.
//!
//! Every connection asks before each command; while nobody pauses, that is one relaxed load.

use crate::stream::UnixMs;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

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
    until: Mutex<Option<(Paused, UnixMs)>>,
    ended: Notify,
}

impl Pause {
    /// Pauses until this time; a pause that is longer or stricter already stays so.
    pub fn begin(&self, paused: Paused, until: UnixMs, now: UnixMs) {
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
    pub fn holds(&self, writes: bool, now: UnixMs) -> Option<UnixMs> {
        if !self.is_active() {
            return None;
        }
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

    fn lock(&self) -> MutexGuard<'_, Option<(Paused, UnixMs)>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_and_the_stricter_pause_wins() {
        let pause = Pause::default();
        assert_eq!(pause.holds(true, UnixMs(1)), None);
        pause.begin(Paused::All, UnixMs(10), UnixMs(1));
        pause.begin(Paused::Writes, UnixMs(20), UnixMs(2));
        assert_eq!(pause.holds(false, UnixMs(15)), Some(UnixMs(20)));
        assert_eq!(pause.holds(false, UnixMs(20)), None);
        assert!(!pause.is_active());
        pause.begin(Paused::Writes, UnixMs(40), UnixMs(30));
        assert_eq!(pause.holds(false, UnixMs(31)), None);
        assert_eq!(pause.holds(true, UnixMs(31)), Some(UnixMs(40)));
        pause.end();
        assert_eq!(pause.holds(true, UnixMs(31)), None);
    }
}
