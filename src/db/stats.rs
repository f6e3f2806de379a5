//! Counters and gauges: what the server has done since it started or since CONFIG RESETSTAT, and
//! what it holds now.
//!
//! Each thread counts its own commands, so that counting costs no shared cache line; INFO adds
//! them up.

use super::latency::Latency;
use super::slowlog::SlowLog;
use crate::command::table::Name;
use crate::stream::UnixMs;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many different error codes are counted.
const ERROR_CODES_MAX: usize = 128;
/// The code that stands alone after more have come: whoever makes up codes gets no memory.
const ERRORS_DISABLED: &str = "ERRORSTATS_DISABLED";
/// How many buckets a histogram has; the last one takes whatever is longer.
const BUCKETS: usize = 32;

/// A counter that one thread writes and all may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds without the cost of an atomic addition: only the owning thread may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds, from any thread.
    pub fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Back to 0.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A figure that goes up and down; what it tells of now is not reset.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Raises it to `value`, if it is lower.
    pub fn raise(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// Adds, from any thread.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes away what was added, from any thread.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How times are distributed: bucket `i` counts those of at most 1024 × 2^i nanoseconds that the
/// one before does not.
#[derive(Debug, Default)]
pub struct Histogram([Counter; BUCKETS]);

impl Histogram {
    fn record(&self, calls: u64, nanoseconds: u64) {
        let bits = u64::BITS - nanoseconds.saturating_sub(1).leading_zeros();
        let bucket = bits.saturating_sub(10) as usize;
        self.0[bucket.min(BUCKETS - 1)].add(calls);
    }

    /// Its counts.
    pub fn counts(&self) -> HistogramCounts {
        HistogramCounts(std::array::from_fn(|bucket| self.0[bucket].get()))
    }

    fn reset(&self) {
        self.0.iter().for_each(Counter::reset);
    }
}

/// The counts of a histogram, or of the same one of several threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct HistogramCounts([u64; BUCKETS]);

impl HistogramCounts {
    /// Adds those of another thread.
    pub fn add(&mut self, other: HistogramCounts) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, n)| *sum += n);
    }

    /// How many times were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The buckets that are not empty: the greatest time in nanoseconds, and how many times are
    /// not greater.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let filled = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.scan(0, |sum, (bucket, count)| {
            *sum += count;
            // Redis's buckets end a 128th higher.
            Some(((1032 << bucket) - 1, *sum))
        })
    }

    /// The time in nanoseconds that this many per cent do not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "a percentile is no exact figure")]
        let wanted = self.total() as f64 * percent / 100.0;
        #[expect(clippy::cast_precision_loss, reason = "as above")]
        let reached = self.cumulative().find(|(_, sum)| *sum as f64 >= wanted);
        reached.map_or(0, |(nanoseconds, _)| nanoseconds)
    }
}

/// What one command has done on one thread.
#[derive(Debug, Default)]
pub struct CommandCounters {
    /// Calls that ran.
    pub calls: Counter,
    /// Their time, in nanoseconds.
    pub nanoseconds: Counter,
    /// Calls refused before they ran.
    pub rejected: Counter,
    /// Calls that ran and answered with an error.
    pub failed: Counter,
    /// How the times are distributed.
    pub histogram: Histogram,
}

impl CommandCounters {
    /// Counts calls that ran within this time, in the histogram only if it is `tracked`. Only the
    /// owning thread may call it. **Cost**: three plain additions.
    pub fn ran(&self, calls: u64, nanoseconds: u64, tracked: bool) {
        self.calls.add(calls);
        self.nanoseconds.add(nanoseconds);
        if tracked {
            self.histogram.record(calls, nanoseconds / calls.max(1));
        }
    }

    fn reset(&self) {
        for counter in [&self.calls, &self.nanoseconds, &self.rejected, &self.failed] {
            counter.reset();
        }
        self.histogram.reset();
    }
}

/// The sums of one command over all threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommandSums {
    /// Calls that ran.
    pub calls: u64,
    /// Their time, in nanoseconds.
    pub nanoseconds: u64,
    /// Calls refused before they ran.
    pub rejected: u64,
    /// Calls that ran and answered with an error.
    pub failed: u64,
    /// How the times are distributed.
    pub histogram: HistogramCounts,
}

/// One thread's counters and gauges.
#[derive(Debug)]
pub struct ThreadStats {
    commands: Box<[CommandCounters]>,
    /// Bytes read from clients.
    pub net_input: Counter,
    /// Bytes written to clients.
    pub net_output: Counter,
    /// Reads that brought bytes.
    pub reads: Counter,
    /// Writes.
    pub writes: Counter,
    /// Clients that are connected.
    pub clients: Gauge,
    /// Clients that watch a key.
    pub watching_clients: Gauge,
    /// Clients that wait for something else than entries: the disk, the end of a pause.
    pub waiting_clients: Gauge,
    /// Clients that wait with a time limit.
    pub timed_clients: Gauge,
    /// Bytes that the clients' buffers take.
    pub client_bytes: Gauge,
    /// The largest input buffer of a client, of late, in bytes.
    pub input_buffer_max: Gauge,
    /// The largest output buffer of a client, of late, in bytes.
    pub output_buffer_max: Gauge,
}

impl ThreadStats {
    fn new() -> Self {
        ThreadStats {
            commands: (0..Name::COUNT).map(|_| CommandCounters::default()).collect(),
            net_input: Counter::default(),
            net_output: Counter::default(),
            reads: Counter::default(),
            writes: Counter::default(),
            clients: Gauge::default(),
            watching_clients: Gauge::default(),
            waiting_clients: Gauge::default(),
            timed_clients: Gauge::default(),
            client_bytes: Gauge::default(),
            input_buffer_max: Gauge::default(),
            output_buffer_max: Gauge::default(),
        }
    }

    /// The counters of a command.
    pub fn command(&self, name: Name) -> &CommandCounters {
        &self.commands[name.index()]
    }

    /// Calls of all commands.
    pub fn calls(&self) -> u64 {
        self.commands.iter().map(|command| command.calls.get()).sum()
    }

    fn reset(&self) {
        self.commands.iter().for_each(CommandCounters::reset);
        for counter in [&self.net_input, &self.net_output, &self.reads, &self.writes] {
            counter.reset();
        }
    }
}

/// How fast things go, measured over the last second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Commands in a second.
    pub commands: u64,
    /// Bytes read from clients in a second.
    pub net_input: u64,
    /// Bytes written to clients in a second.
    pub net_output: u64,
}

/// The counters when they were last looked at, and what they had grown by.
#[derive(Debug, Default)]
struct Sample {
    at: UnixMs,
    counters: Rates,
    rates: Rates,
}

#[derive(Debug, Default)]
struct Errors {
    counts: BTreeMap<String, u64>,
    /// Whether too many codes have come.
    disabled: bool,
}

/// All counters and gauges.
#[derive(Debug)]
pub struct Stats {
    threads: Vec<ThreadStats>,
    errors: Mutex<Errors>,
    sample: Mutex<Sample>,
    listeners: Mutex<Vec<String>>,
    /// Error replies.
    pub error_replies: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections refused for `maxclients`.
    pub rejected_connections: Counter,
    /// Connections closed for what they had not read.
    pub output_limit_closes: Counter,
    /// Connections closed for a request that was too long.
    pub input_limit_closes: Counter,
    /// Wrong passwords.
    pub denied_passwords: Counter,
    /// Commands that a user may not run.
    pub denied_commands: Counter,
    /// Keys that a user may not touch.
    pub denied_keys: Counter,
    /// Channels that a user may not use.
    pub denied_channels: Counter,
    /// The TCP port that is listened on; 0 is none.
    pub tcp_port: Gauge,
    /// When data was last saved, in Unix seconds.
    pub saved_at_s: Gauge,
    /// How often it was saved.
    pub saves: Counter,
    /// How often the append-only file was made compact.
    pub rewrites: Counter,
    /// How often a writer had to wait until the disk had caught up.
    pub delayed_syncs: Counter,
    /// Slow commands.
    pub slow_log: SlowLog,
    /// Delays.
    pub latency: Latency,
}

impl Stats {
    /// Counters of so many threads, all 0.
    pub fn new(threads: usize) -> Self {
        Stats {
            threads: (0..threads).map(|_| ThreadStats::new()).collect(),
            errors: Mutex::default(),
            sample: Mutex::default(),
            listeners: Mutex::default(),
            error_replies: Counter::default(),
            connections: Counter::default(),
            rejected_connections: Counter::default(),
            output_limit_closes: Counter::default(),
            input_limit_closes: Counter::default(),
            denied_passwords: Counter::default(),
            denied_commands: Counter::default(),
            denied_keys: Counter::default(),
            denied_channels: Counter::default(),
            tcp_port: Gauge::default(),
            saved_at_s: Gauge::default(),
            saves: Counter::default(),
            rewrites: Counter::default(),
            delayed_syncs: Counter::default(),
            slow_log: SlowLog::default(),
            latency: Latency::default(),
        }
    }

    /// The counters of one thread.
    pub fn thread(&self, index: usize) -> &ThreadStats {
        &self.threads[index]
    }

    /// The counters of all threads.
    pub fn threads(&self) -> impl Iterator<Item = &ThreadStats> {
        self.threads.iter()
    }

    /// The sum of a figure over all threads.
    pub fn sum(&self, figure: impl Fn(&ThreadStats) -> u64) -> u64 {
        self.threads.iter().map(figure).sum()
    }

    /// The sums of a command over all threads.
    pub fn command(&self, name: Name) -> CommandSums {
        let mut sums = CommandSums::default();
        for command in self.threads.iter().map(|thread| thread.command(name)) {
            sums.calls += command.calls.get();
            sums.nanoseconds += command.nanoseconds.get();
            sums.rejected += command.rejected.get();
            sums.failed += command.failed.get();
            sums.histogram.add(command.histogram.counts());
        }
        sums
    }

    /// Counts an error reply under its code.
    pub fn count_error(&self, code: &str) {
        self.error_replies.add_shared(1);
        let mut errors = lock(&self.errors);
        if let Some(count) = errors.counts.get_mut(code) {
            *count += 1;
        } else if errors.counts.len() < ERROR_CODES_MAX && !errors.disabled {
            errors.counts.insert(code.to_owned(), 1);
        } else if !errors.disabled {
            errors.counts.clear();
            errors.counts.insert(ERRORS_DISABLED.to_owned(), 1);
            errors.disabled = true;
        }
    }

    /// Error replies by code.
    pub fn error_counts(&self) -> Vec<(String, u64)> {
        lock(&self.errors).counts.iter().map(|(code, count)| (code.clone(), *count)).collect()
    }

    /// Notes where the server listens: for each listener a text like
    /// `name=tcp,bind=127.0.0.1,port=6379`.
    pub fn set_listeners(&self, listeners: Vec<String>) {
        *lock(&self.listeners) = listeners;
    }

    /// Where the server listens.
    pub fn listeners(&self) -> Vec<String> {
        lock(&self.listeners).clone()
    }

    /// Looks at what the counters have grown by. To be called about once a second.
    pub fn sample(&self, now: UnixMs) {
        let counters = Rates {
            commands: self.sum(ThreadStats::calls),
            net_input: self.sum(|thread| thread.net_input.get()),
            net_output: self.sum(|thread| thread.net_output.get()),
        };
        let mut sample = lock(&self.sample);
        let elapsed_ms = now.0.saturating_sub(sample.at.0).max(1);
        let before = sample.counters;
        let rate = |after: u64, before: u64| after.saturating_sub(before) * 1000 / elapsed_ms;
        sample.rates = Rates {
            commands: rate(counters.commands, before.commands),
            net_input: rate(counters.net_input, before.net_input),
            net_output: rate(counters.net_output, before.net_output),
        };
        sample.at = now;
        sample.counters = counters;
    }

    /// How fast things went when they were last looked at.
    pub fn rates(&self) -> Rates {
        lock(&self.sample).rates
    }

    /// Sets everything back that CONFIG RESETSTAT sets back.
    pub fn reset(&self) {
        self.threads.iter().for_each(ThreadStats::reset);
        *lock(&self.errors) = Errors::default();
        for counter in [
            &self.error_replies,
            &self.connections,
            &self.rejected_connections,
            &self.output_limit_closes,
            &self.input_limit_closes,
            &self.denied_passwords,
            &self.denied_commands,
            &self.denied_keys,
            &self.denied_channels,
            &self.delayed_syncs,
        ] {
            counter.reset();
        }
    }
}

/// Locks; what a panicked thread left behind is still sound, for each change is one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_the_bucket_that_redis_names() {
        let histogram = Histogram::default();
        for nanoseconds in [0, 1024, 1025, 2048, 32_768, 1_000_000, u64::MAX] {
            histogram.record(1, nanoseconds);
        }
        let buckets: Vec<(u64, u64)> =
            histogram.counts().cumulative().map(|(ns, sum)| (ns / 1000, sum)).collect();
        assert_eq!(buckets[..4], [(1, 2), (2, 4), (33, 5), (1056, 6)]);
        assert_eq!(histogram.counts().total(), 7);
        assert_eq!(histogram.counts().percentile(50.0) / 1000, 2);
        assert_eq!(HistogramCounts::default().percentile(50.0), 0);
    }

    #[test]
    fn made_up_error_codes_take_no_memory() {
        let stats = Stats::new(1);
        for n in 0..1000 {
            stats.count_error(&n.to_string());
        }
        assert_eq!(stats.error_counts(), [(ERRORS_DISABLED.to_owned(), 1)]);
        assert_eq!(stats.error_replies.get(), 1000);
        stats.reset();
        stats.count_error("ERR");
        assert_eq!(stats.error_counts(), [("ERR".to_owned(), 1)]);
    }

    #[test]
    fn rates_are_those_of_the_last_second() {
        let stats = Stats::new(2);
        stats.sample(UnixMs(1000));
        stats.thread(1).command(Name::XAdd).ran(1, 5000, true);
        stats.thread(0).net_input.add(3000);
        stats.sample(UnixMs(1500));
        assert_eq!(stats.rates(), Rates { commands: 2, net_input: 6000, net_output: 0 });
        stats.reset();
        stats.sample(UnixMs(2500));
        assert_eq!(stats.rates(), Rates::default());
        assert_eq!(stats.command(Name::XAdd).calls, 0);
    }
}
