//! From one generation to the next while workers go on: copy, publish, wait, and bring over what
//! happened meanwhile.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, TryLockError};

use super::table::{Cell, Entry, LEAST_SLOTS, MOST_SLOTS, Rules, SLOT, Table, count, crowd};
use super::{Control, Sessions};

/// A worker grows tables of up to so many slots by itself, which takes it less than a millisecond.
/// Larger ones have room for 10,000 new sessions between crowded and full, and wait for a sweep.
pub(super) const MOST_FOR_WORKERS: usize = 1 << 15;
/// Up to here a table grows by four: together its slots cost less than a connection.
const MOST_FOR_FOUR: usize = 1 << 12;
/// How often the control thread lets others run before it leaves a generation that a worker holds
/// on to until its next sweep.
const PATIENCE: u32 = 1000;

/// A generation that was replaced, until the last worker has left it.
#[derive(Debug)]
pub(super) struct Retired {
    table: Arc<Table>,
    /// What went into the next generation, by slot.
    copied: Box<[Entry]>,
}

impl Retired {
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn memory(&self) -> usize {
        self.table.slots() * SLOT + size_of_val(&*self.copied)
    }
}

impl Sessions {
    /// Makes a crowded small table larger, or clears it of its dead, if nobody else is at it.
    pub(super) fn grow(&self, now: u32) {
        let control = match self.control.try_lock() {
            Ok(control) => control,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if !self.settle(&control, 1, now) {
            return;
        }
        let table = self.table.load();
        let (slots, rules) = (table.slots(), table.rules);
        let due = table.is_crowded() && slots <= MOST_FOR_WORKERS;
        drop(table);
        if due {
            let live = count(self.live.load(Ordering::Acquire));
            self.rebuild(&control, next_slots(slots, live), rules, now);
            self.settle(&control, 1, now);
        }
    }

    /// Publishes the next generation. The one before must be settled.
    pub(super) fn rebuild(&self, _: &Control, slots: usize, rules: Rules, now: u32) {
        let table = self.table.load_full();
        let mut next = Table::new(slots, rules);
        let seats = self.seats.load();
        let mut copied = vec![Entry::NONE; table.slots()].into_boxed_slice();
        for (place, copied) in table.places().zip(&mut copied) {
            let entry = place.entry();
            if entry.is_none() {
                continue;
            }
            let cell = place.cell();
            let converted = table.rules.clock.convert(entry, rules.clock, now);
            let stays = rules.clock.is_live(converted, now)
                && (rules.admits(cell.key) || seats.is_full(entry));
            if stays && next.place(cell.key, converted) {
                *copied = entry;
            }
        }
        self.previous.store(Some(Arc::new(Retired { table, copied })));
        self.table.store(Arc::new(next));
    }

    /// Brings over what happened in the generation before, when no worker is in it any more. False
    /// where one still is.
    pub(super) fn settle(&self, _: &Control, patience: u32, now: u32) -> bool {
        let Some(retired) = self.previous.load_full() else { return true };
        let mut tries = 0;
        // A worker that has loaded it owns a reference since it was replaced.
        while Arc::strong_count(&retired.table) > 1 {
            tries += 1;
            if tries >= patience {
                return false;
            }
            std::thread::yield_now();
        }
        // What the workers wrote before they let go of it is visible from here on.
        fence(Ordering::Acquire);
        self.merge(&retired, now);
        self.previous.store(None);
        true
    }

    /// Waits as long as the control thread may.
    pub(super) fn settle_patiently(&self, control: &Control, now: u32) -> bool {
        self.settle(control, PATIENCE, now)
    }

    /// Makes the counts those of the new generation. Until now an entry counts with what it is in
    /// the old one, and with what has changed about its copy.
    fn merge(&self, retired: &Retired, now: u32) {
        let table = self.table.load();
        let (old, new) = (&retired.table.rules, &table.rules);
        let same_basis = old.basis == new.basis;
        for (place, &copied) in retired.table.places().zip(&retired.copied) {
            let last = place.entry();
            if last == copied && (same_basis || last.is_none()) {
                continue;
            }
            let cell = place.cell();
            if last != copied {
                self.bring(&table, old, cell, copied, last, now);
            }
            self.count(copied, new.in_basis(cell.key));
            self.discount(last, old.in_basis(cell.key));
        }
    }

    /// A session was seen after it was copied, or it was not copied: tells the new generation,
    /// unless that knows something newer.
    fn bring(
        &self,
        table: &Table,
        old: &Rules,
        cell: Cell<'_>,
        copied: Entry,
        last: Entry,
        now: u32,
    ) {
        let clock = table.rules.clock;
        let to = old.clock.convert(last, clock, now);
        let seats = self.seats.load();
        let place = if copied.is_none() {
            if !clock.is_live(to, now) {
                return;
            }
            let stays = table.rules.admits(cell.key) || seats.is_full(last);
            stays.then(|| table.claim(cell.key)).flatten()
        } else {
            table.find(cell.key)
        };
        let Some(place) = place else {
            // It is on its seat all the same.
            if last.returned()
                && let Some(seat) = seats.get(last.seat())
            {
                seat.miss(old.clock.last_seen(last, now));
            }
            return;
        };
        let from = old.clock.convert(copied, clock, now);
        // Where this fails a worker has seen the session in the new generation already.
        let _ = self.change(table, place, from, to);
    }
}

/// How large a crowded table should be. It grows when it is three quarters full with the living,
/// and is then three eighths full: 32 bytes a session.
pub(super) fn next_slots(slots: usize, live: usize) -> usize {
    if live <= slots / 4 * 3 {
        slots
    } else if slots <= MOST_FOR_FOUR {
        slots * 4
    } else {
        (slots * 2).min(MOST_SLOTS)
    }
}

/// The smallest table that is not crowded by so many.
pub(super) fn fitting_slots(live: usize) -> usize {
    let mut slots = LEAST_SLOTS;
    while crowd(slots) < live && slots < MOST_SLOTS {
        slots *= 2;
    }
    slots
}
