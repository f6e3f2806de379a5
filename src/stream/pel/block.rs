//! A block of at most 120 rows in the order of their IDs, each number of a row in as few whole
//! bytes as the block's greatest asks for.
//!
//! A row is some numbers: the sequence number and the milliseconds of its ID, and what else its
//! type says. For each of them a block has a *base*, at most the least one, and a *width*, the
//! bytes of the greatest difference; a number all rows agree on takes none. The bytes of a block:
//!
//! | size | meaning |
//! |---|---|
//! | width | sequence number minus the base's, least significant byte first, as all below |
//! | width | milliseconds minus the base's |
//! | widths | the other numbers, each minus its base |
//! | … | the other rows, each of the same size |
//! | 16 | nothing, so that any number is read in one piece and masked |
//!
//! The ID's two numbers are read as one, which sorts as IDs do. A row that has a number out of
//! bounds makes the block be built anew with other bases or widths.

use crate::stream::EntryId;
use std::mem::size_of;
use std::ops::Range;

/// The most rows of a block: what one change copies at most while a snapshot shares the block.
/// With the padding, a full block takes less than 128 times a row's size, which for most sizes is
/// exactly what allocators hand out.
pub(super) const ROWS_MAX: usize = 120;
/// The bytes after the last row.
const PADDING: usize = 16;
/// Why a number can be read and written in one piece.
const PADDED: &str = "padding follows the last row";

/// A row: something with an ID, and a place in some other order.
pub(super) trait Row: Copy {
    /// The numbers besides the ID: at most three.
    type Rest: Copy + std::fmt::Debug + AsRef<[u64]> + AsMut<[u64]>;

    /// What it stands under.
    fn id(&self) -> EntryId;
    /// Its place in the other order.
    fn order(&self) -> u64;
    /// The numbers besides the ID.
    fn rest(&self) -> Self::Rest;
    /// The row of these numbers.
    fn new(id: EntryId, rest: Self::Rest) -> Self;
}

/// Rows in ascending order of their IDs.
#[derive(Clone, Debug)]
pub(super) struct Block<R: Row> {
    base: EntryId,
    bases: R::Rest,
    /// Of the sequence numbers, the milliseconds, and the rest.
    widths: [u8; 5],
    /// The sum of the widths.
    stride: u8,
    len: u8,
    /// The least order of a row.
    least: u64,
    /// The ID of the last row, here because a search begins with it.
    last: EntryId,
    bytes: Vec<u8>,
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
    ///
    /// # Panics
    /// If there is no row or there are too many.
    pub(super) fn of(rows: &[R]) -> Self {
        let (first, last) = (rows[0].id(), rows[rows.len() - 1].id());
        let least = rows.iter().map(R::order).min().unwrap_or(u64::MAX);
        let mut block = Block {
            base: EntryId::new(first.ms, 0),
            bases: rows[0].rest(),
            widths: [0; 5],
            stride: 0,
            len: narrow(rows.len()),
            least,
            last,
            bytes: Vec::new(),
        };
        block.choose_widths(rows);
        block.bytes = vec![0; rows.len() * usize::from(block.stride) + PADDING];
        for (place, row) in rows.iter().enumerate() {
            block.write(place, block.differences(row).expect("the widths were chosen for it"));
        }
        block
    }

    fn choose_widths(&mut self, rows: &[R]) {
        let (mut least_seq, mut most_seq) = (u64::MAX, 0);
        let mut most = self.bases;
        for row in rows {
            let (seq, rest) = (row.id().seq, row.rest());
            (least_seq, most_seq) = (least_seq.min(seq), most_seq.max(seq));
            for (base, &number) in self.bases.as_mut().iter_mut().zip(rest.as_ref()) {
                *base = number.min(*base);
            }
            for (most, &number) in most.as_mut().iter_mut().zip(rest.as_ref()) {
                *most = number.max(*most);
            }
        }
        // Sequence numbers count from 0 if that takes no more, so that the next millisecond's
        // fit, too.
        let from_zero = width(most_seq) == width(most_seq - least_seq);
        self.base.seq = if from_zero { 0 } else { least_seq };
        self.widths[0] = width(most_seq - self.base.seq);
        self.widths[1] = width(self.last.ms - self.base.ms);
        let bounds = self.bases.as_ref().iter().zip(most.as_ref());
        for (own, (base, most)) in self.widths[2..].iter_mut().zip(bounds) {
            *own = width(most - base);
        }
        self.stride = self.widths.iter().sum();
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// The least order of a row.
    pub(super) fn least(&self) -> u64 {
        self.least
    }

    /// The bytes on the heap, with the counts of an `Arc`.
    pub(super) fn memory_bytes(&self) -> usize {
        2 * size_of::<usize>() + size_of::<Self>() + self.bytes.capacity()
    }

    /// The row at `place`, counted from 0.
    pub(super) fn row(&self, place: usize) -> Option<R> {
        let id = self.id(place)?;
        let mut at = self.at(place) + self.id_widths().1;
        let mut rest = self.bases;
        for (number, &width) in rest.as_mut().iter_mut().zip(&self.widths[2..]) {
            *number += self.number(at, width);
            at += usize::from(width);
        }
        Some(R::new(id, rest))
    }

    /// The ID of the row at `place`.
    fn id(&self, place: usize) -> Option<EntryId> {
        let (at, [seq, ms, ..]) = (self.at(place), self.widths);
        let after = at + usize::from(seq);
        (place < self.len()).then(|| {
            let (ms, seq) = (self.number(after, ms), self.number(at, seq));
            EntryId::new(self.base.ms + ms, self.base.seq + seq)
        })
    }

    /// The number of this width that begins at this byte.
    #[inline]
    fn number(&self, at: usize, width: u8) -> u64 {
        u64::from_le_bytes(*self.bytes[at..].first_chunk().expect(PADDED)) & mask(width)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = R> {
        (0..self.len()).filter_map(|place| self.row(place))
    }

    pub(super) fn first_id(&self) -> EntryId {
        self.id(0).unwrap_or(EntryId::MAX)
    }

    pub(super) fn last_id(&self) -> EntryId {
        self.last
    }

    /// Where the row of `id` is, or where it would be.
    pub(super) fn find(&self, id: EntryId) -> Result<usize, usize> {
        if id > self.last {
            return Err(self.len());
        }
        let target = self.id_difference(id);
        let guess = self.guess(target);
        let [seq_width, ms_width, ..] = self.widths;
        let place = match u64::try_from(target) {
            // Nearly always: the numbers of 120 entries are not far apart.
            Ok(target) if seq_width + ms_width <= 8 => self.lower_bound(guess, |place| {
                self.number(self.at(place), seq_width + ms_width) < target
            }),
            _ => self.lower_bound(guess, |place| self.packed_id(place) < target),
        };
        let found = self.id(place) == Some(id);
        if found { Ok(place) } else { Err(place) }
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

    /// Appends rows, which ascend, are above all there are, and have room.
    pub(super) fn append(&mut self, rows: &[R]) {
        self.reserve(rows.len());
        for (number, row) in rows.iter().enumerate() {
            let Some(differences) = self.differences(row) else {
                let rest = rows[number..].iter().copied();
                *self = Block::of(&self.iter().chain(rest).collect::<Vec<_>>());
                return;
            };
            let place = self.len();
            self.len += 1;
            self.bytes.resize(self.at(self.len()) + PADDING, 0);
            self.write(place, differences);
            self.least = self.least.min(row.order());
            self.last = row.id();
        }
    }

    /// Removes the rows of `ids`, which ascend and are fewer than the rows, and tells `each` of
    /// them; ends at the first that is not there. Returns how many were. Gives memory back once
    /// three quarters are unused.
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
        self.len -= narrow(removed);
        self.bytes.truncate(self.at(self.len()) + PADDING);
        if self.bytes.capacity() > 4 * self.bytes.len() {
            *self = Block::of(&self.to_vec());
            return removed;
        }
        if least == self.least {
            self.least = self.next_least();
        }
        if let Some(last) = self.len().checked_sub(1).and_then(|place| self.id(place)) {
            self.last = last;
        }
        removed
    }

    /// Copies rows to places before them.
    fn move_down(&mut self, rows: Range<usize>, to: usize) {
        if rows.start != to {
            let (start, end, to) = (self.at(rows.start), self.at(rows.end), self.at(to));
            self.bytes.copy_within(start..end, to);
        }
    }

    /// [`Block::find`] where the next row is often the one.
    fn find_from(&self, from: usize, id: EntryId) -> Result<usize, usize> {
        if from > 0 && self.id(from) == Some(id) {
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
        assert_eq!(self.stride, self.widths.iter().sum::<u8>(), "the size of a row");
        assert_eq!(self.bytes.len(), self.at(self.len()) + PADDING, "the size of a block");
        assert!(self.iter().is_sorted_by(|a, b| a.id() < b.id()), "rows are not in order");
        assert_eq!(self.iter().last().map(|row| row.id()), Some(self.last), "the last ID is stale");
        assert_eq!(self.least, self.scan_least(), "the least order is stale");
    }

    fn to_vec(&self) -> Vec<R> {
        self.iter().collect()
    }

    /// Where the row of this place begins.
    fn at(&self, place: usize) -> usize {
        place * usize::from(self.stride)
    }

    /// The bytes of a sequence number, and of an ID.
    fn id_widths(&self) -> (usize, usize) {
        let [seq, ms, ..] = self.widths;
        (usize::from(seq), usize::from(seq + ms))
    }

    /// The ID of a row, minus the base, as one number.
    fn packed_id(&self, place: usize) -> u128 {
        let bytes = self.bytes[self.at(place)..].first_chunk().expect(PADDED);
        u128::from_le_bytes(*bytes) & mask_id(self.id_widths().1)
    }

    /// The least such number of an ID that is `id` or greater.
    fn id_difference(&self, id: EntryId) -> u128 {
        let Some(ms) = id.ms.checked_sub(self.base.ms) else { return 0 };
        let seq_width = self.id_widths().0;
        let seq = u128::from(id.seq.saturating_sub(self.base.seq));
        (u128::from(ms) << (8 * seq_width)) + seq.min(mask_id(seq_width) + 1)
    }

    /// By proportion, where the row of this packed ID is: at most that of the last row.
    fn guess(&self, target: u128) -> usize {
        let last = self.id_difference(self.last);
        // So few bits that the product with a number of rows has less than 64.
        let surplus = (128_u32 - 56).saturating_sub(last.leading_zeros());
        let (part, whole) = (half(target >> surplus), half(last >> surplus));
        let guess = (part * (self.len() as u64 - 1)).checked_div(whole).unwrap_or(0);
        usize::try_from(guess).unwrap_or(0)
    }

    /// The number of rows that are `less`, which are before all that are not.
    ///
    /// Looks around `guess` in steps that double: mostly one place in memory is touched where
    /// halving would touch five, one after the other.
    fn lower_bound(&self, guess: usize, less: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high, mut step) = (guess, guess, 1);
        // All before `low` will be less, and none from `high` on.
        if less(guess) {
            low += 1;
            high = (guess + step).min(self.len());
            while high < self.len() && less(high) {
                low = high + 1;
                step *= 2;
                high = (high + step).min(self.len());
            }
        } else {
            low = guess.saturating_sub(step);
            while low > 0 && !less(low - 1) {
                high = low - 1;
                step *= 2;
                low = low.saturating_sub(step);
            }
        }
        while low < high {
            let middle = low.midpoint(high);
            if less(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// What is to be written for `row`, unless a number is out of bounds.
    fn differences(&self, row: &R) -> Option<(u128, R::Rest)> {
        let id = row.id();
        let [seq_width, ms_width, ..] = self.widths;
        let ms = id.ms.checked_sub(self.base.ms).filter(|&ms| ms <= mask(ms_width))?;
        let seq = id.seq.checked_sub(self.base.seq).filter(|&seq| seq <= mask(seq_width))?;
        let mut rest = row.rest();
        let bounds = self.bases.as_ref().iter().zip(&self.widths[2..]);
        for (number, (base, &width)) in rest.as_mut().iter_mut().zip(bounds) {
            *number = number.checked_sub(*base).filter(|&number| number <= mask(width))?;
        }
        Some(((u128::from(ms) << (8 * seq_width)) | u128::from(seq), rest))
    }

    /// Writes a row; the 16 bytes after it are anything afterwards.
    fn write(&mut self, place: usize, (id, rest): (u128, R::Rest)) {
        let mut at = self.at(place);
        // Nothing that was just written is read again: reading what several writes have made
        // is what would take time.
        *self.bytes[at..].first_chunk_mut().expect(PADDED) = id.to_le_bytes();
        at += self.id_widths().1;
        for (number, &width) in rest.as_ref().iter().zip(&self.widths[2..]) {
            *self.bytes[at..].first_chunk_mut().expect(PADDED) = number.to_le_bytes();
            at += usize::from(width);
        }
    }

    /// Writes a row before others.
    fn write_amid(&mut self, place: usize, differences: (u128, R::Rest)) {
        let after = self.at(place + 1);
        let kept: [u8; PADDING] = *self.bytes[after..].first_chunk().expect(PADDED);
        self.write(place, differences);
        *self.bytes[after..].first_chunk_mut().expect(PADDED) = kept;
    }

    fn insert(&mut self, place: usize, row: R) {
        let Some(differences) = self.differences(&row) else {
            let mut rows = self.to_vec();
            rows.insert(place, row);
            *self = Block::of(&rows);
            return;
        };
        self.reserve(1);
        let (at, end) = (self.at(place), self.at(self.len()));
        self.len += 1;
        self.bytes.resize(self.at(self.len()) + PADDING, 0);
        self.bytes.copy_within(at..end, at + usize::from(self.stride));
        self.write_amid(place, differences);
        self.least = self.least.min(row.order());
        self.last = self.last.max(row.id());
    }

    /// Makes room for so many more rows: half as much again at least, but never more than a full
    /// block takes.
    fn reserve(&mut self, more: usize) {
        let needed = self.len() + more;
        if self.at(needed) + PADDING > self.bytes.capacity() {
            let rows = needed.max(self.len() + self.len() / 2 + 4).min(ROWS_MAX);
            self.bytes.reserve_exact(self.at(rows) + PADDING - self.bytes.len());
        }
    }

    fn replace(&mut self, place: usize, row: R, old_order: u64) {
        let Some(differences) = self.differences(&row) else {
            let mut rows = self.to_vec();
            rows[place] = row;
            *self = Block::of(&rows);
            return;
        };
        self.write_amid(place, differences);
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
}

/// The bytes that `number` takes: 0 to 8.
fn width(number: u64) -> u8 {
    narrow((64 - number.leading_zeros()).div_ceil(8) as usize)
}

/// The greatest number of so many bytes, at most 8.
#[inline]
fn mask(width: u8) -> u64 {
    !u64::MAX.checked_shl(8 * u32::from(width)).unwrap_or(0)
}

/// The greatest number of so many bytes.
fn mask_id(width: usize) -> u128 {
    !u128::MAX.checked_shl(8 * u32::from(narrow(width))).unwrap_or(0)
}

/// A number that is known to fit 64 bits.
fn half(number: u128) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

/// A number that is known to fit a byte: of rows, or of bytes of a number.
fn narrow(number: usize) -> u8 {
    number.try_into().expect("a block has few rows, and small ones")
}
