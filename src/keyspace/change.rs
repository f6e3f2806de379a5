//! `Change`: what the keyspace can undergo, and its bytes in the log.
//!
//! A frame's payload is a sequence of changes, nothing else: one turn is one frame, so whatever it
//! holds applies whole or not at all. Each change is its key, the tag, the operands. Tags below 64
//! are effects on a stream (`stream/effect.rs`).
//!
//! | tag | change | operands after the key |
//! |---|---|---|
//! | 64 | Create | varint seconds, varint entries: limits of the idempotent producers |
//! | 65 | SetString | opt expiry (varint 0, or Unix ms + 1), bytes value |
//! | 66 | Put | opt expiry, an image of the stream (`stream/image.rs`) |
//! | 67 | Remove | |
//! | 68 | Expire | opt expiry |
//! | 69 | Move | database, bytes key: the destination |
//! | 70 | Copy | database, bytes key: the destination |
//! | 71 | SwapDb | other database; the key is empty |
//! | 72 | FlushDb | the key is empty |
//! | 73 | FlushAll | the key is empty |
//! | 74 | SetRange | varint length before, varint start, bytes |

use crate::codec::{Corrupt, Cursor, Records, put_bytes, put_varint, shared};
use crate::stream::effect::{DecodeContext, EncodeContext};
use crate::stream::{Effect, Image, UnixMs};
use bytes::Bytes;

/// A string of so many bytes is lent to the log, if it lies where it may be kept.
const LENT_BYTES_MIN: usize = 64 << 10;

/// A change of the keyspace, resolved.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The database.
    pub db: u8,
    /// The key; empty where the whole database is meant.
    pub key: &'a [u8],
    /// What happens to it.
    pub action: Action<'a>,
}

/// What happens to a key.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// A change of the stream.
    Effect(Effect<'a>),
    /// An empty stream begins; the key did not exist.
    Create {
        /// How long its idempotent IDs are remembered, in seconds.
        idmp_duration_s: u64,
        /// How many are remembered for each producer.
        idmp_maxsize: u64,
    },
    /// The key gets a string, whatever it held.
    SetString {
        /// The string.
        value: &'a [u8],
        /// What it may lie in, to be kept instead of copied.
        whole: Option<&'a Bytes>,
        /// When it expires.
        expire_at: Option<UnixMs>,
    },
    /// The key gets a stream, whatever it held.
    Put {
        /// The stream.
        image: &'a Image,
        /// When it expires.
        expire_at: Option<UnixMs>,
    },
    /// The key goes.
    Remove,
    /// The key's expiry is set, or taken away.
    Expire {
        /// When it expires.
        expire_at: Option<UnixMs>,
    },
    /// The value and its expiry move to another key, whatever that held.
    Move {
        /// The database of the destination.
        db: u8,
        /// The key of the destination.
        key: &'a [u8],
    },
    /// The value and its expiry are copied to another key, whatever that held.
    Copy {
        /// The database of the destination.
        db: u8,
        /// The key of the destination.
        key: &'a [u8],
    },
    /// Two databases change places.
    SwapDb {
        /// The other one.
        other: u8,
    },
    /// All keys of the database go.
    FlushDb,
    /// All keys go.
    FlushAll,
    /// Bytes take the place of a part of the string, which exists; it grows with zero bytes as far
    /// as they need. The expiry stays.
    SetRange {
        /// How long the string was: a part fits no other.
        length: usize,
        /// Where the bytes begin.
        start: usize,
        /// The bytes.
        bytes: &'a [u8],
    },
}

/// The changes of one turn, encoded, and what to repeat cheaply.
#[derive(Debug, Default)]
pub struct LogBuffer {
    /// The encoded changes, after any room the log wants before them.
    records: Records,
    context: EncodeContext,
    /// Whether a change is in it that a reply waits for.
    urgent: bool,
    /// Whether changes are kept at all.
    enabled: bool,
}

impl LogBuffer {
    /// An empty buffer with `room` bytes left free in front, which keeps changes if `enabled`.
    pub fn new(room: usize, enabled: bool) -> Self {
        LogBuffer { records: Records::new(room), enabled, ..LogBuffer::default() }
    }

    /// Whether changes are kept.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Keeps changes from now on, or not.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
        self.clear();
    }

    /// Bytes of changes.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a reply waits for one of them.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// The changes with the free room in front.
    pub fn records_mut(&mut self) -> &mut Records {
        &mut self.records
    }

    /// A copy of the changes alone.
    pub fn payload(&self) -> Vec<u8> {
        self.records.to_vec()
    }

    /// Begins the next frame.
    pub fn clear(&mut self) {
        self.records.clear();
        self.context.reset();
        self.urgent = false;
    }

    /// Adds a change. One that is not urgent waits for the next that is.
    #[inline]
    pub fn push(&mut self, change: &Change<'_>, urgent: bool) {
        if self.enabled {
            change.encode(&mut self.records, &mut self.context);
            self.urgent |= urgent;
        }
    }
}

impl Change<'_> {
    fn encode(&self, records: &mut Records, context: &mut EncodeContext) {
        let out = records.bytes_mut();
        context.put_key(out, self.db, self.key);
        match self.action {
            Action::Effect(effect) => effect.encode(records, context),
            Action::Create { idmp_duration_s, idmp_maxsize } => {
                out.push(64);
                put_varint(out, idmp_duration_s);
                put_varint(out, idmp_maxsize);
            }
            Action::SetString { value, whole, expire_at } => {
                out.push(65);
                put_expiry(out, expire_at);
                match shared(whole, value).filter(|value| value.len() >= LENT_BYTES_MIN) {
                    Some(value) => {
                        put_varint(out, value.len() as u64);
                        records.lend(value);
                    }
                    None => put_bytes(out, value),
                }
            }
            Action::Put { image, expire_at } => {
                out.push(66);
                put_expiry(out, expire_at);
                image.encode(out);
            }
            Action::Remove => out.push(67),
            Action::Expire { expire_at } => {
                out.push(68);
                put_expiry(out, expire_at);
            }
            Action::Move { db, key } => {
                out.extend_from_slice(&[69, db]);
                put_bytes(out, key);
            }
            Action::Copy { db, key } => {
                out.extend_from_slice(&[70, db]);
                put_bytes(out, key);
            }
            Action::SwapDb { other } => out.extend_from_slice(&[71, other]),
            Action::FlushDb => out.push(72),
            Action::FlushAll => out.push(73),
            Action::SetRange { length, start, bytes } => {
                out.push(74);
                put_varint(out, length as u64);
                put_varint(out, start as u64);
                put_bytes(out, bytes);
            }
        }
    }

    /// Reads the changes of a frame's payload, one after the other.
    ///
    /// # Errors
    /// [`Corrupt`] if a change is not well formed, or as `visit`.
    pub fn decode_all(
        payload: &[u8],
        visit: &mut dyn FnMut(Change<'_>) -> Result<(), Corrupt>,
    ) -> Result<(), Corrupt> {
        let (mut cursor, mut context) = (Cursor::new(payload), DecodeContext::default());
        while !cursor.is_empty() {
            let (db, key) = context.key(&mut cursor)?;
            let tag = cursor.u8()?;
            let image;
            let action = match tag {
                64 => Action::Create {
                    idmp_duration_s: cursor.varint()?,
                    idmp_maxsize: cursor.varint()?,
                },
                65 => {
                    let expire_at = expiry(&mut cursor)?;
                    Action::SetString { expire_at, value: cursor.bytes()?, whole: None }
                }
                66 => {
                    let expire_at = expiry(&mut cursor)?;
                    image = Image::decode(&mut cursor)?;
                    Action::Put { expire_at, image: &image }
                }
                67 => Action::Remove,
                68 => Action::Expire { expire_at: expiry(&mut cursor)? },
                69 => Action::Move { db: cursor.u8()?, key: cursor.bytes()? },
                70 => Action::Copy { db: cursor.u8()?, key: cursor.bytes()? },
                71 => Action::SwapDb { other: cursor.u8()? },
                72 => Action::FlushDb,
                73 => Action::FlushAll,
                74 => Action::SetRange {
                    length: size(&mut cursor)?,
                    start: size(&mut cursor)?,
                    bytes: cursor.bytes()?,
                },
                _ => Action::Effect(Effect::decode(tag, &mut cursor, &mut context)?),
            };
            visit(Change { db, key, action })?;
        }
        Ok(())
    }
}

fn put_expiry(out: &mut Vec<u8>, expire_at: Option<UnixMs>) {
    put_varint(out, expire_at.map_or(0, |at| at.0.saturating_add(1)));
}

fn expiry(cursor: &mut Cursor<'_>) -> Result<Option<UnixMs>, Corrupt> {
    Ok(cursor.varint()?.checked_sub(1).map(UnixMs))
}

fn size(cursor: &mut Cursor<'_>) -> Result<usize, Corrupt> {
    usize::try_from(cursor.varint()?).map_err(|_| Corrupt("a length does not fit into memory"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Keyspace, SLOTS, STRING_BYTES_MAX, Spaces, Value};
    use std::hash::RandomState;

    #[test]
    fn a_part_is_read_whole_and_fits_only_the_string_that_it_is_of() {
        let change = |key, action| Change { db: 0, key, action };
        let part = |length, start, bytes| Action::SetRange { length, start, bytes };
        let mut log = LogBuffer::new(0, true);
        log.push(&change(b"k", part(3, 300, b"45")), true);
        let payload = log.payload().to_vec();
        let read = |payload: &[u8], visit: &mut dyn FnMut(Change<'_>) -> Result<(), Corrupt>| {
            Change::decode_all(payload, visit)
        };
        for end in 1..payload.len() {
            read(&payload[..end], &mut |_| panic!("a part of a change")).unwrap_err();
        }
        let mut space = Keyspace::new(0..SLOTS, RandomState::new());
        let mut list = [&mut space];
        let mut spaces = Spaces::new(&mut list);
        let mut refused = |key, action| spaces.apply(&change(key, action)).is_err();
        assert!(refused(b"k", part(0, 0, b"0")), "there is no key");
        let at = Some(UnixMs(7));
        assert!(!refused(b"k", Action::SetString { value: b"123", whole: None, expire_at: at }));
        assert!(!refused(b"s", Action::Create { idmp_duration_s: 100, idmp_maxsize: 100 }));
        assert!(refused(b"s", part(0, 0, b"0")), "a stream");
        assert!(refused(b"k", part(2, 0, b"0")), "another string");
        assert!(refused(b"k", part(3, STRING_BYTES_MAX, b"0")), "too large");
        assert!(refused(b"k", part(3, usize::MAX, b"0")), "too large");
        read(&payload, &mut |change| spaces.apply(&change)).unwrap();
        let slot = space.database(0).slot(space.find(0, b"k").unwrap());
        let Value::String(string) = &slot.value else { panic!("no string") };
        assert_eq!(
            (string.len(), &string[..4], &string[299..]),
            (302, &b"123\0"[..], &b"\x0045"[..])
        );
        assert_eq!(slot.expire_at(), at);
    }
}
