//! Visitors who are known by a value of their own, or of a backend's; and an operator's look.

use crate::backend::{Backend, Standing};
use crate::balance::{rendezvous, rendezvous_bounded};
use crate::sticky::{Issue, OnDown, OnFull, Token};
use crate::telemetry::counters::{MoveCause, StickyOutcome, StickyToken};
use crate::telemetry::reason::Reason;

use super::super::choice::{Choice, Seen, Selected, Told};
use super::bond::Bond;
use super::{Kept, Offer};

impl Kept<'_> {
    /// A value that a backend has made: where it was learned.
    pub(super) fn learned(&self, value: u64) -> Result<Selected, Reason> {
        let now = self.view.visitor.now;
        let Some(found) = self.view.pool.state.sessions.find(value, now) else {
            // Nobody here knows it: at least all its requests go to one backend.
            let (member, _) = self.by_rendezvous(value, None, false)?;
            if !self.has_room(member) {
                return Ok(Selected::Wait(Some(member)));
            }
            let (token, outcome) = (StickyToken::Unknown, StickyOutcome::Bound);
            let told = Some(Told { token, outcome, cause: None });
            let issue = Issue::Nothing;
            return Ok(Selected::Now(Choice::new(member, issue, told, None)));
        };
        self.bound(Bond::Value { value, seat: found.seat, last_seen: found.last_seen })
    }

    /// A value that the client has made: by its hash, the same on every node. Those that a
    /// draining backend knows stay there.
    pub(super) fn hashed(&self, value: u64) -> Result<Selected, Reason> {
        let (pool, now) = (self.view.pool, self.view.visitor.now);
        let found = pool.state.sessions.find(value, now);
        let bond =
            found.map(|found| Bond::Value { value, seat: found.seat, last_seen: found.last_seen });
        let there = bond.and_then(|bond| bond.home(pool, self.sticky));
        let standing = there.and_then(|there| self.view.backend(there)).map(Backend::standing);
        let stays = match (bond, there, standing) {
            (Some(bond), Some(_), Some(Standing::BoundOnly)) => Some(bond),
            // One of another tier than serves now keeps those whom it knows.
            (Some(bond), Some(there), Some(Standing::Open)) if self.keeps_in_tier(there) => {
                Some(bond)
            }
            // Above what the table can hold, whoever belongs to a draining backend may be bound
            // to it: nobody is sent away for that we do not know.
            (None, ..) if pool.state.sessions.samples() => self.draining_owner(value),
            _ => None,
        };
        if let Some(bond) = stays {
            return self.bound(bond);
        }
        let tried = there.is_some_and(|there| self.view.tried.has(there));
        if self.sticky.on_down() == OnDown::Strict && (tried || standing == Some(Standing::Down)) {
            return Err(Reason::SessionBackendDown);
        }
        let sessions = if there.is_some() { 0 } else { self.sticky.max_sessions() };
        let offer = Offer { room: false, sessions, ..self.view.offer() };
        let name = |index| self.view.name(index);
        let any = || rendezvous_bounded(value, &Offer { ejected: true, ..offer }, name);
        let Some(member) = rendezvous_bounded(value, &offer, name).or_else(any) else {
            let all = Offer { sessions: 0, ejected: true, ..offer };
            let full = rendezvous(value, &all, name).is_some();
            return Err(if full { Reason::PoolFull } else { pool.why_none() });
        };
        if !self.has_room(member) {
            return self.hashed_elsewhere(value, member, there, sessions);
        }
        // Sent on for a moment, because its backend has more than its share of requests.
        let crowded_out = || there == rendezvous(value, &offer, name);
        let moved = |token, cause| (token, StickyOutcome::Moved, Some(cause));
        let (token, outcome, cause) = match (there, standing) {
            (Some(there), _) if there == member => (StickyToken::Valid, StickyOutcome::Kept, None),
            (Some(_), _) if tried => moved(StickyToken::Down, MoveCause::Down),
            (Some(there), Some(Standing::Open)) if self.leaves_tier(there) => {
                moved(StickyToken::Valid, MoveCause::Home)
            }
            (Some(_), Some(Standing::Open)) if crowded_out() => {
                (StickyToken::Full, StickyOutcome::Spilled, None)
            }
            (Some(_), Some(Standing::Open)) => moved(StickyToken::Valid, MoveCause::Rebalance),
            (Some(_), Some(Standing::Maint)) => moved(StickyToken::Down, MoveCause::Maint),
            (Some(_), Some(Standing::Gone)) => moved(StickyToken::Unknown, MoveCause::Removed),
            (Some(_), _) => moved(StickyToken::Down, MoveCause::Down),
            (None, _) if bond.is_some() => moved(StickyToken::Unknown, MoveCause::Removed),
            (None, _) => (StickyToken::None, StickyOutcome::Bound, None),
        };
        let told = Some(Told { token, outcome, cause });
        let home = if outcome == StickyOutcome::Spilled { there } else { Some(member) };
        let seen = home.map(|member| Seen { session: value, member });
        Ok(Selected::Now(Choice::new(member, Issue::Nothing, told, seen)))
    }

    /// A value whose backend is at its limit. There is no binding that could change: `rebind` is
    /// as `spill`.
    fn hashed_elsewhere(
        &self,
        value: u64,
        full: usize,
        there: Option<usize>,
        sessions: u32,
    ) -> Result<Selected, Reason> {
        let spill = self.view.visitor.spill;
        match self.sticky.on_full() {
            OnFull::Wait if !spill => return Ok(Selected::Wait(Some(full))),
            OnFull::Reject if there.is_some() => return Err(Reason::SessionBackendFull),
            OnFull::Wait | OnFull::Reject | OnFull::Spill | OnFull::Rebind => {}
        }
        let offer = Offer { sessions, ..self.view.offer() };
        let Some(member) = rendezvous_bounded(value, &offer, |index| self.view.name(index)) else {
            return if spill { Err(Reason::QueueTimeout) } else { Ok(Selected::Wait(None)) };
        };
        let (token, outcome) = match there {
            Some(_) => (StickyToken::Full, StickyOutcome::Spilled),
            None => (StickyToken::None, StickyOutcome::Spilled),
        };
        let told = Some(Told { token, outcome, cause: None });
        let seen = there.map(|member| Seen { session: value, member });
        Ok(Selected::Now(Choice::new(member, Issue::Nothing, told, seen)))
    }

    /// The bond with a draining backend that would own the value, did it not drain.
    fn draining_owner(&self, value: u64) -> Option<Bond> {
        let all = Offer { room: false, draining: true, ejected: true, ..self.view.offer() };
        let owner = rendezvous(value, &all, |index| self.view.name(index))?;
        let member = self.view.pool.members.get(owner)?;
        let seat = member.seat.as_ref()?.index();
        let drains = member.backend.standing() == Standing::BoundOnly;
        drains.then_some(Bond::Value { value, seat, last_seen: self.view.visitor.now })
    }

    /// An operator's look at one backend, whatever holds for visitors: never at another one.
    pub(super) fn look(&self, token: &Token) -> Result<Selected, Reason> {
        let pool = self.view.pool;
        let named = self.sticky.is_of_pool(token, pool.hash);
        let member = named.then(|| pool.member_named(token.backend)).flatten();
        let member = member.filter(|member| !self.view.tried.has(*member));
        let member = member.ok_or(Reason::SessionBackendDown)?;
        let (token, outcome) = (StickyToken::Valid, StickyOutcome::Kept);
        let told = Some(Told { token, outcome, cause: None });
        Ok(Selected::Now(Choice::new(member, Issue::Nothing, told, None)))
    }
}
