//! Long replies in slices: a command that reads a range writes the first part of it and leaves the
//! [`Remainder`], which is written when the client has read what came before.
//!
//! So nobody waits for a reply of a gigabyte, neither for its making nor for its memory. The
//! remainder shares the blocks that the stream had when the command ran: it is not told of what
//! changes later.

use super::reply::Out;
use crate::stream::{Entries, EntryId, EntryRef};

/// A slice ends behind so many bytes.
const SLICE_BYTES: usize = 64 * 1024;

/// The part of a range that a reply does not have yet, at its end.
#[derive(Debug)]
pub struct Remainder {
    entries: Entries,
    start: EntryId,
    end: EntryId,
    /// Whether the entries come newest first.
    backwards: bool,
    /// How many entries are left.
    left: usize,
}

impl Remainder {
    /// Writes the next slice; whether there is more.
    pub fn write(&mut self, out: &mut Out<'_>) -> bool {
        let (written, last) = if self.backwards {
            let entries = self.entries.range_back(self.end, self.start);
            write_slice(entries.take(self.left), out, SLICE_BYTES)
        } else {
            let entries = self.entries.range(self.start, self.end);
            write_slice(entries.take(self.left), out, SLICE_BYTES)
        };
        self.left -= written;
        last.is_some_and(|last| self.go_on_after(last))
    }

    /// Goes on behind this entry; whether there is anything.
    fn go_on_after(&mut self, last: EntryId) -> bool {
        let next = if self.backwards { last.previous() } else { last.next() };
        match next {
            Some(id) if self.backwards => self.end = id,
            Some(id) => self.start = id,
            None => return false,
        }
        self.left > 0
    }
}

/// Writes at most `count` entries from `start` to `end` as the elements of an array, and returns
/// how many it is to have: all of them are here, or the first and the rest is left to be written.
pub(super) fn write_range(
    entries: &Entries,
    (start, end): (EntryId, EntryId),
    backwards: bool,
    count: usize,
    out: &mut Out<'_>,
) -> usize {
    let most = if out.may_leave() { SLICE_BYTES } else { usize::MAX };
    let (written, last) = if backwards {
        write_slice(entries.range_back(end, start).take(count), out, most)
    } else {
        write_slice(entries.range(start, end).take(count), out, most)
    };
    let Some(last) = last else { return written };
    let all = usize::try_from(entries.count_between(start, end)).unwrap_or(usize::MAX).min(count);
    let left = all - written;
    let mut rest = Remainder { entries: entries.clone(), start, end, backwards, left };
    if rest.go_on_after(last) {
        out.leave(rest);
    }
    all
}

/// Writes entries until it has written so many bytes. Returns how many, and the last if it stopped
/// there.
fn write_slice<'e>(
    entries: impl Iterator<Item = EntryRef<'e>>,
    out: &mut Out<'_>,
    most: usize,
) -> (usize, Option<EntryId>) {
    let full = out.len().saturating_add(most);
    let mut written = 0;
    for entry in entries {
        out.entry(&entry);
        written += 1;
        if out.len() >= full {
            return (written, Some(entry.id));
        }
    }
    (written, None)
}

#[cfg(test)]
mod tests {
    use super::{SLICE_BYTES, write_range};
    use crate::command::{Out, Protocol};
    use crate::stream::block::BlockLimits;
    use crate::stream::fields::Fields;
    use crate::stream::{Entries, EntryId};
    use crate::testing::Rng;

    #[test]
    fn slices_together_are_the_reply_in_one_piece() {
        let mut rng = Rng::new(1);
        let (mut entries, value) = (Entries::new(), [b'v'; 3000]);
        for n in 1..=400 {
            let fields: [&[u8]; 2] = [b"field", &value[..rng.below(3000)]];
            let limits = BlockLimits { bytes: 4096, entries: 10 };
            entries.append(EntryId::new(n, 0), &Fields::Slices(&fields), limits);
        }
        (0..100).for_each(|_| _ = entries.delete(EntryId::new(rng.below(401) as u64, 0)));
        for round in 0..200 {
            let mut bound = || EntryId::new(rng.below(420) as u64, 0);
            let (range, backwards) = ((bound(), bound()), round % 2 == 0);
            let count = if round % 3 == 0 { usize::MAX } else { rng.below(420) };
            let mut whole = Vec::new();
            let mut out = Out::new(&mut whole, Protocol::Resp2);
            let all = write_range(&entries, range, backwards, count, &mut out);
            assert!(out.take_left().is_none());
            let mut sliced = Vec::new();
            let mut out = Out::new(&mut sliced, Protocol::Resp2);
            out.allow_leaving();
            assert_eq!(write_range(&entries, range, backwards, count, &mut out), all);
            let mut left = out.take_left();
            // What happens to the stream meanwhile is not seen.
            let mut changed = entries.clone();
            changed.trim_below(EntryId::MAX);
            while let Some(rest) = &mut left {
                let before = out.len();
                if !rest.write(&mut out) {
                    left = None;
                }
                assert!(out.len() > before && out.len() - before < SLICE_BYTES + 4000);
            }
            assert_eq!(sliced, whole, "{range:?} {count}");
        }
    }
}
