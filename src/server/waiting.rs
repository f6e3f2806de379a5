//! What a connection awaits: other threads' shards, entries, the disk, the end of a pause.

use super::client::{Acknowledged, Queued, ReplyMode};
use super::clients::flag;
use super::connection::{Connection, Step};
use crate::command::table;
use crate::command::{Name, Out, OwnedRequest, Remainder};
use crate::db::Core;
use crate::db::home::ShardSet;
use crate::db::pause::Paused;
use crate::db::run::{Blocked, Called, call};
use crate::error::{CommandError, Error};
use crate::persist::Position;
use crate::shard::Turn;
use crate::shard::waiters::{WaitCell, Woken};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::time;

/// What must be awaited.
pub(super) enum Job {
    /// A command on these shards.
    Run(ShardSet, Vec<Queued>),
    /// The transaction, and what is shown to monitors afterwards, if there are any.
    Exec(Option<OwnedRequest>),
    Watch(Vec<Box<[u8]>>),
    Unwatch,
    /// The rest of a long reply, which tells of the log up to this position.
    Rest(Box<Remainder>, Position),
    /// A reader has blocked on these shards.
    Blocked(ShardSet, Blocked),
    /// The client is to read what was written.
    Drain,
    /// A command that CLIENT PAUSE holds back.
    Paused(Queued),
    /// A command that writes while too much waits for the disk.
    LogBehind(Queued),
    /// CLIENT PAUSE, for so many milliseconds.
    Pause(Paused, u64),
    /// WAIT, WAITAOF.
    Acknowledged(Acknowledged),
}

impl Connection {
    /// What awaits a job: boxed, because most of the time there is none, and each by itself,
    /// because many connections wait at once and they differ much in size.
    pub(super) fn run_job(
        &mut self,
        job: Job,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + '_>> {
        match job {
            Job::Run(set, run) => Box::pin(self.run_elsewhere(set, run)),
            Job::Exec(shown) => Box::pin(self.exec(shown)),
            Job::Watch(keys) => Box::pin(self.watch(keys)),
            Job::Unwatch => Box::pin(self.unwatch()),
            Job::Rest(rest, position) => Box::pin(self.write_rest(rest, position)),
            Job::Blocked(set, blocked) => Box::pin(self.wait(set, blocked)),
            Job::Drain => Box::pin(self.drain()),
            Job::Paused(queued) => Box::pin(self.run_after_pause(queued)),
            Job::LogBehind(queued) => Box::pin(self.run_when_log_catches_up(queued)),
            Job::Pause(paused, ms) => Box::pin(self.pause_and_answer(paused, ms)),
            Job::Acknowledged(wanted) => Box::pin(self.acknowledged(wanted)),
        }
    }

    async fn pause_and_answer(&mut self, paused: Paused, ms: u64) -> Result<(), Error> {
        self.pause(paused, ms).await?;
        self.reply(|out| out.ok());
        self.output.announce(Position::default());
        Ok(())
    }

    /// Runs commands one after the other with the same shards in hand.
    async fn run_elsewhere(&mut self, set: ShardSet, run: Vec<Queued>) -> Result<(), Error> {
        let caller = self.client.caller(false);
        let is_heard = self.client.reply_mode == ReplyMode::On;
        let (core, shared) = (self.home.core().clone(), self.client.shared.clone());
        let work = move |turn: &mut Turn<'_, '_>| {
            let (mut replies, mut ran) = (Vec::new(), Vec::with_capacity(run.len()));
            for queued in run {
                let (start, began) = (replies.len(), Instant::now());
                let request = queued.request.request();
                let unlogged = turn.unlogged_bytes();
                let called = match core.write_refusal(unlogged, queued.row, &request, turn.now()) {
                    Some(refusal) => Err(refusal),
                    None => {
                        let mut out = Out::new(&mut replies, caller.protocol);
                        if is_heard {
                            out.allow_leaving();
                        }
                        let called = call(&core, turn, queued.row, &request, &caller, &mut out);
                        if let Called::Blocked(blocked) = &called {
                            // Who counts as blocked can be unblocked.
                            shared.set_wait(Some(blocked.cell.clone()));
                        }
                        turn.serve();
                        Ok((called, began.elapsed(), out.take_left()))
                    }
                };
                ran.push((queued, called, start..replies.len()));
            }
            (replies, ran)
        };
        let ((replies, ran), position) = self.visit(&set, work).await?;
        self.output.announce(position);
        for (Queued { row, request }, called, reply) in ran {
            let (called, took, left) = match called {
                Ok(called) => called,
                Err(refusal) => {
                    self.reject(Some(row), &refusal);
                    continue;
                }
            };
            self.note(row, 1, took, Some(&request.request()));
            match called {
                Called::Replied(code) => {
                    if let Some(code) = code {
                        self.count_failure(row.name, &code);
                    }
                    self.reply(|out| out.raw(&replies[reply]));
                    if let Some(rest) = left {
                        Box::pin(self.write_rest(rest, position)).await?;
                    }
                }
                // A command that may wait runs alone.
                Called::Blocked(blocked) => Box::pin(self.wait(set.clone(), blocked)).await?,
                Called::Shutdown(how) => self.closing = self.shut_down(row, how).is_some(),
            }
        }
        Ok(())
    }

    /// Writes the rest of a long reply by and by, each slice when the client has read most of what
    /// came before, in a turn of its own.
    async fn write_rest(&mut self, mut rest: Box<Remainder>, told: Position) -> Result<(), Error> {
        loop {
            // Messages must not stand inside a reply.
            self.until_sent(false).await?;
            tokio::task::yield_now().await;
            let more = self.reply(|out| rest.write(out));
            self.show_activity();
            self.output.announce(told);
            if !more {
                return Ok(());
            }
        }
    }

    /// Waits until the reader is served or its time is over.
    #[expect(
        clippy::manual_async_fn,
        reason = "many wait, and an async fn has its arguments twice"
    )]
    fn wait(
        &mut self,
        set: ShardSet,
        mut blocked: Blocked,
    ) -> impl Future<Output = Result<(), Error>> {
        async move {
            let woken = self.until_woken(&mut blocked).await;
            let clean =
                matches!(woken, Ok(Some(Woken::Served(_)))) && matches!(set, ShardSet::One(_));
            if !clean {
                Box::pin(self.home.unblock(&set, self.client.shared.id)).await?;
            }
            match woken? {
                Some(Woken::Served(served)) => {
                    if let [b'-', error @ ..] = &served.reply[..] {
                        let code = error.split(|byte| *byte == b' ').next().unwrap_or_default();
                        self.count_failure(blocked.name, &String::from_utf8_lossy(code));
                    }
                    self.reply(|out| out.raw(&served.reply));
                    self.output.announce(served.position);
                }
                Some(Woken::Unblocked) => self.fail_unblocked(blocked.name),
                Some(Woken::TimedOut) | None => {
                    self.reply(|out| out.null_array());
                    self.output.announce(Position::default());
                }
            }
            Ok(())
        }
    }

    fn fail_unblocked(&mut self, name: Name) {
        let text = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
        self.fail(table::row(name), &CommandError::Fixed(text));
        self.output.announce(Position::default());
    }

    /// `None` if the time is over.
    async fn until_woken(&mut self, blocked: &mut Blocked) -> Result<Option<Woken>, Error> {
        self.begin_wait(blocked);
        let woken = self.meanwhile(in_time(blocked.timeout_ms, &mut blocked.woken)).await;
        self.end_wait(blocked);
        match woken {
            Ok(Some(woken)) => woken.map(Some).map_err(|_| Error::Stopped),
            Ok(None) if blocked.cell.end() => Ok(None),
            // Someone else has ended it, and the reason is on its way.
            Ok(None) => (&mut blocked.woken).await.map(Some).map_err(|_| Error::Stopped),
            Err(error) => {
                blocked.cell.end();
                Err(error)
            }
        }
    }

    /// [`Connection::until_woken`]; a log that is durable up to a position ends the wait, too.
    async fn until_durable(
        &mut self,
        blocked: &mut Blocked,
        position: Option<Position>,
    ) -> Result<Option<Woken>, Error> {
        let (core, cell) = (self.home.core().clone(), blocked.cell.clone());
        let mut woken = pin!(self.until_woken(blocked));
        tokio::select! {
            woken = &mut woken => woken,
            _ = core.log_reaches(position.unwrap_or_default()), if position.is_some() => {
                cell.wake(Woken::TimedOut);
                woken.await
            }
        }
    }

    fn begin_wait(&self, blocked: &Blocked) {
        let stats = self.home.core().stats.thread(self.home.index());
        stats.timed_clients.add(u64::from(blocked.timeout_ms > 0));
        self.client.shared.set_wait(Some(blocked.cell.clone()));
    }

    fn end_wait(&self, blocked: &Blocked) {
        let core = self.home.core();
        self.client.shared.set_wait(None);
        self.client.shared.seen.last_ms.store(core.now().0, Ordering::Relaxed);
        let stats = core.stats.thread(self.home.index());
        stats.timed_clients.sub(u64::from(blocked.timeout_ms > 0));
    }

    /// Runs a command when CLIENT PAUSE lets it.
    async fn run_after_pause(&mut self, queued: Queued) -> Result<(), Error> {
        let core = self.home.core().clone();
        let writes = self.may_write(queued.row);
        self.client.shared.mark(flag::PAUSED, true);
        core.stats.thread(self.home.index()).waiting_clients.add(1);
        let waited = loop {
            let ended = core.pause.ended();
            let Some(until) = core.pause.holds(writes) else { break Ok(()) };
            if let Err(error) = self.meanwhile(time::timeout_at(until.into(), ended)).await {
                break Err(error);
            }
        };
        core.stats.thread(self.home.index()).waiting_clients.sub(1);
        self.client.shared.mark(flag::PAUSED, false);
        waited?;
        self.resume(&queued).await
    }

    async fn run_when_log_catches_up(&mut self, queued: Queued) -> Result<(), Error> {
        let core = self.home.core().clone();
        self.meanwhile(core.log_catches_up()).await??;
        self.resume(&queued).await
    }

    /// Runs a command that had to wait before it ran.
    async fn resume(&mut self, queued: &Queued) -> Result<(), Error> {
        let request = queued.request.request();
        let step = self.dispatch(&request);
        self.note_measured();
        self.show_activity();
        self.output.announce(Position::default());
        match step {
            Some(Step::Await(job)) => self.run_job(job).await,
            Some(Step::Close) => {
                self.closing = true;
                Ok(())
            }
            Some(Step::Read) | None => Ok(()),
        }
    }

    /// CLIENT PAUSE: returns when no command that it holds back is under way anywhere.
    pub(super) async fn pause(&mut self, paused: Paused, ms: u64) -> Result<(), Error> {
        let core = self.home.core().clone();
        core.pause.begin(paused, Duration::from_millis(ms), Instant::now());
        let mut known = Vec::with_capacity(core.shards());
        for thread in 0..core.shards() {
            let (tell, told) = oneshot::channel();
            // Whoever asked may be gone.
            core.call(thread, move |_| _ = tell.send(()))?;
            known.push(told);
        }
        for told in known {
            told.await.map_err(|_| Error::Stopped)?;
        }
        // Every connection has seen it; what they had sent to other shards before is done when
        // these have been visited.
        for shard in 0..core.shards() {
            self.home.visit(&ShardSet::One(shard), |_| ()).await?;
        }
        Ok(())
    }

    /// WAIT, WAITAOF.
    async fn acknowledged(&mut self, wanted: Acknowledged) -> Result<(), Error> {
        // Only the end of the turn tells where the connection's last write is.
        self.output.announce(Position::default());
        self.home.end_turn();
        let target = self.output.reached();
        let is_durable = self.home.core().is_durable(target);
        if wanted.replicas > 0 || (wanted.local && !is_durable) {
            let (cell, woken) = WaitCell::new();
            let Acknowledged { name, timeout_ms, .. } = wanted;
            let mut blocked = Blocked { cell, woken, timeout_ms, name };
            let core = self.home.core().clone();
            let waiting = &core.stats.thread(self.home.index()).waiting_clients;
            waiting.add(1);
            let until = (wanted.replicas == 0).then_some(target);
            let woken = self.until_durable(&mut blocked, until).await;
            waiting.sub(1);
            if matches!(woken?, Some(Woken::Unblocked)) {
                self.fail_unblocked(name);
                return Ok(());
            }
        }
        let core = self.home.core().clone();
        self.reply(|out| acknowledge(wanted.name, &core, target, out));
        self.output.announce(Position::default());
        Ok(())
    }
}

/// What ends a wait; `None` if the time is over, of which 0 is forever.
async fn in_time(
    timeout_ms: u64,
    woken: &mut oneshot::Receiver<Woken>,
) -> Option<Result<Woken, RecvError>> {
    if timeout_ms == 0 {
        return Some(woken.await);
    }
    // Boxed, as few waits have one.
    Box::pin(time::timeout(Duration::from_millis(timeout_ms), woken)).await.ok()
}

/// The reply to WAIT and WAITAOF: there are no replicas.
pub(super) fn acknowledge(name: Name, core: &Core, target: Position, out: &mut Out<'_>) {
    if name == Name::WaitAof {
        out.array(2);
        let local = core.aof().is_some() && core.is_durable(target);
        out.integer(i64::from(local));
    }
    out.integer(0);
}
