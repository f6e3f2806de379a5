//! The model's XGROUP, XACK, XACKDEL, XNACK.

use super::stream::Group;
use super::words::{
    NOT_AN_INTEGER, Refs, integer, integer_or, is_word, loose_id, lossy, strict_id, strict_ids,
};
use super::write::id_block;
use super::{Answer, Bytes, Model, SYNTAX};
use crate::reply::Reply;

const NO_STREAM: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for \
                         CREATE you may want to use the MKSTREAM option to create an empty stream \
                         automatically.";

fn no_group(key: &[u8], group: &[u8]) -> String {
    format!("NOGROUP No such consumer group '{}' for key name '{}'", lossy(group), lossy(key))
}

pub(super) fn no_key_or_group(key: &[u8], group: &[u8]) -> String {
    format!("NOGROUP No such key '{}' or consumer group '{}'", lossy(key), lossy(group))
}

/// The most words of XGROUP CREATE and SETID: each option once.
const CREATE_MOST: usize = 8;
const SETID_MOST: usize = 7;

fn wrong_number(words: &[Bytes]) -> String {
    let word = lossy(&words[1]);
    format!("ERR unknown subcommand or wrong number of arguments for '{word}'. Try XGROUP HELP.")
}

impl Model {
    /// The options of CREATE and SETID: MKSTREAM, ENTRIESREAD.
    fn group_options(words: &[Bytes], create: bool) -> Result<(bool, Option<u64>), String> {
        let (mut make, mut read) = (false, None);
        let mut at = 5;
        while let Some(word) = words.get(at) {
            if create && is_word(word, "MKSTREAM") {
                make = true;
                at += 1;
            } else if is_word(word, "ENTRIESREAD") && at + 1 < words.len() {
                let value = integer_or(&words[at + 1], NOT_AN_INTEGER)?;
                if value < -1 {
                    return Err("ERR value for ENTRIESREAD must be positive or -1".into());
                }
                read = u64::try_from(value).ok();
                at += 2;
            } else {
                return Err(wrong_number(words));
            }
        }
        Ok((make, read))
    }

    pub(super) fn xgroup_create(&mut self, words: &[Bytes]) -> Answer {
        let (make, read) = Self::group_options(words, true)?;
        let (key, name) = (&words[2], &words[3]);
        let Some(stream) = self.stream(key)? else {
            if !make {
                return Err(NO_STREAM.into());
            }
            if words.len() > CREATE_MOST {
                return Err(wrong_number(words));
            }
            let last = if words[4] == b"$" { (0, 0) } else { strict_id(&words[4])? };
            let stream = self.stream_or_new(key);
            let group = Group { last, read: read.map(|_| 0), ..Group::default() };
            stream.groups.insert(name.clone(), group);
            // Redis: any new key of the right type wakes those who wait.
            self.signal(key);
            return Ok(Reply::Simple("OK"));
        };
        if words.len() > CREATE_MOST {
            return Err(wrong_number(words));
        }
        let last = if words[4] == b"$" { stream.last } else { strict_id(&words[4])? };
        if stream.groups.contains_key(name) {
            return Err("BUSYGROUP Consumer Group name already exists".into());
        }
        let read = read.map(|read| read.min(stream.added));
        stream.groups.insert(name.clone(), Group { last, read, ..Group::default() });
        Ok(Reply::Simple("OK"))
    }

    pub(super) fn xgroup_setid(&mut self, words: &[Bytes]) -> Answer {
        let (_, read) = Self::group_options(words, false)?;
        let stream = self.stream(&words[2])?.ok_or(NO_STREAM)?;
        let (last_id, added) = (stream.last, stream.added);
        let Some(group) = stream.groups.get_mut(&words[3]) else {
            return Err(no_group(&words[2], &words[3]));
        };
        if words.len() > SETID_MOST {
            return Err(wrong_number(words));
        }
        group.last = if words[4] == b"$" { last_id } else { loose_id(&words[4], 0)? };
        group.read = read.map(|read| read.min(added));
        Ok(Reply::Simple("OK"))
    }

    pub(super) fn xgroup_destroy(&mut self, words: &[Bytes]) -> Answer {
        let stream = self.stream(&words[2])?.ok_or(NO_STREAM)?;
        let destroyed = stream.groups.remove(&words[3]).is_some();
        if destroyed {
            self.signal(&words[2]);
        }
        Ok(Reply::Int(destroyed.into()))
    }

    pub(super) fn xgroup_createconsumer(&mut self, words: &[Bytes]) -> Answer {
        let now = self.now;
        let stream = self.stream(&words[2])?.ok_or(NO_STREAM)?;
        let Some(group) = stream.groups.get_mut(&words[3]) else {
            return Err(no_group(&words[2], &words[3]));
        };
        let fresh = !group.consumers.contains_key(&words[4]);
        if fresh {
            group.see(&words[4], now);
        }
        Ok(Reply::Int(fresh.into()))
    }

    pub(super) fn xgroup_delconsumer(&mut self, words: &[Bytes]) -> Answer {
        let stream = self.stream(&words[2])?.ok_or(NO_STREAM)?;
        let Some(group) = stream.groups.get_mut(&words[3]) else {
            return Err(no_group(&words[2], &words[3]));
        };
        let before = group.pel.len();
        group.consumers.remove(&words[4]);
        group.pel.retain(|_, pending| pending.owner.as_ref() != Some(&words[4]));
        Ok(Reply::count(before - group.pel.len()))
    }

    pub(super) fn xack(&mut self, words: &[Bytes]) -> Answer {
        let Some(group) = self.group(&words[1], &words[2])? else { return Ok(Reply::Int(0)) };
        let ids = strict_ids(&words[3..])?;
        Ok(Reply::count(ids.iter().filter(|id| group.pel.remove(id).is_some()).count()))
    }

    pub(super) fn xackdel(&mut self, words: &[Bytes]) -> Answer {
        self.stream(&words[1])?;
        let (refs, ids) = id_block(&words[3..])?;
        if self.group(&words[1], &words[2])?.is_none() {
            return Ok(Reply::Array(vec![Reply::Int(-1); ids.len()]));
        }
        let stream = self.stream(&words[1])?.unwrap();
        let mut all = Vec::new();
        for id in strict_ids(ids)? {
            let group = stream.groups.get_mut(&words[2]).unwrap();
            if group.pel.remove(&id).is_none() {
                all.push(Reply::Int(-1));
                continue;
            }
            if refs == Refs::Delete {
                stream.drop_references(id);
            }
            if refs == Refs::Acked && stream.is_referenced(id) {
                all.push(Reply::Int(2));
                continue;
            }
            stream.delete(id);
            all.push(Reply::Int(1));
        }
        Ok(Reply::Array(all))
    }

    pub(super) fn xnack(&mut self, words: &[Bytes]) -> Answer {
        let (key, name) = (&words[1], &words[2]);
        if self.group(key, name)?.is_none() {
            return Err(no_key_or_group(key, name));
        }
        let modes = ["SILENT", "FAIL", "FATAL"];
        let Some(mode) = modes.into_iter().find(|mode| is_word(&words[3], mode)) else {
            return Err("ERR mode must be SILENT, FAIL, or FATAL".into());
        };
        let Nack { ids, retry_count, force } = Nack::parse(&words[4..])?;
        let ids = strict_ids(ids)?;
        let stream = self.stream(key)?.unwrap();
        let mut released = 0;
        for id in ids {
            let exists = stream.entries.contains_key(&id);
            let group = stream.groups.get_mut(name).unwrap();
            let before = match group.pel.get(&id) {
                Some(pending) => Some(pending.count),
                None => (force && exists).then_some(0),
            };
            let Some(before) = before else { continue };
            let count = match mode {
                "SILENT" => before.saturating_sub(1),
                "FAIL" => before,
                _ => i64::MAX.unsigned_abs(),
            };
            group.release(id, retry_count.unwrap_or(count));
            released += 1;
        }
        if released > 0 {
            self.signal(key);
        }
        Ok(Reply::count(released))
    }
}

/// What XNACK is told after the mode.
struct Nack<'a> {
    ids: &'a [Bytes],
    retry_count: Option<u64>,
    force: bool,
}

impl<'a> Nack<'a> {
    fn parse(words: &'a [Bytes]) -> Result<Self, String> {
        let (mut ids, mut retry_count, mut force) = (None, None, false);
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let more = words.len() - at - 1;
            if is_word(word, "IDS") && more > 0 && ids.is_none() {
                let count = integer(&words[at + 1]).and_then(|n| usize::try_from(n).ok());
                let count =
                    count.filter(|&n| n > 0).ok_or("ERR numids must be a positive integer")?;
                if count > words.len() - at - 2 {
                    return Err("ERR number of IDs doesn't match numids".into());
                }
                ids = Some(&words[at + 2..at + 2 + count]);
                at += 2 + count;
            } else if is_word(word, "RETRYCOUNT") && more > 0 {
                let value = integer_or(&words[at + 1], NOT_AN_INTEGER)?;
                let refusal = "ERR Invalid RETRYCOUNT value, must be >= 0";
                retry_count = Some(u64::try_from(value).map_err(|_| refusal)?);
                at += 2;
            } else if is_word(word, "FORCE") {
                force = true;
                at += 1;
            } else {
                return Err(format!("ERR Unrecognized XNACK option '{}'", lossy(word)));
            }
        }
        let ids = ids.ok_or_else(|| format!("{SYNTAX}, expected IDS keyword"))?;
        Ok(Nack { ids, retry_count, force })
    }
}
