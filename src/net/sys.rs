//! The only unsafe code: reading from a stream straight into buffers that nobody has cleared, and
//! a word to the allocator.

#![expect(unsafe_code, reason = "hyper's read cursor hands out uninitialised memory; see below")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
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

/// Reads once, so many bytes at most; none at the end of the stream.
pub(super) fn read_piece<R: hyper::rt::Read + Unpin>(
    reader: &mut R,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    let mut room = BytesMut::with_capacity(most);
    let spare = room.spare_capacity_mut().get_mut(..most).unwrap_or_default();
    let mut buffer = hyper::rt::ReadBuf::uninit(spare);
    ready!(Pin::new(reader).poll_read(cx, buffer.unfilled()))?;
    let read = buffer.filled().len();
    // SAFETY: `filled` are the bytes at the front of the room that were filled, hence initialised.
    unsafe { room.set_len(read) };
    Poll::Ready(Ok(room.freeze()))
}
