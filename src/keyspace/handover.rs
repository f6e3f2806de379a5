//! Handing a keyspace over to a snapshot while commands go on.
//!
//! The state that a snapshot has is that of one moment, its *barrier*. Each key then standing is
//! handed over once, as a clone that costs O(1) for a stream: place by place, in slices between
//! commands, or at once when a command is about to change it. A slot carries the number of the
//! snapshot that has it (its *epoch*); a slot filled after the barrier carries it from the start.
//! A database that is flushed moves into the snapshot whole, with how far its handing over has
//! come, and so does nothing for its size. Databases that are swapped keep their old number there.

use super::{Database, Keyspace, Slot, Value};
use crate::stream::UnixMs;

/// What a snapshot got.
#[derive(Debug)]
pub enum Frozen {
    /// A key.
    Key(FrozenKey),
    /// What was left of a flushed database.
    Rest(FrozenDatabase),
}

impl Frozen {
    /// How many keys it has.
    pub fn keys(&self) -> usize {
        match self {
            Frozen::Key(_) => 1,
            Frozen::Rest(rest) => rest.0.len(),
        }
    }
}

/// A key as it stood at the barrier.
#[derive(Debug, Clone)]
pub struct FrozenKey {
    /// The database.
    pub db: u8,
    /// Its name.
    pub key: Box<[u8]>,
    /// Its value.
    pub value: Value,
    /// When it expires.
    pub expire_at: Option<UnixMs>,
}

impl FrozenKey {
    pub(super) fn of(db: u8, slot: &Slot) -> Self {
        let (key, value) = (slot.key.clone(), slot.value.clone());
        FrozenKey { db, key, value, expire_at: slot.expire_at() }
    }
}

/// A database that no command sees any more.
#[derive(Debug)]
pub struct FrozenDatabase(Box<Database>);

impl FrozenDatabase {
    /// Takes out the next keys, at most `max`; none if there are no more.
    pub fn take(&mut self, max: usize) -> Vec<Frozen> {
        let mut out = Vec::new();
        while out.is_empty() && self.0.hand_over_rest(max, &mut out) {}
        out
    }
}

/// How far the handing over of a database has come.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The database's number at the barrier.
    pub(super) db: u8,
    /// The snapshot.
    pub(super) epoch: u32,
    /// The next place.
    pub(super) next: usize,
    /// The place after the last one.
    pub(super) end: usize,
}

impl Value {
    /// The bytes that a clone copies.
    pub(super) fn copied_bytes(&self) -> usize {
        match self {
            Value::Stream(_) => 0,
            Value::String(string) => string.len(),
        }
    }
}

/// Handing over.
impl Keyspace {
    /// Begins: the state is that of now. What an earlier snapshot still lacked it will not get.
    /// Returns the number of the snapshot, for [`Keyspace::end_handover`].
    pub fn begin_handover(&mut self) -> u32 {
        // 0 is that of keys that no snapshot has looked at.
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.frozen.clear();
        for (db, database) in (0..).zip(&mut self.databases) {
            database.begin_handover(db, self.epoch);
        }
        self.epoch
    }

    /// Hands over the next keys, about `budget`, besides those that have changed meanwhile; true
    /// if there are more.
    pub fn hand_over(&mut self, mut budget: usize, out: &mut Vec<Frozen>) -> bool {
        out.append(&mut self.frozen);
        self.databases.iter_mut().any(|database| database.hand_over(&mut budget, out))
    }

    /// The number of the last snapshot that was begun.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Gives a snapshot up, unless another has begun.
    pub fn end_handover(&mut self, epoch: u32) {
        if self.epoch == epoch {
            self.frozen.clear();
            self.databases.iter_mut().for_each(Database::end_handover);
        }
    }

    /// Takes a whole database out: into the snapshot that lacks some of it, or as garbage.
    pub(super) fn drop_database(&mut self, db: u8) {
        let old = std::mem::take(self.database_mut(db));
        if old.is_being_handed_over() {
            self.frozen.push(Frozen::Rest(FrozenDatabase(Box::new(old))));
        } else if !old.is_empty() {
            self.garbage.push(Box::new(old));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Change, Spaces};
    use super::*;
    use crate::testing::Rng;
    use std::collections::BTreeMap;
    use std::hash::RandomState;

    type State = BTreeMap<(u8, Box<[u8]>), (String, Option<UnixMs>)>;

    fn text(value: &Value) -> String {
        match value {
            Value::Stream(stream) => format!("{:?}", stream.to_image()),
            Value::String(string) => format!("{string:?}"),
        }
    }

    fn state(space: &Keyspace) -> State {
        let slots = (0..super::super::DATABASES)
            .flat_map(|db| space.database(db).slots_from(0).map(move |(_, slot)| (db, slot)));
        slots
            .map(|(db, slot)| ((db, slot.key.clone()), (text(&slot.value), slot.expire_at())))
            .collect()
    }

    fn receive(frozen: Vec<Frozen>, got: &mut State) {
        for frozen in frozen {
            match frozen {
                Frozen::Key(FrozenKey { db, key, value, expire_at }) => {
                    let old = got.insert((db, key), (text(&value), expire_at));
                    assert!(old.is_none(), "a key is handed over twice");
                }
                Frozen::Rest(mut rest) => loop {
                    let keys = rest.take(2);
                    if keys.is_empty() {
                        break;
                    }
                    receive(keys, got);
                },
            }
        }
    }

    /// A change of any kind that fits the state.
    fn change(rng: &mut Rng, space: &mut Keyspace, n: u64) {
        use crate::stream::{Effect, EntryId, Fields};
        let names: Vec<Vec<u8>> = (0..12).map(|n| format!("k{n}").into_bytes()).collect();
        let (key, other) = (&names[rng.below(12)][..], &names[rng.below(12)][..]);
        let (db, to) = ([0, 1][rng.below(2)], [0, 1][rng.below(2)]);
        let exists = space.find(db, key).is_some();
        let value = space.value(db, key);
        let is_stream = matches!(value, Some(Value::Stream(_)));
        let length = if let Some(Value::String(string)) = value { string.len() } else { 0 };
        let fields: [&[u8]; 2] = [b"f", b"v"];
        let id = EntryId::new(n + 1, 0);
        let action = match rng.below(40) {
            0 => Action::FlushDb,
            1 => Action::SwapDb { other: to },
            2 => Action::FlushAll,
            3..=6 if exists && (db, key) != (to, other) => Action::Move { db: to, key: other },
            7..=10 if exists && (db, key) != (to, other) => Action::Copy { db: to, key: other },
            11..=14 if exists => Action::Remove,
            15..=18 if exists => Action::Expire { expire_at: Some(UnixMs(n)) },
            19..=24 => Action::SetString { value: key, whole: None, expire_at: None },
            25..=30 if exists && !is_stream => {
                Action::SetRange { length, start: rng.below(9), bytes: key }
            }
            _ if is_stream => Action::Effect(Effect::Add { id, fields: Fields::Slices(&fields) }),
            _ if !exists => Action::Create { idmp_duration_s: 100, idmp_maxsize: 100 },
            _ => Action::Remove,
        };
        let key = if matches!(action, Action::FlushAll | Action::FlushDb) { b"" } else { key };
        Spaces::new(&mut [space]).apply(&Change { db, key, action }).unwrap();
    }

    #[test]
    fn a_snapshot_has_what_stood_at_its_barrier_whatever_happens_meanwhile() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut space = Keyspace::new(0..super::super::SLOTS, RandomState::new());
            let mut n = 0;
            for _ in 0..4 {
                for _ in 0..rng.below(40) {
                    change(&mut rng, &mut space, n);
                    n += 1;
                }
                let expected = state(&space);
                space.begin_handover();
                let (mut got, mut more) = (State::new(), true);
                while more {
                    for _ in 0..rng.below(6) {
                        change(&mut rng, &mut space, n);
                        n += 1;
                    }
                    let mut out = Vec::new();
                    more = space.hand_over(rng.below(4), &mut out);
                    receive(out, &mut got);
                }
                assert_eq!(got, expected, "seed {seed}");
                space.check();
            }
        }
    }
}
