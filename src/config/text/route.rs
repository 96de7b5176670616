//! `[[routes]]` as it is typed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, BasicAuthText, ConditionsText, ForwardAuthText, List, RateLimitText};
use crate::config::unit::{Percent, Size, Time};

/// `[[routes]]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteText {
    /// Metric label; made from host and path where it is left out.
    pub name: Option<At<String>>,
    /// Listeners it applies to; all where it is left out.
    pub listeners: Option<List<String>>,
    /// Hosts, exact or `*.example.com`; any where it is left out.
    pub hosts: Option<List<String>>,
    /// Path prefix on segment boundaries.
    pub path: Option<At<String>>,
    /// The path as a whole.
    pub path_exact: Option<At<String>>,
    /// A regular expression for the whole path.
    pub path_regex: Option<At<String>>,
    /// Methods; with GET always HEAD; any where it is left out.
    pub methods: Option<List<String>>,
    /// What header fields must be like.
    pub headers: ConditionsText,
    /// What parameters of the query must be like.
    pub query: ConditionsText,
    /// What cookies must be like.
    pub cookies: ConditionsText,
    /// Networks of the client; any where it is left out.
    pub sources: Option<List<String>>,
    /// Networks that are refused.
    pub deny: Option<List<String>>,
    /// Of the others, those that alone are let in; all where it is empty.
    pub allow: Option<List<String>>,
    /// Present: no client may ask more often.
    pub rate_limit: Option<At<RateLimitText>>,
    /// Present: only who names a user with the right password is let in.
    pub basic_auth: Option<At<BasicAuthText>>,
    /// Present: only what a server says yes to is let in.
    pub forward_auth: Option<At<ForwardAuthText>>,
    /// Forward to this pool.
    pub pool: Option<At<String>>,
    /// Forward to one of these pools, by weight.
    pub split: Option<List<ShareText>>,
    /// Where the route's bindings hold; the name of the pool, or of a split route, where it is
    /// left out.
    pub sticky_scope: Option<At<String>>,
    /// Answer with a redirect.
    pub redirect: Option<At<RedirectText>>,
    /// Answer with a fixed response.
    pub respond: Option<At<RespondText>>,
    /// Go before the listener's.
    pub error_pages: BTreeMap<String, At<String>>,
    /// Overrides the listener's limits.
    pub limits: RouteLimitsText,
    /// Waits.
    pub timeouts: RouteTimeoutsText,
    /// When a failed attempt is repeated.
    pub retry: RetryText,
}

/// One of `split`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShareText {
    /// The pool.
    pub pool: Option<At<String>>,
    /// Share of new visitors; 0: nobody new.
    pub weight: Option<At<i64>>,
}

/// `redirect` of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedirectText {
    /// Where to; takes `{scheme}`, `{host}` and `{path}` (with the query).
    pub to: Option<At<String>>,
    /// 301, 302, 303, 307 or 308.
    pub status: Option<At<i64>>,
}

/// `respond` of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RespondText {
    /// 200 to 599.
    pub status: Option<At<i64>>,
    /// Sent as it is.
    pub body: Option<At<String>>,
    /// `Content-Type` of the body.
    pub content_type: Option<At<String>>,
}

/// `limits` of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteLimitsText {
    /// Of one request body.
    pub body_size: Option<At<Size>>,
}

/// `timeouts` of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteTimeoutsText {
    /// The whole exchange.
    pub request: Option<At<Time>>,
    /// From the request's last byte to the response head.
    pub response_header: Option<At<Time>>,
    /// Overrides the listener's.
    pub body: Option<At<Time>>,
    /// Overrides the listener's.
    pub write: Option<At<Time>>,
    /// Overrides the listener's.
    pub tunnel: Option<At<Time>>,
}

/// `retry` of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryText {
    /// Attempts in all.
    pub tries: Option<At<i64>>,
    /// After which failures.
    pub on: Option<List<RetryWord>>,
    /// Retries in percent of a pool's requests.
    pub budget: Option<At<Percent>>,
    /// After so long without an answer another backend is asked as well.
    pub hedge: Option<At<Time>>,
    /// Such second attempts in percent of a pool's requests.
    pub hedge_budget: Option<At<Percent>>,
}

/// A word of `retry.on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryWord {
    /// What was provably never sent.
    Unsent,
    /// A reset on a reused connection, as far as the method allows.
    Stale,
    /// A reset on a fresh connection, as far as the method allows.
    Reset,
    /// No answer in time; idempotent requests only.
    ResponseTimeout,
    /// A 5xx of the backend; idempotent requests only.
    #[serde(rename = "5xx")]
    Status5xx,
}
