//! What was seen to go wrong in other servers of this protocol, one test each: a fault is injected,
//! and nothing that was acknowledged may be lost, nothing damaged may pass for sound.
//!
//! P1 a torn transaction at the end of the log · P2 a directory that cannot be synced while
//! files are switched · P3 WAITAOF after a failed sync · P4 WAITAOF during a slow one · P5 pending
//! entries whose entries are gone · P6 bytes changed between records · P7 a record that does not
//! apply · P8 malformed payloads of RESTORE · P9 a failed sync under `always` · P10 bytes behind a
//! snapshot · P11 a checksum of zeros · P12 the log switched on in the settings · P13 two servers
//! on one directory · P14 the secret of a replication stream: there is no replication, so what
//! remains is that no two starts have the same identities.
//!
//! P2, P3, P4 and P9 need `strace`, and say so where they cannot use it.

use crate::inject::Injection;
use crate::payloads::{Payload, malformed, with_footer};
use crate::{Client, Place, Server};
use millstream::persist::aof::{Aof, AofOptions, frame_buffer};
use millstream::persist::disk::OsDisk;
use millstream::persist::{Directory, Position};
use millstream::testing::Rng;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ALWAYS: &[&str] = &["--appendfsync", "always"];
/// Where the frames of a segment begin.
const FRAMES_AT: usize = 8192;

/// The snapshots, in order.
fn snapshots(place: &Place) -> Vec<PathBuf> {
    let files = fs::read_dir(place.data()).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ext| ext == "snap")).collect();
    found.sort();
    found
}

/// Adds `from-1 … to-1` to `s`, each acknowledged.
fn add(client: &mut Client, from: usize, to: usize) {
    for n in from..=to {
        assert_eq!(client.ask(&format!("XADD s {n}-1 f value{n}")), format!("{n}-1"));
    }
}

/// The end of what is written in a file.
fn end_of(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn p01_a_log_that_ends_inside_a_transaction_keeps_what_follows_the_next_start() {
    let server = Server::start(&["--appendfsync", "no"]);
    let mut client = server.connect();
    add(&mut client, 1, 5);
    let segment = server.place().segments().pop().unwrap();
    let before = end_of(&fs::read(&segment).unwrap());
    for command in ["MULTI", "XADD s 6-1 f v", "XADD t 6-1 f v", "SET k v", "EXEC"] {
        client.ask(command);
    }
    let place = server.kill();
    let whole = fs::read(&segment).unwrap();
    let after = end_of(&whole);
    assert!(after > before + 20, "the transaction is in the log");
    for cut in before..after {
        for file in fs::read_dir(place.data()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        fs::write(&segment, &whole[..cut]).unwrap();
        let server = place.start(ALWAYS);
        let mut client = server.connect();
        assert_eq!(client.ask("XLEN s"), ":5", "cut at {cut}");
        assert_eq!(client.ask("EXISTS t k"), ":0", "half of a transaction, cut at {cut}");
        add(&mut client, 6, 11);
        let server = server.kill().start(ALWAYS);
        assert_eq!(server.connect().ask("XLEN s"), ":11", "cut at {cut}");
        server.kill();
    }
}

#[test]
fn p02_a_directory_that_cannot_be_synced_leaves_one_that_can_be_started() {
    let server = Server::start(ALWAYS);
    let mut client = server.connect();
    add(&mut client, 1, 10);
    let Some(injection) = Injection::start("p02", &server, "fsync:error=EIO") else { return };
    client.ask("BGREWRITEAOF");
    let mut acknowledged = 10;
    for n in 11..=30 {
        match client.try_ask(&format!("XADD s {n}-1 f v")) {
            Some(reply) if reply == format!("{n}-1") => acknowledged = n,
            Some(reply) => assert!(reply.starts_with("-MISCONF"), "{reply}"),
            None => client = server.connect(),
        }
    }
    assert_eq!(server.connect().ask("XLEN s").chars().next(), Some(':'), "reads go on");
    let place = server.kill();
    drop(injection);
    let server = place.start(ALWAYS);
    assert!(last(&server) >= acknowledged, "{acknowledged} acknowledged");
    assert_eq!(server.connect().ask("XRANGE s 1-1 10-1").matches("value").count(), 10);
}

/// The milliseconds of the last ID of `s`.
fn last(server: &Server) -> usize {
    let reply = server.connect().call(&["XREVRANGE", "s", "+", "-", "COUNT", "1"]);
    let id = reply.array()[0].array()[0].text();
    id.split('-').next().unwrap().parse().unwrap()
}

#[test]
fn p03_waitaof_never_counts_a_sync_that_failed() {
    let server = Server::start(&["--appendfsync", "everysec"]);
    let mut client = server.connect();
    add(&mut client, 1, 5);
    assert_eq!(client.ask("WAITAOF 1 0 0"), "[:1 :0]");
    let injection = Injection::start("p03", &server, "fdatasync,fsync:error=EIO");
    let Some(injection) = injection else { return };
    assert_eq!(client.ask("XADD s 6-1 f v"), "6-1");
    // Nobody has written it: neither the log nor a snapshot that would take its place.
    let reply = client.try_ask("WAITAOF 1 0 2500");
    assert!(reply.as_deref().is_none_or(|reply| reply != "[:1 :0]"), "{reply:?}");
    // Asked once more after the failure is known: the write is still its connection's last.
    crate::wait_until("the failure is known", || {
        server.connect().ask("INFO persistence").contains("aof_last_write_status:err")
    });
    for command in ["XLEN s", "WAITAOF 1 0 300"] {
        let reply = client.try_ask(command);
        assert!(reply.as_deref().is_none_or(|reply| reply != "[:1 :0]"), "{reply:?}");
    }
    let mut client = server.connect();
    assert!(client.ask("INFO persistence").contains("aof_last_write_status:err"));
    assert!(client.ask("XADD s 7-1 f v").starts_with("-MISCONF"));
    assert!(client.ask("XRANGE s 1-1 1-1").contains("value1"), "reads go on");
    drop(injection);
    crate::wait_until("the log goes on behind a snapshot", || {
        client.ask("INFO persistence").contains("aof_last_write_status:ok")
    });
    assert_eq!(client.ask("XADD s 8-1 f v"), "8-1");
    assert_eq!(client.ask("WAITAOF 1 0 0"), "[:1 :0]");
    let server = server.kill().start(&[]);
    assert_eq!(last(&server), 8);
    assert_eq!(server.connect().ask("XRANGE s 1-1 5-1").matches("value").count(), 5);
}

#[test]
fn p04_waitaof_answers_after_a_slow_sync_and_not_before() {
    const SLOW: Duration = Duration::from_millis(1500);
    for policy in ["everysec", "always"] {
        let server = Server::start(&["--appendfsync", policy]);
        let mut client = server.connect();
        add(&mut client, 1, 5);
        assert_eq!(client.ask("WAITAOF 1 0 0"), "[:1 :0]");
        let what = format!("fdatasync:delay_enter={}", SLOW.as_micros());
        let Some(injection) = Injection::start("p04", &server, &what) else { return };
        let begun = Instant::now();
        client.tell("XADD s 6-1 f v");
        client.tell("WAITAOF 1 0 0");
        assert_eq!(client.reply(), "6-1");
        let (written, synced) = (begun.elapsed(), client.reply());
        assert_eq!(synced, "[:1 :0]");
        // Less than the delay would be an answer before the end of the sync.
        assert!(begun.elapsed() >= SLOW, "{policy}: after {:?}", begun.elapsed());
        assert!(policy == "everysec" || written >= SLOW, "{policy}: after {written:?}");
        drop(injection);
    }
}

#[test]
fn p05_a_pending_entry_whose_entry_is_gone_stays_pending_through_rewrites() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    add(&mut client, 1, 3);
    client.ask("XGROUP CREATE s g 0");
    client.ask("XREADGROUP GROUP g c STREAMS s >");
    assert_eq!(client.ask("XDEL s 2-1"), ":1");
    assert_eq!(client.ask("XTRIM s MINID 2-1"), ":1");
    let pending = "[:3 1-1 3-1 [[c 3]]]";
    assert_eq!(client.ask("XPENDING s g"), pending);
    assert_eq!(client.ask("SAVE"), "+OK");
    assert_eq!(client.ask("SAVE"), "+OK");
    let (place, _) = server.stop();
    let server = place.start(&[]);
    assert_eq!(server.connect().ask("XPENDING s g"), pending);
    let server = server.kill().start(&[]);
    assert_eq!(server.connect().ask("XPENDING s g"), pending);
}

#[test]
fn p06_a_changed_byte_between_and_in_records_is_noticed() {
    let server = Server::start(ALWAYS);
    let mut client = server.connect();
    add(&mut client, 1, 3);
    let segment = server.place().segments().pop().unwrap();
    let begin = end_of(&fs::read(&segment).unwrap());
    add(&mut client, 4, 4);
    let end = end_of(&fs::read(&segment).unwrap()) + 2;
    add(&mut client, 5, 8);
    let place = server.kill();
    let whole = fs::read(&segment).unwrap();
    // Every byte of a frame, and the first ones of the next: there are none that do not matter.
    for at in begin..end {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x21;
        fs::write(&segment, &damaged).unwrap();
        let status = place.try_start(ALWAYS).map(drop).unwrap_err();
        assert_eq!(status.code(), Some(1), "byte {at}");
        assert!(place.log().contains("is damaged at byte"), "byte {at}: {}", place.log());
    }
    fs::write(&segment, &whole).unwrap();
    assert_eq!(place.start(ALWAYS).connect().ask("XLEN s"), ":8");
}

/// Opens the log of a directory that nobody runs on, and appends `payload` as a frame.
fn append(place: &Place, payload: impl FnOnce(&[Vec<u8>]) -> Vec<u8>) {
    let directory = Directory::open(place.data(), Arc::new(OsDisk)).unwrap();
    let mut frames = Vec::new();
    let options = AofOptions { sync_thread: false, ..AofOptions::default() };
    let (aof, _) = Aof::open(directory, options, Position(0), &mut |_, payload| {
        frames.push(payload.to_vec());
        Ok(())
    })
    .unwrap();
    let mut buffer = frame_buffer();
    buffer.extend_from_slice(&payload(&frames));
    aof.append(&mut buffer).unwrap();
    aof.close().unwrap();
}

#[test]
fn p07_a_record_that_does_not_apply_stops_the_start() {
    type Payload = fn(&[Vec<u8>]) -> Vec<u8>;
    // An entry that is there already; bytes that are no record; a record cut short.
    let wrong: [Payload; 3] = [
        |frames| frames.last().unwrap().clone(),
        |_| vec![0xff; 9],
        |frames| frames[0][..frames[0].len() - 1].to_vec(),
    ];
    for (at, payload) in wrong.into_iter().enumerate() {
        let server = Server::start(ALWAYS);
        add(&mut server.connect(), 1, 3);
        let place = server.kill();
        append(&place, payload);
        let status = place.try_start(&[]).map(drop).unwrap_err();
        assert_eq!(status.code(), Some(1), "{at}");
        assert!(place.log().contains("does not apply"), "{at}: {}", place.log());
    }
}

/// Ordinary commands on a key; each is answered.
fn use_stream(client: &mut Client, key: &str) {
    for command in [
        "XINFO STREAM @ FULL",
        "XINFO STREAM @",
        "XRANGE @ - +",
        "XREVRANGE @ + -",
        "XREAD STREAMS @ 0",
        "XREADGROUP GROUP g c STREAMS @ 0",
        "XREADGROUP GROUP g c STREAMS @ >",
        "XPENDING @ g - + 10",
        "XAUTOCLAIM @ g d 0 0",
        "XCLAIM @ g e 0 1-1 1-2 5-1 FORCE",
        "XACK @ g 1-1",
        "XDEL @ 1-1 1-2",
        "XADD @ * f v",
        "XTRIM @ MAXLEN 1",
        "XINFO CONSUMERS @ g",
        "XGROUP DELCONSUMER @ g c",
        "DUMP @",
        "COPY @ copied REPLACE",
        "DEL @",
    ] {
        client.ask(&command.replace('@', key));
    }
}

#[test]
fn p08_malformed_payloads_of_restore_are_refused_and_the_server_lives() {
    for sanitize in ["no", "yes"] {
        let server = Server::start(&["--sanitize-dump-payload", sanitize]);
        let mut client = server.connect();
        let mut restore = |key: &str, payload: &[u8]| {
            let words: [&[u8]; 5] = [b"RESTORE", key.as_bytes(), b"0", payload, b"REPLACE"];
            let reply = client.call(&words).to_string();
            (reply, server.connect())
        };
        let sound = Payload::sound().bytes();
        let (reply, mut other) = restore("sound", &sound);
        assert_eq!(reply, "+OK", "what the others are made of");
        assert_eq!(other.ask("XLEN sound"), ":5");
        let all = malformed();
        assert!(all.len() >= 60, "{}", all.len());
        for (rule, payload) in &all {
            let (reply, mut other) = restore("key", payload);
            assert_eq!(reply, "-ERR Bad data format", "{rule}");
            assert_eq!(other.ask("EXISTS key"), ":0", "{rule}");
            use_stream(&mut other, "key");
        }
        // Any byte of a sound one, changed: refused, or as good as any other stream.
        let mut rng = Rng::new(8);
        for _ in 0..600 {
            let mut payload = sound[..sound.len() - 10].to_vec();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(payload.len());
                payload[at] =
                    [0, 1, 0x7f, 0x80, 0xff, payload[at] ^ (1 << rng.below(8))][rng.below(6)];
            }
            let (reply, mut other) = restore("key", &with_footer(payload));
            let expected = ["+OK", "-ERR Bad data format"];
            assert!(expected.contains(&reply.as_str()), "{reply}");
            use_stream(&mut other, "key");
        }
        assert!(client.ask("XINFO STREAM sound FULL").contains("length :5"));
    }
}

#[test]
fn p09_a_failed_sync_under_always_acknowledges_nothing() {
    let server = Server::start(ALWAYS);
    let mut client = server.connect();
    add(&mut client, 1, 5);
    let injection = Injection::start("p09", &server, "fdatasync,fsync:error=EIO");
    let Some(injection) = injection else { return };
    // The outcome is unknown: the connection is closed, as by a crash.
    assert_eq!(client.try_ask("XADD s 6-1 f v"), None);
    let mut client = server.connect();
    assert!(client.ask("XADD s 7-1 f v").starts_with("-MISCONF"));
    assert!(client.ask("INFO persistence").contains("aof_last_write_status:err"));
    drop(injection);
    let server = server.kill().start(ALWAYS);
    let ids = last(&server);
    assert!(ids == 5 || ids == 6, "{ids}");
    add(&mut server.connect(), 7, 9);
    assert_eq!(last(&server.kill().start(ALWAYS)), 9);
}

/// Damages the newest snapshot, then both, of a directory that has two: the first costs nothing
/// and is told, the second is refused.
fn damaged_snapshots(damage: impl Fn(&mut Vec<u8>)) {
    let server = Server::start(&[]);
    let mut client = server.connect();
    add(&mut client, 1, 5);
    for n in [6, 7, 8] {
        assert_eq!(client.ask("SAVE"), "+OK");
        add(&mut client, n, n);
    }
    let digest = client.ask("DEBUG DIGEST");
    let place = server.kill();
    let files = snapshots(&place);
    assert_eq!(files.len(), 2);
    for (at, file) in files.iter().rev().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        damage(&mut bytes);
        fs::write(file, bytes).unwrap();
        let logged = place.log().len();
        match place.try_start(&[]) {
            Ok(server) => {
                assert_eq!(at, 0, "nothing whole is left");
                assert_eq!(server.connect().ask("DEBUG DIGEST"), digest);
                server.kill();
            }
            Err(status) => assert_eq!((at, status.code()), (1, Some(1))),
        }
        let newest = files[1].file_name().unwrap().to_string_lossy().into_owned();
        assert!(place.log()[logged..].contains(&newest), "{}", place.log());
    }
}

#[test]
fn p10_bytes_behind_the_end_of_a_snapshot_are_not_loaded_silently() {
    damaged_snapshots(|bytes| bytes.extend(b"more"));
    damaged_snapshots(|bytes| bytes.push(0));
}

#[test]
fn p11_a_checksum_of_zeros_is_a_wrong_checksum() {
    // The header's, a section's header's, a section's payload's, the trailer's.
    damaged_snapshots(|bytes| bytes[24..32].fill(0));
    damaged_snapshots(|bytes| bytes[32 + 24..64].fill(0));
    damaged_snapshots(|bytes| bytes[32 + 16..32 + 24].fill(0));
    damaged_snapshots(|bytes| {
        let at = bytes.len() - 8;
        bytes[at..].fill(0);
    });
}

#[test]
fn p11_a_checksum_of_zeros_in_the_log_is_a_wrong_checksum() {
    let server = Server::start(ALWAYS);
    add(&mut server.connect(), 1, 5);
    let place = server.kill();
    let segment = place.segments().pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[FRAMES_AT..FRAMES_AT + 8].fill(0);
    fs::write(&segment, bytes).unwrap();
    assert_eq!(place.try_start(&[]).map(drop).unwrap_err().code(), Some(1));
}

#[test]
fn p12_the_log_switched_on_in_the_settings_keeps_what_only_a_snapshot_had() {
    let server = Server::start(&["--appendonly", "no", "--save", "3600 1"]);
    let mut client = server.connect();
    add(&mut client, 1, 10);
    assert_eq!(client.ask("SAVE"), "+OK");
    let server = server.kill().start(&["--appendonly", "yes"]);
    let mut client = server.connect();
    assert_eq!(client.ask("XLEN s"), ":10");
    add(&mut client, 11, 12);
    let server = server.kill().start(&["--appendonly", "yes"]);
    assert_eq!(server.connect().ask("XLEN s"), ":12");
}

#[test]
fn p13_a_second_server_on_the_directory_is_refused_and_nothing_is_mixed() {
    let server = Server::start(ALWAYS);
    let mut client = server.connect();
    for n in 1..=3 {
        add(&mut client, n, n);
        let status = server.place().try_start(ALWAYS).map(drop).unwrap_err();
        assert_eq!(status.code(), Some(1));
    }
    let holder = format!("process {}", server.process.id());
    assert!(server.place().log().contains(&holder), "{}", server.place().log());
    let server = server.kill().start(ALWAYS);
    assert_eq!(server.connect().ask("XLEN s"), ":3");
}

#[test]
fn p14_no_two_starts_have_the_same_identities() {
    let mut seen = std::collections::BTreeSet::new();
    let mut place = Place::new();
    for start in 1..=4 {
        let server = place.start(&[]);
        let info = server.connect().ask("INFO everything");
        for field in ["run_id:", "master_replid:"] {
            let id = info.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            assert_eq!(id.trim().len(), 40);
            seen.insert(id.trim().to_owned());
        }
        assert_eq!(seen.len(), 2 * start, "{seen:?}");
        place = server.kill();
    }
}
