//! A log that many read: each follower has its own position, starts where it likes, and replays
//! from a time.
//!
//! ```sh
//! cargo run --example fan_out
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use millstream::{Db, EntryId, Error, Start};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

pub(crate) fn main() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    run(&dir.path().join("log"))
}

/// Goes on with the log in a directory.
pub(crate) fn run(dir: &Path) -> Result<(), Error> {
    let db = Db::builder().dir(dir).open()?;
    // It keeps about the last 10,000 entries.
    let prices = db.stream("prices").max_len(10_000);

    let add = |price| -> Result<(), Error> {
        let id = prices.add([("symbol", "TEA"), ("price", price)]).wait()?;
        println!("added {id}");
        Ok(())
    };
    add("3.10")?;
    thread::sleep(Duration::from_millis(2));
    let noon = SystemTime::now();
    add("3.20")?;

    thread::scope(|scope| {
        for name in ["screen", "archive"] {
            let mut follower = prices.follow(Start::First);
            scope.spawn(move || {
                for _ in 0..3 {
                    let entry = follower.next_wait().expect("the database is open");
                    println!("{name}: {} {}", entry.id, entry.text("price").unwrap_or_default());
                }
            });
        }
        // Both wait for this one.
        add("3.30")
    })?;

    let since_noon = prices.range(EntryId::at(noon)..).wait()?;
    println!("since noon: {} entries", since_noon.len());
    assert_eq!(since_noon.len(), 2);
    let mut replay = prices.follow(Start::at(noon));
    assert_eq!(replay.next_wait()?.text("price"), Some("3.20"));
    Ok(())
}
