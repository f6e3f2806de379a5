//! What a key's value is made of: OBJECT and MEMORY USAGE. Neither counts as use of the key.

use super::args::{Request, strict_integer};
use super::reply::Out;
use super::{KeyCommand, Ran};
use crate::error::CommandError;
use crate::keyspace::{Key, Slot, Txn, Value};
use crate::stream::Stream;

/// Looks up a key for OBJECT: a hit or a miss, but no event.
fn look_at<'a>(txn: &mut Txn<'_, '_>, name: &'a [u8]) -> Key<'a> {
    let key = txn.peek(name);
    txn.count_read(&key);
    key
}

/// `OBJECT ENCODING key`
///
/// Answers `stream`; for a string `int`, `embstr` (at most 44 bytes) or `raw`; or null. Redis 8.10.
/// Differs from Redis, which remembers how a string was made (`raw` after APPEND and SETRANGE,
/// `embstr` after INCRBYFLOAT): there is one form of strings here, and it goes by the bytes.
#[derive(Debug, Clone, Copy)]
pub struct ObjectEncoding<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for ObjectEncoding<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(ObjectEncoding { key: request.arg(2) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        /// The longest string that Redis keeps beside its header, in bytes.
        const EMBEDDED_MAX: usize = 44;
        let key = look_at(txn, self.key);
        match txn.value(&key) {
            None => out.null(),
            Some(Value::Stream(_)) => out.bulk(b"stream"),
            Some(Value::String(string)) if strict_integer(string).is_some() => out.bulk(b"int"),
            Some(Value::String(string)) if string.len() <= EMBEDDED_MAX => out.bulk(b"embstr"),
            Some(Value::String(_)) => out.bulk(b"raw"),
        }
        Ok(Ran::Replied)
    }
}

/// `OBJECT REFCOUNT key`
///
/// Answers 1, or null if there is no key. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct ObjectRefCount<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for ObjectRefCount<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(ObjectRefCount { key: request.arg(2) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        if look_at(txn, self.key).exists() {
            out.integer(1);
        } else {
            out.null();
        }
        Ok(Ran::Replied)
    }
}

/// `OBJECT IDLETIME key`
///
/// Answers for how many seconds the key has not been used, or null. After a start that counts from
/// when the key was first asked for. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct ObjectIdleTime<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for ObjectIdleTime<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(ObjectIdleTime { key: request.arg(2) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = look_at(txn, self.key);
        match txn.idle_s(&key) {
            Some(idle_s) => out.integer(i64::from(idle_s)),
            None => out.null(),
        }
        Ok(Ran::Replied)
    }
}

/// `OBJECT FREQ key`
///
/// Refused, for how often keys are used is not tracked; null if there is no key. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct ObjectFreq<'a> {
    key: &'a [u8],
}

impl<'a> KeyCommand<'a> for ObjectFreq<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(ObjectFreq { key: request.arg(2) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        if look_at(txn, self.key).exists() {
            return Err(CommandError::Fixed(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
                 Please note that when switching between policies at runtime LRU and LFU data \
                 will take some time to adjust.",
            ));
        }
        out.null();
        Ok(Ran::Replied)
    }
}

/// `MEMORY USAGE key [SAMPLES count]`
///
/// Answers how many bytes the key, its value, and its slot take, or null. Of a large stream the
/// first blocks are looked at, as many as SAMPLES says, and the others taken to be like them; 0 is
/// all. Redis 8.10, where it is 5 if nothing is said.
#[derive(Debug, Clone, Copy)]
pub struct MemoryUsage<'a> {
    key: &'a [u8],
    samples: usize,
}

impl<'a> KeyCommand<'a> for MemoryUsage<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        /// So many blocks are looked at in some 50 µs; chosen.
        const SAMPLES: usize = 1000;
        let (mut args, mut samples) = (request.args(3), SAMPLES);
        while args.remaining() > 0 {
            if args.remaining() == 1 || !args.take_word("SAMPLES") {
                return Err(CommandError::Syntax);
            }
            samples = match usize::try_from(args.integer()?) {
                Ok(0) => usize::MAX,
                Ok(samples) => samples,
                Err(_) => return Err(CommandError::Syntax),
            };
        }
        Ok(MemoryUsage { key: request.arg(2), samples })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let key = txn.peek(self.key);
        let value_bytes = match txn.value(&key) {
            // What stands in the slot itself is counted with the slot.
            Some(Value::Stream(stream)) => stream.memory_bytes(self.samples) - size_of::<Stream>(),
            Some(Value::String(string)) => string.len(),
            None => {
                out.null();
                return Ok(Ran::Replied);
            }
        };
        out.count(size_of::<Slot>() + self.key.len() + value_bytes);
        Ok(Ran::Replied)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::world;

    #[test]
    fn encodings_are_those_of_redis() {
        let mut world = world();
        world.run("XADD s 1-1 f v");
        world.run(&format!("MSET i -12 e {} r {} z 012", "x".repeat(44), "x".repeat(45)));
        let encodings =
            [("s", "stream"), ("i", "int"), ("e", "embstr"), ("r", "raw"), ("z", "embstr")];
        for (key, encoding) in encodings {
            assert_eq!(world.show(&format!("OBJECT ENCODING {key}")), encoding);
            assert_eq!(world.show(&format!("OBJECT REFCOUNT {key}")), "1");
            assert!(world.show(&format!("OBJECT FREQ {key}")).starts_with("-ERR An LFU maxmemory"));
            let bytes: usize =
                world.show(&format!("MEMORY USAGE {key} SAMPLES 0")).parse().unwrap();
            assert!((40..1000).contains(&bytes));
        }
        for command in ["ENCODING", "REFCOUNT", "IDLETIME", "FREQ"] {
            assert_eq!(world.show(&format!("OBJECT {command} nosuch")), "nil");
        }
        assert_eq!(world.show("MEMORY USAGE nosuch"), "nil");
        for options in ["FOO", "SAMPLES", "SAMPLES -1", "FOO 1"] {
            assert_eq!(world.show(&format!("MEMORY USAGE s {options}")), "-ERR syntax error");
        }
    }

    #[test]
    fn the_memory_of_a_large_stream_is_estimated_well() {
        let mut world = world();
        world.set_block_entries(2);
        for n in 1..=2400 {
            world.run(&format!("XADD s {n}-1 f value{n}"));
        }
        world.run("XGROUP CREATE s g 0");
        world.run("XREADGROUP GROUP g c STREAMS s >");
        let mut bytes = |samples: &str| -> usize {
            world.show(&format!("MEMORY USAGE s{samples}")).parse().unwrap()
        };
        let all = bytes(" SAMPLES 0");
        assert_eq!(bytes(" SAMPLES 1200"), all);
        for samples in ["", " SAMPLES 1", " SAMPLES 5", " SAMPLES 1100"] {
            let estimate = bytes(samples);
            assert!(estimate.abs_diff(all) < all / 10, "{samples}: {estimate} of {all}");
        }
    }

    #[test]
    fn asking_about_a_key_is_not_use_of_it() {
        let mut world = world();
        world.run("XADD s 1-1 f v");
        world.now.0 += 5000;
        for command in ["TYPE s", "TTL s", "EXISTS s", "OBJECT ENCODING s", "MEMORY USAGE s"] {
            world.run(command);
            assert_eq!(world.show("OBJECT IDLETIME s"), "5", "{command}");
        }
        world.run("TOUCH s");
        assert_eq!(world.show("OBJECT IDLETIME s"), "0");
        world.now.0 += 3000;
        world.run("XADD s 1-2 f v");
        assert_eq!(world.show("OBJECT IDLETIME s"), "0");
    }
}
