//! WATCH and EXEC.

use super::Server;
use super::client::{Around, Client, Queued, ReplyMode, Then};
use super::connection::Connection;
use super::waiting::acknowledge;
use crate::command::table::{self, Flags, Row, Scope};
use crate::command::{Name, Out, OwnedRequest, Request};
use crate::db::admin;
use crate::db::home::ShardSet;
use crate::db::run::{Called, call};
use crate::error::{CommandError, Error};
use crate::keyspace::KeyName;
use crate::persist::Position;
use crate::shard::Turn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The refusal of EXEC, and what it is because of.
pub(super) const DISCARDED: &str = "EXECABORT Transaction discarded because of: {}";

/// The commands of a transaction, on their way to the shards with the client that queued them.
struct Transaction {
    server: Arc<Server>,
    queue: Vec<Queued>,
    /// The connection's task waits, and has it back afterwards.
    client: Arc<Mutex<Client>>,
    watched: Vec<KeyName>,
    /// Up to where the replies before tell of the log.
    reached: Position,
}

/// A transaction that has run.
struct Executed {
    replies: Vec<u8>,
    queue: Vec<Queued>,
    /// How long each took, and the code of its error if it failed.
    ran: Vec<(Duration, Option<Box<str>>)>,
    afterwards: Vec<Then>,
}

impl Connection {
    pub(super) async fn watch(&mut self, keys: Vec<Box<[u8]>>) -> Result<(), Error> {
        let core = self.home.core().clone();
        let db = self.client.db;
        if self.client.special().watched.is_empty() {
            core.stats.thread(self.home.index()).watching_clients.add(1);
        }
        for key in keys {
            let name = (db, key);
            if self.client.special().watched.contains(&name) {
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
            self.client.special_mut().watched.push(name);
            self.home.visit(&set, watch).await?;
        }
        self.client.show();
        // Only now: whoever hears of it may change a key at once.
        self.reply(|out| out.ok());
        self.output.announce(Position::default());
        Ok(())
    }

    pub(super) async fn unwatch(&mut self) -> Result<(), Error> {
        let core = self.home.core().clone();
        let watched = std::mem::take(&mut self.client.special_mut().watched);
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
            self.server.show(table::row(Name::Exec), &shown.request(), &self.client);
        }
        done
    }

    async fn exec_queue(&mut self) -> Result<(), Error> {
        let queue = self.client.special_mut().queue.take().unwrap_or_default();
        if let Some(error) = self.abort(&queue) {
            self.client.special_mut().is_doomed = false;
            self.fail(table::row(Name::Exec), &error);
            return self.unwatch().await;
        }
        let set = self.shards_of_transaction(&queue);
        let (count, shared) = (queue.len(), self.client.shared.clone());
        let muted = self.client.reply_mode != ReplyMode::On;
        let client = Client::new(shared, &self.config);
        let client = Arc::new(Mutex::new(std::mem::replace(&mut self.client, client)));
        let transaction = Transaction {
            server: self.server.clone(),
            queue,
            client: client.clone(),
            watched: lock(&client).special().watched.clone(),
            reached: self.output.reached(),
        };
        let done = self.visit(&set, move |turn| transaction.run(turn)).await;
        std::mem::swap(&mut self.client, &mut lock(&client));
        let (done, position) = done?;
        let mail = std::mem::take(&mut self.client.special_mut().early_mail);
        if !mail.is_empty() {
            mail.iter().for_each(|frame| self.output.bytes().extend_from_slice(frame));
            self.announce_mail();
        }
        match done {
            None => self.reply(|out| out.null_array()),
            Some(Executed { replies, queue, ran, afterwards }) => {
                for then in afterwards {
                    match then {
                        Then::Pause(paused, ms) => self.pause(paused, ms).await?,
                        Then::Close => self.closing = true,
                        Then::Nothing
                        | Then::Exec
                        | Then::Watch(_)
                        | Then::Unwatch
                        | Then::Wait(_) => {}
                    }
                }
                for (Queued { row, request }, (took, code)) in queue.into_iter().zip(ran) {
                    self.note(row, 1, took, Some(&request.request()));
                    if let Some(code) = code {
                        self.count_failure(row.name, &code);
                    }
                }
                let mut bytes = self.output.bytes();
                let mut out = Out::new(&mut bytes, self.client.protocol);
                // Redis: each reply is muted or not as the commands before it have asked.
                if !muted {
                    out.array(count);
                }
                out.raw(&replies);
            }
        }
        self.output.announce(position);
        self.unwatch().await
    }

    /// Why a transaction cannot run.
    fn abort(&self, queue: &[Queued]) -> Option<CommandError> {
        if self.client.special().is_doomed {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return Some(CommandError::Fixed(text));
        }
        let now = self.home.now();
        let commands = queue.iter().map(|one| (one.row, one.request.request()));
        let unlogged = self.home.unlogged_bytes();
        let refusal = self.home.core().write_refusal_of_all(unlogged, commands, now);
        refusal.map(|error| CommandError::quoting(DISCARDED, &[&error.wire()]))
    }

    /// The shards of all keys of a transaction, and of those that it depends on.
    fn shards_of_transaction(&self, queue: &[Queued]) -> ShardSet {
        let core = self.home.core();
        let mut set: Option<ShardSet> = None;
        let mut include = |shard| match &mut set {
            None => set = Some(ShardSet::One(shard)),
            Some(set) => set.add(shard),
        };
        for (_, key) in &self.client.special().watched {
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
}

impl Transaction {
    /// Runs the commands in their order, those of the connection among them; nothing if a watched
    /// key has changed. Nothing happens before that is known for good: with the shards in hand.
    fn run(self, turn: &mut Turn<'_, '_>) -> Option<Executed> {
        let Transaction { server, queue, client, watched, reached } = self;
        let mut client = lock(&client);
        // Those whose time is over go now, and that is a change.
        for (db, key) in watched {
            turn.with_txn(|txn| _ = txn.key_in(db, &key));
        }
        if client.shared.dirty().load(Ordering::Acquire) {
            return None;
        }
        let (mut replies, mut afterwards) = (Vec::new(), Vec::new());
        let mut ran = Vec::with_capacity(queue.len());
        for queued in &queue {
            let (row, began) = (queued.row, Instant::now());
            let request = queued.request.request();
            let mut out = Out::new(&mut replies, client.protocol);
            let own = row.scope == Scope::Connection;
            let (mark, muted) = (out.len(), client.reply_mode == ReplyMode::Off);
            if !own {
                server.show(row, &request, &client);
            }
            let code = if own {
                match run_own(&mut client, &server, row, &request, reached, &mut out) {
                    Ok(then) => {
                        afterwards.push(then);
                        None
                    }
                    Err(code) => Some(code),
                }
            } else {
                match call(&server.core, turn, row, &request, &client.caller(true), &mut out) {
                    Called::Replied(code) => code,
                    // SHUTDOWN is not allowed in a transaction, and nothing waits there.
                    Called::Blocked(_) | Called::Shutdown(_) => None,
                }
            };
            if own {
                server.show(row, &request, &client);
            }
            let is_message = own && code.is_none() && row.flags.has(Flags::PUBSUB);
            if muted && client.reply_mode == ReplyMode::Off && !is_message {
                out.truncate(mark);
            }
            ran.push((began.elapsed(), code.map(String::into_boxed_str)));
        }
        turn.serve();
        Some(Executed { replies, queue, ran, afterwards })
    }
}

/// Runs a command of the connection's own. Gives what is left to do when all have run, or the code
/// of its error.
fn run_own(
    client: &mut Client,
    server: &Arc<Server>,
    row: &'static Row,
    request: &Request<'_>,
    reached: Position,
    out: &mut Out<'_>,
) -> Result<Then, String> {
    let mark = out.len();
    // A command before it may have changed the settings.
    let config = server.core.config();
    let around = Around { server, config: &config, in_exec: true };
    let then = client.run(row, request, around, out);
    client.show();
    match &then {
        Ok(Then::Wait(wanted)) => acknowledge(wanted.name, &server.core, reached, out),
        Ok(Then::Pause(..)) => out.ok(),
        Ok(_) => {}
        Err(error) => {
            out.truncate(mark);
            out.error(error);
        }
    }
    then.map_err(|error| error.code().to_string())
}

/// No command panics; if one did, the process would be at its end.
fn lock(client: &Mutex<Client>) -> MutexGuard<'_, Client> {
    client.lock().unwrap_or_else(PoisonError::into_inner)
}
