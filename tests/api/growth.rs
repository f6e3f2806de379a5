//! How large the files of a queue become.

use super::{DEADLINE, workers};
use millstream::Db;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// **Limit** of the files of a short queue at rest.
const REST_BYTES: u64 = 6 << 20;
/// **Limit** of the files of a short queue at work: two logs of 8 MiB, and for what is logged while
/// a snapshot is written half as much again.
const WORK_BYTES: u64 = 24 << 20;

/// The bytes on disk of the files in a directory.
fn size(dir: &Path) -> u64 {
    // A file that is listed may be gone when it is asked for.
    let files = fs::read_dir(dir).unwrap().filter_map(|file| file.unwrap().metadata().ok());
    files.map(|found| found.blocks() * 512).sum()
}

fn wait_until_at_most(dir: &Path, bytes: u64) {
    let end = Instant::now() + DEADLINE;
    while size(dir) > bytes {
        assert!(Instant::now() < end, "the files have {} bytes and not {bytes}", size(dir));
        thread::sleep(Duration::from_millis(1)); // before it looks again; the size decides
    }
}

#[test]
fn the_files_of_a_short_queue_stay_small() {
    const ROUNDS: usize = 60;
    const ENTRY_BYTES: usize = 16 << 10;
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder().dir(dir.path()).open().unwrap();
    let jobs = db.stream("jobs");
    let group = workers(&jobs).delete_acknowledged().lease(Duration::from_secs(3600));
    let worker = group.consumer("w");
    let kept = jobs.add("work that is never done").wait().unwrap();
    assert_eq!(worker.take(1).wait().unwrap().remove(0).keep().id, kept);
    let batch = vec![vec![7; ENTRY_BYTES]; 64];
    for _ in 0..ROUNDS {
        jobs.add_many(&batch).wait().unwrap();
        let taken = worker.take(64).wait().unwrap();
        assert_eq!(group.ack_all(taken).wait().unwrap(), 64);
        // Whoever is so fast that a snapshot cannot follow sees more, so this one waits for it.
        wait_until_at_most(dir.path(), WORK_BYTES);
    }
    assert!(db.core().aof().unwrap().end().0 > 2 * WORK_BYTES, "more was logged than is kept");
    wait_until_at_most(dir.path(), REST_BYTES);
    drop(db);
    // The handles are still there.
    let db = Db::builder().dir(dir.path()).open().unwrap();
    assert_eq!(db.stream("jobs").range(..).wait().unwrap()[0].id, kept);
    wait_until_at_most(dir.path(), REST_BYTES);
}
