//! One worker's position in one pool, and its randomness.

use fastrand::Rng;

/// What one worker remembers between two picks of one pool.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// Seeded by whoever makes the cursor.
    pub(super) rng: Rng,
    /// Current weights of smooth round-robin, by candidate.
    pub(super) current: Vec<i64>,
    /// Where a scan starts, so that workers in step do not all begin with the first candidate.
    pub(super) start: usize,
    /// The heaviest weight seen since the last full scan; 0 before the first.
    pub(super) heaviest: u32,
}

impl Cursor {
    /// A cursor at the beginning. Give each worker and pool another seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), current: Vec::new(), start: 0, heaviest: 0 }
    }

    /// Begins anew where the number of candidates changed. Any other change of a pool is only a
    /// change of weights, from which smooth round-robin recovers by itself.
    pub(super) fn fit(&mut self, candidates: usize) {
        if self.current.len() != candidates {
            self.current.clear();
            self.current.resize(candidates, 0);
            self.start = if candidates == 0 { 0 } else { self.rng.usize(..candidates) };
            self.heaviest = 0;
        }
    }
}

/// Every index below `length` once, beginning at `start`.
pub(super) fn around(start: usize, length: usize) -> impl Iterator<Item = usize> {
    let start = start.min(length);
    (start..length).chain(0..start)
}
