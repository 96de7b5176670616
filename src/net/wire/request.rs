//! The head of a client's request, where it is answered without hyper.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderName, TE};
use http::{Method, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::sys;
use super::Wire;
use super::answer::says;
use super::head::{First, Found, Framing, HeadLimits, RequestLine, fields, request_line};
use super::read::Read;
use super::tracker::Tracker;

/// What the head of a request says.
#[derive(Debug)]
pub struct RequestHead {
    /// Any but `CONNECT`.
    pub method: Method,
    /// As the client wrote it.
    pub uri: Uri,
    /// HTTP/1.0, else HTTP/1.1.
    pub http10: bool,
    /// All of them.
    pub headers: HeaderMap,
    /// Whether the client goes on after it, by `Connection` and its version (RFC 9112 §9.3).
    pub keeps: bool,
    /// Whether the client takes trailers (RFC 9110 §10.1.4).
    pub trailers: bool,
}

/// What is to be done next on a connection.
#[derive(Debug)]
pub enum Next {
    /// Nothing: there is no head yet.
    Nothing,
    /// A request that nothing belongs to but its head.
    Alone(Box<RequestHead>),
    /// One with content, one that asks to change the protocol, or one of a form that is rare.
    Other,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes the next head, if there is one that nothing else belongs to. `headers`: an empty map,
    /// whose memory is used again.
    pub fn next_request(&mut self, headers: HeaderMap) -> Next {
        let Some(tracker) = &self.tracker else { return Next::Other };
        // Of several heads it is known of the last one only whether there is more.
        if self.handle.open() == 1 && !tracker.at_head() {
            return Next::Other;
        }
        let limits = *tracker.limits();
        let there = self.held_back.split_to(self.cleared).freeze();
        self.cleared = 0;
        // RFC 9112 §2.2: empty lines before a request line are ignored.
        let empty = there.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if empty == there.len() {
            return Next::Nothing;
        }
        let Some((head, length)) = read_request(&there.slice(empty..), &limits, headers) else {
            self.take_back(&there);
            return Next::Other;
        };
        if empty + length < there.len() {
            self.take_back(&there.slice(empty + length..));
        }
        Next::Alone(Box::new(head))
    }

    /// Ready when the client has left while it is being answered. What it says meanwhile is kept,
    /// as much as comes at once.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.held_back.is_empty() || self.tracker.as_ref().is_some_and(Tracker::refused) {
            return Poll::Pending;
        }
        match self.read_behind(cx) {
            Poll::Ready(Ok(Read::End) | Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Reads the head at the front, which was checked before. What it says, and its length; none where
/// something belongs to it, or it is of a form that is rare.
fn read_request(
    bytes: &Bytes,
    limits: &HeadLimits,
    mut headers: HeaderMap,
) -> Option<(RequestHead, usize)> {
    let RequestLine { method, target, first: First { rest, http10 } } =
        request_line(bytes, limits).ok()??;
    let method = Method::from_bytes(method).ok().filter(|method| *method != Method::CONNECT)?;
    let uri = Uri::from_maybe_shared(bytes.slice_ref(target)).ok()?;
    let mut found = Found { http10, ..Found::default() };
    let (mut keeps, mut closes, mut trailers) = (!http10, false, false);
    let mut misnamed = false;
    let behind = fields(rest, limits, &mut found, |name, value| {
        let Ok(name) = HeaderName::from_bytes(name) else {
            misnamed = true;
            return;
        };
        let value = sys::field_value(bytes, value.trimmed());
        if name == CONNECTION {
            closes |= says(&value, b"close");
            keeps |= says(&value, b"keep-alive");
        } else if name == TE {
            trailers |= says(&value, b"trailers");
        }
        headers.append(name, value);
    });
    let behind = behind.ok()??;
    let alone = found.framing() == Ok(Framing::None) && !found.websocket;
    let head = RequestHead { method, uri, http10, headers, keeps: keeps && !closes, trailers };
    (alone && !misnamed).then(|| (head, bytes.len() - behind.len()))
}
