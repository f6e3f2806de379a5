//! The tag of an entry, and the ID that it codes against the one before.
//!
//! | bit of the tag | meaning |
//! |---|---|
//! | 0 | the entry is a tombstone |
//! | 1–2 | the shape: what the entry has from the master |
//! | 3–7 | the ID code |
//!
//! | ID code | milliseconds | sequence number |
//! |---|---|---|
//! | 0 | the same | one more |
//! | 1–28 | more by the code | 0 |
//! | 29 | more by a varint | 0 |
//! | 30 | the same | more by a varint |
//! | 31 | more by a varint | a varint |

use crate::codec::{Corrupt, Cursor, put_varint, varint_len};
use crate::stream::id::EntryId;

/// The bit of a tag that makes the entry a tombstone.
pub(super) const TOMBSTONE: u8 = 1;
/// Fields and lengths are the master's.
pub(super) const AS_MASTER: u8 = 0;
/// The fields are the master's, the lengths are not.
pub(super) const OWN_LENGTHS: u8 = 1;
/// Neither is.
pub(super) const OWN_FIELDS: u8 = 2;
/// The fields lie outside of the block: in memory only.
pub(super) const OUTSIDE: u8 = 3;
/// The greatest difference of milliseconds that an ID code holds.
pub(super) const SHORT_MS: u64 = 28;
/// ID code: milliseconds more by a varint, sequence number 0.
const LONG_MS: u8 = 29;
/// ID code: the same milliseconds, the sequence number more by a varint.
const LONG_SEQ: u8 = 30;
/// ID code: milliseconds more by a varint, the sequence number a varint.
const LONG_BOTH: u8 = 31;

/// Appends the tag of a live entry, and its ID against the one before.
#[inline]
pub(super) fn put_tag(out: &mut Vec<u8>, shape: u8, previous: EntryId, id: EntryId) {
    let ms = id.ms - previous.ms;
    let mut put = |code: u8| out.push(shape << 1 | code << 3);
    match (ms, id.seq) {
        (0, seq) if seq - previous.seq == 1 => put(0),
        (0, seq) => {
            put(LONG_SEQ);
            put_varint(out, seq - previous.seq);
        }
        (1..=SHORT_MS, 0) => put(ms.to_le_bytes()[0]),
        (_, 0) => {
            put(LONG_MS);
            put_varint(out, ms);
        }
        (_, seq) => {
            put(LONG_BOTH);
            put_varint(out, ms);
            put_varint(out, seq);
        }
    }
}

/// How many bytes [`put_tag`] appends.
#[inline]
pub(super) fn tag_len(previous: EntryId, id: EntryId) -> usize {
    let ms = id.ms - previous.ms;
    1 + match (ms, id.seq) {
        (0, seq) if seq - previous.seq == 1 => 0,
        (0, seq) => varint_len(seq - previous.seq),
        (1..=SHORT_MS, 0) => 0,
        (_, 0) => varint_len(ms),
        (_, seq) => varint_len(ms) + varint_len(seq),
    }
}

/// What a tag says of fields and lengths.
#[inline]
pub(super) fn shape(tag: u8) -> u8 {
    (tag >> 1) & 3
}

/// The ID of a code that needs no varint. Which of these codes it is cannot be predicted, so no
/// branch asks.
#[inline]
pub(super) fn short_id(code: u8, previous: EntryId) -> EntryId {
    let seq = if code == 0 { previous.seq + 1 } else { 0 };
    EntryId::new(previous.ms + u64::from(code), seq)
}

/// Reads what [`put_tag`] wrote, checking that the IDs ascend.
pub(super) fn read_tag(
    cursor: &mut Cursor<'_>,
    previous: EntryId,
) -> Result<(u8, EntryId), Corrupt> {
    let tag = cursor.u8()?;
    let (ms, seq) = match tag >> 3 {
        0 => (Some(previous.ms), previous.seq.checked_add(1)),
        LONG_MS => (previous.ms.checked_add(cursor.varint()?), Some(0)),
        LONG_SEQ => (Some(previous.ms), previous.seq.checked_add(cursor.varint()?)),
        LONG_BOTH => (previous.ms.checked_add(cursor.varint()?), Some(cursor.varint()?)),
        short => (previous.ms.checked_add(u64::from(short)), Some(0)),
    };
    let (Some(ms), Some(seq)) = (ms, seq) else {
        return Err(Corrupt("an entry ID is too large"));
    };
    let id = EntryId::new(ms, seq);
    if id > previous { Ok((tag, id)) } else { Err(Corrupt("the IDs of a block do not ascend")) }
}
