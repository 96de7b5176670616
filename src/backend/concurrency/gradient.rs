//! How many requests a backend is given at once, by how long it takes to answer (pure).
// The gradient of Envoy's adaptive concurrency filter (and of Netflix's concurrency-limits):
//
//     gradient = clamp(1.25 · base / now, 0.5, …)        base: median when little was in flight
//     limit    = limit · gradient + √limit               now: median since the last decision
//
// Where answers come as fast as when there was little to do, it grows. Where they take longer than
// a quarter more, requests queue at the backend, and it shrinks: at a backend of N slots it settles
// where `limit · (1 - gradient) = √limit`, a little above N, so that its slots are never empty.
// Failures take their share off the gradient. It changes only while it is what holds requests back:
// who could have more and does not ask for it says nothing about it.

use super::Seen;
use crate::config::model::Concurrency as Bounds;

/// How much longer than the base an answer may take before it counts as one that had to queue.
const HEADROOM: f64 = 1.25;
/// The most that one decision takes away.
const STEEPEST: f64 = 0.5;
/// Attempts in one decision: fewer are noise…
const ENOUGH: u32 = 25;
/// …and so many will do where they come slowly (milliseconds since the last decision).
const FEW: u32 = 10;
const SLOWLY: u64 = 2_000;
/// Answers in a measurement of the base.
const MEASURED: u32 = 50;
/// A base is good for so long, and a share of as much again so that not all backends measure at the
/// same time (milliseconds).
const GOOD: u64 = 30_000;
const SPREAD: u64 = 10_000;
/// It is measured anew earlier where the limit has fallen by half since, for it may be the work
/// that takes longer now, but not earlier than this (milliseconds).
const SOONEST: u64 = 5_000;
/// Where nothing of what is in flight ends for so long, there is no measurement (milliseconds).
const STUCK: u64 = 500;
/// What a base may rise by that was measured beside other work.
const RISE: f64 = 1.1;

/// What a backend has to do now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Requests in flight, without tunnels.
    pub in_flight: u32,
    /// Whether requests wait for a place.
    pub waiting: bool,
}

/// The limit of one backend, and what it is derived from.
#[derive(Debug, Clone, Default)]
pub struct Gradient {
    limit: f64,
    /// The median of answers while there was little to do; none: not measured.
    base: Option<f64>,
    phase: Phase,
    /// Attempts since the last decision, since when, and whether the limit was felt meanwhile.
    seen: Seen,
    since: u64,
    busy: bool,
    /// Answers since the last measurement that came while the limit was not felt.
    beside: Seen,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Phase {
    /// Nothing was asked yet.
    #[default]
    New,
    /// Little is let in, and what comes is the base.
    Measuring {
        since: u64,
        /// What holds afterwards.
        then: f64,
        /// Answers still to come that have queued at the backend; none: not known yet.
        old: Option<u32>,
    },
    /// The limit follows.
    Following { measured: u64, from: f64 },
}

impl Gradient {
    /// What may be in flight from now on. `seen`: since the last call; `now`: milliseconds.
    pub fn step(
        &mut self,
        seen: &Seen,
        load: Load,
        now: u64,
        (bounds, share): (Bounds, u64),
    ) -> u32 {
        let (least, most) = (f64::from(bounds.min), f64::from(bounds.max));
        let busy = load.waiting || f64::from(load.in_flight) * 2.0 >= self.limit;
        match self.phase {
            Phase::New => {
                self.limit = least;
                self.phase = Phase::Measuring { since: now, then: least, old: Some(0) };
            }
            Phase::Measuring { since, then, old } => {
                self.measure(seen, load.in_flight, (since, then, old), now);
            }
            Phase::Following { measured, from } => {
                self.seen.add(seen);
                self.busy |= busy;
                if !busy {
                    self.beside.add(seen);
                }
                self.decide(now);
                let age = now.saturating_sub(measured);
                let early = age >= SOONEST && self.limit < from / 2.0;
                if early || age >= GOOD + share % SPREAD {
                    self.renew(busy, early, least, now);
                }
            }
        }
        self.limit = self.limit.clamp(least, most.max(least));
        whole(self.limit)
    }

    /// One look during a measurement.
    fn measure(
        &mut self,
        seen: &Seen,
        in_flight: u32,
        (since, then, old): (u64, f64, Option<u32>),
        now: u64,
    ) {
        // What came in before the limit fell has queued, and says nothing.
        let old = match old {
            None if f64::from(in_flight) <= self.limit => Some(in_flight),
            None => None,
            Some(0) => {
                self.seen.add(seen);
                Some(0)
            }
            Some(old) => Some(old.saturating_sub(seen.count.max(1))),
        };
        let took = now.saturating_sub(since);
        if old.is_none() && took >= STUCK && seen.count == 0 {
            // What is in flight are streams and the like, which do not end for our sake.
            return self.follow(then, now);
        }
        let slowly = took >= SLOWLY;
        let base = self.seen.median();
        if let Some(base) = base.filter(|_| self.seen.count >= if slowly { FEW } else { MEASURED })
        {
            self.base = Some(base);
            self.follow(then, now);
        } else if slowly && self.base.is_some() {
            // Nothing comes that could be measured: it goes on with what it had.
            self.follow(then, now);
        } else {
            self.phase = Phase::Measuring { since, then, old };
        }
    }

    fn follow(&mut self, limit: f64, now: u64) {
        self.limit = limit;
        self.phase = Phase::Following { measured: now, from: limit };
        self.beside = Seen::default();
        self.begin(now);
    }

    fn begin(&mut self, now: u64) {
        (self.seen, self.since, self.busy) = (Seen::default(), now, false);
    }

    /// Once enough was seen: more or less.
    fn decide(&mut self, now: u64) {
        let attempts = self.seen.count.saturating_add(self.seen.failures);
        let slowly = now.saturating_sub(self.since) >= SLOWLY;
        if attempts < if slowly { FEW } else { ENOUGH } {
            return;
        }
        if self.busy {
            let by_time = match (self.base, self.seen.median()) {
                (Some(base), Some(median)) => HEADROOM * base / median.max(1.0),
                _ => 1.0,
            };
            let lost = f64::from(self.seen.failures) / f64::from(attempts);
            let gradient = if lost > 0.0 { by_time.min(1.0) - lost } else { by_time };
            let gradient = gradient.clamp(STEEPEST, HEADROOM);
            self.limit = self.limit * gradient + self.limit.sqrt();
        }
        self.begin(now);
    }

    /// A base has grown old: measured anew, if need be with less in flight.
    fn renew(&mut self, busy: bool, early: bool, least: f64, now: u64) {
        let beside = self.beside.median().filter(|_| self.beside.count >= MEASURED && !early);
        if let Some(median) = beside {
            let most = self.base.map_or(median, |base| base * RISE);
            self.base = Some(median.min(most));
            self.follow(self.limit, now);
        } else if busy {
            let then = self.limit;
            self.limit = (then / 2.0).max(least);
            self.phase = Phase::Measuring { since: now, then, old: None };
            self.begin(now);
        }
    }
}

/// A limit as a number of requests.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies within the file's bounds, which are of this type"
)]
fn whole(limit: f64) -> u32 {
    limit as u32
}
