//! XREADGROUP: handing entries out to the consumers of a group. As Redis 8.10.

use crate::command::args::{Request, strict_id};
use crate::command::claim::{count_after, ensure_consumer, idle_first, is_idle, see};
use crate::command::read::at_most;
use crate::command::reading::{Caller, Options, Reply};
use crate::command::{KeyCommand, Out, Ran};
use crate::error::CommandError;
use crate::keyspace::{Key, Txn};
use crate::stream::pel::PelTail;
use crate::stream::{Effect, EntryId, Group, Stream, UnixMs};
use std::collections::HashSet;

/// `XREADGROUP GROUP group consumer [COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize]
/// [BLOCK milliseconds] [CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id ...]`
///
/// Replies as XREAD. `>` asks for entries that the group has not handed out, and with CLAIM for
/// idle pending ones before them; any other ID for the consumer's own pending entries after it.
/// Commits one `Deliver` for each stream with new entries, a `Claim` for each claimed entry.
#[derive(Debug, Clone)]
pub struct XReadGroup<'a> {
    options: Options<'a>,
    group: &'a [u8],
    consumer: &'a [u8],
}

/// Which entries of a stream are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// What the group has not handed out.
    New,
    /// The consumer's pending entries with a greater ID.
    History(EntryId),
}

/// A stream to serve.
#[derive(Debug)]
struct Place<'a> {
    key: Key<'a>,
    wanted: Wanted,
    /// Whether the consumer was missing when the stream was looked up.
    fresh: bool,
}

/// What one call keeps in mind from stream to stream.
#[derive(Debug)]
struct Served {
    reply: Reply,
    /// The idle time of CLAIM; nothing once a stream was asked for history.
    claim_idle_ms: Option<u64>,
    /// What was claimed, if a key may be listed twice: it is not claimed again.
    claimed: HashSet<(Box<[u8]>, EntryId)>,
}

impl<'a> KeyCommand<'a> for XReadGroup<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let options = Options::parse(request, Caller::ReadGroup)?;
        let missing = CommandError::Fixed("ERR Missing GROUP option for XREADGROUP");
        let (group, consumer) = options.group.ok_or(missing)?;
        Ok(XReadGroup { options, group, consumer })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let options = &self.options;
        options.check(txn.rules.valkey, txn.now)?;
        let mut first = self.resolve(txn, 0)?;
        let others = (1..options.streams()).map(|n| self.resolve(txn, n));
        let mut others = others.collect::<Result<Vec<_>, _>>()?;

        let mut served = Served {
            reply: Reply::begin(out, options),
            claim_idle_ms: options.claim_idle_ms,
            claimed: HashSet::new(),
        };
        for place in first.iter_mut().chain(others.iter_mut().flatten()) {
            self.serve(txn, place, &mut served, out);
        }
        if served.reply.end(out) {
            return Ok(Ran::Replied);
        }
        let Some(timeout_ms) = options.block_ms else {
            out.null_array();
            return Ok(Ran::Replied);
        };
        let places = first.iter().chain(others.iter().flatten());
        let retry_at = options.claim_idle_ms.and_then(|min_idle_ms| {
            places.filter_map(|place| self.claimable_at(txn, &place.key, min_idle_ms)).min()
        });
        Ok(Ran::WouldBlock(options.wait(timeout_ms, retry_at, |n| options.stream(n).1.into())))
    }
}

impl<'a> XReadGroup<'a> {
    /// Looks up the `n`-th stream and finds what its ID means. Nothing if its keyspace is not in
    /// hand: a blocked call runs again with the keyspace that has news.
    fn resolve(&self, txn: &mut Txn<'_, '_>, n: usize) -> Result<Option<Place<'a>>, CommandError> {
        let (name, id) = self.options.stream(n);
        let key = txn.read(name);
        if !key.exists() && !txn.spaces().holds(name) {
            return Ok(None);
        }
        let group = txn.stream(&key)?.and_then(|stream| stream.group(self.group));
        let Some(group) = group else {
            return Err(CommandError::no_key_or_group_to_read(name, self.group));
        };
        let wanted = match id {
            b">" => Wanted::New,
            b"$" => return Err(CommandError::Fixed(LAST_IN_XREADGROUP)),
            b"+" => return Err(CommandError::Fixed(NEWEST_IN_XREADGROUP)),
            text => Wanted::History(strict_id(text)?),
        };
        let fresh = group.consumer(self.consumer).is_none();
        Ok(Some(Place { key, wanted, fresh }))
    }

    /// Serves one stream. The consumer is created and seen even if there is nothing for it.
    fn serve(
        &self,
        txn: &mut Txn<'_, '_>,
        Place { key, wanted, fresh }: &mut Place<'_>,
        served: &mut Served,
        out: &mut Out<'_>,
    ) {
        // Redis looks every key up twice.
        txn.note_read(key);
        if *fresh {
            ensure_consumer(txn, key, self.group, self.consumer);
        }
        match *wanted {
            Wanted::New => self.serve_new(txn, key, served, out),
            Wanted::History(after) => {
                served.claim_idle_ms = None;
                self.serve_history(txn, key, after, &mut served.reply, out);
            }
        }
    }

    /// Hands out idle pending entries, if that was asked for, then new ones.
    fn serve_new(
        &self,
        txn: &mut Txn<'_, '_>,
        key: &mut Key<'_>,
        served: &mut Served,
        out: &mut Out<'_>,
    ) {
        let (mut claimed, mut delivered) = (Vec::new(), Vec::new());
        let mut entries_read = None;
        if let Some((stream, group)) = self.find(txn, key)
            && served.reply.admits(out)
            && (served.claim_idle_ms.is_some() || stream.has_entry_after(group.last_delivered_id()))
        {
            let open = served.reply.open(out, key.name, at_most(self.options.count, stream));
            claimed = self.write_idle(stream, group, (txn.now, key.name), served, out);
            delivered = self.write_new(stream, group, claimed.len(), served, out);
            entries_read = stream.entries_read_after(group, &delivered);
            match claimed.len() + delivered.len() {
                0 => served.reply.cancel(out, open),
                written => served.reply.close(out, open, written),
            }
        }

        let (group, consumer, at) = (self.group, self.consumer, txn.now);
        for &(id, count) in &claimed {
            txn.effect(key, Effect::Claim { group, consumer, id, at, count });
        }
        let pending = !self.options.noack;
        if let Some(&last) = delivered.last() {
            let count = delivered.len() as u64;
            let ids = Some(&delivered[..]);
            let deliver =
                Effect::Deliver { group, consumer, last, count, at, pending, entries_read, ids };
            txn.effect(key, deliver);
        }
        if !claimed.is_empty() || !delivered.is_empty() {
            txn.count_changes(1);
        }
        // What was delivered has marked the consumer already.
        if delivered.is_empty() || !pending {
            see(txn, key, (group, consumer), !claimed.is_empty());
        }
    }

    /// Writes pending entries that are idle enough for CLAIM, in the order of their hand-out; a
    /// pending entry whose entry is gone stays. Returns each with its new delivery count.
    fn write_idle(
        &self,
        stream: &Stream,
        group: &Group,
        (now, key): (UnixMs, &[u8]),
        served: &mut Served,
        out: &mut Out<'_>,
    ) -> Vec<(EntryId, u64)> {
        let mut claimed = Vec::new();
        let Some(min_idle_ms) = served.claim_idle_ms else {
            return claimed;
        };
        let may_repeat = self.options.streams() > 1;
        for pending in idle_first(&claimable(stream, group), now, min_idle_ms) {
            if claimed.len() == self.options.count || !served.reply.admits(out) {
                break;
            }
            let Some(entry) = stream.entries().get(pending.id) else { continue };
            if may_repeat && !served.claimed.insert((key.into(), pending.id)) {
                continue;
            }
            out.delivery(&entry, now.since(pending.delivered_at), pending.count);
            served.reply.count_entry();
            claimed.push((pending.id, count_after(pending.count)));
        }
        claimed
    }

    /// Writes entries that the group has not handed out, after `before` others of this stream.
    /// Returns their IDs.
    fn write_new(
        &self,
        stream: &Stream,
        group: &Group,
        before: usize,
        served: &mut Served,
        out: &mut Out<'_>,
    ) -> Vec<EntryId> {
        /// The most IDs that room is made for at once.
        const EXPECTED_MAX: usize = 128;
        let after = group.last_delivered_id();
        let Some(start) = after.next().filter(|_| stream.has_entry_after(after)) else {
            return Vec::new();
        };
        let count = self.options.count - before;
        let mut delivered = Vec::with_capacity(at_most(count, stream).min(EXPECTED_MAX));
        let claims = served.claim_idle_ms.is_some();
        let entries = stream.entries().range(start, EntryId::MAX).take(count);
        served.reply.write(out, entries, |out, entry| {
            if claims {
                out.delivery(entry, 0, 0);
            } else {
                out.entry(entry);
            }
            delivered.push(entry.id);
        });
        delivered
    }

    /// Hands the consumer's own pending entries out again; those whose entry is gone with null.
    fn serve_history(
        &self,
        txn: &mut Txn<'_, '_>,
        key: &mut Key<'_>,
        after: EntryId,
        reply: &mut Reply,
        out: &mut Out<'_>,
    ) {
        let mut again = Vec::new();
        if let Some((stream, group)) = self.find(txn, key)
            && let Some(consumer) = group.consumer(self.consumer)
            && reply.admits(out)
        {
            let pending = consumer.pending();
            let open = reply.open(out, key.name, pending.len().min(self.options.count));
            let ids = after.next().map(|start| pending.iter_from(start)).into_iter().flatten();
            let (mut written, mut refused) = (0, false);
            for id in ids.take(self.options.count) {
                if !reply.admits(out) {
                    refused = written == 0;
                    break;
                }
                match (stream.entries().get(id), group.pel().get(id)) {
                    (Some(entry), Some(pending)) => {
                        out.entry(&entry);
                        again.push((id, count_after(pending.count)));
                    }
                    _ => {
                        out.array(2);
                        out.id(id);
                        out.null_array();
                    }
                }
                reply.count_entry();
                written += 1;
            }
            if refused {
                reply.cancel(out, open);
            } else {
                reply.close(out, open, written);
            }
        }
        let (group, consumer, at) = (self.group, self.consumer, txn.now);
        for (id, count) in again {
            txn.note(key, Effect::Claim { group, consumer, id, at, count });
        }
        see(txn, key, (group, consumer), false);
    }

    /// When a waiter should look again at a stream where nothing can be claimed now: when the
    /// oldest pending entry will have been idle for long enough.
    fn claimable_at(&self, txn: &Txn<'_, '_>, key: &Key<'_>, min_idle_ms: u64) -> Option<UnixMs> {
        /// What is idle at once and yet not there is looked for this rarely, in milliseconds.
        const RETRY_MS_MIN: u64 = 10;
        let now = txn.now;
        let (stream, group) = self.find(txn, key)?;
        let claimable = claimable(stream, group);
        let mut oldest = idle_first(&claimable, now, 0);
        let due = match oldest.find(|pending| !is_idle(pending, now, min_idle_ms)) {
            Some(pending) => pending.delivered_at.0.saturating_add(min_idle_ms),
            None => now.0.saturating_add(min_idle_ms.max(RETRY_MS_MIN)),
        };
        Some(UnixMs(due))
    }

    /// The stream of a resolved key, and the group.
    fn find<'t>(&self, txn: &'t Txn<'_, '_>, key: &Key<'_>) -> Option<(&'t Stream, &'t Group)> {
        let stream = txn.stream(key).ok().flatten()?;
        Some((stream, stream.group(self.group)?))
    }
}

/// The pending entries that CLAIM may find. Those below the first entry of the stream were trimmed,
/// and there may be very many: none is looked at.
fn claimable(stream: &Stream, group: &Group) -> PelTail {
    group.pel().tail(stream.entries().first_id().unwrap_or(EntryId::MAX))
}

const LAST_IN_XREADGROUP: &str = "ERR The $ ID is meaningless in the context of XREADGROUP: \
     you want to read the history of this consumer by specifying a proper ID, or use the > ID to \
     get new messages. The $ ID would just return an empty result set.";
const NEWEST_IN_XREADGROUP: &str = "ERR The + ID is meaningless in the context of XREADGROUP: \
     you want to read the history of this consumer by specifying a proper ID, or use the > ID to \
     get new messages. The + ID would just return an empty result set.";

#[cfg(test)]
mod tests {
    use crate::command::reply::Protocol;
    use crate::command::testing::{BLOCKS, World, world};
    use crate::keyspace::Keyspace;
    use crate::stream::UnixMs;
    use std::hash::RandomState;

    fn three() -> World {
        let mut world = world();
        for id in 1..=3 {
            world.show(&format!("XADD s {id}-0 f v{id}"));
        }
        world.show("XGROUP CREATE s g 0");
        world.events();
        world.changes();
        world
    }

    #[test]
    fn new_entries_become_pending_and_history_repeats_them() {
        let mut world = three();
        let read = "XREADGROUP GROUP g c COUNT 2 STREAMS s >";
        assert_eq!(world.show(read), "[[s, [[1-0, [f, v1]], [2-0, [f, v2]]]]]");
        assert_eq!(world.events(), ["xgroup-createconsumer s"]);
        assert_eq!(world.changes(), 2);
        world.now = UnixMs(1500);
        assert_eq!(world.show("XPENDING s g - + 9"), "[[1-0, c, 500, 1], [2-0, c, 500, 1]]");
        world.show("XDEL s 1-0");
        world.changes();
        assert_eq!(
            world.show("XREADGROUP GROUP g c BLOCK 0 NOACK STREAMS s 0"),
            "[[s, [[1-0, nil], [2-0, [f, v2]]]]]"
        );
        assert_eq!(world.changes(), 0);
        assert_eq!(world.show("XPENDING s g - + 9"), "[[1-0, c, 500, 1], [2-0, c, 0, 2]]");
        assert_eq!(world.show("XREADGROUP GROUP g other STREAMS s 0"), "[[s, []]]");
        assert_eq!(world.show("XREADGROUP GROUP g c NOACK STREAMS s >"), "[[s, [[3-0, [f, v3]]]]]");
        assert_eq!(world.show("XREADGROUP GROUP g c STREAMS s >"), "nil");
        assert_eq!(world.show("XPENDING s g"), "[2, 1-0, 2-0, [[c, 2]]]");
        world.protocol = Protocol::Resp3;
        assert_eq!(
            world.run("XREADGROUP GROUP g c COUNT 1 STREAMS s 0"),
            "%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n_\r\n"
        );
        world.replayed_equals();
    }

    #[test]
    fn a_refusal_of_one_stream_delivers_nothing() {
        let mut world = three();
        let group =
            "NOGROUP No such key 'none' or consumer group 'g' in XREADGROUP with GROUP option";
        let id = "-ERR Invalid stream ID specified as stream command argument";
        let balance = "-ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or \
                       '>' must be specified.";
        for (request, reply) in [
            ("GROUP g c STREAMS s none > >", format!("-{group}")),
            ("GROUP g c STREAMS none s > x", format!("-{group}")),
            ("GROUP g c STREAMS s none x >", id.to_owned()),
            ("GROUP g c STREAMS s none >", balance.to_owned()),
            ("COUNT 1 COUNT 1 STREAMS s >", {
                "-ERR Missing GROUP option for XREADGROUP".to_owned()
            }),
            ("GROUP g c CLAIM -1 STREAMS s >", {
                "-ERR min-idle-time must be a positive integer".to_owned()
            }),
            ("GROUP g c CLAIM x STREAMS s >", {
                "-ERR min-idle-time is not an integer or out of range".to_owned()
            }),
        ] {
            assert_eq!(world.show(&format!("XREADGROUP {request}")), reply, "{request}");
        }
        for id in ["$", "+"] {
            let reply = world.show(&format!("XREADGROUP GROUP g c STREAMS s {id}"));
            assert!(reply.starts_with(&format!("-ERR The {id} ID is meaningless in the context")));
        }
        assert_eq!(world.show("XINFO CONSUMERS s g"), "[]");
    }

    #[test]
    fn keys_of_keyspaces_not_in_hand_have_nothing() {
        let mut world = world();
        world.space = Keyspace::new(0..0, RandomState::new());
        assert_eq!(world.show("XREADGROUP GROUP g c STREAMS s t > >"), "nil");
        assert_eq!(world.show("XREADGROUP GROUP g c BLOCK 0 CLAIM 5 STREAMS s >"), BLOCKS);
        assert_eq!(world.wait.take().unwrap().retry_at, None);
        assert_eq!(world.show("XREAD BLOCK 0 STREAMS s 0"), BLOCKS);
    }

    #[test]
    fn claim_hands_out_idle_entries_before_new_ones() {
        let mut world = three();
        world.show("XREADGROUP GROUP g a COUNT 1 STREAMS s >");
        world.now = UnixMs(1100);
        world.show("XREADGROUP GROUP g a COUNT 1 STREAMS s >");
        world.changes();
        let claim = "XREADGROUP GROUP g b CLAIM 100 COUNT 2 STREAMS s >";
        assert_eq!(world.show(claim), "[[s, [[1-0, [f, v1], 100, 1], [3-0, [f, v3], 0, 0]]]]");
        assert_eq!(world.changes(), 2);
        world.show("XNACK s g FAIL IDS 1 3-0");
        assert_eq!(
            world.show("XREADGROUP GROUP g c CLAIM 1000 NOACK STREAMS s s > >"),
            "[[s, [[3-0, [f, v3], 1100, 1]]]]"
        );
        assert_eq!(
            world.show("XREADGROUP GROUP g c CLAIM 0 STREAMS s s > >"),
            "[[s, [[1-0, [f, v1], 0, 2], [2-0, [f, v2], 0, 1], [3-0, [f, v3], 0, 2]]]]"
        );
        assert_eq!(world.show("XREADGROUP GROUP g d CLAIM 0 STREAMS s s 0 >"), "[[s, []]]");
        world.now = UnixMs(1150);
        assert_eq!(world.show("XREADGROUP GROUP g d CLAIM 60 BLOCK 9 STREAMS s >"), BLOCKS);
        let wait = world.wait.take().unwrap();
        assert_eq!((wait.retry_at, wait.group), (Some(UnixMs(1160)), Some(b"g"[..].into())));
        world.show("XDEL s 1-0 2-0 3-0");
        world.now = UnixMs(2000);
        assert_eq!(world.show("XREADGROUP GROUP g d CLAIM 60 BLOCK 9 STREAMS s >"), BLOCKS);
        assert_eq!(world.wait.take().unwrap().retry_at, Some(UnixMs(2060)));
        assert_eq!(world.show("XPENDING s g"), "[3, 1-0, 3-0, [[c, 3]]]");
        world.replayed_equals();
    }

    #[test]
    fn claim_passes_over_what_was_trimmed() {
        let mut world = world();
        world.show("XADD s 1-0 f v");
        world.show("XGROUP CREATE s g 0");
        for id in 2..=600 {
            world.show(&format!("XADD s {id}-0 f v"));
        }
        world.show("XREADGROUP GROUP g a STREAMS s >");
        world.show("XNACK s g FAIL IDS 2 600-0 3-0");
        for (trim, ids) in
            [("MINID 500", "600-0 500-0 501-0"), ("MAXLEN 1", "600-0"), ("MAXLEN 0", "")]
        {
            world.show(&format!("XTRIM s {trim}"));
            world.now.0 += 100;
            let reply = world.show("XREADGROUP GROUP g b CLAIM 50 COUNT 3 STREAMS s >");
            let found: Vec<&str> = reply
                .split(['[', ','])
                .map(str::trim)
                .filter(|word| word.ends_with("-0"))
                .collect();
            assert_eq!(found.join(" "), ids, "{trim}: {reply}");
            assert!(world.show("XPENDING s g").starts_with("[600, 1-0, 600-0"));
        }
        assert_eq!(world.show("XREADGROUP GROUP g b CLAIM 50 BLOCK 9 STREAMS s >"), BLOCKS);
        world.replayed_equals();
    }

    #[test]
    fn a_budget_leaves_the_rest_undelivered() {
        let mut world = three();
        world.show("XADD t 1-0 f v");
        world.show("XGROUP CREATE t g 0");
        assert_eq!(
            world.show("XREADGROUP GROUP g c MAXCOUNT 2 STREAMS s t > >"),
            "[[s, [[1-0, [f, v1]], [2-0, [f, v2]]]]]"
        );
        assert_eq!(
            world.show("XREADGROUP GROUP g c MAXSIZE 1 STREAMS t s > 0"),
            "[[t, [[1-0, [f, v]]]]]"
        );
        assert_eq!(
            world.show("XREADGROUP GROUP g c MAXCOUNT 1 STREAMS t s 5 0"),
            "[[t, []], [s, [[1-0, [f, v1]]]]]"
        );
        assert_eq!(
            world.show("XREADGROUP GROUP g c CLAIM 0 MAXCOUNT 3 STREAMS s >"),
            "[[s, [[1-0, [f, v1], 0, 2], [2-0, [f, v2], 0, 1], [3-0, [f, v3], 0, 0]]]]"
        );
        assert_eq!(world.show("XPENDING t g"), "[1, 1-0, 1-0, [[c, 1]]]");
        world.replayed_equals();
    }
}
