//! What the examples do, killed with SIGKILL at random moments: what the program was told is there
//! afterwards, once, and what it acknowledged never comes again.
//!
//! The examples themselves are killed in `examples.rs`. As they are soon done, there are workloads
//! after them which have no end. Each runs in a child process, which is this program again. It
//! prints what it is about to do and what it was answered; after so many lines, drawn from a seed,
//! it is killed. Then a copy of the directory is opened and compared with everything that was
//! printed in all lives so far, and the next life begins with the directory itself, as it was left.
//!
//! `MILLSTREAM_KILLS` says how many lives each workload has (4 if not), `MILLSTREAM_SEED` from
//! which seed (1).
#![cfg(all(feature = "server", feature = "serde"))]
#![expect(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../examples/fan_out.rs"]
mod fan_out;
#[path = "../../examples/serve.rs"]
mod serve;
#[path = "../../examples/shutdown.rs"]
mod shutdown;
#[path = "../../examples/threads.rs"]
mod threads;
#[path = "../../examples/work_queue.rs"]
mod work_queue;

mod examples;
mod ledger;
mod workloads;

use examples::Example;
use ledger::Ledger;
use millstream::testing::Rng;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Says to a child what to run, and where.
const WORKLOAD: &str = "MILLSTREAM_KILL_WORKLOAD";
const EXAMPLE: &str = "MILLSTREAM_KILL_EXAMPLE";
const DIR: &str = "MILLSTREAM_KILL_DIR";
const LIFE: &str = "MILLSTREAM_KILL_LIFE";

/// A life ends after at most so many lines.
const LINES_MAX: usize = 600;

/// The children's way in; of itself it tests nothing.
#[test]
fn child() {
    let Ok(workload) = std::env::var(WORKLOAD) else { return };
    let variable = |name| std::env::var(name).unwrap();
    workloads::run(&workload, Path::new(&variable(DIR)), variable(LIFE).parse().unwrap());
}

/// The way in of children that are examples.
#[test]
fn example() {
    let Ok(example) = std::env::var(EXAMPLE) else { return };
    let dir = std::path::PathBuf::from(std::env::var(DIR).unwrap()).join("queue");
    match example.as_str() {
        "fan_out" => fan_out::run(&dir).unwrap(),
        "serve" => serve::run(&dir).unwrap(),
        "shutdown" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            _ = runtime.unwrap().block_on(shutdown::run(&dir, 30)).unwrap();
        }
        "threads" => _ = threads::run(&dir).unwrap(),
        "work_queue" => _ = work_queue::run(&dir).unwrap(),
        _ => panic!("there is no such example"),
    }
}

#[test]
fn examples_run_to_their_ends() {
    // Each checks what it shows.
    fan_out::main().unwrap();
    serve::main().unwrap();
    shutdown::main().unwrap();
    threads::main().unwrap();
    work_queue::main().unwrap();
}

fn kill_example(name: &str, example: &Example<'_>) {
    examples::kill_again_and_again(example, "queue", |dir| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["example", "--exact", "--nocapture", "--test-threads", "1"]);
        command.env(EXAMPLE, name).env(DIR, dir);
        command
    });
}

#[test]
fn the_example_of_a_work_queue() {
    let group = Some("workers");
    let example = Example { stream: "jobs", group, workers: 1, lines: 11, lives: 12 };
    kill_example("work_queue", &example);
}

#[test]
fn the_example_of_a_log() {
    let example = Example { stream: "prices", group: None, workers: 0, lines: 10, lives: 12 };
    kill_example("fan_out", &example);
}

#[test]
fn the_example_of_threads() {
    let group = Some("packers");
    let example = Example { stream: "orders", group, workers: 4, lines: 200, lives: 12 };
    kill_example("threads", &example);
}

#[test]
fn the_example_of_a_client_beside_the_program() {
    let group = Some("workers");
    let example = Example { stream: "jobs", group, workers: 1, lines: 6, lives: 12 };
    kill_example("serve", &example);
}

#[test]
fn the_example_of_a_shutdown() {
    let group = Some("workers");
    let example = Example { stream: "jobs", group, workers: 1, lines: 130, lives: 12 };
    kill_example("shutdown", &example);
}

/// Runs a workload until it has printed so many lines, and kills it.
fn live(workload: &str, dir: &Path, life: u64, lines: usize, ledger: &mut Ledger) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads", "1"])
        .envs([(WORKLOAD, workload), (LIFE, &life.to_string())])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The last line may be cut.
        let Ok(line) = line else { break };
        let Some(line) = line.strip_prefix('@').and_then(|line| line.strip_suffix('.')) else {
            continue;
        };
        ledger.note(line);
        told += 1;
        if told == lines {
            // What it still has printed until it is dead is read to the end.
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(told >= lines && !status.success(), "{workload} ended by itself: {status}");
}

fn kill_again_and_again(workload: &str) {
    let variable = |name, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (lives, seed) = (variable("MILLSTREAM_KILLS", 4), variable("MILLSTREAM_SEED", 1));
    let mut rng = Rng::new(seed);
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("queue");
    let mut ledger = Ledger::default();
    for life in 0..lives {
        let lines = 1 + rng.below(LINES_MAX);
        live(workload, &dir, life, lines, &mut ledger);
        let copy = place.path().join(format!("copy-{life}"));
        copy_files(&dir, &copy);
        let what = format!("{workload}, seed {seed}, life {life}, killed after line {lines}");
        ledger.compare(&workloads::look(workload, &copy), &what);
        std::fs::remove_dir_all(copy).unwrap();
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_work_queue_with_retries() {
    kill_again_and_again("work_queue");
}

#[test]
fn a_log_that_is_followed() {
    kill_again_and_again("fan_out");
}

#[test]
fn threads_that_share_the_work() {
    kill_again_and_again("threads");
}

#[test]
fn tasks_of_a_runtime_as_in_a_web_server() {
    kill_again_and_again("axum");
}

#[test]
fn a_client_of_the_wire_beside_the_program() {
    kill_again_and_again("serve");
}

#[test]
fn a_queue_that_is_synced_always() {
    kill_again_and_again("shutdown");
}

#[test]
fn a_migration_that_is_begun_again() {
    kill_again_and_again("sqlite");
}
