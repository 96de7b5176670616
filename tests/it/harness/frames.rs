//! HTTP/2 frame by frame, with fields and orders of frames that no client library would send.

use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{pki, soon};

/// Kinds of frames (RFC 9113 §6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// `END_STREAM` on DATA and HEADERS, `ACK` on SETTINGS and PING.
pub(crate) const END: u8 = 1;
/// `END_HEADERS`.
pub(crate) const WHOLE: u8 = 4;

/// A GET as it should be.
pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];

/// One frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The last stream that a GOAWAY names.
    pub(crate) fn last_stream(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }

    /// The code of a `RST_STREAM` or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A HEADERS frame with these fields as literals (RFC 7541 §6.2.2), whatever they are.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "the length would take more than a byte");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(kind::HEADERS, flags | WHOLE, stream, &block)
}

/// A connection after its preface.
pub(crate) struct Frames {
    stream: TlsStream<TcpStream>,
}

impl Frames {
    /// Connects with TLS, and sends preface and settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        let connector = TlsConnector::from(pki::client(&["h2"]));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = soon("a TLS handshake", connector.connect(name, stream)).await.unwrap();
        let mut frames = Self { stream };
        frames.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(&frame(kind::SETTINGS, 0, 0, b"")).await;
        frames
    }

    /// Sends bytes; a connection that was closed meanwhile is no failure of the story.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next frame; none at the connection's end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        soon("a frame", async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
        })
        .await
    }

    /// Reads on to the first frame that fits.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Option<Frame> {
        while let Some(frame) = self.next().await {
            if fits(&frame) {
                return Some(frame);
            }
        }
        None
    }

    /// How a stream ends: its last frame, a `RST_STREAM`, a GOAWAY, or nothing any more.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Option<Frame> {
        self.until(|frame| match frame.kind {
            kind::GOAWAY => true,
            kind::RST_STREAM => frame.stream == stream,
            kind::DATA | kind::HEADERS => frame.stream == stream && frame.flags & END != 0,
            _ => false,
        })
        .await
    }
}
