//! One client: its task reads, runs what can run here and now, and waits for the rest.
//!
//! [`Connection::process`] runs requests straight from the read buffer as long as nothing must be
//! awaited. What must is a [`Job`]: it owns its arguments, and the requests behind it wait, so a
//! connection's commands take effect in their order. An idle connection holds no buffer; all
//! connections of a thread read into one.

use super::Server;
use super::client::{Client, Queued, ReplyMode, Then};
use super::meter::Meter;
use super::output::Output;
use super::resp::{ReadLimits, RequestReader};
use super::socket::Reader;
use crate::command::table::{self, Row, Scope};
use crate::command::{Name, Out, Protocol, Ran, Request};
use crate::config::Config;
use crate::db::Core;
use crate::db::admin::{self, After, Caller, Shutdown};
use crate::db::home::{Home, ShardSet};
use crate::error::{CommandError, Error};
use crate::persist::Position;
use crate::shard::waiters::{WaitCell, Woken};
use crate::shard::{Blocker, Turn};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Bytes read at once; after so many of one client's pipeline it is others' turn.
const READ_BYTES: usize = 64 * 1024;
/// A connection with more unsent bytes is not read any further.
const UNSENT_MAX: usize = 1 << 20;

thread_local! {
    /// What all connections of a thread read into.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// One client's connection.
pub(super) struct Connection {
    server: Arc<Server>,
    home: Rc<Home>,
    config: Arc<Config>,
    reader: Reader,
    requests: RequestReader,
    /// Bytes that were read and not used yet.
    pending: Vec<u8>,
    client: Client,
    output: Rc<Output>,
    peer_closed: bool,
    meter: Meter,
    /// How many commands were begun.
    dispatched: u64,
    /// The one that was begun last.
    last: Option<&'static Row>,
}

/// How processing ended.
enum Step {
    /// More bytes are needed.
    Read,
    /// Something must be awaited.
    Await(Job),
    /// Close when the replies have left.
    Close,
}

/// What must be awaited.
enum Job {
    /// Commands on keys, one after the other, on these shards.
    Run(ShardSet, Vec<Queued>),
    /// The transaction.
    Exec,
    Watch(Vec<Box<[u8]>>),
    Unwatch,
    /// A reader has blocked on these shards.
    Blocked(ShardSet, Blocked),
}

/// A wait that was registered.
struct Blocked {
    cell: Arc<WaitCell>,
    woken: oneshot::Receiver<Woken>,
    timeout_ms: u64,
    name: Name,
}

/// What commands on a shard have answered.
#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
    /// Where the reply of each ends, and the error's code if it was one.
    ends: Vec<(usize, Option<String>)>,
    blocked: Option<Blocked>,
    shutdown: Option<Shutdown>,
    /// The commands, and how long each took.
    ran: Vec<(Queued, Duration)>,
}

impl Connection {
    pub(super) fn new(
        server: Arc<Server>,
        home: Rc<Home>,
        reader: Reader,
        client: Client,
        output: Rc<Output>,
    ) -> Self {
        let config = home.config();
        let meter = Meter::new(home.clone(), client.shared.clone());
        Connection {
            server,
            home,
            config,
            reader,
            requests: RequestReader::new(),
            pending: Vec::new(),
            client,
            output,
            peer_closed: false,
            meter,
            dispatched: 0,
            last: None,
        }
    }

    /// Serves the client until it leaves.
    pub(super) async fn run(mut self) {
        // Whatever ends the connection, what it has set elsewhere is taken back below.
        drop(self.serve().await);
        if !self.client.watched.is_empty() {
            drop(self.unwatch().await);
        }
        self.server.clients.remove(self.client.shared.id);
        self.home.core().stats.thread(self.home.index()).clients.sub(1);
    }

    async fn serve(&mut self) -> Result<(), Error> {
        loop {
            let n = self.read().await?;
            // What came is used where it was read, unless it continues an unfinished request.
            let mut step = if self.pending.is_empty() {
                SCRATCH.with_borrow(|scratch| {
                    let (used, step) = self.process(&scratch[..n]);
                    self.pending.extend_from_slice(&scratch[used..n]);
                    step
                })
            } else {
                SCRATCH.with_borrow(|scratch| self.pending.extend_from_slice(&scratch[..n]));
                self.process_pending()
            };
            loop {
                match step {
                    Step::Read => break,
                    Step::Close => return self.flush().await,
                    // Boxed, because it is large and most of the time there is none.
                    Step::Await(job) => Box::pin(self.run_job(job)).await?,
                }
                step = self.process_pending();
            }
            if n == READ_BYTES {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits for bytes, and meanwhile for the socket to take some, and for others' attention.
    /// Returns how many have come into the scratch buffer.
    async fn read(&mut self) -> Result<usize, Error> {
        poll_fn(|context| {
            loop {
                if self.client.shared.attention.take() {
                    self.deliver_mail();
                }
                if self.is_over() {
                    return Poll::Ready(Err(Error::Stopped));
                }
                self.output.poll_send(context);
                if self.output.has_less_than(UNSENT_MAX) {
                    let read =
                        SCRATCH.with_borrow_mut(|scratch| self.reader.poll_read(context, scratch));
                    if let Poll::Ready(n) = read {
                        return Poll::Ready(self.received(n));
                    }
                }
                if !self.client.shared.attention.listen(context) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Whether there is nobody to serve any more.
    fn is_over(&self) -> bool {
        self.output.is_broken() || self.client.shared.is_killed() || self.peer_closed
    }

    /// Accounts for what a read has put into the scratch buffer.
    fn received(&mut self, n: io::Result<usize>) -> Result<usize, Error> {
        let n = n.map_err(|_| Error::Stopped)?;
        if n == 0 {
            self.peer_closed = true;
            return Err(Error::Stopped);
        }
        let stats = self.home.core().stats.thread(self.home.index());
        stats.net_input.add(n as u64);
        stats.reads.add(1);
        let seen = &self.client.shared.seen;
        seen.input_bytes.fetch_add(n as u64, Ordering::Relaxed);
        let limit = usize::try_from(self.config.client_query_buffer_limit).unwrap_or(usize::MAX);
        if self.pending.len() + n > limit {
            return Err(Error::Stopped);
        }
        Ok(n)
    }

    /// Appends what others had for the client.
    fn deliver_mail(&mut self) {
        let mail = self.client.shared.take_mail();
        if mail.is_empty() {
            return;
        }
        {
            let mut bytes = self.output.bytes();
            mail.iter().for_each(|frame| bytes.extend_from_slice(frame));
        }
        let end = self.home.core().aof().map(crate::persist::aof::Aof::end);
        self.output.announce(end.unwrap_or_default());
    }

    /// Waits until every reply has left.
    async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|context| {
            loop {
                self.client.shared.attention.take();
                self.output.poll_send(context);
                if self.output.has_less_than(1) || self.is_over() {
                    return Poll::Ready(Ok(()));
                }
                if !self.client.shared.attention.listen(context) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn process_pending(&mut self) -> Step {
        if self.pending.is_empty() {
            return Step::Read;
        }
        let pending = std::mem::take(&mut self.pending);
        let (used, step) = self.process(&pending);
        self.pending = pending;
        if used == self.pending.len() {
            self.pending = Vec::new();
        } else {
            self.pending.drain(..used);
        }
        step
    }

    /// Runs requests until something must be awaited. Returns how many bytes were used.
    fn process(&mut self, input: &[u8]) -> (usize, Step) {
        self.config = self.home.config();
        let limits = ReadLimits {
            bulk_bytes: usize::try_from(self.config.proto_max_bulk_len).unwrap_or(usize::MAX),
            authenticated: self.client.authenticated,
        };
        let mut requests = std::mem::take(&mut self.requests);
        let before = self.dispatched;
        let mut used = 0;
        let step = loop {
            match requests.next(&input[used..], &limits) {
                Ok(Some((request, n))) => {
                    used += n;
                    match self.dispatch(&request) {
                        None if limits.authenticated == self.client.authenticated => {}
                        None => break Step::Read,
                        Some(step) => break step,
                    }
                }
                Ok(None) => {
                    used += requests.take_skipped();
                    break Step::Read;
                }
                Err(error) => {
                    self.output.bytes().extend_from_slice(&error.wire());
                    used = input.len();
                    break Step::Close;
                }
            }
        };
        self.requests = requests;
        self.meter.flush(&self.config);
        self.show_activity(self.dispatched - before);
        self.output.announce(Position::default());
        (used, step)
    }

    /// Tells others of what the client does.
    fn show_activity(&self, commands: u64) {
        let seen = &self.client.shared.seen;
        if let Some(row) = self.last {
            let command = u32::try_from(row.name.index() + 1).unwrap_or_default();
            seen.command.store(command, Ordering::Relaxed);
        }
        seen.commands.fetch_add(commands, Ordering::Relaxed);
        seen.last_ms.store(self.home.now().0, Ordering::Relaxed);
        seen.db.store(self.client.db, Ordering::Relaxed);
    }

    /// Runs one request, or says what must be awaited.
    fn dispatch(&mut self, request: &Request<'_>) -> Option<Step> {
        let row = match table::lookup(request) {
            Ok(row) => row,
            Err(error) => {
                self.reject(None, &error);
                return None;
            }
        };
        if let Some(error) = self.client.refusal(row) {
            self.reject(Some(row), &error);
            return None;
        }
        if self.client.queues(row.name) {
            self.queue(row, request);
            return None;
        }
        self.dispatched += 1;
        self.last = Some(row);
        self.meter.begin(&self.config, row);
        let step = self.run_request(row, request);
        match step {
            // It runs where the shards are, and is measured there.
            Some(Step::Await(Job::Run(..))) => self.meter.hand_over(&self.config),
            _ => self.meter.end(&self.config, request),
        }
        step
    }

    fn run_request(&mut self, row: &'static Row, request: &Request<'_>) -> Option<Step> {
        match row.scope {
            Scope::Key => self.run_on_keys(row, request),
            Scope::Connection => self.run_here(row, request),
            Scope::Database => {
                let shards = self.home.core().shards();
                let set = if shards > 1 && admin::wants_all_shards(row.name) {
                    ShardSet::Several((0..shards).collect())
                } else {
                    ShardSet::One(self.home.index())
                };
                Some(Step::Await(Job::Run(set, vec![Queued { row, request: request.into() }])))
            }
        }
    }

    fn queue(&mut self, row: &'static Row, request: &Request<'_>) {
        if let Some(queue) = &mut self.client.queue {
            queue.push(Queued { row, request: request.into() });
        }
        self.reply(|out| out.simple("QUEUED"));
    }

    fn reject(&mut self, row: Option<&Row>, error: &CommandError) {
        self.client.is_doomed |= self.client.queue.is_some();
        let stats = &self.home.core().stats;
        stats.count_error(&error.code());
        if let Some(row) = row {
            stats.thread(self.home.index()).command(row.name).rejected.add(1);
        }
        self.reply(|out| out.error(error));
    }

    /// Writes a reply, unless the client wants none.
    fn reply<R>(&mut self, write: impl FnOnce(&mut Out<'_>) -> R) -> R {
        let mut bytes = self.output.bytes();
        let mark = bytes.len();
        let written = write(&mut Out::new(&mut bytes, self.client.protocol));
        if self.client.reply_mode != ReplyMode::On {
            bytes.truncate(mark);
            if self.client.reply_mode == ReplyMode::Skip {
                self.client.reply_mode = ReplyMode::On;
            }
        }
        written
    }

    fn run_here(&mut self, row: &'static Row, request: &Request<'_>) -> Option<Step> {
        let config = self.config.clone();
        let output = self.output.clone();
        let mut bytes = output.bytes();
        let mark = bytes.len();
        let mut out = Out::new(&mut bytes, self.client.protocol);
        let then = self.client.run(row, request, &config, &mut out);
        drop(bytes);
        match then {
            Ok(Then::Nothing) => None,
            Ok(Then::Close) => Some(Step::Close),
            Ok(Then::Exec) => Some(Step::Await(Job::Exec)),
            Ok(Then::Watch(keys)) => Some(Step::Await(Job::Watch(keys))),
            Ok(Then::Unwatch) if self.client.watched.is_empty() => None,
            Ok(Then::Unwatch) => Some(Step::Await(Job::Unwatch)),
            Err(error) => {
                self.output.bytes().truncate(mark);
                self.fail(row, &error);
                None
            }
        }
    }

    fn fail(&mut self, row: &Row, error: &CommandError) {
        let stats = &self.home.core().stats;
        stats.count_error(&error.code());
        stats.thread(self.home.index()).command(row.name).failed.add(1);
        self.reply(|out| out.error(error));
    }

    /// The shards of a request's keys; this one's own if it has none.
    fn shards_of(&self, row: &Row, request: &Request<'_>) -> Option<ShardSet> {
        let core = self.home.core();
        let mut set: Option<ShardSet> = None;
        for index in table::keys(row, request).into_iter().flatten() {
            let shard = core.shard_of(request.arg(index));
            match &mut set {
                None => set = Some(ShardSet::One(shard)),
                Some(set) => set.add(shard),
            }
        }
        set
    }

    fn run_on_keys(&mut self, row: &'static Row, request: &Request<'_>) -> Option<Step> {
        let own = ShardSet::One(self.home.index());
        let set = if self.home.core().shards() == 1 {
            own.clone()
        } else {
            self.shards_of(row, request).unwrap_or_else(|| own.clone())
        };
        if set != own || !self.home.is_home() {
            return Some(Step::Await(Job::Run(set, vec![Queued { row, request: request.into() }])));
        }
        if self.home.is_turn_full() {
            self.home.end_turn();
        }
        if let Some(error) = self.server.write_refusal(&self.home, row, request) {
            self.reject(Some(row), &error);
            return None;
        }
        let (by, home) = (self.caller(), self.home.clone());
        let called = self.reply(|out| {
            home.in_place(|turn| {
                let called = call(turn, home.core(), row, request, &by, out);
                turn.serve();
                called
            })
        });
        match called? {
            Called::Replied(None) => None,
            Called::Replied(Some(code)) => {
                self.count_failure(row.name, &code);
                None
            }
            Called::Blocked(blocked) => Some(Step::Await(Job::Blocked(own, blocked))),
            Called::Shutdown(_) => None,
        }
    }

    /// What commands may know of this connection.
    fn caller(&self) -> By {
        let address = &self.client.shared.address;
        let local = ["127.", "[::1]", "/"].iter().any(|start| address.starts_with(start));
        let caller = Caller { db: self.client.db, local, in_transaction: false };
        By { client: self.client.shared.id, caller }
    }

    fn count_failure(&self, name: Name, code: &str) {
        let stats = &self.home.core().stats;
        stats.count_error(code);
        stats.thread(self.home.index()).command(name).failed.add(1);
    }
}

/// How a command on keys went.
enum Called {
    /// It has answered; with an error of this code, if it was one.
    Replied(Option<String>),
    /// It waits.
    Blocked(Blocked),
    /// It wants the server to stop.
    Shutdown(Shutdown),
}

/// Whom a command is from.
#[derive(Debug, Clone, Copy)]
struct By {
    client: u64,
    caller: Caller,
}

/// Runs a command on keys or of a whole database; one that wants to wait is registered with the
/// shards in hand.
fn call(
    turn: &mut Turn<'_, '_>,
    core: &Core,
    row: &Row,
    request: &Request<'_>,
    by: &By,
    out: &mut Out<'_>,
) -> Called {
    let By { client, caller } = *by;
    let db = caller.db;
    let ran = if row.scope == Scope::Database {
        match admin::run(core, turn, row, request, &caller, out) {
            Ok(After::Nothing) => Ok(Ran::Replied),
            Ok(After::Shutdown(how)) => return Called::Shutdown(how),
            Err(error) => Err(error),
        }
    } else {
        turn.run(row, request, db, out)
    };
    match ran {
        Ok(Ran::Replied) => Called::Replied(None),
        Ok(Ran::WouldBlock(wait)) => {
            let (cell, woken) = WaitCell::new();
            let timeout_ms = wait.timeout_ms;
            let blocker = Blocker { client, cell: cell.clone(), db, protocol: out.protocol() };
            turn.block(wait, blocker);
            Called::Blocked(Blocked { cell, woken, timeout_ms, name: row.name })
        }
        Err(error) => {
            out.error(&error);
            Called::Replied(Some(error.code()))
        }
    }
}

/// What awaits.
impl Connection {
    async fn run_job(&mut self, job: Job) -> Result<(), Error> {
        match job {
            Job::Run(set, list) => self.run_list(set, list).await,
            Job::Exec => self.exec().await,
            Job::Watch(keys) => self.watch(keys).await,
            Job::Unwatch => self.unwatch().await,
            Job::Blocked(set, blocked) => self.wait(set, blocked).await,
        }
    }

    async fn run_list(&mut self, set: ShardSet, list: Vec<Queued>) -> Result<(), Error> {
        for queued in &list {
            let request = queued.request.request();
            if let Some(error) = self.server.write_refusal(&self.home, queued.row, &request) {
                self.reject(Some(queued.row), &error);
                return Ok(());
            }
        }
        let (by, protocol) = (self.caller(), self.client.protocol);
        let core = self.home.core().clone();
        let work = move |turn: &mut Turn<'_, '_>| {
            let mut answers = Answers::default();
            for queued in list {
                let began = Instant::now();
                let request = queued.request.request();
                let mut out = Out::new(&mut answers.bytes, protocol);
                match call(turn, &core, queued.row, &request, &by, &mut out) {
                    Called::Replied(code) => answers.ends.push((out.len(), code)),
                    Called::Blocked(blocked) => answers.blocked = Some(blocked),
                    Called::Shutdown(how) => answers.shutdown = Some(how),
                }
                turn.serve();
                answers.ran.push((queued, began.elapsed()));
            }
            answers
        };
        let (answers, position) = self.home.visit(&set, work).await?;
        let mut start = 0;
        self.note_all(&answers.ran);
        for ((end, code), (queued, _)) in answers.ends.iter().zip(&answers.ran) {
            if let Some(code) = code {
                self.count_failure(queued.row.name, code);
            }
            self.reply(|out| out.raw(&answers.bytes[start..*end]));
            start = *end;
        }
        self.output.announce(position);
        if let Some(how) = answers.shutdown {
            tracing::info!("stopping, as a client asks: {how:?}");
            self.server.stop.notify_one();
        }
        if let Some(blocked) = answers.blocked {
            self.wait(set, blocked).await?;
        }
        Ok(())
    }

    /// Notes how long commands took that ran elsewhere.
    fn note_all(&self, ran: &[(Queued, Duration)]) {
        for (queued, took) in ran {
            let request = queued.request.request();
            self.meter.note(&self.config, queued.row, 1, *took, Some(&request));
        }
    }

    /// Waits until the reader is served or its time is over.
    async fn wait(&mut self, set: ShardSet, mut blocked: Blocked) -> Result<(), Error> {
        let deadline = (blocked.timeout_ms > 0)
            .then(|| tokio::time::Instant::now() + Duration::from_millis(blocked.timeout_ms));
        self.client.shared.set_wait(Some(blocked.cell.clone()));
        let woken = self.until_woken(deadline, &mut blocked).await;
        self.client.shared.set_wait(None);
        let clean = matches!(woken, Ok(Some(Woken::Served(_)))) && matches!(set, ShardSet::One(_));
        if !clean {
            let client = self.client.shared.id;
            self.home.visit(&set, move |turn| turn.unblock(client)).await?;
        }
        match woken? {
            Some(Woken::Served(served)) => {
                if served.reply.first() == Some(&b'-') {
                    let line = served.reply.split(|byte| *byte == b' ').next();
                    let code = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
                    self.count_failure(blocked.name, code.trim_start_matches('-'));
                }
                self.reply(|out| out.raw(&served.reply));
                self.output.announce(served.position);
            }
            Some(Woken::Unblocked) => {
                let text = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
                self.fail(table::row(blocked.name), &CommandError::Fixed(text));
                self.output.announce(Position::default());
            }
            Some(Woken::TimedOut) | None => {
                self.reply(|out| out.null_array());
                self.output.announce(Position::default());
            }
        }
        Ok(())
    }

    /// `None` if the time is over.
    async fn until_woken(
        &mut self,
        deadline: Option<tokio::time::Instant>,
        blocked: &mut Blocked,
    ) -> Result<Option<Woken>, Error> {
        let mut timer = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        let woken = poll_fn(|context| {
            loop {
                if let Poll::Ready(woken) = Pin::new(&mut blocked.woken).poll(context) {
                    return Poll::Ready(woken.map(Some).map_err(|_| Error::Stopped));
                }
                let timer = timer.as_mut().map(|timer| timer.as_mut().poll(context));
                if timer.is_some_and(|timer| timer.is_ready()) {
                    return Poll::Ready(Ok(None));
                }
                if self.client.shared.attention.take() {
                    self.deliver_mail();
                }
                self.output.poll_send(context);
                // What the client sends meanwhile waits; that it leaves must be seen.
                let read =
                    SCRATCH.with_borrow_mut(|scratch| self.reader.poll_read(context, scratch));
                if let Poll::Ready(n) = read {
                    match self.received(n) {
                        Ok(n) => SCRATCH
                            .with_borrow(|scratch| self.pending.extend_from_slice(&scratch[..n])),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    continue;
                }
                if self.is_over() {
                    return Poll::Ready(Err(Error::Stopped));
                }
                if !self.client.shared.attention.listen(context) {
                    return Poll::Pending;
                }
            }
        })
        .await;
        match woken {
            Ok(Some(woken)) => Ok(Some(woken)),
            Ok(None) if blocked.cell.end() => Ok(None),
            // Someone else has ended it, and the reason is on its way.
            Ok(None) => (&mut blocked.woken).await.map(Some).map_err(|_| Error::Stopped),
            Err(error) => {
                blocked.cell.end();
                Err(error)
            }
        }
    }

    async fn watch(&mut self, keys: Vec<Box<[u8]>>) -> Result<(), Error> {
        let core = self.home.core().clone();
        let db = self.client.db;
        for key in keys {
            let name = (db, key);
            if self.client.watched.contains(&name) {
                continue;
            }
            let set = ShardSet::One(core.shard_of(&name.1));
            let (flag, watched) = (self.client.dirty.clone(), name.clone());
            let watch = move |turn: &mut Turn<'_, '_>| {
                // One that is expired goes first: its going must not count as a change.
                turn.with_txn(|txn| {
                    txn.key_in(watched.0, &watched.1);
                });
                turn.shards_mut().for_each(|shard| {
                    shard.keyspace_mut().watch(watched.0, &watched.1, &flag);
                });
            };
            self.client.watched.push(name);
            self.home.visit(&set, watch).await?;
        }
        Ok(())
    }

    async fn unwatch(&mut self) -> Result<(), Error> {
        let core = self.home.core().clone();
        for name in std::mem::take(&mut self.client.watched) {
            let set = ShardSet::One(core.shard_of(&name.1));
            let flag = self.client.dirty.clone();
            let unwatch = move |turn: &mut Turn<'_, '_>| {
                turn.shards_mut().for_each(|shard| {
                    shard.keyspace_mut().unwatch(name.0, &name.1, &flag);
                });
            };
            self.home.visit(&set, unwatch).await?;
        }
        self.client.dirty.store(false, Ordering::Release);
        Ok(())
    }

    async fn exec(&mut self) -> Result<(), Error> {
        let queue = self.client.queue.take().unwrap_or_default();
        if std::mem::take(&mut self.client.is_doomed) {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            self.fail(table::row(Name::Exec), &CommandError::Fixed(text));
            return self.unwatch().await;
        }
        let core = self.home.core().clone();
        let mut set: Option<ShardSet> = None;
        let mut include = |shard| match &mut set {
            None => set = Some(ShardSet::One(shard)),
            Some(set) => set.add(shard),
        };
        for (_, key) in &self.client.watched {
            include(core.shard_of(key));
        }
        for queued in &queue {
            let request = queued.request.request();
            if admin::wants_all_shards(queued.row.name) {
                (0..core.shards()).for_each(&mut include);
            }
            for index in table::keys(queued.row, &request).into_iter().flatten() {
                include(core.shard_of(request.arg(index)));
            }
        }
        let set = set.unwrap_or_else(|| ShardSet::One(self.home.index()));
        let (dirty, watched) = (self.client.dirty.clone(), self.client.watched.clone());
        let (count, steps) = (queue.len(), self.prepare(queue));
        let mut by = self.caller();
        by.caller.in_transaction = true;
        let work = move |turn: &mut Turn<'_, '_>| {
            for (db, key) in &watched {
                turn.with_txn(|txn| {
                    txn.key_in(*db, key);
                });
            }
            if dirty.load(Ordering::Acquire) {
                return None;
            }
            let mut bytes = Vec::new();
            let (mut failures, mut ran) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    ExecStep::Answered(reply) => bytes.extend_from_slice(&reply),
                    ExecStep::Run { queued, db, protocol } => {
                        let began = Instant::now();
                        let mut out = Out::new(&mut bytes, protocol);
                        let caller = Caller { db, ..by.caller };
                        if let Err(error) = run_queued(turn, &core, &queued, &caller, &mut out) {
                            failures.push((queued.row.name, error.code()));
                            out.error(&error);
                        }
                        ran.push((queued, began.elapsed()));
                    }
                }
            }
            turn.serve();
            Some((bytes, failures, ran))
        };
        let (done, position) = self.home.visit(&set, work).await?;
        match done {
            None => self.reply(|out| out.null_array()),
            Some((bytes, failures, ran)) => {
                self.note_all(&ran);
                for (name, code) in failures {
                    self.count_failure(name, &code);
                }
                self.reply(|out| {
                    out.array(count);
                    out.raw(&bytes);
                });
            }
        }
        self.output.announce(position);
        self.unwatch().await
    }

    /// Runs the connection's own commands of a transaction, so that those on keys know the
    /// database and the protocol they are to go by.
    fn prepare(&mut self, queue: Vec<Queued>) -> Vec<ExecStep> {
        let config = self.config.clone();
        let mut steps = Vec::with_capacity(queue.len());
        for queued in queue {
            if queued.row.scope != Scope::Connection {
                let (db, protocol) = (self.client.db, self.client.protocol);
                steps.push(ExecStep::Run { queued, db, protocol });
                continue;
            }
            let began = Instant::now();
            let mut reply = Vec::new();
            let mut out = Out::new(&mut reply, self.client.protocol);
            let request = queued.request.request();
            if let Err(error) = self.client.run(queued.row, &request, &config, &mut out) {
                out.truncate(0);
                out.error(&error);
            }
            self.meter.note(&config, queued.row, 1, began.elapsed(), Some(&request));
            steps.push(ExecStep::Answered(reply));
        }
        steps
    }
}

/// Runs a command of a transaction; what would wait has found nothing.
fn run_queued(
    turn: &mut Turn<'_, '_>,
    core: &Core,
    queued: &Queued,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    let request = queued.request.request();
    if queued.row.scope == Scope::Database {
        // Nothing that would stop the server is let into a transaction.
        let _ = admin::run(core, turn, queued.row, &request, caller, out)?;
    } else if let Ran::WouldBlock(_) = turn.run(queued.row, &request, caller.db, out)? {
        out.null_array();
    }
    Ok(())
}

/// One command of a transaction.
enum ExecStep {
    /// It has run in the connection.
    Answered(Vec<u8>),
    /// It runs on the shards.
    Run { queued: Queued, db: u8, protocol: Protocol },
}
