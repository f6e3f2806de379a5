//! Payloads of RESTORE, built element by element so that each rule can be broken alone: a stream
//! as Redis 7.2 writes it (type 21), with a footer whose checksum fits.

/// An element of a listpack.
#[derive(Debug, Clone)]
pub(crate) enum Element {
    Integer(i64),
    Text(&'static str),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

use Element::{Integer, Raw, Text};

impl Element {
    fn put(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        match self {
            Integer(small @ 0..=127) => out.push(u8::try_from(*small).unwrap()),
            Integer(large) => {
                out.push(0xf4);
                out.extend(large.to_le_bytes());
            }
            Text(text) => {
                out.push(0x80 | u8::try_from(text.len()).unwrap());
                out.extend(text.as_bytes());
            }
            Raw(bytes) => return out.extend(bytes),
        }
        out.push(u8::try_from(out.len() - begin).unwrap());
    }
}

/// A node: its key and its listpack.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) key: Vec<u8>,
    pub(crate) elements: Vec<Element>,
    /// What the header of the listpack says instead of the truth.
    pub(crate) total: Option<u32>,
    pub(crate) count: Option<u16>,
    pub(crate) end: u8,
}

/// An ID as 16 bytes.
pub(crate) fn raw_id(ms: u64, seq: u64) -> Vec<u8> {
    [ms.to_be_bytes(), seq.to_be_bytes()].concat()
}

impl Node {
    /// A node of the entries `ms-1`, `ms-2` … with one field, which is the master's.
    pub(crate) fn new(ms: u64, entries: i64) -> Node {
        let mut elements = vec![Integer(entries), Integer(0), Integer(1), Text("f"), Integer(0)];
        for seq in 0..entries {
            elements.extend([Integer(2), Integer(0), Integer(seq), Text("v"), Integer(4)]);
        }
        Node { key: raw_id(ms, 1), elements, total: None, count: None, end: 0xff }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        self.elements.iter().for_each(|element| element.put(&mut body));
        let total = u32::try_from(body.len() + 7).unwrap();
        let mut listpack = self.total.unwrap_or(total).to_le_bytes().to_vec();
        let count = u16::try_from(self.elements.len()).unwrap();
        listpack.extend(self.count.unwrap_or(count).to_le_bytes());
        listpack.extend(body);
        listpack.push(self.end);
        put_bytes(out, &self.key);
        put_bytes(out, &listpack);
    }
}

/// A group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) last: [u64; 2],
    pub(crate) read: u64,
    /// IDs and how often each was delivered.
    pub(crate) pending: Vec<([u64; 2], u64)>,
    /// Names, and the IDs that are pending for each.
    pub(crate) consumers: Vec<(&'static str, Vec<[u64; 2]>)>,
    /// What is said of the number of pending entries instead of the truth.
    pub(crate) pending_count: Option<u64>,
}

/// A stream.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    pub(crate) nodes: Vec<Node>,
    pub(crate) node_count: Option<u64>,
    /// Length, last ID, first ID, greatest deleted ID, entries added.
    pub(crate) numbers: [u64; 8],
    pub(crate) groups: Vec<Group>,
    pub(crate) behind: Vec<u8>,
}

impl Payload {
    /// A sound one: entries `1-1 1-2 1-3 5-1 5-2`, a group with two consumers.
    pub(crate) fn sound() -> Payload {
        let pending = vec![([1, 1], 1), ([1, 2], 2), ([1, 3], 1)];
        let consumers = vec![("c", vec![[1, 1], [1, 2]]), ("d", vec![[1, 3]])];
        let group =
            Group { name: "g", last: [1, 3], read: 3, pending, consumers, pending_count: None };
        Payload {
            nodes: vec![Node::new(1, 3), Node::new(5, 2)],
            node_count: None,
            numbers: [5, 5, 2, 1, 1, 0, 0, 5],
            groups: vec![group],
            behind: Vec::new(),
        }
    }

    /// The bytes, with a footer that fits.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![21];
        put_number(&mut out, self.node_count.unwrap_or(self.nodes.len() as u64));
        self.nodes.iter().for_each(|node| node.put(&mut out));
        self.numbers.iter().for_each(|&number| put_number(&mut out, number));
        put_number(&mut out, self.groups.len() as u64);
        for group in &self.groups {
            put_bytes(&mut out, group.name.as_bytes());
            group.last.iter().for_each(|&number| put_number(&mut out, number));
            put_number(&mut out, group.read);
            put_number(&mut out, group.pending_count.unwrap_or(group.pending.len() as u64));
            for &([ms, seq], deliveries) in &group.pending {
                out.extend(raw_id(ms, seq));
                out.extend(1_700_000_000_000_u64.to_le_bytes());
                put_number(&mut out, deliveries);
            }
            put_number(&mut out, group.consumers.len() as u64);
            for (name, ids) in &group.consumers {
                put_bytes(&mut out, name.as_bytes());
                out.extend(1_700_000_000_000_u64.to_le_bytes());
                out.extend(1_700_000_000_000_u64.to_le_bytes());
                put_number(&mut out, ids.len() as u64);
                ids.iter().for_each(|&[ms, seq]| out.extend(raw_id(ms, seq)));
            }
        }
        out.extend(&self.behind);
        with_footer(out)
    }
}

/// Appends the version and the checksum.
pub(crate) fn with_footer(mut out: Vec<u8>) -> Vec<u8> {
    out.extend(11_u16.to_le_bytes());
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &out);
    out.extend(checksum.to_le_bytes());
    out
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.push(0x81);
    out.extend(number.to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend(bytes);
}

/// A rule and a payload that breaks it.
type Broken = (String, Vec<u8>);

fn broken(all: &mut Vec<Broken>, rule: &str, change: impl FnOnce(&mut Payload)) {
    let mut payload = Payload::sound();
    change(&mut payload);
    all.push((rule.to_owned(), payload.bytes()));
}

/// A payload for each way to break each rule.
pub(crate) fn malformed() -> Vec<Broken> {
    let mut all = Vec::new();
    nodes(&mut all);
    numbers(&mut all);
    groups(&mut all);
    all
}

fn nodes(all: &mut Vec<Broken>) {
    broken(all, "the listpack's length", |p| p.nodes[0].total = Some(9));
    broken(all, "the listpack's length, huge", |p| p.nodes[0].total = Some(u32::MAX));
    broken(all, "the listpack's end", |p| p.nodes[0].end = 0);
    for (what, count) in [("few", 3), ("many", 400)] {
        broken(all, &format!("the number of elements, too {what}"), |p| {
            p.nodes[0].count = Some(count);
        });
    }
    // Elements of the header: count, deleted, number of fields, field, terminator.
    for at in [0, 1, 2, 4] {
        for wrong in [Integer(-1), Integer(i64::MAX), Integer(i64::MIN), Integer(77), Text("x")] {
            broken(all, &format!("header element {at} is {wrong:?}"), |p| {
                p.nodes[0].elements[at] = wrong;
            });
        }
    }
    // Elements of the second entry: flags, two differences, value, count of elements.
    for (at, what) in [(10, "flags"), (11, "ms"), (12, "seq"), (14, "back count")] {
        broken(all, &format!("{what} are text"), |p| p.nodes[0].elements[at] = Text("x"));
    }
    for flags in [1, 3, 4, -1, 1 << 40] {
        broken(all, &format!("flags are {flags}"), |p| {
            p.nodes[0].elements[10] = Integer(flags);
        });
    }
    for count in [0, 3, 5, -1, i64::MAX] {
        broken(all, &format!("the back count is {count}"), |p| {
            p.nodes[0].elements[14] = Integer(count);
        });
    }
    for seq in [0, -1, i64::MIN] {
        broken(all, &format!("an ID that does not rise: {seq}"), |p| {
            p.nodes[0].elements[12] = Integer(seq);
        });
    }
    broken(all, "elements behind the last entry", |p| p.nodes[0].elements.push(Integer(1)));
    broken(all, "an entry cut short", |p| p.nodes[0].elements.truncate(13));
    broken(all, "no elements", |p| p.nodes[0].elements.clear());
    for bytes in [vec![0xf5], vec![0xf0, 255, 255, 255, 255], vec![0xf4, 1], vec![0x81, b'a', 9]] {
        broken(all, &format!("an element of the bytes {bytes:?}"), |p| {
            p.nodes[0].elements[3] = Raw(bytes);
        });
    }
    broken(all, "an ID beyond the next node", |p| p.nodes[0].elements[11] = Integer(9));
    broken(all, "an ID that wraps", |p| p.nodes[1].key = raw_id(u64::MAX, u64::MAX));
    broken(all, "a short key of a node", |p| p.nodes[0].key.truncate(15));
    broken(all, "the same key twice", |p| p.nodes[1].key = p.nodes[0].key.clone());
    broken(all, "nodes out of order", |p| p.nodes.swap(0, 1));
}

fn numbers(all: &mut Vec<Broken>) {
    broken(all, "no nodes and a length", |p| p.nodes.clear());
    broken(all, "more nodes than there are", |p| p.node_count = Some(3));
    broken(all, "2^40 nodes", |p| p.node_count = Some(1 << 40));
    for length in [0, 4, 6, u64::MAX] {
        broken(all, &format!("a length of {length}"), |p| p.numbers[0] = length);
    }
    broken(all, "a last ID too small", |p| p.numbers[1] = 4);
    broken(all, "a deleted ID above the last", |p| p.numbers[5] = 6);
    for added in [4, u64::MAX, 1 << 63] {
        broken(all, &format!("{added} entries added"), |p| p.numbers[7] = added);
    }
    broken(all, "bytes behind the value", |p| p.behind.push(0));
}

fn groups(all: &mut Vec<Broken>) {
    broken(all, "a group twice", |p| p.groups.push(p.groups[0].clone()));
    broken(all, "a consumer twice", |p| p.groups[0].consumers[1].0 = "c");
    broken(all, "a pending ID twice", |p| p.groups[0].pending[1].0 = [1, 1]);
    broken(all, "a consumer's ID twice", |p| p.groups[0].consumers[0].1[1] = [1, 1]);
    broken(all, "a consumer's ID that is not pending", |p| {
        p.groups[0].consumers[0].1.push([5, 1]);
    });
    broken(all, "an ID of two consumers", |p| p.groups[0].consumers[1].1.push([1, 1]));
    broken(all, "a pending ID of nobody", |p| p.groups[0].consumers[1].1.clear());
    broken(all, "no consumers", |p| p.groups[0].consumers.clear());
    for read in [6, 1 << 63, u64::MAX - 1] {
        broken(all, &format!("{read} entries read"), |p| p.groups[0].read = read);
    }
    broken(all, "deliveries beyond an integer", |p| p.groups[0].pending[0].1 = 1 << 63);
    for count in [2, 4, 1 << 40] {
        broken(all, &format!("a count of {count} pending"), |p| {
            p.groups[0].pending_count = Some(count);
        });
    }
}
