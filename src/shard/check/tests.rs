//! Good and damaged directories, looked at and saved.

use super::*;
use crate::keyspace::{LogBuffer, Rules, Value};
use crate::persist::SyncPolicy;
use crate::persist::aof::{Aof, AofOptions, FRAME_HEADER_MAX};
use crate::persist::disk::Disk;
use crate::shard::Shard;
use crate::stream::{Effect, EntryId, Fields};
use crate::testing::FaultDisk;
use std::path::Path;

const DIR: &str = "/data";

/// Keys `a0` … `a9`, a snapshot, then `b0` … `b9` and one more entry for each of `a0` … `a9`.
fn directory() -> FaultDisk {
    let disk = FaultDisk::new(1);
    let rules = Arc::new(Rules::default());
    let mut shard = Shard::new(0..SLOTS, RandomState::new(), rules, true);
    let directory = Directory::open(DIR, Arc::new(disk.clone())).unwrap();
    let options =
        AofOptions { policy: SyncPolicy::No, sync_thread: false, ..AofOptions::default() };
    let (aof, _) =
        recovery::open(&directory, options, &mut [&mut shard], &LoadProgress::default()).unwrap();
    (0..10).for_each(|n| add(&mut shard, &aof, &format!("a{n}"), 1));
    let position = aof.end();
    shard.keyspace_mut().begin_handover();
    let mut slices = (0..10).map(|_| {
        let mut frozen = Vec::new();
        shard.keyspace_mut().hand_over(1, &mut frozen);
        // Each in a section of its own.
        for frozen in &mut frozen {
            if let Frozen::Key(key) = frozen {
                key.db = key.key[1] - b'0';
            }
        }
        Slice { shard: 0, frozen }
    });
    let next = &mut || Ok(slices.next());
    checkpoint::take(&directory, Some(&aof), position, next).unwrap();
    (0..10).for_each(|n| add(&mut shard, &aof, &format!("b{n}"), 1));
    aof.sync().unwrap();
    aof.close().unwrap();
    drop(directory);
    disk.kill()
}

/// Adds an entry, creating the stream if the ID is the first.
fn add(shard: &mut Shard, aof: &Aof, key: &str, ms: u64) {
    let mut log = LogBuffer::new(FRAME_HEADER_MAX, true);
    let (db, key) = (0, key.as_bytes());
    let fields: [&[u8]; 2] = [b"f", b"v"];
    let add = Effect::Add { id: EntryId::new(ms, 0), fields: Fields::Slices(&fields) };
    let create = Action::Create { idmp_duration_s: 100, idmp_maxsize: 100 };
    for action in [create, Action::Effect(add)] {
        let change = Change { db, key, action };
        log.push(&change, true);
        Spaces::new(&mut [shard.keyspace_mut()]).apply(&change).unwrap();
    }
    aof.append(log.records_mut()).unwrap();
}

fn look(disk: &FaultDisk) -> Directory {
    Directory::look_at(DIR, Arc::new(disk.clone()))
}

fn bytes_of_all(disk: &FaultDisk) -> Vec<(String, Vec<u8>)> {
    let mut names = disk.list(Path::new(DIR)).unwrap();
    names.sort();
    let bytes = |name: &String| disk.bytes(&Path::new(DIR).join(name)).unwrap();
    names.iter().map(|name| (name.clone(), bytes(name))).collect()
}

/// The keys that come back from what is saved, by database.
fn saved(disk: &FaultDisk) -> (Vec<(u8, String)>, Vec<String>) {
    let new = FaultDisk::new(2);
    let directory = Directory::open("/new", Arc::new(new)).unwrap();
    let salvaged = salvage(&look(disk), &directory).unwrap();
    let (mut space, told) = (keyspace(), LoadProgress::default());
    recovery::load(&directory, salvaged.position, &mut [&mut space], &told).unwrap();
    space.check();
    let keys = (0..DATABASES).flat_map(|db| {
        space.database(db).slots_from(0).map(move |(_, slot)| {
            assert!(matches!(&slot.value, Value::Stream(stream) if stream.len() == 1));
            (db, String::from_utf8_lossy(&slot.key).into_owned())
        })
    });
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    (keys, salvaged.missing)
}

#[test]
fn a_good_directory_is_told_file_by_file_and_stays_as_it_is() {
    let disk = directory();
    let before = bytes_of_all(&disk);
    let report = check(&look(&disk)).unwrap();
    assert!(report.is_good(), "{report:?}");
    let names: Vec<&str> = report.files.iter().map(|finding| &*finding.file).collect();
    assert_eq!(names, before.iter().map(|(name, _)| &**name).collect::<Vec<_>>());
    assert!(report.start.unwrap().contains("10 frames"));
    assert_eq!(bytes_of_all(&disk), before);
    let (keys, missing) = saved(&disk);
    assert_eq!((keys.len(), missing.len()), (20, 0));
    assert_eq!(bytes_of_all(&disk), before);
}

#[test]
fn what_is_damaged_is_named_and_the_rest_is_saved() {
    let disk = directory();
    let directory = look(&disk);
    let snapshot = directory.snapshot_path(directory.snapshots().unwrap()[0]);
    let log = directory.segment_path(Position::default());
    let whole = disk.bytes(&snapshot).unwrap();
    let mut damaged = whole.clone();
    let at = whole.windows(2).position(|bytes| bytes == b"a4").unwrap();
    damaged[at] ^= 1;
    disk.set_bytes(&snapshot, &damaged);
    // The log alone leads to everything.
    let report = check(&look(&disk)).unwrap();
    assert!(report.start.is_ok() && !report.is_good());
    assert_eq!(saved(&disk).0.len(), 20);
    // With a damaged log, too, it is the snapshot's other sections.
    let mut frames = disk.bytes(&log).unwrap();
    let at = frames.windows(2).rposition(|bytes| bytes == b"b2").unwrap();
    frames[at] ^= 1;
    disk.set_bytes(&log, &frames);
    let report = check(&look(&disk)).unwrap();
    let bad = report.files.iter().filter(|finding| finding.verdict.is_err());
    assert_eq!(bad.count(), 2, "{report:?}");
    assert!(report.start.is_err());
    let (keys, missing) = saved(&disk);
    let names: Vec<&str> = keys.iter().map(|(_, key)| &**key).collect();
    assert!(names.contains(&"b1") && !names.contains(&"b2"), "{names:?}");
    // Each key of the log behind that is named, and what it got.
    for n in 3..10 {
        let lost = format!("database 0, key 'b{n}': 2 changes, 1 entries added from 1-0 to 1-0");
        assert!(missing.contains(&lost), "{missing:?}");
    }
    assert!(!missing.iter().any(|line| line.contains("'b1'")), "{missing:?}");
    // Without any log it is those sections alone.
    let bytes = disk.bytes(&log).unwrap();
    disk.remove(&log).unwrap();
    disk.set_bytes(&snapshot, &damaged);
    for other in look(&disk).segments().unwrap() {
        disk.remove(&look(&disk).segment_path(other)).unwrap();
    }
    assert!(check(&look(&disk)).unwrap().start.is_err());
    let (keys, missing) = saved(&disk);
    assert_eq!(keys.len(), 9);
    assert!(keys.iter().all(|(db, key)| *db != 4 && key.starts_with('a')));
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(missing[1].starts_with("the keys of a section of database 4: "), "{missing:?}");
    disk.set_bytes(&log, &bytes);
    // With the whole snapshot again it is that and the log before the damage.
    disk.set_bytes(&snapshot, &whole);
    let (keys, missing) = saved(&disk);
    assert_eq!((keys.len(), missing.len()), (12, 1 + 7), "{missing:?}");
}
