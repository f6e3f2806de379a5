//! Classes of keyspace events, the value of `notify-keyspace-events`.
//!
//! | letter | class | letter | class |
//! |---|---|---|---|
//! | `K` | on `__keyspace@<db>__:<key>` | `E` | on `__keyevent@<db>__:<event>` |
//! | `g` | of any type (del, expire …) | `t` | streams |
//! | `$` `l` `s` `h` `z` `a` | strings, lists, sets, hashes, sorted sets, arrays | `d` | modules |
//! | `x` `e` | expired, evicted | `n` | a key was created |
//! | `m` | a key was missing | `o` `c` | a value was overwritten, its type changed |
//! | `A` | all of `g$lshzxetda` | | |

use std::fmt;
use std::ops::BitOr;

/// A set of classes of keyspace events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NotifyFlags(u32);

/// The letters in the order in which they are printed; the place of a letter is its bit.
const LETTERS: &[u8] = b"g$lshzxetdanocKEm";

impl NotifyFlags {
    /// Commands that are of no one type: DEL, EXPIRE, RENAME …
    pub const GENERIC: Self = Self(1);
    /// Strings.
    pub const STRING: Self = Self(1 << 1);
    /// A key expired.
    pub const EXPIRED: Self = Self(1 << 6);
    /// A key was evicted.
    pub const EVICTED: Self = Self(1 << 7);
    /// Streams.
    pub const STREAM: Self = Self(1 << 8);
    /// A key was created.
    pub const NEW: Self = Self(1 << 11);
    /// A value was replaced by another.
    pub const OVERWRITTEN: Self = Self(1 << 12);
    /// A value was replaced by one of another type.
    pub const TYPE_CHANGED: Self = Self(1 << 13);
    /// Publish on the channel of the key.
    pub const KEYSPACE: Self = Self(1 << 14);
    /// Publish on the channel of the event.
    pub const KEYEVENT: Self = Self(1 << 15);
    /// A key that was read does not exist.
    pub const KEY_MISS: Self = Self(1 << 16);
    /// What `A` stands for.
    pub const ALL: Self = Self((1 << 11) - 1);

    /// Reads letters, in any order and also repeated.
    pub fn parse(letters: &[u8]) -> Option<Self> {
        letters.iter().try_fold(Self::default(), |flags, letter| match letter {
            b'A' => Some(flags | Self::ALL),
            _ => {
                let bit = LETTERS.iter().position(|known| known == letter)?;
                Some(flags | Self(1 << bit))
            }
        })
    }

    /// Whether all of `flags` are in this set.
    pub fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether an event of `class` is to be published at all: the class is in the set, and `K` or
    /// `E` says where.
    pub fn wants(self, class: Self) -> bool {
        self.contains(class) && (self.contains(Self::KEYSPACE) || self.contains(Self::KEYEVENT))
    }
}

impl BitOr for NotifyFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        NotifyFlags(self.0 | other.0)
    }
}

impl fmt::Display for NotifyFlags {
    /// Redis's order: `A` or its letters, `noc`, then `KEm`.
    ///
    /// Differs from Redis: it leaves out `n`, `o` and `c` behind an `A`, so that CONFIG REWRITE
    /// would lose them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.contains(Self::ALL);
        if all {
            f.write_str("A")?;
        }
        for (bit, &letter) in LETTERS.iter().enumerate() {
            let flag = NotifyFlags(1 << bit);
            if self.contains(flag) && !(all && Self::ALL.contains(flag)) {
                write!(f, "{}", char::from(letter))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_printed_in_the_order_of_the_server() {
        for (given, printed) in [
            ("", ""),
            ("KEA", "AKE"),
            ("xtgKE", "gxtKE"),
            ("cotlsE", "lstocE"),
            ("tmdnocKE", "tdnocKEm"),
            ("AKEmn", "AnKEm"),
            ("Eg$lshzxetda", "AE"),
        ] {
            let flags = NotifyFlags::parse(given.as_bytes()).unwrap();
            assert_eq!(flags.to_string(), printed);
            assert_eq!(NotifyFlags::parse(printed.as_bytes()), Some(flags));
        }
        assert_eq!(NotifyFlags::parse(b"KEx!"), None);
    }

    #[test]
    fn the_named_classes_are_their_letters() {
        for (letter, flag) in [
            (b'g', NotifyFlags::GENERIC),
            (b'$', NotifyFlags::STRING),
            (b'x', NotifyFlags::EXPIRED),
            (b'e', NotifyFlags::EVICTED),
            (b't', NotifyFlags::STREAM),
            (b'n', NotifyFlags::NEW),
            (b'o', NotifyFlags::OVERWRITTEN),
            (b'c', NotifyFlags::TYPE_CHANGED),
            (b'K', NotifyFlags::KEYSPACE),
            (b'E', NotifyFlags::KEYEVENT),
            (b'm', NotifyFlags::KEY_MISS),
        ] {
            assert_eq!(NotifyFlags::parse(&[letter]), Some(flag));
        }
        assert!(!NotifyFlags::STREAM.wants(NotifyFlags::STREAM));
        assert!((NotifyFlags::STREAM | NotifyFlags::KEYEVENT).wants(NotifyFlags::STREAM));
        assert!(NotifyFlags::ALL.contains(NotifyFlags::STREAM));
        assert!(!NotifyFlags::ALL.contains(NotifyFlags::NEW));
    }
}
