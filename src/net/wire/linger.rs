//! A lingering close: a client can read an answer that came before its request was read.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::super::clock::Deadline;

/// So much is read and thrown away…
pub const MOST: usize = 64 << 20;
/// …for so long. A client that sends more than this is cut off. Many look at an answer only when
/// they have sent all.
pub const LONGEST: Duration = Duration::from_secs(5);

/// RFC 9112 §9.6: a socket that is closed with bytes unread is reset, and the reset takes the
/// answer along that is on its way.
#[derive(Debug, Default)]
pub(super) struct Linger {
    begun: bool,
    read: usize,
    deadline: Deadline,
}

impl Linger {
    /// Ready when the client has nothing more to say, or has said too much for too long.
    pub(super) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.begun {
            self.begun = true;
            self.deadline.arm(Some(LONGEST));
        }
        while self.read < MOST {
            let mut piece = [MaybeUninit::uninit(); 16 * 1024];
            let mut buffer = ReadBuf::uninit(&mut piece);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.read += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.deadline.poll(cx),
            }
        }
        Poll::Ready(())
    }
}
