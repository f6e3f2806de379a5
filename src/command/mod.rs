//! Typed commands on keys: each a struct with `parse` and `run`, in that order.
//!
//! [`run`] leads from a row of the table to its struct. A command is parsed when it runs, also
//! inside EXEC. Commands of the connection and of the whole database run where those live
//! (`server/client.rs`, `db/admin.rs`).

pub mod args;
pub mod claim;
pub mod consume;
pub mod docs;
pub mod inspect;
pub mod read;
pub mod readgroup;
mod reading;
pub mod reply;
pub mod table;
#[cfg(test)]
mod testing;
mod trim;
pub mod write;

pub use args::Request;
pub use reply::{Out, Protocol};
pub use table::Name;

use crate::error::CommandError;
use crate::keyspace::Txn;
use crate::stream::fields::Span;

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
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other commands run elsewhere")]
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
        _ => unreachable!("{} does not run on a shard", name.full_name()),
    }
}

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
    WouldBlock(Wait),
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
    /// When to look again although nothing was signalled (XREADGROUP CLAIM).
    pub retry_at: Option<crate::stream::UnixMs>,
    /// What to run again: the same command with every `$` replaced by the ID it meant.
    pub request: OwnedRequest,
}

/// A request that outlives the buffer it was read from.
#[derive(Debug, Clone, Default)]
pub struct OwnedRequest {
    buffer: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedRequest {
    /// A request of these arguments.
    pub fn new<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut owned = OwnedRequest::default();
        for arg in args {
            let start = owned.buffer.len();
            owned.buffer.extend_from_slice(arg);
            owned.spans.push(Span::new(start, owned.buffer.len()));
        }
        owned
    }

    /// The request, borrowed.
    pub fn request(&self) -> Request<'_> {
        Request { buffer: &self.buffer, spans: &self.spans }
    }

    /// Bytes of memory it holds.
    pub fn memory_bytes(&self) -> usize {
        self.buffer.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

impl From<&Request<'_>> for OwnedRequest {
    fn from(request: &Request<'_>) -> Self {
        OwnedRequest::new(request.from(0))
    }
}
