//! What a client has set, and the commands that set it: protocol, database, transaction, watched
//! keys. These run in the connection's task and touch no shard.

use super::clients::Shared;
use crate::command::args::{is_word, lossy, strict_integer};
use crate::command::table::{Flags, Name, Row};
use crate::command::{Out, OwnedRequest, Protocol, Request, docs};
use crate::config::Config;
use crate::error::CommandError;
use crate::keyspace::{DATABASES, KeyName};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
    /// Watch these keys.
    Watch(Vec<Box<[u8]>>),
    /// Watch no keys any more.
    Unwatch,
}

/// Which replies a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyMode {
    On,
    Off,
    /// Not the next one.
    Skip,
}

/// One client's state.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) protocol: Protocol,
    pub(super) db: u8,
    pub(super) authenticated: bool,
    pub(super) reply_mode: ReplyMode,
    /// The commands queued since MULTI.
    pub(super) queue: Option<Vec<Queued>>,
    /// Whether the transaction cannot run any more.
    pub(super) is_doomed: bool,
    pub(super) watched: Vec<KeyName>,
    /// Set when a watched key changes.
    pub(super) dirty: Arc<AtomicBool>,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, config: &Config) -> Self {
        Client {
            shared,
            protocol: Protocol::Resp2,
            db: 0,
            authenticated: config.requirepass.is_empty(),
            reply_mode: ReplyMode::On,
            queue: None,
            is_doomed: false,
            watched: Vec::new(),
            dirty: Arc::default(),
        }
    }

    /// Why a command may not run now, before it is queued or run.
    pub(super) fn refusal(&self, row: &Row) -> Option<CommandError> {
        if !self.authenticated && !row.flags.has(Flags::NO_AUTH) {
            return Some(CommandError::Fixed("NOAUTH Authentication required."));
        }
        if self.queue.is_some() && row.flags.has(Flags::NO_MULTI) {
            return Some(CommandError::Fixed("ERR Command not allowed inside a transaction"));
        }
        None
    }

    /// Whether a command waits for EXEC.
    pub(super) fn queues(&self, name: Name) -> bool {
        self.queue.is_some()
            && !matches!(
                name,
                Name::Exec | Name::Discard | Name::Multi | Name::Watch | Name::Quit | Name::Reset
            )
    }

    /// Runs a command of the connection.
    ///
    /// # Errors
    /// As the command; nothing has changed.
    pub(super) fn run(
        &mut self,
        row: &'static Row,
        request: &Request<'_>,
        config: &Config,
        out: &mut Out<'_>,
    ) -> Result<Then, CommandError> {
        if row.is_help() {
            docs::help(row.name, out);
            return Ok(Then::Nothing);
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other commands run elsewhere")]
        match row.name {
            Name::Hello => self.hello(request, config, out)?,
            Name::Ping => match request.get(1) {
                None => out.simple("PONG"),
                Some(text) if request.len() == 2 => out.bulk(text),
                Some(_) => return Err(CommandError::arity("ping")),
            },
            Name::Echo => out.bulk(request.arg(1)),
            Name::Select => self.select(request.arg(1), out)?,
            Name::Quit => {
                out.ok();
                return Ok(Then::Close);
            }
            Name::Multi => {
                if self.queue.is_some() {
                    return Err(CommandError::Fixed("ERR MULTI calls can not be nested"));
                }
                self.queue = Some(Vec::new());
                self.is_doomed = false;
                out.ok();
            }
            Name::Discard => {
                if self.queue.take().is_none() {
                    return Err(CommandError::Fixed("ERR DISCARD without MULTI"));
                }
                out.ok();
                return Ok(Then::Unwatch);
            }
            Name::Exec => {
                if self.queue.is_none() {
                    return Err(CommandError::Fixed("ERR EXEC without MULTI"));
                }
                return Ok(Then::Exec);
            }
            Name::Watch => {
                if self.queue.is_some() {
                    return Err(CommandError::Fixed("ERR WATCH inside MULTI is not allowed"));
                }
                out.ok();
                return Ok(Then::Watch(request.from(1).map(Box::from).collect()));
            }
            Name::Unwatch => {
                out.ok();
                return Ok(Then::Unwatch);
            }
            _ => unreachable!("{} does not run in the connection", row.full_name()),
        }
        Ok(Then::Nothing)
    }

    fn hello(
        &mut self,
        request: &Request<'_>,
        config: &Config,
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
        let mut name = None;
        while let Some(word) = args.next() {
            if is_word(word, "SETNAME") && args.remaining() >= 1 {
                name = args.next();
            } else {
                let word = lossy(word);
                let text = format!("ERR Syntax error in HELLO option '{word}'");
                return Err(CommandError::composed(text));
            }
        }
        if let Some(name) = name {
            let mut names = self.shared.names.lock().unwrap_or_else(|held| held.into_inner());
            names.name = lossy(name).into();
        }
        self.protocol = protocol;
        out.set_protocol(protocol);
        let _ = config;
        out.map(7);
        for (name, value) in [("server", "redis"), ("version", "8.10.1")] {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        out.bulk(b"proto");
        out.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
        out.bulk(b"id");
        out.unsigned(self.shared.id);
        for (name, value) in [("mode", "standalone"), ("role", "master")] {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        out.bulk(b"modules");
        out.array(0);
        Ok(())
    }

    fn select(&mut self, index: &[u8], out: &mut Out<'_>) -> Result<(), CommandError> {
        let index = strict_integer(index).ok_or(CommandError::NotAnInteger)?;
        match u8::try_from(index) {
            Ok(db) if db < DATABASES => self.db = db,
            _ => return Err(CommandError::Fixed("ERR DB index is out of range")),
        }
        out.ok();
        Ok(())
    }
}
