//! The model's XPENDING, XCLAIM, XAUTOCLAIM.

use super::group::no_key_or_group;
use super::stream::{Pending, Stream, one_more};
use super::words::{
    NOT_AN_INTEGER, integer, integer_or, is_word, lossy, range_end, range_start, strict_id, text,
};
use super::{Answer, Bytes, Id, Model, SYNTAX};
use crate::reply::Reply;
use std::collections::BTreeMap;

/// The options of XCLAIM.
#[derive(Debug, Default)]
struct Claim {
    ids: Vec<Id>,
    at: u64,
    count: Option<u64>,
    force: bool,
    just_id: bool,
    last: Id,
}

impl Claim {
    fn parse(words: &[Bytes], now: u64) -> Result<Claim, String> {
        let mut claim = Claim { at: now, ..Claim::default() };
        claim.ids = words.iter().map_while(|word| strict_id(word).ok()).collect();
        let mut rest = &words[claim.ids.len()..];
        while let Some(word) = rest.first() {
            let more = rest.len() > 1;
            let number = |name: &str| {
                integer_or(&rest[1], &format!("ERR Invalid {name} option argument for XCLAIM"))
            };
            let mut taken = 2;
            if is_word(word, "FORCE") {
                (claim.force, taken) = (true, 1);
            } else if is_word(word, "JUSTID") {
                (claim.just_id, taken) = (true, 1);
            } else if is_word(word, "IDLE") && more {
                let at = i128::from(now) - i128::from(number("IDLE")?);
                claim.at = u64::try_from(at).ok().filter(|&at| at <= now).unwrap_or(now);
            } else if is_word(word, "TIME") && more {
                let at = u64::try_from(number("TIME")?).ok();
                claim.at = at.filter(|&at| at <= now).unwrap_or(now);
            } else if is_word(word, "RETRYCOUNT") && more {
                claim.count = u64::try_from(number("RETRYCOUNT")?).ok();
            } else if is_word(word, "LASTID") && more {
                claim.last = strict_id(&rest[1])?;
            } else {
                return Err(format!("ERR Unrecognized XCLAIM option '{}'", lossy(word)));
            }
            rest = &rest[taken..];
        }
        Ok(claim)
    }
}

/// The entry as a claim replies it.
fn claimed(stream: &Stream, id: Id, just_id: bool) -> Reply {
    if just_id { Reply::Bulk(text(id)) } else { stream.entry(id) }
}

impl Model {
    pub(super) fn xclaim(&mut self, words: &[Bytes]) -> Answer {
        let (key, name, consumer, now) = (&words[1], &words[2], &words[3], self.now);
        if self.group(key, name)?.is_none() {
            return Err(no_key_or_group(key, name));
        }
        let refusal = "ERR Invalid min-idle-time argument for XCLAIM";
        let min_idle = u64::try_from(integer_or(&words[4], refusal)?).unwrap_or(0);
        let claim = Claim::parse(&words[5..], now)?;
        let stream = self.stream(key)?.unwrap();
        let group = stream.groups.get_mut(name).unwrap();
        group.last = group.last.max(claim.last);
        group.see(consumer, now);
        let mut replies = Vec::new();
        for &id in &claim.ids {
            let exists = stream.entries.contains_key(&id);
            let group = stream.groups.get_mut(name).unwrap();
            if !exists {
                group.pel.remove(&id);
                continue;
            }
            let before = match group.pel.get(&id) {
                Some(pending) if pending.is_idle(now, min_idle) => pending.count,
                Some(_) => continue,
                None if claim.force => 1,
                None => continue,
            };
            let plus = if claim.just_id { before } else { one_more(before) };
            let count = claim.count.unwrap_or(plus);
            group.pel.insert(id, Pending::owned(consumer, claim.at, count));
            group.consumers.get_mut(consumer).unwrap().active = Some(now);
            replies.push(claimed(stream, id, claim.just_id));
        }
        Ok(Reply::Array(replies))
    }

    pub(super) fn xautoclaim(&mut self, words: &[Bytes]) -> Answer {
        let (key, name, consumer, now) = (&words[1], &words[2], &words[3], self.now);
        let refusal = "ERR Invalid min-idle-time argument for XAUTOCLAIM";
        let min_idle = u64::try_from(integer_or(&words[4], refusal)?).unwrap_or(0);
        let start = range_start(&words[5])?;
        let (mut count, mut just_id) = (100, false);
        let mut rest = &words[6..];
        while let Some(word) = rest.first() {
            if is_word(word, "COUNT") && rest.len() > 1 {
                let value = integer(&rest[1]).filter(|n| (1..=i64::MAX / 16).contains(n));
                count = value.ok_or("ERR COUNT must be > 0")?;
                rest = &rest[2..];
            } else if is_word(word, "JUSTID") {
                just_id = true;
                rest = &rest[1..];
            } else {
                return Err(SYNTAX.into());
            }
        }
        let Some(group) = self.group(key, name)? else {
            return Err(no_key_or_group(key, name));
        };
        group.see(consumer, now);
        let stream = self.stream(key)?.unwrap();
        let ids: Vec<Id> = stream.groups[name].pel.range(start..).map(|(id, _)| *id).collect();
        let (mut left, mut looks) = (count, count * 10);
        let (mut replies, mut deleted, mut next) = (Vec::new(), Vec::new(), (0, 0));
        for id in ids {
            if left == 0 || looks == 0 {
                next = id;
                break;
            }
            looks -= 1;
            let exists = stream.entries.contains_key(&id);
            let group = stream.groups.get_mut(name).unwrap();
            if !exists {
                group.pel.remove(&id);
                deleted.push(Reply::Bulk(text(id)));
                left -= 1;
                continue;
            }
            let before = &group.pel[&id];
            if !before.is_idle(now, min_idle) {
                continue;
            }
            let count = if just_id { before.count } else { one_more(before.count) };
            group.pel.insert(id, Pending::owned(consumer, now, count));
            group.consumers.get_mut(consumer).unwrap().active = Some(now);
            replies.push(claimed(stream, id, just_id));
            left -= 1;
        }
        let next = Reply::Bulk(text(next));
        Ok(Reply::Array(vec![next, Reply::Array(replies), Reply::Array(deleted)]))
    }

    pub(super) fn xpending(&mut self, words: &[Bytes]) -> Answer {
        let (key, name, now) = (&words[1], &words[2], self.now);
        if words.len() != 3 && !(6..=9).contains(&words.len()) {
            return Err(SYNTAX.into());
        }
        let (mut min_idle, mut range) = (0, None);
        if words.len() > 3 {
            let mut rest = &words[3..];
            if is_word(&rest[0], "IDLE") {
                min_idle = integer_or(&rest[1], NOT_AN_INTEGER)?;
                if words.len() < 8 {
                    return Err(SYNTAX.into());
                }
                rest = &rest[2..];
            }
            let count = integer_or(&rest[2], NOT_AN_INTEGER)?;
            let (start, end) = (range_start(&rest[0])?, range_end(&rest[1])?);
            range = Some((start, end, usize::try_from(count).unwrap_or(0), rest.get(3)));
        }
        let Some(group) = self.group(key, name)? else {
            return Err(no_key_or_group(key, name));
        };
        let Some((start, end, count, consumer)) = range else {
            return Ok(summary(&group.pel));
        };
        let found = group.pel.iter().filter(|(id, pending)| {
            let of = consumer.is_none_or(|consumer| pending.owner.as_ref() == Some(consumer));
            let idle = u64::try_from(min_idle).is_ok_and(|min| pending.is_idle(now, min));
            of && (start..=end).contains(id) && (idle || min_idle <= 0)
        });
        let rows = found.take(count).map(|(id, pending)| {
            let idle = match pending.owner {
                Some(_) => i128::from(pending.idle(now)),
                None => -1,
            };
            Reply::Array(vec![
                Reply::Bulk(text(*id)),
                Reply::Bulk(pending.owner.clone().unwrap_or_default()),
                Reply::Int(idle),
                Reply::Int(pending.count.into()),
            ])
        });
        Ok(Reply::Array(rows.collect()))
    }
}

fn summary(pel: &BTreeMap<Id, Pending>) -> Reply {
    let (Some((first, _)), Some((last, _))) = (pel.first_key_value(), pel.last_key_value()) else {
        return Reply::Array(vec![Reply::Int(0), Reply::Null, Reply::Null, Reply::NullArray]);
    };
    let mut owners: BTreeMap<&Bytes, u64> = BTreeMap::new();
    for owner in pel.values().filter_map(|pending| pending.owner.as_ref()) {
        *owners.entry(owner).or_default() += 1;
    }
    let rows = owners
        .into_iter()
        .map(|(owner, n)| Reply::Array(vec![Reply::bulk(owner), Reply::bulk(n.to_string())]));
    Reply::Array(vec![
        Reply::count(pel.len()),
        Reply::Bulk(text(*first)),
        Reply::Bulk(text(*last)),
        Reply::Array(rows.collect()),
    ])
}
