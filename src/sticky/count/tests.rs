//! Tests of the live-session table: against a model, under threads, and with more than fits.

mod model;
mod sample;
mod stress;

use std::collections::HashMap;

use super::*;

const START: u32 = 1_800_000_000;
const IDLE: u32 = 1800;

fn counting() -> Sessions {
    Sessions::new(Purpose::Count, IDLE, START)
}

/// What a walk over the table finds, by seat: entries that count.
fn walked(sessions: &Sessions) -> HashMap<u16, u32> {
    let mut found = HashMap::new();
    for (_, entry) in sessions.table.load().occupied().filter(|(_, entry)| entry.returned()) {
        *found.entry(entry.seat()).or_default() += 1;
    }
    found
}

/// Whether every count is what the table has.
fn is_consistent(sessions: &Sessions) -> bool {
    let (mut found, mut sampled, mut noted) = (walked(sessions), HashMap::new(), HashMap::new());
    let table = sessions.table.load();
    for (cell, entry) in table.occupied() {
        let known = u32::from(entry.returned() && table.rules.in_basis(cell.key));
        *sampled.entry(entry.seat()).or_insert(0) += known;
        *noted.entry(entry.seat()).or_insert(0) += u32::from(!entry.returned());
    }
    let live = table.occupied().count();
    sessions.live.load(Ordering::Relaxed) == u32::try_from(live).unwrap()
        && sessions.seats.load().iter().all(|seat| {
            seat.tracked() == found.remove(&seat.index()).unwrap_or(0)
                && seat.sampled() == sampled.remove(&seat.index()).unwrap_or(0)
                && seat.noted() == noted.remove(&seat.index()).unwrap_or(0)
        })
}

#[test]
fn a_session_lives_for_exactly_the_idle_time() {
    for idle in [1, 1800, 131_072, 131_073, 200_000, u32::MAX / 4] {
        let start = 1_000_000_007;
        let sessions = Sessions::new(Purpose::Count, idle, start);
        let seat = sessions.seat(1).unwrap();
        assert_eq!(sessions.touch(7, &seat, start), Seen::New);
        sessions.sweep(start + idle);
        assert!(sessions.find(7, start + idle).is_some(), "{idle}");
        assert_eq!(sessions.tally(&seat, start + idle), Tally { sessions: 1, exact: true });
        let unit = Clock::new(idle).unit();
        let over = start + idle + if unit == 1 { 1 } else { 2 * unit };
        assert_eq!(sessions.find(7, over), None, "{idle}");
        sessions.sweep(over);
        assert_eq!(seat.tracked(), 0, "{idle}");
        assert!(is_consistent(&sessions));
    }
}

#[test]
fn a_touch_says_what_it_saw() {
    let sessions = counting();
    let (a, b) = (sessions.seat(1).unwrap(), sessions.seat(2).unwrap());
    assert_eq!(sessions.touch(0, &a, START), Seen::New);
    assert_eq!(sessions.touch(0, &a, START), Seen::Again { last: START });
    assert_eq!(sessions.touch(0, &a, START + 9), Seen::Again { last: START });
    let moved = Seen::Moved { from: a.index(), last: START + 9 };
    assert_eq!(sessions.touch(0, &b, START + 10), moved);
    assert_eq!((a.tracked(), b.tracked()), (0, 1));
    let seen = Found { seat: b.index(), last_seen: START + 10, returned: true };
    assert_eq!(sessions.find(0, START + 20), Some(seen));
    assert_eq!(sessions.touch(0, &a, START + 11 + IDLE), Seen::New);
    sessions.forget(0);
    sessions.forget(1);
    assert_eq!(sessions.find(0, START + 11 + IDLE), None);
    assert_eq!((a.tracked(), b.tracked()), (0, 0));
}

#[test]
fn a_learned_value_counts_when_its_client_brings_it_back() {
    let sessions = Sessions::new(Purpose::Learn { most: 1000 }, IDLE, START);
    let seat = sessions.seat(1).unwrap();
    assert!(sessions.note(7, &seat, START));
    assert_eq!(seat.tracked(), 0);
    let noted = Found { seat: seat.index(), last_seen: START, returned: false };
    assert_eq!(sessions.find(7, START), Some(noted));
    assert_eq!(sessions.touch(7, &seat, START + 1), Seen::New);
    assert_eq!(seat.tracked(), 1);
    assert!(sessions.note(7, &seat, START + 2));
    assert!(sessions.find(7, START + 2).unwrap().returned, "it was brought back before");
    assert!(is_consistent(&sessions));
}

#[test]
fn the_oldest_learned_sessions_make_room() {
    let sessions = Sessions::new(Purpose::Learn { most: 1000 }, IDLE, START);
    let seat = sessions.seat(1).unwrap();
    let now = |key: u64| START + u32::try_from(key).unwrap();
    let noted = (1..=1200).filter(|key| sessions.note(*key, &seat, now(*key))).count();
    assert_eq!(noted, 1125, "an eighth more until the sweep");
    assert_eq!(sessions.evicted(), 75);
    assert!(sessions.wants_sweep());
    sessions.sweep(now(1200));
    assert!(!sessions.wants_sweep());
    let left: Vec<_> = (1..=1200).filter(|key| sessions.find(*key, now(1200)).is_some()).collect();
    // Ages are told apart by a 1024th of the idle time.
    assert_eq!(left.len(), 750);
    assert!(left[0] >= 374 && left[749] == 1125, "{left:?}");
    assert_eq!(sessions.evicted(), 75 + 375);
    assert!(sessions.note(2000, &seat, now(1200)));
    assert!(is_consistent(&sessions));
}

#[test]
fn a_clock_that_goes_back_keeps_nobody_for_longer() {
    let sessions = counting();
    let seat = sessions.seat(1).unwrap();
    sessions.touch(7, &seat, START + 10_000);
    seat.miss(START + 10_000);
    sessions.sweep(START);
    assert_eq!(sessions.touch(7, &seat, START), Seen::Again { last: START });
    assert!(!sessions.is_empty(&seat, START + IDLE));
    sessions.sweep(START + IDLE + 2);
    assert_eq!(seat.tracked(), 0);
    assert!(sessions.is_empty(&seat, START + IDLE + 2));
}

#[test]
fn a_backend_is_not_empty_after_a_sleep_of_days() {
    let sessions = counting();
    let seat = sessions.seat(1).unwrap();
    sessions.touch(7, &seat, START);
    // Ages have gone around to zero.
    let awake = START + (1 << 19);
    sessions.touch(8, &seat, awake);
    sessions.sweep(awake);
    assert_eq!(seat.tracked(), 0);
    assert!(!sessions.is_empty(&seat, awake));
    assert!(!sessions.tally(&seat, awake).exact);
    assert!(sessions.is_empty(&seat, awake + IDLE + 2));
}

#[test]
fn counts_are_complete_when_the_idle_time_has_passed() {
    let sessions = counting();
    let seat = sessions.seat(1).unwrap();
    assert_eq!(sessions.complete_at(), Some(START + IDLE + 1));
    assert!(!sessions.is_empty(&seat, START + IDLE));
    assert!(sessions.is_empty(&seat, START + IDLE + 1));
    sessions.set_idle(2 * IDLE, START + IDLE + 1);
    let end = START + 2 * IDLE + 2;
    assert!(!sessions.is_empty(&seat, end - 1), "one may have been seen just after the start");
    assert!(sessions.is_empty(&seat, end));
    // Before they were complete for the first time.
    let sessions = counting();
    sessions.set_idle(2 * IDLE, START + 10);
    assert_eq!(sessions.complete_at(), Some(START + 2 * IDLE + 1));
    sessions.set_idle(IDLE / 2, START + 20);
    assert_eq!(sessions.complete_at(), Some(START + IDLE / 2 + 1));
}

#[test]
fn another_idle_time_keeps_who_lives() {
    let sessions = counting();
    let seat = sessions.seat(1).unwrap();
    let now = START + 1000;
    sessions.touch(1, &seat, START);
    sessions.touch(2, &seat, now);
    sessions.set_idle(1 << 20, now);
    assert_eq!(seat.tracked(), 2);
    let unit = Clock::new(1 << 20).unit();
    assert!(unit > 1);
    for (key, seen) in [(1, START), (2, now)] {
        let last = sessions.find(key, now).unwrap().last_seen;
        assert!(last <= seen && seen - last < unit, "{last} {seen}");
    }
    sessions.set_idle(500, now);
    assert_eq!(seat.tracked(), 1);
    assert!(is_consistent(&sessions));
}

#[test]
fn a_seat_is_found_again_by_its_backend() {
    let sessions = counting();
    let seat = sessions.seat(5).unwrap();
    assert!(Arc::ptr_eq(&seat, &sessions.seat(5).unwrap()));
    assert_eq!(sessions.seat_backend(seat.index()), Some(5));
    assert!(sessions.rename(5, 6));
    assert!(!sessions.rename(5, 7));
    assert!(Arc::ptr_eq(&seat, &sessions.seat(6).unwrap()));
    let other = sessions.seat(9).unwrap();
    assert!(!sessions.rename(6, 9), "somebody has it");
    sessions.touch(1, &other, START);
    drop(other);
    assert!(!sessions.rename(6, 9), "a session sits there");
    sessions.forget(1);
    assert!(sessions.rename(6, 9));
    assert!(Arc::ptr_eq(&seat, &sessions.seat(9).unwrap()));
    assert_eq!(sessions.seats().len(), 2);
    assert_eq!(sessions.seat_backend(0), None);
    assert_eq!(sessions.seat_backend(77), None);
}

#[test]
fn seats_that_nobody_has_are_given_to_others() {
    let sessions = counting();
    let held: Vec<_> = (0..4094).map(|backend| sessions.seat(backend).unwrap()).collect();
    let last = sessions.seat(4094).unwrap();
    assert!(sessions.seat(9999).is_none(), "all are held");
    sessions.touch(1, &last, START);
    let index = last.index();
    drop(last);
    assert!(sessions.seat(9999).is_none(), "a session sits there");
    sessions.sweep(START + IDLE + 1);
    assert_eq!(sessions.seat(9999).unwrap().index(), index);
    assert_eq!(sessions.seat_backend(index), Some(9999));
    drop(held);
}

#[test]
fn what_a_session_has_open_keeps_it_where_it_is_by_now() {
    let sessions = Sessions::new(Purpose::Count, 100, START);
    let (a, b) = (sessions.seat(1).unwrap(), sessions.seat(2).unwrap());
    sessions.touch(7, &b, START);
    sessions.touch(7, &a, START + 5);
    sessions.alive(7, &b, true, START + 50);
    let found = sessions.find(7, START + 140).unwrap();
    assert_eq!((found.seat, found.last_seen), (a.index(), START + 50));
    assert_eq!((a.tracked(), b.tracked()), (1, 0));
    // One that has not come back yet is known and does not count.
    sessions.alive(8, &b, false, START + 50);
    assert_eq!(b.tracked(), 0);
    assert!(!sessions.find(8, START + 60).unwrap().returned);
    sessions.touch(8, &b, START + 60);
    sessions.alive(8, &b, false, START + 70);
    assert_eq!(b.tracked(), 1);
}
