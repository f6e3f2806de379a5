//! The load: plain blocking sockets, served in turn by a few threads, with requests built
//! beforehand and replies merely counted, so that the loader is faster than what it measures.
//!
//! A thread reads the replies of its connections round and round and sends each the next batch as
//! soon as it has all replies of the last. Latency is thus from the sending of a batch to the
//! moment its replies were read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Room for what one read brings.
const READ_BYTES: usize = 256 * 1024;

/// Requests that [`Client::send_all`] has under way.
const BULK_DEPTH: usize = 1000;

/// Appends one request.
pub(crate) fn push_request(out: &mut Vec<u8>, args: &[&str]) {
    write!(out, "*{}\r\n", args.len()).expect("a vector grows");
    for arg in args {
        write!(out, "${}\r\n{arg}\r\n", arg.len()).expect("a vector grows");
    }
}

/// Requests that are sent at once.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// The requests.
    pub(crate) bytes: Vec<u8>,
    /// How many there are.
    pub(crate) requests: usize,
}

impl Batch {
    /// A batch of `depth` requests that `arguments` makes.
    pub(crate) fn build(depth: usize, mut arguments: impl FnMut(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            arguments(&mut bytes);
        }
        Batch { bytes, requests: depth }
    }
}

/// Counts whole replies in the bytes of a connection. It needs no stack: an array merely adds its
/// elements to those that are missing.
#[derive(Debug, Default)]
struct Replies {
    /// Bytes of a bulk string, with its line end, that are still to come.
    skip: usize,
    /// Elements of the unfinished reply that are still to come.
    open: usize,
    /// The beginning of a line that has not ended.
    line: Vec<u8>,
    /// Replies so far.
    done: usize,
}

impl Replies {
    /// Whether `wanted` replies have come completely.
    fn have(&self, wanted: usize) -> bool {
        self.done >= wanted && self.skip == 0
    }

    /// Takes more bytes.
    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let skipped = self.skip.min(rest.len());
            rest = &rest[skipped..];
            self.skip -= skipped;
            let Some(&first) = rest.first() else { return };
            if let (true, Some((number, len))) = (self.line.is_empty(), short_header(rest)) {
                self.header(first, number);
                rest = &rest[len..];
                continue;
            }
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                self.line.extend_from_slice(rest);
                return;
            };
            self.line.extend_from_slice(&rest[..=end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            let text = String::from_utf8_lossy(&line[1..]);
            assert!(line[0] != b'-', "the server refused a request: {}", text.trim_end());
            self.header(line[0], text.trim_end().parse().unwrap_or(0));
        }
    }

    /// Takes a line: what kind it is of, and its number if it has one.
    #[inline]
    fn header(&mut self, kind: u8, number: i64) {
        let open = self.open.max(1) - 1;
        let count = usize::try_from(number).unwrap_or(0);
        self.open = match kind {
            b'*' => open + count,
            b'$' => {
                self.skip = if number < 0 { 0 } else { count + 2 };
                open
            }
            _ => open,
        };
        self.done += usize::from(self.open == 0);
    }
}

/// The number in a line of few digits, and the length of the line.
#[inline]
fn short_header(bytes: &[u8]) -> Option<(i64, usize)> {
    if !matches!(bytes[0], b'$' | b'*' | b':') {
        return None;
    }
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(8).skip(1) {
        match byte.wrapping_sub(b'0') {
            digit @ 0..=9 => number = number * 10 + i64::from(digit),
            _ if *byte == b'\r' && bytes.len() > at + 1 => return Some((number, at + 2)),
            _ => return None,
        }
    }
    None
}

/// Connects.
pub(crate) fn connect(port: u16) -> TcpStream {
    try_connect(port).expect("the server accepts connections")
}

fn try_connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One connection that waits for its answers.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(port: u16) -> Self {
        Client { stream: connect(port), buffer: vec![0; READ_BYTES] }
    }

    /// Connects, if the server is there already.
    pub(crate) fn try_connect(port: u16) -> std::io::Result<Self> {
        Ok(Client { stream: try_connect(port)?, buffer: vec![0; READ_BYTES] })
    }

    /// Sends one request; its whole reply.
    pub(crate) fn call(&mut self, args: &[&str]) -> Vec<u8> {
        let mut request = Vec::new();
        push_request(&mut request, args);
        self.stream.write_all(&request).expect("the server reads");
        self.replies(1)
    }

    /// Whether the server answers a PING with something else than an error.
    pub(crate) fn is_served(&mut self) -> bool {
        let sent = self.stream.write_all(b"PING\r\n");
        sent.is_ok() && self.stream.read(&mut self.buffer).is_ok_and(|_| self.buffer[0] == b'+')
    }

    /// Sends requests without waiting for answers.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The next `wanted` replies.
    pub(crate) fn replies(&mut self, wanted: usize) -> Vec<u8> {
        let (mut counter, mut bytes) = (Replies::default(), Vec::new());
        while !counter.have(wanted) {
            let len = self.stream.read(&mut self.buffer).expect("the server answers");
            assert!(len > 0, "the server closed the connection");
            counter.feed(&self.buffer[..len]);
            bytes.extend_from_slice(&self.buffer[..len]);
        }
        bytes
    }

    /// Sends `count` requests that `arguments` makes from their number, many at a time.
    pub(crate) fn send_all(&mut self, count: usize, arguments: impl Fn(usize, &mut Vec<u8>)) {
        let mut bytes = Vec::new();
        for start in (0..count).step_by(BULK_DEPTH) {
            let end = count.min(start + BULK_DEPTH);
            bytes.clear();
            for number in start..end {
                arguments(number, &mut bytes);
            }
            self.send(&bytes);
            self.replies(end - start);
        }
    }
}

/// What is sent for a while.
#[derive(Debug)]
pub(crate) struct Load {
    /// For every connection what it sends; it begins again at the end, unless `once` is set.
    pub(crate) connections: Vec<Vec<Batch>>,
    /// Stops at the first connection that has sent everything.
    pub(crate) once: bool,
    /// The length of every reply, if it is the same: such replies need not be parsed.
    pub(crate) reply_bytes: Option<usize>,
}

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Requests answered.
    pub(crate) requests: usize,
    /// From the first request to the last reply.
    pub(crate) elapsed: Duration,
    /// Time of every batch.
    pub(crate) latencies: Vec<Duration>,
}

impl Outcome {
    /// Adds what another thread did at the same time.
    fn join(mut self, other: Outcome) -> Outcome {
        self.requests += other.requests;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latencies.extend(other.latencies);
        self
    }
}

/// A connection of a load.
struct Connection<'a> {
    stream: TcpStream,
    batches: &'a [Batch],
    next: usize,
    sent_at: Instant,
    wanted: usize,
    replies: Replies,
    /// Bytes still to come, if replies are not parsed.
    bytes_left: usize,
}

impl Connection<'_> {
    /// Sends the next batch, unless all are sent.
    fn send(&mut self, load: &Load) -> bool {
        if self.next == self.batches.len() {
            if load.once {
                return false;
            }
            self.next = 0;
        }
        let batch = &self.batches[self.next];
        self.next += 1;
        self.wanted = batch.requests;
        self.bytes_left = load.reply_bytes.map_or(0, |len| len * batch.requests);
        self.replies.done = 0;
        self.sent_at = Instant::now();
        self.stream.write_all(&batch.bytes).expect("the server reads");
        true
    }

    /// Reads all replies of the batch that was sent.
    fn receive(&mut self, load: &Load, buffer: &mut [u8]) {
        let mut first = true;
        loop {
            let done = match load.reply_bytes {
                Some(_) => self.bytes_left == 0,
                None => self.replies.have(self.wanted),
            };
            if done {
                return;
            }
            let len = self.stream.read(buffer).expect("the server answers");
            assert!(len > 0, "the server closed the connection");
            match load.reply_bytes {
                Some(_) => {
                    assert!(!first || buffer[0] != b'-', "the server refused a request");
                    self.bytes_left =
                        self.bytes_left.checked_sub(len).expect("replies have their length");
                }
                None => self.replies.feed(&buffer[..len]),
            }
            first = false;
        }
    }
}

/// Puts a server under a load for a time, with so many threads.
pub(crate) fn drive(port: u16, load: &Load, time: Duration, threads: usize) -> Outcome {
    let share = load.connections.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let threads: Vec<_> = load
            .connections
            .chunks(share)
            .map(|batches| scope.spawn(move || drive_some(port, load, batches, time)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread of the load does not fail"))
            .fold(Outcome::default(), Outcome::join)
    })
}

/// One thread's part of the load.
fn drive_some(port: u16, load: &Load, batches: &[Vec<Batch>], time: Duration) -> Outcome {
    let mut connections: Vec<Connection<'_>> = batches
        .iter()
        .map(|batches| Connection {
            stream: connect(port),
            batches,
            next: 0,
            sent_at: Instant::now(),
            wanted: 0,
            replies: Replies::default(),
            bytes_left: 0,
        })
        .collect();
    let mut buffer = vec![0; READ_BYTES];
    let mut outcome = Outcome::default();
    let begin = Instant::now();
    let deadline = begin + time;
    for connection in &mut connections {
        connection.send(load);
    }
    let mut going = true;
    loop {
        let last = !going;
        for connection in connections.iter_mut().filter(|connection| connection.wanted > 0) {
            connection.receive(load, &mut buffer);
            let now = Instant::now();
            outcome.requests += std::mem::take(&mut connection.wanted);
            outcome.latencies.push(now - connection.sent_at);
            going = going && now < deadline && connection.send(load);
        }
        // The round after the one in which it ended has read what was still under way.
        if last {
            break;
        }
    }
    outcome.elapsed = begin.elapsed();
    outcome
}

/// Consumers that take new entries of the group `g` of the stream `s` and acknowledge them:
/// `depth` times XREADGROUP with COUNT `count`, then as many XACK. Counts entries. It ends when a
/// consumer finds nothing new, or after `time`.
pub(crate) fn consume(
    port: u16,
    consumers: usize,
    depth: usize,
    count: usize,
    time: Duration,
) -> Outcome {
    let mut consumers: Vec<(Client, Batch)> = (0..consumers)
        .map(|number| {
            let (count, name) = (count.to_string(), format!("c{number}"));
            let read = ["XREADGROUP", "GROUP", "g", &name, "COUNT", &count, "STREAMS", "s", ">"];
            (Client::connect(port), Batch::build(depth, |out| push_request(out, &read)))
        })
        .collect();
    let mut outcome = Outcome::default();
    let begin = Instant::now();
    let mut acks = Vec::new();
    for (client, read) in &mut consumers {
        client.send(&read.bytes);
    }
    let mut going = true;
    while going {
        // First everybody reads and sends its XACKs, then everybody goes on.
        let mut sent = Vec::new();
        for (client, read) in &mut consumers {
            let replies = client.replies(read.requests);
            let ids = entry_ids(&replies, read.requests);
            acks.clear();
            for ids in ids.iter().filter(|ids| !ids.is_empty()) {
                push_request(&mut acks, &[&["XACK", "s", "g"], &ids[..]].concat());
            }
            client.send(&acks);
            sent.push(ids.iter().filter(|ids| !ids.is_empty()).count());
            outcome.requests += ids.iter().map(Vec::len).sum::<usize>();
        }
        going = begin.elapsed() < time && sent.iter().all(|acks| *acks > 0);
        for ((client, read), acks) in consumers.iter_mut().zip(sent) {
            client.replies(acks);
            if going {
                client.send(&read.bytes);
            }
        }
    }
    outcome.elapsed = begin.elapsed();
    outcome
}

/// `readers` clients blocked in XREAD on one stream, again and again served by one XADD; counts
/// deliveries.
pub(crate) fn fan_out(port: u16, readers: usize, time: Duration) -> Outcome {
    let mut producer = Client::connect(port);
    let mut readers: Vec<Client> = (0..readers).map(|_| Client::connect(port)).collect();
    let mut outcome = Outcome::default();
    let begin = Instant::now();
    for round in 1.. {
        let (last, next) = (format!("{}-1", round - 1), format!("{round}-1"));
        let mut read = Vec::new();
        push_request(&mut read, &["XREAD", "BLOCK", "0", "STREAMS", "fan", &last]);
        for reader in &mut readers {
            reader.send(&read);
        }
        let sent_at = Instant::now();
        producer.call(&["XADD", "fan", &next, "field", "0123456789abcdef"]);
        for reader in &mut readers {
            reader.replies(1);
        }
        outcome.requests += readers.len();
        outcome.latencies.push(sent_at.elapsed());
        if begin.elapsed() >= time {
            break;
        }
    }
    outcome.elapsed = begin.elapsed();
    outcome
}

/// The IDs of the entries in replies of XREADGROUP over one key, reply by reply.
fn entry_ids(replies: &[u8], wanted: usize) -> Vec<Vec<&str>> {
    let mut rest = replies;
    (0..wanted)
        .map(|_| {
            let mut ids = Vec::new();
            // *1, *2, the key, then the entries; or a null.
            if take_header(&mut rest) < 0 {
                return ids;
            }
            take_header(&mut rest);
            take_bulk(&mut rest);
            for _ in 0..take_header(&mut rest) {
                take_header(&mut rest);
                ids.push(take_bulk(&mut rest));
                for _ in 0..take_header(&mut rest) {
                    take_bulk(&mut rest);
                }
            }
            ids
        })
        .collect()
}

fn take_header(rest: &mut &[u8]) -> i64 {
    let end = rest.iter().position(|&byte| byte == b'\n').expect("a line ends");
    let line = std::str::from_utf8(&rest[1..end]).expect("a number is text");
    let number = line.trim_end().parse().expect("a header has a number");
    *rest = &rest[end + 1..];
    number
}

fn take_bulk<'a>(rest: &mut &'a [u8]) -> &'a str {
    let len = usize::try_from(take_header(rest)).expect("the bulk string is not null");
    let (bulk, after) = rest.split_at(len);
    *rest = &after[2..];
    std::str::from_utf8(bulk).expect("the load sends text only")
}
