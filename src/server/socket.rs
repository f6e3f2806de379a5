//! A client's socket, TCP or unix, in two halves.

use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// A connected socket.
pub(super) enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// Where a connection comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The address of the peer, then that of this end: every connection has both.
    addresses: Box<str>,
    /// The length of the first.
    peer_len: u16,
    /// Whether the peer is on this machine.
    pub(crate) is_local: bool,
    /// Whether it is a unix socket.
    pub(crate) is_unix: bool,
    /// The file descriptor.
    pub(crate) descriptor: i32,
}

impl Origin {
    pub(super) fn new(peer: &str, local: &str, socket: &Socket, is_local: bool) -> Origin {
        Origin {
            addresses: [peer, local].concat().into(),
            peer_len: u16::try_from(peer.len()).unwrap_or(0),
            is_local,
            is_unix: matches!(socket, Socket::Unix(_)),
            descriptor: socket.descriptor(),
        }
    }

    /// The peer, as CLIENT LIST shows it.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[..self.peer_len.into()]
    }

    /// This end.
    pub(crate) fn local_address(&self) -> &str {
        &self.addresses[self.peer_len.into()..]
    }
}

/// The half that reads.
pub(super) enum Reader {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

/// The half that writes.
pub(super) enum Writer {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl Socket {
    /// The file descriptor.
    pub(super) fn descriptor(&self) -> i32 {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// Says why the connection is closed; a peer that does not read it is closed all the same.
    pub(super) fn refuse(&self, why: &[u8]) {
        let _ = match self {
            Socket::Tcp(stream) => (&mut &*stream).write(why),
            Socket::Unix(stream) => (&mut &*stream).write(why),
        };
    }

    /// Another handle of the same connection.
    pub(super) fn try_clone(&self) -> io::Result<Socket> {
        Ok(match self {
            Socket::Tcp(stream) => Socket::Tcp(stream.try_clone()?),
            Socket::Unix(stream) => Socket::Unix(stream.try_clone()?),
        })
    }

    /// Registers with the runtime of this thread.
    pub(super) fn split(self) -> io::Result<(Reader, Writer)> {
        Ok(match self {
            Socket::Tcp(stream) => {
                let (reader, writer) = TcpStream::from_std(stream)?.into_split();
                (Reader::Tcp(reader), Writer::Tcp(writer))
            }
            Socket::Unix(stream) => {
                let (reader, writer) = UnixStream::from_std(stream)?.into_split();
                (Reader::Unix(reader), Writer::Unix(writer))
            }
        })
    }
}

impl Reader {
    /// Reads into `buffer`; 0 bytes are the end.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        loop {
            let polled = match self {
                Reader::Tcp(reader) => Pin::new(reader).poll_read(context, &mut buffer),
                Reader::Unix(reader) => Pin::new(reader).poll_read(context, &mut buffer),
            };
            let was_interrupted = |error: &io::Error| error.kind() == io::ErrorKind::Interrupted;
            if !matches!(&polled, Poll::Ready(Err(error)) if was_interrupted(error)) {
                return polled.map(|result| result.map(|()| buffer.filled().len()));
            }
        }
    }
}

impl Writer {
    /// Drops this handle and leaves the connection open.
    pub(super) fn forget(self) {
        match self {
            Writer::Tcp(writer) => writer.forget(),
            Writer::Unix(writer) => writer.forget(),
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Writer::Tcp(writer) => writer.try_write(bytes),
            Writer::Unix(writer) => writer.try_write(bytes),
        }
    }

    /// Ready when the socket takes bytes.
    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Writer::Tcp(writer) => writer.as_ref().poll_write_ready(context),
            Writer::Unix(writer) => writer.as_ref().poll_write_ready(context),
        }
    }
}
