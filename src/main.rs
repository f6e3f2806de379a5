//! The millstream server: settings, log, database, sockets, exit code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use millstream::config::{self, Config, Invocation};
use millstream::db::Db;
use millstream::error::Error;
use millstream::server::Server;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match Config::from_args(&args, || std::io::read_to_string(std::io::stdin())) {
        Ok(Invocation::Run(config)) => match run(*config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
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

fn run(config: Config) -> Result<(), Error> {
    tracing_subscriber::fmt().with_target(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| millstream::error::StorageError::io("", "start", &error))?;
    let db = Db::open(config.clone())?;
    runtime.block_on(Server::run(&db, &config))?;
    db.close()
}
