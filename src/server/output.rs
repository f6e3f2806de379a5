//! One connection's output: bytes that wait for the turn's end, then for the log, then for the
//! socket.
//!
//! Every chunk carries the log position its turn ended at, if it tells of anything that a shard
//! holds. Under `appendfsync always` it leaves when that is durable, else when it is written; order
//! within the connection is kept.

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
use std::task::{Context, Poll};

use super::clients::Shared;

/// A buffer that has grown beyond this is not kept for the next replies.
const SPARE_BYTES: usize = 64 * 1024;
/// How many buffers a thread keeps for the connections that have replies next.
const SPARES: usize = 64;

thread_local! {
    /// Empty buffers: an idle connection holds none.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The output of one connection.
pub(super) struct Output {
    home: Rc<Home>,
    shared: Arc<Shared>,
    writer: Writer,
    buffer: RefCell<Buffer>,
    /// Whether the turn's end knows of this output.
    announced: Cell<bool>,
    /// Whether what was written since the last turn's end tells of what shards hold.
    tells: Cell<bool>,
    /// Whether the log will tell of its moves.
    held: Cell<bool>,
    broken: Cell<bool>,
    /// Whether the socket takes no more for now.
    blocked: Cell<bool>,
    /// Whether the connection's task waits until everything has been sent.
    awaited: Cell<bool>,
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
    /// The position of the last chunk.
    reached: Position,
}

impl Buffer {
    /// Lets go of bytes that were sent although others still wait: a client that is always a
    /// little behind would else keep all that it was ever sent. **Cost**: moves fewer bytes than
    /// it frees.
    fn drop_sent(&mut self) {
        if self.sent < SPARE_BYTES || self.sent < self.bytes.len() - self.sent {
            return;
        }
        let sent = std::mem::take(&mut self.sent);
        self.bytes.drain(..sent);
        self.bytes.shrink_to(2 * SPARE_BYTES.max(self.bytes.len()));
        self.released -= sent;
        // A chunk that was sent is not here any more.
        self.chunks.iter_mut().for_each(|(end, _)| *end -= sent);
    }
}

impl Output {
    pub(super) fn new(home: Rc<Home>, shared: Arc<Shared>, writer: Writer) -> Rc<Output> {
        Rc::new(Output {
            home,
            shared,
            writer,
            buffer: RefCell::default(),
            announced: Cell::new(false),
            tells: Cell::new(false),
            held: Cell::new(false),
            broken: Cell::new(false),
            blocked: Cell::new(false),
            awaited: Cell::new(false),
        })
    }

    /// The buffer to append replies to; [`Output::announce`] follows.
    #[inline]
    pub(super) fn bytes(&self) -> RefMut<'_, Vec<u8>> {
        RefMut::map(self.buffer.borrow_mut(), |buffer| {
            if buffer.bytes.capacity() == 0 {
                buffer.bytes = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
            }
            &mut buffer.bytes
        })
    }

    /// Says that replies were appended, which tell of the log up to `position`.
    pub(super) fn announce(self: &Rc<Self>, position: Position) {
        self.tells.set(true);
        self.end_with_turn(position);
    }

    /// Says that replies were appended that tell of nothing any shard holds, PONG for example: they
    /// wait for replies before them, and not for the disk.
    pub(super) fn announce_idle(self: &Rc<Self>) {
        self.end_with_turn(Position::default());
    }

    fn end_with_turn(self: &Rc<Self>, position: Position) {
        let mut buffer = self.buffer.borrow_mut();
        buffer.position = buffer.position.max(position);
        if !self.announced.replace(true) {
            drop(buffer);
            self.home.at_turn_end(self.clone());
        }
    }

    /// Whether fewer than `limit` bytes have not been sent. If not, the connection's task is
    /// called when all have.
    pub(super) fn has_less_than(&self, limit: usize) -> bool {
        let buffer = self.buffer.borrow();
        let less = buffer.bytes.len() - buffer.sent < limit;
        self.awaited.set(!less);
        less
    }

    /// Up to where the replies until the last end of a turn tell of the log.
    pub(super) fn reached(&self) -> Position {
        self.buffer.borrow().reached
    }

    /// Whether the connection is of no further use.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Sends what waits for the socket alone, as soon as that takes bytes.
    pub(super) fn poll_send(self: &Rc<Self>, context: &mut Context<'_>) {
        while self.blocked.get() {
            match self.writer.poll_writable(context) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {
                    self.blocked.set(false);
                    self.send_released();
                }
                Poll::Ready(Err(_)) => self.fail(),
            }
        }
    }

    fn fail(&self) {
        self.broken.set(true);
        self.blocked.set(false);
        self.shared.attention.call();
    }

    /// Sends what may leave.
    fn send_released(self: &Rc<Self>) {
        let mut guard = self.buffer.borrow_mut();
        let buffer = &mut *guard;
        while let Some(&(end, position)) = buffer.chunks.front() {
            if !self.home.is_released(position) {
                if self.home.core().has_log_failed() {
                    // Its outcome is unknown, and the log may not move any more.
                    drop(guard);
                    self.fail();
                    return;
                }
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
                    self.shared.attention.call();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    drop(guard);
                    self.fail();
                    return;
                }
            }
        }
        let unsent = buffer.bytes.len() - buffer.sent;
        self.shared.seen.unsent_bytes.store(unsent as u64, Ordering::Relaxed);
        buffer.drop_sent();
        if unsent == 0 {
            let mut bytes = std::mem::take(&mut buffer.bytes);
            (buffer.sent, buffer.released) = (0, 0);
            // What is left of these has no bytes.
            buffer.chunks.clear();
            if self.awaited.take() {
                self.shared.attention.call();
            }
            if bytes.capacity() > SPARE_BYTES {
                return;
            }
            bytes.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARES {
                    spare.push(bytes);
                }
            });
        }
    }
}

impl Outlet for Output {
    fn turn_ended(&self, position: Result<Position, StorageError>) {
        self.announced.set(false);
        let Ok(position) = position else {
            self.fail();
            return;
        };
        let mut buffer = self.buffer.borrow_mut();
        let position = if self.tells.take() { position } else { Position::default() };
        let position = position.max(buffer.position);
        let end = buffer.bytes.len();
        // Where its own last write is does not go back when the log fails: WAITAOF asks for it.
        buffer.reached = position.max(buffer.reached);
        if buffer.chunks.is_empty() && self.home.is_released(position) {
            buffer.released = end;
        } else {
            buffer.chunks.push_back((end, position));
        }
    }

    fn log_moved(&self, broken: bool) {
        self.held.set(false);
        if broken {
            self.fail();
        }
    }

    fn send(self: Rc<Self>) {
        if !self.broken.get() {
            self.send_released();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_kept_for_a_client_that_is_always_behind() {
        let mut buffer = Buffer::default();
        let reply = [7; 1000];
        for n in 1..=10_000 {
            // Each reply is released and sent when the next one stands behind it.
            let before = buffer.bytes.len();
            buffer.bytes.extend_from_slice(&reply);
            buffer.chunks.push_back((buffer.bytes.len(), Position(n)));
            if n > 1 {
                assert_eq!(buffer.chunks.pop_front(), Some((before, Position(n - 1))));
                (buffer.released, buffer.sent) = (before, before);
            }
            buffer.drop_sent();
            assert_eq!(buffer.bytes.len() - buffer.sent, reply.len());
            assert!(buffer.bytes.capacity() <= 4 * SPARE_BYTES);
        }
    }
}
