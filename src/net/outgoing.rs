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

use super::pipe::Pipe;
use super::wire::Wire;
pub use encode::{Framing, announced, field, length};

/// Room for most heads, and a short body behind one (bytes).
const USUAL: usize = 2 * 1024;
/// The buffer for what is written as text is kept if it is no larger than this (bytes).
const KEPT: usize = 4 * 1024;
/// A part of a body that is no larger (bytes) is copied behind what is written already: to say it
/// with that costs less than a second slice, let alone a second write.
const SMALL: usize = 2 * 1024;
/// So much is gathered before it is written.
const GATHERED: usize = 8 * 1024;
/// A body goes by a pipe, where it can, while no less of it is left (bytes).
const PIPED: u64 = 64 * 1024;

/// An error of a message's body.
pub trait Failure: Into<Box<dyn std::error::Error + Send + Sync>> {}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> Failure for E {}

/// A body that a message may have.
pub trait Outgoing: Body<Data = Bytes, Error: Failure> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Failure> + Send + Unpin + 'static> Outgoing for B {}

/// Takes the next part of a body into an empty pipe; nothing where that has to be asked for as a
/// frame. A part has a byte at least.
pub type Fill<B> =
    fn(&mut B, &mut Context<'_>, &mut Pipe) -> Option<Poll<Result<(), <B as Body>::Error>>>;

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
pub struct Sending<B: Outgoing> {
    /// Its head, then small parts of its body and what goes before and behind chunks.
    text: Vec<u8>,
    text_sent: usize,
    /// How much of the text is the head, as long as it is there.
    head: usize,
    /// A larger part, behind the text. It is shortened as it goes.
    data: Bytes,
    /// What goes behind that.
    tail: &'static [u8],
    /// A part that is not in our memory. There is nothing else beside it.
    pipe: Option<Pipe>,
    body: Option<B>,
    framing: Framing,
    fill: Option<Fill<B>>,
    /// Something was written that TLS may still hold.
    flushes: bool,
    /// It has failed. Nothing more is said: nobody must take it for whole.
    broken: bool,
}

impl<B: Outgoing> Default for Sending<B> {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            text_sent: 0,
            head: 0,
            data: Bytes::new(),
            tail: b"",
            pipe: None,
            body: None,
            framing: Framing::Length(0),
            fill: None,
            flushes: false,
            broken: false,
        }
    }
}

impl<B: Outgoing> Sending<B> {
    /// Long bodies may go by pipes: they are sent on a wire that is bare.
    pub fn by_pipe(&mut self, fill: Fill<B>) {
        self.fill = Some(fill);
    }

    /// Where the head of the next message is to be written.
    pub fn head(&mut self) -> &mut Vec<u8> {
        self.text.clear();
        self.text_sent = 0;
        if self.text.capacity() == 0 {
            self.text.reserve(USUAL);
        }
        &mut self.text
    }

    /// The message with that head is to be sent, and this body, if it has one.
    pub fn begin(&mut self, body: Option<B>, framing: Framing) {
        self.head = self.text.len();
        self.framing = framing;
        self.body = body;
    }

    /// The head that was written last; empty where its body has taken its place.
    pub fn take_head(&mut self) -> Vec<u8> {
        self.text_sent = 0;
        let mut head = std::mem::take(&mut self.text);
        head.truncate(self.head);
        head
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
            let more = self.poll_parts(cx)?;
            while !self.is_written() {
                let written = ready!(self.poll_write(wire, cx)).map_err(SendError::Stream)?;
                if written == 0 {
                    let error = io::ErrorKind::WriteZero.into();
                    return Poll::Ready(Err(SendError::Stream(error)));
                }
                self.flushes = true;
            }
            if !more {
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
        if self.text.capacity() > KEPT {
            self.text = Vec::new();
            self.text_sent = 0;
        }
    }

    #[inline(never)] // asked in many places
    fn is_written(&self) -> bool {
        self.text_sent == self.text.len() && self.nothing_behind()
    }

    /// Whether there is nothing but text to be written.
    fn nothing_behind(&self) -> bool {
        self.data.is_empty() && self.tail.is_empty() && self.pipe.is_none()
    }

    /// Asks for parts of the body until there is enough to write. Whether more of them may be there
    /// behind that.
    fn poll_parts(&mut self, cx: &mut Context<'_>) -> Result<bool, SendError> {
        let unsent = self.text_sent == 0 && self.text.len() == self.head;
        let head_alone = unsent && self.nothing_behind();
        if !self.is_written() && !head_alone {
            return Ok(true);
        }
        // What has gone already does not count, or nothing would ever be asked of a body again
        // behind a head of this size.
        while self.data.is_empty() && self.text.len() - self.text_sent < GATHERED {
            if self.is_written() && self.poll_pipe(cx)? {
                return Ok(self.pipe.is_some());
            }
            if !self.poll_body(cx)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks for the next part of a long body by a pipe, where there is one and nothing else to be
    /// written. Whether it was asked: then there is a part in the pipe, or none yet.
    fn poll_pipe(&mut self, cx: &mut Context<'_>) -> Result<bool, SendError> {
        let (Some(fill), Some(body)) = (self.fill, &mut self.body) else { return Ok(false) };
        if !matches!(self.framing, Framing::Length(PIPED..)) {
            return Ok(false);
        }
        let Some(mut pipe) = Pipe::take() else { return Ok(false) };
        match fill(body, cx, &mut pipe) {
            None => return Ok(false),
            Some(Poll::Pending) => {}
            Some(Poll::Ready(Err(error))) => return Err(SendError::Body(io::Error::other(error))),
            Some(Poll::Ready(Ok(()))) => {
                self.count(pipe.holds())?;
                self.let_go_at_end();
                self.pipe = Some(pipe);
            }
        }
        Ok(true)
    }

    /// Where text goes that comes next: behind what is not written yet.
    fn text(&mut self) -> &mut Vec<u8> {
        if self.text_sent > 0 && self.text_sent == self.text.len() {
            self.text.clear();
            (self.text_sent, self.head) = (0, 0);
        }
        &mut self.text
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
        let mut tail: &'static [u8] = b"";
        self.count(data.len())?;
        let ended = self.let_go_at_end();
        if let Framing::Chunked(_) = self.framing {
            encode::chunk(self.text(), &data);
            tail = if ended { b"\r\n0\r\n\r\n" } else { b"\r\n" };
        }
        if data.len() <= SMALL {
            let text = self.text();
            text.extend_from_slice(&data);
            text.extend_from_slice(tail);
        } else {
            (self.data, self.tail) = (data, tail);
        }
        Ok(())
    }

    /// So much of the body goes on its way.
    fn count(&mut self, bytes: usize) -> Result<(), SendError> {
        if let Framing::Length(left) = &mut self.framing {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            *left = left.checked_sub(bytes).ok_or(SendError::Length)?;
        }
        Ok(())
    }

    /// Lets go of a body that is complete, of which nothing more is asked: its time may be over by
    /// then. That it is too short is told when it is asked once more. Whether it has ended.
    fn let_go_at_end(&mut self) -> bool {
        let ended = self.body.as_ref().is_none_or(B::is_end_stream);
        if ended && !matches!(self.framing, Framing::Length(1..)) {
            self.body = None;
        }
        ended
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), SendError> {
        self.body = None;
        match std::mem::replace(&mut self.framing, Framing::Length(0)) {
            Framing::Length(0) | Framing::Close => Ok(()),
            Framing::Length(_) => Err(SendError::Length),
            Framing::Chunked(announced) => {
                encode::last_chunk(self.text(), announced.as_deref(), trailers);
                Ok(())
            }
        }
    }

    fn poll_write<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Some(pipe) = &mut self.pipe {
            let drained = ready!(wire.poll_drain(cx, pipe))?;
            if pipe.holds() == 0 {
                self.pipe = None;
            }
            return Poll::Ready(Ok(drained));
        }
        let text = self.text.get(self.text_sent..).unwrap_or_default();
        let mut written = if self.data.is_empty() {
            ready!(Pin::new(wire).poll_write(cx, if text.is_empty() { self.tail } else { text }))?
        } else {
            let slices = [text, &self.data, self.tail].map(IoSlice::new);
            ready!(Pin::new(wire).poll_write_vectored(cx, &slices))?
        };
        let all = written;
        let mut take = |length: usize| {
            let taken = written.min(length);
            written -= taken;
            taken
        };
        self.text_sent += take(text.len());
        self.data.advance(take(self.data.len()));
        self.tail = self.tail.get(take(self.tail.len())..).unwrap_or_default();
        Poll::Ready(Ok(all))
    }
}

#[cfg(test)]
mod tests;
