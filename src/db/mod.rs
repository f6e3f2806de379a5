//! `Db`: the handle. Opens the data, starts a thread for each shard, routes by hash slot.
//!
//! | file | what |
//! |---|---|
//! | `home.rs` | one thread's side: turns, output, visits to other shards |
//! | `borrow.rs` | commands over several shards |
//! | `pause.rs` | CLIENT PAUSE |
//! | `run.rs` | one command on the shards in hand |
//! | `hands.rs` | what a panic leaves behind |
//! | `database.rs` | [`Database`]: one of them, and what it may be asked |
//! | `transaction.rs` | [`Transaction`]: commands of the program that run together |
//! | `ask.rs` | calls of the program: to the shard and back, without blocking |
//! | `rest.rs` | shards at rest, which callers that may block drive themselves |
//! | `builder.rs` | how a program opens its database |
//! | `queue/` | the embedded face: streams, groups, consumers, entries |
//! | `admin.rs` | commands of a whole database and of the server |
//! | `info.rs`, `memory.rs`, `configure.rs`, `debug.rs` | INFO, MEMORY, CONFIG, DEBUG |
//! | `save.rs` | snapshots, and what the data is kept in |
//! | `slowlog.rs`, `latency.rs` | what was slow: kept, and SLOWLOG, LATENCY |
//! | `stats.rs` | counters and gauges |
//! | `process.rs` | what the system knows of the process |

pub mod admin;
mod ask;
mod borrow;
mod builder;
mod configure;
mod database;
mod debug;
mod hands;
pub mod home;
pub mod info;
pub mod latency;
mod memory;
pub mod pause;
pub(crate) mod process;
#[cfg(test)]
mod promise_tests;
pub mod queue;
mod rest;
pub(crate) mod run;
pub mod save;
pub mod slowlog;
pub mod stats;
mod transaction;

pub use ask::{Answer, UNDER_WAY_BYTES, block_on};
pub use builder::Builder;
pub use database::Database;
pub use transaction::Transaction;

use crate::command::{Call, Reply};
use crate::config::{CompatProfile, Config, Fsync, NotifyFlags};
use crate::error::{Error, StorageError};
use crate::keyspace::txn::Notice;
use crate::keyspace::{DATABASES, Rules, SLOTS, slot_of};
use crate::persist::aof::Aof;
use crate::persist::disk::{Disk, OsDisk};
use crate::persist::{Directory, Position, SyncPolicy};
use crate::pubsub::PubSub;
use crate::shard::recovery::{Found, LoadProgress};
use crate::shard::{Shard, Turn};
use crate::stream::{BlockLimits, Garbage, UnixMs};
use ask::Asking;
use borrow::Jobs;
use hands::Panics;
use home::{Home, Message};
use info::Identity;
use memory::MemoryLimit;
use pause::Pause;
use rest::Rest;
use save::Saver;
use stats::Stats;
use std::hash::RandomState;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};

/// What all threads of a database share.
pub struct Core {
    config: RwLock<Arc<Config>>,
    /// How often the settings have changed.
    config_version: AtomicU64,
    identity: Identity,
    doors: Vec<mpsc::UnboundedSender<Message>>,
    /// Started when there is something to free.
    background: OnceLock<std::sync::mpsc::Sender<Vec<Garbage>>>,
    memory_limit: MemoryLimit,
    /// Tells calls when the durable position moves, or the log breaks.
    log_moves: watch::Sender<()>,
    /// Whether there may be connections, whose output waits for the log.
    has_outlets: Arc<AtomicBool>,
    asking: Asking,
    rest: Rest,
    /// Commands over several shards that wait.
    jobs: Jobs,
    /// Whether replies wait for the disk.
    waits_for_disk: AtomicBool,
    panics: Arc<Panics>,
    /// Channels, patterns and who listens to them.
    pub pubsub: PubSub,
    /// Snapshots, and what the data is kept in.
    pub saver: Saver,
    /// Counters.
    pub stats: Stats,
    /// Whether commands wait.
    pub pause: Pause,
}

/// An open database.
pub struct Db {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    found: Option<Found>,
    /// The process that has the threads.
    process: u32,
}

/// A database that is about to be opened: its directory is locked.
pub struct Opening {
    config: Config,
    saver: Saver,
    directory: Option<Arc<Directory>>,
    progress: Arc<LoadProgress>,
}

impl Opening {
    /// How far [`Opening::finish`] has come.
    pub fn progress(&self) -> Arc<LoadProgress> {
        self.progress.clone()
    }

    /// Reads the data and starts the threads.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn finish(self) -> Result<Db, Error> {
        Db::finish(self)
    }
}

impl Db {
    /// Opens the database that the settings describe: reads the log, starts the threads.
    ///
    /// # Errors
    /// [`Error::Storage`] if the data cannot be read, is damaged, or is in use.
    pub fn open(config: Config) -> Result<Db, Error> {
        Db::open_on(config, Arc::new(OsDisk))
    }

    /// Settings to open a database with.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// [`Db::open`] on another disk.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_on(config: Config, disk: Arc<dyn Disk>) -> Result<Db, Error> {
        Db::begin_on(config, disk)?.finish()
    }

    /// The first step of [`Db::open`], which locks the directory. The second may take long.
    ///
    /// # Errors
    /// [`Error::Storage`] if the data is in use.
    pub fn begin(config: Config) -> Result<Opening, Error> {
        Db::begin_on(config, Arc::new(OsDisk))
    }

    fn begin_on(config: Config, disk: Arc<dyn Disk>) -> Result<Opening, Error> {
        let saver = Saver::new(disk, shard_count(&config));
        let directory = saver.lock(&config)?;
        Ok(Opening { config, saver, directory, progress: Arc::default() })
    }

    fn finish(opening: Opening) -> Result<Db, Error> {
        let Opening { config, saver, directory, progress } = opening;
        let identity = Identity::new();
        let count = shard_count(&config);
        let rules = Arc::new(rules(&config));
        let hasher = RandomState::new();
        let mut shards: Vec<Box<Shard>> = (0..count)
            .map(|index| {
                let slots = first_slot(index, count)..first_slot(index + 1, count);
                Box::new(Shard::new(slots, hasher.clone(), rules.clone(), config.appendonly))
            })
            .collect();
        let mut found = None;
        if let Some(directory) = directory {
            let mut shards: Vec<_> = shards.iter_mut().map(|shard| &mut **shard).collect();
            found = Some(saver.load(directory, &config, &mut shards, &progress)?);
        }
        let (doors, inboxes): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let stats = Stats::new(count);
        stats.saved_at_s.set(unix_now().0 / 1000);
        let (asking, log_moves) = (Asking::default(), watch::Sender::new(()));
        let core = Arc::new(Core {
            panics: Panics::new(doors.clone(), asking.room(), log_moves.clone()),
            memory_limit: MemoryLimit::new(config.maxmemory),
            waits_for_disk: AtomicBool::new(config.appendonly && waits_for_disk(&config)),
            config: RwLock::new(Arc::new(config)),
            config_version: AtomicU64::new(0),
            identity,
            doors,
            background: OnceLock::new(),
            log_moves,
            has_outlets: Arc::default(),
            asking,
            rest: Rest::new(count),
            jobs: Jobs::default(),
            pubsub: PubSub::new(),
            saver,
            stats,
            pause: Pause::default(),
        });
        save::listen(&core);
        let mut threads = Vec::with_capacity(count);
        for (index, (shard, inbox)) in shards.into_iter().zip(inboxes).enumerate() {
            let core = core.clone();
            let run = move || run_shard(core, index, shard, inbox);
            threads.push(spawn(&format!("shard-{index}"), run)?);
        }
        Ok(Db { core, threads: Mutex::new(threads), found, process: std::process::id() })
    }

    /// What all threads share.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Runs a typed command: every stream command is a type of [`crate::command::typed`].
    ///
    /// # Examples
    /// ```
    /// use millstream::command::typed::{XAdd, XLen};
    ///
    /// # let db = millstream::Db::builder().memory().open()?;
    /// let fields = vec![("item".into(), "tea".into())];
    /// let id = db.call(XAdd { key: "orders".into(), fields, ..XAdd::default() }).wait()?;
    /// assert!(id.is_some());
    /// assert_eq!(db.call(XLen { key: "orders".into() }).wait()?, 1);
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn call<C: Call>(&self, call: C) -> Answer<C::Output> {
        self.zero().call(call)
    }

    /// Runs any command of the wire, by its words, and gives its reply in RESP3. Commands about a
    /// connection (SELECT, MULTI, SUBSCRIBE …) are refused, and SHUTDOWN is.
    ///
    /// # Examples
    /// ```
    /// # let db = millstream::Db::builder().memory().open()?;
    /// db.command(["SET", "lock", "mine", "NX"]).wait()?;
    /// let reply = db.command(["GET", "lock"]).wait()?;
    /// assert_eq!(reply.as_text(), Some("mine"));
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn command<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Answer<Reply> {
        self.zero().command(args)
    }

    /// What was found in the directory, if the data is kept in one.
    pub fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// Stops the threads and makes everything durable.
    ///
    /// # Errors
    /// [`Error::Storage`] if the log could not be made durable, [`Error::Stopped`] if a thread had
    /// failed. [`Error::Stopped`], and nothing is done, in a child process that was made by a fork.
    pub fn close(&self) -> Result<(), Error> {
        if std::process::id() != self.process {
            return Err(Error::Stopped);
        }
        self.core.asking.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if !threads.is_empty() && !self.core.has_panicked() {
            save::save_at_close(&self.core);
        }
        for door in &self.core.doors {
            // A thread that has stopped already needs no telling.
            drop(door.send(Message::Stop));
        }
        let panicked = threads.drain(..).filter_map(|thread| thread.join().err()).count() > 0;
        let failed = panicked || self.core.has_panicked();
        let closed = self.core.saver.close();
        self.core.log_moves.send_replace(());
        closed?;
        if failed { Err(Error::Stopped) } else { Ok(()) }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // Whoever wants to know whether the last changes are durable calls `close`.
        drop(self.close());
    }
}

impl Core {
    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.doors.len()
    }

    /// The shard of a key.
    pub fn shard_of(&self, key: &[u8]) -> usize {
        if self.doors.len() == 1 {
            return 0;
        }
        shard_of_slot(slot_of(key), self.doors.len())
    }

    /// The settings.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log, if changes enter one.
    pub fn aof(&self) -> Option<&Aof> {
        self.saver.aof()
    }

    /// The wall clock.
    pub fn now(&self) -> UnixMs {
        unix_now()
    }

    /// Whether output that tells of the log up to `position` may leave.
    pub fn is_released(&self, position: Position) -> bool {
        match self.aof() {
            Some(aof) if self.waits_for_disk.load(Ordering::Relaxed) => aof.durable() >= position,
            _ => true,
        }
    }

    /// Whether the process uses more memory than `maxmemory` allows.
    pub fn is_memory_full(&self, now: UnixMs) -> bool {
        self.memory_limit.is_reached(now)
    }

    /// To be told before the first connection: from now on the threads hear when the log moves.
    #[cfg(feature = "server")]
    pub(crate) fn expect_outlets(&self) {
        self.has_outlets.store(true, Ordering::Release);
    }

    /// Whether the log has failed.
    pub fn is_log_broken(&self) -> bool {
        self.aof().is_some_and(|aof| aof.failure().is_some())
    }

    /// Whether the log has failed, and goes on behind a new snapshot; a full disk is no failure.
    pub fn has_log_failed(&self) -> bool {
        self.aof().is_some_and(Aof::is_broken)
    }

    /// Runs `call` on a shard's thread, with or without the shard.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn call(
        &self,
        shard: usize,
        call: impl FnOnce(&Rc<Home>) + Send + 'static,
    ) -> Result<(), Error> {
        self.send(shard, Message::Call(Box::new(call)))
    }

    pub(crate) fn send(&self, shard: usize, message: Message) -> Result<(), Error> {
        self.doors[shard].send(message).map_err(|_| Error::Stopped)
    }

    /// Publishes keyspace events and messages.
    fn publish(&self, notices: Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        let flags = self.config().notify_keyspace_events;
        let on_key = flags.contains(NotifyFlags::KEYSPACE);
        let on_event = flags.contains(NotifyFlags::KEYEVENT);
        for notice in notices {
            match notice {
                Notice::Event(event) => {
                    let db = u32::from(event.db);
                    self.pubsub.notify(db, event.name, &event.key, on_key, on_event);
                }
                Notice::Message { channel, data, is_sharded: false } => {
                    self.pubsub.publish(&channel, &data);
                }
                Notice::Message { channel, data, is_sharded: true } => {
                    self.pubsub.publish_to_shard(&channel, &data);
                }
            }
        }
    }

    /// Frees what was removed, on the background thread.
    fn discard(&self, garbage: Vec<Garbage>) {
        if !garbage.is_empty() {
            let background = self.background.get_or_init(|| {
                let (background, garbage) = std::sync::mpsc::channel::<Vec<Garbage>>();
                let panics = self.panics.clone();
                // Without the thread it is freed here: sending fails and gives it back.
                drop(spawn("background", move || {
                    let _watch = panics.watch();
                    process::step_back();
                    garbage.iter().for_each(drop);
                }));
                background
            });
            drop(background.send(garbage));
        }
    }

    /// How often the settings have changed: whoever keeps them looks whether it did.
    pub fn config_version(&self) -> u64 {
        self.config_version.load(Ordering::Acquire)
    }

    /// Changes the settings; all shards are in hand.
    pub fn set_config(&self, config: Config, turn: &mut Turn<'_, '_>) {
        let rules = Arc::new(rules(&config));
        turn.shards_mut().for_each(|shard| shard.set_rules(rules.clone()));
        self.memory_limit.set(config.maxmemory);
        let waits = self.aof().is_some() && waits_for_disk(&config);
        self.waits_for_disk.store(waits, Ordering::Relaxed);
        if let Some(aof) = self.aof() {
            aof.set_policy(sync_policy(&config));
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.config_version.fetch_add(1, Ordering::Release);
    }
}

fn unix_now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn run_shard(
    core: Arc<Core>,
    index: usize,
    shard: Box<Shard>,
    inbox: mpsc::UnboundedReceiver<Message>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = runtime.expect("the system gives a thread its event queue");
    runtime.block_on(home::run(Home::new(core.clone(), index, shard), inbox));
    drop(runtime);
    // What waits for this thread's tasks waits for nothing, and keeps the core alive.
    core.jobs.clear();
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    Ok(spawned.map_err(|error| StorageError::io(name, "start thread", &error))?)
}

/// How many shards a server has that was told nothing: one, because a lone connection pays for
/// every hop, and a hop costs more than a command.
fn shard_count(config: &Config) -> usize {
    usize::try_from(config.shards).unwrap_or(1).max(1)
}

/// The shard of a hash slot. The inverse of [`first_slot`].
fn shard_of_slot(slot: u16, count: usize) -> usize {
    (usize::from(slot) * count) / usize::from(SLOTS)
}

/// The first hash slot of a shard.
fn first_slot(index: usize, count: usize) -> u16 {
    let slot = (index * usize::from(SLOTS)).div_ceil(count);
    u16::try_from(slot).unwrap_or(SLOTS)
}

/// The settings that commands on keys go by.
fn rules(config: &Config) -> Rules {
    let bytes = usize::try_from(config.stream_node_max_bytes).unwrap_or(usize::MAX);
    let entries = usize::try_from(config.stream_node_max_entries).unwrap_or(usize::MAX);
    Rules {
        blocks: BlockLimits { bytes, entries },
        databases: database_count(config),
        idmp_duration_s: u64::from(config.stream_idmp_duration),
        idmp_maxsize: u64::from(config.stream_idmp_maxsize),
        notify: config.notify_keyspace_events,
        valkey: config.compat_profile == CompatProfile::Valkey,
    }
}

/// How many databases clients may choose from.
pub(crate) fn database_count(config: &Config) -> u8 {
    u8::try_from(config.databases).unwrap_or(DATABASES).min(DATABASES)
}

fn waits_for_disk(config: &Config) -> bool {
    config.appendfsync == Fsync::Always
}

fn sync_policy(config: &Config) -> SyncPolicy {
    match config.appendfsync {
        Fsync::Always => SyncPolicy::Always,
        Fsync::EverySec => SyncPolicy::EverySec,
        Fsync::No => SyncPolicy::No,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Config, DATABASES, Db, Rules, SLOTS, database_count, first_slot, rules, shard_of_slot,
    };
    use crate::error::Error;

    #[test]
    fn a_child_made_by_a_fork_does_not_close_its_parents_database() {
        let mut db = Db::builder().memory().open().unwrap();
        let own = std::mem::replace(&mut db.process, 0);
        assert_eq!(db.close(), Err(Error::Stopped));
        db.process = own;
        db.command(["SET", "key", "value"]).wait().unwrap();
        assert_eq!(db.close(), Ok(()));
    }

    #[test]
    fn a_configuration_that_says_nothing_has_the_rules_that_are_there_without_one() {
        assert_eq!(rules(&Config::default()), Rules::default());
    }

    #[test]
    fn as_many_databases_exist_as_the_settings_may_ask_for() {
        for asked in 1..=100_u8 {
            let mut config = Config::default();
            let known = config.apply("databases", &asked.to_string());
            assert_eq!(known.is_ok(), asked <= DATABASES);
            if known.is_ok() {
                assert_eq!(database_count(&config), asked);
            }
        }
    }

    #[test]
    fn each_slot_belongs_to_the_shard_that_it_is_looked_for_in() {
        for count in (1..=64).chain([100, 1000, 1023, 1024]) {
            assert_eq!((first_slot(0, count), first_slot(count, count)), (0, SLOTS));
            for shard in 0..count {
                let mut slots = first_slot(shard, count)..first_slot(shard + 1, count);
                assert!(!slots.is_empty() && slots.all(|slot| shard_of_slot(slot, count) == shard));
            }
        }
    }
}
