//! `[pools.NAME]` as it is typed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    AllDownText, AllDownWord, At, ConcurrencyText, ConcurrencyWord, EjectionText, FailbackText,
    FailbackWord, HealthText, List, NoEjectionWord, QuorumText, StickyText, WordOr,
};
use crate::config::model::{AdminState, Discover};
use crate::config::unit::Time;

/// What `hash_on` may say, for the schema.
const HASH_ON_PATTERN: &str = r"^(source|path|(header|cookie|query):.+|.*\$\{.*)$";

/// `[pools.NAME]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PoolText {
    /// How a backend is picked.
    pub policy: Option<At<PolicyWord>>,
    /// What `policy = "hash"` hashes: `source`, `header:NAME`, `cookie:NAME`, `query:NAME` or
    /// `path`.
    #[schemars(extend("pattern" = HASH_ON_PATTERN))]
    pub hash_on: Option<At<String>>,
    /// Origin servers.
    pub backends: Option<List<BackendText>>,
    /// Present: TLS to the backends.
    pub tls: Option<PoolTlsText>,
    /// Connections to each backend, over all workers.
    pub connections: ConnectionsText,
    /// Present: backends are checked.
    pub health: Option<At<HealthText>>,
    /// Present: visitors are kept on their backend.
    pub sticky: Option<At<StickyText>>,
    /// Who waits while backends are at `max_requests`.
    pub queue: QueueText,
    /// Whether a limit of requests to each backend follows how long it takes to answer.
    pub concurrency: Option<At<WordOr<ConcurrencyWord, ConcurrencyText>>>,
    /// What `ostler drain` does that is told nothing else.
    pub drain: DrainText,
    /// What is spoken to the backends.
    pub protocol: Option<At<PoolProtocolWord>>,
    /// PROXY header before everything else on connections to the backends.
    pub send_proxy: Option<At<SendProxyWord>>,
    /// How long a backend that comes (back) takes to reach its full share; `"0s"`: none.
    pub slow_start: Option<At<Time>>,
    /// When failures of real requests take a backend out.
    pub ejection: Option<At<WordOr<NoEjectionWord, EjectionText>>>,
    /// What happens while no backend is usable.
    pub when_all_down: Option<At<WordOr<AllDownWord, AllDownText>>>,
    /// What happens when a lower tier is usable again.
    pub failback: Option<At<WordOr<FailbackWord, FailbackText>>>,
    /// Present: with too few usable backends, new visitors go to another pool.
    pub quorum: Option<At<QuorumText>>,
}

/// A value of `protocol` of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum PoolProtocolWord {
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2, agreed on by TLS.
    #[serde(rename = "h2")]
    Http2,
    /// HTTP/2 without TLS, by prior knowledge.
    #[serde(rename = "h2c")]
    Http2Plain,
}

/// A value of `send_proxy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SendProxyWord {
    /// None.
    Off,
    /// A line.
    V1,
    /// Binary.
    V2,
}

/// A value of `policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyWord {
    /// In turn, by weight.
    RoundRobin,
    /// Fewest requests in flight for its weight.
    LeastRequest,
    /// At random, by weight.
    Random,
    /// Lowest latency times requests in flight for its weight.
    PeakEwma,
    /// By a hash of `hash_on`.
    Hash,
}

/// One of `backends`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackendText {
    /// Stable name; sessions know the backend by it.
    pub id: Option<At<String>>,
    /// Host and port; with `discover = "srv"` the name of the records.
    pub address: Option<At<String>>,
    /// Share of new sessions and requests; 0: nobody new.
    pub weight: Option<At<i64>>,
    /// `up`, `drain` or `maint`.
    #[schemars(with = "Option<StateWord>")]
    pub state: Option<At<AdminState>>,
    /// Requests in flight to it; 0: no limit.
    pub max_requests: Option<At<i64>>,
    /// Serves only while no backend of a lower tier is usable.
    pub tier: Option<At<i64>>,
    /// Whether DNS tells the backends behind a name, and by which records.
    #[schemars(with = "Option<DiscoverWord>")]
    pub discover: Option<At<Discover>>,
}

/// The schema of `discover`, which the model owns.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
enum DiscoverWord {
    /// A and AAAA: each address is a backend.
    Dns,
    /// SRV: each address of each host is a backend.
    Srv,
}

/// The schema of a backend's state, which the model owns.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
enum StateWord {
    /// Serves.
    Up,
    /// Serves who is bound to it, takes nobody new.
    Drain,
    /// Serves nobody.
    Maint,
}

/// `tls` of a pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PoolTlsText {
    /// Server name sent and verified.
    pub server_name: Option<At<String>>,
    /// File with the PEM bundle that signs the backends.
    pub ca: Option<At<String>>,
    /// Whether certificates are verified.
    pub verify: Option<At<bool>>,
}

/// `connections` of a pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionsText {
    /// Idle ones kept to each backend.
    pub idle: Option<At<i64>>,
    /// Longest idleness.
    pub idle_timeout: Option<At<Time>>,
    /// Oldest connection that is reused.
    pub max_age: Option<At<Time>>,
    /// TCP and TLS must be up by then.
    pub connect_timeout: Option<At<Time>>,
}

/// `queue` of a pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueText {
    /// Requests that may wait; 0: nobody waits.
    pub size: Option<At<i64>>,
    /// How long one waits.
    pub timeout: Option<At<Time>>,
}

/// `drain` of a pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrainText {
    /// Who is left then is moved.
    pub deadline: Option<At<Time>>,
}
