//! The PROXY header before a connection: believed from trusted proxies, and from nobody else.

use crate::harness::{
    Config, Origin, PLAIN, Proxy, Raw, SOON, default_route, pool, pool_of, soon, statuses, within,
};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]";
const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.2 56324 80\r\n";

async fn front(origin: &Origin, listener: &str) -> Proxy {
    let (route, pool) = (default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(format!("{PLAIN}{listener}\n{route}{pool}"))).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// Version 2, TCP over IPv4, with an extension of so many bytes.
fn binary(source: [u8; 4], extension: usize) -> Vec<u8> {
    let length = u16::try_from(12 + extension).unwrap().to_be_bytes();
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    bytes.extend(length);
    bytes.extend(source);
    bytes.extend([198, 51, 100, 2, 0xdc, 4, 0, 80]);
    bytes.extend(vec![4; extension]);
    bytes
}

async fn refused(proxy: &Proxy, cause: &str) -> f64 {
    let cause = format!("cause=\"{cause}\"");
    proxy.metric("ostler_connections_refused_total", &[&cause]).await
}

#[tokio::test]
async fn the_client_is_the_one_that_the_trusted_proxy_names() {
    let origin = Origin::start("a");
    let proxy = front(&origin, &format!("{TRUSTED}\nproxy_protocol = \"require\"")).await;
    let answer = proxy.raw().await.exchange(format!("{LINE}{}", get("/line"))).await;
    assert_eq!(statuses(&answer), [200]);
    assert_eq!(origin.last().one("x-forwarded-for"), Some("192.0.2.7"));
    let line = proxy.logged("/line").await;
    assert_eq!((&line["client"], &line["peer"]), (&"192.0.2.7".into(), &"192.0.2.7:56324".into()));

    let bytes = [binary([192, 0, 2, 8], 900), get("/binary").into_bytes()].concat();
    assert_eq!(statuses(&proxy.raw().await.exchange(bytes).await), [200]);
    assert_eq!(origin.last().one("x-forwarded-for"), Some("192.0.2.8"));

    for nobody in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"] {
        let bytes = [nobody, get("/nobody").as_bytes()].concat();
        assert_eq!(statuses(&proxy.raw().await.exchange(bytes).await), [200]);
        assert_eq!(origin.last().one("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[tokio::test]
async fn a_header_may_come_in_pieces_of_any_size() {
    let origin = Origin::start("a");
    let proxy = front(&origin, &format!("{TRUSTED}\nproxy_protocol = \"require\"")).await;
    let mut raw = proxy.raw().await;
    for byte in LINE.as_bytes() {
        raw.write([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(statuses(&raw.exchange(get("/")).await), [200]);
    assert_eq!(origin.last().one("x-forwarded-for"), Some("192.0.2.7"));
    let mut raw = proxy.raw().await;
    let bytes = binary([192, 0, 2, 9], 2000);
    for piece in bytes.chunks(97) {
        raw.write(piece).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(statuses(&raw.exchange(get("/")).await), [200]);
    assert_eq!(origin.last().one("x-forwarded-for"), Some("192.0.2.9"));
}

#[tokio::test]
async fn what_is_no_header_is_closed_unanswered_where_one_is_required() {
    let origin = Origin::start("a");
    let proxy = front(&origin, &format!("{TRUSTED}\nproxy_protocol = \"require\"")).await;
    let long = [b"\r\n\r\n\0\r\nQUIT\n\x20\x00\xff\xff".to_vec(), vec![0; 100]].concat();
    let spoiled = format!("PROXY TCP4 192.0.2.7 198.51.100.2 56324\r\n{}", get("/"));
    let wrong = [get("/").into_bytes(), spoiled.into_bytes(), long];
    for bytes in &wrong {
        assert_eq!(proxy.raw().await.exchange(bytes).await, "");
    }
    let mut raw = proxy.raw().await;
    raw.write("PROXY TC").await;
    tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await.unwrap();
    assert_eq!(raw.rest().await, "");
    assert_eq!(origin.count(), 0);
    within(SOON, "four refused", async || {
        (refused(&proxy, "proxy_header").await >= 4.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stranger_s_header_is_not_believed() {
    let origin = Origin::start("a");
    let strangers = "trusted_proxies = [\"10.0.0.0/8\"]\nproxy_protocol";
    let proxy = front(&origin, &format!("{strangers} = \"require\"")).await;
    assert_eq!(proxy.raw().await.exchange(format!("{LINE}{}", get("/"))).await, "");
    within(SOON, "one refused", async || {
        (refused(&proxy, "proxy_untrusted").await >= 1.0).then_some(())
    })
    .await;
    let proxy = front(&origin, &format!("{strangers} = \"optional\"")).await;
    assert_eq!(statuses(&proxy.raw().await.exchange(get("/")).await), [200]);
    let answer = proxy.raw().await.exchange(format!("{LINE}{}", get("/lie"))).await;
    assert_eq!(statuses(&answer), [400], "it is a request, and none that can be read");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn where_it_is_optional_both_are_served() {
    let origin = Origin::start("a");
    let proxy = front(&origin, &format!("{TRUSTED}\nproxy_protocol = \"optional\"")).await;
    assert_eq!(statuses(&proxy.raw().await.exchange(get("/")).await), [200]);
    assert_eq!(origin.last().one("x-forwarded-for"), Some("127.0.0.1"));
    let answer = proxy.raw().await.exchange(format!("{LINE}{}", get("/"))).await;
    assert_eq!(statuses(&answer), [200]);
    assert_eq!(origin.last().one("x-forwarded-for"), Some("192.0.2.7"));
    // Begins as a header does, and goes on as a request.
    let mut raw = proxy.raw().await;
    raw.write("PRO").await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let rest = "PFIND / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&raw.exchange(rest).await), [200]);
    assert_eq!(origin.last().method, "PROPFIND");
}

#[tokio::test]
async fn who_keeps_its_header_back_is_closed() {
    let origin = Origin::start("a");
    let lines = format!("{TRUSTED}\nproxy_protocol = \"require\"\ntimeouts.header = \"300ms\"");
    let proxy = front(&origin, &lines).await;
    let mut raw = proxy.raw().await;
    raw.write("PROXY TCP4 192.0.2.7 ").await;
    assert_eq!(raw.rest().await, "");
    within(SOON, "one refused", async || {
        (refused(&proxy, "proxy_timeout").await >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_are_counted_for_the_client_of_the_header() {
    let origin = Origin::start("a");
    let lines =
        format!("{TRUSTED}\nproxy_protocol = \"require\"\nlimits.connections_per_client = 1");
    let proxy = front(&origin, &lines).await;
    let open = async |source: [u8; 4]| -> Raw {
        let mut raw = proxy.raw().await;
        raw.write(binary(source, 0)).await;
        raw
    };
    let mut first = open([192, 0, 2, 1]).await;
    first.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    first.until("\r\n\r\n").await;
    let mut second = open([192, 0, 2, 1]).await;
    assert_eq!(second.rest().await, "", "it has one already");
    let other = open([192, 0, 2, 2]).await;
    assert_eq!(statuses(&other.exchange(get("/")).await), [200]);
    drop(first);
    soon("a place that is free again", async {
        while statuses(&open([192, 0, 2, 1]).await.exchange(get("/")).await) != [200] {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// A front that takes headers and sends them on to a second Ostler that wants them.
async fn chain(origin: &Origin, version: &str) -> [Proxy; 2] {
    let back = front(origin, &format!("{TRUSTED}\nproxy_protocol = \"require\"")).await;
    let backend = format!("{{ id = \"back\", address = \"{}\" }}", back.address("http"));
    let pool = pool_of("web", &[backend], &format!("send_proxy = \"{version}\""));
    let listener = format!("{PLAIN}{TRUSTED}\nproxy_protocol = \"optional\"\n");
    let front =
        Proxy::start(Config::new(format!("{listener}{}{pool}", default_route("web")))).await;
    [front, back]
}

#[tokio::test]
async fn a_backend_is_told_who_the_client_is_and_where_it_connected_to() {
    let origin = Origin::start("a");
    for version in ["v1", "v2"] {
        let [front, back] = chain(&origin, version).await;
        let answer = front.raw().await.exchange(format!("{LINE}{}", get("/told"))).await;
        assert_eq!(statuses(&answer), [200], "{version}: the checks are let in, too");
        assert_eq!(origin.last().one("x-forwarded-for"), Some("192.0.2.7"));
        assert_eq!(back.logged("/told").await["peer"], "192.0.2.7:56324");
        let six = "PROXY TCP6 2001:db8::7 2001:db8::1 9 443\r\n";
        let answer = front.raw().await.exchange(format!("{six}{}", get("/six"))).await;
        assert_eq!(statuses(&answer), [200]);
        assert_eq!(back.logged("/six").await["peer"], "[2001:db8::7]:9");
        // Whom a trusted proxy names in a field has no port that is known.
        let door = front.door();
        let request = door.request("GET", "/field").header("x-forwarded-for", "198.51.100.9");
        assert_eq!(door.send(request, "").await.status, 200);
        assert_eq!(back.logged("/field").await["peer"], "198.51.100.9:0");
    }
}

#[tokio::test]
async fn a_connection_that_was_told_of_a_client_serves_no_other() {
    let origin = Origin::start("a");
    let [front, back] = chain(&origin, "v2").await;
    let opened = async || front.metric("ostler_backend_connections_opened_total", &[]).await;
    let mut clients = Vec::new();
    for client in [1, 2] {
        let mut raw = front.raw().await;
        raw.write(binary([192, 0, 2, client], 0)).await;
        clients.push(raw);
    }
    for turn in 0..3 {
        for (raw, client) in clients.iter_mut().zip(1..) {
            let path = format!("/{client}/{turn}");
            raw.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            raw.until("\"name\"").await;
            let peer = format!("192.0.2.{client}:56324");
            assert_eq!(back.logged(&path).await["peer"], peer.as_str());
        }
    }
    // Idle ones belong to a worker, and a connection may be handed over to another only once.
    assert!(opened().await <= 2.0, "each client has one of its own and keeps it");
}
