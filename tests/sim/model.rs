//! The naive model: what Redis's documentation says each command does, over `BTreeMap`s and
//! `Vec`s, linear where that is simplest. It shares nothing with the product.

mod claim;
mod dump;
mod group;
mod info;
mod keys;
mod read;
mod readgroup;
mod stream;
mod waiters;
mod words;
mod write;

pub(crate) use dump::{dump_image, dump_string};
pub(crate) use stream::{Group, Stream};

use crate::reply::Reply;
use crate::workload::{DATABASES, Hand, split_db};
use std::collections::{BTreeMap, BTreeSet};
use waiters::Waiter;

pub(crate) type Bytes = Vec<u8>;
/// An entry ID: milliseconds, sequence number.
pub(crate) type Id = (u64, u64);
/// A reply, or the text of a refusal.
pub(crate) type Answer = Result<Reply, String>;

pub(crate) const ID_MAX: Id = (u64::MAX, u64::MAX);
pub(crate) const WRONG_TYPE: &str =
    "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(crate) const NO_KEY: &str = "ERR no such key";
pub(crate) const SYNTAX: &str = "ERR syntax error";

/// A key's value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Stream(Stream),
    String(Bytes),
}

/// What a key holds.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) value: Value,
    pub(crate) expire_at: Option<u64>,
}

/// The whole state, and the clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    /// Entries of a block.
    pub(crate) block_entries: u64,
    /// The database that commands are for now.
    db: u8,
    /// Its keys.
    keys: BTreeMap<Bytes, Held>,
    /// Those of the others.
    others: BTreeMap<u8, BTreeMap<Bytes, Held>>,
    /// The shards whose keys a blocked call may see now; `None` is all.
    pub(crate) in_hand: Option<Hand>,
    /// Whether RESP3 is spoken, which MAXSIZE can tell.
    pub(crate) resp3: bool,
    /// Whether the answers are Valkey's where it contradicts Redis.
    pub(crate) valkey: bool,
    waiters: Vec<Waiter>,
    retries: BTreeSet<(u64, u8, Bytes)>,
    signals: Vec<(u8, Bytes)>,
}

/// Number of arguments, the name included; below zero: at least.
const ARITIES: [(&str, i32); 42] = [
    ("xack", -4),
    ("xackdel", -6),
    ("xadd", -5),
    ("xautoclaim", -6),
    ("xcfgset", -2),
    ("xclaim", -6),
    ("xdel", -3),
    ("xdelex", -5),
    ("xgroup|create", -5),
    ("xgroup|createconsumer", 5),
    ("xgroup|delconsumer", 5),
    ("xgroup|destroy", 4),
    ("xgroup|setid", -5),
    ("xidmprecord", 5),
    ("xinfo|consumers", 4),
    ("xinfo|groups", 3),
    ("xinfo|stream", -3),
    ("xlen", 2),
    ("xnack", -7),
    ("xpending", -3),
    ("xrange", -4),
    ("xrevrange", -4),
    ("xread", -4),
    ("xreadgroup", -7),
    ("xsetid", -3),
    ("xtrim", -4),
    ("del", -2),
    ("exists", -2),
    ("type", 2),
    ("rename", 3),
    ("copy", -3),
    ("pexpire", -3),
    ("pttl", 2),
    ("persist", 2),
    ("set", -3),
    ("get", 2),
    ("incr", 2),
    ("flushall", -1),
    ("flushdb", -1),
    ("move", 3),
    ("swapdb", 3),
    ("restore-dump-of", 3),
];

impl Model {
    pub(crate) fn new(block_entries: u64, resp3: bool, valkey: bool) -> Self {
        Model { block_entries, resp3, valkey, ..Model::default() }
    }

    /// Goes to a database.
    fn select(&mut self, db: u8) {
        if db != self.db {
            let keys = self.others.remove(&db).unwrap_or_default();
            let before = std::mem::replace(&mut self.keys, keys);
            self.others.insert(std::mem::replace(&mut self.db, db), before);
        }
    }

    /// The keys of a database.
    pub(crate) fn keys_of(&self, db: u8) -> Option<&BTreeMap<Bytes, Held>> {
        if db == self.db { Some(&self.keys) } else { self.others.get(&db) }
    }

    /// Runs a command in the database that its first word may name; the refusal is part of the
    /// reply.
    pub(crate) fn run(&mut self, words: &[Bytes]) -> Reply {
        let (db, words) = split_db(words);
        self.select(db);
        self.answer(words).unwrap_or_else(Reply::Error)
    }

    fn answer(&mut self, words: &[Bytes]) -> Answer {
        let name = full_name(words)?;
        let arity = ARITIES.iter().find(|(known, _)| *known == name).map(|(_, arity)| *arity);
        let given = i32::try_from(words.len()).unwrap();
        if !arity.is_some_and(|n| if n < 0 { given >= -n } else { given == n }) {
            return Err(format!("ERR wrong number of arguments for '{name}' command"));
        }
        match name.as_str() {
            "xack" => self.xack(words),
            "xackdel" => self.xackdel(words),
            "xadd" => self.xadd(words),
            "xautoclaim" => self.xautoclaim(words),
            "xcfgset" => self.xcfgset(words),
            "xclaim" => self.xclaim(words),
            "xdel" => self.xdel(words),
            "xdelex" => self.xdelex(words),
            "xgroup|create" => self.xgroup_create(words),
            "xgroup|createconsumer" => self.xgroup_createconsumer(words),
            "xgroup|delconsumer" => self.xgroup_delconsumer(words),
            "xgroup|destroy" => self.xgroup_destroy(words),
            "xgroup|setid" => self.xgroup_setid(words),
            "xidmprecord" => self.xidmprecord(words),
            "xinfo|consumers" => self.xinfo_consumers(words),
            "xinfo|groups" => self.xinfo_groups(words),
            "xinfo|stream" => self.xinfo_stream(words),
            "xlen" => self.xlen(words),
            "xnack" => self.xnack(words),
            "xpending" => self.xpending(words),
            "xrange" => self.xrange(words, false),
            "xrevrange" => self.xrange(words, true),
            "xread" => self.xread(words),
            "xreadgroup" => self.xreadgroup(words),
            "xsetid" => self.xsetid(words),
            "xtrim" => self.xtrim(words),
            _ => self.answer_any_type(&name, words),
        }
    }

    /// Removes the key if its time is over.
    fn expire(&mut self, key: &[u8]) {
        let at = self.keys.get(key).and_then(|held| held.expire_at);
        if at.is_some_and(|at| at <= self.now) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Held> {
        let held = self.keys.remove(key)?;
        self.signal(key);
        Some(held)
    }

    /// Removes the keys among these whose time is over.
    pub(crate) fn expire_due(&mut self, mine: impl Fn(&[u8]) -> bool) {
        for db in 0..DATABASES {
            self.select(db);
            let held = self.keys.iter().filter(|(key, _)| mine(key));
            let due = held.filter_map(|(key, held)| Some((held.expire_at?, key.clone())));
            let mut due: Vec<(u64, Bytes)> = due.collect();
            due.sort();
            due.iter().for_each(|(_, key)| self.expire(key));
        }
    }

    /// The stream of a key.
    fn stream(&mut self, key: &[u8]) -> Result<Option<&mut Stream>, String> {
        self.expire(key);
        match self.keys.get_mut(key).map(|held| &mut held.value) {
            None => Ok(None),
            Some(Value::Stream(stream)) => Ok(Some(stream)),
            Some(Value::String(_)) => Err(WRONG_TYPE.into()),
        }
    }

    /// The stream of a key, begun if there is none.
    fn stream_or_new(&mut self, key: &[u8]) -> &mut Stream {
        let fresh = || Held { value: Value::Stream(Stream::new()), expire_at: None };
        match &mut self.keys.entry(key.to_vec()).or_insert_with(fresh).value {
            Value::Stream(stream) => stream,
            Value::String(_) => unreachable!("the type was checked"),
        }
    }

    /// The group of a key; `None` if either is missing.
    fn group(&mut self, key: &[u8], group: &[u8]) -> Result<Option<&mut Group>, String> {
        Ok(self.stream(key)?.and_then(|stream| stream.groups.get_mut(group)))
    }

    fn signal(&mut self, key: &[u8]) {
        self.signals.push((self.db, key.to_vec()));
    }
}

/// The name in lower case, with that of the subcommand.
fn full_name(words: &[Bytes]) -> Result<String, String> {
    let lower = |word: &Bytes| String::from_utf8_lossy(word).to_lowercase();
    let name = lower(&words[0]);
    if name != "xgroup" && name != "xinfo" {
        return Ok(name);
    }
    let Some(sub) = words.get(1) else {
        return Err(format!("ERR wrong number of arguments for '{name}' command"));
    };
    let full = format!("{name}|{}", lower(sub));
    if ARITIES.iter().any(|(known, _)| *known == full) {
        return Ok(full);
    }
    let sub = String::from_utf8_lossy(sub);
    Err(format!("ERR unknown subcommand '{sub}'. Try {} HELP.", name.to_uppercase()))
}
