//! Snapshots of a running database, on a disk that fails and loses power.

use crate::db::admin::tests::World;
use crate::persist::Directory;
use crate::shard::check::check;
use crate::testing::{EIO, Fault, FaultDisk, Op};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SNAPSHOTS: &[(&str, &str)] = &[("appendonly", "no"), ("save", "3600 1")];
const LOG: &[(&str, &str)] = &[("appendonly", "yes"), ("appendfsync", "always")];

fn open(disk: &FaultDisk, settings: &[(&str, &str)]) -> World {
    World::open(disk, settings).unwrap()
}

/// Waits until a field of INFO has a value.
fn wait_for(world: &World, field: &str, value: &str) {
    let begun = std::time::Instant::now();
    while world.info(field) != value {
        assert!(begun.elapsed().as_secs() < 60, "{field} is {}", world.info(field));
        std::thread::yield_now();
    }
}

fn digest(world: &World) -> String {
    world.run("DEBUG DIGEST")
}

fn fill(world: &World, from: usize, to: usize) {
    for n in from..to {
        world.run(&format!("XADD s{} {}-0 field value{n}", n % 7, n + 1));
    }
}

fn snapshots(disk: &FaultDisk) -> usize {
    use crate::persist::disk::Disk;
    let names = disk.list(Path::new("/data")).unwrap();
    names.iter().filter(|name| name.ends_with(".snap")).count()
}

#[test]
fn snapshots_alone_keep_what_they_have_and_a_clean_stop_takes_one() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, SNAPSHOTS);
    fill(&world, 0, 20);
    assert_eq!(world.info("rdb_changes_since_last_save"), "20");
    assert_eq!(world.run("SAVE"), "+OK\r\n");
    assert_eq!(world.info("rdb_changes_since_last_save"), "0");
    let saved = digest(&world);
    world.run("SET lost by-kill");
    let killed = open(&disk.kill(), SNAPSHOTS);
    assert_eq!(digest(&killed), saved);
    assert_eq!(killed.info("rdb_last_load_keys_loaded"), "7");
    world.run("SET kept by-stop");
    let stopped = digest(&world);
    world.db.close().unwrap();
    drop(world);
    let again = open(&disk.crash(1), SNAPSHOTS);
    assert_eq!(digest(&again), stopped);
    again.run("SET lost again");
    assert!(again.run("SHUTDOWN NOSAVE").contains("Shutdown"));
    again.db.close().unwrap();
    drop(again);
    assert_eq!(digest(&open(&disk, SNAPSHOTS)), stopped);
}

#[test]
fn p12_switching_the_log_on_in_the_settings_keeps_what_only_a_snapshot_had() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, SNAPSHOTS);
    fill(&world, 0, 20);
    world.run("SAVE");
    let saved = digest(&world);
    drop(world);
    let world = open(&disk.kill(), LOG);
    assert_eq!(digest(&world), saved);
    // The snapshot that this directory had before the switch is still there.
    assert_eq!(world.info("rdb_last_load_keys_loaded"), "7");
}

#[test]
fn a_log_that_was_switched_on_keeps_everything_from_then_on() {
    for settings in [SNAPSHOTS, &[("appendonly", "no"), ("save", "")]] {
        let disk = FaultDisk::new(1);
        let world = open(&disk, settings);
        fill(&world, 0, 20);
        assert_eq!(world.run("CONFIG SET appendonly yes appendfsync always"), "+OK\r\n");
        assert_eq!(world.info("aof_enabled"), "1");
        fill(&world, 20, 40);
        let on = digest(&world);
        assert_eq!(digest(&open(&disk.crash(3), settings)), on);
        world.run("CONFIG SET appendonly no");
        world.run("SET not logged");
        assert_eq!(digest(&open(&disk.crash(4), settings)), on);
        world.run("CONFIG SET appendonly yes");
        world.run("SET logged 1");
        let again = digest(&world);
        assert_eq!(digest(&open(&disk.crash(5), settings)), again);
        assert_eq!(digest(&open(&disk.crash(6), LOG)), again);
    }
}

#[test]
fn a_background_snapshot_goes_on_while_commands_run() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, LOG);
    let mut n = 0;
    for round in 1..=4 {
        fill(&world, n, n + 300);
        let command = if round == 3 { "BGREWRITEAOF" } else { "BGSAVE" };
        assert!(world.run(command).ends_with("started\r\n"));
        fill(&world, n + 300, n + 320);
        world.run("RENAME s1 s8");
        n += 320;
        wait_for(&world, "rdb_bgsave_in_progress", "0");
        wait_for(&world, "aof_rewrite_in_progress", "0");
        assert_eq!(world.info("rdb_last_bgsave_status"), "ok");
        assert_eq!(snapshots(&disk), round.min(2));
        let now = digest(&world);
        for shards in ["1", "2", "3"] {
            let settings = [LOG, &[("shards", shards)]].concat();
            assert_eq!(digest(&open(&disk.crash(n as u64), &settings)), now);
        }
    }
    assert_eq!((world.info("rdb_saves"), world.info("aof_rewrites")), ("3".into(), "1".into()));
}

#[test]
fn a_failed_snapshot_is_told_and_leaves_the_one_before() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, SNAPSHOTS);
    fill(&world, 0, 20);
    world.run("SAVE");
    let saved = digest(&world);
    fill(&world, 20, 25);
    disk.fail(Fault { op: Op::Rename, after: 0, times: 1, errno: EIO });
    assert_eq!(world.run("SAVE"), "-ERR\r\n");
    assert_eq!(world.info("rdb_last_bgsave_status"), "err");
    assert_eq!(world.info("rdb_changes_since_last_save"), "5");
    assert_eq!(digest(&open(&disk.kill(), SNAPSHOTS)), saved);
    // One may be under way by itself.
    drop(world.run("SAVE"));
    wait_for(&world, "rdb_last_bgsave_status", "ok");
}

#[test]
fn no_snapshot_is_begun_that_the_disk_cannot_hold() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, LOG);
    fill(&world, 0, 400);
    disk.set_capacity(disk.used() + 4000);
    let operations = disk.operations();
    assert_eq!(world.run("BGSAVE"), "-ERR\r\n");
    assert_eq!(world.run("SAVE"), "-ERR\r\n");
    assert_eq!((disk.operations(), snapshots(&disk)), (operations, 0));
    assert_eq!(world.info("rdb_last_bgsave_status"), "err");
    assert!(world.run("BGREWRITEAOF").starts_with("-ERR"));
    assert_eq!(world.info("aof_last_bgrewrite_status"), "err");
    assert_eq!(world.info("aof_rewrites_consecutive_failures"), "1");
    disk.heal();
    assert_eq!(world.run("SAVE"), "+OK\r\n");
    assert_eq!(world.info("rdb_last_bgsave_status"), "ok");
}

#[test]
fn info_tells_what_is_going_on_and_how_it_went() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, &[("appendonly", "yes"), ("appendfsync", "everysec")]);
    let is = |fields: &[(&str, &str)]| {
        for (field, value) in fields {
            assert_eq!(world.info(field), *value, "{field}");
        }
    };
    let number = |field: &str| world.info(field).parse::<u64>().unwrap();
    is(&[("aof_enabled", "1"), ("aof_last_write_status", "ok"), ("aof_base_size", "0")]);
    is(&[("rdb_last_bgsave_status", "ok"), ("aof_last_bgrewrite_status", "ok")]);
    is(&[("rdb_last_bgsave_time_sec", "-1"), ("aof_last_rewrite_time_sec", "-1")]);
    is(&[("rdb_saves", "0"), ("aof_rewrites", "0"), ("current_save_keys_total", "0")]);
    fill(&world, 0, 20);
    is(&[("rdb_changes_since_last_save", "20"), ("aof_frames", "20")]);
    let end = number("aof_position");
    assert_eq!(number("aof_current_size"), end);
    // What a snapshot waits for at its end.
    disk.hold_syncs();
    assert!(world.run("BGSAVE").starts_with('+'));
    assert!(world.run("BGREWRITEAOF").contains("scheduled"));
    wait_for(&world, "current_save_keys_processed", "7");
    is(&[("rdb_bgsave_in_progress", "1"), ("current_save_keys_total", "7")]);
    is(&[("aof_rewrite_in_progress", "0"), ("aof_rewrite_scheduled", "1")]);
    is(&[("rdb_saves", "0"), ("aof_rewrite_scheduled", "1"), ("aof_pending_bio_fsync", "1")]);
    assert!(world.info("rdb_current_bgsave_time_sec").parse::<u64>().is_ok());
    assert!(number("aof_durable_position") < number("aof_position"));
    fill(&world, 20, 23);
    disk.heal();
    wait_for(&world, "aof_rewrites", "1");
    is(&[("rdb_bgsave_in_progress", "0"), ("rdb_current_bgsave_time_sec", "-1")]);
    is(&[("aof_rewrite_in_progress", "0"), ("aof_rewrite_scheduled", "0")]);
    is(&[("rdb_saves", "1"), ("rdb_changes_since_last_save", "0")]);
    is(&[("rdb_last_bgsave_status", "ok"), ("aof_last_bgrewrite_status", "ok")]);
    assert!(number("aof_base_size") > 0 && number("aof_last_rewrite_time_sec") < 60);
    let age = world.db.core().now().0 / 1000 - number("rdb_last_save_time");
    assert!(age < 60, "{age} s ago");
    // A full disk, before and after it has space again.
    disk.set_capacity(disk.used());
    let add = |n: usize| world.db.command(["XADD", "s0", "*", "f", &"x".repeat(n)]).wait();
    while add(100_000).is_ok() {}
    is(&[("aof_last_write_status", "err"), ("aof_enabled", "1")]);
    disk.heal();
    wait_for(&world, "aof_last_write_status", "ok");
    add(1).unwrap();
    world.run("CONFIG SET appendonly no");
    is(&[("aof_enabled", "0"), ("aof_last_write_status", "ok")]);
}

#[test]
fn a_refusal_for_want_of_a_snapshot_ends_by_itself() {
    for failing in ["SAVE", "BGSAVE"] {
        let disk = FaultDisk::new(1);
        let world = open(&disk, &[("appendonly", "no"), ("save", "3600 1")]);
        fill(&world, 0, 400);
        disk.set_capacity(disk.used());
        drop(world.try_run(failing));
        wait_for(&world, "rdb_last_bgsave_status", "err");
        let asked = |words: &str| world.db.command(words.split(' ')).wait();
        let refused = asked("XADD s0 9999-0 field value").unwrap_err();
        assert!(refused.to_string().starts_with("MISCONF "), "{failing}: {refused}");
        asked("XLEN s0").unwrap();
        disk.heal();
        wait_for(&world, "rdb_last_bgsave_status", "ok");
        assert_eq!(world.info("rdb_changes_since_last_save"), "0");
        asked("XADD s0 9999-0 field value").unwrap();
    }
}

#[test]
fn a_failed_log_goes_on_behind_a_snapshot_by_itself() {
    for op in [Op::Write, Op::Sync] {
        let disk = FaultDisk::new(1);
        let world = open(&disk, LOG);
        fill(&world, 0, 20);
        disk.fail(Fault { op, after: 0, times: 1, errno: EIO });
        // Its outcome is unknown.
        drop(world.try_run("XADD s0 100-0 field value"));
        wait_for(&world, "aof_last_write_status", "err");
        wait_for(&world, "aof_last_write_status", "ok");
        fill(&world, 200, 220);
        // The second snapshot makes the first one, and the log that failed, dispensable.
        wait_for(&world, "rdb_saves", "2");
        let now = digest(&world);
        assert_eq!(digest(&open(&disk.crash(1), LOG)), now);
    }
}

#[test]
fn a_reload_goes_through_a_snapshot() {
    let world = open(&FaultDisk::new(1), LOG);
    fill(&world, 0, 50);
    world.run("XGROUP CREATE s1 g 0");
    world.run("XREADGROUP GROUP g c COUNT 3 STREAMS s1 >");
    let before = digest(&world);
    assert_eq!(world.run("DEBUG RELOAD"), "+OK\r\n");
    assert_eq!(digest(&world), before);
    assert_eq!(world.info("rdb_saves"), "1");
}

/// The numbers of the entries in three streams, which must be `1..=n`; gives n.
fn numbers(world: &World) -> u64 {
    let mut found = Vec::new();
    for key in ["s0", "s1", "s2"] {
        let reply = world.db.command(["XRANGE", key, "-", "+"]).wait().unwrap();
        let entries = reply.as_array().unwrap_or_default().iter();
        let ids = entries.filter_map(|entry| entry.as_array()?.first()?.as_text());
        found.extend(ids.map(|id| id.split_once('-').unwrap().0.parse::<u64>().unwrap()));
    }
    found.sort_unstable();
    assert!(found.iter().copied().eq(1..=found.len() as u64), "{found:?} has gaps");
    found.len() as u64
}

fn add(world: &World, n: u64) -> Result<(), crate::error::Error> {
    let (key, id) = (format!("s{}", n % 3), format!("{n}-0"));
    world.db.command(["XADD", &key, &id, "field", "value"]).wait().map(drop)
}

/// Adds entries, with snapshots of each kind between them, until the disk fails. Returns how many
/// were sent, and how many answered.
fn live(disk: &FaultDisk) -> (u64, u64) {
    let (mut sent, mut acked) = (0, 0);
    let Ok(world) = World::open(disk, LOG) else { return (sent, acked) };
    for command in ["SAVE", "BGSAVE", "BGREWRITEAOF", "SAVE"] {
        for _ in 0..4 {
            sent += 1;
            if add(&world, sent).is_err() {
                return (sent, acked);
            }
            acked = sent;
        }
        world.run(command);
        sent += 1;
        if add(&world, sent).is_err() {
            return (sent, acked);
        }
        acked = sent;
        wait_for(&world, "rdb_bgsave_in_progress", "0");
        wait_for(&world, "aof_rewrite_in_progress", "0");
    }
    drop(world.db.close());
    (sent, acked)
}

/// The disk after a kill or a power cut.
fn ended(disk: &FaultDisk, n: u64) -> FaultDisk {
    match n % 3 {
        0 => disk.kill(),
        _ => disk.crash(n),
    }
}

/// Ends a life at its operation `at`, then two recoveries at operations of theirs, three times
/// others. How many recoveries were cut short; `None` if the life has fewer operations.
fn crash_at(at: u64) -> Option<u64> {
    let disk = FaultDisk::new(at);
    disk.power_off_at(at);
    let (sent, acked) = live(&disk);
    if disk.operations() <= at {
        return None;
    }
    let mut cut_short = 0;
    for place in 0..3 {
        let mut disk = ended(&disk, at + place);
        // Recovery has fewer operations than this.
        for off_at in [(at + 17 * place) % 50, (at + 10 * place) % 31] {
            disk.power_off_at(disk.operations() + off_at);
            cut_short += u64::from(World::open(&disk, LOG).is_err());
            disk = ended(&disk, at + off_at);
        }
        let shards = (1 + (at + place) % 4).to_string();
        let settings = [LOG, &[("shards", &shards)]].concat();
        let found = {
            let world = World::open(&disk, &settings);
            let world = world.unwrap_or_else(|error| panic!("operation {at}: {error}"));
            let found = numbers(&world);
            assert!((acked..=sent).contains(&found), "operation {at}: {found} in {acked}..={sent}");
            (1..=3).for_each(|n| add(&world, found + n).unwrap());
            disk = ended(&disk, at);
            found
        };
        assert_eq!(numbers(&open(&disk, LOG)), found + 3, "operation {at}");
    }
    Some(cut_short)
}

#[test]
fn d07_the_engine_may_crash_at_any_operation_and_twice_while_it_recovers() {
    let (next, cut_short) = (AtomicU64::new(0), AtomicU64::new(0));
    // They wait for one another's threads more than they compute.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(count) = crash_at(next.fetch_add(1, Ordering::Relaxed)) {
                    cut_short.fetch_add(count, Ordering::Relaxed);
                }
            });
        }
    });
    let (at, cut_short) = (next.into_inner(), cut_short.into_inner());
    assert!(at > 100 && cut_short > 200, "{at} operations, {cut_short} recoveries cut short");
}

#[test]
fn a_snapshot_that_is_taken_says_how_many_keys_it_has() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, &[("appendonly", "yes"), ("save", "")]);
    fill(&world, 0, 20);
    let progress =
        || ["processed", "total"].map(|which| world.info(&format!("current_save_keys_{which}")));
    assert_eq!(progress(), ["0", "0"]);
    disk.hold_syncs();
    assert!(world.run("BGSAVE").ends_with("started\r\n"));
    assert_eq!(progress()[1], "7");
    wait_for(&world, "current_save_keys_processed", "7");
    disk.heal();
    wait_for(&world, "rdb_bgsave_in_progress", "0");
    assert_eq!(progress(), ["0", "0"]);
}

/// The files of a kind, in order.
fn files(disk: &FaultDisk, ending: &str) -> Vec<std::path::PathBuf> {
    use crate::persist::disk::Disk;
    let mut names = disk.list(Path::new("/data")).unwrap();
    names.retain(|name| name.ends_with(ending));
    names.sort_unstable();
    names.iter().map(|name| Path::new("/data").join(name)).collect()
}

/// Damages the newest snapshot.
fn damage_newest(disk: &FaultDisk) {
    let newest = files(disk, ".snap").pop().unwrap();
    let mut bytes = disk.bytes(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.set_bytes(&newest, &bytes);
}

#[test]
fn a_state_that_only_a_damaged_snapshot_had_is_not_made_up_from_a_log_without_it() {
    for on_again in [false, true] {
        let disk = FaultDisk::new(1);
        let world = open(&disk, LOG);
        world.run("SET a logged");
        world.run("CONFIG SET appendonly no");
        world.run("SET b saved");
        world.run("SAVE");
        world.run("SET c saved");
        if on_again {
            world.run("CONFIG SET appendonly yes");
            world.run("SET d logged");
        } else {
            world.run("SAVE");
        }
        let now = digest(&world);
        let directory = Directory::look_at("/data", Arc::new(disk.clone()));
        let report = check(&directory).unwrap();
        assert!(report.is_good(), "{report:?}");
        for settings in [LOG, SNAPSHOTS] {
            let disk = disk.kill();
            assert_eq!(digest(&open(&disk, settings)), now);
            let disk = disk.kill();
            damage_newest(&disk);
            let error = World::open(&disk, settings).err().expect("it is not made up");
            assert!(error.to_string().contains(".snap"), "{error}");
        }
    }
}

#[test]
fn without_a_log_snapshots_need_none() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, SNAPSHOTS);
    world.run("SET a 1");
    disk.fail(Fault { op: Op::Sync, after: 2, times: 1, errno: EIO });
    for n in 0..4 {
        world.run(&format!("SET b {n}"));
        drop(world.run("SAVE"));
    }
    assert_eq!(disk.faults_left(), 0);
    world.run("SET c 1");
    assert_eq!(world.run("SAVE"), "+OK\r\n");
    let now = digest(&world);
    assert_eq!(digest(&open(&disk.kill(), SNAPSHOTS)), now);
}

#[test]
fn a_clean_stop_keeps_what_a_failed_log_may_lack() {
    for command in ["", "SHUTDOWN"] {
        let disk = FaultDisk::new(1);
        let world = open(&disk, &[("appendonly", "yes"), ("appendfsync", "everysec")]);
        fill(&world, 0, 20);
        let told = digest(&world);
        // The sync of what was told fails, and with it what the system had of it is gone.
        disk.fail(Fault { op: Op::Sync, after: 0, times: 1, errno: EIO });
        // Nor can a snapshot take its place, until the stop.
        disk.fail(Fault { op: Op::Rename, after: 0, times: u64::MAX, errno: EIO });
        wait_for(&world, "aof_last_write_status", "err");
        disk.heal();
        if !command.is_empty() {
            assert!(world.run(command).contains("Shutdown"));
        }
        world.db.close().unwrap();
        drop(world);
        assert_eq!(digest(&open(&disk.crash(1), LOG)), told);
    }
}

#[test]
fn what_runs_before_a_snapshot_in_one_turn_is_not_told_if_the_log_fails_there() {
    for command in ["SAVE", "BGSAVE", "CONFIG SET appendonly no"] {
        let disk = FaultDisk::new(1);
        let world = open(&disk, &[("appendonly", "yes"), ("appendfsync", "everysec")]);
        world.run("SET a 1");
        disk.fail(Fault { op: Op::Write, after: 0, times: u64::MAX, errno: EIO });
        let requests = ["SET a 2", command].map(|words| words.split(' ').collect::<Vec<_>>());
        let answer = world.in_one_turn(&requests);
        assert!(answer.is_err(), "{command}: {answer:?}");
    }
}

#[test]
fn whoever_has_lost_the_disk_turns_the_log_off_and_goes_on_without() {
    for op in [Op::Write, Op::Sync] {
        let disk = FaultDisk::new(1);
        let world = open(&disk, LOG);
        let ask = |args: &[&str]| world.db.command(args).wait();
        let set = |value| ask(&["SET", "k", value]);
        set("1").unwrap();
        for op in [op, Op::Rename] {
            disk.fail(Fault { op, after: 0, times: u64::MAX, errno: EIO });
        }
        set("2").unwrap_err();
        wait_for(&world, "rdb_last_bgsave_status", "err");
        set("3").unwrap_err();
        ask(&["CONFIG", "SET", "appendonly", "no"]).unwrap();
        // Snapshots are still wanted, and fail.
        let refused = set("4").unwrap_err().to_string();
        assert!(refused.contains("RDB snapshots"), "{refused}");
        ask(&["CONFIG", "SET", "save", ""]).unwrap();
        set("5").unwrap();
        // A new disk.
        disk.heal();
        ask(&["CONFIG", "SET", "appendonly", "yes"]).unwrap();
        set("6").unwrap();
        let now = digest(&world);
        assert_eq!(digest(&open(&disk.crash(1), LOG)), now);
        // A stop without the log has nothing to say of it.
        disk.fail(Fault { op, after: 0, times: u64::MAX, errno: EIO });
        set("7").unwrap_err();
        wait_for(&world, "aof_last_write_status", "err");
        ask(&["CONFIG", "SET", "appendonly", "no"]).unwrap();
        world.db.close().unwrap();
    }
}

#[test]
fn commands_that_save_answer_by_what_is_going_on_and_lastsave_tells_of_the_last() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, &[("appendonly", "yes"), ("save", "")]);
    let last = || world.run("LASTSAVE")[1..].trim_end().parse::<u64>().unwrap();
    let first = last();
    fill(&world, 0, 20);
    let tried = |words: &str| match world.try_run(words) {
        Ok(reply) => reply,
        Err(error) => error.to_string(),
    };
    for (going, other, scheduled) in
        [("BGSAVE", "BGREWRITEAOF", "BGREWRITEAOF"), ("BGREWRITEAOF", "BGSAVE", "BGSAVE SCHEDULE")]
    {
        disk.hold_syncs();
        assert!(tried(going).contains("started"), "{going}");
        assert!(tried(going).contains("already in progress"), "{going}");
        if other == "BGSAVE" {
            assert!(tried(other).contains("Use BGSAVE SCHEDULE"), "{}", tried(other));
        }
        assert!(tried(scheduled).contains("scheduled"), "{scheduled}");
        assert!(tried("SAVE").contains("already in progress"));
        disk.heal();
        wait_for(&world, "rdb_bgsave_in_progress", "0");
        wait_for(&world, "aof_rewrite_scheduled", "0");
        wait_for(&world, "aof_rewrite_in_progress", "0");
    }
    wait_for(&world, "rdb_saves", "2");
    wait_for(&world, "aof_rewrites", "2");
    assert!(last() >= first && last().to_string() == world.info("rdb_last_save_time"));
    assert_eq!(snapshots(&disk), 2);
}

#[test]
fn a_save_point_takes_a_snapshot_when_both_its_numbers_are_reached() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, &[("appendonly", "no"), ("save", "1 5")]);
    fill(&world, 0, 4);
    // Four changes are too few, however long ago; the fifth is enough.
    let due = crate::shard::checkpoint::is_due;
    assert!(!due([(1, 5)], 1000, 4) && !due([(1, 5)], 1, 5) && due([(1, 5)], 2, 5));
    assert_eq!(world.info("rdb_saves"), "0");
    fill(&world, 4, 5);
    wait_for(&world, "rdb_saves", "1");
    let saved = digest(&world);
    assert_eq!(digest(&open(&disk.crash(1), SNAPSHOTS)), saved);
    let usual = crate::config::Config::default().get(&[b"save"]);
    assert_eq!(usual[0].1, "3600 1");
}
