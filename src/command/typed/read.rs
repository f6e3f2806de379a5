//! XLEN, XRANGE, XREVRANGE, XREAD and XINFO as types.

use super::{Call, Start, read_name, write_option};
use crate::command::entry::Entry;
use crate::command::value::{Reader, Unexpected};
use crate::command::{Reply, Requests};
use crate::stream::EntryId;
use bytes::Bytes;
use std::time::Duration;

/// Tells how many entries a stream has.
#[derive(Debug, Clone, Default)]
pub struct XLen {
    /// The stream.
    pub key: Bytes,
}

impl Call for XLen {
    type Output = u64;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XLEN").arg(&self.key);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        reader.count()
    }
}

/// Answers the entries between two IDs, both included, oldest first.
#[derive(Debug, Clone)]
pub struct XRange {
    /// The stream.
    pub key: Bytes,
    /// The least ID.
    pub start: EntryId,
    /// The greatest ID.
    pub end: EntryId,
    /// The most entries.
    pub count: Option<u64>,
}

impl Default for XRange {
    fn default() -> Self {
        XRange { key: Bytes::new(), start: EntryId::MIN, end: EntryId::MAX, count: None }
    }
}

impl Call for XRange {
    type Output = Vec<Entry>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XRANGE").arg(&self.key).id(self.start).id(self.end);
        write_option(requests, "COUNT", self.count);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        Entry::read_all(reader)
    }
}

/// Answers the entries between two IDs, both included, newest first.
#[derive(Debug, Clone)]
pub struct XRevRange {
    /// The stream.
    pub key: Bytes,
    /// The greatest ID.
    pub end: EntryId,
    /// The least ID.
    pub start: EntryId,
    /// The most entries.
    pub count: Option<u64>,
}

impl Default for XRevRange {
    fn default() -> Self {
        XRevRange { key: Bytes::new(), end: EntryId::MAX, start: EntryId::MIN, count: None }
    }
}

impl Call for XRevRange {
    type Output = Vec<Entry>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XREVRANGE").arg(&self.key).id(self.end).id(self.start);
        write_option(requests, "COUNT", self.count);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        Entry::read_all(reader)
    }
}

/// Answers the entries of several streams that are newer than an ID of each; streams without any
/// are left out.
#[derive(Debug, Clone, Default)]
pub struct XRead {
    /// The streams, and after what to read each.
    pub streams: Vec<(Bytes, Start)>,
    /// The most entries of each stream.
    pub count: Option<u64>,
    /// How long to wait if there are none; zero is forever.
    pub block: Option<Duration>,
}

/// `BLOCK ms`; what is shorter than a millisecond is one, for 0 is forever.
pub(super) fn write_block(requests: &mut Requests, block: Option<Duration>) {
    let ms = block.map(|block| match u64::try_from(block.as_millis()) {
        Ok(0) if !block.is_zero() => 1,
        Ok(ms) => ms,
        Err(_) => 0,
    });
    write_option(requests, "BLOCK", ms);
}

impl Call for XRead {
    type Output = Vec<(Bytes, Vec<Entry>)>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XREAD");
        write_option(requests, "COUNT", self.count);
        write_block(requests, self.block);
        requests.arg("STREAMS");
        requests.args(self.streams.iter().map(|(key, _)| key));
        self.streams.iter().for_each(|(_, after)| after.write(requests));
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        let n = reader.map()?.unwrap_or_default();
        (0..n).map(|_| Ok((read_name(reader)?, Entry::read_all(reader)?))).collect()
    }
}

/// Answers what is known of a stream: XINFO STREAM's map, by [`Reply::get`].
#[derive(Debug, Clone, Default)]
pub struct XInfoStream {
    /// The stream.
    pub key: Bytes,
}

impl Call for XInfoStream {
    type Output = Reply;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XINFO").arg("STREAM").arg(&self.key);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        reader.reply()
    }
}

/// What is known of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its name.
    pub name: Bytes,
    /// How many consumers it has.
    pub consumers: u64,
    /// How many entries are delivered and not acknowledged.
    pub pending: u64,
    /// The last entry it has delivered.
    pub last_delivered_id: EntryId,
    /// How many entries it has read, if that is known.
    pub entries_read: Option<u64>,
    /// How many entries it has not delivered yet, if that is known.
    pub lag: Option<u64>,
}

/// Answers what is known of each group of a stream.
#[derive(Debug, Clone, Default)]
pub struct XInfoGroups {
    /// The stream.
    pub key: Bytes,
}

impl Call for XInfoGroups {
    type Output = Vec<GroupInfo>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XINFO").arg("GROUPS").arg(&self.key);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        let read = |reader: &mut Reader| {
            let mut info = GroupInfo::default();
            for _ in 0..reader.map()?.unwrap_or_default() {
                match &read_name(reader)?[..] {
                    b"name" => info.name = read_name(reader)?,
                    b"consumers" => info.consumers = reader.count()?,
                    b"pending" => info.pending = reader.count()?,
                    b"last-delivered-id" => {
                        info.last_delivered_id = reader.id()?.ok_or(Unexpected)?
                    }
                    b"entries-read" => info.entries_read = read_if_known(reader)?,
                    b"lag" => info.lag = read_if_known(reader)?,
                    _ => drop(reader.reply()?),
                }
            }
            Ok(info)
        };
        (0..reader.array()?.unwrap_or_default()).map(|_| read(reader)).collect()
    }
}

fn read_if_known(reader: &mut Reader) -> Result<Option<u64>, Unexpected> {
    // What is not known is null, in `inactive` it is -1.
    Ok(reader.reply()?.as_integer().and_then(|value| u64::try_from(value).ok()))
}

/// What is known of a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its name.
    pub name: Bytes,
    /// How many entries it has not acknowledged.
    pub pending: u64,
    /// For how long it has not asked for anything.
    pub idle: Duration,
    /// For how long it has not got anything; `None` if it never has.
    pub inactive: Option<Duration>,
}

/// Answers what is known of each consumer of a group.
#[derive(Debug, Clone, Default)]
pub struct XInfoConsumers {
    /// The stream.
    pub key: Bytes,
    /// The group.
    pub group: Bytes,
}

impl Call for XInfoConsumers {
    type Output = Vec<ConsumerInfo>;

    fn write(&self, requests: &mut Requests) {
        requests.arg("XINFO").arg("CONSUMERS").arg(&self.key).arg(&self.group);
    }

    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected> {
        let read = |reader: &mut Reader| {
            let mut info = ConsumerInfo::default();
            for _ in 0..reader.map()?.unwrap_or_default() {
                match &read_name(reader)?[..] {
                    b"name" => info.name = read_name(reader)?,
                    b"pending" => info.pending = reader.count()?,
                    b"idle" => info.idle = Duration::from_millis(reader.count()?),
                    b"inactive" => {
                        info.inactive = read_if_known(reader)?.map(Duration::from_millis);
                    }
                    _ => drop(reader.reply()?),
                }
            }
            Ok(info)
        };
        (0..reader.array()?.unwrap_or_default()).map(|_| read(reader)).collect()
    }
}
