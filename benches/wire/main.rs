//! Speed and memory over the wire, side by side with the peers.
//!
//! ```text
//! cargo bench --bench wire -- [ROW ...] [--list] [--seconds 2] [--rounds 1] [--threads 1]
//!     [--entries 10000000] [--connections N] [--shards N]
//!     [--ours PATH] [--peer NAME=PATH ...] [--dir DIR] [--no-pin]
//! ```
//!
//! Every row starts each server anew, ours and every peer (`redis-server` and `valkey-server` on
//! the PATH, or those named) with the same settings, on the last core; the load has the others.
//! With several rounds they take turns, and a figure is the median.
//! Rows are selected by a part of their name. The ratio is ours to theirs; the CPU time (program +
//! kernel) is the server's own per request and says what the throughput cannot where the load or
//! the kernel is the limit. The floor, in some rows, answers without doing anything.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod durable;
mod floor;
mod load;
mod rows;
mod server;

use rows::{Figure, Goal, Row, Settings, Unit};
use server::{Program, Server};
use std::path::PathBuf;
use std::time::Duration;

/// The command line.
struct Options {
    rows: Vec<String>,
    list: bool,
    rounds: usize,
    shards: Option<u32>,
    ours: Program,
    peers: Vec<Program>,
    dir: PathBuf,
    pin: bool,
    settings: Settings,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benches too, without the argument that `cargo bench` adds.
    if arguments.is_empty() {
        return;
    }
    if let [server::FLOOR, port] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        floor::serve(port.parse().expect("a port is a number")).expect("the floor can serve");
        return;
    }
    let options = parse(arguments.into_iter());
    let core = if options.pin { server::reserve_a_core() } else { None };
    for row in rows::all() {
        let wanted = &options.rows;
        if !wanted.is_empty() && !wanted.iter().any(|part| row.name.contains(part.as_str())) {
            continue;
        }
        if options.list {
            println!("{}", row.name);
            continue;
        }
        let mut programs = vec![options.ours.clone()];
        programs.extend_from_slice(&options.peers);
        if row.floor {
            programs.push(Program::floor());
        }
        let figures = measure(&row, &programs, &options, core);
        let [ours, others @ ..] = &figures[..] else { unreachable!("ours is the first") };
        let (theirs, floor) = others.split_at(options.peers.len());
        print_row(&row, ours, &options.peers, theirs);
        for figure in floor {
            print_peer(&row, ours, &Program::floor(), figure);
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Options {
    let mut options = Options {
        rows: Vec::new(),
        list: false,
        rounds: 1,
        shards: None,
        ours: Program {
            name: "ours".to_owned(),
            path: PathBuf::from(env!("CARGO_BIN_EXE_millstream")),
        },
        peers: Vec::new(),
        dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        pin: true,
        settings: Settings {
            time: Duration::from_secs(2),
            entries: 10_000_000,
            threads: 1,
            connections: None,
        },
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        let number = |text: String| {
            text.parse::<usize>().unwrap_or_else(|_| panic!("{text} is not a number"))
        };
        match argument.as_str() {
            "--bench" => {}
            "--list" => options.list = true,
            "--no-pin" => options.pin = false,
            "--seconds" => options.settings.time = Duration::from_secs(number(value()) as u64),
            "--rounds" => options.rounds = number(value()).max(1),
            "--entries" => options.settings.entries = number(value()).max(1000),
            "--threads" => options.settings.threads = number(value()).max(1),
            "--connections" => options.settings.connections = Some(number(value()).max(1)),
            "--shards" => options.shards = u32::try_from(number(value())).ok(),
            "--ours" => options.ours.path = PathBuf::from(value()),
            "--dir" => options.dir = PathBuf::from(value()),
            "--peer" => {
                let peer = value();
                let (name, path) = peer.split_once('=').expect("--peer NAME=PATH");
                options.peers.push(Program { name: name.to_owned(), path: PathBuf::from(path) });
            }
            option if option.starts_with('-') => panic!("unknown option {option}"),
            row => options.rows.push(row.to_owned()),
        }
    }
    if options.peers.is_empty() {
        options.peers = server::peers_on_path();
    }
    options
}

/// Of each program the round with the median figure. They take turns: a machine that is shared is
/// faster in one minute than in the next.
fn measure(row: &Row, programs: &[Program], options: &Options, core: Option<usize>) -> Vec<Figure> {
    let shards = options.shards.unwrap_or(row.shards);
    // Several shards on one core would show nothing.
    let core = core.filter(|_| shards == 1);
    let mut figures = vec![Vec::new(); programs.len()];
    for _ in 0..options.rounds {
        for (program, figures) in programs.iter().zip(&mut figures) {
            let mut server = Server::start(program, &options.dir, row.log, shards, core);
            figures.push((row.measure)(&mut server, &options.settings));
        }
    }
    let median = |mut figures: Vec<Figure>| {
        figures.sort_by(|one, other| one.value.total_cmp(&other.value));
        figures.swap_remove(figures.len() / 2)
    };
    figures.into_iter().map(median).collect()
}

fn print_row(row: &Row, ours: &Figure, peers: &[Program], theirs: &[Figure]) {
    println!("{:<30} {:<8} {}{}", row.name, "ours", text(row.unit, ours.value), details(ours));
    for (peer, figure) in peers.iter().zip(theirs) {
        print_peer(row, ours, peer, figure);
    }
    let best = theirs.iter().map(|figure| figure.value).reduce(match row.unit {
        Unit::Rate => f64::max,
        Unit::Bytes | Unit::Millis => f64::min,
    });
    let (goal, met) = match (row.goal, best) {
        (Goal::Times(times), Some(best)) => {
            (format!("{times} x the best"), ours.value >= times * best)
        }
        (Goal::PartOf(part), Some(best)) => {
            (format!("{part:.2} of the best"), ours.value <= part * best)
        }
        (Goal::AtMost(most), _) => {
            (format!("at most {}", text(row.unit, most).trim()), ours.value <= most)
        }
        (Goal::Times(_) | Goal::PartOf(_), None) | (Goal::Reported, _) => return,
    };
    println!("{:<30} {:<8} {goal}: {}", "", "goal", if met { "met" } else { "missed" });
}

/// The line of another server.
fn print_peer(row: &Row, ours: &Figure, peer: &Program, figure: &Figure) {
    let mut line =
        format!("{:<30} {:<8} {}{}", "", peer.name, text(row.unit, figure.value), details(figure));
    line.push_str(&format!("   ratio {:.2}", ours.value / figure.value));
    if let (Some(our_cpu), Some(cpu)) = (ours.cpu, figure.cpu) {
        let ratio = (our_cpu.user + our_cpu.system) / (cpu.user + cpu.system);
        line.push_str(&format!(", CPU {ratio:.2} (user {:.2})", our_cpu.user / cpu.user));
    }
    println!("{line}");
}

/// A figure with its unit, in a fixed width.
fn text(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Rate if value >= 1e6 => format!("{:>8.2} M/s", value / 1e6),
        Unit::Rate => format!("{:>8.1} k/s", value / 1e3),
        Unit::Bytes => format!("{value:>8.1} B"),
        Unit::Millis => format!("{value:>8.3} ms"),
    }
}

/// The CPU time and the latency, if there are any.
fn details(figure: &Figure) -> String {
    let mut text = String::new();
    if let Some(cpu) = figure.cpu {
        text.push_str(&format!("   CPU {:>5.2} + {:>5.2} us", cpu.user * 1e6, cpu.system * 1e6));
    }
    if let Some((p50, p99)) = figure.latency {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        text.push_str(&format!("   p50 {:.2} p99 {:.2} ms", ms(p50), ms(p99)));
    }
    if !figure.note.is_empty() {
        text.push_str(&format!("   {}", figure.note));
    }
    text
}
