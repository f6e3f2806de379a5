//! XLEN, XRANGE, XREVRANGE, XREAD: reading without groups. As Redis 8.10.

use crate::command::args::{Request, range_end, range_start, strict_id};
use crate::command::reading::{Caller, Options, Reply};
use crate::command::remainder::write_range;
use crate::command::{KeyCommand, Out, Ran};
use crate::error::CommandError;
use crate::keyspace::{Key, Txn};
use crate::stream::{EntryId, Stream};

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
        let key = txn.read(self.key);
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

    /// Answers with the entries, from the newest on if `backwards`.
    fn answer(
        &self,
        txn: &mut Txn<'_, '_>,
        out: &mut Out<'_>,
        backwards: bool,
    ) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
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
        let range = (self.start, self.end);
        let all = write_range(stream.entries(), range, backwards, count, out);
        out.end_array(array, all);
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
        self.0.answer(txn, out, false)
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
        self.0.answer(txn, out, true)
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
        for (n, (key, wanted)) in std::iter::once(&first).chain(&others).enumerate() {
            if !reply.admits(out) {
                break;
            }
            // Redis looks every key up twice.
            txn.note_read(key);
            if let Some(stream) = txn.stream(key)? {
                let is_last = n == others.len();
                self.serve(stream, key.name, *wanted, is_last, &mut reply, out);
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
        let key = txn.read(name);
        let stream = txn.stream(&key)?;
        let wanted = match id {
            b"$" => Wanted::After(stream.map_or(EntryId::MIN, Stream::last_id)),
            b"+" => Wanted::Last,
            b">" => return Err(CommandError::Fixed(NEW_IN_XREAD)),
            text => Wanted::After(strict_id(text)?),
        };
        Ok((key, wanted))
    }

    /// Writes what there is of one stream; of the last one the end may be left for later.
    fn serve(
        &self,
        stream: &Stream,
        name: &[u8],
        wanted: Wanted,
        is_last: bool,
        reply: &mut Reply,
        out: &mut Out<'_>,
    ) {
        let entries = stream.entries();
        let (start, end, count) = match wanted {
            Wanted::Last => match entries.last_id() {
                Some(last) => (last, last, 1),
                None => return,
            },
            Wanted::After(id) => match id.next() {
                Some(start) if stream.has_entry_after(id) => {
                    (start, EntryId::MAX, self.options.count)
                }
                _ => return,
            },
        };
        let open = reply.open(out, name, at_most(count, stream));
        let written = if is_last && !reply.is_limited() {
            write_range(entries, (start, end), false, count, out)
        } else {
            let range = entries.range(start, end).take(count);
            reply.write(out, range, |out, entry| out.entry(entry))
        };
        match written {
            0 => reply.cancel(out, open),
            written => reply.close(out, open, written),
        }
    }
}

const NEW_IN_XREAD: &str = "ERR The > ID can be specified only when calling XREADGROUP using the \
                            GROUP <group> <consumer> option.";

#[cfg(test)]
mod tests {
    use crate::command::reply::Protocol;
    use crate::command::testing::{BLOCKS, World, world};

    fn five() -> World {
        let mut world = world();
        for id in 1..=5 {
            world.show(&format!("XADD s {id}-0 f v{id}"));
        }
        world
    }

    #[test]
    fn ranges_run_both_ways_within_their_bounds() {
        let mut world = five();
        for (request, reply) in [
            ("XLEN s", "5"),
            ("XLEN none", "0"),
            ("XRANGE s - + COUNT 2", "[[1-0, [f, v1]], [2-0, [f, v2]]]"),
            ("XRANGE s - + COUNT 9 COUNT 1", "[[1-0, [f, v1]]]"),
            ("XRANGE s (4 +", "[[5-0, [f, v5]]]"),
            ("XRANGE s 2 2", "[[2-0, [f, v2]]]"),
            ("XRANGE s 3 2", "[]"),
            ("XRANGE s - + COUNT 0", "nil"),
            ("XRANGE s - + COUNT -7", "nil"),
            ("XRANGE none - + COUNT 0", "[]"),
            ("XREVRANGE s + - COUNT 2", "[[5-0, [f, v5]], [4-0, [f, v4]]]"),
            ("XREVRANGE s (2-0 -", "[[1-0, [f, v1]]]"),
            ("XREVRANGE s - +", "[]"),
            ("XRANGE s x y LIMIT", "-ERR Invalid stream ID specified as stream command argument"),
            ("XRANGE s - + LIMIT 1", "-ERR syntax error"),
            ("XRANGE s - + COUNT", "-ERR syntax error"),
            (
                "XRANGE s (18446744073709551615-18446744073709551615 +",
                "-ERR invalid start ID for the interval",
            ),
            ("XREVRANGE s (0-0 x", "-ERR Invalid stream ID specified as stream command argument"),
        ] {
            assert_eq!(world.show(request), reply, "{request}");
        }
    }

    #[test]
    fn xread_finds_newer_entries_and_the_last_one() {
        let mut world = five();
        world.show("XADD t 7-0 a b");
        for (request, reply) in [
            ("XREAD STREAMS s 3", "[[s, [[4-0, [f, v4]], [5-0, [f, v5]]]]]"),
            ("XREAD COUNT 1 STREAMS s t 0 0", "[[s, [[1-0, [f, v1]]]], [t, [[7-0, [a, b]]]]]"),
            ("XREAD STREAMS s t 5 6", "[[t, [[7-0, [a, b]]]]]"),
            ("XREAD STREAMS s s + 4", "[[s, [[5-0, [f, v5]]]], [s, [[5-0, [f, v5]]]]]"),
            ("XREAD STREAMS s none $ $", "nil"),
            ("XREAD STREAMS none +", "nil"),
            ("XREAD MAXCOUNT 3 COUNT 2 STREAMS s t 0 0", {
                "[[s, [[1-0, [f, v1]], [2-0, [f, v2]]]], [t, [[7-0, [a, b]]]]]"
            }),
            ("XREAD MAXCOUNT 2 STREAMS s t 0 0", "[[s, [[1-0, [f, v1]], [2-0, [f, v2]]]]]"),
            ("XREAD MAXSIZE 1 STREAMS s t 0 0", "[[s, [[1-0, [f, v1]]]]]"),
            ("XREAD MAXCOUNT 0 STREAMS s 0", "-ERR MAXCOUNT must be a positive integer"),
            ("XREAD MAXSIZE x STREAMS s 0", "-ERR MAXSIZE must be a positive integer"),
            (
                "XREAD MAXCOUNT 2 COUNT 3 STREAMS s 0",
                "-ERR MAXCOUNT must be greater than or equal to COUNT",
            ),
            ("XREAD BLOCK -1 STREAMS s 0", "-ERR timeout is negative"),
            ("XREAD BLOCK x STREAMS s 0", "-ERR timeout is not an integer or out of range"),
            ("XREAD BLOCK 9223372036854775807 STREAMS s 0", "-ERR timeout is out of range"),
            ("XREAD COUNT 1 s 0", "-ERR syntax error"),
            ("XREAD NOACK STREAMS s 0", {
                "-ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."
            }),
            ("XREAD STREAMS s >", {
                "-ERR The > ID can be specified only when calling XREADGROUP using the GROUP \
                 <group> <consumer> option."
            }),
            ("XREAD STREAMS s t 0", {
                "-ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' \
                 must be specified."
            }),
        ] {
            assert_eq!(world.show(request), reply, "{request}");
        }
        world.show("XDEL s 5-0");
        assert_eq!(world.show("XREAD STREAMS s +"), "[[s, [[4-0, [f, v4]]]]]");
        world.with_txn(|txn| {
            let mut key = txn.key(b"text");
            txn.set_string(&mut key, b"x", None);
        });
        assert!(world.show("XREAD STREAMS s text 0 0").starts_with("-WRONGTYPE"));
        world.protocol = Protocol::Resp3;
        assert_eq!(world.run("XREAD STREAMS none 0"), "_\r\n");
        assert_eq!(
            world.run("XREAD COUNT 1 STREAMS s 0"),
            "%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nf\r\n$2\r\nv1\r\n"
        );
    }

    #[test]
    fn a_wait_asks_for_what_is_newer_than_now() {
        let mut world = five();
        assert_eq!(world.show("XREAD COUNT 1 BLOCK 70 STREAMS s none s $ $ +"), {
            "[[s, [[5-0, [f, v5]]]]]"
        });
        assert_eq!(world.show("XREAD COUNT 1 BLOCK 70 STREAMS s none none $ $ +"), BLOCKS);
        let wait = world.wait.take().unwrap();
        assert_eq!((wait.timeout_ms, wait.retry_at, wait.keys.len()), (70, None, 3));
        let words: Vec<_> =
            wait.request.request().from(0).map(|word| str::from_utf8(word).unwrap()).collect();
        assert_eq!(words.join(" "), "XREAD COUNT 1 BLOCK 70 STREAMS s none none 5-0 0-0 +");
        world.show("XADD none 9-9 f v");
        assert_eq!(
            world.show(&words.join(" ")),
            "[[none, [[9-9, [f, v]]]], [none, [[9-9, [f, v]]]]]"
        );
    }
}
