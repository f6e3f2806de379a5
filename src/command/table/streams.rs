//! The rows of the stream commands.

use super::{Keys, Name, Row, Scope};

const fn stream(name: Name, arity: i32, flags: &str) -> Row {
    Row::new(name, arity, flags, "stream", "stream").on(Scope::Key)
}

/// A command whose output may differ between servers with the same data.
const VARIES: &[&str] = &["nondeterministic_output"];

pub(super) const ROWS: &[Row] = &[
    stream(Name::XAck, -4, "write fast")
        .keys(Keys::ONE, &["RW update"])
        .docs(
            "5.0.0",
            "O(1) for each ID",
            "Acknowledges entries: the group no longer holds them as pending.",
        )
        .args("key group id [id ...]"),
    stream(Name::XAckDel, -6, "write fast")
        .keys(Keys::ONE, &["RW update delete"])
        .docs(
            "8.2.0",
            "O(1) for each ID",
            "Acknowledges entries of a group and deletes them from the stream.",
        )
        .args("key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]"),
    stream(Name::XAdd, -5, "write denyoom fast")
        .keys(Keys::ONE, &["RW update"])
        .note("UPDATE instead of INSERT because of the optional trimming feature")
        .tips(VARIES)
        .docs(
            "5.0.0",
            "O(1); O(N) if N entries are trimmed",
            "Appends an entry to a stream, which is created if it is missing.",
        )
        .args(
            "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO producer-id | IDMP producer-id \
            idempotent-id] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field \
            value [field value ...]",
        )
        .history(&[
            ("6.2.0", "The options NOMKSTREAM, MINID, and LIMIT."),
            ("7.0.0", "IDs of the form `<ms>-*`."),
            ("8.2.0", "The options KEEPREF, DELREF, and ACKED."),
            ("8.6.0", "The options IDMP and IDMPAUTO."),
        ]),
    stream(Name::XAutoClaim, -6, "write fast")
        .keys(Keys::ONE, &["RW delete"])
        .tips(VARIES)
        .docs(
            "6.2.0",
            "O(1) if COUNT is small",
            "Gives pending entries that have been idle for long to a consumer.",
        )
        .args("key group consumer min-idle-time start [COUNT count] [JUSTID]")
        .history(&[(
            "7.0.0",
            "The reply's third element, the IDs of entries that no longer exist.",
        )]),
    stream(Name::XCfgSet, -2, "write fast")
        .keys(Keys::ONE, &["RW update"])
        .docs("8.6.0", "O(1)", "Sets how long and how many idempotent IDs a stream remembers.")
        .args("key [IDMP-DURATION seconds] [IDMP-MAXSIZE entries]"),
    stream(Name::XClaim, -6, "write fast")
        .keys(Keys::ONE, &["RW update"])
        .tips(VARIES)
        .docs("5.0.0", "O(log N) with N pending entries", "Gives pending entries to a consumer.")
        .args(
            "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] \
            [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        ),
    stream(Name::XDel, -3, "write fast")
        .keys(Keys::ONE, &["RW delete"])
        .docs("5.0.0", "O(1) for each ID", "Deletes entries from a stream.")
        .args("key id [id ...]"),
    stream(Name::XDelEx, -5, "write fast")
        .keys(Keys::ONE, &["RW delete"])
        .docs(
            "8.2.0",
            "O(1) for each ID",
            "Deletes entries from a stream and says what became of each.",
        )
        .args("key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]"),
    Row::of_subcommands(Name::XGroup, "stream", "5.0.0", "Manages consumer groups."),
    stream(Name::XGroupCreate, -5, "write denyoom")
        .keys(Keys::SUB, &["RW insert"])
        .docs("5.0.0", "O(1)", "Creates a consumer group.")
        .args("key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]")
        .history(&[("7.0.0", "The option ENTRIESREAD.")]),
    stream(Name::XGroupCreateConsumer, 5, "write denyoom")
        .keys(Keys::SUB, &["RW insert"])
        .docs("6.2.0", "O(1)", "Creates a consumer in a group.")
        .args("key group consumer"),
    stream(Name::XGroupDelConsumer, 5, "write")
        .keys(Keys::SUB, &["RW delete"])
        .docs(
            "5.0.0",
            "O(N) with N pending entries of the consumer",
            "Removes a consumer and its pending entries from a group.",
        )
        .args("key group consumer"),
    stream(Name::XGroupDestroy, 4, "write")
        .keys(Keys::SUB, &["RW delete"])
        .docs("5.0.0", "O(N) with N pending entries of the group", "Removes a consumer group.")
        .args("key group"),
    stream(Name::XGroupSetId, -5, "write")
        .keys(Keys::SUB, &["RW update"])
        .docs("5.0.0", "O(1)", "Sets the last-delivered ID of a group.")
        .args("key group <id | $> [ENTRIESREAD entries-read]")
        .history(&[("7.0.0", "The option ENTRIESREAD.")]),
    Row::help(Name::XGroupHelp, "stream", "stream", "5.0.0"),
    stream(Name::XIdmpRecord, 5, "write denyoom fast")
        .keys(Keys::ONE, &["RW update"])
        .docs("8.6.2", "O(1)", "Attaches an idempotent ID to an entry; for the append-only file.")
        .args("key producer-id idempotent-id id"),
    Row::of_subcommands(
        Name::XInfo,
        "stream",
        "5.0.0",
        "Tells about streams, groups, and consumers.",
    ),
    stream(Name::XInfoConsumers, 4, "readonly")
        .keys(Keys::SUB, &["RO access"])
        .tips(VARIES)
        .docs("5.0.0", "O(N) with N consumers", "Lists the consumers of a group.")
        .args("key group")
        .history(&[("7.2.0", "The field `inactive`.")]),
    stream(Name::XInfoGroups, 3, "readonly")
        .keys(Keys::SUB, &["RO access"])
        .docs("5.0.0", "O(N) with N groups", "Lists the consumer groups of a stream.")
        .args("key")
        .history(&[("7.0.0", "The fields `entries-read` and `lag`.")]),
    stream(Name::XInfoStream, -3, "readonly")
        .keys(Keys::SUB, &["RO access"])
        .docs("5.0.0", "O(1); with FULL O(N) for N elements of the reply", "Tells about a stream.")
        .args("key [FULL [COUNT count]]")
        .history(&[
            ("6.0.0", "The option FULL."),
            (
                "7.0.0",
                "The fields `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, \
                `entries-read`, and `lag`.",
            ),
            ("7.2.0", "The field `active-time`; `seen-time` is that of the last attempt."),
            ("8.6.0", "The fields about idempotent IDs."),
            ("8.8.0", "The field `nacked-count`."),
        ]),
    Row::help(Name::XInfoHelp, "stream", "stream", "5.0.0"),
    stream(Name::XLen, 2, "readonly fast")
        .keys(Keys::ONE, &["RO"])
        .docs("5.0.0", "O(1)", "Tells how many entries a stream has.")
        .args("key"),
    stream(Name::XNack, -7, "write fast")
        .keys(Keys::ONE, &["RW update"])
        .docs(
            "8.8.0",
            "O(1) for each ID",
            "Releases pending entries, so that any consumer can claim them.",
        )
        .args(
            "key group <SILENT | FAIL | FATAL> IDS numids id [id ...] [RETRYCOUNT count] [FORCE]",
        ),
    stream(Name::XPending, -3, "readonly")
        .keys(Keys::ONE, &["RO access"])
        .tips(VARIES)
        .docs(
            "5.0.0",
            "O(N) with N entries returned or scanned",
            "Tells about the pending entries of a group.",
        )
        .args("key group [[IDLE min-idle-time] start end count [consumer]]")
        .history(&[("6.2.0", "The option IDLE and exclusive bounds.")]),
    stream(Name::XRange, -4, "readonly")
        .keys(Keys::ONE, &["RO access"])
        .docs("5.0.0", "O(N) with N entries returned", "Returns the entries between two IDs.")
        .args("key start end [COUNT count]")
        .history(&[("6.2.0", "Exclusive bounds.")]),
    stream(Name::XRead, -4, "readonly blocking movablekeys")
        .keys(Keys::Streams { from: 1 }, &["RO access"])
        .docs(
            "5.0.0",
            "O(N) with N entries returned",
            "Returns entries above an ID from several streams, waiting for them if asked to.",
        )
        .args(
            "[COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK milliseconds] STREAMS key \
            [key ...] id [id ...]",
        )
        .history(&[
            ("7.4.0", "The ID `+`, the last entry."),
            ("8.10.0", "The options MAXCOUNT and MAXSIZE."),
        ]),
    stream(Name::XReadGroup, -7, "write blocking movablekeys")
        .keys(Keys::Streams { from: 4 }, &["RO access"])
        .docs(
            "5.0.0",
            "O(N) with N entries returned",
            "Delivers new entries of several streams to a consumer, or returns its pending ones.",
        )
        .args(
            "GROUP group consumer [COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK \
            milliseconds] [CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id ...]",
        )
        .history(&[
            ("8.4.0", "The option CLAIM."),
            ("8.10.0", "The options MAXCOUNT and MAXSIZE."),
        ]),
    stream(Name::XRevRange, -4, "readonly")
        .keys(Keys::ONE, &["RO access"])
        .docs(
            "5.0.0",
            "O(N) with N entries returned",
            "Returns the entries between two IDs, newest first.",
        )
        .args("key end start [COUNT count]")
        .history(&[("6.2.0", "Exclusive bounds.")]),
    stream(Name::XSetId, -3, "write denyoom fast")
        .keys(Keys::ONE, &["RW update"])
        .docs("5.0.0", "O(1)", "Sets the last ID of a stream and its counters.")
        .args("key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]")
        .history(&[("7.0.0", "The options ENTRIESADDED and MAXDELETEDID.")]),
    stream(Name::XTrim, -4, "write")
        .keys(Keys::ONE, &["RW delete"])
        .tips(VARIES)
        .docs("5.0.0", "O(N) with N entries removed", "Removes the oldest entries of a stream.")
        .args("key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]")
        .history(&[
            ("6.2.0", "The options MINID and LIMIT."),
            ("8.2.0", "The options KEEPREF, DELREF, and ACKED."),
        ]),
];
