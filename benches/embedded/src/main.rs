//! millstream as an embedded queue beside the usual choices on the same machine: produce, take and
//! acknowledge entries of 100 bytes, one or a hundred in a call, at each durability.
//!
//! ```sh
//! cargo run --release --manifest-path benches/embedded/Cargo.toml -- [words]
//! ```
//!
//! | words | what is run |
//! |---|---|
//! | | all of it, which takes about ten minutes |
//! | `nothing`, `written`, `synced` | one durability |
//! | `growth` | a million cycles with a short queue: how large the files become |
//! | `idle` | what an open database costs that is not used |
//!
//! Each subject runs in a process of its own, whose memory is then its. `written` means that a
//! killed process loses nothing that was acknowledged, `synced` that a power cut does not either.
//! All that are called `written` hand each call's change to the system by a system call before
//! they answer; which is not so for `yaque by 250`, and that stands under `nothing`. The rate of
//! `cycles` is that of entries that pass through all three.

mod subjects;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use subjects::{Means, SUBJECTS};

/// The size of an entry's value.
const VALUE: [u8; 100] = [b'v'; 100];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["run", subject, means, batch, cycles] => {
            run(
                subject,
                means,
                batch.parse().expect("a number"),
                cycles.parse().expect("a number"),
            );
        }
        ["grow", subject] => grow(subject),
        ["idle"] => idle(),
        ["growth"] => growth(),
        [means @ ("nothing" | "written" | "synced")] => rates(means),
        [] => {
            SUBJECTS.iter().for_each(|(subject, note)| say(&format!("{subject}: {note}")));
            for words in [["idle"], ["nothing"], ["written"], ["synced"], ["growth"]] {
                itself(&words);
            }
        }
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Runs this program with other words.
fn itself(words: &[&str]) {
    let itself = std::env::current_exe().expect("this program has a path");
    let status = Command::new(itself).args(words).status();
    if !status.is_ok_and(|status| status.success()) {
        say(&format!("{words:?} failed"));
    }
}

/// The rates at one durability.
fn rates(means: &str) {
    say(&format!(
        "{means:<19} {:>5}  {:>9} {:>9} {:>9} {:>9}  {:>7} {:>7} {:>7}  {:>8} {:>8}",
        "batch",
        "produce/s",
        "take/s",
        "ack/s",
        "cycles/s",
        "p50 µs",
        "p99 µs",
        "p99.9",
        "MB disk",
        "MB RSS"
    ));
    for batch in [1, 100] {
        for (subject, _) in SUBJECTS {
            let cycles = match (means, *subject) {
                ("synced", _) | ("written", "redb") => 1000 * batch,
                _ => 200_000,
            };
            itself(&["run", subject, means, &batch.to_string(), &cycles.to_string()]);
        }
    }
}

/// How large the files become.
fn growth() {
    say(&format!("{:<19} {:>9} {:>9}", "1 M cycles, written", "MB most", "MB end"));
    for (subject, _) in SUBJECTS {
        itself(&["grow", subject]);
    }
}

fn grow(name: &str) {
    const CYCLES: usize = 1_000_000;
    const BATCH: usize = 1000;
    let dir = tempfile::tempdir_in(place()).expect("a temporary directory");
    let dir = dir.path().join("data");
    let Some(mut subject) = subjects::open(name, &dir, Means::Written) else { return };
    let mut most = 0;
    for _ in 0..CYCLES / BATCH {
        subject.produce(&[&VALUE[..]; BATCH]);
        subject.take(BATCH);
        subject.acknowledge(BATCH);
        most = most.max(size(&dir));
    }
    // What tidies up has had its time.
    std::thread::sleep(Duration::from_secs(2));
    let mb = |bytes: u64| bytes as f64 / 1e6;
    say(&format!("{name:<19} {:>9.1} {:>9.1}", mb(most), mb(size(&dir))));
}

/// What an open database costs that is not used.
fn idle() {
    let dir = tempfile::tempdir_in(place()).expect("a temporary directory");
    let (before, own) = (rss_kb("self"), status_kb("self", "RssAnon:"));
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
                "idle: {} KiB of memory, of which {} are not code, {} threads beside the program's",
                rss_kb("self") - before,
                status_kb("self", "RssAnon:") - own,
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

fn run(name: &str, means: &str, batch: usize, cycles: usize) {
    let dir = tempfile::tempdir_in(place()).expect("a temporary directory");
    let dir = dir.path().join("data");
    let promise = match means {
        "nothing" => Means::Nothing,
        "written" => Means::Written,
        _ => Means::Synced,
    };
    let Some(mut subject) = subjects::open(name, &dir, promise) else { return };
    let calls = cycles / batch;
    let mut took = Vec::with_capacity(3 * calls);
    let values = vec![&VALUE[..]; batch];
    let produce = measure(calls, &mut took, |_| subject.produce(&values)) * batch as f64;
    let take = measure(calls, &mut took, |_| subject.take(batch)) * batch as f64;
    let ack = measure(calls, &mut took, |_| subject.acknowledge(batch)) * batch as f64;
    took.sort();
    let at = |part: f64| {
        let place = ((took.len() - 1) as f64 * part) as usize;
        took[place].as_secs_f64() * 1e6
    };
    let cycle = 1.0 / (1.0 / produce + 1.0 / take + 1.0 / ack);
    let disk = size(&dir) as f64 / 1e6;
    let rss = subject.rss_kb().unwrap_or_else(|| rss_kb("self")) as f64 / 1e3;
    say(&format!(
        "{name:<19} {batch:>5}  {produce:>9.0} {take:>9.0} {ack:>9.0} {cycle:>9.0}  {:>7.1} \
         {:>7.1} {:>7.1}  {disk:>8.1} {rss:>8.1}",
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
    status_kb(process, "VmRSS:")
}

/// What the system tells of the memory of a process.
fn status_kb(process: &str, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
