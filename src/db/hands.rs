//! A panic with a shard in hand, or of a thread that the data depends on: the shard may be in any
//! state, so nothing of it must be read or logged any more, and the database stops for good. Later
//! calls answer [`Error::Stopped`](crate::error::Error::Stopped); what was logged before is there
//! when it is opened again. The server's process ends at a panic wherever it is (`main.rs`).

use super::Core;
use super::home::Message;
use crate::error::StorageError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

/// Whether somebody has panicked, and what is told then.
pub(super) struct Panics {
    happened: AtomicBool,
    doors: Vec<UnboundedSender<Message>>,
    room: Arc<Semaphore>,
    log_moves: watch::Sender<()>,
}

impl Panics {
    /// None yet. Of one that comes the threads hear, and who asks or waits for the log.
    pub(super) fn new(
        doors: Vec<UnboundedSender<Message>>,
        room: Arc<Semaphore>,
        log_moves: watch::Sender<()>,
    ) -> Arc<Panics> {
        Arc::new(Panics { happened: AtomicBool::new(false), doors, room, log_moves })
    }

    /// To be held as long as a panic would stop the database.
    #[inline]
    pub(super) fn watch(&self) -> Watch<'_> {
        Watch { panics: self, before: std::thread::panicking() }
    }

    /// Stops the database.
    #[cold]
    pub(super) fn stop_for_good(&self) {
        self.happened.store(true, Ordering::Release);
        tracing::error!("there was a panic: the database stops");
        self.room.close();
        self.log_moves.send_replace(());
        for door in &self.doors {
            // A thread that has stopped already needs no telling.
            drop(door.send(Message::Stop));
        }
    }
}

/// Held while shards are in hand, or by a thread that the data depends on.
pub(super) struct Watch<'a> {
    panics: &'a Panics,
    /// Whether the thread panicked before, elsewhere.
    before: bool,
}

impl Drop for Watch<'_> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.before {
            self.panics.stop_for_good();
        }
    }
}

impl Core {
    /// To be held as long as shards are in hand.
    #[inline]
    pub(super) fn in_hand(&self) -> Watch<'_> {
        self.panics.watch()
    }

    /// Whether somebody has panicked.
    #[inline]
    pub(super) fn has_panicked(&self) -> bool {
        self.panics.happened.load(Ordering::Acquire)
    }
}

/// Why a turn ends with nothing logged.
pub(super) fn panicked() -> StorageError {
    StorageError::Stopped("there was a panic".to_owned())
}

#[cfg(test)]
mod tests;
