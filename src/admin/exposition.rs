//! The `prometheus` Collector over the worker's counters and the live snapshot.

mod listeners;

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use super::answer::{self, Answer, refusal};
use super::facts::{Facts, Mark, MarkWord, lock};
use super::status::state_word;
use crate::backend::{Standing, Verdict};
use crate::config::model::AdminState;
use crate::net::pressure;
use crate::snapshot::{self, Pool, Snapshot};
use crate::task;
use crate::telemetry::counters::{
    BackendCounters, Class, MoveCause, PerWorker, Phase, PoolCounters, RouteCounters,
    StickyOutcome, StickyToken,
};
use crate::telemetry::metrics::FAMILIES;
use crate::telemetry::{Families, Family, Reason, process};

/// States a backend can be in, in this version.
const STATES: [&str; 7] = ["up", "drain", "maint", "down", "ejected", "starting", "ghost"];

/// `/metrics`: what is asked for is read then, and nothing is kept beside it.
#[derive(Debug)]
pub(super) struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// Over these facts.
    pub(super) fn new(facts: Arc<Facts>) -> Self {
        let registry = Registry::new();
        if let Err(error) = registry.register(Box::new(Walk::new(facts))) {
            tracing::error!(%error, "metrics cannot be registered");
        }
        Self { registry }
    }

    /// The page in Prometheus' text format 0.0.4.
    pub(super) fn page(&self) -> Answer {
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(text) => answer::answer(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                text.into_bytes(),
            ),
            Err(error) => answer::problem(&refusal(500, format!("metrics: {error}"))),
        }
    }
}

/// Walks facts, registry and snapshot at every scrape.
struct Walk {
    facts: Arc<Facts>,
    descriptions: Vec<Desc>,
}

impl Walk {
    fn new(facts: Arc<Facts>) -> Self {
        let describe = |one: &crate::telemetry::metrics::Description| {
            let labels = one.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(one.name.to_owned(), one.help.to_owned(), labels, HashMap::default()).ok()
        };
        Self { facts, descriptions: FAMILIES.iter().filter_map(describe).collect() }
    }
}

impl Collector for Walk {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let facts = &self.facts;
        let snapshot = facts.current.load();
        let mut page = Page(Families::default());
        let registry = lock(&facts.registry);
        for (name, counters) in registry.route_series() {
            page.route(name, counters);
        }
        for (name, counters) in registry.listener_series() {
            page.listener(name, counters);
        }
        for ((pool, id), counters) in registry.backend_series() {
            page.backend_counters(pool, id, counters);
        }
        for (name, counters) in registry.pool_series() {
            let sticky = snapshot.pool(name).is_some_and(|pool| pool.sticky.is_some());
            page.pool_counters(name, counters, sticky);
        }
        drop(registry);
        for listener in &snapshot.listeners {
            page.certificates(listener);
        }
        for pool in &snapshot.pools {
            page.pool(pool);
        }
        page.marks(&facts.marks());
        page.checks(facts, &snapshot);
        page.process(facts, &snapshot);
        page.0.finish()
    }
}

/// The page while it is written.
struct Page(Families);

impl Page {
    fn route(&mut self, name: &str, counters: &PerWorker<RouteCounters>) {
        for (key, count) in counters.sum_requests() {
            let code = key.code.map_or_else(|| "other".to_owned(), |code| code.to_string());
            let labels = [name, key.method.as_str(), &code, key.reason.as_str()];
            self.0.counter(Family::Requests, &labels, count);
        }
        for class in Class::ALL {
            if let Some(sum) = counters.sum_histogram(|counters| counters.durations(class)) {
                self.0.histogram(Family::RequestDuration, &[name, class.as_str()], &sum);
            }
        }
        let bytes = counters.sum(|counters| counters.request_bytes.get());
        self.0.counter(Family::RequestBytes, &[name], bytes);
        let bytes = counters.sum(|counters| counters.response_bytes.get());
        self.0.counter(Family::ResponseBytes, &[name], bytes);
    }

    /// Of a combination among many: only once it has happened.
    fn counted(&mut self, family: Family, labels: &[&str], count: u64) {
        if count > 0 {
            self.0.counter(family, labels, count);
        }
    }

    fn backend_counters(&mut self, pool: &str, id: &str, counters: &PerWorker<BackendCounters>) {
        for class in Class::ALL {
            let attempts = counters.sum(|counters| counters.attempts(class));
            let labels = [pool, id, class.as_str()];
            // Alerts are made of these three: their first event must show as an increase.
            if matches!(class, Class::Success | Class::ServerError | Class::Error) {
                self.0.counter(Family::BackendAttempts, &labels, attempts);
            } else {
                self.counted(Family::BackendAttempts, &labels, attempts);
            }
        }
        for phase in Phase::ALL {
            if let Some(sum) = counters.sum_histogram(|counters| counters.durations(phase)) {
                self.0.histogram(Family::BackendDuration, &[pool, id, phase.as_str()], &sum);
            }
        }
        let reused = counters.sum(|counters| counters.reused.get());
        self.0.counter(Family::BackendConnectionsReused, &[pool, id], reused);
        let opened = counters.sum(|counters| counters.opened.get());
        self.0.counter(Family::BackendConnectionsOpened, &[pool, id], opened);
    }

    fn pool_counters(&mut self, name: &str, counters: &PerWorker<PoolCounters>, sticky: bool) {
        let issued = counters.sum(|counters| counters.sessions_issued.get());
        if sticky || issued > 0 {
            self.0.counter(Family::SessionsIssued, &[name], issued);
        }
        for token in StickyToken::ALL {
            for outcome in StickyOutcome::ALL {
                let count = counters.sum(|one| one.sticky_requests(token, outcome));
                let labels = [name, token.as_str(), outcome.as_str()];
                self.counted(Family::StickyRequests, &labels, count);
            }
        }
        for cause in MoveCause::ALL {
            let moved = counters.sum(|counters| counters.sessions_moved(cause));
            self.counted(Family::SessionsMoved, &[name, cause.as_str()], moved);
        }
        for reason in Reason::ALL {
            let retries = counters.sum(|counters| counters.retries(reason));
            self.counted(Family::Retries, &[name, reason.as_str()], retries);
        }
        let exhausted = counters.sum(|counters| counters.retry_budget_exhausted.get());
        self.0.counter(Family::RetryBudgetExhausted, &[name], exhausted);
    }

    fn pool(&mut self, pool: &Pool) {
        self.0.gauge(Family::PoolUsableBackends, &[&pool.name], pool.usable());
        if pool.limited {
            self.0.gauge(Family::QueueLength, &[&pool.name], pool.state.queue.len());
        }
        if pool.sticky.is_some() {
            self.sessions(pool);
        }
        for member in &pool.members {
            let backend = &member.backend;
            if backend.standing() == Standing::Gone {
                continue;
            }
            let labels = [&*pool.name, &*backend.id];
            let [name, id] = labels;
            if backend.checked {
                let up = backend.state.verdict() == Verdict::Up;
                self.0.gauge(Family::BackendUp, &labels, up);
            }
            let holds = match state_word(backend) {
                "unchecked" => "starting",
                word => word,
            };
            for state in STATES {
                self.0.gauge(Family::BackendState, &[name, id, state], state == holds);
            }
            self.0.gauge(Family::BackendWeight, &labels, backend.effective_weight());
            self.0.gauge(Family::BackendInFlight, &labels, backend.state.in_flight());
            if let Some(limit) = backend.adaptive_limit() {
                self.0.gauge(Family::BackendLimit, &labels, limit);
            }
            let idle = member.counters.sum_gauge(|counters| counters.idle.get());
            self.0.gauge(Family::BackendConnections, &[name, id, "idle"], idle);
            // One connection carries one exchange or tunnel.
            let active = member.backend.state.in_flight();
            self.0.gauge(Family::BackendConnections, &[name, id, "active"], active);
        }
    }

    fn sessions(&mut self, pool: &Pool) {
        let now = u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        let sessions = &pool.state.sessions;
        self.0.gauge(Family::SessionsComplete, &[&pool.name], sessions.is_complete(now));
        if pool.state.learns {
            self.0.counter(Family::SessionsEvicted, &[&pool.name], sessions.evicted());
        }
        for member in &pool.members {
            let labels = [&*pool.name, &*member.backend.id];
            if let Some(seat) = &member.seat
                && member.backend.standing() != Standing::Gone
            {
                let count = sessions.tally(seat, now).sessions;
                self.0.gauge(Family::BackendSessions, &labels, count);
            }
            if let Some(deadline) = member.backend.state.drain.deadline() {
                self.0.gauge(Family::BackendDrainDeadline, &labels, deadline);
            }
        }
    }

    /// Marks of backends in the file; one that is lifted is gone at once.
    fn marks(&mut self, marks: &[Mark]) {
        for mark in marks.iter().filter(|mark| mark.in_file) {
            let word = match mark.says {
                MarkWord::State(AdminState::Up) => "up",
                MarkWord::State(AdminState::Drain) => "drain",
                MarkWord::State(AdminState::Maint) => "maint",
                MarkWord::Weight(_) => "weight",
            };
            self.0.gauge(Family::BackendMark, &[&mark.pool, &mark.backend, word], true);
        }
    }

    fn checks(&mut self, facts: &Facts, snapshot: &Snapshot) {
        facts.checks.visit(|pool, id, counts| {
            let here = snapshot.pool(pool).filter(|pool| pool.member(id).is_some());
            let Some(here) = here else { return };
            self.0.counter(Family::BackendChecks, &[pool, id, "pass"], counts.passed);
            self.0.counter(Family::BackendChecks, &[pool, id, "fail"], counts.failed);
            if here.full_every().is_some() {
                let (passed, failed) = (counts.full_passed, counts.full_failed);
                self.0.counter(Family::BackendFullChecks, &[pool, id, "pass"], passed);
                self.0.counter(Family::BackendFullChecks, &[pool, id, "fail"], failed);
            }
            self.0.gauge(Family::BackendCheckDuration, &[pool, id], counts.last);
        });
    }

    fn process(&mut self, facts: &Facts, snapshot: &Snapshot) {
        let reloads = facts.reloads();
        let families = &mut self.0;
        families.gauge(Family::ConfigGeneration, &[], snapshot.generation);
        families.gauge(Family::ConfigLastReloadSuccess, &[], reloads.last_success);
        families.gauge(Family::ConfigLastReload, &[], reloads.applied_at.as_second());
        families.counter(Family::ConfigReloads, &["success"], reloads.succeeded);
        families.counter(Family::ConfigReloads, &["failure"], reloads.failed);
        let differs = facts.file_differs().unwrap_or(false);
        families.gauge(Family::ConfigFileDiffers, &[], differs);
        families.gauge(Family::SnapshotsLive, &[], snapshot::alive());
        if facts.state_dir.is_some() {
            families.gauge(Family::StateDirShared, &[], lock(&facts.state_dir_rival).is_some());
        }
        families.counter(Family::AccessLogDropped, &[], facts.access_log_dropped());
        for (number, worker) in facts.workers.iter().enumerate() {
            let number = number.to_string();
            let connections = worker.connections.get();
            families.gauge(Family::WorkerConnections, &[&number], connections);
            families.counter(Family::WorkerExchanges, &[&number], worker.exchanges.get());
        }
        families.counter(Family::Panics, &[], task::panics());
        families.gauge(Family::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1_u64);
        if let Some(memory) = pressure::reading() {
            families.gauge(Family::MemoryBudget, &[], memory.budget);
            families.gauge(Family::MemoryUsed, &[], memory.used);
            families.gauge(Family::MemoryLevel, &[], u32::from(memory.level as u8));
        }
        process::collect(families);
    }
}

#[cfg(test)]
mod tests;
