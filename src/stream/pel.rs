//! The pending entries list of a group, and each consumer's own share of it.
//!
//! The list knows a pending entry by its ID, by its rank, and by its place in hand-out order:
//! unowned entries (after XNACK) first, in the order in which they became unowned, then the
//! others by delivery time and ID. A consumer's share is a set of IDs; who has which is told by
//! the list alone.
//!
//! Rows of both stand in blocks in which each number takes as few bytes as it can
//! (`pel/block.rs`): a pending entry that is delivered in order the differences of its ID, mostly
//! two or three bytes, and the one or two in which its delivery time differs from the others'.

mod block;
mod rows;
#[cfg(test)]
mod tests;

use crate::stream::{EntryId, UnixMs, parts};
use block::Row;
use rows::Rows;

/// The number of a consumer within its group, less than `u32::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerNo(pub u32);

/// A pending entry: delivered and not yet acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The entry.
    pub id: EntryId,
    /// Whose it is; `None`: unowned.
    pub owner: Option<ConsumerNo>,
    /// When it was last delivered, less than 2⁶³; 0 if it is unowned.
    pub delivered_at: UnixMs,
    /// How often it was delivered.
    pub count: u64,
}

/// A group's pending entries list. `clone` is O(1).
///
/// **Cost**: each method is O(log p) unless it says otherwise. In memory about 6 bytes a pending
/// entry delivered in order, and at most three times that while others are acknowledged at random.
#[derive(Clone, Debug, Default)]
pub struct Pel {
    rows: Rows<PelRow>,
    unowned: usize,
    /// How often an entry was set unowned: orders the unowned zone.
    unownings: u64,
}

impl Pel {
    /// The number of pending entries. **Cost**: O(1).
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of unowned ones among them. **Cost**: O(1).
    pub fn unowned_len(&self) -> usize {
        self.unowned
    }

    /// The pending entry of this ID.
    pub fn get(&self, id: EntryId) -> Option<Pending> {
        self.rows.get(id).map(PelRow::pending)
    }

    /// Inserts or replaces a pending entry and returns the one it replaced. An unowned one goes
    /// to the end of the unowned zone, also if it was unowned before.
    pub fn set(&mut self, pending: Pending) -> Option<Pending> {
        let order = match pending.owner {
            Some(_) => owned_order(pending.delivered_at),
            None => {
                self.unownings += 1;
                self.unownings
            }
        };
        let owner = pending.owner.map_or(UNOWNED, |consumer| consumer.0);
        self.set_row(PelRow { id: pending.id, owner, order, count: pending.count })
    }

    /// Removes a pending entry and returns it.
    pub fn remove(&mut self, id: EntryId) -> Option<Pending> {
        let row = self.rows.remove(id)?;
        self.unowned -= usize::from(row.owner == UNOWNED);
        Some(row.pending())
    }

    /// Removes the pending entries of `ids`, which ascend, and tells `each` of them in this order.
    /// Ends at the first ID that is not pending; whether there was none.
    pub fn remove_each(&mut self, ids: &[EntryId], mut each: impl FnMut(Pending)) -> bool {
        let unowned = &mut self.unowned;
        self.rows.remove_each(ids, |row: PelRow| {
            *unowned -= usize::from(row.owner == UNOWNED);
            each(row.pending());
        })
    }

    /// Makes `ids` pending for `owner` with a count of 1, and returns those that were pending
    /// already, as they were. IDs that ascend and are above all others are appended.
    #[must_use = "what was pending for others must leave their sets"]
    pub fn deliver(
        &mut self,
        ids: impl Iterator<Item = EntryId>,
        owner: ConsumerNo,
        at: UnixMs,
    ) -> Vec<Pending> {
        let (owner, order) = (owner.0, owned_order(at));
        let mut rows = ids.map(|id| PelRow { id, owner, order, count: 1 }).peekable();
        let mut replaced = Vec::new();
        loop {
            self.rows.append(&mut rows);
            let Some(row) = rows.next() else { return replaced };
            replaced.extend(self.set_row(row));
        }
    }

    /// The least ID.
    pub fn first(&self) -> Option<EntryId> {
        self.rows.first_id()
    }

    /// The greatest ID.
    pub fn last(&self) -> Option<EntryId> {
        self.rows.last_id()
    }

    /// The pending entries of `id` and above, in the order of their IDs.
    pub fn iter_from(&self, id: EntryId) -> impl Iterator<Item = Pending> {
        self.rows.iter_from(id).map(PelRow::pending)
    }

    /// The number of pending entries of lesser IDs.
    pub fn rank(&self, id: EntryId) -> usize {
        self.rows.rank(id)
    }

    /// The pending entry that has this many before it.
    pub fn at_rank(&self, rank: usize) -> Option<Pending> {
        self.rows.at_rank(rank).map(PelRow::pending)
    }

    /// The one of least ID that is `from` or greater and is unowned or was delivered at that time
    /// or before.
    pub fn next_idle(&self, from: EntryId, delivered_at_most: UnixMs) -> Option<Pending> {
        self.rows.first_at_most(from, owned_order(delivered_at_most)).map(PelRow::pending)
    }

    /// The first in hand-out order.
    pub fn oldest(&self) -> Option<Pending> {
        self.rows.first_at_most(EntryId::MIN, self.rows.least_order()).map(PelRow::pending)
    }

    /// The pending entries of `id` and above, and at most 120 below, to look at. **Cost**:
    /// O(log p), however many are left out.
    pub fn tail(&self, id: EntryId) -> PelTail {
        PelTail { rows: self.rows.tail(id) }
    }

    /// The unowned ones in the order in which they became so: set in this order, they make the
    /// same zone. **Cost**: as [`PelTail::iter_oldest`].
    pub fn iter_unowned(&self) -> impl Iterator<Item = Pending> {
        self.rows.by_order(OWNED - 1).map(PelRow::pending)
    }

    /// The pending entries in the order of their IDs, as a snapshot holds them.
    pub(super) fn rows(&self) -> impl Iterator<Item = parts::Row> {
        self.rows.iter_from(EntryId::MIN).map(|row| {
            let owner = (row.owner != UNOWNED).then_some(row.owner);
            let place = if owner.is_some() { row.order - OWNED } else { row.order };
            parts::Row { id: row.id, owner, place, count: row.count }
        })
    }

    /// Appends rows of a snapshot: IDs that ascend and are above all others, places below 2⁶³.
    pub(super) fn push_rows(&mut self, rows: &[parts::Row]) {
        let mut rows = rows
            .iter()
            .map(|row| {
                let order = row.place | if row.owner.is_some() { OWNED } else { 0 };
                PelRow { id: row.id, owner: row.owner.unwrap_or(UNOWNED), order, count: row.count }
            })
            .inspect(|row| {
                if row.owner == UNOWNED {
                    self.unowned += 1;
                    self.unownings = self.unownings.max(row.order);
                }
            })
            .peekable();
        self.rows.append(&mut rows);
    }

    /// Bytes on the heap, without the allocator's own; of more than `samples` blocks an estimate.
    /// **Cost**: O(samples).
    pub fn memory_bytes(&self, samples: usize) -> usize {
        self.rows.memory_bytes(samples)
    }

    /// Asserts the invariants. **Cost**: O(p).
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.rows.check();
        let rows = || self.rows.iter_from(EntryId::MIN);
        let unowned = rows().filter(|row| row.owner == UNOWNED);
        assert_eq!(unowned.count(), self.unowned, "the count of unowned entries");
        for row in rows() {
            assert_eq!(row.owner == UNOWNED, row.order < OWNED, "{}: owner and order", row.id);
            assert!(row.order >= OWNED || row.order <= self.unownings, "{}: zone", row.id);
        }
    }

    fn set_row(&mut self, row: PelRow) -> Option<Pending> {
        let old = self.rows.set(row);
        self.unowned += usize::from(row.owner == UNOWNED);
        self.unowned -= usize::from(old.is_some_and(|old| old.owner == UNOWNED));
        old.map(PelRow::pending)
    }
}

/// IDs in ascending order: a consumer's own pending entries. `clone` is O(1).
///
/// **Cost**: each method is O(log n) unless it says otherwise; about 3 bytes an ID in memory,
/// in large sets that ascend.
#[derive(Clone, Debug, Default)]
pub struct IdSet {
    rows: Rows<EntryId>,
}

impl IdSet {
    /// The number of IDs. **Cost**: O(1).
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `id` is among them.
    pub fn contains(&self, id: EntryId) -> bool {
        self.rows.get(id).is_some()
    }

    /// Adds `id`; whether it is new.
    pub fn insert(&mut self, id: EntryId) -> bool {
        self.rows.set(id).is_none()
    }

    /// Adds `ids`, fast as long as they ascend and are above all others.
    pub fn extend(&mut self, ids: impl Iterator<Item = EntryId>) {
        let mut ids = ids.peekable();
        loop {
            self.rows.append(&mut ids);
            let Some(id) = ids.next() else { return };
            self.insert(id);
        }
    }

    /// Removes `id`; whether it was there.
    pub fn remove(&mut self, id: EntryId) -> bool {
        self.rows.remove(id).is_some()
    }

    /// Removes `ids`, which ascend, up to the first that is not there.
    pub fn remove_each(&mut self, ids: &[EntryId]) {
        self.rows.remove_each(ids, |_| {});
    }

    /// The least ID.
    pub fn first(&self) -> Option<EntryId> {
        self.rows.first_id()
    }

    /// The greatest ID.
    pub fn last(&self) -> Option<EntryId> {
        self.rows.last_id()
    }

    /// The IDs that are `id` or greater, ascending.
    pub fn iter_from(&self, id: EntryId) -> impl Iterator<Item = EntryId> {
        self.rows.iter_from(id)
    }

    /// The number of lesser IDs.
    pub fn rank(&self, id: EntryId) -> usize {
        self.rows.rank(id)
    }

    /// Bytes on the heap, without the allocator's own; of more than `samples` blocks an estimate.
    /// **Cost**: O(samples).
    pub fn memory_bytes(&self, samples: usize) -> usize {
        self.rows.memory_bytes(samples)
    }

    /// Asserts the invariants. **Cost**: O(n).
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.rows.check();
    }
}

/// The pending entries from an ID on. See [`Pel::tail`].
#[derive(Debug)]
pub struct PelTail {
    rows: Rows<PelRow>,
}

impl PelTail {
    /// In hand-out order those that are unowned or were delivered at that time or before.
    ///
    /// **Cost**: lazily O(log p) each, and O(log p) and one sorting of at most 120 rows for each
    /// block that is reached.
    pub fn iter_oldest(&self, delivered_at_most: UnixMs) -> impl Iterator<Item = Pending> {
        self.rows.by_order(owned_order(delivered_at_most)).map(PelRow::pending)
    }
}

/// A pending entry as it is stored: its place in hand-out order in one number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct PelRow {
    id: EntryId,
    owner: u32,
    order: u64,
    count: u64,
}

/// The owner of what nobody owns: no consumer has this number.
pub(super) const UNOWNED: u32 = u32::MAX;
/// Set in the order of what is owned; below it stand the numbers of the unowned zone.
const OWNED: u64 = 1 << 63;
/// The count that XNACK FATAL sets.
const COUNT_FATAL: u64 = i64::MAX.unsigned_abs();

fn owned_order(delivered_at: UnixMs) -> u64 {
    OWNED | delivered_at.0.min(OWNED - 1)
}

impl PelRow {
    fn pending(self) -> Pending {
        let owned = self.owner != UNOWNED;
        Pending {
            id: self.id,
            owner: owned.then_some(ConsumerNo(self.owner)),
            delivered_at: UnixMs(if owned { self.order - OWNED } else { 0 }),
            count: self.count,
        }
    }
}

impl Row for PelRow {
    /// The owner plus one, 0 if there is none; the order, with the bit that tells owned from
    /// unowned at the other end, so that a block of both kinds needs no wider numbers; the count
    /// plus one, 0 for [`COUNT_FATAL`], which is far from all others.
    type Rest = [u64; 3];

    fn id(&self) -> EntryId {
        self.id
    }

    fn order(&self) -> u64 {
        self.order
    }

    fn rest(&self) -> [u64; 3] {
        let count = match self.count {
            COUNT_FATAL => 0,
            count if count < COUNT_FATAL => count + 1,
            count => count,
        };
        [u64::from(self.owner.wrapping_add(1)), self.order.rotate_left(1), count]
    }

    fn new(id: EntryId, [owner, order, count]: [u64; 3]) -> Self {
        let count = match count {
            0 => COUNT_FATAL,
            count if count <= COUNT_FATAL => count - 1,
            count => count,
        };
        let owner = owner.checked_sub(1).and_then(|owner| u32::try_from(owner).ok());
        let owner = owner.unwrap_or(UNOWNED);
        PelRow { id, owner, order: order.rotate_right(1), count }
    }
}

impl Row for EntryId {
    type Rest = [u64; 0];

    fn id(&self) -> EntryId {
        *self
    }

    fn order(&self) -> u64 {
        0
    }

    fn rest(&self) -> [u64; 0] {
        []
    }

    fn new(id: EntryId, _: [u64; 0]) -> Self {
        id
    }
}
