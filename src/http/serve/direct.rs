//! HTTP/1 to a client without hyper: requests that have no content, one after another.
// Most requests are such. Their heads were checked and found on the wire already, so hyper would
// read them a second time into a buffer of its own; what it does for content, for a change of
// protocol and for whatever is rare is left to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Version};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::encode::{self, Content, Wanted};
use crate::http::body::Body;
use crate::http::peer::Peer;
use crate::net::fields::Fields;
use crate::net::message::{RequestHead, Response};
use crate::net::outgoing::{Framing, Sending};
use crate::net::wire::{Alone, Next, Wire};

/// A connection whose requests are answered here. `A` begins an exchange, `F`. It is called by its
/// type and not by a pointer, so that the compiler can make an exchange where it stays: it is
/// large, and to move it there costs more than to begin it.
pub(super) struct Direct<S, A, F> {
    wire: Box<Wire<S>>,
    peer: Arc<Peer>,
    answer: A,
    /// Until there is an answer's head.
    exchange: Pin<Box<Option<F>>>,
    wanted: Wanted,
    sending: Sending<Body>,
    /// Something is asked that was not answered to its end.
    busy: bool,
    /// Memory of a list that is not needed any more.
    fields: Fields,
}

/// What becomes of a connection after an answer.
pub(super) enum After {
    /// The next request.
    Next,
    /// Nothing: that was the last one.
    Last,
    /// It broke, or its client has left.
    Broken,
}

impl<S, A, F> Direct<S, A, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(RequestHead, Arc<Peer>) -> F,
    F: Future<Output = Response<Body>>,
{
    pub(super) fn new(wire: Box<Wire<S>>, peer: Arc<Peer>, answer: A) -> Self {
        let mut sending = Sending::default();
        if wire.is_bare() {
            sending.by_pipe(Body::poll_piped);
        }
        Self {
            wire,
            peer,
            answer,
            exchange: Box::pin(None),
            wanted: Wanted::last(&Method::GET),
            sending,
            busy: false,
            fields: Fields::new(),
        }
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// The wire, where no request is being answered.
    pub(super) fn into_wire(self) -> Box<Wire<S>> {
        let mut wire = self.wire;
        wire.take_back(&[]);
        wire
    }

    /// Waits for the next request.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.wire.poll_request(cx, &mut self.fields)
    }

    /// A request is to be answered.
    pub(super) fn begin(&mut self, Alone { head, keeps, trailers }: Alone) {
        let http10 = head.version == Version::HTTP_10;
        self.wanted = Wanted { http10, head: head.method == Method::HEAD, keeps, trailers };
        self.exchange.set(Some((self.answer)(head, Arc::clone(&self.peer))));
        self.busy = true;
    }

    /// Answers the request. `ends`: it is the last one, as far as we are concerned.
    pub(super) fn poll_answered(&mut self, cx: &mut Context<'_>, ends: bool) -> Poll<After> {
        let poll = self.poll_sent(cx, ends);
        if poll.is_pending() && self.wire.poll_gone(cx).is_ready() {
            // Nobody waits for it any more; to drop it is to tell its backend.
            return Poll::Ready(After::Broken);
        }
        poll
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>, ends: bool) -> Poll<After> {
        if let Some(exchange) = self.exchange.as_mut().as_pin_mut() {
            let response = ready!(exchange.poll(cx));
            self.exchange.set(None);
            self.say(response, ends);
        }
        match ready!(self.sending.poll(&mut self.wire, cx)) {
            Ok(()) => {
                self.busy = false;
                Poll::Ready(if self.wanted.keeps { After::Next } else { After::Last })
            }
            Err(_) => Poll::Ready(After::Broken),
        }
    }

    fn say(&mut self, response: Response<Body>, ends: bool) {
        let Response { mut head, body } = response;
        self.wanted.keeps &= !ends;
        let (content, body) = content(body);
        let to = self.sending.head();
        let (framing, keeps) = encode::head(to, &head, content, self.wanted);
        self.wanted.keeps = keeps;
        self.sending.begin(body.filter(|_| framing != Framing::Length(0)), framing);
        head.headers.clear();
        self.fields = head.headers;
    }
}

/// Content that is there, and what it comes by.
fn content(body: Body) -> (Content, Option<Body>) {
    if body.is_end_stream() {
        return (Content::None, None);
    }
    let exact = body.size_hint().exact();
    (exact.map_or(Content::Unknown, Content::Known), Some(body))
}

/// All of an answer of ours, behind which the connection ends. Its exchange ends here, so that its
/// body must be ours: nothing of a backend's is awaited.
pub(super) fn bytes(response: Response<Body>, method: &Method) -> Bytes {
    let Response { head, body } = response;
    let (length, body) = content(body);
    let mut text = Vec::new();
    encode::head(&mut text, &head, length, Wanted::last(method));
    if let Some(mut body) = body {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) {
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
    }
    text.into()
}
