//! The ramp of a backend that has just come up: how much of its weight it is to have by now.

use std::time::Duration;

/// The whole weight, in the unit of factors: 1/256.
pub const FULL: u32 = 256;

/// A tenth, with which a ramp begins: enough to warm up on, and to be seen failing early.
const LEAST: u32 = 26;

/// Grows from a tenth of the weight to all of it, in a straight line (Envoy's slow start with an
/// aggression of 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    window: Duration,
}

impl Ramp {
    /// A ramp of this length; none where it is zero.
    pub fn new(window: Duration) -> Option<Self> {
        (!window.is_zero()).then_some(Self { window })
    }

    /// How much of its weight a backend is to have that came up so many milliseconds ago, in
    /// 1/256: from a tenth to `FULL`. Never falls.
    pub fn factor(self, since_up_millis: u64) -> u32 {
        let grown = u128::from(since_up_millis) * u128::from(FULL);
        let window = self.window.as_millis().max(1);
        u32::try_from(grown / window).unwrap_or(FULL).clamp(LEAST, FULL)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ramp_goes_from_a_tenth_to_all_in_its_window() {
        let ramp = Ramp::new(Duration::from_secs(30)).unwrap();
        let factors = [0, 3_000, 3_200, 15_000, 29_999, 30_000, u64::MAX].map(|t| ramp.factor(t));
        assert_eq!(factors, [26, 26, 27, 128, 255, 256, 256]);
        assert_eq!(Ramp::new(Duration::ZERO), None);
        let shortest = Ramp::new(Duration::from_nanos(1)).unwrap();
        assert_eq!([0, 1].map(|t| shortest.factor(t)), [26, 256]);
    }

    proptest! {
        #[test]
        fn it_is_the_published_line_and_never_falls(
            window in 1u32..100_000, at in 0u32..200_000, later in 0u32..200_000,
        ) {
            let ramp = Ramp::new(Duration::from_millis(window.into())).unwrap();
            let factor = ramp.factor(at.into());
            // Envoy: max(min weight, (time / window) ^ (1 / aggression)).
            let line = (f64::from(at) / f64::from(window)).clamp(0.1, 1.0);
            prop_assert!((f64::from(factor) / 256.0 - line).abs() < 1.0 / 256.0);
            prop_assert!(ramp.factor(u64::from(at) + u64::from(later)) >= factor);
        }
    }
}
