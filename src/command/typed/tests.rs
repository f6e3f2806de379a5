//! Every typed command against the real ones, and what comes back.

use super::*;
use crate::command::testing::{World, world};
use crate::command::{Entry, Protocol, Reply};
use crate::error::CommandError;
use crate::stream::UnixMs;
use std::time::{Duration, SystemTime};

fn run<C: Call>(world: &mut World, call: &C) -> Result<C::Output, CommandError> {
    world.protocol = Protocol::Resp3;
    let mut requests = Requests::new();
    call.write(&mut requests);
    requests.end();
    let request = requests.get(0);
    let reply = world.run_args(request.from(0));
    let mut reader = Reader::new(reply.into_bytes().into());
    match reader.take_error() {
        Some(error) => Err(error),
        None => {
            let output = C::read(&mut reader).unwrap();
            assert!(reader.is_at_end());
            Ok(output)
        }
    }
}

fn id(ms: u64) -> EntryId {
    EntryId::new(ms, 0)
}

fn entry(ms: u64) -> Entry {
    Entry { id: id(ms), fields: vec![("f".into(), "v".into())] }
}

fn add(world: &mut World, ms: u64) {
    let fields = vec![("f".into(), "v".into())];
    let add = XAdd { key: "s".into(), id: NewId::Given(id(ms)), fields, ..XAdd::default() };
    assert_eq!(run(world, &add), Ok(Some(id(ms))));
}

/// Entries 1 to 4; group g has delivered 1 and 2 to c at the time 1000.
fn sample() -> World {
    let mut world = world();
    (1..=4).for_each(|ms| add(&mut world, ms));
    let (key, group) = (Bytes::from("s"), Bytes::from("g"));
    run(&mut world, &XGroupCreate { key, group, ..XGroupCreate::default() }).unwrap();
    let found = run(&mut world, &read_group("c", Some(2), None)).unwrap();
    let delivered = |ms| Delivered { entry: entry(ms), before: None };
    assert_eq!(found, [("s".into(), vec![delivered(1), delivered(2)])]);
    world
}

fn read_group(consumer: &'static str, count: Option<u64>, claim: Option<Duration>) -> XReadGroup {
    let (group, consumer) = ("g".into(), consumer.into());
    let streams = vec![("s".into(), None)];
    XReadGroup { group, consumer, streams, count, claim, ..XReadGroup::default() }
}

#[test]
fn entries_are_added_read_and_removed() {
    let mut world = world();
    let key = Bytes::from("s");
    let none = XAdd { key: key.clone(), create: false, fields: entry(1).fields, ..XAdd::default() };
    assert_eq!(run(&mut world, &none), Ok(None));
    (1..=5).for_each(|ms| add(&mut world, ms));
    let late = XAdd { key: key.clone(), id: NewId::Given(id(5)), fields: entry(1).fields, ..none };
    assert_eq!(run(&mut world, &late), Err(CommandError::IdTooSmall));
    let pid = Bytes::from("p");
    let idempotent = Some(Idempotent::Id { pid: pid.clone(), iid: "i".into() });
    let trim = Some(Trim::MaxLen(3));
    let first = EntryId::new(1000, 0);
    let once = XAdd { id: NewId::Auto, idempotent, trim, create: true, ..late };
    assert_eq!(run(&mut world, &once), Ok(Some(first)));
    let again = XAdd { idempotent: Some(Idempotent::Auto { pid: pid.clone() }), ..once.clone() };
    assert_eq!(run(&mut world, &again), Ok(Some(EntryId::new(1000, 1))));
    assert_eq!(run(&mut world, &once), Ok(Some(first)));
    let next = XAdd { id: NewId::NextIn(1000), idempotent: None, trim: None, ..again };
    assert_eq!(run(&mut world, &next), Ok(Some(EntryId::new(1000, 2))));
    assert_eq!(run(&mut world, &XLen { key: key.clone() }), Ok(4));
    let record = XIdmpRecord { key: key.clone(), pid, iid: "i2".into(), id: id(1000) };
    assert_eq!(run(&mut world, &record), Ok(()));
    let set = XCfgSet { key: key.clone(), duration_s: Some(5), max_size: Some(7) };
    assert_eq!(run(&mut world, &set), Ok(()));
    let range = XRange { key: key.clone(), count: Some(1), ..XRange::default() };
    assert_eq!(run(&mut world, &range), Ok(vec![entry(5)]));
    let range = XRevRange { key: key.clone(), end: id(5), ..XRevRange::default() };
    assert_eq!(run(&mut world, &range), Ok(vec![entry(5)]));
    let (streams, count) = (vec![(key.clone(), Start::After(id(5)))], Some(1));
    let found = run(&mut world, &XRead { streams, count, block: None });
    assert_eq!(found, Ok(vec![(key.clone(), vec![entry(1000)])]));
    let streams = vec![(key.clone(), Start::New)];
    assert_eq!(run(&mut world, &XRead { streams, count, block: None }), Ok(vec![]));
    assert_eq!(run(&mut world, &XDel { key: key.clone(), ids: vec![id(5), id(9)] }), Ok(1));
    let delete =
        XDelEx { key: key.clone(), references: References::Acked, ids: vec![id(5), id(1000)] };
    assert_eq!(run(&mut world, &delete), Ok(vec![Deleted::Missing, Deleted::Gone]));
    let trim = XTrim {
        key: key.clone(),
        trim: Trim::AboutMinId(id(9999)),
        limit: Some(0),
        references: References::Delete,
    };
    assert_eq!(run(&mut world, &trim), Ok(2));
    let set = XSetId {
        key: key.clone(),
        last_id: id(5000),
        entries_added: Some(60),
        max_deleted_id: Some(id(4000)),
    };
    assert_eq!(run(&mut world, &set), Ok(()));
    let info = run(&mut world, &XInfoStream { key }).unwrap();
    assert_eq!(info.get("entries-added"), Some(&Reply::Integer(60)));
}

#[test]
fn groups_deliver_and_take_back() {
    let mut world = sample();
    let (key, group) = (Bytes::from("s"), Bytes::from("g"));
    let ids = vec![id(2), id(3)];
    let nack = XNack { key: key.clone(), group: group.clone(), ids, ..XNack::default() };
    assert_eq!(run(&mut world, &nack), Ok(1));
    let pending = XPendingEntries {
        key: key.clone(),
        group: group.clone(),
        ids: (EntryId::MIN, EntryId::MAX),
        count: 9,
        min_idle: Some(Duration::ZERO),
        consumer: None,
    };
    let list = run(&mut world, &pending).unwrap();
    let shown: Vec<_> = list.iter().map(|one| (one.id, one.idle, one.deliveries)).collect();
    assert_eq!(shown, [(id(1), Some(Duration::ZERO), 1), (id(2), None, 1)]);
    assert_eq!((list[0].consumer.as_deref(), list[1].consumer.as_deref()), (Some(&b"c"[..]), None));

    world.now = UnixMs(1500);
    let again = run(&mut world, &read_group("d", Some(2), Some(Duration::from_secs(9)))).unwrap();
    let before: Vec<_> = again[0].1.iter().map(|one| (one.entry.id, one.before)).collect();
    let (idle, zero) = (Duration::from_millis(1500), Duration::ZERO);
    assert_eq!(before[1], (id(3), Some((zero, 0))));
    assert_eq!((before[0].0, before[0].1.map(|(_, count)| count)), (id(2), Some(1)), "{idle:?}");
    let summary = run(&mut world, &XPending { key: key.clone(), group: group.clone() }).unwrap();
    let consumers = vec![("c".into(), 1), ("d".into(), 2)];
    let ids = Some((id(1), id(3)));
    assert_eq!(summary, PendingSummary { count: 3, ids, consumers });

    let claim = XClaim {
        key: key.clone(),
        group: group.clone(),
        consumer: "e".into(),
        ids: vec![id(2)],
        ..XClaim::default()
    };
    assert_eq!(run(&mut world, &claim), Ok(vec![entry(2)]));
    assert_eq!(run(&mut world, &XClaim { just_id: true, ..claim }), Ok(vec![]));
    let claim = XAutoClaim {
        key: key.clone(),
        group: group.clone(),
        consumer: "e".into(),
        min_idle: Duration::from_millis(500),
        ..XAutoClaim::default()
    };
    let claimed = run(&mut world, &claim).unwrap();
    assert_eq!((claimed.next, claimed.entries), (EntryId::MIN, vec![entry(1)]));
    let ids = vec![id(1), id(4)];
    let ack = XAck { key: key.clone(), group: group.clone(), ids };
    assert_eq!(run(&mut world, &ack), Ok(1));
    let (references, ids) = (References::Acked, vec![id(1), id(2)]);
    let ack = XAckDel { key: key.clone(), group: group.clone(), references, ids };
    assert_eq!(run(&mut world, &ack), Ok(vec![Deleted::Missing, Deleted::Gone]));
    let infos = run(&mut world, &XInfoGroups { key: key.clone() }).unwrap();
    assert_eq!((infos[0].pending, infos[0].last_delivered_id, infos[0].lag), (1, id(3), Some(1)));
    let infos = XInfoConsumers { key: key.clone(), group: group.clone() };
    let infos = run(&mut world, &infos).unwrap();
    assert_eq!((infos[1].pending, infos[1].inactive), (1, Some(Duration::ZERO)));
}

#[test]
fn groups_are_managed() {
    let mut world = sample();
    let (key, group) = (Bytes::from("s"), Bytes::from("g"));
    let create = XGroupCreate { key: key.clone(), group: group.clone(), ..Default::default() };
    assert_eq!(run(&mut world, &create), Err(CommandError::BusyGroup));
    let other = XGroupCreate {
        key: "t".into(),
        start: Start::New,
        create: true,
        entries_read: Some(0),
        ..create
    };
    assert_eq!(run(&mut world, &other), Ok(()));
    let consumer = Bytes::from("x");
    let create =
        XGroupCreateConsumer { key: key.clone(), group: group.clone(), consumer: consumer.clone() };
    assert_eq!(run(&mut world, &create), Ok(true));
    assert_eq!(run(&mut world, &create), Ok(false));
    let delete = XGroupDelConsumer { key: key.clone(), group: group.clone(), consumer: "c".into() };
    assert_eq!(run(&mut world, &delete), Ok(2));
    let start = Start::at(SystemTime::UNIX_EPOCH + Duration::from_millis(2));
    let set = XGroupSetId { key: key.clone(), group: group.clone(), start, entries_read: Some(1) };
    assert_eq!(run(&mut world, &set), Ok(()));
    let found = run(&mut world, &XReadGroup { no_ack: true, ..read_group("x", None, None) });
    assert_eq!(found.unwrap()[0].1[0].entry, entry(2));
    let history = XReadGroup {
        streams: vec![(key.clone(), Some(EntryId::MIN))],
        ..read_group("x", None, None)
    };
    assert_eq!(run(&mut world, &history), Ok(vec![(key.clone(), vec![])]));
    let destroy = XGroupDestroy { key, group };
    assert_eq!(run(&mut world, &destroy), Ok(true));
    assert_eq!(run(&mut world, &destroy), Ok(false));
    let text = run(&mut world, &read_group("x", None, None)).unwrap_err();
    assert!(matches!(text, CommandError::NoGroup(_)), "{text}");
}
