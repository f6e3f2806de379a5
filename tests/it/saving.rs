//! A snapshot that is taken while clients write is the state at one point of the log: its digest
//! is that of the log up to there, which was never saved.
//!
//! `MILLSTREAM_SNAPSHOTS` says how many are taken (20 if not), `MILLSTREAM_SEED` from which seed.

use crate::{Client, Place, Server, request, wait_until};
use millstream::testing::Rng;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const WRITERS: usize = 3;
/// Keys of each writer: more than a slice has, so that writes come in between.
const KEYS: usize = 900;
/// Keys that nobody changes.
const STILL: usize = 20_000;
/// Where a segment's frames begin.
const FRAMES_AT: u64 = 8192;

/// What one writer has sent and was answered of its own stream `log:<me>`, entries `1-1`, `2-1`, …
#[derive(Debug, Default)]
struct Numbers {
    sent: AtomicU64,
    acked: AtomicU64,
}

/// Changes keys of all sizes until `ended`.
fn write(client: &mut Client, me: usize, numbers: &Numbers, mut rng: Rng, ended: &AtomicBool) {
    let mut n = 0_u64;
    while !ended.load(Ordering::Relaxed) {
        let mut bytes = Vec::new();
        for _ in 0..20 {
            n += 1;
            let (own, key) = (format!("log:{me}"), format!("k:{me}:{}", rng.below(KEYS)));
            let id = format!("{n}-1");
            bytes.extend(request(&["XADD", &own, &id, "f", "v"]));
            let value = "x".repeat(rng.below(120));
            bytes.extend(request(&["XADD", &key, "*", "field", &value]));
            bytes.extend(match rng.below(6) {
                0 => request(&["XTRIM", &key, "MAXLEN", "4"]),
                1 => request(&["DEL", &key]),
                2 => request(&["RENAME", &key, &format!("k:{me}:{}", rng.below(KEYS))]),
                3 => request(&["XDEL", &own, &format!("{}-1", 1 + rng.below(3) as u64)]),
                4 => request(&["XGROUP", "CREATE", &key, "g", "0"]),
                _ => request(&["SET", &format!("s:{me}:{}", rng.below(KEYS)), &value]),
            });
        }
        numbers.sent.store(n, Ordering::SeqCst);
        client.send(&bytes);
        (0..60).for_each(|_| drop(client.value()));
        numbers.acked.store(n, Ordering::SeqCst);
    }
}

/// Files of a data directory by their kind, with the positions in their names.
fn files(data: &Path, ending: &str) -> Vec<(u64, PathBuf)> {
    let paths = fs::read_dir(data).unwrap().map(|file| file.unwrap().path());
    let position = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(ending)?;
        name.split_once('-')?.1.parse().ok()
    };
    let mut found: Vec<(u64, PathBuf)> =
        paths.filter_map(|path| Some((position(&path)?, path))).collect();
    found.sort();
    found
}

/// A place that has these files only, each cut to a length.
fn place_with(files: &[(PathBuf, u64)]) -> Place {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    for (path, len) in files {
        let copy = place.data().join(path.file_name().unwrap());
        fs::copy(path, &copy).unwrap();
        fs::File::options().write(true).open(copy).unwrap().set_len(*len).unwrap();
    }
    place
}

/// The peak of the server's memory since the last call, in bytes.
pub(crate) fn take_peak(server: &Server) -> u64 {
    let process = format!("/proc/{}", server.process.id());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    // Where it cannot be reset the peak is that of the whole life, which is at least as much.
    drop(fs::write(format!("{process}/clear_refs"), "5"));
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Takes one snapshot under load and compares it with the log.
fn snapshot_under_load(shards: &str, seed: u64) {
    let mut rng = Rng::new(seed);
    let server = Server::start(&["--shards", shards, "--appendonly", "yes", "--save", ""]);
    let mut client = server.connect();
    assert_eq!(client.ask(&format!("DEBUG POPULATE {STILL} still 100")), "+OK");
    let numbers: Vec<Numbers> = (0..WRITERS).map(|_| Numbers::default()).collect();
    let read = |which: fn(&Numbers) -> &AtomicU64| -> Vec<u64> {
        numbers.iter().map(|numbers| which(numbers).load(Ordering::SeqCst)).collect()
    };
    let ended = AtomicBool::new(false);
    let (acked, sent, before, peak) = std::thread::scope(|scope| {
        for (me, numbers) in numbers.iter().enumerate() {
            let (mut client, rng) = (server.connect(), Rng::new(rng.next_u64()));
            let ended = &ended;
            scope.spawn(move || write(&mut client, me, numbers, rng, ended));
        }
        let enough = 200 + rng.below(1500) as u64;
        wait_until("there is something", || read(|n| &n.acked).iter().all(|&n| n > enough));
        take_peak(&server);
        let before = server.resident_bytes();
        let acked = read(|numbers| &numbers.acked);
        assert!(client.ask("BGSAVE").contains("started"));
        let sent = read(|numbers| &numbers.sent);
        let saved = "rdb_bgsave_in_progress:0\r\n";
        wait_until("it is saved", || client.ask("INFO persistence").contains(saved));
        let peak = take_peak(&server);
        let more = read(|numbers| &numbers.acked);
        wait_until("writes went on", || read(|numbers| &numbers.acked) != more);
        ended.store(true, Ordering::Relaxed);
        (acked, sent, before, peak)
    });
    let after = server.resident_bytes();
    let place = server.kill();
    let what = format!("{shards} shards, seed {seed}");
    let [(position, snapshot)] = &files(&place.data(), ".snap")[..] else {
        panic!("{what}: not one snapshot")
    };
    let size = fs::metadata(snapshot).unwrap().len();
    let segments = files(&place.data(), ".log").into_iter();
    let log: Vec<(PathBuf, u64)> = segments
        .filter(|(start, _)| start < position)
        .map(|(start, path)| {
            let len = fs::metadata(&path).unwrap().len();
            (path, len.min(FRAMES_AT + position - start))
        })
        .collect();
    let of_log = place_with(&log).start(&["--appendonly", "yes"]);
    let of_snapshot = place_with(&[(snapshot.clone(), size)]).start(&["--shards", "3"]);
    let digest = |server: &Server| server.connect().ask("DEBUG DIGEST");
    assert_eq!(digest(&of_snapshot), digest(&of_log), "{what}: the snapshot and the log differ");
    let mut client = of_snapshot.connect();
    assert!(client.ask("DBSIZE").trim_start_matches(':').parse::<usize>().unwrap() > STILL);
    for (me, (acked, sent)) in acked.iter().zip(&sent).enumerate() {
        let last = client.call(&["XREVRANGE", &format!("log:{me}"), "+", "-", "COUNT", "1"]);
        let last = last.array()[0].array()[0].text();
        let last: u64 = last.split_once('-').unwrap().0.parse().unwrap();
        assert!((*acked..=*sent).contains(&last), "{what}: {last} is not in {acked}..={sent}");
    }
    let most = before.max(after);
    let report = format!(
        "{what}: a snapshot of {size} bytes, {before} bytes of memory before it, {peak} during \
         it, {after} after it\n"
    );
    drop(std::io::stderr().write_all(report.as_bytes()));
    assert!(peak <= most + most * 15 / 100 + (64 << 20), "{report}");
}

#[test]
fn d10_a_snapshot_under_full_load_is_the_state_at_one_point_of_the_log() {
    let number = |name, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (count, seed) = (number("MILLSTREAM_SNAPSHOTS", 20_u64), number("MILLSTREAM_SEED", 1));
    for n in 0..count {
        snapshot_under_load(["1", "2", "4"][usize::try_from(n % 3).unwrap()], seed + n);
    }
}
