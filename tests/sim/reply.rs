//! A reply as the model gives it: a tree of values, and its bytes in either protocol.

use millstream::command::Protocol;

/// A value of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple(&'static str),
    Error(String),
    Int(i128),
    /// Any integer: what is nobody's contract.
    AnyInt,
    Bulk(Vec<u8>),
    Null,
    NullArray,
    Array(Vec<Reply>),
    Map(Vec<(&'static str, Reply)>),
    /// The streams of XREAD: pairs in RESP2, a map in RESP3.
    Streams(Vec<(Vec<u8>, Reply)>),
    /// It wants to wait.
    Waits(Box<Wait>),
}

/// What a blocked reader waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) timeout_ms: u64,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) group: Option<Vec<u8>>,
    /// The idle time of CLAIM.
    pub(crate) claim: Option<u64>,
    pub(crate) retry_at: Option<u64>,
    /// What to run again.
    pub(crate) words: Vec<Vec<u8>>,
}

/// Stands for [`Reply::AnyInt`] in the bytes.
const ANY: &[u8] = b":?\r\n";

impl Reply {
    pub(crate) fn bulk(text: impl AsRef<[u8]>) -> Self {
        Reply::Bulk(text.as_ref().to_vec())
    }

    /// A length, or another count.
    pub(crate) fn count(n: usize) -> Self {
        Reply::Int(n as i128)
    }

    pub(crate) fn encode(&self, protocol: Protocol, out: &mut Vec<u8>) {
        let resp3 = protocol == Protocol::Resp3;
        let line = |kind: char, text: String| format!("{kind}{text}\r\n").into_bytes();
        match self {
            Reply::Simple(text) => out.extend(line('+', (*text).to_owned())),
            Reply::Error(text) => out.extend(line('-', text.replace(['\r', '\n'], " "))),
            Reply::Int(value) => out.extend(line(':', value.to_string())),
            Reply::AnyInt => out.extend(ANY),
            Reply::Bulk(bytes) => {
                out.extend(line('$', bytes.len().to_string()));
                out.extend(bytes);
                out.extend(b"\r\n");
            }
            Reply::Null | Reply::NullArray if resp3 => out.extend(b"_\r\n"),
            Reply::Null => out.extend(b"$-1\r\n"),
            Reply::NullArray => out.extend(b"*-1\r\n"),
            Reply::Array(items) => {
                out.extend(line('*', items.len().to_string()));
                items.iter().for_each(|item| item.encode(protocol, out));
            }
            Reply::Map(pairs) => {
                let (kind, n) = if resp3 { ('%', pairs.len()) } else { ('*', 2 * pairs.len()) };
                out.extend(line(kind, n.to_string()));
                for (name, value) in pairs {
                    Reply::bulk(name).encode(protocol, out);
                    value.encode(protocol, out);
                }
            }
            Reply::Streams(pairs) => {
                out.extend(line(if resp3 { '%' } else { '*' }, pairs.len().to_string()));
                for (key, value) in pairs {
                    out.extend(if resp3 { &b""[..] } else { b"*2\r\n" });
                    Reply::bulk(key).encode(protocol, out);
                    value.encode(protocol, out);
                }
            }
            Reply::Waits(_) => out.extend(b"(waits)"),
        }
    }

    /// The bytes, alone.
    pub(crate) fn bytes(&self, protocol: Protocol) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(protocol, &mut out);
        out
    }
}

/// Whether bytes are what the model expects.
pub(crate) fn is_as_expected(expected: &[u8], mut got: &[u8]) -> bool {
    let mut rest = expected;
    while let Some(at) = rest.windows(ANY.len()).position(|window| window == ANY) {
        let Some(after) = got.strip_prefix(&rest[..at]) else { return false };
        let Some(end) = after.windows(2).position(|pair| pair == b"\r\n") else { return false };
        if after[0] != b':' {
            return false;
        }
        got = &after[end + 2..];
        rest = &rest[at + ANY.len()..];
    }
    rest == got
}

/// Bytes in a form for people.
pub(crate) fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", " ")
}
