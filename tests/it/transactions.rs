//! EXEC: what runs in which order, what an abort takes back, and what a crash keeps.

use crate::{Client, Server, Value};
use std::sync::atomic::{AtomicBool, Ordering};

fn exec(client: &mut Client, commands: &[&str]) -> String {
    assert_eq!(client.ask("MULTI"), "+OK");
    for command in commands {
        assert_eq!(client.ask(command), "+QUEUED", "{command}");
    }
    client.ask("EXEC")
}

#[test]
fn commands_of_the_connection_run_in_their_turn() {
    for shards in ["1", "4"] {
        let server = Server::start(&["--shards", shards]);
        let mut client = server.connect();
        // Nobody listens when it is published: the subscription comes later.
        let reply = exec(&mut client, &["PUBLISH c m", "SUBSCRIBE c"]);
        assert_eq!(reply, "[:0 [subscribe c :1]]");
        assert_eq!(client.ask("RESET"), "+RESET");
        let reply = exec(&mut client, &["SET a 0", "SELECT 1", "SET b 1", "SELECT 0", "GET b"]);
        assert_eq!(reply, "[+OK +OK +OK +OK nil]");
        assert_eq!(client.ask("GET a"), "0");
        let commands = ["CONFIG SET requirepass x", "AUTH x", "CONFIG SET requirepass y", "AUTH x"];
        let error = "-WRONGPASS invalid username-password pair or user is disabled.";
        assert_eq!(exec(&mut client, &commands), format!("[+OK +OK +OK {error}]"));
        assert_eq!(client.ask("AUTH y"), "+OK");
    }
}

#[test]
fn monitors_see_a_transaction_in_its_order_or_not_at_all() {
    for shards in ["1", "4"] {
        let server = Server::start(&["--shards", shards]);
        let (mut watcher, mut client) = (server.connect(), server.connect());
        assert_eq!(watcher.ask("MONITOR"), "+OK");
        exec(&mut client, &["SET a 0", "PING", "SET b 1", "ECHO x"]);
        assert_eq!(client.ask("WATCH a"), "+OK");
        assert_eq!(client.ask("SET a 1"), "+OK");
        assert_eq!(exec(&mut client, &["SET c 0", "ECHO y"]), "nil");
        assert_eq!(client.ask("ECHO end"), "end");
        let mut seen = Vec::new();
        while seen.last().is_none_or(|line: &String| !line.contains("end")) {
            let line = watcher.reply();
            let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            seen.push(words.join(" "));
        }
        let wanted = [
            "MULTI", "SET a 0", "PING", "SET b 1", "ECHO x", "EXEC", "WATCH a", "SET a 1", "MULTI",
            "EXEC", "ECHO end",
        ];
        assert_eq!(seen, wanted, "{shards}");
    }
}

/// Whether a watched key has changed is known for good only with the shards in hand.
#[test]
fn an_abort_leaves_the_connection_as_it_was_however_late_it_comes() {
    let server = Server::start(&["--shards", "4", "--appendonly", "no"]);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut other = server.connect();
                while !ended.load(Ordering::Relaxed) {
                    other.ask("INCR k");
                }
            });
        }
        let mut client = server.connect();
        let mut aborted = 0;
        for n in 0..3000 {
            // In one piece with the rest, others would have little time between.
            assert_eq!(client.ask("WATCH k"), "+OK");
            client.send(b"MULTI\r\nSELECT 5\r\nCLIENT SETNAME x\r\nGET j\r\nEXEC\r\n");
            let replies: Vec<String> = (0..5).map(|_| client.reply()).collect();
            let info = client.ask("CLIENT INFO");
            if replies[4] == "nil" {
                aborted += 1;
                ended.store(!info.contains(" db=0 "), Ordering::Relaxed);
                assert!(info.contains(" db=0 ") && info.contains(" name= "), "{info} in {n}");
            } else {
                assert_eq!(client.ask("SELECT 0"), "+OK");
                assert_eq!(client.ask("RESET"), "+RESET");
            }
        }
        ended.store(true, Ordering::Relaxed);
        assert!(aborted > 0, "no key changed in time");
    });
}

/// Whatever writes the log or a snapshot meanwhile would write half of a transaction.
#[test]
fn a_transaction_is_one_frame_whatever_it_asks_of_the_log() {
    for (shards, log) in [("1", "yes"), ("4", "yes"), ("1", "no"), ("4", "no")] {
        let server = Server::start(&["--shards", shards, "--appendonly", log, "--save", "900 1"]);
        let mut client = server.connect();
        let other = if log == "yes" { "no" } else { "yes" };
        let switch = format!("CONFIG SET appendonly {other}");
        let stay = format!("CONFIG SET appendonly {log}");
        let asked = [&switch, &stay, "DEBUG RELOAD", "DEBUG LOADAOF", "BGSAVE", "BGREWRITEAOF"];
        let mut commands = vec!["INFO persistence"];
        for command in asked {
            commands.extend(["INCR a", command, "INCR b"]);
        }
        commands.push("INFO persistence");
        client.ask("MULTI");
        commands.iter().for_each(|command| assert_eq!(client.ask(command), "+QUEUED"));
        let replies = client.call(&["EXEC"]);
        let replies = replies.array();
        let frames = |info: &Value| {
            let info = info.to_string();
            info.lines().find(|line| line.starts_with("aof_frames:")).map(str::to_owned)
        };
        assert_eq!(frames(&replies[0]), frames(replies.last().unwrap()), "half of it is written");
        let of_config = "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - not \
                         allowed inside a transaction";
        let of_debug = "-ERR DEBUG cannot reload inside a transaction";
        let saved = "+Background saving scheduled";
        let rewritten = "+Background append only file rewriting scheduled";
        let wanted = [of_config, "+OK", of_debug, of_debug, saved, rewritten];
        for (got, wanted) in replies[1..].chunks(3).zip(wanted) {
            assert_eq!(got[1].to_string(), wanted);
        }
        assert_eq!(client.ask("MGET a b"), "[6 6]");
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask("SAVE"), "-ERR Command not allowed inside a transaction");
    }
}
