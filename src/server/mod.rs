//! RESP over TCP and unix sockets.
//!
//! | file | what |
//! |---|---|
//! | `resp.rs` | requests out of bytes |
//! | `connection.rs` | one client's task |
//! | `client.rs` | what a client has set |
//! | `clients.rs` | what others see of it |
//! | `output.rs` | replies, held until the log has what they tell of |
//! | `socket.rs` | TCP and unix sockets alike |

mod client;
mod clients;
mod connection;
mod meter;
mod output;
pub mod resp;
mod socket;

use crate::command::Request;
use crate::command::table::{Flags, Row};
use crate::config::Config;
use crate::db::home::Home;
use crate::db::{Core, Db};
use crate::error::{CommandError, Error, StorageError};
use client::Client;
use clients::{Clients, Shared};
use connection::Connection;
use output::Output;
use socket::Socket;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;

/// What a command may add to the log beyond its own bytes.
const RECORD_BYTES: usize = 256;

/// A server in front of a database.
pub struct Server {
    core: Arc<Core>,
    clients: Clients,
    next_thread: AtomicUsize,
    /// Tells that a client wants the server to stop.
    stop: Notify,
}

impl Server {
    /// Listens where the settings say.
    ///
    /// # Errors
    /// [`Error::Storage`] naming the address that cannot be listened on.
    pub async fn run(db: &Db, config: &Config) -> Result<(), Error> {
        let server = Arc::new(Server {
            core: db.core().clone(),
            clients: Clients::default(),
            next_thread: AtomicUsize::new(0),
            stop: Notify::new(),
        });
        let (mut listeners, mut listening) = (Vec::new(), Vec::new());
        if config.port != 0 {
            for address in addresses(config) {
                match TcpListener::bind((address.host.as_str(), config.port)).await {
                    Ok(listener) => {
                        listening.push(address.host);
                        listeners.push(listener);
                    }
                    Err(error) if address.is_optional => {
                        tracing::warn!("not listening on {}: {error}", address.host);
                    }
                    Err(error) => {
                        let at = format!("{}:{}", address.host, config.port);
                        return Err(StorageError::io(at, "listen on", &error).into());
                    }
                }
            }
        }
        let hosts = listening.iter().map(|host| format!(",bind={host}")).collect::<String>();
        let mut texts = vec![format!("name=tcp{hosts},port={}", config.port)];
        server.core.stats.tcp_port.set(u64::from(config.port));
        for listener in listeners {
            tokio::spawn(accept_tcp(server.clone(), listener));
        }
        if !config.unixsocket.as_os_str().is_empty() {
            // A server that was killed has left its socket; nobody listens on it any more.
            let _ = std::fs::remove_file(&config.unixsocket);
            let listener = UnixListener::bind(&config.unixsocket)
                .map_err(|error| StorageError::io(&config.unixsocket, "listen on", &error))?;
            tokio::spawn(accept_unix(server.clone(), listener));
            texts.push(format!("name=unix,bind={}", config.unixsocket.display()));
        }
        server.core.stats.set_listeners(texts);
        tracing::info!("Ready to accept connections");
        tokio::select! {
            () = stop_signal() => {}
            () = server.stop.notified() => {}
        }
        Ok(())
    }

    /// Why a command that writes may not run now.
    fn write_refusal(
        &self,
        _home: &Home,
        row: &Row,
        request: &Request<'_>,
    ) -> Option<CommandError> {
        if !row.flags.has(Flags::WRITE) {
            return None;
        }
        let bytes = request.spans.iter().map(|span| span.len()).sum::<usize>();
        let growing = row.flags.has(Flags::DENYOOM);
        let room = self.core.aof()?.room(bytes + RECORD_BYTES, growing);
        room.err().map(|error| {
            let text = format!("MISCONF Errors writing to the AOF file: {error}");
            CommandError::Misconfigured(text.into())
        })
    }

    /// Gives a connection to the thread whose turn it is.
    fn welcome(self: &Arc<Self>, socket: Socket, addresses: (Box<str>, Box<str>)) {
        let thread = self.next_thread.fetch_add(1, Ordering::Relaxed) % self.core.shards();
        let server = self.clone();
        let start = move |home: &Rc<Home>| server.start(home, socket, addresses);
        if self.core.call(thread, start).is_err() {
            tracing::debug!("a connection came while the server was stopping");
        }
    }

    fn start(self: Arc<Self>, home: &Rc<Home>, socket: Socket, addresses: (Box<str>, Box<str>)) {
        let config = home.config();
        let id = self.clients.next_id();
        let shared = Shared::new(id, addresses, home.core().now().0, home.index());
        let max = usize::try_from(config.maxclients).unwrap_or(usize::MAX);
        let Ok((reader, writer)) = socket.split() else {
            return;
        };
        if !self.clients.add(&shared, max) {
            self.core.stats.rejected_connections.add_shared(1);
            // A peer that does not read it is closed all the same.
            let _ = writer.try_write(b"-ERR max number of clients reached\r\n");
            return;
        }
        self.core.stats.connections.add_shared(1);
        self.core.stats.thread(home.index()).clients.add(1);
        let client = Client::new(shared.clone(), &config);
        let output = Output::new(home.clone(), shared, writer);
        let connection = Connection::new(self, home.clone(), reader, client, output);
        tokio::task::spawn_local(connection.run());
    }
}

struct Address {
    host: String,
    is_optional: bool,
}

/// Where to listen: `bind`, in which `*` is every address and a leading `-` means that it may
/// fail.
fn addresses(config: &Config) -> Vec<Address> {
    let parse = |text: &String| {
        let (is_optional, host) = match text.strip_prefix('-') {
            Some(host) => (true, host),
            None => (false, text.as_str()),
        };
        let host = match host {
            "*" => "0.0.0.0",
            "::*" => "::",
            host => host,
        };
        Address { host: host.to_owned(), is_optional }
    };
    config.bind.iter().map(parse).collect()
}

async fn accept_tcp(server: Arc<Server>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it small replies would wait for acknowledgements.
                let _ = stream.set_nodelay(true);
                let local = stream.local_addr().map(|local| local.to_string());
                let addresses = (peer.to_string().into(), local.unwrap_or_default().into());
                if let Ok(stream) = stream.into_std() {
                    server.welcome(Socket::Tcp(stream), addresses);
                }
            }
            Err(error) => refuse(&error).await,
        }
    }
}

async fn accept_unix(server: Arc<Server>, listener: UnixListener) {
    let path: Box<str> = server.core.config().unixsocket.display().to_string().into();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let address: Box<str> = format!("{path}:0").into();
                if let Ok(stream) = stream.into_std() {
                    server.welcome(Socket::Unix(stream), (address.clone(), address));
                }
            }
            Err(error) => refuse(&error).await,
        }
    }
}

/// An error of one accept must not end accepting: out of file descriptors, it heals.
async fn refuse(error: &std::io::Error) {
    tracing::warn!("a connection could not be accepted: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals cannot be received; stop the server with SHUTDOWN");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("Received SIGTERM, stopping"),
        _ = interrupt.recv() => tracing::info!("Received SIGINT, stopping"),
    }
}
