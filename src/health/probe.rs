//! One probe of one backend under one deadline.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::conversation::{self, Notes, Step};
use super::handshake::Tls;
use super::tap::Tapped;
use super::{grpc, http, http2};
use crate::backend::{Backend, OwnWord};
use crate::snapshot::{HTTP2, Health, HealthKind, Pool};

/// What a check has seen that only connects.
const CONNECTED: &str = "connected";

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was seen when it passed, or why it failed, as an operator wants to read it.
    pub result: Result<String, String>,
    /// What the backend says about itself; none where there was no answer to say it in.
    pub word: Option<OwnWord>,
}

/// What is sent to a backend, and what is expected of it.
#[derive(Debug, Clone)]
pub struct Probe {
    health: Health,
    tls: Option<Tls>,
    /// `HOST:PORT` as configured.
    authority: String,
    /// Present: the PROXY header that goes before everything else.
    header: Option<Vec<u8>>,
    /// Whether the pool's backends are spoken to in HTTP/2.
    http2: bool,
}

impl Probe {
    /// A probe of one of the pool's backends. One that was found by a name is known by it to TLS.
    pub fn of(pool: &Pool, health: &Health, backend: &Backend) -> Self {
        let authority = backend.address.to_string();
        let found = backend.found.as_ref().map(|found| &*found.host);
        let tls = pool.tls.as_ref();
        let tls =
            tls.map(|tls| Tls::new(tls, &health.kind, found.unwrap_or_else(|| host(&authority))));
        let header = Self::header(pool, health);
        Self { health: health.clone(), tls, authority, header, http2: pool.http2 }
    }

    /// The PROXY header that the backend wants; a port of the check's own has no such wishes.
    pub fn header(pool: &Pool, health: &Health) -> Option<Vec<u8>> {
        pool.own_header().filter(|_| health.port.is_none())
    }

    /// Checks once.
    pub async fn check(&self, addresses: &[SocketAddr]) -> Outcome {
        self.run(addresses, &mut Notes::none()).await
    }

    /// Opens a connection, with the PROXY header that the backend wants, and asks nothing.
    pub(super) async fn knock(&self, addresses: &[SocketAddr]) -> Outcome {
        let opened = self.open(addresses, &self.deadline(), &mut Notes::none()).await;
        Outcome { result: opened.map(|_| CONNECTED.to_owned()), word: None }
    }

    /// Checks once, and takes down all that is said. Each secret is hidden that its field's name
    /// gives away.
    pub async fn show(&self, addresses: &[SocketAddr]) -> (Outcome, Vec<Step>) {
        let mut notes = Notes::begin();
        let host = host(&self.authority);
        if host.parse::<IpAddr>().is_err() {
            let known: Vec<String> =
                addresses.iter().map(|address| address.ip().to_string()).collect();
            notes.note("name", || match &*known {
                [] => format!("{host} does not resolve"),
                known => format!("{host} leads to {}", known.join(", ")),
            });
        }
        let outcome = self.run(addresses, &mut notes).await;
        (outcome, notes.into_steps())
    }

    async fn run(&self, addresses: &[SocketAddr], notes: &mut Notes) -> Outcome {
        let mut word = None;
        let result = self.ask(addresses, &mut word, notes).await;
        Outcome { result, word }
    }

    async fn ask(
        &self,
        addresses: &[SocketAddr],
        word: &mut Option<OwnWord>,
        notes: &mut Notes,
    ) -> Result<String, String> {
        let deadline = self.deadline();
        let tcp = self.open(addresses, &deadline, notes).await?;
        let Some(tls) = &self.tls else { return self.talk(tcp, &deadline, word, notes).await };
        let stream = tls.handshake(tcp, &deadline, notes).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        match &self.health.kind {
            HealthKind::Grpc { .. } if !http2 => {
                return Err("TLS: gRPC needs HTTP/2, which was not agreed on".to_owned());
            }
            HealthKind::Http { .. } if !http2 && self.http2 => {
                return Err("TLS: HTTP/2 was not agreed on".to_owned());
            }
            _ => {}
        }
        self.talk(stream, &deadline, word, notes).await
    }

    fn deadline(&self) -> Deadline {
        Deadline { at: Instant::now() + self.health.timeout, of: self.health.timeout }
    }

    async fn open(
        &self,
        addresses: &[SocketAddr],
        deadline: &Deadline,
        notes: &mut Notes,
    ) -> Result<TcpStream, String> {
        let mut tcp = match self.health.port {
            None => connect(addresses, deadline, notes).await?,
            Some(port) => {
                let elsewhere = |address: &SocketAddr| SocketAddr::new(address.ip(), port);
                let addresses: Vec<SocketAddr> = addresses.iter().map(elsewhere).collect();
                connect(&addresses, deadline, notes).await?
            }
        };
        if let Some(header) = &self.header {
            let sent = deadline.within("sending the PROXY header", tcp.write_all(header)).await?;
            sent.map_err(|error| format!("PROXY header: {}", plain(&error)))?;
            notes.note("sent", || format!("PROXY header, {} bytes", header.len()));
        }
        Ok(tcp)
    }

    async fn talk<S>(
        &self,
        stream: S,
        deadline: &Deadline,
        word: &mut Option<OwnWord>,
        notes: &mut Notes,
    ) -> Result<String, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match &self.health.kind {
            HealthKind::Tcp => Ok(CONNECTED.to_owned()),
            HealthKind::Tls => Ok("TLS agreed on".to_owned()),
            HealthKind::Http { path, host, method, headers, expect, expect_body } => {
                let host = if host.is_empty() { &self.authority } else { host };
                if self.http2 {
                    let https = self.tls.is_some();
                    let request = http2::request(method, path, (https, host), headers)?;
                    let exchange = http2::exchange(stream, request, notes);
                    let answer = deadline.within("waiting for the answer", exchange).await??;
                    if !answer.body().is_empty() {
                        notes.note("body", || conversation::body(answer.body()));
                    }
                    *word = Some(answer.word());
                    return answer.judge(expect, expect_body.as_ref());
                }
                let request = http::request(method, path, host, headers)?;
                let (stream, tap) = Tapped::new(stream, notes.wanted());
                let exchange = http::exchange(stream, request);
                let answer = deadline.within("waiting for the answer", exchange).await;
                tap.tell(notes);
                let answer = answer??;
                if !answer.body().is_empty() {
                    notes.note("body", || conversation::body(answer.body()));
                }
                *word = Some(answer.word());
                answer.judge(expect, expect_body.as_ref())
            }
            HealthKind::Grpc { service, host, headers } => {
                let host = if host.is_empty() { &self.authority } else { host };
                let request = grpc::request(service, self.tls.is_some(), host, headers)?;
                let exchange = grpc::exchange(stream, request, notes);
                let (result, said) = deadline.within("waiting for the answer", exchange).await??;
                *word = Some(said);
                result
            }
        }
    }
}

/// The host of `HOST:PORT`, an address without its brackets.
fn host(authority: &str) -> &str {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// When a probe must be over, and how long it had.
pub(super) struct Deadline {
    at: Instant,
    of: Duration,
}

impl Deadline {
    pub(super) async fn within<F: Future>(
        &self,
        doing: &str,
        what: F,
    ) -> Result<F::Output, String> {
        timeout_at(self.at, what).await.map_err(|_| self.missed(doing))
    }

    fn missed(&self, doing: &str) -> String {
        format!("timed out after {:?} {doing}", self.of)
    }
}

/// Connects to the first address that answers; one that is silent gets its share of the time.
async fn connect(
    addresses: &[SocketAddr],
    deadline: &Deadline,
    notes: &mut Notes,
) -> Result<TcpStream, String> {
    let mut problem = "its name does not resolve".to_owned();
    for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
        let now = Instant::now();
        let share = (deadline.at - now) / u32::try_from(left).unwrap_or(u32::MAX);
        problem = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Failing to switch Nagle off does not make a check fail.
                let _ = stream.set_nodelay(true);
                notes.note("connect", || format!("{address} connected"));
                return Ok(stream);
            }
            Ok(Err(error)) => format!("connect: {}", plain(&error)),
            Err(_) => deadline.missed("connecting"),
        };
        notes.note("connect", || format!("{address}: {problem}"));
    }
    Err(problem)
}

/// `Connection refused`, without the number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(&*text, |(words, _)| words).to_owned()
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::snapshot::{BodyTest, Initial};
    use crate::task;

    fn http(expect: RangeInclusive<u16>) -> Health {
        let kind = HealthKind::Http {
            path: "/healthz".to_owned(),
            host: String::new(),
            method: "GET".to_owned(),
            headers: vec![("x-check".to_owned(), "deep".to_owned())],
            expect: vec![expect],
            expect_body: None,
        };
        let long = Duration::from_secs(20);
        Health {
            kind,
            port: None,
            interval: long,
            interval_down: long,
            interval_changing: long,
            full_every: 1,
            timeout: long,
            rise: 2,
            fall: 3,
            initial: Initial::Checking,
        }
    }

    fn plain_probe(health: &Health, address: SocketAddr) -> Probe {
        let authority = address.to_string();
        Probe { health: health.clone(), tls: None, authority, header: None, http2: false }
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
        let result = probe.check(&[address]).await.result;
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
        assert!(asked.contains("x-check: deep\r\n"), "{asked}");
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
    fn a_body_without_the_text_fails() {
        let health = |text: &str| {
            let mut health = http(200..=399);
            let HealthKind::Http { expect_body, .. } = &mut health.kind else { unreachable!() };
            *expect_body = Some(BodyTest::Text(text.to_owned()));
            health
        };
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\ndatabase: ok";
        assert_eq!(run(against(health("base: ok"), answer)).0.unwrap(), "HTTP 200");
        let why = run(against(health("queue: ok"), answer)).0.unwrap_err();
        assert_eq!(why, "HTTP 200, without \"queue: ok\" in its body");
    }

    #[test]
    fn a_check_may_go_to_a_port_of_its_own() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let health = Health { kind: HealthKind::Tcp, port: Some(port), ..http(200..=399) };
            let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
            let probe = plain_probe(&health, nowhere);
            assert_eq!(probe.check(&[nowhere]).await.result.unwrap(), "connected");
        });
    }

    #[test]
    fn a_closed_port_is_connection_refused() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let health = Health { kind: HealthKind::Tcp, ..http(200..=399) };
            let probe = plain_probe(&health, address);
            assert_eq!(
                probe.check(&[address]).await.result.unwrap_err(),
                "connect: Connection refused"
            );
            assert_eq!(probe.check(&[]).await.result.unwrap_err(), "its name does not resolve");
        });
    }

    #[test]
    fn silence_is_a_timeout_and_a_second_address_is_tried() {
        run(async {
            let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = silent.local_addr().unwrap();
            let health = Health { timeout: Duration::from_millis(50), ..http(200..=399) };
            let probe = plain_probe(&health, address);
            let why = probe.check(&[address]).await.result.unwrap_err();
            assert!(why.starts_with("timed out after 50ms"), "{why}");
            let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let health = Health { kind: HealthKind::Tcp, ..http(200..=399) };
            let probe = plain_probe(&health, address);
            assert_eq!(probe.check(&[closed, address]).await.result.unwrap(), "connected");
        });
    }
}
