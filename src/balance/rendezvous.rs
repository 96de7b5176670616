//! Weighted rendezvous hashing: everyone with the same view makes the same choice.

use super::Candidates;
use super::logarithm::negative_log2;

/// The eligible candidate that wins this key by highest random weight, the same in every worker,
/// node, restart and version: names and weights alone decide, never indexes. A change of other
/// candidates moves a key only to or from the one that changed.
///
/// With `u` in (0, 1] hashed from key and name, the highest `weight / -ln(u)` wins (Schindelhauer
/// and Schomaker, "Weighted Distributed Hash Tables", 2005), here with an integer logarithm to
/// base 2 and compared crosswise, so that no rounding of floats can divide two nodes. `name` gives
/// a candidate's `backend::name_hash`.
pub fn rendezvous(
    key: u64,
    candidates: &impl Candidates,
    name: impl Fn(usize) -> u64,
) -> Option<usize> {
    let mut best: Option<(usize, Bid)> = None;
    for index in (0..candidates.len()).filter(|index| candidates.eligible(*index)) {
        let name = name(index);
        let bid = Bid { hash: mix(key, name), name, weight: candidates.weight(index) };
        if best.as_ref().is_none_or(|(_, highest)| bid.beats(highest)) {
            best = Some((index, bid));
        }
    }
    best.map(|(index, _)| index)
}

/// As [`rendezvous`], but no candidate is given more than a quarter above its share of what is in
/// flight: who would be is sent to the next of its own order ("Consistent Hashing with Bounded
/// Loads", Mirrokni, Thorup and Zadimoghaddam, 2016). Below `FLOOR` requests nobody is sent away,
/// or the few requests of one visitor would part.
pub fn rendezvous_bounded(
    key: u64,
    candidates: &impl Candidates,
    name: impl Fn(usize) -> u64,
) -> Option<usize> {
    rendezvous(key, &Bounded::of(candidates), name)
}

/// Requests that any candidate may have.
pub(super) const FLOOR: u64 = 16;

/// Those of the candidates that are below their bound of load; never none of them.
pub(super) struct Bounded<'a, C> {
    candidates: &'a C,
    load: u64,
    weights: u64,
}

impl<'a, C: Candidates> Bounded<'a, C> {
    pub(super) fn of(candidates: &'a C) -> Self {
        let (mut load, mut weights) = (1_u64, 0_u64);
        for index in (0..candidates.len()).filter(|index| candidates.eligible(*index)) {
            load += u64::from(candidates.in_flight(index));
            weights += u64::from(candidates.weight(index));
        }
        Self { candidates, load, weights: weights.max(1) }
    }
}

impl<C: Candidates> Candidates for Bounded<'_, C> {
    fn len(&self) -> usize {
        self.candidates.len()
    }

    fn weight(&self, index: usize) -> u32 {
        self.candidates.weight(index)
    }

    fn in_flight(&self, index: usize) -> u32 {
        self.candidates.in_flight(index)
    }

    fn eligible(&self, index: usize) -> bool {
        let share = self.load.saturating_mul(5) * u64::from(self.weight(index));
        let most = share.div_ceil(self.weights.saturating_mul(4)).max(FLOOR);
        self.candidates.eligible(index) && u64::from(self.in_flight(index)) < most
    }
}

struct Bid {
    hash: u64,
    name: u64,
    weight: u32,
}

impl Bid {
    fn beats(&self, other: &Self) -> bool {
        let by_hash = (self.hash, self.name) > (other.hash, other.name);
        if self.weight == other.weight {
            // The logarithm keeps the order of hashes, so equal weights need none.
            return by_hash;
        }
        let mine = u128::from(self.weight) * u128::from(negative_log2(other.hash));
        let theirs = u128::from(other.weight) * u128::from(negative_log2(self.hash));
        mine > theirs || (mine == theirs && by_hash)
    }
}

/// A hash of a session and a name. Must never change: visitors who move land by it.
fn mix(key: u64, name: u64) -> u64 {
    finish(key.wrapping_add(finish(name)))
}

/// The finisher of `SplitMix64` (Steele, Lea and Flood, 2014), with its increment.
pub(super) fn finish(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{IDLE, Seat, Seats, follows, seats};
    use super::*;
    use crate::backend::name_hash;

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

    #[test]
    fn every_version_and_node_chooses_alike() {
        // Never change these figures: two nodes of different versions must agree. A textbook
        // version in floats (w / -ln u, in Python) gives the same choices.
        assert_eq!(NAMES.map(name_hash), HASHES);
        assert_eq!(finish(0), 0xe220_a839_7b1d_cdaf);
        let hash = |index: usize| name_hash(NAMES[index]);
        let choose = |weights: &[u32], key| rendezvous(key, &seats(weights), hash);
        let even: Vec<_> = (0..16).filter_map(|key| choose(&[1; 5], key)).collect();
        let uneven: Vec<_> = (0..16).filter_map(|key| choose(&[1, 2, 3, 4, 5], key)).collect();
        assert_eq!(even, GOLDEN_EVEN);
        assert_eq!(uneven, GOLDEN_UNEVEN);
    }

    const HASHES: [u64; 5] = [
        0x37cf_53dc_2072_617f,
        0x4cda_be5b_e40d_b0d3,
        0x833c_d540_1d67_53d9,
        0x4505_8967_8bd5_ece8,
        0x9d83_b1dc_fb93_97c6,
    ];
    const GOLDEN_EVEN: [usize; 16] = [4, 2, 0, 3, 3, 3, 4, 3, 4, 4, 1, 4, 2, 1, 3, 0];
    const GOLDEN_UNEVEN: [usize; 16] = [4, 2, 4, 3, 3, 3, 4, 3, 4, 4, 3, 4, 2, 1, 3, 0];

    #[test]
    fn keys_of_one_remainder_are_shared_like_all_of_them() {
        // A route with `split` draws the pool by the key's remainder: within each pool no backend
        // may be left out for it.
        let weights = [1, 2, 1, 1, 3];
        let seats = seats(&weights);
        for total in [2_u64, 3, 10, 100, 5_003, 65_537] {
            for lower in [true, false] {
                let keys = (0..60_000_u64).map(finish);
                let mut counts = [0; 5];
                for key in keys.filter(|key| (key % total < total / 2) == lower) {
                    let chosen = rendezvous(key, &seats, |index| name_hash(NAMES[index]));
                    counts[chosen.unwrap()] += 1;
                }
                assert!(follows(&counts, &weights), "{total} {lower}: {counts:?}");
            }
        }
    }

    #[test]
    fn shares_follow_weights() {
        let weights = [1, 2, 3, 10, 0];
        let seats = seats(&weights);
        let mut counts = [0; 5];
        for key in 0..50_000u64 {
            let session = finish(key);
            counts[rendezvous(session, &seats, |index| name_hash(NAMES[index])).unwrap()] += 1;
        }
        assert!(follows(&counts, &weights), "{counts:?}");
    }

    #[test]
    fn nobody_eligible_is_nobody_chosen() {
        assert_eq!(rendezvous(1, &seats(&[0, 0]), |_| 1), None);
        assert_eq!(rendezvous(1, &seats(&[]), |_| 1), None);
    }

    #[test]
    fn nobody_is_given_more_than_a_quarter_above_its_share() {
        let hash = |index: usize| name_hash(NAMES[index]);
        let mut seats = seats(&[1, 1, 2]);
        // All requests are of one key: it spills over only when its owner is full.
        for _ in 0..400 {
            let chosen = rendezvous_bounded(9, &seats, hash).unwrap();
            seats.0[chosen].in_flight += 1;
        }
        let loads: Vec<_> = seats.0.iter().map(|seat| seat.in_flight).collect();
        for (load, weight) in loads.iter().zip([1, 1, 2]) {
            assert!(*load <= 125 * weight + 1, "{loads:?}");
        }
        let owner = rendezvous(9, &seats, hash).unwrap();
        assert!(loads[owner] >= 124, "{loads:?}, owner {owner}");
    }

    #[test]
    fn a_few_requests_of_one_visitor_stay_together() {
        let mut seats = seats(&[1, 1, 1]);
        let hash = |index: usize| name_hash(NAMES[index]);
        let owner = rendezvous(5, &seats, hash).unwrap();
        seats.0[owner].in_flight = 15;
        assert_eq!(rendezvous_bounded(5, &seats, hash), Some(owner));
        seats.0[owner].in_flight = 16;
        assert_ne!(rendezvous_bounded(5, &seats, hash), Some(owner));
    }

    proptest! {
        #[test]
        fn some_candidate_is_always_below_its_bound(
            seats in proptest::collection::vec((1u32..50, 0u32..500), 1..12), key: u64,
        ) {
            let seat = |&(weight, in_flight): &_| Seat { weight, in_flight, ..IDLE };
            let seats = Seats(seats.iter().map(seat).collect());
            prop_assert!(rendezvous_bounded(key, &seats, |index| index as u64).is_some());
        }

        #[test]
        fn other_candidates_never_change_the_choice(
            names in proptest::collection::btree_map(any::<u64>(), 1u32..100, 1..20),
            key: u64, order: u64, keep: u32,
        ) {
            let mut pool: Vec<(u64, u32)> = names.into_iter().collect();
            let choose = |pool: &[(u64, u32)]| {
                let seat = |&(_, weight)| Seat { weight, ..IDLE };
                let seats = Seats(pool.iter().map(seat).collect());
                pool[rendezvous(key, &seats, |index| pool[index].0).unwrap()].0
            };
            let winner = choose(&pool);
            fastrand::Rng::with_seed(order).shuffle(&mut pool);
            prop_assert_eq!(choose(&pool), winner);
            let mut bit = 0;
            pool.retain(|(name, _)| {
                bit += 1;
                *name == winner || keep >> bit & 1 == 1
            });
            prop_assert_eq!(choose(&pool), winner);
            for (name, weight) in &mut pool {
                *weight = if *name == winner { *weight } else { 1.max(*weight / 2) };
            }
            prop_assert_eq!(choose(&pool), winner);
        }
    }
}
