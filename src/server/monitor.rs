//! MONITOR: clients that are shown every command.
//!
//! Connections of all threads feed it before they run a command; while nobody watches, that costs
//! one relaxed load. A monitor sees the commands of one connection in their order.
//!
//! A line says that a command begins to run, and nothing of what comes of it: it may be refused a
//! moment later. So it waits for the log as far as that has come, and not for the command's own
//! change, in EXEC as elsewhere; the command that brings a server down is seen. Differs from Redis,
//! whose lines leave with the replies.
//!
//! ```text
//! +<seconds>.<microseconds> [<database> <address>] "<argument>" …
//! ```

use super::clients::{Limits, Shared};
use super::meter::show_without_secrets;
use crate::command::Request;
use crate::command::table::{Flags, Name, Row};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who watches.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    count: AtomicUsize,
    clients: Mutex<BTreeMap<u64, Arc<Shared>>>,
}

impl Monitors {
    /// Whether anybody watches.
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    pub(super) fn add(&self, client: &Arc<Shared>) {
        let mut clients = self.lock();
        clients.insert(client.id, client.clone());
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    pub(super) fn remove(&self, id: u64) {
        let mut clients = self.lock();
        clients.remove(&id);
        self.count.store(clients.len(), Ordering::Relaxed);
    }

    /// Shows a command to all who watch.
    #[cold]
    pub(super) fn feed(
        &self,
        row: &Row,
        request: &Request<'_>,
        db: u8,
        from: &Shared,
        limits: &Limits,
    ) {
        if row.flags.has(Flags::ADMIN) {
            return;
        }
        let line = line(row, request, db, from);
        let bytes_max = limits.normal.load(Ordering::Relaxed);
        for client in self.lock().values() {
            // RESET makes it a monitor no more.
            if row.name != Name::Reset || client.id != from.id {
                client.post(line.clone(), bytes_max);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Shared>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(row: &Row, request: &Request<'_>, db: u8, from: &Shared) -> Bytes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let address = match from.origin.address().strip_suffix(":0") {
        Some(path) if from.origin.is_unix => format!("unix:{path}"),
        _ => from.origin.address().to_string(),
    };
    let mut line = format!("+{}.{:06} [{db} {address}]", now.as_secs(), now.subsec_micros());
    show_without_secrets(row, request, |shown| {
        for arg in shown.from(0) {
            line.push(' ');
            quote(arg, &mut line);
        }
    });
    line.push_str("\r\n");
    line.into()
}

/// Writes an argument the way redis-cli shows strings.
fn quote(arg: &[u8], line: &mut String) {
    line.push('"');
    for &byte in arg {
        match byte {
            b'\\' => line.push_str("\\\\"),
            b'"' => line.push_str("\\\""),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            0x07 => line.push_str("\\a"),
            0x08 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(byte)),
            // Writing to a `String` does not fail.
            _ => drop(write!(line, "\\x{byte:02x}")),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_as_redis_cli_does() {
        let mut line = String::new();
        quote(b"a\"\\\r\n\t\x07\x08\0\xff~", &mut line);
        assert_eq!(line, r#""a\"\\\r\n\t\a\b\x00\xff~""#);
    }
}
