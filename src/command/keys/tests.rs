//! Commands about keys: refusals in their order, events, changes, and replay.

use super::super::testing::{World, world};
use crate::config::NotifyFlags;

fn with(commands: &[&str]) -> World {
    let mut world = world();
    world.rules.notify = NotifyFlags::parse(b"AKEnoc").unwrap();
    for command in commands {
        assert!(!world.run(command).starts_with('-'), "{command}");
    }
    world.events();
    world.changes();
    world
}

fn refuses(world: &mut World, commands: &[(&str, &str)]) {
    for (command, refusal) in commands {
        assert_eq!(world.show(command), format!("-{refusal}"), "{command}");
    }
}

const INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";
const SAME: &str = "ERR source and destination objects are the same";
const NO_DB: &str = "ERR DB index is out of range";

#[test]
fn del_counts_each_key_once_and_exists_each_time() {
    let mut world = with(&["XADD s 1-1 f v", "SET a 1"]);
    assert_eq!(world.show("EXISTS s a s nosuch"), "3");
    assert_eq!(world.show("TOUCH s nosuch s"), "2");
    assert_eq!(world.show("DEL s nosuch s a"), "2");
    assert_eq!(world.events(), ["del s", "del a"]);
    assert_eq!(world.changes(), 2);
    assert_eq!(world.show("UNLINK s"), "0");
    world.replayed_equals();
}

#[test]
fn rename_moves_value_and_expiry_and_says_what_it_replaced() {
    let mut world = with(&["XADD s 1-1 f v", "EXPIRE s 100", "SET a 1"]);
    assert_eq!(world.show("RENAMENX s a"), "0");
    assert_eq!(world.show("RENAMENX s s"), "0");
    assert_eq!(world.show("RENAME s s"), "OK");
    assert_eq!(world.changes(), 0);
    assert_eq!(world.show("RENAME s a"), "OK");
    let events = ["new a", "rename_from s", "rename_to a", "overwritten a", "type_changed a"];
    assert_eq!(world.events(), events);
    assert_eq!(world.changes(), 1);
    assert_eq!(world.show("TTL a"), "100");
    assert_eq!((world.show("TYPE a"), world.show("TYPE s")), ("stream".into(), "none".into()));
    assert_eq!(world.show("RENAMENX a b"), "1");
    refuses(&mut world, &[("RENAME s s", "ERR no such key"), ("RENAMENX s b", "ERR no such key")]);
    world.replayed_equals();
}

#[test]
fn copy_and_move_work_across_databases() {
    let mut world = with(&["XADD s 1-1 f v", "XGROUP CREATE s g 0", "EXPIRE s 100", "SET a 1"]);
    assert_eq!(world.show("COPY s a"), "0");
    assert_eq!(world.show("COPY s a REPLACE"), "1");
    assert_eq!(world.events(), ["new a", "copy_to a", "overwritten a", "type_changed a"]);
    assert_eq!(world.show("COPY s s DB 3"), "1");
    assert_eq!(world.show("COPY nosuch b"), "0");
    assert_eq!(world.show("MOVE s 3"), "0");
    assert_eq!(world.changes(), 2);
    assert_eq!(world.show("MOVE a 3"), "1");
    assert_eq!(world.events()[2..], ["new a", "move_from a", "move_to a"]);
    world.db = 3;
    assert_eq!((world.show("TTL a"), world.show("DBSIZE")), ("100".into(), "2".into()));
    world.replayed_equals();
    let range = "ERR value is out of range, value must between -2147483648 and 2147483647";
    refuses(
        &mut world,
        &[
            ("COPY a a", SAME),
            ("COPY nosuch nosuch DB 3", SAME),
            ("COPY a b DB 16", NO_DB),
            ("COPY a b DB -1", NO_DB),
            ("COPY a b DB x", INTEGER),
            ("COPY a b DB 99999999999", range),
            ("COPY a b DB", SYNTAX),
            ("COPY a b FOO", SYNTAX),
            ("MOVE a 3", SAME),
            ("MOVE nosuch 3", SAME),
            ("MOVE a 16", NO_DB),
            ("MOVE a x", INTEGER),
        ],
    );
}

#[test]
fn restore_checks_options_then_the_key_then_ttl_then_payload() {
    let mut world = with(&["SET a 1"]);
    let version = "ERR DUMP payload version or checksum are wrong";
    refuses(
        &mut world,
        &[
            ("RESTORE a x y FOO", SYNTAX),
            ("RESTORE a x y IDLETIME -1", "ERR Invalid IDLETIME value, must be >= 0"),
            ("RESTORE a x y FREQ 256", "ERR Invalid FREQ value, must be >= 0 and <= 255"),
            ("RESTORE a x y IDLETIME 1 FREQ 1", SYNTAX),
            ("RESTORE a x y ABSTTL", "BUSYKEY Target key name already exists."),
            ("RESTORE a x y REPLACE", INTEGER),
            ("RESTORE a -1 y REPLACE", "ERR Invalid TTL value, must be >= 0"),
            ("RESTORE a 0 y REPLACE", version),
            ("RESTORE b 0 y", version),
        ],
    );
    assert_eq!(world.changes(), 0);
}

#[test]
fn what_was_dumped_is_restored_whole() {
    let mut world = with(&[
        "XADD s 1-1 f v",
        "XADD s 2-1 g w",
        "XGROUP CREATE s g 1-1",
        "XGROUP CREATECONSUMER s g c",
        "SET a some",
    ]);
    world.now.0 += 5000;
    for key in ["s", "a"] {
        let object = match world.space.value(0, key.as_bytes()).unwrap() {
            super::Value::Stream(stream) => super::Object::Stream(stream.to_image()),
            super::Value::String(string) => super::Object::Str(string.to_vec()),
        };
        let payload = crate::rdb::dump(&object).unwrap();
        let mut restore = |key: &str, options: &[&str]| {
            let head = [b"RESTORE", key.as_bytes(), options[0].as_bytes(), &payload];
            let tail = options[1..].iter().map(|option| option.as_bytes());
            world.run_args(head.into_iter().chain(tail))
        };
        assert_eq!(restore("copy", &["0", "REPLACE", "IDLETIME", "1"]), "+OK\r\n");
        assert_eq!(restore("late", &["500"]), "+OK\r\n");
        assert_eq!(restore("gone", &["999", "ABSTTL"]), "+OK\r\n");
        assert_eq!(restore("late", &["1000", "ABSTTL", "REPLACE"]), "+OK\r\n");
        let late = ["new late", "restore late", "del late"];
        assert_eq!(
            world.events().into_iter().filter(|e| e.ends_with("late")).collect::<Vec<_>>(),
            late
        );
        assert_eq!(world.show("EXISTS gone late"), "0");
        assert_eq!(world.show("OBJECT IDLETIME copy"), "1");
        assert_eq!(world.run(&format!("DUMP {key}")), world.run("DUMP copy"));
        assert_eq!(world.changes(), 3);
    }
    // Redis: what is over before it begins counts as expired.
    assert_eq!(world.space.expired_keys, 4);
    assert_eq!(world.show("DUMP nosuch"), "nil");
    world.replayed_equals();
}

#[test]
fn who_reads_a_value_hits_or_misses_its_key() {
    // How often a command hits a stream that is there, and misses a key that is not: Redis 8.6.
    for (command, hits, misses) in [
        ("XLEN k", 1, 1),
        ("XRANGE k - +", 1, 1),
        ("XREAD STREAMS k j 0 0", 2, 4),
        ("XREADGROUP GROUP g c STREAMS k >", 2, 1),
        ("XREADGROUP GROUP g c STREAMS k 0", 2, 1),
        ("XACK k g 1", 1, 1),
        ("XACKDEL k g IDS 1 1", 1, 1),
        ("XNACK k g FAIL IDS 1 1", 1, 1),
        ("XCLAIM k g c 0 1", 1, 1),
        ("XAUTOCLAIM k g c 0 0", 1, 1),
        ("XPENDING k g", 1, 1),
        ("XINFO STREAM k", 1, 1),
        ("XADD k 9-9 f v", 0, 0),
        ("XTRIM k MAXLEN 0", 0, 0),
        ("XGROUP CREATE k h 0", 0, 0),
        ("EXISTS k j k", 2, 3),
        ("TOUCH k", 1, 1),
        ("TYPE k", 1, 1),
        ("TTL k", 1, 1),
        ("DUMP k", 1, 1),
        ("COPY k j", 1, 1),
        ("OBJECT ENCODING k", 1, 1),
        ("MEMORY USAGE k", 0, 0),
        ("DEL k", 0, 0),
        ("EXPIRE k 100", 0, 0),
        ("RENAME k j", 0, 0),
        ("GET k", 1, 1),
        ("GETDEL k", 1, 1),
        ("GETEX k", 1, 1),
        ("GETRANGE k 0 1", 1, 1),
        ("GETSET k v", 1, 1),
        ("MGET k j k", 2, 3),
        ("STRLEN k", 1, 1),
        ("DIGEST k", 1, 1),
        ("SET k v", 0, 0),
        ("SET k v GET", 1, 1),
        ("SET k v IFEQ v", 1, 0),
        ("DELEX k IFEQ v", 1, 1),
        ("APPEND k v", 0, 0),
        ("INCR k", 0, 0),
        ("SETRANGE k 0 v", 0, 0),
    ] {
        let mut world = world();
        world.rules.notify = NotifyFlags::parse(b"KEm").unwrap();
        world.run(command);
        assert_eq!((world.space.hits, world.space.misses), (0, misses), "{command}");
        let events = if command.starts_with("OBJECT") { 0 } else { misses };
        assert_eq!(world.events().len() as u64, events, "{command}");
        let mut world = super::super::testing::world();
        for command in ["XADD k 1 f v", "XADD k 2 f v", "XGROUP CREATE k g 0"] {
            world.run(command);
        }
        world.run("XREADGROUP GROUP g c COUNT 1 STREAMS k >");
        world.space.hits = 0;
        world.run(command);
        assert_eq!(world.space.hits, hits, "{command}");
    }
}
