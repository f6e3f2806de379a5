//! What XREAD and XREADGROUP have in common: the options, the frame of the reply with its budget,
//! the wait.

use crate::command::args::{Request, integer, is_word, strict_integer};
use crate::command::reply::{Deferred, Out};
use crate::command::{OwnedRequest, Wait};
use crate::error::CommandError;
use crate::stream::{EntryRef, UnixMs};

/// Which of the two commands is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// XREAD.
    Read,
    /// XREADGROUP.
    ReadGroup,
}

/// The options, and where the keys and IDs stand.
#[derive(Debug, Clone)]
pub(super) struct Options<'a> {
    request: Request<'a>,
    /// The group and the consumer.
    pub group: Option<(&'a [u8], &'a [u8])>,
    /// The most entries of one stream.
    pub count: usize,
    /// The most entries of the whole reply.
    max_count: usize,
    /// After how many bytes of the reply no further entry is begun.
    max_size: usize,
    /// How long to wait, in milliseconds; 0 is forever.
    pub block_ms: Option<u64>,
    /// Pending entries idle for so many milliseconds are handed out first.
    pub claim_idle_ms: Option<u64>,
    /// Whether delivered entries do not become pending.
    pub noack: bool,
    /// Where the keys begin.
    keys_at: usize,
    /// How many streams there are; `None` if an ID is missing.
    streams: Option<usize>,
}

const UNBALANCED: CommandError = CommandError::Fixed(
    "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be \
     specified.",
);
const UNBALANCED_VALKEY: CommandError = CommandError::Fixed(
    "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.",
);
const UNBALANCED_GROUP: CommandError = CommandError::Fixed(
    "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be \
     specified.",
);

const OUT_OF_RANGE: CommandError = CommandError::Fixed("ERR timeout is out of range");
/// No clock says more, in milliseconds.
const YEAR_9999_MS: i64 = 253_402_300_799_999;

impl<'a> Options<'a> {
    /// Reads everything but the IDs.
    ///
    /// # Errors
    /// Every refusal that depends on the arguments alone, but that an ID is missing for XREAD:
    /// its text depends on the settings, so [`Options::check`] gives it.
    pub(super) fn parse(request: &Request<'a>, caller: Caller) -> Result<Self, CommandError> {
        let mut options = Options {
            request: *request,
            group: None,
            count: usize::MAX,
            max_count: usize::MAX,
            max_size: usize::MAX,
            block_ms: None,
            claim_idle_ms: None,
            noack: false,
            keys_at: 0,
            streams: None,
        };
        options.parse_words(caller)?;
        let strings = request.len() - options.keys_at;
        if !strings.is_multiple_of(2) {
            return if caller == Caller::Read { Ok(options) } else { Err(UNBALANCED_GROUP) };
        }
        options.streams = Some(strings / 2);
        if options.max_count < options.count && options.count != usize::MAX {
            let text = "ERR MAXCOUNT must be greater than or equal to COUNT";
            return Err(CommandError::Fixed(text));
        }
        Ok(options)
    }

    /// Reads the words up to STREAMS.
    fn parse_words(&mut self, caller: Caller) -> Result<(), CommandError> {
        let mut args = self.request.args(1);
        while let Some(word) = args.next() {
            let more = args.remaining();
            let option = |name| more >= 1 && is_word(word, name);
            if option("BLOCK") {
                self.block_ms = Some(timeout(args.required()?)?);
            } else if option("COUNT") {
                let count = integer(args.required()?)?;
                self.count = usize::try_from(count).ok().filter(|&n| n > 0).unwrap_or(usize::MAX);
            } else if option("STREAMS") {
                self.keys_at = args.index();
                return Ok(());
            } else if option("GROUP") && more >= 2 {
                for_groups(caller, GROUP_IN_XREAD)?;
                self.group = Some((args.required()?, args.required()?));
            } else if is_word(word, "NOACK") {
                for_groups(caller, NOACK_IN_XREAD)?;
                self.noack = true;
            } else if option("CLAIM") {
                for_groups(caller, CLAIM_IN_XREAD)?;
                self.claim_idle_ms = Some(min_idle(args.required()?)?);
            } else if option("MAXCOUNT") {
                let text = "ERR MAXCOUNT must be a positive integer";
                self.max_count = positive(args.required()?, text)?;
            } else if option("MAXSIZE") {
                let text = "ERR MAXSIZE must be a positive integer";
                self.max_size = positive(args.required()?, text)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Err(CommandError::Syntax)
    }

    /// The refusals that depend on the settings and the clock.
    ///
    /// # Errors
    /// If an ID is missing, or the timeout ends after the end of time.
    pub(super) fn check(&self, valkey: bool, now: UnixMs) -> Result<(), CommandError> {
        if self.streams.is_none() {
            return Err(if valkey { UNBALANCED_VALKEY } else { UNBALANCED });
        }
        let end = self.block_ms.unwrap_or_default().checked_add(now.0);
        match end.map(i64::try_from) {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(OUT_OF_RANGE),
        }
    }

    /// How many streams are read.
    pub(super) fn streams(&self) -> usize {
        self.streams.unwrap_or_default()
    }

    /// The key and the ID of the `n`-th stream.
    pub(super) fn stream(&self, n: usize) -> (&'a [u8], &'a [u8]) {
        let at = self.keys_at + n;
        (self.request.arg(at), self.request.arg(at + self.streams()))
    }

    /// What to wait for when nothing was found. `id` gives what to ask for in place of the ID of
    /// the `n`-th stream.
    pub(super) fn wait(
        &self,
        timeout_ms: u64,
        retry_at: Option<UnixMs>,
        id: impl Fn(usize) -> Box<[u8]>,
    ) -> Box<Wait> {
        let ids: Vec<_> = (0..self.streams()).map(id).collect();
        let words = self.request.from(0).take(self.keys_at + self.streams());
        Box::new(Wait {
            timeout_ms,
            keys: (0..self.streams()).map(|n| self.stream(n).0.into()).collect(),
            group: self.group.map(|(group, _)| group.into()),
            claim_idle_ms: self.claim_idle_ms,
            retry_at,
            request: OwnedRequest::new(words.chain(ids.iter().map(|id| &**id))),
        })
    }
}

const GROUP_IN_XREAD: &str =
    "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.";
const NOACK_IN_XREAD: &str =
    "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.";
const CLAIM_IN_XREAD: &str =
    "ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.";

/// Refuses XREAD an option that is only for groups.
fn for_groups(caller: Caller, text: &'static str) -> Result<(), CommandError> {
    match caller {
        Caller::Read => Err(CommandError::Fixed(text)),
        Caller::ReadGroup => Ok(()),
    }
}

/// The argument of BLOCK.
fn timeout(text: &[u8]) -> Result<u64, CommandError> {
    let value = strict_integer(text)
        .ok_or(CommandError::Fixed("ERR timeout is not an integer or out of range"))?;
    // Other faults of the command come second, so this cannot wait for the clock.
    if value > i64::MAX - YEAR_9999_MS {
        return Err(OUT_OF_RANGE);
    }
    u64::try_from(value).map_err(|_| CommandError::Fixed("ERR timeout is negative"))
}

/// The argument of CLAIM.
fn min_idle(text: &[u8]) -> Result<u64, CommandError> {
    let value = strict_integer(text)
        .ok_or(CommandError::Fixed("ERR min-idle-time is not an integer or out of range"))?;
    u64::try_from(value)
        .map_err(|_| CommandError::Fixed("ERR min-idle-time must be a positive integer"))
}

/// A number above 0, or the refusal `otherwise`.
fn positive(text: &[u8], otherwise: &'static str) -> Result<usize, CommandError> {
    let value = strict_integer(text).and_then(|value| usize::try_from(value).ok());
    value.filter(|&value| value > 0).ok_or(CommandError::Fixed(otherwise))
}

/// A reply being written: streams with entries, as long as MAXCOUNT and MAXSIZE permit.
#[derive(Debug)]
pub(super) struct Reply {
    streams: Deferred,
    /// Where the reply begins.
    start: usize,
    /// How many streams are in it.
    served: usize,
    /// How many entries are in it.
    entries: usize,
    max_count: usize,
    max_size: usize,
}

/// One stream of a reply being written.
#[derive(Debug)]
#[must_use]
pub(super) struct OpenStream {
    entries: Deferred,
    /// Where the stream's part begins.
    start: usize,
}

impl Reply {
    /// Begins the reply.
    pub(super) fn begin(out: &mut Out<'_>, options: &Options<'_>) -> Self {
        let start = out.len();
        Reply {
            streams: out.begin_map_of_arrays(options.streams()),
            start,
            served: 0,
            entries: 0,
            max_count: options.max_count,
            max_size: options.max_size,
        }
    }

    /// Whether MAXCOUNT or MAXSIZE was given.
    pub(super) fn is_limited(&self) -> bool {
        (self.max_count, self.max_size) != (usize::MAX, usize::MAX)
    }

    /// Whether another entry may be written. The first always may.
    pub(super) fn admits(&self, out: &Out<'_>) -> bool {
        self.entries == 0
            || (self.entries < self.max_count && out.len() - self.start < self.max_size)
    }

    /// Begins a stream of about `expected` entries at most.
    pub(super) fn open(&self, out: &mut Out<'_>, key: &[u8], expected: usize) -> OpenStream {
        let start = out.len();
        out.pair(key);
        OpenStream { entries: out.begin_array(expected.min(self.max_count)), start }
    }

    /// Counts an entry that was written.
    pub(super) fn count_entry(&mut self) {
        self.entries += 1;
    }

    /// Writes entries while they are admitted; `each` sees those written. Returns how many.
    pub(super) fn write<'e>(
        &mut self,
        out: &mut Out<'_>,
        entries: impl Iterator<Item = EntryRef<'e>>,
        mut each: impl FnMut(&mut Out<'_>, &EntryRef<'e>),
    ) -> usize {
        let mut written = 0;
        for entry in entries {
            if !self.admits(out) {
                break;
            }
            each(out, &entry);
            self.count_entry();
            written += 1;
        }
        written
    }

    /// Ends a stream with its number of entries.
    pub(super) fn close(&mut self, out: &mut Out<'_>, stream: OpenStream, entries: usize) {
        out.end_array(stream.entries, entries);
        self.served += 1;
    }

    /// Takes a stream back: it is not served.
    pub(super) fn cancel(&self, out: &mut Out<'_>, stream: OpenStream) {
        out.truncate(stream.start);
    }

    /// Ends the reply and says whether any stream was served. If none was, nothing is written.
    pub(super) fn end(self, out: &mut Out<'_>) -> bool {
        if self.served == 0 {
            out.truncate(self.start);
            return false;
        }
        out.end_array(self.streams, self.served);
        true
    }
}
