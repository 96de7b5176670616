//! The only unsafe code: reading from a stream straight into hyper's buffer, and looking at it.

#![expect(unsafe_code, reason = "hyper's read cursor hands out uninitialised memory; see below")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};

/// Reads once into the cursor. `inspect` sees the bytes that came (none at the end of the stream)
/// and says how many of them, from the front, hyper may have; the others stay out of its sight.
pub(super) fn read_into<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    cursor: &mut ReadBufCursor<'_>,
    inspect: impl FnOnce(&[u8]) -> usize,
) -> Poll<io::Result<usize>> {
    // SAFETY: the slice is only written to, through a `ReadBuf` that tracks what is initialised,
    // and never de-initialised.
    let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    let read = buffer.filled().len();
    let given = inspect(buffer.filled()).min(read);
    // SAFETY: `poll_read` has filled, hence initialised, at least `read >= given` bytes.
    unsafe { cursor.advance(given) };
    Poll::Ready(Ok(read))
}
