//! `Out`: how a command answers. It writes RESP2 or RESP3 bytes straight into a connection's
//! output; there is no reply tree. The typed API reads the same bytes back.
//!
//! A reply whose length is known only afterwards is begun with [`Out::begin_array`], which leaves
//! room for the expected number of digits, and ended with [`Out::end_array`], which moves bytes
//! only if the number turned out to have fewer.

use super::remainder::Remainder;
use crate::error::CommandError;
use crate::stream::EntryRef;
use crate::stream::id::{EntryId, ID_TEXT_MAX, write_u64_before};

/// The protocol version a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The version every connection begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// A writer of replies at the end of a buffer.
#[derive(Debug)]
pub struct Out<'a> {
    buffer: &'a mut Vec<u8>,
    protocol: Protocol,
    /// Whether a command may leave a part of its reply for later.
    may_leave: bool,
    left: Option<Box<Remainder>>,
}

/// An aggregate that was begun and whose length is not known yet.
#[derive(Debug)]
#[must_use]
pub struct Deferred {
    /// Where the digits of the length begin.
    at: usize,
    /// How many bytes are reserved for them.
    width: usize,
}

impl<'a> Out<'a> {
    /// Writes at the end of `buffer`.
    pub fn new(buffer: &'a mut Vec<u8>, protocol: Protocol) -> Self {
        Out { buffer, protocol, may_leave: false, left: None }
    }

    /// Lets a command leave the end of a long reply for later.
    pub fn allow_leaving(&mut self) {
        self.may_leave = true;
    }

    /// Whether the end of a reply may be left for later.
    pub(super) fn may_leave(&self) -> bool {
        self.may_leave
    }

    /// Leaves the end of the reply for later; nothing may be written behind it.
    pub(super) fn leave(&mut self, rest: Remainder) {
        self.left = Some(Box::new(rest));
    }

    /// What is left of the reply.
    pub fn take_left(&mut self) -> Option<Box<Remainder>> {
        self.left.take()
    }

    /// The protocol replies are written in.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the protocol for what follows (HELLO answers in the new one).
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Bytes in the buffer, earlier replies included.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes back everything after `mark`, an earlier [`Out::len`].
    pub fn truncate(&mut self, mark: usize) {
        self.buffer.truncate(mark);
    }

    /// Appends bytes that are a complete reply already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// `+text`.
    pub fn simple(&mut self, text: &str) {
        self.buffer.push(b'+');
        self.line(text.as_bytes());
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.buffer.extend_from_slice(b"+OK\r\n");
    }

    /// `-text`.
    pub fn error(&mut self, error: &CommandError) {
        self.buffer.push(b'-');
        self.line(&error.wire());
    }

    /// `:value`.
    pub fn integer(&mut self, value: i64) {
        self.buffer.push(b':');
        if value < 0 {
            self.buffer.push(b'-');
        }
        self.number_line(value.unsigned_abs());
    }

    /// A count as an integer.
    pub fn count(&mut self, value: usize) {
        self.header(b':', value);
    }

    /// An unsigned number as an integer; above the signed range its two's complement, as Redis.
    pub fn unsigned(&mut self, value: u64) {
        self.integer(value.cast_signed());
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len());
        self.line(bytes);
    }

    /// A number as a bulk string.
    pub fn bulk_number(&mut self, value: u64) {
        let mut digits = [0; 20];
        let at = write_u64_before(&mut digits, 20, value);
        self.bulk(&digits[at..]);
    }

    /// An entry ID as a bulk string.
    pub fn id(&mut self, id: EntryId) {
        const BYTES_MAX: usize = 5 + ID_TEXT_MAX + 2;
        let mut text = [0; BYTES_MAX];
        let end = put_before(&mut text, BYTES_MAX, b"\r\n");
        let at = put_id_before(&mut text, end, id);
        self.buffer.extend_from_slice(&text[at..]);
    }

    /// Nothing, where a string would be: `$-1`, or `_`.
    pub fn null(&mut self) {
        self.buffer.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Nothing, where an array would be: `*-1`, or `_`.
    pub fn null_array(&mut self) {
        self.buffer.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The head of an array of `n` elements.
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n);
    }

    /// The head of a map of `n` pairs; in RESP2 an array of twice as many.
    pub fn map(&mut self, n: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', 2 * n),
            Protocol::Resp3 => self.header(b'%', n),
        }
    }

    /// The head of a set; in RESP2 an array.
    pub fn set(&mut self, n: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', n),
            Protocol::Resp3 => self.header(b'~', n),
        }
    }

    /// The head of a push; in RESP2 an array.
    pub fn push(&mut self, n: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', n),
            Protocol::Resp3 => self.header(b'>', n),
        }
    }

    /// A number with a fraction; in RESP2 a bulk string.
    pub fn double(&mut self, value: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(value.as_bytes()),
            Protocol::Resp3 => {
                self.buffer.push(b',');
                self.line(value.as_bytes());
            }
        }
    }

    /// A text for people: `=<n>\r\ntxt:…`; in RESP2 a bulk string.
    pub fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.header(b'=', text.len() + 4);
                self.buffer.extend_from_slice(b"txt:");
                self.line(text.as_bytes());
            }
        }
    }

    /// An entry: its ID, then a flat array of its fields and values, in either protocol.
    pub fn entry(&mut self, entry: &EntryRef<'_>) {
        self.entry_parts(b'2', entry);
    }

    /// An entry as XREADGROUP CLAIM hands it out: how long it was idle and how often it had been
    /// delivered follow the fields.
    pub fn delivery(&mut self, entry: &EntryRef<'_>, idle_ms: u64, count: u64) {
        self.entry_parts(b'4', entry);
        self.unsigned(idle_ms);
        self.unsigned(count);
    }

    /// The head of an array of so many elements (a digit), and the first two: the ID and the
    /// fields of an entry. Streams are read for these, so they are written in few pieces.
    fn entry_parts(&mut self, elements: u8, entry: &EntryRef<'_>) {
        /// The head of the array, of the ID, the ID, the head of the fields.
        const BYTES_MAX: usize = 4 + 5 + ID_TEXT_MAX + 2 + 1 + 20;
        let mut head = [0; BYTES_MAX];
        let at = write_u64_before(&mut head, BYTES_MAX, 2 * entry.fields.pairs() as u64);
        let end = put_before(&mut head, at, b"\r\n*");
        let at = put_id_before(&mut head, end, entry.id);
        let at = put_before(&mut head, at, &[b'*', elements, b'\r', b'\n']);
        self.buffer.extend_from_slice(&head[at..]);
        entry.fields.iter().for_each(|(field, value)| {
            self.next_bulk(field);
            self.next_bulk(value);
        });
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// The end of the line before, and a bulk string without the end of its own.
    #[inline]
    fn next_bulk(&mut self, bytes: &[u8]) {
        if let Some(head) = BULK_HEADS.get(bytes.len()) {
            // A copy of a fixed size is one instruction; what is too much is taken back.
            let len = self.buffer.len() + BULK_HEAD_BYTES
                - usize::from(bytes.len() < 10)
                - usize::from(bytes.len() < 100);
            self.buffer.extend_from_slice(head);
            self.buffer.truncate(len);
        } else {
            self.buffer.extend_from_slice(b"\r\n");
            self.header(b'$', bytes.len());
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Begins an array of about `expected` elements at most.
    pub fn begin_array(&mut self, expected: usize) -> Deferred {
        self.begin(b'*', expected)
    }

    /// Ends an array with its true number of elements.
    pub fn end_array(&mut self, deferred: Deferred, n: usize) {
        let mut digits = [0; 20];
        let from = write_u64_before(&mut digits, 20, n as u64);
        let digits = &digits[from..];
        let end = deferred.at + deferred.width;
        if digits.len() == deferred.width {
            self.buffer[deferred.at..end].copy_from_slice(digits);
        } else {
            self.buffer.splice(deferred.at..end, digits.iter().copied());
        }
    }

    /// Begins a map of about `expected` pairs at most (in RESP2 an array of pairs, as XREAD's).
    pub fn begin_map_of_arrays(&mut self, expected: usize) -> Deferred {
        match self.protocol {
            Protocol::Resp2 => self.begin(b'*', expected),
            Protocol::Resp3 => self.begin(b'%', expected),
        }
    }

    /// The key of a pair of [`Out::begin_map_of_arrays`]; its value follows.
    pub fn pair(&mut self, key: &[u8]) {
        if self.protocol == Protocol::Resp2 {
            self.array(2);
        }
        self.bulk(key);
    }

    /// Begins an aggregate of type `kind`.
    fn begin(&mut self, kind: u8, expected: usize) -> Deferred {
        self.buffer.push(kind);
        let mut digits = [0; 20];
        let from = write_u64_before(&mut digits, 20, expected as u64);
        let at = self.buffer.len();
        self.line(&digits[from..]);
        Deferred { at, width: 20 - from }
    }

    /// `<kind><n>\r\n`.
    fn header(&mut self, kind: u8, n: usize) {
        if let Ok(small @ 0..=9) = u8::try_from(n) {
            self.buffer.extend_from_slice(&[kind, b'0' + small, b'\r', b'\n']);
        } else {
            self.buffer.push(kind);
            self.number_line(n as u64);
        }
    }

    /// The digits of a number and the line end.
    fn number_line(&mut self, value: u64) {
        let mut line = [0; 22];
        line[20] = b'\r';
        line[21] = b'\n';
        let at = write_u64_before(&mut line, 20, value);
        self.buffer.extend_from_slice(&line[at..]);
    }

    /// Bytes and the line end.
    fn line(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.buffer.extend_from_slice(b"\r\n");
    }
}

/// The bytes of `\r\n$999\r\n`.
const BULK_HEAD_BYTES: usize = 8;

/// The end of a line and the head of a bulk string, for each length below 1000; filled up.
static BULK_HEADS: [[u8; BULK_HEAD_BYTES]; 1000] = bulk_heads();

const fn bulk_heads() -> [[u8; BULK_HEAD_BYTES]; 1000] {
    let mut heads = [*b"\r\n$000\r\n"; 1000];
    let mut len = 0;
    while len < 1000 {
        let (tens, ones) = two_digits(len % 100);
        let (hundreds, _) = two_digits(len / 100 * 10);
        heads[len] = if len < 10 {
            [b'\r', b'\n', b'$', ones, b'\r', b'\n', 0, 0]
        } else if len < 100 {
            [b'\r', b'\n', b'$', tens, ones, b'\r', b'\n', 0]
        } else {
            [b'\r', b'\n', b'$', hundreds, tens, ones, b'\r', b'\n']
        };
        len += 1;
    }
    heads
}

/// Writes an ID as a bulk string, without the end of its line, so that it ends before `end`;
/// returns where it begins.
#[inline]
fn put_id_before(buffer: &mut [u8], end: usize, id: EntryId) -> usize {
    let text = id.write_before(buffer, end);
    let (tens, ones) = two_digits(end - text);
    let at = put_before(buffer, text, b"\r\n");
    if tens == b'0' {
        return put_before(buffer, at, &[b'$', ones]);
    }
    put_before(buffer, at, &[b'$', tens, ones])
}

/// Copies `bytes` so that they end before `end`; returns where they begin.
#[inline]
fn put_before<const N: usize>(buffer: &mut [u8], end: usize, bytes: &[u8; N]) -> usize {
    buffer[end - N..end].copy_from_slice(bytes);
    end - N
}

/// The digits of a number below 100.
const fn two_digits(value: usize) -> (u8, u8) {
    let [value, ..] = value.to_le_bytes();
    (b'0' + value / 10, b'0' + value % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl FnOnce(&mut Out<'_>)) -> String {
        let mut buffer = Vec::new();
        write(&mut Out::new(&mut buffer, protocol));
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn aggregates_and_nulls_follow_the_protocol() {
        let write = |out: &mut Out<'_>| {
            out.map(1);
            out.bulk(b"k");
            out.null();
            out.null_array();
            out.set(0);
            out.verbatim("hi");
            out.integer(i64::MIN);
            out.id(EntryId::new(12, 3));
        };
        assert_eq!(
            written(Protocol::Resp2, write),
            "*2\r\n$1\r\nk\r\n$-1\r\n*-1\r\n*0\r\n$2\r\nhi\r\n:\
             -9223372036854775808\r\n$4\r\n12-3\r\n"
        );
        assert_eq!(
            written(Protocol::Resp3, write),
            "%1\r\n$1\r\nk\r\n_\r\n_\r\n~0\r\n=6\r\ntxt:hi\r\n:\
             -9223372036854775808\r\n$4\r\n12-3\r\n"
        );
    }

    #[test]
    fn a_deferred_length_is_exact_whatever_was_expected() {
        for (expected, n) in [(0, 0), (9, 3), (10, 3), (1000, 12), (100, 100), (3, 1000)] {
            let text = written(Protocol::Resp2, |out| {
                let deferred = out.begin_array(expected);
                for _ in 0..n {
                    out.integer(1);
                }
                out.end_array(deferred, n);
            });
            assert_eq!(text, format!("*{n}\r\n{}", ":1\r\n".repeat(n)));
        }
    }

    #[test]
    fn an_entry_is_its_id_and_its_strings_whatever_their_lengths() {
        for (id, pairs) in [("0-1", 1), ("1700000000000-0", 60), ("18446744073709551615-7", 2)] {
            let lens = [0, 1, 9, 10, 99, 100, 999, 1000, 1001, 70_000];
            let strings: Vec<_> =
                (0..2 * pairs).map(|n| vec![b'x'; lens[n % lens.len()]]).collect();
            let slices: Vec<_> = strings.iter().map(|string| &string[..]).collect();
            let fields = crate::stream::Fields::Slices(&slices);
            let entry = EntryRef { id: id.parse().unwrap(), fields };
            let expected = |out: &mut Out<'_>| {
                out.id(entry.id);
                out.array(2 * pairs);
                slices.iter().for_each(|string| out.bulk(string));
            };
            let one = written(Protocol::Resp2, |out| out.entry(&entry));
            assert_eq!(one, format!("*2\r\n{}", written(Protocol::Resp2, expected)));
            let two = written(Protocol::Resp2, |out| out.delivery(&entry, 5, 6));
            assert_eq!(two, format!("*4\r\n{}:5\r\n:6\r\n", written(Protocol::Resp2, expected)));
        }
    }

    #[test]
    fn an_error_never_contains_a_line_end() {
        let text = written(Protocol::Resp2, |out| {
            out.error(&CommandError::composed("ERR a\r\nb"));
        });
        assert_eq!(text, "-ERR a  b\r\n");
    }
}
