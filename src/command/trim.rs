//! Removing entries: what XADD and XTRIM share, and what XDELEX and XACKDEL share.
//!
//! ```text
//! <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]
//! [KEEPREF | DELREF | ACKED] IDS numids id [id ...]
//! ```
//!
//! `~` goes by whole blocks, so that trimming costs next to nothing; LIMIT bounds it further, also
//! by whole blocks. An effect says what goes, so replay needs neither.

use super::args::{Args, Request, is_word, strict_id, strict_ids, strict_integer};
use super::reply::Out;
use crate::error::CommandError;
use crate::keyspace::{Key, Txn};
use crate::stream::block::BlockLimits;
use crate::stream::pel::Pel;
use crate::stream::{Effect, EntryId, Ids, Stream};

/// What happens to an entry that groups refer to when it goes. Redis: since 8.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum References {
    /// KEEPREF: it goes, its pending entries stay.
    #[default]
    Keep,
    /// DELREF: it goes, its pending entries too.
    Delete,
    /// ACKED: it stays as long as a group refers to it.
    Acked,
}

impl References {
    /// The strategy of this word.
    pub(super) fn of(word: &[u8]) -> Option<Self> {
        if is_word(word, "keepref") {
            Some(References::Keep)
        } else if is_word(word, "delref") {
            Some(References::Delete)
        } else if is_word(word, "acked") {
            Some(References::Acked)
        } else {
            None
        }
    }
}

/// What became of an entry that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deleted {
    /// It is gone.
    Now,
    /// There was none.
    Missing,
    /// It was kept, because a group refers to it.
    Kept,
}

impl References {
    /// Deletes the entry with this ID, which a group may just have acknowledged, from the stream of
    /// a key, which exists.
    pub(super) fn delete(
        self,
        txn: &mut Txn<'_, '_>,
        key: &mut Key<'_>,
        id: EntryId,
        acknowledged_by: Option<&[u8]>,
    ) -> Deleted {
        let Ok(Some(stream)) = txn.stream(key) else { return Deleted::Missing };
        let exists = stream.entries().contains(id);
        match self {
            References::Keep => {}
            // Redis: also where there is no such entry.
            References::Acked if stream.is_referenced(id, acknowledged_by) => {
                return Deleted::Kept;
            }
            References::Acked => {}
            References::Delete => {
                let groups = stream.groups().filter(|(_, group)| group.pel().get(id).is_some());
                let groups: Vec<Box<[u8]>> = groups.map(|(name, _)| name.into()).collect();
                for group in groups {
                    txn.effect(key, Effect::Ack { group: &group, ids: Ids::List(&[id]) });
                }
            }
        }
        if !exists {
            return Deleted::Missing;
        }
        txn.effect(key, Effect::Delete { id });
        Deleted::Now
    }
}

/// The arguments of XDELEX and XACKDEL: `[KEEPREF | DELREF | ACKED] IDS numids id [id ...]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deletion<'a> {
    /// What happens to an entry that groups refer to.
    pub(super) references: References,
    request: Request<'a>,
    /// Where the IDs stand in the request.
    first: usize,
    count: usize,
}

impl<'a> Deletion<'a> {
    /// Reads the arguments from `index` on; the IDs are not looked at yet.
    ///
    /// # Errors
    /// Redis's texts for a bad number of IDs or none, and syntax errors.
    pub(super) fn parse(request: &Request<'a>, index: usize) -> Result<Self, CommandError> {
        let mut args = request.args(index);
        let (mut references, mut ids) = (None, None);
        while let Some(word) = args.next() {
            if let (None, Some(found)) = (references, References::of(word)) {
                references = Some(found);
            } else if args.remaining() > 0 && is_word(word, "ids") {
                // Redis: IDS may be repeated, and the last one counts.
                let count = args.next().and_then(strict_integer).unwrap_or_default();
                let count = usize::try_from(count).ok().filter(|count| *count > 0);
                let count = count
                    .ok_or(CommandError::Fixed("ERR Number of IDs must be a positive integer"))?;
                if count > args.remaining() {
                    return Err(CommandError::Fixed(
                        "ERR The `numids` parameter must match the number of arguments",
                    ));
                }
                ids = Some((args.index(), count));
                args.seek(args.index() + count);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let (first, count) = ids.ok_or(CommandError::Fixed("ERR IDS option is required"))?;
        Ok(Deletion { references: references.unwrap_or_default(), request: *request, first, count })
    }

    /// How many IDs there are; at least one.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The IDs.
    ///
    /// # Errors
    /// [`CommandError::InvalidId`] if one is none.
    pub(super) fn ids(&self) -> Result<impl Iterator<Item = EntryId> + use<'a>, CommandError> {
        strict_ids(self.request.from(self.first).take(self.count))
    }

    /// Answers that nothing was found for any ID.
    pub(super) fn reply_missing(&self, out: &mut Out<'_>) {
        out.array(self.count);
        for _ in 0..self.count {
            out.integer(-1);
        }
    }
}

/// What has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threshold {
    /// The oldest, until at most so many entries are left.
    MaxLen(u64),
    /// All with a smaller ID.
    MinId(EntryId),
}

/// The options of trimming, as far as they have been read.
#[derive(Debug, Default)]
pub(super) struct TrimOptions {
    threshold: Option<Threshold>,
    approximate: bool,
    limit: Option<u64>,
    references: Option<References>,
}

impl TrimOptions {
    /// Takes the option at the cursor; false if that is none of trimming, or lacks its value.
    ///
    /// # Errors
    /// Redis's texts for bad values, and for a second threshold.
    pub(super) fn take(&mut self, args: &mut Args<'_>) -> Result<bool, CommandError> {
        let Some(word) = args.peek() else { return Ok(false) };
        let has_value = args.remaining() > 1;
        if has_value && is_word(word, "maxlen") {
            self.begin_threshold(args)?;
            let max = args.integer()?;
            let max = u64::try_from(max)
                .map_err(|_| CommandError::Fixed("ERR The MAXLEN argument must be >= 0."))?;
            self.threshold = Some(Threshold::MaxLen(max));
        } else if has_value && is_word(word, "minid") {
            self.begin_threshold(args)?;
            self.threshold = Some(Threshold::MinId(strict_id(args.required()?)?));
        } else if has_value && is_word(word, "limit") {
            args.next();
            let limit = args.integer()?;
            let limit = u64::try_from(limit)
                .map_err(|_| CommandError::Fixed("ERR The LIMIT argument must be >= 0."))?;
            self.limit = Some(limit);
        } else if let (None, Some(references)) = (self.references, References::of(word)) {
            args.next();
            self.references = Some(references);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes MAXLEN or MINID, and `=` or `~`.
    fn begin_threshold(&mut self, args: &mut Args<'_>) -> Result<(), CommandError> {
        if self.threshold.is_some() {
            return Err(CommandError::Fixed(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        args.next();
        if args.remaining() > 1 {
            self.approximate = args.take_word("~");
            if !self.approximate {
                args.take_word("=");
            }
        }
        Ok(())
    }

    /// What the options say; nothing if none was given.
    ///
    /// # Errors
    /// Redis's texts for LIMIT where it does not belong.
    pub(super) fn finish(self) -> Result<Option<Trim>, CommandError> {
        if self.threshold.is_none() && self.limit.is_some_and(|limit| limit > 0) {
            return Err(CommandError::Fixed(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        if self.limit.is_some() && !self.approximate {
            return Err(CommandError::Fixed(
                "ERR syntax error, LIMIT cannot be used without the special ~ option",
            ));
        }
        Ok(self.threshold.map(|threshold| Trim {
            threshold,
            approximate: self.approximate,
            limit: self.limit,
            references: self.references.unwrap_or_default(),
        }))
    }

    /// As [`TrimOptions::finish`], for XTRIM, which must have a threshold.
    ///
    /// # Errors
    /// As there, or that there is none.
    pub(super) fn finish_required(self) -> Result<Trim, CommandError> {
        if self.threshold.is_none() && self.limit.unwrap_or_default() == 0 {
            return Err(CommandError::Fixed(
                "ERR syntax error, XTRIM must be called with a trimming strategy",
            ));
        }
        self.finish()?.ok_or(CommandError::Syntax)
    }
}

/// How to trim a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trim {
    threshold: Threshold,
    approximate: bool,
    limit: Option<u64>,
    references: References,
}

/// What trimming removes.
enum Removal {
    /// All entries up to this one.
    Through(EntryId),
    /// These, in ascending order.
    Each(Vec<EntryId>),
}

impl Trim {
    /// Trims the stream of a key, which exists; returns how many entries went. O(log n) and, by
    /// references, linear: in the groups and the pending entries of what goes with DELREF; in what
    /// has been delivered to every group with ACKED.
    pub(super) fn run(&self, txn: &mut Txn<'_, '_>, key: &mut Key<'_>) -> u64 {
        let Ok(Some(stream)) = txn.stream(key) else { return 0 };
        let before = stream.len();
        match self.removal(stream, txn.rules.blocks) {
            None => return 0,
            Some(Removal::Each(ids)) => {
                for id in ids {
                    txn.effect(key, Effect::Remove { id });
                }
            }
            Some(Removal::Through(last)) => {
                let pending = match self.references {
                    References::Delete => pending_through(stream, last),
                    References::Keep | References::Acked => Vec::new(),
                };
                remove_through(txn, key, last);
                for (group, ids) in &pending {
                    txn.effect(key, Effect::Ack { group, ids: Ids::List(ids) });
                }
            }
        }
        before - txn.stream(key).ok().flatten().map_or(0, Stream::len)
    }

    /// What has to go; `None` if nothing.
    fn removal(&self, stream: &Stream, limits: BlockLimits) -> Option<Removal> {
        if !self.is_due(stream) {
            return None;
        }
        // Without groups nothing is referenced.
        let referenced = self.references == References::Acked && stream.groups_len() > 0;
        let limit = if self.approximate { self.limit(limits) } else { u64::MAX };
        if referenced {
            let ids = self.unreferenced(stream, limit);
            return (!ids.is_empty()).then_some(Removal::Each(ids));
        }
        let last = match (self.approximate, self.references) {
            (false, _) => self.exact(stream)?,
            (true, References::Keep) => self.whole_blocks(stream, limit)?,
            // Only LIMIT goes by whole blocks then.
            (true, References::Delete | References::Acked) => {
                self.exact(stream)?.min(stream.entries().blocks_within(limit)?)
            }
        };
        Some(Removal::Through(last))
    }

    /// Whether an entry is beyond the threshold.
    fn is_due(&self, stream: &Stream) -> bool {
        match self.threshold {
            Threshold::MaxLen(max) => stream.len() > max,
            Threshold::MinId(id) => stream.entries().first_id().is_some_and(|first| first < id),
        }
    }

    /// The ID up to which entries are beyond the threshold, if one is.
    fn exact(&self, stream: &Stream) -> Option<EntryId> {
        match self.threshold {
            Threshold::MaxLen(max) => {
                stream.entries().nth_id(stream.len().checked_sub(max)?.checked_sub(1)?)
            }
            Threshold::MinId(id) => id.previous(),
        }
    }

    /// How many entries `~` removes at most.
    fn limit(&self, limits: BlockLimits) -> u64 {
        match self.limit {
            Some(0) => u64::MAX,
            Some(limit) => limit,
            None => match limits.entries.saturating_mul(100) as u64 {
                0 => 10_000,
                blocks => blocks.min(1_000_000),
            },
        }
    }

    /// Whether a block may go as a whole from a stream of `len` entries.
    fn takes_whole(&self, len: u64, live: u64, last: EntryId) -> bool {
        match self.threshold {
            Threshold::MaxLen(max) => len - live >= max,
            Threshold::MinId(id) => last < id,
        }
    }

    /// The last ID of the last block that goes as a whole.
    fn whole_blocks(&self, stream: &Stream, limit: u64) -> Option<EntryId> {
        let entries = stream.entries();
        match self.threshold {
            Threshold::MaxLen(max) => entries.blocks_within(limit.min(stream.len() - max)),
            Threshold::MinId(id) => {
                Some(entries.blocks_within(limit)?.min(entries.blocks_below(id)?))
            }
        }
    }

    /// The entries that go because no group refers to them.
    fn unreferenced(&self, stream: &Stream, limit: u64) -> Vec<EntryId> {
        let least = stream.least_delivered_id();
        let mut removed = Vec::new();
        let mut len = stream.len();
        for block in stream.entries().blocks() {
            let live = block.live() as u64;
            if (removed.len() as u64).saturating_add(live) > limit {
                break;
            }
            let whole = self.takes_whole(len, live, block.last_id());
            for entry in block.iter() {
                let enough = match self.threshold {
                    Threshold::MaxLen(max) => len <= max,
                    Threshold::MinId(id) => entry.id >= id,
                };
                // What has not been delivered to every group is referenced, and so is the rest.
                if enough || entry.id > least {
                    return removed;
                }
                if !stream.is_referenced(entry.id, None) {
                    removed.push(entry.id);
                    len -= 1;
                }
            }
            if self.approximate && !whole {
                break;
            }
        }
        removed
    }
}

/// The pending entries, by group that has any, of the live entries up to `last`.
fn pending_through(stream: &Stream, last: EntryId) -> Vec<(Box<[u8]>, Vec<EntryId>)> {
    let first = stream.first_id();
    let of_group = |pel: &Pel| -> Vec<EntryId> {
        pel.iter_from(first)
            .map(|pending| pending.id)
            .take_while(|id| *id <= last)
            .filter(|id| stream.entries().contains(*id))
            .collect()
    };
    let groups = stream.groups().map(|(name, group)| (name, of_group(group.pel())));
    groups.filter(|(_, ids)| !ids.is_empty()).map(|(name, ids)| (name.into(), ids)).collect()
}

/// Removes all entries up to `last`.
fn remove_through(txn: &mut Txn<'_, '_>, key: &mut Key<'_>, last: EntryId) {
    let Some(below) = last.next() else {
        // No ID is above the greatest, so an entry that has it goes by name.
        let stream = txn.stream(key).ok().flatten();
        let exists = stream.is_some_and(|stream| stream.entries().contains(last));
        txn.effect(key, Effect::Trim { below: last });
        if exists {
            txn.effect(key, Effect::Remove { id: last });
        }
        return;
    };
    txn.effect(key, Effect::Trim { below });
}

#[cfg(test)]
mod tests;
