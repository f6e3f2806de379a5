//! Any bytes as the records of a frame: refused, or changes that an empty keyspace takes or
//! refuses without harm, and that are written again as they were read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::keyspace::{Action, Change, Keyspace, LogBuffer, SLOTS, Spaces};
use std::hash::RandomState;

/// A string that grows to this length is not made.
const SLOW: usize = 1 << 20;

/// The changes as text, and written anew.
fn read(payload: &[u8]) -> Option<(Vec<String>, Vec<u8>)> {
    let (mut texts, mut log) = (Vec::new(), LogBuffer::new(0, true));
    let read = Change::decode_all(payload, &mut |change| {
        texts.push(format!("{change:?}"));
        log.push(&change, true);
        Ok(())
    });
    read.is_ok().then(|| (texts, log.payload()))
}

fuzz_target!(|data: &[u8]| {
    let Some((texts, bytes)) = read(data) else { return };
    let (again, same_bytes) = read(&bytes).expect("what was written can be read");
    // An entry's fields have several forms, so only what was written is compared as bytes.
    assert_eq!(again.len(), texts.len());
    assert_eq!(same_bytes, bytes);
    let mut space = Keyspace::new(0..SLOTS, RandomState::new());
    let applied = {
        let mut list = [&mut space];
        let mut spaces = Spaces::new(&mut list);
        Change::decode_all(data, &mut |change| match change.action {
            // Right, and slow: half a gigabyte of zero bytes.
            Action::SetRange { start: SLOW.., .. } => Ok(()),
            _ => spaces.apply(&change),
        })
    };
    if applied.is_ok() {
        space.check();
    }
});
