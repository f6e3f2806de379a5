//! Snapshots and recovery, driven by hand on a disk that fails and loses power.

use super::*;
use crate::command::{Out, OwnedRequest, Protocol, table};
use crate::keyspace::{DATABASES, Rules, SLOTS};
use crate::persist::SyncPolicy;
use crate::shard::Turn;
use crate::shard::checkpoint::{self, Slice, Taken};
use crate::stream::BlockLimits;
use crate::testing::{FaultDisk, Rng, rounds};
use std::collections::{BTreeMap, HashSet};
use std::hash::RandomState;

type State = BTreeMap<(u8, Box<[u8]>), String>;

/// Shards and their log, driven by hand.
struct World {
    shards: Vec<Shard>,
    directory: Arc<Directory>,
    aof: Arc<Aof>,
    found: Found,
    kept: Vec<Position>,
    now: u64,
}

fn shards(count: u16) -> Vec<Shard> {
    let rules = Rules { blocks: BlockLimits { bytes: 200, entries: 5 }, ..Rules::default() };
    let (rules, hasher) = (Arc::new(rules), RandomState::new());
    let first = |index: u16| SLOTS / count * index;
    let end = |index| if index == count { SLOTS } else { first(index) };
    let slots = (0..count).map(|index| first(index)..end(index + 1));
    slots.map(|slots| Shard::new(slots, hasher.clone(), rules.clone(), true)).collect()
}

fn options() -> AofOptions {
    AofOptions {
        policy: SyncPolicy::No,
        segment_bytes: 2000,
        space_bytes: 1024,
        reserve_bytes: 256,
        sync_thread: false,
        ..AofOptions::default()
    }
}

impl World {
    fn open(disk: &FaultDisk, count: u16) -> Result<World, StorageError> {
        let (mut shards, told) = (shards(count), LoadProgress::default());
        let directory = Directory::open("/data", Arc::new(disk.clone()))?;
        let (aof, found) =
            open(&directory, options(), &mut shards.iter_mut().collect::<Vec<_>>(), &told)?;
        let kept = found.snapshot.iter().map(|loaded| loaded.position).collect();
        Ok(World { shards, directory, aof, found, kept, now: 1000 })
    }

    fn turn<R>(&mut self, work: impl FnOnce(&mut Turn<'_, '_>) -> R) -> R {
        let mut list: Vec<&mut Shard> = self.shards.iter_mut().collect();
        work(&mut Turn::new(&mut list, UnixMs(self.now)))
    }

    /// Runs a command and appends what it changed.
    fn run(&mut self, words: &str) -> Result<(), StorageError> {
        let request = OwnedRequest::new(words.split(' ').map(str::as_bytes));
        self.now += 1;
        self.turn(|turn| {
            let mut reply = Vec::new();
            let mut out = Out::new(&mut reply, Protocol::Resp2);
            let request = request.request();
            // Some commands of a random workload are refused: that is no change.
            drop(turn.run(table::lookup(&request).unwrap(), &request, 0, &mut out));
        });
        self.append()
    }

    fn append(&mut self) -> Result<(), StorageError> {
        let aof = Arc::clone(&self.aof);
        self.shards.iter_mut().try_for_each(|shard| shard.end_turn(Some(&aof), true).map(drop))
    }

    /// Takes a snapshot in slices of `budget`; `meanwhile` runs before each.
    fn snapshot(
        &mut self,
        budget: usize,
        mut meanwhile: impl FnMut(&mut World) -> Result<(), StorageError>,
    ) -> Result<Taken, StorageError> {
        let position = self.aof.end();
        self.shards.iter_mut().for_each(|shard| {
            shard.keyspace_mut().begin_handover();
        });
        let (directory, aof) = (Arc::clone(&self.directory), Arc::clone(&self.aof));
        aof.rotate()?;
        let mut index = 0;
        let taken = checkpoint::take(&directory, Some(&aof), position, &mut || {
            meanwhile(self)?;
            let Some(shard) = self.shards.get_mut(index) else { return Ok(None) };
            let mut frozen = Vec::new();
            index += usize::from(!shard.keyspace_mut().hand_over(budget, &mut frozen));
            Ok(Some(Slice { shard: 0, frozen }))
        })?;
        self.kept.push(position);
        self.kept.dedup();
        checkpoint::retire(&directory, &aof, &mut self.kept)?;
        Ok(taken)
    }

    fn state(&self) -> State {
        let mut state = State::new();
        for shard in &self.shards {
            shard.keyspace().check();
            for db in 0..DATABASES {
                for (_, slot) in shard.keyspace().database(db).slots_from(0) {
                    let value = match &slot.value {
                        Value::Stream(stream) => format!("{:?}", stream.to_image()),
                        Value::String(string) => format!("{string:?}"),
                    };
                    let text = format!("{value} {:?}", slot.expire_at());
                    assert!(state.insert((db, slot.key.clone()), text).is_none());
                }
            }
        }
        state
    }
}

fn command(rng: &mut Rng, n: u64) -> String {
    let key = rng.below(5);
    let id = rng.below(usize::try_from(n).unwrap() + 1) + 1;
    match rng.below(20) {
        0 => format!("SET s{key} value{n}"),
        1 => format!("DEL s{key} k{key}"),
        2 => format!("XGROUP CREATE k{key} g 0 MKSTREAM"),
        3 | 4 => format!("XREADGROUP GROUP g c{} COUNT 2 STREAMS k{key} >", rng.below(3)),
        5 => format!("XACK k{key} g {id}-0"),
        6 => format!("XDEL k{key} {id}-0"),
        7 => format!("XTRIM k{key} MAXLEN 6"),
        8 => format!("RENAME k{key} k{}", rng.below(5)),
        9 => format!("COPY k{key} k{} REPLACE", rng.below(5)),
        10 => format!("XADD k{key} IDMP p{} i{n} {}-0 f v", rng.below(2), n + 1),
        11 => format!("PEXPIREAT k{key} {}", 1_000_000 + n),
        12 if rng.chance(1, 8) => "FLUSHALL".to_owned(),
        13 if rng.chance(1, 4) => "SWAPDB 0 1".to_owned(),
        _ => format!("XADD k{key} {}-0 field value{n}", n + 1),
    }
}

#[test]
fn a_snapshot_and_the_log_behind_it_come_back_with_any_number_of_shards() {
    let disk = FaultDisk::new(1);
    let mut rng = Rng::new(1);
    let mut n = 0;
    for (round, count) in [1, 4, 3, 1, 2].into_iter().enumerate() {
        let mut world = World::open(&disk, count).unwrap();
        assert_eq!(world.found.snapshot.is_some(), round > 0);
        for step in 0..60 {
            n += 1;
            world.run(&command(&mut rng, n)).unwrap();
            if step == 30 {
                let rng = &mut rng;
                let n = &mut n;
                let meanwhile = |world: &mut World| {
                    *n += 1;
                    world.run(&command(rng, *n))
                };
                world.snapshot(1, meanwhile).unwrap();
            }
        }
        let state = world.state();
        assert!(!state.is_empty());
        world.aof.close().unwrap();
        drop(world);
        for count in [1, 2, 5] {
            let again = World::open(&disk, count).unwrap();
            assert_eq!(again.state(), state, "round {round}, {count} shards");
            again.aof.close().unwrap();
        }
    }
    let names = Directory::open("/data", Arc::new(disk)).unwrap();
    assert_eq!(names.snapshots().unwrap().len(), 2);
    assert!(names.segments().unwrap()[0] > Position::default(), "old segments go");
}

#[test]
fn a_stream_of_many_sections_comes_back() {
    let disk = FaultDisk::new(1);
    let mut world = World::open(&disk, 1).unwrap();
    let value = "x".repeat(300_000);
    for n in 1..=12 {
        world.run(&format!("XADD big {n}-0 f {value}")).unwrap();
        world.run(&format!("XADD small{n} {n}-0 f v")).unwrap();
    }
    let taken = world.snapshot(100, |_| Ok(())).unwrap();
    assert!(taken.summary.sections > 3 && taken.keys == 13);
    let state = world.state();
    drop(world);
    let again = World::open(&disk.kill(), 2).unwrap();
    assert_eq!(again.state(), state);
    assert_eq!(again.found.log.frames, 0);
}

/// A log of all kinds of records, and the state after each command with the log's end then.
fn all_kinds() -> (FaultDisk, Vec<(Position, State)>) {
    let disk = FaultDisk::new(4);
    let mut rng = Rng::new(4);
    let mut world = World::open(&disk, 2).unwrap();
    let mut states = vec![(Position::default(), State::new())];
    for n in 1..=150 {
        world.run(&command(&mut rng, n)).unwrap();
        states.push((world.aof.end(), world.state()));
        if n % 20 != 0 {
            continue;
        }
        // One frame of several shards, as a transaction has.
        let mut hand: Vec<&mut Shard> = world.shards.iter_mut().collect();
        let mut turn = Turn::new(&mut hand, UnixMs(world.now));
        for key in 0..5 {
            let words = format!("XADD k{key} {}-5 f v", 1000 + n);
            let request = OwnedRequest::new(words.split(' ').map(str::as_bytes));
            let mut reply = Vec::new();
            let mut out = Out::new(&mut reply, Protocol::Resp2);
            let request = request.request();
            drop(turn.run(table::lookup(&request).unwrap(), &request, 0, &mut out));
        }
        turn.end(Some(&world.aof)).unwrap();
        states.push((world.aof.end(), world.state()));
    }
    (disk, states)
}

#[test]
fn d04_a_log_of_all_kinds_of_records_cut_at_every_byte_is_a_prefix_and_goes_on() {
    let (disk, states) = all_kinds();
    let path = Path::new("/data/aof-00000000000000000000.log");
    let whole = disk.bytes(path).unwrap();
    let frames_at = 8192;
    let end = frames_at + usize::try_from(states.last().unwrap().0.0).unwrap();
    let (mut cuts, mut between) = (0, 0);
    for len in (0..frames_at).step_by(512).chain(frames_at..=end) {
        let disk = disk.kill();
        disk.set_bytes(path, &whole[..len]);
        let mut world = World::open(&disk, 1 + u16::try_from(len % 3).unwrap()).unwrap();
        let whole_bytes = len.saturating_sub(frames_at) as u64;
        let (at, state) = states.iter().rfind(|(at, _)| at.0 <= whole_bytes).unwrap();
        cuts += 1;
        if world.aof.end() == *at {
            assert_eq!(world.state(), *state, "cut at {len}");
        } else {
            // A command that changed two shards, by itself and not in a transaction.
            between += 1;
            assert!(world.aof.end() > *at && world.aof.end().0 <= whole_bytes, "cut at {len}");
        }
        for n in 1..=3 {
            world.run(&format!("XADD more {n}-0 f v")).unwrap();
        }
        world.aof.sync().unwrap();
        let state = world.state();
        let again = World::open(&disk.crash(len as u64), 2).unwrap();
        assert_eq!(again.state(), state, "cut at {len}");
    }
    assert!(between * 10 < cuts, "{between} of {cuts}");
}

/// A directory with two snapshots and a log behind each, and the state it holds.
fn two_snapshots() -> (FaultDisk, State, Vec<Position>) {
    let disk = FaultDisk::new(7);
    let mut rng = Rng::new(7);
    let mut world = World::open(&disk, 2).unwrap();
    for n in 1..=90 {
        world.run(&command(&mut rng, n)).unwrap();
        if n == 30 || n == 60 {
            world.snapshot(9, |_| Ok(())).unwrap();
        }
    }
    world.aof.sync().unwrap();
    let (state, kept) = (world.state(), world.kept.clone());
    (disk.kill(), state, kept)
}

#[test]
fn d05_a_damaged_newest_snapshot_costs_no_data() {
    let (disk, state, kept) = two_snapshots();
    let directory = Directory::open("/data", Arc::new(disk.kill())).unwrap();
    let paths: Vec<_> = kept.iter().map(|&position| directory.snapshot_path(position)).collect();
    drop(directory);
    let whole = disk.bytes(&paths[1]).unwrap();
    let every = if std::env::var_os("MILLSTREAM_LONG").is_some() { 1 } else { 9 };
    for flip in (0..whole.len() * 8).step_by(every) {
        let (at, bit) = (flip / 8, flip % 8);
        let disk = disk.kill();
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << bit;
        if flip % 5 == 0 {
            damaged.truncate(at);
        }
        disk.set_bytes(&paths[1], &damaged);
        match World::open(&disk, 1) {
            Ok(mut world) => {
                assert_eq!(world.state(), state, "bit {bit} of byte {at}");
                assert_eq!(world.found.damaged.len(), 1);
                assert_eq!(world.found.snapshot.map(|loaded| loaded.position), Some(kept[0]));
                // The next snapshot does not count the damaged one among the newest two.
                world.snapshot(9, |_| Ok(())).unwrap();
                assert!(world.directory.snapshots().unwrap().contains(&kept[0]));
            }
            Err(error) => panic!("bit {bit} of byte {at}: {error}"),
        }
    }
    disk.set_bytes(&paths[0], b"neither");
    disk.set_bytes(&paths[1], b"this");
    let refused = World::open(&disk, 1);
    assert!(matches!(refused, Err(StorageError::Damaged { path, .. }) if path == paths[1]));
}

#[test]
fn d06_a_snapshot_with_overwritten_swapped_or_dropped_ranges_is_passed_over() {
    let (disk, state, kept) = two_snapshots();
    let directory = Directory::open("/data", Arc::new(disk.kill())).unwrap();
    let paths: Vec<_> = kept.iter().map(|&position| directory.snapshot_path(position)).collect();
    drop(directory);
    let (older, whole) = (disk.bytes(&paths[0]).unwrap(), disk.bytes(&paths[1]).unwrap());
    let mut rng = Rng::new(6);
    for round in 0..rounds(1000) {
        let mut bytes = whole.clone();
        // The file is smaller than a block of a disk.
        let len = 1 + rng.below(bytes.len().min(older.len()) / 2);
        let (at, other) = (rng.below(bytes.len() - len), rng.below(bytes.len() - len));
        match rng.below(7) {
            0 => bytes[at..at + len].fill(0),
            1 => bytes[at..at + len].fill(0xff),
            2 => bytes[at..at + len].copy_from_slice(&rng.bytes(len)),
            3 => bytes.copy_within(other..other + len, at),
            4 => drop(bytes.drain(at..at + len)),
            5 => drop(bytes.splice(at..at, whole[other..other + len].to_vec())),
            // Another snapshot's name.
            _ => bytes.clone_from(&older),
        }
        let disk = disk.kill();
        disk.set_bytes(&paths[1], &bytes);
        match World::open(&disk, 2) {
            Ok(world) => {
                assert_eq!(world.state(), state, "round {round}");
                assert_eq!(world.found.damaged.len(), usize::from(bytes != whole), "round {round}");
            }
            Err(error) => panic!("round {round}: {error}"),
        }
    }
}

/// A workload with snapshots in it, until the power goes. Returns the state after each command and
/// how many were acknowledged, each when the log was durable.
fn workload(disk: &FaultDisk, seed: u64) -> (Vec<State>, usize) {
    let mut rng = Rng::new(seed);
    let Ok(mut world) = World::open(disk, 2) else { return (vec![State::new()], 0) };
    let (mut states, mut acked) = (vec![world.state()], 0);
    for n in 1..=80 {
        let ran = world.run(&command(&mut rng, n));
        states.push(world.state());
        if ran.is_err() {
            return (states, acked);
        }
        if n % 10 == 0 {
            let (states, acked) = (&mut states, &mut acked);
            let mut m = 1000 * n;
            let taken = world.snapshot(2, |world| {
                m += 1;
                let ran = world.run(&command(&mut rng, m));
                states.push(world.state());
                ran?;
                world.aof.sync()?;
                *acked = states.len() - 1;
                Ok(())
            });
            if taken.is_err() {
                return (std::mem::take(states), *acked);
            }
        }
        if rng.chance(1, 2) {
            if world.aof.sync().is_err() {
                return (states, acked);
            }
            acked = states.len() - 1;
        }
    }
    (states, acked)
}

#[test]
fn d07_a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let whole = FaultDisk::new(3);
    workload(&whole, 3);
    let operations = whole.operations();
    assert!(operations > 300);
    let mut seen = HashSet::new();
    for at in 0..operations {
        let disk = FaultDisk::new(3);
        disk.power_off_at(at);
        let (states, acked) = workload(&disk, 3);
        let crashed = disk.crash(at);
        // The first start loses power, too, somewhere.
        crashed.power_off_at(crashed.operations() + at % 60);
        drop(World::open(&crashed, 1));
        let crashed = crashed.crash(at + 1);
        let world = World::open(&crashed, 3).unwrap_or_else(|e| panic!("operation {at}: {e}"));
        let state = world.state();
        let found = states.iter().rposition(|other| *other == state);
        let found = found.unwrap_or_else(|| panic!("operation {at}: no state of the workload"));
        assert!(found >= acked, "operation {at}: {found} of {acked} acknowledged");
        assert!(world.found.damaged.is_empty(), "a named snapshot is whole");
        seen.insert(world.found.snapshot.map(|loaded| loaded.position));
    }
    assert!(seen.len() >= 4, "every snapshot was started from: {seen:?}");
}

#[test]
fn a_failing_operation_during_a_snapshot_leaves_what_was_there() {
    use crate::testing::{EIO, Fault, Op};
    for op in [Op::Open, Op::Write, Op::Sync, Op::Rename, Op::SyncDir, Op::Read, Op::Remove] {
        for after in 0..12 {
            let (disk, _, _) = two_snapshots();
            let mut world = World::open(&disk, 2).unwrap();
            let before = world.state();
            world.run("XADD k0 999999-0 f v").unwrap();
            disk.fail(Fault { op, after, times: 1, errno: EIO });
            let taken = world.snapshot(9, |_| Ok(()));
            disk.heal();
            let state = world.state();
            drop(world);
            // The new entry was not durable before, so a sync of the log may take it back.
            let may_lose = taken.is_err();
            let killed = World::open(&disk.kill(), 1).unwrap().state();
            let lost = may_lose && op == Op::Sync && killed == before;
            assert!(lost || killed == state, "{op:?} {after}");
            let crashed = World::open(&disk.crash(after), 1).unwrap().state();
            let lost = may_lose && crashed == before;
            assert!(lost || crashed == state, "{op:?} {after}");
        }
    }
}
