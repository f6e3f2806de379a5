//! `RequestReader`: the bytes of a connection, in whatever pieces they come, as requests. It copies
//! no argument, searches no byte twice, and holds memory only for arguments that have arrived.
//! It does not read sockets, does not know commands, and does not limit the buffer as a whole.
//!
//! ```text
//! request    = multibulk / inline
//! multibulk  = "*" count CR any, then count times: "$" length CR any, length bytes, any any
//! inline     = words, optionally CR, LF          (whatever begins with another byte than "*")
//! ```
//!
//! `any` stands for bytes that are skipped unseen, as in Redis. A count below one and a line
//! without words are no request and give no reply. A line, its first byte included and its end
//! excluded, has at most [`LINE_BYTES_MAX`] bytes.
//!
//! Differs from Redis: a longer line is refused even if it arrives whole, because otherwise the
//! answer would depend on how the network cut it.

use crate::codec::reserve;
use crate::command::args::{Request, strict_integer};
use crate::config::split_args;
use crate::stream::fields::Span;

/// The longest line: an inline request, or the line with a count or a length, in bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Arguments of a request before authentication.
const UNAUTHENTICATED_ARGS_MAX: u32 = 10;

/// Bytes of an argument before authentication.
const UNAUTHENTICATED_BULK_BYTES_MAX: u32 = 16 * 1024;

/// Room for arguments, and bytes of room for inline requests, that a reader keeps between requests.
const KEPT_MAX: usize = 1024;

/// What a connection may send at present.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// The longest argument in bytes (`proto-max-bulk-len`). Whatever this says, a request has
    /// less than 4 GiB.
    pub bulk_bytes: usize,
    /// Whether the client has authenticated itself or need not; if not, it may send only short
    /// requests.
    pub authenticated: bool,
}

impl Default for ReadLimits {
    fn default() -> Self {
        ReadLimits { bulk_bytes: 512 * 1024 * 1024, authenticated: true }
    }
}

/// Bytes that are not a request. The connection is closed after the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// An inline request is longer than [`LINE_BYTES_MAX`].
    InlineTooLong,
    /// An inline request has a quote without its counterpart, or text right after one.
    UnbalancedQuotes,
    /// The line with the number of arguments is longer than [`LINE_BYTES_MAX`].
    CountLineTooLong,
    /// The number of arguments is not a number, or above `i32::MAX`.
    InvalidCount,
    /// The line with the length of an argument is longer than [`LINE_BYTES_MAX`].
    LengthLineTooLong,
    /// An argument does not begin with `$` but with this byte.
    ExpectedBulk(u8),
    /// The length of an argument is not a number, or above the limit, or makes the request as
    /// long as 4 GiB.
    InvalidLength,
    /// Too many arguments before authentication.
    UnauthenticatedCount,
    /// Too long an argument before authentication.
    UnauthenticatedLength,
}

impl ProtocolError {
    /// The text on the wire, without the leading `-` and the line end. It contains no CR or LF.
    pub fn wire(self) -> Vec<u8> {
        let text = match self {
            ProtocolError::InlineTooLong => "too big inline request",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::CountLineTooLong => "too big mbulk count string",
            ProtocolError::InvalidCount => "invalid multibulk length",
            ProtocolError::LengthLineTooLong => "too big bulk count string",
            ProtocolError::ExpectedBulk(_) => "expected '$', got '",
            ProtocolError::InvalidLength => "invalid bulk length",
            ProtocolError::UnauthenticatedCount => "unauthenticated multibulk length",
            ProtocolError::UnauthenticatedLength => "unauthenticated bulk length",
        };
        let mut wire = [b"ERR Protocol error: ", text.as_bytes()].concat();
        if let ProtocolError::ExpectedBulk(got) = self {
            wire.push(if matches!(got, b'\r' | b'\n') { b' ' } else { got });
            wire.push(b'\'');
        }
        wire
    }
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expected {
    /// A request that has not begun.
    #[default]
    Request,
    /// An inline request.
    Inline,
    /// The line with the number of arguments.
    Count,
    /// The line with the length of an argument.
    Length,
    /// An argument of this length, and the two bytes after it.
    Argument(u32),
}

/// The reader of one connection's requests.
///
/// All positions count from the first byte of the request. Invariant: what stands before `at` has
/// been read, what stands before `searched` has been searched for the end of the line.
#[derive(Debug, Default)]
pub struct RequestReader {
    /// Bytes of empty requests before the request in the caller's buffer.
    skipped: usize,
    /// What begins at `at`.
    expected: Expected,
    at: usize,
    searched: usize,
    /// Arguments that have not arrived.
    missing: u32,
    /// Arguments that have arrived.
    spans: Vec<Span>,
    /// The words of an inline request without their quotes; its spans point in here.
    words: Vec<u8>,
}

impl RequestReader {
    /// A reader at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no request has begun and none was skipped: then any reader may go on.
    pub fn is_between(&self) -> bool {
        self.expected == Expected::Request && self.skipped == 0
    }

    /// Reads the next request, and tells how many bytes of `buffer` the caller is to drop before
    /// the next call. `None`: the request is not complete; call again with the same bytes and
    /// more.
    ///
    /// `buffer` is what the connection has received and the caller has not dropped.
    ///
    /// **Cost:** linear in the bytes that are new, whatever their pieces; an argument's bytes are
    /// not looked at.
    ///
    /// # Errors
    /// [`ProtocolError`]; the reader is of no further use.
    ///
    /// # Panics
    /// If `buffer` has lost bytes since the last call that this reader did not give away.
    pub fn next<'a>(
        &'a mut self,
        buffer: &'a [u8],
        limits: &ReadLimits,
    ) -> Result<Option<(Request<'a>, usize)>, ProtocolError> {
        loop {
            let bytes = &buffer[self.skipped..];
            if self.expected == Expected::Request {
                if let Some(end) = self.read_whole(bytes, limits) {
                    let dropped = std::mem::take(&mut self.skipped) + end;
                    let request = Request::borrowed(&bytes[..end], &self.spans);
                    return Ok(Some((request, dropped)));
                }
                if !self.begin(bytes) {
                    return Ok(None);
                }
            }
            let inline = self.expected == Expected::Inline;
            let complete =
                if inline { self.read_inline(bytes)? } else { self.read_multibulk(bytes, limits)? };
            if !complete {
                return Ok(None);
            }
            self.expected = Expected::Request;
            let dropped = self.skipped + self.at;
            if self.spans.is_empty() {
                self.skipped = dropped;
                continue;
            }
            self.skipped = 0;
            let buffer = if inline { &self.words } else { &bytes[..self.at] };
            return Ok(Some((Request::borrowed(buffer, &self.spans), dropped)));
        }
    }

    /// After [`RequestReader::next`] gave `None`: how many bytes at the front of the buffer were
    /// empty requests. The caller drops them; without this a flood of empty lines would stay in
    /// the buffer until a request follows.
    pub fn take_skipped(&mut self) -> usize {
        std::mem::take(&mut self.skipped)
    }

    /// The places of the arguments of the request that was read last.
    pub fn take_spans(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }

    /// How many bytes there will be at least, of those that the caller has not dropped, when the
    /// argument that is being read has arrived.
    pub fn expected_len(&self) -> usize {
        match self.expected {
            Expected::Argument(len) => self.skipped + self.at + len as usize + 2,
            Expected::Request | Expected::Inline | Expected::Count | Expected::Length => 0,
        }
    }

    /// Makes ready for the request that begins with `bytes`, if there are any.
    fn begin(&mut self, bytes: &[u8]) -> bool {
        self.shrink();
        self.spans.clear();
        self.words.clear();
        (self.at, self.searched, self.missing) = (0, 0, 0);
        let Some(&first) = bytes.first() else { return false };
        self.expected = if first == b'*' { Expected::Count } else { Expected::Inline };
        true
    }

    /// Gives back what a large request needed, once no request is being read.
    pub fn shrink(&mut self) {
        if self.spans.capacity() > KEPT_MAX {
            self.spans = Vec::new();
        }
        if self.words.capacity() > KEPT_MAX {
            self.words = Vec::new();
        }
    }

    /// Reads on in an inline request; whether it is complete.
    fn read_inline(&mut self, bytes: &[u8]) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(bytes, b'\n', ProtocolError::InlineTooLong)? else {
            return Ok(false);
        };
        self.at = line.len() + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        for word in split_args(line).ok_or(ProtocolError::UnbalancedQuotes)? {
            let start = self.words.len();
            self.words.extend_from_slice(&word);
            self.spans.push(Span::new(start, self.words.len()));
        }
        Ok(true)
    }

    /// Reads a multibulk request that has not been begun and is all here, if its numbers are as
    /// short as nearly all are; where it ends. `None`: nothing was read, the long way is to be
    /// taken from [`RequestReader::begin`] on.
    #[inline]
    fn read_whole(&mut self, bytes: &[u8], limits: &ReadLimits) -> Option<usize> {
        let (count, mut at) = short_number(bytes, b'*')?;
        let few = count <= UNAUTHENTICATED_ARGS_MAX || limits.authenticated;
        // Every position in fewer bytes can be told, and three digits need no look at the limit.
        let fits = u32::try_from(bytes.len()).is_ok() && limits.bulk_bytes >= SHORT_MAX;
        if count == 0 || !few || !fits {
            return None;
        }
        let mut rest = bytes.get(at as usize..)?;
        self.spans.resize(count as usize, Span::default());
        for span in &mut self.spans {
            let (len, line) = short_number(rest, b'$')?;
            let (start, end) = (at + line, at + line + len);
            *span = Span { start, end };
            rest = rest.get((line + len + 2) as usize..)?;
            at = end + 2;
        }
        Some(at as usize)
    }

    /// Reads on in a multibulk request; whether it is complete.
    #[inline]
    fn read_multibulk(&mut self, bytes: &[u8], limits: &ReadLimits) -> Result<bool, ProtocolError> {
        if self.expected == Expected::Count {
            let Some(count) = self.count(bytes, limits)? else { return Ok(false) };
            self.missing = count;
        }
        while self.missing > 0 {
            let len = if let Expected::Argument(len) = self.expected {
                len
            } else if let Some(len) = self.length(bytes, limits)? {
                len
            } else {
                return Ok(false);
            };
            let end = self.at + len as usize;
            if bytes.len() < end + 2 {
                self.expected = Expected::Argument(len);
                return Ok(false);
            }
            reserve(&mut self.spans, 1);
            self.spans.push(Span::new(self.at, end));
            self.pass(len as usize + 2);
            self.expected = Expected::Length;
            self.missing -= 1;
        }
        Ok(true)
    }

    /// The number of arguments, with 0 for every number below, once its line is complete.
    #[inline]
    fn count(&mut self, bytes: &[u8], limits: &ReadLimits) -> Result<Option<u32>, ProtocolError> {
        let count = if let Some((count, line)) = short_number(bytes, b'*') {
            self.pass(line as usize);
            count
        } else if let Some((_, count)) = self.number_line(bytes, ProtocolError::CountLineTooLong)? {
            let count = i32::try_from(count.ok_or(ProtocolError::InvalidCount)?.max(0));
            count.map_err(|_| ProtocolError::InvalidCount)?.unsigned_abs()
        } else {
            return Ok(None);
        };
        if count > UNAUTHENTICATED_ARGS_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        self.expected = Expected::Length;
        Ok(Some(count))
    }

    /// The length of the next argument, once its line is complete. The argument and the two bytes
    /// after it end below 4 GiB.
    #[inline]
    fn length(&mut self, bytes: &[u8], limits: &ReadLimits) -> Result<Option<u32>, ProtocolError> {
        let len = if let Some((len, line)) = short_number(&bytes[self.at..], b'$') {
            self.pass(line as usize);
            len
        } else {
            let len = match self.number_line(bytes, ProtocolError::LengthLineTooLong)? {
                Some((b'$', len)) => len.ok_or(ProtocolError::InvalidLength)?,
                Some((other, _)) => return Err(ProtocolError::ExpectedBulk(other)),
                None => return Ok(None),
            };
            u32::try_from(len).map_err(|_| ProtocolError::InvalidLength)?
        };
        let end = self.at as u64 + u64::from(len) + 2;
        if len as usize > limits.bulk_bytes || end > u64::from(u32::MAX) {
            return Err(ProtocolError::InvalidLength);
        }
        if len > UNAUTHENTICATED_BULK_BYTES_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedLength);
        }
        Ok(Some(len))
    }

    /// The first byte of the line at `at` and the number after it, if it is one, once the line is
    /// complete: with its CR, and the byte after that.
    fn number_line(
        &mut self,
        bytes: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<(u8, Option<i64>)>, ProtocolError> {
        let Some(line) = self.line(bytes, b'\r', too_long)? else { return Ok(None) };
        if bytes.len() < self.at + line.len() + 2 {
            return Ok(None);
        }
        self.pass(line.len() + 2);
        Ok(Some(match line {
            [first, digits @ ..] => (*first, strict_integer(digits)),
            [] => (b'\r', None),
        }))
    }

    /// The line at `at` without the byte that ends it, once that byte is there.
    fn line<'b>(
        &mut self,
        bytes: &'b [u8],
        ending: u8,
        too_long: ProtocolError,
    ) -> Result<Option<&'b [u8]>, ProtocolError> {
        let line_max = self.at + LINE_BYTES_MAX;
        let searchable = bytes.len().min(line_max + 1);
        match bytes[self.searched..searchable].iter().position(|&byte| byte == ending) {
            Some(after) => {
                self.searched += after;
                Ok(Some(&bytes[self.at..self.searched]))
            }
            None if bytes.len() > line_max => Err(too_long),
            None => {
                self.searched = searchable;
                Ok(None)
            }
        }
    }

    /// Moves past `len` bytes.
    fn pass(&mut self, len: usize) {
        self.at += len;
        self.searched = self.at;
    }
}

/// The greatest number that [`short_number`] reads.
const SHORT_MAX: usize = 999;

/// The number of one to three digits that `bytes` begin with after `kind`, and the length of its
/// line. `None` stands for everything out of the ordinary: read it the long way.
#[inline]
fn short_number(bytes: &[u8], kind: u8) -> Option<(u32, u32)> {
    // No request ends sooner after the beginning of such a line.
    let &[first, a, b, c, d, _] = bytes.first_chunk()?;
    let [hundreds, tens, ones] = [a, b, c].map(|byte| byte.wrapping_sub(b'0'));
    if first != kind || hundreds > 9 {
        return None;
    }
    if b == b'\r' {
        return Some((u32::from(hundreds), 4));
    }
    if hundreds == 0 || tens > 9 {
        return None;
    }
    let value = u32::from(hundreds) * 10 + u32::from(tens);
    if c == b'\r' {
        return Some((value, 5));
    }
    (ones <= 9 && d == b'\r').then(|| (value * 10 + u32::from(ones), 6))
}

#[cfg(test)]
mod tests;
