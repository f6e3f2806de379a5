//! The kinds of values that settings have: how each is read from words, checked, and printed.
//!
//! The reasons for a refusal are Redis's, letter for letter; they stand behind
//! `CONFIG SET failed (possibly related to argument '…') - ` and below a bad line of a file.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::config::NotifyFlags;

/// Why a value was refused.
pub(crate) type Reason = Cow<'static, str>;

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `yes` or `no`.
    YesNo,
    /// A decimal number within the bounds, both included.
    Integer(i64, i64),
    /// A decimal number that is not negative; beyond the bounds the nearest of them is taken.
    Nearest(i64, i64),
    /// An octal number within the bounds, both included.
    Octal(i64, i64),
    /// Bytes within the bounds, both included; read with the units b, k, kb, m, mb, g, gb.
    Memory(u64, u64),
    /// Bytes, or a part of `maxmemory` in percent (`5%`).
    MemoryOrPercent,
    /// One of the words.
    Choice(&'static [&'static str]),
    /// Any of the words, several at once.
    Flags(&'static [&'static str]),
    /// Any text.
    Text,
    /// The name of a file, without a directory; the refusal of another.
    FileName(&'static str),
    /// Several words.
    Words,
    /// `<seconds> <changes>` pairs; the empty text is none.
    SavePoints,
    /// `<class> <hard> <soft> <seconds>` groups.
    OutputLimits,
    /// The letters of classes of keyspace events.
    Events,
    /// Numbers from 0 to 100.
    Percentiles,
}

/// A value that has been read and found good.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    YesNo(bool),
    Number(i128),
    Text(String),
    Words(Vec<String>),
    Saves(Vec<SavePoint>),
    Limits(OutputLimits),
    Events(NotifyFlags),
}

/// A snapshot is due once `changes` changes are `seconds` seconds old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot; at least 1.
    pub seconds: u64,
    /// Changes since the last snapshot.
    pub changes: u64,
}

/// When a connection that does not read its replies is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimit {
    /// Bytes at which it is closed at once; 0 is no limit.
    pub hard_bytes: u64,
    /// Bytes at which it is closed if they stand for `soft_seconds`; 0 is no limit.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_seconds: u64,
}

/// The output limits of the classes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimits {
    /// Connections that are neither of the others.
    pub normal: OutputLimit,
    /// Replicas; kept for CONFIG GET, without effect.
    pub replica: OutputLimit,
    /// Connections with a subscription.
    pub pubsub: OutputLimit,
}

/// A type of a field of `Config`, which a `Value` is put into and taken from.
pub(crate) trait Held: Default {
    /// The value, for printing and checking.
    fn value(&self) -> Value;
    /// Takes a value of the setting's own shape.
    fn put(&mut self, value: Value);
}

/// Implements `Held` for types that one variant of `Value` holds: how to get and how to put it.
macro_rules! held {
    ($($type:ty: $variant:ident, $held:ident => $get:expr, $value:ident => $put:expr;)*) => { $(
        impl Held for $type {
            fn value(&self) -> Value {
                let $held = self;
                Value::$variant($get)
            }

            fn put(&mut self, value: Value) {
                if let Value::$variant($value) = value {
                    *self = $put;
                }
            }
        }
    )* };
}

held! {
    bool: YesNo, held => *held, value => value;
    i64: Number, held => i128::from(*held), value => value.try_into().unwrap_or(i64::MAX);
    u16: Number, held => i128::from(*held), value => value.try_into().unwrap_or(u16::MAX);
    u32: Number, held => i128::from(*held), value => value.try_into().unwrap_or(u32::MAX);
    u64: Number, held => i128::from(*held), value => value.try_into().unwrap_or(u64::MAX);
    String: Text, held => held.clone(), value => value;
    PathBuf: Text, held => held.to_string_lossy().into_owned(), value => value.into();
    Vec<String>: Words, held => held.clone(), value => value;
    Vec<SavePoint>: Saves, held => held.clone(), value => value;
    OutputLimits: Limits, held => *held, value => value;
    NotifyFlags: Events, held => *held, value => value;
}

/// Defines an enumeration whose variants are the words of a `Shape::Choice`.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// The words, in the order in which a refusal lists them.
            pub const WORDS: &[&str] = &[$($word,)*];

            /// The word.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl Held for $name {
            fn value(&self) -> Value {
                Value::Text(self.word().to_owned())
            }

            fn put(&mut self, value: Value) {
                if let Value::Text(text) = value {
                    match text.as_str() {
                        $($word => *self = $name::$variant,)*
                        _ => {}
                    }
                }
            }
        }
    };
}

choice! {
    /// When the append-only file is made durable.
    Fsync {
        /// Once a second; a crash of the machine can take the last second.
        #[default]
        EverySec = "everysec",
        /// Before the reply to a write goes out.
        Always = "always",
        /// When the operating system likes.
        No = "no",
    }
}

choice! {
    /// From where a protected command may be used.
    Protected {
        /// From nowhere.
        #[default]
        No = "no",
        /// From everywhere.
        Yes = "yes",
        /// From connections of this machine.
        Local = "local",
    }
}

choice! {
    /// How much is logged.
    LogLevel {
        /// Everything, for development.
        Debug = "debug",
        /// Much that is rarely useful.
        Verbose = "verbose",
        /// What matters in operation.
        #[default]
        Notice = "notice",
        /// Only what is wrong.
        Warning = "warning",
        /// Nothing.
        Nothing = "nothing",
    }
}

choice! {
    /// Whose answer is given where the suites of Redis and of Valkey demand different ones.
    CompatProfile {
        /// Redis's, of the newest version.
        #[default]
        Redis = "redis",
        /// Valkey's.
        Valkey = "valkey",
    }
}

choice! {
    /// Who watches over the server.
    Supervised {
        /// Upstart, which is told nothing.
        Upstart = "upstart",
        /// systemd.
        Systemd = "systemd",
        /// systemd, if it has started the server.
        Auto = "auto",
        /// Nobody.
        #[default]
        No = "no",
    }
}

impl Shape {
    /// Whether a value may be several words, each an argument of its own.
    pub(crate) fn takes_words(self) -> bool {
        matches!(
            self,
            Shape::Flags(_)
                | Shape::Words
                | Shape::SavePoints
                | Shape::OutputLimits
                | Shape::Percentiles
        )
    }

    /// Reads a value. `current` is what stands now: output limits are changed class by class.
    pub(crate) fn read(self, words: &[&str], current: &Value) -> Result<Value, Reason> {
        let not_an_integer = "argument couldn't be parsed into an integer";
        match self {
            Shape::YesNo => match one(words)?.to_ascii_lowercase().as_str() {
                "yes" => Ok(Value::YesNo(true)),
                "no" => Ok(Value::YesNo(false)),
                _ => Err("argument must be 'yes' or 'no'".into()),
            },
            Shape::Integer(low, high) => {
                let number = read_integer(one(words)?).ok_or(not_an_integer)?;
                within(number, low.into(), high.into(), false)
            }
            Shape::Nearest(low, high) => {
                let number = read_integer(one(words)?).ok_or(not_an_integer)?;
                within(number, 0, i32::MAX.into(), false)?;
                Ok(Value::Number(number.clamp(low.into(), high.into())))
            }
            Shape::Octal(low, high) => {
                let number = i64::from_str_radix(one(words)?, 8).map_err(|_| not_an_integer)?;
                within(number.into(), low.into(), high.into(), true)
            }
            Shape::Memory(low, high) => {
                let bytes = read_memory(one(words)?).ok_or("argument must be a memory value")?;
                within(bytes.into(), low.into(), high.into(), false)
            }
            Shape::MemoryOrPercent => read_memory_or_percent(one(words)?),
            Shape::Choice(known) => {
                let word = one(words)?;
                let found = known.iter().find(|known| known.eq_ignore_ascii_case(word));
                let found = found.ok_or_else(|| one_of(known))?;
                Ok(Value::Text((*found).to_owned()))
            }
            Shape::Text => Ok(Value::Text(one(words)?.to_owned())),
            Shape::FileName(refusal) => match one(words)? {
                path if path.contains('/') => Err(refusal.into()),
                name => Ok(Value::Text(name.to_owned())),
            },
            Shape::Events => NotifyFlags::parse(one(words)?.as_bytes())
                .map(Value::Events)
                .ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
            Shape::Words => Ok(Value::Words(split(words).into_iter().map(str::to_owned).collect())),
            Shape::Flags(known) => read_flags(&split(words), known),
            Shape::SavePoints => read_save_points(&split(words)),
            Shape::OutputLimits => read_output_limits(&split(words), current),
            Shape::Percentiles => read_percentiles(&split(words)),
        }
    }

    /// The text of CONFIG GET.
    pub(crate) fn print(self, value: &Value) -> String {
        match value {
            Value::YesNo(true) => "yes".to_owned(),
            Value::YesNo(false) => "no".to_owned(),
            Value::Number(number) if matches!(self, Shape::Octal(..)) => format!("{number:o}"),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            Value::Words(words) => words.join(" "),
            Value::Saves(points) => {
                let pair = |point: &SavePoint| format!("{} {}", point.seconds, point.changes);
                points.iter().map(pair).collect::<Vec<_>>().join(" ")
            }
            Value::Limits(limits) => print_output_limits(limits),
            Value::Events(events) => events.to_string(),
        }
    }

    /// The allowed values in words, for help.
    pub(crate) fn range(self) -> String {
        match self {
            Shape::YesNo => "yes or no".to_owned(),
            Shape::Integer(low, high) if high == i64::MAX => format!("{low} or more"),
            Shape::Integer(low, high) => format!("{low} to {high}"),
            Shape::Nearest(low, high) => format!("{low} to {high}, or else the nearest"),
            Shape::Octal(low, high) => format!("{low:o} to {high:o}, octal"),
            Shape::Memory(0, _) => "bytes, with units".to_owned(),
            Shape::Memory(low, _) => format!("bytes, with units, at least {low}"),
            Shape::MemoryOrPercent => "bytes, with units, or percent".to_owned(),
            Shape::Choice(words) => words.join(", "),
            Shape::Flags(words) => format!("any of {}", words.join(", ")),
            Shape::Text => "text".to_owned(),
            Shape::FileName(_) => "file name".to_owned(),
            Shape::Words => "words".to_owned(),
            Shape::SavePoints => "<seconds> <changes> ...".to_owned(),
            Shape::OutputLimits => "<class> <hard> <soft> <seconds> ...".to_owned(),
            Shape::Events => "letters of KEg$lshzxetdamnocA".to_owned(),
            Shape::Percentiles => "numbers from 0 to 100".to_owned(),
        }
    }
}

/// The only word.
fn one<'a>(words: &[&'a str]) -> Result<&'a str, Reason> {
    match words {
        &[word] => Ok(word),
        _ => Err("wrong number of arguments".into()),
    }
}

/// Words that may stand in one argument or in several.
fn split<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().flat_map(|word| word.split_whitespace()).collect()
}

/// A number, if it is within the bounds.
fn within(number: i128, low: i128, high: i128, octal: bool) -> Result<Value, Reason> {
    if (low..=high).contains(&number) {
        Ok(Value::Number(number))
    } else if octal {
        Err(format!("argument must be between {low:o} and {high:o} inclusive").into())
    } else {
        Err(format!("argument must be between {low} and {high} inclusive").into())
    }
}

/// A decimal number in the one form in which it would be printed. Redis: no plus sign, no leading
/// zeros, no blanks.
fn read_integer(word: &str) -> Option<i128> {
    let number: i64 = word.parse().ok()?;
    (number.to_string() == word).then_some(number.into())
}

/// Bytes with an optional unit: `1k` is 1,000 and `1kb` is 1,024.
fn read_memory(word: &str) -> Option<u64> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = word.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Bytes, kept as a number, or a percentage, kept as its text.
fn read_memory_or_percent(word: &str) -> Result<Value, Reason> {
    let refused = "argument must be a memory or percent value";
    let Some(percent) = word.strip_suffix('%') else {
        let bytes = read_memory(word).ok_or(refused)?;
        return Ok(Value::Text(bytes.to_string()));
    };
    match percent.parse::<u64>() {
        Ok(0..=100) => Ok(Value::Text(word.to_owned())),
        Ok(_) => Err("percentage argument must be less or equal to 100".into()),
        Err(_) => Err(refused.into()),
    }
}

/// The refusal of a word that is none of the known ones.
fn one_of(words: &[&str]) -> Reason {
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

/// Words of a known set, in lower case.
fn read_flags(words: &[&str], known: &[&str]) -> Result<Value, Reason> {
    let mut flags = Vec::new();
    for word in words {
        let Some(flag) = known.iter().find(|flag| flag.eq_ignore_ascii_case(word)) else {
            return Err(one_of(known));
        };
        flags.push((*flag).to_owned());
    }
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    if has("save") && has("nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    Ok(Value::Words(flags))
}

/// Pairs of seconds and changes.
fn read_save_points(words: &[&str]) -> Result<Value, Reason> {
    let refused = || Reason::from("Invalid save parameters");
    let mut points = Vec::new();
    for pair in words.chunks(2) {
        let &[seconds, changes] = pair else {
            return Err(refused());
        };
        let (Ok(seconds @ 1..), Ok(changes)) = (seconds.parse(), changes.parse()) else {
            return Err(refused());
        };
        points.push(SavePoint { seconds, changes });
    }
    Ok(Value::Saves(points))
}

/// Groups of a class and its three limits; the classes that are not named keep theirs.
fn read_output_limits(words: &[&str], current: &Value) -> Result<Value, Reason> {
    let mut limits = OutputLimits::default();
    limits.put(current.clone());
    for group in words.chunks(4) {
        let &[class, hard, soft, seconds] = group else {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        };
        let limit = match class.to_ascii_lowercase().as_str() {
            "normal" => &mut limits.normal,
            "slave" | "replica" => &mut limits.replica,
            "pubsub" => &mut limits.pubsub,
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        let read = (read_memory(hard), read_memory(soft), seconds.parse().ok());
        let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) = read else {
            let refused =
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
            return Err(refused.into());
        };
        *limit = OutputLimit { hard_bytes, soft_bytes, soft_seconds };
    }
    Ok(Value::Limits(limits))
}

/// The classes in Redis's order, under Redis's names for them.
fn print_output_limits(limits: &OutputLimits) -> String {
    let mut text = String::new();
    let classes = [("normal", limits.normal), ("slave", limits.replica), ("pubsub", limits.pubsub)];
    for (class, limit) in classes {
        let gap = if text.is_empty() { "" } else { " " };
        let OutputLimit { hard_bytes, soft_bytes, soft_seconds } = limit;
        let _ = write!(text, "{gap}{class} {hard_bytes} {soft_bytes} {soft_seconds}");
    }
    text
}

/// Numbers of percent, kept as they were written.
fn read_percentiles(words: &[&str]) -> Result<Value, Reason> {
    for word in words {
        if !word.parse::<f64>().is_ok_and(|percent| (0.0..=100.0).contains(&percent)) {
            return Err("latency-tracking-info-percentiles parameters should sit between \
                        [0.0,100.0]"
                .into());
        }
    }
    Ok(Value::Words(words.iter().map(|&word| word.to_owned()).collect()))
}
