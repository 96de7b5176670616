//! HTTP/1 to a client: hyper while something is going on, the bare wire while nothing is.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::Service;
use tokio::io::{AsyncRead, AsyncWrite};

use super::press::Press;
use super::{Serving, exchanges, plain};
use crate::http::body::Body;
use crate::http::peer::Peer;
use crate::http::{exchange, local};
use crate::net::clock::{self, Deadline};
use crate::net::pressure;
use crate::net::wire::{HeadLimits, Wire};
use crate::telemetry::counters::{ListenerCounters, PerWorker, RefuseCause};

/// What hyper buffers for one connection, each way.
const BUFFER: usize = 64 * 1024;
/// At its listener's end, a connection without a request yet may still bring one.
const GRACE: Duration = Duration::from_secs(1);
/// A connection that has been quiet for so long lets go of hyper and its buffers. Less would cost a
/// busy client more than it saves.
const NAP: Duration = Duration::from_millis(200);

/// One that was busy is looked at again after so long: a stream of events may last for hours.
const BUSY: Duration = Duration::from_secs(3);

/// Serves a connection until it ends.
pub(super) fn serve<S>(
    wire: Wire<S>,
    peer: Arc<Peer>,
    limits: HeadLimits,
    counters: Arc<PerWorker<ListenerCounters>>,
    ending: impl Future<Output = ()> + Send + Unpin + 'static,
) -> Serving
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut connection = Http1 {
        state: State::Asleep(wire, exchanges(Arc::clone(&peer))),
        limits,
        peer,
        counters,
        press: Press::new(clock::now()),
        ending,
        told: false,
        grace: Deadline::new(),
        nap: Deadline::new(),
    };
    Box::pin(std::future::poll_fn(move |cx| connection.poll(cx)))
}

struct Http1<S, V, E>
where
    V: Exchanges,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    state: State<S, V>,
    limits: HeadLimits,
    peer: Arc<Peer>,
    counters: Arc<PerWorker<ListenerCounters>>,
    press: Press,
    ending: E,
    /// Whether hyper knows of the end.
    told: bool,
    grace: Deadline,
    nap: Deadline,
}

enum State<S, V>
where
    V: Exchanges,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// Nothing is going on.
    Asleep(Wire<S>, V),
    /// hyper has it.
    Awake(Box<UpgradeableConnection<Wire<S>, V>>),
    /// A head was refused, and nothing else is to be answered: hyper is not asked. Boxed, for the
    /// others are many.
    Refusing(Box<(Wire<S>, V, Bytes)>),
    /// It has ended, perhaps before its client has read so. It still has its place.
    Closing(Wire<S>, V),
    Ended,
}

/// What answers requests.
trait Exchanges:
    Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Send
    + Unpin
    + 'static
{
}

impl<V> Exchanges for V where
    V: Service<
            Request<Incoming>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Send
        + Unpin
        + 'static
{
}

impl<S, V, E> Http1<S, V, E>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    V: Exchanges,
    E: Future<Output = ()> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Awake(serving) => {
                    // How a connection ends is told by its exchanges.
                    if Pin::new(serving).poll(cx).is_ready() {
                        self.let_go();
                        continue;
                    }
                    if self.must_go(cx) && !std::mem::replace(&mut self.told, true) {
                        if let State::Awake(serving) = &mut self.state {
                            Pin::new(&mut **serving).graceful_shutdown();
                        }
                        continue;
                    }
                    if !self.is_tired(cx) {
                        return Poll::Pending;
                    }
                    self.fall_asleep();
                }
                State::Asleep(wire, _) => match wire.poll_something(cx) {
                    Poll::Ready(Ok(true)) => match wire.take_refused() {
                        Some(method) => self.refuse(&method),
                        None => self.wake_up(),
                    },
                    Poll::Ready(Ok(false) | Err(_)) => self.close(),
                    Poll::Pending if self.must_go(cx) || self.is_pressed() => self.close(),
                    Poll::Pending => return Poll::Pending,
                },
                State::Refusing(refusing) => {
                    let (wire, _, answer) = &mut **refusing;
                    match wire.poll_say(cx, answer) {
                        Poll::Ready(Ok(())) => self.close(),
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                State::Closing(wire, _) => return wire.poll_close(cx).map(drop),
                State::Ended => return Poll::Ready(()),
            }
        }
    }

    fn wake_up(&mut self) {
        let mut builder = Builder::new();
        // The wire keeps the deadlines: hyper's own timers cost an allocation a request.
        builder.header_read_timeout(None).max_buf_size(BUFFER.max(self.limits.size + 8 * 1024));
        if self.limits.fields > 100 {
            builder.max_headers(self.limits.fields);
        }
        if let State::Asleep(wire, exchanges) = std::mem::replace(&mut self.state, State::Ended) {
            let serving = builder.serve_connection(wire, exchanges).with_upgrades();
            self.state = State::Awake(Box::new(serving));
        }
    }

    fn fall_asleep(&mut self) {
        if let State::Awake(serving) = std::mem::replace(&mut self.state, State::Ended)
            && let Some(parts) = serving.into_parts()
        {
            let mut wire = parts.io;
            wire.take_back(&parts.read_buf);
            self.state = State::Asleep(wire, parts.service);
        }
    }

    /// hyper is done with it.
    fn let_go(&mut self) {
        if let State::Awake(serving) = std::mem::replace(&mut self.state, State::Ended)
            && let Some(parts) = serving.into_parts()
            && parts.io.is_shut()
        {
            self.state = State::Closing(parts.io, parts.service);
        }
    }

    fn refuse(&mut self, method: &Method) {
        if let State::Asleep(wire, exchanges) = std::mem::replace(&mut self.state, State::Ended) {
            let answer = plain::bytes(exchange::refuse(&self.peer, method));
            self.state = State::Refusing(Box::new((wire, exchanges, answer)));
        }
    }

    fn close(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Asleep(wire, exchanges) => State::Closing(wire, exchanges),
            State::Refusing(refusing) => {
                let (wire, exchanges, _) = *refusing;
                State::Closing(wire, exchanges)
            }
            other => other,
        };
    }

    /// Whether the listener has ended, and a connection that was accepted and has said nothing yet
    /// has had its time: its first request may be on the way.
    fn must_go(&mut self, cx: &mut Context<'_>) -> bool {
        if self.told || Pin::new(&mut self.ending).poll(cx).is_pending() {
            return self.told;
        }
        if !self.grace.armed() {
            self.grace.arm(Some(GRACE));
        }
        self.peer.handle.heads() > 0 || self.grace.poll(cx).is_ready()
    }

    /// Whether it has to go because memory is short; counted.
    fn is_pressed(&mut self) -> bool {
        let asked = self.press.asks(pressure::level(), &self.peer.handle, clock::now());
        if asked.is_some() {
            self.counters.get(local::worker()).connection_refused(RefuseCause::Memory);
        }
        asked.is_some()
    }

    /// Whether nothing has been going on for a while.
    fn is_tired(&mut self, cx: &Context<'_>) -> bool {
        if !self.nap.armed() {
            self.nap.arm(Some(NAP));
        }
        while self.nap.poll(cx).is_ready() {
            // One deadline for many exchanges: it looks when it passes.
            match self.peer.handle.at_rest_for(clock::now()) {
                Some(rested) if rested >= NAP => {
                    self.nap.disarm();
                    return true;
                }
                Some(rested) => self.nap.arm(Some(NAP.saturating_sub(rested))),
                None => self.nap.arm(Some(BUSY)),
            }
        }
        false
    }
}
