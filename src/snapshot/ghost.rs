//! A backend that has left the file, while somebody may still be bound to it.

use std::sync::Arc;

use crate::config::model::Address;

/// What is left of it. It takes nobody new, and is ended by its first failed check or connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ghost {
    /// Its pool.
    pub pool: Arc<str>,
    /// Its id, by which tokens find it.
    pub id: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// Requests at once; 0: no limit.
    pub max_requests: u32,
    /// When its time is over, in Unix seconds.
    pub until: u32,
}
