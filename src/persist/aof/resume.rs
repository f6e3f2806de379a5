//! Going on behind a snapshot to which the log does not lead: the log has failed, or changes did
//! not enter it. From the barrier on frames are kept; when the snapshot is durable, a new segment
//! begins a `GAP` behind the old end, and they are its first.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::frame;
use super::segment::Segment;
use super::{Aof, GAP, Log, lock};
use crate::error::StorageError;
use crate::persist::Position;

impl Aof {
    /// Gives the position of a snapshot of the state as it is now, to which the log does not lead.
    /// Nothing is written to the log until [`Aof::resume`] or [`Aof::give_up`]: frames that are
    /// appended are kept for the segment behind the snapshot, in their order.
    pub fn hold(&self) -> Position {
        let mut tail = lock(&self.log.tail);
        tail.held = Some(Vec::new());
        Position(tail.end() + GAP)
    }

    /// The snapshot for which the log was held could not be taken. The next one will have what the
    /// frames kept for it say.
    pub fn give_up(&self) {
        lock(&self.log.tail).held = None;
    }

    /// Goes on in a new segment behind a snapshot to which the log does not lead, which must be
    /// durable: of the file before nothing is used any more. What was kept follows at once.
    ///
    /// # Errors
    /// The new segment cannot be made durable; the log is as it was before it was held.
    ///
    /// # Panics
    /// If `snapshot` is not what [`Aof::hold`] gave: then frames would be lost.
    pub fn resume(&self, snapshot: Position) -> Result<(), StorageError> {
        self.log.resume(snapshot.0)
    }
}

impl Log {
    fn resume(&self, snapshot: u64) -> Result<(), StorageError> {
        let _syncing = lock(&self.syncing);
        let mut tail = lock(&self.tail);
        assert_eq!(snapshot, tail.end() + GAP, "the snapshot covers the whole log");
        let held = tail.held.take().expect("the log is held while the snapshot is taken");
        // A file of this name is left of an attempt that failed here, and has no frames.
        let segment = Segment::planned(&self.directory, snapshot, snapshot);
        segment.make(&self.directory, self.options)?;
        segment.sync()?;
        self.directory.sync()?;
        if !tail.segment.is_made() {
            // It was only planned.
            tail.starts.pop();
        }
        tail.starts.push(Position(snapshot));
        tail.segment = Arc::new(segment);
        tail.unsynced.clear();
        tail.name_unsynced = false;
        tail.written = snapshot;
        tail.unwritten.clear();
        tail.proven = snapshot;
        tail.rotate_at = snapshot.saturating_add(self.options.segment_bytes);
        tail.failure = None;
        self.ahead.store(tail.segment.ahead.load(Ordering::Acquire), Ordering::Release);
        self.end.store(snapshot, Ordering::Release);
        self.durable.store(snapshot, Ordering::Release);
        self.unsynced.store(!held.is_empty(), Ordering::Release);
        self.sync_wanted.fetch_or(!held.is_empty(), Ordering::AcqRel);
        self.disk_full.store(false, Ordering::Release);
        self.refusing.store(false, Ordering::Release);
        for mut buffer in held {
            let payload_crc = frame::records_crc(&buffer);
            // A failure is kept in the log and told to its listeners.
            let _ = self.write_frame(&mut tail, &mut buffer, payload_crc);
        }
        drop(tail);
        self.notify(&Ok(Position(snapshot)));
        self.wake();
        Ok(())
    }
}
