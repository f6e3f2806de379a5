//! The table of commands: what each is called, how many arguments it takes, what the server may
//! assume of it, and where its keys are. Everything that must know a command's nature before it
//! runs, and COMMAND itself, reads it here; nothing else repeats it.
//!
//! The rows stand in `table/*.rs` by family and are put together when the program is compiled.
//! Invariants, checked then: row `i` is that of the name with number `i`, and the subcommands of a
//! container directly follow it.
//!
//! Arities, flags, and key specifications are those of Redis 8.10.

mod admin;
mod connection;
mod index;
mod keys;
mod name;
mod streams;
mod strings;
#[cfg(test)]
mod tests;
mod words;

pub use name::Name;
pub use words::{Categories, Flags};

use crate::command::args::{Request, integer, is_word};
use crate::error::CommandError;

/// Where a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// On the shard or the shards of its keys.
    Key,
    /// On a whole database, or on the server.
    Database,
    /// In the client's connection.
    Connection,
}

/// Where the keys of a command are among its arguments; the name of the command is argument 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// It has none.
    None,
    /// Every `step`-th argument from `first` to `last`; a negative `last` counts from the end.
    Range {
        /// The first key.
        first: usize,
        /// The last key; -1 is the last argument.
        last: isize,
        /// From one key to the next.
        step: usize,
    },
    /// As many as this argument says, behind it.
    Counted {
        /// The argument with the number.
        at: usize,
        /// From one key to the next.
        step: usize,
    },
    /// The first half of what follows the word STREAMS, which is not before this argument.
    Streams {
        /// Where Redis's key specification says to look for it.
        from: usize,
    },
}

impl Keys {
    /// The first argument.
    const ONE: Keys = Keys::Range { first: 1, last: 1, step: 1 };
    /// The first two arguments.
    const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };
    /// All arguments.
    const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };
    /// The first argument of a subcommand.
    const SUB: Keys = Keys::Range { first: 2, last: 2, step: 1 };
}

/// A command or a subcommand.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which.
    pub name: Name,
    /// How many arguments it takes, its names included; negative: at least so many.
    pub arity: i32,
    /// What may be assumed of it.
    pub flags: Flags,
    /// Where it runs.
    pub scope: Scope,
    /// Where its keys are.
    pub keys: Keys,
    /// The container it is a subcommand of.
    pub container: Option<Name>,
    /// For a container: how many of the rows after it are its subcommands.
    pub subcommands: usize,
    /// The ACL categories that do not follow from the flags.
    pub listed: Categories,
    /// What it does to its keys, in Redis's words: one text for all keys, or one a key.
    pub key_flags: &'static [&'static str],
    /// A remark on the keys.
    pub key_note: &'static str,
    /// Hints for clients.
    pub tips: &'static [&'static str],
    /// Redis's group of commands.
    pub group: &'static str,
    /// The Redis version that brought it.
    pub since: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// How its time grows.
    pub complexity: &'static str,
    /// Its arguments, without its name, in the notation of `docs/grammar.rs`.
    pub grammar: &'static str,
    /// What later versions changed: version and text.
    pub history: &'static [(&'static str, &'static str)],
    /// If it is deprecated: since which version, and what replaces it.
    pub deprecated: Option<(&'static str, &'static str)>,
}

impl Row {
    /// A row of a group; `listed` are ACL categories.
    const fn new(name: Name, arity: i32, flags: &str, group: &'static str, listed: &str) -> Row {
        Row {
            name,
            arity,
            flags: Flags::of(flags),
            scope: Scope::Connection,
            keys: Keys::None,
            container: None,
            subcommands: 0,
            listed: Categories::of(listed),
            key_flags: &[],
            key_note: "",
            tips: &[],
            group,
            since: "",
            summary: "",
            complexity: "O(1)",
            grammar: "",
            history: &[],
            deprecated: None,
        }
    }

    /// A command that only holds subcommands.
    const fn of_subcommands(
        name: Name,
        group: &'static str,
        since: &'static str,
        summary: &'static str,
    ) -> Row {
        Row::new(name, -2, "", group, "").docs(since, "That of the subcommand", summary)
    }

    /// The subcommand HELP.
    const fn help(name: Name, group: &'static str, listed: &str, since: &'static str) -> Row {
        let row = Row::new(name, 2, "loading stale", group, listed);
        row.docs(since, "O(1)", "Lists the subcommands and what they do.")
    }

    const fn on(mut self, scope: Scope) -> Row {
        self.scope = scope;
        self
    }

    const fn keys(mut self, keys: Keys, flags: &'static [&'static str]) -> Row {
        self.keys = keys;
        self.key_flags = flags;
        self
    }

    const fn note(mut self, note: &'static str) -> Row {
        self.key_note = note;
        self
    }

    const fn tips(mut self, tips: &'static [&'static str]) -> Row {
        self.tips = tips;
        self
    }

    const fn also(mut self, listed: &str) -> Row {
        self.listed = self.listed.with(Categories::of(listed));
        self
    }

    const fn docs(
        mut self,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
    ) -> Row {
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }

    const fn args(mut self, grammar: &'static str) -> Row {
        self.grammar = grammar;
        self
    }

    const fn history(mut self, history: &'static [(&'static str, &'static str)]) -> Row {
        self.history = history;
        self
    }

    const fn deprecated(mut self, since: &'static str, replacement: &'static str) -> Row {
        self.deprecated = Some((since, replacement));
        self
    }

    /// The lower-case name; for a subcommand `xgroup|create`.
    pub fn full_name(&self) -> &'static str {
        self.name.full_name()
    }

    /// The rows of a container's subcommands.
    pub fn subcommands(&self) -> &'static [Row] {
        let first = self.name.index() + 1;
        &TABLE[first..first + self.subcommands]
    }

    /// Whether it is some container's HELP, which `docs::help` answers.
    pub fn is_help(&self) -> bool {
        self.name.subcommand() == Some("help")
    }

    /// Whether the number of arguments, names included, is right.
    pub fn accepts(&self, arguments: usize) -> bool {
        let needed = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        if self.arity < 0 { arguments >= needed } else { arguments == needed }
    }

    /// Whether a request is this command, which is no container and in none, with a number of
    /// arguments that is right. False does not say that it is another.
    #[inline]
    pub fn is_called(&self, request: &Request<'_>) -> bool {
        self.subcommands == 0 && self.accepts(request.len()) && index::is(request.arg(0), self.name)
    }

    /// Its ACL categories: the listed ones and those that follow from its flags.
    pub fn categories(&self) -> Categories {
        const IMPLIED: [(Flags, Categories); 6] = [
            (Flags::WRITE, Categories::of("write")),
            (Flags::READONLY, Categories::of("read")),
            (Flags::ADMIN, Categories::of("admin dangerous")),
            (Flags::PUBSUB, Categories::of("pubsub")),
            (Flags::FAST, Categories::of("fast")),
            (Flags::BLOCKING, Categories::of("blocking")),
        ];
        let slow = Categories::of("slow");
        let speed = if self.flags.has(Flags::FAST) { self.listed } else { self.listed.with(slow) };
        IMPLIED.iter().fold(
            speed,
            |all, (flag, implied)| {
                if self.flags.has(*flag) { all.with(*implied) } else { all }
            },
        )
    }
}

/// The rows of all families, in the order of [`Name`].
pub static TABLE: &[Row] = &ROWS;

static ROWS: [Row; Name::COUNT] =
    assemble(&[streams::ROWS, keys::ROWS, strings::ROWS, connection::ROWS, admin::ROWS]);

/// Puts the families together and links subcommands with their containers.
const fn assemble(families: &[&[Row]]) -> [Row; Name::COUNT] {
    let mut rows = [families[0][0]; Name::COUNT];
    let mut container = 0;
    let mut n = 0;
    let mut family = 0;
    while family < families.len() {
        let mut i = 0;
        while i < families[family].len() {
            rows[n] = families[family][i];
            assert!(rows[n].name.index() == n, "a row is not in the order of the names");
            if rows[n].name.subcommand().is_some() {
                rows[n].container = Some(rows[container].name);
                rows[container].subcommands += 1;
            } else {
                container = n;
            }
            i += 1;
            n += 1;
        }
        family += 1;
    }
    assert!(n == Name::COUNT, "a name has no row");
    rows
}

/// The row of a name. **Cost**: an array access.
pub fn row(name: Name) -> &'static Row {
    &ROWS[name.index()]
}

/// The row of a command, or with `container|subcommand` of a subcommand, in any case of letters.
pub fn find(full_name: &[u8]) -> Option<&'static Row> {
    let mut words = full_name.splitn(2, |byte| *byte == b'|');
    let command = &ROWS[index::find(words.next()?, None)?];
    let Some(word) = words.next() else { return Some(command) };
    Some(&ROWS[index::find(word, Some(command.name))?])
}

/// The row of a request by its first argument, and by the second if that is a container; the
/// number of arguments is right. **Cost**: a few nanoseconds, no allocation but for an error.
///
/// # Errors
/// Unknown command, unknown subcommand, wrong number of arguments: Redis's texts, in this order.
#[inline]
pub fn lookup(request: &Request<'_>) -> Result<&'static Row, CommandError> {
    let row = named(request)?;
    if row.accepts(request.len()) { Ok(row) } else { Err(CommandError::arity(row.full_name())) }
}

/// [`lookup`] for any number of arguments.
///
/// # Errors
/// Unknown command, unknown subcommand.
#[inline]
pub fn named(request: &Request<'_>) -> Result<&'static Row, CommandError> {
    let Some(found) = index::find(request.arg(0), None) else { return Err(unknown(request)) };
    let row = &ROWS[found];
    if row.subcommands > 0
        && let Some(word) = request.get(1)
    {
        return match index::find(word, Some(row.name)) {
            Some(found) => Ok(&ROWS[found]),
            None => Err(unknown_subcommand(row.name, word)),
        };
    }
    Ok(row)
}

/// The longest part of a name or of the arguments that an error repeats, in bytes.
const QUOTED_MAX: usize = 128;

/// The refusal of a command that is not in the table.
#[cold]
fn unknown(request: &Request<'_>) -> CommandError {
    let name = quoted(request.arg(0), QUOTED_MAX);
    let error = CommandError::quoting("ERR unknown command '{}'", &[name]);
    if request.len() == 1 {
        return error;
    }
    let mut text = error.wire().into_owned();
    text.extend_from_slice(b", with args beginning with: ");
    let mut used = 0;
    for arg in request.from(1) {
        if used >= QUOTED_MAX {
            break;
        }
        let arg = quoted(arg, QUOTED_MAX - used);
        text.extend([b"'", arg, b"' "].concat());
        used += arg.len() + 3;
    }
    CommandError::composed(text)
}

/// The refusal of a word that is no subcommand of this container.
#[cold]
fn unknown_subcommand(container: Name, word: &[u8]) -> CommandError {
    let container = container.full_name().to_ascii_uppercase();
    let text = "ERR unknown subcommand '{}'. Try {} HELP.";
    CommandError::quoting(text, &[quoted(word, QUOTED_MAX), container.as_bytes()])
}

/// What an error repeats of an argument. Redis: a C string of limited length, so it ends at a NUL.
fn quoted(bytes: &[u8], max: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(max)];
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The arguments of a request that are keys, in order: their indexes.
#[derive(Debug, Clone)]
pub struct KeyIndexes {
    next: usize,
    /// One more than the last that may be a key.
    end: usize,
    step: usize,
}

impl Iterator for KeyIndexes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.next >= self.end {
            return None;
        }
        let index = self.next;
        self.next += self.step;
        Some(index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.end.saturating_sub(self.next).div_ceil(self.step);
        (n, Some(n))
    }
}

impl ExactSizeIterator for KeyIndexes {}

/// Where the keys are in a request of this row: exactly the arguments that the command will use as
/// keys. For routing, WATCH, access control, and COMMAND GETKEYS. **Cost**: no allocation.
///
/// # Errors
/// The keys cannot be told. The command will refuse such a request for its syntax, so it may be
/// run anywhere; the error is the one of COMMAND GETKEYS.
#[inline]
pub fn keys(row: &Row, request: &Request<'_>) -> Result<KeyIndexes, CommandError> {
    match row.keys {
        Keys::None => Ok(KeyIndexes { next: 0, end: 0, step: 1 }),
        Keys::Range { first, last, step } => {
            let end = match usize::try_from(last) {
                Ok(last) => last + 1,
                Err(_) => (request.len() + 1).saturating_sub(last.unsigned_abs()),
            };
            let end = end.min(request.len());
            Ok(KeyIndexes { next: first, end, step })
        }
        Keys::Streams { .. } => stream_keys(request),
        Keys::Counted { at, step } => {
            let count = integer(request.arg(at)).ok().and_then(|count| usize::try_from(count).ok());
            let count = count.filter(|count| *count > 0 && count / 2 < request.len());
            let end = count.map(|count| at + 1 + (count - 1) * step + 1);
            let end = end.filter(|end| *end <= request.len()).ok_or(INVALID_KEYS)?;
            Ok(KeyIndexes { next: at + 1, end, step })
        }
    }
}

/// The keys of XREAD and XREADGROUP: the first half of what follows the first STREAMS that stands
/// where an option may stand, for `STREAMS` may be a group's name or a key as well. One that is
/// left over belongs to no half; the command will refuse it.
fn stream_keys(request: &Request<'_>) -> Result<KeyIndexes, CommandError> {
    /// Each option and how many values follow it.
    const OPTIONS: [(&str, usize); 7] = [
        ("COUNT", 1),
        ("BLOCK", 1),
        ("GROUP", 2),
        ("NOACK", 0),
        ("CLAIM", 1),
        ("MAXCOUNT", 1),
        ("MAXSIZE", 1),
    ];
    let mut at = 1;
    while let Some(word) = request.get(at) {
        if is_word(word, "STREAMS") {
            let rest = request.len() - at - 1;
            if rest < 2 {
                break;
            }
            return Ok(KeyIndexes { next: at + 1, end: at + 1 + rest / 2, step: 1 });
        }
        let Some((_, values)) = OPTIONS.iter().find(|(option, _)| is_word(word, option)) else {
            break;
        };
        at += 1 + values;
    }
    Err(INVALID_KEYS)
}

const INVALID_KEYS: CommandError =
    CommandError::Fixed("ERR Invalid arguments specified for command");
