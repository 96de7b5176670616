//! Request heads on a raw socket: what is served, what is refused, and that the backend never
//! saw what was refused.

use crate::harness::{
    Config, Origin, PLAIN, Proxy, SOON, default_route, pool, soon, statuses, within,
};

/// A proxy in front of one origin, with little patience.
async fn front(origin: &Origin) -> Proxy {
    let body = format!(
        "{PLAIN}timeouts = {{ header = \"1s\", idle = \"1s\" }}\n\
         limits = {{ header_size = \"16KiB\", headers = 50 }}\n{}{}",
        default_route("web"),
        pool("web", &[origin], "")
    );
    Proxy::start(Config::new(body)).await
}

/// Sends each head on a connection of its own; the connection ends after each.
async fn refused(cases: &[(&str, &[u8], &[u16])]) {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for (what, bytes, expected) in cases {
        let text = proxy.raw().await.exchange(bytes).await;
        let got = statuses(&text);
        assert_eq!(got.len(), 1, "{what}: one answer and no more, not {text:?}");
        assert!(expected.contains(&got[0]), "{what}: {got:?} instead of {expected:?}");
        assert_eq!(origin.count(), 0, "{what}: the backend saw {:?}", origin.seen());
    }
    // Still alive, and nothing lingers that would reach the backend later.
    assert_eq!(proxy.door().get("/fine").await.name(), "a");
    assert_eq!(origin.count(), 1);
    let lines = cases.len() + 1;
    within(SOON, "a line in the log for each", async || (proxy.log().len() == lines).then_some(()))
        .await;
}

#[tokio::test]
async fn a_wrong_host_is_refused() {
    refused(&[
        ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
        ("two equal hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400]),
        ("no host", b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", &[400]),
        ("a space in the host", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &[400]),
        ("a path in the host", b"GET / HTTP/1.1\r\nHost: a/..@evil\r\n\r\n", &[400]),
        ("a user in the host", b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", &[400]),
        ("two ports", b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", &[400]),
        ("a port of letters", b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", &[400]),
        ("an open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", &[400]),
        ("a port too large", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", &[400]),
    ])
    .await;
}

#[tokio::test]
async fn a_wrong_target_is_refused() {
    refused(&[
        ("authority form", b"GET evil:80 HTTP/1.1\r\nHost: evil:80\r\n\r\n", &[400]),
        (
            "an absolute form that disagrees",
            b"GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n",
            &[400],
        ),
        ("an asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", &[400, 405]),
        ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", &[405]),
        ("no path", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("a raw control", b"GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("bytes beyond ASCII", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("no slash", b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("an absolute form without a host", b"GET http:/x HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("above the root", b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("above the root, escaped", b"GET /%2e%2E/x HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("NUL, escaped", b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("half an escape", b"GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("no escape", b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("a tab", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("a space before the method", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    ])
    .await;
}

#[tokio::test]
async fn a_wrong_version_is_refused() {
    refused(&[
        ("version 0.9", b"GET /\r\n\r\n", &[400, 505]),
        ("version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", &[400, 505]),
        ("version 2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", &[400, 505]),
        ("another protocol", b"GET / ICY/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", &[400]),
    ])
    .await;
}

#[tokio::test]
async fn a_wrong_field_is_refused() {
    refused(&[
        ("bare LF", b"GET / HTTP/1.1\nHost: a\n\n", &[400]),
        ("one bare LF", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", &[400]),
        ("bare CR", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", &[400]),
        ("NUL", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", &[400]),
        ("a folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", &[400]),
        ("a fold at the start", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", &[400]),
        ("a space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", &[400]),
        ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", &[400]),
        ("an empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", &[400]),
        ("a name that is no token", b"GET / HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n", &[400]),
    ])
    .await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_its_own_status() {
    let field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(51));
    refused(&[
        ("a head of 64 KiB", field.as_bytes(), &[431]),
        ("a target of 64 KiB", target.as_bytes(), &[414]),
        ("51 fields", many.as_bytes(), &[431]),
        ("16 KiB of empty lines", "\r\n".repeat(8 * 1024).as_bytes(), &[431]),
        ("empty lines without end", "\r\n".repeat(40 * 1024).as_bytes(), &[431]),
    ])
    .await;
}

#[tokio::test]
async fn a_head_request_that_is_refused_is_answered_without_content() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let long = "x".repeat(64 * 1024);
    for (what, bytes, expected) in [
        ("no version", "HEAD /\r\n\r\n".to_owned(), 400),
        ("a bare LF", "HEAD / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("behind empty lines", "\r\n\r\nHEAD /#x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("half a head", "HEAD /late HTTP/1.1\r\nHost:".to_owned(), 408),
        ("a target of 64 KiB", format!("HEAD /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        ("a head of 64 KiB", format!("HEAD / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431),
        (
            "another coding",
            "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned(),
            501,
        ),
        ("another version", "HEAD / HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), 505),
    ] {
        // Behind a good one it has its own turn.
        let behind = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{bytes}");
        let text = proxy.raw().await.exchange(&bytes).await;
        let second = proxy.raw().await.exchange(behind).await;
        assert_eq!((statuses(&text), statuses(&second)), (vec![expected], vec![200, expected]));
        for text in [text, second] {
            let end = text.ends_with("\r\n\r\n");
            let length = text.rsplit("HTTP/1.1 ").next().unwrap().contains("\r\ncontent-length: ");
            assert!(end && length, "{what}: content, or no length: {text:?}");
        }
    }
    // What only looks like one has content as ever.
    let text = proxy.raw().await.exchange("HEADS /\r\n\r\n").await;
    assert!(statuses(&text) == [400] && text.contains("\r\n\r\n400 "), "{text:?}");
}

#[tokio::test]
async fn an_upgrade_that_cannot_be_carried_is_refused() {
    refused(&[
        (
            "an upgrade with a body",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
              Content-Length: 3\r\n\r\nabc",
            &[400],
        ),
        (
            "an upgrade from HTTP/1.0",
            b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            &[400],
        ),
        (
            "an expectation nobody knows",
            b"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nConnection: close\r\n\r\n",
            &[417],
        ),
    ])
    .await;
}

#[tokio::test]
async fn other_upgrades_are_not_passed_on() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for upgrade in ["h2c", "TLS/1.0"] {
        let request = format!(
            "GET /up HTTP/1.1\r\nHost: a\r\nConnection: close, upgrade, http2-settings\r\n\
             Upgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        let text = proxy.raw().await.exchange(request).await;
        assert_eq!(statuses(&text), [200], "{text}");
        let seen = origin.last();
        assert!(seen.all("upgrade").is_empty() && seen.all("http2-settings").is_empty());
    }
    // As `curl --http2` uploads where it has no TLS.
    let request = "POST /sink HTTP/1.1\r\nHost: a\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n\
                   Content-Length: 5\r\n\r\nhello";
    let text = proxy.raw().await.exchange(request).await;
    assert!(text.contains("\"length\":5") && origin.last().all("upgrade").is_empty(), "{text}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let text = proxy
        .raw()
        .await
        .exchange(
            "GET /one HTTP/1.1\r\nHost: a\r\n\r\nPOST /two HTTP/1.1\r\nHost: a\r\n\
             Content-Length: 5\r\n\r\nhelloGET /three HTTP/1.1\r\nHost: a\r\n\
             Connection: close\r\n\r\n",
        )
        .await;
    assert_eq!(statuses(&text), [200, 200, 200]);
    let at = |path: &str| text.find(path).unwrap();
    assert!(at("\"/one\"") < at("\"/two\"") && at("\"/two\"") < at("\"/three\""), "{text}");
}

#[tokio::test]
async fn nothing_after_a_refused_request_is_interpreted() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let bytes = "GET /good HTTP/1.1\r\nHost: a\r\n\r\nGET /bad HTTP/1.1\r\nHost: a\r\n\
                 Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
                 GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let text = proxy.raw().await.exchange(bytes).await;
    assert_eq!(statuses(&text), [200, 400], "{text}");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn empty_lines_before_a_request_are_tolerated() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let bytes = "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&proxy.raw().await.exchange(bytes).await), [200]);
}

#[tokio::test]
async fn a_request_byte_by_byte_is_served() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = proxy.raw().await;
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" {
        raw.write([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(statuses(&raw.rest().await), [200]);
}

#[tokio::test]
async fn half_a_head_is_answered_with_408_at_the_deadline() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let text = proxy.raw().await.exchange("GET /late HTTP/1.1\r\nHost:").await;
    assert_eq!(statuses(&text), [408], "{text:?}");
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    assert_eq!(proxy.raw().await.rest().await, "");
    let mut raw = proxy.raw().await;
    raw.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(statuses(&raw.rest().await), [200], "one answer, then the end");
}

#[tokio::test]
async fn an_answer_on_its_way_outlasts_the_idle_time() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let (mut get, mut post) = (proxy.raw().await, proxy.raw().await);
    get.write("GET /gated-body HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = "POST /gated-body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
    post.write(head).await;
    within(SOON, "both on their way", async || (origin.count() == 2).then_some(())).await;
    for _ in 0..2 {
        // Who has asked for nothing more has been told to go by then.
        let mut other = proxy.raw().await;
        other.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(statuses(&other.rest().await), [200]);
    }
    origin.open_gate();
    for mut patient in [get, post] {
        let text = patient.rest().await;
        assert!(text.ends_with("\r\n\r\nfirstafter"), "{text}");
    }
}

#[tokio::test]
async fn an_absolute_form_that_agrees_is_forwarded_in_origin_form() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let bytes = "GET http://www.example.com/x?y HTTP/1.1\r\nHost: www.example.com\r\n\
                 Connection: close\r\n\r\n";
    assert_eq!(statuses(&proxy.raw().await.exchange(bytes).await), [200]);
    assert_eq!(origin.last().target, "/x?y");
    assert_eq!(origin.last().one("host"), Some("www.example.com"));
    // The authority of the target is the one: RFC 9112 §3.2.2.
    let bytes = bytes.replace("http://www", "http://WWW");
    assert_eq!(statuses(&proxy.raw().await.exchange(&bytes).await), [200]);
    assert_eq!(origin.last().one("host"), Some("WWW.example.com"));
    // RFC 9112 §3.2.1: an empty path is sent as a slash, before a query, too.
    for (target, expected) in [("", "/"), ("?y", "/?y"), ("?", "/?"), ("/?y", "/?y")] {
        let bytes = bytes.replace("/x?y", target);
        assert_eq!(statuses(&proxy.raw().await.exchange(bytes).await), [200], "{target}");
        assert_eq!(origin.last().target, expected, "{target}");
    }
    // HTTP/1.0 needs no `Host` beside it.
    let bytes = "GET http://old.example.com/x?y HTTP/1.0\r\n\r\n";
    assert_eq!(statuses(&proxy.raw().await.exchange(bytes).await), [200]);
    assert_eq!(origin.last().target, "/x?y");
    assert_eq!(origin.last().one("host"), Some("old.example.com"));
}

#[tokio::test]
async fn options_of_the_server_goes_through_as_an_asterisk() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let bytes = "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&proxy.raw().await.exchange(bytes).await), [200]);
    assert_eq!(origin.last().head.lines().next(), Some("OPTIONS * HTTP/1.1"));
}

#[tokio::test]
async fn max_forwards_is_counted_down_and_ends_here_at_nought() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let options = |hops: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {hops}\r\nConnection: close\r\n\r\n"
        )
    };
    let text = proxy.raw().await.exchange(options("0")).await;
    assert_eq!((statuses(&text), origin.count()), (vec![204], 0));
    assert!(text.to_ascii_lowercase().contains("\r\nallow: get, "), "{text}");
    assert_eq!(statuses(&proxy.raw().await.exchange(options("many")).await), [400]);
    assert_eq!(statuses(&proxy.raw().await.exchange(options("7")).await), [200]);
    assert_eq!(origin.last().one("max-forwards"), Some("6"));
    let get = options("0").replace("OPTIONS", "GET");
    assert_eq!(statuses(&proxy.raw().await.exchange(get).await), [200], "other methods ignore it");
    assert_eq!(origin.last().one("max-forwards"), Some("0"));
}

#[tokio::test]
async fn http_1_0_is_served_as_it_understands() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let text = proxy.raw().await.exchange("GET /old HTTP/1.0\r\n\r\n").await;
    assert_eq!(statuses(&text), [200], "{text}");
    assert!(!text.to_ascii_lowercase().contains("transfer-encoding"), "{text}");
    assert_eq!(origin.last().version, "HTTP/1.1", "the backend is spoken to in our version");
    let mut raw = proxy.raw().await;
    raw.write("GET /kept HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
    raw.until("\"/kept\"").await;
    raw.write("GET /last HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(raw.rest().await.contains("\"/last\""));
    // Without chunks the connection's end is that of the answer, and the client is told.
    origin.script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let kept = "GET /kept HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    let text = proxy.raw().await.exchange(kept).await.to_ascii_lowercase();
    assert!(text.contains("\r\nconnection: close\r\n") && text.ends_with("\r\n\r\nok"), "{text}");
}

#[tokio::test]
async fn who_expects_a_100_gets_it_or_the_final_answer() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = proxy.raw().await;
    raw.write(
        "POST /sink HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\
         Connection: close\r\n\r\n",
    )
    .await;
    raw.until("HTTP/1.1 100").await;
    raw.write("hello").await;
    assert_eq!(statuses(&raw.rest().await), [200]);

    let text = proxy
        .raw()
        .await
        .exchange(
            "GET /none HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(statuses(&text).last(), Some(&200), "an expectation without a body: {text}");

    let mut raw = proxy.raw().await;
    raw.write(
        "POST /sink HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    assert_eq!(statuses(&raw.rest().await), [200], "HTTP/1.0 knows no 100");
}

#[tokio::test]
async fn a_client_that_leaves_is_logged_as_gone() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for (number, behind) in [(1, ""), (2, "G"), (3, "\r\nGET / HTTP/1.1\r\nHo")] {
        let mut raw = proxy.raw().await;
        let path = format!("/gate/left/{number}");
        raw.write(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n{behind}")).await;
        let there = async || (origin.count() == number).then_some(());
        within(SOON, "the request at the backend", there).await;
        drop(raw);
        let line = soon("its line", proxy.logged(&path)).await;
        assert_eq!(
            (line["status"].as_u64(), line["reason"].as_str()),
            (Some(499), Some("client_gone")),
            "{behind:?}"
        );
    }
}

#[tokio::test]
async fn heads_of_any_size_within_the_limit_pass_both_ways() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let door = proxy.door();
    for size in [1_000, 4_000, 8_000, 8_200, 9_000, 14_000] {
        let long = "z".repeat(size);
        let answer = door.send(door.request("GET", "/").header("x-long", &long), "").await;
        assert_eq!(answer.status, 200, "{size}");
        assert_eq!(origin.last().one("x-long").map(str::len), Some(size));
    }
}

#[tokio::test]
async fn requests_with_and_without_content_take_turns_on_one_connection() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let mut raw = proxy.raw().await;
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let chunks =
        "POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let all = [get, post, "\r\n", get, get, chunks, get, post, "\r\n\r\n", last].concat();
    // However it is cut: at once, and with pauses that are longer than hyper is kept for nothing.
    raw.write(&all).await;
    assert_eq!(statuses(&raw.rest().await), [200; 8]);
    assert_eq!(origin.count(), 8);
    let mut raw = proxy.raw().await;
    for part in [&all[..7], &all[7..120], &all[120..]] {
        raw.write(part).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert_eq!(statuses(&raw.rest().await), [200; 8]);
}
