//! What a route asks of one header, parameter or cookie, as it is typed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, WordOr, Words};

/// Names and what is asked of each.
pub type ConditionsText = BTreeMap<String, At<WordOr<ValueWord, ValueText>>>;

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
