//! hyper's server on one client connection.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::clock::{self, Deadline};
use crate::net::wire::{HeadLimits, Waits, Wire};
use crate::snapshot::Listener;
use crate::task;
use crate::telemetry::counters::ClientProtocol;

use super::body::Body;
use super::exchange;
use super::peer::{Peer, Place, TlsFacts};

/// What hyper buffers for one HTTP/1 connection, each way.
const BUFFER: usize = 64 * 1024;
/// Bytes of a request's target.
const TARGET: usize = 65_000;
/// Streams that one HTTP/2 connection may have open.
const STREAMS: u32 = 128;
/// A small window a stream and a large one a connection: one stalled upload does not block the
/// others, and many small frames are no attack (`h2` counts them against the connection's).
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What is buffered of one stream's answer: a client that does not read holds this much.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that the client reset before we looked at them.
const PENDING_RESETS: usize = 64;
/// Streams that we were provoked to reset.
const LOCAL_RESETS: usize = 256;
/// At its listener's end, a connection without a request yet may still bring one.
const GRACE: Duration = Duration::from_secs(1);
/// A silent HTTP/2 connection is asked whether it lives.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);

/// Serves a connection until it ends. When `ending` resolves, it is told to go: no new request is
/// taken, and running ones are finished.
pub async fn connection<S>(
    stream: S,
    address: std::net::SocketAddr,
    protocol: ClientProtocol,
    tls: Option<TlsFacts>,
    listener: &Listener,
    place: Place,
    ending: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = HeadLimits {
        size: listener.limits.header_size,
        fields: listener.limits.headers,
        // hyper holds targets of a little less than 64 KiB.
        target: listener.limits.header_size.min(TARGET),
    };
    let timeouts = &listener.timeouts;
    let waits = Waits { header: timeouts.header, idle: timeouts.idle, write: timeouts.write };
    let slot = listener.slot;
    match protocol {
        ClientProtocol::Http2 => {
            let wire = Wire::framed(stream, waits);
            let peer = Peer::new(address, slot, protocol, tls, Arc::clone(wire.handle()), place);
            over_http2(wire, Arc::new(peer), limits, waits, ending).await;
        }
        ClientProtocol::Http1 | ClientProtocol::WebSocket => {
            let wire = Wire::client(stream, limits, waits);
            let peer = Peer::new(address, slot, protocol, tls, Arc::clone(wire.handle()), place);
            over_http1(wire, Arc::new(peer), limits, ending).await;
        }
    }
}

async fn over_http1<S>(
    wire: Wire<S>,
    peer: Arc<Peer>,
    limits: HeadLimits,
    ending: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    // The wire keeps the deadlines: hyper's own timers cost an allocation a request.
    builder.header_read_timeout(None).max_buf_size(BUFFER.max(limits.size + 8 * 1024));
    if limits.fields > 100 {
        builder.max_headers(limits.fields);
    }
    let handle = Arc::clone(&peer.handle);
    let serving = builder.serve_connection(wire, exchanges(peer)).with_upgrades();
    let mut serving = pin!(serving);
    let mut ending = pin!(ending);
    let mut told = false;
    let mut grace = Deadline::new();
    std::future::poll_fn(|cx| {
        // How a connection ends is told by its exchanges.
        if serving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !told && ending.as_mut().poll(cx).is_ready() {
            // A connection that was accepted and has said nothing yet may have its first request
            // on the way: hyper would close it unanswered.
            if !grace.armed() {
                grace.arm(Some(GRACE));
            }
            if handle.heads() > 0 || grace.poll(cx).is_ready() {
                told = true;
                serving.as_mut().graceful_shutdown();
                return serving.as_mut().poll(cx).map(drop);
            }
        }
        Poll::Pending
    })
    .await;
}

async fn over_http2<S>(
    wire: Wire<S>,
    peer: Arc<Peer>,
    limits: HeadLimits,
    waits: Waits,
    ending: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(task::Executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.size).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    let handle = Arc::clone(&peer.handle);
    let looked_at = Arc::clone(&handle);
    let serving = builder.serve_connection(wire, exchanges(peer));
    let mut serving = pin!(serving);
    let mut ending = pin!(ending);
    let mut told = false;
    let mut idle = Deadline::new();
    let mut idle_polls = |cx: &mut Context<'_>| -> bool {
        // hyper knows no idle time for HTTP/2. One deadline looks now and then.
        let Some(limit) = waits.idle else { return false };
        if !idle.armed() {
            idle.arm(Some(limit));
        }
        while idle.poll(cx).is_ready() {
            match looked_at.idle_for(clock::now()) {
                Some(idled) if idled >= limit => return true,
                idled => idle.arm(Some(limit.saturating_sub(idled.unwrap_or_default()))),
            }
        }
        false
    };
    let mut patience = Deadline::new();
    std::future::poll_fn(|cx| {
        if !told && (ending.as_mut().poll(cx).is_ready() || idle_polls(cx)) {
            told = true;
            serving.as_mut().graceful_shutdown();
            patience.arm(waits.header);
        }
        while told && patience.poll(cx).is_ready() {
            // Before its preface hyper tells a client nothing and waits for ever; so does a client
            // that does not answer.
            if handle.idle_for(clock::now()).is_some() {
                return Poll::Ready(());
            }
            patience.arm(waits.header);
        }
        serving.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// The exchanges of one connection.
fn exchanges(
    peer: Arc<Peer>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> + Send
+ 'static {
    service_fn(move |request| {
        let peer = Arc::clone(&peer);
        if peer.protocol == ClientProtocol::Http2 {
            peer.handle.begun();
        }
        async move { Ok(exchange::serve(request, peer).await) }
    })
}
