//! The field–value pairs of an entry, borrowed from wherever they lie: the request, the caller's
//! slices, a log record, a block. Whoever reads an entry reads this one type.
//!
//! What is large stays as it came (`received.rs`).
//!
//! As in the log (`encode`): varint pairs, then field, value, field, value …, each as
//! `codec` bytes. Pairs keep their order, and a field may occur twice.

mod received;

use crate::codec::{Corrupt, Cursor, Records, put_bytes, put_varint, varint_len};
use bytes::Bytes;
pub use received::Received;
use received::take_received;
use std::ops::Range;

/// Pairs of more bytes than this are measured before they are encoded.
const LARGE_BYTES: usize = 64 * 1024;

/// A slice of the request buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: u32,
    /// Where it ends; not less than `start`.
    pub end: u32,
}

impl Span {
    /// The span from `start` to `end`.
    ///
    /// # Panics
    /// If `end` exceeds `u32::MAX`: a request buffer is bounded far below.
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end);
        let narrow = |at| u32::try_from(at).expect("a request buffer is below 4 GiB");
        Span { start: narrow(start), end: narrow(end) }
    }

    /// As a range to index the buffer with.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Its length in bytes.
    pub fn len(self) -> usize {
        self.range().len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The field–value pairs of an entry.
#[derive(Clone, Copy, Debug)]
pub enum Fields<'a> {
    /// Arguments of a request: field, value, field, value …; an even number.
    Spans {
        /// The request's bytes.
        buffer: &'a [u8],
        /// The arguments.
        spans: &'a [Span],
        /// The request's bytes as they came over the wire, if they may be kept.
        whole: Option<&'a Bytes>,
    },
    /// The caller's slices: field, value, field, value …; an even number.
    Slices(&'a [&'a [u8]]),
    /// As in the log: field, value, field, value …, each with its length before it. Made by
    /// [`Fields::decode`] or by a block, which have checked the lengths.
    Encoded {
        /// The number of pairs.
        pairs: usize,
        /// Exactly the pairs.
        bytes: &'a [u8],
    },
    /// As they came over the wire. Made by [`Received`], whose bytes were checked when they came.
    Received {
        /// The number of pairs.
        pairs: usize,
        /// Exactly the pairs.
        bytes: &'a [u8],
    },
    /// As in a block, where entries share names and often lengths. Made by a block, which has
    /// checked the lengths.
    Columns {
        /// The number of pairs.
        pairs: usize,
        /// Exactly the names, each with its length before it.
        names: &'a [u8],
        /// Exactly the lengths of the values, as varints.
        lengths: &'a [u8],
        /// Exactly the values.
        values: &'a [u8],
    },
}

impl<'a> Fields<'a> {
    /// The number of pairs.
    pub fn pairs(&self) -> usize {
        match self {
            Fields::Spans { spans, .. } => spans.len() / 2,
            Fields::Slices(slices) => slices.len() / 2,
            Fields::Encoded { pairs, .. }
            | Fields::Received { pairs, .. }
            | Fields::Columns { pairs, .. } => *pairs,
        }
    }

    /// The pairs in order.
    #[inline]
    pub fn iter(&self) -> Pairs<'a> {
        Pairs { rest: *self }
    }

    /// The value of the first pair with this field. Linear.
    pub fn value(&self, field: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }

    /// The sum of the lengths of all fields and values.
    pub fn bytes_len(&self) -> usize {
        match self {
            Fields::Spans { spans, .. } => spans.iter().map(|span| span.len()).sum(),
            Fields::Slices(slices) => slices.iter().map(|slice| slice.len()).sum(),
            Fields::Encoded { .. } | Fields::Received { .. } | Fields::Columns { .. } => {
                self.iter().map(|(field, value)| field.len() + value.len()).sum()
            }
        }
    }

    /// Whether [`Fields::bytes_len`] is above `max`; of arguments that the request says at once.
    pub fn exceed(&self, max: usize) -> bool {
        let small = matches!(self, Fields::Spans { buffer, .. } if buffer.len() <= max);
        !small && self.bytes_len() > max
    }

    /// How many bytes [`Fields::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        let strings = match self {
            Fields::Encoded { bytes, .. } => bytes.len(),
            Fields::Columns { names, lengths, values, .. } => {
                names.len() + lengths.len() + values.len()
            }
            Fields::Spans { spans, .. } => spans.iter().map(|span| string_len(span.len())).sum(),
            Fields::Slices(slices) => slices.iter().map(|slice| string_len(slice.len())).sum(),
            Fields::Received { .. } => self
                .iter()
                .map(|(field, value)| string_len(field.len()) + string_len(value.len()))
                .sum(),
        };
        varint_len(self.pairs() as u64) + strings
    }

    /// The pairs, if they may be kept where they came.
    #[inline]
    fn received(&self) -> Option<Received> {
        let Fields::Spans { spans, whole, .. } = self else { return None };
        whole.map(|whole| Received::new(whole, spans))
    }

    /// [`Fields::received`], unless that is more than twice what the pairs take elsewhere.
    pub(super) fn worth_keeping(&self) -> Option<Received> {
        let Fields::Spans { whole: Some(whole), .. } = self else { return None };
        if 2 * self.bytes_len() >= whole.len() { self.received() } else { None }
    }

    /// Appends the pairs as in the log, without a copy if they may be kept.
    #[inline]
    pub(super) fn log(&self, records: &mut Records) {
        match self.received() {
            Some(received) => records.lend(received),
            None => self.encode(records.bytes_mut()),
        }
    }

    /// Appends the pairs as in the log.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.exceed(LARGE_BYTES) {
            out.reserve(self.encoded_len());
        }
        put_varint(out, self.pairs() as u64);
        match self {
            Fields::Encoded { bytes, .. } => out.extend_from_slice(bytes),
            Fields::Spans { buffer, spans, .. } => {
                for span in *spans {
                    put_bytes(out, &buffer[span.range()]);
                }
            }
            Fields::Slices(slices) => {
                for slice in *slices {
                    put_bytes(out, slice);
                }
            }
            Fields::Received { .. } | Fields::Columns { .. } => {
                self.iter().for_each(|(field, value)| {
                    put_bytes(out, field);
                    put_bytes(out, value);
                });
            }
        }
    }

    /// Reads what [`Fields::encode`] wrote, without a copy. Every length has been checked, so
    /// that reading the pairs cannot fail.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes end too early.
    pub fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Corrupt> {
        let pairs = cursor.count()?;
        let rest = cursor.rest();
        let begin = cursor.offset();
        for _ in 0..pairs {
            cursor.bytes()?;
            cursor.bytes()?;
        }
        Ok(Fields::Encoded { pairs, bytes: &rest[..cursor.offset() - begin] })
    }
}

/// The bytes of a string with its length before it.
fn string_len(len: usize) -> usize {
    varint_len(len as u64) + len
}

impl<'a> IntoIterator for &Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Pairs<'a>;

    fn into_iter(self) -> Pairs<'a> {
        self.iter()
    }
}

/// Iterator over the pairs of [`Fields`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: Fields<'a>,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.rest {
            Fields::Spans { buffer, spans, .. } => {
                let [field, value, rest @ ..] = *spans else { return None };
                *spans = rest;
                Some((&buffer[field.range()], &buffer[value.range()]))
            }
            Fields::Slices(slices) => {
                let [field, value, rest @ ..] = *slices else { return None };
                *slices = rest;
                Some((field, value))
            }
            Fields::Encoded { pairs, bytes } => {
                *pairs = pairs.checked_sub(1)?;
                Some((take_string(bytes), take_string(bytes)))
            }
            Fields::Received { pairs, bytes } => {
                *pairs = pairs.checked_sub(1)?;
                Some((take_received(bytes), take_received(bytes)))
            }
            Fields::Columns { pairs, names, lengths, values } => {
                *pairs = pairs.checked_sub(1)?;
                let (value, rest) = values.split_at(take_length(lengths));
                *values = rest;
                Some((take_string(names), value))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.pairs(), Some(self.rest.pairs()))
    }

    /// `for_each` comes here: it asks for the form once, where `next` asks for each pair.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut fold: F) -> B {
        let mut sum = init;
        match self.rest {
            Fields::Spans { buffer, spans, .. } => {
                for pair in spans.chunks_exact(2) {
                    sum = fold(sum, (&buffer[pair[0].range()], &buffer[pair[1].range()]));
                }
            }
            Fields::Slices(slices) => {
                for pair in slices.chunks_exact(2) {
                    sum = fold(sum, (pair[0], pair[1]));
                }
            }
            Fields::Encoded { pairs, mut bytes } => {
                for _ in 0..pairs {
                    sum = fold(sum, (take_string(&mut bytes), take_string(&mut bytes)));
                }
            }
            Fields::Received { pairs, mut bytes } => {
                for _ in 0..pairs {
                    sum = fold(sum, (take_received(&mut bytes), take_received(&mut bytes)));
                }
            }
            Fields::Columns { pairs, mut names, mut lengths, mut values } => {
                for _ in 0..pairs {
                    let (value, rest) = values.split_at(take_length(&mut lengths));
                    values = rest;
                    sum = fold(sum, (take_string(&mut names), value));
                }
            }
        }
        sum
    }
}

impl ExactSizeIterator for Pairs<'_> {}

/// Takes a string with its length before it off the front of `bytes`, which have been validated.
#[inline]
pub(super) fn take_string<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let len = take_length(bytes);
    let (string, rest) = bytes.split_at(len);
    *bytes = rest;
    string
}

/// Takes a length off the front of `bytes`, which have been validated.
#[inline]
pub(super) fn take_length(bytes: &mut &[u8]) -> usize {
    if let Some((&first, rest)) = bytes.split_first()
        && first < 0x80
    {
        *bytes = rest;
        return usize::from(first);
    }
    take_long_length(bytes)
}

/// A length of more than one byte.
fn take_long_length(bytes: &mut &[u8]) -> usize {
    let mut cursor = Cursor::new(bytes);
    let len = cursor.varint().ok().and_then(|len| usize::try_from(len).ok());
    *bytes = cursor.rest();
    len.expect("the lengths of a block or a record have been checked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Part as _;

    fn owned(fields: &Fields<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        fields.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn all_forms_show_the_same_pairs() {
        let long = vec![b'x'; 300];
        let strings: [&[u8]; 6] = [b"a", b"1", b"", &long, b"a", b""];
        let (mut buffer, mut spans) = (b"head".to_vec(), Vec::new());
        for string in strings {
            let start = buffer.len();
            buffer.extend_from_slice(string);
            spans.push(Span::new(start, buffer.len()));
        }
        let (mut names, mut lengths, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for pair in strings.chunks(2) {
            put_bytes(&mut names, pair[0]);
            put_varint(&mut lengths, pair[1].len() as u64);
            values.extend_from_slice(pair[1]);
        }
        let mut encoded = Vec::new();
        let slices = Fields::Slices(&strings);
        slices.encode(&mut encoded);
        let mut cursor = Cursor::new(&encoded);
        let decoded = Fields::decode(&mut cursor).unwrap();
        assert_eq!(cursor.end(), Ok(()));
        let wire: Vec<u8> = std::iter::once(b"head".to_vec())
            .chain(strings.map(|string| {
                [format!("${}\r\n", string.len()).as_bytes(), string, b"\r\n"].concat()
            }))
            .flatten()
            .collect();
        let mut at = 4;
        let places = strings.map(|string| {
            let start = at + format!("${}\r\n", string.len()).len();
            at = start + string.len() + 2;
            Span::new(start, start + string.len())
        });
        let received = Received::new(&Bytes::from(wire), &places);
        let forms = [
            slices,
            decoded,
            Fields::Spans { buffer: &buffer, spans: &spans, whole: None },
            received.fields(),
            Fields::Columns { pairs: 3, names: &names, lengths: &lengths, values: &values },
        ];
        for fields in forms {
            assert_eq!(fields.pairs(), 3);
            assert_eq!(fields.iter().len(), 3);
            assert_eq!(owned(&fields), owned(&slices));
            let mut each = Vec::new();
            fields.iter().for_each(|pair| each.push(pair));
            assert!(each.into_iter().eq(slices.iter()));
            assert_eq!(fields.bytes_len(), 303);
            assert_eq!(fields.value(b""), Some(&long[..]));
            assert_eq!(fields.value(b"b"), None);
            let mut again = Vec::new();
            fields.encode(&mut again);
            assert_eq!(again, encoded);
            assert_eq!(fields.encoded_len(), encoded.len());
        }
        assert_eq!(received.bytes_len(), encoded.len());
        let mut given = Records::new(0);
        given.lend(received);
        assert_eq!(given.to_vec(), encoded);
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_without_a_panic() {
        let mut encoded = Vec::new();
        Fields::Slices(&[b"field", b"value", b"f", b""]).encode(&mut encoded);
        for cut in 0..encoded.len() {
            assert!(Fields::decode(&mut Cursor::new(&encoded[..cut])).is_err());
        }
        for at in 0..encoded.len() {
            for flip in 1..=255 {
                let mut bad = encoded.clone();
                bad[at] ^= flip;
                if let Ok(fields) = Fields::decode(&mut Cursor::new(&bad)) {
                    assert_eq!(owned(&fields).len(), fields.pairs());
                }
            }
        }
    }
}
