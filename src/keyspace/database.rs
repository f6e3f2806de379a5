//! One database: the slab of keys and the tables that lead into it.

use super::Value;
use super::handover::{Frozen, FrozenKey, Sweep};
use crate::stream::UnixMs;
use hashbrown::HashTable;
use std::collections::BTreeSet;
use std::num::NonZeroU64;

/// How many tables share the keys. One table of 4 M keys paused for 127 ms when it grew.
const TABLES: usize = 256;
/// Slots in one piece of the slab; the slab grows by pieces, so that no slot ever moves.
const PIECE: usize = 128;
/// Handing over a key costs as much as copying so many bytes, roughly.
const FREE_BYTES: usize = 1024;

/// A key and its value.
#[derive(Debug)]
pub struct Slot {
    /// The key.
    pub key: Box<[u8]>,
    /// The value.
    pub value: Value,
    expire_at: Option<NonZeroU64>,
    /// When it was last used, in Unix seconds; 0 if that is not known. No state: it is not logged.
    accessed_s: u32,
    /// The snapshot that has its value, or that it is too young for.
    epoch: u32,
}

impl Slot {
    /// When the key expires.
    pub fn expire_at(&self) -> Option<UnixMs> {
        self.expire_at.map(|at| UnixMs(at.get() - 1))
    }

    /// For how many seconds the key has not been used.
    pub fn idle_s(&self, now: UnixMs) -> u32 {
        seconds(now).saturating_sub(self.accessed_s)
    }
}

/// A time in Unix seconds, which fit until the year 2106.
fn seconds(at: UnixMs) -> u32 {
    u32::try_from(at.0 / 1000).unwrap_or(u32::MAX)
}

/// The keys of one database in one shard.
#[derive(Debug, Default)]
pub struct Database {
    /// The slab; `None` is a free place.
    pieces: Vec<Vec<Option<Slot>>>,
    free: Vec<u32>,
    /// Key → place; empty until the first key comes.
    tables: Vec<HashTable<u32>>,
    len: usize,
    /// Expiries in milliseconds, with their places.
    expiries: BTreeSet<(u64, u32)>,
    /// How far a snapshot has come, while one is being handed over.
    sweep: Option<Sweep>,
}

impl Database {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of them have an expiry.
    pub fn expiring_len(&self) -> usize {
        self.expiries.len()
    }

    /// One more than the greatest place.
    pub fn places(&self) -> usize {
        // Only the last piece is not full.
        let full = self.pieces.len().saturating_sub(1);
        full * PIECE + self.pieces.last().map_or(0, Vec::len)
    }

    /// The slot at a place, if it is taken.
    pub fn get(&self, place: usize) -> Option<&Slot> {
        self.pieces.get(place / PIECE)?.get(place % PIECE)?.as_ref()
    }

    /// The slot at a place that is taken.
    ///
    /// # Panics
    /// If it is free.
    pub fn slot(&self, place: u32) -> &Slot {
        self.get(place as usize).expect("a table leads to a taken place")
    }

    /// Keys with their places, from a place on.
    pub fn slots_from(&self, place: usize) -> impl Iterator<Item = (usize, &Slot)> + '_ {
        (place..self.places()).filter_map(|place| Some((place, self.get(place)?)))
    }

    /// Where a key stands.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let table = self.tables.get(table_of(hash))?;
        table.find(hash, |&place| *self.slot(place).key == *key).copied()
    }

    /// The place of the key that expires next, if it is due.
    pub fn next_due(&self, now: UnixMs) -> Option<u32> {
        self.expiries.first().filter(|(at, _)| *at <= now.0).map(|(_, place)| *place)
    }

    /// When the next key expires.
    pub fn next_expiry(&self) -> Option<UnixMs> {
        self.expiries.first().map(|(at, _)| UnixMs(*at))
    }

    /// The mean time to live of the keys that expire, in milliseconds.
    pub fn average_ttl_ms(&self, now: UnixMs) -> u64 {
        let sample = self.expiries.iter().take(100);
        let (sum, n) = sample.fold((0_u64, 0_u64), |(sum, n), (at, _)| {
            (sum.saturating_add(at.saturating_sub(now.0)), n + 1)
        });
        sum.checked_div(n).unwrap_or_default()
    }

    pub(super) fn value_mut(&mut self, place: u32) -> &mut Value {
        &mut self.slot_mut(place).value
    }

    /// The key at a place is used now; if not `touch`, that is noted only if nothing is known.
    /// Returns whether its time is over.
    pub(super) fn access(&mut self, place: u32, now: UnixMs, touch: bool) -> bool {
        let slot = self.slot_mut(place);
        if touch || slot.accessed_s == 0 {
            slot.accessed_s = seconds(now);
        }
        slot.expire_at().is_some_and(|at| at <= now)
    }

    fn slot_mut(&mut self, place: u32) -> &mut Slot {
        let place = place as usize;
        let slot = &mut self.pieces[place / PIECE][place % PIECE];
        slot.as_mut().expect("a table leads to a taken place")
    }

    /// Adds a key that is not there; `hash_of` also hashes others when a table grows.
    pub(super) fn insert(
        &mut self,
        key: &[u8],
        value: Value,
        hash_of: impl Fn(&[u8]) -> u64,
    ) -> u32 {
        let hash = hash_of(key);
        let epoch = self.sweep.as_ref().map_or(0, |sweep| sweep.epoch);
        let slot = Slot { key: key.into(), value, expire_at: None, accessed_s: 0, epoch };
        let place = self.free.pop().unwrap_or_else(|| self.new_place());
        self.pieces[place as usize / PIECE][place as usize % PIECE] = Some(slot);
        self.len += 1;
        if self.tables.is_empty() {
            self.tables.resize_with(TABLES, HashTable::new);
        }
        let Database { pieces, tables, .. } = self;
        let hash_at = |place: &u32| {
            // Hashes are not kept: a smaller slot is worth more than a faster rare growth.
            let place = *place as usize;
            let slot = pieces[place / PIECE][place % PIECE].as_ref();
            hash_of(&slot.expect("a table leads to a taken place").key)
        };
        tables[table_of(hash)].insert_unique(hash, place, hash_at);
        place
    }

    /// A place at the end of the slab.
    fn new_place(&mut self) -> u32 {
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let pieces = self.pieces.len();
        let piece = self.pieces.last_mut().expect("a piece was pushed");
        piece.push(None);
        let place = (pieces - 1) * PIECE + piece.len() - 1;
        u32::try_from(place).expect("memory holds fewer keys than 2^32")
    }

    pub(super) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<(Value, Option<UnixMs>)> {
        let place = self.find(hash, key)?;
        let expire_at = self.slot(place).expire_at();
        self.set_expiry(place, None);
        let table = &mut self.tables[table_of(hash)];
        if let Ok(entry) = table.find_entry(hash, |&other| other == place) {
            entry.remove();
        }
        let at = place as usize;
        let slot = self.pieces[at / PIECE][at % PIECE].take();
        self.free.push(place);
        self.len -= 1;
        slot.map(|slot| (slot.value, expire_at))
    }

    pub(super) fn set_expiry(&mut self, place: u32, expire_at: Option<UnixMs>) {
        let slot = self.slot_mut(place);
        let before = slot.expire_at();
        slot.expire_at = expire_at.and_then(|at| NonZeroU64::new(at.0.saturating_add(1)));
        let after = slot.expire_at();
        if before != after {
            before.map(|at| self.expiries.remove(&(at.0, place)));
            after.map(|at| self.expiries.insert((at.0, place)));
        }
    }

    /// Begins to hand over what the database holds now, under the number it has now.
    pub(super) fn begin_handover(&mut self, db: u8, epoch: u32) {
        self.sweep = (!self.is_empty()).then(|| Sweep { db, epoch, next: 0, end: self.places() });
    }

    /// Hands nothing over any more.
    pub(super) fn end_handover(&mut self) {
        self.sweep = None;
    }

    /// Hands over the next keys, about as many as the budget allows, and takes them off it; false
    /// if all have been.
    pub(super) fn hand_over(&mut self, budget: &mut usize, out: &mut Vec<Frozen>) -> bool {
        while let Some(sweep) = &mut self.sweep {
            let (db, place) = (sweep.db, sweep.next);
            if place == sweep.end {
                self.sweep = None;
                return false;
            }
            if *budget == 0 {
                return true;
            }
            let epoch = sweep.epoch;
            sweep.next += 1;
            *budget -= 1;
            let slot = self.pieces[place / PIECE][place % PIECE].as_mut();
            if let Some(slot) = slot.filter(|slot| slot.epoch != epoch) {
                slot.epoch = epoch;
                *budget = budget.saturating_sub(slot.value.copied_bytes() / FREE_BYTES);
                out.push(Frozen::Key(FrozenKey::of(db, slot)));
            }
        }
        false
    }

    /// Hands over the key at a place, which is about to change, if a snapshot lacks it.
    pub(super) fn hand_over_place(&mut self, place: u32, out: &mut Vec<Frozen>) {
        let Some(sweep) = &self.sweep else { return };
        let (db, epoch) = (sweep.db, sweep.epoch);
        let slot = self.slot_mut(place);
        if slot.epoch != epoch {
            slot.epoch = epoch;
            out.push(Frozen::Key(FrozenKey::of(db, slot)));
        }
    }

    /// Hands over the next keys and leaves nothing: what a whole database of no more use is for.
    pub(crate) fn hand_over_rest(&mut self, max: usize, out: &mut Vec<Frozen>) -> bool {
        let mut budget = max;
        self.hand_over(&mut budget, out)
    }

    /// Whether a snapshot lacks some of the keys.
    pub(super) fn is_being_handed_over(&self) -> bool {
        self.sweep.is_some()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self, hash: impl Fn(&[u8]) -> u64) {
        let mut found = 0;
        let mut expiring = 0;
        for (place, slot) in self.slots_from(0) {
            found += 1;
            if let (Some(at), Ok(place)) = (slot.expire_at(), u32::try_from(place)) {
                expiring += 1;
                assert!(self.expiries.contains(&(at.0, place)));
            }
            let led = self.find(hash(&slot.key), &slot.key);
            assert_eq!(led.map(|led| led as usize), Some(place));
            if let Value::Stream(stream) = &slot.value {
                stream.check();
            }
        }
        assert_eq!(found, self.len);
        assert_eq!(expiring, self.expiries.len());
        assert_eq!(self.tables.iter().map(HashTable::len).sum::<usize>(), self.len);
        let taken: usize = self.pieces.iter().map(Vec::len).sum();
        assert_eq!(taken, self.len + self.free.len());
    }
}

/// The table of a hash; hashbrown uses the top seven and the low bits, so these are other ones.
fn table_of(hash: u64) -> usize {
    usize::from(hash.to_le_bytes()[6])
}
