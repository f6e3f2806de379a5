//! Where the server listens, and what it does with what comes in.

use super::Server;
use super::socket::{Origin, Socket};
use crate::config::Config;
use crate::error::{Error, StorageError};
use std::fs::Permissions;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream};

/// How many probes stay unanswered before a connection counts as broken.
const KEEPALIVE_PROBES: u32 = 3;

/// Where clients come in.
pub(super) struct Door {
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
    /// As INFO shows it.
    described: Vec<String>,
    keepalive_s: u32,
}

impl Door {
    /// Listens where the settings say.
    ///
    /// # Errors
    /// [`Error::Storage`] naming the address that cannot be listened on, [`Error::Config`] if
    /// there is none.
    pub(super) async fn open(config: &Config) -> Result<Door, Error> {
        let keepalive_s = config.tcp_keepalive;
        let mut door = Door { tcp: Vec::new(), unix: None, described: Vec::new(), keepalive_s };
        if config.port != 0 {
            let mut binds = String::new();
            for address in addresses(config) {
                match bind(&address.host, config).await {
                    Ok(list) => {
                        door.tcp.extend(list);
                        binds.push_str(&format!("bind={},", address.host));
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
            door.described.push(format!("name=tcp,{binds}port={}", config.port));
        }
        if !config.unixsocket.as_os_str().is_empty() {
            let path = &config.unixsocket;
            let listener =
                bind_unix(config).map_err(|error| StorageError::io(path, "listen on", &error))?;
            door.described.push(format!("name=unix,bind={}", path.display()));
            door.unix = Some((listener, path.clone()));
        }
        if door.tcp.is_empty() && door.unix.is_none() {
            return Err(Error::Config("Configured to not listen anywhere, exiting.".to_owned()));
        }
        Ok(door)
    }

    /// A door at one address.
    pub(super) fn at(listener: TcpListener) -> Door {
        Door { tcp: vec![listener], unix: None, described: Vec::new(), keepalive_s: 0 }
    }

    /// Waits for the next client.
    ///
    /// # Errors
    /// What the system says; the next call may succeed.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Origin)> {
        poll_fn(|context| {
            for listener in &self.tcp {
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    let tcp = |(stream, peer)| of_tcp(stream, peer, self.keepalive_s);
                    return Poll::Ready(accepted.and_then(tcp));
                }
            }
            if let Some((listener, path)) = &self.unix
                && let Poll::Ready(accepted) = listener.poll_accept(context)
            {
                return Poll::Ready(accepted.and_then(|(stream, _)| of_unix(stream, path)));
            }
            Poll::Pending
        })
        .await
    }

    /// Lets everyone in who comes, from now on. Returns the file of the unix socket, if there is
    /// one.
    pub(super) fn serve(mut self, server: &Arc<Server>, config: &Config) -> Option<PathBuf> {
        server.core.stats.tcp_port.set(u64::from(config.port));
        server.core.stats.set_listeners(std::mem::take(&mut self.described));
        let path = self.unix.as_ref().map(|(_, path)| path.clone());
        tokio::spawn(self.let_in(server.clone()));
        path
    }

    /// Lets everyone in who comes, without end.
    pub(super) async fn let_in(mut self, server: Arc<Server>) {
        loop {
            self.keepalive_s = server.core.config().tcp_keepalive;
            match self.accept().await {
                Ok((socket, origin)) => server.welcome(socket, origin),
                Err(error) => refuse(&error).await,
            }
        }
    }
}

struct Address {
    host: String,
    is_optional: bool,
}

/// `bind`, in which `*` is every address and a leading `-` means that it may fail.
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

async fn bind(host: &str, config: &Config) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in tokio::net::lookup_host((host, config.port)).await? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => {
                let socket = TcpSocket::new_v6()?;
                // The other family has a listener of its own.
                rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
                socket
            }
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        listeners.push(socket.listen(config.tcp_backlog)?);
    }
    Ok(listeners)
}

/// Nobody may connect before the permissions are set.
fn bind_unix(config: &Config) -> io::Result<UnixListener> {
    let path = &config.unixsocket;
    remove_old_socket(path)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    if config.unixsocketperm != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(config.unixsocketperm))?;
    }
    socket.listen(config.tcp_backlog)
}

/// A server that was killed leaves its socket behind.
fn remove_old_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        // Anything else is not ours; binding will say so.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn of_tcp(stream: TcpStream, peer: SocketAddr, keepalive_s: u32) -> io::Result<(Socket, Origin)> {
    set_options(&stream, keepalive_s);
    let local = stream.local_addr().map(|local| local.to_string()).unwrap_or_default();
    let socket = Socket::Tcp(stream.into_std()?);
    let is_local = peer.ip().to_canonical().is_loopback();
    let origin = Origin::new(&peer.to_string(), &local, &socket, is_local);
    Ok((socket, origin))
}

fn of_unix(stream: UnixStream, path: &Path) -> io::Result<(Socket, Origin)> {
    let socket = Socket::Unix(stream.into_std()?);
    let address = format!("{}:0", path.display());
    let origin = Origin::new(&address, &address, &socket, true);
    Ok((socket, origin))
}

/// A connection works without these options, too.
fn set_options(stream: &TcpStream, keepalive_s: u32) {
    use rustix::net::sockopt;
    // Without it small replies would wait for acknowledgements.
    let mut set = stream.set_nodelay(true);
    if keepalive_s > 0 {
        let interval = Duration::from_secs(u64::from(keepalive_s / 3).max(1));
        let idle = Duration::from_secs(u64::from(keepalive_s));
        set = set
            .and_then(|()| Ok(sockopt::set_socket_keepalive(stream, true)?))
            .and_then(|()| Ok(sockopt::set_tcp_keepidle(stream, idle)?))
            .and_then(|()| Ok(sockopt::set_tcp_keepintvl(stream, interval)?))
            .and_then(|()| Ok(sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?));
    }
    if let Err(error) = set {
        tracing::debug!("an option of a connection could not be set: {error}");
    }
}

/// An error of one accept must not end accepting: out of file descriptors, it heals.
pub(super) async fn refuse(error: &io::Error) {
    tracing::warn!("a connection could not be accepted: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
