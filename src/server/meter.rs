//! How long commands take: for INFO commandstats and latencystats, SLOWLOG, and LATENCY.
//!
//! Of commands that are flagged fast, equal ones in a row share one measurement, for reading the
//! clock costs a good part of what they do. Any other command is measured alone, and so are all
//! if the slow log is to keep what fast commands may reach.

use super::connection::Connection;
use crate::command::args::is_word;
use crate::command::table::{Flags, Name, Row};
use crate::command::{OwnedRequest, Request};
use crate::db::slowlog::SlowLog;
use std::time::{Duration, Instant};

/// A slow log for times below this measures every command alone, in microseconds.
const SHARED_BELOW_US: i64 = 1000;
/// Settings whose values nobody is to see.
const SECRET_SETTINGS: &[&str] =
    &["requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass"];

/// What is measured of a connection's commands at present.
#[derive(Default)]
pub(super) struct Meter(Option<Run>);

/// Equal commands in a row.
struct Run {
    row: &'static Row,
    calls: u64,
    began: Instant,
    alone: bool,
}

impl Connection {
    /// A command begins.
    #[inline]
    pub(super) fn begin_measuring(&mut self, row: &'static Row) {
        if let Some(run) = &mut self.meter.0
            && run.row.name == row.name
            && !run.alone
        {
            run.calls += 1;
            return;
        }
        self.begin_run(row);
    }

    /// A command begins that is measured by itself, or before others.
    fn begin_run(&mut self, row: &'static Row) {
        self.note_measured();
        let fine = (0..SHARED_BELOW_US).contains(&self.config.slowlog_log_slower_than);
        let alone = fine || !row.flags.has(Flags::FAST);
        self.meter.0 = Some(Run { row, calls: 1, began: Instant::now(), alone });
    }

    /// The command that began last has ended here.
    pub(super) fn end_measuring(&mut self, request: &Request<'_>) {
        if let Some(run) = self.meter.0.take_if(|run| run.alone) {
            self.note(run.row, run.calls, run.began.elapsed(), Some(request));
        }
    }

    /// The command that began last is run and measured elsewhere.
    pub(super) fn leave_measuring(&mut self) {
        if let Some(run) = &mut self.meter.0 {
            run.calls -= 1;
        }
        self.note_measured();
    }

    /// Notes what was measured so far.
    pub(super) fn note_measured(&mut self) {
        if let Some(run) = self.meter.0.take()
            && run.calls > 0
        {
            self.note(run.row, run.calls, run.began.elapsed(), None);
        }
    }

    /// Notes calls of a command that took so long together; `request` if it was one.
    pub(super) fn note(
        &self,
        row: &Row,
        calls: u64,
        took: Duration,
        request: Option<&Request<'_>>,
    ) {
        let (core, config, now) = (self.home.core(), &*self.config, self.home.now());
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let counters = core.stats.thread(self.home.index()).command(row.name);
        counters.ran(calls, nanoseconds, config.latency_tracking);
        let Some(request) = request else { return };
        let event = if row.flags.has(Flags::FAST) { "fast-command" } else { "command" };
        core.stats.latency.record(config, event, now, nanoseconds);
        if SlowLog::wants(config, nanoseconds) && !row.flags.has(Flags::SKIP_SLOWLOG) {
            let names = self.client.shared.names();
            let (peer, name) = (self.client.shared.origin.address(), names.name.as_bytes());
            let log = &core.stats.slow_log;
            let record = |shown: &Request<'_>| {
                log.record(config, now, nanoseconds, shown, peer, name);
            };
            show_without_secrets(row, request, record);
        }
    }
}

/// Shows the request with `(redacted)` in the place of passwords. One that can have none is not
/// copied: it may be large.
#[cold]
pub(super) fn show_without_secrets<R>(
    row: &Row,
    request: &Request<'_>,
    show: impl FnOnce(&Request<'_>) -> R,
) -> R {
    let may_have = matches!(row.name, Name::Auth | Name::Hello | Name::ConfigSet)
        || row.full_name().starts_with("acl|");
    if may_have { show(&without_secrets(row, request).request()) } else { show(request) }
}

fn without_secrets(row: &Row, request: &Request<'_>) -> OwnedRequest {
    let after_auth = |at: usize| (1..=2).any(|n| at > n && is_word(request.arg(at - n), "AUTH"));
    let is_secret_setting = |arg: &[u8]| SECRET_SETTINGS.iter().any(|name| is_word(arg, name));
    let of_users = row.full_name().starts_with("acl|") && request.len() > 2;
    let is_secret = |at: usize| {
        (row.name == Name::Auth && at > 0)
            || (row.name == Name::Hello && after_auth(at))
            || (row.name == Name::ConfigSet
                && at > 2
                && !at.is_multiple_of(2)
                && is_secret_setting(request.arg(at - 1)))
            || (of_users && at > 1)
    };
    OwnedRequest::new(
        request.from(0).enumerate().map(
            |(at, arg)| {
                if is_secret(at) { b"(redacted)" } else { arg }
            },
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[test]
    fn passwords_are_not_shown() {
        for (given, shown) in [
            ("auth u p", "auth (redacted) (redacted)"),
            ("hello 3 auth u p setname n", "hello 3 auth (redacted) (redacted) setname n"),
            ("config set hz 1 requirepass x", "config set hz 1 requirepass (redacted)"),
            ("acl getuser u", "acl getuser (redacted)"),
            ("xadd auth * f v", "xadd auth * f v"),
        ] {
            let request = OwnedRequest::new(given.split(' ').map(str::as_bytes));
            let row = table::named(&request.request()).unwrap();
            show_without_secrets(row, &request.request(), |kept| {
                let words: Vec<_> =
                    kept.from(0).map(|word| String::from_utf8_lossy(word)).collect();
                assert_eq!(words.join(" "), shown);
            });
        }
    }
}
