//! `Connection` may not be used to take away what the backend relies on.

use crate::harness::{Config, Jar, Origin, PLAIN, Proxy, default_route, sticky_pool};

#[tokio::test]
async fn naming_protected_fields_in_connection_has_no_effect() {
    let origin = Origin::start("a");
    let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &[&origin]));
    let proxy = Proxy::start(Config::new(body)).await;
    let door = proxy.door();
    let names = "Host, Content-Length, Cookie, Authorization, X-Forwarded-For, X-Forwarded-Proto, \
                 X-Forwarded-Host, Forwarded, Via, Cache-Control, close";
    let request = door
        .request("POST", "/")
        .header("connection", names)
        .header("cookie", "id=1")
        .header("authorization", "Basic eA==")
        .header("cache-control", "no-store");
    let answer = door.send(request, "hello").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = origin.last();
    assert_eq!(seen.one("host"), Some("localhost"));
    assert_eq!(seen.one("content-length"), Some("5"));
    assert_eq!(seen.one("cookie"), Some("id=1"));
    assert_eq!(seen.one("authorization"), Some("Basic eA=="));
    assert_eq!(seen.one("cache-control"), Some("no-store"));
    assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.one("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.one("x-forwarded-host"), Some("localhost"));
    assert!(seen.one("via").is_some());
}

#[tokio::test]
async fn a_backend_cannot_take_away_our_cookie() {
    let origin = Origin::start("a");
    let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &[&origin]));
    let proxy = Proxy::start(Config::new(body)).await;
    origin.script(
        b"HTTP/1.1 200 OK\r\nConnection: Set-Cookie, Cache-Control, Date, close\r\n\
          Set-Cookie: id=1\r\nContent-Length: 2\r\n\r\nok",
    );
    let mut jar = Jar::new();
    jar.get(&proxy.door(), "/").await;
    assert_eq!(jar.value("id"), Some("1"));
    assert!(jar.token().0.starts_with("ostler-"));
}
