//! Sets of words in a number: a command's flags and its ACL categories. They are written as text,
//! `"write denyoom fast"`, and become bits when the program is compiled; an unknown word does not
//! compile.

use std::fmt;

/// The bits of the words in `text`, which are separated by single spaces; bit `i` is `words[i]`.
///
/// # Panics
/// For a word that is not among them. All uses are in constants, so that is at compile time.
const fn bits(text: &str, words: &[&str]) -> u32 {
    let text = text.as_bytes();
    let mut bits = 0;
    let mut from = 0;
    while from < text.len() {
        let mut to = from;
        while to < text.len() && text[to] != b' ' {
            to += 1;
        }
        let mut i = 0;
        while !same(text, from, to, words[i].as_bytes()) {
            i += 1;
        }
        bits |= 1 << i;
        from = to + 1;
    }
    bits
}

/// Whether `text[from..to]` is `word`.
const fn same(text: &[u8], from: usize, to: usize, word: &[u8]) -> bool {
    if to - from != word.len() {
        return false;
    }
    let mut i = 0;
    while i < word.len() {
        if text[from + i] != word[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Defines a set over a list of words.
macro_rules! word_set {
    ($(#[$doc:meta])* $set:ident, $words:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $set(u32);

        impl $set {
            /// The set of the words in `text`, separated by single spaces.
            ///
            /// # Panics
            /// For an unknown word; in a constant that is an error of the compiler.
            pub const fn of(text: &str) -> Self {
                $set(bits(text, $words))
            }

            /// Both sets together.
            pub const fn with(self, other: Self) -> Self {
                $set(self.0 | other.0)
            }

            /// Whether this set has every word of `other`.
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The words, in Redis's order.
            pub fn words(self) -> impl Iterator<Item = &'static str> + Clone {
                let set = self.0;
                let bits = $words.iter().enumerate();
                bits.filter(move |(i, _)| (set >> i) & 1 == 1).map(|(_, word)| *word)
            }
        }

        impl fmt::Debug for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.words()).finish()
            }
        }
    };
}

/// Redis's names of the flags, in the order of COMMAND INFO. The last two it never shows.
const FLAG_WORDS: &[&str] = &[
    "write",
    "readonly",
    "denyoom",
    "module",
    "admin",
    "pubsub",
    "noscript",
    "blocking",
    "loading",
    "stale",
    "skip_monitor",
    "skip_slowlog",
    "asking",
    "fast",
    "no_auth",
    "no_async_loading",
    "no_multi",
    "movablekeys",
    "allow_busy",
    "may_replicate",
    "protected",
];

/// The ACL categories, in the order of ACL CAT.
const CATEGORY_WORDS: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

word_set! {
    /// What the server may assume of a command, or must do before it runs.
    Flags, FLAG_WORDS
}

word_set! {
    /// The ACL categories a command is in.
    Categories, CATEGORY_WORDS
}

impl Flags {
    /// None.
    pub const NONE: Flags = Flags::of("");
    /// May change data.
    pub const WRITE: Flags = Flags::of("write");
    /// Reads data.
    pub const READONLY: Flags = Flags::of("readonly");
    /// May grow the data: refused when the memory limit is reached.
    pub const DENYOOM: Flags = Flags::of("denyoom");
    /// For administrators.
    pub const ADMIN: Flags = Flags::of("admin");
    /// About channels.
    pub const PUBSUB: Flags = Flags::of("pubsub");
    /// Not for scripts.
    pub const NOSCRIPT: Flags = Flags::of("noscript");
    /// May wait for data.
    pub const BLOCKING: Flags = Flags::of("blocking");
    /// Allowed while the data is being loaded.
    pub const LOADING: Flags = Flags::of("loading");
    /// Allowed on a replica that lost its master.
    pub const STALE: Flags = Flags::of("stale");
    /// Not written to the slow log.
    pub const SKIP_SLOWLOG: Flags = Flags::of("skip_slowlog");
    /// Takes little and bounded time.
    pub const FAST: Flags = Flags::of("fast");
    /// Allowed before authentication.
    pub const NO_AUTH: Flags = Flags::of("no_auth");
    /// Refused in a transaction.
    pub const NO_MULTI: Flags = Flags::of("no_multi");
    /// Allowed while a script runs for long.
    pub const ALLOW_BUSY: Flags = Flags::of("allow_busy");
    /// May be propagated though it is no write: delayed by `CLIENT PAUSE WRITE`.
    pub const MAY_REPLICATE: Flags = Flags::of("may_replicate");
    /// Needs permission of the configuration, as DEBUG does.
    pub const PROTECTED: Flags = Flags::of("protected");

    /// The words COMMAND INFO shows.
    pub fn shown(self) -> impl Iterator<Item = &'static str> + Clone {
        let hidden = Flags::PROTECTED.with(Flags::MAY_REPLICATE);
        Flags(self.0 & !hidden.0).words()
    }
}

impl Categories {
    /// The category of this name.
    pub fn find(name: &[u8]) -> Option<Categories> {
        let bit = CATEGORY_WORDS.iter().position(|word| name.eq_ignore_ascii_case(word.as_bytes()));
        bit.map(|bit| Categories(1 << bit))
    }

    /// The names of all, in Redis's order.
    pub fn all() -> &'static [&'static str] {
        CATEGORY_WORDS
    }

    /// Whether the two have a category in common.
    pub const fn meets(self, other: Categories) -> bool {
        self.0 & other.0 != 0
    }
}
