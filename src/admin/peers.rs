//! Asks other nodes over their API: one request, one answer, one time for all of it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::answer::refusal;
use super::facts::lock;
use crate::config::model::{Peer, PoolTls};
use crate::event::Refusal;
use crate::task;
use crate::telemetry::chain;
use crate::tls::client::ClientTls;

/// For name, connection, handshake, request and answer together.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const MAX_ANSWER: usize = 4 << 20;
/// TLS set-ups that are kept; with more the file has changed often, and we begin anew.
const MOST_KEPT: usize = 64;

/// A client for peers. It keeps what is slow to make for TLS, and no connection.
#[derive(Debug, Default)]
pub(super) struct Client(Mutex<Vec<Arc<ClientTls>>>);

impl Client {
    /// Asks one peer for a page, written from its first `/`.
    ///
    /// # Errors
    /// The peer is out of reach (502), or what it has against it, with its status; always with its
    /// name in the member `peer`.
    pub(super) async fn ask(
        &self,
        peer: &Peer,
        method: Method,
        page: &str,
        body: Bytes,
    ) -> Result<Value, Refusal> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(peer, method, page, body)).await;
        let answered = asked.unwrap_or_else(|_| Err("no answer in 5s".to_owned()));
        match answered {
            Ok((status, value)) if (200..300).contains(&status) => Ok(value),
            Ok((status, problem)) => Err(refused(peer, status, &problem)),
            Err(why) => {
                let url = &peer.url.value;
                let text = format!("peer {} ({url}) is out of reach: {why}", peer.name);
                Err(of_peer(peer, refusal(502, text)))
            }
        }
    }

    async fn exchange(
        &self,
        peer: &Peer,
        method: Method,
        page: &str,
        body: Bytes,
    ) -> Result<(u16, Value), String> {
        let uri: Uri = peer.url.value.parse().map_err(|error| format!("its url: {error}"))?;
        let authority = uri.authority().ok_or("its url names no host")?.as_str();
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let encrypted = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let request = Request::builder()
            .method(method)
            .uri(page)
            .header(header::HOST, authority)
            .header(header::AUTHORIZATION, format!("Bearer {}", peer.token.reveal()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| format!("it cannot be asked: {error}"))?;
        let stream = TcpStream::connect((host, port)).await.map_err(|error| short(&error))?;
        if !encrypted {
            return send(stream, request).await;
        }
        let tls = self.tls(peer)?;
        let connector = TlsConnector::from(Arc::clone(tls.config()));
        let stream = connector.connect(tls.server_name(host)?, stream).await;
        send(stream.map_err(|error| format!("TLS: {}", short(&error)))?, request).await
    }

    fn tls(&self, peer: &Peer) -> Result<Arc<ClientTls>, String> {
        let wanted = PoolTls { server_name: None, ca: peer.ca.clone(), verify: true };
        // A bundle that was written again has another key.
        let key = ClientTls::key_of(&wanted, false);
        let mut kept = lock(&self.0);
        if let Some(tls) = kept.iter().find(|tls| tls.key() == key) {
            return Ok(Arc::clone(tls));
        }
        let tls = Arc::new(ClientTls::new(&wanted, false)?);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.push(Arc::clone(&tls));
        Ok(tls)
    }
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(u16, Value), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gone = |error: hyper::Error| format!("it broke off: {}", chain(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
    let driver = Driver(task::spawn("admin-peer", connection));
    let response = sender.send_request(request).await.map_err(gone)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| format!("its answer broke off: {}", chain(&*error)))?;
    drop(driver);
    let value = serde_json::from_slice(&body.to_bytes());
    Ok((status, value.map_err(|_| "its answer is not one of Ostler's".to_owned())?))
}

/// The task of a connection, which ends with the exchange, also where that runs out of time.
struct Driver<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What an error of the system says, without its number.
fn short(error: &io::Error) -> String {
    if error.raw_os_error().is_some() { error.kind().to_string() } else { error.to_string() }
}

/// What a peer has against it. Where it does not let us in, whoever asked us cannot help it.
fn refused(peer: &Peer, status: u16, problem: &Value) -> Refusal {
    let member = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    let title = match member("title") {
        "" => format!("status {status}"),
        title => title.to_owned(),
    };
    let (name, url) = (&peer.name, &peer.url.value);
    let mut told = match status {
        401 | 403 => refusal(502, format!("peer {name} ({url}) does not let us in: {title}")),
        400..500 => refusal(status, format!("peer {name} refused: {title}")),
        _ => refusal(502, format!("peer {name} ({url}) failed: {title}")),
    };
    member("detail").clone_into(&mut told.detail);
    of_peer(peer, told)
}

/// Names the peer in a member of its own.
pub(super) fn of_peer(peer: &Peer, mut refusal: Refusal) -> Refusal {
    refusal.members.insert("peer".to_owned(), Value::from(&*peer.name));
    refusal
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::model::{AdminSecret, Located};

    use super::*;

    fn peer(url: &str) -> Peer {
        let token = AdminSecret::new("0123456789abcdef");
        Peer { name: "lb2".into(), url: Located::nowhere(url.to_owned()), token, ca: None }
    }

    #[test]
    fn a_peer_out_of_reach_is_named_with_the_reason() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::default();
        let peer = peer(&url);
        let asked = client.ask(&peer, Method::GET, "/api/v1/status", Bytes::new());
        let refused = runtime.block_on(asked).unwrap_err();
        let text = format!("peer lb2 ({url}) is out of reach: connection refused");
        assert_eq!((refused.status, refused.title), (502, text));
        assert_eq!(refused.members["peer"], "lb2");
    }

    #[test]
    fn what_a_peer_refuses_keeps_its_status_unless_it_does_not_know_us() {
        let of = |status| {
            let problem = json!({"title": "no", "detail": "more"});
            let told = refused(&peer("https://lb2:9901"), status, &problem);
            (told.status, told.title, told.detail)
        };
        assert_eq!(of(409), (409, "peer lb2 refused: no".to_owned(), "more".to_owned()));
        assert_eq!(of(401).1, "peer lb2 (https://lb2:9901) does not let us in: no");
        assert_eq!((of(403).0, of(503).0), (502, 502));
    }
}
