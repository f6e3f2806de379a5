//! One connection's output: bytes that wait for the turn's end, then for the log, then for the
//! socket.
//!
//! Every chunk carries the log position its turn ended at. Under `appendfsync always` it leaves
//! when that is durable, else when it is written; order within the connection is kept.

use super::socket::Writer;
use crate::db::home::{Home, Outlet};
use crate::error::StorageError;
use crate::persist::Position;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::clients::Shared;

/// A buffer that has grown beyond this is not kept for the next replies.
const KEPT_BYTES: usize = 16 * 1024;

/// The output of one connection.
pub(super) struct Output {
    home: Rc<Home>,
    shared: Arc<Shared>,
    writer: Writer,
    buffer: RefCell<Buffer>,
    /// Whether the turn's end knows of this output.
    announced: Cell<bool>,
    /// Whether the log will tell of its moves.
    held: Cell<bool>,
    broken: Cell<bool>,
    /// Whether the socket takes no more for now.
    blocked: Cell<bool>,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// How many of them have been sent.
    sent: usize,
    /// Ends of chunks and the positions they wait for.
    chunks: VecDeque<(usize, Position)>,
    /// How many bytes may be sent.
    released: usize,
    /// The position of what was written since the last chunk.
    position: Position,
}

impl Output {
    pub(super) fn new(home: Rc<Home>, shared: Arc<Shared>, writer: Writer) -> Rc<Output> {
        Rc::new(Output {
            home,
            shared,
            writer,
            buffer: RefCell::default(),
            announced: Cell::new(false),
            held: Cell::new(false),
            broken: Cell::new(false),
            blocked: Cell::new(false),
        })
    }

    /// The buffer to append replies to; [`Output::announce`] follows.
    pub(super) fn bytes(&self) -> RefMut<'_, Vec<u8>> {
        RefMut::map(self.buffer.borrow_mut(), |buffer| &mut buffer.bytes)
    }

    /// Says that replies were appended, which tell of the log up to `position`.
    pub(super) fn announce(self: &Rc<Self>, position: Position) {
        let mut buffer = self.buffer.borrow_mut();
        buffer.position = buffer.position.max(position);
        if !self.announced.replace(true) {
            drop(buffer);
            self.home.at_turn_end(self.clone());
        }
    }

    /// Bytes that have not been sent.
    pub(super) fn unsent(&self) -> usize {
        let buffer = self.buffer.borrow();
        buffer.bytes.len() - buffer.sent
    }

    /// Whether the connection is of no further use.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether bytes wait for the socket alone.
    pub(super) fn wants_socket(&self) -> bool {
        self.blocked.get()
    }

    /// Waits until the socket takes bytes, and sends.
    pub(super) async fn drain(self: &Rc<Self>) {
        if self.writer.writable().await.is_err() {
            self.fail();
        }
        self.blocked.set(false);
        self.send();
    }

    fn fail(&self) {
        self.broken.set(true);
        self.blocked.set(false);
        self.shared.attention.notify_one();
    }

    /// Sends what may leave.
    fn send(self: &Rc<Self>) {
        let mut guard = self.buffer.borrow_mut();
        let buffer = &mut *guard;
        while let Some(&(end, position)) = buffer.chunks.front() {
            if !self.home.is_released(position) {
                if !self.held.replace(true) {
                    self.home.at_log_move(self.clone());
                }
                break;
            }
            buffer.released = end;
            buffer.chunks.pop_front();
        }
        while buffer.sent < buffer.released && !self.blocked.get() && !self.broken.get() {
            match self.writer.try_write(&buffer.bytes[buffer.sent..buffer.released]) {
                Ok(n) => {
                    buffer.sent += n;
                    let stats = self.home.core().stats.thread(self.home.index());
                    stats.net_output.add(n as u64);
                    stats.writes.add(1);
                    self.shared.seen.output_bytes.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked.set(true);
                    self.shared.attention.notify_one();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    drop(guard);
                    self.fail();
                    return;
                }
            }
        }
        if buffer.sent == buffer.bytes.len() {
            if buffer.bytes.capacity() > KEPT_BYTES {
                buffer.bytes = Vec::new();
                // Whoever waits for room has it now.
                self.shared.attention.notify_one();
            }
            buffer.bytes.clear();
            buffer.sent = 0;
            buffer.released = 0;
        }
    }
}

impl Outlet for Output {
    fn turn_ended(self: Rc<Self>, position: Result<Position, StorageError>) {
        self.announced.set(false);
        let Ok(position) = position else {
            self.fail();
            return;
        };
        {
            let mut buffer = self.buffer.borrow_mut();
            let position = position.max(buffer.position);
            let end = buffer.bytes.len();
            buffer.chunks.push_back((end, position));
        }
        self.send();
    }

    fn log_moved(self: Rc<Self>, broken: bool) {
        self.held.set(false);
        if broken {
            self.fail();
        } else {
            self.send();
        }
    }
}
