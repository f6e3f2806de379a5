//! Tests of the replies about commands.

use super::*;
use crate::command::reply::Protocol;
use crate::stream::fields::Span;

/// The reply to a request of these words, `\r\n` as spaces; an error as `-text`.
fn reply(protocol: Protocol, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let buffer = words.concat().into_bytes();
    let mut at = 0;
    let mut span = |word: &&str| {
        at += word.len();
        Span::new(at - word.len(), at)
    };
    let spans: Vec<Span> = words.iter().map(&mut span).collect();
    let request = Request::borrowed(&buffer, &spans);
    let mut bytes = Vec::new();
    let mut out = Out::new(&mut bytes, protocol);
    let row = table::lookup(&request).expect("a known command");
    let result = if row.name == Name::AclCat {
        acl_cat(&request, &mut out)
    } else if row.is_help() {
        help(row.name, &mut out);
        Ok(())
    } else {
        command(row, &request, &mut out)
    };
    if let Err(error) = result {
        out.error(&error);
    }
    String::from_utf8(bytes).expect("texts").replace("\r\n", " ").trim_end().to_owned()
}

#[test]
fn info_has_the_shape_of_redis() {
    assert_eq!(
        reply(Protocol::Resp3, "command info xgroup|help xadd nosuch"),
        "*3 *10 $11 xgroup|help :2 ~2 +loading +stale :0 :0 :0 ~2 +@stream +@slow ~0 ~0 ~0 *10 $4 \
        xadd :-5 ~3 +write +denyoom +fast :1 :1 :1 ~3 +@write +@stream +@fast ~1 $23 \
        nondeterministic_output ~1 %4 $5 notes $65 UPDATE instead of INSERT because of the \
        optional trimming feature $5 flags ~2 +RW +update $12 begin_search %2 $4 type $5 index $4 \
        spec %1 $5 index :1 $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :0 $7 keystep \
        :1 $5 limit :0 ~0 _"
    );
    let xread = reply(Protocol::Resp2, "command info XREAD");
    assert!(xread.contains(
        "$4 type $7 keyword $4 spec *4 $7 keyword $7 STREAMS $9 startfrom :1 $9 find_keys *4 $4 \
        type $5 range $4 spec *6 $7 lastkey :-1 $7 keystep :1 $5 limit :2"
    ));
    let rename = reply(Protocol::Resp2, "command info rename");
    assert!(rename.starts_with("*1 *10 $6 rename :3 *1 +write :1 :2 :1 "));
    assert!(
        rename.contains(
            "*2 +OW +update $12 begin_search *4 $4 type $5 index $4 spec *2 $5 index :2 "
        )
    );
    let n = commands().count();
    assert!(reply(Protocol::Resp2, "command").starts_with(&format!("*{n} *10 $4 xack ")));
    assert_eq!(reply(Protocol::Resp2, "command count"), format!(":{n}"));
    assert!(reply(Protocol::Resp2, "command info xinfo").contains(" *4 *10 $15 xinfo|consumers "));
}

#[test]
fn docs_have_the_shape_of_redis() {
    assert_eq!(
        reply(Protocol::Resp3, "command docs getset nosuch"),
        "%1 $6 getset %8 $7 summary $41 Sets a string and returns the one before. $5 since $5 \
        1.0.0 $5 group $6 string $10 complexity $4 O(1) $9 doc_flags ~1 +deprecated $16 \
        deprecated_since $5 6.2.0 $11 replaced_by $29 `SET` with the `GET` argument $9 arguments \
        *2 %4 $4 name $3 key $4 type $3 key $12 display_text $3 key $14 key_spec_index :0 %3 $4 \
        name $5 value $4 type $6 string $12 display_text $5 value"
    );
    let rename = reply(Protocol::Resp2, "command docs rename");
    assert!(rename.ends_with("$12 display_text $6 newkey $14 key_spec_index :1"));
    let xgroup = reply(Protocol::Resp3, "command docs xgroup");
    assert!(xgroup.contains("$11 subcommands %6 $13 xgroup|create %6 $7 summary "));
    assert_eq!(reply(Protocol::Resp3, "command docs nosuch"), "%0");
    assert_eq!(reply(Protocol::Resp2, "command docs nosuch"), "*0");
    let n = commands().count();
    assert!(reply(Protocol::Resp3, "command docs").starts_with(&format!("%{n} $4 xack %5 ")));
}

#[test]
fn getkeys_answers_keys_flags_and_errors() {
    for (line, expected) in [
        ("command getkeys xadd k * f v", "*1 $1 k"),
        ("command getkeys mset a 1 b 2", "*2 $1 a $1 b"),
        ("command getkeys xgroup create k g $", "*1 $1 k"),
        (
            "command getkeysandflags rename a b",
            "*2 *2 $1 a *3 +RW +access +delete *2 $1 b *2 +OW +update",
        ),
        ("command getkeysandflags set a b", "*1 *2 $1 a *2 +OW +update"),
        ("command getkeysandflags set a b get", "*1 *2 $1 a *3 +RW +access +update"),
        ("command getkeysandflags del a b", "*2 *2 $1 a *2 +RM +delete *2 $1 b *2 +RM +delete"),
        ("command getkeys nosuch a", "-ERR Invalid command specified"),
        ("command getkeys xgroup nosuch a", "-ERR Invalid command specified"),
        ("command getkeys ssubscribe a", "-ERR The command has no key arguments"),
        ("command getkeys ping", "-ERR The command has no key arguments"),
        ("command getkeys get", "-ERR Invalid number of arguments specified for command"),
        ("command getkeys xread streams a b 0", "*1 $1 a"),
        ("command getkeys xread count 1 streams a", "-ERR Invalid arguments specified for command"),
    ] {
        assert_eq!(reply(Protocol::Resp2, line), expected, "{line}");
    }
}

#[test]
fn lists_can_be_filtered() {
    for (line, expected) in [
        ("command list filterby pattern XL*", "*1 $4 xlen"),
        ("command list filterby module x", "*0"),
        ("command list filterby aclcat nosuch", "*0"),
        ("command list filterby", "-ERR syntax error"),
        ("command list foo pattern x", "-ERR syntax error"),
        ("command list filterby foo x", "-ERR syntax error"),
        ("acl cat nosuch", "-ERR Unknown category 'nosuch'"),
        ("acl cat transaction", "*5 $7 discard $4 exec $5 multi $7 unwatch $5 watch"),
    ] {
        assert_eq!(reply(Protocol::Resp2, line), expected, "{line}");
    }
    assert!(reply(Protocol::Resp2, "acl cat").starts_with("*21 $8 keyspace $4 read $5 write "));
    assert!(reply(Protocol::Resp2, "command list").starts_with(&format!("*{} ", Name::COUNT)));
    let blocking = reply(Protocol::Resp2, "command list filterby aclcat blocking");
    assert_eq!(blocking, "*4 $5 xread $10 xreadgroup $4 wait $7 waitaof");
}

#[test]
fn every_help_begins_and_ends_as_redis_does() {
    let text = reply(Protocol::Resp2, "xinfo help");
    assert!(text.starts_with(
        "*9 +XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are: +CONSUMERS <key> \
        <groupname> +    Show"
    ));
    assert!(text.ends_with("+HELP +    Print this help."));
    for row in TABLE.iter().filter(|row| row.is_help()) {
        let text = reply(Protocol::Resp2, &row.full_name().replace('|', " "));
        let container = row.container.map(table::row).expect("HELP is a subcommand");
        for subcommand in container.subcommands() {
            let word = subcommand.name.subcommand().expect("a subcommand").to_ascii_uppercase();
            let found = text.contains(&format!("+{word} ")) || text.ends_with(&format!("+{word}"));
            assert!(found, "{} does not tell about {word}", row.full_name());
        }
    }
}
