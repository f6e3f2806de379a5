//! The rows about what is kept: snapshots, restarts, and what the log costs.

use crate::load::{self, Batch, Client, Load, push_request};
use crate::rows::{self, FIELD_16, Figure, Goal, Random, Row, Settings, Unit, VALUE_16, entry_id};
use crate::server::{Log, Server};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Requests of the rows about the bytes of the log.
const LOGGED: usize = 100_000;

pub(crate) fn rows() -> Vec<Row> {
    let row = |name, unit, goal, log, measure: fn(&mut Server, &Settings) -> Figure| Row {
        name,
        unit,
        goal,
        log,
        shards: 1,
        floor: false,
        measure: Box::new(measure),
    };
    let log_bytes = |name, most, measure: fn(&Server) -> f64| {
        let measure = move |server: &Server, _: &Settings| Figure {
            value: measure(server),
            ..Figure::default()
        };
        Row { log: Log::EverySec, ..rows::row(name, Unit::Bytes, Goal::AtMost(most), measure) }
    };
    vec![
        row("save", Unit::Millis, Goal::PartOf(0.5), Log::Off, save),
        row("xadd-while-saving", Unit::Millis, Goal::AtMost(1.0), Log::Off, save_under_load),
        row("restart-snapshot", Unit::Millis, Goal::PartOf(1.0), Log::Off, restart_snapshot),
        row("restart-log", Unit::Millis, Goal::PartOf(1.0 / 3.0), Log::EverySec, restart_log),
        row("syncs-always-p1", Unit::Rate, Goal::Reported, Log::Always, |s, set| syncs(s, set, 1)),
        row("syncs-always-p16", Unit::Rate, Goal::Reported, Log::Always, |s, set| {
            syncs(s, set, 16)
        }),
        log_bytes("log-xadd-p16", 40.0, |server| log_of(server, 16, xadd)),
        log_bytes("log-xadd-p1", 90.0, |server| log_of(server, 1, xadd)),
        log_bytes("log-delivery-p16", 30.0, |server| log_of_deliveries(server, 16)),
        log_bytes("log-delivery-p1", 70.0, |server| log_of_deliveries(server, 1)),
        log_bytes("log-xack-p16", 20.0, |server| log_of_acks(server, 16)),
        log_bytes("log-xack-p1", 60.0, |server| log_of_acks(server, 1)),
    ]
}

/// Makes a stream of values that do not compress.
fn fill_random(server: &Server, count: usize) {
    Client::connect(server.port).send_all(count, |number, out| {
        let mut random = Random(number as u64 + 1);
        let value: String =
            (0..16).map(|_| char::from(b'0' + random.below(64).to_le_bytes()[0])).collect();
        push_request(out, &["XADD", "s", &entry_id(number), "field", &value]);
    });
}

/// SAVE, with nothing else going on.
fn save(server: &mut Server, settings: &Settings) -> Figure {
    fill_random(server, settings.entries);
    let begin = Instant::now();
    let reply = Client::connect(server.port).call(&["SAVE"]);
    let value = begin.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(reply, b"+OK\r\n", "it saves");
    let note = format!("file {:.0} MB", server.largest_file() / 1e6);
    Figure { value, note, ..Figure::default() }
}

/// By how much BGSAVE lifts the 99th percentile of XADD. The memory is looked at during another
/// one: that holds up the load, which has the core of who looks.
fn save_under_load(server: &mut Server, settings: &Settings) -> Figure {
    fill_random(server, settings.entries);
    let batch = Batch::build(1, |out| push_request(out, &["XADD", "t", "*", "field", VALUE_16]));
    let connections = vec![vec![batch]; settings.connections.unwrap_or(50)];
    let load = Load { connections, once: false, reply_bytes: None };
    let drive = |time| load::drive(server.port, &load, time, 1).latencies;
    let saving = |look: &(dyn Fn() + Sync)| {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = Client::connect(server.port);
                client.call(&["BGSAVE"]);
                loop {
                    look();
                    let info = client.call(&["INFO", "persistence"]);
                    if String::from_utf8_lossy(&info).contains("rdb_bgsave_in_progress:0") {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(10)); // polls; the reply decides
                }
                ended.store(true, Ordering::Relaxed);
            });
            let mut latencies = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                latencies.extend(drive(Duration::from_millis(200)));
            }
            latencies
        })
    };
    let calm = percentiles(drive(settings.time));
    let saved = percentiles(saving(&|| {}));

    let before = server.resident_with_children();
    let peak = Mutex::new(before);
    saving(&|| {
        let mut peak = peak.lock().expect("nobody panics with it");
        *peak = peak.max(server.resident_with_children());
    });
    let peak = peak.into_inner().expect("nobody panics with it");
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let note = format!(
        "calm p99 {:.2} max {:.2}, saving p99 {:.2} max {:.2} ms, memory +{:.0} %",
        ms(calm.0),
        ms(calm.1),
        ms(saved.0),
        ms(saved.1),
        (peak - before) / before * 100.0
    );
    Figure { value: (ms(saved.0) - ms(calm.0)).max(0.0), note, ..Figure::default() }
}

/// The 99th percentile and the maximum.
fn percentiles(mut latencies: Vec<Duration>) -> (Duration, Duration) {
    latencies.sort_unstable();
    (latencies[latencies.len() * 99 / 100], latencies[latencies.len() - 1])
}

/// From the start of the process to the answer to a PING, with a snapshot to load.
fn restart_snapshot(server: &mut Server, settings: &Settings) -> Figure {
    fill_random(server, settings.entries);
    Client::connect(server.port).call(&["SAVE"]);
    if server.is_millstream() {
        // Without this it takes no snapshot into account: all is in memory only.
        server.append_config("appendonly yes\n");
    }
    restarted(server, settings)
}

/// The same with a log that has everything.
fn restart_log(server: &mut Server, settings: &Settings) -> Figure {
    fill_random(server, settings.entries);
    let mut client = Client::connect(server.port);
    client.call(&["CONFIG", "SET", "appendfsync", "always"]);
    client.call(&["DEL", "nothing"]);
    client.call(&["XADD", "u", "*", "the", "last"]);
    restarted(server, settings)
}

fn restarted(server: &mut Server, settings: &Settings) -> Figure {
    let time = server.restart();
    let len = Client::connect(server.port).call(&["XLEN", "s"]);
    assert_eq!(len, format!(":{}\r\n", settings.entries).as_bytes(), "all of it is there");
    let note = format!("file {:.0} MB", server.largest_file() / 1e6);
    Figure { value: time.as_secs_f64() * 1000.0, note, ..Figure::default() }
}

/// XADD under `always`: how many syncs and how many bytes of the device it takes. The rate is not
/// comparable with other rows, for the calls are counted by stopping at each.
fn syncs(server: &Server, settings: &Settings, depth: usize) -> Figure {
    let (mut figure, before) = (Figure::default(), server.written_bytes());
    let counted = server.count_syncs(|| figure = rows::xadd(server, settings, 50, depth, 1));
    let entries = match &Client::connect(server.port).call(&["XLEN", "s"])[..] {
        [b':', digits @ .., b'\r', b'\n'] => {
            String::from_utf8_lossy(digits).parse::<f64>().expect("a length is a number")
        }
        reply => panic!("{reply:?} is no length"),
    };
    let bytes = (server.written_bytes() - before) / entries;
    figure.note = match counted {
        Some(syncs) => {
            format!("{:.1} entries a sync, {bytes:.0} B of the device each", entries / syncs as f64)
        }
        None => format!("{bytes:.0} B of the device each; no strace to count syncs"),
    };
    figure
}

/// Bytes by which the log grows for each of many requests sent so many at a time.
fn log_of(server: &Server, depth: usize, arguments: fn(usize, &mut Vec<u8>)) -> f64 {
    let mut client = Client::connect(server.port);
    let before = server.info("aof_current_size");
    let mut bytes = Vec::new();
    for start in (0..LOGGED).step_by(depth) {
        bytes.clear();
        (start..start + depth).for_each(|number| arguments(number, &mut bytes));
        client.send(&bytes);
        client.replies(depth);
    }
    (server.info("aof_current_size") - before) / LOGGED as f64
}

fn xadd(_: usize, out: &mut Vec<u8>) {
    push_request(out, &["XADD", "s", "*", "field", VALUE_16]);
}

fn fill_group(server: &Server) {
    rows::fill(server, "s", LOGGED, &FIELD_16);
    Client::connect(server.port).call(&["XGROUP", "CREATE", "s", "g", "0"]);
}

fn log_of_deliveries(server: &Server, depth: usize) -> f64 {
    fill_group(server);
    log_of(server, depth, |_, out| {
        let read = ["XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "s", ">"];
        push_request(out, &read);
    })
}

fn log_of_acks(server: &Server, depth: usize) -> f64 {
    fill_group(server);
    let all = LOGGED.to_string();
    let read = ["XREADGROUP", "GROUP", "g", "c", "COUNT", &all, "STREAMS", "s", ">"];
    Client::connect(server.port).call(&read);
    log_of(server, depth, |number, out| {
        push_request(out, &["XACK", "s", "g", &entry_id(number)]);
    })
}
