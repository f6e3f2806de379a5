//! The server as clients see it: each test starts one of its own, on a unix socket in a temporary
//! directory, and talks to it in plain RESP.
#![allow(clippy::unwrap_used)]

mod client;
mod pubsub;
mod resp;
mod wire;

use resp::{Reader, Value};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, stopped when dropped.
struct Server {
    child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    /// A server with so many shards and further settings.
    fn start(shards: usize, settings: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["--port", "0", "--unixsocket"]).arg(&socket);
        command.arg("--dir").arg(directory.path().join("data"));
        command.args(["--shards", &shards.to_string()]).args(settings);
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = command.stdout(Stdio::from(log)).stderr(Stdio::null()).spawn().unwrap();
        let server = Server { child, directory };
        let deadline = Instant::now() + PATIENCE;
        while !server.log().contains("Ready to accept connections") {
            assert!(Instant::now() < deadline, "the server does not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        server
    }

    /// What the server has logged.
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { reader: Reader::new(stream.try_clone().unwrap()), stream }
    }

    /// A connection that speaks RESP3.
    fn connect3(&self) -> Client {
        let mut client = self.connect();
        assert!(matches!(client.run("HELLO 3"), Value::Map(_)));
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A connection.
struct Client {
    stream: UnixStream,
    reader: Reader<UnixStream>,
}

impl Client {
    /// Sends bytes as they are.
    fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends commands, one a line, words separated by spaces; `""` is an empty word.
    fn send(&mut self, commands: &str) {
        let mut bytes = Vec::new();
        for line in commands.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            write!(bytes, "*{}\r\n", words.len()).unwrap();
            for word in words {
                let word = if word == "\"\"" { "" } else { word };
                write!(bytes, "${}\r\n{word}\r\n", word.len()).unwrap();
            }
        }
        self.send_raw(&bytes);
    }

    /// The next frame.
    fn read(&mut self) -> Value {
        self.reader.read().expect("the server closed the connection")
    }

    /// The next frame as text.
    fn text(&mut self) -> String {
        self.read().to_string()
    }

    /// Sends a command and reads its reply.
    fn run(&mut self, command: &str) -> Value {
        self.send(command);
        self.read()
    }

    /// Runs commands, one a line; each must give the reply behind the `=>`.
    #[track_caller]
    fn check(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (command, reply) = line.split_once(" => ").expect("a line has a reply");
            let got = self.run(command.trim()).to_string();
            assert_eq!(got.trim_end(), reply.trim(), "{command}");
        }
    }

    /// Whether the server closes the connection, whatever it sends before.
    fn is_closed(&mut self) -> bool {
        while self.reader.read().is_some() {}
        true
    }

    /// Runs a command until its reply satisfies a condition.
    #[track_caller]
    fn until(&mut self, command: &str, holds: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.run(command).to_string();
            if holds(&reply) {
                return;
            }
            assert!(Instant::now() < deadline, "{command} stays {reply}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn id(&mut self) -> i64 {
        let reply = self.run("CLIENT ID");
        let Value::Integer(id) = reply else { panic!("no number: {reply}") };
        id
    }
}

/// Runs a test with one shard and with four.
fn with_shards(settings: &[&str], test: impl Fn(&Server)) {
    for shards in [1, 4] {
        test(&Server::start(shards, settings));
    }
}
