//! Weighted random, in constant time where the weights are not too uneven.

use super::ramp::weight;
use super::{Candidates, Cursor};

/// Darts thrown before a scan decides; with equal weights and all eligible the first one hits.
const DARTS: u32 = 16;

/// Each eligible candidate with a probability that is its share of the weights.
pub(super) fn pick(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    cursor.fit(candidates.len());
    if candidates.is_empty() {
        return None;
    }
    if cursor.heaviest == 0 {
        return scan(candidates, cursor);
    }
    // Rejection sampling: a place at random, kept with a probability of weight / heaviest.
    for _ in 0..DARTS {
        let index = cursor.rng.usize(..candidates.len());
        if !candidates.eligible(index) {
            continue;
        }
        let weight = weight(candidates, index);
        if weight >= cursor.heaviest {
            cursor.heaviest = weight;
            return Some(index);
        }
        if cursor.rng.u32(..cursor.heaviest) < weight {
            return Some(index);
        }
    }
    scan(candidates, cursor)
}

/// The same in one pass over all: the n-th replaces the choice so far with a probability of its
/// share among the first n. Also finds the heaviest anew.
fn scan(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    let mut chosen = None;
    let mut total = 0;
    cursor.heaviest = 0;
    for index in (0..candidates.len()).filter(|index| candidates.eligible(*index)) {
        let weight = weight(candidates, index);
        cursor.heaviest = cursor.heaviest.max(weight);
        total += u64::from(weight);
        if chosen.is_none() || cursor.rng.u64(..total.max(1)) < u64::from(weight) {
            chosen = Some(index);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Policy;
    use super::super::tests::{follows, seats, shares};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn shares_follow_weights(weights in proptest::collection::vec(0u32..50, 1..20)) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let counts = shares(Policy::Random, &seats(&weights), 20_000);
            prop_assert!(follows(&counts, &weights), "{:?}", counts);
        }
    }

    #[test]
    fn one_heavy_among_many_light_gets_its_share() {
        let mut weights = vec![1; 500];
        weights[123] = 500;
        let counts = shares(Policy::Random, &seats(&weights), 20_000);
        assert!((9_000..11_000).contains(&counts[123]), "{}", counts[123]);
    }
}
