//! Routes whose requests are asked about at a server of the operator's own.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    After, Answer, Config, Door, Fault, Jar, Origin, PLAIN, Proxy, SECURE, SOON, default_route,
    pool, soon, unchecked, within,
};

const YES: &[u8] = b"HTTP/1.1 200 OK\r\nRemote-User: anna\r\nRemote-Groups: staff\r\n\
    Remote-Groups: shop\r\nX-Other: 1\r\nSet-Cookie: a=b\r\nContent-Length: 3\r\n\r\nyes";
const NO: &[u8] = b"HTTP/1.1 302 Found\r\nLocation: https://login.test/?to=x\r\n\
    Set-Cookie: state=1; Path=/\r\nSet-Cookie: more=2\r\nContent-Length: 8\r\n\r\nlog in!\n";

/// One route to `web`, asked about at `asked`; the words of `forward_auth`, and further pools.
fn asking(web: &Origin, words: &str, pools: &str) -> Config {
    let listeners = format!("{PLAIN}trusted_proxies = [\"127.0.0.1\"]\n{SECURE}");
    let route = format!("{}forward_auth = {{ {words} }}\n", default_route("web"));
    let web = pool("web", &[web], "sticky.by = \"cookie\"");
    Config::new(format!("{listeners}{route}{web}{pools}")).runtime("workers = 1")
}

async fn ask(door: &Door, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let request = door.request(method, path);
    let request =
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    door.send(request, "").await
}

fn two() -> (Origin, Origin) {
    (Origin::start("web"), Origin::start("guard"))
}

#[tokio::test]
async fn a_yes_lets_a_request_in_and_tells_the_backend_who_it_is() {
    let (web, guard) = two();
    let words = "pool = \"guard\", path = \"/verify?from=ostler\", \
                 response_headers = [\"remote-user\", \"Remote-Groups\", \"remote-mail\"]";
    let proxy = Proxy::start(asking(&web, words, &pool("guard", &[&guard], ""))).await;
    guard.script(YES);
    let forged = [
        ("cookie", "sso=1; __Host-ostler-web=forged; ostler-web=forged"),
        ("authorization", "Bearer token"),
        ("remote-user", "root"),
        ("remote_user", "root"),
        ("remote-mail", "root@localhost"),
        ("x-other", "own"),
        ("x-forwarded-method", "HEAD"),
        ("x-forwarded-uri", "/elsewhere"),
        ("if-none-match", "\"1\""),
        ("range", "bytes=0-1"),
    ];
    for door in [proxy.door(), proxy.secure("http/1.1"), proxy.secure("h2")] {
        let request = door.request("DELETE", "/shop?item=1");
        let request =
            forged.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = door.send(request, "a body").await;
        assert_eq!((answer.status, answer.name()), (200, "web".to_owned()));
        assert!(answer.set_cookies().iter().all(|it| !it.starts_with("a=b")), "{answer:?}");

        let (asked, served) = (guard.last(), web.last());
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/verify?from=ostler"));
        assert_eq!(asked.one("x-forwarded-method"), Some("DELETE"));
        assert_eq!(asked.one("x-forwarded-uri"), Some("/shop?item=1"));
        assert_eq!(asked.one("x-forwarded-host"), Some("localhost"));
        assert_eq!(asked.one("host"), Some("localhost"));
        assert_eq!(asked.one("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(asked.one("cookie"), Some("sso=1"));
        assert_eq!(asked.one("authorization"), Some("Bearer token"));
        for nothing in ["content-length", "transfer-encoding", "if-none-match", "range"] {
            assert_eq!(asked.one(nothing), None, "{nothing}");
        }
        assert_eq!(served.one("remote-user"), Some("anna"));
        assert_eq!(served.all("remote-groups"), ["staff", "shop"]);
        assert_eq!(served.one("remote-mail"), None, "the client's own words are dropped");
        assert!(!served.head.contains("root"), "{}", served.head);
        assert_eq!(served.one("x-other"), Some("own"), "nobody has asked for it");
        assert_eq!(served.one("range"), Some("bytes=0-1"));
        assert_eq!(served.one("x-request-id"), asked.one("x-request-id"));
        let line = proxy.logged("/shop").await;
        assert_eq!((&line["pool"], &line["backend"]), (&"web".into(), &"web".into()));
        assert_eq!((&line["attempts"], &line["reason"]), (&1.into(), &"none".into()));
    }
}

#[tokio::test]
async fn any_other_answer_is_the_clients() {
    let (web, guard) = two();
    let words = "pool = \"guard\", path = \"/verify\"";
    let proxy = Proxy::start(asking(&web, words, &pool("guard", &[&guard], ""))).await;
    for door in [proxy.door(), proxy.secure("http/1.1"), proxy.secure("h2")] {
        guard.script(NO);
        for method in ["GET", "POST", "HEAD", "OPTIONS"] {
            let answer = ask(&door, method, "/in", &[]).await;
            assert_eq!(answer.status, 302, "{method}");
            assert_eq!(answer.header("location"), Some("https://login.test/?to=x"));
            assert_eq!(answer.set_cookies(), ["state=1; Path=/", "more=2"]);
            assert_eq!(answer.text(), if method == "HEAD" { "" } else { "log in!\n" });
        }
        for status in [401, 403, 404, 500] {
            guard.fault(Fault::Status(status));
            let answer = ask(&door, "GET", &format!("/{status}"), &[]).await;
            assert_eq!((answer.status, answer.text().as_str()), (status, "as told"));
            let line = proxy.logged(&format!("/{status}")).await;
            assert_eq!((&line["pool"], &line["backend"]), (&"guard".into(), &"guard".into()));
            let reason = if status == 500 { "backend_status" } else { "none" };
            assert_eq!(line["reason"], reason);
        }
    }
    assert_eq!(web.count(), 0);
}

#[tokio::test]
async fn where_nobody_says_yes_nobody_is_let_in() {
    let (web, mut guard) = two();
    let words = "pool = \"guard\", path = \"/verify\", timeout = \"300ms\"";
    // What would answer in its place says 200, which is nobody's yes.
    let lines = "when_all_down = { respond = { status = 200, body = \"welcome\" } }";
    let proxy = Proxy::start(asking(&web, words, &pool("guard", &[&guard], lines))).await;
    let refused = async |path: &str, status: u16, reason: &str| {
        let answer = ask(&proxy.door(), "GET", path, &[]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let line = proxy.tells(path, "reason", reason).await;
        let cause = line["cause"].as_str().unwrap_or_default();
        assert!(cause.starts_with("forward_auth"), "{line}");
        assert_eq!(line["pool"], "guard");
    };
    guard.fault(Fault::HangInHead);
    refused("/hangs", 504, "backend_header_timeout").await;
    guard.fault(Fault::ResetAfterHead);
    refused("/resets", 502, "backend_reset").await;
    guard.script(b"HTTP/1.1 2OO OK\r\n\r\n");
    refused("/garbage", 502, "bad_response").await;
    guard.script(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    refused("/switches", 502, "bad_response").await;
    guard.fault(Fault::None);
    guard.kill();
    let closed = async || tokio::net::TcpStream::connect(guard.address()).await.err();
    within(SOON, "its port to be closed", closed).await;
    refused("/dead", 502, "connect_refused").await;
    proxy.verdict("guard", false).await;
    refused("/down", 503, "no_backend_down").await;
    assert_eq!(web.count(), 0);
    guard.revive();
    proxy.verdict("guard", true).await;
    assert_eq!(ask(&proxy.door(), "GET", "/back", &[]).await.name(), "web");
}

#[tokio::test]
async fn another_server_is_asked_where_one_is_dead_and_its_connection_is_kept() {
    let (web, guard) = two();
    let mut guards = [Origin::start("dead"), guard];
    guards[0].kill();
    let words = "pool = \"guard\", path = \"/verify\"";
    let guards = (unchecked("guard", &guards, "ejection = \"off\""), guards);
    let proxy = Proxy::start(asking(&web, words, &guards.0)).await;
    for _ in 0..8 {
        assert_eq!(ask(&proxy.door(), "POST", "/", &[]).await.name(), "web");
    }
    let reused = proxy.metric("ostler_backend_connections_reused_total", &["pool=\"guard\""]).await;
    assert!(reused > 0.0, "a yes leaves its connection for the next question");
}

#[tokio::test]
async fn the_server_is_told_no_more_of_the_client_than_is_listed() {
    let (web, guard) = two();
    let words = "pool = \"guard\", path = \"/verify\", request_headers = [\"X-Key\"]";
    let proxy = Proxy::start(asking(&web, words, &pool("guard", &[&guard], ""))).await;
    let fields = [("x-key", "1"), ("cookie", "a=b"), ("authorization", "Bearer x"), ("x-b", "2")];
    assert_eq!(ask(&proxy.door(), "GET", "/in", &fields).await.name(), "web");
    let asked = guard.last();
    assert_eq!((asked.one("x-key"), asked.one("x-forwarded-uri")), (Some("1"), Some("/in")));
    for nothing in ["cookie", "authorization", "x-b"] {
        assert_eq!(asked.one(nothing), None, "{nothing}");
    }
    assert_eq!(web.last().one("cookie"), Some("a=b"));
}

#[tokio::test]
async fn sessions_bodies_and_websockets_go_on_behind_a_yes() {
    let (web, guard) = two();
    let words = "pool = \"guard\", path = \"/verify\"";
    let proxy = Proxy::start(asking(&web, words, &pool("guard", &[&guard], ""))).await;
    let mut jar = Jar::new();
    assert_eq!(jar.visits(&proxy.door(), 4).await, ["web"; 4]);
    assert_eq!(proxy.logged("/visit").await["session"], "kept");
    let body = "x".repeat(100_000);
    let answer = proxy.door().send(proxy.door().request("POST", "/sink"), &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(web.consumed(), 100_000);
    let raw = proxy.raw().await;
    let (mut socket, response) = soon(
        "a handshake",
        tokio_tungstenite::client_async("ws://localhost/websocket", raw.stream),
    )
    .await
    .unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(guard.last().one("upgrade"), None);
    socket.send(Message::text("hello")).await.unwrap();
    let echo = soon("an echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echo.into_text().unwrap().as_str(), "hello");
    guard.fault(Fault::Status(403));
    let raw = proxy.raw().await;
    let shut = tokio_tungstenite::client_async("ws://localhost/websocket", raw.stream);
    assert!(soon("an answer", shut).await.is_err());
    let explained = proxy.command(&["explain", "http://localhost/"]).await.text();
    assert!(explained.contains("forward_auth, by /verify of pool guard"), "{explained}");
}

#[tokio::test]
async fn a_slow_reader_has_its_own_time_for_a_no() {
    let (web, guard) = two();
    let words = "pool = \"guard\", path = \"/big/2000000\", timeout = \"300ms\"";
    let proxy = Proxy::start(asking(&web, words, &pool("guard", &[&guard], ""))).await;
    // A yes with a body that nobody wants is a yes.
    assert_eq!(ask(&proxy.door(), "GET", "/in", &[]).await.name(), "web");
    guard.fault(Fault::Bytes(
        [
            b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2000000\r\n\r\n".to_vec(),
            vec![b'x'; 2_000_000],
        ]
        .concat(),
        After::Close,
    ));
    let mut raw = proxy.raw().await;
    raw.write("GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(raw.rest().await.len() > 2_000_000, "it was cut");
}
