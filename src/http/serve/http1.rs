//! HTTP/1 to a client: who answers its requests, and the bare wire while there are none.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::Service;
use tokio::io::{AsyncRead, AsyncWrite};

use super::direct::{self, After, Direct};
use super::press::Press;
use super::{Serving, exchanges};
use crate::http::body::Body;
use crate::http::peer::Peer;
use crate::http::{exchange, local};
use crate::net::clock::{self, Deadline};
use crate::net::fields::Fields;
use crate::net::message::{RequestHead, Response};
use crate::net::pressure;
use crate::net::wire::{Alone, HeadLimits, Next, Wire};
use crate::telemetry::counters::{ListenerCounters, PerWorker, RefuseCause};

/// What hyper buffers for one connection, each way.
const BUFFER: usize = 64 * 1024;
/// At its listener's end, a connection without a request yet may still bring one.
const GRACE: Duration = Duration::from_secs(1);
/// A connection that has been quiet for so long lets go of what answers it, buffers and
/// all. Less would cost a busy client more than it saves.
const NAP: Duration = Duration::from_millis(200);

/// One that was busy is looked at again after so long: a stream of events may last for hours.
const BUSY: Duration = Duration::from_secs(3);

/// Serves a connection until it ends.
pub(super) fn serve<S, A, F>(
    wire: Box<Wire<S>>,
    peer: Arc<Peer>,
    limits: HeadLimits,
    counters: Arc<PerWorker<ListenerCounters>>,
    ending: impl Future<Output = ()> + Send + Unpin + 'static,
    answer: A,
) -> Serving
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Fn(RequestHead, Arc<Peer>) -> F + Copy + Send + Unpin + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut connection = Http1 {
        state: State::Asleep(wire),
        limits,
        peer,
        answer,
        exchanges,
        counters,
        press: Press::new(clock::now()),
        ending,
        told: false,
        grace: Deadline::new(),
        nap: Deadline::new(),
    };
    Box::pin(std::future::poll_fn(move |cx| connection.poll(cx)))
}

struct Http1<S, A, F, V, E>
where
    V: Exchanges,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    state: State<S, A, F, V>,
    limits: HeadLimits,
    peer: Arc<Peer>,
    /// What answers a request without content, and what answers those that hyper reads.
    answer: A,
    exchanges: fn(Arc<Peer>) -> V,
    counters: Arc<PerWorker<ListenerCounters>>,
    press: Press,
    ending: E,
    /// Whether the next answer is the last one.
    told: bool,
    grace: Deadline,
    nap: Deadline,
}

enum State<S, A, F, V>
where
    V: Exchanges,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// Nothing is going on.
    Asleep(Box<Wire<S>>),
    /// Requests without content come, or have come a moment ago.
    Awake(Box<Direct<S, A, F>>),
    /// hyper has it.
    Hyper(Box<UpgradeableConnection<Box<Wire<S>>, V>>),
    /// A head was refused, and nothing else is to be answered.
    Refusing(Box<Wire<S>>, Bytes),
    /// It has ended, perhaps before its client has read so. It still has its place.
    Closing(Box<Wire<S>>),
    Ended,
}

/// What answers requests.
trait Exchanges:
    Service<
        Request<Incoming>,
        Response = http::Response<Body>,
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
            Response = http::Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Send
        + Unpin
        + 'static
{
}

impl<S, A, F, V, E> Http1<S, A, F, V, E>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Fn(RequestHead, Arc<Peer>) -> F + Copy,
    F: Future<Output = Response<Body>> + Send + 'static,
    V: Exchanges,
    E: Future<Output = ()> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Awake(direct) if direct.is_busy() => {
                    match direct.poll_answered(cx, self.told) {
                        Poll::Ready(After::Next) => {}
                        Poll::Ready(After::Last) => self.close(),
                        // How a connection ends is told by its exchanges.
                        Poll::Ready(After::Broken) => self.state = State::Ended,
                        Poll::Pending if !self.told && self.must_go(cx) => self.told = true,
                        Poll::Pending => return Poll::Pending,
                    }
                }
                State::Awake(direct) => match direct.poll_next(cx) {
                    Poll::Ready(Next::Alone(alone)) => direct.begin(alone),
                    Poll::Ready(next) => self.go_on(next),
                    Poll::Pending if self.must_go(cx) => self.close(),
                    Poll::Pending if self.is_tired(cx) => self.fall_asleep(),
                    Poll::Pending => return Poll::Pending,
                },
                State::Hyper(serving) => {
                    if Pin::new(serving).poll(cx).is_ready() {
                        self.let_go();
                        continue;
                    }
                    if self.must_go(cx) && !std::mem::replace(&mut self.told, true) {
                        if let State::Hyper(serving) = &mut self.state {
                            Pin::new(&mut **serving).graceful_shutdown();
                        }
                        continue;
                    }
                    if !self.is_tired(cx) {
                        return Poll::Pending;
                    }
                    self.fall_asleep();
                }
                State::Asleep(wire) => match wire.poll_request(cx, &mut Fields::new()) {
                    Poll::Ready(next) => self.go_on(next),
                    Poll::Pending if self.must_go(cx) || self.is_pressed() => self.close(),
                    Poll::Pending => return Poll::Pending,
                },
                State::Refusing(wire, answer) => match wire.poll_say(cx, answer) {
                    Poll::Ready(Ok(())) => self.close(),
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                },
                State::Closing(wire) => return wire.poll_close(cx).map(drop),
                State::Ended => return Poll::Ready(()),
            }
        }
    }

    /// Does what is to be done next, where nothing was going on.
    fn go_on(&mut self, next: Next) {
        match next {
            Next::Alone(alone) => self.wake_up(alone),
            Next::Other => self.start_hyper(),
            Next::Refused(method) => self.refuse(&method),
            Next::Gone => self.close(),
        }
    }

    fn wake_up(&mut self, alone: Alone) {
        if let Some(wire) = self.take_wire() {
            let mut direct = Box::new(Direct::new(wire, Arc::clone(&self.peer), self.answer));
            direct.begin(alone);
            self.state = State::Awake(direct);
        }
    }

    fn start_hyper(&mut self) {
        let mut builder = Builder::new();
        // The wire keeps the deadlines: hyper's own timers cost an allocation a request.
        builder.header_read_timeout(None).max_buf_size(BUFFER.max(self.limits.size + 8 * 1024));
        if self.limits.fields > 100 {
            builder.max_headers(self.limits.fields);
        }
        if let Some(wire) = self.take_wire() {
            let exchanges = (self.exchanges)(Arc::clone(&self.peer));
            let serving = builder.serve_connection(wire, exchanges).with_upgrades();
            self.state = State::Hyper(Box::new(serving));
            // hyper drops what it is to answer if it is told of the end before it has read that.
            self.told = false;
        }
    }

    fn fall_asleep(&mut self) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Awake(direct) => self.state = State::Asleep(direct.into_wire()),
            State::Hyper(serving) => {
                if let Some(parts) = serving.into_parts() {
                    let mut wire = parts.io;
                    wire.take_back(&parts.read_buf);
                    self.state = State::Asleep(wire);
                }
            }
            _ => {}
        }
    }

    /// hyper is done with it.
    fn let_go(&mut self) {
        if let State::Hyper(serving) = std::mem::replace(&mut self.state, State::Ended)
            && let Some(parts) = serving.into_parts()
            && parts.io.is_shut()
        {
            self.state = State::Closing(parts.io);
        }
    }

    fn refuse(&mut self, method: &Method) {
        if let Some(wire) = self.take_wire() {
            let answer = direct::bytes(exchange::refuse(&self.peer, method), method);
            self.state = State::Refusing(wire, answer);
        }
    }

    fn close(&mut self) {
        if let Some(wire) = self.take_wire() {
            self.state = State::Closing(wire);
        }
    }

    /// The wire, where hyper has not got it.
    fn take_wire(&mut self) -> Option<Box<Wire<S>>> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Asleep(wire) | State::Closing(wire) | State::Refusing(wire, _) => Some(wire),
            State::Awake(direct) => Some(direct.into_wire()),
            State::Hyper(_) | State::Ended => None,
        }
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
