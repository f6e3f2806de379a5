//! The entries against a `BTreeMap`, with clones that must not change; their memory.

use super::*;
use crate::codec::Cursor;
use std::collections::BTreeMap;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
type Model = BTreeMap<EntryId, Pairs>;

/// A small generator of seeded numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn bytes(&mut self, max: u64) -> Vec<u8> {
        vec![b'v'; usize::try_from(self.below(max)).unwrap()]
    }

    fn pairs(&mut self) -> Pairs {
        match self.below(6) {
            0 => (0..self.below(4)).map(|_| (self.bytes(3), self.bytes(200))).collect(),
            1 => vec![(b"a".to_vec(), self.bytes(20)), (b"b".to_vec(), self.bytes(3))],
            _ => vec![(b"a".to_vec(), vec![b'x'; 8]), (b"b".to_vec(), b"y".to_vec())],
        }
    }

    /// An ID after `last`, often the very next, sometimes far.
    fn id_after(&mut self, last: EntryId) -> EntryId {
        match self.below(10) {
            0 => EntryId::new(last.ms + 1 + self.below(100), self.below(3)),
            1 => EntryId::new(last.ms, last.seq + 1 + self.below(300)),
            2..6 => EntryId::new(last.ms + 1, 0),
            _ => EntryId::new(last.ms, last.seq + 1),
        }
    }
}

fn slices(pairs: &Pairs) -> Vec<&[u8]> {
    pairs.iter().flat_map(|(field, value)| [&field[..], &value[..]]).collect()
}

fn owned_entry(entry: EntryRef<'_>) -> (EntryId, Pairs) {
    let pairs = entry.fields.iter().map(|(field, value)| (field.to_vec(), value.to_vec()));
    (entry.id, pairs.collect())
}

fn assert_same(entries: &Entries, model: &Model) {
    let expected: Vec<_> = model.iter().map(|(id, pairs)| (*id, pairs.clone())).collect();
    let found: Vec<_> = entries.range(EntryId::MIN, EntryId::MAX).map(owned_entry).collect();
    assert_eq!(found, expected);
    let back: Vec<_> = entries.range_back(EntryId::MAX, EntryId::MIN).map(owned_entry).collect();
    assert!(back.iter().rev().eq(&expected));
}

/// Questions with one answer, about IDs at random.
fn ask(entries: &Entries, model: &Model, random: &mut Random, last: EntryId) {
    assert_eq!(entries.len(), model.len() as u64);
    assert_eq!(entries.is_empty(), model.is_empty());
    assert_eq!(entries.first_id(), model.keys().next().copied());
    assert_eq!(entries.last_id(), model.keys().next_back().copied());
    let pick = |random: &mut Random| match random.below(3) {
        0 => EntryId::new(random.below(last.ms + 2), random.below(4)),
        _ => match usize::try_from(random.below(model.len() as u64 + 1)).unwrap() {
            0 => last,
            nth => *model.keys().nth(nth - 1).unwrap(),
        },
    };
    let (start, end) = (pick(random), pick(random));
    let found = entries.get(start).map(owned_entry).map(|(_, pairs)| pairs);
    assert_eq!(found.as_ref(), model.get(&start));
    assert_eq!(entries.contains(end), model.contains_key(&end));
    assert_eq!(entries.count_below(start), model.range(..start).count() as u64);
    let nth = random.below(model.len() as u64 + 2);
    let expected = model.keys().nth(usize::try_from(nth).unwrap()).copied();
    assert_eq!(entries.nth_id(nth), expected);
    let forward = entries.range(start, end).map(|entry| entry.id).take(20);
    let back = entries.range_back(end, start).map(|entry| entry.id).take(20);
    if start > end {
        assert_eq!((forward.count(), back.count()), (0, 0));
    } else {
        assert!(forward.eq(model.range(start..=end).map(|(id, _)| *id).take(20)));
        assert!(back.eq(model.range(start..=end).rev().map(|(id, _)| *id).take(20)));
    }
}

/// All blocks to bytes and back.
fn through_bytes(entries: &Entries) -> Entries {
    let mut out = Vec::new();
    entries.blocks().for_each(|block| block.encode(&mut out));
    let mut cursor = Cursor::new(&out);
    let mut again = Entries::new();
    while !cursor.is_empty() {
        again.push_block(Block::decode(&mut cursor).unwrap()).unwrap();
    }
    again
}

#[test]
fn entries_do_what_a_btreemap_does() {
    for seed in 1..=8 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let limits = BlockLimits {
            bytes: [0, 100, 600, 4096][usize::try_from(random.below(4)).unwrap()],
            entries: [0, 1, 4, 30][usize::try_from(random.below(4)).unwrap()],
        };
        let (mut entries, mut model) = (Entries::new(), Model::new());
        let mut last = EntryId::new(random.below(3), 0);
        let mut clones = Vec::new();
        for step in 0..1000 {
            let some_id = |random: &mut Random| {
                let nth = usize::try_from(random.below(model.len() as u64 + 1)).unwrap();
                model.keys().nth(nth).copied().unwrap_or(EntryId::new(1, 0))
            };
            match random.below(100) {
                0..60 => {
                    last = random.id_after(last);
                    let pairs = random.pairs();
                    entries.append(last, &Fields::Slices(&slices(&pairs)), limits);
                    model.insert(last, pairs);
                }
                60..90 => {
                    let id = some_id(&mut random);
                    assert_eq!(entries.delete(id), model.remove(&id).is_some());
                }
                90..94 => {
                    let near = random.below(model.len() as u64 / 8 + 1);
                    let id = entries.nth_id(near).unwrap_or(last);
                    let kept = model.split_off(&id);
                    let (count, removed) = entries.trim_below(id);
                    assert_eq!(count, model.len() as u64);
                    assert!(removed.len() <= count);
                    if !removed.is_empty() {
                        removed.check();
                    }
                    model = kept;
                }
                94 => clones.push((entries.clone(), model.clone())),
                95 => entries = through_bytes(&entries),
                96 if random.below(20) == 0 => {
                    assert_eq!(entries.clear().len(), model.len() as u64);
                    model.clear();
                }
                _ => {}
            }
            entries.check();
            ask(&entries, &model, &mut random, last);
            if step % 50 == 0 {
                assert_same(&entries, &model);
            }
        }
        assert_same(&entries, &model);
        for (entries, model) in clones {
            entries.check();
            assert_same(&entries, &model);
        }
    }
}

#[test]
fn blocks_that_do_not_ascend_are_refused() {
    let fields = Fields::Slices(&[b"f", b"v"]);
    let mut entries = Entries::new();
    entries.push_block(Block::new(EntryId::new(5, 1), &fields, 0)).unwrap();
    assert!(entries.push_block(Block::new(EntryId::new(5, 1), &fields, 0)).is_err());
    assert!(entries.push_block(Block::new(EntryId::new(5, 0), &fields, 0)).is_err());
    assert_eq!((entries.len(), entries.block_count()), (1, 1));
}

#[test]
fn a_block_is_a_hundred_entries_and_a_trim_takes_whole_ones() {
    let fields = Fields::Slices(&[b"f", b"v"]);
    let mut entries = Entries::new();
    for n in 1..=555 {
        entries.append(EntryId::new(n, 0), &fields, BlockLimits::default());
    }
    assert_eq!(entries.block_count(), 6);
    for n in 2..=100 {
        assert!(entries.delete(EntryId::new(n, 0)));
    }
    let facts: Vec<_> = entries.blocks().map(|b| (b.live(), b.total(), b.last_id().ms)).collect();
    assert_eq!(facts[0], (1, 100, 100));
    assert_eq!(facts[5], (55, 55, 555));
    assert_eq!(entries.trim_below(EntryId::new(250, 0)).0, 1 + 149);
    assert_eq!((entries.len(), entries.block_count()), (306, 4));
    entries.check();
}

/// Bytes of memory per entry beyond its values, for `n` fields with values of `len` bytes (one
/// more byte for every third entry if `uneven`).
fn overhead(n: usize, len: usize, uneven: bool) -> f64 {
    let mut entries = Entries::new();
    let (mut values_len, count) = (0, 10_000);
    for i in 0..count {
        let pairs: Pairs = (0..n)
            .map(|field| {
                let longer = usize::from(uneven && (i + field).is_multiple_of(3));
                (format!("field-{field}").into_bytes(), vec![b'v'; len + longer])
            })
            .collect();
        values_len += pairs.iter().map(|(_, value)| value.len()).sum::<usize>();
        let id = EntryId::new(1_700_000_000_000 + i as u64 / 2, i as u64 % 2);
        entries.append(id, &Fields::Slices(&slices(&pairs)), BlockLimits::default());
    }
    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
    let overhead = (entries.memory_bytes(usize::MAX) - values_len) as f64 / count as f64;
    overhead
}

#[test]
fn an_entry_takes_its_values_and_at_most_six_bytes() {
    for (n, len) in [(1, 16), (1, 100), (3, 5), (5, 5), (3, 16), (5, 16)] {
        let found = overhead(n, len, false);
        assert!(found <= 6.0, "{n} fields of {len} bytes: {found}");
    }
    assert!(overhead(1, 16, true) <= 7.0);
}
