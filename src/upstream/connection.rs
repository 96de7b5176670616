//! An HTTP/1.1 connection to a backend, driven by whoever uses it.
// hyper's connection future runs inside the exchange that has it on loan, not in a task of its
// own: no wake-ups and no hops between tasks on the way of a request, and to drop it is to close
// it. Nobody polls it while it is idle; it is looked at when it is taken and now and then.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};

use crate::net::proxy_header::Ends;
use crate::net::wire::{Handle, Wire};

use super::bare::{Bare, BodyError};
use super::dial;
use super::gate::Gate;
use super::stream::Stream;

/// What hyper takes for an error of a body.
pub trait Failure: Into<Box<dyn std::error::Error + Send + Sync>> {}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> Failure for E {}

/// A body that requests to backends may have.
pub trait Outgoing: Body<Data = Bytes, Error: Failure> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Failure> + Send + Unpin + 'static> Outgoing for B {}

/// What becomes of a request: an answer's head, or why there is none.
pub type Answer<B> = Result<Response<Incoming>, TrySendError<Request<B>>>;

/// Who reads and writes on a connection.
#[expect(clippy::large_enum_variant, reason = "it is the first nearly always, in a box of its own")]
enum Driver<B: Outgoing> {
    /// hyper.
    Hyper(http1::SendRequest<B>, http1::Connection<Wire<Stream>, B>),
    /// Nobody but who wants the rest of an answer.
    Bare(Bare),
    /// Its request could not have failed with it.
    Gone,
}

/// An open connection.
pub struct Connection<B: Outgoing> {
    driver: Driver<B>,
    handle: Arc<Handle>,
    gate: Arc<Gate>,
    /// The gate's.
    waker: Waker,
    ended: bool,
    /// A request was sent, and no head of an answer has come.
    awaited: bool,
    /// Whom the backend believes to talk with on it, where it was told.
    pub(super) told: Option<Ends>,
    /// Exchanges before the present one.
    uses: u32,
    /// On the worker's clock, milliseconds.
    pub(super) opened: u64,
    pub(super) idle_since: u64,
    /// How long it had been idle when it was last taken (ms).
    pub(super) idled: u64,
    /// The backend's own idle time, where it has said it.
    pub(super) keep_for: Option<Duration>,
}

impl<B: Outgoing> std::fmt::Debug for Connection<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("uses", &self.uses)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<B: Outgoing> Connection<B> {
    pub(super) fn new(
        sender: http1::SendRequest<B>,
        driver: http1::Connection<Wire<Stream>, B>,
        handle: Arc<Handle>,
        told: Option<Ends>,
        now: u64,
    ) -> Self {
        let gate = Arc::new(Gate::default());
        Self {
            driver: Driver::Hyper(sender, driver),
            handle,
            waker: Waker::from(Arc::clone(&gate)),
            gate,
            ended: false,
            awaited: false,
            told,
            uses: 0,
            opened: now,
            idle_since: now,
            idled: 0,
            keep_for: None,
        }
    }

    /// Whether it has carried an exchange before.
    pub fn reused(&self) -> bool {
        self.uses > 0
    }

    /// What was refused of the backend's bytes.
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The backend said how long it keeps idle connections.
    pub fn learn_idle_time(&mut self, time: Duration) {
        self.keep_for = Some(time);
    }

    /// Begins to send a request. The answer is for [`Self::poll_answer`] alone. `remember`:
    /// [`Self::take_written`] gives the head afterwards. Nothing where it carries no requests any
    /// more.
    pub fn send(
        &mut self,
        request: Request<B>,
        remember: bool,
    ) -> Option<impl Future<Output = Answer<B>> + use<B>> {
        let Driver::Hyper(sender, _) = &mut self.driver else { return None };
        self.awaited = true;
        self.handle.expect_head();
        self.handle.remember_head(remember);
        Some(sender.try_send_request(request))
    }

    /// Waits for the answer's head. What comes back with the message was provably never written.
    pub fn poll_answer(
        &mut self,
        mut answer: Pin<&mut impl Future<Output = Answer<B>>>,
        cx: &Context<'_>,
    ) -> Poll<Answer<B>> {
        self.drive(cx);
        // Whatever happens to the answer happens while the driver is polled, here and nowhere
        // else: woken for it, too, the task would be polled once more for nothing.
        let mut unheard = Context::from_waker(Waker::noop());
        let answered = answer.as_mut().poll(&mut unheard);
        self.awaited = !matches!(answered, Poll::Ready(Ok(_)));
        if answered.is_ready() || !self.ended {
            return answered;
        }
        // It ended with the request still in its queue: dropped, it gives the request back.
        self.driver = Driver::Gone;
        answer.poll(&mut unheard)
    }

    /// The head of the last request, where it was to be remembered.
    pub fn take_written(&self) -> Vec<u8> {
        self.handle.take_written()
    }

    /// Moves bytes. From now on the task is woken for it.
    pub fn drive(&mut self, cx: &Context<'_>) {
        self.gate.open();
        self.gate.register(cx.waker());
        self.look();
    }

    /// Asks for a part of the answer's body, and moves bytes for it where that is needed.
    pub fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Driver::Bare(bare) = &mut self.driver {
            self.gate.open();
            self.gate.register(cx.waker());
            return bare.poll(&mut Context::from_waker(&self.waker));
        }
        let mut unheard = Context::from_waker(Waker::noop());
        // To take what is there lets hyper read on, and wakes whom it takes for another task. It
        // reads on when the next part is asked for and not there.
        self.gate.close();
        let mut poll = Pin::new(&mut *body).poll_frame(&mut unheard);
        if poll.is_pending() {
            self.drive(cx);
            self.gate.close();
            poll = Pin::new(body).poll_frame(&mut unheard);
            if poll.is_pending() {
                self.gate.open();
            }
        }
        poll.map_err(BodyError::from)
    }

    /// So many bytes of an answer, and nothing else, are still to come. They are read without
    /// hyper, which has three buffers for whatever else may happen, unless a part of the request
    /// has still to be written.
    pub fn undress(&mut self, left: u64) {
        // hyper counts a request as written that still waits for room in the socket.
        if self.ended || self.handle.is_blocked() {
            return;
        }
        self.driver = match std::mem::replace(&mut self.driver, Driver::Gone) {
            Driver::Hyper(_, driver) => {
                let parts = driver.into_parts();
                Driver::Bare(Bare::new(parts.io, parts.read_buf, left))
            }
            other => other,
        };
    }

    /// Bytes of an answer that are still to come, where they are read without hyper.
    pub(super) fn left(&self) -> Option<u64> {
        match &self.driver {
            Driver::Bare(bare) => Some(bare.left()),
            _ => None,
        }
    }

    /// Gives hyper back what it was taken from. False where the answer has left something else.
    fn dress(&mut self) -> bool {
        let Driver::Bare(bare) = std::mem::replace(&mut self.driver, Driver::Gone) else {
            return false;
        };
        // Nothing of the other side is waited for.
        let dressed = bare.into_wire().and_then(|wire| dial::dress(wire).now_or_never());
        let Some(Ok((sender, driver))) = dressed else { return false };
        self.driver = Driver::Hyper(sender, driver);
        true
    }

    /// The answer is complete: nobody waits for anything any more.
    pub(super) fn rest(&self) {
        self.gate.forget();
    }

    /// Whether it can carry another exchange now, after a look at what has arrived.
    pub(super) fn is_ready(&mut self) -> bool {
        // One that ended with the runtime's budget of the task would have registered nowhere.
        let look = poll_fn(|_| {
            self.look();
            Poll::Ready(())
        });
        let _ = tokio::task::unconstrained(look).now_or_never();
        let ready = self.takes_requests();
        if ready {
            // What it was stirred by has not ended it.
            self.gate.settle();
        }
        ready
    }

    fn takes_requests(&self) -> bool {
        !self.ended && matches!(&self.driver, Driver::Hyper(sender, _) if sender.is_ready())
    }

    fn look(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        if self.ended {
            return;
        }
        // What went wrong is told to the answer or its body.
        self.ended = match &mut self.driver {
            Driver::Hyper(_, driver) => driver.poll_without_shutdown(&mut cx).is_ready(),
            Driver::Bare(_) => false,
            Driver::Gone => true,
        };
    }

    /// The same after an exchange: hyper is mostly done with it by then.
    pub(super) fn settles(&mut self) -> bool {
        if matches!(self.driver, Driver::Bare(_)) && !self.dress() {
            return false;
        }
        let ready = self.takes_requests() || self.is_ready();
        // What has happened so far was our own doing.
        self.gate.settle();
        ready
    }

    /// The same of an idle one: a look only where something has happened since. If its backend
    /// closes it right now, a request comes back unsent. `sure`: for a request that must not come
    /// to a connection that is closed; what the runtime has not heard of yet is asked of the
    /// system.
    pub(super) fn is_still_ready(&mut self, sure: bool) -> bool {
        if sure {
            self.handle.doubt(true);
            let ready = self.is_ready();
            self.handle.doubt(false);
            return ready;
        }
        if self.gate.take_stirred() {
            return self.is_ready();
        }
        self.takes_requests()
    }

    pub(super) fn used(&mut self, now: u64) {
        self.uses = self.uses.saturating_add(1);
        self.idle_since = now;
    }

    /// How long it had been idle when its backend closed it (ms), which had not said when it would.
    pub(super) fn closed_after(&self, now: u64) -> Option<u64> {
        let when = self.gate.stirred_at().unwrap_or(now);
        (self.ended && self.keep_for.is_none()).then(|| when.saturating_sub(self.idle_since))
    }

    /// The same where that was found out by a request: nothing came for it but the end.
    pub(super) fn lost_after(&self) -> Option<u64> {
        let lost = self.ended && self.awaited && self.reused() && self.keep_for.is_none();
        lost.then_some(self.idled)
    }

    /// After a 101: the stream, and what the backend has said on it already.
    pub fn into_tunnel(self) -> Option<(Stream, Bytes)> {
        let Driver::Hyper(_, driver) = self.driver else { return None };
        let parts = driver.into_parts();
        let (stream, held_back) = parts.io.into_parts();
        if held_back.is_empty() {
            return Some((stream, parts.read_buf));
        }
        let mut first = BytesMut::from(parts.read_buf);
        first.extend_from_slice(&held_back);
        Some((stream, first.freeze()))
    }
}
