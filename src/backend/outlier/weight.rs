//! Gray failures: who is slower or fails more than its pool is given less, long before ejection.

use std::collections::BTreeMap;

use super::ejection::Seen;
use super::{Counts, Phase};

/// The factor of a backend that has its whole weight.
pub const WHOLE: u32 = 256;
/// No factor falls below this tenth, so that something still comes to tell whether all is well.
pub const FLOOR: u32 = 26;

/// A tick of so many attempts counts as much as all that was known before.
const HALF: u64 = 50;
/// Attempts without which nothing is known of a backend.
const KNOWN: u64 = 20;
/// Slower than the median by so much in any case means nothing: distance, a cold cache.
const SLACK: u64 = 5_000_000;
/// A tick's mean latency counts as at most so many times, and at least one in so many of, what was
/// known: one long poll among three requests does not make a backend slow.
const STEP: u64 = 4;
/// A share of 1, of which failures are counted.
const ONE: u64 = 1 << 16;
/// Failures above the median's that mean nothing, 2 %, beside half of the median's own.
const NOISE: u64 = ONE / 50;
/// How much of its weight a backend loses for each point of failures beyond that. With 8, one that
/// fails a fifth of its requests is at the floor with something to spare, for the fewer it is given
/// the less certain its rate is; with 2 it would keep two thirds of its errors coming to its users.
const SLOPE: u64 = 8;
/// Ticks without any attempt after which what is known begins to be forgotten, and the part of it
/// that is forgotten each tick.
const PATIENCE: u32 = 10;
const FADE: u64 = 64;

/// How a backend has been doing of late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Nanoseconds; none: nothing is known.
    pub latency: Option<u64>,
    /// Share of attempts that fail, in 1/65536; an application's own 5xx too.
    pub failing: u64,
    /// Attempts that it is made from.
    pub attempts: u64,
    idle: u32,
}

/// The pool's medians.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usual {
    latency: Option<u64>,
    failing: u64,
}

impl Estimate {
    /// Takes in a tick's attempts. How much they count depends on how many they are, not on how
    /// long ago they were: a backend of which little is asked keeps its name, good or bad.
    fn learn(&mut self, counts: &Counts, usual: Usual) {
        let attempts = counts.attempts();
        if attempts == 0 {
            self.forget(usual);
            return;
        }
        self.idle = 0;
        self.attempts = self.attempts.saturating_add(attempts);
        let bad = counts.failures().saturating_mul(ONE);
        self.failing = mean(self.failing, bad, attempts);
        if let Some(latency) = counts.nanos.checked_div(counts.measured) {
            let known = self.latency.or(usual.latency).unwrap_or(latency).max(1);
            let latency = latency.clamp(known / STEP, known.saturating_mul(STEP));
            let sum = latency.saturating_mul(counts.measured);
            self.latency = Some(mean(known, sum, counts.measured));
        }
    }

    /// Nobody asks it, so that nobody would see it mend: it comes back to the median by itself.
    fn forget(&mut self, usual: Usual) {
        self.idle = self.idle.saturating_add(1);
        if self.idle > PATIENCE {
            self.failing = fade(self.failing, usual.failing);
            self.latency = self.latency.zip(usual.latency).map(|(l, usual)| fade(l, usual));
        }
    }
}

/// What was known, as that many attempts, and `sum` over so many more.
fn mean(known: u64, sum: u64, attempts: u64) -> u64 {
    known.saturating_mul(HALF).saturating_add(sum) / attempts.saturating_add(HALF)
}

fn fade(known: u64, usual: u64) -> u64 {
    let part = known.abs_diff(usual).div_ceil(FADE);
    if known > usual { known - part } else { known + part }
}

/// The factor in 1/256 that each backend of a pool deserves, from how all of them have been doing.
/// Compared is with the lower median: of two backends with the better one, of four with the second
/// best. Where most are slow, or fail, that is how the pool is, and nobody sinks.
pub fn targets(estimates: &[Estimate]) -> Vec<u32> {
    let usual = usual(estimates);
    estimates.iter().map(|estimate| target(estimate, usual)).collect()
}

fn target(estimate: &Estimate, usual: Usual) -> u32 {
    if estimate.attempts < KNOWN {
        return WHOLE;
    }
    let whole = u64::from(WHOLE);
    let slow = match estimate.latency.zip(usual.latency) {
        Some((latency, usual)) => {
            let allowed = usual.saturating_mul(2).max(usual.saturating_add(SLACK));
            whole.min(allowed.saturating_mul(whole) / latency.max(1))
        }
        None => whole,
    };
    let allowed = usual.failing.saturating_add(usual.failing / 2).saturating_add(NOISE);
    let cut = estimate.failing.saturating_sub(allowed).saturating_mul(SLOPE).min(ONE);
    let factor = slow * (ONE - cut) / ONE;
    u32::try_from(factor).unwrap_or(WHOLE).clamp(FLOOR, WHOLE)
}

fn usual(estimates: &[Estimate]) -> Usual {
    let known = || estimates.iter().filter(|estimate| estimate.attempts >= KNOWN);
    Usual {
        latency: lower_median(known().filter_map(|estimate| estimate.latency).collect()),
        failing: lower_median(known().map(|estimate| estimate.failing).collect()).unwrap_or(0),
    }
}

fn lower_median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// The factors of one pool. A tick a second.
#[derive(Debug, Default)]
pub struct Weights(BTreeMap<u64, Course>);

#[derive(Debug)]
struct Course {
    estimate: Estimate,
    factor: u32,
}

impl Weights {
    /// The factor of each backend in 1/256, in the order in which they are shown. It is at most
    /// halved by a tick, and rises by at most half of itself. Who was ejected begins at the floor
    /// with a clean name; who is set aside is not weighed.
    pub fn tick(&mut self, seen: &[Seen]) -> Vec<u32> {
        self.0.retain(|name, _| seen.iter().any(|seen| seen.name == *name));
        let before = usual(&self.estimates(seen));
        let begin = || Course { estimate: Estimate::default(), factor: WHOLE };
        for seen in seen {
            let course = self.0.entry(seen.name).or_insert_with(begin);
            if weighed(seen) {
                course.estimate.learn(&seen.counts, before);
            } else {
                let out = seen.usable && seen.phase.0.is_out();
                *course = Course { factor: if out { FLOOR } else { WHOLE }, ..begin() };
            }
        }
        let mut targets = targets(&self.estimates(seen)).into_iter();
        let factor = |seen: &Seen| {
            let Some(course) = self.0.get_mut(&seen.name) else { return WHOLE };
            if weighed(seen) {
                course.factor = towards(course.factor, targets.next().unwrap_or(WHOLE));
            }
            course.factor
        };
        seen.iter().map(factor).collect()
    }

    /// Of those that are weighed and known, in the order in which they are shown.
    fn estimates(&self, seen: &[Seen]) -> Vec<Estimate> {
        let weighed = seen.iter().filter(|seen| weighed(seen));
        weighed.filter_map(|seen| self.0.get(&seen.name)).map(|course| course.estimate).collect()
    }
}

fn weighed(seen: &Seen) -> bool {
    seen.usable && seen.phase.0 == Phase::In
}

fn towards(factor: u32, target: u32) -> u32 {
    target.clamp(factor / 2, factor + factor / 2).clamp(FLOOR, WHOLE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: u64 = 1_000_000;

    /// So many attempts a tick, of so many milliseconds, of which so many in 100 fail.
    #[derive(Debug, Clone, Copy)]
    struct Doing(u64, u64, u64);

    fn tick(weights: &mut Weights, pool: &[Doing]) -> Vec<u32> {
        let seen = (0_u64..).zip(pool).map(|(name, Doing(attempts, millis, percent))| {
            let status = attempts * percent / 100;
            let successes = attempts - status;
            let nanos = successes * millis * MILLI;
            let counts =
                Counts { successes, measured: successes, nanos, status, ..Counts::default() };
            Seen {
                name,
                usable: true,
                phase: (Phase::In, 0),
                unreachable: false,
                passed: None,
                counts,
            }
        });
        weights.tick(&seen.collect::<Vec<_>>())
    }

    fn after(ticks: u32, pool: &[Doing]) -> Vec<u32> {
        let mut weights = Weights::default();
        (0..ticks).fold(Vec::new(), |_, _| tick(&mut weights, pool))
    }

    #[test]
    fn one_slow_backend_in_four_sinks_in_proportion() {
        let pool = [Doing(100, 10, 0), Doing(100, 12, 0), Doing(100, 80, 0), Doing(100, 9, 0)];
        let factors = after(30, &pool);
        // Allowed are twice the 10 ms of the second best: 20 of 80 is a quarter.
        assert_eq!((factors[0], factors[1], factors[3]), (WHOLE, WHOLE, WHOLE));
        assert!((60..=68).contains(&factors[2]), "{factors:?}");
    }

    #[test]
    fn twice_the_median_is_as_good_as_the_median() {
        let pool = [Doing(100, 50, 0), Doing(100, 50, 0), Doing(100, 99, 0), Doing(100, 50, 0)];
        assert_eq!(after(30, &pool), [WHOLE; 4]);
        let pool = [Doing(100, 1, 0), Doing(100, 1, 0), Doing(100, 5, 0), Doing(100, 1, 0)];
        assert_eq!(after(30, &pool), [WHOLE; 4]);
    }

    #[test]
    fn of_two_the_worse_one_sinks_to_the_floor_and_no_further() {
        let factors = after(60, &[Doing(100, 10, 0), Doing(100, 5000, 0)]);
        assert_eq!(factors, [WHOLE, FLOOR]);
        let factors = after(60, &[Doing(100, 10, 100), Doing(100, 10, 0)]);
        assert_eq!(factors, [FLOOR, WHOLE]);
    }

    #[test]
    fn who_mends_is_back_step_by_step() {
        let mut weights = Weights::default();
        for _ in 0..30 {
            tick(&mut weights, &[Doing(100, 10, 0), Doing(100, 10, 50)]);
        }
        let mut last = FLOOR;
        for _ in 0..30 {
            let factor = tick(&mut weights, &[Doing(100, 10, 0), Doing(20, 10, 0)])[1];
            assert!(factor >= last && factor <= last + last / 2, "{last} {factor}");
            last = factor;
        }
        assert_eq!(last, WHOLE);
    }

    #[test]
    fn one_long_poll_among_few_requests_makes_nobody_slow() {
        let mut weights = Weights::default();
        for _ in 0..20 {
            tick(&mut weights, &[Doing(3, 10, 0), Doing(3, 10, 0)]);
        }
        // Three requests of 10 s each on average.
        let factors = tick(&mut weights, &[Doing(3, 10, 0), Doing(3, 10_000, 0)]);
        assert_eq!(factors, [WHOLE; 2]);
    }

    #[test]
    fn a_backend_that_nobody_asks_any_more_is_forgiven() {
        let mut weights = Weights::default();
        let bad = [Doing(100, 10, 0), Doing(100, 10, 50)];
        let factors = (0..30).fold(Vec::new(), |_, _| tick(&mut weights, &bad));
        assert_eq!(factors, [WHOLE, FLOOR]);
        let nobody = [Doing(100, 10, 0), Doing(0, 10, 0)];
        let factors = (0..600).fold(Vec::new(), |_, _| tick(&mut weights, &nobody));
        assert_eq!(factors, [WHOLE; 2]);
    }

    #[test]
    fn who_was_ejected_begins_at_the_floor_with_a_clean_name() {
        let mut weights = Weights::default();
        let seen = |phase| {
            let counts = Counts { successes: 50, ..Counts::default() };
            [Seen {
                name: 1,
                usable: true,
                phase: (phase, 0),
                unreachable: false,
                passed: None,
                counts,
            }]
        };
        assert_eq!(weights.tick(&seen(Phase::In)), [WHOLE]);
        assert_eq!(weights.tick(&seen(Phase::Ejected)), [FLOOR]);
        assert_eq!(weights.tick(&seen(Phase::Trial)), [FLOOR]);
        assert_eq!(weights.tick(&seen(Phase::In)), [39]);
        assert_eq!(weights.tick(&seen(Phase::Aside)), [WHOLE]);
    }

    fn doing() -> impl Strategy<Value = Doing> {
        (0_u64..2000, 1_u64..100_000, 0_u64..=100).prop_map(|(n, ms, bad)| Doing(n, ms, bad))
    }

    proptest! {
        #[test]
        fn where_all_are_alike_nobody_sinks(
            backends in 1_usize..12, like in doing(), ticks in 1_u32..40,
        ) {
            prop_assert!(after(ticks, &vec![like; backends]).iter().all(|f| *f == WHOLE));
        }

        #[test]
        fn the_floor_is_respected_and_no_step_is_too_large(
            rounds in proptest::collection::vec(proptest::collection::vec(doing(), 5), 1..40),
        ) {
            let mut weights = Weights::default();
            let mut before = vec![WHOLE; 5];
            for round in rounds {
                let factors = tick(&mut weights, &round);
                for (factor, before) in factors.iter().zip(&before) {
                    prop_assert!((FLOOR..=WHOLE).contains(factor));
                    prop_assert!(*factor <= before + before / 2 && *factor >= before / 2);
                }
                before = factors;
            }
        }

        #[test]
        fn the_better_half_of_a_pool_never_sinks_and_worse_is_never_better(
            pool in proptest::collection::vec((1_u64..1 << 40, 0_u64..=ONE, 20_u64..99), 1..12),
        ) {
            let estimate = |&(latency, failing, attempts): &_| Estimate {
                latency: Some(latency), failing, attempts, idle: 0,
            };
            let mut estimates: Vec<_> = pool.iter().map(estimate).collect();
            // One that nobody beats in either way.
            estimates.push(Estimate { latency: Some(1), failing: 0, attempts: 20, idle: 0 });
            let factors = targets(&estimates);
            prop_assert_eq!(factors.last(), Some(&WHOLE));
            for (one, factor) in estimates.iter().zip(&factors) {
                for (other, beside) in estimates.iter().zip(&factors) {
                    let worse = one.latency >= other.latency && one.failing >= other.failing;
                    prop_assert!(!worse || factor <= beside);
                }
            }
        }
    }
}
