//! Clients that read too little, send too slowly, leave at any point, or were never let in: what
//! they cost is bounded, and is given back. With `MILLSTREAM_SCALE=1` there are as many as
//! `tests/scale/run.sh` says, and what they cost is printed.

use crate::scale::{beside_pings, is_large, many, print};
use crate::{Client, Server, request, wait_until};
use millstream::testing::Rng;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// How much more memory the server has than before, now that what caused it is over.
fn grown(server: &Server, before: u64) -> u64 {
    server.resident_bytes().saturating_sub(before)
}

/// Waits until only the one who asks is connected.
fn wait_alone(client: &mut Client) {
    wait_until("all others have left", || {
        client.ask("INFO clients").contains("connected_clients:1\r\n")
    });
}

/// Waits until the memory is back, but for what the allocator keeps for the next time.
fn wait_returned(server: &Server, client: &mut Client, before: u64) {
    // What is freed goes back to the system when the allocator is next asked for much.
    wait_until("the memory is back", || {
        drop(client.ask(&format!("ECHO {}", "x".repeat(2 << 20))));
        grown(server, before) < 64 * MIB
    });
    print(&format!("             {} bytes more than before", grown(server, before)));
}

/// Waits until the server has closed `count` clients for what they left unread.
fn wait_closed(server: &Server, client: &mut Client, count: usize) {
    let line = format!("client_output_buffer_limit_disconnections:{count}\r\n");
    wait_until(&line, || client.ask("INFO stats").contains(&line));
    let log = server.place().log();
    assert_eq!(log.matches("bytes of output unread").count(), count, "{log}");
}

#[test]
fn c04_who_asks_for_much_and_reads_little_is_held_back_or_closed() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 64mb 0 0"]);
    let mut client = server.connect();
    let value = "v".repeat(1 << 20);
    for n in 1..=80 {
        assert_eq!(client.ask(&format!("XADD s {n}-0 f {value}")), format!("{n}-0"));
    }
    let before = server.resident_bytes();
    // Replies of 16 MiB, each below the limit, 1 GiB in all: they are made as they are read.
    let mut slow = server.connect();
    beside_pings(&server, "a client that does not read 1 GiB that it asked for", || {
        slow.send(&request(&["XRANGE", "s", "-", "+", "COUNT", "16"]).repeat(64));
        slow.try_value().unwrap();
    });
    let held = grown(&server, before);
    print(&format!("             {held} bytes held for it"));
    assert!(held < 64 * MIB, "{held}");
    drop(slow);
    wait_alone(&mut client);
    wait_returned(&server, &mut client, before);
    // One reply above it is made as it is read; one in a transaction is made at once.
    let mut slow = server.connect();
    let ranges = ["XRANGE s - +", "XREVRANGE s + -", "XREAD STREAMS s 0"];
    beside_pings(&server, "a client that does not read replies of 80 MiB", || {
        ranges.iter().for_each(|range| slow.tell(range));
        assert_eq!(client.ask("XTRIM s MAXLEN 79"), ":1");
    });
    let held = grown(&server, before);
    assert!(held < 16 * MIB, "{held}");
    assert_eq!(slow.value().array().len(), 80);
    assert_eq!(slow.value().array().len(), 79);
    assert_eq!(slow.value().array()[0].array()[1].array().len(), 79);
    for command in ["MULTI", "XRANGE s 1 40", "XRANGE s 41 80", "EXEC"] {
        slow.tell(command);
    }
    wait_closed(&server, &mut client, 1);
    wait_alone(&mut client);
    wait_returned(&server, &mut client, before);
}

#[test]
fn c04_a_subscriber_that_reads_little_is_closed() {
    let server = Server::start(&["--client-output-buffer-limit", "pubsub 32mb 0 0"]);
    let (mut client, mut reading) = (server.connect(), server.connect());
    let mut slow: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in slow.iter_mut().chain([&mut reading]) {
        assert_eq!(client.ask("SUBSCRIBE c"), "[subscribe c :1]");
    }
    let before = server.resident_bytes();
    let message = "m".repeat(1 << 20);
    let mut peak = 0;
    beside_pings(&server, "subscribers that do not read", || {
        for _ in 0..60 {
            client.ask(&format!("PUBLISH c {message}"));
            assert_eq!(reading.reply().len(), message.len() + "[message c ]".len());
            peak = peak.max(grown(&server, before));
        }
    });
    print(&format!("             {peak} bytes held for them"));
    // A buffer that grows is copied, so that for a while there are both.
    assert!(peak < 4 * 2 * 34 * MIB + 32 * MIB, "{peak}");
    wait_closed(&server, &mut client, 4);
    assert_eq!(client.ask("PUBLISH c last"), ":1");
    assert_eq!(reading.reply(), "[message c last]");
    wait_returned(&server, &mut client, before);
}

#[test]
fn c06_requests_that_come_byte_by_byte_harm_nobody() {
    let count = many(200, 5_000);
    let server = Server::start(&["--maxclients", &(count + 10).to_string()]);
    let before = server.resident_bytes();
    let mut slow: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    let bytes = request(&["XADD", "s", "*", "field", "value"]);
    // Twenty bytes a second of each, and not all that the processors can send: that would be load.
    let every = Duration::from_millis(many(0, 50) as u64) / 50;
    beside_pings(&server, "requests that come byte by byte", || {
        let mut due = Instant::now();
        for byte in &bytes[..bytes.len() - 1] {
            for some in slow.chunks_mut(count / 50) {
                some.iter_mut().for_each(|slow| slow.send(&[*byte]));
                due += every;
                let early = due.saturating_duration_since(Instant::now());
                std::thread::sleep(early); // paces the load; nothing is decided by it
            }
        }
    });
    let each = grown(&server, before) / count as u64;
    print(&format!("{count} clients in the middle of a request: {each} bytes each"));
    assert!(!is_large() || each <= 4096, "{each}");
    assert_eq!(server.connect().ask("XLEN s"), ":0");
    for slow in &mut slow {
        slow.send(&bytes[bytes.len() - 1..]);
        assert!(slow.reply().contains('-'));
    }
    assert_eq!(server.connect().ask("XLEN s"), format!(":{count}"));
}

/// What a client has sent when it leaves, and what somebody else does just then.
const POINTS: &[(&str, &str)] = &[
    ("", "PING"),
    ("XREAD BLOCK 0 STREAMS s t $ $", "PING"),
    ("XREAD BLOCK 0 STREAMS s $", "XADD s * f v"),
    ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "XADD s * f v"),
    ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "CLIENT UNBLOCK ID"),
    ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "CLIENT KILL ID"),
    ("XREADGROUP GROUP g c BLOCK 20 CLAIM 5 STREAMS s >", "XGROUP DESTROY s g"),
    ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "DEL s"),
    ("MULTI\nXADD s * f v\nXADD t * f v", "XADD s * f v"),
    ("MULTI\nXADD s * f v\nXADD t * f v\nEXEC", "CLIENT KILL ID"),
    ("WATCH s t k", "XADD s * f v"),
    ("WATCH s\nMULTI\nXADD s * f v\nEXEC", "XADD s * f v"),
    ("XRANGE large - +\nXRANGE large - +\nXRANGE large - +", "CLIENT KILL ID"),
    ("XRANGE large - +\nXRANGE large - +", "PING"),
    ("XADD s * f v\nXADD t * f v\nXLEN s\nXADD s * f v", "CLIENT KILL ID"),
    ("SUBSCRIBE c\nPSUBSCRIBE *", "PUBLISH c x"),
    ("MONITOR", "XADD s * f v"),
    ("WAITAOF 1 0 0", "CLIENT KILL ID"),
    ("CLIENT REPLY OFF\nXADD s * f v", "PING"),
    ("CLIENT PAUSE 1 ALL\nXADD s * f v", "CLIENT UNPAUSE"),
];

/// Lets clients leave: at each point, behind any byte of what they send, before, while or after
/// another client does something.
fn leave_everywhere(server: &Server, admin: &mut Client, rng: &mut Rng, count: usize) {
    for n in 0..count {
        let (sent, other) = POINTS[n % POINTS.len()];
        let mut client = server.connect();
        let other = if other.ends_with("ID") {
            let id = client.ask("CLIENT ID");
            format!("{other} {}", id.trim_start_matches(':'))
        } else {
            other.to_owned()
        };
        let line = |line: &str| request(&line.split_whitespace().collect::<Vec<_>>());
        let bytes: Vec<u8> = sent.lines().flat_map(line).collect();
        let end = if rng.chance(1, 3) { rng.below(bytes.len() + 1) } else { bytes.len() };
        client.send(&bytes[..end]);
        match rng.below(4) {
            0 => drop(client),
            1 => {
                admin.tell(&other);
                drop(client);
                admin.value();
            }
            2 => {
                // It is being served when it leaves, or has been.
                admin.ask(&other);
                drop(client);
            }
            _ => {
                // With something unread, so that the socket breaks.
                client.try_tell("ECHO x");
                drop(client);
                admin.ask(&other);
            }
        }
        if n % POINTS.len() == 0 {
            admin.ask("DEL t");
            admin.ask("XTRIM s MAXLEN 10");
            admin.ask("XGROUP CREATE s g $ MKSTREAM");
        }
    }
}

#[test]
fn c08_clients_that_leave_at_any_point_leave_nothing_behind() {
    let count = many(1_000, 50_000);
    for shards in ["1", "4"] {
        let server = Server::start(&["--shards", shards]);
        let mut admin = server.connect();
        let value = "v".repeat(1 << 18);
        (0..4).for_each(|_| drop(admin.ask(&format!("XADD large * f {value}"))));
        let mut rng = Rng::new(8);
        leave_everywhere(&server, &mut admin, &mut rng, count / 4);
        wait_alone(&mut admin);
        let (before, files) = (server.resident_bytes(), server.open_files());
        leave_everywhere(&server, &mut admin, &mut rng, count);
        wait_alone(&mut admin);
        let info = admin.ask("INFO clients");
        for part in [
            "blocked_clients:0\r\n",
            "pubsub_clients:0\r\n",
            "watching_clients:0\r\n",
            "clients_in_timeout_table:0\r\n",
            "total_watched_keys:0\r\n",
            "total_blocking_keys:0\r\n",
        ] {
            assert!(info.contains(part), "{part}: {info}");
        }
        assert_eq!(server.open_files(), files);
        let grown = grown(&server, before);
        print(&format!("{count} clients have left {shards} shards: {grown} bytes more"));
        assert!(grown < 32 * MIB, "{grown}");
    }
}

#[test]
fn c09_who_was_not_let_in_costs_little() {
    let count = many(50, 1_000);
    let maximum = (count + 10).to_string();
    let server = Server::start(&["--maxclients", &maximum]);
    let mut client = server.connect();
    assert_eq!(client.ask("CONFIG SET requirepass secret"), "+OK");
    let before = server.resident_bytes();
    let mut floods: Vec<Client> = Vec::new();
    for n in 0..count {
        let mut flood = server.connect();
        let bytes = match n % 4 {
            // Commands whose refusals it does not read.
            0 => request(&["XADD", "s", "*", "f", "v"]).repeat(20_000),
            // A request that does not end; each part is as large as it may be.
            1 => {
                let mut bytes = b"*10\r\n".to_vec();
                (0..10).for_each(|_| bytes.extend(request(&["x".repeat(16_384)]).split_off(4)));
                bytes.truncate(bytes.len() - 1);
                bytes
            }
            // A line that does not end.
            2 => vec![b'x'; 1 << 20],
            _ => request(&["AUTH", "x", &"y".repeat(16_000)]).repeat(60),
        };
        // Whatever the server lets it send.
        flood.send_some(&bytes);
        floods.push(flood);
        assert_eq!(client.ask("PING"), "+PONG");
    }
    let peak = grown(&server, before);
    print(&format!("{count} floods of clients not let in: {} bytes each", peak / count as u64));
    assert!(peak < MIB * count as u64, "{peak}");
    assert_eq!(client.ask("XLEN s"), ":0");
    drop(floods);
    wait_alone(&mut client);
}
