//! What an open database costs that is not used: a process of its own is measured, where the system
//! tells of it.
#![cfg(target_os = "linux")]

use millstream::Db;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// **Limit** of the memory that is the process's own. Measured: 132 KiB, 180 where the code is not
/// optimized.
const OWN_KIB: u64 = 320;
/// **Limit** of what is resident, the program's code that was read from its file included.
const RESIDENT_KIB: u64 = 2048;

/// Where a child finds its directory.
const CHILD_DIR: &str = "MILLSTREAM_IDLE_CHILD";

/// The memory of this process, and its threads.
struct Measured {
    own_kib: u64,
    resident_kib: u64,
    threads: Vec<String>,
}

fn measure() -> Measured {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let mut threads: Vec<String> = tasks
        .map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap())
        .map(|name| name.trim().to_owned())
        .collect();
    threads.sort();
    Measured { own_kib: kib("RssAnon:"), resident_kib: kib("VmRSS:"), threads }
}

/// No test unless it is the child of the one below.
#[test]
fn a_child_is_idle() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let before = measure();
    let db = Db::builder().dir(dir).open().unwrap();
    let jobs = db.stream("jobs");
    jobs.len().wait().unwrap();
    // So that it has done, too, what it does each second.
    std::thread::sleep(Duration::from_millis(1200));
    let after = measure();
    let mut added = after.threads;
    for name in before.threads {
        let at = added.iter().position(|thread| *thread == name).unwrap();
        added.remove(at);
    }
    let own = after.own_kib.saturating_sub(before.own_kib);
    let resident = after.resident_kib.saturating_sub(before.resident_kib);
    assert_eq!(added, ["millstream-sync", "shard-0"]);
    assert!(own < OWN_KIB, "{own} KiB");
    // Code that is not optimized is several times as long.
    assert!(cfg!(debug_assertions) || resident < RESIDENT_KIB, "{resident} KiB");
}

#[test]
fn an_idle_database_is_small_and_has_two_threads() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "idle::a_child_is_idle", "--nocapture"])
        .env(CHILD_DIR, dir.path().join("data"))
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "the child was there");
}
