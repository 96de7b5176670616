//! Counts come out right whatever threads do at the same time.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

const WORKERS: u64 = 4;
const KEYS: u64 = 20_000;

/// Rebuilds with the rules it has, and one time in two with another size.
fn rebuild(sessions: &Sessions, round: u32, now: u32) {
    let control = sessions.lock();
    if sessions.settle(&control, 3, now) {
        let table = sessions.table.load();
        let (slots, rules) = (table.slots(), table.rules);
        drop(table);
        let slots = if round.is_multiple_of(2) { slots } else { slots.max(1 << 15) * 2 };
        let slots = if slots > 1 << 17 { 1 << 15 } else { slots };
        sessions.rebuild(&control, slots, rules, now);
    }
}

#[test]
fn every_session_is_counted_once_while_tables_come_and_go() {
    let sessions = counting();
    let seats: Vec<_> = (0..5).map(|backend| sessions.seat(backend).unwrap()).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (sessions, seats) = (&sessions, &seats);
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(worker);
                    for round in 0..8_u32 {
                        for _ in 0..KEYS {
                            let key = rng.u64(1..=KEYS);
                            let seat = &seats[rng.usize(..seats.len())];
                            sessions.touch(key, seat, START + round);
                        }
                    }
                    // Each key at least once, each worker another part first.
                    for key in (1..=KEYS).map(|key| (key + worker * KEYS / WORKERS) % KEYS + 1) {
                        let seat = &seats[rng.usize(..seats.len())];
                        sessions.touch(key, seat, START + 9);
                    }
                })
            })
            .collect();
        let (sessions, done) = (&sessions, &done);
        let control = scope.spawn(move || {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                sessions.sweep(START + 9);
                rebuild(sessions, round, START + 9);
                round += 1;
            }
        });
        let ends: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        control.join().unwrap();
        for end in ends {
            end.unwrap();
        }
    });
    sessions.sweep(START + 9);
    let tracked: u32 = seats.iter().map(|seat| seat.tracked()).sum();
    assert_eq!(u64::from(tracked), KEYS);
    assert!(is_consistent(&sessions));
}

#[test]
fn sessions_that_come_and_go_leave_nothing() {
    let sessions = Sessions::new(Purpose::Learn { most: 5000 }, 3, START);
    let seats: Vec<_> = (0..3).map(|backend| sessions.seat(backend).unwrap()).collect();
    let done = AtomicBool::new(false);
    let clock = AtomicU32::new(START);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (sessions, seats, clock) = (&sessions, &seats, &clock);
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(worker);
                    for _ in 0..100_000 {
                        let now = clock.load(Ordering::Relaxed);
                        let (key, seat) = (rng.u64(1..=8000), &seats[rng.usize(..seats.len())]);
                        match rng.u8(..10) {
                            0..5 => drop(sessions.touch(key, seat, now)),
                            5..8 => drop(sessions.note(key, seat, now)),
                            8 => sessions.forget(key),
                            _ => drop(sessions.find(key, now)),
                        }
                    }
                })
            })
            .collect();
        let (sessions, done, clock) = (&sessions, &done, &clock);
        let control = scope.spawn(move || {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                let now = clock.fetch_add(1, Ordering::Relaxed);
                sessions.sweep(now);
                rebuild(sessions, round, now);
                round += 1;
            }
        });
        let ends: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        control.join().unwrap();
        for end in ends {
            end.unwrap();
        }
    });
    let now = clock.load(Ordering::Relaxed);
    sessions.sweep(now);
    assert!(is_consistent(&sessions));
    sessions.sweep(now + 5);
    assert!(seats.iter().all(|seat| seat.tracked() == 0 && seat.noted() == 0));
    assert_eq!(sessions.live.load(Ordering::Relaxed), 0);
}

#[test]
fn a_change_between_copy_and_publication_is_brought_over() {
    let sessions = counting();
    let (a, b) = (sessions.seat(1).unwrap(), sessions.seat(2).unwrap());
    for key in 1..=4 {
        sessions.touch(key, &a, START);
    }
    // A worker that was stopped in the middle of its touch.
    let slow = sessions.table.load_full();
    let control = sessions.lock();
    sessions.rebuild(&control, 4096, slow.rules, START);
    assert!(!sessions.settle(&control, 3, START), "somebody is in the old table");
    drop(control);
    assert!(sessions.wants_sweep());
    let place = |key| slow.claim(Key::new(key)).unwrap();
    sessions.write(&slow, place(1), &b, true, START + 1);
    sessions.write(&slow, place(2), &b, true, START + 1);
    sessions.write(&slow, place(5), &b, true, START + 1);
    sessions.change(&slow, place(4), place(4).load(), Entry::NONE).unwrap();
    // The same session in the new one: that is the later.
    sessions.touch(2, &a, START + 2);
    assert_eq!(sessions.find(5, START + 2).unwrap().seat, b.index(), "found in the old one");
    drop(slow);
    sessions.sweep(START + 2);
    let seat = |key| sessions.find(key, START + 2).map(|found| found.seat);
    let seats: Vec<_> = (1..=5).map(seat).collect();
    let (a, b) = (Some(a.index()), Some(b.index()));
    assert_eq!(seats, [b, a, a, None, b]);
    assert!(is_consistent(&sessions));
}
