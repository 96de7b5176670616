//! Tunnels on a stream of HTTP/2 (RFC 8441): what a backend and the log see is that of HTTP/1.1.

use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::harness::frames::{END, Frames, GET, frame, headers, kind};
use crate::harness::{
    Config, Jar, Origin, Proxy, SECURE, SOON, default_route, pool, soon, spawn, sticky_pool, within,
};

async fn front(origins: &[&Origin]) -> Proxy {
    let body = format!("{SECURE}{}{}", default_route("web"), sticky_pool("web", origins));
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn messages_are_echoed_beside_other_streams_and_logged_as_the_handshake_they_stand_for() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let mut connection = proxy.secure("h2").connect().await;
    let mut other = connection.share();
    let tunnel = connection.tunnel("/websocket").await;
    let mut socket = WebSocketStream::from_raw_socket(tunnel, Role::Client, None).await;
    for text in ["hello", "", &"long ".repeat(200_000)] {
        socket.send(Message::text(text)).await.unwrap();
        let echo = soon("an echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echo.into_text().unwrap().as_str(), text);
        assert_eq!(other.get("/beside").await.status, 200);
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = soon("the close", socket.next()).await {}
    let line = proxy.logged("/websocket").await;
    assert_eq!((&line["method"], &line["status"]), (&"GET".into(), &101.into()), "{line}");
    assert_eq!((&line["protocol"], &line["host"]), (&"websocket".into(), &"localhost".into()));
    assert!(line["bytes_out"].as_u64().unwrap() > 1_000_000, "{line}");
    let seen = origin.seen();
    let asked = seen.iter().find(|seen| seen.target == "/websocket").unwrap();
    assert_eq!((&*asked.method, asked.one("upgrade")), ("GET", Some("websocket")));
    assert_eq!(asked.one("sec-websocket-key").map(str::len), Some(24));
    assert!(asked.one("via").unwrap().starts_with('2'));
    assert_eq!(other.get("/after").await.status, 200);
}

#[tokio::test]
async fn each_side_may_end_its_half() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let mut connection = proxy.secure("h2").connect().await;
    let mut tunnel = connection.tunnel("/tunnel").await;
    tunnel.write_all(b"one two ").await.unwrap();
    let mut echo = [0; 8];
    soon("an echo", tunnel.read_exact(&mut echo)).await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut rest = String::new();
    soon("the end", tunnel.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "and goodbye", "said after our half had ended");
    assert_eq!(connection.get("/after").await.status, 200);
}

#[tokio::test]
async fn a_backend_that_declines_answers_as_usual() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let mut connection = proxy.secure("h2").connect().await;
    assert_eq!(connection.websocket("/status/403").await.status(), 403);
    assert_eq!(connection.get("/after").await.status, 200);
}

#[tokio::test]
async fn what_is_no_tunnel_is_no_success() {
    let origin = Origin::start("a");
    let fixed = "[[routes]]\npath = \"/fixed\"\nrespond = { status = 200, body = \"hello\" }\n";
    let pool = sticky_pool("web", &[&origin]);
    let body = format!("{SECURE}{fixed}{}{pool}", default_route("web"));
    let proxy = Proxy::start(Config::new(body)).await;
    let mut connection = proxy.secure("h2").connect().await;
    // A page instead of a 101; a 101 for another key; a page of ours.
    for (path, status) in [("/page", 502), ("/misheard", 502), ("/fixed", 501)] {
        assert_eq!(connection.websocket(path).await.status(), status, "{path}");
    }
    assert_eq!(proxy.logged("/page").await["cause"], "no_101");
    for path in ["/page", "/misheard"] {
        assert_eq!(proxy.logged(path).await["session"], "none", "{path}: it has no cookie");
    }
    // The client's own question before each of the three.
    let bound = proxy.metric("ostler_sticky_requests_total", &["outcome=\"bound\""]).await;
    let issued = proxy.metric("ostler_sessions_issued_total", &[]).await;
    assert!((bound - 3.0).abs() < 0.5 && (issued - 3.0).abs() < 0.5, "{bound}, {issued}");
    assert_eq!(proxy.logged("/misheard").await["cause"], "websocket_accept");
    assert_eq!(connection.get("/after").await.status, 200);
}

#[tokio::test]
async fn a_tunnel_keeps_to_the_session() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let proxy = front(&all).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.secure("h2"), "/").await.name();
    let mut connection = proxy.secure("h2").connect().await;
    assert_eq!(connection.get("/settings").await.status, 200);
    for _ in 0..3 {
        let request = http::Request::connect("https://localhost/tunnel")
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .header("cookie", jar.line());
        assert_eq!(connection.head(request).await.status(), 200);
    }
    let backend = origins.iter().find(|origin| origin.name() == home).unwrap();
    let tunnels = backend.seen().iter().filter(|seen| seen.target == "/tunnel").count();
    assert_eq!(tunnels, 3);
}

#[tokio::test]
async fn a_connection_with_nothing_but_a_tunnel_is_not_idle() {
    let origin = Origin::start("a");
    let secure = format!("{SECURE}timeouts = {{ idle = \"1s\" }}\n");
    let body = format!("{secure}{}{}", default_route("web"), pool("web", &[&origin], ""));
    let proxy = Proxy::start(Config::new(body)).await;
    let mut connection = proxy.secure("h2").connect().await;
    let mut tunnel = connection.tunnel("/tunnel").await;
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        tunnel.write_all(b"still").await.unwrap();
        let mut echo = [0; 5];
        soon("an echo", tunnel.read_exact(&mut echo)).await.unwrap();
    }
    tunnel.shutdown().await.unwrap();
    let mut rest = String::new();
    soon("the end", tunnel.read_to_string(&mut rest)).await.unwrap();
    within(SOON, "an end of what is idle", async || (!connection.is_open().await).then_some(()))
        .await;
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_tunnel_along() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let mut connection = proxy.secure("h2").connect().await;
    let tunnel = connection.tunnel("/tunnel").await;
    let in_flight = "ostler_backend_requests_in_flight";
    assert!(proxy.metric(in_flight, &[]).await > 0.5);
    drop((tunnel, connection));
    within(SOON, "nothing in flight", async || {
        (proxy.metric(in_flight, &[]).await < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_given_up() {
    let origin = Origin::start("a");
    let secure = format!("{SECURE}timeouts = {{ write = \"500ms\" }}\n");
    let body = format!("{secure}{}{}", default_route("web"), pool("web", &[&origin], ""));
    let proxy = Proxy::start(Config::new(body)).await;
    let mut connection = proxy.secure("h2").connect().await;
    let mut tunnel = connection.tunnel("/tunnel").await;
    // All of it comes back, and nobody takes it: at last there is no room for more.
    let more = vec![b'x'; 64 * 1024];
    let said = soon("the end", async {
        loop {
            if let Err(error) = tunnel.write_all(&more).await {
                break error;
            }
        }
    });
    drop(said.await);
    assert_eq!(proxy.logged("/tunnel").await["reason"], "client_read_timeout");
}

#[tokio::test]
async fn a_tunnel_whose_backend_breaks_it_off_is_reset_and_does_not_look_whole() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let mut frames = Frames::connect(proxy.address("web")).await;
    let mut broken = vec![(":method", "CONNECT"), (":protocol", "websocket")];
    broken.extend(
        GET.iter()
            .skip(1)
            .map(|(name, value)| (*name, if *name == ":path" { "/broken" } else { value })),
    );
    frames.send(&headers(1, 0, &broken)).await;
    let begun = frames.until(|it| it.stream == 1 && it.kind == kind::HEADERS).await.unwrap();
    assert_eq!(begun.flags & END, 0);
    frames.send(&[frame(kind::DATA, 0, 1, b"x"), headers(3, END, &GET)].concat()).await;
    let (mut reset, mut served) = (None, false);
    while reset.is_none() || !served {
        let it = frames.until(|it| it.kind == kind::RST_STREAM || it.flags & END != 0).await;
        let it = it.unwrap();
        match (it.stream, it.kind) {
            (1, kind) => reset = Some((kind, it.code())),
            (3, kind::DATA | kind::HEADERS) => served = true,
            _ => {}
        }
    }
    assert_eq!(reset, Some((kind::RST_STREAM, 8)), "RFC 8441 §5: CANCEL");
}

#[tokio::test]
async fn a_stream_that_is_cancelled_while_its_tunnel_begins_takes_no_other_along() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let mut connection = proxy.secure("h2").connect().await;
    assert_eq!(connection.get("/first").await.status, 200);
    for _ in 0..30 {
        let request = http::Request::connect("https://localhost/tunnel")
            .extension(hyper::ext::Protocol::from_static("websocket"));
        let mut other = connection.share();
        let given_up = spawn(async move { drop(other.head(request).await) });
        tokio::task::yield_now().await;
        given_up.abort();
        assert_eq!(connection.get("/after").await.name(), "a");
    }
}

#[tokio::test]
async fn a_tunnel_survives_a_reload_and_is_cut_at_the_drain_deadline() {
    let origin = Origin::start("a");
    let body = format!("{SECURE}{}{}", default_route("web"), sticky_pool("web", &[&origin]));
    let mut proxy = Proxy::start(Config::new(body).runtime("drain_timeout = \"1s\"")).await;
    let mut connection = proxy.secure("h2").connect().await;
    let mut tunnel = connection.tunnel("/tunnel").await;
    let text = format!("# changed\n{}", proxy.file());
    proxy.rewrite_raw(&text);
    proxy.reload().await.expect(0);
    tunnel.write_all(b"still here").await.unwrap();
    let mut echo = [0; 10];
    soon("an echo", tunnel.read_exact(&mut echo)).await.unwrap();
    proxy.signal(Signal::TERM);
    let mut rest = Vec::new();
    drop(soon("the end", tunnel.read_to_end(&mut rest)).await);
    assert!(proxy.ended().await.success());
}
