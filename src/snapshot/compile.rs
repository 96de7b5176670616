//! Model and registry to snapshot: the only file that knows both sides.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::backend::{Backend, BackendState, name_hash};
use crate::config::Report;
use crate::config::model::{
    self, AddressHost, Model, PoolConnections, SecretKey, TlsVersion, UnknownName,
};
use crate::net::trust::TrustSet;
use crate::route::action::{RedirectPlan, RespondPlan};
use crate::route::{Rule, Table};
use crate::sticky::{KeyRing, Stickiness};
use crate::tls::client::ClientTls;
use crate::tls::server::{self, Offer};
use crate::tls::store::{self, CertificateStore};

use super::certificates::load_certificates;
use super::listener::{Listener, ListenerTls};
use super::registry::{Kept, Registry, UNROUTED, Wire};
use super::{Action, Alive, Member, Pool, Route, Snapshot};

/// What a snapshot is made of beside the registry.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What holds.
    pub model: &'a Model,
    /// Seal and open tokens where the file names no keys.
    pub made_keys: &'a [SecretKey],
    /// The number it will have.
    pub generation: u64,
}

/// Compiles a model. What cannot be used (certificates, keys, bundles, routes that tie) goes into
/// the report, and then there is no snapshot. The registry is only read, until it adopts the
/// snapshot; certificates go into force by [`Compiled::publish_certificates`].
pub fn compile(
    inputs: Inputs<'_>,
    registry: &mut Registry,
    report: &mut Report,
) -> Option<Compiled> {
    let mut compiler = Compiler { inputs, registry, report, certificates: Vec::new() };
    let pools: Vec<Option<Arc<Pool>>> =
        (0..).zip(&inputs.model.pools).map(|(index, pool)| compiler.pool(index, pool)).collect();
    let routes: Vec<Option<Arc<Route>>> = (0..)
        .zip(&inputs.model.routes)
        .map(|(index, route)| compiler.route(index, route, &pools))
        .collect();
    let listeners: Vec<Option<Arc<Listener>>> = (0..)
        .zip(&inputs.model.listeners)
        .map(|(index, listener)| compiler.listener(index, listener, &routes))
        .collect();
    if compiler.report.has_errors() {
        return None;
    }
    let unrouted = compiler.registry.route(UNROUTED);
    let certificates = compiler.certificates;
    let snapshot = Snapshot {
        generation: inputs.generation,
        made_at: SystemTime::now(),
        listeners: listeners.into_iter().collect::<Option<_>>()?,
        routes: routes.into_iter().collect::<Option<_>>()?,
        pools: pools.into_iter().collect::<Option<_>>()?,
        ready_requires: inputs.model.metrics.ready_requires.as_slice().into(),
        unrouted,
        alive: Alive::new(),
    };
    Some(Compiled { snapshot: Arc::new(snapshot), certificates })
}

/// A snapshot, and the certificates that go into force with it.
#[derive(Debug)]
pub struct Compiled {
    /// To be published.
    pub snapshot: Arc<Snapshot>,
    certificates: Vec<(Arc<CertificateStore>, Arc<store::Table>)>,
}

impl Compiled {
    /// Puts the certificates into force for handshakes to come.
    pub fn publish_certificates(&self) {
        for (store, table) in &self.certificates {
            store.publish(Arc::clone(table));
        }
    }
}

struct Compiler<'a> {
    inputs: Inputs<'a>,
    registry: &'a mut Registry,
    report: &'a mut Report,
    certificates: Vec<(Arc<CertificateStore>, Arc<store::Table>)>,
}

impl Compiler<'_> {
    fn pool(&mut self, index: usize, pool: &model::Pool) -> Option<Arc<Pool>> {
        let tls = match &pool.tls {
            None => None,
            Some(tls) => Some(self.client_tls(pool, tls)?),
        };
        let (counters, slot) = self.registry.pool(&pool.name);
        let members = self.members(pool, tls.as_ref());
        let by_name = self.names(pool, &members);
        let sticky = match &pool.sticky {
            None => None,
            Some(sticky) => Some(self.stickiness(pool, sticky)?),
        };
        Some(Arc::new(Pool {
            index,
            name: Arc::clone(&pool.name.value),
            hash: name_hash(&pool.name),
            slot,
            policy: pool.policy.into(),
            members: members.into(),
            by_name: by_name.into(),
            sticky,
            tls,
            idle_per_worker: idle_per_worker(&pool.connections, self.registry.workers()),
            connections: pool.connections,
            health: pool.health.clone(),
            counters,
        }))
    }

    fn client_tls(&mut self, pool: &model::Pool, tls: &model::PoolTls) -> Option<Arc<ClientTls>> {
        if let Some(known) = self.registry.client_tls(&ClientTls::key_of(tls)) {
            return Some(Arc::clone(known));
        }
        match ClientTls::new(tls) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(problem) => {
                let place = tls.ca.as_ref().map_or(&pool.name.place, |ca| &ca.place);
                self.report.error(format!("pools.{}.tls: {problem}", &*pool.name.value), place);
                None
            }
        }
    }

    fn members(&mut self, pool: &model::Pool, tls: Option<&Arc<ClientTls>>) -> Vec<Member> {
        let ids: HashSet<&str> = pool.backends.iter().map(|backend| &*backend.id.value).collect();
        // A backend that left under one id and comes back under another with the same address is
        // a rename: its state and its visitors follow.
        let mut left: HashMap<Wire, (u64, Kept)> = self
            .registry
            .backends_of(&pool.name)
            .filter(|((_, id), _)| !ids.contains(&**id))
            .map(|((_, id), kept)| (kept.wire.clone(), (name_hash(id), kept.clone())))
            .collect();
        let tls_key = tls.map_or_else(String::new, |tls| tls.key().to_owned());
        let mut members = Vec::with_capacity(pool.backends.len());
        for backend in &pool.backends {
            let name = (Arc::clone(&pool.name.value), Arc::clone(&backend.id.value));
            let wire = Wire { address: backend.address.to_string(), tls: tls_key.clone() };
            let (state, slot, former) = match self.registry.backend(&name) {
                Some(kept) if kept.wire == wire => {
                    (Arc::clone(&kept.state), kept.slot, kept.former.clone())
                }
                Some(kept) => {
                    let former = kept.former.clone();
                    (new_state(backend), self.registry.next_slot(), former)
                }
                None => match left.remove(&wire) {
                    Some((old, kept)) => {
                        let mut former = kept.former.clone();
                        former.push(old);
                        (Arc::clone(&kept.state), kept.slot, former)
                    }
                    None => (new_state(backend), self.registry.next_slot(), Vec::new()),
                },
            };
            members.push(Member {
                backend: Backend {
                    pool: Arc::clone(&pool.name.value),
                    id: Arc::clone(&backend.id.value),
                    name: name_hash(&backend.id),
                    address: backend.address.value.clone(),
                    weight: backend.weight,
                    state_in_file: backend.state,
                    checked: pool.health.is_some(),
                    state,
                },
                host: match &backend.address.host {
                    AddressHost::Ip(ip) => ip.to_string().into(),
                    AddressHost::Name(name) => (**name).into(),
                },
                slot,
                former: former.into(),
                counters: self.registry.backend_counters(&name),
            });
        }
        members
    }

    /// Ids and former ids by hash. A present id wins over another backend's former one.
    fn names(&mut self, pool: &model::Pool, members: &[Member]) -> Vec<(u64, u32)> {
        let mut names: HashMap<u64, u32> = HashMap::with_capacity(members.len());
        for (index, (member, backend)) in (0..).zip(members.iter().zip(&pool.backends)) {
            if let Some(other) = names.insert(member.backend.name, index) {
                let other = usize::try_from(other).ok().and_then(|other| pool.backends.get(other));
                let other = other.map_or("another", |other| &*other.id.value);
                self.report
                    .error(
                        format!("the ids {other} and {} have one hash", &*backend.id.value),
                        &backend.id.place,
                    )
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

    fn stickiness(&mut self, pool: &model::Pool, sticky: &model::Sticky) -> Option<Stickiness> {
        let of_file = &self.inputs.model.sessions.keys;
        let keys = match &sticky.keys {
            Some(keys) => keys.as_slice(),
            None if of_file.is_empty() => self.inputs.made_keys,
            None => of_file,
        };
        let ring = match KeyRing::new(keys) {
            Ok(ring) => Arc::new(ring),
            Err(error) => {
                let message = format!("pools.{}.sticky: {error}", &*pool.name.value);
                self.report.error(message, &pool.name.place);
                return None;
            }
        };
        let sharing = self.inputs.model.pools.iter().filter(|other| {
            other.sticky.as_ref().is_some_and(|other| *other.scope.value == *sticky.scope.value)
        });
        Some(Stickiness::new(sticky, ring, sharing.count() == 1))
    }

    fn route(
        &mut self,
        index: usize,
        route: &model::Route,
        pools: &[Option<Arc<Pool>>],
    ) -> Option<Arc<Route>> {
        let mut wrong = |problem: String| {
            let message = format!("route {}: {problem}", &*route.name.value);
            self.report.error(message, &route.name.place);
        };
        let action = match &route.action {
            model::Action::Pool(index) => Action::Forward(Arc::clone(pools.get(*index)?.as_ref()?)),
            model::Action::Split(_) => {
                wrong("split: not in this version".to_owned());
                return None;
            }
            model::Action::Redirect(redirect) => match RedirectPlan::new(redirect) {
                Ok(plan) => Action::Redirect(plan),
                Err(error) => {
                    wrong(error.to_string());
                    return None;
                }
            },
            model::Action::Respond(respond) => match RespondPlan::new(respond) {
                Ok(plan) => Action::Respond(plan),
                Err(error) => {
                    wrong(error.to_string());
                    return None;
                }
            },
        };
        Some(Arc::new(Route {
            index,
            name: Arc::clone(&route.name.value),
            action,
            body_size: route.body_size,
            timeouts: route.timeouts,
            retry: route.retry,
            counters: self.registry.route(&route.name),
        }))
    }

    fn listener(
        &mut self,
        index: usize,
        listener: &model::Listener,
        routes: &[Option<Arc<Route>>],
    ) -> Option<Arc<Listener>> {
        let tls = match &listener.tls {
            None => None,
            Some(tls) => Some(self.listener_tls(listener, tls)?),
        };
        let table = self.table(index, routes)?;
        let (counters, slot) = self.registry.listener(&listener.name);
        Some(Arc::new(Listener {
            index,
            name: Arc::clone(&listener.name.value),
            slot,
            bind: listener.bind.iter().map(|address| address.value).collect(),
            protocols: listener.protocols,
            tls,
            redirect_https: listener.redirect_https.map(RedirectPlan::to_https),
            trusted: TrustSet::new(&listener.trusted_proxies),
            limits: listener.limits,
            timeouts: listener.timeouts,
            routes: table,
            counters,
        }))
    }

    fn table(
        &mut self,
        listener: usize,
        routes: &[Option<Arc<Route>>],
    ) -> Option<Table<Arc<Route>>> {
        let mut places = Vec::new();
        let mut rules = Vec::new();
        for (written, route) in self.inputs.model.routes.iter().zip(routes) {
            if let Some(route) = route
                && written.listeners.contains(&listener)
            {
                places.push(&written.name);
                rules.push(Rule {
                    hosts: written.hosts.iter().map(|host| host.value.clone()).collect(),
                    path: written.path.value.clone(),
                    value: Arc::clone(route),
                });
            }
        }
        match Table::build(rules) {
            Ok(table) => Some(table),
            Err(ties) => {
                for tie in ties {
                    if let (Some(first), Some(second)) =
                        (places.get(tie.first), places.get(tie.second))
                    {
                        let (one, other) = (&*first.value, &*second.value);
                        let message = format!("the routes {one} and {other} match the same");
                        self.report
                            .error(message, &second.place)
                            .also(&first.place, "the other one")
                            .hint("give them different hosts or paths, or remove one");
                    }
                }
                None
            }
        }
    }

    fn listener_tls(
        &mut self,
        listener: &model::Listener,
        tls: &model::ListenerTls,
    ) -> Option<ListenerTls> {
        let reject = tls.unknown_name == UnknownName::Reject;
        let certificates = load_certificates(tls, self.report)?;
        let table = Arc::new(store::Table::new(certificates, reject));
        let store = self
            .registry
            .store(&listener.name)
            .map_or_else(|| Arc::new(CertificateStore::new(store::Table::default())), Arc::clone);
        let offer = Offer {
            tls12: tls.min_version == TlsVersion::V12,
            http1: listener.protocols.http1,
            http2: listener.protocols.http2,
        };
        let config = match server::config(&store, &self.registry.resumption, offer) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                let message = format!("listeners.{}.tls: {error}", &*listener.name.value);
                self.report.error(message, &listener.name.place);
                return None;
            }
        };
        self.certificates.push((Arc::clone(&store), table));
        Some(ListenerTls { config, store })
    }
}

fn new_state(backend: &model::Backend) -> Arc<BackendState> {
    let state = BackendState::default();
    if let AddressHost::Ip(ip) = backend.address.host {
        state.set_addresses(vec![SocketAddr::new(ip, backend.address.port)]);
    }
    Arc::new(state)
}

/// The file's limit is for the process: each worker keeps its share, rounded up.
fn idle_per_worker(connections: &PoolConnections, workers: usize) -> usize {
    connections.idle.div_ceil(workers.max(1))
}
