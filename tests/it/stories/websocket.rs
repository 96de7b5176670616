//! WebSocket and other tunnels: nothing before the backend's 101, everything after it.

use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    Config, Jar, Origin, PLAIN, Proxy, SOON, default_route, handshake, pool, soon, sticky_pool,
    within,
};

async fn front(origins: &[&Origin]) -> Proxy {
    let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", origins));
    Proxy::start(Config::new(body).runtime("drain_timeout = \"1s\"")).await
}

#[tokio::test]
async fn messages_are_echoed_through_and_the_tunnel_is_logged_at_its_end() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let raw = proxy.raw().await;
    let (mut socket, response) = soon(
        "a handshake",
        tokio_tungstenite::client_async("ws://localhost/websocket", raw.stream),
    )
    .await
    .unwrap();
    assert_eq!(response.status(), 101);
    for text in ["hello", "", &"long ".repeat(50_000)] {
        socket.send(Message::text(text)).await.unwrap();
        let echo = soon("an echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echo.into_text().unwrap().as_str(), text);
    }
    assert!(proxy.log().is_empty(), "it is not over yet");
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = soon("the close", socket.next()).await {}
    let line = proxy.logged("/websocket").await;
    assert_eq!(line["status"], 101);
    assert!(line["bytes_out"].as_u64().unwrap() > 250_000, "{line}");
    assert_eq!(origin.last().one("upgrade"), Some("websocket"));
    assert_eq!(origin.last().one("sec-websocket-key").map(str::len), Some(24));
}

#[tokio::test]
async fn each_side_may_end_its_half() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let mut raw = proxy.raw().await;
    raw.write(handshake("/tunnel", "")).await;
    raw.until("\r\n\r\n").await;
    raw.write("one two").await;
    raw.until("one two").await;
    raw.stream.shutdown().await.unwrap();
    assert_eq!(raw.rest().await, "and goodbye", "said after our half had ended");
}

#[tokio::test]
async fn a_tunnel_keeps_to_the_session() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let proxy = front(&all).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    for _ in 0..3 {
        let mut raw = proxy.raw().await;
        let cookie = format!("Cookie: {}\r\n", jar.line());
        raw.write(handshake("/tunnel", &cookie)).await;
        raw.until("101").await;
    }
    let backend = origins.iter().find(|origin| origin.name() == home).unwrap();
    let tunnels = backend.seen().iter().filter(|seen| seen.target == "/tunnel").count();
    assert_eq!(tunnels, 3);
}

#[tokio::test]
async fn a_backend_that_declines_answers_as_usual() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let mut raw = proxy.raw().await;
    let next = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    raw.write(handshake("/status/403", "") + next).await;
    let text = raw.rest().await;
    assert!(text.starts_with("HTTP/1.1 403"), "{text}");
    // What follows is either a request of its own or nothing: never bytes of a tunnel.
    assert!(origin.seen().iter().all(|seen| ["/status/403", "/next"].contains(&&*seen.target)));
}

#[tokio::test]
async fn a_tunnel_survives_a_reload_and_is_cut_at_the_drain_deadline() {
    let origin = Origin::start("a");
    let mut proxy = front(&[&origin]).await;
    let mut raw = proxy.raw().await;
    raw.write(handshake("/tunnel", "")).await;
    raw.until("\r\n\r\n").await;
    let text = format!("# changed\n{}", proxy.file());
    proxy.rewrite_raw(&text);
    proxy.reload().await.expect(0);
    raw.write("still here").await;
    raw.until("still here").await;
    proxy.signal(Signal::TERM);
    raw.rest().await;
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_tunnel_along() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let mut raw = proxy.raw().await;
    raw.write(handshake("/tunnel", "")).await;
    raw.until("\r\n\r\n").await;
    let in_flight = "ostler_backend_requests_in_flight";
    assert!(proxy.metric(in_flight, &[]).await > 0.5);
    drop(raw);
    within(SOON, "nothing in flight", async || {
        (proxy.metric(in_flight, &[]).await < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_nobody_takes_leaves_the_connection_to_the_next_request() {
    let origin = Origin::start("a");
    let body = format!(
        "{PLAIN}[[routes]]\npath = \"/there\"\npool = \"web\"\n{}",
        pool("web", &[&origin], "")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let mut raw = proxy.raw().await;
    raw.write(handshake("/nowhere", "")).await;
    raw.until("404 Not Found\n").await;
    raw.write("GET /there HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(raw.rest().await.contains("HTTP/1.1 200"));
}
