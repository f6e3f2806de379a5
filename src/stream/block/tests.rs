//! Every shape and code, damage, limits.

use super::*;
use crate::stream::fields::Span;

const NO_LIMIT: BlockLimits = BlockLimits { bytes: 0, entries: 0 };

/// A block that uses every shape and every ID code, and has tombstones.
fn varied() -> Block {
    let mut block =
        Block::new(EntryId::new(1000, 5), &Fields::Slices(&[b"a", b"12", b"bc", b""]), 0);
    let ids = [(1000, 6), (1000, 9), (1028, 0), (1057, 0), (1057, 1), (2000, 7), (2001, 0)];
    for (i, (ms, seq)) in ids.into_iter().enumerate() {
        let fields: &[&[u8]] = match i % 4 {
            0 => &[b"a", b"34", b"bc", b""],
            1 => &[b"a", b"345", b"bc", b"x"],
            2 => &[b"a", b"34", b"bd", b""],
            _ => &[],
        };
        assert!(block.append(EntryId::new(ms, seq), &Fields::Slices(fields), NO_LIMIT));
    }
    for (ms, seq) in [(1000, 5), (1028, 0), (2001, 0)] {
        let id = EntryId::new(ms, seq);
        block.delete(block.place(id).unwrap());
        assert_eq!(block.place(id), None);
    }
    assert_eq!(block.place(EntryId::new(1001, 0)), None);
    block.check();
    block
}

fn contents(block: &Block) -> Vec<(EntryId, Vec<u8>)> {
    let encode = |entry: EntryRef<'_>| {
        let mut out = Vec::new();
        entry.fields.encode(&mut out);
        (entry.id, out)
    };
    block.iter().map(encode).collect()
}

#[test]
fn every_shape_comes_back_from_memory_and_from_bytes() {
    let block = varied();
    let ids: Vec<_> = block.iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!(ids, ["1000-6", "1000-9", "1057-0", "1057-1", "2000-7"]);
    assert_eq!((block.live(), block.total()), (5, 8));
    assert_eq!(block.first().unwrap().id, EntryId::new(1000, 6));
    assert_eq!(block.last().unwrap().id, EntryId::new(2000, 7));
    let wide = block.find(EntryId::new(1000, 9)).unwrap();
    assert_eq!(wide.fields.value(b"a"), Some(&b"345"[..]));
    assert_eq!(block.find(EntryId::new(1057, 0)).unwrap().fields.pairs(), 0);
    let mut out = Vec::new();
    block.encode(&mut out);
    let mut cursor = Cursor::new(&out);
    let again = Block::decode(&mut cursor).unwrap();
    again.check();
    assert_eq!(cursor.end(), Ok(()));
    assert_eq!(contents(&again), contents(&block));
    assert_eq!((again.total(), again.last_id()), (8, block.last_id()));
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert_eq!(twice, out);
}

#[test]
fn damaged_bytes_are_refused_or_make_a_sound_block() {
    let mut out = Vec::new();
    varied().encode(&mut out);
    for cut in 0..out.len() {
        assert!(Block::decode(&mut Cursor::new(&out[..cut])).is_err());
    }
    for at in 0..out.len() {
        for flip in 1..=255 {
            let mut bad = out.clone();
            bad[at] ^= flip;
            if let Ok(block) = Block::decode(&mut Cursor::new(&bad)) {
                block.check();
                contents(&block);
            }
        }
    }
}

#[test]
fn limits_count_tombstones_and_bytes() {
    let fields: Fields<'_> = Fields::Slices(&[b"f", b"0123456789"]);
    let limits = BlockLimits { bytes: 0, entries: 3 };
    let mut block = Block::new(EntryId::new(1, 0), &fields, 0);
    assert!(block.append(EntryId::new(2, 0), &fields, limits));
    block.delete(block.place(EntryId::new(1, 0)).unwrap());
    assert!(block.append(EntryId::new(3, 0), &fields, limits));
    assert!(!block.append(EntryId::new(4, 0), &fields, limits));
    let limits = BlockLimits { bytes: block.bytes_len() + 11, entries: 0 };
    assert!(!block.append(EntryId::new(4, 0), &fields, limits));
    let limits = BlockLimits { bytes: block.bytes_len() + 12, entries: 0 };
    assert!(block.append(EntryId::new(4, 0), &fields, limits));
    assert_eq!(block.drop_below(EntryId::new(4, 0)), 2);
    assert_eq!(block.count_below(EntryId::MAX), 1);
    block.check();
    block.shrink();
    block.check();
}

#[test]
fn a_block_ends_where_its_last_entries_would_begin_a_step_of_the_allocator() {
    // The size of an entry's value; how many go into a block, and why there are not more.
    for (value, entries) in [
        (16, 100), // the entries: small blocks take all
        (25, 96),  // the step at 2,560
        (28, 100), // the entries: more than half of the step from 2,560 is used
        (100, 40), // the bytes
    ] {
        let value = vec![b'x'; value];
        let fields = [&b"field"[..], &value[..]];
        let fields = Fields::Slices(&fields);
        let mut block = Block::new(EntryId::new(1, 1), &fields, 0);
        for seq in 2.. {
            if !block.append(EntryId::new(1, seq), &fields, BlockLimits::default()) {
                break;
            }
        }
        assert_eq!(block.total(), entries, "value of {} bytes", value.len());
        let step = if block.bytes_len() < STEPS_FROM { 256 } else { 512 };
        let waste = block.bytes_len().next_multiple_of(step) - block.bytes_len();
        assert!(waste < step / 2, "{waste} bytes are lost");
    }
    // What is not among the bytes takes one line of the processor's cache.
    assert_eq!(size_of::<Block>() + ARC_BYTES, 64);
}

#[test]
fn a_large_entry_stays_where_it_came() {
    let (mut wire, mut spans) = (b"*7\r\n$4\r\nXADD\r\n".to_vec(), Vec::new());
    let long = vec![b'v'; 1000];
    for string in [&b"field"[..], &long, b"", b"x"] {
        wire.extend_from_slice(format!("${}\r\n", string.len()).as_bytes());
        spans.push(Span::new(wire.len(), wire.len() + string.len()));
        wire.extend_from_slice(&[string, b"\r\n"].concat());
    }
    let whole = bytes::Bytes::from(wire);
    let fields = Fields::Spans { buffer: &whole, spans: &spans, whole: Some(&whole) };
    let id = EntryId::new(7, 7);
    let mut block = Block::new(id, &fields, 4096);
    block.check();
    let value = block.find(id).unwrap().fields.value(b"field").unwrap();
    assert!(whole.as_ptr_range().contains(&value.as_ptr()));
    assert!((1000..1400).contains(&block.memory_bytes()));
    // It is one of a kind, whatever the limits are.
    let next = Fields::Slices(&[b"field", b"v"]);
    assert!(!block.append(EntryId::new(8, 0), &next, NO_LIMIT));
    let packed = Block::new(id, &Fields::Slices(&[b"field", &long, b"", b"x"]), 0);
    assert_eq!(contents(&block), contents(&packed));
    let (mut bytes, mut same) = (Vec::new(), Vec::new());
    block.encode(&mut bytes);
    packed.encode(&mut same);
    assert_eq!(bytes, same);
    // Unless that is twice as much.
    let small = Fields::Spans { buffer: &whole, spans: &spans[2..], whole: Some(&whole) };
    let block = Block::new(id, &small, 0);
    let value = block.first().unwrap().fields.value(b"").unwrap();
    assert!(!whole.as_ptr_range().contains(&value.as_ptr()));
}
