//! Bytes and numbers: varints, length-prefixed bytes, a checked cursor, the CRC-64 of our own
//! files. With `stream/id.rs` it is the only code that knows a byte order.
//!
//! | form | bytes |
//! |---|---|
//! | varint | LEB128: 7 bits a byte, low bits first, high bit = more follows; at most 10 bytes |
//! | zigzag | a signed number as the varint of `(n << 1) ^ (n >> 63)` |
//! | bytes | varint length, then the bytes |
//! | fixed | little-endian |
//!
//! A decoder never panics and never allocates from a length it has not checked against the bytes
//! that are left.

mod records;

pub use records::{Part, Records, Sink, shared};

use std::fmt;

/// Bytes that are not a valid encoding; says what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt(pub &'static str);

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Corrupt {}

/// The most bytes a varint takes.
pub const VARINT_MAX: usize = 10;

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// Makes room for `additional` more items. Beyond a quarter of a megabyte it takes far more than is
/// needed: memory that was never written to costs nothing, while a buffer that doubles is there
/// twice as long as it moves, and leaves its former places behind.
pub fn reserve<T>(items: &mut Vec<T>, additional: usize) {
    /// The size in bytes beyond which room is taken in these steps.
    const LARGE_BYTES: usize = 256 << 10;
    const STEPS_BYTES: [usize; 3] = [64 << 20, 1 << 30, u32::MAX as usize];
    let need = items.len() + additional;
    if need <= items.capacity() {
        return;
    }
    let bytes = need.saturating_mul(size_of::<T>());
    let step = STEPS_BYTES.into_iter().find(|step| (LARGE_BYTES + 1..=*step).contains(&bytes));
    let room = step.map(|step| step / size_of::<T>() - items.len());
    // The system may not have so much even to promise.
    if room.is_none_or(|room| items.try_reserve_exact(room).is_err()) {
        items.reserve(additional);
    }
}

/// Appends a signed number in zigzag form.
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends bytes with their length before them.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends four bytes, little-endian.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends eight bytes, little-endian.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// The number of bytes that `put_varint` writes for `value`.
pub fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// The low eight bits.
fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// A checked cursor over bytes.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Corrupt`] if fewer are left; the cursor has not moved.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Corrupt> {
        let Some(bytes) = self.rest().get(..n) else {
            return Err(Corrupt("the bytes end too early"));
        };
        self.at += n;
        Ok(bytes)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Corrupt`] at the end.
    pub fn u8(&mut self) -> Result<u8, Corrupt> {
        Ok(self.take(1)?[0])
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// [`Corrupt`] if fewer are left.
    pub fn u32(&mut self) -> Result<u32, Corrupt> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// [`Corrupt`] if fewer are left.
    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        let low = u64::from(self.u32()?);
        let high = u64::from(self.u32()?);
        Ok(low | high << 32)
    }

    /// A varint.
    ///
    /// # Errors
    /// [`Corrupt`] if it does not end or does not fit 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Corrupt> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    /// A varint of more than one byte.
    fn long_varint(&mut self) -> Result<u64, Corrupt> {
        let rest = self.rest();
        let mut value = 0_u64;
        for (i, &byte) in rest.iter().take(VARINT_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if i == VARINT_MAX - 1 && byte > 1 {
                return Err(Corrupt("a varint is too large"));
            }
            value |= bits << (7 * i);
            if byte < 0x80 {
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(Corrupt("a varint does not end"))
    }

    /// A signed number in zigzag form.
    ///
    /// # Errors
    /// As [`Cursor::varint`].
    pub fn zigzag(&mut self) -> Result<i64, Corrupt> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A length or count, which must not exceed the bytes that are left.
    ///
    /// # Errors
    /// [`Corrupt`] if it does.
    pub fn count(&mut self) -> Result<usize, Corrupt> {
        let n = self.varint()?;
        match usize::try_from(n) {
            Ok(n) if n <= self.rest().len() => Ok(n),
            _ => Err(Corrupt("a length exceeds the bytes that are left")),
        }
    }

    /// Bytes with their length before them.
    ///
    /// # Errors
    /// [`Corrupt`] if fewer are left than the length says.
    pub fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let n = self.count()?;
        self.take(n)
    }

    /// Refuses what is left over.
    ///
    /// # Errors
    /// [`Corrupt`] if anything is.
    pub fn end(&self) -> Result<(), Corrupt> {
        if self.is_empty() { Ok(()) } else { Err(Corrupt("bytes are left over")) }
    }
}

/// CRC-64/XZ of `parts` in order, begun with `seed` (a file's own random number, so that a frame
/// of one file is never valid in another).
pub fn crc64(seed: u64, parts: &[&[u8]]) -> u64 {
    let mut digest = crc64fast::Digest::new();
    // Small parts go together: sixteen bytes at a time cost as much as seven alone.
    let (mut small, mut used) = ([0; 64], 8);
    small[..used].copy_from_slice(&seed.to_le_bytes());
    for part in parts {
        match small.get_mut(used..used + part.len()) {
            Some(place) => {
                place.copy_from_slice(part);
                used += part.len();
            }
            None => {
                digest.write(&small[..used]);
                digest.write(part);
                used = 0;
            }
        }
    }
    digest.write(&small[..used]);
    digest.sum64()
}

/// [`crc64`] of parts that come one after the other.
pub struct Crc64(crc64fast::Digest);

impl fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Crc64").field(&self.sum()).finish()
    }
}

impl Crc64 {
    /// Begins with `seed`.
    pub fn new(seed: u64) -> Self {
        let mut digest = crc64fast::Digest::new();
        digest.write(&seed.to_le_bytes());
        Crc64(digest)
    }

    /// Takes the next part.
    pub fn write(&mut self, part: &[u8]) {
        self.0.write(part);
    }

    /// The checksum of what was written.
    pub fn sum(&self) -> u64 {
        self.0.sum64()
    }
}

/// The seed with which [`crc64`] of `parts` is `crc`: there always is one, and only one.
pub fn crc64_seed(crc: u64, parts: &[&[u8]]) -> u64 {
    const POLYNOMIAL: u64 = 0xc96c_5795_d787_0f42;
    // A step forward shifts right, and the polynomial has the highest bit.
    let back = |state: u64| match state >> 63 {
        0 => state << 1,
        _ => ((state ^ POLYNOMIAL) << 1) | 1,
    };
    let back_over = |state, bits: u32| (0..bits).fold(state, |state, _| back(state));
    let bytes = parts.iter().rev().flat_map(|part| part.iter().rev());
    let state = bytes.fold(!crc, |state, &byte| back_over(state, 8) ^ u64::from(byte));
    !back_over(state, 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_and_zigzags_come_back() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value));
                let mut cursor = Cursor::new(&out);
                assert_eq!(cursor.varint(), Ok(value));
                assert!(cursor.is_empty());
                for cut in 0..out.len() {
                    assert!(Cursor::new(&out[..cut]).varint().is_err());
                }
                let signed = value.cast_signed();
                for signed in [signed, signed.wrapping_neg()] {
                    let mut out = Vec::new();
                    put_zigzag(&mut out, signed);
                    assert_eq!(Cursor::new(&out).zigzag(), Ok(signed));
                }
            }
        }
        assert!(Cursor::new(&[0xff; 11]).varint().is_err());
        assert!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])
                .varint()
                .is_err()
        );
    }

    #[test]
    fn a_length_beyond_the_end_is_refused_before_anything_is_taken() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        out.extend_from_slice(b"abc");
        assert!(Cursor::new(&out).bytes().is_err());
        let mut out = Vec::new();
        put_bytes(&mut out, b"abc");
        put_u64(&mut out, 0x0102_0304_0506_0708);
        let mut cursor = Cursor::new(&out);
        assert_eq!(cursor.bytes(), Ok(&b"abc"[..]));
        assert!(cursor.end().is_err());
        assert_eq!(cursor.u64(), Ok(0x0102_0304_0506_0708));
        assert_eq!(cursor.end(), Ok(()));
    }

    #[test]
    fn a_large_buffer_grows_without_being_moved() {
        let (mut bytes, mut moves) = (Vec::new(), 0);
        for n in 0..40 << 10 {
            let before = bytes.capacity();
            reserve(&mut bytes, 1 << 10);
            bytes.resize((n + 1) << 10, 0_u8);
            moves += usize::from(n >= 1 << 10 && bytes.capacity() != before);
        }
        assert!(moves <= 1, "{moves}");
        let mut numbers = vec![0_u64; 3];
        reserve(&mut numbers, 1);
        assert!((4..100).contains(&numbers.capacity()));
    }

    #[test]
    fn the_checksum_depends_on_the_seed_and_not_on_the_split() {
        assert_eq!(crc64(1, &[b"ab", b"c"]), crc64(1, &[b"abc"]));
        assert_ne!(crc64(1, &[b"abc"]), crc64(2, &[b"abc"]));
        for seed in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let parts: [&[u8]; 3] = [b"a", b"", b"bc\xff\0"];
            assert_eq!(crc64_seed(crc64(seed, &parts), &parts), seed);
        }
    }
}
