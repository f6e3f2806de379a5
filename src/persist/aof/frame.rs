//! The bytes of a segment: its header and its frames. Encoding and checking only; no file.
//!
//! A segment is a header of 8192 bytes, in which the same 48 bytes stand at 0 and at 8144 (two
//! copies, so that no damage of up to 4 KiB takes the seed without which no frame can be checked),
//! then frames without gaps, then zeros. The frame at position `p` of the log stands at byte
//! `8192 + (p - start)`.
//!
//! | header, at | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `MILLSAOF` |
//! | 8 | 4 | format version |
//! | 12 | 4 | zero |
//! | 16 | 8 | seed: a random number that begins each checksum of this file |
//! | 24 | 8 | start: the position of the first frame |
//! | 32 | 8 | durable position when the segment was made |
//! | 40 | 8 | CRC-64 of the 40 bytes before |
//!
//! | frame, at | size | what |
//! |---|---|---|
//! | 0 | 8 | CRC-64, begun with the seed: position (8 bytes), header from 8 on, payload's CRC-64 |
//! | 8 | 4 | own position, low 32 bits (finds frames behind damage without each checksum) |
//! | 12 | 1–10 | varint: bytes of payload; 0 is a mark |
//! | | 1–10 | varint: own position − durable position when the frame was written |
//! | | | payload: the records of one turn |
//!
//! So a header takes 14 to 32 bytes, commonly 16.

use crate::codec::{Crc64, Cursor, Records, VARINT_MAX, crc64, crc64_seed, put_u32, put_u64};
use crate::persist::FORMAT_VERSION;

/// The bytes of a segment before its first frame.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 8192;
/// The most bytes a frame has before its payload; a turn's buffer begins with that many.
pub const FRAME_HEADER_MAX: usize = FRAME_FIXED + 2 * VARINT_MAX;
/// The bytes of checksum and position in a frame's header.
const FRAME_FIXED: usize = 12;

const MAGIC: &[u8; 8] = b"MILLSAOF";
/// The bytes of one copy of the segment header.
const COPY_BYTES: usize = 48;
/// Where the second copy stands: as far from the first as it can.
const SECOND_COPY: usize = 8192 - COPY_BYTES;
/// Begins the checksum of the segment header, which cannot know the file's own seed.
const HEADER_SEED: u64 = 0;
/// Begins the inner checksum of the payload, which is computed before the segment is known.
const PAYLOAD_SEED: u64 = 1;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Begins each checksum of the file.
    pub(super) seed: u64,
    /// The position of the first frame.
    pub(super) start: u64,
    /// The durable position when the segment was made.
    pub(super) durable: u64,
}

/// What stands where a segment header should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundHeader {
    /// A good one.
    Good(SegmentHeader),
    /// A good one of another format version.
    Version(u32),
    /// Neither copy is whole.
    Bad,
}

impl SegmentHeader {
    /// The bytes from the beginning of the file to the first frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(COPY_BYTES);
        copy.extend_from_slice(MAGIC);
        put_u32(&mut copy, FORMAT_VERSION);
        put_u32(&mut copy, 0);
        put_u64(&mut copy, self.seed);
        put_u64(&mut copy, self.start);
        put_u64(&mut copy, self.durable);
        let crc = crc64(HEADER_SEED, &[&copy]);
        put_u64(&mut copy, crc);
        let mut bytes = vec![0; SECOND_COPY];
        bytes[..COPY_BYTES].copy_from_slice(&copy);
        bytes.extend_from_slice(&copy);
        bytes
    }

    /// Reads the beginning of a file, which may be shorter than a header.
    pub(super) fn decode(bytes: &[u8]) -> FoundHeader {
        for at in [0, SECOND_COPY] {
            let Some(copy) = bytes.get(at..at + COPY_BYTES) else { continue };
            if let Some(found) = Self::decode_copy(copy) {
                return found;
            }
        }
        FoundHeader::Bad
    }

    fn decode_copy(copy: &[u8]) -> Option<FoundHeader> {
        let mut cursor = Cursor::new(copy);
        if cursor.take(MAGIC.len()).ok()? != MAGIC {
            return None;
        }
        let version = cursor.u32().ok()?;
        cursor.u32().ok()?;
        let header = SegmentHeader {
            seed: cursor.u64().ok()?,
            start: cursor.u64().ok()?,
            durable: cursor.u64().ok()?,
        };
        let covered = &copy[..cursor.offset()];
        if cursor.u64().ok()? != crc64(HEADER_SEED, &[covered]) {
            return None;
        }
        if version != FORMAT_VERSION {
            return Some(FoundHeader::Version(version));
        }
        Some(FoundHeader::Good(header))
    }
}

/// What a frame's header says, before any checksum is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// The bytes of the header.
    pub(super) header_bytes: usize,
    /// The bytes of the payload.
    pub(super) payload_bytes: usize,
    /// The durable position when the frame was written.
    pub(super) durable: u64,
}

impl FrameHeader {
    /// Reads a header at `position`; `None` if none can stand there.
    pub(super) fn decode(bytes: &[u8], position: u64) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        cursor.u64().ok()?;
        if cursor.take(4).ok()? != low_bytes(position) {
            return None;
        }
        let payload_bytes = cursor.varint().ok()?.try_into().ok()?;
        let durable = position.checked_sub(cursor.varint().ok()?)?;
        Some(FrameHeader { header_bytes: cursor.offset(), payload_bytes, durable })
    }

    /// The bytes of the whole frame, if a number can hold them.
    pub(super) fn frame_bytes(&self) -> Option<usize> {
        self.header_bytes.checked_add(self.payload_bytes)
    }

    /// Whether `frame`, which is `frame_bytes` long, is what was written at `position`.
    pub(super) fn verify(&self, frame: &[u8], seed: u64, position: u64) -> bool {
        let (header, payload) = frame.split_at(self.header_bytes);
        let crc = frame_crc(seed, position, &header[8..], payload_crc(payload));
        crc.to_le_bytes() == header[..8]
    }

    /// The seed with which `frame` would verify; a file whose header is lost is known by frames
    /// that have the same.
    pub(super) fn seed(&self, frame: &[u8], position: u64) -> Option<u64> {
        let (header, payload) = frame.split_at(self.header_bytes);
        let (crc, covered) = header.split_first_chunk()?;
        let payload_crc = payload_crc(payload).to_le_bytes();
        let parts: [&[u8]; 3] = [&position.to_le_bytes(), covered, &payload_crc];
        Some(crc64_seed(u64::from_le_bytes(*crc), &parts))
    }
}

fn payload_crc(payload: &[u8]) -> u64 {
    crc64(PAYLOAD_SEED, &[payload])
}

/// The inner checksum of a payload; the part of the work that needs no lock.
pub(super) fn records_crc(records: &Records) -> u64 {
    let mut crc = Crc64::new(PAYLOAD_SEED);
    let written = records.give(FRAME_HEADER_MAX, &mut |piece| {
        crc.write(piece);
        Ok(())
    });
    debug_assert!(written.is_ok());
    crc.sum()
}

/// Writes a frame's header right before the payload in `records`, which begin with
/// [`FRAME_HEADER_MAX`] bytes for it; returns where the frame begins.
pub(super) fn seal(
    records: &mut Records,
    payload_crc: u64,
    seed: u64,
    position: u64,
    durable: u64,
) -> usize {
    assert!(durable <= position, "nothing is durable that is not written");
    let mut varints = [0; 2 * VARINT_MAX];
    let mut used = 0;
    for mut value in [records.len() as u64, position - durable] {
        while value >= 0x80 {
            varints[used] = value.to_le_bytes()[0] | 0x80;
            value >>= 7;
            used += 1;
        }
        varints[used] = value.to_le_bytes()[0];
        used += 1;
    }
    let begin = FRAME_HEADER_MAX - FRAME_FIXED - used;
    let header = &mut records.room_mut()[begin..FRAME_HEADER_MAX];
    header[8..FRAME_FIXED].copy_from_slice(&low_bytes(position));
    header[FRAME_FIXED..].copy_from_slice(&varints[..used]);
    let crc = frame_crc(seed, position, &header[8..], payload_crc);
    header[..8].copy_from_slice(&crc.to_le_bytes());
    begin
}

fn frame_crc(seed: u64, position: u64, header: &[u8], payload_crc: u64) -> u64 {
    crc64(seed, &[&position.to_le_bytes(), header, &payload_crc.to_le_bytes()])
}

/// The low 32 bits of a position as they stand in a frame.
pub(super) fn low_bytes(position: u64) -> [u8; 4] {
    let bytes = position.to_le_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}
