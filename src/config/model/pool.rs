//! Pools and their backends, as they hold.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::net::proxy_header::Version;

use super::{Concurrency, Ejection, Failback, Health, Located, Quorum, Sticky, WhenAllDown};

/// A named set of backends and the policy over them.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Configured name.
    pub name: Located<Arc<str>>,
    /// How a backend is picked.
    pub policy: PolicyKind,
    /// What `PolicyKind::Hash` hashes.
    pub hash_on: HashOn,
    /// In file order; may be empty.
    pub backends: Vec<Backend>,
    /// Present: TLS to the backends.
    pub tls: Option<PoolTls>,
    /// Whether they are spoken to in HTTP/2.
    pub http2: bool,
    /// Connections to each backend.
    pub connections: PoolConnections,
    /// Present: backends are checked and take nothing before their first pass.
    pub health: Option<Health>,
    /// Present: visitors are kept on their backend.
    pub sticky: Option<Sticky>,
    /// Who waits while backends are at `max_requests`.
    pub queue: Queue,
    /// Present: what each backend has in flight is limited, by how long it takes to answer.
    pub concurrency: Option<Concurrency>,
    /// How long a drain may take that is told nothing else; none: for ever.
    pub drain_deadline: Option<Duration>,
    /// Present: connections to the backends begin with a PROXY header.
    pub send_proxy: Option<Version>,
    /// How long a backend that comes (back) takes to reach its full share; none: it has it at once.
    pub slow_start: Option<Duration>,
    /// When real traffic ejects a backend; none: never.
    pub ejection: Option<Ejection>,
    /// What happens while no backend is usable.
    pub when_all_down: WhenAllDown,
    /// What happens when a lower tier is usable again.
    pub failback: Failback,
    /// Present: with too few usable backends, new visitors go to another pool.
    pub quorum: Option<Quorum>,
}

/// The waiting room of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Requests that may wait; 0: nobody waits.
    pub size: u32,
    /// How long one waits.
    pub timeout: Duration,
}

/// How a pool picks a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// Smooth weighted round-robin.
    RoundRobin,
    /// Fewest requests in flight for its weight.
    LeastRequest,
    /// Weighted random.
    Random,
    /// Lowest latency times requests in flight for its weight, where failures count as slow ones.
    PeakEwma,
    /// By a hash of `Pool::hash_on`, so that equal requests meet one backend.
    Hash,
}

/// What the policy `hash` hashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashOn {
    /// The client's address.
    Source,
    /// The value of this header.
    Header(HeaderName),
    /// The value of this cookie.
    Cookie(Box<str>),
    /// The value of this query parameter.
    Query(Box<str>),
    /// The path, without the query.
    Path,
}

/// One origin server of a pool.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Configured, or the address with `:` `/` `[` `]` folded to `-`; unique in its pool.
    pub id: Located<Arc<str>>,
    /// Whether the file gave the id.
    pub id_given: bool,
    /// Where it listens.
    pub address: Located<Address>,
    /// Share of new sessions and requests; 0: nobody new.
    pub weight: u32,
    /// What the file says about it.
    pub state: AdminState,
    /// Requests in flight to it, over all workers; 0: no limit.
    pub max_requests: u32,
    /// It serves new visitors while no backend of a lower tier is usable.
    pub tier: u8,
    /// Present: it stands for as many backends as DNS says, and is none itself.
    pub discover: Option<Discover>,
    /// Present: it stands in no file, DNS has said so.
    pub found: Option<Found>,
}

/// Which records tell the backends behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discover {
    /// A and AAAA: an address each.
    Dns,
    /// SRV (RFC 2782): a host, a port and a weight each.
    Srv,
}

/// Where a backend comes from that stands in no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As the file has it: `app.internal:8080`, `_http._tcp.app.internal`.
    pub name: Arc<str>,
    /// The host that has the address, for TLS.
    pub host: Arc<str>,
    /// Present: the answer has it no more.
    pub leaving: Option<Leaving>,
}

/// How a backend goes that DNS does not tell any more. Times are Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// When the answer had it no more.
    pub since: u32,
    /// Who is bound then is moved; none: everybody may stay.
    pub until: Option<u32>,
}

/// Host and port of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Literal or name.
    pub host: AddressHost,
    /// TCP port; 0: SRV records tell it.
    pub port: u16,
}

/// The id of a backend that was given none: its address, without what no id may have.
pub fn folded(address: &str) -> Arc<str> {
    Arc::from(address.replace([':', '/', '[', ']'], "-"))
}

/// Host of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AddressHost {
    /// Needs no look-up.
    Ip(IpAddr),
    /// Resolved on the control thread, again by its TTL.
    Name(Arc<str>),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            AddressHost::Ip(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
            AddressHost::Name(name) if self.port == 0 => f.write_str(name),
            AddressHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// What an operator says about a backend, in the file or by a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// Serves.
    Up,
    /// Serves who is bound to it, takes nobody new.
    Drain,
    /// Serves nobody.
    Maint,
}

/// TLS to the backends of a pool.
#[derive(Debug, Clone)]
pub struct PoolTls {
    /// Server name sent and verified; none: the backend's own host.
    pub server_name: Option<String>,
    /// PEM bundle that signs the backends; none: the system's.
    pub ca: Option<Located<PathBuf>>,
    /// Whether certificates are verified.
    pub verify: bool,
}

/// Connections to each backend of a pool, over all workers.
#[derive(Debug, Clone, Copy)]
pub struct PoolConnections {
    /// Idle ones kept.
    pub idle: usize,
    /// Longest idleness, unless the backend's own `Keep-Alive` allows more.
    pub idle_timeout: Duration,
    /// Oldest connection that is reused; `None`: any.
    pub max_age: Option<Duration>,
    /// TCP (and TLS) must be up by then.
    pub connect_timeout: Duration,
}
