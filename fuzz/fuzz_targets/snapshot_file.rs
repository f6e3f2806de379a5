//! Any bytes as a snapshot file, once as they are and once with every checksum and number put
//! right: refused, or keys that are sound, and that a snapshot of them brings back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::codec::crc64;
use millstream::error::StorageError;
use millstream::keyspace::{DATABASES, Keyspace, SLOTS, Value};
use millstream::persist::{Directory, Position};
use millstream::shard::checkpoint::{self, Slice};
use millstream::shard::recovery::{self, LoadProgress};
use millstream::testing::FaultDisk;
use std::hash::RandomState;
use std::sync::Arc;

mod memory;

/// The bytes of the file's header, and of a section's.
const HEADER: usize = 32;

fn keyspace() -> Keyspace {
    Keyspace::new(0..SLOTS, RandomState::new())
}

fn load(directory: &Directory, position: Position) -> Result<Keyspace, StorageError> {
    let mut space = keyspace();
    recovery::load(directory, position, &mut [&mut space], &LoadProgress::default())?;
    Ok(space)
}

/// Every key with what it holds, in order.
fn state(space: &Keyspace) -> Vec<String> {
    let mut state = Vec::new();
    for db in 0..DATABASES {
        for (_, slot) in space.database(db).slots_from(0) {
            let value = match &slot.value {
                Value::Stream(stream) => format!("{:?}", stream.to_image()),
                Value::String(string) => format!("{string:?}"),
            };
            state.push(format!("{db} {:?} {:?} {value}", slot.key, slot.expire_at()));
        }
    }
    state.sort_unstable();
    state
}

fn read(bytes: &[u8]) {
    let position = bytes.get(16..24).and_then(|bytes| bytes.try_into().ok());
    let position = Position(position.map_or(0, u64::from_le_bytes));
    let disk = FaultDisk::new(1);
    let directory = Directory::look_at("/data", Arc::new(disk.clone()));
    disk.set_bytes(&directory.snapshot_path(position), bytes);
    let loaded = memory::bounded(bytes.len(), || load(&directory, position));
    let Ok(mut space) = loaded else { return };
    space.check();
    let before = state(&space);
    space.begin_handover();
    let directory = Directory::open("/data", Arc::new(FaultDisk::new(2)));
    let directory = directory.expect("the disk is sound");
    let mut frozen = Vec::new();
    space.hand_over(usize::MAX, &mut frozen);
    let mut slice = Some(Slice { shard: 0, frozen });
    checkpoint::take(&directory, None, position, &mut || Ok(slice.take()))
        .expect("the disk is sound");
    let again = load(&directory, position).expect("what was written is read");
    assert_eq!(state(&again), before);
}

/// The file with its header, the numbers and checksums of its sections, and its trailer as they
/// should be. A length that leads out of the file ends the section where the file ends.
fn put_right(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let header = bytes.get_mut(..HEADER)?;
    header[..8].copy_from_slice(b"MILLSNAP");
    header[8..16].copy_from_slice(&1_u64.to_le_bytes());
    let position = u64::from_le_bytes(header[16..24].try_into().ok()?);
    let crc = crc64(0, &[&header[..24]]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
    let (mut at, mut number) = (HEADER, 0_u32);
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() >= HEADER) {
        let (header, payload) = rest.split_at_mut(HEADER);
        let len = u64::from_le_bytes(header[..8].try_into().ok()?);
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(payload.len());
        if header[12] == 0 {
            break;
        }
        seal(header, &payload[..len], number, position);
        (at, number) = (at + HEADER + len, number + 1);
    }
    bytes.truncate(at);
    let mut trailer = [0; HEADER];
    seal(&mut trailer, &[], number, position);
    bytes.extend(trailer);
    Some(bytes)
}

fn seal(header: &mut [u8], payload: &[u8], number: u32, position: u64) {
    header[..8].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    header[8..12].copy_from_slice(&number.to_le_bytes());
    header[16..24].copy_from_slice(&crc64(position, &[payload]).to_le_bytes());
    let crc = crc64(position, &[&header[..24]]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
}

fuzz_target!(|data: &[u8]| {
    read(data);
    if let Some(bytes) = put_right(data) {
        read(&bytes);
    }
});
