//! A backend's check, run for somebody who looks: it changes no verdict and counts nowhere.

use std::time::Instant;

use serde_json::Value;

use super::answer::refusal;
use super::api::Api;
use super::view::probe::{Probed, ProbedCheck};
use crate::event::Refusal;
use crate::health::Probe;

/// Runs it, and shows all that was said.
///
/// # Errors
/// Where there is no such backend, where it has no check, or where too many are being run.
pub(super) async fn probe(api: &Api, pool: &str, backend: &str) -> Result<Value, Refusal> {
    let Ok(_place) = api.probes.try_acquire() else {
        return Err(refusal(503, "too many probes are being run: ask again"));
    };
    let snapshot = api.facts.current.load();
    let Some(pool) = snapshot.pool(pool) else {
        return Err(refusal(404, format!("there is no pool {pool}")));
    };
    let Some(member) = pool.member(backend) else {
        return Err(refusal(404, format!("pool {} has no backend {backend}", pool.name)));
    };
    let Some(health) = &pool.health else {
        let text = format!("pool {} has no `health`: there is no check to run", pool.name);
        return Err(refusal(422, text));
    };
    let backend = &member.backend;
    let probe = Probe::of(pool, health, backend);
    let begun = Instant::now();
    let (outcome, steps) = probe.show(&backend.state.addresses()).await;
    let passed = outcome.result.is_ok();
    let (Ok(detail) | Err(detail)) = outcome.result;
    let check = ProbedCheck {
        asks: health.kind.to_string(),
        passed,
        detail,
        took_ms: begun.elapsed().as_secs_f64() * 1e3,
        steps,
    };
    let probed = Probed {
        pool: pool.name.to_string(),
        backend: backend.id.to_string(),
        address: backend.address.to_string(),
        passed,
        verdict: backend.state.verdict(),
        checks: vec![check],
    };
    serde_json::to_value(probed)
        .map_err(|error| refusal(500, format!("the probe cannot be written: {error}")))
}
