//! HTTP/1.1 as a client speaks it: one exchange at a time on one connection (RFC 9112).
// hyper's client is made for many who share a connection: a task that drives it, channels between
// that and whoever waits, buffers for each way. An exchange of ours has its connection for itself,
// polls it within its own task, and knows what it waits for: half of the work is left.

mod chunked;
mod encode;

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use hyper::body::Frame;

use super::answered::{AnswerError, Answered};
use super::stream::Stream;
use crate::config::defaults;
use crate::net::fields::Fields;
use crate::net::message::{Request, Response};
use crate::net::outgoing::{Outgoing, Sending};
use crate::net::pipe::Pipe;
use crate::net::wire::{HeadLimits, Refusal, Wire, is_whole_answer, read_answer};
use chunked::{Chunked, Part};

/// What is read at once where a head is awaited, or a chunk's size (bytes).
const FIRST: usize = 8 * 1024;
/// Interim answers (RFC 9110 §15.2) before the final one.
const INTERIM: u32 = 16;

const LIMITS: HeadLimits = HeadLimits {
    size: defaults::BACKEND_HEADER_SIZE,
    fields: defaults::BACKEND_HEADERS,
    target: 0,
};

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Http1<B: Outgoing> {
    wire: Wire<Stream>,
    request: Sending<B>,
    /// Why the request has failed, while there is more of the answer.
    failed: Option<AnswerError>,
    answer: Receiving,
    /// Read, and not used yet.
    there: BytesMut,
    /// Of the body, what came with the head. It goes before that.
    early: Bytes,
    /// Memory of a list that is not needed any more.
    fields: Fields,
}

/// An answer as it comes.
#[derive(Debug)]
struct Receiving {
    extent: Extent,
    /// It is one to HEAD, which has no content whatever it says.
    to_head: bool,
    /// Whether the backend goes on after it.
    keeps: bool,
    searched: usize,
    interim: u32,
}

/// How much of an answer is still to come.
#[derive(Debug)]
enum Extent {
    /// Its head, and what that says.
    Head,
    Length(u64),
    Chunks(Box<Chunked>),
    /// Whatever comes until the connection ends.
    Open,
    /// Nothing: it is complete, or there was no request.
    None,
}

/// What the front of an answer is.
enum Head {
    /// A head that is not complete.
    Unfinished,
    /// One that another follows (RFC 9110 §15.2).
    Interim,
    /// The head of the answer.
    Final(Response<Answered>),
}

impl<B: Outgoing> Http1<B> {
    pub(super) fn new(wire: Wire<Stream>) -> Self {
        let (extent, to_head, keeps) = (Extent::None, false, true);
        let answer = Receiving { extent, to_head, keeps, searched: 0, interim: 0 };
        let (request, there, early) = (Sending::default(), BytesMut::new(), Bytes::new());
        let (failed, fields) = (None, Fields::new());
        Self { wire, request, failed, answer, there, early, fields }
    }

    /// A request that is to be sent.
    pub(super) fn begin(&mut self, request: Request<B>) {
        self.answer.extent = Extent::Head;
        self.answer.to_head = request.head.method == Method::HEAD;
        self.answer.interim = 0;
        let Request { mut head, body } = request;
        let there = !body.is_end_stream();
        let exact = if there { body.size_hint().exact() } else { Some(0) };
        let to = self.request.head();
        let framing = encode::head(to, (&head.method, &head.uri), &head.headers, exact);
        self.request.begin(there.then_some(body), framing);
        head.headers.clear();
        self.fields = head.headers;
    }

    /// The head that was written last.
    pub(super) fn take_written(&mut self) -> Vec<u8> {
        self.request.take_head()
    }

    /// Sends what there is to send, and waits for the answer's head.
    pub(super) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Answered>, AnswerError>> {
        self.poll_request(cx);
        let answered = self.poll_head(cx);
        self.unless_failed(answered)
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.request.poll(&mut self.wire, cx) {
            self.failed = Some(error.into());
        }
    }

    /// What there is of an answer goes before what has become of the request, which is told when
    /// somebody would wait for more.
    fn unless_failed<T>(
        &mut self,
        answer: Poll<Result<T, AnswerError>>,
    ) -> Poll<Result<T, AnswerError>> {
        match self.failed.take() {
            Some(error) if answer.is_pending() => Poll::Ready(Err(error)),
            failed => {
                self.failed = failed;
                answer
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Answered>, AnswerError>> {
        loop {
            // Nearly every head comes as a whole. One in pieces is not read with each of them.
            let searched = self.answer.searched;
            let whole = searched == 0 || is_whole_answer(&self.there, searched, &LIMITS)?;
            if whole && !self.there.is_empty() {
                match self.read_head()? {
                    Head::Final(response) => return Poll::Ready(Ok(response)),
                    Head::Interim => continue,
                    Head::Unfinished => {}
                }
            }
            is_whole_answer(&self.there, searched, &LIMITS)?;
            self.answer.searched = self.there.len();
            let begun = !self.there.is_empty();
            let read = ready!(self.wire.poll_more(cx, &mut self.there, FIRST));
            match read.map_err(AnswerError::Stream)? {
                0 if begun => return Poll::Ready(Err(Refusal::Truncated.into())),
                0 => return Poll::Ready(Err(AnswerError::Closed)),
                _ => {}
            }
        }
    }

    /// Reads the head at the front.
    fn read_head(&mut self) -> Result<Head, Refusal> {
        let bytes = self.there.split().freeze();
        let Some((answer, length)) = read_answer(&bytes, &LIMITS, &mut self.fields)? else {
            self.there = BytesMut::from(bytes);
            return Ok(Head::Unfinished);
        };
        self.answer.searched = 0;
        let behind = bytes.slice(length..);
        let status = answer.head.status;
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        if switches && !self.request.is_complete() {
            // What is left of the request would come after the first bytes of the tunnel.
            return Err(Refusal::StatusLine);
        }
        if status.is_informational() && !switches {
            self.answer.interim += 1;
            if self.answer.interim > INTERIM {
                return Err(Refusal::TooManyInterim);
            }
            self.fields = answer.head.headers;
            self.fields.clear();
            self.there.extend_from_slice(&behind);
            return Ok(Head::Interim);
        }
        // RFC 9112 §6.3.
        let empty = switches
            || self.answer.to_head
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let (extent, length) = match answer.length {
            _ if empty => (Extent::None, Some(0)),
            _ if answer.chunked => (Extent::Chunks(Box::default()), None),
            Some(0) => (Extent::None, Some(0)),
            Some(length) => (Extent::Length(length), Some(length)),
            None => (Extent::Open, None),
        };
        self.answer.keeps = answer.keeps && !switches && !matches!(extent, Extent::Open);
        // What is there of a body of known length goes on as it is.
        self.early = match extent {
            Extent::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                behind.slice(..length.min(behind.len()))
            }
            _ => Bytes::new(),
        };
        if let Some(rest) = behind.get(self.early.len()..).filter(|rest| !rest.is_empty()) {
            self.there.extend_from_slice(rest);
        }
        self.answer.extent = extent;
        Ok(Head::Final(Response { head: answer.head, body: Answered::Http1 { length } }))
    }

    /// The next part of the answer's body. What is left of the request is sent meanwhile.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        self.poll_request(cx);
        let part = self.poll_part(cx);
        self.poll_told(part).map(Result::transpose)
    }

    /// Whether what comes next may go by a pipe: the middle of a body, of known length, over TCP.
    pub(super) fn pipes(&self) -> bool {
        let middle = self.early.is_empty() && self.there.is_empty();
        middle && matches!(self.answer.extent, Extent::Length(_)) && self.wire.is_bare()
    }

    /// The next part of such a body, into an empty pipe. How much it is.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, AnswerError>> {
        self.poll_request(cx);
        let part = self.poll_filled(cx, pipe);
        self.poll_told(part)
    }

    fn poll_filled(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, AnswerError>> {
        let Extent::Length(left) = self.answer.extent else { return Poll::Ready(Ok(0)) };
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let read = ready!(self.wire.poll_fill(cx, pipe, most)).map_err(AnswerError::Stream)?;
        self.took(read)?;
        Poll::Ready(Ok(read))
    }

    /// A part of a body, or what has become of the request. After a fault the connection is of no
    /// use.
    fn poll_told<T>(&mut self, part: Poll<Result<T, AnswerError>>) -> Poll<Result<T, AnswerError>> {
        let part = ready!(self.unless_failed(part));
        if part.is_err() {
            self.answer.keeps = false;
        }
        Poll::Ready(part)
    }

    fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, AnswerError>> {
        loop {
            let (most, chunks) = match &mut self.answer.extent {
                Extent::None | Extent::Head => return Poll::Ready(Ok(None)),
                Extent::Length(left) => (*left, None),
                Extent::Open => (u64::MAX, None),
                Extent::Chunks(chunks) => match chunks.next(&mut self.there)? {
                    Part::Data(data) => {
                        if chunks.has_ended() {
                            self.answer.extent = Extent::None;
                        }
                        return Poll::Ready(Ok(Some(Frame::data(data))));
                    }
                    Part::Trailers(fields) => {
                        self.answer.extent = Extent::None;
                        return Poll::Ready(Ok(Some(Frame::trailers(fields))));
                    }
                    Part::End => {
                        self.answer.extent = Extent::None;
                        return Poll::Ready(Ok(None));
                    }
                    // Of a short chunk, what is behind it is welcome, too.
                    Part::MoreData(left) if left > FIRST as u64 => (left, Some(chunks)),
                    Part::More | Part::MoreData(_) => {
                        let read = ready!(self.wire.poll_more(cx, &mut self.there, FIRST));
                        if read.map_err(AnswerError::Stream)? == 0 {
                            return Poll::Ready(Err(AnswerError::Cut));
                        }
                        continue;
                    }
                },
            };
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let piece = if !self.early.is_empty() {
                std::mem::take(&mut self.early)
            } else if self.there.is_empty() {
                let most = most.min(ready!(self.wire.stream().poll_piece(cx)));
                let piece = ready!(self.wire.poll_piece(cx, most));
                piece.map_err(AnswerError::Stream)?
            } else {
                self.there.split_to(most.min(self.there.len())).freeze()
            };
            if let Some(chunks) = chunks {
                chunks.took(&piece);
            }
            let more = self.took(piece.len())?;
            return Poll::Ready(Ok(more.then(|| Frame::data(piece))));
        }
    }

    /// So much of a body has come; nothing is the connection's end. False where it is the body's,
    /// too.
    fn took(&mut self, piece: usize) -> Result<bool, AnswerError> {
        match &mut self.answer.extent {
            Extent::Open if piece == 0 => {
                self.answer.extent = Extent::None;
                return Ok(false);
            }
            _ if piece == 0 => return Err(AnswerError::Cut),
            Extent::Length(left) => {
                *left = left.saturating_sub(u64::try_from(piece).unwrap_or(u64::MAX));
                if *left == 0 {
                    self.answer.extent = Extent::None;
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// Whether the backend has said anything of its answer.
    pub(super) fn has_heard(&self) -> bool {
        self.answer.interim > 0 || !self.there.is_empty()
    }

    /// Whether all of the answer has come.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.answer.extent, Extent::None)
    }

    /// Whether request and answer are complete, and the backend goes on.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_complete()
            && self.answer.keeps
            && self.there.is_empty()
            && self.early.is_empty()
            && self.request.is_complete()
            && !self.wire.is_deaf()
    }

    /// Lets go of what an idle connection needs not.
    pub(super) fn rest(&mut self) {
        self.there = BytesMut::new();
        self.fields = Fields::new();
        self.request.rest();
    }

    /// Whether the backend has said something, or has ended, while nothing is asked of it.
    pub(super) fn is_stirred(&mut self, cx: &mut Context<'_>) -> bool {
        self.wire.poll_stirred(cx).is_ready()
    }

    /// The stream, and what was read from it already.
    pub(super) fn into_parts(self) -> (Stream, Bytes) {
        (self.wire.into_parts().0, self.there.freeze())
    }
}

#[cfg(test)]
mod tests;
