//! Faults from outside: system calls of a running server that fail or are slow, by `strace`.
//! Where it is missing, or may not look at other processes, the test says so and ends.

use crate::{Server, wait_until};
use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// Tells why a test shows nothing here; the harness does not swallow it.
pub(crate) fn skip(test: &str, reason: &str) {
    drop(writeln!(std::io::stderr(), "{test} skipped: {reason}"));
}

/// Whether `strace` can start a server here; says so if not.
pub(crate) fn can_start(test: &str) -> bool {
    let tried = Command::new("strace").args(["-D", "-f", "-o", "/dev/null", "true"]).output();
    let can = tried.is_ok_and(|tried| tried.status.success());
    if !can {
        skip(test, "strace is not installed, or may not trace here");
    }
    can
}

/// A tracer that makes calls fail; they are sound again when it is dropped.
#[derive(Debug)]
pub(crate) struct Injection(Child);

impl Injection {
    /// Begins: `what` is as for `strace -e inject=`, for example `fdatasync:error=EIO`. `None` if
    /// it cannot, and then the reason is printed.
    pub(crate) fn start(test: &str, server: &Server, what: &str) -> Option<Injection> {
        let id = server.process.id();
        let calls = what.split(':').next().unwrap();
        let child = Command::new("strace")
            .args(["-f", "-q", "-o", "/dev/null", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={what}"), "-p", &id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            skip(test, "strace is not installed");
            return None;
        };
        let mut injection = Injection(child);
        let mut ended = false;
        wait_until("strace has every thread", || {
            ended = injection.0.try_wait().unwrap().is_some();
            ended || is_traced(id)
        });
        if ended {
            skip(test, "strace may not trace another process here");
            return None;
        }
        Some(injection)
    }
}

/// Whether each thread of a process has a tracer.
fn is_traced(id: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let mut statuses = tasks.map(|task| {
        // A thread that has just ended has no status.
        fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default()
    });
    statuses.all(|status| !status.is_empty() && !status.contains("TracerPid:\t0\n"))
}

impl Drop for Injection {
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        // TERM, so that it lets go of the threads first.
        drop(Command::new("kill").args(["-s", "TERM", &id]).status());
        drop(self.0.wait());
    }
}
