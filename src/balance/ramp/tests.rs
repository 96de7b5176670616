//! What a backend is given that has just come up.

use proptest::prelude::*;

use super::super::Policy;
use super::super::tests::{IDLE, Seat, Seats, follows, seats, shares};
use super::*;

const BY_LOAD: [Policy; 2] = [Policy::LeastRequest, Policy::PeakEwma];
/// The beginning of a ramp, in 1/256.
const COLD: u32 = 26;

/// Two hundred requests held by the others; the last one has just come back.
fn recovered(others: u32, factor: u32) -> Seats {
    let busy = Seat { in_flight: 200 / others, latency: Some(20_000_000), ..IDLE };
    let mut all = vec![busy; usize::try_from(others).unwrap()];
    all.push(Seat { factor, ..IDLE });
    Seats(all)
}

/// Its share by ramped weights, of so many.
fn share_of(seats: &Seats, index: usize, of: u32) -> f64 {
    let weight = |seat: &Seat| f64::from(seat.weight) * f64::from(seat.factor);
    let total: f64 = seats.0.iter().map(weight).sum();
    f64::from(of) * weight(&seats.0[index]) / total
}

#[test]
fn without_a_ramp_an_empty_backend_is_given_everything() {
    for policy in BY_LOAD {
        for others in [2, 4] {
            let seats = recovered(others, FULL);
            let counts = shares(policy, &seats, 1000);
            assert!(counts[seats.0.len() - 1] > 900, "{policy:?} {counts:?}");
        }
    }
}

#[test]
fn a_recovered_backend_has_its_share_of_the_requests_at_most() {
    // Each request ends before the next one comes, so the recovered one is always empty.
    for policy in BY_LOAD {
        for others in [1, 2, 4, 20, 100] {
            for factor in [COLD, 64, 128, 255] {
                let seats = recovered(others, factor);
                let last = seats.0.len() - 1;
                let picks = 20_000;
                let count = f64::from(shares(policy, &seats, picks)[last]);
                let share = share_of(&seats, last, picks);
                let most = share + 5.0 * share.sqrt() + 0.01 * f64::from(picks);
                assert!(count <= most, "{policy:?} {others} {factor}: {count} of {share}");
                assert!(count >= share * 0.8, "{policy:?} {others} {factor}: {count} of {share}");
            }
        }
    }
}

#[test]
fn in_an_idle_pool_a_recovered_backend_has_its_share_of_the_requests() {
    for policy in BY_LOAD {
        for others in [1, 2, 4, 7, 20] {
            for factor in [COLD, 64, 128] {
                let mut seats = seats(&vec![1; others]);
                seats.0.push(Seat { factor, ..IDLE });
                let ramped = |seat: &Seat| seat.weight * seat.factor;
                let due: Vec<_> = seats.0.iter().map(ramped).collect();
                let counts = shares(policy, &seats, 20_000);
                assert!(follows(&counts, &due), "{policy:?} {others} {factor}: {counts:?}");
            }
        }
    }
}

#[test]
fn where_the_others_are_busy_to_different_degrees_it_is_not_given_everything_either() {
    for policy in BY_LOAD {
        let mut seats = recovered(3, COLD);
        for (seat, in_flight) in seats.0.iter_mut().zip([20, 60, 120]) {
            seat.in_flight = in_flight;
        }
        // Each request ends before the next one comes: the least busy has nearly all.
        let counts = shares(policy, &seats, 10_000);
        let share = share_of(&seats, 3, 10_000);
        assert!(f64::from(counts[3]) <= share * 1.3, "{policy:?} {counts:?} {share}");
    }
}

#[test]
fn a_recovered_backend_holds_its_share_of_the_load_at_most() {
    // No request ever ends.
    for policy in BY_LOAD {
        for others in [1, 2, 4, 20] {
            for factor in [COLD, 128] {
                let mut seats = recovered(others, factor);
                let last = seats.0.len() - 1;
                let mut cursor = Cursor::new(3);
                for _ in 0..2000 {
                    let picked = policy.pick(&seats, &mut cursor).unwrap();
                    seats.0[picked].in_flight += 1;
                    let total = seats.0.iter().map(|seat| seat.in_flight).sum();
                    let share = share_of(&seats, last, total).ceil();
                    let held = f64::from(seats.0[last].in_flight);
                    assert!(held <= share.max(1.0), "{policy:?} {others} {factor}: {held} {share}");
                }
                assert!(seats.0[last].in_flight > 0);
            }
        }
    }
}

#[test]
fn several_that_ramp_have_their_shares_and_no_more() {
    for policy in BY_LOAD {
        let mut seats = recovered(3, COLD);
        seats.0.push(Seat { factor: 128, weight: 2, ..IDLE });
        let counts = shares(policy, &seats, 20_000);
        for index in [3, 4] {
            let share = share_of(&seats, index, 20_000);
            let off = (f64::from(counts[index]) - share).abs();
            assert!(off < 5.0 * share.sqrt(), "{policy:?} {counts:?} {share}");
        }
    }
}

#[test]
fn while_the_whole_pool_warms_up_the_coldest_has_its_share_and_no_more() {
    for policy in BY_LOAD {
        for others in [2, 4] {
            let mut seats = recovered(others, COLD);
            let last = seats.0.len() - 1;
            for seat in &mut seats.0[..last] {
                seat.factor = 128;
            }
            let count = f64::from(shares(policy, &seats, 20_000)[last]);
            let share = share_of(&seats, last, 20_000);
            assert!((count - share).abs() < 5.0 * share.sqrt(), "{policy:?} {count} {share}");
        }
    }
}

/// After an outage of the pool: the first came up a little earlier, and hangs with a hundred
/// requests; the others have so many in flight.
fn one_ahead(ahead: u32, behind: u32, in_flight: &[u32]) -> Seats {
    let hangs = Seat { factor: ahead, in_flight: 100, latency: Some(20_000_000), ..IDLE };
    let other = |&in_flight: &u32| Seat { factor: behind, in_flight, ..hangs };
    Seats(std::iter::once(hangs).chain(in_flight.iter().map(other)).collect())
}

#[test]
fn one_that_came_up_a_second_before_all_others_is_no_measure_of_them() {
    for policy in BY_LOAD {
        for (ahead, behind) in [(34, COLD), (51, COLD), (102, 51), (256, 205)] {
            let counts = shares(policy, &one_ahead(ahead, behind, &[40, 2, 40]), 1000);
            assert!(counts[2] > 900, "{policy:?} {ahead} {behind}: {counts:?}");
        }
    }
}

#[test]
fn one_that_lived_on_while_three_came_back_is_their_measure() {
    for policy in BY_LOAD {
        let seats = one_ahead(FULL, COLD, &[0, 0, 0]);
        let counts = shares(policy, &seats, 20_000);
        for (index, count) in counts.iter().enumerate() {
            let share = share_of(&seats, index, 20_000);
            let off = (f64::from(*count) - share).abs();
            assert!(off < 5.0 * share.sqrt(), "{policy:?} {counts:?} {share}");
        }
    }
}

#[test]
fn where_nobody_else_is_left_those_that_ramp_take_all() {
    for policy in BY_LOAD {
        for others in [3, 20] {
            let mut seats = recovered(others, COLD);
            let last = seats.0.len() - 1;
            for seat in &mut seats.0[..last] {
                seat.eligible = false;
            }
            assert_eq!(shares(policy, &seats, 100)[last], 100, "{policy:?}");
        }
    }
}

#[test]
fn a_pool_that_comes_up_as_a_whole_is_shared_as_ever() {
    let weights = [4, 2, 1];
    for policy in [Policy::LeastRequest, Policy::Random, Policy::PeakEwma, Policy::RoundRobin] {
        let mut seats = seats(&weights);
        for seat in &mut seats.0 {
            seat.factor = COLD;
        }
        let counts = shares(policy, &seats, 14_000);
        assert!(follows(&counts, &weights), "{policy:?} {counts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn turns_and_draws_follow_ramped_weights(
        parts in proptest::collection::vec((1u32..20, COLD..=FULL), 1..12),
    ) {
        let seat = |&(weight, factor): &_| Seat { weight, factor, ..IDLE };
        let seats = Seats(parts.iter().map(seat).collect());
        let ramped: Vec<_> = parts.iter().map(|(weight, factor)| weight * factor).collect();
        for policy in [Policy::RoundRobin, Policy::Random] {
            let counts = shares(policy, &seats, 20_000);
            prop_assert!(follows(&counts, &ramped), "{:?} {:?}", policy, counts);
        }
    }

    #[test]
    fn the_measure_has_half_of_the_weight_and_whoever_is_warmer_than_all_of_it_has_less(
        parts in proptest::collection::vec((1u32..20, any::<bool>(), COLD..=FULL), 1..12),
    ) {
        let seat = |&(weight, eligible, factor): &_| Seat { weight, eligible, factor, ..IDLE };
        let seats = Seats(parts.iter().map(seat).collect());
        let all = Load::of(&seats, |_| true);
        let found = measure(&seats, all);
        prop_assert_eq!(found.is_some(), parts.iter().any(|(_, eligible, _)| *eligible));
        if let Some((factor, warm)) = found {
            prop_assert!(warm.weights * 2 >= all.weights);
            let warmer = Load::of(&seats, |index| seats.0[index].factor > factor);
            prop_assert!(warmer.weights * 2 < all.weights);
            let holder = |seat: &Seat| seat.eligible && seat.factor == factor;
            prop_assert!(seats.0.iter().any(holder));
            let guests = guests(&seats).map(|guests| guests.measure);
            let colder = |seat: &Seat| seat.eligible && seat.factor < factor;
            prop_assert_eq!(guests, seats.0.iter().any(colder).then_some(factor));
        }
    }

    #[test]
    fn a_share_rounded_up_leaves_room_for_somebody(
        parts in proptest::collection::vec((1u32..20, 0u32..300, COLD..=FULL), 1..12),
    ) {
        let seat = |&(weight, in_flight, factor): &_| Seat { weight, in_flight, factor, ..IDLE };
        let seats = Seats(parts.iter().map(seat).collect());
        prop_assert!((0..parts.len()).any(|index| has_room(&seats, index)));
    }
}
