//! What binds a visitor to a backend: a token, or a value that the table of sessions knows.

use crate::sticky::count::Sessions;
use crate::sticky::{Issue, Stickiness, Token};
use crate::telemetry::counters::StickyOutcome;

use super::super::pool::Pool;

/// A visitor's binding.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bond {
    /// By our own cookie.
    Token(Token),
    /// By a value.
    Value {
        /// Its hash.
        value: u64,
        /// The backend's seat in the table of sessions.
        seat: u16,
        /// Unix seconds.
        last_seen: u32,
    },
}

impl Bond {
    /// What the session is counted under.
    pub(super) fn session(self) -> u64 {
        match self {
            Self::Token(token) => token.session,
            Self::Value { value, .. } => value,
        }
    }

    /// The backend, by index; none where the pool has it no more.
    pub(super) fn home(self, pool: &Pool, sticky: &Stickiness) -> Option<usize> {
        let name = match self {
            Self::Token(token) => sticky.is_of_pool(&token, pool.hash).then_some(token.backend),
            Self::Value { seat, .. } => pool.state.sessions.seat_backend(seat),
        };
        pool.member_named(name?)
    }

    /// When the session was last seen, in Unix seconds: by the table, which is up to date, else by
    /// the token, which is written now and then. One that the table has no room for counts as
    /// seen now.
    pub(super) fn last_seen(self, sessions: &Sessions, now: u32) -> u32 {
        match self {
            Self::Value { last_seen, .. } => last_seen,
            Self::Token(token) => match sessions.find(token.session, now) {
                Some(found) => found.last_seen,
                None if sessions.samples() => now,
                None => token.last_seen,
            },
        }
    }

    /// What is written for a visitor who stays on this backend.
    pub(super) fn kept(
        self,
        pool: u64,
        backend: u64,
        sticky: &Stickiness,
        now: u32,
    ) -> (Issue, StickyOutcome) {
        let Self::Token(token) = self else { return (Issue::Nothing, StickyOutcome::Kept) };
        let renamed = backend != token.backend;
        if !renamed && !sticky.refresh_due(&token, now) {
            return (Issue::Nothing, StickyOutcome::Kept);
        }
        let mut token = token.touched(now);
        if renamed {
            token = Token { backend, pool, ..token };
        }
        (Issue::Refresh(token), StickyOutcome::Refreshed)
    }

    /// What is written for a visitor who goes to this backend.
    pub(super) fn moved(self, pool: u64, backend: u64, now: u32) -> Issue {
        match self {
            Self::Token(token) => Issue::Move(token.moved(pool, backend, now)),
            Self::Value { .. } => Issue::Nothing,
        }
    }
}
