//! The registry of clients: what one connection lets others see of it and do to it.

use crate::shard::waiters::WaitCell;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// What others may know of a connection, and where they reach it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) address: Box<str>,
    pub(crate) local_address: Box<str>,
    /// When it connected, by the wall clock, in milliseconds.
    pub(crate) since_ms: u64,
    /// Its thread.
    pub(crate) thread: usize,
    pub(crate) seen: Seen,
    pub(crate) names: Mutex<Names>,
    /// Wakes the connection's task: look at everything below.
    pub(crate) attention: Attention,
    killed: AtomicBool,
    /// The wait it is blocked in.
    wait: Mutex<Option<Arc<WaitCell>>>,
    mailbox: Mutex<Mailbox>,
}

/// A bell that any thread rings and one task hears. Waiting for it costs a task nothing but the
/// look at a flag.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Attention {
    /// Rings.
    pub(crate) fn call(&self) {
        self.rung.store(true, Ordering::Release);
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake_by_ref();
        }
    }

    /// Whether it has rung since the last time.
    pub(crate) fn take(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }

    /// Hears it from now on; returns whether it has rung already.
    pub(crate) fn listen(&self, context: &Context<'_>) -> bool {
        let mut waker = lock(&self.waker);
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        drop(waker);
        self.rung.load(Ordering::Acquire)
    }
}

/// Frames that others have for the client, in order.
#[derive(Debug, Default)]
struct Mailbox {
    frames: Vec<Bytes>,
    bytes: usize,
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
    pub(crate) fn new(
        id: u64,
        (address, local_address): (Box<str>, Box<str>),
        since_ms: u64,
        thread: usize,
    ) -> Arc<Shared> {
        let seen = Seen::default();
        seen.queued.store(-1, Ordering::Relaxed);
        seen.last_ms.store(since_ms, Ordering::Relaxed);
        Arc::new(Shared {
            id,
            address,
            local_address,
            since_ms,
            thread,
            seen,
            names: Mutex::default(),
            attention: Attention::default(),
            killed: AtomicBool::new(false),
            wait: Mutex::default(),
            mailbox: Mutex::default(),
        })
    }

    /// Closes the connection soon.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.attention.call();
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Says what wait the client is in.
    pub(crate) fn set_wait(&self, wait: Option<Arc<WaitCell>>) {
        *lock(&self.wait) = wait;
    }

    /// The wait the client is in.
    pub(crate) fn wait(&self) -> Option<Arc<WaitCell>> {
        lock(&self.wait).clone()
    }

    /// Puts a frame into the client's mailbox; one that holds more than `bytes_max` unread bytes
    /// is closed instead.
    pub(crate) fn post(&self, frame: Bytes, bytes_max: usize) {
        let mut mailbox = lock(&self.mailbox);
        mailbox.bytes += frame.len();
        if bytes_max > 0 && mailbox.bytes > bytes_max {
            drop(mailbox);
            self.kill();
            return;
        }
        mailbox.frames.push(frame);
        drop(mailbox);
        self.attention.call();
    }

    /// Takes what is in the mailbox.
    pub(crate) fn take_mail(&self) -> Vec<Bytes> {
        let mut mailbox = lock(&self.mailbox);
        mailbox.bytes = 0;
        std::mem::take(&mut mailbox.frames)
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next_id: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Shared>>>,
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

    pub(crate) fn len(&self) -> usize {
        lock(&self.all).len()
    }

    /// All of them, by number.
    pub(crate) fn list(&self) -> Vec<Arc<Shared>> {
        lock(&self.all).values().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
