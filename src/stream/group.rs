//! `Group`: a consumer group's place in its stream, its consumers, its pending entries.
//!
//! Invariant: a pending entry with an owner stands in the PEL and in exactly that consumer's set;
//! one without an owner stands in the PEL alone.

use crate::rax::{Measure, Rax, Summary};
use crate::stream::id::{EntryId, UnixMs};
use crate::stream::pel::{ConsumerNo, IdSet, Pel, Pending, UNOWNED};

/// A consumer group. A clone costs O(1).
#[derive(Debug, Clone)]
pub struct Group {
    pub(super) last_delivered_id: EntryId,
    pub(super) entries_read: Option<u64>,
    pel: Pel,
    consumers: Rax<Consumer>,
    /// Number (4 bytes, big-endian) → name.
    names: Rax<Name>,
}

/// A consumer of a group.
#[derive(Debug, Clone)]
pub struct Consumer {
    no: ConsumerNo,
    seen_at: UnixMs,
    active_at: Option<UnixMs>,
    pending: IdSet,
}

#[derive(Debug, Clone)]
struct Name(Box<[u8]>);

/// What a tree of groups knows of its members: the least last-delivered ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastDelivered(pub EntryId);

impl Default for LeastDelivered {
    fn default() -> Self {
        LeastDelivered(EntryId::MAX)
    }
}

impl Summary for LeastDelivered {
    fn plus(self, other: Self) -> Self {
        LeastDelivered(self.0.min(other.0))
    }

    fn replaced(self, old: Self, new: Self) -> Option<Self> {
        if new.0 <= self.0 {
            return Some(new);
        }
        (old.0 > self.0).then_some(self)
    }
}

impl Measure for Group {
    type Summary = LeastDelivered;
    fn measure(&self) -> LeastDelivered {
        LeastDelivered(self.last_delivered_id)
    }
}

impl Measure for Consumer {
    type Summary = ();
    fn measure(&self) {}
}

impl Measure for Name {
    type Summary = ();
    fn measure(&self) {}
}

impl Consumer {
    /// Its number within the group, by which the PEL names it.
    pub fn no(&self) -> ConsumerNo {
        self.no
    }

    /// When a command last named it.
    pub fn seen_at(&self) -> UnixMs {
        self.seen_at
    }

    /// When it last got an entry; `None` if never.
    pub fn active_at(&self) -> Option<UnixMs> {
        self.active_at
    }

    /// The IDs of its pending entries.
    pub fn pending(&self) -> &IdSet {
        &self.pending
    }
}

impl Group {
    pub(super) fn new(last_delivered_id: EntryId, entries_read: Option<u64>) -> Self {
        Group {
            last_delivered_id,
            entries_read,
            pel: Pel::default(),
            consumers: Rax::new(),
            names: Rax::new(),
        }
    }

    /// After which entry the group reads.
    pub fn last_delivered_id(&self) -> EntryId {
        self.last_delivered_id
    }

    /// How many entries it would have read up to there, if known.
    pub fn entries_read(&self) -> Option<u64> {
        self.entries_read
    }

    /// The pending entries list.
    pub fn pel(&self) -> &Pel {
        &self.pel
    }

    /// A consumer.
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    /// How many consumers there are.
    pub fn consumers_len(&self) -> usize {
        self.consumers.len()
    }

    /// The consumers in byte order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = (&[u8], &Consumer)> + '_ {
        self.consumers.iter()
    }

    /// The name of a pending entry's owner; empty for an unowned one.
    ///
    /// # Panics
    /// If the number is of no consumer of this group.
    pub fn owner_name(&self, owner: Option<ConsumerNo>) -> &[u8] {
        match owner {
            None => b"",
            Some(no) => {
                let name = self.names.get(&no.0.to_be_bytes());
                &name.expect("an owner is a consumer of the group").0
            }
        }
    }

    /// Creates a consumer; false if it exists.
    pub(super) fn create_consumer(&mut self, name: &[u8], at: UnixMs) -> bool {
        if self.consumers.get(name).is_some() {
            return false;
        }
        let no = self.free_no();
        self.names.insert(&no.0.to_be_bytes(), Name(name.into()));
        let consumer = Consumer { no, seen_at: at, active_at: None, pending: IdSet::default() };
        self.consumers.insert(name, consumer);
        true
    }

    /// The number above all others; if that is the last, the first one that is free: numbers are
    /// used again, as nothing that is left of a deleted consumer has its own. **Cost**:
    /// O(consumers) while a consumer has the last number.
    fn free_no(&self) -> ConsumerNo {
        let last = self.names.last().and_then(|(_, name)| self.consumers.get(&name.0));
        let above = last.map_or(0, |consumer| consumer.no.0 + 1);
        if above < UNOWNED {
            return ConsumerNo(above);
        }
        let mut taken = (0..UNOWNED).zip(self.names.iter());
        let free = taken.find(|(no, (taken, _))| *taken != no.to_be_bytes());
        ConsumerNo(free.expect("there are more numbers than consumers").0)
    }

    /// Deletes a consumer with its pending entries; false if it does not exist. Linear in these.
    pub(super) fn delete_consumer(&mut self, name: &[u8]) -> bool {
        let Some(consumer) = self.consumers.remove(name) else {
            return false;
        };
        self.names.remove(&consumer.no.0.to_be_bytes());
        let ids: Vec<_> = consumer.pending.iter_from(EntryId::MIN).collect();
        self.pel.remove_each(&ids, |_| {})
    }

    /// Marks a consumer as seen, and as active; false if it does not exist.
    pub(super) fn see(&mut self, name: &[u8], at: UnixMs, active: bool) -> bool {
        self.consumers
            .update(name, |consumer| {
                consumer.seen_at = at;
                if active {
                    consumer.active_at = Some(at);
                }
            })
            .is_some()
    }

    /// Sets both times of a consumer, when a stream is built from its description.
    pub(super) fn set_times(&mut self, name: &[u8], seen_at: UnixMs, active_at: Option<UnixMs>) {
        self.consumers.update(name, |consumer| {
            consumer.seen_at = seen_at;
            consumer.active_at = active_at;
        });
    }

    /// Gives a group without pending entries these, and each consumer its own of them, when a
    /// stream is built from a snapshot.
    pub(super) fn set_pending<'a>(
        &mut self,
        pel: Pel,
        sets: impl Iterator<Item = (&'a Box<[u8]>, Vec<EntryId>)>,
    ) {
        self.pel = pel;
        for (name, ids) in sets.filter(|(_, ids)| !ids.is_empty()) {
            self.consumers.update(name, |consumer| consumer.pending.extend(ids.into_iter()));
        }
    }

    /// Makes new entries pending for a consumer, count 1; `ids` ascend, and there may be none.
    /// The consumer is seen, and active if there are any. False if it does not exist.
    pub(super) fn deliver(&mut self, name: &[u8], ids: &[EntryId], at: UnixMs) -> bool {
        let pel = &mut self.pel;
        let replaced = self.consumers.update(name, |consumer| {
            consumer.seen_at = at;
            if ids.is_empty() {
                return Vec::new();
            }
            consumer.active_at = Some(at);
            consumer.pending.extend(ids.iter().copied());
            let mut replaced = pel.deliver(ids.iter().copied(), consumer.no, at);
            replaced.retain(|before| before.owner != Some(consumer.no));
            replaced
        });
        for before in replaced.iter().flatten() {
            self.disown(before.owner, before.id);
        }
        replaced.is_some()
    }

    /// Makes an entry pending for a consumer, or moves its pending entry to it. False if the
    /// consumer does not exist.
    pub(super) fn claim(&mut self, name: &[u8], id: EntryId, at: UnixMs, count: u64) -> bool {
        let Some(owner) = self.consumers.get(name).map(Consumer::no) else {
            return false;
        };
        let pending = Pending { id, owner: Some(owner), delivered_at: at, count };
        let before = self.pel.set(pending);
        let owner_before = before.and_then(|before| before.owner);
        if owner_before != Some(owner) {
            self.disown(owner_before, id);
            self.consumers.update(name, |consumer| consumer.pending.insert(id));
        }
        true
    }

    /// Takes an entry from its owner and puts it at the end of the unowned.
    pub(super) fn nack(&mut self, id: EntryId, count: u64) {
        let unowned = Pending { id, owner: None, delivered_at: UnixMs(0), count };
        let before = self.pel.set(unowned);
        self.disown(before.and_then(|before| before.owner), id);
    }

    /// Drops pending entries, whose IDs ascend; false if one of them is not pending.
    pub(super) fn acknowledge(&mut self, ids: &[EntryId]) -> bool {
        let Group { pel, consumers, names, .. } = self;
        // Neighbours mostly have one owner: they leave its set together.
        let (mut owner, mut begin, mut end) = (None, 0, 0);
        let all = pel.remove_each(ids, |pending| {
            if pending.owner != owner {
                disown(names, consumers, owner, &ids[begin..end]);
                (owner, begin) = (pending.owner, end);
            }
            end += 1;
        });
        disown(names, consumers, owner, &ids[begin..end]);
        all
    }

    fn disown(&mut self, owner: Option<ConsumerNo>, id: EntryId) {
        disown(&self.names, &mut self.consumers, owner, &[id]);
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.pel.check();
        self.consumers.check();
        self.names.check();
        assert_eq!(self.consumers.len(), self.names.len());
        let mut owned = 0;
        for (name, consumer) in self.consumers.iter() {
            consumer.pending.check();
            assert!(consumer.no.0 < UNOWNED);
            assert_eq!(self.owner_name(Some(consumer.no)), name);
            for id in consumer.pending.iter_from(EntryId::MIN) {
                let pending = self.pel.get(id).expect("a consumer's ID is pending");
                assert_eq!(pending.owner, Some(consumer.no));
            }
            owned += consumer.pending.len();
        }
        assert_eq!(owned + self.pel.unowned_len(), self.pel.len());
    }
}

/// Takes IDs, which ascend, out of their owner's set.
fn disown(
    names: &Rax<Name>,
    consumers: &mut Rax<Consumer>,
    owner: Option<ConsumerNo>,
    ids: &[EntryId],
) {
    let Some(owner) = owner else { return };
    let name = names.get(&owner.0.to_be_bytes());
    let name = &name.expect("an owner is a consumer of the group").0;
    consumers.update(name, |consumer| consumer.pending.remove_each(ids));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_consumers_are_used_again_and_never_run_out() {
        let mut group = Group::new(EntryId::MIN, None);
        let id = |n| EntryId::new(n, 0);
        let no = |group: &Group, name: &[u8]| group.consumer(name).unwrap().no().0;
        group.create_consumer(b"old", UnixMs(1));
        // As after four billion others.
        let mut last = group.consumers.remove(b"old").unwrap();
        group.names.remove(&last.no.0.to_be_bytes());
        last.no = ConsumerNo(UNOWNED - 2);
        group.names.insert(&last.no.0.to_be_bytes(), Name(b"old"[..].into()));
        group.consumers.insert(b"old", last);
        group.check();
        for (n, name) in (1..).zip(["a", "b", "c", "d"]) {
            assert!(group.create_consumer(name.as_bytes(), UnixMs(1)));
            group.deliver(name.as_bytes(), &[id(n)], UnixMs(1));
            group.check();
        }
        assert_eq!(no(&group, b"a"), UNOWNED - 1);
        assert_eq!([no(&group, b"b"), no(&group, b"c"), no(&group, b"d")], [0, 1, 2]);
        // What a deleted consumer had is not its successor's.
        group.delete_consumer(b"c");
        group.create_consumer(b"e", UnixMs(1));
        assert_eq!(no(&group, b"e"), 1);
        assert!(group.consumer(b"e").unwrap().pending().is_empty());
        group.claim(b"e", id(4), UnixMs(2), 2);
        group.check();
        group.delete_consumer(b"a");
        group.create_consumer(b"f", UnixMs(1));
        assert_eq!(no(&group, b"f"), UNOWNED - 1);
        assert_eq!(group.pel().len(), 2);
        group.check();
    }
}
