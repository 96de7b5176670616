//! A pool's backends: who stays who they were, who was renamed, and who is left as a ghost.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Compiler;
use crate::backend::{Backend, BackendState, name_hash};
use crate::config::model::{self, Address, AddressHost, AdminState, By, Found};
use crate::snapshot::pool::carriage;
use crate::snapshot::registry::{BackendName, Kept, Wire};
use crate::snapshot::{Member, PoolState};
use crate::sticky::count::{Purpose, Seat, Sessions};
use crate::telemetry::counters::{PerWorker, PoolCounters};
use crate::tls::client::ClientTls;

/// Former names of a backend that are remembered.
const MOST_FORMER: usize = 16;
/// Values that a pool learns, the oldest of which then give way.
const MOST_LEARNED: u32 = 100_000;

/// Which backend it is, and what it keeps from one generation to the next.
struct Who {
    name: BackendName,
    state: Arc<BackendState>,
    slot: usize,
    former: Vec<u64>,
    seat: Option<Arc<Seat>>,
}

/// What the file says about a backend, or what is left of it.
#[derive(Clone, Copy)]
struct Facts<'a> {
    address: &'a Address,
    weight: u32,
    state: AdminState,
    max_requests: u32,
    tier: u8,
    ghost: bool,
    found: Option<&'a Found>,
}

impl Compiler<'_> {
    /// What the pool of this name knows of its visitors, for as long as there is such a pool.
    pub(super) fn pool_state(
        &mut self,
        pool: &model::Pool,
        counters: &PerWorker<PoolCounters>,
    ) -> Arc<PoolState> {
        let sticky = pool.sticky.as_ref();
        let learns = sticky
            .is_some_and(|sticky| matches!(sticky.by, By::LearnHeader(_) | By::LearnCookie(_)));
        if let Some(kept) = self.registry.pool_state(&pool.name)
            && kept.learns == learns
        {
            return Arc::clone(kept);
        }
        let idle = sticky.map_or(0, |sticky| sticky.idle.as_secs());
        let idle = u32::try_from(idle).unwrap_or(u32::MAX).max(1);
        let purpose = if learns { Purpose::Learn { most: MOST_LEARNED } } else { Purpose::Count };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        // Backends keep the queue that they have been given.
        let queue = self.registry.pool_state(&pool.name).map(|kept| Arc::clone(&kept.queue));
        let sessions = Sessions::new(purpose, idle, now);
        Arc::new(PoolState::new(sessions, learns, queue.unwrap_or_default(), counters))
    }

    /// The backends of the file in its order, then the ghosts.
    pub(super) fn members(
        &mut self,
        pool: &model::Pool,
        tls: Option<&Arc<ClientTls>>,
        pool_state: &PoolState,
    ) -> Vec<Member> {
        let ids: HashSet<&str> = pool.backends.iter().map(|backend| &*backend.id.value).collect();
        // A backend that left under one id and comes back under another with the same address is
        // a rename: its state and its visitors follow.
        let mut left: HashMap<Wire, (u64, Kept)> = self
            .registry
            .backends_of(&pool.name)
            .filter(|((_, id), _)| !ids.contains(&**id))
            .map(|((_, id), kept)| (kept.wire.clone(), (name_hash(id), kept.clone())))
            .collect();
        let carriage = carriage(tls, pool.http2);
        let mut members = Vec::with_capacity(pool.backends.len());
        // One that stands for others is none itself.
        for backend in pool.backends.iter().filter(|backend| backend.discover.is_none()) {
            let name = (Arc::clone(&pool.name.value), Arc::clone(&backend.id.value));
            let wire = Wire { address: backend.address.to_string(), carriage: carriage.to_owned() };
            let (state, slot, former, seat) = match self.registry.backend(&name) {
                Some(kept) if kept.wire == wire => {
                    (Arc::clone(&kept.state), kept.slot, kept.former.clone(), kept.seat.clone())
                }
                Some(kept) => {
                    let (former, seat) = (kept.former.clone(), kept.seat.clone());
                    (new_state(&backend.address), self.registry.next_slot(), former, seat)
                }
                None => {
                    if let Some((old, kept)) = left.remove(&wire) {
                        let former = renamed(kept.former, old, name_hash(&backend.id));
                        (kept.state, kept.slot, former, kept.seat)
                    } else {
                        let former = self.registry.former_names(&name);
                        (new_state(&backend.address), self.registry.next_slot(), former, None)
                    }
                }
            };
            let facts = Facts {
                address: &backend.address,
                weight: backend.weight,
                state: backend.state,
                max_requests: backend.max_requests,
                tier: backend.tier,
                ghost: false,
                found: backend.found.as_ref(),
            };
            let who = Who { name, state, slot, former, seat };
            members.push(self.member(pool, who, facts, pool_state));
        }
        members.extend(self.ghosts(pool, carriage, pool_state));
        members
    }

    /// Backends that have left the file and are still there for who is bound to them.
    fn ghosts(
        &mut self,
        pool: &model::Pool,
        carriage: &str,
        pool_state: &PoolState,
    ) -> Vec<Member> {
        let mut members = Vec::new();
        let ghosts = self.inputs.ghosts.iter().filter(|ghost| *ghost.pool == *pool.name.value);
        for ghost in ghosts {
            let is_back = |backend: &model::Backend| {
                *backend.id.value == *ghost.id || backend.address.value == ghost.address
            };
            if pool.backends.iter().any(is_back) {
                continue;
            }
            let name = (Arc::clone(&pool.name.value), Arc::clone(&ghost.id));
            let wire = Wire { address: ghost.address.to_string(), carriage: carriage.to_owned() };
            let kept = self.registry.backend(&name).filter(|kept| kept.wire == wire).cloned();
            let (state, slot, former, seat) = match kept {
                Some(kept) => (kept.state, kept.slot, kept.former, kept.seat),
                None => (new_state(&ghost.address), self.registry.next_slot(), Vec::new(), None),
            };
            let facts = Facts {
                address: &ghost.address,
                weight: 1,
                state: AdminState::Drain,
                max_requests: ghost.max_requests,
                tier: 0,
                ghost: true,
                found: None,
            };
            let who = Who { name, state, slot, former, seat };
            members.push(self.member(pool, who, facts, pool_state));
        }
        members
    }

    fn member(
        &mut self,
        pool: &model::Pool,
        who: Who,
        facts: Facts<'_>,
        pool_state: &PoolState,
    ) -> Member {
        let Who { name, state, slot, former, seat } = who;
        state.set_queue(&pool_state.queue);
        let hash = name_hash(&name.1);
        // It keeps the seat that its visitors are counted on, whatever it is called by now.
        let same = |seat: &Arc<Seat>| pool_state.sessions.has(seat);
        let seat = pool
            .sticky
            .as_ref()
            .and_then(|_| seat.filter(same).or_else(|| pool_state.sessions.seat(hash)));
        Member {
            host: match (facts.found, &facts.address.host) {
                (Some(found), _) => (*found.host).into(),
                (None, AddressHost::Ip(ip)) => ip.to_string().into(),
                (None, AddressHost::Name(name)) => (**name).into(),
            },
            slot,
            former: former.into(),
            seat,
            tally: self.registry.tally(&name),
            counters: self.registry.backend_counters(&name),
            backend: Backend {
                pool: name.0,
                name: hash,
                id: name.1,
                address: facts.address.clone(),
                weight: facts.weight,
                state_in_file: facts.state,
                checked: pool.health.is_some(),
                max_requests: facts.max_requests,
                concurrency: pool.concurrency,
                tier: facts.tier,
                ghost: facts.ghost,
                found: facts.found.cloned(),
                state,
            },
        }
    }

    /// Ids and former ids by hash. A present id wins over a ghost's, and both over another
    /// backend's former one.
    pub(super) fn names(&mut self, pool: &model::Pool, members: &[Member]) -> Vec<(u64, u32)> {
        let mut names: HashMap<u64, u32> = HashMap::with_capacity(members.len());
        for (index, member) in (0..).zip(members) {
            if let Some(other) = names.insert(member.backend.name, index) {
                let other = usize::try_from(other).ok().and_then(|other| members.get(other));
                let other = other.map_or("another", |other| &*other.backend.id);
                let id = &*member.backend.id;
                // A ghost stands in no file.
                let written = pool.backends.iter().find(|backend| &*backend.id.value == id);
                let place = written.map_or(&pool.name.place, |backend| &backend.id.place);
                self.report
                    .error(format!("the ids {other} and {id} have one hash"), place)
                    .hint("tokens could not tell them apart: give one of them another id");
            }
        }
        for (index, member) in (0..).zip(members) {
            for former in &member.former {
                names.entry(*former).or_insert(index);
            }
        }
        let mut names: Vec<(u64, u32)> = names.into_iter().collect();
        names.sort_unstable();
        names
    }
}

/// Former names of a backend that was called `old` and is called `new` from now on.
fn renamed(mut former: Vec<u64>, old: u64, new: u64) -> Vec<u64> {
    former.retain(|name| *name != old && *name != new);
    former.push(old);
    former.drain(..former.len().saturating_sub(MOST_FORMER));
    former
}

fn new_state(address: &Address) -> Arc<BackendState> {
    let state = BackendState::default();
    if let AddressHost::Ip(ip) = address.host {
        state.set_addresses(vec![SocketAddr::new(ip, address.port)]);
    }
    Arc::new(state)
}
