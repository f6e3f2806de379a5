//! The model's stream: entries with the number of their block, groups, producers, and the rules
//! that several commands share.

use super::words::Refs;
use super::{Bytes, Id};
use crate::reply::Reply;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Fields and values in turn.
    pub(crate) strings: Vec<Bytes>,
    block: u64,
}

/// What `~` goes by: entries that stand together, with the tombstones between them.
#[derive(Debug, Clone, Default)]
struct Block {
    live: u64,
    /// All IDs, those of deleted entries included.
    ids: Vec<Id>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    pub(crate) entries: BTreeMap<Id, Entry>,
    blocks: BTreeMap<u64, Block>,
    pub(crate) last: Id,
    pub(crate) max_deleted: Id,
    pub(crate) added: u64,
    pub(crate) groups: BTreeMap<Bytes, Group>,
    pub(crate) idmp_duration: u64,
    pub(crate) idmp_maxsize: u64,
    pub(crate) producers: BTreeMap<Bytes, Vec<(Bytes, Id)>>,
    pub(crate) iids_added: u64,
    pub(crate) iids_duplicates: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) last: Id,
    pub(crate) read: Option<u64>,
    pub(crate) pel: BTreeMap<Id, Pending>,
    pub(crate) consumers: BTreeMap<Bytes, Consumer>,
    pub(super) nacks: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) owner: Option<Bytes>,
    pub(crate) at: u64,
    pub(crate) count: u64,
    /// The place among the unowned.
    pub(crate) nack: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Consumer {
    pub(crate) seen: u64,
    pub(crate) active: Option<u64>,
}

/// What a trim asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trim {
    pub(super) to: TrimTo,
    pub(super) approximate: bool,
    /// Removed entries at most; 0 is no limit.
    pub(super) limit: u64,
    pub(super) refs: Refs,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum TrimTo {
    Length(u64),
    Id(Id),
}

impl Stream {
    pub(super) fn new() -> Self {
        Stream { idmp_duration: 100, idmp_maxsize: 100, ..Stream::default() }
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn first(&self) -> Id {
        self.entries.first_key_value().map_or((0, 0), |(id, _)| *id)
    }

    pub(super) fn blocks_len(&self) -> usize {
        self.blocks.len()
    }

    /// Puts the entries into as few blocks as hold them.
    pub(super) fn pack(&mut self, block_entries: u64) {
        let (added, last) = (self.added, self.last);
        self.blocks.clear();
        for (id, entry) in std::mem::take(&mut self.entries) {
            self.append(id, &entry.strings, block_entries);
        }
        (self.added, self.last) = (added, last);
    }

    pub(super) fn append(&mut self, id: Id, strings: &[Bytes], block_entries: u64) {
        let tail = self.blocks.last_key_value().map(|(n, block)| (*n, block.ids.len() as u64));
        let block = match tail {
            Some((n, len)) if block_entries == 0 || len < block_entries => n,
            Some((n, _)) => n + 1,
            None => 0,
        };
        let in_block = self.blocks.entry(block).or_default();
        in_block.live += 1;
        in_block.ids.push(id);
        self.entries.insert(id, Entry { strings: strings.to_vec(), block });
        self.last = id;
        self.added += 1;
    }

    /// Takes an entry out; false if there is none.
    fn take(&mut self, id: Id) -> bool {
        let Some(entry) = self.entries.remove(&id) else { return false };
        let block = self.blocks.get_mut(&entry.block).unwrap();
        block.live -= 1;
        if block.live == 0 {
            self.blocks.remove(&entry.block);
        }
        true
    }

    /// Deletes an entry as XDEL does.
    pub(super) fn delete(&mut self, id: Id) -> bool {
        let deleted = self.take(id);
        if deleted {
            self.max_deleted = self.max_deleted.max(id);
        }
        deleted
    }

    /// Forgets tombstones behind the last ID, which was set lower.
    pub(super) fn forget_tombstones(&mut self) {
        let last = self.last;
        for block in self.blocks.values_mut() {
            block.ids.retain(|id| *id <= last);
        }
    }

    pub(super) fn drop_references(&mut self, id: Id) {
        for group in self.groups.values_mut() {
            group.pel.remove(&id);
        }
    }

    /// Whether a group has not read the ID, or has it pending.
    pub(super) fn is_referenced(&self, id: Id) -> bool {
        let least = self.groups.values().map(|group| group.last).min();
        least.is_some_and(|least| id > least)
            || self.groups.values().any(|group| group.pel.contains_key(&id))
    }

    /// Trims; returns how many entries went.
    pub(super) fn trim(&mut self, trim: Trim) -> u64 {
        let before = self.len();
        if !trim.approximate {
            let ids: Vec<Id> = self.entries.keys().copied().collect();
            self.trim_entries(&ids, trim);
            return before - self.len();
        }
        let blocks: Vec<u64> = self.blocks.keys().copied().collect();
        for n in blocks {
            let live = self.blocks[&n].live;
            if trim.limit != 0 && before - self.len() + live > trim.limit {
                break;
            }
            let whole = match trim.to {
                TrimTo::Length(max) => self.len() - live >= max,
                TrimTo::Id(id) => *self.blocks[&n].ids.last().unwrap() < id,
            };
            if !whole && trim.refs == Refs::Keep {
                break;
            }
            let ids = self.entries.iter().filter(|(_, entry)| entry.block == n);
            let ids: Vec<Id> = ids.map(|(id, _)| *id).collect();
            self.trim_entries(&ids, trim);
            if !whole {
                break;
            }
        }
        before - self.len()
    }

    fn trim_entries(&mut self, ids: &[Id], trim: Trim) {
        for &id in ids {
            let done = match trim.to {
                TrimTo::Length(max) => self.len() <= max,
                TrimTo::Id(least) => id >= least,
            };
            if done {
                return;
            }
            match trim.refs {
                Refs::Acked if self.is_referenced(id) => continue,
                Refs::Delete => self.drop_references(id),
                Refs::Keep | Refs::Acked => {}
            }
            self.take(id);
        }
    }

    /// How many entries a group has read that has read up to this ID.
    pub(super) fn estimate(&self, id: Id) -> Option<u64> {
        let (first, len) = (self.first(), self.len());
        if self.added == 0 {
            return Some(0);
        }
        if len == 0 && id <= self.last {
            return Some(self.added);
        }
        if id != (0, 0) && id < self.max_deleted {
            return None;
        }
        if id >= self.last {
            return (id == self.last).then_some(self.added);
        }
        if self.max_deleted == (0, 0) || self.max_deleted < first {
            if id < first {
                return Some(self.added - len);
            }
            if id == first {
                return Some(self.added - len + 1);
            }
        }
        None
    }

    pub(super) fn has_tombstone_after(&self, id: Id) -> bool {
        !self.entries.is_empty() && self.max_deleted != (0, 0) && id <= self.max_deleted
    }

    pub(super) fn lag(&self, group: &Group, valkey: bool) -> Option<i128> {
        let (added, first) = (i128::from(self.added), self.first());
        if self.added == 0 || (self.entries.is_empty() && !valkey) {
            return Some(0);
        }
        if group.last < first && self.max_deleted < first && !valkey {
            return Some(i128::from(self.len()));
        }
        if let Some(read) = group.read
            && !self.has_tombstone_after(group.last)
        {
            return Some(added - i128::from(read));
        }
        self.estimate(group.last).map(|read| added - i128::from(read))
    }

    /// An entry as replies hold it.
    pub(super) fn entry(&self, id: Id) -> Reply {
        Reply::Array(self.entry_parts(id))
    }

    pub(super) fn entry_parts(&self, id: Id) -> Vec<Reply> {
        let strings = self.entries[&id].strings.iter().map(Reply::bulk).collect();
        vec![Reply::Bulk(super::words::text(id)), Reply::Array(strings)]
    }
}

impl Group {
    /// Creates the consumer if it is new, and sees it.
    pub(super) fn see(&mut self, consumer: &[u8], now: u64) -> &mut Consumer {
        let fresh = || Consumer { seen: now, active: None };
        let consumer = self.consumers.entry(consumer.to_vec()).or_insert_with(fresh);
        consumer.seen = now;
        consumer
    }

    /// Makes an entry unowned, behind those that are.
    pub(super) fn release(&mut self, id: Id, count: u64) {
        self.nacks += 1;
        let pending = Pending { owner: None, at: 0, count, nack: self.nacks };
        self.pel.insert(id, pending);
    }

    /// Pending entries in the order in which CLAIM hands them out.
    pub(super) fn by_age(&self) -> Vec<(Id, Pending)> {
        let mut all: Vec<_> = self.pel.iter().map(|(id, p)| (*id, p.clone())).collect();
        all.sort_by_key(|(id, p)| (p.owner.is_some(), p.nack, p.at, *id));
        all
    }

    pub(super) fn owned_by(&self, consumer: &[u8]) -> usize {
        self.pel.values().filter(|p| p.owner.as_deref() == Some(consumer)).count()
    }
}

impl Pending {
    pub(super) fn owned(owner: &[u8], at: u64, count: u64) -> Self {
        Pending { owner: Some(owner.to_vec()), at, count, nack: 0 }
    }

    pub(super) fn idle(&self, now: u64) -> u64 {
        now.saturating_sub(self.at)
    }

    /// Whether a claim that asks for this idle time takes it.
    pub(super) fn is_idle(&self, now: u64, min_idle: u64) -> bool {
        self.owner.is_none() || self.idle(now) >= min_idle
    }
}

/// A delivery count, one more.
pub(super) fn one_more(count: u64) -> u64 {
    (count + 1).min(i64::MAX.unsigned_abs())
}
