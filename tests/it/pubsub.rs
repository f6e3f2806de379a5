//! Channels, patterns, shard channels, and keyspace notifications.

use crate::talk::{Server, with_shards};

#[test]
fn subscriptions_are_confirmed_one_by_one() {
    let server = Server::start(1, &[]);
    let mut client = server.connect();
    client.send("SUBSCRIBE a b a\nPSUBSCRIBE p*\nSSUBSCRIBE s");
    for reply in [
        "[\"subscribe\" \"a\" :1]",
        "[\"subscribe\" \"b\" :2]",
        "[\"subscribe\" \"a\" :2]",
        "[\"psubscribe\" \"p*\" :3]",
        "[\"ssubscribe\" \"s\" :1]",
    ] {
        assert_eq!(client.text(), reply);
    }
    client.check(
        "GET k => -ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT \
         / RESET are allowed in this context
         PING => [\"pong\" \"\"]
         PING x => [\"pong\" \"x\"]
         UNSUBSCRIBE a => [\"unsubscribe\" \"a\" :2]
         PUNSUBSCRIBE => [\"punsubscribe\" \"p*\" :1]
         UNSUBSCRIBE => [\"unsubscribe\" \"b\" :0]
         UNSUBSCRIBE => [\"unsubscribe\" null :0]
         SUNSUBSCRIBE => [\"sunsubscribe\" \"s\" :0]
         GET k => null",
    );
}

#[test]
fn messages_reach_all_threads() {
    with_shards(&["--notify-keyspace-events", "KEA"], |server| {
        let mut old = server.connect();
        let mut new = server.connect3();
        old.check("SUBSCRIBE c => [\"subscribe\" \"c\" :1]");
        new.check(
            "PSUBSCRIBE * => >[\"psubscribe\" \"*\" :1]
             SSUBSCRIBE c => >[\"ssubscribe\" \"c\" :1]",
        );
        server.connect().check(
            "PUBLISH c x => :2
             SPUBLISH c y => :1
             PUBSUB CHANNELS => [\"c\"]
             PUBSUB NUMSUB c d => [\"c\" :1 \"d\" :0]
             PUBSUB NUMPAT => :1
             PUBSUB SHARDNUMSUB c => [\"c\" :1]
             XADD s 1-1 f v => \"1-1\"",
        );
        assert_eq!(old.text(), "[\"message\" \"c\" \"x\"]");
        for message in [
            ">[\"pmessage\" \"*\" \"c\" \"x\"]",
            ">[\"smessage\" \"c\" \"y\"]",
            ">[\"pmessage\" \"*\" \"__keyspace@0__:s\" \"xadd\"]",
            ">[\"pmessage\" \"*\" \"__keyevent@0__:xadd\" \"s\"]",
        ] {
            assert_eq!(new.text(), message);
        }
        // It may run any command.
        new.check("XLEN s => :1");
    });
}

#[test]
fn messages_stand_between_the_two_confirmations() {
    with_shards(&[], |server| {
        let mut publisher = server.connect();
        let mut client = server.connect3();
        for _ in 0..50 {
            client.send("SUBSCRIBE c\nECHO 1\nUNSUBSCRIBE c\nECHO 2");
            publisher.send(&"PUBLISH c x\n".repeat(20));
            assert_eq!(client.text(), ">[\"subscribe\" \"c\" :1]");
            let mut frames = Vec::new();
            while frames.last().is_none_or(|frame| frame != "\"2\"") {
                frames.push(client.text());
            }
            let end = ">[\"unsubscribe\" \"c\" :0]";
            assert_eq!(frames[frames.len() - 2], end);
            let messages = frames.iter().filter(|frame| frame.contains("message")).count();
            assert_eq!(messages, frames.len() - 3);
            (0..20).for_each(|_| drop(publisher.read()));
        }
    });
}

#[test]
fn a_transaction_may_subscribe() {
    let server = Server::start(4, &[]);
    let mut client = server.connect3();
    client.check(
        "MULTI => +OK
         SUBSCRIBE c => +QUEUED
         SSUBSCRIBE c => +QUEUED
         XLEN s => +QUEUED
         EXEC => [>[\"subscribe\" \"c\" :1] -ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING \
         client :0]",
    );
    server.connect().check("PUBLISH c x => :1");
    assert_eq!(client.text(), ">[\"message\" \"c\" \"x\"]");
}

#[test]
fn who_leaves_is_no_subscriber() {
    let server = Server::start(4, &[]);
    let mut client = server.connect();
    client.check("SUBSCRIBE c => [\"subscribe\" \"c\" :1]");
    let mut other = server.connect();
    other.check("PUBLISH c x => :1");
    drop(client);
    other.until("PUBLISH c x", |reply| reply == ":0");
}

#[test]
fn who_reads_late_gets_all_messages_in_order() {
    let no_limit = ["--client-output-buffer-limit", "pubsub 0 0 0"];
    with_shards(&no_limit, |server| {
        let mut late = server.connect();
        late.check("SUBSCRIBE c => [\"subscribe\" \"c\" :1]");
        let mut publisher = server.connect();
        let text = |n: usize| format!("{n}{}", "m".repeat(n * 7919 % 50_000));
        for n in 0..500 {
            publisher.check(&format!("PUBLISH c {} => :1", text(n)));
        }
        late.send("PING\nUNSUBSCRIBE c\nECHO end");
        for n in 0..500 {
            let expected = format!("[\"message\" \"c\" \"{}\"]", text(n));
            assert!(late.text() == expected, "{n}");
        }
        assert_eq!(late.text(), "[\"pong\" \"\"]");
        assert_eq!(late.text(), "[\"unsubscribe\" \"c\" :0]");
        assert_eq!(late.text(), "\"end\"");
    });
}

#[test]
fn c04_a_slow_subscriber_is_closed() {
    let server = Server::start(1, &["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let mut slow = server.connect();
    slow.check("SUBSCRIBE c => [\"subscribe\" \"c\" :1]");
    let mut publisher = server.connect();
    let message = "m".repeat(100_000);
    publisher.until(&format!("PUBLISH c {message}"), |reply| reply == ":0");
    assert!(slow.is_closed());
}
