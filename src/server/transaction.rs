//! WATCH and EXEC.

use super::client::{Around, Queued, Then};
use super::connection::Connection;
use super::waiting::acknowledge;
use crate::command::table::{self, Scope};
use crate::command::{Name, Out, OwnedRequest};
use crate::db::admin;
use crate::db::home::ShardSet;
use crate::db::run::{Called, Caller, call};
use crate::error::{CommandError, Error};
use crate::shard::Turn;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// One command of a transaction.
enum ExecStep {
    /// It has run in the connection.
    Answered(Vec<u8>),
    /// It runs on the shards.
    Run(Queued, Caller),
}

/// A command of a transaction that ran on the shards.
struct Ran {
    queued: Queued,
    took: Duration,
    /// The code of its error, if it failed.
    code: Option<String>,
}

impl Connection {
    pub(super) async fn watch(&mut self, keys: Vec<Box<[u8]>>) -> Result<(), Error> {
        let core = self.home.core().clone();
        let db = self.client.db;
        if self.client.watched.is_empty() {
            core.stats.thread(self.home.index()).watching_clients.add(1);
        }
        for key in keys {
            let name = (db, key);
            if self.client.watched.contains(&name) {
                continue;
            }
            let set = ShardSet::One(core.shard_of(&name.1));
            let (flag, watched) = (self.client.shared.dirty().clone(), name.clone());
            let watch = move |turn: &mut Turn<'_, '_>| {
                // One that is expired goes first: its going must not count as a change.
                turn.with_txn(|txn| _ = txn.key_in(watched.0, &watched.1));
                turn.shards_mut().for_each(|shard| {
                    shard.keyspace_mut().watch(watched.0, &watched.1, &flag);
                });
            };
            self.client.watched.push(name);
            self.home.visit(&set, watch).await?;
        }
        self.client.show();
        // Only now: whoever hears of it may change a key at once.
        self.reply(|out| out.ok());
        self.output.announce(crate::persist::Position::default());
        Ok(())
    }

    pub(super) async fn unwatch(&mut self) -> Result<(), Error> {
        let core = self.home.core().clone();
        let watched = std::mem::take(&mut self.client.watched);
        if !watched.is_empty() {
            core.stats.thread(self.home.index()).watching_clients.sub(1);
        }
        for name in watched {
            let set = ShardSet::One(core.shard_of(&name.1));
            let flag = self.client.shared.dirty().clone();
            let unwatch = move |turn: &mut Turn<'_, '_>| {
                turn.shards_mut().for_each(|shard| {
                    shard.keyspace_mut().unwatch(name.0, &name.1, &flag);
                });
            };
            self.home.visit(&set, unwatch).await?;
        }
        self.client.shared.dirty().store(false, Ordering::Release);
        self.client.show();
        Ok(())
    }

    pub(super) async fn exec(&mut self, shown: Option<OwnedRequest>) -> Result<(), Error> {
        let done = self.exec_queue().await;
        if let Some(shown) = shown {
            self.feed_monitors(table::row(Name::Exec), &shown.request());
        }
        done
    }

    async fn exec_queue(&mut self) -> Result<(), Error> {
        let queue = self.client.queue.take().unwrap_or_default();
        if let Some(error) = self.abort(&queue) {
            self.client.is_doomed = false;
            self.fail(table::row(Name::Exec), &error);
            return self.unwatch().await;
        }
        let set = self.shards_of_transaction(&queue);
        let (dirty, watched) = (self.client.shared.dirty().clone(), self.client.watched.clone());
        let count = queue.len();
        // What the connection's own commands do cannot be undone if a watched key has changed, so
        // this is known first.
        let acts = queue.iter().any(|queued| queued.row.scope == Scope::Connection);
        if acts && !watched.is_empty() {
            let (set, watched) = (self.shards_of_transaction(&[]), watched.clone());
            self.visit(&set, move |turn| expire(turn, &watched)).await?;
        }
        if dirty.load(Ordering::Acquire) {
            self.reply(|out| out.null_array());
            self.output.announce(crate::persist::Position::default());
            return self.unwatch().await;
        }
        let (steps, afterwards) = self.prepare(queue);
        let core = self.home.core().clone();
        let work = move |turn: &mut Turn<'_, '_>| {
            expire(turn, &watched);
            if dirty.load(Ordering::Acquire) {
                return None;
            }
            Some(run_steps(&core, turn, steps))
        };
        let (done, position) = self.visit(&set, work).await?;
        for then in afterwards {
            match then {
                Then::Pause(paused, ms) => self.pause(paused, ms).await?,
                Then::Close => self.closing = true,
                Then::Nothing | Then::Exec | Then::Watch(_) | Then::Unwatch | Then::Wait(_) => {}
            }
        }
        let mail = std::mem::take(&mut self.client.early_mail);
        mail.iter().for_each(|frame| self.output.bytes().extend_from_slice(frame));
        self.announce_mail();
        match done {
            None => self.reply(|out| out.null_array()),
            Some((bytes, ran)) => {
                for one in ran {
                    let request = one.queued.request.request();
                    self.meter.note(&self.config, one.queued.row, 1, one.took, Some(&request));
                    if let Some(code) = one.code {
                        self.count_failure(one.queued.row.name, &code);
                    }
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

    /// Why a transaction cannot run.
    fn abort(&self, queue: &[Queued]) -> Option<CommandError> {
        if self.client.is_doomed {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return Some(CommandError::Fixed(text));
        }
        let now = self.home.now();
        let refusal = queue
            .iter()
            .find_map(|one| self.home.core().write_refusal(one.row, &one.request.request(), now));
        refusal.map(|error| {
            let text = "EXECABORT Transaction discarded because of: {}";
            CommandError::quoting(text, &[&error.wire()])
        })
    }

    /// The shards of all keys of a transaction, and of those that it depends on.
    fn shards_of_transaction(&self, queue: &[Queued]) -> ShardSet {
        let core = self.home.core();
        let mut set: Option<ShardSet> = None;
        let mut include = |shard| match &mut set {
            None => set = Some(ShardSet::One(shard)),
            Some(set) => set.add(shard),
        };
        for (_, key) in &self.client.watched {
            include(core.shard_of(key));
        }
        for queued in queue {
            let request = queued.request.request();
            for index in table::keys(queued.row, &request).into_iter().flatten() {
                include(core.shard_of(request.arg(index)));
            }
            let is_of_database = queued.row.scope == Scope::Database;
            if is_of_database && admin::wants_all_shards(queued.row.name) {
                (0..core.shards()).for_each(&mut include);
            }
        }
        set.unwrap_or_else(|| ShardSet::One(self.home.index()))
    }

    /// Runs the connection's own commands of a transaction, so that those on keys know the
    /// database and the protocol they are to go by. Also returns what is to be done when all have
    /// run.
    fn prepare(&mut self, queue: Vec<Queued>) -> (Vec<ExecStep>, Vec<Then>) {
        let config = self.config.clone();
        let mut steps = Vec::with_capacity(queue.len());
        let mut afterwards = Vec::new();
        let is_watched = self.server.monitors.any();
        for queued in queue {
            let request = queued.request.request();
            if queued.row.scope != Scope::Connection {
                if is_watched {
                    self.feed_monitors(queued.row, &request);
                }
                steps.push(ExecStep::Run(queued, self.caller(true)));
                continue;
            }
            let began = Instant::now();
            let mut reply = Vec::new();
            let mut out = Out::new(&mut reply, self.client.protocol);
            let around = Around { server: &self.server, config: &config, in_exec: true };
            let then = self.client.run(queued.row, &request, around, &mut out);
            let mut code = None;
            match then {
                Ok(Then::Wait(wanted)) => {
                    let position = self.output.reached();
                    acknowledge(wanted.name, self.home.core(), position, &mut out);
                }
                Ok(then) => {
                    if matches!(then, Then::Pause(..)) {
                        out.ok();
                    }
                    afterwards.push(then);
                }
                Err(error) => {
                    out.truncate(0);
                    out.error(&error);
                    code = Some(error.code());
                }
            }
            self.client.show();
            if is_watched {
                self.feed_monitors(queued.row, &request);
            }
            self.meter.note(&config, queued.row, 1, began.elapsed(), Some(&request));
            if let Some(code) = code {
                self.count_failure(queued.row.name, &code);
            }
            steps.push(ExecStep::Answered(reply));
        }
        (steps, afterwards)
    }
}

/// Removes those of these keys whose time is over: their going aborts the transaction.
fn expire(turn: &mut Turn<'_, '_>, watched: &[(u8, Box<[u8]>)]) {
    for (db, key) in watched {
        turn.with_txn(|txn| _ = txn.key_in(*db, key));
    }
}

/// Runs the commands of a transaction on the shards in hand. Returns all replies.
fn run_steps(
    core: &crate::db::Core,
    turn: &mut Turn<'_, '_>,
    steps: Vec<ExecStep>,
) -> (Vec<u8>, Vec<Ran>) {
    let mut bytes = Vec::new();
    let mut ran = Vec::new();
    for step in steps {
        match step {
            ExecStep::Answered(reply) => bytes.extend_from_slice(&reply),
            ExecStep::Run(queued, caller) => {
                let mut out = Out::new(&mut bytes, caller.protocol);
                let request = queued.request.request();
                let began = Instant::now();
                let code = match call(core, turn, queued.row, &request, &caller, &mut out) {
                    Called::Replied(code) => code,
                    // SHUTDOWN is not allowed in a transaction, and nothing waits there.
                    Called::Blocked(_) | Called::Shutdown(_) => None,
                };
                ran.push(Ran { took: began.elapsed(), queued, code });
            }
        }
    }
    turn.serve();
    (bytes, ran)
}
