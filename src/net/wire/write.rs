//! The writing half of a wire: waits for a peer that takes no bytes, and how it is ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::clock::now;
use super::super::pipe::Pipe;
use super::Wire;
use super::tracker::Tracker;

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Says all of this, where there is no hyper. What was said is taken from it.
    ///
    /// # Errors
    /// Of the stream; also when its peer has kept us waiting too long.
    pub fn poll_say(&mut self, cx: &mut Context<'_>, text: &mut Bytes) -> Poll<io::Result<()>> {
        while !text.is_empty() {
            let said = ready!(hyper::rt::Write::poll_write(Pin::new(&mut *self), cx, text))?;
            if said == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            text.advance(said);
        }
        hyper::rt::Write::poll_flush(Pin::new(self), cx)
    }

    /// Says what is in this pipe, on a wire that is bare. How much of it was taken.
    ///
    /// # Errors
    /// Of the stream; also when its peer has kept us waiting too long.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        debug_assert!(self.handle.serves_clients() && self.frames.is_none(), "nothing is counted");
        let Some(socket) = self.socket() else { return Poll::Ready(Ok(0)) };
        let poll = pipe.poll_drain(socket, cx);
        self.write_progress(cx, poll)
    }

    /// Says the last, and waits until a client that is still sending can have read it. hyper has
    /// gone by then: its buffers are most of what a connection costs.
    ///
    /// # Errors
    /// Of the stream.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_bare() && !self.unread() {
            // The kernel says it when the socket is closed, which is next: one call less.
            return Poll::Ready(Ok(()));
        }
        ready!(hyper::rt::Write::poll_shutdown(Pin::new(self), cx))?;
        if self.unread() {
            ready!(self.linger.poll(&mut self.stream, cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Whether a backend takes no more bytes, so that what is said to it goes nowhere.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Whether the last has been said.
    pub fn is_shut(&self) -> bool {
        self.shut
    }

    /// Whether a client may still be sending a request that was answered already.
    fn unread(&self) -> bool {
        let between = self.tracker.as_ref().is_none_or(Tracker::at_head);
        self.handle.serves_clients() && !between
    }

    /// A backend may answer and close before it has read everything. hyper would take the failed
    /// write for the end, although the answer waits to be read: so writes fail silently, and
    /// whether there is an answer is for the reading side to tell.
    fn unless_deaf<T>(&mut self, poll: Poll<io::Result<T>>, pretended: T) -> Poll<io::Result<T>> {
        match poll {
            Poll::Ready(Err(_)) if !self.handle.serves_clients() => {
                self.deaf = true;
                Poll::Ready(Ok(pretended))
            }
            other => other,
        }
    }

    /// What a client has taken of ours lets it say more itself.
    fn count_written(&mut self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Some(frames), Poll::Ready(Ok(bytes))) = (&mut self.frames, &poll) {
            frames.chatter.wrote(*bytes);
        }
        poll
    }

    fn write_progress<T>(
        &mut self,
        cx: &Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            if self.writing.moved() {
                self.handle.set_unblocked();
            }
            return poll;
        }
        self.handle.set_blocked(now());
        let lost = self.writing.poll_lost(cx).is_ready();
        let pressed = self.handle.serves_clients() && self.writing.is_pressed();
        if lost || pressed {
            self.handle.stalled();
            self.handle.press(pressed);
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer takes no bytes",
            )));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> hyper::rt::Write for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let poll = Pin::new(&mut this.stream).poll_write(cx, bytes);
        let poll = this.count_written(poll);
        let poll = this.unless_deaf(poll, bytes.len());
        this.write_progress(cx, poll)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.deaf {
            return Poll::Ready(Ok(()));
        }
        let poll = Pin::new(&mut this.stream).poll_flush(cx);
        let poll = this.unless_deaf(poll, ());
        if poll.is_ready() && this.frames.is_some() {
            this.handle.flushed();
        }
        this.write_progress(cx, poll)
    }

    /// Says the last, and no more: to wait until it has arrived is [`Wire::poll_close`]'s.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            let poll = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.write_progress(cx, poll))?;
            this.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = slices.iter().map(|slice| slice.len()).sum();
        if let [only] = slices {
            // A plain write is a little cheaper for the kernel.
            return Pin::new(this).poll_write(cx, only);
        }
        if this.deaf {
            return Poll::Ready(Ok(length));
        }
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        let poll = this.count_written(poll);
        let poll = this.unless_deaf(poll, length);
        this.write_progress(cx, poll)
    }
}
