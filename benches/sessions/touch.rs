//! What it costs to see sessions again that the table knows: time here, instructions by callgrind.
// valgrind --tool=callgrind --toggle-collect='*touch_each*' TARGET/release/deps/sessions-… touch
// counts the rounds and nothing else; "Collected" divided by the touches it prints is the cost of
// one, ten instructions of the loop with it.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result};
use ostler::sticky::count::{Purpose, Seat, Seen, Sessions};

use super::visitors;

/// Unix seconds at which all of this happens.
const NOW: u32 = 1_800_000_000;
/// Seconds.
const IDLE: u32 = 1800;
const BACKENDS: u64 = 5;

/// Builds a table and touches its sessions in a shuffled order, so many times each.
pub(super) fn touch(sessions: u32, rounds: u32) -> Result<()> {
    let table = Sessions::new(Purpose::Count, IDLE, NOW);
    let seats: Option<Vec<_>> = (1..=BACKENDS).map(|backend| table.seat(backend)).collect();
    let seats = seats.context("a table without a seat for five backends")?;
    let mut visits: Vec<(u64, &Seat)> = (0..sessions)
        .zip(seats.iter().cycle())
        .map(|(number, seat)| (visitors::id(1, number), &**seat))
        .collect();
    for (key, seat) in &visits {
        table.touch(*key, seat, NOW);
        // As the control thread does when workers have filled it.
        if table.wants_sweep() {
            table.sweep(NOW);
        }
    }
    // One to take the sample that so many need, one to see that it is settled.
    table.sweep(NOW);
    table.sweep(NOW);
    fastrand::Rng::with_seed(1).shuffle(&mut visits);
    let mut known = 0;
    let began = Instant::now();
    for _ in 0..rounds {
        known += touch_each(&table, black_box(&visits));
    }
    let took = began.elapsed();
    let touches = u64::from(sessions) * u64::from(rounds);
    let each = took.as_nanos() / u128::from(touches.max(1));
    let memory = table.memory();
    super::print(&format!(
        "{sessions} sessions: {each} ns a touch; {touches} touches, {known} of them of a session \
         in the table, which has {memory} bytes"
    ))
}

/// One round; gives how many of them the table knows.
#[inline(never)]
fn touch_each(table: &Sessions, visits: &[(u64, &Seat)]) -> u64 {
    let mut known = 0;
    for (key, seat) in visits {
        let seen = table.touch(*key, seat, NOW);
        known += u64::from(matches!(seen, Seen::Again { .. }));
    }
    known
}
