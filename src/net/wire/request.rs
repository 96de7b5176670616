//! The head of a client's request, where it is answered without hyper.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::fields::Fields;
use crate::net::message::RequestHead;

use super::Wire;
use super::head::{Found, Framing, HeadLimits};
use super::line::{First, RequestLine, request_line};
use super::plain::{self, Hop};
use super::read::{PIECE, Read};
use super::tracker::Tracker;

/// A request that nothing belongs to but its head.
#[derive(Debug)]
pub struct Alone {
    /// Of any method but `CONNECT`, in HTTP/1.0 or HTTP/1.1. All fields are there, but for what
    /// `Connection` usually says.
    pub head: RequestHead,
    /// Whether the client goes on after it, by `Connection` and its version (RFC 9112 §9.3).
    pub keeps: bool,
    /// Whether the client takes trailers (RFC 9110 §10.1.4).
    pub trailers: bool,
}

/// What is to be done next on a connection.
#[derive(Debug)]
pub enum Next {
    /// A request that can be answered at once.
    Alone(Alone),
    /// One with content, one that asks to change the protocol, or one of a form that is rare.
    Other,
    /// A head was refused. This method is to be answered, GET or HEAD.
    Refused(Method),
    /// Nothing: the client has left, or has kept us waiting too long.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Waits for the next request. `headers`: an empty list, whose memory is used again.
    pub fn poll_request(&mut self, cx: &mut Context<'_>, headers: &mut Fields) -> Poll<Next> {
        let fresh = self.held_back.is_empty()
            && self.tracker.as_ref().is_some_and(Tracker::is_between_heads);
        if fresh && let Some(next) = ready!(self.poll_fresh(cx, headers)) {
            return Poll::Ready(next);
        }
        loop {
            match ready!(self.poll_something(cx)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Poll::Ready(Next::Gone),
            }
            if let Some(method) = self.take_refused() {
                return Poll::Ready(Next::Refused(method));
            }
            if let Some(next) = self.next_there(headers) {
                return Poll::Ready(next);
            }
        }
    }

    /// The usual case: a head comes as a whole, alone, and has nothing odd. It is checked and read
    /// in one pass. None where it is to be looked at in another way.
    fn poll_fresh(&mut self, cx: &mut Context<'_>, headers: &mut Fields) -> Poll<Option<Next>> {
        let mut piece = [std::mem::MaybeUninit::uninit(); PIECE];
        let mut buffer = ReadBuf::uninit(&mut piece);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
            Poll::Ready(_) => return Poll::Ready(Some(Next::Gone)),
            Poll::Pending if self.waited_too_long(cx).is_some() => {
                return Poll::Ready(Some(Next::Gone));
            }
            Poll::Pending => return Poll::Pending,
        }
        let limits = self.tracker.as_ref().map(Tracker::limits);
        let there = Bytes::copy_from_slice(buffer.filled());
        let read = limits.and_then(|limits| {
            read_request(&there, limits, headers).filter(|(_, length)| *length <= limits.size)
        });
        let Some((alone, length)) = read else {
            self.held_back.extend_from_slice(&there);
            self.inspect_held_back();
            return Poll::Ready(None);
        };
        self.handle.note(1);
        self.after_step(true, None);
        if length < there.len() {
            self.held_back.extend_from_slice(there.get(length..).unwrap_or_default());
            self.inspect_held_back();
        } else {
            self.handle.set_between(true);
        }
        Poll::Ready(Some(Next::Alone(alone)))
    }

    /// Takes the next head of what has come, if there is one.
    fn next_there(&mut self, headers: &mut Fields) -> Option<Next> {
        let Some(tracker) = &self.tracker else { return Some(Next::Other) };
        // Of several heads it is known of the last one only whether there is more.
        if self.handle.open() == 1 && !tracker.at_head() {
            return Some(Next::Other);
        }
        let limits = *tracker.limits();
        let there = self.held_back.split_to(self.cleared).freeze();
        self.cleared = 0;
        // RFC 9112 §2.2: empty lines before a request line are ignored.
        let empty = there.iter().take_while(|byte| is_empty_line(**byte)).count();
        if empty == there.len() {
            return None;
        }
        let Some((alone, length)) = read_request(&there.slice(empty..), &limits, headers) else {
            self.take_back(&there);
            return Some(Next::Other);
        };
        self.take_back(there.get(empty + length..).unwrap_or_default());
        Some(Next::Alone(alone))
    }

    /// Ready when the client has left while it is being answered. What it says meanwhile is kept,
    /// up to a whole head.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let refused = |wire: &Self| wire.tracker.as_ref().is_some_and(Tracker::refused);
        while self.held_back.iter().take(self.cleared).all(|byte| is_empty_line(*byte))
            && !refused(self)
        {
            match ready!(self.read_behind(cx)) {
                Ok(Read::End) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }
}

/// Whether it is a byte of the empty lines that may stand before a request.
fn is_empty_line(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Reads the head at the front. What it says, and its length; none where it is not complete,
/// something belongs to it, or there is anything odd about it. `headers`: see
/// [`Wire::poll_request`].
pub(super) fn read_request(
    bytes: &Bytes,
    limits: &HeadLimits,
    headers: &mut Fields,
) -> Option<(Alone, usize)> {
    let RequestLine { method, target, first: First { rest, http10 } } =
        request_line(bytes, limits).ok()??;
    let method = Method::from_bytes(method).ok().filter(|method| *method != Method::CONNECT)?;
    let uri = Uri::from_maybe_shared(bytes.slice_ref(target)).ok()?;
    let mut found = Found { http10, ..Found::default() };
    headers.prepare();
    let mut hop = Hop::default();
    let from = bytes.len() - rest.len();
    let end = plain::fields(bytes, from, limits, (&mut found, &mut hop), headers);
    let alone = found.framing() == Ok(Framing::None) && !found.websocket;
    let Some(end) = end.filter(|_| alone) else {
        headers.clear();
        return None;
    };
    let version = if http10 { Version::HTTP_10 } else { Version::HTTP_11 };
    let headers = std::mem::take(headers);
    let head = RequestHead { method, uri, version, headers, ..RequestHead::default() };
    Some((Alone { head, keeps: hop.goes_on(http10), trailers: found.trailers }, end))
}
