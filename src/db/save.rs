//! Snapshots of the running database: SAVE, BGSAVE, BGREWRITEAOF, save points, growth of the log;
//! the way back after the log has failed; `appendonly` on and off.
//!
//! One snapshot is taken at a time. It begins with a barrier, for which all shards are in hand;
//! then its thread asks the shards for slices of their keys, which they hand over between
//! commands. SAVE does the same with the shards kept in hand.
//!
//! Where there is a directory there is a log file, even if `appendonly` is no: then changes do not
//! enter it. A snapshot to which the log does not lead, because of that or because the log has
//! failed, is *alone*: the log goes on behind it, and what is asked for on the way is kept. Of the
//! other snapshots, one before which nothing was logged since the last stands behind a mark, so
//! that no two have one position.

mod due;

pub(super) use due::{refuses_when_failing, tick};

use super::home::{Home, Message, ShardSet};
use super::{Core, process, sync_policy};
use crate::config::Config;
use crate::error::StorageError;
use crate::keyspace::{Frozen, Keyspace};
use crate::persist::aof::{Aof, AofOptions};
use crate::persist::disk::Disk;
use crate::persist::{Directory, Position};
use crate::shard::checkpoint::{self, Slice, Taken};
use crate::shard::recovery::{self, Found, LoadProgress};
use crate::shard::{Shard, Turn};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// How many keys a shard hands over between two commands: at some 100 ns for each, well below a
/// millisecond.
const SLICE_KEYS: usize = 1000;
/// How long after a failure the next attempt waits. Redis: CONFIG_BGSAVE_RETRY_DELAY.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// How much space the log has ahead at least; chosen.
const SPACE_LEAST: u64 = 1 << 20;
/// What the data is kept in.
pub(super) struct Storage {
    directory: Arc<Directory>,
    aof: Arc<Aof>,
}

/// Why a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// SAVE, BGSAVE or a save point.
    Save,
    /// BGREWRITEAOF, or the log has grown.
    Rewrite,
    /// The log has failed and goes on behind this snapshot.
    Resume,
}

/// How the last snapshot of a kind went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) ok: bool,
    pub(super) seconds: Option<u64>,
}

/// A snapshot that is being taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) cause: Cause,
    pub(super) since: Instant,
}

/// What is known of snapshots.
#[derive(Debug)]
pub(super) struct State {
    pub(super) running: Option<Running>,
    pub(super) scheduled: Option<Cause>,
    /// The newest snapshots that are known to be whole, the newest last.
    kept: Vec<Position>,
    /// The size of the newest.
    pub(super) base_bytes: u64,
    /// When the newest was begun, or when the database was opened.
    saved: Instant,
    tried: Option<Instant>,
    /// Changes that the shards no longer count and that no snapshot has yet.
    pub(super) unsaved: u64,
    pub(super) save: Outcome,
    pub(super) rewrite: Outcome,
    pub(super) rewrite_failures: u64,
    pub(super) keys_loaded: u64,
    /// What a client wants of the end: a snapshot, or none.
    at_close: Option<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Snapshots, and what they are kept in.
pub struct Saver {
    disk: Arc<dyn Disk>,
    storage: OnceLock<Storage>,
    /// Whether changes enter the log.
    logging: AtomicBool,
    /// Whether the last snapshot failed that was no rewriting.
    failing: AtomicBool,
    /// How many keys the snapshot that is being taken has of how many.
    progress: Arc<SaveProgress>,
    /// How many changes each shard has counted, as of the last second.
    changes: Box<[AtomicU64]>,
    /// Where the log has outgrown its snapshot by so much that it is not left to the next second.
    outgrown_at: AtomicU64,
    state: Mutex<State>,
}

/// How far a snapshot has come.
#[derive(Debug, Default)]
struct SaveProgress {
    total: AtomicU64,
    done: AtomicU64,
}

/// Why no snapshot was begun.
#[derive(Debug)]
pub(super) enum Refusal {
    /// One is being taken.
    Busy(Cause),
    /// The disk.
    Storage(StorageError),
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Refusal::Storage(error)
    }
}

impl Saver {
    /// Without a directory as yet.
    pub(super) fn new(disk: Arc<dyn Disk>, shards: usize) -> Saver {
        let good = Outcome { ok: true, seconds: None };
        Saver {
            disk,
            storage: OnceLock::new(),
            logging: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            progress: Arc::default(),
            changes: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            outgrown_at: AtomicU64::new(u64::MAX),
            state: Mutex::new(State {
                running: None,
                scheduled: None,
                kept: Vec::new(),
                base_bytes: 0,
                saved: Instant::now(),
                tried: None,
                unsaved: 0,
                save: good,
                rewrite: good,
                rewrite_failures: 0,
                keys_loaded: 0,
                at_close: None,
                thread: None,
            }),
        }
    }

    /// Opens the directory and locks it, if the settings want that data is kept, or if there is
    /// any.
    pub(super) fn lock(&self, config: &Config) -> Result<Option<Arc<Directory>>, StorageError> {
        let wanted = config.appendonly || !config.save.is_empty();
        if !wanted && !self.has_data(config) {
            return Ok(None);
        }
        Directory::open(&config.dir, self.disk.clone()).map(Some)
    }

    /// Fills the shards from the directory.
    pub(super) fn load(
        &self,
        directory: Arc<Directory>,
        config: &Config,
        shards: &mut [&mut Shard],
        told: &LoadProgress,
    ) -> Result<Found, StorageError> {
        let (aof, found) = recovery::open(&directory, options(config), shards, told)?;
        let mut state = self.state();
        if let Some(loaded) = &found.snapshot {
            state.kept.push(loaded.position);
            state.base_bytes = loaded.bytes;
            state.keys_loaded = loaded.keys;
        }
        self.logging.store(config.appendonly, Ordering::Release);
        let _ = self.storage.set(Storage { directory, aof });
        Ok(found)
    }

    fn has_data(&self, config: &Config) -> bool {
        // A directory that has no name, or cannot be listed, is one that does not exist.
        let names = self.disk.list(&config.dir).unwrap_or_default();
        names.iter().any(|name| name.starts_with("snapshot-") || name.starts_with("aof-"))
    }

    /// The log, if changes enter it.
    pub(super) fn aof(&self) -> Option<&Aof> {
        let storage = self.storage.get().filter(|_| self.logging.load(Ordering::Relaxed));
        storage.map(|storage| &*storage.aof)
    }

    /// Whether the data is kept in a directory.
    pub(super) fn is_open(&self) -> bool {
        self.storage.get().is_some()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the newest snapshot stands.
    pub(super) fn base(&self) -> Position {
        self.state().kept.last().copied().unwrap_or_default()
    }

    /// Tells how many changes a shard counts.
    pub(super) fn publish(&self, shard: usize, changes: u64) {
        self.changes[shard].store(changes, Ordering::Relaxed);
    }

    /// How many keys the snapshot that is being taken has, and will have; a key that has expired
    /// may be missing in the end.
    pub(super) fn progress(&self) -> (u64, u64) {
        let SaveProgress { total, done } = &*self.progress;
        (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed))
    }

    /// Whether the last snapshot that was to keep the data failed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Makes everything durable, when the shards have stopped.
    pub(super) fn close(&self) -> Result<(), StorageError> {
        let thread = self.state().thread.take();
        if let Some(thread) = thread {
            // It has seen that the shards are gone, and says nothing else.
            drop(thread.join());
        }
        let Some(storage) = self.storage.get() else { return Ok(()) };
        let closed = storage.aof.close();
        // Handles that are still there must not keep others out.
        storage.directory.release();
        // Of a log that was turned off nothing is promised any more.
        if self.logging.load(Ordering::Acquire) { closed } else { Ok(()) }
    }
}

fn options(config: &Config) -> AofOptions {
    let space = AofOptions::default().space_bytes;
    AofOptions {
        policy: sync_policy(config),
        unsynced_bytes_max: config.aof_unsynced_max_bytes,
        cuts_torn_end: config.aof_load_truncated,
        // Files that are to be small have less space ahead.
        space_bytes: space.min(config.auto_aof_rewrite_min_size.max(SPACE_LEAST)),
        ..AofOptions::default()
    }
}

/// Tells the threads of a log's progress, and has its growth looked at.
pub(super) fn listen(core: &Core) {
    if let Some(storage) = core.saver.storage.get() {
        due::watch_growth(core, &core.saver.state());
        let (doors, moves) = (core.doors.clone(), core.log_moves.clone());
        let (has_outlets, panics) = (core.has_outlets.clone(), core.panics.clone());
        storage.aof.on_durable(Box::new(move |moved| {
            if let Err(StorageError::Stopped(_)) = moved {
                // Its thread has panicked: nothing more would become durable.
                panics.stop_for_good();
            }
            if has_outlets.load(Ordering::Acquire) {
                // A thread that has stopped holds no output.
                doors.iter().for_each(|door| drop(door.send(Message::LogMoved)));
            }
            moves.send_replace(());
        }));
    }
}

/// What the data is kept in; opened now if the settings did not want it so far.
fn storage(core: &Core) -> Result<&Storage, StorageError> {
    let saver = &core.saver;
    if let Some(storage) = saver.storage.get() {
        return Ok(storage);
    }
    let config = core.config();
    if saver.has_data(&config) {
        let path = config.dir.clone();
        return Err(StorageError::InUse { path, holder: "data that was not there before".into() });
    }
    let directory = Directory::open(&config.dir, saver.disk.clone())?;
    let from = Position::default();
    let (aof, _) = Aof::open(directory.clone(), options(&config), from, &mut |_, _| Ok(()))?;
    let storage = saver.storage.get_or_init(|| Storage { directory, aof });
    listen(core);
    Ok(storage)
}

/// Why a snapshot is taken that was wanted for this: if the log has failed, it takes its place.
fn cause_now(core: &Core, cause: Cause) -> Cause {
    match cause {
        _ if core.has_log_failed() => Cause::Resume,
        // Another snapshot has been faster.
        Cause::Resume => Cause::Save,
        Cause::Save | Cause::Rewrite => cause,
    }
}

/// Where a snapshot begins.
struct Barrier {
    position: Position,
    epoch: u32,
    /// Whether the log does not lead to it.
    alone: bool,
}

/// Refuses a snapshot that the disk would not hold: it would take the space that the log needs.
/// It is taken to be as large as the one before with the log behind that, or as the memory in use
/// if that is less. Either is too much rather than too little, so half of it will do.
fn check_space(core: &Core, storage: &Storage) -> Result<(), StorageError> {
    let (base, base_bytes) = (core.saver.base(), core.saver.state().base_bytes);
    let most = base_bytes.saturating_add(storage.aof.end().0.saturating_sub(base.0));
    let most = most.min(core.memory_use().used);
    let Some(free) = storage.directory.free_bytes() else { return Ok(()) };
    if free >= most / 2 {
        return Ok(());
    }
    let reason = format!("{free} bytes are free, a snapshot may take {most}");
    let error = std::io::Error::new(std::io::ErrorKind::StorageFull, reason);
    Err(StorageError::io(storage.directory.path(), "take a snapshot in", &error))
}

/// Fixes the state that the next snapshot has. All shards are in hand.
fn barrier(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    storage: &Storage,
    cause: Cause,
) -> Result<Barrier, StorageError> {
    let logging = core.saver.logging.load(Ordering::Acquire);
    let alone = !logging || cause == Cause::Resume;
    let flushed = turn.flush(core.aof());
    let position = if alone {
        // Whoever waits for what the log does not take is told at the end of the turn.
        storage.aof.hold()
    } else {
        flushed?;
        let end = storage.aof.end();
        if core.saver.base() == end { storage.aof.append_mark()? } else { end }
    };
    let (mut epoch, mut changes) = (0, 0);
    for shard in turn.shards_mut() {
        let space = shard.keyspace_mut();
        epoch = space.begin_handover();
        changes += std::mem::take(&mut space.changes);
    }
    core.saver.changes.iter().for_each(|published| published.store(0, Ordering::Relaxed));
    core.saver.state().unsaved += changes;
    Ok(Barrier { position, epoch, alone })
}

/// Takes a snapshot now, with all shards in hand until it is done.
pub(super) fn save_now(core: &Core, turn: &mut Turn<'_, '_>) -> Result<Position, Refusal> {
    if let Some(running) = core.saver.state().running {
        return Err(Refusal::Busy(running.cause));
    }
    let running = Running { cause: cause_now(core, Cause::Save), since: Instant::now() };
    let mut kept = core.saver.state().kept.clone();
    let taken = take_now(core, turn, running.cause, &mut kept);
    let done = taken.as_ref().map(|taken| taken.summary.position);
    let done = done.map_err(|error| Refusal::Storage(error.clone()));
    account(core, running, kept, taken);
    done
}

fn take_now(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    cause: Cause,
    kept: &mut Vec<Position>,
) -> Result<Taken, StorageError> {
    let storage = storage(core)?;
    check_space(core, storage)?;
    let Barrier { position, epoch, alone } = barrier(core, turn, storage, cause)?;
    let mut shard = 0;
    let (directory, aof) = (&storage.directory, &storage.aof);
    let log = (!alone).then_some(&**aof);
    log.iter().for_each(|log| rotate(log));
    let taken = checkpoint::take(directory, log, position, &mut || {
        let Some(current) = turn.shards_mut().nth(shard) else { return Ok(None) };
        let mut frozen = Vec::new();
        let number = u16::try_from(shard).unwrap_or(u16::MAX);
        shard += usize::from(!current.keyspace_mut().hand_over(SLICE_KEYS, &mut frozen));
        Ok(Some(Slice { shard: number, frozen }))
    });
    turn.shards_mut().for_each(|shard| shard.keyspace_mut().end_handover(epoch));
    conclude(taken, directory, aof, alone, position, kept)
}

/// Begins a segment near a snapshot, so that the one before can go when its time comes.
fn rotate(aof: &Aof) {
    if let Err(error) = aof.rotate() {
        // The log goes on where it is.
        tracing::warn!("no new segment of the log: {error}");
    }
}

/// What follows when a snapshot was taken: the log goes on behind it if it is alone, and what is
/// not needed any more goes.
fn conclude(
    taken: Result<Taken, StorageError>,
    directory: &Directory,
    aof: &Aof,
    alone: bool,
    position: Position,
    kept: &mut Vec<Position>,
) -> Result<Taken, StorageError> {
    let taken = match taken {
        Ok(taken) if alone => aof.resume(position).map(|()| taken),
        taken => taken,
    };
    match &taken {
        Ok(_) => retire(directory, aof, kept, position),
        Err(_) => aof.give_up(),
    }
    taken
}

fn retire(directory: &Directory, aof: &Aof, kept: &mut Vec<Position>, newest: Position) {
    kept.retain(|&position| position != newest);
    kept.push(newest);
    if let Err(error) = checkpoint::retire(directory, aof, kept) {
        tracing::warn!("old files are still there: {error}");
    }
}

/// Takes a snapshot while commands go on. All shards are in hand now.
pub(super) fn begin(core: &Core, turn: &mut Turn<'_, '_>, cause: Cause) -> Result<(), Refusal> {
    if let Some(running) = core.saver.state().running {
        return Err(Refusal::Busy(running.cause));
    }
    let cause = cause_now(core, cause);
    let running = Running { cause, since: Instant::now() };
    core.saver.state().tried = Some(running.since);
    Ok(start(core, turn, running).inspect_err(|error| {
        let kept = core.saver.state().kept.clone();
        account(core, running, kept, Err(error.clone()));
    })?)
}

fn start(core: &Core, turn: &mut Turn<'_, '_>, running: Running) -> Result<(), StorageError> {
    let storage = storage(core)?;
    check_space(core, storage)?;
    let Barrier { position, epoch, alone } = barrier(core, turn, storage, running.cause)?;
    let keys: usize = turn.shards().map(|shard| shard.keyspace().keys()).sum();
    core.saver.progress.total.store(keys as u64, Ordering::Relaxed);
    core.saver.progress.done.store(0, Ordering::Relaxed);
    let job = Job {
        directory: storage.directory.clone(),
        aof: storage.aof.clone(),
        doors: core.doors.clone(),
        running,
        position,
        epoch,
        alone,
        kept: core.saver.state().kept.clone(),
        progress: core.saver.progress.clone(),
    };
    // Before the thread can say that it is done.
    core.saver.state().running = Some(running);
    let panics = core.panics.clone();
    let run = move || {
        let _watch = panics.watch();
        job.run();
    };
    let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(run);
    let thread = thread.map_err(|error| {
        core.saver.state().running = None;
        turn.shards_mut().for_each(|shard| shard.keyspace_mut().end_handover(epoch));
        storage.aof.give_up();
        StorageError::io("snapshot", "start thread", &error)
    })?;
    core.saver.state().thread = Some(thread);
    Ok(())
}

/// The work of a snapshot's thread.
struct Job {
    directory: Arc<Directory>,
    aof: Arc<Aof>,
    doors: Vec<UnboundedSender<Message>>,
    running: Running,
    position: Position,
    epoch: u32,
    alone: bool,
    kept: Vec<Position>,
    progress: Arc<SaveProgress>,
}

/// Some keys of a shard, and whether there are more.
type Handed = (Vec<Frozen>, bool);

impl Job {
    fn run(mut self) {
        process::step_back();
        if !self.alone {
            rotate(&self.aof);
        }
        let mut asked: VecDeque<(usize, Receiver<Handed>)> =
            (0..self.doors.len()).map(|shard| (shard, self.ask(shard))).collect();
        let log = (!self.alone).then_some(&*self.aof);
        let taken = checkpoint::take(&self.directory, log, self.position, &mut || {
            let Some((shard, answer)) = asked.pop_front() else { return Ok(None) };
            let stopped = |_| StorageError::Stopped("a shard hands over no more".to_owned());
            let (frozen, more) = answer.recv().map_err(stopped)?;
            if more {
                // It fills the next slice while this one is written.
                asked.push_back((shard, self.ask(shard)));
            }
            let keys: usize = frozen.iter().map(Frozen::keys).sum();
            self.progress.done.fetch_add(keys as u64, Ordering::Relaxed);
            Ok(Some(Slice { shard: u16::try_from(shard).unwrap_or(u16::MAX), frozen }))
        });
        let Job { directory, aof, alone, position, kept, .. } = &mut self;
        let taken = conclude(taken, directory, aof, *alone, *position, kept);
        let epoch = self.epoch;
        for door in self.doors.iter().filter(|_| taken.is_err()) {
            let give_up = Message::Visit(Box::new(move |home: &Rc<Home>| {
                home.in_place(|turn| {
                    turn.shards_mut().for_each(|shard| shard.keyspace_mut().end_handover(epoch));
                });
            }));
            // A thread that has stopped holds nothing.
            drop(door.send(give_up));
        }
        let Job { running, kept, .. } = self;
        let done = Message::Call(Box::new(move |home: &Rc<Home>| {
            account(home.core(), running, kept, taken);
        }));
        drop(self.doors[0].send(done));
    }

    /// Asks a shard for its next keys. The answer is missing if another snapshot has begun.
    fn ask(&self, shard: usize) -> Receiver<Handed> {
        let (tell, told) = channel();
        let epoch = self.epoch;
        let ask = Message::Visit(Box::new(move |home: &Rc<Home>| {
            let mut frozen = Vec::new();
            let more = home.in_place(|turn| {
                let space = turn.shards_mut().next().map(Shard::keyspace_mut);
                space
                    .filter(|space| space.epoch() == epoch)
                    .map(|space| space.hand_over(SLICE_KEYS, &mut frozen))
            });
            if let Some(more) = more.flatten() {
                // The thread may have given up.
                drop(tell.send((frozen, more)));
            }
        }));
        // A thread that has stopped drops the question, and so answers it.
        drop(self.doors[shard].send(ask));
        told
    }
}

/// Notes how a snapshot went.
fn account(core: &Core, running: Running, kept: Vec<Position>, taken: Result<Taken, StorageError>) {
    let Running { cause, since } = running;
    let mut state = core.saver.state();
    state.running = None;
    let outcome = Outcome { ok: taken.is_ok(), seconds: Some(since.elapsed().as_secs()) };
    if cause == Cause::Rewrite {
        state.rewrite = outcome;
        state.rewrite_failures = if outcome.ok { 0 } else { state.rewrite_failures + 1 };
    } else {
        state.save = outcome;
        core.saver.failing.store(!outcome.ok, Ordering::Relaxed);
    }
    match taken {
        Ok(Taken { summary, keys }) => {
            state.kept = kept;
            state.base_bytes = summary.bytes;
            state.saved = since;
            state.unsaved = 0;
            due::watch_growth(core, &state);
            if cause == Cause::Resume {
                tracing::warn!("the log goes on behind the snapshot at {}", summary.position);
                // Of the two snapshots that are kept, none may need the log that failed.
                state.scheduled = Some(Cause::Save);
            }
            let counter =
                if cause == Cause::Rewrite { &core.stats.rewrites } else { &core.stats.saves };
            counter.add_shared(1);
            core.stats.saved_at_s.set(core.now().0 / 1000);
            tracing::info!(
                "snapshot at {}: {keys} keys, {} bytes, {:.3} s",
                summary.position,
                summary.bytes,
                since.elapsed().as_secs_f64(),
            );
        }
        Err(error) => tracing::error!("no snapshot could be taken: {error}"),
    }
}

fn all_shards(core: &Core) -> ShardSet {
    match core.shards() {
        1 => ShardSet::One(0),
        n => ShardSet::Several((0..n).collect()),
    }
}

/// Switches `appendonly`. All shards are in hand; turning it on keeps them until a snapshot is
/// there, because the log alone does not lead to the state. Turning it off makes it durable first,
/// unless it is known to have failed. Redis: then it is turned off, too; whoever has lost the disk
/// goes on without.
pub(super) fn switch(core: &Core, turn: &mut Turn<'_, '_>, on: bool) -> Result<(), Refusal> {
    if on {
        save_now(core, turn)?;
    } else {
        let failed = core.has_log_failed();
        let flushed = turn.flush(core.aof());
        if failed {
            tracing::warn!("appendonly is turned off; the log that has failed lacks its end");
        } else {
            flushed?;
            core.aof().map_or(Ok(()), |aof| aof.sync().map(drop))?;
        }
    }
    core.saver.logging.store(on, Ordering::Release);
    turn.shards_mut().for_each(|shard| shard.set_logged(on));
    Ok(())
}

/// Takes a snapshot and reads it back in the place of what the shards hold.
pub(super) fn reload(core: &Core, turn: &mut Turn<'_, '_>) -> Result<(), Refusal> {
    let position = save_now(core, turn)?;
    let directory = &storage(core)?.directory;
    let mut fresh: Vec<Keyspace> =
        turn.shards().map(|shard| shard.keyspace().empty_twin()).collect();
    let mut spaces: Vec<&mut Keyspace> = fresh.iter_mut().collect();
    recovery::load(directory, position, &mut spaces, &LoadProgress::default())?;
    for (shard, space) in turn.shards_mut().zip(fresh) {
        shard.keyspace_mut().replace_keys(space);
    }
    Ok(())
}

/// What SHUTDOWN asks of the data: a snapshot now, if it may. `save` is SAVE or NOSAVE.
pub(super) fn shut_down(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    save: Option<bool>,
) -> Result<(), StorageError> {
    core.saver.state().at_close = save;
    if !wants_save_at_close(core) {
        return Ok(());
    }
    match save_now(core, turn) {
        Ok(_) => {
            core.saver.state().at_close = None;
            Ok(())
        }
        // The end waits for it and takes another one.
        Err(Refusal::Busy(_)) => Ok(()),
        Err(Refusal::Storage(error)) => Err(error),
    }
}

/// [`shut_down`] for whoever has no shard in hand, a signal for example.
///
/// # Errors
/// The snapshot that was wanted could not be taken; [`StorageError::Stopped`].
#[cfg(feature = "server")]
pub(crate) async fn shut_down_from_outside(
    core: &Arc<Core>,
    save: Option<bool>,
) -> Result<(), StorageError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let stopped = || StorageError::Stopped("the database is closed".to_owned());
    let begun = core.call(0, move |home| {
        let home = home.clone();
        tokio::task::spawn_local(async move {
            let core = home.core().clone();
            let set = all_shards(&core);
            let done = home.visit(&set, move |turn| shut_down(&core, turn, save)).await;
            // Who asked may have gone.
            drop(tell.send(done.map(|(done, _)| done)));
        });
    });
    begun.map_err(|_| stopped())?;
    match told.await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) | Err(_) => Err(stopped()),
    }
}

fn wants_save_at_close(core: &Core) -> bool {
    let logging = core.saver.logging.load(Ordering::Acquire);
    let by_settings = !logging && !core.config().save.is_empty();
    let asked = core.saver.state().at_close;
    asked.unwrap_or_else(|| by_settings || core.has_log_failed())
}

/// The snapshot of a clean stop, while the shards still run.
pub(super) fn save_at_close(core: &Core) {
    if !wants_save_at_close(core) {
        return;
    }
    let saved = loop {
        let thread = core.saver.state().thread.take();
        if let Some(thread) = thread {
            // Its last word is in the first shard's inbox before ours.
            drop(thread.join());
        }
        let saved = ask_for_save(core);
        // Another one has begun meanwhile, of a state that may be older.
        if !matches!(saved, Some(Err(Refusal::Busy(_)))) {
            break saved;
        }
    };
    if !matches!(saved, Some(Ok(()))) {
        tracing::error!("what changed since the last snapshot is not saved");
    }
}

/// Has the shards take the snapshot of a clean stop, if anything is to be saved; `None` if they
/// have stopped.
fn ask_for_save(core: &Core) -> Option<Result<(), Refusal>> {
    let (tell, told) = channel();
    let call = core.call(0, move |home| {
        let home = home.clone();
        tokio::task::spawn_local(async move {
            let core = home.core().clone();
            let set = all_shards(&core);
            let save = move |turn: &mut Turn<'_, '_>| {
                let counted: u64 = turn.shards().map(|shard| shard.keyspace().changes).sum();
                let state = core.saver.state();
                let changed = counted + state.unsaved > 0 || state.at_close == Some(true);
                drop(state);
                let wanted = changed || core.has_log_failed();
                if wanted { save_now(&core, turn).map(drop) } else { Ok(()) }
            };
            // The caller waits.
            drop(tell.send(home.visit(&set, save).await));
        });
    });
    call.ok()?;
    let (saved, _) = told.recv().ok()?.ok()?;
    Some(saved)
}

#[cfg(test)]
mod tests;
