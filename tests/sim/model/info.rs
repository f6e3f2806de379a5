//! The model's XINFO.

use super::stream::{Consumer, Group, Stream};
use super::words::{NOT_AN_INTEGER, integer_or, is_word, lossy, text};
use super::{Answer, Bytes, Id, Model, NO_KEY};
use crate::reply::Reply;

fn id(id: Id) -> Reply {
    Reply::Bulk(text(id))
}

fn number(value: u64) -> Reply {
    Reply::Int(value.into())
}

/// Where the group is in the stream.
fn position(stream: &Stream, group: &Group, valkey: bool) -> [(&'static str, Reply); 3] {
    let or_null = |value: Option<i128>| value.map_or(Reply::Null, Reply::Int);
    [
        ("last-delivered-id", id(group.last)),
        ("entries-read", or_null(group.read.map(i128::from))),
        ("lag", or_null(stream.lag(group, valkey))),
    ]
}

impl Model {
    pub(super) fn xinfo_stream(&mut self, words: &[Bytes]) -> Answer {
        let valkey = self.valkey;
        let stream = self.stream(&words[2])?.ok_or(NO_KEY)?;
        let iids: usize = stream.producers.values().map(Vec::len).sum();
        let mut pairs = vec![
            ("length", number(stream.len())),
            ("radix-tree-keys", Reply::count(stream.blocks_len())),
            ("radix-tree-nodes", Reply::AnyInt),
            ("last-generated-id", id(stream.last)),
            ("max-deleted-entry-id", id(stream.max_deleted)),
            ("entries-added", number(stream.added)),
            ("recorded-first-entry-id", id(stream.first())),
        ];
        let of_producers = [
            ("idmp-duration", number(stream.idmp_duration)),
            ("idmp-maxsize", number(stream.idmp_maxsize)),
            ("pids-tracked", Reply::count(stream.producers.len())),
            ("iids-tracked", Reply::count(iids)),
            ("iids-added", number(stream.iids_added)),
            ("iids-duplicates", number(stream.iids_duplicates)),
        ];
        pairs.extend(of_producers.into_iter().filter(|_| !valkey));
        let Some(count) = full_count(words)? else {
            let edge = |id: Option<&Id>| id.map_or(Reply::Null, |id| stream.entry(*id));
            pairs.push(("groups", Reply::count(stream.groups.len())));
            pairs.push(("first-entry", edge(stream.entries.keys().next())));
            pairs.push(("last-entry", edge(stream.entries.keys().next_back())));
            return Ok(Reply::Map(pairs));
        };
        let entries = stream.entries.keys().take(count).map(|id| stream.entry(*id)).collect();
        let groups = stream.groups.iter();
        let full =
            |(name, group): (&Bytes, &Group)| full_group(name, group, stream, (count, valkey));
        let groups = groups.map(full).collect();
        pairs.push(("entries", Reply::Array(entries)));
        pairs.push(("groups", Reply::Array(groups)));
        Ok(Reply::Map(pairs))
    }

    pub(super) fn xinfo_groups(&mut self, words: &[Bytes]) -> Answer {
        let valkey = self.valkey;
        let stream = self.stream(&words[2])?.ok_or(NO_KEY)?;
        let groups = stream.groups.iter().map(|(name, group)| {
            let mut pairs = vec![
                ("name", Reply::bulk(name)),
                ("consumers", Reply::count(group.consumers.len())),
                ("pending", Reply::count(group.pel.len())),
            ];
            pairs.extend(position(stream, group, valkey));
            Reply::Map(pairs)
        });
        Ok(Reply::Array(groups.collect()))
    }

    pub(super) fn xinfo_consumers(&mut self, words: &[Bytes]) -> Answer {
        let now = self.now;
        let stream = self.stream(&words[2])?.ok_or(NO_KEY)?;
        let Some(group) = stream.groups.get(&words[3]) else {
            let (key, group) = (lossy(&words[2]), lossy(&words[3]));
            return Err(format!("NOGROUP No such consumer group '{group}' for key name '{key}'"));
        };
        let consumers = group.consumers.iter().map(|(name, consumer)| {
            let inactive = consumer.active.map(|at| i128::from(now.saturating_sub(at)));
            Reply::Map(vec![
                ("name", Reply::bulk(name)),
                ("pending", Reply::count(group.owned_by(name))),
                ("idle", number(now.saturating_sub(consumer.seen))),
                ("inactive", Reply::Int(inactive.unwrap_or(-1))),
            ])
        });
        Ok(Reply::Array(consumers.collect()))
    }
}

/// The items of each list if FULL was given.
fn full_count(words: &[Bytes]) -> Result<Option<usize>, String> {
    let options = &words[3..];
    if options.is_empty() {
        return Ok(None);
    }
    let full = is_word(&options[0], "FULL");
    match options.len() {
        1 if full => Ok(Some(10)),
        3 if full && is_word(&options[1], "COUNT") => {
            let count = integer_or(&options[2], NOT_AN_INTEGER)?;
            Ok(Some(match usize::try_from(count) {
                Ok(0) => usize::MAX,
                Ok(count) => count,
                Err(_) => 10,
            }))
        }
        _ => Err(format!(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try XINFO HELP.",
            lossy(&words[1])
        )),
    }
}

fn full_group(
    name: &[u8],
    group: &Group,
    stream: &Stream,
    (count, valkey): (usize, bool),
) -> Reply {
    let mut pairs = vec![("name", Reply::bulk(name))];
    pairs.extend(position(stream, group, valkey));
    let unowned = group.pel.values().filter(|pending| pending.owner.is_none()).count();
    let pending = group.pel.iter().take(count).map(|(at, pending)| {
        Reply::Array(vec![
            id(*at),
            Reply::Bulk(pending.owner.clone().unwrap_or_default()),
            number(pending.at),
            number(pending.count),
        ])
    });
    let consumers = group.consumers.iter();
    let consumers = consumers.map(|(name, consumer)| full_consumer(name, consumer, group, count));
    pairs.push(("pel-count", Reply::count(group.pel.len())));
    if !valkey {
        pairs.push(("nacked-count", Reply::count(unowned)));
    }
    pairs.push(("pending", Reply::Array(pending.collect())));
    pairs.push(("consumers", Reply::Array(consumers.collect())));
    Reply::Map(pairs)
}

fn full_consumer(name: &[u8], consumer: &Consumer, group: &Group, count: usize) -> Reply {
    let mine = group.pel.iter().filter(|(_, pending)| pending.owner.as_deref() == Some(name));
    let pending = mine.take(count).map(|(at, pending)| {
        Reply::Array(vec![id(*at), number(pending.at), number(pending.count)])
    });
    Reply::Map(vec![
        ("name", Reply::bulk(name)),
        ("seen-time", number(consumer.seen)),
        ("active-time", consumer.active.map_or(Reply::Int(-1), number)),
        ("pel-count", Reply::count(group.owned_by(name))),
        ("pending", Reply::Array(pending.collect())),
    ])
}
