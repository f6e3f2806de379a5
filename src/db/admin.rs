//! Commands of a whole database and of the server, run with shards in hand: alone and inside EXEC
//! alike. This file leads to them, and has those that need no file of their own.
//!
//! What only the connection can do (SHUTDOWN ends the program) is told by [`After`].

use super::Core;
use super::save::{Cause, Refusal};
use super::{configure, debug, info, latency, memory, save, slowlog};
use crate::command::args::is_word;
use crate::command::scan::RandomKey;
use crate::command::table::{Name, Row};
use crate::command::{KeyCommand as _, Out, Ran, Request};
use crate::config::{Config, Protected};
use crate::error::CommandError;
use crate::keyspace::txn::Notice;
use crate::pubsub::Kind;
use crate::shard::Turn;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is known of the connection that a command came from.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Its database.
    pub db: u8,
    /// Whether it is of this machine.
    pub local: bool,
    /// Whether the command runs inside EXEC.
    pub in_transaction: bool,
}

/// What is left to do for the connection after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum After {
    /// Nothing: the command has answered.
    Nothing,
    /// Stop the server. Nothing was answered, and nothing is to be if it succeeds.
    Shutdown(Shutdown),
}

/// How to stop the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shutdown {
    /// SAVE or NOSAVE; `None` goes by the settings.
    pub save: Option<bool>,
    /// Without waiting for anyone.
    pub now: bool,
    /// Even if the data cannot be saved.
    pub force: bool,
}

impl Shutdown {
    /// What the words of `shutdown-on-sigterm` or `shutdown-on-sigint` mean.
    pub fn of_setting(words: &[String]) -> Self {
        let has = |word| words.iter().any(|given| given == word);
        let save = if has("save") { Some(true) } else { has("nosave").then_some(false) };
        Shutdown { save, now: has("now"), force: has("force") }
    }
}

/// Which shards a command of `Scope::Database` wants in hand: all, or any one.
pub fn wants_all_shards(name: Name) -> bool {
    matches!(
        name,
        Name::BgRewriteAof
            | Name::BgSave
            | Name::ConfigResetStat
            | Name::ConfigSet
            | Name::DbSize
            | Name::Debug
            | Name::FlushAll
            | Name::FlushDb
            | Name::Info
            | Name::Keys
            | Name::MemoryStats
            | Name::RandomKey
            | Name::Save
            | Name::Scan
            | Name::Shutdown
            | Name::SwapDb
    )
}

/// Whether the settings allow a command to such a connection at all: the check before that of its
/// user.
///
/// # Errors
/// Redis's refusal of DEBUG.
pub fn allowed(config: &Config, name: Name, local: bool) -> Result<(), CommandError> {
    let to_all = match config.enable_debug_command {
        Protected::Yes => true,
        Protected::Local => local,
        Protected::No => false,
    };
    if name != Name::Debug || to_all {
        return Ok(());
    }
    Err(CommandError::Fixed(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", \
         you can run it from a local connection, otherwise you need to set this option in the \
         configuration file, and then restart the server.",
    ))
}

/// Runs a command of `Scope::Database`, whose number of arguments is right, with the shards that
/// [`wants_all_shards`] says in hand.
///
/// # Errors
/// As the command; nothing has changed, and `out` is as before.
pub fn run(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    row: &Row,
    request: &Request<'_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<After, CommandError> {
    allowed(&core.config(), row.name, caller.local)?;
    let mark = out.len();
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left does not need keys")]
    let ran = match row.name {
        Name::Shutdown => shutdown(core, turn, request),
        Name::DbSize
        | Name::FlushAll
        | Name::FlushDb
        | Name::Keys
        | Name::RandomKey
        | Name::Scan
        | Name::SwapDb => on_keys(turn, row, request, caller, out).map(|()| After::Nothing),
        _ => on_server(core, turn, row.name, request, caller, out).map(|()| After::Nothing),
    };
    if ran.is_err() {
        out.truncate(mark);
    }
    ran
}

fn on_keys(
    turn: &mut Turn<'_, '_>,
    row: &Row,
    request: &Request<'_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    if row.name == Name::RandomKey {
        // The commands know no chance: they are told a number.
        let chosen = RandomKey { seed: RandomState::new().hash_one(()) };
        let ran = turn.with_txn(|txn| {
            txn.db = caller.db;
            chosen.run(txn, out)
        });
        return ran.map(|_| ());
    }
    match turn.run(row, request, caller.db, out)? {
        Ran::Replied => Ok(()),
        Ran::WouldBlock(_) => unreachable!("{} does not block", row.full_name()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all other commands run elsewhere")]
fn on_server(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    name: Name,
    request: &Request<'_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    match name {
        Name::BgRewriteAof => return background_rewrite(core, turn, caller, out),
        Name::BgSave => return background_save(core, turn, request, caller, out),
        Name::ConfigGet | Name::ConfigSet | Name::ConfigResetStat | Name::ConfigRewrite => {
            return configure::run(core, turn, name, request, caller, out);
        }
        Name::Debug => return debug::run(core, turn, request, caller, out),
        Name::FunctionFlush | Name::ScriptFlush => flush_nothing(name, request, out)?,
        Name::FunctionList => function_list(request, out)?,
        Name::ScriptExists => {
            out.array(request.len() - 2);
            request.from(2).for_each(|_| out.integer(0));
        }
        Name::Info => info::run(core, turn, request, out),
        Name::LastSave => out.unsigned(core.stats.saved_at_s.get()),
        Name::LatencyDoctor
        | Name::LatencyGraph
        | Name::LatencyHistogram
        | Name::LatencyHistory
        | Name::LatencyLatest
        | Name::LatencyReset => {
            return latency::run(&core.stats, &core.config(), turn.now(), name, request, out);
        }
        Name::Lolwut => lolwut(core, out),
        Name::MemoryDoctor | Name::MemoryMallocStats | Name::MemoryPurge | Name::MemoryStats => {
            memory::run(core, turn, name, out);
        }
        Name::ModuleList => out.array(0),
        Name::Publish | Name::SPublish => publish(core, turn, name, request, out),
        Name::PubSubChannels
        | Name::PubSubNumPat
        | Name::PubSubNumSub
        | Name::PubSubShardChannels
        | Name::PubSubShardNumSub => return pubsub(core, name, request, out),
        Name::Role => role(out),
        Name::Save => return save(core, turn, out),
        Name::SlowLogGet | Name::SlowLogLen | Name::SlowLogReset => {
            return slowlog::run(&core.stats.slow_log, &core.config(), name, request, out);
        }
        Name::Time => time(out),
        _ => unreachable!("{} is no command of the server", name.full_name()),
    }
    Ok(())
}

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]
fn shutdown(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    request: &Request<'_>,
) -> Result<After, CommandError> {
    let (mut how, mut abort) = (Shutdown::default(), false);
    for word in request.from(1) {
        if is_word(word, "NOSAVE") && how.save != Some(true) {
            how.save = Some(false);
        } else if is_word(word, "SAVE") && how.save != Some(false) {
            how.save = Some(true);
        } else if is_word(word, "NOW") {
            how.now = true;
        } else if is_word(word, "FORCE") {
            how.force = true;
        } else if is_word(word, "ABORT") {
            abort = true;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    match (abort, how == Shutdown::default()) {
        (false, _) => {
            let saved = save::shut_down(core, turn, how.save);
            if let Err(error) = saved {
                tracing::error!("SHUTDOWN: {error}");
                if !how.force {
                    return Err(CommandError::Fixed("ERR Errors trying to SHUTDOWN. Check logs."));
                }
            }
            Ok(After::Shutdown(how))
        }
        (true, true) => Err(CommandError::Fixed("ERR No shutdown in progress.")),
        (true, false) => Err(CommandError::Syntax),
    }
}

/// SAVE: the snapshot is there when it answers.
fn save(core: &Core, turn: &mut Turn<'_, '_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    match save::save_now(core, turn) {
        Ok(_) => out.ok(),
        Err(Refusal::Busy(_)) => {
            return Err(CommandError::Fixed("ERR Background save already in progress"));
        }
        // It is in the log. Redis's text is the code alone.
        Err(Refusal::Storage(_)) => return Err(CommandError::Fixed("ERR")),
    }
    Ok(())
}

/// BGSAVE [SCHEDULE]
fn background_save(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    request: &Request<'_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    let mut args = request.args(1);
    let schedule = args.take_word("SCHEDULE");
    if args.remaining() > 0 {
        return Err(CommandError::Syntax);
    }
    let begun = if caller.in_transaction {
        // A snapshot begins between transactions.
        Err(Refusal::Busy(Cause::Rewrite))
    } else {
        save::begin(core, turn, Cause::Save)
    };
    match begun {
        Ok(()) => out.simple("Background saving started"),
        Err(Refusal::Busy(Cause::Save | Cause::Resume)) => {
            return Err(CommandError::Fixed("ERR Background save already in progress"));
        }
        Err(Refusal::Busy(Cause::Rewrite)) if schedule || caller.in_transaction => {
            core.saver.state().scheduled = Some(Cause::Save);
            out.simple("Background saving scheduled");
        }
        Err(Refusal::Busy(Cause::Rewrite)) => {
            return Err(CommandError::Fixed(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE \
                 SCHEDULE in order to schedule a BGSAVE whenever possible.",
            ));
        }
        Err(Refusal::Storage(_)) => return Err(CommandError::Fixed("ERR")),
    }
    Ok(())
}

/// BGREWRITEAOF: a snapshot takes the place of the log before it.
fn background_rewrite(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    let begun = if caller.in_transaction {
        Err(Refusal::Busy(Cause::Save))
    } else {
        save::begin(core, turn, Cause::Rewrite)
    };
    match begun {
        Ok(()) => out.simple("Background append only file rewriting started"),
        Err(Refusal::Busy(Cause::Rewrite)) => {
            return Err(CommandError::Fixed(
                "ERR Background append only file rewriting already in progress",
            ));
        }
        Err(Refusal::Busy(Cause::Save | Cause::Resume)) => {
            core.saver.state().scheduled = Some(Cause::Rewrite);
            out.simple("Background append only file rewriting scheduled");
        }
        Err(Refusal::Storage(_)) => {
            return Err(CommandError::Fixed(
                "ERR Can't execute an AOF background rewriting. Please check the server logs for \
                 more information.",
            ));
        }
    }
    Ok(())
}

/// FUNCTION LIST: there are none.
fn function_list(request: &Request<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    let mut args = request.args(2);
    let (mut code, mut library) = (false, false);
    while let Some(word) = args.next() {
        if !code && is_word(word, "WITHCODE") {
            code = true;
        } else if !library && is_word(word, "LIBRARYNAME") {
            let missing = CommandError::Fixed("ERR library name argument was not given");
            args.next().ok_or(missing)?;
            library = true;
        } else {
            return Err(CommandError::quoting("ERR Unknown argument {}", &[word]));
        }
    }
    out.array(0);
    Ok(())
}

/// FUNCTION FLUSH, SCRIPT FLUSH [ASYNC | SYNC]: there are none.
fn flush_nothing(name: Name, request: &Request<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    let is_mode = |word| is_word(word, "ASYNC") || is_word(word, "SYNC");
    if request.len() <= 3 && request.get(2).is_none_or(is_mode) {
        out.ok();
        return Ok(());
    }
    if name == Name::ScriptFlush {
        return Err(CommandError::Fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    if request.len() > 3 {
        return Err(CommandError::subcommand_syntax("FUNCTION", request.arg(1)));
    }
    Err(CommandError::Fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"))
}

fn lolwut(core: &Core, out: &mut Out<'_>) {
    let wheel = "\
           .-\"\"\"-.\n\
         .' \\ | / '.\n\
        /  --(o)--  \\\n\
     ~~~\\  .-' '-.  /~~~~~~~\n\
     ~~~~~~~~~~~~~~~~~~~~~~~~\n";
    let (_, version) = info::advertised(&core.config());
    out.verbatim(&format!("{wheel}\nRedis ver. {version}\n"));
}

/// PUBLISH, SPUBLISH. What the turn has changed before is to be in the log before anybody hears of
/// it.
fn publish(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    name: Name,
    request: &Request<'_>,
    out: &mut Out<'_>,
) {
    let (channel, data) = (request.arg(1), request.arg(2));
    let is_sharded = name == Name::SPublish;
    let is_early = turn.is_untold();
    out.count(match (is_early, is_sharded) {
        (false, false) => core.pubsub.publish(channel, data),
        (false, true) => core.pubsub.publish_to_shard(channel, data),
        (true, false) => core.pubsub.receivers(channel),
        (true, true) => core.pubsub.subscribers(Kind::Shard, channel),
    });
    if is_early {
        turn.tell(Notice::Message { channel: channel.into(), data: data.into(), is_sharded });
    }
}

fn pubsub(
    core: &Core,
    name: Name,
    request: &Request<'_>,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    let of_shards = matches!(name, Name::PubSubShardChannels | Name::PubSubShardNumSub);
    let kind = if of_shards { Kind::Shard } else { Kind::Channel };
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left are the lists of channels")]
    match name {
        Name::PubSubNumPat => out.count(core.pubsub.counts().patterns),
        Name::PubSubNumSub | Name::PubSubShardNumSub => {
            let channels = request.from(2);
            out.array(2 * channels.len());
            for channel in channels {
                out.bulk(channel);
                out.count(core.pubsub.subscribers(kind, channel));
            }
        }
        _ if request.len() > 3 => {
            return Err(CommandError::subcommand_syntax("PUBSUB", request.arg(1)));
        }
        _ => {
            let names = core.pubsub.names(kind, request.get(2));
            out.array(names.len());
            names.iter().for_each(|name| out.bulk(name));
        }
    }
    Ok(())
}

fn role(out: &mut Out<'_>) {
    out.array(3);
    out.bulk(b"master");
    out.integer(0);
    out.array(0);
}

fn time(out: &mut Out<'_>) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    out.array(2);
    out.bulk_number(since.as_secs());
    out.bulk_number(u64::from(since.subsec_micros()));
}

#[cfg(test)]
pub(super) mod tests;
