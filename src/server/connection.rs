//! One client: its task reads, runs what can run here and now, and waits for the rest.
//!
//! [`Connection::process`] runs requests straight from the read buffer as long as nothing must be
//! awaited. What must is a [`Job`]: it owns its arguments, and the requests behind it wait, so a
//! connection's commands take effect in their order. An idle connection holds no buffer; all
//! connections of a thread read into one.

mod process;

use super::Server;
use super::client::{Around, Client, Queued, ReplyMode, Then};
use super::input::Input;
use super::meter::Meter;
use super::output::Output;
use super::resp::RequestReader;
use super::socket::Reader;
use super::transaction::DISCARDED;
use super::waiting::Job;
use crate::command::table::{self, Flags, Row, Scope};
use crate::command::{Name, Out, Request};
use crate::config::{CompatProfile, Config};
use crate::db::admin;
use crate::db::home::{Home, ShardSet};
use crate::db::run::{Called, call};
use crate::error::{CommandError, Error};
use crate::persist::Position;
use crate::persist::aof::Aof;
use crate::shard::Turn;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

/// Bytes read at once; after so many of one client's pipeline it is others' turn.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// A connection with more unsent bytes is not read, and runs no command, until they have left.
const UNSENT_MAX: usize = 1 << 20;
/// Unread requests and unsent replies at which a connection without password is closed.
const UNAUTHENTICATED_INPUT_MAX: usize = 1 << 20;
const UNAUTHENTICATED_OUTPUT_MAX: usize = 16 * 1024;

thread_local! {
    /// What all connections of a thread read into.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// One client's connection.
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) home: Rc<Home>,
    pub(super) config: Arc<Config>,
    reader: Reader,
    /// Reads the request that has begun and not ended.
    requests: Option<Box<RequestReader>>,
    /// Bytes that were read and not used yet.
    pending: Input,
    pub(super) client: Client,
    pub(super) output: Rc<Output>,
    peer_closed: bool,
    /// Whether to close when the replies have left.
    pub(super) closing: bool,
    pub(super) meter: Meter,
    /// How many commands were begun since others were told.
    dispatched: u64,
    /// The one that was begun last.
    last: Option<&'static Row>,
    /// The turn of this thread in which it last ran a command that may change something;
    /// `u64::MAX` before it has.
    wrote_in: u64,
    /// Whether others may have something for the client that was not delivered.
    mail_left: bool,
    /// Whether commands before this one are to visit other shards, and it with them.
    gathers: bool,
    /// Whether a command has looked at what a shard holds since replies were last announced.
    has_looked: bool,
}

/// How processing ended.
pub(super) enum Step {
    /// More bytes are needed.
    Read,
    /// Something must be awaited.
    Await(Job),
    /// Close when the replies have left.
    Close,
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
        Connection {
            server,
            home,
            config,
            reader,
            requests: None,
            pending: Input::default(),
            client,
            output,
            peer_closed: false,
            closing: false,
            meter: Meter::default(),
            dispatched: 0,
            last: None,
            wrote_in: u64::MAX,
            mail_left: false,
            gathers: false,
            has_looked: false,
        }
    }

    /// Serves the client until it leaves.
    pub(super) async fn run(mut self: Box<Self>) {
        let core = self.home.core().clone();
        // Whatever ends the connection, what it has set elsewhere is taken back below.
        drop(self.serve().await);
        core.stats.thread(self.home.index()).clients.sub(1);
        let around = Around { server: &self.server, config: &self.config, in_exec: false };
        self.client.unsubscribe_all(around);
        self.server.monitors.remove(self.client.shared.id);
        if !self.client.special().watched.is_empty() {
            drop(Box::pin(self.unwatch()).await);
        }
        self.server.clients.remove(self.client.shared.id);
        if self.client.shared.left_output_unread() {
            core.stats.output_limit_closes.add_shared(1);
        }
    }

    async fn serve(&mut self) -> Result<(), Error> {
        loop {
            let n = self.read().await?;
            self.refresh_config();
            // What came is used where it was read, unless it continues an unfinished request.
            let mut step = if self.pending.is_empty() {
                SCRATCH.with_borrow(|scratch| {
                    let (used, step) = self.process(&scratch[..n]);
                    self.push(&scratch[used..n]);
                    step
                })
            } else {
                SCRATCH.with_borrow(|scratch| self.push(&scratch[..n]));
                self.process_pending()
            };
            loop {
                match step {
                    Step::Read => break,
                    Step::Close => return self.flush().await,
                    Step::Await(job) => {
                        self.run_job(job).await?;
                        self.announce_replies();
                    }
                }
                if self.closing {
                    return self.flush().await;
                }
                self.refresh_config();
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
                if self.client.shared.attention.take() || self.mail_left {
                    self.deliver_mail();
                }
                if self.is_over() {
                    return Poll::Ready(Err(Error::Stopped));
                }
                self.output.poll_send(context);
                // A reply comes behind the messages before it.
                if !self.mail_left && self.output.has_less_than(UNSENT_MAX) {
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

    fn refresh_config(&mut self) {
        if self.home.refresh_copy(&mut self.config) {
            self.server.clients.limits.set(&self.config);
        }
    }

    /// Whether there is nobody to serve any more.
    pub(super) fn is_over(&self) -> bool {
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
        let known = self.client.is_authenticated(&self.config);
        let limit = if known { limit } else { limit.min(UNAUTHENTICATED_INPUT_MAX) };
        if self.pending.len() + n > limit {
            self.home.core().stats.input_limit_closes.add_shared(1);
            return Err(Error::Stopped);
        }
        Ok(n)
    }

    /// Appends what others had for the client, as much as may be unsent; the rest when that has
    /// left.
    fn deliver_mail(&mut self) {
        self.mail_left = true;
        while self.output.has_less_than(UNSENT_MAX) {
            let mail = self.client.shared.take_mail(UNSENT_MAX as u64);
            if mail.is_empty() {
                self.mail_left = false;
                return;
            }
            {
                let mut bytes = self.output.bytes();
                mail.iter().for_each(|frame| bytes.extend_from_slice(frame));
            }
            self.announce_mail();
        }
    }

    /// Mail may tell of whatever is in the log.
    pub(super) fn announce_mail(&self) {
        let log = self.home.core().aof().filter(|aof| !aof.is_broken());
        let end = log.map(Aof::end);
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

    /// Waits for something, and meanwhile sends, takes mail, and reads without running anything:
    /// that the client leaves must be seen.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut work = pin!(work);
        poll_fn(|context| {
            loop {
                if let Poll::Ready(done) = work.as_mut().poll(context) {
                    return Poll::Ready(Ok(done));
                }
                if self.client.shared.attention.take() {
                    self.deliver_mail();
                }
                self.output.poll_send(context);
                let read =
                    SCRATCH.with_borrow_mut(|scratch| self.reader.poll_read(context, scratch));
                if let Poll::Ready(n) = read {
                    match self.received(n) {
                        Ok(n) => SCRATCH.with_borrow(|scratch| self.push(&scratch[..n])),
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
        .await
    }

    /// Waits until the client has read enough of its replies.
    pub(super) async fn drain(&mut self) -> Result<(), Error> {
        self.until_sent(true).await
    }

    /// [`Connection::drain`], and what others have for the client, too, unless it must wait.
    pub(super) async fn until_sent(&mut self, mail: bool) -> Result<(), Error> {
        poll_fn(|context| {
            loop {
                self.mail_left |= self.client.shared.attention.take();
                if mail && self.mail_left {
                    self.deliver_mail();
                }
                self.output.poll_send(context);
                if self.is_over() {
                    return Poll::Ready(Err(Error::Stopped));
                }
                if self.output.has_less_than(UNSENT_MAX) && !(mail && self.mail_left) {
                    return Poll::Ready(Ok(()));
                }
                if !self.client.shared.attention.listen(context) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Closes a client that does not read its replies.
    fn check_output(&self) {
        let limit = self.config.client_output_buffer_limit.normal.hard_bytes;
        let mut limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if !self.client.is_authenticated(&self.config) {
            limit = UNAUTHENTICATED_OUTPUT_MAX;
        }
        if limit > 0 && !self.output.has_less_than(limit) {
            self.client.shared.close_for_output(limit as u64);
        }
    }

    /// Tells others of what the client does.
    pub(super) fn show_activity(&mut self) {
        let seen = &self.client.shared.seen;
        if let Some(row) = self.last {
            let command = u32::try_from(row.name.index() + 1).unwrap_or_default();
            seen.command.store(command, Ordering::Relaxed);
        }
        seen.commands.fetch_add(std::mem::take(&mut self.dispatched), Ordering::Relaxed);
        seen.last_ms.store(self.home.now().0, Ordering::Relaxed);
    }

    /// Runs one request, or says what must be awaited.
    pub(super) fn dispatch(&mut self, request: &Request<'_>) -> Option<Step> {
        let row = match self.last {
            // A client mostly says again what it has just said.
            Some(last) if last.is_called(request) => last,
            _ => match table::lookup(request) {
                Ok(row) => row,
                Err(error) => return self.unknown(request, &error),
            },
        };
        self.last = Some(row);
        if let Some(error) = self.refusal(row) {
            return self.refuse(Some(row), &error);
        }
        if self.home.core().pause.is_active() && self.is_paused(row) {
            let queued = Queued { row, request: request.into() };
            return Some(Step::Await(Job::Paused(queued)));
        }
        if self.client.queues(row.name) {
            self.queue(row, request);
            return None;
        }
        if self.home.core().is_log_behind() && self.may_write(row) {
            let queued = Queued { row, request: request.into() };
            return Some(Step::Await(Job::LogBehind(queued)));
        }
        let is_watched = self.server.monitors.any();
        if is_watched && row.scope != Scope::Connection {
            self.server.show(row, request, &self.client);
        }
        self.dispatched += 1;
        self.begin_measuring(row);
        let step = match row.scope {
            Scope::Key | Scope::Database => self.run_on_shards(row, request),
            Scope::Connection => self.run_here(row, request),
        };
        // It is shown with the database it leaves behind, and RESET ends watching.
        let is_shown_later = matches!(step, Some(Step::Await(Job::Exec(_))));
        if is_watched && row.scope == Scope::Connection && !is_shown_later {
            self.server.show(row, request, &self.client);
        }
        self.end_measuring(request);
        step
    }

    /// A request that is no command, or has the wrong number of arguments.
    #[cold]
    fn unknown(&mut self, request: &Request<'_>, error: &CommandError) -> Option<Step> {
        let word = request.arg(0);
        if word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:") {
            tracing::warn!(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or \
                 Host: commands to Redis. This is likely due to an attacker attempting to use \
                 Cross Protocol Scripting to compromise your Redis instance. Connection from {} \
                 aborted.",
                self.client.shared.origin.address()
            );
            self.client.shared.kill();
            return Some(Step::Close);
        }
        let row = table::named(request).ok();
        if self.config.compat_profile == CompatProfile::Valkey
            && row.is_none()
            && request.len() == 1
        {
            let text = "{}, with args beginning with: ";
            self.refuse(None, &CommandError::quoting(text, &[&error.wire()]))
        } else {
            self.refuse(row, error)
        }
    }

    /// Answers why a command is neither queued nor run.
    #[cold]
    fn refuse(&mut self, row: Option<&Row>, error: &CommandError) -> Option<Step> {
        if row.is_none_or(|row| row.name != Name::Exec) {
            self.reject(row, error);
            return None;
        }
        // Redis: what keeps EXEC from running ends the transaction, if there is one.
        self.client.special_mut().queue = None;
        self.client.special_mut().is_doomed = false;
        self.client.show();
        let text = error.wire();
        let text = text.strip_prefix(b"ERR ").unwrap_or(&text);
        self.reject(row, &CommandError::quoting(DISCARDED, &[text]));
        (!self.client.special().watched.is_empty()).then_some(Step::Await(Job::Unwatch))
    }

    /// Why a command may not run now, before it is queued or run.
    #[inline]
    fn refusal(&self, row: &Row) -> Option<CommandError> {
        let may_all = self.client.may_all(&self.config) && !row.flags.has(Flags::PROTECTED);
        if may_all { None } else { self.refusal_of(row) }
    }

    fn refusal_of(&self, row: &Row) -> Option<CommandError> {
        if row.flags.has(Flags::PROTECTED) {
            let local = self.client.shared.origin.is_local;
            if let Err(error) = admin::allowed(&self.config, row.name, local) {
                return Some(error);
            }
        }
        let refusal = self.client.refusal(row, &self.config);
        refusal.or_else(|| self.client.subscriber_refusal(row))
    }

    /// Whether CLIENT PAUSE holds a command back.
    fn is_paused(&self, row: &Row) -> bool {
        let core = self.home.core();
        core.pause.holds(self.may_write(row)).is_some()
    }

    /// Whether a command, or one of the transaction it ends, may change something.
    pub(super) fn may_write(&self, row: &Row) -> bool {
        let writes = |row: &Row| row.flags.has(Flags::WRITE) || row.flags.has(Flags::MAY_REPLICATE);
        let mut queue = self.client.special().queue.iter().flatten();
        writes(row) || (row.name == Name::Exec && queue.any(|queued| writes(queued.row)))
    }

    fn queue(&mut self, row: &'static Row, request: &Request<'_>) {
        if let Some(error) = self.home.write_refusal(row, request) {
            self.reject(Some(row), &error);
            return;
        }
        if let Some(queue) = &mut self.client.special_mut().queue {
            queue.push(Queued { row, request: request.into() });
        }
        self.client.show();
        self.reply(|out| out.simple("QUEUED"));
    }

    pub(super) fn reject(&mut self, row: Option<&Row>, error: &CommandError) {
        if self.client.special().queue.is_some() {
            self.client.special_mut().is_doomed = true;
        }
        let stats = &self.home.core().stats;
        stats.count_error(&error.code());
        if let Some(row) = row {
            stats.thread(self.home.index()).command(row.name).rejected.add(1);
        }
        self.reply(|out| out.error(error));
    }

    /// Writes a reply, unless the client wants none.
    pub(super) fn reply<R>(&mut self, write: impl FnOnce(&mut Out<'_>) -> R) -> R {
        let mut bytes = self.output.bytes();
        let mark = bytes.len();
        let written = write(&mut Out::new(&mut bytes, self.client.protocol));
        if self.client.reply_mode != ReplyMode::On && bytes.len() > mark {
            bytes.truncate(mark);
            if self.client.reply_mode == ReplyMode::Skip {
                self.client.reply_mode = ReplyMode::On;
            }
        }
        written
    }

    fn run_here(&mut self, row: &'static Row, request: &Request<'_>) -> Option<Step> {
        if row.name == Name::Ping && self.home.core().is_log_broken() {
            self.leave_measuring();
            let error = self.home.core().log_refusal();
            self.reject(Some(row), &error);
            return None;
        }
        let (config, output) = (self.config.clone(), self.output.clone());
        let mode = self.client.reply_mode;
        let mut bytes = output.bytes();
        let mark = bytes.len();
        let mut out = Out::new(&mut bytes, self.client.protocol);
        let around = Around { server: &self.server, config: &config, in_exec: false };
        let then = self.client.run(row, request, around, &mut out);
        let muted = mode != ReplyMode::On && self.client.reply_mode == mode && bytes.len() > mark;
        // Confirmations of subscriptions are messages more than replies.
        if then.is_err() || (muted && !row.flags.has(Flags::PUBSUB)) {
            bytes.truncate(mark);
        }
        drop(bytes);
        if muted && then.is_ok() && mode == ReplyMode::Skip {
            self.client.reply_mode = ReplyMode::On;
        }
        self.client.show();
        if std::mem::take(&mut self.client.has_received) {
            self.announce_mail();
        }
        match then {
            Ok(Then::Nothing) => None,
            Ok(Then::Close) => Some(Step::Close),
            Ok(Then::Exec) => {
                let shown = self.server.monitors.any().then(|| request.into());
                Some(Step::Await(Job::Exec(shown)))
            }
            Ok(Then::Watch(keys)) => Some(Step::Await(Job::Watch(keys))),
            Ok(Then::Unwatch) if self.client.special().watched.is_empty() => None,
            Ok(Then::Unwatch) => Some(Step::Await(Job::Unwatch)),
            Ok(Then::Pause(paused, ms)) => Some(Step::Await(Job::Pause(paused, ms))),
            Ok(Then::Wait(wanted)) => Some(Step::Await(Job::Acknowledged(wanted))),
            Err(error) => {
                self.fail(row, &error);
                None
            }
        }
    }

    pub(super) fn fail(&mut self, row: &Row, error: &CommandError) {
        self.count_failure(row.name, &error.code());
        self.reply(|out| out.error(error));
    }

    pub(super) fn count_failure(&self, name: Name, code: &str) {
        let stats = &self.home.core().stats;
        stats.count_error(code);
        stats.thread(self.home.index()).command(name).failed.add(1);
    }

    /// The shards a command wants; this thread's own if any will do.
    #[inline]
    fn shards_of(&self, row: &Row, request: &Request<'_>) -> ShardSet {
        let set = self.home.core().shards_of(row, request);
        set.unwrap_or_else(|| ShardSet::One(self.home.index()))
    }

    fn run_on_shards(&mut self, row: &'static Row, request: &Request<'_>) -> Option<Step> {
        let set = self.shards_of(row, request);
        if self.gathers || set != ShardSet::One(self.home.index()) || !self.home.is_home() {
            self.leave_measuring();
            let run = vec![Queued { row, request: request.into() }];
            return Some(Step::Await(Job::Run(set, run)));
        }
        if self.home.is_turn_full() {
            self.home.end_turn();
        }
        if let Some(error) = self.home.write_refusal(row, request) {
            self.leave_measuring();
            self.reject(Some(row), &error);
            return None;
        }
        if row.flags.has(Flags::WRITE) {
            self.wrote_in = self.home.turn();
        }
        self.has_looked = true;
        let caller = self.client.caller(false);
        let home = self.home.clone();
        let is_heard = self.client.reply_mode == ReplyMode::On;
        let (called, left) = self.reply(|out| {
            if is_heard {
                out.allow_leaving();
            }
            let called = home.in_place(|turn| {
                let called = call(home.core(), turn, row, request, &caller, out);
                turn.serve();
                called
            });
            (called, out.take_left())
        });
        let step = match called {
            None | Some(Called::Replied(None)) => {
                left.map(|rest| Step::Await(Job::Rest(rest, Position::default())))
            }
            Some(Called::Replied(Some(code))) => {
                self.count_failure(row.name, &code);
                None
            }
            Some(Called::Blocked(blocked)) => Some(Step::Await(Job::Blocked(set, blocked))),
            Some(Called::Shutdown(how)) => self.shut_down(row, how),
        };
        if row.scope == Scope::Database {
            self.refresh_config();
        }
        step
    }

    /// Runs `work` with these shards in hand. What the connection changed in this thread's turn is
    /// logged before it goes on elsewhere: its changes stand in the log in their order, and a
    /// crash leaves none of them without those before.
    pub(super) async fn visit<R: Send + 'static>(
        &mut self,
        set: &ShardSet,
        work: impl FnOnce(&mut Turn<'_, '_>) -> R + Send + 'static,
    ) -> Result<(R, Position), Error> {
        let stays = *set == ShardSet::One(self.home.index());
        if !stays && self.wrote_in == self.home.turn() {
            self.home.end_turn();
        }
        let done = self.home.visit(set, work).await?;
        if stays {
            self.wrote_in = self.home.turn();
        }
        Ok(done)
    }

    /// SHUTDOWN: the connection closes without a reply.
    pub(super) fn shut_down(&mut self, row: &Row, how: admin::Shutdown) -> Option<Step> {
        if let Err(error) = self.server.shut_down(how) {
            self.fail(row, &error);
            return None;
        }
        Some(Step::Close)
    }
}

#[cfg(test)]
mod tests {
    use super::super::clients::Shared;
    use super::*;

    #[test]
    fn an_idle_client_takes_little() {
        // Sizes of allocations, with what counts the references.
        assert!(size_of::<Connection>() <= 160);
        assert!(16 + size_of::<Shared>() <= 256);
        assert!(16 + size_of::<Output>() <= 160);
    }
}
