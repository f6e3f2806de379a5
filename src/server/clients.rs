//! The registry of clients: what one connection lets others see of it and do to it.

use super::attention::Attention;
use super::socket::Origin;
use crate::command::Protocol;
use crate::config::Config;
use crate::db::stats::Stats;
use crate::pubsub::{Message, Sink};
use crate::shard::waiters::WaitCell;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// What a connection needs beside its buffers, about, in bytes.
pub(crate) const CONNECTION_BYTES: u64 = 1024;

const ALIVE: u8 = 0;
const KILLED: u8 = 1;
const LEFT_UNREAD: u8 = 2;

/// What others may know of a connection, and where they reach it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) origin: Origin,
    /// When it connected, by the wall clock, in milliseconds.
    pub(crate) since_ms: u64,
    /// Its thread.
    pub(crate) thread: usize,
    pub(crate) seen: Seen,
    /// `None`: nothing.
    names: Mutex<Option<Box<Names>>>,
    /// Wakes the connection's task: look at everything below.
    pub(crate) attention: Attention,
    /// Set when a watched key changes; made when it is first asked for.
    dirty: OnceLock<Arc<AtomicBool>>,
    killed: AtomicU8,
    /// The wait it is blocked in.
    wait: Mutex<Option<Arc<WaitCell>>>,
    mailbox: Mutex<Mailbox>,
    /// Since when it has been above the soft limit of its output, in milliseconds; or 0.
    over_since_ms: AtomicU64,
}

/// What others have for the client.
#[derive(Debug, Default)]
struct Mailbox {
    /// How frames are rendered.
    protocol: Protocol,
    /// `None`: nobody has ever had anything.
    mail: Option<Box<Mail>>,
}

/// Frames in order.
#[derive(Debug, Default)]
struct Mail {
    frames: VecDeque<Bytes>,
    bytes: u64,
}

/// Bits of [`Seen::flags`].
pub(crate) mod flag {
    /// It receives a line for every command.
    pub(crate) const MONITOR: u32 = 1;
    /// It has a subscription.
    pub(crate) const SUBSCRIBED: u32 = 1 << 1;
    /// CLIENT NO-EVICT.
    pub(crate) const NO_EVICT: u32 = 1 << 2;
    /// CLIENT NO-TOUCH.
    pub(crate) const NO_TOUCH: u32 = 1 << 3;
    /// It waits for the end of CLIENT PAUSE.
    pub(crate) const PAUSED: u32 = 1 << 4;
    /// It is closed when its replies have left.
    pub(crate) const CLOSING: u32 = 1 << 5;
}

/// What the connection's task writes down after each batch of commands.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) last_ms: AtomicU64,
    /// The index of the last command's row, plus 1; 0 before the first.
    pub(crate) command: AtomicU32,
    pub(crate) db: AtomicU8,
    pub(crate) protocol: AtomicU8,
    /// Commands queued by MULTI; -1 outside.
    pub(crate) queued: AtomicI64,
    pub(crate) watched: AtomicU32,
    pub(crate) flags: AtomicU32,
    pub(crate) input_bytes: AtomicU64,
    pub(crate) output_bytes: AtomicU64,
    pub(crate) unread_bytes: AtomicU64,
    pub(crate) unsent_bytes: AtomicU64,
    pub(crate) commands: AtomicU64,
}

/// What the client has said of itself.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    pub(crate) name: Box<str>,
    pub(crate) library: Box<str>,
    pub(crate) library_version: Box<str>,
}

impl Shared {
    pub(crate) fn new(id: u64, origin: Origin, since_ms: u64, thread: usize) -> Arc<Shared> {
        let seen = Seen::default();
        seen.queued.store(-1, Ordering::Relaxed);
        seen.last_ms.store(since_ms, Ordering::Relaxed);
        Arc::new(Shared {
            id,
            origin,
            since_ms,
            thread,
            seen,
            names: Mutex::default(),
            attention: Attention::default(),
            dirty: OnceLock::new(),
            killed: AtomicU8::new(ALIVE),
            wait: Mutex::default(),
            mailbox: Mutex::default(),
            over_since_ms: AtomicU64::new(0),
        })
    }

    /// Closes the connection soon.
    pub(crate) fn kill(&self) {
        self.close(KILLED);
    }

    fn close(&self, reason: u8) {
        // The first reason stays.
        let _ = self.killed.compare_exchange(ALIVE, reason, Ordering::AcqRel, Ordering::Relaxed);
        self.attention.call();
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire) != ALIVE
    }

    /// Whether it was closed because it did not read what it was sent.
    pub(crate) fn left_output_unread(&self) -> bool {
        self.killed.load(Ordering::Acquire) == LEFT_UNREAD
    }

    /// What the client has said of itself.
    pub(crate) fn names(&self) -> Names {
        lock(&self.names).as_deref().cloned().unwrap_or_default()
    }

    /// Changes what the client has said of itself.
    pub(crate) fn rename(&self, change: impl FnOnce(&mut Names)) {
        change(lock(&self.names).get_or_insert_default());
    }

    /// What is set when a watched key changes.
    pub(crate) fn dirty(&self) -> &Arc<AtomicBool> {
        self.dirty.get_or_init(Arc::default)
    }

    /// Whether a watched key has changed.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.get().is_some_and(|dirty| dirty.load(Ordering::Acquire))
    }

    /// Says what wait the client is in.
    pub(crate) fn set_wait(&self, wait: Option<Arc<WaitCell>>) {
        *lock(&self.wait) = wait;
    }

    /// The wait the client is in.
    pub(crate) fn wait(&self) -> Option<Arc<WaitCell>> {
        lock(&self.wait).clone()
    }

    /// Puts a frame into the client's mailbox; one that leaves more than `bytes_max` bytes unread
    /// is closed instead.
    pub(crate) fn post(&self, frame: Bytes, bytes_max: u64) {
        self.post_with(|_| frame, bytes_max);
    }

    fn post_with(&self, frame: impl FnOnce(Protocol) -> Bytes, bytes_max: u64) {
        if self.is_killed() {
            return;
        }
        let mut mailbox = lock(&self.mailbox);
        let frame = frame(mailbox.protocol);
        let mail = mailbox.mail.get_or_insert_default();
        mail.bytes += frame.len() as u64;
        let unread = mail.bytes + self.seen.unsent_bytes.load(Ordering::Relaxed);
        if bytes_max > 0 && unread > bytes_max {
            **mail = Mail::default();
            drop(mailbox);
            self.close_for_output(unread);
            return;
        }
        mail.frames.push_back(frame);
        drop(mailbox);
        self.attention.call();
    }

    /// Closes a client that does not read what it is sent.
    pub(crate) fn close_for_output(&self, unread: u64) {
        tracing::warn!(
            "client {} at {} is closed: it has left {unread} bytes of output unread",
            self.id,
            self.origin.address()
        );
        self.close(LEFT_UNREAD);
    }

    /// Takes what is in the mailbox: if it is more than `max` bytes, the first frames that make as
    /// many. What stays is shared with the other clients that it is for, and costs little.
    pub(crate) fn take_mail(&self, max: u64) -> VecDeque<Bytes> {
        let mut mailbox = lock(&self.mailbox);
        let Some(mail) = &mut mailbox.mail else { return VecDeque::new() };
        let mut bytes = 0;
        let first = mail.frames.iter().position(|frame| {
            bytes += frame.len() as u64;
            bytes >= max
        });
        mail.bytes -= bytes;
        match first {
            Some(last) => mail.frames.drain(..=last).collect(),
            None => std::mem::take(&mut mail.frames),
        }
    }

    fn mail_bytes(&self) -> u64 {
        lock(&self.mailbox).mail.as_ref().map_or(0, |mail| mail.bytes)
    }

    /// Messages are rendered for this protocol from now on; returns those rendered before.
    pub(crate) fn set_protocol(&self, protocol: Protocol) -> VecDeque<Bytes> {
        let mut mailbox = lock(&self.mailbox);
        mailbox.protocol = protocol;
        mailbox.mail.take().map(|mail| mail.frames).unwrap_or_default()
    }

    /// Whether one of these [`flag`]s is set.
    pub(crate) fn has(&self, flags: u32) -> bool {
        self.seen.flags.load(Ordering::Relaxed) & flags != 0
    }

    /// Sets or clears a [`flag`]; only the connection's own task calls it.
    pub(crate) fn mark(&self, flag: u32, on: bool) {
        let flags = self.seen.flags.load(Ordering::Relaxed);
        let flags = if on { flags | flag } else { flags & !flag };
        self.seen.flags.store(flags, Ordering::Relaxed);
    }

    /// Whether it waits: for entries, for the disk, or for the end of a pause.
    pub(crate) fn is_blocked(&self) -> bool {
        self.has(flag::PAUSED) || self.wait().is_some()
    }

    /// Moves what the client did last along with the wall clock, so that it has not been idle for
    /// longer because of a step. What is after a clock set back was written before the step.
    fn step_clock(&self, now_ms: u64, step_ms: i64) {
        for time in [&self.seen.last_ms, &self.over_since_ms] {
            let at_ms = time.load(Ordering::Relaxed);
            if at_ms > 0 && (step_ms > 0 || at_ms > now_ms) {
                let moved_ms = at_ms.saturating_add_signed(step_ms).clamp(1, now_ms.max(1));
                // The time of a command that comes just now may be lost, until the next one.
                time.store(moved_ms, Ordering::Relaxed);
            }
        }
    }

    /// Closes the client if it has been idle, or has left its output unread, for too long.
    fn tend(&self, config: &Config, now_ms: u64) {
        let limits = &config.client_output_buffer_limit;
        let limit = if self.has(flag::SUBSCRIBED) { &limits.pubsub } else { &limits.normal };
        let unread = self.mail_bytes() + self.seen.unsent_bytes.load(Ordering::Relaxed);
        if limit.hard_bytes > 0 && unread > limit.hard_bytes {
            return self.close_for_output(unread);
        }
        let mut since = 0;
        if limit.soft_bytes > 0 && unread > limit.soft_bytes {
            since = self.over_since_ms.load(Ordering::Relaxed);
            if since == 0 {
                since = now_ms;
            } else if now_ms.saturating_sub(since) >= limit.soft_seconds.saturating_mul(1000) {
                return self.close_for_output(unread);
            }
        }
        self.over_since_ms.store(since, Ordering::Relaxed);
        let idle_ms = now_ms.saturating_sub(self.seen.last_ms.load(Ordering::Relaxed));
        let is_listening = self.has(flag::SUBSCRIBED | flag::MONITOR);
        let idle_max_ms = u64::from(config.timeout) * 1000;
        if idle_max_ms > 0 && idle_ms > idle_max_ms && !is_listening && !self.is_blocked() {
            tracing::debug!("client {} is closed: it was idle", self.id);
            self.kill();
        }
    }
}

/// Where the messages for a subscriber go: its mailbox.
pub(crate) struct Listener {
    pub(crate) client: Arc<Shared>,
    pub(crate) limits: Arc<Limits>,
}

impl Sink for Listener {
    fn push(&self, message: &Message) {
        let render = |protocol| match protocol {
            Protocol::Resp2 => message.resp2(),
            Protocol::Resp3 => message.resp3(),
        };
        self.client.post_with(render, self.limits.pubsub.load(Ordering::Relaxed));
    }
}

/// How many bytes a client may leave unread, as the settings say now; 0 is no limit.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) normal: AtomicU64,
    pub(crate) pubsub: AtomicU64,
}

impl Limits {
    /// Takes them from the settings.
    pub(crate) fn set(&self, config: &Config) {
        let limits = &config.client_output_buffer_limit;
        self.normal.store(limits.normal.hard_bytes, Ordering::Relaxed);
        self.pubsub.store(limits.pubsub.hard_bytes, Ordering::Relaxed);
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next_id: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Shared>>>,
    pub(crate) limits: Arc<Limits>,
    clock: Mutex<ClockWatch>,
}

/// Finds steps of the wall clock: it compares it with the one that has none.
#[derive(Debug, Default)]
struct ClockWatch {
    /// What both told when the clients were last looked after.
    last: Option<(u64, Instant)>,
}

impl ClockWatch {
    /// How far the wall clock has been set since the last call; `None`: not by a second.
    fn step_ms(&mut self, now_ms: u64) -> Option<i64> {
        let now = Instant::now();
        let (last_ms, last) = self.last.replace((now_ms, now))?;
        let passed_ms = u64::try_from(now.duration_since(last).as_millis()).unwrap_or(u64::MAX);
        let step_ms = now_ms.checked_signed_diff(last_ms.saturating_add(passed_ms))?;
        (step_ms.unsigned_abs() >= 1000).then_some(step_ms)
    }
}

impl Clients {
    /// A number that no client had before.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a client, unless there are `max`.
    pub(crate) fn add(&self, client: &Arc<Shared>, max: usize) -> bool {
        let mut all = lock(&self.all);
        if all.len() >= max {
            return false;
        }
        all.insert(client.id, client.clone());
        true
    }

    pub(crate) fn remove(&self, id: u64) {
        lock(&self.all).remove(&id);
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Shared>> {
        lock(&self.all).get(&id).cloned()
    }

    /// All of them, by number.
    pub(crate) fn list(&self) -> Vec<Arc<Shared>> {
        lock(&self.all).values().cloned().collect()
    }

    /// Closes those that have been idle, or have left their output unread, for too long; and
    /// tells how large the buffers are.
    pub(crate) fn tend(&self, config: &Config, now_ms: u64, stats: &Stats) {
        self.limits.set(config);
        let list = self.list();
        if let Some(step_ms) = lock(&self.clock).step_ms(now_ms) {
            list.iter().for_each(|client| client.step_clock(now_ms, step_ms));
        }
        list.iter().for_each(|client| client.tend(config, now_ms));
        for (index, thread) in stats.threads().enumerate() {
            let (mut bytes, mut input, mut output) = (0, 0, 0);
            for client in list.iter().filter(|client| client.thread == index) {
                let unread = client.seen.unread_bytes.load(Ordering::Relaxed);
                let unsent = client.seen.unsent_bytes.load(Ordering::Relaxed);
                bytes += CONNECTION_BYTES + unread + unsent;
                (input, output) = (unread.max(input), unsent.max(output));
            }
            thread.client_bytes.set(bytes);
            thread.input_buffer_max.set(input);
            thread.output_buffer_max.set(output);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
