//! Counters: what the server has done since it started or since CONFIG RESETSTAT.
//!
//! Each thread counts its own commands, so that counting costs no shared cache line; INFO adds
//! them up.

use crate::command::table::Name;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many different error codes are counted.
const ERROR_CODES_MAX: usize = 128;

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
}

/// One thread's counters.
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
}

impl ThreadStats {
    /// The counters of a command.
    pub fn command(&self, name: Name) -> &CommandCounters {
        &self.commands[name.index()]
    }
}

/// All counters.
#[derive(Debug)]
pub struct Stats {
    threads: Vec<ThreadStats>,
    errors: Mutex<BTreeMap<String, u64>>,
    /// Error replies.
    pub error_replies: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections refused for `maxclients`.
    pub rejected_connections: Counter,
}

impl Stats {
    /// Counters of so many threads, all 0.
    pub fn new(threads: usize) -> Self {
        let thread = || ThreadStats {
            commands: (0..Name::COUNT).map(|_| CommandCounters::default()).collect(),
            net_input: Counter::default(),
            net_output: Counter::default(),
            reads: Counter::default(),
            writes: Counter::default(),
        };
        Stats {
            threads: (0..threads).map(|_| thread()).collect(),
            errors: Mutex::default(),
            error_replies: Counter::default(),
            connections: Counter::default(),
            rejected_connections: Counter::default(),
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

    /// Counts an error reply under its code.
    pub fn count_error(&self, code: &str) {
        self.error_replies.add_shared(1);
        let mut errors = self.errors();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }

    /// Error replies by code.
    pub fn error_counts(&self) -> Vec<(String, u64)> {
        self.errors().iter().map(|(code, count)| (code.clone(), *count)).collect()
    }

    /// Sets everything back that CONFIG RESETSTAT sets back.
    pub fn reset(&self) {
        for thread in &self.threads {
            for command in &thread.commands {
                command.calls.reset();
                command.nanoseconds.reset();
                command.rejected.reset();
                command.failed.reset();
            }
            for counter in [&thread.net_input, &thread.net_output, &thread.reads, &thread.writes] {
                counter.reset();
            }
        }
        self.errors().clear();
        for counter in [&self.error_replies, &self.connections, &self.rejected_connections] {
            counter.reset();
        }
    }

    fn errors(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
