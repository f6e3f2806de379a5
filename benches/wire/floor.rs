//! The floor: a server that only counts requests and answers each with the same ID. What it
//! reaches is all that the kernel and the loader leave to a server on one core.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Room for what one read brings.
const READ_BYTES: usize = 64 * 1024;

/// The answer to XADD, whatever it adds.
const ID: &[u8] = b"$17\r\n1700000000000-100\r\n";

/// The answer to an inline request, which is the PING of who waits for the start.
const PONG: &[u8] = b"+PONG\r\n";

/// A client whose requests all have as many arguments as its first.
struct Client {
    stream: TcpStream,
    /// Lines of a request; 0 before the first.
    request_lines: usize,
    /// Lines that have come of a request that is not complete.
    lines: usize,
}

impl Client {
    /// Answers what has come. False: the client has left.
    fn answer(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let len = self.stream.read(buffer)?;
        let bytes = &buffer[..len];
        if self.request_lines == 0 {
            self.request_lines = match *bytes {
                [b'*', digit, ..] => 2 * usize::from(digit - b'0') + 1,
                _ => 1,
            };
        }
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        let requests = self.lines / self.request_lines;
        self.lines %= self.request_lines;
        let reply = if self.request_lines == 1 { PONG } else { ID };
        self.stream.write_all(&reply.repeat(requests))?;
        Ok(len > 0)
    }
}

/// Serves this port of 127.0.0.1 until the process is killed.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&ready, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let (mut clients, mut buffer) = (Vec::<Option<Client>>::new(), vec![0; READ_BYTES]);
    let mut events = Vec::with_capacity(1024);
    loop {
        epoll::wait(&ready, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let place = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if let Some(client) = clients.get_mut(place) {
                let stays = client.as_mut().map(|client| client.answer(&mut buffer));
                if !matches!(stays, Some(Ok(true))) {
                    *client = None;
                }
                continue;
            }
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            epoll::add(&ready, &stream, EventData::new_u64(clients.len() as u64), EventFlags::IN)?;
            clients.push(Some(Client { stream, request_lines: 0, lines: 0 }));
        }
    }
}
