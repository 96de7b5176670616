//! A pool as requests see it: its backends, its policy, and who goes where.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::backend::{Backend, Standing};
use crate::balance::{Candidates, Cursor, Policy, rendezvous};
use crate::config::model::{AdminState, Health, PoolConnections};
use crate::sticky::{Issue, Presented, Stickiness, Token};
use crate::telemetry::counters::{
    BackendCounters, MoveCause, PerWorker, PoolCounters, StickyOutcome, StickyToken,
};
use crate::telemetry::reason::Reason;
use crate::tls::client::ClientTls;

/// A named set of backends, compiled.
#[derive(Debug)]
pub struct Pool {
    /// Its place in `Snapshot::pools`.
    pub index: usize,
    /// Configured name.
    pub name: Arc<str>,
    /// `backend::name_hash` of the name, as tokens have it.
    pub hash: u64,
    /// Its number, the same in every generation that has a pool of this name.
    pub slot: usize,
    /// How a backend is picked.
    pub policy: Policy,
    /// In file order.
    pub members: Box<[Member]>,
    /// Sorted by hash: ids, and former ids of backends that were renamed.
    pub by_name: Box<[(u64, u32)]>,
    /// Present: visitors are kept on their backend.
    pub sticky: Option<Stickiness>,
    /// Present: TLS to the backends.
    pub tls: Option<Arc<ClientTls>>,
    /// Connections to each backend.
    pub connections: PoolConnections,
    /// Idle connections that one worker keeps to one backend.
    pub idle_per_worker: usize,
    /// Present: backends are checked.
    pub health: Option<Health>,
    /// Kept across generations.
    pub counters: Arc<PerWorker<PoolCounters>>,
}

/// A backend in its pool.
#[derive(Debug)]
pub struct Member {
    /// Who, where, and what it may be given.
    pub backend: Backend,
    /// Its configured host, for TLS.
    pub host: Box<str>,
    /// Number of its connections: another one after a change of address or TLS.
    pub slot: usize,
    /// Hashes of ids it had before it was renamed.
    pub former: Box<[u64]>,
    /// Kept across generations.
    pub counters: Arc<PerWorker<BackendCounters>>,
}

impl Member {
    /// Where to connect to.
    pub fn addresses(&self) -> Arc<Vec<SocketAddr>> {
        self.backend.state.addresses()
    }
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

/// Who asks for a backend.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// What the request brought.
    pub presented: Presented,
    /// The session of a sibling request that has no answer yet, to be joined.
    pub join: Option<Token>,
    /// Id of the session, should one begin: the same for all attempts of an exchange.
    pub fresh: u64,
    /// Unix seconds.
    pub now: u32,
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

/// The pool as a policy sees it in one attempt.
struct Offer<'a> {
    members: &'a [Member],
    tried: &'a Tried,
    except: Option<usize>,
}

impl Candidates for Offer<'_> {
    fn len(&self) -> usize {
        self.members.len()
    }

    fn weight(&self, index: usize) -> u32 {
        self.members.get(index).map_or(0, |member| member.backend.effective_weight())
    }

    fn in_flight(&self, index: usize) -> u32 {
        self.members.get(index).map_or(0, |member| member.backend.state.in_flight())
    }

    fn eligible(&self, index: usize) -> bool {
        self.except != Some(index)
            && self.members.get(index).is_some_and(|m| m.backend.standing() == Standing::Open)
            && !self.tried.has(index)
    }
}

impl Pool {
    /// The backend for the next attempt. Decides only: whoever gets an answer writes the cookie.
    ///
    /// # Errors
    /// Why the pool has nobody for this request.
    pub fn select(
        &self,
        visitor: &Visitor,
        tried: &Tried,
        cursor: &mut Cursor,
    ) -> Result<Choice, Reason> {
        let Some(sticky) = &self.sticky else {
            let offer = Offer { members: &self.members, tried, except: None };
            let member = self.policy.pick(&offer, cursor).ok_or_else(|| self.why_none())?;
            return Ok(Choice { member, issue: Issue::Nothing, told: None });
        };
        match visitor.presented {
            Presented::Valid(token) => self.bound(sticky, token, visitor, tried),
            Presented::None => self.unbound(StickyToken::None, visitor, tried, cursor),
            Presented::Expired(_) => self.unbound(StickyToken::Expired, visitor, tried, cursor),
            Presented::Invalid => self.unbound(StickyToken::Invalid, visitor, tried, cursor),
        }
    }

    /// A visitor whose token is in force.
    fn bound(
        &self,
        sticky: &Stickiness,
        token: Token,
        visitor: &Visitor,
        tried: &Tried,
    ) -> Result<Choice, Reason> {
        let home = sticky.is_of_pool(&token, self.hash).then(|| self.member_named(token.backend));
        let Some(index) = home.flatten() else {
            return self.moved(
                token,
                None,
                StickyToken::Unknown,
                MoveCause::Removed,
                visitor,
                tried,
            );
        };
        let backend = self.members.get(index).map(|member| &member.backend);
        let standing = backend.map_or(Standing::Down, Backend::standing);
        let cause = match standing {
            Standing::Maint => MoveCause::Maint,
            Standing::Down | Standing::Unchecked => MoveCause::Down,
            Standing::Open | Standing::BoundOnly if tried.has(index) => MoveCause::Down,
            Standing::Open | Standing::BoundOnly => {
                let draining = backend.is_some_and(|b| b.admin_state() == AdminState::Drain);
                let word = if draining { StickyToken::Draining } else { StickyToken::Valid };
                let renamed = backend.is_some_and(|b| b.name != token.backend);
                let refresh = renamed || sticky.refresh_due(&token, visitor.now);
                let (issue, outcome) = if refresh {
                    let mut token = token.touched(visitor.now);
                    if renamed && let Some(backend) = backend {
                        token = Token { backend: backend.name, pool: self.hash, ..token };
                    }
                    (Issue::Refresh(token), StickyOutcome::Refreshed)
                } else {
                    (Issue::Nothing, StickyOutcome::Kept)
                };
                let told = Some(Told { token: word, outcome, cause: None });
                return Ok(Choice { member: index, issue, told });
            }
        };
        self.moved(token, Some(index), StickyToken::Down, cause, visitor, tried)
    }

    /// The same session on another backend: by rendezvous of its id, so that parallel requests,
    /// workers and nodes with the same view agree and it moves once.
    fn moved(
        &self,
        token: Token,
        except: Option<usize>,
        word: StickyToken,
        cause: MoveCause,
        visitor: &Visitor,
        tried: &Tried,
    ) -> Result<Choice, Reason> {
        let (member, name) = self.by_rendezvous(token.session, except, tried)?;
        let issue = Issue::Move(token.moved(self.hash, name, visitor.now));
        let outcome = StickyOutcome::Moved;
        Ok(Choice { member, issue, told: Some(Told { token: word, outcome, cause: Some(cause) }) })
    }

    /// A visitor without a binding: by policy; or with the sibling whose session it joins; or,
    /// after a failed attempt, by rendezvous, so that siblings go on together.
    fn unbound(
        &self,
        word: StickyToken,
        visitor: &Visitor,
        tried: &Tried,
        cursor: &mut Cursor,
    ) -> Result<Choice, Reason> {
        let (member, token) = if let Some(token) = visitor.join {
            let home = self.member_named(token.backend).filter(|home| {
                !tried.has(*home)
                    && self.members.get(*home).is_some_and(|member| {
                        matches!(member.backend.standing(), Standing::Open | Standing::BoundOnly)
                    })
            });
            if let Some(home) = home {
                (home, token)
            } else {
                let (member, name) = self.by_rendezvous(token.session, None, tried)?;
                (member, token.moved(self.hash, name, visitor.now))
            }
        } else {
            let (member, name) = if tried.is_empty() {
                let offer = Offer { members: &self.members, tried, except: None };
                let member = self.policy.pick(&offer, cursor).ok_or_else(|| self.why_none())?;
                (member, self.members.get(member).map_or(0, |member| member.backend.name))
            } else {
                self.by_rendezvous(visitor.fresh, None, tried)?
            };
            (member, Token::begin(visitor.fresh, self.hash, name, visitor.now))
        };
        let told = Told { token: word, outcome: StickyOutcome::Bound, cause: None };
        Ok(Choice { member, issue: Issue::Bind(token), told: Some(told) })
    }

    fn by_rendezvous(
        &self,
        session: u64,
        except: Option<usize>,
        tried: &Tried,
    ) -> Result<(usize, u64), Reason> {
        let offer = Offer { members: &self.members, tried, except };
        let name = |index: usize| self.members.get(index).map_or(0, |member| member.backend.name);
        let member = rendezvous(session, &offer, name).ok_or_else(|| self.why_none())?;
        Ok((member, name(member)))
    }

    /// The member that a token names.
    pub fn member_named(&self, name: u64) -> Option<usize> {
        let place = self.by_name.binary_search_by_key(&name, |(hash, _)| *hash).ok()?;
        self.by_name.get(place).and_then(|(_, index)| usize::try_from(*index).ok())
    }

    /// The member of this id.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| &*member.backend.id == id)
    }

    /// Backends that take anybody.
    pub fn usable(&self) -> usize {
        self.members.iter().filter(|m| m.backend.standing() == Standing::Open).count()
    }

    /// Why nobody new can be served.
    pub fn why_none(&self) -> Reason {
        let any = |wanted: Standing| self.members.iter().any(|m| m.backend.standing() == wanted);
        if self.members.is_empty() {
            Reason::NoBackendEmpty
        } else if any(Standing::Down) {
            Reason::NoBackendDown
        } else if any(Standing::Unchecked) {
            Reason::NoBackendUnchecked
        } else if any(Standing::Open) {
            // Each of them was tried by this very exchange.
            Reason::NoBackendDown
        } else {
            Reason::NoBackendAdmin
        }
    }
}

#[cfg(test)]
mod tests;
