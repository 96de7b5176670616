//! A backend's place in the table: its index, and how many sessions sit there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};

use super::table::Entry;

/// An entry has 12 bits for its seat, of which 0 is none.
const MOST_SEATS: usize = 4095;

/// The place of a backend that the pool has or had. Workers write it when a session comes, moves
/// or cannot be tracked, never for a session that stays: it needs no cache line of its own.
#[derive(Debug)]
pub struct Seat {
    index: u16,
    backend: AtomicU64,
    /// Live sessions here that their clients have brought back.
    tracked: AtomicU32,
    /// Those of them that estimates rest on.
    sampled: AtomicU32,
    /// Learned values that no client has brought back.
    noted: AtomicU32,
    /// Unix seconds when a session was last seen here that the table did not take; 0 never.
    untracked: AtomicU32,
    full: AtomicBool,
}

impl Seat {
    fn new(index: u16, backend: u64) -> Self {
        Self {
            index,
            backend: AtomicU64::new(backend),
            tracked: AtomicU32::new(0),
            sampled: AtomicU32::new(0),
            noted: AtomicU32::new(0),
            untracked: AtomicU32::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Its number in the pool, from 1: what [`Found`](super::Found) and
    /// [`Seen::Moved`](super::Seen::Moved) say.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The hash of its backend's name.
    pub fn backend(&self) -> u64 {
        self.backend.load(Ordering::Relaxed)
    }

    /// Sessions in the table; fewer than there are, where it is a sample.
    pub fn tracked(&self) -> u32 {
        self.tracked.load(Ordering::Acquire)
    }

    /// Keeps every session that is seen here, whatever the sample, as far as there is room: for a
    /// backend that drains. Counts are exact from the idle time on, or at once where there was no
    /// sampling. Control thread only.
    pub fn track_in_full(&self, on: bool) {
        self.full.store(on, Ordering::Relaxed);
    }

    /// Whether it keeps every session.
    pub fn is_tracked_in_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(super) fn sampled(&self) -> u32 {
        self.sampled.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(super) fn noted(&self) -> u32 {
        self.noted.load(Ordering::Acquire)
    }

    pub(super) fn untracked(&self) -> u32 {
        self.untracked.load(Ordering::Acquire)
    }

    /// Notes that the table does not know a session which was seen here. Writes once a second.
    pub(super) fn miss(&self, seen: u32) {
        if self.untracked.load(Ordering::Relaxed) < seen.max(1) {
            self.untracked.fetch_max(seen.max(1), Ordering::AcqRel);
        }
    }

    /// Forgets a miss when it is over, and takes one from a clock that was ahead for one of now.
    /// One that comes meanwhile wins.
    pub(super) fn review(&self, is_over: impl FnOnce(u32) -> bool, now: u32) {
        let missed = self.untracked();
        let then = match missed {
            0 => return,
            _ if is_over(missed) => 0,
            // Threads read the clock at different moments.
            _ if missed > now.saturating_add(2) => now,
            _ => return,
        };
        let _ = self.untracked.compare_exchange(missed, then, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn is_free(&self) -> bool {
        let counts = [&self.tracked, &self.noted, &self.untracked];
        counts.iter().all(|count| count.load(Ordering::Acquire) == 0)
    }
}

/// All seats of a pool, by index.
#[derive(Debug, Default)]
pub(super) struct Seats(ArcSwap<Vec<Arc<Seat>>>);

/// The seats at one moment.
pub(super) struct Seating(Guard<Arc<Vec<Arc<Seat>>>>);

impl Seats {
    pub(super) fn load(&self) -> Seating {
        Seating(self.0.load())
    }

    /// Finds or makes a backend's seat; control thread only.
    pub(super) fn of(&self, backend: u64) -> Option<Arc<Seat>> {
        let seating = self.load();
        if let Some(seat) = seating.of(backend) {
            return Some(Arc::clone(seat));
        }
        if seating.0.len() < MOST_SEATS {
            let index = u16::try_from(seating.0.len() + 1).ok()?;
            let seat = Arc::new(Seat::new(index, backend));
            let mut seats = seating.0.to_vec();
            seats.push(Arc::clone(&seat));
            self.0.store(Arc::new(seats));
            return Some(seat);
        }
        // No snapshot has it, and no session sits on it.
        let free = seating.iter().find(|seat| Arc::strong_count(seat) == 1 && seat.is_free())?;
        free.backend.store(backend, Ordering::Relaxed);
        free.track_in_full(false);
        Some(Arc::clone(free))
    }

    /// Gives a seat another name; false where there is none of the old name, or one of the new
    /// name that is not free.
    pub(super) fn rename(&self, from: u64, to: u64) -> bool {
        let seating = self.load();
        let Some(seat) = seating.of(from) else { return false };
        if let Some(other) = seating.of(to) {
            if from == to || Arc::strong_count(other) > 1 || !other.is_free() {
                return false;
            }
            other.backend.store(from, Ordering::Relaxed);
        }
        seat.backend.store(to, Ordering::Relaxed);
        true
    }
}

impl Seating {
    pub(super) fn get(&self, index: u16) -> Option<&Arc<Seat>> {
        self.0.get(usize::from(index).checked_sub(1)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.0.iter()
    }

    fn of(&self, backend: u64) -> Option<&Arc<Seat>> {
        self.iter().find(|seat| seat.backend() == backend)
    }

    pub(super) fn is_full(&self, entry: Entry) -> bool {
        self.get(entry.seat()).is_some_and(|seat| seat.is_tracked_in_full())
    }

    /// Counts an entry before it is written: a count is never below what the table has.
    pub(super) fn count(&self, entry: Entry, sampled: bool) {
        let Some(seat) = self.get(entry.seat()) else { return };
        if entry.returned() {
            seat.tracked.fetch_add(1, Ordering::AcqRel);
            if sampled {
                seat.sampled.fetch_add(1, Ordering::AcqRel);
            }
        } else {
            seat.noted.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Takes an entry off after it is gone.
    pub(super) fn discount(&self, entry: Entry, sampled: bool) {
        let Some(seat) = self.get(entry.seat()) else { return };
        if entry.returned() {
            seat.tracked.fetch_sub(1, Ordering::AcqRel);
            if sampled {
                seat.sampled.fetch_sub(1, Ordering::AcqRel);
            }
        } else {
            seat.noted.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
