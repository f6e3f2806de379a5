//! millstream as an embedded queue beside the usual choices on the same machine: produce, take and
//! acknowledge entries of 100 bytes, one at a time, at each durability.
//!
//! ```sh
//! cargo run --release --manifest-path benches/embedded/Cargo.toml [cycles] [synced cycles]
//! ```
//!
//! Each subject runs in a process of its own, whose memory is then its. `written` means that a
//! killed process loses nothing that was acknowledged, `synced` that a power cut does not either.
//! redb has no `written`: without a sync its commits are in memory only, `written` is its
//! `Eventual`. yaque has no `synced`.

mod subjects;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use subjects::{Durability, SUBJECTS};

/// The size of an entry's value.
const VALUE: [u8; 100] = [b'v'; 100];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| args.get(at).and_then(|n| n.parse().ok()).unwrap_or(default);
    if let Some("run") = args.first().map(String::as_str) {
        let durability = if args[2] == "synced" { Durability::Synced } else { Durability::Written };
        run(&args[1], durability, number(3, 1000));
        return ExitCode::SUCCESS;
    }
    if let Some("idle") = args.first().map(String::as_str) {
        idle();
        return ExitCode::SUCCESS;
    }
    let itself = std::env::current_exe().expect("this program has a path");
    let _ = Command::new(itself).arg("idle").status();
    let (written, synced) = (number(0, 100_000), number(1, 2000));
    say(&format!(
        "{:<22} {:<8} {:>9} {:>9} {:>9}  {:>7} {:>7} {:>7}  {:>8} {:>8}",
        "subject",
        "means",
        "produce/s",
        "take/s",
        "ack/s",
        "p50 µs",
        "p99 µs",
        "p99.9",
        "MB disk",
        "MB RSS"
    ));
    for subject in SUBJECTS {
        for (durability, cycles) in [("written", written), ("synced", synced)] {
            if *subject == "yaque" && durability == "synced" {
                continue;
            }
            // Each of its commits that outlives the process costs what a sync costs.
            let cycles = if *subject == "redb" { synced } else { cycles };
            let itself = std::env::current_exe().expect("this program has a path");
            let status = Command::new(itself)
                .args(["run", subject, durability, &cycles.to_string()])
                .status();
            if !status.is_ok_and(|status| status.success()) {
                say(&format!("{subject:<22} {durability:<8} failed"));
            }
        }
    }
    ExitCode::SUCCESS
}

/// What an open database costs that is not used.
fn idle() {
    let dir = tempfile::tempdir_in(place()).expect("a temporary directory");
    let before = rss_kb("self");
    let mut opened = Vec::new();
    for n in 0..21 {
        let began = Instant::now();
        let db = millstream::Db::builder().dir(dir.path().join(n.to_string())).open();
        let db = db.expect("an empty directory opens");
        opened.push(began.elapsed());
        if n == 0 {
            db.stream("jobs").len().wait().expect("it answers");
            // A second of its life, in which it does what it does when idle.
            std::thread::sleep(Duration::from_secs(1));
            let threads = std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count());
            say(&format!(
                "idle: {} KiB of memory, {} threads beside the program's",
                rss_kb("self") - before,
                threads - 1
            ));
        }
    }
    opened.sort();
    say(&format!("opening an empty directory: median {:?}, worst {:?}", opened[10], opened[20]));
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
}

/// The rate of `cycles` calls, and how long each took.
fn measure(cycles: usize, took: &mut Vec<Duration>, mut call: impl FnMut(usize)) -> f64 {
    let began = Instant::now();
    for n in 0..cycles {
        let at = Instant::now();
        call(n);
        took.push(at.elapsed());
    }
    cycles as f64 / began.elapsed().as_secs_f64()
}

fn run(name: &str, durability: Durability, cycles: usize) {
    let dir = tempfile::tempdir_in(place()).expect("a temporary directory");
    let dir = dir.path().join("data");
    let mut subject = subjects::open(name, &dir, durability);
    let mut took = Vec::with_capacity(3 * cycles);
    let step = subject.batch();
    let produce = measure(cycles / step, &mut took, |_| subject.produce(&VALUE)) * step as f64;
    let take = measure(cycles / step, &mut took, |_| subject.take()) * step as f64;
    let ack = measure(cycles / step, &mut took, |_| subject.acknowledge()) * step as f64;
    took.sort();
    let at = |part: f64| {
        let place = ((took.len() - 1) as f64 * part) as usize;
        took[place].as_secs_f64() * 1e6
    };
    let disk = size(&dir) as f64 / 1e6;
    let rss = subject.rss_kb().unwrap_or_else(|| rss_kb("self")) as f64 / 1e3;
    let means = if durability == Durability::Synced { "synced" } else { "written" };
    say(&format!(
        "{name:<22} {means:<8} {produce:>9.0} {take:>9.0} {ack:>9.0}  {:>7.1} {:>7.1} {:>7.1}  \
         {disk:>8.1} {rss:>8.1}",
        at(0.5),
        at(0.99),
        at(0.999)
    ));
}

/// Where the data goes: beside the program, on a disk.
fn place() -> PathBuf {
    let itself = std::env::current_exe().expect("this program has a path");
    itself.parent().expect("it is in a directory").to_path_buf()
}

/// Bytes on disk below a directory.
fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(path) else {
        return std::fs::metadata(path).map_or(0, |found| found.blocks() * 512);
    };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

/// The memory of a process.
fn rss_kb(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
