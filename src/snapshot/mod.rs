//! The immutable whole that requests read: one per generation, swapped at once.

mod auth;
pub mod certificates;
pub mod choice;
pub mod compile;
pub mod error_page;
pub mod files;
pub mod forward;
pub mod ghost;
pub mod listener;
pub mod pool;
pub mod pool_state;
pub mod purse;
mod rate_limit;
pub mod registry;
mod select;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;

use crate::config::model::RouteTimeouts;
pub use crate::config::model::{
    Address, BodyPattern, BodyTest, HashOn, Health, HealthKind, Initial, OnCacheable, PageKind,
    Retry as RetryRules,
};
use crate::route::Access;
use crate::route::action::{RedirectPlan, RespondPlan};
use crate::telemetry::counters::{PerWorker, RouteCounters};
pub use crate::tls::client::{ClientTls, HTTP2};
pub use auth::{Auth, Basic, ForwardAuth, PasswordHash, Users};
pub use error_page::{ErrorPages, Page};
pub use forward::{Forward, Share};
pub use listener::Listener;
pub use pool::{Member, Pool};
pub use pool_state::PoolState;
pub use purse::Purse;
pub use rate_limit::RateLimit;

/// Configuration, compiled.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the configurations that were applied, from 1.
    pub generation: u64,
    /// In file order.
    pub listeners: Box<[Arc<Listener>]>,
    /// In file order.
    pub routes: Box<[Arc<Route>]>,
    /// In file order.
    pub pools: Box<[Arc<Pool>]>,
    /// Indexes of the pools without which `/readyz` is red.
    pub ready_requires: Box<[usize]>,
    /// Verdicts are frozen where all checks fail at once.
    pub blind_guard: bool,
    /// Counters of exchanges that no route took, kept across generations.
    pub unrouted: Arc<PerWorker<RouteCounters>>,
    /// Counts the snapshots alive.
    pub alive: Alive,
}

/// A rule's action and what goes with it.
#[derive(Debug)]
pub struct Route {
    /// Its place in `Snapshot::routes`.
    pub index: usize,
    /// Configured name, the metric label.
    pub name: Arc<str>,
    /// Present: not everybody is let in.
    pub access: Option<Access>,
    /// Present: no client may ask more often.
    pub rate_limit: Option<Arc<RateLimit>>,
    /// Present: only who says who they are is let in.
    pub auth: Option<Auth>,
    /// What it does.
    pub action: Action,
    /// Go before the listener's.
    pub error_pages: Arc<ErrorPages>,
    /// Overrides the listener's body limit: `Some(None)` lifts it.
    pub body_size: Option<Option<u64>>,
    /// Waits.
    pub timeouts: RouteTimeouts,
    /// When a failed attempt is repeated.
    pub retry: RetryRules,
    /// Kept across generations.
    pub counters: Arc<PerWorker<RouteCounters>>,
}

/// What a route does.
#[derive(Debug)]
pub enum Action {
    /// Forward to a backend of a pool.
    Forward(Forward),
    /// Answer with a redirect.
    Redirect(RedirectPlan),
    /// Answer with a fixed response.
    Respond(RespondPlan),
}

impl Route {
    /// The pools it forwards to, if it forwards.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let shares = match &self.action {
            Action::Forward(forward) => forward.shares(),
            Action::Redirect(_) | Action::Respond(_) => &[],
        };
        shares.iter().map(|share| &share.pool)
    }
}

impl Snapshot {
    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| &*pool.name == name)
    }

    /// The listener with this number, which it keeps across generations.
    pub fn listener(&self, slot: usize) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.slot == slot)
    }
}

/// The snapshot in force.
#[derive(Debug)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

impl Current {
    /// Starts with this one.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(Arc::new(ArcSwap::new(snapshot)))
    }

    /// Replaces it: requests that run go on with the one they began with.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.0.store(snapshot);
    }

    /// The one in force. Workers go through a cache of their own instead.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// For a worker's cache.
    pub fn swap(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.0)
    }
}

static ALIVE: AtomicI64 = AtomicI64::new(0);

/// Snapshots that some request, worker or the control thread still holds (`ostler_snapshots_live`).
pub fn alive() -> i64 {
    ALIVE.load(Ordering::Relaxed)
}

/// Counts one snapshot while it lives.
#[derive(Debug)]
pub struct Alive(());

impl Alive {
    /// Counts one more.
    #[expect(clippy::new_without_default, reason = "a default that counts would surprise")]
    pub fn new() -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}
