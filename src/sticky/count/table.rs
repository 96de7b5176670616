//! One generation of the table: keys that stay where they are, and a word about each.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The smallest table, 3 KiB. Bursts of first sessions fit before a worker has grown it.
pub(super) const LEAST_SLOTS: usize = 256;
/// The largest table, 6 MiB: the old one, the new one and the list of what was copied from one to
/// the other are together below 16 MiB.
pub(super) const MOST_SLOTS: usize = 1 << 19;
/// Bytes of a slot.
pub(super) const SLOT: usize = size_of::<AtomicU64>() + size_of::<AtomicU32>();

const TIME_BITS: u32 = 19;
const TIMES: u32 = (1 << TIME_BITS) - 1;
/// An age of more units than this is a time in the future.
const HALF: u32 = 1 << (TIME_BITS - 1);
/// An idle time has fewer units: a quarter of the circle, so that an entry which the sweep finds
/// late is not taken for one of the future.
const MOST_UNITS: u32 = 1 << (TIME_BITS - 2);
const RETURNED: u32 = 1 << TIME_BITS;
const SEAT_SHIFT: u32 = TIME_BITS + 1;

/// A session's id and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Never zero, for that is an empty slot.
    pub(super) id: u64,
    /// The high bits say the slot, the low bits whether it is in the sample.
    pub(super) hash: u64,
}

impl Key {
    pub(super) fn new(id: u64) -> Self {
        let id = id.max(1);
        // Learned values may be anything; a folded product spreads them over high and low bits.
        let product = u128::from(id ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        let (high, low) = (product >> 64, product & u128::from(u64::MAX));
        Self { id, hash: u64::try_from(high ^ low).unwrap_or(0) }
    }
}

/// What is known of a session: its seat, whether its client has brought it back, and when it was
/// last seen. All zero: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Entry(u32);

impl Entry {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn new(seat: u16, returned: bool, clock: Clock, now: u32) -> Self {
        let returned = if returned { RETURNED } else { 0 };
        Self((u32::from(seat) << SEAT_SHIFT) | returned | clock.time(now))
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The index of its seat; 0 of none.
    pub(super) fn seat(self) -> u16 {
        u16::try_from(self.0 >> SEAT_SHIFT).unwrap_or(0)
    }

    pub(super) fn returned(self) -> bool {
        self.0 & RETURNED != 0
    }

    /// All but the time: two entries of one kind count alike.
    pub(super) fn kind(self) -> u32 {
        self.0 >> TIME_BITS
    }

    fn with_time(self, time: u32) -> Self {
        Self((self.0 & !TIMES) | time)
    }
}

/// How a generation measures time: in units of a power of two of seconds, on a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// Seconds.
    pub(super) idle: u32,
    scale: u32,
    idle_units: u32,
}

impl Clock {
    /// `idle`: seconds, at least one.
    pub(super) fn new(idle: u32) -> Self {
        let idle = idle.max(1);
        let mut scale = 0;
        while idle.div_ceil(1 << scale) >= MOST_UNITS {
            scale += 1;
        }
        // An entry made at the end of a unit and looked at in the beginning of another is younger
        // than the units between say, hence rounded up.
        Self { idle, scale, idle_units: idle.div_ceil(1 << scale) }
    }

    /// Seconds that are one unit.
    pub(super) fn unit(self) -> u32 {
        1 << self.scale
    }

    fn time(self, now: u32) -> u32 {
        (now >> self.scale) & TIMES
    }

    fn circle(self, entry: Entry, now: u32) -> u32 {
        self.time(now).wrapping_sub(entry.0) & TIMES
    }

    /// Units since it was seen; the future counts as now.
    pub(super) fn age(self, entry: Entry, now: u32) -> u32 {
        let age = self.circle(entry, now);
        if age < HALF { age } else { 0 }
    }

    /// Units that it is ahead of now.
    pub(super) fn ahead(self, entry: Entry, now: u32) -> u32 {
        let age = self.circle(entry, now);
        if age < HALF { 0 } else { TIMES + 1 - age }
    }

    /// Whether there is an entry and it was seen within the idle time.
    pub(super) fn is_live(self, entry: Entry, now: u32) -> bool {
        !entry.is_none() && self.age(entry, now) <= self.idle_units
    }

    /// Unix seconds; the beginning of the unit in which it was seen.
    pub(super) fn last_seen(self, entry: Entry, now: u32) -> u32 {
        (now >> self.scale).saturating_sub(self.age(entry, now)) << self.scale
    }

    /// The beginning of a moment's unit, in Unix seconds.
    pub(super) fn unit_of(self, now: u32) -> u32 {
        now >> self.scale << self.scale
    }

    /// The same entry as another generation writes it.
    pub(super) fn convert(self, entry: Entry, to: Self, now: u32) -> Entry {
        if entry.is_none() || self.scale == to.scale {
            return entry;
        }
        entry.with_time(to.time(self.last_seen(entry, now)))
    }

    /// The entry as if seen now.
    pub(super) fn seen_now(self, entry: Entry, now: u32) -> Entry {
        entry.with_time(self.time(now))
    }

    /// Whether so much time has passed between two moments that ages may have gone around.
    pub(super) fn is_lost(self, before: u32, now: u32) -> bool {
        (now >> self.scale).saturating_sub(before >> self.scale) >= HALF - self.idle_units
    }

    /// Units of the idle time, the greatest age of what lives.
    pub(super) fn idle_units(self) -> u32 {
        self.idle_units
    }
}

/// What holds for all entries of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) clock: Clock,
    /// New sessions are taken if so many low bits of their hash are zero.
    pub(super) shift: u32,
    /// Estimates rest on the sessions with so many low bits zero, at least `shift`: of these all
    /// are known, while the sample has been wider for less than the idle time.
    pub(super) basis: u32,
}

impl Rules {
    pub(super) fn admits(&self, key: Key) -> bool {
        key.hash.trailing_zeros() >= self.shift
    }

    pub(super) fn in_basis(&self, key: Key) -> bool {
        key.hash.trailing_zeros() >= self.basis
    }
}

/// A generation. Open addressing with linear probing; a key is never removed or changed, so all
/// threads that look for it meet in one slot.
#[derive(Debug)]
pub(super) struct Table {
    keys: Box<[AtomicU64]>,
    entries: Box<[AtomicU32]>,
    /// What a hash is shifted by for its slot. The order of slots is thus the order of hashes, and
    /// a rebuild goes through both tables from their beginning to their end.
    home: u32,
    used: AtomicU32,
    pub(super) rules: Rules,
}

/// Where a session's entry is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell<'t> {
    pub(super) key: Key,
    word: &'t AtomicU32,
}

/// A slot, looked at from outside: most have no entry, and their keys need not be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'t> {
    id: &'t AtomicU64,
    word: &'t AtomicU32,
}

impl<'t> Place<'t> {
    pub(super) fn entry(self) -> Entry {
        Entry(self.word.load(Ordering::Acquire))
    }

    pub(super) fn cell(self) -> Cell<'t> {
        Cell { key: Key::new(self.id.load(Ordering::Acquire)), word: self.word }
    }
}

impl Cell<'_> {
    pub(super) fn load(self) -> Entry {
        Entry(self.word.load(Ordering::Acquire))
    }

    /// Replaces the entry, or says what it is by now.
    pub(super) fn replace(self, from: Entry, to: Entry) -> Result<(), Entry> {
        match self.word.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(other) => Err(Entry(other)),
        }
    }
}

impl Table {
    /// `slots` is made a power of two between the smallest and the largest table.
    pub(super) fn new(slots: usize, rules: Rules) -> Self {
        let slots = slots.clamp(LEAST_SLOTS, MOST_SLOTS).next_power_of_two();
        Self {
            keys: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            entries: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            home: u64::BITS - slots.trailing_zeros(),
            used: AtomicU32::new(0),
            rules,
        }
    }

    pub(super) fn slots(&self) -> usize {
        self.keys.len()
    }

    /// Slots with a key, of the living and of the dead.
    pub(super) fn used(&self) -> usize {
        count(self.used.load(Ordering::Relaxed))
    }

    /// Whether it should be rebuilt. What is left then is enough until the next sweep at 10,000
    /// new sessions a second, in tables that only the control thread grows.
    pub(super) fn is_crowded(&self) -> bool {
        self.used() > crowd(self.slots())
    }

    #[inline]
    pub(super) fn find(&self, key: Key) -> Option<Cell<'_>> {
        let mask = self.keys.len() - 1;
        let mut slot = self.first(key);
        for _ in 0..self.keys.len() {
            let found = self.keys.get(slot)?.load(Ordering::Acquire);
            if found == key.id {
                return Some(Cell { key, word: self.entries.get(slot)? });
            }
            if found == 0 {
                return None;
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    /// Finds or makes the place of a key; none where the table is too full for another.
    pub(super) fn claim(&self, key: Key) -> Option<Cell<'_>> {
        let mask = self.keys.len() - 1;
        let mut slot = self.first(key);
        for _ in 0..self.keys.len() {
            let place = self.keys.get(slot)?;
            let mut found = place.load(Ordering::Acquire);
            if found == 0 {
                if self.used() >= self.most_used() {
                    return None;
                }
                match place.compare_exchange(0, key.id, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        self.used.fetch_add(1, Ordering::Relaxed);
                        found = key.id;
                    }
                    Err(other) => found = other,
                }
            }
            if found == key.id {
                return Some(Cell { key, word: self.entries.get(slot)? });
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    /// Puts an entry into a table that nobody else has yet and that has none of the key; false
    /// where it is too full.
    pub(super) fn place(&mut self, key: Key, entry: Entry) -> bool {
        let (mask, most) = (self.keys.len() - 1, self.most_used());
        if self.used() >= most {
            return false;
        }
        let mut slot = self.first(key);
        loop {
            let (Some(id), Some(word)) = (self.keys.get_mut(slot), self.entries.get_mut(slot))
            else {
                return false;
            };
            if *id.get_mut() == 0 {
                *id.get_mut() = key.id;
                *word.get_mut() = entry.0;
                *self.used.get_mut() += 1;
                return true;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Every place, in the order of slots.
    pub(super) fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.keys.iter().zip(&self.entries).map(|(id, word)| Place { id, word })
    }

    /// The places with an entry, and the entry.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (Cell<'_>, Entry)> {
        self.places().filter_map(|place| {
            let entry = place.entry();
            (!entry.is_none()).then(|| (place.cell(), entry))
        })
    }

    /// Above it a search would be too long.
    fn most_used(&self) -> usize {
        self.slots() / 16 * 15
    }

    fn first(&self, key: Key) -> usize {
        usize::try_from(key.hash >> self.home).unwrap_or(0)
    }
}

/// A table with more used slots than this is crowded.
pub(super) fn crowd(slots: usize) -> usize {
    slots / 32 * 25
}

/// Counts of slots and sessions have 32 bits, on every machine we run on at most a pointer's.
pub(super) fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
