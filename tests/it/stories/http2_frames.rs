//! HTTP/2 frame by frame: what is malformed ends where RFC 9113 says, and never reaches a backend.

use rustix::process::Signal;

use crate::harness::frames::{END, Frame, Frames, GET, frame, headers, kind};
use crate::harness::{Config, Origin, Proxy, SECURE, SOON, default_route, pool, within};

/// RFC 9113 §7.
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;

async fn front(origin: &Origin) -> Proxy {
    let body = format!("{SECURE}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(body)).await
}

/// The GET with one field replaced, or taken out where there is no value.
fn with<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let changed = |(one, was): (&'a str, &'a str)| match value {
        _ if one != name => Some((one, was)),
        Some(value) => Some((one, value)),
        None => None,
    };
    GET.into_iter().filter_map(changed).collect()
}

/// The GET with one more field.
fn and<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    GET.into_iter().chain([(name, value)]).collect()
}

#[tokio::test]
async fn malformed_requests_never_reach_a_backend() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut late = with(":path", None);
    late.extend([("x-a", "1"), (":path", "/")]);
    for (what, fields) in [
        ("a name in upper case", and("X-A", "1")),
        ("an empty name", and("", "1")),
        ("a blank in a name", and("x a", "1")),
        ("a line feed in a value", and("x-a", "1\nx-b: 2")),
        ("a carriage return in a value", and("x-a", "1\r")),
        ("NUL in a value", and("x-a", "1\0")),
        ("a blank before a value", and("x-a", " 1")),
        ("a tab behind a value", and("x-a", "1\t")),
        ("connection", and("connection", "close")),
        ("keep-alive", and("keep-alive", "timeout=5")),
        ("proxy-connection", and("proxy-connection", "close")),
        ("transfer-encoding", and("transfer-encoding", "chunked")),
        ("upgrade", and("upgrade", "websocket")),
        ("te", and("te", "gzip")),
        ("no method", with(":method", None)),
        ("no scheme", with(":scheme", None)),
        ("no path", with(":path", None)),
        ("no authority", with(":authority", None)),
        ("another scheme", with(":scheme", "ftp".into())),
        ("a scheme that is not the connection's", with(":scheme", "http".into())),
        ("an empty path", with(":path", "".into())),
        ("a path without a slash", with(":path", "x".into())),
        ("an asterisk with GET", with(":path", "*".into())),
        ("a blank in the path", with(":path", "/a b".into())),
        ("a control in the path", with(":path", "/\x01".into())),
        ("a user in the authority", with(":authority", "user@localhost".into())),
        ("an empty authority", with(":authority", "".into())),
        ("a method that is no token", with(":method", "G T".into())),
        ("a path said twice", and(":path", "/x")),
        ("a pseudo-field nobody knows", and(":x", "1")),
        ("a pseudo-field of answers", and(":status", "200")),
        ("a pseudo-field behind others", late),
        ("another host", and("host", "evil")),
        ("a length without content", and("content-length", "5")),
        ("a length that is no number", and("content-length", "+0")),
    ] {
        let mut frames = Frames::connect(proxy.address("web")).await;
        frames.send(&headers(1, END, &fields)).await;
        let outcome = frames.outcome(1).await;
        assert!(outcome.is_some(), "{what}: the connection ended without a word");
        assert_eq!(origin.count(), 0, "{what}: the backend saw {:?}", origin.seen());
    }
    assert_eq!(proxy.secure("h2").get("/fine").await.name(), "a", "the others are served");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused_by_us_and_told() {
    let origin = Origin::start("a");
    let limits = "limits = { header_size = \"8KiB\" }\n";
    let body = format!("{SECURE}{limits}{}{}", default_route("web"), pool("web", &[&origin], ""));
    let proxy = Proxy::start(Config::new(body)).await;
    let door = proxy.secure("h2");
    let mut connection = door.connect().await;
    let large = |path: &str, size| door.request("GET", path).header("x-large", "x".repeat(size));
    assert_eq!(connection.send(large("/fits", 7_500), "").await.status, 200);
    for (path, request, status, reason) in [
        ("/field", large("/field", 8_000), 431, "header_too_large"),
        ("/twice", large("/twice", 15_000), 431, "header_too_large"),
        (
            "/long",
            door.request("GET", &format!("/long?{}", "x".repeat(9_000))),
            414,
            "uri_too_long",
        ),
    ] {
        assert_eq!(connection.send(request, "").await.status, status, "{path}");
        let line = proxy.logged(path).await;
        assert_eq!(
            (line["status"].as_u64(), line["reason"].as_str()),
            (Some(status.into()), Some(reason))
        );
    }
    // h2 keeps no more than twice that, and says the same by itself.
    assert_eq!(connection.send(large("/more", 17_000), "").await.status, 431);
    assert_eq!(connection.get("/fine").await.name(), "a", "the connection goes on");
    proxy.logged("/fine").await;
    assert_eq!((proxy.log().len(), origin.count()), (5, 2), "nobody has heard of that one");
}

#[tokio::test]
async fn a_length_that_does_not_match_its_data_is_never_a_complete_request() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for length in ["2", "5"] {
        let mut frames = Frames::connect(proxy.address("web")).await;
        let mut fields = with(":method", "POST".into());
        fields.extend([("content-length", length)]);
        frames.send(&headers(1, 0, &fields)).await;
        frames.send(&frame(kind::DATA, END, 1, b"abc")).await;
        let outcome = frames.outcome(1).await.unwrap();
        assert_eq!(outcome.kind, kind::RST_STREAM, "{length}: {outcome:?}");
        // What follows on the connection is another stream, and served.
        frames.send(&headers(3, END, &GET)).await;
        assert_eq!(frames.outcome(3).await.unwrap().kind, kind::DATA);
    }
    let posts = proxy.log().into_iter().filter(|line| line["method"] == "POST");
    assert!(posts.clone().all(|line| line["status"] != 200), "{:?}", posts.collect::<Vec<_>>());
}

#[tokio::test]
async fn frames_out_of_their_order_end_the_stream_or_the_connection() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let get = |stream| headers(stream, END, &GET);
    let open = |stream| headers(stream, 0, &with(":method", Some("POST")));
    for (what, bytes) in [
        ("HEADERS behind the end", [get(1), get(1)]),
        ("DATA behind the end", [get(1), frame(kind::DATA, END, 1, b"x")]),
        ("DATA of a stream that never was", [get(1), frame(kind::DATA, END, 7, b"x")]),
        ("a stream of ours", [get(1), get(2)]),
        ("a lower stream", [get(5), get(3)]),
        ("trailers without an end", [open(1), headers(1, 0, &[("x-t", "1")])]),
        ("CONTINUATION of nothing", [get(1), frame(9, 4, 1, b"")]),
        ("a promise of a client", [get(1), frame(5, 4, 1, b"\0\0\0\x02")]),
        ("a window that grows by nothing", [get(1), frame(8, 0, 0, &[0; 4])]),
        ("a window beyond its bounds", [get(1), frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])]),
        ("a frame beyond the limit", [get(1), frame(kind::DATA, 0, 3, &vec![0; 20_000])]),
        ("settings of odd length", [get(1), frame(kind::SETTINGS, 0, 0, b"x")]),
    ] {
        let mut frames = Frames::connect(proxy.address("web")).await;
        frames.send(&bytes.concat()).await;
        let is_end = |frame: &Frame| [kind::RST_STREAM, kind::GOAWAY].contains(&frame.kind);
        let end = frames.until(is_end).await;
        assert!(end.is_some_and(|end| end.code() != NO_ERROR), "{what} was accepted");
        assert_eq!(proxy.secure("h2").get("/fine").await.name(), "a", "{what}");
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_unseen() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut frames = Frames::connect(proxy.address("web")).await;
    let gate = with(":path", Some("/gate/x"));
    for stream in 0..130 {
        frames.send(&headers(2 * stream + 1, END, &gate)).await;
    }
    for _ in 0..2 {
        let refused = frames.until(|frame| frame.kind == kind::RST_STREAM).await.unwrap();
        assert_eq!(refused.code(), REFUSED_STREAM, "which says that it may be tried again");
        assert!(refused.stream > 2 * 128, "{refused:?}");
    }
    within(SOON, "all that may be", async || (origin.count() == 128).then_some(())).await;
    origin.open_gate();
    for _ in 0..128 {
        let is_last = |frame: &Frame| frame.kind == kind::DATA && frame.flags & END != 0;
        assert!(frames.until(is_last).await.is_some());
    }
    assert_eq!(origin.count(), 128);
}

#[tokio::test]
async fn a_graceful_end_is_told_in_two_steps() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut frames = Frames::connect(proxy.address("web")).await;
    frames.send(&headers(1, END, &with(":path", Some("/gate/x")))).await;
    within(SOON, "the request", async || (origin.count() == 1).then_some(())).await;
    proxy.signal(Signal::TERM);
    let first = frames.until(|frame| frame.kind == kind::GOAWAY).await.unwrap();
    assert_eq!((first.last_stream(), first.code()), (i32::MAX.cast_unsigned(), NO_ERROR));
    let ping = frames.until(|frame| frame.kind == kind::PING).await.unwrap();
    // What was on its way when the first was sent still counts.
    frames.send(&headers(3, END, &with(":path", Some("/gate/y")))).await;
    frames.send(&frame(kind::PING, END, 0, &ping.payload)).await;
    let second = frames.until(|frame| frame.kind == kind::GOAWAY).await.unwrap();
    assert_eq!((second.last_stream(), second.code()), (3, NO_ERROR));
    origin.open_gate();
    for _ in 0..2 {
        let is_last = |frame: &Frame| frame.kind == kind::DATA && frame.flags & END != 0;
        assert!(frames.until(is_last).await.is_some(), "what was taken is answered");
    }
    assert!(frames.until(|_| false).await.is_none(), "and then it ends");
}

#[tokio::test]
async fn trailers_of_a_request_arrive_but_for_those_that_frame_or_route() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut frames = Frames::connect(proxy.address("web")).await;
    let mut fields = with(":method", Some("POST"));
    fields.retain(|field| field.0 != ":path");
    fields.extend([(":path", "/sink"), ("te", "trailers")]);
    fields.push(("trailer", "x-sum, host, content-length, authorization"));
    frames.send(&headers(1, 0, &fields)).await;
    frames.send(&frame(kind::DATA, 0, 1, b"hello")).await;
    let trailers = [
        ("x-sum", "7"),
        ("host", "evil"),
        ("content-length", "3"),
        ("authorization", "evil"),
        ("transfer-encoding", "evil"),
    ];
    frames.send(&headers(1, END, &trailers[..4])).await;
    let said = frames.until(|frame| frame.kind == kind::DATA).await.unwrap().payload;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("\"length\":5") && said.contains("x-sum: 7"), "{said}");
    assert!(!said.contains("evil") && !said.contains("content-length"), "{said}");
    // One that belongs to a connection makes the whole request malformed.
    frames.send(&headers(3, 0, &fields)).await;
    frames.send(&headers(3, END, &trailers[4..])).await;
    assert_eq!(frames.outcome(3).await.unwrap().kind, kind::RST_STREAM);
}
