//! The end of the process: not ready, then draining, then over.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Control, FOREVER, ListenerSockets, systemd};
use crate::admin::facts::Phase;
use crate::event::Actor;

/// What carries the traffic, at its end.
pub trait Drain {
    /// Accepts nothing more and asks connections to end when their exchanges have: `Connection:
    /// close`, GOAWAY. What is left after `timeout` will be cut.
    fn begin(&mut self, timeout: Duration);

    /// Client connections and tunnels that are still open.
    fn open(&self) -> usize;
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nobody was cut off.
    Drained,
    /// The drain's time was over with so many connections open.
    Deadline {
        /// Connections and tunnels.
        open: usize,
    },
    /// A second request to stop came, with so many connections open.
    AtOnce {
        /// Connections and tunnels.
        open: usize,
    },
}

/// How far the stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nobody asked for it.
    No,
    /// Not ready any more, still accepting.
    Delay {
        until: Instant,
        /// How long draining may take then.
        drain: Duration,
    },
    /// Exchanges and tunnels may finish.
    Draining { until: Instant },
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Look again then.
    Wait(Instant),
    /// Begin to drain.
    Begin(Duration),
    /// It is over.
    End(Ended),
}

/// Between two looks at what is still open.
const LOOK: Duration = Duration::from_millis(20);

impl Stop {
    /// What is to be done now, with so many connections open; `None`: nobody asked to stop.
    pub(super) fn step(self, now: Instant, open: usize) -> Option<Step> {
        match self {
            Self::No => None,
            Self::Delay { until, .. } if now < until => Some(Step::Wait(until)),
            Self::Delay { drain, .. } => Some(Step::Begin(drain)),
            Self::Draining { .. } if open == 0 => Some(Step::End(Ended::Drained)),
            Self::Draining { until } if now < until => Some(Step::Wait((now + LOOK).min(until))),
            Self::Draining { .. } => Some(Step::End(Ended::Deadline { open })),
        }
    }
}

impl<S: ListenerSockets> Control<S> {
    pub(super) fn begin_stop(&mut self, actor: &Actor) {
        let loaded = self.facts.loaded();
        let runtime = &loaded.model.runtime;
        self.facts.phase.set(Phase::Stopping);
        systemd::stopping();
        // Whoever is to follow us may start while our last exchanges end.
        self.claim.give_up();
        self.audit.record(actor, "stop", "process", None);
        let until = Instant::now() + runtime.stop_delay;
        self.stop = Stop::Delay { until, drain: runtime.drain_timeout };
    }

    pub(super) fn stop_told(&self) -> Value {
        let runtime = &self.facts.loaded().model.runtime;
        json!({
            "phase": "stopping",
            "connections": self.drain.open(),
            "stop_delay": format!("{:?}", runtime.stop_delay),
            "drain_timeout": format!("{:?}", runtime.drain_timeout),
        })
    }

    /// Goes on with the stop, if there is one.
    pub(super) fn step(&mut self) -> Option<Ended> {
        let now = Instant::now();
        match self.stop.step(now, self.drain.open())? {
            Step::Wait(_) => None,
            Step::Begin(timeout) => {
                tracing::info!(open = self.drain.open(), ?timeout, "draining");
                self.drain.begin(timeout);
                self.stop = Stop::Draining { until: now + timeout };
                None
            }
            Step::End(ended) => Some(ended),
        }
    }

    /// When something is due by itself.
    pub(super) fn next(&self) -> Instant {
        let now = Instant::now();
        let stop = match self.stop.step(now, self.drain.open()) {
            None => now + FOREVER,
            Some(Step::Wait(until)) => until,
            Some(Step::Begin(_) | Step::End(_)) => now,
        };
        let mark = self.marks.next_end().map_or(FOREVER, |end| {
            let left = end.duration_since(Timestamp::now());
            Duration::try_from(left).unwrap_or(Duration::ZERO)
        });
        stop.min(now + mark.min(FOREVER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_then_drains_then_ends() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let drain = Duration::from_secs(30);
        assert_eq!(Stop::No.step(at(9), 0), None);
        let delay = Stop::Delay { until: at(5), drain };
        assert_eq!(delay.step(at(4), 0), Some(Step::Wait(at(5))));
        assert_eq!(delay.step(at(5), 3), Some(Step::Begin(drain)));
        let draining = Stop::Draining { until: at(35) };
        assert_eq!(draining.step(at(6), 3), Some(Step::Wait(at(6) + LOOK)));
        assert_eq!(draining.step(at(6), 0), Some(Step::End(Ended::Drained)));
        assert_eq!(draining.step(at(35), 2), Some(Step::End(Ended::Deadline { open: 2 })));
    }
}
