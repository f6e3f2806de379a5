//! What can go wrong, in three kinds that are never mixed: a refusal ([`CommandError`]) is the
//! caller's doing and leaves the state unchanged; a fault ([`StorageError`]) is the disk's or the
//! data's; [`Error`] is what the embedded API returns, either of them or the end of the database.
//!
//! The wire text of every error that more than one command gives stands here and nowhere else.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// The text of a refusal. It may repeat what a client sent, which need not be UTF-8: on the wire
/// it stands as it came, shown to people the replacement character stands for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Box<[u8]>);

impl Text {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl<T: Into<Vec<u8>>> From<T> for Text {
    fn from(text: T) -> Self {
        Text(text.into().into_boxed_slice())
    }
}

/// A command that was refused; nothing has changed.
///
/// A variant exists where a caller may want to match; everything else is its complete wire text,
/// code word first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// The key holds a value of another type.
    WrongType,
    /// The key does not exist, for a command that needs it.
    NoSuchKey,
    /// The options do not form a valid command.
    Syntax,
    /// A number was expected.
    NotAnInteger,
    /// An entry ID was expected.
    InvalidId,
    /// The consumer group (or its stream) does not exist. The text is complete.
    NoGroup(Text),
    /// A consumer group of that name exists already.
    BusyGroup,
    /// The key of RESTORE exists already.
    BusyKey,
    /// The entry ID is not above the last one.
    IdTooSmall,
    /// The memory limit is reached and the command would grow the data.
    OutOfMemory,
    /// The log cannot be written; the text says why.
    Misconfigured(Text),
    /// Any other refusal with a fixed text.
    Fixed(&'static str),
    /// Any other refusal with a composed text.
    Composed(Text),
}

impl CommandError {
    /// A refusal with a composed text; `text` starts with its code word.
    pub fn composed(text: impl Into<Text>) -> Self {
        CommandError::Composed(text.into())
    }

    /// A refusal that repeats bytes of a client: each `{}` of `text` stands for one of `quotes`,
    /// up to its first NUL.
    pub fn quoting(text: &str, quotes: &[&[u8]]) -> Self {
        Self::composed(quote(text, quotes))
    }

    /// `ERR wrong number of arguments for '<name>' command`; `name` is the lower-case full name.
    pub fn arity(name: &str) -> Self {
        Self::composed(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// A group that a command needs does not exist, in the words of XGROUP and XINFO.
    pub fn no_group(group: &[u8], key: &[u8]) -> Self {
        let text = "NOGROUP No such consumer group '{}' for key name '{}'";
        CommandError::NoGroup(quote(text, &[group, key]))
    }

    /// A key or group that a command needs does not exist, in the words of XPENDING, XCLAIM,
    /// XAUTOCLAIM and XNACK.
    pub fn no_key_or_group(key: &[u8], group: &[u8]) -> Self {
        let text = "NOGROUP No such key '{}' or consumer group '{}'";
        CommandError::NoGroup(quote(text, &[key, group]))
    }

    /// As [`CommandError::no_key_or_group`], in the words of XREADGROUP.
    pub fn no_key_or_group_to_read(key: &[u8], group: &[u8]) -> Self {
        let text =
            "NOGROUP No such key '{}' or consumer group '{}' in XREADGROUP with GROUP option";
        CommandError::NoGroup(quote(text, &[key, group]))
    }

    /// The options of a known subcommand are wrong; `subcommand` as the client wrote it,
    /// `container` in capitals.
    pub fn subcommand_syntax(container: &str, subcommand: &[u8]) -> Self {
        let text = "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.";
        Self::quoting(text, &[subcommand, container.as_bytes()])
    }

    /// The text on the wire, without the leading `-` and the line end. It contains no CR or LF.
    pub fn wire(&self) -> Cow<'_, [u8]> {
        let text: &str = match self {
            CommandError::WrongType => {
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            }
            CommandError::NoSuchKey => "ERR no such key",
            CommandError::Syntax => "ERR syntax error",
            CommandError::NotAnInteger => "ERR value is not an integer or out of range",
            CommandError::InvalidId => "ERR Invalid stream ID specified as stream command argument",
            CommandError::BusyGroup => "BUSYGROUP Consumer Group name already exists",
            CommandError::BusyKey => "BUSYKEY Target key name already exists.",
            CommandError::IdTooSmall => {
                "ERR The ID specified in XADD is equal or smaller than the target stream top item"
            }
            CommandError::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            CommandError::Fixed(text) => text,
            CommandError::NoGroup(text)
            | CommandError::Misconfigured(text)
            | CommandError::Composed(text) => return one_line(text.as_bytes()),
        };
        Cow::Borrowed(text.as_bytes())
    }

    /// The refusal that has this text on the wire.
    pub fn from_wire(text: &[u8]) -> Self {
        const PLAIN: [CommandError; 9] = [
            CommandError::WrongType,
            CommandError::NoSuchKey,
            CommandError::Syntax,
            CommandError::NotAnInteger,
            CommandError::InvalidId,
            CommandError::BusyGroup,
            CommandError::BusyKey,
            CommandError::IdTooSmall,
            CommandError::OutOfMemory,
        ];
        if let Some(error) = PLAIN.iter().find(|error| *error.wire() == *text) {
            return error.clone();
        }
        match text.split(|byte| *byte == b' ').next() {
            Some(b"NOGROUP") => CommandError::NoGroup(text.into()),
            Some(b"MISCONF") => CommandError::Misconfigured(text.into()),
            _ => CommandError::composed(text),
        }
    }

    /// The first word of the text, under which `INFO errorstats` counts.
    pub fn code(&self) -> String {
        let text = self.wire();
        let word = text.split(|byte| *byte == b' ').next().unwrap_or(b"ERR");
        String::from_utf8_lossy(word).into_owned()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.wire()))
    }
}

impl std::error::Error for CommandError {}

/// A text with bytes in the place of each `{}`. Redis: a C string, so it ends at a NUL.
fn quote(text: &str, quotes: &[&[u8]]) -> Text {
    let quoted_bytes: usize = quotes.iter().map(|quoted| quoted.len()).sum();
    let mut bytes = Vec::with_capacity(text.len() + quoted_bytes);
    let mut quotes = quotes.iter();
    for (n, part) in text.split("{}").enumerate() {
        if n > 0 {
            let quoted = quotes.next().copied().unwrap_or_default();
            let end = quoted.iter().position(|byte| *byte == 0).unwrap_or(quoted.len());
            bytes.extend_from_slice(&quoted[..end]);
        }
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes.into()
}

/// A text without line ends, which would end the reply.
fn one_line(text: &[u8]) -> Cow<'_, [u8]> {
    let ends_line = |byte: u8| byte == b'\r' || byte == b'\n';
    if !text.iter().any(|byte| ends_line(*byte)) {
        return Cow::Borrowed(text);
    }
    text.iter().map(|byte| if ends_line(*byte) { b' ' } else { *byte }).collect()
}

/// The disk failed, or the bytes on it are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageError {
    /// An operation of the operating system failed.
    Io {
        /// The file, or the directory.
        path: PathBuf,
        /// What was being done: "write", "fdatasync", "open" …
        doing: &'static str,
        /// What the system said.
        reason: String,
        /// The kind, to match on.
        kind: std::io::ErrorKind,
    },
    /// Bytes that a frame promised are damaged. Nothing was changed.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Byte offset in the file where the damage begins.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The directory is in use by another process.
    InUse {
        /// The directory.
        path: PathBuf,
        /// What is known of the holder, for example its process id.
        holder: String,
    },
    /// The directory was written by a version that this one does not read.
    Version {
        /// The directory.
        path: PathBuf,
        /// The version found.
        found: String,
    },
    /// The log stopped accepting writes after an earlier fault; the text is that fault.
    Stopped(String),
}

impl StorageError {
    /// Wraps an error of the operating system.
    pub fn io(path: impl Into<PathBuf>, doing: &'static str, error: &std::io::Error) -> Self {
        StorageError::Io { path: path.into(), doing, reason: error.to_string(), kind: error.kind() }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::Io { path, doing, reason, .. } => {
                write!(f, "{doing} {}: {reason}", path.display())
            }
            StorageError::Damaged { path, offset, reason } => {
                write!(f, "{} is damaged at byte {offset}: {reason}", path.display())
            }
            StorageError::InUse { path, holder } => {
                write!(f, "{} is in use by {holder}", path.display())
            }
            StorageError::Version { path, found } => write!(
                f,
                "{} has format version {found}, which this version does not read",
                path.display()
            ),
            StorageError::Stopped(reason) => write!(f, "the log is stopped: {reason}"),
        }
    }
}

impl std::error::Error for StorageError {}

/// What a call of the embedded API can fail with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The command was refused; nothing has changed.
    Command(CommandError),
    /// The disk or its data failed.
    Storage(StorageError),
    /// A setting is out of its range; the text names it.
    Config(String),
    /// A value cannot be an entry, or an entry does not have what a type wants; the text says why.
    Entry(Box<str>),
    /// The database is closed, or one of its threads has stopped.
    Stopped,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Command(error) => error.fmt(f),
            Error::Storage(error) => error.fmt(f),
            Error::Config(text) => f.write_str(text),
            Error::Entry(text) => f.write_str(text),
            Error::Stopped => f.write_str("the database is closed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Command(error) => Some(error),
            Error::Storage(error) => Some(error),
            Error::Config(_) | Error::Entry(_) | Error::Stopped => None,
        }
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        Error::Command(error)
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Error::Storage(error)
    }
}

#[cfg(test)]
mod tests {
    use super::CommandError;

    #[test]
    fn a_refusal_repeats_bytes_as_they_came() {
        let error = CommandError::no_group(b"\xff\r\n", b"k\0more");
        let wire = b"NOGROUP No such consumer group '\xff  ' for key name 'k'";
        assert_eq!(&error.wire()[..], wire);
        assert_eq!(CommandError::from_wire(wire).wire(), error.wire());
        assert!(error.to_string().contains("group '\u{fffd}  '"), "{error}");
        assert_eq!(error.code(), "NOGROUP");
    }
}
