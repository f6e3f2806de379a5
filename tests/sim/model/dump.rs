//! The whole state as text, from the model and from the product, to be compared.

use super::stream::{Group, Stream};
use super::{Id, Model, Value};
use crate::workload::DATABASES;
use millstream::stream::Image;
use millstream::stream::image::GroupImage;
use std::fmt::Write;

fn id(id: Id) -> String {
    format!("{}-{}", id.0, id.1)
}

fn hex(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

impl Model {
    /// Every key that is not over: a line each, streams with what is in them; `with_lazy` also
    /// what no reply promises to keep.
    pub(crate) fn dump(&self, with_lazy: bool) -> String {
        let mut out = String::new();
        let in_databases = (0..DATABASES)
            .flat_map(|db| self.keys_of(db).into_iter().flatten().map(move |k| (db, k)));
        for (db, (key, held)) in in_databases {
            if held.expire_at.is_some_and(|at| at <= self.now) {
                continue;
            }
            writeln!(out, "{db} {} expires {:?}", hex(key), held.expire_at).unwrap();
            match &held.value {
                Value::String(string) => dump_string(&mut out, string),
                Value::Stream(stream) => dump_stream(&mut out, stream, with_lazy),
            }
        }
        out
    }

    /// What a key holds, whether its time is over or not. Of a stream only its entries: Redis, too,
    /// does not tell watchers of groups.
    pub(crate) fn dump_of(&self, db: u8, key: &[u8]) -> String {
        let mut out = String::new();
        if let Some(held) = self.keys_of(db).and_then(|keys| keys.get(key)) {
            writeln!(out, "expires {:?}", held.expire_at).unwrap();
            match &held.value {
                Value::String(string) => dump_string(&mut out, string),
                Value::Stream(stream) => dump_entries(&mut out, stream),
            }
        }
        out
    }
}

pub(crate) fn dump_string(out: &mut String, string: &[u8]) {
    writeln!(out, "  string {}", hex(string)).unwrap();
}

fn dump_stream(out: &mut String, stream: &Stream, with_lazy: bool) {
    let (last, deleted, added) = (id(stream.last), id(stream.max_deleted), stream.added);
    writeln!(out, "  last {last} deleted {deleted} added {added}").unwrap();
    dump_entries(out, stream);
    for (name, group) in &stream.groups {
        dump_group(out, name, group, with_lazy);
    }
    let (duration, maxsize) = (stream.idmp_duration, stream.idmp_maxsize);
    let (added, duplicates) = (stream.iids_added, stream.iids_duplicates);
    writeln!(out, "  idmp {duration} {maxsize} {added} {duplicates}").unwrap();
    for (pid, iids) in stream.producers.iter().filter(|_| with_lazy) {
        for (iid, at) in iids {
            writeln!(out, "  producer {} {} {}", hex(pid), hex(iid), id(*at)).unwrap();
        }
    }
}

fn dump_entries(out: &mut String, stream: &Stream) {
    for (at, entry) in &stream.entries {
        let strings: Vec<_> = entry.strings.iter().map(|string| hex(string)).collect();
        writeln!(out, "  {} {strings:?}", id(*at)).unwrap();
    }
}

fn dump_group(out: &mut String, name: &[u8], group: &Group, with_lazy: bool) {
    writeln!(out, "  group {} last {} read {:?}", hex(name), id(group.last), group.read).unwrap();
    for (name, consumer) in &group.consumers {
        let times = with_lazy.then_some((consumer.seen, consumer.active));
        writeln!(out, "    consumer {} {times:?}", hex(name)).unwrap();
    }
    for (at, pending) in &group.pel {
        let owner = pending.owner.as_ref().map(|name| hex(name));
        let given = with_lazy.then_some((pending.at, pending.count));
        writeln!(out, "    pending {} {owner:?} {given:?}", id(*at)).unwrap();
    }
    let unowned = group.by_age().into_iter().filter(|(_, pending)| pending.owner.is_none());
    let unowned: Vec<_> = unowned.map(|(at, _)| id(at)).collect();
    writeln!(out, "    unowned {unowned:?}").unwrap();
}

/// [`dump_stream`] of the product's stream.
pub(crate) fn dump_image(out: &mut String, image: &Image, with_lazy: bool) {
    let (last, deleted) = (image.last_id, image.max_deleted_id);
    writeln!(out, "  last {last} deleted {deleted} added {}", image.entries_added).unwrap();
    for (at, strings) in &image.entries {
        let strings: Vec<_> = strings.iter().map(|string| hex(string)).collect();
        writeln!(out, "  {at} {strings:?}").unwrap();
    }
    let mut groups: Vec<_> = image.groups.iter().collect();
    groups.sort_by_key(|group| group.name.clone());
    groups.iter().for_each(|group| dump_group_image(out, group, with_lazy));
    let idmp = &image.producers;
    let (added, duplicates) = (idmp.iids_added, idmp.iids_duplicates);
    writeln!(out, "  idmp {} {} {added} {duplicates}", idmp.duration_s, idmp.maxsize).unwrap();
    let mut producers: Vec<_> = idmp.producers.iter().collect();
    producers.sort();
    for (pid, iids) in producers.into_iter().filter(|_| with_lazy) {
        for (iid, at) in iids {
            writeln!(out, "  producer {} {} {at}", hex(pid), hex(iid)).unwrap();
        }
    }
}

fn dump_group_image(out: &mut String, group: &GroupImage, with_lazy: bool) {
    let (last, read) = (group.last_delivered_id, group.entries_read);
    writeln!(out, "  group {} last {last} read {read:?}", hex(&group.name)).unwrap();
    let mut consumers: Vec<_> = group.consumers.iter().collect();
    consumers.sort_by_key(|consumer| consumer.name.clone());
    for consumer in consumers {
        let active = consumer.active_at.map(|at| at.0);
        let times = with_lazy.then_some((consumer.seen_at.0, active));
        writeln!(out, "    consumer {} {times:?}", hex(&consumer.name)).unwrap();
    }
    for pending in &group.pending {
        let owner = pending.owner.map(|at| hex(&group.consumers[at].name));
        let given = with_lazy.then_some((pending.delivered_at.0, pending.count));
        writeln!(out, "    pending {} {owner:?} {given:?}", pending.id).unwrap();
    }
    let unowned: Vec<_> = group.unowned.iter().map(ToString::to_string).collect();
    writeln!(out, "    unowned {unowned:?}").unwrap();
}
