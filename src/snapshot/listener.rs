//! One listener as connections and requests see it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::model::{ListenerLimits, ListenerTimeouts, Protocols, ProxyProtocol};
use crate::net::trust::TrustSet;
use crate::route::Table;
use crate::route::action::RedirectPlan;
use crate::telemetry::counters::{ListenerCounters, PerWorker};
use crate::tls::server::Server;

use super::{ErrorPages, Route};

/// A listener, compiled.
#[derive(Debug)]
pub struct Listener {
    /// Its place in `Snapshot::listeners`.
    pub index: usize,
    /// Configured name.
    pub name: Arc<str>,
    /// Its number, the same in every generation that has a listener of this name.
    pub slot: usize,
    /// Addresses as configured; what port 0 became is known to the server.
    pub bind: Box<[SocketAddr]>,
    /// What a client may speak here.
    pub protocols: Protocols,
    /// Present: TLS.
    pub tls: Option<ListenerTls>,
    /// Answer everything with a 308 to `https` on this port.
    pub redirect_https: Option<RedirectPlan>,
    /// Pages in place of our own answers.
    pub error_pages: Arc<ErrorPages>,
    /// Whose `X-Forwarded-*` and PROXY headers are believed.
    pub trusted: TrustSet,
    /// Whether their connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// Whether some backend is told where clients connected to.
    pub tells_ends: bool,
    /// Sizes and counts.
    pub limits: ListenerLimits,
    /// Waits.
    pub timeouts: ListenerTimeouts,
    /// Host and path to route.
    pub routes: Table<Arc<Route>>,
    /// Kept across generations.
    pub counters: Arc<PerWorker<ListenerCounters>>,
}

/// TLS of a listener, compiled.
#[derive(Debug)]
pub struct ListenerTls {
    /// Its side of handshakes.
    pub server: Server,
    /// Whether backends are told the client's certificate.
    pub client_cert_header: bool,
}
