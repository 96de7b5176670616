//! What the users of a pool see of a backend that is half ill.

use super::*;

/// What each backend of a run does: percent of its answers that are 5xx, and milliseconds.
type Ill = [(u32, u64); 4];

#[derive(Debug, Default)]
struct Seen {
    requests: u32,
    errors: u32,
    millis: u64,
    ejected: u32,
    shares: [u32; 4],
}

/// Two minutes of so many requests a second, from the moment at which it falls ill.
fn run(ill: &Ill, rate: u32, weighed: bool, seed: u64) -> Seen {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut world = World::new(4, TERMS);
    let mut seen = Seen::default();
    for _ in 0..120 {
        for _ in 0..rate {
            let index = pick(&world, weighed, &mut rng);
            let (percent, millis) = ill[index];
            let failed = rng.u32(0..100) < percent;
            // Within a factor of four around the mean, as answers are.
            let nanos = millis * 1_000_000 * rng.u64(40..160) / 100;
            let outcome = if failed {
                Outcome::Failure(Kind::Status)
            } else {
                Outcome::Success { nanos: Some(nanos) }
            };
            seen.ejected += u32::from(world.attempt(index, outcome));
            seen.requests += 1;
            seen.errors += u32::from(failed);
            seen.millis += millis;
            seen.shares[index] += 1;
        }
        world.tick();
    }
    seen
}

fn pick(world: &World, weighed: bool, rng: &mut fastrand::Rng) -> usize {
    let factor = |backend: &Backend| if weighed { backend.outcomes.factor() } else { WHOLE };
    let weights: Vec<u32> = world.backends.iter().map(factor).collect();
    let mut draw = rng.u32(0..weights.iter().sum());
    weights
        .iter()
        .position(|weight| {
            let here = draw < *weight;
            draw = draw.saturating_sub(*weight);
            here
        })
        .unwrap()
}

#[test]
fn one_of_four_failing_a_fifth_is_seen_by_few_though_nobody_is_ejected() {
    const ILL: Ill = [(0, 10), (0, 10), (20, 10), (0, 10)];
    for rate in [50, 100, 400, 2000] {
        for seed in 0..8 {
            let without = run(&ILL, rate, false, seed);
            let with = run(&ILL, rate, true, seed);
            let fallen = 100 - with.errors * 100 / without.errors;
            assert!(fallen > 70, "rate {rate}, seed {seed}: by {fallen} % only, {with:?}");
            assert_eq!((with.ejected, without.ejected), (0, 0));
        }
    }
}

#[test]
fn where_all_fail_a_fifth_the_load_stays_even() {
    const ILL: Ill = [(20, 10), (20, 10), (20, 10), (20, 10)];
    for seed in 0..8 {
        let seen = run(&ILL, 400, true, seed);
        let (least, most) = (seen.shares.iter().min().unwrap(), seen.shares.iter().max().unwrap());
        assert!(most - least < seen.requests / 20, "{seen:?}");
    }
}

#[test]
fn one_of_four_ten_times_as_slow_costs_its_users_less_than_half() {
    const ILL: Ill = [(0, 20), (0, 200), (0, 20), (0, 20)];
    for seed in 0..8 {
        let excess = |seen: Seen| seen.millis - u64::from(seen.requests) * 20;
        let (with, without) = (run(&ILL, 200, true, seed), run(&ILL, 200, false, seed));
        let (with, without) = (excess(with), excess(without));
        assert!(with * 2 < without, "{with} of {without} ms");
    }
}

#[test]
fn a_healthy_pool_keeps_its_whole_weights() {
    const WELL: Ill = [(1, 10), (1, 12), (1, 9), (1, 14)];
    for seed in 0..8 {
        let seen = run(&WELL, 400, true, seed);
        let even = seen.requests / 4;
        assert!(seen.shares.iter().all(|share| share.abs_diff(even) < even / 20), "{seen:?}");
    }
}
