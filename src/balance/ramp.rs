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

/// The candidates without those that ramp, but for the one that was invited.
///
/// By load alone whoever has just come up would be given every request until it is as busy as the
/// others. So one candidate is drawn by weight for each request, and who ramps takes part only
/// where it was drawn: it has its share of the requests at most, however empty it is.
pub(super) struct Guests<'a, C> {
    candidates: &'a C,
    invited: Option<usize>,
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

    fn eligible(&self, index: usize) -> bool {
        let welcome = self.invited == Some(index) || !ramps(self.candidates, index);
        welcome && self.candidates.eligible(index)
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

/// Who takes part in one pick; none where all do: nobody ramps, or everybody does.
pub(super) fn guests<'a, C: Candidates>(
    candidates: &'a C,
    cursor: &mut Cursor,
) -> Option<Guests<'a, C>> {
    if !(0..candidates.len()).any(|index| ramps(candidates, index)) {
        return None;
    }
    let warm = Guests { candidates, invited: None };
    if !(0..warm.len()).any(|index| warm.eligible(index)) {
        return None;
    }
    let drawn = random::pick(candidates, cursor);
    let invited = drawn.filter(|index| !ramps(candidates, *index) || has_room(candidates, *index));
    Some(Guests { candidates, invited })
}

/// Two draws by weight of many; the second only where it may win. Who ramps wins by the first
/// draw, or over another one that ramps.
pub(super) fn two(
    candidates: &impl Candidates,
    cursor: &mut Cursor,
) -> Option<(usize, Option<usize>)> {
    let mut first = random::pick(candidates, cursor)?;
    if ramps(candidates, first) && !has_room(candidates, first) {
        let warm = Guests { candidates, invited: None };
        first = random::pick(&warm, cursor).unwrap_or(first);
    }
    let second = random::pick(candidates, cursor);
    let may_win = |second: &usize| !ramps(candidates, *second) || ramps(candidates, first);
    Some((first, second.filter(may_win)))
}

/// Whether one that ramps has less than its share of what is in flight, rounded up. What was given
/// to it by its share of the requests would pile up there, should it be slow at first.
fn has_room(candidates: &impl Candidates, index: usize) -> bool {
    let (mut load, mut weights) = (1_u64, 0_u64);
    for other in (0..candidates.len()).filter(|other| candidates.eligible(*other)) {
        load += u64::from(candidates.in_flight(other));
        weights += u64::from(weight(candidates, other));
    }
    let share = u128::from(load) * u128::from(weight(candidates, index));
    u128::from(candidates.in_flight(index)) < share.div_ceil(u128::from(weights.max(1)))
}

#[cfg(test)]
mod tests;
