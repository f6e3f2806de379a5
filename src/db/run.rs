//! One command on the shards in hand, for a connection and for a call of the program alike.

use super::Core;
use super::admin::{self, After, Shutdown};
#[cfg(feature = "server")]
use super::home::Home;
use super::home::ShardSet;
use super::save;
use crate::command::table::{self, Flags, Row, Scope};
use crate::command::{Name, Out, Protocol, Ran, Request};
use crate::config::{CompatProfile, Config};
use crate::error::{CommandError, StorageError};
use crate::shard::waiters::{WaitCell, Woken};
use crate::shard::{Blocker, Turn};
use crate::stream::UnixMs;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a command may add to the log beyond its own bytes. Two kinds may add more, and if the disk
/// has no room for it, what they did waits in memory and their connection is closed: those that
/// find their entries by themselves, XAUTOCLAIM for example, and RESTORE of a compressed payload.
const RECORD_BYTES: usize = 256;
const SNAPSHOT_FAILED: &str = "MISCONF Redis is configured to save RDB snapshots, but it's \
currently unable to persist to disk. Commands that may modify the data set are disabled, because \
this instance is configured to report errors during writes if RDB snapshotting fails \
(stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.";

/// What shards know of the client that a command comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) client: u64,
    pub(crate) db: u8,
    pub(crate) protocol: Protocol,
    pub(crate) no_touch: bool,
    /// Whether it is on this machine.
    pub(crate) local: bool,
    /// Whether EXEC runs the command: it never waits.
    pub(crate) in_transaction: bool,
}

/// A wait that was registered.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub(crate) cell: Arc<WaitCell>,
    pub(crate) woken: oneshot::Receiver<Woken>,
    pub(crate) timeout_ms: u64,
    pub(crate) name: Name,
}

/// How a command went.
#[derive(Debug)]
pub(crate) enum Called {
    /// It has answered; with an error of this code, if it was one.
    Replied(Option<String>),
    /// It waits.
    Blocked(Blocked),
    /// It wants the server to stop, and has not answered.
    Shutdown(Shutdown),
}

/// Runs a command; one that wants to wait is registered with the shards in hand.
pub(crate) fn call(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    row: &Row,
    request: &Request<'_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Called {
    turn.no_touch = caller.no_touch;
    let called = match row.scope {
        Scope::Database => on_database(core, turn, row, request, caller, out),
        Scope::Key | Scope::Connection => on_keys(turn, row, request, caller, out),
    };
    called.unwrap_or_else(|error| {
        out.error(&error);
        Called::Replied(Some(error.code()))
    })
}

#[inline]
fn on_keys(
    turn: &mut Turn<'_, '_>,
    row: &Row,
    request: &Request<'_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<Called, CommandError> {
    match turn.run(row, request, caller.db, out)? {
        Ran::Replied => Ok(Called::Replied(None)),
        Ran::WouldBlock(_) if caller.in_transaction => {
            out.null_array();
            Ok(Called::Replied(None))
        }
        Ran::WouldBlock(wait) => {
            let (cell, woken) = WaitCell::new();
            let timeout_ms = wait.timeout_ms;
            let blocker = Blocker {
                client: caller.client,
                cell: cell.clone(),
                db: caller.db,
                protocol: caller.protocol,
            };
            turn.block(*wait, blocker);
            Ok(Called::Blocked(Blocked { cell, woken, timeout_ms, name: row.name }))
        }
    }
}

fn on_database(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    row: &Row,
    request: &Request<'_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<Called, CommandError> {
    let Caller { db, local, in_transaction, .. } = *caller;
    let caller = admin::Caller { db, local, in_transaction };
    Ok(match admin::run(core, turn, row, request, &caller, out)? {
        After::Nothing => Called::Replied(None),
        After::Shutdown(how) => Called::Shutdown(how),
    })
}

/// Why a command may not be part of a transaction.
pub(crate) fn transaction_refusal(row: &Row, config: &Config) -> Option<CommandError> {
    let valkey = config.compat_profile == CompatProfile::Valkey;
    let nests = matches!(row.name, Name::Multi | Name::Watch);
    (row.flags.has(Flags::NO_MULTI) || (valkey && nests)).then(|| match valkey {
        true => CommandError::composed(format!(
            "ERR Command '{}' not allowed inside a transaction",
            row.full_name()
        )),
        false => CommandError::Fixed("ERR Command not allowed inside a transaction"),
    })
}

impl Core {
    /// The shards that a request wants in hand: those of its keys, or all; `None` if any will do.
    #[inline]
    pub(crate) fn shards_of(&self, row: &Row, request: &Request<'_>) -> Option<ShardSet> {
        if self.shards() == 1 { None } else { self.shards_among(row, request) }
    }

    /// [`Core::shards_of`] where there are several.
    fn shards_among(&self, row: &Row, request: &Request<'_>) -> Option<ShardSet> {
        if row.scope == Scope::Database {
            let all = admin::wants_all_shards(row.name);
            return all.then(|| ShardSet::Several((0..self.shards()).collect()));
        }
        let mut set: Option<ShardSet> = None;
        for index in table::keys(row, request).into_iter().flatten() {
            let shard = self.shard_of(request.arg(index));
            match &mut set {
                None => set = Some(ShardSet::One(shard)),
                Some(set) => set.add(shard),
            }
        }
        set
    }

    /// Why one of the commands of a transaction may not run now. There is to be room for all of
    /// them, as they run without a look between; `unlogged` as for [`Core::write_refusal`].
    pub(crate) fn write_refusal_of_all<'a>(
        &self,
        unlogged: usize,
        commands: impl IntoIterator<Item = (&'static Row, Request<'a>)>,
        now: UnixMs,
    ) -> Option<CommandError> {
        let mut before = unlogged;
        commands.into_iter().find_map(|(row, request)| {
            let refusal = self.write_refusal(before, row, &request, now);
            before += request.from(0).map(<[u8]>::len).sum::<usize>() + RECORD_BYTES;
            refusal
        })
    }

    /// Why a command that writes may not run now, behind those of its turn that have `unlogged`
    /// bytes still to be logged.
    #[inline]
    pub(crate) fn write_refusal(
        &self,
        unlogged: usize,
        row: &Row,
        request: &Request<'_>,
        now: UnixMs,
    ) -> Option<CommandError> {
        let growing = row.flags.has(Flags::DENYOOM);
        if growing && self.is_memory_full(now) {
            return Some(CommandError::OutOfMemory);
        }
        if !row.flags.has(Flags::WRITE) {
            return None;
        }
        let Some(aof) = self.aof() else {
            let refuses = self.saver.is_failing() && save::refuses_when_failing(&self.config());
            return refuses.then(|| CommandError::Misconfigured(SNAPSHOT_FAILED.into()));
        };
        // The heads of the arguments counted, too: a bound is enough.
        aof.room(unlogged + request.buffer.len() + RECORD_BYTES, growing)
            .err()
            .map(|error| misconfigured(&error))
    }

    /// The refusal of PING while the log is broken.
    #[cfg(feature = "server")]
    pub(crate) fn log_refusal(&self) -> CommandError {
        let failure = self.aof().and_then(|aof| aof.failure());
        misconfigured(&failure.unwrap_or_else(|| StorageError::Stopped(String::new())))
    }
}

#[cfg(feature = "server")]
impl Home {
    /// [`Core::write_refusal`] for a command that is to run in this thread's turn.
    #[inline]
    pub(crate) fn write_refusal(&self, row: &Row, request: &Request<'_>) -> Option<CommandError> {
        self.core().write_refusal(self.unlogged_bytes(), row, request, self.now())
    }
}

fn misconfigured(error: &StorageError) -> CommandError {
    let text = format!("MISCONF Errors writing to the AOF file: {error}");
    CommandError::Misconfigured(text.into())
}
