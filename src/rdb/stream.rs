//! One stream value as Redis writes it, to an [`Image`] and back.
//!
//! | part | bytes |
//! |---|---|
//! | nodes | len n, n × (string of 16 bytes: node key, string: listpack) |
//! | counters | len length, ID last; from type 19 on also ID first, ID deleted, len added |
//! | groups | len n, n × group |
//! | group | string name, ID last delivered; from type 19 on also len read (2^64-1: unknown) |
//! | … pending | len n, n × (16 bytes ID, 8 bytes time, len deliveries) |
//! | … consumers | len n, n × (string name, 8 bytes seen; from 21 on 8 bytes active; pending) |
//! | … … pending | len n, n × 16 bytes ID, which the group has pending |
//! | … unowned | type 27 only: len n, n × 16 bytes ID, in the order they are handed out |
//! | producers | types 26 and 27: len seconds, len size, len n, n × producer, len added, len dupl. |
//! | producer | string ID, len n, n × (string idempotent ID, ID of the entry) |
//!
//! A node is a listpack: `count, deleted, n, n fields, 0`, then each entry, `flags, ms, seq`
//! relative to the node key, its strings, and the number of its elements before that number. With
//! the flag SAME the strings are the values for the node's fields, else `n, n × (field, value)`.
//!
//! Bytes from outside are believed in nothing: what the decoder accepts has been checked whole,
//! here (structure) and by [`Image::check`] (content). Work and memory are linear in the input,
//! up to the budget of [`Reader`].

use crate::codec::Corrupt;
use crate::rdb::listpack::{Elements, Writer};
use crate::rdb::wire::{Reader, put_id, put_len, put_string};
use crate::stream::image::{
    ConsumerImage, GroupImage, Image, PendingImage, ProducerImage, ProducersImage,
};
use crate::stream::{EntryId, UnixMs};
use std::collections::HashSet;

/// Flag of an entry: it is deleted.
const DELETED: i64 = 1;
/// Flag of an entry: its fields are the node's.
const SAME: i64 = 2;
/// The defaults of Redis for the size of a node.
const NODE_BYTES: usize = 4096;
/// See [`NODE_BYTES`].
const NODE_ENTRIES: u8 = 100;
/// What a string of an [`Image`] takes besides its bytes, roughly.
const STRING_COST: usize = 32;

/// The type byte of a stream value; a later one carries all that an earlier one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Type 15, of Redis 5.0.
    Base,
    /// Type 19, of Redis 7.0: counters.
    Counters,
    /// Type 21, of Redis 7.2 and every Valkey: when a consumer was active.
    Active,
    /// Type 26, of Redis 8.6: idempotent producers.
    Producers,
    /// Type 27, of Redis 8.8: unowned pending entries.
    Unowned,
}

impl Kind {
    /// The kind of a type byte; `None` if it is not that of a stream.
    pub(super) fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            15 => Kind::Base,
            19 => Kind::Counters,
            21 => Kind::Active,
            26 => Kind::Producers,
            27 => Kind::Unowned,
            _ => return None,
        })
    }

    /// The type byte.
    pub(super) fn byte(self) -> u8 {
        match self {
            Kind::Base => 15,
            Kind::Counters => 19,
            Kind::Active => 21,
            Kind::Producers => 26,
            Kind::Unowned => 27,
        }
    }

    /// The first version of the format that has it.
    pub(super) fn version(self) -> u16 {
        match self {
            Kind::Base => 9,
            Kind::Counters => 10,
            Kind::Active => 11,
            Kind::Producers => 13,
            Kind::Unowned => 14,
        }
    }

    /// The lowest kind we write that loses nothing of `image`.
    pub(super) fn of(image: &Image) -> Kind {
        if image.groups.iter().any(|group| !group.unowned.is_empty()) {
            Kind::Unowned
        } else if image.producers != ProducersImage::default() {
            Kind::Producers
        } else {
            Kind::Active
        }
    }
}

/// Reads a stream value of the given kind.
///
/// # Errors
/// [`Corrupt`] says what is wrong with it.
pub(super) fn decode(kind: Kind, reader: &mut Reader<'_>) -> Result<Image, Corrupt> {
    let mut image = Image::default();
    let greatest = nodes(reader, &mut image)?;
    let length = image.entries.len() as u64;
    if reader.len()? != length {
        return Err(Corrupt("the length is not the number of entries"));
    }
    image.last_id = reader.id()?;
    if image.last_id < greatest {
        return Err(Corrupt("the last ID is below that of an entry"));
    }
    image.entries_added = length;
    if kind >= Kind::Counters {
        // What is written as the first ID is not needed: the entries say what it is.
        reader.id()?;
        image.max_deleted_id = reader.id()?;
        image.entries_added = reader.len()?;
    }
    for _ in 0..reader.count(6)? {
        let group = group(kind, reader, &image)?;
        image.groups.push(group);
    }
    if kind >= Kind::Producers {
        image.producers = producers(reader)?;
    }
    image.check()?;
    Ok(image)
}

/// Reads the nodes. Answers the greatest ID they name, deleted ones included.
fn nodes(reader: &mut Reader<'_>, image: &mut Image) -> Result<EntryId, Corrupt> {
    let mut greatest = None;
    for _ in 0..reader.count(8)? {
        let key = EntryId::from_key(&reader.string()?)?;
        if greatest >= Some(key) {
            return Err(Corrupt("node keys do not ascend"));
        }
        let blob = reader.string()?;
        greatest = Some(node(key, &blob, reader, image)?);
    }
    Ok(greatest.unwrap_or_default())
}

/// Reads one node. Answers its greatest ID; the key if it has no entries at all.
fn node(
    key: EntryId,
    blob: &[u8],
    reader: &mut Reader<'_>,
    image: &mut Image,
) -> Result<EntryId, Corrupt> {
    let mut elements = Elements::new(blob)?;
    let (count, deleted) = (natural(&mut elements)?, natural(&mut elements)?);
    let mut fields = Vec::new();
    for _ in 0..pairs(&mut elements)? {
        fields.push(elements.element()?.text());
    }
    if elements.number()? != 0 {
        return Err(Corrupt("the fields of a node do not end with 0"));
    }
    let fields_cost: usize = fields.iter().map(|field| field.len() + STRING_COST).sum();
    let (mut seen, mut seen_deleted, mut before) = (0, 0, None);
    while elements.bytes_left() > 0 {
        let flags = elements.number()?;
        if flags & !(DELETED | SAME) != 0 {
            return Err(Corrupt("an entry has unknown flags"));
        }
        let id = EntryId::new(
            key.ms.wrapping_add(elements.number()?.cast_unsigned()),
            key.seq.wrapping_add(elements.number()?.cast_unsigned()),
        );
        if id < key || before >= Some(id) {
            return Err(Corrupt("the entry IDs of a node do not ascend"));
        }
        before = Some(id);
        let mut strings = Vec::new();
        let same = flags & SAME != 0;
        if same {
            reader.spend(fields_cost)?;
            for field in &fields {
                strings.push(Box::from(&**field));
                strings.push(elements.element()?.text().into());
            }
        } else {
            for _ in 0..2 * pairs(&mut elements)? {
                strings.push(elements.element()?.text().into());
            }
        }
        let elements_before = strings.len() / if same { 2 } else { 1 } + if same { 3 } else { 4 };
        if natural(&mut elements)? != elements_before as u64 {
            return Err(Corrupt("an entry has not the elements it says"));
        }
        if flags & DELETED == 0 {
            image.entries.push((id, strings));
            seen += 1;
        } else {
            seen_deleted += 1;
        }
    }
    // The end also checks the header's number of elements.
    if elements.next()?.is_some() || (seen, seen_deleted) != (count, deleted) {
        return Err(Corrupt("a node has not the entries it says"));
    }
    Ok(before.unwrap_or(key))
}

/// A number of a listpack that is not negative.
fn natural(elements: &mut Elements<'_>) -> Result<u64, Corrupt> {
    u64::try_from(elements.number()?).map_err(|_| Corrupt("a number of a node is negative"))
}

/// A number of fields, which the listpack must be long enough for.
fn pairs(elements: &mut Elements<'_>) -> Result<usize, Corrupt> {
    match usize::try_from(natural(elements)?) {
        Ok(count) if count <= elements.bytes_left() / 2 => Ok(count),
        _ => Err(Corrupt("a number of fields exceeds the node")),
    }
}

/// Reads one group of a stream whose entries and counters are in `image`.
fn group(kind: Kind, reader: &mut Reader<'_>, image: &Image) -> Result<GroupImage, Corrupt> {
    let mut group = GroupImage {
        name: reader.string()?.into(),
        last_delivered_id: reader.id()?,
        ..GroupImage::default()
    };
    group.entries_read = if kind >= Kind::Counters {
        // The greatest number stands for -1.
        reader.len()?.checked_add(1).map(|above| above - 1)
    } else {
        read_before_counters(image, group.last_delivered_id)
    };
    let count = reader.count(25)?;
    group.pending.reserve_exact(count);
    for _ in 0..count {
        group.pending.push(PendingImage {
            id: reader.raw_id()?,
            owner: None,
            delivered_at: time(reader)?,
            count: reader.len()?,
        });
    }
    group.pending.sort_by_key(|pending| pending.id);
    for index in 0..reader.count(10)? {
        let consumer = consumer(kind, reader)?;
        group.consumers.push(consumer);
        for _ in 0..reader.count(16)? {
            let pending = find(&mut group.pending, reader.raw_id()?)?;
            if pending.owner.replace(index).is_some() {
                return Err(Corrupt("a pending entry has two owners"));
            }
        }
    }
    if kind >= Kind::Unowned {
        for _ in 0..reader.count(16)? {
            group.unowned.push(find(&mut group.pending, reader.raw_id()?)?.id);
        }
    }
    Ok(group)
}

/// The pending entry of an ID that a consumer, or the list of the unowned, names.
fn find(pending: &mut [PendingImage], id: EntryId) -> Result<&mut PendingImage, Corrupt> {
    match pending.binary_search_by_key(&id, |pending| pending.id) {
        Ok(at) => Ok(&mut pending[at]),
        Err(_) => Err(Corrupt("an entry is pending for a consumer and not for its group")),
    }
}

/// Reads a consumer, up to its pending entries.
fn consumer(kind: Kind, reader: &mut Reader<'_>) -> Result<ConsumerImage, Corrupt> {
    let name = reader.string()?.into();
    let seen_at = time(reader)?;
    let active_at = if kind >= Kind::Active {
        match reader.i64()? {
            -1 => None,
            at => Some(UnixMs(u64::try_from(at).unwrap_or(0))),
        }
    } else {
        Some(seen_at)
    };
    Ok(ConsumerImage { name, seen_at, active_at })
}

/// Reads a time; a negative one is taken for 0, as Redis never means it.
fn time(reader: &mut Reader<'_>) -> Result<UnixMs, Corrupt> {
    Ok(UnixMs(u64::try_from(reader.i64()?).unwrap_or(0)))
}

/// How many entries a group has read that has delivered up to `id`, in a stream of the type that
/// has no counters: it is taken to have had no entries but those it has now.
fn read_before_counters(image: &Image, id: EntryId) -> Option<u64> {
    let first = image.first_id();
    if image.entries.is_empty() || id < first {
        Some(0)
    } else if id == image.last_id {
        Some(image.entries_added)
    } else if id == first {
        Some(1)
    } else {
        None
    }
}

/// Reads the idempotent producers.
fn producers(reader: &mut Reader<'_>) -> Result<ProducersImage, Corrupt> {
    let (duration_s, maxsize) = (reader.len()?, reader.len()?);
    let mut producers: Vec<ProducerImage> = Vec::new();
    for _ in 0..reader.count(2)? {
        let pid = reader.string()?.into();
        let count = reader.count(3)?;
        if count as u64 > maxsize {
            return Err(Corrupt("a producer has too many idempotent IDs"));
        }
        let (mut iids, mut seen): (Vec<(Box<[u8]>, _)>, _) = (Vec::new(), HashSet::new());
        for _ in 0..count {
            let (iid, id) = (reader.string()?, reader.id()?);
            // Redis skips what appears again.
            if seen.insert(iid.clone()) {
                iids.push((iid.into(), id));
            }
        }
        producers.push((pid, iids));
    }
    let (iids_added, iids_duplicates) = (reader.len()?, reader.len()?);
    Ok(ProducersImage { duration_s, maxsize, producers, iids_added, iids_duplicates })
}

/// Appends the value of a stream, of the kind that [`Kind::of`] says. `image` passes its check.
///
/// # Errors
/// [`Corrupt`] if an entry is too large for the format.
pub(super) fn encode(image: &Image, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    let kind = Kind::of(image);
    put_nodes(image, out)?;
    put_len(out, image.entries.len() as u64);
    put_id(out, image.last_id);
    put_id(out, image.first_id());
    put_id(out, image.max_deleted_id);
    put_len(out, image.entries_added);
    put_len(out, image.groups.len() as u64);
    for group in &image.groups {
        put_group(kind, group, out);
    }
    if kind >= Kind::Producers {
        put_producers(&image.producers, out);
    }
    Ok(())
}

/// A node being written.
struct Node<'a> {
    key: EntryId,
    fields: Vec<&'a [u8]>,
    count: u8,
    listpack: Writer,
}

impl<'a> Node<'a> {
    /// A node without entries, with key and fields of the first one to come.
    fn new(key: EntryId, strings: &'a [Box<[u8]>]) -> Self {
        let fields: Vec<_> = strings.iter().step_by(2).map(|field| &**field).collect();
        let mut listpack = Writer::new();
        for number in [0, 0, signed(fields.len())] {
            listpack.push_number(number);
        }
        for field in &fields {
            listpack.push(field);
        }
        listpack.push_number(0);
        Node { key, fields, count: 0, listpack }
    }

    /// Whether Redis would put one more entry here, of the given ID and bytes of strings.
    fn has_room(&self, id: EntryId, bytes: usize) -> bool {
        self.count < NODE_ENTRIES
            && self.listpack.size().saturating_add(bytes) < NODE_BYTES
            // Beyond, the difference is stored as a negative number, which not every peer reads.
            && i64::try_from(id.ms - self.key.ms).is_ok()
    }

    /// Appends an entry.
    fn push(&mut self, id: EntryId, strings: &[Box<[u8]>]) {
        let fields = strings.iter().step_by(2);
        let same = fields.len() == self.fields.len()
            && fields.zip(&self.fields).all(|(field, of_node)| **field == **of_node);
        let pack = &mut self.listpack;
        pack.push_number(if same { SAME } else { 0 });
        pack.push_number(id.ms.wrapping_sub(self.key.ms).cast_signed());
        pack.push_number(id.seq.wrapping_sub(self.key.seq).cast_signed());
        if same {
            strings.iter().skip(1).step_by(2).for_each(|value| pack.push(value));
            pack.push_number(signed(strings.len() / 2 + 3));
        } else {
            pack.push_number(signed(strings.len() / 2));
            strings.iter().for_each(|string| pack.push(string));
            pack.push_number(signed(strings.len() + 4));
        }
        self.count += 1;
        pack.set_first(self.count);
    }
}

/// A number of elements, which memory bounds far below the greatest.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Appends the nodes, packed as Redis packs them by default.
fn put_nodes(image: &Image, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    let mut packed = Vec::new();
    let mut nodes = 0;
    let mut open: Option<Node<'_>> = None;
    for (id, strings) in &image.entries {
        let bytes = strings.iter().fold(0, |sum: usize, s| sum.saturating_add(s.len()));
        if let Some(full) = open.take_if(|node| !node.has_room(*id, bytes)) {
            close_node(full, &mut packed)?;
            nodes += 1;
        }
        open.get_or_insert_with(|| Node::new(*id, strings)).push(*id, strings);
    }
    if let Some(last) = open {
        close_node(last, &mut packed)?;
        nodes += 1;
    }
    put_len(out, nodes);
    out.append(&mut packed);
    Ok(())
}

/// Appends one node.
fn close_node(node: Node<'_>, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    put_string(out, &node.key.to_key());
    put_string(out, &node.listpack.finish()?);
    Ok(())
}

/// Appends one group.
fn put_group(kind: Kind, group: &GroupImage, out: &mut Vec<u8>) {
    put_string(out, &group.name);
    put_id(out, group.last_delivered_id);
    put_len(out, group.entries_read.unwrap_or(u64::MAX));
    put_len(out, group.pending.len() as u64);
    let mut owned = vec![Vec::new(); group.consumers.len()];
    for pending in &group.pending {
        out.extend(pending.id.to_key());
        out.extend(pending.delivered_at.0.to_le_bytes());
        put_len(out, pending.count);
        if let Some(owner) = pending.owner {
            owned[owner].push(pending.id);
        }
    }
    put_len(out, group.consumers.len() as u64);
    for (consumer, owned) in group.consumers.iter().zip(&owned) {
        put_string(out, &consumer.name);
        out.extend(consumer.seen_at.0.to_le_bytes());
        out.extend(consumer.active_at.map_or(u64::MAX, |at| at.0).to_le_bytes());
        put_raw_ids(out, owned);
    }
    if kind >= Kind::Unowned {
        put_raw_ids(out, &group.unowned);
    }
}

/// Appends a list of IDs of sixteen bytes.
fn put_raw_ids(out: &mut Vec<u8>, ids: &[EntryId]) {
    put_len(out, ids.len() as u64);
    for id in ids {
        out.extend(id.to_key());
    }
}

/// Appends the idempotent producers.
fn put_producers(producers: &ProducersImage, out: &mut Vec<u8>) {
    put_len(out, producers.duration_s);
    put_len(out, producers.maxsize);
    put_len(out, producers.producers.len() as u64);
    for (pid, iids) in &producers.producers {
        put_string(out, pid);
        put_len(out, iids.len() as u64);
        for (iid, id) in iids {
            put_string(out, iid);
            put_id(out, *id);
        }
    }
    put_len(out, producers.iids_added);
    put_len(out, producers.iids_duplicates);
}
