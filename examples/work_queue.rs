//! A work queue with retries: what fails is tried again, and set aside after three attempts.
//!
//! ```sh
//! cargo run --example work_queue
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use millstream::{Db, Delivery, Error, Start, block_on};
use std::path::Path;
use std::time::Duration;

/// So often is a job tried.
const ATTEMPTS: u64 = 3;

pub(crate) fn main() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (left, set_aside) = run(&dir.path().join("queue"))?;
    assert_eq!((left, set_aside), (0, 1));
    Ok(())
}

/// Works with the queue in a directory, which may hold what an earlier run has left.
pub(crate) fn run(dir: &Path) -> Result<(u64, u64), Error> {
    let db = Db::builder().dir(dir).open()?;
    block_on(work(&db))
}

/// Any executor could run this.
async fn work(db: &Db) -> Result<(u64, u64), Error> {
    let jobs = db.stream("jobs");
    let failed = db.stream("failed-jobs");
    // A job is deleted when it is done, so the stream is as long as the work that is left.
    let group = jobs.group("workers", Start::First).await?.delete_acknowledged();
    let worker = group.consumer("worker-1");

    let added = jobs.add_many(["resize cat.png", "resize broken.png", "resize dog.png"]).await?;
    added.iter().for_each(|id| println!("added {id}"));

    while let Some(job) = worker.next_timeout(Duration::from_millis(50)).await? {
        let (id, attempt) = (job.id(), job.attempt().unwrap_or_default());
        match resize(&job) {
            Ok(()) => {
                job.ack().await?;
                println!("done {id}");
            }
            Err(reason) if attempt < ATTEMPTS => {
                println!("attempt {attempt} of {id}: {reason}");
                // An early return, `?` or a panic would give it back just the same.
                drop(job);
            }
            Err(reason) => {
                let fields = [("job", job.text("data").unwrap_or_default()), ("why", reason)];
                // In one step: whatever happens, the job is in one of the streams.
                db.transaction().add(&failed, fields).ack(job).run().await?;
                println!("done {id}: set aside");
            }
        }
    }
    Ok((jobs.len().await?, failed.len().await?))
}

fn resize(job: &Delivery) -> Result<(), &'static str> {
    match job.text("data") {
        Some("resize broken.png") => Err("not an image"),
        _ => Ok(()),
    }
}
