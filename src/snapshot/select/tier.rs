//! The bound of a pool whose backends stand in tiers, when a lower tier serves again.

use crate::backend::{Backend, Standing};
use crate::balance::rendezvous;
use crate::config::model::Failback;
use crate::sticky::OnDown;

use super::Kept;
use super::bond::Bond;

impl Kept<'_> {
    /// A backend of the lower tier that is in force again, for a visitor bound to this one of a
    /// higher: its home where that takes it, else the one that all its requests agree on.
    pub(super) fn lower_tier(&self, bond: Bond, index: usize) -> Option<usize> {
        if !self.leaves_tier(index) {
            return None;
        }
        let home = match bond {
            Bond::Token(token) if self.is_own(bond) => self.view.pool.member_named(token.home),
            Bond::Token(_) | Bond::Value { .. } => None,
        };
        let takes = |home: &usize| {
            self.view.backend(*home).is_some_and(|backend| {
                backend.standing() == Standing::Open
                    && self.view.in_tier(backend)
                    && backend.state.outcomes.takes_new()
                    && backend.has_room(self.view.visitor.called)
                    && !self.view.tried.has(*home)
            })
        };
        home.filter(takes).or_else(|| {
            let name = |index: usize| self.view.name(index);
            rendezvous(bond.session(), &self.view.offer(), name)
        })
    }

    /// Whether a backend's visitors leave it for a lower tier.
    pub(super) fn leaves_tier(&self, index: usize) -> bool {
        let (Some(failback), Some(tier)) = (self.view.pool.failback, self.view.tier) else {
            return false;
        };
        // Who may not be moved when its backend is down is not moved for less.
        failback != Failback::NewSessions
            && self.sticky.on_down() != OnDown::Strict
            && self.view.backend(index).is_some_and(|backend| backend.tier > tier)
    }

    /// Whether a backend keeps those who are bound to it by a value, though another tier serves.
    pub(super) fn keeps_in_tier(&self, index: usize) -> bool {
        let other = |backend: &Backend| !self.view.in_tier(backend);
        self.view.backend(index).is_some_and(other)
            && !self.leaves_tier(index)
            && !self.view.tried.has(index)
    }
}
