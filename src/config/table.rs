//! Every setting once: the table of those that have an effect, from which `Config` itself is made,
//! and the names under which older configurations know some of them.
//!
//! A row is `field: type, "directive" "default" when shape, "description";`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::NotifyFlags;
use crate::config::accepted::ACCEPTED;
use crate::config::value::{
    CompatProfile, Fsync, Held, LogLevel, OutputLimits, Protected, SavePoint, Shape, Supervised,
    Value,
};

/// When a setting may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At any time, by CONFIG SET.
    Live,
    /// At start only.
    Start,
    /// By CONFIG SET, if `enable-protected-configs` lets the connection.
    Protected,
}

/// Where a setting's value is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// In a field of `Config`.
    Field { value: fn(&Config) -> Value, put: fn(&mut Config, Value) },
    /// In the map of settings that have no effect.
    Accepted,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Redis's directive name.
    pub name: &'static str,
    /// What values it takes.
    pub shape: Shape,
    /// The default, as it would be written in a file.
    pub default: &'static str,
    /// When it may change.
    pub when: When,
    /// One line for help; empty if the setting has no effect.
    pub about: &'static str,
    pub(crate) place: Place,
}

impl Setting {
    /// Whether this server does anything with the setting.
    pub fn has_effect(&self) -> bool {
        matches!(self.place, Place::Field { .. })
    }

    /// The row of a directive, by its name or by an older one, in any case.
    pub fn find(name: &str) -> Option<&'static Setting> {
        let newer = ALIASES.iter().find(|(old, _)| old.eq_ignore_ascii_case(name));
        let name = newer.map_or(name, |(_, newer)| newer);
        Setting::all().find(|setting| setting.name.eq_ignore_ascii_case(name))
    }

    /// All rows: those with an effect in the order of the table, then the others.
    pub fn all() -> impl Iterator<Item = &'static Setting> {
        TABLE.iter().chain(ACCEPTED)
    }
}

/// Makes `Config` and `TABLE` of the rows.
macro_rules! settings {
    ($(
        $field:ident: $type:ty, $name:literal $default:literal $when:ident $shape:expr,
        $about:literal;
    )*) => {
        /// Every setting of a server or of an embedded database.
        ///
        /// The fields are what the code reads; change them by [`Config::apply`] or
        /// [`Config::set`], which check the ranges, or call [`Config::check`] afterwards.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $(#[doc = $about] pub $field: $type,)*
            /// Lines `user …` of the file, without that word: rules for ACL SETUSER.
            pub users: Vec<Vec<String>>,
            /// Commands that have another name, or none if it is empty: `rename-command`.
            pub renamed_commands: Vec<(String, String)>,
            /// The file the settings came from, for CONFIG REWRITE and INFO.
            pub file: Option<PathBuf>,
            /// Settings without effect that were given, by name.
            pub(crate) accepted: BTreeMap<&'static str, String>,
        }

        impl Config {
            /// A configuration before the defaults of the table are put into it.
            pub(crate) fn blank() -> Self {
                Config {
                    $($field: Default::default(),)*
                    users: Vec::new(),
                    renamed_commands: Vec::new(),
                    file: None,
                    accepted: BTreeMap::new(),
                }
            }
        }

        /// The settings that have an effect.
        pub(crate) static TABLE: &[Setting] = &[$(
            Setting {
                name: $name,
                shape: $shape,
                default: $default,
                when: When::$when,
                about: $about,
                place: Place::Field {
                    value: |config| Held::value(&config.$field),
                    put: |config, value| Held::put(&mut config.$field, value),
                },
            },
        )*];
    };
}

/// The largest C `int`, Redis's bound for many settings.
pub(crate) const INT: i64 = 0x7fff_ffff;
/// How many databases a keyspace has.
pub(crate) const DATABASES_MAX: i64 = 16;
/// The largest 64-bit signed number.
pub(crate) const LONG: i64 = i64::MAX;
/// The same, for memory.
pub(crate) const BYTES: u64 = i64::MAX.unsigned_abs();
/// One mebibyte.
const MIB: u64 = 1 << 20;
/// What a shutdown by a signal may be told.
const SHUTDOWN: &[&str] = &["default", "save", "nosave", "now", "force"];

settings! {
    bind: Vec<String>, "bind" "127.0.0.1 -::1" Start Shape::Words,
        "Addresses to listen on; a leading - means that it may fail.";
    port: u16, "port" "6379" Start Shape::Integer(0, 65_535),
        "TCP port; 0 listens on none.";
    unixsocket: PathBuf, "unixsocket" "" Start Shape::Text,
        "Path of a unix socket to listen on; empty listens on none.";
    unixsocketperm: u32, "unixsocketperm" "0" Start Shape::Octal(0, 0o777),
        "Permissions of the unix socket; 0 leaves them to the umask.";
    protected_mode: bool, "protected-mode" "yes" Live Shape::YesNo,
        "Refuse other machines as long as the default user has no password.";
    tcp_backlog: u32, "tcp-backlog" "511" Start Shape::Integer(0, INT),
        "Connections that may wait to be accepted.";
    tcp_keepalive: u32, "tcp-keepalive" "300" Live Shape::Integer(0, INT),
        "Seconds between keep-alive probes of a connection; 0 sends none.";
    timeout: u32, "timeout" "0" Live Shape::Integer(0, INT),
        "Seconds after which an idle connection is closed; 0 never.";
    maxclients: u32, "maxclients" "10000" Live Shape::Integer(1, 4_294_967_295),
        "Connections at one time.";
    proto_max_bulk_len: u64, "proto-max-bulk-len" "512mb" Live Shape::Memory(MIB, BYTES),
        "Longest argument of a command.";
    client_query_buffer_limit: u64, "client-query-buffer-limit" "1gb" Live
        Shape::Memory(MIB, BYTES),
        "Longest unfinished request of a connection.";
    client_output_buffer_limit: OutputLimits, "client-output-buffer-limit"
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60" Live
        Shape::OutputLimits,
        "Unread replies at which a connection is closed, by class of connection.";

    dir: PathBuf, "dir" "data" Start Shape::Text,
        "Directory of the data; it is made if it does not exist.";
    appendonly: bool, "appendonly" "yes" Live Shape::YesNo,
        "Write every change to the append-only file before it is acknowledged.";
    appendfsync: Fsync, "appendfsync" "everysec" Live Shape::Choice(Fsync::WORDS),
        "When the append-only file is made durable: always is before the reply.";
    aof_unsynced_max_bytes: u64, "aof-unsynced-max-bytes" "64mb" Live
        Shape::Memory(MIB, BYTES),
        "Written but not yet durable bytes at which writers wait for the disk.";
    aof_load_truncated: bool, "aof-load-truncated" "yes" Live Shape::YesNo,
        "Start although the end of the append-only file was torn by a crash.";
    auto_aof_rewrite_percentage: u32, "auto-aof-rewrite-percentage" "100" Live
        Shape::Integer(0, INT),
        "Growth of the append-only file at which a snapshot replaces it; 0 never.";
    auto_aof_rewrite_min_size: u64, "auto-aof-rewrite-min-size" "64mb" Live
        Shape::Memory(0, BYTES),
        "Size below which the append-only file is not replaced.";
    save: Vec<SavePoint>, "save" "3600 1" Live Shape::SavePoints,
        "Pairs of seconds and changes: when to take a snapshot; \"\" takes none.";
    stop_writes_on_bgsave_error: bool, "stop-writes-on-bgsave-error" "yes" Live Shape::YesNo,
        "Refuse writes after a snapshot failed.";
    shutdown_on_sigint: Vec<String>, "shutdown-on-sigint" "default" Live Shape::Flags(SHUTDOWN),
        "What SIGINT does.";
    shutdown_on_sigterm: Vec<String>, "shutdown-on-sigterm" "default" Live
        Shape::Flags(SHUTDOWN),
        "What SIGTERM does.";

    databases: u32, "databases" "16" Start Shape::Integer(1, DATABASES_MAX),
        "Number of databases that SELECT chooses from.";
    shards: u32, "shards" "0" Start Shape::Integer(0, 1_024),
        "Threads that each own a part of the keys; 0 chooses by the machine.";
    maxmemory: u64, "maxmemory" "0" Live Shape::Memory(0, u64::MAX),
        "Memory at which commands that add data are refused; 0 is no limit.";
    disable_thp: bool, "disable-thp" "yes" Start Shape::YesNo,
        "Take no transparent huge pages of Linux: the first touch of one stops a thread.";

    stream_node_max_bytes: u64, "stream-node-max-bytes" "4kb" Live Shape::Memory(0, BYTES),
        "Size at which a block of a stream is full; 0 is no limit.";
    stream_node_max_entries: u64, "stream-node-max-entries" "100" Live
        Shape::Integer(0, LONG),
        "Entries at which a block of a stream is full; 0 is no limit.";
    stream_idmp_duration: u32, "stream-idmp-duration" "100" Live Shape::Integer(1, 86_400),
        "Seconds for which a new stream remembers an idempotent ID.";
    stream_idmp_maxsize: u32, "stream-idmp-maxsize" "100" Live Shape::Integer(1, 10_000),
        "Idempotent IDs that a new stream remembers of each producer.";

    requirepass: String, "requirepass" "" Live Shape::Text,
        "Password of the default user; empty asks for none.";
    aclfile: PathBuf, "aclfile" "" Start Shape::Text,
        "File of the users.";
    acllog_max_len: u64, "acllog-max-len" "128" Live Shape::Integer(0, LONG),
        "Entries of ACL LOG.";
    enable_debug_command: Protected, "enable-debug-command" "no" Start
        Shape::Choice(Protected::WORDS),
        "Who may use DEBUG.";
    enable_protected_configs: Protected, "enable-protected-configs" "no" Start
        Shape::Choice(Protected::WORDS),
        "Who may set protected settings.";

    notify_keyspace_events: NotifyFlags, "notify-keyspace-events" "" Live Shape::Events,
        "Classes of changes that are published.";
    slowlog_log_slower_than: i64, "slowlog-log-slower-than" "10000" Live
        Shape::Integer(-1, LONG),
        "Microseconds from which a command enters SLOWLOG; -1 none, 0 all.";
    slowlog_max_len: u64, "slowlog-max-len" "128" Live Shape::Integer(0, LONG),
        "Entries of SLOWLOG.";
    slowlog_entry_max_argc: u32, "slowlog-entry-max-argc" "32" Live Shape::Integer(2, INT),
        "Arguments that an entry of SLOWLOG keeps.";
    slowlog_entry_max_string_len: u32, "slowlog-entry-max-string-len" "128" Live
        Shape::Integer(1, INT),
        "Bytes that an entry of SLOWLOG keeps of an argument.";
    latency_monitor_threshold: u64, "latency-monitor-threshold" "0" Live
        Shape::Integer(0, LONG),
        "Milliseconds from which LATENCY records an event; 0 records none.";
    latency_tracking: bool, "latency-tracking" "yes" Live Shape::YesNo,
        "Keep a histogram of the time of every command.";
    latency_tracking_info_percentiles: Vec<String>, "latency-tracking-info-percentiles"
        "50 99 99.9" Live Shape::Percentiles,
        "Percentiles that INFO latencystats shows.";
    loglevel: LogLevel, "loglevel" "notice" Live Shape::Choice(LogLevel::WORDS),
        "How much is logged.";
    logfile: PathBuf, "logfile" "" Start Shape::Text,
        "File of the log; empty is the standard output.";
    pidfile: PathBuf, "pidfile" "" Start Shape::Text,
        "File that has the process ID while the server runs.";
    supervised: Supervised, "supervised" "no" Start Shape::Choice(Supervised::WORDS),
        "Who watches over the server; systemd is told when it is ready and when it stops.";
    compat_profile: CompatProfile, "compat-profile" "redis" Live
        Shape::Choice(CompatProfile::WORDS),
        "Whose answer is given where Redis and Valkey differ.";
}

/// Older names, which CONFIG GET answers too: (older, newer).
pub(crate) static ALIASES: &[(&str, &str)] = &[
    ("aof_rewrite_cpulist", "aof-rewrite-cpulist"),
    ("bgsave_cpulist", "bgsave-cpulist"),
    ("bio_cpulist", "bio-cpulist"),
    ("cluster-slave-no-failover", "cluster-replica-no-failover"),
    ("cluster-slave-validity-factor", "cluster-replica-validity-factor"),
    ("hash-max-ziplist-entries", "hash-max-listpack-entries"),
    ("hash-max-ziplist-value", "hash-max-listpack-value"),
    ("list-max-ziplist-size", "list-max-listpack-size"),
    ("lua-time-limit", "busy-reply-threshold"),
    ("min-slaves-max-lag", "min-replicas-max-lag"),
    ("min-slaves-to-write", "min-replicas-to-write"),
    ("repl-ping-slave-period", "repl-ping-replica-period"),
    ("server_cpulist", "server-cpulist"),
    ("slave-announce-ip", "replica-announce-ip"),
    ("slave-announce-port", "replica-announce-port"),
    ("slave-ignore-maxmemory", "replica-ignore-maxmemory"),
    ("slave-lazy-flush", "replica-lazy-flush"),
    ("slave-priority", "replica-priority"),
    ("slave-read-only", "replica-read-only"),
    ("slave-serve-stale-data", "replica-serve-stale-data"),
    ("slaveof", "replicaof"),
    ("zset-max-ziplist-entries", "zset-max-listpack-entries"),
    ("zset-max-ziplist-value", "zset-max-listpack-value"),
];
