//! `[pools.NAME.health]` as it is typed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, WordOr, Words};
use crate::config::unit::Time;

/// `health` of a pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthText {
    /// Path and query of a request.
    pub http: Option<At<String>>,
    /// A connection that opens is enough.
    pub tcp: Option<At<bool>>,
    /// A TLS handshake that comes to its end is enough.
    pub tls: Option<At<bool>>,
    /// Service that `grpc.health.v1` is asked about; empty: the server as a whole.
    pub grpc: Option<At<String>>,
    /// `Host` of the request; empty: the backend's address.
    pub host: Option<At<String>>,
    /// Method of the request.
    pub method: Option<At<String>>,
    /// Further fields of the request.
    pub headers: BTreeMap<String, At<String>>,
    /// Statuses that pass, as `200-399` or `200,204`.
    pub expect: Option<At<String>>,
    /// What the body must have in it.
    pub expect_body: Option<At<WordOr<BodyWord, BodyPatternText>>>,
    /// Where checks go.
    pub port: Option<At<i64>>,
    /// Between two checks of one backend.
    pub interval: Option<At<Time>>,
    /// The same while it is down.
    pub interval_down: Option<At<Time>>,
    /// The same while the verdict may turn.
    pub interval_changing: Option<At<Time>>,
    /// An answer must be complete by then.
    pub timeout: Option<At<Time>>,
    /// Passes in a row until up.
    pub rise: Option<At<i64>>,
    /// Failures in a row until down.
    pub fall: Option<At<i64>>,
    /// Of so many checks one asks in full.
    pub full_every: Option<At<i64>>,
    /// What a backend is until its checks have said something.
    pub initial: Option<At<InitialWord>>,
}

/// A value of `health.initial`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InitialWord {
    /// No traffic before the first pass.
    Checking,
    /// Takes traffic at once, until `fall` checks have failed.
    Up,
    /// No traffic before `rise` passes.
    Down,
}

/// A text that must stand in a body.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BodyWord(pub String);

impl Words for BodyWord {
    const FORMS: &'static str = "a text, or { regex = \"status: (ok|busy)\" }";
}

/// `expect_body = { regex = "…" }`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BodyPatternText {
    /// A regular expression that must match somewhere in the body.
    pub regex: Option<At<String>>,
}
