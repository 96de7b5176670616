//! A mirror of the file as it is typed: every key optional, every value with its place.

mod admin;
mod auth;
mod condition;
mod health;
mod listener;
mod outage;
mod pool;
mod route;
mod sticky;
mod word_or;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

pub use admin::*;
pub use auth::*;
pub use condition::*;
pub use health::*;
pub use listener::*;
pub use outage::*;
pub use pool::*;
pub use route::*;
pub use sticky::*;
pub use word_or::{WordOr, Words};

use super::model::Place;
use super::unit::{Size, Time};

/// A value and its byte range in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Range<usize>,
}

impl<T> At<T> {
    /// Where it was written.
    pub fn place(&self) -> Place {
        Place { span: self.span.clone() }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(source)?;
        let span = spanned.span();
        Ok(Self { value: spanned.into_inner(), span })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A list whose items have places of their own.
pub type List<T> = At<Vec<At<T>>>;

/// The whole file. It is decoded object by object, so that one mistake does not hide the next.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FileText {
    /// Where metrics and probes are answered.
    pub metrics: Option<MetricsText>,
    /// Keys that seal session cookies.
    pub sessions: Option<SessionsText>,
    /// How the running process is controlled.
    pub admin: Option<AdminText>,
    /// Threads, folders and waits of the process.
    pub runtime: Option<RuntimeText>,
    /// Where logs go.
    pub log: Option<LogText>,
    /// What every listener, route and pool takes where it says nothing itself.
    pub defaults: Option<DefaultsText>,
    /// Addresses we accept on, by name.
    pub listeners: BTreeMap<String, ListenerText>,
    /// Rules from a request head to an action.
    pub routes: Vec<RouteText>,
    /// Sets of backends, by name.
    pub pools: BTreeMap<String, PoolText>,
}

/// `[metrics]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsText {
    /// Address of `/metrics`, `/livez` and `/readyz`; `"none"` switches them off.
    pub bind: Option<At<String>>,
    /// Pools without which `/readyz` is red.
    pub ready_requires: Option<List<String>>,
}

/// `[sessions]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsText {
    /// The first seals, all open: 32 bytes each, in base64 or hex.
    pub keys: Option<List<String>>,
}

/// `[runtime]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeText {
    /// Worker threads.
    pub workers: Option<At<i64>>,
    /// Folder of the key made here, marks, the audit log and the last good file.
    pub state_dir: Option<At<String>>,
    /// What is applied by itself when it changes.
    pub watch: Option<List<WatchWord>>,
    /// At stop: not ready, still accepting.
    pub stop_delay: Option<At<Time>>,
    /// Then: exchanges and tunnels may finish.
    pub drain_timeout: Option<At<Time>>,
    /// Client connections in all.
    pub max_connections: Option<At<i64>>,
    /// What the process may have of it, before it sheds load in order.
    pub memory: Option<At<Size>>,
    /// Verdicts are frozen where all checks fail at once.
    pub blind_guard: Option<At<bool>>,
    /// Name servers that are asked, `IP` or `IP:PORT`.
    pub resolvers: Option<List<String>>,
}

/// A word of `runtime.watch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WatchWord {
    /// Certificates and keys.
    Certificates,
    /// The configuration file.
    File,
}

/// `[log]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogText {
    /// Level, or a filter of levels by module.
    pub level: Option<At<String>>,
    /// Whether and how exchanges are logged.
    pub access: Option<At<AccessWord>>,
    /// `stdout`, `stderr` or a file.
    pub to: Option<At<String>>,
    /// What of a query string is written.
    pub query: Option<At<QueryWord>>,
}

/// A value of `log.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessWord {
    /// One JSON object a line.
    Json,
    /// Nothing.
    Off,
}

/// A value of `log.query`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueryWord {
    /// All of it.
    Keep,
    /// Names, with values replaced.
    Redact,
    /// Nothing.
    Drop,
}

/// `[defaults]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultsText {
    /// Of every listener.
    pub listeners: Option<ListenerText>,
    /// Of every route.
    pub routes: Option<RouteText>,
    /// Of every pool.
    pub pools: Option<PoolText>,
}
