//! Reads on what an HTTP/2 client sends of a request that was answered before its end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;

use crate::net::clock::Deadline;
use crate::task;

/// So much is read and thrown away…
const MOST: usize = 1 << 20;
/// …for so long.
const LONGEST: Duration = Duration::from_secs(5);

/// Lets a client say the rest of a request whose answer is on its way. A stream that nobody reads any
/// more is reset, without an error; RFC 9113 §8.1 has the client keep its answer all the same, but
/// many lose one that comes together with the reset. So a small rest ends by itself, and of a large
/// one several windows are taken: by then the client has had its answer for a while.
///
/// # Panics
/// When called outside a worker's runtime.
pub fn read_on(rest: Incoming) {
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
