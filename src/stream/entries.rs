//! The entries of a stream in the order of their IDs: sealed blocks in a tree, and the *tail*,
//! the block that still grows, beside it.
//!
//! ```text
//!  Rax   key: 16 bytes of an ID   value: Arc<Block>   summary: live entries
//!        ├─ 1000-0 ─ block ─ 1000-0 … 1000-99        a key is at most its block's first ID:
//!        ├─ 1001-0 ─ block ─        1001-7 …         it stays when the first entries go
//!        └─ …
//!  tail  block ─ 1063-0 … 1063-41                    above all of the tree
//! ```
//!
//! Clones share everything; a block is copied when a clone of it is about to change. Every block
//! has a live entry: one that loses its last is removed.
//!
//! **Costs** below are in b blocks; a walk within one block is bounded by its limits and not
//! mentioned. O(log b) is a descent of the tree.

use crate::codec::Corrupt;
use crate::rax::{self, Measure, Rax, Summary};
use crate::stream::block::{Block, BlockIter, BlockLimits, EntryRef};
use crate::stream::fields::Fields;
use crate::stream::id::EntryId;
use std::sync::Arc;

/// The most bytes a new tail is given at once: the default limit of a block.
const CAPACITY_MAX: usize = 4096;

/// The number of live entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live(u64);

impl Summary for Live {
    fn plus(self, other: Self) -> Self {
        Live(self.0 + other.0)
    }

    fn replaced(self, old: Self, new: Self) -> Option<Self> {
        Some(Live(self.0 - old.0 + new.0))
    }
}

impl Measure for Arc<Block> {
    type Summary = Live;

    fn measure(&self) -> Live {
        Live(self.live() as u64)
    }
}

/// The entries of a stream. `clone` is O(1).
#[derive(Clone, Debug, Default)]
pub struct Entries {
    sealed: Rax<Arc<Block>>,
    tail: Option<Arc<Block>>,
}

impl Entries {
    /// No entries; allocates nothing.
    pub const fn new() -> Self {
        Entries { sealed: Rax::new(), tail: None }
    }

    /// The number of live entries. O(1).
    pub fn len(&self) -> u64 {
        self.sealed.summary().0 + self.tail.as_ref().map_or(0, |tail| tail.live() as u64)
    }

    /// Whether there is no live entry. O(1).
    pub fn is_empty(&self) -> bool {
        self.tail.is_none() && self.sealed.is_empty()
    }

    /// The number of blocks. O(1).
    pub fn block_count(&self) -> usize {
        self.sealed.len() + usize::from(self.tail.is_some())
    }

    /// The memory it takes on the heap, in bytes, what clones share included; of more than
    /// `samples` blocks an estimate. O(samples).
    pub fn memory_bytes(&self, samples: usize) -> usize {
        let tail = self.tail.as_deref().map_or(0, Block::memory_bytes);
        self.sealed.memory_bytes(samples, |block| block.memory_bytes()) + tail
    }

    /// Appends an entry. O(1), and O(log b) when a block is full.
    ///
    /// # Panics
    /// If `id` is not above all others, tombstones included.
    #[inline]
    pub fn append(&mut self, id: EntryId, fields: &Fields<'_>, limits: BlockLimits) {
        let tail = self.tail.as_mut().map(Arc::make_mut);
        if !tail.is_some_and(|block| block.append(id, fields, limits)) {
            self.append_block(id, fields);
        }
    }

    /// Appends an entry that begins a new tail.
    fn append_block(&mut self, id: EntryId, fields: &Fields<'_>) {
        let mut capacity = 0;
        if let Some(tail) = &mut self.tail {
            let block = Arc::make_mut(tail);
            // Blocks of one stream come out much alike; a 16th is room for differences.
            capacity = (block.bytes_len() + block.bytes_len() / 16).min(CAPACITY_MAX);
            block.shrink();
        }
        self.seal();
        assert!(self.last_block().is_none_or(|block| block.last_id() < id));
        self.tail = Some(Arc::new(Block::new(id, fields, capacity)));
    }

    /// Appends a block that was decoded; the next entries go into it. O(log b).
    ///
    /// # Errors
    /// [`Corrupt`] unless it is above all others; nothing has changed.
    pub fn push_block(&mut self, block: Block) -> Result<(), Corrupt> {
        let before = self.last_block().map(Block::last_id);
        let first = block.first().map(|entry| entry.id);
        if first.is_none() || before >= first {
            return Err(Corrupt("the blocks of a stream do not ascend"));
        }
        self.seal();
        self.tail = Some(Arc::new(block));
        Ok(())
    }

    /// Puts the tail into the tree.
    fn seal(&mut self) {
        if let Some(tail) = self.tail.take() {
            let first = tail.first().expect(HAS_LIVE).id;
            self.sealed.insert(&first.to_key(), tail);
        }
    }

    /// Whether there is a live entry with this ID. O(log b).
    pub fn contains(&self, id: EntryId) -> bool {
        self.get(id).is_some()
    }

    /// The live entry with this ID. O(log b).
    pub fn get(&self, id: EntryId) -> Option<EntryRef<'_>> {
        match self.tail_for(id) {
            Some(tail) => tail.find(id),
            None => self.sealed.floor(&id.to_key())?.1.find(id),
        }
    }

    /// Deletes the live entry with this ID, says whether there was one. O(log b).
    pub fn delete(&mut self, id: EntryId) -> bool {
        if let Some(tail) = self.tail_for(id) {
            let Some(place) = tail.place(id) else { return false };
            self.change_tail(|block| block.delete(place));
            return true;
        }
        let Some((key, block)) = self.sealed.floor(&id.to_key()) else { return false };
        let Some(place) = block.place(id) else { return false };
        let key = owned(key);
        self.change_sealed(&key, |block| block.delete(place));
        true
    }

    /// Removes all entries with an ID below `id`; returns how many of them were live, and the
    /// blocks that were removed whole, so that they can be freed elsewhere. O(log b).
    pub fn trim_below(&mut self, id: EntryId) -> (u64, Entries) {
        let mut removed = Entries::new();
        let mut dropped = 0;
        if self.first_id().is_none_or(|first| first >= id) {
            return (0, removed);
        }
        let drop = |block: &mut Block| block.drop_below(id) as u64;
        if self.tail.as_ref().is_some_and(|tail| tail.last_id() < id) {
            std::mem::swap(self, &mut removed);
        } else if self.tail_for(id).is_some() {
            removed.sealed = std::mem::take(&mut self.sealed);
            dropped = self.change_tail(drop);
        } else if let Some((key, boundary)) = self.sealed.below(&id.to_key()) {
            let key = owned(key);
            if boundary.last_id() < id {
                removed.sealed = self.sealed.cut_below(&id.to_key());
            } else {
                if self.sealed.first().is_some_and(|(first, _)| first < &key[..]) {
                    removed.sealed = self.sealed.cut_below(&key);
                }
                dropped = self.change_sealed(&key, drop);
            }
        }
        (removed.len() + dropped, removed)
    }

    /// Forgets tombstones above `id`, so that their IDs can be appended again; no live entry is
    /// above it. Linear in the youngest block, the only one that can have such tombstones.
    pub fn forget_tombstones_above(&mut self, id: EntryId) {
        const UNLIMITED: BlockLimits = BlockLimits { bytes: 0, entries: 0 };
        if self.last_block().is_none_or(|block| block.last_id() <= id) {
            return;
        }
        let youngest = self.tail.take().or_else(|| {
            let key = owned(self.sealed.last()?.0);
            self.sealed.remove(&key)
        });
        for entry in youngest.iter().flat_map(|block| block.iter()) {
            self.append(entry.id, &entry.fields, UNLIMITED);
        }
    }

    /// Removes everything and returns it. O(1).
    pub fn clear(&mut self) -> Entries {
        std::mem::take(self)
    }

    /// The first live entry. O(log b).
    pub fn first(&self) -> Option<EntryRef<'_>> {
        match (self.sealed.first(), &self.tail) {
            (Some((_, block)), _) => block.first(),
            (None, tail) => tail.as_ref()?.first(),
        }
    }

    /// The last live entry. O(log b).
    pub fn last(&self) -> Option<EntryRef<'_>> {
        self.last_block()?.last()
    }

    /// The ID of the first live entry. O(log b).
    pub fn first_id(&self) -> Option<EntryId> {
        self.first().map(|entry| entry.id)
    }

    /// The ID of the last live entry. O(log b).
    pub fn last_id(&self) -> Option<EntryId> {
        self.last().map(|entry| entry.id)
    }

    /// The ID of the live entry that has `k` live entries before it. O(log b).
    pub fn nth_id(&self, k: u64) -> Option<EntryId> {
        let (block, before) = match self.sealed.find_prefix(|live| live.0 > k) {
            Some((_, block, before)) => (block, before.0),
            None => (self.tail.as_ref()?, self.sealed.summary().0),
        };
        let nth = usize::try_from(k - before).ok()?;
        block.iter().nth(nth).map(|entry| entry.id)
    }

    /// The last ID of the oldest blocks that have at most `k` live entries together. O(log b).
    pub fn blocks_within(&self, k: u64) -> Option<EntryId> {
        if self.len() <= k {
            return self.last_block().map(Block::last_id);
        }
        let last = match self.sealed.find_prefix(|live| live.0 > k) {
            Some((key, ..)) => self.sealed.below(key),
            None => self.sealed.last(),
        };
        last.map(|(_, block)| block.last_id())
    }

    /// The last ID of the blocks that have only IDs below `id`. O(log b).
    pub fn blocks_below(&self, id: EntryId) -> Option<EntryId> {
        if let Some(tail) = &self.tail
            && tail.last_id() < id
        {
            return Some(tail.last_id());
        }
        let (key, block) = self.sealed.floor(&id.to_key())?;
        let last = block.last_id();
        if last < id { Some(last) } else { Some(self.sealed.below(key)?.1.last_id()) }
    }

    /// The number of live entries with an ID below `id`. O(log b).
    pub fn count_below(&self, id: EntryId) -> u64 {
        if let Some(tail) = self.tail_for(id) {
            return self.sealed.summary().0 + tail.count_below(id) as u64;
        }
        match self.sealed.floor(&id.to_key()) {
            None => 0,
            Some((key, block)) => self.sealed.summary_below(key).0 + block.count_below(id) as u64,
        }
    }

    /// How many live entries there are from `start` to `end`, both included. O(log b).
    pub fn count_between(&self, start: EntryId, end: EntryId) -> u64 {
        let through = end.next().map_or(self.len(), |above| self.count_below(above));
        through.saturating_sub(self.count_below(start))
    }

    /// The live entries from `start` to `end`, both included, in ascending order. O(log b) to
    /// begin; allocates nothing if `start` is in the tail.
    pub fn range(&self, start: EntryId, end: EntryId) -> Range<'_> {
        let mut range = Range {
            current: None,
            sealed: rax::Iter::default(),
            tail: self.tail.as_deref(),
            start,
            end,
        };
        if start > end {
            range.tail = None;
        } else if self.tail_for(start).is_none() {
            let key = start.to_key();
            let key = self.sealed.floor(&key).map_or(&key[..], |(key, _)| key);
            range.sealed = self.sealed.iter_from(key);
        }
        range
    }

    /// The live entries from `end` back to `start`, both included, in descending order.
    /// O(log b) to begin.
    pub fn range_back(&self, end: EntryId, start: EntryId) -> RangeBack<'_> {
        RangeBack {
            entries: self,
            sealed: None,
            tail: self.tail.as_deref(),
            block: None,
            unread: false,
            places: Vec::new(),
            start,
            end,
        }
    }

    /// The blocks from the oldest.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.sealed.iter().map(|(_, block)| &**block).chain(self.tail.as_deref())
    }

    /// Asserts the invariants. O(entries).
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.sealed.check();
        let mut last = EntryId::MIN;
        for block in self.blocks() {
            block.check();
            assert!(block.first().expect(HAS_LIVE).id > last);
            last = block.last_id();
        }
        for (key, block) in self.sealed.iter() {
            assert!(EntryId::from_key(key).expect(SIXTEEN) <= block.first().expect(HAS_LIVE).id);
        }
        assert_eq!(self.len(), self.blocks().map(|block| block.live() as u64).sum::<u64>());
    }

    /// The youngest block.
    fn last_block(&self) -> Option<&Block> {
        match &self.tail {
            Some(tail) => Some(tail),
            None => self.sealed.last().map(|(_, block)| &**block),
        }
    }

    /// The tail if an entry with this ID could only be there.
    fn tail_for(&self, id: EntryId) -> Option<&Block> {
        let tail = self.tail.as_deref()?;
        (tail.first().expect(HAS_LIVE).id <= id).then_some(tail)
    }

    /// Changes the tail, and removes it if nothing is left.
    fn change_tail<R: Default>(&mut self, change: impl FnOnce(&mut Block) -> R) -> R {
        let Some(tail) = &mut self.tail else { return R::default() };
        let block = Arc::make_mut(tail);
        let result = change(block);
        if block.live() == 0 {
            self.tail = None;
        }
        result
    }

    /// Changes a sealed block, and removes it if nothing is left.
    fn change_sealed<R>(&mut self, key: &[u8; 16], change: impl FnOnce(&mut Block) -> R) -> R {
        let change = |shared: &mut Arc<Block>| {
            let block = Arc::make_mut(shared);
            (change(block), block.live() == 0)
        };
        let (result, empty) = self.sealed.update(key, change).expect("the key was just found");
        if empty {
            self.sealed.remove(key);
        }
        result
    }
}

/// Why a block of a stream has a first entry.
const HAS_LIVE: &str = "a block that loses its last live entry is removed";
/// Why a key of the tree is an ID.
const SIXTEEN: &str = "keys are made of IDs";

/// A copy of a key of the tree.
fn owned(key: &[u8]) -> [u8; 16] {
    key.try_into().expect(SIXTEEN)
}

/// Live entries in ascending order.
#[derive(Clone)]
pub struct Range<'a> {
    current: Option<BlockIter<'a>>,
    sealed: rax::Iter<'a, Arc<Block>>,
    tail: Option<&'a Block>,
    start: EntryId,
    end: EntryId,
}

impl<'a> Iterator for Range<'a> {
    type Item = EntryRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<EntryRef<'a>> {
        loop {
            if let Some(current) = &mut self.current {
                let entry = current.next();
                if entry.is_some() {
                    return entry;
                }
            }
            let sealed = self.sealed.next().map(|(_, block)| &**block);
            let block = sealed.or_else(|| self.tail.take())?;
            if block.last_id() >= self.end {
                // No later block has entries of the range.
                (self.sealed, self.tail) = (rax::Iter::default(), None);
            }
            self.current = Some(block.range(self.start, self.end));
        }
    }
}

/// Live entries in descending order.
#[derive(Clone)]
pub struct RangeBack<'a> {
    entries: &'a Entries,
    /// Made when the tail does not suffice.
    sealed: Option<rax::IterBack<'a, Arc<Block>>>,
    tail: Option<&'a Block>,
    block: Option<&'a Block>,
    /// Whether entries of `block` are still to be found. Its last is often all that is asked
    /// for, so the others are looked for when they are.
    unread: bool,
    /// The entries of `block` that are still to come, in ascending order.
    places: Vec<(u32, EntryId)>,
    start: EntryId,
    end: EntryId,
}

impl<'a> RangeBack<'a> {
    /// The next older block.
    fn older(&mut self) -> Option<&'a Block> {
        if let Some(tail) = self.tail.take() {
            return Some(tail);
        }
        let (sealed, end) = (&self.entries.sealed, self.end);
        let sealed = self.sealed.get_or_insert_with(|| sealed.iter_back_from(&end.to_key()));
        sealed.next().map(|(_, block)| &**block)
    }
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = EntryRef<'a>;

    fn next(&mut self) -> Option<EntryRef<'a>> {
        loop {
            if let (Some((place, id)), Some(block)) = (self.places.pop(), self.block) {
                return Some(block.at(place, id));
            }
            if let Some(block) = self.block.filter(|_| std::mem::take(&mut self.unread)) {
                self.places.reserve(block.live());
                block.places(self.start, self.end, &mut self.places);
                continue;
            }
            let block = self.older()?;
            if block.last_id() < self.start || self.start > self.end {
                return None;
            }
            (self.block, self.unread) = (Some(block), true);
            if let Some(entry) = block.last_if_live().filter(|entry| entry.id <= self.end) {
                self.end = entry.id.previous()?;
                return Some(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests;
