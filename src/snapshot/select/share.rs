//! How many sessions each backend has, beside the share that its weight gives it.

use crate::backend::Standing;
use crate::balance::Candidates;

use super::super::pool::{Member, Pool};
use super::Offer;

/// Sessions and weights of the backends that take anybody, in all.
pub(super) struct Shares<'a> {
    pool: &'a Pool,
    tier: Option<u8>,
    now: u32,
    sessions: u64,
    weights: u64,
}

impl<'a> Shares<'a> {
    /// As they are now (Unix seconds), in the tier that serves, if there are tiers.
    pub(super) fn of(pool: &'a Pool, tier: Option<u8>, now: u32) -> Self {
        let mut shares = Self { pool, tier, now, sessions: 0, weights: 0 };
        for member in pool.members.iter().filter(|m| m.backend.standing() == Standing::Open) {
            if tier.is_some_and(|tier| tier != member.backend.tier) {
                continue;
            }
            shares.sessions += shares.count(member);
            shares.weights += u64::from(member.backend.hundredths());
        }
        shares
    }

    /// Whether a backend has clearly more than its share, and still has it with one less: small
    /// differences are never evened out, or sessions would move for ever.
    pub(super) fn above(&self, index: usize) -> bool {
        self.compare(index).is_some_and(|(has, due)| {
            has.saturating_sub(self.weights) >= due
                && has.saturating_mul(10) > due.saturating_mul(11)
        })
    }

    /// Whether a backend has no more than its share with one more.
    fn below(&self, index: usize) -> bool {
        self.compare(index).is_some_and(|(has, due)| has.saturating_add(self.weights) <= due)
    }

    /// What it has and what it is due, on one scale.
    fn compare(&self, index: usize) -> Option<(u64, u64)> {
        let member = self.pool.members.get(index)?;
        if self.tier.is_some_and(|tier| tier != member.backend.tier) {
            return None;
        }
        let weight = u64::from(member.backend.hundredths());
        let has = self.count(member).saturating_mul(self.weights);
        Some((has, self.sessions.saturating_mul(weight)))
    }

    fn count(&self, member: &Member) -> u64 {
        let tally = |seat| self.pool.state.sessions.tally(seat, self.now).sessions;
        member.seat.as_deref().map_or(0, tally)
    }
}

/// Those of an offer that have less than their share.
pub(super) struct Below<'a> {
    pub(super) offer: &'a Offer<'a>,
    pub(super) shares: &'a Shares<'a>,
}

impl Candidates for Below<'_> {
    fn len(&self) -> usize {
        self.offer.len()
    }

    fn weight(&self, index: usize) -> u32 {
        self.offer.weight(index)
    }

    fn in_flight(&self, index: usize) -> u32 {
        self.offer.in_flight(index)
    }

    fn eligible(&self, index: usize) -> bool {
        self.offer.eligible(index) && self.shares.below(index)
    }
}
