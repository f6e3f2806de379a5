//! `Stream`: entries, counters, consumer groups, idempotent producers. Pure: no I/O, no clock.
//!
//! A stream changes only by an [`Effect`], only in [`Stream::apply`]: live, on replay and embedded
//! alike. Everything else here reads. A clone costs O(1): all parts are persistent trees.
//!
//! Invariants (`check`): `last_id` ≥ every entry, tombstones included; `entries_added` ≥ live
//! entries; a group's pending entries as in `group.rs`.

pub mod block;
pub mod effect;
pub mod entries;
pub mod fields;
pub mod group;
pub mod id;
pub mod ids;
pub mod image;
pub mod parts;
pub mod pel;
pub mod producers;

pub use block::{Block, BlockLimits, EntryRef};
pub use effect::Effect;
pub use entries::Entries;
pub use fields::{Fields, Span};
pub use group::{Consumer, Group};
pub use id::{EntryId, UnixMs};
pub use ids::Ids;
pub use image::Image;
pub use parts::StreamBuilder;
pub use pel::{ConsumerNo, Pending};
pub use producers::Producers;

use crate::codec::Corrupt;
use crate::rax::Rax;
use group::LeastDelivered;
use image::{ConsumerImage, GroupImage, PendingImage, ProducersImage};
use std::any::Any;
use std::sync::Arc;

/// The greatest counter or time: the peers keep both in signed numbers.
const SIGNED_MAX: u64 = i64::MAX.cast_unsigned();

/// Something removed that may be large; whoever gets it drops it where that hurts nobody.
pub type Garbage = Box<dyn Any + Send>;

/// A stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    entries: Entries,
    last_id: EntryId,
    max_deleted_id: EntryId,
    entries_added: u64,
    /// What most streams do not have.
    rare: Option<Arc<Rare>>,
}

/// Groups and idempotent producers.
#[derive(Debug, Clone, Default)]
struct Rare {
    groups: Rax<Group>,
    producers: Producers,
}

/// Reading.
impl Stream {
    /// An empty stream, whose idempotent producers have these limits.
    pub fn new(idmp_duration_s: u64, idmp_maxsize: u64) -> Self {
        let producers = Producers::new(idmp_duration_s, idmp_maxsize);
        let default = idmp_duration_s == producers::DURATION_S_DEFAULT
            && idmp_maxsize == producers::MAXSIZE_DEFAULT;
        let rare = (!default).then(|| Arc::new(Rare { groups: Rax::new(), producers }));
        Stream { rare, ..Stream::default() }
    }

    /// The entries.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// How many live entries there are.
    pub fn len(&self) -> u64 {
        self.entries.len()
    }

    /// Whether there is no live entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The greatest ID ever given, or set by XSETID.
    pub fn last_id(&self) -> EntryId {
        self.last_id
    }

    /// The greatest ID ever deleted (not trimmed).
    pub fn max_deleted_id(&self) -> EntryId {
        self.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// The first live entry's ID; `0-0` if there is none.
    pub fn first_id(&self) -> EntryId {
        self.entries.first_id().unwrap_or_default()
    }

    /// How many groups there are.
    pub fn groups_len(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.groups.len())
    }

    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.rare.as_ref()?.groups.get(name)
    }

    /// The groups in byte order of their names.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &Group)> + '_ {
        self.rare.as_ref().map(|rare| rare.groups.iter()).into_iter().flatten()
    }

    /// The idempotent producers; `None` if there never were any and the limits are Redis's
    /// defaults.
    pub fn producers(&self) -> Option<&Producers> {
        self.rare.as_ref().map(|rare| &rare.producers)
    }

    /// The least last-delivered ID of the groups; the greatest ID if there is none. O(1).
    pub fn least_delivered_id(&self) -> EntryId {
        let LeastDelivered(least) =
            self.rare.as_ref().map(|rare| rare.groups.summary()).unwrap_or_default();
        least
    }

    /// Whether a group still needs the entry: it has not been delivered to every group, or is
    /// pending in one, which is not asked of one that has just acknowledged it. Never without
    /// groups. Linear in the groups.
    pub fn is_referenced(&self, id: EntryId, acknowledged_by: Option<&[u8]>) -> bool {
        let Some(rare) = &self.rare else { return false };
        let LeastDelivered(least) = rare.groups.summary();
        if rare.groups.is_empty() {
            return false;
        }
        let is_asked = |name: &[u8]| acknowledged_by.is_none_or(|own| own != name);
        let is_pending =
            |(name, group): (&[u8], &Group)| is_asked(name) && group.pel().get(id).is_some();
        let asked = rare.groups.len() > usize::from(acknowledged_by.is_some());
        id > least || (asked && rare.groups.iter().any(is_pending))
    }

    /// How many entries had been added up to this ID, if that can be known.
    pub fn entries_read_estimate(&self, id: EntryId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.is_empty() && id <= self.last_id {
            return Some(self.entries_added);
        }
        if !id.is_min() && id < self.max_deleted_id {
            return None;
        }
        match id.cmp(&self.last_id) {
            std::cmp::Ordering::Equal => return Some(self.entries_added),
            std::cmp::Ordering::Greater => return None,
            std::cmp::Ordering::Less => {}
        }
        let first = self.first_id();
        if self.max_deleted_id.is_min() || self.max_deleted_id < first {
            let before_first = self.entries_added.saturating_sub(self.len());
            match id.cmp(&first) {
                std::cmp::Ordering::Less => return Some(before_first),
                std::cmp::Ordering::Equal => return Some(before_first + 1),
                std::cmp::Ordering::Greater => {}
            }
        }
        None
    }

    /// Whether an entry above this ID may have been deleted.
    pub fn has_tombstone_after(&self, id: EntryId) -> bool {
        !self.is_empty() && !self.max_deleted_id.is_min() && id <= self.max_deleted_id
    }

    /// How many entries a group has still to read, if that can be known. `emptied_is_zero` is the
    /// newest Redis's rule; Valkey counts on where a stream was emptied or trimmed past the group.
    pub fn lag(&self, group: &Group, emptied_is_zero: bool) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let delivered = group.last_delivered_id;
        if emptied_is_zero {
            if self.is_empty() {
                return Some(0);
            }
            let first = self.first_id();
            if delivered < first && self.max_deleted_id < first {
                return Some(self.len());
            }
        }
        if let Some(read) = group.entries_read
            && !self.has_tombstone_after(delivered)
        {
            return Some(self.entries_added.wrapping_sub(read));
        }
        Some(self.entries_added.saturating_sub(self.entries_read_estimate(delivered)?))
    }

    /// A group's read counter after `ids` were delivered to it in this order. It never passes the
    /// number of entries added: XGROUP's ENTRIESREAD may have set it too high.
    pub fn entries_read_after(&self, group: &Group, ids: &[EntryId]) -> Option<u64> {
        let (mut read, mut delivered) = (group.entries_read, group.last_delivered_id);
        let first = self.first_id();
        for (n, &id) in ids.iter().enumerate() {
            if let Some(counter) = read
                && delivered >= first
                && !self.has_tombstone_after(delivered)
            {
                // The IDs ascend, so this holds for all that follow.
                let left = (ids.len() - n) as u64;
                return Some(counter.saturating_add(left).min(self.entries_added));
            } else if self.entries_added > 0 {
                read = self.entries_read_estimate(id);
            }
            delivered = id;
        }
        read
    }

    /// Whether a read after `id` would find a live entry.
    pub fn has_entry_after(&self, id: EntryId) -> bool {
        self.entries.last_id().is_some_and(|last| last > id)
    }
}

/// Changing.
impl Stream {
    /// The only mutation of a stream. What is removed and may be large goes to `garbage`.
    ///
    /// # Errors
    /// [`Corrupt`] if the effect does not fit the state, which only damaged input can bring about;
    /// the state is then undefined and the caller stops.
    #[inline]
    pub fn apply(
        &mut self,
        effect: &Effect<'_>,
        limits: BlockLimits,
        garbage: &mut Vec<Garbage>,
    ) -> Result<(), Corrupt> {
        let Effect::Add { id, fields } = effect else { return self.apply_rest(effect, garbage) };
        ensure(*id > self.last_id, "an entry is not above the last one")?;
        self.entries.append(*id, fields, limits);
        self.last_id = *id;
        self.entries_added = self.entries_added.saturating_add(1).min(SIGNED_MAX);
        Ok(())
    }

    /// [`Stream::apply`] of what adds no entry.
    fn apply_rest(
        &mut self,
        effect: &Effect<'_>,
        garbage: &mut Vec<Garbage>,
    ) -> Result<(), Corrupt> {
        match *effect {
            Effect::Trim { below } => {
                let (_, removed) = self.entries.trim_below(below);
                if !removed.is_empty() {
                    garbage.push(Box::new(removed));
                }
            }
            Effect::Delete { id } => {
                ensure(self.entries.delete(id), "a deleted entry does not exist")?;
                self.max_deleted_id = self.max_deleted_id.max(id);
            }
            Effect::Remove { id } => {
                ensure(self.entries.delete(id), "a trimmed entry does not exist")?;
            }
            Effect::SetId { last_id, entries_added, max_deleted_id } => {
                self.set_id(last_id, entries_added, max_deleted_id)?;
            }
            Effect::ProducerSettings { duration_s, maxsize } => {
                ensure(maxsize > 0, "producers remember no idempotent ID")?;
                self.rare().producers.set_limits(duration_s, maxsize);
            }
            Effect::ProducerAdd { pid, iid, id } => {
                let producers = &mut self.rare().producers;
                producers.add(pid, iid, id);
                producers.count_added();
            }
            Effect::ProducerDuplicate => self.rare().producers.count_duplicate(),
            Effect::ProducerForget { pid, count } => {
                let forgotten = self.rare().producers.forget(pid, count);
                ensure(forgotten == count, "a forgotten idempotent ID does not exist")?;
            }
            Effect::Add { .. }
            | Effect::GroupCreate { .. }
            | Effect::GroupSetId { .. }
            | Effect::GroupAdvance { .. }
            | Effect::GroupDestroy { .. }
            | Effect::ConsumerCreate { .. }
            | Effect::ConsumerDelete { .. }
            | Effect::Deliver { .. }
            | Effect::Ack { .. }
            | Effect::Claim { .. }
            | Effect::Nack { .. }
            | Effect::Seen { .. } => self.apply_to_group(effect, garbage)?,
        }
        Ok(())
    }

    fn apply_to_group(
        &mut self,
        effect: &Effect<'_>,
        garbage: &mut Vec<Garbage>,
    ) -> Result<(), Corrupt> {
        match *effect {
            Effect::GroupCreate { group, last_delivered_id, entries_read } => {
                ensure(self.group(group).is_none(), "a created group exists")?;
                self.ensure_added(entries_read)?;
                let fresh = Group::new(last_delivered_id, entries_read);
                self.rare().groups.insert(group, fresh);
            }
            Effect::GroupSetId { group, last_delivered_id, entries_read } => {
                self.ensure_added(entries_read)?;
                self.change_group(group, |group| {
                    group.last_delivered_id = last_delivered_id;
                    group.entries_read = entries_read;
                    true
                })?;
            }
            Effect::GroupAdvance { group, last_delivered_id } => {
                self.change_group(group, |group| {
                    group.last_delivered_id = group.last_delivered_id.max(last_delivered_id);
                    true
                })?;
            }
            Effect::GroupDestroy { group } => {
                let removed = self.rare().groups.remove(group);
                garbage.push(Box::new(removed.ok_or(NO_GROUP)?));
            }
            Effect::ConsumerCreate { group, consumer, at } => {
                self.change_group(group, |group| group.create_consumer(consumer, at))?;
            }
            Effect::ConsumerDelete { group, consumer } => {
                self.change_group(group, |group| group.delete_consumer(consumer))?;
            }
            Effect::Ack { group, ids } => {
                self.change_group(group, |group| group.acknowledge(&ids.to_slice()))?;
            }
            Effect::Claim { group, consumer, id, at, count } => {
                self.change_group(group, |group| group.claim(consumer, id, at, count))?;
            }
            Effect::Nack { group, id, count } => {
                self.change_group(group, |group| {
                    group.nack(id, count);
                    true
                })?;
            }
            Effect::Seen { group, consumer, at, active } => {
                self.change_group(group, |group| group.see(consumer, at, active))?;
            }
            Effect::Deliver { group, consumer, last, count, at, pending, entries_read, ids } => {
                self.ensure_added(entries_read)?;
                let found;
                let ids = match ids {
                    Some(ids) => ids,
                    None => {
                        found = self.next_ids(group, last, count)?;
                        &found
                    }
                };
                let ids = if pending { ids } else { &[] };
                self.change_group(group, |group| {
                    group.last_delivered_id = last;
                    group.entries_read = entries_read;
                    group.deliver(consumer, ids, at)
                })?;
            }
            Effect::Add { .. }
            | Effect::Trim { .. }
            | Effect::Delete { .. }
            | Effect::Remove { .. }
            | Effect::SetId { .. }
            | Effect::ProducerSettings { .. }
            | Effect::ProducerAdd { .. }
            | Effect::ProducerDuplicate
            | Effect::ProducerForget { .. } => return Err(Corrupt("not an effect on a group")),
        }
        Ok(())
    }

    /// A group has not read more entries than there ever were.
    fn ensure_added(&self, entries_read: Option<u64>) -> Result<(), Corrupt> {
        let fits = entries_read.is_none_or(|read| read <= self.entries_added);
        ensure(fits, "a group has read more than was added")
    }

    /// The `count` live entries after a group's last-delivered ID, which end with `last`.
    fn next_ids(&self, group: &[u8], last: EntryId, count: u64) -> Result<Vec<EntryId>, Corrupt> {
        let after = self.group(group).ok_or(NO_GROUP)?.last_delivered_id;
        let start = after.next().ok_or(Corrupt("nothing follows the greatest ID"))?;
        let ids: Vec<_> = self.entries.range(start, last).map(|entry| entry.id).collect();
        let found = ids.last() == Some(&last) && ids.len() as u64 == count;
        ensure(found, "the delivered entries do not exist")?;
        Ok(ids)
    }

    fn set_id(
        &mut self,
        last_id: EntryId,
        entries_added: u64,
        max_deleted_id: EntryId,
    ) -> Result<(), Corrupt> {
        let fits = last_id >= self.entries.last_id().unwrap_or_default()
            && last_id >= max_deleted_id
            && entries_added >= self.len();
        ensure(fits, "a stream's counters are below its content")?;
        if last_id < self.last_id {
            self.entries.forget_tombstones_above(last_id);
        }
        self.last_id = last_id;
        self.entries_added = entries_added;
        self.max_deleted_id = max_deleted_id;
        let over: Vec<_> = self
            .groups()
            .filter(|(_, group)| group.entries_read.is_some_and(|read| read > entries_added))
            .map(|(name, _)| Box::<[u8]>::from(name))
            .collect();
        for name in over {
            self.change_group(&name, |group| {
                group.entries_read = Some(entries_added);
                true
            })?;
        }
        Ok(())
    }

    fn change_group(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Group) -> bool,
    ) -> Result<(), Corrupt> {
        let changed = self.rare().groups.update(name, change).ok_or(NO_GROUP)?;
        ensure(changed, "an effect does not fit its group")
    }

    fn rare(&mut self) -> &mut Rare {
        Arc::make_mut(self.rare.get_or_insert_with(Arc::default))
    }
}

const NO_GROUP: Corrupt = Corrupt("the group of an effect does not exist");

fn ensure(holds: bool, what: &'static str) -> Result<(), Corrupt> {
    if holds { Ok(()) } else { Err(Corrupt(what)) }
}

/// The whole stream, plainly described, and back.
impl Stream {
    /// Describes the stream. Linear in everything it holds.
    pub fn to_image(&self) -> Image {
        let all = self.entries.range(EntryId::MIN, EntryId::MAX);
        let default = Producers::default();
        let producers = self.producers().unwrap_or(&default);
        Image {
            entries: all
                .map(|entry| {
                    let flat = entry.fields.iter().flat_map(|(f, v)| [f.into(), v.into()]);
                    (entry.id, flat.collect())
                })
                .collect(),
            last_id: self.last_id,
            max_deleted_id: self.max_deleted_id,
            entries_added: self.entries_added,
            groups: self.groups().map(|(name, group)| group_image(name, group)).collect(),
            producers: ProducersImage {
                duration_s: producers.duration_s(),
                maxsize: producers.maxsize(),
                producers: producers.iter().collect(),
                iids_added: producers.iids_added(),
                iids_duplicates: producers.iids_duplicates(),
            },
        }
    }

    /// Builds the stream of a description, which has passed [`Image::check`].
    ///
    /// # Errors
    /// [`Corrupt`] if it has not.
    pub fn from_image(image: &Image, limits: BlockLimits) -> Result<Stream, Corrupt> {
        image.check()?;
        let mut stream = Stream::new(image.producers.duration_s, image.producers.maxsize);
        for (id, fields) in &image.entries {
            let fields: Vec<&[u8]> = fields.iter().map(|bytes| &**bytes).collect();
            stream.entries.append(*id, &Fields::Slices(&fields), limits);
        }
        stream.last_id = image.last_id;
        stream.max_deleted_id = image.max_deleted_id;
        stream.entries_added = image.entries_added;
        for group in &image.groups {
            let built = build_group(group);
            stream.rare().groups.insert(&group.name, built);
        }
        let described = &image.producers;
        if !described.producers.is_empty()
            || described.iids_added > 0
            || described.iids_duplicates > 0
        {
            let producers = &mut stream.rare().producers;
            for (pid, iids) in &described.producers {
                for (iid, id) in iids {
                    producers.add(pid, iid, *id);
                }
            }
            producers.set_counters(described.iids_added, described.iids_duplicates);
        }
        Ok(stream)
    }

    /// Bytes of memory the stream holds, allocator overhead not counted. Where there are more than
    /// `samples` blocks, they are taken to be as the first so many. **Cost**: O(samples) for the
    /// entries and for each group and consumer.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        let groups = self.groups().map(|(name, group)| {
            let sets =
                group.consumers().map(|(name, c)| name.len() + c.pending().memory_bytes(samples));
            name.len()
                + size_of::<Group>()
                + group.pel().memory_bytes(samples)
                + sets.sum::<usize>()
        });
        size_of::<Stream>() + self.entries.memory_bytes(samples) + groups.sum::<usize>()
    }

    /// Asserts the invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.entries.check();
        assert!(self.entries.blocks().all(|block| block.last_id() <= self.last_id));
        assert!(self.last_id >= self.max_deleted_id);
        assert!(self.entries_added >= self.len());
        if let Some(rare) = &self.rare {
            rare.groups.check();
            rare.producers.check();
            for (_, group) in rare.groups.iter() {
                group.check();
                assert!(group.entries_read.is_none_or(|read| read <= self.entries_added));
            }
        }
    }
}

fn group_image(name: &[u8], group: &Group) -> GroupImage {
    let consumers: Vec<_> = group.consumers().collect();
    let indexes: std::collections::BTreeMap<u32, usize> =
        consumers.iter().enumerate().map(|(at, (_, consumer))| (consumer.no().0, at)).collect();
    GroupImage {
        name: name.into(),
        last_delivered_id: group.last_delivered_id,
        entries_read: group.entries_read,
        pending: group
            .pel()
            .iter_from(EntryId::MIN)
            .map(|pending| PendingImage {
                id: pending.id,
                owner: pending.owner.map(|no| indexes[&no.0]),
                delivered_at: pending.delivered_at,
                count: pending.count,
            })
            .collect(),
        unowned: group.pel().iter_unowned().map(|pending| pending.id).collect(),
        consumers: consumers
            .into_iter()
            .map(|(name, consumer)| ConsumerImage {
                name: name.into(),
                seen_at: consumer.seen_at(),
                active_at: consumer.active_at(),
            })
            .collect(),
    }
}

fn build_group(image: &GroupImage) -> Group {
    let mut group = Group::new(image.last_delivered_id, image.entries_read);
    for consumer in &image.consumers {
        group.create_consumer(&consumer.name, consumer.seen_at);
        group.set_times(&consumer.name, consumer.seen_at, consumer.active_at);
    }
    let mut counts = std::collections::BTreeMap::new();
    for pending in &image.pending {
        match pending.owner {
            Some(owner) => {
                let name = &image.consumers[owner].name;
                group.claim(name, pending.id, pending.delivered_at, pending.count);
            }
            None => {
                counts.insert(pending.id, pending.count);
            }
        }
    }
    for id in &image.unowned {
        group.nack(*id, counts.get(id).copied().unwrap_or_default());
    }
    group
}
