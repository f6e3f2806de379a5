//! RESP over TCP and unix sockets.
//!
//! | file | what |
//! |---|---|
//! | `listen.rs` | where it listens; what comes in |
//! | `serve.rs` | a program that listens |
//! | `loading.rs` | what clients get while the data is being loaded |
//! | `connection.rs` | one client's task: reads, dispatches, replies |
//! | `waiting.rs`, `transaction.rs` | what it awaits; WATCH and EXEC |
//! | `client.rs` | what a client has set, and the commands that set it |
//! | `subscriptions.rs`, `listing.rs`, `users.rs` | SUBSCRIBE, CLIENT, ACL |
//! | `clients.rs` | what others see of a client, and do to it |
//! | `meter.rs`, `monitor.rs` | how long commands take; MONITOR |
//! | `resp.rs` | requests out of bytes |
//! | `output.rs` | replies, held until the log has what they tell of |
//! | `socket.rs` | TCP and unix sockets alike |

mod attention;
mod client;
mod clients;
mod connection;
mod denied;
mod input;
mod listen;
mod listing;
mod loading;
mod meter;
mod monitor;
mod output;
pub mod resp;
mod serve;
mod socket;
mod subscriptions;
mod supervisor;
mod transaction;
mod users;
mod waiting;

use crate::command::Request;
use crate::command::table::Row;
use crate::config::Config;
use crate::db::admin::Shutdown;
use crate::db::home::Home;
use crate::db::save;
use crate::db::{Core, Db, Opening};
use crate::error::{CommandError, Error, StorageError};
pub use serve::Listening;

use client::Client;
use clients::{Clients, Shared};
use connection::Connection;
use denied::Denied;
use listen::Door;
use monitor::Monitors;
use output::Output;
use socket::{Origin, Socket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// How often clients are looked at that are idle or do not read.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted \
from the loopback interface. If you want to connect from external computers to Redis you may \
adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG \
SET protected-mode no' from the loopback interface by connecting to Redis from the same host the \
server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. \
Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the \
protected mode by editing the Redis configuration file, and setting the protected mode option to \
'no', and then restarting the server. 3) If you started the server manually just for testing, \
restart it with the '--protected-mode no' option. 4) Set up an authentication password for the \
default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";

/// A server in front of a database.
pub struct Server {
    core: Arc<Core>,
    clients: Clients,
    monitors: Monitors,
    denied: Denied,
    next_thread: AtomicUsize,
    stop: Notify,
}

impl Server {
    fn new(core: Arc<Core>) -> Arc<Server> {
        core.expect_outlets();
        Arc::new(Server {
            core,
            clients: Clients::default(),
            monitors: Monitors::default(),
            denied: Denied::default(),
            next_thread: AtomicUsize::new(0),
            stop: Notify::new(),
        })
    }

    /// Listens where the settings say and opens the database, while clients are told to wait;
    /// then serves them until SIGTERM, SIGINT, or SHUTDOWN. `opened` looks at the database before
    /// anyone else does.
    ///
    /// # Errors
    /// [`Error::Storage`] naming the address that cannot be listened on, or as [`Db::open`];
    /// [`Error::Config`] if there is no address.
    pub async fn run(
        opening: Opening,
        config: &Config,
        opened: impl FnOnce(&Db),
    ) -> Result<Db, Error> {
        refuse_what_is_unsafe_to_ignore(config)?;
        outlive_file_size_limits();
        let door = Door::open(config).await?;
        let progress = opening.progress();
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("load".to_owned())
            // Nobody waits for it only if the process ends.
            .spawn(move || drop(tell.send(opening.finish())))
            .map_err(|error| StorageError::io(&config.dir, "start a thread to load", &error))?;
        let (db, stay) = loading::answer(&door, config, progress, told).await;
        let db = db.map_err(|_| Error::Stopped)??;
        opened(&db);
        let server = Server::new(db.core().clone());
        let socket_file = door.serve(&server, config);
        for (socket, origin) in stay {
            server.welcome(socket, origin);
        }
        let tended = server.clone();
        tokio::spawn(async move {
            loop {
                let core = &tended.core;
                tended.clients.tend(&core.config(), core.now().0, &core.stats);
                tokio::time::sleep(TEND_INTERVAL).await;
            }
        });
        tracing::info!("Ready to accept connections");
        let told = supervisor::Told::ready(config);
        server.wait_for_stop().await;
        drop(told);
        if let Some(path) = socket_file {
            // Somebody may have removed it already.
            drop(std::fs::remove_file(path));
        }
        Ok(db)
    }

    /// Waits until a client or a signal stops the server.
    async fn wait_for_stop(&self) {
        let mut signals = Signals::listen();
        loop {
            let name = tokio::select! {
                name = signals.next() => name,
                () = self.stop.notified() => return tracing::info!("SHUTDOWN, stopping"),
            };
            tracing::info!("Received {name}, stopping");
            let config = self.core.config();
            let words = match name {
                "SIGINT" => &config.shutdown_on_sigint,
                _ => &config.shutdown_on_sigterm,
            };
            let how = Shutdown::of_setting(words);
            let saved = save::shut_down_from_outside(&self.core, how.save).await;
            if let Err(error) = &saved {
                tracing::error!("{name}: {error}");
            }
            if (saved.is_ok() || how.force) && self.may_stop(how) {
                return;
            }
            tracing::warn!(
                "Received {name} but errors trying to shut down the server, check the logs for \
                 more information"
            );
        }
    }

    /// Whether all is on disk, or that does not matter.
    fn may_stop(&self, how: Shutdown) -> bool {
        !self.core.is_log_broken() || how.force || how.save == Some(false)
    }

    /// Stops the server soon.
    ///
    /// # Errors
    /// Redis's text if the data could not be made durable and that matters.
    fn shut_down(&self, how: Shutdown) -> Result<(), CommandError> {
        if !self.may_stop(how) {
            let text = "ERR Errors trying to SHUTDOWN. Check logs.";
            return Err(CommandError::Fixed(text));
        }
        self.stop.notify_one();
        Ok(())
    }

    /// Shows a client's command to those who watch.
    fn show(&self, row: &Row, request: &Request<'_>, client: &Client) {
        if self.monitors.any() {
            self.monitors.feed(row, request, client.db, &client.shared, &self.clients.limits);
        }
    }

    /// Gives a connection to the thread whose turn it is.
    fn welcome(self: &Arc<Self>, socket: Socket, origin: Origin) {
        let thread = self.next_thread.fetch_add(1, Ordering::Relaxed) % self.core.shards();
        let server = self.clone();
        if self.core.call(thread, move |home| server.start(home, socket, origin)).is_err() {
            tracing::debug!("a connection came while the server was stopping");
        }
    }

    fn start(self: Arc<Self>, home: &Rc<Home>, socket: Socket, origin: Origin) {
        let config = home.config();
        let id = self.clients.next_id();
        let is_local = origin.is_local;
        let shared = Shared::new(id, origin, home.core().now().0, home.index());
        let max = usize::try_from(config.maxclients).unwrap_or(usize::MAX);
        let stats = &self.core.stats;
        if config.protected_mode && config.requirepass.is_empty() && !is_local {
            stats.rejected_connections.add_shared(1);
            socket.refuse(PROTECTED);
            return;
        }
        if !self.clients.add(&shared, max) {
            stats.rejected_connections.add_shared(1);
            socket.refuse(TOO_MANY);
            return;
        }
        let Ok((reader, writer)) = socket.split() else {
            self.clients.remove(id);
            return;
        };
        stats.connections.add_shared(1);
        stats.thread(home.index()).clients.add(1);
        let client = Client::new(shared.clone(), &config);
        client.show();
        let output = Output::new(home.clone(), shared, writer);
        let connection = Connection::new(self, home.clone(), reader, client, output);
        tokio::task::spawn_local(Box::new(connection).run());
    }
}

/// Users and renamed commands protect a server; one that does not have them must not start as if
/// it had.
fn refuse_what_is_unsafe_to_ignore(config: &Config) -> Result<(), Error> {
    let given = [
        ("rename-command", !config.renamed_commands.is_empty()),
        ("user", !config.users.is_empty()),
        ("aclfile", !config.aclfile.as_os_str().is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Error::Config(format!("the setting '{name}' is not supported"))),
        None => Ok(()),
    }
}

/// Lets a write beyond the limit of a file's size fail; unless somebody listens for the signal, it
/// ends the process.
fn outlive_file_size_limits() {
    /// SIGXFSZ, on all processors but MIPS.
    const FILE_SIZE_EXCEEDED: i32 = 25;
    if let Err(error) = signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED)) {
        tracing::debug!("a limit of the size of files would end the process: {error}");
    }
}

/// The signals that stop the server.
struct Signals(Option<(Signal, Signal)>);

impl Signals {
    fn listen() -> Signals {
        let (Ok(terminate), Ok(interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::warn!("signals cannot be received; stop the server with SHUTDOWN");
            return Signals(None);
        };
        Signals(Some((terminate, interrupt)))
    }

    /// The name of the next signal, when it comes.
    async fn next(&mut self) -> &'static str {
        let Some((terminate, interrupt)) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }
}
