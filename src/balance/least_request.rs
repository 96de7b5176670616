//! Fewest requests in flight for its weight.

use super::logarithm::exponential;
use super::ramp::{guests, two, weight};
use super::{Candidates, Cursor};

/// Up to so many candidates are all looked at; of more, two at random (power of two choices:
/// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
const LOOK_AT_ALL: usize = 8;

/// The candidate whose load for its weight would be the least.
///
/// Where weights differ, "one more request" counts as a random amount of mean one, distributed
/// exponentially: the least of such amounts, each divided by its weight, falls on each candidate
/// with a probability of exactly its share of the weights. So an idle pool follows the weights
/// (with a plain `(in_flight + 1) / weight` the heaviest would take everything until it is busy,
/// and nearly every new session), while under load the requests in flight decide.
pub(super) fn pick(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    if candidates.len() > LOOK_AT_ALL {
        return pick_of_two(candidates, cursor);
    }
    match guests(candidates) {
        Some(guests) => least(&guests, cursor),
        None => least(candidates, cursor),
    }
}

fn least(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    let mut best: Option<(usize, u64)> = None;
    let mut tied = 0;
    let mut weights: Option<(u32, u32)> = None;
    for index in (0..candidates.len()).filter(|index| candidates.eligible(*index)) {
        let (weight, load) = (weight(candidates, index), candidates.load(index));
        let (least, most) = weights.unwrap_or((weight, weight));
        weights = Some((least.min(weight), most.max(weight)));
        match best {
            Some((_, lowest)) if load > lowest => {}
            Some((_, lowest)) if load == lowest => {
                // Each of the tied is kept with the same probability.
                tied += 1;
                if cursor.rng.u32(..tied) == 0 {
                    best = Some((index, load));
                }
            }
            _ => {
                tied = 1;
                best = Some((index, load));
            }
        }
    }
    match weights {
        Some((least, most)) if least != most => pick_by_weight(candidates, cursor),
        _ => best.map(|(index, _)| index),
    }
}

fn pick_by_weight(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    let mut best: Option<(usize, u64, u32)> = None;
    for index in (0..candidates.len()).filter(|index| candidates.eligible(*index)) {
        let weight = weight(candidates, index);
        let one_more = exponential(cursor.rng.u64(..));
        let load = candidates.load(index).saturating_add(one_more);
        if best.is_none_or(|(_, lowest, of)| is_less((load, weight), (lowest, of))) {
            best = Some((index, load, weight));
        }
    }
    best.map(|(index, ..)| index)
}

/// Two draws by weight, of which the less loaded for its weight is taken, in a tie the first.
fn pick_of_two(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    let (first, second) = two(candidates, cursor)?;
    let Some(second) = second else { return Some(first) };
    let load = |index| (u64::from(candidates.in_flight(index)), weight(candidates, index));
    Some(if is_less(load(second), load(first)) { second } else { first })
}

/// Whether the first load divided by its weight is less than the second by its own.
fn is_less((load, weight): (u64, u32), (other_load, other_weight): (u64, u32)) -> bool {
    u128::from(load) * u128::from(other_weight) < u128::from(other_load) * u128::from(weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Policy;
    use super::super::tests::{Seats, follows, seats, shares};
    use super::*;

    fn loaded(weights: &[u32], loads: &[u32]) -> Seats {
        let mut seats = seats(weights);
        for (seat, load) in seats.0.iter_mut().zip(loads) {
            seat.in_flight = *load;
        }
        seats
    }

    #[test]
    fn with_equal_weights_the_least_loaded_is_picked() {
        let mut cursor = Cursor::new(3);
        for _ in 0..20 {
            let picked = pick(&loaded(&[2, 2, 2], &[5, 3, 4]), &mut cursor);
            assert_eq!(picked, Some(1));
        }
    }

    #[test]
    fn ties_are_shared_also_beside_one_that_is_out() {
        let weights = [1, 0, 1, 1];
        let counts = shares(Policy::LeastRequest, &seats(&weights), 10_000);
        assert!(follows(&counts, &weights), "{counts:?}");
    }

    #[test]
    fn load_counts_for_its_weight() {
        let mut cursor = Cursor::new(3);
        for _ in 0..1000 {
            // 400 / 10 against 80 / 1: one more request cannot change the order.
            assert_eq!(pick(&loaded(&[10, 1], &[400, 80]), &mut cursor), Some(0));
        }
    }

    #[test]
    fn of_many_the_better_of_two_draws_is_taken() {
        // Mitzenmacher's two choices, with draws that may fall together: the k-th of n, by load,
        // is taken with a probability of (2 (n - k) - 1) / n², k from 0.
        let n = 16;
        let loads: Vec<_> = (0..n).collect();
        let counts = shares(Policy::LeastRequest, &loaded(&[1; 16], &loads), 50_000);
        let due: Vec<_> = loads.iter().map(|k| 2 * (n - k) - 1).collect();
        assert!(follows(&counts, &due), "{counts:?}");
    }

    #[test]
    fn of_many_the_overloaded_is_hardly_picked() {
        let mut loads = vec![1; 20];
        loads[7] = 1000;
        let counts = shares(Policy::LeastRequest, &loaded(&[1; 20], &loads), 10_000);
        // Only where both draws fall on it: one in 400.
        assert!(counts[7] < 100, "{counts:?}");
    }

    #[test]
    fn a_long_run_shares_requests_in_flight_by_weight() {
        let weights = [6, 3, 1];
        let mut seats = seats(&weights);
        let mut cursor = Cursor::new(3);
        for _ in 0..1000 {
            let picked = pick(&seats, &mut cursor).unwrap();
            seats.0[picked].in_flight += 1;
        }
        let loads: Vec<_> = seats.0.iter().map(|seat| seat.in_flight).collect();
        assert!(follows(&loads, &weights), "{loads:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn an_idle_pool_follows_its_weights(
            weights in proptest::collection::vec(0u32..50, 1..20),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let counts = shares(Policy::LeastRequest, &seats(&weights), 20_000);
            prop_assert!(follows(&counts, &weights), "{:?}", counts);
        }
    }
}
