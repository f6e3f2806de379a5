//! How the model reads numbers, entry IDs and range bounds.

use super::{Bytes, ID_MAX, Id};

pub(super) const INVALID_ID: &str = "ERR Invalid stream ID specified as stream command argument";
pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

pub(super) fn is_word(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

pub(super) fn lossy(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

/// A signed number: as it would be printed, or nothing.
pub(super) fn integer(word: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(word).ok()?;
    let value: i64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

pub(super) fn integer_or(word: &[u8], refusal: &str) -> Result<i64, String> {
    integer(word).ok_or_else(|| refusal.to_owned())
}

fn unsigned(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An ID; without a sequence number it gets this one.
pub(super) fn id_with(word: &[u8], missing_seq: u64) -> Result<Id, String> {
    let parse = || {
        if word.len() > 127 {
            return None;
        }
        match word.iter().position(|&byte| byte == b'-') {
            None => Some((unsigned(word)?, missing_seq)),
            Some(at) => Some((unsigned(&word[..at])?, unsigned(&word[at + 1..])?)),
        }
    };
    parse().ok_or_else(|| INVALID_ID.to_owned())
}

pub(super) fn strict_id(word: &[u8]) -> Result<Id, String> {
    id_with(word, 0)
}

pub(super) fn strict_ids(words: &[Bytes]) -> Result<Vec<Id>, String> {
    words.iter().map(|word| strict_id(word)).collect()
}

/// An ID, or `-` or `+`.
pub(super) fn loose_id(word: &[u8], missing_seq: u64) -> Result<Id, String> {
    match word {
        b"-" => Ok((0, 0)),
        b"+" => Ok(ID_MAX),
        word => id_with(word, missing_seq),
    }
}

pub(super) fn next(id: Id) -> Option<Id> {
    match id.1.checked_add(1) {
        Some(seq) => Some((id.0, seq)),
        None => Some((id.0.checked_add(1)?, 0)),
    }
}

pub(super) fn range_start(word: &[u8]) -> Result<Id, String> {
    match word.strip_prefix(b"(") {
        None => loose_id(word, 0),
        Some(rest) => {
            next(strict_id(rest)?).ok_or_else(|| "ERR invalid start ID for the interval".to_owned())
        }
    }
}

pub(super) fn range_end(word: &[u8]) -> Result<Id, String> {
    let Some(rest) = word.strip_prefix(b"(") else {
        return loose_id(word, u64::MAX);
    };
    match id_with(rest, u64::MAX)? {
        (0, 0) => Err("ERR invalid end ID for the interval".into()),
        (ms, 0) => Ok((ms - 1, u64::MAX)),
        (ms, seq) => Ok((ms, seq - 1)),
    }
}

pub(super) fn text(id: Id) -> Bytes {
    format!("{}-{}", id.0, id.1).into_bytes()
}

/// What to do with the references to what is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refs {
    Keep,
    Delete,
    Acked,
}

pub(super) fn refs(word: &[u8]) -> Option<Refs> {
    [("KEEPREF", Refs::Keep), ("DELREF", Refs::Delete), ("ACKED", Refs::Acked)]
        .into_iter()
        .find(|(name, _)| is_word(word, name))
        .map(|(_, refs)| refs)
}
