//! Where a route forwards to: one pool, or several that share its visitors by weight.

use std::sync::Arc;

use crate::sticky::{Presented, Stickiness, Token};

use super::Pool;
use super::choice::Visitor;

/// A route's pools, and how it keeps visitors.
#[derive(Debug)]
pub struct Forward {
    shares: Box<[Share]>,
    /// Present: it binds in a scope of its own, not in that of its pool.
    sticky: Option<Arc<Stickiness>>,
}

/// A pool's share of a route's new visitors.
#[derive(Debug)]
pub struct Share {
    /// The pool.
    pub pool: Arc<Pool>,
    /// 0: nobody new.
    pub weight: u32,
}

impl Forward {
    /// To these pools; none where there is no pool at all.
    pub fn new(shares: Vec<Share>, sticky: Option<Arc<Stickiness>>) -> Option<Self> {
        (!shares.is_empty()).then(|| Self { shares: shares.into(), sticky })
    }

    /// The pools, in file order.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// How visitors are kept here, if they are.
    pub fn sticky(&self) -> Option<&Arc<Stickiness>> {
        self.sticky.as_ref().or_else(|| self.shares.first()?.pool.sticky.as_ref())
    }

    /// The pool for a visitor: the one its token names, whatever the weights are now; else one
    /// drawn by weight from those that can serve, by its value if it has one.
    pub fn choose(&self, visitor: &Visitor) -> Option<&Arc<Pool>> {
        match &*self.shares {
            [only] => Some(&only.pool),
            shares => {
                let of = |token: &Token| shares.iter().find(|it| it.pool.hash == token.pool);
                let bound = match &visitor.presented {
                    // An old cookie holds while its session is known to be alive.
                    Presented::Expired(token) => of(token).filter(|share| {
                        share.pool.state.sessions.find(token.session, visitor.now).is_some()
                    }),
                    _ => visitor.token().and_then(of),
                };
                // A value chooses its backend by rendezvous, which mixes it with the names: what is
                // left of it here says nothing about the backend. `hash_on` has a key of its own.
                let number = match visitor.presented {
                    Presented::Value(value) => value,
                    _ => visitor.fresh,
                };
                let drawn = || {
                    draw(shares, number, |share| share.pool.usable() > 0)
                        .or_else(|| draw(shares, number, |_| true))
                };
                bound.or_else(drawn).or_else(|| shares.first()).map(|share| &share.pool)
            }
        }
    }

    /// Another pool that can serve, for a visitor whose own cannot. `session`: the same one for
    /// all its requests.
    pub fn another(&self, than: &Pool, session: u64) -> Option<&Arc<Pool>> {
        let can = |share: &Share| share.pool.slot != than.slot && share.pool.usable() > 0;
        draw(&self.shares, session, can).map(|share| &share.pool)
    }
}

/// One of the shares that fit, by weight.
fn draw(shares: &[Share], random: u64, fits: impl Fn(&Share) -> bool) -> Option<&Share> {
    let open = || shares.iter().filter(|share| share.weight > 0 && fits(share));
    let total: u64 = open().map(|share| u64::from(share.weight)).sum();
    let mut left = random.checked_rem(total)?;
    open().find(|share| {
        let weight = u64::from(share.weight);
        let found = left < weight;
        left = left.saturating_sub(weight);
        found
    })
}
