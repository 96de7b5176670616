//! Wakes the exchange that uses a connection, and nobody while it is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

use crate::net::clock;

/// What the socket of a connection to a backend wakes, whichever exchange has it on loan.
/// It stays the same for all of them, so that nobody's waker is copied for every exchange; and what
/// is let go of after an answer's end wakes nobody.
#[derive(Debug)]
pub(super) struct Gate {
    open: AtomicBool,
    /// Something has happened since the connection was last polled.
    stirred: AtomicBool,
    /// When the first of it did, with nobody there to hear it: on the worker's clock (ms).
    stirred_at: AtomicU64,
    task: AtomicWaker,
}

const NEVER: u64 = u64::MAX;

impl Default for Gate {
    fn default() -> Self {
        Self {
            open: AtomicBool::new(false),
            stirred: AtomicBool::new(false),
            stirred_at: AtomicU64::new(NEVER),
            task: AtomicWaker::new(),
        }
    }
}

impl Gate {
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    /// Nobody is to be woken any more, and nobody's task is kept for it.
    pub(super) fn forget(&self) {
        self.close();
        drop(self.task.take());
    }

    /// Whether anything has happened since this was last asked.
    pub(super) fn take_stirred(&self) -> bool {
        self.stirred.load(Ordering::Relaxed) && self.stirred.swap(false, Ordering::Relaxed)
    }

    /// What has happened so far is of no interest.
    pub(super) fn settle(&self) {
        self.stirred.store(false, Ordering::Relaxed);
        self.stirred_at.store(NEVER, Ordering::Relaxed);
    }

    /// When something happened since.
    pub(super) fn stirred_at(&self) -> Option<u64> {
        let at = self.stirred_at.load(Ordering::Relaxed);
        (at != NEVER).then_some(at)
    }

    /// The task to be woken while it is open.
    pub(super) fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let first = !self.stirred.load(Ordering::Relaxed);
        self.stirred.store(true, Ordering::Relaxed);
        if self.open.load(Ordering::Relaxed) {
            self.task.wake();
        } else if let Some(now) = first.then(clock::try_now).flatten() {
            self.stirred_at.store(now, Ordering::Relaxed);
        }
    }
}
