//! Active checks, as they hold.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;
use std::time::Duration;

use regex::bytes::Regex;

/// An active check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Health {
    /// What is asked.
    pub kind: HealthKind,
    /// Where it is asked; none: at the backend's own port.
    pub port: Option<u16>,
    /// Between two checks of one backend at the most: up to a tenth less.
    pub interval: Duration,
    /// The same while it is down.
    pub interval_down: Duration,
    /// The same while the verdict may turn.
    pub interval_changing: Duration,
    /// An answer must be complete by then.
    pub timeout: Duration,
    /// Passes in a row until up.
    pub rise: u32,
    /// Failures in a row until down.
    pub fall: u32,
    /// Of so many checks of a backend that is up one asks in full, the others only connect.
    pub full_every: u32,
    /// What a backend is until its checks have said something.
    pub initial: Initial,
}

/// What a backend is until its checks have said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Initial {
    /// Not known: no traffic, and the first check decides.
    #[default]
    Checking,
    /// Up, until `fall` checks have failed.
    Up,
    /// Down, until `rise` checks have passed.
    Down,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HealthKind {
    /// A TCP connection that opens (with the pool's TLS).
    Tcp,
    /// A handshake with the pool's TLS, each from the beginning, so that its certificate counts.
    Tls,
    /// A question to `grpc.health.v1` over HTTP/2.
    Grpc {
        /// What is asked about; empty: the server as a whole.
        service: String,
        /// `:authority`; empty: the backend's address.
        host: String,
        /// Further fields, name and value.
        headers: Vec<(String, String)>,
    },
    /// An HTTP request.
    Http {
        /// Path and query.
        path: String,
        /// `Host`; empty: the backend's address.
        host: String,
        /// Request method.
        method: String,
        /// Further fields, name and value.
        headers: Vec<(String, String)>,
        /// Statuses that pass.
        expect: Vec<RangeInclusive<u16>>,
        /// What the body must have in it, if anything.
        expect_body: Option<BodyTest>,
    },
}

/// What is asked, in a few words: `GET /healthz`, `tcp`, `grpc shop.v1.Cart`.
impl fmt::Display for HealthKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Tls => f.write_str("tls"),
            Self::Grpc { service, .. } if service.is_empty() => f.write_str("grpc"),
            Self::Grpc { service, .. } => write!(f, "grpc {service}"),
            Self::Http { method, path, .. } => write!(f, "{method} {path}"),
        }
    }
}

/// What is looked for in the body of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BodyTest {
    /// This text, anywhere in it.
    Text(String),
    /// Something that this matches.
    Pattern(BodyPattern),
}

/// A regular expression, which is equal to another one that is written alike.
#[derive(Debug, Clone)]
pub struct BodyPattern(pub Regex);

impl PartialEq for BodyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for BodyPattern {}

impl Hash for BodyPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}
