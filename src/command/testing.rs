//! A world for the unit tests of commands: a keyspace, a clock that the test sets, and every
//! frame of the log, so that replay can be compared with what happened.

use super::{Out, OwnedRequest, Protocol, Ran, Wait, table};
use crate::config::NotifyFlags;
use crate::keyspace::txn::Notice;
use crate::keyspace::{Change, DATABASES, Keyspace, LogBuffer, Rules, Spaces, Txn, Value};
use crate::stream::{BlockLimits, Image, Stream, UnixMs};
use std::hash::RandomState;

/// What [`World::run`] gives for a command that wants to wait.
pub(super) const BLOCKS: &str = "(blocks)";

/// A keyspace and what surrounds it.
pub(super) struct World {
    pub(super) space: Keyspace,
    pub(super) rules: Rules,
    /// The wall clock.
    pub(super) now: UnixMs,
    pub(super) protocol: Protocol,
    /// The connection's database.
    pub(super) db: u8,
    /// The last wait that a command asked for.
    pub(super) wait: Option<Wait>,
    notices: Vec<Notice>,
    log: LogBuffer,
    frames: Vec<Vec<u8>>,
}

/// An empty world at the time 1000.
pub(super) fn world() -> World {
    World {
        space: Keyspace::new(0..crate::keyspace::SLOTS, RandomState::new()),
        rules: Rules { notify: NotifyFlags::parse(b"AKEn").unwrap(), ..Rules::default() },
        now: UnixMs(1000),
        protocol: Protocol::Resp2,
        db: 0,
        wait: None,
        notices: Vec::new(),
        log: LogBuffer::new(0, true),
        frames: Vec::new(),
    }
}

impl World {
    /// Sets how large blocks grow, in entries.
    pub(super) fn set_block_entries(&mut self, entries: usize) {
        self.rules.blocks = BlockLimits { entries, ..BlockLimits::default() };
        self.space.set_limits(self.rules.blocks);
    }

    /// Runs words between blanks; `""` is an empty one. Gives the reply's bytes.
    pub(super) fn run(&mut self, words: &str) -> String {
        let args = words.split_ascii_whitespace().map(|word| match word {
            "\"\"" => &b""[..],
            word => word.as_bytes(),
        });
        self.run_args(args)
    }

    /// As [`World::run`], with the reply in a form for people: `[1-1, [f, v]]`, `nil`, `-ERR …`.
    pub(super) fn show(&mut self, words: &str) -> String {
        let reply = self.run(words);
        if reply == BLOCKS { reply } else { plain(&mut reply.as_bytes()) }
    }

    /// Runs a request: afterwards the keyspace is sound, and unchanged if it was refused.
    pub(super) fn run_args<'a>(&mut self, args: impl Iterator<Item = &'a [u8]>) -> String {
        let request = OwnedRequest::new(args);
        let request = request.request();
        let expired = self.space.expired_keys;
        let mut buffer = Vec::new();
        let mut out = Out::new(&mut buffer, self.protocol);
        let ran = table::lookup(&request).and_then(|row| {
            let mut list = [&mut self.space];
            let spaces = Spaces::new(&mut list);
            let (log, notices) = (&mut self.log, &mut self.notices);
            let mut txn = Txn::new(spaces, log, notices, &self.rules, self.now);
            txn.db = self.db;
            super::run(row.name, &request, &mut txn, &mut out)
        });
        match ran {
            Ok(Ran::Replied) => {}
            Ok(Ran::WouldBlock(wait)) => {
                assert!(buffer.is_empty());
                self.wait = Some(*wait);
                buffer.extend_from_slice(BLOCKS.as_bytes());
            }
            Err(error) => {
                assert!(self.log.is_empty() || self.space.expired_keys > expired);
                out.truncate(0);
                out.error(&error);
            }
        }
        self.space.check();
        self.frames.push(self.log.payload());
        self.log.clear();
        String::from_utf8_lossy(&buffer).into_owned()
    }

    /// Lets `act` change the keyspace as a periodic task does.
    pub(super) fn with_txn(&mut self, act: impl FnOnce(&mut Txn<'_, '_>)) {
        let mut list = [&mut self.space];
        let spaces = Spaces::new(&mut list);
        act(&mut Txn::new(spaces, &mut self.log, &mut self.notices, &self.rules, self.now));
        self.space.check();
        self.frames.push(self.log.payload());
        self.log.clear();
    }

    /// What the last command has put into the log.
    pub(super) fn last_frame(&self) -> &[u8] {
        self.frames.last().map_or(&[], |frame| frame)
    }

    /// The stream of a key, which exists.
    pub(super) fn stream(&self, key: &str) -> &Stream {
        match self.space.value(self.db, key.as_bytes()) {
            Some(Value::Stream(stream)) => stream,
            _ => panic!("{key} holds no stream"),
        }
    }

    /// Runs each command, compares its reply as [`World::show`] gives it, and replays the log.
    pub(super) fn script(&mut self, steps: &[(&str, &str)]) {
        for (command, reply) in steps {
            assert_eq!(self.show(command), *reply, "{command}");
        }
        self.replayed_equals();
    }

    /// Takes the events, as `name key`.
    pub(super) fn events(&mut self) -> Vec<String> {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        let events = self.notices.drain(..).filter_map(|notice| match notice {
            Notice::Event(event) => Some(format!("{} {}", event.name, text(&event.key))),
            Notice::Message { .. } => None,
        });
        events.collect()
    }

    /// Takes the count of changes.
    pub(super) fn changes(&mut self) -> u64 {
        std::mem::take(&mut self.space.changes)
    }

    /// Asserts that the log, replayed into an empty keyspace, gives this one.
    pub(super) fn replayed_equals(&self) {
        let mut fresh = Keyspace::new(self.space.slots(), RandomState::new());
        fresh.set_limits(self.rules.blocks);
        for frame in &self.frames {
            let mut list = [&mut fresh];
            let mut spaces = Spaces::new(&mut list);
            Change::decode_all(frame, &mut |change| spaces.apply(&change)).unwrap();
        }
        fresh.check();
        assert_eq!(description(&fresh), description(&self.space));
    }
}

/// Everything a keyspace holds: database, key, expiry, and the string or the stream.
type Description = Vec<(u8, Box<[u8]>, Option<UnixMs>, Result<Image, Box<[u8]>>)>;

fn description(space: &Keyspace) -> Description {
    let mut all = Vec::new();
    for db in 0..DATABASES {
        for (_, slot) in space.database(db).slots_from(0) {
            let value = match &slot.value {
                Value::Stream(stream) => Ok(stream.to_image()),
                Value::String(string) => Err(string[..].into()),
            };
            all.push((db, slot.key.clone(), slot.expire_at(), value));
        }
    }
    all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    all
}

/// One reply in a form for people, taken off the front.
fn plain(reply: &mut &[u8]) -> String {
    let end = reply.windows(2).position(|pair| pair == b"\r\n").unwrap();
    let line = String::from_utf8_lossy(&reply[1..end]).into_owned();
    let kind = reply[0];
    *reply = &reply[end + 2..];
    let length = line.parse::<i64>().unwrap_or_default();
    let mut list = |n| (0..n).map(|_| plain(reply)).collect::<Vec<_>>().join(", ");
    match kind {
        b'-' => format!("-{line}"),
        b'_' => "nil".into(),
        b'$' | b'*' if length < 0 => "nil".into(),
        b'$' => {
            let length = usize::try_from(length).unwrap();
            let text = String::from_utf8_lossy(&reply[..length]).into_owned();
            *reply = &reply[length + 2..];
            text
        }
        b'*' | b'~' | b'>' => format!("[{}]", list(length)),
        b'%' => format!("{{{}}}", list(length * 2)),
        _ => line,
    }
}
