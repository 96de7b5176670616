//! How long answers took, as counts in classes an eighth of an octave wide.

use std::sync::atomic::{AtomicU32, Ordering};

/// Classes: eight to an octave, from a microsecond to two minutes.
const CLASSES: usize = 208;

/// Written by all workers, read and emptied by the control thread.
#[derive(Debug)]
pub struct Samples {
    classes: [AtomicU32; CLASSES],
    failures: AtomicU32,
}

impl Default for Samples {
    fn default() -> Self {
        Self { classes: [const { AtomicU32::new(0) }; CLASSES], failures: AtomicU32::new(0) }
    }
}

impl Samples {
    /// An answer took so many nanoseconds.
    pub fn answered(&self, nanos: u64) {
        if let Some(class) = self.classes.get(class(nanos >> 10)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// There was no answer, or one that said that there was too much to do.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What has come since this was last asked.
    pub fn take(&self) -> Seen {
        let mut seen = Seen { failures: take(&self.failures), ..Seen::default() };
        for (to, from) in seen.classes.iter_mut().zip(&self.classes) {
            *to = take(from);
            seen.count = seen.count.saturating_add(*to);
        }
        seen
    }
}

fn take(count: &AtomicU32) -> u32 {
    if count.load(Ordering::Relaxed) == 0 { 0 } else { count.swap(0, Ordering::Relaxed) }
}

/// What was seen in some time.
#[derive(Debug, Clone)]
pub struct Seen {
    classes: [u32; CLASSES],
    /// Answers.
    pub count: u32,
    /// Attempts that failed.
    pub failures: u32,
}

impl Default for Seen {
    fn default() -> Self {
        Self { classes: [0; CLASSES], count: 0, failures: 0 }
    }
}

impl Seen {
    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        for (to, from) in self.classes.iter_mut().zip(&other.classes) {
            *to = to.saturating_add(*from);
        }
        self.count = self.count.saturating_add(other.count);
        self.failures = self.failures.saturating_add(other.failures);
    }

    /// The time within which half of the answers came, in 1,024 nanoseconds; none without any.
    pub fn median(&self) -> Option<f64> {
        let half = f64::from(self.count) / 2.0;
        let mut before = 0.0;
        for (index, count) in self.classes.iter().enumerate().filter(|(_, count)| **count > 0) {
            let here = f64::from(*count);
            if before + here >= half {
                let (low, width) = bounds(index);
                return Some(low + width * ((half - before) / here));
            }
            before += here;
        }
        None
    }
}

/// The class of a time: the first eight are one wide, each octave from there on has eight.
fn class(time: u64) -> usize {
    let octave = time.max(1).ilog2();
    let class = match octave.checked_sub(3) {
        None => time,
        Some(above) => (u64::from(above) + 1) * 8 + ((time >> above) & 7),
    };
    usize::try_from(class).unwrap_or(usize::MAX).min(CLASSES - 1)
}

/// Where a class begins, and how wide it is.
fn bounds(class: usize) -> (f64, f64) {
    let (octave, eighth) = (class / 8, u32::try_from(class % 8).unwrap_or(0));
    match u32::try_from(octave).unwrap_or(0).checked_sub(1) {
        None => (f64::from(eighth), 1.0),
        Some(above) => {
            let width = 2_f64.powi(i32::try_from(above).unwrap_or(0));
            (f64::from(8 + eighth) * width, width)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        #[expect(clippy::cast_precision_loss, reason = "compared within a tolerance")]
        fn a_time_lies_within_its_class(time in 0u64..(1 << 27)) {
            let (low, width) = bounds(class(time));
            prop_assert!(low <= time as f64 && (time as f64) < low + width);
            prop_assert!(width <= 1.0 || width <= low / 8.0);
        }

        #[test]
        #[expect(clippy::cast_precision_loss, reason = "compared within a tolerance")]
        fn the_median_is_that_of_the_times(
            times in proptest::collection::vec(8u64..100_000, 1..80),
        ) {
            let samples = Samples::default();
            for time in &times {
                samples.answered(time << 10);
            }
            let seen = samples.take();
            prop_assert_eq!(samples.take().count, 0);
            let median = seen.median().unwrap();
            let mut times = times;
            times.sort_unstable();
            let exact = times[(times.len() - 1) / 2] as f64;
            let near = exact * 0.87..=exact * 1.14 + 1.0;
            prop_assert!(near.contains(&median), "{} {}", median, exact);
        }
    }

    #[test]
    fn whatever_time_there_is_has_a_class() {
        let samples = Samples::default();
        for nanos in [0, 1, u64::MAX] {
            samples.answered(nanos);
        }
        samples.failed();
        let mut seen = samples.take();
        seen.add(&seen.clone());
        assert_eq!((seen.count, seen.failures), (6, 2));
        assert_eq!(Seen::default().median(), None);
    }
}
