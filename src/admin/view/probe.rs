//! What a probe of a backend has seen.

use serde::{Deserialize, Serialize};

use crate::backend::Verdict;
use crate::health::Step;

/// A backend's checks, each run once for somebody who looks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probed {
    /// Its pool.
    pub pool: String,
    /// Its id.
    pub backend: String,
    /// As configured.
    pub address: String,
    /// Whether all passed.
    pub passed: bool,
    /// What its checks say; a probe does not change it.
    pub verdict: Verdict,
    /// In the order of the file.
    pub checks: Vec<ProbedCheck>,
}

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbedCheck {
    /// What it asks: `GET /healthz`, `tcp`.
    pub asks: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen, or which expectation failed.
    pub detail: String,
    /// How long it took.
    pub took_ms: f64,
    /// All that was said, in the order of time.
    pub steps: Vec<Step>,
}
