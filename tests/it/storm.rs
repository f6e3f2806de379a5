//! Clients that do everything at once, and leave at any moment: no frame is torn, nobody hangs,
//! nothing is left behind. With `MILLSTREAM_SCALE=1` it takes longer.

use crate::resp::{Reader, Value};
use crate::scale::many;
use crate::talk::{Client, Server, with_shards};
use millstream::testing::Rng;
use std::collections::BTreeMap;

const CLIENTS: u64 = 12;
const STEPS: usize = 300;

/// What a client may do; some of it waits.
const COMMANDS: &[&str] = &[
    "XADD a * f v",
    "XADD b * f v",
    "XREAD BLOCK 3 STREAMS a b c d $ $ $ $",
    "XREAD BLOCK 0 STREAMS a b $ $",
    "XREADGROUP GROUP g me BLOCK 2 STREAMS a b > >",
    "XGROUP CREATE a g $ MKSTREAM",
    "XGROUP CREATE b g $ MKSTREAM",
    "XGROUP DESTROY a g",
    "DEL a c",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH a b",
    "UNWATCH",
    "SUBSCRIBE ch",
    "PSUBSCRIBE *",
    "SSUBSCRIBE ch",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
    "PUBLISH ch x",
    "SPUBLISH ch x",
    "CLIENT LIST",
    "CLIENT REPLY SKIP",
    "CLIENT REPLY OFF",
    "CLIENT REPLY ON",
    "CLIENT NO-TOUCH ON",
    "CLIENT NO-EVICT ON",
    "CLIENT NO-EVICT OFF",
    "CLIENT PAUSE 2 WRITE",
    "CLIENT PAUSE 2 ALL",
    "CLIENT UNPAUSE",
    "WAIT 1 2",
    "WAITAOF 1 0 100",
    "MONITOR",
    "RESET",
    "HELLO 3",
    "HELLO 2",
    "FLUSHALL",
    "INFO",
    "nosuch",
];

/// Runs commands at random until the connection ends.
fn play(server: &Server, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut client = server.connect();
    for step in 0..STEPS {
        let command = COMMANDS[rng.below(COMMANDS.len())];
        if client.try_send(command).is_none() {
            return;
        }
        if rng.chance(1, 200) {
            // It leaves in the middle.
            return;
        }
        if rng.chance(2, 3) {
            // The next command stands in the same pipeline.
            continue;
        }
        // Pushes, lines of MONITOR and replies come mixed; the echo tells where the replies end.
        let mark = format!("mark-{step}");
        if client
            .try_send("RESET")
            .and_then(|()| client.try_send(&format!("ECHO {mark}")))
            .is_none()
        {
            return;
        }
        loop {
            match client.reader.read() {
                None => return,
                Some(Value::Bulk(bytes)) if bytes == mark.as_bytes() => break,
                Some(_) => {}
            }
        }
    }
}

/// Disturbs the others until they are done.
fn disturb(admin: &mut Client, rng: &mut Rng, own: i64) {
    let id = own + 1 + i64::try_from(rng.below(40)).unwrap();
    match rng.below(6) {
        0 => drop(admin.run(&format!("CLIENT KILL ID {id}"))),
        1 => drop(admin.run("CLIENT UNPAUSE")),
        2 => drop(admin.run(&format!("CLIENT UNBLOCK {id} ERROR"))),
        3 => drop(admin.run("PUBLISH ch y")),
        4 => drop(admin.run("XADD a * f v")),
        _ => drop(admin.run(&format!("CLIENT UNBLOCK {id}"))),
    }
}

#[test]
fn c15_nothing_hangs_and_nothing_is_left() {
    with_shards(&[], |server| {
        let mut admin = server.connect();
        let own = admin.id();
        for round in 0..many(3, 300) as u64 {
            std::thread::scope(|scope| {
                let players: Vec<_> = (0..CLIENTS)
                    .map(|n| scope.spawn(move || play(server, round * CLIENTS + n)))
                    .collect();
                let mut rng = Rng::new(round);
                while players.iter().any(|player| !player.is_finished()) {
                    disturb(&mut admin, &mut rng, own);
                }
            });
        }
        admin.run("CLIENT UNPAUSE");
        for part in [
            "connected_clients:1\r\n",
            "blocked_clients:0\r\n",
            "pubsub_clients:0\r\n",
            "watching_clients:0\r\n",
            "clients_in_timeout_table:0\r\n",
            "total_watched_keys:0\r\n",
            "total_blocking_keys:0\r\n",
        ] {
            admin.until("INFO clients", |info| info.contains(part));
        }
        assert_eq!(admin.run("CLIENT LIST").to_string().lines().count(), 2);
    });
}

/// Frames of each source come in its order; here are those that a test has seen of each.
type Seen = BTreeMap<String, usize>;

/// Counts a frame whose text is `…source/number/padding`: each source counts from 0.
#[track_caller]
fn count_frame(seen: &mut Seen, parts: &[Value]) {
    let text = |part: &Value| {
        let Value::Bulk(bytes) = part else { panic!("no text: {part}") };
        String::from_utf8(bytes.clone()).unwrap()
    };
    let whole = parts.iter().map(text).collect::<Vec<_>>().join(" ");
    let mut pieces = whole.split('/');
    let (source, number) = (pieces.next().unwrap(), pieces.next().unwrap());
    let next = seen.entry(source.to_owned()).or_default();
    assert_eq!(number.parse(), Ok(*next), "{whole}");
    *next += 1;
}

#[test]
fn c14_frames_of_many_sources_to_one_connection_stay_whole() {
    // Nine frames of eight sources each time: a million in all.
    let count = many(300, 112_000);
    let padding = |n: usize| "x".repeat(n * 37 % 700);
    let no_limit = "pubsub 0 0 0";
    let settings = ["--notify-keyspace-events", "AKE", "--client-output-buffer-limit", no_limit];
    with_shards(&settings, |server| {
        let mut client = server.connect3();
        client.check(
            "SUBSCRIBE ch => >[\"subscribe\" \"ch\" :1]
             PSUBSCRIBE c* __key* => >[\"psubscribe\" \"c*\" :2]",
        );
        assert_eq!(client.text(), ">[\"psubscribe\" \"__key*\" :3]");
        client.check("SSUBSCRIBE sh => >[\"ssubscribe\" \"sh\" :1]");
        let mut own = Client {
            stream: client.stream.try_clone().unwrap(),
            reader: Reader::new(client.stream.try_clone().unwrap()),
        };
        let mut seen = Seen::new();
        let mut received = 0;
        std::thread::scope(|scope| {
            for source in ["PUBLISH ch a", "SPUBLISH sh b", "XADD k"] {
                scope.spawn(move || {
                    let mut other = server.connect();
                    for n in 0..count {
                        other.run(&match source {
                            "XADD k" => format!("XADD k/{n}/ * f v"),
                            _ => format!("{source}/{n}/{}", padding(n)),
                        });
                    }
                });
            }
            // It publishes to itself, too.
            scope.spawn(move || {
                for n in 0..count {
                    own.send(&format!("ECHO e/{n}/{}\nPUBLISH ch p/{n}/", padding(n + 1)));
                }
            });
            for _ in 0..9 * count {
                let frame = client.read();
                if let Value::Push(parts) = &frame {
                    count_frame(&mut seen, parts);
                } else if frame == Value::Integer(2) {
                    received += 1;
                } else {
                    count_frame(&mut seen, &[frame]);
                }
            }
        });
        assert_eq!(received, count);
        let expected = [
            "e",
            "message ch a",
            "message ch p",
            "pmessage __key* __keyevent@0__:xadd k",
            "pmessage __key* __keyspace@0__:k",
            "pmessage c* ch a",
            "pmessage c* ch p",
            "smessage sh b",
        ];
        assert_eq!(seen, expected.map(|source| (source.to_owned(), count)).into());
        client.check("ECHO end => \"end\"");
    });
}
