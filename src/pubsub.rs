//! Publish/subscribe: who listens to which channels and patterns, and the delivery of messages.
//!
//! All threads share one [`PubSub`]. Messages are delivered while its lock is held, so that every
//! subscriber sees the messages of all publishers in one order. Nothing is kept: a message that
//! nobody listens to is gone.
//!
//! | frame, in RESP2 | elements |
//! |---|---|
//! | `*3` | `message`, channel, data |
//! | `*4` | `pmessage`, pattern, channel, data |
//! | `*3` | `smessage`, channel, data |
//!
//! In RESP3 the frame is the same behind a `>` in place of the `*`.
//!
//! Invariants: a name has an entry as long as it has a subscriber, a client as long as it has a
//! subscription; the two sides agree ([`PubSub::check`]).

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::glob;

/// The three name spaces of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SUBSCRIBE, PUBLISH.
    Channel,
    /// PSUBSCRIBE, PUBLISH.
    Pattern,
    /// SSUBSCRIBE, SPUBLISH.
    Shard,
}

/// Where the messages of one client go.
pub trait Sink: Send + Sync {
    /// Takes a message, in the protocol that the client speaks now. The registry is locked: the
    /// call must be short, must not wait, and must not come back to the registry. A client that
    /// reads too slowly is to be marked here and closed elsewhere.
    fn push(&self, message: &Message);
}

/// One message, rendered at most once for each protocol and shared by all that receive it.
#[derive(Debug)]
pub struct Message {
    resp2: Bytes,
    resp3: OnceCell<Bytes>,
}

impl Message {
    /// Renders the elements of a message.
    fn new(elements: &[&[u8]]) -> Self {
        let length: usize = elements.iter().map(|element| element.len() + 24).sum();
        let mut frame = Vec::with_capacity(length + 8);
        // Writing to a `Vec` does not fail.
        let _ = write!(frame, "*{}\r\n", elements.len());
        for element in elements {
            let _ = write!(frame, "${}\r\n", element.len());
            frame.extend_from_slice(element);
            frame.extend_from_slice(b"\r\n");
        }
        Message { resp2: frame.into(), resp3: OnceCell::new() }
    }

    /// The frame for a client that speaks RESP2: an array.
    pub fn resp2(&self) -> Bytes {
        self.resp2.clone()
    }

    /// The frame for a client that speaks RESP3: a push.
    pub fn resp3(&self) -> Bytes {
        let render = || {
            let mut frame = self.resp2.to_vec();
            frame[0] = b'>';
            frame.into()
        };
        self.resp3.get_or_init(render).clone()
    }
}

/// How many names and clients there are, for INFO and PUBSUB NUMPAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Channels with a subscriber.
    pub channels: usize,
    /// Different patterns.
    pub patterns: usize,
    /// Shard channels with a subscriber.
    pub shard_channels: usize,
    /// Clients with a subscription.
    pub clients: usize,
}

/// How many subscriptions one client has, for CLIENT LIST and the replies to SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCounts {
    /// Channels.
    pub channels: usize,
    /// Patterns.
    pub patterns: usize,
    /// Shard channels.
    pub shard_channels: usize,
}

impl ClientCounts {
    /// The number in the reply to a (un)subscription of this kind: channels and patterns count
    /// together, shard channels alone.
    pub fn replied(self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.channels + self.patterns,
            Kind::Shard => self.shard_channels,
        }
    }
}

/// The registry of all subscriptions.
#[derive(Default)]
pub struct PubSub {
    registry: Mutex<Registry>,
    /// The number of clients with a subscription, to be read without the lock.
    clients: AtomicUsize,
}

/// Subscribers in the order of their ids, in which they receive a message.
type Subscribers = BTreeMap<u64, Arc<dyn Sink>>;

/// Both sides of the subscriptions.
#[derive(Default)]
struct Registry {
    channels: HashMap<Bytes, Subscribers>,
    patterns: BTreeMap<Bytes, Subscribers>,
    shards: HashMap<Bytes, Subscribers>,
    clients: HashMap<u64, Client>,
}

/// What one client listens to.
#[derive(Default)]
struct Client {
    channels: BTreeSet<Bytes>,
    patterns: BTreeSet<Bytes>,
    shards: BTreeSet<Bytes>,
}

impl Client {
    fn names(&self, kind: Kind) -> &BTreeSet<Bytes> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shards,
        }
    }

    fn names_mut(&mut self, kind: Kind) -> &mut BTreeSet<Bytes> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    fn counts(&self) -> ClientCounts {
        ClientCounts {
            channels: self.channels.len(),
            patterns: self.patterns.len(),
            shard_channels: self.shards.len(),
        }
    }
}

impl PubSub {
    /// A registry without subscriptions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscribes a client; again is nothing. Gives what the client listens to now.
    ///
    /// The connection must write its reply before the messages that are in its sink, and, for
    /// [`PubSub::unsubscribe`], after them.
    pub fn subscribe(
        &self,
        kind: Kind,
        client: u64,
        sink: &Arc<dyn Sink>,
        name: &[u8],
    ) -> ClientCounts {
        let mut registry = self.lock();
        let listens = registry.clients.entry(client).or_default();
        let name = Bytes::copy_from_slice(name);
        let new = listens.names_mut(kind).insert(name.clone());
        let counts = listens.counts();
        if new {
            let subscribers = match kind {
                Kind::Channel => registry.channels.entry(name).or_default(),
                Kind::Pattern => registry.patterns.entry(name).or_default(),
                Kind::Shard => registry.shards.entry(name).or_default(),
            };
            subscribers.insert(client, Arc::clone(sink));
        }
        self.count(&registry);
        counts
    }

    /// Ends a subscription, if there is one. Gives what the client listens to now.
    pub fn unsubscribe(&self, kind: Kind, client: u64, name: &[u8]) -> ClientCounts {
        let mut registry = self.lock();
        let Some(listens) = registry.clients.get_mut(&client) else {
            return ClientCounts::default();
        };
        let had = listens.names_mut(kind).remove(name);
        let counts = listens.counts();
        if had {
            registry.remove(kind, client, name);
        }
        if counts == ClientCounts::default() {
            registry.clients.remove(&client);
        }
        self.count(&registry);
        counts
    }

    /// Ends all subscriptions of a client: RESET, and the end of the connection.
    pub fn unsubscribe_all(&self, client: u64) {
        let mut registry = self.lock();
        let Some(listens) = registry.clients.remove(&client) else {
            return;
        };
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            for name in listens.names(kind) {
                registry.remove(kind, client, name);
            }
        }
        self.count(&registry);
    }

    /// PUBLISH: the subscribers of the channel first, then those of every pattern that it matches,
    /// in the order of the patterns. Gives how many times the message was delivered.
    ///
    /// **Cost**: nothing if there are no subscriptions at all; else one match for each pattern.
    pub fn publish(&self, channel: &[u8], data: &[u8]) -> usize {
        if self.is_idle() {
            return 0;
        }
        let registry = self.lock();
        let mut received = 0;
        if let Some(subscribers) = registry.channels.get(channel) {
            received += deliver(subscribers, &[b"message", channel, data]);
        }
        for (pattern, subscribers) in &registry.patterns {
            if glob::matches(pattern, channel, false) {
                received += deliver(subscribers, &[b"pmessage", pattern, channel, data]);
            }
        }
        received
    }

    /// How many times a message on the channel would be delivered now. **Cost**: as
    /// [`PubSub::publish`].
    pub fn receivers(&self, channel: &[u8]) -> usize {
        if self.is_idle() {
            return 0;
        }
        let registry = self.lock();
        let patterns = registry.patterns.iter();
        let matching = patterns.filter(|(pattern, _)| glob::matches(pattern, channel, false));
        registry.channels.get(channel).map_or(0, BTreeMap::len)
            + matching.map(|(_, subscribers)| subscribers.len()).sum::<usize>()
    }

    /// SPUBLISH: the subscribers of the shard channel. Gives how many there are.
    pub fn publish_to_shard(&self, channel: &[u8], data: &[u8]) -> usize {
        if self.is_idle() {
            return 0;
        }
        let registry = self.lock();
        registry
            .shards
            .get(channel)
            .map_or(0, |subscribers| deliver(subscribers, &[b"smessage", channel, data]))
    }

    /// Publishes that `event` happened to `key`: on `__keyspace@<db>__:<key>` if `on_key`, then on
    /// `__keyevent@<db>__:<event>` if `on_event`.
    pub fn notify(&self, db: u32, event: &str, key: &[u8], on_key: bool, on_event: bool) {
        if self.is_idle() {
            return;
        }
        if on_key {
            let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
            self.publish(&channel, event.as_bytes());
        }
        if on_event {
            self.publish(format!("__keyevent@{db}__:{event}").as_bytes(), key);
        }
    }

    /// The names that a client listens to, sorted: for UNSUBSCRIBE without arguments, and for what
    /// a user may no longer hear.
    pub fn subscriptions(&self, kind: Kind, client: u64) -> Vec<Bytes> {
        let registry = self.lock();
        let listens = registry.clients.get(&client);
        listens.map_or_else(Vec::new, |listens| listens.names(kind).iter().cloned().collect())
    }

    /// What a client listens to.
    pub fn client_counts(&self, client: u64) -> ClientCounts {
        self.lock().clients.get(&client).map(Client::counts).unwrap_or_default()
    }

    /// PUBSUB CHANNELS, PUBSUB SHARDCHANNELS: the names with a subscriber that match `pattern`,
    /// sorted.
    pub fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Bytes> {
        let registry = self.lock();
        let wanted = |name: &&Bytes| pattern.is_none_or(|p| glob::matches(p, name, false));
        let mut names: Vec<Bytes> = match kind {
            Kind::Channel => registry.channels.keys().filter(wanted).cloned().collect(),
            Kind::Pattern => registry.patterns.keys().filter(wanted).cloned().collect(),
            Kind::Shard => registry.shards.keys().filter(wanted).cloned().collect(),
        };
        names.sort_unstable();
        names
    }

    /// PUBSUB NUMSUB, PUBSUB SHARDNUMSUB: how many clients listen to a name.
    pub fn subscribers(&self, kind: Kind, name: &[u8]) -> usize {
        self.lock().subscribers(kind, name).map_or(0, BTreeMap::len)
    }

    /// How many names and clients there are.
    pub fn counts(&self) -> Counts {
        let registry = self.lock();
        Counts {
            channels: registry.channels.len(),
            patterns: registry.patterns.len(),
            shard_channels: registry.shards.len(),
            clients: registry.clients.len(),
        }
    }

    /// Whether there is no subscription at all; without the lock.
    pub fn is_idle(&self) -> bool {
        self.clients.load(Ordering::SeqCst) == 0
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        let registry = self.lock();
        assert_eq!(self.clients.load(Ordering::SeqCst), registry.clients.len());
        let mut subscriptions = 0;
        for (client, listens) in &registry.clients {
            assert!(listens.counts() != ClientCounts::default(), "a client listens to something");
            for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
                for name in listens.names(kind) {
                    let subscribers = registry.subscribers(kind, name);
                    assert!(subscribers.is_some_and(|clients| clients.contains_key(client)));
                    subscriptions += 1;
                }
            }
        }
        let sides = registry.channels.values().chain(registry.patterns.values());
        let counts = sides.chain(registry.shards.values()).map(BTreeMap::len);
        let counts: Vec<usize> = counts.collect();
        assert!(counts.iter().all(|&count| count > 0), "a name has a subscriber");
        assert_eq!(counts.iter().sum::<usize>(), subscriptions);
    }

    /// The registry. A panic of another thread, which can only come from a sink, leaves it whole.
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the number of clients known to those without the lock.
    fn count(&self, registry: &Registry) {
        self.clients.store(registry.clients.len(), Ordering::SeqCst);
    }
}

impl Registry {
    /// The subscribers of a name.
    fn subscribers(&self, kind: Kind, name: &[u8]) -> Option<&Subscribers> {
        match kind {
            Kind::Channel => self.channels.get(name),
            Kind::Pattern => self.patterns.get(name),
            Kind::Shard => self.shards.get(name),
        }
    }

    /// Takes a client from the subscribers of a name, and the name away after the last.
    fn remove(&mut self, kind: Kind, client: u64, name: &[u8]) {
        let subscribers = match kind {
            Kind::Channel => self.channels.get_mut(name),
            Kind::Pattern => self.patterns.get_mut(name),
            Kind::Shard => self.shards.get_mut(name),
        };
        let Some(subscribers) = subscribers else {
            return;
        };
        subscribers.remove(&client);
        if subscribers.is_empty() {
            match kind {
                Kind::Channel => self.channels.remove(name),
                Kind::Pattern => self.patterns.remove(name),
                Kind::Shard => self.shards.remove(name),
            };
        }
    }
}

/// Renders a message once and gives it to all subscribers.
fn deliver(subscribers: &Subscribers, elements: &[&[u8]]) -> usize {
    let message = Message::new(elements);
    for sink in subscribers.values() {
        sink.push(&message);
    }
    subscribers.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what it is given.
    #[derive(Default)]
    struct Kept {
        frames: Mutex<Vec<Bytes>>,
        resp3: bool,
    }

    impl Sink for Kept {
        fn push(&self, message: &Message) {
            let frame = if self.resp3 { message.resp3() } else { message.resp2() };
            self.frames.lock().unwrap().push(frame);
        }
    }

    impl Kept {
        fn new(resp3: bool) -> (Arc<Kept>, Arc<dyn Sink>) {
            let kept = Arc::new(Kept { resp3, ..Kept::default() });
            (Arc::clone(&kept), kept)
        }

        fn take(&self) -> Vec<Bytes> {
            std::mem::take(&mut *self.frames.lock().unwrap())
        }
    }

    #[test]
    fn channels_come_before_patterns_and_frames_are_shared() {
        let pubsub = PubSub::new();
        assert_eq!(pubsub.publish(b"news", b"x"), 0);
        let (old, old_sink) = Kept::new(false);
        let (new, new_sink) = Kept::new(true);
        assert_eq!(pubsub.subscribe(Kind::Pattern, 1, &old_sink, b"n*").replied(Kind::Pattern), 1);
        assert_eq!(pubsub.subscribe(Kind::Channel, 1, &old_sink, b"news").channels, 1);
        let counts = pubsub.subscribe(Kind::Channel, 1, &old_sink, b"news");
        assert_eq!((counts.replied(Kind::Channel), counts.replied(Kind::Shard)), (2, 0));
        pubsub.subscribe(Kind::Channel, 2, &new_sink, b"news");
        assert_eq!(pubsub.receivers(b"news"), 3);
        assert_eq!(pubsub.publish(b"news", b"a\r\n"), 3);
        let frames = old.take();
        assert_eq!(frames[0], "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\na\r\n\r\n");
        assert_eq!(frames[1], "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$3\r\na\r\n\r\n");
        assert_eq!(new.take(), [">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\na\r\n\r\n"]);
        let message = Message::new(&[b"x"]);
        assert_eq!(message.resp3().as_ptr(), message.resp3().as_ptr());
        assert_eq!(pubsub.publish(b"old", b""), 0);
        pubsub.check();
    }

    #[test]
    fn shard_channels_are_apart() {
        let pubsub = PubSub::new();
        let (kept, sink) = Kept::new(true);
        let counts = pubsub.subscribe(Kind::Shard, 7, &sink, b"c");
        assert_eq!((counts.replied(Kind::Shard), counts.replied(Kind::Channel)), (1, 0));
        assert_eq!((pubsub.publish(b"c", b""), pubsub.publish_to_shard(b"c", b"1")), (0, 1));
        assert_eq!(kept.take(), [">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\n1\r\n"]);
        assert_eq!(pubsub.names(Kind::Shard, Some(b"?")), ["c"]);
        assert_eq!(pubsub.names(Kind::Channel, None), [""; 0]);
        pubsub.unsubscribe(Kind::Shard, 7, b"c");
        assert!(pubsub.is_idle());
    }

    #[test]
    fn keyspace_events_go_to_the_key_and_then_to_the_event() {
        let pubsub = PubSub::new();
        let (kept, sink) = Kept::new(false);
        pubsub.subscribe(Kind::Pattern, 1, &sink, b"__key*__:*");
        pubsub.notify(9, "xadd", b"s", true, true);
        pubsub.notify(9, "xadd", b"s", false, false);
        let frames = kept.take();
        assert_eq!(frames.len(), 2);
        assert!(frames[0].ends_with(b"$16\r\n__keyspace@9__:s\r\n$4\r\nxadd\r\n"));
        assert!(frames[1].ends_with(b"$19\r\n__keyevent@9__:xadd\r\n$1\r\ns\r\n"));
    }

    #[test]
    fn a_plain_list_of_subscriptions_gives_the_same_counts() {
        let kinds = [Kind::Channel, Kind::Pattern, Kind::Shard];
        let names: [&[u8]; 5] = [b"a", b"b", b"ab", b"a*", b"*"];
        let pubsub = PubSub::new();
        let (_, sink) = Kept::new(false);
        let mut model: Vec<(Kind, u64, &[u8])> = Vec::new();
        let mut state = 11_u64;
        let mut draw = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % n
        };
        for _ in 0..5_000 {
            let (kind, client, name) = (kinds[draw(3)], draw(4) as u64, names[draw(5)]);
            match draw(8) {
                0 => {
                    pubsub.unsubscribe_all(client);
                    model.retain(|one| one.1 != client);
                }
                1..=3 => {
                    pubsub.unsubscribe(kind, client, name);
                    model.retain(|one| *one != (kind, client, name));
                }
                _ => {
                    pubsub.subscribe(kind, client, &sink, name);
                    model.retain(|one| *one != (kind, client, name));
                    model.push((kind, client, name));
                }
            }
            pubsub.check();
            let hears = |one: &&(Kind, u64, &[u8])| match one.0 {
                Kind::Channel => one.2 == name,
                Kind::Pattern => glob::matches(one.2, name, false),
                Kind::Shard => false,
            };
            assert_eq!(pubsub.publish(name, b""), model.iter().filter(hears).count());
            let same = |one: &&(Kind, u64, &[u8])| (one.0, one.2) == (kind, name);
            assert_eq!(pubsub.subscribers(kind, name), model.iter().filter(same).count());
            let own = model.iter().filter(|one| (one.0, one.1) == (kind, client)).count();
            assert_eq!(pubsub.subscriptions(kind, client).len(), own);
            assert_eq!(pubsub.is_idle(), model.is_empty());
        }
    }

    #[test]
    fn all_subscribers_see_one_order() {
        let pubsub = PubSub::new();
        let (first, first_sink) = Kept::new(false);
        let (second, second_sink) = Kept::new(false);
        pubsub.subscribe(Kind::Channel, 1, &first_sink, b"c");
        pubsub.subscribe(Kind::Channel, 2, &second_sink, b"c");
        std::thread::scope(|scope| {
            for publisher in 0..4 {
                let pubsub = &pubsub;
                scope.spawn(move || {
                    for n in 0..200 {
                        pubsub.publish(b"c", format!("{publisher} {n}").as_bytes());
                    }
                });
            }
        });
        let frames = first.take();
        assert_eq!(frames.len(), 800);
        assert_eq!(frames, second.take());
    }
}
