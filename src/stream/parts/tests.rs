//! Random streams through their parts and back, and damaged parts.

use super::*;
use crate::stream::{BlockLimits, Effect, Fields, Ids};
use crate::testing::Rng;

/// A stream that has everything, by random effects; those that do not fit are left out.
fn stream(seed: u64, steps: usize) -> Stream {
    let mut rng = Rng::new(seed);
    let mut stream = Stream::new([100, 7][rng.below(2)], 3);
    let limits = BlockLimits { bytes: 256, entries: 1 + rng.below(9) };
    let names: [&[u8]; 3] = [b"a", b"bb", b"c"];
    for n in 0..steps {
        let any = EntryId::new(1 + rng.below(n + 1) as u64, 0);
        let (group, consumer) = (names[rng.below(2)], names[rng.below(3)]);
        let at = UnixMs(rng.below(1000) as u64);
        let id = stream.last_id().next().unwrap().max(EntryId::new(n as u64 + 1, 0));
        let after = stream.group(group).map(Group::last_delivered_id).unwrap_or_default();
        let last = stream.entries().range(after.next().unwrap(), EntryId::MAX).next();
        let last = last.map_or(any, |entry| entry.id);
        let value = rng.bytes(n % 20);
        let fields: [&[u8]; 2] = [names[rng.below(3)], &value];
        let pending = stream.group(group).is_some_and(|group| group.pel().get(any).is_some());
        let ids = [any];
        let effect = match rng.below(16) {
            0 => Effect::GroupCreate { group, last_delivered_id: any, entries_read: None },
            1 => Effect::ConsumerCreate { group, consumer, at },
            2 => Effect::Delete { id: any },
            3 if pending => Effect::Nack { group, id: any, count: i64::MAX.cast_unsigned() },
            4 => Effect::Claim { group, consumer, id: any, at, count: rng.below(300) as u64 },
            5 => Effect::Ack { group, ids: Ids::List(&ids) },
            6 => Effect::ProducerAdd { pid: consumer, iid: &n.to_le_bytes()[..1], id: any },
            7..=9 => Effect::Deliver {
                group,
                consumer,
                last,
                count: 1,
                at,
                pending: true,
                entries_read: None,
                ids: None,
            },
            10 => Effect::SetId {
                last_id: stream.last_id(),
                entries_added: SIGNED_MAX - rng.below(3) as u64,
                max_deleted_id: stream.max_deleted_id(),
            },
            _ => Effect::Add { id, fields: Fields::Slices(&fields) },
        };
        let before = stream.clone();
        if stream.apply(&effect, limits, &mut Vec::new()).is_err() {
            stream = before;
        }
    }
    stream.check();
    stream
}

fn encode(stream: &Stream) -> Vec<u8> {
    let mut out = Vec::new();
    stream.encode_parts(&mut out, |_| Ok::<(), ()>(())).unwrap();
    out
}

fn decode(bytes: &[u8]) -> Result<Stream, Corrupt> {
    let (mut cursor, mut builder) = (Cursor::new(bytes), StreamBuilder::default());
    loop {
        if let Some(stream) = builder.part(&mut cursor)? {
            cursor.end()?;
            return Ok(stream);
        }
    }
}

#[test]
fn whatever_a_stream_holds_comes_back() {
    for seed in 0..40 {
        let stream = stream(seed, 400);
        let bytes = encode(&stream);
        let back = decode(&bytes).unwrap();
        back.check();
        assert_eq!(back.to_image(), stream.to_image());
        assert_eq!(encode(&back), bytes, "seed {seed}");
    }
    let empty = decode(&encode(&Stream::default())).unwrap();
    assert!(empty.producers().is_none());
}

#[test]
fn damaged_parts_are_refused_or_make_a_sound_stream() {
    let bytes = encode(&stream(3, 120));
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut refused = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            match decode(&damaged) {
                Ok(stream) => stream.check(),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > bytes.len());
}
