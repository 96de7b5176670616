//! What a pool does about backends that fail, as it is typed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, List, RespondText, Words};
use crate::config::unit::{Percent, Time};

/// The word of `ejection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoEjectionWord {
    /// Nobody is ejected.
    Off,
}

impl Words for NoEjectionWord {
    const FORMS: &'static str =
        r#""off", or { on = ["connect"], consecutive = 5, base = "10s", max_ejected = "50%" }"#;
}

/// The table of `ejection`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EjectionText {
    /// Which failures count.
    pub on: Option<List<EjectionFailureWord>>,
    /// So many in a row eject.
    pub consecutive: Option<At<i64>>,
    /// How long the first ejection lasts.
    pub base: Option<At<Time>>,
    /// Backends in percent that may be ejected at a time.
    pub max_ejected: Option<At<Percent>>,
}

/// A word of `ejection.on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EjectionFailureWord {
    /// A connection that was refused or not up in time.
    Connect,
    /// A connection that broke before any answer.
    Reset,
    /// An answer that did not come in time.
    Timeout,
    /// A 5xx of the backend.
    #[serde(rename = "5xx")]
    Status5xx,
}

/// The words of `concurrency`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConcurrencyWord {
    /// No limit but `max_requests`.
    Off,
    /// A limit that follows, within the default bounds.
    Adaptive,
}

impl Words for ConcurrencyWord {
    const FORMS: &'static str = r#""off", "adaptive", or { min = 5, max = 1000 }"#;
}

/// The table of `concurrency`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConcurrencyText {
    /// The limit never falls below it, and begins with it.
    pub min: Option<At<i64>>,
    /// The limit never rises above it.
    pub max: Option<At<i64>>,
}

/// A word of `when_all_down`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AllDownWord {
    /// Requests fail with 503.
    Fail,
    /// Backends that are down are tried all the same.
    TryAll,
}

impl Words for AllDownWord {
    const FORMS: &'static str =
        r#""fail", "try-all", { pool = "spare" }, or { respond = { status = 503, body = "…" } }"#;
}

/// The table of `when_all_down`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AllDownText {
    /// Requests go to this pool.
    pub pool: Option<At<String>>,
    /// Requests get a fixed response, 503 unless it says otherwise.
    pub respond: Option<At<RespondText>>,
}

/// A word of `failback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailbackWord {
    /// At once, and the bound move at their next request.
    Auto,
    /// When an operator says so.
    Manual,
    /// At once for new visitors; the bound stay.
    NewSessions,
}

impl Words for FailbackWord {
    const FORMS: &'static str = r#""auto", "manual", "new-sessions", or { after = "5m" }"#;
}

/// The table of `failback`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FailbackText {
    /// When the lower tier has been usable for so long.
    pub after: Option<At<Time>>,
}

/// `quorum` of a pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuorumText {
    /// With fewer usable backends it is lost.
    pub min: Option<At<i64>>,
    /// With so many it is there again.
    pub again: Option<At<i64>>,
    /// Where new visitors go meanwhile.
    pub pool: Option<At<String>>,
}
