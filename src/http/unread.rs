//! Reads on what an HTTP/2 client sends of a request that was answered before its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;

use crate::net::clock::Deadline;
use crate::net::pressure::{self, Level};
use crate::net::wire::linger::{LONGEST, MOST};
use crate::task;

/// Lets a client say the rest of a request whose answer is on its way, as a lingering close does. A
/// stream that nobody reads any more is reset, without an error. RFC 9113 §8.1 has its client keep
/// the answer all the same, but curl, Java and httpx lose one whose stream is reset as they send.
///
/// # Panics
/// When called outside a worker's runtime.
pub(super) fn read_on(rest: Incoming) {
    let mut deadline = Deadline::new();
    deadline.arm(Some(LONGEST));
    drop(task::spawn("unread", Unread { rest, left: MOST, deadline }));
}

struct Unread {
    rest: Incoming,
    left: usize,
    deadline: Deadline,
}

impl Future for Unread {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Nothing is cheaper to give up when memory is short.
        if pressure::level() > Level::Calm {
            return Poll::Ready(());
        }
        loop {
            match Pin::new(&mut this.rest).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let read = frame.data_ref().map_or(0, Bytes::len);
                    match this.left.checked_sub(read) {
                        Some(left) => this.left = left,
                        None => return Poll::Ready(()),
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return this.deadline.poll(cx),
            }
        }
    }
}
