//! E8 with an allocator that fails: one large allocation of many, while a database is loaded and
//! while it runs. It is this program once more that does so, as a child: the server has an
//! allocator of its own, which asks the system rarely. `tests/crash/memory.sh` has the server under
//! a limit of the system.

use super::{disk::in_parallel, library, report};
use millstream::Db;
use millstream::config::Config;
use millstream::error::Error;
use millstream::testing::{Rng, rounds};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tells the child where its data is.
const CHILD_DIR: &str = "MILLSTREAM_MEMORY_CHILD";
/// From how many bytes on an allocation may fail.
const LEAST: &str = "4096";
const SIGABRT: i32 = 6;

fn open(dir: &Path, shards: &str) -> Result<Db, Error> {
    let mut config = Config::default();
    let dir = dir.to_str().unwrap();
    let settings = [
        ("dir", dir),
        ("appendonly", "yes"),
        ("appendfsync", "no"),
        ("save", ""),
        ("shards", shards),
        ("enable-debug-command", "yes"),
    ];
    for (name, value) in settings {
        config.apply(name, value).unwrap();
    }
    Db::open(config)
}

/// The commands, by their arguments: what is there before, and behind `base` what the child asks.
fn script() -> (Vec<Vec<Vec<u8>>>, usize) {
    let mut rng = Rng::new(8);
    let mut script: Vec<Vec<Vec<u8>>> = Vec::new();
    let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    for n in 1..=120 {
        let len = if n % 10 == 0 { 20_000 + rng.below(200_000) } else { 1 + rng.below(9_000) };
        let (key, id) = (format!("s{}", n % 3), format!("{n}-1"));
        script.push([words(&format!("XADD {key} {id} f")), vec![rng.bytes(len)]].concat());
        if n % 7 == 0 {
            let values = [b"a".to_vec(), rng.bytes(len), b"b".to_vec(), rng.bytes(len)];
            script.push([words("MSET"), values.to_vec()].concat());
        }
        if n == 50 {
            script.push(words("XGROUP CREATE s1 g 0"));
            script.push(words("SAVE"));
        }
        if n % 20 == 5 {
            script.push(words("COPY s2 t REPLACE"));
            script.push([words("APPEND a"), vec![rng.bytes(30_000)]].concat());
        }
        if n > 60 && n % 10 == 1 {
            script.push(words("XTRIM s0 MAXLEN 12"));
            script.push(words("RENAME s2 u"));
            script.push(words("RENAME u s2"));
        }
        if n == 100 {
            script.push(words("SAVE"));
        }
    }
    let base = script.len() * 3 / 4;
    (script, base)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(|file| file.unwrap().path()) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn digest(db: &Db) -> String {
    db.command(["DEBUG", "DIGEST"]).wait().unwrap().as_text().unwrap().to_owned()
}

/// Runs commands in a directory: the state before the first, and after each.
fn states(dir: &Path, commands: &[Vec<Vec<u8>>]) -> Vec<String> {
    let db = open(dir, "1").unwrap();
    let mut states = vec![digest(&db)];
    for words in commands {
        db.command(words).wait().unwrap();
        states.push(digest(&db));
    }
    db.close().unwrap();
    states
}

/// Does nothing in a run of all tests.
#[test]
fn e08_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    // An error is an answer; a panic is none.
    if let Err(error) = live(Path::new(&dir)) {
        report(&format!("refused: {error}"));
    }
}

fn live(dir: &Path) -> Result<(), Error> {
    let db = open(&dir.join("data"), "2")?;
    let (script, base) = script();
    for (n, words) in script.iter().enumerate().skip(base) {
        db.command(words).wait()?;
        fs::write(dir.join("answered"), (n + 1).to_string()).unwrap();
    }
    db.command(["XRANGE", "s0", "-", "+"]).wait().map(drop)
}

#[test]
fn e08_an_allocation_that_fails_leaves_no_command_half_applied() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(library) = library("e08", "nomem.c", scratch.path()) else { return };
    let (script, base) = script();
    let before = scratch.path().join("before");
    // What there is after each number of commands.
    let mut digests = states(&before, &script[..base]);
    copy(&before, &scratch.path().join("after"));
    let rest = states(&scratch.path().join("after"), &script[base..]);
    assert_eq!(digests.pop().as_ref(), rest.first(), "opening changes nothing");
    digests.extend(rest);
    let this = std::env::current_exe().unwrap();
    let child = |number: u64, after: u64| {
        let dir = scratch.path().join(number.to_string());
        let data = dir.join("data");
        copy(&before, &data);
        let ended = Command::new(&this)
            .args(["--exact", "faults::memory::e08_child", "--nocapture"])
            .env(CHILD_DIR, &dir)
            .env("LD_PRELOAD", &library)
            .env("FAULT_LEAST", LEAST)
            .env("FAULT_AFTER", after.to_string())
            .env("FAULT_COUNT", dir.join("count"))
            .output()
            .unwrap();
        let answered =
            fs::read_to_string(dir.join("answered")).map_or(base, |n| n.parse().unwrap());
        let db = open(&data, "1").unwrap();
        let state = digest(&db);
        let there = digests.iter().rposition(|digest| *digest == state);
        drop(db);
        let count = fs::read_to_string(dir.join("count")).unwrap_or_default();
        fs::remove_dir_all(&dir).unwrap();
        (ended, answered, there, count)
    };
    let (ended, answered, there, count) = child(0, u64::MAX);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!((answered, there), (script.len(), Some(script.len())));
    let count: u64 = count.trim().parse().unwrap();
    let (loading, running) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let tries: Vec<u64> = (1..=rounds(200)).collect();
    in_parallel(4, &tries, |&number| {
        let after = (number * count / tries.len() as u64).min(count - 1);
        let (ended, answered, there, _) = child(number, after);
        let what = format!("allocation {after} of {count}");
        let said = String::from_utf8_lossy(&ended.stderr);
        let aborted = ended.status.signal() == Some(SIGABRT);
        // Threads take turns as they like: there may have been fewer of them this time.
        let unreached = ended.status.success() && answered == script.len();
        let clean = aborted && said.contains("memory allocation of ")
            || ended.status.success() && (unreached || said.contains("refused: "));
        assert!(clean && !said.contains("panicked"), "{what}: {ended:?}");
        let there = there.unwrap_or_else(|| panic!("{what}: a state that never was"));
        assert!(there == answered || there == answered + 1, "{what}: {there} of {answered}");
        let phase = if answered == base { &loading } else { &running };
        phase.fetch_add(usize::from(!unreached), Ordering::Relaxed);
    });
    let (loading, running) = (loading.into_inner(), running.into_inner());
    report(&format!(
        "e08: of {count} large allocations {loading} failed before an answer, {running} later"
    ));
    assert!(loading > 0 && running > 0);
}
