//! `Name`: every command and subcommand we have, in the order of the table's rows.

/// Declares [`Name`] and its words together, so that neither can lack the other.
macro_rules! names {
    ($($name:ident $word:literal)*) => {
        /// Which command; one variant per row of [`super::TABLE`], subcommands included.
        ///
        /// As a number it is the row's index, so arrays of [`Name::COUNT`] elements can be kept
        /// per command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Name {
            $(#[doc = concat!("`", $word, "`")] $name,)*
        }

        impl Name {
            /// All of them, in order.
            pub const ALL: &[Name] = &[$(Name::$name),*];
        }

        /// The full names, by row.
        const FULL_NAMES: &[&str] = &[$($word),*];
    };
}

names! {
    XAck "xack"
    XAckDel "xackdel"
    XAdd "xadd"
    XAutoClaim "xautoclaim"
    XCfgSet "xcfgset"
    XClaim "xclaim"
    XDel "xdel"
    XDelEx "xdelex"
    XGroup "xgroup"
    XGroupCreate "xgroup|create"
    XGroupCreateConsumer "xgroup|createconsumer"
    XGroupDelConsumer "xgroup|delconsumer"
    XGroupDestroy "xgroup|destroy"
    XGroupSetId "xgroup|setid"
    XGroupHelp "xgroup|help"
    XIdmpRecord "xidmprecord"
    XInfo "xinfo"
    XInfoConsumers "xinfo|consumers"
    XInfoGroups "xinfo|groups"
    XInfoStream "xinfo|stream"
    XInfoHelp "xinfo|help"
    XLen "xlen"
    XNack "xnack"
    XPending "xpending"
    XRange "xrange"
    XRead "xread"
    XReadGroup "xreadgroup"
    XRevRange "xrevrange"
    XSetId "xsetid"
    XTrim "xtrim"

    Copy "copy"
    Del "del"
    Dump "dump"
    Exists "exists"
    Expire "expire"
    ExpireAt "expireat"
    ExpireTime "expiretime"
    Keys "keys"
    Move "move"
    Object "object"
    ObjectEncoding "object|encoding"
    ObjectFreq "object|freq"
    ObjectIdleTime "object|idletime"
    ObjectRefCount "object|refcount"
    ObjectHelp "object|help"
    Persist "persist"
    PExpire "pexpire"
    PExpireAt "pexpireat"
    PExpireTime "pexpiretime"
    PTtl "pttl"
    RandomKey "randomkey"
    Rename "rename"
    RenameNx "renamenx"
    Restore "restore"
    Scan "scan"
    Touch "touch"
    Ttl "ttl"
    Type "type"
    Unlink "unlink"
    DbSize "dbsize"
    FlushAll "flushall"
    FlushDb "flushdb"
    SwapDb "swapdb"

    Append "append"
    Decr "decr"
    DecrBy "decrby"
    DelEx "delex"
    Digest "digest"
    Get "get"
    GetDel "getdel"
    GetEx "getex"
    GetRange "getrange"
    GetSet "getset"
    Incr "incr"
    IncrBy "incrby"
    IncrByFloat "incrbyfloat"
    MGet "mget"
    MSet "mset"
    MSetEx "msetex"
    MSetNx "msetnx"
    PSetEx "psetex"
    Set "set"
    SetEx "setex"
    SetNx "setnx"
    SetRange "setrange"
    StrLen "strlen"
    SubStr "substr"

    Auth "auth"
    Client "client"
    ClientGetName "client|getname"
    ClientGetRedir "client|getredir"
    ClientId "client|id"
    ClientInfo "client|info"
    ClientKill "client|kill"
    ClientList "client|list"
    ClientNoEvict "client|no-evict"
    ClientNoTouch "client|no-touch"
    ClientPause "client|pause"
    ClientReply "client|reply"
    ClientSetInfo "client|setinfo"
    ClientSetName "client|setname"
    ClientTrackingInfo "client|trackinginfo"
    ClientUnblock "client|unblock"
    ClientUnpause "client|unpause"
    ClientHelp "client|help"
    Echo "echo"
    Hello "hello"
    Ping "ping"
    Quit "quit"
    Reset "reset"
    Select "select"
    Asking "asking"
    Cluster "cluster"
    ReadOnly "readonly"
    ReadWrite "readwrite"
    Discard "discard"
    Exec "exec"
    Multi "multi"
    Unwatch "unwatch"
    Watch "watch"
    PSubscribe "psubscribe"
    Publish "publish"
    PubSub "pubsub"
    PubSubChannels "pubsub|channels"
    PubSubNumPat "pubsub|numpat"
    PubSubNumSub "pubsub|numsub"
    PubSubShardChannels "pubsub|shardchannels"
    PubSubShardNumSub "pubsub|shardnumsub"
    PubSubHelp "pubsub|help"
    PUnsubscribe "punsubscribe"
    SPublish "spublish"
    SSubscribe "ssubscribe"
    Subscribe "subscribe"
    SUnsubscribe "sunsubscribe"
    Unsubscribe "unsubscribe"

    Acl "acl"
    AclCat "acl|cat"
    AclDelUser "acl|deluser"
    AclDryRun "acl|dryrun"
    AclGenPass "acl|genpass"
    AclGetUser "acl|getuser"
    AclList "acl|list"
    AclLoad "acl|load"
    AclLog "acl|log"
    AclSave "acl|save"
    AclUsers "acl|users"
    AclWhoAmI "acl|whoami"
    AclHelp "acl|help"
    BgRewriteAof "bgrewriteaof"
    BgSave "bgsave"
    Command "command"
    CommandCount "command|count"
    CommandDocs "command|docs"
    CommandGetKeys "command|getkeys"
    CommandGetKeysAndFlags "command|getkeysandflags"
    CommandInfo "command|info"
    CommandList "command|list"
    CommandHelp "command|help"
    Config "config"
    ConfigGet "config|get"
    ConfigResetStat "config|resetstat"
    ConfigRewrite "config|rewrite"
    ConfigSet "config|set"
    ConfigHelp "config|help"
    Debug "debug"
    Function "function"
    FunctionFlush "function|flush"
    FunctionList "function|list"
    FunctionHelp "function|help"
    Info "info"
    LastSave "lastsave"
    Latency "latency"
    LatencyDoctor "latency|doctor"
    LatencyGraph "latency|graph"
    LatencyHistogram "latency|histogram"
    LatencyHistory "latency|history"
    LatencyLatest "latency|latest"
    LatencyReset "latency|reset"
    LatencyHelp "latency|help"
    Lolwut "lolwut"
    Memory "memory"
    MemoryDoctor "memory|doctor"
    MemoryMallocStats "memory|malloc-stats"
    MemoryPurge "memory|purge"
    MemoryStats "memory|stats"
    MemoryUsage "memory|usage"
    MemoryHelp "memory|help"
    Module "module"
    ModuleList "module|list"
    ModuleHelp "module|help"
    Monitor "monitor"
    Role "role"
    Save "save"
    Script "script"
    ScriptExists "script|exists"
    ScriptFlush "script|flush"
    ScriptHelp "script|help"
    Shutdown "shutdown"
    SlowLog "slowlog"
    SlowLogGet "slowlog|get"
    SlowLogLen "slowlog|len"
    SlowLogReset "slowlog|reset"
    SlowLogHelp "slowlog|help"
    Time "time"
    Wait "wait"
    WaitAof "waitaof"
}

impl Name {
    /// How many there are.
    pub const COUNT: usize = FULL_NAMES.len();

    /// The row's place in the table.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The lower-case name, for a subcommand `xgroup|create`.
    pub const fn full_name(self) -> &'static str {
        FULL_NAMES[self.index()]
    }

    /// The word after the container's name, for a subcommand.
    pub const fn subcommand(self) -> Option<&'static str> {
        let name = self.full_name();
        let mut at = 0;
        while at < name.len() {
            if name.as_bytes()[at] == b'|' {
                return Some(name.split_at(at + 1).1);
            }
            at += 1;
        }
        None
    }
}
