//! Calls that wait, and calls while the log fails.

use crate::command::{OwnedRequest, Reply, table};
use crate::db::admin::tests::World;
use crate::testing::{EIO, ENOSPC, Fault, FaultDisk, Op};
use std::time::{Duration, Instant};

const LOG: &[(&str, &str)] = &[("appendonly", "yes"), ("appendfsync", "always")];

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_reader_of_several_shards_that_was_served_is_known_to_none() {
    let world = World::open(&FaultDisk::new(1), &[("appendonly", "no"), ("save", "")]).unwrap();
    let (db, core) = (&world.db, world.db.core());
    let keys: Vec<String> = (0..).map(|n| format!("s{n}")).take(20).collect();
    let on = |shard| keys.iter().find(|key| core.shard_of(key.as_bytes()) == shard).unwrap();
    let (hot, cold) = (on(0), on(1));
    for n in 1..4 {
        std::thread::scope(|scope| {
            let read = ["XREAD", "BLOCK", "0", "STREAMS", hot, cold, "$", "$"];
            let reader = scope.spawn(move || db.command(read).wait().unwrap());
            until("the reader waits", || world.info("blocked_clients") == "1");
            world.db.command(["XADD", hot, &format!("{n}-1"), "f", "v"]).wait().unwrap();
            reader.join().unwrap();
        });
        until("nobody waits", || world.info("blocked_clients") == "0");
    }
}

#[test]
fn reads_go_on_from_memory_while_the_log_is_broken() {
    let disk = FaultDisk::new(1);
    let world = World::open(&disk, LOG).unwrap();
    let ask = |words: &str| world.db.command(words.split(' ')).wait();
    ask("SET k old").unwrap();
    // Not even a snapshot can take the place of the log.
    for op in [Op::Sync, Op::Rename] {
        disk.fail(Fault { op, after: 0, times: u64::MAX, errno: EIO });
    }
    ask("SET k new").unwrap_err();
    for _ in 0..10 {
        assert_eq!(ask("GET k").unwrap().as_text(), Some("new"));
        ask("SET k newer").unwrap_err();
    }
}

#[test]
fn a_read_that_finds_a_key_expired_goes_on_while_the_log_takes_nothing() {
    for errno in [EIO, ENOSPC] {
        let disk = FaultDisk::new(1);
        let world = World::open(&disk, LOG).unwrap();
        let ask = |words: &str| world.db.command(words.split(' ')).wait();
        let due = world.db.core().now().0 + 200;
        // Nobody but a reader removes them.
        ask("DEBUG SET-ACTIVE-EXPIRE 0").unwrap();
        for n in 0..4 {
            ask(&format!("SET k{n} old PXAT {due}")).unwrap();
        }
        for op in [Op::Write, Op::Rename, Op::SetLen] {
            disk.fail(Fault { op, after: 0, times: u64::MAX, errno });
        }
        ask("SET k new").unwrap_err();
        until("the keys are due", || world.db.core().now().0 > due);
        for n in 0..4 {
            assert_eq!(ask(&format!("GET k{n}")).unwrap(), Reply::Null, "{errno}");
            assert_eq!(ask("GET k").unwrap().as_text(), Some("new"));
        }
    }
}

#[test]
fn a_transaction_is_refused_if_the_disk_has_no_room_for_all_of_it() {
    let disk = FaultDisk::new(1);
    let world = World::open(&disk, LOG).unwrap();
    world.db.command(["SET", "k", "old"]).wait().unwrap();
    disk.set_capacity(disk.used());
    let core = world.db.core();
    let value = "v".repeat(100_000);
    let request = OwnedRequest::new(["SET", "k", &value].map(str::as_bytes));
    let row = table::lookup(&request.request()).unwrap();
    let commands = |n| std::iter::repeat_with(|| (row, request.request())).take(n);
    let refused = |n| core.write_refusal_of_all(0, commands(n), core.now()).is_some();
    let fit = (1..10_000).find(|n| refused(*n)).expect("the disk is full") - 1;
    assert!(fit > 1 && !refused(fit), "one fits by far");
}

#[test]
fn a_small_change_of_a_large_string_takes_little_room_on_the_disk() {
    let disk = FaultDisk::new(1);
    let world = World::open(&disk, LOG).unwrap();
    let ask = |args: &[&str]| world.db.command(args).wait();
    ask(&["SET", "k", &"v".repeat(1 << 20)]).unwrap();
    disk.set_capacity(disk.used() + (1 << 20));
    for n in 0..200 {
        assert_eq!(ask(&["APPEND", "k", "v"]).unwrap(), Reply::Integer((1 << 20) + n + 1));
        ask(&["SETRANGE", "k", "7", "w"]).unwrap();
    }
}

#[cfg(feature = "server")]
#[test]
fn a_waitaof_whose_time_is_over_leaves_nothing_that_waits_for_the_log() {
    use std::io::{Read, Write};

    let world = World::open(&FaultDisk::new(1), &[("appendfsync", "no")]).unwrap();
    let listening = world.db.serve("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listening.address()).unwrap();
    let watching = || world.db.core().log_moves.receiver_count();
    let before = watching();
    for _ in 0..20 {
        client.write_all(b"SET k v\r\nWAITAOF 1 0 1\r\n").unwrap();
        let reply = b"+OK\r\n*2\r\n:0\r\n:0\r\n";
        let mut got = vec![0; reply.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, reply);
    }
    assert_eq!(watching(), before);
    // And one that has time hears of a sync that comes later, or leaves with its client.
    client.write_all(b"WAITAOF 1 0 0\r\n").unwrap();
    until("the client waits", || watching() > before);
    world.db.core().aof().unwrap().request_sync();
    let mut got = [0; 12];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"*2\r\n:1\r\n:0\r\n");
    client.write_all(b"SET k v\r\nWAITAOF 1 0 0\r\n").unwrap();
    until("the client waits", || watching() > before);
    drop(client);
    until("nobody waits", || watching() == before);
}
