//! Any bytes as the payload of RESTORE, with a footer that fits: refused, or a value that is sound
//! as a stream and that DUMP writes so that RESTORE reads it again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::rdb::{Object, dump, restore};
use millstream::stream::{BlockLimits, Stream};

/// The version of the format that Redis 7.2 writes.
const VERSION: u16 = 11;

fuzz_target!(|data: &[u8]| {
    let mut payload = data.to_vec();
    payload.extend(VERSION.to_le_bytes());
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &payload);
    payload.extend(checksum.to_le_bytes());
    let Ok(object) = restore(&payload) else { return };
    let again = restore(&dump(&object).expect("it is small")).expect("what was written is read");
    assert_eq!(again, object);
    if let Object::Stream(image) = object {
        let limits = BlockLimits::default();
        let built = Stream::from_image(&image, limits).expect("RESTORE validates all of it");
        built.check();
        // Groups and consumers come out in the order of their names.
        let sorted = built.to_image();
        assert_eq!(sorted.entries, image.entries);
        assert_eq!(sorted.groups.len(), image.groups.len());
        let again = Stream::from_image(&sorted, limits).expect("a stream describes itself");
        assert_eq!(again.to_image(), sorted);
    }
});
