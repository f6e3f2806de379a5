//! The rows: what each figure is, how it is set up, and what millstream must reach against the
//! better peer of the same run.

use crate::durable;
use crate::load::{self, Batch, Client, Load, Outcome, push_request};
use crate::server::{Cpu, Log, Server};
use std::time::{Duration, Instant};

/// Entries in the group of the rows about many pending entries.
const PENDING: usize = 1_000_000;

/// What the command line may change.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long a load lasts.
    pub(crate) time: Duration,
    /// Entries of the rows about saving and loading.
    pub(crate) entries: usize,
    /// Threads of the loader.
    pub(crate) threads: usize,
    /// Connections, instead of the row's own number.
    pub(crate) connections: Option<usize>,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Per second; more is better.
    Rate,
    /// Bytes; less is better.
    Bytes,
    /// Milliseconds; less is better.
    Millis,
}

/// What millstream must reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// At least this many times the better peer's figure.
    Times(f64),
    /// At most this part of the better peer's figure.
    PartOf(f64),
    /// At most this many units.
    AtMost(f64),
    /// Nothing: the figure is only reported.
    Reported,
}

/// One server's figure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figure {
    /// In the row's unit.
    pub(crate) value: f64,
    /// The server's CPU time per request in seconds.
    pub(crate) cpu: Option<Cpu>,
    /// Median and 99th percentile of the latency.
    pub(crate) latency: Option<(Duration, Duration)>,
    /// What else is to be said.
    pub(crate) note: String,
}

/// How a figure is taken from a server that has just started.
type Measure = Box<dyn Fn(&mut Server, &Settings) -> Figure>;

/// A row of the output.
pub(crate) struct Row {
    /// What selects it.
    pub(crate) name: &'static str,
    /// What its figure counts.
    pub(crate) unit: Unit,
    /// What ours must reach.
    pub(crate) goal: Goal,
    /// The log under which it is taken.
    pub(crate) log: Log,
    /// The number of shards of millstream.
    pub(crate) shards: u32,
    /// Whether the floor is shown, too.
    pub(crate) floor: bool,
    /// Takes it.
    pub(crate) measure: Measure,
}

/// A row without a log and with one shard.
pub(crate) fn row(
    name: &'static str,
    unit: Unit,
    goal: Goal,
    measure: impl Fn(&Server, &Settings) -> Figure + 'static,
) -> Row {
    let measure = Box::new(move |server: &mut Server, set: &Settings| measure(server, set));
    Row { name, unit, goal, log: Log::Off, shards: 1, floor: false, measure }
}

/// A row whose figure is a rate.
pub(crate) fn rate(
    name: &'static str,
    times: f64,
    measure: impl Fn(&Server, &Settings) -> Figure + 'static,
) -> Row {
    row(name, Unit::Rate, Goal::Times(times), measure)
}

/// All rows.
pub(crate) fn all() -> Vec<Row> {
    [throughput_rows(), group_rows(), read_rows(), stall_rows(), memory_rows(), durable::rows()]
        .into_iter()
        .flatten()
        .collect()
}

fn throughput_rows() -> Vec<Row> {
    let logged = |log, row: Row| Row { log, ..row };
    let floored = |row: Row| Row { floor: true, ..row };
    vec![
        floored(rate("xadd-p1", 1.1, |server, set| xadd(server, set, 50, 1, 1))),
        floored(rate("xadd-p16", 2.0, |server, set| xadd(server, set, 50, 16, 1))),
        floored(rate("xadd-p100", 3.0, |server, set| xadd(server, set, 50, 100, 1))),
        rate("xadd-5-fields-p100", 3.0, |server, set| xadd(server, set, 50, 100, 5)),
        rate("xadd-100k-streams-p16", 2.5, |server, set| xadd_streams(server, set, 16)),
        rate("xadd-100k-streams-p100", 2.5, |server, set| xadd_streams(server, set, 100)),
        logged(Log::EverySec, rate("xadd-everysec-p16", 2.0, |s, set| xadd(s, set, 50, 16, 1))),
        logged(Log::EverySec, rate("xadd-everysec-p100", 3.0, |s, set| xadd(s, set, 50, 100, 1))),
        logged(Log::Always, rate("xadd-always-p1", 1.5, |s, set| xadd(s, set, 50, 1, 1))),
        logged(Log::Always, rate("xadd-always-p16", 2.0, |s, set| xadd(s, set, 50, 16, 1))),
        logged(Log::Always, rate("xadd-always-500-p1", 1.2, |s, set| xadd(s, set, 500, 1, 1))),
        logged(Log::Always, rate("xadd-always-500-p16", 2.0, |s, set| xadd(s, set, 500, 16, 1))),
        Row { shards: 4, ..row("exec-two-keys-4-shards", Unit::Rate, Goal::Reported, exec) },
    ]
}

fn group_rows() -> Vec<Row> {
    vec![
        rate("readgroup-1-ack-p1", 1.1, |server, set| consume(server, set, 1, 1)),
        rate("readgroup-1-ack-p16", 3.0, |server, set| consume(server, set, 16, 1)),
        rate("readgroup-10-ack-p16", 3.0, |server, set| consume(server, set, 16, 10)),
        rate("readgroup-100-ack-p1", 3.0, |server, set| consume(server, set, 1, 100)),
        rate("xack-1m-pending-p16", 2.0, |server, set| {
            random_pending(server, set, |id, out| push_request(out, &["XACK", "s", "g", id]))
        }),
        rate("xclaim-1m-pending-p16", 3.0, |server, set| {
            random_pending(server, set, |id, out| {
                push_request(out, &["XCLAIM", "s", "g", "other", "0", id]);
            })
        }),
    ]
}

fn read_rows() -> Vec<Row> {
    vec![
        rate("xrange-10-p16", 3.0, |server, set| xrange(server, set, 16, "10")),
        rate("xrange-100-p1", 3.0, |server, set| xrange(server, set, 1, "100")),
        rate("xrange-1000-p1", 3.0, |server, set| xrange(server, set, 1, "1000")),
        rate("xrevrange-1-p16", 2.5, |server, set| {
            fill(server, "s", 1_000_000, &FIELD_16);
            let last = ["XREVRANGE", "s", "+", "-", "COUNT", "1"];
            let batch = Batch::build(16, |out| push_request(out, &last));
            let connections = vec![vec![batch]; set.connections.unwrap_or(50)];
            run(server, set, &Load { connections, once: false, reply_bytes: None })
        }),
        rate("fan-out-100", 1.3, |server, set| fan_out(server, set, 100)),
        rate("fan-out-1000", 1.3, |server, set| fan_out(server, set, 1000)),
    ]
}

fn stall_rows() -> Vec<Row> {
    let call = |name, most, fill: fn(&Server), args: &'static [&'static str], times| {
        row(name, Unit::Millis, Goal::AtMost(most), move |server, _| {
            fill(server);
            call_time(server, args, times)
        })
    };
    let autoclaim = &["XAUTOCLAIM", "s", "g", "other", "3600000", "0", "COUNT", "1000"];
    let fill_5m: fn(&Server) = |server| fill(server, "s", 5_000_000, &FIELD_16);
    vec![
        call("xautoclaim-none-idle", 1.0, fill_pending, autoclaim, 21),
        call(
            "xpending-none-idle",
            1.0,
            fill_pending,
            &["XPENDING", "s", "g", "IDLE", "3600000", "-", "+", "10"],
            21,
        ),
        call("xgroup-destroy-1m", 2.0, fill_pending, &["XGROUP", "DESTROY", "s", "g"], 1),
        call("xtrim-5m", 2.0, fill_5m, &["XTRIM", "s", "MAXLEN", "0"], 1),
        call("del-5m", 2.0, fill_5m, &["DEL", "s"], 1),
    ]
}

fn memory_rows() -> Vec<Row> {
    let entry = |name, most, fields: &'static [&'static str]| {
        row(name, Unit::Bytes, Goal::AtMost(most), move |server, _| {
            memory(server, 2_000_000, |server| fill(server, "s", 2_000_000, fields))
        })
    };
    let bytes = |name, most, measure: fn(&Server, &Settings) -> Figure| {
        row(name, Unit::Bytes, Goal::AtMost(most), measure)
    };
    vec![
        entry("memory-entry-16", 22.0, &FIELD_16),
        entry("memory-entry-100", 106.0, &FIELD_100),
        entry("memory-entry-3-fields", 21.0, &["a", "abcde", "b", "fghij", "c", "klmno"]),
        entry(
            "memory-entry-5-fields",
            31.0,
            &["a", "abcde", "b", "fghij", "c", "klmno", "d", "pqrst", "e", "uvwxy"],
        ),
        bytes("memory-pending", 24.0, |server, _| memory_pending(server, 1, false)),
        bytes("memory-pending-1000-consumers", 24.0, |server, _| {
            memory_pending(server, 1000, false)
        }),
        bytes("memory-pending-half-acked", 40.0, |server, _| memory_pending(server, 1, true)),
        bytes("memory-stream-of-one", 400.0, |server, _| {
            memory(server, 200_000, |server| {
                Client::connect(server.port).send_all(200_000, |number, out| {
                    let key = format!("stream:{number:012}");
                    push_request(out, &["XADD", &key, &entry_id(number), "field", VALUE_16]);
                });
            })
        }),
        bytes("memory-idle-connection", 1250.0, |server, _| memory_connections(server, &["PING"])),
        bytes("memory-blocked-reader", 1500.0, |server, _| {
            Client::connect(server.port).call(&["XGROUP", "CREATE", "s", "g", "0", "MKSTREAM"]);
            let read = ["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"];
            memory_connections(server, &read)
        }),
    ]
}

pub(crate) const VALUE_16: &str = "0123456789abcdef";
pub(crate) const FIELD_16: [&str; 2] = ["field", VALUE_16];
const FIELD_100: [&str; 2] = [
    "field",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
     0123456789abcdef0123",
];

/// The ID of an entry that [`fill`] makes: ten in a millisecond, all of the same length.
pub(crate) fn entry_id(number: usize) -> String {
    format!("{}-{}", 1_700_000_000_000 + number as u64 / 10, number % 10)
}

/// Makes a stream of `count` entries.
pub(crate) fn fill(server: &Server, key: &str, count: usize, fields: &[&str]) {
    Client::connect(server.port).send_all(count, |number, out| {
        let id = entry_id(number);
        push_request(out, &[&["XADD", key, &id], fields].concat());
    });
}

/// Makes a group with a million pending entries.
fn fill_pending(server: &Server) {
    fill(server, "s", PENDING, &FIELD_16);
    let mut client = Client::connect(server.port);
    client.call(&["XGROUP", "CREATE", "s", "g", "0"]);
    deliver(&mut client, PENDING, 1);
}

/// Delivers `count` entries to so many consumers in turn, a thousand at most at once.
fn deliver(client: &mut Client, count: usize, consumers: usize) {
    let at_once = 1000.min(count / consumers);
    let each = at_once.to_string();
    for number in 0..count / at_once {
        let name = format!("consumer{}", number % consumers);
        let to = ["XREADGROUP", "GROUP", "g", &name, "COUNT", &each, "STREAMS", "s", ">"];
        client.call(&to);
    }
}

/// Runs a load, after a short one to warm up; the rate, the CPU time and the latency.
fn run(server: &Server, settings: &Settings, load: &Load) -> Figure {
    if !load.once {
        load::drive(server.port, load, settings.time / 5, settings.threads);
    }
    figure(server, || load::drive(server.port, load, settings.time, settings.threads))
}

/// The figure of what `work` does.
pub(crate) fn figure(server: &Server, work: impl FnOnce() -> Outcome) -> Figure {
    let before = server.cpu();
    let mut outcome = work();
    let cpu = server.cpu().since(before);
    let requests = outcome.requests as f64;
    outcome.latencies.sort_unstable();
    let at = |part: usize| outcome.latencies.get(outcome.latencies.len() * part / 100).copied();
    Figure {
        value: requests / outcome.elapsed.as_secs_f64(),
        cpu: Some(Cpu { user: cpu.user / requests, system: cpu.system / requests }),
        latency: at(50).zip(at(99)),
        note: String::new(),
    }
}

pub(crate) fn xadd(
    server: &Server,
    settings: &Settings,
    connections: usize,
    depth: usize,
    fields: usize,
) -> Figure {
    let names = ["a", "bc", "def", "ghij", "klmno"];
    let pairs = names.iter().take(fields).flat_map(|name| [name, VALUE_16]);
    let args: Vec<&str> = ["XADD", "s", "*"].into_iter().chain(pairs).collect();
    let batch = Batch::build(depth, |out| push_request(out, &args));
    let connections = vec![vec![batch]; settings.connections.unwrap_or(connections)];
    run(server, settings, &Load { connections, once: false, reply_bytes: None })
}

fn xadd_streams(server: &Server, settings: &Settings, depth: usize) -> Figure {
    const STREAMS: usize = 100_000;
    let key = |number: usize| format!("stream:{number:012}");
    Client::connect(server.port).send_all(STREAMS, |number, out| {
        push_request(out, &["XADD", &key(number), "*", "field", VALUE_16]);
    });
    let mut random = Random(1);
    let connections = (0..settings.connections.unwrap_or(50))
        .map(|_| {
            let batch = |_| {
                Batch::build(depth, |out| {
                    let key = key(random.below(STREAMS));
                    push_request(out, &["XADD", &key, "*", "field", VALUE_16]);
                })
            };
            (0..4000 / depth).map(batch).collect()
        })
        .collect();
    run(server, settings, &Load { connections, once: false, reply_bytes: None })
}

/// MULTI, an XADD to each of two random streams, EXEC; a transaction counts as one request.
fn exec(server: &Server, settings: &Settings) -> Figure {
    let mut random = Random(1);
    let connections = (0..settings.connections.unwrap_or(50))
        .map(|_| {
            let batch = |_| {
                Batch::build(1, |out| {
                    push_request(out, &["MULTI"]);
                    for _ in 0..2 {
                        let key = format!("stream:{}", random.below(1000));
                        push_request(out, &["XADD", &key, "*", "field", VALUE_16]);
                    }
                    push_request(out, &["EXEC"]);
                })
            };
            (0..1000).map(batch).map(|batch| Batch { requests: 4, ..batch }).collect()
        })
        .collect();
    let replies = run(server, settings, &Load { connections, once: false, reply_bytes: None });
    let cpu = replies.cpu.map(|cpu| Cpu { user: cpu.user * 4.0, system: cpu.system * 4.0 });
    Figure { value: replies.value / 4.0, cpu, ..replies }
}

fn consume(server: &Server, settings: &Settings, depth: usize, count: usize) -> Figure {
    fill(server, "s", 2_000_000, &FIELD_16);
    Client::connect(server.port).call(&["XGROUP", "CREATE", "s", "g", "0"]);
    let consumers = settings.connections.unwrap_or(50);
    figure(server, || load::consume(server.port, consumers, depth, count, settings.time))
}

/// Every ID of a million pending entries once, in random order.
fn random_pending(
    server: &Server,
    settings: &Settings,
    arguments: fn(&str, &mut Vec<u8>),
) -> Figure {
    fill_pending(server);
    let mut ids: Vec<usize> = (0..PENDING).collect();
    Random(1).shuffle(&mut ids);
    let share = PENDING / settings.connections.unwrap_or(50);
    let batch = |ids: &[usize]| {
        let mut ids = ids.iter();
        Batch::build(ids.len(), |out| {
            arguments(&ids.next().map(|id| entry_id(*id)).unwrap_or_default(), out);
        })
    };
    let connections = ids.chunks(share).map(|ids| ids.chunks(16).map(batch).collect()).collect();
    run(server, settings, &Load { connections, once: true, reply_bytes: None })
}

fn xrange(server: &Server, settings: &Settings, depth: usize, count: &str) -> Figure {
    const ENTRIES: usize = 1_000_000;
    fill(server, "s", ENTRIES, &FIELD_16);
    let mut random = Random(1);
    let mut arguments = |out: &mut Vec<u8>| {
        let start = entry_id(random.below(ENTRIES - 1000));
        push_request(out, &["XRANGE", "s", &start, "+", "COUNT", count]);
    };
    let connections = (0..settings.connections.unwrap_or(50))
        .map(|_| (0..200).map(|_| Batch::build(depth, &mut arguments)).collect())
        .collect();
    let reply = Client::connect(server.port).call(&["XRANGE", "s", "-", "+", "COUNT", count]);
    run(server, settings, &Load { connections, once: false, reply_bytes: Some(reply.len()) })
}

fn fan_out(server: &Server, settings: &Settings, readers: usize) -> Figure {
    figure(server, || load::fan_out(server.port, readers, settings.time))
}

/// The median time of one call.
fn call_time(server: &Server, args: &[&str], times: usize) -> Figure {
    let mut client = Client::connect(server.port);
    let mut taken: Vec<Duration> = (0..times)
        .map(|_| {
            let begin = Instant::now();
            client.call(args);
            begin.elapsed()
        })
        .collect();
    taken.sort_unstable();
    Figure { value: taken[times / 2].as_secs_f64() * 1000.0, ..Figure::default() }
}

/// By how much `work` makes the resident memory grow, for each of `count` things.
fn memory(server: &Server, count: usize, work: impl FnOnce(&Server)) -> Figure {
    // What the first requests of all bring with them does not count.
    fill(server, "warm-up", 10_000, &FIELD_16);
    Client::connect(server.port).call(&["DEL", "warm-up"]);
    let before = server.resident_bytes();
    work(server);
    let grown = server.resident_bytes() - before;
    Figure { value: grown / count as f64, ..Figure::default() }
}

fn memory_pending(server: &Server, consumers: usize, half_acked: bool) -> Figure {
    fill(server, "s", PENDING, &FIELD_16);
    let mut client = Client::connect(server.port);
    client.call(&["XGROUP", "CREATE", "s", "g", "0"]);
    let left = if half_acked { PENDING / 2 } else { PENDING };
    memory(server, left, |_| {
        deliver(&mut client, PENDING, consumers);
        let mut ids: Vec<usize> = (0..PENDING).collect();
        Random(1).shuffle(&mut ids);
        client.send_all(PENDING - left, |number, out| {
            push_request(out, &["XACK", "s", "g", &entry_id(ids[number])]);
        });
    })
}

/// Memory per connection that has sent one request a few seconds ago.
fn memory_connections(server: &Server, args: &[&str]) -> Figure {
    const CONNECTIONS: usize = 4000;
    let mut request = Vec::new();
    push_request(&mut request, args);
    let mut connections = Vec::new();
    memory(server, CONNECTIONS, |server| {
        for _ in 0..CONNECTIONS {
            let mut stream = load::connect(server.port);
            std::io::Write::write_all(&mut stream, &request).expect("the server reads");
            connections.push(stream);
        }
        // Servers give buffers back after a while: Redis looks at every client once a second.
        std::thread::sleep(Duration::from_secs(5));
        Client::connect(server.port).call(&["PING"]);
    })
}

/// Numbers that look random and are the same in every run (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("it is below a usize")
    }

    fn shuffle(&mut self, numbers: &mut [usize]) {
        for at in (1..numbers.len()).rev() {
            numbers.swap(at, self.below(at + 1));
        }
    }
}
