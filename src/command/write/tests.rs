//! Tests of the commands that write entries.

use super::iid_of;
use crate::command::testing::world;
use crate::stream::{Fields, UnixMs};

const INVALID: &str = "-ERR Invalid stream ID specified as stream command argument";
const NO_INTEGER: &str = "-ERR value is not an integer or out of range";
const SYNTAX: &str = "-ERR syntax error";
const NO_KEY: &str = "-ERR no such key";
const TOO_SMALL: &str =
    "-ERR The ID specified in XADD is equal or smaller than the target stream top item";
const EXHAUSTED: &str =
    "-ERR The stream has exhausted the last possible ID, unable to add more items";
const MAX: &str = "18446744073709551615-18446744073709551615";

#[test]
fn xadd_gives_ids_as_redis_does() {
    world().script(&[
        ("XADD e 0-* f v", "0-1"),
        ("XADD s * f v", "1000-0"),
        ("XADD s * f v", "1000-1"),
        ("XADD s 1000-* f v", "1000-2"),
        ("XADD s 999-* f v", TOO_SMALL),
        ("XADD s 2000-* f v", "2000-0"),
        ("XADD s * f v", "2000-1"),
        ("XADD s 2000-1 f v", TOO_SMALL),
        ("XADD s 2001 f v", "2001-0"),
        ("XADD s 2001-18446744073709551615 f v", "2001-18446744073709551615"),
        ("XADD s 2001-* f v", TOO_SMALL),
        ("XADD s * f v", "2002-0"),
        ("XADD none NOMKSTREAM * f v", "nil"),
        (&format!("XADD m {MAX} f v"), MAX),
        ("XADD m * f v", EXHAUSTED),
        ("XADD m 1-1 f v", EXHAUSTED),
        ("XTRIM m MAXLEN 0", "1"),
        (&format!("XADD n {MAX} f v"), MAX),
        (&format!("XDEL n {MAX}"), "1"),
        ("XTRIM n MAXLEN ~ 0", "0"),
    ]);
}

#[test]
fn xadd_refuses_in_the_order_of_redis() {
    let mut world = world();
    world.script(&[
        ("XADD s 0 f v", "-ERR The ID specified in XADD must be greater than 0-0"),
        ("XADD s 0 f v g", "-ERR wrong number of arguments for 'xadd' command"),
        ("XADD s -* f v", INVALID),
        ("XADD s *-1 f v", INVALID),
        ("XADD s *-* f v", INVALID),
        ("XADD s 1-2-* f v", INVALID),
        ("XADD s - f v", INVALID),
        ("XADD s OPTION * f v", INVALID),
        ("XADD s MAXLEN 5 KEEPREF DELREF * f v", INVALID),
        ("XADD s IDMP p1 * f v", INVALID),
        ("XADD s NOMKSTREAM NOMKSTREAM LIMIT", INVALID),
        (
            "XADD s NOMKSTREAM NOMKSTREAM NOMKSTREAM",
            "-ERR wrong number of arguments for 'xadd' command",
        ),
        ("XADD s DELREF nomkstream MAXLEN ~ 5 ACKED * f v", INVALID),
        ("XADD s nomkstream MAXLEN ~ 5 ACKED * f v", "nil"),
    ]);
    assert_eq!(world.changes(), 0);
}

#[test]
fn trim_options_are_refused_as_by_redis() {
    let both = "-ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
    let no_tilde = "-ERR syntax error, LIMIT cannot be used without the special ~ option";
    let no_threshold =
        "-ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
    world().script(&[
        ("XADD s MAXLEN -1 * f v", "-ERR The MAXLEN argument must be >= 0."),
        ("XADD s MAXLEN x * f v", NO_INTEGER),
        ("XADD s MAXLEN ~ 1 LIMIT -1 * f v", "-ERR The LIMIT argument must be >= 0."),
        ("XADD s MAXLEN 1 MINID 1 * f v", both),
        ("XADD s MAXLEN 1 MAXLEN 1 * f v", both),
        ("XADD s MAXLEN 1 LIMIT 1 * f v", no_tilde),
        ("XADD s LIMIT 0 * f v", no_tilde),
        ("XADD s LIMIT 1 * f v", no_threshold),
        (
            "XTRIM s LIMIT 0 KEEPREF",
            "-ERR syntax error, XTRIM must be called with a trimming strategy",
        ),
        ("XTRIM s LIMIT 1 KEEPREF", no_threshold),
        ("XTRIM s MAXLEN =", NO_INTEGER),
        ("XTRIM s KEEPREF MAXLEN =", NO_INTEGER),
        ("XTRIM s MAXLEN = 1 2", SYNTAX),
        ("XTRIM s MAXLEN 1 ACKED ACKED", SYNTAX),
        ("XTRIM s MAXLEN 1 NOMKSTREAM", SYNTAX),
        ("XTRIM s MAXLEN = 1 ACKED", "0"),
        ("XTRIM s MINID - KEEPREF", INVALID),
    ]);
}

#[test]
fn a_trim_to_nothing_leaves_the_stream_and_its_counters() {
    let mut world = world();
    world.script(&[("XADD s MAXLEN 0 5-5 f v", "5-5"), ("XADD s MAXLEN 0 5-5 f v", TOO_SMALL)]);
    let stream = world.stream("s");
    assert_eq!((stream.len(), stream.entries_added()), (0, 1));
    assert!(stream.max_deleted_id().is_min());
    assert_eq!(world.events(), ["new s", "xadd s", "xtrim s"]);
    assert_eq!(world.changes(), 1);
}

#[test]
fn a_duplicate_is_recognised_and_changes_nothing() {
    let mut world = world();
    world.script(&[
        ("XADD s IDMP p i * f v", "1000-0"),
        ("XADD s IDMP p i MAXLEN 0 * g w", "1000-0"),
        ("XADD s IDMP q i * f v", "1000-1"),
        ("XADD s IDMPAUTO p * a 1 b 2", "1000-2"),
        ("XADD s IDMPAUTO p * b 2 a 1", "1000-2"),
        ("XADD s MAXLEN = 3 IDMPAUTO p * a 1 b 3", "1000-3"),
        ("XDEL s 1000-2", "1"),
        ("XADD s IDMPAUTO p * a 1 b 2", "1000-2"),
    ]);
    let stream = world.stream("s");
    let producers = stream.producers().unwrap();
    assert_eq!((producers.iids_added(), producers.iids_duplicates()), (4, 3));
    assert_eq!((stream.len(), stream.entries_added()), (2, 4));
    assert_eq!(world.changes(), 8);
    assert_eq!(
        world.events(),
        ["new s", "xadd s", "xadd s", "xadd s", "xadd s", "xtrim s", "xdel s"]
    );
    world.now = UnixMs(101_000);
    world.with_txn(|txn| txn.forget_idempotent_ids(usize::MAX));
    assert_eq!(world.stream("s").producers().unwrap().iids_len(), 0);
    world.replayed_equals();
}

#[test]
fn of_many_streams_some_forget_at_a_time_and_all_in_the_end() {
    let mut world = world();
    let keys: Vec<String> = (0..25).map(|n| format!("s{n}")).collect();
    for key in &keys {
        world.run(&format!("XADD {key} IDMP p i * f v"));
    }
    world.now = UnixMs(101_000);
    let mut left: Vec<usize> = Vec::new();
    for _ in 0..4 {
        world.with_txn(|txn| txn.forget_idempotent_ids(10));
        let remembers = |key: &&String| world.stream(key).producers().unwrap().iids_len() > 0;
        left.push(keys.iter().filter(remembers).count());
    }
    assert_eq!(left, [15, 5, 0, 0]);
    world.replayed_equals();
}

#[test]
fn idempotency_is_refused_as_by_redis() {
    let twice = "-ERR syntax error, IDMP/IDMPAUTO specified multiple times";
    let only_auto = "-ERR syntax error, IDMP/IDMPAUTO can be used only with auto-generated IDs";
    world().script(&[
        ("XADD s IDMP p i IDMPAUTO p * f v", twice),
        ("XADD s IDMP p i 1-1 f v", only_auto),
        ("XADD s IDMPAUTO p 1-* f v", only_auto),
        ("XADD s LIMIT 5 IDMP p i 1-1 f v", only_auto),
        ("XADD s IDMP \"\" i * f v", "-ERR syntax error, IDMP requires a non-empty producer ID"),
        ("XADD s IDMP p \"\" * f v", "-ERR syntax error, IDMP requires a non-empty idempotent ID"),
        (
            "XADD s IDMPAUTO \"\" * f v",
            "-ERR syntax error, IDMPAUTO requires a non-empty producer ID",
        ),
        ("XADD s NOMKSTREAM IDMP p i * f v", "nil"),
    ]);
}

#[test]
fn the_derived_id_ignores_order_and_nothing_else() {
    let iid = |fields: &[&[u8]]| iid_of(&Fields::Slices(fields));
    let plain = iid(&[b"a", b"1", b"b", b"2"]);
    assert_eq!(plain, iid(&[b"b", b"2", b"a", b"1"]));
    assert_ne!(plain, iid(&[b"a", b"2", b"b", b"1"]));
    assert_ne!(iid(&[b"ab", b"c"]), iid(&[b"a", b"bc"]));
    assert_ne!(iid(&[b"a", b"1"]), iid(&[b"a", b"1", b"a", b"1"]));
}

#[test]
fn limits_of_producers_are_set_and_refused() {
    let mut world = world();
    world.script(&[
        ("XCFGSET s", NO_KEY),
        ("XADD s IDMP p 1 * f v", "1000-0"),
        ("XCFGSET s", "-ERR At least one parameter must be specified"),
        ("XCFGSET s IDMP-DURATION", SYNTAX),
        ("XCFGSET s OTHER 1", SYNTAX),
        ("XCFGSET s IDMP-DURATION x", NO_INTEGER),
        ("XCFGSET s IDMP-DURATION 0", "-ERR IDMP-DURATION must be between 1 and 86400 seconds"),
        ("XCFGSET s IDMP-MAXSIZE 10001", "-ERR IDMP-MAXSIZE must be between 1 and 10000 entries"),
        ("XCFGSET s IDMP-MAXSIZE 1 IDMP-MAXSIZE 1", "-ERR IDMP-MAXSIZE specified multiple times"),
        ("XCFGSET s IDMP-DURATION 100 IDMP-MAXSIZE 100", "OK"),
        ("XADD s IDMP p 1 * f v", "1000-0"),
        ("XCFGSET s idmp-maxsize 2", "OK"),
        ("XADD s IDMP p 1 * f v", "1000-1"),
        ("XADD s IDMP p 2 * f v", "1000-2"),
        ("XADD s IDMP p 3 * f v", "1000-3"),
        ("XADD s IDMP p 1 * f v", "1000-4"),
    ]);
    assert_eq!(world.changes(), 7);
}

#[test]
fn an_idempotent_id_is_attached_to_an_entry() {
    let mut world = world();
    world.script(&[
        ("XIDMPRECORD s p i 1-x", INVALID),
        ("XIDMPRECORD s \"\" i 1-1", "-ERR producer ID must be non-empty"),
        ("XIDMPRECORD s p \"\" 1-1", "-ERR idempotent ID must be non-empty"),
        ("XIDMPRECORD s p i 1-1", NO_KEY),
        ("XADD s 1-1 f v", "1-1"),
        ("XADD s 1-2 f v", "1-2"),
        ("XIDMPRECORD s p i 1-3", "-ERR No such message in stream"),
        ("XIDMPRECORD s p i 1-1", "OK"),
        ("XIDMPRECORD s p i 1-1", "OK"),
        (
            "XIDMPRECORD s p i 1-2",
            "-ERR IID already exists for this producer with a different stream ID",
        ),
        ("XADD s IDMP p i * f v", "1-1"),
    ]);
    // Redis: it counts as an addition, once.
    assert_eq!(world.stream("s").producers().unwrap().iids_added(), 1);
}

#[test]
fn entries_are_deleted_and_their_references_as_asked() {
    let mut world = world();
    world.script(&[
        ("XDEL s x", "0"),
        ("XDELEX s IDS 2 x y", "[-1, -1]"),
        ("XADD s 1 f v", "1-0"),
        ("XADD s 2 f v", "2-0"),
        ("XADD s 3 f v", "3-0"),
        ("XADD s 4 f v", "4-0"),
        ("XGROUP CREATE s g 3", "OK"),
        ("XNACK s g FAIL IDS 2 1 2 FORCE", "2"),
        ("XDEL s 1 x", INVALID),
        ("XDELEX s IDS 1 x", INVALID),
        ("XDELEX s ACKED IDS 5 1 2 3 4 5", "[2, 2, 1, 2, 2]"),
        ("XDELEX s IDS 2 1 1", "[1, -1]"),
        // The last block of IDs counts, and only its IDs are looked at.
        ("XDELEX s IDS 1 x IDS 2 1 2 DELREF", "[-1, 1]"),
        ("XACK s g 1 2", "0"),
        ("XDEL s 4 4", "1"),
    ]);
    assert_eq!(world.stream("s").max_deleted_id().ms, 4);
    assert_eq!(world.changes(), 4 + 1 + 2 + 4);
}

#[test]
fn xdelex_is_refused_as_by_redis() {
    let not_positive = "-ERR Number of IDs must be a positive integer";
    let mismatch = "-ERR The `numids` parameter must match the number of arguments";
    world().script(&[
        ("XDELEX s KEEPREF DELREF IDS 1 1", SYNTAX),
        ("XDELEX s IDS 1 1 2", SYNTAX),
        ("XDELEX s IDS 1 1 IDS", SYNTAX),
        ("XDELEX s IDS 1 1 IDS 0", not_positive),
        ("XDELEX s IDS 0 1", not_positive),
        ("XDELEX s IDS x 1", not_positive),
        ("XDELEX s IDS 2 1", mismatch),
        ("XDELEX s KEEPREF IDS 1", mismatch),
        ("XDELEX s 1 2 3", SYNTAX),
    ]);
}

#[test]
fn xsetid_keeps_a_stream_consistent() {
    let mut world = world();
    world.script(&[
        ("XSETID s 1-x", INVALID),
        ("XSETID s 1 ENTRIESADDED -1", "-ERR entries_added must be positive"),
        ("XSETID s 1 5", SYNTAX),
        ("XSETID s 1 ENTRIESADDED", SYNTAX),
        (
            "XSETID s 1 MAXDELETEDID 2",
            "-ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
        ),
        ("XSETID s 1", NO_KEY),
        ("XADD s 1 f v", "1-0"),
        ("XADD s 2 f v", "2-0"),
        ("XADD s 3 f v", "3-0"),
        (
            "XSETID s 2",
            "-ERR The ID specified in XSETID is smaller than the target stream top item",
        ),
        (
            "XSETID s 3 ENTRIESADDED 2",
            "-ERR The entries_added specified in XSETID is smaller than the target stream length",
        ),
        ("XDEL s 3", "1"),
        (
            "XSETID s 2",
            "-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ),
        ("XSETID s 9 ENTRIESADDED 50 MAXDELETEDID 8", "OK"),
        ("XSETID s 9 MAXDELETEDID 0-0", "OK"),
        ("XADD s 9 f v", TOO_SMALL),
    ]);
    let stream = world.stream("s");
    assert_eq!((stream.entries_added(), stream.max_deleted_id().ms), (50, 8));
}

#[test]
fn an_id_comes_again_after_xsetid_went_below_a_deleted_entry() {
    world().script(&[
        ("XADD s 1 f v", "1-0"),
        ("XADD s 2 f v", "2-0"),
        ("XADD s 3 f v", "3-0"),
        ("XDEL s 3", "1"),
        ("XSETID s 3 MAXDELETEDID 1", "OK"),
        ("XSETID s 2", "OK"),
        ("XADD s 2-5 f v", "2-5"),
        ("XADD s 3 f v", "3-0"),
        ("XDEL s 1", "1"),
    ]);
}

#[test]
fn a_string_is_refused() {
    let mut world = world();
    world.with_txn(|txn| {
        let mut key = txn.key(b"s");
        txn.set_string(&mut key, b"v", None);
    });
    for command in [
        "XADD s * f v",
        "XADD s NOMKSTREAM IDMP p i 1-0 f v",
        "XTRIM s MAXLEN 1",
        "XDEL s x",
        "XDELEX s a b c",
        "XSETID s 1",
        "XCFGSET s",
        "XIDMPRECORD s p i 1",
    ] {
        let reply = world.show(command);
        let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        let refused_before = command.contains("i 1-0");
        assert_eq!(reply == wrong_type, !refused_before, "{command}: {reply}");
    }
}
