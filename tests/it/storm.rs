//! Clients that do everything at once, and leave at any moment: no frame is torn, nobody hangs,
//! nothing is left behind.

use crate::resp::Value;
use crate::scale::many;
use crate::talk::{Client, Server, with_shards};
use millstream::testing::Rng;

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
        for round in 0..3 {
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

#[test]
fn c14_frames_of_many_sources_stay_whole() {
    with_shards(&[], |server| {
        let mut client = server.connect3();
        client.check("SUBSCRIBE ch => >[\"subscribe\" \"ch\" :1]");
        let count = many(2_000, 125_000);
        std::thread::scope(|scope| {
            for publisher in 0..3 {
                scope.spawn(move || {
                    let mut publisher_client = server.connect();
                    let message = "m".repeat(100 * (publisher + 1));
                    publisher_client.send(&format!("PUBLISH ch {message}\n").repeat(count));
                    (0..count).for_each(|_| drop(publisher_client.read()));
                });
            }
            client.send(&"ECHO reply\n".repeat(count));
            let (mut messages, mut replies) = (0, 0);
            while messages < 3 * count || replies < count {
                let frame = client.read();
                if let Value::Push(parts) = &frame {
                    assert_eq!(parts.len(), 3);
                    messages += 1;
                } else {
                    assert_eq!(frame.to_string(), "\"reply\"");
                    replies += 1;
                }
            }
        });
    });
}
