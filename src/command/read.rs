//! XLEN, XRANGE, XREVRANGE, XREAD: reading without groups. As Redis 8.10.

use crate::command::args::{Request, range_end, range_start, strict_id};
use crate::command::reading::{Caller, Options, Reply};
use crate::command::{KeyCommand, Out, Ran};
use crate::error::CommandError;
use crate::keyspace::{Key, Txn};
use crate::stream::{EntryId, EntryRef, Stream};

/// `XLEN key`
///
/// Replies with the number of entries, 0 for a missing key. O(1).
#[derive(Debug, Clone)]
pub struct XLen<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for XLen<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XLen { key: request.arg(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.key(self.key);
        out.unsigned(txn.stream(&key)?.map_or(0, Stream::len));
        Ok(Ran::Replied)
    }
}

/// A range of IDs, both bounds included, and how many entries of it are wanted.
#[derive(Debug, Clone)]
struct Interval<'a> {
    key: &'a [u8],
    start: EntryId,
    end: EntryId,
    /// `None`: all; 0 also for a negative COUNT.
    count: Option<usize>,
}

impl<'a> Interval<'a> {
    /// Reads a request whose bounds are the arguments `start` and `end`.
    fn parse(request: &Request<'a>, start: usize, end: usize) -> Result<Self, CommandError> {
        let start = range_start(request.arg(start))?;
        let end = range_end(request.arg(end))?;
        let mut args = request.args(4);
        let mut count = None;
        while args.remaining() > 0 {
            if !args.take_word("COUNT") {
                return Err(CommandError::Syntax);
            }
            count = Some(usize::try_from(args.integer()?).unwrap_or_default());
        }
        Ok(Interval { key: request.arg(1), start, end, count })
    }

    /// Answers with what `entries` yields of the stream.
    fn answer<'s, Entries: Iterator<Item = EntryRef<'s>>>(
        &self,
        txn: &'s mut Txn<'_, '_>,
        out: &mut Out<'_>,
        entries: impl FnOnce(&'s Stream) -> Entries,
    ) -> Result<Ran, CommandError> {
        let key = txn.key(self.key);
        let Some(stream) = txn.stream(&key)? else {
            out.array(0);
            return Ok(Ran::Replied);
        };
        let count = self.count.unwrap_or(usize::MAX);
        if count == 0 {
            out.null_array();
            return Ok(Ran::Replied);
        }
        if self.start > self.end {
            out.array(0);
            return Ok(Ran::Replied);
        }
        let array = out.begin_array(at_most(count, stream));
        let mut written = 0;
        for entry in entries(stream).take(count) {
            out.entry(&entry);
            written += 1;
        }
        out.end_array(array, written);
        Ok(Ran::Replied)
    }
}

/// As many as are wanted or there are.
pub(super) fn at_most(count: usize, stream: &Stream) -> usize {
    usize::try_from(stream.len()).map_or(count, |len| len.min(count))
}

/// `XRANGE key start end [COUNT count]`
///
/// Replies with an array of entries, oldest first; null for COUNT 0.
#[derive(Debug, Clone)]
pub struct XRange<'a>(Interval<'a>);

impl<'a> KeyCommand<'a> for XRange<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Interval::parse(request, 2, 3).map(XRange)
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let XRange(wanted) = self;
        wanted.answer(txn, out, |stream| stream.entries().range(wanted.start, wanted.end))
    }
}

/// `XREVRANGE key end start [COUNT count]`
///
/// Replies with an array of entries, newest first; null for COUNT 0.
#[derive(Debug, Clone)]
pub struct XRevRange<'a>(Interval<'a>);

impl<'a> KeyCommand<'a> for XRevRange<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Interval::parse(request, 3, 2).map(XRevRange)
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let XRevRange(wanted) = self;
        wanted.answer(txn, out, |stream| stream.entries().range_back(wanted.end, wanted.start))
    }
}

/// `XREAD [COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK milliseconds] STREAMS key
/// [key ...] id [id ...]`
///
/// Replies with the streams that have newer entries, each with those entries: an array of pairs,
/// in RESP3 a map; with null if there are none. `$` is the last ID, `+` the last entry itself.
#[derive(Debug, Clone)]
pub struct XRead<'a> {
    options: Options<'a>,
}

/// Which entries of a stream are wanted.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// Those with a greater ID.
    After(EntryId),
    /// The last one.
    Last,
}

impl<'a> KeyCommand<'a> for XRead<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XRead { options: Options::parse(request, Caller::Read)? })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let options = &self.options;
        options.check(txn.rules.valkey, txn.now)?;
        let first = self.resolve(txn, 0)?;
        let others = (1..options.streams()).map(|n| self.resolve(txn, n));
        let others = others.collect::<Result<Vec<_>, _>>()?;

        let mut reply = Reply::begin(out, options);
        for (key, wanted) in std::iter::once(&first).chain(&others) {
            if !reply.admits(out) {
                break;
            }
            if let Some(stream) = txn.stream(key)? {
                self.serve(stream, key.name, *wanted, &mut reply, out);
            }
        }
        if reply.end(out) {
            return Ok(Ran::Replied);
        }
        let Some(timeout_ms) = options.block_ms else {
            out.null_array();
            return Ok(Ran::Replied);
        };
        Ok(Ran::WouldBlock(options.wait(timeout_ms, None, |n| {
            let (_, wanted) = if n == 0 { &first } else { &others[n - 1] };
            match (options.stream(n).1, wanted) {
                (b"$", Wanted::After(id)) => id.to_string().into_bytes().into(),
                (text, _) => text.into(),
            }
        })))
    }
}

impl<'a> XRead<'a> {
    /// Looks up the `n`-th stream and finds what its ID means. A key whose keyspace is not in
    /// hand counts as missing: a blocked call runs again with the keyspace that has news.
    fn resolve(&self, txn: &mut Txn<'_, '_>, n: usize) -> Result<(Key<'a>, Wanted), CommandError> {
        let (name, id) = self.options.stream(n);
        let key = txn.key(name);
        let stream = txn.stream(&key)?;
        let wanted = match id {
            b"$" => Wanted::After(stream.map_or(EntryId::MIN, Stream::last_id)),
            b"+" => Wanted::Last,
            b">" => return Err(CommandError::Fixed(NEW_IN_XREAD)),
            text => Wanted::After(strict_id(text)?),
        };
        Ok((key, wanted))
    }

    /// Writes what there is of one stream.
    fn serve(
        &self,
        stream: &Stream,
        name: &[u8],
        wanted: Wanted,
        reply: &mut Reply,
        out: &mut Out<'_>,
    ) {
        let entries = stream.entries();
        let (range, count) = match wanted {
            Wanted::Last => match entries.last_id() {
                Some(last) => (entries.range(last, last), 1),
                None => return,
            },
            Wanted::After(id) => match id.next() {
                Some(start) if stream.has_entry_after(id) => {
                    (entries.range(start, EntryId::MAX), self.options.count)
                }
                _ => return,
            },
        };
        let open = reply.open(out, name, at_most(count, stream));
        match reply.write(out, range.take(count), |out, entry| out.entry(entry)) {
            0 => reply.cancel(out, open),
            written => reply.close(out, open, written),
        }
    }
}

const NEW_IN_XREAD: &str = "ERR The > ID can be specified only when calling XREADGROUP using the \
                            GROUP <group> <consumer> option.";
