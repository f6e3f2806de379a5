//! Faults that are injected (E1–E9 of the test plan), each by a named test: a disk in memory
//! (`faults/disk.rs`), an allocator that fails (`faults/memory.rs`), and the built server while the
//! system's calls fail under it. What needs root is in `tests/crash`.
//!
//! `MILLSTREAM_ROUNDS=n` makes `n` times as many tries as a run of all tests does.

mod disk;
mod memory;

use crate::inject::{self, skip};
use crate::{Client, Place, Server, Value, request, wait_until};
use disk::in_parallel;
use millstream::testing::{Rng, rounds};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};

const ALWAYS: &[&str] = &["--appendfsync", "always"];

/// Says what was done, past the harness.
fn report(line: &str) {
    // Nobody reads it if it cannot be written.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Adds `from-1 … to-1` to `s` by as many connections as it takes; adds those that were
/// acknowledged to `acked`. Ends early when the server has ended.
fn add(server: &mut Server, from: u64, to: u64, acked: &mut BTreeSet<u64>) {
    let mut client = None;
    for n in from..=to {
        if server.process.try_wait().unwrap().is_some() {
            return;
        }
        let mut open = client.take().or_else(|| server.try_connect());
        let reply = open.as_mut().and_then(|open| open.try_ask(&format!("XADD s {n}-1 f v")));
        match reply.as_deref() {
            Some(reply) if reply == format!("{n}-1") => drop(acked.insert(n)),
            Some(reply) => assert!(reply.starts_with("-MISCONF"), "{reply}"),
            None => open = None,
        }
        client = open;
    }
}

/// The milliseconds of the IDs of `s`.
fn ids(client: &mut Client) -> BTreeSet<u64> {
    let reply = client.call(&["XRANGE", "s", "-", "+"]);
    let id = |entry: &Value| entry.array()[0].text();
    reply
        .array()
        .iter()
        .map(|entry| id(entry).split_once('-').unwrap().0.parse().unwrap())
        .collect()
}

/// Starts once more, soundly, and looks for everything that was acknowledged.
#[track_caller]
fn assert_kept(what: &str, place: &Place, acked: &BTreeSet<u64>) {
    let server = place.try_start(ALWAYS);
    let server = server.unwrap_or_else(|status| panic!("{what}: {status}: {}", place.log()));
    let found = ids(&mut server.connect());
    let lost: Vec<_> = acked.difference(&found).collect();
    assert!(lost.is_empty(), "{what}: lost {lost:?}\n{}", place.log());
}

/// Other code than ours may give up where a call fails that never does: that of the event loop, if
/// its own wake-up fails.
#[track_caller]
fn assert_no_panic_of_ours(what: &str, place: &Place) {
    let log = place.log();
    assert!(!log.contains("panicked at src"), "{what}: {log}");
    place.clear_log();
}

/// The calls of the system that fail, with the error numbers that they fail with.
const CALLS: &[&str] = &[
    "openat",
    "read",
    "pread64",
    "write",
    "pwrite64",
    "writev",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "rename",
    "unlink",
    "mkdir",
    "mmap",
    "close",
    "getdents64",
    "statx",
    "fstat",
];
const ERRORS: &[&str] =
    &["EIO", "ENOSPC", "EDQUOT", "EINTR", "EAGAIN", "EMFILE", "ENOMEM", "EROFS"];

#[test]
fn e01_a_call_of_the_system_fails_once_and_nothing_acknowledged_is_lost() {
    if !inject::can_start("e01") {
        return;
    }
    let seed = std::env::var("MILLSTREAM_SEED").map_or(1, |text| text.parse().unwrap());
    let mut rng = Rng::new(seed);
    let mut picks = Vec::new();
    for _ in 0..rounds(300) {
        let call = CALLS[rng.below(CALLS.len())];
        let error = ERRORS[rng.below(ERRORS.len())];
        // The first ones are most of all that there are of the rarer calls.
        let most = [4, 40][rng.below(2)];
        let n = 1 + rng.below(most);
        picks.push((call, format!("{call}:error={error}:when={n}")));
    }
    let (refused, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    in_parallel(4, &picks, |(call, what)| {
        let place = Place::new();
        let mut acked = BTreeSet::new();
        let mut server = place.start(ALWAYS);
        add(&mut server, 1, 3, &mut acked);
        assert_eq!(server.connect().ask("SAVE"), "+OK");
        add(&mut server, 4, 5, &mut acked);
        drop(server.kill());
        place.clear_log();
        let (trace, inject) = (format!("trace={call}"), format!("inject={what}"));
        let wrapper = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        match place.try_start_under(&wrapper, ALWAYS) {
            Err(status) => {
                refused.fetch_add(1, Ordering::Relaxed);
                assert!(!place.log().contains("panicked at src"), "{what}: {}", place.log());
                // The system maps much before there is code of ours.
                let silent = place.log().trim().is_empty();
                assert!(!silent || *call == "mmap", "{what}: {status} without a word");
            }
            Ok(mut server) => {
                add(&mut server, 6, 12, &mut acked);
                for command in ["SAVE", "BGREWRITEAOF"] {
                    let client = server.try_connect();
                    drop(client.and_then(|mut client| client.try_ask(command)));
                }
                add(&mut server, 13, 18, &mut acked);
                let has_ended = server.process.try_wait().unwrap().is_some();
                ended.fetch_add(usize::from(has_ended), Ordering::Relaxed);
                drop(server.process.kill());
                server.process.wait().unwrap();
                assert_no_panic_of_ours(what, &place);
            }
        }
        // A library that gave up has said so; what that lost would be found.
        place.clear_log();
        assert_kept(what, &place, &acked);
    });
    let tries = picks.len();
    report(&format!(
        "e01: {tries} calls failed, {refused:?} starts refused, {ended:?} servers ended"
    ));
}

#[test]
fn e02_calls_that_fail_for_long_are_told_and_end_as_documented() {
    // What fails, and whether the log heals without a snapshot.
    let works = [
        ("pwrite64:error=ENOSPC", true),
        ("pwrite64,fallocate:error=EDQUOT", true),
        ("pwrite64:error=EIO", false),
        ("fdatasync,fsync:error=EIO", false),
    ];
    in_parallel(works.len(), &works, |(what, heals_alone)| {
        let mut server = Server::start(ALWAYS);
        let mut acked = BTreeSet::new();
        add(&mut server, 1, 5, &mut acked);
        let Some(injection) = inject::Injection::start("e02", &server, what) else { return };
        add(&mut server, 6, 10, &mut acked);
        assert_eq!(acked.len(), 5, "{what}: acknowledged");
        let mut client = server.connect();
        let mut persistence = || client.ask("INFO persistence");
        assert!(persistence().contains("aof_last_write_status:err"), "{what}");
        assert!(ids(&mut server.connect()).is_superset(&acked), "{what}: reads go on");
        assert!(server.connect().ask("XADD s 11-1 f v").starts_with("-MISCONF"), "{what}");
        drop(injection);
        wait_until("writes are taken again", || {
            let reply = server.connect().try_ask("XADD s 12-* f v");
            reply.is_some_and(|reply| reply.starts_with("12-"))
        });
        acked.insert(12);
        let found = persistence();
        assert!(found.contains("aof_last_write_status:ok"), "{what}: {found}");
        assert_eq!(found.contains("rdb_saves:0\r\n"), *heals_alone, "{what}: {found}");
        add(&mut server, 13, 15, &mut acked);
        assert_eq!(acked.len(), 9, "{what}");
        assert_kept(what, &server.kill(), &acked);
    });
}

/// Compiles a library of `tests/crash` that is to be loaded before others; `None`, said, if nothing
/// can.
fn library(test: &str, source: &str, scratch: &Path) -> Option<PathBuf> {
    let library = scratch.join(source).with_extension("so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash").join(source);
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl");
    let built = compiler.output();
    if !built.as_ref().is_ok_and(|built| built.status.success()) {
        skip(test, &format!("no C compiler makes the library: {built:?}"));
        return None;
    }
    Some(library)
}

/// What WAITAOF answers when this server's disk has the writes of its client.
const COUNTED: &str = "[:1 :0]";

/// Starts a server of which a sync loses what it had: the one with the number, of the files whose
/// names begin so; it fails with `error`, which may be 0.
fn lose_sync(
    place: &Place,
    library: &Path,
    names: &str,
    error: &str,
    number: usize,
    args: &[&str],
) -> Result<Server, ExitStatus> {
    let variables = [
        format!("LD_PRELOAD={}", library.display()),
        format!("FAULT_FILES={}/{names}", place.data().display()),
        format!("FAULT_DONE={}", gone(place).display()),
        format!("FAULT_ERROR={error}"),
        format!("FAULT_SYNC={number}"),
    ];
    let wrapper: Vec<&str> = ["env"].into_iter().chain(variables.iter().map(|v| &**v)).collect();
    place.try_start_under(&wrapper, args)
}

/// The file that is there once that has happened.
fn gone(place: &Place) -> PathBuf {
    place.data().with_file_name("gone")
}

/// A life in which the sync with a number fails, and what it was to keep is gone. `ends`: whether
/// it is killed as soon as that has happened, or when it has found its way back. False if there
/// was no such sync.
fn lose_a_sync(library: &Path, policy: &str, number: usize, ends: bool) -> bool {
    let what = format!("{policy}, sync {number}, ends {ends}");
    let (place, args) = (Place::new(), ["--appendfsync", policy]);
    let server = lose_sync(&place, library, "", "5", number, &args);
    let gone = gone(&place);
    // What was acknowledged, and what of it a power cut may not take back.
    let (mut acked, mut safe) = (BTreeSet::new(), BTreeSet::new());
    if let Ok(mut server) = server {
        let mut client = None;
        let mut step = |n: u64| {
            let mut open: Client = client.take().or_else(|| server.try_connect())?;
            if n.is_multiple_of(8) {
                drop(open.try_ask(["SAVE", "BGREWRITEAOF"][usize::from(n.is_multiple_of(16))])?);
            }
            if open.try_ask(&format!("XADD s {n}-1 f v"))? == format!("{n}-1") {
                acked.insert(n);
                let counts = match policy {
                    "always" => true,
                    _ => n.is_multiple_of(3) && open.try_ask("WAITAOF 1 0 30")? == COUNTED,
                };
                if counts {
                    safe.clone_from(&acked);
                }
            }
            client = Some(open);
            Some(acked.contains(&n))
        };
        let mut n = 0;
        while n < 24 && !(ends && gone.exists()) {
            n += 1;
            step(n);
        }
        if !ends {
            wait_until("writes are taken again, and counted", || {
                n += 3 - n % 3;
                step(n) == Some(true)
            });
            wait_until("WAITAOF counts", || {
                client.as_mut().is_some_and(|client| client.ask("WAITAOF 1 0 0") == COUNTED)
            });
            safe.clone_from(&acked);
        }
        drop(server.process.kill());
        server.process.wait().unwrap();
        assert_no_panic_of_ours(&what, &place);
    }
    let happened = gone.exists();
    assert_kept(&what, &place, &safe);
    let mut server = place.start(&args);
    add(&mut server, 1001, 1003, &mut safe);
    assert_kept(&what, &server.kill(), &safe);
    happened
}

#[test]
fn e03_a_sync_fails_once_what_it_was_to_keep_is_gone_and_nothing_counts_it() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(library) = library("e03", "lost.c", scratch.path()) else { return };
    let works = [("always", true), ("always", false), ("everysec", true), ("everysec", false)];
    let lives = AtomicUsize::new(0);
    in_parallel(4, &works, |(policy, ends)| {
        let happened = (1..).take_while(|&number| lose_a_sync(&library, policy, number, *ends));
        let count = happened.count();
        // Two snapshots at least.
        assert!(count >= 2, "{policy}: {count} syncs");
        lives.fetch_add(count, Ordering::Relaxed);
    });
    report(&format!("e03: {lives:?} syncs failed and lost what they had"));
}

#[test]
fn e03_a_snapshot_that_the_disk_says_it_has_is_read_back_before_anything_goes() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(library) = library("e03", "lost.c", scratch.path()) else { return };
    for command in ["SAVE", "BGREWRITEAOF"] {
        let place = Place::new();
        // The third snapshot is the first that lets files go.
        let mut server = lose_sync(&place, &library, "snapshot", "0", 3, ALWAYS).unwrap();
        let mut acked = BTreeSet::new();
        for n in 1..=2 {
            add(&mut server, 10 * n, 10 * n + 5, &mut acked);
            assert_eq!(server.connect().ask("SAVE"), "+OK");
        }
        add(&mut server, 31, 35, &mut acked);
        let kept = |place: &Place| {
            let files = fs::read_dir(place.data()).unwrap().map(|file| file.unwrap().path());
            let kinds = files.filter(|path| path.extension().is_some());
            kinds.collect::<BTreeSet<_>>()
        };
        let before = kept(&place);
        let mut client = server.connect();
        let said = client.ask(command);
        wait_until("it is noticed", || place.log().contains("is damaged at byte"));
        assert!(command != "SAVE" || said == "-ERR", "{said}");
        assert!(gone(&place).exists() && kept(&place).is_superset(&before), "{command}");
        add(&mut server, 41, 45, &mut acked);
        assert_kept(command, &server.kill(), &acked);
        // The next one is good.
        let mut server = place.start(ALWAYS);
        assert_eq!(server.connect().ask("SAVE"), "+OK");
        add(&mut server, 51, 55, &mut acked);
        assert_kept(command, &server.kill(), &acked);
    }
}

#[test]
fn e04_short_and_interrupted_calls_are_invisible() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(library) = library("e04", "short.c", scratch.path()) else { return };
    let preload = format!("LD_PRELOAD={}", library.display());
    let counted = scratch.path().join("count");
    let count = format!("FAULT_COUNT={}", counted.display());
    for seed in 1..=rounds(2) {
        let seed_text = format!("FAULT_SEED={seed}");
        let policy = ["everysec", "always"][usize::try_from(seed % 2).unwrap()];
        let wrapper = ["env", &preload, &count, &seed_text];
        let args = ["--appendfsync", policy];
        let mut place = Place::new();
        let mut digest = String::new();
        for round in 1..=3 {
            let server = place.try_start_under(&wrapper, &args).unwrap();
            let mut client = server.connect();
            if round > 1 {
                assert_eq!(client.ask("DEBUG DIGEST"), digest, "seed {seed}, round {round}");
            }
            for n in 1..=40_usize {
                let value = vec![b'a' + u8::try_from(n % 26).unwrap(); n * n * n * 7];
                let id = format!("{round}-{n}");
                let add: [&[u8]; 5] = [b"XADD", b"s", id.as_bytes(), b"f", &value];
                assert_eq!(client.call(&add).to_string(), id, "seed {seed}");
                let range = client.call(&["XRANGE", "s", &id, &id]);
                let found = &range.array()[0].array()[1].array()[1];
                assert!(*found == Value::Bulk(value), "seed {seed}: {id} comes back otherwise");
                if n % 20 == 0 {
                    assert_eq!(client.ask("SAVE"), "+OK", "seed {seed}");
                }
            }
            let info = client.ask("INFO persistence");
            assert!(info.contains("aof_last_write_status:ok"), "{info}");
            digest = client.ask("DEBUG DIGEST");
            if round % 2 == 0 {
                // No signal: the call in which a handler notes it cannot be interrupted in truth.
                client.tell("SHUTDOWN");
                assert!(client.try_value().is_err(), "seed {seed}: it stops");
            }
            place = server.kill();
        }
        let log = place.log();
        assert!(!log.contains("ERROR") && !log.contains("WARN"), "seed {seed}: {log}");
        let counts = fs::read_to_string(&counted).unwrap();
        let counts: Vec<u64> = counts.split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert!(counts.iter().all(|&count| count > 100), "seed {seed}: {counts:?}");
        report(&format!("e04: {} calls interrupted, {} cut short", counts[0], counts[1]));
    }
}

/// A wrapper that begins a server with limits of its own; `None`, said, where there is none.
fn limited<'a>(test: &str, limit: &'a str) -> Option<[&'a str; 2]> {
    if Command::new("prlimit").arg("--version").output().is_err() {
        skip(test, "prlimit is not installed");
        return None;
    }
    Some(["prlimit", limit])
}

#[test]
fn e06_a_limit_of_the_size_of_files_is_told_and_loses_nothing() {
    let Some(wrapper) = limited("e06", "--fsize=6000000") else { return };
    for policy in ["always", "everysec"] {
        let place = Place::new();
        let mut server = place.try_start_under(&wrapper, &["--appendfsync", policy]).unwrap();
        let value = vec![b'x'; 100_000];
        let mut acked = BTreeSet::new();
        let mut client = server.connect();
        // Four times what one file may have: the log goes on in others.
        let mut n = 0;
        wait_until("much is written", || {
            n += 1;
            let id = format!("{n}-1");
            let add: [&[u8]; 5] = [b"XADD", b"s", id.as_bytes(), b"f", &value];
            let reply = client.call(&add).to_string();
            if reply == id {
                acked.insert(n);
            } else {
                assert!(reply.starts_with("-MISCONF"), "{reply}");
                assert_eq!(client.ask("XLEN s"), format!(":{}", acked.len()), "reads go on");
            }
            acked.len() == 240
        });
        assert!(server.process.try_wait().unwrap().is_none(), "it runs");
        // A snapshot of all that would be too large for one file.
        assert_eq!(client.ask("SAVE"), "-ERR");
        assert!(place.log().contains("File too large"), "{}", place.log());
        assert_kept(policy, &server.kill(), &acked);
    }
}

#[test]
fn e06_a_limit_of_open_files_refuses_what_is_new_and_loses_nothing() {
    let Some(wrapper) = limited("e06", "--nofile=40") else { return };
    let place = Place::new();
    let mut server = place.try_start_under(&wrapper, ALWAYS).unwrap();
    let mut acked = BTreeSet::new();
    add(&mut server, 1, 5, &mut acked);
    let mut client = server.connect();
    // More than there can be: some wait to be accepted, and nobody is dropped for them.
    let others: Vec<Client> = (0..60).map_while(|_| server.try_connect()).collect();
    for n in 6..=20 {
        assert_eq!(client.ask(&format!("XADD s {n}-1 f v")), format!("{n}-1"));
        acked.insert(n);
    }
    let saved = client.ask("SAVE");
    assert!(saved == "+OK" || saved == "-ERR", "{saved}");
    drop(others);
    wait_until("there is room again", || client.ask("SAVE") == "+OK");
    let mut late = server.connect();
    // The log may have met the limit; then it goes on behind a snapshot.
    wait_until("writes are taken again", || late.ask("XADD s 21-1 f v") == "21-1");
    acked.insert(21);
    assert_kept("nofile", &server.kill(), &acked);
}

#[test]
fn e06_a_directory_that_is_removed_ends_the_acks() {
    for policy in ["always", "everysec"] {
        let server = Server::start(&["--appendfsync", policy]);
        let mut client = server.connect();
        assert_eq!(client.ask("XADD s 1-1 f v"), "1-1");
        assert_eq!(client.ask("WAITAOF 1 0 0"), "[:1 :0]");
        fs::remove_dir_all(server.place().data()).unwrap();
        let after = client.try_ask("XADD s 2-1 f v");
        assert!(policy == "everysec" || after.is_none(), "{after:?} of a file that nobody finds");
        wait_until("it is noticed", || {
            let refused = server.connect().try_ask("XADD s 3-* f v");
            refused.is_some_and(|reply| reply.starts_with("-MISCONF"))
        });
        let mut client = server.connect();
        assert!(client.ask("XRANGE s 1-1 1-1").contains("1-1"), "reads go on");
        assert!(client.ask("INFO persistence").contains("aof_last_write_status:err"));
        // The server tries one by itself, too.
        wait_until("SAVE says that it fails", || client.ask("SAVE") == "-ERR");
        let log = server.place().log();
        assert!(log.contains("was removed"), "{log}");
    }
}

#[test]
fn e06_a_permission_that_is_lost_is_told_and_loses_nothing() {
    let place = Place::new();
    let data = place.data();
    fs::create_dir(&data).unwrap();
    // Root may do everything: then the server is somebody else.
    let somebody = 65_534;
    let is_root = chown(&data, Some(somebody), None).is_ok();
    let uid = format!("--reuid={somebody}");
    let wrapper: &[&str] = if is_root { &["setpriv", &uid, "--clear-groups"] } else { &[] };
    let above = data.parent().unwrap();
    if is_root {
        chown(above, Some(somebody), None).unwrap();
    }
    let Ok(mut server) = place.try_start_under(wrapper, ALWAYS) else {
        skip("e06", &format!("another user cannot start the server: {}", place.log()));
        return;
    };
    let mut acked = BTreeSet::new();
    add(&mut server, 1, 5, &mut acked);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o500)).unwrap();
    let mut client = server.connect();
    assert_eq!(client.ask("SAVE"), "-ERR");
    assert!(place.log().contains("Permission denied"), "{}", place.log());
    assert!(client.ask("INFO persistence").contains("rdb_last_bgsave_status:err"));
    // The log is open already.
    add(&mut server, 6, 10, &mut acked);
    assert_eq!(acked.len(), 10);
    drop(server.kill());
    let refused = place.try_start_under(wrapper, ALWAYS).map(drop);
    assert_eq!(refused.map_err(|status| status.code()), Err(Some(1)));
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    assert_kept("permission", &place, &acked);
}

#[test]
fn e06_a_second_server_on_the_directory_is_refused_with_the_name_of_the_first() {
    let mut server = Server::start(ALWAYS);
    let mut acked = BTreeSet::new();
    add(&mut server, 1, 3, &mut acked);
    let status = server.place().try_start(ALWAYS).map(drop).unwrap_err();
    assert_eq!(status.code(), Some(1));
    let holder = format!("is in use by process {}", server.process.id());
    assert!(server.place().log().contains(&holder), "{}", server.place().log());
    add(&mut server, 4, 6, &mut acked);
    assert_eq!(acked.len(), 6);
    assert_kept("second server", &server.kill(), &acked);
}

#[test]
fn e08_memory_that_ends_leaves_no_command_half_applied() {
    // The allocator reserves a gibibyte at once and takes less if it must.
    let Some(wrapper) = limited("e08", "--as=700000000") else { return };
    let place = Place::new();
    let args = ["--appendonly", "yes", "--appendfsync", "no"];
    let Ok(mut server) = place.try_start_under(&wrapper, &args) else {
        skip("e08", &format!("the server does not start in so little: {}", place.log()));
        return;
    };
    let mut client = server.connect();
    let value = vec![b'x'; 2 << 20];
    let mut acked = 0;
    for n in 1..=400_u32 {
        let id = format!("{n}-1");
        let words: [&[&[u8]]; 4] = [
            &[b"MULTI"],
            &[b"XADD", b"a", id.as_bytes(), b"f", &value],
            &[b"XADD", b"b", id.as_bytes(), b"f", b"v"],
            &[b"EXEC"],
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|words| request(words)).collect();
        if client.try_send(&bytes).is_none() {
            break;
        }
        let replies: Vec<_> = (0..4).map_while(|_| client.try_value().ok()).collect();
        match replies.last() {
            Some(Value::Array(_)) if replies.len() == 4 => acked = n,
            Some(Value::Error(_)) if replies.len() == 4 => {}
            _ => break,
        }
    }
    let ended = server.process.try_wait().unwrap();
    wait_until("it has ended or answers", || {
        server.process.try_wait().unwrap().is_some()
            || server.try_connect().is_some_and(|mut client| client.try_ask("PING").is_some())
    });
    report(&format!("e08: {acked} transactions in so much memory, then {ended:?}"));
    assert!(acked > 20 && acked < 400, "{acked} transactions");
    let place = server.kill();
    let server = place.start(&args);
    let mut client = server.connect();
    let (a, b) = (client.ask("XLEN a"), client.ask("XLEN b"));
    assert_eq!(a, b, "half of a transaction");
    let found: u32 = a[1..].parse().unwrap();
    assert!(found == acked || found == acked + 1, "{found} of {acked}");
}
