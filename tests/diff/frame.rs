//! Replies: read without losing a byte, and made comparable where they cannot be equal.

use crate::accepted::LATER_FIELDS;
use crate::commands::Version;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;

/// A reply as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frame {
    /// All that is one line, with its type.
    Line(Vec<u8>),
    /// A length and so many bytes.
    Bulk(u8, Vec<u8>),
    /// A number of replies; a map has twice as many.
    Many(u8, Vec<Frame>),
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Line(line) => write!(f, "{}", line.escape_ascii()),
            Frame::Bulk(kind, bytes) => write!(f, "{}{}", char::from(*kind), bytes.escape_ascii()),
            Frame::Many(kind, items) => {
                write!(f, "{}[", char::from(*kind))?;
                for (n, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if n > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Reads the next reply; `None` if none comes.
pub(crate) fn read(from: &mut BufReader<UnixStream>) -> Option<Frame> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).ok().filter(|_| line.ends_with(b"\r\n"))?;
    line.truncate(line.len() - 2);
    let n = || std::str::from_utf8(&line[1..]).unwrap().parse::<usize>().unwrap();
    Some(match line[0] {
        b'$' | b'*' if line[1..] == *b"-1" => Frame::Line(line),
        kind @ (b'$' | b'=') => {
            let mut bytes = vec![0; n() + 2];
            from.read_exact(&mut bytes).ok()?;
            assert!(bytes.ends_with(b"\r\n"));
            bytes.truncate(bytes.len() - 2);
            Frame::Bulk(kind, bytes)
        }
        kind @ (b'*' | b'~' | b'>') => {
            Frame::Many(kind, (0..n()).map(|_| read(from)).collect::<Option<_>>()?)
        }
        b'%' => Frame::Many(b'%', (0..2 * n()).map(|_| read(from)).collect::<Option<_>>()?),
        _ => Frame::Line(line),
    })
}

/// Names whose values are of the server, of its clock or of its memory.
const OF_THE_SERVER: [&str; 10] = [
    "radix-tree-keys",
    "radix-tree-nodes",
    "idle",
    "inactive",
    "seen-time",
    "active-time",
    "version",
    "id",
    "delivery-time",
    "modules",
];

impl Frame {
    /// Whether it is an error.
    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Frame::Line(line) if line[0] == b'-')
    }

    fn number(&self) -> Option<i64> {
        let Frame::Line(line) = self else { return None };
        std::str::from_utf8(line.strip_prefix(b":")?).ok()?.parse().ok()
    }

    /// Puts the same in the place of what depends on the clock or the server.
    pub(crate) fn normalise(&mut self, words: &[Vec<u8>]) {
        let word = |n: usize| words.get(n).map(|word| word.to_ascii_uppercase());
        let name = word(0).unwrap_or_default();
        match name.as_slice() {
            b"TTL" => self.round_up(100),
            b"PTTL" => self.round_up(100_000),
            b"EXPIRETIME" | b"PEXPIRETIME" if self.number().is_some_and(|n| n > 0) => self.mask(),
            b"XPENDING" => self.mask_in_rows(2, 4),
            b"XREADGROUP" if words.iter().any(|word| word.eq_ignore_ascii_case(b"CLAIM")) => {
                self.mask_deep(2, 4);
            }
            b"XINFO" | b"HELLO" => self.mask_named(),
            b"CONFIG" => self.sort_pairs(),
            b"COMMAND" if word(1).as_deref() == Some(b"INFO") => self.sort_sets(),
            b"COMMAND" if word(1).as_deref() == Some(b"LIST") => self.sort(),
            b"ACL" => match word(1).as_deref() {
                // The names of clients, and the number of denials before this round.
                Some(b"LOG") if !self.is_error() => self.mask(),
                Some(b"GENPASS") if matches!(self, Frame::Bulk(..)) => self.mask(),
                _ => {}
            },
            b"CLIENT" if matches!(self, Frame::Bulk(..)) => self.mask(),
            b"MEMORY" if self.number().is_some() => self.mask(),
            b"SCAN" => {
                if let Frame::Many(_, parts) = self
                    && let [_, keys] = parts.as_mut_slice()
                {
                    keys.sort();
                }
            }
            b"KEYS" => self.sort(),
            b"RANDOMKEY" if matches!(self, Frame::Bulk(..)) => self.mask(),
            b"OBJECT" if word(1).as_deref() == Some(b"IDLETIME") && self.number().is_some() => {
                self.mask();
            }
            _ => {}
        }
    }

    fn mask(&mut self) {
        *self = Frame::Line(b"masked".to_vec());
    }

    /// Times to live are thousands of seconds apart, and little of that has gone by; or they end
    /// at a given time.
    fn round_up(&mut self, to: i64) {
        if self.number().is_some_and(|n| n > to * 1_000_000) {
            return self.mask();
        }
        if let Some(n) = self.number().filter(|n| *n > 0) {
            *self = Frame::Line(format!(":{}", (n + to - 1) / to).into());
        }
    }

    /// Masks the `at`-th item of rows with `of` items.
    fn mask_in_rows(&mut self, at: usize, of: usize) {
        let Frame::Many(_, rows) = self else { return };
        for row in rows {
            if let Frame::Many(_, row) = row
                && row.len() == of
            {
                row[at].mask();
            }
        }
    }

    /// As [`Frame::mask_in_rows`], for rows that end with two numbers, at any depth.
    fn mask_deep(&mut self, at: usize, of: usize) {
        let Frame::Many(_, items) = self else { return };
        if items.len() == of && items[at].number().is_some() {
            items[at].mask();
        }
        items.iter_mut().for_each(|item| item.mask_deep(at, of));
    }

    fn mask_named(&mut self) {
        if self.number().is_some_and(|n| n > 1_500_000_000_000) {
            return self.mask();
        }
        let Frame::Many(_, items) = self else { return };
        let mut is_server = false;
        for item in items {
            if is_server && item.number().is_none_or(|n| n >= 0) {
                item.mask();
            }
            is_server = matches!(item, Frame::Bulk(_, name)
                if OF_THE_SERVER.iter().any(|known| known.as_bytes() == &name[..]));
            item.mask_named();
        }
    }

    /// Takes fields out that a version does not have yet.
    pub(crate) fn take_back_to(&mut self, version: Version) {
        let Frame::Many(_, items) = self else { return };
        let later = |item: &Frame| {
            let Frame::Bulk(_, name) = item else { return false };
            let mut later = LATER_FIELDS.iter().filter(|(_, since)| *since > version);
            later.any(|(field, _)| field.as_bytes() == &name[..])
        };
        while let Some(at) = items.iter().position(later) {
            items.drain(at..(at + 2).min(items.len()));
        }
        items.iter_mut().for_each(|item| item.take_back_to(version));
    }

    /// Sorts every array of single strings, and every set.
    fn sort_sets(&mut self) {
        let Frame::Many(_, items) = self else { return };
        items.iter_mut().for_each(Frame::sort_sets);
        if items.iter().all(|item| matches!(item, Frame::Line(_) | Frame::Bulk(..))) {
            self.sort();
        }
    }

    fn sort_pairs(&mut self) {
        if let Frame::Many(_, items) = self {
            let mut pairs: Vec<Vec<Frame>> = items.chunks(2).map(<[Frame]>::to_vec).collect();
            pairs.sort_by_cached_key(|pair| pair[0].to_string());
            *items = pairs.concat();
        }
    }

    fn sort(&mut self) {
        if let Frame::Many(_, items) = self {
            items.sort_by_cached_key(Frame::to_string);
        }
    }
}
