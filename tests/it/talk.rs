//! A server for one test, and scripts of commands and their replies.

use crate::resp::{Reader, Value};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, stopped when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    /// A server with so many shards and further settings.
    pub(crate) fn start(shards: usize, settings: &[&str]) -> Server {
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
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { reader: Reader::new(stream.try_clone().unwrap()), stream }
    }

    /// A connection that speaks RESP3.
    pub(crate) fn connect3(&self) -> Client {
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
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    pub(crate) reader: Reader<UnixStream>,
}

impl Client {
    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends commands, one a line, words separated by spaces; `""` is an empty word.
    pub(crate) fn send(&mut self, commands: &str) {
        self.send_raw(&requests(commands));
    }

    /// Sends commands; `None` if the connection is closed.
    pub(crate) fn try_send(&mut self, commands: &str) -> Option<()> {
        self.stream.write_all(&requests(commands)).ok()
    }

    /// The next frame.
    pub(crate) fn read(&mut self) -> Value {
        self.reader.read().expect("the server closed the connection")
    }

    /// The next frame as text.
    pub(crate) fn text(&mut self) -> String {
        self.read().to_string()
    }

    /// Sends a command and reads its reply.
    pub(crate) fn run(&mut self, command: &str) -> Value {
        self.send(command);
        self.read()
    }

    /// Runs commands, one a line; each must give the reply behind the `=>`. A line that ends with
    /// a backslash goes on in the next.
    #[track_caller]
    pub(crate) fn check(&mut self, script: &str) {
        let lines: Vec<&str> = script.lines().map(str::trim).collect();
        let script = lines.join("\n").replace(" \\\n", " ");
        for line in script.lines().filter(|line| !line.is_empty()) {
            let (command, reply) = line.split_once(" => ").expect("a line has a reply");
            let got = self.run(command.trim()).to_string();
            assert_eq!(got.trim_end(), reply.trim(), "{command}");
        }
    }

    /// Whether the server closes the connection, whatever it sends before.
    pub(crate) fn is_closed(&mut self) -> bool {
        while self.reader.read().is_some() {}
        true
    }

    /// Runs a command until its reply satisfies a condition.
    #[track_caller]
    pub(crate) fn until(&mut self, command: &str, holds: impl Fn(&str) -> bool) {
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

    pub(crate) fn id(&mut self) -> i64 {
        let reply = self.run("CLIENT ID");
        let Value::Integer(id) = reply else { panic!("no number: {reply}") };
        id
    }
}

fn requests(commands: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in commands.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        write!(bytes, "*{}\r\n", words.len()).unwrap();
        for word in words {
            let word = if word == "\"\"" { "" } else { word };
            write!(bytes, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
    }
    bytes
}

/// Runs a test with one shard and with four.
pub(crate) fn with_shards(settings: &[&str], test: impl Fn(&Server)) {
    for shards in [1, 4] {
        test(&Server::start(shards, settings));
    }
}
