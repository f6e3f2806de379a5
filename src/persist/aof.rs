//! The append-only file: one log for all shards, so there is one order and one durable position.
//!
//! - [`Aof::append`] writes one frame under the log's lock; the sync thread (`sync.rs`) makes
//!   it durable; [`Aof::open`] reads it back (`reader.rs`); the bytes are in `frame.rs`.
//! - **Durable** moves only after a successful sync, to the end captured before the sync began.
//! - Each frame names the durable position at its writing. When nothing follows a sync, a *mark*
//!   (a frame without payload) does.
//! - Frames are written into space that was allocated before. [`Aof::room`] checks that before a
//!   command changes anything; the last [`AofOptions::reserve_bytes`] are for commands that shrink.
//! - A file whose write or sync failed is never written again: the log is *broken* and refuses,
//!   until [`Aof::resume`] goes on in a new file behind a new snapshot. Only a full disk heals by
//!   itself: what did not fit is kept in memory, in order, and written when there is space.
//! - A snapshot of a state that the log does not lead to, because the log is broken or nothing was
//!   logged, stands `GAP` behind the end of it, and so does the segment that goes on from there:
//!   whoever comes from an older snapshot finds that something is missing.
//! - A segment is made under a temporary name, complete with its header, and then renamed: a
//!   name that a reader believes never stands for a file that the log did not go on in.

mod frame;
mod reader;
mod resume;
mod segment;
mod sync;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};

use crate::codec::{Records, Sink};
use crate::error::StorageError;
use crate::persist::disk::Access;
use crate::persist::{Directory, Position, SyncPolicy, is_full};
use segment::{Segment, allocate_space};

pub use frame::FRAME_HEADER_MAX;
pub use reader::{Cut, Visit, inspect, inspect_scattered};

/// How a log is kept.
#[derive(Debug, Clone, Copy)]
pub struct AofOptions {
    /// When it is made durable.
    pub policy: SyncPolicy,
    /// **Limit** of bytes that are written and not durable; beyond it [`Aof::room`] refuses what
    /// comes next. Not under [`SyncPolicy::No`].
    pub unsynced_bytes_max: u64,
    /// A segment longer than this is followed by a new one.
    pub segment_bytes: u64,
    /// How much space is allocated at once: at most 512 KiB of it under [`SyncPolicy::Always`],
    /// where it is written and so is part of the next sync.
    pub space_bytes: u64,
    /// Space that only commands that do not grow the data may use.
    pub reserve_bytes: u64,
    /// Whether a log opens that ends in what was never promised: it is cut there. If not, it is
    /// refused.
    pub cuts_torn_end: bool,
    /// Whether a thread syncs. Without it the caller does, by [`Aof::sync`] and [`Aof::tend`].
    pub sync_thread: bool,
}

impl AofOptions {
    fn space_step(&self, policy: SyncPolicy) -> u64 {
        match policy {
            SyncPolicy::Always => self.space_bytes.min(512 << 10),
            SyncPolicy::EverySec | SyncPolicy::No => self.space_bytes,
        }
    }
}

impl Default for AofOptions {
    fn default() -> Self {
        AofOptions {
            policy: SyncPolicy::EverySec,
            unsynced_bytes_max: 64 << 20,
            segment_bytes: 1 << 30,
            space_bytes: 4 << 20,
            reserve_bytes: 256 << 10,
            cuts_torn_end: true,
            sync_thread: true,
        }
    }
}

/// What [`Aof::open`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The end of the log.
    pub end: Position,
    /// Frames that were visited.
    pub frames: u64,
    /// Bytes of frames that were read.
    pub bytes: u64,
    /// What was cut off behind the end, if anything was.
    pub cut: Option<Cut>,
}

/// What the log has done since it was opened, and its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AofCounters {
    /// Frames with records.
    pub frames: u64,
    /// Bytes of frames, marks included.
    pub bytes: u64,
    /// Successful syncs.
    pub syncs: u64,
    /// Bytes of frames in all segments that are kept.
    pub kept_bytes: u64,
}

/// What lies between the end of a log and a snapshot that it does not lead to: no frame has the
/// positions in it.
const GAP: u64 = 1;

/// Called with each new durable position, or with what broke the log: [`StorageError::Stopped`] if
/// its thread has panicked.
pub type Listener = Box<dyn Fn(Result<Position, StorageError>) + Send + Sync>;

/// A buffer for the records of a turn: [`FRAME_HEADER_MAX`] bytes that [`Aof::append`] fills, and
/// behind them what the caller appends.
pub fn frame_buffer() -> Records {
    Records::new(FRAME_HEADER_MAX)
}

/// An open log. Shards share it.
pub struct Aof {
    log: Arc<Log>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Aof {
    /// Opens the log of a directory: visits every frame behind `from` (the position of the
    /// snapshot, or 0), and begins a new segment at its end, which is found by the rule in
    /// `reader.rs`. All that was visited is durable when this returns.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if bytes that were promised are not there,
    /// [`StorageError::Version`], [`StorageError::Io`], and whatever `visit` returns.
    pub fn open(
        directory: Arc<Directory>,
        options: AofOptions,
        from: Position,
        visit: &mut Visit<'_>,
    ) -> Result<(Arc<Aof>, Recovered), StorageError> {
        let segments = directory.segments()?;
        let mut walk = reader::walk(&directory, &segments, from, false, visit)?;
        if let Some(cut) = &mut walk.cut {
            if !options.cuts_torn_end {
                return Err(StorageError::Damaged {
                    path: cut.path.clone(),
                    offset: cut.offset,
                    reason:
                        "what follows was never promised; the setting 'aof-load-truncated yes' \
                             starts without it, and keeps it aside"
                            .to_owned(),
                });
            }
            // The last one first, each durably: a crash in between must not leave a gap.
            for &start in walk.behind.iter().rev() {
                cut.aside.push(directory.set_aside(start)?);
                directory.sync()?;
            }
            tracing::warn!(
                "the log ends at position {}: {} holds from byte {} to {} what was never promised",
                cut.at,
                cut.path.display(),
                cut.offset,
                cut.kept_until,
            );
        }
        if walk.cut.is_none() {
            // A crash leaves space kept ahead in these, which the new one may need.
            let mut end = walk.end;
            for &start in segments.iter().rev().take(2) {
                let path = directory.segment_path(start);
                let file = directory.open_file(&path, Access::Update)?;
                reader::trim(&*file, &path, start.0, end)?;
                end = start.0;
            }
        }
        let mut starts = segments;
        starts.retain(|start| start.0 < walk.end);
        if from > Position::default() || walk.end > 0 || walk.cut.is_some() {
            // Its name must last as what it holds does. Of an empty log nothing was visited.
            directory.sync()?;
        }
        let log = Arc::new(Log::begin(directory, options, starts, walk.end)?);
        let thread = if options.sync_thread { Some(sync::start(&log)?) } else { None };
        let recovered = Recovered {
            end: Position(walk.end),
            frames: walk.frames,
            bytes: walk.bytes,
            cut: walk.cut,
        };
        Ok((Arc::new(Aof { log, thread: Mutex::new(thread) }), recovered))
    }

    /// Appends the records in `buffer` (made by [`frame_buffer`]) as one frame with one write, or
    /// with one for each piece if parts are lent to them, and empties the buffer for the next turn.
    /// Returns the position after the frame.
    ///
    /// # Errors
    /// Whether the frame is in the log is then unknown, as after a crash. It keeps its place in
    /// the order: the caller has applied it.
    ///
    /// # Panics
    /// If the buffer does not begin with [`FRAME_HEADER_MAX`] bytes of room, or has no records.
    pub fn append(&self, buffer: &mut Records) -> Result<Position, StorageError> {
        let (end, was_clean) = self.append_frame(buffer)?;
        if self.log.sync_is_due(end.0) {
            self.request_sync();
        } else if was_clean {
            self.log.wake();
        }
        Ok(end)
    }

    /// [`Aof::append`] for a caller that goes on to [`Aof::sync_through`] what this returns. The
    /// sync thread is not woken for it: two threads would only stand in each other's way.
    ///
    /// # Errors
    /// As [`Aof::append`].
    ///
    /// # Panics
    /// As [`Aof::append`].
    pub fn append_to_sync(&self, buffer: &mut Records) -> Result<Position, StorageError> {
        let (end, _) = self.append_frame(buffer)?;
        self.log.wake_for_space(end.0);
        Ok(end)
    }

    /// Appends; returns where the log ends, and whether all before it was durable.
    fn append_frame(&self, buffer: &mut Records) -> Result<(Position, bool), StorageError> {
        assert!(!buffer.is_empty(), "a turn without changes appends nothing");
        let payload_crc = frame::records_crc(buffer);
        let result = self.log.write_frame(&mut lock(&self.log.tail), buffer, payload_crc);
        buffer.clear();
        let end = result?;
        self.log.frames.fetch_add(1, Ordering::Relaxed);
        // Mostly it is set: a look costs less than a change.
        let unsynced = &self.log.unsynced;
        let was_clean = !unsynced.load(Ordering::Acquire) && !unsynced.swap(true, Ordering::AcqRel);
        Ok((Position(end), was_clean))
    }

    /// The end of the log: what was appended.
    pub fn end(&self) -> Position {
        Position(self.log.end.load(Ordering::Acquire))
    }

    /// The durable position: what a power cut cannot take back.
    pub fn durable(&self) -> Position {
        Position(self.log.durable.load(Ordering::Acquire))
    }

    /// Adds a listener, which the sync thread calls after each sync and when the log breaks. It
    /// must not call the log but for [`Aof::end`] and [`Aof::durable`].
    pub fn on_durable(&self, listener: Listener) {
        lock(&self.log.listeners).push(listener);
    }

    /// Asks for a sync soon, under any policy. Does not wait.
    pub fn request_sync(&self) {
        self.log.sync_wanted.store(true, Ordering::Release);
        self.log.wake();
    }

    /// Syncs now, on this thread; returns the durable position.
    ///
    /// # Errors
    /// What broke the log, now or earlier.
    pub fn sync(&self) -> Result<Position, StorageError> {
        self.log.sync().map(Position)
    }

    /// Makes the log durable through `position` on this thread, unless it is when another thread's
    /// sync has ended: for a caller that would only wait for the sync thread.
    ///
    /// # Errors
    /// As [`Aof::sync`].
    pub fn sync_through(&self, position: Position) -> Result<(), StorageError> {
        let synced = self.log.sync_through(position.0).map(drop);
        // A mark follows what is synced.
        self.log.wake_if_asleep();
        synced
    }

    /// Does what the sync thread does besides syncing: writes what a full disk refused, allocates
    /// ahead, begins a new segment where one is due, and appends a mark if the durable position is
    /// not proven yet. Only for callers that run without the thread.
    pub fn tend(&self) {
        self.log.make_space();
        self.log.mark();
    }

    /// Whether `bytes` more records may be appended. Call it before a command changes anything;
    /// `growing` is false for commands that free space (XACK, XDEL, XTRIM, DEL), which may use
    /// the reserve. **Cost**: three atomic loads; an allocation when the space ahead is used up.
    ///
    /// # Errors
    /// Why not: the log is broken or closed, or the disk is full.
    pub fn room(&self, bytes: usize, growing: bool) -> Result<(), StorageError> {
        let need = self.end().0 + (bytes + FRAME_HEADER_MAX) as u64;
        let reserve = if growing { self.log.options.reserve_bytes } else { 0 };
        let fits = need + reserve <= self.log.ahead.load(Ordering::Acquire);
        if fits && !self.log.refusing.load(Ordering::Acquire) {
            return Ok(());
        }
        self.log.find_room(need + reserve)
    }

    /// Whether more than [`AofOptions::unsynced_bytes_max`] waits for the disk: then those who
    /// write wait, too, until a listener tells that the durable position has moved. Never once
    /// the log is broken: [`Aof::room`] says so.
    pub fn is_behind(&self) -> bool {
        self.log.is_behind() && !self.log.refusing.load(Ordering::Acquire)
    }

    /// Why the log refuses, if it does.
    pub fn failure(&self) -> Option<StorageError> {
        lock(&self.log.tail).check_usable().err()
    }

    /// Whether the log has failed or the disk is full, so that writes are refused.
    pub fn is_refusing(&self) -> bool {
        let flags = [&self.log.refusing, &self.log.disk_full];
        flags.iter().any(|flag| flag.load(Ordering::Acquire))
    }

    /// Whether the log has failed and waits for [`Aof::resume`]; a full disk is no failure.
    /// **Cost**: an atomic load while all is well.
    pub fn is_broken(&self) -> bool {
        self.log.refusing.load(Ordering::Acquire) && lock(&self.log.tail).failure.is_some()
    }

    /// Appends a frame without records, so that the log has a position of its own for a state
    /// that it does not lead to.
    ///
    /// # Errors
    /// As [`Aof::append`].
    pub fn append_mark(&self) -> Result<Position, StorageError> {
        let mut buffer = frame_buffer();
        let payload_crc = frame::records_crc(&buffer);
        let end = self.log.write_frame(&mut lock(&self.log.tail), &mut buffer, payload_crc)?;
        self.log.unsynced.store(true, Ordering::Release);
        Ok(Position(end))
    }

    /// Changes when the log is made durable. What was appended before is synced: whoever waits for
    /// that would otherwise never hear of it under [`SyncPolicy::No`].
    pub fn set_policy(&self, policy: SyncPolicy) {
        let code = policy_code(policy);
        if self.log.policy.swap(code, Ordering::AcqRel) != code {
            self.request_sync();
        }
    }

    /// Begins a new segment, unless the current one has no frames yet; returns where it starts.
    /// Asks for a sync and does not wait for it.
    ///
    /// # Errors
    /// The log is broken, or the file cannot be made; then the old segment goes on.
    pub fn rotate(&self) -> Result<Position, StorageError> {
        let result = self.log.rotate(&mut lock(&self.log.tail));
        self.log.wake();
        result.map(Position)
    }

    /// Removes the segments all of whose frames are below `position`, and what was set aside there.
    ///
    /// # Errors
    /// [`StorageError::Io`]; what could not be removed is tried again by the next call.
    pub fn remove_below(&self, position: Position) -> Result<(), StorageError> {
        self.log.remove_below(position)
    }

    /// What the log has done so far.
    pub fn counters(&self) -> AofCounters {
        let first = lock(&self.log.tail).starts.first().map_or(0, |start| start.0);
        AofCounters {
            frames: self.log.frames.load(Ordering::Relaxed),
            bytes: self.log.bytes.load(Ordering::Relaxed),
            syncs: self.log.syncs.load(Ordering::Relaxed),
            kept_bytes: self.end().0 - first,
        }
    }

    /// Makes everything durable, appends the mark that proves it, and closes: later appends are
    /// refused.
    ///
    /// # Errors
    /// What broke the log, now or earlier.
    pub fn close(&self) -> Result<(), StorageError> {
        self.stop_thread();
        self.log.close()
    }

    fn stop_thread(&self) {
        self.log.stop.store(true, Ordering::Release);
        self.log.wake();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Aof {
    /// Stops the thread; writes nothing.
    fn drop(&mut self) {
        self.stop_thread();
    }
}

impl fmt::Debug for Aof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aof")
            .field("directory", &self.log.directory)
            .field("end", &self.end())
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

/// The end of the log, behind its lock.
struct Tail {
    segment: Arc<Segment>,
    /// Earlier segments that are not synced yet.
    unsynced: Vec<Arc<Segment>>,
    /// Whether the segment's name, or its header, is not durable yet.
    name_unsynced: bool,
    /// Where the kept segments start, the current one last.
    starts: Vec<Position>,
    /// The end of what was written; behind it, what a full disk refused.
    written: u64,
    /// Frames that a full disk refused.
    unwritten: Vec<u8>,
    /// While a snapshot is taken to which the log does not lead: the buffers of frames that follow
    /// it.
    held: Option<Vec<Records>>,
    /// The durable position that the last frame or the header names.
    proven: u64,
    /// Where the next segment is due.
    rotate_at: u64,
    /// What broke the log.
    failure: Option<StorageError>,
}

impl Tail {
    fn end(&self) -> u64 {
        self.written + self.unwritten.len() as u64
    }

    /// Keeps a frame, which begins at `begin` of the buffer, until there is space.
    fn keep_unwritten(&mut self, buffer: &Records, begin: usize) {
        let kept = buffer.give(begin, &mut |piece| {
            self.unwritten.extend_from_slice(piece);
            Ok(())
        });
        debug_assert!(kept.is_ok());
    }

    /// An error if the log is broken or waits for space.
    fn check_usable(&self) -> Result<(), StorageError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.unwritten.is_empty() { Ok(()) } else { Err(full(&self.segment)) }
    }
}

/// What the appending threads and the sync thread share.
struct Log {
    directory: Arc<Directory>,
    options: AofOptions,
    policy: AtomicU8,
    tail: Mutex<Tail>,
    /// Held during a sync, so that each sees the end of the one before.
    syncing: Mutex<()>,
    listeners: Mutex<Vec<Listener>>,
    /// The sync thread, once it runs.
    syncer: OnceLock<Thread>,
    end: AtomicU64,
    durable: AtomicU64,
    /// As the current segment's; an older value only makes `room` look closer.
    ahead: AtomicU64,
    /// Whether the log is broken, closed, or has frames that a full disk refused.
    refusing: AtomicBool,
    /// Whether the last allocation failed; the sync thread tries again.
    disk_full: AtomicBool,
    /// Whether a frame was appended since the last sync began.
    unsynced: AtomicBool,
    sync_wanted: AtomicBool,
    /// Whether the sync thread sleeps until it is woken.
    sleeps: AtomicBool,
    stop: AtomicBool,
    frames: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
}

impl Log {
    /// A log whose segments in `starts` end at `end` and are durable, with a new segment there,
    /// which becomes durable with the first frame. If a full disk has no room for its file, the
    /// log begins as one that waits for space.
    fn begin(
        directory: Arc<Directory>,
        options: AofOptions,
        mut starts: Vec<Position>,
        end: u64,
    ) -> Result<Self, StorageError> {
        let segment = Segment::planned(&directory, end, end);
        let made = segment.make(&directory, options);
        let disk_full = matches!(&made, Err(StorageError::Io { kind, .. }) if is_full(*kind));
        if disk_full {
            tracing::error!("the disk is full; writes are refused until it has space");
        } else {
            made?;
        }
        starts.push(Position(end));
        let ahead = segment.ahead.load(Ordering::Acquire);
        let tail = Tail {
            segment: Arc::new(segment),
            unsynced: Vec::new(),
            name_unsynced: true,
            starts,
            written: end,
            unwritten: Vec::new(),
            held: None,
            proven: end,
            rotate_at: end.saturating_add(options.segment_bytes),
            failure: None,
        };
        Ok(Log {
            directory,
            options,
            policy: AtomicU8::new(policy_code(options.policy)),
            tail: Mutex::new(tail),
            syncing: Mutex::new(()),
            listeners: Mutex::new(Vec::new()),
            syncer: OnceLock::new(),
            end: AtomicU64::new(end),
            durable: AtomicU64::new(end),
            ahead: AtomicU64::new(ahead),
            refusing: AtomicBool::new(false),
            disk_full: AtomicBool::new(disk_full),
            unsynced: AtomicBool::new(false),
            sync_wanted: AtomicBool::new(false),
            sleeps: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            frames: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        })
    }

    fn policy(&self) -> SyncPolicy {
        match self.policy.load(Ordering::Acquire) {
            0 => SyncPolicy::Always,
            1 => SyncPolicy::EverySec,
            _ => SyncPolicy::No,
        }
    }

    /// Whether too much waits for a sync.
    fn is_behind(&self) -> bool {
        let end = self.end.load(Ordering::Acquire);
        self.unsynced_bytes(end) > self.options.unsynced_bytes_max
            && self.policy() != SyncPolicy::No
    }

    fn unsynced_bytes(&self, end: u64) -> u64 {
        end.saturating_sub(self.durable.load(Ordering::Acquire))
    }

    /// Writes the frame in `buffer` at the end of the log.
    fn write_frame(
        &self,
        tail: &mut Tail,
        buffer: &mut Records,
        payload_crc: u64,
    ) -> Result<u64, StorageError> {
        if let Some(held) = &mut tail.held {
            held.push(mem::replace(buffer, frame_buffer()));
            return Err(StorageError::Stopped("a snapshot is to take its place".to_owned()));
        }
        if let Some(failure) = &tail.failure {
            return Err(StorageError::Stopped(failure.to_string()));
        }
        let durable = self.durable.load(Ordering::Acquire);
        let position = tail.end();
        let seed = tail.segment.header.seed;
        let begin = frame::seal(buffer, payload_crc, seed, position, durable);
        let len = (FRAME_HEADER_MAX - begin + buffer.len()) as u64;
        if !tail.unwritten.is_empty() {
            tail.keep_unwritten(buffer, begin);
            self.end.store(tail.end(), Ordering::Release);
            return Err(full(&tail.segment));
        }
        let end = position + len;
        let written = self.write(&tail.segment, position..end, |sink| buffer.give(begin, sink));
        // Even a frame that failed keeps its position: the caller has applied it.
        self.end.store(end, Ordering::Release);
        match written {
            Ok(()) => {
                tail.written = end;
                tail.proven = durable;
                self.bytes.fetch_add(len, Ordering::Relaxed);
                Ok(end)
            }
            Err(error) if is_full(error.kind()) => {
                tail.keep_unwritten(buffer, begin);
                self.refusing.store(true, Ordering::Release);
                self.disk_full.store(true, Ordering::Release);
                self.wake();
                Err(StorageError::io(&tail.segment.path, "write", &error))
            }
            Err(error) => {
                tail.written = end;
                let failure = StorageError::io(&tail.segment.path, "write", &error);
                self.fail(tail, failure.clone());
                Err(failure)
            }
        }
    }

    /// Writes what `give` gives into the space ahead, or, where there is none left, behind it.
    fn write(
        &self,
        segment: &Segment,
        place: Range<u64>,
        give: impl FnOnce(&mut Sink<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = segment.file()?;
        let mut at = place.start;
        let mut sink = |piece: &[u8]| {
            file.write_at(piece, segment.offset(at))?;
            at += piece.len() as u64;
            Ok(())
        };
        if place.end > segment.ahead.load(Ordering::Acquire) {
            // The disk may be full: then the write itself has to show whether it fits.
            let _ = self.allocate(segment, place.end);
            let _allocating = lock(&segment.allocating);
            give(&mut sink)?;
            segment.ahead.fetch_max(place.end, Ordering::AcqRel);
        } else {
            give(&mut sink)?;
        }
        debug_assert_eq!(at, place.end);
        Ok(())
    }

    /// Raises the space ahead of a segment to `need` or more.
    fn allocate(&self, segment: &Segment, need: u64) -> io::Result<()> {
        let _allocating = lock(&segment.allocating);
        let ahead = segment.ahead.load(Ordering::Acquire);
        if need <= ahead {
            return Ok(());
        }
        let policy = self.policy();
        let ample = need.max(ahead + self.options.space_step(policy));
        let file = segment.file()?;
        let reached = match allocate_space(segment, file, policy, ahead, ample) {
            Ok(()) => ample,
            Err(_) => allocate_space(segment, file, policy, ahead, need).map(|()| need)?,
        };
        segment.ahead.store(reached, Ordering::Release);
        Ok(())
    }

    /// The slow part of [`Aof::room`]: allocates, or says why there is no room.
    fn find_room(&self, need: u64) -> Result<(), StorageError> {
        let tail = lock(&self.tail);
        tail.check_usable()?;
        let segment = &tail.segment;
        if need > segment.ahead.load(Ordering::Acquire) {
            if self.disk_full.load(Ordering::Acquire) {
                return Err(full(segment));
            }
            if let Err(error) = self.allocate(segment, need) {
                self.disk_full.store(true, Ordering::Release);
                self.wake();
                return Err(StorageError::io(&segment.path, "allocate", &error));
            }
        }
        self.ahead.store(segment.ahead.load(Ordering::Acquire), Ordering::Release);
        Ok(())
    }

    fn rotate(&self, tail: &mut Tail) -> Result<u64, StorageError> {
        tail.check_usable()?;
        let start = tail.end();
        if start == tail.segment.header.start {
            return Ok(start);
        }
        if tail.name_unsynced
            && let Err(failure) = self.directory.sync()
        {
            // A crash could keep the new name and not this one: a log without its beginning.
            self.fail(tail, failure.clone());
            return Err(failure);
        }
        let durable = self.durable.load(Ordering::Acquire);
        let segment = Segment::planned(&self.directory, start, durable);
        if let Err(failure) = segment.make(&self.directory, self.options) {
            // If the rename may have happened, a reader would end the old segment here.
            if matches!(failure, StorageError::Io { doing: "rename", .. }) {
                self.fail(tail, failure.clone());
            }
            return Err(failure);
        }
        let old = mem::replace(&mut tail.segment, Arc::new(segment));
        tail.unsynced.push(old);
        tail.name_unsynced = true;
        tail.starts.push(Position(start));
        tail.proven = durable;
        tail.rotate_at = start.saturating_add(self.options.segment_bytes);
        self.ahead.store(tail.segment.ahead.load(Ordering::Acquire), Ordering::Release);
        self.unsynced.store(true, Ordering::Release);
        self.sync_wanted.store(true, Ordering::Release);
        Ok(start)
    }

    fn remove_below(&self, position: Position) -> Result<(), StorageError> {
        let mut removable = Vec::new();
        {
            let tail = lock(&self.tail);
            for pair in tail.starts.windows(2) {
                if pair[1] <= position {
                    removable.push(pair[0]);
                }
            }
        }
        for &start in &removable {
            self.directory.remove(&self.directory.segment_path(start))?;
            lock(&self.tail).starts.retain(|&kept| kept != start);
        }
        self.directory.remove_aside_below(position)?;
        self.directory.sync()
    }

    /// Breaks the log.
    fn fail(&self, tail: &mut Tail, failure: StorageError) {
        tracing::error!("the log stops: {failure}");
        self.refusing.store(true, Ordering::Release);
        self.notify(&Err(failure.clone()));
        tail.failure.get_or_insert(failure);
    }

    fn notify(&self, result: &Result<Position, StorageError>) {
        for listener in &*lock(&self.listeners) {
            listener(result.clone());
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.syncer.get() {
            thread.unpark();
        }
    }
}

fn policy_code(policy: SyncPolicy) -> u8 {
    match policy {
        SyncPolicy::Always => 0,
        SyncPolicy::EverySec => 1,
        SyncPolicy::No => 2,
    }
}

fn full(segment: &Segment) -> StorageError {
    StorageError::io(&segment.path, "write", &io::ErrorKind::StorageFull.into())
}

/// A panic while a lock is held stops the process, or leaves a simulator that wants to look.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
