//! Commands about keys: refusals in their order, events, changes, and replay.

use super::super::testing::{World, world};

fn with(commands: &[&str]) -> World {
    let mut world = world();
    world.rules.notify = crate::config::NotifyFlags::parse(b"AKEnocm").unwrap();
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
