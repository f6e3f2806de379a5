//! CLIENT: what clients tell of themselves, see of each other and do to each other.

use super::client::{Around, Client, ReplyMode, Then, check_name, is_printable, timeout};
use super::clients::{CONNECTION_BYTES, Shared, flag};
use crate::command::args::{Args, is_word, lossy, strict_integer};
use crate::command::table::TABLE;
use crate::command::{Name, Out, Request};
use crate::db::pause::Paused;
use crate::error::CommandError;
use crate::shard::waiters::Woken;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Client {
    /// Runs a subcommand of CLIENT.
    pub(super) fn run_client(
        &mut self,
        name: Name,
        request: &Request<'_>,
        around: Around<'_>,
        out: &mut Out<'_>,
    ) -> Result<Then, CommandError> {
        let command = u32::try_from(name.index() + 1).unwrap_or_default();
        self.shared.seen.command.store(command, Ordering::Relaxed);
        self.show();
        let arg = request.arg(2);
        #[expect(clippy::wildcard_enum_match_arm, reason = "no other subcommand runs here")]
        match name {
            Name::ClientId => out.unsigned(self.shared.id),
            Name::ClientGetName => match &*self.shared.names().name {
                "" => out.null(),
                name => out.bulk(name.as_bytes()),
            },
            Name::ClientSetName => {
                check_name(arg)?;
                self.shared.rename(|names| names.name = lossy(arg).into());
                out.ok();
            }
            Name::ClientSetInfo => self.set_info(arg, request.arg(3), out)?,
            Name::ClientInfo => out.verbatim(&line(&self.shared, around)),
            Name::ClientList => list(request, around, out)?,
            Name::ClientKill => return self.kill(request, around, out),
            Name::ClientUnblock => unblock(request, around, out)?,
            Name::ClientPause => return pause(request),
            Name::ClientUnpause => {
                around.server.core.pause.end();
                out.ok();
            }
            Name::ClientReply => self.set_reply_mode(arg, out)?,
            Name::ClientNoEvict => {
                self.shared.mark(flag::NO_EVICT, switch(arg)?);
                out.ok();
            }
            Name::ClientNoTouch => {
                self.no_touch = switch(arg)?;
                self.shared.mark(flag::NO_TOUCH, self.no_touch);
                out.ok();
            }
            Name::ClientGetRedir => out.integer(-1),
            Name::ClientTrackingInfo => {
                out.map(3);
                out.bulk(b"flags");
                out.set(1);
                out.bulk(b"off");
                out.bulk(b"redirect");
                out.integer(-1);
                out.bulk(b"prefixes");
                out.array(0);
            }
            _ => unreachable!("{} is no subcommand of CLIENT", name.full_name()),
        }
        Ok(Then::Nothing)
    }

    fn set_info(
        &mut self,
        attribute: &[u8],
        value: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), CommandError> {
        let is_name = is_word(attribute, "LIB-NAME");
        if !is_name && !is_word(attribute, "LIB-VER") {
            return Err(CommandError::quoting("ERR Unrecognized option '{}'", &[attribute]));
        }
        if !is_printable(value) {
            return Err(CommandError::quoting(
                "ERR {} cannot contain spaces, newlines or special characters.",
                &[attribute],
            ));
        }
        let value = lossy(value).into();
        self.shared.rename(|names| match is_name {
            true => names.library = value,
            false => names.library_version = value,
        });
        out.ok();
        Ok(())
    }

    fn set_reply_mode(&mut self, mode: &[u8], out: &mut Out<'_>) -> Result<(), CommandError> {
        if is_word(mode, "ON") {
            self.reply_mode = ReplyMode::On;
            out.ok();
        } else if is_word(mode, "OFF") {
            self.reply_mode = ReplyMode::Off;
        } else if !is_word(mode, "SKIP") {
            return Err(CommandError::Syntax);
        } else if self.reply_mode == ReplyMode::On {
            self.reply_mode = ReplyMode::Skip;
        }
        Ok(())
    }

    fn kill(
        &mut self,
        request: &Request<'_>,
        around: Around<'_>,
        out: &mut Out<'_>,
    ) -> Result<Then, CommandError> {
        let by_address = request.len() == 3;
        let filter = if by_address {
            let address = Some(request.arg(2));
            Filter { address, skips_caller: false, ..Filter::default() }
        } else {
            Filter::parse(request.args(2))?
        };
        let now_ms = around.server.core.now().0;
        let (mut killed, mut then) = (0, Then::Nothing);
        for client in around.server.clients.list() {
            let is_caller = client.id == self.shared.id;
            if !filter.passes(&client, now_ms) || (is_caller && filter.skips_caller) {
                continue;
            }
            killed += 1;
            if is_caller {
                self.shared.mark(flag::CLOSING, true);
                then = Then::Close;
            } else {
                client.kill();
            }
        }
        match (by_address, killed) {
            (false, _) => out.count(killed),
            (true, 0) => return Err(CommandError::Fixed("ERR No such client")),
            (true, _) => out.ok(),
        }
        Ok(then)
    }
}

/// ON or OFF.
fn switch(arg: &[u8]) -> Result<bool, CommandError> {
    match (is_word(arg, "ON"), is_word(arg, "OFF")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

fn unblock(
    request: &Request<'_>,
    around: Around<'_>,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    if request.len() > 4 {
        return Err(CommandError::subcommand_syntax("CLIENT", request.arg(1)));
    }
    let reason = match request.get(3) {
        None => Woken::TimedOut,
        Some(word) if is_word(word, "TIMEOUT") => Woken::TimedOut,
        Some(word) if is_word(word, "ERROR") => Woken::Unblocked,
        Some(_) => {
            let text = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
            return Err(CommandError::Fixed(text));
        }
    };
    let id = strict_integer(request.arg(2)).ok_or(CommandError::NotAnInteger)?;
    let client = u64::try_from(id).ok().and_then(|id| around.server.clients.get(id));
    let wait = client.and_then(|client| client.wait());
    out.integer(i64::from(wait.is_some_and(|wait| wait.wake(reason))));
    Ok(())
}

fn pause(request: &Request<'_>) -> Result<Then, CommandError> {
    if request.len() > 4 {
        return Err(CommandError::subcommand_syntax("CLIENT", request.arg(1)));
    }
    let paused = match request.get(3) {
        None => Paused::All,
        Some(word) if is_word(word, "ALL") => Paused::All,
        Some(word) if is_word(word, "WRITE") => Paused::Writes,
        Some(_) => return Err(CommandError::Fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    Ok(Then::Pause(paused, timeout(request.arg(2))?))
}

fn list(request: &Request<'_>, around: Around<'_>, out: &mut Out<'_>) -> Result<(), CommandError> {
    let mut filter = Filter::default();
    let word = request.arg(2);
    if request.len() == 4 && is_word(word, "TYPE") {
        filter.class = Some(Class::parse(request.arg(3))?);
    } else if request.len() > 3 && is_word(word, "ID") {
        let invalid = CommandError::Fixed("ERR Invalid client ID");
        for id in request.from(3) {
            let id = strict_integer(id).ok_or_else(|| invalid.clone())?;
            // No client has a negative number.
            filter.ids.extend(u64::try_from(id));
        }
        filter.has_ids = true;
    } else if request.len() != 2 {
        return Err(CommandError::Syntax);
    }
    let now_ms = around.server.core.now().0;
    let mut text = String::new();
    for client in around.server.clients.list() {
        if filter.passes(&client, now_ms) {
            text.push_str(&line(&client, around));
        }
    }
    out.verbatim(&text);
    Ok(())
}

/// The classes of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Normal,
    PubSub,
    /// Masters and replicas, of which there are none.
    Replication,
}

impl Class {
    fn parse(word: &[u8]) -> Result<Class, CommandError> {
        let classes = [
            ("normal", Class::Normal),
            ("pubsub", Class::PubSub),
            ("master", Class::Replication),
            ("replica", Class::Replication),
            ("slave", Class::Replication),
        ];
        let found = classes.iter().find(|(name, _)| is_word(word, name));
        found
            .map(|(_, class)| *class)
            .ok_or_else(|| CommandError::quoting("ERR Unknown client type '{}'", &[word]))
    }

    fn of(client: &Shared) -> Class {
        if client.has(flag::SUBSCRIBED) { Class::PubSub } else { Class::Normal }
    }
}

/// Which clients CLIENT LIST shows or CLIENT KILL closes.
#[derive(Debug)]
struct Filter<'a> {
    ids: Vec<u64>,
    has_ids: bool,
    class: Option<Class>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    min_age_s: u64,
    skips_caller: bool,
}

impl Default for Filter<'_> {
    fn default() -> Self {
        Filter {
            ids: Vec::new(),
            has_ids: false,
            class: None,
            address: None,
            local_address: None,
            min_age_s: 0,
            skips_caller: true,
        }
    }
}

impl<'a> Filter<'a> {
    /// The filters of CLIENT KILL.
    fn parse(mut args: Args<'a>) -> Result<Self, CommandError> {
        let mut filter = Filter::default();
        while let Some(word) = args.next() {
            let value = args.required()?;
            if is_word(word, "ID") {
                let id = strict_integer(value).and_then(|id| u64::try_from(id).ok());
                let id = id.filter(|id| *id > 0);
                filter
                    .ids
                    .push(id.ok_or(CommandError::Fixed("ERR client-id should be greater than 0"))?);
                filter.has_ids = true;
            } else if is_word(word, "TYPE") {
                filter.class = Some(Class::parse(value)?);
            } else if is_word(word, "ADDR") {
                filter.address = Some(value);
            } else if is_word(word, "LADDR") {
                filter.local_address = Some(value);
            } else if is_word(word, "USER") {
                if value != b"default" {
                    return Err(CommandError::quoting("ERR No such user '{}'", &[value]));
                }
            } else if is_word(word, "MAXAGE") {
                let age = strict_integer(value)
                    .ok_or(CommandError::Fixed("ERR maxage is not an integer or out of range"))?;
                filter.min_age_s = u64::try_from(age)
                    .ok()
                    .filter(|age| *age > 0)
                    .ok_or(CommandError::Fixed("ERR maxage should be greater than 0"))?;
            } else if is_word(word, "SKIPME") {
                filter.skips_caller = match (is_word(value, "YES"), is_word(value, "NO")) {
                    (true, _) => true,
                    (_, true) => false,
                    _ => return Err(CommandError::Syntax),
                };
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(filter)
    }

    fn passes(&self, client: &Shared, now_ms: u64) -> bool {
        let is = |wanted: Option<&[u8]>, address: &str| {
            wanted.is_none_or(|wanted| wanted == address.as_bytes())
        };
        (!self.has_ids || self.ids.contains(&client.id))
            && self.class.is_none_or(|class| class == Class::of(client))
            && is(self.address, client.origin.address())
            && is(self.local_address, client.origin.local_address())
            && now_ms.saturating_sub(client.since_ms) / 1000 >= self.min_age_s
            && !client.is_killed()
    }
}

/// The letters of a client's flags.
fn letters(client: &Shared) -> String {
    let is_watch_broken = client.seen.watched.load(Ordering::Relaxed) > 0 && client.is_dirty();
    let letters: String = [
        ('O', client.has(flag::MONITOR)),
        ('P', client.has(flag::SUBSCRIBED)),
        ('x', client.seen.queued.load(Ordering::Relaxed) >= 0),
        ('b', client.is_blocked()),
        ('d', is_watch_broken),
        ('c', client.has(flag::CLOSING)),
        ('A', client.is_killed()),
        ('U', client.origin.is_unix),
        ('e', client.has(flag::NO_EVICT)),
        ('T', client.has(flag::NO_TOUCH)),
    ]
    .iter()
    .filter_map(|(letter, is_set)| is_set.then_some(*letter))
    .collect();
    if letters.is_empty() { "N".to_owned() } else { letters }
}

/// A client's line in CLIENT LIST, with its line end.
pub(super) fn line(client: &Arc<Shared>, around: Around<'_>) -> String {
    let seen = &client.seen;
    let names = client.names();
    let counts = around.server.core.pubsub.client_counts(client.id);
    let now_ms = around.server.core.now().0;
    let age_s = now_ms.saturating_sub(client.since_ms) / 1000;
    let idle_s = now_ms.saturating_sub(seen.last_ms.load(Ordering::Relaxed)) / 1000;
    let unread = seen.unread_bytes.load(Ordering::Relaxed);
    let unsent = seen.unsent_bytes.load(Ordering::Relaxed);
    let total = CONNECTION_BYTES + unread + unsent;
    let command = usize::try_from(seen.command.load(Ordering::Relaxed)).unwrap_or(0);
    let command = command.checked_sub(1).and_then(|row| TABLE.get(row));
    let command = command.map_or("NULL", |row| row.full_name());
    let capabilities = if around.is_valkey() { " capa=" } else { "" };
    let mut line = format!(
        "id={} addr={} laddr={} fd={} name={} age={age_s} idle={idle_s} flags={}{capabilities} \
         db={} sub={} psub={} ssub={} multi={} watch={} qbuf={unread} qbuf-free=0 argv-mem=0 \
         multi-mem=0 rbs=0 rbp=0 obl={unsent} oll=0 omem={unsent} tot-mem={total} events=r \
         cmd={command} user=default redir=-1 resp={} lib-name={} lib-ver={}",
        client.id,
        client.origin.address(),
        client.origin.local_address(),
        client.origin.descriptor,
        names.name,
        letters(client),
        seen.db.load(Ordering::Relaxed),
        counts.channels,
        counts.patterns,
        counts.shard_channels,
        seen.queued.load(Ordering::Relaxed),
        seen.watched.load(Ordering::Relaxed),
        seen.protocol.load(Ordering::Relaxed),
        names.library,
        names.library_version,
    );
    if !around.is_valkey() {
        // Writing to a `String` does not fail.
        let _ = write!(line, " io-thread={}", client.thread);
    }
    let _ = write!(
        line,
        " tot-net-in={} tot-net-out={} tot-cmds={}",
        seen.input_bytes.load(Ordering::Relaxed),
        seen.output_bytes.load(Ordering::Relaxed),
        seen.commands.load(Ordering::Relaxed),
    );
    if !around.is_valkey() {
        line.push_str(" read-events=0 parse-batch-cmd-sum=0 parse-batch-cnt=0");
    }
    line.push('\n');
    line
}
