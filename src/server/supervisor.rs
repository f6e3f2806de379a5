//! Tells whoever watches over the server of it: its process ID in a file, and to systemd, if that
//! is the supervisor and has said where, when it is ready and when it stops.

use crate::config::Config;
use crate::db::process;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

/// What is told while this is there; the end is told when it is dropped.
pub(super) struct Told {
    pidfile: Option<PathBuf>,
    socket: Option<std::ffi::OsString>,
}

impl Told {
    /// Tells that the server is ready. What cannot be told is logged: the server serves without.
    pub(super) fn ready(config: &Config) -> Told {
        let pidfile = (!config.pidfile.as_os_str().is_empty()).then(|| config.pidfile.clone());
        if let Some(path) = &pidfile
            && let Err(error) = std::fs::write(path, format!("{}\n", std::process::id()))
        {
            tracing::warn!("Failed to write PID file {}: {error}", path.display());
        }
        let told = Told { pidfile, socket: process::notify_socket(config) };
        told.tell("READY=1\nSTATUS=Ready to accept connections\n");
        told
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = send(socket, state)
        {
            tracing::warn!("systemd is not told of the server: {error}");
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.tell("STOPPING=1\n");
        if let Some(path) = &self.pidfile {
            // Somebody may have removed it already.
            drop(std::fs::remove_file(path));
        }
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => abstract_address(name)?,
        _ => SocketAddr::from_pathname(Path::new(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
