//! Routes, as they hold.

use std::sync::Arc;
use std::time::Duration;

use super::{Access, Auth, Conditions, ErrorPage, Located, RateLimit, Sticky};

/// A rule from a request head to an action.
#[derive(Debug, Clone)]
pub struct Route {
    /// Configured, or made from host and path; unique.
    pub name: Located<Arc<str>>,
    /// Indexes into `Model::listeners`; all of them when the file says nothing.
    pub listeners: Vec<usize>,
    /// Whether the file says nothing: a listener that comes changes nothing about the route.
    pub on_all: bool,
    /// Empty: any host.
    pub hosts: Vec<Located<HostPattern>>,
    /// Which paths.
    pub path: Located<PathPattern>,
    /// What else is asked of a request.
    pub conditions: Conditions,
    /// Who may use it.
    pub access: Access,
    /// How often a client may; none: as often as it wants.
    pub rate_limit: Option<RateLimit>,
    /// Who must say who they are; none: nobody.
    pub auth: Option<Auth>,
    /// What to do.
    pub action: Action,
    /// Present: visitors are bound in a scope of the route's own, in place of the pool's. It is
    /// the `Sticky` of the route's (first) pool with another scope, and the cookie names of that.
    pub sticky: Option<Sticky>,
    /// Go before the listener's.
    pub error_pages: Vec<ErrorPage>,
    /// Overrides the listener's body limit: `Some(None)` lifts it.
    pub body_size: Option<Option<u64>>,
    /// Waits.
    pub timeouts: RouteTimeouts,
    /// When to try again.
    pub retry: Retry,
}

/// A host as written in a route: lower case, without port or final dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `www.example.com`, or an address literal.
    Exact(Arc<str>),
    /// `*.example.com` holds `example.com`: one or more labels below it.
    Wildcard(Arc<str>),
}

/// A path as written in a route.
#[derive(Debug, Clone)]
pub enum PathPattern {
    /// Every path.
    Any,
    /// The path as a whole.
    Exact(Arc<str>),
    /// On segment boundaries: `/api` matches `/api` and `/api/x`, never `/apiary`.
    Prefix(Arc<str>),
    /// Matched against the whole path (anchored by us).
    Regex(regex::Regex),
}

/// What a route does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Forward to this pool (an index into `Model::pools`).
    Pool(usize),
    /// Forward to one of these pools, none of them twice.
    Split(Vec<Share>),
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer with a fixed response.
    Respond(Respond),
}

/// A pool's part of a split route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Index into `Model::pools`.
    pub pool: usize,
    /// Share of new visitors; 0: nobody new.
    pub weight: u32,
}

/// A redirect: a template in pieces and a 3xx status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Joined to the `Location`.
    pub to: Vec<TemplatePiece>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// One piece of a template such as `https://{host}{path}`; `{{` and `}}` are literal braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePiece {
    /// As it stands.
    Literal(String),
    /// `{host}`: the host asked for, without port.
    Host,
    /// `{path}`: path and query as they came.
    Path,
    /// `{scheme}`: the client's scheme.
    Scheme,
}

/// A fixed response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Sent as it is.
    pub body: String,
    /// `Content-Type`.
    pub content_type: String,
}

/// Waits of a route. The outer `Option` of body, write and tunnel says whether the route overrides
/// the listener; the inner one is the limit, `None` waiting for ever.
#[derive(Debug, Clone, Copy)]
pub struct RouteTimeouts {
    /// The whole exchange, from its first byte to its last; tunnels apart.
    pub request: Option<Duration>,
    /// From the request's last byte to the response head.
    pub response_header: Option<Duration>,
    /// Overrides the listener's.
    pub body: Option<Option<Duration>>,
    /// Overrides the listener's.
    pub write: Option<Option<Duration>>,
    /// Overrides the listener's.
    pub tunnel: Option<Option<Duration>>,
}

/// When a failed attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each word of the file's list")]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub tries: u32,
    /// What was provably never sent.
    pub unsent: bool,
    /// A reset before any answer on a reused connection, as far as the method allows.
    pub stale: bool,
    /// The same on a fresh connection.
    pub reset: bool,
    /// No answer in time; idempotent requests only.
    pub response_timeout: bool,
    /// A 5xx of the backend; idempotent requests only.
    pub status_5xx: bool,
    /// Retries may be this many percent of a pool's requests.
    pub budget_percent: u32,
    /// After so long without an answer's head, another backend is asked as well; none: never.
    pub hedge: Option<Duration>,
    /// Such second attempts may be this many percent of a pool's requests.
    pub hedge_percent: u32,
}
