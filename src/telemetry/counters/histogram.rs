//! Durations in fourteen fixed buckets from a millisecond to a minute.

use std::time::Duration;

use super::{Counter, Counters};

/// Upper bounds of the buckets in seconds, inclusive.
pub const BOUNDS_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// The same in microseconds.
pub const BOUNDS_MICROS: [u64; 14] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];

/// The bounded buckets and the one above them.
const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// Observed durations. One thread writes it.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: Counters<BUCKETS>,
    sum_micros: Counter,
}

impl Histogram {
    /// Counts one duration; only ever from the one thread that owns this histogram.
    #[inline(never)] // its bounds are unrolled, and there are four of it in an exchange
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Most exchanges are short: the scan from below ends after one or two comparisons.
        let fits = BOUNDS_MICROS.iter().position(|bound| micros <= *bound);
        self.buckets.add(fits.unwrap_or(BOUNDS_MICROS.len()), 1);
        self.sum_micros.add(micros);
    }
}

/// Several histograms added up, as a scrape shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramSum {
    buckets: [u64; BUCKETS],
    sum_micros: u64,
}

impl HistogramSum {
    /// Adds one worker's histogram.
    pub fn add(&mut self, histogram: &Histogram) {
        for (index, bucket) in self.buckets.iter_mut().enumerate() {
            *bucket = bucket.wrapping_add(histogram.buckets.get(index));
        }
        self.sum_micros = self.sum_micros.wrapping_add(histogram.sum_micros.get());
    }

    /// How many durations were observed. Taken from the buckets, so that it never disagrees with
    /// them while a worker is counting.
    pub fn count(&self) -> u64 {
        self.buckets.iter().copied().fold(0, u64::wrapping_add)
    }

    /// All durations together, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_micros(self.sum_micros).as_secs_f64()
    }

    /// Upper bound in seconds and how many durations are at most so long, bucket by bucket; what
    /// is longer than the last bound is in [`Self::count`] only.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS_SECONDS.into_iter().zip(&self.buckets).scan(0_u64, |below, (bound, bucket)| {
            *below = below.wrapping_add(*bucket);
            Some((bound, *below))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_lists_of_bounds_say_the_same() {
        for (seconds, micros) in BOUNDS_SECONDS.into_iter().zip(BOUNDS_MICROS) {
            assert_eq!(Duration::from_secs_f64(seconds), Duration::from_micros(micros));
        }
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let histogram = Histogram::default();
        for micros in [1_000, 1_001, 60_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut sum = HistogramSum::default();
        sum.add(&histogram);
        let counts: Vec<_> = sum.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts.first(), Some(&1));
        assert_eq!(counts.get(1), Some(&2));
        assert_eq!(counts.last(), Some(&3));
        assert_eq!(sum.count(), 4);
    }

    #[test]
    fn an_endless_duration_does_not_overflow() {
        let histogram = Histogram::default();
        histogram.observe(Duration::MAX);
        let mut sum = HistogramSum::default();
        sum.add(&histogram);
        assert_eq!(sum.count(), 1);
    }

    proptest! {
        #[test]
        fn every_bucket_counts_what_is_at_most_its_bound(
            micros in proptest::collection::vec(0_u64..100_000_000, 0..50),
        ) {
            let (even, odd) = (Histogram::default(), Histogram::default());
            for (index, micros) in micros.iter().enumerate() {
                let one = if index % 2 == 0 { &even } else { &odd };
                one.observe(Duration::from_micros(*micros));
            }
            let mut sum = HistogramSum::default();
            sum.add(&even);
            sum.add(&odd);
            for ((_, count), bound) in sum.cumulative().zip(BOUNDS_MICROS) {
                prop_assert_eq!(count, micros.iter().filter(|m| **m <= bound).count() as u64);
            }
            prop_assert_eq!(sum.count(), micros.len() as u64);
            let total = Duration::from_micros(micros.iter().sum());
            prop_assert!((sum.sum_seconds() - total.as_secs_f64()).abs() < 1e-6);
        }
    }
}
