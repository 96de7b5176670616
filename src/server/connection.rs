//! One socket: TLS where the listener has it, then HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::model::ProxyProtocol;
use crate::http::local;
use crate::http::peer::{Place, TlsFacts};
use crate::http::serve::{self, Serving};
use crate::net::pipe::Bare;
use crate::net::proxy_header::Ends;
use crate::net::{clock, hello, peek, pressure};
use crate::snapshot::Listener;
use crate::task;
use crate::telemetry::chain;
use crate::telemetry::counters::{
    ClientProtocol, HandshakeResult, HandshakeVersion, ListenerCounters, PerWorker, RefuseCause,
};
use crate::tls::client_auth;

use super::acceptor::is_too_much;
use super::drain::Ending;
use super::introduced;
use super::limit::Permit;

/// What rustls may buffer of a client that does not read.
const TLS_BUFFER: usize = 64 * 1024;

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) address: SocketAddr,
    pub(super) slot: usize,
    pub(super) ending: Ending,
    pub(super) permit: Permit,
}

/// A connection on its way to the worker that will serve it, registered with no runtime.
#[derive(Debug)]
pub(super) struct HandedOver {
    pub(super) arrival: Arrival,
    pub(super) stream: std::net::TcpStream,
}

impl HandedOver {
    /// Serves it on this worker.
    pub(super) fn serve(self) {
        match TcpStream::from_std(self.stream) {
            Ok(stream) => self.arrival.serve(stream),
            Err(error) => tracing::warn!(%error, "a connection is lost between workers"),
        }
    }
}

impl Arrival {
    /// Serves it on this worker, in a task of its own.
    pub(super) fn serve(self, mut stream: TcpStream) {
        task::spawn("connection", async move {
            let Self { address, slot, ending, mut permit } = self;
            let Some((snapshot, index)) = local::snapshot_for(slot) else { return };
            let Some(listener) = snapshot.listeners.get(index).map(Arc::clone) else { return };
            // Requests read the snapshot of their time, not that of their connection.
            drop(snapshot);
            let mut ends = Ends::from(address);
            if listener.tells_ends {
                ends.destination = stream.local_addr().unwrap_or(ends.destination);
            }
            if listener.proxy_protocol != ProxyProtocol::Off {
                // Boxed: few have it, and it is over before the first request.
                let told = introduced::ends(&mut stream, ends, &listener, &mut permit);
                let Some(told) = Box::pin(told).await else { return };
                ends = told;
            }
            let place: Place = Box::new(permit);
            let arrived = Arrived { ends, listener, place, ending };
            // Boxed but for the usual one: what is large, and over before the first request, would
            // be moved with each task.
            let serving = match &arrived.listener.tls {
                None if arrived.listener.protocols.http2 => {
                    Box::pin(unencrypted(stream, arrived)).await
                }
                None => Some(arrived.serve(stream, ClientProtocol::Http1, None)),
                Some(_) => Box::pin(greeted(stream, arrived)).await,
            };
            if let Some((_open, serving)) = serving {
                serving.await;
            }
        });
    }
}

/// A connection and what it is served by.
struct Arrived {
    ends: Ends,
    listener: Arc<Listener>,
    place: Place,
    ending: Ending,
}

impl Arrived {
    fn serve<S>(self, stream: S, protocol: ClientProtocol, tls: Option<TlsFacts>) -> (Open, Serving)
    where
        S: AsyncRead + AsyncWrite + Bare + Send + Unpin + 'static,
    {
        let Self { ends, listener, place, ending } = self;
        let open = Open::new(&listener, protocol);
        let ending = ending.wait();
        (open, serve::connection(stream, ends, protocol, tls, &listener, place, ending))
    }
}

/// Without TLS, HTTP/2 is known by what it begins with (RFC 9113 §3.3 and §3.4), which is no
/// request of HTTP/1.
async fn unencrypted(stream: TcpStream, arrived: Arrived) -> Option<(Open, Serving)> {
    let listener = &arrived.listener;
    let http2 = if listener.protocols.http1 {
        clock::within(listener.timeouts.header, begins_as_http2(&stream)).await?
    } else {
        true
    };
    let protocol = if http2 { ClientProtocol::Http2 } else { ClientProtocol::Http1 };
    Some(arrived.serve(stream, protocol, None))
}

async fn begins_as_http2(stream: &TcpStream) -> bool {
    const BEGINNING: &[u8] = b"PRI * HTTP/2";
    let mut begins = false;
    let looked = peek::until(stream, || {
        let mut seen = [0; BEGINNING.len()];
        let (_, length) = recv(stream, &mut seen, RecvFlags::PEEK)?;
        let seen = seen.get(..length).unwrap_or_default();
        begins = seen == BEGINNING;
        Ok(begins || seen.is_empty() || !BEGINNING.starts_with(seen))
    })
    .await;
    looked.is_ok() && begins
}

/// With TLS: a client says who it is, and then shakes hands.
async fn greeted(stream: TcpStream, arrived: Arrived) -> Option<(Open, Serving)> {
    let listener = &arrived.listener;
    let Ok(left) = hello(&stream, listener).await else { return None };
    if is_too_much(listener) {
        // It has become so while it was silent.
        refused(listener, RefuseCause::Memory);
        return None;
    }
    let config = Arc::clone(&listener.tls.as_ref()?.server.terms().config);
    // Boxed: it is larger than what a silent client is to cost.
    Box::pin(encrypted(stream, TlsAcceptor::from(config), arrived, left)).await
}

/// A client did not say in time who it is.
struct NotInTime;

/// Waits for a client's first word, before there is any state of TLS: most of those who attack with
/// connections say none. What is left of the time for its handshake; none is for ever.
async fn hello(stream: &TcpStream, listener: &Listener) -> Result<Option<Duration>, NotInTime> {
    let (limit, began) = (listener.timeouts.tls, clock::now());
    if clock::within(limit, hello::whole(stream)).await.is_none() {
        too_late(listener);
        return Err(NotInTime);
    }
    // What is wrong with the socket is told by the handshake.
    let took = Duration::from_millis(clock::now().saturating_sub(began));
    Ok(limit.map(|limit| limit.saturating_sub(took)))
}

fn too_late(listener: &Listener) {
    let counters: &ListenerCounters = listener.counters.get(local::worker());
    counters.handshake(HandshakeVersion::Unknown, HandshakeResult::Timeout, false);
    refused(listener, RefuseCause::TlsTimeout);
}

fn refused(listener: &Listener, cause: RefuseCause) {
    listener.counters.get(local::worker()).connection_refused(cause);
}

/// Ends a handshake that lasts, with nothing, when memory is short.
fn unless_pressed<F: Future>(
    handshake: F,
    listener: &Listener,
) -> impl Future<Output = Option<F::Output>> {
    let mut handshake = Box::pin(handshake);
    let began = clock::now();
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(done) = handshake.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let lasts = Duration::from_millis(clock::now().saturating_sub(began)) >= pressure::IDLE;
        if lasts && is_too_much(listener) { Poll::Ready(None) } else { Poll::Pending }
    })
}

async fn encrypted(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    arrived: Arrived,
    limit: Option<Duration>,
) -> Option<(Open, Serving)> {
    let listener = &arrived.listener;
    let counters: &ListenerCounters = listener.counters.get(local::worker());
    let handshake = acceptor.accept_with(stream, |tls| tls.set_buffer_limit(Some(TLS_BUFFER)));
    let stream = match clock::within(limit, unless_pressed(handshake, listener)).await {
        Some(Some(Ok(stream))) => stream,
        Some(None) => {
            refused(listener, RefuseCause::Memory);
            return None;
        }
        Some(Some(Err(error))) => {
            let result = client_auth::result(&error);
            counters.handshake(HandshakeVersion::Unknown, result, false);
            counters.connection_refused(match result {
                HandshakeResult::Failed => RefuseCause::TlsError,
                _ => RefuseCause::ClientCertificate,
            });
            let (listener, address) = (&*listener.name, arrived.ends.source);
            let (cause, error) = (result.as_str(), chain(&error));
            tracing::debug!(listener, %address, cause, error, "TLS handshake failed");
            return None;
        }
        None => {
            too_late(listener);
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    let (version, text) = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => (HandshakeVersion::Tls13, "1.3"),
        Some(ProtocolVersion::TLSv1_2) => (HandshakeVersion::Tls12, "1.2"),
        _ => (HandshakeVersion::Unknown, "unknown"),
    };
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    counters.handshake(version, HandshakeResult::Ok, resumed);
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => ClientProtocol::Http2,
        Some(_) => ClientProtocol::Http1,
        None if listener.protocols.http1 => ClientProtocol::Http1,
        // A client without ALPN where only HTTP/2 is served speaks it by prior knowledge.
        None => ClientProtocol::Http2,
    };
    let server_name = session.server_name().map(|name| name.to_ascii_lowercase().into());
    let shows = listener.tls.as_ref().is_some_and(|tls| tls.client_cert_header);
    let shown = session.peer_certificates().filter(|_| shows).and_then(<[_]>::first);
    let client_cert = shown.and_then(client_auth::field_value);
    let facts = TlsFacts { version: text, server_name, client_cert };
    Some(arrived.serve(stream, protocol, Some(facts)))
}

/// Counts an open connection. It holds nothing else of its listener, whose routes would stay for as
/// long as it lasts.
struct Open {
    counters: Arc<PerWorker<ListenerCounters>>,
    protocol: ClientProtocol,
}

impl Open {
    fn new(listener: &Listener, protocol: ClientProtocol) -> Self {
        let worker = local::worker();
        listener.counters.get(worker).connection_opened(protocol);
        local::counters(|counters| counters.connections.add(1));
        Self { counters: Arc::clone(&listener.counters), protocol }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let worker = local::worker();
        self.counters.get(worker).connection_closed(self.protocol);
        local::counters(|counters| counters.connections.sub(1));
    }
}
