//! XINFO: what is in a stream, its groups and their consumers. As Redis 8.10; with the rules of
//! Valkey without what that does not know.

use crate::command::args::{Args, Request};
use crate::command::read::at_most;
use crate::command::{KeyCommand, Out, Ran};
use crate::error::CommandError;
use crate::keyspace::{Key, Txn};
use crate::stream::{Consumer, EntryId, EntryRef, Group, Producers, Stream, UnixMs};

/// The stream of a key that exists.
fn stream<'t>(txn: &'t Txn<'_, '_>, key: &Key<'_>) -> Result<&'t Stream, CommandError> {
    txn.stream(key)?.ok_or(CommandError::NoSuchKey)
}

/// `XINFO STREAM key [FULL [COUNT count]]`
///
/// Replies with a map of what is known of the stream; with FULL also of its entries, groups and
/// consumers, at most COUNT of each list (10; 0 is all).
#[derive(Debug, Clone)]
pub struct XInfoStream<'a> {
    key: &'a [u8],
    /// The subcommand as it was written.
    word: &'a [u8],
    /// The options, which are read once the stream is known to exist.
    rest: Args<'a>,
}

impl<'a> KeyCommand<'a> for XInfoStream<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XInfoStream { key: request.arg(2), word: request.arg(1), rest: request.args(3) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
        let stream = stream(txn, &key)?;
        let valkey = txn.rules.valkey;
        match self.full_count()? {
            None => brief(stream, valkey, out),
            Some(count) => full(stream, count, valkey, out),
        }
        Ok(Ran::Replied)
    }
}

impl XInfoStream<'_> {
    /// The most items of each list if FULL was given.
    fn full_count(&self) -> Result<Option<usize>, CommandError> {
        const COUNT_DEFAULT: usize = 10;
        let mut args = self.rest;
        let options = args.remaining();
        if options == 0 {
            return Ok(None);
        }
        let fits = (options == 1 || options == 3) && args.take_word("FULL");
        if !fits || (options == 3 && !args.take_word("COUNT")) {
            return Err(CommandError::subcommand_syntax("XINFO", self.word));
        }
        if options == 1 {
            return Ok(Some(COUNT_DEFAULT));
        }
        Ok(Some(match args.integer()? {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(COUNT_DEFAULT),
        }))
    }
}

fn brief(stream: &Stream, valkey: bool, out: &mut Out<'_>) {
    out.map(if valkey { 10 } else { 16 });
    common(stream, valkey, out);
    out.bulk(b"groups");
    out.count(stream.groups_len());
    for (name, entry) in
        [(&b"first-entry"[..], stream.entries().first()), (b"last-entry", stream.entries().last())]
    {
        out.bulk(name);
        optional_entry(entry.as_ref(), out);
    }
}

fn optional_entry(entry: Option<&EntryRef<'_>>, out: &mut Out<'_>) {
    match entry {
        Some(entry) => out.entry(entry),
        None => out.null(),
    }
}

fn full(stream: &Stream, count: usize, valkey: bool, out: &mut Out<'_>) {
    out.map(if valkey { 9 } else { 15 });
    common(stream, valkey, out);
    out.bulk(b"entries");
    let array = out.begin_array(at_most(count, stream));
    let mut written = 0;
    for entry in stream.entries().range(EntryId::MIN, EntryId::MAX).take(count) {
        out.entry(&entry);
        written += 1;
    }
    out.end_array(array, written);
    out.bulk(b"groups");
    out.array(stream.groups_len());
    for (name, group) in stream.groups() {
        out.map(if valkey { 7 } else { 8 });
        full_group((name, group), stream, count, valkey, out);
    }
}

/// What both forms begin with: 7 pairs, and 6 on idempotent producers.
fn common(stream: &Stream, valkey: bool, out: &mut Out<'_>) {
    let entries = stream.entries();
    out.bulk(b"length");
    out.unsigned(stream.len());
    out.bulk(b"radix-tree-keys");
    out.count(entries.block_count());
    out.bulk(b"radix-tree-nodes");
    // Redis counts the nodes of its tree. Ours keeps no count of branches, and to walk them would
    // take long: these are the blocks and the root.
    out.count(entries.block_count() + 1);
    out.bulk(b"last-generated-id");
    out.id(stream.last_id());
    out.bulk(b"max-deleted-entry-id");
    out.id(stream.max_deleted_id());
    out.bulk(b"entries-added");
    out.unsigned(stream.entries_added());
    out.bulk(b"recorded-first-entry-id");
    out.id(stream.first_id());
    if valkey {
        return;
    }
    let none = Producers::default();
    let producers = stream.producers().unwrap_or(&none);
    for (name, value) in [
        ("idmp-duration", producers.duration_s()),
        ("idmp-maxsize", producers.maxsize()),
        ("pids-tracked", producers.pids_len() as u64),
        ("iids-tracked", producers.iids_len()),
        ("iids-added", producers.iids_added()),
        ("iids-duplicates", producers.iids_duplicates()),
    ] {
        out.bulk(name.as_bytes());
        out.unsigned(value);
    }
}

fn full_group(
    (name, group): (&[u8], &Group),
    stream: &Stream,
    count: usize,
    valkey: bool,
    out: &mut Out<'_>,
) {
    let pel = group.pel();
    out.bulk(b"name");
    out.bulk(name);
    position(stream, group, valkey, out);
    out.bulk(b"pel-count");
    out.count(pel.len());
    if !valkey {
        out.bulk(b"nacked-count");
        out.count(pel.unowned_len());
    }
    out.bulk(b"pending");
    out.array(pel.len().min(count));
    for pending in pel.iter_from(EntryId::MIN).take(count) {
        out.array(4);
        out.id(pending.id);
        out.bulk(group.owner_name(pending.owner));
        out.unsigned(pending.delivered_at.0);
        out.unsigned(pending.count);
    }
    out.bulk(b"consumers");
    out.array(group.consumers_len());
    for (name, consumer) in group.consumers() {
        full_consumer((name, consumer), group, count, out);
    }
}

fn full_consumer(
    (name, consumer): (&[u8], &Consumer),
    group: &Group,
    count: usize,
    out: &mut Out<'_>,
) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(name);
    out.bulk(b"seen-time");
    out.unsigned(consumer.seen_at().0);
    out.bulk(b"active-time");
    match consumer.active_at() {
        Some(at) => out.unsigned(at.0),
        None => out.integer(-1),
    }
    out.bulk(b"pel-count");
    out.count(consumer.pending().len());
    out.bulk(b"pending");
    out.array(consumer.pending().len().min(count));
    let ids = consumer.pending().iter_from(EntryId::MIN).take(count);
    for pending in ids.filter_map(|id| group.pel().get(id)) {
        out.array(3);
        out.id(pending.id);
        out.unsigned(pending.delivered_at.0);
        out.unsigned(pending.count);
    }
}

/// Where a group stands in its stream: three pairs.
fn position(stream: &Stream, group: &Group, valkey: bool, out: &mut Out<'_>) {
    out.bulk(b"last-delivered-id");
    out.id(group.last_delivered_id());
    for (name, value) in
        [(&b"entries-read"[..], group.entries_read()), (b"lag", stream.lag(group, !valkey))]
    {
        out.bulk(name);
        match value {
            Some(value) => out.unsigned(value),
            None => out.null(),
        }
    }
}

/// `XINFO GROUPS key`
///
/// Replies with an array of maps, one for each group, in the order of their names.
#[derive(Debug, Clone)]
pub struct XInfoGroups<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for XInfoGroups<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XInfoGroups { key: request.arg(2) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
        let stream = stream(txn, &key)?;
        out.array(stream.groups_len());
        for (name, group) in stream.groups() {
            out.map(6);
            out.bulk(b"name");
            out.bulk(name);
            out.bulk(b"consumers");
            out.count(group.consumers_len());
            out.bulk(b"pending");
            out.count(group.pel().len());
            position(stream, group, txn.rules.valkey, out);
        }
        Ok(Ran::Replied)
    }
}

/// `XINFO CONSUMERS key group`
///
/// Replies with an array of maps, one for each consumer, in the order of their names.
#[derive(Debug, Clone)]
pub struct XInfoConsumers<'a> {
    key: &'a [u8],
    group: &'a [u8],
}

impl<'a> KeyCommand<'a> for XInfoConsumers<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XInfoConsumers { key: request.arg(2), group: request.arg(3) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
        let group = stream(txn, &key)?.group(self.group);
        let group = group.ok_or_else(|| CommandError::no_group(self.group, self.key))?;
        out.array(group.consumers_len());
        for (name, consumer) in group.consumers() {
            let ago = |at: UnixMs| txn.now.since(at);
            out.map(4);
            out.bulk(b"name");
            out.bulk(name);
            out.bulk(b"pending");
            out.count(consumer.pending().len());
            out.bulk(b"idle");
            out.unsigned(ago(consumer.seen_at()));
            out.bulk(b"inactive");
            match consumer.active_at() {
                Some(at) => out.unsigned(ago(at)),
                None => out.integer(-1),
            }
        }
        Ok(Ran::Replied)
    }
}

#[cfg(test)]
mod tests {
    use crate::command::reply::Protocol;
    use crate::command::testing::{World, world};
    use crate::stream::UnixMs;

    fn sample() -> World {
        let mut world = world();
        world.show("XADD s IDMP p i * f v");
        world.show("XADD s 2000-1 f w");
        world.show("XGROUP CREATE s g 0");
        world.show("XREADGROUP GROUP g c COUNT 1 STREAMS s >");
        world.show("XGROUP CREATECONSUMER s g a");
        world.now = UnixMs(1700);
        world
    }

    #[test]
    fn a_stream_is_described() {
        let mut world = sample();
        assert_eq!(
            world.show("XINFO STREAM s"),
            "[length, 2, radix-tree-keys, 1, radix-tree-nodes, 2, last-generated-id, 2000-1, \
             max-deleted-entry-id, 0-0, entries-added, 2, recorded-first-entry-id, 1000-0, \
             idmp-duration, 100, idmp-maxsize, 100, pids-tracked, 1, iids-tracked, 1, iids-added, \
             1, iids-duplicates, 0, groups, 1, first-entry, [1000-0, [f, v]], last-entry, \
             [2000-1, [f, w]]]"
        );
        let full = world.show("XINFO STREAM s FULL COUNT 1");
        assert!(
            full.ends_with(
                "iids-duplicates, 0, entries, [[1000-0, [f, v]]], groups, [[name, g, \
             last-delivered-id, 1000-0, entries-read, 1, lag, 1, pel-count, 1, nacked-count, 0, \
             pending, [[1000-0, c, 1000, 1]], consumers, [[name, a, seen-time, 1000, active-time, \
             -1, pel-count, 0, pending, []], [name, c, seen-time, 1000, active-time, 1000, \
             pel-count, 1, pending, [[1000-0, 1000, 1]]]]]]]"
            ),
            "{full}"
        );
        world.rules.valkey = true;
        assert!(world.run("XINFO STREAM s").starts_with("*20\r\n"));
        assert!(world.run("XINFO STREAM s FULL").starts_with("*18\r\n"));
        world.protocol = Protocol::Resp3;
        assert!(world.run("XINFO STREAM s").starts_with("%10\r\n"));
        world.rules.valkey = false;
        assert!(world.run("XINFO STREAM s FULL COUNT 0").starts_with("%15\r\n"));
        world.show("XTRIM s MAXLEN 0");
        assert!(world.run("XINFO STREAM s").ends_with("last-entry\r\n_\r\n"));
    }

    #[test]
    fn groups_and_consumers_are_described() {
        let mut world = sample();
        world.show("XGROUP CREATE s early 1");
        world.show("XDEL s 1000-0");
        assert_eq!(
            world.show("XINFO GROUPS s"),
            "[[name, early, consumers, 0, pending, 0, last-delivered-id, 1-0, entries-read, nil, \
             lag, 1], [name, g, consumers, 2, pending, 1, last-delivered-id, 1000-0, \
             entries-read, 1, lag, 1]]"
        );
        assert_eq!(
            world.show("XINFO CONSUMERS s g"),
            "[[name, a, pending, 0, idle, 700, inactive, -1], \
             [name, c, pending, 1, idle, 700, inactive, 700]]"
        );
        let syntax = "-ERR unknown subcommand or wrong number of arguments for 'Stream'. Try XINFO \
                      HELP.";
        for (request, reply) in [
            ("XINFO Stream s FULL COUNT", syntax),
            ("XINFO Stream s BRIEF", syntax),
            ("XINFO Stream none BRIEF", "-ERR no such key"),
            ("XINFO GROUPS none", "-ERR no such key"),
            ("XINFO CONSUMERS s x", "-NOGROUP No such consumer group 'x' for key name 's'"),
        ] {
            assert_eq!(world.show(request), reply, "{request}");
        }
    }
}
