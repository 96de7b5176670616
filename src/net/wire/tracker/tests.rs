//! What the tracker lets through, and that it does not matter how bytes are cut.

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { size: 512, fields: 8, target: 128 };

fn requests() -> Tracker {
    Tracker::new(LIMITS)
}

fn refusal(bytes: &str) -> Option<Refusal> {
    requests().advance(bytes.as_bytes()).refused
}

#[test]
fn pipelined_requests_with_bodies_are_told_apart() {
    let bytes = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /x HTTP/1.1\r\n\r\n\
        PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\nGET";
    let mut tracker = requests();
    let step = tracker.advance(bytes);
    assert_eq!(step, Step { cleared: bytes.len() - 3, heads: 3, refused: None, in_body: false });
}

#[test]
fn what_hyper_would_repair_is_refused() {
    for (bytes, expected) in [
        ("GET / HTTP/1.1\nHost: a\n\n", Refusal::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Refusal::LineEnd),
        ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Refusal::FieldValue),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Refusal::Fold),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", Refusal::FieldName),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", Refusal::FieldName),
        ("GET / HTTP/1.1\r\nA: \0\r\n\r\n", Refusal::FieldValue),
        ("GET /\r\n\r\n", Refusal::RequestLine),
        ("GET  / HTTP/1.1\r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.1 \r\n\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.2\r\n\r\n", Refusal::Version),
        ("GET / HTTP/2.0\r\n\r\n", Refusal::Version),
        ("GET /a#b HTTP/1.1\r\n\r\n", Refusal::Target),
        ("GET /\u{e9} HTTP/1.1\r\n\r\n", Refusal::Target),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            Refusal::ContentLength,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", Refusal::ContentLength),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Refusal::TransferCoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: ,chunked\r\n\r\n", Refusal::TransferEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: \"a\", chunked\r\n\r\n", Refusal::TransferEncoding),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            Refusal::TransferEncoding,
        ),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", Refusal::FieldValue),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::TransferEncoding),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            Refusal::BothLengths,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refusal::BothLengths,
        ),
        (
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n",
            Refusal::UpgradeWithBody,
        ),
        ("\u{16}\u{3}\u{1}", Refusal::RequestLine),
        // hyper would answer these by itself, and nobody would know.
        ("GET x/y HTTP/1.1\r\n\r\n", Refusal::Target),
        ("GET ?x HTTP/1.1\r\n\r\n", Refusal::Target),
        ("GET http:/x HTTP/1.0\r\n\r\n", Refusal::Target),
        ("GET http://[::1/ HTTP/1.1\r\n\r\n", Refusal::Target),
    ] {
        assert_eq!(refusal(bytes), Some(expected), "{bytes:?}");
    }
}

#[test]
fn limits_hold_for_target_fields_and_head() {
    let target = "x".repeat(200);
    assert_eq!(refusal(&format!("GET /{target} HTTP/1.1\r\n\r\n")), Some(Refusal::UriTooLong));
    assert_eq!(refusal(&format!("GET /{}", "x".repeat(600))), Some(Refusal::UriTooLong));
    let fields = "A: b\r\n".repeat(9);
    assert_eq!(refusal(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), Some(Refusal::TooManyFields));
    let field = format!("A: {}\r\n", "b".repeat(600));
    assert_eq!(refusal(&format!("GET / HTTP/1.1\r\n{field}")), Some(Refusal::HeadTooLarge));
    assert_eq!(refusal(&format!("GET / HTTP/1.1\r\n{field}\r\n")), Some(Refusal::HeadTooLarge));
}

#[test]
fn empty_lines_before_a_request_count_as_a_part_of_its_head() {
    let (some, head) = ("\r\n".repeat(200), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut tracker = requests();
    for _ in 0..3 {
        let step = tracker.advance(format!("{some}{head}").as_bytes());
        assert_eq!((step.heads, step.refused), (1, None), "each request has a limit of its own");
    }
    let long = format!("{some}GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(200));
    assert_eq!(refusal(&long), Some(Refusal::HeadTooLarge));
    let mut tracker = requests();
    let refusals = (0..400).filter_map(|_| tracker.advance(b"\r\n").refused);
    assert_eq!(refusals.collect::<Vec<_>>(), [Refusal::HeadTooLarge]);
}

#[test]
fn bad_chunks_are_refused_in_the_body() {
    for chunks in ["x\r\n", "+1\r\n", "0x1\r\n", "1\n", "1 x\r\n", "ffffffffffffffff1\r\n", "\r\n"]
    {
        let bytes = format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let step = requests().advance(bytes.as_bytes());
        assert_eq!((step.refused, step.in_body), (Some(Refusal::ChunkSize), true), "{chunks:?}");
    }
}

#[test]
fn extensions_of_chunks_have_a_limit_in_all() {
    let mut tracker = requests();
    for _ in 0..2 {
        tracker.advance(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunks = "1;x=0123456\r\nz\r\n".repeat(800);
        let step = tracker.advance(chunks.as_bytes());
        assert_eq!((step.cleared, step.refused), (chunks.len(), None));
        tracker.advance(b"0\r\n\r\n");
    }
    tracker.advance(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    let step = tracker.advance("1;x=0123456\r\nz\r\n".repeat(1000).as_bytes());
    assert_eq!((step.refused, step.in_body), (Some(Refusal::ChunkSize), true));
}

#[test]
fn after_a_websocket_head_nothing_passes_until_it_is_decided() {
    let head = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let bytes = [&head[..], b"GET /smuggled HTTP/1.1\r\n\r\n"].concat();
    let mut tracker = requests();
    assert_eq!(tracker.advance(&bytes).cleared, head.len());
    assert!(tracker.held());
    assert_eq!(tracker.advance(&bytes[head.len()..]).cleared, 0);
    tracker.release(false);
    assert_eq!(tracker.advance(&bytes[head.len()..]).heads, 1);
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]),
        Just(&b"POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"[..]),
        Just(&b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..]),
        Just(&b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"[..]),
    ];
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn how_bytes_are_cut_does_not_matter(
        bytes in messages(),
        cuts in proptest::collection::vec(1usize..40, 1..40),
    ) {
        let whole = requests().advance(&bytes);
        let mut tracker = requests();
        let (mut cleared, mut heads, mut refused, mut end) = (0, 0, None, 0);
        for cut in cuts.iter().cycle().take(bytes.len()) {
            end = (end + cut).min(bytes.len());
            let step = tracker.advance(&bytes[cleared..end]);
            cleared += step.cleared;
            heads += step.heads;
            refused = refused.or(step.refused);
            if refused.is_some() { break; }
        }
        prop_assert_eq!((cleared, heads, refused), (whole.cleared, whole.heads, whole.refused));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let step = requests().advance(&bytes);
        prop_assert!(step.cleared <= bytes.len());
    }
}
