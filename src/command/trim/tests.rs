//! Tests of trimming: Redis's numbers, and a walk over blocks as its reference does it.

use crate::command::testing::{World, world};
use crate::stream::EntryId;
use crate::testing::Rng;

/// A stream of the entries `1-0` to `n-0`.
fn filled(block_entries: usize, n: u64) -> World {
    let mut world = world();
    world.set_block_entries(block_entries);
    for id in 1..=n {
        world.run(&format!("XADD s {id} f v"));
    }
    world
}

#[test]
fn approximate_trimming_goes_by_whole_blocks() {
    let mut world = filled(100, 1000);
    for (command, len) in [
        ("XTRIM s MAXLEN 666", 666),
        ("XTRIM s MAXLEN = 555", 555),
        ("XTRIM s MAXLEN ~ 444", 500),
        ("XTRIM s MAXLEN ~ 400", 400),
    ] {
        world.run(command);
        assert_eq!(world.stream("s").len(), len, "{command}");
    }
    assert_eq!(world.changes(), 1000 + 600);
    world.replayed_equals();
}

#[test]
fn limit_stops_before_a_block_that_exceeds_it() {
    for (options, lengths) in
        [("MAXLEN ~ 55 LIMIT 30", [71, 62].as_slice()), ("MINID ~ 55 LIMIT 30", &[71])]
    {
        let mut world = filled(10, 100);
        for len in lengths {
            world.run(&format!("XADD s {options} * f v"));
            assert_eq!(world.stream("s").len(), *len);
        }
        world.replayed_equals();
    }
    filled(1, 102).script(&[("XTRIM s MAXLEN ~ 1", "100"), ("XTRIM s MAXLEN 1", "1")]);
    filled(2, 3).script(&[
        ("XTRIM s MAXLEN ~ 0 LIMIT 1", "0"),
        ("XTRIM s MAXLEN ~ 0 LIMIT 2", "2"),
        ("XTRIM s MAXLEN ~ 0 LIMIT 0", "1"),
    ]);
}

#[test]
fn a_replayed_trim_does_not_go_by_blocks() {
    let mut world = filled(10, 100);
    world.run("XADD s MAXLEN ~ 55 * f v");
    world.set_block_entries(7);
    world.replayed_equals();
}

#[test]
fn acked_keeps_what_groups_have_not_read_or_acknowledged() {
    let mut world = filled(100, 5);
    world.script(&[
        ("XGROUP CREATE s g 0", "OK"),
        ("XADD s ACKED MAXLEN = 1 6 f v", "6-0"),
        ("XTRIM s MAXLEN = 1 ACKED", "0"),
        ("XGROUP SETID s g 5", "OK"),
        ("XNACK s g FAIL IDS 5 1 2 3 4 5 FORCE", "5"),
        ("XTRIM s MAXLEN = 1 ACKED", "0"),
        ("XACK s g 2 4", "2"),
        ("XTRIM s MAXLEN = 1 ACKED", "2"),
        ("XTRIM s MAXLEN = 3 DELREF", "1"),
        ("XACK s g 1 3", "1"),
    ]);
    assert!(world.stream("s").max_deleted_id().is_min());
}

/// What trimming leaves, found as the reference finds it: node by node, entry by entry.
fn left(
    world: &World,
    max: Option<u64>,
    min: u64,
    limit: u64,
    approximate: bool,
    references: &str,
) -> Vec<EntryId> {
    let stream = world.stream("s");
    let (mut left, mut removed, mut stopped) = (Vec::new(), 0, false);
    let mut len = stream.len();
    for block in stream.entries().blocks() {
        let live = block.live() as u64;
        stopped |= max.is_some_and(|max| len <= max) || (limit > 0 && removed + live > limit);
        let whole = match max {
            Some(max) => len.saturating_sub(live) >= max,
            None => block.last_id() < EntryId::new(min, 0),
        };
        stopped |= approximate && references == "KEEPREF" && !whole;
        for entry in block.iter() {
            let keeps = references == "ACKED" && stream.is_referenced(entry.id, None);
            let over = match max {
                Some(max) => len > max,
                None => entry.id < EntryId::new(min, 0),
            };
            if stopped || keeps || !over {
                left.push(entry.id);
            } else {
                removed += 1;
                len -= 1;
            }
        }
        stopped |= approximate && !whole;
    }
    left
}

#[test]
fn trimming_leaves_what_the_reference_leaves() {
    let mut random = Rng::new(7);
    for round in 0..300 {
        let n = random.below(40) as u64;
        let mut world = filled(1 + random.below(6), n);
        for _ in 0..random.below(3) {
            let group = random.below(5);
            world.run(&format!("XGROUP CREATE s {group} {} MKSTREAM", random.below(45)));
            for _ in 0..random.below(12) {
                world.run(&format!("XNACK s {group} FAIL IDS 1 {} FORCE", random.below(45)));
            }
        }
        for _ in 0..random.below(12) {
            world.run(&format!("XDEL s {}", random.below(45)));
        }
        if n == 0 {
            continue;
        }
        let approximate = random.chance(1, 2);
        let references = ["KEEPREF", "DELREF", "ACKED"][random.below(3)];
        let threshold = random.below(45) as u64;
        let by_len = random.chance(1, 2);
        let limit = if approximate { random.below(20) as u64 } else { 0 };
        let expected =
            left(&world, by_len.then_some(threshold), threshold, limit, approximate, references);
        let before = world.stream("s").len();
        let command = format!(
            "XTRIM s {} {} {threshold} {} {references}",
            if by_len { "MAXLEN" } else { "MINID" },
            if approximate { "~" } else { "=" },
            if approximate { format!("LIMIT {limit}") } else { String::new() },
        );
        let references_before = pending(&world);
        let removed = world.show(&command);
        let stream = world.stream("s");
        let ids: Vec<_> =
            stream.entries().range(EntryId::MIN, EntryId::MAX).map(|entry| entry.id).collect();
        assert_eq!(ids, expected, "round {round}: {command}");
        assert_eq!(removed, (before - stream.len()).to_string());
        let mut references_left = references_before;
        if references == "DELREF" {
            references_left.retain(|(_, id, exists)| !exists || stream.entries().contains(*id));
        }
        let strip = |list: Vec<(String, EntryId, bool)>| -> Vec<_> {
            list.into_iter().map(|(group, id, _)| (group, id)).collect()
        };
        assert_eq!(strip(pending(&world)), strip(references_left), "round {round}: {command}");
        world.replayed_equals();
    }
}

/// All pending entries: group, ID, and whether the entry exists.
fn pending(world: &World) -> Vec<(String, EntryId, bool)> {
    let stream = world.stream("s");
    let mut all = Vec::new();
    for (name, group) in stream.groups() {
        for pending in group.pel().iter_from(EntryId::MIN) {
            let name = String::from_utf8_lossy(name).into_owned();
            all.push((name, pending.id, stream.entries().contains(pending.id)));
        }
    }
    all
}
