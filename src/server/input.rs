//! What a connection has read and not used yet.

use super::connection::READ_BYTES;
use crate::codec::reserve;
use bytes::Bytes;

/// A buffer that has held so much takes the room for the rest of what was announced.
const TRUSTED_FROM: usize = 256 * 1024;

/// A buffer that has held more than this is not kept for what is left.
const KEPT_BYTES: usize = 64 * 1024;

/// Bytes that are put in behind and used from the front. **Cost**: each is moved at most once more
/// than it is put in, however little is used at a time.
#[derive(Debug, Default)]
pub(super) struct Input(Option<Box<Held>>);

/// What a connection holds that is not idle.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// How many of them have been used.
    used: usize,
}

impl Input {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes were not used yet.
    pub(super) fn len(&self) -> usize {
        self.unused().len()
    }

    /// What was not used yet.
    pub(super) fn unused(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |held| &held.bytes[held.used..])
    }

    /// Puts bytes in; `expected_len` will be there at least before they are used.
    pub(super) fn push(&mut self, bytes: &[u8], expected_len: usize) {
        if !bytes.is_empty() {
            let held = self.0.get_or_insert_default();
            // The read that brings the last of them may bring more.
            let expected = (held.used + expected_len + READ_BYTES).saturating_sub(held.bytes.len());
            let is_trusted = held.bytes.len() >= TRUSTED_FROM && expected_len > 0;
            let room = held.bytes.capacity() - held.bytes.len();
            // The system may not have so much even to promise.
            if room >= bytes.len()
                || !is_trusted
                || held.bytes.try_reserve_exact(expected.max(bytes.len())).is_err()
            {
                reserve(&mut held.bytes, bytes.len());
            }
            held.bytes.extend_from_slice(bytes);
        }
    }

    /// Takes the next `len` bytes out, without a copy: of these, but of what is behind them.
    pub(super) fn split(&mut self, len: usize) -> Bytes {
        let Some(held) = self.0.take() else { return Bytes::new() };
        let Held { mut bytes, used } = *held;
        let end = used + len;
        self.push(&bytes[end..], 0);
        bytes.truncate(end);
        Bytes::from(bytes).split_off(used)
    }

    /// Has used so many bytes more.
    pub(super) fn take(&mut self, n: usize) {
        let Some(held) = &mut self.0 else { return };
        held.used += n;
        let left = held.bytes.len() - held.used;
        if left == 0 {
            // An idle connection holds no buffer.
            self.0 = None;
        } else if held.used > left {
            // Fewer are moved than were used since the last time.
            if held.bytes.len() > KEPT_BYTES {
                held.bytes = held.bytes[held.used..].to_vec();
            } else {
                held.bytes.drain(..held.used);
            }
            held.used = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_little_by_little_is_moved_no_more_often_than_it_came() {
        const BYTES: usize = 1 << 20;
        const REQUEST: usize = 50;
        for more in [0, 10, REQUEST] {
            let (mut input, mut moved, mut put, mut used) = (Input::default(), 0, 0, 0_usize);
            let mut put_in = |input: &mut Input, n: usize| {
                let bytes: Vec<u8> = (put..put + n).map(|at| at.to_le_bytes()[0]).collect();
                input.push(&bytes, 0);
                put += n;
            };
            put_in(&mut input, BYTES);
            while input.len() > REQUEST && used < 4 * BYTES {
                assert_eq!(input.unused()[0], used.to_le_bytes()[0]);
                let state = |input: &Input| {
                    let held = input.0.as_ref();
                    held.map_or((0, 0), |held| (held.used, held.bytes.capacity()))
                };
                let before = state(&input).0;
                input.take(REQUEST);
                used += REQUEST;
                if state(&input).0 < before {
                    moved += input.len();
                    assert!(state(&input).1 <= 2 * input.len().max(KEPT_BYTES));
                }
                put_in(&mut input, more);
            }
            assert!(moved <= used, "{moved} bytes moved, {used} used");
        }
    }
}
