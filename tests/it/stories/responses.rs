//! What backends send, and what the client gets of it.

use crate::harness::{After, Config, Fault, Origin, PLAIN, Proxy, default_route, pool};

async fn front(origin: &Origin) -> Proxy {
    let body = format!("{PLAIN}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(body)).await
}

/// What the backend says, and the status and reason it leads to.
async fn lead_to(status: u16, reason: &str, cases: &[(&str, &[u8])]) {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for (index, (what, bytes)) in cases.iter().enumerate() {
        origin.script(bytes);
        let path = format!("/case-{index}");
        let answer = proxy.door().get(&path).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(!answer.broken, "{what}: its body broke off");
        assert_eq!(proxy.logged(&path).await["reason"], reason, "{what}");
    }
    origin.fault(Fault::None);
    assert_eq!(proxy.door().get("/").await.name(), "a", "and it goes on");
}

#[tokio::test]
async fn an_ambiguous_answer_is_a_bad_response() {
    lead_to(
        502,
        "bad_response",
        &[
            (
                "CL, TE",
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                  0\r\n\r\n",
            ),
            (
                "TE, CL",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n\
                  0\r\n\r\n",
            ),
            (
                "two lengths",
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            ),
            ("a signed length", b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"),
            ("NUL", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
            ("no status line", b"hello, world\r\n\r\n"),
            ("half a head", b"HTTP/1.1 200 OK\r\nX"),
            ("a version of its own", b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
            ("17 interim answers", &b"HTTP/1.1 102 Wait\r\n\r\n".repeat(17)),
            ("a folded line", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
            ("a space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
            ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
            ("bare CR", b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n"),
            ("a name that is no token", b"HTTP/1.1 200 OK\r\nX(y): z\r\n\r\n"),
            ("another coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"),
            ("TE in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            (
                "a 101 nobody asked for",
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_oversized_head_of_a_backend_has_its_own_reason() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1024 * 1024));
    lead_to(502, "backend_header_too_large", &[("a head of 1 MiB", head.as_bytes())]).await;
}

#[tokio::test]
async fn an_end_before_any_byte_is_a_reset() {
    lead_to(502, "backend_reset", &[("nothing", b"")]).await;
}

#[tokio::test]
async fn interim_answers_are_not_the_final_one() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    origin.script(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n\
          HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nX-Final: 1\r\n\
          Content-Length: 4\r\n\r\ndone",
    );
    let answer = proxy.door().get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    assert_eq!(answer.header("x-final"), Some("1"));
}

#[tokio::test]
async fn answers_without_a_body_stay_without() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let door = proxy.door();
    let mut connection = door.connect().await;
    let head = connection.send(door.request("HEAD", "/page"), "").await;
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    assert!(head.header("content-length").unwrap().parse::<u64>().unwrap() > 100, "it is kept");
    for status in [204, 304] {
        let answer = connection.get(&format!("/status/{status}")).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, ""));
    }
    assert_eq!(connection.get("/").await.name(), "a", "the connection is still in step");
    origin.script(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n");
    let answer = connection.get("/").await;
    // hyper writes no Content-Length on a 304, which RFC 9110 §8.6 leaves to the sender.
    assert_eq!((answer.status, answer.header("content-length")), (304, None));
    assert_eq!(answer.header("etag"), Some("\"x\""));
    origin.fault(Fault::None);
    assert_eq!(connection.get("/").await.name(), "a");
}

#[tokio::test]
async fn unknown_codes_and_broken_ones_pass_through() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for status in [201, 207, 299, 300, 399, 404, 418, 499, 500, 503, 599] {
        let answer = proxy.door().get(&format!("/status/{status}")).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, "as told"));
    }
    let line = proxy.logged("/status/500").await;
    assert_eq!(
        (line["reason"].as_str(), line["source"].as_str()),
        (Some("backend_status"), Some("backend"))
    );
}

#[tokio::test]
async fn an_answer_up_to_the_end_of_the_connection_is_framed_anew() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for head in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"] {
        origin.script(format!("{head}all of it").as_bytes());
        let mut connection = proxy.door().connect().await;
        let answer = connection.get("/").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "all of it"));
        assert!(!answer.broken);
        assert_eq!(answer.version, http::Version::HTTP_11, "the backend's version never leaks");
        assert!(connection.is_open().await);
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_never_complete() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for (index, bytes) in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        origin.script(bytes);
        let path = format!("/cut-{index}");
        let answer = proxy.door().get(&path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.broken, "case {index} ended as if it were complete: {}", answer.text());
        assert_eq!(proxy.logged(&path).await["reason"], "backend_body_aborted");
    }
}

#[tokio::test]
async fn a_reset_after_a_complete_answer_is_no_failure() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    origin.fault(Fault::Bytes(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello".to_vec(),
        After::Reset,
    ));
    let answer = proxy.door().get("/").await;
    assert_eq!((answer.status, answer.text().as_str(), answer.broken), (200, "hello", false));
}

#[tokio::test]
async fn extra_bytes_of_a_backend_never_become_anothers_answer() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    origin.fault(Fault::Bytes(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
          HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            .to_vec(),
        After::Hold,
    ));
    assert_eq!(proxy.door().get("/one").await.text(), "hello");
    origin.fault(Fault::None);
    for _ in 0..3 {
        assert_eq!(proxy.door().get("/two").await.name(), "a");
    }
}

#[tokio::test]
async fn an_error_of_ours_names_no_backend() {
    let mut origin = Origin::start("secretly-named");
    let body = format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"secretly-named\", address = \"{}\" }}]\n",
        default_route("web"),
        origin.address()
    );
    let proxy = Proxy::start(Config::new(body)).await;
    origin.kill();
    let answer = proxy.door().get("/").await;
    assert_eq!(answer.status, 502);
    let text = format!("{:?} {}", answer.headers, answer.text());
    assert!(!text.contains("secretly") && !text.contains(&origin.address().to_string()), "{text}");
    assert_eq!(answer.header("ostler-reason"), None, "only trusted sources are told");
    let door = proxy.door();
    let request = door.request("GET", "/").header("accept", "application/json");
    assert!(door.send(request, "").await.json().is_object());
}
