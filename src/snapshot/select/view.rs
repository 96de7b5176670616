//! The pool as one attempt sees it, and the choice by its policy.

use crate::backend::{Backend, Standing};
use crate::balance::{Candidates as _, Cursor};
use crate::sticky::Stickiness;
use crate::telemetry::reason::Reason;

use super::super::choice::{Tried, Visitor};
use super::super::pool::{Member, Pool};
use super::offer::Offer;

/// The pool as one attempt sees it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) pool: &'a Pool,
    pub(super) visitor: &'a Visitor,
    pub(super) tried: &'a Tried,
    /// The tier that serves who is not bound; none where the pool has no tiers.
    pub(super) tier: Option<u8>,
}

impl<'a> View<'a> {
    pub(super) fn new(pool: &'a Pool, visitor: &'a Visitor, tried: &'a Tried) -> Self {
        let view = Self { pool, visitor, tried, tier: None };
        if pool.failback.is_none() {
            return view;
        }
        let left = |index: usize| !tried.has(index);
        let open = |member: &Member| member.backend.standing() == Standing::Open;
        let well = |member: &Member| open(member) && member.backend.state.outcomes.takes_new();
        let tier = pool
            .tier_among(|index, member| well(member) && left(index))
            .or_else(|| pool.tier_among(|index, member| open(member) && left(index)))
            .or_else(|| pool.tier_among(|at, member| view.is_hope(&member.backend) && left(at)));
        Self { tier, ..view }
    }

    /// Whether a backend's tier is the one that serves who is not bound.
    pub(super) fn in_tier(self, backend: &Backend) -> bool {
        self.tier.is_none_or(|tier| tier == backend.tier)
    }

    pub(super) fn offer(self) -> Offer<'a> {
        Offer { view: self, except: None, sessions: 0, room: true, ejected: false, draining: false }
    }

    pub(super) fn is_crowded(&self, member: &Member, most: u32) -> bool {
        let Some(seat) = &member.seat else { return false };
        let tally = self.pool.state.sessions.tally(seat, self.visitor.now);
        member.backend.state.is_crowded(tally.sessions, most)
    }

    /// By policy; nobody where the turn must be waited for. `sticky`: for a visitor who stays.
    pub(super) fn anyone(
        &self,
        sticky: Option<&Stickiness>,
        cursor: &mut Cursor,
    ) -> Result<Option<usize>, Reason> {
        let sessions = sticky.map_or(0, Stickiness::max_sessions);
        let offer = Offer { sessions, ..self.offer() };
        let limited = self.pool.limited && !self.visitor.called && self.pool.state.queue.anyone();
        // Who came before waits for any place: nobody passes by.
        if !limited {
            let picked = self.pool.policy.pick(&offer, cursor);
            // Rather one that fails now and then than nobody.
            let any = Offer { ejected: true, ..offer };
            if let Some(member) = picked.or_else(|| self.pool.policy.pick(&any, cursor)) {
                return Ok(Some(member));
            }
        }
        self.wait(sessions).map(|()| None)
    }

    /// Whether waiting makes sense: somebody would do but for the requests it has already.
    pub(super) fn wait(&self, sessions: u32) -> Result<(), Reason> {
        let any = |offer: &Offer<'_>| (0..offer.len()).any(|index| offer.eligible(index));
        let full = Offer { room: false, ejected: true, ..self.offer() };
        if any(&Offer { sessions, ..full }) {
            Ok(())
        } else if any(&full) {
            Err(Reason::PoolFull)
        } else {
            Err(self.pool.why_none())
        }
    }

    pub(super) fn name(&self, index: usize) -> u64 {
        self.pool.members.get(index).map_or(0, |member| member.backend.name)
    }

    /// Whether nobody is up, and this one may serve all the same.
    pub(super) fn is_hope(self, backend: &Backend) -> bool {
        self.visitor.desperate
            && matches!(backend.standing(), Standing::Down | Standing::Unchecked)
            && backend.state.resolved()
    }

    pub(super) fn backend(&self, index: usize) -> Option<&'a Backend> {
        self.pool.members.get(index).map(|member| &member.backend)
    }
}
