//! Replies read back: [`Reader`] goes over the RESP3 bytes that a command wrote, [`Reply`] is the
//! tree of values for whoever wants any reply as it is.
//!
//! The bytes are our own, so nothing here guards against depth or size; what does not fit is
//! [`Unexpected`], which is a bug and never a caller's doing.

use crate::error::CommandError;
use crate::stream::id::{EntryId, parse_u64};
use bytes::Bytes;
use std::ops::Range;

/// A reply as a tree of values.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// Nothing there.
    Null,
    /// A number.
    Integer(i64),
    /// A number with a fraction.
    Double(f64),
    /// Yes or no.
    Boolean(bool),
    /// A word of the protocol, like `OK`.
    Simple(String),
    /// Bytes.
    Bulk(Bytes),
    /// A list.
    Array(Vec<Reply>),
    /// Pairs, in the order they were written.
    Map(Vec<(Reply, Reply)>),
    /// A refusal inside a list; a refusal of the whole command is an `Err`.
    Error(CommandError),
}

/// A reply is not of the shape that was read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unexpected;

impl Reply {
    /// The value as text: bulk and simple strings that are UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Reply::Simple(text) => Some(text),
            Reply::Bulk(bytes) => std::str::from_utf8(bytes).ok(),
            Reply::Null
            | Reply::Integer(_)
            | Reply::Double(_)
            | Reply::Boolean(_)
            | Reply::Array(_)
            | Reply::Map(_)
            | Reply::Error(_) => None,
        }
    }

    /// The value as a number.
    pub fn as_integer(&self) -> Option<i64> {
        if let Reply::Integer(value) = self { Some(*value) } else { None }
    }

    /// The value as a list.
    pub fn as_array(&self) -> Option<&[Reply]> {
        if let Reply::Array(items) = self { Some(items) } else { None }
    }

    /// The value under a name, if this is a map that has it.
    ///
    /// # Examples
    /// ```
    /// # let db = millstream::Db::builder().memory().open()?;
    /// db.command(["XADD", "s", "*", "f", "v"]).wait()?;
    /// let info = db.command(["XINFO", "STREAM", "s"]).wait()?;
    /// assert_eq!(info.get("length").and_then(|length| length.as_integer()), Some(1));
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn get(&self, name: &str) -> Option<&Reply> {
        let Reply::Map(pairs) = self else { return None };
        pairs.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
    }
}

/// What a reply begins with; where its bytes are.
enum Head {
    Null,
    Integer(i64),
    Double(f64),
    Boolean(bool),
    Simple(Range<usize>),
    Bulk(Range<usize>),
    Array(usize),
    Map(usize),
    Error(CommandError),
}

/// A cursor over replies in RESP3.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever is not wanted is unexpected")]
impl Reader {
    /// At the beginning of these replies. What is read shares their memory.
    pub fn new(bytes: Bytes) -> Self {
        Reader { bytes, at: 0 }
    }

    /// Whether everything has been read.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// If the next reply is a refusal, takes it.
    pub fn take_error(&mut self) -> Option<CommandError> {
        if self.bytes.get(self.at) != Some(&b'-') {
            return None;
        }
        let (_, text) = self.line().ok()?;
        Some(CommandError::from_wire(&self.bytes[text]))
    }

    /// The next reply, whatever it is.
    ///
    /// # Errors
    /// [`Unexpected`].
    pub fn reply(&mut self) -> Result<Reply, Unexpected> {
        Ok(match self.head()? {
            Head::Null => Reply::Null,
            Head::Integer(value) => Reply::Integer(value),
            Head::Double(value) => Reply::Double(value),
            Head::Boolean(value) => Reply::Boolean(value),
            Head::Simple(text) => {
                Reply::Simple(String::from_utf8_lossy(&self.bytes[text]).into_owned())
            }
            Head::Bulk(text) => Reply::Bulk(self.bytes.slice(text)),
            Head::Array(n) => Reply::Array((0..n).map(|_| self.reply()).collect::<Result<_, _>>()?),
            Head::Map(n) => {
                let pairs = (0..n).map(|_| Ok((self.reply()?, self.reply()?)));
                Reply::Map(pairs.collect::<Result<_, _>>()?)
            }
            Head::Error(error) => Reply::Error(error),
        })
    }

    /// The length of the list that follows; `None` for null.
    ///
    /// # Errors
    /// [`Unexpected`].
    pub fn array(&mut self) -> Result<Option<usize>, Unexpected> {
        match self.head()? {
            Head::Array(n) => Ok(Some(n)),
            Head::Null => Ok(None),
            _ => Err(Unexpected),
        }
    }

    /// The number of pairs of the map that follows; `None` for null.
    ///
    /// # Errors
    /// [`Unexpected`].
    pub fn map(&mut self) -> Result<Option<usize>, Unexpected> {
        match self.head()? {
            Head::Map(n) => Ok(Some(n)),
            Head::Null => Ok(None),
            _ => Err(Unexpected),
        }
    }

    /// Bytes; `None` for null.
    ///
    /// # Errors
    /// [`Unexpected`].
    pub fn bulk(&mut self) -> Result<Option<Bytes>, Unexpected> {
        match self.head()? {
            Head::Bulk(text) | Head::Simple(text) => Ok(Some(self.bytes.slice(text))),
            Head::Null => Ok(None),
            _ => Err(Unexpected),
        }
    }

    /// Passes over one value, which is no list.
    ///
    /// # Errors
    /// [`Unexpected`].
    pub fn pass(&mut self) -> Result<(), Unexpected> {
        self.head().map(drop)
    }

    /// An entry ID; `None` for null.
    ///
    /// # Errors
    /// [`Unexpected`].
    pub fn id(&mut self) -> Result<Option<EntryId>, Unexpected> {
        match self.head()? {
            Head::Bulk(text) => EntryId::parse(&self.bytes[text], 0).ok_or(Unexpected).map(Some),
            Head::Null => Ok(None),
            _ => Err(Unexpected),
        }
    }

    /// A number, also one that is written as a bulk string.
    ///
    /// # Errors
    /// [`Unexpected`].
    pub fn integer(&mut self) -> Result<i64, Unexpected> {
        match self.head()? {
            Head::Integer(value) => Ok(value),
            Head::Bulk(text) => number(&self.bytes[text]),
            _ => Err(Unexpected),
        }
    }

    /// A number that is not negative.
    ///
    /// # Errors
    /// [`Unexpected`].
    pub fn count(&mut self) -> Result<u64, Unexpected> {
        u64::try_from(self.integer()?).map_err(|_| Unexpected)
    }

    fn head(&mut self) -> Result<Head, Unexpected> {
        let (kind, text) = self.line()?;
        let bytes = &self.bytes[text.clone()];
        let length = || number(bytes).and_then(|n| usize::try_from(n).map_err(|_| Unexpected));
        Ok(match kind {
            b'_' => Head::Null,
            b'$' | b'*' if bytes == b"-1" => Head::Null,
            b':' => Head::Integer(number(bytes)?),
            b',' => {
                let text = std::str::from_utf8(bytes).map_err(|_| Unexpected)?;
                Head::Double(text.parse().map_err(|_| Unexpected)?)
            }
            b'#' => Head::Boolean(bytes == b"t"),
            b'+' => Head::Simple(text),
            b'$' => Head::Bulk(self.take(length()?)?),
            // Its first four bytes tell the format of the text.
            b'=' => {
                let text = self.take(length()?)?;
                Head::Bulk((text.start + 4).min(text.end)..text.end)
            }
            b'*' | b'~' | b'>' => Head::Array(length()?),
            b'%' => Head::Map(length()?),
            b'-' => Head::Error(CommandError::from_wire(bytes)),
            _ => return Err(Unexpected),
        })
    }

    /// The kind of the next line, and where its text is.
    fn line(&mut self) -> Result<(u8, Range<usize>), Unexpected> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\r').ok_or(Unexpected)?;
        if end == 0 || rest.len() < end + 2 {
            return Err(Unexpected);
        }
        let line = (rest[0], self.at + 1..self.at + end);
        self.at += end + 2;
        Ok(line)
    }

    /// Where the next `n` bytes are.
    fn take(&mut self, n: usize) -> Result<Range<usize>, Unexpected> {
        if self.bytes.len() < self.at + n + 2 {
            return Err(Unexpected);
        }
        let taken = self.at..self.at + n;
        self.at += n + 2;
        Ok(taken)
    }
}

fn number(text: &[u8]) -> Result<i64, Unexpected> {
    // Nearly all are lengths, of few digits.
    if let Some(value) = parse_u64(text) {
        return i64::try_from(value).map_err(|_| Unexpected);
    }
    let text = std::str::from_utf8(text).map_err(|_| Unexpected)?;
    text.parse().map_err(|_| Unexpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static str) -> Result<Reply, Unexpected> {
        Reader::new(bytes.as_bytes().into()).reply()
    }

    #[test]
    fn every_type_of_reply_is_read() {
        let text = |text: &'static str| Reply::Bulk(text.into());
        for (bytes, reply) in [
            ("_\r\n", Reply::Null),
            ("$-1\r\n", Reply::Null),
            ("*-1\r\n", Reply::Null),
            (":-7\r\n", Reply::Integer(-7)),
            (",1.5\r\n", Reply::Double(1.5)),
            ("#t\r\n", Reply::Boolean(true)),
            ("+OK\r\n", Reply::Simple("OK".to_owned())),
            ("$3\r\na\rb\r\n", text("a\rb")),
            ("=8\r\ntxt:text\r\n", text("text")),
            ("*2\r\n:1\r\n$0\r\n\r\n", Reply::Array(vec![Reply::Integer(1), text("")])),
            ("~1\r\n+x\r\n", Reply::Array(vec![Reply::Simple("x".to_owned())])),
            ("%1\r\n$1\r\nk\r\n:1\r\n", Reply::Map(vec![(text("k"), Reply::Integer(1))])),
        ] {
            assert_eq!(read(bytes), Ok(reply), "{bytes:?}");
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Err(Unexpected), "{:?}", &bytes[..end]);
            }
        }
        assert_eq!(read("-ERR syntax error\r\n"), Ok(Reply::Error(CommandError::Syntax)));
    }

    #[test]
    fn a_refusal_is_taken_and_anything_else_stays() {
        let mut reader = Reader::new("-NOGROUP none\r\n:3\r\n".as_bytes().into());
        assert_eq!(reader.take_error(), Some(CommandError::NoGroup("NOGROUP none".into())));
        assert_eq!(reader.take_error(), None);
        assert_eq!(reader.integer(), Ok(3));
        assert!(reader.is_at_end());
    }
}
