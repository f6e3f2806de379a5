//! Lengths and strings as Redis's formats have them.
//!
//! | first byte | length |
//! |---|---|
//! | `00xxxxxx` | 6 bits |
//! | `01xxxxxx` + 1 | 14 bits, big-endian |
//! | `80` + 4, `81` + 8 | 32 or 64 bits, big-endian |
//!
//! | first byte | string |
//! |---|---|
//! | a length | that many bytes |
//! | `C0` + 1, `C1` + 2, `C2` + 4 | the decimal text of a signed little-endian number |
//! | `C3` | length compressed, length original, LZF |

use crate::codec::{Corrupt, Cursor};
use crate::rdb::{listpack, lzf};
use crate::stream::EntryId;
use std::borrow::Cow;

/// What a reader may make beyond its input: this many bytes …
const BUDGET_FLOOR: usize = 256 << 20;
/// … and this many for each byte of input. A node of Redis's default limits, at most 4096 bytes
/// and 100 entries, cannot need more to be written out with its field names.
const BUDGET_PER_BYTE: usize = 128;

/// Reads lengths, strings and IDs; and keeps the account of how much the input has expanded, so
/// that a small payload never becomes a huge value.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    cursor: Cursor<'a>,
    budget: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let budget = bytes.len().saturating_mul(BUDGET_PER_BYTE).saturating_add(BUDGET_FLOOR);
        Reader { cursor: Cursor::new(bytes), budget }
    }

    /// Takes `bytes` from what the input may expand to.
    ///
    /// # Errors
    /// [`Corrupt`] if that is used up.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Corrupt> {
        match self.budget.checked_sub(bytes) {
            Some(left) => self.budget = left,
            None => return Err(Corrupt("the value expands too much")),
        }
        Ok(())
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Corrupt`] at the end.
    pub(super) fn u8(&mut self) -> Result<u8, Corrupt> {
        self.cursor.u8()
    }

    /// How many bytes have been read.
    pub(super) fn offset(&self) -> usize {
        self.cursor.offset()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Corrupt`] if fewer are left.
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Corrupt> {
        self.cursor.take(n)
    }

    /// A number of four bytes, little-endian.
    ///
    /// # Errors
    /// [`Corrupt`] if fewer are left.
    pub(super) fn u32(&mut self) -> Result<u32, Corrupt> {
        self.cursor.u32()
    }

    /// A signed number of eight bytes, little-endian: a time.
    ///
    /// # Errors
    /// [`Corrupt`] if fewer are left.
    pub(super) fn i64(&mut self) -> Result<i64, Corrupt> {
        Ok(self.cursor.u64()?.cast_signed())
    }

    /// A length, or any other unsigned number.
    ///
    /// # Errors
    /// [`Corrupt`] if none is there.
    pub(super) fn len(&mut self) -> Result<u64, Corrupt> {
        let first = self.cursor.u8()?;
        self.len_after(first)
    }

    /// The length that begins with `first`.
    fn len_after(&mut self, first: u8) -> Result<u64, Corrupt> {
        let low = u64::from(first & 0x3f);
        match first {
            0x00..=0x3f => Ok(low),
            0x40..=0x7f => Ok(low << 8 | u64::from(self.cursor.u8()?)),
            0x80 => Ok(u64::from(self.cursor.u32()?.swap_bytes())),
            0x81 => Ok(self.cursor.u64()?.swap_bytes()),
            _ => Err(Corrupt("a length has an unknown form")),
        }
    }

    /// The number of items that follow, each of at least `least` bytes.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes that are left cannot hold them.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, Corrupt> {
        let count = self.len()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.cursor.rest().len() / least => Ok(count),
            _ => Err(Corrupt("a count exceeds the bytes that are left")),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// [`Corrupt`] if it is not valid, or expands too much.
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Corrupt> {
        let number = match self.cursor.u8()? {
            0xc0 => i64::from(self.cursor.u8()?.cast_signed()),
            0xc1 => i64::from(i16::from_le_bytes([self.cursor.u8()?, self.cursor.u8()?])),
            0xc2 => i64::from(self.cursor.u32()?.cast_signed()),
            0xc3 => return self.compressed().map(Cow::Owned),
            first => {
                let length = usize::try_from(self.len_after(first)?).unwrap_or(usize::MAX);
                return self.cursor.take(length).map(Cow::Borrowed);
            }
        };
        Ok(Cow::Owned(number.to_string().into_bytes()))
    }

    /// The rest of a string in LZF.
    fn compressed(&mut self) -> Result<Vec<u8>, Corrupt> {
        let length = usize::try_from(self.len()?).unwrap_or(usize::MAX);
        let original = usize::try_from(self.len()?).unwrap_or(usize::MAX);
        self.spend(original)?;
        lzf::decompress(self.cursor.take(length)?, original)
    }

    /// An entry ID as two numbers.
    ///
    /// # Errors
    /// [`Corrupt`] if they are not there.
    pub(super) fn id(&mut self) -> Result<EntryId, Corrupt> {
        Ok(EntryId::new(self.len()?, self.len()?))
    }

    /// An entry ID as sixteen bytes.
    ///
    /// # Errors
    /// [`Corrupt`] if fewer are left.
    pub(super) fn raw_id(&mut self) -> Result<EntryId, Corrupt> {
        EntryId::from_key(self.cursor.take(16)?)
    }

    /// Refuses what is left over.
    ///
    /// # Errors
    /// [`Corrupt`] if anything is.
    pub(super) fn end(&self) -> Result<(), Corrupt> {
        self.cursor.end()
    }
}

/// Appends a length in its shortest form.
pub(super) fn put_len(out: &mut Vec<u8>, length: u64) {
    let b = length.to_be_bytes();
    match length {
        0..0x40 => out.push(b[7]),
        0x40..0x4000 => out.extend([0x40 | b[6], b[7]]),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&b[4..]);
        }
        _ => {
            out.push(0x81);
            out.extend(b);
        }
    }
}

/// Appends an entry ID as two numbers.
pub(super) fn put_id(out: &mut Vec<u8>, id: EntryId) {
    put_len(out, id.ms);
    put_len(out, id.seq);
}

/// Appends a string; the text of a small number as that number, as Redis does.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let number = if bytes.len() <= 11 { listpack::canonical_number(bytes) } else { None };
    let b = number.unwrap_or_default().to_le_bytes();
    match number {
        Some(-0x80..=0x7f) => out.extend([0xc0, b[0]]),
        Some(-0x8000..=0x7fff) => out.extend([0xc1, b[0], b[1]]),
        Some(-0x8000_0000..=0x7fff_ffff) => out.extend([0xc2, b[0], b[1], b[2], b[3]]),
        Some(_) | None => {
            put_len(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_come_back_in_their_shortest_form() {
        for (length, bytes) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 5),
            (u64::from(u32::MAX), 5),
            (1 << 32, 9),
            (u64::MAX, 9),
        ] {
            let mut out = Vec::new();
            put_len(&mut out, length);
            assert_eq!(out.len(), bytes);
            assert_eq!(Reader::new(&out).len(), Ok(length));
            for cut in 0..bytes {
                assert!(Reader::new(&out[..cut]).len().is_err());
            }
        }
        for first in (0x82..=0xff).chain([0xc0]) {
            assert!(Reader::new(&[first, 0, 0, 0, 0, 0, 0, 0, 0]).len().is_err());
        }
    }

    #[test]
    fn strings_come_back_in_every_form() {
        for (text, first) in [
            ("", 0),
            ("abc", 3),
            ("7", 0xc0),
            ("-128", 0xc0),
            ("128", 0xc1),
            ("-32769", 0xc2),
            ("-2147483648", 0xc2),
            ("2147483648", 10),
            ("007", 3),
        ] {
            let mut out = Vec::new();
            put_string(&mut out, text.as_bytes());
            assert_eq!(out[0], first, "{text}");
            let mut reader = Reader::new(&out);
            assert_eq!(reader.string().unwrap(), text.as_bytes());
            assert_eq!(reader.end(), Ok(()));
        }
        let repeated = Reader::new(b"\xc3\x04\x08\x00a\xa0\x00").string();
        assert_eq!(repeated.unwrap(), &[b'a'; 8][..]);
        assert!(Reader::new(b"\xc4aaaa").string().is_err());
        assert!(Reader::new(b"\x05abcd").string().is_err());
        assert!(Reader::new(b"\xc3\x02\x80\xff\xff\xff\xff\x00a").string().is_err());
    }
}
