//! The rest of an answer of a known length, read from its connection without hyper.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;

use super::stream::Stream;
use crate::net::wire::Wire;

/// At most so much at once (bytes).
const PIECE: usize = 64 * 1024;

/// Why the body of an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// hyper says so.
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    /// The connection does, without hyper.
    #[error(transparent)]
    Stream(#[from] io::Error),
}

/// What an answer still has to say.
#[derive(Debug)]
pub(super) struct Bare {
    wire: Wire<Stream>,
    /// What hyper had read already.
    first: Bytes,
    left: u64,
}

impl Bare {
    /// So many bytes, of which the first have been read.
    pub(super) fn new(wire: Wire<Stream>, first: Bytes, left: u64) -> Self {
        Self { wire, first, left }
    }

    /// Bytes that are still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece of them.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let piece = if self.first.is_empty() {
            match ready!(self.read(most, cx)) {
                Ok(piece) => piece,
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        } else {
            self.first.split_to(most.min(self.first.len()))
        };
        self.left = self.left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn read(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let piece = ready!(self.wire.poll_piece(cx, most.min(PIECE)))?;
        if piece.is_empty() {
            let cause = "the connection ended before the answer";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, cause)));
        }
        Poll::Ready(Ok(piece))
    }

    /// The connection, if it has said what it had to say, and nothing else.
    pub(super) fn into_wire(self) -> Option<Wire<Stream>> {
        (self.left == 0 && self.first.is_empty()).then_some(self.wire)
    }
}
