//! A whole stream in parts, as a snapshot holds it: its blocks' bytes as they are, its groups with
//! their pending entries, its idempotent producers.
//!
//! Parts of one stream follow each other without gaps; each is a tag and what the table says, in
//! `codec.rs`'s terms (an ID is two varints, milliseconds first). A part is small, so that a
//! snapshot can end a section after any of them.
//!
//! | tag | part | bytes |
//! |---|---|---|
//! | 1 | stream, the first | ID last, ID greatest deleted, varint entries added |
//! | 2 | block, ascending | `block.rs` |
//! | 3 | group, in byte order | bytes name, ID last delivered, varint (entries read + 1, 0 = unknown) |
//! | 4 | consumer of the group, in byte order | bytes name, varint seen at, varint (active at + 1, 0 = never) |
//! | 5 | pending entries of the group, ascending | varint n, n × row |
//! | 6 | producers | varints: duration, maxsize, iids added, iids duplicate |
//! | 7 | producer, in byte order | bytes pid, varint n, n × (bytes iid, ID) |
//! | 0 | the last | |
//!
//! A row is: varint milliseconds more than the row before (the first: than 0), varint sequence
//! number (in the same millisecond: how much more), varint (owner + 1, 0 = none), zigzag (place
//! minus that of the row before), varint deliveries. The owner is an index into the group's
//! consumers; the place is the delivery time, of an unowned entry its number in the unowned zone.

use super::group::Group;
use super::pel::Pel;
use super::{Block, EntryId, Producers, SIGNED_MAX, Stream, UnixMs};
use crate::codec::{Corrupt, Cursor, put_bytes, put_varint, put_zigzag};
use std::collections::HashMap;

const END: u8 = 0;
const STREAM: u8 = 1;
const BLOCK: u8 = 2;
const GROUP: u8 = 3;
const CONSUMER: u8 = 4;
const PENDING: u8 = 5;
const PRODUCERS: u8 = 6;
const PRODUCER: u8 = 7;

/// How many pending entries one part has, at most; any value works.
const ROWS_MAX: usize = 1024;

/// A pending entry as a snapshot holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: EntryId,
    /// The consumer's number; in bytes its index.
    pub(super) owner: Option<u32>,
    /// The delivery time, or the number in the unowned zone.
    pub(super) place: u64,
    pub(super) count: u64,
}

impl Stream {
    /// Appends the parts to `out` and calls `part` after each, which may take them out. Linear in
    /// everything the stream holds.
    ///
    /// # Errors
    /// What `part` returns.
    pub fn encode_parts<E>(
        &self,
        out: &mut Vec<u8>,
        mut part: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        out.push(STREAM);
        put_id(out, self.last_id);
        put_id(out, self.max_deleted_id);
        put_varint(out, self.entries_added);
        part(out)?;
        for block in self.entries.blocks() {
            out.push(BLOCK);
            block.encode(out);
            part(out)?;
        }
        for (name, group) in self.groups() {
            encode_group(name, group, out, &mut part)?;
        }
        if let Some(producers) = self.producers() {
            encode_producers(producers, out, &mut part)?;
        }
        out.push(END);
        part(out)
    }
}

fn encode_group<E>(
    name: &[u8],
    group: &Group,
    out: &mut Vec<u8>,
    part: &mut impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    out.push(GROUP);
    put_bytes(out, name);
    put_id(out, group.last_delivered_id);
    put_varint(out, group.entries_read.map_or(0, |read| read.saturating_add(1)));
    part(out)?;
    let mut indexes = HashMap::with_capacity(group.consumers_len());
    for (index, (name, consumer)) in group.consumers().enumerate() {
        indexes.insert(consumer.no().0, index as u64);
        out.push(CONSUMER);
        put_bytes(out, name);
        put_varint(out, consumer.seen_at().0);
        put_varint(out, consumer.active_at().map_or(0, |at| at.0.saturating_add(1)));
        part(out)?;
    }
    let mut left = group.pel().len();
    let mut rows = group.pel().rows();
    while left > 0 {
        let n = left.min(ROWS_MAX);
        left -= n;
        out.push(PENDING);
        put_varint(out, n as u64);
        let mut before = Row { id: EntryId::MIN, owner: None, place: 0, count: 0 };
        for row in rows.by_ref().take(n) {
            let ms = row.id.ms - before.id.ms;
            put_varint(out, ms);
            put_varint(out, if ms == 0 { row.id.seq - before.id.seq } else { row.id.seq });
            put_varint(out, row.owner.map_or(0, |no| indexes[&no] + 1));
            put_zigzag(out, row.place.wrapping_sub(before.place).cast_signed());
            put_varint(out, row.count);
            before = row;
        }
        part(out)?;
    }
    Ok(())
}

fn encode_producers<E>(
    producers: &Producers,
    out: &mut Vec<u8>,
    part: &mut impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    out.push(PRODUCERS);
    put_varint(out, producers.duration_s());
    put_varint(out, producers.maxsize());
    put_varint(out, producers.iids_added());
    put_varint(out, producers.iids_duplicates());
    part(out)?;
    for (pid, iids) in producers.iter() {
        out.push(PRODUCER);
        put_bytes(out, &pid);
        put_varint(out, iids.len() as u64);
        for (iid, id) in iids {
            put_bytes(out, &iid);
            put_id(out, id);
        }
        part(out)?;
    }
    Ok(())
}

/// Builds a stream from its parts.
#[derive(Debug, Default)]
pub struct StreamBuilder {
    stream: Stream,
    begun: bool,
    group: Option<OpenGroup>,
    /// The producer before, and whether there are producers.
    producer: Option<Box<[u8]>>,
}

/// A group of which parts may follow.
#[derive(Debug)]
struct OpenGroup {
    name: Box<[u8]>,
    group: Group,
    consumers: Vec<Box<[u8]>>,
    /// The pending entries of each consumer.
    pending: Vec<Vec<EntryId>>,
    pel: Pel,
}

impl StreamBuilder {
    /// Reads the next part and checks it; the stream, if it was the last one.
    ///
    /// # Errors
    /// [`Corrupt`] unless it is a part of a possible stream, in its place. The builder is of no
    /// more use then.
    pub fn part(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<Stream>, Corrupt> {
        let tag = cursor.u8()?;
        ensure(self.begun != (tag == STREAM), "a stream begins in its middle, or twice")?;
        match tag {
            STREAM => self.begin(cursor)?,
            BLOCK => {
                let early = self.group.is_none() && self.stream.rare.is_none();
                ensure(early, "a block follows groups or producers")?;
                self.stream.entries.push_block(Block::decode(cursor)?)?;
            }
            GROUP => self.open_group(cursor)?,
            CONSUMER => self.group()?.consumer(cursor)?,
            PENDING => self.group()?.pending(cursor)?,
            PRODUCERS => {
                self.close_group()?;
                self.producers(cursor)?;
            }
            PRODUCER => self.producer(cursor)?,
            END => {
                self.close_group()?;
                return self.end().map(Some);
            }
            _ => return Err(Corrupt("an unknown part of a stream")),
        }
        Ok(None)
    }

    fn begin(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Corrupt> {
        self.begun = true;
        self.stream.last_id = get_id(cursor)?;
        self.stream.max_deleted_id = get_id(cursor)?;
        self.stream.entries_added = cursor.varint()?;
        let fits = self.stream.max_deleted_id <= self.stream.last_id;
        ensure(fits, "the last ID is below a deleted one")?;
        ensure(self.stream.entries_added <= SIGNED_MAX, "the number of entries is too large")
    }

    fn group(&mut self) -> Result<&mut OpenGroup, Corrupt> {
        self.group.as_mut().ok_or(Corrupt("a part of a group stands outside of one"))
    }

    fn open_group(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Corrupt> {
        let name: Box<[u8]> = cursor.bytes()?.into();
        ensure(self.producer.is_none(), "a group follows producers")?;
        let above = self.group.as_ref().is_none_or(|before| before.name < name);
        ensure(above, "the groups are not in order")?;
        self.close_group()?;
        let last_delivered_id = get_id(cursor)?;
        let entries_read = cursor.varint()?.checked_sub(1);
        self.stream.ensure_added(entries_read)?;
        self.group = Some(OpenGroup {
            name,
            group: Group::new(last_delivered_id, entries_read),
            consumers: Vec::new(),
            pending: Vec::new(),
            pel: Pel::default(),
        });
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), Corrupt> {
        if let Some(OpenGroup { name, mut group, consumers, pending, pel }) = self.group.take() {
            group.set_pending(pel, consumers.iter().zip(pending));
            self.stream.rare().groups.insert(&name, group);
        }
        Ok(())
    }

    fn producers(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Corrupt> {
        ensure(self.producer.is_none(), "there are two parts of producers")?;
        self.producer = Some(Box::default());
        let (duration_s, maxsize) = (cursor.varint()?, cursor.varint()?);
        ensure(maxsize > 0, "producers remember no idempotent ID")?;
        let mut producers = Producers::new(duration_s, maxsize);
        producers.set_counters(cursor.varint()?, cursor.varint()?);
        self.stream.rare().producers = producers;
        Ok(())
    }

    fn producer(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Corrupt> {
        let pid: Box<[u8]> = cursor.bytes()?.into();
        let above = self.producer.as_ref().is_some_and(|before| *before < pid);
        ensure(above, "the producers are not in order")?;
        let producers = &mut self.stream.rare().producers;
        let n = cursor.count()?;
        let few = n > 0 && n as u64 <= producers.maxsize();
        ensure(few, "a producer has no idempotent IDs, or too many")?;
        for _ in 0..n {
            let iid = cursor.bytes()?;
            ensure(producers.entry_of(&pid, iid).is_none(), "an idempotent ID appears twice")?;
            producers.add(&pid, iid, get_id(cursor)?);
        }
        self.producer = Some(pid);
        Ok(())
    }

    fn end(&mut self) -> Result<Stream, Corrupt> {
        let stream = std::mem::take(&mut self.stream);
        self.begun = false;
        self.producer = None;
        let last = stream.entries.blocks().last().map_or(EntryId::MIN, Block::last_id);
        ensure(stream.last_id >= last, "the last ID is below that of an entry")?;
        ensure(stream.entries_added >= stream.len(), "fewer entries were added than there are")?;
        Ok(stream)
    }
}

impl OpenGroup {
    fn consumer(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Corrupt> {
        let name: Box<[u8]> = cursor.bytes()?.into();
        let above = self.consumers.last().is_none_or(|before| *before < name);
        ensure(above && self.pel.is_empty(), "the consumers are not in order")?;
        let seen_at = UnixMs(cursor.varint()?);
        let active_at = cursor.varint()?.checked_sub(1).map(UnixMs);
        let latest = seen_at.max(active_at.unwrap_or_default());
        ensure(latest.0 <= SIGNED_MAX, "a time is too large")?;
        self.group.create_consumer(&name, seen_at);
        self.group.set_times(&name, seen_at, active_at);
        self.consumers.push(name);
        self.pending.push(Vec::new());
        Ok(())
    }

    fn pending(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Corrupt> {
        let n = cursor.count()?;
        let mut rows = Vec::with_capacity(n.min(ROWS_MAX));
        let mut before = Row { id: EntryId::MIN, owner: None, place: 0, count: 0 };
        let mut last = self.pel.last();
        for _ in 0..n {
            let (ms, seq) = (cursor.varint()?, cursor.varint()?);
            let id_ms = before.id.ms.checked_add(ms);
            let id_seq = if ms == 0 { before.id.seq.checked_add(seq) } else { Some(seq) };
            let (Some(ms), Some(seq)) = (id_ms, id_seq) else {
                return Err(Corrupt("an entry ID is too large"));
            };
            let id = EntryId::new(ms, seq);
            ensure(last < Some(id), "pending entries do not ascend")?;
            let owner = match cursor.varint()?.checked_sub(1) {
                None => None,
                Some(index) => {
                    let index = usize::try_from(index).unwrap_or(usize::MAX);
                    let set = self.pending.get_mut(index);
                    set.ok_or(Corrupt("an owner does not exist"))?.push(id);
                    // Consumers were numbered in this order.
                    u32::try_from(index).ok()
                }
            };
            let place = before.place.wrapping_add(cursor.zigzag()?.cast_unsigned());
            let count = cursor.varint()?;
            ensure(place <= SIGNED_MAX && count <= SIGNED_MAX, "a time or a count is too large")?;
            before = Row { id, owner, place, count };
            last = Some(id);
            rows.push(before);
        }
        self.pel.push_rows(&rows);
        Ok(())
    }
}

fn put_id(out: &mut Vec<u8>, id: EntryId) {
    put_varint(out, id.ms);
    put_varint(out, id.seq);
}

fn get_id(cursor: &mut Cursor<'_>) -> Result<EntryId, Corrupt> {
    Ok(EntryId::new(cursor.varint()?, cursor.varint()?))
}

fn ensure(holds: bool, what: &'static str) -> Result<(), Corrupt> {
    if holds { Ok(()) } else { Err(Corrupt(what)) }
}

#[cfg(test)]
mod tests;
