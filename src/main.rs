//! The millstream server: settings, log, database, sockets, exit code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use millstream::config::{self, Config, Invocation, LogLevel};
use millstream::db::Db;
use millstream::error::{Error, StorageError};
use millstream::persist::Directory;
use millstream::persist::disk::{Disk, OsDisk};
use millstream::server::Server;
use millstream::shard::check;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match Config::from_args(&args, || std::io::read_to_string(std::io::stdin())) {
        Ok(Invocation::Run(config)) => match run(*config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
                // The log may be a file, or not yet be there.
                let _ = writeln!(std::io::stderr(), "{error}");
                ExitCode::FAILURE
            }
        },
        Ok(Invocation::Check { directory, salvage }) => match check(directory, salvage) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "{error}");
                ExitCode::FAILURE
            }
        },
        Ok(Invocation::Version) => print(&config::version()),
        Ok(Invocation::Help) => print(&config::help()),
        Err(error) => {
            // Standard error is where a user looks when the server does not start.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says what each file of a data directory holds, and saves what can be saved. Returns whether all
/// is good.
fn check(directory: PathBuf, salvage: Option<PathBuf>) -> Result<bool, StorageError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let directory = Directory::look_at(directory, disk.clone());
    let report = check::check(&directory)?;
    for file in &report.files {
        let (word, text) = match &file.verdict {
            Ok(text) => ("ok", text),
            Err(text) => ("BAD", text),
        };
        print(&format!("{word:4} {}: {text}", file.file));
    }
    match &report.start {
        Ok(text) => print(&format!("A start succeeds: {text}")),
        Err(text) => print(&format!("A start is refused: {text}")),
    };
    let Some(new) = salvage else { return Ok(report.is_good()) };
    let new = Directory::open(new, disk)?;
    let saved = check::salvage(&directory, &new)?;
    let path = new.snapshot_path(saved.position);
    print(&format!("Saved {} keys to {}", saved.keys, path.display()));
    for missing in &saved.missing {
        print(&format!("Missing: {missing}"));
    }
    Ok(true)
}

fn run(config: Config) -> Result<(), Error> {
    start_log(&config)?;
    end_at_a_panic();
    for (name, _) in config.without_effect() {
        tracing::info!("The setting '{name}' has no effect here");
    }
    tracing::info!("{}, process {}", config::version(), std::process::id());
    if config.disable_thp {
        disable_huge_pages();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StorageError::io("runtime", "start", &error))?;
    let began = Instant::now();
    let opening = Db::begin(config.clone())?;
    let opened = |db: &Db| say_where_the_data_is(&config, db, began);
    let db = runtime.block_on(Server::run(opening, &config, opened))?;
    db.close()?;
    tracing::info!("Stopped");
    Ok(())
}

/// A panic ends the process, also where an executor would catch it: a shard may be in any state,
/// and a start finds all that was acknowledged.
fn end_at_a_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}

/// Keeps the kernel from filling two megabytes with zeros at one touch of fresh memory, which the
/// allocator invites it to do. Threads inherit this.
fn disable_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!("transparent huge pages stay enabled: {error}");
    }
}

/// Sends events of the level that is set to the file that is set, else to standard output.
fn start_log(config: &Config) -> Result<(), Error> {
    let level = match config.loglevel {
        LogLevel::Debug | LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    };
    let log = tracing_subscriber::fmt().with_target(false).with_max_level(level);
    if config.logfile.as_os_str().is_empty() {
        log.with_ansi(std::io::stdout().is_terminal()).init();
        return Ok(());
    }
    let file = File::options().create(true).append(true).open(&config.logfile);
    let file = file.map_err(|error| StorageError::io(&config.logfile, "open", &error))?;
    log.with_ansi(false).with_writer(Mutex::new(file)).init();
    Ok(())
}

fn say_where_the_data_is(config: &Config, db: &Db, began: Instant) {
    let Some(found) = db.found() else {
        tracing::info!("The data is in memory only: appendonly is no, save is empty");
        return;
    };
    tracing::info!(
        "The data is in {}, appendfsync {}: {} frames of {} bytes read in {:.3} s",
        std::path::absolute(&config.dir).unwrap_or_else(|_| config.dir.clone()).display(),
        config.appendfsync.word(),
        found.log.frames,
        found.log.bytes,
        began.elapsed().as_secs_f64(),
    );
}
