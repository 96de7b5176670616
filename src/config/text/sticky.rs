//! `sticky` of a pool as it is typed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, List, WordOr, Words};
use crate::config::unit::Time;

/// What `by` may say, for the schema.
const BY_PATTERN: &str =
    r"^(cookie|source|((learn:)?header|query|app_cookie|learn:cookie):.+|.*\$\{.*)$";

/// `sticky` of a pool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StickyText {
    /// What binds a visitor: `cookie`, `header:NAME`, `query:NAME`, `app_cookie:NAME`, `source`,
    /// `learn:header:NAME` or `learn:cookie:NAME`.
    #[schemars(extend("pattern" = BY_PATTERN))]
    pub by: Option<At<String>>,
    /// Bits of the client's address that count; only with `by = "source"`.
    pub source_prefix: SourcePrefixText,
    /// Where a binding holds; the pool's name where it is left out.
    pub scope: Option<At<String>>,
    /// Cookie name.
    pub cookie: Option<At<String>>,
    /// Whether the cookie's name holds a hash of the scope in place of the scope.
    pub cookie_hash: Option<At<bool>>,
    /// Cookie attribute.
    pub path: Option<At<String>>,
    /// Cookie attribute.
    pub domain: Option<At<String>>,
    /// Cookie attribute; by the client's scheme where it is left out.
    pub same_site: Option<At<SameSiteWord>>,
    /// Cookie attribute; by the client's scheme where it is left out.
    pub secure: Option<At<bool>>,
    /// Cookie attribute.
    pub http_only: Option<At<bool>>,
    /// Cookie attribute.
    pub partitioned: Option<At<bool>>,
    /// Cookie attribute, sliding; `"none"`: a browser session.
    pub max_age: Option<At<Time>>,
    /// Unused for so long: a new session.
    pub idle: Option<At<Time>>,
    /// Absolute end of a session.
    pub lifetime: Option<At<Time>>,
    /// What happens when the backend is down.
    pub on_down: Option<At<OnDownWord>>,
    /// What happens on publicly cacheable answers.
    pub on_cacheable: Option<At<OnCacheableWord>>,
    /// Whether the backend sees our cookies.
    pub pass: Option<At<bool>>,
    /// Keys of this pool in place of `[sessions] keys`.
    pub keys: Option<List<String>>,
    /// How long the home backend must have been up for `return_home`.
    pub home_stable: Option<At<Time>>,
    /// What happens when the backend is at its `max_requests`.
    pub on_full: Option<At<OnFullWord>>,
    /// What happens when the backend leaves the file.
    pub on_remove: Option<At<WordOr<MoveWord, GhostText>>>,
    /// Sessions of one backend beyond which it takes nobody new; 0: no limit.
    pub max_sessions: Option<At<i64>>,
    /// Whether sessions may move to backends that came later.
    pub rebalance: Option<At<WordOr<OffWord, RebalanceText>>>,
}

/// `sticky.source_prefix`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourcePrefixText {
    /// Of an IPv4 address.
    pub ipv4: Option<At<i64>>,
    /// Of an IPv6 address.
    pub ipv6: Option<At<i64>>,
}

/// The word of `sticky.on_remove`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MoveWord {
    /// Bound visitors move at their next request.
    Move,
}

impl Words for MoveWord {
    const FORMS: &'static str = r#""move", or { ghost = "10m" }"#;
}

/// The table of `sticky.on_remove`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GhostText {
    /// The backend goes on as a draining ghost for so long.
    pub ghost: Option<At<Time>>,
}

/// The word of `sticky.rebalance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OffWord {
    /// Sessions stay where they are.
    Off,
}

impl Words for OffWord {
    const FORMS: &'static str = r#""off", or { idle = "10m", percent = 5, per = "1m" }"#;
}

/// The table of `sticky.rebalance`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RebalanceText {
    /// A session must have been unused for so long.
    pub idle: Option<At<Time>>,
    /// Sessions in percent that may move in each `per`.
    pub percent: Option<At<i64>>,
    /// The time in which they may.
    pub per: Option<At<Time>>,
}

/// A value of `sticky.same_site`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SameSiteWord {
    /// By the client's scheme: None over https, Lax over http.
    Auto,
    /// Sent from everywhere; needs Secure.
    #[serde(alias = "None")]
    None,
    /// Sent from elsewhere by links only.
    #[serde(alias = "Lax")]
    Lax,
    /// Sent from the site itself only.
    #[serde(alias = "Strict")]
    Strict,
}

/// A value of `sticky.on_down`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDownWord {
    /// Moved to another backend.
    Rebind,
    /// Refused until it is back.
    Strict,
    /// Served elsewhere, and back once home has been up for `home_stable`.
    ReturnHome,
}

/// A value of `sticky.on_full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFullWord {
    /// Waits in its queue, then spills.
    Wait,
    /// Served elsewhere once.
    Spill,
    /// Moved to another backend.
    Rebind,
    /// Refused.
    Reject,
}

/// A value of `sticky.on_cacheable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnCacheableWord {
    /// No cookie is set there.
    Skip,
    /// Always set, with `Cache-Control: private`.
    Private,
}
