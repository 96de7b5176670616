//! The guard against our own blindness: where all checks fail at once, the fault may be ours.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::backend::Verdict;

/// The results of one check, as far as they matter here.
#[derive(Debug, Clone)]
struct Run {
    /// Pools that it speaks for.
    pools: HashSet<Arc<str>>,
    /// The longest time from one result to the next.
    span: Duration,
    last: Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// No result yet.
    Nothing,
    Passed,
    /// Failures in a row.
    Failed {
        /// When the first of them was seen.
        since: Duration,
        /// The verdict before it.
        was: Verdict,
        /// Whether they have turned the verdict.
        fell: bool,
    },
}

/// Decides whether we are blind. Blind are we where every check fails, those of two pools or more
/// that were up began to within one interval (of checks in full), and one of them has turned its
/// verdict; no more when any passes. What was down before stays down.
#[derive(Debug, Clone, Default)]
struct Guard {
    runs: HashMap<usize, Run>,
    /// Present: blind.
    cut: Option<Cut>,
}

/// Whose verdicts are frozen.
#[derive(Debug, Clone)]
struct Cut {
    /// Those that have failed since then.
    since: Duration,
    /// Those that had not fallen, however long they had been failing.
    held: HashSet<usize>,
}

impl Guard {
    /// Takes in a result of a check (`now`: on any clock that does not go back; `before` and
    /// `after`: its verdict without a guard). Whether it has turned.
    fn observe(
        &mut self,
        id: usize,
        now: Duration,
        passed: bool,
        (before, after): (Verdict, Verdict),
    ) -> bool {
        let Some(run) = self.runs.get_mut(&id) else { return false };
        let fell = after == Verdict::Down;
        run.last = match run.last {
            _ if passed => Last::Passed,
            Last::Failed { since, was, .. } => Last::Failed { since, was, fell },
            Last::Nothing | Last::Passed => Last::Failed { since: now, was: before, fell },
        };
        let before = self.cut.take();
        let was_blind = before.is_some();
        self.cut = if passed { None } else { before.or_else(|| self.blind()) };
        self.cut.is_some() != was_blind
    }

    /// What is frozen, if all fail that were up.
    fn blind(&self) -> Option<Cut> {
        if self.runs.values().any(|run| run.last == Last::Passed) {
            return None;
        }
        let failing = || {
            self.runs.values().filter_map(|run| match run.last {
                Last::Failed { since, was: Verdict::Up, fell } => Some((run, since, fell)),
                _ => None,
            })
        };
        let newest = failing().map(|(_, since, _)| since).max()?;
        let span = failing().map(|(run, ..)| run.span).max()?;
        let cut = newest.saturating_sub(span);
        let recent = || failing().filter(|(_, since, _)| *since >= cut);
        let pools: HashSet<&Arc<str>> = recent().flat_map(|(run, ..)| &run.pools).collect();
        let fell = recent().any(|(.., fell)| fell);
        // One address in two pools is one backend that fails.
        if !fell || recent().count() < 2 || pools.len() < 2 {
            return None;
        }
        let held =
            |run: &Run| matches!(run.last, Last::Failed { was: Verdict::Up, fell: false, .. });
        let held = self.runs.iter().filter(|(_, run)| held(run)).map(|(id, _)| *id);
        Some(Cut { since: cut, held: held.collect() })
    }

    /// The verdict that holds for a check's backends.
    fn shown(&self, id: usize, verdict: Verdict) -> Verdict {
        let (Some(cut), Some(run)) = (&self.cut, self.runs.get(&id)) else { return verdict };
        match run.last {
            Last::Failed { since, was: Verdict::Up, .. }
                if since >= cut.since || cut.held.contains(&id) =>
            {
                Verdict::Up
            }
            _ => verdict,
        }
    }
}

/// The guard over all checks. Written on the control thread.
#[derive(Debug)]
pub struct Blindness {
    began: Instant,
    on: AtomicBool,
    blind: AtomicBool,
    guard: Mutex<Guard>,
    turned: Notify,
}

impl Default for Blindness {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            on: AtomicBool::new(false),
            blind: AtomicBool::new(false),
            guard: Mutex::default(),
            turned: Notify::new(),
        }
    }
}

impl Blindness {
    /// Whether all checks have failed at once, so that the verdicts before hold.
    pub fn is_blind(&self) -> bool {
        self.blind.load(Ordering::Relaxed)
    }

    /// These are the checks, each with its pools and the longest time between two results; what is
    /// known of those that stay is kept. `on`: whether a guard is asked for.
    pub(super) fn follow(
        &self,
        on: bool,
        checks: impl Iterator<Item = (usize, HashSet<Arc<str>>, Duration)>,
    ) {
        self.on.store(on, Ordering::Relaxed);
        let mut guard = self.lock();
        let mut before = std::mem::take(&mut guard.runs);
        if on {
            for (id, pools, span) in checks {
                let last = before.remove(&id).map_or(Last::Nothing, |run| run.last);
                guard.runs.insert(id, Run { pools, span, last });
            }
        } else if guard.cut.take().is_some() {
            self.turn(false);
        }
    }

    /// Takes in a result of a check, and its verdict before and after.
    pub(super) fn observe(&self, id: usize, passed: bool, before: Verdict, after: Verdict) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let mut guard = self.lock();
        if guard.observe(id, self.began.elapsed(), passed, (before, after)) {
            self.turn(guard.cut.is_some());
        }
    }

    /// The verdict that holds for a check's backends.
    pub(super) fn shown(&self, id: usize, verdict: Verdict) -> Verdict {
        if self.is_blind() { self.lock().shown(id, verdict) } else { verdict }
    }

    /// Ends when the guard has turned.
    pub(super) async fn turned(&self) {
        self.turned.notified().await;
    }

    fn turn(&self, blind: bool) {
        self.blind.store(blind, Ordering::Relaxed);
        if blind {
            tracing::error!(
                event = "blind",
                "all checks fail at once: the fault may be here, and the verdicts before hold"
            );
        } else {
            tracing::info!(event = "blind_over", "a check has passed: verdicts are as checks say");
        }
        self.turned.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::threshold::{Count, Threshold};
    use super::*;

    const SPAN: Duration = Duration::from_secs(3);
    const RULE: Threshold = Threshold { rise: 2, fall: 3 };

    /// Checks, each of the pool of this number, all up.
    struct House {
        guard: Guard,
        counts: Vec<Count>,
    }

    impl House {
        fn new(pools: &[u8]) -> Self {
            let mut guard = Guard::default();
            for (id, pool) in pools.iter().enumerate() {
                let pools = HashSet::from([Arc::from(pool.to_string())]);
                guard.runs.insert(id, Run { pools, span: SPAN, last: Last::Nothing });
            }
            let mut house = Self { guard, counts: vec![Count::new(Verdict::Up); pools.len()] };
            for id in 0..pools.len() {
                house.result(id, 0, true);
            }
            house
        }

        fn result(&mut self, id: usize, second: u64, passed: bool) -> bool {
            let before = self.counts[id].verdict();
            let after = self.counts[id].observe(RULE, passed);
            self.guard.observe(id, Duration::from_secs(second), passed, (before, after))
        }

        fn shown(&self) -> Vec<Verdict> {
            let counts = self.counts.iter().enumerate();
            counts.map(|(id, count)| self.guard.shown(id, count.verdict())).collect()
        }
    }

    #[test]
    fn where_all_fail_at_once_the_verdicts_before_hold_until_one_passes() {
        let mut house = House::new(&[1, 1, 2]);
        for second in 1..=3 {
            for id in 0..3 {
                let turned = house.result(id, second, false);
                // With the first verdict that would turn.
                assert_eq!(turned, (second, id) == (3, 0));
            }
        }
        assert_eq!(house.shown(), [Verdict::Up; 3]);
        assert!(house.result(1, 9, true));
        assert_eq!(house.shown(), [Verdict::Down; 3], "it takes two passes to be up");
    }

    #[test]
    fn one_pool_one_backend_or_one_that_passes_is_no_blindness() {
        for pools in [&[1, 1][..], &[1]] {
            let mut house = House::new(pools);
            for second in 1..9 {
                assert!((0..pools.len()).all(|id| !house.result(id, second, false)));
            }
        }
        let mut house = House::new(&[1, 2, 3]);
        for second in 1..9 {
            assert!(!house.result(0, second, false) && !house.result(1, second, false));
            assert!(!house.result(2, second, true));
        }
    }

    #[test]
    fn what_fell_long_before_stays_down_and_outages_one_after_the_other_are_none_of_ours() {
        let mut house = House::new(&[1, 2, 3]);
        (1..=3).for_each(|second| assert!(!house.result(0, second, false)));
        for second in 60..=62 {
            for id in 0..3 {
                house.result(id, second, false);
            }
        }
        assert_eq!(house.shown(), [Verdict::Down, Verdict::Up, Verdict::Up]);
        let mut house = House::new(&[1, 2]);
        (1..=3).for_each(|second| assert!(!house.result(0, second, false)));
        (60..=90).for_each(|second| assert!(!house.result(1, second, false)));
        assert_eq!(house.shown(), [Verdict::Down; 2]);
    }

    proptest! {
        #[test]
        fn it_is_blind_only_while_nothing_passes_and_freezes_only_what_was_up(
            pools in proptest::collection::vec(0u8..3, 1..5),
            results in proptest::collection::vec(
                (0usize..5, 0u64..3, prop::bool::weighted(0.2)), 1..80,
            ),
        ) {
            let mut house = House::new(&pools);
            let mut second = 1;
            let mut passing = vec![true; pools.len()];
            for (id, pause, passed) in results {
                let id = id % pools.len();
                second += pause;
                let before = house.shown();
                let turned = house.result(id, second, passed);
                passing[id] = passed;
                let blind = house.guard.cut.is_some();
                if blind {
                    prop_assert!(passing.iter().all(|passed| !passed));
                    prop_assert!(pools.iter().collect::<HashSet<_>>().len() >= 2);
                }
                prop_assert!(!passed || !blind);
                for (at, shown) in house.shown().into_iter().enumerate() {
                    let verdict = house.counts[at].verdict();
                    prop_assert!(blind || shown == verdict);
                    prop_assert!(shown == verdict || shown == Verdict::Up);
                    // While it is blind, nobody falls.
                    prop_assert!(!blind || turned || shown == before[at]);
                }
            }
        }
    }
}
