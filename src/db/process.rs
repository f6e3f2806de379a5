//! What the operating system knows of this process, read from `/proc`; 0 where it tells nothing.

use crate::config::{Config, Supervised};
use std::ffi::OsString;
use std::fs;

/// What `/proc/<pid>/stat` counts time in: hundredths of a second, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// How much nicer than the shards the threads in the background are: they have a thirtieth of a
/// processor that a shard needs wholly.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 15;

/// Memory of the process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// Resident now.
    pub(super) resident: u64,
    /// The most that was ever resident.
    pub(super) peak: u64,
}

/// Reads the memory of the process.
pub(super) fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib * 1024)
    };
    let resident = field("VmRSS:").unwrap_or_default();
    Memory { resident, peak: field("VmHWM:").unwrap_or_default().max(resident) }
}

/// Resident memory, in bytes, by the shortest way: its figures are in pages.
pub(super) fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default().saturating_mul(rustix::param::page_size() as u64)
}

/// Lets every other thread go before this one, for which nobody waits: where there is one
/// processor, a turn would last as long as the scheduler lets this one go on.
pub(super) fn step_back() {
    // Only Linux counts niceness by thread.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!("a thread in the background keeps its priority: {error}");
    }
}

/// Memory of the machine, in bytes.
pub(super) fn machine_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Time that was computed, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cpu {
    /// By the system for the process.
    pub(super) system: f64,
    /// By the process itself.
    pub(super) user: f64,
    /// By the system for children that have ended.
    pub(super) children_system: f64,
    /// By children that have ended.
    pub(super) children_user: f64,
}

/// Time of all threads.
pub(super) fn cpu() -> Cpu {
    cpu_of("/proc/self/stat")
}

/// Time of the main thread alone.
pub(super) fn cpu_of_main_thread() -> Cpu {
    let id = std::process::id();
    cpu_of(&format!("/proc/self/task/{id}/stat"))
}

fn cpu_of(path: &str) -> Cpu {
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The second field is the program's name in parentheses; it may contain anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut times = fields.split_ascii_whitespace().skip(11).map(|field| {
        let ticks: f64 = field.parse().unwrap_or_default();
        ticks / TICKS_PER_SECOND
    });
    let mut next = || times.next().unwrap_or_default();
    let (user, system, children_user, children_system) = (next(), next(), next(), next());
    Cpu { system, user, children_system, children_user }
}

/// Where systemd wants to be told of the process, if the settings say that it is the supervisor.
pub(crate) fn notify_socket(config: &Config) -> Option<OsString> {
    let by_systemd = matches!(config.supervised, Supervised::Systemd | Supervised::Auto);
    by_systemd.then(|| std::env::var_os("NOTIFY_SOCKET")).flatten()
}

/// The system's name, release and machine.
pub(super) fn system() -> String {
    let names = rustix::system::uname();
    let [system, release, machine] =
        [names.sysname(), names.release(), names.machine()].map(|name| name.to_string_lossy());
    format!("{system} {release} {machine}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_memory_and_time() {
        let memory = super::memory();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
        assert!(super::machine_memory() >= memory.resident);
        let cpu = super::cpu();
        assert!(cpu.user >= super::cpu_of_main_thread().user);
    }
}
