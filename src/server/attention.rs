//! How one thread makes the task of a connection look: a flag, and the task's waker.

use crate::sync::{AtomicBool, Mutex};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

/// A bell that any thread rings and one task hears. Waiting for it costs a task nothing but the
/// look at a flag.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Attention {
    /// Rings.
    pub(crate) fn call(&self) {
        self.rung.store(true, Ordering::Release);
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    /// Whether it has rung since the last time.
    pub(crate) fn take(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }

    /// Hears it from now on; returns whether it has rung already.
    pub(crate) fn listen(&self, context: &Context<'_>) -> bool {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        drop(waker);
        self.rung.load(Ordering::Acquire)
    }
}

#[cfg(all(test, interleave))]
mod interleaved;
