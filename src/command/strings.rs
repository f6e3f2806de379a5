//! Strings: what queue code keeps beside its streams, for locks, counters and flags.

use super::args::{Args, Request, integer, is_word, strict_integer};
use super::compare::Condition;
use super::expire::{Deadline, invalid_expire_time};
use super::keys::remove;
use super::reply::Out;
use super::{KeyCommand, Ran};
use crate::config::NotifyFlags;
use crate::error::CommandError;
use crate::keyspace::{Key, Txn, Value};
use crate::stream::UnixMs;
use std::iter::Take;

/// A time to live as an option gives it. Its number is read where Redis reads it, which is after
/// the look-up for GETEX.
#[derive(Debug, Clone, Copy)]
struct Expiry<'a> {
    amount: &'a [u8],
    seconds: bool,
    relative: bool,
}

impl<'a> Expiry<'a> {
    /// Takes EX, PX, EXAT or PXAT with its number, if that is next. One that differs from the
    /// option before is left for the caller to refuse.
    fn take(before: Option<Self>, args: &mut Args<'a>) -> Option<Self> {
        const OPTIONS: [(&str, bool, bool); 4] = [
            ("EX", true, true),
            ("PX", false, true),
            ("EXAT", true, false),
            ("PXAT", false, false),
        ];
        let word = args.peek()?;
        let found = OPTIONS.iter().find(|(option, ..)| is_word(word, option));
        let &(option, seconds, relative) = found?;
        let same = before.is_none_or(|b| (b.seconds, b.relative) == (seconds, relative));
        if !same || args.remaining() < 2 || !args.take_word(option) {
            return None;
        }
        Some(Expiry { amount: args.next()?, seconds, relative })
    }

    /// The point in time. It is above zero.
    ///
    /// # Errors
    /// Not a number; not above zero, or too large, for `command`.
    fn at(&self, command: &str, now: UnixMs) -> Result<UnixMs, CommandError> {
        let Expiry { seconds, relative, .. } = *self;
        let amount = integer(self.amount)?;
        let at = Deadline { amount, seconds, relative }.unix_ms(now);
        match at.map(u64::try_from) {
            Some(Ok(at)) if amount > 0 => Ok(UnixMs(at)),
            _ => Err(invalid_expire_time(command)),
        }
    }
}

/// The options that SET and MSETEX have in common, and the conditions of SET.
#[derive(Debug, Clone, Copy, Default)]
struct Options<'a> {
    if_missing: bool,
    if_exists: bool,
    keep_ttl: bool,
    expiry: Option<Expiry<'a>>,
    condition: Option<Condition<'a>>,
}

impl<'a> Options<'a> {
    /// Takes the next option of both commands, if it is one.
    fn take(&mut self, args: &mut Args<'a>) -> bool {
        if !self.if_exists && args.take_word("NX") {
            self.if_missing = true;
        } else if !self.if_missing && args.take_word("XX") {
            self.if_exists = true;
        } else if self.expiry.is_none() && args.take_word("KEEPTTL") {
            self.keep_ttl = true;
        } else if !self.keep_ttl
            && let Some(expiry) = Expiry::take(self.expiry, args)
        {
            self.expiry = Some(expiry);
        } else {
            return false;
        }
        true
    }

    /// Takes a condition, if it is next.
    fn take_condition(&mut self, args: &mut Args<'a>) -> bool {
        if self.if_missing || self.if_exists {
            return false;
        }
        let condition = Condition::take(self.condition, args);
        self.condition = condition.or(self.condition);
        condition.is_some()
    }

    /// Whether they let the key be set.
    ///
    /// # Errors
    /// If a condition is on a key that holds no string, or compares with no digest.
    fn hold(&self, txn: &mut Txn<'_, '_>, key: &Key<'_>) -> Result<bool, CommandError> {
        let wants = self.if_exists || self.condition.is_some_and(|condition| condition.equal);
        if if key.exists() { self.if_missing } else { wants } {
            return Ok(false);
        }
        let Some(condition) = self.condition else { return Ok(true) };
        if key.exists() {
            txn.note_read(key);
        }
        txn.string(key)?.map_or(Ok(true), |string| condition.holds(string))
    }
}

/// `SET key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET]
/// [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]`
///
/// Sets a string, whatever the key held. Answers `OK`, or null if the condition does not hold; with
/// GET the string before. Events `new`, `overwritten`, `type_changed` if that is so, `set`, and
/// `expire` with a time to live; one change. Redis 8.10.
///
/// The same command in older words: `SETEX key seconds value`, `PSETEX key milliseconds value`,
/// `GETSET key value` (GET), `SETNX key value` (NX; answers 1 or 0).
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    command: &'static str,
    key: &'a [u8],
    value: &'a [u8],
    options: Options<'a>,
    answer: Answer,
}

/// What SET answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Whether it did it, as `OK` or null.
    Ok,
    /// Whether it did it, as 1 or 0.
    Number,
    /// The string before.
    Before,
}

impl<'a> KeyCommand<'a> for Set<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let mut set = Set {
            command: "set",
            key: request.arg(1),
            value: request.arg(request.len() - 1),
            options: Options::default(),
            answer: Answer::Ok,
        };
        let name = request.arg(0);
        let ttl = |seconds| Some(Expiry { amount: request.arg(2), seconds, relative: true });
        if is_word(name, "SETEX") {
            (set.command, set.options.expiry) = ("setex", ttl(true));
        } else if is_word(name, "PSETEX") {
            (set.command, set.options.expiry) = ("psetex", ttl(false));
        } else if is_word(name, "SETNX") {
            (set.options.if_missing, set.answer) = (true, Answer::Number);
        } else if is_word(name, "GETSET") {
            set.answer = Answer::Before;
        } else {
            set.value = request.arg(2);
            set.take_options(request.args(3))?;
        }
        Ok(set)
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let Options { expiry, keep_ttl, .. } = self.options;
        let expire_at = expiry.map(|expiry| expiry.at(self.command, txn.now)).transpose()?;
        let mut key = txn.key(self.key);
        if self.answer == Answer::Before {
            txn.note_read(&key);
            bulk_or_null(txn.string(&key)?, out);
        }
        let holds = self.options.hold(txn, &key)?;
        if holds {
            let kept = if keep_ttl { txn.expiry(&key) } else { None };
            set(txn, &mut key, self.value, expire_at.or(kept));
            if expire_at.is_some() {
                txn.event(NotifyFlags::GENERIC, "expire", &key);
            }
        }
        match self.answer {
            Answer::Ok if holds => out.ok(),
            Answer::Ok => out.null(),
            Answer::Number => out.integer(i64::from(holds)),
            Answer::Before => {}
        }
        Ok(Ran::Replied)
    }
}

impl<'a> Set<'a> {
    fn take_options(&mut self, mut args: Args<'a>) -> Result<(), CommandError> {
        while args.remaining() > 0 {
            if args.take_word("GET") {
                self.answer = Answer::Before;
            } else if !self.options.take(&mut args) && !self.options.take_condition(&mut args) {
                return Err(CommandError::Syntax);
            }
        }
        Ok(())
    }
}

/// Sets a string: event `set`, and those of what was there before; one change.
fn set(txn: &mut Txn<'_, '_>, key: &mut Key<'_>, value: &[u8], expire_at: Option<UnixMs>) {
    let before = txn.value(key).map(Value::type_name);
    txn.set_string(key, value, expire_at);
    if let Some(before) = before {
        txn.event_overwritten(key, before);
    }
    txn.event(NotifyFlags::STRING, "set", key);
    txn.count_changes(1);
}

fn bulk_or_null(string: Option<&[u8]>, out: &mut Out<'_>) {
    match string {
        Some(string) => out.bulk(string),
        None => out.null(),
    }
}

/// `GET key`
///
/// Answers the string, or null. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Get<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for Get<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Get { key: request.arg(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
        bulk_or_null(txn.string(&key)?, out);
        Ok(Ran::Replied)
    }
}

/// `GETDEL key`
///
/// Answers the string, or null, and removes the key. Event `del`; one change. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct GetDel<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for GetDel<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(GetDel { key: request.arg(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.read(self.key);
        bulk_or_null(txn.string(&key)?, out);
        if key.exists() {
            remove(txn, &mut key);
        }
        Ok(Ran::Replied)
    }
}

/// `GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds |
/// PXAT unix-time-milliseconds | PERSIST]`
///
/// Answers the string, or null, and sets or takes away its expiry. Event `expire` or `persist`, or
/// `del` for a Unix time that is over; one change if there was one. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct GetEx<'a> {
    key: &'a [u8],
    expiry: Option<Expiry<'a>>,
    persist: bool,
}

impl<'a> KeyCommand<'a> for GetEx<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let mut get = GetEx { key: request.arg(1), expiry: None, persist: false };
        let mut args = request.args(2);
        while args.remaining() > 0 {
            if get.expiry.is_none() && args.take_word("PERSIST") {
                get.persist = true;
            } else if !get.persist
                && let Some(expiry) = Expiry::take(get.expiry, &mut args)
            {
                get.expiry = Some(expiry);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(get)
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.read(self.key);
        let string = txn.string(&key)?;
        if let Some(expiry) = self.expiry.filter(|_| string.is_some()) {
            let at = expiry.at("getex", txn.now)?;
            bulk_or_null(string, out);
            if at <= txn.now {
                remove(txn, &mut key);
                return Ok(Ran::Replied);
            }
            txn.set_expiry(&mut key, Some(at));
            txn.event(NotifyFlags::GENERIC, "expire", &key);
            txn.count_changes(1);
            return Ok(Ran::Replied);
        }
        bulk_or_null(string, out);
        if self.persist && txn.expiry(&key).is_some() {
            txn.set_expiry(&mut key, None);
            txn.event(NotifyFlags::GENERIC, "persist", &key);
            txn.count_changes(1);
        }
        Ok(Ran::Replied)
    }
}

/// `MGET key [key ...]`
///
/// Answers an array of strings; null for a key that is missing or holds something else. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct MGet<'a> {
    keys: Args<'a>,
}

impl<'a> KeyCommand<'a> for MGet<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(MGet { keys: request.args(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        out.array(self.keys.remaining());
        for name in self.keys {
            let key = txn.read(name);
            bulk_or_null(txn.string(&key).ok().flatten(), out);
        }
        Ok(Ran::Replied)
    }
}

/// `MSET key value [key value ...]`, `MSETNX key value [key value ...]`
///
/// Sets several strings. MSET answers `OK`; MSETNX answers 1, or 0 without setting any if one of
/// the keys exists. Events as SET; one change for each. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct MSet<'a> {
    pairs: Args<'a>,
    if_missing: bool,
}

impl<'a> KeyCommand<'a> for MSet<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let if_missing = is_word(request.arg(0), "MSETNX");
        if request.len().is_multiple_of(2) {
            return Err(CommandError::arity(if if_missing { "msetnx" } else { "mset" }));
        }
        Ok(MSet { pairs: request.args(1), if_missing })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut names = self.pairs.step_by(2);
        if self.if_missing && names.any(|name| txn.key(name).exists()) {
            out.integer(0);
            return Ok(Ran::Replied);
        }
        let mut pairs = self.pairs;
        while let (Some(name), Some(value)) = (pairs.next(), pairs.next()) {
            let mut key = txn.key(name);
            set(txn, &mut key, value, None);
        }
        if self.if_missing {
            out.integer(1);
        } else {
            out.ok();
        }
        Ok(Ran::Replied)
    }
}

/// `MSETEX numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds |
/// EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]`
///
/// Sets several strings with one time to live, if the condition holds for all of their keys.
/// Answers whether it did. Events as SET; one change for each. Redis 8.10.
#[derive(Debug, Clone)]
pub struct MSetEx<'a> {
    pairs: Take<Args<'a>>,
    options: Options<'a>,
}

impl<'a> KeyCommand<'a> for MSetEx<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let count = integer(request.arg(1)).ok().and_then(|count| i32::try_from(count).ok());
        let Some(count) = count.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) else {
            return Err(CommandError::Fixed("ERR invalid numkeys value"));
        };
        if request.len() - 2 < 2 * count {
            return Err(CommandError::Fixed("ERR wrong number of key-value pairs"));
        }
        let mut options = Options::default();
        let mut args = request.args(2 + 2 * count);
        while args.remaining() > 0 {
            if !options.take(&mut args) {
                return Err(CommandError::Syntax);
            }
        }
        Ok(MSetEx { pairs: request.args(2).take(2 * count), options })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let Options { expiry, keep_ttl, .. } = self.options;
        let expire_at = expiry.map(|expiry| expiry.at("msetex", txn.now)).transpose()?;
        for name in self.pairs.clone().step_by(2) {
            let key = txn.key(name);
            if !self.options.hold(txn, &key)? {
                out.integer(0);
                return Ok(Ran::Replied);
            }
        }
        let mut pairs = self.pairs.clone();
        while let (Some(name), Some(value)) = (pairs.next(), pairs.next()) {
            let mut key = txn.key(name);
            let kept = if keep_ttl { txn.expiry(&key) } else { None };
            let before = txn.value(&key).map(Value::type_name);
            txn.set_string(&mut key, value, expire_at.or(kept));
            if let Some(before) = before {
                txn.event_overwritten(&key, before);
            }
            if expire_at.is_some() {
                txn.event(NotifyFlags::GENERIC, "expire", &key);
            }
            txn.event(NotifyFlags::STRING, "set", &key);
            txn.count_changes(1);
        }
        out.integer(1);
        Ok(Ran::Replied)
    }
}

/// `INCR key`, `DECR key`, `INCRBY key increment`, `DECRBY key decrement`
///
/// Adds to the number that the string is, 0 if the key is missing, and answers the sum. The expiry
/// stays. Event `incrby`; one change. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct IncrBy<'a> {
    key: &'a [u8],
    by: i64,
}

impl<'a> KeyCommand<'a> for IncrBy<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let name = request.arg(0);
        let by = if is_word(name, "INCR") {
            1
        } else if is_word(name, "DECR") {
            -1
        } else {
            let by = request.args(2).integer()?;
            let negated = by.checked_neg();
            let by = if is_word(name, "DECRBY") { negated } else { Some(by) };
            by.ok_or(CommandError::Fixed("ERR decrement would overflow"))?
        };
        Ok(IncrBy { key: request.arg(1), by })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        const OVERFLOW: CommandError =
            CommandError::Fixed("ERR increment or decrement would overflow");
        let mut key = txn.key(self.key);
        let number = match txn.string(&key)? {
            Some(string) => strict_integer(string).ok_or(CommandError::NotAnInteger)?,
            None => 0,
        };
        let sum = number.checked_add(self.by).ok_or(OVERFLOW)?;
        let expire_at = txn.expiry(&key);
        txn.set_string(&mut key, sum.to_string().as_bytes(), expire_at);
        txn.event(NotifyFlags::STRING, "incrby", &key);
        txn.count_changes(1);
        out.integer(sum);
        Ok(Ran::Replied)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{World, world};

    fn shows(world: &mut World, commands: &[(&str, &str)]) {
        for (command, answer) in commands {
            assert_eq!(world.show(command), *answer, "{command}");
        }
    }

    const SYNTAX: &str = "-ERR syntax error";
    const INTEGER: &str = "-ERR value is not an integer or out of range";
    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

    #[test]
    fn set_obeys_its_options() {
        let mut world = world();
        shows(
            &mut world,
            &[
                ("SET k 1 XX", "nil"),
                ("SET k 1 NX EX 10", "OK"),
                ("SET k 2 NX", "nil"),
                ("SET k 2 NX GET", "1"),
                ("SET k 2 XX GET KEEPTTL", "1"),
                ("TTL k", "10"),
                ("SET k 3 PXAT 5000 PXAT 6000", "OK"),
                ("PTTL k", "5000"),
                ("SET k 4", "OK"),
                ("TTL k", "-1"),
                ("SETNX k 5", "0"),
                ("SETNX l 5", "1"),
                ("GETSET k 6", "4"),
                ("GETSET m 6", "nil"),
                ("SETEX k 10 7", "OK"),
                ("PSETEX k 1500 8", "OK"),
                ("PTTL k", "1500"),
                ("GET k", "8"),
            ],
        );
        assert_eq!(world.changes(), 9);
        assert_eq!(world.events()[..3], ["new k", "set k", "expire k"]);
        world.replayed_equals();
    }

    #[test]
    fn msetex_sets_all_or_none() {
        let mut world = world();
        let numkeys = "-ERR invalid numkeys value";
        let pairs = "-ERR wrong number of key-value pairs";
        shows(
            &mut world,
            &[
                ("MSETEX 2 a 1 b 2", "1"),
                ("MSETEX 2 a 3 c 3 NX", "0"),
                ("MSETEX 2 a 3 c 3 XX", "0"),
                ("MSETEX 2 a 3 b 4 EX 10 XX", "1"),
                ("MSETEX 1 a 5 KEEPTTL", "1"),
                ("MGET a b c", "[5, 4, nil]"),
                ("TTL a", "10"),
                ("MSETEX 1 a 5", "1"),
                ("TTL a", "-1"),
                ("MSETEX x a 1", numkeys),
                ("MSETEX 0 a 1", numkeys),
                ("MSETEX 2147483648 a 1", numkeys),
                ("MSETEX 2 a 1", pairs),
                ("MSETEX 2 a 1 b", pairs),
                ("MSETEX 1 a 1 GET", SYNTAX),
                ("MSETEX 1 a 1 IFEQ a", SYNTAX),
                ("MSETEX 1 a 1 EX 0", "-ERR invalid expire time in 'msetex' command"),
            ],
        );
        assert_eq!(world.changes(), 6);
        assert_eq!(world.events()[..2], ["new a", "set a"]);
        world.replayed_equals();
    }

    #[test]
    fn set_refuses_what_redis_refuses() {
        let mut world = world();
        world.run("XADD s 1-1 f v");
        for options in
            ["NX XX", "KEEPTTL EX 10", "EX 10 KEEPTTL", "EX 10 PX 10", "EX", "FOO", "PERSIST"]
        {
            assert_eq!(world.show(&format!("SET k v {options}")), SYNTAX, "{options}");
        }
        let set = "-ERR invalid expire time in 'set' command";
        shows(
            &mut world,
            &[
                ("SET k v EX 0", set),
                ("SET k v PX -1", set),
                ("SET k v EX 9223372036854775", set),
                ("SET k v PX 9223372036854775807", set),
                ("SET k v EXAT 9223372036854775807", set),
                ("SETEX k 0 v", "-ERR invalid expire time in 'setex' command"),
                ("PSETEX k 0 v", "-ERR invalid expire time in 'psetex' command"),
                ("SET k v EX x", INTEGER),
                ("SET s v GET", WRONG_TYPE),
                ("GETSET s v", WRONG_TYPE),
                ("GET s", WRONG_TYPE),
                ("GETDEL s", WRONG_TYPE),
                ("GETEX s", WRONG_TYPE),
                ("INCR s", WRONG_TYPE),
                ("APPEND s x", WRONG_TYPE),
                ("STRLEN s", WRONG_TYPE),
                ("MGET s k", "[nil, nil]"),
                ("SET s v", "OK"),
                ("TYPE s", "string"),
            ],
        );
        world.replayed_equals();
    }

    #[test]
    fn getex_and_getdel_answer_the_string_before() {
        let mut world = world();
        world.run("MSET k v l w");
        world.events();
        world.changes();
        shows(
            &mut world,
            &[
                ("GETEX nosuch EX 0", "nil"),
                ("GETEX k EX 0", "-ERR invalid expire time in 'getex' command"),
                ("GETEX k EX x", INTEGER),
                ("GETEX k PERSIST EX 1", SYNTAX),
                ("GETEX k EX 1 PERSIST", SYNTAX),
                ("GETEX k KEEPTTL", SYNTAX),
                ("GETEX k PERSIST", "v"),
                ("GETEX k EX 10", "v"),
                ("TTL k", "10"),
                ("GETEX k PERSIST", "v"),
                ("GETEX k EXAT 1", "v"),
                ("GETDEL k", "nil"),
                ("GETDEL l", "w"),
            ],
        );
        assert_eq!(world.events(), ["expire k", "persist k", "del k", "del l"]);
        assert_eq!(world.changes(), 4);
        world.replayed_equals();
    }

    #[test]
    fn numbers_and_lengths_change_in_place() {
        let mut world = world();
        world.run("SET k 9 EX 10");
        world.changes();
        world.events();
        shows(
            &mut world,
            &[
                ("INCR k", "10"),
                ("DECRBY k 20", "-10"),
                ("DECR new", "-1"),
                ("APPEND k 5", "4"),
                ("INCRBY k 5", "-100"),
                ("STRLEN k", "4"),
                ("STRLEN nosuch", "0"),
                ("TTL k", "10"),
                ("INCRBY k x", INTEGER),
                ("DECRBY k -9223372036854775808", "-ERR decrement would overflow"),
                ("DECRBY k 9223372036854775807", "-ERR increment or decrement would overflow"),
                ("APPEND k x", "5"),
                ("INCR k", INTEGER),
                ("MSETNX a 1 k 2", "0"),
                ("MSETNX a 1 b 2", "1"),
                ("MGET a b c", "[1, 2, nil]"),
                ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
                ("MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command"),
            ],
        );
        assert_eq!(world.changes(), 8);
        assert_eq!(world.events()[..4], ["incrby k", "incrby k", "new new", "incrby new"]);
        world.replayed_equals();
    }
}
