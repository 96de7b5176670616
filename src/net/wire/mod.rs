//! The IO wrapper under HTTP: heads are seen here first, and waits and bytes are counted.
// Towards a client it follows the framing of requests, so that each head, pipelined ones too, is
// checked before anybody answers it. A refused one is replaced by a harmless one whose number is
// told by the [`Handle`]: its answer keeps its place, and goes the way of other failures, log and
// counters.
// Towards a backend it is [`answer`] that heads are checked by, where they are read.

mod answer;
mod chatter;
pub mod chunk;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handle;
pub(in crate::net) mod head;
mod heads;
mod line;
pub mod linger;
mod plain;
mod read;
mod request;
mod scan;
mod share;
mod tracker;
mod turns;
mod word;
mod write;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::Method;
use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::clock::{Deadline, Patience, now};
use super::pipe::Bare;
pub use answer::{Answer, is_whole_answer, read_answer};
use frames::Frames;
pub use handle::Handle;
pub use head::{HeadLimits, Refusal};
use linger::Linger;
use read::Read;
pub use request::{Alone, Next};
use tracker::Tracker;
pub use turns::{Turn, Turns};

/// Stands in for a refused head. The exchange never reads it: it knows by number.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: invalid\r\nconnection: close\r\n\r\n";
/// The same where the refused bytes begin as a HEAD does, whose answer has no content whatever is
/// wrong with the rest (RFC 9110 §9.3.2).
const STAND_IN_OF_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nhost: invalid\r\nconnection: close\r\n\r\n";

/// A wait for ever.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Waits of one connection; `None` waits for ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waits {
    /// From a head's first byte to its last; also from the connection's start to its first byte.
    pub header: Option<Duration>,
    /// Between two messages.
    pub idle: Option<Duration>,
    /// Of a write that the peer does not take.
    pub write: Option<Duration>,
}

/// A stream that can be asked without waiting, and without the runtime, which hears of what has
/// happened a little later only.
pub trait Glance {
    /// Whether its peer has said something that was not read yet, or has ended.
    fn stirred(&self) -> bool;
}

/// An IO under HTTP.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    handle: Arc<Handle>,
    tracker: Option<Tracker>,
    /// Present: HTTP/2, whose frames are followed.
    frames: Option<Frames>,
    /// What of them `reading` is for.
    late: Option<u64>,
    /// Read, but not yet given on.
    held_back: BytesMut,
    /// How much of that may be given.
    cleared: usize,
    waits: Waits,
    reading: Deadline,
    /// Whether `reading` is for a head that has begun.
    head_begun: bool,
    writing: Patience,
    /// The backend takes no more bytes.
    deaf: bool,
    /// We have said our last.
    shut: bool,
    linger: Linger,
    /// Towards a backend: [`Glance::stirred`].
    glance: Option<fn(&S) -> bool>,
    /// Where its bytes may go by a pipe: [`Bare::socket`].
    bare: Option<fn(&S) -> Option<&TcpStream>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A client's HTTP/1 connection.
    pub fn client(stream: S, limits: HeadLimits, waits: Waits) -> Self {
        Self::new(stream, Some(Tracker::new(limits)), waits)
    }

    /// A backend's HTTP/1 connection. Waits for answers are the exchange's business.
    pub fn backend(stream: S, waits: Waits) -> Self
    where
        S: Glance + Bare,
    {
        let mut wire = Self::new(stream, None, waits);
        wire.glance = Some(S::stirred);
        wire.handle.towards_backend();
        wire.piped()
    }

    /// The same with bytes that may go by a pipe, where the stream is a socket and nothing else.
    #[must_use]
    pub fn piped(mut self) -> Self
    where
        S: Bare,
    {
        self.bare = Some(S::socket);
        self
    }

    /// A client's HTTP/2 connection, whose frames are followed, not read.
    pub fn framed(stream: S, waits: Waits) -> Self {
        let mut wire = Self::new(stream, None, waits);
        wire.frames = Some(Frames::new(now()));
        wire.handle.framed();
        wire
    }

    fn new(stream: S, tracker: Option<Tracker>, waits: Waits) -> Self {
        Self {
            stream,
            handle: Arc::new(Handle::default()),
            tracker,
            frames: None,
            late: None,
            held_back: BytesMut::new(),
            cleared: 0,
            writing: Patience::new(waits.write),
            deaf: false,
            shut: false,
            linger: Linger::default(),
            glance: None,
            bare: None,
            waits,
            reading: Deadline::new(),
            head_begun: false,
        }
    }

    /// Waits for something to give on. False: the client has gone, or has kept
    /// us waiting too long.
    ///
    /// # Errors
    /// Of the stream.
    fn poll_something(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            self.obey();
            if self.cleared > 0 {
                return Poll::Ready(Ok(true));
            }
            if self.tracker.as_ref().is_some_and(Tracker::refused) {
                return Poll::Ready(Ok(false));
            }
            match self.read_behind(cx)? {
                Poll::Ready(Read::End) => return Poll::Ready(Ok(false)),
                Poll::Ready(Read::Given | Read::HeldBack) => {}
                Poll::Pending => match self.waited_too_long(cx) {
                    None => return Poll::Pending,
                    Some(false) => return Poll::Ready(Ok(false)),
                    Some(true) => self.give_up_on_head(),
                },
            }
        }
    }

    /// Takes back what was given on and was not used, and lets go of what is not needed.
    pub fn take_back(&mut self, unused: &[u8]) {
        if self.held_back.is_empty() {
            self.held_back = BytesMut::new();
        }
        // Between two messages hyper ignores empty lines, and keeps them until the next head.
        if !unused.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            let behind = self.held_back.split();
            self.held_back.extend_from_slice(unused);
            self.held_back.extend_from_slice(&behind);
            self.cleared += unused.len();
        }
    }

    /// A head that did not come in time is answered.
    fn give_up_on_head(&mut self) {
        if let Some(tracker) = &mut self.tracker {
            tracker.refuse();
        }
        self.refuse(Refusal::Timeout, false);
    }

    /// Takes what stands in for a refused head, if nothing else is there: it is answered by its
    /// number alone. The method that is to be answered: GET or HEAD.
    fn take_refused(&mut self) -> Option<Method> {
        let last = self.handle.heads().checked_sub(1)?;
        self.handle.refused(last)?;
        let there = self.held_back.get(..self.cleared)?;
        let (_, method) = [(STAND_IN, Method::GET), (STAND_IN_OF_HEAD, Method::HEAD)]
            .into_iter()
            .find(|(stand_in, _)| *stand_in == there)?;
        self.cleared = 0;
        self.held_back = BytesMut::new();
        Some(method)
    }

    /// What the exchange and this wrapper tell each other.
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The socket whose bytes these are, as they are.
    fn socket(&self) -> Option<&TcpStream> {
        self.bare.and_then(|bare| bare(&self.stream))
    }

    /// Whether its bytes may go by a pipe.
    pub fn is_bare(&self) -> bool {
        self.socket().is_some()
    }

    /// The stream below.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream below and bytes that were read from it but not given on.
    pub fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.held_back)
    }

    fn obey(&mut self) {
        if let Some(tracker) = &mut self.tracker
            && tracker.held()
            && let Some(tunnel) = self.handle.take_release()
        {
            tracker.release(tunnel);
            self.inspect_held_back();
        }
    }

    /// Looks at what is held back and not cleared yet.
    fn inspect_held_back(&mut self) {
        let Some(tracker) = &mut self.tracker else { return };
        let step = tracker.advance(self.held_back.get(self.cleared..).unwrap_or_default());
        self.cleared += step.cleared;
        let refused = step.refused.map(|refusal| (refusal, step.in_body));
        self.handle.note(step.heads);
        self.handle.set_between(tracker.at_head());
        self.after_step(step.heads > 0, refused);
    }

    fn after_step(&mut self, heads: bool, refused: Option<(Refusal, bool)>) {
        if heads && self.tracker.as_ref().is_some_and(Tracker::held) {
            self.handle.hold();
        }
        if heads {
            self.head_begun = false;
            self.reading.disarm();
        }
        if let Some((refusal, in_body)) = refused {
            self.refuse(refusal, in_body);
        }
    }

    fn refuse(&mut self, refusal: Refusal, in_body: bool) {
        // It ends soon, but until then something is going on.
        self.handle.set_between(false);
        self.reading.disarm();
        let refused = self.held_back.get(self.cleared..).unwrap_or_default();
        let stand_in = if refused.starts_with(b"HEAD ") { STAND_IN_OF_HEAD } else { STAND_IN };
        self.held_back.truncate(self.cleared);
        let first = self.handle.refuse(refusal, in_body);
        if first && !in_body {
            self.held_back.extend_from_slice(stand_in);
            self.cleared = self.held_back.len();
            self.handle.note(1);
        }
    }

    /// Gives hyper what is cleared.
    fn give(&mut self, cursor: &mut ReadBufCursor<'_>) -> usize {
        let count = self.cleared.min(cursor.remaining());
        if count > 0 {
            cursor.put_slice(self.held_back.get(..count).unwrap_or_default());
            self.held_back.advance(count);
            self.cleared -= count;
        }
        count
    }

    /// Whether the peer kept us waiting too long: `Some(true)` in mid-head.
    fn waited_too_long(&mut self, cx: &Context<'_>) -> Option<bool> {
        let tracker = self.tracker.as_ref()?;
        if !tracker.at_head() {
            return None;
        }
        let begun = self.held_back.len() > self.cleared;
        if begun && !self.head_begun {
            self.head_begun = true;
            self.reading.arm(self.waits.header);
        } else if !self.reading.armed() && !self.head_begun {
            let first = self.handle.heads() == 0;
            let wait = if first { self.waits.header } else { self.waits.idle };
            // One who may wait for ever has to hear of it all the same when memory is short.
            self.reading.arm(Some(wait.unwrap_or(FOREVER)));
        }
        if self.reading.poll(cx).is_pending() {
            return None;
        }
        if self.head_begun || self.handle.heads() == 0 {
            return Some(self.head_begun);
        }
        // One deadline serves many messages: it looks at the clock when it passes.
        let idle = self.waits.idle?;
        // What was answered may still be on its way to a client that reads slowly.
        let idled = self.handle.at_rest_for(now());
        if idled.is_some_and(|idled| idled >= idle) {
            return Some(false);
        }
        self.reading.arm(Some(idled.map_or(idle, |idled| idle.saturating_sub(idled))));
        let _ = self.reading.poll(cx);
        None
    }
}

#[cfg(test)]
mod tests;
