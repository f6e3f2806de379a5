//! The server from outside: its own process, its sockets, its data directory.
//!
//! One binary, so one link. Here are the helpers: a server on a unix socket in a temporary
//! directory (no port is taken, none can clash), and a client that sends bytes and reads values.
//! Every server is told to stop when its value is dropped, and a panic in its log fails the test.
//!
//! Tests that answer a question of a list carry its number in their name: `cargo test c03_`. The
//! numbers are small by default; `tests/scale/run.sh` runs C and T with the large ones,
//! `tests/crash/run.sh` D, E and F7.
//!
//! | Number | Question | Where |
//! | --- | --- | --- |
//! | `c01_`, `c02_` | ten thousand idle clients; more than are allowed | `scale.rs` |
//! | `c03_` | ten thousand clients that wait | `waiting.rs`, their order also `tests/sim` |
//! | `c04_` | who reads little | `hostile.rs`, `wire.rs`, `pubsub.rs` |
//! | `c05_` | bursts and large requests | `scale.rs` |
//! | `c06_` | requests byte by byte | `hostile.rs` |
//! | C7 | a client whose machine vanishes | `tests/scale/half-open.sh` |
//! | `c08_` | who leaves at any point | `hostile.rs`, `blocking.rs` |
//! | `c09_` | who was not let in | `hostile.rs`, `client.rs` |
//! | `c10_`, `c12_` | much of everything; much removed at once | `scale.rs` |
//! | `c11_` | a full memory | `limits.rs` |
//! | `c14_`, `c15_` | frames of many sources; everything at random | `storm.rs` |
//! | `d01_`, `d10_` | kills under load; snapshots under load | `history.rs`, `saving.rs` |
//! | D2 | power cuts | `tests/crash/power-cut.sh` |
//! | `d03_` | every crash state | `src/persist/aof`, `tests/sim` |
//! | `d04_` to `d06_` | damage | `restart.rs`, `src/persist`, `src/shard/recovery` |
//! | `d07_` | crashes, also twice | `tests/sim`, `src/shard/recovery`, `src/db/save` |
//! | `d08_`, `d09_` | restarts; files of older versions | `restart.rs`, `src/persist/aof` |
//! | `e01_` | calls that fail once | `faults`, `faults/disk.rs`, `src/persist/aof` |
//! | `e02_`, `e03_` | that fail for long; a sync that loses what it had | `faults`, `faults/disk.rs` |
//! | `e04_` | short and interrupted calls | `faults.rs` |
//! | `e06_` | limits, names and locks; a read-only disk | `faults.rs`, `tests/crash/read-only.sh` |
//! | `e05_` | a full disk | `faults/disk.rs`, `tests/crash/full-disk.sh` |
//! | `e07_`, `e09_` | a slow disk; WAITAOF | `faults/disk.rs`, `tests/crash/slow-disk.sh` |
//! | `e08_` | memory that ends | `faults/memory.rs`, `faults.rs`, `tests/crash/memory.sh` |
//! | F1 to F9, F11 | untrusted input | `fuzz/fuzz_targets`, `payloads.rs` |
//! | F10, F12 | the same as the peers, both ways | `tests/diff`, `tests/suites` |
//! | `m01_` | threads in every order | `interleaved.rs` in `src`, by `.ci/interleave` |
//! | `m02_` | the same seed, the same bytes | `tests/sim` |
//! | `p01_` to `p14_` | what went wrong in the peers | `peers.rs` |
//! | `t01_` | a clock that steps or stands still | `clock.rs`, `tests/sim` |
//! | `t02_`, `t03_` | IDs of the far future; a stopped process | `clock.rs` |
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod blocking;
mod client;
mod clock;
mod damaged;
mod faults;
mod groups;
mod history;
mod hostile;
mod inject;
mod limits;
mod payloads;
mod peers;
mod pubsub;
mod resp;
mod restart;
mod saving;
mod scale;
mod storm;
mod streams;
mod talk;
mod transactions;
mod waiting;
mod wire;

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test gives up; far more than it needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Looks until `done` says so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A data directory, the socket beside it, and the log of all servers that ran on them.
#[derive(Debug, Clone)]
pub(crate) struct Place(Arc<TempDir>);

impl Place {
    pub(crate) fn new() -> Self {
        Place(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// The segments of the log, in order.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.data()).unwrap().map(|file| file.unwrap().path());
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "log");
        let mut found: Vec<PathBuf> = files.filter(is_segment).collect();
        found.sort();
        found
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    /// What servers have logged here so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.0.path().join("log")).unwrap_or_default()
    }

    /// Forgets what servers have logged here.
    pub(crate) fn clear_log(&self) {
        fs::write(self.0.path().join("log"), "").unwrap();
    }

    /// Starts a server and waits until it answers.
    #[track_caller]
    pub(crate) fn start(&self, args: &[&str]) -> Server {
        match self.try_start(args) {
            Ok(server) => server,
            Err(status) => panic!("the server did not start: {status}\n{}", self.log()),
        }
    }

    /// Starts a server; how it ended if it did so instead of answering. `MILLSTREAM_BIN` names
    /// another program than the one that was built with the tests.
    pub(crate) fn try_start(&self, args: &[&str]) -> Result<Server, ExitStatus> {
        self.begin(&[], &[], args)
    }

    /// As [`Place::try_start`], in an environment with these variables.
    pub(crate) fn try_start_with(
        &self,
        variables: &[(&str, &Path)],
        args: &[&str],
    ) -> Result<Server, ExitStatus> {
        self.begin(&[], variables, args)
    }

    /// As [`Place::try_start`], by another program that gives its place to the server, as `env` and
    /// `prlimit` do: `wrapper` is that program and its arguments.
    pub(crate) fn try_start_under(
        &self,
        wrapper: &[&str],
        args: &[&str],
    ) -> Result<Server, ExitStatus> {
        self.begin(wrapper, &[], args)
    }

    fn begin(
        &self,
        wrapper: &[&str],
        variables: &[(&str, &Path)],
        args: &[&str],
    ) -> Result<Server, ExitStatus> {
        let log = fs::File::options().create(true).append(true).open(self.0.path().join("log"));
        let log = log.unwrap();
        let built = env!("CARGO_BIN_EXE_millstream");
        let program = std::env::var("MILLSTREAM_BIN").unwrap_or_else(|_| built.to_owned());
        let words: Vec<&str> = wrapper.iter().copied().chain([&*program]).collect();
        let mut process = Command::new(words[0])
            .args(&words[1..])
            .args(["--port", "0", "--enable-debug-command", "yes", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.data())
            .args(args)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return Err(status);
            }
            // Another server may still answer on the socket.
            let line = format!("process_id:{}\r\n", process.id());
            if let Ok(mut client) = Client::try_connect(&self.socket())
                && client.try_ask("INFO server").is_some_and(|reply| reply.contains(&line))
            {
                return Ok(Server { process, place: self.clone() });
            }
            if Instant::now() > end {
                drop(process.kill());
                panic!("the server does not answer\n{}", self.log());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    place: Place,
}

impl Server {
    /// A server on a new directory.
    #[track_caller]
    pub(crate) fn start(args: &[&str]) -> Server {
        Place::new().start(args)
    }

    /// Where it runs.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// A new connection.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::try_connect(&self.place.socket()).unwrap()
    }

    /// A new connection, if it takes one.
    pub(crate) fn try_connect(&self) -> Option<Client> {
        Client::try_connect(&self.place.socket()).ok()
    }

    /// Kills it as the system does that is out of memory.
    pub(crate) fn kill(mut self) -> Place {
        // It may have ended by itself.
        drop(self.process.kill());
        self.process.wait().unwrap();
        self.place.clone()
    }

    /// Asks it to stop, as an operator does, and waits for that.
    pub(crate) fn stop(mut self) -> (Place, ExitStatus) {
        self.signal("TERM");
        let status = self.process.wait().unwrap();
        (self.place.clone(), status)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// How much memory it has, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// What the system tells of the scheduling of the thread that serves a client: the shard's that
    /// runs when the client asks.
    pub(crate) fn thread_of(&self, client: &mut Client) -> PathBuf {
        let ran = |task: &PathBuf| {
            let text = fs::read_to_string(task).unwrap_or_default();
            text.split(' ').next().and_then(|ran| ran.parse::<u64>().ok()).unwrap_or_default()
        };
        let shards = self.threads().into_iter();
        let before: Vec<(PathBuf, u64)> = shards.map(|task| (task.clone(), ran(&task))).collect();
        (0..50).for_each(|_| assert_eq!(client.ask("PING"), "+PONG"));
        let most = before.into_iter().max_by_key(|(task, before)| ran(task) - before);
        most.unwrap().0
    }

    /// What the system tells of the scheduling of the shards' threads.
    pub(crate) fn threads(&self) -> Vec<PathBuf> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let tasks = tasks.map(|task| task.unwrap().path());
        let name = |task: &PathBuf| fs::read_to_string(task.join("comm")).unwrap_or_default();
        let shards = tasks.filter(|task| name(task).starts_with("shard-"));
        shards.map(|task| task.join("schedstat")).collect()
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    /// Waits until as many clients are blocked.
    #[track_caller]
    pub(crate) fn wait_blocked(&self, count: usize) {
        let mut client = self.connect();
        let line = format!("blocked_clients:{count}\r\n");
        wait_until(&line, || client.ask("INFO clients").contains(&line));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
        let log = self.place.log();
        let panicked = log.contains("panicked at");
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            // Captured by the harness, and shown because the test fails.
            drop(writeln!(std::io::stderr(), "--- the server's log\n{}", tail.join("\n")));
        } else {
            assert!(!panicked, "the server panicked:\n{log}");
        }
    }
}

/// A value on the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Other(String),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Push(Vec<Value>),
}

impl Value {
    /// The elements of an array.
    #[track_caller]
    pub(crate) fn array(&self) -> &[Value] {
        let (Value::Array(values) | Value::Push(values)) = self else {
            panic!("{self} is no array");
        };
        values
    }

    /// The text of a bulk string.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        let Value::Bulk(bytes) = self else { panic!("{self} is no bulk string") };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// `+OK`, `-ERR …`, `:1`, `nil`, bulk strings as they are, `[a b]`, `{k v}`, `>[a b]`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, values: &[Value]| {
            let texts: Vec<String> = values.iter().map(Value::to_string).collect();
            write!(f, "[{}]", texts.join(" "))
        };
        match self {
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Integer(number) => write!(f, ":{number}"),
            Value::Bulk(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Value::Nil => f.write_str("nil"),
            Value::Other(text) => f.write_str(text),
            Value::Array(values) => list(f, values),
            Value::Push(values) => {
                f.write_str(">")?;
                list(f, values)
            }
            Value::Map(pairs) => {
                let texts: Vec<String> = pairs.iter().map(|(k, v)| format!("{k} {v}")).collect();
                write!(f, "{{{}}}", texts.join(" "))
            }
        }
    }
}

/// A request as clients send it.
pub(crate) fn request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A client that hides nothing.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    read: Vec<u8>,
    used: usize,
}

impl Client {
    fn try_connect(socket: &Path) -> std::io::Result<Client> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Client { stream, read: Vec::new(), used: 0 })
    }

    /// A connection to an address: for what sends and receives, a socket is a socket.
    pub(crate) fn to(address: SocketAddr) -> Client {
        let stream = UnixStream::from(OwnedFd::from(TcpStream::connect(address).unwrap()));
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client { stream, read: Vec::new(), used: 0 }
    }

    /// A second hand on the same connection, to write while the first reads.
    pub(crate) fn writing_half(&self) -> Client {
        Client { stream: self.stream.try_clone().unwrap(), read: Vec::new(), used: 0 }
    }

    /// Sends bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes, unless the connection breaks.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    /// Sends what the connection takes at once, though nobody may read there.
    pub(crate) fn send_some(&mut self, mut bytes: &[u8]) {
        self.stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        while !bytes.is_empty() {
            let Ok(n) = self.stream.write(bytes) else { return };
            bytes = &bytes[n..];
        }
    }

    /// As [`Client::tell`], unless the connection breaks.
    pub(crate) fn try_tell(&mut self, command: &str) -> Option<()> {
        let args: Vec<&str> = command.split_whitespace().collect();
        self.try_send(&request(&args))
    }

    /// Sends a command whose arguments are divided by spaces.
    #[track_caller]
    pub(crate) fn tell(&mut self, command: &str) {
        let args: Vec<&str> = command.split_whitespace().collect();
        self.send(&request(&args));
    }

    /// Sends a command and returns the reply.
    #[track_caller]
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(&request(args));
        self.value()
    }

    /// Sends a command whose arguments are divided by spaces; returns the reply as text.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.reply()
    }

    /// As [`Client::ask`], unless the connection breaks.
    pub(crate) fn try_ask(&mut self, command: &str) -> Option<String> {
        self.try_tell(command)?;
        self.try_value().ok().map(|value| value.to_string())
    }

    /// Reads a value and returns it as text.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> String {
        self.value().to_string()
    }

    /// Reads a value.
    #[track_caller]
    pub(crate) fn value(&mut self) -> Value {
        self.try_value().unwrap()
    }

    /// Reads a value, unless the connection breaks.
    pub(crate) fn try_value(&mut self) -> std::io::Result<Value> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().unwrap_or_else(|_| panic!("no number: {line:?}"));
        Ok(match kind {
            "+" => Value::Simple(rest.to_owned()),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Integer(number()),
            "_" => Value::Nil,
            "$" | "=" | "*" if number() == -1 => Value::Nil,
            "$" | "=" => Value::Bulk(self.bulk(usize::try_from(number()).unwrap())?),
            "*" | "~" => Value::Array(self.values(number())?),
            ">" => Value::Push(self.values(number())?),
            "%" => {
                let pair = |_| Ok((self.try_value()?, self.try_value()?));
                Value::Map((0..number()).map(pair).collect::<std::io::Result<_>>()?)
            }
            "," | "#" | "(" => Value::Other(line.clone()),
            _ => panic!("no value begins with {line:?}"),
        })
    }

    fn values(&mut self, n: i64) -> std::io::Result<Vec<Value>> {
        (0..n).map(|_| self.try_value()).collect()
    }

    /// Whether nothing has come that was not read yet. Nothing may be on its way.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let filled = self.fill();
        self.stream.set_nonblocking(false).unwrap();
        self.read.is_empty() && filled.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Whether the server has closed the connection, waiting for that.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.fill().is_err()
    }

    fn line(&mut self) -> std::io::Result<String> {
        loop {
            let unread = &self.read[self.used..];
            if let Some(len) = unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&unread[..len]).into_owned();
                self.used += len + 2;
                return Ok(line);
            }
            self.fill()?;
        }
    }

    fn bulk(&mut self, len: usize) -> std::io::Result<Vec<u8>> {
        while self.read.len() - self.used < len + 2 {
            self.fill()?;
        }
        let bytes = self.read[self.used..self.used + len].to_vec();
        self.used += len + 2;
        Ok(bytes)
    }

    fn fill(&mut self) -> std::io::Result<()> {
        self.read.drain(..self.used);
        self.used = 0;
        let mut chunk = vec![0; 64 * 1024];
        let n = loop {
            // A process that was stopped for a moment finds its read interrupted.
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.read.extend_from_slice(&chunk[..n]);
        Ok(())
    }
}
