//! Tests of the command table.

use super::*;
use crate::stream::fields::Span;

/// Lends a request of these words.
fn with_request<T>(words: &[&str], then: impl FnOnce(&Request<'_>) -> T) -> T {
    let buffer = words.concat().into_bytes();
    let mut at = 0;
    let spans: Vec<Span> = words
        .iter()
        .map(|word| {
            let from = at;
            at += word.len();
            Span::new(from, at)
        })
        .collect();
    then(&Request::borrowed(&buffer, &spans))
}

/// The row of a request, or the text of its refusal.
fn looked_up(words: &[&str]) -> Result<Name, String> {
    with_request(words, |request| {
        lookup(request).map(|row| row.name).map_err(|error| error.to_string())
    })
}

/// The keys of a request, or nothing if they cannot be told.
fn key_words<'a>(words: &[&'a str]) -> Option<Vec<&'a str>> {
    with_request(words, |request| {
        let row = lookup(request).expect("a known command");
        let indexes = keys(row, request).ok()?;
        assert_eq!(indexes.len(), indexes.clone().count());
        Some(indexes.map(|index| words[index]).collect())
    })
}

/// stream-commands: name, version, arity, flags, first key, and what is done to it.
const STREAMS: &[(&str, &str, i32, &str, usize, &str)] = &[
    ("xack", "5.0.0", -4, "write fast", 1, "RW update"),
    ("xackdel", "8.2.0", -6, "write fast", 1, "RW update delete"),
    ("xadd", "5.0.0", -5, "write denyoom fast", 1, "RW update"),
    ("xautoclaim", "6.2.0", -6, "write fast", 1, "RW delete"),
    ("xcfgset", "8.6.0", -2, "write fast", 1, "RW update"),
    ("xclaim", "5.0.0", -6, "write fast", 1, "RW update"),
    ("xdel", "5.0.0", -3, "write fast", 1, "RW delete"),
    ("xdelex", "8.2.0", -5, "write fast", 1, "RW delete"),
    ("xgroup", "5.0.0", -2, "", 0, ""),
    ("xgroup|create", "5.0.0", -5, "write denyoom", 2, "RW insert"),
    ("xgroup|createconsumer", "6.2.0", 5, "write denyoom", 2, "RW insert"),
    ("xgroup|delconsumer", "5.0.0", 5, "write", 2, "RW delete"),
    ("xgroup|destroy", "5.0.0", 4, "write", 2, "RW delete"),
    ("xgroup|setid", "5.0.0", -5, "write", 2, "RW update"),
    ("xgroup|help", "5.0.0", 2, "loading stale", 0, ""),
    ("xidmprecord", "8.6.2", 5, "write denyoom fast", 1, "RW update"),
    ("xinfo", "5.0.0", -2, "", 0, ""),
    ("xinfo|consumers", "5.0.0", 4, "readonly", 2, "RO access"),
    ("xinfo|groups", "5.0.0", 3, "readonly", 2, "RO access"),
    ("xinfo|stream", "5.0.0", -3, "readonly", 2, "RO access"),
    ("xinfo|help", "5.0.0", 2, "loading stale", 0, ""),
    ("xlen", "5.0.0", 2, "readonly fast", 1, "RO"),
    ("xnack", "8.8.0", -7, "write fast", 1, "RW update"),
    ("xpending", "5.0.0", -3, "readonly", 1, "RO access"),
    ("xrange", "5.0.0", -4, "readonly", 1, "RO access"),
    ("xread", "5.0.0", -4, "readonly blocking movablekeys", 0, "RO access"),
    ("xreadgroup", "5.0.0", -7, "write blocking movablekeys", 0, "RO access"),
    ("xrevrange", "5.0.0", -4, "readonly", 1, "RO access"),
    ("xsetid", "5.0.0", -3, "write denyoom fast", 1, "RW update"),
    ("xtrim", "5.0.0", -4, "write", 1, "RW delete"),
];

#[test]
fn stream_rows_are_those_of_redis() {
    let rows: Vec<&Row> = TABLE.iter().filter(|row| row.group == "stream").collect();
    assert_eq!(rows.len(), STREAMS.len());
    for (row, &(name, since, arity, flags, first_key, key_flags)) in rows.iter().zip(STREAMS) {
        assert_eq!((row.full_name(), row.since, row.arity), (name, since, arity));
        assert_eq!(row.flags, Flags::of(flags), "{name}");
        let first = if let Keys::Range { first, .. } = row.keys { first } else { 0 };
        assert_eq!(first, first_key, "{name}");
        assert_eq!(row.key_flags.join(" "), key_flags, "{name}");
    }
    let of = |name| row(name).categories().words().collect::<Vec<_>>();
    assert_eq!(of(Name::XGroup), ["slow"]);
    assert_eq!(of(Name::XGroupHelp), ["stream", "slow"]);
    assert_eq!(of(Name::XReadGroup), ["write", "stream", "slow", "blocking"]);
    assert_eq!(of(Name::ClientKill), ["admin", "slow", "dangerous", "connection"]);
}

#[test]
fn every_name_is_found_in_any_case() {
    for row in TABLE {
        let name = row.full_name();
        let mixed: String = name
            .chars()
            .enumerate()
            .map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c })
            .collect();
        for text in [name, &name.to_uppercase(), &mixed] {
            assert_eq!(find(text.as_bytes()).map(|row| row.name), Some(row.name), "{text}");
        }
        let container = row.container.map(self::row);
        assert_eq!(container.is_some(), name.contains('|'), "{name}");
        if let Some(container) = container {
            assert!(name.starts_with(&format!("{}|", container.full_name())));
            assert!(container.subcommands().iter().any(|sub| sub.name == row.name));
        }
        assert!(!row.since.is_empty() && !row.summary.is_empty(), "{name} has no docs");
        assert_eq!(row.key_flags.is_empty(), row.keys == Keys::None, "{name}");
    }
}

#[test]
fn near_misses_are_unknown() {
    for text in ["", "x", "xad", "xaddd", "xadd\0", "[add", "x\u{c1}dd", "get\0", "create", "sub"] {
        assert!(find(text.as_bytes()).is_none(), "{text}");
    }
    for text in ["xgroup|", "xgroup|stream", "xinfo|create", "get|set", "xgroup|create|x", "|"] {
        assert!(find(text.as_bytes()).is_none(), "{text}");
    }
    assert!(find(&[b'a'; 1000]).is_none());
}

#[test]
fn refusals_have_the_texts_of_redis() {
    let long = "z".repeat(200);
    for (words, text) in [
        (&["NoSuch"][..], "ERR unknown command 'NoSuch'"),
        (&["x", "a", "b"], "ERR unknown command 'x', with args beginning with: 'a' 'b' "),
        (&["xgroup"], "ERR wrong number of arguments for 'xgroup' command"),
        (&["XGROUP", "Foo"], "ERR unknown subcommand 'Foo'. Try XGROUP HELP."),
        (&["xgroup", "Create", "k"], "ERR wrong number of arguments for 'xgroup|create' command"),
        (&["XLEN"], "ERR wrong number of arguments for 'xlen' command"),
        (&["XLEN", "a", "b"], "ERR wrong number of arguments for 'xlen' command"),
    ] {
        assert_eq!(looked_up(words), Err(text.to_owned()));
    }
    let text = looked_up(&[&long, &long, "a"]).expect_err("no such command");
    let z = "z".repeat(128);
    assert_eq!(text, format!("ERR unknown command '{z}', with args beginning with: '{z}' "));
    let text = looked_up(&["no", &"y".repeat(120), &long]).expect_err("no such command");
    assert!(text.ends_with(&format!("'{}' '{}' ", "y".repeat(120), "z".repeat(5))));
    assert_eq!(looked_up(&["command"]), Ok(Name::Command));
    assert_eq!(looked_up(&["COMMAND", "docs"]), Ok(Name::CommandDocs));
}

#[test]
fn keys_are_those_the_command_uses() {
    for (words, expected) in [
        (&["xadd", "k", "*", "f", "v"][..], &["k"][..]),
        (&["xgroup", "create", "k", "g", "$"], &["k"]),
        (&["copy", "a", "b", "REPLACE"], &["a", "b"]),
        (&["del", "a", "b", "a"], &["a", "b", "a"]),
        (&["mset", "a", "1", "b", "2"], &["a", "b"]),
        (&["msetex", "2", "a", "1", "b", "2", "NX"], &["a", "b"]),
        (&["ping"], &[]),
        (&["sunsubscribe"], &[]),
        (&["xread", "streams", "a", "b", "0", "$"], &["a", "b"]),
        (&["xread", "count", "1", "BLOCK", "0", "STREAMS", "streams", "0"], &["streams"]),
        (&["xread", "streams", "streams", "streams", "0", "0"], &["streams", "streams"]),
        (&["xread", "maxcount", "streams", "maxsize", "2", "streams", "k", "0"], &["k"]),
    ] {
        assert_eq!(key_words(words).as_deref(), Some(expected), "{words:?}");
    }
}

#[test]
fn keys_that_are_counted_wrong_are_none() {
    for count in ["0", "-1", "x", "3", "9223372036854775807"] {
        assert_eq!(key_words(&["msetex", count, "a", "1", "b", "2"]), None, "{count}");
    }
}

#[test]
fn keys_of_odd_xreadgroups_are_right() {
    let ok = |text: &'static str| key_words(&text.split(' ').collect::<Vec<_>>());
    assert_eq!(ok("xreadgroup GROUP STREAMS STREAMS STREAMS k >"), Some(vec!["k"]));
    assert_eq!(ok("xreadgroup GROUP STREAMS c NOACK STREAMS STREAMS >"), Some(vec!["STREAMS"]));
    assert_eq!(ok("xreadgroup claim streams group g c streams a b > >"), Some(vec!["a", "b"]));
    assert_eq!(ok("xreadgroup noack noack noack group g c streams a 0"), Some(vec!["a"]));
    assert_eq!(ok("xreadgroup GROUP g STREAMS a b 0 0 x"), None);
    assert_eq!(ok("xreadgroup GROUP g c STREAMS a b 0"), Some(vec!["a"]));
    assert_eq!(ok("xreadgroup GROUP g c COUNT 1 STREAMS"), None);
    assert_eq!(ok("xreadgroup GROUP g c COUNT 1 BLOCK"), None);
    assert_eq!(ok("xreadgroup GROUP g c FOO STREAMS a >"), None);
}
