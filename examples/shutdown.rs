//! Graceful shutdown: workers finish what they have, the rest is there at the next start.
//!
//! ```sh
//! cargo run --example shutdown
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use millstream::{Consumer, Db, Error, Fsync, Start};
use std::path::Path;
use tokio::sync::watch;

pub(crate) fn main() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("queue");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let first = runtime.block_on(run(&dir, 30))?;
    println!("first run: {first} done, then told to stop");
    let second = runtime.block_on(run(&dir, 70))?;
    println!("second run: {second} done");
    assert_eq!((first, second), (30, 70));
    Ok(())
}

/// Works until `enough` jobs are done, as if a signal came then.
pub(crate) async fn run(dir: &Path, enough: u32) -> Result<u32, Error> {
    let db = Db::builder().dir(dir).appendfsync(Fsync::Always).open()?;
    let jobs = db.stream("jobs");
    let group = jobs.group("workers", Start::First).await?.delete_acknowledged();
    if jobs.len().await? == 0 {
        let added = jobs.add_many((0..100).map(|n| format!("job {n}"))).await?;
        added.iter().for_each(|id| println!("added {id}"));
    }
    // With tokio's `signal`, `tokio::signal::ctrl_c()` would send this.
    let (stop, stopped) = watch::channel(false);
    let worker = tokio::spawn(work(group.consumer("worker"), stopped, stop, enough));
    let done = worker.await.expect("the worker does not panic")?;
    // Everything is durable when this returns; dropping `db` does the same, without a word.
    db.close()?;
    Ok(done)
}

async fn work(
    consumer: Consumer,
    mut stopped: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    enough: u32,
) -> Result<u32, Error> {
    let mut done = 0;
    loop {
        // Dropping `next` half-way loses nothing.
        let job = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => return Ok(done),
            job = consumer.next() => job?,
        };
        let id = job.id();
        job.ack().await?;
        println!("done {id}");
        done += 1;
        if done == enough {
            stop.send_replace(true);
        }
    }
}
