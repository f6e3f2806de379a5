//! Any bytes as a block of a snapshot: refused, or a block that is sound, reads the same both ways
//! of asking, survives changes, and is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::codec::Cursor;
use millstream::stream::{Block, EntryId, Fields};

fn entries(block: &Block) -> Vec<(EntryId, Vec<(Vec<u8>, Vec<u8>)>)> {
    let owned = |fields: Fields<'_>| {
        fields.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
    };
    block.iter().map(|entry| (entry.id, owned(entry.fields))).collect()
}

fuzz_target!(|data: &[u8]| {
    let mut cursor = Cursor::new(data);
    let Ok(mut block) = Block::decode(&mut cursor) else { return };
    block.check();
    let all = entries(&block);
    assert_eq!(all.len(), block.live());
    assert_eq!(all.first().map(|entry| entry.0), block.first().map(|entry| entry.id));
    assert_eq!(all.last().map(|entry| entry.0), block.last().map(|entry| entry.id));
    for (place, (id, _)) in all.iter().enumerate().take(50) {
        assert!(block.find(*id).is_some());
        assert_eq!(block.count_below(*id), place);
    }
    let mut bytes = Vec::new();
    block.encode(&mut bytes);
    let again = Block::decode(&mut Cursor::new(&bytes)).expect("what was written can be read");
    assert_eq!(entries(&again), all);
    let middle = all[all.len() / 2].0;
    if block.drop_below(middle) > 0 {
        block.check();
    }
    assert_eq!(entries(&block), all[all.len() / 2..]);
    block.shrink();
    block.check();
});
