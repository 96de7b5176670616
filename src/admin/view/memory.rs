//! How much memory the process has, as it is shown.

use serde::{Deserialize, Serialize};

/// Memory of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes that there are.
    pub budget: u64,
    /// Bytes that it has.
    pub used: u64,
    /// Who has to go: `calm`, `idle`, `handshakes`, `sessions` or `everybody`.
    pub level: String,
}
