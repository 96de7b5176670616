//! Which sessions of a pool were seen on which backend within the idle time.

mod rebuild;
mod save;
mod seat;
mod sweep;
mod table;
mod tally;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

pub use save::{RestoreError, Restored};
pub use seat::Seat;
pub use tally::Tally;

use rebuild::Retired;
use seat::Seats;
use table::{Cell, Clock, Entry, Key, LEAST_SLOTS, Rules, Table};

/// How often a worker looks again for room in a table that somebody else is growing.
const TRIES: u32 = 256;

/// What a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To know how many sessions there are: above 131,072 a sample of them will do.
    Count,
    /// To find sessions again by what their backends call them: there is no sampling, and when
    /// there are more than `most` the oldest are given up.
    Learn {
        /// Sessions; what is above 393,216 counts as that.
        most: u32,
    },
}

/// The live sessions of one pool.
///
/// The operations of workers ([`touch`](Self::touch), [`note`](Self::note), [`find`](Self::find),
/// [`forget`](Self::forget)) take no lock, and where nothing has changed they only read. All others
/// are for the control thread: they may wait for one another and for short moments of workers.
///
/// Counts hang on the change of an entry from one kind to another: the new kind is counted before
/// the word is written, the old one taken off after. So a count may be too high for an instant and
/// is never too low, whoever else writes the same entry.
#[derive(Debug)]
pub struct Sessions {
    purpose: Purpose,
    table: ArcSwap<Table>,
    /// The generation before, until all that happened in it is in the table.
    previous: ArcSwapOption<Retired>,
    seats: Seats,
    /// Entries in the table and, until they are moved, in the generation before.
    live: AtomicU32,
    evicted: AtomicU64,
    started: u32,
    /// Unix seconds; 0 where counts are complete from the start.
    complete_at: AtomicU32,
    control: Mutex<Control>,
}

/// What the control thread knows; a worker that grows a small table borrows it without waiting.
#[derive(Debug)]
struct Control {
    /// Seconds; the table follows at the next rebuild.
    idle: u32,
    /// When the sample was made wider, Unix seconds.
    widened: u32,
    /// When the last sweep was, Unix seconds.
    swept: u32,
}

/// What a request was to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The first of its session to come back, here or since the idle time.
    New,
    /// Of a session that was here before.
    Again {
        /// When, in Unix seconds.
        last: u32,
    },
    /// Of a session that was on another seat before.
    Moved {
        /// The other seat's index.
        from: u16,
        /// When, in Unix seconds.
        last: u32,
    },
    /// Of a session outside of the sample, or there was no room.
    Untracked,
}

/// A session in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its seat's index.
    pub seat: u16,
    /// Unix seconds.
    pub last_seen: u32,
    /// Whether its client has brought it back, so that it counts.
    pub returned: bool,
}

impl Sessions {
    /// An empty table. `idle`: seconds; `now`: Unix seconds.
    pub fn new(purpose: Purpose, idle: u32, now: u32) -> Self {
        let idle = idle.max(1);
        let rules = Rules { clock: Clock::new(idle), shift: 0, basis: 0 };
        Self {
            purpose,
            table: ArcSwap::from_pointee(Table::new(LEAST_SLOTS, rules)),
            previous: ArcSwapOption::empty(),
            seats: Seats::default(),
            live: AtomicU32::new(0),
            evicted: AtomicU64::new(0),
            started: now,
            complete_at: AtomicU32::new(tally::after(now, idle)),
            control: Mutex::new(Control { idle, widened: 0, swept: now }),
        }
    }

    /// Whether there are so many sessions that only a sample of them is known.
    pub fn samples(&self) -> bool {
        self.table.load().rules.shift > 0
    }

    /// A request brought its session back to a seat of this pool. `now`: Unix seconds.
    pub fn touch(&self, key: u64, seat: &Seat, now: u32) -> Seen {
        let key = Key::new(key);
        let table = self.table.load();
        let clock = table.rules.clock;
        match table.find(key) {
            Some(cell) if cell.load() == Entry::new(seat.index(), true, clock, now) => {
                return Seen::Again { last: clock.unit_of(now) };
            }
            None if !self.admits(&table.rules, key, seat) => {
                seat.miss(now);
                return Seen::Untracked;
            }
            _ => {}
        }
        drop(table);
        self.seen(key, seat, now)
    }

    /// What a session has open, a tunnel or a long transfer, is still there: it is seen wherever it
    /// sits by now, and on this seat where it is not known. Also where only a sample is counted:
    /// its cookie grows old meanwhile. `returned`: its client has brought it back before; `now`:
    /// Unix seconds.
    pub fn alive(&self, key: u64, seat: &Seat, returned: bool, now: u32) {
        let found = self.find(key, now);
        let elsewhere = found.filter(|found| found.seat != seat.index());
        let elsewhere = elsewhere.and_then(|found| self.seats.load().get(found.seat).cloned());
        let seat = elsewhere.as_deref().unwrap_or(seat);
        let returned = found.map_or(returned, |found| found.returned);
        if self.put(Key::new(key), seat, (returned, true), now).is_none() {
            seat.miss(now);
        }
    }

    /// A backend has invented a value for a session. It counts when its client brings it back.
    /// False where there is no room for it. `now`: Unix seconds.
    pub fn note(&self, key: u64, seat: &Seat, now: u32) -> bool {
        let noted = self.put(Key::new(key), seat, (false, false), now).is_some();
        if !noted && matches!(self.purpose, Purpose::Learn { .. }) {
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        noted
    }

    /// Where a session was last seen, unless that is longer ago than the idle time. `now`: Unix
    /// seconds.
    pub fn find(&self, key: u64, now: u32) -> Option<Found> {
        let key = Key::new(key);
        let table = self.table.load();
        if let Some(cell) = table.find(key) {
            return found(&table, cell, now);
        }
        // It may have come after the copy was made.
        let previous = self.previous.load();
        let table = previous.as_ref()?.table();
        found(table, table.find(key)?, now)
    }

    /// Ends a session.
    pub fn forget(&self, key: u64) {
        let table = self.table.load();
        let Some(cell) = table.find(Key::new(key)) else { return };
        let mut entry = cell.load();
        while !entry.is_none() {
            match self.change(&table, cell, entry, Entry::NONE) {
                Ok(()) => break,
                Err(other) => entry = other,
            }
        }
    }

    /// What has changed about a session when it is seen, off the short path.
    #[inline(never)]
    fn seen(&self, key: Key, seat: &Seat, now: u32) -> Seen {
        let Some((before, clock)) = self.put(key, seat, (true, false), now) else {
            seat.miss(now);
            return Seen::Untracked;
        };
        if !before.returned() || !clock.is_live(before, now) {
            return Seen::New;
        }
        let last = clock.last_seen(before, now);
        if before.seat() == seat.index() {
            Seen::Again { last }
        } else {
            Seen::Moved { from: before.seat(), last }
        }
    }

    /// Writes that a session was seen, and returns what was there before; none where the table
    /// does not take it.
    /// `kept`: it is let in though it is not in the sample.
    fn put(
        &self,
        key: Key,
        seat: &Seat,
        (returned, kept): (bool, bool),
        now: u32,
    ) -> Option<(Entry, Clock)> {
        for _ in 0..TRIES {
            let table = self.table.load();
            let rules = table.rules;
            let known = table.find(key);
            // Whoever is there stays there; anybody else must be let in.
            let is_there = known.is_some_and(|cell| !cell.load().is_none());
            if !is_there && !kept && !self.admits(&rules, key, seat) {
                return None;
            }
            let cell = known.or_else(|| table.claim(key));
            let before = cell.map(|cell| self.write(&table, cell, seat, returned, now));
            let grows = table.is_crowded() && table.slots() <= rebuild::MOST_FOR_WORKERS;
            // It is settled when nobody holds it, and that includes us.
            drop(table);
            if grows {
                self.grow(now);
            }
            match before {
                Some(before) => return Some((before, rules.clock)),
                // Another thread may be growing it.
                None if grows => std::thread::yield_now(),
                None => return None,
            }
        }
        None
    }

    /// Whether a session that is not in the table is let in.
    fn admits(&self, rules: &Rules, key: Key, seat: &Seat) -> bool {
        match self.purpose {
            Purpose::Count => rules.admits(key) || seat.is_tracked_in_full(),
            // A sweep makes room above `most`; until it comes there is an eighth more.
            Purpose::Learn { most } => {
                let most = sweep::most_learned(most);
                self.live.load(Ordering::Relaxed) < most + most / 8
            }
        }
    }

    /// Sets an entry to be seen now, and returns the one before.
    fn write(&self, table: &Table, cell: Cell<'_>, seat: &Seat, returned: bool, now: u32) -> Entry {
        let clock = table.rules.clock;
        let mut before = cell.load();
        loop {
            // A backend that says its value again takes nothing from a session that came back.
            let came_back =
                before.returned() && before.seat() == seat.index() && clock.is_live(before, now);
            let returned = returned || came_back;
            let then = Entry::new(seat.index(), returned, clock, now);
            if then.kind() == before.kind() && clock.age(before, now) == 0 {
                // It says so already, or another thread's clock is ahead of ours.
                return before;
            }
            match self.change(table, cell, before, then) {
                Ok(()) => return before,
                Err(other) => before = other,
            }
        }
    }

    /// Replaces an entry and counts, or says what the entry is by now.
    fn change(&self, table: &Table, cell: Cell<'_>, from: Entry, to: Entry) -> Result<(), Entry> {
        if from.kind() == to.kind() {
            return cell.replace(from, to);
        }
        let sampled = table.rules.in_basis(cell.key);
        self.count(to, sampled);
        let replaced = cell.replace(from, to);
        self.discount(if replaced.is_ok() { from } else { to }, sampled);
        replaced
    }

    fn count(&self, entry: Entry, sampled: bool) {
        if !entry.is_none() {
            self.seats.load().count(entry, sampled);
            self.live.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn discount(&self, entry: Entry, sampled: bool) {
        if !entry.is_none() {
            self.seats.load().discount(entry, sampled);
            self.live.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The seats, for the control thread.
impl Sessions {
    /// The seat of a backend, by the hash of its name: the same one for as long as somebody holds
    /// it or a session sits there. None where a pool has had more than 4,095 backends and all
    /// their seats are taken.
    pub fn seat(&self, backend: u64) -> Option<Arc<Seat>> {
        self.seats.of(backend)
    }

    /// Whether a seat is one of this table's.
    pub fn has(&self, seat: &Arc<Seat>) -> bool {
        self.seats.load().get(seat.index()).is_some_and(|own| Arc::ptr_eq(own, seat))
    }

    /// The hash of the backend whose seat has an index.
    pub fn seat_backend(&self, index: u16) -> Option<u64> {
        self.seats.load().get(index).map(|seat| seat.backend())
    }

    /// All seats, by index, also those of backends that the pool had once.
    pub fn seats(&self) -> Vec<Arc<Seat>> {
        self.seats.load().iter().map(Arc::clone).collect()
    }

    /// Gives a backend's seat to another name; false where it has none, or where the other name's
    /// seat is held by somebody or has sessions.
    pub fn rename(&self, from: u64, to: u64) -> bool {
        self.seats.rename(from, to)
    }

    /// Sessions that were given up for want of room, and values that were not taken.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Bytes of the tables.
    pub fn memory(&self) -> usize {
        let previous = self.previous.load();
        self.table.load().slots() * table::SLOT
            + previous.as_ref().map_or(0, |retired| retired.memory())
    }
}

fn found(table: &Table, cell: Cell<'_>, now: u32) -> Option<Found> {
    let (entry, clock) = (cell.load(), table.rules.clock);
    clock.is_live(entry, now).then(|| Found {
        seat: entry.seat(),
        last_seen: clock.last_seen(entry, now),
        returned: entry.returned(),
    })
}

#[cfg(test)]
mod tests;
