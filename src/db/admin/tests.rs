//! Commands of the whole database, on a database of several shards.

use super::*;
use crate::command::{OwnedRequest, Protocol, table};
use crate::db::Db;
use crate::db::home::{Home, ShardSet};
use crate::testing::FaultDisk;
use std::rc::Rc;
use std::sync::Arc;

/// A database of which each command has all shards in hand.
pub(in crate::db) struct World {
    pub(in crate::db) db: Db,
    caller: Caller,
}

fn world() -> World {
    World::open(&FaultDisk::new(1), &[("appendonly", "no"), ("save", "")]).unwrap()
}

impl World {
    /// Opens the database on a disk, with two shards and these settings.
    pub(in crate::db) fn open(
        disk: &FaultDisk,
        settings: &[(&str, &str)],
    ) -> Result<World, crate::error::Error> {
        let mut config = Config::default();
        let fixed = [("shards", "2"), ("enable-debug-command", "yes"), ("dir", "/data")];
        for (name, value) in fixed.iter().chain(settings) {
            config.apply(name, value).unwrap();
        }
        let caller = Caller { db: 0, local: true, in_transaction: false };
        Ok(World { db: Db::open_on(config, Arc::new(disk.clone()))?, caller })
    }

    /// Runs a command and gives the bytes of its reply, or what is left to do.
    pub(in crate::db) fn run(&self, words: &str) -> String {
        self.try_run(words).unwrap()
    }

    /// [`World::run`], which fails if the log does. Waits until the reply may leave.
    pub(in crate::db) fn try_run(&self, words: &str) -> Result<String, crate::error::Error> {
        let request = OwnedRequest::new(words.split(' ').map(str::as_bytes));
        let (core, caller) = (self.db.core().clone(), self.caller);
        let (tell, told) = std::sync::mpsc::channel();
        let visit = move |home: &Rc<Home>| {
            let home = home.clone();
            tokio::task::spawn_local(async move {
                let all = (0..core.shards()).fold(ShardSet::One(0), |mut set, shard| {
                    set.add(shard);
                    set
                });
                let work = move |turn: &mut Turn<'_, '_>| run_one(&core, turn, &request, &caller);
                tell.send(home.visit(&all, work).await).unwrap();
            });
        };
        self.db.core().call(0, visit).unwrap();
        let (reply, position) = told.recv().unwrap()?;
        while !self.db.core().is_released(position) && !self.db.core().is_log_broken() {
            std::thread::yield_now();
        }
        Ok(reply)
    }

    /// Runs commands one after the other in one turn.
    pub(in crate::db) fn in_one_turn(
        &self,
        commands: &[Vec<&str>],
    ) -> Result<Vec<String>, crate::error::Error> {
        let requests: Vec<OwnedRequest> = commands
            .iter()
            .map(|words| OwnedRequest::new(words.iter().map(|word| word.as_bytes())))
            .collect();
        let (core, caller) = (self.db.core().clone(), self.caller);
        let (tell, told) = std::sync::mpsc::channel();
        let visit = move |home: &Rc<Home>| {
            let home = home.clone();
            tokio::task::spawn_local(async move {
                let all = ShardSet::Several((0..core.shards()).collect());
                let work = move |turn: &mut Turn<'_, '_>| {
                    let run = |request| run_one(&core, turn, request, &caller);
                    requests.iter().map(run).collect::<Vec<_>>()
                };
                tell.send(home.visit(&all, work).await).unwrap();
            });
        };
        self.db.core().call(0, visit).unwrap();
        told.recv().unwrap().map(|(replies, _)| replies)
    }

    /// The value of a field of INFO.
    pub(in crate::db) fn info(&self, field: &str) -> String {
        let text = self.run("INFO everything");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap_or_else(|| panic!("{field} is not there")).to_owned()
    }
}

fn run_one(
    core: &Arc<Core>,
    turn: &mut Turn<'_, '_>,
    request: &OwnedRequest,
    caller: &Caller,
) -> String {
    let mut buffer = Vec::new();
    let mut out = Out::new(&mut buffer, Protocol::Resp2);
    let request = request.request();
    let ran = table::lookup(&request).and_then(|row| match row.scope {
        table::Scope::Key => turn.run(row, &request, caller.db, &mut out).map(|_| After::Nothing),
        table::Scope::Database | table::Scope::Connection => {
            run(core, turn, row, &request, caller, &mut out)
        }
    });
    match ran {
        Ok(After::Nothing) => {}
        Ok(after) => return format!("{after:?}"),
        Err(error) => out.error(&error),
    }
    String::from_utf8_lossy(&buffer).into_owned()
}

#[test]
fn info_adds_up_the_shards() {
    let world = world();
    for n in 0..20 {
        world.run(&format!("XADD s{n} 1-1 f v"));
    }
    world.run("SET x 1 PX 99000");
    assert!(world.info("db0").starts_with("keys=21,expires=1,avg_ttl=9"));
    assert_eq!(world.info("rdb_changes_since_last_save"), "21");
    assert_eq!(world.info("redis_version"), "8.10.1");
    assert_eq!(world.info("run_id").len(), 40);
    assert_eq!(world.run("DBSIZE"), ":21\r\n");
    assert_eq!(world.run("SAVE"), "+OK\r\n");
    assert_eq!(world.info("rdb_changes_since_last_save"), "0");
    let section = world.run("INFO CLUSTER nosuch");
    assert_eq!(section, "$30\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n");
    assert!(!world.run("INFO").contains("# Commandstats"));
    world.run("CONFIG SET compat-profile valkey");
    assert_eq!(world.info("redis_version"), "7.2.4");
}

#[test]
fn what_a_reload_must_keep_is_kept() {
    let world = world();
    assert_eq!(world.run("DEBUG DIGEST"), format!("+{}\r\n", "0".repeat(40)));
    for command in [
        "XADD s 1-1 f v",
        "XADD s 2-1 f v",
        "XADD s IDMP p i * f v",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g c COUNT 2 STREAMS s >",
        "XDEL s 2-1",
        "SET x y PX 100000",
    ] {
        assert!(!world.run(command).starts_with('-'), "{command}");
    }
    let (digest, full) = (world.run("DEBUG DIGEST"), world.run("XINFO STREAM s FULL"));
    for how in ["RELOAD NOSAVE", "LOADAOF"] {
        assert_eq!(world.run(&format!("DEBUG {how}")), "+OK\r\n");
        assert_eq!(world.run("DEBUG DIGEST"), digest);
        assert_eq!(world.run("XINFO STREAM s FULL"), full);
        assert_eq!(world.info("rdb_changes_since_last_save"), "0");
    }
    world.run("COPY s t");
    let values = world.run("DEBUG DIGEST-VALUE s t nosuch");
    let values: Vec<&str> = values.lines().collect();
    assert_eq!(values[1], values[2]);
    assert_ne!(world.run("DEBUG DIGEST"), digest);
    assert!(world.run("DEBUG RELOAD FOO").starts_with("-ERR DEBUG RELOAD only"));
}

#[test]
fn settings_change_for_all_shards_or_not_at_all() {
    let world = world();
    assert_eq!(world.run("CONFIG SET stream-node-max-entries 10 hz 20"), "+OK\r\n");
    let get = world.run("CONFIG GET stream-node-max-entries");
    assert_eq!(get, "*2\r\n$23\r\nstream-node-max-entries\r\n$2\r\n10\r\n");
    for n in 0..8 {
        for id in 1..=35 {
            world.run(&format!("XADD s{n} {id} f v"));
        }
        // Whole blocks of ten go.
        assert_eq!(world.run(&format!("XTRIM s{n} MAXLEN ~ 20")), ":10\r\n");
    }
    assert_eq!(world.run("CONFIG SET appendonly no"), "+OK\r\n");
    assert!(world.run("CONFIG SET hz 30 port 1").starts_with("-ERR CONFIG SET failed"));
    assert!(world.run("CONFIG GET hz").contains("20"));
    assert_eq!(world.run("CONFIG SET a b c"), "-ERR syntax error\r\n");
    let refusal = world.run("CONFIG REWRITE");
    assert_eq!(refusal, "-ERR The server is running without a config file\r\n");
}

#[test]
fn a_reset_sets_the_counters_of_keys_back() {
    let world = world();
    world.run("GET nosuch");
    world.run("SET x y PX 1");
    while world.run("DBSIZE") != ":0\r\n" {
        world.run("EXISTS x");
    }
    assert_ne!(world.info("keyspace_misses"), "0");
    assert_eq!(world.info("expired_keys"), "1");
    assert_eq!(world.run("DEBUG SET-ACTIVE-EXPIRE 0"), "+OK\r\n");
    world.run("SET x y PX 1");
    while world.run("EXISTS x") != ":0\r\n" {}
    assert_eq!(world.info("expired_keys"), "2");
    assert!(["0", "1"].contains(&&*world.info("expired_keys_active")));
    assert_eq!(world.run("CONFIG RESETSTAT"), "+OK\r\n");
    assert_eq!(world.info("keyspace_misses"), "0");
    assert_eq!(world.info("expired_keys"), "0");
    assert_eq!(world.info("expired_keys_active"), "0");
}

#[test]
fn every_key_may_be_the_random_one() {
    let world = world();
    let keys = ["a", "b", "c"];
    keys.iter().for_each(|key| drop(world.run(&format!("SET {key} x"))));
    for key in keys {
        // In vain a thousand times: once in 10^176 runs.
        let mut answers = (0..1000).map(|_| world.run("RANDOMKEY"));
        assert!(answers.any(|answer| answer == format!("$1\r\n{key}\r\n")), "never {key}");
    }
}

#[test]
fn debug_is_refused_to_those_it_is_not_for() {
    let mut config = Config::default();
    assert!(allowed(&config, Name::Info, false).is_ok());
    assert!(allowed(&config, Name::Debug, true).is_err());
    config.apply("enable-debug-command", "local").unwrap();
    assert!(allowed(&config, Name::Debug, true).is_ok());
    assert!(allowed(&config, Name::Debug, false).is_err());
}

#[test]
fn every_command_of_the_server_has_a_place() {
    let world = world();
    for row in table::TABLE.iter().filter(|row| row.scope == table::Scope::Database) {
        let mut words = row.full_name().replace('|', " ");
        while words.split(' ').count() < usize::try_from(row.arity.unsigned_abs()).unwrap() {
            words.push_str(" 0");
        }
        let reply = world.run(&words);
        assert!(!reply.is_empty(), "{words}");
    }
    let nosave = Shutdown { save: Some(false), now: true, force: false };
    assert_eq!(world.run("SHUTDOWN NOSAVE NOW"), format!("{:?}", After::Shutdown(nosave)));
    assert_eq!(world.run("SHUTDOWN SAVE NOSAVE"), "-ERR syntax error\r\n");
    assert_eq!(world.run("SHUTDOWN ABORT"), "-ERR No shutdown in progress.\r\n");
    assert_eq!(world.run("PUBSUB NUMSUB a"), "*2\r\n$1\r\na\r\n:0\r\n");
    assert_eq!(world.run("DEBUG OBJECT nosuch"), "-ERR no such key\r\n");
}

#[test]
fn the_slow_log_keeps_what_it_is_told_to_keep() {
    let world = world();
    world.run("CONFIG SET slowlog-max-len 2 slowlog-entry-max-argc 3");
    let (core, long) = (world.db.core(), "x".repeat(130));
    let request = OwnedRequest::new(["XADD", &long, "*", "f", "v"].map(str::as_bytes));
    let (log, config) = (&core.stats.slow_log, core.config());
    assert!(!slowlog::SlowLog::wants(&config, 9_999_999));
    for _ in 0..3 {
        log.record(&config, core.now(), 10_000_000, &request.request(), "127.0.0.1:1", b"n");
    }
    assert_eq!(world.run("SLOWLOG LEN"), ":2\r\n");
    let reply = world.run("SLOWLOG GET -1");
    assert!(reply.starts_with("*2\r\n*7\r\n:2\r\n"), "{reply}");
    assert!(reply.contains("... (2 more bytes)") && reply.contains("... (3 more arguments)"));
    assert!(reply.ends_with(":5\r\n"));
    assert!(world.run("SLOWLOG GET -2").starts_with("-ERR count should be"));
    world.run("SLOWLOG RESET");
    assert_eq!(world.run("SLOWLOG GET"), "*0\r\n");
}

#[test]
fn delays_are_kept_by_kind() {
    let world = world();
    let core = world.db.core();
    let note = |seconds: u64, ms: u64| {
        let at = crate::stream::UnixMs(seconds * 1000);
        core.stats.latency.record(&core.config(), "command", at, ms * 1_000_000);
    };
    note(1, 500);
    assert_eq!(world.run("LATENCY LATEST"), "*0\r\n");
    world.run("CONFIG SET latency-monitor-threshold 200");
    for (seconds, ms) in [(1, 500), (1, 300), (2, 199), (3, 400)] {
        note(seconds, ms);
    }
    assert_eq!(world.run("LATENCY LATEST"), "*1\r\n*4\r\n$7\r\ncommand\r\n:3\r\n:400\r\n:500\r\n");
    assert_eq!(
        world.run("LATENCY HISTORY command"),
        "*2\r\n*2\r\n:1\r\n:500\r\n*2\r\n:3\r\n:400\r\n"
    );
    assert!(world.run("LATENCY GRAPH command").contains("high 500 ms, low 400 ms"));
    assert!(world.run("LATENCY GRAPH foo").starts_with("-ERR No samples available"));
    assert_eq!(world.run("LATENCY RESET"), ":1\r\n");
    core.stats.thread(1).command(Name::XAdd).ran(1, 3000, true);
    let histogram = world.run("LATENCY HISTOGRAM xadd xlen");
    assert!(histogram.ends_with("*2\r\n:4\r\n:1\r\n"), "{histogram}");
}

/// Notes where the log is when it hears of something.
struct Ears {
    core: Arc<Core>,
    heard: std::sync::Mutex<Vec<(String, crate::persist::Position)>>,
}

impl crate::pubsub::Sink for Ears {
    fn push(&self, message: &crate::pubsub::Message) {
        let text = String::from_utf8_lossy(&message.resp2()).into_owned();
        self.heard.lock().unwrap().push((text, self.core.aof().unwrap().end()));
    }
}

#[test]
fn nobody_hears_of_what_is_not_in_the_log_yet() {
    let settings = [("appendonly", "yes"), ("notify-keyspace-events", "AKE")];
    let world = World::open(&FaultDisk::new(1), &settings).unwrap();
    let core = world.db.core().clone();
    let ears = Arc::new(Ears { core: core.clone(), heard: std::sync::Mutex::default() });
    let sink: Arc<dyn crate::pubsub::Sink> = ears.clone();
    core.pubsub.subscribe(Kind::Channel, 1, &sink, b"c");
    core.pubsub.subscribe(Kind::Pattern, 1, &sink, b"[c_]*");
    core.pubsub.subscribe(Kind::Shard, 1, &sink, b"c");
    let before = core.aof().unwrap().end();
    let commands = ["SET k 1", "PUBLISH c one", "SPUBLISH c two", "SET k 2", "PUBLISH c three"];
    let commands = commands.map(|words| words.split(' ').collect::<Vec<_>>());
    let replies = world.in_one_turn(&commands).unwrap();
    assert_eq!(replies, ["+OK\r\n", ":2\r\n", ":1\r\n", "+OK\r\n", ":2\r\n"]);
    let heard = std::mem::take(&mut *ears.heard.lock().unwrap());
    let end = core.aof().unwrap().end();
    assert!(end > before && heard.iter().all(|(_, at)| *at == end), "{heard:?}");
    // In the order in which it happened.
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    let told: Vec<String> = heard.iter().map(|(text, _)| last(text)).collect();
    let set = ["set", "k"];
    let expected = [&set[..], &["one", "one", "two"], &set, &["three", "three"]].concat();
    assert_eq!(told, expected);
    // What tells of nothing that changed is heard at once.
    assert_eq!(world.run("PUBLISH c four"), ":2\r\n");
    assert_eq!(ears.heard.lock().unwrap().len(), 2);
}
