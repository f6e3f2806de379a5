//! BLOCK: who is served, in which order, by what; and what else ends a wait.
//!
//! Each test runs with one shard and with four. None asserts that a wait has *not* ended by
//! looking at the clock: it lets something else end it, and looks at the reply.

use crate::{Client, Server, request, wait_until};
use millstream::testing::Rng;
use std::time::{Duration, Instant};

const NOGROUP: &str =
    "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
const WRONGTYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

fn with_shards(test: impl Fn(&Server)) {
    for shards in ["1", "4"] {
        test(&Server::start(&["--shards", shards]));
    }
}

/// A server with a group `g` on an empty stream `s`.
fn with_group(test: impl Fn(&Server, &mut Client)) {
    with_shards(|server| {
        let mut client = server.connect();
        assert_eq!(client.ask("XGROUP CREATE s g $ MKSTREAM"), "+OK");
        test(server, &mut client);
    });
}

/// Connects a client that sends a command and blocks, as the `nth` at this time.
#[track_caller]
fn block(server: &Server, nth: usize, command: &str) -> Client {
    let mut client = server.connect();
    client.tell(command);
    server.wait_blocked(nth);
    client
}

/// One key of each of four shards.
fn keys_of_four_shards() -> Vec<String> {
    let shard = |key: &str| usize::from(redis_protocol::redis_keyslot(key.as_bytes())) * 4 / 16_384;
    let of = |wanted| (0..).map(|n| format!("key:{n}")).find(|key| shard(key) == wanted).unwrap();
    (0..4).map(of).collect()
}

#[test]
fn a_wait_ends_with_null_and_not_before_its_time() {
    with_group(|server, _| {
        for protocol in ["2", "3"] {
            for command in [
                "XREAD BLOCK 60 STREAMS s $",
                "XREAD BLOCK 60 STREAMS s none:1 none:2 0 0 +",
                "XREADGROUP GROUP g alice BLOCK 60 STREAMS s >",
                "XREADGROUP GROUP g alice BLOCK 60 CLAIM 100000 STREAMS s >",
            ] {
                let mut client = server.connect();
                client.ask(&format!("HELLO {protocol}"));
                let began = Instant::now();
                assert_eq!(client.ask(command), "nil");
                assert!(began.elapsed() >= Duration::from_millis(60), "{command}");
                assert_eq!(client.ask("PING"), "+PONG");
            }
        }
        server.wait_blocked(0);
    });
}

#[test]
fn a_shorter_wait_that_began_later_ends_first() {
    with_shards(|server| {
        let mut long = block(server, 1, "XREAD BLOCK 600000 STREAMS s $");
        let mut short = block(server, 2, "XREAD BLOCK 20 STREAMS s $");
        assert_eq!(short.reply(), "nil");
        server.connect().ask("XADD s 1-1 a b");
        assert_eq!(long.reply(), "[[s [[1-1 [a b]]]]]");
    });
}

#[test]
fn readers_of_a_group_are_served_in_the_order_in_which_they_came() {
    with_group(|server, client| {
        let mut waiters: Vec<Client> = (1..=6)
            .map(|n| {
                let command = format!("XREADGROUP GROUP g c{n} COUNT 1 BLOCK 0 STREAMS s >");
                block(server, n, &command)
            })
            .collect();
        // One by one, several in one write, several in one transaction.
        client.ask("XADD s 1-1 a b");
        client.send(
            &[request(&["XADD", "s", "2-1", "a", "b"]), request(&["XADD", "s", "3-1", "a", "b"])]
                .concat(),
        );
        assert_eq!((client.reply(), client.reply()), ("2-1".into(), "3-1".into()));
        for command in ["MULTI", "XADD s 4-1 a b", "XADD s 5-1 a b", "XADD s 6-1 a b", "EXEC"] {
            client.ask(command);
        }
        for (n, waiter) in (1..).zip(&mut waiters) {
            assert_eq!(waiter.reply(), format!("[[s [[{n}-1 [a b]]]]]"));
        }
        for n in 1..=6 {
            let pending = client.ask(&format!("XPENDING s g - + 10 c{n}"));
            assert!(pending.starts_with(&format!("[[{n}-1 c{n} ")), "{pending}");
        }
    });
}

#[test]
fn the_first_reader_takes_up_to_its_count_and_the_next_one_the_rest() {
    with_group(|server, client| {
        let mut first = block(server, 1, "XREADGROUP GROUP g a COUNT 2 BLOCK 0 STREAMS s >");
        let mut second = block(server, 2, "XREADGROUP GROUP g b BLOCK 0 STREAMS s >");
        let mut third = block(server, 3, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
        client.ask("MULTI");
        for n in 1..=4 {
            client.ask(&format!("XADD s {n}-1 n {n}"));
        }
        client.ask("EXEC");
        assert_eq!(first.reply(), "[[s [[1-1 [n 1]] [2-1 [n 2]]]]]");
        assert_eq!(second.reply(), "[[s [[3-1 [n 3]] [4-1 [n 4]]]]]");
        client.ask("XADD s 5-1 n 5");
        assert_eq!(third.reply(), "[[s [[5-1 [n 5]]]]]");
    });
}

#[test]
fn every_reader_without_a_group_gets_the_entry() {
    with_shards(|server| {
        let mut waiters: Vec<Client> = (1..=5)
            .map(|n| block(server, n, "XREAD COUNT 1 BLOCK 0 STREAMS other s $ $"))
            .collect();
        let mut resp3 = server.connect();
        resp3.ask("HELLO 3");
        resp3.tell("XREAD BLOCK 0 STREAMS s s 0 $");
        server.wait_blocked(6);
        server.connect().ask("XADD s 1-1 a b");
        for waiter in &mut waiters {
            assert_eq!(waiter.reply(), "[[s [[1-1 [a b]]]]]");
        }
        assert_eq!(resp3.reply(), "{s [[1-1 [a b]]] s [[1-1 [a b]]]}");
    });
}

#[test]
fn groups_of_one_stream_do_not_take_each_others_entries() {
    with_group(|server, client| {
        client.ask("XGROUP CREATE s h 0");
        let mut of_g = block(server, 1, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
        let mut of_h = block(server, 2, "XREADGROUP GROUP h a BLOCK 0 NOACK STREAMS s >");
        client.ask("XADD s 1-1 a b");
        assert_eq!(of_g.reply(), "[[s [[1-1 [a b]]]]]");
        assert_eq!(of_h.reply(), "[[s [[1-1 [a b]]]]]");
        assert_eq!(client.ask("XPENDING s h"), "[:0 nil nil nil]");
    });
}

#[test]
fn dollar_is_the_last_id_at_the_time_of_the_call() {
    with_shards(|server| {
        let mut client = server.connect();
        client.ask("XADD s 5-5 a b");
        let mut waiter = block(server, 1, "XREAD BLOCK 0 STREAMS s $");
        // Two at once: a reader for whom `$` were resolved again would miss the first.
        for command in ["MULTI", "XADD s 6-1 a b", "XADD s 7-1 a b", "EXEC"] {
            client.ask(command);
        }
        assert_eq!(waiter.reply(), "[[s [[6-1 [a b]] [7-1 [a b]]]]]");
        let mut waiter = block(server, 1, "XREAD BLOCK 0 STREAMS none +");
        for command in ["MULTI", "XADD none 6-1 a b", "XADD none 7-1 a b", "EXEC"] {
            client.ask(command);
        }
        assert_eq!(waiter.reply(), "[[none [[7-1 [a b]]]]]");
    });
}

#[test]
fn an_entry_that_a_transaction_takes_back_wakes_nobody() {
    with_shards(|server| {
        let mut client = server.connect();
        let mut waiter = block(server, 1, "XREAD BLOCK 0 STREAMS s $");
        for command in ["MULTI", "XADD s 9-1 a b", "DEL s", "EXEC"] {
            client.ask(command);
        }
        client.ask("XADD s 5-1 c d");
        assert_eq!(waiter.reply(), "[[s [[5-1 [c d]]]]]");
    });
}

#[test]
fn a_reader_without_a_group_outlives_its_key() {
    with_shards(|server| {
        let mut client = server.connect();
        client.ask("XADD s 1-1 a b");
        let mut waiter = block(server, 1, "XREAD BLOCK 0 STREAMS s $");
        for command in ["DEL s", "SET s text", "DEL s", "XGROUP CREATE s g $ MKSTREAM"] {
            client.ask(command);
        }
        client.ask("XADD s 2-1 c d");
        assert_eq!(waiter.reply(), "[[s [[2-1 [c d]]]]]");
    });
}

#[test]
fn whatever_takes_the_key_or_the_group_ends_the_wait_of_a_group_reader() {
    for (taking, reply) in [
        ("DEL s", NOGROUP),
        ("UNLINK other s", NOGROUP),
        ("FLUSHDB", NOGROUP),
        ("FLUSHALL ASYNC", NOGROUP),
        ("RENAME s t", NOGROUP),
        ("MOVE s 5", NOGROUP),
        ("SWAPDB 0 7", NOGROUP),
        ("SWAPDB 7 0", NOGROUP),
        ("PEXPIRE s 1", NOGROUP),
        ("PEXPIREAT s 1", NOGROUP),
        ("XGROUP DESTROY s g", NOGROUP),
        ("RENAME nogroup s", NOGROUP),
        ("COPY nogroup s REPLACE", NOGROUP),
        ("SET s text", WRONGTYPE),
        ("RENAME string s", WRONGTYPE),
        ("COPY string s REPLACE", WRONGTYPE),
    ] {
        with_group(|server, client| {
            client.ask("XADD nogroup 1-1 a b");
            client.ask("SET string text");
            let keys = keys_of_four_shards().join(" ");
            for key in keys.split(' ') {
                client.ask(&format!("XGROUP CREATE {key} g 0 MKSTREAM"));
            }
            let mut alone = block(server, 1, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
            let many = format!("XREADGROUP GROUP g b BLOCK 0 STREAMS {keys} s > > > > >");
            let mut many = block(server, 2, &many);
            let answer = client.ask(taking);
            assert!(!answer.starts_with('-'), "{taking}: {answer}");
            assert_eq!(alone.reply(), reply, "{taking}");
            // Which stream is named first depends on what else the command has taken.
            let answer = many.reply();
            let expected = reply.split(' ').next().unwrap();
            assert!(answer.starts_with(expected), "{taking}: {answer}");
            assert_eq!(many.ask("PING"), "+PONG");
            server.wait_blocked(0);
        });
    }
}

#[test]
fn a_stream_that_takes_the_place_of_the_key_serves_the_wait() {
    for taking in ["RENAME full s", "COPY full s REPLACE", "SWAPDB 0 7", "restore", "MOVE"] {
        with_group(|server, client| {
            for db in ["0", "7"] {
                client.ask(&format!("SELECT {db}"));
                for key in if db == "0" { ["full", "other"] } else { ["s", "full"] } {
                    client.ask(&format!("XGROUP CREATE {key} g 0 MKSTREAM"));
                    client.ask(&format!("XADD {key} 8-1 a b"));
                }
            }
            client.ask("SELECT 0");
            let mut waiter = block(server, 1, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
            if taking == "restore" {
                client.send(&request(&["DUMP", "full"]));
                let crate::Value::Bulk(dump) = client.value() else { panic!("no dump") };
                let args: [&[u8]; 5] = [b"RESTORE", b"s", b"0", &dump, b"REPLACE"];
                assert_eq!(client.call(&args).to_string(), "+OK");
            } else if taking == "MOVE" {
                for command in ["MULTI", "DEL s", "SELECT 7", "MOVE s 0", "EXEC"] {
                    let answer = client.ask(command);
                    assert!(!answer.contains('-') && !answer.contains(":0"), "{answer}");
                }
            } else {
                let answer = client.ask(taking);
                assert!(!answer.starts_with('-'), "{taking}: {answer}");
            }
            assert_eq!(waiter.reply(), "[[s [[8-1 [a b]]]]]", "{taking}");
        });
    }
}

#[test]
fn a_reader_that_claims_takes_what_xnack_gives_up() {
    with_group(|server, client| {
        client.ask("XADD s 1-1 a b");
        client.ask("XREADGROUP GROUP g alice STREAMS s >");
        // Before it in the queue is one that does not claim, and goes on waiting.
        let mut plain = block(server, 1, "XREADGROUP GROUP g bob BLOCK 0 STREAMS s >");
        let mut claims =
            block(server, 2, "XREADGROUP GROUP g carol BLOCK 0 CLAIM 86400000 STREAMS s >");
        assert_eq!(client.ask("XNACK s g FAIL IDS 1 1-1"), ":1");
        let reply = claims.reply();
        assert!(reply.starts_with("[[s [[1-1 [a b] :"), "{reply}");
        assert!(reply.ends_with(" :1]]]]"), "{reply}");
        client.ask("XADD s 2-1 a b");
        assert_eq!(plain.reply(), "[[s [[2-1 [a b]]]]]");
    });
}

#[test]
fn a_reader_that_claims_is_served_when_an_entry_has_been_idle_long_enough() {
    with_group(|server, client| {
        client.ask("XADD s 1-1 a b");
        client.ask("XREADGROUP GROUP g alice STREAMS s >");
        let mut claims = server.connect();
        let reply = claims.ask("XREADGROUP GROUP g bob BLOCK 0 CLAIM 120 STREAMS s >");
        let idle = reply.split(" :").nth(1).and_then(|idle| idle.parse::<u64>().ok());
        assert!(idle.is_some_and(|idle| idle >= 120), "{reply}");
        assert!(client.ask("XPENDING s g").ends_with("[[bob 1]]]"));
        // Pending only after the wait began.
        client.ask("XACK s g 1-1");
        let mut claims =
            block(server, 1, "XREADGROUP GROUP g carol COUNT 1 BLOCK 0 CLAIM 150 STREAMS s >");
        for command in ["MULTI", "XADD s 2-1 c d", "XREADGROUP GROUP g alice STREAMS s >", "EXEC"] {
            client.ask(command);
        }
        let reply = claims.reply();
        assert!(reply.starts_with("[[s [[2-1 [c d] :"), "{reply}");
    });
}

#[test]
fn a_transaction_never_waits() {
    with_group(|_, client| {
        client.ask("MULTI");
        client.ask("XREAD BLOCK 0 STREAMS s $");
        client.ask("XREADGROUP GROUP g alice BLOCK 0 STREAMS s >");
        client.ask("XREADGROUP GROUP g alice BLOCK 10000 CLAIM 5 STREAMS s >");
        assert_eq!(client.ask("EXEC"), "[nil nil nil]");
    });
}

#[test]
fn commands_behind_a_blocked_one_run_after_it_in_their_order() {
    with_group(|server, client| {
        let mut waiter = server.connect();
        let mut bytes =
            request(&["XREADGROUP", "GROUP", "g", "a", "BLOCK", "0", "STREAMS", "s", ">"]);
        bytes.extend(request(&["XLEN", "s"]));
        bytes.extend(request(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]));
        bytes.extend(request(&["SET", "after", "yes"]));
        let last = request(&["GET", "after"]);
        bytes.extend_from_slice(&last[..last.len() - 4]);
        waiter.send(&bytes);
        server.wait_blocked(1);
        assert_eq!(client.ask("EXISTS after"), ":0");
        client.ask("XADD s 1-1 a b");
        assert_eq!(waiter.reply(), "[[s [[1-1 [a b]]]]]");
        assert_eq!(waiter.reply(), ":1");
        server.wait_blocked(1);
        assert_eq!(client.ask("EXISTS after"), ":0");
        waiter.send(&last[last.len() - 4..]);
        client.ask("XADD s 2-1 a b");
        assert_eq!(waiter.reply(), "[[s [[2-1 [a b]]]]]");
        assert_eq!(waiter.reply(), "+OK");
        assert_eq!(waiter.reply(), "yes");
    });
}

#[test]
fn an_entry_passes_over_a_reader_that_has_left() {
    with_group(|server, client| {
        for round in 1..=20 {
            let gone = block(server, 1, "XREADGROUP GROUP g gone BLOCK 0 STREAMS s >");
            let mut next = block(server, 2, "XREADGROUP GROUP g next BLOCK 0 STREAMS s >");
            drop(gone);
            server.wait_blocked(1);
            client.ask(&format!("XADD s {round}-1 a b"));
            assert_eq!(next.reply(), format!("[[s [[{round}-1 [a b]]]]]"));
        }
        assert_eq!(client.ask("XPENDING s g"), "[:20 1-1 20-1 [[next 20]]]");
    });
}

#[test]
fn c08_readers_that_leave_at_any_moment_leave_nothing_behind() {
    with_group(|server, client| {
        let keys = keys_of_four_shards();
        for key in &keys {
            client.ask(&format!("XGROUP CREATE {key} g $ MKSTREAM"));
        }
        let mut rng = Rng::new(0x1eaf);
        for round in 1..=300 {
            let key = &keys[rng.below(4)];
            let mut waiter = server.connect();
            let command = match rng.below(3) {
                0 => format!("XREAD BLOCK 0 STREAMS {} $ $ $ $", keys.join(" ")),
                1 => format!("XREADGROUP GROUP g w BLOCK 0 STREAMS {} > > > >", keys.join(" ")),
                _ => format!("XREADGROUP GROUP g w BLOCK 0 CLAIM 5 STREAMS {key} >"),
            };
            waiter.tell(&command);
            if rng.chance(1, 2) {
                client.tell(&format!("XADD {key} {round}-1 a b"));
                drop(waiter);
                client.reply();
            }
        }
        let idle = "blocked_clients:0\r\n";
        wait_until("all have gone", || {
            let info = client.ask("INFO clients");
            info.contains("connected_clients:1\r\n") && info.contains(idle)
        });
        let info = client.ask("INFO clients");
        assert!(info.contains("total_blocking_keys:0\r\n"), "{info}");
        assert!(info.contains("total_blocking_keys_on_nokey:0\r\n"), "{info}");
        // Nothing was handed out twice, and nothing is lost: what is not pending is still new.
        for key in &keys {
            let length: usize = client.ask(&format!("XLEN {key}"))[1..].parse().unwrap();
            let pending = client.call(&["XPENDING", key, "g", "-", "+", "1000"]);
            let new = client.call(&["XREADGROUP", "GROUP", "g", "rest", "STREAMS", key, ">"]);
            let is_none = new == crate::Value::Nil;
            let new = if is_none { 0 } else { new.array()[0].array()[1].array().len() };
            assert_eq!(pending.array().len() + new, length, "{key}");
        }
    });
}

#[test]
fn one_wait_on_four_shards_gets_one_delivery() {
    let server = Server::start(&["--shards", "4"]);
    let keys = keys_of_four_shards();
    let mut writers: Vec<Client> = keys.iter().map(|_| server.connect()).collect();
    for (key, writer) in keys.iter().zip(&mut writers) {
        writer.ask(&format!("XGROUP CREATE {key} g $ MKSTREAM"));
    }
    let mut group = server.connect();
    let mut plain = server.connect();
    for round in 1..=200 {
        group.tell(&format!("XREADGROUP GROUP g a BLOCK 0 STREAMS {} > > > >", keys.join(" ")));
        plain.tell(&format!("XREAD BLOCK 0 STREAMS {} $ $ $ $", keys.join(" ")));
        server.wait_blocked(2);
        for (key, writer) in keys.iter().zip(&mut writers) {
            writer.tell(&format!("XADD {key} {round}-1 a b"));
        }
        writers.iter_mut().for_each(|writer| assert_eq!(writer.reply(), format!("{round}-1")));
        let delivered = group.value();
        assert_eq!(delivered.array().len(), 1, "{delivered}");
        assert_eq!(plain.value().array().len(), 1);
        // The group's other three are still new.
        assert_eq!(group.ask("PING"), "+PONG");
        let rest = group.call(&[
            "XREADGROUP",
            "GROUP",
            "g",
            "b",
            "STREAMS",
            &keys[0],
            &keys[1],
            &keys[2],
            &keys[3],
            ">",
            ">",
            ">",
            ">",
        ]);
        assert_eq!(rest.array().len(), 3, "{delivered} {rest}");
        assert_eq!(plain.ask("PING"), "+PONG");
    }
}

#[test]
fn a_transaction_over_shards_serves_a_wait_with_all_it_added() {
    let server = Server::start(&["--shards", "4"]);
    let keys = keys_of_four_shards();
    let mut client = server.connect();
    let mut waiter =
        block(&server, 1, &format!("XREAD BLOCK 0 STREAMS {} 0 0 0 0", keys.join(" ")));
    client.ask("MULTI");
    for key in keys.iter().rev() {
        client.ask(&format!("XADD {key} 1-1 a b"));
    }
    client.ask("EXEC");
    let expected: Vec<String> = keys.iter().map(|key| format!("[{key} [[1-1 [a b]]]]")).collect();
    assert_eq!(waiter.reply(), format!("[{}]", expected.join(" ")));
}

#[test]
fn a_failed_wait_counts_once_as_a_failed_call() {
    with_group(|server, client| {
        client.ask("CONFIG RESETSTAT");
        let mut waiter = block(server, 1, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
        client.ask("DEL s");
        assert_eq!(waiter.reply(), NOGROUP);
        let stats = client.ask("INFO commandstats");
        let line = stats.lines().find(|line| line.starts_with("cmdstat_xreadgroup:")).unwrap();
        assert!(line.contains("calls=1,"), "{line}");
        assert!(line.ends_with("failed_calls=1"), "{line}");
        assert!(client.ask("INFO errorstats").contains("errorstat_NOGROUP:count=1\r\n"));
    });
}

#[test]
fn client_unblock_and_client_kill_end_a_wait() {
    with_group(|server, client| {
        for (how, reply) in [
            ("", "nil"),
            ("TIMEOUT", "nil"),
            ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        ] {
            let mut waiter = server.connect();
            let id = waiter.ask("CLIENT ID");
            waiter.tell("XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
            server.wait_blocked(1);
            assert_eq!(client.ask(&format!("CLIENT UNBLOCK {} {how}", &id[1..])), ":1");
            assert_eq!(waiter.reply(), reply);
            assert_eq!(client.ask(&format!("CLIENT UNBLOCK {} {how}", &id[1..])), ":0");
        }
        let mut waiter = server.connect();
        let id = waiter.ask("CLIENT ID");
        waiter.tell("XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
        server.wait_blocked(1);
        assert_eq!(client.ask(&format!("CLIENT KILL ID {}", &id[1..])), ":1");
        assert!(waiter.is_closed());
        client.ask("XADD s 1-1 a b");
        assert_eq!(client.ask("XREADGROUP GROUP g b STREAMS s >"), "[[s [[1-1 [a b]]]]]");
    });
}

#[test]
fn a_key_of_another_type_ends_the_wait_of_a_reader_that_another_key_serves() {
    with_shards(|server| {
        let (mut writer, mut reader) = (server.connect(), server.connect());
        for keys in ["a b c d e f", "f e d c b a"] {
            // Wherever they are, it is as if they were together.
            for key in ["a", "b", "c", "d", "e"] {
                for again in [false, true] {
                    assert_eq!(writer.ask("FLUSHALL"), "+OK");
                    reader.tell(&format!("XREAD BLOCK 0 STREAMS {keys} $ $ $ $ $ $"));
                    server.wait_blocked(1);
                    assert_eq!(writer.ask(&format!("SET {key} text")), "+OK");
                    if again {
                        assert_eq!(writer.ask(&format!("DEL {key}")), ":1");
                    }
                    assert_eq!(writer.ask("XADD f 1-1 x y"), "1-1");
                    let wanted = if again { "[[f [[1-1 [x y]]]]]" } else { WRONGTYPE };
                    assert_eq!(reader.reply(), wanted, "{key} of {keys}");
                }
            }
        }
    });
}
