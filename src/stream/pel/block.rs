//! A block of at most 128 rows in the order of their IDs, packed against a common base.
//!
//! A packed row begins with the six bytes of its ID; what follows is the row type's own business.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 4 | milliseconds minus the base's |
//! | 4 | 2 | sequence number minus the base's |
//!
//! If one row does not fit, the whole block holds plain rows, until it is built anew.

use crate::stream::EntryId;
use std::mem::size_of;
use std::ops::Range;

/// The most rows of a block. At 13 bytes a row a block is 1.6 kB: what one change copies at most
/// while a snapshot shares the block.
pub(super) const ROWS_MAX: usize = 128;
/// A tail block of at least so many rows is left as it is when a new row does not fit its base.
const ROWS_KEPT: usize = 32;

/// A row: something with an ID, and a place in some other order.
pub(super) trait Row: Copy {
    /// A row as bytes.
    type Packed: Copy + AsRef<[u8]>;

    /// What it stands under.
    fn id(&self) -> EntryId;
    /// Its place in the other order.
    fn order(&self) -> u64;
    /// The bases of what follows the ID, for all of `rows`.
    fn bases(rows: &[Self]) -> [u64; 2];
    /// The row as bytes, beginning with those of its ID; `None` if something does not fit.
    fn pack(&self, id: [u8; 6], bases: &[u64; 2]) -> Option<Self::Packed>;
    /// The row of bytes.
    fn unpack(id: EntryId, packed: &Self::Packed, bases: &[u64; 2]) -> Self;
}

/// Rows in ascending order of their IDs.
#[derive(Clone, Debug)]
pub(super) struct Block<R: Row> {
    base: EntryId,
    bases: [u64; 2],
    /// The least order of a row.
    least: u64,
    /// The ID of the last row, here because a search begins with it.
    last: EntryId,
    rows: Rows<R>,
}

#[derive(Clone)]
enum Rows<R: Row> {
    Packed(Vec<R::Packed>),
    Plain(Vec<R>),
}

/// What became of [`Block::set`].
#[derive(Debug)]
pub(super) enum Set<R> {
    /// The row has taken the place of this one.
    Replaced(R),
    /// The row is new.
    Inserted,
    /// The row is new and belongs at this place, but the block is full.
    Full(usize),
}

impl<R: Row> Block<R> {
    /// A block of `rows`, ascending, at least one, allocated at their size.
    pub(super) fn of(rows: &[R]) -> Self {
        let ids = || rows.iter().map(Row::id);
        let most_seq = ids().map(|id| id.seq).max().unwrap_or(0);
        let least_seq = ids().map(|id| id.seq).min().unwrap_or(0);
        // Small sequence numbers count from 0, so that the next millisecond's fit too.
        let seq = if most_seq <= u64::from(u16::MAX) { 0 } else { least_seq };
        let base = EntryId::new(ids().next().map_or(0, |id| id.ms), seq);
        let bases = R::bases(rows);
        let packed: Option<Vec<_>> = rows.iter().map(|row| pack(row, base, &bases)).collect();
        let packed_or_plain = packed.map_or_else(|| Rows::Plain(rows.to_vec()), Rows::Packed);
        let last = ids().last().unwrap_or(base);
        let mut block = Block { base, bases, least: 0, last, rows: packed_or_plain };
        block.shrink_to_fit();
        block.least = block.scan_least();
        block
    }

    pub(super) fn len(&self) -> usize {
        match &self.rows {
            Rows::Packed(rows) => rows.len(),
            Rows::Plain(rows) => rows.len(),
        }
    }

    /// The least order of a row.
    pub(super) fn least(&self) -> u64 {
        self.least
    }

    /// Whether the rows are packed.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self.rows, Rows::Packed(_))
    }

    /// The bytes on the heap, with the counts of an `Arc`.
    pub(super) fn memory_bytes(&self) -> usize {
        let rows = match &self.rows {
            Rows::Packed(rows) => rows.capacity() * size_of::<R::Packed>(),
            Rows::Plain(rows) => rows.capacity() * size_of::<R>(),
        };
        2 * size_of::<usize>() + size_of::<Self>() + rows
    }

    /// The row at `place`, counted from 0.
    pub(super) fn row(&self, place: usize) -> Option<R> {
        match &self.rows {
            Rows::Packed(rows) => rows.get(place).map(|packed| self.unpack(packed)),
            Rows::Plain(rows) => rows.get(place).copied(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = R> {
        (0..self.len()).filter_map(|place| self.row(place))
    }

    pub(super) fn first_id(&self) -> EntryId {
        self.row(0).map_or(EntryId::MAX, |row| row.id())
    }

    pub(super) fn last_id(&self) -> EntryId {
        self.last
    }

    /// Where the row of `id` is, or where it would be.
    pub(super) fn find(&self, id: EntryId) -> Result<usize, usize> {
        match &self.rows {
            Rows::Packed(rows) => {
                let place = lower_bound(rows, self.offset(self.last), self.offset(id));
                let found = rows.get(place).is_some_and(|row| unpack_id(row, self.base) == id);
                if found { Ok(place) } else { Err(place) }
            }
            Rows::Plain(rows) => rows.binary_search_by(|row| row.id().cmp(&id)),
        }
    }

    /// The first row from `place` on whose order is at most `order`.
    pub(super) fn first_at_most(&self, place: usize, order: u64) -> Option<R> {
        if self.least > order {
            return None;
        }
        (place..self.len()).filter_map(|place| self.row(place)).find(|row| row.order() <= order)
    }

    /// Inserts or replaces a row.
    pub(super) fn set(&mut self, row: R) -> Set<R> {
        match self.find(row.id()) {
            Ok(place) => match self.row(place) {
                Some(old) => {
                    self.replace(place, row, old.order());
                    Set::Replaced(old)
                }
                None => Set::Full(place),
            },
            Err(place) if self.len() == ROWS_MAX => Set::Full(place),
            Err(place) => {
                self.insert(place, row);
                Set::Inserted
            }
        }
    }

    /// Appends rows while they ascend and have room, and returns how many.
    pub(super) fn append(
        &mut self,
        rows: &mut std::iter::Peekable<impl Iterator<Item = R>>,
    ) -> usize {
        let (before, mut last) = (self.len(), self.last_id());
        while self.len() < ROWS_MAX
            && let Some(row) = rows.peek().copied()
            && row.id() > last
        {
            let len = self.len();
            let fits = !self.is_packed() || pack(&row, self.base, &self.bases).is_some();
            if !fits && len >= ROWS_KEPT {
                break;
            }
            self.insert(len, row);
            last = row.id();
            rows.next();
        }
        self.len() - before
    }

    /// Removes the rows of `ids`, which ascend and are fewer than the rows, and tells `each` of
    /// them; ends at the first that is not there. Returns how many were. Gives memory back once
    /// three sevenths are unused.
    pub(super) fn remove_each(&mut self, ids: &[EntryId], each: &mut impl FnMut(R)) -> usize {
        let (mut removed, mut least) = (0, u64::MAX);
        // From one place to the next that is to go, rows move down once for all.
        let (mut from, mut to) = (0, 0);
        for &id in ids {
            let Ok(place) = self.find_from(from, id) else { break };
            let Some(row) = self.row(place) else { break };
            self.move_down(from..place, to);
            (from, to) = (place + 1, to + place - from);
            least = least.min(row.order());
            removed += 1;
            each(row);
        }
        if removed == 0 {
            return 0;
        }
        self.move_down(from..self.len(), to);
        let left = self.len() - removed;
        let capacity = match &mut self.rows {
            Rows::Packed(rows) => {
                rows.truncate(left);
                rows.capacity()
            }
            Rows::Plain(rows) => {
                rows.truncate(left);
                rows.capacity()
            }
        };
        if capacity > left + left * 3 / 4 + 4 {
            *self = Block::of(&self.to_vec());
            return removed;
        }
        if least == self.least {
            self.least = self.next_least();
        }
        if let Some(last) = left.checked_sub(1).and_then(|place| self.row(place)) {
            self.last = last.id();
        }
        removed
    }

    /// Copies rows to places before them.
    fn move_down(&mut self, rows: Range<usize>, to: usize) {
        if rows.start == to {
            return;
        }
        match &mut self.rows {
            Rows::Packed(all) => all.copy_within(rows, to),
            Rows::Plain(all) => all.copy_within(rows, to),
        }
    }

    /// [`Block::find`] where the next row is often the one.
    fn find_from(&self, from: usize, id: EntryId) -> Result<usize, usize> {
        if from > 0 && self.row(from).is_some_and(|row| row.id() == id) {
            return Ok(from);
        }
        self.find(id)
    }

    /// Takes off the upper half.
    pub(super) fn split(&mut self) -> Self {
        let rows = self.to_vec();
        let (lower, upper) = rows.split_at(rows.len() / 2);
        *self = Block::of(lower);
        Block::of(upper)
    }

    /// Both blocks' rows in one.
    pub(super) fn merge(&self, above: &Self) -> Self {
        Block::of(&self.iter().chain(above.iter()).collect::<Vec<_>>())
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert!((1..=ROWS_MAX).contains(&self.len()), "{} rows in a block", self.len());
        assert!(self.iter().is_sorted_by(|a, b| a.id() < b.id()), "rows are not in order");
        assert_eq!(self.iter().last().map(|row| row.id()), Some(self.last), "the last ID is stale");
        assert_eq!(self.least, self.scan_least(), "the least order is stale");
    }

    /// The least packed ID that is `id` or greater, as [`packed_id`] reads it.
    fn offset(&self, id: EntryId) -> u64 {
        let Some(ms) = id.ms.checked_sub(self.base.ms) else { return 0 };
        let Ok(ms) = u32::try_from(ms) else { return u64::MAX };
        let seq = id.seq.saturating_sub(self.base.seq).min(1 << 16);
        (u64::from(ms) << 16) + seq
    }

    fn to_vec(&self) -> Vec<R> {
        self.iter().collect()
    }

    fn unpack(&self, packed: &R::Packed) -> R {
        R::unpack(unpack_id(packed, self.base), packed, &self.bases)
    }

    fn insert(&mut self, place: usize, row: R) {
        let packed = self.is_packed().then(|| pack(&row, self.base, &self.bases)).flatten();
        match (&mut self.rows, packed) {
            (Rows::Packed(rows), Some(packed)) => {
                reserve(rows);
                rows.insert(place, packed);
            }
            (Rows::Packed(_), None) => {
                let mut rows = self.to_vec();
                rows.insert(place, row);
                *self = Block::of(&rows);
            }
            (Rows::Plain(rows), _) => {
                reserve(rows);
                rows.insert(place, row);
            }
        }
        self.least = self.least.min(row.order());
        self.last = self.last.max(row.id());
    }

    fn replace(&mut self, place: usize, row: R, old_order: u64) {
        let packed = self.is_packed().then(|| pack(&row, self.base, &self.bases)).flatten();
        match (&mut self.rows, packed) {
            (Rows::Packed(rows), Some(packed)) => rows[place] = packed,
            (Rows::Packed(_), None) => {
                let mut rows = self.to_vec();
                rows[place] = row;
                *self = Block::of(&rows);
            }
            (Rows::Plain(rows), _) => rows[place] = row,
        }
        if row.order() <= self.least {
            self.least = row.order();
        } else if old_order == self.least {
            self.least = self.next_least();
        }
    }

    /// [`Block::scan_least`] when no row is below the old one: the first that equals it ends the
    /// search, which in a block that was delivered at once is the first of all.
    fn next_least(&self) -> u64 {
        let mut least = u64::MAX;
        for row in self.iter() {
            least = least.min(row.order());
            if least == self.least {
                break;
            }
        }
        least
    }

    fn scan_least(&self) -> u64 {
        self.iter().map(|row| row.order()).min().unwrap_or(u64::MAX)
    }

    fn shrink_to_fit(&mut self) {
        match &mut self.rows {
            Rows::Packed(rows) => rows.shrink_to_fit(),
            Rows::Plain(rows) => rows.shrink_to_fit(),
        }
    }
}

impl<R: Row> std::fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rows::Packed(rows) => write!(f, "{} packed", rows.len()),
            Rows::Plain(rows) => write!(f, "{} plain", rows.len()),
        }
    }
}

/// Makes room for one more row: half as much again, but never more than a block takes. This is
/// less than what [`Block::remove`] lets be unused, so that a block that shrinks and grows in
/// turn is not built anew each time.
fn reserve<T>(rows: &mut Vec<T>) {
    if rows.len() == rows.capacity() {
        rows.reserve_exact((rows.len() / 2).max(4).min(ROWS_MAX - rows.len()));
    }
}

fn pack<R: Row>(row: &R, base: EntryId, bases: &[u64; 2]) -> Option<R::Packed> {
    let id = row.id();
    let [a, b, c, d] = u32::try_from(id.ms.checked_sub(base.ms)?).ok()?.to_le_bytes();
    let [e, f] = u16::try_from(id.seq.checked_sub(base.seq)?).ok()?.to_le_bytes();
    row.pack([a, b, c, d, e, f], bases)
}

fn unpack_id(packed: &impl AsRef<[u8]>, base: EntryId) -> EntryId {
    let packed = packed_id(packed);
    EntryId::new(base.ms + (packed >> 16), base.seq + (packed & 0xffff))
}

/// The ID of a packed row against its base: milliseconds, and 16 bits of sequence number.
fn packed_id(packed: &impl AsRef<[u8]>) -> u64 {
    let bytes = packed.as_ref();
    let ms = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let seq = u16::from_le_bytes([bytes[4], bytes[5]]);
    (u64::from(ms) << 16) | u64::from(seq)
}

/// The number of rows whose packed ID is less than `target`; `last` is that of the last one.
///
/// Guesses by proportion and looks around there, in steps that double: mostly one place in
/// memory is touched where halving would touch five, one after the other.
fn lower_bound<P: AsRef<[u8]>>(rows: &[P], last: u64, target: u64) -> usize {
    let less = |place: usize| packed_id(&rows[place]) < target;
    if last < target {
        return rows.len();
    }
    // Below 2^48 times 128, so nothing overflows, and at most the last place.
    let guess = (target * (rows.len() as u64 - 1)).checked_div(last).unwrap_or(0);
    let guess = usize::try_from(guess).unwrap_or(0);
    let (mut low, mut high, mut step) = (guess, guess, 1);
    // All before `low` will be less, and none from `high` on.
    if less(guess) {
        low += 1;
        high = (guess + step).min(rows.len());
        while high < rows.len() && less(high) {
            low = high + 1;
            step *= 2;
            high = (high + step).min(rows.len());
        }
    } else {
        low = guess.saturating_sub(step);
        while low > 0 && !less(low - 1) {
            high = low - 1;
            step *= 2;
            low = low.saturating_sub(step);
        }
    }
    low + rows[low..high].partition_point(|row| packed_id(row) < target)
}
