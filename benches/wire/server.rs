//! A server process under measurement: ours or a peer's, on a free loopback port, on an empty data
//! directory, with the same configuration file for all.

use crate::load::Client;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer its first PING.
const START_MAX: Duration = Duration::from_secs(20);

/// The unit of the times in `/proc/PID/stat`: USER_HZ is 100 on every Linux that Rust runs on.
const TICK_SECONDS: f64 = 0.01;

/// A server that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// What the output calls it.
    pub(crate) name: String,
    /// The executable.
    pub(crate) path: PathBuf,
}

impl Program {
    /// Whether it understands settings that only millstream has.
    fn is_millstream(&self) -> bool {
        self.path.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("millstream"))
    }
}

/// What the log does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    /// There is none.
    Off,
    /// It is synced once a second.
    EverySec,
    /// It is synced before every reply.
    Always,
}

/// A running server. It is killed when dropped, and its data are removed.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    /// Holds the data directory; removed after the process has ended.
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts `program` below `dir` and waits until it answers. `core`: the one it may use.
    pub(crate) fn start(
        program: &Program,
        dir: &Path,
        log: Log,
        shards: u32,
        core: Option<usize>,
    ) -> Self {
        let dir = tempfile::tempdir_in(dir).expect("the directory for data can be written");
        let port = free_port();
        let mut config = format!(
            "bind 127.0.0.1\nport {port}\nprotected-mode no\ndir {}\nsave \"\"\n\
             auto-aof-rewrite-percentage 0\n",
            dir.path().display()
        );
        config.push_str(match log {
            Log::Off => "appendonly no\n",
            Log::EverySec => "appendonly yes\nappendfsync everysec\n",
            Log::Always => "appendonly yes\nappendfsync always\n",
        });
        if program.is_millstream() {
            writeln!(config, "shards {shards}").expect("a string grows");
        }
        let file = dir.path().join("wire.conf");
        std::fs::write(&file, config).expect("the directory for data can be written");
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core.to_string()).arg(&program.path);
                command
            }
            None => Command::new(&program.path),
        };
        let child = command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.path.display()));
        let mut server = Server { child, port, _dir: dir };
        server.wait_until_it_answers(program);
        server
    }

    fn wait_until_it_answers(&mut self, program: &Program) {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Ok(mut client) = Client::try_connect(self.port)
                && client.call(&["PING"]).starts_with(b"+PONG")
            {
                return;
            }
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{} ended at once: {ended:?}", program.name);
            assert!(Instant::now() < deadline, "{} does not answer", program.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The CPU time the process has used so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let stat = self.proc_file("stat");
        // The name in parentheses may contain anything; utime and stime are the 12th and 13th
        // fields after it.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: Vec<f64> = after_name
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse().expect("utime and stime are numbers"))
            .collect();
        Cpu { user: ticks[0] * TICK_SECONDS, system: ticks[1] * TICK_SECONDS }
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> f64 {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next());
        1024.0 * kib.and_then(|kib| kib.parse::<f64>().ok()).expect("VmRSS is a number of kB")
    }

    fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id()))
            .expect("the server is running")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// In the program.
    pub(crate) user: f64,
    /// In the kernel on its behalf.
    pub(crate) system: f64,
}

impl Cpu {
    /// The time used since `earlier`.
    pub(crate) fn since(self, earlier: Cpu) -> Cpu {
        Cpu { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("there is a free port")
        .port()
}

/// The peers on the PATH.
pub(crate) fn peers_on_path() -> Vec<Program> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["redis-server", "valkey-server"]
        .into_iter()
        .filter_map(|name| {
            let found = std::env::split_paths(&path).map(|dir| dir.join(name));
            let path = found.into_iter().find(|file| file.is_file())?;
            Some(Program { name: name.trim_end_matches("-server").to_owned(), path })
        })
        .collect()
}

/// Keeps the load off the last core, so that a server can have it alone; that core, if there is
/// more than one and the system can do it.
pub(crate) fn reserve_a_core() -> Option<usize> {
    let cores = std::thread::available_parallelism().ok()?.get();
    let last = cores.checked_sub(1).filter(|last| *last > 0)?;
    let done = Command::new("taskset")
        .arg("-acp")
        .arg(format!("0-{}", last - 1))
        .arg(std::process::id().to_string())
        .stdout(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success()).then_some(last)
}
