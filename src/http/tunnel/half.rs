//! One direction of a tunnel, and the wait for a client that takes nothing of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::clock::Deadline;

/// One direction's buffer.
const BUFFER: usize = 16 * 1024;

/// One direction.
#[derive(Default)]
pub(super) struct Half {
    /// What goes before all that is read.
    early: Bytes,
    buffer: Option<Box<[u8]>>,
    /// The part of the buffer that is to be written.
    filled: std::ops::Range<usize>,
    ended: bool,
    shut: bool,
    /// Bytes written.
    pub(super) total: u64,
}

impl Half {
    /// One that says these bytes first.
    pub(super) fn after(early: Bytes) -> Self {
        Self { early, ..Self::default() }
    }

    /// Ready when this way has ended, and its end was told.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        while !self.early.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.early))?;
            self.wrote(written, moved)?;
            self.early.advance(written);
        }
        loop {
            if !self.filled.is_empty() {
                let buffer = self.buffer.as_deref().unwrap_or_default();
                let bytes = buffer.get(self.filled.clone()).unwrap_or_default();
                let written = ready!(Pin::new(&mut *to).poll_write(cx, bytes))?;
                self.wrote(written, moved)?;
                self.filled.start += written;
                continue;
            }
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            let buffer = self.buffer.get_or_insert_with(|| vec![0; BUFFER].into());
            let mut space = ReadBuf::new(buffer);
            match Pin::new(&mut *from).poll_read(cx, &mut space)? {
                Poll::Ready(()) if space.filled().is_empty() => self.ended = true,
                Poll::Ready(()) => self.filled = 0..space.filled().len(),
                Poll::Pending => {
                    // A quiet tunnel holds no buffer, and what was written must not wait for more.
                    self.buffer = None;
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Whether something is to be written, the end included.
    fn waits(&self) -> bool {
        !self.early.is_empty() || !self.filled.is_empty() || (self.ended && !self.shut)
    }

    fn wrote(&mut self, bytes: usize, moved: &mut bool) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *moved = true;
        self.total += u64::try_from(bytes).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// A wait for a client that takes nothing of what there is for it.
pub(super) struct Unread {
    limit: Duration,
    deadline: Deadline,
    /// How much it had taken when the wait began.
    taken: u64,
    over: bool,
}

impl Unread {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, deadline: Deadline::new(), taken: 0, over: false }
    }

    /// Ready when it is over.
    pub(super) fn poll(&mut self, cx: &Context<'_>, down: &Half) -> Poll<()> {
        if !down.waits() {
            self.deadline.disarm();
            return Poll::Pending;
        }
        if !self.deadline.armed() {
            self.taken = down.total;
            self.deadline.arm(Some(self.limit));
        }
        while self.deadline.poll(cx).is_ready() {
            if self.taken == down.total {
                self.over = true;
                return Poll::Ready(());
            }
            self.taken = down.total;
            self.deadline.arm(Some(self.limit));
        }
        Poll::Pending
    }

    /// Whether it has ended the tunnel.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}
