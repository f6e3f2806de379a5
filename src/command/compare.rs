//! Conditions on the string that a key holds: what a lock is released by, and a value replaced by
//! who has seen the one before.

use super::args::{Args, Request, is_word};
use super::keys::remove;
use super::reply::Out;
use super::{KeyCommand, Ran};
use crate::error::CommandError;
use crate::keyspace::Txn;
use xxhash_rust::xxh3::xxh3_64;

/// How many hexadecimal digits a digest has.
const DIGEST_LEN: usize = 16;

/// IFEQ, IFNE: the string is, or is not, this one. IFDEQ, IFDNE: its digest is, or is not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition<'a> {
    option: &'static str,
    digest: bool,
    /// Whether it must be equal; else it must differ.
    pub(super) equal: bool,
    value: &'a [u8],
}

impl<'a> Condition<'a> {
    /// The condition of this name.
    fn named(word: &[u8], value: &'a [u8]) -> Option<Self> {
        const OPTIONS: [(&str, bool, bool); 4] = [
            ("IFEQ", false, true),
            ("IFNE", false, false),
            ("IFDEQ", true, true),
            ("IFDNE", true, false),
        ];
        let found = OPTIONS.iter().find(|(option, ..)| is_word(word, option));
        found.map(|&(option, digest, equal)| Condition { option, digest, equal, value })
    }

    /// Takes a condition with its value, if that is next. One that differs from the condition
    /// before is left for the caller to refuse.
    pub(super) fn take(before: Option<Self>, args: &mut Args<'a>) -> Option<Self> {
        let mut ahead = *args;
        let condition = Condition::named(ahead.next()?, ahead.next()?)?;
        if before.is_some_and(|before| before.option != condition.option) {
            return None;
        }
        *args = ahead;
        Some(condition)
    }

    /// Whether a string satisfies it.
    ///
    /// # Errors
    /// If the value to compare with is no digest.
    pub(super) fn holds(&self, string: &[u8]) -> Result<bool, CommandError> {
        if !self.digest {
            return Ok((string == self.value) == self.equal);
        }
        if self.value.len() != DIGEST_LEN {
            let text = "ERR must be exactly 16 hexadecimal characters";
            return Err(CommandError::Fixed(text));
        }
        Ok(self.value.eq_ignore_ascii_case(digest(string).as_bytes()) == self.equal)
    }
}

/// XXH3 in hexadecimal digits.
fn digest(string: &[u8]) -> String {
    format!("{:016x}", xxh3_64(string))
}

/// `DIGEST key`
///
/// Answers the digest of a string, 16 hexadecimal digits, or null. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Digest<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for Digest<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Digest { key: request.arg(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
        match txn.string(&key)? {
            Some(string) => out.bulk(digest(string).as_bytes()),
            None => out.null(),
        }
        Ok(Ran::Replied)
    }
}

/// `DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]`
///
/// Removes a key, of whatever type without a condition, and answers whether it did. Event `del`;
/// one change. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct DelEx<'a> {
    key: &'a [u8],
    condition: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> KeyCommand<'a> for DelEx<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let condition = match request.len() {
            2 => None,
            4 => Some((request.arg(2), request.arg(3))),
            _ => return Err(CommandError::arity("delex")),
        };
        Ok(DelEx { key: request.arg(1), condition })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        if self.condition.is_some() {
            txn.note_read(&key);
        }
        let holds = match self.condition {
            Some((word, value)) if key.exists() => {
                let Ok(Some(string)) = txn.string(&key) else {
                    let text = "ERR Key should be of string type if conditions are specified";
                    return Err(CommandError::Fixed(text));
                };
                let Some(condition) = Condition::named(word, value) else {
                    let text = "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE";
                    return Err(CommandError::Fixed(text));
                };
                condition.holds(string)?
            }
            Some(_) | None => key.exists(),
        };
        if holds {
            remove(txn, &mut key);
        }
        out.integer(i64::from(holds));
        Ok(Ran::Replied)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::world;

    const DIGEST_OF_HELLO: &str = "9555e8555c62dcfd";
    const NO_DIGEST: &str = "-ERR must be exactly 16 hexadecimal characters";
    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    const ARITY: &str = "-ERR wrong number of arguments for 'delex' command";

    #[test]
    fn what_is_compared_answers_as_redis_does() {
        let mut world = world();
        world.run("XADD s 1-1 f v");
        let upper = DIGEST_OF_HELLO.to_uppercase();
        let by_digest = format!("SET k w IFDEQ {upper}");
        let other_digest = format!("SET k hello IFDNE {upper}");
        let del_by_digest = format!("DELEX k IFDNE {DIGEST_OF_HELLO}");
        for (command, answer) in [
            ("SET k hello", "OK"),
            ("DIGEST k", DIGEST_OF_HELLO),
            ("DIGEST nosuch", "nil"),
            ("DIGEST s", WRONG_TYPE),
            (&by_digest, "OK"),
            (&by_digest, "nil"),
            (&other_digest, "OK"),
            ("SET k v IFEQ other", "nil"),
            ("SET k v IFEQ hello EX 10", "OK"),
            ("SET k w IFNE v KEEPTTL", "nil"),
            ("SET k w IFNE x KEEPTTL GET", "v"),
            ("TTL k", "10"),
            ("SET k v IFEQ x GET", "w"),
            ("SET nosuch v IFEQ a", "nil"),
            ("SET nosuch v IFDEQ a", "nil"),
            ("SET new v IFNE a", "OK"),
            ("SET new2 v IFDNE a", "OK"),
            ("SET new2 v IFDNE a", NO_DIGEST),
            ("SET s v IFNE a", WRONG_TYPE),
            ("SET s v IFDEQ a", WRONG_TYPE),
            ("SET k v IFEQ", "-ERR syntax error"),
            ("SET k v NX IFEQ a", "-ERR syntax error"),
            ("SET k v IFEQ a IFNE b", "-ERR syntax error"),
            ("SET k v IFEQ w NX", "nil"),
            ("SET k v IFEQ a IFEQ w", "OK"),
            ("DELEX k a", ARITY),
            ("DELEX k IFEQ a b", ARITY),
            ("DELEX nosuch a b", "0"),
            ("DELEX k a b", "-ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"),
            ("DELEX k IFDEQ a", NO_DIGEST),
            ("DELEX s IFEQ a", "-ERR Key should be of string type if conditions are specified"),
            ("DELEX k IFEQ a", "0"),
            ("DELEX k IFNE v", "0"),
            (&del_by_digest, "1"),
            ("DELEX k", "0"),
            ("DELEX s", "1"),
        ] {
            assert_eq!(world.show(command), answer, "{command}");
        }
        world.replayed_equals();
    }
}
