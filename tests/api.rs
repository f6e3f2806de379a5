//! The embedded database, by its public API alone; also without the `server` feature.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "api/databases.rs"]
mod databases;
#[path = "api/growth.rs"]
mod growth;
#[path = "api/idle.rs"]
mod idle;
#[path = "api/runtimes.rs"]
mod runtimes;

use millstream::command::typed::{Mode, XAdd, XLen};
use millstream::{
    Answer, CommandError, Consumer, Db, Delivery, EntryId, Error, Fsync, Group, Start, Stream,
    Trim, block_on,
};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long anything may take before a test gives up; far more than it needs.
const DEADLINE: Duration = Duration::from_secs(60);

fn memory() -> Db {
    Db::builder().memory().open().unwrap()
}

fn durable(dir: &Path) -> Db {
    Db::builder().dir(dir).appendfsync(Fsync::Always).open().unwrap()
}

fn workers(stream: &Stream) -> Group {
    stream.group("workers", Start::First).wait().unwrap()
}

fn next(consumer: &Consumer) -> Delivery {
    consumer.next_wait_timeout(DEADLINE).unwrap().expect("an entry in time")
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits until a group has this many pending entries.
fn wait_for_pending(group: &Group, count: u64) {
    let end = Instant::now() + DEADLINE;
    while group.pending().wait().unwrap().count != count {
        assert!(Instant::now() < end, "{count} pending entries");
    }
}

#[test]
fn what_is_sent_between_threads_can_be() {
    fn can<T: Send + Sync>() {}
    fn can_go<T: Send>() {}
    can::<Db>();
    can::<Stream>();
    can::<Group>();
    can::<Consumer>();
    can::<Delivery>();
    can_go::<Answer<EntryId>>();
}

#[test]
fn entries_are_pairs_or_bytes_and_keep_their_order() {
    let db = memory();
    let log = db.stream("log");
    let first = log.add([("b", "1"), ("a", "2"), ("b", "3")]).wait().unwrap();
    let second = log.add("plain text").wait().unwrap();
    let third = log.add(vec![0_u8, 255]).wait().unwrap();
    assert!(first < second && second < third);
    let entries = log.range(..).wait().unwrap();
    let pairs: Vec<(&[u8], &[u8])> =
        entries[0].fields.iter().map(|(field, value)| (&**field, &**value)).collect();
    assert_eq!(pairs, [(&b"b"[..], &b"1"[..]), (b"a", b"2"), (b"b", b"3")]);
    assert_eq!(entries[0].text("b"), Some("1"));
    assert_eq!(entries[1].bytes(), Some(&b"plain text"[..]));
    assert_eq!(entries[2].bytes(), Some(&[0, 255][..]));
    assert_eq!(log.range(second..third).wait().unwrap()[0].id, second);
    assert_eq!(log.range_of(first.., 2).wait().unwrap().len(), 2);
    assert_eq!(log.last(1).wait().unwrap()[0].id, third);
    assert_eq!(log.delete(&[second]).wait().unwrap(), 1);
    assert_eq!(log.trim(Trim::MaxLen(1)).wait().unwrap(), 1);
    assert_eq!(log.len().wait().unwrap(), 1);
    let copy = log.add(&entries[0]).wait().unwrap();
    assert_eq!(log.range(copy..).wait().unwrap()[0].fields, entries[0].fields);
}

#[test]
fn a_batch_is_one_frame_and_a_refusal_is_told() {
    let db = memory();
    let log = db.stream("log");
    let ids = log.add_many((0..1000).map(|n| [("n", n.to_string())])).wait().unwrap();
    assert_eq!(ids.len(), 1000);
    assert!(ids.is_sorted());
    assert_eq!(log.len().wait().unwrap(), 1000);
    assert_eq!(log.add_many(Vec::<[(&str, &str); 1]>::new()).wait().unwrap(), []);
    db.command(["SET", "text", "x"]).wait().unwrap();
    let refused = db.stream("text").add("x").wait();
    assert_eq!(refused, Err(Error::Command(CommandError::WrongType)));
    let none: [(&str, &str); 0] = [];
    assert!(matches!(log.add(none).wait(), Err(Error::Command(_))));
    assert!(matches!(db.stream("none").groups().wait(), Err(Error::Command(_))));
}

#[test]
fn what_a_thread_has_begun_comes_before_its_next_call() {
    let db = memory();
    let jobs = db.stream("jobs");
    let worker = workers(&jobs).consumer("w");
    jobs.add("job").wait().unwrap();
    for n in 0..500 {
        let held = worker.take(1).wait().unwrap();
        assert_eq!(held.len(), 1, "what was dropped is there again, {n}");
        drop(held);
        let mut begun = Box::pin(db.command(["INCR", "n"]));
        drop(poll_once(begun.as_mut()));
        drop(begun);
        let counted = db.command(["GET", "n"]).wait().unwrap();
        assert_eq!(counted.as_text(), Some(&*(n + 1).to_string()));
    }
}

#[test]
fn a_stream_stays_within_its_length() {
    let db = memory();
    let log = db.stream("log").max_len(1000);
    for _ in 0..50 {
        log.add_many((0..100).map(|n| [("n", n.to_string())])).wait().unwrap();
    }
    let len = log.len().wait().unwrap();
    assert!((1000..1200).contains(&len), "{len}");
}

#[test]
fn what_is_not_acknowledged_comes_again_at_once() {
    let db = memory();
    let jobs = db.stream("jobs");
    let group = workers(&jobs);
    let (one, two) = (group.consumer("one"), group.consumer("two"));
    let id = jobs.add("work").wait().unwrap();

    let delivery = next(&one);
    assert_eq!((delivery.id(), delivery.attempt()), (id, Some(1)));
    assert!(two.take(1).wait().unwrap().is_empty());
    drop(delivery);
    let delivery = next(&two);
    assert_eq!((delivery.id(), delivery.attempt()), (id, Some(2)));
    delivery.nack_as(Mode::Silent).wait().unwrap();

    let panicked = thread::spawn(move || {
        let _held = next(&one);
        panic!("a worker fails");
    });
    assert!(panicked.join().is_err());
    let delivery = next(&two);
    assert_eq!(delivery.id(), id);
    // An acknowledgement that nobody asks for is none.
    drop(delivery.ack());
    let delivery = next(&two);
    assert!(delivery.ack().wait().unwrap());
    assert_eq!(group.pending().wait().unwrap().count, 0);
    assert!(two.take(1).wait().unwrap().is_empty());
}

#[test]
fn a_lease_that_is_over_hands_the_entry_on() {
    let db = memory();
    let jobs = db.stream("jobs");
    let group = workers(&jobs).lease(Duration::from_millis(20));
    jobs.add("work").wait().unwrap();
    let kept = next(&group.consumer("slow"));
    let id = kept.id();
    let again = next(&group.consumer("other"));
    assert_eq!((again.id(), again.attempt()), (id, Some(2)));
    assert!(again.ack().wait().unwrap());
    assert!(!kept.ack().wait().unwrap(), "another has acknowledged it");
}

#[test]
fn a_consumer_finds_what_it_had_and_may_take_others_over() {
    let db = memory();
    let jobs = db.stream("jobs");
    let group = workers(&jobs);
    let worker = group.consumer("worker");
    jobs.add_many(["a", "b", "c"]).wait().unwrap();
    let held = worker.take(2).wait().unwrap();
    let ids: Vec<EntryId> = held.into_iter().map(|delivery| delivery.keep().id).collect();
    let pending = worker.pending(9).wait().unwrap();
    assert_eq!(pending.iter().map(Delivery::id).collect::<Vec<_>>(), ids);
    pending[0].extend().wait().unwrap();
    pending.into_iter().for_each(|delivery| drop(delivery.keep()));
    let taken = group.consumer("heir").claim(Duration::ZERO, 9).wait().unwrap();
    assert_eq!(taken.iter().map(Delivery::id).collect::<Vec<_>>(), ids);
    assert_eq!(group.ack_all(taken).wait().unwrap(), 2);
    assert_eq!(group.nack(&ids, Mode::Fail).wait().unwrap(), 0);
    group.go_to(Start::After(ids[0])).wait().unwrap();
    let again = next(&worker);
    assert_eq!(again.id(), ids[1]);
    drop(again.keep());
    assert_eq!(group.ack(&ids).wait().unwrap(), 1);
    assert!(group.destroy().wait().unwrap());
    let gone = worker.take(1).wait().unwrap_err();
    assert!(matches!(gone, Error::Command(CommandError::NoGroup(_))), "{gone}");
}

#[test]
fn a_work_queue_is_as_long_as_its_work() {
    let db = memory();
    let jobs = db.stream("jobs");
    let group = workers(&jobs).delete_acknowledged();
    let audit = jobs.group("audit", Start::First).wait().unwrap().delete_acknowledged();
    jobs.add_many(["a", "b"]).wait().unwrap();
    let done = group.consumer("w").take(2).wait().unwrap();
    assert_eq!(group.ack_all(done).wait().unwrap(), 2);
    assert_eq!(jobs.len().wait().unwrap(), 2, "the other group has not seen them");
    for delivery in audit.consumer("a").take(2).wait().unwrap() {
        assert!(delivery.ack().wait().unwrap());
    }
    assert_eq!(jobs.len().wait().unwrap(), 0);
}

#[test]
fn who_waits_is_served_in_order_and_loses_nothing_by_leaving() {
    let db = memory();
    let jobs = db.stream("jobs");
    let group = workers(&jobs);
    let (one, two) = (group.consumer("one"), group.consumer("two"));
    let mut first = Box::pin(one.next());
    let mut second = Box::pin(two.next());
    assert!(poll_once(first.as_mut()).is_pending());
    // A call behind it tells that the first is registered.
    jobs.len().wait().unwrap();
    assert!(poll_once(second.as_mut()).is_pending());
    jobs.len().wait().unwrap();
    jobs.add("work").wait().unwrap();
    // It has been served and does not come for it.
    drop(first);
    let delivery = block_on(second).unwrap();
    assert_eq!(delivery.bytes(), Some(&b"work"[..]));
    delivery.ack().wait().unwrap();
    let mut third = Box::pin(one.next());
    assert!(poll_once(third.as_mut()).is_pending());
    drop(third);
    jobs.add("more").wait().unwrap();
    next(&two).ack().wait().unwrap();
    assert_eq!(group.pending().wait().unwrap().count, 0);
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    let db = memory();
    let jobs = db.stream("jobs");
    let worker = workers(&jobs).consumer("w");
    assert!(worker.next_wait_timeout(Duration::from_millis(5)).unwrap().is_none());
    assert!(worker.next_wait_timeout(Duration::ZERO).unwrap().is_none());
    assert!(block_on(worker.next_many(5, Duration::from_millis(1))).unwrap().is_empty());
    let mut follower = jobs.follow(Start::New);
    assert!(block_on(follower.next_timeout(Duration::from_millis(1))).unwrap().is_none());
    let id = jobs.add("x").wait().unwrap();
    assert_eq!(follower.next_wait().unwrap().id, id);
}

#[test]
fn followers_see_all_and_replay_by_time() {
    let db = memory();
    let log = db.stream("log");
    let ids = log.add_many((0..300).map(|n| n.to_string())).wait().unwrap();
    for start in [Start::First, Start::at(SystemTime::UNIX_EPOCH), Start::After(ids[9])] {
        let mut follower = log.follow(start);
        let skipped = if start == Start::After(ids[9]) { 10 } else { 0 };
        for id in &ids[skipped..] {
            assert_eq!(follower.next_wait().unwrap().id, *id);
        }
    }
    let later = SystemTime::now() + Duration::from_secs(60);
    assert!(log.range(EntryId::at(later)..).wait().unwrap().is_empty());
    let mut late = log.follow(Start::at(later));
    assert!(block_on(late.next_timeout(Duration::from_millis(1))).unwrap().is_none());
}

#[test]
fn every_command_is_a_call_away() {
    let db = memory();
    let fields = vec![("f".into(), "v".into())];
    let id = db.call(XAdd { key: "s".into(), fields, ..XAdd::default() }).wait().unwrap();
    assert!(id.is_some());
    assert_eq!(db.call(XLen { key: "s".into() }).wait().unwrap(), 1);
    assert_eq!(db.command(["DBSIZE"]).wait().unwrap().as_integer(), Some(1));
    let info = db.command(["INFO", "server"]).wait().unwrap();
    assert!(info.as_text().unwrap().contains("redis_version"));
    let unknown = db.command(["NOPE"]).wait().unwrap_err();
    assert_eq!(unknown.to_string(), "ERR unknown command 'NOPE'");
    assert!(db.command(["MULTI"]).wait().is_err());
    assert!(db.command(["SHUTDOWN"]).wait().is_err());
    assert!(db.command(Vec::<String>::new()).wait().is_err());
    let blocked = db.command(["XREAD", "BLOCK", "1", "STREAMS", "s", "$"]).wait().unwrap();
    assert_eq!(blocked, millstream::Reply::Null);
}

#[test]
fn commands_over_several_shards_answer_as_over_one() {
    for shards in [1, 4] {
        let db = Db::builder().memory().shards(shards).open().unwrap();
        for key in 0..20 {
            db.stream(format!("s{key}")).add("x").wait().unwrap();
        }
        assert_eq!(db.command(["DBSIZE"]).wait().unwrap().as_integer(), Some(20));
        assert_eq!(db.command(["DEL", "s1", "s2", "s3"]).wait().unwrap().as_integer(), Some(3));
        let read = ["XREAD", "BLOCK", "0", "STREAMS", "s1", "s2", "s3", "$", "$", "$"];
        let mut waiting = Box::pin(db.command(read));
        assert!(poll_once(waiting.as_mut()).is_pending());
        // Its registration and these go through the same door.
        while db
            .command(["INFO", "clients"])
            .wait()
            .unwrap()
            .as_text()
            .unwrap()
            .contains("blocked_clients:0")
        {}
        db.stream("s2").add("news").wait().unwrap();
        let reply = block_on(waiting).unwrap();
        assert!(reply.get("s2").is_some(), "{reply:?}");
    }
}

#[test]
fn a_database_closes_while_commands_over_several_shards_are_under_way() {
    for _ in 0..100 {
        let db = Db::builder().memory().shards(4).open().unwrap();
        let mut calls: Vec<_> = (0..20).map(|_| Box::pin(db.command(["DBSIZE"]))).collect();
        // The first poll sends it; one that is answered as fast as that is not under way.
        calls.retain_mut(|call| poll_once(call.as_mut()).is_pending());
        db.close().unwrap();
        for call in calls {
            let answer = block_on(call);
            assert!(answer.is_ok() || answer == Err(Error::Stopped), "{answer:?}");
        }
    }
}

#[test]
fn a_closed_database_says_so_and_wakes_who_waits() {
    let db = memory();
    let jobs = db.stream("jobs");
    let worker = workers(&jobs).consumer("w");
    let mut waiting = Box::pin(worker.next());
    assert!(poll_once(waiting.as_mut()).is_pending());
    jobs.add("x").wait().unwrap();
    let held = block_on(waiting).unwrap();
    let mut waiting = Box::pin(worker.next());
    assert!(poll_once(waiting.as_mut()).is_pending());
    db.close().unwrap();
    assert_eq!(block_on(waiting).unwrap_err(), Error::Stopped);
    assert_eq!(jobs.add("y").wait(), Err(Error::Stopped));
    assert_eq!(held.ack().wait(), Err(Error::Stopped));
    db.close().unwrap();
}

#[test]
fn a_directory_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let ids = {
        let db = durable(&dir);
        let jobs = db.stream("jobs");
        let group = workers(&jobs);
        let ids = jobs.add_many(["a", "b", "c"]).wait().unwrap();
        let mut held = group.consumer("w").take(2).wait().unwrap();
        assert!(held.remove(0).ack().wait().unwrap());
        drop(held.remove(0).keep());
        assert!(matches!(Db::builder().dir(&dir).open(), Err(Error::Storage(_))), "it is in use");
        ids
    };
    let db = Db::builder().dir(&dir).open().unwrap();
    let jobs = db.stream("jobs");
    let worker = workers(&jobs).consumer("w");
    let pending = worker.pending(9).wait().unwrap();
    assert_eq!(pending.iter().map(Delivery::id).collect::<Vec<_>>(), [ids[1]]);
    assert_eq!(next(&worker).id(), ids[2]);
}

#[test]
fn threads_share_the_work_and_nothing_is_doubled() {
    const ENTRIES: usize = 2000;
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder().dir(dir.path().join("data")).open().unwrap();
    let jobs = db.stream("jobs");
    let group = workers(&jobs);
    let (done, all_done) = mpsc::channel();
    thread::scope(|scope| {
        for n in 0..4 {
            let worker = group.consumer(format!("w{n}"));
            let done = done.clone();
            scope.spawn(move || {
                while let Some(job) = worker.next_wait_timeout(Duration::from_millis(200)).unwrap()
                {
                    let id = job.id();
                    assert!(job.ack().wait().unwrap());
                    done.send(id).unwrap();
                }
            });
        }
        for _ in 0..2 {
            let jobs = jobs.clone();
            scope.spawn(move || {
                for n in 0..ENTRIES / 2 {
                    jobs.add([("n", n.to_string())]).wait().unwrap();
                }
            });
        }
    });
    drop(done);
    let mut ids: Vec<EntryId> = all_done.iter().collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), ENTRIES);
    wait_for_pending(&group, 0);
}

#[test]
fn more_than_may_be_under_way_waits_for_room() {
    let db = memory();
    let log = db.stream("log");
    let large = vec![b'x'; millstream::db::UNDER_WAY_BYTES / 4];
    let mut answers: Vec<_> = (0..6).map(|_| Box::pin(log.add(&large))).collect();
    answers.retain_mut(|answer| match poll_once(answer.as_mut()) {
        Poll::Ready(added) => added.is_err(),
        Poll::Pending => true,
    });
    for answer in answers {
        block_on(answer).unwrap();
    }
    assert_eq!(log.len().wait().unwrap(), 6);
}

#[test]
fn producers_that_outrun_the_disk_wait_for_it() {
    const BOUND: u64 = 1 << 20;
    const ADDERS: u64 = 4;
    let dir = tempfile::tempdir().unwrap();
    let builder = Db::builder().dir(dir.path()).appendfsync(Fsync::EverySec);
    let db = builder.setting("aof-unsynced-max-bytes", &BOUND.to_string()).open().unwrap();
    let jobs = db.stream("jobs").max_len(10);
    let add = |blocking: bool| {
        let aof = db.core().aof().unwrap();
        for _ in 0..200 {
            let added = jobs.add([7; 10_000]);
            let added = if blocking { added.wait() } else { block_on(added) };
            added.unwrap();
            // The durable position only rises, so this is at most what was unsynced at the end's
            // reading. Each adder may have found room when there was just a little.
            let unsynced = aof.end().0.saturating_sub(aof.durable().0);
            assert!(unsynced <= BOUND + ADDERS * 11_000, "{unsynced} bytes are unsynced");
        }
    };
    thread::scope(|scope| {
        for n in 0..ADDERS {
            let add = &add;
            scope.spawn(move || add(n % 2 == 0));
        }
    });
    assert!(db.core().aof().unwrap().end().0 > 7 * BOUND, "it was reached again and again");
}

#[tokio::test]
async fn it_runs_inside_a_runtime_of_one_thread() {
    let db = Arc::new(memory());
    let jobs = db.stream("jobs");
    let group = jobs.group("workers", Start::First).await.unwrap();
    let worker = group.consumer("w");
    let taking = tokio::spawn(async move {
        let mut taken = 0;
        while taken < 100 {
            let job = worker.next().await?;
            taken += u32::from(job.ack().await?);
        }
        Ok::<u32, Error>(taken)
    });
    for n in 0..100 {
        jobs.add([("n", n.to_string())]).await.unwrap();
    }
    assert_eq!(taking.await.unwrap().unwrap(), 100);
    let worker = group.consumer("w");
    assert!(worker.next_timeout(Duration::from_millis(1)).await.unwrap().is_none());
}

/// Sends one command as a client would, and gives what comes within one read.
#[cfg(feature = "server")]
fn send(connection: &mut std::net::TcpStream, words: &str) -> String {
    use std::io::{Read as _, Write as _};
    connection.write_all(format!("{words}\r\n").as_bytes()).unwrap();
    let mut reply = vec![0; 4096];
    let n = connection.read(&mut reply).unwrap();
    String::from_utf8(reply[..n].to_vec()).unwrap()
}

#[cfg(feature = "server")]
#[test]
fn a_database_that_listens_has_two_doors_to_one_state() {
    use std::io::Read as _;
    let db = memory();
    let jobs = db.stream("jobs");
    let worker = workers(&jobs).consumer("w");
    let listening = db.serve("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listening.address()).unwrap();
    jobs.add("from inside").wait().unwrap();
    assert_eq!(send(&mut client, "XLEN jobs"), ":1\r\n");
    drop(next(&worker).ack());
    next(&worker).ack().wait().unwrap();
    let waiting = thread::spawn({
        let worker = worker.clone();
        move || next(&worker)
    });
    assert!(send(&mut client, "XADD jobs * data outside").starts_with('$'));
    let delivery = waiting.join().unwrap();
    assert_eq!(delivery.bytes(), Some(&b"outside"[..]));
    assert!(send(&mut client, "XPENDING jobs workers").starts_with("*4\r\n:1\r\n"));
    drop(delivery.keep());
    drop(listening);
    assert_eq!(client.read(&mut [0; 8]).unwrap_or_default(), 0, "it is closed");
    jobs.add("still open").wait().unwrap();
    let again = db.serve("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(again.address()).unwrap();
    assert_eq!(send(&mut client, "PING"), "+PONG\r\n");
}

/// Where a child finds its directory.
const CHILD_DIR: &str = "MILLSTREAM_API_CHILD";

/// No test unless it is the child of the one below: adds and acknowledges until it is killed, and
/// says what it was told.
#[test]
fn a_child_works_until_it_is_killed() {
    use std::io::Write as _;
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let db = Db::builder().dir(dir).open().unwrap();
    let jobs = db.stream("jobs");
    let worker = workers(&jobs).consumer("w");
    let say = |word: &str, id: EntryId| {
        let mut line = std::io::stdout().lock();
        writeln!(line, "\n{word} {id}").unwrap();
        line.flush().unwrap();
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                say("added", jobs.add("work").wait().unwrap());
            }
        });
        scope.spawn(|| {
            loop {
                let job = worker.next_wait().unwrap();
                let id = job.id();
                assert!(job.ack().wait().unwrap());
                say("acknowledged", id);
            }
        });
    });
}

#[test]
fn a_killed_process_loses_nothing_and_doubles_nothing_acknowledged() {
    use std::collections::BTreeSet;
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let (mut added, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_child_works_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = 0;
        for line in lines.map_while(Result::ok) {
            let Some((word, id)) = line.split_once(' ') else { continue };
            let Ok(id) = id.parse::<EntryId>() else { continue };
            assert!(if word == "added" { added.insert(id) } else { acknowledged.insert(id) });
            said += 1;
            if said == 100 + 77 * round {
                // SIGKILL. What it says between here and its end is read, too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(said >= 100 + 77 * round, "the child has failed by itself");
    }
    let db = Db::builder().dir(&dir).open().unwrap();
    let jobs = db.stream("jobs");
    let found: BTreeSet<EntryId> =
        jobs.range(..).wait().unwrap().iter().map(|entry| entry.id).collect();
    assert!(added.is_subset(&found), "entries are lost");
    let worker = workers(&jobs).lease(Duration::ZERO).consumer("heir");
    let left = worker.take(1_000_000).wait().unwrap();
    let left: BTreeSet<EntryId> = left.into_iter().map(|delivery| delivery.keep().id).collect();
    assert!(left.is_disjoint(&acknowledged), "what was acknowledged comes again");
    // In each round one acknowledgement may have been made and not told of any more.
    let gone = added.iter().filter(|id| !left.contains(id) && !acknowledged.contains(id)).count();
    assert!(gone <= 3, "{gone} entries are neither acknowledged nor delivered again");
}
