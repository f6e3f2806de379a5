//! The arguments of a command as a tree, read from one line of text; COMMAND DOCS shows it.
//!
//! | text | meaning |
//! |---|---|
//! | `word` | an argument; its type follows from its name, or from a suffix `word:key` |
//! | `WORD` and the signs `*` `=` `~` `$` | a token; the arguments after it belong to it |
//! | `[x]` | may be left out |
//! | `<x \| y>`, `[x \| y]` | one of them |
//! | `x [x ...]`, `x y [x y ...]` | one or more times |

use std::borrow::Cow;

/// The kind of an argument, Redis's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text of the client.
    Value(&'static str),
    /// A token with nothing after it.
    PureToken,
    /// Exactly one of the inner arguments.
    OneOf,
    /// All inner arguments.
    Block,
}

impl Kind {
    /// The name of the type.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Value(name) => name,
            Kind::PureToken => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }
}

/// An argument, or several together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    /// The token that stands before it.
    pub(super) token: Option<&'static str>,
    pub(super) optional: bool,
    pub(super) multiple: bool,
    pub(super) inner: Vec<Argument>,
}

impl Argument {
    fn new(name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        let name = name.into();
        Argument { name, kind, token: None, optional: false, multiple: false, inner: Vec::new() }
    }

    /// The argument of this word.
    fn value(word: &'static str) -> Self {
        match word.rsplit_once(':') {
            Some((name, "key")) => Argument::new(name, Kind::Value("key")),
            Some((name, "integer")) => Argument::new(name, Kind::Value("integer")),
            Some((name, "double")) => Argument::new(name, Kind::Value("double")),
            _ => Argument::new(word, Kind::Value(type_of(word))),
        }
    }

    /// The token of this word; the arguments in `inner` belong to it.
    fn token(word: &'static str, inner: Vec<Argument>) -> Self {
        let mut argument = if inner.is_empty() {
            Argument::new(token_name(word), Kind::PureToken)
        } else {
            let name = token_name(word);
            together(inner, |_| name)
        };
        argument.token = Some(word);
        argument
    }
}

/// The tree of a grammar.
pub(super) fn parse(grammar: &'static str) -> Vec<Argument> {
    let mut parser = Parser { words: words(grammar), at: 0 };
    let arguments = parser.sequence();
    debug_assert!(parser.at == parser.words.len(), "unbalanced grammar: {grammar}");
    arguments
}

/// Splits a grammar into words and brackets.
fn words(grammar: &'static str) -> Vec<&'static str> {
    const BRACKETS: [char; 5] = ['[', ']', '<', '>', '|'];
    let pieces = grammar.split_inclusive(' ').flat_map(|word| word.split_inclusive(BRACKETS));
    pieces
        .flat_map(|piece| {
            let piece = piece.trim_end();
            let cut = piece.len() - usize::from(piece.ends_with(BRACKETS));
            [&piece[..cut], &piece[cut..]]
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// A recursive-descent parser; grammars are our own and nest a few levels.
struct Parser {
    words: Vec<&'static str>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&'static str> {
        self.words.get(self.at).copied()
    }

    /// Arguments up to a closing bracket, a `|`, or the end.
    fn sequence(&mut self) -> Vec<Argument> {
        let mut arguments = Vec::new();
        while let Some(word) = self.peek() {
            if matches!(word, "]" | ">" | "|") {
                break;
            }
            if let Some(n) = self.repetition() {
                repeat_last(&mut arguments, n);
                continue;
            }
            self.at += 1;
            arguments.push(match word {
                "[" => Argument { optional: true, ..self.choice() },
                "<" => self.choice(),
                _ if is_token(word) => {
                    let inner = self.belonging();
                    Argument::token(word, inner)
                }
                _ => Argument::value(word),
            });
        }
        arguments
    }

    /// The arguments that belong to a token: those after it that must be there.
    fn belonging(&mut self) -> Vec<Argument> {
        let mut arguments = Vec::new();
        while let Some(word) = self.peek() {
            if let Some(n) = self.repetition().filter(|_| !arguments.is_empty()) {
                repeat_last(&mut arguments, n);
                continue;
            }
            match word {
                "[" | "]" | ">" | "|" => break,
                _ if is_token(word) => break,
                _ => self.at += 1,
            }
            arguments.push(if word == "<" { self.choice() } else { Argument::value(word) });
        }
        arguments
    }

    /// What is in a bracket that was just opened, and the closing bracket.
    fn choice(&mut self) -> Argument {
        let mut alternatives = Vec::new();
        loop {
            alternatives
                .push(together(self.sequence(), |inner| format!("{}-block", inner[0].name).into()));
            self.at += 1;
            if self.words[self.at - 1] != "|" {
                break;
            }
        }
        if alternatives.len() == 1 {
            return alternatives.remove(0);
        }
        let name =
            format!("{}-or-{}", alternatives[0].name, alternatives[alternatives.len() - 1].name);
        Argument { inner: alternatives, ..Argument::new(name, Kind::OneOf) }
    }

    /// Takes `[x y ...]`; says how many arguments it repeats.
    fn repetition(&mut self) -> Option<usize> {
        let inner = self.words[self.at..].strip_prefix(&["["])?;
        let n = inner.iter().position(|word| matches!(*word, "[" | "]" | "<" | "..."))?;
        if inner[n] != "..." {
            return None;
        }
        self.at += n + 3;
        Some(n)
    }
}

/// Several arguments as one; one stays as it is.
fn together(
    mut arguments: Vec<Argument>,
    name: impl FnOnce(&[Argument]) -> Cow<'static, str>,
) -> Argument {
    if arguments.len() == 1 {
        return arguments.remove(0);
    }
    let name = name(&arguments);
    Argument { inner: arguments, ..Argument::new(name, Kind::Block) }
}

/// Marks the last `n` arguments, as one, as repeated.
fn repeat_last(arguments: &mut Vec<Argument>, n: usize) {
    let repeated = arguments.split_off(arguments.len().saturating_sub(n));
    let repeated = together(repeated, |inner| {
        inner.iter().map(|argument| &*argument.name).collect::<Vec<_>>().join("-").into()
    });
    arguments.push(Argument { multiple: true, ..repeated });
}

/// Whether the word is typed as it stands.
fn is_token(word: &str) -> bool {
    matches!(word, "*" | "=" | "~" | "$") || word.starts_with(|c: char| c.is_ascii_uppercase())
}

/// The name of a token that is an argument of its own.
fn token_name(word: &'static str) -> Cow<'static, str> {
    match word {
        "*" => "auto-id".into(),
        "=" => "equal".into(),
        "~" => "approximately".into(),
        "$" => "new-id".into(),
        _ => word.to_ascii_lowercase().into(),
    }
}

/// The type of the argument of this name.
fn type_of(name: &str) -> &'static str {
    match name {
        "key" => "key",
        "pattern" => "pattern",
        "unix-time-seconds" | "unix-time-milliseconds" => "unix-time",
        "bits" | "client-id" | "count" | "cursor" | "db" | "decrement" | "destination-db"
        | "entries" | "entries-added" | "entries-read" | "frequency" | "increment" | "index"
        | "index1" | "index2" | "maxage" | "maxcount" | "maxsize" | "milliseconds" | "ms"
        | "numids" | "numlocal" | "numreplicas" | "seconds" | "timeout" | "ttl" | "version" => {
            "integer"
        }
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::TABLE;

    /// The tree as text: token, name or inner arguments, and the marks `?` and `+`.
    fn text(arguments: &[Argument]) -> String {
        let one = |argument: &Argument| {
            let token = argument.token.map(|token| format!("{token} ")).unwrap_or_default();
            let inner = text(&argument.inner);
            let body = match argument.kind {
                Kind::PureToken => String::new(),
                Kind::Value(_) => argument.name.to_string(),
                Kind::OneOf => format!("<{}>", inner.replace(", ", " | ")),
                Kind::Block => format!("({inner})"),
            };
            let optional = if argument.optional { "?" } else { "" };
            let multiple = if argument.multiple { "+" } else { "" };
            format!("{}{optional}{multiple}", format!("{token}{body}").trim_end())
        };
        arguments.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn grammars_become_trees() {
        for (grammar, tree) in [
            ("key id [id ...]", "key, id+"),
            ("key <* | id> field value [field value ...]", "key, <* | id>, (field, value)+"),
            (
                "[COUNT count] STREAMS key [key ...] id [id ...]",
                "COUNT count?, STREAMS (key+, id+)",
            ),
            ("GROUP group consumer [NOACK]", "GROUP (group, consumer), NOACK?"),
            (
                "[<MAXLEN | MINID> [= | ~] n [LIMIT count]]",
                "(<MAXLEN | MINID>, <= | ~>?, n, LIMIT count?)?",
            ),
            ("[IDMPAUTO pid | IDMP pid iid]", "<IDMPAUTO pid | IDMP (pid | iid)>?"),
            ("key [FULL [COUNT count]]", "key, (FULL, COUNT count?)?"),
            ("[[IDLE ms] start [consumer]]", "(IDLE ms?, start, consumer?)?"),
            ("[channel [channel ...]]", "channel?+"),
            ("TYPE <A | B> [ID client-id [client-id ...]]", "TYPE <A | B>, ID client-id?+"),
            ("IDS numids id [id ...] [FORCE]", "IDS (numids, id+), FORCE?"),
            ("", ""),
        ] {
            assert_eq!(text(&parse(grammar)), tree, "{grammar}");
        }
    }

    #[test]
    fn every_row_has_a_tree_with_its_keys() {
        fn keys(arguments: &[Argument]) -> usize {
            let own = arguments.iter().filter(|argument| argument.kind == Kind::Value("key"));
            own.count() + arguments.iter().map(|argument| keys(&argument.inner)).sum::<usize>()
        }
        for row in TABLE {
            let expected = if row.key_flags == ["not_key"] { 0 } else { row.key_flags.len() };
            assert_eq!(keys(&parse(row.grammar)), expected, "{}", row.full_name());
        }
    }
}
