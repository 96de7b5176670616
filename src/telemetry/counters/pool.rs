//! What one worker counts about one pool: sessions and retries.

use std::sync::OnceLock;

use super::{Counter, Counters};
use crate::telemetry::reason::Reason;
use crate::telemetry::word::words;

words! {
    /// What a request's session token turned out to be.
    pub enum StickyToken {
        /// There was none.
        None = "none",
        /// It names a backend that serves.
        Valid = "valid",
        /// It is too old or was unused for too long.
        Expired = "expired",
        /// It does not open, or is not ours.
        Invalid = "invalid",
        /// It names a backend that is not there.
        Unknown = "unknown",
        /// Its backend is down.
        Down = "down",
        /// Its backend drains.
        Draining = "draining",
        /// Its backend is full.
        Full = "full",
    }
}

words! {
    /// What became of a request's session.
    pub enum StickyOutcome {
        /// It stayed as it was.
        Kept = "kept",
        /// It was made.
        Bound = "bound",
        /// It stayed and its token was written again.
        Refreshed = "refreshed",
        /// It went to another backend.
        Moved = "moved",
        /// This request went elsewhere, the session stayed.
        Spilled = "spilled",
        /// The request was refused rather than moved.
        Refused = "refused",
    }
}

words! {
    /// Why a session went to another backend.
    pub enum MoveCause {
        /// Its backend is down.
        Down = "down",
        /// Its backend left the file.
        Removed = "removed",
        /// The drain's deadline passed.
        Deadline = "deadline",
        /// It was quiet long enough during a drain.
        Quiet = "quiet",
        /// Its backend is in maintenance.
        Maint = "maint",
        /// Its backend is full.
        Full = "full",
        /// The pool evened out its sessions.
        Rebalance = "rebalance",
        /// It went back to the backend that it was driven from.
        Home = "home",
    }
}

/// One worker's counts of one pool.
#[derive(Debug, Default)]
pub struct PoolCounters {
    sticky: Counters<{ StickyToken::COUNT * StickyOutcome::COUNT }>,
    /// Sessions made.
    pub sessions_issued: Counter,
    moved: Counters<{ MoveCause::COUNT }>,
    retries: OnceLock<Box<Counters<{ Reason::COUNT }>>>,
    /// Attempts that were not repeated because the pool's budget was used up.
    pub retry_budget_exhausted: Counter,
    /// What requests have earned for it: hundredths of a repetition.
    pub earned: Counter,
    /// The same for second attempts beside a first one.
    pub hedges_earned: Counter,
}

impl PoolCounters {
    /// Counts one request of a sticky pool.
    pub fn sticky(&self, token: StickyToken, outcome: StickyOutcome) {
        self.sticky.add(sticky_index(token, outcome), 1);
    }

    /// Requests with this token and this outcome.
    pub fn sticky_requests(&self, token: StickyToken, outcome: StickyOutcome) -> u64 {
        self.sticky.get(sticky_index(token, outcome))
    }

    /// Counts one session that went to another backend.
    pub fn session_moved(&self, cause: MoveCause) {
        self.moved.add(cause.index(), 1);
    }

    /// Sessions moved for this cause.
    pub fn sessions_moved(&self, cause: MoveCause) -> u64 {
        self.moved.get(cause.index())
    }

    /// Counts one attempt that was repeated, by what the failed one died of.
    pub fn retry(&self, reason: Reason) {
        self.retries.get_or_init(Box::default).add(reason.index(), 1);
    }

    /// Attempts repeated for this reason.
    pub fn retries(&self, reason: Reason) -> u64 {
        self.retries.get().map_or(0, |retries| retries.get(reason.index()))
    }
}

const fn sticky_index(token: StickyToken, outcome: StickyOutcome) -> usize {
    token.index() * StickyOutcome::COUNT + outcome.index()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_token_and_outcome_has_a_place_of_its_own() {
        let pool = PoolCounters::default();
        for token in StickyToken::ALL {
            for outcome in StickyOutcome::ALL {
                assert_eq!(pool.sticky_requests(token, outcome), 0);
                pool.sticky(token, outcome);
                assert_eq!(pool.sticky_requests(token, outcome), 1);
            }
        }
    }

    #[test]
    fn retries_and_moves_are_told_apart_by_their_words() {
        let pool = PoolCounters::default();
        assert_eq!(pool.retries(Reason::Internal), 0);
        pool.retry(Reason::BackendReset);
        pool.session_moved(MoveCause::Home);
        assert_eq!(pool.retries(Reason::BackendReset), 1);
        assert_eq!(pool.retries(Reason::ConnectRefused), 0);
        assert_eq!(pool.sessions_moved(MoveCause::Home), 1);
        assert_eq!(pool.sessions_moved(MoveCause::Down), 0);
    }
}
