//! The end of the process: not ready, then draining, then over.

use std::time::Duration;

use tokio::time::Instant;

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
