//! Everything that can make the process change course, as one closed enum.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Sends events to the control thread.
pub type Sender = mpsc::Sender<Event>;

/// What an asker is told: a JSON document, or why not.
pub type Reply = oneshot::Sender<Result<serde_json::Value, Refusal>>;

/// Why something asked for was not done, for `application/problem+json` (RFC 9457).
#[derive(Debug, Clone)]
pub struct Refusal {
    /// HTTP status of the answer.
    pub status: u16,
    /// One line that says what to do.
    pub title: String,
    /// More, when there is more: for a refused file its rendered report.
    pub detail: String,
    /// Further members of the problem document.
    pub members: serde_json::Map<String, serde_json::Value>,
}

/// Who asked, as it stands in the audit log: `SIGHUP`, `uid 0 pid 812`, `file watch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(pub String);

/// Something that the control thread acts upon, one after the other.
#[derive(Debug)]
pub enum Event {
    /// Read the file again and apply it.
    Reload {
        /// Who asked.
        actor: Actor,
        /// Told what changed, or every mistake.
        reply: Option<Reply>,
    },
    /// The watched file was written.
    FileChanged,
    /// A watched certificate or key was written.
    CertificatesChanged,
    /// An operator's live override.
    Mark {
        /// What is asked.
        change: MarkChange,
        /// Who asked.
        actor: Actor,
        /// Told the marks in force, or why it was refused.
        reply: Reply,
    },
    /// A lower tier of a pool is given its visitors back.
    Failback {
        /// Of which pool.
        wish: Failback,
        /// Who asked.
        actor: Actor,
        /// Told which tier serves, or why none lower does.
        reply: Reply,
    },
    /// The verdict of a backend's checks changed.
    Verdict {
        /// Its pool.
        pool: String,
        /// Its id.
        backend: String,
        /// Up or down.
        up: bool,
        /// What the deciding check saw.
        detail: String,
    },
    /// A backend says something else about itself on the answers to its checks.
    OwnWord {
        /// Its pool.
        pool: String,
        /// Its id.
        backend: String,
        /// As the field has it; empty: nothing any more.
        word: String,
    },
    /// Open log files again (SIGUSR1).
    ReopenLogs,
    /// Drain, then end. A second one ends at once.
    Stop {
        /// Who asked.
        actor: Actor,
        /// Told when draining has begun.
        reply: Option<Reply>,
    },
}

/// An operator gives a pool's lowest usable tier its visitors back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failback {
    /// Of this pool.
    pub pool: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// What an operator wants of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkChange {
    /// Which backends.
    pub target: MarkTarget,
    /// What about them.
    pub action: MarkAction,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// When it ends by itself.
    pub until: Option<SystemTime>,
    /// Even where a pool is left without a usable backend.
    pub force: bool,
}

/// Which backends a mark is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkTarget {
    /// One backend of one pool.
    Backend {
        /// Its pool.
        pool: String,
        /// Its id.
        backend: String,
    },
    /// `IP` or `IP:PORT`: in every pool that has it.
    Address(String),
}

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkAction {
    /// Up, whatever the file says.
    Ready,
    /// The bound may stay for a while, nobody new.
    Drain(DrainPlan),
    /// Out at once.
    Maint,
    /// This weight, whatever the file says.
    Weight(u32),
    /// Back to what the file says.
    Unmark,
}

/// How a backend is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainPlan {
    /// When those still bound have to go.
    pub deadline: Until,
    /// Whoever was quiet for so long is moved at the next request, before the deadline.
    pub quiet: Option<Duration>,
    /// What the deadline does to those still bound.
    pub then: Then,
    /// What happens to tunnels before the deadline.
    pub tunnels: Tunnels,
}

/// When a drain is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// As the pool's `drain.deadline` says.
    #[default]
    Default,
    /// When the last one has gone by itself.
    Never,
    /// After this time.
    After(Duration),
}

/// What the deadline of a drain does to those still bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// They move at their next request; running exchanges finish.
    #[default]
    Move,
    /// Exchanges and tunnels are cut off too.
    Cut,
}

/// What a drain does to tunnels before its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tunnels {
    /// They stay.
    #[default]
    Keep,
    /// They are closed, spread over time.
    Close,
}
