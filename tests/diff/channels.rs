//! What a connection is in: subscriptions, a protocol, a transaction. A command may give no frame
//! or several there, and other connections get some, also of what happens to keys.
//!
//! So all connections are listened to after each step: the peer's until they are silent, which is
//! so when one more connection has had two answers (it has one thread, and what it has to send
//! leaves in the same turn of its loop); ours until as much has come.

use crate::commands::{Maker, Pattern, Version};
use crate::frame::{self, Frame};
use crate::{CONNECTIONS, Client, Server, Step, search, servers, words};

/// Steps of a round.
const STEPS: usize = 60;

// Which order all channels are left in is each server's own, so they are named.
const PATTERNS: &[Pattern] = &[
    (8, 0, "SUBSCRIBE {channel} [ {channel} ]"),
    (5, 0, "PSUBSCRIBE {pattern} [ {pattern} ]"),
    (4, 700, "SSUBSCRIBE {channel} [ {channel} ]"),
    (4, 0, "UNSUBSCRIBE {channel} [ {channel} ]"),
    (3, 0, "PUNSUBSCRIBE {pattern}"),
    (3, 700, "SUNSUBSCRIBE {channel}"),
    (14, 0, "PUBLISH {channel} {small}"),
    (5, 700, "SPUBLISH {channel} {small}"),
    (2, 700, "PUBSUB (CHANNELS ?b|NUMSUB a b {edge}|NUMPAT|SHARDNUMSUB a b)"),
    (3, 0, "PING [ {small} ] [ {small} ]"),
    (2, 0, "ECHO {small}"),
    (3, 0, "HELLO (2|3|4)"),
    (1, 602, "RESET"),
    (5, 0, "MULTI"),
    (6, 0, "EXEC"),
    (1, 0, "DISCARD"),
    (2, 0, "SELECT (0|1)"),
    // Muted, a connection would not tell when it is done.
    (1, 0, "CLIENT REPLY ON"),
    (6, 806, "CONFIG SET notify-keyspace-events (KEA|AKEnmoc|Kt|E$gx|KEmn|x)"),
    (3, 0, "GET {any}"),
    (4, 0, "(SET|APPEND|SETNX|GETSET) {any} {small}"),
    (2, 0, "(INCR|GETDEL|DEL|UNLINK|TYPE|TOUCH|PERSIST) {any}"),
    (2, 0, "(SETRANGE|INCRBYFLOAT {any} 1|SETRANGE {any} 2) {any} {small}"),
    (2, 0, "(EXPIRE|PEXPIREAT|GETEX {any} EX) {any} ({far}|-1)"),
    (2, 0, "(RENAME|RENAMENX|COPY|MSET) {any} {any} [ REPLACE ]"),
    (2, 0, "(MOVE|MSETNX) {any} (0|1)"),
    (1, 0, "(FLUSHDB|FLUSHALL|SWAPDB 0 1)"),
    (6, 0, "XADD {key} [ MAXLEN (1|3) ] {new} {pairs}"),
    (2, 0, "XDEL {key} {ids}"),
    (2, 0, "XTRIM {key} MAXLEN (0|1|2)"),
    (2, 0, "XGROUP (CREATE {key} {group} 0 MKSTREAM|DESTROY {key} {group}|SETID {key} {group} 0)"),
    (2, 0, "XGROUP (CREATECONSUMER|DELCONSUMER) {key} {group} {consumer}"),
    (3, 0, "XREADGROUP GROUP {group} {consumer} [ NOACK ] STREAMS {key} >"),
    (1, 0, "XCLAIM {key} {group} {consumer} 0 {ids}"),
    (1, 802, "(XACKDEL {key} {group}|XDELEX {key}) {idblock}"),
    (1, 702, "XSETID {key} {id}"),
];

/// The steps of a seed: one command each.
fn round(seed: u64, version: Version) -> Vec<Step> {
    let mut maker = Maker::new(seed, version);
    let mut in_transaction = [false; CONNECTIONS];
    let mut steps = Vec::new();
    while steps.len() < STEPS {
        let connection = maker.below(CONNECTIONS);
        let words = maker.command_of(PATTERNS);
        let (name, transaction) = (words[0].as_slice(), &mut in_transaction[connection]);
        match name {
            b"MULTI" => *transaction = true,
            b"EXEC" | b"DISCARD" | b"RESET" => *transaction = false,
            // The events of what a transaction changes wait for the log, and come in Redis among
            // what else it does.
            b"CONFIG" | b"HELLO" | b"PUBLISH" | b"SPUBLISH" if *transaction => continue,
            _ if *transaction && words.iter().any(|word| word.starts_with(b"__key")) => continue,
            _ => {}
        }
        steps.push(Step { connection, commands: vec![words] });
    }
    // What was sent beyond what was waited for shows before this.
    for connection in 0..CONNECTIONS {
        steps.push(Step { connection, commands: vec![words("RESET")] });
    }
    steps
}

/// Plays a round; the first difference.
fn play(servers: &[Server], steps: &[Step]) -> Option<String> {
    let mut clients: Vec<Vec<Client>> =
        servers.iter().map(|server| (0..CONNECTIONS).map(|_| server.connect()).collect()).collect();
    for of_server in &mut clients {
        of_server[0].call(&words("CONFIG SET notify-keyspace-events KEA"));
        of_server[0].call(&words("FLUSHALL"));
        of_server[1].call(&words("HELLO 3"));
    }
    let mut control = servers[0].connect();
    for step in steps {
        let words = &step.commands[0];
        clients.iter_mut().for_each(|of_server| of_server[step.connection].send(words));
        let (peer, ours) = clients.split_first_mut()?;
        let theirs = listen(&mut control, peer, step.connection);
        for (of_server, server) in ours.iter_mut().zip(&servers[1..]) {
            for (n, theirs) in theirs.iter().enumerate() {
                for theirs in theirs {
                    let ours = next(&mut of_server[n]);
                    if ours.as_ref() != Some(theirs) {
                        let ours = ours.map_or_else(String::new, |frame| frame.to_string());
                        let step = step.describe();
                        return Some(format!(
                            "{} after {step}, to {n}\n  theirs {theirs}\n  ours   {ours}",
                            server.name
                        ));
                    }
                }
            }
        }
    }
    None
}

/// The next frame, without what depends on the server.
fn next(client: &mut Client) -> Option<Frame> {
    let mut frame = frame::read(&mut client.read)?;
    frame.normalise(&words("HELLO"));
    Some(frame)
}

/// All that the peer has sent after a command of the `sender`, by connection.
fn listen(control: &mut Client, clients: &mut [Client], sender: usize) -> Vec<Vec<Frame>> {
    let mut heard = vec![Vec::new(); clients.len()];
    heard[sender].extend(next(&mut clients[sender]));
    control.call(&words("PING"));
    control.call(&words("PING"));
    for (client, heard) in clients.iter_mut().zip(&mut heard) {
        while client.hears() {
            heard.extend(next(client));
        }
    }
    heard
}

#[test]
fn what_connections_hear_is_what_redis_sends() {
    let Some(servers) = servers() else { return };
    let version = servers[0].version();
    if version < 702 {
        // What a client publishes to itself came before the reply then.
        return;
    }
    search(version, |seed| round(seed, version), |steps| play(&servers, steps));
}
