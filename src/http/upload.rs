//! The body of a request on its way to a backend: limited, timed, and recovered while untouched.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::net::clock::Patience;
use crate::net::fields;
use crate::net::wire::Handle;
use crate::telemetry::reason::Reason;
use crate::upstream::AnswerError;

use super::header::trailers;

/// What the exchange knows about its request's body while a connection has it.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    ended: AtomicBool,
    failed: AtomicU8,
    /// Its next part was asked for and is not there yet.
    awaits_client: AtomicBool,
    /// The body, where it was dropped before a byte of it was taken; over HTTP/2 wherever it was
    /// dropped before its end.
    back: Mutex<Option<Incoming>>,
}

impl Progress {
    /// Of a body that nobody was given.
    pub(super) fn unread(body: Incoming) -> Self {
        Self { back: Mutex::new(Some(body)), ..Self::default() }
    }

    /// Bytes taken from the client.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether all of it was taken.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether the client is who keeps it waiting.
    pub(super) fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Relaxed)
    }

    /// Why it could not be taken to its end, where that was the client's doing.
    pub fn failure(&self) -> Option<Reason> {
        match self.failed.load(Ordering::Relaxed) {
            1 => Some(Reason::BodyTooLarge),
            2 => Some(Reason::ClientBodyTimeout),
            3 => Some(Reason::ClientGone),
            4 => Some(Reason::BadRequest),
            _ => None,
        }
    }

    fn fail(&self, reason: Reason) {
        let code = match reason {
            Reason::BodyTooLarge => 1,
            Reason::ClientBodyTimeout => 2,
            Reason::BadRequest => 4,
            _ => 3,
        };
        self.failed.store(code, Ordering::Relaxed);
    }

    /// The body of an attempt that failed, if nothing of it was taken.
    pub(super) fn recover(&self) -> Option<Incoming> {
        if self.bytes() == 0 { self.rest() } else { None }
    }

    /// What nobody has taken of it.
    pub(super) fn rest(&self) -> Option<Incoming> {
        self.back.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn give_back(&self, rest: Incoming) {
        *self.back.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
    }
}

/// A request's body as it goes to a backend.
#[derive(Debug)]
pub enum RequestBody {
    /// There is none.
    Empty,
    /// From the client. Boxed: most requests have none, and are moved about by value.
    Streaming(Box<Upload>),
}

/// A body that comes from the client.
#[derive(Debug)]
pub struct Upload {
    incoming: Option<Incoming>,
    progress: Arc<Progress>,
    /// The client's connection, which knows why a body broke off.
    wire: Arc<Handle>,
    limit: Option<u64>,
    patience: Patience,
}

impl Upload {
    /// A body with a limit and a wait for progress.
    pub fn new(
        incoming: Incoming,
        progress: Arc<Progress>,
        wire: Arc<Handle>,
        limit: Option<u64>,
        timeout: Option<Duration>,
    ) -> Self {
        Self { incoming: Some(incoming), progress, wire, limit, patience: Patience::new(timeout) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenUpload>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let poll = Pin::new(&mut *incoming).poll_frame(cx);
        self.progress.awaits_client.store(poll.is_pending(), Ordering::Relaxed);
        match poll {
            Poll::Ready(Some(Ok(frame))) => {
                self.patience.moved();
                if let Some(data) = frame.data_ref() {
                    let more = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    let bytes = self.progress.bytes().saturating_add(more);
                    self.progress.bytes.store(bytes, Ordering::Relaxed);
                    if self.limit.is_some_and(|limit| bytes > limit) {
                        return self.broken(Reason::BodyTooLarge, None);
                    }
                }
                // hyper asks for nothing after trailers.
                if frame.is_trailers() || incoming.is_end_stream() {
                    self.progress.ended.store(true, Ordering::Relaxed);
                }
                Poll::Ready(Some(Ok(without_claims(frame))))
            }
            Poll::Ready(Some(Err(error))) => {
                let refused = self.wire.refusal().is_some();
                let reason = if refused { Reason::BadRequest } else { Reason::ClientGone };
                self.broken(reason, Some(error))
            }
            // hyper tells a stream that was reset without an error as one that ended.
            Poll::Ready(None) if !incoming.is_end_stream() && self.wire.is_framed() => {
                self.broken(Reason::ClientGone, None)
            }
            Poll::Ready(None) => {
                self.progress.ended.store(true, Ordering::Relaxed);
                Poll::Ready(None)
            }
            Poll::Pending => match self.patience.poll_lost(cx) {
                Poll::Ready(()) => self.broken(Reason::ClientBodyTimeout, None),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn broken<T>(
        &mut self,
        reason: Reason,
        error: Option<hyper::Error>,
    ) -> Poll<Option<Result<T, BrokenUpload>>> {
        self.progress.fail(reason);
        let rest = self.incoming.take();
        let goes_on = matches!(reason, Reason::BodyTooLarge | Reason::ClientBodyTimeout);
        if let Some(rest) = rest.filter(|_| goes_on && self.wire.is_framed()) {
            self.progress.give_back(rest);
        }
        Poll::Ready(Some(Err(BrokenUpload(reason, error))))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let wanted = self.progress.bytes() == 0 || self.wire.is_framed();
        if wanted
            && !self.progress.ended()
            && let Some(incoming) = self.incoming.take()
        {
            self.progress.give_back(incoming);
        }
    }
}

/// A request body that ended before its end: the backend must not see it as complete.
#[derive(Debug, thiserror::Error)]
#[error("the request body broke off: {0}")]
pub struct BrokenUpload(Reason, #[source] Option<hyper::Error>);

impl BrokenUpload {
    /// Why an answer broke off, where that was because its request did.
    pub(super) fn behind(error: &AnswerError) -> Option<Reason> {
        let AnswerError::Body(error) = error else { return None };
        error.get_ref()?.downcast_ref::<Self>().map(|Self(reason, _)| *reason)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenUpload;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenUpload>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(upload) => upload.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(upload) => upload.incoming.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(upload) => {
                upload.incoming.as_ref().map_or_else(SizeHint::default, Body::size_hint)
            }
        }
    }
}

/// A frame of a body, where trailers say nothing about who the client is.
fn without_claims(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut fields) => {
            trailers::strip(&mut fields);
            fields::detach(&mut fields);
            Frame::trailers(fields)
        }
        Err(frame) => frame,
    }
}
