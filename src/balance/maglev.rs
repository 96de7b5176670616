//! Maglev hashing: a table that every node fills alike, and that changes little with its backends.

use super::Candidates;
use super::rendezvous::{Bounded, FLOOR, finish, rendezvous};

/// Entries of a large table and of a small one; both are prime. A hundred to a backend keep
/// shares within a hundredth of each other (Eisenbud et al., §5.3).
const LARGE: usize = 65_537;
const SMALL: usize = 5_003;

/// Up to so many backends a small table will do. It goes by their number alone, weight 0 or not:
/// another size moves nearly everybody, and a change of weights must not.
const FEW: usize = 50;

/// Entries looked at for one whose backend may be chosen. Only where most may not, nobody is found.
const WALK: usize = 64;

/// An entry that is not filled, and the most backends that a table can name.
const FREE: u16 = u16::MAX;

/// The lookup table of a pool (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
/// Balancer", 2016, §3.4), made when the snapshot is compiled: 10 KB, or 128 KB for more than
/// fifty backends. Names and weights alone decide, never the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maglev {
    names: Box<[u64]>,
    table: Box<[u16]>,
}

impl Maglev {
    /// The table of all backends of a pool, in the order of their indexes: each one's
    /// `backend::name_hash` and weight. Those of weight 0 have no entries.
    pub fn new(backends: &[(u64, u32)]) -> Self {
        let size = if backends.len() <= FEW { SMALL } else { LARGE };
        let names = backends.iter().map(|(name, _)| *name).collect();
        Self { names, table: fill(backends, size) }
    }

    /// The eligible candidate that owns this key, or the one that owns the next entry where it is
    /// not eligible; none only where no candidate is eligible. The candidates have the indexes
    /// that the table was made of.
    pub fn pick(&self, key: u64, candidates: &impl Candidates) -> Option<usize> {
        let found = self.from(key).take(WALK).find(|index| candidates.eligible(*index));
        // Hardly anybody is eligible, or only those without entries: all are looked at.
        found.or_else(|| {
            rendezvous(key, candidates, |index| self.names.get(index).copied().unwrap_or(0))
        })
    }

    /// As [`Maglev::pick`], but no candidate is given more than a quarter above its share of what
    /// is in flight, as in `rendezvous_bounded`.
    pub fn pick_bounded(&self, key: u64, candidates: &impl Candidates) -> Option<usize> {
        let owner = self.pick(key, candidates)?;
        if u64::from(candidates.in_flight(owner)) < FLOOR {
            return Some(owner);
        }
        self.pick(key, &Bounded::of(candidates))
    }

    /// Owners of all entries, beginning at that of a key.
    fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let (before, after) = self.table.split_at(place(key, self.table.len()));
        after.iter().chain(before).map(|index| usize::from(*index))
    }
}

/// A number below `size` made of a hash; 0 where there is none.
fn place(hash: u64, size: usize) -> usize {
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    usize::try_from(hash.checked_rem(size).unwrap_or(0)).unwrap_or(0)
}

/// A backend while the table is filled.
struct Filler {
    index: u16,
    name: u64,
    /// Where it looks next, and how far on after that: its permutation of the entries.
    next: usize,
    skip: usize,
    weight: u32,
    /// What it has saved towards its next turn, which costs the heaviest weight.
    saved: u32,
}

/// Backends take turns; each takes the next free entry of its own permutation of all. The light
/// miss turns in proportion to the heaviest, but in the first round everybody takes one.
fn fill(backends: &[(u64, u32)], size: usize) -> Box<[u16]> {
    let heaviest = backends.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
    let filler = |(index, &(name, weight)): (usize, &(u64, u32))| {
        let index = u16::try_from(index).ok().filter(|index| *index != FREE)?;
        let (next, skip) = (place(offset(name), size), 1 + place(stride(name), size - 1));
        let saved = heaviest - weight;
        (weight > 0).then_some(Filler { index, name, next, skip, weight, saved })
    };
    let mut fillers: Vec<_> = backends.iter().enumerate().filter_map(filler).collect();
    if fillers.is_empty() {
        return Box::default();
    }
    fillers.sort_unstable_by_key(|filler| filler.name);
    let mut table = vec![FREE; size].into_boxed_slice();
    let mut free = size;
    loop {
        for filler in &mut fillers {
            filler.saved = filler.saved.saturating_add(filler.weight);
            if filler.saved < heaviest {
                continue;
            }
            filler.saved -= heaviest;
            filler.take(&mut table);
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
}

impl Filler {
    /// Takes the next free entry. There is one, and as the size is prime the stride meets it.
    fn take(&mut self, table: &mut [u16]) {
        for _ in 0..table.len() {
            let at = self.next;
            self.next += self.skip;
            if self.next >= table.len() {
                self.next -= table.len();
            }
            if let Some(entry) = table.get_mut(at).filter(|entry| **entry == FREE) {
                *entry = self.index;
                return;
            }
        }
    }
}

/// Two independent hashes of a name. Must never change, as the rest of how a table is filled:
/// nodes of different versions have the same keys on the same backends.
fn offset(name: u64) -> u64 {
    finish(name)
}

fn stride(name: u64) -> u64 {
    finish(finish(name))
}

#[cfg(test)]
mod tests;
