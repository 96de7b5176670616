//! How many attempts ended how: one block a worker, added up by the control thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Kind, Kinds};

/// The attempts of one worker at one backend so far. Only that worker writes it.
#[derive(Debug, Default)]
pub struct Tally {
    successes: AtomicU64,
    measured: AtomicU64,
    nanos: AtomicU64,
    connect: AtomicU64,
    reset: AtomicU64,
    timeout: AtomicU64,
    status: AtomicU64,
}

impl Tally {
    #[inline]
    pub(super) fn success(&self, nanos: Option<u64>) {
        add(&self.successes, 1);
        if let Some(nanos) = nanos {
            add(&self.measured, 1);
            add(&self.nanos, nanos);
        }
    }

    pub(super) fn failure(&self, kind: Kind) {
        let count = match kind {
            Kind::Connect => &self.connect,
            Kind::Reset => &self.reset,
            Kind::Timeout => &self.timeout,
            Kind::Status => &self.status,
        };
        add(count, 1);
    }

    /// What it says now.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            successes: read(&self.successes),
            measured: read(&self.measured),
            nanos: read(&self.nanos),
            connect: read(&self.connect),
            reset: read(&self.reset),
            timeout: read(&self.timeout),
            status: read(&self.status),
        }
    }
}

/// One writer: no need of a locked instruction.
#[inline]
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// Attempts and how they ended; since the beginning, or over a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered, and not held against the backend.
    pub successes: u64,
    /// Those of them whose latency is known.
    pub measured: u64,
    /// Their latencies together, in nanoseconds.
    pub nanos: u64,
    /// Not connected.
    pub connect: u64,
    /// Broken off.
    pub reset: u64,
    /// Not answered in time.
    pub timeout: u64,
    /// Answered with 5xx.
    pub status: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::wrapping_add)
    }

    /// What has come since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.with(before, u64::wrapping_sub)
    }

    /// All failures, the application's own 5xx too.
    pub fn failures(self) -> u64 {
        self.connect
            .saturating_add(self.reset)
            .saturating_add(self.timeout)
            .saturating_add(self.status)
    }

    /// All attempts.
    pub fn attempts(self) -> u64 {
        self.successes.saturating_add(self.failures())
    }

    /// Attempts that went well and that failed, by what counts as a failure. A 5xx that does not
    /// went well; what failed otherwise without counting says neither.
    pub fn by(self, on: Kinds) -> (u64, u64) {
        let kinds = [
            (Kind::Connect, self.connect),
            (Kind::Reset, self.reset),
            (Kind::Timeout, self.timeout),
            (Kind::Status, self.status),
        ];
        let bad = kinds.iter().filter(|(kind, _)| on.has(*kind)).map(|(_, count)| count).sum();
        let status = if on.has(Kind::Status) { 0 } else { self.status };
        (self.successes.saturating_add(status), bad)
    }

    fn with(self, other: Self, by: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            successes: by(self.successes, other.successes),
            measured: by(self.measured, other.measured),
            nanos: by(self.nanos, other.nanos),
            connect: by(self.connect, other.connect),
            reset: by(self.reset, other.reset),
            timeout: by(self.timeout, other.timeout),
            status: by(self.status, other.status),
        }
    }
}

/// What the backends of a pool had counted at the last look.
#[derive(Debug, Default)]
pub struct Meter(BTreeMap<u64, Counts>);

impl Meter {
    /// What a backend has counted since the last look; at the first one nothing. `name`: its
    /// `name_hash`. `tallies`: those of all workers.
    pub fn read<'a>(&mut self, name: u64, tallies: impl Iterator<Item = &'a Tally>) -> Counts {
        let now = tallies.fold(Counts::default(), |sum, tally| sum.plus(tally.counts()));
        let before = self.0.insert(name, now).unwrap_or(now);
        now.since(before)
    }

    /// Forgets those that are gone.
    pub fn retain(&mut self, here: impl Fn(u64) -> bool) {
        self.0.retain(|name, _| here(*name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_reads_what_all_workers_have_counted_since() {
        let tallies = [Tally::default(), Tally::default()];
        let mut meter = Meter::default();
        tallies[0].success(Some(9));
        assert_eq!(meter.read(1, tallies.iter()), Counts::default());
        tallies[0].success(Some(5));
        tallies[1].success(None);
        tallies[1].failure(Kind::Status);
        let counts = meter.read(1, tallies.iter());
        assert_eq!((counts.successes, counts.measured, counts.nanos), (2, 1, 5));
        assert_eq!((counts.failures(), counts.attempts()), (1, 3));
        assert_eq!(meter.read(1, tallies.iter()), Counts::default());
    }

    #[test]
    fn an_applications_5xx_is_a_failure_only_by_asking() {
        let counts = Counts { successes: 10, reset: 2, status: 3, timeout: 4, ..Counts::default() };
        let on = Kinds::default().with(Kind::Reset);
        assert_eq!(counts.by(on), (13, 2));
        assert_eq!(counts.by(on.with(Kind::Status)), (10, 5));
    }
}
