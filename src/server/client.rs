//! What a client has set, and the commands that set it: protocol, user, database, transaction,
//! watched keys, subscriptions. These run in the connection's task and touch no shard.

use super::Server;
use super::clients::{Shared, flag};
use super::users;
use crate::command::args::{is_word, lossy, strict_integer};
use crate::command::keys::{check_database, database};
use crate::command::table::{Flags, Name, Row};
use crate::command::{Out, OwnedRequest, Protocol, Request, docs};
use crate::config::{CompatProfile, Config};
use crate::db::pause::Paused;
use crate::db::run::{Caller, transaction_refusal};
use crate::db::{database_count, info};
use crate::error::CommandError;
use crate::keyspace::KeyName;
use crate::pubsub::ClientCounts;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A command that waits for EXEC, or for its turn on another shard.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) row: &'static Row,
    pub(super) request: OwnedRequest,
}

/// What the connection does after a command of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing more.
    Nothing,
    /// Close when the replies have left.
    Close,
    /// Run the transaction.
    Exec,
    /// Watch these keys, then answer.
    Watch(Vec<Box<[u8]>>),
    /// Watch no keys any more.
    Unwatch,
    /// Delay commands for so many milliseconds, and answer when that holds everywhere.
    Pause(Paused, u64),
    /// WAIT, WAITAOF: wait until it is true or the time is over, then answer.
    Wait(Acknowledged),
}

/// What WAIT and WAITAOF wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) name: Name,
    /// Whether this server's disk must have the connection's writes.
    pub(super) local: bool,
    /// How many replicas must have them. There are none.
    pub(super) replicas: u64,
    /// For how long; 0 is forever.
    pub(super) timeout_ms: u64,
}

/// Which replies a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyMode {
    On,
    Off,
    /// Not the next one.
    Skip,
}

/// What surrounds a command of the connection.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) server: &'a Arc<Server>,
    pub(super) config: &'a Config,
    /// Whether EXEC runs it.
    pub(super) in_exec: bool,
}

impl Around<'_> {
    pub(super) fn is_valkey(&self) -> bool {
        self.config.compat_profile == CompatProfile::Valkey
    }
}

/// One client's state.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) protocol: Protocol,
    pub(super) db: u8,
    /// Whether it has given the password.
    pub(super) authenticated: bool,
    pub(super) reply_mode: ReplyMode,
    pub(super) no_touch: bool,
    /// Whether mail was put before a reply.
    pub(super) has_received: bool,
    /// `None`: nothing.
    special: Option<Box<Special>>,
}

/// What most clients never have.
#[derive(Debug, Default)]
pub(super) struct Special {
    /// The commands queued since MULTI.
    pub(super) queue: Option<Vec<Queued>>,
    /// Whether the transaction cannot run any more.
    pub(super) is_doomed: bool,
    pub(super) watched: Vec<KeyName>,
    pub(super) listens: ClientCounts,
    /// Mail that must leave before the reply of the transaction at hand.
    pub(super) early_mail: Vec<Bytes>,
}

impl Special {
    const NOTHING: &Special = &Special {
        queue: None,
        is_doomed: false,
        watched: Vec::new(),
        listens: ClientCounts { channels: 0, patterns: 0, shard_channels: 0 },
        early_mail: Vec::new(),
    };
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, config: &Config) -> Self {
        Client {
            shared,
            protocol: Protocol::Resp2,
            db: 0,
            authenticated: config.requirepass.is_empty(),
            reply_mode: ReplyMode::On,
            no_touch: false,
            has_received: false,
            special: None,
        }
    }

    /// Its transaction, its watched keys, its subscriptions.
    pub(super) fn special(&self) -> &Special {
        self.special.as_deref().unwrap_or(Special::NOTHING)
    }

    /// [`Client::special`], to change it.
    pub(super) fn special_mut(&mut self) -> &mut Special {
        self.special.get_or_insert_default()
    }

    /// Whether the client may do what needs the password.
    pub(super) fn is_authenticated(&self, config: &Config) -> bool {
        self.authenticated || config.requirepass.is_empty()
    }

    /// Whether it has subscriptions, and a protocol that can tell messages from replies only if
    /// nothing else is sent.
    pub(super) fn is_subscriber(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.special().listens != ClientCounts::default()
    }

    /// Whether nothing that the client is in keeps any command from running.
    pub(super) fn may_all(&self, config: &Config) -> bool {
        let special = self.special();
        self.is_authenticated(config) && special.queue.is_none() && !self.is_subscriber()
    }

    /// Why a command may not run now, before it is queued or run.
    pub(super) fn refusal(&self, row: &Row, config: &Config) -> Option<CommandError> {
        if !self.is_authenticated(config) && !row.flags.has(Flags::NO_AUTH) {
            return Some(CommandError::Fixed("NOAUTH Authentication required."));
        }
        if self.special().queue.is_some() {
            return transaction_refusal(row, config);
        }
        None
    }

    /// Why a subscriber may not run a command: it could not tell the reply from a message.
    pub(super) fn subscriber_refusal(&self, row: &Row) -> Option<CommandError> {
        let allowed = matches!(
            row.name,
            Name::Ping
                | Name::Subscribe
                | Name::SSubscribe
                | Name::PSubscribe
                | Name::Unsubscribe
                | Name::SUnsubscribe
                | Name::PUnsubscribe
                | Name::Quit
                | Name::Reset
        );
        (self.is_subscriber() && !allowed).then(|| {
            CommandError::composed(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context",
                row.full_name()
            ))
        })
    }

    /// Whether a command waits for EXEC.
    pub(super) fn queues(&self, name: Name) -> bool {
        self.special().queue.is_some()
            && !matches!(
                name,
                Name::Exec | Name::Discard | Name::Multi | Name::Watch | Name::Quit | Name::Reset
            )
    }

    /// What shards know of this client.
    pub(super) fn caller(&self, in_transaction: bool) -> Caller {
        Caller {
            client: self.shared.id,
            db: self.db,
            protocol: self.protocol,
            no_touch: self.no_touch,
            local: self.shared.origin.is_local,
            in_transaction,
        }
    }

    /// Lets others see what has changed.
    pub(super) fn show(&self) {
        let seen = &self.shared.seen;
        let queued = self
            .special()
            .queue
            .as_ref()
            .map_or(-1, |queue| i64::try_from(queue.len()).unwrap_or(i64::MAX));
        seen.queued.store(queued, Ordering::Relaxed);
        let watched = u32::try_from(self.special().watched.len()).unwrap_or(u32::MAX);
        seen.watched.store(watched, Ordering::Relaxed);
        seen.db.store(self.db, Ordering::Relaxed);
        let protocol = if self.protocol == Protocol::Resp3 { 3 } else { 2 };
        seen.protocol.store(protocol, Ordering::Relaxed);
        self.shared.mark(flag::SUBSCRIBED, self.special().listens != ClientCounts::default());
    }

    /// Puts what others have sent until now before the reply.
    pub(super) fn receive(&mut self, mail: VecDeque<Bytes>, in_exec: bool, out: &mut Out<'_>) {
        self.has_received |= !mail.is_empty();
        if in_exec {
            // Inside the array of EXEC no frame may stand that is no reply.
            self.special_mut().early_mail.extend(mail);
        } else {
            mail.iter().for_each(|frame| out.raw(frame));
        }
    }

    /// Runs a command of the connection.
    ///
    /// # Errors
    /// As the command; nothing has changed.
    pub(super) fn run(
        &mut self,
        row: &'static Row,
        request: &Request<'_>,
        around: Around<'_>,
        out: &mut Out<'_>,
    ) -> Result<Then, CommandError> {
        if row.is_help() {
            docs::help(row.name, out);
            return Ok(Then::Nothing);
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "the other commands follow below")]
        match row.name {
            Name::Hello => self.hello(request, around, out)?,
            Name::Auth => {
                match request.len() {
                    2 => self.authenticate("AUTH", None, request.arg(1), around)?,
                    3 => {
                        let user = Some(request.arg(1));
                        self.authenticate("AUTH", user, request.arg(2), around)?;
                    }
                    _ => return Err(CommandError::Syntax),
                }
                out.ok();
            }
            Name::Ping => self.ping(request, out)?,
            Name::Echo => out.bulk(request.arg(1)),
            Name::Select => self.select(request.arg(1), around.config, out)?,
            Name::Quit => {
                out.ok();
                return Ok(Then::Close);
            }
            Name::Reset => return Ok(self.reset(around, out)),
            Name::Wait | Name::WaitAof => return self.wait(row.name, request, around),
            Name::Monitor => {
                if around.in_exec {
                    let text = "ERR MONITOR isn't allowed for DENY BLOCKING client";
                    return Err(CommandError::Fixed(text));
                }
                self.shared.mark(flag::MONITOR, true);
                around.server.monitors.add(&self.shared);
                out.ok();
            }
            Name::Asking | Name::Cluster | Name::ReadOnly | Name::ReadWrite => {
                let is_of_replicas = matches!(row.name, Name::ReadOnly | Name::ReadWrite);
                if around.is_valkey() && is_of_replicas {
                    out.ok();
                    return Ok(Then::Nothing);
                }
                let text = "ERR This instance has cluster support disabled";
                return Err(CommandError::Fixed(text));
            }
            Name::Subscribe | Name::PSubscribe | Name::SSubscribe => {
                self.subscribe(row.name, request, around, out)?;
            }
            Name::Unsubscribe | Name::PUnsubscribe | Name::SUnsubscribe => {
                self.unsubscribe(row.name, request, around, out);
            }
            _ => return self.run_rest(row, request, around, out),
        }
        Ok(Then::Nothing)
    }

    /// [`Client::run`] for transactions and containers.
    fn run_rest(
        &mut self,
        row: &'static Row,
        request: &Request<'_>,
        around: Around<'_>,
        out: &mut Out<'_>,
    ) -> Result<Then, CommandError> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "what is left are containers")]
        match row.name {
            Name::Multi => {
                if self.special().queue.is_some() {
                    return Err(CommandError::Fixed("ERR MULTI calls can not be nested"));
                }
                let special = self.special_mut();
                special.queue = Some(Vec::new());
                special.is_doomed = false;
                out.ok();
            }
            Name::Discard => {
                if self.special_mut().queue.take().is_none() {
                    return Err(CommandError::Fixed("ERR DISCARD without MULTI"));
                }
                self.special_mut().is_doomed = false;
                out.ok();
                return Ok(Then::Unwatch);
            }
            Name::Exec => {
                if self.special().queue.is_none() {
                    return Err(CommandError::Fixed("ERR EXEC without MULTI"));
                }
                return Ok(Then::Exec);
            }
            Name::Watch => {
                if self.special().queue.is_some() {
                    return Err(CommandError::Fixed("ERR WATCH inside MULTI is not allowed"));
                }
                return Ok(Then::Watch(request.from(1).map(Box::from).collect()));
            }
            Name::Unwatch => {
                out.ok();
                return Ok(Then::Unwatch);
            }
            _ if row.full_name().starts_with("client|") => {
                return self.run_client(row.name, request, around, out);
            }
            _ if row.full_name().starts_with("acl|") => {
                users::run(row.name, request, around, out)?;
            }
            _ => docs::command(row, request, out)?,
        }
        Ok(Then::Nothing)
    }

    fn ping(&self, request: &Request<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
        let text = request.get(1);
        if request.len() > 2 {
            return Err(CommandError::arity("ping"));
        }
        if self.is_subscriber() {
            out.array(2);
            out.bulk(b"pong");
            out.bulk(text.unwrap_or_default());
        } else if let Some(text) = text {
            out.bulk(text);
        } else {
            out.simple("PONG");
        }
        Ok(())
    }

    /// Checks a password that `command` has. Without a user it is the default user's.
    fn authenticate(
        &mut self,
        command: &'static str,
        user: Option<&[u8]>,
        password: &[u8],
        around: Around<'_>,
    ) -> Result<(), CommandError> {
        let config = around.config;
        if user.is_none() && config.requirepass.is_empty() {
            return Err(CommandError::Fixed(
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?",
            ));
        }
        let user = user.unwrap_or(b"default");
        if user != b"default" || !users::is_password(password, config) {
            around.server.core.stats.denied_passwords.add_shared(1);
            around.server.denied.record(self, command, user, around);
            let text = "WRONGPASS invalid username-password pair or user is disabled.";
            return Err(CommandError::Fixed(text));
        }
        self.authenticated = true;
        Ok(())
    }

    fn hello(
        &mut self,
        request: &Request<'_>,
        around: Around<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), CommandError> {
        let mut args = request.args(1);
        let mut protocol = self.protocol;
        if let Some(version) = args.next() {
            protocol = match strict_integer(version) {
                Some(2) => Protocol::Resp2,
                Some(3) => Protocol::Resp3,
                Some(_) => return Err(CommandError::Fixed("NOPROTO unsupported protocol version")),
                None => {
                    return Err(CommandError::Fixed(
                        "ERR Protocol version is not an integer or out of range",
                    ));
                }
            };
        }
        let (mut name, mut login) = (None, None);
        while let Some(word) = args.next() {
            if is_word(word, "AUTH") && args.remaining() >= 2 {
                login = args.next().zip(args.next());
            } else if is_word(word, "SETNAME") && args.remaining() >= 1 {
                name = args.next();
                check_name(name.unwrap_or_default())?;
            } else {
                let text = "ERR Syntax error in HELLO option '{}'";
                return Err(CommandError::quoting(text, &[word]));
            }
        }
        if let Some((user, password)) = login {
            self.authenticate("HELLO", Some(user), password, around)?;
        }
        if !self.is_authenticated(around.config) {
            return Err(CommandError::Fixed(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise \
                 the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the \
                 client and select the RESP protocol version at the same time",
            ));
        }
        if let Some(name) = name {
            self.shared.rename(|names| names.name = lossy(name).into());
        }
        self.set_protocol(protocol, around.in_exec, out);
        self.introduce(around, out);
        Ok(())
    }

    fn set_protocol(&mut self, protocol: Protocol, in_exec: bool, out: &mut Out<'_>) {
        if self.protocol != protocol {
            self.protocol = protocol;
            let mail = self.shared.set_protocol(protocol);
            self.receive(mail, in_exec, out);
            out.set_protocol(protocol);
        }
    }

    /// The reply to HELLO.
    fn introduce(&self, around: Around<'_>, out: &mut Out<'_>) {
        let (server, version) = info::advertised(around.config);
        out.map(7);
        for (name, value) in [("server", server), ("version", version)] {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        out.bulk(b"proto");
        out.integer(if self.protocol == Protocol::Resp3 { 3 } else { 2 });
        out.bulk(b"id");
        out.unsigned(self.shared.id);
        for (name, value) in [("mode", "standalone"), ("role", "master")] {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        out.bulk(b"modules");
        out.array(0);
    }

    fn select(
        &mut self,
        index: &[u8],
        config: &Config,
        out: &mut Out<'_>,
    ) -> Result<(), CommandError> {
        self.db = check_database(database(index)?, database_count(config))?;
        out.ok();
        Ok(())
    }

    /// Back to what a new connection has.
    fn reset(&mut self, around: Around<'_>, out: &mut Out<'_>) -> Then {
        around.server.core.pubsub.unsubscribe_all(self.shared.id);
        around.server.monitors.remove(self.shared.id);
        let mail = self.shared.take_mail(u64::MAX);
        self.receive(mail, around.in_exec, out);
        self.set_protocol(Protocol::Resp2, around.in_exec, out);
        for flag in [flag::MONITOR, flag::NO_EVICT, flag::NO_TOUCH] {
            self.shared.mark(flag, false);
        }
        self.shared.rename(|names| names.name = Box::default());
        let special = self.special_mut();
        special.listens = ClientCounts::default();
        special.queue = None;
        special.is_doomed = false;
        self.db = 0;
        self.no_touch = false;
        // Redis: a reply that is to be skipped is, and it is this one.
        if self.reply_mode == ReplyMode::Off {
            self.reply_mode = ReplyMode::On;
        }
        self.authenticated = around.config.requirepass.is_empty();
        out.simple("RESET");
        Then::Unwatch
    }

    /// WAIT, WAITAOF.
    fn wait(
        &mut self,
        name: Name,
        request: &Request<'_>,
        around: Around<'_>,
    ) -> Result<Then, CommandError> {
        let mut local = false;
        let mut args = request.args(1);
        if name == Name::WaitAof {
            local = match args.integer()? {
                0 => false,
                1 => true,
                _ => {
                    let text = "ERR value is out of range, value must between 0 and 1";
                    return Err(CommandError::Fixed(text));
                }
            };
        }
        let replicas = args.integer()?;
        if name == Name::WaitAof && replicas < 0 {
            let text = "ERR value is out of range, must be positive";
            return Err(CommandError::Fixed(text));
        }
        let timeout_ms = timeout(args.required()?)?;
        if local && around.server.core.aof().is_none() {
            return Err(CommandError::Fixed(
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            ));
        }
        let replicas = u64::try_from(replicas).unwrap_or(0);
        Ok(Then::Wait(Acknowledged { name, local, replicas, timeout_ms }))
    }
}

/// A time-out in milliseconds.
pub(super) fn timeout(text: &[u8]) -> Result<u64, CommandError> {
    let Some(ms) = strict_integer(text) else {
        let text = "ERR timeout is not an integer or out of range";
        return Err(CommandError::Fixed(text));
    };
    u64::try_from(ms).map_err(|_| CommandError::Fixed("ERR timeout is negative"))
}

/// Refuses a client's name that CLIENT LIST could not show.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if is_printable(name) {
        return Ok(());
    }
    Err(CommandError::Fixed(
        "ERR Client names cannot contain spaces, newlines or special characters.",
    ))
}

/// Whether CLIENT LIST can show a text as it is.
pub(super) fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}
