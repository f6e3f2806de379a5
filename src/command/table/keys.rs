//! The rows of the commands about keys of any type, and about whole databases.

use super::{Keys, Name, Row, Scope};

const fn key(name: Name, arity: i32, flags: &str) -> Row {
    Row::new(name, arity, flags, "generic", "keyspace").on(Scope::Key)
}

const fn database(name: Name, arity: i32, flags: &str, group: &'static str) -> Row {
    Row::new(name, arity, flags, group, "keyspace").on(Scope::Database)
}

/// A command that sets a key's time to live.
const fn expire(name: Name) -> Row {
    key(name, -3, "write fast")
        .keys(Keys::ONE, &["RW update"])
        .history(&[("7.0.0", "The options NX, XX, GT, and LT.")])
}

/// A command that tells a key's time to live.
const fn ttl(name: Name) -> Row {
    key(name, 2, "readonly fast").keys(Keys::ONE, &["RO access"]).args("key")
}

/// A command about several keys, each on its own, that answers how many.
const fn several(name: Name, flags: &str, key_flags: &'static [&'static str]) -> Row {
    key(name, -2, flags).keys(Keys::ALL, key_flags).tips(SUMMED).args("key [key ...]")
}

/// A subcommand of OBJECT.
const fn object(name: Name) -> Row {
    key(name, 3, "readonly").keys(Keys::SUB, &["RO"]).tips(VARIES).args("key")
}

const VARIES: &[&str] = &["nondeterministic_output"];
const SUMMED: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
const EVERYWHERE: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

pub(super) const ROWS: &[Row] = &[
    key(Name::Copy, -3, "write denyoom")
        .keys(Keys::TWO, &["RO access", "OW update"])
        .docs("6.2.0", "O(N) with N elements of the value", "Copies a value to another key.")
        .args("source:key destination:key [DB destination-db] [REPLACE]"),
    several(Name::Del, "write", &["RM delete"]).docs(
        "1.0.0",
        "O(N) with N elements of the values",
        "Deletes keys.",
    ),
    key(Name::Dump, 2, "readonly")
        .keys(Keys::ONE, &["RO access"])
        .tips(VARIES)
        .docs(
            "2.6.0",
            "O(N) with N elements of the value",
            "Returns a value in a form that RESTORE reads.",
        )
        .args("key"),
    several(Name::Exists, "readonly fast", &["RO"]).docs(
        "1.0.0",
        "O(N) with N keys",
        "Tells how many of the keys exist.",
    ),
    expire(Name::Expire)
        .docs("1.0.0", "O(1)", "Sets the time to live of a key in seconds.")
        .args("key seconds [NX | XX | GT | LT]"),
    expire(Name::ExpireAt)
        .docs("1.2.0", "O(1)", "Sets when a key expires, as Unix time in seconds.")
        .args("key unix-time-seconds [NX | XX | GT | LT]"),
    ttl(Name::ExpireTime).docs(
        "7.0.0",
        "O(1)",
        "Tells when a key expires, as Unix time in seconds.",
    ),
    database(Name::Keys, 2, "readonly", "generic")
        .also("dangerous")
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .docs("1.0.0", "O(N) with N keys in the database", "Lists the keys that match a pattern.")
        .args("pattern"),
    key(Name::Move, 3, "write fast")
        .keys(Keys::ONE, &["RW access update"])
        .docs("1.0.0", "O(1)", "Moves a key to another database.")
        .args("key db"),
    Row::of_subcommands(Name::Object, "generic", "2.2.3", "Tells about the value of a key."),
    object(Name::ObjectEncoding).docs("2.2.3", "O(1)", "Tells how a value is stored."),
    object(Name::ObjectFreq).docs("4.0.0", "O(1)", "Tells how often a value is used."),
    object(Name::ObjectIdleTime).docs(
        "2.2.3",
        "O(1)",
        "Tells for how many seconds a value has not been used.",
    ),
    object(Name::ObjectRefCount).docs("2.2.3", "O(1)", "Tells how many references a value has."),
    Row::help(Name::ObjectHelp, "generic", "keyspace", "6.2.0"),
    key(Name::Persist, 2, "write fast")
        .keys(Keys::ONE, &["RW update"])
        .docs("2.2.0", "O(1)", "Removes the time to live of a key.")
        .args("key"),
    expire(Name::PExpire)
        .docs("2.6.0", "O(1)", "Sets the time to live of a key in milliseconds.")
        .args("key milliseconds [NX | XX | GT | LT]"),
    expire(Name::PExpireAt)
        .docs("2.6.0", "O(1)", "Sets when a key expires, as Unix time in milliseconds.")
        .args("key unix-time-milliseconds [NX | XX | GT | LT]"),
    ttl(Name::PExpireTime).docs(
        "7.0.0",
        "O(1)",
        "Tells when a key expires, as Unix time in milliseconds.",
    ),
    ttl(Name::PTtl).tips(VARIES).docs(
        "2.6.0",
        "O(1)",
        "Tells the time to live of a key in milliseconds.",
    ),
    database(Name::RandomKey, 1, "readonly", "generic")
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .docs("1.0.0", "O(1)", "Returns some key."),
    key(Name::Rename, 3, "write")
        .keys(Keys::TWO, &["RW access delete", "OW update"])
        .docs("1.0.0", "O(1)", "Renames a key, replacing what had the new name.")
        .args("key newkey:key"),
    key(Name::RenameNx, 3, "write fast")
        .keys(Keys::TWO, &["RW access delete", "OW insert"])
        .docs("1.0.0", "O(1)", "Renames a key if the new name is free.")
        .args("key newkey:key"),
    key(Name::Restore, -4, "write denyoom")
        .keys(Keys::ONE, &["OW update"])
        .also("dangerous")
        .docs(
            "2.6.0",
            "O(N) with N elements of the value",
            "Creates a key from what DUMP returned.",
        )
        .args("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]"),
    database(Name::Scan, -2, "readonly", "generic")
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .docs(
            "2.8.0",
            "O(1) for a call, O(N) for N keys in all",
            "Lists the keys of the database in portions.",
        )
        .args("cursor [MATCH pattern] [COUNT count] [TYPE type]")
        .history(&[("6.0.0", "The option TYPE.")]),
    several(Name::Touch, "readonly fast", &["RO"]).docs(
        "3.2.1",
        "O(N) with N keys",
        "Marks keys as used and tells how many exist.",
    ),
    ttl(Name::Ttl).tips(VARIES).docs(
        "1.0.0",
        "O(1)",
        "Tells the time to live of a key in seconds.",
    ),
    key(Name::Type, 2, "readonly fast")
        .keys(Keys::ONE, &["RO"])
        .docs("1.0.0", "O(1)", "Tells the type of a value.")
        .args("key"),
    several(Name::Unlink, "write fast", &["RM delete"]).docs(
        "4.0.0",
        "O(1) for each key",
        "Deletes keys and frees their memory later.",
    ),
    database(Name::DbSize, 1, "readonly fast", "server")
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .docs("1.0.0", "O(1)", "Tells how many keys the database has."),
    database(Name::FlushAll, -1, "write", "server")
        .also("dangerous")
        .tips(EVERYWHERE)
        .docs("1.0.0", "O(N) with N keys", "Deletes the keys of all databases.")
        .args("[ASYNC | SYNC]"),
    database(Name::FlushDb, -1, "write", "server")
        .also("dangerous")
        .tips(EVERYWHERE)
        .docs("1.0.0", "O(N) with N keys", "Deletes the keys of the database.")
        .args("[ASYNC | SYNC]"),
    database(Name::SwapDb, 3, "write fast", "server")
        .also("dangerous")
        .docs(
            "4.0.0",
            "O(N) with N clients that watch or wait for keys",
            "Exchanges two databases.",
        )
        .args("index1 index2"),
];
