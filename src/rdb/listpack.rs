//! Listpacks: the packed lists in which Redis keeps the entries of a stream's node.
//!
//! | part | bytes |
//! |---|---|
//! | header | u32 LE size of all of it, u16 LE number of elements (65535: more, or unknown) |
//! | element | encoding and data, then their size written to be read backwards ("backlen") |
//! | end | `FF` |
//!
//! | first byte | element | range |
//! |---|---|---|
//! | `0xxxxxxx` | number | 0 to 127 |
//! | `10xxxxxx` | string, 6 bits of length | 0 to 63 bytes |
//! | `110xxxxx` + 1 | number, 13 bits, big-endian | -4096 to 4095 |
//! | `1110xxxx` + 1 | string, 12 bits of length, big-endian | 0 to 4095 bytes |
//! | `F0` + 4 | string, 32 bits of length, little-endian | |
//! | `F1` + 2, `F2` + 3, `F3` + 4, `F4` + 8 | number, little-endian | |
//!
//! Bytes that are the plain decimal text of an `i64` are stored as that number, in the shortest
//! form: what we write is what Redis would write, byte for byte.

use crate::codec::{Corrupt, Cursor};
use std::borrow::Cow;

/// The bytes of the header.
const HEADER: usize = 6;
/// The end byte.
const END: u8 = 0xff;
/// The number of elements from which on the header says only this.
const UNKNOWN: u16 = u16::MAX;

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element<'a> {
    /// A number.
    Number(i64),
    /// Any other bytes.
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The bytes that were stored.
    pub(super) fn text(self) -> Cow<'a, [u8]> {
        match self {
            Element::Number(number) => Cow::Owned(number.to_string().into_bytes()),
            Element::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }
}

/// The elements of a listpack, validated as they are read: the listpack is valid once
/// [`Elements::next`] has answered `None`.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    cursor: Cursor<'a>,
    announced: u16,
    read: usize,
}

impl<'a> Elements<'a> {
    /// Checks header and end byte.
    ///
    /// # Errors
    /// [`Corrupt`] if they do not fit the blob.
    pub(super) fn new(blob: &'a [u8]) -> Result<Self, Corrupt> {
        let mut header = Cursor::new(blob);
        let size = header.u32()?;
        let announced = u16::from_le_bytes([header.u8()?, header.u8()?]);
        if usize::try_from(size) != Ok(blob.len()) {
            return Err(Corrupt("a listpack is not as long as it says"));
        }
        match header.rest() {
            [elements @ .., END] => {
                Ok(Elements { cursor: Cursor::new(elements), announced, read: 0 })
            }
            _ => Err(Corrupt("a listpack has no end byte")),
        }
    }

    /// How many bytes of elements are left.
    pub(super) fn bytes_left(&self) -> usize {
        self.cursor.rest().len()
    }

    /// The next element; `None` at the end.
    ///
    /// # Errors
    /// [`Corrupt`] if it is not valid, or at the end if the header gives another number.
    pub(super) fn next(&mut self) -> Result<Option<Element<'a>>, Corrupt> {
        if self.cursor.is_empty() {
            let right = self.announced == UNKNOWN || usize::from(self.announced) == self.read;
            return if right {
                Ok(None)
            } else {
                Err(Corrupt("a listpack has not the elements it says"))
            };
        }
        let before = self.cursor;
        let element = element(&mut self.cursor)?;
        let (backlen, length) = backlen(self.cursor.offset() - before.offset());
        if self.cursor.take(length)? != &backlen[..length] {
            return Err(Corrupt("an element of a listpack has a wrong size at its end"));
        }
        self.read += 1;
        Ok(Some(element))
    }

    /// The next element, which must exist.
    ///
    /// # Errors
    /// [`Corrupt`] if there is none, or it is not valid.
    pub(super) fn element(&mut self) -> Result<Element<'a>, Corrupt> {
        self.next()?.ok_or(Corrupt("a listpack ends too early"))
    }

    /// The next element, which must be a number.
    ///
    /// # Errors
    /// [`Corrupt`] if it is none.
    pub(super) fn number(&mut self) -> Result<i64, Corrupt> {
        match self.element()? {
            Element::Number(number) => Ok(number),
            Element::Bytes(_) => Err(Corrupt("an element of a listpack is not a number")),
        }
    }
}

/// Reads encoding and data of an element.
fn element<'a>(cursor: &mut Cursor<'a>) -> Result<Element<'a>, Corrupt> {
    let first = cursor.u8()?;
    let low = usize::from(first);
    Ok(match first {
        0..=0x7f => Element::Number(i64::from(first)),
        0x80..=0xbf => Element::Bytes(cursor.take(low & 0x3f)?),
        0xc0..=0xdf => {
            // Thirteen bits at the top of sixteen, shifted down with their sign.
            let high = i16::from_be_bytes([first, cursor.u8()?]) << 3;
            Element::Number(i64::from(high >> 3))
        }
        0xe0..=0xef => {
            let length = (low & 0x0f) << 8 | usize::from(cursor.u8()?);
            Element::Bytes(cursor.take(length)?)
        }
        0xf0 => {
            let length = usize::try_from(cursor.u32()?);
            Element::Bytes(cursor.take(length.unwrap_or(usize::MAX))?)
        }
        0xf1 => Element::Number(signed(cursor.take(2)?)),
        0xf2 => Element::Number(signed(cursor.take(3)?)),
        0xf3 => Element::Number(signed(cursor.take(4)?)),
        0xf4 => Element::Number(signed(cursor.take(8)?)),
        0xf5.. => return Err(Corrupt("an element of a listpack has an unknown form")),
    })
}

/// The signed little-endian number of one to eight bytes.
fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut all = if negative { [0xff; 8] } else { [0; 8] };
    all[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(all)
}

/// The size of an element, to be read from its last byte backwards: each byte but the first has
/// its high bit set. The limits are Redis's, one below what the bits could hold.
fn backlen(size: usize) -> ([u8; 5], usize) {
    let length = match size {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    let mut bytes = [0; 5];
    let mut rest = size;
    for (i, byte) in bytes[..length].iter_mut().enumerate().rev() {
        let more = if i == 0 { 0 } else { 0x80 };
        *byte = (rest & 0x7f).to_le_bytes()[0] | more;
        rest >>= 7;
    }
    (bytes, length)
}

/// The number that `text` is the plain decimal text of: no sign but a minus, no leading zeros.
pub(super) fn canonical_number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let plain = match digits {
        [b'0'] => !negative,
        [b'1'..=b'9', rest @ ..] => rest.len() <= 18 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !plain {
        return None;
    }
    // Built towards the sign, so that the least number is reached.
    digits.iter().try_fold(0_i64, |number, digit| {
        let digit = i64::from(digit - b'0');
        number.checked_mul(10)?.checked_add(if negative { -digit } else { digit })
    })
}

/// Writes a listpack.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    count: usize,
}

impl Writer {
    /// An empty listpack.
    pub(super) fn new() -> Self {
        Writer { bytes: vec![0; HEADER], count: 0 }
    }

    /// The size it has with its end byte.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + 1
    }

    /// Appends bytes, as a number if they are one's text.
    pub(super) fn push(&mut self, text: &[u8]) {
        if let Some(number) = canonical_number(text) {
            return self.push_number(number);
        }
        let start = self.bytes.len();
        let length = text.len().to_le_bytes();
        match text.len() {
            0..64 => self.bytes.push(0x80 | length[0]),
            64..4096 => self.bytes.extend([0xe0 | length[1], length[0]]),
            // A length beyond 32 bits makes the whole too large, which `finish` refuses.
            _ => self.bytes.extend([0xf0, length[0], length[1], length[2], length[3]]),
        }
        self.bytes.extend_from_slice(text);
        self.close(start);
    }

    /// Appends a number.
    pub(super) fn push_number(&mut self, number: i64) {
        let start = self.bytes.len();
        let b = number.to_le_bytes();
        match number {
            0..=127 => self.bytes.push(b[0]),
            -4096..=4095 => self.bytes.extend([0xc0 | (b[1] & 0x1f), b[0]]),
            -0x8000..=0x7fff => self.bytes.extend([0xf1, b[0], b[1]]),
            -0x80_0000..=0x7f_ffff => self.bytes.extend([0xf2, b[0], b[1], b[2]]),
            -0x8000_0000..=0x7fff_ffff => self.bytes.extend([0xf3, b[0], b[1], b[2], b[3]]),
            _ => {
                self.bytes.push(0xf4);
                self.bytes.extend(b);
            }
        }
        self.close(start);
    }

    /// Appends the size of the element that begins at `start`.
    fn close(&mut self, start: usize) {
        let (bytes, length) = backlen(self.bytes.len() - start);
        self.bytes.extend_from_slice(&bytes[..length]);
        self.count += 1;
    }

    /// Replaces the first element, which is a number of 0 to 127 as the new one is.
    pub(super) fn set_first(&mut self, number: u8) {
        self.bytes[HEADER] = number;
    }

    /// The listpack's bytes.
    ///
    /// # Errors
    /// [`Corrupt`] if their number does not fit 32 bits.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, Corrupt> {
        self.bytes.push(END);
        let size = u32::try_from(self.bytes.len()).map_err(|_| Corrupt("a listpack too large"))?;
        self.bytes[..4].copy_from_slice(&size.to_le_bytes());
        let count = u16::try_from(self.count).unwrap_or(UNKNOWN);
        self.bytes[4..HEADER].copy_from_slice(&count.to_le_bytes());
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of one element with its size.
    fn one(text: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.push(text);
        let blob = writer.finish().unwrap();
        blob[HEADER..blob.len() - 1].to_vec()
    }

    fn all(blob: &[u8]) -> Result<Vec<Element<'_>>, Corrupt> {
        let mut elements = Elements::new(blob)?;
        let mut out = Vec::new();
        while let Some(element) = elements.next()? {
            out.push(element);
        }
        Ok(out)
    }

    #[test]
    fn numbers_have_redis_bytes() {
        for (text, bytes) in [
            ("0", &[0x00, 1][..]),
            ("127", &[0x7f, 1]),
            ("128", &[0xc0, 0x80, 2]),
            ("-1", &[0xdf, 0xff, 2]),
            ("4095", &[0xcf, 0xff, 2]),
            ("-4096", &[0xd0, 0, 2]),
            ("4096", &[0xf1, 0, 0x10, 3]),
            ("-4097", &[0xf1, 0xff, 0xef, 3]),
            ("32768", &[0xf2, 0, 0x80, 0, 4]),
            ("-32769", &[0xf2, 0xff, 0x7f, 0xff, 4]),
            ("8388608", &[0xf3, 0, 0, 0x80, 0, 5]),
            ("-8388609", &[0xf3, 0xff, 0xff, 0x7f, 0xff, 5]),
            ("2147483648", &[0xf4, 0, 0, 0, 0x80, 0, 0, 0, 0, 9]),
            ("-9223372036854775808", &[0xf4, 0, 0, 0, 0, 0, 0, 0, 0x80, 9]),
            ("", &[0x80, 1]),
            ("-0", &[0x82, b'-', b'0', 3]),
        ] {
            assert_eq!(one(text.as_bytes()), bytes, "{text}");
        }
        for text in ["-", "01", "+1", " 1", "1 ", "9223372036854775808", "00", "-01", "1e3"] {
            assert_eq!(canonical_number(text.as_bytes()), None, "{text}");
        }
        assert_eq!(canonical_number(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(canonical_number(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(canonical_number(b"-9223372036854775809"), None);
    }

    #[test]
    fn strings_and_sizes_have_redis_limits() {
        for (length, head, tail) in [
            (63, &[0xbf][..], &[64][..]),
            (64, &[0xe0, 64], &[66]),
            (125, &[0xe0, 125], &[127]),
            (126, &[0xe0, 126], &[1, 0x80]),
            (4095, &[0xef, 0xff], &[0x20, 0x81]),
            (4096, &[0xf0, 0, 0x10, 0, 0], &[0x20, 0x85]),
            (16_377, &[0xf0, 0xf9, 0x3f, 0, 0], &[0x7f, 0xfe]),
            (16_378, &[0xf0, 0xfa, 0x3f, 0, 0], &[0, 0xff, 0xff]),
            (2_097_145, &[0xf0, 0xf9, 0xff, 0x1f, 0], &[0x7f, 0xff, 0xfe]),
            (2_097_146, &[0xf0, 0xfa, 0xff, 0x1f, 0], &[0, 0xff, 0xff, 0xff]),
        ] {
            let text = vec![b'x'; length];
            let bytes = one(&text);
            assert_eq!(bytes[..head.len()], *head, "{length}");
            assert_eq!(bytes[head.len() + length..], *tail, "{length}");
            let mut writer = Writer::new();
            writer.push(&text);
            let blob = writer.finish().unwrap();
            assert_eq!(all(&blob), Ok(vec![Element::Bytes(&text)]));
        }
        assert_eq!(Writer::new().finish().unwrap(), [7, 0, 0, 0, 0, 0, END]);
    }

    #[test]
    fn numbers_come_back_and_damage_is_refused() {
        let mut writer = Writer::new();
        let mut numbers = Vec::new();
        for shift in 0..63 {
            for number in [1_i64 << shift, (1_i64 << shift) - 1, -(1_i64 << shift), i64::MIN] {
                writer.push_number(number);
                numbers.push(Element::Number(number));
            }
        }
        let blob = writer.finish().unwrap();
        assert_eq!(all(&blob), Ok(numbers));
        for cut in 0..blob.len() {
            assert!(all(&blob[..cut]).is_err());
        }
        for form in 0xf5..=0xff {
            assert!(all(&[9, 0, 0, 0, 1, 0, form, 1, END]).is_err());
        }
        assert!(all(&[9, 0, 0, 0, 1, 0, 0, 1, END]).is_ok());
        assert!(all(&[9, 0, 0, 0, 0xff, 0xff, 0, 1, END]).is_ok(), "the number may be unknown");
        assert!(all(&[9, 0, 0, 0, 2, 0, 0, 1, END]).is_err(), "a wrong number of elements");
        assert!(all(&[9, 0, 0, 0, 1, 0, 0, 2, END]).is_err(), "a wrong size behind");
        assert!(all(&[9, 0, 0, 0, 1, 0, 0, 1, 0]).is_err(), "no end byte");
        assert!(all(&[8, 0, 0, 0, 1, 0, 0, 1, END]).is_err(), "a wrong size in front");
        assert!(all(&[9, 0, 0, 0, 1, 0, 0x82, 1, END]).is_err(), "beyond the end");
    }

    #[test]
    fn many_elements_are_counted_as_unknown() {
        for (count, announced) in [(65_534, 65_534), (65_535, UNKNOWN), (70_000, UNKNOWN)] {
            let mut writer = Writer::new();
            (0..count).for_each(|_| writer.push_number(1));
            let blob = writer.finish().unwrap();
            assert_eq!(u16::from_le_bytes([blob[4], blob[5]]), announced);
            assert_eq!(all(&blob).unwrap().len(), count);
        }
    }
}
