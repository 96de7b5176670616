//! Live sessions and drains, in the shape in which they travel.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{Then, Tunnels};

/// Live sessions of several nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The node that was asked first, then its peers in the order of its file.
    pub nodes: Vec<Sessions>,
}

/// Live sessions of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Name of the node.
    pub node: String,
    /// Whether a state folder keeps the counts over a restart.
    pub kept: bool,
    /// Since the start of the process.
    pub uptime_seconds: u64,
    /// In file order.
    pub pools: Vec<PoolSessions>,
}

impl Sessions {
    /// For how many seconds a pool's sessions have been counted. A node of an earlier version says
    /// no more than since when it runs.
    pub fn counted(&self, pool: &PoolSessions) -> u64 {
        pool.counted_for_seconds.unwrap_or(self.uptime_seconds)
    }
}

/// Live sessions of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSessions {
    /// Configured name.
    pub name: String,
    /// What binds: `cookie`, `header:x-user`, …; `none` where nothing does.
    pub by: String,
    /// Seen within the pool's `idle` time.
    pub sessions: u64,
    /// Whether that is a count, and not an estimate.
    pub exact: bool,
    /// Whether all that are live can have been seen.
    pub complete: bool,
    /// When that will be, if nothing is lost.
    pub complete_in_seconds: u64,
    /// For how long they have been counted while that is not enough, an orderly restart included.
    #[serde(default)]
    pub counted_for_seconds: Option<u64>,
    /// Sessions begun since the start, those that never came back too.
    pub issued: u64,
    /// In file order, then those that have left the file.
    pub backends: Vec<BackendSessions>,
}

/// Live sessions of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendSessions {
    /// Stable id within the pool.
    pub id: String,
    /// What holds, as in the status: `up`, `drain`, `maint`, `down`, `unchecked` or `ghost`.
    pub state: String,
    /// Seen within the pool's `idle` time.
    pub sessions: u64,
    /// Whether that is a count, and not an estimate.
    pub exact: bool,
    /// Exchanges under way, without tunnels.
    pub exchanges: u32,
    /// Tunnels that are open.
    pub tunnels: u32,
    /// Surely nobody is bound: no session, no exchange, no tunnel, and complete counts.
    pub empty: bool,
    /// How it is drained, while it is.
    pub drain: Option<Drain>,
}

/// A drain under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// When it began.
    pub since: Timestamp,
    /// When those still bound have to go; none: when they have gone by themselves.
    pub deadline: Option<Timestamp>,
    /// Whether the deadline has passed.
    pub over: bool,
    /// Whoever was quiet for so long is moved at the next request.
    pub quiet_seconds: Option<u32>,
    /// What the deadline does.
    pub then: Then,
    /// What happens to tunnels before it.
    pub tunnels: Tunnels,
    /// Sessions that it has moved: at the deadline, or for being quiet.
    pub moved: u64,
}
