//! The rows of the commands about the client's connection: its settings, transactions, and
//! channels.

use super::{Keys, Name, Row, Scope};

const fn connection(name: Name, arity: i32, flags: &str) -> Row {
    Row::new(name, arity, flags, "connection", "connection")
}

const fn client(name: Name, arity: i32) -> Row {
    connection(name, arity, "noscript loading stale")
}

const fn client_admin(name: Name, arity: i32) -> Row {
    connection(name, arity, "admin noscript loading stale")
}

const fn cluster(name: Name, arity: i32, flags: &str, listed: &str) -> Row {
    Row::new(name, arity, flags, "cluster", listed)
}

const fn transaction(name: Name, arity: i32) -> Row {
    let flags = "noscript loading stale fast allow_busy";
    Row::new(name, arity, flags, "transactions", "transaction")
}

const fn channels(name: Name, arity: i32) -> Row {
    Row::new(name, arity, "pubsub noscript loading stale", "pubsub", "")
}

/// A command that adds to what the server keeps.
const fn subscribe(name: Name) -> Row {
    Row::new(name, -2, "denyoom pubsub noscript loading stale", "pubsub", "")
}

const fn publish(name: Name) -> Row {
    let flags = "pubsub loading stale fast may_replicate";
    Row::new(name, 3, flags, "pubsub", "").on(Scope::Database)
}

/// A subcommand of PUBSUB.
const fn pubsub(name: Name, arity: i32) -> Row {
    Row::new(name, arity, "pubsub loading stale", "pubsub", "").on(Scope::Database)
}

/// The flags of what a client may do before it is authenticated.
const OPEN: &str = "noscript loading stale fast no_auth allow_busy";
const VARIES: &[&str] = &["nondeterministic_output"];

pub(super) const ROWS: &[Row] = &[
    connection(Name::Auth, -2, OPEN)
        .docs("1.0.0", "O(1)", "Authenticates the connection.")
        .args("[username] password")
        .history(&[("6.0.0", "The user's name.")]),
    Row::of_subcommands(Name::Client, "connection", "2.4.0", "Manages connections."),
    client(Name::ClientGetName, 2).docs("2.6.9", "O(1)", "Returns the connection's name."),
    client(Name::ClientGetRedir, 2).docs(
        "6.0.0",
        "O(1)",
        "Tells where the connection's invalidations go.",
    ),
    client(Name::ClientId, 2).docs("5.0.0", "O(1)", "Returns the connection's ID."),
    client(Name::ClientInfo, 2).tips(VARIES).docs("6.2.0", "O(1)", "Tells about the connection."),
    client_admin(Name::ClientKill, -3)
        .docs("2.4.0", "O(N) with N connections", "Closes connections.")
        .args(
            "<ip:port | [ID client-id] [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [USER \
            username] [ADDR ip:port] [LADDR ip:port] [SKIPME <YES | NO>] [MAXAGE maxage]>",
        ),
    client_admin(Name::ClientList, -2)
        .tips(VARIES)
        .docs("2.4.0", "O(N) with N connections", "Lists the connections.")
        .args("[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]"),
    client_admin(Name::ClientNoEvict, 3)
        .docs("7.0.0", "O(1)", "Sets whether the connection may be closed to save memory.")
        .args("<ON | OFF>"),
    client(Name::ClientNoTouch, 3)
        .docs("7.2.0", "O(1)", "Sets whether the connection's commands mark keys as used.")
        .args("<ON | OFF>"),
    client_admin(Name::ClientPause, -3)
        .docs("3.0.0", "O(1)", "Delays the commands of all clients for a time.")
        .args("milliseconds [WRITE | ALL]")
        .history(&[("6.2.0", "The modes WRITE and ALL.")]),
    client(Name::ClientReply, 3)
        .docs("3.2.0", "O(1)", "Sets whether the connection gets replies.")
        .args("<ON | OFF | SKIP>"),
    client(Name::ClientSetInfo, 4)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .docs("7.2.0", "O(1)", "Tells the server the client library's name or version.")
        .args("<LIB-NAME libname | LIB-VER libver>"),
    client(Name::ClientSetName, 3)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .docs("2.6.9", "O(1)", "Sets the connection's name.")
        .args("connection-name"),
    client(Name::ClientTrackingInfo, 2).docs(
        "6.2.0",
        "O(1)",
        "Tells about the connection's tracking of keys.",
    ),
    client_admin(Name::ClientUnblock, -3)
        .docs("5.0.0", "O(log N) with N connections", "Ends the waiting of another connection.")
        .args("client-id [TIMEOUT | ERROR]"),
    client_admin(Name::ClientUnpause, 2).docs(
        "6.2.0",
        "O(N) with N delayed connections",
        "Ends CLIENT PAUSE.",
    ),
    Row::help(Name::ClientHelp, "connection", "connection", "5.0.0"),
    connection(Name::Echo, 2, "loading stale fast")
        .docs("1.0.0", "O(1)", "Returns its argument.")
        .args("message"),
    connection(Name::Hello, -1, OPEN)
        .docs("6.0.0", "O(1)", "Sets the protocol version and introduces client and server.")
        .args("[protover:integer [AUTH username password] [SETNAME clientname]]")
        .history(&[("6.2.0", "The protocol version is optional.")]),
    connection(Name::Ping, -1, "fast")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("1.0.0", "O(1)", "Answers that the server is alive.")
        .args("[message]"),
    connection(Name::Quit, -1, OPEN)
        .docs("1.0.0", "O(1)", "Closes the connection.")
        .deprecated("7.2.0", "just closing the connection"),
    connection(Name::Reset, 1, OPEN).docs(
        "6.2.0",
        "O(1)",
        "Puts the connection in the state it began with.",
    ),
    connection(Name::Select, 2, "loading stale fast")
        .docs("1.0.0", "O(1)", "Chooses the connection's database.")
        .args("index"),
    cluster(Name::Asking, 1, "fast", "connection").docs(
        "3.0.0",
        "O(1)",
        "Allows the next command a slot that is being moved here.",
    ),
    cluster(Name::Cluster, -2, "", "")
        .docs("3.0.0", "O(1)", "Manages a cluster; this server is never part of one.")
        .args("subcommand [argument [argument ...]]"),
    cluster(Name::ReadOnly, 1, "loading stale fast", "connection").docs(
        "3.0.0",
        "O(1)",
        "Allows reading from a replica in a cluster.",
    ),
    cluster(Name::ReadWrite, 1, "loading stale fast", "connection").docs(
        "3.0.0",
        "O(1)",
        "Ends READONLY.",
    ),
    transaction(Name::Discard, 1).docs(
        "2.0.0",
        "O(N) with N queued commands",
        "Drops the transaction.",
    ),
    Row::new(Name::Exec, 1, "noscript loading stale skip_slowlog", "transactions", "transaction")
        .docs("1.2.0", "That of the queued commands", "Runs the commands of the transaction."),
    transaction(Name::Multi, 1).docs("1.2.0", "O(1)", "Begins a transaction."),
    transaction(Name::Unwatch, 1).docs(
        "2.2.0",
        "O(N) with N watched keys",
        "Forgets the watched keys.",
    ),
    transaction(Name::Watch, -2)
        .keys(Keys::ALL, &["RO"])
        .docs("2.2.0", "O(1) for each key", "Makes EXEC fail if one of the keys is changed before.")
        .args("key [key ...]"),
    subscribe(Name::PSubscribe)
        .docs("2.0.0", "O(N) with N patterns", "Subscribes to the channels that match patterns.")
        .args("pattern [pattern ...]"),
    publish(Name::Publish)
        .docs("2.0.0", "O(N) with N receivers and patterns", "Sends a message to a channel.")
        .args("channel message"),
    Row::of_subcommands(
        Name::PubSub,
        "pubsub",
        "2.8.0",
        "Tells about channels and their subscribers.",
    ),
    pubsub(Name::PubSubChannels, -2)
        .docs("2.8.0", "O(N) with N channels", "Lists the channels that have subscribers.")
        .args("[pattern]"),
    pubsub(Name::PubSubNumPat, 2).docs(
        "2.8.0",
        "O(1)",
        "Tells how many patterns have subscribers.",
    ),
    pubsub(Name::PubSubNumSub, -2)
        .docs("2.8.0", "O(N) with N channels", "Tells how many subscribers each channel has.")
        .args("[channel [channel ...]]"),
    pubsub(Name::PubSubShardChannels, -2)
        .docs("7.0.0", "O(N) with N channels", "Lists the shard channels that have subscribers.")
        .args("[pattern]"),
    pubsub(Name::PubSubShardNumSub, -2)
        .docs("7.0.0", "O(N) with N channels", "Tells how many subscribers each shard channel has.")
        .args("[shardchannel [shardchannel ...]]"),
    Row::help(Name::PubSubHelp, "pubsub", "", "6.2.0"),
    channels(Name::PUnsubscribe, -1)
        .docs("2.0.0", "O(N) with N patterns", "Ends subscriptions to patterns.")
        .args("[pattern [pattern ...]]"),
    publish(Name::SPublish)
        .keys(Keys::ONE, &["not_key"])
        .docs("7.0.0", "O(N) with N receivers", "Sends a message to a shard channel.")
        .args("shardchannel message"),
    subscribe(Name::SSubscribe)
        .keys(Keys::ALL, &["not_key"])
        .docs("7.0.0", "O(N) with N channels", "Subscribes to shard channels.")
        .args("shardchannel [shardchannel ...]"),
    subscribe(Name::Subscribe)
        .docs("2.0.0", "O(N) with N channels", "Subscribes to channels.")
        .args("channel [channel ...]"),
    channels(Name::SUnsubscribe, -1)
        .keys(Keys::ALL, &["not_key"])
        .docs("7.0.0", "O(N) with N channels", "Ends subscriptions to shard channels.")
        .args("[shardchannel [shardchannel ...]]"),
    channels(Name::Unsubscribe, -1)
        .docs("2.0.0", "O(N) with N channels", "Ends subscriptions to channels.")
        .args("[channel [channel ...]]"),
];
