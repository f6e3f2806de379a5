//! A log with damage anywhere in its last segment: opening refuses, or visits a prefix of the
//! frames that were appended; never other bytes. What was appended afterwards is there after the
//! next opening.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::error::StorageError;
use millstream::persist::aof::{Aof, AofOptions, frame_buffer};
use millstream::persist::{Directory, Position};
use millstream::testing::FaultDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Frames = Vec<Vec<u8>>;

fn open(disk: &FaultDisk) -> Result<(Arc<Aof>, PathBuf, Frames), StorageError> {
    let directory = Directory::open(Path::new("/data"), Arc::new(disk.clone()))?;
    let options = AofOptions {
        space_bytes: 2048,
        reserve_bytes: 256,
        sync_thread: false,
        ..AofOptions::default()
    };
    let mut frames = Frames::new();
    let (aof, _) = Aof::open(directory.clone(), options, Position(0), &mut |_, payload| {
        frames.push(payload.to_vec());
        Ok(())
    })?;
    let last = *directory.segments()?.last().expect("an open log has a segment");
    Ok((aof, directory.segment_path(last), frames))
}

fn append(aof: &Aof, payload: &[u8]) {
    let mut buffer = frame_buffer();
    buffer.extend_from_slice(payload);
    aof.append(&mut buffer).expect("the disk is sound");
}

fuzz_target!(|data: &[u8]| {
    let [frames, damages, rest @ ..] = data else { return };
    let disk = FaultDisk::new(1);
    let (aof, path, _) = open(&disk).expect("the disk is sound");
    let frames: Frames = (0..*frames % 16)
        .map(|number| vec![number; 1 + usize::from(number) * usize::from(*damages) % 90])
        .collect();
    for (number, frame) in frames.iter().enumerate() {
        append(&aof, frame);
        if number % 5 == 4 {
            aof.sync().expect("the disk is sound");
        }
    }
    drop(aof);
    let disk = disk.kill();
    let Some(mut bytes) = disk.bytes(&path) else { return };
    // Four bytes of input change one byte, or cut there.
    for damage in rest.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) % (bytes.len() + 1);
        match bytes.get_mut(at) {
            Some(byte) if damage[2] != 0 => *byte = damage[3],
            _ => bytes.truncate(at),
        }
    }
    disk.set_bytes(&path, &bytes);
    let Ok((aof, _, found)) = open(&disk) else { return };
    assert!(found.len() <= frames.len());
    assert_eq!(found, frames[..found.len()]);
    append(&aof, b"afterwards");
    aof.sync().expect("the disk is sound");
    drop(aof);
    let (_, _, again) = open(&disk.kill()).expect("an opened log can be opened again");
    assert_eq!(again[..found.len()], found);
    assert_eq!(again[found.len()..], [b"afterwards".to_vec()]);
});
