//! A pool as requests see it: its backends, its policy, its sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::choice::Visitor;
use super::pool_state::PoolState;
use crate::backend::outlier::{Tally, Terms};
use crate::backend::slow_start::Ramp;
use crate::backend::tier::serving;
use crate::backend::{Backend, Standing};
use crate::balance::{Maglev, Policy};
use crate::config::model::{
    Concurrency, Failback, HashOn, Health, OnRemove, PoolConnections, Queue, Quorum, Rebalance,
};
use crate::net::proxy_header::{self, Version};
use crate::route::action::RespondPlan;
use crate::sticky::count::Seat;
use crate::sticky::{Presented, Stickiness};
use crate::telemetry::counters::{BackendCounters, PerWorker, PoolCounters};
use crate::telemetry::reason::Reason;
use crate::tls::client::ClientTls;
use crate::upstream::idle::Keep;

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
    pub sticky: Option<Arc<Stickiness>>,
    /// Whether some backend has a limit of requests.
    pub limited: bool,
    /// Present: how many requests a backend has at once follows how long it takes to answer.
    pub concurrency: Option<Concurrency>,
    /// What is done where nobody serves.
    pub when_all_down: WhenAllDown,
    /// Present: its backends stand in tiers, and this is how a lower one comes back.
    pub failback: Option<Failback>,
    /// Present: with too few usable backends, new visitors go to another pool.
    pub quorum: Option<Quorum>,
    /// Present: backends that fail real traffic are ejected.
    pub ejection: Option<Terms>,
    /// Present: who comes up is given its share little by little.
    pub slow_start: Option<Ramp>,
    /// Present: the policy hashes, by this of a request.
    pub hashing: Option<(HashOn, Maglev)>,
    /// How many may wait for a place at backends that are at their limit, and how long.
    pub queue: Queue,
    /// What becomes of a sticky pool's backends that leave the file.
    pub on_remove: OnRemove,
    /// How fast sessions may be moved to even out the pool, if at all.
    pub rebalance: Option<Rebalance>,
    /// How long `ostler drain` lets the bound stay when it is not told.
    pub drain_deadline: Option<Duration>,
    /// What changes about it, kept across generations.
    pub state: Arc<PoolState>,
    /// Present: TLS to the backends.
    pub tls: Option<Arc<ClientTls>>,
    /// Present: connections to the backends begin with a PROXY header.
    pub send_proxy: Option<Version>,
    /// Whether they are spoken to in HTTP/2.
    pub http2: bool,
    /// Connections to each backend.
    pub connections: PoolConnections,
    /// What one worker keeps of idle connections to one backend.
    pub keep: Keep,
    /// Present: backends are checked.
    pub health: Option<Health>,
    /// Kept across generations.
    pub counters: Arc<PerWorker<PoolCounters>>,
}

/// See [`Pool::carriage`].
pub(super) fn carriage(tls: Option<&Arc<ClientTls>>, http2: bool) -> &str {
    match tls {
        Some(tls) => tls.key(),
        None if http2 => "h2c",
        None => "",
    }
}

/// What a pool does that has nobody who serves.
#[derive(Debug)]
pub enum WhenAllDown {
    /// The request fails.
    Fail,
    /// All are asked, whatever their checks say.
    TryAll,
    /// Another pool serves, by its place in `Snapshot::pools`.
    Pool(usize),
    /// This is the answer.
    Respond(RespondPlan),
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
    /// Its place in the table of the pool's sessions; none in a pool that keeps none.
    pub seat: Option<Arc<Seat>>,
    /// How its attempts ended, a block a worker; kept across generations.
    pub tally: Arc<PerWorker<Tally>>,
    /// Kept across generations.
    pub counters: Arc<PerWorker<BackendCounters>>,
}

impl Member {
    /// Where to connect to.
    pub fn addresses(&self) -> Arc<Vec<SocketAddr>> {
        self.backend.state.addresses()
    }
}

impl Pool {
    /// What its connections are, beside their addresses: one of another kind is another one.
    pub fn carriage(&self) -> &str {
        carriage(self.tls.as_ref(), self.http2)
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

    /// The PROXY header of a connection of our own, as a check's.
    pub fn own_header(&self) -> Option<Vec<u8>> {
        self.send_proxy.map(|version| proxy_header::write(version, None))
    }

    /// Of so many checks one asks in full, where not all do.
    pub fn full_every(&self) -> Option<u32> {
        self.health.as_ref().map(|health| health.full_every).filter(|every| *every > 1)
    }

    /// Whether nobody is bound to this member any more, and nothing of it runs (`now`: Unix
    /// seconds).
    pub fn is_drained(&self, member: &Member, now: u32) -> bool {
        let state = &member.backend.state;
        let idle = state.in_flight() == 0 && state.tunnels() == 0;
        idle && match &member.seat {
            Some(seat) => self.state.sessions.is_empty(seat, now),
            // One of more backends than can be counted.
            None => self.sticky.is_none(),
        }
    }

    /// Whether this visitor has a session here, or is about to have one.
    pub fn knows(&self, visitor: &Visitor) -> bool {
        let seen = |session| self.state.sessions.find(session, visitor.now).is_some();
        match visitor.presented {
            Presented::Valid(_) | Presented::Look(_) => true,
            Presented::Expired(token) => seen(token.session),
            Presented::Value(value) => seen(value),
            Presented::None | Presented::Invalid => visitor.join.is_some(),
        }
    }

    /// Backends that take anybody.
    pub fn usable(&self) -> usize {
        self.members.iter().filter(|m| m.backend.standing() == Standing::Open).count()
    }

    /// The tier that serves new visitors; none in a pool without tiers or usable backends.
    pub fn tier(&self) -> Option<u8> {
        let open = |member: &Member| member.backend.standing() == Standing::Open;
        let well = |_, member: &Member| open(member) && member.backend.state.outcomes.takes_new();
        self.tier_among(well).or_else(|| self.tier_among(|_, member| open(member)))
    }

    /// The tier that serves new visitors where these members can be asked (by index).
    pub(super) fn tier_among(&self, fits: impl Fn(usize, &Member) -> bool) -> Option<u8> {
        let members = self.members.iter().enumerate();
        let usable = members.filter(|(index, member)| fits(*index, member));
        serving(self.failback?, self.state.tier(), usable.map(|(_, member)| member.backend.tier))
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
