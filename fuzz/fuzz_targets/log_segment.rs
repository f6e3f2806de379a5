//! Any bytes as the frames of a log in one or two segments, once as they are and once with every
//! checksum and position put right: refused, or changes that a keyspace takes. Looking and opening
//! find the same, and what is appended afterwards is there after the next opening.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::codec::{Cursor, crc64};
use millstream::error::StorageError;
use millstream::keyspace::{Change, Keyspace, SLOTS, Spaces};
use millstream::persist::aof::{Aof, AofOptions, Recovered, Visit, frame_buffer, inspect};
use millstream::persist::{Directory, Position};
use millstream::testing::FaultDisk;
use std::hash::RandomState;
use std::path::PathBuf;
use std::sync::Arc;

mod memory;

/// The bytes of a segment before its first frame, and those of a copy of its header.
const SEGMENT_HEADER: usize = 8192;
const COPY: usize = 48;
/// Any number: what begins the checksums of the segments.
const SEED: u64 = 7;

fn segment(start: u64, frames: &[u8]) -> Vec<u8> {
    let mut copy = b"MILLSAOF".to_vec();
    copy.extend(1_u64.to_le_bytes());
    for field in [SEED, start, start] {
        copy.extend(field.to_le_bytes());
    }
    copy.extend(crc64(0, &[&copy]).to_le_bytes());
    let mut bytes = copy.clone();
    bytes.resize(SEGMENT_HEADER - COPY, 0);
    bytes.extend(copy);
    bytes.extend(frames);
    bytes
}

/// Puts position and checksum of each frame right, as far as lengths allow.
fn put_right(frames: &mut [u8]) {
    let mut at = 0;
    while frames.len() - at > 14 {
        let position = at as u64;
        let rest = &mut frames[at..];
        rest[8..12].copy_from_slice(&position.to_le_bytes()[..4]);
        let mut cursor = Cursor::new(&rest[12..]);
        let (Ok(len), Ok(behind)) = (cursor.varint(), cursor.varint()) else { return };
        let header = 12 + cursor.offset();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > rest.len() - header || behind > position {
            return;
        }
        let payload_crc = crc64(1, &[&rest[header..header + len]]);
        let parts = [&position.to_le_bytes(), &rest[8..header], &payload_crc.to_le_bytes()];
        let crc = crc64(SEED, &parts);
        rest[..8].copy_from_slice(&crc.to_le_bytes());
        at += header + len;
    }
}

/// Reads the log into an empty keyspace; what is left of it, if all of it applies.
fn replay(
    read: impl FnOnce(&mut Visit<'_>) -> Result<Recovered, StorageError>,
) -> Result<(Recovered, Keyspace), StorageError> {
    let mut space = Keyspace::new(0..SLOTS, RandomState::new());
    let recovered = {
        let mut list = [&mut space];
        let mut spaces = Spaces::new(&mut list);
        read(&mut |position, payload| {
            Change::decode_all(payload, &mut |change| spaces.apply(&change)).map_err(|error| {
                let (path, reason) = (PathBuf::new(), error.to_string());
                StorageError::Damaged { path, offset: position.0, reason }
            })
        })?
    };
    Ok((recovered, space))
}

fn open(disk: &FaultDisk) -> Result<(Arc<Aof>, Recovered, Vec<Vec<u8>>), StorageError> {
    let directory = Directory::open("/data", Arc::new(disk.clone()))?;
    let options = AofOptions {
        space_bytes: 2048,
        reserve_bytes: 256,
        sync_thread: false,
        ..AofOptions::default()
    };
    let mut frames = Vec::new();
    let (aof, recovered) = Aof::open(directory, options, Position(0), &mut |_, payload| {
        frames.push(payload.to_vec());
        Ok(())
    })?;
    Ok((aof, recovered, frames))
}

fn try_log(frames: &[u8], split: usize) {
    let disk = FaultDisk::new(1);
    let directory = Directory::look_at("/data", Arc::new(disk.clone()));
    let (first, second) = frames.split_at(split);
    disk.set_bytes(&directory.segment_path(Position(0)), &segment(0, first));
    if split < frames.len() {
        let start = split as u64;
        disk.set_bytes(&directory.segment_path(Position(start)), &segment(start, second));
    }
    let input = frames.len() + 2 * SEGMENT_HEADER;
    let from = Position(0);
    let looked = memory::bounded(input, || replay(|visit| inspect(&directory, from, false, visit)));
    if let Ok((_, space)) = &looked {
        space.check();
    }
    let opened = open(&disk);
    let Ok((aof, recovered, found)) = opened else {
        assert!(looked.is_err(), "opening refuses what looking takes");
        return;
    };
    if let Ok((looked, _)) = looked {
        assert_eq!((looked.end, looked.frames), (recovered.end, recovered.frames));
    }
    let mut buffer = frame_buffer();
    buffer.extend_from_slice(b"afterwards");
    aof.append(&mut buffer).expect("the disk is sound");
    aof.sync().expect("the disk is sound");
    drop(aof);
    let (_, _, again) = open(&disk.kill()).expect("an opened log can be opened again");
    assert_eq!(again[..found.len()], found);
    assert_eq!(again[found.len()..], [b"afterwards".to_vec()]);
}

fuzz_target!(|data: &[u8]| {
    let [low, high, frames @ ..] = data else { return };
    let split = usize::from(u16::from_le_bytes([*low, *high]));
    let split = if (1..frames.len()).contains(&split) { split } else { frames.len() };
    try_log(frames, split);
    let mut frames = frames.to_vec();
    put_right(&mut frames);
    try_log(&frames, split);
});
