//! Any lines as commands on keys: no panic, the keyspace stays sound, a refused command has
//! written nothing to the log, the keys that a command touches are those the table tells, and the
//! log, replayed, gives the same keyspace.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::codec::Corrupt;
use millstream::command::table::{self, Scope};
use millstream::command::{self, Out, OwnedRequest, Protocol, Ran};
use millstream::config::NotifyFlags;
use millstream::keyspace::txn::Rules;
use millstream::keyspace::{Change, DATABASES, Keyspace, LogBuffer, SLOTS, Spaces, Txn, Value};
use millstream::stream::{BlockLimits, Image, UnixMs};
use std::hash::RandomState;

/// Everything a keyspace holds.
type Content = Vec<(u8, Box<[u8]>, Option<UnixMs>, Result<Image, Box<[u8]>>)>;

fn content(space: &Keyspace) -> Content {
    let mut all = Vec::new();
    for db in 0..DATABASES {
        for (_, slot) in space.database(db).slots_from(0) {
            let value = match &slot.value {
                Value::Stream(stream) => Ok(stream.to_image()),
                Value::String(string) => Err(string[..].into()),
            };
            all.push((db, slot.key.clone(), slot.expire_at(), value));
        }
    }
    all.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    all
}

fuzz_target!(|data: &[u8]| {
    let [flags, lines @ ..] = data else { return };
    let blocks = BlockLimits { entries: 1 + usize::from(flags >> 5), ..BlockLimits::default() };
    let rules = Rules {
        blocks,
        idmp_maxsize: 1 + u64::from(flags >> 6),
        notify: NotifyFlags::parse(b"AKEn").expect("these are letters of it"),
        valkey: flags & 1 != 0,
        ..Rules::default()
    };
    let protocol = if flags & 2 == 0 { Protocol::Resp2 } else { Protocol::Resp3 };
    let mut space = Keyspace::new(0..SLOTS, RandomState::new());
    space.set_limits(blocks);
    let (mut log, mut events, mut frames) = (LogBuffer::new(0, true), Vec::new(), Vec::new());
    let mut now = UnixMs(1000);
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let request = OwnedRequest::new(line.split(|&byte| byte == b' '));
        let request = request.request();
        now.0 += u64::from(line[0] & 7);
        let Ok(row) = table::lookup(&request) else { continue };
        if row.scope != Scope::Key {
            continue;
        }
        if let Ok(keys) = table::keys(row, &request) {
            assert!(keys.clone().all(|key| key > 0 && key < request.len()));
        }
        let mut buffer = Vec::new();
        let mut out = Out::new(&mut buffer, protocol);
        let expired = space.expired_keys;
        let ran = {
            let mut list = [&mut space];
            let spaces = Spaces::new(&mut list);
            let mut txn = Txn::new(spaces, &mut log, &mut events, &rules, now);
            command::run(row.name, &request, &mut txn, &mut out)
        };
        match ran {
            Ok(Ran::Replied) => assert!(!buffer.is_empty()),
            Ok(Ran::WouldBlock(_)) => assert!(buffer.is_empty()),
            Err(_) => assert!(log.is_empty() || space.expired_keys > expired),
        }
        space.check();
        frames.push(log.payload());
        log.clear();
        events.clear();
    }
    let mut replayed = Keyspace::new(0..SLOTS, RandomState::new());
    replayed.set_limits(blocks);
    for frame in &frames {
        let mut list = [&mut replayed];
        let mut spaces = Spaces::new(&mut list);
        let read: Result<(), Corrupt> =
            Change::decode_all(frame, &mut |change| spaces.apply(&change));
        read.expect("what was written can be read");
    }
    replayed.check();
    assert_eq!(content(&replayed), content(&space));
});
