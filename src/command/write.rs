//! Commands that write entries: XADD, XTRIM, XDEL, XDELEX, XSETID; and those about idempotent
//! producers: XCFGSET, XIDMPRECORD.

use super::args::{Args, Request, is_word, strict_id, strict_ids};
use super::reply::Out;
use super::trim::{Deleted, Deletion, Trim, TrimOptions};
use super::{KeyCommand, Ran};
use crate::config::NotifyFlags;
use crate::error::CommandError;
use crate::keyspace::{Key, Txn};
use crate::stream::id::parse_u64;
use crate::stream::{Effect, EntryId, Fields, Producers, Stream, UnixMs};
use xxhash_rust::xxh3::xxh3_128;

/// The most bytes all fields and values of an entry take together. Redis: the same.
const ENTRY_BYTES_MAX: usize = 1 << 30;

/// Appends an entry:
/// `XADD key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO pid | IDMP pid iid]
/// [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]`.
///
/// Replies its ID; for a duplicate the ID of the first; null if there is no stream and NOMKSTREAM
/// forbids one. Effects: Create, Add, ProducerAdd or ProducerDuplicate, and those of trimming.
/// Redis: 8.10.
#[derive(Debug)]
pub struct XAdd<'a> {
    key: &'a [u8],
    create: bool,
    producer: Option<Producer<'a>>,
    trim: Option<Trim>,
    id: NewId,
    fields: Fields<'a>,
}

/// Who adds an entry and how the attempt is recognised.
#[derive(Debug, Clone, Copy)]
struct Producer<'a> {
    pid: &'a [u8],
    /// `None`: the ID follows from the content (IDMPAUTO).
    iid: Option<&'a [u8]>,
}

/// The ID that an entry is to get.
#[derive(Debug, Clone, Copy)]
enum NewId {
    /// `*`: the present.
    Now,
    /// `ms-*`: the next in this millisecond.
    NextIn(u64),
    /// This one.
    Given(EntryId),
}

impl<'a> KeyCommand<'a> for XAdd<'a> {
    #[inline]
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let mut args = request.args(1);
        let key = args.required()?;
        let (mut create, mut producer) = (true, None);
        let mut trim = TrimOptions::default();
        let id = loop {
            let Some(word) = args.peek() else { return Err(CommandError::arity("xadd")) };
            match word {
                [b'*'] | [b'0'..=b'9', ..] => break NewId::parse(word)?,
                _ if is_word(word, "nomkstream") => {
                    args.next();
                    create = false;
                }
                _ if Producer::take(&mut producer, &mut args)? || trim.take(&mut args)? => {}
                // Redis: whatever is no option is taken for the ID.
                _ => break NewId::parse(word)?,
            }
        };
        args.next();
        if producer.is_some() && !matches!(id, NewId::Now) {
            return Err(CommandError::Fixed(
                "ERR syntax error, IDMP/IDMPAUTO can be used only with auto-generated IDs",
            ));
        }
        let trim = trim.finish()?;
        let spans = args.rest();
        if spans.is_empty() || spans.len() % 2 == 1 {
            return Err(CommandError::arity("xadd"));
        }
        if matches!(id, NewId::Given(EntryId::MIN)) {
            return Err(CommandError::Fixed(
                "ERR The ID specified in XADD must be greater than 0-0",
            ));
        }
        Ok(XAdd { key, create, producer, trim, id, fields: args.fields() })
    }

    #[inline]
    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let stream = txn.stream(&key)?;
        if stream.is_none() && !self.create {
            out.null();
            return Ok(Ran::Replied);
        }
        let derived;
        let attempt = match self.producer {
            None => None,
            Some(Producer { pid, iid: Some(iid) }) => Some((pid, iid)),
            Some(Producer { pid, iid: None }) => {
                derived = iid_of(&self.fields);
                Some((pid, &derived[..]))
            }
        };
        if let (Some(stream), Some((pid, iid))) = (stream, attempt)
            && let Some(first) = stream.producers().and_then(|known| known.entry_of(pid, iid))
        {
            txn.effect(&mut key, Effect::ProducerDuplicate);
            txn.count_changes(1);
            out.id(first);
            return Ok(Ran::Replied);
        }
        let id = self.id.resolve(stream.map(Stream::last_id).unwrap_or_default(), txn.now)?;
        if self.fields.exceed(ENTRY_BYTES_MAX) {
            return Err(CommandError::Fixed("ERR Elements are too large to be stored"));
        }
        if stream.is_none() {
            txn.create_stream(&mut key);
        }
        txn.effect(&mut key, Effect::Add { id, fields: self.fields });
        if let Some((pid, iid)) = attempt {
            txn.effect(&mut key, Effect::ProducerAdd { pid, iid, id });
        }
        txn.event(NotifyFlags::STREAM, "xadd", &key);
        txn.count_changes(1);
        if let Some(trim) = &self.trim
            && trim.run(txn, &mut key) > 0
        {
            txn.event(NotifyFlags::STREAM, "xtrim", &key);
        }
        out.id(id);
        Ok(Ran::Replied)
    }
}

impl<'a> Producer<'a> {
    /// Takes IDMP or IDMPAUTO at the cursor; false if that is neither, or lacks its values.
    fn take(producer: &mut Option<Self>, args: &mut Args<'a>) -> Result<bool, CommandError> {
        let named = args.remaining() > 2 && args.take_word("idmp");
        if !(named || args.remaining() > 1 && args.take_word("idmpauto")) {
            return Ok(false);
        }
        if producer.is_some() {
            return Err(CommandError::Fixed(
                "ERR syntax error, IDMP/IDMPAUTO specified multiple times",
            ));
        }
        let pid = args.required()?;
        if pid.is_empty() {
            return Err(CommandError::Fixed(if named {
                "ERR syntax error, IDMP requires a non-empty producer ID"
            } else {
                "ERR syntax error, IDMPAUTO requires a non-empty producer ID"
            }));
        }
        let iid = if named { Some(args.required()?) } else { None };
        if iid.is_some_and(<[u8]>::is_empty) {
            return Err(CommandError::Fixed(
                "ERR syntax error, IDMP requires a non-empty idempotent ID",
            ));
        }
        *producer = Some(Producer { pid, iid });
        Ok(true)
    }
}

impl NewId {
    fn parse(text: &[u8]) -> Result<Self, CommandError> {
        match text {
            b"*" => Ok(NewId::Now),
            [ms @ .., b'-', b'*'] => {
                parse_u64(ms).map(NewId::NextIn).ok_or(CommandError::InvalidId)
            }
            _ => strict_id(text).map(NewId::Given),
        }
    }

    /// The ID after the stream's last one.
    fn resolve(self, last: EntryId, now: UnixMs) -> Result<EntryId, CommandError> {
        let after_last = last.next().ok_or(CommandError::Fixed(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ))?;
        match self {
            NewId::Now if now.0 > last.ms => Ok(EntryId::new(now.0, 0)),
            NewId::Now => Ok(after_last),
            NewId::NextIn(ms) if ms > last.ms => Ok(EntryId::new(ms, 0)),
            // It never moves to the next millisecond.
            NewId::NextIn(ms) if ms == after_last.ms => Ok(after_last),
            NewId::Given(id) if id > last => Ok(id),
            NewId::NextIn(_) | NewId::Given(_) => Err(CommandError::IdTooSmall),
        }
    }
}

/// The idempotent ID that follows from an entry's content, whatever the order of its pairs.
/// Redis: the same, so that streams can be exchanged.
fn iid_of(fields: &Fields<'_>) -> [u8; 16] {
    let (mut low_sum, mut high_sum, mut low_xor, mut high_xor) = (0_u64, 0_u64, 0, 0);
    let mut pair = Vec::new();
    for (field, value) in fields {
        pair.clear();
        pair.extend_from_slice(field);
        pair.extend_from_slice(&(field.len() as u64).to_le_bytes());
        pair.extend_from_slice(value);
        let EntryId { ms: high, seq: low } = EntryId::from_u128(xxh3_128(&pair));
        low_sum = low_sum.wrapping_add(low);
        high_sum = high_sum.wrapping_add(high);
        low_xor ^= low;
        high_xor ^= high;
    }
    let mut iid = [0; 16];
    iid[..8].copy_from_slice(&(low_sum ^ high_xor.rotate_left(1)).to_le_bytes());
    iid[8..].copy_from_slice(&(high_sum ^ low_xor.rotate_left(1)).to_le_bytes());
    iid
}

/// Trims a stream:
/// `XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]`.
///
/// Replies how many entries went. Effects: Trim or Remove, Ack with DELREF. Redis: 8.10.
#[derive(Debug)]
pub struct XTrim<'a> {
    key: &'a [u8],
    trim: Trim,
}

impl<'a> KeyCommand<'a> for XTrim<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let mut args = request.args(1);
        let key = args.required()?;
        let mut options = TrimOptions::default();
        while args.remaining() > 0 {
            if !options.take(&mut args)? {
                return Err(CommandError::Syntax);
            }
        }
        Ok(XTrim { key, trim: options.finish_required()? })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        txn.stream(&key)?;
        let removed = self.trim.run(txn, &mut key);
        if removed > 0 {
            txn.event(NotifyFlags::STREAM, "xtrim", &key);
            txn.count_changes(removed);
        }
        out.unsigned(removed);
        Ok(Ran::Replied)
    }
}

/// Deletes entries: `XDEL key id [id ...]`.
///
/// Replies how many went; pending entries stay. Effects: Delete. Redis: 8.10.
#[derive(Debug)]
pub struct XDel<'a> {
    key: &'a [u8],
    /// Its IDs are checked only if the key exists.
    request: Request<'a>,
}

impl<'a> KeyCommand<'a> for XDel<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XDel { key: request.arg(1), request: *request })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let mut deleted = 0;
        if txn.stream(&key)?.is_some() {
            for id in strict_ids(self.request.from(2))? {
                let stream = txn.stream(&key)?;
                if stream.is_some_and(|stream| stream.entries().contains(id)) {
                    txn.effect(&mut key, Effect::Delete { id });
                    deleted += 1;
                }
            }
        }
        count_deleted(txn, &key, deleted);
        out.unsigned(deleted);
        Ok(Ran::Replied)
    }
}

/// Deletes entries by what groups think of them:
/// `XDELEX key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`.
///
/// Replies for each ID 1 if the entry went, -1 if there is none, 2 if it is still referenced.
/// Effects: Delete, Ack with DELREF. Redis: 8.10. **Cost**: with DELREF and ACKED each ID is looked
/// for in each group, in one turn; as many as the client sends.
#[derive(Debug)]
pub struct XDelEx<'a> {
    key: &'a [u8],
    /// A bad one is refused only after the type of the key.
    deletion: Result<Deletion<'a>, CommandError>,
}

impl<'a> KeyCommand<'a> for XDelEx<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XDelEx { key: request.arg(1), deletion: Deletion::parse(request, 2) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let exists = txn.stream(&key)?.is_some();
        let deletion = self.deletion.as_ref().map_err(Clone::clone)?;
        if !exists {
            deletion.reply_missing(out);
            return Ok(Ran::Replied);
        }
        let ids = deletion.ids()?;
        out.array(deletion.len());
        let mut deleted = 0;
        for id in ids {
            out.integer(match deletion.references.delete(txn, &mut key, id, None) {
                Deleted::Now => {
                    deleted += 1;
                    1
                }
                Deleted::Missing => -1,
                Deleted::Kept => 2,
            });
        }
        count_deleted(txn, &key, deleted);
        Ok(Ran::Replied)
    }
}

/// Tells of deleted entries, if there are any.
fn count_deleted(txn: &mut Txn<'_, '_>, key: &Key<'_>, deleted: u64) {
    if deleted > 0 {
        txn.event(NotifyFlags::STREAM, "xdel", key);
        txn.count_changes(deleted);
    }
}

/// Sets a stream's counters:
/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`.
///
/// Replies `OK`. Effects: SetId. Redis: 8.10.
#[derive(Debug)]
pub struct XSetId<'a> {
    key: &'a [u8],
    last_id: EntryId,
    entries_added: Option<u64>,
    max_deleted_id: Option<EntryId>,
}

impl<'a> KeyCommand<'a> for XSetId<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let mut args = request.args(1);
        let key = args.required()?;
        let last_id = strict_id(args.required()?)?;
        let (mut entries_added, mut max_deleted_id) = (None, None);
        while args.remaining() > 0 {
            let has_value = args.remaining() > 1;
            if has_value && args.take_word("entriesadded") {
                let added = u64::try_from(args.integer()?);
                entries_added = Some(
                    added.map_err(|_| CommandError::Fixed("ERR entries_added must be positive"))?,
                );
            } else if has_value && args.take_word("maxdeletedid") {
                let id = strict_id(args.required()?)?;
                if last_id < id {
                    return Err(CommandError::Fixed(
                        "ERR The ID specified in XSETID is smaller than the provided \
                         max_deleted_entry_id",
                    ));
                }
                max_deleted_id = Some(id);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        // Redis: 0-0 leaves the stored one.
        let max_deleted_id = max_deleted_id.filter(|id| !id.is_min());
        Ok(XSetId { key, last_id, entries_added, max_deleted_id })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let stream = txn.stream(&key)?.ok_or(CommandError::NoSuchKey)?;
        if self.last_id < stream.max_deleted_id() {
            return Err(CommandError::Fixed(
                "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
            ));
        }
        if stream.entries().last_id().is_some_and(|top| self.last_id < top) {
            return Err(CommandError::Fixed(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if self.entries_added.is_some_and(|added| added < stream.len()) {
            return Err(CommandError::Fixed(
                "ERR The entries_added specified in XSETID is smaller than the target stream \
                 length",
            ));
        }
        let effect = Effect::SetId {
            last_id: self.last_id,
            entries_added: self.entries_added.unwrap_or_else(|| stream.entries_added()),
            max_deleted_id: self.max_deleted_id.unwrap_or_else(|| stream.max_deleted_id()),
        };
        txn.effect(&mut key, effect);
        txn.event(NotifyFlags::STREAM, "xsetid", &key);
        txn.count_changes(1);
        out.ok();
        Ok(Ran::Replied)
    }
}

/// Sets the limits of a stream's idempotent producers:
/// `XCFGSET key [IDMP-DURATION seconds] [IDMP-MAXSIZE entries]`.
///
/// Replies `OK`. A value that differs makes all idempotent IDs forgotten. Effects:
/// ProducerSettings. Redis: 8.10.
#[derive(Debug)]
pub struct XCfgSet<'a> {
    key: &'a [u8],
    /// Bad ones are refused only after the key.
    limits: Result<ProducerLimits, CommandError>,
}

/// The limits that are to change; at least one.
#[derive(Debug, Clone, Copy, Default)]
struct ProducerLimits {
    duration_s: Option<u64>,
    maxsize: Option<u64>,
}

impl ProducerLimits {
    fn parse(mut args: Args<'_>) -> Result<Self, CommandError> {
        let mut limits = ProducerLimits::default();
        while args.remaining() > 0 {
            let has_value = args.remaining() > 1;
            let (limit, range, twice, outside) = if has_value && args.take_word("idmp-duration") {
                (
                    &mut limits.duration_s,
                    1..=86_400,
                    "ERR IDMP-DURATION specified multiple times",
                    "ERR IDMP-DURATION must be between 1 and 86400 seconds",
                )
            } else if has_value && args.take_word("idmp-maxsize") {
                (
                    &mut limits.maxsize,
                    1..=10_000,
                    "ERR IDMP-MAXSIZE specified multiple times",
                    "ERR IDMP-MAXSIZE must be between 1 and 10000 entries",
                )
            } else {
                return Err(CommandError::Syntax);
            };
            if limit.is_some() {
                return Err(CommandError::Fixed(twice));
            }
            let value = u64::try_from(args.integer()?).ok().filter(|value| range.contains(value));
            *limit = Some(value.ok_or(CommandError::Fixed(outside))?);
        }
        if limits.duration_s.is_none() && limits.maxsize.is_none() {
            return Err(CommandError::Fixed("ERR At least one parameter must be specified"));
        }
        Ok(limits)
    }
}

impl<'a> KeyCommand<'a> for XCfgSet<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XCfgSet { key: request.arg(1), limits: ProducerLimits::parse(request.args(2)) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let stream = txn.stream(&key)?.ok_or(CommandError::NoSuchKey)?;
        let limits = self.limits.as_ref().map_err(Clone::clone)?;
        let default = Producers::default();
        let current = stream.producers().unwrap_or(&default);
        let before = (current.duration_s(), current.maxsize());
        let after = (limits.duration_s.unwrap_or(before.0), limits.maxsize.unwrap_or(before.1));
        if after != before {
            let (duration_s, maxsize) = after;
            txn.effect(&mut key, Effect::ProducerSettings { duration_s, maxsize });
            txn.count_changes(1);
        }
        out.ok();
        Ok(Ran::Replied)
    }
}

/// Attaches an idempotent ID to an entry that exists: `XIDMPRECORD key pid iid id`.
///
/// Replies `OK`. Effects: ProducerAdd. Redis: 8.10, where rewritten append-only files use it.
#[derive(Debug)]
pub struct XIdmpRecord<'a> {
    key: &'a [u8],
    pid: &'a [u8],
    iid: &'a [u8],
    id: EntryId,
}

impl<'a> KeyCommand<'a> for XIdmpRecord<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let (pid, iid) = (request.arg(2), request.arg(3));
        let id = strict_id(request.arg(4))?;
        if pid.is_empty() {
            return Err(CommandError::Fixed("ERR producer ID must be non-empty"));
        }
        if iid.is_empty() {
            return Err(CommandError::Fixed("ERR idempotent ID must be non-empty"));
        }
        Ok(XIdmpRecord { key: request.arg(1), pid, iid, id })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let XIdmpRecord { pid, iid, id, .. } = *self;
        let mut key = txn.key(self.key);
        let stream = txn.stream(&key)?.ok_or(CommandError::NoSuchKey)?;
        if !stream.entries().contains(id) {
            return Err(CommandError::Fixed("ERR No such message in stream"));
        }
        match stream.producers().and_then(|known| known.entry_of(pid, iid)) {
            Some(known) if known == id => {}
            Some(_) => {
                return Err(CommandError::Fixed(
                    "ERR IID already exists for this producer with a different stream ID",
                ));
            }
            None => {
                txn.effect(&mut key, Effect::ProducerAdd { pid, iid, id });
                txn.count_changes(1);
            }
        }
        out.ok();
        Ok(Ran::Replied)
    }
}

#[cfg(test)]
mod tests;
