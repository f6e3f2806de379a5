//! A history checker: clients write, read for a group, acknowledge, claim and delete while the
//! server is killed again and again; what each of them saw is held against what is there.
//!
//! - Every acknowledged entry is there once, under the ID that was replied; nothing is there that
//!   was not sent; of what a connection sent without hearing back, a prefix is there; a
//!   transaction is there as a whole or not at all; IDs ascend in the order of the sending.
//! - A group hands an entry out once. What was seen and not acknowledged is pending, with the
//!   consumer that saw it or with the one that claims; what was handed out and never arrived is
//!   pending too. What was acknowledged is not.
//!
//! `MILLSTREAM_KILLS` sets how often each of the runs is killed (150), `MILLSTREAM_SEED` the seed.

use crate::{Client, Place, Value, request};
use millstream::testing::Rng;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

const WRITERS: usize = 4;
const CONSUMERS: usize = 3;
/// The consumer that also claims what others hold.
const CLAIMER: usize = 2;
/// Keys of different shards, whatever their number is.
const KEYS: [&str; 4] = ["key:0", "key:1", "key:2", "key:3"];
/// What a writer's own stream is trimmed to.
const OWN_LEN: u64 = 10;
/// With more entries all is flushed, and the history begins anew.
const ENTRIES_MAX: usize = 20_000;

type Id = (u64, u64);
/// A key by its number, and an entry of it.
type At = (usize, Id);

fn id(text: &str) -> Id {
    let (ms, seq) = text.split_once('-').unwrap();
    (ms.parse().unwrap(), seq.parse().unwrap())
}

fn show(id: Id) -> String {
    format!("{}-{}", id.0, id.1)
}

/// One command, or one transaction, that adds entries.
#[derive(Debug)]
struct Add {
    /// For each entry its key and its number among the writer's.
    entries: Vec<(usize, u64)>,
    /// Their IDs, if the reply arrived.
    ids: Option<Vec<Id>>,
}

/// What one writer did and saw.
#[derive(Debug, Default)]
struct Written {
    adds: Vec<Add>,
    next: u64,
    /// Deleted entries; true if the reply arrived.
    deleted: BTreeMap<At, bool>,
    /// The last entry of its own stream: sent, and acknowledged.
    own_sent: u64,
    own_done: u64,
}

/// What one consumer did and saw.
#[derive(Debug, Default)]
struct Consumed {
    /// Handed out as new.
    seen: Vec<At>,
    /// Acknowledged; true if the reply arrived.
    acked: BTreeMap<At, bool>,
}

/// All that is known since the last flush.
#[derive(Debug)]
struct History {
    writers: Vec<Written>,
    consumers: Vec<Consumed>,
}

impl History {
    fn new() -> Self {
        History {
            writers: (0..WRITERS).map(|_| Written::default()).collect(),
            consumers: (0..CONSUMERS).map(|_| Consumed::default()).collect(),
        }
    }
}

/// Writes until the connection breaks.
fn write(client: &mut Client, me: usize, written: &mut Written, rng: &mut Rng) -> Option<()> {
    let add = |written: &mut Written, rng: &mut Rng, count: usize| {
        let first = rng.below(KEYS.len());
        let entries = (0..count).map(|n| ((first + n) % KEYS.len(), written.next + n as u64));
        let add = Add { entries: entries.collect(), ids: None };
        written.next += count as u64;
        let command = |(key, number): &(usize, u64)| {
            request(&["XADD", KEYS[*key], "*", "t", &format!("{me}:{number}")])
        };
        let bytes: Vec<u8> = add.entries.iter().flat_map(command).collect();
        written.adds.push(add);
        bytes
    };
    loop {
        match rng.below(10) {
            0..7 => {
                let batch = if rng.chance(1, 2) { 1 } else { 1 + rng.below(16) };
                let first = written.adds.len();
                let bytes: Vec<u8> = (0..batch).flat_map(|_| add(written, rng, 1)).collect();
                client.try_send(&bytes)?;
                for n in first..first + batch {
                    let reply = client.try_value().ok()?;
                    written.adds[n].ids = Some(vec![id(&reply.text())]);
                }
            }
            7 => {
                let count = 2 + rng.below(2);
                let bytes = [request(&["MULTI"]), add(written, rng, count), request(&["EXEC"])];
                client.try_send(&bytes.concat())?;
                for _ in 0..=count {
                    client.try_value().ok()?;
                }
                let reply = client.try_value().ok()?;
                let ids = reply.array().iter().map(|reply| id(&reply.text())).collect();
                written.adds.last_mut().unwrap().ids = Some(ids);
            }
            8 => {
                let Some(add) = written.adds.len().checked_sub(1 + rng.below(8)) else { continue };
                let add = &written.adds[add];
                let Some(ids) = &add.ids else { continue };
                let place = (add.entries[0].0, ids[0]);
                written.deleted.insert(place, false);
                let reply = client.try_ask(&format!("XDEL {} {}", KEYS[place.0], show(place.1)))?;
                assert!(reply == ":1" || reply == ":0", "{reply}");
                written.deleted.insert(place, true);
            }
            _ => {
                written.own_sent += 1;
                let n = written.own_sent;
                let command = format!("XADD own:{me} MAXLEN = {OWN_LEN} {n}-1 n {n}");
                assert_eq!(client.try_ask(&command)?, format!("{n}-1"));
                written.own_done = n;
            }
        }
    }
}

/// Reads for the group until the connection breaks.
fn consume(client: &mut Client, me: usize, consumed: &mut Consumed, rng: &mut Rng) -> Option<()> {
    loop {
        let key = rng.below(KEYS.len());
        let name = KEYS[key];
        let count = 1 + rng.below(8);
        let what = rng.below(10);
        let reply = if what == 0 && me == CLAIMER {
            client.try_send(&request(&[
                "XAUTOCLAIM",
                name,
                "g",
                &format!("c{me}"),
                "0",
                "-",
                "COUNT",
                &count.to_string(),
            ]))?;
            Value::Array(client.try_value().ok()?.array()[1..2].to_vec())
        } else {
            let id = if what < 3 { "0" } else { ">" };
            client.try_tell(&format!(
                "XREADGROUP GROUP g c{me} COUNT {count} BLOCK 10 STREAMS {name} {id}"
            ))?;
            let streams = client.try_value().ok()?;
            if streams == Value::Nil {
                continue;
            }
            Value::Array(streams.array()[0].array()[1..].to_vec())
        };
        let ids: Vec<Id> =
            reply.array()[0].array().iter().map(|entry| id(&entry.array()[0].text())).collect();
        for &id in &ids {
            assert_ne!(consumed.acked.get(&(key, id)), Some(&true), "{name} {id:?} again");
        }
        if what >= 3 {
            consumed.seen.extend(ids.iter().map(|&id| (key, id)));
        }
        if !ids.is_empty() && rng.chance(7, 10) {
            for &id in &ids {
                consumed.acked.entry((key, id)).or_insert(false);
            }
            let ids_text: Vec<String> = ids.iter().map(|&id| show(id)).collect();
            client.try_ask(&format!("XACK {name} g {}", ids_text.join(" ")))?;
            consumed.acked.extend(ids.iter().map(|&id| ((key, id), true)));
        }
    }
}

/// The entries of a stream with the numbers that the writers gave them.
fn entries(client: &mut Client, key: &str) -> Vec<(Id, (usize, u64))> {
    let reply = client.call(&["XRANGE", key, "-", "+"]);
    let entry = |entry: &Value| {
        let token = entry.array()[1].array()[1].text();
        let (writer, number) = token.split_once(':').unwrap();
        (id(&entry.array()[0].text()), (writer.parse().unwrap(), number.parse().unwrap()))
    };
    reply.array().iter().map(entry).collect()
}

/// Checks the streams against what the writers know, and lets them know what became of commands
/// whose reply did not arrive. Returns the IDs of each stream.
fn check_written(client: &mut Client, writers: &mut [Written]) -> Vec<BTreeSet<Id>> {
    let mut places: HashMap<(usize, u64), At> = HashMap::new();
    let mut ids = Vec::new();
    for (key, name) in KEYS.iter().enumerate() {
        let found = entries(client, name);
        assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name} is out of order");
        let mut last = [None; WRITERS];
        for &(id, (writer, number)) in &found {
            assert!(last[writer] < Some(number), "{name}: {writer}:{number} is out of order");
            last[writer] = Some(number);
            let before = places.insert((writer, number), (key, id));
            assert_eq!(before, None, "{writer}:{number} is there twice");
        }
        ids.push(found.iter().map(|found| found.0).collect());
    }
    for (writer, written) in writers.iter_mut().enumerate() {
        check_writer(writer, written, &mut places);
        check_own(client, writer, written);
    }
    assert!(places.is_empty(), "nobody sent {places:?}");
    ids
}

fn check_writer(me: usize, written: &mut Written, places: &mut HashMap<(usize, u64), At>) {
    let mut lost = None;
    for add in &mut written.adds {
        let there = add.entries.iter().map(|entry| places.remove(&(me, entry.1)));
        let there: Vec<Option<At>> = there.collect();
        if let Some(ids) = &add.ids {
            assert_eq!(lost, None, "a reply arrived behind a command that was lost");
            for ((&(key, number), &id), there) in add.entries.iter().zip(ids).zip(there) {
                let at = (key, id);
                match (written.deleted.get(&at), there) {
                    (Some(false), None) => drop(written.deleted.insert(at, true)),
                    (Some(false), Some(_)) => drop(written.deleted.remove(&at)),
                    (Some(true), there) => assert_eq!(there, None, "{me}:{number} was deleted"),
                    (None, there) => assert_eq!(there, Some(at), "{me}:{number}"),
                }
            }
            continue;
        }
        let found: Vec<Id> = there.iter().flatten().map(|at| at.1).collect();
        if found.is_empty() {
            lost = lost.or(Some(add.entries[0].1));
            continue;
        }
        assert_eq!(found.len(), there.len(), "half of {add:?} is there");
        assert_eq!(lost, None, "{add:?} is there, and one before it is not");
        add.ids = Some(found);
    }
    written.adds.retain(|add| add.ids.is_some());
}

/// A writer's own stream has its last entries, and none that was not sent.
fn check_own(client: &mut Client, me: usize, written: &mut Written) {
    let own = client.call(&["XRANGE", &format!("own:{me}"), "-", "+"]);
    let own: Vec<u64> = own.array().iter().map(|entry| id(&entry.array()[0].text()).0).collect();
    let last = own.last().copied().unwrap_or(0);
    assert!(
        (written.own_done..=written.own_sent).contains(&last),
        "own:{me} ends with {last}, {} was sent, {} acknowledged",
        written.own_sent,
        written.own_done
    );
    let expected: Vec<u64> = (last.saturating_sub(OWN_LEN) + 1..=last).collect();
    assert_eq!(own, expected);
    (written.own_sent, written.own_done) = (last, last);
}

/// Checks the group of each stream against what the consumers know.
fn check_consumed(client: &mut Client, history: &History, ids: &[BTreeSet<Id>]) {
    let mut seen: HashMap<At, usize> = HashMap::new();
    for (consumer, consumed) in history.consumers.iter().enumerate() {
        for &place in &consumed.seen {
            let before = seen.insert(place, consumer);
            assert_eq!(before, None, "{place:?} was handed out twice, then to c{consumer}");
        }
    }
    let ack = |place: &At| {
        let acks = history.consumers.iter().filter_map(|consumed| consumed.acked.get(place));
        acks.copied().max()
    };
    let deleted =
        |place: &At| history.writers.iter().any(|written| written.deleted.contains_key(place));
    for (key, name) in KEYS.iter().enumerate() {
        let groups = client.call(&["XINFO", "GROUPS", name]);
        let last = id(&groups.array()[0].array()[7].text());
        let pending = client.call(&["XPENDING", name, "g", "-", "+", "1000000"]);
        let mut owners: BTreeMap<Id, String> = BTreeMap::new();
        for row in pending.array() {
            owners.insert(id(&row.array()[0].text()), row.array()[1].text());
        }
        for (&id, owner) in &owners {
            let place = (key, id);
            assert!(id <= last, "{place:?} is pending and was not handed out");
            assert_ne!(ack(&place), Some(true), "{place:?} is pending and was acknowledged");
            if let Some(consumer) = seen.get(&place) {
                let may_own = [format!("c{consumer}"), format!("c{CLAIMER}")];
                assert!(may_own.contains(owner), "{place:?} of c{consumer} is {owner}'s");
            }
        }
        // What was handed out is pending, unless somebody may have acknowledged it.
        let new = seen.keys().filter(|place| place.0 == key).map(|place| place.1);
        assert!(new.clone().all(|id| id <= last), "{name} forgot what it handed out");
        for id in ids[key].range(..=last).copied().chain(new) {
            let place = (key, id);
            if ack(&place).is_none() && !deleted(&place) {
                assert!(owners.contains_key(&id), "{place:?} was handed out and is not pending");
            }
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn run(policy: &str) {
    let kills = number("MILLSTREAM_KILLS", 150);
    let seed = number("MILLSTREAM_SEED", 1);
    let mut rng = Rng::new(seed);
    let place = Place::new();
    let mut history = History::new();
    for kill in 0..=kills {
        let shards = (1 + rng.below(4)).to_string();
        let server = place.start(&["--appendfsync", policy, "--shards", &shards]);
        let mut client = server.connect();
        if kill > 0 {
            let ids = check_written(&mut client, &mut history.writers);
            check_consumed(&mut client, &history, &ids);
            if ids.iter().map(BTreeSet::len).sum::<usize>() > ENTRIES_MAX {
                client.ask("FLUSHALL");
                history = History::new();
            }
        }
        for key in KEYS {
            let reply = client.ask(&format!("XGROUP CREATE {key} g 0 MKSTREAM"));
            assert!(reply == "+OK" || reply.starts_with("-BUSYGROUP"), "{reply}");
        }
        if rng.chance(1, 5) {
            // Some of them are killed, and the log that the next start reads stays short.
            client.ask(["SAVE", "BGSAVE", "BGREWRITEAOF"][rng.below(3)]);
        }
        let nap = Duration::from_millis(10 + rng.below(150) as u64);
        let mut seeds: Vec<Rng> =
            (0..WRITERS + CONSUMERS).map(|_| Rng::new(rng.next_u64())).collect();
        let mut clients: Vec<Client> = seeds.iter().map(|_| server.connect()).collect();
        std::thread::scope(|scope| {
            let mut hands = clients.drain(..).zip(seeds.drain(..));
            for (me, written) in history.writers.iter_mut().enumerate() {
                let (mut client, mut rng) = hands.next().unwrap();
                scope.spawn(move || write(&mut client, me, written, &mut rng));
            }
            for (me, consumed) in history.consumers.iter_mut().enumerate() {
                let (mut client, mut rng) = hands.next().unwrap();
                scope.spawn(move || consume(&mut client, me, consumed, &mut rng));
            }
            std::thread::sleep(nap);
            if rng.chance(1, 6) { drop(server.stop()) } else { drop(server.kill()) }
        });
    }
}

#[test]
fn d01_killed_under_load_with_appendfsync_always_no_acknowledged_change_is_lost() {
    run("always");
}

#[test]
fn d01_killed_under_load_with_appendfsync_everysec_no_acknowledged_change_is_lost() {
    run("everysec");
}
