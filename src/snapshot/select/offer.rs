//! The backends that a choice is made from, as one attempt sees them.

use crate::backend::Standing;
use crate::backend::slow_start::FULL;
use crate::balance::{Candidates, Hashed};

use super::View;

/// Those that a choice is made from.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    pub(super) view: View<'a>,
    pub(super) except: Option<usize>,
    /// Those below this limit of sessions; 0: all.
    pub(super) sessions: u32,
    /// Those with a place free; otherwise all.
    pub(super) room: bool,
    /// Also those that are ejected for what real traffic says of them.
    pub(super) ejected: bool,
    /// Those that anybody may go to; otherwise those that drain, too.
    pub(super) draining: bool,
}

impl Candidates for Offer<'_> {
    fn len(&self) -> usize {
        self.view.pool.members.len()
    }

    fn weight(&self, index: usize) -> u32 {
        self.view.pool.members.get(index).map_or(0, |member| member.backend.hundredths())
    }

    fn in_flight(&self, index: usize) -> u32 {
        self.view.pool.members.get(index).map_or(0, |member| member.backend.state.in_flight())
    }

    fn factor(&self, index: usize) -> u32 {
        let Some(ramp) = self.view.pool.slow_start else { return FULL };
        let cold = self.view.pool.members.get(index).map_or(0, |it| it.backend.state.cold_since());
        if cold == 0 {
            return FULL;
        }
        ramp.factor(u64::from(self.view.visitor.now.saturating_sub(cold)) * 1000)
    }

    fn fitness(&self, index: usize) -> u32 {
        self.view.pool.members.get(index).map_or(FULL, |it| it.backend.state.outcomes.factor())
    }

    fn latency(&self, index: usize) -> Option<u64> {
        let member = self.view.pool.members.get(index)?;
        member.backend.state.latency.value(u64::from(self.view.visitor.now) * 1000)
    }

    fn hashed(&self) -> Option<Hashed<'_>> {
        let (_, table) = self.view.pool.hashing.as_ref()?;
        Some(Hashed { table, key: self.view.visitor.key? })
    }

    fn eligible(&self, index: usize) -> bool {
        let Some(member) = self.view.pool.members.get(index) else { return false };
        let fits = match member.backend.standing() {
            Standing::Open => true,
            Standing::Down | Standing::Unchecked => {
                self.view.visitor.desperate && member.backend.state.resolved()
            }
            Standing::BoundOnly => self.draining && self.weight(index) > 0,
            _ => false,
        };
        fits && self.except != Some(index)
            && self.view.in_tier(&member.backend)
            && (self.ejected
                || self.view.visitor.desperate
                || member.backend.state.outcomes.takes_new())
            && !self.view.tried.has(index)
            && (!self.room || member.backend.has_room(self.view.visitor.called))
            && (self.sessions == 0 || !self.view.is_crowded(member, self.sessions))
    }
}
