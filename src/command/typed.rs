//! The stream commands as types of the program: a struct says what is asked, its
//! [`Call::Output`] what comes back. Run them by `Db::call`.
//!
//! They go the way of every command: their words are parsed, and their reply is read. So they can
//! do what the wire can, no more and no less.
//!
//! | file | commands |
//! |---|---|
//! | `write.rs` | XADD, XTRIM, XDEL, XDELEX, XSETID, XCFGSET, XIDMPRECORD |
//! | `read.rs` | XLEN, XRANGE, XREVRANGE, XREAD, XINFO … |
//! | `group.rs` | XGROUP …, XREADGROUP, XACK, XACKDEL, XNACK, XPENDING, XCLAIM, XAUTOCLAIM |

mod group;
mod read;
mod write;

pub use group::{
    Delivered, Mode, PendingEntry, PendingSummary, XAck, XAckDel, XAutoClaim, XAutoClaimed, XClaim,
    XGroupCreate, XGroupCreateConsumer, XGroupDelConsumer, XGroupDestroy, XGroupSetId, XNack,
    XPending, XPendingEntries, XReadGroup,
};
pub use read::{
    ConsumerInfo, GroupInfo, XInfoConsumers, XInfoGroups, XInfoStream, XLen, XRange, XRead,
    XRevRange,
};
pub use write::{Idempotent, NewId, XAdd, XCfgSet, XDel, XDelEx, XIdmpRecord, XSetId, XTrim};

use super::Requests;
use super::value::{Reader, Unexpected};
use crate::stream::EntryId;
use bytes::Bytes;

/// A command with a typed answer.
pub trait Call {
    /// What it answers.
    type Output: 'static;

    /// Writes the request's words.
    fn write(&self, requests: &mut Requests);

    /// Reads the reply, which is no refusal.
    ///
    /// # Errors
    /// [`Unexpected`].
    fn read(reader: &mut Reader) -> Result<Self::Output, Unexpected>;
}

/// Where a group or a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the first entry that is there.
    #[default]
    First,
    /// After what is there now.
    New,
    /// After this entry.
    After(EntryId),
}

impl Start {
    /// At entries of this time and later.
    ///
    /// A time before 1970 is the beginning.
    pub fn at(time: std::time::SystemTime) -> Self {
        match EntryId::at(time).previous() {
            Some(before) => Start::After(before),
            None => Start::First,
        }
    }

    fn write(self, requests: &mut Requests) {
        match self {
            Start::First => requests.id(EntryId::MIN),
            Start::New => requests.arg("$"),
            Start::After(id) => requests.id(id),
        };
    }
}

/// What a stream is trimmed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    /// To so many entries.
    MaxLen(u64),
    /// To at least so many entries, in whole blocks, which costs less.
    AboutMaxLen(u64),
    /// To entries from this ID on.
    MinId(EntryId),
    /// To at least the entries from this ID on, in whole blocks.
    AboutMinId(EntryId),
}

impl Trim {
    fn write(self, requests: &mut Requests) {
        match self {
            Trim::MaxLen(n) => requests.arg("MAXLEN").number(n),
            Trim::AboutMaxLen(n) => requests.arg("MAXLEN").arg("~").number(n),
            Trim::MinId(id) => requests.arg("MINID").id(id),
            Trim::AboutMinId(id) => requests.arg("MINID").arg("~").id(id),
        };
    }
}

/// What becomes of groups' references to an entry that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum References {
    /// They stay: the entry is pending and gone.
    #[default]
    Keep,
    /// They go, too.
    Delete,
    /// The entry goes only when all groups have acknowledged it.
    Acked,
}

impl References {
    fn write(self, requests: &mut Requests) {
        requests.arg(match self {
            References::Keep => "KEEPREF",
            References::Delete => "DELREF",
            References::Acked => "ACKED",
        });
    }
}

/// What became of one entry of XDELEX or XACKDEL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// There is none, or it was not pending.
    Missing,
    /// It is gone.
    Gone,
    /// It is still referenced, and stays.
    Kept,
}

impl Deleted {
    fn read(reader: &mut Reader) -> Result<Deleted, Unexpected> {
        match reader.integer()? {
            -1 => Ok(Deleted::Missing),
            1 => Ok(Deleted::Gone),
            2 => Ok(Deleted::Kept),
            _ => Err(Unexpected),
        }
    }

    fn read_all(reader: &mut Reader) -> Result<Vec<Deleted>, Unexpected> {
        let n = reader.array()?.unwrap_or_default();
        (0..n).map(|_| Deleted::read(reader)).collect()
    }

    /// How many are not [`Deleted::Missing`].
    pub(crate) fn read_found(reader: &mut Reader) -> Result<u64, Unexpected> {
        let n = reader.array()?.unwrap_or_default();
        let mut found = 0;
        for _ in 0..n {
            found += u64::from(Deleted::read(reader)? != Deleted::Missing);
        }
        Ok(found)
    }
}

/// `IDS n id …`
fn write_ids(requests: &mut Requests, ids: &[EntryId]) {
    requests.arg("IDS").number(ids.len() as u64);
    requests.ids(ids);
}

/// `word number`, if there is one.
fn write_option(requests: &mut Requests, word: &str, value: Option<u64>) {
    if let Some(value) = value {
        requests.arg(word).number(value);
    }
}

fn read_ok(reader: &mut Reader) -> Result<(), Unexpected> {
    reader.bulk().map(drop)
}

/// A name that must be there.
fn read_name(reader: &mut Reader) -> Result<Bytes, Unexpected> {
    reader.bulk()?.ok_or(Unexpected)
}

#[cfg(test)]
mod tests;
