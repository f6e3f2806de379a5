//! Consumer groups: handing out, acknowledging, claiming, giving up, describing; every command,
//! its errors and its replies, as the reference of the newest Redis has them.

use crate::resp::Value;
use crate::talk::{Client, with_shards};

/// Replies that contain the idle time, which is taken out.
#[track_caller]
fn without_idle(client: &mut Client, command: &str) -> String {
    let Value::Array(rows) = client.run(command) else { panic!("{command}: no array") };
    let row = |row: &Value| {
        let Value::Array(parts) = row else { panic!("{row}: no array") };
        let Value::Integer(idle_ms) = parts[2] else { panic!("{row}: no idle time") };
        assert!((-1..60_000).contains(&idle_ms), "{row}");
        format!("[{} {} {}]", parts[0], parts[1], parts[3])
    };
    rows.iter().map(row).collect::<Vec<_>>().join(" ")
}

/// A stream `s` with entries `1-0` to `6-0` and a group `g` that has handed out three to `c`.
fn with_pending(test: impl Fn(&mut Client, &mut Client)) {
    with_shards(&[], |server| {
        let mut client = server.connect();
        for n in 1..=6 {
            client.run(&format!("XADD s {n}-0 n {n}"));
        }
        client.check("XGROUP CREATE s g 0 => +OK");
        client.run("XREADGROUP GROUP g c COUNT 3 STREAMS s >");
        test(&mut client, &mut server.connect3());
    });
}

#[test]
fn xgroup() {
    with_shards(&[], |server| {
        server.connect().check(
            r#"XGROUP CREATE s g $ => -ERR The XGROUP subcommand requires the key to exist. Note \
                   that for CREATE you may want to use the MKSTREAM option to create an empty \
                   stream automatically.
               XGROUP CREATE s g $ MKSTREAM => +OK
               XGROUP CREATE s g 0 => -BUSYGROUP Consumer Group name already exists
               XGROUP CREATE s h - => -ERR Invalid stream ID specified as stream command argument
               XGROUP CREATE s h 0 ENTRIESREAD -2 => -ERR value for ENTRIESREAD must be positive \
                   or -1
               XGROUP CREATE s h 0 FOO => -ERR unknown subcommand or wrong number of arguments for \
                   'CREATE'. Try XGROUP HELP.
               XGROUP FOO s h => -ERR unknown subcommand 'FOO'. Try XGROUP HELP.
               XGROUP create s => -ERR wrong number of arguments for 'xgroup|create' command
               XGROUP CREATE s h 0 ENTRIESREAD 7 => +OK
               XGROUP SETID s h + => +OK
               XGROUP SETID s none 0 => -NOGROUP No such consumer group 'none' for key name 's'
               XGROUP SETID none g 0 => -ERR The XGROUP subcommand requires the key to exist. Note \
                   that for CREATE you may want to use the MKSTREAM option to create an empty \
                   stream automatically.
               XGROUP CREATECONSUMER s g c => :1
               XGROUP CREATECONSUMER s g c => :0
               XGROUP CREATECONSUMER s none c => -NOGROUP No such consumer group 'none' for key \
                   name 's'
               XGROUP DELCONSUMER s g c => :0
               XGROUP DELCONSUMER s g none => :0
               XGROUP DESTROY s h => :1
               XGROUP DESTROY s h => :0
               SET text x => +OK
               XGROUP CREATE text g 0 => -WRONGTYPE Operation against a key holding the wrong kind \
                   of value"#,
        );
    });
}

#[test]
fn xreadgroup() {
    with_pending(|client, resp3| {
        client.check(
            r#"XREADGROUP GROUP g d COUNT 1 STREAMS s > => [["s" [["4-0" ["n" "4"]]]]]
               XREADGROUP GROUP g d STREAMS s 0 => [["s" [["4-0" ["n" "4"]]]]]
               XREADGROUP GROUP g e STREAMS s 0 => [["s" []]]
               XDEL s 2-0 => :1
               XREADGROUP GROUP g c STREAMS s 1 => [["s" [["2-0" null-array] ["3-0" ["n" "3"]]]]]
               XREADGROUP GROUP g c STREAMS s => -ERR wrong number of arguments for 'xreadgroup' \
                   command
               XREADGROUP GROUP g c STREAMS s t > => -ERR Unbalanced 'xreadgroup' list of streams: \
                   for each stream key an ID or '>' must be specified.
               XREADGROUP COUNT 1 NOACK STREAMS s > => -ERR Missing GROUP option for XREADGROUP
               XREADGROUP GROUP none c STREAMS s > => -NOGROUP No such key 's' or consumer group \
                   'none' in XREADGROUP with GROUP option
               XREADGROUP GROUP g c STREAMS s none > > => -NOGROUP No such key 'none' or consumer \
                   group 'g' in XREADGROUP with GROUP option
               XREADGROUP GROUP g c STREAMS s $ => -ERR The $ ID is meaningless in the context of \
                   XREADGROUP: you want to read the history of this consumer by specifying a \
                   proper ID, or use the > ID to get new messages. The $ ID would just return an \
                   empty result set.
               XREADGROUP GROUP g c CLAIM -1 STREAMS s > => -ERR min-idle-time must be a positive \
                   integer
               XREADGROUP GROUP g c CLAIM x STREAMS s > => -ERR min-idle-time is not an integer or \
                   out of range
               XREADGROUP GROUP g c NOACK COUNT 1 STREAMS s > => [["s" [["5-0" ["n" "5"]]]]]"#,
        );
        resp3.check(
            r#"XREADGROUP GROUP g f STREAMS s > => {"s": [["6-0" ["n" "6"]]]}
               XREADGROUP GROUP g f STREAMS s > => null
               XREADGROUP GROUP g c STREAMS s 1 => {"s": [["2-0" null] ["3-0" ["n" "3"]]]}"#,
        );
        assert_eq!(
            without_idle(client, "XPENDING s g - + 10"),
            r#"["1-0" "c" :1] ["2-0" "c" :1] ["3-0" "c" :3] ["4-0" "d" :2] ["6-0" "f" :1]"#
        );
    });
}

#[test]
fn xreadgroup_claim() {
    with_pending(|client, _| {
        client.check("XNACK s g FAIL IDS 1 3-0 => :1");
        // What was given up comes first, then what is oldest, then what is new; COUNT is for all.
        let reply = client.run("XREADGROUP GROUP g d COUNT 4 CLAIM 0 STREAMS s >").to_string();
        let parts: Vec<&str> = reply.split(" [\"").collect();
        for (part, id) in parts.iter().skip(1).filter(|part| part.contains("-0")).zip([1, 2, 4]) {
            assert!(part.contains(&format!("{id}-0")), "{reply}");
        }
        assert!(reply.starts_with(r#"[["s" [["3-0" ["n" "3"] :"#), "{reply}");
        assert!(reply.ends_with(r#"["4-0" ["n" "4"] :0 :0]]]]"#), "{reply}");
        assert_eq!(
            without_idle(client, "XPENDING s g - + 10"),
            r#"["1-0" "d" :2] ["2-0" "d" :2] ["3-0" "d" :2] ["4-0" "d" :1]"#
        );
        client.check(
            r#"XREADGROUP GROUP g e CLAIM 86400000 COUNT 1 STREAMS s > => [["s" [["5-0" ["n" "5"] \
                   :0 :0]]]]
               XREADGROUP GROUP g e MAXCOUNT 1 CLAIM 86400000 STREAMS s > => [["s" [["6-0" ["n" \
                   "6"] :0 :0]]]]
               XREADGROUP GROUP g e CLAIM 86400000 STREAMS s > => null-array"#,
        );
    });
}

#[test]
fn acknowledging() {
    with_pending(|client, _| {
        client.check(
            r#"XACK s g 1-0 1-0 99-0 => :1
               XACK none g x => :0
               XACK s none x => :0
               XACK s g x => -ERR Invalid stream ID specified as stream command argument
               XACKDEL s g IDS 2 2-0 5-0 => [:1 :-1]
               XLEN s => :5
               XGROUP CREATE s h 0 => +OK
               XACKDEL s g ACKED IDS 1 3-0 => [:2]
               XACKDEL none g IDS 1 3-0 => [:-1]
               XACKDEL s g IDS 2 3-0 => -ERR The `numids` parameter must match the number of \
                   arguments
               XACKDEL s g FOO IDS 1 3-0 => -ERR syntax error
               XPENDING s g => [:0 null null null-array]
               SET text x => +OK
               XACK text g 1-0 => -WRONGTYPE Operation against a key holding the wrong kind of \
                   value"#,
        );
    });
}

#[test]
fn xpending() {
    with_pending(|client, resp3| {
        client.check(
            r#"XPENDING s g => [:3 "1-0" "3-0" [["c" "3"]]]
               XPENDING s none => -NOGROUP No such key 's' or consumer group 'none'
               XPENDING none g => -NOGROUP No such key 'none' or consumer group 'g'
               XPENDING s g - + => -ERR syntax error
               XPENDING s g IDLE 1 - + => -ERR syntax error
               XPENDING s g - + x => -ERR value is not an integer or out of range
               XPENDING s g - + 0 => []
               XPENDING s g - + 10 none => []
               XPENDING s g IDLE 86400000 - + 10 => []"#,
        );
        assert_eq!(without_idle(client, "XPENDING s g (1-0 + 1"), r#"["2-0" "c" :1]"#);
        assert_eq!(without_idle(client, "XPENDING s g IDLE 0 3 + 10 c"), r#"["3-0" "c" :1]"#);
        client.run("XACK s g 1-0 2-0 3-0");
        resp3.check("XPENDING s g => [:0 null null null]");
    });
}

#[test]
fn claiming() {
    with_pending(|client, _| {
        client.check(
            r#"XCLAIM s g d 86400000 1-0 => []
               XCLAIM s g d 0 1-0 99-0 => [["1-0" ["n" "1"]]]
               XCLAIM s g d 0 5-0 => []
               XCLAIM s g d 0 5-0 FORCE JUSTID RETRYCOUNT 9 => ["5-0"]
               XDEL s 2-0 => :1
               XCLAIM s g d 0 2-0 => []
               XCLAIM s none d 0 1-0 => -NOGROUP No such key 's' or consumer group 'none'
               XCLAIM s g d x 1-0 => -ERR Invalid min-idle-time argument for XCLAIM
               XCLAIM s g d 0 1-0 IDLE x => -ERR Invalid IDLE option argument for XCLAIM
               XCLAIM s g d 0 1-0 TIME x => -ERR Invalid TIME option argument for XCLAIM
               XCLAIM s g d 0 1-0 RETRYCOUNT x => -ERR Invalid RETRYCOUNT option argument for XCLAIM
               XCLAIM s g d 0 1-0 nosuch => -ERR Unrecognized XCLAIM option 'nosuch'"#,
        );
        assert_eq!(
            without_idle(client, "XPENDING s g - + 10"),
            r#"["1-0" "d" :2] ["3-0" "c" :1] ["5-0" "d" :9]"#
        );
        client.check(
            r#"XAUTOCLAIM s g e 86400000 - => ["0-0" [] []]
               XAUTOCLAIM s g e 0 - COUNT 1 => ["3-0" [["1-0" ["n" "1"]]] []]
               XDEL s 3-0 => :1
               XAUTOCLAIM s g e 0 3-0 JUSTID => ["0-0" ["5-0"] ["3-0"]]
               XAUTOCLAIM s g e x - => -ERR Invalid min-idle-time argument for XAUTOCLAIM
               XAUTOCLAIM s g e 0 - COUNT 0 => -ERR COUNT must be > 0
               XAUTOCLAIM s g e 0 - FOO => -ERR syntax error
               XAUTOCLAIM s none e 0 - => -NOGROUP No such key 's' or consumer group 'none'"#,
        );
    });
}

#[test]
fn xautoclaim_counts_deleted_entries() {
    with_shards(&[], |server| {
        let mut client = server.connect();
        for n in 1..=3 {
            client.run(&format!("XADD s {n}-0 a b"));
        }
        client.run("XGROUP CREATE s g 0");
        client.run("XREADGROUP GROUP g c STREAMS s >");
        client.check(
            r#"XDEL s 1-0 2-0 => :2
               XAUTOCLAIM s g d 0 0 COUNT 1 => ["2-0" [] ["1-0"]]
               XAUTOCLAIM s g d 0 2-0 COUNT 1 => ["3-0" [] ["2-0"]]
               XAUTOCLAIM s g d 0 3-0 COUNT 1 => ["0-0" [["3-0" ["a" "b"]]] []]"#,
        );
    });
}

#[test]
fn giving_up() {
    with_pending(|client, _| {
        client.check(
            r#"XNACK s g FAIL IDS 2 1-0 99-0 => :1
               XNACK s g SILENT IDS 1 2-0 => :1
               XNACK s g FATAL IDS 1 3-0 => :1
               XNACK s g FAIL IDS 1 5-0 => :0
               XNACK s g FAIL IDS 1 5-0 FORCE RETRYCOUNT 4 => :1
               XPENDING s g - + 10 => [["1-0" "" :-1 :1] ["2-0" "" :-1 :0] ["3-0" "" :-1 \
                   :9223372036854775807] ["5-0" "" :-1 :4]]
               XPENDING s g => [:4 "1-0" "5-0" []]
               XNACK s g FOO IDS 1 1-0 => -ERR mode must be SILENT, FAIL, or FATAL
               XNACK s g FAIL IDS 0 1-0 => -ERR numids must be a positive integer
               XNACK s g FAIL IDS 2 1-0 => -ERR number of IDs doesn't match numids
               XNACK s g FAIL IDS 1 1-0 RETRYCOUNT -1 => -ERR Invalid RETRYCOUNT value, must be >= 0
               XNACK s g FAIL IDS 1 1-0 FOO => -ERR Unrecognized XNACK option 'FOO'
               XNACK s none FAIL IDS 1 1-0 => -NOGROUP No such key 's' or consumer group 'none'
               XCLAIM s g d 86400000 1-0 JUSTID => ["1-0"]
               XACK s g 2-0 => :1
               XGROUP DELCONSUMER s g c => :0"#,
        );
    });
}

#[test]
fn lag() {
    with_shards(&[], |server| {
        let mut client = server.connect();
        let groups = |client: &mut Client| {
            let reply = client.run("XINFO GROUPS s").to_string();
            reply.split("\"entries-read\" ").nth(1).unwrap().trim_end_matches(']').to_owned()
        };
        for n in 1..=5 {
            client.run(&format!("XADD s {n}-0 a b"));
        }
        client.run("XGROUP CREATE s g 0");
        assert_eq!(groups(&mut client), "null \"lag\" :5");
        client.run("XREADGROUP GROUP g c COUNT 2 STREAMS s >");
        assert_eq!(groups(&mut client), ":2 \"lag\" :3");
        client.run("XDEL s 4-0");
        assert_eq!(groups(&mut client), ":2 \"lag\" null");
        client.run("XREADGROUP GROUP g c STREAMS s >");
        assert_eq!(groups(&mut client), ":5 \"lag\" :0");
        client.run("XADD s 6-0 a b");
        client.run("XTRIM s MAXLEN 0");
        assert_eq!(groups(&mut client), ":5 \"lag\" :0");
    });
}

#[test]
fn descriptions() {
    with_pending(|client, resp3| {
        client.check("XNACK s g FAIL IDS 1 3-0 => :1");
        let reply = client.run("XINFO GROUPS s").to_string();
        assert_eq!(
            reply,
            [
                r#"[["name" "g" "consumers" :1 "pending" :3"#,
                r#""last-delivered-id" "3-0" "entries-read" :3 "lag" :3]]"#
            ]
            .join(" ")
        );
        let reply = client.run("XINFO CONSUMERS s g").to_string();
        assert!(reply.starts_with(r#"[["name" "c" "pending" :2 "idle" :"#), "{reply}");
        let Value::Map(pairs) = resp3.run("XINFO STREAM s FULL") else { panic!("no map") };
        let Value::Array(groups) = &pairs[14].1 else { panic!("no groups") };
        let Value::Map(group) = &groups[0] else { panic!("no map") };
        let names: Vec<String> = group.iter().map(|pair| pair.0.to_string()).collect();
        let expected = "name last-delivered-id entries-read lag pel-count nacked-count pending \
                        consumers";
        let expected: Vec<String> =
            expected.split_whitespace().map(|name| format!("\"{name}\"")).collect();
        assert_eq!(names, expected);
        assert_eq!((&group[4].1, &group[5].1), (&Value::Integer(3), &Value::Integer(1)));
    });
}
