//! What a user meets: defaults, command line, files, CONFIG GET, SET and REWRITE.

use std::path::Path;

use super::*;

fn run(args: &[&str]) -> Result<Config, String> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    match Config::from_args(&args, || Ok("timeout 7\n".to_owned())) {
        Ok(Invocation::Run(config)) => Ok(*config),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
    let pairs: Vec<(&[u8], &[u8])> =
        pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    config.set(&pairs, true).map_err(|error| error.to_string())
}

fn get(config: &Config, pattern: &str) -> Vec<String> {
    config
        .get(&[pattern.as_bytes()])
        .into_iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect()
}

#[test]
fn every_default_is_in_range_and_comes_back() {
    let config = Config::default();
    assert_eq!(config.check(), Ok(()));
    let mut names = BTreeSet::new();
    for setting in Setting::all() {
        assert!(names.insert(setting.name), "{} is there twice", setting.name);
        let mut copy = config.clone();
        copy.apply(setting.name, &config.text(setting)).unwrap();
        assert_eq!(copy.text(setting), config.text(setting), "{}", setting.name);
        assert_eq!(setting.has_effect(), !setting.about.is_empty());
    }
    for (old, new) in ALIASES {
        assert!(!names.contains(old));
        assert!(names.contains(new), "{new}");
    }
    assert_eq!(config.without_effect().count(), 0);
}

#[test]
fn persistence_is_on_unless_saving_is_switched_off_and_nothing_else_said() {
    let config = run(&[]).unwrap();
    assert!(config.appendonly);
    assert_eq!(config.appendfsync, Fsync::EverySec);
    assert_eq!(config.save, [SavePoint { seconds: 3600, changes: 1 }]);
    assert!(config.dir.is_absolute() && config.dir.ends_with("data"));
    assert!(!run(&["--save", ""]).unwrap().appendonly);
    assert!(!run(&["--save", "--port", "1"]).unwrap().appendonly);
    assert!(run(&["--save", "", "--appendonly", "yes"]).unwrap().appendonly);
    assert!(run(&["--save", "", "--save", "9", "1"]).unwrap().appendonly);
    assert!(!run(&["--appendonly", "no"]).unwrap().appendonly);
}

#[test]
fn the_command_line_reads_words_and_later_ones_win() {
    let config = run(&[
        "-",
        "--port",
        "1",
        "--PORT",
        "0",
        "--save",
        "900",
        "1",
        "--save",
        "60 2",
        "--client-output-buffer-limit",
        "normal",
        "1mb",
        "2k",
        "3",
        "--slowlog-log-slower-than",
        "-1",
        "--bind",
        "127.0.0.1",
        "-::1",
        "--enable-debug-command",
        "YES",
        "--slave-read-only",
        "no",
    ])
    .unwrap();
    assert_eq!((config.port, config.timeout, config.slowlog_log_slower_than), (0, 7, -1));
    assert_eq!(get(&config, "save"), ["save 900 1 60 2"]);
    assert_eq!(config.client_output_buffer_limit.normal.hard_bytes, 1 << 20);
    assert_eq!(config.client_output_buffer_limit.pubsub.soft_seconds, 60);
    assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
    assert_eq!(config.enable_debug_command, Protected::Yes);
    assert_eq!(config.without_effect().collect::<Vec<_>>(), [("replica-read-only", "no")]);
    assert_eq!(run(&["-v"]).unwrap_err(), "Version");
    assert_eq!(run(&["--help"]).unwrap_err(), "Help");
    assert!(version().contains(" v=0."));
    assert!(help().contains("--appendfsync  (everysec; everysec, always, no)"));
}

#[test]
fn a_bad_setting_names_itself_and_its_range() {
    for (args, text, reason) in [
        (&["--databases", "17"][..], "--databases 17", "argument must be between 1 and 16"),
        (&["--databases", "0"][..], "--databases 0", "argument must be between 1 and 16"),
        (&["--timeout", "-4"][..], "--timeout -4", "argument must be between 0 and 2147483647"),
        (&["--port", "x"], "--port x", "argument couldn't be parsed into an integer"),
        (&["--port"], "--port", "wrong number of arguments"),
        (&["--port", "1", "2"], "--port 1 2", "wrong number of arguments"),
        (&["--bogus", "yes"], "--bogus yes", "Bad directive"),
        (&["-x"], "-x", "Bad directive"),
        (&["--port=1"], "--port=1", "Bad directive"),
        (&["--appendfsync", "x"], "--appendfsync x", "one of the following: everysec, always, no"),
        (&["--save", "1", "2", "3"], "--save 1 2 3", "Invalid save parameters"),
    ] {
        let error = run(args).unwrap_err();
        assert!(error.contains(&format!(">>> '{text}'\n")) && error.contains(reason), "{error}");
    }
    let error = run(&["no-such.conf"]).unwrap_err();
    assert!(error.contains("no-such.conf': No such file"), "{error}");
    let error = Config::parse_file("\n# x\nport 1 2\n", Path::new(".")).unwrap_err().to_string();
    assert!(error.contains("at line 3\n>>> 'port 1 2'\nwrong number"), "{error}");
}

#[test]
fn a_file_of_valkey_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("valkey.conf");
    std::fs::write(&file, "rdb-version-check strict\nHash-Seed \"\"\ntimeout 3\n").unwrap();
    let config = run(&[file.to_str().unwrap()]).unwrap();
    assert_eq!(config.timeout, 3);
    assert_eq!(get(&config, "rdb-version-check"), [""; 0]);
    std::fs::write(&file, "unixsocketgroup redis\n").unwrap();
    assert!(run(&[file.to_str().unwrap()]).is_err());
}

#[test]
fn files_include_others_and_keep_rules_of_users() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("b.conf", "timeout 2\nsave 100 1");
    write("a.conf", "timeout 1\nmaxclients 5\n");
    write(
        "main",
        "include *.conf\ninclude none.d/*.conf\n  requirepass \"a\\x20b\"\r\nuser bob on >x\n\
         rename-command DEBUG ''\nsave 200 2\nmaxmemory-policy allkeys-lru\nloadmodule x.so\n",
    );
    let main = folder.path().join("main");
    let config = run(&[main.to_str().unwrap(), "--maxclients", "6"]).unwrap();
    assert_eq!((config.timeout, config.maxclients), (2, 6));
    assert_eq!(config.requirepass, "a b");
    assert_eq!(config.users, [["bob", "on", ">x"]]);
    assert_eq!(config.renamed_commands, [("DEBUG".to_owned(), String::new())]);
    assert_eq!(get(&config, "save"), ["save 100 1 200 2"]);
    assert_eq!(config.without_effect().count(), 2);
    assert_eq!(config.file, Some(main.clone()));
    write("main", "include main\n");
    assert!(run(&[main.to_str().unwrap()]).unwrap_err().contains("nested too deeply"));
}

#[test]
fn get_matches_patterns_and_old_names() {
    let mut config = Config::default();
    assert_eq!(get(&config, "TIMEOUT"), ["TIMEOUT 0"]);
    assert_eq!(get(&config, "slave-prio*"), ["slave-priority 100"]);
    assert_eq!(get(&config, "*-READ-only"), ["replica-read-only yes", "slave-read-only yes"]);
    assert_eq!(config.get(&[b"timeout", b"time*", b"port"]).len(), 2);
    assert_eq!(get(&config, "nosuch"), [""; 0]);
    assert_eq!(get(&config, "proto-max-bulk-len"), ["proto-max-bulk-len 536870912"]);
    config.apply("unixsocketperm", "700").unwrap();
    assert_eq!(get(&config, "unixsocketperm"), ["unixsocketperm 700"]);
    assert_eq!(
        get(&config, "client-output-buffer-limit"),
        ["client-output-buffer-limit normal 0 0 0 slave 268435456 67108864 60 \
          pubsub 33554432 8388608 60"]
    );
    assert!(config.get(&[b"*"]).len() > 210);
}

#[test]
fn set_changes_all_or_nothing() {
    let mut config = Config::default();
    let pairs = [("maxmemory", "1KB"), ("timeout", "0"), ("notify-keyspace-events", "KEA")];
    assert_eq!(set(&mut config, &pairs), Ok(vec!["maxmemory", "notify-keyspace-events"]));
    assert_eq!(config.maxmemory, 1024);
    assert_eq!(get(&config, "notify-*"), ["notify-keyspace-events AKE"]);
    assert!(set(&mut config, &[("maxmemory", "1"), ("timeout", "x")]).is_err());
    assert_eq!(config.maxmemory, 1024);
    assert_eq!(
        set(&mut config, &[("slave-priority", "1"), ("replica-priority", "2")]).unwrap().len(),
        2
    );
    assert_eq!(get(&config, "replica-priority"), ["replica-priority 2"]);
    assert_eq!(set(&mut config, &[("save", "")]), Ok(vec!["save"]));
    assert!(config.save.is_empty() && config.appendonly);
}

#[test]
fn set_refuses_in_the_words_of_redis() {
    let mut config = Config::default();
    let before = config.clone();
    for (name, value, reason) in [
        ("databases", "4", "can't set immutable config"),
        ("dbfilename", "x", "can't set protected config"),
        ("appendonly", "maybe", "argument must be 'yes' or 'no'"),
        (
            "loglevel",
            "x",
            "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
        ),
        ("stream-idmp-duration", "0", "argument must be between 1 and 86400 inclusive"),
        (
            "stream-node-max-entries",
            "-1",
            "argument must be between 0 and 9223372036854775807 inclusive",
        ),
        ("stream-node-max-entries", "1k", "argument couldn't be parsed into an integer"),
        ("timeout", "010", "argument couldn't be parsed into an integer"),
        ("timeout", "+1", "argument couldn't be parsed into an integer"),
        ("stream-node-max-bytes", "-1", "argument must be a memory value"),
        (
            "stream-node-max-bytes",
            "9223372036854775808",
            "argument must be between 0 and 9223372036854775807 inclusive",
        ),
        ("maxmemory", "1.5mb", "argument must be a memory value"),
        ("maxmemory", "99999999999gb", "argument must be a memory value"),
        ("maxmemory-clients", "x", "argument must be a memory or percent value"),
        ("maxmemory-clients", "101%", "percentage argument must be less or equal to 100"),
        ("save", "0 1", "Invalid save parameters"),
        (
            "client-output-buffer-limit",
            "normal 1 2",
            "Wrong number of arguments in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "master 1 2 3",
            "Invalid client class specified in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "normal 1 2 -3",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        ("notify-keyspace-events", "K!", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        (
            "shutdown-on-sigterm",
            "save nosave",
            "shutdown options SAVE and NOSAVE can't be used simultaneously",
        ),
        (
            "latency-tracking-info-percentiles",
            "50 101",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
    ] {
        let text =
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}");
        assert_eq!(set(&mut config, &[(name, value)]), Err(text));
    }
    assert_eq!(config, before);
}

#[test]
fn a_refused_set_changes_nothing() {
    let mut config = Config::default();
    let before = config.clone();
    assert_eq!(
        set(&mut config, &[("timeout", "1"), ("nosuch", "2")]),
        Err("ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'".to_owned())
    );
    assert!(
        set(&mut config, &[("timeout", "1"), ("TIMEOUT", "2")])
            .unwrap_err()
            .ends_with("duplicate parameter")
    );
    assert_eq!(config, before);
    config.enable_protected_configs = Protected::Local;
    assert_eq!(set(&mut config, &[("dbfilename", "x")]), Ok(vec!["dbfilename"]));
    let error = set(&mut config, &[("dbfilename", "a/b")]).unwrap_err();
    assert!(error.ends_with(" - dbfilename can't be a path, just a filename"), "{error}");
    config.stream_idmp_maxsize = 0;
    assert!(config.check().is_err());
}

#[test]
fn a_number_beyond_what_it_may_be_becomes_the_nearest_where_redis_does_so() {
    let mut config = Config::default();
    for (value, taken) in [("0", "1"), ("7", "7"), ("501", "500"), ("2147483647", "500")] {
        set(&mut config, &[("hz", value)]).unwrap();
        assert_eq!(config.get(&[b"hz"]), [("hz".into(), taken.to_owned())]);
    }
    let error = set(&mut config, &[("hz", "-1")]).unwrap_err();
    assert!(error.ends_with("argument must be between 0 and 2147483647 inclusive"), "{error}");
}

#[test]
fn rewriting_keeps_comments_and_adds_what_changed() {
    let old = "# mine\nport 7000\nsave 900 1\nsave 800 2\n\nmaxclients 50\nuser bob on\n";
    let mut config = Config::parse_file(old, Path::new(".")).unwrap();
    set(&mut config, &[("maxclients", "60"), ("requirepass", "a \"b\\\n"), ("hz", "20")]).unwrap();
    let text = config.rewritten(old);
    let begin = "# mine\nport 7000\nsave 900 1 800 2\n\nmaxclients 60\nuser bob on\n\n\
                 # Generated by CONFIG REWRITE\n";
    assert!(text.starts_with(begin), "{text}");
    assert!(
        text.contains("requirepass \"a \\\"b\\\\\\n\"\n") && text.contains("\nhz 20\n"),
        "{text}"
    );
    let again = Config::parse_file(&text, Path::new(".")).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.rewritten(&text), text);
}

#[test]
fn words_are_split_as_redis_splits_them() {
    let split = |line: &str| {
        let words = split_args(line.as_bytes())?;
        Some(words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join("|"))
    };
    for (line, words) in [
        ("", Some("")),
        (" a  b\t\r\n", Some("a|b")),
        (r#"a "" ''"#, Some("a||")),
        (r#""\x41\xfF\n\q\"""#, Some(r#"A\xff\nq\""#)),
        (r#""\xzz" '\x41\''"#, Some(r"xzz|\\x41\'")),
        (r#"a"b c""#, Some("ab c")),
        (r#""a"b"#, None),
        (r#""a"#, None),
        (r#""a\"#, None),
        ("'a", None),
        ("'a'b", None),
        ("a\\ b", Some(r"a\\|b")),
        ("a\0b", Some("a")),
    ] {
        assert_eq!(split(line).as_deref(), words, "{line}");
    }
    let line = br#"a "\x41'\n" 'b\'' c"d e" "#;
    for cut in 0..line.len() {
        for byte in [0, b'"', b'\'', b'\\', b' ', b'x', 0xff] {
            let mut bytes = line.to_vec();
            bytes[cut] = byte;
            let _ = (split_args(&bytes), split_args(&line[..cut]));
        }
    }
}
