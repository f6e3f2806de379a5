//! DEBUG: what tests ask of the server.

use super::Core;
use super::admin::Caller;
use super::save::{self, Refusal};
use crate::codec::Corrupt;
use crate::command::args::{is_word, lossy};
use crate::command::docs;
use crate::command::table::Name;
use crate::command::{Out, Protocol, Request};
use crate::error::CommandError;
use crate::keyspace::{Action, Change, DATABASES, LogBuffer, Slot, Spaces, Value};
use crate::rdb::{self, Object};
use crate::shard::Turn;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::time::Duration;

/// A digest of data.
type Digest = [u8; 20];

/// Subcommands that would change how Redis works inside; here there is nothing to change.
const WITHOUT_EFFECT: &[&str] = &[
    "ALLOCSIZE-SLOTS-ASSERT",
    "CHANGE-REPL-ID",
    "CLIENT-ENFORCE-REPLY-LIST",
    "CONFIG-REWRITE-FORCE-ALL",
    "DELAY-RDB-CLIENT-FREE-SECONDS",
    "DICT-RESIZING",
    "KEYSIZES-HIST-ASSERT",
    "PAUSE-CRON",
    "QUICKLIST-PACKED-THRESHOLD",
    "REPLICATE",
    "REPLY-COPY-AVOIDANCE",
    "REPLYBUFFER",
    "SET-DISABLE-DENY-SCRIPTS",
    "SET-SKIP-CHECKSUM-VALIDATION",
];

/// DEBUG and its subcommands, with all shards in hand.
pub(super) fn run(
    core: &Core,
    turn: &mut Turn<'_, '_>,
    request: &Request<'_>,
    caller: &Caller,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    let db = caller.db;
    let is = |word: &str, least: usize, most: usize| {
        is_word(request.arg(1), word) && (least..=most).contains(&request.len())
    };
    if is("HELP", 2, 2) {
        docs::help(Name::Debug, out);
    } else if is("RELOAD", 2, usize::MAX) {
        let options = ["MERGE", "NOFLUSH", "NOSAVE"];
        if !request.from(2).all(|arg| options.iter().any(|option| is_word(arg, option))) {
            return Err(CommandError::Fixed(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
        reload(core, turn, caller)?;
        out.ok();
    } else if is("LOADAOF", 2, 2) {
        reload(core, turn, caller)?;
        out.ok();
    } else if is("DIGEST", 2, 2) {
        out.simple(&hex(&digest_of_all(turn)));
    } else if is("DIGEST-VALUE", 2, usize::MAX) {
        digest_of_values(turn, request, db, out);
    } else if is("OBJECT", 3, 4) {
        object(turn, request.arg(2), db, out)?;
    } else if is("SLEEP", 3, 3) {
        sleep(request.arg(2));
        out.ok();
    } else if is("SET-ACTIVE-EXPIRE", 3, 3) {
        let expires = request.args(2).integer().is_ok_and(|n| n != 0);
        turn.shards_mut().for_each(|shard| shard.set_expires(expires));
        out.ok();
    } else if is("POPULATE", 3, 5) {
        populate(turn, request, db)?;
        out.ok();
    } else if is("PROTOCOL", 3, 3) {
        protocol(request.arg(2), out)?;
    } else if is("ERROR", 3, 3) {
        return Err(CommandError::composed(request.arg(2)));
    } else if is("LOG", 3, 3) {
        tracing::warn!("DEBUG LOG: {}", lossy(request.arg(2)));
        out.ok();
    } else if is("PANIC", 2, 2) {
        panic!("DEBUG PANIC");
    } else if is("ASSERT", 2, 2) || is("SEGFAULT", 2, 2) {
        // They are to show what a crash leaves behind.
        std::process::abort();
    } else if WITHOUT_EFFECT.iter().any(|word| is(word, 2, usize::MAX)) {
        out.ok();
    } else {
        return Err(CommandError::subcommand_syntax("DEBUG", request.arg(1)));
    }
    Ok(())
}

/// Takes every value through its bytes and back: through a snapshot, if the data is kept in a
/// directory, else in its place. Then nothing has changed since the last save.
fn reload(core: &Core, turn: &mut Turn<'_, '_>, caller: &Caller) -> Result<(), CommandError> {
    if core.saver.is_open() {
        if caller.in_transaction {
            // Differs from Redis: the log must have all of a transaction or nothing.
            return Err(CommandError::Fixed("ERR DEBUG cannot reload inside a transaction"));
        }
        return save::reload(core, turn).map_err(|refusal| match refusal {
            Refusal::Busy(_) => CommandError::Fixed("ERR Background save already in progress"),
            Refusal::Storage(error) => {
                CommandError::composed(format!("ERR Error trying to load the data: {error}"))
            }
        });
    }
    let done = turn.with_txn(|txn| {
        let spaces = txn.spaces_mut();
        let count = spaces.iter().len();
        for index in 0..count {
            for db in 0..DATABASES {
                for place in 0..spaces.at(index).database(db).places() {
                    reload_place(spaces, index, db, place)?;
                }
            }
            spaces.at_mut(index).changes = 0;
        }
        Ok(())
    });
    done.map_err(|error: Corrupt| {
        CommandError::composed(format!("ERR Error trying to load the data: {error}"))
    })
}

fn reload_place(
    spaces: &mut Spaces<'_, '_>,
    index: usize,
    db: u8,
    place: usize,
) -> Result<(), Corrupt> {
    let Some(slot) = spaces.at(index).database(db).get(place) else { return Ok(()) };
    let mut bytes = LogBuffer::new(0, true);
    let expire_at = slot.expire_at();
    let image;
    let action = match &slot.value {
        Value::Stream(stream) => {
            image = stream.to_image();
            Action::Put { image: &image, expire_at }
        }
        Value::String(value) => Action::SetString { value, whole: Some(value), expire_at },
    };
    bytes.push(&Change { db, key: &slot.key, action }, true);
    Change::decode_all(&bytes.payload(), &mut |change| spaces.apply(&change))
}

/// A digest of all keys and values in any order; of nothing it is all zeros.
fn digest_of_all(turn: &Turn<'_, '_>) -> Digest {
    let mut all = Digest::default();
    for shard in turn.shards() {
        for db in 0..DATABASES {
            for (_, slot) in shard.keyspace().database(db).slots_from(0) {
                let mut hash = Sha256::new();
                hash.update([db, u8::from(slot.expire_at().is_some())]);
                hash.update(Sha256::digest(&slot.key));
                hash.update(digest_of_value(slot));
                let digest = shortened(hash);
                all.iter_mut().zip(digest).for_each(|(all, byte)| *all ^= byte);
            }
        }
    }
    all
}

fn digest_of_value(slot: &Slot) -> Digest {
    let mut bytes = Vec::new();
    match &slot.value {
        Value::Stream(stream) => stream.to_image().encode(&mut bytes),
        Value::String(string) => bytes.extend_from_slice(string),
    }
    shortened(Sha256::new().chain_update(slot.value.type_name()).chain_update(bytes))
}

fn shortened(hash: Sha256) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&hash.finalize()[..size_of::<Digest>()]);
    digest
}

fn hex(digest: &Digest) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest_of_values(turn: &Turn<'_, '_>, request: &Request<'_>, db: u8, out: &mut Out<'_>) {
    let keys = request.from(2);
    out.array(keys.len());
    for key in keys {
        let digest = slot_of(turn, key, db).map(|(_, slot)| digest_of_value(slot));
        out.simple(&hex(&digest.unwrap_or_default()));
    }
}

/// A key's slot and its place.
fn slot_of<'t>(turn: &'t Turn<'_, '_>, key: &[u8], db: u8) -> Option<(u32, &'t Slot)> {
    turn.shards().find_map(|shard| {
        let place = shard.keyspace().find(db, key)?;
        Some((place, shard.keyspace().database(db).slot(place)))
    })
}

fn object(turn: &Turn<'_, '_>, key: &[u8], db: u8, out: &mut Out<'_>) -> Result<(), CommandError> {
    /// What DUMP adds to the serialized value: version and checksum.
    const DUMP_TRAILER: usize = 10;
    let (place, slot) = slot_of(turn, key, db).ok_or(CommandError::NoSuchKey)?;
    let object = match &slot.value {
        Value::Stream(stream) => Object::Stream(stream.to_image()),
        Value::String(string) => Object::Str(string.to_vec()),
    };
    let length = rdb::dump(&object)?.len().saturating_sub(DUMP_TRAILER);
    let encoding = match &slot.value {
        Value::Stream(_) => "stream",
        Value::String(_) => "raw",
    };
    let idle_s = slot.idle_s(turn.now());
    let clock = (turn.now().0 / 1000).saturating_sub(u64::from(idle_s)) & 0x00ff_ffff;
    out.simple(&format!(
        "Value at:{place:#x} refcount:1 encoding:{encoding} serializedlength:{length} \
         lru:{clock} lru_seconds_idle:{idle_s}"
    ));
    Ok(())
}

fn sleep(seconds: &[u8]) {
    let seconds: Option<f64> = std::str::from_utf8(seconds).ok().and_then(|s| s.parse().ok());
    let pause = Duration::try_from_secs_f64(seconds.unwrap_or_default());
    std::thread::sleep(pause.unwrap_or_default());
}

/// DEBUG POPULATE count [prefix] [size]: strings at the keys that do not exist.
fn populate(turn: &mut Turn<'_, '_>, request: &Request<'_>, db: u8) -> Result<(), CommandError> {
    let natural = |at| {
        let number = request.args(at).integer()?;
        u64::try_from(number).map_err(|_| CommandError::Fixed("ERR value is out of range"))
    };
    let count = natural(2)?;
    let prefix = request.get(3).unwrap_or(b"key");
    let size = if request.len() > 4 { Some(natural(4)?) } else { None };
    let size = size.filter(|size| *size > 0).map(|size| usize::try_from(size).unwrap_or(0));
    turn.with_txn(|txn| {
        txn.db = db;
        for n in 0..count {
            let name = [prefix, format!(":{n}").as_bytes()].concat();
            let mut key = txn.key(&name);
            if !key.exists() {
                let mut value = format!("value:{n}").into_bytes();
                value.resize(size.unwrap_or(value.len()), 0);
                txn.set_string(&mut key, &value, None);
                txn.count_changes(1);
            }
        }
    });
    Ok(())
}

/// A sample of each type of reply.
fn protocol(kind: &[u8], out: &mut Out<'_>) -> Result<(), CommandError> {
    let three = out.protocol() == Protocol::Resp3;
    let boolean = |value: bool, out: &mut Out<'_>| match (three, value) {
        (true, true) => out.raw(b"#t\r\n"),
        (true, false) => out.raw(b"#f\r\n"),
        (false, value) => out.integer(i64::from(value)),
    };
    if is_word(kind, "string") {
        out.bulk(b"Hello World");
    } else if is_word(kind, "integer") {
        out.integer(12345);
    } else if is_word(kind, "double") {
        out.double("3.141");
    } else if is_word(kind, "null") {
        out.null();
    } else if is_word(kind, "array") {
        out.array(3);
        (0..3).for_each(|n| out.integer(n));
    } else if is_word(kind, "set") {
        out.set(3);
        (0..3).for_each(|n| out.integer(n));
    } else if is_word(kind, "map") {
        out.map(3);
        for n in 0..3 {
            out.integer(n);
            boolean(n == 1, out);
        }
    } else if is_word(kind, "attrib") {
        if three {
            out.raw(b"|1\r\n");
            out.bulk(b"key-popularity");
            out.array(2);
            out.bulk(b"key:123");
            out.integer(90);
        }
        out.bulk(b"Some real reply following the attribute");
    } else if is_word(kind, "push") {
        if !three {
            return Err(CommandError::Fixed("ERR RESP2 is not supported by this command"));
        }
        out.push(2);
        out.bulk(b"server-cpu-usage");
        out.integer(42);
        out.bulk(b"Some real reply following the push reply");
    } else if is_word(kind, "verbatim") {
        out.verbatim("This is a verbatim\nstring");
    } else if is_word(kind, "true") || is_word(kind, "false") {
        boolean(is_word(kind, "true"), out);
    } else if is_word(kind, "bignum") {
        let digits = "1234567999999999999999999999999999999";
        if three {
            out.raw(format!("({digits}\r\n").as_bytes())
        } else {
            out.bulk(digits.as_bytes())
        }
    } else {
        return Err(CommandError::Fixed(
            "ERR Wrong protocol type name. Please use one of the following: \
             string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
        ));
    }
    Ok(())
}
