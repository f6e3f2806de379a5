//! LZF, decompression only: what we write stays uncompressed.
//!
//! | control byte c | meaning |
//! |---|---|
//! | c < 32 | the next c + 1 bytes are literal |
//! | else | copy n + 2 bytes from (output position - offset - 1), which may overlap the output |
//!
//! where n is c >> 5, plus the next byte if that is 7, and the offset is (c & 31) << 8 plus the
//! byte after.

use crate::codec::{Corrupt, Cursor};

/// The most bytes that one compressed byte can become: three bytes make at most 264.
const EXPANSION: usize = 88;

/// Decompresses `input` to exactly `size` bytes.
///
/// # Errors
/// [`Corrupt`] if `input` is not valid, or does not make that many bytes. Room is made only for a
/// `size` that the input can reach.
pub(super) fn decompress(input: &[u8], size: usize) -> Result<Vec<u8>, Corrupt> {
    if size > input.len().saturating_mul(EXPANSION) {
        return Err(Corrupt("an LZF string cannot become as long as it says"));
    }
    let mut out = Vec::with_capacity(size);
    let mut cursor = Cursor::new(input);
    while !cursor.is_empty() {
        let control = usize::from(cursor.u8()?);
        if control < 32 {
            let literal = cursor.take(control + 1)?;
            if literal.len() > size - out.len() {
                return Err(Corrupt("an LZF string is longer than it says"));
            }
            out.extend_from_slice(literal);
        } else {
            let mut length = control >> 5;
            if length == 7 {
                length += usize::from(cursor.u8()?);
            }
            let offset = (control & 31) << 8 | usize::from(cursor.u8()?);
            copy_back(&mut out, offset, length + 2, size)?;
        }
    }
    if out.len() == size { Ok(out) } else { Err(Corrupt("an LZF string is too short")) }
}

/// Appends `length` bytes of `out` itself, beginning `offset + 1` before its end.
fn copy_back(
    out: &mut Vec<u8>,
    offset: usize,
    mut length: usize,
    size: usize,
) -> Result<(), Corrupt> {
    let Some(start) = out.len().checked_sub(offset + 1) else {
        return Err(Corrupt("an LZF reference points before the beginning"));
    };
    if length > size - out.len() {
        return Err(Corrupt("an LZF string is longer than it says"));
    }
    // Where the source overlaps the bytes being written, what is written repeats: each round can
    // copy all there is.
    while length > 0 {
        let step = length.min(out.len() - start);
        out.extend_from_within(start..start + step);
        length -= step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_references_are_expanded() {
        assert_eq!(decompress(b"", 0), Ok(vec![]));
        assert_eq!(decompress(b"\x02abc", 3), Ok(b"abc".to_vec()));
        // A short reference, to all three bytes.
        assert_eq!(decompress(b"\x02abc\x20\x02", 6), Ok(b"abcabc".to_vec()));
        // Overlap: the last byte, seven times and 264 times.
        assert_eq!(decompress(b"\x00a\xa0\x00", 8), Ok(vec![b'a'; 8]));
        assert_eq!(decompress(b"\x00a\xe0\xff\x00", 265), Ok(vec![b'a'; 265]));
        // An overlap of two bytes, and an odd length.
        assert_eq!(decompress(b"\x01ab\x60\x01", 7), Ok(b"abababa".to_vec()));
        // A reference further back than 255 bytes.
        let mut far = Vec::new();
        for chunk in 0..10_u8 {
            far.push(31);
            far.extend((0..32).map(|i| chunk ^ i));
        }
        far.extend([0x20 | 1, 0x3f]);
        let out = decompress(&far, 323).unwrap();
        assert_eq!(out[320..], [0, 1, 2]);
    }

    #[test]
    fn damage_is_refused() {
        for (input, size) in [
            (&b"\x02ab"[..], 3),         // Literals are missing.
            (b"\x02abc", 2),             // Too long.
            (b"\x02abc", 4),             // Too short.
            (b"\x00a\x20", 4),           // The offset is missing.
            (b"\x00a\xe0", 4),           // The length is missing.
            (b"\x00a\x20\x01", 4),       // Before the beginning.
            (b"\x20\x00", 3),            // No beginning at all.
            (b"\x00a\x20\x00", 3),       // The reference is too long.
            (b"\x00a", usize::MAX),      // Never allocated.
            (b"\x00a\xe0\xff\x00", 441), // Beyond what five bytes can make.
        ] {
            assert!(decompress(input, size).is_err(), "{input:?} to {size}");
        }
    }
}
