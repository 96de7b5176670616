//! A limit of requests at a backend that follows how long it takes to answer.
// Workers record, without a lock, how attempts ended; the control thread looks four times a second,
// decides what may be in flight from now on (`Gradient`), and leaves it where workers read it.

mod gradient;
mod samples;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::config::model::Concurrency as Bounds;
pub use gradient::{Gradient, Load};
pub use samples::{Samples, Seen};

/// A limit that was in force, and is not any more.
const LIFTED: u32 = u32::MAX;

/// What is known of one backend; next to nothing where nobody has asked for it.
#[derive(Debug, Default)]
pub struct Concurrency {
    /// 0: none so far.
    limit: AtomicU32,
    known: OnceLock<Box<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    samples: Samples,
    /// The control thread's.
    gradient: Mutex<Gradient>,
}

impl Concurrency {
    /// The limit in force, tunnels not counted; none before the first look.
    pub fn limit(&self) -> Option<u32> {
        let limit = self.limit.load(Ordering::SeqCst);
        (limit > 0).then_some(limit)
    }

    /// An attempt brought an answer's head after so many nanoseconds.
    pub fn answered(&self, nanos: u64) {
        self.known.get_or_init(Box::default).samples.answered(nanos);
    }

    /// An attempt failed by the backend's fault, or it said that it has too much to do.
    pub fn failed(&self) {
        self.known.get_or_init(Box::default).samples.failed();
    }

    /// A look at what has come since the last one (`now`: milliseconds on any clock; `share`:
    /// spreads backends over time). The limit that holds from now on, and whether it has risen.
    pub fn look(&self, bounds: Bounds, load: Load, now: u64, share: u64) -> (u32, bool) {
        let known = self.known.get_or_init(Box::default);
        let seen = known.samples.take();
        let mut gradient = known.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = gradient.step(&seen, load, now, (bounds, share)).max(1);
        let before = self.limit.swap(limit, Ordering::SeqCst);
        (limit, limit > before || before == LIFTED)
    }

    /// The file asks for it no more. Who still reads the one before, and waits, has no limit from
    /// now on either: those who come later would leave it no place. False where there was none.
    pub fn lift(&self) -> bool {
        if [0, LIFTED].contains(&self.limit.load(Ordering::SeqCst)) {
            return false;
        }
        self.limit.store(LIFTED, Ordering::SeqCst);
        if let Some(known) = self.known.get() {
            *known.gradient.lock().unwrap_or_else(PoisonError::into_inner) = Gradient::default();
        }
        true
    }
}
