//! The only unsafe code: reading from a stream straight into hyper's buffer, and a word to the
//! allocator.

#![expect(unsafe_code, reason = "hyper's read cursor hands out uninitialised memory; see below")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};

// The program's allocator, which has the function below.
use mimalloc as _;

unsafe extern "C" {
    // SAFETY: any thread may call it at any time, with or without memory of its own
    // (`mimalloc.h`: `void mi_collect(bool force)`).
    safe fn mi_collect(force: bool);
}

/// See [`super::heap::give_back`].
pub(super) fn give_back_memory() {
    mi_collect(true);
}

/// Reads once into the cursor, so many bytes at most. `inspect` sees the bytes that came (none at
/// the end of the stream) and says how many of them, from the front, hyper may have; the others
/// stay out of its sight.
pub(super) fn read_into<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    cursor: &mut ReadBufCursor<'_>,
    most: usize,
    inspect: impl FnOnce(&[u8]) -> usize,
) -> Poll<io::Result<usize>> {
    // SAFETY: the slice is only written to, through a `ReadBuf` that tracks what is initialised,
    // and never de-initialised.
    let slice = unsafe { cursor.as_mut() };
    let most = most.min(slice.len());
    let mut buffer = ReadBuf::uninit(slice.get_mut(..most).unwrap_or_default());
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    let read = buffer.filled().len();
    let given = inspect(buffer.filled()).min(read);
    // SAFETY: `poll_read` has filled, hence initialised, at least `read >= given` bytes.
    unsafe { cursor.advance(given) };
    Poll::Ready(Ok(read))
}
