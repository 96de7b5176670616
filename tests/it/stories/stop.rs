//! Stopping: what runs may finish, nothing new begins, and then it is over.

use rustix::process::Signal;

use crate::harness::{
    Config, Origin, PLAIN, Proxy, SECURE, SOON, default_route, pool, spawn, within,
};

async fn front(origin: &Origin, runtime: &str) -> Proxy {
    let body = format!("{PLAIN}{SECURE}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(body).runtime(runtime)).await
}

#[tokio::test]
async fn what_is_under_way_finishes() {
    let origin = Origin::start("a");
    let mut proxy = front(&origin, "drain_timeout = \"15s\"").await;
    let (plain, secure) = (proxy.door(), proxy.secure("h2"));
    let one = spawn(async move { plain.get("/gate").await });
    let two = spawn(async move { secure.get("/gate").await });
    within(SOON, "both at the backend", async || (origin.count() == 2).then_some(())).await;
    let door = proxy.door();
    proxy.signal(Signal::TERM);
    within(SOON, "no new connections", async || door.try_connect().await.err()).await;
    origin.open_gate();
    let answer = one.await.unwrap();
    assert_eq!(answer.name(), "a");
    assert_eq!(answer.header("connection").map(str::to_ascii_lowercase), Some("close".to_owned()));
    assert_eq!(two.await.unwrap().name(), "a");
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn what_was_asked_behind_an_answer_under_way_is_answered_too() {
    for (method, body) in [("POST", "hello"), ("GET", "")] {
        let origin = Origin::start("a");
        let mut proxy = front(&origin, "drain_timeout = \"15s\"").await;
        let mut raw = proxy.raw().await;
        raw.write("GET /gated-body HTTP/1.1\r\nHost: a\r\n\r\n").await;
        raw.until("\r\n\r\n").await;
        let length = body.len();
        let head =
            format!("{method} /sink HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        raw.write(&(head + body)).await;
        let door = proxy.door();
        proxy.signal(Signal::TERM);
        within(SOON, "no new connections", async || door.try_connect().await.err()).await;
        origin.open_gate();
        let text = raw.rest().await;
        let (_, second) =
            text.split_once("HTTP/1.1 200").unwrap_or_else(|| panic!("{method}: {text}"));
        assert!(second.to_ascii_lowercase().contains("connection: close"), "{method}: {second}");
        assert!(proxy.ended().await.success());
    }
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let origin = Origin::start("a");
    let mut proxy = front(&origin, "").await;
    let mut plain = proxy.door().connect().await;
    let mut secure = proxy.secure("h2").connect().await;
    assert_eq!(plain.get("/").await.status, 200);
    assert_eq!(secure.get("/").await.status, 200);
    assert!(proxy.stop().await.success());
    assert!(!plain.is_open().await && !secure.is_open().await);
}

#[tokio::test]
async fn the_deadline_ends_what_does_not_end() {
    let origin = Origin::start("a");
    let mut proxy = front(&origin, "drain_timeout = \"300ms\"").await;
    let mut raw = proxy.raw().await;
    raw.write("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    within(SOON, "the request at the backend", async || (origin.count() == 1).then_some(())).await;
    assert!(proxy.stop().await.success());
    raw.rest().await;
}

#[tokio::test]
async fn readiness_goes_first_and_traffic_goes_on_meanwhile() {
    let origin = Origin::start("a");
    let mut proxy = front(&origin, "stop_delay = \"2s\"").await;
    proxy.signal(Signal::TERM);
    within(SOON, "a red readiness", async || (proxy.probe("/readyz").await.0 == 503).then_some(()))
        .await;
    assert_eq!(proxy.door().get("/").await.name(), "a", "still accepting");
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn the_stop_command_does_the_same_and_takes_its_socket_along() {
    let origin = Origin::start("a");
    let mut proxy = front(&origin, "").await;
    proxy.command(&["stop"]).await.expect(0);
    assert!(proxy.ended().await.success());
    assert!(!proxy.path("admin.sock").exists());
    proxy.command(&["status"]).await.expect(3);
}

#[tokio::test]
async fn every_exchange_is_in_the_log_before_the_end() {
    let origin = Origin::start("a");
    let mut proxy = front(&origin, "").await;
    for _ in 0..20 {
        proxy.door().get("/counted").await;
    }
    assert!(proxy.stop().await.success());
    within(SOON, "twenty lines", async || (proxy.log().len() == 20).then_some(())).await;
}
