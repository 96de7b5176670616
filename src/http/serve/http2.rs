//! HTTP/2 to a client: limits, idleness and the end.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite};

use super::press::{Go, Press};
use super::stream::{Answering, Streams};
use super::{Serving, exchanges};
use crate::http::local;
use crate::http::peer::Peer;
use crate::net::clock::{self, Deadline};
use crate::net::pressure;
use crate::net::wire::{Handle, HeadLimits, Waits, Wire};
use crate::telemetry::counters::{ListenerCounters, PerWorker, RefuseCause};

/// Streams that one HTTP/2 connection may have open.
const STREAMS: u32 = 128;
/// So many are open where a client may be about to hear of that.
const MANY: u64 = 64;
/// A small window a stream and a large one a connection: one stalled upload does not block the
/// others, and many small frames are no attack (`h2` counts them against the connection's).
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What is buffered of one stream's answer before the next piece of it waits: a client that does
/// not read holds this much and two pieces (`net::wire::Handle::share`). One who reads loses
/// nothing by it: on one thread nobody adds to a buffer while it is written.
const SEND_BUFFER: usize = 4 * 1024;
/// Streams that the client reset before we looked at them.
const PENDING_RESETS: usize = 64;
/// Streams that we were provoked to reset.
const LOCAL_RESETS: usize = 256;
/// A silent HTTP/2 connection is asked whether it lives.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
/// An idle time without an end.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Serves a connection until it ends.
pub(super) fn serve<S>(
    wire: Wire<S>,
    peer: Arc<Peer>,
    limits: HeadLimits,
    waits: Waits,
    counters: Arc<PerWorker<ListenerCounters>>,
    mut ending: impl Future<Output = ()> + Send + Unpin + 'static,
) -> Serving
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handle = Arc::clone(&peer.handle);
    let streams = Streams { handle: Arc::clone(&handle), patience: waits.write };
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(list_size(limits.size))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .enable_connect_protocol()
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    let looked_at = Arc::clone(&handle);
    let exchanges = exchanges(peer);
    // hyper and h2 hand a stream's future on by value, some ten times.
    let answering = Arc::clone(&handle);
    let exchanges = service_fn(move |request| {
        let handle = Arc::clone(&answering);
        Box::pin(Answering { exchange: exchanges.call(request), handle })
    });
    let mut serving = Box::pin(builder.serve_connection(wire, exchanges));
    let mut told = false;
    let mut idle = Deadline::new();
    let mut idle_polls = move |cx: &mut Context<'_>| -> bool {
        // hyper knows no idle time for HTTP/2. One deadline looks now and then; one who may idle
        // for ever has to hear of it all the same when memory is short.
        let limit = waits.idle.unwrap_or(FOREVER);
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
    let mut press = Press::new(clock::now());
    Box::pin(std::future::poll_fn(move |cx| {
        if !told && (Pin::new(&mut ending).poll(cx).is_ready() || idle_polls(cx)) {
            told = true;
            serving.as_mut().graceful_shutdown();
            patience.arm(waits.header);
        }
        if let Some(go) = press.asks(pressure::level(), &handle, clock::now()) {
            if !std::mem::replace(&mut told, true) {
                counters.get(local::worker()).connection_refused(RefuseCause::Memory);
                serving.as_mut().graceful_shutdown();
                patience.arm(Some(pressure::IDLE));
            }
            if go == Go::Cut {
                handle.press(true);
                return Poll::Ready(());
            }
        }
        while told && patience.poll(cx).is_ready() {
            // Before its preface hyper tells a client nothing and waits for ever; so does a client
            // that does not answer.
            if handle.idle_for(clock::now()).is_some() {
                return Poll::Ready(());
            }
            patience.arm(waits.header);
        }
        let poll = serving.as_mut().poll(cx);
        if poll.is_pending() && handle.digested(told || handle.open() >= MANY) {
            cx.waker().wake_by_ref();
        }
        let ended = ready!(poll);
        let cause = ended.err().and_then(|error| given_up(&error, &handle));
        // One that was told to go was counted then.
        if let Some(cause) = cause.filter(|cause| !(told && *cause == RefuseCause::Memory)) {
            counters.get(local::worker()).connection_refused(cause);
        }
        Poll::Ready(())
    }))
}

/// Bytes of a header list that `h2` may keep. It answers what is larger by itself, unseen by log
/// and counters: so it is let have twice what a head may have, and what is between is refused by
/// `admit`, at once and with a line.
fn list_size(head: usize) -> u32 {
    u32::try_from(head.saturating_mul(2)).unwrap_or(u32::MAX)
}

/// Why we have given a connection up; none where its client has gone.
fn given_up(error: &hyper::Error, handle: &Handle) -> Option<RefuseCause> {
    if handle.was_late() {
        return Some(RefuseCause::HeaderTimeout);
    }
    if handle.was_stalled() {
        let pressed = handle.was_pressed();
        return Some(if pressed { RefuseCause::Memory } else { RefuseCause::Stalled });
    }
    if handle.was_flooded() {
        return Some(RefuseCause::Http2Flood);
    }
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    match error.reason()? {
        _ if error.is_remote() => None,
        h2::Reason::NO_ERROR => None,
        h2::Reason::ENHANCE_YOUR_CALM => Some(RefuseCause::Http2Flood),
        _ => Some(RefuseCause::Http2Error),
    }
}
