//! A budget that all workers of a pool pay from.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::backend::Budget;

/// What is left of what requests have earned, which each worker counts for itself: only who pays
/// takes the lock.
#[derive(Debug)]
pub struct Purse {
    budget: Mutex<Budget>,
    began: Instant,
}

impl Purse {
    /// `earned`: what requests had earned before it began.
    pub fn new(workers: usize, earned: u64) -> Self {
        Self { budget: Mutex::new(Budget::new(workers, earned)), began: Instant::now() }
    }

    /// Takes a repetition out, if there is one. `earned`: adds up what all workers have counted, in
    /// hundredths of one.
    pub fn spend(&self, earned: impl FnOnce() -> u64) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.spend(earned(), self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::counters::{PerWorker, PoolCounters};

    #[test]
    fn what_one_worker_has_earned_another_may_spend_and_no_more() {
        let counters = PerWorker::<PoolCounters>::new(2);
        counters.get(0).earned.add(1_000_000);
        let earned = || counters.sum(|it| it.earned.get());
        let purse = Purse::new(2, earned());
        // One of them has all of the traffic.
        (0..1_000).for_each(|_| counters.get(1).earned.add(20));
        let began = Instant::now();
        let spent = (0..1_000).filter(|_| purse.spend(earned)).count();
        assert!(spent == 200 || began.elapsed().as_millis() > 900, "{spent}");
    }
}
