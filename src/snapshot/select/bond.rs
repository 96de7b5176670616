//! What binds a visitor to a backend: a token, or a value that the table of sessions knows.

use crate::sticky::count::{Seat, Sessions};
use crate::sticky::{Issue, Stickiness, Token};
use crate::telemetry::counters::{MoveCause, StickyOutcome};

use super::super::choice::Seen;
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

    /// The session, bound to this member.
    pub(super) fn seen(self, member: usize) -> Seen {
        Seen { session: self.session(), member }
    }

    /// The backend, by index; none where the pool has it no more.
    pub(super) fn home(self, pool: &Pool, sticky: &Stickiness) -> Option<usize> {
        let name = match self {
            Self::Token(token) => sticky.binds_in(&token, pool.hash).then_some(token.backend),
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
            token = Token { pool, backend, ..token };
        }
        (Issue::Refresh(token), StickyOutcome::Refreshed)
    }

    /// What is written for a visitor who goes to this backend. Who had to go keeps its home; who
    /// was placed by us is at home there.
    pub(super) fn moved(self, pool: u64, backend: u64, cause: MoveCause, now: u32) -> Issue {
        let Self::Token(token) = self else { return Issue::Nothing };
        Issue::Move(match cause {
            MoveCause::Down | MoveCause::Maint => token.moved(pool, backend, now),
            _ => token.settled(pool, backend, now),
        })
    }

    /// The seat that the table has the session on since the token was written, where that is not
    /// this one: it has moved, and this is a request with its old cookie.
    pub(super) fn seated_elsewhere(
        self,
        sessions: &Sessions,
        seat: Option<&Seat>,
        now: u32,
    ) -> Option<u16> {
        let Self::Token(token) = self else { return None };
        let found = sessions.find(token.session, now)?;
        let here = seat.is_some_and(|seat| seat.index() == found.seat);
        (!here && found.last_seen > token.last_seen).then_some(found.seat)
    }
}
