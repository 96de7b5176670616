//! Certificates and revocation lists, as they are shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Certificate {
    /// Listener that has it.
    pub listener: String,
    /// Names it is for.
    pub names: Vec<String>,
    /// Last second of its validity.
    pub not_after: Timestamp,
    /// Whole days until then; negative once it has ended.
    pub days_left: i64,
}

/// A revocation list for certificates of clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevocationList {
    /// Listener that looks into it.
    pub listener: String,
    /// Whose certificates it is about.
    pub issuer: String,
    /// Since when it holds.
    pub this_update: Timestamp,
    /// Until when; none: it does not say.
    pub next_update: Option<Timestamp>,
}
