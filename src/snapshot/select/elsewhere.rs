//! Who goes to another pool because this one has too few backends for new visitors.

use crate::sticky::{Presented, Stickiness};

use super::super::choice::Visitor;
use super::super::pool::Pool;

impl Pool {
    /// The pool (by its place in the snapshot) that takes this visitor while the quorum of this one
    /// is lost; none for who is bound here, by a token, a value, or a sibling that begins.
    pub fn elsewhere(&self, sticky: Option<&Stickiness>, visitor: &Visitor) -> Option<usize> {
        let quorum = self.quorum.as_ref()?;
        let goes = self.state.is_short() && !self.is_bound(sticky, visitor);
        goes.then_some(quorum.pool)
    }

    fn is_bound(&self, sticky: Option<&Stickiness>, visitor: &Visitor) -> bool {
        if sticky.is_none() {
            return false;
        }
        let sessions = &self.state.sessions;
        match visitor.presented {
            Presented::Valid(_) | Presented::Look(_) => true,
            Presented::Expired(token) => sessions.find(token.session, visitor.now).is_some(),
            // Above what the table can hold, who is not in it may be bound all the same.
            Presented::Value(value) => {
                sessions.samples() || sessions.find(value, visitor.now).is_some()
            }
            Presented::None | Presented::Invalid => visitor.join.is_some(),
        }
    }
}
