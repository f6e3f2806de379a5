//! A strict reader of RESP2 and RESP3: it accepts nothing that the protocol does not.

use std::fmt;
use std::io::Read;

/// A reply or a push.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Verbatim(String),
    Double(String),
    Null,
    NullArray,
    Array(Vec<Value>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: &str, items: &[Value], close: &str| {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            write!(f, "{open}{}{close}", items.join(" "))
        };
        match self {
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Integer(n) => write!(f, ":{n}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", String::from_utf8_lossy(bytes)),
            Value::Verbatim(text) => write!(f, "={text}"),
            Value::Double(text) => write!(f, ",{text}"),
            Value::Null => f.write_str("null"),
            Value::NullArray => f.write_str("null-array"),
            Value::Array(items) => list(f, "[", items, "]"),
            Value::Set(items) => list(f, "~[", items, "]"),
            Value::Push(items) => list(f, ">[", items, "]"),
            Value::Map(pairs) => {
                let pairs: Vec<String> =
                    pairs.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                write!(f, "{{{}}}", pairs.join(", "))
            }
        }
    }
}

/// Reads values from a stream.
pub(crate) struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Reader { stream, buffer: Vec::new(), at: 0 }
    }

    /// The next value; `None` at the end of the stream.
    pub(crate) fn read(&mut self) -> Option<Value> {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.value()
    }

    fn value(&mut self) -> Option<Value> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(1);
        let n = || rest.parse::<i64>().unwrap_or_else(|_| panic!("no number: {line}"));
        let count = || usize::try_from(n()).unwrap_or_else(|_| panic!("no length: {line}"));
        Some(match kind {
            "+" => Value::Simple(rest.to_owned()),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Integer(n()),
            "$" if rest == "-1" => Value::Null,
            "*" if rest == "-1" => Value::NullArray,
            "$" => Value::Bulk(self.bytes(count())?),
            "=" => {
                let text = String::from_utf8(self.bytes(count())?).unwrap();
                Value::Verbatim(text.strip_prefix("txt:").unwrap().to_owned())
            }
            "," => Value::Double(rest.to_owned()),
            "_" => Value::Null,
            "*" => Value::Array(self.values(count())?),
            "~" => Value::Set(self.values(count())?),
            ">" => Value::Push(self.values(count())?),
            "%" => {
                let mut items = self.values(2 * count())?.into_iter();
                let mut pairs = Vec::new();
                while let Some(key) = items.next() {
                    pairs.push((key, items.next()?));
                }
                Value::Map(pairs)
            }
            _ => panic!("no RESP: {line:?}"),
        })
    }

    fn values(&mut self, n: usize) -> Option<Vec<Value>> {
        (0..n).map(|_| self.value()).collect()
    }

    fn line(&mut self) -> Option<String> {
        let mut searched = self.at;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = &self.buffer[self.at..searched + end];
                let line = line.strip_suffix(b"\r").expect("a line ends with CR LF");
                let line = String::from_utf8_lossy(line).into_owned();
                self.at = searched + end + 1;
                return Some(line);
            }
            searched = self.buffer.len();
            self.fill()?;
        }
    }

    fn bytes(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < self.at + n + 2 {
            self.fill()?;
        }
        let end = self.at + n;
        assert_eq!(&self.buffer[end..end + 2], b"\r\n", "a bulk string ends with CR LF");
        let bytes = self.buffer[self.at..end].to_vec();
        self.at = end + 2;
        Some(bytes)
    }

    fn fill(&mut self) -> Option<()> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.fill(),
            Ok(0) => None,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no reply: {error}"),
        }
    }
}
