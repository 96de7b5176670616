//! Wakes the exchange that uses a connection, and nobody while it is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// What hyper and the socket of a connection to a backend wake, whichever exchange has it on loan.
/// It stays the same for all of them, so that nobody's waker is copied for every exchange; and what
/// is let go of after an answer's end wakes nobody, which hyper would otherwise do.
#[derive(Debug, Default)]
pub(super) struct Gate {
    open: AtomicBool,
    /// Something has happened since the connection was last polled.
    stirred: AtomicBool,
    task: AtomicWaker,
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
        self.stirred.store(true, Ordering::Relaxed);
        if self.open.load(Ordering::Relaxed) {
            self.task.wake();
        }
    }
}
