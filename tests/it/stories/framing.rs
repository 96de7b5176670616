//! Where a request body ends: one answer to that question, or none at all.

use crate::harness::{Config, Origin, PLAIN, Proxy, default_route, pool, statuses};

async fn front(origin: &Origin) -> Proxy {
    let body = format!(
        "{PLAIN}timeouts = {{ header = \"2s\", body = \"1s\" }}\n{}{}",
        default_route("web"),
        pool("web", &[origin], "")
    );
    Proxy::start(Config::new(body)).await
}

async fn refused(cases: &[(&str, &str, &[u16])]) {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for (what, fields, expected) in cases {
        let request = format!(
            "POST /sink HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let text = proxy.raw().await.exchange(request).await;
        let got = statuses(&text);
        assert_eq!(got.len(), 1, "{what}: {text:?}");
        assert!(expected.contains(&got[0]), "{what}: {got:?} instead of {expected:?}");
        assert_eq!(origin.count(), 0, "{what}: the backend saw {:?}", origin.seen());
    }
}

#[tokio::test]
async fn both_lengths_at_once_are_refused() {
    refused(&[
        ("CL, TE", "Content-Length: 15\r\nTransfer-Encoding: chunked", &[400]),
        ("TE, CL", "Transfer-Encoding: chunked\r\nContent-Length: 15", &[400]),
        ("CL 0, TE", "Content-Length: 0\r\nTransfer-Encoding: chunked", &[400]),
    ])
    .await;
}

#[tokio::test]
async fn any_coding_but_one_chunked_is_refused() {
    refused(&[
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked", &[501]),
        ("chunked twice", "Transfer-Encoding: chunked, chunked", &[400, 501]),
        ("two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", &[400, 501]),
        ("chunked first", "Transfer-Encoding: chunked, gzip", &[400]),
        ("xchunked", "Transfer-Encoding: xchunked", &[400]),
        ("identity", "Transfer-Encoding: identity", &[400, 501]),
        ("empty", "Transfer-Encoding: ", &[400, 501]),
        ("quoted", "Transfer-Encoding: \"chunked\"", &[400, 501]),
        ("with a parameter", "Transfer-Encoding: chunked;x=y", &[400, 501]),
        ("a vertical tab", "Transfer-Encoding:\u{b}chunked", &[400, 501]),
    ])
    .await;
}

#[tokio::test]
async fn an_ambiguous_content_length_is_refused() {
    refused(&[
        ("two equal", "Content-Length: 5\r\nContent-Length: 5", &[400]),
        ("two that differ", "Content-Length: 5\r\nContent-Length: 6", &[400]),
        ("a list", "Content-Length: 5, 5", &[400]),
        ("a sign", "Content-Length: +5", &[400]),
        ("negative", "Content-Length: -5", &[400]),
        ("hexadecimal", "Content-Length: 0x5", &[400]),
        ("empty", "Content-Length: ", &[400]),
        ("a space inside", "Content-Length: 1 5", &[400]),
        ("overflow", "Content-Length: 18446744073709551616", &[400]),
    ])
    .await;
}

#[tokio::test]
async fn transfer_encoding_in_http_1_0_is_refused() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let text = proxy
        .raw()
        .await
        .exchange("POST /sink HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert_eq!(statuses(&text), [400]);
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_broken_chunk_never_becomes_a_complete_request() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for (what, body) in [
        ("a size that overflows", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("a size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        ("bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("more data than its size", "4\r\nhello\r\n0\r\n\r\n"),
    ] {
        let request =
            format!("POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let text = proxy.raw().await.exchange(request).await;
        let got = statuses(&text);
        assert!(got.is_empty() || got == [400], "{what}: {text:?}");
        assert!(!text.contains("\"hash\""), "{what}: the backend took it as complete");
    }
}

#[tokio::test]
async fn a_body_cut_short_never_becomes_a_complete_request() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for request in [
        "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        "POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut raw = proxy.raw().await;
        raw.write(request).await;
        let text = raw.rest().await;
        assert!(statuses(&text).iter().all(|status| *status == 408), "{text:?}");
        assert!(!text.contains("\"hash\""), "{text:?}");
    }
}

#[tokio::test]
async fn a_flood_of_chunk_extensions_is_refused_and_told_for_what_it_is() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let chunks = "1;x=0123456789\r\nz\r\n".repeat(1000);
    let head = "POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let text = proxy.raw().await.exchange(format!("{head}{chunks}")).await;
    assert!(statuses(&text).iter().all(|status| *status == 400), "{text:?}");
    let line = proxy.logged("/sink").await;
    assert_eq!(line["reason"], "bad_request", "{line}");
    assert_eq!(line["cause"], "chunk_size", "{line}");
}

#[tokio::test]
async fn a_chunked_body_arrives_whole_and_framed_anew() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let text = proxy
        .raw()
        .await
        .exchange(
            "POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n5;name=value\r\nhello\r\n6\r\n world\r\n0\r\n\
             Transfer-Encoding: chunked\r\nContent-Length: 3\r\nHost: evil\r\n\r\n",
        )
        .await;
    assert_eq!(statuses(&text), [200], "{text}");
    assert!(text.contains("\"length\":11"), "{text}");
    for word in ["evil", "Content-Length", "ransfer-"] {
        let trailers = text.split("\"trailers\":").nth(1).unwrap();
        assert!(!trailers.contains(word), "a forbidden trailer was passed on: {trailers}");
    }
    assert_eq!(origin.last().all("transfer-encoding"), ["chunked"]);
    assert_eq!(origin.last().one("content-length"), None);
}

#[tokio::test]
async fn a_get_may_have_a_body() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let door = proxy.door();
    let answer = door.send(door.request("GET", "/sink"), "hello").await;
    assert_eq!(answer.json()["length"], 5);
    assert_eq!(origin.last().one("content-length"), Some("5"));
}

#[tokio::test]
async fn methods_and_fields_nobody_knows_pass_through() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let door = proxy.door();
    let request = door.request("PURGE", "/x").header("x-unknown", "yes").header("x-unknown", "no");
    assert_eq!(door.send(request, "").await.json()["method"], "PURGE");
    assert_eq!(origin.last().all("x-unknown"), ["yes", "no"], "their order is kept");
}

#[tokio::test]
async fn fields_keep_their_order_both_ways() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let fields = "X-B: 1\r\nServer: x\r\nX-A: 2\r\nX-B: 3\r\n";
    let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
    origin.script(answer.as_bytes());
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
    let text = proxy.raw().await.exchange(request).await;
    let fields = fields.to_ascii_lowercase();
    assert!(text.contains(&fields), "{text}");
    let head = origin.last().head.to_ascii_lowercase();
    assert!(head.contains(&format!("host: a\r\n{fields}")), "{head}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let origin = Origin::start("a");
    let body = format!(
        "{PLAIN}limits = {{ body_size = \"1KiB\" }}\n{}\
         [[routes]]\npath = \"/large\"\npool = \"web\"\nlimits = {{ body_size = \"1MiB\" }}\n{}",
        default_route("web"),
        pool("web", &[&origin], "")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let door = proxy.door();
    let large = "x".repeat(2048);
    assert_eq!(door.send(door.request("POST", "/small"), &large).await.status, 413);
    assert_eq!(origin.count(), 0);
    assert_eq!(door.send(door.request("POST", "/large"), &large).await.json()["length"], 2048);
    let text = proxy
        .raw()
        .await
        .exchange(format!(
            "POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n800\r\n{large}\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(statuses(&text), [413], "{text}");
}
