//! Bytes on a socket: what no client library would send, and what it would hide.

use std::net::SocketAddr;
use std::path::Path;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{pki, soon};

/// The fields by which a client asks for a WebSocket (RFC 6455 §4.1).
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A head that asks for a WebSocket, with `more` fields, each with its end of line.
pub(crate) fn handshake(target: &str, more: &str) -> String {
    let fields = HANDSHAKE.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{more}{fields}\r\n")
}

/// The same of a request that a client library sends.
pub(crate) fn upgrading(request: http::request::Builder) -> http::request::Builder {
    HANDSHAKE.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

/// One connection without manners.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) stream: S,
}

impl Raw<UnixStream> {
    /// Connects to a socket of the file system.
    pub(crate) async fn at(path: &Path) -> Self {
        Self { stream: UnixStream::connect(path).await.unwrap() }
    }
}

impl Raw {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }
}

impl Raw<TlsStream<TcpStream>> {
    /// Connects with TLS and one protocol, and says nothing in it yet.
    pub(crate) async fn secure(address: SocketAddr, protocol: &str) -> Self {
        let stream = Raw::connect(address).await.stream;
        let name = ServerName::try_from("localhost").unwrap();
        let handshake = TlsConnector::from(pki::client(&[protocol])).connect(name, stream);
        Self { stream: soon("a TLS handshake", handshake).await.unwrap() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Writes; a connection that was closed meanwhile is no failure of the story.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads until the other side ends.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let end = soon("the end of a connection", self.stream.read_to_end(&mut bytes)).await;
        // A reset after the answer is an end as well.
        drop(end);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until the text holds this.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            let count = soon(text, self.stream.read(&mut chunk)).await.unwrap_or(0);
            bytes.extend_from_slice(&chunk[..count]);
            let read = String::from_utf8_lossy(&bytes).into_owned();
            if read.contains(text) {
                return read;
            }
            assert!(count > 0, "the end before {text:?}, after {read:?}");
        }
    }

    /// Writes, and reads until the other side ends.
    pub(crate) async fn exchange(mut self, bytes: impl AsRef<[u8]>) -> String {
        self.write(bytes).await;
        self.rest().await
    }
}

/// The statuses of the answers in a text, in order.
pub(crate) fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.").skip(1).filter_map(|part| part.get(2..5)?.parse().ok()).collect()
}
