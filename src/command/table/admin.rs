//! The rows of the commands about the server.

use super::{Keys, Name, Row, Scope};

const fn server(name: Name, arity: i32, flags: &str) -> Row {
    Row::new(name, arity, flags, "server", "").on(Scope::Database)
}

/// A subcommand of ACL; it runs in the connection, which knows its user.
const fn acl(name: Name, arity: i32, flags: &str) -> Row {
    Row::new(name, arity, flags, "server", "")
}

/// COMMAND or a subcommand of it: it needs only the table.
const fn command(name: Name, arity: i32) -> Row {
    Row::new(name, arity, "loading stale", "server", "connection")
}

const fn config(name: Name, arity: i32) -> Row {
    server(name, arity, "admin noscript loading stale")
}

const fn latency(name: Name, arity: i32) -> Row {
    server(name, arity, "admin noscript loading stale").tips(&[
        "nondeterministic_output",
        "request_policy:all_nodes",
        "response_policy:special",
    ])
}

/// A subcommand of MEMORY.
const fn memory(name: Name) -> Row {
    server(name, 2, "").tips(ON_ALL_SHARDS)
}

const fn slow_log(name: Name, arity: i32) -> Row {
    server(name, arity, "admin loading stale")
}

const VARIES: &[&str] = &["nondeterministic_output"];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];
const ON_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const ON_ALL_SHARDS: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

pub(super) const ROWS: &[Row] = &[
    Row::of_subcommands(Name::Acl, "server", "6.0.0", "Tells about users and what they may do."),
    acl(Name::AclCat, -2, "noscript loading stale")
        .docs("6.0.0", "O(1)", "Lists the categories, or the commands of one.")
        .args("[category]"),
    acl(Name::AclDelUser, -3, "admin noscript loading stale")
        .tips(ON_ALL_NODES)
        .docs("6.0.0", "O(1)", "Deletes users; the one that there is cannot be deleted.")
        .args("username [username ...]"),
    acl(Name::AclDryRun, -4, "admin noscript loading stale")
        .docs("7.0.0", "O(1)", "Tells whether a user may run a command, without running it.")
        .args("username command [arg [arg ...]]"),
    acl(Name::AclGenPass, -2, "noscript loading stale")
        .docs("6.0.0", "O(1)", "Makes a password at random.")
        .args("[bits]"),
    acl(Name::AclGetUser, 3, "admin noscript loading stale")
        .docs("6.0.0", "O(N) with N rules", "Tells the rules of a user.")
        .args("username"),
    acl(Name::AclList, 2, "admin noscript loading stale").docs(
        "6.0.0",
        "O(N) with N users",
        "Lists the users with their rules.",
    ),
    acl(Name::AclLoad, 2, "admin noscript loading stale").docs(
        "6.0.0",
        "O(1)",
        "Reads the users from their file; there is none.",
    ),
    acl(Name::AclLog, -2, "admin noscript loading stale")
        .docs("6.0.0", "O(N) with N entries shown", "Lists the passwords that were refused.")
        .args("[count | RESET]"),
    acl(Name::AclSave, 2, "admin noscript loading stale").tips(ON_ALL_NODES).docs(
        "6.0.0",
        "O(1)",
        "Writes the users to their file; there is none.",
    ),
    acl(Name::AclUsers, 2, "admin noscript loading stale").docs(
        "6.0.0",
        "O(N) with N users",
        "Lists the names of the users.",
    ),
    acl(Name::AclWhoAmI, 2, "noscript loading stale").docs(
        "6.0.0",
        "O(1)",
        "Tells the connection's user.",
    ),
    Row::help(Name::AclHelp, "server", "", "6.0.0"),
    server(Name::BgRewriteAof, 1, "admin noscript no_async_loading").docs(
        "1.0.0",
        "O(1)",
        "Makes the append-only file compact, in the background.",
    ),
    server(Name::BgSave, -1, "admin noscript no_async_loading")
        .docs("1.0.0", "O(1)", "Saves a snapshot in the background.")
        .args("[SCHEDULE]"),
    command(Name::Command, -1).tips(UNORDERED).docs(
        "2.8.13",
        "O(N) with N commands",
        "Tells about all commands.",
    ),
    command(Name::CommandCount, 2).docs("2.8.13", "O(1)", "Tells how many commands there are."),
    command(Name::CommandDocs, -2)
        .tips(UNORDERED)
        .docs("7.0.0", "O(N) with N commands", "Returns the documentation of commands.")
        .args("[command-name [command-name ...]]"),
    command(Name::CommandGetKeys, -3)
        .docs("2.8.13", "O(N) with N arguments", "Tells which arguments of a command are keys.")
        .args("command [arg [arg ...]]"),
    command(Name::CommandGetKeysAndFlags, -3)
        .docs(
            "7.0.0",
            "O(N) with N arguments",
            "Tells which arguments of a command are keys, and what it does to them.",
        )
        .args("command [arg [arg ...]]"),
    command(Name::CommandInfo, -2)
        .tips(UNORDERED)
        .docs("2.8.13", "O(N) with N commands", "Tells about commands.")
        .args("[command-name [command-name ...]]"),
    command(Name::CommandList, -2)
        .tips(UNORDERED)
        .docs("7.0.0", "O(N) with N commands", "Lists the names of commands.")
        .args("[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]"),
    Row::help(Name::CommandHelp, "server", "connection", "5.0.0"),
    Row::of_subcommands(Name::Config, "server", "2.0.0", "Reads and changes the configuration."),
    config(Name::ConfigGet, -3)
        .docs("2.0.0", "O(N) with N settings", "Returns the settings that match patterns.")
        .args("parameter [parameter ...]")
        .history(&[("7.0.0", "Several patterns.")]),
    config(Name::ConfigResetStat, 2).tips(ON_ALL_NODES).docs(
        "2.0.0",
        "O(1)",
        "Sets the counters of INFO to zero.",
    ),
    config(Name::ConfigRewrite, 2).tips(ON_ALL_NODES).docs(
        "2.8.0",
        "O(1)",
        "Writes the settings to the configuration file.",
    ),
    config(Name::ConfigSet, -4)
        .tips(ON_ALL_NODES)
        .docs("2.0.0", "O(N) with N settings", "Changes settings, all of them or none.")
        .args("parameter value [parameter value ...]")
        .history(&[("7.0.0", "Several settings.")]),
    Row::help(Name::ConfigHelp, "server", "", "5.0.0"),
    server(Name::Debug, -2, "admin noscript loading stale protected")
        .docs("1.0.0", "That of the subcommand", "Serves tests.")
        .args("subcommand [argument [argument ...]]"),
    Row::of_subcommands(Name::Function, "scripting", "7.0.0", "Manages functions; there are none."),
    Row::new(Name::FunctionFlush, -2, "write noscript", "scripting", "scripting")
        .on(Scope::Database)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("7.0.0", "O(1)", "Deletes all functions.")
        .args("[ASYNC | SYNC]"),
    Row::new(Name::FunctionList, -2, "noscript", "scripting", "scripting")
        .on(Scope::Database)
        .tips(UNORDERED)
        .docs("7.0.0", "O(1)", "Lists the libraries of functions.")
        .args("[LIBRARYNAME library-name-pattern] [WITHCODE]"),
    Row::help(Name::FunctionHelp, "scripting", "scripting", "7.0.0"),
    server(Name::Info, -1, "loading stale")
        .also("dangerous")
        .tips(ON_ALL_SHARDS)
        .docs("1.0.0", "O(1)", "Returns information and counters about the server.")
        .args("[section [section ...]]")
        .history(&[("7.0.0", "Several sections.")]),
    server(Name::LastSave, 1, "loading stale fast").also("admin dangerous").tips(VARIES).docs(
        "1.0.0",
        "O(1)",
        "Tells when the last snapshot was saved, as Unix time in seconds.",
    ),
    Row::of_subcommands(Name::Latency, "server", "2.8.13", "Tells about delays inside the server."),
    latency(Name::LatencyDoctor, 2).docs("2.8.13", "O(1)", "Reports on delays, for people."),
    latency(Name::LatencyGraph, 3)
        .docs("2.8.13", "O(1)", "Draws the delays of one kind.")
        .args("event"),
    latency(Name::LatencyHistogram, -2)
        .docs("7.0.0", "O(N) with N commands", "Returns how the times of commands are distributed.")
        .args("[command [command ...]]"),
    latency(Name::LatencyHistory, 3)
        .docs("2.8.13", "O(1)", "Lists the delays of one kind.")
        .args("event"),
    latency(Name::LatencyLatest, 2).docs("2.8.13", "O(1)", "Lists the latest delay of each kind."),
    config(Name::LatencyReset, -2)
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"])
        .docs("2.8.13", "O(1)", "Forgets delays.")
        .args("[event [event ...]]"),
    Row::help(Name::LatencyHelp, "server", "", "2.8.13"),
    server(Name::Lolwut, -1, "readonly fast")
        .docs("5.0.0", "O(1)", "Tells the version, with a little art.")
        .args("[VERSION version]"),
    Row::of_subcommands(Name::Memory, "server", "4.0.0", "Tells about memory."),
    memory(Name::MemoryDoctor).docs("4.0.0", "O(1)", "Reports on memory, for people."),
    memory(Name::MemoryMallocStats).docs("4.0.0", "O(1)", "Returns the allocator's own report."),
    memory(Name::MemoryPurge)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("4.0.0", "O(1)", "Asks the allocator to give memory back."),
    memory(Name::MemoryStats).docs("4.0.0", "O(1)", "Tells what memory is used for."),
    Row::new(Name::MemoryUsage, -3, "readonly", "server", "")
        .on(Scope::Key)
        .keys(Keys::SUB, &["RO"])
        .docs("4.0.0", "O(N) with N blocks of the value", "Tells how much memory a key uses.")
        .args("key [SAMPLES count]"),
    Row::help(Name::MemoryHelp, "server", "", "4.0.0"),
    Row::of_subcommands(Name::Module, "server", "4.0.0", "Manages modules; there are none."),
    server(Name::ModuleList, 2, "admin noscript").tips(UNORDERED).docs(
        "4.0.0",
        "O(1)",
        "Lists the loaded modules.",
    ),
    Row::help(Name::ModuleHelp, "server", "", "5.0.0"),
    Row::new(Name::Monitor, 1, "admin noscript loading stale", "server", "").docs(
        "1.0.0",
        "O(1)",
        "Shows every command the server runs.",
    ),
    server(Name::Role, 1, "noscript loading stale fast").also("admin dangerous").docs(
        "2.8.12",
        "O(1)",
        "Tells the server's role in replication.",
    ),
    server(Name::Save, 1, "admin noscript no_async_loading no_multi").docs(
        "1.0.0",
        "O(N) with N keys",
        "Saves a snapshot and waits until it is done.",
    ),
    Row::of_subcommands(Name::Script, "scripting", "2.6.0", "Manages scripts; there are none."),
    Row::new(Name::ScriptExists, -3, "noscript", "scripting", "scripting")
        .on(Scope::Database)
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
        .docs("2.6.0", "O(N) with N digests", "Tells which of the scripts are known.")
        .args("sha1 [sha1 ...]"),
    Row::new(Name::ScriptFlush, -2, "noscript", "scripting", "scripting")
        .on(Scope::Database)
        .tips(ON_ALL_NODES)
        .docs("2.6.0", "O(1)", "Forgets all scripts.")
        .args("[ASYNC | SYNC]"),
    Row::help(Name::ScriptHelp, "scripting", "scripting", "5.0.0"),
    server(Name::Shutdown, -1, "admin noscript loading stale no_multi allow_busy")
        .docs("1.0.0", "O(N) with N keys if it saves", "Stops the server.")
        .args("[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]")
        .history(&[("7.0.0", "The options NOW, FORCE, and ABORT.")]),
    Row::of_subcommands(Name::SlowLog, "server", "2.2.12", "Reads and empties the slow log."),
    slow_log(Name::SlowLogGet, -2)
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .docs("2.2.12", "O(N) with N elements returned", "Returns the latest slow commands.")
        .args("[count]"),
    slow_log(Name::SlowLogLen, 2)
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .docs("2.2.12", "O(1)", "Tells how many slow commands are kept."),
    slow_log(Name::SlowLogReset, 2).tips(ON_ALL_NODES).docs(
        "2.2.12",
        "O(N) with N slow commands kept",
        "Empties the slow log.",
    ),
    Row::help(Name::SlowLogHelp, "server", "", "6.2.0"),
    server(Name::Time, 1, "loading stale fast").tips(VARIES).docs(
        "2.6.0",
        "O(1)",
        "Returns the server's time.",
    ),
    Row::new(Name::Wait, 3, "blocking", "generic", "connection")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .docs("3.0.0", "O(1)", "Waits until replicas have the connection's writes.")
        .args("numreplicas timeout"),
    Row::new(Name::WaitAof, 4, "blocking", "generic", "connection")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .docs(
            "7.2.0",
            "O(1)",
            "Waits until the connection's writes are durable, here and on replicas.",
        )
        .args("numlocal numreplicas timeout"),
];
