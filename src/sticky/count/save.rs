//! The table as bytes, for a restart or an upgrade.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use super::rebuild::fitting_slots;
use super::table::{Clock, Entry, Key, Rules, Table, count};
use super::{Seat, Sessions, tally};

const MAGIC: [u8; 4] = *b"ost#";
const VERSION: u8 = 1;
/// Flag: written at an orderly stop.
const CLEAN: u8 = 1;
/// Set in an entry's seat: its client has brought it back.
const RETURNED: u16 = 1 << 15;
/// Nobody has 2^40 times as many sessions as fit.
const MOST_SHIFT: u8 = 40;

/// Why bytes are not taken. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// They are no saved table, or not all of one.
    #[error("these are not saved session counts")]
    Shape,
    /// Of another version of the format.
    #[error("session counts of version {0} cannot be read")]
    Version(u8),
    /// Some have changed since they were written.
    #[error("saved session counts are damaged")]
    Checksum,
    /// They are another pool's.
    #[error("these are another pool's session counts")]
    OtherPool,
    /// A worker did not let go of the table.
    #[error("the session table is busy")]
    Busy,
}

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Sessions that are live here now and were not before.
    pub sessions: usize,
    /// Live sessions for which there was no room or no seat.
    pub skipped: usize,
    /// Unix seconds from which on counts are complete; none where they are now.
    pub complete_at: Option<u32>,
}

impl Sessions {
    /// The live sessions as bytes. `pool`: the hash of the pool's name; `clean`: at an orderly
    /// stop, after which no more requests come; `now`: Unix seconds.
    pub fn save(&self, pool: u64, clean: bool, now: u32) -> Vec<u8> {
        let control = self.lock();
        self.settle_patiently(&control, now);
        let table = self.table.load();
        let seats = self.seats.load();
        let Rules { clock, shift, basis } = table.rules;
        let mut bytes = Vec::with_capacity(HEAD + table.used() * SESSION);
        bytes.extend_from_slice(&MAGIC);
        let flags = if clean { CLEAN } else { 0 };
        bytes.extend_from_slice(&[VERSION, flags, byte(shift), byte(basis)]);
        bytes.extend_from_slice(&pool.to_le_bytes());
        let complete_at = self.complete_at.load(Ordering::Acquire);
        for number in [now, clock.idle, self.started, complete_at] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let number = u32::try_from(seats.iter().count()).unwrap_or(0);
        bytes.extend_from_slice(&number.to_le_bytes());
        for seat in seats.iter() {
            bytes.extend_from_slice(&seat.backend().to_le_bytes());
            bytes.extend_from_slice(&seat.untracked().to_le_bytes());
        }
        for (cell, entry) in table.occupied() {
            if clock.is_live(entry, now) {
                let returned = if entry.returned() { RETURNED } else { 0 };
                bytes.extend_from_slice(&cell.key.id.to_le_bytes());
                bytes.extend_from_slice(&(entry.seat() | returned).to_le_bytes());
                bytes.extend_from_slice(&clock.last_seen(entry, now).to_le_bytes());
            }
        }
        let sum = xxh3_64(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Adds what was saved. After an orderly stop counts are as complete as they were; otherwise
    /// when the idle time has passed. Sessions that are here already keep the later of both times.
    /// `pool`: the hash of the pool's name; `now`: Unix seconds.
    ///
    /// # Errors
    /// Where the bytes are not what [`save`](Self::save) wrote for this pool.
    pub fn restore(&self, bytes: &[u8], pool: u64, now: u32) -> Result<Restored, RestoreError> {
        let saved = Saved::parse(bytes)?;
        if saved.pool != pool {
            return Err(RestoreError::OtherPool);
        }
        let mut control = self.lock();
        if !self.settle_patiently(&control, now) {
            return Err(RestoreError::Busy);
        }
        let mut rules = self.table.load().rules;
        rules.shift = rules.shift.max(saved.shift);
        rules.basis = rules.basis.max(saved.basis).max(rules.shift);
        if rules.basis > rules.shift {
            control.widened = now;
        }
        let live = count(self.live.load(Ordering::Acquire)) + saved.sessions.len();
        let slots = fitting_slots(live).max(self.table.load().slots());
        self.rebuild(&control, slots, rules, now);
        self.settle_patiently(&control, now);

        let seats: Vec<_> = saved.seats.iter().map(|(backend, _)| self.seat(*backend)).collect();
        for (seat, (_, missed)) in seats.iter().zip(&saved.seats) {
            if let Some(seat) = seat
                && *missed > 0
            {
                seat.miss((*missed).min(now));
            }
        }
        let table = self.table.load();
        let (mut sessions, mut skipped) = (0, 0);
        for session in &saved.sessions {
            let last_seen = session.last_seen.min(now);
            if now - last_seen > rules.clock.idle {
                continue;
            }
            let seat = seats.get(usize::from(session.seat).wrapping_sub(1));
            let Some(Some(seat)) = seat else {
                skipped += 1;
                continue;
            };
            let entry = Entry::new(seat.index(), session.returned, rules.clock, last_seen);
            match self.add(&table, Key::new(session.id), seat, entry, now) {
                Some(true) => sessions += 1,
                Some(false) => {}
                None => skipped += 1,
            }
        }
        let complete_at = saved.complete_at(rules.clock, now);
        self.complete_at.fetch_min(complete_at, Ordering::AcqRel);
        Ok(Restored {
            sessions,
            skipped,
            complete_at: self.complete_at().filter(|_| !self.is_complete(now)),
        })
    }

    /// Adds a session as it was saved, and says whether it was not here; none without room.
    fn add(
        &self,
        table: &Table,
        key: Key,
        seat: &Arc<Seat>,
        entry: Entry,
        now: u32,
    ) -> Option<bool> {
        let clock = table.rules.clock;
        let last_seen = clock.last_seen(entry, now);
        let Some(cell) = table.claim(key) else {
            if entry.returned() {
                seat.miss(last_seen);
            }
            return None;
        };
        let mut before = cell.load();
        loop {
            let was_live = clock.is_live(before, now);
            if was_live && clock.last_seen(before, now) >= last_seen {
                return Some(false);
            }
            match self.change(table, cell, before, entry) {
                Ok(()) => return Some(!was_live),
                Err(other) => before = other,
            }
        }
    }
}

/// Bytes before the seats.
const HEAD: usize = 4 + 4 + 8 + 4 * 4 + 4;
/// Bytes of a session.
const SESSION: usize = 8 + 2 + 4;

/// What bytes say, checked but for the meaning of times.
struct Saved {
    clean: bool,
    shift: u32,
    basis: u32,
    pool: u64,
    at: u32,
    idle: u32,
    complete_at: u32,
    /// Backend and when a session of it was last missed.
    seats: Vec<(u64, u32)>,
    sessions: Vec<Session>,
}

struct Session {
    id: u64,
    seat: u16,
    returned: bool,
    last_seen: u32,
}

impl Saved {
    fn parse(bytes: &[u8]) -> Result<Self, RestoreError> {
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(RestoreError::Shape)?;
        let version = rest.first().ok_or(RestoreError::Shape)?;
        if *magic != MAGIC {
            return Err(RestoreError::Shape);
        }
        if *version != VERSION {
            return Err(RestoreError::Version(*version));
        }
        let (body, sum) = bytes.split_last_chunk::<8>().ok_or(RestoreError::Shape)?;
        if xxh3_64(body) != u64::from_le_bytes(*sum) {
            return Err(RestoreError::Checksum);
        }
        Self::parse_body(Reader(body)).ok_or(RestoreError::Shape)
    }

    /// None where the numbers do not fit together.
    fn parse_body(mut from: Reader<'_>) -> Option<Self> {
        let _: [u8; 4] = from.take()?;
        let [_, flags, shift, basis] = from.take()?;
        let pool = u64::from_le_bytes(from.take()?);
        let at = from.number()?;
        let idle = from.number()?;
        let _started = from.number()?;
        let complete_at = from.number()?;
        if shift > basis || basis > MOST_SHIFT {
            return None;
        }
        let number = from.number()?;
        let mut seats = Vec::new();
        for _ in 0..number {
            seats.push((u64::from_le_bytes(from.take()?), from.number()?));
        }
        // A second seat of a backend would be the first one again.
        let distinct: HashSet<u64> = seats.iter().map(|(backend, _)| *backend).collect();
        if distinct.len() != seats.len() {
            return None;
        }
        let mut sessions = Vec::with_capacity(from.0.len() / SESSION);
        while !from.0.is_empty() {
            let id = u64::from_le_bytes(from.take()?);
            let word = u16::from_le_bytes(from.take()?);
            let (seat, returned) = (word & !RETURNED, word & RETURNED != 0);
            if id == 0 || seat == 0 || usize::from(seat) > seats.len() {
                return None;
            }
            sessions.push(Session { id, seat, returned, last_seen: from.number()? });
        }
        Some(Self {
            clean: flags & CLEAN != 0,
            shift: shift.into(),
            basis: basis.into(),
            pool,
            at,
            idle,
            complete_at,
            seats,
            sessions,
        })
    }

    /// From when on a table that has these sessions is complete, in Unix seconds; 0 from the start.
    fn complete_at(&self, clock: Clock, now: u32) -> u32 {
        // Nothing that was saved makes it take longer than a start without it.
        let at_worst = tally::after(now, clock.idle);
        if !self.clean {
            // Others may have come between the last save and the end.
            return at_worst;
        }
        tally::with_idle(self.complete_at, self.at, self.idle, clock.idle).min(at_worst)
    }
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*chunk)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

/// A shift, which has at most 64 values.
fn byte(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
