//! TLS clients that do not say who they are: silent ones, and those that stop in mid-word.

use tokio::io::AsyncReadExt;

use crate::harness::{
    Config, Origin, Proxy, Raw, SECURE, SOON, client_hello, default_route, pool, soon, within,
};

async fn front(origin: &Origin, limit: &str) -> Proxy {
    let body = format!(
        "{SECURE}timeouts.tls = \"{limit}\"\n{}{}",
        default_route("web"),
        pool("web", &[origin], "")
    );
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn silent_and_half_hellos_are_closed_and_counted_while_others_are_served() {
    let origin = Origin::start("a");
    let proxy = front(&origin, "1s").await;
    let hello = client_hello();
    let begun: [&[u8]; 5] =
        [b"", &hello[..1], &hello[..5], &hello[..100], &hello[..hello.len() - 1]];
    let mut stuck = Vec::new();
    for bytes in begun {
        let mut raw = Raw::connect(proxy.address("web")).await;
        raw.write(bytes).await;
        stuck.push(raw);
    }
    assert_eq!(proxy.secure("h2").get("/").await.status, 200, "others are served meanwhile");
    for raw in &mut stuck {
        assert_eq!(raw.rest().await, "", "closed without a word");
    }
    within(SOON, "all of them counted", async || {
        let refused =
            proxy.metric("ostler_connections_refused_total", &["cause=\"tls_timeout\""]).await;
        (refused >= 5.0).then_some(())
    })
    .await;
    assert_eq!(proxy.secure("http/1.1").get("/").await.status, 200);
}

#[tokio::test]
async fn a_hello_that_comes_byte_by_byte_is_answered() {
    let origin = Origin::start("a");
    let proxy = front(&origin, "60s").await;
    let mut raw = Raw::connect(proxy.address("web")).await;
    for byte in client_hello() {
        raw.write([byte]).await;
        tokio::task::yield_now().await;
    }
    let mut first = [0; 1];
    soon("an answer", raw.stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(first, [22], "a handshake record");
}

#[tokio::test]
async fn what_is_no_hello_or_ends_in_one_is_refused_at_once() {
    let origin = Origin::start("a");
    let proxy = front(&origin, "none").await;
    let hello = client_hello();
    let mut raw = Raw::connect(proxy.address("web")).await;
    raw.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.rest().await;
    let mut raw = Raw::connect(proxy.address("web")).await;
    raw.write(&hello[..50]).await;
    tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await.unwrap();
    raw.rest().await;
    within(SOON, "both counted", async || {
        let refused =
            proxy.metric("ostler_connections_refused_total", &["cause=\"tls_error\""]).await;
        (refused >= 2.0).then_some(())
    })
    .await;
}
