//! What a route asks of one header, parameter or cookie, and how often it may be used, as typed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, WordOr, Words};
use crate::config::unit::Rate;

/// What `rate_limit.by` may say, for the schema.
const RATE_BY_PATTERN: &str = r"^(client_ip|(header|cookie|query):.+|.*\$\{.*)$";

/// Names and what is asked of each.
pub type ConditionsText = BTreeMap<String, At<WordOr<ValueWord, ValueText>>>;

/// `rate_limit` of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitText {
    /// `client_ip`, `header:NAME`, `cookie:NAME` or `query:NAME`.
    #[schemars(extend("pattern" = RATE_BY_PATTERN))]
    pub by: Option<At<String>>,
    /// Requests in a second, minute or hour.
    pub rate: Option<At<Rate>>,
    /// Requests at once.
    pub burst: Option<At<i64>>,
}

/// A text that a value must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ValueWord(pub String);

impl Words for ValueWord {
    const FORMS: &'static str = "a text, { regex = \"…\" } or { present = true }";
}

/// `{ regex = "…" }` or `{ present = true }`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ValueText {
    /// A regular expression for the whole value.
    pub regex: Option<At<String>>,
    /// Whether there must be one, or must be none.
    pub present: Option<At<bool>>,
}
