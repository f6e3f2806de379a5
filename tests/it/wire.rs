//! Bytes: pipelining, inline requests, protocol errors, limits, and what a hostile client may try.

use crate::resp::Value;
use crate::talk::{Server, with_shards};

#[test]
fn replies_come_in_the_order_of_requests() {
    with_shards(&[], |server| {
        let mut client = server.connect();
        // Keys of different shards, commands of the connection and of the server between them.
        client.send("XADD a 1-1 f v\nPING\nXADD b 2-1 f v\nDBSIZE\nXLEN a\nECHO x\nXLEN b\nINCR n");
        let replies: Vec<String> = (0..8).map(|_| client.text()).collect();
        assert_eq!(replies, ["\"1-1\"", "+PONG", "\"2-1\"", ":2", ":1", "\"x\"", ":1", ":1"]);
    });
}

#[test]
fn requests_may_come_in_any_pieces() {
    let server = Server::start(1, &[]);
    let request = b"*2\r\n$4\r\nECHO\r\n$5\r\nab\r\nc\r\nPING\r\n*0\r\n\r\n*1\r\n$4\r\nPING\r\n";
    for split in 1..request.len() {
        let mut client = server.connect();
        client.send_raw(&request[..split]);
        client.send_raw(&request[split..]);
        assert_eq!(
            [client.text(), client.text(), client.text()],
            ["\"ab\r\nc\"", "+PONG", "+PONG"]
        );
    }
}

#[test]
fn a_protocol_error_is_told_and_ends_the_connection() {
    let server = Server::start(1, &[]);
    for (bytes, error) in [
        (&b"*1\r\n+PING\r\n"[..], "expected '$', got '+'"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b"*1\r\n$99999999999\r\n", "invalid bulk length"),
        (b"ECHO \"x\r\n", "unbalanced quotes in request"),
        (&[b'a'; 70_000], "too big inline request"),
    ] {
        let mut client = server.connect();
        client.send_raw(b"PING\r\n");
        assert_eq!(client.text(), "+PONG");
        client.send_raw(bytes);
        assert_eq!(client.text(), format!("-ERR Protocol error: {error}"));
        assert!(client.is_closed());
    }
}

#[test]
fn browsers_are_not_served() {
    let server = Server::start(1, &[]);
    for bytes in [&b"POST / HTTP/1.1\r\nPING\r\n"[..], b"Host: x\r\nPING\r\n"] {
        let mut client = server.connect();
        client.send_raw(bytes);
        assert_eq!(client.reader.read(), None);
    }
}

#[test]
fn unknown_commands_and_wrong_numbers_of_arguments() {
    let server = Server::start(1, &[]);
    server.connect().check(
        "nosuch => -ERR unknown command 'nosuch'
         nosuch a b => -ERR unknown command 'nosuch', with args beginning with: 'a' 'b'
         XLEN => -ERR wrong number of arguments for 'xlen' command
         CLIENT nosuch => -ERR unknown subcommand 'nosuch'. Try CLIENT HELP.
         CLIENT MAINT_NOTIFICATIONS ON => -ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try \
         CLIENT HELP.
         CLIENT SETNAME => -ERR wrong number of arguments for 'client|setname' command
         READONLY => -ERR This instance has cluster support disabled
         CLUSTER INFO => -ERR This instance has cluster support disabled
         DEBUG SLEEP 0 => -ERR DEBUG command not allowed. If the enable-debug-command option is \
         set to \"local\", you can run it from a local connection, otherwise you need to set this \
         option in the configuration file, and then restart the server.",
    );
}

#[test]
fn what_follows_quit_does_not_run() {
    let server = Server::start(1, &[]);
    let mut client = server.connect();
    client.send("SET k 1\nQUIT\nSET k 2");
    assert_eq!([client.text(), client.text()], ["+OK", "+OK"]);
    assert!(client.is_closed());
    server.connect().check("GET k => \"1\"");
}

#[test]
fn too_many_clients_are_told() {
    let server = Server::start(1, &["--maxclients", "3"]);
    let mut first = server.connect();
    first.until("INFO clients", |info| info.contains("connected_clients:1"));
    let mut clients = vec![first, server.connect(), server.connect()];
    clients.iter_mut().for_each(|client| client.check("PING => +PONG"));
    let mut surplus = server.connect();
    assert_eq!(surplus.text(), "-ERR max number of clients reached");
    assert!(surplus.is_closed());
    drop(clients.pop());
    clients[0].until("INFO clients", |info| info.contains("connected_clients:2"));
    server.connect().check("PING => +PONG");
}

#[test]
fn a_long_pipeline_of_long_replies_does_not_pile_up() {
    let server = Server::start(1, &[]);
    let mut client = server.connect();
    let value = "v".repeat(10_000);
    client.check(&format!("SET k {value} => +OK"));
    client.send(&"GET k\n".repeat(5_000));
    for _ in 0..5_000 {
        assert_eq!(client.text().len(), value.len() + 2);
    }
}

#[test]
fn long_replies_are_whole_and_in_order() {
    with_shards(&[], |server| {
        let mut client = server.connect3();
        client.check("SUBSCRIBE c => >[\"subscribe\" \"c\" :1]");
        let mut other = server.connect();
        // Keys of different shards: some replies come from another thread.
        for key in ["a", "b", "c", "d"] {
            let add = |n: usize| format!("XADD {key} {n}-1 f {}\n", "v".repeat(n * 37 % 3000));
            other.send(&(1..=1000).map(add).collect::<String>());
            (1..=1000).for_each(|_| drop(other.read()));
        }
        let ranges = |key: &str| {
            format!(
                "XRANGE {key} - +\nXLEN {key}\nXREVRANGE {key} + - COUNT 900\n\
                 XREAD STREAMS a {key} 990 0\nECHO {key}\n"
            )
        };
        client.send(&["a", "b", "c", "d"].map(ranges).concat());
        // Messages come meanwhile, and what is read is changed.
        other.send(&"PUBLISH c x\nXADD a * f v\n".repeat(100));
        let mut messages = 0;
        let mut next = || loop {
            let reply = client.read();
            if !matches!(reply, Value::Push(_)) {
                return reply;
            }
            messages += 1;
        };
        let ids = |reply: &Value| {
            let Value::Array(entries) = reply else { panic!("{reply}") };
            let id = |entry: &Value| entry.to_string()[2..].split('-').next().unwrap().to_owned();
            entries.iter().map(|entry| id(entry).parse().unwrap()).collect::<Vec<u64>>()
        };
        for key in ["a", "b", "c", "d"] {
            let all = ids(&next());
            assert!(all.len() >= 1000 && all[..1000].iter().copied().eq(1..=1000), "{key}");
            let Value::Integer(len) = next() else { panic!("no length") };
            assert!(len >= 1000);
            let last = ids(&next());
            assert_eq!(last.len(), 900);
            assert!(last.is_sorted_by(|a, b| a >= b));
            let Value::Map(streams) = next() else { panic!("no map") };
            assert_eq!(streams.len(), 2);
            assert!(ids(&streams[0].1).starts_with(&[990, 991]));
            assert!(ids(&streams[1].1).iter().copied().take(1000).eq(1..=1000));
            assert_eq!(next().to_string(), format!("\"{key}\""));
        }
        assert!(messages <= 100);
        client.send("ECHO end");
        while client.read() != Value::Bulk(b"end".to_vec()) {}
    });
}

#[test]
fn c04_a_client_that_does_not_read_is_closed() {
    let server = Server::start(1, &["--client-output-buffer-limit", "normal 2mb 0 0"]);
    let mut client = server.connect();
    let value = "v".repeat(1 << 20);
    client.check(&format!("SET k {value} => +OK"));
    client.send(&"MGET k k k k k k\n".repeat(4));
    let mut other = server.connect();
    other.until("INFO clients", |info| info.contains("connected_clients:1"));
    other.until("INFO stats", |info| info.contains("client_output_buffer_limit_disconnections:1"));
}

#[test]
fn an_idle_client_is_closed_but_not_one_that_waits() {
    let server = Server::start(1, &["--timeout", "1"]);
    let mut idle = server.connect();
    idle.check("PING => +PONG");
    let mut blocked = server.connect();
    blocked.send("XREAD BLOCK 0 STREAMS s $");
    let mut subscriber = server.connect();
    subscriber.check("SUBSCRIBE c => [\"subscribe\" \"c\" :1]");
    assert!(idle.is_closed());
    server.connect().check("XADD s 1-1 f v => \"1-1\"");
    assert_eq!(blocked.text(), "[[\"s\" [[\"1-1\" [\"f\" \"v\"]]]]]");
    subscriber.check("PING => [\"pong\" \"\"]");
}

#[test]
fn the_socket_has_its_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::start(1, &["--unixsocketperm", "700"]);
    let mode = std::fs::metadata(server.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn shutdown_stops_the_server_and_keeps_the_data() {
    let mut server = Server::start(4, &[]);
    server.connect().check("XADD s 1-1 f v => \"1-1\"");
    let mut client = server.connect();
    client.check("SHUTDOWN ABORT => -ERR No shutdown in progress.");
    client.send("SHUTDOWN");
    assert!(client.is_closed());
    assert!(server.child.wait().unwrap().success());
}
