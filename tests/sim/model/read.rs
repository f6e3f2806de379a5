//! The model's XLEN, XRANGE, XREVRANGE, XREAD, and what XREADGROUP shares with XREAD.

use super::words::{
    NOT_AN_INTEGER, integer, integer_or, is_word, range_end, range_start, strict_id, text,
};
use super::{Answer, Bytes, Id, Model, SYNTAX};
use crate::reply::{Reply, Wait};
use millstream::command::Protocol;

/// The options of XREAD and XREADGROUP.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) group: Option<(Bytes, Bytes)>,
    pub(super) count: Option<usize>,
    max_count: Option<usize>,
    max_size: Option<usize>,
    pub(super) block: Option<u64>,
    pub(super) claim: Option<u64>,
    pub(super) noack: bool,
    /// Keys and IDs.
    pub(super) streams: Vec<(Bytes, Bytes)>,
    /// Where the IDs begin.
    ids_at: usize,
}

impl Options {
    pub(super) fn parse(
        words: &[Bytes],
        for_group: bool,
        (now, valkey): (u64, bool),
    ) -> Result<Self, String> {
        let mut options = Options::default();
        let mut at = 1;
        loop {
            let word = words.get(at).ok_or(SYNTAX)?;
            let more = words.len() - at - 1;
            if is_word(word, "STREAMS") && more > 0 {
                at += 1;
                break;
            }
            at += options.word(&words[at..], for_group)?;
        }
        let strings = &words[at..];
        if !strings.len().is_multiple_of(2) {
            let (name, special) = match (for_group, valkey) {
                (true, _) => ("xreadgroup", " or '>'"),
                (false, true) => ("xread", " or '$'"),
                (false, false) => ("xread", ", '+', or '$'"),
            };
            return Err(format!(
                "ERR Unbalanced '{name}' list of streams: for each stream key an ID{special} must \
                 be specified."
            ));
        }
        if let (Some(count), Some(max)) = (options.count, options.max_count)
            && max < count
        {
            return Err("ERR MAXCOUNT must be greater than or equal to COUNT".into());
        }
        let (keys, ids) = strings.split_at(strings.len() / 2);
        options.streams = keys.iter().cloned().zip(ids.iter().cloned()).collect();
        options.ids_at = at + keys.len();
        if for_group && options.group.is_none() {
            return Err("ERR Missing GROUP option for XREADGROUP".into());
        }
        let end = options.block.unwrap_or_default().checked_add(now);
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            return Err("ERR timeout is out of range".into());
        }
        Ok(options)
    }

    /// One option; returns how many words it has.
    fn word(&mut self, words: &[Bytes], for_group: bool) -> Result<usize, String> {
        let more = words.len() - 1;
        let option = |name: &str| is_word(&words[0], name) && more > 0;
        let only_group = |name: &str| {
            let text = format!(
                "ERR The {name} option is only supported by XREADGROUP. You called XREAD instead."
            );
            if for_group { Ok(()) } else { Err(text) }
        };
        if option("BLOCK") {
            let refusal = "ERR timeout is not an integer or out of range";
            let ms = integer_or(&words[1], refusal)?;
            // No clock says more than the year 9999: then it is refused at once.
            if ms.checked_add(253_402_300_799_999).is_none() {
                return Err("ERR timeout is out of range".into());
            }
            self.block = Some(u64::try_from(ms).map_err(|_| "ERR timeout is negative")?);
        } else if option("COUNT") {
            let count = integer_or(&words[1], NOT_AN_INTEGER)?;
            self.count = usize::try_from(count).ok().filter(|&n| n > 0);
        } else if option("GROUP") && more > 1 {
            only_group("GROUP")?;
            self.group = Some((words[1].clone(), words[2].clone()));
            return Ok(3);
        } else if is_word(&words[0], "NOACK") {
            only_group("NOACK")?;
            self.noack = true;
            return Ok(1);
        } else if option("CLAIM") {
            only_group("CLAIM")?;
            let refusal = "ERR min-idle-time is not an integer or out of range";
            let ms = integer_or(&words[1], refusal)?;
            let refusal = "ERR min-idle-time must be a positive integer";
            self.claim = Some(u64::try_from(ms).map_err(|_| refusal)?);
        } else if option("MAXCOUNT") {
            self.max_count = Some(positive(&words[1], "MAXCOUNT")?);
        } else if option("MAXSIZE") {
            self.max_size = Some(positive(&words[1], "MAXSIZE")?);
        } else {
            return Err(SYNTAX.into());
        }
        Ok(2)
    }

    pub(super) fn count(&self) -> usize {
        self.count.unwrap_or(usize::MAX)
    }

    /// What to wait for, with these IDs in the place of those that were given.
    pub(super) fn wait(&self, words: &[Bytes], ids: Vec<Bytes>, retry_at: Option<u64>) -> Reply {
        let words = words[..self.ids_at].iter().cloned().chain(ids).collect();
        Reply::Waits(Box::new(Wait {
            timeout_ms: self.block.unwrap(),
            keys: self.streams.iter().map(|(key, _)| key.clone()).collect(),
            group: self.group.as_ref().map(|(group, _)| group.clone()),
            claim: self.claim,
            retry_at,
            words,
        }))
    }
}

fn positive(word: &[u8], name: &str) -> Result<usize, String> {
    let value = integer(word).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    value.ok_or_else(|| format!("ERR {name} must be a positive integer"))
}

/// A reply that grows under MAXCOUNT and MAXSIZE.
pub(super) struct Budget {
    protocol: Protocol,
    entries: usize,
    /// Bytes so far. The length of an array that is not known yet is as wide as its greatest.
    bytes: usize,
    max_count: usize,
    max_size: usize,
    pub(super) streams: Vec<(Bytes, Reply)>,
}

impl Budget {
    pub(super) fn new(options: &Options, resp3: bool) -> Self {
        Budget {
            protocol: if resp3 { Protocol::Resp3 } else { Protocol::Resp2 },
            entries: 0,
            bytes: header(options.streams.len()),
            max_count: options.max_count.unwrap_or(usize::MAX),
            max_size: options.max_size.unwrap_or(usize::MAX),
            streams: Vec::new(),
        }
    }

    pub(super) fn admits(&self) -> bool {
        self.entries == 0 || (self.entries < self.max_count && self.bytes < self.max_size)
    }

    /// Adds a stream of at most `most` entries: those of `entries` that are admitted. Returns how
    /// many; an empty one is added only if there was nothing to add and `even_empty`.
    pub(super) fn add(
        &mut self,
        key: &[u8],
        most: usize,
        entries: Vec<Reply>,
        even_empty: bool,
    ) -> usize {
        let before = self.bytes;
        let pair = if self.protocol == Protocol::Resp2 { 4 } else { 0 };
        let expected = most.min(self.max_count);
        self.bytes += pair + Reply::bulk(key).bytes(self.protocol).len() + header(expected);
        let given = entries.len();
        let mut written = Vec::new();
        for entry in entries {
            if !self.admits() {
                break;
            }
            self.bytes += entry.bytes(self.protocol).len();
            self.entries += 1;
            written.push(entry);
        }
        let n = written.len();
        if n > 0 || (even_empty && given == 0) {
            self.streams.push((key.to_vec(), Reply::Array(written)));
        } else {
            self.bytes = before;
        }
        n
    }
}

fn header(n: usize) -> usize {
    n.to_string().len() + 3
}

impl Model {
    pub(super) fn xlen(&mut self, words: &[Bytes]) -> Answer {
        let len = self.stream(&words[1])?.map_or(0, |stream| stream.len());
        Ok(Reply::Int(len.into()))
    }

    pub(super) fn xrange(&mut self, words: &[Bytes], backward: bool) -> Answer {
        let (start, end) = if backward { (&words[3], &words[2]) } else { (&words[2], &words[3]) };
        let (start, end) = (range_start(start)?, range_end(end)?);
        let mut count = None;
        let mut rest = &words[4..];
        while !rest.is_empty() {
            if rest.len() < 2 || !is_word(&rest[0], "COUNT") {
                return Err(SYNTAX.into());
            }
            count = Some(integer_or(&rest[1], NOT_AN_INTEGER)?);
            rest = &rest[2..];
        }
        let Some(stream) = self.stream(&words[1])? else { return Ok(Reply::Array(vec![])) };
        if count.is_some_and(|count| count <= 0) {
            return Ok(Reply::NullArray);
        }
        let mut ids: Vec<Id> = stream.entries.keys().copied().collect();
        ids.retain(|id| (start..=end).contains(id));
        if backward {
            ids.reverse();
        }
        ids.truncate(count.map_or(usize::MAX, |count| usize::try_from(count).unwrap()));
        Ok(Reply::Array(ids.into_iter().map(|id| stream.entry(id)).collect()))
    }

    pub(super) fn xread(&mut self, words: &[Bytes]) -> Answer {
        let options = Options::parse(words, false, (self.now, self.valkey))?;
        let mut ids = Vec::new();
        for (key, id) in &options.streams {
            let stream = if self.is_in_hand(key) { self.stream(key)? } else { None };
            ids.push(match id.as_slice() {
                b"$" => Some(stream.map_or((0, 0), |stream| stream.last)),
                b"+" => None,
                b">" => {
                    let text = "ERR The > ID can be specified only when calling XREADGROUP using \
                                the GROUP <group> <consumer> option.";
                    return Err(text.into());
                }
                id => Some(strict_id(id)?),
            });
        }
        let mut budget = Budget::new(&options, self.resp3);
        for ((key, _), after) in options.streams.iter().zip(&ids) {
            if !self.is_in_hand(key) {
                continue;
            }
            let Some(stream) = self.stream(key)? else { continue };
            let (most, found) = match after {
                None => (1, stream.entries.keys().next_back().copied().into_iter().collect()),
                Some(after) => {
                    let found = stream.entries.keys().filter(|id| *id > after);
                    let found: Vec<Id> = found.take(options.count()).copied().collect();
                    (options.count().min(stream.entries.len()), found)
                }
            };
            if !found.is_empty() && budget.admits() {
                let entries = found.into_iter().map(|id| stream.entry(id)).collect();
                budget.add(key, most, entries, false);
            }
        }
        if !budget.streams.is_empty() {
            return Ok(Reply::Streams(budget.streams));
        }
        if options.block.is_none() {
            return Ok(Reply::NullArray);
        }
        let ids =
            ids.into_iter().zip(&options.streams).map(|(resolved, (_, given))| match resolved {
                Some(id) if given == b"$" => text(id),
                _ => given.clone(),
            });
        Ok(options.wait(words, ids.collect(), None))
    }
}
