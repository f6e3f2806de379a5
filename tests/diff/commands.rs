//! What is sent: a table of patterns, and the commands that a seed makes of them.
//!
//! In a pattern `{x}` stands for a word (or words) that [`Maker::place`] makes, `[ … ]` for what
//! may be left out and `( … | … )` for one of several. Nothing in it depends on the clock: IDs are
//! given, times to live are far away or over.

use millstream::testing::Rng;

/// Words of a command.
pub(crate) type Words = Vec<Vec<u8>>;

/// A Redis version as `major * 100 + minor`.
pub(crate) type Version = u32;

/// How often, since which version, what.
pub(crate) type Pattern = (usize, Version, &'static str);

const STREAMS: &[Pattern] = &[
    (40, 0, "XADD {key} [ NOMKSTREAM ] [ {trim} ] {new} {pairs}"),
    (6, 0, "XADD {key} {id} {pairs}"),
    (3, 802, "XADD {key} (KEEPREF|DELREF|ACKED) (MAXLEN|MINID) (=|~) {n} {new} {pairs}"),
    (3, 806, "XADD {key} IDMP {name} {n} {new} {pairs}"),
    (5, 0, "XLEN {any}"),
    (6, 0, "XRANGE {key} {bound} {bound} [ COUNT {n} ]"),
    (6, 0, "XREVRANGE {key} {bound} {bound} [ COUNT {n} ]"),
    (8, 0, "XREAD [ COUNT {n} ] [ BLOCK 1 ] STREAMS {key} ({id}|0|$)"),
    (4, 0, "XREAD [ COUNT {n} ] STREAMS {key} {key} {id} 0"),
    (2, 704, "XREAD STREAMS {key} {key} + {id}"),
    (1, 702, "XREAD BLOCK {edge} STREAMS"),
    (1, 702, "XREAD BLOCK (9223372036854775807|9223372036854775808) STREAMS {key} 0"),
    (1, 0, "XREAD BLOCK (-1|x|1.5) STREAMS {key} 0"),
    (10, 0, "XGROUP CREATE {key} {group} ({id}|0|$) [ MKSTREAM ]"),
    (2, 806, "XGROUP CREATE {key} {group} ({id}|0|$) ENTRIESREAD {n}"),
    (3, 0, "XGROUP SETID {key} {group} ({id}|0|$)"),
    (1, 806, "XGROUP SETID {key} {group} ({id}|0|$) ENTRIESREAD {n}"),
    (2, 0, "XGROUP DESTROY {key} {group}"),
    (4, 0, "XGROUP CREATECONSUMER {key} {group} {consumer}"),
    (3, 0, "XGROUP DELCONSUMER {key} {group} {consumer}"),
    (24, 0, "XREADGROUP GROUP {group} {consumer} [ COUNT {n} ] [ NOACK ] STREAMS {key} >"),
    (5, 0, "XREADGROUP GROUP {group} {consumer} [ COUNT {n} ] STREAMS {key} ({id}|0)"),
    (4, 0, "XREADGROUP GROUP {group} {consumer} BLOCK 1 STREAMS {key} {key} > (>|0)"),
    (3, 804, "XREADGROUP GROUP {group} {consumer} CLAIM {idle} [ COUNT {n} ] STREAMS {key} >"),
    (10, 0, "XACK {key} {group} {ids}"),
    (4, 802, "XACKDEL {key} {group} [ (KEEPREF|DELREF|ACKED) ] {idblock}"),
    (6, 0, "XPENDING {key} {group}"),
    (8, 0, "XPENDING {key} {group} [ IDLE {idle} ] {bound} {bound} {n} [ {consumer} ]"),
    (8, 0, "XCLAIM {key} {group} {consumer} {idle} {ids} [ FORCE ] [ JUSTID ]"),
    (
        4,
        0,
        "XCLAIM {key} {group} {consumer} 0 {id} [ (IDLE 5|TIME 7) ] [ RETRYCOUNT {n} ] \
            [ LASTID {id} ] [ FORCE ]",
    ),
    (7, 0, "XAUTOCLAIM {key} {group} {consumer} {idle} ({id}|0|-) [ COUNT {n} ] [ JUSTID ]"),
    (7, 0, "XDEL {key} {ids}"),
    (5, 802, "XDELEX {key} [ (KEEPREF|DELREF|ACKED) ] {idblock}"),
    (5, 0, "XTRIM {key} {trim}"),
    (2, 802, "XTRIM {key} {trim} (KEEPREF|DELREF|ACKED)"),
    (3, 702, "XSETID {key} {id} [ ENTRIESADDED {n} MAXDELETEDID {id} ]"),
    (2, 806, "XCFGSET {key} (IDMP-DURATION {n}|IDMP-MAXSIZE {n}|IDMP-MAXSIZE {n} IDMP-DURATION 9)"),
    (6, 0, "XINFO STREAM {any} [ FULL [ COUNT {n} ] ]"),
    (4, 0, "XINFO GROUPS {any}"),
    (4, 0, "XINFO CONSUMERS {key} {group}"),
    (1, 0, "XINFO {edge} {key}"),
    (1, 0, "XGROUP {edge} {key}"),
];

/// What nobody sends on purpose: options in another order, twice, or where they do not belong;
/// numbers and IDs in other spellings and at the borders; too many arguments.
const ODD: &[Pattern] = &[
    (
        3,
        806,
        "XADD {key} [ LIMIT {odd} ] [ {refs} ] [ {trim} ] [ NOMKSTREAM ] [ IDMP {name} {n} ] \
            [ {trim} ] [ {refs} ] [ LIMIT {odd} ] [ IDMPAUTO {name} ] [ NOMKSTREAM ] \
            ({new}|{new}|{oddid}) [ {value} ] {pairs}",
    ),
    (1, 806, "XADD {key} (IDMP|IDMPAUTO|MAXLEN|LIMIT|MINID|ACKED|NOMKSTREAM) {edge} {new} {pairs}"),
    (
        2,
        802,
        "XTRIM {key} [ LIMIT {odd} ] [ {refs} ] (MAXLEN [ (=|~) ] {odd}|MINID [ (=|~) ] {oddid}) \
            [ LIMIT {odd} ] [ {refs} ] [ {edge} ]",
    ),
    (2, 0, "(XRANGE|XREVRANGE) {key} {oddid} {oddid} [ COUNT {odd} ] [ COUNT {odd} ] [ {edge} ]"),
    (
        2,
        704,
        "XREAD [ COUNT {odd} ] [ BLOCK 1 ] [ COUNT {odd} ] STREAMS {any} {any} {oddid} {oddid}",
    ),
    (1, 804, "XREAD [ (NOACK|CLAIM 0|GROUP g c) ] [ COUNT {odd} ] [ STREAMS ] {key} {oddid}"),
    (
        3,
        804,
        "XREADGROUP [ COUNT {odd} ] [ NOACK ] [ CLAIM {wait} ] [ GROUP {group} {consumer} ] \
            [ BLOCK 1 ] GROUP {group} {consumer} [ NOACK ] [ CLAIM {wait} ] [ COUNT {odd} ] \
            STREAMS {any} {any} (>|{oddid}) (>|{oddid})",
    ),
    (2, 0, "XPENDING {any} {group} [ IDLE {odd} ] {oddid} {oddid} {odd} [ {consumer} ] [ {edge} ]"),
    (
        3,
        0,
        "XCLAIM {key} {group} {consumer} {odd} {oddid} [ {id} ] [ JUSTID ] [ IDLE {odd} ] \
            [ RETRYCOUNT {odd} ] [ FORCE ] [ TIME {odd} ] [ LASTID {oddid} ] [ RETRYCOUNT {odd} ] \
            [ FORCE ] [ JUSTID ] [ {edge} ]",
    ),
    (
        2,
        0,
        "XAUTOCLAIM {key} {group} {consumer} {odd} {oddid} [ COUNT {odd} ] [ JUSTID ] \
            [ COUNT {odd} ] [ {edge} ]",
    ),
    (
        3,
        806,
        "XGROUP (CREATE|SETID) {any} {group} {oddid} [ MKSTREAM ] [ ENTRIESREAD {odd} ] \
            [ MKSTREAM ] [ ENTRIESREAD {odd} ] [ MKSTREAM ] [ {edge} ]",
    ),
    (
        1,
        0,
        "XGROUP (DESTROY|CREATECONSUMER|DELCONSUMER|HELP {edge}) [ {key} ] [ {group} ] \
            [ {consumer} ]",
    ),
    (
        1,
        702,
        "XSETID {any} {oddid} [ ENTRIESADDED {odd} ] [ MAXDELETEDID {oddid} ] \
            [ ENTRIESADDED {odd} ] [ MAXDELETEDID {oddid} ] [ {edge} ]",
    ),
    (
        3,
        802,
        "(XDELEX {any}|XACKDEL {any} {group}) [ {refs} ] IDS ({odd}|1|2) {id} [ {oddid} ] \
            [ {refs} ] [ IDS (1|{odd}) {id} ] [ IDS ] [ {refs} ]",
    ),
    (2, 0, "(XACK {any} {group}|XDEL {any}) {id} {oddid} [ {id} ]"),
    (
        1,
        806,
        "XCFGSET {any} [ IDMP-DURATION {odd} ] [ IDMP-MAXSIZE {odd} ] [ IDMP-DURATION {odd} ] \
            [ {edge} ]",
    ),
    (3, 806, "XIDMPRECORD {any} ({name}|{edge}) ({n}|{edge}) ({id}|{oddid})"),
    (2, 806, "XINFO STREAM {any} [ FULL ] [ COUNT {odd} ] [ FULL ] [ {edge} ]"),
    (1, 0, "XINFO (GROUPS|CONSUMERS|HELP {edge}) [ {any} ] [ {group} ] [ {group} ]"),
    (1, 0, "XLEN [ {any} ] [ {any} ]"),
];

const OTHERS: &[Pattern] = &[
    (8, 0, "SET {any} {value} [ (NX|XX) ] [ GET ] [ (EX {far}|PX {far}000|KEEPTTL) ]"),
    (3, 0, "SETNX {str} {value}"),
    (2, 0, "SETEX {str} {far} {value}"),
    (2, 0, "PSETEX {str} {far}000 {value}"),
    (6, 0, "GET {any}"),
    (3, 804, "SET {any} {small} (IFEQ|IFNE) {small} [ GET ] [ (EX {far}|KEEPTTL) ]"),
    (2, 804, "SET {any} {small} (IFDEQ|IFDNE) {digest} [ GET ]"),
    (1, 804, "SET {any} {small} (IFDEQ|IFDNE) {small}"),
    (1, 804, "SET {any} {small} (IFEQ|XX|NX) (IFNE|NX|{small}) {small}"),
    (2, 804, "DELEX {any} [ (IFEQ|IFNE|{small}) {small} ]"),
    (2, 804, "DELEX {any} (IFDEQ|IFDNE) ({digest}|{small})"),
    (2, 804, "DIGEST {any}"),
    (
        2,
        804,
        "MSETEX (2|1|3|{edge}) {any} {value} {any} {value} [ (NX|XX) ] [ (EX {far}|KEEPTTL) ]",
    ),
    (2, 0, "GETDEL {any}"),
    (3, 0, "GETEX {any} [ (EX {far}|PERSIST|EXAT {past}) ]"),
    (2, 0, "GETSET {any} {value}"),
    (2, 0, "MGET {any} {any} {str}"),
    (2, 0, "MSET {str} {value} {any} {value}"),
    (1, 0, "MSETNX {str} {value} {any} {value}"),
    (3, 0, "(INCR|DECR) {any}"),
    (3, 0, "(INCRBY|DECRBY) {str} {number}"),
    (2, 0, "STRLEN {any}"),
    (2, 0, "APPEND {any} {value}"),
    (3, 0, "(GETRANGE|SUBSTR) {any} {number} {number}"),
    (2, 0, "SETRANGE {any} {number} {value}"),
    (3, 0, "INCRBYFLOAT {any} {float}"),
    (4, 0, "(DEL|UNLINK) {any} [ {any} ]"),
    (3, 0, "(EXISTS|TOUCH) {any} [ {any} ]"),
    (4, 0, "TYPE {any}"),
    (4, 0, "(RENAME|RENAMENX) {any} {any}"),
    (4, 0, "COPY {any} {any} [ DB (0|1|9|16) ] [ REPLACE ]"),
    (2, 0, "MOVE {any} (0|1|16|x)"),
    (4, 0, "EXPIRE {any} ({far}|0|-1) [ (NX|XX) ]"),
    (3, 0, "PEXPIRE {any} ({far}000|0|-5|9223372036854775807) [ (NX|XX|what) ]"),
    // Two that are counted from now may be equal or not.
    (3, 0, "PEXPIREAT {any} (9000000000000|9900000000000) [ (GT|LT) ]"),
    (2, 0, "(EXPIREAT|PEXPIREAT) {any} {past}"),
    (4, 0, "(TTL|PTTL|EXPIRETIME|PEXPIRETIME) {any}"),
    (2, 0, "PERSIST {any}"),
    (2, 702, "(EXPIRE|PEXPIRE|EXPIREAT|PEXPIREAT) {any} {deadline} [ (NX|XX|GT|LT|{edge}) ]"),
    (2, 0, "GETEX {any} (EX|PX|EXAT|PXAT) {deadline}"),
    (2, 0, "SET {any} {value} (EX|PX|EXAT|PXAT) {deadline} [ GET ] [ (NX|XX) ]"),
    (1, 0, "(SETEX|PSETEX) {any} {deadline} {value}"),
    (2, 0, "SCAN 0 COUNT 1000 [ MATCH {glob} ] [ TYPE (stream|string|hash) ]"),
    (1, 702, "SCAN (x|-1|0) (COUNT 0|COUNT x|MATCH|NOSUCH 1)"),
    (2, 0, "KEYS {glob}"),
    (2, 0, "DBSIZE"),
    (2, 0, "RANDOMKEY"),
    (3, 0, "SELECT (0|0|0|1|16|-1|x)"),
    (1, 0, "SWAPDB 0 1"),
    (1, 0, "(FLUSHDB|FLUSHALL) [ (SYNC|ASYNC|x) ]"),
    (6, 0, "MULTI"),
    (8, 0, "EXEC"),
    (1, 0, "DISCARD"),
    (5, 0, "WATCH {any} [ {any} ]"),
    (1, 0, "UNWATCH"),
    (2, 0, "PING [ {value} ]"),
    (1, 0, "ECHO {value}"),
    (1, 0, "CLIENT (GETNAME|SETNAME {name}|SETNAME {edge})"),
    (1, 0, "CLIENT (NO-EVICT|REPLY|UNBLOCK 99999|KILL|{edge}) {edge}"),
    (1, 702, "CLIENT KILL (ID {edge}|TYPE {edge}|USER {edge}|SKIPME {edge}|MAXAGE (0|x|-1))"),
    (1, 702, "CLIENT LIST (ID {edge} [ {edge} ]|TYPE ({edge}|pubsub)|{edge})"),
    (1, 702, "CLIENT (PAUSE (-1|x|0) [ (WRITE|ALL|{edge}) ]|UNPAUSE|TRACKINGINFO|GETREDIR)"),
    (1, 602, "RESET"),
    (1, 702, "(WAITAOF {edge} 0 1|WAIT {edge} 1)"),
    (1, 0, "(READONLY|ASKING|CLUSTER INFO|SHUTDOWN NOSAVE {edge}|BGSAVE {edge})"),
    (1, 702, "CLIENT (NO-TOUCH {edge}|SETINFO (LIB-NAME|lib-ver|{edge}) {name})"),
    (1, 0, "HELLO (2|3|4|x) [ (SETNAME {name}|AUTH {name}|{edge}) ]"),
    (1, 806, "OBJECT (ENCODING|REFCOUNT|IDLETIME|FREQ|{edge}) {any}"),
    (1, 0, "MEMORY (USAGE {edge}|NOSUCH|USAGE)"),
    (1, 0, "MEMORY USAGE nosuch SAMPLES {odd} [ (SAMPLES|{edge}) {odd} ] [ {edge} ]"),
    (1, 806, "CONFIG (GET hz|SET hz (0|1|7|499|500|501|99999|-1|2147483648|x))"),
    (2, 0, "COMMAND GETKEYS XADD {any} * f v"),
    (2, 0, "COMMAND GETKEYS XREAD [ COUNT 2 ] STREAMS {any} {any} 0 0"),
    (1, 0, "COMMAND GETKEYS XREADGROUP GROUP g c STREAMS {any} > [ {any} ]"),
    (
        1,
        702,
        "COMMAND (GETKEYS|GETKEYSANDFLAGS) (PING|SET {any} x|MSET a b c d|COPY {any} {any}|GET)",
    ),
    (
        1,
        702,
        "COMMAND (GETKEYS|GETKEYSANDFLAGS) (NOSUCH a|XGROUP CREATE {any} g 0|XINFO STREAM {any})",
    ),
    (2, 806, "COMMAND INFO {command} [ {command} ] {edge}"),
    (1, 702, "COMMAND LIST (FILTERBY (MODULE|ACLCAT|{edge}) {name}|FILTERBY PATTERN xad*|{edge})"),
    (1, 0, "CONFIG GET (maxmemory|stream-node-max-*|databases|no-such)"),
    (2, 806, "CONFIG SET {setting} {amount} [ {setting} {amount} ]"),
    (1, 806, "CONFIG GET {setting} [ {setting} ]"),
    (1, 0, "CONFIG (SET no-such 1|SET maxmemory x|SET|GET|{edge})"),
    (1, 0, "ACL (WHOAMI|CAT {edge}|USERS|{edge})"),
    (1, 702, "ACL (GETUSER {name}|LIST|LOAD|SAVE|DELUSER {name}|LOG [ {edge} ]|GENPASS {edge})"),
    (1, 702, "ACL DRYRUN {name} (GET {any}|XADD {any}|XGROUP CREATE|CLIENT ID|{edge})"),
    (1, 702, "SCRIPT (EXISTS {edge} {edge}|FLUSH [ (SYNC|ASYNC|{edge}) ])"),
    (1, 702, "FUNCTION (FLUSH [ (SYNC|{edge}) ]|LIST [ WITHCODE ] [ LIBRARYNAME {edge} ]|{edge})"),
    (1, 0, "PUBLISH {name} {value}"),
    (1, 0, "PUBSUB (CHANNELS|NUMPAT|NUMSUB {name}|{edge})"),
    // Only what is refused at once or succeeds: Redis may keep the reply of a wrong password back
    // until more comes, and leaves it out of EXEC's.
    (1, 0, "AUTH (default {name}|{name}|a b c)"),
    (1, 0, "RESTORE {any} (0|x|-1) {value} [ REPLACE ]"),
    (1, 0, "WAIT 0 1"),
    (1, 0, "NOSUCH {value} {any} {value}"),
    (1, 0, "{value} {value}"),
];

const KEYS: [&[u8]; 8] = [b"s", b"t", b"s", b"u", b"v\0\nv", b"", b"k", b"\xff\r\n\0x"];
/// Spellings of numbers that are refused, or at a border.
const ODD_NUMBERS: [&str; 20] = [
    "+5",
    "05",
    "00",
    " 5",
    "5 ",
    "-0",
    "",
    "-1",
    "0",
    "1",
    "5\0",
    "\x005",
    "1.0",
    "1e3",
    "0x5",
    "576460752303423488",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
];
/// Spellings of IDs. Not among them: `*`, which the clock makes one of, and what C reads as a
/// number with a sign or blanks before it, as Redis does and we do not.
const ODD_IDS: [&str; 39] = [
    "1-",
    "-1",
    "(",
    "(1",
    "((1",
    "(-",
    "(+",
    "-",
    "+",
    "$",
    ">",
    "1-*",
    "9-*",
    "*-1",
    "*-*",
    "1-**",
    "0-*",
    "0",
    "0-0",
    "(0",
    "(0-0",
    "05-0",
    "5-00",
    "5-1-1",
    "5 -1",
    "5-1 ",
    "5-0x1",
    "0x5",
    "5.0",
    "1e3",
    "-0",
    "-5-1",
    "0-18446744073709551615",
    "(0-18446744073709551615",
    "18446744073709551615",
    "18446744073709551616",
    "18446744073709551616-*",
    "(18446744073709551615-18446744073709551615",
    "18446744073709551615-18446744073709551615",
];
const GROUPS: [&[u8]; 6] = [b"g", b"g", b"g", b"h", b"", b"\xfe\0\n"];
const CONSUMERS: [&[u8]; 5] = [b"c", b"d", b"e", b"", b"\0\xff"];
const EDGES: [&str; 14] = [
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
    "-",
    "5-",
];
/// Times that are over, far away, or none.
const DEADLINES: [&str; 9] = [
    "0",
    "-1",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "x",
    "",
    "01",
];
const COMMANDS: [&str; 11] = [
    "xadd",
    "XREADGROUP",
    "xgroup|create",
    "get",
    "set",
    "getrange",
    "incrbyfloat",
    "acl|log",
    "script|exists",
    "subscribe",
    "nosuch",
];
const SETTINGS: [&str; 11] = [
    "slowlog-max-len",
    "slowlog-log-slower-than",
    "stream-idmp-duration",
    "stream-idmp-maxsize",
    "latency-monitor-threshold",
    "tcp-keepalive",
    "maxmemory-policy",
    "lazyfree-lazy-user-del",
    "acllog-max-len",
    "notify-keyspace-events",
    "no-such",
];
const GLOBS: [&str; 9] = ["**", "*", "s", "?", "[s-u]", "[^s]", "\\s", "*x", "["];

/// How many alternatives a group has, of which these are the parts.
fn alternatives<'a>(parts: impl Iterator<Item = &'a str>) -> usize {
    let (mut depth, mut count) = (0, 1);
    for part in parts {
        match part {
            "(" | "[" => depth += 1,
            ")" | "]" if depth == 0 => break,
            ")" | "]" => depth -= 1,
            "|" if depth == 0 => count += 1,
            _ => {}
        }
    }
    count
}

/// Makes commands.
#[derive(Debug)]
pub(crate) struct Maker {
    rng: Rng,
    version: Version,
    /// The last ID that was given to an entry.
    last: u64,
}

impl Maker {
    /// Of a seed, for a peer of this version.
    pub(crate) fn new(seed: u64, version: Version) -> Self {
        Maker { rng: Rng::new(seed), version, last: 1 }
    }

    /// A number in `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.rng.below(n)
    }

    /// The next command.
    pub(crate) fn command(&mut self) -> Words {
        let table = match self.rng.below(10) {
            0..=4 => STREAMS,
            5 => ODD,
            _ => OTHERS,
        };
        let mut words = self.command_of(table);
        // Redis takes a memory size that is too large as the largest one, and shows that later.
        // With GET and a wrong digest Redis answers twice.
        // A wait without end would be one here too, a time to live would end at any moment, a scan
        // in portions is of each server's own.
        let as_it_is = [
            "INFO", "SHUTDOWN", "BGSAVE", "KILL", "PAUSE", "LIST", "BLOCK", "WAIT", "AUTH",
            "CONFIG", "IFDEQ", "IFDNE", "SCAN", "PX", "EX", "SETEX", "PSETEX", "EXPIRE", "PEXPIRE",
        ];
        let may_change =
            !words.iter().any(|word| as_it_is.iter().any(|name| name.as_bytes() == &word[..]));
        if self.rng.chance(1, 12) && may_change {
            self.mangle(&mut words);
        }
        if self.rng.chance(1, 10) {
            words[0].make_ascii_lowercase();
        }
        words
    }

    /// A command of a table.
    pub(crate) fn command_of(&mut self, table: &[Pattern]) -> Words {
        let known = table.iter().filter(|row| row.1 <= self.version);
        let mut pick = self.rng.below(known.clone().map(|row| row.0).sum());
        let row = known.clone().find(|row| {
            let found = pick < row.0;
            pick = pick.wrapping_sub(row.0);
            found
        });
        let mut words = Words::new();
        let pattern = row.unwrap().2.replace('[', " [ ").replace(']', " ] ");
        let pattern = pattern.replace('(', " ( ").replace(')', " ) ").replace('|', " | ");
        let parts: Vec<&str> = pattern.split(' ').filter(|part| !part.is_empty()).collect();
        self.expand(&mut parts.iter().copied(), true, &mut words);
        words
    }

    /// Makes the words of a pattern up to the end of the group that it is in.
    fn expand<'a>(
        &mut self,
        parts: &mut (impl Iterator<Item = &'a str> + Clone),
        wanted: bool,
        words: &mut Words,
    ) {
        while let Some(part) = parts.next() {
            match part {
                "[" => {
                    let wanted = wanted && self.rng.chance(1, 3);
                    self.expand(parts, wanted, words);
                }
                "(" => {
                    let count = alternatives(parts.clone());
                    let pick = self.rng.below(count);
                    (0..count).for_each(|n| self.expand(parts, wanted && n == pick, words));
                }
                "]" | ")" | "|" => return,
                _ if wanted => self.place(part, words),
                _ => {}
            }
        }
    }

    /// Leaves a word out, puts one in, or replaces one.
    fn mangle(&mut self, words: &mut Words) {
        let at = self.rng.below(words.len().max(2) - 1) + 1;
        if at >= words.len() {
            return;
        }
        let edge: Vec<u8> = self.one_of(&EDGES).into();
        match self.rng.below(3) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, edge),
            _ => words[at] = edge,
        }
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.below(all.len())]
    }

    fn id(&mut self) -> String {
        let ms = (self.last + 2).saturating_sub(self.rng.below(12) as u64);
        match self.rng.below(10) {
            0 => ms.to_string(),
            1 => format!("{ms}-1"),
            _ => format!("{ms}-0"),
        }
    }

    /// The words for a part of a pattern.
    fn place(&mut self, part: &str, words: &mut Words) {
        let word: Vec<u8> = match part {
            "{key}" => self.one_of(&KEYS[..5]).into(),
            "{str}" => self.one_of(&KEYS[5..]).into(),
            "{any}" => self.one_of(&KEYS).into(),
            "{group}" => self.one_of(&GROUPS).into(),
            "{consumer}" => self.one_of(&CONSUMERS).into(),
            "{name}" => self.one_of(&["p", "q", "default"]).into(),
            "{edge}" => self.one_of(&EDGES).into(),
            "{glob}" => self.one_of(&GLOBS).into(),
            "{id}" => self.id().into(),
            "{odd}" => match self.rng.chance(1, 2) {
                true => self.one_of(&ODD_NUMBERS).into(),
                false => self.rng.below(8).to_string().into(),
            },
            "{oddid}" => match self.rng.below(16) {
                0..8 => self.id().into(),
                // Texts of 127 bytes are read, longer ones are not.
                8 => format!("{:0>127}", self.id()).into(),
                9 => format!("{:0>128}", self.id()).into(),
                _ => self.one_of(&ODD_IDS).into(),
            },
            "{wait}" => self.one_of(&["0", "1000000", "-1", "+1", "01", "", "x"]).into(),
            "{refs}" => self.one_of(&["KEEPREF", "DELREF", "ACKED"]).into(),
            "{n}" => self.rng.below(8).to_string().into(),
            "{far}" => self.one_of(&["1000", "2000"]).into(),
            "{far}000" => self.one_of(&["1000000", "2000000"]).into(),
            "{past}" => self.one_of(&["1", "-1", "1000"]).into(),
            "{idle}" => self.one_of(&["0", "0", "0", "1000000", "-1"]).into(),
            "{number}" => match self.rng.chance(1, 4) {
                true => self.one_of(&EDGES).into(),
                false => self.rng.below(12).to_string().into(),
            },
            "{value}" => self.value(),
            "{float}" => self.float(),
            "{deadline}" => self.one_of(&DEADLINES).into(),
            "{command}" => self.one_of(&COMMANDS).into(),
            "{setting}" => self.one_of(&SETTINGS).into(),
            "{amount}" => match self.rng.chance(1, 2) {
                true => self.one_of(&EDGES).into(),
                false => self.one_of(&["yes", "no", "KEA", "10", "1kb", "allkeys-lru"]).into(),
            },
            "{channel}" => self.one_of(&["a", "b", "ab", "", "__keyevent@0__:set"]).into(),
            // No channel matches two of them, whose order would be each server's own.
            "{pattern}" => self.one_of(&["a*", "[b]", "__key*"]).into(),
            "{small}" => self.one_of(&["0", "1", "a", ""]).into(),
            // Of "0" and of "a".
            "{digest}" => self.one_of(&["1982e3a7bb241055", "e6c632b61e964e1f"]).into(),
            "{new}" => {
                self.last += 1 + self.rng.below(2) as u64;
                match self.rng.below(8) {
                    0 => format!("{}-*", self.last).into(),
                    _ => format!("{}-0", self.last).into(),
                }
            }
            "{bound}" => match self.rng.below(4) {
                0 => "-".into(),
                1 => "+".into(),
                2 => format!("({}", self.id()).into(),
                _ => self.id().into(),
            },
            _ => return self.several(part, words),
        };
        words.push(word);
    }

    /// As [`Maker::place`], for parts that stand for several words.
    fn several(&mut self, part: &str, words: &mut Words) {
        let count = self.rng.below(3) + 1;
        match part {
            "{ids}" => (0..count).for_each(|_| words.push(self.id().into())),
            "{idblock}" => {
                words.extend([b"IDS".to_vec(), count.to_string().into()]);
                (0..count).for_each(|_| words.push(self.id().into()));
            }
            "{pairs}" => (0..count).for_each(|_| {
                words.push(self.one_of(&[&b"f"[..], b"field", b"", b"\x80\n"]).into());
                words.push(self.value());
            }),
            "{trim}" => {
                let clause = self.one_of(&["MAXLEN", "MAXLEN =", "MAXLEN ~", "MINID", "MINID ~"]);
                words.extend(clause.split(' ').map(|word| word.as_bytes().to_vec()));
                match clause.starts_with("MINID") {
                    true => words.push(self.id().into()),
                    false => words.push(self.rng.below(12).to_string().into()),
                }
                if clause.ends_with('~') && self.rng.chance(1, 3) {
                    words.extend([b"LIMIT".to_vec(), self.rng.below(9).to_string().into()]);
                }
            }
            literal => words.push(literal.into()),
        }
    }

    fn float(&mut self) -> Vec<u8> {
        let (whole, part) = (self.rng.below(20_000), self.rng.below(1_000));
        match self.rng.below(8) {
            0 => self.one_of(&EDGES).into(),
            1 => self.one_of(&["1e", "-.5", "5.", "1e-19", "inf", "nan", "1e30", "."]).into(),
            2 => format!("{whole}e-{}", part % 20).into(),
            3 => format!("-{whole}.{part:03}").into(),
            _ => format!("{whole}.{part}").into(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.below(6) {
            0 => Vec::new(),
            1 => self.one_of(&EDGES).into(),
            2 => {
                let len = self.rng.below(40);
                self.rng.bytes(len)
            }
            3 => self.one_of(&[&b"a\r\nb"[..], b"\0", b"\xc3\x28", b"1.5"]).into(),
            _ => self.rng.below(30).to_string().into(),
        }
    }
}
