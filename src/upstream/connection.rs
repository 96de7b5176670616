//! An HTTP/1.1 connection to a backend, driven by whoever uses it.
// It is polled inside the exchange that has it on loan, not in a task of its own: no wake-ups and
// no hops between tasks on the way of a request, and to drop it is to close it. Nobody polls it
// while it is idle; it is looked at when it is taken and now and then.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::body::Frame;

use crate::net::message::{Request, Response};
use crate::net::outgoing::Outgoing;
use crate::net::pipe::Pipe;
use crate::net::proxy_header::Ends;
use crate::net::wire::{Handle, Wire};

use super::answered::{AnswerError, Answered, Unanswered};
use super::gate::Gate;
use super::http1::Http1;
use super::stream::Stream;

/// What becomes of a request: an answer's head, or why there is none.
pub type Answer = Result<Response<Answered>, Unanswered>;

/// An open connection.
pub struct Connection<B: Outgoing> {
    http: Http1<B>,
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
    pub(super) fn new(wire: Wire<Stream>, told: Option<Ends>, now: u64) -> Self {
        let gate = Arc::new(Gate::default());
        Self {
            handle: Arc::clone(wire.handle()),
            http: Http1::new(wire),
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

    /// What its wire is told.
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The backend said how long it keeps idle connections.
    pub fn learn_idle_time(&mut self, time: Duration) {
        self.keep_for = Some(time);
    }

    /// A request for [`Self::poll_answer`] to send.
    pub fn send(&mut self, request: Request<B>) {
        self.awaited = true;
        self.http.begin(request);
    }

    /// Sends the request and waits for the answer's head.
    pub fn poll_answer(&mut self, cx: &Context<'_>) -> Poll<Answer> {
        let answered = self.poll(cx, Http1::poll_answer);
        self.awaited = !matches!(answered, Poll::Ready(Ok(_)));
        answered.map_err(|error| {
            self.ended = true;
            // A client that has broken off, or an answer that is none, says nothing about how long
            // connections are kept.
            self.awaited = error.is_close() && !self.http.has_heard();
            Unanswered { error, unsent: false }
        })
    }

    /// The head of the last request.
    pub fn take_written(&mut self) -> Vec<u8> {
        self.http.take_written()
    }

    /// Asks for a part of the answer's body.
    pub fn poll_body(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let part = self.poll(cx, Http1::poll_body);
        self.ended |= matches!(part, Poll::Ready(Some(Err(_))));
        part
    }

    /// Whether [`Self::poll_fill`] may be asked for the next part.
    pub fn pipes(&self) -> bool {
        !self.ended && self.http.pipes()
    }

    /// Asks for a part of the answer's body, into an empty pipe. How much it is.
    pub fn poll_fill(
        &mut self,
        cx: &Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, AnswerError>> {
        let part = self.poll(cx, |http, cx| http.poll_fill(cx, pipe));
        self.ended |= matches!(part, Poll::Ready(Err(_)));
        part
    }

    /// Whether all of the answer has come.
    pub fn is_complete(&self) -> bool {
        self.http.is_complete()
    }

    /// Moves bytes. From now on the task is woken for it.
    fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        act: impl FnOnce(&mut Http1<B>, &mut Context<'_>) -> T,
    ) -> T {
        self.gate.open();
        self.gate.register(cx.waker());
        act(&mut self.http, &mut Context::from_waker(&self.waker))
    }

    /// The answer is complete: nobody waits for anything any more.
    pub(super) fn rest(&self) {
        self.gate.forget();
    }

    /// Whether it can carry another exchange now, after a look at what has arrived.
    pub(super) fn is_ready(&mut self) -> bool {
        if !self.takes_requests() {
            return false;
        }
        // One that ended with the runtime's budget of the task would have registered nowhere.
        let look =
            poll_fn(|_| Poll::Ready(self.http.is_stirred(&mut Context::from_waker(&self.waker))));
        self.ended = tokio::task::unconstrained(look).now_or_never().unwrap_or(true);
        if !self.ended {
            // What it was stirred by has not ended it.
            self.gate.settle();
        }
        !self.ended
    }

    fn takes_requests(&self) -> bool {
        !self.ended && self.http.is_reusable()
    }

    /// The same after an exchange.
    pub(super) fn settles(&mut self) -> bool {
        let ready = self.is_ready();
        // What has happened so far was our own doing.
        self.gate.settle();
        if ready {
            self.http.rest();
        }
        ready
    }

    /// The same of an idle one: a look only where something has happened since. `sure`: for a
    /// request that must not come to a connection that is closed; what the runtime has not heard of
    /// yet is asked of the system.
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
    pub fn into_tunnel(self) -> (Stream, Bytes) {
        self.http.into_parts()
    }
}
