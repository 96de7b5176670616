//! Content of answers: untouched, absent where there may be none, and never cut unseen.

use std::net::SocketAddr;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{
    After, Config, Fault, Origin, PLAIN, Proxy, SECURE, default_route, pool, spawn,
};

async fn front(origin: &Origin) -> Proxy {
    let body = format!("{PLAIN}{SECURE}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn content_and_what_describes_it_are_not_touched() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let fields = [
        ("cache-control", "no-transform, max-age=60"),
        ("content-encoding", "gzip"),
        ("content-location", "/other"),
        ("content-range", "bytes 0-4/10"),
        ("content-type", "text/plain; charset=latin1"),
        ("etag", "W/\"x\""),
        ("vary", "Accept-Encoding"),
    ];
    let text = fields.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let head = format!("HTTP/1.1 206 Partial Content\r\n{text}Content-Length: 5\r\n\r\n");
    origin.script(&[head.as_bytes(), b"\x1f\x8b\0\xff\n"].concat());
    for door in [proxy.door(), proxy.secure("h2")] {
        let request = door.request("GET", "/").header("accept-encoding", "br");
        let answer = door.send(request, "").await;
        assert_eq!((answer.status, &answer.body[..]), (206, &b"\x1f\x8b\0\xff\n"[..]));
        for (name, value) in fields {
            assert_eq!(answer.header(name), Some(value));
        }
        assert_eq!(origin.last().one("accept-encoding"), Some("br"));
    }
}

#[tokio::test]
async fn content_where_none_may_be_goes_no_further() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200), ("HEAD", 404)] {
        for door in [proxy.door(), proxy.secure("h2")] {
            let bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\nhello");
            origin.fault(Fault::Bytes(bytes.into_bytes(), After::Hold));
            let mut connection = door.connect().await;
            let answer = connection.send(door.request(method, "/"), "").await;
            assert_eq!((answer.status, answer.body.len()), (status, 0), "{method} {status}");
            assert!(!answer.broken);
            origin.fault(Fault::None);
            let next = connection.get("/next").await;
            assert_eq!(next.name(), "a", "what it sent is nobody's answer");
        }
    }
}

#[tokio::test]
async fn answers_of_no_content_are_complete() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    for head in [
        "200 OK\r\nContent-Length: 0",
        "205 Reset Content\r\nContent-Length: 0",
        "205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n0",
    ] {
        origin.script(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes());
        let mut connection = proxy.door().connect().await;
        let answer = connection.get("/").await;
        assert_eq!((answer.body.len(), answer.broken), (0, false), "{head}");
        assert!(connection.is_open().await);
    }
}

#[tokio::test]
async fn a_reset_of_an_answer_without_length_breaks_it_off() {
    let origin = Origin::start("a");
    let proxy = front(&origin).await;
    let bytes = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of ".to_vec();
    origin.fault(Fault::Bytes(bytes, After::Reset));
    for (path, door) in [("/one", proxy.door()), ("/two", proxy.secure("h2"))] {
        let answer = door.get(path).await;
        // A reset may overtake what was sent before it.
        assert!(answer.broken || answer.status == 502, "{answer:?}");
        assert_ne!(proxy.logged(path).await["reason"], "none");
    }
}

/// A backend with TLS that says half of an answer without length, and lets go of its socket.
async fn cut_off(certificate: Vec<u8>, key: Vec<u8>) -> SocketAddr {
    let chain = CertificateDer::pem_slice_iter(&certificate).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf of ").await;
            let _ = stream.flush().await;
            // TCP ends in good order; TLS does not say that it does.
            let (mut socket, _) = stream.into_inner();
            let _ = socket.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn an_answer_that_tls_did_not_end_is_never_complete() {
    let origin = Origin::start("a");
    let mut proxy = front(&origin).await;
    let read = |name: &str| std::fs::read(proxy.path(name)).unwrap();
    let address = cut_off(read("site.crt"), read("site.key")).await;
    let body = format!(
        "{PLAIN}{SECURE}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
         tls = {{ verify = false }}\n",
        default_route("web")
    );
    proxy.apply(Config::new(body)).await;
    for (path, door) in [("/one", proxy.door()), ("/two", proxy.secure("h2"))] {
        let answer = door.get(path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "half of "));
        assert!(answer.broken, "half an answer ended as a whole one");
        assert_eq!(proxy.logged(path).await["reason"], "backend_body_aborted");
    }
}

#[tokio::test]
async fn what_we_answer_to_what_fails_has_its_id_in_a_field_too() {
    let route = "[[routes]]\npath = \"/here\"\nrespond = { status = 200, body = \"ok\" }\n";
    let proxy = Proxy::start(Config::new(format!("{PLAIN}{SECURE}{route}"))).await;
    for (number, door) in [proxy.door(), proxy.secure("h2")].into_iter().enumerate() {
        let path = format!("/nowhere{number}");
        let answer = door.send(door.request("HEAD", &path), "").await;
        assert_eq!((answer.status, answer.body.len()), (404, 0));
        let line = proxy.logged(&path).await;
        assert_eq!(answer.header("x-request-id"), line["request_id"].as_str());
        assert_eq!(line["trace_id"], line["request_id"], "both were made");
    }
}
