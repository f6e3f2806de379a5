//! The texts of HELP: of every container, and of DEBUG, whose subcommands are not in the table.

use crate::command::reply::Out;
use crate::command::table::{self, Name};

/// A subcommand's form and the lines that explain it.
type Entry = (&'static str, &'static [&'static str]);

/// Answers a HELP: `name` is that row, or its container, or DEBUG. An array of lines: a head, each
/// subcommand with its explanation indented, and HELP itself.
pub fn help(name: Name, out: &mut Out<'_>) {
    let container = table::row(name).container.unwrap_or(name);
    let text = TEXTS.iter().find(|(name, _)| *name == container);
    let entries = text.map_or(&[][..], |(_, entries)| entries);
    let lines: usize = entries.iter().map(|(_, lines)| 1 + lines.len()).sum();
    out.array(lines + 3);
    let command = container.full_name().to_ascii_uppercase();
    out.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (form, lines) in entries {
        out.simple(form);
        lines.iter().for_each(|line| out.simple(&format!("    {line}")));
    }
    out.simple("HELP");
    out.simple("    Print this help.");
}

/// What each HELP tells about.
const TEXTS: &[(Name, &[Entry])] = &[
    (Name::XGroup, XGROUP),
    (Name::XInfo, XINFO),
    (Name::Object, OBJECT),
    (Name::Memory, MEMORY),
    (Name::Client, CLIENT),
    (Name::Config, CONFIG),
    (Name::Command, COMMAND),
    (Name::PubSub, PUBSUB),
    (Name::SlowLog, SLOWLOG),
    (Name::Latency, LATENCY),
    (Name::Acl, ACL),
    (Name::Debug, DEBUG),
    (Name::Function, FUNCTION),
    (Name::Module, MODULE),
    (Name::Script, SCRIPT),
];

const XGROUP: &[Entry] = &[
    (
        "CREATE <key> <groupname> <id|$> [option]",
        &[
            "Create a consumer group. Options are:",
            "* MKSTREAM",
            "  Create the stream, empty, if it is missing.",
            "* ENTRIESREAD entries_read",
            "  Set how many entries the group counts as read.",
        ],
    ),
    ("CREATECONSUMER <key> <groupname> <consumer>", &["Create a consumer in the group."]),
    ("DELCONSUMER <key> <groupname> <consumer>", &["Remove the consumer and its pending entries."]),
    ("DESTROY <key> <groupname>", &["Remove the group."]),
    (
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        &["Set the group's last-delivered ID and its count of entries read."],
    ),
];

const XINFO: &[Entry] = &[
    ("CONSUMERS <key> <groupname>", &["Show the consumers of <groupname>."]),
    ("GROUPS <key>", &["Show the consumer groups of the stream."]),
    ("STREAM <key> [FULL [COUNT <count>]]", &["Show information about the stream."]),
];

const OBJECT: &[Entry] = &[
    ("ENCODING <key>", &["Return how the value of <key> is stored."]),
    (
        "FREQ <key>",
        &["Return how often <key> is used, on a logarithmic scale; needs an LFU policy."],
    ),
    ("IDLETIME <key>", &["Return for how many seconds <key> has not been used."]),
    ("REFCOUNT <key>", &["Return how many references the value of <key> has."]),
];

const MEMORY: &[Entry] = &[
    ("DOCTOR", &["Return a report on memory problems."]),
    ("MALLOC-STATS", &["Return the allocator's own statistics."]),
    ("PURGE", &["Ask the allocator to give unused memory back."]),
    ("STATS", &["Return what the server uses memory for."]),
    (
        "USAGE <key> [SAMPLES <count>]",
        &["Return how many bytes <key> and its value use. <count> is accepted and ignored."],
    ),
];

const CLIENT: &[Entry] = &[
    ("GETNAME", &["Return the name of this connection."]),
    ("GETREDIR", &["Return where invalidations of this connection go; -1 without tracking."]),
    ("ID", &["Return the ID of this connection."]),
    ("INFO", &["Return information about this connection."]),
    ("KILL <ip:port>", &["Close the connection from <ip:port>."]),
    (
        "KILL <option> <value> [<option> <value> [...]]",
        &[
            "Close connections. Options are:",
            "* ADDR (<ip:port>|<unixsocket>:0)",
            "  Those from this address.",
            "* LADDR (<ip:port>|<unixsocket>:0)",
            "  Those to this address of the server.",
            "* ID <client-id>",
            "  The one with this ID.",
            "* TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "  Those of this type.",
            "* USER <username>",
            "  Those of this user.",
            "* SKIPME (YES|NO)",
            "  Whether to spare this connection (default: yes).",
            "* MAXAGE <maxage>",
            "  Those older than <maxage> seconds.",
        ],
    ),
    (
        "LIST [options ...]",
        &[
            "Return information about connections. Options are:",
            "* TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "  Those of this type.",
            "* ID <client-id> [<client-id> ...]",
            "  Those with these IDs.",
        ],
    ),
    ("NO-EVICT (ON|OFF)", &["Protect this connection from being closed to save memory."]),
    ("NO-TOUCH (ON|OFF)", &["Do not mark keys as used by commands of this connection."]),
    (
        "PAUSE <timeout> [WRITE|ALL]",
        &["Delay all commands, or those that may write, for <timeout> milliseconds."],
    ),
    ("REPLY (ON|OFF|SKIP)", &["Control the replies to this connection."]),
    (
        "SETINFO <option> <value>",
        &[
            "Describe the client. Options are:",
            "* LIB-NAME: the client library's name.",
            "* LIB-VER: the client library's version.",
        ],
    ),
    ("SETNAME <name>", &["Name this connection."]),
    ("TRACKINGINFO", &["Return the state of tracking for this connection."]),
    ("UNBLOCK <clientid> [TIMEOUT|ERROR]", &["End the waiting of a connection."]),
    ("UNPAUSE", &["End PAUSE."]),
];

const CONFIG: &[Entry] = &[
    ("GET <pattern> [<pattern> ...]", &["Return the settings whose names match."]),
    ("RESETSTAT", &["Set the counters of INFO to zero."]),
    ("REWRITE", &["Write the settings to the configuration file."]),
    ("SET <directive> <value> [<directive> <value> ...]", &["Change settings."]),
];

const COMMAND: &[Entry] = &[
    ("(no subcommand)", &["Return details about all commands."]),
    ("COUNT", &["Return the number of commands."]),
    ("DOCS [<command-name> ...]", &["Return the documentation of commands (default: of all)."]),
    ("GETKEYS <full-command>", &["Return the keys of a full command."]),
    (
        "GETKEYSANDFLAGS <full-command>",
        &["Return the keys of a full command, and what it does to them."],
    ),
    ("INFO [<command-name> ...]", &["Return details about commands (default: about all)."]),
    (
        "LIST [FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
        &["Return the names of commands (default: of all)."],
    ),
];

const PUBSUB: &[Entry] = &[
    (
        "CHANNELS [<pattern>]",
        &["Return the channels with subscribers that match <pattern> (default: '*')."],
    ),
    ("NUMPAT", &["Return the number of patterns with subscribers."]),
    (
        "NUMSUB [<channel> ...]",
        &["Return the number of subscribers of the channels, without those by pattern."],
    ),
    (
        "SHARDCHANNELS [<pattern>]",
        &["Return the shard channels with subscribers that match <pattern> (default: '*')."],
    ),
    (
        "SHARDNUMSUB [<shardchannel> ...]",
        &["Return the number of subscribers of the shard channels."],
    ),
];

const SLOWLOG: &[Entry] = &[
    (
        "GET [<count>]",
        &[
            "Return the latest <count> slow commands (default: 10, -1: all). Each is made of:",
            "id, Unix time in seconds, duration in microseconds, arguments, client address,",
            "client name, number of arguments",
        ],
    ),
    ("LEN", &["Return how many slow commands are kept."]),
    ("RESET", &["Forget them."]),
];

const LATENCY: &[Entry] = &[
    ("DOCTOR", &["Return a report on delays."]),
    ("GRAPH <event>", &["Return a drawing of the delays of kind <event>."]),
    (
        "HISTOGRAM [COMMAND ...]",
        &["Return how the times of the commands are distributed (default: of all)."],
    ),
    ("HISTORY <event>", &["Return time and length of the delays of kind <event>."]),
    ("LATEST", &["Return the latest delay of each kind."]),
    ("RESET [<event> ...]", &["Forget the delays of these kinds (default: of all)."]),
];

const ACL: &[Entry] = &[
    (
        "CAT [<category>]",
        &["Return the commands of <category>, or all categories if none is given."],
    ),
    ("DELUSER <username> [<username> ...]", &["Delete users. The default user stays."]),
    (
        "DRYRUN <username> <command> [<arg> ...]",
        &["Return whether a user may run a command, without running it."],
    ),
    ("GENPASS [<bits>]", &["Return a random password of <bits> bits (default: 256)."]),
    ("GETUSER <username>", &["Return the rules of a user."]),
    ("LIST", &["Return the users with their rules, as in a configuration file."]),
    ("LOAD", &["Read the users from their file. There is none."]),
    ("LOG [<count>|RESET]", &["Return or forget the passwords that were refused."]),
    ("SAVE", &["Write the users to their file. There is none."]),
    ("USERS", &["Return the names of the users."]),
    ("WHOAMI", &["Return the user of this connection."]),
];

const FUNCTION: &[Entry] = &[
    ("FLUSH [ASYNC|SYNC]", &["Delete all functions. There are none."]),
    (
        "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
        &["Return the libraries of functions. There are none."],
    ),
];

const MODULE: &[Entry] = &[("LIST", &["Return the loaded modules. There are none."])];

const SCRIPT: &[Entry] = &[
    ("EXISTS <sha1> [<sha1> ...]", &["Return which scripts are known. There are none."]),
    ("FLUSH [ASYNC|SYNC]", &["Forget all scripts. There are none."]),
];

const DEBUG: &[Entry] = &[
    ("ASSERT, PANIC, SEGFAULT", &["End the program at once, as a crash does."]),
    ("CHANGE-REPL-ID", &["Do nothing."]),
    ("DIGEST", &["Return a digest of all data: forty hexadecimal digits."]),
    ("DIGEST-VALUE <key> [<key> ...]", &["Return a digest of each value."]),
    ("ERROR <string>", &["Return an error of this text."]),
    ("LOADAOF", &["Read the data anew from the append-only file."]),
    ("LOG <message>", &["Write <message> to the server's log."]),
    ("OBJECT <key>", &["Return low-level information about <key> and its value."]),
    (
        "POPULATE <count> [<prefix>] [<size>]",
        &["Create strings at <prefix>:<number>, each of <size> bytes, where there is no key."],
    ),
    (
        "PROTOCOL <type>",
        &[
            "Return a sample of a type:",
            "string, integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
            "true, false",
        ],
    ),
    ("RELOAD [option ...]", &["Save the data and read it anew. Options: MERGE, NOFLUSH, NOSAVE."]),
    ("SET-ACTIVE-EXPIRE <0|1>", &["Stop or start expiring keys in the background."]),
    ("SLEEP <seconds>", &["Stop the server for <seconds>, which may have decimals."]),
];
