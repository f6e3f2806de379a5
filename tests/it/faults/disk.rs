//! E1, E2, E3, E5, E7, E9 on a disk in memory: every operation of it can fail, lose what it had not
//! made durable, or not end. The database runs as always, its threads and sockets included.

use crate::{Client, DEADLINE, request, wait_until};
use millstream::command::Reply;
use millstream::config::Config;
use millstream::error::{CommandError, Error};
use millstream::testing::{EIO, ENOSPC, Fault, FaultDisk, Op, rounds};
use millstream::{Db, Listening};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Every operation of a disk.
const OPS: &[Op] = &[
    Op::Open,
    Op::Read,
    Op::Write,
    Op::Allocate,
    Op::Sync,
    Op::SyncDir,
    Op::SetLen,
    Op::Rename,
    Op::Remove,
    Op::List,
    Op::Lock,
    Op::Len,
    Op::CreateDir,
];
/// EDQUOT, EINTR, EAGAIN, EMFILE, ENOMEM, EROFS: what fails an operation besides EIO and ENOSPC.
const OTHER_ERRNOS: [i32; 6] = [122, 4, 11, 24, 12, 30];

fn open(disk: &FaultDisk, policy: &str, settings: &[(&str, &str)]) -> Result<Db, Error> {
    let mut config = Config::default();
    let fixed = [("dir", "/data"), ("appendonly", "yes"), ("save", ""), ("appendfsync", policy)];
    for (name, value) in fixed.iter().chain(settings) {
        config.apply(name, value).unwrap();
    }
    Db::open_on(config, Arc::new(disk.clone()))
}

fn run(db: &Db, words: &str) -> Result<Reply, Error> {
    db.command(words.split(' ')).wait()
}

/// A field of INFO.
fn info(db: &Db, field: &str) -> String {
    let reply = run(db, "INFO persistence").unwrap();
    let text = reply.as_text().unwrap().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("{field} is not in {text}")).to_owned()
}

/// What the directory holds before anything fails.
const BASE: &[&str] =
    &["XADD s 1-1 f v", "XGROUP CREATE s g 0", "SAVE", "SET a 1", "XADD s 2-1 f v"];
/// What is asked of it then.
const SCRIPT: &[&str] = &[
    "XADD s 3-1 f v",
    "XREADGROUP GROUP g c COUNT 2 STREAMS s >",
    "MSET a 2 b 3",
    "SAVE",
    "XACK s g 1-1",
    "XADD t 4-1 f v",
    "BGREWRITEAOF",
    "XDEL s 2-1",
    "DEL b",
    "XADD t 5-1 f v",
    "SAVE",
    "XTRIM s MAXLEN 1",
    "XADD s 6-1 f v",
];

/// What a client can see of all that.
fn picture(db: &Db) -> Vec<String> {
    let looks = [
        "XRANGE s - +",
        "XRANGE t - +",
        "XPENDING s g",
        "XPENDING s g - + 10 c",
        "MGET a b",
        "DBSIZE",
    ];
    let look = |words: &&str| match run(db, words) {
        Ok(Reply::Array(rows)) if words.contains(" + 10") => format!("{} rows", rows.len()),
        other => format!("{other:?}"),
    };
    looks.iter().map(look).collect()
}

/// What is to be seen after some of the commands; bit n stands for the one with the number n.
#[derive(Default)]
struct Oracle(Mutex<HashMap<u32, Vec<String>>>);

impl Oracle {
    fn after(&self, commands: u32) -> Vec<String> {
        let mut known = self.0.lock().unwrap();
        let picture = known.entry(commands).or_insert_with(|| {
            let db = Db::builder().memory().open().unwrap();
            let chosen = (0..SCRIPT.len()).filter(|n| commands >> n & 1 == 1).map(|n| SCRIPT[n]);
            for words in BASE.iter().copied().chain(chosen).filter(|words| changes(words)) {
                // A command may need one that had no effect.
                drop(run(&db, words));
            }
            picture(&db)
        });
        picture.clone()
    }

    /// Whether `picture` shows all of `acked` and any of `unknown`, and nothing else.
    fn allows(&self, picture: &[String], acked: u32, unknown: u32) -> bool {
        let mut some = unknown;
        loop {
            if self.after(acked | some) == picture {
                return true;
            }
            if some == 0 {
                return false;
            }
            some = (some - 1) & unknown;
        }
    }

    /// As [`Oracle::allows`] for the first of the commands, up to any.
    fn allows_prefix(&self, picture: &[String], acked: u32, unknown: u32) -> bool {
        let first = |n: usize| (1_u32 << n) - 1;
        (0..=SCRIPT.len()).any(|n| self.allows(picture, acked & first(n), unknown & first(n)))
    }
}

fn changes(words: &str) -> bool {
    !words.starts_with("SAVE") && !words.starts_with("BG")
}

/// A directory with a snapshot, and a log behind it.
fn base(seed: u64) -> FaultDisk {
    let disk = FaultDisk::new(seed);
    let db = open(&disk, "always", &[]).unwrap();
    BASE.iter().for_each(|words| drop(run(&db, words).unwrap()));
    disk.kill()
}

/// Runs the script; which commands were acknowledged, and of which nobody knows.
fn attempt(db: &Db) -> (u32, u32) {
    let (mut acked, mut unknown) = (0, 0);
    for (n, words) in SCRIPT.iter().enumerate() {
        match run(db, words) {
            Ok(_) if changes(words) => acked |= 1 << n,
            // It changed nothing, and says why.
            Ok(_) | Err(Error::Command(_)) => {}
            Err(Error::Storage(_)) => unknown |= 1 << n,
            Err(error) => panic!("{words}: {error}"),
        }
        if words.starts_with("BG") {
            wait_until("the rewrite is done", || info(db, "aof_rewrite_in_progress") == "0");
        }
    }
    (acked, unknown)
}

/// One operation fails once; whether there were so many of them.
fn fail_once(oracle: &Oracle, base: &FaultDisk, policy: &str, fault: Fault, seed: u64) -> bool {
    let what = format!("{policy}: {fault:?}, seed {seed}");
    let shards = if fault.after.is_multiple_of(2) { "1" } else { "2" };
    let disk = base.kill();
    disk.fail(fault);
    let opened = open(&disk, policy, &[("shards", shards)]);
    let (mut acked, mut unknown) = (0, 0);
    if let Err(error) = &opened {
        let text = error.to_string();
        assert!(text.contains("/data"), "{what}: an unclear error: {text}");
    }
    if let Ok(db) = &opened {
        (acked, unknown) = attempt(db);
        if seed.wrapping_add(fault.after).is_multiple_of(3)
            && let Err(error) = db.close()
        {
            assert!(matches!(error, Error::Storage(_)), "{what}: {error}");
        }
    }
    let mut left = vec![disk.kill()];
    if policy == "always" {
        left.extend((0..2).map(|n| disk.crash(seed ^ fault.after << 8 ^ n)));
    }
    let reached = disk.faults_left() == 0;
    drop(opened);
    for disk in left {
        let db = open(&disk, policy, &[("shards", shards)]);
        let db = db.unwrap_or_else(|error| panic!("{what}: does not start again: {error}"));
        let seen = picture(&db);
        // The failed sync has thrown away what `everysec` has not promised to keep.
        let all = policy == "always" || fault.op != Op::Sync;
        assert!(
            oracle.allows(&seen, acked, unknown)
                || !all && oracle.allows_prefix(&seen, acked, unknown),
            "{what}: {acked:b} acknowledged, {unknown:b} unknown: {seen:?}"
        );
    }
    reached
}

/// Does each piece of work on one of some threads.
pub(super) fn in_parallel<T: Sync>(threads: usize, works: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = works.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(one);
                }
            });
        }
    });
}

#[test]
fn e01_every_operation_fails_once_and_nothing_acknowledged_is_lost() {
    let oracle = Oracle::default();
    let bases: Vec<FaultDisk> = (0..rounds(1)).map(base).collect();
    let mut works = Vec::new();
    for seed in 0..bases.len() {
        for policy in ["always", "everysec"] {
            works.extend(OPS.iter().map(|&op| (seed, policy, op)));
        }
    }
    let done = Mutex::new(HashMap::new());
    in_parallel(4, &works, |&(seed, policy, op)| {
        for after in 0.. {
            let mut errnos = vec![EIO, ENOSPC];
            if bases.len() == 1 {
                errnos.push(OTHER_ERRNOS[usize::try_from(after).unwrap() % OTHER_ERRNOS.len()]);
            } else {
                errnos.extend(OTHER_ERRNOS);
            }
            let fails = |errno: &i32| {
                let fault = Fault { op, after, times: 1, errno: *errno };
                fail_once(&oracle, &bases[seed], policy, fault, seed as u64)
            };
            let reached = errnos.iter().filter(|errno| fails(errno)).count();
            *done.lock().unwrap().entry(format!("{op:?}")).or_insert(0) += reached;
            if reached == 0 {
                break;
            }
        }
    });
    let done = done.into_inner().unwrap();
    super::report(&format!("e01: {} faults of the disk: {done:?}", done.values().sum::<usize>()));
    assert!(done.values().all(|count| *count > 0), "some never happened: {done:?}");
}

/// The entries of `s`, by the milliseconds of their IDs.
fn entries(db: &Db) -> Vec<u64> {
    let reply = run(db, "XRANGE s - +").unwrap();
    let entries = reply.as_array().unwrap().iter();
    let id = |entry: &Reply| entry.as_array().unwrap()[0].as_text().unwrap().to_owned();
    entries.map(|entry| id(entry).split_once('-').unwrap().0.parse().unwrap()).collect()
}

/// From the `after`th on, an operation fails until the disk heals.
fn fail_for_long(policy: &str, fault: Fault) {
    let what = format!("{policy}: {fault:?}");
    let disk = FaultDisk::new(fault.after);
    let db = open(&disk, policy, &[]).unwrap();
    let mut acked = Vec::new();
    for ms in 1..=5 {
        run(&db, &format!("XADD s {ms}-1 f v")).unwrap();
        acked.push(ms);
    }
    disk.fail(fault);
    let mut refused = None;
    for ms in 6..60_u64 {
        match run(&db, &format!("XADD s {ms}-1 f v")) {
            Ok(_) => acked.push(ms),
            Err(Error::Command(error @ CommandError::Misconfigured(_))) => {
                refused = Some(error.to_string());
                break;
            }
            Err(Error::Storage(_)) => {}
            Err(error) => panic!("{what}: {error}"),
        }
        if ms.is_multiple_of(10) {
            // A snapshot does what a write alone does not; it may fail.
            drop(run(&db, "SAVE"));
            // Under `everysec` this is when the sync would be.
            db.core().aof().unwrap().request_sync();
        }
    }
    let saves = || info(&db, "rdb_saves").parse::<u64>().unwrap();
    let before = saves();
    if let Some(refusal) = &refused {
        assert!(refusal.starts_with("MISCONF Errors writing to the AOF file: "), "{refusal}");
        assert_eq!(info(&db, "aof_last_write_status"), "err", "{what}");
        // Reads go on, and writes are refused as often as they are tried.
        assert!(entries(&db).len() >= acked.len(), "{what}");
        run(&db, "XADD s 100-1 f v").unwrap_err();
    }
    for disk in [disk.kill(), disk.crash(7)] {
        // It starts from whatever is there; a failed disk may have taken what was not synced.
        let found = entries(&open(&disk, policy, &[]).unwrap());
        let lost: Vec<_> = acked.iter().filter(|ms| !found.contains(ms)).collect();
        assert!(lost.is_empty() || policy != "always", "{what}: lost {lost:?}");
    }
    disk.heal();
    let mut next = 101..;
    wait_until(&format!("writes go on: {what}"), || {
        let ms = next.next().unwrap();
        let added = run(&db, &format!("XADD s {ms}-1 f v")).is_ok();
        acked.extend(added.then_some(ms));
        added
    });
    assert_eq!(info(&db, "aof_last_write_status"), "ok", "{what}");
    // Of any operation some are of the log and some of the snapshot: both ways are possible.
    if refused.is_some() && fault.op != Op::Any {
        let heals_alone = fault.errno == ENOSPC && [Op::Write, Op::Allocate].contains(&fault.op);
        // The log goes on a moment before the snapshot is counted.
        let how = format!("a snapshot is the way back: {what}");
        wait_until(&how, || heals_alone == (saves() == before));
    }
    run(&db, "XADD s 9999-1 f v").unwrap();
    acked.push(9999);
    db.core().aof().unwrap().sync().unwrap();
    for disk in [disk.kill(), disk.crash(8), disk.crash(9)] {
        let found = entries(&open(&disk, policy, &[]).unwrap());
        let lost: Vec<_> = acked.iter().filter(|ms| !found.contains(ms)).collect();
        assert!(lost.is_empty(), "{what}: lost {lost:?}");
    }
}

#[test]
fn e02_a_failure_that_lasts_is_told_and_ends_as_documented() {
    let mut works = Vec::new();
    for policy in ["always", "everysec"] {
        for (op, errno) in [
            (Op::Write, EIO),
            (Op::Write, ENOSPC),
            (Op::Allocate, ENOSPC),
            (Op::Sync, EIO),
            (Op::Sync, ENOSPC),
            (Op::SyncDir, EIO),
            (Op::Rename, EIO),
            (Op::Open, EIO),
            (Op::Any, EIO),
            (Op::Any, ENOSPC),
        ] {
            let after = [0, 7];
            works.extend(after.map(|after| (policy, Fault { op, after, times: u64::MAX, errno })));
        }
    }
    // Each waits for seconds, until the server tries again.
    in_parallel(works.len(), &works, |&(policy, fault)| fail_for_long(policy, fault));
}

/// What a disk that became full holds: entries of which some are pending, and a key whose time ends
/// while nobody can log that.
const FILLED: &[&str] = &[
    "XADD s 1-1 f v",
    "XADD s 2-1 f v",
    "XADD s 3-1 f v",
    "XGROUP CREATE s g 0",
    "XREADGROUP GROUP g c STREAMS s >",
    "SAVE",
    "XADD s 4-1 f v",
    "SET soon v PX 1",
];

/// Starts on a disk with so many bytes left, ends in one of two ways, and starts again there.
fn start_full(policy: &str, base: &FaultDisk, free: u64) {
    let what = format!("{policy}, {free} bytes free");
    let mut disk = base.kill();
    let is_misconf = |done: Result<Reply, Error>| match done {
        Ok(_) => false,
        Err(Error::Command(CommandError::Misconfigured(_))) => true,
        Err(error) => panic!("{what}: {error}"),
    };
    let mut kept = entries(&open(&base.kill(), policy, &[]).unwrap());
    for start in 1..=3 {
        let what = format!("{what}, start {start}");
        disk.set_capacity(base.used() + free);
        let db = open(&disk, policy, &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(entries(&db), kept, "{what}");
        assert!(is_misconf(run(&db, "XADD s 9-1 f v")), "{what}: it grows");
        assert_eq!(info(&db, "aof_last_write_status"), "err", "{what}");
        // Each start makes a segment, which has two headers of 4 KiB, and wants 64 KiB at least.
        let lives = free > 90_000;
        if let Some(first) = kept.first().copied().filter(|_| start < 3) {
            for words in [format!("XACK s g {first}-1"), format!("XDEL s {first}-1")] {
                assert_eq!(is_misconf(run(&db, &words)), !lives, "{what}: {words}");
            }
            kept.retain(|&ms| !lives || ms != first);
        }
        wait_until("a key is due", || run(&db, "GET soon").unwrap() == Reply::Null);
        assert_eq!(entries(&db), kept, "{what}: reads go on");
        if start == 3 {
            disk.heal();
            wait_until("writes go on", || !is_misconf(run(&db, "XADD s 10-* f v")));
            assert_eq!(info(&db, "aof_last_write_status"), "ok", "{what}");
            assert_eq!(info(&db, "rdb_saves"), "0", "{what}: it heals without a snapshot");
            kept.push(10);
            db.core().aof().unwrap().sync().unwrap();
            for disk in [disk.kill(), disk.crash(1), disk.crash(2), disk.crash(3)] {
                assert_eq!(entries(&open(&disk, policy, &[]).unwrap()), kept, "{what}");
            }
            return;
        }
        if start == 1 {
            // What is due may not have been written.
            drop(db.close());
        }
        disk = disk.kill();
    }
}

#[test]
fn e05_a_database_starts_on_a_full_disk_serves_reads_and_heals_by_itself() {
    let mut works = Vec::new();
    for policy in ["always", "everysec", "no"] {
        for words in [FILLED, &[]] {
            let disk = FaultDisk::new(1);
            let db = open(&disk, policy, &[]).unwrap();
            words.iter().for_each(|words| drop(run(&db, words).unwrap()));
            db.close().unwrap();
            let base = disk.kill();
            works.extend(
                [0, 5_000, 60_000, 100_000, 250_000].map(|free| (policy, base.clone(), free)),
            );
        }
        works.push((policy, FaultDisk::new(1), 0));
    }
    in_parallel(4, &works, |(policy, base, free)| start_full(policy, base, *free));
}

/// A database that listens.
struct World {
    db: Db,
    listening: Listening,
    disk: FaultDisk,
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that fails ends, too.
        self.disk.heal();
    }
}

impl World {
    fn open(disk: &FaultDisk, settings: &[(&str, &str)]) -> World {
        let db = open(disk, "everysec", settings).unwrap();
        let listening = db.serve("127.0.0.1:0").unwrap();
        World { db, listening, disk: disk.clone() }
    }

    fn connect(&self) -> Client {
        Client::to(self.listening.address())
    }

    /// How much is written and not durable. INFO shows what is in memory, so it would wait.
    fn unsynced(&self) -> usize {
        let aof = self.db.core().aof().unwrap();
        usize::try_from(aof.end().0 - aof.durable().0).unwrap()
    }
}

const COUNTED: &str = "[:1 :0]";

#[test]
fn e03_sync_fails_once_and_the_data_is_gone() {
    for (policy, seed) in [("always", 1), ("everysec", 1), ("always", 2), ("everysec", 2)] {
        let disk = FaultDisk::new(seed);
        let world = World::open(&disk, &[("appendfsync", policy)]);
        let mut client = world.connect();
        for ms in 1..=5 {
            assert_eq!(client.ask(&format!("XADD s {ms}-1 f v")), format!("{ms}-1"));
        }
        assert_eq!(client.ask("WAITAOF 1 0 0"), COUNTED);
        // The failed sync marks as clean what the disk never got; later ones succeed.
        disk.fail(Fault { op: Op::Sync, after: 0, times: 1, errno: EIO });
        let acked = client.try_ask("XADD s 6-1 f v");
        assert!(policy == "everysec" || acked.is_none(), "{policy}: {acked:?} without a sync");
        let survives = |ms: u64, seed: u64| {
            entries(&open(&disk.crash(seed), policy, &[]).unwrap()).contains(&ms)
        };
        // Whoever is told that it is durable could lose power that moment.
        let end = Instant::now() + DEADLINE;
        let mut counted = false;
        while !counted && Instant::now() < end {
            match client.try_ask("WAITAOF 1 0 10").as_deref() {
                Some(COUNTED) => counted = true,
                Some(_) => {}
                None => break,
            }
        }
        assert!(!counted || (0..4).all(|seed| survives(6, seed)), "{policy}: counted and lost");
        let mut client = world.connect();
        wait_until("the log goes on", || client.ask("XADD s 7-* f v") == "7-0");
        assert_eq!(client.ask("WAITAOF 1 0 0"), COUNTED);
        for seed in 0..4 {
            assert!([1, 5, 7].iter().all(|&ms| survives(ms, seed)), "{policy}: acked and lost");
        }
        drop(world);
    }
}

#[test]
fn e07_a_sync_that_does_not_end_holds_acks_and_nothing_else() {
    let disk = FaultDisk::new(1);
    let world = World::open(&disk, &[("appendfsync", "always")]);
    let (mut writer, mut other) = (world.connect(), world.connect());
    assert_eq!(writer.ask("XADD s 1-1 f v"), "1-1");
    disk.hold_syncs();
    writer.tell("XADD s 2-1 f v");
    wait_until("it is written", || world.unsynced() > 0);
    for _ in 0..100 {
        assert_eq!(other.ask("PING"), "+PONG");
    }
    // Another writer is executed meanwhile, and waits as well.
    let mut second = world.connect();
    second.tell("XADD s 3-1 f v");
    for _ in 0..100 {
        assert_eq!(other.ask("PING"), "+PONG");
    }
    assert!(writer.is_silent() && second.is_silent(), "an ack before its sync");
    disk.heal();
    assert_eq!((writer.reply(), second.reply()), ("2-1".into(), "3-1".into()));
}

#[test]
fn e07_writes_go_on_to_the_documented_bound_then_wait() {
    const VALUE: usize = 64 << 10;
    let disk = FaultDisk::new(1);
    let world = World::open(&disk, &[("aof-unsynced-max-bytes", "1mb")]);
    let mut other = world.connect();
    disk.hold_syncs();
    let value = vec![b'x'; VALUE];
    let mut writers: Vec<Client> = (0..40).map(|_| world.connect()).collect();
    for writer in &mut writers {
        writer.send(&request(&[b"XADD", &b"s"[..], b"*", b"f", &value]));
    }
    let unsynced = || world.unsynced();
    wait_until("the bound is reached", || unsynced() > 1 << 20);
    for _ in 0..200 {
        assert_eq!(other.ask("PING"), "+PONG");
    }
    let acked = writers.iter_mut().map(|writer| usize::from(!writer.is_silent())).sum::<usize>();
    // The writes below the bound went on; those behind it wait, and are not refused. What was read
    // before the bound was seen is at most one turn of the loop, which has a mebibyte.
    assert!(acked * VALUE >= (1 << 20) - VALUE, "{acked} of 40 acknowledged");
    assert!(unsynced() <= (2 << 20) + 2 * VALUE, "{} bytes unsynced", unsynced());
    disk.heal();
    assert!(writers.iter_mut().all(|writer| !writer.reply().starts_with('-')));
    assert_eq!(other.ask("XLEN s"), ":40");
    assert_ne!(info(&world.db, "aof_delayed_fsync"), "0", "that some waited is told");
}

#[test]
fn e09_waitaof_answers_when_the_sync_has_ended_and_not_before() {
    for policy in ["everysec", "always"] {
        let disk = FaultDisk::new(1);
        let world = World::open(&disk, &[("appendfsync", policy)]);
        let (mut client, mut other) = (world.connect(), world.connect());
        assert_eq!(client.ask("XADD s 1-1 f v"), "1-1");
        assert_eq!(client.ask("WAITAOF 1 0 0"), COUNTED);
        disk.hold_syncs();
        client.tell("XADD s 2-1 f v");
        client.tell("WAITAOF 1 0 0");
        if policy == "everysec" {
            assert_eq!(client.reply(), "2-1");
        }
        wait_until("it is written", || world.unsynced() > 0);
        assert_eq!(other.ask("PING"), "+PONG");
        assert!(client.is_silent(), "{policy}: an answer before the end of the sync");
        disk.heal();
        if policy == "always" {
            assert_eq!(client.reply(), "2-1");
        }
        assert_eq!(client.reply(), COUNTED);
        assert_eq!(entries(&open(&disk.crash(1), policy, &[]).unwrap()), [1, 2]);
    }
}

/// Pipelines of many connections that grow the data until the disk is full, and beyond.
fn overfill(shards: &str, connections: usize) {
    let disk = FaultDisk::new(1);
    let world = World::open(&disk, &[("shards", shards)]);
    let mut client = world.connect();
    for words in ["XADD s 1-1 f v", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >"] {
        client.ask(words);
    }
    disk.set_capacity(disk.used() + 1_500_000);
    let value = "v".repeat(10_000);
    let pipeline = |n: usize| -> Vec<u8> {
        let add = |i: usize| request(&["XADD", &format!("{n}-{}", i % 4), "*", "f", &value]);
        (0..800 / connections).flat_map(add).collect()
    };
    let mut clients: Vec<Client> = (0..connections).map(|_| world.connect()).collect();
    clients.iter_mut().enumerate().for_each(|(n, client)| client.send(&pipeline(n)));
    let (mut added, mut refused) = (0, 0);
    for client in &mut clients {
        for _ in 0..800 / connections {
            match &client.reply()[..] {
                reply if reply.starts_with("-MISCONF") => refused += 1,
                reply => added += usize::from(reply.contains('-')),
            }
        }
    }
    // Each is answered, so nothing that did not fit was applied; and room is left for what frees.
    assert!(added > 50 && refused > 50, "{shards} shards: {added} added, {refused} refused");
    assert_eq!(client.ask("XACK s g 1-1"), ":1", "{shards} shards");
    assert_eq!(client.ask("XDEL s 1-1"), ":1", "{shards} shards");
    assert_eq!(info(&world.db, "aof_last_write_status"), "err");
}

#[test]
fn e05_pipelines_are_refused_before_they_fill_the_disk() {
    for (shards, connections) in [("1", 1), ("1", 100), ("2", 1)] {
        overfill(shards, connections);
    }
}
