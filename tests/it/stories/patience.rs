//! How long Ostler waits for who says nothing, and whom it does not let in.

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{
    Config, Origin, PLAIN, Proxy, Raw, SECURE, SOON, default_route, handshake, pki, pool, soon,
    within,
};

async fn front(listener: &str, origin: &Origin) -> Proxy {
    let body = format!("{listener}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn a_tunnel_without_a_byte_either_way_is_ended() {
    let origin = Origin::start("a");
    let proxy = front(&format!("{PLAIN}timeouts = {{ tunnel = \"1s\" }}\n"), &origin).await;
    let mut raw = proxy.raw().await;
    raw.write(handshake("/tunnel", "")).await;
    raw.until("\r\n\r\n").await;
    for _ in 0..4 {
        // Longer than the limit in all, and never silent for that long.
        raw.write("ping").await;
        raw.until("ping").await;
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    }
    raw.rest().await;
    assert_eq!(proxy.logged("/tunnel").await["status"], 101);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_or_stops_halfway_is_cut_and_counted() {
    let origin = Origin::start("a");
    let proxy = front(&format!("{SECURE}timeouts = {{ tls = \"1s\" }}\n"), &origin).await;
    let mut silent = Raw::connect(proxy.address("web")).await;
    let mut partial = Raw::connect(proxy.address("web")).await;
    // The head of a record of 512 bytes that holds a ClientHello, and a little of it.
    partial.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    assert_eq!(proxy.secure("h2").get("/meanwhile").await.name(), "a");
    assert_eq!(silent.rest().await, "");
    partial.rest().await;
    within(SOON, "both to be counted", async || {
        let labels = ["cause=\"tls_timeout\""];
        let refused = proxy.metric("ostler_connections_refused_total", &labels).await;
        (refused > 1.5).then_some(())
    })
    .await;
}

/// What a client is told that asks for a server name which no certificate has.
async fn told(proxy: &Proxy) -> String {
    let stream = TcpStream::connect(proxy.address("web")).await.unwrap();
    let connector = TlsConnector::from(pki::client(&["http/1.1"]));
    let name = ServerName::try_from("unknown.test").unwrap();
    let handshake = soon("the end of a handshake", connector.connect(name, stream)).await;
    handshake.err().unwrap().to_string()
}

#[tokio::test]
async fn an_unknown_server_name_gets_the_first_certificate_or_an_alert() {
    let origin = Origin::start("a");
    let mut proxy = front(SECURE, &origin).await;
    assert!(told(&proxy).await.contains("invalid peer certificate"), "it is not for that name");
    let rest = format!("{}{}", default_route("web"), pool("web", &[&origin], ""));
    proxy.apply(Config::new(format!("{SECURE}tls.unknown_name = \"reject\"\n{rest}"))).await;
    let said = told(&proxy).await;
    assert!(said.contains("alert"), "{said}");
    assert_eq!(proxy.secure("http/1.1").get("/").await.name(), "a", "known names are served");
}
