//! Any bytes: the request reader does not panic, and gives the same requests, the same error and
//! the same places whether the bytes come whole, one by one, or in pieces of any length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::server::resp::{ProtocolError, ReadLimits, RequestReader};

/// The requests, each with the place where it ended, and the error after them.
type Outcome = (Vec<(usize, Vec<Vec<u8>>)>, Option<ProtocolError>);

/// Reads `input` in pieces of the lengths that `pieces` gives, as a connection does.
fn read(input: &[u8], limits: &ReadLimits, pieces: impl Iterator<Item = usize>) -> Outcome {
    let mut reader = RequestReader::new();
    let mut requests = Vec::new();
    let (mut start, mut end) = (0, 0);
    for piece in pieces {
        end = (end + piece).min(input.len());
        loop {
            match reader.next(&input[start..end], limits) {
                Ok(Some((request, len))) => {
                    start += len;
                    requests.push((start, request.from(0).map(<[u8]>::to_vec).collect()));
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
        if piece % 2 == 0 {
            start += reader.take_skipped();
        }
        if end == input.len() {
            break;
        }
    }
    (requests, None)
}

fuzz_target!(|data: &[u8]| {
    let [flags, pieces, input @ ..] = data else { return };
    let limits = ReadLimits { bulk_bytes: 1 << (flags >> 2), authenticated: flags & 1 == 0 };
    let whole = read(input, &limits, std::iter::once(input.len()));
    let bytewise = read(input, &limits, std::iter::repeat(1));
    assert_eq!(whole, bytewise);
    // A cheap sequence of lengths from one byte; 0 is an empty read.
    let mut state = u32::from(*pieces);
    let random = std::iter::from_fn(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(state >> 27).ok()
    });
    assert_eq!(whole, read(input, &limits, random));
});
