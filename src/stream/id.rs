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

    /// Parses `ms-seq`, or `ms` alone, whose sequence number is then `missing_seq`.
    /// `None` if the text is neither. Redis: leading zeros are accepted.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        let (ms, seq) = match memchr_dash(text) {
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

/// Where the first dash is.
fn memchr_dash(text: &[u8]) -> Option<usize> {
    text.iter().position(|&byte| byte == b'-')
}

/// A decimal number of at most 127 bytes, digits only.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 127 {
        return None;
    }
    let mut value = 0_u64;
    if text.len() <= 19 {
        for &byte in text {
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

/// Writes the digits of `value` so that they end before `end`; returns where they begin.
/// `buffer` has room for 20 digits before `end`.
pub fn write_u64_before(buffer: &mut [u8], end: usize, mut value: u64) -> usize {
    let mut at = end;
    // Four digits at once: each division waits for the one before.
    while value >= 10_000 {
        let ([a, b], [c, d]) = (digits(value % 10_000 / 100), digits(value % 100));
        value /= 10_000;
        buffer[at - 4..at].copy_from_slice(&[a, b, c, d]);
        at -= 4;
    }
    if value >= 100 {
        buffer[at - 2..at].copy_from_slice(&digits(value % 100));
        value /= 100;
        at -= 2;
    }
    let pair = digits(value);
    if value >= 10 {
        buffer[at - 2..at].copy_from_slice(&pair);
        return at - 2;
    }
    buffer[at - 1] = pair[1];
    at - 1
}

/// The two digits of a number below 100.
#[inline]
fn digits(value: u64) -> [u8; 2] {
    /// One for whatever a byte may be, so that looking one up needs no check.
    static PAIRS: [[u8; 2]; 256] = digit_pairs();
    PAIRS[usize::from(value.to_le_bytes()[0])]
}

/// "00", "01" … "99", and nothing of use behind them.
const fn digit_pairs() -> [[u8; 2]; 256] {
    let mut pairs = [[0; 2]; 256];
    let mut n: u8 = 0;
    while n < 100 {
        pairs[n as usize] = [b'0' + n / 10, b'0' + n % 10];
        n += 1;
    }
    pairs
}

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
        assert_eq!(EntryId::parse(&[b'0'; 128], 5), None);
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
