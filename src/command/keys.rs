//! Commands about keys of any type: whether they exist, what they hold, removing, renaming,
//! copying, DUMP and RESTORE.
//!
//! Expiry is in `expire.rs`, what concerns a whole database in `scan.rs`, and OBJECT and MEMORY
//! USAGE in `object.rs`.

use super::args::{Args, Request, integer, is_word};
use super::reply::Out;
use super::{KeyCommand, Ran};
use crate::config::NotifyFlags;
use crate::error::CommandError;
use crate::keyspace::{Key, Txn, Value};
use crate::rdb::{self, Object};
use crate::stream::UnixMs;

/// `DEL key [key ...]`, `UNLINK key [key ...]`
///
/// Removes keys and answers how many there were. What is large is freed on another thread either
/// way. Event `del` and one change for each. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Del<'a> {
    keys: Args<'a>,
}

impl<'a> KeyCommand<'a> for Del<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Del { keys: request.args(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut removed = 0;
        for name in self.keys {
            let mut key = txn.peek(name);
            if key.exists() {
                remove(txn, &mut key);
                removed += 1;
            }
        }
        out.count(removed);
        Ok(Ran::Replied)
    }
}

/// Removes a key that exists: event `del`, one change.
pub(super) fn remove(txn: &mut Txn<'_, '_>, key: &mut Key<'_>) {
    txn.remove(key);
    txn.event(NotifyFlags::GENERIC, "del", key);
    txn.count_changes(1);
}

/// `EXISTS key [key ...]`
///
/// Answers how many of the keys exist; one that is named twice counts twice. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Exists<'a> {
    keys: Args<'a>,
}

impl<'a> KeyCommand<'a> for Exists<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Exists { keys: request.args(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut keys = self.keys;
        out.count(keys.by_ref().filter(|name| txn.ask(name).exists()).count());
        Ok(Ran::Replied)
    }
}

/// `TOUCH key [key ...]`
///
/// Marks keys as used and answers as EXISTS. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Touch<'a> {
    keys: Args<'a>,
}

impl<'a> KeyCommand<'a> for Touch<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Touch { keys: request.args(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        // Redis: it is the purpose of the command, so CLIENT NO-TOUCH does not hold here.
        let no_touch = std::mem::replace(&mut txn.no_touch, false);
        let mut keys = self.keys;
        out.count(keys.by_ref().filter(|name| txn.read(name).exists()).count());
        txn.no_touch = no_touch;
        Ok(Ran::Replied)
    }
}

/// `TYPE key`
///
/// Answers `stream`, `string`, or `none` as a simple string. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Type<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for Type<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Type { key: request.arg(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.ask(self.key);
        out.simple(txn.value(&key).map_or("none", Value::type_name));
        Ok(Ran::Replied)
    }
}

/// `RENAME key newkey`, `RENAMENX key newkey`
///
/// Moves the value and its expiry. RENAME replaces what the new name held and answers `OK`;
/// RENAMENX answers 1, or 0 if the new name is taken. Events `new`, `rename_from`, `rename_to`, and
/// `overwritten` and `type_changed` if that is so; one change. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Rename<'a> {
    from: &'a [u8],
    to: &'a [u8],
    /// Only if the new name is free.
    if_free: bool,
}

impl<'a> KeyCommand<'a> for Rename<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let if_free = is_word(request.arg(0), "RENAMENX");
        Ok(Rename { from: request.arg(1), to: request.arg(2), if_free })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut from = txn.key(self.from);
        if !from.exists() {
            return Err(CommandError::NoSuchKey);
        }
        let mut free = false;
        if self.from != self.to {
            let mut to = txn.key(self.to);
            free = !to.exists();
            if free || !self.if_free {
                let before = txn.value(&to).map(Value::type_name);
                txn.rename(&mut from, &mut to);
                // Redis: the old value is deleted first, so the key is new in either case.
                txn.event(NotifyFlags::NEW, "new", &to);
                txn.event(NotifyFlags::GENERIC, "rename_from", &from);
                txn.event(NotifyFlags::GENERIC, "rename_to", &to);
                if let Some(before) = before {
                    txn.event_overwritten(&to, before);
                }
                txn.count_changes(1);
            }
        }
        if self.if_free {
            out.integer(i64::from(free));
        } else {
            out.ok();
        }
        Ok(Ran::Replied)
    }
}

/// `COPY source destination [DB destination-db] [REPLACE]`
///
/// Copies the value, with groups, pending entries, producers, and expiry. Answers 1, or 0 if there
/// is no source or the destination is taken. Events `new`, `copy_to`, and `overwritten` and
/// `type_changed` if that is so; one change. **Cost**: O(1) for a stream. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    from: &'a [u8],
    to: &'a [u8],
    /// The database of the destination, if it is named.
    db: Option<u8>,
    replace: bool,
}

impl<'a> KeyCommand<'a> for Copy<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let mut copy = Copy { from: request.arg(1), to: request.arg(2), db: None, replace: false };
        let mut args = request.args(3);
        while args.remaining() > 0 {
            if args.take_word("REPLACE") {
                copy.replace = true;
            } else if args.remaining() > 1 && args.take_word("DB") {
                copy.db = Some(database(args.required()?)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(copy)
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let db = self.db.unwrap_or(txn.db);
        check_database(db, txn.rules.databases)?;
        if db == txn.db && self.from == self.to {
            return Err(SAME_OBJECT);
        }
        let mut from = txn.read(self.from);
        let mut to = txn.key_in(db, self.to);
        let copied = from.exists() && (self.replace || !to.exists());
        if copied {
            let before = txn.value(&to).map(Value::type_name);
            txn.copy(&mut from, &mut to);
            txn.event(NotifyFlags::NEW, "new", &to);
            txn.event(NotifyFlags::GENERIC, "copy_to", &to);
            if let Some(before) = before {
                txn.event_overwritten(&to, before);
            }
            txn.count_changes(1);
        }
        out.integer(i64::from(copied));
        Ok(Ran::Replied)
    }
}

/// `MOVE key db`
///
/// Moves a key to another database. Answers 1, or 0 if it does not exist or exists there already.
/// Events `new`, `move_from`, `move_to`; one change. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Move<'a> {
    key: &'a [u8],
    db: u8,
}

impl<'a> KeyCommand<'a> for Move<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Move { key: request.arg(1), db: database(request.arg(2))? })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        check_database(self.db, txn.rules.databases)?;
        if self.db == txn.db {
            return Err(SAME_OBJECT);
        }
        let mut from = txn.key(self.key);
        let mut to = txn.key_in(self.db, self.key);
        let moved = from.exists() && !to.exists();
        if moved {
            txn.rename(&mut from, &mut to);
            txn.event(NotifyFlags::NEW, "new", &to);
            txn.event(NotifyFlags::GENERIC, "move_from", &from);
            txn.event(NotifyFlags::GENERIC, "move_to", &to);
            txn.count_changes(1);
        }
        out.integer(i64::from(moved));
        Ok(Ran::Replied)
    }
}

const SAME_OBJECT: CommandError =
    CommandError::Fixed("ERR source and destination objects are the same");

const NO_DATABASE: CommandError = CommandError::Fixed("ERR DB index is out of range");

/// The number of a database; the settings may allow fewer ([`check_database`]).
///
/// # Errors
/// Not a number, not one of 32 bits, not a database.
pub fn database(text: &[u8]) -> Result<u8, CommandError> {
    let Ok(number) = i32::try_from(integer(text)?) else {
        return Err(CommandError::Fixed(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    };
    database_of(number)
}

/// The database of a number.
///
/// # Errors
/// There is none, whatever the settings are.
pub(super) fn database_of(number: i32) -> Result<u8, CommandError> {
    let db = u8::try_from(number).map_err(|_| NO_DATABASE)?;
    check_database(db, crate::keyspace::DATABASES)
}

/// The database, if it is one of so many.
///
/// # Errors
/// It is not.
pub fn check_database(db: u8, databases: u8) -> Result<u8, CommandError> {
    if db < databases { Ok(db) } else { Err(NO_DATABASE) }
}

/// `DUMP key`
///
/// Answers the value in a form that RESTORE reads, here and in Redis, or null. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Dump<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for Dump<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Dump { key: request.arg(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
        let object = match txn.value(&key) {
            Some(Value::Stream(stream)) => Object::Stream(stream.to_image()),
            Some(Value::String(string)) => Object::Str(string.to_vec()),
            None => {
                out.null();
                return Ok(Ran::Replied);
            }
        };
        out.bulk(&rdb::dump(&object)?);
        Ok(Ran::Replied)
    }
}

/// `RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`
///
/// Creates a key from what DUMP answered; the payload is checked whole before anything changes.
/// Answers `OK`. A time to live of 0 is none; if it is over already there is no key afterwards.
/// Events `new`, `restore`, and `overwritten` and `type_changed` if that is so; one change.
/// FREQ is checked and has no effect, for keys are not evicted by use. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Restore<'a> {
    key: &'a [u8],
    /// Not read before it is known that the key may be created.
    ttl: &'a [u8],
    payload: &'a [u8],
    replace: bool,
    /// The time to live is a Unix time.
    absolute: bool,
    idle_s: Option<u64>,
}

impl<'a> KeyCommand<'a> for Restore<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let mut restore = Restore {
            key: request.arg(1),
            ttl: request.arg(2),
            payload: request.arg(3),
            replace: false,
            absolute: false,
            idle_s: None,
        };
        let mut frequency = None;
        let mut args = request.args(4);
        while args.remaining() > 0 {
            if args.take_word("REPLACE") {
                restore.replace = true;
            } else if args.take_word("ABSTTL") {
                restore.absolute = true;
            } else if args.remaining() > 1 && frequency.is_none() && args.take_word("IDLETIME") {
                let idle_s = u64::try_from(args.integer()?)
                    .map_err(|_| CommandError::Fixed("ERR Invalid IDLETIME value, must be >= 0"))?;
                restore.idle_s = Some(idle_s);
            } else if args.remaining() > 1 && restore.idle_s.is_none() && args.take_word("FREQ") {
                frequency = Some(u8::try_from(args.integer()?).map_err(|_| {
                    CommandError::Fixed("ERR Invalid FREQ value, must be >= 0 and <= 255")
                })?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(restore)
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        if key.exists() && !self.replace {
            return Err(CommandError::BusyKey);
        }
        let expire_at = self.expire_at(txn.now)?;
        let object = rdb::restore(self.payload)?;
        if expire_at.is_some_and(|at| at <= txn.now) {
            if key.exists() {
                remove(txn, &mut key);
            }
            txn.count_expired(&key);
        } else {
            let before = txn.value(&key).map(Value::type_name);
            match &object {
                Object::Stream(image) => txn.put(&mut key, image, expire_at),
                Object::Str(string) => txn.put_string(&mut key, string, expire_at),
            }
            let idle_ms = self.idle_s.unwrap_or_default().saturating_mul(1000);
            txn.set_accessed(&key, UnixMs(txn.now.0.saturating_sub(idle_ms)));
            txn.event(NotifyFlags::NEW, "new", &key);
            txn.event(NotifyFlags::GENERIC, "restore", &key);
            if let Some(before) = before {
                txn.event_overwritten(&key, before);
            }
            txn.count_changes(1);
        }
        out.ok();
        Ok(Ran::Replied)
    }
}

impl Restore<'_> {
    /// When the key is to expire.
    fn expire_at(&self, now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
        const INVALID: CommandError = CommandError::Fixed("ERR Invalid TTL value, must be >= 0");
        let ttl = u64::try_from(integer(self.ttl)?).map_err(|_| INVALID)?;
        let at = if self.absolute { ttl } else { now.0.saturating_add(ttl) };
        Ok((ttl > 0).then_some(UnixMs(at)))
    }
}

#[cfg(test)]
mod tests;
