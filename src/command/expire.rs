//! When keys expire: EXPIRE and its three forms, TTL and its three, PERSIST; and the reading of
//! times, which `strings.rs` shares.

use super::args::{Request, is_word};
use super::keys::remove;
use super::reply::Out;
use super::{KeyCommand, Ran};
use crate::config::NotifyFlags;
use crate::error::CommandError;
use crate::keyspace::Txn;
use crate::stream::UnixMs;

/// A point in time as commands name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// How much; it may be below zero.
    pub amount: i64,
    /// Whether in seconds, not milliseconds.
    pub seconds: bool,
    /// Whether from now on, not since 1970.
    pub relative: bool,
}

impl Deadline {
    /// The Unix time in milliseconds, which may be below zero; `None` if it does not fit.
    pub fn unix_ms(self, now: UnixMs) -> Option<i64> {
        let ms = if self.seconds { self.amount.checked_mul(1000)? } else { self.amount };
        if self.relative { ms.checked_add_unsigned(now.0) } else { Some(ms) }
    }
}

/// The refusal of a point in time; `command` in lower case.
pub(super) fn invalid_expire_time(command: &str) -> CommandError {
    CommandError::composed(format!("ERR invalid expire time in '{command}' command"))
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`, `PEXPIRE key milliseconds …`,
/// `EXPIREAT key unix-time-seconds …`, `PEXPIREAT key unix-time-milliseconds …`
///
/// Answers 1, or 0 if there is no key or the condition does not hold. A time that is over removes
/// the key: event `del`; otherwise event `expire`; one change. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Expire<'a> {
    command: &'static str,
    key: &'a [u8],
    at: Deadline,
    condition: Condition,
}

/// What must hold for an expiry to be set; all that is `true`. No expiry counts as never.
#[derive(Debug, Clone, Copy, Default)]
struct Condition {
    none_before: bool,
    some_before: bool,
    later: bool,
    earlier: bool,
}

impl<'a> KeyCommand<'a> for Expire<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        const FORMS: [(&str, bool, bool); 4] = [
            ("expire", true, true),
            ("pexpire", false, true),
            ("expireat", true, false),
            ("pexpireat", false, false),
        ];
        let form = FORMS.iter().find(|(command, ..)| is_word(request.arg(0), command));
        let &(command, seconds, relative) = form.unwrap_or(&FORMS[0]);
        let condition = Condition::parse(request)?;
        let amount = request.args(2).integer()?;
        let at = Deadline { amount, seconds, relative };
        Ok(Expire { command, key: request.arg(1), at, condition })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let Some(at) = self.at.unix_ms(txn.now) else {
            return Err(invalid_expire_time(self.command));
        };
        // A time before 1970 is as over as 1970 itself.
        let at = UnixMs(at.try_into().unwrap_or_default());
        let mut key = txn.key(self.key);
        let set = key.exists() && self.condition.holds(txn.expiry(&key), at);
        if set && at <= txn.now {
            remove(txn, &mut key);
        } else if set {
            txn.set_expiry(&mut key, Some(at));
            txn.event(NotifyFlags::GENERIC, "expire", &key);
            txn.count_changes(1);
        }
        out.integer(i64::from(set));
        Ok(Ran::Replied)
    }
}

impl Condition {
    fn parse(request: &Request<'_>) -> Result<Self, CommandError> {
        let mut condition = Condition::default();
        for word in request.from(3) {
            let met = match word.to_ascii_uppercase().as_slice() {
                b"NX" => &mut condition.none_before,
                b"XX" => &mut condition.some_before,
                b"GT" => &mut condition.later,
                b"LT" => &mut condition.earlier,
                _ => {
                    return Err(CommandError::quoting("ERR Unsupported option {}", &[word]));
                }
            };
            *met = true;
        }
        let Condition { none_before, some_before, later, earlier } = condition;
        if none_before && (some_before || later || earlier) {
            return Err(CommandError::Fixed(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if later && earlier {
            return Err(CommandError::Fixed(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(condition)
    }

    fn holds(self, before: Option<UnixMs>, at: UnixMs) -> bool {
        (!self.none_before || before.is_none())
            && (!self.some_before || before.is_some())
            && (!self.later || before.is_some_and(|before| at > before))
            && (!self.earlier || before.is_none_or(|before| at < before))
    }
}

/// `TTL key`, `PTTL key`, `EXPIRETIME key`, `PEXPIRETIME key`
///
/// Answers when the key expires: -1 if never, -2 if there is no key. Seconds are rounded. Redis
/// 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Ttl<'a> {
    key: &'a [u8],
    seconds: bool,
    relative: bool,
}

impl<'a> KeyCommand<'a> for Ttl<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let name = request.arg(0);
        let seconds = is_word(name, "TTL") || is_word(name, "EXPIRETIME");
        let relative = is_word(name, "TTL") || is_word(name, "PTTL");
        Ok(Ttl { key: request.arg(1), seconds, relative })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.ask(self.key);
        match txn.expiry(&key) {
            Some(at) => {
                let ms = if self.relative { at.since(txn.now) } else { at.0 };
                out.unsigned(if self.seconds { ms.saturating_add(500) / 1000 } else { ms });
            }
            None if key.exists() => out.integer(-1),
            None => out.integer(-2),
        }
        Ok(Ran::Replied)
    }
}

/// `PERSIST key`
///
/// Takes the expiry away. Answers 1, or 0 if there is no key or it does not expire. Event
/// `persist`; one change. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Persist<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for Persist<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Persist { key: request.arg(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let persists = txn.expiry(&key).is_some();
        if persists {
            txn.set_expiry(&mut key, None);
            txn.event(NotifyFlags::GENERIC, "persist", &key);
            txn.count_changes(1);
        }
        out.integer(i64::from(persists));
        Ok(Ran::Replied)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::world;

    #[test]
    fn expire_and_ttl_agree_in_all_forms() {
        let mut world = world();
        world.run("SET k v");
        assert_eq!((world.show("TTL k"), world.show("PTTL nosuch")), ("-1".into(), "-2".into()));
        for (command, ttl, pttl, at, pat) in [
            ("EXPIRE k 10", "10", "10000", "11", "11000"),
            ("PEXPIRE k 1499", "1", "1499", "2", "2499"),
            ("expireat k 3", "2", "2000", "3", "3000"),
            ("PExpireAt k 2500", "2", "1500", "3", "2500"),
        ] {
            assert_eq!(world.show(command), "1");
            assert_eq!(world.show("TTL k"), ttl);
            assert_eq!(world.show("PTTL k"), pttl);
            assert_eq!(world.show("EXPIRETIME k"), at);
            assert_eq!(world.show("PEXPIRETIME k"), pat);
        }
        assert_eq!(world.show("PERSIST k"), "1");
        assert_eq!(world.show("PERSIST k"), "0");
        assert_eq!(world.changes(), 6);
        assert_eq!(world.events()[5..], ["expire k", "persist k"]);
        world.replayed_equals();
    }

    #[test]
    fn conditions_compare_with_the_expiry_before() {
        let mut world = world();
        world.run("SET k v");
        for (command, answer) in [
            ("EXPIRE k 10 XX", "0"),
            ("EXPIRE k 10 GT", "0"),
            ("EXPIRE k 10 XX LT", "0"),
            ("EXPIRE k 10 LT", "1"),
            ("EXPIRE k 5 NX", "0"),
            ("EXPIRE k 10 GT", "0"),
            ("EXPIRE k 11 xx gt", "1"),
            ("EXPIRE k 11 LT", "0"),
            ("EXPIRE nosuch 11", "0"),
            ("EXPIRE k -1 GT", "0"),
            ("EXPIRE k -1 LT", "1"),
            ("EXISTS k", "0"),
        ] {
            assert_eq!(world.show(command), answer, "{command}");
        }
        assert_eq!(world.events().last().unwrap(), "del k");
        world.replayed_equals();
    }

    #[test]
    fn options_are_refused_before_the_time_and_the_time_before_the_key() {
        let mut world = world();
        let incompatible = "-ERR NX and XX, GT or LT options at the same time are not compatible";
        for (command, refusal) in [
            ("EXPIRE k x FOO", "-ERR Unsupported option FOO"),
            ("EXPIRE k x NX GT", incompatible),
            ("EXPIRE k x GT LT", "-ERR GT and LT options at the same time are not compatible"),
            ("EXPIRE k x", "-ERR value is not an integer or out of range"),
            ("EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
            ("PEXPIRE k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command"),
            ("EXPIREAT k -9223372036854775808", "-ERR invalid expire time in 'expireat' command"),
            ("PEXPIREAT k 9223372036854775807", "0"),
        ] {
            assert_eq!(world.show(command), refusal, "{command}");
        }
    }

    #[test]
    fn a_key_whose_time_is_over_goes_when_it_is_looked_up() {
        let mut world = world();
        world.run("SET k v PX 10");
        world.events();
        world.now.0 += 10;
        assert_eq!(world.show("DBSIZE"), "1");
        assert_eq!(world.show("TTL k"), "-2");
        assert_eq!(world.show("DBSIZE"), "0");
        assert_eq!(world.events(), ["expired k"]);
        world.replayed_equals();
    }
}
