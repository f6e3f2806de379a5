//! The connection's own commands: HELLO, AUTH, CLIENT, MULTI, MONITOR, WAIT.

use crate::resp::Value;
use crate::talk::{Client, Server, with_shards};
use std::io::Read as _;

#[test]
fn hello_introduces_and_switches() {
    let server = Server::start(1, &[]);
    let mut client = server.connect();
    client.check(
        "HELLO x => -ERR Protocol version is not an integer or out of range
         HELLO 4 => -NOPROTO unsupported protocol version
         HELLO 3 NOSUCH => -ERR Syntax error in HELLO option 'NOSUCH'
         HELLO 3 AUTH x => -ERR Syntax error in HELLO option 'AUTH'
         HELLO 3 AUTH a b => -WRONGPASS invalid username-password pair or user is disabled.
         GET k => null",
    );
    client.send_raw(b"*4\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$7\r\nSETNAME\r\n$3\r\na b\r\n");
    let error = "-ERR Client names cannot contain spaces, newlines or special characters.";
    assert_eq!(client.text(), error);
    let reply = client.run("HELLO 3 AUTH default x SETNAME me").to_string();
    assert!(reply.starts_with("{\"server\": \"redis\", \"version\": \"8.10"), "{reply}");
    assert!(reply.contains("\"proto\": :3, \"id\": :"), "{reply}");
    assert!(reply.ends_with("\"mode\": \"standalone\", \"role\": \"master\", \"modules\": []}"));
    client.check("CLIENT GETNAME => \"me\"");
    assert!(matches!(client.run("HELLO 2"), Value::Array(items) if items.len() == 14));
}

#[test]
fn a_password_is_asked_for() {
    let server = Server::start(1, &["--requirepass", "secret"]);
    let mut client = server.connect();
    client.check(
        "PING => -NOAUTH Authentication required.
         nosuch => -ERR unknown command 'nosuch'
         SELECT 1 => -NOAUTH Authentication required.
         HELLO 3 => -NOAUTH HELLO must be called with the client already authenticated, otherwise \
         the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
         select the RESP protocol version at the same time
         AUTH wrong => -WRONGPASS invalid username-password pair or user is disabled.
         AUTH other secret => -WRONGPASS invalid username-password pair or user is disabled.
         AUTH a b c => -ERR syntax error
         AUTH secret => +OK
         AUTH wrong => -WRONGPASS invalid username-password pair or user is disabled.
         PING => +PONG
         RESET => +RESET
         PING => -NOAUTH Authentication required.
         AUTH default secret => +OK",
    );
    // Pipelined right behind.
    let mut client = server.connect();
    client.send("AUTH secret\nPING");
    assert_eq!([client.text(), client.text()], ["+OK", "+PONG"]);
    let getuser = client.run("ACL GETUSER default").to_string();
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    assert!(getuser.contains(&format!("\"passwords\" [\"{hash}\"]")), "{getuser}");
    client.check("CONFIG SET requirepass \"\" => +OK");
    server.connect().check(
        "PING => +PONG
         AUTH x => -ERR AUTH <password> called without any password configured for the default \
         user. Are you sure your configuration is correct?
         AUTH default \"\" => +OK
         ACL WHOAMI => \"default\"
         ACL LIST => [\"user default on nopass sanitize-payload ~* &* +@all\"]",
    );
}

#[test]
fn c09_without_the_password_only_little_is_read() {
    let server = Server::start(1, &["--requirepass", "secret"]);
    let mut client = server.connect();
    client.send_raw(b"*11\r\n");
    assert_eq!(client.text(), "-ERR Protocol error: unauthenticated multibulk length");
    let mut client = server.connect();
    client.send_raw(b"*2\r\n$16385\r\n");
    assert_eq!(client.text(), "-ERR Protocol error: unauthenticated bulk length");
    let mut client = server.connect();
    client.send(&"PING\n".repeat(2_000));
    assert!(client.is_closed());
}

#[test]
fn clients_are_listed_and_killed() {
    with_shards(&[], |server| {
        let mut admin = server.connect();
        let mut other = server.connect();
        other.check(
            "CLIENT SETNAME worker => +OK
             CLIENT SETINFO LIB-NAME lib => +OK
             CLIENT SETINFO lib-ver 1.2 => +OK
             CLIENT SETINFO x y => -ERR Unrecognized option 'x'
             CLIENT NO-TOUCH ON => +OK
             CLIENT NO-EVICT maybe => -ERR syntax error
             SELECT 3 => +OK
             MULTI => +OK
             PING => +QUEUED",
        );
        let id = other_id(&mut admin, "worker");
        let line = admin.run(&format!("CLIENT LIST ID {id}")).to_string();
        for part in [
            "name=worker ",
            " db=3 ",
            " flags=xUT ",
            " multi=1 ",
            " cmd=ping ",
            " lib-name=lib lib-ver=1.2 ",
            " resp=2 ",
            "/socket:0 ",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert_eq!(admin.run("CLIENT INFO").to_string().matches("id=").count(), 1);
        admin.check(
            "CLIENT LIST TYPE x => -ERR Unknown client type 'x'
             CLIENT LIST ID x => -ERR Invalid client ID
             CLIENT LIST TYPE pubsub => \"\"
             CLIENT KILL 1.2.3.4:5 => -ERR No such client
             CLIENT KILL ID 0 => -ERR client-id should be greater than 0
             CLIENT KILL USER x => -ERR No such user 'x'
             CLIENT KILL MAXAGE x => -ERR maxage is not an integer or out of range
             CLIENT KILL MAXAGE 0 => -ERR maxage should be greater than 0
             CLIENT KILL ID => -ERR No such client
             CLIENT KILL ID 1 ADDR => -ERR syntax error
             CLIENT KILL TYPE pubsub => :0
             CLIENT KILL SKIPME maybe => -ERR syntax error",
        );
        admin.check(&format!("CLIENT KILL ID {id} => :1"));
        assert!(other.is_closed());
        admin.check("CLIENT KILL SKIPME no => :1");
        assert!(admin.is_closed());
    });
}

fn other_id(client: &mut Client, name: &str) -> u64 {
    let list = client.run("CLIENT LIST").to_string();
    let line = list.lines().find(|line| line.contains(&format!("name={name} "))).unwrap();
    let id = line.trim_start_matches('"').strip_prefix("id=").unwrap();
    id.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_blocked_client_is_freed_by_another() {
    with_shards(&[], |server| {
        let mut admin = server.connect();
        let mut reader = server.connect();
        let id = reader.id();
        for (how, reply) in [
            ("", "null-array"),
            ("TIMEOUT", "null-array"),
            ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        ] {
            // On keys of several shards.
            reader.send("XREAD BLOCK 0 STREAMS a b c d $ $ $ $");
            admin.until(&format!("CLIENT LIST ID {id}"), |line| line.contains(" flags=bU "));
            admin.check(&format!("CLIENT UNBLOCK {id} {how} => :1"));
            assert_eq!(reader.text(), reply);
            admin.check(&format!("CLIENT UNBLOCK {id} => :0"));
        }
        admin.check(&format!(
            "CLIENT UNBLOCK x => -ERR value is not an integer or out of range
             CLIENT UNBLOCK x x => -ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR
             CLIENT UNBLOCK 1 2 3 => -ERR unknown subcommand or wrong number of arguments for \
             'UNBLOCK'. Try CLIENT HELP.
             CLIENT UNBLOCK {id} x => -ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"
        ));
        reader.send("XREAD BLOCK 0 STREAMS a b $ $");
        admin.until("INFO clients", |info| info.contains("blocked_clients:1"));
        admin.check(&format!("CLIENT KILL ID {id} => :1"));
        assert!(reader.is_closed());
        admin.until("INFO clients", |info| info.contains("blocked_clients:0"));
    });
}

#[test]
fn a_pause_holds_writes_everywhere() {
    with_shards(&[], |server| {
        let mut admin = server.connect();
        let mut reader = server.connect();
        reader.send("XREAD BLOCK 0 STREAMS a $");
        admin.until("INFO clients", |info| info.contains("blocked_clients:1"));
        admin.check(
            "CLIENT PAUSE x => -ERR timeout is not an integer or out of range
             CLIENT PAUSE -1 => -ERR timeout is negative
             CLIENT PAUSE 1 x => -ERR CLIENT PAUSE mode must be WRITE or ALL
             CLIENT PAUSE 100000 WRITE => +OK
             GET a => null",
        );
        let mut writers: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for (writer, key) in writers.iter_mut().zip(["a", "b", "c", "d"]) {
            writer.send(&format!("XADD {key} 1-1 f v\nPING"));
        }
        admin.until("INFO clients", |info| info.contains("blocked_clients:5"));
        admin.check("DBSIZE => :0");
        let held = writers[0].stream.try_clone().unwrap();
        assert!(held.set_nonblocking(true).is_ok());
        admin.check("CLIENT UNPAUSE => +OK");
        held.set_nonblocking(false).unwrap();
        for writer in &mut writers {
            assert_eq!([writer.text(), writer.text()], ["\"1-1\"", "+PONG"]);
        }
        assert_eq!(reader.text(), "[[\"a\" [[\"1-1\" [\"f\" \"v\"]]]]]");
        admin.check(
            "CLIENT PAUSE 30 => +OK
                     PING => +PONG",
        );
    });
}

#[test]
fn replies_can_be_switched_off() {
    let server = Server::start(1, &[]);
    let mut client = server.connect();
    client.send("CLIENT REPLY OFF\nPING\nSET k 1\nnosuch\nCLIENT REPLY ON\nGET k");
    assert_eq!([client.text(), client.text()], ["+OK", "\"1\""]);
    client.send(
        "CLIENT REPLY SKIP\nPING\nECHO 1\nCLIENT REPLY SKIP\nXREAD BLOCK 1 STREAMS s $\nECHO 2",
    );
    assert_eq!([client.text(), client.text()], ["\"1\"", "\"2\""]);
    client.send("CLIENT REPLY SKIP\nRESET\nECHO 3\nCLIENT REPLY OFF\nRESET\nECHO 4");
    assert_eq!([client.text(), client.text(), client.text()], ["\"3\"", "+RESET", "\"4\""]);
    client.check("CLIENT REPLY x => -ERR syntax error");
}

#[test]
fn an_exec_that_is_refused_ends_the_transaction() {
    let server = Server::start(1, &[]);
    let mut client = server.connect();
    client.check("WATCH k => +OK\nMULTI => +OK\nPING => +QUEUED");
    server.connect().check("SET k 1 => +OK");
    client.check(
        "EXEC now => -EXECABORT Transaction discarded because of: wrong number of arguments for \
         'exec' command
         EXEC => -ERR EXEC without MULTI
         MULTI => +OK
         PING => +QUEUED
         EXEC => [+PONG]
         CONFIG SET requirepass x => +OK",
    );
    server.connect().check(
        "EXEC => -EXECABORT Transaction discarded because of: NOAUTH Authentication required.
         DISCARD => -NOAUTH Authentication required.",
    );
    client.run("SUBSCRIBE a");
    client.check(
        "EXEC => -EXECABORT Transaction discarded because of: Can't execute 'exec': only \
         (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
    );
}

#[test]
fn replies_are_muted_one_by_one_in_a_transaction() {
    // What Redis sends: the length of the array counts the muted ones too.
    with_shards(&[], |server| {
        for (commands, reply) in [
            ("SET k 1\nCLIENT REPLY OFF\nGET k\nCLIENT REPLY ON\nECHO a", "*5 +OK +OK $1 a +PONG"),
            ("CLIENT REPLY SKIP\nECHO a\nECHO b", "*3 $1 a $1 b"),
        ] {
            let mut client = server.connect();
            client.send("MULTI");
            assert_eq!(client.text(), "+OK");
            for command in commands.lines() {
                assert_eq!(client.run(command).to_string(), "+QUEUED");
            }
            client.send("EXEC\nPING\nQUIT");
            let mut bytes = String::new();
            client.stream.read_to_string(&mut bytes).unwrap();
            assert_eq!(bytes.replace("\r\n", " "), format!("{reply} +OK "), "{commands}");
        }
        let mut client = server.connect();
        client.send("CLIENT REPLY OFF\nMULTI\nPING\nCLIENT REPLY ON\nECHO a\nEXEC\nECHO b");
        assert_eq!([client.text(), client.text(), client.text()], ["+OK", "\"a\"", "\"b\""]);
    });
}

#[test]
fn refused_passwords_are_listed() {
    let server = Server::start(1, &["--acllog-max-len", "2"]);
    let mut client = server.connect3();
    client.run("AUTH ann x");
    client.run("HELLO 3 AUTH ann x");
    client.run("AUTH ann y");
    let log = client.run("ACL LOG").to_string();
    let entry = "\"count\": :2, \"reason\": \"auth\", \"context\": \"toplevel\", \
                 \"object\": \"AUTH\", \"username\": \"ann\", \"age-seconds\": ,";
    assert!(log.starts_with(&format!("[{{{entry}")), "{log}");
    assert!(log.contains("cmd=auth user=default "), "{log}");
    assert!(log.contains("\"entry-id\": :0, \"timestamp-created\": :"), "{log}");
    assert_eq!(log.matches("\"object\": \"HELLO\"").count(), 1, "{log}");
    client.run("AUTH bob x");
    let log = client.run("ACL LOG").to_string();
    assert_eq!(log.matches("\"username\"").count(), 2, "{log}");
    let log = client.run("ACL LOG 1").to_string();
    assert!(log.contains("\"bob\"") && log.contains("\"entry-id\": :2"), "{log}");
    client.check(
        "ACL LOG -1 => []
         ACL LOG x => -ERR value is not an integer or out of range
         ACL LOG 1 2 => -ERR unknown subcommand or wrong number of arguments for 'LOG'. Try ACL \
         HELP.
         ACL LOG RESET => +OK
         ACL LOG => []",
    );
}

#[test]
fn there_is_one_user_and_no_script() {
    let server = Server::start(1, &[]);
    server.connect().check(
        "ACL DRYRUN default xadd s * f v => +OK
         ACL DRYRUN default client id => +OK
         ACL DRYRUN default xadd s => -ERR wrong number of arguments for 'xadd' command
         ACL DRYRUN default nosuch a => -ERR Command 'nosuch' not found
         ACL DRYRUN default xgroup nosuch => -ERR Command 'xgroup' not found
         ACL DRYRUN ann get k => -ERR User 'ann' not found
         ACL DELUSER ann bob => :0
         ACL DELUSER ann default => -ERR The 'default' user cannot be removed
         ACL LOAD => -ERR This Redis instance is not configured to use an ACL file. You may want \
         to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming \
         you have a Redis configuration file set) in order to store users in the Redis \
         configuration.
         CONFIG SET compat-profile valkey => +OK
         ACL SAVE => -ERR This instance is not configured to use an ACL file. You may want to \
         specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you \
         have a configuration file set) in order to store users in the configuration.
         SCRIPT EXISTS a b => [:0 :0]
         SCRIPT FLUSH => +OK
         SCRIPT FLUSH async => +OK
         SCRIPT FLUSH a => -ERR SCRIPT FLUSH only support SYNC|ASYNC option
         SCRIPT FLUSH SYNC a => -ERR SCRIPT FLUSH only support SYNC|ASYNC option
         FUNCTION FLUSH sync => +OK
         FUNCTION FLUSH a => -ERR FUNCTION FLUSH only supports SYNC|ASYNC option
         FUNCTION FLUSH SYNC a => -ERR unknown subcommand or wrong number of arguments for \
         'FLUSH'. Try FUNCTION HELP.
         FUNCTION LIST => []
         FUNCTION LIST withcode LIBRARYNAME x => []
         FUNCTION LIST LIBRARYNAME => -ERR library name argument was not given
         FUNCTION LIST WITHCODE WITHCODE => -ERR Unknown argument WITHCODE
         MODULE LIST => []",
    );
    for container in ["FUNCTION", "MODULE", "SCRIPT"] {
        let help = server.connect().run(&format!("{container} HELP")).to_string();
        assert!(help.starts_with(&format!("[+{container} <subcommand>")), "{help}");
    }
}

#[test]
fn a_watch_holds_from_its_reply_on() {
    with_shards(&[], |server| {
        let (mut client, mut other) = (server.connect(), server.connect());
        for round in 0..200 {
            let key = format!("key:{}", round % 8);
            client.check(&format!("WATCH other {key} => +OK"));
            other.check(&format!("SET {key} {round} => +OK"));
            client.check("MULTI => +OK\n PING => +QUEUED\n EXEC => null-array");
        }
    });
}

#[test]
fn transactions() {
    with_shards(&[], |server| {
        let mut client = server.connect();
        client.check(
            "EXEC => -ERR EXEC without MULTI
             DISCARD => -ERR DISCARD without MULTI
             MULTI => +OK
             MULTI => -ERR MULTI calls can not be nested
             WATCH a => -ERR WATCH inside MULTI is not allowed
             XADD a 1-1 f v => +QUEUED
             XADD b 1-1 f v => +QUEUED
             SELECT 1 => +QUEUED
             XLEN a => +QUEUED
             INCR n => +QUEUED
             XREAD BLOCK 0 STREAMS a $ => +QUEUED
             CLIENT SETNAME x => +QUEUED
             DBSIZE => +QUEUED
             WAIT 1 0 => +QUEUED
             EXEC => [\"1-1\" \"1-1\" +OK :0 :1 null-array +OK :1 :0]
             SELECT 0 => +OK
             MULTI => +OK
             nosuch => -ERR unknown command 'nosuch'
             PING => +QUEUED
             EXEC => -EXECABORT Transaction discarded because of previous errors.
             MULTI => +OK
             SHUTDOWN => -ERR Command not allowed inside a transaction
             DISCARD => +OK
             WATCH a b => +OK",
        );
        server.connect().check("XADD b 2-1 f v => \"2-1\"");
        client.check(
            "MULTI => +OK
             XADD a 5-1 f v => +QUEUED
             EXEC => null-array
             MULTI => +OK
             XLEN b => +QUEUED
             EXEC => [:2]
             WATCH b => +OK",
        );
        server.connect().check("XADD b 3-1 f v => \"3-1\"");
        client.check(
            "UNWATCH => +OK
             MULTI => +OK
             PING => +QUEUED
             EXEC => [+PONG]",
        );
    });
}

#[test]
fn reset_forgets_everything() {
    let server = Server::start(1, &[]);
    let mut client = server.connect3();
    client.check(
        "CLIENT SETNAME x => +OK
         SELECT 4 => +OK
         SUBSCRIBE c => >[\"subscribe\" \"c\" :1]
         MULTI => +OK
         RESET => +RESET
         CLIENT GETNAME => null
         EXEC => -ERR EXEC without MULTI
         PUBLISH c x => :0",
    );
    let info = client.run("CLIENT INFO").to_string();
    assert!(info.contains(" db=0 sub=0 ") && info.contains(" resp=2 "), "{info}");
}

#[test]
fn wait_and_waitaof() {
    with_shards(&["--appendfsync", "everysec"], |server| {
        let mut client = server.connect();
        client.check(
            "XADD a 1-1 f v => \"1-1\"
             XADD b 1-1 f v => \"1-1\"
             WAITAOF 1 0 0 => [:1 :0]
             WAITAOF 0 1 1 => [:1 :0]
             WAIT 0 0 => :0
             WAIT 1 1 => :0
             WAIT 1 -1 => -ERR timeout is negative
             WAITAOF 2 0 0 => -ERR value is out of range, value must between 0 and 1",
        );
        let id = client.id();
        client.send("WAIT 1 0");
        let mut admin = server.connect();
        admin.until(&format!("CLIENT UNBLOCK {id}"), |reply| reply == ":1");
        assert_eq!(client.text(), ":0");
    });
    let server = Server::start(1, &["--appendonly", "no"]);
    server.connect().check(
        "WAITAOF 1 0 0 => -ERR WAITAOF cannot be used when numlocal is set but appendonly is \
         disabled.",
    );
}

#[test]
fn a_monitor_sees_commands() {
    with_shards(&[], |server| {
        let mut monitor = server.connect();
        monitor.check("MONITOR => +OK");
        let mut client = server.connect();
        client.send("SELECT 2\nECHO \"\"\nCONFIG GET port\nAUTH default x\nMULTI\nXLEN s\nexec");
        for end in [
            "\"SELECT\" \"2\"",
            "\"ECHO\" \"\"",
            "\"AUTH\" \"(redacted)\" \"(redacted)\"",
            "\"MULTI\"",
            "\"XLEN\" \"s\"",
            "\"exec\"",
        ] {
            let line = monitor.text();
            assert!(line.ends_with(end), "{line} does not end with {end}");
            assert!(line.contains("unix:/"), "{line}");
        }
        client.send("ECHO x");
        assert!(monitor.text().contains(" [2 unix:"));
        monitor.check("RESET => +RESET");
        monitor.check("PING => +PONG");
    });
}

#[test]
fn rejected_and_failed_calls_are_counted_apart() {
    let server = Server::start(1, &[]);
    let mut client = server.connect();
    client.check(
        "XLEN => -ERR wrong number of arguments for 'xlen' command
         SET k 1 => +OK
         XLEN k => -WRONGTYPE Operation against a key holding the wrong kind of value
         XLEN s => :0",
    );
    let info = client.run("INFO commandstats").to_string();
    let line = info.lines().find(|line| line.starts_with("cmdstat_xlen:")).unwrap().to_owned();
    assert!(line.starts_with("cmdstat_xlen:calls=2,"), "{line}");
    assert!(line.ends_with(",rejected_calls=1,failed_calls=1"), "{line}");
    let info = client.run("INFO errorstats").to_string();
    assert!(info.contains("errorstat_ERR:count=1") && info.contains("errorstat_WRONGTYPE:count=1"));
}

#[test]
fn a_transaction_that_a_late_key_aborts_leaves_the_connection_as_it_was() {
    for shards in ["1", "4"] {
        let server = crate::Server::start(&["--shards", shards, "--enable-debug-command", "yes"]);
        let mut client = server.connect();
        assert_eq!(client.ask("DEBUG SET-ACTIVE-EXPIRE 0"), "+OK");
        assert_eq!(client.ask("SET k v PX 1000"), "+OK");
        assert_eq!(client.ask("WATCH k"), "+OK");
        assert_eq!(client.ask("MULTI"), "+OK");
        assert_eq!(client.ask("SELECT 5"), "+QUEUED");
        // Nobody looks at the key meanwhile.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(client.ask("EXEC"), "nil");
        let info = client.ask("CLIENT INFO");
        assert!(info.contains(" db=0 "), "{info}");
    }
}
