//! The reading half of a wire: straight into hyper's buffer where nothing is held back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::pipe::Pipe;
use super::super::sys;
use super::{Wire, tracker};

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Read for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.digests() {
            Ok(false) => {}
            // Who says that it has digested all has it polled again.
            Ok(true) => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
        loop {
            this.obey();
            if this.give(&mut cursor) > 0 {
                return Poll::Ready(Ok(()));
            }
            if this.handle.refused_in_stream() {
                let error = io::Error::new(io::ErrorKind::InvalidData, "refused framing");
                return Poll::Ready(Err(error));
            }
            match &mut this.tracker {
                // hyper has had the stand-in; it answers and closes.
                Some(tracker) if tracker.refused() => return Poll::Pending,
                Some(tracker) if tracker.held() => {
                    this.handle.register(cx.waker());
                    if !this.handle.releasing() {
                        return Poll::Pending;
                    }
                    continue;
                }
                _ => {}
            }
            if this.handle.take_doubt() && this.glance.is_some_and(|it| it(&this.stream)) {
                // Nothing that comes between two exchanges is of use to anybody.
                return Poll::Ready(Ok(()));
            }
            let poll = if this.held_back.is_empty() {
                this.read_directly(cx, &mut cursor)
            } else {
                this.read_behind(cx)
            };
            match poll {
                Poll::Ready(Ok(Read::Given | Read::End)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(Read::HeldBack)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if this.frame_is_late(cx) => {
                    let error = io::Error::new(io::ErrorKind::TimedOut, "a frame is not whole");
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => match this.waited_too_long(cx) {
                    None => return Poll::Pending,
                    Some(false) => return Poll::Ready(Ok(())),
                    Some(true) => this.give_up_on_head(),
                },
            }
        }
    }
}

/// What is read at once of what may be held back (bytes).
pub(super) const PIECE: usize = 4096;

/// What came of one read.
pub(super) enum Read {
    Given,
    HeldBack,
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// The next bytes, so many at most, for who reads them without hyper; none at the end.
    ///
    /// # Errors
    /// Of the stream.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        let most = most.min(self.handle.piece());
        sys::read_piece(self, cx, most)
    }

    /// The same behind what is there already. How many have come: none at the end.
    ///
    /// # Errors
    /// Of the stream.
    pub fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        there: &mut BytesMut,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let most = most.min(self.handle.piece());
        sys::read_more(self, cx, there, most)
    }

    /// The same into an empty pipe, from a wire that is bare; no head is looked for in it.
    ///
    /// # Errors
    /// Of the stream.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.tracker.is_none() && self.held_back.is_empty(), "nothing is skipped");
        let most = most.min(self.handle.piece());
        self.socket().map_or(Poll::Ready(Ok(0)), |socket| pipe.poll_fill(socket, cx, most))
    }

    /// Whether its peer has said something, or has ended, while it has nothing to say. What it has
    /// said is lost.
    pub fn poll_stirred(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut one = [0; 1];
        let mut buffer = hyper::rt::ReadBuf::new(&mut one);
        hyper::rt::Read::poll_read(Pin::new(self), cx, buffer.unfilled()).map(drop)
    }

    /// The common case: straight into hyper's buffer, all of it cleared.
    fn read_directly(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<Read>> {
        let (tracker, held_back) = (&mut self.tracker, &mut self.held_back);
        let frames = &mut self.frames;
        let most = self.handle.piece();
        let mut step = tracker::Step::default();
        let mut between = false;
        let read = ready!(sys::read_into(&mut self.stream, cx, cursor, most, |bytes| {
            match tracker {
                Some(tracker) if !tracker.open() => {
                    step = tracker.advance(bytes);
                    held_back.extend_from_slice(bytes.get(step.cleared..).unwrap_or_default());
                    between = tracker.at_head();
                }
                _ => {
                    step.cleared = bytes.len();
                    if let Some(frames) = frames {
                        frames.advance(bytes);
                    }
                }
            }
            step.cleared
        }))?;
        self.unless_flooded()?;
        self.handle.note(step.heads);
        self.handle.set_between(between);
        self.after_step(step.heads > 0, step.refused.map(|refusal| (refusal, step.in_body)));
        Poll::Ready(Ok(match (read, step.cleared) {
            (0, _) => Read::End,
            (_, 0) => Read::HeldBack,
            _ => Read::Given,
        }))
    }

    /// Behind what is held back: a head that came in pieces.
    pub(super) fn read_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        let mut piece = [std::mem::MaybeUninit::uninit(); PIECE];
        let mut buffer = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(Read::End));
        }
        self.held_back.extend_from_slice(buffer.filled());
        self.inspect_held_back();
        Poll::Ready(Ok(Read::HeldBack))
    }
}
