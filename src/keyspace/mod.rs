//! `Keyspace`: one shard's replayable state: sixteen databases of keys and their values.
//!
//! In a database keys stand in a slab whose places never move; 256 small tables lead from a key's
//! hash to its place, each growing alone, so that no growth is a pause. SCAN's cursor is a place.
//!
//! State changes only in [`Spaces::apply`], which takes a [`Change`] and knows no clock. What
//! hangs on keys beside their values (WATCH flags, the names that blocked readers wait on) is told
//! there too, so that no path can forget it.

pub mod change;
mod database;
pub mod handover;
pub mod txn;

pub use change::{Action, Change, LogBuffer};
pub use database::{Database, Slot};
pub use handover::{Frozen, FrozenKey};
pub use txn::{Key, Rules, Txn};

use crate::codec::{Corrupt, shared};
use crate::stream::{BlockLimits, Effect, Garbage, Stream, UnixMs};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many databases there are.
pub const DATABASES: u8 = 16;
/// The greatest length to which a part makes a string grow, in bytes: the default of
/// proto-max-bulk-len.
pub const STRING_BYTES_MAX: usize = 512 << 20;
/// How many hash slots keys fall into.
pub const SLOTS: u16 = 16384;

/// A key's value.
#[derive(Debug, Clone)]
pub enum Value {
    /// A stream.
    Stream(Stream),
    /// A string.
    String(Bytes),
}

impl Value {
    /// The type's name, as TYPE answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Stream(_) => "stream",
            Value::String(_) => "string",
        }
    }
}

/// A database and a key in it.
pub type KeyName = (u8, Box<[u8]>);

/// One shard's keys.
#[derive(Debug)]
pub struct Keyspace {
    slots: Range<u16>,
    databases: Vec<Database>,
    hasher: RandomState,
    /// Where a command found its key last, in whichever database.
    last_place: u32,
    limits: BlockLimits,
    /// Watched keys, each with the flags that a change of it sets.
    watched: HashMap<KeyName, Vec<Arc<AtomicBool>>>,
    /// Keys that blocked readers wait on.
    waited: HashSet<KeyName>,
    /// Waited-on keys that changed in a way that may serve or end a wait, in order.
    signals: VecDeque<(u64, KeyName)>,
    /// The number of the change that is being applied: one count for all keyspaces in hand.
    change_number: u64,
    /// Keys whose streams have idempotent IDs; one that no longer has is dropped when looked at.
    idempotent: BTreeSet<KeyName>,
    /// The last of them that was named, while they are.
    idempotent_named: Option<KeyName>,
    /// What was removed and may be large.
    garbage: Vec<Garbage>,
    /// The number of the last snapshot.
    epoch: u32,
    /// What the snapshot being taken gets with its next slice.
    frozen: Vec<Frozen>,
    /// Changes since the last snapshot, as Redis counts them.
    pub changes: u64,
    /// Keys that have expired.
    pub expired_keys: u64,
    /// Those of them that nobody had asked for.
    pub expired_keys_active: u64,
    /// Look-ups by reading commands that found their key.
    pub hits: u64,
    /// Look-ups by reading commands that did not.
    pub misses: u64,
}

/// The hash slot of a key: CRC-16 of the key, or of its `{tag}`.
pub fn slot_of(key: &[u8]) -> u16 {
    redis_protocol::redis_keyslot(key)
}

impl Keyspace {
    /// No keys; takes those of these hash slots.
    pub fn new(slots: Range<u16>, hasher: RandomState) -> Self {
        Keyspace {
            slots,
            databases: (0..DATABASES).map(|_| Database::default()).collect(),
            hasher,
            last_place: 0,
            limits: BlockLimits::default(),
            watched: HashMap::new(),
            waited: HashSet::new(),
            signals: VecDeque::new(),
            change_number: 0,
            idempotent: BTreeSet::new(),
            idempotent_named: None,
            garbage: Vec::new(),
            epoch: 0,
            frozen: Vec::new(),
            changes: 0,
            expired_keys: 0,
            expired_keys_active: 0,
            hits: 0,
            misses: 0,
        }
    }

    /// The hash slots whose keys belong here.
    pub fn slots(&self) -> Range<u16> {
        self.slots.clone()
    }

    /// A database. The number is below [`DATABASES`].
    pub fn database(&self, db: u8) -> &Database {
        &self.databases[usize::from(db)]
    }

    /// Sets how large blocks grow from now on.
    pub fn set_limits(&mut self, limits: BlockLimits) {
        self.limits = limits;
    }

    /// Takes what was removed and may be large.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        std::mem::take(&mut self.garbage)
    }

    /// Whether there is something to take.
    pub fn has_garbage(&self) -> bool {
        !self.garbage.is_empty()
    }

    /// Sets `flag` when the key changes.
    pub fn watch(&mut self, db: u8, key: &[u8], flag: &Arc<AtomicBool>) {
        self.watched.entry((db, key.into())).or_default().push(flag.clone());
    }

    /// Takes back [`Keyspace::watch`].
    pub fn unwatch(&mut self, db: u8, key: &[u8], flag: &Arc<AtomicBool>) {
        let name = (db, key.into());
        if let Some(flags) = self.watched.get_mut(&name) {
            flags.retain(|other| !Arc::ptr_eq(other, flag));
            if flags.is_empty() {
                self.watched.remove(&name);
            }
        }
    }

    /// How many keys are watched.
    pub fn watched_len(&self) -> usize {
        self.watched.len()
    }

    /// Signals the key from now on when it changes in a way that may serve or end a wait.
    pub fn wait_on(&mut self, db: u8, key: &[u8]) {
        self.waited.insert((db, key.into()));
    }

    /// Takes back [`Keyspace::wait_on`]: nobody waits on the key any more.
    pub fn wait_off(&mut self, name: &KeyName) {
        self.waited.remove(name);
    }

    /// The number of the change that gave the next signal, if there is one. Numbers of keyspaces
    /// that were in hand together tell which signal came first.
    pub fn next_signal(&self) -> Option<u64> {
        self.signals.front().map(|(number, _)| *number)
    }

    /// Takes the next signal, in the order they came.
    pub fn take_signal(&mut self) -> Option<KeyName> {
        self.signals.pop_front().map(|(_, name)| name)
    }

    /// Whether a stream may have idempotent IDs.
    pub fn has_idempotent_ids(&self) -> bool {
        !self.idempotent.is_empty()
    }

    /// The next keys, at most `max`, whose streams have idempotent IDs: each time others, until
    /// all have been named.
    pub(super) fn idempotent_names(&mut self, max: usize) -> Vec<KeyName> {
        let named = self.idempotent_named.take();
        let after = named.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.idempotent.range((after, Bound::Unbounded)).take(max);
        let names: Vec<KeyName> = next.cloned().collect();
        if names.len() == max {
            self.idempotent_named = names.last().cloned();
        }
        let has_any = |(db, key): &KeyName| self.value(*db, key).is_some_and(has_idempotent_ids);
        let (names, others): (Vec<_>, Vec<_>) = names.into_iter().partition(has_any);
        others.iter().for_each(|name| _ = self.idempotent.remove(name));
        names
    }

    /// Whether some keys have been named whose streams have idempotent IDs, and others not yet.
    pub fn names_more_idempotent(&self) -> bool {
        self.idempotent_named.is_some()
    }

    /// The hash of a key.
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        hash_with(&self.hasher, key)
    }

    /// [`Keyspace::find`] for a command, which tries the place that the last one found: commands
    /// that come together are mostly about one key.
    #[inline]
    fn look_up(&mut self, db: u8, key: &[u8]) -> Option<u32> {
        let last = self.database(db).get(self.last_place as usize);
        if last.is_some_and(|slot| *slot.key == *key) {
            return Some(self.last_place);
        }
        let place = self.find(db, key)?;
        self.last_place = place;
        Some(place)
    }

    /// Where a key stands.
    pub fn find(&self, db: u8, key: &[u8]) -> Option<u32> {
        self.database(db).find(self.hash(key), key)
    }

    /// The value of a key, expired or not.
    pub fn value(&self, db: u8, key: &[u8]) -> Option<&Value> {
        let place = self.find(db, key)?;
        Some(&self.database(db).slot(place).value)
    }

    /// Takes everything out, as garbage for another thread.
    pub fn clear(&mut self) {
        (0..DATABASES).for_each(|db| self.drop_database(db));
        self.idempotent.clear();
    }

    /// Takes the keys of another keyspace in the place of its own, which go as
    /// [`Keyspace::clear`] says.
    pub fn replace_keys(&mut self, other: Keyspace) {
        self.clear();
        self.databases = other.databases;
        self.idempotent = other.idempotent;
    }

    /// An empty keyspace for the same keys.
    pub fn empty_twin(&self) -> Keyspace {
        Keyspace { limits: self.limits, ..Keyspace::new(self.slots(), self.hasher.clone()) }
    }

    /// Adds a key that was read from a snapshot.
    ///
    /// # Errors
    /// [`Corrupt`] if the key is there already.
    pub fn restore(&mut self, frozen: FrozenKey) -> Result<(), Corrupt> {
        let FrozenKey { db, key, value, expire_at } = frozen;
        if db >= DATABASES || self.find(db, &key).is_some() {
            return Err(Corrupt("a key stands twice, or in no database"));
        }
        self.set(db, &key, value, expire_at);
        Ok(())
    }

    /// How many keys all databases have.
    pub fn keys(&self) -> usize {
        (0..DATABASES).map(|db| self.database(db).len()).sum()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        for database in &self.databases {
            database.check(|key| self.hash(key));
        }
    }

    fn database_mut(&mut self, db: u8) -> &mut Database {
        &mut self.databases[usize::from(db)]
    }

    /// Sets the flags of those who watch the key.
    #[inline]
    fn touch(&self, db: u8, key: &[u8]) {
        if !self.watched.is_empty() {
            self.touch_watched(db, key);
        }
    }

    fn touch_watched(&self, db: u8, key: &[u8]) {
        for flag in self.watched.get(&(db, key.into())).into_iter().flatten() {
            flag.store(true, Ordering::Release);
        }
    }

    /// Tells the shard to look at those who wait on the key.
    #[inline]
    fn signal(&mut self, db: u8, key: &[u8]) {
        if !self.waited.is_empty() {
            self.signal_waited(db, key);
        }
    }

    fn signal_waited(&mut self, db: u8, key: &[u8]) {
        if self.waited.contains(&(db, key.into())) {
            self.signals.push_back((self.change_number, (db, key.into())));
        }
    }

    /// Touches and signals every watched or waited-on key of a database that exists in it or, for
    /// a swap, in `other`.
    fn touch_database(&mut self, db: u8, other: Option<u8>) {
        let exists = |key: &[u8]| {
            self.find(db, key).is_some()
                || other.is_some_and(|other| self.find(other, key).is_some())
        };
        for ((watched_db, key), flags) in &self.watched {
            if *watched_db == db && exists(key) {
                flags.iter().for_each(|flag| flag.store(true, Ordering::Release));
            }
        }
        let mut waited: Vec<_> =
            self.waited.iter().filter(|(waited_db, key)| *waited_db == db && exists(key)).collect();
        waited.sort();
        let waited: Vec<_> = waited.into_iter().cloned().collect();
        let number = self.change_number;
        self.signals.extend(waited.into_iter().map(|name| (number, name)));
    }
}

/// The keyspaces in hand: one, or all that a command over several shards has borrowed.
#[derive(Debug)]
pub struct Spaces<'t, 's> {
    list: &'t mut [&'s mut Keyspace],
}

impl<'t, 's> Spaces<'t, 's> {
    /// These keyspaces.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(list: &'t mut [&'s mut Keyspace]) -> Self {
        assert!(!list.is_empty());
        Spaces { list }
    }

    /// Which of them holds the key; the first if none does, which a caller has ruled out.
    pub fn index_of(&self, key: &[u8]) -> usize {
        if self.list.len() == 1 {
            return 0;
        }
        let slot = slot_of(key);
        self.list.iter().position(|space| space.slots.contains(&slot)).unwrap_or_default()
    }

    /// Whether the keyspace of this key is in hand.
    pub fn holds(&self, key: &[u8]) -> bool {
        let slot = slot_of(key);
        self.list.iter().any(|space| space.slots.contains(&slot))
    }

    /// The keyspace at an index.
    pub fn at(&self, index: usize) -> &Keyspace {
        self.list[index]
    }

    /// The keyspace at an index, to change what is no state.
    pub fn at_mut(&mut self, index: usize) -> &mut Keyspace {
        self.list[index]
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Keyspace> + Clone + '_ {
        self.list.iter().map(|space| &**space)
    }

    /// Begins the next change: what it signals comes after what others have.
    #[inline]
    fn number_change(&mut self) {
        if let [only] = &mut *self.list {
            only.change_number += 1;
            return;
        }
        let next = self.iter().map(|space| space.change_number).max().unwrap_or_default() + 1;
        self.list.iter_mut().for_each(|space| space.change_number = next);
    }

    /// The only mutation of a keyspace.
    ///
    /// # Errors
    /// [`Corrupt`] if the change does not fit the state, which only damaged input can bring about;
    /// the state is then undefined and the caller stops.
    pub fn apply(&mut self, change: &Change<'_>) -> Result<(), Corrupt> {
        let Change { db, key, action } = *change;
        if db >= DATABASES {
            return Err(Corrupt("a change names a database that does not exist"));
        }
        let index = self.index_of(key);
        match action {
            Action::SwapDb { other } => self.swap(db, other)?,
            Action::FlushDb => self.flush(db),
            Action::FlushAll => (0..DATABASES).for_each(|db| self.flush(db)),
            Action::Move { db: to_db, key: to } => {
                let (value, expire_at) =
                    self.list[index].take(db, key).ok_or(Corrupt("a moved key does not exist"))?;
                self.set(to_db, to, value, expire_at)?;
            }
            Action::Copy { db: to_db, key: to } => {
                let space = &self.list[index];
                let place = space.find(db, key).ok_or(Corrupt("a copied key does not exist"))?;
                let slot = space.database(db).slot(place);
                let (value, expire_at) = (slot.value.clone(), slot.expire_at());
                self.set(to_db, to, value, expire_at)?;
            }
            Action::SetString { value, whole, expire_at } => {
                let most = whole.filter(|whole| value.len() >= whole.len() / 2);
                let value = shared(most, value).unwrap_or_else(|| Bytes::copy_from_slice(value));
                self.set(db, key, Value::String(value), expire_at)?;
            }
            Action::SetRange { length, start, bytes } => {
                let space = &self.list[index];
                let place = space.find(db, key).ok_or(Corrupt("a changed key does not exist"))?;
                let slot = space.database(db).slot(place);
                let Value::String(before) = &slot.value else {
                    return Err(Corrupt("a changed key does not hold a string"));
                };
                if before.len() != length {
                    return Err(Corrupt("a part is of a string of another length"));
                }
                let (whole, expire_at) = (with_range(before, start, bytes)?, slot.expire_at());
                self.set(db, key, Value::String(whole.into()), expire_at)?;
            }
            Action::Put { image, expire_at } => {
                let stream = Stream::from_image(image, self.list[index].limits)?;
                self.set(db, key, Value::Stream(stream), expire_at)?;
            }
            Action::Effect(_) | Action::Create { .. } | Action::Remove | Action::Expire { .. } => {
                let space = &mut *self.list[index];
                let place = space.find(db, key);
                space.apply_at(change, place)?;
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        db: u8,
        key: &[u8],
        value: Value,
        expire_at: Option<UnixMs>,
    ) -> Result<(), Corrupt> {
        if db >= DATABASES {
            return Err(Corrupt("a change names a database that does not exist"));
        }
        let index = self.index_of(key);
        self.list[index].set(db, key, value, expire_at);
        Ok(())
    }

    fn swap(&mut self, db: u8, other: u8) -> Result<(), Corrupt> {
        if other >= DATABASES {
            return Err(Corrupt("a change names a database that does not exist"));
        }
        for space in &mut *self.list {
            space.touch_database(db, Some(other));
            space.touch_database(other, Some(db));
            space.databases.swap(usize::from(db), usize::from(other));
            let names = std::mem::take(&mut space.idempotent);
            let swapped = |of| {
                if of == db {
                    other
                } else if of == other {
                    db
                } else {
                    of
                }
            };
            space.idempotent = names.into_iter().map(|(db, key)| (swapped(db), key)).collect();
        }
        Ok(())
    }

    fn flush(&mut self, db: u8) {
        for space in &mut *self.list {
            space.touch_database(db, None);
            space.drop_database(db);
        }
    }
}

impl Keyspace {
    /// Applies what concerns one key, whose place is known; returns its place afterwards.
    fn apply_at(
        &mut self,
        change: &Change<'_>,
        place: Option<u32>,
    ) -> Result<Option<u32>, Corrupt> {
        const GONE: Corrupt = Corrupt("a changed key does not exist");
        let &Change { db, key, ref action } = change;
        if let Some(place) = place {
            self.databases[usize::from(db)].hand_over_place(place, &mut self.frozen);
        }
        match action {
            Action::Effect(effect) => {
                let place = place.ok_or(GONE)?;
                let database = &mut self.databases[usize::from(db)];
                let Value::Stream(stream) = database.value_mut(place) else {
                    return Err(Corrupt("a changed key does not hold a stream"));
                };
                stream.apply(effect, self.limits, &mut self.garbage)?;
                if let Effect::ProducerAdd { .. } = effect {
                    self.idempotent.insert((db, key.into()));
                }
                if effect.touches_watchers() {
                    self.touch(db, key);
                }
                if effect.wakes_readers() {
                    self.signal(db, key);
                }
                Ok(Some(place))
            }
            Action::Create { idmp_duration_s, idmp_maxsize } => {
                if place.is_some() {
                    return Err(Corrupt("a created key exists"));
                }
                if *idmp_maxsize == 0 {
                    return Err(Corrupt("producers remember no idempotent ID"));
                }
                let stream = Stream::new(*idmp_duration_s, *idmp_maxsize);
                let value = Value::Stream(stream);
                let place = self.insert(db, key, value);
                self.touch(db, key);
                self.signal(db, key);
                Ok(Some(place))
            }
            Action::Remove => {
                place.ok_or(GONE)?;
                if let Some((value, _)) = self.take(db, key)
                    && let Value::Stream(stream) = value
                {
                    self.garbage.push(Box::new(stream));
                }
                Ok(None)
            }
            Action::Expire { expire_at } => {
                let place = place.ok_or(GONE)?;
                self.database_mut(db).set_expiry(place, *expire_at);
                self.touch(db, key);
                Ok(Some(place))
            }
            Action::SetString { .. }
            | Action::Put { .. }
            | Action::Move { .. }
            | Action::Copy { .. }
            | Action::SwapDb { .. }
            | Action::FlushDb
            | Action::FlushAll
            | Action::SetRange { .. } => Err(Corrupt("not a change of one key in its place")),
        }
    }

    /// Gives a key a value, whatever it held.
    fn set(&mut self, db: u8, key: &[u8], value: Value, expire_at: Option<UnixMs>) {
        if has_idempotent_ids(&value) {
            self.idempotent.insert((db, key.into()));
        }
        let (place, old) = match self.find(db, key) {
            Some(place) => {
                self.databases[usize::from(db)].hand_over_place(place, &mut self.frozen);
                let held = self.database_mut(db).value_mut(place);
                let old = std::mem::replace(held, value);
                (place, Some(old))
            }
            None => (self.insert(db, key, value), None),
        };
        self.database_mut(db).set_expiry(place, expire_at);
        if let Some(Value::Stream(stream)) = old {
            self.garbage.push(Box::new(stream));
        }
        self.touch(db, key);
        self.signal(db, key);
    }

    /// Adds a key that is not there.
    fn insert(&mut self, db: u8, key: &[u8], value: Value) -> u32 {
        let Keyspace { databases, hasher, .. } = self;
        databases[usize::from(db)].insert(key, value, |key| hash_with(hasher, key))
    }

    /// Takes a key away.
    fn take(&mut self, db: u8, key: &[u8]) -> Option<(Value, Option<UnixMs>)> {
        let hash = self.hash(key);
        let database = &mut self.databases[usize::from(db)];
        if let Some(place) = database.find(hash, key) {
            database.hand_over_place(place, &mut self.frozen);
        }
        let taken = self.database_mut(db).remove(hash, key)?;
        self.touch(db, key);
        self.signal(db, key);
        Some(taken)
    }
}

/// The hash of a key: of its bytes alone, for nothing else is hashed that could run into them.
#[inline]
fn hash_with(hasher: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// A string in which these bytes stand at `start`, with zero bytes where it had none.
fn with_range(before: &[u8], start: usize, bytes: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let end = start.checked_add(bytes.len()).filter(|end| *end <= STRING_BYTES_MAX);
    let end = end.ok_or(Corrupt("a string grows beyond its limit"))?;
    let mut whole = Vec::with_capacity(before.len().max(end));
    whole.extend_from_slice(&before[..start.min(before.len())]);
    whole.resize(start, 0);
    whole.extend_from_slice(bytes);
    whole.extend_from_slice(before.get(end..).unwrap_or_default());
    Ok(whole)
}

fn has_idempotent_ids(value: &Value) -> bool {
    match value {
        Value::Stream(stream) => stream.producers().is_some_and(|all| all.iids_len() > 0),
        Value::String(_) => false,
    }
}
