//! XPENDING, XCLAIM, XAUTOCLAIM: looking at pending entries and taking them over. As Redis 8.10.
//!
//! An entry is *idle* for a minimum of idle time if it was delivered at least so long ago. An
//! unowned one always is, and so is every one if the minimum is 0.

use crate::command::args::{
    Args, Request, integer, is_word, range_end, range_start, strict_id, strict_integer,
};
use crate::command::{KeyCommand, Out, Ran};
use crate::config::NotifyFlags;
use crate::error::CommandError;
use crate::keyspace::{Key, Txn};
use crate::stream::pel::PelTail;
use crate::stream::{Consumer, Effect, EntryId, Group, Ids, Pending, Stream, UnixMs};

/// Whether a pending entry is idle.
pub(super) fn is_idle(pending: &Pending, now: UnixMs, min_idle_ms: u64) -> bool {
    min_idle_ms == 0 || pending.owner.is_none() || now.since(pending.delivered_at) >= min_idle_ms
}

/// The greatest delivery time that an idle entry can have. At the beginning of time it says too
/// much, so [`is_idle`] has the last word.
fn idle_since(now: UnixMs, min_idle_ms: u64) -> UnixMs {
    UnixMs(if min_idle_ms == 0 { u64::MAX } else { now.0.saturating_sub(min_idle_ms) })
}

/// The idle entries in the order they are handed out.
pub(super) fn idle_first(
    pel: &PelTail,
    now: UnixMs,
    min_idle_ms: u64,
) -> impl Iterator<Item = Pending> + '_ {
    let oldest = pel.iter_oldest(idle_since(now, min_idle_ms));
    oldest.take_while(move |pending| is_idle(pending, now, min_idle_ms))
}

/// The delivery count after one more delivery.
pub(super) fn count_after(count: u64) -> u64 {
    count.saturating_add(1).min(i64::MAX.cast_unsigned())
}

/// Creates the consumer unless it exists. The group does.
pub(super) fn ensure_consumer(
    txn: &mut Txn<'_, '_>,
    key: &mut Key<'_>,
    group: &[u8],
    consumer: &[u8],
) {
    let found = txn.stream(key).ok().flatten().and_then(|stream| stream.group(group));
    if found.is_some_and(|group| group.consumer(consumer).is_none()) {
        txn.effect(key, Effect::ConsumerCreate { group, consumer, at: txn.now });
        txn.event(NotifyFlags::STREAM, "xgroup-createconsumer", key);
        txn.count_changes(1);
    }
}

/// Notes that a consumer that exists was seen and, if `active`, got something.
pub(super) fn see(
    txn: &mut Txn<'_, '_>,
    key: &mut Key<'_>,
    (group, consumer): (&[u8], &[u8]),
    active: bool,
) {
    let now = txn.now;
    let found = txn.stream(key).ok().flatten().and_then(|stream| stream.group(group));
    let known = found.and_then(|group| group.consumer(consumer));
    let noted = known.is_none_or(|consumer| {
        consumer.seen_at() == now && (!active || consumer.active_at() == Some(now))
    });
    if !noted {
        txn.note(key, Effect::Seen { group, consumer, at: now, active });
    }
}

/// The group of a stream.
///
/// # Errors
/// WRONGTYPE, or NOGROUP if it or the key does not exist.
fn group<'t>(
    txn: &'t Txn<'_, '_>,
    key: &Key<'_>,
    name: &[u8],
) -> Result<(&'t Stream, &'t Group), CommandError> {
    let found = txn.stream(key)?.and_then(|stream| Some((stream, stream.group(name)?)));
    found.ok_or_else(|| CommandError::no_key_or_group(key.name, name))
}

/// A number where `otherwise` is the refusal.
fn number(text: &[u8], otherwise: &'static str) -> Result<i64, CommandError> {
    strict_integer(text).ok_or(CommandError::Fixed(otherwise))
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
///
/// Replies with the number of pending entries, the least and the greatest ID, and how many each
/// consumer has; or with the pending entries of a range: ID, consumer, idle time, delivery count.
#[derive(Debug, Clone)]
pub struct XPending<'a> {
    key: &'a [u8],
    group: &'a [u8],
    rows: Option<Rows<'a>>,
}

/// Which pending entries are wanted.
#[derive(Debug, Clone)]
struct Rows<'a> {
    start: EntryId,
    end: EntryId,
    count: usize,
    min_idle_ms: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> KeyCommand<'a> for XPending<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let rows = match request.len() {
            3 => None,
            6..=9 => Some(Rows::parse(request)?),
            _ => return Err(CommandError::Syntax),
        };
        Ok(XPending { key: request.arg(1), group: request.arg(2), rows })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.read(self.key);
        let (_, group) = group(txn, &key, self.group)?;
        match &self.rows {
            None => summary(group, out),
            Some(rows) => rows.answer(group, txn.now, out),
        }
        Ok(Ran::Replied)
    }
}

fn summary(group: &Group, out: &mut Out<'_>) {
    let pel = group.pel();
    out.array(4);
    out.count(pel.len());
    let (Some(first), Some(last)) = (pel.first(), pel.last()) else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    out.id(first);
    out.id(last);
    let consumers = out.begin_array(group.consumers_len());
    let mut written = 0;
    for (name, consumer) in group.consumers() {
        if !consumer.pending().is_empty() {
            out.array(2);
            out.bulk(name);
            out.bulk_number(consumer.pending().len() as u64);
            written += 1;
        }
    }
    out.end_array(consumers, written);
}

impl<'a> Rows<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        let (mut at, mut min_idle) = (3, 0);
        if is_word(request.arg(3), "IDLE") {
            min_idle = integer(request.arg(4))?;
            at = 5;
            if request.len() < 8 {
                return Err(CommandError::Syntax);
            }
        }
        let count = integer(request.arg(at + 2))?;
        Ok(Rows {
            start: range_start(request.arg(at))?,
            end: range_end(request.arg(at + 1))?,
            count: usize::try_from(count).unwrap_or_default(),
            min_idle_ms: u64::try_from(min_idle).unwrap_or_default(),
            consumer: request.get(at + 3),
        })
    }

    fn answer(&self, group: &Group, now: UnixMs, out: &mut Out<'_>) {
        let consumer = self.consumer.map(|name| group.consumer(name));
        let Some(consumer) = consumer.map_or(Some(None), |found| found.map(Some)) else {
            out.array(0);
            return;
        };
        let found = self.find(group, consumer, now);
        let array = out.begin_array(self.count.min(group.pel().len()));
        let mut written = 0;
        for pending in found.take_while(|pending| pending.id <= self.end).take(self.count) {
            out.array(4);
            out.id(pending.id);
            out.bulk(group.owner_name(pending.owner));
            match pending.owner {
                Some(_) => out.unsigned(now.since(pending.delivered_at)),
                None => out.integer(-1),
            }
            out.unsigned(pending.count);
            written += 1;
        }
        out.end_array(array, written);
    }

    /// The pending entries from the start on. With an idle time those in between that are not
    /// idle are passed over together.
    fn find<'g>(
        &self,
        group: &'g Group,
        consumer: Option<&'g Consumer>,
        now: UnixMs,
    ) -> Box<dyn Iterator<Item = Pending> + 'g> {
        let (pel, min_idle_ms, end) = (group.pel(), self.min_idle_ms, self.end);
        match consumer {
            None if min_idle_ms == 0 => Box::new(pel.iter_from(self.start)),
            Some(consumer) if min_idle_ms == 0 => {
                Box::new(consumer.pending().iter_from(self.start).filter_map(|id| pel.get(id)))
            }
            _ => {
                let mut from = Some(self.start);
                Box::new(std::iter::from_fn(move || {
                    loop {
                        let at = match consumer {
                            None => from?,
                            Some(consumer) => consumer.pending().iter_from(from?).next()?,
                        };
                        let pending = pel.next_idle(at, idle_since(now, min_idle_ms))?;
                        if pending.id > end {
                            return None;
                        }
                        from = pending.id.next();
                        let wanted = consumer.is_none_or(|one| pending.owner == Some(one.no()));
                        if wanted && is_idle(&pending, now, min_idle_ms) {
                            return Some(pending);
                        }
                    }
                }))
            }
        }
    }
}

/// `XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-ms]
/// [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID id]`
///
/// Replies with the claimed entries, with JUSTID with their IDs. Commits a `Claim` for each, an
/// `Ack` for each pending entry whose entry is gone, `GroupAdvance` for LASTID.
#[derive(Debug, Clone)]
pub struct XClaim<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
    /// The rest, which is read once the group is known to exist.
    rest: Args<'a>,
}

/// What XCLAIM was asked for.
#[derive(Debug)]
struct Claim<'a> {
    min_idle_ms: u64,
    /// The arguments up to the first that is no ID.
    ids: Args<'a>,
    ids_len: usize,
    /// The delivery time of what is claimed.
    at: UnixMs,
    /// Its delivery count, if it is given.
    count: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: EntryId,
}

impl<'a> KeyCommand<'a> for XClaim<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(XClaim {
            key: request.arg(1),
            group: request.arg(2),
            consumer: request.arg(3),
            rest: request.args(4),
        })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.read(self.key);
        let (_, found) = group(txn, &key, self.group)?;
        let claim = Claim::parse(self.rest, txn.now)?;
        let advances = claim.last_id > found.last_delivered_id();

        let (group, consumer) = (self.group, self.consumer);
        if advances {
            let last_delivered_id = claim.last_id;
            txn.effect(&mut key, Effect::GroupAdvance { group, last_delivered_id });
        }
        ensure_consumer(txn, &mut key, group, consumer);
        let array = out.begin_array(claim.ids_len);
        let (mut claimed, mut dropped) = (0, 0);
        for text in claim.ids.take(claim.ids_len) {
            let id = strict_id(text)?;
            match claim.decide(txn, &key, group, id, out) {
                Decision::Leave => {}
                Decision::Drop => {
                    txn.effect(&mut key, Effect::Ack { group, ids: Ids::List(&[id]) });
                    dropped += 1;
                }
                Decision::Take { count } => {
                    let at = claim.at;
                    txn.effect(&mut key, Effect::Claim { group, consumer, id, at, count });
                    claimed += 1;
                }
            }
        }
        out.end_array(array, claimed);
        let changed = (claimed + dropped) as u64;
        txn.count_changes(if changed == 0 { u64::from(advances) } else { changed });
        see(txn, &mut key, (group, consumer), claimed > 0);
        Ok(Ran::Replied)
    }
}

/// What happens to one entry that XCLAIM names.
#[derive(Debug)]
enum Decision {
    /// Nothing.
    Leave,
    /// Its pending entry goes, because the entry is gone.
    Drop,
    /// It becomes the consumer's; the reply has it.
    Take {
        /// Its new delivery count.
        count: u64,
    },
}

impl<'a> Claim<'a> {
    fn parse(mut args: Args<'a>, now: UnixMs) -> Result<Self, CommandError> {
        let min_idle = number(args.required()?, "ERR Invalid min-idle-time argument for XCLAIM")?;
        let ids = args;
        while args.peek().is_some_and(|text| strict_id(text).is_ok()) {
            args.next();
        }
        let mut claim = Claim {
            min_idle_ms: u64::try_from(min_idle).unwrap_or_default(),
            ids,
            ids_len: args.index() - ids.index(),
            at: now,
            count: None,
            force: false,
            just_id: false,
            last_id: EntryId::MIN,
        };
        // A time before 1970 or after now is taken for now.
        let at = |ms: Option<i64>| {
            let at = ms.and_then(|ms| u64::try_from(ms).ok()).filter(|&ms| ms <= now.0);
            at.map_or(now, UnixMs)
        };
        while let Some(word) = args.next() {
            let option = |name| args.remaining() >= 1 && is_word(word, name);
            if is_word(word, "FORCE") {
                claim.force = true;
            } else if is_word(word, "JUSTID") {
                claim.just_id = true;
            } else if option("IDLE") {
                let text = "ERR Invalid IDLE option argument for XCLAIM";
                let idle = number(args.required()?, text)?;
                claim.at = at(now.0.cast_signed().checked_sub(idle));
            } else if option("TIME") {
                let text = "ERR Invalid TIME option argument for XCLAIM";
                claim.at = at(Some(number(args.required()?, text)?));
            } else if option("RETRYCOUNT") {
                let text = "ERR Invalid RETRYCOUNT option argument for XCLAIM";
                claim.count = u64::try_from(number(args.required()?, text)?).ok();
            } else if option("LASTID") {
                claim.last_id = strict_id(args.required()?)?;
            } else {
                let text = "ERR Unrecognized XCLAIM option '{}'";
                return Err(CommandError::quoting(text, &[word]));
            }
        }
        Ok(claim)
    }

    /// Decides on one entry and, if it is claimed, writes it.
    fn decide(
        &self,
        txn: &Txn<'_, '_>,
        key: &Key<'_>,
        name: &[u8],
        id: EntryId,
        out: &mut Out<'_>,
    ) -> Decision {
        let Ok((stream, group)) = group(txn, key, name) else { return Decision::Leave };
        let pending = group.pel().get(id);
        let Some(entry) = stream.entries().get(id) else {
            return pending.map_or(Decision::Leave, |_| Decision::Drop);
        };
        let before = match pending {
            Some(pending) if is_idle(&pending, txn.now, self.min_idle_ms) => pending.count,
            None if self.force => 1,
            Some(_) | None => return Decision::Leave,
        };
        if self.just_id {
            out.id(id);
        } else {
            out.entry(&entry);
        }
        let counted = if self.just_id { before } else { count_after(before) };
        Decision::Take { count: self.count.unwrap_or(counted) }
    }
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
///
/// Replies with the ID to go on from (`0-0` at the end), the claimed entries (their IDs with
/// JUSTID), and the IDs of pending entries that were dropped because their entry is gone. Commits
/// a `Claim` or an `Ack` for each. At most ten times COUNT pending entries are looked at, but the
/// cost is that of those claimed, and of those that may be gone: O(log n) if there are none.
#[derive(Debug, Clone)]
pub struct XAutoClaim<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
    min_idle_ms: u64,
    start: EntryId,
    count: usize,
    just_id: bool,
}

/// What XAUTOCLAIM found.
#[derive(Debug, Default)]
struct Found {
    /// Where to go on; `0-0` at the end.
    next: EntryId,
    /// What is claimed, with its new delivery count.
    claimed: Vec<(EntryId, u64)>,
    /// Whose entry is gone.
    gone: Vec<EntryId>,
}

impl<'a> KeyCommand<'a> for XAutoClaim<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        /// Redis's limit; ten times as many can be counted.
        const COUNT_MAX: i64 = i64::MAX / 16;
        let text = "ERR Invalid min-idle-time argument for XAUTOCLAIM";
        let min_idle = number(request.arg(4), text)?;
        let mut command = XAutoClaim {
            key: request.arg(1),
            group: request.arg(2),
            consumer: request.arg(3),
            min_idle_ms: u64::try_from(min_idle).unwrap_or_default(),
            start: range_start(request.arg(5))?,
            count: 100,
            just_id: false,
        };
        let mut args = request.args(6);
        while let Some(word) = args.next() {
            if is_word(word, "COUNT") && args.remaining() >= 1 {
                let refusal = CommandError::Fixed("ERR COUNT must be > 0");
                let count =
                    strict_integer(args.required()?).filter(|n| (1..=COUNT_MAX).contains(n));
                let count = count.and_then(|count| usize::try_from(count).ok());
                command.count = count.ok_or(refusal)?;
            } else if is_word(word, "JUSTID") {
                command.just_id = true;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(command)
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.read(self.key);
        let (stream, group) = group(txn, &key, self.group)?;
        let found = self.find(stream, group, txn.now);
        out.array(3);
        out.id(found.next);
        out.array(found.claimed.len());
        for &(id, _) in &found.claimed {
            match stream.entries().get(id) {
                Some(entry) if !self.just_id => out.entry(&entry),
                _ => out.id(id),
            }
        }
        out.array(found.gone.len());
        found.gone.iter().for_each(|&id| out.id(id));

        let (group, consumer, at) = (self.group, self.consumer, txn.now);
        ensure_consumer(txn, &mut key, group, consumer);
        if !found.gone.is_empty() {
            txn.effect(&mut key, Effect::Ack { group, ids: Ids::List(&found.gone) });
        }
        for &(id, count) in &found.claimed {
            txn.effect(&mut key, Effect::Claim { group, consumer, id, at, count });
        }
        txn.count_changes((found.claimed.len() + found.gone.len()) as u64);
        see(txn, &mut key, (group, consumer), !found.claimed.is_empty());
        Ok(Ran::Replied)
    }
}

impl XAutoClaim<'_> {
    /// Walks the pending entries from the start in the order of their IDs.
    fn find(&self, stream: &Stream, group: &Group, now: UnixMs) -> Found {
        let (pel, mut found) = (group.pel(), Found::default());
        let gone_at_most = gone_at_most(stream);
        let (mut from, mut looks) = (Some(self.start), 10 * self.count);
        while let Some(at) = from
            && looks > 0
            && found.claimed.len() + found.gone.len() < self.count
        {
            let next = if at <= gone_at_most {
                pel.iter_from(at).next()
            } else {
                pel.next_idle(at, idle_since(now, self.min_idle_ms))
            };
            let rank = pel.rank(at);
            let passed = next.map_or(pel.len(), |pending| pel.rank(pending.id)) - rank;
            if passed >= looks {
                from = pel.at_rank(rank + looks).map(|pending| pending.id);
                break;
            }
            looks -= passed + 1;
            from = next.and_then(|pending| pending.id.next());
            let Some(pending) = next else { break };
            if !stream.entries().contains(pending.id) {
                found.gone.push(pending.id);
            } else if is_idle(&pending, now, self.min_idle_ms) {
                let count = pending.count;
                let count = if self.just_id { count } else { count_after(count) };
                found.claimed.push((pending.id, count));
            }
        }
        let next = from.and_then(|from| pel.iter_from(from).next());
        found.next = next.map_or(EntryId::MIN, |pending| pending.id);
        found
    }
}

/// The greatest ID whose pending entry may have lost its entry: all below the first entry were
/// trimmed or deleted, of the others none above the greatest deleted one. (XSETID can lower that
/// one; a pending entry above it is then found gone once it is idle.)
fn gone_at_most(stream: &Stream) -> EntryId {
    match stream.entries().first_id().and_then(EntryId::previous) {
        Some(before_first) => before_first.max(stream.max_deleted_id()),
        None => EntryId::MAX,
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{World, world};
    use crate::stream::UnixMs;

    /// Entries 1 to `n`, all pending for the consumer `a` since the time 1000; now it is 2000.
    fn pending(n: u64) -> World {
        let mut world = world();
        for id in 1..=n {
            world.show(&format!("XADD s {id}-0 f v"));
        }
        world.show("XGROUP CREATE s g 0");
        world.show("XREADGROUP GROUP g a STREAMS s >");
        world.now = UnixMs(2000);
        world.changes();
        world.events();
        world
    }

    #[test]
    fn xpending_sums_up_and_lists() {
        let mut world = pending(4);
        world.show("XCLAIM s g b 0 2-0 4-0");
        world.show("XNACK s g SILENT IDS 1 3-0");
        for (request, reply) in [
            ("XPENDING s g", "[4, 1-0, 4-0, [[a, 1], [b, 2]]]"),
            ("XPENDING s g - + 2", "[[1-0, a, 1000, 1], [2-0, b, 0, 2]]"),
            ("XPENDING s g (1 (4 9", "[[2-0, b, 0, 2], [3-0, , -1, 0], [4-0, b, 0, 2]]"),
            ("XPENDING s g (1-0 (4-0 9 b", "[[2-0, b, 0, 2]]"),
            ("XPENDING s g - + 9 b", "[[2-0, b, 0, 2], [4-0, b, 0, 2]]"),
            ("XPENDING s g IDLE 1 - + 9", "[[1-0, a, 1000, 1], [3-0, , -1, 0]]"),
            ("XPENDING s g IDLE 1 - + 9 a", "[[1-0, a, 1000, 1]]"),
            ("XPENDING s g IDLE 1 - + 9 b", "[]"),
            ("XPENDING s g IDLE 1001 - 2 9", "[]"),
            ("XPENDING s g - + 0", "[]"),
            ("XPENDING s g - + 9 nobody", "[]"),
            ("XPENDING s g - +", "-ERR syntax error"),
            ("XPENDING s g IDLE 1 - +", "-ERR syntax error"),
            ("XPENDING s g IDLE x - +", "-ERR value is not an integer or out of range"),
            ("XPENDING s none", "-NOGROUP No such key 's' or consumer group 'none'"),
        ] {
            assert_eq!(world.show(request), reply, "{request}");
        }
        world.show("XGROUP CREATE s empty 0");
        assert_eq!(world.run("XPENDING s empty"), "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n");
    }

    #[test]
    fn xclaim_takes_what_is_idle_and_drops_what_is_gone() {
        let mut world = pending(3);
        world.show("XDEL s 2-0");
        world.changes();
        world.events();
        assert_eq!(world.show("XCLAIM s g b 1001 1-0 2-0 3-0"), "[]");
        assert_eq!((world.changes(), world.events()), (2, vec!["xgroup-createconsumer s".into()]));
        assert_eq!(world.show("XCLAIM s g b 1000 1-0 1-0 JUSTID IDLE 30"), "[1-0]");
        assert_eq!(world.changes(), 1);
        assert_eq!(world.show("XPENDING s g - + 9"), "[[1-0, b, 30, 1], [3-0, a, 1000, 1]]");
        assert_eq!(world.show("XCLAIM s g b 0 3-0 RETRYCOUNT 7 TIME 9000"), "[[3-0, [f, v]]]");
        world.show("XACK s g 1-0");
        world.changes();
        assert_eq!(world.show("XCLAIM s g b 0 1-0"), "[]");
        assert_eq!(world.show("XCLAIM s g b 0 1-0 FORCE LASTID 9-9"), "[[1-0, [f, v]]]");
        assert_eq!(world.show("XPENDING s g - + 9"), "[[1-0, b, 0, 2], [3-0, b, 0, 7]]");
        assert_eq!(world.changes(), 1);
        assert_eq!(world.show("XCLAIM s g b 0 LASTID 10-0 8-8"), {
            "-ERR Unrecognized XCLAIM option '8-8'"
        });
        assert_eq!(world.show("XCLAIM s g b 0 8-8 LASTID 10-0"), "[]");
        assert_eq!(world.changes(), 1);
        for (request, reply) in [
            ("XCLAIM s g b x 1-0", "-ERR Invalid min-idle-time argument for XCLAIM"),
            ("XCLAIM s g b 0 1-0 IDLE x", "-ERR Invalid IDLE option argument for XCLAIM"),
            ("XCLAIM s g b 0 1-0 IDLE", "-ERR Unrecognized XCLAIM option 'IDLE'"),
            ("XCLAIM s no b x 1-0", "-NOGROUP No such key 's' or consumer group 'no'"),
        ] {
            assert_eq!(world.show(request), reply, "{request}");
        }
        world.replayed_equals();
    }

    #[test]
    fn xautoclaim_walks_on_and_counts_what_is_gone() {
        let mut world = pending(3);
        world.show("XDEL s 1-0 2-0");
        assert_eq!(world.show("XAUTOCLAIM s g b 0 0 COUNT 1"), "[2-0, [], [1-0]]");
        assert_eq!(world.show("XAUTOCLAIM s g b 0 2-0 COUNT 1"), "[3-0, [], [2-0]]");
        assert_eq!(world.show("XAUTOCLAIM s g b 0 - COUNT 1 JUSTID"), "[0-0, [3-0], []]");
        assert_eq!(world.show("XAUTOCLAIM s g b 0 (3-0"), "[0-0, [], []]");
        assert_eq!(world.show("XPENDING s g - + 9"), "[[3-0, b, 0, 1]]");
        for (request, reply) in [
            ("XAUTOCLAIM s g b x 0", "-ERR Invalid min-idle-time argument for XAUTOCLAIM"),
            ("XAUTOCLAIM s g b 0 0 COUNT 0", "-ERR COUNT must be > 0"),
            ("XAUTOCLAIM s g b 0 0 COUNT 576460752303423488", "-ERR COUNT must be > 0"),
            ("XAUTOCLAIM s g b 0 0 COUNT", "-ERR syntax error"),
            ("XAUTOCLAIM s no b 0 0", "-NOGROUP No such key 's' or consumer group 'no'"),
        ] {
            assert_eq!(world.show(request), reply, "{request}");
        }
        world.replayed_equals();
    }

    #[test]
    fn xautoclaim_looks_at_ten_times_count() {
        for (trimmed, at) in [(false, 25), (false, 20), (false, 21), (true, 25), (true, 21)] {
            let mut world = pending(30);
            let others = (1..=30).filter(|id| *id != at).map(|id| format!("{id}-0"));
            let others = others.collect::<Vec<_>>().join(" ");
            world.show(&format!("XCLAIM s g a 0 {others} JUSTID"));
            if trimmed {
                world.show("XADD s 31-0 f v");
                world.show("XDEL s 31-0");
            }
            let reply = world.show("XAUTOCLAIM s g b 500 - COUNT 2 JUSTID");
            let found = at <= 20;
            let taken = if found { format!("{at}-0") } else { String::new() };
            assert_eq!(reply, format!("[21-0, [{taken}], []]"), "{trimmed} {at}");
            let reply = world.show("XAUTOCLAIM s g b 500 11 COUNT 2 JUSTID");
            let taken = if found { String::new() } else { format!("{at}-0") };
            assert_eq!(reply, format!("[0-0, [{taken}], []]"), "{trimmed} {at}");
        }
    }
}
