//! When the next check is due.

use std::time::Duration;

use crate::snapshot::Health;

/// How the last check has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It said what the verdict says, which is not down.
    Steady,
    /// It said what the verdict says: down.
    Down,
    /// It said something else than the verdict, so that the next ones may turn it.
    Changing,
}

/// From the beginning of one check to the beginning of the next. It is never longer than what the
/// file says: `interval` times `fall` is how long a dead backend may be taken for a living one.
/// `random` is in `0.0..1.0`: checks that began together drift apart.
pub(super) fn pause(health: &Health, pace: Pace, random: f64) -> Duration {
    let pause = match pace {
        Pace::Steady => health.interval,
        Pace::Down => health.interval_down,
        Pace::Changing => health.interval_changing,
    };
    pause.mul_f64(1.0 - random / 10.0)
}

/// Until the first check of what is known already, `since` it was checked: anywhere in the
/// interval, for a reload may bring many at once, but never later than the next would have been.
pub(super) fn first(interval: Duration, since: Option<Duration>, random: f64) -> Duration {
    let anywhere = interval.mul_f64(random);
    let due = since.and_then(|since| interval.checked_sub(since));
    due.map_or(anywhere, |due| anywhere.min(due))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::{HealthKind, Initial};

    fn health(interval: Duration) -> Health {
        Health {
            kind: HealthKind::Tcp,
            port: None,
            interval,
            interval_down: interval * 5,
            interval_changing: interval / 4,
            timeout: interval,
            rise: 2,
            fall: 3,
            initial: Initial::Checking,
        }
    }

    proptest! {
        #[test]
        fn a_pause_is_never_longer_than_the_interval_nor_much_shorter(
            millis in 100_u64..600_000,
            random in 0.0..1.0,
        ) {
            let interval = Duration::from_millis(millis);
            let health = health(interval);
            for (pace, most) in [
                (Pace::Steady, interval),
                (Pace::Down, interval * 5),
                (Pace::Changing, interval / 4),
            ] {
                let pause = pause(&health, pace, random);
                prop_assert!(pause <= most && pause >= most.mul_f64(0.9));
            }
        }

        #[test]
        fn a_first_check_is_not_later_than_it_was_due(
            interval in 100_u64..600_000,
            since in 0_u64..600_000,
            random in 0.0..1.0,
        ) {
            let [interval, since] = [interval, since].map(Duration::from_millis);
            let first = first(interval, Some(since), random);
            prop_assert!(first <= interval);
            prop_assert!(since > interval || since + first <= interval);
        }
    }

    /// How many of 500 backends are checked in the fullest tenth of a second after a reload, when
    /// each was checked at another time of the old interval.
    fn fullest(old: Duration, new: Duration) -> usize {
        let mut random = fastrand::Rng::with_seed(7);
        let mut slots = vec![0; 1 + usize::try_from(new.as_millis() / 100).unwrap()];
        for _ in 0..500 {
            let since = old.mul_f64(random.f64());
            let first = first(new, Some(since), random.f64());
            slots[usize::try_from(first.as_millis() / 100).unwrap()] += 1;
        }
        slots.into_iter().max().unwrap()
    }

    #[test]
    fn a_reload_that_changes_the_checks_of_500_backends_is_no_burst() {
        let five = Duration::from_secs(5);
        // 500 in 5 s are 10 in a tenth of a second.
        for (old, most) in
            [(five, 45), (Duration::from_mins(10), 30), (Duration::from_millis(200), 30)]
        {
            let fullest = fullest(old, five);
            assert!(fullest <= most, "{fullest} at once after {old:?}");
        }
    }
}
