//! Answers that come before their request's end: they reach a client that is still sending.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::harness::frames::{END, Frames, GET, frame, headers, kind};
use crate::harness::{
    Answer, Config, Connection, Origin, PLAIN, Proxy, Raw, SECURE, Sent, default_route, pool, read,
    soon, statuses,
};

const LARGE: u64 = 12 * 1024 * 1024;

async fn front(origin: &Origin) -> Proxy {
    let limits = "limits = { body_size = \"16KiB\" }\n";
    let body = format!(
        "{PLAIN}{limits}{SECURE}{limits}{}\
         [[routes]]\npath = \"/large\"\npool = \"web\"\nlimits = {{ body_size = \"1GiB\" }}\n\
         [[routes]]\npath = \"/nobody\"\nrespond = {{ status = 403, body = \"no\" }}\n{}",
        default_route("web"),
        pool("web", &[origin], "")
    );
    Proxy::start(Config::new(body)).await
}

/// Sends all before it reads, as many libraries do: neither half may break.
async fn send_first<S: AsyncRead + AsyncWrite + Unpin>(mut raw: Raw<S>, head: &str) -> String {
    raw.stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..LARGE >> 20 {
        soon("a megabyte to be taken", raw.stream.write_all(&piece)).await.unwrap();
    }
    let mut bytes = Vec::new();
    soon("the answer and its end", raw.stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn who_sends_all_before_it_reads_gets_a_413_over_http_1() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    // Announced, and found on the way: a chunk that never ends.
    for framing in [format!("Content-Length: {LARGE}"), "Transfer-Encoding: chunked".to_owned()] {
        let mut head = format!("POST /sink HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
        if framing.ends_with("chunked") {
            head.push_str("4000000\r\n");
        }
        let text = send_first(proxy.raw().await, &head).await;
        assert_eq!(statuses(&text), [413], "{framing}: {text}");
        let secure = Raw::secure(proxy.address("web"), "http/1.1").await;
        let text = send_first(secure, &head).await;
        assert_eq!(statuses(&text), [413], "{framing}, with TLS: {text}");
    }
}

#[tokio::test]
async fn a_refusal_over_http_1_says_that_the_connection_ends_where_the_body_has_not_come() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let head = |framing| format!("POST /nobody HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
    for begun in [
        head("Content-Length: 6") + "hello",
        head("Content-Length: 5\r\nExpect: 100-continue"),
        head("Transfer-Encoding: chunked") + "5\r\nhello\r\n",
    ] {
        let mut raw = proxy.raw().await;
        raw.write(&begun).await;
        let text = raw.rest().await.to_lowercase();
        assert!(text.starts_with("http/1.1 403 "), "{begun}: {text}");
        assert!(text.contains("connection: close\r\n"), "{begun}: {text}");
    }
    // One that has come whole is thrown away, and the next request is heard.
    let mut raw = proxy.raw().await;
    let whole = head("Content-Length: 5") + "hello";
    raw.write(&whole).await;
    let text = raw.until("\r\n\r\nno").await;
    assert!(!text.to_lowercase().contains("connection:"), "{text}");
    // Of two that come at once the first is whole, and the second is not.
    raw.write(whole + &head("Content-Length: 6") + "hello").await;
    let text = raw.rest().await.to_lowercase();
    let status = "http/1.1 403 ";
    assert_eq!(text.matches(status).count(), 2, "{text}");
    assert_eq!(text.matches("connection: close").count(), 1, "{text}");
    assert!(text.rfind(status) < text.find("connection: close"), "{text}");
}

/// An upload whose answer does not wait for its end.
async fn upload(mut connection: Connection, path: &str) -> Answer {
    let body = Sent::Pattern { offset: 0, length: LARGE, sent: Arc::default() };
    let request = connection.door().request("POST", path).body(body).unwrap();
    let response =
        connection.open(request).await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
    soon("the answer's end", read(response)).await
}

#[tokio::test]
async fn every_stream_of_http_2_gets_its_answer_while_it_uploads() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut connection = proxy.secure("h2").connect().await;
    for (path, status, text) in [("/sink", 413, "413 "), ("/nobody", 403, "no")] {
        let uploads = (0..4).map(|_| upload(connection.share(), path));
        for answer in futures_util::future::join_all(uploads).await {
            assert_eq!((answer.status, answer.broken), (status, false), "{path}");
            assert!(answer.text().starts_with(text), "{path}: {}", answer.text());
        }
        assert_eq!(connection.get("/fine").await.name(), "a", "{path}: the connection goes on");
    }
    origin.script(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    let answer = upload(connection.share(), "/large/early").await;
    assert_eq!((answer.status, answer.broken, answer.text().as_str()), (401, false, "no"));
    assert_eq!(connection.get("/fine").await.status, 401, "the connection goes on");
}

#[tokio::test]
async fn a_stream_that_was_answered_early_is_reset_only_where_it_does_not_end() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut frames = Frames::connect(proxy.address("web")).await;
    let mut post = GET;
    (post[0].1, post[3].1) = ("POST", "/sink");
    let piece = vec![b'x'; 12 * 1024];
    let early = |stream| {
        let data = frame(kind::DATA, 0, stream, &piece).repeat(3);
        [headers(stream, 0, &post), data].concat()
    };
    frames.send(&early(1)).await;
    let end = frames.outcome(1).await.unwrap();
    assert_eq!((end.kind, end.flags & END), (kind::DATA, END), "answered as a whole");
    // One that comes to its end is told nothing more.
    frames.send(&[frame(kind::DATA, END, 1, &piece), headers(3, END, &GET)].concat()).await;
    let last = frames.until(|it| it.kind == kind::RST_STREAM || (it.stream, it.flags) == (3, END));
    assert_eq!(last.await.unwrap().stream, 3);
    // One that goes silent is told that it need not go on.
    frames.send(&early(5)).await;
    assert_eq!(frames.outcome(5).await.unwrap().kind, kind::DATA);
    let reset = frames.until(|it| it.stream == 5 && it.kind == kind::RST_STREAM).await.unwrap();
    assert_eq!(reset.code(), 0, "it is no error, so that the answer is kept");
}
