//! What a table is built from, and what may be wrong with it.

use super::condition::Conditions;
use crate::config::model::{HostPattern, PathPattern};

/// One route of a listener, as the table takes it.
#[derive(Debug, Clone)]
pub struct Rule<T> {
    /// Empty: any host.
    pub hosts: Vec<HostPattern>,
    /// Which paths. Exact paths and prefixes are normalised as requests are; `/api/` is the same
    /// prefix as `/api`, and `/` the same as any path. A regex is taken as it is: the model has
    /// anchored it.
    pub path: PathPattern,
    /// What else is asked of a request; none: nothing.
    pub conditions: Option<Conditions>,
    /// What `Table::find` gives back.
    pub value: T,
}

/// Two rules of which none is the more specific: same host pattern, same path, as many
/// conditions, and none that tells their requests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tie {
    /// Index of the earlier rule.
    pub first: usize,
    /// Index of the later one.
    pub second: usize,
}
