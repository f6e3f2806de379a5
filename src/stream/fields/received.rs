//! `Received`: the fields of a large entry as they came, in a request's buffer that is kept instead
//! of copied.
//!
//! As on the wire: for each field and each value `$`, its length in decimal digits, CR, one byte,
//! its bytes, two bytes.

use super::{Fields, Span};
use crate::codec::{Part, Sink, put_bytes, put_varint};
use bytes::Bytes;
use std::io;

/// Beside its digits: what stands before the length of a string and after it.
const AROUND_LENGTH: usize = 3;
/// What stands after a string.
const AFTER: usize = 2;

/// The field–value pairs of an entry in the buffer of the request that brought them.
#[derive(Clone, Debug)]
pub struct Received {
    pairs: usize,
    /// Exactly the pairs.
    bytes: Bytes,
}

impl Received {
    /// The arguments at these places of a request that came over the wire, and was checked.
    pub(super) fn new(request: &Bytes, spans: &[Span]) -> Self {
        let bytes = match spans {
            [first, .., last] => {
                let digits = first.len().checked_ilog10().map_or(1, |log| log as usize + 1);
                let start = first.start as usize - digits - AROUND_LENGTH;
                request.slice(start..last.end as usize + AFTER)
            }
            _ => Bytes::new(),
        };
        Received { pairs: spans.len() / 2, bytes }
    }

    /// The pairs.
    pub fn fields(&self) -> Fields<'_> {
        Fields::Received { pairs: self.pairs, bytes: &self.bytes }
    }

    /// The memory it keeps, in bytes, but for what else the request's buffer holds.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl Part for Received {
    fn bytes_len(&self) -> usize {
        self.fields().encoded_len()
    }

    /// Gives what [`Fields::encode`] appends.
    fn give(&self, sink: &mut Sink<'_>) -> io::Result<()> {
        /// Shorter strings are gathered, until they are so many bytes.
        const GATHERED: usize = 64 << 10;
        let mut gathered = Vec::with_capacity(2 * GATHERED);
        put_varint(&mut gathered, self.pairs as u64);
        for string in self.fields().iter().flat_map(|(field, value)| [field, value]) {
            if string.len() >= GATHERED {
                put_varint(&mut gathered, string.len() as u64);
                sink(&gathered)?;
                gathered.clear();
                sink(string)?;
            } else {
                put_bytes(&mut gathered, string);
                if gathered.len() >= GATHERED {
                    sink(&gathered)?;
                    gathered.clear();
                }
            }
        }
        sink(&gathered)
    }
}

/// Takes a string off the front of `bytes`, which were checked when they came.
#[cold]
#[inline(never)]
pub(super) fn take_received<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let (mut len, mut at) = (0, 1);
    while bytes[at] != b'\r' {
        len = len * 10 + usize::from(bytes[at] - b'0');
        at += 1;
    }
    let (string, rest) = bytes[at + 2..].split_at(len);
    *bytes = &rest[AFTER..];
    string
}
