//! Other databases than 0, and transactions.

use super::{durable, memory, next, workers};
use millstream::command::typed::{Mode, XLen};
use millstream::{CommandError, Database, Db, Error, Fsync, Reply, Start, Transaction, block_on};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn each_database_has_keys_of_its_own() {
    for shards in [1, 4] {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let builder = Db::builder().dir(dir.path()).appendfsync(Fsync::Always).shards(shards);
            builder.setting("databases", "3").open().unwrap()
        };
        {
            let db = open();
            let second = db.select(2).unwrap();
            assert_eq!((second.number(), db.select(0).unwrap().number()), (2, 0));
            assert!(second == db.select(2).unwrap() && second != db.select(1).unwrap());
            let error = db.select(3).unwrap_err();
            assert_eq!(error.to_string(), "ERR DB index is out of range");
            let jobs = second.stream("jobs");
            let group = workers(&jobs);
            let ids = jobs.add_many(["a", "b", "c", "d"]).wait().unwrap();
            let mut held = group.consumer("w").take(3).wait().unwrap();
            assert!(held.remove(0).ack().wait().unwrap());
            held.remove(0).nack_as(Mode::Silent).wait().unwrap();
            held[0].extend().wait().unwrap();
            assert_eq!(held.remove(0).keep().id, ids[2]);
            assert_eq!(next(&group.consumer("v")).keep().id, ids[1]);
            drop(next(&group.consumer("v")));
            let mut follower = jobs.follow(Start::First);
            assert_eq!(follower.next_wait().unwrap().id, ids[0]);
            assert_eq!(second.call(XLen { key: "jobs".into() }).wait().unwrap(), 4);
            db.stream("jobs").add("x").wait().unwrap();
            let size = |db: &Database| db.command(["DBSIZE"]).wait().unwrap().as_integer();
            assert_eq!(size(&second), Some(1));
            assert_eq!(size(&db.select(1).unwrap()), Some(0));
        }
        let db = open();
        assert_eq!(db.stream("jobs").len().wait().unwrap(), 1);
        let jobs = db.select(2).unwrap().stream("jobs");
        assert_eq!(jobs.len().wait().unwrap(), 4);
        assert_eq!(next(&workers(&jobs).consumer("w")).attempt(), Some(2), "it was dropped");
        assert!(memory().select(2).unwrap() != db.select(2).unwrap());
    }
}

#[test]
fn a_transaction_answers_each_command_and_a_failing_one_stops_no_other() {
    for (shards, waits) in [(1, true), (1, false), (4, true), (4, false)] {
        let db = Db::builder().memory().shards(shards).open().unwrap();
        let run = |transaction: Transaction| match waits {
            true => transaction.run().wait(),
            false => block_on(transaction.run()),
        };
        let (jobs, done) = (db.stream("jobs"), db.stream("done").max_len(100));
        let group = workers(&jobs);
        let work_queue = group.clone().delete_acknowledged();
        let ids = jobs.add_many(["a", "b", "c"]).wait().unwrap();
        let transaction = db
            .transaction()
            .command(["SET", "text", "x"])
            .ack(next(&group.consumer("w")))
            .add(&jobs, "d")
            .add(&db.stream("text"), "no stream")
            .add(&done, [("of", "a")])
            .ack(next(&work_queue.consumer("w")))
            .command(["XREAD", "BLOCK", "0", "STREAMS", "none", "$"])
            .call(XLen { key: "jobs".into() });
        let answers = run(transaction).unwrap();
        assert_eq!(answers.len(), 8);
        assert_eq!(answers[0].as_ref().unwrap().as_text(), Some("OK"));
        assert_eq!(answers[1], Ok(Reply::Integer(1)));
        assert_eq!(answers[3], Err(CommandError::WrongType));
        assert_eq!(answers[5], Ok(Reply::Array(vec![Reply::Integer(1)])));
        assert_eq!(answers[6], Ok(Reply::Null), "nothing waits in a transaction");
        assert_eq!(answers[7], Ok(Reply::Integer(3)));
        assert_eq!(done.len().wait().unwrap(), 1);
        assert_eq!(next(&group.consumer("w")).id(), ids[2], "the others are acknowledged");
        assert_eq!(run(db.transaction()), Ok(vec![]));
    }
}

#[test]
fn what_a_transaction_cannot_acknowledge_goes_back() {
    let db = memory();
    let jobs = db.stream("jobs");
    let worker = workers(&jobs).consumer("w");
    let id = jobs.add("a").wait().unwrap();
    let refused = db.transaction().ack(next(&worker)).command(["NOPE"]);
    assert!(refused.run().wait().is_err());
    assert_eq!(next(&worker).id(), id, "it was refused");
    drop(db.transaction().ack(next(&worker)));
    assert_eq!(next(&worker).id(), id, "it was never run");
    let failing = db.transaction().command(["RENAME", "jobs", "kept"]);
    let failing = failing.command(["SET", "jobs", "x"]).ack(next(&worker));
    let failing = failing.command(["DEL", "jobs"]).command(["RENAME", "kept", "jobs"]);
    let answers = failing.run().wait().unwrap();
    assert_eq!(answers[2], Err(CommandError::WrongType));
    assert_eq!(next(&worker).id(), id, "its command failed");
}

#[test]
fn a_transaction_that_is_refused_has_run_nothing() {
    let db = Db::builder().memory().setting("databases", "2").open().unwrap();
    let other = memory();
    let begun = || db.transaction().command(["INCR", "n"]);
    let refused = |transaction: Transaction| {
        let error = transaction.command(["SET", "k", "v"]).run().wait().unwrap_err();
        assert_eq!(db.command(["EXISTS", "k", "n"]).wait().unwrap().as_integer(), Some(0));
        error.to_string()
    };
    assert_eq!(refused(begun().command(["NOPE"])), "ERR unknown command 'NOPE'");
    assert_eq!(refused(begun().command(Vec::<&str>::new())), "ERR no command was given");
    assert_eq!(refused(begun().command(["MULTI"])), "ERR 'multi' is for connections");
    let text = "ERR Command not allowed inside a transaction";
    assert_eq!(refused(begun().command(["SAVE"])), text);
    assert_eq!(refused(begun().command(["SHUTDOWN"])), text);
    let text = "ERR wrong number of arguments for 'incr' command";
    assert_eq!(refused(begun().command(["INCR"])), text);
    let text = "ERR a transaction is of one database";
    assert_eq!(refused(begun().add(&other.stream("s"), "x")), text);
    assert_eq!(refused(begun().add(&db.select(1).unwrap().stream("s"), "x")), text);
    db.command(["CONFIG", "SET", "maxmemory", "1mb"]).wait().unwrap();
    let reads_first = db.transaction().command(["GET", "n"]).command(["INCR", "n"]);
    assert_eq!(reads_first.run().wait(), Err(Error::Command(CommandError::OutOfMemory)));
}

/// The log of a directory that has one, what is in its file, and about where it ends: behind it the
/// file has zeros, which may also be the last bytes before.
fn log_of(dir: &Path) -> (PathBuf, Vec<u8>, usize) {
    let mut files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let log = files.find(|path| path.extension().is_some_and(|ext| ext == "log")).unwrap();
    let bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    (log, bytes, end)
}

#[test]
fn a_transaction_is_in_the_log_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    for shards in [1, 4] {
        let builder = Db::builder().dir(&whole).appendfsync(Fsync::Always).shards(shards);
        let db = builder.open().unwrap();
        let first = db.select(1).unwrap();
        let jobs = first.stream("jobs");
        let worker = workers(&jobs).consumer("w");
        jobs.add("a").wait().unwrap();
        let taken = next(&worker);
        let (_, _, before) = log_of(&whole);
        let mut transaction = first.transaction().ack(taken);
        for n in 0..4 {
            transaction = transaction.add(&first.stream(format!("done{n}")), "x");
        }
        transaction.run().wait().unwrap();
        let (log, bytes, after) = log_of(&whole);
        assert!(after > before + 40, "it is in the log");
        let mut was_whole = false;
        for end in (before + 8..after).chain([bytes.len()]) {
            drop(fs::remove_dir_all(&cut));
            fs::create_dir(&cut).unwrap();
            fs::write(cut.join(log.file_name().unwrap()), &bytes[..end]).unwrap();
            let again = durable(&cut);
            let first = again.select(1).unwrap();
            let done = ["EXISTS", "done0", "done1", "done2", "done3"];
            let done = first.command(done).wait().unwrap().as_integer();
            let pending = workers(&first.stream("jobs")).pending().wait().unwrap().count;
            // A mark may follow it, which belongs to nothing.
            let is_whole = (done, pending) == (Some(4), 0);
            let what = format!("{shards} shards, cut at {end}: {done:?} and {pending}");
            assert!(is_whole || (done, pending) == (Some(0), 1), "{what}");
            assert!(is_whole >= was_whole && (end > before + 40 || !is_whole), "{what}");
            was_whole = is_whole;
        }
        assert!(was_whole, "{shards} shards");
        drop((worker, db));
        fs::remove_dir_all(&whole).unwrap();
    }
}
