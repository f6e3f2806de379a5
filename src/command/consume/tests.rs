//! Tests of the commands of consumer groups.

use crate::command::testing::{World, world};
use crate::stream::{Effect, EntryId, UnixMs};

const INVALID: &str = "-ERR Invalid stream ID specified as stream command argument";
const NO_INTEGER: &str = "-ERR value is not an integer or out of range";
const SYNTAX: &str = "-ERR syntax error";
const NO_KEY: &str = "-ERR The XGROUP subcommand requires the key to exist. Note that for CREATE \
     you may want to use the MKSTREAM option to create an empty stream automatically.";
const NO_GROUP: &str = "-NOGROUP No such consumer group 'h' for key name 's'";

/// The stream `s` of entries `1-0` to `4-0`, all pending in group `g`, where none has an owner.
fn given_back() -> World {
    let mut world = world();
    for id in 1..=4 {
        world.run(&format!("XADD s {id} f v"));
    }
    world.script(&[("XGROUP CREATE s g 4", "OK"), ("XNACK s g FAIL IDS 4 1 2 3 4 FORCE", "4")]);
    world.changes();
    world.events();
    world
}

/// The delivery count of a pending entry of group `g`.
fn count(world: &World, ms: u64) -> Option<u64> {
    let group = world.stream("s").group(b"g")?;
    group.pel().get(EntryId::new(ms, 0)).map(|pending| pending.count)
}

#[test]
fn entries_read_never_passes_entries_added() {
    let mut world = world();
    world.script(&[
        ("XADD s 1-1 f v", "1-1"),
        ("XADD s 1-2 f v", "1-2"),
        ("XGROUP CREATE s g 1-1 ENTRIESREAD 2", "OK"),
        ("XREADGROUP GROUP g c STREAMS s >", "[[s, [[1-2, [f, v]]]]]"),
    ]);
    assert_eq!(world.stream("s").group(b"g").unwrap().entries_read(), Some(2));
}

#[test]
fn groups_begin_are_set_and_end() {
    let mut world = world();
    let bad_options =
        "-ERR unknown subcommand or wrong number of arguments for 'Create'. Try XGROUP HELP.";
    let too_many =
        "-ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.";
    let too_many_to_set =
        "-ERR unknown subcommand or wrong number of arguments for 'SETID'. Try XGROUP HELP.";
    world.script(&[
        ("XGROUP Create s g $ MKSTREAM ENTRIESREAD", bad_options),
        ("XGROUP CREATE s g $ ENTRIESREAD x", NO_INTEGER),
        ("XGROUP CREATE s g $ ENTRIESREAD -2", "-ERR value for ENTRIESREAD must be positive or -1"),
        ("XGROUP CREATE s g x", NO_KEY),
        ("XGROUP CREATE s g - MKSTREAM", INVALID),
        ("XGROUP CREATE s g $ ENTRIESREAD 5 mkstream", "OK"),
        ("XGROUP CREATE s g x", INVALID),
        ("XGROUP CREATE s g 1", "-BUSYGROUP Consumer Group name already exists"),
        ("XADD s 1-1 f v", "1-1"),
        ("XGROUP SETID s g 1 MKSTREAM", too_many_to_set),
        ("XGROUP SETID s h x", NO_GROUP),
        ("XGROUP SETID s g x", INVALID),
        ("XGROUP SETID t g 1", NO_KEY),
        ("XGROUP CREATE s h $ MKSTREAM MKSTREAM MKSTREAM MKSTREAM", too_many),
        ("XGROUP CREATE u h x ENTRIESREAD 1 ENTRIESREAD 1 MKSTREAM", too_many),
        ("XGROUP CREATE u h x ENTRIESREAD 1 ENTRIESREAD 1", NO_KEY),
        ("XGROUP SETID s g x ENTRIESREAD 1 ENTRIESREAD 1", too_many_to_set),
        ("XGROUP SETID s h x ENTRIESREAD 1 ENTRIESREAD 1", NO_GROUP),
        ("XGROUP SETID s g $ ENTRIESREAD 9", "OK"),
    ]);
    let group = world.stream("s").group(b"g").unwrap();
    assert_eq!(group.last_delivered_id(), EntryId::new(1, 1));
    assert_eq!(group.entries_read(), Some(1));
    world.script(&[("XGROUP SETID s g +", "OK"), ("XGROUP SETID s g -", "OK")]);
    let group = world.stream("s").group(b"g").unwrap();
    assert_eq!((group.last_delivered_id(), group.entries_read()), (EntryId::MIN, None));
    world.script(&[
        ("XGROUP DESTROY t g", NO_KEY),
        ("XGROUP DESTROY s h", "0"),
        ("XGROUP DESTROY s g", "1"),
    ]);
    assert_eq!(world.changes(), 6);
    assert_eq!(
        world.events(),
        [
            "new s",
            "xgroup-create s",
            "xadd s",
            "xgroup-setid s",
            "xgroup-setid s",
            "xgroup-setid s",
            "xgroup-destroy s"
        ]
    );
}

#[test]
fn consumers_begin_and_end() {
    let mut world = given_back();
    world.script(&[
        ("XGROUP CREATECONSUMER t g c", NO_KEY),
        ("XGROUP CREATECONSUMER s h c", NO_GROUP),
        ("XGROUP CREATECONSUMER s g c", "1"),
        ("XGROUP CREATECONSUMER s g c", "0"),
        ("XGROUP DELCONSUMER s h c", NO_GROUP),
        ("XGROUP DELCONSUMER s g d", "0"),
    ]);
    world.with_txn(|txn| {
        let (id, at) = (EntryId::new(1, 0), UnixMs(1000));
        let claim = Effect::Claim { group: b"g", consumer: b"c", id, at, count: 3 };
        let mut key = txn.key(b"s");
        txn.effect(&mut key, claim);
    });
    world.script(&[
        ("XGROUP DELCONSUMER s g c", "1"),
        ("XGROUP DELCONSUMER s g c", "0"),
        ("XACK s g 1 2", "1"),
    ]);
    assert_eq!(world.changes(), 3);
    assert_eq!(world.events(), ["xgroup-createconsumer s", "xgroup-delconsumer s"]);
}

#[test]
fn xack_counts_what_was_pending() {
    let mut world = given_back();
    world.script(&[
        ("XACK t g x", "0"),
        ("XACK s h x", "0"),
        ("XACK s g 1 x", INVALID),
        ("XDEL s 2", "1"),
        ("XACK s g 1 2 2 9", "2"),
    ]);
    assert_eq!(world.changes(), 3);
    assert_eq!(world.events(), ["xdel s"]);
}

#[test]
fn xackdel_deletes_what_it_acknowledges() {
    let mut world = given_back();
    world.script(&[
        ("XACKDEL t g IDS 2 x y", "[-1, -1]"),
        ("XACKDEL s h IDS 1 x", "[-1]"),
        ("XACKDEL t g IDS 2 x", "-ERR The `numids` parameter must match the number of arguments"),
        ("XACKDEL s g ACKED x 1 2", SYNTAX),
        ("XACKDEL s g IDS 1 x", INVALID),
        ("XGROUP CREATE s other 0", "OK"),
        ("XACKDEL s g ACKED IDS 2 1 9", "[2, -1]"),
        ("XGROUP SETID s other 4", "OK"),
        ("XNACK s other FAIL IDS 3 2 3 4 FORCE", "3"),
        ("XACKDEL s g ACKED IDS 1 2", "[2]"),
        ("XACKDEL s g IDS 2 3 3", "[1, -1]"),
        ("XACK s other 3", "1"),
        ("XDEL s 4", "1"),
        ("XACKDEL s g IDS 1 4 DELREF", "[1]"),
        ("XACK s other 4", "0"),
        ("XACKDEL s other ACKED IDS 1 2", "[1]"),
    ]);
    assert_eq!(world.stream("s").len(), 1);
    assert_eq!(world.events().iter().filter(|event| *event == "xdel s").count(), 3);
    // Three of XGROUP and XNACK's first, five acknowledgements with XACKDEL, XACK, XDEL.
    assert_eq!(world.changes(), 2 + 3 + 5 + 1 + 1);
}

#[test]
fn xnack_sets_counts_and_order() {
    let mut world = given_back();
    world.script(&[
        ("XNACK s g fatal IDS 1 1", "1"),
        ("XNACK s g SILENT RETRYCOUNT 7 IDS 2 2 9", "1"),
        ("XNACK s g SILENT IDS 2 2 2", "2"),
        ("XNACK s g SILENT IDS 1 3", "1"),
        ("XACK s g 4", "1"),
        ("XNACK s g FAIL IDS 1 4", "0"),
        ("XNACK s g FATAL FORCE IDS 1 4", "1"),
    ]);
    let greatest = u64::try_from(i64::MAX).unwrap();
    for (ms, expected) in [(1, greatest), (2, 5), (3, 0), (4, greatest)] {
        assert_eq!(count(&world, ms), Some(expected), "{ms}");
    }
    let pel = world.stream("s").group(b"g").unwrap().pel();
    let order: Vec<_> = pel.iter_unowned().map(|pending| pending.id.ms).collect();
    assert_eq!(order, [1, 2, 3, 4]);
    assert_eq!(world.changes(), 1 + 1 + 2 + 1 + 1 + 1);
    assert_eq!(world.events(), [""; 0]);
}

#[test]
fn xnack_is_refused_as_by_redis() {
    let no_group = "-NOGROUP No such key 's' or consumer group 'h'";
    given_back().script(&[
        ("XNACK s h MODE x 1 1", no_group),
        ("XNACK s g MODE IDS 1 1", "-ERR mode must be SILENT, FAIL, or FATAL"),
        ("XNACK s g FAIL IDS 0 1", "-ERR numids must be a positive integer"),
        ("XNACK s g FAIL IDS x 1", "-ERR numids must be a positive integer"),
        ("XNACK s g FAIL IDS 2 1", "-ERR number of IDs doesn't match numids"),
        ("XNACK s g FAIL RETRYCOUNT -1 IDS 1 1", "-ERR Invalid RETRYCOUNT value, must be >= 0"),
        ("XNACK s g FAIL RETRYCOUNT x IDS 1 1", NO_INTEGER),
        ("XNACK s g FAIL IDS 1 1 2", "-ERR Unrecognized XNACK option '2'"),
        ("XNACK s g FAIL RETRYCOUNT 1 FORCE", "-ERR syntax error, expected IDS keyword"),
        ("XNACK s g FAIL IDS 1 x", INVALID),
    ]);
}
