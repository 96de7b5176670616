//! One TCP or HTTP/1.1 probe of one backend under one deadline.

use std::error::Error;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::snapshot::{Health, HealthKind, Pool};
use crate::task;

/// Bytes of an answer's body that are read: enough for any report, not for a download.
const MAX_BODY: usize = 64 << 10;
/// How the backend's log knows a check.
const AGENT: &str = concat!("ostler/", env!("CARGO_PKG_VERSION"), " (health check)");

/// What is sent to a backend, and what is expected of it.
#[derive(Debug, Clone)]
pub struct Probe {
    health: Health,
    /// Present: TLS, with the name to send and verify, or why there is none.
    tls: Option<(Arc<ClientConfig>, Result<ServerName<'static>, String>)>,
    /// `HOST:PORT` as configured.
    authority: String,
}

impl Probe {
    /// A probe of the pool's backend at this configured address.
    pub fn new(pool: &Pool, health: &Health, authority: String) -> Self {
        let host = authority.rsplit_once(':').map_or(&*authority, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = pool.tls.as_ref();
        let tls = tls.map(|tls| (Arc::clone(tls.config()), tls.server_name(host)));
        Self { health: health.clone(), tls, authority }
    }

    /// Checks once. A pass says what was seen.
    ///
    /// # Errors
    /// Why it failed, as an operator wants to read it.
    pub async fn check(&self, addresses: &[SocketAddr]) -> Result<String, String> {
        let deadline =
            Deadline { at: Instant::now() + self.health.timeout, of: self.health.timeout };
        let tcp = connect(addresses, &deadline).await?;
        let Some((config, name)) = &self.tls else { return self.talk(tcp, &deadline).await };
        let name = name.clone().map_err(|error| format!("TLS: {error}"))?;
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
        let stream = deadline.within("in the TLS handshake", handshake).await?;
        self.talk(stream.map_err(|error| format!("TLS: {}", chain(&error)))?, &deadline).await
    }

    async fn talk<S>(&self, stream: S, deadline: &Deadline) -> Result<String, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let HealthKind::Http { path, host, method, expect } = &self.health.kind else {
            return Ok("connected".to_owned());
        };
        let host = if host.is_empty() { &self.authority } else { host };
        let request = request(method, path, host)?;
        let status = deadline.within("waiting for the answer", exchange(stream, request)).await??;
        let seen = format!("HTTP {status}");
        let expected = expect.iter().any(|range: &RangeInclusive<u16>| range.contains(&status));
        if expected { Ok(seen) } else { Err(seen) }
    }
}

/// When a probe must be over, and how long it had.
struct Deadline {
    at: Instant,
    of: Duration,
}

impl Deadline {
    async fn within<F: Future>(&self, doing: &str, what: F) -> Result<F::Output, String> {
        timeout_at(self.at, what).await.map_err(|_| self.missed(doing))
    }

    fn missed(&self, doing: &str) -> String {
        format!("timed out after {:?} {doing}", self.of)
    }
}

/// Connects to the first address that answers; one that is silent gets its share of the time.
async fn connect(addresses: &[SocketAddr], deadline: &Deadline) -> Result<TcpStream, String> {
    let mut problem = "its name does not resolve".to_owned();
    for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
        let now = Instant::now();
        let share = (deadline.at - now) / u32::try_from(left).unwrap_or(u32::MAX);
        problem = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Failing to switch Nagle off does not make a check fail.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => format!("connect: {}", plain(&error)),
            Err(_) => deadline.missed("connecting"),
        };
    }
    Err(problem)
}

fn request(method: &str, path: &str, host: &str) -> Result<Request<Empty<Bytes>>, String> {
    let wrong = |what: &str| format!("the check's {what} cannot be sent");
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| wrong("method"))?;
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| wrong("path"))?;
    let host = HeaderValue::try_from(host).map_err(|_| wrong("host"))?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// One request over a connection of its own; the status, once the answer is complete.
async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| chain(&error))?;
    let _driver = AbortOnDropHandle::new(task::spawn("check connection", async {
        // Whoever waits for the answer is told why it failed.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(|error| chain(&error))?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut read = 0;
    while read < MAX_BODY
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| format!("HTTP {status}, then {}", chain(&error)))?;
        read += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(status)
}

/// An error with its sources, without saying anything twice.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = source.source();
    }
    text
}

/// `Connection refused`, without the number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(&*text, |(words, _)| words).to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn http(expect: RangeInclusive<u16>) -> Health {
        let kind = HealthKind::Http {
            path: "/healthz".to_owned(),
            host: String::new(),
            method: "GET".to_owned(),
            expect: vec![expect],
        };
        let long = Duration::from_secs(20);
        Health { kind, interval: long, timeout: long, rise: 2, fall: 3 }
    }

    fn plain_probe(health: &Health, address: SocketAddr) -> Probe {
        Probe { health: health.clone(), tls: None, authority: address.to_string() }
    }

    fn run<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    /// Answers one connection with these bytes and returns what was asked.
    async fn against(health: Health, answer: &'static [u8]) -> (Result<String, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = task::spawn("server", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).await.unwrap();
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let probe = plain_probe(&health, address);
        let result = probe.check(&[address]).await;
        (result, server.await.unwrap())
    }

    #[test]
    fn an_expected_status_passes_and_the_request_says_who_asks() {
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        let (result, asked) = run(against(http(200..=399), answer));
        assert_eq!(result.unwrap(), "HTTP 204");
        assert!(asked.starts_with("GET /healthz HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("host: 127.0.0.1:"), "{asked}");
        assert!(asked.contains("connection: close\r\n"), "{asked}");
        assert!(asked.contains("(health check)\r\n"), "{asked}");
    }

    #[test]
    fn another_status_fails_and_a_redirect_is_not_followed() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
        assert_eq!(run(against(http(200..=399), answer)).0.unwrap_err(), "HTTP 503");
        let answer = b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(run(against(http(200..=299), answer)).0.unwrap_err(), "HTTP 302");
    }

    #[test]
    fn what_is_no_http_fails_with_a_reason() {
        let (result, _) = run(against(http(200..=399), b"220 mail.example.com ESMTP\r\n"));
        assert!(result.unwrap_err().contains("invalid HTTP"));
    }

    #[test]
    fn a_closed_port_is_connection_refused() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let health = Health { kind: HealthKind::Tcp, ..http(200..=399) };
            let probe = plain_probe(&health, address);
            assert_eq!(probe.check(&[address]).await.unwrap_err(), "connect: Connection refused");
            assert_eq!(probe.check(&[]).await.unwrap_err(), "its name does not resolve");
        });
    }

    #[test]
    fn silence_is_a_timeout_and_a_second_address_is_tried() {
        run(async {
            let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = silent.local_addr().unwrap();
            let health = Health { timeout: Duration::from_millis(50), ..http(200..=399) };
            let probe = plain_probe(&health, address);
            let why = probe.check(&[address]).await.unwrap_err();
            assert!(why.starts_with("timed out after 50ms"), "{why}");
            let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let health = Health { kind: HealthKind::Tcp, ..http(200..=399) };
            let probe = plain_probe(&health, address);
            assert_eq!(probe.check(&[closed, address]).await.unwrap(), "connected");
        });
    }
}
