//! HTTP/2 to clients: crumbs, authority, and what belongs to HTTP/1 only.

use http_body_util::BodyExt;

use crate::harness::{
    Config, Door, Jar, Origin, PLAIN, Proxy, SECURE, SOON, Sent, default_route, pool, sticky_pool,
    within,
};

async fn front(origins: &[&Origin]) -> Proxy {
    let body = format!("{SECURE}{}{}", default_route("web"), sticky_pool("web", origins));
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn cookie_crumbs_are_joined_before_anything_reads_them() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let proxy = front(&all).await;
    let door = proxy.secure("h2");
    let mut jar = Jar::new();
    let home = jar.get(&door, "/").await.name();
    let (name, value) = jar.token();
    for _ in 0..5 {
        let request = door
            .request("GET", "/")
            .header("cookie", "a=1")
            .header("cookie", format!("{name}={value}"))
            .header("cookie", "b=2");
        let answer = door.send(request, "").await;
        assert_eq!(answer.name(), home, "the token stood in the second crumb");
    }
    let backend = origins.iter().find(|origin| origin.name() == home).unwrap();
    assert_eq!(backend.last().one("cookie"), Some("a=1; b=2"));
}

#[tokio::test]
async fn authority_becomes_host_and_must_agree_with_it() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let door = proxy.secure("h2").host("shop.example.com");
    assert_eq!(door.get("/").await.name(), "a");
    assert_eq!(origin.last().one("host"), Some("shop.example.com"));
    let request = door.request("GET", "/").header("host", "evil.example.com");
    let refused = door.connect().await.try_send(request, "").await;
    assert!(refused.is_err_and(|error| !error.is_timeout()) || origin.count() == 1);
    assert_eq!(origin.count(), 1, "the backend saw none of it");
}

#[tokio::test]
async fn te_trailers_is_accepted_and_connection_fields_never_arrive() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let door = proxy.secure("h2");
    let request = door.request("GET", "/").header("te", "trailers");
    assert_eq!(door.send(request, "").await.status, 200);
    origin.script(
        b"HTTP/1.1 200 OK\r\nConnection: x-hop, keep-alive\r\nKeep-Alive: timeout=5\r\n\
          X-Hop: 1\r\nProxy-Connection: keep-alive\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = door.get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    for name in ["connection", "keep-alive", "x-hop", "proxy-connection", "transfer-encoding"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
}

#[tokio::test]
async fn a_failed_stream_leaves_the_others_alone() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let door = proxy.secure("h2");
    let mut connection = door.connect().await;
    let broken = connection.get("/abort/1000").await;
    assert!(broken.broken, "a body cut short is not presented as complete");
    for _ in 0..5 {
        assert_eq!(connection.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_cancelled_stream_cancels_the_backend_request() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let door = proxy.secure("h2");
    let mut connection = door.connect().await;
    let request = door.request("GET", "/gated-body").body(Sent::Whole(None)).unwrap();
    let mut response = connection.open(request).await.unwrap();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    drop(response);
    within(SOON, "the end of the backend request", async || {
        (origin.cancelled() == 1).then_some(())
    })
    .await;
    assert_eq!(connection.get("/").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let connection = proxy.secure("h2").connect().await;
    let streams = (0..50).map(|index| {
        let mut handle = connection.share();
        async move { handle.get(&format!("/{index}")).await.json()["target"].clone() }
    });
    let targets = futures_util::future::join_all(streams).await;
    let expected: Vec<String> = (0..50).map(|index| format!("/{index}")).collect();
    assert_eq!(targets, expected);
}

#[tokio::test]
async fn http2_without_tls_is_not_spoken_unasked() {
    let origin = Origin::start("a");
    let body = format!("{PLAIN}{}{}", default_route("web"), pool("web", &[&origin], ""));
    let proxy = Proxy::start(Config::new(body)).await;
    let text = proxy.raw().await.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 505"));
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn http2_without_tls_is_spoken_where_it_was_asked_for() {
    let origin = Origin::start("a");
    let rest = format!("{}{}", default_route("web"), pool("web", &[&origin], ""));
    let both = format!("{PLAIN}protocols = [\"h2c\", \"http/1.1\"]\n{rest}");
    let mut proxy = Proxy::start(Config::new(both)).await;
    let door = Door::prior(proxy.address("http"));
    let mut connection = door.connect().await;
    for _ in 0..3 {
        let answer = connection.get("/").await;
        assert_eq!((answer.name().as_str(), answer.version), ("a", http::Version::HTTP_2));
    }
    assert_eq!(origin.last().one("x-forwarded-proto"), Some("http"));
    assert!(origin.last().one("via").unwrap().starts_with('2'));
    assert_eq!(proxy.door().get("/plain").await.version, http::Version::HTTP_11);
    // What begins as the preface does, and goes on as a request, is one.
    let mut raw = proxy.raw().await;
    for part in ["P", "R", "OPFIND / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"] {
        raw.write(part).await;
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    assert!(raw.rest().await.contains("\"PROPFIND\""));

    proxy.apply(Config::new(format!("{PLAIN}protocols = [\"h2c\"]\n{rest}"))).await;
    assert_eq!(Door::prior(proxy.address("http")).get("/").await.name(), "a");
    let before = origin.count();
    let text = proxy.raw().await.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!text.starts_with("HTTP/1.1") && origin.count() == before, "{text}");
}

#[tokio::test]
async fn connect_is_refused_whether_for_a_port_or_for_a_protocol_that_is_no_websocket() {
    let origin = Origin::start("a");
    let proxy = front(&[&origin]).await;
    let door = proxy.secure("h2");
    let mut connection = door.connect().await;
    assert_eq!(connection.get("/first").await.status, 200);
    let before = origin.count();
    let port = http::Request::connect("localhost:443");
    let outcome = connection.try_send(port, "").await;
    assert!(outcome.is_err() || outcome.is_ok_and(|it| [400, 405].contains(&it.status)));
    let other = http::Request::connect("https://localhost/tunnel")
        .extension(hyper::ext::Protocol::from_static("connect-udp"));
    assert_eq!(connection.send(other, "").await.status, 501);
    assert_eq!(origin.count(), before);
    assert_eq!(connection.get("/").await.status, 200);
}

#[tokio::test]
async fn an_error_in_answer_to_head_has_a_length_and_no_body() {
    let origin = Origin::start("a");
    let body = format!(
        "{SECURE}[[routes]]\npath = \"/there\"\npool = \"web\"\n{}",
        pool("web", &[&origin], "")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let door = proxy.secure("h2");
    let answer = door.send(door.request("HEAD", "/nowhere"), "").await;
    assert_eq!((answer.status, answer.body.len(), answer.broken), (404, 0, false));
    assert!(answer.header("content-length").is_some());
}
