//! A message of HTTP/1.1 on its way: head and body, with a limit to what is held of it.

mod encode;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::header::HeaderMap;
use http_body::{Body, Frame};
use hyper::rt::Write as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::Wire;
pub use encode::{Framing, announced, field, length};

/// The buffer for heads is kept if it is no larger than this (bytes).
const KEPT: usize = 4 * 1024;

/// An error of a message's body.
pub trait Failure: Into<Box<dyn std::error::Error + Send + Sync>> {}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> Failure for E {}

/// A body that a message may have.
pub trait Outgoing: Body<Data = Bytes, Error: Failure> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Failure> + Send + Unpin + 'static> Outgoing for B {}

/// Why a message was not sent to its end.
#[derive(Debug)]
pub enum SendError {
    /// The connection broke.
    Stream(io::Error),
    /// The body broke off.
    Body(io::Error),
    /// The body is not as long as the head says.
    Length,
}

/// A message on its way.
#[derive(Debug)]
pub struct Sending<B> {
    head: Vec<u8>,
    /// Of a chunk: its size; of the last one: all of it.
    line: Vec<u8>,
    data: Bytes,
    /// What goes behind the data.
    tail: &'static [u8],
    /// How much of head, line and data together has gone; data is shortened instead.
    head_sent: usize,
    line_sent: usize,
    body: Option<B>,
    framing: Framing,
    /// Something was written that TLS may still hold.
    flushes: bool,
    /// It has failed. Nothing more is said: its backend must not take it for whole.
    broken: bool,
}

impl<B> Default for Sending<B> {
    fn default() -> Self {
        Self {
            head: Vec::new(),
            line: Vec::new(),
            data: Bytes::new(),
            tail: b"",
            head_sent: 0,
            line_sent: 0,
            body: None,
            framing: Framing::Length(0),
            flushes: false,
            broken: false,
        }
    }
}

impl<B: Outgoing> Sending<B> {
    /// Where the head of the next message is to be written.
    pub fn head(&mut self) -> &mut Vec<u8> {
        self.head.clear();
        self.head_sent = 0;
        &mut self.head
    }

    /// The message with that head is to be sent, and this body, if it has one.
    pub fn begin(&mut self, body: Option<B>, framing: Framing) {
        self.framing = framing;
        self.line.clear();
        self.line_sent = 0;
        self.body = body;
    }

    /// The head that was written last.
    pub fn take_head(&mut self) -> Vec<u8> {
        self.head_sent = 0;
        std::mem::take(&mut self.head)
    }

    /// Writes until all has been written, or somebody is to be waited for. Nothing happens any more
    /// after an error.
    ///
    /// # Errors
    /// Of the stream and of the body.
    pub fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        if self.broken {
            return Poll::Pending;
        }
        let poll = self.poll_all(wire, cx);
        self.broken = matches!(poll, Poll::Ready(Err(_)));
        poll
    }

    fn poll_all<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            // What there is of a body goes with the head.
            let asked = if self.is_body_written() { self.poll_body(cx)? } else { true };
            while !self.is_written() {
                let written = ready!(self.poll_write(wire, cx)).map_err(SendError::Stream)?;
                if written == 0 {
                    let error = io::ErrorKind::WriteZero.into();
                    return Poll::Ready(Err(SendError::Stream(error)));
                }
                self.flushes = true;
            }
            if !asked {
                if self.flushes {
                    ready!(Pin::new(wire).poll_flush(cx)).map_err(SendError::Stream)?;
                    self.flushes = false;
                }
                return if self.body.is_some() { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
        }
    }

    /// Whether all of the message has been sent.
    pub fn is_complete(&self) -> bool {
        self.body.is_none() && self.is_written() && !self.flushes && !self.broken
    }

    /// Lets go of what an idle connection needs not.
    pub fn rest(&mut self) {
        if self.head.capacity() > KEPT {
            self.head = Vec::new();
            self.head_sent = 0;
        }
        self.line = Vec::new();
        self.line_sent = 0;
    }

    fn is_written(&self) -> bool {
        self.head_sent == self.head.len() && self.is_body_written()
    }

    fn is_body_written(&self) -> bool {
        self.line_sent == self.line.len() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Asks for the next part of the body. Whether there is any, or an end, to be sent.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<bool, SendError> {
        loop {
            let Some(body) = &mut self.body else { return Ok(false) };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Some(Err(error))) => {
                    return Err(SendError::Body(io::Error::other(error)));
                }
                Poll::Ready(Some(Ok(frame))) => Some(frame),
                Poll::Ready(None) => None,
            };
            match frame.map(Frame::into_data) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => return self.add(data).map(|()| true),
                Some(Err(frame)) => return self.end(frame.trailers_ref()).map(|()| true),
                None => return self.end(None).map(|()| true),
            }
        }
    }

    fn add(&mut self, data: Bytes) -> Result<(), SendError> {
        match &mut self.framing {
            Framing::Length(left) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left = left.checked_sub(length).ok_or(SendError::Length)?;
                // Nothing more is asked of a body that is complete.
                if *left == 0 && self.body.as_ref().is_some_and(B::is_end_stream) {
                    self.body = None;
                }
            }
            Framing::Close => {}
            Framing::Chunked(_) => {
                self.line.clear();
                self.line_sent = 0;
                encode::chunk(&mut self.line, &data);
                self.tail = b"\r\n";
            }
        }
        self.data = data;
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), SendError> {
        self.body = None;
        match &self.framing {
            Framing::Length(0) | Framing::Close => Ok(()),
            Framing::Length(_) => Err(SendError::Length),
            Framing::Chunked(announced) => {
                self.line.clear();
                self.line_sent = 0;
                encode::last_chunk(&mut self.line, announced, trailers);
                Ok(())
            }
        }
    }

    fn poll_write<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let head = self.head.get(self.head_sent..).unwrap_or_default();
        let line = self.line.get(self.line_sent..).unwrap_or_default();
        let mut written = if line.is_empty() && self.data.is_empty() {
            ready!(Pin::new(wire).poll_write(cx, if head.is_empty() { self.tail } else { head }))?
        } else {
            let slices = [head, line, &self.data, self.tail].map(IoSlice::new);
            ready!(Pin::new(wire).poll_write_vectored(cx, &slices))?
        };
        let all = written;
        let mut take = |length: usize| {
            let taken = written.min(length);
            written -= taken;
            taken
        };
        self.head_sent += take(head.len());
        self.line_sent += take(line.len());
        self.data.advance(take(self.data.len()));
        self.tail = self.tail.get(take(self.tail.len())..).unwrap_or_default();
        Poll::Ready(Ok(all))
    }
}
