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
        let key = txn.key(self.key);
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
    out.count(entries.block_count() + entries.node_count().max(1));
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
        let key = txn.key(self.key);
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
        let key = txn.key(self.key);
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
