//! Backends, workers and the control thread of one pool, in model time.

mod course;
mod simulation;

use std::time::Duration;

use super::*;

/// As the file has it by default.
const TERMS: Terms = Terms {
    on: Kinds(0).with(Kind::Connect).with(Kind::Reset).with(Kind::Timeout),
    consecutive: 5,
    base: Duration::from_secs(10),
    max_ejected: 50,
};

const FINE: Outcome = Outcome::Success { nanos: Some(10_000_000) };
const BROKEN: Outcome = Outcome::Failure(Kind::Reset);

#[derive(Debug, Default)]
struct Backend {
    name: u64,
    outcomes: Outcomes,
    tally: Tally,
    /// The checks have given it up.
    down: bool,
    /// The second at which its last check began, if that has passed.
    passed: Option<u64>,
}

/// A pool, one worker and the control thread.
#[derive(Debug)]
struct World {
    terms: Terms,
    backends: Vec<Backend>,
    quota: Quota,
    meter: Meter,
    ejection: Ejection,
    weights: Weights,
    seconds: u64,
}

impl World {
    /// So many backends, at which the control thread has looked once.
    fn new(backends: u64, terms: Terms) -> Self {
        let backend = |name| Backend { name, ..Backend::default() };
        let mut world = Self {
            terms,
            backends: (0..backends).map(backend).collect(),
            quota: Quota::default(),
            meter: Meter::default(),
            ejection: Ejection::default(),
            weights: Weights::default(),
            seconds: 0,
        };
        world.tick();
        world
    }

    fn attempt(&self, index: usize, outcome: Outcome) -> bool {
        let entry = self.backends[index].outcomes.enter();
        self.ended(index, entry, outcome)
    }

    fn ended(&self, index: usize, entry: Entry, outcome: Outcome) -> bool {
        let Backend { outcomes, tally, .. } = &self.backends[index];
        outcomes.record(tally, entry, outcome, Some((&self.terms, &self.quota)))
    }

    fn attempts(&self, index: usize, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.attempt(index, *outcome);
        }
    }

    /// What the control thread does each second.
    fn tick(&mut self) -> Vec<Option<News>> {
        let held = self.quota.held();
        let meter = &mut self.meter;
        let seen = self.backends.iter().map(|backend| Seen {
            name: backend.name,
            usable: !backend.down,
            phase: backend.outcomes.phase(),
            unreachable: backend.outcomes.is_unreachable(),
            passed: backend.passed.map(Duration::from_secs),
            counts: meter.read(backend.name, std::iter::once(&backend.tally)),
        });
        let seen: Vec<_> = seen.collect();
        for (backend, factor) in self.backends.iter().zip(self.weights.tick(&seen)) {
            backend.outcomes.set_factor(factor);
        }
        let now = Duration::from_secs(self.seconds);
        let plan = self.ejection.tick(now, Some(&self.terms), held, &seen);
        plan.apply(self.backends.iter().map(|backend| &backend.outcomes), &self.quota);
        self.seconds += 1;
        plan.news
    }

    /// Ticks until there is news of this backend: the news, and after how many ticks.
    fn wait(&mut self, index: usize) -> (u64, News) {
        let begin = self.seconds;
        for _ in 0..400 {
            if let Some(news) = self.tick()[index] {
                return (self.seconds - begin, news);
            }
        }
        panic!("no news of {index}: {self:?}");
    }

    fn phase(&self, index: usize) -> Phase {
        self.backends[index].outcomes.phase().0
    }

    fn out(&self) -> u32 {
        let out = self.backends.iter().filter(|b| b.outcomes.phase().0.is_out()).count();
        u32::try_from(out).unwrap()
    }

    fn usable(&self) -> u32 {
        u32::try_from(self.backends.iter().filter(|backend| !backend.down).count()).unwrap()
    }
}
