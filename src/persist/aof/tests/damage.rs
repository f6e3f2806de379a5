//! Damage to the log: cuts, flipped bits, blocks overwritten, swapped and dropped (D4 to D6).

use super::*;

/// How much longer what takes the square of its length is in a long run.
fn times() -> usize {
    usize::try_from(rounds(1).min(10)).unwrap()
}

#[test]
fn d04_a_log_cut_at_every_byte_opens_with_a_prefix_and_goes_on() {
    // At 57 bytes a frame these are 16 KB.
    let (disk, frames) = sample(280 * times(), 4);
    let path = last_path(&disk);
    let bytes = disk.bytes(&path).unwrap();
    let start = usize::try_from(SEGMENT_HEADER_BYTES).unwrap();
    let end = start + usize::try_from(frames.last().unwrap().0.0).unwrap();
    for len in (0..start).step_by(127).chain(start..=end) {
        let disk = disk.kill();
        disk.set_bytes(&path, &bytes[..len]);
        let (aof, _, found) = open(&disk).unwrap();
        let whole = frames.iter().filter(|(at, _)| start as u64 + at.0 <= len as u64);
        assert_eq!(found, frames[..whole.count()], "cut at {len}");
        goes_on(&disk, aof, found);
    }
}

/// What damage may do: a refusal that names the file and a byte of it, or a prefix that ends where
/// nothing valid says that more was durable. Returns whether it was refused.
fn check_damaged(disk: &FaultDisk, frames: &Frames, promised: usize, what: &str) -> bool {
    match open(disk) {
        Ok((aof, _, found)) => {
            assert!(found.len() >= promised, "{what}: {} of {promised}", found.len());
            assert_eq!(found, frames[..found.len()], "{what}");
            goes_on(disk, aof, found);
            false
        }
        Err(StorageError::Damaged { path, offset, .. }) => {
            assert!(offset <= disk.bytes(&path).unwrap().len() as u64, "{what}");
            true
        }
        // A flipped bit in a version makes it another version only with a matching checksum.
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn d05_every_flipped_bit_is_refused_where_it_was_promised_and_cut_where_not() {
    // At 57 bytes a frame these are 8 KB.
    let count = 140 * times();
    let (disk, frames) = sample(count, 5);
    let path = last_path(&disk);
    let bytes = disk.bytes(&path).unwrap();
    let start = usize::try_from(SEGMENT_HEADER_BYTES).unwrap();
    let end = start + usize::try_from(frames.last().unwrap().0.0).unwrap();
    // The last sync of `sample`; later frames name it.
    let durable = frames[(count - 5) / 5 * 5 + 1].0;
    for at in (0..64).chain(start - 64..end) {
        for bit in 0..8 {
            let disk = disk.kill();
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            disk.set_bytes(&path, &bytes);
            let promised = if at < start { frames.len() } else { 0 };
            let what = format!("bit {bit} of byte {at}");
            let refused = check_damaged(&disk, &frames, promised, &what);
            let below = at >= start && ((at - start) as u64) < durable.0;
            assert_eq!(refused, below, "{what}");
        }
    }
}

#[test]
fn d05_flipped_bits_anywhere_are_refused_or_cut() {
    let (disk, frames) = sample(160, 7);
    let path = last_path(&disk);
    let original = disk.bytes(&path).unwrap();
    let mut rng = Rng::new(7);
    let mut refusals = 0;
    let count = rounds(100_000);
    for round in 0..count {
        let disk = disk.kill();
        let mut bytes = original.clone();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
        }
        disk.set_bytes(&path, &bytes);
        refusals += u64::from(check_damaged(&disk, &frames, 0, &format!("round {round}")));
    }
    assert!(refusals > count / 2, "{refusals}");
}

#[test]
fn d05_a_segment_that_lost_both_headers_is_refused_if_anything_in_it_was_promised() {
    let without_headers = |disk: &FaultDisk, len: usize| {
        let (disk, path) = (disk.kill(), last_path(disk));
        let mut bytes = disk.bytes(&path).unwrap();
        bytes[..len].fill(0);
        disk.set_bytes(&path, &bytes);
        disk
    };
    let (disk, frames) = sample(40, 5);
    let header = usize::try_from(SEGMENT_HEADER_BYTES).unwrap();
    // Also with the first frames gone.
    for len in (header..header + 500).step_by(7) {
        assert!(check_damaged(&without_headers(&disk, len), &frames, 0, &format!("{len} zeros")));
    }
    // The damaged one is not the last, or not the only one.
    for after in [None, Some(b"behind it")] {
        let disk = FaultDisk::new(1);
        let (aof, _, mut frames) = open(&disk).unwrap();
        append(&aof, b"first", &mut frames).unwrap();
        aof.rotate().unwrap();
        append(&aof, b"second", &mut frames).unwrap();
        append(&aof, b"third", &mut frames).unwrap();
        let never_synced = without_headers(&disk, header);
        assert!(!check_damaged(&never_synced, &frames, 1, "it never was synced"));
        aof.sync().unwrap();
        aof.tend();
        if let Some(payload) = after {
            append(&aof, payload, &mut frames).unwrap();
        }
        assert!(check_damaged(&without_headers(&disk, header), &frames, 0, "it was synced"));
    }
}

#[test]
fn d06_overwritten_swapped_and_dropped_ranges_are_refused_or_cut() {
    let (disk, frames) = sample(120, 6);
    let path = last_path(&disk);
    let original = disk.bytes(&path).unwrap();
    let mut rng = Rng::new(6);
    let mut refusals = 0;
    for round in 0..rounds(20_000) {
        let mut bytes = original.clone();
        let len = if rng.chance(1, 2) { 512 } else { 4096 };
        let (at, other) = (rng.below(bytes.len() - len), rng.below(bytes.len() - len));
        match rng.below(6) {
            0 => bytes[at..at + len].fill(0),
            1 => bytes[at..at + len].fill(0xff),
            2 => bytes[at..at + len].copy_from_slice(&rng.bytes(len)),
            3 => bytes.copy_within(other..other + len, at),
            4 => drop(bytes.drain(at..at + len)),
            _ => drop(bytes.splice(at..at, original[other..other + len].to_vec())),
        }
        let disk = disk.kill();
        disk.set_bytes(&path, &bytes);
        refusals += usize::from(check_damaged(&disk, &frames, 0, &format!("round {round}")));
    }
    assert!(refusals > 100, "{refusals}");
}
