//! From the bytes that a connection has read to the requests that it runs.

use super::super::client::Queued;
use super::super::resp::{ReadLimits, RequestReader};
use super::super::waiting::Job;
use super::{Connection, Step, UNSENT_MAX};
use crate::command::Request;
use crate::command::table::{self, Flags, Row, Scope};
use crate::db::home::ShardSet;
use crate::persist::Position;
use crate::stream::fields::Span;
use bytes::Bytes;
use std::cell::Cell;
use std::sync::atomic::Ordering;

/// A request of so many bytes is kept where it was read: what it brings is not copied.
const WHOLE_BYTES_MIN: usize = 1 << 20;
/// Commands that one visit to other shards runs, at most.
const RUN_MAX: usize = 256;

thread_local! {
    /// The reader of the connection that has bytes: the others need none between requests.
    static READER: Cell<RequestReader> = Cell::default();
}

impl Connection {
    /// Puts bytes behind those that were not used yet.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let expected_len = self.requests.as_ref().map_or(0, |requests| requests.expected_len());
        self.pending.push(bytes, expected_len);
    }

    /// Runs what was read before.
    pub(super) fn process_pending(&mut self) -> Step {
        while self.pending.len() >= WHOLE_BYTES_MIN
            && let Some((whole, spans)) = self.take_whole()
        {
            let request = Request { buffer: &whole, spans: &spans, whole: Some(&whole) };
            let step = self.dispatch(&request);
            self.settle(self.pending.len(), step.as_ref());
            if let Some(step) = step {
                return step;
            }
        }
        if self.pending.is_empty() {
            return Step::Read;
        }
        let pending = std::mem::take(&mut self.pending);
        let (used, step) = self.process(pending.unused());
        self.pending = pending;
        self.pending.take(used);
        step
    }

    /// The next request with the buffer that it was read into, and the places of its arguments, if
    /// it has arrived and is that long.
    fn take_whole(&mut self) -> Option<(Bytes, Vec<Span>)> {
        let mut requests = self.take_reader();
        let read = requests.next(self.pending.unused(), &self.limits());
        let len = read.map(|read| read.map(|(_, len)| len));
        let whole = match len {
            Ok(Some(len)) if len >= WHOLE_BYTES_MIN => {
                Some((self.pending.split(len), requests.take_spans()))
            }
            Ok(_) => None,
            Err(_) => return None,
        };
        self.keep_reader(requests);
        whole
    }

    /// The reader of the request that has begun, or of the next.
    fn take_reader(&mut self) -> RequestReader {
        self.requests.take().map_or_else(|| READER.take(), |reader| *reader)
    }

    /// What the client may send now.
    fn limits(&self) -> ReadLimits {
        ReadLimits {
            bulk_bytes: usize::try_from(self.config.proto_max_bulk_len).unwrap_or(usize::MAX),
            authenticated: self.client.is_authenticated(&self.config),
        }
    }

    /// Runs requests until something must be awaited. Returns how many bytes were used.
    pub(super) fn process(&mut self, input: &[u8]) -> (usize, Step) {
        let mut limits = self.limits();
        let mut requests = self.take_reader();
        let mut used = 0;
        // Commands for other shards, and those behind them: one visit to all of these shards.
        let mut run: Option<(ShardSet, Vec<Queued>)> = None;
        let step = loop {
            match requests.next(&input[used..], &limits) {
                Ok(Some((request, n))) => {
                    if run.as_ref().is_some_and(|(_, run)| !self.continues(run, &request)) {
                        break Step::Read;
                    }
                    used += n;
                    self.gathers = run.is_some();
                    match (self.dispatch(&request), &mut run) {
                        (Some(Step::Await(Job::Run(more, mut one))), Some((set, run))) => {
                            more.shards().iter().for_each(|shard| set.add(*shard));
                            run.append(&mut one);
                        }
                        (Some(Step::Await(Job::Run(set, one))), None) => run = Some((set, one)),
                        (Some(Step::Await(_)), Some(_)) => {
                            // Another thread has paused the server, or filled the log, since the
                            // request was looked at: it is read again after those before it.
                            used -= n;
                            break Step::Read;
                        }
                        (Some(step), _) => break step,
                        (None, _) => {}
                    }
                    if !self.output.has_less_than(UNSENT_MAX) {
                        break Step::Await(Job::Drain);
                    }
                    if limits.authenticated != self.client.is_authenticated(&self.config) {
                        limits = self.limits();
                    }
                }
                Ok(None) => {
                    used += requests.take_skipped();
                    break Step::Read;
                }
                Err(_) if run.is_some() => {
                    // First the replies to what came before; the bytes are looked at again.
                    requests = RequestReader::new();
                    break Step::Read;
                }
                Err(error) => {
                    let mut bytes = self.output.bytes();
                    bytes.push(b'-');
                    bytes.extend_from_slice(&error.wire());
                    bytes.extend_from_slice(b"\r\n");
                    used = input.len();
                    break Step::Close;
                }
            }
        };
        self.gathers = false;
        let step = run.map_or(step, |(set, run)| Step::Await(Job::Run(set, run)));
        self.keep_reader(requests);
        self.settle(input.len() - used, Some(&step));
        (used, step)
    }

    /// Accounts for requests that were run, and lets their replies go.
    fn settle(&mut self, unread: usize, step: Option<&Step>) {
        self.note_measured();
        self.show_activity();
        self.client.shared.seen.unread_bytes.store(unread as u64, Ordering::Relaxed);
        // A visit is short: what tells of nothing waits for its replies, and all leave at once.
        if self.has_looked || !matches!(step, Some(Step::Await(Job::Exec(_) | Job::Run(..)))) {
            self.announce_replies();
        }
        self.check_output();
    }

    /// Keeps what has begun to read a request; between requests it is for all connections.
    fn keep_reader(&mut self, mut requests: RequestReader) {
        if requests.is_between() {
            requests.shrink();
            READER.set(requests);
        } else {
            self.requests = Some(Box::new(requests));
        }
    }

    pub(super) fn announce_replies(&mut self) {
        if std::mem::take(&mut self.has_looked) {
            self.output.announce(Position::default());
        } else {
            self.output.announce_idle();
        }
    }

    /// Whether a request may be part of the visit that those before it make to other shards, and
    /// nothing stands in its way.
    fn continues(&self, run: &[Queued], request: &Request<'_>) -> bool {
        let may_wait = |row: &Row| row.flags.has(Flags::BLOCKING);
        let Ok(row) = table::lookup(request) else { return false };
        run.len() < RUN_MAX
            && run.last().is_some_and(|last| last.row.scope == Scope::Key && !may_wait(last.row))
            && row.scope == Scope::Key
            && !may_wait(row)
            && !self.home.core().pause.is_active()
            && !self.home.core().is_log_behind()
            && self.refusal(row).is_none()
    }
}
