//! The only unsafe code: reading from a stream straight into buffers that nobody has cleared,
//! values of fields that are known to be some, and the allocator.

#![expect(unsafe_code, reason = "hyper's read cursor hands out uninitialised memory; see below")]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use hyper::rt::ReadBufCursor;
use mimalloc::MiMalloc;
use tokio::io::{AsyncRead, ReadBuf};

use super::wire::head::Value;

// `mimalloc.h`; the crate of that name has them linked.
unsafe extern "C" {
    // SAFETY: any thread may call these at any time, with or without memory of its own.
    safe fn mi_collect(force: bool);
    safe fn mi_malloc(size: usize) -> *mut c_void;
    safe fn mi_zalloc(size: usize) -> *mut c_void;
    fn mi_realloc(memory: *mut c_void, size: usize) -> *mut c_void;
}

/// What mimalloc aligns everything to that is no smaller (bytes; `MI_MAX_ALIGN_SIZE`), and what is
/// smaller to 8.
const ALIGNED: usize = 16;

/// See [`super::heap::Allocator`].
#[derive(Debug)]
pub struct Allocator;

impl Allocator {
    /// Whether it is aligned as it is asked to be without being told.
    fn is_aligned(align: usize, size: usize) -> bool {
        align <= ALIGNED && align <= size
    }
}

// SAFETY: all of it is mimalloc's, which takes memory back and resizes it by whichever function it
// was given out; nothing here panics.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::is_aligned(layout.align(), layout.size()) {
            return mi_malloc(layout.size()).cast();
        }
        // SAFETY: as the caller has promised, here and below.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if Self::is_aligned(layout.align(), layout.size()) {
            return mi_zalloc(layout.size()).cast();
        }
        // SAFETY: see `alloc`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: see `alloc`.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if Self::is_aligned(layout.align(), size) {
            // SAFETY: see `alloc`. What stays where it is was aligned so when it was given out.
            return unsafe { mi_realloc(memory.cast(), size) }.cast();
        }
        // SAFETY: see `alloc`.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }
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

/// A field's value that shares the memory of the head it stands in.
pub(super) fn field_value(head: &Bytes, value: Value<'_>) -> HeaderValue {
    let value = head.slice_ref(value.get());
    // SAFETY: a `Value` has no control but tabs in it, as a `HeaderValue` wants it: see
    // `wire::scan::control`, which is compared with the `http` crate for every byte.
    unsafe { HeaderValue::from_maybe_shared_unchecked(value) }
}

/// A value of visible ASCII. None where it is anything else.
pub(super) fn visible_value(text: Bytes) -> Option<HeaderValue> {
    // Without an early exit, so that the compiler makes it wide.
    let odd = text.iter().fold(false, |odd, byte| odd | !(b'!'..=b'~').contains(byte));
    // SAFETY: what is visible is no control, and ASCII.
    (!odd).then(|| unsafe { HeaderValue::from_maybe_shared_unchecked(text) })
}

/// The same value, cut from this block, which has room for it or gets some.
pub(super) fn copy_value(value: &HeaderValue, block: &mut BytesMut) -> HeaderValue {
    debug_assert!(block.is_empty(), "what is there would become part of it");
    block.clear();
    block.extend_from_slice(value.as_bytes());
    // SAFETY: these are the bytes of a `HeaderValue` and nothing else.
    let mut copy = unsafe { HeaderValue::from_maybe_shared_unchecked(block.split().freeze()) };
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// Room of which less than this part was filled is not kept for what is in it.
const SPARSE: usize = 8;

/// Reads once, so many bytes at most; none at the end of the stream. What comes is held until a
/// client has taken it, and little of it holds little memory.
pub(super) fn read_piece<R: hyper::rt::Read + Unpin>(
    reader: &mut R,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    let mut room = BytesMut::new();
    let read = ready!(read_more(reader, cx, &mut room, most))?;
    let sparse = read < most / SPARSE;
    Poll::Ready(Ok(if sparse { Bytes::copy_from_slice(&room) } else { room.freeze() }))
}

/// Reads once behind what is there, so many bytes at most. How many have come: none at the end of
/// the stream.
pub(super) fn read_more<R: hyper::rt::Read + Unpin>(
    reader: &mut R,
    cx: &mut Context<'_>,
    there: &mut BytesMut,
    most: usize,
) -> Poll<io::Result<usize>> {
    there.reserve(most);
    let before = there.len();
    let spare = there.spare_capacity_mut().get_mut(..most).unwrap_or_default();
    let mut buffer = hyper::rt::ReadBuf::uninit(spare);
    ready!(Pin::new(reader).poll_read(cx, buffer.unfilled()))?;
    let read = buffer.filled().len();
    // SAFETY: `filled` are the bytes at the front of the spare room that were filled, hence
    // initialised.
    unsafe { there.set_len(before + read) };
    Poll::Ready(Ok(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_as_it_is_asked_to_be_and_keeps_what_is_in_it() {
        for align in (0..9).map(|power| 1_usize << power) {
            for size in (1..200).chain([511, 1000, 1024, 1025, 1440, 4095, 8192, 20_000, 300_000]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                let grown = Layout::from_size_align(3 * size, align).unwrap();
                let small = Layout::from_size_align(1, align).unwrap();
                let is_aligned =
                    |memory: *mut u8| !memory.is_null() && memory.addr().is_multiple_of(align);
                // Several at once: the first of a page of them is aligned by its page.
                let mut held = Vec::new();
                for _ in 0..5 {
                    // SAFETY: what is given out is used within its size, and given back once.
                    unsafe {
                        let (memory, zeroed) =
                            (Allocator.alloc(layout), Allocator.alloc_zeroed(layout));
                        assert!(is_aligned(memory) && is_aligned(zeroed), "{size}, {align}");
                        assert!((0..size).all(|at| *zeroed.add(at) == 0));
                        memory.write_bytes(7, size);
                        let larger = Allocator.realloc(memory, layout, 3 * size);
                        assert!(is_aligned(larger), "{size}, {align}");
                        assert!((0..size).all(|at| *larger.add(at) == 7), "{size}, {align}");
                        held.push((larger, zeroed));
                    }
                }
                for (larger, zeroed) in held {
                    // SAFETY: see above.
                    unsafe {
                        let smaller = Allocator.realloc(larger, grown, 1);
                        assert!(is_aligned(smaller) && *smaller == 7, "{size}, {align}");
                        Allocator.dealloc(smaller, small);
                        Allocator.dealloc(zeroed, layout);
                    }
                }
            }
        }
    }
}
