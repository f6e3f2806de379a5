//! What a connection has read and not used yet.

use crate::codec::reserve;

/// A buffer that has held more than this is not kept for what is left.
const KEPT_BYTES: usize = 64 * 1024;

/// Bytes that are put in behind and used from the front. **Cost**: each is moved at most once more
/// than it is put in, however little is used at a time.
#[derive(Debug, Default)]
pub(super) struct Input {
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
        self.bytes.len() - self.used
    }

    /// What was not used yet.
    pub(super) fn unused(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Puts bytes in.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        reserve(&mut self.bytes, bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Has used so many bytes more.
    pub(super) fn take(&mut self, n: usize) {
        self.used += n;
        if self.is_empty() {
            // An idle connection holds no buffer.
            *self = Input::default();
        } else if self.used > self.len() {
            // Fewer are moved than were used since the last time.
            if self.bytes.len() > KEPT_BYTES {
                self.bytes = self.unused().to_vec();
            } else {
                self.bytes.drain(..self.used);
            }
            self.used = 0;
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
                input.push(&bytes);
                put += n;
            };
            put_in(&mut input, BYTES);
            while input.len() > REQUEST && used < 4 * BYTES {
                assert_eq!(input.unused()[0], used.to_le_bytes()[0]);
                let before = input.used;
                input.take(REQUEST);
                used += REQUEST;
                if input.used < before {
                    moved += input.len();
                    assert!(input.bytes.capacity() <= 2 * input.len().max(KEPT_BYTES));
                }
                put_in(&mut input, more);
            }
            assert!(moved <= used, "{moved} bytes moved, {used} used");
        }
    }
}
