//! What the control thread does once a second: expire, evict, and keep the table's size and sample
//! right.

use std::sync::atomic::Ordering;

use super::rebuild::{MOST_FOR_WORKERS, next_slots};
use super::table::{Clock, Entry, MOST_SLOTS, Rules, Table, count};
use super::{Control, Purpose, Sessions, tally};

/// With more sessions in it the sample is halved. 100,000 are to be counted exactly; half of this
/// gives a backend with a twentieth of the sessions a standard error of 1.7 %.
const MOST_SAMPLED: usize = 131_072;
/// A sample that has no more when it is twice as wide is made so: 100,000 sessions are exact again
/// when there were more, and a number around one of the limits does not go back and forth.
const ENOUGH_SAMPLED: usize = MOST_SAMPLED / 8 * 7;
/// Want of room does not take the sample below it: the error is then 2.4 %.
const LEAST_SAMPLED: usize = MOST_SAMPLED / 4;
/// The living fill at most three quarters of the largest table.
const ROOM: usize = MOST_SLOTS / 4 * 3;
/// Below it there is nothing to be had from a smaller table.
const WORTH_SHRINKING: usize = 1 << 12;
/// Ages of learned sessions are told apart by so many parts of the idle time.
const AGES: usize = 1024;

/// What a walk has found.
#[derive(Debug, Default, Clone, Copy)]
struct Walk {
    /// Live sessions in the sample.
    admitted: usize,
    /// Those outside of it: on seats tracked in full, until a rebuild also on others.
    outside: usize,
}

impl Walk {
    fn live(self) -> usize {
        self.admitted + self.outside
    }
}

impl Sessions {
    /// Ends what was not seen for longer than the idle time, and rebuilds the table where that is
    /// due. Once a second, and when [`wants_sweep`](Self::wants_sweep). `now`: Unix seconds.
    pub fn sweep(&self, now: u32) {
        let mut control = self.lock();
        let settled = self.settle_patiently(&control, now);
        let table = self.table.load();
        let mut walk = self.expire(&table, control.swept, now);
        if let Purpose::Learn { most } = self.purpose {
            let most = count(most_learned(most));
            if walk.live() > most {
                let ended = self.evict(&table, walk.live() - most / 4 * 3, now);
                walk.admitted = walk.admitted.saturating_sub(ended);
            }
        }
        control.swept = now;
        let rules = table.rules;
        for seat in self.seats.load().iter() {
            seat.review(|missed| !tally::is_recent(missed, rules.clock, now), now);
        }
        let (slots, due) = self.plan(&table, &walk, &mut control, now);
        drop(table);
        if settled && let Some(rules) = due {
            self.rebuild(&control, slots, rules, now);
            self.settle_patiently(&control, now);
        }
    }

    /// Whether the next sweep should not wait for its second: the table is about to be full.
    pub fn wants_sweep(&self) -> bool {
        let table = self.table.load();
        let live = self.live.load(Ordering::Relaxed);
        let over = match self.purpose {
            Purpose::Learn { most } => live > most_learned(most),
            Purpose::Count => false,
        };
        over || self.previous.load().is_some()
            || table.slots() > MOST_FOR_WORKERS && table.is_crowded() && pays(&table, count(live))
    }

    /// Changes the idle time, in seconds. Sessions that a shorter one has ended are unknown: where
    /// it becomes longer, counts are complete only when the difference has passed.
    pub fn set_idle(&self, idle: u32, now: u32) {
        let idle = idle.max(1);
        let mut control = self.lock();
        let complete_at = self.complete_at.load(Ordering::Acquire);
        let complete_at = tally::with_idle(complete_at, now, control.idle, idle);
        self.complete_at.store(complete_at, Ordering::Release);
        let changed = idle != control.idle;
        control.idle = idle;
        drop(control);
        if changed {
            self.sweep(now);
        }
    }

    /// Ends what is over, and counts the rest.
    fn expire(&self, table: &Table, swept: u32, now: u32) -> Walk {
        let Rules { clock, .. } = table.rules;
        let lost = clock.is_lost(swept, now);
        let mut walk = Walk::default();
        for (cell, entry) in table.occupied() {
            if lost && let Some(seat) = self.seats.load().get(entry.seat()) {
                // Nobody swept for so long that no age says anything: what is here may be live.
                seat.miss(now);
            }
            if lost || !clock.is_live(entry, now) {
                if self.change(table, cell, entry, Entry::NONE).is_ok() {
                    continue;
                }
            } else if clock.ahead(entry, now) > 2 {
                // The clock was set back. Threads read it at different moments, hence two units.
                let _ = cell.replace(entry, clock.seen_now(entry, now));
            }
            if table.rules.admits(cell.key) {
                walk.admitted += 1;
            } else {
                walk.outside += 1;
            }
        }
        walk
    }

    /// Ends so many of the sessions, the oldest first, and returns how many it were.
    fn evict(&self, table: &Table, surplus: usize, now: u32) -> usize {
        let clock = table.rules.clock;
        let mut ages = vec![0_usize; AGES + 1];
        for (_, entry) in table.occupied() {
            if let Some(number) = ages.get_mut(age(clock, entry, now)) {
                *number += 1;
            }
        }
        let mut older = 0;
        let mut cut = AGES;
        while cut > 0 && older + ages.get(cut).copied().unwrap_or(0) < surplus {
            older += ages.get(cut).copied().unwrap_or(0);
            cut -= 1;
        }
        let mut at_cut = surplus.saturating_sub(older);
        let mut ended = 0;
        for (cell, entry) in table.occupied() {
            let age = age(clock, entry, now);
            if age < cut || age == cut && at_cut == 0 {
                continue;
            }
            if self.change(table, cell, entry, Entry::NONE).is_ok() {
                at_cut -= usize::from(age == cut);
                ended += 1;
            }
        }
        self.evicted.fetch_add(u64::try_from(ended).unwrap_or(0), Ordering::Relaxed);
        ended
    }

    /// The size of the next generation, and its rules where one is due.
    fn plan(
        &self,
        table: &Table,
        walk: &Walk,
        control: &mut Control,
        now: u32,
    ) -> (usize, Option<Rules>) {
        let mut rules = table.rules;
        if control.idle != rules.clock.idle {
            rules.clock = Clock::new(control.idle);
        }
        if self.purpose == Purpose::Count {
            sample(&mut rules, walk, control, now);
        }
        let narrowed = rules.shift.saturating_sub(table.rules.shift);
        let live = walk.outside + (walk.admitted >> narrowed);
        let slots = table.slots();
        let fitting = if slots > WORTH_SHRINKING && live < slots / 16 * 3 {
            slots / 2
        } else if table.is_crowded() {
            next_slots(slots, live)
        } else {
            slots
        };
        let due = rules != table.rules
            || fitting != slots
            || table.is_crowded() && pays(table, walk.live());
        (fitting, due.then_some(rules))
    }
}

/// Sets how much of the sessions the next generation takes.
fn sample(rules: &mut Rules, walk: &Walk, control: &mut Control, now: u32) {
    if walk.admitted > MOST_SAMPLED {
        let mut admitted = walk.admitted;
        while admitted > MOST_SAMPLED {
            rules.shift += 1;
            admitted /= 2;
        }
    } else if walk.live() > ROOM && walk.admitted >= 2 * LEAST_SAMPLED {
        // Seats tracked in full need the room.
        rules.shift += 1;
    } else if rules.basis > rules.shift {
        // The wider sample is complete when all that were outside of it have come or gone.
        let passed = now.saturating_sub(control.widened);
        if passed > rules.clock.idle.saturating_add(rules.clock.unit()) {
            rules.basis = rules.shift;
        }
    } else {
        let (mut admitted, mut live) = (walk.admitted, walk.live());
        while rules.shift > 0 && admitted * 2 <= ENOUGH_SAMPLED && live + admitted <= ROOM / 2 {
            rules.shift -= 1;
            live += admitted;
            admitted *= 2;
            control.widened = now;
        }
    }
    rules.basis = rules.basis.max(rules.shift);
}

/// Whether a rebuild of a crowded table makes room: it can grow, or enough of it is dead.
fn pays(table: &Table, live: usize) -> bool {
    let slots = table.slots();
    next_slots(slots, live) > slots || table.used().saturating_sub(live) >= slots / 64
}

/// Sessions that a table for learning keeps.
pub(super) fn most_learned(most: u32) -> u32 {
    most.clamp(1, u32::try_from(ROOM).unwrap_or(u32::MAX))
}

/// The age in parts of the idle time; one whose client has never brought it back is older than all
/// that came back: crawlers must not push out visitors.
fn age(clock: Clock, entry: Entry, now: u32) -> usize {
    let half = AGES / 2;
    let age = (count(clock.age(entry, now)) * half / count(clock.idle_units())).min(half);
    if entry.returned() { age } else { half + age }
}
