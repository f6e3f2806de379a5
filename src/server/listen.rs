//! Where the server listens, and what it does with what comes in.

use super::Server;
use super::socket::{Origin, Socket};
use crate::config::Config;
use crate::error::{Error, StorageError};
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket};

/// How many probes stay unanswered before a connection counts as broken.
const KEEPALIVE_PROBES: u32 = 3;

/// Listens where the settings say. Returns the file of the unix socket, if there is one.
///
/// # Errors
/// [`Error::Storage`] naming the address that cannot be listened on, [`Error::Config`] if there is
/// none.
pub(super) async fn listen(
    server: &Arc<Server>,
    config: &Config,
) -> Result<Option<PathBuf>, Error> {
    let mut described = Vec::new();
    let mut listeners = Vec::new();
    if config.port != 0 {
        let mut binds = String::new();
        for address in addresses(config) {
            match bind(&address.host, config).await {
                Ok(list) => {
                    listeners.extend(list);
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
        described.push(format!("name=tcp,{binds}port={}", config.port));
    }
    let mut socket_file = None;
    let mut unix = None;
    if !config.unixsocket.as_os_str().is_empty() {
        let path = &config.unixsocket;
        let listener =
            bind_unix(config).map_err(|error| StorageError::io(path, "listen on", &error))?;
        described.push(format!("name=unix,bind={}", path.display()));
        socket_file = Some(path.clone());
        unix = Some(listener);
    }
    if listeners.is_empty() && unix.is_none() {
        return Err(Error::Config("Configured to not listen anywhere, exiting.".to_owned()));
    }
    server.core.stats.tcp_port.set(u64::from(config.port));
    server.core.stats.set_listeners(described);
    for listener in listeners {
        tokio::spawn(accept_tcp(server.clone(), listener));
    }
    if let Some(listener) = unix {
        tokio::spawn(accept_unix(server.clone(), listener));
    }
    Ok(socket_file)
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

/// Accepts without end.
pub(super) async fn accept_tcp(server: Arc<Server>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                set_options(&stream, server.core.config().tcp_keepalive);
                let local = stream.local_addr().map(|local| local.to_string());
                let Ok(stream) = stream.into_std() else { continue };
                let socket = Socket::Tcp(stream);
                let origin = Origin {
                    address: peer.to_string().into(),
                    local_address: local.unwrap_or_default().into(),
                    is_local: peer.ip().to_canonical().is_loopback(),
                    is_unix: false,
                    descriptor: socket.descriptor(),
                };
                server.welcome(socket, origin);
            }
            Err(error) => refuse(&error).await,
        }
    }
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

async fn accept_unix(server: Arc<Server>, listener: UnixListener) {
    let path = server.core.config().unixsocket.display().to_string();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(stream) = stream.into_std() else { continue };
                let socket = Socket::Unix(stream);
                let address: Box<str> = format!("{path}:0").into();
                let origin = Origin {
                    address: address.clone(),
                    local_address: address,
                    is_local: true,
                    is_unix: true,
                    descriptor: socket.descriptor(),
                };
                server.welcome(socket, origin);
            }
            Err(error) => refuse(&error).await,
        }
    }
}

/// An error of one accept must not end accepting: out of file descriptors, it heals.
async fn refuse(error: &io::Error) {
    tracing::warn!("a connection could not be accepted: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
