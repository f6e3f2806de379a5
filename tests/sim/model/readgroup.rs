//! The model's XREADGROUP.

use super::read::{Budget, Options};
use super::stream::{Group, Pending, Stream, one_more};
use super::words::{lossy, strict_id, text};
use super::{Answer, Bytes, Id, Model, Value};
use crate::reply::Reply;
use std::collections::BTreeSet;

/// What is wanted of a stream.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    New,
    After(Id),
}

/// One call, as it goes from stream to stream.
struct Call<'a> {
    options: &'a Options,
    group: Bytes,
    consumer: Bytes,
    now: u64,
    claim: Option<u64>,
    claimed: BTreeSet<(Bytes, Id)>,
    budget: Budget,
}

impl Model {
    pub(super) fn xreadgroup(&mut self, words: &[Bytes]) -> Answer {
        let options = Options::parse(words, true, (self.now, self.valkey))?;
        let (group, consumer) = options.group.clone().unwrap();
        let mut wanted = Vec::new();
        for (key, id) in &options.streams {
            if self.is_in_hand(key) {
                wanted.push((key.clone(), self.wanted(key, id, &group)?));
            }
        }
        let mut call = Call {
            options: &options,
            group: group.clone(),
            consumer,
            now: self.now,
            claim: options.claim,
            claimed: BTreeSet::new(),
            budget: Budget::new(&options, self.resp3),
        };
        for (key, wanted) in &wanted {
            let Some(stream) = self.stream(key)? else { unreachable!("it was looked up") };
            match wanted {
                Wanted::New => call.new_entries(key, stream),
                Wanted::After(after) => call.history(key, stream, *after),
            }
        }
        if !call.budget.streams.is_empty() {
            return Ok(Reply::Streams(call.budget.streams));
        }
        if options.block.is_none() {
            return Ok(Reply::NullArray);
        }
        let retries = wanted.iter().filter_map(|(key, _)| {
            let Value::Stream(stream) = &self.keys[key].value else { return None };
            Some(claimable_at(&stream.groups[&group], self.now, options.claim?))
        });
        let retry_at = retries.min();
        let ids = options.streams.iter().map(|(_, id)| id.clone()).collect();
        Ok(options.wait(words, ids, retry_at))
    }

    fn wanted(&mut self, key: &Bytes, id: &Bytes, group: &[u8]) -> Result<Wanted, String> {
        if self.group(key, group)?.is_none() {
            return Err(format!(
                "NOGROUP No such key '{}' or consumer group '{}' in XREADGROUP with GROUP option",
                lossy(key),
                lossy(group)
            ));
        }
        match id.as_slice() {
            b">" => Ok(Wanted::New),
            b"$" | b"+" => {
                let id = lossy(id);
                Err(format!(
                    "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to \
                     read the history of this consumer by specifying a proper ID, or use the > ID \
                     to get new messages. The {id} ID would just return an empty result set."
                ))
            }
            id => Ok(Wanted::After(strict_id(id)?)),
        }
    }
}

/// When the oldest pending entry that is not idle for long enough will be.
fn claimable_at(group: &Group, now: u64, min_idle: u64) -> u64 {
    let mut all = group.by_age().into_iter();
    match all.find(|(_, pending)| !pending.is_idle(now, min_idle)) {
        Some((_, pending)) => pending.at + min_idle,
        None => now + min_idle.max(10),
    }
}

impl Call<'_> {
    fn new_entries(&mut self, key: &[u8], stream: &mut Stream) {
        let (now, count) = (self.now, self.options.count());
        let most = count.min(stream.entries.len());
        let group = stream.groups.get_mut(&self.group).unwrap();
        group.see(&self.consumer, now);
        if !self.budget.admits() {
            return;
        }
        let group = &stream.groups[&self.group];
        let (mut ids, mut entries) = (Vec::new(), Vec::new());
        for (id, pending) in group.by_age() {
            let Some(min_idle) = self.claim else { break };
            let taken = self.claimed.contains(&(key.to_vec(), id));
            if ids.len() == count
                || !pending.is_idle(now, min_idle)
                || !stream.entries.contains_key(&id)
                || taken
            {
                continue;
            }
            let mut parts = stream.entry_parts(id);
            parts.extend([Reply::Int(pending.idle(now).into()), Reply::Int(pending.count.into())]);
            entries.push(Reply::Array(parts));
            ids.push(id);
        }
        let claims = ids.len();
        for &id in stream.entries.keys().filter(|id| **id > group.last) {
            if ids.len() == count {
                break;
            }
            let mut parts = stream.entry_parts(id);
            if self.claim.is_some() {
                parts.extend([Reply::Int(0), Reply::Int(0)]);
            }
            entries.push(Reply::Array(parts));
            ids.push(id);
        }
        if ids.is_empty() {
            return;
        }
        let written = self.budget.add(key, most, entries, false);
        for (n, &id) in ids.iter().enumerate().take(written) {
            if n < claims {
                self.claim_one(key, stream, id);
            } else {
                self.deliver_one(stream, id);
            }
        }
    }

    fn claim_one(&mut self, key: &[u8], stream: &mut Stream, id: Id) {
        let group = stream.groups.get_mut(&self.group).unwrap();
        let count = one_more(group.pel[&id].count);
        group.pel.insert(id, Pending::owned(&self.consumer, self.now, count));
        group.consumers.get_mut(&self.consumer).unwrap().active = Some(self.now);
        self.claimed.insert((key.to_vec(), id));
    }

    fn deliver_one(&mut self, stream: &mut Stream, id: Id) {
        let (estimate, first) = (stream.estimate(id), stream.first());
        let group = &stream.groups[&self.group];
        let counted = group.last >= first && !stream.has_tombstone_after(group.last);
        let group = stream.groups.get_mut(&self.group).unwrap();
        group.read = match group.read {
            // ENTRIESREAD may have set it too high; it stays what a snapshot may hold.
            Some(read) if counted => Some((read + 1).min(stream.added)),
            _ => estimate,
        };
        group.last = id;
        if !self.options.noack {
            group.pel.insert(id, Pending::owned(&self.consumer, self.now, 1));
            group.consumers.get_mut(&self.consumer).unwrap().active = Some(self.now);
        }
    }

    fn history(&mut self, key: &[u8], stream: &mut Stream, after: Id) {
        self.claim = None;
        let group = stream.groups.get_mut(&self.group).unwrap();
        group.see(&self.consumer, self.now);
        if !self.budget.admits() {
            return;
        }
        let most = group.owned_by(&self.consumer).min(self.options.count());
        let mine = group
            .pel
            .iter()
            .filter(|(id, pending)| **id > after && pending.owner.as_ref() == Some(&self.consumer));
        let ids: Vec<Id> = mine.map(|(id, _)| *id).take(self.options.count()).collect();
        let entry = |id: &Id| match stream.entries.contains_key(id) {
            true => stream.entry(*id),
            false => Reply::Array(vec![Reply::Bulk(text(*id)), Reply::NullArray]),
        };
        let entries = ids.iter().map(entry).collect();
        let written = self.budget.add(key, most, entries, true);
        for id in &ids[..written] {
            if stream.entries.contains_key(id) {
                let group = stream.groups.get_mut(&self.group).unwrap();
                let pending = group.pel.get_mut(id).unwrap();
                pending.at = self.now;
                pending.count = one_more(pending.count);
            }
        }
    }
}
