//! Model and registry to snapshot: the only file that knows both sides.

mod auth;
mod members;
mod pools;

use std::collections::HashMap;
use std::sync::Arc;

use crate::backend::name_hash;
use crate::config::model::{self, Model, SecretKey, TlsVersion, UnknownName};
use crate::config::{Place, Report};
use crate::net::trust::TrustSet;
use crate::route::action::{RedirectPlan, RespondPlan};
use crate::route::{Access, Conditions, Rule, Table};
use crate::sticky::{KeyRing, Shared, Stickiness};
use crate::tls::server::{Offer, Resumption, Server};
use crate::tls::store::{self, CertificateStore};

pub(super) use pools::wrong_tls;

use super::certificates::load;
use super::error_page::Shelf;
use super::forward::{Forward, Share};
use super::ghost::Ghost;
use super::listener::{Listener, ListenerTls};
use super::rate_limit::RateLimit;
use super::registry::{Registry, UNROUTED};
use super::{Action, Alive, Pool, Route, Snapshot};

/// What a snapshot is made of beside the registry.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What holds.
    pub model: &'a Model,
    /// Seal and open tokens where the file names no keys.
    pub made_keys: &'a [SecretKey],
    /// Backends that have left the file and are still there for who is bound to them.
    pub ghosts: &'a [Ghost],
    /// The number it will have.
    pub generation: u64,
    /// Present: the snapshot in force, of the same configuration. What was read from the disk for
    /// it (certificates, pages) is taken from it.
    pub again: Option<&'a Snapshot>,
}

/// Compiles a model. What cannot be used (certificates, keys, bundles, routes that tie) goes into
/// the report, and then there is no snapshot. The registry is only read, until it adopts the
/// snapshot; certificates go into force by [`Compiled::publish_certificates`].
pub fn compile(
    inputs: Inputs<'_>,
    registry: &mut Registry,
    report: &mut Report,
) -> Option<Compiled> {
    let mut compiler = Compiler {
        inputs,
        registry,
        report,
        certificates: Vec::new(),
        shelf: Shelf::default(),
        scopes: scopes(inputs.model),
    };
    let pools: Vec<Option<Arc<Pool>>> =
        (0..).zip(&inputs.model.pools).map(|(index, pool)| compiler.pool(index, pool)).collect();
    compiler.tell_pools_apart();
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
        listeners: listeners.into_iter().collect::<Option<_>>()?,
        routes: routes.into_iter().collect::<Option<_>>()?,
        pools: pools.into_iter().collect::<Option<_>>()?,
        blind_guard: inputs.model.runtime.blind_guard,
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
    shelf: Shelf,
    scopes: HashMap<&'a str, Shared>,
}

/// How the pools of each scope share its visitors.
fn scopes(model: &Model) -> HashMap<&str, Shared> {
    let shared = |scope: &model::Scope| match (scope.pools.len(), scope.split.is_empty()) {
        (..=1, _) => Shared::Not,
        (_, true) => Shared::ById,
        (_, false) => Shared::ByPool,
    };
    let scopes = model::scopes(&model.pools, &model.routes);
    scopes.into_iter().map(|(name, scope)| (name, shared(&scope))).collect()
}

impl Compiler<'_> {
    /// Tokens name pools by a hash, wherever several share a scope or a route.
    fn tell_pools_apart(&mut self) {
        let mut hashes: HashMap<u64, &model::Pool> = HashMap::new();
        for pool in &self.inputs.model.pools {
            if let Some(other) = hashes.insert(name_hash(&pool.name), pool) {
                let (one, two) = (&*other.name.value, &*pool.name.value);
                self.report
                    .error(format!("the pools {one} and {two} have one hash"), &pool.name.place)
                    .hint("tokens could not tell them apart: give one of them another name");
            }
        }
    }

    /// `place`: of the pool or route that binds so.
    fn stickiness(
        &mut self,
        place: &Place,
        sticky: &model::Sticky,
        name: &str,
    ) -> Option<Arc<Stickiness>> {
        let of_file = &self.inputs.model.sessions.keys;
        let keys = match &sticky.keys {
            Some(keys) => keys.as_slice(),
            None if of_file.is_empty() => self.inputs.made_keys,
            None => of_file,
        };
        let ring = match KeyRing::new(keys) {
            Ok(ring) => Arc::new(ring),
            Err(error) => {
                self.report.error(format!("{name}: sticky: {error}"), place);
                return None;
            }
        };
        let shared = self.scopes.get(&*sticky.scope.value).copied().unwrap_or(Shared::Not);
        Some(Arc::new(Stickiness::new(sticky, ring, shared)))
    }

    /// The pool of a route, or those that share its visitors.
    fn forward(
        &mut self,
        route: &model::Route,
        shares: &[model::Share],
        pools: &[Option<Arc<Pool>>],
    ) -> Option<Forward> {
        let share = |share: &model::Share| {
            let pool = Arc::clone(pools.get(share.pool)?.as_ref()?);
            Some(Share { pool, weight: share.weight })
        };
        let shares = shares.iter().map(share).collect::<Option<Vec<_>>>()?;
        let sticky = match &route.sticky {
            None => None,
            Some(sticky) => {
                let name = format!("route {}", &*route.name.value);
                Some(self.stickiness(&route.name.place, sticky, &name)?)
            }
        };
        Forward::new(shares, sticky)
    }

    fn route(
        &mut self,
        index: usize,
        route: &model::Route,
        pools: &[Option<Arc<Pool>>],
    ) -> Option<Arc<Route>> {
        let action = match &route.action {
            model::Action::Pool(pool) => {
                let share = model::Share { pool: *pool, weight: 1 };
                Action::Forward(self.forward(route, &[share], pools)?)
            }
            model::Action::Split(shares) => Action::Forward(self.forward(route, shares, pools)?),
            model::Action::Redirect(redirect) => {
                let plan = RedirectPlan::new(redirect);
                Action::Redirect(plan.map_err(|error| self.wrong(route, &error)).ok()?)
            }
            model::Action::Respond(respond) => {
                let plan = RespondPlan::new(respond);
                Action::Respond(plan.map_err(|error| self.wrong(route, &error)).ok()?)
            }
        };
        Some(Arc::new(Route {
            index,
            name: Arc::clone(&route.name.value),
            access: Access::new(&route.access),
            rate_limit: route.rate_limit.as_ref().map(|limit| self.rate_limit(route, limit)),
            auth: match &route.auth {
                None => None,
                Some(auth) => Some(self.auth(route, auth, pools)?),
            },
            action,
            error_pages: match self.inputs.again.and_then(|snapshot| snapshot.routes.get(index)) {
                Some(route) => Arc::clone(&route.error_pages),
                None => Arc::new(self.shelf.pages(&route.error_pages, self.report)),
            },
            body_size: route.body_size,
            timeouts: route.timeouts,
            retry: route.retry,
            counters: self.registry.route(&route.name),
        }))
    }

    fn rate_limit(&self, route: &model::Route, limit: &model::RateLimit) -> Arc<RateLimit> {
        let kept = self.registry.rate_limit(&route.name.value).filter(|kept| kept.is(limit));
        kept.map_or_else(|| Arc::new(RateLimit::new(limit)), Arc::clone)
    }

    fn wrong(&mut self, route: &model::Route, problem: &dyn std::fmt::Display) {
        let message = format!("route {}: {problem}", &*route.name.value);
        self.report.error(message, &route.name.place);
    }

    fn listener(
        &mut self,
        index: usize,
        listener: &model::Listener,
        routes: &[Option<Arc<Route>>],
    ) -> Option<Arc<Listener>> {
        let tls = match &listener.tls {
            None => None,
            Some(tls) => Some(self.listener_tls(index, listener, tls)?),
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
            error_pages: match self.inputs.again.and_then(|snapshot| snapshot.listeners.get(index))
            {
                Some(listener) => Arc::clone(&listener.error_pages),
                None => Arc::new(self.shelf.pages(&listener.error_pages, self.report)),
            },
            trusted: TrustSet::new(&listener.trusted_proxies),
            proxy_protocol: listener.proxy_protocol,
            tells_ends: self.inputs.model.pools.iter().any(|pool| pool.send_proxy.is_some()),
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
                    conditions: Conditions::new(&written.conditions),
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
                            .hint("give them different hosts, paths or conditions, or remove one");
                    }
                }
                None
            }
        }
    }

    fn listener_tls(
        &mut self,
        index: usize,
        listener: &model::Listener,
        tls: &model::ListenerTls,
    ) -> Option<ListenerTls> {
        let again = self.inputs.again.and_then(|snapshot| snapshot.listeners.get(index));
        let again = again.and_then(|listener| listener.tls.as_ref()).map(|tls| &tls.server);
        let (store, client_auth) = if let Some(server) = again {
            (Arc::clone(&server.store), server.terms().client_auth.clone())
        } else {
            let kept = self.registry.store(&listener.name).map(Arc::clone);
            let reject = tls.unknown_name == UnknownName::Reject;
            let (certificates, client_auth) = load(tls, self.report)?;
            let table = Arc::new(store::Table::new(certificates, reject));
            let new = || Arc::new(CertificateStore::new(store::Table::default()));
            let store = kept.unwrap_or_else(new);
            self.certificates.push((Arc::clone(&store), table));
            (store, client_auth)
        };
        let offer = Offer {
            tls12: tls.min_version == TlsVersion::V12,
            http1: listener.protocols.http1,
            http2: listener.protocols.http2,
        };
        let client_cert_header = tls.client_auth.as_ref().is_some_and(|auth| auth.header);
        let resumption = match tls.ticket_keys.as_slice() {
            [] => Ok(self.registry.resumption.clone()),
            keys => Resumption::shared(keys),
        };
        match resumption.and_then(|keys| Server::new(store, keys, offer, client_auth)) {
            Ok(server) => Some(ListenerTls { server, client_cert_header }),
            Err(error) => {
                let message = format!("listeners.{}.tls: {error}", &*listener.name.value);
                self.report.error(message, &listener.name.place);
                None
            }
        }
    }
}
