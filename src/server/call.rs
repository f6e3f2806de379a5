//! One command on the shards in hand.

use crate::command::table::{Row, Scope};
use crate::command::{Name, Out, Protocol, Ran, Request};
use crate::db::Core;
use crate::db::admin::{self, After, Shutdown};
use crate::error::CommandError;
use crate::shard::waiters::{WaitCell, Woken};
use crate::shard::{Blocker, Turn};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What shards know of the client that a command comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) client: u64,
    pub(super) db: u8,
    pub(super) protocol: Protocol,
    pub(super) no_touch: bool,
    /// Whether it is on this machine.
    pub(super) local: bool,
    /// Whether EXEC runs the command: it never waits.
    pub(super) in_transaction: bool,
}

/// A wait that was registered.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) cell: Arc<WaitCell>,
    pub(super) woken: oneshot::Receiver<Woken>,
    pub(super) timeout_ms: u64,
    pub(super) name: Name,
}

/// How a command went.
#[derive(Debug)]
pub(super) enum Called {
    /// It has answered; with an error of this code, if it was one.
    Replied(Option<String>),
    /// It waits.
    Blocked(Blocked),
    /// It wants the server to stop, and has not answered.
    Shutdown(Shutdown),
}

/// Runs a command; one that wants to wait is registered with the shards in hand.
pub(super) fn call(
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
            turn.block(wait, blocker);
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
