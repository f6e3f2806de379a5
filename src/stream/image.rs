//! A plain description of one whole stream, used wherever a stream crosses a format border:
//! DUMP and RESTORE, RDB files, our own log record of a restored key, tests.
//!
//! Everything logical is here and nothing structural: no blocks, no tombstones, no indexes. The
//! ID of the first entry is not stored, it is that of `entries[0]`. [`Image::check`] says what
//! makes an image consistent; whatever an image from outside becomes, it passes the check first.
//!
//! The native form, in `codec.rs`'s terms (an ID is two varints, milliseconds first):
//!
//! | part | bytes |
//! |---|---|
//! | version | `01` |
//! | counters | last ID, greatest deleted ID, varint entries added |
//! | entries | varint n, n × (ID, varint strings, strings × bytes) |
//! | groups | varint n, n × group |
//! | group | bytes name, ID last delivered, varint (entries read + 1, 0 = unknown) |
//! | … consumers | varint n, n × (bytes name, varint seen at, varint (active at + 1, 0 = never)) |
//! | … pending | varint n, n × (ID, varint (owner + 1, 0 = none), varint at, varint count) |
//! | … unowned | varint n, n × ID |
//! | producers | varint duration, varint maxsize, varint n, n × (bytes, varint m, m × (bytes, ID)) |
//! | … counters | varint iids added, varint iids duplicate |

use crate::codec::{Corrupt, Cursor, put_bytes, put_varint};
use crate::stream::SIGNED_MAX;
use crate::stream::id::{EntryId, UnixMs};
use std::collections::HashSet;

/// The version byte of the native form.
const VERSION: u8 = 1;

/// The most bytes an entry may take, counting [`STRING_OVERHEAD`] for each string, so that it fits
/// a listpack, whose size is a 32-bit number.
const ENTRY_MAX: usize = 3 << 30;

/// The most a listpack adds to a string.
const STRING_OVERHEAD: usize = 10;

/// Everything logical about one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// The entries by ID; each has field, value, field, value …
    pub entries: Vec<(EntryId, Vec<Box<[u8]>>)>,
    /// The greatest ID ever given, or set by XSETID.
    pub last_id: EntryId,
    /// The greatest ID ever deleted by XDEL and its like; `0-0` if none.
    pub max_deleted_id: EntryId,
    /// How many entries were ever added.
    pub entries_added: u64,
    /// The consumer groups.
    pub groups: Vec<GroupImage>,
    /// The idempotent producers.
    pub producers: ProducersImage,
}

/// One consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupImage {
    /// Its name.
    pub name: Box<[u8]>,
    /// The greatest ID handed out.
    pub last_delivered_id: EntryId,
    /// How many entries were read, if that can be known.
    pub entries_read: Option<u64>,
    /// Its consumers.
    pub consumers: Vec<ConsumerImage>,
    /// Its pending entries, by ID. The entry itself may be gone.
    pub pending: Vec<PendingImage>,
    /// The IDs of the pending entries without an owner, in the order they are handed out.
    pub unowned: Vec<EntryId>,
}

/// One consumer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerImage {
    /// Its name.
    pub name: Box<[u8]>,
    /// When it last asked for anything.
    pub seen_at: UnixMs,
    /// When it last got anything; `None` for never.
    pub active_at: Option<UnixMs>,
}

/// One pending entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PendingImage {
    /// The ID of the entry.
    pub id: EntryId,
    /// The owner, as an index into the group's consumers; `None` if it has none.
    pub owner: Option<usize>,
    /// When it was last delivered.
    pub delivered_at: UnixMs,
    /// How often it was delivered.
    pub count: u64,
}

/// The idempotent producers of a stream, and the settings of their memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducersImage {
    /// How long an idempotent ID is remembered, in seconds: 1 to 86400.
    pub duration_s: u64,
    /// How many idempotent IDs of one producer are remembered: 1 to 10000.
    pub maxsize: u64,
    /// Each producer's ID, and its idempotent IDs with the entries they made, oldest first.
    pub producers: Vec<ProducerImage>,
    /// How many idempotent IDs were ever added.
    pub iids_added: u64,
    /// How many duplicates were ever found.
    pub iids_duplicates: u64,
}

/// A producer's ID, and its idempotent IDs with the entries they made, oldest first.
pub type ProducerImage = (Box<[u8]>, Vec<(Box<[u8]>, EntryId)>);

impl Default for ProducersImage {
    fn default() -> Self {
        ProducersImage {
            duration_s: 100,
            maxsize: 100,
            producers: Vec::new(),
            iids_added: 0,
            iids_duplicates: 0,
        }
    }
}

impl Image {
    /// The ID of the first entry; `0-0` without entries.
    pub fn first_id(&self) -> EntryId {
        self.entries.first().map_or(EntryId::MIN, |(id, _)| *id)
    }

    /// Checks everything that makes the image one of a possible stream. Linear, but for hashing.
    ///
    /// # Errors
    /// [`Corrupt`] says which rule is broken.
    pub fn check(&self) -> Result<(), Corrupt> {
        let mut before = EntryId::MIN;
        for (id, strings) in &self.entries {
            ensure(*id > before, "entry IDs do not ascend")?;
            ensure(strings.len() % 2 == 0, "a field has no value")?;
            let bytes = strings.iter().try_fold(0_usize, |sum, string| {
                sum.checked_add(string.len())?.checked_add(STRING_OVERHEAD)
            });
            ensure(bytes.is_some_and(|bytes| bytes <= ENTRY_MAX), "an entry is too large")?;
            before = *id;
        }
        ensure(self.last_id >= before, "the last ID is below that of an entry")?;
        ensure(self.last_id >= self.max_deleted_id, "the last ID is below a deleted one")?;
        let length = self.entries.len() as u64;
        ensure(length <= self.entries_added, "fewer entries were added than there are")?;
        ensure(self.entries_added <= SIGNED_MAX, "the number of entries added is too large")?;
        ensure(distinct(self.groups.iter().map(|group| &group.name)), "two groups of one name")?;
        for group in &self.groups {
            group.check(self.entries_added)?;
        }
        self.producers.check()
    }

    /// Appends the native form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_id(out, self.last_id);
        put_id(out, self.max_deleted_id);
        put_varint(out, self.entries_added);
        put_varint(out, self.entries.len() as u64);
        for (id, strings) in &self.entries {
            put_id(out, *id);
            put_varint(out, strings.len() as u64);
            for string in strings {
                put_bytes(out, string);
            }
        }
        put_varint(out, self.groups.len() as u64);
        for group in &self.groups {
            group.encode(out);
        }
        self.producers.encode(out);
    }

    /// Reads the native form and checks the image.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes are not the native form, or the image is not consistent.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Image, Corrupt> {
        ensure(cursor.u8()? == VERSION, "an image of an unknown version")?;
        let image = Image {
            last_id: get_id(cursor)?,
            max_deleted_id: get_id(cursor)?,
            entries_added: cursor.varint()?,
            entries: list(cursor, |cursor| {
                let id = get_id(cursor)?;
                Ok((id, list(cursor, |cursor| Ok(cursor.bytes()?.into()))?))
            })?,
            groups: list(cursor, GroupImage::decode)?,
            producers: ProducersImage::decode(cursor)?,
        };
        image.check()?;
        Ok(image)
    }
}

impl GroupImage {
    /// Checks one group of a stream to which `entries_added` entries were added.
    fn check(&self, entries_added: u64) -> Result<(), Corrupt> {
        let read = self.entries_read.unwrap_or(0);
        ensure(read <= entries_added, "a group read more entries than were added")?;
        let names = self.consumers.iter().map(|consumer| &consumer.name);
        ensure(distinct(names), "two consumers of one name")?;
        for consumer in &self.consumers {
            ensure(consumer.seen_at.0 <= SIGNED_MAX, "a time is too large")?;
            let active_at = consumer.active_at.unwrap_or_default();
            ensure(active_at.0 <= SIGNED_MAX, "a time is too large")?;
        }
        let mut before = None;
        let mut without_owner = HashSet::new();
        for pending in &self.pending {
            ensure(before < Some(pending.id), "pending entries do not ascend")?;
            ensure(pending.delivered_at.0 <= SIGNED_MAX, "a time is too large")?;
            ensure(pending.count <= SIGNED_MAX, "a delivery count is too large")?;
            match pending.owner {
                Some(owner) => ensure(owner < self.consumers.len(), "an owner does not exist")?,
                None => drop(without_owner.insert(pending.id)),
            }
            before = Some(pending.id);
        }
        for id in &self.unowned {
            ensure(without_owner.remove(id), "an unowned entry is not pending, or has an owner")?;
        }
        ensure(without_owner.is_empty(), "a pending entry has no owner")
    }

    /// Appends the native form.
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.name);
        put_id(out, self.last_delivered_id);
        put_option(out, self.entries_read);
        put_varint(out, self.consumers.len() as u64);
        for consumer in &self.consumers {
            put_bytes(out, &consumer.name);
            put_varint(out, consumer.seen_at.0);
            put_option(out, consumer.active_at.map(|at| at.0));
        }
        put_varint(out, self.pending.len() as u64);
        for pending in &self.pending {
            put_id(out, pending.id);
            put_option(out, pending.owner.map(|owner| owner as u64));
            put_varint(out, pending.delivered_at.0);
            put_varint(out, pending.count);
        }
        put_varint(out, self.unowned.len() as u64);
        for id in &self.unowned {
            put_id(out, *id);
        }
    }

    /// Reads the native form.
    fn decode(cursor: &mut Cursor<'_>) -> Result<GroupImage, Corrupt> {
        Ok(GroupImage {
            name: cursor.bytes()?.into(),
            last_delivered_id: get_id(cursor)?,
            entries_read: get_option(cursor)?,
            consumers: list(cursor, |cursor| {
                Ok(ConsumerImage {
                    name: cursor.bytes()?.into(),
                    seen_at: UnixMs(cursor.varint()?),
                    active_at: get_option(cursor)?.map(UnixMs),
                })
            })?,
            pending: list(cursor, |cursor| {
                let id = get_id(cursor)?;
                let owner = get_option(cursor)?.map(usize::try_from).transpose();
                Ok(PendingImage {
                    id,
                    owner: owner.map_err(|_| Corrupt("an owner does not exist"))?,
                    delivered_at: UnixMs(cursor.varint()?),
                    count: cursor.varint()?,
                })
            })?,
            unowned: list(cursor, get_id)?,
        })
    }
}

impl ProducersImage {
    /// Checks the settings, and that IDs are unique, few enough and not empty.
    fn check(&self) -> Result<(), Corrupt> {
        ensure((1..=86_400).contains(&self.duration_s), "the idempotence duration is off limits")?;
        ensure((1..=10_000).contains(&self.maxsize), "the idempotence size is off limits")?;
        ensure(distinct(self.producers.iter().map(|(pid, _)| pid)), "two producers of one ID")?;
        for (pid, iids) in &self.producers {
            ensure(!pid.is_empty(), "a producer ID is empty")?;
            ensure(iids.len() as u64 <= self.maxsize, "a producer has too many idempotent IDs")?;
            ensure(iids.iter().all(|(iid, _)| !iid.is_empty()), "an idempotent ID is empty")?;
            ensure(distinct(iids.iter().map(|(iid, _)| iid)), "an idempotent ID appears twice")?;
        }
        Ok(())
    }

    /// Appends the native form.
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.duration_s);
        put_varint(out, self.maxsize);
        put_varint(out, self.producers.len() as u64);
        for (pid, iids) in &self.producers {
            put_bytes(out, pid);
            put_varint(out, iids.len() as u64);
            for (iid, id) in iids {
                put_bytes(out, iid);
                put_id(out, *id);
            }
        }
        put_varint(out, self.iids_added);
        put_varint(out, self.iids_duplicates);
    }

    /// Reads the native form.
    fn decode(cursor: &mut Cursor<'_>) -> Result<ProducersImage, Corrupt> {
        Ok(ProducersImage {
            duration_s: cursor.varint()?,
            maxsize: cursor.varint()?,
            producers: list(cursor, |cursor| {
                let pid = cursor.bytes()?.into();
                let iids = list(cursor, |cursor| Ok((cursor.bytes()?.into(), get_id(cursor)?)))?;
                Ok((pid, iids))
            })?,
            iids_added: cursor.varint()?,
            iids_duplicates: cursor.varint()?,
        })
    }
}

/// Refuses unless `condition` holds.
fn ensure(condition: bool, rule: &'static str) -> Result<(), Corrupt> {
    if condition { Ok(()) } else { Err(Corrupt(rule)) }
}

/// Whether no two names are equal.
fn distinct<'a>(names: impl Iterator<Item = &'a Box<[u8]>>) -> bool {
    let mut seen = HashSet::new();
    names.into_iter().all(|name| seen.insert(&**name))
}

/// Appends an entry ID.
fn put_id(out: &mut Vec<u8>, id: EntryId) {
    put_varint(out, id.ms);
    put_varint(out, id.seq);
}

/// Reads an entry ID.
fn get_id(cursor: &mut Cursor<'_>) -> Result<EntryId, Corrupt> {
    Ok(EntryId::new(cursor.varint()?, cursor.varint()?))
}

/// Appends a number that may be missing; it is below the greatest.
fn put_option(out: &mut Vec<u8>, value: Option<u64>) {
    put_varint(out, value.map_or(0, |value| value.saturating_add(1)));
}

/// Reads a number that may be missing.
fn get_option(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Corrupt> {
    Ok(cursor.varint()?.checked_sub(1))
}

/// Reads a count, then that many items. Room is made as items arrive, never from the count alone.
fn list<T>(
    cursor: &mut Cursor<'_>,
    mut item: impl FnMut(&mut Cursor<'_>) -> Result<T, Corrupt>,
) -> Result<Vec<T>, Corrupt> {
    let count = cursor.count()?;
    let mut items = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        items.push(item(cursor)?);
    }
    items.shrink_to_fit();
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Image {
        let id = EntryId::new;
        let consumer = |name: &[u8], active: Option<u64>| ConsumerImage {
            name: name.into(),
            seen_at: UnixMs(1_700_000_000_005),
            active_at: active.map(UnixMs),
        };
        let pending = |id, owner| PendingImage { id, owner, delivered_at: UnixMs(9), count: 2 };
        Image {
            entries: vec![
                (id(1, 0), vec![b"k"[..].into(), b"v"[..].into()]),
                (id(1, 1), vec![b""[..].into(), vec![7; 300].into()]),
            ],
            last_id: id(5, 0),
            max_deleted_id: id(4, 0),
            entries_added: 4,
            groups: vec![
                GroupImage::default(),
                GroupImage {
                    name: b"g"[..].into(),
                    last_delivered_id: id(1, 1),
                    entries_read: Some(2),
                    consumers: vec![consumer(b"a", Some(0)), consumer(b"b", None)],
                    pending: vec![
                        pending(id(1, 0), Some(1)),
                        pending(id(1, 1), None),
                        pending(id(3, 0), None),
                    ],
                    unowned: vec![id(3, 0), id(1, 1)],
                },
            ],
            producers: ProducersImage {
                maxsize: 2,
                producers: vec![(b"p"[..].into(), vec![(b"i"[..].into(), id(1, 0))])],
                iids_added: 1,
                ..ProducersImage::default()
            },
        }
    }

    #[test]
    fn the_native_form_comes_back_and_damage_never_panics() {
        for image in [Image::default(), sample()] {
            let mut bytes = Vec::new();
            image.encode(&mut bytes);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(Image::decode(&mut cursor), Ok(image));
            assert!(cursor.is_empty());
            for cut in 0..bytes.len() {
                assert!(Image::decode(&mut Cursor::new(&bytes[..cut])).is_err());
            }
            for at in 0..bytes.len() {
                for flip in 1..=255 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= flip;
                    if let Ok(image) = Image::decode(&mut Cursor::new(&damaged)) {
                        assert_eq!(image.check(), Ok(()));
                    }
                }
            }
        }
    }

    #[test]
    fn every_rule_refuses_what_breaks_it() {
        let breaks: [fn(&mut Image); 25] = [
            |image| image.entries.swap(0, 1),
            |image| image.entries[0].0 = EntryId::MIN,
            |image| image.entries[1].0 = image.entries[0].0,
            |image| drop(image.entries[0].1.pop()),
            |image| image.last_id = EntryId::new(1, 0),
            |image| image.max_deleted_id = EntryId::new(5, 1),
            |image| image.entries_added = 1,
            |image| image.entries_added = 1 << 63,
            |image| image.groups[0].name = b"g"[..].into(),
            |image| image.groups[1].entries_read = Some(5),
            |image| image.groups[1].consumers[0].name = b"b"[..].into(),
            |image| image.groups[1].consumers[0].seen_at = UnixMs(1 << 63),
            |image| image.groups[1].consumers[0].active_at = Some(UnixMs(1 << 63)),
            |image| image.groups[1].pending.swap(0, 1),
            |image| image.groups[1].pending[1].id = EntryId::new(1, 0),
            |image| image.groups[1].pending[0].owner = Some(2),
            |image| image.groups[1].pending[0].owner = None,
            |image| image.groups[1].pending[1].owner = Some(0),
            |image| image.groups[1].pending[1].count = 1 << 63,
            |image| image.groups[1].pending[1].delivered_at = UnixMs(1 << 63),
            |image| image.groups[1].unowned[1] = EntryId::new(3, 0),
            |image| image.producers.duration_s = 0,
            |image| image.producers.maxsize = 10_001,
            |image| image.producers.producers.push((b"p"[..].into(), Vec::new())),
            |image| image.producers.producers[0].1[0].0 = b""[..].into(),
        ];
        assert_eq!(sample().check(), Ok(()));
        for (i, broken) in breaks.iter().enumerate() {
            let mut image = sample();
            broken(&mut image);
            assert!(image.check().is_err(), "rule {i}");
        }
    }
}
