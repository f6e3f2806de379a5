//! XGROUP, XREADGROUP, XACK, XACKDEL, XNACK, XPENDING, XCLAIM, XAUTOCLAIM as types.

use super::read::write_block;
use super::{Call, Deleted, References, Start, read_name, read_ok, write_ids, write_option};
use crate::command::Requests;
use crate::command::entry::Entry;
use crate::command::value::{Reader, Unexpected};
use crate::stream::EntryId;
use bytes::Bytes;
use std::time::Duration;

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(i64::MAX.cast_unsigned())
}

/// Creates a group.
#[derive(Debug, Clone, Default)]
pub struct XGroupCreate {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// Where it begins.
    pub start: Start,
    /// Whether the stream is created if it is missing.
    pub create: bool,
    /// How many entries count as read by it.
    pub entries_read: Option<u64>,
}

impl Call for XGroupCreate {
    type Output = ();

    fn write(&self, requests: &mut Requests) {
        requests.arg("XGROUP").arg("CREATE").arg(&self.key).arg(&self.group);
        self.start.write(requests);
        if self.create {
            requests.arg("MKSTREAM");
        }
        write_option(requests, "ENTRIESREAD", self.entries_read);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        read_ok(reader)
    }
}

/// Sets what a group delivers next: replay, or skipping.
#[derive(Debug, Clone, Default)]
pub struct XGroupSetId {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// Where it goes on.
    pub start: Start,
    /// How many entries count as read by it.
    pub entries_read: Option<u64>,
}

impl Call for XGroupSetId {
    type Output = ();

    fn write(&self, requests: &mut Requests) {
        requests.arg("XGROUP").arg("SETID").arg(&self.key).arg(&self.group);
        self.start.write(requests);
        write_option(requests, "ENTRIESREAD", self.entries_read);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        read_ok(reader)
    }
}

/// Deletes a group. Answers whether there was one.
#[derive(Debug, Clone, Default)]
pub struct XGroupDestroy {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
}

impl Call for XGroupDestroy {
    type Output = bool;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XGROUP").arg("DESTROY").arg(&self.key).arg(&self.group);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        Ok(reader.count()? == 1)
    }
}

/// Creates a consumer. Answers whether it is new.
#[derive(Debug, Clone, Default)]
pub struct XGroupCreateConsumer {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// The consumer.
    pub consumer: Bytes,
}

impl Call for XGroupCreateConsumer {
    type Output = bool;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XGROUP").arg("CREATECONSUMER").arg(&self.key).arg(&self.group);
        requests.arg(&self.consumer);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        Ok(reader.count()? == 1)
    }
}

/// Deletes a consumer **and its pending entries**. Answers how many it had.
#[derive(Debug, Clone, Default)]
pub struct XGroupDelConsumer {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// The consumer.
    pub consumer: Bytes,
}

impl Call for XGroupDelConsumer {
    type Output = u64;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XGROUP").arg("DELCONSUMER").arg(&self.key).arg(&self.group);
        requests.arg(&self.consumer);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        reader.count()
    }
}

/// An entry as a group hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The entry.
    pub entry: Entry,
    /// How long it had been idle, and how often it had been delivered before, if that was told:
    /// it is when idle entries were asked for, too.
    pub before: Option<(Duration, u64)>,
}

impl Delivered {
    fn read(reader: &mut Reader) -> Result<Option<Delivered>, Unexpected> {
        let n = reader.array()?;
        let Some(entry) = Entry::read_parts(reader)? else { return Ok(None) };
        let before = match n {
            Some(2) => None,
            Some(4) => Some((Duration::from_millis(reader.count()?), reader.count()?)),
            _ => return Err(Unexpected),
        };
        Ok(Some(Delivered { entry, before }))
    }

    fn read_all(reader: &mut Reader) -> Result<Vec<Delivered>, Unexpected> {
        let n = reader.array()?.unwrap_or_default();
        let mut all = Vec::with_capacity(n);
        for _ in 0..n {
            all.extend(Delivered::read(reader)?);
        }
        Ok(all)
    }
}

/// Delivers entries of several streams to a consumer; streams without any are left out.
#[derive(Debug, Clone, Default)]
pub struct XReadGroup {
    /// The group.
    pub group: Bytes,
    /// The consumer, which is created if it is missing.
    pub consumer: Bytes,
    /// The streams. `None` asks for entries that the group has not delivered, an ID for the
    /// consumer's own pending ones after it.
    pub streams: Vec<(Bytes, Option<EntryId>)>,
    /// The most entries of each stream.
    pub count: Option<u64>,
    /// How long to wait if there are none; zero is forever.
    pub block: Option<Duration>,
    /// Before new entries, pending ones that have been idle for so long, or that nobody owns.
    pub claim: Option<Duration>,
    /// Whether what is delivered counts as acknowledged.
    pub no_ack: bool,
}

impl XReadGroup {
    /// Writes the request, for these streams and no others.
    pub(crate) fn write_for<'a>(
        &self,
        streams: impl Iterator<Item = (&'a [u8], Option<EntryId>)> + Clone,
        requests: &mut Requests,
    ) {
        requests.arg("XREADGROUP").arg("GROUP").arg(&self.group).arg(&self.consumer);
        write_option(requests, "COUNT", self.count);
        write_block(requests, self.block);
        write_option(requests, "CLAIM", self.claim.map(ms));
        if self.no_ack {
            requests.arg("NOACK");
        }
        requests.arg("STREAMS");
        requests.args(streams.clone().map(|(key, _)| key));
        for (_, after) in streams {
            match after {
                None => requests.arg(">"),
                Some(after) => requests.id(after),
            };
        }
    }

    /// Reads the reply about one stream.
    pub(crate) fn read_one(reader: &mut Reader) -> Result<Vec<Delivered>, Unexpected> {
        if reader.map()?.unwrap_or_default() == 0 {
            return Ok(Vec::new());
        }
        reader.pass()?;
        Delivered::read_all(reader)
    }
}

impl Call for XReadGroup {
    type Output = Vec<(Bytes, Vec<Delivered>)>;

    fn write(&self, requests: &mut Requests) {
        self.write_for(self.streams.iter().map(|(key, after)| (&key[..], *after)), requests);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        let n = reader.map()?.unwrap_or_default();
        (0..n).map(|_| Ok((read_name(reader)?, Delivered::read_all(reader)?))).collect()
    }
}

/// Acknowledges entries. Answers how many were pending.
#[derive(Debug, Clone, Default)]
pub struct XAck {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// The entries; at least one.
    pub ids: Vec<EntryId>,
}

impl Call for XAck {
    type Output = u64;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XACK").arg(&self.key).arg(&self.group);
        requests.ids(&self.ids);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        reader.count()
    }
}

/// Acknowledges entries and deletes them. Answers what became of each.
#[derive(Debug, Clone, Default)]
pub struct XAckDel {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// What becomes of other groups' references.
    pub references: References,
    /// The entries; at least one.
    pub ids: Vec<EntryId>,
}

impl Call for XAckDel {
    type Output = Vec<Deleted>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XACKDEL").arg(&self.key).arg(&self.group);
        self.references.write(requests);
        write_ids(requests, &self.ids);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        Deleted::read_all(reader)
    }
}

/// What giving an entry back does to its delivery count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The delivery counts.
    #[default]
    Fail,
    /// It does not count: the entry was never tried.
    Silent,
    /// The count becomes the greatest: nobody need try again.
    Fatal,
}

/// Gives pending entries back to the group. Answers how many.
#[derive(Debug, Clone, Default)]
pub struct XNack {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// What it does to the delivery count.
    pub mode: Mode,
    /// The entries; at least one.
    pub ids: Vec<EntryId>,
    /// The delivery count to set instead.
    pub retry_count: Option<u64>,
    /// Whether entries that are not pending become so.
    pub force: bool,
}

impl Call for XNack {
    type Output = u64;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XNACK").arg(&self.key).arg(&self.group).arg(match self.mode {
            Mode::Fail => "FAIL",
            Mode::Silent => "SILENT",
            Mode::Fatal => "FATAL",
        });
        write_ids(requests, &self.ids);
        write_option(requests, "RETRYCOUNT", self.retry_count);
        if self.force {
            requests.arg("FORCE");
        }
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        reader.count()
    }
}

/// A group's pending entries in short.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PendingSummary {
    /// How many there are.
    pub count: u64,
    /// The least and the greatest ID.
    pub ids: Option<(EntryId, EntryId)>,
    /// How many each consumer has.
    pub consumers: Vec<(Bytes, u64)>,
}

/// Tells about the pending entries of a group in short.
#[derive(Debug, Clone, Default)]
pub struct XPending {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
}

impl Call for XPending {
    type Output = PendingSummary;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XPENDING").arg(&self.key).arg(&self.group);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        if reader.array()? != Some(4) {
            return Err(Unexpected);
        }
        let count = reader.count()?;
        let ids = reader.id()?.zip(reader.id()?);
        let mut consumers = Vec::new();
        for _ in 0..reader.array()?.unwrap_or_default() {
            reader.array()?;
            consumers.push((read_name(reader)?, reader.count()?));
        }
        Ok(PendingSummary { count, ids, consumers })
    }
}

/// A pending entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingEntry {
    /// Its ID.
    pub id: EntryId,
    /// Who has it; `None` if it was given back.
    pub consumer: Option<Bytes>,
    /// How long ago it was delivered; `None` if it was given back.
    pub idle: Option<Duration>,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// Lists pending entries of a group.
#[derive(Debug, Clone)]
pub struct XPendingEntries {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// The least and the greatest ID.
    pub ids: (EntryId, EntryId),
    /// The most entries.
    pub count: u64,
    /// Only those that have been idle for so long.
    pub min_idle: Option<Duration>,
    /// Only those of this consumer.
    pub consumer: Option<Bytes>,
}

impl Call for XPendingEntries {
    type Output = Vec<PendingEntry>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XPENDING").arg(&self.key).arg(&self.group);
        write_option(requests, "IDLE", self.min_idle.map(ms));
        requests.id(self.ids.0).id(self.ids.1).number(self.count);
        if let Some(consumer) = &self.consumer {
            requests.arg(consumer);
        }
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        let n = reader.array()?.unwrap_or_default();
        let read = |_| {
            reader.array()?;
            let id = reader.id()?.ok_or(Unexpected)?;
            let consumer = reader.bulk()?.filter(|name| !name.is_empty());
            let idle = u64::try_from(reader.integer()?).ok().map(Duration::from_millis);
            Ok(PendingEntry { id, consumer, idle, deliveries: reader.count()? })
        };
        (0..n).map(read).collect()
    }
}

/// Gives certain pending entries to a consumer. Answers those it got.
#[derive(Debug, Clone, Default)]
pub struct XClaim {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// The consumer.
    pub consumer: Bytes,
    /// Only those that have been idle for so long.
    pub min_idle: Duration,
    /// The entries; at least one.
    pub ids: Vec<EntryId>,
    /// Whether the delivery does not count: what had it keeps it for longer. Answers nothing then.
    pub just_id: bool,
    /// Whether entries that are not pending become so.
    pub force: bool,
}

impl Call for XClaim {
    type Output = Vec<Entry>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XCLAIM").arg(&self.key).arg(&self.group).arg(&self.consumer);
        requests.number(ms(self.min_idle));
        requests.ids(&self.ids);
        if self.force {
            requests.arg("FORCE");
        }
        if self.just_id {
            requests.arg("JUSTID");
        }
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        let mut ids = reader.clone();
        let n = ids.array()?.unwrap_or_default();
        if n > 0 && ids.bulk().is_ok() {
            // With JUSTID these are IDs alone.
            reader.reply()?;
            return Ok(Vec::new());
        }
        Entry::read_all(reader)
    }
}

/// Gives pending entries that have been idle for long to a consumer.
#[derive(Debug, Clone, Default)]
pub struct XAutoClaim {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
    /// The consumer.
    pub consumer: Bytes,
    /// Only those that have been idle for so long.
    pub min_idle: Duration,
    /// Where to begin to look.
    pub start: EntryId,
    /// The most entries; 100 by default.
    pub count: Option<u64>,
}

/// What [`XAutoClaim`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct XAutoClaimed {
    /// Where to go on; `0-0` at the end.
    pub next: EntryId,
    /// The entries that the consumer got.
    pub entries: Vec<Entry>,
    /// Pending entries that were dropped because their entry is gone.
    pub gone: Vec<EntryId>,
}

impl Call for XAutoClaim {
    type Output = XAutoClaimed;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XAUTOCLAIM").arg(&self.key).arg(&self.group).arg(&self.consumer);
        requests.number(ms(self.min_idle)).id(self.start);
        write_option(requests, "COUNT", self.count);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        if reader.array()? != Some(3) {
            return Err(Unexpected);
        }
        let next = reader.id()?.ok_or(Unexpected)?;
        let entries = Entry::read_all(reader)?;
        let n = reader.array()?.unwrap_or_default();
        let gone = (0..n).map(|_| reader.id()?.ok_or(Unexpected)).collect::<Result<_, _>>()?;
        Ok(XAutoClaimed { next, entries, gone })
    }
}
