//! Commands about whole databases, also over several shards.

use super::super::testing::world;
use super::super::{OwnedRequest, Protocol};
use super::{Keys, RandomKey, Scan};
use crate::command::{self, KeyCommand, Out, table};
use crate::keyspace::{Keyspace, LogBuffer, Rules, SLOTS, Spaces, Txn};
use crate::stream::UnixMs;
use std::collections::BTreeSet;
use std::hash::RandomState;

/// Runs commands over four shards.
struct Shards(Vec<Keyspace>);

impl Shards {
    fn new() -> Self {
        let quarter = SLOTS / 4;
        let space = |n| Keyspace::new(n * quarter..(n + 1) * quarter, RandomState::new());
        Shards((0..4).map(space).collect())
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Txn<'_, '_>) -> T) -> T {
        let rules = Rules::default();
        let mut list: Vec<_> = self.0.iter_mut().collect();
        let (mut log, mut events) = (LogBuffer::new(0, false), Vec::new());
        let spaces = Spaces::new(&mut list);
        act(&mut Txn::new(spaces, &mut log, &mut events, &rules, UnixMs(1000)))
    }

    fn set(&mut self, name: &str) {
        self.with(|txn| {
            let mut key = txn.key(name.as_bytes());
            txn.set_string(&mut key, b"v", None);
        });
    }

    fn remove(&mut self, name: &str) {
        self.with(|txn| {
            let mut key = txn.key(name.as_bytes());
            txn.remove(&mut key);
        });
    }

    /// The reply to words between blanks.
    fn reply(&mut self, words: &str) -> String {
        let request = OwnedRequest::new(words.split(' ').map(str::as_bytes));
        let request = request.request();
        let name = table::lookup(&request).unwrap().name;
        let mut buffer = Vec::new();
        let mut out = Out::new(&mut buffer, Protocol::Resp2);
        if let Err(error) = self.with(|txn| command::run(name, &request, txn, &mut out)) {
            out.truncate(0);
            out.error(&error);
        }
        self.0.iter().for_each(Keyspace::check);
        String::from_utf8(buffer).unwrap()
    }

    /// The bulk strings of a command's reply.
    fn run<'a>(&mut self, command: &impl KeyCommand<'a>) -> Vec<String> {
        let mut buffer = Vec::new();
        self.with(|txn| command.run(txn, &mut Out::new(&mut buffer, Protocol::Resp2)).unwrap());
        let text = String::from_utf8(buffer).unwrap();
        let bulks = text.split("\r\n").filter(|line| !line.starts_with(['*', '$']));
        bulks.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

#[test]
fn a_scan_meets_whatever_exists_all_the_while() {
    let mut shards = Shards::new();
    let stays: BTreeSet<_> = (0..500).map(|n| format!("stays{n}")).collect();
    for (n, name) in stays.iter().enumerate() {
        shards.set(name);
        shards.set(&format!("goes{n}"));
    }
    let (mut met, mut cursor, mut calls) = (BTreeSet::new(), 0, 0);
    loop {
        let request = OwnedRequest::new([&b"SCAN"[..], cursor.to_string().as_bytes()]);
        let scan = Scan::parse(&request.request()).unwrap();
        let reply = shards.run(&scan);
        assert!(reply.len() <= 11);
        met.extend(reply[1..].iter().cloned());
        cursor = reply[0].parse().unwrap();
        if cursor == 0 {
            break;
        }
        // Places are freed and taken again while the scan goes on.
        shards.remove(&format!("goes{calls}"));
        shards.set(&format!("comes{calls}"));
        calls += 1;
    }
    assert!(stays.is_subset(&met));
    assert!(calls >= 99);
    assert_eq!(shards.run(&Keys { pattern: b"stays*" }).len(), 500);
}

#[test]
fn a_random_key_is_any_key_of_any_shard() {
    let mut shards = Shards::new();
    assert!(shards.run(&RandomKey { seed: 7 }).is_empty());
    let names: BTreeSet<_> = (0..100).map(|n| n.to_string()).collect();
    names.iter().for_each(|name| shards.set(name));
    let chosen: BTreeSet<_> = (0..600).flat_map(|seed| shards.run(&RandomKey { seed })).collect();
    assert_eq!(chosen, names);
}

#[test]
fn scan_and_keys_filter_and_skip_what_is_over() {
    let mut world = world();
    for command in ["XADD s:1 1-1 f v", "SET a:1 v", "SET a:2 v PX 5"] {
        world.run(command);
    }
    world.now.0 += 5;
    assert_eq!(world.show("SCAN 0 MATCH a* COUNT 100"), "[0, [a:1]]");
    assert_eq!(world.show("SCAN 0 TYPE STREAM"), "[0, [s:1]]");
    assert_eq!(world.show("SCAN 0 TYPE hash"), "[0, []]");
    assert_eq!(world.show("SCAN 18446744073709551615"), "[0, []]");
    assert_eq!(world.show("SCAN 0 COUNT 1"), "[1, [s:1]]");
    assert_eq!(world.show("KEYS a:*"), "[a:1]");
    for (command, refusal) in [
        ("SCAN x FOO", "-ERR invalid cursor"),
        ("SCAN -1", "-ERR invalid cursor"),
        ("SCAN 18446744073709551616", "-ERR invalid cursor"),
        ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range"),
        ("SCAN 0 COUNT 0", "-ERR syntax error"),
        ("SCAN 0 MATCH", "-ERR syntax error"),
        ("SCAN 0 FOO bar", "-ERR syntax error"),
    ] {
        assert_eq!(world.show(command), refusal, "{command}");
    }
    world.rules.valkey = true;
    assert_eq!(world.show("SCAN 0 TYPE foo"), "-ERR unknown type name 'foo'");
}

#[test]
fn flush_and_swap_concern_whole_databases() {
    let mut world = world();
    world.run("MSET a 1 b 2");
    assert_eq!(world.show("SWAPDB 0 4"), "OK");
    world.run("SET c 3");
    world.changes();
    assert_eq!(world.show("FLUSHDB sync"), "OK");
    assert_eq!(world.changes(), 1);
    world.db = 4;
    assert_eq!(world.show("DBSIZE"), "2");
    world.replayed_equals();
    assert_eq!(world.show("FLUSHALL ASYNC"), "OK");
    assert_eq!((world.show("DBSIZE"), world.changes()), ("0".into(), 2));
    for (command, refusal) in [
        ("FLUSHALL FOO", "-ERR syntax error"),
        ("FLUSHALL ASYNC SYNC", "-ERR syntax error"),
        ("SWAPDB x 1", "-ERR invalid first DB index"),
        ("SWAPDB 16 x", "-ERR invalid second DB index"),
        ("SWAPDB 1 16", "-ERR DB index is out of range"),
    ] {
        assert_eq!(world.show(command), refusal, "{command}");
    }
    world.replayed_equals();
}

#[test]
fn four_shards_answer_as_one() {
    let (mut shards, mut one) = (Shards::new(), world());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: u64| {
        // Xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    for n in 1..5000 {
        let (a, b, db) = (below(12), below(12), below(3));
        let command = match below(16) {
            0 | 1 => format!("XADD k{a} {n}-1 f v"),
            2 => format!("SET k{a} {n}"),
            3 => format!("MSET k{a} {n} k{b} {n}"),
            4 => format!("MSETNX k{a} {n} k{b} {n}"),
            5 | 6 => format!("RENAME k{a} k{b}"),
            7 => format!("RENAMENX k{a} k{b}"),
            8 => format!("COPY k{a} k{b} REPLACE DB {db}"),
            9 => format!("MOVE k{a} {db}"),
            10 => format!("SWAPDB 0 {db}"),
            11 => format!("DEL k{a} k{b}"),
            12 => format!("EXPIRE k{a} 10"),
            13 => format!("MGET k{a} k{b}"),
            14 => format!("XRANGE k{a} - +"),
            _ if n % 50 == 0 => "FLUSHDB".to_owned(),
            _ => format!("TTL k{a}"),
        };
        assert_eq!(shards.reply(&command), one.run(&command), "{command}");
        assert_eq!(shards.reply("DBSIZE"), one.run("DBSIZE"), "{command}");
    }
    one.replayed_equals();
}
