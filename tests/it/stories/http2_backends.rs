//! Backends that are spoken to in HTTP/2: streams, their limits and their ends, and gRPC.

use http_body_util::BodyExt;

use crate::harness::{
    Config, Connection, Http2Origin, Jar, Origin, PLAIN, Proxy, SECURE, SOON, Sent, default_route,
    soon, spawn, unchecked, upgrading, within,
};

/// A door with TLS and one without to a pool of these.
fn farm(origins: &[&Http2Origin], lines: &str) -> Config {
    let backends: Vec<String> = origins.iter().map(|origin| origin.backend()).collect();
    let backends = backends.join(", ");
    // Nobody waits that long for a connection: what hangs fails.
    Config::new(format!(
        "{PLAIN}{SECURE}{}[pools.web]\npolicy = \"round-robin\"\nbackends = [{backends}]\n\
         connections.connect_timeout = \"60s\"\n{lines}\n",
        default_route("web")
    ))
    .runtime("workers = 1")
}

async fn plain_farm(origins: &[&Http2Origin]) -> Proxy {
    Proxy::start(farm(origins, "protocol = \"h2c\"")).await
}

/// Sends so many requests at once, and gives back what comes of them later.
fn at_once(
    connection: &Connection,
    path: &str,
    count: usize,
) -> Vec<tokio::task::JoinHandle<(u16, String)>> {
    let send = |_| {
        let mut shared = connection.share();
        let path = path.to_owned();
        spawn(async move {
            let answer = shared.get(&path).await;
            (answer.status, answer.text())
        })
    };
    (0..count).map(send).collect()
}

#[tokio::test]
async fn a_request_arrives_as_it_came_with_its_host_as_authority() {
    let origin = Http2Origin::start("a").await;
    let proxy = plain_farm(&[&origin]).await;
    let door = proxy.door().host("shop.example.com");
    let request = door
        .request("PUT", "/a%2Fb/../c?d=%20&e")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("x-kept", "1")
        .header("cookie", "a=1; b=2");
    let answer = door.send(request, "hello").await;
    assert_eq!((answer.status, answer.json()["length"].as_u64()), (200, Some(5)));
    let arrived = origin.arrived().pop().unwrap();
    assert_eq!(arrived.method, "PUT");
    assert_eq!(arrived.uri, "http://shop.example.com/a%2Fb/../c?d=%20&e");
    let field = |name: &str| arrived.headers.get(name).map(|value| value.to_str().unwrap());
    for gone in ["host", "connection", "x-hop", "transfer-encoding", "te"] {
        assert_eq!(field(gone), None, "{gone}");
    }
    assert_eq!(field("x-kept"), Some("1"));
    assert_eq!(field("cookie"), Some("a=1; b=2"));
    assert_eq!(field("content-length"), Some("5"));
    assert_eq!(field("x-forwarded-proto"), Some("http"));
    assert!(field("via").is_some_and(|via| via.starts_with("1.1 ")), "{arrived:?}");
    let line = proxy.logged("/a%2Fb/../c").await;
    assert_eq!((line["status"].as_u64(), line["backend"].as_str()), (Some(200), Some("a")));
}

#[tokio::test]
async fn parallel_requests_share_one_connection_that_is_opened_once() {
    let origin = Http2Origin::start("a").await;
    let proxy = plain_farm(&[&origin]).await;
    let connection = proxy.secure("h2").connect().await;
    let waiting = at_once(&connection, "/gate", 30);
    within(SOON, "all have arrived", async || (origin.arrived().len() == 30).then_some(())).await;
    assert_eq!(origin.connections(), 1);
    origin.open_gate();
    for answer in waiting {
        assert_eq!(soon("an answer", answer).await.unwrap().0, 200);
    }
}

#[tokio::test]
async fn another_connection_is_opened_where_a_backend_allows_no_more_streams() {
    let origin = Http2Origin::limited("a", 5).await;
    let proxy = plain_farm(&[&origin]).await;
    let connection = proxy.secure("h2").connect().await;
    // The limit is known once the backend has said it.
    assert_eq!(connection.share().get("/").await.status, 200);
    let waiting = at_once(&connection, "/gate", 12);
    within(SOON, "all have arrived", async || (origin.arrived().len() == 13).then_some(())).await;
    let arrived = origin.arrived();
    let most = (0..origin.connections())
        .map(|number| arrived.iter().skip(1).filter(|one| one.connection == number).count())
        .max();
    assert!(most <= Some(5), "{most:?}");
    assert!(origin.connections() >= 3, "{}", origin.connections());
    origin.open_gate();
    for answer in waiting {
        assert_eq!(soon("an answer", answer).await.unwrap().0, 200);
    }
}

#[tokio::test]
async fn a_refused_stream_was_never_processed_so_that_a_post_may_be_sent_again() {
    let origin = Http2Origin::start("a").await;
    let proxy = plain_farm(&[&origin]).await;
    let door = proxy.door();
    assert_eq!(door.get("/").await.status, 200);
    origin.refuse(1);
    let answer = door.send(door.request("POST", "/post"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(origin.arrived().len(), 2);
    assert_eq!(proxy.logged("/post").await["attempts"], 2);
}

#[tokio::test]
async fn a_stream_that_is_reset_in_its_body_is_not_told_as_complete() {
    let origin = Http2Origin::start("a").await;
    let proxy = plain_farm(&[&origin]).await;
    for door in [proxy.door(), proxy.secure("h2"), proxy.secure("http/1.1")] {
        let answer = door.get("/cut").await;
        assert!(answer.broken, "{door:?}: {}", answer.text());
    }
    assert_eq!(proxy.logged("/cut").await["reason"], "backend_body_aborted");
    assert_eq!(proxy.door().get("/").await.status, 200, "the connection goes on");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_backend_that_leaves_gracefully_costs_nobody_a_request() {
    let origin = Http2Origin::start("a").await;
    let proxy = plain_farm(&[&origin]).await;
    let door = proxy.door();
    let mut connection = door.connect().await;
    for round in 0..20 {
        let request = door.request(if round % 2 == 0 { "POST" } else { "GET" }, "/");
        let answer = connection.send(request, "").await;
        assert_eq!(answer.status, 200, "{round}: {}", answer.text());
        if round % 5 == 0 {
            origin.leave();
        }
    }
    assert_eq!(origin.arrived().len(), 20);
    assert!(origin.connections() > 1);
}

#[tokio::test]
async fn a_large_upload_goes_through() {
    let origin = Http2Origin::start("a").await;
    let proxy = plain_farm(&[&origin]).await;
    let sent = std::sync::Arc::default();
    let length = 3 << 20;
    let body = Sent::Pattern { offset: 0, length, sent };
    let mut connection = proxy.door().connect().await;
    let request = proxy.door().request("POST", "/").body(body).unwrap();
    let response = connection.open(request).await.unwrap();
    let answer = soon("the end of a body", crate::harness::read(response)).await;
    assert_eq!(answer.json()["length"].as_u64(), Some(length));
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_and_no_other() {
    let origin = Http2Origin::start("a").await;
    let proxy = plain_farm(&[&origin]).await;
    let stays = proxy.door();
    let stays = spawn(async move { stays.get("/gate").await.status });
    let leaves = proxy.door();
    let leaves = spawn(async move { leaves.get("/gate").await });
    within(SOON, "both have arrived", async || (origin.arrived().len() == 2).then_some(())).await;
    leaves.abort();
    within(SOON, "one is cancelled", async || (origin.cancelled() == 1).then_some(())).await;
    origin.open_gate();
    assert_eq!(soon("the other's answer", stays).await.unwrap(), 200);
    let in_flight = ["pool=\"web\"", "backend=\"a\""];
    within(SOON, "nothing in flight", async || {
        let left = proxy.metric("ostler_backend_requests_in_flight", &in_flight).await;
        (left == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn visitors_stay_with_their_backend() {
    let (a, b) = (Http2Origin::start("a").await, Http2Origin::start("b").await);
    let lines = "protocol = \"h2c\"\nsticky.by = \"cookie\"";
    let proxy = Proxy::start(farm(&[&a, &b], lines)).await;
    let mut homes = Vec::new();
    for _ in 0..6 {
        let mut jar = Jar::new();
        let home = jar.get(&proxy.door(), "/").await.name();
        for _ in 0..3 {
            assert_eq!(jar.get(&proxy.door(), "/").await.name(), home);
        }
        homes.push(home);
    }
    assert!(homes.contains(&"a".to_owned()) && homes.contains(&"b".to_owned()), "{homes:?}");
}

#[tokio::test]
async fn tls_has_to_agree_on_http2() {
    let speaks = Http2Origin::secure("a", &["h2"]).await;
    let lines = "protocol = \"h2\"\ntls.verify = false";
    let proxy = Proxy::start(farm(&[&speaks], lines)).await;
    assert_eq!(proxy.door().get("/").await.status, 200);
    assert!(speaks.arrived()[0].uri.starts_with("https://localhost/"));
    let silent = Http2Origin::secure("b", &["http/1.1"]).await;
    let proxy = Proxy::start(farm(&[&silent], lines)).await;
    assert_eq!(proxy.door().get("/other").await.status, 502);
    assert_eq!(proxy.logged("/other").await["reason"], "backend_tls");
}

#[tokio::test]
async fn checks_speak_http2_too() {
    let (a, b) = (Http2Origin::start("a").await, Http2Origin::start("b").await);
    b.healthy(false);
    let health = "health = { http = \"/healthz\", interval = \"200ms\", rise = 1, fall = 1 }";
    let proxy = Proxy::start(farm(&[&a, &b], &format!("protocol = \"h2c\"\n{health}"))).await;
    proxy.verdict("a", true).await;
    proxy.verdict("b", false).await;
    for _ in 0..4 {
        assert_eq!(proxy.door().get("/").await.name(), "a");
    }
}

#[tokio::test]
async fn an_upgrade_to_such_a_backend_is_refused_before_it_is_asked() {
    let origin = Http2Origin::start("a").await;
    let proxy = plain_farm(&[&origin]).await;
    let request = upgrading(proxy.door().request("GET", "/socket"));
    assert_eq!(proxy.door().send(request, "").await.status, 501);
    assert_eq!(proxy.logged("/socket").await["reason"], "not_supported");
    assert!(origin.arrived().is_empty());
}

#[tokio::test]
async fn a_reload_to_http2_and_back_takes_new_connections() {
    let old = [Origin::start("old")];
    let body = format!("{PLAIN}{}{}", default_route("web"), unchecked("web", &old, ""));
    let mut proxy = Proxy::start(Config::new(body)).await;
    assert_eq!(proxy.door().get("/").await.name(), "old");
    let new = Http2Origin::start("new").await;
    let lines = "protocol = \"h2c\"";
    let backends = new.backend();
    let body =
        format!("{PLAIN}{}[pools.web]\nbackends = [{backends}]\n{lines}\n", default_route("web"));
    proxy.apply(Config::new(body)).await;
    assert_eq!(proxy.door().get("/").await.name(), "new");
}

/// A gRPC call without a message: its head's fields and its trailers.
async fn call(
    connection: &mut Connection,
    path: &str,
    timeout: Option<&str>,
) -> (u16, http::HeaderMap, Option<http::HeaderMap>) {
    let request = connection.door().request("POST", path);
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let request = match timeout {
        Some(timeout) => request.header("grpc-timeout", timeout),
        None => request,
    };
    let response = connection.open(request.body(Sent::Whole(None)).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = soon("the end of a call", body.collect()).await.unwrap();
    (head.status.as_u16(), head.headers, body.trailers().cloned())
}

#[tokio::test]
async fn grpc_calls_of_one_connection_are_shared_among_backends_and_keep_their_trailers() {
    let (a, b) = (Http2Origin::start("a").await, Http2Origin::start("b").await);
    let proxy = plain_farm(&[&a, &b]).await;
    let mut connection = proxy.secure("h2").connect().await;
    for _ in 0..10 {
        let (status, _, trailers) = call(&mut connection, "/shop.Cart/Add", None).await;
        assert_eq!(status, 200);
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
    }
    assert_eq!((a.arrived().len(), b.arrived().len()), (5, 5));
    assert_eq!(a.arrived()[0].headers["te"], "trailers");
}

#[tokio::test]
async fn failures_of_ours_are_told_in_grpcs_words() {
    let gone = Http2Origin::start("a").await;
    let config = farm(&[&gone], "protocol = \"h2c\"");
    drop(gone);
    let proxy = Proxy::start(config).await;
    let mut connection = proxy.secure("h2").connect().await;
    let refused = async |connection: &mut Connection| {
        let (status, headers, trailers) = call(connection, "/shop.Cart/Add", None).await;
        assert_eq!(status, 200);
        assert!(trailers.is_none(), "the head is all there is");
        assert_eq!(headers["content-type"], "application/grpc");
        (headers["grpc-status"] == "14").then_some(())
    };
    // Its socket closes with its task.
    within(SOON, "UNAVAILABLE", async || refused(&mut connection).await).await;
    assert_eq!(proxy.logged("/shop.Cart/Add").await["pool"], "web");
}

#[tokio::test]
async fn a_calls_own_deadline_ends_it_here_and_at_the_backend() {
    let origin = Http2Origin::start("a").await;
    let proxy = plain_farm(&[&origin]).await;
    let mut connection = proxy.secure("h2").connect().await;
    let (status, headers, _) = call(&mut connection, "/gate", Some("300m")).await;
    assert_eq!((status, headers["grpc-status"].to_str().unwrap()), (200, "4"));
    within(SOON, "it is cancelled", async || (origin.cancelled() == 1).then_some(())).await;
    assert_eq!(proxy.logged("/gate").await["reason"], "deadline");
    assert_eq!(origin.arrived()[0].headers["grpc-timeout"], "300m");
}
