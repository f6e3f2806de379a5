//! The rows of the string commands.

use super::{Keys, Name, Row, Scope};

const fn string(name: Name, arity: i32, flags: &str) -> Row {
    Row::new(name, arity, flags, "string", "string").on(Scope::Key)
}

/// A number that is changed in place.
const fn counter(name: Name, arity: i32) -> Row {
    string(name, arity, "write denyoom fast").keys(Keys::ONE, &["RW access update"])
}

/// A part of a string.
const fn range(name: Name) -> Row {
    string(name, 4, "readonly")
        .keys(Keys::ONE, &["RO access"])
        .args("key start:integer end:integer")
}

pub(super) const ROWS: &[Row] = &[
    string(Name::Append, 3, "write denyoom fast")
        .keys(Keys::ONE, &["RW insert"])
        .docs(
            "2.0.0",
            "O(N) with N bytes appended",
            "Appends to a string, which is created if it is missing.",
        )
        .args("key value"),
    counter(Name::Decr, 2).docs("1.0.0", "O(1)", "Takes one from a number.").args("key"),
    counter(Name::DecrBy, 3)
        .docs("1.0.0", "O(1)", "Takes an amount from a number.")
        .args("key decrement"),
    string(Name::DelEx, -2, "write fast")
        .keys(Keys::ONE, &["RW delete variable_flags"])
        .docs(
            "8.4.0",
            "O(1); O(N) with N bytes of the string for a digest",
            "Deletes a key if its string is the one that is given, or is not.",
        )
        .args(
            "key [IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest:integer | IFDNE \
            ifdne-digest:integer]",
        ),
    string(Name::Digest, 2, "readonly fast")
        .keys(Keys::ONE, &["RO access"])
        .docs("8.4.0", "O(N) with N bytes of the string", "Returns the digest of a string.")
        .args("key"),
    string(Name::Get, 2, "readonly fast")
        .keys(Keys::ONE, &["RO access"])
        .docs("1.0.0", "O(1)", "Returns a string.")
        .args("key"),
    string(Name::GetDel, 2, "write fast")
        .keys(Keys::ONE, &["RW access delete"])
        .docs("6.2.0", "O(1)", "Returns a string and deletes it.")
        .args("key"),
    string(Name::GetEx, -2, "write fast")
        .keys(Keys::ONE, &["RW access update"])
        .note("RW and UPDATE because it changes the TTL")
        .docs("6.2.0", "O(1)", "Returns a string and sets or removes its time to live.")
        .args(
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT \
            unix-time-milliseconds | PERSIST]",
        ),
    range(Name::GetRange).docs(
        "2.4.0",
        "O(N) with N bytes returned",
        "Returns a part of a string.",
    ),
    string(Name::GetSet, 3, "write denyoom fast")
        .keys(Keys::ONE, &["RW access update"])
        .docs("1.0.0", "O(1)", "Sets a string and returns the one before.")
        .args("key value")
        .deprecated("6.2.0", "`SET` with the `GET` argument"),
    counter(Name::Incr, 2).docs("1.0.0", "O(1)", "Adds one to a number.").args("key"),
    counter(Name::IncrBy, 3)
        .docs("1.0.0", "O(1)", "Adds an amount to a number.")
        .args("key increment"),
    counter(Name::IncrByFloat, 3)
        .docs("2.6.0", "O(1)", "Adds an amount to a number, both with or without a fraction.")
        .args("key increment:double"),
    string(Name::MGet, -2, "readonly fast")
        .keys(Keys::ALL, &["RO access"])
        .tips(&["request_policy:multi_shard"])
        .docs("1.0.0", "O(N) with N keys", "Returns several strings.")
        .args("key [key ...]"),
    string(Name::MSet, -3, "write denyoom")
        .keys(Keys::Range { first: 1, last: -1, step: 2 }, &["OW update"])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .docs("1.0.1", "O(N) with N keys", "Sets several strings.")
        .args("key value [key value ...]"),
    string(Name::MSetEx, -4, "write denyoom movablekeys")
        .keys(Keys::Counted { at: 1, step: 2 }, &["OW update"])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .docs("8.4.0", "O(N) with N keys", "Sets several strings with one time to live.")
        .args(
            "numkeys:integer key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | \
            EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        ),
    string(Name::MSetNx, -3, "write denyoom")
        .keys(Keys::Range { first: 1, last: -1, step: 2 }, &["OW insert"])
        .docs("1.0.1", "O(N) with N keys", "Sets several strings if none of the keys exists.")
        .args("key value [key value ...]"),
    string(Name::PSetEx, 4, "write denyoom")
        .keys(Keys::ONE, &["OW update"])
        .docs("2.6.0", "O(1)", "Sets a string with a time to live in milliseconds.")
        .args("key milliseconds value")
        .deprecated("2.6.12", "`SET` with the `PX` argument"),
    string(Name::Set, -3, "write denyoom")
        .keys(Keys::ONE, &["RW access update variable_flags"])
        .note("RW and ACCESS due to the optional `GET` argument")
        .docs("1.0.0", "O(1)", "Sets a string, whatever the key held.")
        .args(
            "key value [NX | XX | IFEQ ifeq-value | IFNE ifne-value | IFDEQ \
            ifdeq-digest:integer | IFDNE ifdne-digest:integer] [GET] [EX seconds | PX \
            milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        )
        .history(&[
            ("2.6.12", "The options EX, PX, NX, and XX."),
            ("6.0.0", "The option KEEPTTL."),
            ("6.2.0", "The options GET, EXAT, and PXAT."),
            ("7.0.0", "NX and GET together."),
            ("8.4.0", "The options IFEQ, IFNE, IFDEQ, and IFDNE."),
        ]),
    string(Name::SetEx, 4, "write denyoom")
        .keys(Keys::ONE, &["OW update"])
        .docs("2.0.0", "O(1)", "Sets a string with a time to live in seconds.")
        .args("key seconds value")
        .deprecated("2.6.12", "`SET` with the `EX` argument"),
    string(Name::SetNx, 3, "write denyoom fast")
        .keys(Keys::ONE, &["OW insert"])
        .docs("1.0.0", "O(1)", "Sets a string if the key is missing.")
        .args("key value")
        .deprecated("2.6.12", "`SET` with the `NX` argument"),
    string(Name::SetRange, 4, "write denyoom")
        .keys(Keys::ONE, &["RW update"])
        .docs("2.2.0", "O(N) with N bytes of the string", "Writes over a part of a string.")
        .args("key offset:integer value"),
    string(Name::StrLen, 2, "readonly fast")
        .keys(Keys::ONE, &["RO"])
        .docs("2.2.0", "O(1)", "Tells the length of a string in bytes.")
        .args("key"),
    range(Name::SubStr)
        .docs("1.0.0", "O(N) with N bytes returned", "Returns a part of a string.")
        .deprecated("2.0.0", "`GETRANGE`"),
];
