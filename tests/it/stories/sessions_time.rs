//! The ends of a session: idleness, a lifetime, and what keeps it alive.

use tokio_tungstenite::tungstenite::Message;

use futures_util::{SinkExt, StreamExt};

use crate::harness::{
    Crowd, Jar, Origin, Proxy, Raw, SOON, handshake, soon, spawn, sticky_farm, upgrading, within,
};

/// A tunnel of this visitor that is open.
async fn tunnel(proxy: &Proxy, jar: &Jar) -> Raw {
    let mut raw = proxy.raw().await;
    let cookie = format!("Cookie: {}\r\n", jar.line());
    raw.write(handshake("/tunnel", &cookie)).await;
    raw.until("\r\n\r\n").await;
    raw
}

async fn expired(proxy: &Proxy) -> f64 {
    proxy.metric("ostler_sticky_requests_total", &["token=\"expired\""]).await
}

#[tokio::test]
async fn an_idle_session_ends_and_one_in_use_does_not() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"3s\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 6).await;
    let (mut idle, mut busy) = (crowd.pick("b"), crowd.pick("c"));
    let before = idle.token();
    let mut looks = 0;
    within(SOON, "only one who is left for a while", async || {
        assert_eq!(busy.get(&door, "/busy").await.name(), "c");
        let live = proxy.live("a").await + proxy.live("b").await;
        // A token holds a little longer than its session counts: clocks may differ.
        looks += u32::from(live == 0);
        (looks > 75).then_some(())
    })
    .await;
    assert_eq!(proxy.live("c").await, 1);
    assert!(expired(&proxy).await < 0.5);
    let answer = idle.get(&door, "/idle").await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert!(expired(&proxy).await > 0.5);
    assert_ne!(idle.token(), before, "a new session");
    assert_eq!(proxy.moved("").await, 0, "an end is no move");
}

#[tokio::test]
async fn a_lifetime_ends_a_session_however_busy_it_is() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\", lifetime = \"3s\"")).await;
    let door = proxy.door();
    let mut jar = Jar::new();
    let home = jar.get(&door, "/").await.name();
    within(SOON, "the end of the lifetime", async || {
        let answer = jar.get(&door, "/busy").await;
        let over = expired(&proxy).await > 0.5;
        assert!(over || answer.name() == home);
        over.then_some(())
    })
    .await;
    assert_eq!(proxy.tells("/busy", "token", "expired").await["session"], "bound");
    let next = jar.get(&door, "/").await;
    assert!(next.set_cookies().is_empty(), "and another one begins: {next:?}");
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn an_open_tunnel_keeps_its_session_alive() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"3s\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 12).await;
    let mut with = crowd.pick("b");
    let raw = proxy.raw().await;
    let request = http::Request::builder()
        .uri("ws://localhost/websocket")
        .header("host", "localhost")
        .header("cookie", with.line());
    let request = upgrading(request).body(()).unwrap();
    let handshake = tokio_tungstenite::client_async(request, raw.stream);
    let (mut socket, _) = soon("a handshake", handshake).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    soon("an echo", socket.next()).await.unwrap().unwrap();
    // Long past the idle time of a cookie that nobody has refreshed.
    let mut looks = 0;
    within(SOON, "the others to be gone for a while", async || {
        let alone = proxy.live("c").await == 0 && proxy.live("b").await == 1;
        looks += u32::from(alone);
        (looks > 100).then_some(())
    })
    .await;
    let answer = with.get(&door, "/old").await;
    assert_eq!(answer.name(), "b");
    proxy.tells("/old", "session", "refreshed").await;
    socket.close(None).await.unwrap();
}

#[tokio::test]
async fn a_long_transfer_keeps_its_session_alive() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"3s\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 12).await;
    let mut jar = crowd.pick("b");
    // Read slowly: some bytes now and then, for as long as the others take to be gone.
    let mut raw = proxy.raw().await;
    let cookie = jar.line();
    raw.write(format!("GET /big/200000000 HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n")).await;
    let mut chunk = vec![0; 256 * 1024];
    within(SOON, "the others to be gone", async || {
        soon("bytes", tokio::io::AsyncReadExt::read(&mut raw.stream, &mut chunk)).await.unwrap();
        (proxy.live("c").await == 0 && proxy.live("b").await == 1).then_some(())
    })
    .await;
    assert_eq!(jar.get(&door, "/beside").await.name(), "b");
    drop(raw);
}

#[tokio::test]
async fn a_drain_that_closes_tunnels_does_so_at_once_and_one_that_keeps_them_at_its_deadline() {
    let origins = Origin::three();
    let config = sticky_farm(&origins, "idle = \"10m\"").runtime("drain_timeout = \"1s\"");
    let proxy = Proxy::start(config).await;
    let mut crowd = Crowd::gather(&proxy.door(), 12).await;
    let mut closed = tunnel(&proxy, &crowd.pick("a")).await;
    let mut kept = tunnel(&proxy, &crowd.pick("b")).await;
    let drain = ["drain", "web/a", "--deadline", "none", "--tunnels", "close"];
    proxy.command(&drain).await.expect(0);
    closed.rest().await;
    let drain = ["drain", "web/b", "--deadline", "5s", "--tunnels", "keep"];
    proxy.command(&drain).await.expect(0);
    kept.write("still here").await;
    kept.until("still here").await;
    assert_eq!(proxy.sessions_of("web", "b").await["tunnels"], 1);
    kept.rest().await;
    let page = proxy.sessions_of("web", "b").await;
    assert_eq!(page["drain"]["over"], true, "{page}");
    proxy.tells("/tunnel", "cause", "drain").await;
}

#[tokio::test]
async fn at_the_deadline_a_running_answer_is_cut_where_that_was_asked_for() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let mut crowd = Crowd::gather(&proxy.door(), 12).await;
    let slow = |mut jar: Jar| {
        let door = proxy.door();
        spawn(async move { jar.get(&door, "/gated-body").await })
    };
    let (cut, kept) = (slow(crowd.pick("a")), slow(crowd.pick("b")));
    within(SOON, "both on their way", async || {
        let on_way = |origin: &Origin| origin.seen().iter().any(|it| it.target == "/gated-body");
        (on_way(&origins[0]) && on_way(&origins[1])).then_some(())
    })
    .await;
    for (backend, then) in [("web/a", "cut"), ("web/b", "move")] {
        let drain = ["drain", backend, "--deadline", "1s", "--then", then];
        proxy.command(&drain).await.expect(0);
    }
    assert!(soon("the cut", cut).await.unwrap().broken);
    within(SOON, "the other deadline", async || {
        (proxy.sessions_of("web", "b").await["drain"]["over"] == true).then_some(())
    })
    .await;
    origins[1].open_gate();
    let answer = kept.await.unwrap();
    assert_eq!((answer.text().as_str(), answer.broken), ("firstafter", false));
}
