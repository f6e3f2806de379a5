//! Snapshots of a running database, on a disk that fails and loses power.

use crate::db::admin::tests::World;
use crate::testing::{EIO, Fault, FaultDisk, Op};
use std::path::Path;

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
    disk.fail(Fault { op: Op::Rename, after: 1, times: 1, errno: EIO });
    assert_eq!(world.run("SAVE"), "-ERR\r\n");
    assert_eq!(world.info("rdb_last_bgsave_status"), "err");
    assert_eq!(world.info("rdb_changes_since_last_save"), "5");
    assert_eq!(digest(&open(&disk.kill(), SNAPSHOTS)), saved);
    assert_eq!(world.run("SAVE"), "+OK\r\n");
    assert_eq!(world.info("rdb_last_bgsave_status"), "ok");
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
    disk.heal();
    assert_eq!(world.run("SAVE"), "+OK\r\n");
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
