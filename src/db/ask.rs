//! A call of the program: requests go to the shard by its door, and an [`Answer`] comes back.
//!
//! ```text
//! Answer ── first poll ──► Message::Visit ──► turn ──► turn's end ──► (may wait for entries)
//!    ▲                                                                     │
//!    └── released: under `appendfsync always` when durable ◄── Parcel ◄────┘
//! ```
//!
//! The channels know no runtime, so any executor may poll. The caller's thread never touches a
//! shard or a file. What is under way is bounded ([`UNDER_WAY_BYTES`]): beyond it an answer is
//! pending until others have been given.
//!
//! A wait for entries is a task on the shard's thread, which also has the timer. If nobody is left
//! to take what it got, the [`Parcel`] is dropped, and it knows how to give deliveries back.

use super::Core;
use super::home::{Home, Message, ShardSet};
use super::run::{self, Blocked, Called, Caller};
use crate::command::table::{self, Scope};
use crate::command::value::{Reader, Unexpected};
use crate::command::{Name, Out, Protocol, REQUESTS_BYTES_MAX, Requests};
use crate::error::{CommandError, Error, StorageError};
use crate::persist::Position;
use crate::persist::aof::Aof;
use crate::shard::Turn;
use crate::shard::waiters::Woken;
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// **Limit** of the requests that are under way, in bytes; each call counts at least 1 KiB. Chosen.
pub const UNDER_WAY_BYTES: usize = 32 << 20;
/// Room for a reply of common size; any value works.
const REPLY_BYTES: usize = 256;
/// What the limit is counted in.
const UNIT_BYTES: usize = 1024;

/// Clients of the server count from 1; who waits inside the program counts from here.
const FIRST_CLIENT: u64 = 1 << 63;

/// Of all calls of a database.
#[derive(Debug)]
pub(super) struct Asking {
    room: Arc<Semaphore>,
    next_client: AtomicU64,
}

impl Asking {
    /// What calls wait for, until it is closed.
    pub(super) fn room(&self) -> Arc<Semaphore> {
        self.room.clone()
    }

    /// Lets nothing more begin.
    pub(super) fn close(&self) {
        self.room.close();
    }
}

impl Default for Asking {
    fn default() -> Self {
        Asking {
            room: Arc::new(Semaphore::new(UNDER_WAY_BYTES / UNIT_BYTES)),
            next_client: AtomicU64::new(FIRST_CLIENT),
        }
    }
}

/// What to do with a reply that nobody is left to take.
pub(super) type Lost = Box<dyn FnOnce(Bytes) + Send>;

/// The replies of a call, in RESP3.
pub(super) struct Parcel {
    replies: Bytes,
    position: Position,
    lost: Option<Lost>,
}

impl Parcel {
    fn take(mut self) -> Bytes {
        self.lost = None;
        mem::take(&mut self.replies)
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.take() {
            lost(mem::take(&mut self.replies));
        }
    }
}

/// What to ask.
pub(super) struct Ask {
    pub(super) core: Arc<Core>,
    pub(super) db: u8,
    pub(super) requests: Requests,
    /// Whether they are run as EXEC runs them: refused together, never waiting, answered by one
    /// list.
    pub(super) is_transaction: bool,
    pub(super) lost: Option<Lost>,
}

type Read<T> = Box<dyn FnOnce(&mut Reader) -> Result<T, Error> + Send>;
type Running = Pin<Box<dyn Future<Output = Result<Parcel, Error>> + Send>>;

/// What a call answers: await it on any executor, or [`Answer::wait`] for it.
///
/// Nothing is asked before the first poll. One that is dropped later may have had its effect.
#[must_use = "nothing is asked before it is awaited or waited for"]
pub struct Answer<T> {
    step: Step,
    /// Taken with the answer.
    read: Option<Read<T>>,
}

enum Step {
    New(Ask),
    Failed(Error),
    Running(Running),
    Done,
}

impl<T> Answer<T> {
    pub(super) fn new(
        ask: Ask,
        read: impl FnOnce(&mut Reader) -> Result<T, Error> + Send + 'static,
    ) -> Self {
        Answer { step: Step::New(ask), read: Some(Box::new(read)) }
    }

    pub(super) fn failed(error: Error) -> Self {
        Answer { step: Step::Failed(error), read: None }
    }

    /// Blocks this thread until the answer is there: for programs without async.
    ///
    /// # Errors
    /// As awaiting it.
    ///
    /// # Panics
    /// If it was awaited to its end before.
    pub fn wait(mut self) -> Result<T, Error> {
        match mem::replace(&mut self.step, Step::Done) {
            Step::New(ask) => {
                let parcel = ask.run_waiting()?;
                let read = self.read.take().expect("an answer is read once");
                read(&mut Reader::new(parcel.take()))
            }
            step @ (Step::Failed(_) | Step::Running(_) | Step::Done) => {
                self.step = step;
                block_on(self)
            }
        }
    }

    /// The same answer, with a value made of this one's.
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U + Send + 'static) -> Answer<U>
    where
        T: 'static,
    {
        let read = self
            .read
            .map(|read| -> Read<U> { Box::new(move |reader: &mut Reader| Ok(map(read(reader)?))) });
        Answer { step: self.step, read }
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match mem::replace(&mut self.step, Step::Done) {
                Step::New(ask) => self.step = Step::Running(Box::pin(ask.run())),
                Step::Failed(error) => return Poll::Ready(Err(error)),
                Step::Running(mut running) => {
                    let Poll::Ready(parcel) = running.as_mut().poll(context) else {
                        self.step = Step::Running(running);
                        return Poll::Pending;
                    };
                    let read = self.read.take().expect("an answer is read once");
                    return Poll::Ready(
                        parcel.and_then(|parcel| read(&mut Reader::new(parcel.take()))),
                    );
                }
                Step::Done => panic!("an answer was polled again after it was given"),
            }
        }
    }
}

/// Polls a future on this thread until it is done.
///
/// For programs without async. It must not be called on a thread of an async runtime, which it
/// would block.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// What has run on the shards.
struct RanAll {
    replies: Vec<u8>,
    blocked: Option<Blocked>,
}

/// Requests that have been looked up, on their way.
struct Sent {
    requests: Requests,
    caller: Caller,
    lost: Option<Lost>,
    /// Whether the shard is to rest afterwards.
    rests: bool,
}

impl Ask {
    async fn run(self) -> Result<Parcel, Error> {
        let (core, sent, set) = self.route()?;
        let units = sent.requests.bytes_len() / UNIT_BYTES + 1;
        let units = u32::try_from(units.min(UNDER_WAY_BYTES / UNIT_BYTES)).unwrap_or(u32::MAX);
        let room = core.asking.room.clone().acquire_many_owned(units).await;
        let room = room.map_err(|_| Error::Stopped)?;
        core.log_catches_up().await?;
        let (answer, answered) = oneshot::channel();
        sent.go(&core, set, room, answer)?;
        let parcel: Parcel = answered.await.map_err(|_| Error::Stopped)??;
        core.released(parcel.position).await?;
        Ok(parcel)
    }

    /// Runs the requests on this thread if the shard rests, else as [`Ask::run`] does.
    fn run_waiting(self) -> Result<Parcel, Error> {
        let (core, mut sent, set) = self.route()?;
        if core.is_log_behind() {
            block_on(core.log_catches_up())?;
        }
        let at_rest = match &set {
            ShardSet::One(shard) => core.turn_at_rest(*shard, |turn| sent.run(&core, turn))?,
            ShardSet::Several(_) => None,
        };
        let parcel = match at_rest {
            Some((RanAll { replies, blocked: None }, position)) => {
                sent.parcel(replies, Ok(position))?
            }
            Some((RanAll { blocked: Some(blocked), .. }, _)) => {
                let (answer, answered) = oneshot::channel();
                sent.wait_on(&core, set, blocked, answer)?;
                block_on(answered).map_err(|_| Error::Stopped)??
            }
            None => {
                let (answer, answered) = oneshot::channel();
                sent.rests = true;
                sent.go(&core, set, None, answer)?;
                block_on(answered).map_err(|_| Error::Stopped)??
            }
        };
        if !core.is_released(parcel.position) {
            if let Some(aof) = core.aof() {
                // This thread waits anyway: it need not wake another one to be woken by it.
                aof.sync_through(parcel.position)?;
            }
            block_on(core.released(parcel.position))?;
        }
        Ok(parcel)
    }

    /// Sends the requests; nobody waits for what they answer.
    pub(super) fn send_off(self) {
        if let Ok((core, sent, set)) = self.route() {
            let (answer, _) = oneshot::channel();
            // A database that is closed needs nothing.
            let _ = sent.go(&core, set, None, answer);
        }
    }

    /// Looks the commands up, and finds the shards they want.
    fn route(self) -> Result<(Arc<Core>, Sent, ShardSet), Error> {
        let Ask { core, db, mut requests, is_transaction, lost } = self;
        if requests.is_too_large() {
            let text = format!("ERR a call is limited to {REQUESTS_BYTES_MAX} bytes");
            return Err(CommandError::composed(text).into());
        }
        let mut set: Option<ShardSet> = None;
        for index in 0..requests.len() {
            let request = requests.get(index);
            if request.is_empty() {
                return Err(CommandError::Fixed("ERR no command was given").into());
            }
            let row = table::lookup(&request)?;
            if is_transaction && let Some(error) = run::transaction_refusal(row, &core.config()) {
                return Err(error.into());
            }
            if row.scope == Scope::Connection {
                let text = format!("ERR '{}' is for connections", row.full_name());
                return Err(CommandError::composed(text).into());
            }
            match (core.shards_of(row, &request), &mut set) {
                (None, _) => {}
                (Some(ShardSet::Several(list)), Some(set)) => {
                    list.into_iter().for_each(|shard| set.add(shard));
                }
                (Some(ShardSet::One(shard)), Some(set)) => set.add(shard),
                (Some(wanted), None) => set = Some(wanted),
            }
            requests.push_row(row);
        }
        let client = core.asking.next_client.fetch_add(1, Ordering::Relaxed);
        let (protocol, in_transaction) = (Protocol::Resp3, is_transaction);
        let caller = Caller { client, db, protocol, no_touch: false, local: true, in_transaction };
        let sent = Sent { requests, caller, lost, rests: false };
        Ok((core, sent, set.unwrap_or(ShardSet::One(0))))
    }
}

type Answering = oneshot::Sender<Result<Parcel, Error>>;

impl Sent {
    /// Goes to the shards by their doors.
    fn go(
        self,
        core: &Arc<Core>,
        set: ShardSet,
        room: impl Into<Option<OwnedSemaphorePermit>>,
        answer: Answering,
    ) -> Result<(), Error> {
        let room = room.into();
        let on_the_way = core.on_the_way(&set);
        let at = match &set {
            ShardSet::One(shard) => *shard,
            ShardSet::Several(list) => {
                let at = list[0];
                let visit = move |home: &Rc<Home>| {
                    let visit = self.visit_several(home.clone(), set, answer);
                    tokio::task::spawn_local(async move {
                        visit.await;
                        drop((on_the_way, room));
                    });
                };
                return core.call(at, visit);
            }
        };
        let visit = move |home: &Rc<Home>| {
            let (mut sent, at) = (self, home.clone());
            let Some(ran) = home.in_place(|turn| sent.run(home.core(), turn)) else { return };
            drop((on_the_way, room));
            match ran.blocked {
                Some(blocked) => {
                    let waiting = wait(home.clone(), set, blocked, sent, answer);
                    tokio::task::spawn_local(waiting);
                }
                None => home.answer_at_turn_end(Box::new(move |position| {
                    if sent.rests {
                        at.rest();
                    }
                    let parcel = sent.parcel(ran.replies, position);
                    // Whoever asked may be gone; then the parcel knows what to do.
                    drop(answer.send(parcel));
                })),
            }
            if home.is_turn_full() {
                home.end_turn();
            }
        };
        core.send(at, Message::Visit(Box::new(visit)))
    }

    /// Has the shard's thread wait for what a reader waits for.
    fn wait_on(
        self,
        core: &Core,
        set: ShardSet,
        blocked: Blocked,
        answer: Answering,
    ) -> Result<(), Error> {
        let ShardSet::One(at) = set else { return Err(Error::Stopped) };
        core.call(at, move |home| {
            tokio::task::spawn_local(wait(home.clone(), set, blocked, self, answer));
        })
    }

    async fn visit_several(mut self, home: Rc<Home>, set: ShardSet, answer: Answering) {
        let core = home.core().clone();
        let work = move |turn: &mut Turn<'_, '_>| {
            let ran = self.run(&core, turn);
            (ran, self)
        };
        match home.visit(&set, work).await {
            Ok(((RanAll { blocked: Some(blocked), .. }, sent), _)) => {
                wait(home, set, blocked, sent, answer).await;
            }
            Ok(((ran, sent), position)) => {
                drop(answer.send(sent.parcel(ran.replies, Ok(position))));
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn run(&mut self, core: &Core, turn: &mut Turn<'_, '_>) -> RanAll {
        let mut ran = RanAll { replies: Vec::with_capacity(REPLY_BYTES), blocked: None };
        // The way back needs none.
        let (requests, now) = (mem::take(&mut self.requests), turn.now());
        if self.caller.in_transaction {
            let mut out = Out::new(&mut ran.replies, self.caller.protocol);
            let unlogged = turn.unlogged_bytes();
            match core.write_refusal_of_all(unlogged, requests.iter(), now) {
                Some(error) => {
                    out.error(&error);
                    return ran;
                }
                None => out.array(requests.len()),
            }
        }
        for (row, request) in requests.iter() {
            let mut out = Out::new(&mut ran.replies, self.caller.protocol);
            if !self.caller.in_transaction
                && let Some(error) = core.write_refusal(turn.unlogged_bytes(), row, &request, now)
            {
                out.error(&error);
                continue;
            }
            match run::call(core, turn, row, &request, &self.caller, &mut out) {
                Called::Replied(None) => {}
                Called::Replied(Some(code)) => core.count_failure(row.name, &code),
                Called::Blocked(blocked) => ran.blocked = Some(blocked),
                Called::Shutdown(how) => {
                    tracing::debug!("a call asked to stop the database: {how:?}");
                    out.error(&CommandError::Fixed("ERR the program closes its database itself"));
                }
            }
        }
        turn.serve();
        ran
    }

    fn parcel(
        self,
        replies: Vec<u8>,
        position: Result<Position, StorageError>,
    ) -> Result<Parcel, Error> {
        Ok(Parcel { replies: replies.into(), position: position?, lost: self.lost })
    }
}

/// Waits until a reader is served, its time is over, or nobody is left to read.
async fn wait(home: Rc<Home>, set: ShardSet, blocked: Blocked, sent: Sent, mut answer: Answering) {
    let Blocked { cell, mut woken, timeout_ms, name } = blocked;
    let time_is_over = async {
        match timeout_ms {
            0 => std::future::pending().await,
            ms => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
    };
    let ended = tokio::select! {
        woken = &mut woken => woken.ok(),
        () = time_is_over => None,
        () = answer.closed() => None,
    };
    let client = sent.caller.client;
    let ended = match ended {
        None if cell.end() => None,
        // Someone has ended it meanwhile, and what it got is on its way.
        None => woken.await.ok(),
        ended => ended,
    };
    let (reply, position) = match ended {
        Some(Woken::Served(served)) => {
            if let [b'-', error @ ..] = &served.reply[..] {
                let code = error.split(|byte| *byte == b' ').next().unwrap_or_default();
                home.core().count_failure(name, &String::from_utf8_lossy(code));
            }
            (served.reply, served.position)
        }
        Some(Woken::TimedOut | Woken::Unblocked) | None => {
            if let Err(error) = home.visit(&set, move |turn| turn.unblock(client)).await {
                drop(answer.send(Err(error)));
                return;
            }
            (b"_\r\n".to_vec(), Position::default())
        }
    };
    drop(answer.send(sent.parcel(reply, Ok(position))));
    if let ShardSet::Several(_) = set {
        // Those shards that have not served it still know it. If they stop, they need not.
        drop(home.visit(&set, move |turn| turn.unblock(client)).await);
    }
}

impl Core {
    fn count_failure(&self, name: Name, code: &str) {
        self.stats.count_error(code);
        self.stats.thread(0).command(name).failed.add_shared(1);
    }

    /// Waits until output that tells of the log up to `position` may leave.
    ///
    /// # Errors
    /// [`Error::Storage`] if the log broke: whether the changes are in it is unknown.
    async fn released(&self, position: Position) -> Result<(), Error> {
        if self.is_released(position) {
            return Ok(());
        }
        let mut moves = self.log_moves.subscribe();
        loop {
            if self.is_released(position) {
                return Ok(());
            }
            let broken = self.aof().filter(|aof| aof.is_broken());
            if let Some(failure) = broken.and_then(Aof::failure) {
                return Err(failure.into());
            }
            moves.changed().await.map_err(|_| Error::Stopped)?;
        }
    }

    /// Whether the log is durable up to `position`, or there is none.
    #[cfg(feature = "server")]
    pub(crate) fn is_durable(&self, position: Position) -> bool {
        self.aof().is_none_or(|aof| aof.durable() >= position)
    }

    /// Waits until [`Core::is_durable`], through failures of the log too.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    #[cfg(feature = "server")]
    pub(crate) async fn log_reaches(&self, position: Position) -> Result<(), Error> {
        let mut moves = self.log_moves.subscribe();
        while !self.is_durable(position) {
            moves.changed().await.map_err(|_| Error::Stopped)?;
        }
        Ok(())
    }

    /// Whether so much waits for the disk that those who write must wait, too.
    pub(crate) fn is_log_behind(&self) -> bool {
        self.aof().is_some_and(Aof::is_behind)
    }

    /// Waits until the disk has caught up, or the log is broken.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) async fn log_catches_up(&self) -> Result<(), Error> {
        if !self.is_log_behind() {
            return Ok(());
        }
        self.stats.delayed_syncs.add_shared(1);
        let mut moves = self.log_moves.subscribe();
        while self.is_log_behind() {
            moves.changed().await.map_err(|_| Error::Stopped)?;
        }
        Ok(())
    }
}

/// Reads what our own commands have written.
///
/// # Panics
/// If it is of another shape, which is a bug.
pub(super) fn read_as<T>(
    reader: &mut Reader,
    read: impl FnOnce(&mut Reader) -> Result<T, Unexpected>,
) -> T {
    read(reader).expect("a command replies in its own shape")
}

/// An entry ID that must be there.
pub(super) fn read_id(reader: &mut Reader) -> Result<crate::stream::EntryId, Unexpected> {
    reader.id()?.ok_or(Unexpected)
}

#[cfg(test)]
mod tests;
