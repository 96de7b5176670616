//! When the next check is due.

use std::time::Duration;

/// Two checks never follow each other faster.
const SHORTEST: Duration = Duration::from_millis(100);

/// From the beginning of one check to the beginning of the next. It is never longer than
/// `interval`, which times `fall` is how long a dead backend may be taken for a living one. While
/// a verdict may be turning it is a quarter of that. `random` is in `0.0..1.0`: checks that began
/// together drift apart.
pub(super) fn pause(interval: Duration, turning: bool, random: f64) -> Duration {
    let pause = if turning { (interval / 4).max(SHORTEST).min(interval) } else { interval };
    pause.mul_f64(1.0 - random / 10.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pause_is_never_longer_than_the_interval(
            millis in 100_u64..600_000,
            turning: bool,
            random in 0.0..1.0,
        ) {
            let interval = Duration::from_millis(millis);
            let pause = pause(interval, turning, random);
            prop_assert!(pause <= interval);
            prop_assert!(pause >= SHORTEST.mul_f64(0.9));
        }
    }

    #[test]
    fn a_verdict_that_may_turn_is_looked_at_four_times_as_often() {
        let interval = Duration::from_secs(2);
        assert_eq!(pause(interval, false, 0.0), interval);
        assert_eq!(pause(interval, true, 0.0), interval / 4);
        assert_eq!(pause(Duration::from_millis(200), true, 0.0), SHORTEST);
        assert_eq!(pause(Duration::from_millis(100), true, 0.0), SHORTEST);
    }
}
