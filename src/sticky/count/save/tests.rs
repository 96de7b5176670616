//! Tests of saving: what comes back counts the same, and no bytes do harm.

use proptest::prelude::*;

use super::super::{Found, Purpose};
use super::*;

const START: u32 = 1_800_000_000;
const IDLE: u32 = 1800;
const POOL: u64 = 77;

/// A table with so many sessions on each of its seats.
fn filled(numbers: &[u64]) -> Sessions {
    let sessions = Sessions::new(Purpose::Learn { most: 10_000 }, IDLE, START);
    let mut key = 0;
    for (backend, number) in (100..).zip(numbers) {
        let seat = sessions.seat(backend).unwrap();
        for _ in 0..*number {
            key += 1;
            sessions.touch(key, &seat, START + u32::try_from(key % 50).unwrap());
        }
    }
    sessions
}

fn fresh(now: u32) -> Sessions {
    Sessions::new(Purpose::Count, IDLE, now)
}

/// The bytes with a checksum that fits them.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = xxh3_64(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn what_was_saved_counts_again() {
    let old = filled(&[3, 0, 500]);
    old.note(9999, &old.seat(101).unwrap(), START + 60);
    let now = START + 60;
    let bytes = old.save(POOL, true, now);
    // Another order of backends, and one that was not there.
    let new = fresh(now + 5);
    for backend in [7, 102, 100] {
        new.seat(backend).unwrap();
    }
    let restored = new.restore(&bytes, POOL, now + 5).unwrap();
    assert_eq!(restored.sessions, 504);
    assert_eq!(restored.skipped, 0);
    assert_eq!(restored.complete_at, old.complete_at(), "as the counts were");
    let tracked = |backend| new.seat(backend).unwrap().tracked();
    assert_eq!([7, 100, 101, 102].map(tracked), [0, 3, 0, 500]);
    let seat = new.seat(101).unwrap().index();
    let noted = Found { seat, last_seen: now, returned: false };
    assert_eq!(new.find(9999, now + 5), Some(noted));
    assert_eq!(new.find(1, now + 5).unwrap().last_seen, START + 1);
    let again = new.restore(&bytes, POOL, now + 5).unwrap();
    assert_eq!((again.sessions, again.skipped), (0, 0));
    assert_eq!(new.total(now + 5).sessions, 503);
}

#[test]
fn after_a_crash_counts_are_incomplete_for_the_idle_time() {
    let old = filled(&[5]);
    let late = START + 2 * IDLE;
    old.touch(1, &old.seat(100).unwrap(), late);
    let (clean, unclean) = (old.save(POOL, true, late), old.save(POOL, false, late));
    let new = fresh(late + 9);
    let restored = new.restore(&unclean, POOL, late + 9).unwrap();
    assert_eq!(
        restored,
        Restored { sessions: 1, skipped: 0, complete_at: Some(late + 9 + IDLE + 1) }
    );
    let new = fresh(late + 9);
    assert_eq!(new.restore(&clean, POOL, late + 9).unwrap().complete_at, None);
    assert!(new.is_complete(late + 9));
    // A longer idle time has sessions that the shorter one had ended.
    let new = Sessions::new(Purpose::Count, IDLE + 100, late + 9);
    let restored = new.restore(&clean, POOL, late + 9).unwrap();
    assert_eq!(restored.complete_at, Some(late + 101));
}

#[test]
fn who_is_here_already_keeps_the_later_time() {
    let old = filled(&[2]);
    let now = START + 100;
    let bytes = old.save(POOL, true, now);
    let new = fresh(START);
    let (a, b) = (new.seat(100).unwrap(), new.seat(200).unwrap());
    new.touch(1, &b, now);
    new.touch(2, &b, START);
    let restored = new.restore(&bytes, POOL, now).unwrap();
    assert_eq!(restored.sessions, 0);
    assert_eq!((a.tracked(), b.tracked()), (1, 1));
    assert_eq!(new.find(1, now).unwrap().seat, b.index());
    assert_eq!(new.find(2, now).unwrap().seat, a.index());
}

#[test]
fn a_sample_comes_back_as_one() {
    let old = fresh(START);
    let seat = old.seat(100).unwrap();
    let mut rng = fastrand::Rng::with_seed(9);
    let mut now = START;
    for number in 1..=400_000 {
        old.touch(rng.u64(1..), &seat, now);
        if number % 10_000 == 0 {
            now += 1;
            old.sweep(now);
        }
    }
    let bytes = old.save(POOL, true, now);
    let new = fresh(now);
    new.restore(&bytes, POOL, now).unwrap();
    assert_eq!(new.total(now), old.total(now));
    assert!(!new.total(now).exact);
    new.sweep(now);
    assert_eq!(new.total(now), old.total(now));
}

#[test]
fn bytes_that_are_not_ours_are_told_apart() {
    let bytes = filled(&[4]).save(POOL, true, START);
    let errors = |bytes: &[u8]| fresh(START).restore(bytes, POOL, START).unwrap_err();
    assert_eq!(errors(b""), RestoreError::Shape);
    assert_eq!(errors(b"{\"sessions\":12}"), RestoreError::Shape);
    let mut newer = bytes.clone();
    newer[4] = 2;
    assert_eq!(errors(&newer), RestoreError::Version(2));
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(errors(&flipped), RestoreError::Checksum);
    assert_eq!(fresh(START).restore(&bytes, 78, START), Err(RestoreError::OtherPool));
    // The seat of the first session.
    let mut beyond = bytes[..bytes.len() - 8].to_vec();
    beyond[HEAD + 12 + 8] = 2;
    assert_eq!(errors(&sealed(beyond)), RestoreError::Shape);
}

proptest! {
    #[test]
    fn every_table_comes_back(
        numbers in proptest::collection::vec(0..400_u64, 0..6),
        pause in 0..2 * IDLE,
        clean: bool,
    ) {
        let old = filled(&numbers);
        let now = START + 50 + pause;
        let bytes = old.save(POOL, clean, now);
        old.sweep(now);
        let new = fresh(now);
        let restored = new.restore(&bytes, POOL, now).unwrap();
        prop_assert_eq!(u64::try_from(restored.sessions).unwrap(), old.total(now).sessions);
        for backend in (100..).take(numbers.len()) {
            let tally = |sessions: &Sessions| sessions.tally(&sessions.seat(backend).unwrap(), now);
            prop_assert_eq!(tally(&new), tally(&old));
        }
    }

    #[test]
    fn damaged_bytes_change_nothing(cut: prop::sample::Index, bit: prop::sample::Index) {
        let bytes = filled(&[3, 4]).save(POOL, true, START + 60);
        let new = fresh(START + 60);
        prop_assert!(new.restore(&bytes[..cut.index(bytes.len())], POOL, START + 60).is_err());
        let mut flipped = bytes.clone();
        let bit = bit.index(bytes.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(new.restore(&flipped, POOL, START + 60).is_err());
        prop_assert_eq!(new.total(START + 60).sessions, 0);
        prop_assert_eq!(new.complete_at(), fresh(START + 60).complete_at());
    }

    #[test]
    fn any_bytes_with_a_good_checksum_do_no_harm(
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        seats in 0..4_u32,
        shift in 0..3_u8,
        times in any::<[u32; 4]>(),
    ) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[VERSION, CLEAN, shift, 2]);
        bytes.extend_from_slice(&POOL.to_le_bytes());
        for time in times {
            bytes.extend_from_slice(&time.to_le_bytes());
        }
        bytes.extend_from_slice(&seats.to_le_bytes());
        bytes.extend_from_slice(&tail);
        let new = fresh(START);
        if let Ok(restored) = new.restore(&sealed(bytes), POOL, START) {
            prop_assert!(restored.complete_at.is_none_or(|at| at <= START + IDLE + 1));
        }
        new.sweep(START);
        new.sweep(START + IDLE + 2);
        prop_assert_eq!(new.total(START + IDLE + 2).sessions, 0);
    }
}
