//! Every default and every limit, each with its reason.

use std::time::Duration;

// Limits of the file itself.

/// Bytes of a configuration file: 100,000 routes fit; a mistaken path to a disk image does not.
pub const MAX_FILE: u64 = 16 << 20;
/// Bytes of what `${file:…}` takes in, and of a file of users: 10,000 of them, never data.
pub const MAX_EXPANDED_FILE: u64 = 1 << 20;
/// Routes of a file: beyond, the router's tables no longer fit a cache by any measure.
pub const MAX_ROUTES: usize = 100_000;
/// Pools of a file: each has series, checks and a table of its own.
pub const MAX_POOLS: usize = 10_000;
/// Backends over all pools: each has series and checks of its own.
pub const MAX_BACKENDS: usize = 100_000;
/// Listeners of a file: each has sockets on every worker.
pub const MAX_LISTENERS: usize = 1_000;
/// Characters of a name: it becomes a metric label and a part of a cookie's name.
pub const MAX_NAME: usize = 64;
/// The longest duration, a hundred years: more is a slip of the pen, and would overflow clocks.
pub const MAX_DURATION: Duration = Duration::from_hours(36_500 * 24);
/// Mistakes drawn at once: nobody reads more, and JSON has them all.
pub const MAX_RENDERED_MISTAKES: usize = 200;
/// Mistakes looked for in one object, so that a garbled file ends.
pub const MAX_MISTAKES_PER_OBJECT: usize = 100;
/// Requests in a second that a limit may let through: the finest that is counted exactly.
pub const MAX_RATE: u64 = 100_000;
/// Requests at once that a limit may let through.
pub const MAX_BURST: i64 = 1_000_000;
/// Routes with a limit: each has a table of 512 KiB.
pub const MAX_RATE_LIMITS: usize = 256;
/// Headers, parameters and cookies that one route asks for: each is looked at for every request.
pub const MAX_CONDITIONS: usize = 32;
/// Bytes of one compiled `path_regex`: it runs on the request path and must stay in the caches.
pub const MAX_REGEX: usize = 1 << 20;
/// Session keys of one list: rotation needs two or three, and each is tried by its id.
pub const MAX_KEYS: usize = 16;

// [metrics], [admin], [runtime]

/// Where metrics are read: loopback, for nothing but traffic listens beyond it by default.
pub const METRICS_BIND: &str = "127.0.0.1:9900";
/// Characters of a token of `[admin]` at least: what `openssl rand -base64 12` gives.
pub const MIN_TOKEN: usize = 16;
/// Mode of the admin socket: full control, for its owner only.
pub const SOCKET_MODE: u32 = 0o600;
/// Worker threads at most: more than any machine has cores.
pub const MAX_WORKERS: i64 = 1_024;
/// Bytes of `runtime.memory` at least: the program itself takes more.
pub const LEAST_MEMORY: u64 = 8 << 20;
/// Name servers of `runtime.resolvers`: each is waited for when those before it are silent.
pub const MAX_RESOLVERS: usize = 8;
/// At stop, not ready but still accepting: nothing, as not everybody has a balancer in front.
pub const STOP_DELAY: Duration = Duration::ZERO;
/// At stop, for running exchanges: what systemd and Kubernetes wait before they kill.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// What is logged of Ostler itself.
pub const LOG_LEVEL: &str = "info";

// Listeners

/// Bytes of a request head: the cookies of single sign-on fit, an attack's fields do not.
pub const HEADER_SIZE: u64 = 32 << 10;
/// The smallest limit of a head: hyper's read buffer must hold 8 KiB.
pub const MIN_HEADER_SIZE: u64 = 8 << 10;
/// The largest limit of a head: each connection may hold one.
pub const MAX_HEADER_SIZE: u64 = 1 << 20;
/// Fields of a request head: hyper parses so many without an allocation.
pub const HEADERS: usize = 100;
/// The largest limit of fields in a head.
pub const MAX_HEADERS: i64 = 1_000;
/// Connections of one client address: a large office behind one address fits.
pub const CONNECTIONS_PER_CLIENT: u32 = 1_000;
/// A TLS handshake: two round trips on the worst of links.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A head from its first byte to its last: slow senders must not hold connections.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between requests: above the 60 s at which balancers in front of us close theirs.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A body without progress while the sender owes us bytes.
pub const BODY_TIMEOUT: Duration = Duration::from_mins(1);
/// A client that takes nothing of an answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// A tunnel without a byte either way: longer than the pings of common WebSocket libraries.
pub const TUNNEL_TIMEOUT: Duration = Duration::from_hours(1);

// Routes

/// Status of a redirect: permanent, and the method stays.
pub const REDIRECT_STATUS: u16 = 308;
/// Status of a fixed response.
pub const RESPOND_STATUS: u16 = 200;
/// `Content-Type` of a fixed response.
pub const RESPOND_CONTENT_TYPE: &str = "text/plain; charset=utf-8";
/// Bytes of a fixed response's body: it is compiled into the snapshot.
pub const MAX_RESPOND_BODY: usize = 1 << 20;
/// Bytes of an error page: it is kept in memory, and sent when everything else fails.
pub const MAX_ERROR_PAGE: u64 = 1 << 20;
/// From a request's last byte to the response head: 15 s more than the usual 60 s of backends,
/// so that theirs ends first and says why.
pub const RESPONSE_HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// Attempts in all: a dead backend and one that dies meanwhile are survived.
pub const RETRY_TRIES: u32 = 3;
/// The largest number of attempts.
pub const MAX_RETRY_TRIES: i64 = 10;
/// Retries in percent of a pool's requests: a storm of retries must not finish what is ailing.
pub const RETRY_BUDGET: u32 = 20;
/// Second attempts beside a first one in percent of a pool's requests: the slowest of them.
pub const HEDGE_BUDGET: u32 = 5;

/// What a browser asks for a password for.
pub const REALM: &str = "restricted";
/// For the word of a server that is asked about each request: it may have to ask a directory.
pub const FORWARD_AUTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Users of one list or file.
pub const MAX_USERS: usize = 10_000;
/// Mistakes that are told of one list or file of users.
pub const MAX_USER_MISTAKES: usize = 10;
/// The largest cost of a bcrypt hash, a binary logarithm: four seconds on a core.
pub const MAX_BCRYPT_COST: u32 = 16;
/// KiB that an argon2id hash may need: each thread that tries passwords has as much.
pub const MAX_ARGON2_MEMORY: u32 = 256 << 10;
/// KiB times passes that an argon2id hash may need: two seconds on a core.
pub const MAX_ARGON2_WORK: u64 = 1 << 20;

// Pools

/// Weight of a backend.
pub const WEIGHT: u32 = 1;
/// The largest weight: sums over all backends stay far from overflow.
pub const MAX_WEIGHT: i64 = 65_535;
/// The largest limit of requests in flight to a backend.
pub const MAX_REQUESTS: i64 = 1_000_000;
/// What an adaptive limit of requests begins with and never falls below: a small application server
/// has as many workers.
pub const CONCURRENCY_MIN: u32 = 5;
/// What an adaptive limit never rises above: beyond, a backend is hardly what limits.
pub const CONCURRENCY_MAX: u32 = 1_000;
/// Requests that may wait for a backend: a burst fits, a backlog nobody waits for does not.
pub const QUEUE_SIZE: u32 = 1_000;
/// The largest waiting room of a pool.
pub const MAX_QUEUE: i64 = 100_000;
/// How long a request waits for a backend: as long as people do.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a drain may take: twice the usual life of an unused session.
pub const DRAIN_DEADLINE: Duration = Duration::from_hours(1);
/// Backends that DNS may tell for one name: a large deployment fits, an answer made to exhaust us
/// does not.
pub const MAX_DISCOVERED: usize = 256;
/// Characters of an `id` beside `discover`: with an IPv6 address and a port it is still a name.
pub const MAX_ID_PREFIX: usize = 16;
/// Idle connections kept to a backend, over all workers.
pub const POOL_IDLE: usize = 64;
/// The largest number of idle connections kept to a backend.
pub const MAX_POOL_IDLE: i64 = 100_000;
/// Idleness of a kept connection: below the 5 s at which Node and Gunicorn close theirs.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Age of a kept connection: long enough to matter, short enough to follow changes behind a name.
pub const POOL_MAX_AGE: Duration = Duration::from_mins(5);
/// TCP and TLS to a backend: it stands in the same data centre.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest slow start: beyond, it is a weight.
pub const MAX_SLOW_START: Duration = Duration::from_hours(1);
/// Failures in a row that eject a backend: more than a restart that finishes its requests causes.
pub const EJECTION_CONSECUTIVE: u16 = 5;
/// The most failures in a row that eject a backend.
pub const MAX_EJECTION_CONSECUTIVE: i64 = 1_000;
/// How long the first ejection lasts: a restart takes as long.
pub const EJECTION_BASE: Duration = Duration::from_secs(10);
/// The shortest first ejection: anything less is a retry.
pub const MIN_EJECTION_BASE: Duration = Duration::from_secs(1);
/// The longest first ejection: beyond, it is a matter for people.
pub const MAX_EJECTION_BASE: Duration = Duration::from_hours(1);
/// Backends in percent that may be ejected at a time: half of a pool can still serve it badly,
/// none cannot serve it at all.
pub const EJECTION_MAX_EJECTED: u8 = 50;
/// Status of a fixed response in place of a pool that is down: nothing keeps it, nobody takes it
/// for the site.
pub const ALL_DOWN_STATUS: u16 = 503;
/// Between two checks of one backend.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
/// The largest quorum of a pool.
pub const MAX_QUORUM: i64 = 100_000;
/// The highest tier of a backend.
pub const MAX_TIER: i64 = 9;
/// The shortest time that a lower tier must have been usable for: anything less is `auto`.
pub const MIN_FAILBACK: Duration = Duration::from_secs(1);
/// The longest.
pub const MAX_FAILBACK: Duration = Duration::from_hours(24);
/// In place of one that cannot be: longer than a backend that flaps is up.
pub const FAILBACK: Duration = Duration::from_mins(5);
/// The shortest time between two checks: anything less is load, not a check.
pub const MIN_HEALTH_INTERVAL: Duration = Duration::from_millis(100);
/// A check's answer must be complete by then.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// Passes in a row until up.
pub const HEALTH_RISE: u32 = 2;
/// Failures in a row until down: two lost packets are no outage.
pub const HEALTH_FALL: u32 = 3;
/// The most passes or failures in a row.
pub const MAX_HEALTH_COUNT: i64 = 1_000;
/// Of so many checks one asks in full.
pub const HEALTH_FULL_EVERY: u32 = 1;
/// The most: what only answers in full is found ill no sooner.
pub const MAX_HEALTH_FULL_EVERY: i64 = 100;
/// Method of a check.
pub const HEALTH_METHOD: &str = "GET";
/// Statuses that pass.
pub const HEALTH_EXPECT: &str = "200-399";
/// Bytes of the name of a service that is asked about by gRPC.
pub const MAX_SERVICE: usize = 256;
/// Path attribute of the session cookie: the whole site.
pub const STICKY_PATH: &str = "/";
/// A session unused for so long is over: the usual life of a login.
pub const STICKY_IDLE: Duration = Duration::from_mins(30);
/// The longest idle time: a year, beyond which a session is an account.
pub const MAX_STICKY_IDLE: Duration = Duration::from_hours(365 * 24);
/// How long home must have been up before visitors go back: longer than a restart that fails.
pub const STICKY_HOME_STABLE: Duration = Duration::from_mins(1);
/// How long a removed backend goes on for those bound to it: a deploy's patience.
pub const STICKY_GHOST: Duration = Duration::from_mins(10);
/// Bits of an IPv4 address that tell visitors apart: all, for one address is one site or person.
pub const SOURCE_IPV4: u8 = 32;
/// Bits of an IPv6 address that tell visitors apart: one network, in which a client picks its
/// address anew as it likes.
pub const SOURCE_IPV6: u8 = 64;
/// The largest limit of sessions on a backend.
pub const MAX_SESSIONS: i64 = 1_000_000_000;
/// How long a session must have been unused to be moved by `rebalance`.
pub const REBALANCE_IDLE: Duration = Duration::from_mins(10);
/// Sessions in percent that `rebalance` may move at a time.
pub const REBALANCE_PERCENT: u32 = 5;
/// The time in which `rebalance` moves so many.
pub const REBALANCE_PER: Duration = Duration::from_mins(1);

/// Bytes of a backend's response head: the same room as a client has, twice.
pub const BACKEND_HEADER_SIZE: usize = 64 << 10;
/// Fields of a backend's response head: as many as hyper's parser holds without an allocation.
pub const BACKEND_HEADERS: usize = 100;
