//! What one worker counts about one backend.

use std::sync::OnceLock;
use std::time::Duration;

use super::{Class, Counter, Counters, Gauge, Histogram};
use crate::telemetry::word::words;

words! {
    /// A part of an attempt's time.
    pub enum Phase {
        /// In the queue; only where a place had to be waited for.
        Queue = "queue",
        /// Until the connection was ready (TCP and TLS); only where one was opened.
        Connect = "connect",
        /// From the attempt's start to the response head.
        FirstByte = "first_byte",
        /// From the attempt's start to the end of the response.
        Total = "total",
    }
}

/// One worker's counts of one backend.
#[derive(Debug, Default)]
pub struct BackendCounters {
    attempts: Counters<{ Class::COUNT }>,
    durations: [OnceLock<Box<Histogram>>; Phase::COUNT],
    /// Connections that were opened.
    pub opened: Counter,
    /// Attempts that went over a connection that was there already.
    pub reused: Counter,
    /// Connections that wait for a request now.
    pub idle: Gauge,
}

impl BackendCounters {
    /// Counts one attempt; [`Class::Error`] is one without a response.
    pub fn attempt(&self, class: Class) {
        self.attempts.add(class.index(), 1);
    }

    /// Attempts of one class.
    pub fn attempts(&self, class: Class) -> u64 {
        self.attempts.get(class.index())
    }

    /// Notes how long a part of an attempt took.
    pub fn observe(&self, phase: Phase, duration: Duration) {
        if let Some(cell) = self.durations.get(phase.index()) {
            cell.get_or_init(Box::default).observe(duration);
        }
    }

    /// Durations of one phase, where there were any.
    pub fn durations(&self, phase: Phase) -> Option<&Histogram> {
        self.durations.get(phase.index())?.get().map(|boxed| &**boxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_and_phases_are_kept_apart() {
        let backend = BackendCounters::default();
        backend.attempt(Class::of(200));
        backend.attempt(Class::Error);
        backend.attempt(Class::Error);
        backend.observe(Phase::Connect, Duration::from_millis(1));
        assert_eq!(backend.attempts(Class::Success), 1);
        assert_eq!(backend.attempts(Class::Error), 2);
        assert!(backend.durations(Phase::Connect).is_some());
        assert!(backend.durations(Phase::Total).is_none());
    }
}
