//! More sessions than are kept: estimates are near, a draining backend's count and zero are exact.

use super::*;

/// New sessions a second between sweeps.
const RATE: usize = 10_000;
/// The limit of the contract: 16 MiB a pool.
const MOST_MEMORY: usize = 16 << 20;

/// Brings sessions in as they would come, and returns the time after the last.
fn arrive(sessions: &Sessions, keys: impl Iterator<Item = (u64, Arc<Seat>)>, mut now: u32) -> u32 {
    for (number, (key, seat)) in keys.enumerate() {
        sessions.touch(key, &seat, now);
        if (number + 1).is_multiple_of(RATE) {
            now += 1;
            assert!(sessions.memory() <= MOST_MEMORY);
            sessions.sweep(now);
        }
    }
    sessions.sweep(now);
    now
}

fn is_near(estimate: u64, exact: u64, percent: u64) -> bool {
    estimate.abs_diff(exact) * 100 <= exact * percent
}

#[test]
fn a_hundred_thousand_are_exact_and_cost_32_bytes_each() {
    let sessions = counting();
    let seat = sessions.seat(1).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut now = START;
    for number in 1..=131_072_usize {
        sessions.touch(rng.u64(..), &seat, now);
        if number.is_multiple_of(RATE) {
            now += 1;
            sessions.sweep(now);
        }
        let memory = sessions.table.load().slots() * table::SLOT;
        assert!(number < 10_000 || memory <= number * 32, "{memory} for {number}");
    }
    assert_eq!(sessions.total(now), Tally { sessions: 131_072, exact: true });
    sessions.sweep(now);
    assert_eq!(sessions.tally(&seat, now), Tally { sessions: 131_072, exact: true });
    assert!(is_consistent(&sessions));
}

#[test]
fn a_million_are_estimated_within_three_percent() {
    let sessions = Sessions::new(Purpose::Count, 400, START);
    let seats: Vec<_> = (0..5).map(|backend| sessions.seat(backend).unwrap()).collect();
    // One backend has a twentieth.
    let of = |key: u64| match key % 20 {
        0 => 4,
        other => usize::try_from(other % 4).unwrap(),
    };
    let mut rng = fastrand::Rng::with_seed(7);
    let keys: Vec<u64> = (0..1_000_000).map(|_| rng.u64(1..)).collect();
    let mut exact = [0_u64; 5];
    for key in &keys {
        exact[of(*key)] += 1;
    }
    let mut now = arrive(&sessions, keys.iter().map(|key| (*key, seats[of(*key)].clone())), START);
    let check = |now: u32, part: u64| {
        let total = sessions.total(now);
        assert!(is_near(total.sessions, 1_000_000 / part, 3) && !total.exact, "{total:?}");
        for (seat, exact) in seats.iter().zip(exact) {
            let tally = sessions.tally(seat, now);
            assert!(is_near(tally.sessions, exact / part, 3), "{tally:?} of {exact}");
        }
    };
    check(now, 1);
    assert!(is_consistent(&sessions));
    assert!(sessions.memory() <= MOST_MEMORY / 2, "{}", sessions.memory());
    // Most go, a tenth stays: the sample is made wider, and all the while the estimate is right
    // (a sample of 12,500 is near enough for the pool only).
    let stay: Vec<u64> = keys.iter().copied().step_by(10).collect();
    for _ in 0..14 {
        for key in &stay {
            sessions.touch(*key, &seats[of(*key)], now);
        }
        sessions.sweep(now);
        let total = sessions.total(now);
        assert!(now < START + 600 || is_near(total.sessions, 100_000, 3), "{total:?}");
        now += 190;
    }
    assert_eq!(sessions.total(now), Tally { sessions: 100_000, exact: true });
    assert!(is_consistent(&sessions));
}

#[test]
fn a_draining_backend_is_counted_exactly() {
    let sessions = counting();
    let (a, b) = (sessions.seat(1).unwrap(), sessions.seat(2).unwrap());
    let mut rng = fastrand::Rng::with_seed(3);
    let keys: Vec<u64> = (0..900_000).map(|_| rng.u64(1..)).collect();
    let (draining, others) = keys.split_at(300_000);
    let mut now = arrive(&sessions, others.iter().map(|key| (*key, b.clone())), START);
    now = arrive(&sessions, draining.iter().map(|key| (*key, a.clone())), now);
    assert!(!sessions.tally(&a, now).exact);
    a.track_in_full(true);
    let begun = now;
    now = arrive(&sessions, draining.iter().map(|key| (*key, a.clone())), now);
    let tally = sessions.tally(&a, now);
    assert!(is_near(tally.sessions, 300_000, 3) && !tally.exact, "{tally:?}");
    now = now.max(begun + IDLE - 100);
    now = arrive(&sessions, draining.iter().map(|key| (*key, a.clone())), now);
    now = arrive(&sessions, others.iter().map(|key| (*key, b.clone())), now);
    now = now.max(begun + IDLE + 2);
    sessions.sweep(now);
    assert_eq!(sessions.tally(&a, now), Tally { sessions: 300_000, exact: true });
    let other = sessions.tally(&b, now);
    assert!(is_near(other.sessions, 600_000, 3) && !other.exact, "{other:?}");
    assert!(is_consistent(&sessions));
    // One after the other goes, and the last of them counts.
    now += IDLE - 10;
    sessions.touch(draining[0], &a, now);
    sessions.sweep(now + 100);
    assert_eq!(sessions.tally(&a, now + 100), Tally { sessions: 1, exact: true });
    assert!(!sessions.is_empty(&a, now + IDLE));
    sessions.sweep(now + IDLE + 1);
    assert!(sessions.is_empty(&a, now + IDLE + 1));
}

#[test]
fn a_session_outside_of_the_sample_keeps_its_backend_from_being_empty() {
    let sessions = counting();
    let (a, b) = (sessions.seat(1).unwrap(), sessions.seat(2).unwrap());
    let mut rng = fastrand::Rng::with_seed(5);
    let mut now = arrive(&sessions, (0..200_000).map(|_| (rng.u64(1..), b.clone())), START);
    let rules = sessions.table.load().rules;
    assert!(rules.shift > 0);
    now += IDLE;
    let outside = (1..1000).find(|key| !rules.admits(Key::new(*key))).unwrap();
    assert!(sessions.is_empty(&a, now));
    assert_eq!(sessions.touch(outside, &a, now), Seen::Untracked);
    assert_eq!(a.tracked(), 0);
    assert!(!sessions.is_empty(&a, now + IDLE));
    sessions.sweep(now + IDLE);
    assert!(!sessions.is_empty(&a, now + IDLE));
    assert!(sessions.is_empty(&a, now + IDLE + 2));
    sessions.sweep(now + IDLE + 2);
    assert!(sessions.is_empty(&a, now + IDLE + 2));
}

#[test]
fn a_session_that_leaves_the_sample_keeps_its_backend_from_being_empty() {
    let sessions = counting();
    let (a, b) = (sessions.seat(1).unwrap(), sessions.seat(2).unwrap());
    let outside = (1..1000).find(|key| Key::new(*key).hash & 1 == 1).unwrap();
    // Counts are complete by then.
    let begun = START + 2 * IDLE;
    sessions.sweep(begun);
    assert!(sessions.is_empty(&a, begun));
    sessions.touch(outside, &a, begun);
    let mut rng = fastrand::Rng::with_seed(6);
    let now = arrive(&sessions, (0..140_000).map(|_| (rng.u64(1..), b.clone())), begun);
    assert_eq!(sessions.table.load().rules.shift, 1);
    assert_eq!(a.tracked(), 0, "it is not in the sample");
    let end = begun + IDLE;
    assert!(now < end && !sessions.is_empty(&a, end), "but it lives");
    assert!(sessions.is_empty(&a, end + 2));
}

#[test]
fn a_table_shrinks_when_its_sessions_have_gone() {
    let sessions = counting();
    let seat = sessions.seat(1).unwrap();
    let now = arrive(&sessions, (1..=120_000).map(|key| (key, seat.clone())), START);
    let most = sessions.memory();
    for second in 1..20 {
        sessions.sweep(now + IDLE + second);
    }
    assert!(sessions.memory() * 32 < most, "{} of {most}", sessions.memory());
    assert_eq!(seat.tracked(), 0);
}

#[test]
fn a_burst_between_sweeps_fits() {
    for before in [0_u64, 1000, 20_000, 30_000, 51_000, 60_000] {
        let sessions = counting();
        let seat = sessions.seat(1).unwrap();
        let mut now = START;
        now = arrive(&sessions, (1..=before).map(|key| (key, seat.clone())), now);
        for key in before + 1..=before + 10_000 {
            assert_ne!(sessions.touch(key, &seat, now), Seen::Untracked, "{before} {key}");
        }
    }
}
