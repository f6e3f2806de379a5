//! A log that many read: each follower has its own position, starts where it likes, and replays
//! from a time.
//!
//! ```sh
//! cargo run --example fan_out
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use millstream::{Db, EntryId, Error, Start};
use std::thread;
use std::time::{Duration, SystemTime};

pub(crate) fn main() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = Db::builder().dir(dir.path().join("log")).open()?;
    // It keeps about the last 10,000 entries.
    let prices = db.stream("prices").max_len(10_000);

    prices.add([("symbol", "TEA"), ("price", "3.10")]).wait()?;
    thread::sleep(Duration::from_millis(2));
    let noon = SystemTime::now();
    prices.add([("symbol", "TEA"), ("price", "3.20")]).wait()?;

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
        prices.add([("symbol", "TEA"), ("price", "3.30")]).wait()
    })?;

    let since_noon = prices.range(EntryId::at(noon)..).wait()?;
    println!("since noon: {} entries", since_noon.len());
    assert_eq!(since_noon.len(), 2);
    let mut replay = prices.follow(Start::at(noon));
    assert_eq!(replay.next_wait()?.text("price"), Some("3.20"));
    Ok(())
}
