//! Where a request would go and why, and cookies for a look, in the shape in which they travel.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a request would go, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The listener that would take it.
    pub listener: Option<String>,
    /// How that was found, where the URL does not say it.
    pub listener_note: Option<String>,
    /// The route that takes it; none: it is refused, as `action` says.
    pub route: Option<String>,
    /// The route that would take it from other clients, where nobody has said whose it is.
    #[serde(default)]
    pub route_note: Option<String>,
    /// Routes that would come first, and what they ask for that this request has not.
    #[serde(default)]
    pub unmet: Vec<String>,
    /// Whom the route lets in by address, where that is not everybody.
    #[serde(default)]
    pub access: Option<String>,
    /// How often a client may ask, where there is a limit.
    #[serde(default)]
    pub rate: Option<String>,
    /// Who is let in, where the route asks.
    #[serde(default)]
    pub auth: Option<String>,
    /// What is done: a refusal, a redirect, a fixed answer, or the pools it goes to.
    pub action: String,
    /// The pools that it may go to, in file order.
    pub pools: Vec<Share>,
    /// How visitors are kept there, where they are.
    pub session: Option<Session>,
    /// What would happen now; none where nothing is forwarded.
    pub now: Option<Outcome>,
}

/// A pool's share of new visitors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Configured name of the pool.
    pub pool: String,
    /// Of all new visitors of the route.
    pub weight: u32,
    /// How the pool picks.
    pub policy: String,
    /// Backends that take anybody.
    pub usable: Vec<String>,
}

/// How visitors are kept, and who this one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// What binds, as in the file.
    pub by: String,
    /// Where a binding holds.
    pub scope: String,
    /// The cookies that were given, in the order they came.
    pub cookies: Vec<Opened>,
}

/// A cookie, opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The key that sealed it, two hexadecimal digits, as `ostler check` prints them.
    pub key: Option<String>,
    /// Why it is no token of ours here.
    pub problem: Option<String>,
    /// What it says.
    pub token: Option<Binding>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Id of the session, sixteen hexadecimal digits.
    pub session: String,
    /// The pool, or the hash that nobody here has.
    pub pool: String,
    /// The backend, or the hash that nobody here has.
    pub backend: String,
    /// The backend it began on.
    pub home: String,
    /// When it began.
    pub first_seen: Timestamp,
    /// When it was written last.
    pub last_seen: Timestamp,
    /// Until it ends unless it is used; 0: it has ended.
    pub idle_left_seconds: u64,
    /// Until it ends even if it is used; none: never.
    pub lifetime_left_seconds: Option<u64>,
    /// For a look at its backend until this time, made by `ostler token`.
    pub look_until: Option<Timestamp>,
}

/// What would happen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The pool.
    pub pool: String,
    /// The backend, where it is certain.
    pub backend: Option<String>,
    /// What the request brings, as in the metrics: `valid`, `expired`, …
    pub token: Option<String>,
    /// What becomes of its session: `kept`, `bound`, `moved`, `refused`, …
    pub outcome: Option<String>,
    /// Why it moves, as in the metrics.
    pub cause: Option<String>,
    /// Why, in words.
    pub why: String,
}

/// Cookies for a look at a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Its pool.
    pub pool: String,
    /// Its id.
    pub backend: String,
    /// When they end.
    pub until: Timestamp,
    /// One for each scope in which the pool's visitors are bound.
    pub tokens: Vec<LookToken>,
}

/// A cookie for a look, by the client's scheme.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookToken {
    /// Where it holds.
    pub scope: String,
    /// For requests over https.
    pub https: Cookie,
    /// For requests over http.
    pub http: Cookie,
}

/// A cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}
