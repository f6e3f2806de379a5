//! Weighted random commands over few keys, groups, consumers and IDs, so that they meet; some are
//! malformed, some have numbers at the edges of their types.

use crate::model::{Bytes, Held, Id, Model, Value};
use millstream::keyspace::{SLOTS, slot_of};
use millstream::testing::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// The keys: of each four shards at least one.
pub(crate) const KEYS: [&str; 6] = ["s", "t", "u", "v", "w", "x"];
/// How many databases are used.
pub(crate) const DATABASES: u8 = 3;
/// Stands for DUMP of one key, and RESTORE of what it gave as another.
pub(crate) const RESTORE_DUMP_OF: &[u8] = b"RESTORE-DUMP-OF";
const GROUPS: [&str; 3] = ["g", "h", ""];
const CONSUMERS: [&str; 4] = ["c", "d", "e", ""];
const EDGES: [&str; 12] = [
    "0",
    "-1",
    "1",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "x",
    "",
    "01",
];

/// A command for a database: the first word names it if it is not 0.
pub(crate) fn in_db(db: u8, mut words: Vec<Bytes>) -> Vec<Bytes> {
    if db > 0 {
        words.insert(0, format!("@{db}").into());
    }
    words
}

/// The database that a command is for, and the command.
pub(crate) fn split_db(words: &[Bytes]) -> (u8, &[Bytes]) {
    match words[0].as_slice() {
        [b'@', db] => (*db - b'0', &words[1..]),
        _ => (0, words),
    }
}

/// Which of `shards` a key belongs to.
pub(crate) fn shard_of(key: &[u8], shards: u16) -> usize {
    (0..shards).position(|n| slots(n, shards).contains(&slot_of(key))).unwrap()
}

/// The hash slots of a shard.
pub(crate) fn slots(n: u16, shards: u16) -> std::ops::Range<u16> {
    let first = |n: u16| if n == shards { SLOTS } else { n * (SLOTS / shards) };
    first(n)..first(n + 1)
}

/// Shards in hand, of so many.
#[derive(Debug, Clone)]
pub(crate) struct Hand {
    pub(crate) shards: BTreeSet<usize>,
    pub(crate) of: u16,
}

impl Hand {
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.shards.contains(&shard_of(key, self.of))
    }
}

/// Makes commands.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) rng: Rng,
    /// Whether readers may block.
    pub(crate) blocks: bool,
    /// One in so many words is replaced by an edge or nonsense; 0 is none.
    pub(crate) malformed: usize,
}

/// Words as they are built.
struct Words<'a> {
    words: Vec<Bytes>,
    load: &'a mut Workload,
    keys: &'a BTreeMap<Bytes, Held>,
    now: u64,
    key: &'static str,
}

impl Workload {
    /// A command that fits the state of the model.
    pub(crate) fn command(&mut self, model: &Model) -> Vec<Bytes> {
        let key = KEYS[self.rng.below(KEYS.len())];
        let pick = self.rng.below(100);
        let db = if self.rng.chance(3, 4) { 0 } else { u8::try_from(self.rng.below(3)).unwrap() };
        let none = BTreeMap::new();
        let keys = model.keys_of(db).unwrap_or(&none);
        let mut words = Words { words: Vec::new(), load: self, keys, now: model.now, key };
        match pick {
            0..=24 => words.xadd(),
            25..=41 => words.xreadgroup(),
            42..=46 => words.xread(),
            47..=52 => words.xgroup(),
            53..=57 => words.acknowledge(),
            58..=60 => words.xnack(),
            61..=64 => words.xclaim(),
            65..=67 => words.xautoclaim(),
            68..=71 => words.xpending(),
            72..=77 => words.delete(),
            78..=80 => words.xtrim(),
            81..=84 => words.range(),
            85..=89 => words.inspect(),
            90..=91 => words.settings(),
            _ => words.any_type(),
        }
        let mut words = words.words;
        let at = self.rng.below(words.len().max(2) - 1) + 1;
        // The model knows no refusals of these.
        let whole = [&b"MOVE"[..], b"SWAPDB", b"DB", b"FLUSHDB", RESTORE_DUMP_OF];
        if words.iter().any(|word| whole.contains(&word.as_slice())) {
            return in_db(db, words);
        }
        if self.malformed > 0 && self.rng.chance(1, self.malformed) && at < words.len() {
            match self.rng.below(3) {
                0 => drop(words.remove(at)),
                1 => words.insert(at, EDGES[self.rng.below(EDGES.len())].into()),
                _ => words[at] = EDGES[self.rng.below(EDGES.len())].into(),
            }
        }
        in_db(db, words)
    }
}

impl Words<'_> {
    fn add(&mut self, words: &str) -> &mut Self {
        self.words.extend(words.split(' ').map(|word| word.as_bytes().to_vec()));
        self
    }

    fn word(&mut self, word: impl Into<Bytes>) -> &mut Self {
        self.words.push(word.into());
        self
    }

    fn key(&mut self) -> &mut Self {
        self.word(self.key)
    }

    fn other_key(&mut self) -> &mut Self {
        let key = KEYS[self.below(KEYS.len())];
        self.word(key)
    }

    fn below(&mut self, n: usize) -> usize {
        self.load.rng.below(n)
    }

    fn chance(&mut self, numerator: usize, denominator: usize) -> bool {
        self.load.rng.chance(numerator, denominator)
    }

    fn one_of(&mut self, all: &[&'static str]) -> &'static str {
        all[self.load.rng.below(all.len())]
    }

    /// A group: mostly one that the stream has.
    fn group(&mut self) -> &mut Self {
        let mut group: Bytes = self.one_of(&GROUPS).into();
        if let Some(Value::Stream(stream)) = self.keys.get(self.key.as_bytes()).map(|h| &h.value)
            && !stream.groups.is_empty()
            && self.load.rng.chance(5, 6)
        {
            let n = self.load.rng.below(stream.groups.len());
            group = stream.groups.keys().nth(n).unwrap().clone();
        }
        self.word(group)
    }

    fn consumer(&mut self) -> &mut Self {
        let consumer = self.one_of(&CONSUMERS);
        self.word(consumer)
    }

    fn number(&mut self, most: usize) -> &mut Self {
        let n = self.below(most + 1);
        self.word(n.to_string())
    }

    /// An ID: mostly one that the stream has, or that is pending, or near them.
    fn some_id(&mut self) -> Id {
        let mut known: Vec<Id> = Vec::new();
        if let Some(Value::Stream(stream)) = self.keys.get(self.key.as_bytes()).map(|h| &h.value) {
            known.extend(stream.entries.keys());
            stream.groups.values().for_each(|group| known.extend(group.pel.keys()));
            known.extend([stream.last, stream.max_deleted]);
        }
        if self.chance(1, 400) {
            return (u64::MAX, u64::MAX - self.below(3) as u64);
        }
        let id = match known.len() {
            0 => (self.now, 0),
            n => known[self.below(n)],
        };
        match self.below(8) {
            0 => (id.0.saturating_sub(1), id.1),
            1 => (id.0.saturating_add(1), id.1),
            2 => (id.0, id.1.saturating_add(1)),
            3 => (self.now.saturating_sub(self.below(4) as u64), self.below(3) as u64),
            _ => id,
        }
    }

    fn id(&mut self) -> &mut Self {
        let (ms, seq) = self.some_id();
        let word = match self.below(16) {
            0 => format!("{ms}"),
            _ => format!("{ms}-{seq}"),
        };
        self.word(word)
    }

    fn ids(&mut self) -> &mut Self {
        for _ in 0..=self.below(3) {
            self.id();
        }
        self
    }

    fn id_block(&mut self) -> &mut Self {
        let n = self.below(3) + 1;
        self.add("IDS").word(n.to_string());
        for _ in 0..n {
            self.id();
        }
        self
    }

    fn maybe(&mut self, numerator: usize, denominator: usize, words: &str) -> &mut Self {
        if self.chance(numerator, denominator) {
            self.add(words);
        }
        self
    }

    fn maybe_refs(&mut self) -> &mut Self {
        if self.chance(1, 3) {
            let refs = self.one_of(&["KEEPREF", "DELREF", "ACKED", "acked"]);
            self.add(refs);
        }
        self
    }

    fn maybe_count(&mut self, word: &'static str) -> &mut Self {
        if self.chance(1, 2) {
            self.add(word).number(4);
        }
        self
    }

    fn trim_clause(&mut self) -> &mut Self {
        let by_id = self.chance(1, 3);
        self.add(if by_id { "MINID" } else { "MAXLEN" });
        let sign = self.one_of(&["", "=", "~", "~"]);
        if !sign.is_empty() {
            self.add(sign);
        }
        if by_id {
            self.id();
        } else {
            self.number(12);
        }
        if sign == "~" && self.chance(1, 2) {
            self.add("LIMIT").number(9);
        }
        self
    }

    fn fields(&mut self) -> &mut Self {
        for _ in 0..=self.below(3) {
            let field = self.one_of(&["f", "field", ""]);
            self.word(field);
            let len = match self.below(2000) {
                0 => 20_000,
                1..=60 => 300,
                _ => self.below(4),
            };
            let mut value = self.load.rng.bytes(len);
            if self.chance(3, 4) {
                value.iter_mut().for_each(|byte| *byte = b'a' + *byte % 4);
            }
            self.word(value);
        }
        self
    }

    fn xadd(&mut self) {
        self.add("XADD").key().maybe(1, 12, "NOMKSTREAM").maybe_refs();
        if self.chance(1, 6) {
            self.trim_clause();
        }
        if self.chance(1, 10) {
            let idmp = self.one_of(&["IDMP p 1", "IDMP p 2", "IDMP q 1", "IDMPAUTO p"]);
            self.add(idmp).add("*");
        } else {
            match self.below(10) {
                0..=4 => self.add("*"),
                5..=6 => {
                    let ms = self.some_id().0;
                    self.word(format!("{ms}-*"))
                }
                _ => self.id(),
            };
        }
        self.fields();
    }

    fn read_options(&mut self, count: &'static str) -> &mut Self {
        self.maybe_count(count);
        if self.chance(1, 8) {
            self.add("MAXCOUNT").number(5);
        }
        if self.chance(1, 8) {
            self.add("MAXSIZE").number(120);
        }
        if self.load.blocks && self.chance(1, 2) {
            self.add("BLOCK").number(40);
        }
        self
    }

    fn xread(&mut self) {
        self.add("XREAD").read_options("COUNT").add("STREAMS");
        let n = self.below(3) + 1;
        self.key();
        for _ in 1..n {
            self.other_key();
        }
        for _ in 0..n {
            match self.below(6) {
                0..=2 => self.add("$"),
                3 => self.add("+"),
                4 => self.add("0"),
                _ => self.id(),
            };
        }
    }

    fn xreadgroup(&mut self) {
        self.add("XREADGROUP GROUP").group();
        let group = self.words[2].clone();
        self.consumer().read_options("COUNT").maybe(1, 8, "NOACK");
        if self.chance(1, 4) {
            self.add("CLAIM").number(30);
        }
        let n = if self.chance(1, 2) { self.below(3) + 1 } else { 1 };
        self.add("STREAMS").key();
        for _ in 1..n {
            self.key_with(&group);
        }
        for _ in 0..n {
            match self.below(8) {
                0 => self.add("0"),
                1 => self.id(),
                _ => self.add(">"),
            };
        }
    }

    /// A key: mostly one whose stream has the group.
    fn key_with(&mut self, group: &[u8]) -> &mut Self {
        let with = KEYS.iter().filter(|key| match self.keys.get(key.as_bytes()) {
            Some(Held { value: Value::Stream(stream), .. }) => stream.groups.contains_key(group),
            _ => false,
        });
        let with: Vec<&str> = with.copied().collect();
        if with.is_empty() || self.chance(1, 10) {
            return self.other_key();
        }
        let key = with[self.below(with.len())];
        self.word(key)
    }

    fn xgroup(&mut self) {
        match self.below(10) {
            0..=4 => {
                let (key, group) = (self.key, self.one_of(&["g", "g", "g", "h", ""]));
                self.add("XGROUP CREATE").word(key).word(group);
                self.group_id().maybe(1, 2, "MKSTREAM").entries_read();
            }
            5 => {
                self.add("XGROUP SETID").key().group().group_id().entries_read();
            }
            6 => {
                self.add("XGROUP DESTROY").key().group();
            }
            7..=8 => {
                self.add("XGROUP CREATECONSUMER").key().group().consumer();
            }
            _ => {
                self.add("XGROUP DELCONSUMER").key().group().consumer();
            }
        }
    }

    fn group_id(&mut self) -> &mut Self {
        match self.below(4) {
            0 => self.add("$"),
            1 => self.id(),
            _ => self.add("0"),
        }
    }

    fn entries_read(&mut self) -> &mut Self {
        if self.chance(1, 4) {
            self.add("ENTRIESREAD").number(9);
        }
        self
    }

    fn acknowledge(&mut self) {
        if self.chance(1, 3) {
            self.add("XACKDEL").key().group().maybe_refs().id_block();
        } else {
            self.add("XACK").key().group().ids();
        }
    }

    fn xnack(&mut self) {
        let mode = self.one_of(&["SILENT", "FAIL", "fatal"]);
        self.add("XNACK").key().group().add(mode).id_block();
        self.maybe(1, 4, "RETRYCOUNT 7").maybe(1, 3, "FORCE");
    }

    fn xclaim(&mut self) {
        self.add("XCLAIM").key().group().consumer().number(20).ids();
        if self.chance(1, 5) {
            self.add("IDLE").number(50);
        }
        self.maybe(1, 8, "TIME 3").maybe(1, 6, "RETRYCOUNT 5").maybe(1, 4, "FORCE");
        self.maybe(1, 4, "JUSTID");
        if self.chance(1, 8) {
            self.add("LASTID").id();
        }
    }

    fn xautoclaim(&mut self) {
        self.add("XAUTOCLAIM").key().group().consumer().number(20);
        match self.below(3) {
            0 => self.add("-"),
            1 => self.add("0"),
            _ => self.id(),
        };
        if self.chance(1, 2) {
            let n = self.below(4) + 1;
            self.add("COUNT").word(n.to_string());
        }
        self.maybe(1, 3, "JUSTID");
    }

    fn xpending(&mut self) {
        self.add("XPENDING").key().group();
        if self.chance(2, 3) {
            if self.chance(1, 3) {
                self.add("IDLE").number(20);
            }
            self.bound("-").bound("+").number(9);
            if self.chance(1, 3) {
                self.consumer();
            }
        }
    }

    fn bound(&mut self, open: &'static str) -> &mut Self {
        match self.below(4) {
            0 => self.id(),
            1 => {
                let (ms, seq) = self.some_id();
                self.word(format!("({ms}-{seq}"))
            }
            _ => self.add(open),
        }
    }

    fn delete(&mut self) {
        match self.below(8) {
            0..=3 => {
                self.add("XDEL").key().ids();
            }
            4..=6 => {
                self.add("XDELEX").key().maybe_refs().id_block();
            }
            _ => {
                self.add("XSETID").key().id();
                if self.chance(1, 2) {
                    self.add("ENTRIESADDED").number(20);
                }
                if self.chance(1, 3) {
                    self.add("MAXDELETEDID").id();
                }
            }
        }
    }

    fn xtrim(&mut self) {
        self.add("XTRIM").key();
        self.trim_clause().maybe_refs();
    }

    fn range(&mut self) {
        match self.below(3) {
            0 => {
                self.add("XLEN").key();
            }
            1 => {
                self.add("XRANGE").key().bound("-").bound("+").maybe_count("COUNT");
            }
            _ => {
                self.add("XREVRANGE").key().bound("+").bound("-").maybe_count("COUNT");
            }
        }
    }

    fn inspect(&mut self) {
        match self.below(4) {
            0 => {
                self.add("XINFO STREAM").key();
            }
            1 => {
                self.add("XINFO STREAM").key().add("FULL").maybe_count("COUNT");
            }
            2 => {
                self.add("XINFO GROUPS").key();
            }
            _ => {
                self.add("XINFO CONSUMERS").key().group();
            }
        }
    }

    fn settings(&mut self) {
        match self.below(4) {
            0 => {
                self.add("XCFGSET").key().add("IDMP-DURATION 1");
            }
            1 => {
                self.add("XCFGSET").key().add("IDMP-MAXSIZE").number(3);
            }
            2 => {
                self.add("XCFGSET").key().add("IDMP-DURATION 100 IDMP-MAXSIZE 2");
            }
            _ => {
                self.add("XIDMPRECORD").key().add("p 3").id();
            }
        }
    }

    fn any_type(&mut self) {
        match self.below(20) {
            16 => {
                self.add("MOVE").key().number(2);
            }
            17 => {
                self.add("COPY").key().other_key().add("DB").number(2).maybe(1, 2, "REPLACE");
            }
            18 => {
                self.add("RESTORE-DUMP-OF").key().other_key();
            }
            19 if self.chance(1, 4) => {
                self.add("SWAPDB").number(2).number(2);
            }
            19 => {
                self.add("RESTORE-DUMP-OF").key().key();
            }
            0 => {
                self.add("DEL").key().other_key();
            }
            1 => {
                self.add("DEL").key();
            }
            2 => {
                self.add("EXISTS").key().other_key();
            }
            3 => {
                self.add("TYPE").key();
            }
            4..=5 => {
                self.add("RENAME").key().other_key();
            }
            6..=7 => {
                self.add("COPY").key().other_key().maybe(1, 2, "REPLACE");
            }
            8..=9 => {
                self.add("PEXPIRE").key().number(60);
            }
            10 => {
                self.add("PTTL").key();
            }
            11 => {
                self.add("PERSIST").key();
            }
            12 => {
                self.add("SET").key().number(9).maybe(1, 3, "PX 20");
            }
            13 => {
                self.add("GET").key();
            }
            14 => {
                self.add("INCR").key();
            }
            _ if self.chance(1, 8) => {
                let flush = self.one_of(&["FLUSHALL", "FLUSHDB"]);
                self.add(flush);
            }
            _ => {
                self.add("PTTL").key();
            }
        }
    }
}
