//! After a 101 (HTTP/2: a 200): bytes both ways at once, each way with an end of its own.

mod half;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use crate::backend::{self, TunnelOrder};
use crate::net::clock::{self, Deadline};
use crate::net::message::{RequestHead, Response};
use crate::net::wire::Handle;
use crate::task;
use crate::telemetry::chain;
use crate::telemetry::counters::ClientProtocol;
use crate::telemetry::reason::Reason;
use crate::upstream::stream::Stream;

use super::attempt::Reply;
use super::body::Body;
use super::failure::Failure;
use super::header::hop;
use super::header::seen::Seen;
use super::local;
use super::peer::Peer;
use super::record::Record;
use super::respond::{self, Shape};
use super::tunnel_line::TunnelLine;
use super::websocket::Accept;
use half::{Half, Unread};

/// A client that has seen the backend's end and says nothing more is gone after so long. (One that
/// has ended its own half may wait for the backend as long as any.)
const GOODBYE: Duration = Duration::from_secs(5);
/// How often a tunnel tells that its session is alive, and sees what a drain wants of it.
const LOOK: Duration = Duration::from_secs(2);
/// hyper hands the client's connection over within this time.
const HAND_OVER: Duration = Duration::from_secs(30);

/// A client's wish to change the protocol.
#[derive(Debug)]
pub struct Upgrade {
    client: Option<OnUpgrade>,
    /// What a backend has to say, where the client cannot see to it.
    accept: Option<Accept>,
    peer: Arc<Peer>,
}

impl Upgrade {
    /// Takes the client's side out of a request.
    pub fn take(head: &mut RequestHead, peer: &Arc<Peer>) -> Self {
        let client = head.extensions.remove::<OnUpgrade>();
        Self { client, accept: head.extensions.remove::<Accept>(), peer: Arc::clone(peer) }
    }

    /// Whether its client may be given an answer that is no change. One of HTTP/2 takes every
    /// success for one.
    pub(super) fn lets<B>(&self, response: &Response<B>) -> bool {
        self.accept.is_none() || !response.status().is_success()
    }
}

/// How long a tunnel waits; none is for ever.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// For a byte, whichever way.
    pub idle: Option<Duration>,
    /// For its client to take any.
    pub write: Option<Duration>,
}

/// A stream that is a tunnel: its connection is not idle while it lasts, and it is reset where it
/// does not end well.
#[derive(Debug)]
struct Busy {
    handle: Arc<Handle>,
    cut: Option<oneshot::Sender<()>>,
}

impl Busy {
    fn new(handle: &Arc<Handle>) -> Self {
        handle.begun();
        Self { handle: Arc::clone(handle), cut: Some(handle.turns().begin_tunnel()) }
    }

    fn ended_well(mut self) {
        self.cut = None;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(cut) = self.cut.take() {
            // Where nobody hears it the stream has ended.
            let _ = cut.send(());
        }
        self.handle.done(clock::now());
    }
}

/// Answers 101, or 200 over HTTP/2, and leaves a tunnel behind. It keeps its backend's state, never
/// the snapshot.
///
/// # Errors
/// Where nobody asked for the change, or a backend has not understood what it agrees to.
pub fn begin(
    reply: Reply,
    upgrade: Option<Upgrade>,
    shape: &Shape<'_>,
    waits: Waits,
    record: &mut Record,
) -> Result<Response<Body>, Failure> {
    let unsolicited = || Failure::because(Reason::BadResponse, "unsolicited_101");
    let mut upgrade = upgrade.ok_or_else(unsolicited)?;
    let accepted = reply.response.headers().get(UPGRADE);
    if !accepted.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err(unsolicited());
    }
    if upgrade.accept.is_some_and(|accept| !accept.is_said(&reply.response)) {
        return Err(Failure::because(Reason::BadResponse, "websocket_accept"));
    }
    let client = upgrade.client.take().ok_or_else(unsolicited)?;
    // What has come behind the 101 is part of the tunnel.
    let (stream, early) = reply.loan.keep().ok_or_else(unsolicited)?.into_tunnel();
    let peer = Arc::clone(&upgrade.peer);
    let http2 = peer.protocol == ClientProtocol::Http2;

    let mut head = reply.response.head;
    let seen = Seen::of(&head.headers);
    hop::strip(&mut head.headers, seen);
    // RFC 9110 §8.6; over HTTP/2 it would be the stream's.
    head.headers.remove(CONTENT_LENGTH);
    if http2 {
        head.status = StatusCode::OK;
        head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    } else {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    respond::session(&mut head.headers, head.status, shape, record);
    record.answer(StatusCode::SWITCHING_PROTOCOLS);
    let line = record.tunnel().ok_or(Reason::Internal)?;
    let busy = http2.then(|| Busy::new(&peer.handle));
    if !http2 {
        peer.handle.begin_tunnel();
    }
    let place = reply.in_flight.into_tunnel();
    task::spawn("tunnel", async move {
        let streams = (client, stream);
        run(streams, early, waits, (line, place), (&peer, busy)).await;
    });
    Ok(Response { head, body: Body::empty() })
}

async fn run(
    (client, backend): (OnUpgrade, Stream),
    early: Bytes,
    waits: Waits,
    (mut line, place): (TunnelLine, backend::Tunnel),
    (peer, busy): (&Peer, Option<Busy>),
) {
    line.open();
    let handed_over = clock::within(Some(HAND_OVER), client).await;
    let client = match handed_over {
        Some(Ok(client)) => client,
        Some(Err(error)) => return line.end(Reason::ClientGone, chain(&error)),
        None => {
            let cause = "the client left before the tunnel began";
            return line.end(Reason::ClientGone, cause.into());
        }
    };
    let down = Half::after(early);
    let mut tunnel = Tunnel {
        client: TokioIo::new(client),
        backend,
        up: Half::default(),
        down,
        idle: waits.idle,
        deadline: Deadline::new(),
        moved: true,
        said_goodbye: false,
        // Over HTTP/1.1 the wire sees to it.
        unread: busy.as_ref().and(waits.write).map(Unread::new),
    };
    let mut watch = Watch::new(place);
    let mut told = 0;
    let ended = std::future::poll_fn(|cx| match watch.poll(cx, &line) {
        Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        Poll::Pending => {
            let poll = tunnel.poll(cx);
            let moved = tunnel.up.total + tunnel.down.total;
            if busy.is_some() && std::mem::replace(&mut told, moved) != moved {
                peer.handle.turns().moved();
            }
            poll
        }
    })
    .await;
    line.moved(tunnel.up.total, tunnel.down.total);
    match ended {
        Ok(()) => {
            if let Some(busy) = busy {
                busy.ended_well();
            }
            line.end(Reason::None, String::new());
        }
        Err(_) if watch.over => line.end(Reason::None, "drain".into()),
        Err(error) if peer.handle.was_stalled() || tunnel.is_unread() => {
            line.end(Reason::ClientReadTimeout, chain(&error));
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            line.end(Reason::None, "idle".into());
        }
        Err(error) => line.end(Reason::ClientGone, chain(&error)),
    }
}

/// Looks up now and then: tells that the session is alive, and follows a drain's orders.
struct Watch {
    place: backend::Tunnel,
    look: Deadline,
    /// When it closes: milliseconds on the worker's clock.
    closes: Option<u64>,
    over: bool,
}

impl Watch {
    fn new(place: backend::Tunnel) -> Self {
        Self { place, look: Deadline::new(), closes: None, over: false }
    }

    /// Ready when the tunnel is to end.
    fn poll(&mut self, cx: &Context<'_>, line: &TunnelLine) -> Poll<()> {
        if !self.look.armed() {
            self.look.arm(Some(LOOK));
        }
        while self.look.poll(cx).is_ready() {
            line.alive();
            let now = clock::now();
            let closes = match self.place.state().drain.tunnels(clock::unix()) {
                TunnelOrder::Stay => None,
                TunnelOrder::Cut => Some(now),
                TunnelOrder::Close { within } => {
                    let spread = u64::from(within).max(1);
                    Some(self.closes.unwrap_or_else(|| now + local::random() % spread))
                }
            };
            self.closes = closes;
            self.over = closes.is_some_and(|closes| now >= closes);
            if self.over {
                return Poll::Ready(());
            }
            let left = closes.map(|closes| Duration::from_millis(closes.saturating_sub(now)));
            self.look.arm(Some(left.map_or(LOOK, |left| left.min(LOOK))));
        }
        Poll::Pending
    }
}

/// Two streams and what is on its way between them.
struct Tunnel<C> {
    client: C,
    backend: Stream,
    up: Half,
    down: Half,
    idle: Option<Duration>,
    deadline: Deadline,
    moved: bool,
    /// The backend has ended its half.
    said_goodbye: bool,
    unread: Option<Unread>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Tunnel<C> {
    /// Ready when both ways have ended, one of them is broken, or no byte moved for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let up = self.up.poll(cx, &mut self.client, &mut self.backend, &mut self.moved)?;
        let down = self.down.poll(cx, &mut self.backend, &mut self.client, &mut self.moved)?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if down.is_ready() && !std::mem::replace(&mut self.said_goodbye, true) {
            self.idle = Some(self.idle.map_or(GOODBYE, |idle| idle.min(GOODBYE)));
            self.moved = false;
            self.deadline.arm(self.idle);
        }
        if let Some(unread) = &mut self.unread
            && unread.poll(cx, &self.down).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !self.deadline.armed() {
            self.deadline.arm(self.idle);
        }
        while self.deadline.poll(cx).is_ready() {
            // One deadline for all bytes: it looks when it passes whether any have moved.
            if !std::mem::take(&mut self.moved) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.deadline.arm(self.idle);
        }
        Poll::Pending
    }

    fn is_unread(&self) -> bool {
        self.unread.as_ref().is_some_and(Unread::is_over)
    }
}
