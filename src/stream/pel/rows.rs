//! Any number of rows: blocks of them in a radix tree.
//!
//! A block stands under a key that is at most its first row's ID and greater than every ID of the
//! block before it. The tree sums up how many rows there are and the least of their other order,
//! so a rank, and "the next row of at most this order", are one descent.
//!
//! Rows that come in ascending order fill their blocks to the last; a full block that is hit in
//! the middle becomes two; a block that has become small joins a neighbour it fits in with.

use super::block::{Block, ROWS_MAX, Row, Set};
use crate::rax::{Iter, Measure, Ranked, Rax, Summary};
use crate::stream::EntryId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;
use std::sync::Arc;

/// A block of fewer rows looks for a neighbour to join …
const ROWS_FEW: usize = 48;
/// … with which it has at most so many.
const ROWS_JOINED: usize = 96;

/// Rows by ID. `clone` is O(1).
#[derive(Clone, Debug)]
pub(super) struct Rows<R: Row> {
    blocks: Rax<Arc<Block<R>>>,
}

/// How many rows, and the least order of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Totals {
    count: usize,
    least: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Totals { count: 0, least: u64::MAX }
    }
}

impl Summary for Totals {
    fn plus(self, other: Self) -> Self {
        Totals { count: self.count + other.count, least: self.least.min(other.least) }
    }

    fn replaced(self, old: Self, new: Self) -> Option<Self> {
        let least = least_replaced(self.least, old.least, new.least)?;
        Some(Totals { count: self.count - old.count + new.count, least })
    }
}

/// The least of many numbers, which was `least`, after one has changed from `old` to `new`; `None`
/// if it may be any of the others now.
fn least_replaced(least: u64, old: u64, new: u64) -> Option<u64> {
    if new <= least {
        return Some(new);
    }
    (old > least).then_some(least)
}

impl<R: Row> Measure for Arc<Block<R>> {
    type Summary = Totals;

    fn measure(&self) -> Totals {
        Totals { count: self.len(), least: self.least() }
    }
}

impl<R: Row> Rows<R> {
    pub(super) fn len(&self) -> usize {
        self.blocks.summary().count
    }

    pub(super) fn get(&self, id: EntryId) -> Option<R> {
        let (_, block) = self.blocks.floor(&id.to_key())?;
        block.row(block.find(id).ok()?)
    }

    pub(super) fn first_id(&self) -> Option<EntryId> {
        Some(self.blocks.first()?.1.first_id())
    }

    pub(super) fn last_id(&self) -> Option<EntryId> {
        Some(self.blocks.last()?.1.last_id())
    }

    /// Inserts or replaces a row and returns the one it replaced.
    pub(super) fn set(&mut self, row: R) -> Option<R> {
        let own_key = row.id().to_key();
        loop {
            let Some(key) = self.block_for(row.id()) else {
                self.blocks.insert(&own_key, Arc::new(Block::of(&[row])));
                return None;
            };
            match self.blocks.update(&key, |block| Arc::make_mut(block).set(row))? {
                Set::Replaced(old) => return Some(old),
                Set::Inserted => return None,
                Set::Full(ROWS_MAX) => {
                    self.blocks.insert(&own_key, Arc::new(Block::of(&[row])));
                    return None;
                }
                Set::Full(_) => {
                    let upper = self.blocks.update(&key, |block| Arc::make_mut(block).split())?;
                    self.blocks.insert(&upper.first_id().to_key(), Arc::new(upper));
                }
            }
        }
    }

    /// Appends rows while each is above the greatest there is.
    pub(super) fn append(&mut self, rows: &mut Peekable<impl Iterator<Item = R>>) {
        let mut chunk = Vec::new();
        loop {
            let (mut last, mut key, mut room) = (None, None, ROWS_MAX);
            if let Some((own, block)) = self.blocks.last() {
                last = Some(block.last_id());
                if block.len() < ROWS_MAX {
                    (key, room) = (Some(copy(own)), ROWS_MAX - block.len());
                }
            }
            chunk.clear();
            while chunk.len() < room
                && let Some(row) = rows.next_if(|row| last.is_none_or(|last| row.id() > last))
            {
                last = Some(row.id());
                chunk.push(row);
            }
            let Some(first) = chunk.first() else { return };
            if let Some(key) = key {
                self.blocks.update(&key, |block| Arc::make_mut(block).append(&chunk));
            } else {
                self.blocks.insert(&first.id().to_key(), Arc::new(Block::of(&chunk)));
            }
        }
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Option<R> {
        let mut removed = None;
        self.remove_each(&[id], |row| removed = Some(row));
        removed
    }

    /// Removes the rows of `ids`, which ascend, and tells `each` of them. Ends at the first ID
    /// that has no row; whether there was none.
    pub(super) fn remove_each(&mut self, ids: &[EntryId], mut each: impl FnMut(R)) -> bool {
        let mut rest = ids;
        while let Some(&id) = rest.first() {
            let Some((key, block)) = self.blocks.floor(&id.to_key()) else { return false };
            let (key, len, last) = (copy(key), block.len(), block.last_id());
            let here = rest.iter().take_while(|id| **id <= last).count();
            let (ids, others) = rest.split_at(here);
            let remove =
                |block: &mut Arc<Block<R>>| Arc::make_mut(block).remove_each(ids, &mut each);
            let removed = if here < len {
                self.blocks.update(&key, remove) == Some(here)
            } else {
                let ids = ids.iter().copied();
                if !block.iter().map(|row| row.id()).eq(ids) {
                    return false;
                }
                self.blocks.remove(&key).iter().for_each(|block| block.iter().for_each(&mut each));
                true
            };
            if !removed || here == 0 {
                return false;
            }
            let left = len - here;
            // Not at each removal: a full neighbour stays full for a while.
            if (1..ROWS_FEW).contains(&left) && (here > 1 || left.is_multiple_of(8)) {
                self.join(&key);
            }
            rest = others;
        }
        true
    }

    /// The rows of the given ID and above.
    pub(super) fn iter_from(&self, id: EntryId) -> RowsIter<'_, R> {
        let key = id.to_key();
        let start = self.blocks.floor(&key).map_or(key, |(key, _)| copy(key));
        let mut blocks = self.blocks.iter_from(&start);
        let block = blocks.next().map(|(_, block)| &**block);
        let place = block.map_or(0, |block| block.find(id).unwrap_or_else(|place| place));
        RowsIter { blocks, block, place }
    }

    /// The number of rows of lesser IDs.
    pub(super) fn rank(&self, id: EntryId) -> usize {
        let Some((key, block)) = self.blocks.floor(&id.to_key()) else { return 0 };
        let place = block.find(id).unwrap_or_else(|place| place);
        self.blocks.summary_below(key).count + place
    }

    pub(super) fn at_rank(&self, rank: usize) -> Option<R> {
        let (_, block, before) = self.blocks.find_prefix(|totals| totals.count > rank)?;
        block.row(rank - before.count)
    }

    /// The least order of a row; `u64::MAX` if there is no row.
    pub(super) fn least_order(&self) -> u64 {
        self.blocks.summary().least
    }

    /// The row of least ID that is `from` or greater and of an order of at most `order`.
    pub(super) fn first_at_most(&self, from: EntryId, order: u64) -> Option<R> {
        let key = from.to_key();
        if let Some((_, block)) = self.blocks.floor(&key) {
            let place = block.find(from).unwrap_or_else(|place| place);
            if let Some(row) = block.first_at_most(place, order) {
                return Some(row);
            }
        }
        // A block under `key` itself has been looked at in full: it has no such row.
        let (_, block) = self.blocks.first_where(&key, |totals| totals.least <= order)?;
        block.first_at_most(0, order)
    }

    /// The rows of an order of at most `limit`, by (order, ID).
    pub(super) fn by_order(&self, limit: u64) -> ByOrder<'_, R> {
        let closed = self.blocks.ranked(limit, least as Least);
        ByOrder { closed, limit, open: Vec::new(), heads: BinaryHeap::new() }
    }

    /// The rows of `id` and above, and those below in the block that it belongs in. **Cost**:
    /// O(log blocks); all blocks are shared.
    pub(super) fn tail(&self, id: EntryId) -> Rows<R> {
        let mut blocks = self.blocks.clone();
        if let Some((key, _)) = self.blocks.floor(&id.to_key())
            && self.blocks.first().is_some_and(|(first, _)| first < key)
        {
            drop(blocks.cut_below(key));
        }
        Rows { blocks }
    }

    /// Bytes on the heap, of more than `samples` blocks an estimate. **Cost**: O(samples).
    pub(super) fn memory_bytes(&self, samples: usize) -> usize {
        self.blocks.memory_bytes(samples, |block| block.memory_bytes())
    }

    /// Asserts the invariants. **Cost**: O(rows).
    pub(super) fn check(&self) {
        self.blocks.check();
        let mut last: Option<EntryId> = None;
        for (key, block) in self.blocks.iter() {
            block.check();
            assert!(key <= &block.first_id().to_key()[..], "a row is below its block's key");
            assert!(last.is_none_or(|last| &last.to_key()[..] < key), "blocks overlap");
            last = Some(block.last_id());
        }
    }

    /// The key of the block in which a row of this ID belongs, set down to the ID if it is below
    /// all blocks; `None` if there is no block.
    fn block_for(&mut self, id: EntryId) -> Option<[u8; 16]> {
        let own_key = id.to_key();
        if let Some((key, _)) = self.blocks.floor(&own_key) {
            return Some(copy(key));
        }
        let first = copy(self.blocks.first()?.0);
        let block = self.blocks.remove(&first)?;
        self.blocks.insert(&own_key, block);
        Some(own_key)
    }

    /// Joins the block under `key` with a neighbour, if there is one small enough.
    fn join(&mut self, key: &[u8; 16]) {
        let Some(block) = self.blocks.get(key) else { return };
        let fits = |other: &Block<R>| block.len() + other.len() <= ROWS_JOINED;
        let above = self.blocks.above(key).filter(|(_, other)| fits(other));
        let below = self.blocks.below(key).filter(|(_, other)| fits(other));
        let (lower_key, lower, upper_key, upper) = match (above, below) {
            (Some((other_key, other)), _) => (copy(key), block, copy(other_key), other),
            (None, Some((other_key, other))) => (copy(other_key), other, copy(key), block),
            (None, None) => return,
        };
        let joined = lower.merge(upper);
        self.blocks.remove(&upper_key);
        self.blocks.insert(&lower_key, Arc::new(joined));
    }
}

impl<R: Row> Default for Rows<R> {
    fn default() -> Self {
        Rows { blocks: Rax::new() }
    }
}

/// Rows in the order of their IDs.
pub(super) struct RowsIter<'a, R: Row> {
    blocks: Iter<'a, Arc<Block<R>>>,
    block: Option<&'a Block<R>>,
    place: usize,
}

impl<R: Row> Iterator for RowsIter<'_, R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        loop {
            if let Some(row) = self.block?.row(self.place) {
                self.place += 1;
                return Some(row);
            }
            self.block = self.blocks.next().map(|(_, block)| &**block);
            self.place = 0;
        }
    }
}

/// Rows by (order, ID): a merge of the blocks, each of which is opened only once its least order
/// is reached.
pub(super) struct ByOrder<'a, R: Row> {
    closed: Ranked<'a, Arc<Block<R>>, u64, Least>,
    limit: u64,
    open: Vec<Open<'a, R>>,
    /// The next row of each open block: order, ID, place in `open`.
    heads: BinaryHeap<Reverse<(u64, EntryId, usize)>>,
}

/// A block and what is left of it, the next row last.
struct Open<'a, R: Row> {
    block: &'a Block<R>,
    rest: Vec<(u64, usize)>,
}

impl<R: Row> ByOrder<'_, R> {
    fn open_next(&mut self) -> bool {
        let Some((_, block)) = self.closed.next() else { return false };
        let rows = block.iter().enumerate().map(|(place, row)| (row.order(), place));
        let mut rest: Vec<_> = rows.filter(|&(order, _)| order <= self.limit).collect();
        rest.sort_unstable_by_key(|&row| Reverse(row));
        self.open.push(Open { block, rest });
        self.push_head(self.open.len() - 1);
        true
    }

    fn push_head(&mut self, number: usize) {
        let Open { block, rest } = &self.open[number];
        if let Some(row) = rest.last().and_then(|&(_, place)| block.row(place)) {
            self.heads.push(Reverse((row.order(), row.id(), number)));
        }
    }
}

impl<R: Row> Iterator for ByOrder<'_, R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        loop {
            let Some(&Reverse((order, id, number))) = self.heads.peek() else {
                if self.open_next() {
                    continue;
                }
                return None;
            };
            if self.closed.may_precede(&order, &id.to_key()) && self.open_next() {
                continue;
            }
            self.heads.pop();
            let open = &mut self.open[number];
            let (_, place) = open.rest.pop()?;
            let row = open.block.row(place);
            self.push_head(number);
            return row;
        }
    }
}

/// The type of [`least`].
type Least = fn(Totals) -> u64;

fn least(totals: Totals) -> u64 {
    totals.least
}

/// A block's key. All keys here are IDs.
fn copy(key: &[u8]) -> [u8; 16] {
    key.try_into().expect("blocks stand under IDs")
}
