//! What every node agrees on, who is moved, and what bounds the load.

use proptest::prelude::*;

use super::super::tests::{IDLE, Seat, Seats, follows, seats};
use super::super::{Cursor, Hashed, Policy};
use super::*;
use crate::backend::name_hash;

fn named(weights: &[u32]) -> Vec<(u64, u32)> {
    ["a", "b", "c", "d", "e"]
        .iter()
        .map(|name| name_hash(name))
        .zip(weights.iter().copied())
        .collect()
}

/// So many backends of weight 1.
fn many(count: u64) -> Vec<(u64, u32)> {
    (0..count).map(|index| (finish(index), 1)).collect()
}

/// A hash of all entries and their order.
fn digest(maglev: &Maglev) -> u64 {
    maglev.table.iter().fold(0, |sum, entry| finish(sum.wrapping_add(u64::from(*entry))))
}

#[test]
fn every_version_and_node_fills_the_table_alike() {
    // Never change these figures: two nodes of different versions must agree. They are from the
    // paper's pseudocode with whole permutations and weights in fractions, in Python.
    let even = Maglev::new(&named(&[1; 5]));
    let uneven = Maglev::new(&named(&[1, 2, 3, 4, 5]));
    assert_eq!(digest(&even), 0x782a_2785_fa43_3b72);
    assert_eq!(digest(&uneven), 0xe57b_e6e4_ba23_6d74);
    assert_eq!(digest(&Maglev::new(&named(&[3, 0, 65_535, 1, 7]))), 0x9177_de14_fb71_b5bd);
    let large: Vec<_> = (0..60).map(finish).zip((1..=4).cycle()).collect();
    assert_eq!(digest(&Maglev::new(&large)), 0xe6b3_4361_4e91_e8fd);
    let seats = seats(&[1; 5]);
    let choose = |maglev: &Maglev| -> Vec<_> {
        (0..16).filter_map(|key| maglev.pick(finish(key), &seats)).collect()
    };
    assert_eq!(choose(&even), [2, 3, 4, 2, 2, 1, 2, 1, 0, 3, 1, 0, 2, 3, 4, 2]);
    assert_eq!(choose(&uneven), [2, 3, 4, 2, 2, 1, 3, 4, 3, 3, 1, 4, 2, 3, 4, 2]);
}

#[test]
fn shares_follow_weights() {
    let weights = [1, 2, 3, 10, 0];
    let (maglev, seats) = (Maglev::new(&named(&weights)), seats(&weights));
    let mut counts = [0; 5];
    for key in 0..50_000 {
        counts[maglev.pick(finish(key), &seats).unwrap()] += 1;
    }
    assert!(follows(&counts, &weights), "{counts:?}");
    let mut entries = [0; 5];
    for entry in &maglev.table {
        entries[usize::from(*entry)] += 1;
    }
    // The table itself is exact but for the turns of the first and the last round.
    for (count, weight) in entries.iter().zip(weights) {
        let due = 5_003 * weight / 16;
        assert!(due.abs_diff(*count) <= 3, "{entries:?}");
    }
}

#[test]
fn hardly_more_than_the_keys_of_a_backend_that_leaves_are_moved() {
    for count in [3, 10, 50, 100] {
        let all = many(count);
        let full = Maglev::new(&all);
        let mut left = all.clone();
        // Last, so that the others keep their indexes; the order in the table is by name.
        left.pop();
        let less = Maglev::new(&left);
        let size = full.table.len();
        assert_eq!(less.table.len(), size);
        let moved = full.table.iter().zip(&less.table).filter(|(a, b)| a != b).count();
        let most = size / usize::try_from(count).unwrap() + size * 4 / 100;
        assert!(moved <= most, "{count}: {moved} of {size}, {most} at most");
    }
}

#[test]
fn who_is_down_for_a_while_moves_nobody_else() {
    let maglev = Maglev::new(&many(10));
    let all = seats(&[1; 10]);
    let mut without = all.clone();
    without.0[4].eligible = false;
    let mut heirs = [0; 10];
    for key in (0..10_000).map(finish) {
        let owner = maglev.pick(key, &all).unwrap();
        let chosen = maglev.pick(key, &without).unwrap();
        if owner == 4 {
            heirs[chosen] += 1;
        } else {
            assert_eq!(chosen, owner);
        }
    }
    // They are spread over all others.
    assert!(heirs.iter().filter(|heir| **heir > 50).count() == 9, "{heirs:?}");
}

#[test]
fn nobody_is_given_more_than_a_quarter_above_its_share() {
    let maglev = Maglev::new(&named(&[1, 1, 2]));
    let mut seats = seats(&[1, 1, 2]);
    // All requests are of one key: it spills over only when its owner is full.
    for _ in 0..400 {
        let chosen = maglev.pick_bounded(9, &seats).unwrap();
        seats.0[chosen].in_flight += 1;
    }
    let loads: Vec<_> = seats.0.iter().map(|seat| seat.in_flight).collect();
    for (load, weight) in loads.iter().zip([1, 1, 2]) {
        assert!(*load <= 125 * weight + 1, "{loads:?}");
    }
    assert!(loads[maglev.pick(9, &seats).unwrap()] >= 124, "{loads:?}");
}

#[test]
fn whoever_is_eligible_is_found_though_it_has_no_entry() {
    let mut seats = seats(&[0, 0, 1]);
    // By a mark that is newer than the table.
    let maglev = Maglev::new(&named(&[1, 1, 0]));
    assert_eq!(maglev.pick(1, &seats), Some(2));
    seats.0[2].eligible = false;
    assert_eq!(maglev.pick(1, &seats), None);
    assert_eq!(Maglev::new(&[]).pick(1, &Seats(Vec::new())), None);
    assert_eq!(Maglev::new(&named(&[0, 0])).pick_bounded(1, &seats), None);
}

/// A pool that hashes.
struct Pool {
    seats: Seats,
    maglev: Maglev,
    key: Option<u64>,
}

impl Candidates for Pool {
    fn len(&self) -> usize {
        self.seats.len()
    }
    fn weight(&self, index: usize) -> u32 {
        self.seats.weight(index)
    }
    fn in_flight(&self, index: usize) -> u32 {
        self.seats.in_flight(index)
    }
    fn eligible(&self, index: usize) -> bool {
        self.seats.eligible(index)
    }
    fn hashed(&self) -> Option<Hashed<'_>> {
        self.key.map(|key| Hashed { table: &self.maglev, key })
    }
}

#[test]
fn the_policy_hashes_who_has_a_key_and_spreads_the_others() {
    let mut pool =
        Pool { seats: seats(&[1; 5]), maglev: Maglev::new(&named(&[1; 5])), key: Some(7) };
    let mut cursor = Cursor::new(1);
    let mut picks = |pool: &Pool| -> Vec<_> {
        (0..100).filter_map(|_| Policy::Hash.pick(pool, &mut cursor)).collect()
    };
    let owner = pool.maglev.pick(7, &pool.seats).unwrap();
    assert_eq!(picks(&pool), [owner; 100]);
    pool.key = None;
    assert!((0..5).all(|index| picks(&pool).contains(&index)));
}

/// The paper's pseudocode 1, for backends of one weight that are sorted by name.
fn textbook(names: &[u64], size: usize) -> Vec<u16> {
    let skip = |i: usize| place(stride(names[i]), size - 1) + 1;
    let at = |i: usize, j: usize| (place(offset(names[i]), size) + j * skip(i)) % size;
    let (mut next, mut entry, mut n) = (vec![0; names.len()], vec![None; size], 0);
    loop {
        for i in 0..names.len() {
            while entry[at(i, next[i])].is_some() {
                next[i] += 1;
            }
            entry[at(i, next[i])] = u16::try_from(i).ok();
            n += 1;
            if n == size {
                return entry.into_iter().flatten().collect();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_the_published_table(
        names in proptest::collection::btree_set(any::<u64>(), 1..40), weight in 1u32..70_000,
    ) {
        let names: Vec<_> = names.into_iter().collect();
        let backends: Vec<_> = names.iter().map(|name| (*name, weight)).collect();
        for size in [251, 5_003] {
            prop_assert_eq!(fill(&backends, size).to_vec(), textbook(&names, size));
        }
    }

    #[test]
    fn the_order_of_the_file_changes_nothing(
        names in proptest::collection::btree_map(any::<u64>(), 0u32..20, 1..30), order: u64,
    ) {
        let mut pool: Vec<_> = names.into_iter().collect();
        let name = |pool: &[(u64, u32)]| -> Vec<_> {
            let table = Maglev::new(pool).table;
            table.iter().map(|index| pool[usize::from(*index)].0).collect()
        };
        let before = name(&pool);
        fastrand::Rng::with_seed(order).shuffle(&mut pool);
        prop_assert_eq!(name(&pool), before);
    }

    #[test]
    fn bounds_leave_somebody_and_are_kept(
        parts in proptest::collection::vec((1u32..50, 0u32..500, any::<bool>()), 1..12), key: u64,
    ) {
        let seat =
            |&(weight, in_flight, eligible): &_| Seat { weight, in_flight, eligible, ..IDLE };
        let seats = Seats(parts.iter().map(seat).collect());
        let backends: Vec<_> = (0..).map(finish).zip(parts.iter().map(|it| it.0)).collect();
        let picked = Maglev::new(&backends).pick_bounded(key, &seats);
        prop_assert_eq!(picked.is_some(), parts.iter().any(|it| it.2));
        prop_assert!(picked.is_none_or(|index| Bounded::of(&seats).eligible(index)));
    }
}
