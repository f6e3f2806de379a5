//! Opening: the newest good snapshot, then the log behind it.
//!
//! Keys are routed by their hash slot, so the number of shards may have changed. A snapshot is
//! decoded by several threads: a section that begins with a key and those that go on with its
//! stream are one piece of work. The log is one order and is replayed by one thread.
//!
//! A snapshot that is damaged is left where it is; the one before it and the longer log give the
//! same state. What is not there is never made up: if neither leads as far as the damaged
//! snapshot did, the start is refused.

use super::Shard;
use super::checkpoint::{KEYS, MORE, STREAM, STRING};
use crate::codec::{Corrupt, Cursor};
use crate::error::StorageError;
use crate::keyspace::{Change, FrozenKey, Keyspace, Spaces, Value, slot_of};
use crate::persist::aof::{Aof, AofOptions, Recovered, Visit};
use crate::persist::snapshot::{Section, SnapshotReader};
use crate::persist::{Directory, Position};
use crate::stream::{StreamBuilder, UnixMs};
use bytes::Bytes;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many threads decode a snapshot, at most; beyond it the disk is the limit.
const THREADS_MAX: usize = 8;

/// A snapshot that was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// What it is complete through.
    pub position: Position,
    /// The size of its file.
    pub bytes: u64,
    /// How many keys it has.
    pub keys: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What was found in a directory.
#[derive(Debug, Clone)]
pub struct Found {
    /// The snapshot, if there is one.
    pub snapshot: Option<Loaded>,
    /// Newer snapshots that are damaged.
    pub damaged: Vec<StorageError>,
    /// The log behind it.
    pub log: Recovered,
}

/// How far the loading of a database has come; another thread may look.
#[derive(Debug, Default)]
pub struct LoadProgress {
    total_bytes: AtomicU64,
    loaded_bytes: AtomicU64,
}

impl LoadProgress {
    /// Bytes to read, as far as that is known, and bytes read.
    pub fn bytes(&self) -> (u64, u64) {
        let loaded = self.loaded_bytes.load(Ordering::Relaxed);
        (self.total_bytes.load(Ordering::Relaxed).max(loaded), loaded)
    }

    fn expect(&self, bytes: u64) {
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) {
        self.loaded_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Fills empty shards with what the directory holds, and opens its log to go on there.
///
/// # Errors
/// [`StorageError::Damaged`] if something that was promised is not there,
/// [`StorageError::Version`], [`StorageError::Io`]. Nothing has been removed then.
pub fn open(
    directory: &Arc<Directory>,
    options: AofOptions,
    shards: &mut [&mut Shard],
    told: &LoadProgress,
) -> Result<(Arc<Aof>, Found), StorageError> {
    let mut spaces: Vec<&mut Keyspace> =
        shards.iter_mut().map(|shard| shard.keyspace_mut()).collect();
    let (snapshot, damaged) = load_newest(directory, &mut spaces, told)?;
    let from = snapshot.map(|loaded| loaded.position).unwrap_or_default();
    told.expect(directory.log_bytes_from(from)?);
    let opened = replay(directory.path(), from, &mut spaces, told, |visit| {
        Aof::open(Arc::clone(directory), options, from, visit)
    });
    let (aof, log) = opened.map_err(|error| damaged.first().cloned().unwrap_or(error))?;
    let promised = directory.snapshots()?.last().copied().unwrap_or_default();
    if let Some(error) = damaged.first()
        && log.end < promised
    {
        tracing::error!("the log ends at {}, before the damaged snapshot", log.end);
        return Err(error.clone());
    }
    for shard in shards {
        drop(shard.keyspace_mut().take_garbage());
        shard.keyspace_mut().changes = 0;
        shard.reached(log.end);
    }
    Ok((aof, Found { snapshot, damaged, log }))
}

/// Loads the newest snapshot that is whole, if there is any; returns what is wrong with newer
/// ones, too.
///
/// # Errors
/// [`StorageError::Version`]; what is wrong with the newest, if none is whole and the log does not
/// begin at the beginning.
pub(super) fn load_newest(
    directory: &Directory,
    spaces: &mut [&mut Keyspace],
    told: &LoadProgress,
) -> Result<(Option<Loaded>, Vec<StorageError>), StorageError> {
    let mut damaged = Vec::new();
    for &position in directory.snapshots()?.iter().rev() {
        match load(directory, position, spaces, told) {
            Ok(loaded) => return Ok((Some(loaded), damaged)),
            Err(error @ StorageError::Version { .. }) => return Err(error),
            Err(error) => {
                tracing::error!("a snapshot cannot be used, trying the one before it: {error}");
                damaged.push(error);
                spaces.iter_mut().for_each(|space| space.clear());
            }
        }
    }
    match damaged.first() {
        Some(error) if directory.segments()?.first() != Some(&Position::default()) => {
            Err(error.clone())
        }
        _ => Ok((None, damaged)),
    }
}

/// Applies the frames that `read` visits, which are those behind `from`.
pub(super) fn replay<R>(
    path: &Path,
    from: Position,
    spaces: &mut [&mut Keyspace],
    told: &LoadProgress,
    read: impl FnOnce(&mut Visit<'_>) -> Result<R, StorageError>,
) -> Result<R, StorageError> {
    /// What was removed is freed after so many frames: it may be large.
    const FRAMES: u64 = 4096;
    let begun = Instant::now();
    let mut progress = Progress::new("replaying the log");
    let (mut frames, count) = (0_u64, spaces.len());
    let mut spaces = Spaces::new(spaces);
    let done = read(&mut |position, payload| {
        Change::decode_all(payload, &mut |change| spaces.apply(&change)).map_err(
            |error: Corrupt| StorageError::Damaged {
                path: path.to_owned(),
                offset: position.0,
                reason: format!("a change before position {position} does not apply: {error}"),
            },
        )?;
        frames += 1;
        told.add(payload.len());
        if frames.is_multiple_of(FRAMES) {
            (0..count).for_each(|at| drop(spaces.at_mut(at).take_garbage()));
            progress.tell(|| format!("position {position}"));
        }
        Ok(())
    })?;
    if frames > 0 {
        let elapsed = begun.elapsed();
        tracing::info!("replayed {frames} frames of the log from position {from} in {elapsed:.1?}");
    }
    Ok(done)
}

/// Loads one snapshot into empty keyspaces, which together take every hash slot.
///
/// # Errors
/// [`StorageError::Damaged`] if anything in it is, [`StorageError::Version`],
/// [`StorageError::Io`]. The keyspaces then hold a part of it.
pub fn load(
    directory: &Directory,
    position: Position,
    spaces: &mut [&mut Keyspace],
    told: &LoadProgress,
) -> Result<Loaded, StorageError> {
    let begun = Instant::now();
    let reader = SnapshotReader::open(directory, position)?;
    told.expect(reader.summary().bytes);
    let loader = Loader {
        works: works(&reader)?,
        reader,
        told,
        spaces: spaces.iter_mut().map(|space| (space.slots(), Mutex::new(&mut **space))).collect(),
        next: AtomicUsize::new(0),
        keys: AtomicU64::new(0),
        failed: AtomicBool::new(false),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = loader.works.len().clamp(1, THREADS_MAX.min(cores));
    std::thread::scope(|scope| {
        // Where the system gives no more threads, fewer do the work.
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, || loader.run()).ok();
        let others: Vec<_> = (1..threads).map_while(start).collect();
        let first = loader.run();
        let joined = others.into_iter().map(|thread| {
            // A panic of the thread is reported where it happens; here it is a failure to load.
            thread.join().unwrap_or_else(|_| Err(loader.damaged("a thread failed")))
        });
        joined.fold(first, Result::and)
    })?;
    let keys = loader.keys.load(Ordering::Relaxed);
    let bytes = loader.reader.summary().bytes;
    let elapsed = begun.elapsed();
    tracing::info!("loaded {keys} keys from the snapshot at {position} in {elapsed:.1?}");
    Ok(Loaded { position, bytes, keys, elapsed })
}

/// Loads what is whole of a snapshot, piece by piece; returns what is missing, in words.
///
/// # Errors
/// [`StorageError`] if its sections cannot be told apart.
pub(super) fn load_whole_sections(
    directory: &Directory,
    position: Position,
    space: &mut Keyspace,
) -> Result<Vec<String>, StorageError> {
    let reader = SnapshotReader::open(directory, position)?;
    let works = works(&reader)?;
    let loader = Loader {
        works,
        reader,
        told: &LoadProgress::default(),
        spaces: vec![(space.slots(), Mutex::new(space))],
        next: AtomicUsize::new(0),
        keys: AtomicU64::new(0),
        failed: AtomicBool::new(false),
    };
    let (mut payload, mut keys, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for work in &loader.works {
        let sections = &loader.reader.sections()[work.clone()];
        let mut open = None;
        if let Err(error) = loader.work(sections, &mut payload, &mut keys, &mut open) {
            let db = sections.first().map_or(0, |section| section.tag.database);
            missing.push(match open {
                Some(Open { key, .. }) => {
                    format!("database {db}, key '{}': {error}", key.escape_ascii())
                }
                None => format!("the keys of a section of database {db}: {error}"),
            });
            keys.clear();
        }
    }
    Ok(missing)
}

/// Groups the sections: each that begins with a key, with those that go on with its stream.
fn works(reader: &SnapshotReader) -> Result<Vec<Range<usize>>, StorageError> {
    let mut works: Vec<Range<usize>> = Vec::new();
    for (index, section) in reader.sections().iter().enumerate() {
        match (section.tag.kind, works.last_mut()) {
            (KEYS, _) => works.push(index..index + 1),
            (MORE, Some(work)) => work.end = index + 1,
            _ => return Err(reader.damaged_section(section, "a section of an unknown kind")),
        }
    }
    Ok(works)
}

/// What the threads that load a snapshot share.
struct Loader<'s> {
    reader: SnapshotReader,
    told: &'s LoadProgress,
    works: Vec<Range<usize>>,
    spaces: Vec<(Range<u16>, Mutex<&'s mut Keyspace>)>,
    /// The next piece of work.
    next: AtomicUsize,
    keys: AtomicU64,
    failed: AtomicBool,
}

/// A stream of which parts are still to come.
struct Open {
    key: Box<[u8]>,
    expire_at: Option<UnixMs>,
    builder: StreamBuilder,
}

impl Loader<'_> {
    fn run(&self) -> Result<(), StorageError> {
        let (mut payload, mut keys) = (Vec::new(), Vec::new());
        let mut progress = Progress::new("loading the snapshot");
        while !self.failed.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(work) = self.works.get(at) else { break };
            let sections = &self.reader.sections()[work.clone()];
            let done = self.work(sections, &mut payload, &mut keys, &mut None);
            if done.is_err() {
                self.failed.store(true, Ordering::Relaxed);
                return done;
            }
            progress.tell(|| format!("{at} of {} pieces", self.works.len()));
        }
        Ok(())
    }

    /// Restores the keys of some sections; `open` is the stream that what was read of them ends in.
    fn work(
        &self,
        sections: &[Section],
        payload: &mut Vec<u8>,
        keys: &mut Vec<FrozenKey>,
        open: &mut Option<Open>,
    ) -> Result<(), StorageError> {
        for (at, section) in sections.iter().enumerate() {
            self.reader.read(section, payload)?;
            self.told.add(payload.len());
            decode(section.tag.database, payload, open, keys)
                .and_then(|()| match (&*open, at + 1 == sections.len()) {
                    (Some(_), true) => Err(Corrupt("a stream ends in its middle")),
                    _ => self.restore(keys),
                })
                .map_err(|error| self.reader.damaged_section(section, error.0))?;
        }
        Ok(())
    }

    /// Gives the keys to their shards.
    fn restore(&self, keys: &mut Vec<FrozenKey>) -> Result<(), Corrupt> {
        self.keys.fetch_add(keys.len() as u64, Ordering::Relaxed);
        if let [(_, only)] = &self.spaces[..] {
            let mut space = only.lock().unwrap_or_else(PoisonError::into_inner);
            return keys.drain(..).try_for_each(|key| space.restore(key));
        }
        for key in keys.drain(..) {
            let slot = slot_of(&key.key);
            let space = self.spaces.iter().find(|(slots, _)| slots.contains(&slot));
            let (_, space) = space.ok_or(Corrupt("no shard takes a key"))?;
            space.lock().unwrap_or_else(PoisonError::into_inner).restore(key)?;
        }
        Ok(())
    }

    fn damaged(&self, reason: &str) -> StorageError {
        StorageError::Stopped(reason.to_owned())
    }
}

/// Reads the keys of a section; `open` is the stream that it goes on with, and then the one it
/// ends in.
fn decode(
    db: u8,
    payload: &[u8],
    open: &mut Option<Open>,
    keys: &mut Vec<FrozenKey>,
) -> Result<(), Corrupt> {
    let mut cursor = Cursor::new(payload);
    while !cursor.is_empty() {
        let Open { key, expire_at, mut builder } = match open.take() {
            Some(open) => open,
            None => {
                let key = cursor.bytes()?.into();
                let expire_at = cursor.varint()?.checked_sub(1).map(UnixMs);
                match cursor.u8()? {
                    STRING => {
                        let value = Value::String(Bytes::copy_from_slice(cursor.bytes()?));
                        keys.push(FrozenKey { db, key, value, expire_at });
                        continue;
                    }
                    STREAM => Open { key, expire_at, builder: StreamBuilder::default() },
                    _ => return Err(Corrupt("a key holds an unknown type")),
                }
            }
        };
        let built = loop {
            if cursor.is_empty() {
                break None;
            }
            if let Some(stream) = builder.part(&mut cursor)? {
                break Some(Value::Stream(stream));
            }
        };
        match built {
            Some(value) => keys.push(FrozenKey { db, key, value, expire_at }),
            None => *open = Some(Open { key, expire_at, builder }),
        }
    }
    Ok(())
}

/// Tells the operator now and then how far something has come.
struct Progress {
    what: &'static str,
    told: Instant,
}

impl Progress {
    fn new(what: &'static str) -> Self {
        Progress { what, told: Instant::now() }
    }

    fn tell(&mut self, how_far: impl FnOnce() -> String) {
        const PERIOD: Duration = Duration::from_secs(2);
        if self.told.elapsed() >= PERIOD {
            self.told = Instant::now();
            tracing::info!("{}: {}", self.what, how_far());
        }
    }
}

#[cfg(test)]
mod tests;
