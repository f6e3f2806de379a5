//! Several threads share the work, in a program without async: structs go in, and each comes out
//! once.
//!
//! ```sh
//! cargo run --example threads
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use millstream::{Consumer, Db, Error, Start};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::thread;
use std::time::Duration;

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    item: String,
    amount: u32,
}

pub(crate) fn main() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    assert_eq!(run(&dir.path().join("queue"))?, 5050);
    Ok(())
}

/// Packs what is in the queue of a directory, and a hundred orders more.
pub(crate) fn run(dir: &Path) -> Result<u32, Error> {
    let db = Db::builder().dir(dir).open()?;
    let orders = db.stream("orders");
    let group = orders.group("packers", Start::First).wait()?;

    for amount in 1..=100 {
        let id = orders.add_struct(&Order { item: "tea".to_owned(), amount }).wait()?;
        println!("added {id}");
    }
    let packed: u32 = thread::scope(|scope| {
        let packers = (0..4).map(|n| group.consumer(format!("packer-{n}")));
        let packers: Vec<_> = packers.map(|packer| scope.spawn(move || pack(&packer))).collect();
        let packed = packers.into_iter().map(|packer| packer.join().expect("no packer panics"));
        packed.sum::<Result<u32, Error>>()
    })?;
    println!("{packed} pieces packed");
    Ok(packed)
}

/// Packs until nothing comes for a while.
fn pack(packer: &Consumer) -> Result<u32, Error> {
    let mut packed = 0;
    while let Some(delivery) = packer.next_wait_timeout(Duration::from_millis(50))? {
        let order: Order = delivery.to()?;
        assert_eq!(order.item, "tea");
        let id = delivery.id();
        delivery.ack().wait()?;
        println!("done {id}");
        packed += order.amount;
    }
    Ok(packed)
}
