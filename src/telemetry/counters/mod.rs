//! Numbers that one worker writes and a scrape adds up.

mod backend;
mod histogram;
mod listener;
mod pool;
mod requests;
mod route;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub use backend::{BackendCounters, Phase};
pub use histogram::{BOUNDS_MICROS, BOUNDS_SECONDS, Histogram, HistogramSum};
pub use listener::{
    ClientProtocol, HandshakeResult, HandshakeVersion, ListenerCounters, RefuseCause,
    WorkerCounters,
};
pub use pool::{MoveCause, PoolCounters, StickyOutcome, StickyToken};
pub use requests::{MethodWord, RequestKey};
pub use route::{Class, RouteCounters};

/// A count that only grows. One thread writes it, so that adding is a plain load and store.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only ever from the one thread that owns this counter.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The count so far; from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls. One thread writes it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds; only ever from the one thread that owns this gauge.
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Subtracts; only ever from the one thread that owns this gauge.
    pub fn sub(&self, n: i64) {
        self.add(n.wrapping_neg());
    }

    /// The number now; from any thread.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters found by the index of a word.
#[derive(Debug)]
struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Counters<N> {
    fn add(&self, index: usize, n: u64) {
        debug_assert!(index < N, "an index comes from a word of the closed list");
        if let Some(counter) = self.0.get(index) {
            counter.add(n);
        }
    }

    fn get(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, Counter::get)
    }
}

/// Alone on its cache lines (x86 prefetches them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// One `T` for each worker. Never empty, so that looking one up cannot fail.
#[derive(Debug)]
pub struct PerWorker<T> {
    first: Padded<T>,
    rest: Box<[Padded<T>]>,
}

impl<T: Default> PerWorker<T> {
    /// One for each of `workers`, at least one. Count the acceptor as a worker more where it
    /// writes too.
    pub fn new(workers: usize) -> Self {
        let rest = (1..workers).map(|_| Padded::default()).collect();
        Self { first: Padded::default(), rest }
    }
}

impl<T> PerWorker<T> {
    /// What this worker writes. A number beyond the last is a mistake of ours and gets the first.
    pub fn get(&self, worker: usize) -> &T {
        debug_assert!(worker <= self.rest.len(), "there is no worker {worker}");
        match worker.checked_sub(1).and_then(|index| self.rest.get(index)) {
            Some(padded) => &padded.0,
            None => &self.first.0,
        }
    }

    /// Everyone's, in the order of workers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.rest).map(|padded| &padded.0)
    }

    /// Adds up one count over all workers.
    pub fn sum(&self, read: impl Fn(&T) -> u64) -> u64 {
        self.iter().map(read).fold(0, u64::wrapping_add)
    }

    /// Adds up one gauge over all workers.
    pub fn sum_gauge(&self, read: impl Fn(&T) -> i64) -> i64 {
        self.iter().map(read).fold(0, i64::wrapping_add)
    }

    /// Adds up one histogram over all workers; `None` where nobody has observed anything.
    pub fn sum_histogram<'a>(
        &'a self,
        read: impl Fn(&'a T) -> Option<&'a Histogram>,
    ) -> Option<HistogramSum> {
        self.iter().filter_map(read).fold(None, |sum, histogram| {
            let mut sum = sum.unwrap_or_default();
            sum.add(histogram);
            Some(sum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_its_own_and_the_sum_has_all() {
        let counters = PerWorker::<Counter>::new(3);
        for worker in 0..3 {
            counters.get(worker).add(u64::try_from(worker).unwrap() + 1);
        }
        assert_eq!(counters.iter().map(Counter::get).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(counters.sum(Counter::get), 6);
    }

    #[test]
    fn no_workers_still_have_a_place_to_count() {
        let counters = PerWorker::<Counter>::new(0);
        counters.get(0).add(1);
        assert_eq!(counters.sum(Counter::get), 1);
    }

    #[test]
    fn a_gauge_falls_below_where_another_workers_rose() {
        let gauges = PerWorker::<Gauge>::new(2);
        gauges.get(0).add(5);
        gauges.get(1).sub(2);
        assert_eq!(gauges.sum_gauge(Gauge::get), 3);
    }

    #[test]
    fn workers_share_no_cache_line() {
        let counters = PerWorker::<Counter>::new(3);
        let places: Vec<_> = counters.iter().map(|c| std::ptr::from_ref(c).addr()).collect();
        assert!(places.windows(2).all(|pair| pair[0].abs_diff(pair[1]) >= 128));
    }
}
