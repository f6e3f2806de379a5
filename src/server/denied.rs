//! The passwords that were refused, for ACL LOG: nothing else is ever denied to the one user.

use super::client::{Around, Client};
use super::listing::line;
use crate::command::args::{integer, is_word, lossy};
use crate::command::{Out, Request};
use crate::error::CommandError;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How many entries ACL LOG answers that is told nothing.
const LOG_DEFAULT: usize = 10;
/// For how long refusals of one user count as one entry, in milliseconds. Redis's.
const TOGETHER_MS: u64 = 60_000;

/// A refusal, and those like it that followed.
#[derive(Debug)]
struct Refusal {
    id: u64,
    count: u64,
    /// Where: alone, or by EXEC.
    context: &'static str,
    /// The command: AUTH or HELLO.
    command: &'static str,
    user: String,
    /// The client that was refused last.
    client: String,
    first_ms: u64,
    last_ms: u64,
}

/// The latest refusals.
#[derive(Debug, Default)]
pub(super) struct Denied(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    next_id: u64,
    /// Newest first.
    refusals: VecDeque<Refusal>,
}

impl Denied {
    /// Keeps a refusal: `command` did not accept the password of `user`.
    pub(super) fn record(
        &self,
        client: &Client,
        command: &'static str,
        user: &[u8],
        around: Around<'_>,
    ) {
        let now_ms = around.server.core.now().0;
        let context = if around.in_exec { "multi" } else { "toplevel" };
        let user = lossy(user).into_owned();
        let description = line(&client.shared, around).trim_end().to_owned();
        let kept = usize::try_from(around.config.acllog_max_len).unwrap_or(usize::MAX);
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let like = log.refusals.iter().position(|other| {
            (other.context, other.command, &other.user) == (context, command, &user)
                && now_ms.saturating_sub(other.last_ms) <= TOGETHER_MS
        });
        let before = like.and_then(|at| log.refusals.remove(at));
        let mut refusal = before.unwrap_or_else(|| {
            log.next_id += 1;
            Refusal {
                id: log.next_id - 1,
                count: 0,
                context,
                command,
                user,
                client: String::new(),
                first_ms: now_ms,
                last_ms: now_ms,
            }
        });
        refusal.count += 1;
        refusal.client = description;
        refusal.last_ms = now_ms;
        log.refusals.push_front(refusal);
        log.refusals.truncate(kept);
    }

    /// ACL LOG.
    ///
    /// # Errors
    /// Too many arguments, or a count that is no number.
    pub(super) fn run(
        &self,
        request: &Request<'_>,
        around: Around<'_>,
        out: &mut Out<'_>,
    ) -> Result<(), CommandError> {
        if request.len() > 3 {
            return Err(CommandError::subcommand_syntax("ACL", request.arg(1)));
        }
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match request.get(2) {
            None => LOG_DEFAULT,
            Some(word) if is_word(word, "RESET") => {
                log.refusals.clear();
                out.ok();
                return Ok(());
            }
            Some(count) => usize::try_from(integer(count)?).unwrap_or(0),
        };
        let now_ms = around.server.core.now().0;
        out.array(log.refusals.len().min(count));
        log.refusals.iter().take(count).for_each(|refusal| refusal.write(now_ms, out));
        Ok(())
    }
}

impl Refusal {
    fn write(&self, now_ms: u64, out: &mut Out<'_>) {
        out.map(10);
        out.bulk(b"count");
        out.unsigned(self.count);
        for (name, text) in [
            ("reason", "auth"),
            ("context", self.context),
            ("object", self.command),
            ("username", &self.user),
        ] {
            out.bulk(name.as_bytes());
            out.bulk(text.as_bytes());
        }
        out.bulk(b"age-seconds");
        let age_ms = now_ms.saturating_sub(self.last_ms);
        let age = format!("{}.{:03}", age_ms / 1000, age_ms % 1000);
        out.double(age.trim_end_matches('0').trim_end_matches('.'));
        out.bulk(b"client-info");
        out.bulk(self.client.as_bytes());
        for (name, value) in [
            ("entry-id", self.id),
            ("timestamp-created", self.first_ms),
            ("timestamp-last-updated", self.last_ms),
        ] {
            out.bulk(name.as_bytes());
            out.unsigned(value);
        }
    }
}
