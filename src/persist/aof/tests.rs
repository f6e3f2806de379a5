//! The log on a disk that fails and loses power, against the list of what was appended.

mod damage;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::frame::SEGMENT_HEADER_BYTES;
use super::*;
use crate::persist::disk::OsDisk;
use crate::testing::{EIO, ENOSPC, Fault, FaultDisk, Op, Rng, rounds};

const DIR: &str = "/data";

fn options(policy: SyncPolicy) -> AofOptions {
    AofOptions {
        policy,
        unsynced_bytes_max: 1 << 20,
        segment_bytes: 1 << 20,
        space_bytes: 2048,
        reserve_bytes: 256,
        cuts_torn_end: true,
        sync_thread: false,
    }
}

/// Frames as they were visited or appended: the position after each, and its payload.
type Frames = Vec<(Position, Vec<u8>)>;

fn open_from(
    disk: &FaultDisk,
    from: Position,
) -> Result<(Arc<Aof>, Recovered, Frames), StorageError> {
    let directory = Directory::open(DIR, Arc::new(disk.clone()))?;
    let mut frames = Vec::new();
    let (aof, recovered) =
        Aof::open(directory, options(SyncPolicy::EverySec), from, &mut |position, payload| {
            frames.push((position, payload.to_vec()));
            Ok(())
        })?;
    assert_eq!(recovered.frames, frames.len() as u64);
    assert_eq!(recovered.end, aof.end());
    assert_eq!(recovered.end, aof.durable());
    Ok((aof, recovered, frames))
}

fn open(disk: &FaultDisk) -> Result<(Arc<Aof>, Recovered, Frames), StorageError> {
    open_from(disk, Position(0))
}

fn append(aof: &Aof, payload: &[u8], frames: &mut Frames) -> Result<Position, StorageError> {
    let mut buffer = frame_buffer();
    // Of every other frame a part is lent.
    let (copied, lent) = payload.split_at(payload.len() / (1 + payload.len() % 2));
    buffer.extend_from_slice(copied);
    if !lent.is_empty() {
        buffer.lend(bytes::Bytes::copy_from_slice(lent));
    }
    let result = aof.append(&mut buffer);
    assert!(buffer.is_empty());
    // A mark may follow it.
    let end = result.as_ref().map_or_else(|_| aof.end(), |end| *end);
    frames.push((end, payload.to_vec()));
    result
}

/// A log of `n` frames, of which some were synced, some proven by a mark, and the last are neither.
fn sample(n: usize, seed: u64) -> (FaultDisk, Frames) {
    let mut rng = Rng::new(seed);
    let disk = FaultDisk::new(seed);
    let (aof, _, mut frames) = open(&disk).unwrap();
    for i in 0..n {
        let len = 1 + rng.below(90);
        append(&aof, &rng.bytes(len), &mut frames).unwrap();
        if i % 5 == 1 && i + 3 < n {
            aof.sync().unwrap();
        }
        if i % 10 == 1 {
            aof.tend();
        }
    }
    (disk.kill(), frames)
}

/// The last segment's file.
fn last_path(disk: &FaultDisk) -> PathBuf {
    let directory = Directory::open(DIR, Arc::new(disk.kill())).unwrap();
    directory.segment_path(*directory.segments().unwrap().last().unwrap())
}

fn file_names(disk: &FaultDisk) -> Vec<String> {
    crate::persist::disk::Disk::list(disk, Path::new(DIR)).unwrap()
}

/// Appends three frames to what was recovered, dies, and finds them.
fn goes_on(disk: &FaultDisk, aof: Arc<Aof>, mut frames: Frames) {
    for payload in [b"one", b"two", b"six"] {
        append(&aof, payload, &mut frames).unwrap();
    }
    drop(aof);
    let (_, recovered, found) = open(&disk.kill()).unwrap();
    assert_eq!(found, frames);
    assert_eq!(recovered.cut, None);
}

#[test]
fn what_is_appended_comes_back_over_segments_and_from_any_of_their_starts() {
    let disk = FaultDisk::new(1);
    let (aof, recovered, mut frames) = open(&disk).unwrap();
    assert_eq!(recovered, Recovered { end: Position(0), frames: 0, bytes: 0, cut: None });
    assert_eq!(aof.rotate(), Ok(Position(0)), "an empty segment is not left");
    let mut starts = vec![Position(0)];
    for i in 0..60_usize {
        append(&aof, &vec![7; 1 + i * i], &mut frames).unwrap();
        if i % 20 == 19 {
            starts.push(aof.rotate().unwrap());
        }
    }
    drop(aof);
    for &start in &starts {
        let (_, recovered, found) = open_from(&disk.kill(), start).unwrap();
        let expected: Frames = frames.iter().filter(|(end, _)| *end > start).cloned().collect();
        assert_eq!(found, expected);
        assert_eq!(recovered.cut, None);
    }
    let (aof, _, _) = open(&disk.kill()).unwrap();
    assert_eq!(aof.counters().kept_bytes, aof.end().0);
}

#[test]
fn a_frame_costs_few_bytes() {
    let disk = FaultDisk::new(1);
    let (aof, _, mut frames) = open(&disk).unwrap();
    let end = append(&aof, &[0; 25], &mut frames).unwrap();
    assert_eq!(end.0, 25 + 14);
    assert_eq!(aof.counters(), AofCounters { frames: 1, bytes: 39, syncs: 0, kept_bytes: 39 });
}

#[test]
fn only_a_successful_sync_advances_the_durable_position() {
    let disk = FaultDisk::new(1);
    let (aof, _, mut frames) = open(&disk).unwrap();
    let (sender, receiver) = mpsc::channel();
    aof.on_durable(Box::new(move |result| sender.send(result).unwrap()));
    let first = append(&aof, b"a", &mut frames).unwrap();
    assert_eq!(aof.durable(), Position(0));
    assert_eq!(aof.sync(), Ok(first));
    assert_eq!(receiver.try_recv(), Ok(Ok(first)));
    append(&aof, b"b", &mut frames).unwrap();
    disk.fail(Fault { op: Op::Sync, after: 0, times: 1, errno: EIO });
    let failure = aof.sync().unwrap_err();
    assert_eq!(receiver.try_recv(), Ok(Err(failure.clone())));
    assert_eq!(aof.failure(), Some(failure.clone()));
    // Nothing is tried again on that file, although the disk would succeed now.
    assert_eq!(aof.sync(), Err(failure.clone()));
    assert_eq!(aof.room(1, false), Err(failure.clone()));
    assert!(append(&aof, b"c", &mut frames).is_err());
    assert!(aof.rotate().is_err());
    assert_eq!(aof.close(), Err(failure));
    assert_eq!(aof.durable(), first);
}

#[test]
fn after_a_failure_a_snapshot_and_a_new_segment_are_the_way_back() {
    for op in [Op::Write, Op::Sync, Op::SyncDir] {
        let disk = FaultDisk::new(1);
        let (aof, _, mut frames) = open(&disk).unwrap();
        append(&aof, b"a", &mut frames).unwrap();
        disk.fail(Fault { op, after: u64::from(op != Op::SyncDir), times: 1, errno: EIO });
        let synced = aof.sync();
        let appended = append(&aof, b"b", &mut frames);
        assert!(synced.is_err() || appended.is_err() || aof.sync().is_err());
        assert_eq!(aof.hold(), aof.hold());
        assert!(append(&aof, b"the next snapshot has it", &mut Vec::new()).is_err());
        aof.give_up();
        assert!(append(&aof, b"it too", &mut Vec::new()).is_err());
        let snapshot = aof.hold();
        disk.fail(Fault { op: Op::Rename, after: 0, times: 1, errno: EIO });
        aof.resume(snapshot).unwrap_err();
        assert!(aof.failure().is_some());
        assert_eq!(aof.hold(), snapshot);
        let mut later = Vec::new();
        for payload in [b"kept", b"in", b"order"] as [&[u8]; 3] {
            assert!(append(&aof, payload, &mut later).is_err());
        }
        aof.resume(snapshot).unwrap();
        assert_eq!(aof.durable(), snapshot);
        append(&aof, b"c", &mut later).unwrap();
        aof.sync().unwrap();
        let crashed = disk.crash(1);
        let payloads = |frames: Frames| frames.into_iter().map(|frame| frame.1).collect::<Vec<_>>();
        assert_eq!(payloads(open_from(&crashed, snapshot).unwrap().2), payloads(later));
        // Without the snapshot the log has a hole, and says so.
        let error = open(&crashed.kill()).unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_failed_sync_whose_bytes_are_lost_leaves_nothing_that_a_reader_believes() {
    let disk = FaultDisk::new(1);
    let (aof, _, mut frames) = open(&disk).unwrap();
    append(&aof, b"kept", &mut frames).unwrap();
    aof.sync().unwrap();
    append(&aof, &[7; 3000], &mut frames).unwrap();
    disk.fail(Fault { op: Op::Sync, after: 0, times: 1, errno: EIO });
    aof.sync().unwrap_err();
    drop(aof);
    // The process dies, the system does not: its memory still shows what the disk never got.
    let (aof, _, found) = open(&disk.kill()).unwrap();
    assert_eq!(found, frames[..1]);
    assert_eq!(aof.end(), frames[0].0);
}

#[test]
fn a_full_disk_refuses_growth_first_and_heals_by_itself() {
    let disk = FaultDisk::new(1);
    let (aof, _, mut frames) = open(&disk).unwrap();
    disk.set_capacity(disk.used());
    let mut refused = false;
    while aof.room(10, false).is_ok() {
        let growing = aof.room(10, true);
        assert!(!refused || growing.is_err(), "the reserve is not for growth");
        refused |= growing.is_err();
        append(&aof, &[1; 10], &mut frames).unwrap();
    }
    assert!(refused && aof.is_refusing() && aof.failure().is_none());
    let StorageError::Io { kind, .. } = aof.room(10, true).unwrap_err() else { panic!() };
    assert_eq!(kind, io::ErrorKind::StorageFull);
    // What was applied before the refusal keeps its place, unacknowledged.
    let written = aof.end();
    append(&aof, &[2; 300], &mut frames).unwrap_err();
    append(&aof, &[3; 300], &mut frames).unwrap_err();
    assert!(aof.end() > written);
    assert!(aof.sync().unwrap() <= written);
    aof.tend();
    assert!(aof.room(0, false).is_err());
    disk.heal();
    aof.tend();
    assert!(aof.room(10, true).is_ok() && !aof.is_refusing());
    append(&aof, b"after", &mut frames).unwrap();
    aof.close().unwrap();
    assert_eq!(open(&disk.crash(5)).unwrap().2, frames);
}

/// Waits until `condition` holds, which another thread brings about.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "still waiting until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn the_sync_thread_heals_a_full_disk_marks_and_begins_segments() {
    let disk = FaultDisk::new(1);
    let directory = Directory::open(DIR, Arc::new(disk.clone())).unwrap();
    let options = AofOptions { sync_thread: true, ..options(SyncPolicy::Always) };
    let (aof, _) = Aof::open(directory, options, Position(0), &mut |_, _| Ok(())).unwrap();
    let mut frames = Vec::new();
    disk.set_capacity(disk.used());
    while append(&aof, &[1; 100], &mut frames).is_ok() {}
    assert!(aof.room(1, false).is_err());
    disk.heal();
    wait_until("there is room", || aof.room(1, true).is_ok());
    append(&aof, &vec![2; 1 << 20], &mut frames).unwrap();
    let end = aof.end();
    wait_until("all is durable", || aof.durable() >= end);
    wait_until("a mark follows", || aof.end() > end);
    wait_until("there is a segment", || {
        file_names(&disk)
            .iter()
            .any(|name| name > &"aof-00000000000000000001".to_owned() && name.ends_with(".log"))
    });
    drop(aof);
    let found = open(&disk.kill()).unwrap().2;
    let ends = |frames: &Frames| frames.iter().map(|(end, _)| *end).collect::<Vec<_>>();
    assert_eq!(ends(&found), ends(&frames));
    assert!(found == frames);
}

#[test]
fn what_was_appended_before_the_policy_changes_is_synced() {
    let disk = FaultDisk::new(1);
    let directory = Directory::open(DIR, Arc::new(disk)).unwrap();
    let options = AofOptions { sync_thread: true, ..options(SyncPolicy::EverySec) };
    let (aof, _) = Aof::open(directory, options, Position(0), &mut |_, _| Ok(())).unwrap();
    let end = append(&aof, b"somebody waits for it", &mut Vec::new()).unwrap();
    aof.set_policy(SyncPolicy::No);
    wait_until("it is durable", || aof.durable() >= end);
}

#[test]
fn a_file_system_that_cannot_allocate_gets_zeros() {
    let disk = FaultDisk::new(1);
    let unsupported = 95;
    disk.fail(Fault { op: Op::Allocate, after: 0, times: u64::MAX, errno: unsupported });
    let (aof, _, mut frames) = open(&disk).unwrap();
    for _ in 0..100 {
        aof.room(100, true).unwrap();
        append(&aof, &[1; 100], &mut frames).unwrap();
    }
    assert_eq!(open(&disk.kill()).unwrap().2, frames);
}

#[test]
fn what_waits_for_a_sync_is_bounded_unless_nothing_waits_for_it() {
    let disk = FaultDisk::new(1);
    let (aof, _, mut frames) = open(&disk).unwrap();
    append(&aof, &vec![0; 1 << 20], &mut frames).unwrap();
    assert!(aof.is_behind());
    aof.set_policy(SyncPolicy::No);
    assert!(!aof.is_behind());
    aof.set_policy(SyncPolicy::Always);
    assert!(aof.is_behind());
    assert_eq!(aof.room(1, true), Ok(()), "those who write wait, they are not refused");
    aof.sync().unwrap();
    assert!(!aof.is_behind());
}

#[test]
fn what_was_synced_is_followed_by_proof_of_it() {
    let disk = FaultDisk::new(1);
    let (aof, _, mut frames) = open(&disk).unwrap();
    let begin = append(&aof, b"first", &mut frames).unwrap();
    append(&aof, b"second", &mut frames).unwrap();
    aof.sync().unwrap();
    let path = last_path(&disk);
    let flip = |disk: &FaultDisk| {
        let mut bytes = disk.bytes(&path).unwrap();
        let at = usize::try_from(SEGMENT_HEADER_BYTES + begin.0).unwrap();
        bytes[at + 15] ^= 1;
        disk.set_bytes(&path, &bytes);
    };
    let unproven = disk.kill();
    flip(&unproven);
    let (_, recovered, found) = open(&unproven).unwrap();
    assert_eq!(found, frames[..1]);
    let cut = recovered.cut.unwrap();
    assert_eq!((cut.at, cut.offset), (begin, SEGMENT_HEADER_BYTES + begin.0));
    let end = aof.end();
    aof.tend();
    assert_eq!(aof.end().0, end.0 + 14, "a mark");
    aof.tend();
    assert_eq!(aof.end().0, end.0 + 14, "one is enough");
    let proven = disk.kill();
    flip(&proven);
    let error = open(&proven).unwrap_err();
    let StorageError::Damaged { offset, path: damaged, .. } = error else { panic!("{error}") };
    assert_eq!((offset, damaged), (SEGMENT_HEADER_BYTES + begin.0, path.clone()));
}

#[test]
fn damage_in_an_earlier_segment_is_refused_by_what_a_later_one_proves() {
    let disk = FaultDisk::new(1);
    let (aof, _, mut frames) = open(&disk).unwrap();
    append(&aof, b"first", &mut frames).unwrap();
    aof.rotate().unwrap();
    append(&aof, b"second", &mut frames).unwrap();
    aof.sync().unwrap();
    append(&aof, b"third", &mut frames).unwrap();
    drop(aof);
    let first = Path::new(DIR).join("aof-00000000000000000000.log");
    let broken = disk.kill();
    let mut bytes = broken.bytes(&first).unwrap();
    bytes[8192 + 16] ^= 1;
    broken.set_bytes(&first, &bytes);
    assert!(matches!(open(&broken), Err(StorageError::Damaged { offset: 8192, .. })));
    let missing = disk.kill();
    crate::persist::disk::Disk::remove(&missing, &first).unwrap();
    let error = open(&missing).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[test]
fn segments_behind_a_cut_are_set_aside_and_go_with_the_segments_before_them() {
    let disk = FaultDisk::new(1);
    let (aof, _, mut frames) = open(&disk).unwrap();
    append(&aof, b"first", &mut frames).unwrap();
    let start = aof.rotate().unwrap();
    append(&aof, b"second", &mut frames).unwrap();
    drop(aof);
    // The second segment reached the disk, a part of the first did not; nothing was promised.
    let first = Path::new(DIR).join("aof-00000000000000000000.log");
    let disk = disk.kill();
    let mut bytes = disk.bytes(&first).unwrap();
    bytes[8192..].fill(0);
    disk.set_bytes(&first, &bytes);
    let (aof, recovered, mut found) = open(&disk).unwrap();
    assert_eq!(found, []);
    assert_eq!(recovered.cut.unwrap().aside.len(), 1);
    let aside =
        |disk: &FaultDisk| file_names(disk).iter().filter(|name| name.ends_with(".aside")).count();
    assert_eq!(aside(&disk), 1);
    append(&aof, b"another first", &mut found).unwrap();
    aof.rotate().unwrap();
    append(&aof, b"another second", &mut found).unwrap();
    aof.remove_below(start).unwrap();
    assert_eq!(aside(&disk), 1);
    drop(aof);
    let (aof, _, refound) = open(&disk.kill()).unwrap();
    assert_eq!(refound, found);
    aof.remove_below(aof.end()).unwrap();
    assert_eq!(aof.counters().kept_bytes, 0);
}

#[test]
fn d08_reopening_a_hundred_times_does_not_grow_the_files() {
    for clean in [false, true] {
        let (mut disk, frames) = sample(20, 8);
        let (aof, ..) = open(&disk).unwrap();
        aof.close().unwrap();
        drop(aof);
        let (names, used) = (file_names(&disk).len(), disk.used());
        for _ in 0..100 {
            let (aof, recovered, found) = open(&disk).unwrap();
            assert_eq!(found, frames);
            assert_eq!(recovered.cut, None);
            if clean {
                aof.close().unwrap();
            }
            drop(aof);
            disk = disk.kill();
        }
        let (aof, ..) = open(&disk).unwrap();
        aof.close().unwrap();
        assert_eq!((file_names(&disk).len(), disk.used()), (names, used));
    }
}

#[test]
fn a_directory_is_opened_once_and_only_by_its_own_version() {
    let disk: Arc<dyn crate::persist::disk::Disk> = Arc::new(FaultDisk::new(1));
    let first = Directory::open(DIR, Arc::clone(&disk)).unwrap();
    let error = Directory::open(DIR, Arc::clone(&disk)).unwrap_err();
    let expected = format!("/data is in use by process {}", std::process::id());
    assert_eq!(error.to_string(), expected);
    drop(first);
    drop(Directory::open(DIR, Arc::clone(&disk)).unwrap());
    // A crash may have torn the text of a new directory.
    for len in 0..12 {
        let torn = FaultDisk::new(1);
        torn.set_bytes(&Path::new(DIR).join("LOCK"), &b"millstream 1\n"[..len]);
        Directory::open(DIR, Arc::new(torn)).unwrap();
    }
    let other = FaultDisk::new(1);
    other.set_bytes(&Path::new(DIR).join("LOCK"), b"millstream 2\nprocess 1\n");
    let error = Directory::open(DIR, Arc::new(other)).unwrap_err();
    assert_eq!(
        error,
        StorageError::Version { path: PathBuf::from(DIR), found: "millstream 2".to_owned() }
    );
}

#[test]
fn a_lock_that_was_torn_in_writing_opens() {
    let path = Path::new(DIR).join("LOCK");
    let old: [&[u8]; 3] = [b"", b"\nprocess 25044", b"millstream 1\nprocess 25044"];
    let new: [&[u8]; 2] = [b"millstream 1\nprocess 31", b"\nprocess 31"];
    for (old, new) in old.into_iter().flat_map(|old| new.map(|new| (old, new))) {
        let padded = |text: &[u8]| {
            let mut bytes = text.to_vec();
            bytes.resize(if text.is_empty() { 0 } else { 63 }, b' ');
            bytes.extend_from_slice(if text.is_empty() { b"" } else { b"\n" });
            bytes
        };
        for written in 0..=64 {
            let mut bytes = padded(new)[..written].to_vec();
            bytes.extend_from_slice(padded(old).get(written..).unwrap_or_default());
            let disk = FaultDisk::new(1);
            disk.set_bytes(&path, &bytes);
            open(&disk).unwrap_or_else(|error| panic!("{bytes:?}: {error}"));
        }
    }
}

/// One life of a log: random operations until the power goes or the process dies. Returns the disk
/// after it, what was appended, and how many frames must survive.
fn live(disk: &FaultDisk, frames: &Frames, rng: &mut Rng) -> (FaultDisk, Frames, usize) {
    let mut frames = frames.clone();
    let mut promised = 0;
    let mut written = 0;
    disk.power_off_at(disk.operations() + rng.below(60) as u64);
    if let Ok((aof, _, found)) = open(disk) {
        assert_eq!(found, frames[..found.len()]);
        frames = found;
        // What a reader shows is as good as promised.
        promised = frames.len();
        written = promised;
        if rng.chance(1, 2) {
            aof.set_policy(SyncPolicy::Always);
        }
        while aof.failure().is_none() {
            match rng.below(8) {
                0 => drop(aof.sync()),
                1 => drop(aof.rotate()),
                2 => aof.tend(),
                _ => {
                    let len = 1 + rng.below(1200);
                    if append(&aof, &rng.bytes(len), &mut frames).is_ok() {
                        written = frames.len();
                    }
                }
            }
            let durable = aof.durable();
            promised = frames.iter().filter(|(end, _)| *end <= durable).count();
        }
    }
    disk.heal();
    if rng.chance(1, 3) {
        (disk.kill(), frames, written)
    } else {
        (disk.crash(rng.next_u64()), frames, promised)
    }
}

#[test]
fn d03_after_any_crash_the_log_is_a_prefix_with_everything_that_was_promised() {
    for seed in 0..rounds(400) {
        let mut rng = Rng::new(seed);
        let mut disk = FaultDisk::new(seed);
        let mut frames = Vec::new();
        for life in 0..6 {
            let (after, appended, promised) = live(&disk, &frames, &mut rng);
            disk = after;
            frames = appended;
            // A look at it, which must not change what the next life finds.
            let (_, _, found) = open(&disk.kill())
                .unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            assert!(found.len() >= promised, "seed {seed}, life {life}");
            assert_eq!(found, frames[..found.len()], "seed {seed}, life {life}");
            frames = found;
        }
    }
}

/// Opens a new log, appends and syncs, until the power goes; how many frames must survive.
fn begin_until(disk: &FaultDisk, at: u64, frames: &mut Frames) -> usize {
    disk.power_off_at(disk.operations() + at);
    let mut promised = 0;
    if let Ok((aof, _, found)) = open(disk) {
        *frames = found;
        promised = frames.len();
        for n in 0..3 {
            let _ = append(&aof, &[n; 700], frames);
            let _ = aof.sync();
            aof.tend();
            let durable = aof.durable();
            promised = frames.iter().filter(|(end, _)| *end <= durable).count();
        }
    }
    disk.heal();
    promised
}

#[test]
fn an_opening_syncs_nothing_and_may_lose_power_at_every_step() {
    let disk = FaultDisk::new(1);
    disk.fail(Fault { op: Op::Sync, after: 0, times: 1, errno: EIO });
    disk.fail(Fault { op: Op::SyncDir, after: 0, times: 1, errno: EIO });
    let (aof, _, _) = open(&disk).unwrap();
    assert_eq!(aof.durable(), Position(0));
    for at in 0..48 {
        for seed in 0..24 {
            let disk = FaultDisk::new(seed);
            let (mut frames, mut promised) = (Vec::new(), 0);
            // The process before this one may have died without any sync.
            if seed % 3 > 0 {
                let _ = begin_until(&disk, seed % 15, &mut frames);
            }
            let disk = disk.kill();
            if seed % 2 > 0 {
                promised = begin_until(&disk, at, &mut frames);
            }
            let what = format!("operation {at}, seed {seed}");
            let crashed = disk.crash(seed);
            let (aof, _, found) = open(&crashed).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(found.len() >= promised, "{what}: {} of {promised}", found.len());
            assert_eq!(found, frames[..found.len()], "{what}");
            goes_on(&crashed, aof, found);
        }
    }
}

#[test]
fn e01_whatever_fails_once_nothing_durable_is_lost_and_the_directory_opens() {
    for errno in [EIO, ENOSPC] {
        for after in 0.. {
            let (disk, mut frames) = sample(6, after);
            disk.fail(Fault { op: Op::Any, after, times: 1, errno });
            let before = disk.operations();
            // `sample` syncs once, behind its second frame.
            let mut promised = 2;
            if let Ok((aof, _, found)) = open(&disk) {
                assert_eq!(found, frames);
                for round in 0..4 {
                    let _ = append(&aof, &[round; 900], &mut frames);
                    let _ = aof.sync();
                    aof.tend();
                    let _ = aof.rotate();
                }
                let _ = aof.remove_below(Position(1));
                let _ = aof.close();
                let durable = aof.durable();
                promised = frames.iter().filter(|(end, _)| *end <= durable).count();
            }
            let reached = disk.operations() - before > after;
            disk.heal();
            let what = format!("error {errno} at operation {after}");
            let (_, _, found) = open(&disk.crash(after)).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(found.len() >= promised, "{what}");
            assert_eq!(found, frames[..found.len()], "{what}");
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn the_sync_thread_makes_appends_of_many_threads_durable() {
    let dir = tempfile::tempdir().unwrap();
    for policy in [SyncPolicy::Always, SyncPolicy::EverySec] {
        let directory = Directory::open(dir.path().join("data"), Arc::new(OsDisk)).unwrap();
        let options = AofOptions { policy, ..AofOptions::default() };
        let (aof, _) = Aof::open(directory, options, Position(0), &mut |_, _| Ok(())).unwrap();
        let (sender, receiver) = mpsc::channel();
        aof.on_durable(Box::new(move |result| drop(sender.send(result))));
        let append = |thread: u8| {
            let mut buffer = frame_buffer();
            let mut append = || {
                buffer.extend_from_slice(&[thread; 100]);
                aof.append(&mut buffer).unwrap()
            };
            (0..500).map(|_| append()).max().unwrap()
        };
        let append = &append;
        let end = std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|thread| scope.spawn(move || append(thread)));
            // A mark behind them would not become durable.
            threads.map(|thread| thread.join().unwrap()).into_iter().max().unwrap()
        });
        while receiver.recv_timeout(Duration::from_secs(30)).unwrap().unwrap() < end {}
        assert!(aof.durable() >= end);
        aof.close().unwrap();
        assert_eq!(aof.room(1, false).unwrap_err().to_string(), "the log is stopped: it is closed");
        let again = Directory::open(dir.path().join("data"), Arc::new(OsDisk));
        assert!(matches!(again, Err(StorageError::InUse { .. })));
    }
    let directory = Directory::open(dir.path().join("data"), Arc::new(OsDisk)).unwrap();
    let mut frames = 0;
    let (_, recovered) =
        Aof::open(directory, AofOptions::default(), Position(0), &mut |_, payload| {
            assert_eq!(payload.len(), 100);
            frames += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!((frames, recovered.cut), (4000, None));
}
