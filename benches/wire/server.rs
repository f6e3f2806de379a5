//! A server process under measurement: ours or a peer's, on a free loopback port, on an empty data
//! directory, with the same configuration file for all.

use crate::load::Client;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer its first PING.
const START_MAX: Duration = Duration::from_secs(120);

/// The unit of the times in `/proc/PID/stat`: USER_HZ is 100 on every Linux that Rust runs on.
const TICK_SECONDS: f64 = 0.01;

/// The name of the floor, and the argument that makes this program be it.
pub(crate) const FLOOR: &str = "floor";

/// A server that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// What the output calls it.
    pub(crate) name: String,
    /// The executable.
    pub(crate) path: PathBuf,
}

impl Program {
    /// The floor, which is this executable itself.
    pub(crate) fn floor() -> Self {
        let path = std::env::current_exe().expect("this program has a path");
        Program { name: FLOOR.to_owned(), path }
    }

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
    program: Program,
    core: Option<usize>,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    /// The data directory; removed after the process has ended.
    dir: tempfile::TempDir,
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
        std::fs::write(dir.path().join(CONFIG), config).expect("the directory can be written");
        let child = spawn(program, port, dir.path(), core);
        let mut server = Server { child, program: program.clone(), core, port, dir };
        server.wait_until_it_answers();
        server
    }

    /// Stops it as SIGKILL does and starts it again on the same directory; from the start of the
    /// process to the answer to a PING.
    pub(crate) fn restart(&mut self) -> Duration {
        self.child.kill().expect("it is running");
        self.child.wait().expect("a child can be waited for");
        let begin = Instant::now();
        self.child = spawn(&self.program, self.port, self.dir.path(), self.core);
        self.wait_until_it_answers();
        begin.elapsed()
    }

    /// Changes its settings from the next start on.
    pub(crate) fn append_config(&self, lines: &str) {
        let file = self.dir.path().join(CONFIG);
        let config = std::fs::read_to_string(&file).expect("it was written");
        std::fs::write(file, config + lines).expect("the directory can be written");
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Ok(mut client) = Client::try_connect(self.port)
                && client.is_served()
            {
                return;
            }
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{} ended at once: {ended:?}", self.program.name);
            assert!(Instant::now() < deadline, "{} does not answer", self.program.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it is millstream, whose files and settings are its own.
    pub(crate) fn is_millstream(&self) -> bool {
        self.program.is_millstream()
    }

    /// A number among what INFO says.
    pub(crate) fn info(&self, field: &str) -> f64 {
        let info = Client::connect(self.port).call(&["INFO", "everything"]);
        let info = String::from_utf8_lossy(&info);
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let value = value.and_then(|value| value.trim_end().parse().ok());
        value.unwrap_or_else(|| panic!("INFO has no number {field}"))
    }

    /// What it and its children have resident in bytes; what they share counts once.
    pub(crate) fn resident_with_children(&self) -> f64 {
        let mut processes = vec![self.child.id().to_string()];
        let tasks = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(tasks).unwrap_or_default();
        processes.extend(children.split_ascii_whitespace().map(str::to_owned));
        let pss = |process: &String| {
            // A child may have ended meanwhile.
            let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
            kib(&text.unwrap_or_default(), "Pss:").unwrap_or(0.0)
        };
        processes.iter().map(pss).sum()
    }

    /// Bytes it has had written to the disk.
    pub(crate) fn written_bytes(&self) -> f64 {
        let io = self.proc_file("io");
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|bytes| bytes.parse().ok()).expect("write_bytes is a number")
    }

    /// Bytes of the largest file in the data directory.
    pub(crate) fn largest_file(&self) -> f64 {
        let (mut dirs, mut largest) = (vec![self.dir.path().to_owned()], 0);
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).expect("it is there").flatten() {
                let Ok(data) = entry.metadata() else { continue };
                if data.is_dir() {
                    dirs.push(entry.path());
                } else {
                    largest = largest.max(data.len());
                }
            }
        }
        largest as f64
    }

    /// Calls of fdatasync and fsync while `work` runs, as `strace` counts them; none if there is
    /// no `strace`.
    pub(crate) fn count_syncs(&self, work: impl FnOnce()) -> Option<usize> {
        let out = self.dir.path().join("strace.out");
        let mut strace = Command::new("strace")
            .args(["-f", "-e", "trace=fdatasync,fsync", "-o"])
            .arg(&out)
            .args(["-p", &self.child.id().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // It has attached when its file is there and it has had a moment for every thread.
        while !out.exists() && strace.try_wait().ok()?.is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
        work();
        let stop = ["-INT".to_owned(), strace.id().to_string()];
        Command::new("kill").args(stop).status().ok()?;
        strace.wait().ok()?;
        let text = std::fs::read_to_string(out).ok()?;
        Some(text.lines().filter(|line| line.contains("sync(")).count())
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
        kib(&self.proc_file("status"), "VmRSS:").expect("VmRSS is a number of kB")
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

/// The configuration in the data directory.
const CONFIG: &str = "wire.conf";

fn spawn(program: &Program, port: u16, dir: &Path, core: Option<usize>) -> Child {
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(core.to_string()).arg(&program.path);
            command
        }
        None => Command::new(&program.path),
    };
    if program.name == FLOOR {
        command.args([FLOOR, &port.to_string()]);
    } else {
        command.arg(dir.join(CONFIG));
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.path.display()))
}

/// The bytes that a line of a file below `/proc` gives in kB.
fn kib(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(1024.0 * line.split_ascii_whitespace().next()?.parse::<f64>().ok()?)
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
