//! The reader against every way to cut its input, against Redis's error texts, and against the
//! `redis-protocol` crate.

use super::*;
use proptest::prelude::*;
use redis_protocol::resp2;

type Args = Vec<Vec<u8>>;

/// What a connection makes of its bytes.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    requests: Vec<Args>,
    /// Where in all the bytes each request ended.
    ends: Vec<usize>,
    error: Option<ProtocolError>,
}

/// Reads `input` in the given pieces, as a connection does.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &ReadLimits) -> Outcome {
    let mut reader = RequestReader::new();
    let (mut buffer, mut dropped) = (Vec::new(), 0);
    let mut outcome = Outcome { requests: Vec::new(), ends: Vec::new(), error: None };
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match reader.next(&buffer, limits) {
                Ok(Some((request, len))) => {
                    outcome.requests.push(request.from(0).map(<[u8]>::to_vec).collect());
                    buffer.drain(..len);
                    dropped += len;
                    outcome.ends.push(dropped);
                }
                Ok(None) => break,
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
        // Every other time, so that both ways are tried.
        if piece.len() % 2 == 0 {
            let skipped = reader.take_skipped();
            buffer.drain(..skipped);
            dropped += skipped;
        }
    }
    outcome
}

fn whole(input: &[u8]) -> Outcome {
    read([input], &ReadLimits::default())
}

fn encoded(args: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Inputs of every kind, good and bad.
fn corpus() -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = [
        "*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$5\r\nfield\r\n$16\r\n0123456789abcdef\r\n",
        "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\nPING\r\n",
        "*0\r\n*-1\r\n*-10\r\n\r\n\n  \r\n*1\r\n$1\r\nx\r\n\r\n",
        "PING\nECHO \"a\\x41\\n\\\"\" 'it\\'s' b\"c\"\r\n*1\r\n$4\r\nQUIT\r\n",
        "*1\r?$1\r?x??PING\n",
        "*2\r\n$1\r\nx\r\n!3\r\nabc\r\n",
        "*x\r\n",
        "*1\r\n$01\r\nx\r\n",
        "SET 'a\r\nPING\r\n",
        "*2147483648\r\n",
        "*2147483647\r\n$1\r\nx\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$-1\r\n",
        "a\0b c\r\n\0\r\nd\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    corpus.push(encoded(&[b"1234".to_vec(), vec![b'\r'; 1234], Vec::new()]));
    corpus.push([encoded(&vec![vec![b'$'; 12]; 123]), b"\r\n".to_vec()].concat());
    corpus
}

#[test]
fn every_cut_gives_the_same_requests() {
    for input in corpus() {
        let expected = whole(&input);
        let bytewise = read(input.chunks(1), &ReadLimits::default());
        assert_eq!(bytewise, expected, "{:?}", input.escape_ascii().to_string());
        for cut in 0..=input.len() {
            let (head, tail) = input.split_at(cut);
            let got = read([head, tail], &ReadLimits::default());
            assert_eq!(got, expected, "{} cut at {cut}", input.escape_ascii());
            let (head, tail) = input.split_at(cut.min(cut / 2 + 3));
            let got = read([head, b"", &[], tail], &ReadLimits::default());
            assert_eq!(got, expected, "{} cut at {}", input.escape_ascii(), head.len());
        }
    }
}

#[test]
fn inline_requests_are_split_as_in_redis() {
    let words = |line: &str| {
        let outcome = whole(format!("{line}\r\n").as_bytes());
        assert!(outcome.requests.len() <= 1);
        match outcome.error {
            Some(error) => Err(error),
            None => Ok(outcome.requests.concat()),
        }
    };
    let of = |words: &[&str]| Ok(words.iter().map(|word| word.as_bytes().to_vec()).collect());
    assert_eq!(words("  a\tbc \x0b d\x0be "), of(&["a", "bc", "d\x0be"]));
    assert_eq!(words("a\"b c\"'"), Err(ProtocolError::UnbalancedQuotes));
    assert_eq!(words("a\"b c\" ''"), of(&["ab c", ""]));
    assert_eq!(words(r#""\x4a\x4A\xg\n\r\t\b\a\\\"\q""#), of(&["JJxg\n\r\t\x08\x07\\\"q"]));
    assert_eq!(words(r"'\x41\n\''"), of(&[r"\x41\n'"]));
    for unbalanced in ["\"", "'", "\"a\\\"", "'a\\'", "\"a\"b", "'a'b", "\"a\0\""] {
        assert_eq!(words(unbalanced), Err(ProtocolError::UnbalancedQuotes), "{unbalanced}");
    }
    assert_eq!(words("a\0b"), of(&["a"]));
    assert_eq!(words("\r"), of(&[]));
}

#[test]
fn every_error_has_the_text_of_redis() {
    let long = "a".repeat(LINE_BYTES_MAX + 1);
    let rows = [
        (long.clone(), "too big inline request"),
        ("a 'b\n".to_owned(), "unbalanced quotes in request"),
        (format!("*{long}"), "too big mbulk count string"),
        ("*1x\r\n".to_owned(), "invalid multibulk length"),
        ("*\r\n".to_owned(), "invalid multibulk length"),
        ("*2147483648\r\n".to_owned(), "invalid multibulk length"),
        ("*99999999999999999999\r\n".to_owned(), "invalid multibulk length"),
        (format!("*1\r\n${long}"), "too big bulk count string"),
        ("*1\r\nfoo\r\n".to_owned(), "expected '$', got 'f'"),
        ("*1\r\n\r\n".to_owned(), "expected '$', got ' '"),
        ("*1\r\n$x\r\n".to_owned(), "invalid bulk length"),
        ("*1\r\n$-1\r\n".to_owned(), "invalid bulk length"),
        ("*1\r\n$536870913\r\n".to_owned(), "invalid bulk length"),
    ];
    for (input, text) in rows {
        let error = whole(input.as_bytes()).error.unwrap();
        assert_eq!(error.wire(), format!("ERR Protocol error: {text}").as_bytes());
    }
    assert_eq!(
        ProtocolError::ExpectedBulk(0xff).wire(),
        b"ERR Protocol error: expected '$', got '\xff'"
    );
}

#[test]
fn a_line_may_be_just_as_long_as_the_limit() {
    let line = "a".repeat(LINE_BYTES_MAX);
    assert_eq!(whole(format!("{line}\n").as_bytes()).requests, [[line.as_bytes()]]);
    assert_eq!(whole(line.as_bytes()).error, None);
    let longer = format!("{line}a\n");
    assert_eq!(whole(longer.as_bytes()).error, Some(ProtocolError::InlineTooLong));
    let pieces = longer.as_bytes().chunks(1000);
    let in_pieces = read(pieces, &ReadLimits::default());
    assert_eq!(in_pieces.error, Some(ProtocolError::InlineTooLong));
}

#[test]
fn an_unauthenticated_client_is_held_short() {
    let limits = ReadLimits { authenticated: false, ..ReadLimits::default() };
    let error = |input: &[u8]| read([input], &limits).error;
    assert_eq!(error(&encoded(&vec![Vec::new(); 10])), None);
    assert_eq!(error(b"*11\r\n$0\r\n"), Some(ProtocolError::UnauthenticatedCount));
    assert_eq!(error(b"*1\r\n$16384\r\n"), None);
    let error = error(b"*1\r\n$16385\r\n").unwrap();
    assert_eq!(error.wire(), b"ERR Protocol error: unauthenticated bulk length");
    let count = ProtocolError::UnauthenticatedCount;
    assert_eq!(count.wire(), b"ERR Protocol error: unauthenticated multibulk length");
}

#[test]
fn announced_sizes_take_no_memory_and_a_request_stays_below_4_gib() {
    let huge = ReadLimits { bulk_bytes: usize::MAX, authenticated: true };
    let mut reader = RequestReader::new();
    let input = b"*2147483647\r\n$4294967200\r\nx";
    assert!(reader.next(input, &huge).unwrap().is_none());
    assert_eq!(reader.spans.capacity(), 0);
    for len in ["4294967295", "4294967280", "9223372036854775807"] {
        let input = format!("*1\r\n${len}\r\n");
        assert_eq!(
            read([input.as_bytes()], &huge).error,
            Some(ProtocolError::InvalidLength),
            "{len}"
        );
    }
}

#[test]
fn a_million_arguments_are_read_and_their_room_is_given_back() {
    let input = encoded(&vec![b"x".to_vec(); 1_000_000]);
    let mut reader = RequestReader::new();
    let limits = ReadLimits::default();
    let (request, len) = reader.next(&input, &limits).unwrap().unwrap();
    assert_eq!((request.len(), len), (1_000_000, input.len()));
    assert!(reader.next(b"", &limits).unwrap().is_none());
    assert_eq!(reader.spans.capacity(), 0);
}

#[test]
fn a_flood_of_empty_requests_can_be_dropped() {
    let mut reader = RequestReader::new();
    let limits = ReadLimits::default();
    let mut buffer = b"\r\n*0\r\n".repeat(10_000);
    let empty = buffer.len();
    buffer.extend_from_slice(b"*2\r\n$1\r\na\r\n$1");
    assert!(reader.next(&buffer, &limits).unwrap().is_none());
    assert_eq!(reader.take_skipped(), empty);
    assert_eq!(reader.take_skipped(), 0);
    buffer.drain(..empty);
    buffer.extend_from_slice(b"\r\nb\r\n");
    let (request, len) = reader.next(&buffer, &limits).unwrap().unwrap();
    assert_eq!((request.arg(0), request.arg(1), len), (&b"a"[..], &b"b"[..], buffer.len()));
}

proptest! {
    #[test]
    fn requests_are_what_another_codec_reads(
        requests in proptest::collection::vec(
            proptest::collection::vec(
                prop_oneof![
                    4 => proptest::collection::vec(any::<u8>(), 0..20),
                    1 => proptest::collection::vec(any::<u8>(), 90..1100),
                ],
                1..12,
            ),
            1..5,
        ),
        piece in 1_usize..64,
    ) {
        let input: Vec<u8> = requests.iter().flat_map(|args| encoded(args)).collect();
        let mut rest = &input[..];
        let mut theirs = Vec::new();
        while let Some((frame, len)) = resp2::decode::decode(rest).unwrap() {
            let resp2::types::OwnedFrame::Array(args) = frame else { panic!("not an array") };
            theirs.push(args.into_iter().map(|arg| {
                let resp2::types::OwnedFrame::BulkString(bytes) = arg else {
                    panic!("not a bulk string: {arg:?}")
                };
                bytes
            }).collect::<Args>());
            rest = &rest[len..];
        }
        let ours = read(input.chunks(piece), &ReadLimits::default());
        prop_assert_eq!(&ours.requests, &theirs);
        prop_assert_eq!(&ours.requests, &requests);
        prop_assert_eq!(ours.error, None);
    }

    #[test]
    fn any_bytes_give_the_same_in_any_pieces(
        input in "[*$\\-0-3a\"' \\\\x\r\n]{0,60}",
        piece in 1_usize..9,
    ) {
        let input = input.as_bytes();
        prop_assert_eq!(read(input.chunks(piece), &ReadLimits::default()), whole(input));
    }
}

#[test]
fn what_a_large_request_needed_is_given_back() {
    let limits = ReadLimits::default();
    let mut reader = RequestReader::new();
    let request = [&b"*5000\r\n"[..], &b"$1\r\nx\r\n".repeat(5000)].concat();
    assert_eq!(reader.next(&request, &limits).unwrap().unwrap().0.len(), 5000);
    assert!(reader.is_between());
    reader.shrink();
    assert!(reader.spans.capacity() <= KEPT_MAX);
    let line = [&b"x "[..], &b"y ".repeat(5000), b"\r\n"].concat();
    assert_eq!(reader.next(&line, &limits).unwrap().unwrap().0.len(), 5001);
    reader.shrink();
    assert!(reader.words.capacity() <= KEPT_MAX && reader.spans.capacity() <= KEPT_MAX);
}
