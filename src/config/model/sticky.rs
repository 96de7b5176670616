//! Session keeping, as it holds.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::{Located, SecretKey};

/// Session keeping of a pool.
#[derive(Debug, Clone)]
pub struct Sticky {
    /// What binds a visitor.
    pub by: By,
    /// Where a binding holds; the pool's name unless the file says otherwise.
    pub scope: Located<Arc<str>>,
    /// Cookie name when the client came by https.
    pub cookie_https: Arc<str>,
    /// Cookie name when the client came by http.
    pub cookie_http: Arc<str>,
    /// Attribute.
    pub path: String,
    /// Attribute; none by default.
    pub domain: Option<String>,
    /// Attribute; `None` here means by scheme: None over https, Lax over http.
    pub same_site: Option<SameSite>,
    /// Attribute; `None`: by the client's scheme.
    pub secure: Option<bool>,
    /// Attribute.
    pub http_only: bool,
    /// Attribute.
    pub partitioned: bool,
    /// Attribute, sliding; none: a browser session.
    pub max_age: Option<Duration>,
    /// Unused for so long: a new session.
    pub idle: Duration,
    /// Absolute end of a session.
    pub lifetime: Option<Duration>,
    /// What happens on publicly cacheable answers.
    pub on_cacheable: OnCacheable,
    /// Whether the backend sees our cookies.
    pub pass: bool,
    /// This pool's own keys in place of `[sessions] keys`.
    pub keys: Option<Vec<SecretKey>>,
    /// What happens when the backend is down.
    pub on_down: OnDown,
    /// How long the home backend must have been up for `OnDown::ReturnHome`.
    pub home_stable: Duration,
    /// What happens when the backend is at its `max_requests`.
    pub on_full: OnFull,
    /// What happens when the backend leaves the file.
    pub on_remove: OnRemove,
    /// Sessions of one backend beyond which it takes nobody new; 0: no limit.
    pub max_sessions: u32,
    /// Present: sessions may move to backends that came later.
    pub rebalance: Option<Rebalance>,
}

/// What binds a visitor to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum By {
    /// Our own sealed cookie.
    Cookie,
    /// The value of this header, hashed.
    Header(HeaderName),
    /// The value of this query parameter, hashed.
    Query(Box<str>),
    /// The value of this cookie of the application, hashed.
    AppCookie(Box<str>),
    /// The client's address, hashed.
    Source {
        /// Bits of an IPv4 address that count, 1 to 32.
        ipv4: u8,
        /// Bits of an IPv6 address that count, 1 to 128.
        ipv6: u8,
    },
    /// A value that the backend invents in this response header, and the client brings back in the
    /// same request header.
    LearnHeader(HeaderName),
    /// A value that the backend invents in this cookie.
    LearnCookie(Box<str>),
}

/// What happens to a visitor whose backend is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDown {
    /// Moved to another backend.
    Rebind,
    /// Refused until it is back; the binding stays.
    Strict,
    /// Served elsewhere, and back once home has been up for `home_stable`.
    ReturnHome,
}

/// What happens to a visitor whose backend is at its `max_requests`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Waits in its queue, then spills.
    Wait,
    /// Served elsewhere once; the binding stays.
    Spill,
    /// Moved to another backend.
    Rebind,
    /// Refused; the binding stays.
    Reject,
}

/// What happens to the visitors of a backend that leaves the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRemove {
    /// Moved at their next request.
    Move,
    /// It goes on as a draining ghost for so long.
    Ghost(Duration),
}

/// How sessions move to backends that came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebalance {
    /// A session must have been unused for so long.
    pub idle: Duration,
    /// Sessions in percent that may move in each `per`, 1 to 100.
    pub percent: u32,
    /// The time in which `percent` may move.
    pub per: Duration,
}

/// The `SameSite` attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// `None`, which browsers accept with `Secure` only.
    None,
    /// `Lax`.
    Lax,
    /// `Strict`.
    Strict,
}

/// Whether a cookie goes out on publicly cacheable answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCacheable {
    /// No cookie is set or refreshed there.
    Skip,
    /// Always set, always with `Cache-Control: private`.
    Private,
}
