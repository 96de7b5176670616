//! The tools themselves: an origin must do what it is told before it can be blamed for anything.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::{
    After, Door, Fault, Origin, Raw, SOON, Sent, pattern_hash, read, soon, statuses, within,
};

#[tokio::test]
async fn an_origin_echoes_and_remembers() {
    let origin = Origin::start("a");
    let door = Door::plain(origin.address());
    let mut connection = door.connect().await;
    let request = door.request("POST", "/x?y=1").header("X-Odd", "1").header("x-odd", "2");
    let answer = connection.send(request, "hello").await;
    assert_eq!((answer.name().as_str(), answer.json()["serial"].as_u64()), ("a", Some(0)));
    assert_eq!(answer.json()["length"], 5);
    let seen = origin.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/x?y=1"));
    assert_eq!(seen.all("x-odd"), ["1", "2"]);
    let head = connection.send(door.request("HEAD", "/"), "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for status in [204, 304, 404, 500] {
        assert_eq!(connection.get(&format!("/status/{status}")).await.status, status);
    }
    assert_eq!((origin.count(), origin.connections(), origin.checks()), (6, 1, 0));
}

#[tokio::test]
async fn an_origin_moves_large_bodies_both_ways() {
    let origin = Origin::start("a");
    let door = Door::plain(origin.address());
    let answer = door.get("/big/3000001").await;
    assert_eq!((answer.body.len(), answer.broken), (3_000_001, false));
    assert_eq!(xxh3_64(&answer.body), pattern_hash(3_000_001));
    let body = Sent::Pattern { offset: 0, length: 3_000_001, sent: Arc::default() };
    let request = door.request("POST", "/sink").body(body).unwrap();
    let answer = read(door.connect().await.open(request).await.unwrap()).await;
    assert_eq!(answer.json()["length"], 3_000_001);
    assert_eq!(answer.json()["hash"], pattern_hash(3_000_001));
    assert!(door.get("/abort/5000").await.broken);
}

#[tokio::test]
async fn an_origin_fails_as_it_is_told() {
    let mut origin = Origin::start("a");
    let door = Door::plain(origin.address());
    let mut kept = door.connect().await;
    assert_eq!(kept.get("/").await.status, 200);
    origin.fault(Fault::ResetAfterHead);
    assert!(kept.try_send(door.request("GET", "/"), "").await.is_err());
    origin.fault(Fault::Status(418));
    assert_eq!(door.get("/").await.status, 418);
    origin.fault(Fault::Bytes(b"HTTP/1.1 200 OK\r\n\r\npart".to_vec(), After::Reset));
    let answer = door.get("/").await;
    assert!(answer.broken || answer.text() == "part");
    origin.healthy(false);
    assert_eq!(door.get("/healthz").await.status, 503);
    assert_eq!(origin.checks(), 1);
    origin.kill();
    assert!(door.try_connect().await.is_err());
    origin.revive();
    origin.fault(Fault::None);
    assert_eq!(door.get("/").await.name(), "a");
}

#[tokio::test]
async fn an_origin_notices_who_left() {
    let origin = Origin::start("a");
    for path in ["/gate", "/gated-body"] {
        let mut raw = Raw::connect(origin.address()).await;
        raw.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let before = origin.cancelled();
        within(SOON, "the request", async || (origin.count() > before).then_some(())).await;
        drop(raw);
        within(SOON, "its end", async || (origin.cancelled() > before).then_some(())).await;
    }
    origin.open_gate();
    let text = Raw::connect(origin.address())
        .await
        .exchange("GET /gate HTTP/1.1\r\nHost: a\r\n\r\nGET /close HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(statuses(&text), [200, 200]);
}

#[tokio::test]
async fn an_origin_speaks_websocket() {
    let origin = Origin::start("a");
    let raw = Raw::connect(origin.address()).await;
    let url = "ws://localhost/websocket";
    let (mut socket, _) =
        soon("a handshake", tokio_tungstenite::client_async(url, raw.stream)).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let echo = soon("an echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echo.into_text().unwrap().as_str(), "hello");
}
