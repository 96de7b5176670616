//! How long a backend takes to answer: an average that follows peaks at once, in one atomic.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an error counts as, at least (nanoseconds): a backend that fails fast must not look fast.
const PENALTY: u64 = 1_000_000_000;

/// What errors in a row can add up to (nanoseconds).
const WORST_PENALTY: u64 = 30_000_000_000;

/// Bits of the moment of the last change, in 1/62.5 seconds. They are good for three days.
const STAMP_BITS: u32 = 24;
const STAMP_MASK: u64 = (1 << STAMP_BITS) - 1;
/// The average, in quarters of a nanosecond, up to 274 seconds. 0: none.
const MOST: u64 = (1 << (64 - STAMP_BITS)) - 1;

/// How far the binary logarithm of a difference falls in one stamp, 16 ms, where it falls to 1/e
/// in ten seconds (as in Finagle), in 2^-32: `16 / 10,000 · log2(e) · 2^32`.
const FALL: u64 = 9_914_125;

/// Peak-sensitive moving average of response times (Finagle's `PeakEwma`). What is above it
/// replaces it at once; towards what is below it falls with a time constant of ten seconds.
///
/// Workers that write at the same time may lose one of their observations. What is read is always
/// what one of them wrote.
#[derive(Debug, Default)]
pub struct Latency(AtomicU64);

impl Latency {
    /// An answer took so many nanoseconds. `now_millis`: any clock in milliseconds that all workers
    /// share; a coarse one will do, and the wall clock, too: where it is set back, one observation
    /// is lost. Writes at most once in 16 ms unless there is a peak.
    pub fn observe(&self, nanos: u64, now_millis: u64) {
        let seen = nanos.saturating_mul(4).clamp(1, MOST);
        let (average, stamp) = self.load();
        let now = stamp_of(now_millis);
        let next = if seen >= average {
            seen
        } else {
            match elapsed(stamp, now) {
                Some(0) => return,
                Some(elapsed) => seen + fallen(average - seen, elapsed),
                // The stamp has gone round, or another worker was ahead: this one counts anew.
                None => average,
            }
        };
        if (next, now) != (average, stamp) {
            self.0.store(next << STAMP_BITS | now, Ordering::Relaxed);
        }
    }

    /// An attempt failed after so many nanoseconds: counts as a second, and as twice the average
    /// where that is more (up to half a minute), so that who fails again is avoided for longer.
    /// Failures within 16 ms are taken as one. Never makes a backend look faster.
    pub fn fail(&self, nanos: u64, now_millis: u64) {
        let (average, stamp) = self.load();
        let (average, again) = match elapsed(stamp, stamp_of(now_millis)) {
            Some(elapsed) if elapsed > 0 => {
                let average = fallen(average, elapsed) / 4;
                (average, (average * 2).min(WORST_PENALTY))
            }
            _ => (average / 4, 0),
        };
        self.observe(nanos.max(PENALTY).max(average).max(again), now_millis);
    }

    /// The average in nanoseconds, at least 1, fallen since it was last renewed: who was slow long
    /// ago is tried again. None where nothing was observed.
    pub fn value(&self, now_millis: u64) -> Option<u64> {
        let (average, stamp) = self.load();
        let elapsed = elapsed(stamp, stamp_of(now_millis)).unwrap_or(0);
        (average > 0).then(|| (fallen(average, elapsed) / 4).max(1))
    }

    /// Forgets everything: it has been down, and another process may answer now.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn load(&self) -> (u64, u64) {
        let both = self.0.load(Ordering::Relaxed);
        (both >> STAMP_BITS, both & STAMP_MASK)
    }
}

fn stamp_of(millis: u64) -> u64 {
    (millis >> 4) & STAMP_MASK
}

/// From one stamp to another; none where the other one is before it.
fn elapsed(from: u64, to: u64) -> Option<u64> {
    let elapsed = to.wrapping_sub(from) & STAMP_MASK;
    (elapsed <= STAMP_MASK / 2).then_some(elapsed)
}

/// `amount · exp(-elapsed / 10 s)`, good to four parts in a thousand; `amount` up to `MOST`.
fn fallen(amount: u64, elapsed: u64) -> u64 {
    let logarithm = (elapsed * FALL) >> 16;
    let (whole, fraction) = (logarithm >> 16, logarithm & 0xffff);
    // 2^-f as 1 - 0.67157 f + 0.17157 f², exact at 0, 1/2 and 1.
    let power =
        65_536 - ((44_012 * fraction) >> 16) + ((((11_244 * fraction) >> 16) * fraction) >> 16);
    let whole = u32::try_from(whole).unwrap_or(u32::MAX);
    ((amount * power) >> 16).checked_shr(whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const MILLI: u64 = 1_000_000;

    /// Finagle's `PeakEwma.observe`, on stamps of 16 ms.
    struct Model {
        cost: f64,
        stamp: u64,
    }

    impl Model {
        fn observe(&mut self, nanos: f64, stamp: u64) {
            let w = self.weight(stamp);
            let falls = nanos < self.cost;
            self.cost = if falls { self.cost * w + nanos * (1.0 - w) } else { nanos };
            self.stamp = stamp;
        }

        #[expect(clippy::cast_precision_loss, reason = "compared within a tolerance")]
        fn weight(&self, stamp: u64) -> f64 {
            (-0.016 * (stamp - self.stamp) as f64 / 10.0).exp()
        }
    }

    proptest! {
        #[test]
        #[expect(clippy::cast_precision_loss, reason = "compared within a tolerance")]
        fn it_is_the_published_average(
            steps in proptest::collection::vec((1u64..2_000, 1_000u64..50_000_000_000), 1..60),
        ) {
            let latency = Latency::default();
            let mut model = Model { cost: 0.0, stamp: 0 };
            let mut stamp = 0;
            for (after, nanos) in steps {
                stamp += after;
                latency.observe(nanos, stamp * 16);
                model.observe(nanos as f64, stamp);
                let later = stamp + after;
                let ours = latency.value(later * 16).unwrap() as f64;
                let theirs = model.cost * model.weight(later);
                prop_assert!((ours / theirs - 1.0).abs() < 0.02 || (ours - theirs).abs() < 2.0);
            }
        }

        #[test]
        #[expect(clippy::cast_precision_loss, reason = "compared within a tolerance")]
        fn it_falls_exponentially_and_never_rises(amount in 1u64..=MOST, elapsed in 0u64..9_000) {
            let exact = amount as f64 * (-0.0016 * elapsed as f64).exp();
            let ours = fallen(amount, elapsed);
            prop_assert!((ours as f64 - exact).abs() <= exact * 0.004 + 1.0, "{ours} {exact}");
            prop_assert!(fallen(amount, elapsed + 1) <= ours);
        }

        #[test]
        fn it_stays_between_what_was_observed(
            steps in proptest::collection::vec((any::<u64>(), any::<u64>()), 1..40),
        ) {
            let latency = Latency::default();
            let (mut least, mut most) = (u64::MAX, 0);
            for (nanos, now) in steps {
                latency.observe(nanos, now);
                let seen = nanos.clamp(1, MOST / 4);
                (least, most) = (least.min(seen), most.max(seen));
                let value = latency.value(now).unwrap();
                prop_assert!((least..=most).contains(&value), "{value}");
            }
        }
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgiven_slowly() {
        let latency = Latency::default();
        assert_eq!(latency.value(5_000), None);
        latency.observe(10 * MILLI, 5_000);
        latency.observe(200 * MILLI, 5_000);
        latency.observe(10 * MILLI, 5_000);
        assert_eq!(latency.value(5_000), Some(200 * MILLI));
        latency.observe(10 * MILLI, 15_000);
        let value = latency.value(15_000).unwrap();
        // 10 + 190 / e.
        assert!((79 * MILLI..81 * MILLI).contains(&value), "{value}");
        latency.forget();
        assert_eq!(latency.value(15_000), None);
    }

    #[test]
    fn small_steps_add_up() {
        let latency = Latency::default();
        latency.observe(100_000, 0);
        for millis in 1..=10_000 {
            latency.observe(90_000, millis);
        }
        let value = latency.value(10_000).unwrap();
        // 90 + 10 / e microseconds.
        assert!((93_500..93_900).contains(&value), "{value}");
    }

    #[test]
    fn an_error_never_makes_a_backend_look_faster() {
        let latency = Latency::default();
        latency.fail(MILLI, 0);
        assert_eq!(latency.value(0), Some(1000 * MILLI));
        // A crowd that fails together fails once.
        for _ in 0..100 {
            latency.fail(MILLI, 1);
        }
        assert_eq!(latency.value(1), Some(1000 * MILLI));
        for millis in 1..100 {
            latency.fail(MILLI, millis * 16);
        }
        let value = latency.value(99 * 16).unwrap();
        assert!((29_900 * MILLI..=30_000 * MILLI).contains(&value), "{value}");
        latency.observe(60_000 * MILLI, 99 * 16);
        latency.fail(MILLI, 100 * 16);
        assert!(latency.value(100 * 16).unwrap() > 59_500 * MILLI);
    }

    #[test]
    fn a_stamp_that_went_round_counts_anew() {
        let latency = Latency::default();
        latency.observe(10 * MILLI, 0);
        let after = (STAMP_MASK - 1) * 16;
        latency.observe(MILLI, after);
        assert_eq!(latency.value(after), Some(10 * MILLI));
        latency.observe(MILLI, after + 10_000);
        assert!(latency.value(after + 10_000).unwrap() < 5 * MILLI);
    }

    #[test]
    fn racing_writers_never_corrupt_it() {
        let latency = Arc::new(Latency::default());
        let writers = (1..=4).map(|writer| {
            let latency = Arc::clone(&latency);
            thread::spawn(move || {
                for round in 0..20_000 {
                    latency.observe(writer * MILLI, round);
                    let value = latency.value(round).unwrap();
                    assert!(value <= 4 * MILLI, "{value}");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.join().unwrap();
        }
        let value = latency.value(20_000).unwrap();
        assert!((MILLI / 2..=4 * MILLI).contains(&value), "{value}");
    }
}
