//! Reads what runs into the shape that is shown.

use std::sync::Arc;

use jiff::Timestamp;

use super::facts::{Facts, Phase, lock};
use super::problems;
use super::view::{
    AdminAddress, Backend, Certificate, Check, Listener, Memory, Metrics, Pool, Quorum,
    RevocationList, Route, Status,
};
use crate::backend::{CheckReport, Standing, Verdict};
use crate::balance::Policy;
use crate::net::pressure;
use crate::snapshot::{self, Member, Snapshot};
use crate::sticky::count::Seat;
use crate::telemetry::counters::Class;
use crate::telemetry::reason::Source;

const DAY: i64 = 86_400;

/// Everything.
pub(super) fn gather(facts: &Facts) -> Status {
    let reloads = facts.reloads();
    let now = Timestamp::now();
    let uptime = now.as_second().saturating_sub(facts.started.as_second());
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: facts.node.clone(),
        pid: std::process::id(),
        uptime_seconds: u64::try_from(uptime).unwrap_or(0),
        phase: phase(facts.phase.get()).to_owned(),
        generation: facts.current.load().generation,
        loaded_at: reloads.applied_at,
        loaded_by: reloads.applied_by,
        file: facts.file.path().map(|path| path.display().to_string()),
        file_differs: facts.file_differs().unwrap_or(false),
        last_reload_ok: reloads.last_success,
        blind: facts.checks.blindness.is_blind(),
        memory: pressure::reading().map(|it| Memory {
            budget: it.budget,
            used: it.used,
            level: it.level.as_str().to_owned(),
        }),
        state_dir_rival: lock(&facts.state_dir_rival).clone(),
        problems: Vec::new(),
        marks: facts.marks(),
        listeners: listeners(facts),
        metrics: Metrics { bound: facts.metrics_bound },
        admin: AdminAddress { bound: facts.admin_bound },
        pools: pools(facts),
        discovered: facts.discovered(),
        routes: routes(facts),
        certificates: certificates(facts),
        revocation_lists: revocation_lists(facts),
    };
    status.problems = problems::find(&status, reloads.last_problem.as_deref());
    status
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Serving => "serving",
        Phase::Stopping => "stopping",
    }
}

/// Listeners with the addresses they have.
pub(super) fn listeners(facts: &Facts) -> Vec<Listener> {
    let bound = facts.bound();
    let of = |listener: &snapshot::Listener| {
        let name = &*listener.name;
        let mut protocols = Vec::new();
        if listener.protocols.http2 {
            protocols.push(if listener.tls.is_some() { "h2" } else { "h2c" }.to_owned());
        }
        if listener.protocols.http1 {
            protocols.push("http/1.1".to_owned());
        }
        Listener {
            name: name.to_owned(),
            bound: bound.iter().filter(|one| one.name == name).map(|one| one.address).collect(),
            tls: listener.tls.is_some(),
            protocols,
        }
    };
    facts.current.load().listeners.iter().map(|listener| of(listener)).collect()
}

/// Pools with their backends.
pub(super) fn pools(facts: &Facts) -> Vec<Pool> {
    let snapshot = facts.current.load();
    snapshot.pools.iter().map(|one| show_pool(one, &snapshot)).collect()
}

/// One pool.
pub(super) fn pool(facts: &Facts, name: &str) -> Option<Pool> {
    let snapshot = facts.current.load();
    snapshot.pool(name).map(|pool| show_pool(pool, &snapshot))
}

fn show_pool(pool: &snapshot::Pool, snapshot: &Snapshot) -> Pool {
    let spare = |index: usize| snapshot.pools.get(index).map(|pool| pool.name.to_string());
    let quorum = pool.quorum.as_ref().map(|it| Quorum {
        min: it.min,
        again: it.again,
        pool: spare(it.pool).unwrap_or_default(),
        lost: pool.state.is_short(),
    });
    Pool {
        quorum,
        full_every: pool.full_every(),
        name: pool.name.to_string(),
        policy: policy_word(pool.policy).to_owned(),
        usable: pool.usable(),
        tier: pool.tier(),
        backends: pool.members.iter().map(|member| backend(pool, member)).collect(),
    }
}

fn backend(pool: &snapshot::Pool, member: &Member) -> Backend {
    let backend = &member.backend;
    let verdict = match backend.state.verdict() {
        Verdict::Unchecked => "unchecked",
        Verdict::Up => "up",
        Verdict::Down => "down",
    };
    let now = u32::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let sessions = |seat: &Arc<Seat>| pool.state.sessions.tally(seat, now).sessions;
    let attempts = |class| member.counters.sum(|counters| counters.attempts(class));
    Backend {
        id: backend.id.to_string(),
        address: backend.address.to_string(),
        state: state_word(backend).to_owned(),
        state_in_file: backend.state_in_file,
        weight: backend.effective_weight(),
        weight_in_file: backend.weight,
        tier: backend.tier,
        mark: backend.state.marked_state(),
        found: backend.found.as_ref().map(|found| found.name.to_string()),
        leaving: backend.leaving().is_some(),
        own_word: Some(backend.own_word()).filter(|word| !word.is_empty()).map(|w| w.to_string()),
        verdict: backend.checked.then(|| verdict.to_owned()),
        last_check: backend.state.last_check().filter(|_| backend.checked).map(check),
        in_flight: backend.state.in_flight(),
        tunnels: backend.state.tunnels(),
        limit: backend.adaptive_limit(),
        sessions: member.seat.as_ref().map(sessions),
        requests: Class::ALL.into_iter().map(attempts).sum(),
    }
}

/// A policy, as the file has it.
pub(super) fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::RoundRobin => "round-robin",
        Policy::LeastRequest => "least-request",
        Policy::Random => "random",
        Policy::PeakEwma => "peak-ewma",
        Policy::Hash => "hash",
    }
}

/// What holds of a backend. Weight 0 is a weight, not a state.
pub(super) fn state_word(backend: &crate::backend::Backend) -> &'static str {
    match backend.standing() {
        Standing::Open if backend.state.outcomes.phase().0.is_out() => "ejected",
        Standing::BoundOnly if backend.ghost => "ghost",
        Standing::BoundOnly if backend.is_draining() => "drain",
        Standing::Open | Standing::BoundOnly => "up",
        Standing::Maint => "maint",
        Standing::Down | Standing::Gone => "down",
        Standing::Unchecked => "unchecked",
    }
}

fn check(report: CheckReport) -> Check {
    Check {
        at: Timestamp::try_from(report.at).unwrap_or(Timestamp::UNIX_EPOCH),
        passed: report.passed,
        detail: report.detail,
        took_ms: report.took.as_secs_f64() * 1e3,
        in_a_row: report.in_a_row,
    }
}

/// Routes with what came of their exchanges since the start. A failure is one on our side or a
/// backend's: what clients do wrong is no problem of ours.
pub(super) fn routes(facts: &Facts) -> Vec<Route> {
    let show = |route: &snapshot::Route| {
        let (mut requests, mut errors) = (0_u64, 0_u64);
        for (key, count) in route.counters.sum_requests() {
            requests = requests.saturating_add(count);
            if matches!(key.reason.source(), Source::Backend | Source::Ostler) {
                errors = errors.saturating_add(count);
            }
        }
        let pools: Vec<&str> = route.pools().map(|pool| &*pool.name).collect();
        let pool = (!pools.is_empty()).then(|| pools.join(", "));
        Route { name: route.name.to_string(), pool, requests, errors }
    };
    facts.current.load().routes.iter().map(|route| show(route)).collect()
}

/// Certificates in force, and how long they still hold.
pub(super) fn certificates(facts: &Facts) -> Vec<Certificate> {
    let now = Timestamp::now().as_second();
    let mut all = Vec::new();
    for listener in &facts.current.load().listeners {
        let Some(tls) = &listener.tls else { continue };
        for certificate in tls.server.store.load().certificates() {
            let ends = certificate.not_after;
            all.push(Certificate {
                listener: listener.name.to_string(),
                names: certificate.names.clone(),
                not_after: time(ends),
                days_left: ends.saturating_sub(now).div_euclid(DAY),
            });
        }
    }
    all
}

/// Revocation lists in force, and how long they still hold.
fn revocation_lists(facts: &Facts) -> Vec<RevocationList> {
    let mut all = Vec::new();
    for listener in &facts.current.load().listeners {
        let terms = listener.tls.as_ref().map(|tls| tls.server.terms());
        let auth = terms.as_ref().and_then(|terms| terms.client_auth.as_ref());
        all.extend(auth.iter().flat_map(|auth| &auth.lists).map(|list| RevocationList {
            listener: listener.name.to_string(),
            issuer: list.issuer.clone(),
            this_update: time(list.this_update),
            next_update: list.next_update.map(time),
        }));
    }
    all
}

/// A date beyond our calendar is as good as its end.
fn time(unix: i64) -> Timestamp {
    Timestamp::from_second(unix).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::facts;
    use super::super::view::Severity;
    use super::*;
    use crate::config::model::AdminState;

    #[test]
    fn the_status_shows_what_the_file_and_the_marks_say() {
        let facts = facts();
        let shop = &facts.current.load().pools[0].members[0].backend.state.clone();
        shop.set_mark(Some(AdminState::Drain), Some(5));
        let status = gather(&facts);
        assert_eq!(status.phase, "serving");
        assert_eq!(status.listeners[0].bound.len(), 1);
        let backend = &status.pools[0].backends[0];
        assert_eq!((backend.state.as_str(), backend.state_in_file), ("drain", AdminState::Up));
        assert_eq!((backend.weight, backend.weight_in_file), (5, 1));
        assert_eq!((backend.mark, &backend.verdict), (Some(AdminState::Drain), &None));
        assert_eq!(status.pools[0].usable, 1);
        // It travels as JSON and comes back as it was.
        let text = serde_json::to_string(&status).unwrap();
        let back: Status = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }

    #[test]
    fn errors_of_clients_are_not_errors_of_a_route() {
        use crate::telemetry::Reason;
        let facts = facts();
        let route = facts.current.load().routes[0].clone();
        for (status, reason) in
            [(200, Reason::None), (400, Reason::BadRequest), (502, Reason::BackendReset)]
        {
            route.counters.get(0).record(&http::Method::GET, status, reason);
        }
        let shown = &routes(&facts)[0];
        assert_eq!((shown.requests, shown.errors), (3, 1));
        assert!(gather(&facts).problems.iter().all(|one| one.severity < Severity::Critical));
    }
}
