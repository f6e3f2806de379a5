//! The slow log: the latest commands that took long, and SLOWLOG.

use super::stats::lock;
use crate::command::table::Name;
use crate::command::{Out, Request};
use crate::config::{CompatProfile, Config};
use crate::error::CommandError;
use crate::stream::UnixMs;
use std::collections::VecDeque;
use std::sync::Mutex;

/// How many entries SLOWLOG GET answers that is told nothing.
const GET_DEFAULT: usize = 10;

/// A command that took long.
#[derive(Debug)]
struct SlowCommand {
    id: u64,
    at_s: u64,
    micros: u64,
    /// The arguments, as many and as much of them as is kept.
    args: Vec<Box<[u8]>>,
    /// How many there were.
    arguments: usize,
    peer: Box<str>,
    client_name: Box<[u8]>,
}

/// The latest slow commands.
#[derive(Debug, Default)]
pub struct SlowLog(Mutex<Slow>);

#[derive(Debug, Default)]
struct Slow {
    next_id: u64,
    /// Newest first.
    commands: VecDeque<SlowCommand>,
}

impl SlowLog {
    /// Whether a command that took so long belongs here.
    pub fn wants(config: &Config, nanoseconds: u64) -> bool {
        u64::try_from(config.slowlog_log_slower_than).is_ok_and(|us| nanoseconds / 1000 >= us)
    }

    /// Keeps a command. What may not be shown (passwords) is replaced in `request` already.
    pub fn record(
        &self,
        config: &Config,
        now: UnixMs,
        nanoseconds: u64,
        request: &Request<'_>,
        peer: &str,
        client_name: &[u8],
    ) {
        let args = kept_args(config, request);
        let kept = usize::try_from(config.slowlog_max_len).unwrap_or(usize::MAX);
        let mut slow = lock(&self.0);
        let id = slow.next_id;
        slow.next_id += 1;
        slow.commands.push_front(SlowCommand {
            id,
            at_s: now.0 / 1000,
            micros: nanoseconds / 1000,
            args,
            arguments: request.len(),
            peer: peer.into(),
            client_name: client_name.into(),
        });
        slow.commands.truncate(kept);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.0).commands.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets them.
    pub fn clear(&self) {
        lock(&self.0).commands.clear();
    }

    fn write(&self, count: usize, total: bool, out: &mut Out<'_>) {
        let slow = lock(&self.0);
        out.array(slow.commands.len().min(count));
        for command in slow.commands.iter().take(count) {
            out.array(if total { 7 } else { 6 });
            out.unsigned(command.id);
            out.unsigned(command.at_s);
            out.unsigned(command.micros);
            out.array(command.args.len());
            command.args.iter().for_each(|arg| out.bulk(arg));
            out.bulk(command.peer.as_bytes());
            out.bulk(&command.client_name);
            if total {
                out.count(command.arguments);
            }
        }
    }
}

/// The arguments that are kept, long ones and long lists cut.
fn kept_args(config: &Config, request: &Request<'_>) -> Vec<Box<[u8]>> {
    let args_max = usize::try_from(config.slowlog_entry_max_argc).unwrap_or(usize::MAX);
    let bytes_max = usize::try_from(config.slowlog_entry_max_string_len).unwrap_or(usize::MAX);
    let whole = if request.len() > args_max { args_max - 1 } else { request.len() };
    let cut = |arg: &[u8]| -> Box<[u8]> {
        if arg.len() <= bytes_max {
            return arg.into();
        }
        let mut text = arg[..bytes_max].to_vec();
        text.extend(format!("... ({} more bytes)", arg.len() - bytes_max).into_bytes());
        text.into()
    };
    let mut args: Vec<Box<[u8]>> = request.from(0).take(whole).map(cut).collect();
    if whole < request.len() {
        let more = format!("... ({} more arguments)", request.len() - whole);
        args.push(more.into_bytes().into());
    }
    args
}

/// SLOWLOG GET, LEN, RESET.
pub(super) fn run(
    log: &SlowLog,
    config: &Config,
    name: Name,
    request: &Request<'_>,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    if name == Name::SlowLogLen {
        out.count(log.len());
        return Ok(());
    }
    if name == Name::SlowLogReset {
        log.clear();
        out.ok();
        return Ok(());
    }
    let count = match request.len() {
        2 => GET_DEFAULT,
        3 => match request.args(2).integer() {
            Ok(-1) => usize::MAX,
            count => count
                .ok()
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(CommandError::Fixed("ERR count should be greater than or equal to -1"))?,
        },
        _ => return Err(CommandError::subcommand_syntax("SLOWLOG", request.arg(1))),
    };
    log.write(count, config.compat_profile != CompatProfile::Valkey, out);
    Ok(())
}
