//! `Home`: one thread's side of the database: its shard while that is at home, the turn it is in,
//! and the ways to other threads' shards.
//!
//! A turn begins with the first command and is ended by a task that the first command wakes. The
//! run queue is first in, first out, so it runs after every connection that is ready now: their
//! changes share one frame and one write. Only then does output leave: that of many connections a
//! part at a time, between which others are heard.
//!
//! [`Home::visit`] is the one way to any set of shards: in place, by one hop, or by borrowing.
//! While the shard is lent, commands for it wait and the thread goes on with everything else.

use super::Core;
use super::borrow::Loan;
use super::hands;
use super::save;
use crate::config::Config;
use crate::error::{Error, StorageError};
use crate::keyspace::Keyspace;
use crate::persist::Position;
use crate::shard::{Shard, Turn};
use crate::stream::UnixMs;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::slice;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// A turn has at most so many commands.
const COMMANDS_MAX: u32 = 1024;
/// A turn ends when it has so many bytes to log.
const LOG_BYTES_MAX: usize = 1 << 20;
/// Changes that no reply waits for are logged within this time.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// Idempotent IDs whose time is over are forgotten within this time. Redis: ten times a second.
const FORGET_TICK: Duration = Duration::from_millis(100);
/// The outputs that are sent at once: the others' are sent a little later, so that nobody waits for
/// ten thousand writes.
const SENDS_MAX: usize = 256;
/// The same while there are so many streams with idempotent IDs that one look takes a part of them.
const FORGET_MORE_TICK: Duration = Duration::from_millis(10);
/// The shortest time between two looks at what is due.
const TICK_MIN: Duration = Duration::from_millis(1);
/// The same while CLIENT PAUSE keeps everything as it is.
const PAUSED_TICK: Duration = Duration::from_millis(50);

/// A connection's output, as the turn's end sees it.
pub trait Outlet {
    /// The turn has ended and the log has come this far with everything the output may tell of;
    /// or the log broke, and the output must not leave. [`Outlet::send`] follows.
    fn turn_ended(&self, position: Result<Position, StorageError>);

    /// The durable position has moved, or the log broke. [`Outlet::send`] follows.
    fn log_moved(&self, broken: bool);

    /// Sends what may leave.
    fn send(self: Rc<Self>);
}

type Call = Box<dyn FnOnce(&Rc<Home>) + Send>;

/// What arrives at a thread.
pub(crate) enum Message {
    /// Run with the shard at home.
    Visit(Call),
    /// Run with or without the shard.
    Call(Call),
    /// Lend the shard.
    Lend(oneshot::Sender<Loan>),
    /// The durable position has moved, or the log broke.
    LogMoved,
    /// Stop the thread.
    Stop,
}

/// Called with where the log is after the turn.
pub(super) type Answer = Box<dyn FnOnce(Result<Position, StorageError>)>;

/// One thread's side of the database.
pub struct Home {
    core: Arc<Core>,
    index: usize,
    /// `None` while it is lent.
    shard: RefCell<Option<Box<Shard>>>,
    at_home: Notify,
    /// The turn's wall clock.
    now: Cell<Option<UnixMs>>,
    /// Whether the end of the turn is on its way.
    ending: Cell<bool>,
    end_wanted: Notify,
    /// How many turns have ended.
    turns: Cell<u64>,
    commands: Cell<u32>,
    outlets: RefCell<Vec<Rc<dyn Outlet>>>,
    held: RefCell<Vec<Rc<dyn Outlet>>>,
    /// What is still to be sent of earlier turns, in order.
    unsent: RefCell<VecDeque<Rc<dyn Outlet>>>,
    send_wanted: Notify,
    answers: RefCell<Vec<Answer>>,
    /// That it falls to this thread to serve the jobs of all.
    pub(super) job_wanted: Notify,
    due: Cell<Option<UnixMs>>,
    due_changed: Notify,
    /// The settings, and which version of them.
    config: RefCell<(u64, Arc<Config>)>,
}

/// A set of shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardSet {
    /// One.
    One(usize),
    /// Several, ascending.
    Several(Vec<usize>),
}

impl ShardSet {
    /// Adds a shard.
    pub fn add(&mut self, shard: usize) {
        match self {
            ShardSet::One(one) if *one == shard => {}
            ShardSet::One(one) => {
                *self = ShardSet::Several(vec![shard.min(*one), shard.max(*one)]);
            }
            ShardSet::Several(list) => {
                if let Err(at) = list.binary_search(&shard) {
                    list.insert(at, shard);
                }
            }
        }
    }

    /// Its shards.
    pub fn shards(&self) -> &[usize] {
        match self {
            ShardSet::One(one) => slice::from_ref(one),
            ShardSet::Several(list) => list,
        }
    }
}

impl Home {
    pub(super) fn new(core: Arc<Core>, index: usize, shard: Box<Shard>) -> Rc<Home> {
        let config = (core.config_version(), core.config());
        Rc::new(Home {
            core,
            index,
            shard: RefCell::new(Some(shard)),
            at_home: Notify::new(),
            now: Cell::new(None),
            ending: Cell::new(false),
            end_wanted: Notify::new(),
            turns: Cell::new(0),
            commands: Cell::new(0),
            outlets: RefCell::default(),
            held: RefCell::default(),
            unsent: RefCell::default(),
            send_wanted: Notify::new(),
            answers: RefCell::default(),
            job_wanted: Notify::new(),
            due: Cell::new(None),
            due_changed: Notify::new(),
            config: RefCell::new(config),
        })
    }

    /// What all threads share.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The number of this thread, and of its shard.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The settings. **Cost**: an atomic load, unless they have changed.
    pub fn config(&self) -> Arc<Config> {
        self.refresh();
        self.config.borrow().1.clone()
    }

    /// Brings a copy of the settings up to date; returns whether it was not.
    pub fn refresh_copy(&self, config: &mut Arc<Config>) -> bool {
        self.refresh();
        let kept = self.config.borrow();
        let is_old = !Arc::ptr_eq(&kept.1, config);
        if is_old {
            *config = kept.1.clone();
        }
        is_old
    }

    fn refresh(&self) {
        let version = self.core.config_version();
        let mut kept = self.config.borrow_mut();
        if kept.0 != version {
            *kept = (version, self.core.config());
        }
    }

    /// The wall clock, read once a turn.
    #[inline]
    pub fn now(&self) -> UnixMs {
        self.now.get().unwrap_or_else(|| self.read_clock())
    }

    #[cold]
    fn read_clock(&self) -> UnixMs {
        let now = self.core.now();
        self.now.set(Some(now));
        now
    }

    /// Whether the shard is here.
    #[inline]
    pub fn is_home(&self) -> bool {
        self.shard.borrow().is_some() || self.fetch()
    }

    /// Takes the shard up from where it rests.
    #[cold]
    fn fetch(&self) -> bool {
        let fetched = self.core.rest.take(self.index);
        let is_fetched = fetched.is_some();
        if is_fetched {
            *self.shard.borrow_mut() = fetched;
        }
        is_fetched
    }

    /// Lays the shard down for callers that run by themselves, between two turns.
    pub(super) fn rest(&self) {
        if !self.ending.get()
            && let Some(shard) = self.shard.borrow_mut().take()
        {
            self.core.rest.lay(self.index, shard, self.due.get());
        }
    }

    /// Someone had a turn with the shard where it rests, and it wants its next one at another time.
    pub(super) fn heed_rest(&self) {
        if self.shard.borrow().is_none()
            && let Some(due) = self.core.rest.due(self.index)
        {
            self.set_due(due);
        }
    }

    /// Says when the shard next wants a turn.
    pub(super) fn set_due(&self, due: Option<UnixMs>) {
        if due != self.due.replace(due) {
            self.due_changed.notify_one();
        }
    }

    /// Runs with this thread's shard; `None` while it is lent, or if somebody has panicked.
    #[inline]
    pub fn in_place<R>(&self, work: impl FnOnce(&mut Turn<'_, '_>) -> R) -> Option<R> {
        if !self.is_home() || self.core.has_panicked() {
            return None;
        }
        let in_hand = self.core.in_hand();
        let mut shard = self.shard.borrow_mut();
        let shard = shard.as_deref_mut()?;
        let done = work(&mut Turn::new(&mut [&mut *shard], self.now()));
        drop(in_hand);
        let full = shard.unlogged_bytes() > LOG_BYTES_MAX;
        self.begin_turn();
        self.commands.set(self.commands.get() + if full { COMMANDS_MAX } else { 1 });
        Some(done)
    }

    /// The bytes that the turn has to log so far; 0 while the shard is lent.
    pub fn unlogged_bytes(&self) -> usize {
        self.shard.borrow().as_deref().map_or(0, Shard::unlogged_bytes)
    }

    /// Whether the turn has reached its bound; whoever sees it calls [`Home::end_turn`].
    pub fn is_turn_full(&self) -> bool {
        self.commands.get() >= COMMANDS_MAX
    }

    /// Which turn this is.
    pub fn turn(&self) -> u64 {
        self.turns.get()
    }

    /// Tells `outlet` when the turn ends.
    pub fn at_turn_end(&self, outlet: Rc<dyn Outlet>) {
        self.outlets.borrow_mut().push(outlet);
        self.begin_turn();
    }

    /// Calls `answer` when the turn ends, after what it changed was appended.
    pub(super) fn answer_at_turn_end(&self, answer: Answer) {
        self.answers.borrow_mut().push(answer);
        self.begin_turn();
    }

    /// Tells `outlet` when the log moves.
    pub fn at_log_move(&self, outlet: Rc<dyn Outlet>) {
        self.held.borrow_mut().push(outlet);
    }

    /// Whether output that tells of the log up to `position` may leave.
    pub fn is_released(&self, position: Position) -> bool {
        self.core.is_released(position)
    }

    #[inline]
    fn begin_turn(&self) {
        if !self.ending.replace(true) {
            self.end_wanted.notify_one();
        }
    }

    /// Ends the turn: appends, answers other threads, lets output leave.
    pub fn end_turn(&self) {
        // What no reply waits for is logged, too, if it has filled the turn.
        self.finish_turn(self.is_turn_full());
    }

    fn finish_turn(&self, all: bool) {
        self.now.set(None);
        self.ending.set(false);
        self.turns.set(self.turns.get() + 1);
        self.commands.set(0);
        let mut position = Ok(Position::default());
        if self.core.has_panicked() {
            position = Err(hands::panicked());
        } else if let Some(shard) = self.shard.borrow_mut().as_deref_mut() {
            position = self.append(shard, all);
            self.set_due(shard.next_due());
            if shard.has_more_to_wake() {
                self.begin_turn();
            }
        }
        for answer in self.answers.take() {
            answer(position.clone());
        }
        let outlets = self.outlets.take();
        outlets.iter().for_each(|outlet| outlet.turn_ended(position.clone()));
        self.send(outlets);
    }

    /// Sends what may leave: of the first at once, of the others a little later.
    fn send(&self, outlets: Vec<Rc<dyn Outlet>>) {
        let mut outlets = outlets.into_iter();
        outlets.by_ref().take(SENDS_MAX).for_each(Outlet::send);
        if outlets.len() > 0 {
            self.unsent.borrow_mut().extend(outlets);
            self.send_wanted.notify_one();
        }
    }

    /// Sends what was left, some of it at a time.
    async fn send_the_rest(self: Rc<Self>) {
        loop {
            let some: Vec<_> = {
                let mut unsent = self.unsent.borrow_mut();
                let n = unsent.len().min(SENDS_MAX);
                unsent.drain(..n).collect()
            };
            if some.is_empty() {
                self.send_wanted.notified().await;
            }
            some.into_iter().for_each(Outlet::send);
            tokio::task::yield_now().await;
        }
    }

    /// Appends what these changes were, and hands on what they left over.
    pub(super) fn append(&self, shard: &mut Shard, all: bool) -> Result<Position, StorageError> {
        let _in_hand = self.core.in_hand();
        let position = shard.end_turn(self.core.aof(), all);
        self.hand_on(shard);
        self.core.log_has_grown(&position);
        position
    }

    /// Tells others of a turn, and has freed what it removed.
    pub(super) fn hand_on(&self, shard: &mut Shard) {
        if shard.has_leftovers() {
            self.core.publish(shard.take_notices());
            self.core.discard(shard.take_garbage());
        }
    }

    /// Runs `work` with these shards in hand. The position is where the log was after it; in
    /// place it is not known yet, and comes with the turn's end.
    ///
    /// # Errors
    /// [`Error::Storage`] if the log broke: whether the changes are in it is unknown.
    /// [`Error::Stopped`] if the database is closing.
    pub async fn visit<R: Send + 'static>(
        self: &Rc<Self>,
        set: &ShardSet,
        work: impl FnOnce(&mut Turn<'_, '_>) -> R + Send + 'static,
    ) -> Result<(R, Position), Error> {
        match set {
            ShardSet::One(index) if *index == self.index => {
                self.wait_home().await;
                let done = self.in_place(work).ok_or(Error::Stopped)?;
                Ok((done, Position::default()))
            }
            ShardSet::One(index) => {
                let (answer, answered) = oneshot::channel();
                let visit = Message::Visit(Box::new(move |home| {
                    let Some(done) = home.in_place(work) else { return };
                    let answer = move |position: Result<Position, StorageError>| {
                        // The visitor may be gone; then nobody needs to know.
                        drop(answer.send(position.map(|position| (done, position))));
                    };
                    home.answer_at_turn_end(Box::new(answer));
                    if home.is_turn_full() {
                        home.end_turn();
                    }
                }));
                self.core.send(*index, visit)?;
                Ok(answered.await.map_err(|_| Error::Stopped)??)
            }
            ShardSet::Several(list) => self.borrow(list, work).await,
        }
    }

    /// Takes a client's wait out of these shards; of others than this thread's a little later, but
    /// before anything that is sent to them next.
    ///
    /// # Errors
    /// As [`Home::visit`].
    pub async fn unblock(self: &Rc<Self>, set: &ShardSet, client: u64) -> Result<(), Error> {
        for shard in set.shards() {
            if *shard == self.index {
                self.wait_home().await;
                self.in_place(|turn| turn.unblock(client)).ok_or(Error::Stopped)?;
            } else {
                let visit = move |home: &Rc<Home>| _ = home.in_place(|turn| turn.unblock(client));
                self.core.send(*shard, Message::Visit(Box::new(visit)))?;
            }
        }
        Ok(())
    }

    /// Waits until the shard is here.
    pub(super) async fn wait_home(&self) {
        while !self.is_home() {
            self.at_home.notified().await;
        }
    }

    /// Takes the shard away, with everything its turn executed appended.
    pub(super) async fn take_shard(&self) -> Box<Shard> {
        loop {
            self.wait_home().await;
            // A transaction that reads what the turn changed must not be logged before it.
            self.finish_turn(true);
            if let Some(shard) = self.shard.borrow_mut().take() {
                return shard;
            }
        }
    }

    /// Puts the shard back.
    pub(super) fn return_shard(&self, shard: Box<Shard>) {
        *self.shard.borrow_mut() = Some(shard);
        // It may have been away for as long as SAVE takes.
        self.now.set(None);
        self.at_home.notify_waiters();
        self.begin_turn();
    }

    fn log_moved(&self) {
        let broken = self.core.has_log_failed();
        let held = self.held.take();
        held.iter().for_each(|outlet| outlet.log_moved(broken));
        self.send(held);
    }

    /// Gives the shard a turn when it wants one: a key is due, a reader looks again, changes that
    /// no reply waits for want to be logged.
    async fn tend(self: Rc<Self>) {
        // When to look again at what is to be forgotten, if there is anything.
        let (mut second, mut remembers): (u64, Option<Duration>) = (0, None);
        loop {
            let least = if self.core.pause.is_active() { PAUSED_TICK } else { TICK_MIN };
            let most = remembers.unwrap_or(IDLE_TICK);
            let wait = self.due.get().map_or(most, |due| {
                let ms = due.since(self.core.now());
                Duration::from_millis(ms).clamp(least, most)
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.due_changed.notified() => continue,
            }
            let now = self.core.now();
            let is_due = self.due.get().is_some_and(|due| due <= now);
            if is_due && self.core.pause.holds(true).is_none() {
                self.in_place(|turn| turn.tend());
            }
            let is_new_second = now.0 / 1000 != second && self.is_home();
            if remembers.is_some() || is_new_second {
                remembers = self.in_place(forget_idempotent_ids).unwrap_or(remembers);
            }
            if is_new_second {
                second = now.0 / 1000;
                self.in_place(|turn| {
                    let changes = turn.shards().map(|shard| shard.keyspace().changes).sum();
                    self.core.saver.publish(self.index, changes);
                });
                if self.index == 0 {
                    self.core.stats.sample(now);
                    save::tick(&self);
                }
                self.finish_turn(true);
            }
        }
    }
}

/// Forgets the idempotent IDs whose time is over, in some of the streams; when to look again, if
/// any are left.
fn forget_idempotent_ids(turn: &mut Turn<'_, '_>) -> Option<Duration> {
    turn.forget_idempotent_ids();
    let mut keyspaces = turn.shards().map(Shard::keyspace);
    if keyspaces.any(Keyspace::names_more_idempotent) {
        return Some(FORGET_MORE_TICK);
    }
    let mut keyspaces = turn.shards().map(Shard::keyspace);
    keyspaces.any(Keyspace::has_idempotent_ids).then_some(FORGET_TICK)
}

/// The tasks of a thread, until it is told to stop.
pub(super) async fn run(home: Rc<Home>, mut inbox: mpsc::UnboundedReceiver<Message>) {
    let ends = home.clone();
    tokio::task::spawn_local(async move {
        loop {
            ends.end_wanted.notified().await;
            ends.end_turn();
            if ends.ending.get() {
                // There is more to tell, and others may be heard before.
                tokio::task::yield_now().await;
            }
        }
    });
    tokio::task::spawn_local(home.clone().send_the_rest());
    tokio::task::spawn_local(home.clone().serve_borrowers());
    tokio::task::spawn_local(home.clone().tend());
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Visit(visit) => {
                home.wait_home().await;
                visit(&home);
            }
            Message::Call(call) => call(&home),
            Message::LogMoved => home.log_moved(),
            Message::Lend(borrower) => {
                let shard = home.take_shard().await;
                let (loan, returned) = Loan::new(shard);
                // A borrower that is gone drops the loan, which brings it back.
                drop(borrower.send(loan));
                if let Ok(shard) = returned.await {
                    home.return_shard(shard);
                }
            }
            Message::Stop if home.core.has_panicked() => return,
            Message::Stop => {
                home.wait_home().await;
                home.finish_turn(true);
                home.unsent.take().into_iter().for_each(Outlet::send);
                // What was answered may have laid it down, where callers would go on with it.
                home.fetch();
                return;
            }
        }
    }
}
