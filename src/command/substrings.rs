//! Strings as rows of bytes: their length, a part of one, and what changes a part.

use super::args::{Request, integer};
use super::reply::Out;
use super::{KeyCommand, Ran};
use crate::config::NotifyFlags;
use crate::error::CommandError;
use crate::keyspace::{Key, STRING_BYTES_MAX, Txn};

/// The refusal of a longer string.
const TOO_LONG: CommandError =
    CommandError::Fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

/// A part of a string has changed: this event, one change, the new length as the answer.
fn changed(
    txn: &mut Txn<'_, '_>,
    key: &Key<'_>,
    length: usize,
    event: &'static str,
    out: &mut Out<'_>,
) {
    txn.event(NotifyFlags::STRING, event, key);
    txn.count_changes(1);
    out.count(length);
}

/// `STRLEN key`
///
/// Answers the length of the string in bytes; 0 if the key is missing. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct StrLen<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for StrLen<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(StrLen { key: request.arg(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
        out.count(txn.string(&key)?.map_or(0, <[u8]>::len));
        Ok(Ran::Replied)
    }
}

/// `APPEND key value`
///
/// Appends to a string, which is empty if the key is missing, and answers its length. The expiry
/// stays. Event `append`; one change. **Limits**: 512 MiB. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> KeyCommand<'a> for Append<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Append { key: request.arg(1), value: request.arg(2) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let before = txn.string(&key)?.map(<[u8]>::len);
        let length = before.unwrap_or_default() + self.value.len();
        match before {
            // Redis: the length of a new string is that of the argument, which passed its limit.
            None => txn.set_string(&mut key, self.value, None),
            Some(_) if length > STRING_BYTES_MAX => return Err(TOO_LONG),
            Some(before) => txn.set_range(&mut key, before, self.value),
        }
        changed(txn, &key, length, "append", out);
        Ok(Ran::Replied)
    }
}

/// `GETRANGE key start end`, and in an older word `SUBSTR key start end`
///
/// Answers the bytes from one place to another, both included; negative places count from the end.
/// Empty if there are none, or no key. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct GetRange<'a> {
    key: &'a [u8],
    start: i64,
    end: i64,
}

impl<'a> KeyCommand<'a> for GetRange<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let (start, end) = (integer(request.arg(2))?, integer(request.arg(3))?);
        Ok(GetRange { key: request.arg(1), start, end })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
        let string = txn.string(&key)?.unwrap_or_default();
        let place = |at: i64| match usize::try_from(at) {
            Ok(at) => at,
            Err(_) => string
                .len()
                .saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
        };
        let end = place(self.end).saturating_add(1).min(string.len());
        // Redis: both before the first byte are the first byte, but not in the wrong order.
        let is_reversed = self.end < 0 && self.start < 0 && self.start > self.end;
        let range = if is_reversed { None } else { string.get(place(self.start)..end) };
        out.bulk(range.unwrap_or_default());
        Ok(Ran::Replied)
    }
}

/// `SETRANGE key offset value`
///
/// Writes over a part of a string, which grows with zero bytes as far as is needed, and answers its
/// length. An empty value changes nothing and creates no key. The expiry stays. Event `setrange`;
/// one change. **Limits**: 512 MiB. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct SetRange<'a> {
    key: &'a [u8],
    offset: usize,
    value: &'a [u8],
}

impl<'a> KeyCommand<'a> for SetRange<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let offset = usize::try_from(integer(request.arg(2))?)
            .map_err(|_| CommandError::Fixed("ERR offset is out of range"))?;
        Ok(SetRange { key: request.arg(1), offset, value: request.arg(3) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let before = txn.string(&key)?.map_or(0, <[u8]>::len);
        if self.value.is_empty() {
            out.count(before);
            return Ok(Ran::Replied);
        }
        let end = self.offset.checked_add(self.value.len());
        let end = end.filter(|end| *end <= STRING_BYTES_MAX).ok_or(TOO_LONG)?;
        txn.set_range(&mut key, self.offset, self.value);
        changed(txn, &key, before.max(end), "setrange", out);
        Ok(Ran::Replied)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::world;

    #[test]
    fn a_part_is_read_and_written_over() {
        let mut world = world();
        let integer = "-ERR value is not an integer or out of range";
        let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
        world.run("XADD s 1-1 f v");
        world.events();
        world.changes();
        world.script(&[
            ("SETRANGE k 3 \"\"", "0"),
            ("EXISTS k", "0"),
            ("SETRANGE k 2 abc", "5"),
            ("GET k", "\0\0abc"),
            ("SETRANGE k 0 0123", "5"),
            ("EXPIRE k 10", "1"),
            ("SETRANGE k 4 45", "6"),
            ("SETRANGE k 9 \"\"", "6"),
            ("TTL k", "10"),
            ("GETRANGE k 0 -1", "012345"),
            ("SUBSTR k 1 2", "12"),
            ("GETRANGE k -3 100", "345"),
            ("GETRANGE k -100 1", "01"),
            ("GETRANGE k 4 2", ""),
            ("GETRANGE k 6 7", ""),
            ("GETRANGE k -1 -2", ""),
            ("GETRANGE k -100 -99", "0"),
            ("GETRANGE k -99 -100", ""),
            ("GETRANGE k 0 -100", "0"),
            ("GETRANGE k -9223372036854775808 9223372036854775807", "012345"),
            ("GETRANGE nosuch 0 -1", ""),
            ("GETRANGE k x 1", integer),
            ("GETRANGE s x 1", integer),
            (
                "GETRANGE s 0 1",
                "-WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
            (
                "SETRANGE s 0 x",
                "-WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
            ("SETRANGE k x 1", integer),
            ("SETRANGE k -1 1", "-ERR offset is out of range"),
            ("SETRANGE k 536870912 1", too_long),
            ("SETRANGE k 9223372036854775807 1", too_long),
        ]);
        assert_eq!(world.events(), ["new k", "setrange k", "setrange k", "expire k", "setrange k"]);
        assert_eq!(world.changes(), 4);
    }

    #[test]
    fn the_log_has_the_part_that_changes_and_not_the_string() {
        let mut world = world();
        let large = "x".repeat(100_000);
        for (command, most) in [
            (format!("SET k {large} EX 10"), usize::MAX),
            ("APPEND k 123".to_owned(), 30),
            ("SETRANGE k 5 45".to_owned(), 30),
            ("SETRANGE k 200000 6".to_owned(), 30),
            ("SETRANGE new 200000 6".to_owned(), 30),
            ("APPEND other 7".to_owned(), 30),
        ] {
            world.run(&command);
            assert!(world.last_frame().len() < most, "{command}");
        }
        world.script(&[
            ("STRLEN k", "200001"),
            ("TTL k", "10"),
            ("GETRANGE k 3 8", "xx45xx"),
            ("GETRANGE k 99999 100003", "x123\0"),
            ("GETRANGE k 199999 -1", "\x006"),
            ("STRLEN new", "200001"),
            ("GET other", "7"),
        ]);
    }
}
