//! Smooth weighted round-robin, as nginx has it since its commit 52327e0627f4 (2012).

use super::cursor::around;
use super::{Candidates, Cursor};

/// Each round every candidate gains its weight, the richest is picked and pays the sum. Over as
/// many picks as the weights add up to, each is picked exactly as often as its weight, and picks
/// of the heavy are spread between those of the light: 5, 1, 1 gives `a a b a c a a`.
pub(super) fn pick(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    cursor.fit(candidates.len());
    let mut best: Option<(usize, i64)> = None;
    let mut poorest = 0;
    let mut total = 0;
    for index in around(cursor.start, candidates.len()) {
        if !candidates.eligible(index) {
            continue;
        }
        let Some(current) = cursor.current.get_mut(index) else { continue };
        let weight = i64::from(candidates.weight(index));
        *current += weight;
        total += weight;
        poorest = poorest.min(*current);
        if best.is_none_or(|(_, richest)| *current > richest) {
            best = Some((index, *current));
        }
    }
    let (index, richest) = best?;
    if let Some(current) = cursor.current.get_mut(index) {
        *current -= total;
    }
    // With one set of weights nobody owes or owns more than the sum. Who does has kept it from
    // other weights, and would be starved or flooded until it is paid back.
    if poorest < -total || richest > 2 * total {
        for current in &mut cursor.current {
            *current = (*current).clamp(-total, total);
        }
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Policy;
    use super::super::tests::{seats, shares};
    use super::*;

    #[test]
    fn the_heavy_is_spread_between_the_light() {
        let seats = seats(&[5, 1, 1]);
        let mut cursor = Cursor::new(1);
        cursor.fit(3);
        cursor.start = 0;
        let picks: Vec<_> = (0..7).filter_map(|_| pick(&seats, &mut cursor)).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn debts_from_other_weights_do_not_starve_anyone() {
        let mut cursor = Cursor::new(1);
        let uneven = seats(&[1, 1_000_000]);
        for _ in 0..600_000 {
            pick(&uneven, &mut cursor);
        }
        let even = seats(&[1, 1]);
        let mut counts = [0, 0];
        for _ in 0..100 {
            counts[pick(&even, &mut cursor).unwrap()] += 1;
        }
        assert!(counts[0] >= 45 && counts[1] >= 45, "{counts:?}");
    }

    proptest! {
        #[test]
        fn each_is_picked_exactly_as_often_as_its_weight(
            weights in proptest::collection::vec(0u32..20, 1..10), rounds in 1u32..4,
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let counts = shares(Policy::RoundRobin, &seats(&weights), rounds * total);
            let exact: Vec<_> = weights.iter().map(|weight| rounds * weight).collect();
            prop_assert_eq!(counts, exact);
        }
    }
}
