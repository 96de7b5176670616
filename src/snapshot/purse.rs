//! A budget that all workers of a pool pay from.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::backend::Budget;
use crate::telemetry::counters::{Counter, PerWorker};

/// What requests have earned, and what is left of it. To earn is an addition in a block of the
/// worker's own; only who pays takes the lock.
#[derive(Debug)]
pub struct Purse {
    earned: PerWorker<Counter>,
    budget: Mutex<Budget>,
    began: Instant,
}

impl Purse {
    /// Of a pool that nobody has asked yet.
    pub fn new(workers: usize) -> Self {
        Self {
            earned: PerWorker::new(workers),
            budget: Mutex::new(Budget::new(workers)),
            began: Instant::now(),
        }
    }

    /// A request has come to this worker: it earns so many hundredths of a repetition.
    pub fn earn(&self, worker: usize, percent: u32) {
        self.earned.get(worker).add(percent.into());
    }

    /// Takes a repetition out, if there is one.
    pub fn spend(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.spend(self.earned.sum(Counter::get), self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_worker_has_earned_another_may_spend_and_no_more() {
        let purse = Purse::new(2);
        // One of them has nearly all of the traffic, the other one the failures.
        (0..1_000).for_each(|_| purse.earn(0, 20));
        let began = Instant::now();
        let spent = (0..1_000).filter(|_| purse.spend()).count();
        assert!(spent == 200 || began.elapsed().as_millis() > 900, "{spent}");
    }
}
