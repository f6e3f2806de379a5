//! From a word of a request to its row, in one probe as a rule and without allocation: it runs for
//! every request. A hash table that is built when the program is compiled.
//!
//! A word of at most [`LONGEST`] bytes is two numbers, its first and its last eight bytes (four,
//! or single bytes, if it is shorter; they overlap), made lower-case eight at a time. With the
//! length they are the word itself, so equal keys need no further comparison.

use super::name::Name;

/// The longest word of the table, `getkeysandflags`.
const LONGEST: usize = 15;

/// Slots of the table: a power of two, about twice the rows, so that probes are short.
const SLOTS: usize = 512;

/// A lower-case word, whole, and the container it belongs to.
#[derive(Clone, Copy)]
struct Word {
    first: u64,
    last: u64,
    /// The length in the low byte; above it the container's row plus one, or 0.
    tag: usize,
}

impl Word {
    /// The word of these bytes; `None` if no row can have it.
    #[inline]
    const fn new(bytes: &[u8], container: Option<Name>) -> Option<Word> {
        let (first, last) = match bytes.len() {
            8..=LONGEST => (eight(bytes.first_chunk()), eight(bytes.last_chunk())),
            4..8 => (four(bytes.first_chunk()), four(bytes.last_chunk())),
            2..4 => (bytes[0] as u64 | (bytes[1] as u64) << 8, bytes[bytes.len() - 1] as u64),
            _ => return None,
        };
        let container = match container {
            Some(name) => name.index() + 1,
            None => 0,
        };
        Some(Word { first: lower(first), last: lower(last), tag: container << 8 | bytes.len() })
    }

    /// The slot to look at first.
    #[inline]
    const fn home(self) -> usize {
        // Chosen: the odd constant is 2^64 divided by the golden ratio.
        let mixed = self.first ^ self.last.rotate_left(31) ^ (self.tag as u64).rotate_left(47);
        let hash = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let top = hash >> (u64::BITS - SLOTS.trailing_zeros());
        #[expect(clippy::cast_possible_truncation, reason = "only the bits of a slot are left")]
        let slot = top as usize;
        slot % SLOTS
    }

    #[inline]
    const fn equals(self, other: Word) -> bool {
        self.first == other.first && self.last == other.last && self.tag == other.tag
    }
}

/// Eight bytes as a number; the caller has checked that there are so many.
const fn eight(bytes: Option<&[u8; 8]>) -> u64 {
    match bytes {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// Four bytes as a number.
const fn four(bytes: Option<&[u8; 4]>) -> u64 {
    match bytes {
        Some(bytes) => u32::from_le_bytes(*bytes) as u64,
        None => 0,
    }
}

/// Eight bytes with every `A`–`Z` made lower-case.
#[inline]
const fn lower(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    // Per byte, without carries: the high bit of the sum says whether the low seven bits reach a
    // bound.
    let low = bytes & !HIGH;
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let above_z = low + (0x7F - b'Z' as u64) * ONES;
    let upper = from_a & !above_z & !bytes & HIGH;
    bytes | upper >> 2
}

/// A row's word and number.
#[derive(Clone, Copy)]
struct Slot {
    word: Word,
    /// The row; [`Name::COUNT`] in an empty slot.
    row: usize,
}

/// The table; collisions go to the next slot.
static INDEX: [Slot; SLOTS] = INDEX_BUILT;
const INDEX_BUILT: [Slot; SLOTS] = build();

/// Fills the table from the names. A subcommand's container is the nearest name without `|` before
/// it.
const fn build() -> [Slot; SLOTS] {
    let empty = Slot { word: Word { first: 0, last: 0, tag: 0 }, row: Name::COUNT };
    let mut index = [empty; SLOTS];
    let mut container = Name::ALL[0];
    let mut row = 0;
    while row < Name::COUNT {
        let (of, bytes) = match Name::ALL[row].subcommand() {
            Some(word) => (Some(container), word.as_bytes()),
            None => {
                container = Name::ALL[row];
                (None, container.full_name().as_bytes())
            }
        };
        let Some(word) = Word::new(bytes, of) else { panic!("a name is too long or too short") };
        let mut at = word.home();
        while index[at].row < Name::COUNT {
            assert!(!index[at].word.equals(word), "two rows share a name");
            at = (at + 1) % SLOTS;
        }
        index[at] = Slot { word, row };
        row += 1;
    }
    index
}

/// The row of a word, in any case of letters: of a command, or of a subcommand of `container`.
#[inline]
pub(super) fn find(bytes: &[u8], container: Option<Name>) -> Option<usize> {
    let word = Word::new(bytes, container)?;
    let mut at = word.home();
    loop {
        let slot = &INDEX[at];
        if slot.row == Name::COUNT {
            return None;
        }
        if slot.word.equals(word) {
            return Some(slot.row);
        }
        at = (at + 1) % SLOTS;
    }
}

/// The words of the commands, by row; those of subcommands are empty.
static WORDS: [Word; Name::COUNT] = {
    let mut words = [Word { first: 0, last: 0, tag: 0 }; Name::COUNT];
    let mut slot = 0;
    while slot < SLOTS {
        let Slot { word, row } = INDEX_BUILT[slot];
        if row < Name::COUNT && word.tag >> 8 == 0 {
            words[row] = word;
        }
        slot += 1;
    }
    words
};

/// Whether these bytes are the word of a command that is no subcommand, in any case of letters.
#[inline]
pub(super) fn is(bytes: &[u8], name: Name) -> bool {
    Word::new(bytes, None).is_some_and(|word| word.equals(WORDS[name.index()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ascii_capitals_are_made_lower_case() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = [b'Z'; 8];
                bytes[place] = byte;
                let expected = bytes.map(|byte| byte.to_ascii_lowercase());
                assert_eq!(lower(u64::from_le_bytes(bytes)).to_le_bytes(), expected);
            }
        }
    }

    #[test]
    fn probes_are_short() {
        let longest = (0..SLOTS).map(|from| {
            (0..SLOTS).take_while(|i| INDEX[(from + i) % SLOTS].row < Name::COUNT).count()
        });
        assert!(longest.max().is_some_and(|run| run <= 12));
    }
}
