//! What README.md promises of each setting, one test for each sentence there.

use crate::db::Db;
use crate::db::admin::tests::World;
use crate::testing::{EIO, Fault, FaultDisk, Op};
use std::sync::atomic::{AtomicBool, Ordering};

/// How many power cuts each test sees.
const CUTS: u64 = 60;

fn open(disk: &FaultDisk, policy: &str) -> World {
    World::open(disk, &[("appendonly", "yes"), ("appendfsync", policy), ("save", "")]).unwrap()
}

fn ask(db: &Db, words: &str) -> Result<Vec<u64>, crate::error::Error> {
    let reply = db.command(words.split(' ')).wait()?;
    let entries = reply.as_array().unwrap_or_default().iter();
    let ids = entries.filter_map(|entry| entry.as_array()?.first()?.as_text());
    Ok(ids.map(|id| id.split_once('-').unwrap().0.parse().unwrap()).collect())
}

/// Adds the next entry, `number-0`.
fn add(db: &Db, number: u64) -> Result<(), crate::error::Error> {
    ask(db, &format!("XADD s {number}-0 field value")).map(drop)
}

/// The number of the last entry, 0 if there is none. All before must be there too.
fn last(db: &Db) -> u64 {
    let found = ask(db, "XRANGE s - +").unwrap();
    assert!(found.iter().copied().eq(1..=found.len() as u64), "{found:?} has gaps");
    found.len() as u64
}

#[test]
fn always_a_power_cut_takes_nothing_that_a_writer_or_a_reader_was_told() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, "always");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut cuts = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let read = ask(&world.db, "XREVRANGE s + - COUNT 1").unwrap();
                cuts.push((read.first().copied().unwrap_or(0), disk.crash(cuts.len() as u64)));
                std::thread::yield_now();
            }
            cuts
        });
        let write = |number| {
            add(&world.db, number).unwrap();
            (number, disk.crash(number))
        };
        let mut cuts: Vec<_> = (1..=CUTS).map(write).collect();
        ended.store(true, Ordering::Relaxed);
        let read = reader.join().unwrap();
        let every = read.len() / 40 + 1;
        cuts.extend(read.into_iter().step_by(every));
        for (told, disk) in cuts {
            let found = last(&open(&disk, "always").db);
            assert!(found >= told, "{told} was told, {found} is there");
        }
    });
}

/// A kill takes nothing that was told, a power cut leaves a prefix.
fn keeps_what_was_told_after_a_kill(policy: &str) {
    let disk = FaultDisk::new(1);
    let world = open(&disk, policy);
    for number in 1..=CUTS {
        add(&world.db, number).unwrap();
        let (killed, cut) = (disk.kill(), disk.crash(number));
        assert_eq!(last(&open(&killed, policy).db), number);
        assert!(last(&open(&cut, policy).db) <= number);
    }
}

#[test]
fn everysec_a_killed_process_keeps_all_and_a_power_cut_leaves_a_prefix() {
    keeps_what_was_told_after_a_kill("everysec");
}

#[test]
fn no_a_killed_process_keeps_all_and_a_power_cut_leaves_a_prefix() {
    keeps_what_was_told_after_a_kill("no");
}

#[test]
fn without_a_log_there_is_what_the_last_snapshot_has() {
    for (save, left) in [("", 0), ("3600 1", 1)] {
        let disk = FaultDisk::new(1);
        let settings = [("appendonly", "no"), ("save", save)];
        let world = World::open(&disk, &settings).unwrap();
        add(&world.db, 1).unwrap();
        if !save.is_empty() {
            world.db.command(["SAVE"]).wait().unwrap();
        }
        add(&world.db, 2).unwrap();
        assert_eq!(last(&World::open(&disk.kill(), &settings).unwrap().db), left);
    }
}

#[test]
fn after_a_failed_sync_reads_may_show_what_no_writer_was_told() {
    let disk = FaultDisk::new(1);
    let world = open(&disk, "always");
    add(&world.db, 1).unwrap();
    for op in [Op::Sync, Op::Rename] {
        disk.fail(Fault { op, after: 0, times: u64::MAX, errno: EIO });
    }
    // Its outcome is unknown, and it is in memory.
    add(&world.db, 2).unwrap_err();
    assert_eq!(last(&world.db), 2);
    // The next one is refused, and is not.
    add(&world.db, 3).unwrap_err();
    assert_eq!(last(&world.db), 2);
    let found = last(&open(&disk.kill(), "always").db);
    assert!((1..=2).contains(&found), "{found}");
    // A snapshot that succeeds has everything that is shown, and ends the refusal.
    disk.heal();
    while world.db.core().is_log_broken() {
        std::thread::yield_now();
    }
    assert_eq!(last(&open(&disk.crash(1), "always").db), 2);
    add(&world.db, 3).unwrap();
    assert_eq!(last(&open(&disk.crash(2), "always").db), 3);
}
