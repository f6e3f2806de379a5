//! The sync thread: makes the log durable, keeps space ahead of it, proves what is durable.
//!
//! It sleeps until an append, a request or a deadline wakes it, and does one thing at a time. While
//! it syncs, appends go on; the next sync covers them all. Callers that wait for the disk anyway
//! sync on their own threads ([`super::Aof::sync_through`]), one for all that wait then; they wake
//! it once and it looks after them now and then, for space and marks.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Log, frame, lock};
use crate::error::StorageError;
use crate::persist::{Position, SyncPolicy, is_full};

/// How long nothing must follow a sync before a mark does; chosen.
const MARK_DELAY: Duration = Duration::from_millis(100);
/// How long a full disk is left alone before it is tried again; chosen, below the 2 s in which
/// writes must go on once there is space.
const FULL_RETRY: Duration = Duration::from_millis(500);
/// The period of [`SyncPolicy::EverySec`].
const SYNC_PERIOD: Duration = Duration::from_secs(1);

/// Starts the thread.
pub(super) fn start(log: &Arc<Log>) -> Result<JoinHandle<()>, StorageError> {
    let shared = Arc::clone(log);
    let handle = thread::Builder::new()
        .name("millstream-sync".to_owned())
        .spawn(move || {
            let _watch = Watch(&shared);
            run(&shared);
        })
        .map_err(|e| StorageError::io(log.directory.path(), "start the sync thread", &e))?;
    // It was just made, and nobody else sets it.
    let _ = log.syncer.set(handle.thread().clone());
    Ok(handle)
}

/// Breaks the log if its thread panics: listeners are told of [`StorageError::Stopped`].
struct Watch<'a>(&'a Log);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let failure = StorageError::Stopped("its thread has panicked".to_owned());
            self.0.fail(&mut lock(&self.0.tail), failure);
        }
    }
}

fn run(log: &Log) {
    let mut last_sync = Instant::now();
    let mut last_retry = Instant::now();
    let mut syncs = 0;
    while !log.stop.load(Ordering::Acquire) {
        let now = Instant::now();
        let mut wait = Duration::MAX;
        let seen = log.syncs.load(Ordering::Acquire);
        if seen != syncs {
            // A caller's.
            syncs = seen;
            last_sync = now;
        }
        let full = log.disk_full.load(Ordering::Acquire);
        if !full || now.duration_since(last_retry) >= FULL_RETRY {
            last_retry = now;
            log.make_space();
        }
        if log.disk_full.load(Ordering::Acquire) {
            wait = FULL_RETRY;
        }
        let since_sync = now.duration_since(last_sync);
        let end = log.end.load(Ordering::Acquire);
        let unsynced = log.unsynced.load(Ordering::Acquire);
        let period = sync_period(log.policy()).filter(|_| unsynced);
        if log.sync_wanted.load(Ordering::Acquire)
            || period.is_some_and(|period| since_sync >= period)
        {
            // A failure is kept in the log and told to its listeners.
            let _ = log.sync();
            syncs = log.syncs.load(Ordering::Acquire);
            last_sync = Instant::now();
            continue;
        }
        if let Some(period) = period {
            wait = wait.min(period.saturating_sub(since_sync));
        } else if !unsynced {
            // A caller may be in the midst of a sync, or begin the next one soon.
            if since_sync < MARK_DELAY {
                wait = wait.min(MARK_DELAY.saturating_sub(since_sync));
            } else if log.needs_mark() {
                log.mark();
            }
        }
        if wait < Duration::MAX {
            thread::park_timeout(wait);
            continue;
        }
        log.sleeps.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Who appends after this look sees that the thread sleeps.
        if log.end.load(Ordering::Relaxed) == end {
            thread::park();
        }
        log.sleeps.store(false, Ordering::Relaxed);
        if log.policy() == SyncPolicy::Always {
            // Who woke it syncs by itself, or asks for it.
            last_sync = Instant::now();
        }
    }
}

/// How long appended bytes wait for a sync that nobody asks for. Under [`SyncPolicy::Always`]
/// somebody does, unless it has failed to.
fn sync_period(policy: SyncPolicy) -> Option<Duration> {
    match policy {
        SyncPolicy::Always => Some(MARK_DELAY),
        SyncPolicy::EverySec => Some(SYNC_PERIOD),
        SyncPolicy::No => None,
    }
}

impl Log {
    /// Whether a log that ends at `end` and has unsynced frames wants a sync at once: under
    /// [`SyncPolicy::Always`], or when much waits (a quarter of the bound, chosen).
    pub(super) fn sync_is_due(&self, end: u64) -> bool {
        match self.policy() {
            SyncPolicy::Always => true,
            SyncPolicy::EverySec => self.unsynced_bytes(end) > self.options.unsynced_bytes_max / 4,
            SyncPolicy::No => false,
        }
    }

    /// The space that a log that ends at `end` wants to have ahead.
    fn space_wanted(&self, end: u64) -> u64 {
        end + self.options.reserve_bytes + self.options.space_step(self.policy()) / 2
    }

    /// Wakes the thread if it sleeps until it is woken: there will be something to look after.
    pub(super) fn wake_if_asleep(&self) {
        fence(Ordering::SeqCst);
        if self.sleeps.load(Ordering::Relaxed) && self.sleeps.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// [`Log::wake_if_asleep`]; at any rate if space is wanted.
    pub(super) fn wake_for_space(&self, end: u64) {
        match self.space_wanted(end) > self.ahead.load(Ordering::Acquire) {
            true => self.wake(),
            false => self.wake_if_asleep(),
        }
    }

    /// Makes durable what was written before the call; returns the durable position.
    pub(super) fn sync(&self) -> Result<u64, StorageError> {
        self.sync_through(u64::MAX)
    }

    /// [`Log::sync`], unless another sync has come through `position` meanwhile.
    pub(super) fn sync_through(&self, position: u64) -> Result<u64, StorageError> {
        let _syncing = lock(&self.syncing);
        let durable = self.durable.load(Ordering::Acquire);
        if durable >= position {
            return Ok(durable);
        }
        self.sync_wanted.store(false, Ordering::Release);
        self.unsynced.store(false, Ordering::Release);
        let (written, segment, earlier, name_unsynced) = {
            let tail = lock(&self.tail);
            if let Some(failure) = &tail.failure {
                return Err(failure.clone());
            }
            let segment = Arc::clone(&tail.segment);
            let name_unsynced = tail.name_unsynced && segment.is_made();
            (tail.written, segment, tail.unsynced.clone(), name_unsynced)
        };
        let mut result = Ok(());
        for segment in earlier.iter().chain([&segment]) {
            result = result.and_then(|()| segment.sync());
        }
        if name_unsynced {
            result = result.and_then(|()| self.directory.sync());
        }
        let mut tail = lock(&self.tail);
        if let Err(failure) = result {
            self.fail(&mut tail, failure.clone());
            return Err(failure);
        }
        tail.unsynced.retain(|segment| !earlier.iter().any(|done| Arc::ptr_eq(done, segment)));
        tail.name_unsynced &= !(name_unsynced && Arc::ptr_eq(&tail.segment, &segment));
        self.durable.store(written, Ordering::Release);
        drop(tail);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.notify(&Ok(Position(written)));
        let ends = earlier.iter().skip(1).chain([&segment]).map(|next| next.header.start);
        for (old, end) in earlier.iter().zip(ends) {
            // Only space would be lost.
            let _ = old.trim(end);
        }
        Ok(written)
    }

    /// Whether no frame names the durable position yet.
    fn needs_mark(&self) -> bool {
        let tail = lock(&self.tail);
        tail.failure.is_none()
            && tail.held.is_none()
            && tail.unwritten.is_empty()
            && tail.proven < self.durable.load(Ordering::Acquire)
    }

    /// Appends a frame without records, if no frame names the durable position yet. It is not
    /// synced: losing it loses a proof and no data.
    pub(super) fn mark(&self) {
        if self.needs_mark() {
            let mut buffer = super::frame_buffer();
            let payload_crc = frame::records_crc(&buffer);
            // A failure is kept in the log and told to its listeners.
            let _ = self.write_frame(&mut lock(&self.tail), &mut buffer, payload_crc);
        }
    }

    /// Writes what a full disk refused, keeps space ahead, and begins a new segment when the
    /// current one is long enough.
    pub(super) fn make_space(&self) {
        let segment = {
            let mut tail = lock(&self.tail);
            if tail.failure.is_some()
                || !self.make_planned(&mut tail)
                || !self.write_refused(&mut tail)
            {
                return;
            }
            if tail.end() >= tail.rotate_at {
                self.rotate_or_tell(&mut tail);
            }
            Arc::clone(&tail.segment)
        };
        let need = self.space_wanted(self.end.load(Ordering::Acquire));
        let result = self.allocate(&segment, need);
        let full = result.as_ref().is_err_and(|error| is_full(error.kind()));
        self.disk_full.store(full, Ordering::Release);
        let mut tail = lock(&self.tail);
        if result.is_err_and(|error| error.kind() == ErrorKind::FileTooLarge)
            && Arc::ptr_eq(&tail.segment, &segment)
        {
            // A limit of the process or of the file system: the next file has room.
            self.rotate_or_tell(&mut tail);
        }
        if Arc::ptr_eq(&tail.segment, &segment) {
            self.ahead.store(segment.ahead.load(Ordering::Acquire), Ordering::Release);
        }
    }

    /// Begins a segment, if that can be.
    fn rotate_or_tell(&self, tail: &mut super::Tail) {
        if let Err(error) = self.rotate(tail) {
            tracing::warn!("no new segment, the old one goes on: {error}");
            // Not at every call; the fraction is chosen.
            tail.rotate_at = tail.end().saturating_add(self.options.segment_bytes / 8);
        }
    }

    /// Makes the segment that a full disk had no room for when the log began; false if there
    /// still is none.
    fn make_planned(&self, tail: &mut super::Tail) -> bool {
        if tail.segment.is_made() {
            return true;
        }
        match tail.segment.make(&self.directory, self.options) {
            Ok(()) => {
                tracing::info!("the disk has space again");
                self.disk_full.store(false, Ordering::Release);
                true
            }
            Err(StorageError::Io { kind, .. }) if is_full(kind) => false,
            Err(failure) => {
                self.fail(tail, failure);
                false
            }
        }
    }

    /// Writes what a full disk refused; false if it still does.
    fn write_refused(&self, tail: &mut super::Tail) -> bool {
        if tail.unwritten.is_empty() {
            return true;
        }
        let place = tail.written..tail.end();
        match self.write(&tail.segment, place, |sink| sink(&tail.unwritten)) {
            Ok(()) => {
                tail.written = tail.end();
                self.bytes.fetch_add(tail.unwritten.len() as u64, Ordering::Relaxed);
                tail.unwritten.clear();
                self.unsynced.store(true, Ordering::Release);
                let at_once = self.policy() == SyncPolicy::Always;
                self.sync_wanted.fetch_or(at_once, Ordering::AcqRel);
                self.refusing.store(false, Ordering::Release);
                true
            }
            Err(error) if is_full(error.kind()) => false,
            Err(error) => {
                let failure = StorageError::io(&tail.segment.path, "write", &error);
                self.fail(tail, failure);
                false
            }
        }
    }

    /// Syncs, proves it, frees the space ahead, and refuses everything from then on.
    pub(super) fn close(&self) -> Result<(), StorageError> {
        self.make_space();
        if self.unsynced.load(Ordering::Acquire) {
            self.sync()?;
        }
        if self.needs_mark() {
            self.mark();
            self.sync()?;
        }
        let mut tail = lock(&self.tail);
        tail.check_usable()?;
        let segment = Arc::clone(&tail.segment);
        segment.trim(tail.end())?;
        segment.sync()?;
        tail.failure = Some(StorageError::Stopped("it is closed".to_owned()));
        self.refusing.store(true, Ordering::Release);
        Ok(())
    }
}
