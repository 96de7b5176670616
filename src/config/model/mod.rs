//! What holds: the configuration after validation, complete, with a place for every name.

mod admin;
mod auth;
mod condition;
mod error_page;
mod health;
mod listener;
mod outage;
mod password;
mod pool;
mod route;
mod scope;
mod secret;
mod sticky;

use std::net::SocketAddr;
use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::time::Duration;

pub use admin::{Admin, AdminTls, AdminToken, Peer, Role};
pub use auth::{Auth, BasicAuth, ForwardAuth, Users};
pub use condition::{Access, Conditions, FieldCondition, FieldName, RateLimit, ValueTest};
pub use error_page::{ErrorPage, PageKind, Statuses};
pub use health::{BodyPattern, BodyTest, Health, HealthKind, Initial};
pub use listener::{
    CertificateFiles, ClientAuth, Listener, ListenerLimits, ListenerTimeouts, ListenerTls,
    Protocols, ProxyProtocol, TlsVersion, UnknownName,
};
pub use outage::{Concurrency, Ejection, Failback, Quorum, WhenAllDown};
pub use password::{PasswordHash, WrongHash};
pub use pool::{
    Address, AddressHost, AdminState, Backend, Discover, Found, HashOn, Leaving, PolicyKind, Pool,
    PoolConnections, PoolTls, Queue, folded,
};
pub use route::{
    Action, HostPattern, PathPattern, Redirect, Respond, Retry, Route, RouteTimeouts, Share,
    TemplatePiece,
};
pub use scope::{Scope, scopes};
pub use secret::{AdminSecret, SecretKey};
pub use sticky::{By, OnCacheable, OnDown, OnFull, OnRemove, Rebalance, SameSite, Sticky};

/// Where something was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Byte range in the file's text; empty for what nobody wrote (a default).
    pub span: Range<usize>,
}

/// A value and where it was written, so that later mistakes can point at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<T> Located<T> {
    /// A value that stands in no file.
    pub fn nowhere(value: T) -> Self {
        Self { value, place: Place::default() }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// Validated configuration. Nobody checks it again; what can only fail later (certificates,
/// keys, binding) reports into the same `config::Report` with these places.
#[derive(Debug, Clone)]
pub struct Model {
    /// In file order.
    pub listeners: Vec<Listener>,
    /// In file order.
    pub routes: Vec<Route>,
    /// In file order.
    pub pools: Vec<Pool>,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[sessions]`.
    pub sessions: Sessions,
    /// `[admin]`.
    pub admin: Admin,
    /// `[runtime]`.
    pub runtime: Runtime,
    /// `[log]`.
    pub log: Log,
}

/// `[metrics]`.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `/metrics`, `/livez`, `/readyz`; `None` where the file says `"none"`.
    pub bind: Option<Located<SocketAddr>>,
    /// Indexes into `Model::pools`: without these `/readyz` is red.
    pub ready_requires: Vec<usize>,
}

/// `[sessions]`.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// The first seals, all open. Empty: made and kept in `state_dir`.
    pub keys: Vec<SecretKey>,
}

/// `[runtime]`.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Worker threads.
    pub workers: usize,
    /// Where keys, marks and the last good file are kept; `None`: found by the default rule.
    pub state_dir: Option<Located<PathBuf>>,
    /// Apply the file by itself when it changes.
    pub watch_file: bool,
    /// Load changed certificates by themselves.
    pub watch_certificates: bool,
    /// At stop: not ready, still accepting.
    pub stop_delay: Duration,
    /// Then: exchanges and tunnels may finish.
    pub drain_timeout: Duration,
    /// Client connections in all; `None`: from `RLIMIT_NOFILE`.
    pub max_connections: Option<usize>,
    /// Bytes that the process may have before it sheds load in order; `None`: any.
    pub memory: Option<Located<u64>>,
    /// Verdicts are frozen where all checks fail at once.
    pub blind_guard: bool,
    /// Name servers that are asked; empty: the system's.
    pub resolvers: Vec<SocketAddr>,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    /// A `tracing` filter such as `info`.
    pub level: String,
    /// Whether exchanges are logged.
    pub access: bool,
    /// Where to.
    pub to: LogTarget,
    /// Where the file says so.
    pub to_place: Place,
    /// What of a query string is written.
    pub query: QueryPolicy,
}

/// Where logs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, reopened on SIGUSR1.
    File(PathBuf),
}

/// What of a query string is written to the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryPolicy {
    /// All of it.
    Keep,
    /// Names, with values replaced.
    Redact,
    /// Nothing.
    Drop,
}
