//! An HTTP/1.1 connection to a backend, driven by whoever uses it.
// hyper's connection future runs inside the exchange that has it on loan, not in a task of its
// own: no wake-ups and no hops between tasks on the way of a request, and to drop it is to close
// it. Nobody polls it while it is idle; it is looked at when it is taken and now and then.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::net::proxy_header::Ends;
use crate::net::socket;
use crate::net::wire::{Glance, Handle, Wire};

use super::gate::Gate;

/// TCP, or TLS over it.
#[derive(Debug)]
pub enum Stream {
    /// Plain.
    Tcp(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What hyper takes for an error of a body.
pub trait Failure: Into<Box<dyn std::error::Error + Send + Sync>> {}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> Failure for E {}

/// A body that requests to backends may have.
pub trait Outgoing: Body<Data = Bytes, Error: Failure> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Failure> + Send + Unpin + 'static> Outgoing for B {}

/// What becomes of a request: an answer's head, or why there is none.
pub type Answer<B> = Result<Response<Incoming>, TrySendError<Request<B>>>;

/// An open connection.
pub struct Connection<B: Outgoing> {
    sender: http1::SendRequest<B>,
    /// Gone once it could only keep a request from failing.
    driver: Option<http1::Connection<Wire<Stream>, B>>,
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
            sender,
            driver: Some(driver),
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
    /// [`Self::take_written`] gives the head afterwards.
    pub fn send(
        &mut self,
        request: Request<B>,
        remember: bool,
    ) -> impl Future<Output = Answer<B>> + use<B> {
        self.awaited = true;
        self.handle.expect_head();
        self.handle.remember_head(remember);
        self.sender.try_send_request(request)
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
        self.driver = None;
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
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
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
        poll
    }

    /// The answer is complete: nobody waits for anything any more.
    pub(super) fn rest(&self) {
        self.gate.forget();
    }

    /// Whether it can carry another exchange now, after a look at what has arrived.
    pub(super) fn is_ready(&mut self) -> bool {
        self.look();
        !self.ended && self.sender.is_ready()
    }

    fn look(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        if !self.ended
            && self.driver.as_mut().is_none_or(|it| it.poll_without_shutdown(&mut cx).is_ready())
        {
            // What went wrong is told to the answer or its body.
            self.ended = true;
        }
    }

    /// The same after an exchange: hyper is mostly done with it by then.
    pub(super) fn settles(&mut self) -> bool {
        let ready = (!self.ended && self.sender.is_ready()) || self.is_ready();
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
        !self.ended && self.sender.is_ready()
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
        let parts = self.driver?.into_parts();
        let (stream, held_back) = parts.io.into_parts();
        if held_back.is_empty() {
            return Some((stream, parts.read_buf));
        }
        let mut first = BytesMut::from(parts.read_buf);
        first.extend_from_slice(&held_back);
        Some((stream, first.freeze()))
    }
}

impl Glance for Stream {
    // Under TLS, too, whatever comes between two exchanges is a farewell, or costs a connection.
    fn stirred(&self) -> bool {
        match self {
            Self::Tcp(stream) => socket::stirred(stream),
            Self::Tls(stream) => socket::stirred(stream.get_ref().0),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }
}
