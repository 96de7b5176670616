//! Shortest expected wait: a peak-sensitive average of response times and what is in flight.

use super::logarithm::exponential;
use super::ramp::{guests, two, weight};
use super::{Candidates, Cursor};

/// Up to so many candidates are all looked at; of more, two at random.
const LOOK_AT_ALL: usize = 8;

/// The candidate where one more request would cost least: `latency · (in_flight + 1) / weight`
/// (Finagle's `p2cPeakEwma`). Of which nothing is known is taken to be as fast as the fastest
/// beside it: it is tried at once, and by what it has in flight not by everybody.
///
/// As in least-request, "one more" is an amount of mean one, distributed exponentially. So an idle
/// pool is shared by `weight / latency`; else the best would take all that does not overlap, and
/// nearly every new session.
pub(super) fn pick(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    if candidates.len() > LOOK_AT_ALL {
        return pick_of_two(candidates, cursor);
    }
    match guests(candidates) {
        Some(guests) => cheapest(&guests, cursor),
        None => cheapest(candidates, cursor),
    }
}

fn cheapest(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    let eligible = || (0..candidates.len()).filter(|index| candidates.eligible(*index));
    let fastest = eligible().filter_map(|index| candidates.latency(index)).min().unwrap_or(1);
    let mut best: Option<(usize, u128, u32)> = None;
    for index in eligible() {
        let one_more = exponential(cursor.rng.u64(..));
        let load = candidates.load(index).saturating_add(one_more);
        let latency = candidates.latency(index).unwrap_or(fastest);
        let cost = u128::from(latency) * u128::from(load);
        let weight = weight(candidates, index);
        if best.is_none_or(|(_, lowest, of)| is_less((cost, weight), (lowest, of))) {
            best = Some((index, cost, weight));
        }
    }
    best.map(|(index, ..)| index)
}

/// Two draws by weight, of which the cheaper is taken, in a tie the first.
fn pick_of_two(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    let (first, second) = two(candidates, cursor)?;
    let Some(second) = second else { return Some(first) };
    let weights = u64::from(weight(candidates, first)) + u64::from(weight(candidates, second));
    let known = (candidates.latency(first), candidates.latency(second));
    let latency = known.0.or(known.1).unwrap_or(1);
    let other = known.1.unwrap_or(latency);
    let cost = |index, latency: u64| {
        let (in_flight, weight) =
            (u64::from(candidates.in_flight(index)), weight(candidates, index));
        // The draws have favoured the heavy already: "one more" is the same for both, one request
        // at the mean of their weights. With equal weights that is `in_flight + 1`.
        let load = in_flight.saturating_mul(weights).saturating_add(2 * u64::from(weight));
        (u128::from(latency) * u128::from(load), weight)
    };
    Some(if is_less(cost(second, other), cost(first, latency)) { second } else { first })
}

/// Whether the first cost divided by its weight is less than the second by its own.
fn is_less((cost, weight): (u128, u32), (other_cost, other_weight): (u128, u32)) -> bool {
    let mine = cost.saturating_mul(other_weight.into());
    mine < other_cost.saturating_mul(weight.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Policy;
    use super::super::tests::{IDLE, Seat, Seats, follows, seats, shares};
    use super::*;
    use crate::backend::Latency;

    const MILLI: u64 = 1_000_000;

    fn timed(latencies: &[u64]) -> Seats {
        let seat = |&latency: &u64| Seat { latency: Some(latency * MILLI), ..IDLE };
        Seats(latencies.iter().map(seat).collect())
    }

    /// One backend of a model: how long it takes, and whether it fails.
    struct Origin {
        millis: u64,
        fails: bool,
    }

    /// How many of the requests each is given that come every `every` milliseconds.
    fn simulate(origins: &[Origin], every: usize, requests: u64) -> Vec<u32> {
        let latencies: Vec<_> = origins.iter().map(|_| Latency::default()).collect();
        let mut seats = seats(&vec![1; origins.len()]);
        let (mut cursor, mut counts) = (Cursor::new(5), vec![0; origins.len()]);
        let mut running: Vec<(u64, usize)> = Vec::new();
        for now in (0..).step_by(every).take(usize::try_from(requests).unwrap()) {
            running.retain(|&(end, index)| {
                if end <= now {
                    let Origin { millis, fails } = origins[index];
                    seats.0[index].in_flight -= 1;
                    let observe = if fails { Latency::fail } else { Latency::observe };
                    observe(&latencies[index], millis * MILLI, end);
                }
                end > now
            });
            for (seat, latency) in seats.0.iter_mut().zip(&latencies) {
                seat.latency = latency.value(now);
            }
            let picked = pick(&seats, &mut cursor).unwrap();
            counts[picked] += 1;
            seats.0[picked].in_flight += 1;
            running.push((now + origins[picked].millis, picked));
        }
        counts
    }

    #[test]
    fn who_fails_fast_attracts_nobody() {
        let slow = |millis| Origin { millis, fails: false };
        let failing = Origin { millis: 1, fails: true };
        let counts = simulate(&[slow(20), slow(20), failing], 2, 20_000);
        assert!(counts[2] < 200, "{counts:?}");
        assert!(counts[0].abs_diff(counts[1]) < 4000, "{counts:?}");
    }

    #[test]
    fn the_slow_is_given_less_and_is_not_forgotten() {
        let origin = |millis| Origin { millis, fails: false };
        let counts = simulate(&[origin(10), origin(10), origin(100)], 3, 60_000);
        assert!(counts[2] < counts[0] / 4 && counts[2] > 100, "{counts:?}");
    }

    #[test]
    fn who_is_new_is_tried_at_once_and_not_by_everybody() {
        for others in [3, 19] {
            let mut seats = timed(&vec![20; others]);
            for seat in &mut seats.0 {
                seat.in_flight = 5;
            }
            seats.0.push(IDLE);
            let mut cursor = Cursor::new(3);
            // Nothing comes back from it.
            for _ in 0..400 {
                let picked = pick(&seats, &mut cursor).unwrap();
                seats.0[picked].in_flight += 1;
            }
            let loads: Vec<_> = seats.0.iter().map(|seat| seat.in_flight).collect();
            let mean = loads.iter().sum::<u32>() / u32::try_from(loads.len()).unwrap();
            let new = loads[others];
            assert!(new > 0 && new <= mean + 8, "{loads:?}");
        }
    }

    #[test]
    fn an_idle_pool_of_one_speed_follows_its_weights() {
        for weights in [vec![6, 3, 1], [vec![8, 1], vec![2; 12]].concat()] {
            let mut seats = seats(&weights);
            for seat in &mut seats.0 {
                seat.latency = Some(MILLI);
            }
            let counts = shares(Policy::PeakEwma, &seats, 20_000);
            assert!(follows(&counts, &weights), "{counts:?}");
        }
    }

    /// The published formula: both costs, and the lower one wins.
    #[expect(clippy::cast_precision_loss, reason = "compared within a tolerance")]
    fn cost(seat: &Seat) -> f64 {
        seat.latency.unwrap() as f64 * (f64::from(seat.in_flight) + 1.0) / f64::from(seat.weight)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn two_of_many_are_compared_by_the_published_formula(
            loads in proptest::collection::vec((1u64..50, 0u32..20), 9..24), weight in 1u32..65_536,
        ) {
            let seat = |&(latency, in_flight): &(u64, u32)| {
                Seat { weight, in_flight, latency: Some(latency * MILLI), ..IDLE }
            };
            let seats = Seats(loads.iter().map(seat).collect());
            let mut cursor = Cursor::new(1);
            for _ in 0..200 {
                let (first, second) = two(&seats, &mut cursor.clone()).unwrap();
                let second = second.unwrap();
                let dearer = cost(&seats.0[first]) > cost(&seats.0[second]);
                let best = if dearer { second } else { first };
                prop_assert_eq!(pick(&seats, &mut cursor), Some(best));
            }
        }

        #[test]
        fn an_idle_pool_is_shared_by_weight_and_speed(
            parts in proptest::collection::vec((1u32..10, 1u32..10), 1..=8),
        ) {
            let seat = |&(weight, speed): &(u32, u32)| {
                Seat { weight, latency: Some(1_000 * 2520 / u64::from(speed)), ..IDLE }
            };
            let seats = Seats(parts.iter().map(seat).collect());
            let due: Vec<_> = parts.iter().map(|(weight, speed)| weight * speed).collect();
            let counts = shares(Policy::PeakEwma, &seats, 20_000);
            prop_assert!(follows(&counts, &due), "{:?} {:?}", counts, due);
        }

        #[test]
        fn all_of_few_are_compared_by_the_published_formula(
            parts in proptest::collection::vec((1u32..5, 200u32..2_000, 1u64..50), 2..=8),
        ) {
            let seat = |&(weight, in_flight, latency): &_| {
                Seat { weight, in_flight, latency: Some(latency), ..IDLE }
            };
            let seats = Seats(parts.iter().map(seat).collect());
            let least = seats.0.iter().map(cost).fold(f64::INFINITY, f64::min);
            let mut cursor = Cursor::new(2);
            for _ in 0..100 {
                // "One more" is hardly ever more than twenty.
                let picked = cost(&seats.0[pick(&seats, &mut cursor).unwrap()]);
                prop_assert!(picked <= least * 1.1, "{} {}", picked, least);
            }
        }
    }
}
