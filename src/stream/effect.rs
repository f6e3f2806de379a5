//! `Effect`: every change a stream can undergo, and its bytes in the log.
//!
//! Effects are resolved: an ID is a number, a time is a number, a trim says which ID is the least
//! that stays. So replay needs no clock and no settings. A new kind of change gets a new tag; a
//! tag never changes its meaning.
//!
//! Bytes: the tag, then the operands below, in this order. `name` is 0 for "as before in this
//! frame", else varint length + 1 and the bytes. `id` is the difference to the ID before it in the
//! frame: zigzag of ms; then, where that was 0, zigzag of seq, else varint seq. `time` is the
//! zigzag of the difference to the time before it. `opt` is varint 0 for nothing, else value + 1.
//!
//! | tag | effect | operands |
//! |---|---|---|
//! | 1 | Add | id, pairs (varint), then field and value of each as length-prefixed bytes |
//! | 2 | Trim | id |
//! | 3 | Delete | id |
//! | 4 | Remove | id |
//! | 5 | SetId | id, varint entries added, id max deleted |
//! | 6 | GroupCreate | name group, id, opt entries read |
//! | 7 | GroupSetId | name group, id, opt entries read |
//! | 8 | GroupAdvance | name group, id |
//! | 9 | GroupDestroy | name group |
//! | 10 | ConsumerCreate | name group, name consumer, time |
//! | 11 | ConsumerDelete | name group, name consumer |
//! | 12, 13 | Deliver, with and without pending entries | name group, name consumer, id last, varint count, time, opt entries read |
//! | 14 | Ack | name group, varint count, so many ids, ascending |
//! | 15 | Claim | name group, name consumer, id, time, varint count |
//! | 16 | Nack | name group, id, varint count |
//! | 17, 18 | Seen, without and with activity | name group, name consumer, time |
//! | 19 | ProducerSettings | varint seconds, varint entries |
//! | 20 | ProducerAdd | name pid, bytes iid, id |
//! | 21 | free | |
//! | 22 | ProducerDuplicate | |
//! | 23 | ProducerForget | name pid, varint count |

use crate::codec::{Corrupt, Cursor, Records, put_bytes, put_varint, put_zigzag};
use crate::stream::fields::Fields;
use crate::stream::id::{EntryId, UnixMs};
use crate::stream::ids::Ids;
use std::ops::Range;

/// A change of one stream, resolved.
#[derive(Debug, Clone, Copy)]
pub enum Effect<'a> {
    /// An entry is appended; its ID is above the last.
    Add {
        /// Its ID.
        id: EntryId,
        /// Its field–value pairs.
        fields: Fields<'a>,
    },
    /// All entries with a smaller ID go, by trimming.
    Trim {
        /// The least ID that stays.
        below: EntryId,
    },
    /// One entry goes, by deletion: the greatest deleted ID rises.
    Delete {
        /// Its ID.
        id: EntryId,
    },
    /// One entry goes, by trimming.
    Remove {
        /// Its ID.
        id: EntryId,
    },
    /// The counters are set.
    SetId {
        /// The new last ID.
        last_id: EntryId,
        /// How many entries were ever added.
        entries_added: u64,
        /// The greatest ID that was deleted.
        max_deleted_id: EntryId,
    },
    /// A consumer group begins.
    GroupCreate {
        /// Its name.
        group: &'a [u8],
        /// After which entry it reads.
        last_delivered_id: EntryId,
        /// How many entries it is taken to have read, if known.
        entries_read: Option<u64>,
    },
    /// A group's place is set.
    GroupSetId {
        /// Its name.
        group: &'a [u8],
        /// After which entry it reads.
        last_delivered_id: EntryId,
        /// How many entries it is taken to have read, if known.
        entries_read: Option<u64>,
    },
    /// A group's last-delivered ID is raised; its read counter stays.
    GroupAdvance {
        /// Its name.
        group: &'a [u8],
        /// The new last-delivered ID.
        last_delivered_id: EntryId,
    },
    /// A group ends, with its pending entries.
    GroupDestroy {
        /// Its name.
        group: &'a [u8],
    },
    /// A consumer begins.
    ConsumerCreate {
        /// The group's name.
        group: &'a [u8],
        /// The consumer's name.
        consumer: &'a [u8],
        /// When.
        at: UnixMs,
    },
    /// A consumer ends, with its pending entries.
    ConsumerDelete {
        /// The group's name.
        group: &'a [u8],
        /// The consumer's name.
        consumer: &'a [u8],
    },
    /// The entries after the group's last-delivered ID, `count` of them up to `last`, go to a
    /// consumer.
    Deliver {
        /// The group's name.
        group: &'a [u8],
        /// The consumer's name.
        consumer: &'a [u8],
        /// The last entry delivered.
        last: EntryId,
        /// How many entries.
        count: u64,
        /// When.
        at: UnixMs,
        /// Whether they become pending (not so with NOACK).
        pending: bool,
        /// The group's read counter afterwards, if known.
        entries_read: Option<u64>,
        /// The entries, if they are at hand: the log leaves it to the replay to find them.
        ids: Option<&'a [EntryId]>,
    },
    /// Pending entries are acknowledged, or dropped because their entries are gone.
    Ack {
        /// The group's name.
        group: &'a [u8],
        /// The entries.
        ids: Ids<'a>,
    },
    /// An entry becomes pending for a consumer, or its pending entry is rewritten.
    Claim {
        /// The group's name.
        group: &'a [u8],
        /// The consumer's name.
        consumer: &'a [u8],
        /// The entry.
        id: EntryId,
        /// Its delivery time.
        at: UnixMs,
        /// Its delivery count.
        count: u64,
    },
    /// A pending entry loses its owner and goes to the end of the unowned; made if absent.
    Nack {
        /// The group's name.
        group: &'a [u8],
        /// The entry.
        id: EntryId,
        /// Its delivery count.
        count: u64,
    },
    /// A consumer was seen.
    Seen {
        /// The group's name.
        group: &'a [u8],
        /// The consumer's name.
        consumer: &'a [u8],
        /// When.
        at: UnixMs,
        /// Whether it got something.
        active: bool,
    },
    /// The limits of the idempotent producers are set, and all idempotent IDs forgotten.
    ProducerSettings {
        /// How long an idempotent ID is remembered, in seconds.
        duration_s: u64,
        /// How many are remembered for each producer.
        maxsize: u64,
    },
    /// An idempotent ID is remembered for an entry, and counted.
    ProducerAdd {
        /// The producer ID.
        pid: &'a [u8],
        /// The idempotent ID.
        iid: &'a [u8],
        /// The entry.
        id: EntryId,
    },
    /// A duplicate was recognised, and is counted.
    ProducerDuplicate,
    /// The oldest idempotent IDs of a producer are forgotten.
    ProducerForget {
        /// The producer ID.
        pid: &'a [u8],
        /// How many.
        count: u64,
    },
}

/// What the encoder of one frame remembers, so that repetition costs a byte.
#[derive(Debug, Default)]
pub struct EncodeContext {
    key: Option<(u8, Range<usize>)>,
    group: Option<Range<usize>>,
    consumer: Option<Range<usize>>,
    id: EntryId,
    at: UnixMs,
}

/// What the decoder of one frame remembers.
#[derive(Debug, Default, Clone, Copy)]
pub struct DecodeContext<'a> {
    key: Option<(u8, &'a [u8])>,
    group: Option<&'a [u8]>,
    consumer: Option<&'a [u8]>,
    id: EntryId,
    at: UnixMs,
}

impl EncodeContext {
    /// Begins a frame anew: nothing is "as before".
    pub fn reset(&mut self) {
        *self = EncodeContext::default();
    }

    /// Appends the place of a key: 0 if as before, else length + 1, the key, the database.
    pub fn put_key(&mut self, out: &mut Vec<u8>, db: u8, key: &[u8]) {
        if let Some((before, range)) = &self.key
            && *before == db
            && out[range.clone()] == *key
        {
            out.push(0);
            return;
        }
        let range = put_name_bytes(out, key);
        self.key = Some((db, range));
        out.push(db);
    }

    fn put_group(&mut self, out: &mut Vec<u8>, group: &[u8]) {
        put_name(out, &mut self.group, group);
    }

    fn put_consumer(&mut self, out: &mut Vec<u8>, consumer: &[u8]) {
        put_name(out, &mut self.consumer, consumer);
    }

    #[inline(always)]
    fn put_id(&mut self, out: &mut Vec<u8>, id: EntryId) {
        let ms = id.ms.wrapping_sub(self.id.ms).cast_signed();
        put_zigzag(out, ms);
        if ms == 0 {
            put_zigzag(out, id.seq.wrapping_sub(self.id.seq).cast_signed());
        } else {
            put_varint(out, id.seq);
        }
        self.id = id;
    }

    fn put_time(&mut self, out: &mut Vec<u8>, at: UnixMs) {
        put_zigzag(out, at.0.wrapping_sub(self.at.0).cast_signed());
        self.at = at;
    }
}

impl<'a> DecodeContext<'a> {
    /// Reads the place of a key.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub fn key(&mut self, cursor: &mut Cursor<'a>) -> Result<(u8, &'a [u8]), Corrupt> {
        if let Some(key) = name_bytes(cursor)? {
            self.key = Some((cursor.u8()?, key));
        }
        self.key.ok_or(Corrupt("the first key of a frame is missing"))
    }

    fn group(&mut self, cursor: &mut Cursor<'a>) -> Result<&'a [u8], Corrupt> {
        name(cursor, &mut self.group)
    }

    fn consumer(&mut self, cursor: &mut Cursor<'a>) -> Result<&'a [u8], Corrupt> {
        name(cursor, &mut self.consumer)
    }

    pub(super) fn id(&mut self, cursor: &mut Cursor<'a>) -> Result<EntryId, Corrupt> {
        let ms = cursor.zigzag()?;
        self.id = if ms == 0 {
            let seq = self.id.seq.wrapping_add(cursor.zigzag()?.cast_unsigned());
            EntryId::new(self.id.ms, seq)
        } else {
            EntryId::new(self.id.ms.wrapping_add(ms.cast_unsigned()), cursor.varint()?)
        };
        Ok(self.id)
    }

    fn time(&mut self, cursor: &mut Cursor<'a>) -> Result<UnixMs, Corrupt> {
        self.at = UnixMs(self.at.0.wrapping_add(cursor.zigzag()?.cast_unsigned()));
        Ok(self.at)
    }
}

impl<'a> Effect<'a> {
    /// Appends the effect's bytes.
    pub fn encode(&self, records: &mut Records, context: &mut EncodeContext) {
        let out = records.bytes_mut();
        out.push(self.tag());
        match *self {
            Effect::Add { id, fields } => {
                context.put_id(out, id);
                fields.log(records);
            }
            Effect::Trim { below: id } | Effect::Delete { id } | Effect::Remove { id } => {
                context.put_id(out, id);
            }
            Effect::SetId { last_id, entries_added, max_deleted_id } => {
                context.put_id(out, last_id);
                put_varint(out, entries_added);
                context.put_id(out, max_deleted_id);
            }
            Effect::GroupCreate { group, last_delivered_id, entries_read }
            | Effect::GroupSetId { group, last_delivered_id, entries_read } => {
                context.put_group(out, group);
                context.put_id(out, last_delivered_id);
                put_option(out, entries_read);
            }
            Effect::GroupAdvance { group, last_delivered_id } => {
                context.put_group(out, group);
                context.put_id(out, last_delivered_id);
            }
            Effect::Ack { group, ids } => {
                context.put_group(out, group);
                put_varint(out, ids.len() as u64);
                ids.to_slice().iter().for_each(|id| context.put_id(out, *id));
            }
            Effect::GroupDestroy { group } => context.put_group(out, group),
            Effect::ConsumerCreate { group, consumer, at }
            | Effect::Seen { group, consumer, at, active: _ } => {
                context.put_group(out, group);
                context.put_consumer(out, consumer);
                context.put_time(out, at);
            }
            Effect::ConsumerDelete { group, consumer } => {
                context.put_group(out, group);
                context.put_consumer(out, consumer);
            }
            Effect::Deliver {
                group,
                consumer,
                last,
                count,
                at,
                entries_read,
                pending: _,
                ids: _,
            } => {
                context.put_group(out, group);
                context.put_consumer(out, consumer);
                context.put_id(out, last);
                put_varint(out, count);
                context.put_time(out, at);
                put_option(out, entries_read);
            }
            Effect::Claim { group, consumer, id, at, count } => {
                context.put_group(out, group);
                context.put_consumer(out, consumer);
                context.put_id(out, id);
                context.put_time(out, at);
                put_varint(out, count);
            }
            Effect::Nack { group, id, count } => {
                context.put_group(out, group);
                context.put_id(out, id);
                put_varint(out, count);
            }
            Effect::ProducerSettings { duration_s, maxsize } => {
                put_varint(out, duration_s);
                put_varint(out, maxsize);
            }
            Effect::ProducerAdd { pid, iid, id } => {
                context.put_consumer(out, pid);
                put_bytes(out, iid);
                context.put_id(out, id);
            }
            Effect::ProducerDuplicate => {}
            Effect::ProducerForget { pid, count } => {
                context.put_consumer(out, pid);
                put_varint(out, count);
            }
        }
    }

    /// Whether those who WATCH the key must know. Redis: changes of groups are not told.
    pub fn touches_watchers(&self) -> bool {
        matches!(
            self,
            Effect::Add { .. }
                | Effect::Trim { .. }
                | Effect::Delete { .. }
                | Effect::Remove { .. }
        )
    }

    /// Whether a blocked reader may be served, or must be told that it waits in vain.
    pub fn wakes_readers(&self) -> bool {
        matches!(self, Effect::Add { .. } | Effect::Nack { .. } | Effect::GroupDestroy { .. })
    }

    /// The group that it changes, if it changes one.
    pub fn group(&self) -> Option<&'a [u8]> {
        match *self {
            Effect::GroupCreate { group, .. }
            | Effect::GroupSetId { group, .. }
            | Effect::GroupAdvance { group, .. }
            | Effect::GroupDestroy { group }
            | Effect::ConsumerCreate { group, .. }
            | Effect::ConsumerDelete { group, .. }
            | Effect::Deliver { group, .. }
            | Effect::Ack { group, .. }
            | Effect::Claim { group, .. }
            | Effect::Nack { group, .. }
            | Effect::Seen { group, .. } => Some(group),
            Effect::Add { .. }
            | Effect::Trim { .. }
            | Effect::Delete { .. }
            | Effect::Remove { .. }
            | Effect::SetId { .. }
            | Effect::ProducerSettings { .. }
            | Effect::ProducerAdd { .. }
            | Effect::ProducerDuplicate
            | Effect::ProducerForget { .. } => None,
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Effect::Add { .. } => 1,
            Effect::Trim { .. } => 2,
            Effect::Delete { .. } => 3,
            Effect::Remove { .. } => 4,
            Effect::SetId { .. } => 5,
            Effect::GroupCreate { .. } => 6,
            Effect::GroupSetId { .. } => 7,
            Effect::GroupAdvance { .. } => 8,
            Effect::GroupDestroy { .. } => 9,
            Effect::ConsumerCreate { .. } => 10,
            Effect::ConsumerDelete { .. } => 11,
            Effect::Deliver { pending: true, .. } => 12,
            Effect::Deliver { pending: false, .. } => 13,
            Effect::Ack { .. } => 14,
            Effect::Claim { .. } => 15,
            Effect::Nack { .. } => 16,
            Effect::Seen { active: false, .. } => 17,
            Effect::Seen { active: true, .. } => 18,
            Effect::ProducerSettings { .. } => 19,
            Effect::ProducerAdd { .. } => 20,
            Effect::ProducerDuplicate => 22,
            Effect::ProducerForget { .. } => 23,
        }
    }

    /// Reads the effect with this tag.
    ///
    /// # Errors
    /// [`Corrupt`], also for an unknown tag.
    pub fn decode(
        tag: u8,
        cursor: &mut Cursor<'a>,
        context: &mut DecodeContext<'a>,
    ) -> Result<Self, Corrupt> {
        Ok(match tag {
            1 => Effect::Add { id: context.id(cursor)?, fields: Fields::decode(cursor)? },
            2 => Effect::Trim { below: context.id(cursor)? },
            3 => Effect::Delete { id: context.id(cursor)? },
            4 => Effect::Remove { id: context.id(cursor)? },
            5 => Effect::SetId {
                last_id: context.id(cursor)?,
                entries_added: cursor.varint()?,
                max_deleted_id: context.id(cursor)?,
            },
            19 => {
                Effect::ProducerSettings { duration_s: cursor.varint()?, maxsize: cursor.varint()? }
            }
            20 => Effect::ProducerAdd {
                pid: context.consumer(cursor)?,
                iid: cursor.bytes()?,
                id: context.id(cursor)?,
            },
            22 => Effect::ProducerDuplicate,
            23 => {
                Effect::ProducerForget { pid: context.consumer(cursor)?, count: cursor.varint()? }
            }
            _ => {
                let group = context.group(cursor)?;
                Self::decode_of_group(tag, group, cursor, context)?
            }
        })
    }

    /// Reads an effect whose first operand is a group.
    fn decode_of_group(
        tag: u8,
        group: &'a [u8],
        cursor: &mut Cursor<'a>,
        context: &mut DecodeContext<'a>,
    ) -> Result<Self, Corrupt> {
        Ok(match tag {
            6 => Effect::GroupCreate {
                group,
                last_delivered_id: context.id(cursor)?,
                entries_read: option(cursor)?,
            },
            7 => Effect::GroupSetId {
                group,
                last_delivered_id: context.id(cursor)?,
                entries_read: option(cursor)?,
            },
            8 => Effect::GroupAdvance { group, last_delivered_id: context.id(cursor)? },
            9 => Effect::GroupDestroy { group },
            10 => Effect::ConsumerCreate {
                group,
                consumer: context.consumer(cursor)?,
                at: context.time(cursor)?,
            },
            11 => Effect::ConsumerDelete { group, consumer: context.consumer(cursor)? },
            12 | 13 => Effect::Deliver {
                group,
                consumer: context.consumer(cursor)?,
                last: context.id(cursor)?,
                count: cursor.varint()?,
                at: context.time(cursor)?,
                pending: tag == 12,
                entries_read: option(cursor)?,
                ids: None,
            },
            14 => Effect::Ack { group, ids: Ids::decode(cursor, context)? },
            15 => Effect::Claim {
                group,
                consumer: context.consumer(cursor)?,
                id: context.id(cursor)?,
                at: context.time(cursor)?,
                count: cursor.varint()?,
            },
            16 => Effect::Nack { group, id: context.id(cursor)?, count: cursor.varint()? },
            17 | 18 => Effect::Seen {
                group,
                consumer: context.consumer(cursor)?,
                at: context.time(cursor)?,
                active: tag == 18,
            },
            _ => return Err(Corrupt("an effect has an unknown tag")),
        })
    }
}

fn put_name_bytes(out: &mut Vec<u8>, name: &[u8]) -> Range<usize> {
    put_varint(out, name.len() as u64 + 1);
    let start = out.len();
    out.extend_from_slice(name);
    start..out.len()
}

fn put_name(out: &mut Vec<u8>, before: &mut Option<Range<usize>>, name: &[u8]) {
    match before {
        Some(range) if out[range.clone()] == *name => out.push(0),
        _ => *before = Some(put_name_bytes(out, name)),
    }
}

fn name_bytes<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Corrupt> {
    let Some(len) = cursor.varint()?.checked_sub(1) else {
        return Ok(None);
    };
    let len = usize::try_from(len).map_err(|_| Corrupt("a name is too long"))?;
    cursor.take(len).map(Some)
}

fn name<'a>(cursor: &mut Cursor<'a>, before: &mut Option<&'a [u8]>) -> Result<&'a [u8], Corrupt> {
    if let Some(name) = name_bytes(cursor)? {
        *before = Some(name);
    }
    before.ok_or(Corrupt("the first name of a frame is missing"))
}

fn put_option(out: &mut Vec<u8>, value: Option<u64>) {
    // The greatest counter is 2^63 − 1, so the sum cannot overflow.
    put_varint(out, value.map_or(0, |value| value.wrapping_add(1)));
}

fn option(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Corrupt> {
    Ok(cursor.varint()?.checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Effect<'static>> {
        let (group, consumer) = (&b"g"[..], &b"c"[..]);
        let id = EntryId::new(1_700_000_000_000, 3);
        let at = UnixMs(1_700_000_000_123);
        vec![
            Effect::Add { id, fields: Fields::Slices(&[b"f", b"v", b"", b"w"]) },
            Effect::Trim { below: EntryId::MAX },
            Effect::Delete { id: EntryId::MIN },
            Effect::Remove { id },
            Effect::SetId { last_id: id, entries_added: u64::MAX, max_deleted_id: EntryId::MIN },
            Effect::GroupCreate { group, last_delivered_id: id, entries_read: None },
            Effect::GroupSetId { group, last_delivered_id: id, entries_read: Some(0) },
            Effect::GroupAdvance { group, last_delivered_id: EntryId::MAX },
            Effect::GroupDestroy { group: b"" },
            Effect::ConsumerCreate { group, consumer, at },
            Effect::ConsumerDelete { group, consumer },
            Effect::Deliver {
                group,
                consumer,
                last: id,
                count: 7,
                at,
                pending: true,
                entries_read: Some(9),
                ids: None,
            },
            Effect::Deliver {
                group,
                consumer,
                last: id,
                count: 1,
                at: UnixMs(0),
                pending: false,
                entries_read: None,
                ids: None,
            },
            Effect::Ack { group, ids: Ids::List(const { &[EntryId::MIN, EntryId::new(1, 3)] }) },
            Effect::Claim { group, consumer, id, at, count: u64::MAX },
            Effect::Nack { group, id, count: 0 },
            Effect::Seen { group, consumer, at, active: false },
            Effect::Seen { group, consumer, at, active: true },
            Effect::ProducerSettings { duration_s: 100, maxsize: 10_000 },
            Effect::ProducerAdd { pid: b"p", iid: b"i", id },
            Effect::ProducerDuplicate,
            Effect::ProducerForget { pid: b"p", count: 2 },
        ]
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<Effect<'_>>, Corrupt> {
        let (mut cursor, mut context) = (Cursor::new(bytes), DecodeContext::default());
        let mut effects = Vec::new();
        while !cursor.is_empty() {
            context.key(&mut cursor)?;
            let tag = cursor.u8()?;
            effects.push(Effect::decode(tag, &mut cursor, &mut context)?);
        }
        Ok(effects)
    }

    fn encoded(effects: &[Effect<'_>]) -> Vec<u8> {
        let (mut out, mut context) = (Records::default(), EncodeContext::default());
        for effect in effects {
            context.put_key(out.bytes_mut(), 3, b"key");
            effect.encode(&mut out, &mut context);
        }
        out.to_vec()
    }

    fn logical(effect: &Effect<'_>) -> String {
        if let Effect::Add { id, fields } = effect {
            return format!("{id} {:?}", fields.iter().collect::<Vec<_>>());
        }
        format!("{effect:?}")
    }

    #[test]
    fn every_effect_comes_back_and_has_its_own_tag() {
        let samples = samples();
        let bytes = encoded(&samples);
        let back = decoded(&bytes).unwrap();
        assert_eq!(
            back.iter().map(logical).collect::<Vec<_>>(),
            samples.iter().map(logical).collect::<Vec<_>>()
        );
        let mut tags: Vec<_> = samples.iter().map(Effect::tag).collect();
        tags.sort_unstable();
        assert_eq!(tags, (1..=20).chain(22..=23).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_bytes_are_an_error_or_other_effects_but_never_a_panic() {
        let bytes = encoded(&samples());
        for cut in 0..bytes.len() {
            drop(decoded(&bytes[..cut]));
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                drop(decoded(&bytes));
            }
        }
    }

    #[test]
    fn the_second_entry_of_a_frame_costs_few_bytes() {
        let add = |seq| Effect::Add {
            id: EntryId::new(1_700_000_000_000, seq),
            fields: Fields::Slices(&[b"field", b"0123456789abcdef"]),
        };
        let one = encoded(&[add(1)]).len();
        let two = encoded(&[add(1), add(2)]).len();
        assert_eq!(two - one, 1 + 1 + 2 + 1 + 6 + 17);
    }
}
