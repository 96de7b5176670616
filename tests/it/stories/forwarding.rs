//! What a message gains and loses on its way through.

use crate::harness::{Config, Origin, PLAIN, Proxy, SECURE, default_route, pool};

async fn front(listener: &str, origin: &Origin) -> Proxy {
    let body = format!("{listener}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_end_here() {
    let origin = Origin::start("a");
    let proxy = front(PLAIN, &origin).await;
    let door = proxy.door();
    let request = door
        .request("GET", "/")
        .header("connection", "keep-alive, X-Mine")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("te", "gzip")
        .header("x-mine", "1")
        .header("x-kept", "1");
    assert_eq!(door.send(request, "").await.status, 200);
    let seen = origin.last();
    for name in ["keep-alive", "proxy-connection", "te", "x-mine", "upgrade", "transfer-encoding"] {
        assert!(seen.all(name).is_empty(), "{name} reached the backend");
    }
    assert!(seen.all("connection").iter().all(|value| !value.contains("X-Mine")));
    assert_eq!(seen.one("x-kept"), Some("1"));
}

#[tokio::test]
async fn hop_by_hop_fields_of_an_answer_end_here() {
    let origin = Origin::start("a");
    let proxy = front(PLAIN, &origin).await;
    origin.script(
        b"HTTP/1.1 200 OK\r\nConnection: x-mine, close\r\nKeep-Alive: timeout=5\r\n\
          Proxy-Connection: close\r\nX-Mine: 1\r\nUpgrade: h2c\r\nX-Kept: 1\r\nServer: theirs\r\n\
          Date: Tue, 01 Jan 2030 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nok",
    );
    let mut connection = proxy.door().connect().await;
    let answer = connection.get("/").await;
    for name in ["keep-alive", "proxy-connection", "x-mine", "upgrade"] {
        assert_eq!(answer.header(name), None, "{name} reached the client");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
    assert_eq!(answer.header("server"), Some("theirs"));
    assert_eq!(answer.header("date"), Some("Tue, 01 Jan 2030 00:00:00 GMT"));
    assert!(connection.is_open().await, "the backend's close is not the client's");
}

#[tokio::test]
async fn the_backend_learns_who_asked() {
    let origin = Origin::start("a");
    let proxy = front(&format!("{PLAIN}{SECURE}"), &origin).await;
    proxy.door().host("shop.example.com:8080").get("/").await;
    let seen = origin.last();
    assert_eq!(seen.one("host"), Some("shop.example.com:8080"));
    assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.one("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.one("x-forwarded-host"), Some("shop.example.com:8080"));
    assert!(seen.one("via").unwrap().starts_with("1.1 "), "{:?}", seen.one("via"));
    assert!(!seen.one("x-request-id").unwrap().is_empty());
    assert_eq!(seen.one("traceparent").unwrap().split('-').count(), 4);
    proxy.secure("h2").get("/").await;
    let seen = origin.last();
    assert_eq!(seen.one("x-forwarded-proto"), Some("https"));
    assert!(seen.one("via").unwrap().starts_with('2'), "{:?}", seen.one("via"));
}

#[tokio::test]
async fn via_is_added_to_what_is_there() {
    let origin = Origin::start("a");
    let proxy = front(PLAIN, &origin).await;
    let door = proxy.door();
    door.send(door.request("GET", "/").header("via", "1.0 before"), "").await;
    let via = origin.last().all("via").join(", ");
    assert!(via.starts_with("1.0 before, 1.1 "), "{via}");
}

/// All the spellings a client may lie with.
const LIES: [(&str, &str); 7] = [
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.example"),
    ("x_forwarded_for", "6.6.6.6"),
    ("forwarded", "for=6.6.6.6"),
    ("x-real-ip", "6.6.6.6"),
    ("x-forwarded-port", "my-port"),
];

#[tokio::test]
async fn lies_of_an_untrusted_peer_are_dropped() {
    let origin = Origin::start("a");
    let proxy = front(PLAIN, &origin).await;
    let door = proxy.door();
    let lies = LIES
        .iter()
        .fold(door.request("GET", "/"), |request, (name, value)| request.header(*name, *value));
    let lies = lies.header("x-request-id", "one two\"three").header("traceparent", "nonsense");
    assert_eq!(door.send(lies, "").await.status, 200);
    let seen = origin.last();
    assert!(!seen.head.contains("6.6.6.6") && !seen.head.contains("evil"), "{}", seen.head);
    assert!(!seen.head.contains("my-port"), "{}", seen.head);
    assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.one("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.one("x-forwarded-host"), seen.one("host"));
    assert!(!seen.one("x-request-id").unwrap().contains(' '));
    assert_ne!(seen.one("traceparent"), Some("nonsense"));
}

#[tokio::test]
async fn a_strangers_names_for_a_request_are_not_taken_over() {
    let origin = Origin::start("a");
    let proxy = front(&format!("{PLAIN}{SECURE}"), &origin).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (door, method) in
        [(proxy.door(), "GET"), (proxy.door(), "POST"), (proxy.secure("h2"), "GET")]
    {
        let mut request = door.request(method, "/").header("tracestate", "theirs=1");
        for _ in 0..2 {
            request = request.header("x-request-id", "theirs").header("x_request_id", "theirs");
            request = request.header("traceparent", trace);
        }
        let body = if method == "POST" { "content" } else { "" };
        assert_eq!(door.send(request, body).await.status, 200);
        let seen = origin.last();
        assert!(!seen.head.contains("theirs"), "{}", seen.head);
        assert_eq!(seen.one("x-request-id").map(str::len), Some(32));
        let told = seen.one("traceparent").expect("one of ours");
        assert!(!told.contains("0af7651916cd43dd8448eb211c80319c"), "{told}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_from_right_to_left() {
    let origin = Origin::start("a");
    let listener = format!("{PLAIN}trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n");
    let proxy = front(&listener, &origin).await;
    let door = proxy.door();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = door
        .request("GET", "/trusted")
        .header("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.0.0.3")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "shop.example.com")
        .header("x-request-id", "id-of-the-front")
        .header("traceparent", trace);
    assert_eq!(door.send(request, "").await.status, 200);
    let seen = origin.last();
    let chain = seen.one("x-forwarded-for").unwrap();
    assert!(chain.ends_with("198.51.100.7, 10.0.0.3, 127.0.0.1"), "{chain}");
    assert_eq!(seen.one("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.one("x-forwarded-host"), Some("shop.example.com"));
    assert_eq!(seen.one("x-request-id"), Some("id-of-the-front"));
    assert!(seen.one("traceparent").unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    let line = proxy.logged("/trusted").await;
    assert_eq!(line["client"].as_str().map(|it| it.starts_with("198.51.100.7")), Some(true));
    assert_eq!(line["request_id"], "id-of-the-front");
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
}

#[tokio::test]
async fn a_loop_through_ourselves_is_ended() {
    // The pool's backend is the listener itself, at a port we choose beforehand.
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let body = format!(
        "[listeners.http]\nbind = [\"{address}\"]\n[[routes]]\npool = \"self\"\n\
         [pools.self]\nbackends = [{{ id = \"self\", address = \"{address}\" }}]\n"
    );
    let proxy = Proxy::start(Config::new(body)).await;
    assert_eq!(proxy.door().get("/").await.status, 508);
}
