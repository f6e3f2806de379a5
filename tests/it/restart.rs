//! Stop, kill, restart: what was acknowledged is there again, to the last detail; a torn end is
//! cut, damage is refused, and one directory has one server.
//!
//! `MILLSTREAM_LONG=1` cuts at every byte and damages every byte instead of a random choice.

use crate::{Client, DEADLINE, Place, Server, Value, request};
use millstream::persist::FORMAT_VERSION;
use millstream::testing::Rng;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Commands that leave every kind of state behind. `@` starts a comment.
const EVERYTHING: &str = "
@ entries: the same fields, others, tombstones, trimmed, emptied, with counters that were set
XADD s 1-1 name a value 1
XADD s 1-2 name b value 2
XADD s 2-0 name c value 3
XADD s 3-0 other x
XADD s 3-7 name d value 4
XADD s 18446744073709551615-3 name e value 5
XDEL s 1-2
XADD trimmed MAXLEN = 2 1-1 a b
XADD trimmed MAXLEN = 2 2-1 a b
XADD trimmed MAXLEN = 2 3-1 a b
XTRIM trimmed MINID = 3-1
XADD emptied MAXLEN = 0 5-5 a b
XGROUP CREATE onlygroup g $ MKSTREAM
XADD set 5-0 a b
XSETID set 9-9 ENTRIESADDED 77 MAXDELETEDID 4-4
@ groups: read, acknowledged, claimed, given up, moved, destroyed
XGROUP CREATE s g 0
XGROUP CREATE s h 2-0 ENTRIESREAD 3
XGROUP CREATE s gone $
XGROUP DESTROY s gone
XREADGROUP GROUP g alice COUNT 3 STREAMS s >
XREADGROUP GROUP g bob COUNT 2 STREAMS s >
XREADGROUP GROUP h alice NOACK COUNT 1 STREAMS s >
XREADGROUP GROUP g alice STREAMS s 0
XACK s g 1-1
XGROUP CREATECONSUMER s g idle
XGROUP CREATECONSUMER s g gone
XGROUP DELCONSUMER s g gone
XCLAIM s g carol 0 2-0 IDLE 5000 RETRYCOUNT 9
XCLAIM s g carol 0 3-0 TIME 1000 JUSTID
XCLAIM s h dave 0 3-7 FORCE LASTID 3-7
XAUTOCLAIM s g eve 0 3-7 COUNT 1
XDEL s 3-0
XADD w 1-1 a b
XADD w 2-1 a b
XADD w 3-1 a b
XADD w 4-1 a b
XADD w 5-1 a b
XADD w 6-1 a b
XGROUP CREATE w g 0
XREADGROUP GROUP g alice STREAMS w >
XNACK w g SILENT IDS 1 3-1
XNACK w g FAIL IDS 1 1-1
XNACK w g FATAL IDS 1 2-1
XNACK w g FAIL IDS 1 4-1 RETRYCOUNT 7
XACK w g 5-1
XNACK w g FAIL IDS 1 5-1 FORCE
XREADGROUP GROUP g bob COUNT 1 CLAIM 0 STREAMS w >
XACKDEL w g DELREF IDS 1 6-1
XDELEX w ACKED IDS 1 4-1
XGROUP SETID w g 1-1 ENTRIESREAD 1
@ producers
XADD p IDMP one a * f v
XADD p IDMP one b * f v
XADD p IDMP two a * f v
XADD p IDMPAUTO two * f other
XCFGSET p IDMP-DURATION 3600 IDMP-MAXSIZE 50
XADD p IDMP one a * f v
XADD p IDMPAUTO three * f other
XADD p 99999999999999-1 f v
XIDMPRECORD p four d 99999999999999-1
@ keys: strings, expiries, renamed, copied, moved, swapped, deleted, in one transaction
SET text hello
SET counter 41
SET short x PX 86400000
SET kept x EX 86400
PERSIST kept
EXPIRE s 86400
PEXPIREAT trimmed 99999999999999
PEXPIREAT w 1
XADD w 7-1 a b
XADD from 1-1 a b
RENAME from to
COPY s copied
SET taken x
DEL taken
XADD moved 1-1 a b
MOVE moved 3
SELECT 4
XADD swapped 1-1 a b
SET swapped:text x
SWAPDB 4 5
SELECT 0
MULTI
XADD t1 1-1 a b
XADD t2 1-1 a b
XGROUP CREATE t3 g $ MKSTREAM
SET t4 x
DEL text
XADD t2 2-1 a b
EXEC
@ what nobody waits for is logged with the next change of its shard
XADD key:0 * a b
XADD key:1 * a b
XADD key:2 * a b
XADD key:3 * a b
";

fn build(client: &mut Client) {
    for line in EVERYTHING.lines().filter(|line| !line.is_empty() && !line.starts_with('@')) {
        let reply = client.ask(line);
        assert!(!reply.contains("ERR") && !reply.contains("NOGROUP"), "{line}: {reply}");
    }
    // A payload of a dump: the image of a whole stream is a record of its own.
    let Value::Bulk(dump) = client.call(&["DUMP", "s"]) else { panic!("no dump") };
    let restored: [&[u8]; 4] = [b"RESTORE", b"restored", b"86400000", &dump];
    assert_eq!(client.call(&restored).to_string(), "+OK");
}

/// Everything a client can see of every key of every database.
fn picture(client: &mut Client) -> Vec<String> {
    let mut picture = Vec::new();
    for db in 0..16 {
        client.ask(&format!("SELECT {db}"));
        let mut keys: Vec<String> =
            client.call(&["KEYS", "*"]).array().iter().map(Value::text).collect();
        keys.sort();
        for key in keys {
            let kind = client.ask(&format!("TYPE {key}"));
            let until = client.ask(&format!("PEXPIRETIME {key}"));
            picture.push(format!("{db} {key} {kind} until {until}"));
            if kind == "+stream" {
                for command in
                    [format!("XINFO STREAM {key} FULL COUNT 0"), format!("XINFO GROUPS {key}")]
                {
                    picture.push(client.ask(&command));
                }
            }
            // All that is stored, byte for byte: the order of what was given up, idempotent IDs.
            picture.push(format!("{:?}", client.call(&["DUMP", &key])));
        }
    }
    client.ask("SELECT 0");
    picture
}

#[track_caller]
fn compare(before: &[String], after: &[String]) {
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
}

#[test]
fn a_panic_ends_the_process_and_loses_nothing_that_was_acknowledged() {
    for shards in ["1", "4"] {
        let place = Place::new();
        let mut server = place.start(&["--shards", shards]);
        let mut client = server.connect();
        for n in 0..10 {
            assert_eq!(client.ask(&format!("SET k{n} {n}")), "+OK");
        }
        for words in ["MULTI", "SET k0 half", "SET k1 half", "DEBUG PANIC"] {
            client.ask(words);
        }
        client.tell("EXEC");
        assert!(client.is_closed());
        assert!(!server.process.wait().unwrap().success());
        // It was meant.
        assert!(place.log().contains("panicked at"));
        place.clear_log();
        drop(server);
        let server = place.start(&["--shards", shards]);
        let mut client = server.connect();
        for n in 0..10 {
            assert_eq!(client.ask(&format!("GET k{n}")), n.to_string());
        }
    }
}

#[test]
fn a_killed_server_comes_back_with_everything_and_any_number_of_shards() {
    for policy in ["always", "everysec", "no"] {
        for (before, after) in [("1", "1"), ("1", "4"), ("4", "1"), ("4", "3")] {
            let server = Server::start(&["--appendfsync", policy, "--shards", before]);
            let mut client = server.connect();
            build(&mut client);
            let seen = picture(&mut client);
            let place = server.kill();
            let server = place.start(&["--appendfsync", policy, "--shards", after]);
            let mut client = server.connect();
            compare(&seen, &picture(&mut client));
            // It also goes on as before.
            assert_eq!(client.ask("XADD p IDMP two b * f v").len(), "99999999999999-2".len());
            assert_eq!(client.ask("XADD p IDMP four d * f v"), "99999999999999-1");
            assert_eq!(client.ask("XADD set 9-9 a b").split(' ').next(), Some("-ERR"));
            assert_eq!(client.ask("XADD w 7-* a b"), "7-2");
            let seen = picture(&mut client);
            let (place, status) = server.stop();
            assert!(status.success(), "{status}");
            let server = place.start(&["--appendfsync", policy, "--shards", before]);
            let mut client = server.connect();
            compare(&seen, &picture(&mut client));
            // A snapshot has it, too, with no log behind it that would.
            assert_eq!(client.ask("SAVE"), "+OK");
            assert_eq!(client.ask("CONFIG SET appendonly no"), "+OK");
            let server = server.kill().start(&["--appendonly", "no", "--shards", after]);
            compare(&seen, &picture(&mut server.connect()));
        }
    }
}

#[test]
fn a_key_whose_time_ended_while_nobody_ran_is_gone() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("XADD s 5-5 a b");
    client.ask("SET text x PX 1");
    client.ask("PEXPIRE s 1");
    let server = server.kill().start(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("EXISTS s text"), ":0");
    assert_eq!(client.ask("XADD s 1-1 a b"), "1-1");
}

#[test]
fn a_server_that_is_told_to_stop_ends_well_and_lets_its_clients_go() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(&["--shards", "2"]);
        let mut client = server.connect();
        client.ask("XADD s 1-1 a b");
        let mut waiter = server.connect();
        waiter.tell("XREAD BLOCK 0 STREAMS s $");
        server.wait_blocked(1);
        server.signal(signal);
        assert!(waiter.is_closed());
        assert!(client.is_closed());
        let (place, status) = server.stop();
        assert!(status.success(), "{status}");
        let server = place.start(&[]);
        assert_eq!(server.connect().ask("XLEN s"), ":1");
        assert!(!place.log().contains("torn"), "{}", place.log());
    }
}

#[test]
fn a_signal_does_what_the_settings_say() {
    let snapshots = ["--appendonly", "no", "--save", "3600 1"];
    // Words, whether the data comes back.
    for (words, kept) in [("default", true), ("nosave", false), ("save now", true)] {
        let server = Server::start(&[&snapshots[..], &["--shutdown-on-sigterm", words]].concat());
        server.connect().ask("SET k v");
        let (place, status) = server.stop();
        assert!(status.success(), "{words}: {status}");
        let found = place.start(&snapshots).connect().ask("EXISTS k");
        assert_eq!(found, format!(":{}", u8::from(kept)), "{words}");
    }
    // What cannot be saved keeps the server, unless it is forced.
    let mut server = Server::start(&[&snapshots[..], &["--shutdown-on-sigint", "force"]].concat());
    let mut client = server.connect();
    client.ask("SET k v");
    fs::remove_dir_all(server.place().data()).unwrap();
    server.signal("TERM");
    crate::wait_until("it says why", || server.place().log().contains("errors trying to shut"));
    assert_eq!(client.ask("GET k"), "v");
    server.signal("INT");
    server.process.wait().unwrap();
}

#[test]
fn a_torn_end_is_refused_if_the_settings_say_so() {
    let (place, segment, bytes) = log_of(10);
    let torn = &bytes[..bytes.len() - 3];
    lay_out(&place, &segment, torn);
    let status = place.try_start(&["--aof-load-truncated", "no"]).map(drop).unwrap_err();
    assert_eq!(status.code(), Some(1));
    assert!(place.log().contains("'aof-load-truncated yes'"), "{}", place.log());
    assert_eq!(fs::read(&segment).unwrap(), torn, "nothing was changed");
    let server = place.start(&[]);
    assert!(prefix(&mut server.connect()) >= 9);
    // What a stop or a kill leaves is no torn end.
    let server = server.kill().start(&["--aof-load-truncated", "no"]);
    let (place, _) = server.stop();
    place.start(&["--aof-load-truncated", "no"]);
}

#[test]
fn d08_a_hundred_restarts_without_writes_add_nothing() {
    let server = Server::start(&[]);
    build(&mut server.connect());
    let seen = picture(&mut server.connect());
    let mut place = server.kill();
    let mut sizes = Vec::new();
    for round in 0..100 {
        let server = place.start(&[]);
        if round % 33 == 0 {
            compare(&seen, &picture(&mut server.connect()));
        }
        place = if round % 2 == 0 { server.kill() } else { server.stop().0 };
        sizes.push((place.segments().len(), content(&place).len()));
    }
    // From the third on, of which each begins where the one before it has begun. The content ends
    // with a checksum, whose last bytes may be zeros as those behind it are.
    let (segments, len) = sizes[2];
    let same = |size: &(usize, usize)| size.0 == segments && size.1.abs_diff(len) <= 8;
    assert!(sizes[2..].iter().all(same), "{sizes:?}");
}

#[test]
fn a_second_server_on_the_directory_is_refused_and_the_first_goes_on() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("XADD s 1-1 a b");
    let status = server.place().try_start(&[]).unwrap_err();
    assert_eq!(status.code(), Some(1));
    assert!(server.place().log().contains("is in use by"), "{}", server.place().log());
    assert_eq!(client.ask("XADD s 2-1 a b"), "2-1");
    let server = server.kill().start(&[]);
    assert_eq!(server.connect().ask("XLEN s"), ":2");
}

/// The bytes of all segments up to the last that is not zero.
fn content(place: &Place) -> Vec<u8> {
    let mut content = Vec::new();
    for segment in place.segments() {
        let bytes = fs::read(segment).unwrap();
        let len = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        content.extend_from_slice(&bytes[..len]);
    }
    content
}

/// A log of one segment with entries `1-1` to `n-1`, each durable before the next was sent.
fn log_of(n: usize) -> (Place, PathBuf, Vec<u8>) {
    let server = Server::start(&["--appendfsync", "always"]);
    let mut client = server.connect();
    for i in 1..=n {
        if i % 5 == 0 {
            client.send(&[request(&["MULTI"]), request(&["SET", "text", "x"])].concat());
            client.send(&request(&["XADD", "s", &format!("{i}-1"), "a", "b"]));
            client.send(&request(&["EXEC"]));
            (0..4).for_each(|_| drop(client.value()));
        } else {
            assert_eq!(client.ask(&format!("XADD s {i}-1 a b")), format!("{i}-1"));
        }
    }
    let place = server.kill();
    let segments = place.segments();
    assert_eq!(segments.len(), 1);
    let bytes = content(&place);
    (place, segments[0].clone(), bytes)
}

/// Where a segment's frames begin; its header before that is there twice.
const FRAMES_AT: usize = 8192;

/// Which bytes to try.
fn places(len: usize, random: usize) -> Vec<usize> {
    if std::env::var_os("MILLSTREAM_LONG").is_some() {
        return (0..len).collect();
    }
    let mut rng = Rng::new(0xc0_ffee);
    let in_frames = (0..random).map(|_| FRAMES_AT + rng.below(len - FRAMES_AT));
    in_frames.chain([0, 1, 30, FRAMES_AT / 2, FRAMES_AT - 1, FRAMES_AT, len - 1]).collect()
}

/// Asserts that `s` is `1-1 … n-1` and returns n.
#[track_caller]
fn prefix(client: &mut Client) -> usize {
    let reply = client.call(&["XRANGE", "s", "-", "+"]);
    for (i, entry) in (1..).zip(reply.array()) {
        assert_eq!(entry.to_string(), format!("[{i}-1 [a b]]"));
    }
    reply.array().len()
}

/// Leaves nothing but one segment of these bytes.
fn lay_out(place: &Place, segment: &PathBuf, bytes: &[u8]) {
    for file in fs::read_dir(place.data()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    fs::write(segment, bytes).unwrap();
}

#[test]
fn d04_a_log_that_was_cut_anywhere_opens_with_a_prefix_and_keeps_what_follows() {
    let (place, segment, bytes) = log_of(40);
    let mut by_length: Vec<(usize, usize)> = Vec::new();
    for len in places(bytes.len(), 40) {
        lay_out(&place, &segment, &bytes[..len]);
        let server = place.start(&["--appendfsync", "always"]);
        let mut client = server.connect();
        let n = prefix(&mut client);
        by_length.push((len, n));
        for i in n + 1..n + 4 {
            assert_eq!(client.ask(&format!("XADD s {i}-1 a b")), format!("{i}-1"));
        }
        // Cut once more, by the next start itself: what it had set aside must not come back.
        let server = server.kill().start(&[]);
        assert_eq!(prefix(&mut server.connect()), n + 3, "cut at {len}");
        server.kill();
    }
    by_length.sort_unstable();
    assert!(by_length.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{by_length:?}");
    assert!(by_length.last().unwrap().1 >= 39, "{by_length:?}");
}

#[test]
fn d05_a_damaged_byte_is_refused_by_its_place_or_costs_nothing_that_was_promised() {
    let (place, segment, bytes) = log_of(40);
    let (mut refused, mut tried) = (0, 0);
    for at in places(bytes.len(), 60) {
        tried += 1;
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x5a;
        damaged.resize(bytes.len() + 4096, 0);
        lay_out(&place, &segment, &damaged);
        let logged = place.log().len();
        match place.try_start(&["--appendfsync", "always"]) {
            Ok(server) => {
                // Nothing was durable behind it when the last frame was written.
                let n = prefix(&mut server.connect());
                assert!(n >= 39, "byte {at}: only {n} entries");
                server.kill();
            }
            Err(status) => {
                refused += 1;
                assert_eq!(status.code(), Some(1), "byte {at}");
                let log = &place.log()[logged..];
                let name = segment.file_name().unwrap().to_string_lossy().into_owned();
                assert!(log.contains(&name), "{log}");
                let offset = log.split("is damaged at byte ").nth(1).and_then(|rest| {
                    rest.split(':').next().and_then(|offset| offset.parse::<usize>().ok())
                });
                assert!(offset.is_some_and(|offset| offset <= at), "byte {at}: {log}");
                // Refusing changes nothing: with the byte put right all is there.
                assert_eq!(fs::read(&segment).unwrap(), damaged);
                if refused % 16 == 1 {
                    lay_out(&place, &segment, &bytes);
                    let server = place.start(&[]);
                    assert_eq!(prefix(&mut server.connect()), 40);
                    server.kill();
                }
            }
        }
    }
    assert!(refused * 10 > tried * 5, "{refused} of {tried} refused");
}

#[test]
fn a_value_larger_than_what_may_wait_for_the_disk_is_written_all_the_same() {
    for policy in ["always", "everysec"] {
        let args = ["--appendfsync", policy, "--aof-unsynced-max-bytes", "1mb"];
        let server = Server::start(&args);
        let mut client = server.connect();
        let large = vec![b'x'; 3 << 20];
        let add: [&[u8]; 5] = [b"XADD", b"s", b"1-0", b"field", &large];
        assert_eq!(client.call(&add).to_string(), "1-0");
        let server = server.kill().start(&args);
        let mut client = server.connect();
        let reply = client.call(&["XRANGE", "s", "-", "+"]);
        assert!(reply.array()[0].array()[1].array()[1] == Value::Bulk(large));
    }
}

#[test]
fn a_server_that_is_killed_while_it_saves_comes_back_with_everything() {
    let mut place = Place::new();
    let mut rng = Rng::new(11);
    let mut n = 0;
    for round in 0..6 {
        let shards = ["1", "2", "4"][round % 3];
        let server = place.start(&["--shards", shards]);
        let mut client = server.connect();
        for stream in 0..5 {
            assert_eq!(client.ask(&format!("XLEN s{stream}")), format!(":{}", n / 5));
        }
        for _ in 0..400 {
            let value = "x".repeat(1 + rng.below(300));
            assert!(!client.ask(&format!("XADD s{} * f {value}", n % 5)).starts_with('-'));
            n += 1;
        }
        client.ask(if round % 2 == 0 { "BGSAVE" } else { "BGREWRITEAOF" });
        for _ in 0..5 * rng.below(60) {
            assert!(!client.ask(&format!("XADD s{} * f v", n % 5)).starts_with('-'));
            n += 1;
        }
        place = server.kill();
    }
}

#[test]
fn d09_every_version_of_the_files_is_read() {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    // A new version needs a directory as it writes it.
    for version in 1..=FORMAT_VERSION {
        let named = format!("millstream {version}");
        let version = fixtures.join(format!("format-{version}"));
        assert!(fs::read_to_string(version.join("LOCK")).unwrap().starts_with(&named));
        let place = Place::new();
        fs::create_dir(place.data()).unwrap();
        for file in fs::read_dir(&version).unwrap().map(|entry| entry.unwrap().path()) {
            fs::copy(&file, place.data().join(file.file_name().unwrap())).unwrap();
        }
        let digest = fs::read_to_string(version.join("digest")).unwrap();
        let mut server = place.start(&["--shards", "2"]);
        for _ in 0..2 {
            let mut client = server.connect();
            assert_eq!(client.ask("DEBUG DIGEST").trim_start_matches('+'), digest);
            // What was read is written as this version writes it.
            assert!(client.ask("SAVE").contains("OK"));
            server = server.kill().start(&["--shards", "3"]);
        }
    }
}

#[test]
fn whoever_watches_over_the_server_is_told() {
    let here = tempfile::tempdir().unwrap();
    let (socket, pidfile) = (here.path().join("notify"), here.path().join("pid"));
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = || {
        let mut bytes = [0; 100];
        let n = heard.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    };
    for supervised in ["systemd", "auto"] {
        let args = ["--supervised", supervised, "--pidfile", pidfile.to_str().unwrap()];
        let server = Place::new().try_start_with(&[("NOTIFY_SOCKET", &socket)], &args).unwrap();
        assert_eq!(hear(), "READY=1\nSTATUS=Ready to accept connections\n");
        let info = server.connect().ask("INFO server");
        assert!(info.contains("process_supervised:systemd\r\n"), "{info}");
        let id = fs::read_to_string(&pidfile).unwrap();
        assert!(info.contains(&format!("process_id:{}\r\n", id.trim())), "{id}");
        assert!(server.stop().1.success());
        assert_eq!(hear(), "STOPPING=1\n");
        assert!(!pidfile.exists());
    }
    // Nobody is told who is not the supervisor.
    let server = Place::new().try_start_with(&[("NOTIFY_SOCKET", &socket)], &[]).unwrap();
    assert!(server.connect().ask("INFO server").contains("process_supervised:no\r\n"));
    assert!(server.stop().1.success());
    heard.set_nonblocking(true).unwrap();
    assert!(heard.recv(&mut [0]).is_err());
}
