//! What an operator has for a directory: `millstream check`, what can be saved of a damaged one,
//! and what clients and the log are told while much is being loaded.

use crate::inject::can_start;
use crate::{Client, Place, Server, Value, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `millstream check`.
fn check(args: &[&Path]) -> (Output, String) {
    let built = env!("CARGO_BIN_EXE_millstream");
    let program = std::env::var("MILLSTREAM_BIN").unwrap_or_else(|_| built.to_owned());
    let mut words = vec![PathBuf::from("check"), args[0].to_owned()];
    if let [_, new] = args {
        words.extend(["--salvage".into(), new.to_path_buf()]);
    }
    let output = Command::new(program).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output, text)
}

/// Every file of a directory.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Changes a byte of a file, in the last place that has `word`.
fn damage(path: &Path, word: &str) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(word.len()).rposition(|found| found == word.as_bytes());
    bytes[at.unwrap()] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn check_tells_of_every_file_and_salvage_saves_what_is_proven_and_names_the_rest() {
    let server = Server::start(&["--appendfsync", "always"]);
    let mut client = server.connect();
    for n in 1..=5 {
        assert_eq!(client.ask(&format!("XADD s {n}-1 f v")), format!("{n}-1"));
    }
    client.ask("SET text saved");
    assert_eq!(client.ask("SAVE"), "+OK");
    client.ask("XADD s 6-1 f here");
    client.ask("SET other damaged");
    for n in 7..=9 {
        client.ask(&format!("XADD s {n}-1 f v"));
    }
    client.ask("XGROUP CREATE s readers 0");
    client.ask("XREADGROUP GROUP readers c COUNT 2 STREAMS s >");
    client.ask("SELECT 3");
    client.ask("SET later x");
    let place = server.kill();
    let before = files(&place.data());
    let (output, text) = check(&[&place.data()]);
    assert!(output.status.success(), "{text}");
    for path in before.keys() {
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(text.contains(&format!("ok   {name}: ")), "{name}: {text}");
    }
    assert!(text.contains("A start succeeds: from the snapshot at"), "{text}");
    assert_eq!(files(&place.data()), before, "looking changes nothing");

    damage(place.segments().last().unwrap(), "damaged");
    let before = files(&place.data());
    let (output, text) = check(&[&place.data()]);
    assert!(!output.status.success() && text.contains("BAD "), "{text}");
    assert!(text.contains("A start is refused: "), "{text}");
    let saved = Place::new();
    let (output, text) = check(&[&place.data(), &saved.data()]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Saved 2 keys to "), "{text}");
    let names = [
        "Missing: the log from position ",
        "Missing: database 0, key 's': ",
        ", 3 entries added from 7-1 to 9-1, group 'readers'",
        "Missing: database 3, key 'later': 1 changes",
    ];
    for name in names {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert_eq!(files(&place.data()), before, "saving changes nothing");
    // What is there already is not written over.
    let (output, text) = check(&[&place.data(), &saved.data()]);
    assert!(!output.status.success() && text.contains("new directory"), "{text}");
    let server = saved.start(&["--shards", "2"]);
    let mut client = server.connect();
    assert_eq!(client.ask("GET text"), "saved");
    let entries = client.call(&["XRANGE", "s", "-", "+"]);
    let ids: Vec<String> = entries.array().iter().map(|entry| entry.array()[0].text()).collect();
    assert_eq!(ids, ["1-1", "2-1", "3-1", "4-1", "5-1", "6-1"]);
}

#[test]
fn a_stream_that_a_damaged_section_cuts_is_named_and_what_stands_before_it_is_saved() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    // More than a section has.
    for n in 1..=40_u32 {
        let value = vec![b'a' + (n % 26).to_le_bytes()[0]; 60_000];
        let id = format!("{n}-1");
        client.call(&[b"XADD", &b"large"[..], id.as_bytes(), b"f", &value]);
    }
    client.call(&["XADD", "large", "41-1", "f", "the end of it"]);
    assert_eq!(client.ask("SAVE"), "+OK");
    let place = server.kill();
    let is_snapshot = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "snap");
    let snapshot = files(&place.data()).into_keys().find(is_snapshot).unwrap();
    damage(&snapshot, "the end of it");
    place.segments().iter().for_each(|segment| fs::remove_file(segment).unwrap());
    let (output, text) = check(&[&place.data()]);
    assert!(!output.status.success() && text.contains("A start is refused: "), "{text}");
    let saved = Place::new();
    let (_, text) = check(&[&place.data(), &saved.data()]);
    assert!(text.contains("Missing: database 0, key 'large': "), "{text}");
}

#[test]
fn clients_get_loading_and_how_far_it_is_while_the_log_tells_it_too() {
    if !can_start("loading") {
        return;
    }
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("DEBUG POPULATE 30000 key 200"), "+OK");
    assert_eq!(client.ask("SAVE"), "+OK");
    // Frames enough, and several reads of a mebibyte.
    let value = "x".repeat(800);
    for n in 1..=4_300 {
        client.call(&["XADD", "s", &format!("{n}-1"), "f", &value]);
    }
    let place = server.kill();
    place.clear_log();
    let slow = ["-e", "trace=pread64", "-e", "inject=pread64:delay_enter=700000:when=7+"];
    let wrapper = [&["strace", "-D", "-f", "-q", "-o", "/dev/null"][..], &slow].concat();
    std::thread::scope(|scope| {
        let started = scope.spawn(|| place.try_start_under(&wrapper, &[]));
        let mut found = None;
        wait_until("somebody is told that it loads", || {
            let client = Client::try_connect(&place.socket()).ok();
            let reply = client.and_then(|mut client| {
                Some((client.try_ask("PING")?, client.try_ask("XLEN s")?, client.try_ask("INFO")?))
            });
            let tells = |reply: &(String, String, String)| reply.2.contains("loading:1\r\n");
            found = reply.filter(tells);
            found.is_some() || started.is_finished()
        });
        let (ping, xlen, info) = found.unwrap();
        let loading = "-LOADING Redis is loading the dataset in memory";
        assert_eq!((&*ping, &*xlen), (loading, loading));
        assert!(info.contains("loading_loaded_perc:"), "{info}");
        let server = started.join().unwrap().unwrap();
        let mut client = server.connect();
        assert_eq!(client.ask("XLEN s"), ":4300");
        assert_eq!(client.call(&["DBSIZE"]), Value::Integer(30_001));
        assert!(client.ask("INFO persistence").contains("loading:0\r\n"));
    });
    let log = place.log();
    // With processors enough the snapshot is there before anybody wonders.
    for line in ["loaded 30000 keys from the snapshot", "replaying the log: position "] {
        assert!(log.contains(line), "{line}: {log}");
    }
}
