//! What the table says: how many sessions, how sure, and whether a backend is empty.

use std::sync::atomic::Ordering;

use super::table::Clock;
use super::{Seat, Sessions};

/// A number of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Sessions seen within the idle time, since the start.
    pub sessions: u64,
    /// Whether each of them is known; otherwise it is an estimate from a sample.
    pub exact: bool,
}

impl Sessions {
    /// How many sessions a seat has. `now`: Unix seconds.
    pub fn tally(&self, seat: &Seat, now: u32) -> Tally {
        let rules = self.table.load().rules;
        let tracked = u64::from(seat.tracked());
        // Where every session of the idle time was taken, the sample is of no matter.
        if !is_recent(seat.untracked(), rules.clock, now) {
            return Tally { sessions: tracked, exact: true };
        }
        let estimate = u64::from(seat.sampled()) << rules.basis.min(32);
        Tally { sessions: tracked.max(estimate), exact: false }
    }

    /// How many sessions the pool has. `now`: Unix seconds.
    pub fn total(&self, now: u32) -> Tally {
        let mut total = Tally { sessions: 0, exact: true };
        for seat in self.seats.load().iter() {
            let tally = self.tally(seat, now);
            total.sessions = total.sessions.saturating_add(tally.sessions);
            total.exact &= tally.exact;
        }
        total
    }

    /// Whether surely no session of the idle time is left on a seat. `now`: Unix seconds.
    pub fn is_empty(&self, seat: &Seat, now: u32) -> bool {
        // The count first: a session that the table lets go of is noted as missed before.
        let clock = self.table.load().rules.clock;
        seat.tracked() == 0 && !is_recent(seat.untracked(), clock, now) && self.is_complete(now)
    }

    /// Whether counts know of every session of the idle time, also of those before the start.
    /// `now`: Unix seconds.
    pub fn is_complete(&self, now: u32) -> bool {
        now >= self.complete_at.load(Ordering::Acquire)
    }

    /// Unix seconds from which on counts are complete; none where they are from the start.
    pub fn complete_at(&self) -> Option<u32> {
        Some(self.complete_at.load(Ordering::Acquire)).filter(|at| *at > 0)
    }

    /// When the table was made, in Unix seconds.
    pub fn started(&self) -> u32 {
        self.started
    }
}

/// The first second in which what was seen `now` is longer ago than `idle` seconds.
pub(super) fn after(now: u32, idle: u32) -> u32 {
    now.saturating_add(idle).saturating_add(1)
}

/// From when on counts are complete with another idle time than they were kept with until `now`.
/// 0: from the start.
pub(super) fn with_idle(complete_at: u32, now: u32, before: u32, idle: u32) -> u32 {
    if idle > before {
        // What the shorter time has ended up to now is unknown, as is what was before the start.
        complete_at.max(now.saturating_add(1)).saturating_add(idle - before)
    } else {
        complete_at.saturating_sub(before - idle)
    }
}

/// Whether a session missed at a moment, 0 for none, may be live.
pub(super) fn is_recent(missed: u32, clock: Clock, now: u32) -> bool {
    // A moment is known to a unit where an entry has told it.
    missed > 0 && now.saturating_sub(missed) <= clock.idle.saturating_add(clock.unit())
}
