//! Who a route asks to say who they are, as it is typed.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::{At, List};
use crate::config::unit::Time;

/// `basic_auth` of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuthText {
    /// A file as `htpasswd -B` writes it, or a list of `name:hash`.
    pub users: Option<At<UsersText>>,
    /// What the browser asks for.
    pub realm: Option<At<String>>,
    /// Field that tells the backend the user.
    pub header: Option<At<String>>,
    /// Whether the backend sees what the client has sent.
    pub forward: Option<At<bool>>,
}

/// `forward_auth` of a route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardAuthText {
    /// The pool that is asked.
    pub pool: Option<At<String>>,
    /// Path and query that are asked for.
    pub path: Option<At<String>>,
    /// Fields of the client that it is told; all where it is left out.
    pub request_headers: Option<List<String>>,
    /// Fields of its answer that the backend is told, in place of the client's.
    pub response_headers: Option<List<String>>,
    /// How long it may take to answer.
    pub timeout: Option<At<Time>>,
}

/// A value of `users`.
#[derive(Debug)]
pub enum UsersText {
    /// Path of a file.
    File(String),
    /// `name:hash`, each.
    List(Vec<At<String>>),
}

/// By hand, because a buffered value (as an untagged enum has it) has lost its places.
impl<'de> Deserialize<'de> for UsersText {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = UsersText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file or an array")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<UsersText, E> {
        Ok(UsersText::File(path.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<UsersText, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(UsersText::List)
    }
}

impl JsonSchema for UsersText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Users".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" } },
        ] })
    }
}
