//! Bodies: streamed both ways, byte for byte, at the pace of who reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::{
    Config, Door, Origin, PLAIN, Proxy, SECURE, SOON, Sent, default_route, pattern_hash, pool,
    read, settled, soon, spawn, statuses, within,
};

const LARGE: u64 = 48 * 1024 * 1024;
/// What may be on its way at most: buffers of three sockets and of both sides of the proxy.
const IN_FLIGHT: u64 = 24 * 1024 * 1024;

async fn front(origin: &Origin) -> Proxy {
    let body = format!(
        "{PLAIN}timeouts = {{ body = \"2s\", write = \"60s\" }}\n{SECURE}{}{}",
        default_route("web"),
        pool("web", &[origin], "")
    );
    Proxy::start(Config::new(body)).await
}

fn doors(proxy: &Proxy) -> [Door; 3] {
    [proxy.door(), proxy.secure("http/1.1"), proxy.secure("h2")]
}

#[tokio::test]
async fn a_large_download_arrives_byte_for_byte() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for door in doors(&proxy) {
        let answer = door.get(&format!("/big/{LARGE}")).await;
        assert_eq!(u64::try_from(answer.body.len()).unwrap(), LARGE);
        assert_eq!(xxh3_64(&answer.body), pattern_hash(LARGE));
        assert_eq!(answer.header("content-length"), Some(LARGE.to_string().as_str()));
    }
}

#[tokio::test]
async fn large_and_small_answers_take_turns_on_one_connection() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let door = proxy.door();
    let mut connection = door.connect().await;
    for length in [2_000_000, 5, 65_536, 65_535, 300_000, 0, 1_000_000] {
        let request = door.request("GET", &format!("/big/{length}")).body(Sent::Whole(None));
        let answer = read(connection.open(request.unwrap()).await.unwrap()).await;
        assert_eq!(answer.body.len() as u64, length);
        assert_eq!(xxh3_64(&answer.body), pattern_hash(length));
    }
    let connections = origin.connections();
    assert!(connections <= 1 + origin.checks(), "the backend's goes on as well: {connections}");
}

#[tokio::test]
async fn a_large_upload_arrives_byte_for_byte() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for door in doors(&proxy) {
        let mut connection = door.connect().await;
        let body = Sent::Pattern { offset: 0, length: LARGE, sent: Arc::default() };
        let request = door.request("POST", "/sink").body(body).unwrap();
        let answer = read(connection.open(request).await.unwrap()).await;
        assert_eq!(answer.json()["length"], LARGE);
        assert_eq!(answer.json()["hash"], pattern_hash(LARGE));
    }
}

#[tokio::test]
async fn a_backend_that_does_not_read_holds_the_client_back() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let door = proxy.secure("h2");
    let mut connection = door.connect().await;
    let sent = Arc::new(AtomicU64::new(0));
    let body = Sent::Pattern { offset: 0, length: LARGE, sent: Arc::clone(&sent) };
    let request = door.request("POST", "/gated-upload").body(body).unwrap();
    let upload = spawn(async move { read(connection.open(request).await.unwrap()).await });
    let amount = settled("the upload to stall", || sent.load(Ordering::Relaxed)).await;
    assert!(amount < IN_FLIGHT, "{amount} bytes were taken from the client");
    assert_eq!(origin.consumed(), 0, "the backend has read nothing yet");
    origin.open_gate();
    let answer = soon("the upload's end", upload).await.unwrap();
    assert_eq!(answer.json()["hash"], pattern_hash(LARGE));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_backend_back() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = proxy.raw().await;
    raw.write(format!("GET /big/{LARGE} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    let amount = settled("the download to stall", || origin.produced()).await;
    assert!(amount < IN_FLIGHT, "{amount} bytes were taken from the backend");
    let mut bytes = Vec::new();
    soon("the rest", raw.stream.read_to_end(&mut bytes)).await.unwrap();
    let start = bytes.len() - usize::try_from(LARGE).unwrap();
    assert_eq!(xxh3_64(&bytes[start..]), pattern_hash(LARGE));
}

#[tokio::test]
async fn the_first_bytes_do_not_wait_for_the_last() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for door in doors(&proxy) {
        let mut connection = door.connect().await;
        let request = door.request("GET", "/gated-body").body(Sent::Whole(None)).unwrap();
        let mut response = connection.open(request).await.unwrap();
        let first = soon("the first frame", response.frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "first");
        // The gate is still shut: what has come has come on its own.
        drop(response);
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_backend_request() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = proxy.raw().await;
    raw.write("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    within(SOON, "the request at the backend", async || (origin.count() == 1).then_some(())).await;
    drop(raw);
    within(SOON, "its end", async || (origin.cancelled() == 1).then_some(())).await;
    let mut raw = proxy.raw().await;
    raw.write("GET /gated-body HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.until("first").await;
    drop(raw);
    within(SOON, "its end as well", async || (origin.cancelled() == 2).then_some(())).await;
}

#[tokio::test]
async fn a_backend_that_breaks_off_breaks_the_client_off() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for door in doors(&proxy) {
        for length in [5000, 5_000_000] {
            let answer = door.get(&format!("/abort/{length}")).await;
            assert_eq!(answer.status, 200);
            assert!(answer.broken, "{length} bytes passed as a whole");
        }
    }
    let text = proxy.raw().await.exchange("GET /abort/10 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!text.ends_with("0\r\n\r\n"), "no last chunk, and the connection is closed");
}

#[tokio::test]
async fn a_stalled_upload_is_ended_with_408() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = proxy.raw().await;
    raw.write("POST /sink/stalled HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").await;
    assert_eq!(statuses(&raw.rest().await), [408]);
    assert_eq!(proxy.logged("/sink/stalled").await["reason"], "client_body_timeout");
}

#[tokio::test]
async fn a_stalled_download_is_cut() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let answer = proxy.door().get("/gated-body/stalled").await;
    assert_eq!((answer.status, answer.broken, answer.text().as_str()), (200, true, "first"));
    assert_eq!(proxy.logged("/gated-body/stalled").await["reason"], "backend_body_timeout");
}

#[tokio::test]
async fn bytes_are_counted_both_ways() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let door = proxy.door();
    door.send(door.request("POST", "/counted"), &"x".repeat(10_000)).await;
    let line = proxy.logged("/counted").await;
    assert!(line["bytes_in"].as_u64().unwrap() >= 10_000, "{line}");
    assert!(line["bytes_out"].as_u64().unwrap() > 100, "{line}");
}

#[tokio::test]
async fn an_answer_before_the_upload_ends_reaches_the_client() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    origin.script(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    let mut connection = proxy.door().connect().await;
    let body = Sent::Pattern { offset: 0, length: 512 * 1024, sent: Arc::default() };
    let request = proxy.door().request("POST", "/early").body(body).unwrap();
    let response = connection.open(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 401);
}
