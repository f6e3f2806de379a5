//! Any bytes as a snapshot file of Redis, with a checksum that fits: read to the end or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::rdb::file::File;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &bytes);
    bytes.extend(checksum.to_le_bytes());
    let Ok(mut file) = File::open(&bytes) else { return };
    while let Ok(Some(_)) = file.next_key() {}
    assert!(file.offset() <= bytes.len());
});
