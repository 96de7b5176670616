//! Whose attempts failed more often than the others' over an interval.

/// Attempts in an interval without which a backend's rate of success is not compared with the
/// pool's, and backends without which there is no such comparison. Both are Envoy's.
const COMPARED: u64 = 100;
const BACKENDS: usize = 5;
/// Standard deviations below the pool's mean, in tenths; Envoy's 1.9.
const TENTHS: u64 = 19;
/// And at least so much below it: where nearly nothing fails, a deviation is next to nothing.
const GAP: u64 = ONE / 20;
/// Attempts in an interval without which no rate means anything.
const FEW: u64 = 20;

/// A rate of 1.
const ONE: u64 = 1 << 16;

/// Why a backend was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It failed so often in a row.
    Consecutive,
    /// It failed again on trial.
    Trial,
    /// More than half of its attempts failed, and those of the others did not.
    ErrorRate,
    /// It failed clearly more often than the pool does on average.
    SuccessRate,
}

impl Cause {
    /// In words, for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "failed so often in a row",
            Self::Trial => "failed again on trial",
            Self::ErrorRate => "more than half of its attempts failed",
            Self::SuccessRate => "fails clearly more often than the others",
        }
    }
}

/// Attempts of a backend in an interval that went well, and that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) good: u64,
    pub(super) bad: u64,
}

impl Interval {
    fn total(self) -> u64 {
        self.good.saturating_add(self.bad)
    }

    /// In 1/65536.
    pub(super) fn failing(self) -> u64 {
        share(self.bad, self.total())
    }
}

/// Who is to be ejected for its rate of failures, in the order of `intervals`.
pub(super) fn outliers(intervals: &[Interval]) -> Vec<Option<Cause>> {
    let limit = limit(intervals);
    let all = intervals.iter().fold(Interval::default(), |sum, interval| Interval {
        good: sum.good.saturating_add(interval.good),
        bad: sum.bad.saturating_add(interval.bad),
    });
    let judge = |interval: &Interval| {
        let failing = interval.failing();
        if interval.total() < FEW {
            None
        } else if failing > ONE / 2 && others(all, *interval) <= failing / 2 {
            Some(Cause::ErrorRate)
        } else if interval.total() >= COMPARED && limit.is_some_and(|limit| failing > limit) {
            Some(Cause::SuccessRate)
        } else {
            None
        }
    };
    intervals.iter().map(judge).collect()
}

/// How often those fail who are left. Where all fail alike the reason is behind them, and to eject
/// some would only send everybody to the rest.
fn others(all: Interval, one: Interval) -> u64 {
    let good = all.good.saturating_sub(one.good);
    Interval { good, bad: all.bad.saturating_sub(one.bad) }.failing()
}

/// The rate of failures above which a backend is an outlier of its pool; none where there are too
/// few to compare.
fn limit(intervals: &[Interval]) -> Option<u64> {
    let compared = intervals.iter().filter(|interval| interval.total() >= COMPARED);
    let rates: Vec<u64> = compared.map(|interval| interval.failing()).collect();
    if rates.len() < BACKENDS {
        return None;
    }
    let number = u64::try_from(rates.len()).unwrap_or(u64::MAX);
    let mean = rates.iter().sum::<u64>() / number;
    let squares: u64 = rates.iter().map(|rate| rate.abs_diff(mean).pow(2)).sum();
    let deviation = (squares / number).isqrt();
    Some(mean.saturating_add((deviation * TENTHS / 10).max(GAP)))
}

fn share(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * u128::from(ONE) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(ONE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failed(bad: &[u64], of: u64) -> Vec<Interval> {
        bad.iter().map(|bad| Interval { good: of - bad, bad: *bad }).collect()
    }

    #[test]
    fn one_of_six_that_fails_more_often_is_found() {
        let found = outliers(&failed(&[1, 0, 30, 2, 1, 0], 200));
        assert_eq!(found, [None, None, Some(Cause::SuccessRate), None, None, None]);
    }

    #[test]
    fn a_rate_is_not_compared_in_a_small_pool_nor_by_a_few_attempts() {
        assert_eq!(outliers(&failed(&[0, 0, 0, 30], 200)), [None; 4]);
        assert_eq!(outliers(&failed(&[0, 0, 0, 0, 0, 30], 99)), [None; 6]);
    }

    #[test]
    fn a_small_difference_makes_no_outlier() {
        assert_eq!(outliers(&failed(&[0, 0, 0, 0, 0, 9], 200)), [None; 6]);
    }

    #[test]
    fn more_than_half_failing_ejects_in_a_pool_of_two() {
        assert_eq!(outliers(&failed(&[0, 21], 40)), [None, Some(Cause::ErrorRate)]);
        assert_eq!(outliers(&failed(&[0, 20], 40)), [None, None]);
        assert_eq!(outliers(&failed(&[0, 19], 19)), [None, None]);
    }

    proptest! {
        #[test]
        fn where_all_fail_alike_nobody_is_an_outlier(
            backends in 2_usize..20, bad in 0_u64..=500,
        ) {
            let found = outliers(&failed(&vec![bad; backends], 500));
            prop_assert!(found.iter().all(Option::is_none));
        }

        #[test]
        fn nobody_is_an_outlier_who_fails_less_than_another_who_is_none(
            bad in proptest::collection::vec(0_u64..=200, 2..12),
        ) {
            let intervals = failed(&bad, 200);
            let found = outliers(&intervals);
            let spared = bad.iter().zip(&found).filter(|(_, found)| found.is_none());
            let worst = spared.map(|(bad, _)| *bad).max();
            for (bad, _) in bad.iter().zip(&found).filter(|(_, found)| found.is_some()) {
                prop_assert!(worst.is_none_or(|worst| *bad > worst), "{:?} {:?}", intervals, found);
            }
        }
    }
}
