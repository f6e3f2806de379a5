//! The examples of this package, killed at random moments (`tests/kill/examples.rs`).

#[path = "../../../tests/kill/examples.rs"]
mod examples;

use examples::{Example, kill_again_and_again};
use std::process::Command;

#[test]
fn the_example_of_a_web_server() {
    let group = Some("senders");
    let example = Example { stream: "mails", group, workers: 1, lines: 4, lives: 12 };
    kill_again_and_again(&example, "queue", |dir| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_axum"));
        command.arg(dir.join("queue"));
        command
    });
}

#[test]
fn the_example_of_a_migration() {
    let group = Some("workers");
    let example = Example { stream: "jobs", group, workers: 1, lines: 10, lives: 12 };
    kill_again_and_again(&example, "queue", |dir| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sqlite"));
        command.arg(dir);
        command
    });
}
