//! INFO: what the server is, holds, and has done.
//!
//! The sections and fields are Redis's, in its order; the figures are ours. What we do not have
//! (replicas, forks, eviction, tracking) is 0.

use super::Core;
use super::process;
use super::save::{Cause, Outcome, Running};
use super::stats::{Stats, ThreadStats};
use crate::command::args::is_word;
use crate::command::table::{Name, TABLE};
use crate::command::{Out, Request};
use crate::config::{CompatProfile, Config};
use crate::keyspace::{DATABASES, Keyspace};
use crate::shard::{Shard, ShardFigures, Turn};
use crate::stream::UnixMs;
use std::collections::hash_map::RandomState;
use std::fmt::{Display, Write as _};
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The version of Redis whose commands we answer, which libraries look at.
const REDIS_VERSION: &str = "8.10.1";
/// The version of Redis that Valkey claims to be.
const VALKEY_REDIS_VERSION: &str = "7.2.4";
/// The version of Valkey whose answers the profile gives.
const VALKEY_VERSION: &str = "9.1.2";

/// What a server calls itself to clients, in HELLO: its name and version.
pub fn advertised(config: &Config) -> (&'static str, &'static str) {
    match config.compat_profile {
        CompatProfile::Redis => ("redis", REDIS_VERSION),
        CompatProfile::Valkey => ("valkey", VALKEY_VERSION),
    }
}

/// What tells one run of the server from another.
#[derive(Debug)]
pub struct Identity {
    run_id: String,
    replication_id: String,
    started: Instant,
    /// Memory of the process before it held anything, in bytes.
    pub(super) startup_bytes: u64,
}

impl Identity {
    /// That of a server that starts now.
    pub(super) fn new() -> Self {
        Identity {
            run_id: random_id(),
            replication_id: random_id(),
            started: Instant::now(),
            startup_bytes: process::memory().resident,
        }
    }
}

/// Forty hexadecimal digits at random.
fn random_id() -> String {
    let words = [(); 3].map(|()| RandomState::new().hash_one(SystemTime::now()));
    let [first, second, third] = words;
    format!("{first:016x}{second:016x}{:08x}", third & 0xffff_ffff)
}

/// The sections, in order: name, whether INFO shows it when nothing is asked for.
const SECTIONS: &[(&str, bool, Write)] = &[
    ("server", true, server),
    ("clients", true, clients),
    ("memory", true, memory),
    ("persistence", true, persistence),
    ("threads", true, threads),
    ("stats", true, stats),
    ("replication", true, replication),
    ("cpu", true, cpu),
    ("modules", true, modules),
    ("commandstats", false, command_stats),
    ("errorstats", true, error_stats),
    ("latencystats", false, latency_stats),
    ("cluster", true, cluster),
    ("keyspace", true, keyspace),
];

type Write = fn(&Source<'_>, &mut Text);

/// Where the figures come from.
struct Source<'a> {
    core: &'a Core,
    config: &'a Config,
    stats: &'a Stats,
    shards: Vec<&'a Shard>,
    blocked_clients: usize,
    now: UnixMs,
}

/// The text of INFO.
#[derive(Default)]
struct Text(String);

impl Text {
    fn section(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        // Writing to a `String` does not fail.
        let _ = write!(self.0, "# {title}\r\n");
    }

    fn put(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// A size in bytes, and again for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.put(name, bytes);
        let _ = write!(self.0, "{name}_human:{}\r\n", human(bytes));
    }

    /// Figures that are 0 here.
    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.put(name, 0));
    }
}

/// INFO [section …]: needs all shards in hand.
pub(super) fn run(core: &Core, turn: &Turn<'_, '_>, request: &Request<'_>, out: &mut Out<'_>) {
    let config = core.config();
    let source = Source {
        core,
        config: &config,
        stats: &core.stats,
        shards: turn.shards().collect(),
        blocked_clients: turn.blocked_clients(),
        now: turn.now(),
    };
    let asked = |word: &str| request.from(1).any(|arg| is_word(arg, word));
    let default = request.len() == 1 || asked("default");
    let everything = asked("all") || asked("everything");
    let mut text = Text::default();
    for (name, in_default, write) in SECTIONS {
        if everything || (default && *in_default) || asked(name) {
            write(&source, &mut text);
        }
    }
    out.verbatim(&text.0);
}

fn server(source: &Source<'_>, text: &mut Text) {
    let Source { core, config, stats, .. } = source;
    text.section("Server");
    if config.compat_profile == CompatProfile::Valkey {
        text.put("redis_version", VALKEY_REDIS_VERSION);
        text.put("server_name", "valkey");
        text.put("valkey_version", VALKEY_VERSION);
        text.put("valkey_release_stage", "ga");
    } else {
        text.put("redis_version", REDIS_VERSION);
        text.put("server_name", "millstream");
    }
    text.put("millstream_version", env!("CARGO_PKG_VERSION"));
    text.put("redis_git_sha1", "00000000");
    text.put("redis_git_dirty", 0);
    text.put("redis_build_id", "0");
    text.put("redis_mode", "standalone");
    text.put("os", process::system());
    text.put("arch_bits", usize::BITS);
    text.put("monotonic_clock", "POSIX clock_gettime");
    text.put("multiplexing_api", "epoll");
    text.put("atomicvar_api", "rust-std");
    text.put("process_id", std::process::id());
    let by_systemd = process::notify_socket(config).is_some();
    text.put("process_supervised", if by_systemd { "systemd" } else { "no" });
    text.put("run_id", &core.identity.run_id);
    text.put("tcp_port", stats.tcp_port.get());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    text.put("server_time_usec", since.as_micros());
    let uptime_s = core.identity.started.elapsed().as_secs();
    text.put("uptime_in_seconds", uptime_s);
    text.put("uptime_in_days", uptime_s / 86400);
    text.put("hz", 10);
    text.put("configured_hz", 10);
    text.put("lru_clock", since.as_secs() & 0x00ff_ffff);
    text.put("executable", std::env::current_exe().unwrap_or_default().display());
    text.put("config_file", config.file.clone().map_or_else(PathBuf::new, absolute).display());
    text.put("io_threads_active", u8::from(core.shards() > 1));
    for (n, listener) in stats.listeners().iter().enumerate() {
        text.put(&format!("listener{n}"), listener);
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn clients(source: &Source<'_>, text: &mut Text) {
    let Source { core, config, stats, shards, .. } = source;
    let largest = |figure: fn(&ThreadStats) -> u64| stats.threads().map(figure).max();
    let figures: Vec<ShardFigures> = shards.iter().map(|shard| shard.figures()).collect();
    let sum = |figure: fn(&ShardFigures) -> usize| figures.iter().map(figure).sum::<usize>();
    text.section("Clients");
    text.put("connected_clients", stats.sum(|thread| thread.clients.get()));
    text.put("cluster_connections", 0);
    text.put("maxclients", config.maxclients);
    let input = largest(|thread| thread.input_buffer_max.get()).unwrap_or_default();
    text.put("client_recent_max_input_buffer", input);
    let output = largest(|thread| thread.output_buffer_max.get()).unwrap_or_default();
    text.put("client_recent_max_output_buffer", output);
    let waiting = stats.sum(|thread| thread.waiting_clients.get());
    text.put("blocked_clients", source.blocked_clients as u64 + waiting);
    text.put("tracking_clients", 0);
    text.put("pubsub_clients", core.pubsub.counts().clients);
    text.put("watching_clients", stats.sum(|thread| thread.watching_clients.get()));
    text.put("clients_in_timeout_table", stats.sum(|thread| thread.timed_clients.get()));
    text.put("total_watched_keys", sum(|shard| shard.watched_keys));
    text.put("total_blocking_keys", sum(|shard| shard.blocking_keys));
    text.put("total_blocking_keys_on_nokey", sum(|shard| shard.blocking_keys_of_groups));
}

fn memory(source: &Source<'_>, text: &mut Text) {
    let Source { core, config, .. } = source;
    let used = core.memory_use();
    text.section("Memory");
    text.bytes("used_memory", used.used);
    text.bytes("used_memory_rss", used.used);
    text.bytes("used_memory_peak", used.peak);
    text.put("used_memory_peak_perc", format_args!("{:.2}%", percent(used.used, used.peak)));
    text.put("used_memory_overhead", used.overhead());
    text.put("used_memory_startup", used.startup);
    text.put("used_memory_dataset", used.dataset());
    let share = percent(used.dataset(), used.used.saturating_sub(used.startup));
    text.put("used_memory_dataset_perc", format_args!("{share:.2}%"));
    text.put("allocator_allocated", used.used);
    text.put("allocator_active", used.used);
    text.put("allocator_resident", used.used);
    text.bytes("total_system_memory", process::machine_memory());
    text.bytes("used_memory_lua", 0);
    text.bytes("used_memory_scripts", 0);
    text.zeros(&["number_of_cached_scripts", "number_of_functions", "number_of_libraries"]);
    text.bytes("maxmemory", config.maxmemory);
    text.put("maxmemory_policy", "noeviction");
    text.put("allocator_frag_ratio", "1.00");
    text.put("allocator_frag_bytes", 0);
    text.put("allocator_rss_ratio", "1.00");
    text.put("allocator_rss_bytes", 0);
    text.put("rss_overhead_ratio", "1.00");
    text.put("rss_overhead_bytes", 0);
    text.put("mem_fragmentation_ratio", "1.00");
    text.put("mem_fragmentation_bytes", 0);
    text.zeros(&[
        "mem_not_counted_for_evict",
        "mem_replication_backlog",
        "mem_total_replication_buffers",
        "mem_clients_slaves",
    ]);
    text.put("mem_clients_normal", used.clients);
    text.put("mem_cluster_links", 0);
    text.put("mem_aof_buffer", 0);
    text.put("mem_allocator", if cfg!(feature = "server") { "mimalloc" } else { "system" });
    text.zeros(&["active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects"]);
}

fn persistence(source: &Source<'_>, text: &mut Text) {
    let Source { core, stats, shards, .. } = source;
    let changes: u64 = shards.iter().map(|shard| shard.keyspace().changes).sum();
    let state = core.saver.state();
    let seconds = |value: Option<u64>| value.map_or(-1, |s| i64::try_from(s).unwrap_or(i64::MAX));
    let status = |outcome: Outcome| if outcome.ok { "ok" } else { "err" };
    let rewriting = |running: &Running| running.cause == Cause::Rewrite;
    let rewrite = state.running.as_ref().filter(|running| rewriting(running));
    let save = state.running.as_ref().filter(|running| !rewriting(running));
    let current = |running: Option<&Running>| {
        seconds(running.map(|running| running.since.elapsed().as_secs()))
    };
    text.section("Persistence");
    text.zeros(&["loading", "async_loading", "current_cow_peak", "current_cow_size"]);
    text.put("current_cow_size_age", 0);
    text.put("current_fork_perc", "0.00");
    let (processed, total) = state.running.map_or((0, 0), |_| core.saver.progress());
    text.put("current_save_keys_processed", processed.min(total));
    text.put("current_save_keys_total", total);
    text.put("rdb_changes_since_last_save", changes + state.unsaved);
    text.put("rdb_bgsave_in_progress", u8::from(save.is_some()));
    text.put("rdb_last_save_time", stats.saved_at_s.get());
    text.put("rdb_last_bgsave_status", status(state.save));
    text.put("rdb_last_bgsave_time_sec", seconds(state.save.seconds));
    text.put("rdb_current_bgsave_time_sec", current(save));
    text.put("rdb_saves", stats.saves.get());
    text.zeros(&["rdb_last_cow_size", "rdb_last_load_keys_expired"]);
    text.put("rdb_last_load_keys_loaded", state.keys_loaded);
    text.put("aof_enabled", u8::from(core.aof().is_some()));
    text.put("aof_rewrite_in_progress", u8::from(rewrite.is_some()));
    text.put("aof_rewrite_scheduled", u8::from(state.scheduled == Some(Cause::Rewrite)));
    text.put("aof_last_rewrite_time_sec", seconds(state.rewrite.seconds));
    text.put("aof_current_rewrite_time_sec", current(rewrite));
    text.put("aof_last_bgrewrite_status", status(state.rewrite));
    text.put("aof_rewrites", stats.rewrites.get());
    text.put("aof_rewrites_consecutive_failures", state.rewrite_failures);
    let refusing = core.aof().is_some_and(|aof| aof.is_refusing());
    text.put("aof_last_write_status", if refusing { "err" } else { "ok" });
    text.put("aof_last_cow_size", 0);
    text.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    let base_bytes = state.base_bytes;
    drop(state);
    if let Some(aof) = core.aof() {
        let counters = aof.counters();
        let behind = aof.end().0.saturating_sub(core.saver.base().0);
        text.put("aof_current_size", base_bytes + behind);
        text.put("aof_base_size", base_bytes);
        text.put("aof_pending_rewrite", 0);
        let unlogged: usize = shards.iter().map(|shard| shard.unlogged_bytes()).sum();
        text.put("aof_buffer_length", unlogged);
        text.put("aof_pending_bio_fsync", u8::from(aof.durable() < aof.end()));
        text.put("aof_delayed_fsync", stats.delayed_syncs.get());
        text.put("aof_position", aof.end());
        text.put("aof_durable_position", aof.durable());
        text.put("aof_frames", counters.frames);
        text.put("aof_syncs", counters.syncs);
    }
}

fn threads(source: &Source<'_>, text: &mut Text) {
    text.section("Threads");
    for (n, thread) in source.stats.threads().enumerate() {
        let (clients, reads, writes) =
            (thread.clients.get(), thread.reads.get(), thread.writes.get());
        let figures = format_args!("clients={clients},reads={reads},writes={writes}").to_string();
        text.put(&format!("io_thread_{n}"), figures);
    }
}

fn stats(source: &Source<'_>, text: &mut Text) {
    let Source { core, stats, shards, .. } = source;
    let keys = |figure: fn(&Keyspace) -> u64| {
        shards.iter().map(|shard| figure(shard.keyspace())).sum::<u64>()
    };
    let rates = stats.rates();
    #[expect(clippy::cast_precision_loss, reason = "a rate is no exact figure")]
    let kbps = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    text.section("Stats");
    text.put("total_connections_received", stats.connections.get());
    text.put("total_commands_processed", stats.sum(ThreadStats::calls));
    text.put("instantaneous_ops_per_sec", rates.commands);
    text.put("total_net_input_bytes", stats.sum(|thread| thread.net_input.get()));
    text.put("total_net_output_bytes", stats.sum(|thread| thread.net_output.get()));
    text.zeros(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    text.put("instantaneous_input_kbps", kbps(rates.net_input));
    text.put("instantaneous_output_kbps", kbps(rates.net_output));
    text.put("instantaneous_input_repl_kbps", "0.00");
    text.put("instantaneous_output_repl_kbps", "0.00");
    text.put("rejected_connections", stats.rejected_connections.get());
    text.zeros(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    text.zeros(&["expired_subkeys", "expired_subkeys_active"]);
    text.put("expired_keys", keys(|space| space.expired_keys));
    text.put("expired_keys_active", keys(|space| space.expired_keys_active));
    text.put("expired_stale_perc", "0.00");
    text.zeros(&["expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds"]);
    text.zeros(&["evicted_keys", "evicted_clients", "evicted_scripts"]);
    text.zeros(&["total_eviction_exceeded_time", "current_eviction_exceeded_time"]);
    text.put("keyspace_hits", keys(|space| space.hits));
    text.put("keyspace_misses", keys(|space| space.misses));
    let counts = core.pubsub.counts();
    text.put("pubsub_channels", counts.channels);
    text.put("pubsub_patterns", counts.patterns);
    text.put("pubsubshard_channels", counts.shard_channels);
    text.zeros(&["latest_fork_usec", "total_forks", "migrate_cached_sockets"]);
    text.zeros(&["slave_expires_tracked_keys", "active_defrag_hits", "active_defrag_misses"]);
    text.zeros(&["active_defrag_key_hits", "active_defrag_key_misses", "tracking_total_keys"]);
    text.zeros(&["tracking_total_items", "tracking_total_prefixes", "unexpected_error_replies"]);
    text.put("total_error_replies", stats.error_replies.get());
    text.put("dump_payload_sanitizations", 0);
    text.put("total_reads_processed", stats.sum(|thread| thread.reads.get()));
    text.put("total_writes_processed", stats.sum(|thread| thread.writes.get()));
    text.zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    text.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    let closes = [&stats.input_limit_closes, &stats.output_limit_closes].map(|n| n.get());
    text.put("client_query_buffer_limit_disconnections", closes[0]);
    text.put("client_output_buffer_limit_disconnections", closes[1]);
    text.put("acl_access_denied_auth", stats.denied_passwords.get());
    text.put("acl_access_denied_cmd", stats.denied_commands.get());
    text.put("acl_access_denied_key", stats.denied_keys.get());
    text.put("acl_access_denied_channel", stats.denied_channels.get());
}

fn replication(source: &Source<'_>, text: &mut Text) {
    text.section("Replication");
    text.put("role", "master");
    text.put("connected_slaves", 0);
    text.put("master_failover_state", "no-failover");
    text.put("master_replid", &source.core.identity.replication_id);
    text.put("master_replid2", "0".repeat(40));
    text.put("master_repl_offset", 0);
    text.put("second_repl_offset", -1);
    text.put("repl_backlog_active", 0);
    text.put("repl_backlog_size", 1 << 20);
    text.zeros(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

fn cpu(_: &Source<'_>, text: &mut Text) {
    let (all, main) = (process::cpu(), process::cpu_of_main_thread());
    text.section("CPU");
    for (name, seconds) in [
        ("used_cpu_sys", all.system),
        ("used_cpu_user", all.user),
        ("used_cpu_sys_children", all.children_system),
        ("used_cpu_user_children", all.children_user),
        ("used_cpu_sys_main_thread", main.system),
        ("used_cpu_user_main_thread", main.user),
    ] {
        text.put(name, format_args!("{seconds:.6}"));
    }
}

fn modules(_: &Source<'_>, text: &mut Text) {
    text.section("Modules");
}

fn command_stats(source: &Source<'_>, text: &mut Text) {
    text.section("Commandstats");
    for name in Name::ALL {
        let sums = source.stats.command(*name);
        if sums.calls + sums.rejected == 0 {
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "a mean is no exact figure")]
        let mean = sums.nanoseconds as f64 / 1000.0 / sums.calls.max(1) as f64;
        let figures = format!(
            "calls={},usec={},usec_per_call={mean:.2},rejected_calls={},failed_calls={}",
            sums.calls,
            sums.nanoseconds / 1000,
            sums.rejected,
            sums.failed
        );
        text.put(&format!("cmdstat_{}", name.full_name()), figures);
    }
}

fn error_stats(source: &Source<'_>, text: &mut Text) {
    text.section("Errorstats");
    for (code, count) in source.stats.error_counts() {
        text.put(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn latency_stats(source: &Source<'_>, text: &mut Text) {
    text.section("Latencystats");
    let wanted = &source.config.latency_tracking_info_percentiles;
    for row in TABLE {
        let histogram = source.stats.command(row.name).histogram;
        if histogram.total() == 0 {
            continue;
        }
        let figures: Vec<String> = wanted
            .iter()
            .filter_map(|percent| {
                let nanoseconds = histogram.percentile(percent.parse().ok()?);
                Some(format!("p{percent}={}.{:03}", nanoseconds / 1000, nanoseconds % 1000))
            })
            .collect();
        let name = format!("latency_percentiles_usec_{}", row.full_name());
        text.put(&name, figures.join(","));
    }
}

fn cluster(_: &Source<'_>, text: &mut Text) {
    text.section("Cluster");
    text.put("cluster_enabled", 0);
}

fn keyspace(source: &Source<'_>, text: &mut Text) {
    let now = source.now;
    text.section("Keyspace");
    for db in 0..DATABASES {
        let databases = source.shards.iter().map(|shard| shard.keyspace().database(db));
        let (mut keys, mut expires, mut ttl_ms) = (0_u64, 0_u64, 0_u64);
        for database in databases {
            let expiring = database.expiring_len() as u64;
            keys += database.len() as u64;
            expires += expiring;
            ttl_ms = ttl_ms.saturating_add(database.average_ttl_ms(now).saturating_mul(expiring));
        }
        if keys > 0 {
            let mean = ttl_ms.checked_div(expires).unwrap_or_default();
            let figures = format!("keys={keys},expires={expires},avg_ttl={mean},subexpiry=0");
            text.put(&format!("db{db}"), figures);
        }
    }
}

/// A size for people: `1.50K`.
fn human(bytes: u64) -> String {
    let units = [("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50)];
    let unit = units.iter().rev().find(|(_, bits)| bytes >> bits > 0);
    let Some((unit, bits)) = unit else { return format!("{bytes}B") };
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let size = bytes as f64 / (1_u64 << bits) as f64;
    format!("{size:.2}{unit}")
}

/// What share `part` is of `whole`, in per cent.
#[expect(clippy::cast_precision_loss, reason = "a share is no exact figure")]
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
