//! What is asked of a pool for one attempt, and what it answers.

use crate::sticky::{Issue, Presented, Token};
use crate::telemetry::counters::{MoveCause, StickyOutcome, StickyToken};
use crate::telemetry::reason::Reason;

/// Who asks for a backend.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct Visitor {
    /// What the request brought.
    pub presented: Presented,
    /// The session of a sibling request that has no answer yet, to be joined.
    pub join: Option<Token>,
    /// Id of the session, should one begin: the same for all attempts of an exchange.
    pub fresh: u64,
    /// Unix seconds.
    pub now: u32,
    /// A GET without a body: a good moment to be moved.
    pub plain: bool,
    /// Nobody serves: those whose checks fail are asked as well.
    pub desperate: bool,
    /// What a pool that hashes is asked by, as a number; none where the request does not have it.
    pub key: Option<u64>,
    /// Has waited in vain for its own backend: another one will do this once.
    pub spill: bool,
    /// Its turn has come: places kept for those who wait are for it, too.
    pub called: bool,
    /// Why it comes from another pool of its route, if it does.
    pub evicted: Option<MoveCause>,
}

impl Visitor {
    /// The token in force that it brought, or that a sibling is about to be given.
    pub fn token(&self) -> Option<&Token> {
        match &self.presented {
            Presented::Valid(token) | Presented::Look(token) => Some(token),
            Presented::None | Presented::Invalid => self.join.as_ref(),
            Presented::Expired(_) | Presented::Value(_) => None,
        }
    }

    /// What its token is called where it is refused for this reason.
    pub fn word(&self, reason: Reason) -> StickyToken {
        match (reason, &self.presented) {
            (Reason::SessionBackendDown, _) => StickyToken::Down,
            (Reason::SessionBackendFull, _) => StickyToken::Full,
            (_, Presented::None) => StickyToken::None,
            (_, Presented::Expired(_)) => StickyToken::Expired,
            (_, Presented::Invalid) => StickyToken::Invalid,
            (_, Presented::Valid(_) | Presented::Look(_) | Presented::Value(_)) => {
                StickyToken::Full
            }
        }
    }
}

/// What a pool says to a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// This backend.
    Now(Choice),
    /// All that would do are at their limit: the turn must be waited for, at this backend (by
    /// index) or, without one, at any.
    Wait(Option<usize>),
}

/// The backend for one attempt, and what that means for the visitor's cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Index into `Pool::members`.
    pub member: usize,
    /// Written only when the backend has answered.
    pub issue: Issue,
    /// What came of the token, where the pool is sticky.
    pub told: Option<Told>,
    /// The session that is seen by it, which counts once the backend has answered.
    pub seen: Option<Seen>,
    /// The backend that a drain sends it away from, by index.
    pub sent_off: Option<usize>,
    /// It moves a visitor for no other reason than to even out the pool, and takes one of the
    /// moves that may be. Not so of a request that follows its session, which has moved already.
    pub evens_out: bool,
}

impl Choice {
    /// A choice that nothing but the visitor and the policy has led to.
    pub fn new(member: usize, issue: Issue, told: Option<Told>, seen: Option<Seen>) -> Self {
        Self { member, issue, told, seen, sent_off: None, evens_out: false }
    }

    /// Whether it moves a visitor.
    pub fn moves(&self) -> bool {
        self.told.is_some_and(|told| told.outcome == StickyOutcome::Moved)
    }
}

/// A session that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its id, or the hash of its value.
    pub session: u64,
    /// The backend that it is bound to from now on, by index.
    pub member: usize,
}

/// What came of a token, for counters and log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// What the request brought.
    pub token: StickyToken,
    /// What was done.
    pub outcome: StickyOutcome,
    /// Why a visitor was moved.
    pub cause: Option<MoveCause>,
}

impl Told {
    /// What was done, for the log: `none` where there is no session, and none was made.
    pub fn word(self) -> &'static str {
        match (self.token, self.outcome) {
            (
                StickyToken::None | StickyToken::Expired | StickyToken::Invalid,
                StickyOutcome::Kept,
            ) => "none",
            (_, outcome) => outcome.as_str(),
        }
    }
}

/// Backends that an exchange has tried in vain, by index.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried {
    list: [u32; Self::MOST],
    len: usize,
}

impl Tried {
    /// No exchange tries more often, whatever the file says.
    pub const MOST: usize = 16;

    /// Adds one.
    pub fn add(&mut self, member: usize) {
        if let (Some(place), Ok(member)) = (self.list.get_mut(self.len), u32::try_from(member)) {
            *place = member;
            self.len += 1;
        }
    }

    /// Whether it was tried.
    pub fn has(&self, member: usize) -> bool {
        self.list.iter().take(self.len).any(|tried| usize::try_from(*tried) == Ok(member))
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
