//! What a drain asks of those who are still bound, as workers read it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The terms of a drain. Times are Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTerms {
    /// When it began.
    pub since: u32,
    /// Who is bound then is moved at the next request.
    pub deadline: Option<u32>,
    /// Who was quiet for so many seconds is moved at the next request.
    pub quiet: Option<u32>,
    /// At the deadline exchanges and tunnels are reset; otherwise they may finish.
    pub cut: bool,
    /// Tunnels are closed from the beginning; otherwise from the deadline on.
    pub close_tunnels: bool,
    /// Milliseconds over which tunnels are closed, so that their clients do not all come back at
    /// once.
    pub spread: u32,
}

/// What a tunnel is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelOrder {
    /// Go on.
    Stay,
    /// Close, at a time of its own within so many milliseconds.
    Close {
        /// Milliseconds.
        within: u32,
    },
    /// Be reset.
    Cut,
}

/// The terms in force, for all workers; the control thread writes them.
#[derive(Debug, Default)]
pub struct Drain {
    since: AtomicU32,
    /// 0: never.
    deadline: AtomicU32,
    /// 0: no matter how quiet.
    quiet: AtomicU32,
    spread: AtomicU32,
    cut: AtomicBool,
    close_tunnels: AtomicBool,
    moved: AtomicU64,
}

impl Drain {
    /// Sets the terms, or lifts them. Other terms for a drain that goes on count on.
    pub fn set(&self, terms: Option<DrainTerms>) {
        let since = terms.map_or(0, |terms| terms.since);
        if self.since.swap(since, Ordering::Relaxed) == 0 {
            self.moved.store(0, Ordering::Relaxed);
        }
        let deadline = terms.and_then(|terms| terms.deadline);
        self.deadline.store(deadline.unwrap_or(0), Ordering::Relaxed);
        self.quiet.store(terms.and_then(|terms| terms.quiet).unwrap_or(0), Ordering::Relaxed);
        self.spread.store(terms.map_or(0, |terms| terms.spread), Ordering::Relaxed);
        self.cut.store(terms.is_some_and(|terms| terms.cut), Ordering::Relaxed);
        let close = terms.is_some_and(|terms| terms.close_tunnels);
        self.close_tunnels.store(close, Ordering::Relaxed);
    }

    /// When it began; none: there are no terms.
    pub fn since(&self) -> Option<u32> {
        Some(self.since.load(Ordering::Relaxed)).filter(|since| *since != 0)
    }

    /// When those who are left are moved.
    pub fn deadline(&self) -> Option<u32> {
        Some(self.deadline.load(Ordering::Relaxed)).filter(|deadline| *deadline != 0)
    }

    /// Whether the deadline has passed.
    pub fn is_over(&self, now: u32) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Seconds of silence after which a visitor is moved.
    pub fn quiet(&self) -> Option<u32> {
        Some(self.quiet.load(Ordering::Relaxed)).filter(|quiet| *quiet != 0)
    }

    /// Whether exchanges are to be reset.
    pub fn cuts(&self, now: u32) -> bool {
        self.cut.load(Ordering::Relaxed) && self.is_over(now)
    }

    /// What a tunnel is to do.
    pub fn tunnels(&self, now: u32) -> TunnelOrder {
        let over = self.is_over(now);
        if over && self.cut.load(Ordering::Relaxed) {
            TunnelOrder::Cut
        } else if over || self.close_tunnels.load(Ordering::Relaxed) {
            TunnelOrder::Close { within: self.spread.load(Ordering::Relaxed) }
        } else {
            TunnelOrder::Stay
        }
    }

    /// Counts a visitor who was moved off: at the deadline, or for being quiet.
    pub fn count_moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// Visitors who were moved off since it began.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: DrainTerms = DrainTerms {
        since: 100,
        deadline: Some(200),
        quiet: Some(5),
        cut: false,
        close_tunnels: false,
        spread: 3000,
    };

    #[test]
    fn tunnels_stay_until_the_deadline_unless_they_are_to_close() {
        let drain = Drain::default();
        assert_eq!((drain.tunnels(900), drain.is_over(900)), (TunnelOrder::Stay, false));
        drain.set(Some(TERMS));
        assert_eq!(drain.tunnels(199), TunnelOrder::Stay);
        assert_eq!(drain.tunnels(200), TunnelOrder::Close { within: 3000 });
        drain.set(Some(DrainTerms { close_tunnels: true, ..TERMS }));
        assert_eq!(drain.tunnels(100), TunnelOrder::Close { within: 3000 });
        drain.set(Some(DrainTerms { cut: true, ..TERMS }));
        assert_eq!((drain.tunnels(199), drain.cuts(199)), (TunnelOrder::Stay, false));
        assert_eq!((drain.tunnels(200), drain.cuts(200)), (TunnelOrder::Cut, true));
    }

    #[test]
    fn moves_are_counted_by_drain() {
        let drain = Drain::default();
        drain.set(Some(TERMS));
        drain.count_moved();
        drain.set(Some(DrainTerms { deadline: None, ..TERMS }));
        assert_eq!((drain.moved(), drain.deadline(), drain.quiet()), (1, None, Some(5)));
        drain.set(Some(DrainTerms { since: 101, ..TERMS }));
        assert_eq!(drain.moved(), 1);
        drain.set(None);
        drain.set(Some(DrainTerms { since: 102, ..TERMS }));
        assert_eq!(drain.moved(), 0);
        drain.set(None);
        assert_eq!((drain.since(), drain.quiet()), (None, None));
    }
}
