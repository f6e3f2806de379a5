//! Commands about whole databases: KEYS, SCAN, RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL, SWAPDB. They
//! run with the keyspaces of all shards in hand, in the order of the shards.
//!
//! Reading skips keys whose time is over; they stay until they are looked up or their turn comes.
//!
//! A cursor of SCAN is `place * shards + shard`: keys never move in their slab, so whatever exists
//! during the whole scan is met, once for each key. Shards are scanned one after the other.

use super::args::{Request, is_word};
use super::keys::{check_database, database_of};
use super::reply::Out;
use super::{KeyCommand, Ran};
use crate::error::CommandError;
use crate::glob;
use crate::keyspace::{Slot, Txn};
use crate::stream::UnixMs;
use crate::stream::id::parse_u64;

/// Whether the key of a slot still exists.
fn lives(slot: &Slot, now: UnixMs) -> bool {
    slot.expire_at().is_none_or(|at| at > now)
}

/// Whether a key matches a pattern; `*` is all keys, and so the empty one, too.
fn matches(pattern: &[u8], slot: &Slot) -> bool {
    pattern == b"*" || glob::matches(pattern, &slot.key, false)
}

/// `KEYS pattern`
///
/// Answers all keys of the database that match, in no particular order. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    pattern: &'a [u8],
}

impl<'a> KeyCommand<'a> for Keys<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(Keys { pattern: request.arg(1) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let databases = txn.spaces().iter().map(|space| space.database(txn.db));
        let deferred = out.begin_array(databases.clone().map(|database| database.len()).sum());
        let mut found = 0;
        for (_, slot) in databases.flat_map(|database| database.slots_from(0)) {
            if lives(slot, txn.now) && matches(self.pattern, slot) {
                out.bulk(&slot.key);
                found += 1;
            }
        }
        out.end_array(deferred, found);
        Ok(Ran::Replied)
    }
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
///
/// Answers the cursor of the next call, as a bulk string, and an array of keys. A scan begins and
/// ends with cursor 0; every key that exists all the while is answered at least once. Redis 8.10.
///
/// **Cost**: a call meets at most COUNT keys (10 by default), and at most ten times as many places.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    cursor: u64,
    pattern: Option<&'a [u8]>,
    count: usize,
    type_name: Option<&'a [u8]>,
}

impl<'a> KeyCommand<'a> for Scan<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let cursor = parse_u64(request.arg(1)).ok_or(CommandError::Fixed("ERR invalid cursor"))?;
        let mut scan = Scan { cursor, pattern: None, count: 10, type_name: None };
        let mut args = request.args(2);
        while args.remaining() > 0 {
            if args.remaining() == 1 {
                return Err(CommandError::Syntax);
            } else if args.take_word("MATCH") {
                scan.pattern = args.next();
            } else if args.take_word("TYPE") {
                scan.type_name = args.next();
            } else if args.take_word("COUNT") {
                let count = args.integer()?;
                if count < 1 {
                    return Err(CommandError::Syntax);
                }
                scan.count = usize::try_from(count).unwrap_or(usize::MAX);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(scan)
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        if let Some(name) = self.type_name
            && txn.rules.valkey
            && !TYPES.iter().any(|known| is_word(name, known))
        {
            return Err(CommandError::quoting("ERR unknown type name '{}'", &[name]));
        }
        let (cursor, slots) = self.portion(txn);
        out.array(2);
        out.bulk_number(cursor);
        let deferred = out.begin_array(slots.len());
        let mut found = 0;
        for slot in slots {
            if lives(slot, txn.now) && self.wants(slot) {
                out.bulk(&slot.key);
                found += 1;
            }
        }
        out.end_array(deferred, found);
        Ok(Ran::Replied)
    }
}

/// The names of Valkey's types.
const TYPES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];

impl Scan<'_> {
    /// The slots of this call, and the cursor of the next.
    fn portion<'t>(&self, txn: &'t Txn<'_, '_>) -> (u64, Vec<&'t Slot>) {
        let shards = txn.spaces().iter().len() as u64;
        let mut start = usize::try_from(self.cursor / shards).unwrap_or(usize::MAX);
        let mut places_left = self.count.saturating_mul(10);
        let mut slots = Vec::new();
        for (shard, space) in (0..shards).zip(txn.spaces().iter()) {
            if shard < self.cursor % shards {
                continue;
            }
            let database = space.database(txn.db);
            for place in start..database.places() {
                if slots.len() == self.count || places_left == 0 {
                    return (place as u64 * shards + shard, slots);
                }
                places_left -= 1;
                slots.extend(database.get(place));
            }
            start = 0;
        }
        (0, slots)
    }

    fn wants(&self, slot: &Slot) -> bool {
        self.pattern.is_none_or(|pattern| matches(pattern, slot))
            && self.type_name.is_none_or(|name| is_word(name, slot.value.type_name()))
    }
}

/// `RANDOMKEY`
///
/// Answers some key, or null if the database has none. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct RandomKey {
    /// What decides which key; whoever wants chance puts it here.
    pub seed: u64,
}

impl<'a> KeyCommand<'a> for RandomKey {
    fn parse(_: &Request<'a>) -> Result<Self, CommandError> {
        Ok(RandomKey { seed: 0 })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let databases = txn.spaces().iter().map(|space| space.database(txn.db));
        let places = databases.clone().map(|database| database.places() as u64).sum::<u64>();
        let chosen = self.seed.checked_rem(places).unwrap_or_default();
        let mut skip = usize::try_from(chosen).unwrap_or_default();
        // From the chosen place to the end, then from the beginning.
        let behind = databases.clone().flat_map(|database| {
            let start = skip.min(database.places());
            skip -= start;
            database.slots_from(start)
        });
        let all = databases.flat_map(|database| database.slots_from(0));
        match behind.chain(all).find(|(_, slot)| lives(slot, txn.now)) {
            Some((_, slot)) => out.bulk(&slot.key),
            None => out.null(),
        }
        Ok(Ran::Replied)
    }
}

/// `DBSIZE`
///
/// Answers how many keys the database has, those included whose time is over but which are still
/// there. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct DbSize;

impl<'a> KeyCommand<'a> for DbSize {
    fn parse(_: &Request<'a>) -> Result<Self, CommandError> {
        Ok(DbSize)
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        out.count(txn.spaces().iter().map(|space| space.database(txn.db).len()).sum());
        Ok(Ran::Replied)
    }
}

/// `FLUSHALL [ASYNC | SYNC]`, `FLUSHDB [ASYNC | SYNC]`
///
/// Removes all keys, or those of the database; they are freed on another thread either way.
/// Answers `OK`. No event; one change for each key. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct Flush {
    all: bool,
}

impl<'a> KeyCommand<'a> for Flush {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let mut args = request.args(1);
        let _ = args.take_word("ASYNC") || args.take_word("SYNC");
        if args.remaining() > 0 {
            return Err(CommandError::Syntax);
        }
        Ok(Flush { all: is_word(request.arg(0), "FLUSHALL") })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let flushed = if self.all { 0..crate::keyspace::DATABASES } else { txn.db..txn.db + 1 };
        let spaces = txn.spaces().iter();
        let keys = spaces.flat_map(|space| flushed.clone().map(|db| space.database(db).len()));
        let keys = keys.sum::<usize>() as u64;
        txn.flush((!self.all).then_some(txn.db));
        txn.count_changes(keys);
        out.ok();
        Ok(Ran::Replied)
    }
}

/// `SWAPDB index1 index2`
///
/// Exchanges two databases for all clients. Answers `OK`; no event; one change. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct SwapDb {
    first: u8,
    second: u8,
}

impl<'a> KeyCommand<'a> for SwapDb {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let number = |at, refusal| {
            let number = request.args(at).integer().ok().and_then(|n| i32::try_from(n).ok());
            number.ok_or(CommandError::Fixed(refusal))
        };
        let first = number(1, "ERR invalid first DB index")?;
        let second = number(2, "ERR invalid second DB index")?;
        Ok(SwapDb { first: database_of(first)?, second: database_of(second)? })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        for db in [self.first, self.second] {
            check_database(db, txn.rules.databases)?;
        }
        if self.first != self.second {
            // A key whose time is over is none: who watches the name sees no change.
            txn.expire_due(usize::MAX);
            txn.swap_databases(self.first, self.second);
        }
        txn.count_changes(1);
        out.ok();
        Ok(Ran::Replied)
    }
}

#[cfg(test)]
mod tests;
