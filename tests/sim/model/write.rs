//! The model's XADD, XTRIM, XDEL, XDELEX, XSETID, XCFGSET, XIDMPRECORD.

use super::stream::{Trim, TrimTo};
use super::words::{
    INVALID_ID, NOT_AN_INTEGER, Refs, integer, integer_or, is_word, next, refs, strict_id,
    strict_ids, text,
};
use super::{Answer, Bytes, ID_MAX, Id, Model, NO_KEY, SYNTAX};
use crate::reply::Reply;
use xxhash_rust::xxh3::xxh3_128;

/// The ID that XADD was given.
#[derive(Debug, Clone, Copy)]
enum NewId {
    Auto,
    AutoSeq(u64),
    Whole(Id),
}

/// The options of XADD and XTRIM.
#[derive(Debug, Default)]
struct Options {
    to: Option<TrimTo>,
    approximate: bool,
    limit: Option<u64>,
    refs: Option<Refs>,
    no_stream: bool,
    /// The producer ID, and the idempotent ID unless it is made of the fields.
    idmp: Option<(Bytes, Option<Bytes>)>,
    /// Where the options end.
    end: usize,
}

const IDMP_TWICE: &str = "ERR syntax error, IDMP/IDMPAUTO specified multiple times";
const NO_PID: &str = "ERR syntax error, IDMP requires a non-empty producer ID";
const NO_IID: &str = "ERR syntax error, IDMP requires a non-empty idempotent ID";
const NO_PID_AUTO: &str = "ERR syntax error, IDMPAUTO requires a non-empty producer ID";

impl Options {
    fn parse(words: &[Bytes], xadd: bool) -> Result<Options, String> {
        let mut options = Options { end: 2, ..Options::default() };
        while let Some(word) = words.get(options.end) {
            let more = words.len() - options.end - 1;
            let taken = match () {
                () if xadd && word == b"*" => 0,
                () if is_word(word, "MAXLEN") && more > 0 => options.trim(words, false)?,
                () if is_word(word, "MINID") && more > 0 => options.trim(words, true)?,
                () if is_word(word, "LIMIT") && more > 0 => {
                    let limit = integer_or(&words[options.end + 1], NOT_AN_INTEGER)?;
                    let refusal = "ERR The LIMIT argument must be >= 0.";
                    options.limit = Some(u64::try_from(limit).map_err(|_| refusal)?);
                    2
                }
                () if options.refs.is_none() && refs(word).is_some() => {
                    options.refs = refs(word);
                    1
                }
                () if xadd => options.only_xadd(&words[options.end..])?,
                () => return Err(SYNTAX.into()),
            };
            if taken == 0 {
                break;
            }
            options.end += taken;
        }
        Ok(options)
    }

    fn trim(&mut self, words: &[Bytes], by_id: bool) -> Result<usize, String> {
        if self.to.is_some() {
            let text = "ERR syntax error, MAXLEN and MINID options at the same time are not \
                        compatible";
            return Err(text.into());
        }
        let more = words.len() - self.end - 1;
        let sign = &words[self.end + 1];
        let signed = more >= 2 && (sign == b"~" || sign == b"=");
        self.approximate = signed && sign == b"~";
        let taken = if signed { 3 } else { 2 };
        let threshold = &words[self.end + taken - 1];
        self.to = Some(if by_id {
            TrimTo::Id(strict_id(threshold)?)
        } else {
            let length = integer_or(threshold, NOT_AN_INTEGER)?;
            let refusal = "ERR The MAXLEN argument must be >= 0.";
            TrimTo::Length(u64::try_from(length).map_err(|_| refusal)?)
        });
        Ok(taken)
    }

    fn only_xadd(&mut self, words: &[Bytes]) -> Result<usize, String> {
        if is_word(&words[0], "NOMKSTREAM") {
            self.no_stream = true;
            return Ok(1);
        }
        let explicit = is_word(&words[0], "IDMP") && words.len() > 2;
        let auto = is_word(&words[0], "IDMPAUTO") && words.len() > 1;
        if !explicit && !auto {
            return Ok(0);
        }
        if self.idmp.is_some() {
            return Err(IDMP_TWICE.into());
        }
        if words[1].is_empty() {
            return Err(if auto { NO_PID_AUTO.into() } else { NO_PID.into() });
        }
        if explicit && words[2].is_empty() {
            return Err(NO_IID.into());
        }
        self.idmp = Some((words[1].clone(), explicit.then(|| words[2].clone())));
        Ok(if auto { 2 } else { 3 })
    }

    fn check(&self, xadd: bool) -> Result<(), String> {
        if self.limit.is_some_and(|limit| limit != 0) && self.to.is_none() {
            let text = "ERR syntax error, LIMIT cannot be used without specifying a trimming \
                        strategy";
            return Err(text.into());
        }
        if !xadd && self.to.is_none() {
            let text = "ERR syntax error, XTRIM must be called with a trimming strategy";
            return Err(text.into());
        }
        if self.limit.is_some() && !self.approximate {
            let text = "ERR syntax error, LIMIT cannot be used without the special ~ option";
            return Err(text.into());
        }
        Ok(())
    }

    fn to_trim(&self, block_entries: u64) -> Option<Trim> {
        let default = match 100 * block_entries {
            0 => 10_000,
            n => n.min(1_000_000),
        };
        Some(Trim {
            to: self.to?,
            approximate: self.approximate,
            limit: if self.approximate { self.limit.unwrap_or(default) } else { 0 },
            refs: self.refs.unwrap_or(Refs::Keep),
        })
    }
}

fn new_id(word: &[u8]) -> Result<NewId, String> {
    if word == b"*" {
        return Ok(NewId::Auto);
    }
    match word.strip_suffix(b"-*") {
        Some(ms) => match strict_id(ms)? {
            (ms, 0) if !word[..word.len() - 2].contains(&b'-') => Ok(NewId::AutoSeq(ms)),
            _ => Err(INVALID_ID.into()),
        },
        None => strict_id(word).map(NewId::Whole),
    }
}

/// The idempotent ID that IDMPAUTO makes of the fields.
fn iid_of(strings: &[Bytes]) -> Bytes {
    let (mut sum, mut xor) = ((0_u64, 0_u64), (0_u64, 0_u64));
    for pair in strings.chunks(2) {
        let mut bytes = pair[0].clone();
        bytes.extend((pair[0].len() as u64).to_le_bytes());
        bytes.extend(&pair[1]);
        let hash = xxh3_128(&bytes).to_le_bytes();
        let low = u64::from_le_bytes(hash[..8].try_into().unwrap());
        let high = u64::from_le_bytes(hash[8..].try_into().unwrap());
        sum = (sum.0.wrapping_add(low), sum.1.wrapping_add(high));
        xor = (xor.0 ^ low, xor.1 ^ high);
    }
    let mut iid = (sum.0 ^ xor.1.rotate_left(1)).to_le_bytes().to_vec();
    iid.extend((sum.1 ^ xor.0.rotate_left(1)).to_le_bytes());
    iid
}

impl Model {
    pub(super) fn xadd(&mut self, words: &[Bytes]) -> Answer {
        let options = Options::parse(words, true)?;
        let Some(id_word) = words.get(options.end) else {
            return Err("ERR wrong number of arguments for 'xadd' command".into());
        };
        let id = new_id(id_word)?;
        if options.idmp.is_some() && !matches!(id, NewId::Auto) {
            let text = "ERR syntax error, IDMP/IDMPAUTO can be used only with auto-generated IDs";
            return Err(text.into());
        }
        options.check(true)?;
        let strings = &words[options.end + 1..];
        if strings.is_empty() || !strings.len().is_multiple_of(2) {
            return Err("ERR wrong number of arguments for 'xadd' command".into());
        }
        if matches!(id, NewId::Whole((0, 0))) {
            return Err("ERR The ID specified in XADD must be greater than 0-0".into());
        }
        let (key, now, block_entries) = (&words[1], self.now, self.block_entries);
        if self.stream(key)?.is_none() && options.no_stream {
            return Ok(Reply::Null);
        }
        let last = self.stream(key)?.map_or((0, 0), |stream| stream.last);
        let idmp = options
            .idmp
            .as_ref()
            .map(|(pid, iid)| (pid.clone(), iid.clone().unwrap_or_else(|| iid_of(strings))));
        if let (Some((pid, iid)), Some(stream)) = (&idmp, self.stream(key)?) {
            let iids = stream.producers.get(pid).into_iter().flatten();
            if let Some((_, old)) = iids.clone().find(|(known, _)| known == iid) {
                let old = *old;
                stream.iids_duplicates += 1;
                return Ok(Reply::Bulk(text(old)));
            }
        }
        let id = resolve(id, last, now)?;
        let stream = self.stream_or_new(key);
        stream.append(id, strings, block_entries);
        if let Some((pid, iid)) = idmp {
            let maxsize = usize::try_from(stream.idmp_maxsize).unwrap();
            let iids = stream.producers.entry(pid).or_default();
            iids.push((iid, id));
            let excess = iids.len().saturating_sub(maxsize);
            iids.drain(..excess);
            stream.iids_added += 1;
        }
        if let Some(trim) = options.to_trim(block_entries) {
            stream.trim(trim);
        }
        self.signal(key);
        Ok(Reply::Bulk(text(id)))
    }

    pub(super) fn xtrim(&mut self, words: &[Bytes]) -> Answer {
        let options = Options::parse(words, false)?;
        options.check(false)?;
        let trim = options.to_trim(self.block_entries).unwrap();
        let removed = self.stream(&words[1])?.map_or(0, |stream| stream.trim(trim));
        Ok(Reply::Int(removed.into()))
    }

    pub(super) fn xdel(&mut self, words: &[Bytes]) -> Answer {
        let Some(stream) = self.stream(&words[1])? else { return Ok(Reply::Int(0)) };
        let ids = strict_ids(&words[2..])?;
        let deleted = ids.into_iter().filter(|&id| stream.delete(id)).count();
        Ok(Reply::count(deleted))
    }

    pub(super) fn xdelex(&mut self, words: &[Bytes]) -> Answer {
        self.stream(&words[1])?;
        let (refs, ids) = id_block(&words[2..])?;
        let Some(stream) = self.stream(&words[1])? else {
            return Ok(Reply::Array(vec![Reply::Int(-1); ids.len()]));
        };
        let mut all = Vec::new();
        for id in strict_ids(ids)? {
            if refs == Refs::Delete {
                stream.drop_references(id);
            }
            all.push(Reply::Int(match () {
                () if refs == Refs::Acked && stream.is_referenced(id) => 2,
                () if stream.delete(id) => 1,
                () => -1,
            }));
        }
        Ok(Reply::Array(all))
    }

    pub(super) fn xsetid(&mut self, words: &[Bytes]) -> Answer {
        let id = strict_id(&words[2])?;
        let (mut added, mut max_deleted) = (None, (0, 0));
        let mut rest = &words[3..];
        while !rest.is_empty() {
            if rest.len() > 1 && is_word(&rest[0], "ENTRIESADDED") {
                let value = integer_or(&rest[1], NOT_AN_INTEGER)?;
                let refusal = "ERR entries_added must be positive";
                added = Some(u64::try_from(value).map_err(|_| refusal)?);
            } else if rest.len() > 1 && is_word(&rest[0], "MAXDELETEDID") {
                max_deleted = strict_id(&rest[1])?;
                if id < max_deleted {
                    let text = "ERR The ID specified in XSETID is smaller than the provided \
                                max_deleted_entry_id";
                    return Err(text.into());
                }
            } else {
                return Err(SYNTAX.into());
            }
            rest = &rest[2..];
        }
        let stream = self.stream(&words[1])?.ok_or(NO_KEY)?;
        let smaller = "ERR The ID specified in XSETID is smaller than";
        if id < stream.max_deleted {
            return Err(format!("{smaller} current max_deleted_entry_id"));
        }
        if let Some((last_live, _)) = stream.entries.last_key_value() {
            if id < *last_live {
                return Err(format!("{smaller} the target stream top item"));
            }
            if added.is_some_and(|added| added < stream.len()) {
                let text = "ERR The entries_added specified in XSETID is smaller than the target \
                            stream length";
                return Err(text.into());
            }
        }
        stream.last = id;
        if let Some(added) = added {
            stream.added = added;
            stream
                .groups
                .values_mut()
                .for_each(|group| group.read = group.read.map(|n| n.min(added)));
        }
        if max_deleted != (0, 0) {
            stream.max_deleted = max_deleted;
        }
        stream.forget_tombstones();
        Ok(Reply::Simple("OK"))
    }

    pub(super) fn xcfgset(&mut self, words: &[Bytes]) -> Answer {
        let stream = self.stream(&words[1])?.ok_or(NO_KEY)?;
        let (mut duration, mut maxsize) = (None, None);
        let mut rest = &words[2..];
        while !rest.is_empty() {
            let (slot, name, range, unit) = match () {
                () if rest.len() > 1 && is_word(&rest[0], "IDMP-DURATION") => {
                    (&mut duration, "IDMP-DURATION", 1..=86_400, "86400 seconds")
                }
                () if rest.len() > 1 && is_word(&rest[0], "IDMP-MAXSIZE") => {
                    (&mut maxsize, "IDMP-MAXSIZE", 1..=10_000, "10000 entries")
                }
                () => return Err(SYNTAX.into()),
            };
            if slot.is_some() {
                return Err(format!("ERR {name} specified multiple times"));
            }
            let value = integer_or(&rest[1], NOT_AN_INTEGER)?;
            if !range.contains(&value) {
                return Err(format!("ERR {name} must be between 1 and {unit}"));
            }
            *slot = Some(value.unsigned_abs());
            rest = &rest[2..];
        }
        if duration.is_none() && maxsize.is_none() {
            return Err("ERR At least one parameter must be specified".into());
        }
        let before = (stream.idmp_duration, stream.idmp_maxsize);
        stream.idmp_duration = duration.unwrap_or(before.0);
        stream.idmp_maxsize = maxsize.unwrap_or(before.1);
        if (stream.idmp_duration, stream.idmp_maxsize) != before {
            stream.producers.clear();
        }
        Ok(Reply::Simple("OK"))
    }

    pub(super) fn xidmprecord(&mut self, words: &[Bytes]) -> Answer {
        let [_, key, pid, iid, id] = words else { unreachable!("the arity holds") };
        let id = strict_id(id)?;
        if pid.is_empty() {
            return Err("ERR producer ID must be non-empty".into());
        }
        if iid.is_empty() {
            return Err("ERR idempotent ID must be non-empty".into());
        }
        let stream = self.stream(key)?.ok_or(NO_KEY)?;
        if !stream.entries.contains_key(&id) {
            return Err("ERR No such message in stream".into());
        }
        let maxsize = usize::try_from(stream.idmp_maxsize).unwrap();
        let iids = stream.producers.entry(pid.clone()).or_default();
        match iids.iter().find(|(known, _)| known == iid) {
            Some((_, known)) if *known == id => {}
            Some(_) => {
                let text = "ERR IID already exists for this producer with a different stream ID";
                return Err(text.into());
            }
            None => {
                iids.push((iid.clone(), id));
                let excess = iids.len().saturating_sub(maxsize);
                iids.drain(..excess);
                stream.iids_added += 1;
            }
        }
        Ok(Reply::Simple("OK"))
    }
}

/// The ID of a new entry.
fn resolve(id: NewId, last: Id, now: u64) -> Result<Id, String> {
    if last == ID_MAX {
        let text = "ERR The stream has exhausted the last possible ID, unable to add more items";
        return Err(text.into());
    }
    let id = match id {
        NewId::Auto if now > last.0 => Some((now, 0)),
        NewId::Auto => next(last),
        NewId::AutoSeq(ms) if ms > last.0 => Some((ms, 0)),
        NewId::AutoSeq(ms) if ms == last.0 => last.1.checked_add(1).map(|seq| (ms, seq)),
        NewId::AutoSeq(_) => None,
        NewId::Whole(id) => Some(id),
    };
    id.filter(|id| *id > last).ok_or_else(|| {
        "ERR The ID specified in XADD is equal or smaller than the target stream top item".into()
    })
}

/// The strategy and the IDs of XDELEX and XACKDEL.
pub(super) fn id_block(words: &[Bytes]) -> Result<(Refs, &[Bytes]), String> {
    let (mut strategy, mut ids) = (None, None);
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if strategy.is_none() && refs(word).is_some() {
            strategy = refs(word);
            at += 1;
        } else if is_word(word, "IDS") && at + 1 < words.len() {
            let count = integer(&words[at + 1]).and_then(|n| usize::try_from(n).ok());
            let count =
                count.filter(|&n| n > 0).ok_or("ERR Number of IDs must be a positive integer")?;
            if count > words.len() - at - 2 {
                let text = "ERR The `numids` parameter must match the number of arguments";
                return Err(text.into());
            }
            ids = Some(&words[at + 2..at + 2 + count]);
            at += 2 + count;
        } else {
            return Err(SYNTAX.into());
        }
    }
    Ok((strategy.unwrap_or(Refs::Keep), ids.ok_or("ERR IDS option is required")?))
}
