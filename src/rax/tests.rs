//! The tree against `BTreeMap`, with clones that must not change; its depth; its memory.

use super::*;
use std::collections::BTreeMap;

/// A value that is summed up as how many there are and the least.
#[derive(Clone, Debug, PartialEq)]
struct Number(u32);

#[derive(Clone, Copy, Debug, PartialEq)]
struct CountAndLeast {
    count: usize,
    least: u32,
}

impl Default for CountAndLeast {
    fn default() -> Self {
        CountAndLeast { count: 0, least: u32::MAX }
    }
}

impl Summary for CountAndLeast {
    fn plus(self, other: Self) -> Self {
        CountAndLeast { count: self.count + other.count, least: self.least.min(other.least) }
    }

    fn replaced(self, old: Self, new: Self) -> Option<Self> {
        let least = match (old.least, new.least) {
            (_, new) if new <= self.least => new,
            (old, _) if old > self.least => self.least,
            _ => return None,
        };
        Some(CountAndLeast { count: self.count - old.count + new.count, least })
    }
}

impl Measure for Number {
    type Summary = CountAndLeast;

    fn measure(&self) -> CountAndLeast {
        CountAndLeast { count: 1, least: self.0 }
    }
}

/// A value of which nothing is known, as groups are.
#[derive(Clone, Debug, PartialEq)]
struct Plain(Arc<u32>);

impl Measure for Plain {
    type Summary = ();

    fn measure(&self) {}
}

type Model = BTreeMap<Vec<u8>, u32>;

/// A small generator of seeded numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn key(&mut self, shape: u64) -> Vec<u8> {
        match shape {
            0 => {
                let len = usize::try_from(self.below(5)).unwrap();
                (0..len)
                    .map(|_| [0, 1, 0x10, 0xff][usize::try_from(self.below(4)).unwrap()])
                    .collect()
            }
            1 => {
                let (ms, seq) = (u128::from(self.below(300)), u128::from(self.below(3)));
                (ms << 64 | seq).to_be_bytes().to_vec()
            }
            _ => vec![b'a'; usize::try_from(self.below(60)).unwrap()],
        }
    }
}

fn owned((key, value): (&[u8], &Number)) -> (Vec<u8>, u32) {
    (key.to_vec(), value.0)
}

fn pair((key, value): (&Vec<u8>, &u32)) -> (Vec<u8>, u32) {
    (key.clone(), *value)
}

fn assert_same(tree: &Rax<Number>, model: &Model) {
    tree.check();
    assert_eq!(tree.len(), model.len());
    assert!(tree.iter().map(owned).eq(model.iter().map(pair)));
    assert!(tree.iter_back().map(owned).eq(model.iter().rev().map(pair)));
    assert_eq!(tree.summary(), sum(model.values()));
}

fn sum<'a>(values: impl Iterator<Item = &'a u32>) -> CountAndLeast {
    values.fold(CountAndLeast::default(), |sum, &value| sum.plus(Number(value).measure()))
}

fn assert_seeks(tree: &Rax<Number>, model: &Model, key: &[u8], limit: u32) {
    let key = key.to_vec();
    assert_eq!(tree.get(&key).map(|n| n.0), model.get(&key).copied());
    assert_eq!(tree.first().map(owned), model.first_key_value().map(pair));
    assert_eq!(tree.last().map(owned), model.last_key_value().map(pair));
    assert_eq!(tree.floor(&key).map(owned), model.range(..=key.clone()).next_back().map(pair));
    assert_eq!(tree.below(&key).map(owned), model.range(..key.clone()).next_back().map(pair));
    assert_eq!(tree.ceil(&key).map(owned), model.range(key.clone()..).next().map(pair));
    let above = model.range(key.clone()..).map(pair).find(|(own, _)| *own != key);
    assert_eq!(tree.above(&key).map(owned), above);
    assert!(tree.iter_from(&key).map(owned).eq(model.range(key.clone()..).map(pair)));
    let down = model.range(..=key.clone()).rev().map(pair);
    assert!(tree.iter_back_from(&key).map(owned).eq(down));
    assert_eq!(tree.summary_below(&key), sum(model.range(..key.clone()).map(|(_, n)| n)));
    let found = model.range(key.clone()..).find(|(_, n)| **n <= limit).map(pair);
    assert_eq!(tree.first_where(&key, |s| s.least <= limit).map(owned), found);
    let nth = usize::try_from(limit).unwrap();
    let found = tree.find_prefix(|s| s.count > nth);
    assert_eq!(found.map(|(key, n, _)| owned((key, n))), model.iter().nth(nth).map(pair));
    assert!(found.is_none_or(|(_, _, before)| before == sum(model.values().take(nth))));
    let mut by_rank: Vec<_> = model.iter().map(pair).filter(|(_, n)| *n <= limit).collect();
    by_rank.sort_by_key(|(_, n)| *n);
    assert!(tree.ranked(limit, |s| s.least).map(owned).eq(by_rank));
}

#[test]
fn it_does_what_a_sorted_map_does_and_clones_stay_as_they_were() {
    for shape in 0..3 {
        for seed in 1..=3 {
            let mut random = Random(seed * 7919 + shape);
            let (mut tree, mut model) = (Rax::new(), Model::new());
            let mut clones: Vec<(Rax<Number>, Model)> = Vec::new();
            for step in 0..600 {
                let key = random.key(shape);
                let value = u32::try_from(random.below(50)).unwrap();
                match random.below(20) {
                    0..=8 => {
                        let old = tree.insert(&key, Number(value));
                        assert_eq!(old.map(|n| n.0), model.insert(key.clone(), value));
                    }
                    9..=13 => {
                        assert_eq!(tree.remove(&key).map(|n| n.0), model.remove(&key));
                    }
                    14..=16 => {
                        let old = tree.update(&key, |n| std::mem::replace(&mut n.0, value));
                        let slot = model.get_mut(&key);
                        assert_eq!(old, slot.map(|slot| std::mem::replace(slot, value)));
                    }
                    17 if random.below(12) == 0 => {
                        let rest = model.split_off(&key);
                        let below = std::mem::replace(&mut model, rest);
                        assert_same(&tree.cut_below(&key), &below);
                    }
                    18 => clones.push((tree.clone(), model.clone())),
                    _ => assert_seeks(&tree, &model, &key, value),
                }
                if step % 16 == 0 {
                    assert_same(&tree, &model);
                }
                if clones.len() > 3 {
                    let (tree, model) = clones.swap_remove(0);
                    assert_same(&tree, &model);
                }
            }
            assert_same(&tree, &model);
        }
    }
}

#[test]
fn values_without_a_summary_change_in_place_unless_shared() {
    let mut tree = Rax::new();
    for key in 0..100_u32 {
        tree.insert(key.to_string().as_bytes(), Plain(Arc::new(key)));
    }
    let before = tree.clone();
    assert_eq!(tree.update(b"42", |value| *value = Plain(Arc::new(7))), Some(()));
    assert_eq!(tree.update(b"420", |_| ()), None);
    assert_eq!(tree.get(b"42"), Some(&Plain(Arc::new(7))));
    assert_eq!(before.get(b"42"), Some(&Plain(Arc::new(42))));
    tree.check();
    before.check();
}

#[test]
fn a_deep_tree_needs_no_deep_stack() {
    let run = || {
        let key = vec![b'a'; 4000];
        let mut tree = Rax::new();
        for len in 0..key.len() {
            tree.insert(&key[..len], Number(5));
        }
        let clone = tree.clone();
        for len in 0..key.len() {
            assert!(tree.update(&key[..len], |n| n.0 = 4).is_some());
        }
        assert_eq!(tree.summary_below(&key[..3000]).count, 3000);
        assert_eq!(tree.iter().count(), 4000);
        assert_eq!(tree.ranked(4, |s| s.least).count(), 4000);
        let below = tree.cut_below(&key[..2000]);
        assert_eq!((below.len(), tree.len(), clone.len()), (2000, 2000, 4000));
        tree.remove(&key[..3999]);
        assert_eq!(clone.summary(), CountAndLeast { count: 4000, least: 5 });
    };
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(run);
    thread.unwrap().join().unwrap();
}

#[test]
fn a_key_costs_little() {
    assert!(size_of::<Rax<Plain>>() <= 32, "{}", size_of::<Rax<Plain>>());
    let mut tree = Rax::new();
    tree.insert(b"a consumer's name", Plain(Arc::new(1)));
    assert_eq!(tree.node_bytes(), 0);
    let mut tree = Rax::new();
    // Blocks of 100 entries, one entry a millisecond.
    for key in 0..10_000_u64 {
        let ms = 1_700_000_000_000 + key * 100;
        tree.insert(&(u128::from(ms) << 64).to_be_bytes(), Plain(Arc::new(1)));
    }
    let per_key = tree.node_bytes() / tree.len();
    assert!(per_key <= 80, "{per_key} bytes a key");
}
