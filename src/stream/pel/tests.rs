//! The list and the sets against sorted maps; their memory.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// How many shapes [`Random::id`] knows.
const SHAPES: u64 = 5;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// IDs close together, far apart in one way or the other, or at the end of the numbers.
    fn id(&mut self, shape: u64) -> EntryId {
        let few = self.below(40);
        match shape {
            0 => EntryId::new(1_700_000_000_000 + self.below(300), self.below(4)),
            1 => EntryId::new(few, self.below(100) << 12),
            2 => EntryId::new(few << 29, self.below(20)),
            3 => EntryId::new((few << 58) + self.below(2), u64::MAX >> self.below(60)),
            _ => EntryId::new(u64::MAX - few, u64::MAX - self.below(20)),
        }
    }

    fn pending(&mut self, shape: u64) -> Pending {
        let far = self.below(40) == 0;
        let owner = u32::try_from(self.below(5)).unwrap();
        let owner = if far { u32::MAX - 1 - owner * 65_533 } else { owner };
        let counts = [0, 1, 2, 254, 255, 256, COUNT_FATAL - 1, COUNT_FATAL, u64::MAX];
        Pending {
            id: self.id(shape),
            owner: (self.below(4) != 0).then_some(ConsumerNo(owner)),
            delivered_at: UnixMs(
                1_700_000_000_000 + self.below(50) - if far { 1 << 40 } else { 0 },
            ),
            count: counts[usize::try_from(self.below(if far { 9 } else { 3 })).unwrap()],
        }
    }
}

/// Pending entries with their place in hand-out order.
#[derive(Default, Clone)]
struct Model {
    rows: BTreeMap<EntryId, (u64, Pending)>,
    unownings: u64,
}

impl Model {
    fn set(&mut self, mut pending: Pending) -> Option<Pending> {
        if pending.owner.is_none() {
            pending.delivered_at = UnixMs(0);
        }
        self.unownings += 1;
        self.rows.insert(pending.id, (self.unownings, pending)).map(|(_, old)| old)
    }

    fn oldest(&self, at_most: UnixMs) -> Vec<Pending> {
        let mut rows: Vec<_> = self.rows.values().collect();
        rows.retain(|(_, row)| row.delivered_at <= at_most);
        rows.sort_by_key(|(no, row)| match row.owner {
            None => (0, *no, row.id),
            Some(_) => (1, row.delivered_at.0, row.id),
        });
        rows.into_iter().map(|(_, row)| *row).collect()
    }
}

fn assert_same(pel: &Pel, model: &Model, random: &mut Random, shape: u64) {
    pel.check();
    let rows = || model.rows.values().map(|(_, row)| *row);
    let unowned = rows().filter(|row| row.owner.is_none()).count();
    assert_eq!((pel.len(), pel.unowned_len()), (model.rows.len(), unowned));
    assert!(pel.iter_from(EntryId::MIN).eq(rows()));
    assert_eq!(pel.first(), rows().next().map(|row| row.id));
    assert_eq!(pel.last(), rows().next_back().map(|row| row.id));
    let from = random.id(shape);
    let above = || model.rows.range(from..).map(|(_, (_, row))| *row);
    assert!(pel.iter_from(from).eq(above()));
    let rank = model.rows.range(..from).count();
    assert_eq!(pel.rank(from), rank);
    assert_eq!(pel.at_rank(rank), above().next());
    let at_most = UnixMs(1_700_000_000_000 + random.below(60));
    let idle = above().find(|row| row.delivered_at <= at_most);
    assert_eq!(pel.next_idle(from, at_most), idle);
    let oldest = model.oldest(at_most);
    assert!(pel.tail(EntryId::MIN).iter_oldest(at_most).eq(oldest.iter().copied()));
    let oldest = model.oldest(UnixMs(u64::MAX));
    assert_eq!(pel.oldest(), oldest.first().copied());
    assert!(pel.tail(EntryId::MIN).iter_oldest(UnixMs(u64::MAX)).eq(oldest.iter().copied()));
    let tail: Vec<_> = pel.tail(from).iter_oldest(UnixMs(u64::MAX)).collect();
    let above = |pending: &&Pending| pending.id >= from;
    assert!(tail.iter().filter(above).eq(oldest.iter().filter(above)));
    assert!(tail.iter().filter(|pending| !above(pending)).count() <= 120);
    assert!(pel.iter_unowned().eq(oldest[..unowned].iter().copied()));
}

#[test]
fn the_list_does_what_a_sorted_map_does_and_clones_stay_as_they_were() {
    for shape in 0..SHAPES {
        for seed in 1..=3 {
            let mut random = Random(seed * 104_729 + shape);
            let (mut pel, mut model) = (Pel::default(), Model::default());
            let mut kept = (pel.clone(), model.clone());
            for step in 0..3000 {
                // Grows for a while, then shrinks to almost nothing.
                let grows = step % 1500 < 800;
                match random.below(10) {
                    0..=5 if grows => {
                        let pending = random.pending(shape);
                        assert_eq!(pel.set(pending), model.set(pending));
                    }
                    6 if grows => {
                        let (owner, at) = (ConsumerNo(7), UnixMs(1_700_000_000_020));
                        let ids: BTreeSet<_> = (0..9).map(|_| random.id(shape)).collect();
                        let fresh =
                            |id| Pending { id, owner: Some(owner), delivered_at: at, count: 1 };
                        let replaced: Vec<_> =
                            ids.iter().filter_map(|&id| model.set(fresh(id))).collect();
                        assert_eq!(pel.deliver(ids.into_iter(), owner, at), replaced);
                    }
                    7 if step % 100 == 0 => kept = (pel.clone(), model.clone()),
                    8 => {
                        let from = random.id(shape);
                        let skipped = random.below(3);
                        let rows = model.rows.range(from..).map(|(_, (_, row))| *row);
                        let rows = rows.filter(|row| skipped == 0 || row.id.seq % 3 != skipped);
                        let gone: Vec<_> = rows.take(20).collect();
                        let ids: Vec<_> = gone.iter().map(|row| row.id).collect();
                        model.rows.retain(|id, _| ids.binary_search(id).is_err());
                        let mut told = Vec::new();
                        assert!(pel.remove_each(&ids, |row| told.push(row)));
                        assert_eq!(told, gone);
                        assert_eq!(pel.remove_each(&ids, |_| {}), ids.is_empty());
                    }
                    _ => {
                        let id = random.id(shape);
                        let id = model.rows.range(id..).next().map_or(id, |(id, _)| *id);
                        assert_eq!(pel.get(id), model.rows.get(&id).map(|(_, row)| *row));
                        assert_eq!(pel.remove(id), model.rows.remove(&id).map(|(_, row)| row));
                    }
                }
                if step % 50 == 0 {
                    assert_same(&pel, &model, &mut random, shape);
                }
                if step % 750 == 0 {
                    assert_same(&kept.0, &kept.1, &mut random, shape);
                }
            }
        }
    }
}

#[test]
fn the_set_does_what_a_sorted_set_does() {
    for shape in 0..SHAPES {
        let mut random = Random(shape + 1);
        let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
        for step in 0..4000 {
            let id = random.id(shape);
            match random.below(if step < 2500 { 9 } else { 4 }) {
                8 => {
                    let ids: Vec<_> = model.range(id..).take(200).copied().collect();
                    set.remove_each(&ids);
                    model.retain(|id| ids.binary_search(id).is_err());
                }
                0..=3 => assert_eq!(set.remove(id), model.remove(&id)),
                4..=6 => assert_eq!(set.insert(id), model.insert(id)),
                _ => {
                    let ids: Vec<_> = (0..5).map(|_| random.id(shape)).collect();
                    set.extend(ids.iter().copied());
                    model.extend(ids);
                }
            }
            assert_eq!(set.contains(id), model.contains(&id));
            if step % 100 == 0 {
                set.check();
                assert_eq!(set.len(), model.len());
                assert!(set.iter_from(id).eq(model.range(id..).copied()));
                assert_eq!(set.rank(id), model.range(..id).count());
                assert_eq!(
                    (set.first(), set.last()),
                    (model.first().copied(), model.last().copied())
                );
            }
        }
    }
}

/// A list of `count` entries delivered in order, ten at a time, to consumers in turn.
fn delivered(count: u64, consumers: usize) -> (Pel, Vec<IdSet>) {
    let (mut pel, mut sets) = (Pel::default(), vec![IdSet::default(); consumers]);
    for batch in 0..count / 10 {
        let ms = 1_700_000_000_000 + batch;
        let consumer = usize::try_from(batch).unwrap() % consumers;
        let ids = (0..10).map(|seq| EntryId::new(ms, seq));
        let owner = ConsumerNo(u32::try_from(consumer).unwrap());
        assert!(pel.deliver(ids.clone(), owner, UnixMs(ms + 5)).is_empty());
        sets[consumer].extend(ids);
    }
    (pel, sets)
}

fn bytes_per_row(pel: &Pel, sets: &[IdSet]) -> usize {
    let sets: usize =
        sets.iter().map(|set| set.memory_bytes(usize::MAX) + size_of::<IdSet>()).sum();
    (pel.memory_bytes(usize::MAX) + sets).div_ceil(pel.len())
}

#[test]
fn a_pending_entry_takes_11_bytes_and_30_after_many_are_acknowledged_at_random() {
    for consumers in [1, 100] {
        let count = 100_000;
        let (mut pel, mut sets) = delivered(count, consumers);
        let bytes = bytes_per_row(&pel, &sets);
        assert!(bytes <= 11, "{bytes} bytes for {consumers} consumers");
        let mut random = Random(99);
        let before = pel.clone();
        while pel.len() as u64 > count / 10 {
            let id = EntryId::new(1_700_000_000_000 + random.below(count / 10), random.below(10));
            if let Some(pending) = pel.remove(id) {
                let owner = usize::try_from(pending.owner.unwrap().0).unwrap();
                assert!(sets[owner].remove(id));
                if (pel.len() as u64).is_multiple_of(count / 10) {
                    let (bytes, left) = (bytes_per_row(&pel, &sets), pel.len());
                    assert!(bytes <= 30, "{bytes} bytes, {left} left, {consumers} consumers");
                }
            }
        }
        pel.check();
        sets.iter().for_each(IdSet::check);
        assert_eq!(before.iter_from(EntryId::MIN).count() as u64, count);
    }
}

#[test]
fn poison_and_unowned_entries_widen_their_block_by_few_bytes() {
    let (mut pel, _) = delivered(1280, 1);
    assert!(bytes_per_row(&pel, &[]) <= 5);
    for batch in 0..128 {
        let id = EntryId::new(1_700_000_000_000 + batch, 3);
        pel.set(Pending { id, owner: None, delivered_at: UnixMs(0), count: COUNT_FATAL });
    }
    assert_eq!(pel.unowned_len(), 128);
    assert!(bytes_per_row(&pel, &[]) <= 12);
    pel.check();
}
