//! Payloads that real servers answered, and payloads that break one rule each.

use super::*;
use crate::rdb::listpack::Element::{self, Bytes, Number};
use crate::rdb::listpack::Writer;
use crate::stream::image::{ConsumerImage, GroupImage, PendingImage, ProducersImage};
use crate::stream::{EntryId, UnixMs};

/// Type 15, version 9.
const BASE: &str = "\
    0f011000000000000003e800000000000000004049490000001b00030101010101816b0200010201000100018176\
    020401020100010701050104010001010100010101856f7468657206d00002060103010201000184676f6e650504\
    01ff0343ea0001016743e8070200000000000003e800000000000000000068e5cf8b0100000100000000000003e8\
    00000000000000070168e5cf8b010000030201610568e5cf8b0100000100000000000003e8000000000000000001\
    620668e5cf8b0100000100000000000003e800000000000000070900682922304022a0ae";
/// Type 19, version 10.
const COUNTERS: &str = "\
    13011000000000000003e800000000000000004049490000001b00030101010101816b0200010201000100018176\
    020401020100010701050104010001010100010101856f7468657206d00002060103010201000184676f6e650504\
    01ff0343ea0043e80043ea000401016743e807020200000000000003e800000000000000000068e5cf8b01000001\
    00000000000003e800000000000000070168e5cf8b010000030201610568e5cf8b0100000100000000000003e800\
    0000000000000001620668e5cf8b0100000100000000000003e800000000000000070a0072702157343dd71f";
/// Type 21, version 11.
const ACTIVE: &str = "\
    15011000000000000003e800000000000000004049490000001b00030101010101816b0200010201000100018176\
    020401020100010701050104010001010100010101856f7468657206d00002060103010201000184676f6e650504\
    01ff0343ea0043e80043ea000401016743e807020200000000000003e800000000000000000068e5cf8b01000001\
    00000000000003e800000000000000070168e5cf8b010000030201610568e5cf8b0100000268e5cf8b0100000100\
    000000000003e8000000000000000001620668e5cf8b010000ffffffffffffffff0100000000000003e800000000\
    000000070b006d8f2df14217096d";
/// Type 26, version 13; one producer `p1` with `i1` for 1000-0.
const PRODUCERS: &str = "\
    1a011000000000000003e800000000000000004049490000001b00030101010101816b0200010201000100018176\
    020401020100010701050104010001010100010101856f7468657206d00002060103010201000184676f6e650504\
    01ff0343ea0043e80043ea000401016743e807020200000000000003e800000000000000000068e5cf8b01000001\
    00000000000003e800000000000000070168e5cf8b010000030201610568e5cf8b0100000268e5cf8b0100000100\
    000000000003e8000000000000000001620668e5cf8b010000ffffffffffffffff0100000000000003e800000000\
    0000000740644064010270310102693143e80001000d0001229bd4c38b6a54";

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The bytes with a footer.
fn seal(mut bytes: Vec<u8>, version: u16) -> Vec<u8> {
    bytes.extend(version.to_le_bytes());
    let checksum = jones(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

fn id(ms: u64, seq: u64) -> EntryId {
    EntryId::new(ms, seq)
}

fn image_of(payload: &[u8]) -> Image {
    match restore(payload) {
        Ok(Object::Stream(image)) => image,
        other => panic!("not a stream: {other:?}"),
    }
}

/// What all vectors contain, but for what their type lacks.
fn content() -> Image {
    const TIME: u64 = 1_700_000_000_000;
    let consumer = |name: &[u8], seen, active: Option<u64>| ConsumerImage {
        name: name.into(),
        seen_at: UnixMs(TIME + seen),
        active_at: active.map(|after| UnixMs(TIME + after)),
    };
    let strings = |pair: [&str; 2]| pair.map(|text| text.as_bytes().into()).to_vec();
    let pending = |seq, owner, after, count| PendingImage {
        id: id(1000, seq),
        owner: Some(owner),
        delivered_at: UnixMs(TIME + after),
        count,
    };
    Image {
        entries: vec![
            (id(1000, 0), strings(["k", "v"])),
            (id(1000, 7), strings(["k", "5"])),
            (id(1001, 0), strings(["other", "-4096"])),
        ],
        last_id: id(1002, 0),
        max_deleted_id: id(1002, 0),
        entries_added: 4,
        groups: vec![GroupImage {
            name: b"g"[..].into(),
            last_delivered_id: id(1000, 7),
            entries_read: Some(2),
            consumers: vec![consumer(b"a", 5, Some(2)), consumer(b"b", 6, None)],
            pending: vec![pending(0, 0, 0, 1), pending(7, 1, 1, 3)],
            unowned: vec![],
        }],
        producers: ProducersImage::default(),
    }
}

#[test]
fn the_checksum_is_the_one_of_redis() {
    assert_eq!(jones(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    assert_eq!(jones(b""), 0);
}

#[test]
fn payloads_of_every_type_have_their_content() {
    let mut expected = content();
    assert_eq!(image_of(&unhex(ACTIVE)), expected);
    expected.producers.producers = vec![(b"p1"[..].into(), vec![(b"i1"[..].into(), id(1000, 0))])];
    expected.producers.iids_added = 1;
    assert_eq!(image_of(&unhex(PRODUCERS)), expected);
    expected.producers = ProducersImage::default();
    for consumer in &mut expected.groups[0].consumers {
        consumer.active_at = Some(consumer.seen_at);
    }
    assert_eq!(image_of(&unhex(COUNTERS)), expected);
    expected.max_deleted_id = EntryId::MIN;
    expected.entries_added = 3;
    expected.groups[0].entries_read = None;
    assert_eq!(image_of(&unhex(BASE)), expected);
}

#[test]
fn what_is_dumped_comes_back() {
    for vector in [BASE, COUNTERS, ACTIVE, PRODUCERS] {
        let object = restore(&unhex(vector)).unwrap();
        let payload = dump(&object).unwrap();
        assert_eq!(payload[0], if vector == PRODUCERS { 26 } else { 21 });
        assert_eq!(restore(&payload), Ok(object));
    }
    let mut image = content();
    image.groups[0].pending[0].owner = None;
    image.groups[0].unowned = vec![id(1000, 0)];
    image.groups[0].entries_read = None;
    let object = Object::Stream(image);
    let payload = dump(&object).unwrap();
    assert_eq!((payload[0], payload[payload.len() - 10]), (27, 14));
    assert_eq!(restore(&payload), Ok(object));
    let empty = Object::Stream(Image::default());
    assert_eq!(restore(&dump(&empty).unwrap()), Ok(empty));
}

#[test]
fn a_dump_is_byte_for_byte_that_of_redis() {
    // The entry that the vector has deleted is not written again; all else is the same.
    let mut draft = Draft::default();
    draft.nodes[0].1.truncate(DELETED_AT);
    draft.nodes[0].1[1] = Number(0);
    assert_eq!(dump(&Object::Stream(content())).unwrap(), draft.payload(21));
}

#[test]
fn nodes_are_packed_as_redis_packs_them() {
    let entry = |seq, value: usize| (id(7, seq), vec![b"f"[..].into(), vec![b'x'; value].into()]);
    let nodes_of = |entries: Vec<(EntryId, Vec<Box<[u8]>>)>| {
        let entries_added = entries.len() as u64;
        let last_id = entries.last().unwrap().0;
        let object = Object::Stream(Image { entries, last_id, entries_added, ..Image::default() });
        let payload = dump(&object).unwrap();
        assert_eq!(restore(&payload), Ok(object));
        payload[1]
    };
    assert_eq!(nodes_of((1..=100).map(|seq| entry(seq, 1)).collect()), 1);
    assert_eq!(nodes_of((1..=101).map(|seq| entry(seq, 1)).collect()), 2);
    assert_eq!(nodes_of((1..=201).map(|seq| entry(seq, 1)).collect()), 3);
    // The first node takes 27 bytes and its first value; the second entry counts 4 bytes.
    assert_eq!(nodes_of(vec![entry(1, 4000), entry(2, 3)]), 1);
    assert_eq!(nodes_of(vec![entry(1, 4000), entry(2, 200)]), 2);
    assert_eq!(nodes_of(vec![entry(1, 100_000), entry(2, 1), entry(3, 1)]), 2);
    // Sequence numbers that fall as milliseconds grow, and a difference beyond a signed number.
    let at = |ms, seq| (id(ms, seq), vec![b"f"[..].into(), b"1"[..].into()]);
    assert_eq!(nodes_of(vec![at(1, u64::MAX), at(2, 0), at(3, u64::MAX), at(3 << 40, 9)]), 1);
    assert_eq!(nodes_of(vec![at(0, 1), at(u64::MAX, u64::MAX)]), 2);
}

#[test]
fn strings_are_dumped_and_restored() {
    for text in [&b""[..], b"hello", b"5", b"-129", b"70000", b"0123", &[7; 20_000]] {
        let object = Object::Str(text.to_vec());
        let payload = dump(&object).unwrap();
        assert_eq!(payload[0], 0);
        assert_eq!(restore(&payload), Ok(object));
    }
    assert_eq!(dump(&Object::Str(b"5".to_vec())).unwrap()[..5], [0, 0xc0, 5, 11, 0]);
    let compressed = seal(b"\x00\xc3\x04\x08\x00a\xa0\x00".to_vec(), 80);
    assert_eq!(restore(&compressed), Ok(Object::Str(vec![b'a'; 8])));
}

#[test]
fn a_wrong_footer_is_refused() {
    let wrong = Err(CommandError::Fixed("ERR DUMP payload version or checksum are wrong"));
    let bytes = b"\x00\x01x".to_vec();
    for version in 0..200 {
        let payload = seal(bytes.clone(), version);
        if matches!(version, 1..=15 | 80) {
            assert_eq!(restore(&payload), Ok(Object::Str(b"x".to_vec())));
        } else {
            assert_eq!(restore(&payload), wrong);
        }
    }
    let payload = seal(bytes, 11);
    for cut in 0..payload.len() {
        assert_eq!(restore(&payload[..cut]), wrong);
    }
    for bit in 0..payload.len() * 8 {
        let mut damaged = payload.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(restore(&damaged), wrong);
    }
    let mut unchecked = payload;
    let end = unchecked.len();
    unchecked[end - 8..].fill(0);
    assert_eq!(restore(&unchecked), wrong);
}

#[test]
fn other_types_and_leftover_bytes_are_refused() {
    let bad = Err(CommandError::Fixed("ERR Bad data format"));
    assert_eq!(restore(&seal(vec![], 11)), bad);
    for kind in (1..=255).filter(|kind| Kind::from_byte(*kind).is_none()) {
        assert_eq!(restore(&seal(vec![kind, 1, b'x'], 11)), bad);
    }
    assert_eq!(restore(&seal(b"\x00\x01xy".to_vec(), 11)), bad);
    for vector in [BASE, COUNTERS, ACTIVE, PRODUCERS] {
        let mut bytes = unhex(vector);
        bytes.truncate(bytes.len() - 10);
        bytes.push(0);
        assert_eq!(restore(&seal(bytes, 11)), bad);
    }
}

#[test]
fn damage_behind_a_right_checksum_never_panics() {
    let unowned = Draft { unowned: vec![0], consumers: vec![], ..Draft::default() };
    let mut payloads: Vec<_> = [BASE, COUNTERS, ACTIVE, PRODUCERS].map(unhex).to_vec();
    payloads.push(unowned.payload(27));
    for payload in payloads {
        let bytes = &payload[..payload.len() - 10];
        for cut in 0..bytes.len() {
            assert!(body(&bytes[..cut]).is_err());
        }
        for at in 0..bytes.len() {
            for flip in 1..=255 {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= flip;
                if let Ok(object) = body(&damaged) {
                    if let Object::Stream(image) = &object {
                        assert_eq!(image.check(), Ok(()));
                    }
                    assert_eq!(restore(&dump(&object).unwrap()), Ok(object));
                }
            }
        }
    }
}

/// Where the last entry of the sample's node, the deleted one, begins; and its third and second.
const DELETED_AT: usize = 22;
const OTHER_AT: usize = 15;
const SECOND_AT: usize = 10;

/// The parts of a payload with the vectors' content, to break one of.
#[derive(Clone)]
struct Draft {
    nodes: Vec<(Vec<u8>, Vec<Element<'static>>)>,
    /// Changes the bytes of the first listpack.
    spoil: fn(&mut Vec<u8>),
    length: u64,
    ids: [EntryId; 3],
    added: u64,
    group_names: Vec<&'static [u8]>,
    read: u64,
    /// The sequence number, the time and the deliveries of pending entries 1000-n.
    pending: Vec<(u64, i64, u64)>,
    /// The name, both times, and the sequence numbers of pending entries.
    consumers: Vec<(&'static [u8], i64, i64, Vec<u64>)>,
    unowned: Vec<u64>,
    settings: [u64; 2],
    producers: Vec<(&'static [u8], Vec<&'static [u8]>)>,
}

impl Default for Draft {
    fn default() -> Self {
        let node = vec![
            // Counts, fields, end.
            Number(3),
            Number(1),
            Number(1),
            Bytes(b"k"),
            Number(0),
            Number(2),
            Number(0),
            Number(0),
            Bytes(b"v"),
            Number(4),
            Number(2),
            Number(0),
            Number(7),
            Number(5),
            Number(4),
            Number(0),
            Number(1),
            Number(0),
            Number(1),
            Bytes(b"other"),
            Number(-4096),
            Number(6),
            Number(3),
            Number(2),
            Number(0),
            Bytes(b"gone"),
            Number(4),
        ];
        let time = 1_700_000_000_000;
        Draft {
            nodes: vec![(id(1000, 0).to_key().to_vec(), node)],
            spoil: |_| {},
            length: 3,
            ids: [id(1002, 0), id(1000, 0), id(1002, 0)],
            added: 4,
            group_names: vec![b"g"],
            read: 2,
            pending: vec![(0, time, 1), (7, time + 1, 3)],
            consumers: vec![(b"a", time + 5, time + 2, vec![0]), (b"b", time + 6, -1, vec![7])],
            unowned: vec![],
            settings: [100, 100],
            producers: vec![(b"p1", vec![b"i1"])],
        }
    }
}

impl Draft {
    /// The payload of a type from 21 on.
    fn payload(&self, kind: u8) -> Vec<u8> {
        let kind = Kind::from_byte(kind).unwrap();
        let mut out = vec![kind.byte()];
        wire::put_len(&mut out, self.nodes.len() as u64);
        for (i, (key, elements)) in self.nodes.iter().enumerate() {
            let mut writer = Writer::new();
            for element in elements {
                match element {
                    Number(number) => writer.push_number(*number),
                    Bytes(bytes) => writer.push(bytes),
                }
            }
            let mut blob = writer.finish().unwrap();
            if i == 0 {
                (self.spoil)(&mut blob);
            }
            wire::put_string(&mut out, key);
            wire::put_string(&mut out, &blob);
        }
        wire::put_len(&mut out, self.length);
        self.ids.iter().for_each(|id| wire::put_id(&mut out, *id));
        wire::put_len(&mut out, self.added);
        wire::put_len(&mut out, self.group_names.len() as u64);
        for name in &self.group_names {
            self.put_group(kind, name, &mut out);
        }
        if kind >= Kind::Producers {
            self.put_producers(&mut out);
        }
        seal(out, kind.version())
    }

    fn put_group(&self, kind: Kind, name: &[u8], out: &mut Vec<u8>) {
        wire::put_string(out, name);
        wire::put_id(out, id(1000, 7));
        wire::put_len(out, self.read);
        wire::put_len(out, self.pending.len() as u64);
        for (seq, time, count) in &self.pending {
            out.extend(id(1000, *seq).to_key());
            out.extend(time.to_le_bytes());
            wire::put_len(out, *count);
        }
        wire::put_len(out, self.consumers.len() as u64);
        for (name, seen, active, owned) in &self.consumers {
            wire::put_string(out, name);
            out.extend(seen.to_le_bytes());
            out.extend(active.to_le_bytes());
            put_raw(out, owned);
        }
        if kind == Kind::Unowned {
            put_raw(out, &self.unowned);
        }
    }

    fn put_producers(&self, out: &mut Vec<u8>) {
        self.settings.iter().for_each(|setting| wire::put_len(out, *setting));
        wire::put_len(out, self.producers.len() as u64);
        for (pid, iids) in &self.producers {
            wire::put_string(out, pid);
            wire::put_len(out, iids.len() as u64);
            for iid in iids {
                wire::put_string(out, iid);
                wire::put_id(out, id(1000, 0));
            }
        }
        wire::put_len(out, 1);
        wire::put_len(out, 0);
    }
}

/// Appends a list of IDs 1000-n.
fn put_raw(out: &mut Vec<u8>, seqs: &[u64]) {
    wire::put_len(out, seqs.len() as u64);
    seqs.iter().for_each(|seq| out.extend(id(1000, *seq).to_key()));
}

/// The number of a rule, and a change of the sample that breaks it.
type Rule = (&'static str, fn(&mut Draft));

/// What a change of the sample makes of it.
fn changed(kind: u8, change: fn(&mut Draft)) -> Result<Object, CommandError> {
    let mut draft = Draft::default();
    change(&mut draft);
    restore(&draft.payload(kind))
}

#[test]
fn the_sample_is_the_vector() {
    assert_eq!(Draft::default().payload(21), unhex(ACTIVE));
    assert_eq!(Draft::default().payload(26), unhex(PRODUCERS));
}

#[test]
fn every_rule_about_nodes_refuses_what_breaks_it() {
    let rules: [Rule; 35] = [
        ("1: size", |d| d.spoil = |blob| blob[0] += 1),
        ("1: end", |d| d.spoil = |blob| *blob.last_mut().unwrap() = 0),
        ("1b: form", |d| d.spoil = |blob| blob[6] = 0xf5),
        ("1b: size behind", |d| d.spoil = |blob| blob[7] = 2),
        ("1b: beyond the end", |d| d.spoil = |blob| blob[6] = 0xbf),
        ("2", |d| d.spoil = |blob| blob[4] += 1),
        ("3: count", |d| d.nodes[0].1[0] = Number(-1)),
        ("3: count no number", |d| d.nodes[0].1[0] = Bytes(b"x")),
        ("3: deleted", |d| d.nodes[0].1[1] = Number(-1)),
        ("3: fields", |d| d.nodes[0].1[2] = Number(-1)),
        ("3: fields", |d| d.nodes[0].1[2] = Number(i64::MAX)),
        ("3: own fields", |d| d.nodes[0].1[OTHER_AT + 3] = Number(-1)),
        ("3: own fields", |d| d.nodes[0].1[OTHER_AT + 3] = Number(1 << 40)),
        ("4", |d| d.nodes[0].1[4] = Number(1)),
        ("4: no number", |d| d.nodes[0].1[4] = Bytes(b"x")),
        ("5: flags", |d| d.nodes[0].1[5] = Number(6)),
        ("5: flags no number", |d| d.nodes[0].1[5] = Bytes(b"x")),
        ("5: ms no number", |d| d.nodes[0].1[6] = Bytes(b"x")),
        ("5: seq no number", |d| d.nodes[0].1[7] = Bytes(b"x")),
        ("5: elements no number", |d| d.nodes[0].1[9] = Bytes(b"x")),
        ("6: same fields", |d| d.nodes[0].1[9] = Number(5)),
        ("6: own fields", |d| d.nodes[0].1[OTHER_AT + 6] = Number(7)),
        ("7", |d| d.nodes[0].1.push(Number(2))),
        ("8: split", |d| d.nodes[0].1[..2].copy_from_slice(&[Number(2), Number(2)])),
        ("8: too few", |d| d.nodes[0].1[1] = Number(2)),
        ("8: all deleted, yet counted", |d| d.nodes[0].1[5] = Number(3)),
        ("10", |d| d.length = 4),
        ("11: entries and no length", |d| d.length = 0),
        ("11: length and no nodes", |d| d.nodes.clear()),
        ("12: key of 15 bytes", |d| d.nodes[0].0.truncate(15)),
        ("12: twice the same key", |d| {
            d.nodes.push(d.nodes[0].clone());
            d.length = 6;
        }),
        ("12: descending keys", |d| {
            d.nodes.push((id(999, 0).to_key().to_vec(), d.nodes[0].1.clone()));
            d.length = 6;
        }),
        ("13: not above the one before", |d| d.nodes[0].1[SECOND_AT + 2] = Number(0)),
        ("13: below the key", |d| d.nodes[0].1[6] = Number(-1)),
        ("13: not below the next key", |d| {
            d.nodes.push((id(1001, 0).to_key().to_vec(), d.nodes[0].1.clone()));
            d.length = 6;
            d.ids[0] = id(2000, 0);
        }),
    ];
    for (rule, change) in rules {
        let refusal = Err(CommandError::Fixed("ERR Bad data format"));
        assert_eq!(changed(21, change), refusal, "rule {rule}");
    }
    // Wrap-around past the greatest number.
    let mut draft = Draft::default();
    draft.nodes[0].0 = id(u64::MAX, 0).to_key().to_vec();
    draft.ids[0] = EntryId::MAX;
    assert!(restore(&draft.payload(21)).is_err());
}

#[test]
fn every_rule_about_counters_and_groups_refuses_what_breaks_it() {
    let rules: [Rule; 24] = [
        ("14: below a live entry", |d| d.ids = [id(1000, 9), id(1000, 0), EntryId::MIN]),
        ("14: below a deleted entry", |d| d.ids = [id(1001, 9), id(1000, 0), EntryId::MIN]),
        ("14: below the greatest deleted", |d| d.ids[2] = id(1002, 1)),
        ("16: too few added", |d| (d.added, d.read) = (2, 2)),
        ("16: too many added", |d| d.added = 1 << 63),
        ("17", |d| d.read = 5),
        ("17", |d| d.read = u64::MAX - 1),
        ("18: group names", |d| d.group_names.push(b"g")),
        ("18: consumer names", |d| d.consumers[1].0 = b"a"),
        ("19: group", |d| d.pending.push((7, 0, 1))),
        ("19: consumer", |d| d.consumers[0].3.push(0)),
        ("19: not in the group", |d| d.consumers[0].3.push(3)),
        ("20", |d| d.consumers[0].3.push(7)),
        ("21: no owner", |d| d.consumers[0].3.clear()),
        ("21: owner and unowned", |d| d.unowned.push(0)),
        ("21: unowned twice", |d| {
            d.consumers[0].3.clear();
            d.unowned = vec![0, 0];
        }),
        ("21: unowned, not pending", |d| d.unowned.push(3)),
        ("22", |d| d.pending[0].2 = 1 << 63),
        ("23: duration", |d| d.settings[0] = 0),
        ("23: size", |d| d.settings[1] = 10_001),
        ("24: producer IDs", |d| d.producers.push((b"p1", vec![]))),
        ("24: too many", |d| {
            d.settings[1] = 1;
            d.producers[0].1.push(b"i2");
        }),
        ("24: empty producer ID", |d| d.producers[0].0 = b""),
        ("24: empty idempotent ID", |d| d.producers[0].1[0] = b""),
    ];
    assert!(changed(27, |_| {}).is_ok());
    for (rule, change) in rules {
        let refusal = Err(CommandError::Fixed("ERR Bad data format"));
        assert_eq!(changed(27, change), refusal, "rule {rule}");
    }
}

#[test]
fn what_is_unusual_and_harmless_is_taken() {
    let image = |kind, change| match changed(kind, change) {
        Ok(Object::Stream(image)) => image,
        other => panic!("not a stream: {other:?}"),
    };
    // 2: the number of elements may be left open.
    assert_eq!(image(21, |d| d.spoil = |blob| blob[4..6].fill(0xff)), content());
    // 9: a node without live entries, and one without any, are dropped.
    let bare = image(21, |d| {
        d.nodes[0].1.splice(..2, [Number(0), Number(4)]);
        for (at, flags) in [(5, 3), (SECOND_AT, 3), (OTHER_AT, 1)] {
            d.nodes[0].1[at] = Number(flags);
        }
        let master = [0, 0, 0, 0].map(Number).to_vec();
        d.nodes.push((id(1002, 0).next().unwrap().to_key().to_vec(), master));
        d.ids[0] = id(1003, 0);
        d.length = 0;
    });
    assert_eq!((bare.entries.len(), bare.last_id), (0, id(1003, 0)));
    // 15: the first ID is not believed.
    assert_eq!(image(21, |d| d.ids[1] = id(5, 5)), content());
    // 17: -1 is "unknown".
    assert_eq!(image(21, |d| d.read = u64::MAX).groups[0].entries_read, None);
    // 19: the order of pending entries does not matter.
    assert_eq!(image(21, |d| d.pending.swap(0, 1)), content());
    // 22: negative times are 0.
    let group = image(21, |d| {
        d.pending[0].1 = -5;
        d.consumers[0].1 = i64::MIN;
        d.consumers[0].2 = -2;
    });
    assert_eq!(group.groups[0].pending[0].delivered_at, UnixMs(0));
    assert_eq!(group.groups[0].consumers[0].seen_at, UnixMs(0));
    assert_eq!(group.groups[0].consumers[0].active_at, Some(UnixMs(0)));
    // 24: an idempotent ID that appears again is skipped.
    let twice = image(26, |d| d.producers[0].1.push(b"i1"));
    assert_eq!(twice.producers.producers[0].1.len(), 1);
    // 28: pending entries that do not exist, beyond what was delivered.
    assert_eq!(
        image(21, |d| {
            d.pending.push((99, 0, 1));
            d.consumers[1].3.push(99);
        })
        .groups[0]
            .pending
            .len(),
        3
    );
}

#[test]
fn counts_and_sizes_are_checked_before_anything_is_made() {
    // 26: 2^40 nodes, groups, pending entries, consumers; a string of 3 GiB in a few bytes.
    let mut at = vec![vec![21]];
    at.push([&[21][..], &[0; 8], &[0]].concat());
    at.push([&[21][..], &[0; 8], &[1, 0, 0, 0, 0]].concat());
    at.push([&[21][..], &[0; 8], &[1, 0, 0, 0, 0, 0]].concat());
    for mut bytes in at {
        wire::put_len(&mut bytes, 1 << 40);
        bytes.extend([0; 64]);
        assert!(restore(&seal(bytes, 11)).is_err());
    }
    let claim = b"\x00\xc3\x04\x80\xc0\x00\x00\x00\x00a\xa0\x00".to_vec();
    assert!(restore(&seal(claim, 11)).is_err());
    // Field names that a node holds once, and thousands of entries repeat.
    let mut writer = Writer::new();
    for number in [50_000, 0, 1] {
        writer.push_number(number);
    }
    writer.push(&[b'n'; 100_000]);
    writer.push_number(0);
    for seq in 0..50_000 {
        [2, 0, seq, 1, 4].into_iter().for_each(|number| writer.push_number(number));
    }
    let mut bytes = vec![21, 1];
    wire::put_string(&mut bytes, &id(1, 0).to_key());
    wire::put_string(&mut bytes, &writer.finish().unwrap());
    wire::put_len(&mut bytes, 50_000);
    assert!(body(&bytes).is_err_and(|error| error.0 == "the value expands too much"));
}
