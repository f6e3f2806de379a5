//! One engine, two doors: the program works on its queue, and a Redis client looks inside and adds
//! to it.
//!
//! ```sh
//! cargo run --example serve
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use millstream::{Db, Start};
use redis::streams::StreamInfoGroupsReply;
use redis::{Commands as _, RedisError};
use std::path::Path;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    run(&dir.path().join("queue"))
}

/// Works with the queue in a directory.
pub(crate) fn run(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let db = Db::builder().dir(dir).open()?;
    let jobs = db.stream("jobs");
    let worker = jobs.group("workers", Start::First).wait()?.consumer("inside");

    // Port 0: any that is free. In your program, say 127.0.0.1:6379, and use redis-cli.
    let listening = db.serve("127.0.0.1:0")?;
    println!("look inside: redis-cli -p {}", listening.address().port());

    let url = format!("redis://{}", listening.address());
    let outside = std::thread::spawn(move || -> Result<u64, RedisError> {
        let mut client = redis::Client::open(url)?.get_connection()?;
        let id: String = client.xadd("jobs", "*", &[("from", "another process")])?;
        println!("added {id}");
        let groups: StreamInfoGroupsReply = client.xinfo_groups("jobs")?;
        Ok(groups.groups.len() as u64)
    });
    let job = worker.next_wait()?;
    println!("a job from {}", job.text("from").unwrap_or_default());
    let id = job.id();
    job.ack().wait()?;
    println!("done {id}");
    let groups = outside.join().expect("the client does not panic")?;
    assert_eq!(groups, 1);
    Ok(())
}
