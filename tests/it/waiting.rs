//! Ten thousand clients that wait (C3): on one key in one group, on one key without a group, each
//! on a key of its own, and until their time is over.
//!
//! By default there are fewer of them. With `MILLSTREAM_SCALE=1` there are ten thousand, and how
//! long they wait for what has come is printed and compared: `tests/scale/run.sh waiting::c03`.

use crate::scale::{
    beside_pings, compare, fill, many, milliseconds, print, waited_for_processor, words,
};
use crate::{Client, Server, request, wait_until};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long all of them may wait for what is there, in milliseconds.
const ALL_SERVED_MS: f64 = 200.0;
/// How late the end of a wait may come, in milliseconds.
const LATE_MS: f64 = 20.0;

fn readers() -> usize {
    many(200, 10_000)
}

fn start(shards: &str) -> (Server, Client) {
    let clients = (readers() + 10).to_string();
    let server = Server::start(&["--shards", shards, "--maxclients", &clients]);
    let client = server.connect();
    (server, client)
}

/// Waits until as many clients are blocked.
#[track_caller]
fn wait_blocked(client: &mut Client, count: usize) {
    let line = format!("blocked_clients:{count}\r\n");
    wait_until(&line, || client.ask("INFO clients").contains(&line));
}

/// Connects clients that block in what `command` says. Each waits before the next one comes.
fn block_in_order(
    server: &Server,
    client: &mut Client,
    command: impl Fn(usize) -> String,
) -> Vec<Client> {
    let before = server.resident_bytes();
    let block = |n| {
        let mut reader = server.connect();
        reader.tell(&command(n));
        wait_blocked(client, n + 1);
        reader
    };
    let all: Vec<Client> = (0..readers()).map(block).collect();
    let each = server.resident_bytes().saturating_sub(before) / all.len() as u64;
    print(&format!("{} clients wait: {each} bytes each", all.len()));
    all
}

fn id_of(n: usize) -> String {
    format!("{}-0", n + 1)
}

#[test]
fn c03_clients_that_wait_for_one_group_are_served_one_by_one_as_they_came() {
    for shards in ["1", "4"] {
        let (server, mut client) = start(shards);
        client.ask("XGROUP CREATE s g $ MKSTREAM");
        let mut all = block_in_order(&server, &mut client, |n| {
            format!("XREADGROUP GROUP g c{n} COUNT 1 BLOCK 0 STREAMS s >")
        });
        // One entry wakes one of them; the others' wait goes on.
        beside_pings(&server, "one XADD for all that wait for a group", || {
            let began = Instant::now();
            assert_eq!(client.ask("XADD s 1-0 a b"), id_of(0));
            assert_eq!(all[0].reply(), "[[s [[1-0 [a b]]]]]");
            compare("C3 the first served", milliseconds(began.elapsed()), ALL_SERVED_MS, "ms");
        });
        wait_blocked(&mut client, all.len() - 1);
        let began = Instant::now();
        let add = |n| words(&format!("XADD s {} a b", id_of(n + 1)));
        fill(&mut client, all.len() - 1, add, |n, reply| assert_eq!(reply.text(), id_of(n + 1)));
        for (n, reader) in all.iter_mut().enumerate().skip(1) {
            assert_eq!(reader.reply(), format!("[[s [[{} [a b]]]]]", id_of(n)));
        }
        print(&format!("C3 an entry each: {:.3} ms", milliseconds(began.elapsed())));
        assert_eq!(client.ask("XINFO GROUPS s").matches(&format!(":{}", all.len())).count(), 3);
    }
}

#[test]
fn c03_clients_that_wait_without_a_group_are_all_served_at_once() {
    for shards in ["1", "4"] {
        let (server, mut client) = start(shards);
        let mut all =
            block_in_order(&server, &mut client, |_| "XREAD BLOCK 0 STREAMS s $".to_owned());
        beside_pings(&server, "one XADD for all that wait without a group", || {
            let began = Instant::now();
            assert_eq!(client.ask("XADD s 1-0 a b"), "1-0");
            for reader in &mut all {
                assert_eq!(reader.reply(), "[[s [[1-0 [a b]]]]]");
            }
            compare("C3 all served", milliseconds(began.elapsed()), ALL_SERVED_MS, "ms");
        });
        wait_blocked(&mut client, 0);
    }
}

#[test]
fn c03_clients_that_wait_each_on_its_own_key_get_what_is_theirs() {
    for shards in ["1", "4"] {
        let (server, mut client) = start(shards);
        let create = |n| words(&format!("XGROUP CREATE s{n} g $ MKSTREAM"));
        fill(&mut client, readers(), create, |_, reply| assert_eq!(reply.to_string(), "+OK"));
        let mut all = block_in_order(&server, &mut client, |n| match n % 2 {
            0 => format!("XREAD BLOCK 0 STREAMS s{n} $"),
            _ => format!("XREADGROUP GROUP g c BLOCK 0 STREAMS s{n} >"),
        });
        let keys = format!("total_blocking_keys:{}\r\n", all.len());
        assert!(client.ask("INFO clients").contains(&keys));
        // In another order than they came: the step is prime.
        let order: Vec<usize> = (0..all.len()).map(|n| n * 7_919 % all.len()).collect();
        let began = Instant::now();
        let add = |at: usize| words(&format!("XADD s{} {} n {}", order[at], id_of(at), order[at]));
        fill(&mut client, all.len(), add, |at, reply| assert_eq!(reply.text(), id_of(at)));
        for (at, n) in order.iter().enumerate() {
            assert_eq!(all[*n].reply(), format!("[[s{n} [[{} [n {n}]]]]]", id_of(at)));
        }
        let took = milliseconds(began.elapsed());
        compare("C3 each served on its own key", took, ALL_SERVED_MS, "ms");
        assert!(client.ask("INFO clients").contains("total_blocking_keys:0\r\n"));
    }
}

#[test]
fn c03_what_wakes_all_of_them_leaves_room_for_others() {
    let (server, mut client) = start("1");
    let mut all: Vec<Client> = (0..readers()).map(|_| server.connect()).collect();
    let group = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >";
    // Each asks for less than those before it.
    let claim = "XREADGROUP GROUP g c BLOCK 0 CLAIM @ STREAMS s >";
    for (command, event) in [
        (group, "DEL s"),
        (group, "XGROUP DESTROY s g"),
        (claim, "XADD s 1-0 a b"),
        ("XADD s * a b", "CLIENT UNPAUSE"),
        ("SUBSCRIBE c", "PUBLISH c x"),
    ] {
        client.ask("DEL s");
        client.ask("XGROUP CREATE s g $ MKSTREAM");
        if event == "CLIENT UNPAUSE" {
            assert_eq!(client.ask("CLIENT PAUSE 100000 WRITE"), "+OK");
        }
        for (n, reader) in all.iter_mut().enumerate() {
            reader.tell(&command.replace('@', &(86_400_000 - n).to_string()));
        }
        if command == "SUBSCRIBE c" {
            all.iter_mut().for_each(|reader| assert_eq!(reader.reply(), "[subscribe c :1]"));
        } else {
            wait_blocked(&mut client, all.len());
        }
        let what = format!("{event}, for which {} clients wait", all.len());
        beside_pings(&server, &what, || assert!(!client.ask(event).starts_with('-')));
        // Who got nothing is told that there is nothing any more.
        client.ask("DEL s");
        all.iter_mut().for_each(|reader| drop(reader.value()));
    }
}

#[test]
fn c03_time_outs_come_when_they_are_due() {
    let (server, mut client) = start("2");
    client.ask("XGROUP CREATE s g $ MKSTREAM");
    let first_ms = many(300, 6_000);
    let mut all: Vec<(Instant, Client)> = (0..readers())
        .map(|n| {
            let time_ms = first_ms + n * 7_919 % many(100, 2_000);
            let mut reader = server.connect();
            let began = Instant::now();
            let command = match n % 3 {
                0 => format!("XREAD BLOCK {time_ms} STREAMS s $"),
                1 => format!("XREADGROUP GROUP g c BLOCK {time_ms} STREAMS s >"),
                _ => format!("XREAD BLOCK {time_ms} STREAMS s t u v $ $ $ $"),
            };
            // The time counts from when the server has read it: that it has, PONG tells.
            reader.send(&[request(&["PING"]), request(&words(&command))].concat());
            assert_eq!(reader.reply(), "+PONG");
            (began + Duration::from_millis(time_ms as u64), reader)
        })
        .collect();
    // As they are due: nobody is late because another was looked at first.
    all.sort_by_key(|(due, _)| *due);
    let threads = server.threads();
    // While the test or a thread of the server stood in line for a processor, nobody was served.
    let in_line = || {
        let own = waited_for_processor(Path::new("/proc/thread-self/schedstat"));
        let theirs = threads.iter().map(|thread| waited_for_processor(thread));
        own + theirs.max().unwrap_or_default()
    };
    let (mut latest, mut seen) = (Duration::ZERO, Duration::ZERO);
    let mut looks = vec![(Instant::now(), in_line())];
    for (due, reader) in &mut all {
        assert_eq!(reader.reply(), "nil");
        let (now, waited) = (Instant::now(), in_line());
        assert!(now >= *due, "before its time");
        let before = looks.partition_point(|(at, _)| at <= due).saturating_sub(1);
        let waited_since = waited - looks[before].1;
        looks.push((now, waited));
        seen = seen.max(now - *due);
        latest = latest.max((now - *due).saturating_sub(waited_since));
    }
    let what = format!(
        "C3 the latest time-out, with waiting for a processor {:.3} ms",
        milliseconds(seen)
    );
    compare(&what, milliseconds(latest), LATE_MS, "ms after its time");
    wait_blocked(&mut client, 0);
    assert!(client.ask("INFO clients").contains("clients_in_timeout_table:0\r\n"));
    assert!(client.ask("INFO clients").contains("total_blocking_keys:0\r\n"));
}
