//! `Txn`: what a command sees of the keyspace, and its only way to change it.
//!
//! A command looks up its keys, reads, decides, and commits changes. A commit applies the change
//! and encodes it into the turn's log buffer; nothing is kept besides. Whatever a command commits
//! stands in one frame with the rest of its turn.

use super::{Action, Change, Keyspace, LogBuffer, Spaces, Value};
use crate::config::NotifyFlags;
use crate::error::CommandError;
use crate::stream::{BlockLimits, Effect, Image, Stream, UnixMs};
use bytes::Bytes;

/// The settings that commands on keys go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How large the blocks of a stream grow; `~` trimming goes by whole blocks.
    pub blocks: BlockLimits,
    /// How many databases commands may name, at most [`super::DATABASES`].
    pub databases: u8,
    /// How long new streams remember idempotent IDs, in seconds.
    pub idmp_duration_s: u64,
    /// How many idempotent IDs new streams remember for each producer.
    pub idmp_maxsize: u64,
    /// Which events are published.
    pub notify: NotifyFlags,
    /// Whether to answer as Valkey where it contradicts the newest Redis.
    pub valkey: bool,
}

/// Those of a configuration that says nothing.
impl Default for Rules {
    fn default() -> Self {
        Rules {
            blocks: BlockLimits::default(),
            databases: 16,
            idmp_duration_s: 100,
            idmp_maxsize: 100,
            notify: NotifyFlags::default(),
            valkey: false,
        }
    }
}

/// A keyspace event: something happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its class.
    pub class: NotifyFlags,
    /// The event's name.
    pub name: &'static str,
    /// The database.
    pub db: u8,
    /// The key.
    pub key: Box<[u8]>,
}

/// What others are told once the changes before it are in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something happened to a key.
    Event(Event),
    /// PUBLISH or, if `is_sharded`, SPUBLISH.
    Message {
        /// The channel.
        channel: Box<[u8]>,
        /// What is told.
        data: Box<[u8]>,
        /// Whether it is a shard channel.
        is_sharded: bool,
    },
}

/// A key that was looked up once, and expired if it was due.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Its bytes.
    pub name: &'a [u8],
    /// Its database.
    pub db: u8,
    space: usize,
    place: Option<u32>,
}

impl<'a> Key<'a> {
    /// Whether the key exists.
    pub fn exists(&self) -> bool {
        self.place.is_some()
    }

    /// A change of it.
    fn change(&self, action: Action<'a>) -> Change<'a> {
        Change { db: self.db, key: self.name, action }
    }
}

/// One command's, or one transaction's, view of the keyspaces in hand.
#[derive(Debug)]
pub struct Txn<'t, 's> {
    spaces: Spaces<'t, 's>,
    log: &'t mut LogBuffer,
    notices: &'t mut Vec<Notice>,
    /// The settings.
    pub rules: &'t Rules,
    /// The wall clock, read once for the turn.
    pub now: UnixMs,
    /// The connection's database.
    pub db: u8,
    /// Whether look-ups leave alone when their key was last used, as CLIENT NO-TOUCH asks.
    pub no_touch: bool,
    /// What the command's strings may lie in, to be kept instead of copied.
    pub whole: Option<&'t Bytes>,
}

impl<'t, 's> Txn<'t, 's> {
    /// A view of these keyspaces.
    pub fn new(
        spaces: Spaces<'t, 's>,
        log: &'t mut LogBuffer,
        notices: &'t mut Vec<Notice>,
        rules: &'t Rules,
        now: UnixMs,
    ) -> Self {
        Txn { spaces, log, notices, rules, now, db: 0, no_touch: false, whole: None }
    }

    /// The keyspaces in hand.
    pub fn spaces(&self) -> &Spaces<'t, 's> {
        &self.spaces
    }

    /// The keyspaces in hand, to change what is no state.
    pub fn spaces_mut(&mut self) -> &mut Spaces<'t, 's> {
        &mut self.spaces
    }

    /// Looks up a key of the connection's database to change it; one whose time is over is removed
    /// first.
    #[inline]
    pub fn key<'a>(&mut self, name: &'a [u8]) -> Key<'a> {
        self.key_in(self.db, name)
    }

    /// Looks up a key of another database.
    pub fn key_in<'a>(&mut self, db: u8, name: &'a [u8]) -> Key<'a> {
        self.look_up(db, name, !self.no_touch)
    }

    /// [`Txn::key`] for a command that reads the value: a hit or a miss.
    pub fn read<'a>(&mut self, name: &'a [u8]) -> Key<'a> {
        let key = self.key(name);
        self.note_read(&key);
        key
    }

    /// [`Txn::key`] for a command that does not use the value.
    pub fn peek<'a>(&mut self, name: &'a [u8]) -> Key<'a> {
        self.look_up(self.db, name, false)
    }

    /// [`Txn::peek`] for a command that asks about the key: a hit or a miss.
    pub fn ask<'a>(&mut self, name: &'a [u8]) -> Key<'a> {
        let key = self.peek(name);
        self.note_read(&key);
        key
    }

    /// Counts a look-up as a hit, or as a miss with its event.
    pub fn note_read(&mut self, key: &Key<'_>) {
        if key.exists() || self.spaces.holds(key.name) {
            self.count_read(key);
            if !key.exists() {
                self.event(NotifyFlags::KEY_MISS, "keymiss", key);
            }
        }
    }

    /// Counts a look-up as a hit or a miss.
    pub fn count_read(&mut self, key: &Key<'_>) {
        let space = self.spaces.at_mut(key.space);
        space.hits += u64::from(key.exists());
        space.misses += u64::from(!key.exists());
    }

    fn look_up<'a>(&mut self, db: u8, name: &'a [u8], touch: bool) -> Key<'a> {
        let space = self.spaces.index_of(name);
        let keyspace = self.spaces.at_mut(space);
        let place = keyspace.look_up(db, name);
        let database = keyspace.database_mut(db);
        let is_due = place.is_some_and(|place| database.access(place, self.now, touch));
        let mut key = Key { name, db, space, place };
        if is_due {
            self.expire_now(&mut key);
        }
        key
    }

    /// Removes keys that are due, at most `max` in each keyspace; true if more may be due.
    pub fn expire_due(&mut self, max: usize) -> bool {
        let mut more = false;
        let spaces = self.spaces.iter().len();
        for index in 0..spaces {
            for db in 0..super::DATABASES {
                for n in 0.. {
                    let space = self.spaces.at_mut(index);
                    let Some(place) = space.database_mut(db).next_due(self.now) else { break };
                    if n == max {
                        more = true;
                        break;
                    }
                    let name = self.spaces.at(index).database(db).slot(place).key.clone();
                    let place = Some(place);
                    self.expire_now(&mut Key { name: &name, db, space: index, place });
                    self.spaces.at_mut(index).expired_keys_active += 1;
                }
            }
        }
        more
    }

    /// Forgets the idempotent IDs whose time is over, in the next `max` streams of each keyspace
    /// that have any.
    pub fn forget_idempotent_ids(&mut self, max: usize) {
        for index in 0..self.spaces.iter().count() {
            for (db, name) in self.spaces.at_mut(index).idempotent_names(max) {
                let mut key = self.key_in(db, &name);
                let Ok(Some(stream)) = self.stream(&key) else { continue };
                let expired = stream.producers().map(|all| all.expired(self.now));
                for (pid, count) in expired.unwrap_or_default() {
                    self.note(&mut key, Effect::ProducerForget { pid: &pid, count });
                }
            }
        }
    }

    /// The value of a key.
    #[inline]
    pub fn value(&self, key: &Key<'_>) -> Option<&Value> {
        Some(&self.spaces.at(key.space).database(key.db).slot(key.place?).value)
    }

    /// The stream of a key.
    ///
    /// # Errors
    /// [`CommandError::WrongType`] if the key holds something else.
    #[inline]
    pub fn stream(&self, key: &Key<'_>) -> Result<Option<&Stream>, CommandError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Stream(stream)) => Ok(Some(stream)),
            Some(Value::String(_)) => Err(CommandError::WrongType),
        }
    }

    /// The string of a key.
    ///
    /// # Errors
    /// [`CommandError::WrongType`] if the key holds something else.
    pub fn string(&self, key: &Key<'_>) -> Result<Option<&[u8]>, CommandError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(string)) => Ok(Some(string)),
            Some(Value::Stream(_)) => Err(CommandError::WrongType),
        }
    }

    /// When a key expires.
    pub fn expiry(&self, key: &Key<'_>) -> Option<UnixMs> {
        self.spaces.at(key.space).database(key.db).slot(key.place?).expire_at()
    }

    /// For how many seconds a key has not been used.
    pub fn idle_s(&self, key: &Key<'_>) -> Option<u32> {
        Some(self.spaces.at(key.space).database(key.db).slot(key.place?).idle_s(self.now))
    }

    /// Says when a key that exists was last used.
    pub fn set_accessed(&mut self, key: &Key<'_>, at: UnixMs) {
        if let Some(place) = key.place {
            self.spaces.at_mut(key.space).database_mut(key.db).access(place, at, true);
        }
    }

    /// Commits a change of the key's stream, which exists.
    #[inline]
    pub fn effect(&mut self, key: &mut Key<'_>, effect: Effect<'_>) {
        let change = key.change(Action::Effect(effect));
        self.commit(key, &change, true);
    }

    /// Commits a change that no reply promises to keep: it is logged with the next one that is
    /// promised, or within a second.
    pub fn note(&mut self, key: &mut Key<'_>, effect: Effect<'_>) {
        let change = key.change(Action::Effect(effect));
        self.commit(key, &change, false);
    }

    /// Begins an empty stream at a key that does not exist.
    pub fn create_stream(&mut self, key: &mut Key<'_>) {
        let (idmp_duration_s, idmp_maxsize) = (self.rules.idmp_duration_s, self.rules.idmp_maxsize);
        let change = key.change(Action::Create { idmp_duration_s, idmp_maxsize });
        self.commit(key, &change, true);
        self.set_accessed(key, self.now);
        self.event(NotifyFlags::NEW, "new", key);
    }

    /// Gives a key a string, in the place of what it held.
    pub fn set_string(&mut self, key: &mut Key<'_>, value: &[u8], expire_at: Option<UnixMs>) {
        let fresh = !key.exists();
        self.put_string(key, value, expire_at);
        if fresh {
            self.event(NotifyFlags::NEW, "new", key);
        }
    }

    /// Gives a key a string, as a new key: the caller notes the event.
    pub fn put_string(&mut self, key: &mut Key<'_>, value: &[u8], expire_at: Option<UnixMs>) {
        let action = Action::SetString { value, whole: self.whole, expire_at };
        self.commit_whole(Change { db: key.db, key: key.name, action });
        self.find_again(key);
    }

    /// Puts bytes in the place of a part of a key's string, which grows with zero bytes as far as
    /// they need, to at most [`super::STRING_BYTES_MAX`]; a key that does not exist gets one. The
    /// expiry stays. The log has the part alone.
    pub fn set_range(&mut self, key: &mut Key<'_>, start: usize, bytes: &[u8]) {
        if !key.exists() {
            self.set_string(key, b"", None);
        }
        let length = match self.value(key) {
            Some(Value::String(string)) => string.len(),
            Some(Value::Stream(_)) | None => 0,
        };
        let action = Action::SetRange { length, start, bytes };
        self.commit_whole(Change { db: key.db, key: key.name, action });
        self.find_again(key);
    }

    /// Gives a key a stream, as a new key: the caller notes the event.
    pub fn put(&mut self, key: &mut Key<'_>, image: &Image, expire_at: Option<UnixMs>) {
        self.commit_whole(key.change(Action::Put { image, expire_at }));
        self.find_again(key);
    }

    /// Removes a key that exists.
    pub fn remove(&mut self, key: &mut Key<'_>) {
        let change = key.change(Action::Remove);
        self.commit(key, &change, true);
    }

    /// Sets the expiry of a key that exists.
    pub fn set_expiry(&mut self, key: &mut Key<'_>, expire_at: Option<UnixMs>) {
        let change = key.change(Action::Expire { expire_at });
        self.commit(key, &change, true);
    }

    /// Moves the value of a key that exists to another key, whatever that held.
    pub fn rename(&mut self, from: &mut Key<'_>, to: &mut Key<'_>) {
        self.commit_whole(from.change(Action::Move { db: to.db, key: to.name }));
        self.find_again(from);
        self.find_again(to);
    }

    /// Copies the value of a key that exists to another key, whatever that held.
    pub fn copy(&mut self, from: &mut Key<'_>, to: &mut Key<'_>) {
        self.commit_whole(from.change(Action::Copy { db: to.db, key: to.name }));
        self.find_again(from);
        self.find_again(to);
    }

    /// Exchanges two databases.
    pub fn swap_databases(&mut self, db: u8, other: u8) {
        self.commit_whole(Change { db, key: b"", action: Action::SwapDb { other } });
    }

    /// Removes all keys of a database, or of all.
    pub fn flush(&mut self, db: Option<u8>) {
        let action = if db.is_some() { Action::FlushDb } else { Action::FlushAll };
        self.commit_whole(Change { db: db.unwrap_or_default(), key: b"", action });
    }

    /// Notes a keyspace event, if its class is published.
    #[inline]
    pub fn event(&mut self, class: NotifyFlags, name: &'static str, key: &Key<'_>) {
        if self.rules.notify.wants(class) {
            self.note_event(class, name, key);
        }
    }

    fn note_event(&mut self, class: NotifyFlags, name: &'static str, key: &Key<'_>) {
        let event = Event { class, name, db: key.db, key: key.name.into() };
        self.notices.push(Notice::Event(event));
    }

    /// Notes that the key's value has replaced one of the type `before`.
    pub fn event_overwritten(&mut self, key: &Key<'_>, before: &'static str) {
        self.event(NotifyFlags::OVERWRITTEN, "overwritten", key);
        if self.value(key).is_some_and(|value| value.type_name() != before) {
            self.event(NotifyFlags::TYPE_CHANGED, "type_changed", key);
        }
    }

    /// Counts changes as `rdb_changes_since_last_save` does.
    pub fn count_changes(&mut self, n: u64) {
        self.spaces.at_mut(0).changes += n;
    }

    /// Counts a key that expired before it was one.
    pub fn count_expired(&mut self, key: &Key<'_>) {
        self.spaces.at_mut(key.space).expired_keys += 1;
    }

    fn expire_now(&mut self, key: &mut Key<'_>) {
        // No reply waits for it: what a crash brings back is as expired as before, and a reader
        // must not depend on the log.
        let change = key.change(Action::Remove);
        self.commit(key, &change, false);
        self.event(NotifyFlags::EXPIRED, "expired", key);
        // Redis: not one of the changes since the last save.
        self.count_expired(key);
    }

    fn find_again(&mut self, key: &mut Key<'_>) {
        let space: &mut Keyspace = self.spaces.at_mut(key.space);
        key.place = space.find(key.db, key.name);
        if let Some(place) = key.place {
            space.database_mut(key.db).access(place, self.now, false);
        }
    }

    /// Commits a change of a key in its place.
    #[inline]
    fn commit(&mut self, key: &mut Key<'_>, change: &Change<'_>, urgent: bool) {
        self.spaces.number_change();
        self.log.push(change, urgent);
        let applied = self.spaces.at_mut(key.space).apply_at(change, key.place);
        key.place = applied.expect("a decided change applies");
    }

    fn commit_whole(&mut self, change: Change<'_>) {
        self.spaces.number_change();
        self.log.push(&change, true);
        self.spaces.apply(&change).expect("a decided change applies");
    }
}
