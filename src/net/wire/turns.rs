//! Whose turn it is on an HTTP/2 stream: ours, or the client's to take what we have.
// hyper asks a body for nothing while its client gives no window, and does not tell. So a stream's
// task notes who was asked in one poll of it: whoever waits for us or for a backend says so, and
// if nobody has, it is the client that is waited for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::oneshot;

use super::heads::Digestion;

/// What is noted. All on one thread; atomics because futures are `Send`.
#[derive(Debug, Default)]
pub struct Turns {
    ours: AtomicBool,
    moved: AtomicBool,
    /// How often anybody's client was given something.
    moves: AtomicU64,
    given_up: AtomicBool,
    tunnel: AtomicBool,
    /// Heads that were refused for their size, and not held against the client yet.
    large_heads: AtomicU64,
    /// What `h2` does with those that it refuses by itself.
    pub(super) digestion: Digestion,
    cut: Mutex<Option<oneshot::Receiver<()>>>,
    /// Milliseconds on the worker's clock: when the socket last took nothing; 0 is never.
    blocked_at: AtomicU64,
    /// Bodies that wait for the socket, and whether there are any.
    waiting: Mutex<Vec<Waker>>,
    waits: AtomicBool,
}

/// What came of one poll of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The exchange or its backend is waited for.
    Ours,
    /// The client is waited for, and has just taken something.
    Taken,
    /// The client is waited for.
    Clients,
}

impl Turns {
    /// A stream is about to be polled.
    pub fn begin(&self) {
        self.ours.store(false, Ordering::Relaxed);
        self.moved.store(false, Ordering::Relaxed);
        self.tunnel.store(false, Ordering::Relaxed);
    }

    /// It was polled, and is not done.
    pub fn end(&self) -> Turn {
        if self.ours.load(Ordering::Relaxed) {
            Turn::Ours
        } else if self.moved.load(Ordering::Relaxed) {
            Turn::Taken
        } else {
            Turn::Clients
        }
    }

    /// The stream waits for us, or for a backend.
    pub fn ours(&self) {
        self.ours.store(true, Ordering::Relaxed);
    }

    /// The stream that is polled becomes a tunnel, with waits of its own. What is sent cuts it.
    pub fn begin_tunnel(&self) -> oneshot::Sender<()> {
        let (cut, told) = oneshot::channel();
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        self.tunnel.store(true, Ordering::Relaxed);
        cut
    }

    /// What cuts the tunnel of a stream, if what is started within its poll now carries that.
    pub fn take_tunnel(&self) -> Option<oneshot::Receiver<()>> {
        if !self.tunnel.load(Ordering::Relaxed) {
            return None;
        }
        self.tunnel.store(false, Ordering::Relaxed);
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A head was refused for its size, which is known when it has been unpacked.
    pub fn head_was_large(&self) {
        self.large_heads.store(self.large_heads.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn take_large_heads(&self) -> u64 {
        let heads = self.large_heads.load(Ordering::Relaxed);
        if heads > 0 {
            self.large_heads.store(0, Ordering::Relaxed);
        }
        heads
    }

    /// The client was given something.
    pub fn moved(&self) {
        self.moved.store(true, Ordering::Relaxed);
        self.moves.store(self.moves() + 1, Ordering::Relaxed);
    }

    /// How often a client of the connection was given something.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// Around the drop of a stream that its client does not read.
    pub fn give_up(&self, drop: impl FnOnce()) {
        self.given_up.store(true, Ordering::Relaxed);
        drop();
        self.given_up.store(false, Ordering::Relaxed);
    }

    /// Whether what is dropped now is dropped for that.
    pub fn gives_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(super) fn blocked(&self, now: u64) {
        self.blocked_at.store(now.max(1), Ordering::Relaxed);
    }

    /// Whether the socket itself was full within this time: then a stream waits for the others of
    /// its connection, whose own wait is the wire's.
    pub fn blocked_within(&self, time: Duration, now: u64) -> bool {
        let at = self.blocked_at.load(Ordering::Relaxed);
        at > 0 && Duration::from_millis(now.saturating_sub(at)) <= time
    }

    pub(super) fn wait(&self, waker: &Waker) {
        self.waits.store(true, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|one| one.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    pub(super) fn unblocked(&self) {
        if !self.waits.load(Ordering::Relaxed) {
            return;
        }
        self.waits.store(false, Ordering::Relaxed);
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_nothing_waits_for_the_client() {
        let turns = Turns::default();
        turns.begin();
        assert_eq!(turns.end(), Turn::Clients);
        turns.moved();
        assert_eq!(turns.end(), Turn::Taken);
        turns.ours();
        assert_eq!(turns.end(), Turn::Ours);
        turns.begin();
        assert_eq!(turns.end(), Turn::Clients, "each poll is told anew");
    }

    #[test]
    fn a_socket_that_was_never_full_was_not_full_lately() {
        let turns = Turns::default();
        assert!(!turns.blocked_within(Duration::from_mins(1), 5));
        turns.blocked(0);
        assert!(turns.blocked_within(Duration::from_mins(1), 5));
        assert!(!turns.blocked_within(Duration::from_mins(1), 70_000));
    }
}
