//! From a table in SQLite that serves as a queue to a stream, without losing or doubling a job:
//! each row is added under its number, so a migration that was interrupted can be run again.
//!
//! ```sh
//! cargo run --manifest-path examples/apps/Cargo.toml --bin sqlite
//! ```

use millstream::command::typed::{NewId, XAdd};
use millstream::{CommandError, Db, EntryId, Error, Start};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The table and the queue are where the first argument says, or in a directory that goes.
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or_else(|| temporary.path().into(), PathBuf::from);
    let table = old_queue(&dir.join("queue.db"))?;
    let db = Db::builder().dir(dir.join("queue")).open()?;
    let jobs = db.stream("jobs");

    for attempt in 1..=2 {
        let moved = migrate(&table, &db)?;
        println!("attempt {attempt}: {moved} rows, {} entries", jobs.len().wait()?);
    }
    assert_eq!(jobs.len().wait()?, 3);

    let worker = jobs.group("workers", Start::First).wait()?.consumer("w");
    for job in worker.take(10).wait()? {
        let text = |field| job.text(field).unwrap_or_default();
        println!("row {}: {}", text("row"), text("payload"));
        let id = job.id();
        job.ack().wait()?;
        println!("done {id}");
    }
    Ok(())
}

/// What is found in many programs: rows with a state.
fn old_queue(path: &Path) -> rusqlite::Result<Connection> {
    let table = Connection::open(path)?;
    table.execute_batch(
        "CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, payload TEXT, state TEXT);
         INSERT OR IGNORE INTO jobs VALUES
             (1, 'resize cat', 'done'), (2, 'resize dog', 'ready'), (3, 'resize emu', 'running'),
             (4, 'resize fox', 'ready');",
    )?;
    Ok(table)
}

/// Adds every row that is not done, in order; one that was running had no one to finish it.
fn migrate(table: &Connection, db: &Db) -> Result<usize, Box<dyn std::error::Error>> {
    let mut rows =
        table.prepare("SELECT id, payload FROM jobs WHERE state != 'done' ORDER BY id")?;
    let rows = rows.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let mut moved = 0;
    for row in rows {
        let (id, payload) = row?;
        let row = id.to_string();
        let fields = vec![("row".into(), row.into()), ("payload".into(), payload.into())];
        // The number is the entry's ID, before all that are made of the time. IDs only ascend, so
        // the same row is added once, however often and however late this is tried again.
        let number = NewId::Given(EntryId::new(0, u64::try_from(id)?));
        let add = XAdd { key: "jobs".into(), fields, id: number, ..XAdd::default() };
        match db.call(add).wait() {
            Ok(added) => {
                moved += 1;
                added.iter().for_each(|id| println!("added {id}"));
            }
            Err(Error::Command(CommandError::IdTooSmall)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(moved)
}
