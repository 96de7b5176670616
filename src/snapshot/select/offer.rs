//! The backends that a choice is made from, as one attempt sees them.

use crate::backend::Standing;
use crate::balance::Candidates;

use super::View;

/// Those that a choice is made from.
pub(super) struct Offer<'a> {
    pub(super) view: View<'a>,
    pub(super) except: Option<usize>,
    /// Those below this limit of sessions; 0: all.
    pub(super) sessions: u32,
    /// Those with a place free; otherwise all.
    pub(super) room: bool,
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

    fn eligible(&self, index: usize) -> bool {
        let Some(member) = self.view.pool.members.get(index) else { return false };
        let fits = match member.backend.standing() {
            Standing::Open => true,
            Standing::BoundOnly => self.draining && self.weight(index) > 0,
            _ => false,
        };
        fits && self.except != Some(index)
            && !self.view.tried.has(index)
            && (!self.room || member.backend.has_room(self.view.visitor.called))
            && (self.sessions == 0 || !self.view.is_crowded(member, self.sessions))
    }
}
