//! The table of live sessions: one that is seen again, one that is new, a look, a sweep.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use ostler::sticky::count::{Purpose, Seat, Sessions};

use super::world::NOW;

/// Seconds.
const IDLE: u32 = 1800;
/// The most that are all in the table.
const MOST_KNOWN: u64 = 131_072;
/// New sessions between two looks at the clock.
const ARRIVALS: u64 = 100;

pub(super) fn counts(criterion: &mut Criterion) {
    touches(criterion);
    finds(criterion);
    sweeps(criterion);
}

/// What each request of a visitor with a token asks. Of a million an eighth is in the table: the
/// figure is the mean of those and of the others.
fn touches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session_touch");
    for number in [1_000, 100_000, 1_000_000] {
        let (sessions, seat) = table(number);
        let mut turn = (0..number).cycle();
        group.bench_function(BenchmarkId::new("again", number), |bencher| {
            bencher.iter(|| {
                let key = key(turn.next().unwrap_or(0));
                sessions.touch(black_box(key), &seat, NOW)
            });
        });
        let mut next = number;
        group.bench_function(BenchmarkId::new("new", number), |bencher| {
            bencher.iter_custom(|times| arrivals(&sessions, &seat, &mut next, times));
        });
    }
    group.finish();
}

/// Time for so many new sessions. They end again, unmeasured, so that there stay as many; `next` is
/// a key that nobody has had, for the slot of one who was there is found at once.
fn arrivals(sessions: &Sessions, seat: &Seat, next: &mut u64, times: u64) -> Duration {
    let mut took = Duration::ZERO;
    let end = *next + times;
    while *next < end {
        let arriving = *next..end.min(*next + ARRIVALS);
        let began = Instant::now();
        for number in arriving.clone() {
            black_box(sessions.touch(key(number), seat, NOW));
        }
        took += began.elapsed();
        *next = arriving.end;
        arriving.for_each(|number| sessions.forget(key(number)));
        if sessions.wants_sweep() {
            sessions.sweep(NOW);
        }
    }
    took
}

fn finds(criterion: &mut Criterion) {
    let (sessions, _) = table(MOST_KNOWN);
    assert!(sessions.find(key(0), NOW).is_some());
    assert!(sessions.find(key(MOST_KNOWN), NOW).is_none());
    let mut group = criterion.benchmark_group("session_find");
    for (name, first) in [("known", 0), ("unknown", MOST_KNOWN)] {
        let mut turn = (first..first + MOST_KNOWN).cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| sessions.find(black_box(key(turn.next().unwrap_or(0))), NOW));
        });
    }
    group.finish();
}

/// Once a second, on the control thread: nothing has ended, and nothing is built anew.
fn sweeps(criterion: &mut Criterion) {
    let (sessions, seat) = table(MOST_KNOWN);
    assert_eq!(u64::from(seat.tracked()), MOST_KNOWN);
    criterion.bench_function(&format!("session_sweep/{MOST_KNOWN}"), |bencher| {
        bencher.iter(|| sessions.sweep(black_box(NOW)));
    });
}

/// A table with so many sessions, settled.
fn table(number: u64) -> (Sessions, Arc<Seat>) {
    let sessions = Sessions::new(Purpose::Count, IDLE, NOW);
    let seat = sessions.seat(1).expect("the first seat");
    for number in 0..number {
        sessions.touch(key(number), &seat, NOW);
        if sessions.wants_sweep() {
            sessions.sweep(NOW);
        }
    }
    sessions.sweep(NOW);
    sessions.sweep(NOW);
    (sessions, seat)
}

/// Ids are random; these are as far apart, and in no order.
fn key(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
