//! Smooth weighted round-robin, as nginx has it since its commit 52327e0627f4 (2012).

use super::cursor::around;
use super::ramp::weight;
use super::{Candidates, Cursor};

/// Each round every candidate gains its weight, the richest is picked and pays the sum. Over as
/// many picks as the weights add up to, each is picked exactly as often as its weight, and picks
/// of the heavy are spread between those of the light: 5, 1, 1 gives `a a b a c a a`.
pub(super) fn pick(candidates: &impl Candidates, cursor: &mut Cursor) -> Option<usize> {
    turn(candidates, cursor, None)
}

/// A turn that was given to this candidate by somebody else. It pays as if it had been picked.
pub(super) fn count(candidates: &impl Candidates, cursor: &mut Cursor, picked: usize) {
    if candidates.eligible(picked) {
        turn(candidates, cursor, Some(picked));
    }
}

/// How many picks somebody may owe or own. Turns that are given away come in bursts, which are to
/// be made up for; without them and with one set of weights nobody goes beyond one.
const MEMORY: i64 = 8;

fn turn(candidates: &impl Candidates, cursor: &mut Cursor, given: Option<usize>) -> Option<usize> {
    cursor.fit(candidates.len());
    let mut best: Option<(usize, i64)> = None;
    let mut poorest = 0;
    let mut total = 0;
    for index in around(cursor.start, candidates.len()) {
        if !candidates.eligible(index) {
            continue;
        }
        let Some(current) = cursor.current.get_mut(index) else { continue };
        let weight = i64::from(weight(candidates, index));
        *current += weight;
        total += weight;
        poorest = poorest.min(*current);
        let better = || best.is_none_or(|(_, richest)| *current > richest);
        if given.map_or_else(better, |given| given == index) {
            best = Some((index, *current));
        }
    }
    let (index, richest) = best?;
    if let Some(current) = cursor.current.get_mut(index) {
        *current -= total;
    }
    // Who owes or owns more has kept it from other weights, or was given more than its share for
    // long: it would be starved or flooded until it is paid back.
    if poorest < -MEMORY * total || richest > MEMORY * total {
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
    use super::super::tests::{Seats, seats, shares};
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

    #[test]
    fn turns_of_bound_visitors_count() {
        let seats = seats(&[1; 5]);
        let (mut cursor, mut rng) = (Cursor::new(1), fastrand::Rng::with_seed(1));
        let mut counts = [0u32; 5];
        for _ in 0..10_000 {
            // Half are bound, most of them to one of the five.
            let bound = [0, 0, 1, 2, 3, 4, 9, 9, 9, 9, 9, 9][rng.usize(..12)];
            if bound < 5 {
                Policy::RoundRobin.count(&seats, &mut cursor, bound);
                counts[bound] += 1;
            } else {
                counts[pick(&seats, &mut cursor).unwrap()] += 1;
            }
        }
        assert!(counts.iter().all(|count| (1_900..2_100).contains(count)), "{counts:?}");
    }

    #[test]
    fn who_has_more_bound_visitors_than_its_share_is_given_nobody_else() {
        let seats = seats(&[1, 1]);
        let mut cursor = Cursor::new(1);
        for round in 0..1000 {
            Policy::RoundRobin.count(&seats, &mut cursor, 0);
            Policy::RoundRobin.count(&seats, &mut cursor, 0);
            let picked = pick(&seats, &mut cursor);
            assert!(round == 0 || picked == Some(1), "{round}");
        }
        // And when they have gone, it is not starved.
        let counts = shares_of(&seats, &mut cursor, 100);
        assert!(counts[0] >= 40, "{counts:?}");
    }

    fn shares_of(seats: &Seats, cursor: &mut Cursor, picks: u32) -> [u32; 2] {
        let mut counts = [0; 2];
        for _ in 0..picks {
            counts[pick(seats, cursor).unwrap()] += 1;
        }
        counts
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
