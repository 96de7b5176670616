//! Who goes where: one attempt's visitor, and the pool as it is at this moment.

mod bond;
mod elsewhere;
mod offer;
mod share;
mod tier;
mod value;
mod view;

use crate::backend::{Backend, Standing};
use crate::balance::{Cursor, rendezvous};
use crate::sticky::{By, Issue, OnDown, OnFull, Presented, Stickiness, Token};
use crate::telemetry::counters::{MoveCause, StickyOutcome, StickyToken};
use crate::telemetry::reason::Reason;

use super::choice::{Choice, Selected, Told, Tried, Visitor};
use super::pool::Pool;
use bond::Bond;
use offer::Offer;
use share::{Below, Shares};
use view::View;

impl Pool {
    /// The backend for the next attempt. Decides only: whoever gets an answer writes the cookie.
    /// `sticky`: how visitors are kept here; a route that binds in a scope of its own has its own.
    ///
    /// # Errors
    /// Why the pool has nobody for this request.
    pub fn select(
        &self,
        sticky: Option<&Stickiness>,
        visitor: &Visitor,
        tried: &Tried,
        cursor: &mut Cursor,
    ) -> Result<Selected, Reason> {
        let view = View::new(self, visitor, tried);
        let Some(sticky) = sticky else {
            return view.anyone(None, cursor).map(|place| match place {
                Some(member) => Selected::Now(Choice::new(member, Issue::Nothing, None, None)),
                None => Selected::Wait(None),
            });
        };
        let view = Kept { view, sticky };
        match visitor.presented {
            Presented::Valid(token) => view.bound(Bond::Token(token)),
            // A tunnel or a long transfer has kept it alive, though its cookie is old.
            Presented::Expired(token)
                if !token.is_look()
                    && !sticky.outlived(&token, visitor.now)
                    && self.state.sessions.find(token.session, visitor.now).is_some() =>
            {
                view.bound(Bond::Token(token))
            }
            Presented::Look(token) => view.look(&token),
            Presented::Value(value) if sticky.learns() => view.learned(value),
            Presented::Value(value) => view.hashed(value),
            Presented::None => view.unbound(StickyToken::None, cursor),
            Presented::Expired(_) => view.unbound(StickyToken::Expired, cursor),
            Presented::Invalid => view.unbound(StickyToken::Invalid, cursor),
        }
    }
}

/// A pool that keeps its visitors.
struct Kept<'a> {
    view: View<'a>,
    sticky: &'a Stickiness,
}

impl Kept<'_> {
    /// A visitor who is bound.
    fn bound(&self, bond: Bond) -> Result<Selected, Reason> {
        let pool = self.view.pool;
        let home = bond.home(pool, self.sticky);
        let Some((index, member)) = home.and_then(|i| pool.members.get(i).map(|m| (i, m))) else {
            let cause = self.view.visitor.evicted.unwrap_or(MoveCause::Removed);
            return self.moved(bond, None, StickyToken::Unknown, cause);
        };
        match member.backend.standing() {
            Standing::Maint => self.moved(bond, Some(index), StickyToken::Down, MoveCause::Maint),
            Standing::Gone => {
                self.moved(bond, Some(index), StickyToken::Unknown, MoveCause::Removed)
            }
            Standing::Open | Standing::BoundOnly if !self.view.tried.has(index) => {
                self.at_home(bond, index, &member.backend)
            }
            // Where nobody is up, nobody is better than the one that knows the visitor.
            _ if self.view.is_hope(&member.backend) && !self.view.tried.has(index) => {
                self.at_home(bond, index, &member.backend)
            }
            _ if self.sticky.on_down() == OnDown::Strict => Err(Reason::SessionBackendDown),
            _ => self.moved(bond, Some(index), StickyToken::Down, MoveCause::Down),
        }
    }

    /// A visitor whose backend serves.
    fn at_home(&self, bond: Bond, index: usize, backend: &Backend) -> Result<Selected, Reason> {
        let now = self.view.visitor.now;
        let word = if backend.is_draining() { StickyToken::Draining } else { StickyToken::Valid };
        if let Some((member, cause)) = self.has_moved(bond, index) {
            return self.go_if_free(bond, member, Some(member), (word, cause));
        }
        if let Some(cause) = self.called_away(bond, backend)
            && let Ok(selected) = self.moved(bond, Some(index), word, cause)
        {
            return Ok(match selected {
                Selected::Now(choice) if choice.moves() => {
                    Selected::Now(Choice { sent_off: Some(index), ..choice })
                }
                other => other,
            });
        }
        if let Some(lower) = self.lower_tier(bond, index) {
            return Ok(Selected::Now(self.go(bond, lower, StickyToken::Valid, MoveCause::Home)));
        }
        if let Some(home) = self.way_home(bond, index) {
            return Ok(Selected::Now(self.go(bond, home, StickyToken::Valid, MoveCause::Home)));
        }
        if let Some(member) = self.evened_out(bond, index) {
            let choice = self.go(bond, member, StickyToken::Valid, MoveCause::Rebalance);
            return Ok(Selected::Now(Choice { evens_out: true, ..choice }));
        }
        if !backend.has_room(self.view.visitor.called) {
            match self.sticky.on_full() {
                OnFull::Wait if !self.view.visitor.spill => return Ok(Selected::Wait(Some(index))),
                OnFull::Wait | OnFull::Spill => return self.spilled(bond, index, Some(index)),
                OnFull::Reject => return Err(Reason::SessionBackendFull),
                OnFull::Rebind => {
                    return self.moved(bond, Some(index), StickyToken::Full, MoveCause::Full);
                }
            }
        }
        let (mut issue, mut outcome) =
            bond.kept(self.view.pool.hash, backend.name, self.sticky, now);
        if backend.is_draining() && backend.state.drain.is_over(now) {
            // There is nobody else, but it is not to stay here for longer.
            (issue, outcome) = (Issue::Nothing, StickyOutcome::Kept);
        }
        let told = Some(Told { token: word, outcome, cause: None });
        Ok(Selected::Now(Choice::new(index, issue, told, Some(bond.seen(index)))))
    }

    /// Where the session is by now, for one of its requests that still brings the old cookie: only
    /// a visitor who was quiet or idle is moved from a backend that goes on serving.
    fn has_moved(&self, bond: Bond, index: usize) -> Option<(usize, MoveCause)> {
        let (pool, now) = (self.view.pool, self.view.visitor.now);
        let member = pool.members.get(index)?;
        let quiet = member.backend.is_draining() && member.backend.state.drain.quiet().is_some();
        let rebalances = self.sticky.rebalance_idle().is_some() && self.is_own(bond);
        if !quiet && !rebalances {
            return None;
        }
        let seat = bond.seated_elsewhere(&pool.state.sessions, member.seat.as_deref(), now)?;
        let other = pool.member_named(pool.state.sessions.seat_backend(seat)?)?;
        let serves = self.view.backend(other)?.standing() == Standing::Open;
        let cause = if quiet { MoveCause::Quiet } else { MoveCause::Rebalance };
        (serves && !self.view.tried.has(other)).then_some((other, cause))
    }

    /// Why the drain of its backend wants it to go now.
    fn called_away(&self, bond: Bond, backend: &Backend) -> Option<MoveCause> {
        if !backend.is_draining() {
            return None;
        }
        let now = self.view.visitor.now;
        let drain = &backend.state.drain;
        if drain.is_over(now) {
            return Some(MoveCause::Deadline);
        }
        let quiet = drain.quiet()?;
        let last = bond.last_seen(&self.view.pool.state.sessions, now);
        (now.saturating_sub(last) >= quiet).then_some(MoveCause::Quiet)
    }

    /// Whether it says what this pool knows: another pool of the scope, which has written it since,
    /// may have had other reasons.
    fn is_own(&self, bond: Bond) -> bool {
        match bond {
            Bond::Token(token) => self.sticky.is_of_pool(&token, self.view.pool.hash),
            Bond::Value { .. } => true,
        }
    }

    /// The home of a visitor who was served elsewhere, once it has been well for long enough.
    fn way_home(&self, bond: Bond, index: usize) -> Option<usize> {
        let Bond::Token(token) = bond else { return None };
        let returns = self.sticky.on_down() == OnDown::ReturnHome && self.is_own(bond);
        if !returns || token.home == token.backend {
            return None;
        }
        let home = self.view.pool.member_named(token.home).filter(|home| *home != index)?;
        let backend = self.view.backend(home)?;
        let well = backend.state.well_for(self.view.visitor.now) >= self.sticky.home_stable();
        let takes = backend.standing() == Standing::Open
            && backend.state.outcomes.takes_new()
            && backend.has_room(false);
        let held_back = self.view.tier.is_some_and(|tier| backend.tier < tier);
        (well && takes && !held_back && !self.view.tried.has(home)).then_some(home)
    }

    /// Another backend for a visitor who was idle long enough to be moved, where its own has more
    /// than its share of the pool's sessions and the other one has less.
    fn evened_out(&self, bond: Bond, index: usize) -> Option<usize> {
        let Bond::Token(token) = bond else { return None };
        let (pool, now) = (self.view.pool, self.view.visitor.now);
        let idle = self.sticky.rebalance_idle()?;
        let since = now.saturating_sub(bond.last_seen(&pool.state.sessions, now));
        let may = self.view.visitor.plain && self.is_own(bond) && pool.state.may_move();
        if !may || since < idle {
            return None;
        }
        let shares = Shares::of(pool, self.view.tier, now);
        if !shares.above(index) {
            return None;
        }
        let offer = Offer { except: Some(index), ..self.view.offer() };
        let below = Below { offer: &offer, shares: &shares };
        rendezvous(token.session, &below, |index| self.view.name(index))
    }

    /// The same session on another backend: by rendezvous of its id, so that parallel requests,
    /// workers and nodes with the same view agree and it moves once.
    fn moved(
        &self,
        bond: Bond,
        except: Option<usize>,
        word: StickyToken,
        cause: MoveCause,
    ) -> Result<Selected, Reason> {
        let (member, _) = self.by_rendezvous(bond.session(), except, true)?;
        self.go_if_free(bond, member, except, (word, cause))
    }

    /// To this backend, or what the pool does where that is full; `home`: as of [`Self::spilled`].
    fn go_if_free(
        &self,
        bond: Bond,
        member: usize,
        home: Option<usize>,
        (word, cause): (StickyToken, MoveCause),
    ) -> Result<Selected, Reason> {
        let full = !self.has_room(member);
        if full && !self.view.visitor.spill && self.sticky.on_full() != OnFull::Spill {
            return Ok(Selected::Wait(Some(member)));
        }
        if full {
            return self.spilled(bond, member, home);
        }
        Ok(Selected::Now(self.go(bond, member, word, cause)))
    }

    fn go(&self, bond: Bond, member: usize, token: StickyToken, cause: MoveCause) -> Choice {
        let (pool, name) = (self.view.pool.hash, self.view.name(member));
        let issue = bond.moved(pool, name, cause, self.view.visitor.now);
        let told = Some(Told { token, outcome: StickyOutcome::Moved, cause: Some(cause) });
        Choice::new(member, issue, told, Some(bond.seen(member)))
    }

    /// Elsewhere than at a full backend, this once: the binding stays as it is, with `home` if
    /// that is still there.
    fn spilled(&self, bond: Bond, full: usize, home: Option<usize>) -> Result<Selected, Reason> {
        let offer = Offer { except: Some(full), ..self.view.offer() };
        let name = |index| self.view.name(index);
        let Some(member) = rendezvous(bond.session(), &offer, name) else {
            return if self.view.visitor.spill {
                Err(Reason::QueueTimeout)
            } else {
                Ok(Selected::Wait(None))
            };
        };
        let (token, outcome) = (StickyToken::Full, StickyOutcome::Spilled);
        let told = Some(Told { token, outcome, cause: None });
        let issue = Issue::Nothing;
        let seen = home.map(|home| bond.seen(home));
        Ok(Selected::Now(Choice::new(member, issue, told, seen)))
    }

    /// A visitor without a binding: by policy; or with the sibling whose session it joins; or,
    /// after a failed attempt, by rendezvous, so that siblings go on together.
    fn unbound(&self, word: StickyToken, cursor: &mut Cursor) -> Result<Selected, Reason> {
        let Visitor { join, fresh, now, .. } = *self.view.visitor;
        let pool = self.view.pool;
        let (member, token) = if let Some(token) = join {
            let here = self.sticky.binds_in(&token, pool.hash);
            let home = here.then(|| pool.member_named(token.backend)).flatten().filter(|home| {
                let serves = |backend: &Backend| {
                    matches!(backend.standing(), Standing::Open | Standing::BoundOnly)
                        || self.view.is_hope(backend)
                };
                !self.view.tried.has(*home) && self.view.backend(*home).is_some_and(serves)
            });
            if let Some(home) = home {
                (home, token)
            } else {
                let (member, name) = self.by_rendezvous(token.session, None, true)?;
                (member, token.moved(pool.hash, name, now))
            }
        } else {
            let (member, name) = if self.view.tried.is_empty() {
                let Some(member) = self.view.anyone(Some(self.sticky), cursor)? else {
                    return Ok(Selected::Wait(None));
                };
                (member, self.view.name(member))
            } else {
                self.by_rendezvous(fresh, None, false)?
            };
            (member, Token::begin(fresh, pool.hash, name, now))
        };
        if !self.has_room(member) {
            return Ok(Selected::Wait(Some(member)));
        }
        let told = Some(Told { token: word, outcome: StickyOutcome::Bound, cause: None });
        // Values are made by clients and backends: without one there is nothing to bind by.
        let by_cookie = *self.sticky.by() == By::Cookie;
        let (issue, told) =
            if by_cookie { (Issue::Bind(token), told) } else { (Issue::Nothing, None) };
        Ok(Selected::Now(Choice::new(member, issue, told, None)))
    }

    /// By rendezvous over those that take anybody. `bound`: served also where all have as many
    /// sessions as they should.
    fn by_rendezvous(
        &self,
        session: u64,
        except: Option<usize>,
        bound: bool,
    ) -> Result<(usize, u64), Reason> {
        let name = |index: usize| self.view.name(index);
        let sessions = self.sticky.max_sessions();
        let offer = Offer { except, sessions, room: false, ..self.view.offer() };
        let member = rendezvous(session, &offer, name);
        let member =
            member.or_else(|| rendezvous(session, &Offer { ejected: true, ..offer }, name));
        let any = || rendezvous(session, &Offer { sessions: 0, ejected: true, ..offer }, name);
        match member.or_else(|| if bound { any() } else { None }) {
            Some(member) => Ok((member, name(member))),
            None if any().is_some() => Err(Reason::PoolFull),
            None => Err(self.view.pool.why_none()),
        }
    }

    fn has_room(&self, member: usize) -> bool {
        let called = self.view.visitor.called;
        self.view.backend(member).is_some_and(|backend| backend.has_room(called))
    }
}

#[cfg(test)]
mod tests;
