//! Floods of HTTP/2 frames: each ends its own connection, and others are served.

use std::ops::Range;

use crate::harness::frames::{END, Frames, GET, WHOLE, frame, headers, kind};
use crate::harness::{Config, Origin, Proxy, SECURE, SOON, default_route, pool, within};

/// RFC 9113 §7.
const ENHANCE_YOUR_CALM: u32 = 11;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const REFUSED: &str = "ostler_connections_refused_total";

async fn front(origin: &Origin) -> Proxy {
    let body = format!("{SECURE}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(body)).await
}

/// Sends what is made of each number below a bound, until the other side has had enough.
async fn flood(proxy: &Proxy, bound: u32, make: impl Fn(u32) -> Vec<u8>) -> Frames {
    let mut frames = Frames::connect(proxy.address("web")).await;
    for first in (0..bound).step_by(100) {
        let bytes: Vec<u8> = (first..first + 100).flat_map(&make).collect();
        frames.send(&bytes).await;
    }
    frames
}

/// A GET that waits, as its own stream.
fn waiting(number: u32, flags: u8) -> Vec<u8> {
    let mut fields = GET;
    fields[3] = (":path", "/gate/x");
    headers(2 * number + 1, flags, &fields)
}

#[tokio::test]
async fn floods_that_cost_end_their_connection_and_no_other() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut honest = proxy.secure("h2").connect().await;
    let rapid_reset = flood(&proxy, 5000, |number| {
        [waiting(number, END), frame(kind::RST_STREAM, 0, 2 * number + 1, &CANCEL)].concat()
    });
    let empty_data = flood(&proxy, 20_000, |number| {
        let head = if number == 0 { waiting(0, 0) } else { Vec::new() };
        [head, frame(kind::DATA, 0, 1, b"")].concat()
    });
    let continuation = flood(&proxy, 20_000, |number| {
        let kind = if number == 0 { kind::HEADERS } else { 9 };
        frame(kind, 0, 1, b"\0\x03x-a\x01b")
    });
    let outcomes = [
        ("rapid reset", rapid_reset.await),
        ("empty DATA", empty_data.await),
        ("CONTINUATION", continuation.await),
    ];
    for (what, mut frames) in outcomes {
        let end = frames.until(|frame| frame.kind == kind::GOAWAY).await;
        assert_eq!(end.map(|end| end.code()), Some(ENHANCE_YOUR_CALM), "{what}");
    }
    // Resets that we are provoked to send: here a window that grows by nothing.
    let mut provoked = flood(&proxy, 5000, |number| {
        [waiting(number, 0), frame(8, 0, 2 * number + 1, &[0; 4])].concat()
    })
    .await;
    let end = provoked.until(|frame| frame.kind == kind::GOAWAY).await;
    assert!(end.is_some_and(|end| end.code() != 0), "it was provoked again and again");
    assert_eq!(honest.get("/honest").await.name(), "a");
}

#[tokio::test]
async fn what_is_said_beside_requests_is_let_be_until_it_is_a_flood() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut honest = proxy.secure("h2").connect().await;
    let mut ended = 0.0;
    for (what, bytes) in [
        ("PING", frame(kind::PING, 0, 0, b"12345678")),
        ("SETTINGS", frame(kind::SETTINGS, 0, 0, b"")),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE by 1", frame(8, 0, 0, &[0, 0, 0, 1])),
        ("a kind nobody knows", frame(0x77, 0, 0, b"x")),
    ] {
        let mut few = flood(&proxy, 5_000, |_| bytes.clone()).await;
        few.send(&headers(1, END, &GET)).await;
        assert!(few.outcome(1).await.is_some(), "{what}: it was cut for a little");
        let mut many = flood(&proxy, 40_000, |_| bytes.clone()).await;
        many.send(&headers(1, END, &GET)).await;
        assert!(many.outcome(1).await.is_none(), "{what}: it may say what it wants");
        ended += 1.0;
        within(SOON, &format!("{what}: it is counted"), async || {
            let counted = proxy.metric(REFUSED, &["cause=\"http2_flood\""]).await;
            (counted >= ended).then_some(())
        })
        .await;
        assert_eq!(honest.get("/honest").await.name(), "a", "{what}");
    }
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_one_by_one_and_end_the_connection_when_they_are_many()
{
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut fields = GET.to_vec();
    fields.resize(200, ("x", "y"));
    let large = |number: u32| headers(2 * number + 1, END, &fields);
    let mut frames = Frames::connect(proxy.address("web")).await;
    for number in 0..4 {
        frames.send(&large(number)).await;
        let end = frames.outcome(2 * number + 1).await.unwrap();
        assert_eq!((end.kind, end.stream), (kind::DATA, 2 * number + 1), "a 431 as a whole");
    }
    frames.send(&headers(9, END, &GET)).await;
    assert_eq!(frames.outcome(9).await.unwrap().stream, 9);
    assert_eq!(origin.count(), 1);
    let before = proxy.metric(REFUSED, &["cause=\"http2_flood\""]).await;
    let mut many = flood(&proxy, 2000, large).await;
    while many.next().await.is_some() {}
    within(SOON, "a counted end", async || {
        (proxy.metric(REFUSED, &["cause=\"http2_flood\""]).await > before).then_some(())
    })
    .await;
    assert_eq!(proxy.secure("h2").get("/honest").await.name(), "a");
}

/// Heads of 64 fields and some 8 KiB, on streams of these numbers.
fn long(path: &str, numbers: Range<u32>) -> Vec<u8> {
    let value = "v".repeat(120);
    let mut fields = GET.to_vec();
    fields[3] = (":path", path);
    fields.resize(64, ("x-long", &value));
    numbers.flat_map(|number| headers(2 * number + 1, END, &fields)).collect()
}

#[tokio::test]
async fn heads_that_nobody_looks_at_are_answered_and_end_the_connection_when_they_are_many() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    // 75 KB of fields in 12: more than twice what a head may have.
    let mut fields = GET.to_vec();
    fields.resize(2200, ("x", "y"));
    let mut frames = Frames::connect(proxy.address("web")).await;
    for number in 0..4 {
        frames.send(&headers(2 * number + 1, END, &fields)).await;
        let end = frames.outcome(2 * number + 1).await.unwrap();
        assert_eq!(end.kind, kind::HEADERS, "a 431 without content");
    }
    frames.send(&headers(9, END, &GET)).await;
    assert_eq!(frames.outcome(9).await.unwrap().stream, 9);
    assert_eq!(origin.count(), 1);
    // The same in heads that are refused for what they say, and in blocks that belong to nothing.
    let malformed = [&fields[..], &[("connection", "close")]].concat();
    let (mut ended, mut honest) = (0.0, proxy.secure("h2").connect().await);
    for (what, malformed, opens) in [("too large", &fields, 2), ("malformed", &malformed, 2)]
        .into_iter()
        .chain([("of a stream that was reset", &malformed, 0)])
    {
        let mut many =
            flood(&proxy, 2000, |number| headers(opens * number + 1, END, malformed)).await;
        while many.next().await.is_some() {}
        ended += 1.0;
        within(SOON, &format!("{what}: a counted end"), async || {
            let counted = proxy.metric(REFUSED, &["cause=\"http2_flood\""]).await;
            (counted >= ended).then_some(())
        })
        .await;
        assert_eq!(honest.get("/honest").await.name(), "a", "{what}");
    }
}

#[tokio::test]
async fn who_sends_long_heads_all_at_once_is_no_flood() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut frames = Frames::connect(proxy.address("web")).await;
    frames.send(&long("/", 0..120)).await;
    let mut answered = 0;
    while answered < 120 {
        let frame = frames.next().await.expect("all are answered");
        assert!(frame.kind != kind::RST_STREAM && frame.kind != kind::GOAWAY, "{frame:?}");
        answered += u32::from(frame.kind == kind::HEADERS);
    }
    assert_eq!(origin.count(), 120);
}

#[tokio::test]
async fn who_reads_only_when_everything_was_sent_gets_all_of_it() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut frames = Frames::connect(proxy.address("web")).await;
    // No window is in the way, only the socket that nobody reads: what is sent meanwhile is not
    // looked at before that has moved, and is not lost.
    let most = u32::MAX >> 1;
    let window = [&[0, 4][..], &most.to_be_bytes()].concat();
    frames.send(&frame(kind::SETTINGS, 0, 0, &window)).await;
    frames.send(&frame(kind::WINDOW_UPDATE, 0, 0, &(most - 65_535).to_be_bytes())).await;
    let mut big = GET;
    big[3] = (":path", "/big/6000000");
    let answers: Vec<u8> = (0..4).flat_map(|number| headers(2 * number + 1, END, &big)).collect();
    frames.send(&answers).await;
    within(SOON, "all are asked for", async || (origin.count() == 4).then_some(())).await;
    frames.send(&long("/", 4..28)).await;
    let mut ended = 0;
    while ended < 28 {
        let frame = frames.next().await.expect("all are answered");
        assert!(frame.kind != kind::RST_STREAM && frame.kind != kind::GOAWAY, "{frame:?}");
        let last = matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.flags & END != 0;
        ended += u32::from(last);
    }
}

#[tokio::test]
async fn who_has_not_heard_yet_how_many_streams_there_may_be_is_no_flood() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut frames = Frames::connect(proxy.address("web")).await;
    // 128 wait; the others are refused, and may be sent again (RFC 9113 §8.7).
    frames.send(&long("/gate/x", 0..178)).await;
    for _ in 0..50 {
        let refused = frames.until(|frame| frame.kind == kind::RST_STREAM).await;
        assert_eq!(refused.map(|frame| frame.code()), Some(7));
    }
    frames.send(&frame(kind::PING, 0, 0, b"12345678")).await;
    let pong = frames.until(|frame| frame.kind == kind::PING).await;
    assert!(pong.is_some(), "the connection goes on");
}

#[tokio::test]
async fn a_block_that_grows_when_it_is_unpacked_goes_no_further() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut frames = Frames::connect(proxy.address("web")).await;
    // A field of 3 KiB goes into the table, and is then named 10,000 times: 30 MB out of 13 KiB.
    let mut block = headers(1, END, &GET).split_off(9);
    block.extend_from_slice(b"\x40\x03x-a\x7f\x81\x17");
    block.extend_from_slice(&[b'b'; 3072]);
    block.extend_from_slice(&[0xbe; 10_000]);
    frames.send(&frame(kind::HEADERS, END | WHOLE, 1, &block)).await;
    assert!(frames.outcome(1).await.is_some());
    assert_eq!(origin.count(), 0, "{:?}", origin.seen());
    assert_eq!(proxy.secure("h2").get("/honest").await.name(), "a");
}
