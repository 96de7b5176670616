//! Slow start where load decides: an empty backend is no reason to send everybody there.

use super::{Candidates, Cursor, random};
use crate::backend::slow_start::FULL;

/// Share of requests as it is now, in 1/256: below 2^24 for the weights that a file may have.
pub(super) fn weight(candidates: &impl Candidates, index: usize) -> u32 {
    let share = candidates.weight(index).saturating_mul(candidates.factor(index));
    match candidates.fitness(index) {
        FULL => share,
        fitness => {
            let share = u64::from(share) * u64::from(fitness) / u64::from(FULL);
            u32::try_from(share).unwrap_or(u32::MAX).max(1)
        }
    }
}

/// Whether a candidate is on its way to its whole weight.
fn ramps(candidates: &impl Candidates, index: usize) -> bool {
    candidates.factor(index) < FULL
}

/// The candidates, where those that ramp are no emptier than the others.
///
/// By load alone whoever has just come up would be given every request until it is as busy as the
/// others. So one that is colder than those who are the measure counts as if it had as much in
/// flight for its weight as they have in the mean: then its weight alone decides how often it is
/// chosen, in an idle pool as in a busy one. With more than its share of what is in flight it does
/// not take part at all.
pub(super) struct Guests<'a, C> {
    candidates: &'a C,
    all: Load,
    /// The least factor of those who are the measure, and what they have.
    measure: u32,
    warm: Load,
}

impl<C: Candidates> Guests<'_, C> {
    fn is_cold(&self, index: usize) -> bool {
        self.candidates.factor(index) < self.measure
    }
}

/// What several candidates have in flight, and what they weigh.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    requests: u64,
    weights: u64,
}

impl Load {
    /// Of the eligible that fit.
    fn of(candidates: &impl Candidates, fits: impl Fn(usize) -> bool) -> Self {
        let mut load = Self::default();
        for index in (0..candidates.len()).filter(|index| candidates.eligible(*index)) {
            if fits(index) {
                load.requests += u64::from(candidates.in_flight(index));
                load.weights += u64::from(weight(candidates, index));
            }
        }
        load
    }

    /// Whether somebody of this weight with so much in flight has less than its share of it and of
    /// one request more, rounded up. What was given to it by its share of the requests would pile
    /// up there, should it be slow at first.
    fn leaves_room(self, weight: u32, in_flight: u32) -> bool {
        let share = u128::from(self.requests + 1) * u128::from(weight);
        u128::from(in_flight) < share.div_ceil(u128::from(self.weights.max(1)))
    }

    /// What somebody of this weight would have in flight as its share beside these, in 1/65,536.
    fn level(self, weight: u32) -> u64 {
        let share = (u128::from(self.requests) << 16) * u128::from(weight);
        u64::try_from(share / u128::from(self.weights.max(1))).unwrap_or(u64::MAX)
    }
}

impl<C: Candidates> Candidates for Guests<'_, C> {
    fn len(&self) -> usize {
        self.candidates.len()
    }

    fn weight(&self, index: usize) -> u32 {
        self.candidates.weight(index)
    }

    fn in_flight(&self, index: usize) -> u32 {
        self.candidates.in_flight(index)
    }

    fn load(&self, index: usize) -> u64 {
        let own = self.candidates.load(index);
        if !self.is_cold(index) {
            return own;
        }
        own.max(self.warm.level(weight(self.candidates, index)))
    }

    fn eligible(&self, index: usize) -> bool {
        if !self.candidates.eligible(index) {
            return false;
        }
        let of = self.candidates;
        !self.is_cold(index) || self.all.leaves_room(weight(of, index), of.in_flight(index))
    }

    fn factor(&self, index: usize) -> u32 {
        self.candidates.factor(index)
    }

    fn fitness(&self, index: usize) -> u32 {
        self.candidates.fitness(index)
    }

    fn latency(&self, index: usize) -> Option<u64> {
        self.candidates.latency(index)
    }
}

/// Who takes part in one pick, and how; none where nobody is colder than another.
pub(super) fn guests<C: Candidates>(candidates: &C) -> Option<Guests<'_, C>> {
    if !(0..candidates.len()).any(|index| ramps(candidates, index)) {
        return None;
    }
    let all = Load::of(candidates, |_| true);
    let (measure, warm) = measure(candidates, all)?;
    // Where nobody is colder, those are all.
    (warm.weights < all.weights).then_some(Guests { candidates, all, measure, warm })
}

/// The warmest who have at least half of the weight that is in force: their least factor, and what
/// they have. The warmest alone would be no measure: after an outage of the whole pool that may be
/// one which came up a second before all others, and should it hang, they would be picked without
/// a look at what they have in flight.
fn measure(candidates: &impl Candidates, all: Load) -> Option<(u32, Load)> {
    let factors = || {
        let eligible = (0..candidates.len()).filter(|index| candidates.eligible(*index));
        eligible.map(|index| candidates.factor(index))
    };
    let mut factor = factors().max()?;
    loop {
        let warm = Load::of(candidates, |index| candidates.factor(index) >= factor);
        if warm.weights.saturating_mul(2) >= all.weights {
            return Some((factor, warm));
        }
        factor = factors().filter(|colder| *colder < factor).max()?;
    }
}

/// The candidates without those that ramp.
struct Warm<'a, C>(&'a C);

impl<C: Candidates> Candidates for Warm<'_, C> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn weight(&self, index: usize) -> u32 {
        self.0.weight(index)
    }

    fn in_flight(&self, index: usize) -> u32 {
        self.0.in_flight(index)
    }

    fn eligible(&self, index: usize) -> bool {
        !ramps(self.0, index) && self.0.eligible(index)
    }

    fn fitness(&self, index: usize) -> u32 {
        self.0.fitness(index)
    }
}

/// Two draws by weight of many; the second only where it may win. Who ramps wins by the first
/// draw, or over another one that ramps. (Of many, nobody looks for the warmest at each pick: it
/// would cost more than both draws.)
pub(super) fn two(
    candidates: &impl Candidates,
    cursor: &mut Cursor,
) -> Option<(usize, Option<usize>)> {
    let mut first = random::pick(candidates, cursor)?;
    if ramps(candidates, first) && !has_room(candidates, first) {
        first = random::pick(&Warm(candidates), cursor).unwrap_or(first);
    }
    let second = random::pick(candidates, cursor);
    let may_win = |second: &usize| !ramps(candidates, *second) || ramps(candidates, first);
    Some((first, second.filter(may_win)))
}

fn has_room(candidates: &impl Candidates, index: usize) -> bool {
    let all = Load::of(candidates, |_| true);
    all.leaves_room(weight(candidates, index), candidates.in_flight(index))
}

#[cfg(test)]
mod tests;
