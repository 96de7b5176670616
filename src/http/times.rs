//! When things happened in an attempt, for log and counters.

use std::time::{Duration, Instant};

/// Of the attempt that is under way, or was the last one.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// When its exchange began.
    pub(super) started: Instant,
    /// How long it took until it was connected; none: it is not.
    pub(super) connect: Option<Duration>,
    /// From the exchange's start until the head of the answer was there; none: it is not.
    pub first_byte: Option<Duration>,
    /// Its connection was there already.
    pub(super) reused: bool,
}

impl Times {
    /// Of an exchange that begins now.
    pub fn begin() -> Self {
        Self { started: Instant::now(), connect: None, first_byte: None, reused: false }
    }

    /// Another attempt of the same exchange.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { connect: None, first_byte: None, reused: false, ..*self }
    }

    /// Since the exchange began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes how the connection of the attempt came about.
    pub fn connected(&mut self, took: Duration, reused: bool) {
        self.connect = Some(took);
        self.reused = reused;
    }
}
