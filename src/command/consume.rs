//! Commands of consumer groups that read no entries: XGROUP, XACK, XACKDEL, XNACK.

use super::args::{Args, Request, is_word, loose_id, strict_id, strict_ids, strict_integer};
use super::reply::Out;
use super::trim::{Deleted, Deletion};
use super::{KeyCommand, Ran};
use crate::config::NotifyFlags;
use crate::error::CommandError;
use crate::keyspace::{Key, Txn};
use crate::stream::{Effect, EntryId, Group, Ids, Stream};

/// The greatest delivery count. Redis: a signed number.
const COUNT_MAX: u64 = i64::MAX.cast_unsigned();

/// `XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]`: begins a group.
///
/// Replies `OK`. Effects: Create with MKSTREAM, GroupCreate. Redis: 8.10.
#[derive(Debug)]
pub struct XGroupCreate<'a> {
    place: Place<'a>,
}

impl<'a> KeyCommand<'a> for XGroupCreate<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XGroupCreate { place: Place::parse(request, true)? })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let Place { group, id, create, .. } = self.place;
        let mut key = txn.key(self.place.key);
        let stream = match txn.stream(&key)? {
            None if !create => return Err(NO_KEY),
            stream => stream,
        };
        self.place.refuse_excess()?;
        let last_id = stream.map(Stream::last_id).unwrap_or_default();
        let last_delivered_id = if id == b"$" { last_id } else { strict_id(id)? };
        if stream.is_some_and(|stream| stream.group(group).is_some()) {
            return Err(CommandError::BusyGroup);
        }
        let entries_read = self.place.entries_read(stream);
        if stream.is_none() {
            txn.create_stream(&mut key);
        }
        txn.effect(&mut key, Effect::GroupCreate { group, last_delivered_id, entries_read });
        txn.event(NotifyFlags::STREAM, "xgroup-create", &key);
        txn.count_changes(1);
        out.ok();
        Ok(Ran::Replied)
    }
}

/// `XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]`: sets after which entry a group
/// reads.
///
/// Replies `OK`. Pending entries stay. Effects: GroupSetId. Redis: 8.10.
#[derive(Debug)]
pub struct XGroupSetId<'a> {
    place: Place<'a>,
}

impl<'a> KeyCommand<'a> for XGroupSetId<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XGroupSetId { place: Place::parse(request, false)? })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let Place { group, id, .. } = self.place;
        let mut key = txn.key(self.place.key);
        let stream = txn.stream(&key)?.ok_or(NO_KEY)?;
        require_group(stream, group, &key)?;
        self.place.refuse_excess()?;
        let last_delivered_id = if id == b"$" { stream.last_id() } else { loose_id(id, 0)? };
        let entries_read = self.place.entries_read(Some(stream));
        txn.effect(&mut key, Effect::GroupSetId { group, last_delivered_id, entries_read });
        txn.event(NotifyFlags::STREAM, "xgroup-setid", &key);
        txn.count_changes(1);
        out.ok();
        Ok(Ran::Replied)
    }
}

/// The arguments of XGROUP CREATE and SETID: after which entry a group is to read.
#[derive(Debug)]
struct Place<'a> {
    key: &'a [u8],
    group: &'a [u8],
    /// It is looked at only after the key and the group.
    id: &'a [u8],
    create: bool,
    entries_read: Option<u64>,
    /// More arguments than with each option once are refused, after the key and the group of
    /// SETID. Redis: the same.
    excess: Option<CommandError>,
}

impl<'a> Place<'a> {
    /// Reads the arguments; MKSTREAM is known only if it `may_create`.
    fn parse(request: &Request<'a>, may_create: bool) -> Result<Self, CommandError> {
        let (key, group, id) = (request.arg(2), request.arg(3), request.arg(4));
        let refused = || CommandError::subcommand_syntax("XGROUP", request.arg(1));
        let most = if may_create { 3 } else { 2 };
        let excess = (request.args(5).remaining() > most).then(refused);
        let mut place = Place { key, group, id, create: false, entries_read: None, excess };
        let mut args = request.args(5);
        while args.remaining() > 0 {
            if may_create && args.take_word("mkstream") {
                place.create = true;
            } else if args.remaining() > 1 && args.take_word("entriesread") {
                place.entries_read = match args.integer()? {
                    -1 => None,
                    read => Some(u64::try_from(read).map_err(|_| {
                        CommandError::Fixed("ERR value for ENTRIESREAD must be positive or -1")
                    })?),
                };
            } else {
                return Err(refused());
            }
        }
        Ok(place)
    }

    /// Refuses more arguments than there can be.
    fn refuse_excess(&self) -> Result<(), CommandError> {
        self.excess.clone().map_or(Ok(()), Err)
    }

    /// The read counter. Redis: at most what was ever added.
    fn entries_read(&self, stream: Option<&Stream>) -> Option<u64> {
        let added = stream.map_or(0, Stream::entries_added);
        self.entries_read.map(|read| read.min(added))
    }
}

/// Every subcommand of XGROUP but CREATE with MKSTREAM refuses a key that does not exist.
const NO_KEY: CommandError = CommandError::Fixed(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to \
     use the MKSTREAM option to create an empty stream automatically.",
);

/// A group that has to exist.
fn require_group<'s>(
    stream: &'s Stream,
    group: &[u8],
    key: &Key<'_>,
) -> Result<&'s Group, CommandError> {
    stream.group(group).ok_or_else(|| CommandError::no_group(group, key.name))
}

/// `XGROUP DESTROY key group`: ends a group, with its pending entries.
///
/// Replies 1, or 0 if there is no such group. Effects: GroupDestroy. Redis: 8.10.
#[derive(Debug)]
pub struct XGroupDestroy<'a> {
    key: &'a [u8],
    group: &'a [u8],
}

impl<'a> KeyCommand<'a> for XGroupDestroy<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XGroupDestroy { key: request.arg(2), group: request.arg(3) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let stream = txn.stream(&key)?.ok_or(NO_KEY)?;
        let exists = stream.group(self.group).is_some();
        if exists {
            txn.effect(&mut key, Effect::GroupDestroy { group: self.group });
            txn.event(NotifyFlags::STREAM, "xgroup-destroy", &key);
            txn.count_changes(1);
        }
        out.count(usize::from(exists));
        Ok(Ran::Replied)
    }
}

/// `XGROUP CREATECONSUMER key group consumer`: begins a consumer.
///
/// Replies 1, or 0 if it exists. Effects: ConsumerCreate. Redis: 8.10.
#[derive(Debug)]
pub struct XGroupCreateConsumer<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
}

impl<'a> KeyCommand<'a> for XGroupCreateConsumer<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let (key, group, consumer) = (request.arg(2), request.arg(3), request.arg(4));
        Ok(XGroupCreateConsumer { key, group, consumer })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let XGroupCreateConsumer { group, consumer, .. } = *self;
        let mut key = txn.key(self.key);
        let stream = txn.stream(&key)?.ok_or(NO_KEY)?;
        let created = require_group(stream, group, &key)?.consumer(consumer).is_none();
        if created {
            let at = txn.now;
            txn.effect(&mut key, Effect::ConsumerCreate { group, consumer, at });
            txn.event(NotifyFlags::STREAM, "xgroup-createconsumer", &key);
            txn.count_changes(1);
        }
        out.count(usize::from(created));
        Ok(Ran::Replied)
    }
}

/// `XGROUP DELCONSUMER key group consumer`: ends a consumer, with its pending entries.
///
/// Replies how many of those it had; 0 also if there is no such consumer. Effects:
/// ConsumerDelete. Redis: 8.10.
#[derive(Debug)]
pub struct XGroupDelConsumer<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
}

impl<'a> KeyCommand<'a> for XGroupDelConsumer<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let (key, group, consumer) = (request.arg(2), request.arg(3), request.arg(4));
        Ok(XGroupDelConsumer { key, group, consumer })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let XGroupDelConsumer { group, consumer, .. } = *self;
        let mut key = txn.key(self.key);
        let stream = txn.stream(&key)?.ok_or(NO_KEY)?;
        let known = require_group(stream, group, &key)?.consumer(consumer);
        let pending = known.map(|known| known.pending().len());
        if pending.is_some() {
            txn.effect(&mut key, Effect::ConsumerDelete { group, consumer });
            txn.event(NotifyFlags::STREAM, "xgroup-delconsumer", &key);
            txn.count_changes(1);
        }
        out.count(pending.unwrap_or_default());
        Ok(Ran::Replied)
    }
}

/// Acknowledges entries: `XACK key group id [id ...]`.
///
/// Replies how many were pending. Effects: Ack. Redis: 8.10.
#[derive(Debug)]
pub struct XAck<'a> {
    key: &'a [u8],
    group: &'a [u8],
    /// Its IDs are checked only if the group exists.
    request: Request<'a>,
}

impl<'a> KeyCommand<'a> for XAck<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XAck { key: request.arg(1), group: request.arg(2), request: *request })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.read(self.key);
        let mut acknowledged = 0;
        if txn.stream(&key)?.is_some_and(|stream| stream.group(self.group).is_some()) {
            let mut ids = strict_ids(self.request.from(3))?;
            while let Some(some) = next_of(&mut ids) {
                acknowledged += acknowledge(txn, &mut key, self.group, some).len() as u64;
            }
        }
        txn.count_changes(acknowledged);
        out.unsigned(acknowledged);
        Ok(Ran::Replied)
    }
}

/// The next of many IDs, so that a command never has them all in memory at once.
fn next_of(ids: &mut impl Iterator<Item = EntryId>) -> Option<Vec<EntryId>> {
    const AT_ONCE: usize = 4096;
    let some: Vec<EntryId> = ids.take(AT_ONCE).collect();
    (!some.is_empty()).then_some(some)
}

/// Acknowledges those of these entries that are pending in the group; returns them, ascending.
fn acknowledge(
    txn: &mut Txn<'_, '_>,
    key: &mut Key<'_>,
    group: &[u8],
    mut ids: Vec<EntryId>,
) -> Vec<EntryId> {
    let stream = txn.stream(key).ok().flatten();
    let Some(found) = stream.and_then(|stream| stream.group(group)) else { return Vec::new() };
    ids.retain(|&id| found.pel().get(id).is_some());
    ids.sort_unstable();
    ids.dedup();
    if !ids.is_empty() {
        txn.effect(key, Effect::Ack { group, ids: Ids::List(&ids) });
    }
    ids
}

/// Acknowledges and deletes entries:
/// `XACKDEL key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`.
///
/// Replies for each ID 1 if it was acknowledged and its entry is gone, 2 if it was acknowledged
/// and the entry is still referenced, -1 if it was not pending. Effects: Ack, Delete. Redis: 8.10.
/// **Cost**: as XDELEX.
#[derive(Debug)]
pub struct XAckDel<'a> {
    key: &'a [u8],
    group: &'a [u8],
    /// A bad one is refused only after the type of the key.
    deletion: Result<Deletion<'a>, CommandError>,
}

impl<'a> KeyCommand<'a> for XAckDel<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let deletion = Deletion::parse(request, 3);
        Ok(XAckDel { key: request.arg(1), group: request.arg(2), deletion })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.read(self.key);
        let exists = txn.stream(&key)?.is_some_and(|stream| stream.group(self.group).is_some());
        let deletion = self.deletion.as_ref().map_err(Clone::clone)?;
        if !exists {
            deletion.reply_missing(out);
            return Ok(Ran::Replied);
        }
        let mut ids = deletion.ids()?;
        out.array(deletion.len());
        let (mut deleted, mut count) = (false, 0);
        while let Some(some) = next_of(&mut ids) {
            let acknowledged = acknowledge(txn, &mut key, self.group, some.clone());
            let mut is_done = vec![false; acknowledged.len()];
            for id in some {
                let found = acknowledged.binary_search(&id);
                // An ID that is named again is not pending any more.
                if found.map_or(true, |at| std::mem::replace(&mut is_done[at], true)) {
                    out.integer(-1);
                    continue;
                }
                let what = deletion.references.delete(txn, &mut key, id, Some(self.group));
                deleted |= what == Deleted::Now;
                out.integer(if what == Deleted::Kept { 2 } else { 1 });
            }
            count += acknowledged.len() as u64;
        }
        if deleted {
            txn.event(NotifyFlags::STREAM, "xdel", &key);
        }
        txn.count_changes(count);
        Ok(Ran::Replied)
    }
}

/// Gives pending entries back:
/// `XNACK key group <SILENT | FAIL | FATAL> IDS numids id [id ...] [RETRYCOUNT count] [FORCE]`.
///
/// Replies how many were given back, or with FORCE made pending. They belong to no consumer then
/// and are handed out before all others. Effects: Nack. Redis: 8.10.
#[derive(Debug)]
pub struct XNack<'a> {
    key: &'a [u8],
    group: &'a [u8],
    /// Bad ones are refused only after the key and the group.
    options: Result<NackOptions<'a>, CommandError>,
}

/// What XNACK does to the delivery count.
#[derive(Debug, Clone, Copy)]
enum NackMode {
    /// SILENT: the delivery does not count.
    Silent,
    /// FAIL: it does.
    Fail,
    /// FATAL: nobody need try again.
    Fatal,
}

#[derive(Debug, Clone, Copy)]
struct NackOptions<'a> {
    mode: NackMode,
    count: Option<u64>,
    force: bool,
    request: Request<'a>,
    /// Where the IDs stand in the request, and how many.
    ids: (usize, usize),
}

impl<'a> NackOptions<'a> {
    fn parse(request: &Request<'a>, index: usize) -> Result<Self, CommandError> {
        let mut args = request.args(index);
        let mode = match args.required()? {
            word if is_word(word, "silent") => NackMode::Silent,
            word if is_word(word, "fail") => NackMode::Fail,
            word if is_word(word, "fatal") => NackMode::Fatal,
            _ => return Err(CommandError::Fixed("ERR mode must be SILENT, FAIL, or FATAL")),
        };
        let (mut count, mut force, mut ids) = (None, false, None);
        while let Some(word) = args.peek() {
            let has_value = args.remaining() > 1;
            if has_value && ids.is_none() && args.take_word("ids") {
                ids = Some(Self::take_ids(&mut args)?);
            } else if has_value && args.take_word("retrycount") {
                let value = u64::try_from(args.integer()?);
                count = Some(value.map_err(|_| {
                    CommandError::Fixed("ERR Invalid RETRYCOUNT value, must be >= 0")
                })?);
            } else if args.take_word("force") {
                force = true;
            } else {
                let text = "ERR Unrecognized XNACK option '{}'";
                return Err(CommandError::quoting(text, &[word]));
            }
        }
        let ids = ids.ok_or(CommandError::Fixed("ERR syntax error, expected IDS keyword"))?;
        Ok(NackOptions { mode, count, force, request: *request, ids })
    }

    /// Takes the number of IDs and passes over them.
    fn take_ids(args: &mut Args<'_>) -> Result<(usize, usize), CommandError> {
        let count = args.next().and_then(strict_integer).unwrap_or_default();
        let count = usize::try_from(count).ok().filter(|count| *count > 0);
        let count = count.ok_or(CommandError::Fixed("ERR numids must be a positive integer"))?;
        if count > args.remaining() {
            return Err(CommandError::Fixed("ERR number of IDs doesn't match numids"));
        }
        let ids = (args.index(), count);
        args.seek(args.index() + count);
        Ok(ids)
    }

    /// The delivery count afterwards; `before` is `None` for an entry that was not pending.
    fn count(&self, before: Option<u64>) -> u64 {
        match (self.count, self.mode) {
            (Some(count), _) => count,
            (None, NackMode::Fatal) => COUNT_MAX,
            (None, NackMode::Silent) => before.unwrap_or_default().saturating_sub(1),
            (None, NackMode::Fail) => before.unwrap_or_default(),
        }
    }
}

impl<'a> KeyCommand<'a> for XNack<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let options = NackOptions::parse(request, 3);
        Ok(XNack { key: request.arg(1), group: request.arg(2), options })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.read(self.key);
        let group = txn.stream(&key)?.and_then(|stream| stream.group(self.group));
        group.ok_or_else(|| CommandError::no_key_or_group(self.key, self.group))?;
        let options = self.options.as_ref().map_err(Clone::clone)?;
        let (first, ids) = options.ids;
        let mut given_back = 0;
        for id in strict_ids(options.request.from(first).take(ids))? {
            let Some(stream) = txn.stream(&key)? else { break };
            let pending = stream.group(self.group).and_then(|group| group.pel().get(id));
            if pending.is_none() && !(options.force && stream.entries().contains(id)) {
                continue;
            }
            let count = options.count(pending.map(|pending| pending.count));
            txn.effect(&mut key, Effect::Nack { group: self.group, id, count });
            given_back += 1;
        }
        txn.count_changes(given_back);
        out.unsigned(given_back);
        Ok(Ran::Replied)
    }
}

#[cfg(test)]
mod tests;
