//! The clock: it steps, stands still, is wrong by centuries; and the process stands still.

use crate::{Client, Place, Server, Value, request};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Put between a server and its wall clock: adds the first number of a file to it, in
/// milliseconds; if the second is not 0, the clock stands there.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long long *told;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("TEST_CLOCK"), O_RDONLY);
    void *at = mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
    if (at == MAP_FAILED) abort();
    told = at;
}

int clock_gettime(clockid_t id, struct timespec *t) {
    int failed = syscall(SYS_clock_gettime, id, t);
    if (!failed && id == CLOCK_REALTIME && told) {
        long long ms = told[1] ? told[1] : t->tv_sec * 1000LL + t->tv_nsec / 1000000 + told[0];
        t->tv_sec = ms / 1000;
        t->tv_nsec = ms % 1000 * 1000000;
    }
    return failed;
}
"#;

/// The wall clock of a server.
struct Clock(PathBuf);

impl Clock {
    /// A clock that is right.
    fn new(place: &Place) -> Clock {
        let clock = Clock(place.0.path().join("clock"));
        clock.put(0, 0);
        clock
    }

    fn put(&self, added_ms: i64, stands_at_ms: i64) {
        let bytes = [added_ms.to_le_bytes(), stands_at_ms.to_le_bytes()].concat();
        if self.0.exists() {
            // In place, as the server has mapped the file.
            use std::io::Write as _;
            let file = fs::File::options().write(true).open(&self.0);
            file.unwrap().write_all(&bytes).unwrap();
        } else {
            fs::write(&self.0, bytes).unwrap();
        }
    }

    /// Starts a server that has it.
    fn start(&self, place: &Place, args: &[&str]) -> Server {
        let shim = place.0.path().join("clock.so");
        if !shim.exists() {
            let source = place.0.path().join("clock.c");
            fs::write(&source, SHIM).unwrap();
            // What links the tests.
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(&source);
            assert!(cc.status().unwrap().success());
        }
        place
            .try_start_with(&[("LD_PRELOAD", shim.as_path()), ("TEST_CLOCK", &self.0)], args)
            .unwrap()
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn id(text: &str) -> (u64, u64) {
    let (ms, seq) = text.split_once('-').unwrap();
    (ms.parse().unwrap(), seq.parse().unwrap())
}

/// Nothing in a reply is below 0, apart from the -1 that XINFO CONSUMERS says of no activity.
#[track_caller]
fn check_not_negative(client: &mut Client, command: &str) {
    let reply = client.ask(command);
    let is_negative = |word: &str| {
        let digits = word.trim_start_matches(['[', ':']).strip_prefix('-');
        digits.is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
    };
    assert!(!reply.starts_with('-'), "{reply}");
    assert!(!reply.split(['=', ' ']).any(is_negative), "{command}: {reply}");
}

/// What the server does while its clock is set by `set`.
fn check_step(server: &Server, last: &mut (u64, u64), set: impl FnOnce()) {
    let mut client = server.connect();
    let mut idle = server.connect();
    assert_eq!(idle.ask("PING"), "+PONG");
    let mut timed = server.connect();
    let began = Instant::now();
    timed.tell("XREAD BLOCK 250 STREAMS none $");
    let mut reader = server.connect();
    reader.tell("XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
    server.wait_blocked(2);
    set();
    assert_eq!(client.ask("CLIENT PAUSE 50 WRITE"), "+OK");
    let added = client.ask("XADD s * f v");
    let first = added.clone();
    assert!(id(&added) > *last, "{added} after {last:?}");
    *last = id(&added);
    for _ in 0..3 {
        let added = client.ask("XADD s * f v");
        assert!(id(&added) > *last, "{added} after {last:?}");
        *last = id(&added);
    }
    assert_eq!(reader.reply(), format!("[[s [[{first} [f v]]]]]"));
    assert_eq!(client.ask("WAITAOF 1 0 30000"), "[:1 :0]");
    for command in [
        "XPENDING s g - + 1000",
        "XINFO CONSUMERS s g",
        "XREADGROUP GROUP g c CLAIM 0 STREAMS s >",
        "OBJECT IDLETIME s",
    ] {
        check_not_negative(&mut client, command);
    }
    let list = client.ask("CLIENT LIST");
    assert!(!list.contains(" age=-") && !list.contains(" idle=-"), "{list}");
    assert_eq!(timed.reply(), "nil");
    assert!(began.elapsed() >= Duration::from_millis(250));
    assert_eq!(idle.ask("PING"), "+PONG");
}

/// Clients that are not idle for long stay, whatever the clock says; they are looked after once a
/// second.
fn check_idle(server: &Server, set: impl FnOnce()) {
    let mut idle = server.connect();
    assert_eq!(idle.ask("PING"), "+PONG");
    // A pause that was begun before ends in its time.
    let mut client = server.connect();
    assert_eq!(client.ask("CLIENT PAUSE 1500 WRITE"), "+OK");
    set();
    client.ask("SET k v");
    assert_eq!(idle.ask("PING"), "+PONG");
}

#[test]
fn t01_a_clock_that_steps_harms_nothing() {
    let place = Place::new();
    let clock = Clock::new(&place);
    let args = ["--appendfsync", "everysec", "--timeout", "30", "--shards", "2"];
    let server = clock.start(&place, &args);
    let mut client = server.connect();
    client.ask("XGROUP CREATE s g $ MKSTREAM");
    let mut last = (0, 0);
    const HOUR: i64 = 3_600_000;
    let to = |ms: i64| ms - now_ms();
    check_step(&server, &mut last, || ());
    let begun = last;
    check_step(&server, &mut last, || clock.put(-HOUR, 0));
    check_step(&server, &mut last, || clock.put(HOUR, 0));
    assert!(last.0 > begun.0 + 3_000_000, "the server does not see this clock");
    check_step(&server, &mut last, || clock.put(HOUR - 1000, 0));
    check_step(&server, &mut last, || clock.put(to(5), 0));
    check_step(&server, &mut last, || clock.put(0, 1));
    check_step(&server, &mut last, || clock.put(to(4_294_967_295_990), 0));
    check_step(&server, &mut last, || clock.put(0, 4_294_967_296_000));
    check_step(&server, &mut last, || {
        (0..100).for_each(|ms| clock.put(to(5_000_000_000_000) + ms, 0))
    });
    check_step(&server, &mut last, || clock.put(to(253_402_300_700_000), 0));
    check_step(&server, &mut last, || clock.put(0, 0));
    // After a start with a clock that is far behind.
    let len = client.ask("XLEN s");
    clock.put(-HOUR, 0);
    drop(client);
    let place = server.kill();
    let server = clock.start(&place, &args);
    assert_eq!(server.connect().ask("XLEN s"), len);
    check_idle(&server, || clock.put(HOUR, 0));
    check_idle(&server, || clock.put(-HOUR, 0));
    check_step(&server, &mut last, || clock.put(0, 0));
}

#[test]
fn t02_a_stream_from_the_future_goes_on_behind_its_last_id() {
    const MAX: u64 = u64::MAX;
    let exhausted = "-ERR The stream has exhausted the last possible ID, unable to add more items";
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.connect();
    for (last, next) in [
        ("9999999999999-7".to_owned(), Some("9999999999999-8".to_owned())),
        (format!("9999999999999-{MAX}"), Some("10000000000000-0".to_owned())),
        (format!("{MAX}-{}", MAX - 1), Some(format!("{MAX}-{MAX}"))),
        (format!("{MAX}-{MAX}"), None),
    ] {
        // Restored, as from a machine whose clock was wrong.
        client.ask("DEL s t");
        assert_eq!(client.ask(&format!("XADD s {last} f v")), last);
        let Value::Bulk(payload) = client.call(&["DUMP", "s"]) else { panic!("no payload") };
        let restore: [&[u8]; 4] = [b"RESTORE", b"t", b"0", &payload];
        assert_eq!(client.call(&restore).to_string(), "+OK");
        client.ask("XGROUP CREATE t g $");
        let mut reader = server.connect();
        reader.tell("XREADGROUP GROUP g c BLOCK 0 STREAMS t >");
        server.wait_blocked(1);
        match next {
            Some(next) => {
                assert_eq!(client.ask("XADD t * f v"), next);
                assert_eq!(reader.reply(), format!("[[t [[{next} [f v]]]]]"));
            }
            None => {
                assert_eq!(client.ask("XADD t * f v"), exhausted);
                assert_eq!(client.ask(&format!("XADD t {MAX}-* f v")), exhausted);
                assert_eq!(client.ask("XLEN t"), ":1");
                assert_eq!(client.ask("DEL t"), ":1");
                assert!(reader.reply().starts_with("-NOGROUP"));
            }
        }
    }
    // So also after the next start.
    let place = server.kill();
    let server = place.start(&["--shards", "1"]);
    assert_eq!(server.connect().ask("XADD s * f v"), exhausted);
}

#[test]
fn t03_a_stopped_process_goes_on_where_it_was() {
    let pause = if std::env::var_os("MILLSTREAM_SCALE").is_some() { 60 } else { 1 };
    let server = Server::start(&["--shards", "2", "--timeout", "600"]);
    let mut client = server.connect();
    let first = client.ask("XADD s * a b");
    let mut waiter = server.connect();
    waiter.tell("XREAD BLOCK 0 STREAMS s $");
    // Its time ends while nobody runs.
    let mut timed = server.connect();
    timed.tell("XREAD BLOCK 300 STREAMS s $");
    let mut patient = server.connect();
    patient.tell("XREAD BLOCK 600000 STREAMS s $");
    server.wait_blocked(3);
    let mut subscriber = server.connect();
    assert_eq!(subscriber.ask("SUBSCRIBE c"), "[subscribe c :1]");
    let mut queued = server.connect();
    let half = request(&["XADD", "s", "*", "e", "f"]);
    assert_eq!(queued.ask("PING"), "+PONG");
    queued.send(&half[..10]);
    server.signal("STOP");
    std::thread::sleep(Duration::from_secs(pause));
    client.tell("XADD s * c d");
    server.signal("CONT");
    let second = client.reply();
    assert_ne!(first, second);
    let entry = format!("[[s [[{second} [c d]]]]]");
    assert_eq!(waiter.reply(), entry);
    assert_eq!(patient.reply(), entry);
    // The entry and the end of the time came together.
    let reply = timed.reply();
    assert!(reply == "nil" || reply == entry, "{reply}");
    assert_eq!(client.ask("PUBLISH c x"), ":1");
    assert_eq!(subscriber.reply(), "[message c x]");
    queued.send(&half[10..]);
    assert!(id(&queued.reply()) > id(&second));
    assert_eq!(client.ask("XLEN s"), ":3");
}
