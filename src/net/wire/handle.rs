//! What an exchange and the wire below it tell each other, without a lock.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;

use super::head::Refusal;
use super::share;
use super::turns::Turns;

const KEEP: u8 = 0;
const RELEASE: u8 = 1;
const TUNNEL: u8 = 2;

/// Shared by the wire and those who serve its messages. All on one thread; atomics because
/// futures are `Send`.
#[derive(Debug)]
pub struct Handle {
    /// Heads that have come, and exchanges done: equal while the connection is idle.
    heads: AtomicU64,
    done: AtomicU64,
    /// When the last one was done, on the worker's clock.
    done_at: AtomicU64,
    /// Number of the refused head, from 0; and why.
    refused_head: AtomicU64,
    refusal: AtomicU8,
    /// The refusal is of bytes that hyper cannot be shielded from: reading fails.
    in_stream: AtomicBool,
    /// A change of protocol was asked for: the wire reads on when it is decided.
    holding: AtomicBool,
    release: AtomicU8,
    waker: AtomicWaker,
    /// The next read is to ask the system whether something has come.
    doubted: AtomicBool,
    clients: AtomicBool,
    stalled: AtomicBool,
    framed: AtomicBool,
    /// The last byte that came was the last one of a message.
    between: AtomicBool,
    /// Something is said that the peer does not take.
    blocked: AtomicBool,
    /// An HTTP/2 client was in the middle of a frame for too long.
    late: AtomicBool,
    /// Bytes of a backend that are read at once.
    piece: AtomicUsize,
    /// What ends now ends because memory is short.
    pressed: AtomicBool,
    /// A request was refused for that.
    shed: AtomicBool,
    /// It said far more than its requests need.
    flooded: AtomicBool,
    turns: Turns,
    /// How often all that was said has gone to the peer's socket.
    flushes: AtomicU64,
}

impl Default for Handle {
    fn default() -> Self {
        Self {
            heads: AtomicU64::new(0),
            done: AtomicU64::new(0),
            done_at: AtomicU64::new(0),
            refused_head: AtomicU64::new(u64::MAX),
            refusal: AtomicU8::new(0),
            in_stream: AtomicBool::new(false),
            holding: AtomicBool::new(false),
            release: AtomicU8::new(KEEP),
            waker: AtomicWaker::new(),
            doubted: AtomicBool::new(false),
            clients: AtomicBool::new(true),
            stalled: AtomicBool::new(false),
            framed: AtomicBool::new(false),
            between: AtomicBool::new(true),
            blocked: AtomicBool::new(false),
            late: AtomicBool::new(false),
            piece: AtomicUsize::new(usize::MAX),
            pressed: AtomicBool::new(false),
            shed: AtomicBool::new(false),
            flooded: AtomicBool::new(false),
            turns: Turns::default(),
            flushes: AtomicU64::new(0),
        }
    }
}

impl Handle {
    /// Heads that have come as a whole.
    pub fn heads(&self) -> u64 {
        self.heads.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, heads: u64) {
        if heads > 0 {
            self.heads.store(self.heads() + heads, Ordering::Relaxed);
        }
    }

    pub(super) fn framed(&self) {
        self.framed.store(true, Ordering::Relaxed);
    }

    /// Whether this is a connection whose heads are not seen here: HTTP/2.
    pub fn is_framed(&self) -> bool {
        self.framed.load(Ordering::Relaxed)
    }

    /// An exchange has begun on such a connection.
    pub fn begun(&self) {
        self.note(1);
    }

    /// An exchange is over, its answer's body included. `now`: the worker's clock.
    pub fn done(&self, now: u64) {
        self.done.store(self.done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.done_at.store(now, Ordering::Relaxed);
        // However the exchange of the last head ended: without a tunnel the next request is read.
        // Before it, pipelined ones may end; what is held is not theirs to decide.
        if self.heads() == self.done.load(Ordering::Relaxed) {
            self.decide(false);
        }
    }

    /// Exchanges that are over.
    pub fn exchanges_done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How much one exchange of this client's may have of its answer at once (bytes). What a stream
    /// has and its client does not take is held until the client does, and on one connection of
    /// HTTP/2 there may be many such.
    pub fn share(&self) -> usize {
        if !self.is_framed() {
            return usize::MAX;
        }
        share::of(self.open())
    }

    /// Exchanges that are going on.
    pub fn open(&self) -> u64 {
        self.heads().saturating_sub(self.done.load(Ordering::Relaxed))
    }

    /// Whether this client has so many exchanges at once that their buffers count.
    pub fn is_crowded(&self) -> bool {
        self.is_framed() && self.open() > share::FEW
    }

    /// Of this backend, so many bytes are read at once, at most.
    pub fn read_at_most(&self, piece: usize) {
        self.piece.store(piece, Ordering::Relaxed);
    }

    pub(super) fn piece(&self) -> usize {
        self.piece.load(Ordering::Relaxed)
    }

    /// How long nothing has been going on; none while something is.
    pub fn idle_for(&self, now: u64) -> Option<Duration> {
        let idle = self.heads() == self.done.load(Ordering::Relaxed);
        idle.then(|| {
            Duration::from_millis(now.saturating_sub(self.done_at.load(Ordering::Relaxed)))
        })
    }

    /// How long nothing has been going on and nothing is held by anybody for this connection:
    /// neither a part of a request nor of an answer.
    pub fn at_rest_for(&self, now: u64) -> Option<Duration> {
        let quiet = self.between.load(Ordering::Relaxed) && !self.blocked.load(Ordering::Relaxed);
        if quiet { self.idle_for(now) } else { None }
    }

    pub(super) fn set_between(&self, between: bool) {
        self.between.store(between, Ordering::Relaxed);
    }

    /// Whether all of the message with this head (its number, from 0) has come.
    pub fn is_whole(&self, head: u64) -> bool {
        self.heads() > head + 1 || self.between.load(Ordering::Relaxed)
    }

    pub(super) fn set_blocked(&self, now: u64) {
        self.blocked.store(true, Ordering::Relaxed);
        self.turns.blocked(now);
    }

    /// Whether something is said that the peer does not take.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(super) fn set_unblocked(&self) {
        self.blocked.store(false, Ordering::Relaxed);
        self.turns.unblocked();
    }

    /// Ready while the client's socket takes what we say; else the task is woken when it does.
    /// `h2` asks for more than it can write: what is not read yet is better left at the backend.
    /// `given`: ready only when it has been flushed since.
    pub fn poll_unblocked(&self, given: Option<u64>, waker: &Waker) -> Poll<()> {
        if !self.blocked.load(Ordering::Relaxed) && given.is_none_or(|it| it != self.flushes()) {
            return Poll::Ready(());
        }
        self.turns.wait(waker);
        Poll::Pending
    }

    /// How often all that was said has gone to the client's socket.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    pub(super) fn flushed(&self) {
        self.flushes.store(self.flushes().wrapping_add(1), Ordering::Relaxed);
        self.turns.unblocked();
    }

    /// Who is waited for on the streams of an HTTP/2 connection.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    pub(super) fn frame_was_late(&self) {
        self.late.store(true, Ordering::Relaxed);
    }

    /// Whether the connection was ended because the client was in the middle of a preface, a frame
    /// or a header block for too long.
    pub fn was_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    pub(super) fn frames_were_flood(&self) {
        self.flooded.store(true, Ordering::Relaxed);
    }

    /// Whether the connection was ended because an HTTP/2 client said far more than its requests
    /// need.
    pub fn was_flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    /// Why the head of this number (from 0) was refused.
    pub fn refused(&self, head: u64) -> Option<Refusal> {
        (self.refused_head.load(Ordering::Relaxed) == head).then(|| self.refusal()).flatten()
    }

    /// Why something was refused on this connection: a head, or a body's framing.
    pub fn refusal(&self) -> Option<Refusal> {
        Refusal::from_code(self.refusal.load(Ordering::Relaxed))
    }

    /// Records a refusal; true when it is the connection's first.
    pub(super) fn refuse(&self, refusal: Refusal, in_body: bool) -> bool {
        if self.refusal().is_some() {
            return false;
        }
        self.refusal.store(refusal as u8, Ordering::Relaxed);
        if in_body {
            self.in_stream.store(true, Ordering::Relaxed);
        } else {
            self.refused_head.store(self.heads(), Ordering::Relaxed);
        }
        true
    }

    pub(super) fn refused_in_stream(&self) -> bool {
        self.in_stream.load(Ordering::Relaxed)
    }

    /// This is a connection to a backend.
    pub(super) fn towards_backend(&self) {
        self.clients.store(false, Ordering::Relaxed);
    }

    pub(super) fn serves_clients(&self) -> bool {
        self.clients.load(Ordering::Relaxed)
    }

    /// Whether the next read asks the system itself if the backend has said anything or has ended,
    /// and takes either for the end.
    pub fn doubt(&self, doubted: bool) {
        self.doubted.store(doubted, Ordering::Relaxed);
    }

    pub(super) fn take_doubt(&self) -> bool {
        self.doubted.load(Ordering::Relaxed) && self.doubted.swap(false, Ordering::Relaxed)
    }

    pub(super) fn hold(&self) {
        self.holding.store(true, Ordering::Relaxed);
    }

    /// The change of protocol that the last head asked for is granted: what follows is a tunnel.
    pub fn begin_tunnel(&self) {
        self.decide(true);
    }

    fn decide(&self, tunnel: bool) {
        if self.holding.load(Ordering::Relaxed) {
            self.holding.store(false, Ordering::Relaxed);
            self.release.store(if tunnel { TUNNEL } else { RELEASE }, Ordering::Relaxed);
            self.waker.wake();
        }
    }

    pub(super) fn releasing(&self) -> bool {
        self.release.load(Ordering::Relaxed) != KEEP
    }

    pub(super) fn take_release(&self) -> Option<bool> {
        match self.release.swap(KEEP, Ordering::Relaxed) {
            KEEP => None,
            decision => Some(decision == TUNNEL),
        }
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// What ends on this connection from now on ends because memory is short, or does not.
    pub fn press(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::Relaxed);
    }

    /// Whether that is so.
    pub fn was_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    /// A request was refused because memory is short: its client is to come back another time.
    pub fn shed(&self) {
        self.shed.store(true, Ordering::Relaxed);
    }

    /// Whether that has happened.
    pub fn has_shed(&self) -> bool {
        self.shed.load(Ordering::Relaxed)
    }

    pub(super) fn stalled(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    /// Whether the connection was ended because the peer took no bytes.
    pub fn was_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }
}
