//! Entry IDs: their order, their text, their 16 big-endian bytes; and the wall clock's unit.

use crate::codec::Corrupt;
use std::fmt;

/// Milliseconds since 1970, by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// Milliseconds from `earlier` to `self`; 0 if the clock has gone back.
    pub fn since(self, earlier: UnixMs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// An entry ID, `<ms>-<seq>`: ordered by milliseconds, then by sequence number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EntryId {
    /// Milliseconds.
    pub ms: u64,
    /// Sequence number within the millisecond.
    pub seq: u64,
}

/// The most bytes the text of an ID takes: two numbers of 20 digits and the dash.
pub const ID_TEXT_MAX: usize = 41;

/// The most bytes of a text that is read as an ID, with its leading zeros. Redis: the same.
const ID_TEXT_READ_MAX: usize = 127;

impl EntryId {
    /// `0-0`, which no entry has.
    pub const MIN: EntryId = EntryId { ms: 0, seq: 0 };
    /// The greatest ID.
    pub const MAX: EntryId = EntryId { ms: u64::MAX, seq: u64::MAX };

    /// The ID `<ms>-<seq>`.
    pub const fn new(ms: u64, seq: u64) -> Self {
        EntryId { ms, seq }
    }

    /// The least ID of a time: entries from then on have this or a greater one.
    pub fn at(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        EntryId { ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), seq: 0 }
    }

    /// The next greater ID; `None` after the greatest.
    pub const fn next(self) -> Option<Self> {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Some(EntryId { ms: self.ms, seq }),
            (None, Some(ms)) => Some(EntryId { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// The next smaller ID; `None` before `0-0`.
    pub const fn previous(self) -> Option<Self> {
        match (self.seq.checked_sub(1), self.ms.checked_sub(1)) {
            (Some(seq), _) => Some(EntryId { ms: self.ms, seq }),
            (None, Some(ms)) => Some(EntryId { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// Whether this is `0-0`.
    pub const fn is_min(self) -> bool {
        self.ms == 0 && self.seq == 0
    }

    /// Sixteen bytes whose order is the order of IDs.
    pub fn to_key(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// The ID of sixteen bytes.
    ///
    /// # Errors
    /// [`Corrupt`] unless there are sixteen.
    pub fn from_key(key: &[u8]) -> Result<Self, Corrupt> {
        let Ok(key) = <[u8; 16]>::try_from(key) else {
            return Err(Corrupt("an entry ID is not 16 bytes long"));
        };
        Ok(Self::from_u128(u128::from_be_bytes(key)))
    }

    /// Both numbers as one.
    pub const fn to_u128(self) -> u128 {
        ((self.ms as u128) << 64) | self.seq as u128
    }

    /// The ID of both numbers as one.
    pub const fn from_u128(value: u128) -> Self {
        let bytes = value.to_be_bytes();
        let (mut ms, mut seq, mut i) = (0_u64, 0_u64, 0);
        while i < 8 {
            ms = (ms << 8) | bytes[i] as u64;
            seq = (seq << 8) | bytes[i + 8] as u64;
            i += 1;
        }
        EntryId { ms, seq }
    }

    /// Parses `ms-seq`, or `ms` alone, whose sequence number is then `missing_seq`. `None` if the
    /// text is neither, or has more than 127 bytes. Redis: leading zeros are accepted.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        if text.len() > ID_TEXT_READ_MAX {
            return None;
        }
        // The last one: if there is another, what stands before this is no number.
        let (ms, seq) = match text.iter().rposition(|&byte| byte == b'-') {
            None => (parse_u64(text)?, missing_seq),
            Some(dash) => (parse_u64(&text[..dash])?, parse_u64(&text[dash + 1..])?),
        };
        Some(EntryId { ms, seq })
    }

    /// Writes the text into `buffer` and returns it.
    pub fn write_text(self, buffer: &mut [u8; ID_TEXT_MAX]) -> &[u8] {
        let at = self.write_before(buffer, ID_TEXT_MAX);
        &buffer[at..]
    }

    /// Writes the text so that it ends before `end`; returns where it begins. `buffer` has room
    /// for [`ID_TEXT_MAX`] bytes before `end`.
    pub fn write_before(self, buffer: &mut [u8], end: usize) -> usize {
        let at = write_u64_before(buffer, end, self.seq) - 1;
        buffer[at] = b'-';
        write_u64_before(buffer, at, self.ms)
    }
}

/// A decimal number, digits only, in a text that is no longer than that of an ID may be.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > ID_TEXT_READ_MAX {
        return None;
    }
    let mut value = 0_u64;
    if text.len() <= 19 {
        let mut rest = text;
        while let Some((eight, more)) = rest.split_first_chunk() {
            value = value * 100_000_000 + parse_eight(*eight)?;
            rest = more;
        }
        for &byte in rest {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + u64::from(digit);
        }
        return Some(value);
    }
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// The number of eight digits: of neighbours each first is ten, then a hundred, then ten thousand
/// times the second, and all pairs are summed at once.
#[inline]
fn parse_eight(text: [u8; 8]) -> Option<u64> {
    let digits = u64::from_le_bytes(text).wrapping_sub(EACH * 0x30);
    // Only of a digit no bit of the upper half is set, nor becomes so by adding 6.
    if (digits | digits.wrapping_add(EACH * 6)) & (EACH * 0xf0) != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// Writes the digits of `value` so that they end before `end`; returns where they begin.
/// `buffer` has room for 20 digits before `end`, of which those before the number become anything.
#[inline]
pub fn write_u64_before(buffer: &mut [u8], end: usize, value: u64) -> usize {
    const EIGHT: u64 = 100_000_000;
    if value < 10 {
        buffer[end - 1] = b'0' + value.to_le_bytes()[0];
        return end - 1;
    }
    let low = eight_digits_of(value % EIGHT);
    buffer[end - 8..end].copy_from_slice(&text_of(low));
    if value < EIGHT {
        return end - 8 + leading_zeros(low);
    }
    let middle = eight_digits_of(value / EIGHT % EIGHT);
    buffer[end - 16..end - 8].copy_from_slice(&text_of(middle));
    if value < EIGHT * EIGHT {
        return end - 16 + leading_zeros(middle);
    }
    let high = eight_digits_of(value / EIGHT / EIGHT);
    buffer[end - 20..end - 16].copy_from_slice(&text_of(high)[4..]);
    end - 20 + leading_zeros(high) - 4
}

/// The eight digits of a number below 100 million, a byte each, the first in the lowest: halves of
/// four digits become pairs, and pairs single ones, each time all at once; a product and a shift
/// divide.
#[inline]
fn eight_digits_of(value: u64) -> u64 {
    let fours = value / 10_000 + ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds + ((fours - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens + ((pairs - tens * 10) << 8)
}

/// The text of eight digits.
#[inline]
fn text_of(digits: u64) -> [u8; 8] {
    (digits + EACH * 0x30).to_le_bytes()
}

/// How many of eight digits, which are not all 0, are 0 in front.
#[inline]
fn leading_zeros(digits: u64) -> usize {
    digits.trailing_zeros() as usize / 8
}

/// Times a byte: that byte, eight times.
const EACH: u64 = 0x0101_0101_0101_0101;

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for EntryId {
    type Err = crate::error::CommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes(), 0).ok_or(crate::error::CommandError::InvalidId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back() {
        for ms in [0, 1, 9, 10, 99, 100, 101, 12345, u64::MAX] {
            for seq in [0, 7, 10, 999, 1000, u64::MAX] {
                let id = EntryId::new(ms, seq);
                let mut buffer = [0; ID_TEXT_MAX];
                let text = id.write_text(&mut buffer);
                assert_eq!(text, id.to_string().as_bytes());
                assert_eq!(EntryId::parse(text, 3), Some(id));
                assert_eq!(EntryId::from_u128(id.to_u128()), id);
                assert_eq!(EntryId::from_key(&id.to_key()), Ok(id));
            }
        }
    }

    #[test]
    fn every_number_has_its_digits() {
        let mut buffer = [0; 20];
        let mut value = 1_u64;
        for n in 0..200_000 {
            // Every pair of digits in every place, then numbers of all lengths.
            let number = if n < 100_000 { n * 1_000_100_001 } else { value >> (n % 64) };
            value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = write_u64_before(&mut buffer, 20, number);
            assert_eq!(&buffer[at..], number.to_string().as_bytes());
        }
    }

    #[test]
    fn only_one_or_two_numbers_are_an_id() {
        for bad in [
            "",
            "-",
            "--",
            "1-",
            "-1",
            "abc",
            "1-abc",
            "1-2-3",
            "+1",
            " 1",
            "18446744073709551616",
            "1-18446744073709551616",
        ] {
            assert_eq!(EntryId::parse(bad.as_bytes(), 0), None, "{bad}");
        }
        assert_eq!(EntryId::parse(b"007", 5), Some(EntryId::new(7, 5)));
        // Long texts are no IDs, whatever their parts are.
        let text = |zeros| format!("{:0>zeros$}-1", 7);
        assert_eq!(EntryId::parse(text(125).as_bytes(), 0), Some(EntryId::new(7, 1)));
        assert_eq!(EntryId::parse(text(126).as_bytes(), 0), None);
        assert_eq!(EntryId::parse(&[b'0'; 128], 5), None);
        // Every byte in every place of texts of every length.
        for len in 1..=21 {
            for at in 0..len {
                for byte in 0..=255_u8 {
                    let mut text: Vec<u8> = b"123456789098765432101"[..len].to_vec();
                    text[at] = byte;
                    let plain = text.iter().all(u8::is_ascii_digit);
                    let value = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                    assert_eq!(parse_u64(&text), value.filter(|_| plain), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn next_and_previous_carry() {
        let edge = EntryId::new(5, u64::MAX);
        assert_eq!(edge.next(), Some(EntryId::new(6, 0)));
        assert_eq!(EntryId::new(6, 0).previous(), Some(edge));
        assert_eq!(EntryId::MAX.next(), None);
        assert_eq!(EntryId::MIN.previous(), None);
    }
}
