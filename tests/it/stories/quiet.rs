//! Connections that are quiet for a while, and requests that are sent a second time: nobody notices
//! what was let go of meanwhile.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::{
    Config, Fault, Origin, PLAIN, Proxy, default_route, pattern_hash, pool, soon, statuses,
};

/// Longer than a quiet connection keeps what it needs only while something is going on.
const A_WHILE: Duration = Duration::from_millis(700);

async fn front(origin: &Origin) -> Proxy {
    let body = format!("{PLAIN}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn a_connection_is_served_again_after_each_silence() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = proxy.raw().await;
    for round in 1..=3 {
        raw.write(format!("GET /round-{round} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        raw.until("\r\n\r\n").await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(origin.count(), round);
    }
    raw.write("POST /end HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab").await;
    tokio::time::sleep(A_WHILE).await;
    raw.write("cdeGET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(statuses(&raw.rest().await), [200, 200]);
    assert_eq!(origin.count(), 5);
}

#[tokio::test]
async fn a_head_that_comes_in_pieces_after_a_silence_is_one_request() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = proxy.raw().await;
    for piece in ["GET /pie", "ces HTTP/1.1\r\nHo", "st: a\r\nX-End: 1\r", "\n\r\n"] {
        raw.write(piece).await;
        tokio::time::sleep(A_WHILE / 2).await;
    }
    raw.until("\r\n\r\n").await;
    // An empty line before a request is ignored (RFC 9112 §2.2), also while nobody waits for it.
    raw.write("\r\n").await;
    tokio::time::sleep(A_WHILE).await;
    raw.write("GET /more HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(statuses(&raw.rest().await), [200]);
    assert_eq!(origin.seen()[0].target, "/pieces");
    assert_eq!(origin.seen()[0].one("x-end"), Some("1"));
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_client_that_reads_late_still_gets_the_whole_answer() {
    const LENGTH: u64 = 24 * 1024 * 1024;
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = proxy.raw().await;
    raw.write(format!("GET /big/{LENGTH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    let mut bytes = vec![0; 1000];
    let first = soon("a beginning", raw.stream.read(&mut bytes)).await.unwrap();
    bytes.truncate(first);
    tokio::time::sleep(A_WHILE).await;
    soon("the rest", raw.stream.read_to_end(&mut bytes)).await.unwrap();
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(xxh3_64(&bytes[head..]), pattern_hash(LENGTH));
}

#[tokio::test]
async fn a_repeated_request_is_the_same_field_by_field() {
    let origins = Origin::three();
    let backends: Vec<String> = origins[..2]
        .iter()
        .map(|it| format!("{{ id = \"{}\", address = \"{}\" }}", it.name(), it.address()))
        .collect();
    let body = format!(
        "{PLAIN}{}retry = {{ budget = \"100%\" }}\n[pools.web]\npolicy = \"round-robin\"\n\
         backends = [{}]\n",
        default_route("web"),
        backends.join(", ")
    );
    let proxy = Proxy::start(Config::new(body).runtime("workers = 1")).await;
    origins[0].fault(Fault::ResetAfterHead);
    let head = "GET /again?q=%20x&y HTTP/1.1\r\nHost: shop.example.com:80\r\nCookie: a=1; b=\"2\"\r\n\
         X-Odd: caf\u{e9}\r\nAccept: one\r\nAccept: two\r\nConnection: close\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(statuses(&proxy.raw().await.exchange(head).await), [200]);
    }
    let (first, second) = (origins[0].last(), origins[1].last());
    assert_eq!(first.target, "/again?q=%20x&y");
    for seen in [&first, &second] {
        assert_eq!(seen.one("host"), Some("shop.example.com:80"));
        assert_eq!(seen.one("cookie"), Some("a=1; b=\"2\""));
        assert_eq!(seen.all("accept"), ["one", "two"]);
    }
    // What we add is the same, too: it is one exchange, however many attempts.
    let mut names: Vec<_> = first.headers.iter().map(|(name, _)| name.as_str()).collect();
    let mut again: Vec<_> = second.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    again.sort_unstable();
    assert_eq!(names, again);
}

#[tokio::test]
async fn a_client_that_stalls_in_a_head_and_stays_is_let_go_after_its_408() {
    let origin = Origin::start("a");
    let body = format!(
        "{PLAIN}timeouts = {{ header = \"1s\" }}\n{}{}",
        default_route("web"),
        pool("web", &[&origin], "")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let mut raw = proxy.raw().await;
    raw.write("GET /never HTTP/1.1\r\nHo").await;
    raw.until(" 408 ").await;
    // It neither closes nor is quiet: what it says is read for a moment, and kept by nobody.
    let talk = async {
        while raw.stream.write_all(&[b'x'; 1024]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("the end of a connection", talk).await;
    assert_eq!(origin.count(), 0);
}
