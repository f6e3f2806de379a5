//! Limits of the whole server: memory, and settings that it must not ignore.

use crate::{Place, Server, request};

#[test]
fn c11_a_full_memory_refuses_what_grows_and_lets_go_what_shrinks() {
    let server = Server::start(&["--save", "", "--appendonly", "no"]);
    let mut client = server.connect();
    client.ask("XADD s 1-1 f v");
    client.ask("XGROUP CREATE s g 0");
    client.ask("XREADGROUP GROUP g c STREAMS s >");
    assert_eq!(client.ask("CONFIG SET maxmemory 1mb"), "+OK");
    let refused = "-OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(client.ask("XADD s 2-1 f v"), refused);
    assert_eq!(client.ask("SET k v"), refused);
    assert_eq!(client.ask("XGROUP CREATE s other 0"), refused);
    assert_eq!(client.ask("MULTI"), "+OK");
    assert_eq!(client.ask("XADD s 2-1 f v"), refused);
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
    assert_eq!(client.ask("XLEN s"), ":1");
    assert_eq!(client.ask("XACK s g 1-1"), ":1");
    assert_eq!(client.ask("XTRIM s MAXLEN 0"), ":1");
    assert_eq!(client.ask("XDEL s 1-1"), ":0");
    assert_eq!(client.ask("DEL s"), ":1");
    assert_eq!(client.ask("CONFIG SET maxmemory 0"), "+OK");
    assert_eq!(client.ask("XADD s 2-1 f v"), "2-1");
}

#[test]
fn settings_that_would_be_unsafe_to_ignore_stop_the_start() {
    for (setting, value) in [("rename-command", "FLUSHALL x"), ("aclfile", "users.acl")] {
        let place = Place::new();
        let mut args = vec![format!("--{setting}")];
        args.extend(value.split(' ').map(str::to_owned));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let status = place.try_start(&args).map(drop).unwrap_err();
        assert_eq!(status.code(), Some(1), "{setting}");
        assert!(place.log().contains(setting), "{}", place.log());
    }
}

#[test]
fn a_burst_that_the_disk_cannot_follow_waits_and_is_not_refused() {
    for policy in ["always", "everysec"] {
        let server = Server::start(&["--appendfsync", policy, "--aof-unsynced-max-bytes", "1mb"]);
        let value = "x".repeat(64 << 10);
        let mut burst = Vec::new();
        for n in 1..=200 {
            burst.extend(request(&["XADD", "s", &format!("{n}-1"), "f", &value]));
        }
        let mut client = server.connect();
        client.send(&burst);
        for n in 1..=200 {
            assert_eq!(client.reply(), format!("{n}-1"), "{policy}");
        }
    }
}

#[test]
fn there_are_as_many_databases_as_the_settings_say() {
    let server = Server::start(&["--databases", "2"]);
    let mut client = server.connect();
    let none = "-ERR DB index is out of range";
    assert_eq!(client.ask("SELECT 1"), "+OK");
    assert_eq!(client.ask("SET k v"), "+OK");
    for command in ["SELECT 2", "MOVE k 2", "COPY k k DB 2", "SWAPDB 0 2"] {
        assert_eq!(client.ask(command), none, "{command}");
    }
    assert_eq!(client.ask("SWAPDB 0 1"), "+OK");
    assert_eq!(client.ask("GET k"), "nil");
    assert_eq!(client.ask("COPY k k DB 0"), ":0");
}
