//! When the next check is due.

use std::time::Duration;

use super::threshold::Count;
use crate::backend::Verdict;
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

impl Pace {
    /// What these results ask for.
    pub(super) fn of(count: Count) -> Self {
        match count.verdict() {
            _ if count.is_turning() => Self::Changing,
            Verdict::Down => Self::Down,
            Verdict::Up | Verdict::Unchecked => Self::Steady,
        }
    }
}

/// From the beginning of one check to the beginning of the next. It is always a little less than
/// what the file says: `interval` times `fall` and a `timeout` is how long a backend that hangs may
/// be taken for a living one, and a hundredth of it is for beginning checks and for freeing those
/// who wait. `random` is in `0.0..1.0`: checks that began together drift apart.
pub(super) fn pause(health: &Health, pace: Pace, random: f64) -> Duration {
    let pause = match pace {
        Pace::Steady => health.interval,
        Pace::Down => health.interval_down,
        Pace::Changing => health.interval_changing,
    };
    pause.mul_f64(0.99 - 0.09 * random)
}

/// How a backend was checked before a reload changed its check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// Since the last check.
    pub(super) since: Duration,
    /// Between two of them.
    pub(super) interval: Duration,
}

/// Until the first check of what is known already: a reload may bring many at once. Never later
/// than it is due, and at the same place in a longer interval as in the one before, so that what
/// was spread stays spread. Who is overdue comes anywhere in the interval.
pub(super) fn first(interval: Duration, before: Option<Before>, random: f64) -> Duration {
    let due = before.and_then(|Before { since, interval: old }| {
        let due = interval.checked_sub(since)?;
        if old >= interval {
            return Some(due);
        }
        let left = old.checked_sub(since)?;
        Some(interval.mul_f64(left.as_secs_f64() / old.as_secs_f64()))
    });
    due.unwrap_or_else(|| interval.mul_f64(random))
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
            full_every: 1,
            initial: Initial::Checking,
        }
    }

    proptest! {
        #[test]
        fn a_pause_is_a_little_shorter_than_the_interval(
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
                prop_assert!(pause < most && pause >= most.mul_f64(0.899));
            }
        }

        #[test]
        fn a_first_check_is_not_later_than_it_was_due(
            interval in 100_u64..600_000,
            old in 100_u64..600_000,
            since in 0_u64..600_000,
            random in 0.0..1.0,
        ) {
            let [interval, old, since] = [interval, old, since].map(Duration::from_millis);
            let first = first(interval, Some(Before { since, interval: old }), random);
            prop_assert!(first <= interval);
            let nanosecond = Duration::from_nanos(1);
            prop_assert!(since > interval.min(old) || since + first <= interval + nanosecond);
        }
    }

    /// How many of 500 backends are checked in the fullest tenth of a second after a reload, when
    /// each was checked at another time of the old interval.
    fn fullest(old: Duration, new: Duration) -> usize {
        let mut random = fastrand::Rng::with_seed(7);
        let mut slots = vec![0; 1 + usize::try_from(new.as_millis() / 100).unwrap()];
        for _ in 0..500 {
            let since = old.mul_f64(random.f64());
            let first = first(new, Some(Before { since, interval: old }), random.f64());
            slots[usize::try_from(first.as_millis() / 100).unwrap()] += 1;
        }
        slots.into_iter().max().unwrap()
    }

    #[test]
    fn a_reload_that_changes_the_checks_of_500_backends_is_no_burst() {
        let five = Duration::from_secs(5);
        // 500 in 5 s are 10 in a tenth of a second.
        for (old, most) in
            [(five, 25), (Duration::from_mins(10), 25), (Duration::from_millis(200), 25)]
        {
            let fullest = fullest(old, five);
            assert!(fullest <= most, "{fullest} at once after {old:?}");
        }
    }
}
