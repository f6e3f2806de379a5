//! `Records`: the bytes that a turn has to log. What is large and lies elsewhere already is lent
//! to them instead of copied, and is read a piece at a time when the frame is written.

use bytes::Bytes;
use std::fmt::Debug;
use std::io;

/// What takes bytes piece by piece. Its first error ends the giving.
pub type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Bytes that are given when they are wanted; always the same.
pub trait Part: Debug + Send {
    /// How many.
    fn bytes_len(&self) -> usize;

    /// Gives them in order.
    ///
    /// # Errors
    /// The first of `sink`.
    fn give(&self, sink: &mut Sink<'_>) -> io::Result<()>;
}

impl Part for Bytes {
    fn bytes_len(&self) -> usize {
        self.len()
    }

    fn give(&self, sink: &mut Sink<'_>) -> io::Result<()> {
        sink(self)
    }
}

/// Bytes behind some free room, and parts that are lent between them.
#[derive(Debug, Default)]
pub struct Records {
    room: usize,
    bytes: Vec<u8>,
    /// Before which of the bytes each part stands, ascending.
    parts: Vec<(usize, Box<dyn Part>)>,
    parts_len: usize,
}

impl Records {
    /// None, behind `room` zero bytes for whoever writes them.
    pub fn new(room: usize) -> Self {
        Records { room, bytes: vec![0; room], ..Records::default() }
    }

    /// The length without the room.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.room + self.parts_len
    }

    /// Whether there is nothing behind the room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The room and the bytes behind it without the parts; to be appended to.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The room in front.
    pub fn room_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.room]
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a part without a copy.
    pub fn lend(&mut self, part: impl Part + 'static) {
        self.parts_len += part.bytes_len();
        self.parts.push((self.bytes.len(), Box::new(part)));
    }

    /// Gives all bytes from `from` on, which is not behind the room.
    ///
    /// # Errors
    /// The first of `sink`.
    pub fn give(&self, from: usize, sink: &mut Sink<'_>) -> io::Result<()> {
        let mut given = from;
        for (at, part) in &self.parts {
            sink(&self.bytes[given..*at])?;
            part.give(sink)?;
            given = *at;
        }
        sink(&self.bytes[given..])
    }

    /// All bytes behind the room in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        let copied = self.give(self.room, &mut |piece| {
            all.extend_from_slice(piece);
            Ok(())
        });
        debug_assert!(copied.is_ok());
        all
    }

    /// Begins anew, with the same room.
    pub fn clear(&mut self) {
        /// A buffer that one huge turn has grown is not kept.
        const KEPT_BYTES: usize = 1 << 20;
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.bytes.resize(self.room, 0);
        self.parts.clear();
        self.parts_len = 0;
    }
}

/// `part` without a copy, if it lies in `whole`.
pub fn shared(whole: Option<&Bytes>, part: &[u8]) -> Option<Bytes> {
    let whole = whole?;
    let (outer, inner) = (whole.as_ptr_range(), part.as_ptr_range());
    (outer.start <= inner.start && inner.end <= outer.end).then(|| whole.slice_ref(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_where_they_were_lent() {
        let mut records = Records::new(3);
        assert!(records.is_empty());
        records.lend(Bytes::from_static(b"first"));
        records.lend(Bytes::from_static(b"second"));
        records.extend_from_slice(b"-");
        records.lend(Bytes::from_static(b"third"));
        assert!(!records.is_empty());
        assert_eq!(records.to_vec(), b"firstsecond-third");
        assert_eq!(records.len(), 17);
        let (mut given, mut left) = (Vec::new(), 2);
        let failed = records.give(1, &mut |piece| {
            left -= 1;
            given.extend_from_slice(piece);
            if left < 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(given, b"\0\0first");
        records.clear();
        assert_eq!((records.len(), records.bytes.len()), (0, 3));
    }

    #[test]
    fn only_what_lies_within_is_shared() {
        let whole = Bytes::from(b"0123456789".to_vec());
        let inner = whole.slice(2..8);
        assert_eq!(shared(Some(&whole), &whole[3..5]).unwrap(), "34");
        assert_eq!(shared(Some(&inner), &whole[2..8]).unwrap().as_ptr(), inner.as_ptr());
        for outside in [&whole[1..5], &whole[5..9], b"34"] {
            assert_eq!(shared(Some(&inner), outside), None);
        }
        assert_eq!(shared(None, &whole), None);
    }
}
