//! The differences that are meant, each with its reason.

use crate::commands::{Version, Words};
use crate::frame::Frame;

/// Fields of XINFO and HELLO that later versions have added, and which did so first.
pub(crate) const LATER_FIELDS: [(&str, Version); 12] = [
    ("active-time", 702),
    ("inactive", 702),
    ("idmp-duration", 806),
    ("idmp-maxsize", 806),
    ("pids-tracked", 806),
    ("iids-tracked", 806),
    ("iids-added", 806),
    ("iids-duplicates", 806),
    ("nacked-count", 808),
    ("nacked", 808),
    ("nacks", 808),
    ("nacked-pending", 808),
];

/// Why this difference is accepted, if it is.
pub(crate) fn reason(
    version: Version,
    words: &Words,
    theirs: &Frame,
    ours: &Frame,
) -> Option<&'static str> {
    let word = |n: usize| words.get(n).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    if word(0) == b"COMMAND" && word(2).starts_with(b"XREAD") && !theirs.is_error() {
        return ours.is_error().then_some("the first word STREAMS is not always the keyword");
    }
    if word(0) == b"DBSIZE" && theirs.to_string().starts_with(':') && !ours.is_error() {
        return Some("a key whose time is over counts until its server finds it");
    }
    if word(1) == b"HELP" && !theirs.is_error() && !ours.is_error() {
        return Some("the help is in our own words");
    }
    if word(0) == b"OBJECT" && theirs.to_string() == "$raw" {
        return Some("Redis leaves a string raw that was appended to; ours goes by its bytes");
    }
    if word(0) == b"OBJECT" && word(1) == b"REFCOUNT" && theirs.to_string() == ":2" {
        return Some("Redis's queue of a transaction shares the value");
    }
    if word(0) == b"XINFO" && theirs.to_string().contains("$lag :-") {
        return Some("Redis counts entries as read that were never added, and lag goes below zero");
    }
    if version < 806 && theirs.to_string().starts_with(&format!("{ours}, with args beginning")) {
        return Some("an unknown command without arguments, before Redis 8.6");
    }
    if version < 702 && theirs.to_string().starts_with("-ERR Unbalanced XREAD list of streams") {
        return Some("a text that was another before Redis 7.2");
    }
    let of_consumers = [&b"GROUPS"[..], b"CONSUMERS", b"STREAM", b"CREATECONSUMER"];
    if version < 702 && !theirs.is_error() && of_consumers.contains(&&word(1)[..]) {
        return Some("before Redis 7.2 a consumer began with its first entry");
    }
    None
}
