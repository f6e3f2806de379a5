//! The same random commands to a real Redis and to this server, with one shard and with four:
//! every reply must be the same, byte for byte, apart from what depends on clock and process, and
//! from a kept list of differences with their reasons.
//!
//! `PEER` names the Redis to compare with, else it is the `redis-server` of the path; without one
//! nothing is compared. What a peer does not know yet is not asked. `DIFF_ROUNDS` makes it longer
//! (a round is 300 commands), `DIFF_FIRST` begins at another seed.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accepted;
mod channels;
mod commands;
mod frame;

use commands::{Maker, Version, Words};
use frame::Frame;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Commands of a round, which begins with no keys.
const ROUND: usize = 300;
/// Connections of a round; every second one speaks RESP3.
const CONNECTIONS: usize = 3;
/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(5);

/// A running server.
struct Server {
    name: String,
    process: Child,
    directory: TempDir,
}

impl Server {
    fn start(name: &str, program: &Path, settings: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(["--port", "0", "--save", "", "--appendonly", "no"]).args(settings);
        // Nodes have few entries, and never the bytes that would end one earlier.
        command.args(["--stream-node-max-entries", "5", "--dir"]).arg(directory.path());
        command.arg("--unixsocket").arg(directory.path().join("socket"));
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let process = command.stdout(Stdio::from(log)).stderr(Stdio::null()).spawn().unwrap();
        let server = Server { name: name.to_owned(), process, directory };
        let end = Instant::now() + DEADLINE;
        while !server.is_ready() {
            assert!(Instant::now() < end, "{name} does not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        server
    }

    fn is_ready(&self) -> bool {
        UnixStream::connect(self.directory.path().join("socket")).is_ok()
            && self.connect().call(&words("GET k")) == Frame::Line(b"$-1".to_vec())
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.directory.path().join("socket")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client { read: BufReader::new(stream.try_clone().unwrap()), write: stream }
    }

    /// The version that it says it has.
    fn version(&self) -> Version {
        let info = self.connect().call(&[b"INFO".to_vec(), b"server".to_vec()]).to_string();
        let version = info.split("redis_version:").nth(1).unwrap();
        let mut numbers = version.split('.').map(|n| n.parse::<Version>().unwrap());
        numbers.next().unwrap() * 100 + numbers.next().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A connection.
struct Client {
    read: BufReader<UnixStream>,
    write: UnixStream,
}

impl Client {
    fn send(&mut self, words: &[Vec<u8>]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        // Whoever closed the connection does not answer either.
        drop(self.write.write_all(&bytes));
    }

    fn call(&mut self, words: &[Vec<u8>]) -> Frame {
        self.send(words);
        frame::read(&mut self.read).unwrap()
    }

    /// Whether something has come.
    fn hears(&mut self) -> bool {
        self.write.set_nonblocking(true).unwrap();
        let heard = self.read.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.write.set_nonblocking(false).unwrap();
        heard
    }
}

/// Commands that one connection sends in one go.
#[derive(Debug, Clone)]
struct Step {
    connection: usize,
    commands: Vec<Words>,
}

impl Step {
    fn describe(&self) -> String {
        let line = |words: &Words| format!("{}: {}", self.connection, show(words));
        self.commands.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn show(words: &Words) -> String {
    let word = |word: &Vec<u8>| format!("\"{}\"", word.escape_ascii());
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn words(line: &str) -> Words {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The steps of a seed.
fn round(seed: u64, version: Version) -> Vec<Step> {
    let mut maker = Maker::new(seed, version);
    let mut left = ROUND;
    let mut steps = Vec::new();
    while left > 0 {
        // Mostly a few at once; now and then as many as one visit to other shards takes together.
        let most = if maker.below(24) == 0 { 64 } else { 4 };
        let count = (maker.below(most) + 1).min(left);
        left -= count;
        let connection = maker.below(CONNECTIONS);
        steps.push(Step { connection, commands: (0..count).map(|_| maker.command()).collect() });
    }
    steps
}

/// Plays a round on all servers; the first difference from the first of them.
fn play(servers: &[Server], version: Version, steps: &[Step]) -> Option<String> {
    let mut clients: Vec<Vec<Client>> = Vec::new();
    for server in servers {
        let mut of_server: Vec<Client> = (0..CONNECTIONS).map(|_| server.connect()).collect();
        of_server[1].call(&words("HELLO 3"));
        of_server[0].call(&words("FLUSHALL"));
        clients.push(of_server);
    }
    // What each connection has queued, to know what the replies of EXEC are of.
    let mut queued: Vec<Vec<Words>> = vec![Vec::new(); CONNECTIONS];
    for step in steps {
        for of_server in &mut clients {
            step.commands.iter().for_each(|words| of_server[step.connection].send(words));
        }
        for words in &step.commands {
            let mut replies: Vec<Frame> = Vec::new();
            for (of_server, server) in clients.iter_mut().zip(servers) {
                let Some(reply) = frame::read(&mut of_server[step.connection].read) else {
                    return Some(format!("{} does not answer {}", server.name, show(words)));
                };
                replies.push(reply);
            }
            let queue = &mut queued[step.connection];
            let theirs = replies.remove(0);
            for (ours, server) in replies.into_iter().zip(&servers[1..]) {
                if let Some(difference) = compare(version, words, queue, &theirs, &ours) {
                    return Some(format!("{}: {difference}", server.name));
                }
            }
            if theirs == Frame::Line(b"+QUEUED".to_vec()) {
                queue.push(words.clone());
            } else if words[0].eq_ignore_ascii_case(b"MULTI") && !theirs.is_error() {
                queue.clear();
            }
        }
    }
    None
}

/// How two replies differ in a way that is not accepted.
fn compare(
    version: Version,
    words: &Words,
    queue: &[Words],
    theirs: &Frame,
    ours: &Frame,
) -> Option<String> {
    if words[0].eq_ignore_ascii_case(b"EXEC")
        && let (Frame::Many(_, theirs), Frame::Many(_, ours)) = (theirs, ours)
        && theirs.len() == queue.len()
        && ours.len() == queue.len()
    {
        let mut all = queue.iter().zip(theirs.iter().zip(ours));
        return all.find_map(|(words, (theirs, ours))| compare(version, words, &[], theirs, ours));
    }
    let (mut theirs, mut ours) = (theirs.clone(), ours.clone());
    theirs.normalise(words);
    ours.normalise(words);
    if words[0].eq_ignore_ascii_case(b"XINFO") {
        ours.take_back_to(version);
    }
    if theirs == ours || accepted::reason(version, words, &theirs, &ours).is_some() {
        return None;
    }
    Some(format!("{}\n  theirs {theirs}\n  ours   {ours}", show(words)))
}

/// The steps without those that the difference does not need.
fn shrink(mut steps: Vec<Step>, play: impl Fn(&[Step]) -> Option<String>) -> Vec<Step> {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            if play(&fewer).is_some() {
                steps = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    steps
}

/// Plays the steps of every seed, and fails with the fewest that show a difference.
fn search(
    version: Version,
    steps_of: impl Fn(u64) -> Vec<Step>,
    play: impl Fn(&[Step]) -> Option<String>,
) {
    let first = setting("DIFF_FIRST", 1);
    for seed in first..first + setting("DIFF_ROUNDS", 10) {
        let steps = steps_of(seed);
        let Some(difference) = play(&steps) else { continue };
        let steps = shrink(steps, &play);
        let difference = play(&steps).unwrap_or(difference);
        let steps: Vec<String> = steps.iter().map(Step::describe).collect();
        panic!("seed {seed}, Redis {version}:\n{}\n{difference}", steps.join("\n"));
    }
}

/// The Redis to compare with.
fn peer() -> Option<PathBuf> {
    if let Some(peer) = std::env::var_os("PEER") {
        return Some(peer.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("redis-server")).find(|file| file.is_file())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The peer, and ours with one shard and with four; none without a peer.
fn servers() -> Option<[Server; 3]> {
    let Some(peer) = peer() else {
        let text = b"skipped: there is no redis-server to compare with\n";
        std::io::stderr().write_all(text).unwrap();
        return None;
    };
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_millstream"));
    Some([
        Server::start("the peer", &peer, &[]),
        Server::start("one shard", &ours, &["--shards", "1"]),
        Server::start("four shards", &ours, &["--shards", "4"]),
    ])
}

#[test]
fn replies_are_those_of_redis() {
    let Some(servers) = servers() else { return };
    let version = servers[0].version();
    search(version, |seed| round(seed, version), |steps| play(&servers, version, steps));
}
