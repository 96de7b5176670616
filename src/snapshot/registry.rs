//! Keeps what changes about backends, pools, routes and listeners alive across generations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::BackendState;
use crate::backend::outlier::Tally;
use crate::sticky::count::Seat;
use crate::telemetry::counters::{
    BackendCounters, ListenerCounters, PerWorker, PoolCounters, RouteCounters,
};
use crate::tls::client::ClientTls;
use crate::tls::server::Resumption;
use crate::tls::store::CertificateStore;

use super::{PoolState, RateLimit, Snapshot};

/// Counters stay this long after their object has left the configuration.
const AFTERLIFE: Duration = Duration::from_mins(5);

/// Stands in series for the route of exchanges that no route took: refused heads, unknown hosts,
/// redirecting listeners. No configured name has parentheses.
pub const UNROUTED: &str = "(none)";

/// Pool and id: what series belong to.
pub type BackendName = (Arc<str>, Arc<str>);

/// What a backend is connected by: a change makes it another one, unchecked and unconnected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wire {
    /// As configured.
    pub address: String,
    /// See [`Pool::carriage`](super::Pool::carriage).
    pub carriage: String,
}

/// A backend's state, the number of its connections, and how it is reached.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What changes about it.
    pub state: Arc<BackendState>,
    /// Number of its connections.
    pub slot: usize,
    /// How it is reached.
    pub wire: Wire,
    /// Hashes of its former ids.
    pub former: Vec<u64>,
    /// Where its visitors are counted.
    pub seat: Option<Arc<Seat>>,
    /// How its attempts ended.
    pub tally: Arc<PerWorker<Tally>>,
}

#[derive(Debug)]
struct Series<T> {
    counters: Arc<PerWorker<T>>,
    slot: usize,
    gone: Option<Instant>,
}

/// What outlives a generation, under configured names. Control thread only.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    slots: usize,
    /// Ticket keys, one for the process.
    pub resumption: Resumption,
    backends: HashMap<BackendName, Kept>,
    backend_series: HashMap<BackendName, Series<BackendCounters>>,
    pools: HashMap<Arc<str>, Series<PoolCounters>>,
    pool_states: HashMap<Arc<str>, Arc<PoolState>>,
    routes: HashMap<Arc<str>, Series<RouteCounters>>,
    rate_limits: HashMap<Arc<str>, Arc<RateLimit>>,
    listeners: HashMap<Arc<str>, Series<ListenerCounters>>,
    stores: HashMap<Arc<str>, Arc<CertificateStore>>,
    client_tls: HashMap<String, Arc<ClientTls>>,
    /// Hashes of former ids, as an earlier process has left them.
    former: HashMap<BackendName, Vec<u64>>,
}

impl Registry {
    /// An empty one for so many workers.
    pub fn new(workers: usize, resumption: Resumption) -> Self {
        Self {
            workers,
            slots: 0,
            resumption,
            backends: HashMap::new(),
            backend_series: HashMap::new(),
            pools: HashMap::new(),
            pool_states: HashMap::new(),
            routes: HashMap::new(),
            rate_limits: HashMap::new(),
            listeners: HashMap::new(),
            stores: HashMap::new(),
            client_tls: HashMap::new(),
            former: HashMap::new(),
        }
    }

    /// Takes over what an earlier process knew of renamed backends: the hashes of their former
    /// ids.
    pub fn remember_names(&mut self, former: HashMap<BackendName, Vec<u64>>) {
        self.former = former;
    }

    pub(super) fn former_names(&self, name: &BackendName) -> Vec<u64> {
        self.former.get(name).cloned().unwrap_or_default()
    }

    /// Worker threads, each with its own block of every counter.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// A number never used before in this process.
    pub(super) fn next_slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }

    pub(super) fn backend(&self, name: &BackendName) -> Option<&Kept> {
        self.backends.get(name)
    }

    /// Backends of a pool as they are now.
    pub(super) fn backends_of<'a>(
        &'a self,
        pool: &'a str,
    ) -> impl Iterator<Item = (&'a BackendName, &'a Kept)> {
        self.backends.iter().filter(move |((of, _), _)| &**of == pool)
    }

    pub(super) fn tally(&self, name: &BackendName) -> Arc<PerWorker<Tally>> {
        let kept = self.backends.get(name).map(|kept| Arc::clone(&kept.tally));
        kept.unwrap_or_else(|| Arc::new(PerWorker::new(self.workers)))
    }

    pub(super) fn backend_counters(&self, name: &BackendName) -> Arc<PerWorker<BackendCounters>> {
        kept_or_new(self.backend_series.get(name), self.workers)
    }

    pub(super) fn pool(&mut self, name: &str) -> (Arc<PerWorker<PoolCounters>>, usize) {
        let slot = self.pools.get(name).map(|series| series.slot);
        let slot = slot.unwrap_or_else(|| self.next_slot());
        (kept_or_new(self.pools.get(name), self.workers), slot)
    }

    pub(super) fn pool_state(&self, name: &str) -> Option<&Arc<PoolState>> {
        self.pool_states.get(name)
    }

    pub(super) fn route(&self, name: &str) -> Arc<PerWorker<RouteCounters>> {
        kept_or_new(self.routes.get(name), self.workers)
    }

    pub(super) fn rate_limit(&self, route: &str) -> Option<&Arc<RateLimit>> {
        self.rate_limits.get(route)
    }

    pub(super) fn listener(&mut self, name: &str) -> (Arc<PerWorker<ListenerCounters>>, usize) {
        let slot = self.listeners.get(name).map(|series| series.slot);
        let slot = slot.unwrap_or_else(|| self.next_slot());
        (kept_or_new(self.listeners.get(name), self.workers), slot)
    }

    pub(super) fn store(&self, listener: &str) -> Option<&Arc<CertificateStore>> {
        self.stores.get(listener)
    }

    pub(super) fn client_tls(&self, key: &str) -> Option<&Arc<ClientTls>> {
        self.client_tls.get(key)
    }

    /// Takes over what a snapshot that is going to be published is made of, and lets go of what
    /// left: state at once, counters after their afterlife.
    pub fn adopt(&mut self, snapshot: &Snapshot, now: Instant) {
        self.backends.clear();
        self.pool_states.clear();
        self.rate_limits.clear();
        self.stores.clear();
        self.client_tls.clear();
        mark_gone(&mut self.backend_series, now);
        mark_gone(&mut self.pools, now);
        mark_gone(&mut self.routes, now);
        mark_gone(&mut self.listeners, now);
        for pool in &snapshot.pools {
            let counters = Arc::clone(&pool.counters);
            keep(&mut self.pools, Arc::clone(&pool.name), counters, pool.slot);
            self.pool_states.insert(Arc::clone(&pool.name), Arc::clone(&pool.state));
            if let Some(tls) = &pool.tls {
                self.client_tls.insert(tls.key().to_owned(), Arc::clone(tls));
            }
            for member in &pool.members {
                let name = (Arc::clone(&pool.name), Arc::clone(&member.backend.id));
                let kept = Kept {
                    state: Arc::clone(&member.backend.state),
                    slot: member.slot,
                    wire: Wire {
                        address: member.backend.address.to_string(),
                        carriage: pool.carriage().to_owned(),
                    },
                    former: member.former.to_vec(),
                    seat: member.seat.clone(),
                    tally: Arc::clone(&member.tally),
                };
                let counters = Arc::clone(&member.counters);
                keep(&mut self.backend_series, name.clone(), counters, member.slot);
                self.backends.insert(name, kept);
            }
        }
        keep(&mut self.routes, UNROUTED.into(), Arc::clone(&snapshot.unrouted), 0);
        for route in &snapshot.routes {
            keep(&mut self.routes, Arc::clone(&route.name), Arc::clone(&route.counters), 0);
            if let Some(limit) = &route.rate_limit {
                self.rate_limits.insert(Arc::clone(&route.name), Arc::clone(limit));
            }
        }
        for listener in &snapshot.listeners {
            let counters = Arc::clone(&listener.counters);
            keep(&mut self.listeners, Arc::clone(&listener.name), counters, listener.slot);
            if let Some(tls) = &listener.tls {
                self.stores.insert(Arc::clone(&listener.name), Arc::clone(&tls.server.store));
            }
        }
        self.sweep(now);
    }

    /// Lets go of counters whose afterlife is over.
    pub fn sweep(&mut self, now: Instant) {
        bury(&mut self.backend_series, now);
        bury(&mut self.pools, now);
        bury(&mut self.routes, now);
        bury(&mut self.listeners, now);
    }

    /// Counters of routes, of those too that have just left.
    pub fn route_series(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, &Arc<PerWorker<RouteCounters>>)> {
        self.routes.iter().map(|(name, series)| (name, &series.counters))
    }

    /// Counters of pools, of those too that have just left.
    pub fn pool_series(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<PerWorker<PoolCounters>>)> {
        self.pools.iter().map(|(name, series)| (name, &series.counters))
    }

    /// Counters of listeners, of those too that have just left.
    pub fn listener_series(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, &Arc<PerWorker<ListenerCounters>>)> {
        self.listeners.iter().map(|(name, series)| (name, &series.counters))
    }

    /// Counters of backends, of those too that have just left.
    pub fn backend_series(
        &self,
    ) -> impl Iterator<Item = (&BackendName, &Arc<PerWorker<BackendCounters>>)> {
        self.backend_series.iter().map(|(name, series)| (name, &series.counters))
    }
}

fn kept_or_new<T: Default>(kept: Option<&Series<T>>, workers: usize) -> Arc<PerWorker<T>> {
    kept.map_or_else(|| Arc::new(PerWorker::new(workers)), |series| Arc::clone(&series.counters))
}

fn keep<K: std::hash::Hash + Eq, T>(
    all: &mut HashMap<K, Series<T>>,
    name: K,
    counters: Arc<PerWorker<T>>,
    slot: usize,
) {
    all.insert(name, Series { counters, slot, gone: None });
}

fn mark_gone<K, T>(all: &mut HashMap<K, Series<T>>, now: Instant) {
    for series in all.values_mut() {
        series.gone.get_or_insert(now);
    }
}

fn bury<K, T>(all: &mut HashMap<K, Series<T>>, now: Instant) {
    all.retain(|_, series| series.gone.is_none_or(|gone| now - gone < AFTERLIFE));
}
