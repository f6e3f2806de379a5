//! Much of everything: pending entries, groups, consumers, streams, entries, clients, arguments.
//!
//! By default the numbers are small and only the replies are checked. With `MILLSTREAM_SCALE=1`
//! they are the large ones, and what was measured is printed beside what it may be: the time of
//! each command, how long another client's PING took meanwhile, memory. `tests/scale/run.sh` does
//! that.

use crate::saving::take_peak;
use crate::{Client, Server, Value, request};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Requests that are under way at once while something is filled.
const DEPTH: usize = 500;

pub(crate) fn is_large() -> bool {
    std::env::var_os("MILLSTREAM_SCALE").is_some()
}

pub(crate) fn many(small: usize, large: usize) -> usize {
    if is_large() { large } else { small }
}

pub(crate) fn print(line: &str) {
    if is_large() {
        // Nobody reads it if it cannot be written.
        drop(writeln!(std::io::stdout(), "{line}"));
    }
}

/// Prints a figure beside what it may be at most; `tests/scale/run.sh` fails if one is `TOO MUCH`.
pub(crate) fn compare(what: &str, figure: f64, at_most: f64, unit: &str) {
    let verdict = if figure <= at_most { "at most" } else { "TOO MUCH, at most" };
    print(&format!("{what}: {figure:.3} {unit} ({verdict} {at_most} {unit})"));
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Runs a command, prints how long it took, and returns the reply.
#[track_caller]
fn timed(client: &mut Client, command: &str) -> Value {
    let began = Instant::now();
    client.tell(command);
    let reply = client.value();
    let took = began.elapsed();
    print(&format!("{:>12.3} ms  {command}", took.as_secs_f64() * 1000.0));
    assert!(!matches!(reply, Value::Error(_)), "{command}: {reply}");
    reply
}

/// Sends `count` commands, many at a time, and looks at each reply.
#[track_caller]
pub(crate) fn fill(
    client: &mut Client,
    count: usize,
    command: impl Fn(usize) -> Vec<String>,
    check: impl Fn(usize, &Value),
) {
    for first in (0..count).step_by(DEPTH) {
        let these = first..(first + DEPTH).min(count);
        let bytes: Vec<u8> = these.clone().flat_map(|n| request(&command(n))).collect();
        client.send(&bytes);
        for n in these {
            check(n, &client.value());
        }
    }
}

pub(crate) fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
}

/// What lists everything there is, as its documentation says, and may take its time.
const LISTS: [&str; 3] = ["XINFO GROUPS, which lists them all", "lists of them all", "KEYS"];

/// A PING comes so often, if the one before it has been answered.
const PING_EVERY: Duration = Duration::from_micros(500);

/// A PING and what kept its reply away.
struct Ping {
    ended: Instant,
    took: Duration,
    /// How long the server's thread or the client's stood in line for a processor.
    waited: Duration,
}

impl Ping {
    fn send(client: &mut Client, thread: &Path) -> Ping {
        let own = Path::new("/proc/thread-self/schedstat");
        let before = waited_for_processor(own) + waited_for_processor(thread);
        let began = Instant::now();
        assert_eq!(client.ask("PING"), "+PONG");
        let ended = Instant::now();
        let waited = waited_for_processor(own) + waited_for_processor(thread) - before;
        Ping { ended, took: ended - began, waited }
    }

    /// How long the thread was busy with something else.
    fn stall(&self) -> Duration {
        self.took.saturating_sub(self.waited)
    }
}

/// How long a thread has been ready to run and did not.
pub(crate) fn waited_for_processor(thread: &Path) -> Duration {
    let text = std::fs::read_to_string(thread).unwrap_or_default();
    let figure = text.split_whitespace().nth(1).and_then(|figure| figure.parse().ok());
    Duration::from_nanos(figure.unwrap_or_default())
}

/// Runs `work` while another client sends a PING every half millisecond, before it, during and
/// after it. Compares the longest stall that one of them met, and the 99th percentile, with what
/// they may be. A stall is what the server's loop did instead: the test and its clients run on the
/// same processors, so the time that a thread stood in line for one is taken off, and printed.
pub(crate) fn beside_pings(server: &Server, what: &str, work: impl FnOnce()) {
    let around = many(4, 100);
    let mut client = server.connect();
    let thread = server.thread_of(&mut client);
    let (sent, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| {
            let (mut pings, mut due, mut left) = (Vec::new(), Instant::now(), around);
            while left > 0 {
                left -= usize::from(done.load(Ordering::Relaxed));
                let early = due.saturating_duration_since(Instant::now());
                std::thread::sleep(early); // a steady rate; the replies decide
                due = due.max(Instant::now()) + PING_EVERY;
                pings.push(Ping::send(&mut client, &thread));
                sent.fetch_add(1, Ordering::Relaxed);
            }
            pings
        });
        while sent.load(Ordering::Relaxed) < around && !pings.is_finished() {
            std::thread::sleep(PING_EVERY); // a steady rate; the replies decide
        }
        let began = Instant::now();
        work();
        done.store(true, Ordering::Relaxed);
        let pings = pings.join().unwrap();
        let beside = || pings.iter().filter(|ping| ping.ended >= began);
        let mut stalls: Vec<Duration> = beside().map(Ping::stall).collect();
        stalls.sort_unstable();
        let n = stalls.len();
        let ms = |at: usize| stalls.get(at).map_or(0.0, |stall| milliseconds(*stall));
        let (longest_ms, p99_ms) =
            if LISTS.contains(&what) { (f64::INFINITY, f64::INFINITY) } else { (10.0, 5.0) };
        let seen = beside().map(|ping| ping.took).max().unwrap_or_default();
        let seen = format!("with waiting for a processor {:.3} ms", milliseconds(seen));
        let what = format!("    PING beside {what}");
        compare(&format!("{what}: stall of 99 % of {n}"), ms(n * 99 / 100), p99_ms, "ms");
        compare(&format!("{what}: longest, {seen}"), ms(n.saturating_sub(1)), longest_ms, "ms");
    });
}

fn add_entries(client: &mut Client, key: &str, count: usize) {
    let add = |n: usize| words(&format!("XADD {key} {}-0 field value:{n:016}", n + 1));
    fill(client, count, add, |n, reply| assert_eq!(reply.text(), format!("{}-0", n + 1)));
}

/// A stream whose group has handed out everything to ten consumers.
fn hand_out(client: &mut Client, key: &str, count: usize) {
    add_entries(client, key, count);
    client.ask(&format!("XGROUP CREATE {key} g 0"));
    for n in 0..count.div_ceil(1000) {
        let read = format!("XREADGROUP GROUP g c{} COUNT 1000 STREAMS {key} >", n % 10);
        assert!(client.call(&words(&read)).array()[0].array()[1].array().len() <= 1000);
    }
}

#[test]
fn c10_many_pending_entries() {
    let count = many(5_000, 1_000_000);
    let server = Server::start(&[]);
    let mut client = server.connect();
    hand_out(&mut client, "s", count);
    print(&format!("{count} pending entries in one group"));
    let middle = count / 2;
    beside_pings(&server, "commands on it", || {
        assert_eq!(timed(&mut client, &format!("XACK s g {middle}-0")).to_string(), ":1");
        let reply = timed(&mut client, &format!("XCLAIM s g other 0 {}-0 JUSTID", middle + 1));
        assert_eq!(reply.to_string(), format!("[{}-0]", middle + 1));
        let reply = timed(&mut client, "XAUTOCLAIM s g other 86400000 - COUNT 1000");
        assert_eq!(reply.array()[1].array().len(), 0);
        let reply = timed(&mut client, &format!("XAUTOCLAIM s g other 0 {middle}-0 COUNT 100"));
        assert_eq!(reply.array()[1].array().len(), 100);
        let reply = timed(&mut client, "XPENDING s g");
        assert_eq!(reply.array()[0].to_string(), format!(":{}", count - 1));
        let reply = timed(&mut client, "XPENDING s g IDLE 86400000 - + 1000");
        assert_eq!(reply.array().len(), 0);
        let reply = timed(&mut client, &format!("XPENDING s g {middle}-0 + 10 c3"));
        assert!(reply.array().len() <= 10);
        let reply = timed(&mut client, "XREADGROUP GROUP g other COUNT 10 CLAIM 0 STREAMS s >");
        assert_eq!(reply.array()[0].array()[1].array().len(), 10);
        let reply = timed(&mut client, &format!("XNACK s g FAIL IDS 1 {}-0", middle + 1));
        assert_eq!(reply.to_string(), ":1");
        let reply = timed(&mut client, "XREADGROUP GROUP g c1 COUNT 10 STREAMS s 0");
        assert_eq!(reply.array()[0].array()[1].array().len(), 10);
        timed(&mut client, "XINFO STREAM s");
        timed(&mut client, "XINFO GROUPS s");
        timed(&mut client, "XINFO CONSUMERS s g");
        timed(&mut client, "XINFO STREAM s FULL COUNT 10");
        timed(&mut client, "XGROUP DELCONSUMER s g c1");
        timed(&mut client, "XGROUP DESTROY s g");
    });
    hand_out(&mut client, "t", count);
    beside_pings(&server, "FLUSHALL", || {
        assert_eq!(timed(&mut client, "FLUSHALL").to_string(), "+OK")
    });
}

#[test]
fn c10_many_groups() {
    let count = many(2_000, 100_000);
    let server = Server::start(&[]);
    let mut client = server.connect();
    add_entries(&mut client, "s", 100);
    let create = |n| words(&format!("XGROUP CREATE s group:{n} 0"));
    fill(&mut client, count, create, |_, reply| assert_eq!(reply.to_string(), "+OK"));
    print(&format!("{count} groups of one stream"));
    beside_pings(&server, "commands on it", || {
        timed(&mut client, "XADD s 1000-0 a b");
        let reply = timed(&mut client, "XREADGROUP GROUP group:77 c COUNT 1 STREAMS s >");
        assert_eq!(reply.to_string(), "[[s [[1-0 [field value:0000000000000000]]]]]");
        assert_eq!(timed(&mut client, "XACK s group:77 1-0").to_string(), ":1");
        timed(&mut client, "XREADGROUP GROUP group:77 c COUNT 1 STREAMS s >");
        assert_eq!(timed(&mut client, "XDELEX s ACKED IDS 1 2-0").to_string(), "[:2]");
        assert_eq!(timed(&mut client, "XDELEX s DELREF IDS 1 2-0").to_string(), "[:1]");
        timed(&mut client, "XTRIM s ACKED MAXLEN = 50");
        timed(&mut client, "XTRIM s DELREF MAXLEN = 50");
        timed(&mut client, "XINFO STREAM s");
        assert_eq!(timed(&mut client, "XGROUP DESTROY s group:500").to_string(), ":1");
    });
    beside_pings(&server, "XINFO GROUPS, which lists them all", || {
        assert_eq!(timed(&mut client, "XINFO GROUPS s").array().len(), count - 1);
    });
    beside_pings(&server, "DEL", || drop(timed(&mut client, "DEL s")));
}

#[test]
fn c10_many_consumers() {
    let count = many(2_000, 100_000);
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("XGROUP CREATE s g $ MKSTREAM");
    add_entries(&mut client, "s", count);
    let read = |n| words(&format!("XREADGROUP GROUP g consumer:{n} COUNT 1 STREAMS s >"));
    fill(&mut client, count, read, |n, reply| {
        assert!(reply.to_string().starts_with(&format!("[[s [[{}-0 ", n + 1)), "{reply}");
    });
    print(&format!("{count} consumers of one group, each with a pending entry"));
    beside_pings(&server, "commands on it", || {
        timed(&mut client, "XADD s 9999999-0 a b");
        timed(&mut client, "XREADGROUP GROUP g consumer:5 COUNT 1 STREAMS s >");
        assert_eq!(timed(&mut client, "XACK s g 700-0").to_string(), ":1");
        timed(&mut client, "XCLAIM s g consumer:9 0 701-0 JUSTID");
        timed(&mut client, "XPENDING s g - + 10 consumer:9");
        timed(&mut client, "XAUTOCLAIM s g consumer:9 86400000 - COUNT 100");
        timed(&mut client, "XINFO GROUPS s");
        assert_eq!(timed(&mut client, "XGROUP DELCONSUMER s g consumer:9").to_string(), ":2");
    });
    beside_pings(&server, "lists of them all", || {
        assert_eq!(timed(&mut client, "XINFO CONSUMERS s g").array().len(), count - 1);
        timed(&mut client, "XPENDING s g");
    });
    beside_pings(&server, "XGROUP DESTROY", || drop(timed(&mut client, "XGROUP DESTROY s g")));
}

#[test]
fn c10_many_streams() {
    let count = many(5_000, 100_000);
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.connect();
    let before = server.resident_bytes();
    let add = |n| words(&format!("XADD stream:{n:012} 1-1 field value"));
    fill(&mut client, count, add, |_, reply| assert_eq!(reply.text(), "1-1"));
    let each = (server.resident_bytes() - before) / count as u64;
    print(&format!("{count} streams of one entry: {each} bytes each"));
    beside_pings(&server, "commands on them", || {
        timed(&mut client, "XADD stream:000000000777 * a b");
        timed(&mut client, "SCAN 0 COUNT 1000");
        timed(&mut client, "RANDOMKEY");
        assert_eq!(timed(&mut client, "DBSIZE").to_string(), format!(":{count}"));
    });
    beside_pings(&server, "KEYS", || drop(timed(&mut client, "KEYS stream:00000000077*")));
    beside_pings(&server, "FLUSHALL", || drop(timed(&mut client, "FLUSHALL")));
    assert_eq!(client.ask("DBSIZE"), ":0");
}

#[test]
fn c10_what_comes_due_for_many_keys_at_once() {
    let count = many(2_000, 100_000);
    let server = Server::start(&[]);
    let mut client = server.connect();
    let time = Duration::from_millis(many(5, 2_000) as u64);
    let some_time = || std::thread::sleep(time); // what is measured goes on meanwhile
    let add = |n| words(&format!("XADD stream:{n} IDMP p x * f v"));
    fill(&mut client, count, add, |_, _| ());
    beside_pings(&server, &format!("{count} streams with an idempotent ID"), some_time);
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let at_ms = at_ms + many(500, 10_000) as u128;
    let expire = |n| words(&format!("PEXPIREAT stream:{n} {at_ms}"));
    fill(&mut client, count, expire, |_, reply| assert_eq!(reply.to_string(), ":1"));
    let mut other = server.connect();
    beside_pings(&server, &format!("{count} keys that expire together"), || {
        crate::wait_until("all have expired", || other.ask("DBSIZE") == ":0");
    });
}

#[test]
fn c10_one_stream_with_many_entries() {
    let count = many(20_000, 100_000_000);
    let server = Server::start(&["--appendonly", "no", "--save", ""]);
    let mut client = server.connect();
    let before = server.resident_bytes();
    add_entries(&mut client, "s", count);
    let each = (server.resident_bytes() - before) as f64 / count as f64;
    print(&format!("{count} entries of one stream: {each:.1} bytes each"));
    let middle = count / 2;
    let entry = |n: usize| format!("[[{n}-0 [field value:{:016}]]]", n - 1);
    beside_pings(&server, "commands on it", || {
        let mut ask = |command: String| timed(&mut client, &command);
        assert_eq!(ask(format!("XRANGE s {middle} + COUNT 1")).to_string(), entry(middle));
        assert_eq!(ask(format!("XREVRANGE s {middle} - COUNT 1")).to_string(), entry(middle));
        assert_eq!(ask("XREVRANGE s + - COUNT 1".into()).to_string(), entry(count));
        let reply = ask(format!("XREAD COUNT 1 STREAMS s {middle}"));
        assert_eq!(reply.to_string(), format!("[[s {}]]", entry(middle + 1)));
        assert_eq!(ask(format!("XGROUP CREATE s g {middle}")).to_string(), "+OK");
        let reply = ask("XREADGROUP GROUP g c COUNT 1 STREAMS s >".into());
        assert_eq!(reply.to_string(), format!("[[s {}]]", entry(middle + 1)));
        assert_eq!(ask(format!("XACK s g {}-0", middle + 1)).to_string(), ":1");
        assert_eq!(ask(format!("XDEL s {middle}-0 {}-0", middle / 2)).to_string(), ":2");
        ask("XINFO STREAM s".into());
        ask("XINFO STREAM s FULL COUNT 10".into());
        ask("XINFO GROUPS s".into());
        assert_eq!(ask("XTRIM s MAXLEN 1000000000".into()).to_string(), ":0");
        assert_eq!(ask("XTRIM s MINID 1000".into()).to_string(), ":999");
        assert_eq!(ask(format!("XGROUP SETID s g {}", middle + 7)).to_string(), "+OK");
        assert_eq!(ask("XLEN s".into()).to_string(), format!(":{}", count - 1001));
    });
    beside_pings(&server, "XTRIM by half", || {
        timed(&mut client, &format!("XTRIM s MINID {middle}"));
    });
    beside_pings(&server, "COPY and DEL", || {
        timed(&mut client, "XTRIM s MAXLEN 1000000");
        timed(&mut client, "COPY s t");
        timed(&mut client, "DEL s t");
    });
}

#[test]
fn c12_much_is_removed_at_once() {
    let count = many(20_000, 10_000_000);
    let server = Server::start(&[]);
    let mut client = server.connect();
    add_entries(&mut client, "trimmed", count);
    add_entries(&mut client, "deleted", count);
    print(&format!("{count} entries removed"));
    beside_pings(&server, "XTRIM by half", || {
        let reply = timed(&mut client, &format!("XTRIM trimmed MAXLEN {}", count / 2));
        assert_eq!(reply.to_string(), format!(":{}", count - count / 2));
    });
    beside_pings(&server, "XTRIM of all", || drop(timed(&mut client, "XTRIM trimmed MAXLEN 0")));
    beside_pings(&server, "DEL", || drop(timed(&mut client, "DEL deleted")));
    assert_eq!(client.ask("XLEN trimmed"), ":0");
}

#[test]
fn c01_many_idle_clients() {
    let count = many(200, 10_000);
    let server = Server::start(&["--maxclients", &(count + 10).to_string()]);
    let mut idle: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    idle.iter_mut().for_each(|idle| assert_eq!(idle.ask("PING"), "+PONG"));
    let before = server.resident_bytes();
    let time = Duration::from_millis(many(5, 2_000) as u64);
    let some_time = || std::thread::sleep(time); // what is measured goes on meanwhile
    beside_pings(&server, "10 idle clients", some_time);
    idle.extend((10..count).map(|_| server.connect()));
    idle.iter_mut().for_each(|idle| assert_eq!(idle.ask("PING"), "+PONG"));
    beside_pings(&server, &format!("{count} idle clients"), some_time);
    let each = server.resident_bytes().saturating_sub(before) / (count - 10) as u64;
    print(&format!("{count} idle clients: {each} bytes each"));
    assert!(!is_large() || each <= 4096, "{each}");
    idle.iter_mut().for_each(|idle| assert_eq!(idle.ask("PING"), "+PONG"));
}

#[test]
fn c02_more_clients_than_are_allowed() {
    let count = many(200, 9_000);
    let server = Server::start(&["--maxclients", &count.to_string()]);
    let mut client = server.connect();
    let mut all: Vec<Client> = (1..count).map(|_| server.connect()).collect();
    all.iter_mut().for_each(|one| assert_eq!(one.ask("PING"), "+PONG"));
    let text = format!("connected_clients:{count}\r\n");
    crate::wait_until("the first look at the server has left", || {
        client.ask("INFO clients").contains(&text)
    });
    for _ in 0..1_000 {
        let reply = server.connect().try_value().map(|value| value.to_string());
        assert_eq!(reply.unwrap(), "-ERR max number of clients reached");
    }
    all.iter_mut().for_each(|one| assert_eq!(one.ask("PING"), "+PONG"));
    assert!(client.ask("INFO stats").contains("rejected_connections:1000\r\n"));
    drop(all);
    crate::wait_until("there is room again", || {
        server.connect().try_ask("PING").is_some_and(|reply| reply == "+PONG")
    });
}

/// Payloads of so many bytes count; of less, what a server needs for anything would be seen.
const COUNTED_BYTES: usize = 4 << 20;

/// Runs `work` and compares how much more memory the server needs meanwhile with what it is sent.
fn beside_payload(server: &Server, what: &str, payload: usize, work: impl FnOnce()) {
    let before = server.resident_bytes();
    take_peak(server);
    work();
    let more = take_peak(server).saturating_sub(before);
    let times = more as f64 / payload as f64;
    compare(&format!("C5 {what}"), times, 2.0, "bytes for each byte sent");
    assert!(is_large() || payload < COUNTED_BYTES || times <= 2.0, "{what}: {times:.3}");
}

#[test]
fn c05_a_burst_of_requests_before_the_first_reply_is_read() {
    let count = many(20_000, 1_000_000);
    let server = Server::start(&[]);
    let mut client = server.connect();
    let bytes: Vec<u8> =
        (1..=count).flat_map(|n| request(&["XADD", "s", &format!("{n}-0"), "f", "v"])).collect();
    let mut writer = client.writing_half();
    let what = format!("{count} requests in one burst");
    beside_payload(&server, &what, bytes.len(), || {
        std::thread::scope(|scope| {
            // Replies fill the socket, and the server stops reading: someone else must write.
            scope.spawn(|| writer.send(&bytes));
            for n in 1..=count {
                assert_eq!(client.value().text(), format!("{n}-0"));
            }
        });
    });
    assert_eq!(client.ask("XLEN s"), format!(":{count}"));
}

/// What one request has, of the arguments that `args` makes of numbers.
fn numbered(command: &str, numbers: std::ops::Range<usize>, arg: &str) -> Vec<Vec<u8>> {
    let head = command.split(' ').map(str::to_owned);
    head.chain(numbers.map(|n| arg.replace('#', &n.to_string()))).map(String::into_bytes).collect()
}

/// A request that ends in a value of `len` bytes, which are not all the same.
fn with_value(command: &str, len: usize) -> Vec<Vec<u8>> {
    let value = (0..len).map(|n| b'a' + u8::try_from(n % 23).unwrap());
    let head = command.split(' ').map(|word| word.as_bytes().to_vec());
    head.chain([value.collect()]).collect()
}

#[test]
fn c05_what_is_large_lies_in_memory_once_and_in_the_log() {
    let (many_args, large) = (many(400_000, 500_000), many(8 << 20, 512 << 20));
    let mut pairs = numbered("XADD s 1-0", 0..0, "");
    (0..many_args).for_each(|n| pairs.extend([format!("f{n}"), format!("v{n}")].map(Vec::from)));
    let cases = [
        ("XADD of many pairs", pairs, "1-0"),
        ("XADD of a large value", with_value("XADD s 1-0 f", large), "1-0"),
        ("XADD of a value of 16 MiB", with_value("XADD s 1-0 f", many(5, 16) << 20), "1-0"),
        ("XDEL", numbered("XDEL s", 2..many_args, "#-0"), ":0"),
        ("XACK", numbered("XACK s g", 2..many_args, "#-0"), ":0"),
        ("XCLAIM", numbered("XCLAIM s g c 0", 2..many_args, "#-0"), "[]"),
        ("DEL", numbered("DEL", 2..many_args, "key:#"), ":0"),
        ("SET", with_value("SET k", large), "+OK"),
        ("PSETEX", with_value("PSETEX k 100000000", large), "+OK"),
        ("GETSET", with_value("GETSET k", large), "nil"),
    ];
    for (n, (what, args, answer)) in cases.into_iter().enumerate() {
        let server = Server::start(&["--appendfsync", "always"]);
        let mut client = server.connect();
        client.ask("XGROUP CREATE s g 0 MKSTREAM");
        let bytes = request(&args);
        beside_payload(&server, what, bytes.len(), || {
            client.send(&bytes);
            assert_eq!(client.reply(), answer, "{what}");
        });
        // What comes after it goes elsewhere.
        client.ask("XADD s 2-0 f v");
        let is_there = client.call(&["DEBUG", "DIGEST"]).to_string();
        let read = |client: &mut Client| match &args[0][..] {
            b"XADD" => {
                let reply = client.call(&words("XREVRANGE s + - COUNT 2"));
                let fields = reply.array()[1].array()[1].array();
                let sent = args[3..].iter().map(|arg| Value::Bulk(arg.clone()));
                assert!(fields.iter().cloned().eq(sent), "{what}");
            }
            b"SET" | b"PSETEX" | b"GETSET" => {
                assert!(client.call(&words("GET k")) == Value::Bulk(args.last().unwrap().clone()));
            }
            _ => {}
        };
        read(&mut client);
        // The others come back from the log.
        let save = |client: &mut Client| {
            crate::wait_until("a snapshot is taken", || client.ask("SAVE") == "+OK");
        };
        if n % 2 == 1 {
            save(&mut client);
        }
        let server = server.kill().start(&[]);
        let mut client = server.connect();
        assert!(client.call(&["DEBUG", "DIGEST"]).to_string() == is_there, "{what}");
        read(&mut client);
        client.ask("XDEL s 1-0");
        let is_there = client.call(&["DEBUG", "DIGEST"]).to_string();
        save(&mut client);
        let server = server.kill().start(&[]);
        assert!(server.connect().call(&["DEBUG", "DIGEST"]).to_string() == is_there, "{what}");
    }
}

#[test]
fn c05_what_is_large_arrives_in_transactions_and_at_other_shards() {
    let server = Server::start(&["--shards", "4"]);
    let mut client = server.connect();
    let large = 3 << 20;
    let mut digest = client.ask("DEBUG DIGEST");
    for begin in ["PING", "MULTI"] {
        client.ask(begin);
        let mut bytes = Vec::new();
        for n in 0..8 {
            bytes.extend(request(&with_value(&format!("XADD s{n} * small x large"), large)));
            bytes.extend(request(&with_value(&format!("SET k{n}"), large)));
            bytes.extend(request(&["APPEND", &format!("k{n}"), "end"]));
        }
        client.send(&bytes);
        (0..24).for_each(|_| assert!(!matches!(client.value(), Value::Error(_))));
        if begin == "MULTI" {
            assert_eq!(client.call(&["EXEC"]).array().len(), 24);
        }
        let now = client.ask("DEBUG DIGEST");
        assert!(now != std::mem::replace(&mut digest, now.clone()));
    }
    assert_eq!(client.ask("STRLEN k3"), format!(":{}", large + 3));
    let server = server.kill().start(&["--shards", "3"]);
    assert_eq!(server.connect().ask("DEBUG DIGEST"), digest);
}

#[test]
fn c05_what_is_longer_than_it_may_be_is_refused() {
    let server = Server::start(&[]);
    // One byte more is a protocol error, before any of them is sent.
    let mut other = server.connect();
    other.send(b"*2\r\n$4\r\nECHO\r\n$536870913\r\n");
    assert_eq!(other.reply(), "-ERR Protocol error: invalid bulk length");
    assert!(other.is_closed());
    // An inline line that does not end.
    let mut client = server.connect();
    client.send(&vec![b'x'; 70_000]);
    assert_eq!(client.reply(), "-ERR Protocol error: too big inline request");
    assert!(client.is_closed());
}
