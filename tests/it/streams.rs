//! Writing, reading, trimming and describing streams: every command, its errors and its replies,
//! as the reference of the newest Redis has them.

use crate::resp::Value;
use crate::talk::with_shards;

const TRIM_NODES: &[&str] = &["--stream-node-max-entries", "10"];

#[test]
fn ids() {
    with_shards(&[], |server| {
        server.connect().check(
            r#"XADD s 1-1 a b => "1-1"
               XADD s 1 a b => -ERR The ID specified in XADD is equal or smaller than the target \
                   stream top item
               XADD s 1-1 a b => -ERR The ID specified in XADD is equal or smaller than the target \
                   stream top item
               XADD s 1-* a b => "1-2"
               XADD s 0-* a b => -ERR The ID specified in XADD is equal or smaller than the target \
                   stream top item
               XADD s 5 a b => "5-0"
               XADD s 7-* a b => "7-0"
               XADD s 0-0 a b => -ERR The ID specified in XADD must be greater than 0-0
               XADD new 0-* a b => "0-1"
               XADD s - a b => -ERR Invalid stream ID specified as stream command argument
               XADD s 1-2-3 a b => -ERR Invalid stream ID specified as stream command argument
               XADD s 123- a b => -ERR Invalid stream ID specified as stream command argument
               XADD s 18446744073709551616-0 a b => -ERR Invalid stream ID specified as stream \
                   command argument
               XADD s 8-1 a => -ERR wrong number of arguments for 'xadd' command
               XADD s 8-1 a b c => -ERR wrong number of arguments for 'xadd' command
               XADD s 0-0 a b c => -ERR wrong number of arguments for 'xadd' command
               XADD none NOMKSTREAM * a b => null
               EXISTS none => :0
               SET text x => +OK
               XADD text * a b => -WRONGTYPE Operation against a key holding the wrong kind of value
               XADD text NOMKSTREAM 1-1 a b => -WRONGTYPE Operation against a key holding the \
                   wrong kind of value
               XADD far 18446744073709551615-18446744073709551614 a b => \
                   "18446744073709551615-18446744073709551614"
               XADD far * a b => "18446744073709551615-18446744073709551615"
               XADD far * a b => -ERR The stream has exhausted the last possible ID, unable to add \
                   more items
               XADD seq 5-18446744073709551615 a b => "5-18446744073709551615"
               XADD seq 5-* a b => -ERR The ID specified in XADD is equal or smaller than the \
                   target stream top item
               XADD ahead 99999999999999-18446744073709551615 a b => \
                   "99999999999999-18446744073709551615"
               XADD ahead * a b => "100000000000000-0""#,
        );
    });
}

#[test]
fn options_of_xadd() {
    with_shards(&[], |server| {
        server.connect().check(
            r#"XADD s MAXLEN 2 NOMKSTREAM 1-1 a b => null
               XADD s maxlen = 2 1-1 a b => "1-1"
               XADD s KEEPREF MAXLEN 2 2-1 a b => "2-1"
               XADD s MAXLEN 2 DELREF 3-1 a b => "3-1"
               XRANGE s - + => [["2-1" ["a" "b"]] ["3-1" ["a" "b"]]]
               XADD s MAXLEN -1 * a b => -ERR The MAXLEN argument must be >= 0.
               XADD s MAXLEN x * a b => -ERR value is not an integer or out of range
               XADD s MAXLEN ~ 5 LIMIT -1 * a b => -ERR The LIMIT argument must be >= 0.
               XADD s MAXLEN 1 MINID 1 * a b => -ERR syntax error, MAXLEN and MINID options at the \
                   same time are not compatible
               XADD s MAXLEN 1 LIMIT 5 * a b => -ERR syntax error, LIMIT cannot be used without \
                   the special ~ option
               XADD s LIMIT 5 * a b => -ERR syntax error, LIMIT cannot be used without specifying \
                   a trimming strategy
               XADD s FOO * a b => -ERR Invalid stream ID specified as stream command argument
               XADD s KEEPREF ACKED * a b => -ERR Invalid stream ID specified as stream command \
                   argument
               XADD e MAXLEN 0 1-1 a b => "1-1"
               XLEN e => :0
               EXISTS e => :1
               XADD e 1-1 a b => -ERR The ID specified in XADD is equal or smaller than the target \
                   stream top item"#,
        );
    });
}

#[test]
fn ranges() {
    with_shards(&[], |server| {
        let mut client = server.connect();
        for n in 1..=4 {
            client.run(&format!("XADD s {n}-5 n {n}"));
        }
        client.check(
            r#"XLEN s => :4
               XLEN none => :0
               XRANGE s 2 3 => [["2-5" ["n" "2"]] ["3-5" ["n" "3"]]]
               XRANGE s (2-5 + COUNT 1 => [["3-5" ["n" "3"]]]
               XRANGE s - (2 => [["1-5" ["n" "1"]] ["2-5" ["n" "2"]]]
               XRANGE s (2 (3-5 => [["2-5" ["n" "2"]]]
               XREVRANGE s + - COUNT 2 => [["4-5" ["n" "4"]] ["3-5" ["n" "3"]]]
               XREVRANGE s (4-5 (2-5 => [["3-5" ["n" "3"]]]
               XRANGE s 3 2 => []
               XRANGE s - + COUNT 0 => null-array
               XRANGE s - + COUNT -5 => null-array
               XRANGE none - + COUNT 0 => []
               XRANGE none - + => []
               XRANGE s (- + => -ERR Invalid stream ID specified as stream command argument
               XRANGE s (18446744073709551615-18446744073709551615 + => -ERR invalid start ID for \
                   the interval
               XRANGE s - (0-0 => -ERR invalid end ID for the interval
               XRANGE s - + COUNT => -ERR syntax error
               XRANGE s - + LIMIT 5 => -ERR syntax error
               XRANGE s x + => -ERR Invalid stream ID specified as stream command argument
               XRANGE s - => -ERR wrong number of arguments for 'xrange' command
               SET text x => +OK
               XRANGE text - + => -WRONGTYPE Operation against a key holding the wrong kind of value
               XLEN text => -WRONGTYPE Operation against a key holding the wrong kind of value"#,
        );
    });
}

#[test]
fn xread() {
    with_shards(&[], |server| {
        let mut client = server.connect();
        for n in 1..=3 {
            client.run(&format!("XADD s {n}-0 n {n}"));
            client.run(&format!("XADD t {n}-0 n {n}"));
        }
        client.check(
            r#"XREAD COUNT 1 STREAMS s t 0 2 => [["s" [["1-0" ["n" "1"]]]] ["t" [["3-0" ["n" \
                   "3"]]]]]
               XREAD STREAMS s none 2-0 0 => [["s" [["3-0" ["n" "3"]]]]]
               XREAD STREAMS s t $ 9 => null-array
               XREAD STREAMS s + => [["s" [["3-0" ["n" "3"]]]]]
               XREAD STREAMS s s 2 2 => [["s" [["3-0" ["n" "3"]]]] ["s" [["3-0" ["n" "3"]]]]]
               XREAD MAXCOUNT 3 STREAMS s t 1 0 => [["s" [["2-0" ["n" "2"]] ["3-0" ["n" "3"]]]] \
                   ["t" [["1-0" ["n" "1"]]]]]
               XREAD MAXCOUNT 2 STREAMS s t 1 0 => [["s" [["2-0" ["n" "2"]] ["3-0" ["n" "3"]]]]]
               XREAD MAXSIZE 1 STREAMS s t 0 0 => [["s" [["1-0" ["n" "1"]]]]]
               XREAD MAXCOUNT 0 STREAMS s 0 => -ERR MAXCOUNT must be a positive integer
               XREAD MAXSIZE -1 STREAMS s 0 => -ERR MAXSIZE must be a positive integer
               XREAD COUNT 5 MAXCOUNT 4 STREAMS s 0 => -ERR MAXCOUNT must be greater than or equal \
                   to COUNT
               XREAD COUNT -1 STREAMS s 2 => [["s" [["3-0" ["n" "3"]]]]]
               XREAD STREAMS s t 0 => -ERR Unbalanced 'xread' list of streams: for each stream key \
                   an ID, '+', or '$' must be specified.
               XREAD COUNT 1 s 0 => -ERR syntax error
               XREAD GROUP g c STREAMS s 0 => -ERR The GROUP option is only supported by \
                   XREADGROUP. You called XREAD instead.
               XREAD NOACK STREAMS s 0 => -ERR The NOACK option is only supported by XREADGROUP. \
                   You called XREAD instead.
               XREAD CLAIM 5 STREAMS s 0 => -ERR The CLAIM option is only supported by XREADGROUP. \
                   You called XREAD instead.
               XREAD STREAMS s > => -ERR The > ID can be specified only when calling XREADGROUP \
                   using the GROUP <group> <consumer> option.
               XREAD BLOCK -1 STREAMS s 0 => -ERR timeout is negative
               XREAD BLOCK x STREAMS s 0 => -ERR timeout is not an integer or out of range
               XREAD STREAMS s - => -ERR Invalid stream ID specified as stream command argument
               XDEL s 3-0 => :1
               XREAD STREAMS s + => [["s" [["2-0" ["n" "2"]]]]]
               SET text x => +OK
               XREAD STREAMS s text 0 0 => -WRONGTYPE Operation against a key holding the wrong \
                   kind of value"#,
        );
        server.connect3().check(
            r#"XREAD COUNT 1 STREAMS s t 0 2 => {"s": [["1-0" ["n" "1"]]], "t": [["3-0" ["n" "3"]]]}
               XREAD STREAMS s 9 => null"#,
        );
    });
}

#[test]
fn deleting() {
    with_shards(&[], |server| {
        let mut client = server.connect();
        for n in 1..=9 {
            client.run(&format!("XADD s {n}-0 a b"));
        }
        client.check(
            r#"XDEL s 1-0 1-0 99-0 => :1
               XDEL none x => :0
               XDEL s 2-0 x => -ERR Invalid stream ID specified as stream command argument
               XLEN s => :8
               XDELEX s IDS 2 2-0 2-0 => [:1 :-1]
               XDELEX none ACKED IDS 1 x => [:-1]
               XDELEX s IDS 2 1-0 => -ERR The `numids` parameter must match the number of arguments
               XDELEX s KEEPREF IDS 0 1-0 => -ERR Number of IDs must be a positive integer
               XDELEX s KEEPREF ACKED IDS 1 1-0 => -ERR syntax error
               XDELEX s IDS 1 1-0 2-0 => -ERR syntax error
               XGROUP CREATE s g 0 => +OK
               XREADGROUP GROUP g c COUNT 2 STREAMS s > => [["s" [["3-0" ["a" "b"]] ["4-0" ["a" \
                   "b"]]]]]
               XDELEX s ACKED IDS 4 3-0 9-0 77-0 1-0 => [:2 :2 :2 :-1]
               XACK s g 3-0 => :1
               XDELEX s IDS 1 3-0 ACKED => [:1]
               XDELEX s DELREF IDS 1 4-0 => [:1]
               XPENDING s g => [:0 null null null-array]
               XTRIM s MAXLEN 3 => :2
               XRANGE s - + => [["7-0" ["a" "b"]] ["8-0" ["a" "b"]] ["9-0" ["a" "b"]]]
               XTRIM s MINID 8 => :1
               XTRIM s ACKED MAXLEN 0 => :0
               XTRIM none MAXLEN 0 => :0
               XTRIM s MAXLEN 1 FOO => -ERR syntax error
               XTRIM s KEEPREF ACKED => -ERR syntax error
               XTRIM s = 5 => -ERR syntax error
               XTRIM s MINID x => -ERR Invalid stream ID specified as stream command argument
               XADD s 8-5 a b => -ERR The ID specified in XADD is equal or smaller than the target \
                   stream top item
               XDEL s 8-0 9-0 => :2
               XADD s 9-0 a b => -ERR The ID specified in XADD is equal or smaller than the target \
                   stream top item"#,
        );
    });
}

#[test]
fn trimming_by_whole_nodes() {
    with_shards(TRIM_NODES, |server| {
        let mut client = server.connect();
        for n in 1..=100 {
            client.run(&format!("XADD s {n} a b"));
            client.run(&format!("XADD m {n} a b"));
        }
        // The figures are those that Redis's own tests pin.
        client.check("XTRIM s MAXLEN ~ 95 => :0");
        client.run("XADD s MAXLEN ~ 55 LIMIT 30 * a b");
        client.check("XLEN s => :71");
        client.run("XADD s MAXLEN ~ 55 LIMIT 30 * a b");
        client.check("XLEN s => :62");
        client.run("XADD m MINID ~ 55 LIMIT 30 * a b");
        client.check(
            "XLEN m => :71
             XTRIM m MAXLEN ~ 0 LIMIT 5 => :0
             XTRIM m MAXLEN ~ 0 LIMIT 0 => :71
             XLEN m => :0",
        );
    });
    with_shards(&[], |server| {
        let mut client = server.connect();
        for n in 1..=1000 {
            client.run(&format!("XADD s {n} a b"));
        }
        client.check(
            "XTRIM s MAXLEN 666 => :334
             XTRIM s MAXLEN = 555 => :111
             XTRIM s MAXLEN ~ 444 => :55
             XTRIM s MAXLEN ~ 400 => :100",
        );
    });
}

#[test]
fn xsetid() {
    with_shards(&[], |server| {
        server.connect().check(
            r#"XADD s 5-0 a b => "5-0"
               XSETID s 4-0 => -ERR The ID specified in XSETID is smaller than the target stream \
                   top item
               XSETID s 9-0 ENTRIESADDED 0 => -ERR The entries_added specified in XSETID is \
                   smaller than the target stream length
               XSETID s 9-0 ENTRIESADDED -1 => -ERR entries_added must be positive
               XSETID s 9-0 MAXDELETEDID 10-0 => -ERR The ID specified in XSETID is smaller than \
                   the provided max_deleted_entry_id
               XSETID s 9-0 100 6-0 => -ERR syntax error
               XSETID none 9-0 => -ERR no such key
               XSETID s x => -ERR Invalid stream ID specified as stream command argument
               XSETID s 9-0 ENTRIESADDED 100 MAXDELETEDID 6-0 => +OK
               XSETID s 5-5 => -ERR The ID specified in XSETID is smaller than current \
                   max_deleted_entry_id
               XADD s 9-0 a b => -ERR The ID specified in XADD is equal or smaller than the target \
                   stream top item
               XADD s 9-1 a b => "9-1""#,
        );
        let reply = server.connect().run("XINFO STREAM s").to_string();
        assert!(reply.contains(r#""max-deleted-entry-id" "6-0" "entries-added" :101"#), "{reply}");
    });
}

#[test]
fn idempotent_producers() {
    with_shards(&[], |server| {
        let mut client = server.connect();
        let first = client.run("XADD s IDMP p 1 * f v").to_string();
        assert_eq!(client.run("XADD s MAXLEN 9 IDMP p 1 * other x").to_string(), first);
        let auto = client.run("XADD s IDMPAUTO p * a 1 b 2").to_string();
        assert_ne!(auto, first);
        assert_eq!(client.run("XADD s IDMPAUTO p * b 2 a 1").to_string(), auto);
        assert_ne!(client.run("XADD s IDMP q 1 * f v").to_string(), first);
        client.check(
            r#"XLEN s => :3
               XADD s IDMP p 1 IDMP p 2 * f v => -ERR syntax error, IDMP/IDMPAUTO specified \
                   multiple times
               XADD s IDMP "" 1 * f v => -ERR syntax error, IDMP requires a non-empty producer ID
               XADD s IDMP p "" * f v => -ERR syntax error, IDMP requires a non-empty idempotent ID
               XADD s IDMPAUTO "" * f v => -ERR syntax error, IDMPAUTO requires a non-empty \
                   producer ID
               XADD s IDMP p 9 99-1 f v => -ERR syntax error, IDMP/IDMPAUTO can be used only with \
                   auto-generated IDs
               XADD s IDMP p1 * f v => -ERR Invalid stream ID specified as stream command argument
               XCFGSET s => -ERR At least one parameter must be specified
               XCFGSET none IDMP-MAXSIZE 5 => -ERR no such key
               XCFGSET s IDMP-MAXSIZE 0 => -ERR IDMP-MAXSIZE must be between 1 and 10000 entries
               XCFGSET s IDMP-DURATION 86401 => -ERR IDMP-DURATION must be between 1 and 86400 \
                   seconds
               XCFGSET s IDMP-DURATION 5 IDMP-DURATION 5 => -ERR IDMP-DURATION specified multiple \
                   times
               XCFGSET s IDMP-MAXSIZE => -ERR syntax error
               XCFGSET s IDMP-MAXSIZE x => -ERR value is not an integer or out of range
               XCFGSET s IDMP-MAXSIZE 100 => +OK"#,
        );
        assert_eq!(client.run("XADD s IDMP p 1 * f v").to_string(), first);
        client.check("XCFGSET s IDMP-MAXSIZE 50 => +OK");
        assert_ne!(client.run("XADD s IDMP p 1 * f v").to_string(), first);
        client.check(
            r#"XADD t 5-1 a b => "5-1"
               XIDMPRECORD t p 1 5-1 => +OK
               XIDMPRECORD t p 1 5-1 => +OK
               XADD t 6-1 a b => "6-1"
               XIDMPRECORD t p 1 6-1 => -ERR IID already exists for this producer with a different \
                   stream ID
               XIDMPRECORD t p 2 7-1 => -ERR No such message in stream
               XIDMPRECORD none p 2 7-1 => -ERR no such key
               XIDMPRECORD t "" 2 6-1 => -ERR producer ID must be non-empty
               XIDMPRECORD t p "" 6-1 => -ERR idempotent ID must be non-empty
               XADD t IDMP p 1 * a b => "5-1""#,
        );
    });
}

#[test]
fn xinfo() {
    with_shards(&[], |server| {
        let mut client = server.connect();
        client.check(
            r#"XINFO STREAM none => -ERR no such key
               XINFO GROUPS none => -ERR no such key
               XINFO CONSUMERS none g => -ERR no such key
               XADD s 1-1 a b => "1-1"
               XADD s 2-1 c d => "2-1"
               XDEL s 1-1 => :1
               XINFO CONSUMERS s g => -NOGROUP No such consumer group 'g' for key name 's'
               XINFO STREAM s FOO => -ERR unknown subcommand or wrong number of arguments for \
                   'STREAM'. Try XINFO HELP.
               XINFO FOO s => -ERR unknown subcommand 'FOO'. Try XINFO HELP.
               XINFO GROUPS s => []"#,
        );
        let Value::Array(items) = client.run("XINFO STREAM s") else { panic!("no array") };
        let names: Vec<String> = items.iter().step_by(2).map(Value::to_string).collect();
        let expected = "length radix-tree-keys radix-tree-nodes last-generated-id \
            max-deleted-entry-id entries-added recorded-first-entry-id idmp-duration idmp-maxsize \
            pids-tracked iids-tracked iids-added iids-duplicates groups first-entry last-entry";
        let expected: Vec<String> =
            expected.split_whitespace().map(|name| format!("\"{name}\"")).collect();
        assert_eq!(names, expected);
        let Value::Map(pairs) = server.connect3().run("XINFO STREAM s FULL") else {
            panic!("no map")
        };
        let names: Vec<String> = pairs.iter().map(|pair| pair.0.to_string()).collect();
        assert_eq!(names[..13], expected[..13]);
        assert_eq!(names[13..], ["\"entries\"", "\"groups\""]);
        assert_eq!(pairs[13].1.to_string(), r#"[["2-1" ["c" "d"]]]"#);
    });
}
