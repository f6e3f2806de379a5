//! A request's arguments, and the grammars that several commands share: numbers, entry IDs, range
//! bounds, options with a value.

use crate::error::CommandError;
use crate::stream::fields::{Fields, Span};
use crate::stream::id::EntryId;
use bytes::Bytes;

/// One request: its arguments (the command name is the first) as places in the read buffer.
/// There is at least one argument.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The bytes the spans point into.
    pub buffer: &'a [u8],
    /// The arguments.
    pub spans: &'a [Span],
    /// The same bytes, if they are as they came over the wire and may be kept instead of copied.
    pub whole: Option<&'a Bytes>,
}

impl<'a> Request<'a> {
    /// A request whose bytes are copied where they are kept.
    pub fn borrowed(buffer: &'a [u8], spans: &'a [Span]) -> Self {
        Request { buffer, spans, whole: None }
    }

    /// How many arguments there are, the name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Never: a request has a name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`; empty if there is none.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    /// The argument at `index`.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| &self.buffer[span.range()])
    }

    /// All arguments from `index` on.
    pub fn from(&self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let buffer = self.buffer;
        self.spans[index.min(self.spans.len())..].iter().map(move |span| &buffer[span.range()])
    }

    /// A cursor over the arguments from `index` on.
    pub fn args(&self, index: usize) -> Args<'a> {
        Args { request: *self, at: index.min(self.spans.len()) }
    }
}

/// A cursor over a request's arguments.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    request: Request<'a>,
    at: usize,
}

impl<'a> Args<'a> {
    /// How many arguments are left.
    pub fn remaining(&self) -> usize {
        self.request.len() - self.at
    }

    /// The index of the next argument in the request.
    pub fn index(&self) -> usize {
        self.at
    }

    /// Goes to the argument at `index`.
    pub fn seek(&mut self, index: usize) {
        self.at = index.min(self.request.len());
    }

    /// The next argument, without taking it.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.request.get(self.at)
    }

    /// The next argument, or a syntax error.
    ///
    /// # Errors
    /// [`CommandError::Syntax`] if none is left.
    pub fn required(&mut self) -> Result<&'a [u8], CommandError> {
        self.next().ok_or(CommandError::Syntax)
    }

    /// Takes the next argument if it is `word`, in any case of letters.
    pub fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|arg| is_word(arg, word));
        self.at += usize::from(found);
        found
    }

    /// The next argument as a signed number.
    ///
    /// # Errors
    /// [`CommandError::Syntax`] if none is left, [`CommandError::NotAnInteger`].
    pub fn integer(&mut self) -> Result<i64, CommandError> {
        integer(self.required()?)
    }

    /// The spans of the arguments that are left.
    pub fn rest(&self) -> &'a [Span] {
        &self.request.spans[self.at..]
    }

    /// The arguments that are left, field, value, field, value …; an even number.
    pub fn fields(&self) -> Fields<'a> {
        let Request { buffer, whole, .. } = self.request;
        Fields::Spans { buffer, spans: self.rest(), whole }
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let arg = self.peek()?;
        self.at += 1;
        Some(arg)
    }
}

/// Whether an argument is this word, in any case of letters.
pub fn is_word(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// A signed number in Redis's strict form: no leading zeros, no `+`, no spaces, no `-0`.
///
/// # Errors
/// [`CommandError::NotAnInteger`].
pub fn integer(text: &[u8]) -> Result<i64, CommandError> {
    strict_integer(text).ok_or(CommandError::NotAnInteger)
}

/// [`integer`] without the error.
pub fn strict_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value = 0_u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// A complete or incomplete ID where `-` and `+` are not allowed; a missing sequence number is 0.
///
/// # Errors
/// [`CommandError::InvalidId`].
pub fn strict_id(text: &[u8]) -> Result<EntryId, CommandError> {
    EntryId::parse(text, 0).ok_or(CommandError::InvalidId)
}

/// IDs as [`strict_id`] reads them. All are checked before the first is given, so that a command
/// may change something for each.
///
/// # Errors
/// [`CommandError::InvalidId`].
pub fn strict_ids<'a>(
    texts: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<impl Iterator<Item = EntryId>, CommandError> {
    for text in texts.clone() {
        strict_id(text)?;
    }
    Ok(texts.filter_map(|text| strict_id(text).ok()))
}

/// An ID where `-` and `+` stand for the least and the greatest.
///
/// # Errors
/// [`CommandError::InvalidId`].
pub fn loose_id(text: &[u8], missing_seq: u64) -> Result<EntryId, CommandError> {
    match text {
        b"-" => Ok(EntryId::MIN),
        b"+" => Ok(EntryId::MAX),
        _ => EntryId::parse(text, missing_seq).ok_or(CommandError::InvalidId),
    }
}

/// The start of a range, as an inclusive bound; `(` makes the text exclusive.
///
/// # Errors
/// [`CommandError::InvalidId`], or Redis's text for an exclusive start at the greatest ID.
pub fn range_start(text: &[u8]) -> Result<EntryId, CommandError> {
    match text {
        [b'(', id @ ..] => strict_id(id)?
            .next()
            .ok_or(CommandError::Fixed("ERR invalid start ID for the interval")),
        _ => loose_id(text, 0),
    }
}

/// The end of a range, as an inclusive bound; `(` makes the text exclusive.
///
/// # Errors
/// [`CommandError::InvalidId`], or Redis's text for an exclusive end at `0-0`.
pub fn range_end(text: &[u8]) -> Result<EntryId, CommandError> {
    match text {
        [b'(', id @ ..] => EntryId::parse(id, u64::MAX)
            .ok_or(CommandError::InvalidId)?
            .previous()
            .ok_or(CommandError::Fixed("ERR invalid end ID for the interval")),
        _ => loose_id(text, u64::MAX),
    }
}

/// Bytes of a client as text for an error.
pub fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        for (text, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("00", None),
            ("-0", None),
            ("+1", None),
            (" 1", None),
            ("", None),
            ("-", None),
            ("1.0", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(strict_integer(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn exclusive_bounds_step_and_refuse_the_edges() {
        assert_eq!(range_start(b"(5-3"), Ok(EntryId::new(5, 4)));
        assert_eq!(range_end(b"(5"), Ok(EntryId::new(5, u64::MAX - 1)));
        assert_eq!(range_end(b"(5-0"), Ok(EntryId::new(4, u64::MAX)));
        assert_eq!(range_end(b"5"), Ok(EntryId::new(5, u64::MAX)));
        for bad in ["(-", "(+", "("] {
            assert_eq!(range_start(bad.as_bytes()), Err(CommandError::InvalidId));
            assert_eq!(range_end(bad.as_bytes()), Err(CommandError::InvalidId));
        }
        assert!(range_end(b"(0-0").is_err());
        assert!(range_start(b"(18446744073709551615-18446744073709551615").is_err());
    }
}
