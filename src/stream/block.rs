//! A block: up to a hundred or so entries of a stream, packed in ascending order of their IDs.
//!
//! The first entry's field names are the block's *master fields*, and the lengths of its values
//! the *master lengths*: an entry of the same shape stores neither. IDs are coded against the ID
//! of the entry before, the first one against the block's *base*. A deleted entry stays as a
//! *tombstone*, because the limits of a block count it; tombstones at the front are skipped for
//! good by moving the head, so a block that has a live entry begins with one.
//!
//! The bytes of a block. The first two rows are in memory only: there they use what an allocation
//! has left, and the rest of a block takes an allocation that is smaller by them.
//!
//! | bytes | meaning |
//! |---|---|
//! | 16 | the base: milliseconds and sequence number, little endian |
//! | 16 | the last ID, tombstones included, in the same way |
//! | varint, varint | how many master fields there are, the sum of the master lengths |
//! | strings | master fields, each with a varint length before it |
//! | varints | master lengths |
//! | entries | up to the end |
//!
//! An entry:
//!
//! | bytes | meaning |
//! |---|---|
//! | 1–21 | tag and ID (`tag.rs`) |
//! | | shape 0: nothing; fields and lengths are the master's |
//! | varints | shape 1: the lengths; the fields are the master's |
//! | varint, strings, varints | shape 2: the number of pairs, the fields, the lengths |
//! | | shape 3, in memory only: nothing; the fields lie outside of the block, as they came |
//! | rest | the values |
//!
//! In a snapshot (`encode`) these stand before the bytes, in which the entries begin at the head:
//!
//! | bytes | meaning |
//! |---|---|
//! | varint, varint | base: milliseconds, sequence number |
//! | varint | how many entries were skipped at the front |
//! | varint | length of the bytes |

mod body;
mod tag;

use crate::codec::{Corrupt, Cursor, put_bytes, put_varint, varint_len};
use crate::stream::fields::{Fields, Received, take_length, take_string};
use crate::stream::id::EntryId;
use body::Body;
use tag::{
    AS_MASTER, OUTSIDE, OWN_FIELDS, OWN_LENGTHS, SHORT_MS, TOMBSTONE, put_tag, read_tag, shape,
    short_id, tag_len,
};

/// The most bytes of a block that has more than one entry, whatever the limits say. Redis: the
/// same.
const BYTES_MAX: usize = 1 << 30;
/// Where the base stands.
const BASE: usize = 0;
/// Where the last ID stands.
const LAST_ID: usize = BASE + 16;
/// The bytes of both.
const IDS_LEN: usize = LAST_ID + 16;
/// The allocation that a shared value costs besides itself: two reference counts.
const ARC_BYTES: usize = 16;

/// When a block takes no further entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// The size in bytes that a block does not reach (`stream-node-max-bytes`); 0 is no limit.
    pub bytes: usize,
    /// The number of entries, tombstones included (`stream-node-max-entries`); 0 is no limit.
    pub entries: usize,
}

impl Default for BlockLimits {
    fn default() -> Self {
        BlockLimits { bytes: 4096, entries: 100 }
    }
}

/// The size in bytes from which a block heeds the steps of allocators.
const STEPS_FROM: usize = 2048;

/// An entry, borrowed from its block.
#[derive(Clone, Copy, Debug)]
pub struct EntryRef<'a> {
    /// Its ID.
    pub id: EntryId,
    /// Its field–value pairs.
    pub fields: Fields<'a>,
}

/// Packed entries in ascending order of their IDs; at least one when made.
#[derive(Clone, Debug)]
pub struct Block {
    bytes: Body,
    /// Where the master fields end.
    names_end: u32,
    /// Where the master lengths end.
    lengths_end: u32,
    /// Where the first live entry begins.
    head: u32,
    /// Where the last entry begins, which may be a tombstone.
    last_at: u32,
    live: u32,
    total: u32,
}

impl Block {
    /// A block with one entry. `capacity` is the size that it is expected to grow to, in bytes;
    /// 0 if that is not known.
    ///
    /// # Panics
    /// If `id` is `0-0`, or the entry takes 4 GiB.
    pub fn new(id: EntryId, fields: &Fields<'_>, capacity: usize) -> Self {
        assert!(!id.is_min());
        if let Some(received) = fields.worth_keeping() {
            return Block::around(id, received);
        }
        let mut bytes = Vec::with_capacity(capacity.max(IDS_LEN + first_len(id, fields)));
        put_ids(&mut bytes, EntryId::MIN, id);
        let (names_end, head) = put_first(&mut bytes, id, fields);
        let (bytes, head) = (Body::Packed(bytes), narrow(head));
        Block {
            bytes,
            names_end: narrow(names_end),
            lengths_end: head,
            head,
            last_at: head,
            live: 1,
            total: 1,
        }
    }

    /// A block with one entry whose fields stay where they came. It takes no further one.
    fn around(id: EntryId, received: Received) -> Self {
        let mut bytes = Vec::new();
        put_ids(&mut bytes, EntryId::MIN, id);
        // No master fields, and the sum of no lengths.
        bytes.extend_from_slice(&[0, 0]);
        let head = narrow(bytes.len());
        put_tag(&mut bytes, OUTSIDE, EntryId::MIN, id);
        Block {
            bytes: Body::around(bytes, received),
            names_end: head,
            lengths_end: head,
            head,
            last_at: head,
            live: 1,
            total: 1,
        }
    }

    /// Appends an entry unless a limit is reached; says whether it did.
    ///
    /// # Panics
    /// If `id` is not above [`Block::last_id`].
    pub fn append(&mut self, id: EntryId, fields: &Fields<'_>, limits: BlockLimits) -> bool {
        let last_id = self.last_id();
        assert!(id > last_id);
        let entries_max = if limits.entries == 0 { usize::MAX } else { limits.entries };
        if self.total as usize >= entries_max.min(u32::MAX as usize) {
            return false;
        }
        let plan = self.master().plan(fields);
        let max = if limits.bytes == 0 { BYTES_MAX } else { limits.bytes.min(BYTES_MAX) };
        let size = tag_len(last_id, id) + plan.size;
        let left = entries_max - self.total as usize;
        let bytes = &mut *self.bytes;
        if bytes.len() + size >= max || would_waste(bytes.len(), size, left) {
            return false;
        }
        bytes.reserve(size);
        self.last_at = narrow(bytes.len());
        put_tag(bytes, plan.shape, last_id, id);
        if plan.shape == OWN_FIELDS {
            put_varint(bytes, fields.pairs() as u64);
            for (name, _) in fields {
                put_bytes(bytes, name);
            }
        }
        if plan.shape != AS_MASTER {
            for (_, value) in fields {
                put_varint(bytes, value.len() as u64);
            }
        }
        fields.iter().for_each(|(_, value)| bytes.extend_from_slice(value));
        set_id(bytes, LAST_ID, id);
        self.live += 1;
        self.total += 1;
        true
    }

    /// The number of live entries.
    pub fn live(&self) -> usize {
        self.live as usize
    }

    /// The number of entries it has ever had: live, tombstones, and those skipped at the front.
    pub fn total(&self) -> usize {
        self.total as usize
    }

    /// The last ID, tombstones included.
    #[inline]
    pub fn last_id(&self) -> EntryId {
        self.id_at(LAST_ID)
    }

    /// What the ID at the head is coded against; below every ID of the block.
    fn base(&self) -> EntryId {
        self.id_at(BASE)
    }

    /// The base or the last ID.
    #[inline]
    fn id_at(&self, at: usize) -> EntryId {
        let ids: &[u8; IDS_LEN] = self.bytes.first_chunk().expect(HAS_IDS);
        let number = |at| u64::from_le_bytes(*ids[at..].first_chunk().expect(HAS_IDS));
        EntryId::new(number(at), number(at + 8))
    }

    /// The first live entry. O(1).
    pub fn first(&self) -> Option<EntryRef<'_>> {
        self.walk().live(EntryId::MAX)
    }

    /// The last live entry. O(1) unless the last entry is a tombstone.
    pub fn last(&self) -> Option<EntryRef<'_>> {
        self.last_if_live().or_else(|| self.iter().last())
    }

    /// The last entry, unless it is a tombstone. O(1).
    pub(super) fn last_if_live(&self) -> Option<EntryRef<'_>> {
        let live = self.bytes[self.last_at as usize] & TOMBSTONE == 0 && self.live > 0;
        live.then(|| self.at(self.last_at, self.last_id()))
    }

    /// The live entry with this ID. Linear in the entries of the block, as everything below.
    pub fn find(&self, id: EntryId) -> Option<EntryRef<'_>> {
        self.range(id, id).next()
    }

    /// The live entries in ascending order.
    pub fn iter(&self) -> BlockIter<'_> {
        BlockIter { walk: self.walk(), end: EntryId::MAX }
    }

    /// The live entries from `start` to `end`, both included, in ascending order.
    pub fn range(&self, start: EntryId, end: EntryId) -> BlockIter<'_> {
        BlockIter { walk: self.walk_from(start), end }
    }

    /// Appends the places of the live entries from `start` to `end`, for [`Block::at`].
    pub(super) fn places(&self, start: EntryId, end: EntryId, out: &mut Vec<(u32, EntryId)>) {
        let mut walk = self.walk_from(start);
        loop {
            let place = walk.place;
            match walk.skip() {
                Some((id, deleted)) if id <= end => {
                    if !deleted {
                        out.push((narrow(place), id));
                    }
                }
                Some(_) | None => return,
            }
        }
    }

    /// The entry that begins at `place` and has this ID.
    pub(super) fn at(&self, place: u32, id: EntryId) -> EntryRef<'_> {
        let place = place as usize;
        // The ID that comes of it is not this entry's: it is read to get past it.
        let mut walk = Walk { place, previous: EntryId::MIN, ..self.walk() };
        EntryRef { id, ..walk.live(EntryId::MAX).expect("the place is a live entry's") }
    }

    /// The number of live entries with an ID below `id`.
    pub fn count_below(&self, id: EntryId) -> usize {
        if id > self.last_id() {
            return self.live();
        }
        self.iter().take_while(|entry| entry.id < id).count()
    }

    /// Where the live entry with this ID begins, for [`Block::delete`].
    pub(super) fn place(&self, id: EntryId) -> Option<u32> {
        let mut walk = self.walk_from(id);
        let place = walk.place;
        let (found, deleted) = walk.skip()?;
        (found == id && !deleted).then(|| narrow(place))
    }

    /// Makes the live entry that begins at `place` a tombstone. A block without a live entry is
    /// of no more use.
    pub(super) fn delete(&mut self, place: u32) {
        let tag = &mut self.bytes[place as usize];
        assert!(*tag & TOMBSTONE == 0);
        *tag |= TOMBSTONE;
        self.live -= 1;
        if place == self.head {
            self.drop_below(EntryId::MIN);
        }
    }

    /// Drops the entries with an ID below `id`; returns how many of them were live. Linear in
    /// what is dropped.
    pub fn drop_below(&mut self, id: EntryId) -> usize {
        let mut walk = self.walk();
        let mut dropped: u32 = 0;
        let (head, base) = loop {
            let place = (walk.place, walk.previous);
            match walk.skip() {
                Some((found, false)) if found >= id => break place,
                Some((_, deleted)) => dropped += u32::from(!deleted),
                None => break place,
            }
        };
        self.head = narrow(head);
        set_id(&mut self.bytes, BASE, base);
        self.live -= dropped;
        dropped as usize
    }

    /// Gives back the memory that a block that is to grow no more does not use.
    pub fn shrink(&mut self) {
        // An allocator may ignore a smaller size (mimalloc does up to a half), a copy is exact;
        // and the memory it frees is still cached when the next block takes it.
        if self.bytes.capacity() > self.bytes.len() + self.bytes.len() / 128 {
            *self.bytes = self.bytes.as_slice().to_vec();
        }
    }

    /// The size in bytes, which [`BlockLimits`] bounds.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The memory it takes, in bytes, reference counts included.
    pub fn memory_bytes(&self) -> usize {
        let outside = self.bytes.parts().1.map_or(0, Received::memory_bytes);
        self.bytes.capacity() + outside + size_of::<Self>() + ARC_BYTES
    }

    /// Appends the block as it stands in a snapshot.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let base = self.base();
        put_varint(out, base.ms);
        put_varint(out, base.seq);
        let mut walk = self.walk();
        let mut present = 0;
        while walk.skip().is_some() {
            present += 1;
        }
        put_varint(out, u64::from(self.total) - present);
        if let (_, Some(received)) = self.bytes.parts() {
            put_varint(out, first_len(self.last_id(), &received.fields()) as u64);
            put_first(out, self.last_id(), &received.fields());
            return;
        }
        let master = &self.bytes[IDS_LEN..self.lengths_end as usize];
        let entries = &self.bytes[self.head as usize..];
        put_varint(out, (master.len() + entries.len()) as u64);
        out.extend_from_slice(master);
        out.extend_from_slice(entries);
    }

    /// Reads what [`Block::encode`] wrote, and checks all of it.
    ///
    /// # Errors
    /// [`Corrupt`] unless it is a block that has a live entry.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Corrupt> {
        let base = EntryId::new(cursor.varint()?, cursor.varint()?);
        let skipped = cursor.varint()?;
        let bytes = cursor.bytes()?;
        if bytes.len() > u32::MAX as usize - IDS_LEN {
            return Err(Corrupt("a block is too large"));
        }
        let mut whole = Vec::with_capacity(IDS_LEN + bytes.len());
        put_ids(&mut whole, base, base);
        whole.extend_from_slice(bytes);
        let mut rest = Cursor::new(bytes);
        let (pairs, values_len) = (rest.count()?, rest.varint()?);
        skip_names(&mut rest, pairs)?;
        let names_end = IDS_LEN + rest.offset();
        if skip_lengths(&mut rest, pairs)? as u64 != values_len {
            return Err(Corrupt("the master lengths of a block are not their sum"));
        }
        let head = IDS_LEN + rest.offset();
        let mut block = Block {
            bytes: Body::Packed(whole),
            names_end: narrow(names_end),
            lengths_end: narrow(head),
            head: narrow(head),
            last_at: narrow(head),
            live: 0,
            total: 0,
        };
        let master = block.master();
        let mut rest = Cursor::new(&block.bytes[head..]);
        let (mut last_id, mut last_at, mut live, mut total) = (base, 0, 0, 0_u32);
        while !rest.is_empty() {
            last_at = head + rest.offset();
            let (tag, id) = read_tag(&mut rest, last_id)?;
            master.read_fields(tag, &mut rest)?;
            let deleted = tag & TOMBSTONE != 0;
            if total == 0 && deleted {
                return Err(Corrupt("a block begins with a tombstone"));
            }
            last_id = id;
            live += u32::from(!deleted);
            total += 1;
        }
        (block.last_at, block.live) = (narrow(last_at), live);
        set_id(&mut block.bytes, LAST_ID, last_id);
        let skipped = u32::try_from(skipped).ok().and_then(|skipped| skipped.checked_add(total));
        block.total = skipped.ok_or(Corrupt("a block has too many entries"))?;
        if live == 0 {
            return Err(Corrupt("a block has no live entry"));
        }
        Ok(block)
    }

    /// Checks every invariant.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        assert!(self.names_end <= self.lengths_end);
        assert!(self.lengths_end <= self.head);
        assert!(self.live >= 1);
        let Master { pairs, mut names, mut lengths, values_len, .. } = self.master();
        for _ in 0..pairs {
            take_string(&mut names);
        }
        let sum: usize = (0..pairs).map(|_| take_length(&mut lengths)).sum();
        assert!(names.is_empty());
        assert!(lengths.is_empty());
        assert_eq!(sum, values_len);
        let mut walk = self.walk();
        let (mut live, mut total, mut last) = (0, 0, (self.head, self.base()));
        loop {
            let at = narrow(walk.place);
            let Some((id, deleted)) = walk.skip() else { break };
            assert!(id > last.1);
            assert!(total > 0 || !deleted);
            last = (at, id);
            live += u32::from(!deleted);
            total += 1;
        }
        assert_eq!(last, (self.last_at, self.last_id()));
        assert_eq!(live, self.live);
        assert!(total <= self.total);
        for entry in self.iter() {
            assert_eq!(entry.fields.iter().count(), entry.fields.pairs());
        }
    }

    /// What the first entry's shape says of the others.
    #[inline(always)]
    fn master(&self) -> Master<'_> {
        let (bytes, outside) = self.bytes.parts();
        let (mut names, lengths) =
            bytes[IDS_LEN..self.lengths_end as usize].split_at(self.names_end as usize - IDS_LEN);
        let pairs = take_length(&mut names);
        let values_len = take_length(&mut names);
        Master { pairs, names, lengths, values_len, outside }
    }

    /// All entries from the head on.
    #[inline]
    fn walk(&self) -> Walk<'_> {
        Walk {
            master: self.master(),
            bytes: &self.bytes,
            place: self.head as usize,
            previous: self.base(),
        }
    }

    /// All entries from `start` on.
    fn walk_from(&self, start: EntryId) -> Walk<'_> {
        let mut walk = self.walk();
        if start > self.last_id() {
            walk.place = self.bytes.len();
        } else {
            walk.seek(start);
        }
        walk
    }
}

/// Why reading an entry of a block cannot fail.
const CHECKED: &str = "a block has written its entries itself, or checked them when decoded";

/// Why there are a base and a last ID.
const HAS_IDS: &str = "the bytes of a block begin with two IDs";

/// The shape of a block's first entry.
#[derive(Clone, Copy, Debug)]
struct Master<'a> {
    pairs: usize,
    names: &'a [u8],
    lengths: &'a [u8],
    values_len: usize,
    /// The fields of the only entry, if they lie outside.
    outside: Option<&'a Received>,
}

/// How an entry will be stored.
struct Plan {
    shape: u8,
    /// The bytes it takes after the tag and the ID.
    size: usize,
}

impl<'a> Master<'a> {
    /// How to store an entry with these fields.
    #[inline]
    fn plan(&self, fields: &Fields<'_>) -> Plan {
        let (mut names, mut lengths) = (self.names, self.lengths);
        let as_master = fields.pairs() == self.pairs
            && fields.iter().fold(true, |same, (name, value)| {
                same && take_length(&mut lengths) == value.len() && take_string(&mut names) == name
            });
        if as_master {
            return Plan { shape: AS_MASTER, size: self.values_len };
        }
        self.plan_own(fields)
    }

    /// How to store an entry that has not all lengths and fields from the master.
    fn plan_own(&self, fields: &Fields<'_>) -> Plan {
        if self.outside.is_some() {
            // Nowhere is so much room.
            return Plan { shape: OWN_FIELDS, size: BYTES_MAX };
        }
        let mut names = self.names;
        let same_names = fields.pairs() == self.pairs
            && fields.iter().all(|(name, _)| take_string(&mut names) == name);
        if !same_names {
            return Plan { shape: OWN_FIELDS, size: fields.encoded_len() };
        }
        let sizes = fields.iter().map(|(_, value)| varint_len(value.len() as u64) + value.len());
        Plan { shape: OWN_LENGTHS, size: sizes.sum() }
    }

    /// Reads the fields of an entry, whose tag and ID have been read, checking all of them.
    fn read_fields(&self, tag: u8, cursor: &mut Cursor<'a>) -> Result<Fields<'a>, Corrupt> {
        let (pairs, names) = match shape(tag) {
            AS_MASTER => {
                let Master { pairs, names, lengths, values_len, .. } = *self;
                let values = cursor.take(values_len)?;
                return Ok(Fields::Columns { pairs, names, lengths, values });
            }
            OWN_LENGTHS => (self.pairs, self.names),
            OWN_FIELDS => {
                let pairs = cursor.count()?;
                let (rest, begin) = (cursor.rest(), cursor.offset());
                skip_names(cursor, pairs)?;
                (pairs, &rest[..cursor.offset() - begin])
            }
            _ => {
                let outside = self.outside.ok_or(Corrupt("an entry has an unknown shape"))?;
                return Ok(outside.fields());
            }
        };
        let (rest, begin) = (cursor.rest(), cursor.offset());
        let values_len = skip_lengths(cursor, pairs)?;
        let lengths = &rest[..cursor.offset() - begin];
        let values = cursor.take(values_len)?;
        Ok(Fields::Columns { pairs, names, lengths, values })
    }
}

/// Reads a block from the head on, tombstones included. Where most entries have the master's
/// shape and a short ID code, it stays in a few registers.
#[derive(Clone, Debug)]
struct Walk<'a> {
    master: Master<'a>,
    bytes: &'a [u8],
    /// Where the next entry begins.
    place: usize,
    /// The ID before it.
    previous: EntryId,
}

impl<'a> Walk<'a> {
    /// The next live entry, if it is not above `end`.
    #[inline(always)]
    fn live(&mut self, end: EntryId) -> Option<EntryRef<'a>> {
        loop {
            let tag = *self.bytes.get(self.place)?;
            let (id, begin) = self.id(tag);
            if id > end {
                return None;
            }
            self.previous = id;
            // Each of the two arms returns for itself: an entry on its way through a variable
            // costs as much as all the rest.
            if shape(tag) != AS_MASTER {
                let fields;
                (fields, self.place) = self.own_fields(tag, begin);
                if tag & TOMBSTONE == 0 {
                    return Some(EntryRef { id, fields });
                }
                continue;
            }
            let Master { pairs, names, lengths, values_len, .. } = self.master;
            self.place = begin + values_len;
            let values = &self.bytes[begin..self.place];
            if tag & TOMBSTONE == 0 {
                return Some(EntryRef {
                    id,
                    fields: Fields::Columns { pairs, names, lengths, values },
                });
            }
        }
    }

    /// Passes over the next entry; returns its ID and whether it is a tombstone.
    #[inline]
    fn skip(&mut self) -> Option<(EntryId, bool)> {
        let tag = *self.bytes.get(self.place)?;
        let (id, begin) = self.id(tag);
        (self.place, self.previous) = (self.end(tag, begin), id);
        Some((id, tag & TOMBSTONE != 0))
    }

    /// Passes over the entries below `id`.
    #[inline]
    fn seek(&mut self, id: EntryId) {
        while let Some(&tag) = self.bytes.get(self.place) {
            let (next, begin) = self.id(tag);
            if next >= id {
                return;
            }
            (self.place, self.previous) = (self.end(tag, begin), next);
        }
    }

    /// The ID of the next entry, whose tag is given, and where what follows it begins.
    #[inline]
    fn id(&self, tag: u8) -> (EntryId, usize) {
        let code = tag >> 3;
        if u64::from(code) <= SHORT_MS {
            return (short_id(code, self.previous), self.place + 1);
        }
        self.long_id()
    }

    /// Where the next entry ends, whose fields begin at `begin`.
    #[inline]
    fn end(&self, tag: u8, begin: usize) -> usize {
        if shape(tag) == AS_MASTER {
            begin + self.master.values_len
        } else {
            self.own_fields(tag, begin).1
        }
    }

    /// [`Walk::id`] of the codes that need a varint.
    #[inline(never)]
    fn long_id(&self) -> (EntryId, usize) {
        let mut cursor = Cursor::new(&self.bytes[self.place..]);
        let (_, id) = read_tag(&mut cursor, self.previous).expect(CHECKED);
        (id, self.place + cursor.offset())
    }

    /// The fields of the next entry, which begin at `begin`, and where they end.
    #[inline(never)]
    fn own_fields(&self, tag: u8, begin: usize) -> (Fields<'a>, usize) {
        let mut cursor = Cursor::new(&self.bytes[begin..]);
        let fields = self.master.read_fields(tag, &mut cursor).expect(CHECKED);
        (fields, begin + cursor.offset())
    }
}

/// The live entries of a block in ascending order.
#[derive(Clone, Debug)]
pub struct BlockIter<'a> {
    walk: Walk<'a>,
    end: EntryId,
}

impl<'a> Iterator for BlockIter<'a> {
    type Item = EntryRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<EntryRef<'a>> {
        self.walk.live(self.end)
    }
}

/// A place or a number in a block.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("a block is below 4 GiB")
}

/// Whether one more entry of `size` bytes, in a block of `len`, would begin a step of the sizes
/// that allocators have, of which those `left` that may come use less than half. Small blocks take
/// all their entries: their number is what `~` trims by.
#[inline]
fn would_waste(len: usize, size: usize, left: usize) -> bool {
    if len < STEPS_FROM {
        return false;
    }
    // Four steps lie between a power of two and the next.
    let step = (len / 8 + 1).next_power_of_two();
    len + size > len.next_multiple_of(step) && size.saturating_mul(left) < step / 2
}

/// Sets the base or the last ID.
#[inline]
fn set_id(bytes: &mut [u8], at: usize, id: EntryId) {
    let ids: &mut [u8; IDS_LEN] = bytes.first_chunk_mut().expect(HAS_IDS);
    ids[at..at + 8].copy_from_slice(&id.ms.to_le_bytes());
    ids[at + 8..at + 16].copy_from_slice(&id.seq.to_le_bytes());
}

/// Appends what the bytes of a block begin with.
fn put_ids(out: &mut Vec<u8>, base: EntryId, last_id: EntryId) {
    for number in [base.ms, base.seq, last_id.ms, last_id.seq] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// How many bytes [`put_first`] appends.
fn first_len(id: EntryId, fields: &Fields<'_>) -> usize {
    let values_len = values_len(fields);
    tag_len(EntryId::MIN, id) + varint_len(values_len as u64) + fields.encoded_len()
}

/// Appends what the bytes of a block have behind the IDs when this is its only entry. Returns where
/// the master fields and the master lengths end.
fn put_first(out: &mut Vec<u8>, id: EntryId, fields: &Fields<'_>) -> (usize, usize) {
    put_varint(out, fields.pairs() as u64);
    put_varint(out, values_len(fields) as u64);
    for (name, _) in fields {
        put_bytes(out, name);
    }
    let names_end = out.len();
    for (_, value) in fields {
        put_varint(out, value.len() as u64);
    }
    let lengths_end = out.len();
    put_tag(out, AS_MASTER, EntryId::MIN, id);
    for (_, value) in fields {
        out.extend_from_slice(value);
    }
    (names_end, lengths_end)
}

/// The sum of the lengths of the values.
fn values_len(fields: &Fields<'_>) -> usize {
    fields.iter().map(|(_, value)| value.len()).sum()
}

/// Passes over `n` strings.
fn skip_names(cursor: &mut Cursor<'_>, n: usize) -> Result<(), Corrupt> {
    for _ in 0..n {
        cursor.bytes()?;
    }
    Ok(())
}

/// Passes over `n` lengths; returns their sum.
#[inline]
fn skip_lengths(cursor: &mut Cursor<'_>, n: usize) -> Result<usize, Corrupt> {
    let mut sum = 0_u64;
    for _ in 0..n {
        sum = sum.checked_add(cursor.varint()?).ok_or(Corrupt("a length is too large"))?;
    }
    usize::try_from(sum).map_err(|_| Corrupt("a length is too large"))
}

#[cfg(test)]
mod tests;
