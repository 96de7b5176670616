//! HTTP/1.1 and HTTP/2 clients on hyper's connections, one door for each way in.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{pki, soon, spawn};

/// What a client sends: all at once, or the pattern of the large bodies in frames.
pub(crate) enum Sent {
    Whole(Option<Bytes>),
    Pattern { offset: u64, length: u64, sent: Arc<std::sync::atomic::AtomicU64> },
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(match self.get_mut() {
            Self::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Self::Pattern { offset, length, .. } if *offset >= *length => None,
            Self::Pattern { offset, length, sent } => {
                let size = usize::try_from((*length - *offset).min(32 * 1024)).unwrap();
                let mut frame = vec![0; size];
                super::answers::pattern(*offset, &mut frame);
                *offset += u64::try_from(size).unwrap();
                sent.store(*offset, std::sync::atomic::Ordering::Relaxed);
                Some(Ok(Frame::data(frame.into())))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Pattern { .. } => false,
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                http_body::SizeHint::with_exact(u64::try_from(length).unwrap())
            }
            Self::Pattern { .. } => http_body::SizeHint::default(),
        }
    }
}

/// An answer read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body broke off.
    pub(crate) broken: bool,
}

impl Answer {
    /// A field's only value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// All `Set-Cookie` values.
    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        let fields = self.headers.get_all("set-cookie").iter();
        fields.map(|value| value.to_str().unwrap()).collect()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {} {}", self.status, self.text()))
    }

    /// Which origin answered.
    pub(crate) fn name(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["name"].as_str().unwrap().to_owned()
    }
}

/// A way in: an address, TLS or none, a protocol and a host to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    protocol: Option<String>,
    host: String,
    /// Of TLS; none: it trusts the authority and shows nothing.
    config: Option<Arc<rustls::ClientConfig>>,
}

impl Door {
    /// HTTP/1.1 without TLS.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, protocol: None, host: "localhost".to_owned(), config: None }
    }

    /// TLS, with `h2` or `http/1.1` as the only protocol offered.
    pub(crate) fn tls(address: SocketAddr, protocol: &str) -> Self {
        Self { protocol: Some(protocol.to_owned()), ..Self::plain(address) }
    }

    /// HTTP/2 without TLS, by prior knowledge.
    pub(crate) fn prior(address: SocketAddr) -> Self {
        Self::tls(address, "h2c")
    }

    /// Asks for another host; the server name of TLS stays `localhost`.
    pub(crate) fn host(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.clone() }
    }

    /// In TLS of this kind, which keeps its sessions.
    pub(crate) fn with(&self, config: &Arc<rustls::ClientConfig>) -> Self {
        Self { config: Some(Arc::clone(config)), ..self.clone() }
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Connection {
        self.try_connect().await.unwrap_or_else(|error| panic!("{}: {error}", self.address))
    }

    /// Opens a connection, if it lets us.
    pub(crate) async fn try_connect(&self) -> std::io::Result<Connection> {
        let stream = soon("a connection", TcpStream::connect(self.address)).await?;
        stream.set_nodelay(true)?;
        let Some(protocol) = &self.protocol else { return self.http1(stream).await };
        if protocol == "h2c" {
            return self.http2(stream).await;
        }
        let config = self.config.as_ref().map(Arc::clone);
        let connector = TlsConnector::from(config.unwrap_or_else(|| pki::client(&[protocol])));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = soon("a TLS handshake", connector.connect(name, stream)).await?;
        let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(chosen.as_deref(), Some(protocol.as_bytes()), "the protocol chosen by ALPN");
        if protocol == "h2" { self.http2(stream).await } else { self.http1(stream).await }
    }

    async fn http1<S>(&self, stream: S) -> std::io::Result<Connection>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, driver) = handshake.map_err(std::io::Error::other)?;
        spawn(driver);
        Ok(Connection { sender: Sender::One(sender), door: self.clone() })
    }

    async fn http2<S>(&self, stream: S) -> std::io::Result<Connection>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, driver) = handshake.map_err(std::io::Error::other)?;
        spawn(driver);
        Ok(Connection { sender: Sender::Two(sender), door: self.clone() })
    }

    /// A request of this door, to be given more fields.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap());
        if self.protocol.as_deref() == Some("h2") {
            return builder.uri(format!("https://{}{path}", self.host));
        }
        if self.protocol.as_deref() == Some("h2c") {
            return builder.uri(format!("http://{}{path}", self.host));
        }
        builder.uri(path).header("host", &self.host)
    }

    /// GET on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.connect().await.get(path).await
    }

    /// Any request on a connection of its own.
    pub(crate) async fn send(&self, request: http::request::Builder, body: &str) -> Answer {
        self.connect().await.send(request, body).await
    }
}

enum Sender {
    One(http1::SendRequest<Sent>),
    Two(http2::SendRequest<Sent>),
}

/// One connection, kept.
pub(crate) struct Connection {
    sender: Sender,
    door: Door,
}

impl Connection {
    /// GET, read to its end.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = self.door.request("GET", path);
        self.send(request, "").await
    }

    /// Any request, read to its end.
    pub(crate) async fn send(&mut self, request: http::request::Builder, body: &str) -> Answer {
        self.try_send(request, body).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Any request; an error where no head came.
    pub(crate) async fn try_send(
        &mut self,
        request: http::request::Builder,
        body: &str,
    ) -> hyper::Result<Answer> {
        let body = (!body.is_empty()).then(|| Bytes::copy_from_slice(body.as_bytes()));
        let response = self.open(request.body(Sent::Whole(body)).unwrap()).await?;
        Ok(soon("the end of a body", read(response)).await)
    }

    /// Any request, up to the head of its answer.
    pub(crate) async fn open(
        &mut self,
        request: Request<Sent>,
    ) -> hyper::Result<http::Response<Incoming>> {
        match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                soon("an answer", sender.send_request(request)).await
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                soon("an answer", sender.send_request(request)).await
            }
        }
    }

    /// A WebSocket as HTTP/2 begins one (RFC 8441), up to the head of its answer.
    pub(crate) async fn websocket(&mut self, path: &str) -> http::Response<Incoming> {
        // Whether it may be asked for comes with the other end's first words.
        assert!(self.get("/status/204").await.status < 500);
        let request = Request::connect(format!("https://{}{path}", self.door.host))
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13");
        self.head(request).await
    }

    /// Any request without a body, up to the head of its answer.
    pub(crate) async fn head(
        &mut self,
        request: http::request::Builder,
    ) -> http::Response<Incoming> {
        let head = self.open(request.body(Sent::Whole(None)).unwrap()).await;
        head.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// The tunnel that it became.
    pub(crate) async fn tunnel(&mut self, path: &str) -> TokioIo<hyper::upgrade::Upgraded> {
        let response = self.websocket(path).await;
        assert_eq!(response.status(), 200);
        TokioIo::new(soon("a tunnel", hyper::upgrade::on(response)).await.unwrap())
    }

    /// Another handle on the same HTTP/2 connection.
    pub(crate) fn share(&self) -> Self {
        let Sender::Two(sender) = &self.sender else { panic!("only HTTP/2 is shared") };
        Self { sender: Sender::Two(sender.clone()), door: self.door.clone() }
    }

    /// The door it came by.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// Whether another request may be tried on it.
    pub(crate) async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Sender::One(sender) => sender.ready().await.is_ok(),
            Sender::Two(sender) => sender.ready().await.is_ok(),
        }
    }
}

/// Reads an answer to its end, broken or not.
pub(crate) async fn read(response: http::Response<Incoming>) -> Answer {
    let (parts, mut incoming) = response.into_parts();
    let (mut body, mut broken) = (Vec::new(), false);
    while let Some(frame) = incoming.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => body.extend_from_slice(&data),
            Ok(Err(_)) => {}
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    let (status, version, headers) = (parts.status.as_u16(), parts.version, parts.headers);
    Answer { status, version, headers, body: body.into(), broken }
}
