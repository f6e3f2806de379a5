//! Typed commands on keys: each a struct with `parse` and `run`, in that order.
//!
//! [`run`] leads from a row of the table to its struct. A command is parsed when it runs, also
//! inside EXEC. Those of a whole database run here with the keyspaces of all shards in hand;
//! commands of the connection and of the server run where those live (`server/client.rs`,
//! `db/admin.rs`).

pub mod args;
pub mod claim;
pub mod compare;
pub mod consume;
pub mod docs;
pub mod entry;
pub mod expire;
pub mod float;
pub mod inspect;
pub mod keys;
pub mod object;
pub mod read;
pub mod readgroup;
mod reading;
pub mod remainder;
pub mod reply;
pub mod scan;
pub mod strings;
pub mod substrings;
pub mod table;
#[cfg(test)]
mod testing;
mod trim;
pub mod typed;
pub mod value;
pub mod write;

pub use args::Request;
pub use entry::{Entry, ToFields};
pub use remainder::Remainder;
pub use reply::{Out, Protocol};
pub use table::Name;
pub use typed::Call;
pub use value::Reply;

use crate::error::CommandError;
use crate::keyspace::Txn;
use crate::stream::fields::Span;
use bytes::Bytes;
use std::cell::Cell;

/// A command on keys.
pub trait KeyCommand<'a>: Sized {
    /// Reads the arguments. The row's arity holds.
    ///
    /// # Errors
    /// The refusals that depend on the arguments alone.
    fn parse(request: &Request<'a>) -> Result<Self, CommandError>;

    /// Decides, commits, answers.
    ///
    /// # Errors
    /// The refusals that depend on the state, which has not changed. What was written to `out` is
    /// taken back by the caller.
    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError>;
}

/// Parses and runs a command on keys, whose number of arguments is right.
///
/// # Errors
/// As the command; the state has not changed. What was written to `out` is to be taken back.
pub fn run(
    name: Name,
    request: &Request<'_>,
    txn: &mut Txn<'_, '_>,
    out: &mut Out<'_>,
) -> Result<Ran, CommandError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other commands follow below")]
    match name {
        Name::XAck => typed::<consume::XAck<'_>>(request, txn, out),
        Name::XAckDel => typed::<consume::XAckDel<'_>>(request, txn, out),
        Name::XAdd => typed::<write::XAdd<'_>>(request, txn, out),
        Name::XAutoClaim => typed::<claim::XAutoClaim<'_>>(request, txn, out),
        Name::XCfgSet => typed::<write::XCfgSet<'_>>(request, txn, out),
        Name::XClaim => typed::<claim::XClaim<'_>>(request, txn, out),
        Name::XDel => typed::<write::XDel<'_>>(request, txn, out),
        Name::XDelEx => typed::<write::XDelEx<'_>>(request, txn, out),
        Name::XGroupCreate => typed::<consume::XGroupCreate<'_>>(request, txn, out),
        Name::XGroupCreateConsumer => typed::<consume::XGroupCreateConsumer<'_>>(request, txn, out),
        Name::XGroupDelConsumer => typed::<consume::XGroupDelConsumer<'_>>(request, txn, out),
        Name::XGroupDestroy => typed::<consume::XGroupDestroy<'_>>(request, txn, out),
        Name::XGroupSetId => typed::<consume::XGroupSetId<'_>>(request, txn, out),
        Name::XIdmpRecord => typed::<write::XIdmpRecord<'_>>(request, txn, out),
        Name::XInfoConsumers => typed::<inspect::XInfoConsumers<'_>>(request, txn, out),
        Name::XInfoGroups => typed::<inspect::XInfoGroups<'_>>(request, txn, out),
        Name::XInfoStream => typed::<inspect::XInfoStream<'_>>(request, txn, out),
        Name::XLen => typed::<read::XLen<'_>>(request, txn, out),
        Name::XNack => typed::<consume::XNack<'_>>(request, txn, out),
        Name::XPending => typed::<claim::XPending<'_>>(request, txn, out),
        Name::XRange => typed::<read::XRange<'_>>(request, txn, out),
        Name::XRead => typed::<read::XRead<'_>>(request, txn, out),
        Name::XReadGroup => typed::<readgroup::XReadGroup<'_>>(request, txn, out),
        Name::XRevRange => typed::<read::XRevRange<'_>>(request, txn, out),
        Name::XSetId => typed::<write::XSetId<'_>>(request, txn, out),
        Name::XTrim => typed::<write::XTrim<'_>>(request, txn, out),
        _ => run_on_any_type(name, request, txn, out),
    }
}

/// [`run`] for commands on keys of any type, on whole databases, and on strings.
fn run_on_any_type(
    name: Name,
    request: &Request<'_>,
    txn: &mut Txn<'_, '_>,
    out: &mut Out<'_>,
) -> Result<Ran, CommandError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other commands run elsewhere")]
    match name {
        Name::Copy => typed::<keys::Copy<'_>>(request, txn, out),
        Name::Del | Name::Unlink => typed::<keys::Del<'_>>(request, txn, out),
        Name::Dump => typed::<keys::Dump<'_>>(request, txn, out),
        Name::Exists => typed::<keys::Exists<'_>>(request, txn, out),
        Name::Expire | Name::ExpireAt | Name::PExpire | Name::PExpireAt => {
            typed::<expire::Expire<'_>>(request, txn, out)
        }
        Name::ExpireTime | Name::PExpireTime | Name::PTtl | Name::Ttl => {
            typed::<expire::Ttl<'_>>(request, txn, out)
        }
        Name::MemoryUsage => typed::<object::MemoryUsage<'_>>(request, txn, out),
        Name::Move => typed::<keys::Move<'_>>(request, txn, out),
        Name::ObjectEncoding => typed::<object::ObjectEncoding<'_>>(request, txn, out),
        Name::ObjectFreq => typed::<object::ObjectFreq<'_>>(request, txn, out),
        Name::ObjectIdleTime => typed::<object::ObjectIdleTime<'_>>(request, txn, out),
        Name::ObjectRefCount => typed::<object::ObjectRefCount<'_>>(request, txn, out),
        Name::Persist => typed::<expire::Persist<'_>>(request, txn, out),
        Name::Rename | Name::RenameNx => typed::<keys::Rename<'_>>(request, txn, out),
        Name::Restore => typed::<keys::Restore<'_>>(request, txn, out),
        Name::Touch => typed::<keys::Touch<'_>>(request, txn, out),
        Name::Type => typed::<keys::Type<'_>>(request, txn, out),
        Name::DbSize => typed::<scan::DbSize>(request, txn, out),
        Name::FlushAll | Name::FlushDb => typed::<scan::Flush>(request, txn, out),
        Name::Keys => typed::<scan::Keys<'_>>(request, txn, out),
        Name::RandomKey => typed::<scan::RandomKey>(request, txn, out),
        Name::Scan => typed::<scan::Scan<'_>>(request, txn, out),
        Name::SwapDb => typed::<scan::SwapDb>(request, txn, out),
        Name::Append => typed::<substrings::Append<'_>>(request, txn, out),
        Name::Decr | Name::DecrBy | Name::Incr | Name::IncrBy => {
            typed::<strings::IncrBy<'_>>(request, txn, out)
        }
        Name::Get => typed::<strings::Get<'_>>(request, txn, out),
        Name::DelEx => typed::<compare::DelEx<'_>>(request, txn, out),
        Name::Digest => typed::<compare::Digest<'_>>(request, txn, out),
        Name::MSetEx => typed::<strings::MSetEx<'_>>(request, txn, out),
        Name::GetDel => typed::<strings::GetDel<'_>>(request, txn, out),
        Name::GetEx => typed::<strings::GetEx<'_>>(request, txn, out),
        Name::GetSet | Name::PSetEx | Name::Set | Name::SetEx | Name::SetNx => {
            typed::<strings::Set<'_>>(request, txn, out)
        }
        Name::MGet => typed::<strings::MGet<'_>>(request, txn, out),
        Name::MSet | Name::MSetNx => typed::<strings::MSet<'_>>(request, txn, out),
        Name::StrLen => typed::<substrings::StrLen<'_>>(request, txn, out),
        Name::GetRange | Name::SubStr => typed::<substrings::GetRange<'_>>(request, txn, out),
        Name::IncrByFloat => typed::<float::IncrByFloat<'_>>(request, txn, out),
        Name::SetRange => typed::<substrings::SetRange<'_>>(request, txn, out),
        _ => unreachable!("{} does not run on a shard", name.full_name()),
    }
}

/// One command. Never a part of [`run`], which would need the room of all commands for each.
#[inline(never)]
fn typed<'a, C: KeyCommand<'a>>(
    request: &Request<'a>,
    txn: &mut Txn<'_, '_>,
    out: &mut Out<'_>,
) -> Result<Ran, CommandError> {
    C::parse(request)?.run(txn, out)
}

/// How a command ended.
#[derive(Debug)]
pub enum Ran {
    /// It has answered.
    Replied,
    /// It found nothing and has not answered: it wants to wait.
    WouldBlock(Box<Wait>),
}

/// What a blocked reader waits for.
#[derive(Debug)]
pub struct Wait {
    /// For how long, in milliseconds; 0 is forever.
    pub timeout_ms: u64,
    /// The keys it waits on, in request order.
    pub keys: Vec<Box<[u8]>>,
    /// The group, for XREADGROUP: such a waiter is also told when its key or group goes.
    pub group: Option<Box<[u8]>>,
    /// How long pending entries must have been idle for it to take them, if it takes any
    /// (XREADGROUP CLAIM).
    pub claim_idle_ms: Option<u64>,
    /// When to look again although nothing was signalled (XREADGROUP CLAIM).
    pub retry_at: Option<crate::stream::UnixMs>,
    /// What to run again: the same command with every `$` replaced by the ID it meant.
    pub request: OwnedRequest,
}

/// Requests in one buffer, to be run one after the other.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    room: Room,
    is_too_large: bool,
}

/// What requests stand in. A program asks one thing after the other: what was used on a thread is
/// kept there for the next ones.
#[derive(Debug, Clone, Default)]
struct Room {
    buffer: Vec<u8>,
    spans: Vec<Span>,
    /// How many spans there are at the end of each request.
    ends: Vec<usize>,
    /// The commands of the requests, once they were looked up.
    rows: Vec<&'static table::Row>,
}

thread_local! {
    static KEPT: Cell<Option<Room>> = const { Cell::new(None) };
}

/// The most bytes of a buffer that is kept; chosen, as most requests have less.
const KEPT_BYTES_MAX: usize = 4096;

/// **Limit** of the bytes of requests that are run together; chosen, Redis's limit of one argument.
pub const REQUESTS_BYTES_MAX: usize = 512 << 20;

impl Requests {
    /// None, with room for a common one.
    pub fn new() -> Self {
        let kept = KEPT.try_with(Cell::take).unwrap_or_default();
        let room = kept.unwrap_or_else(|| Room {
            buffer: Vec::with_capacity(256),
            spans: Vec::with_capacity(16),
            ends: Vec::with_capacity(1),
            rows: Vec::with_capacity(1),
        });
        Requests { room, is_too_large: false }
    }

    /// Adds an argument to the request that is being written.
    pub fn arg(&mut self, arg: impl AsRef<[u8]>) -> &mut Self {
        let (start, arg) = (self.room.buffer.len(), arg.as_ref());
        if start + arg.len() > REQUESTS_BYTES_MAX {
            self.is_too_large = true;
            return self;
        }
        self.room.buffer.extend_from_slice(arg);
        self.room.spans.push(Span::new(start, self.room.buffer.len()));
        self
    }

    /// Adds a number.
    pub fn number(&mut self, value: u64) -> &mut Self {
        let mut digits = [0; 20];
        let at = crate::stream::id::write_u64_before(&mut digits, 20, value);
        self.arg(&digits[at..])
    }

    /// Adds an entry ID.
    pub fn id(&mut self, id: crate::stream::EntryId) -> &mut Self {
        let mut buffer = [0; crate::stream::id::ID_TEXT_MAX];
        self.arg(id.write_text(&mut buffer))
    }

    /// Adds arguments.
    pub fn args<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        for arg in args {
            self.arg(arg);
        }
        self
    }

    /// Adds entry IDs.
    pub fn ids(&mut self, ids: &[crate::stream::EntryId]) -> &mut Self {
        for id in ids {
            self.id(*id);
        }
        self
    }

    /// Ends the request that is being written.
    pub fn end(&mut self) {
        self.room.ends.push(self.room.spans.len());
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.room.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.room.ends.is_empty()
    }

    /// The bytes of all arguments.
    pub fn bytes_len(&self) -> usize {
        self.room.buffer.len()
    }

    /// Whether [`REQUESTS_BYTES_MAX`] was exceeded: arguments are missing then.
    pub fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// The request at `index`.
    pub fn get(&self, index: usize) -> Request<'_> {
        let Room { buffer, spans, ends, .. } = &self.room;
        let start = index.checked_sub(1).map_or(0, |before| ends[before]);
        Request::borrowed(buffer, &spans[start..ends[index]])
    }

    /// Says of which command the next request is that has not been looked up.
    pub fn push_row(&mut self, row: &'static table::Row) {
        self.room.rows.push(row);
    }

    /// The requests that have been looked up.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static table::Row, Request<'_>)> {
        self.room.rows.iter().enumerate().map(|(index, row)| (*row, self.get(index)))
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let Room { mut buffer, mut spans, mut ends, mut rows } = std::mem::take(&mut self.room);
        if (1..=KEPT_BYTES_MAX).contains(&buffer.capacity()) && spans.len() <= KEPT_BYTES_MAX {
            buffer.clear();
            spans.clear();
            ends.clear();
            rows.clear();
            // A thread that ends keeps nothing.
            let _ = KEPT.try_with(|kept| kept.set(Some(Room { buffer, spans, ends, rows })));
        }
    }
}

/// A request that outlives the buffer it was read from, or has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnedRequest {
    buffer: Bytes,
    spans: Box<[Span]>,
    /// Whether the buffer is as it came over the wire.
    is_whole: bool,
}

impl OwnedRequest {
    /// A request of these arguments.
    pub fn new<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Self {
        OwnedRequest::gather(args, 0, 0)
    }

    fn gather<'a>(args: impl IntoIterator<Item = &'a [u8]>, count: usize, bytes: usize) -> Self {
        let (mut buffer, mut spans) = (Vec::with_capacity(bytes), Vec::with_capacity(count));
        for arg in args {
            let start = buffer.len();
            buffer.extend_from_slice(arg);
            spans.push(Span::new(start, buffer.len()));
        }
        OwnedRequest { buffer: buffer.into(), spans: spans.into(), is_whole: false }
    }

    /// The request, borrowed.
    pub fn request(&self) -> Request<'_> {
        let whole = self.is_whole.then_some(&self.buffer);
        Request { buffer: &self.buffer, spans: &self.spans, whole }
    }

    /// Bytes of memory it holds.
    pub fn memory_bytes(&self) -> usize {
        self.buffer.len() + size_of_val(&*self.spans)
    }
}

impl From<&Request<'_>> for OwnedRequest {
    fn from(request: &Request<'_>) -> Self {
        if let Some(whole) = request.whole {
            let (buffer, spans) = (whole.clone(), request.spans.into());
            return OwnedRequest { buffer, spans, is_whole: true };
        }
        let bytes = request.from(0).map(<[u8]>::len).sum();
        OwnedRequest::gather(request.from(0), request.len(), bytes)
    }
}
