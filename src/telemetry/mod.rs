//! What is told to the outside: words, counters, metric families, the access log and events.
// Hot parts first. Counters belong to one worker each and are summed at a scrape; access lines are
// formatted by the worker and written by a thread of their own; nothing here blocks or locks.

mod word;

pub mod access_log;
pub mod address;
pub mod cause;
pub mod counters;
pub mod logging;
pub mod metrics;
pub mod process;
pub mod reason;
pub mod trace_context;

pub use access_log::{AccessLog, Entry, LineBuffer};
pub use cause::chain;
pub use counters::{
    BackendCounters, Class, ClientProtocol, Counter, Gauge, HandshakeResult, HandshakeVersion,
    Histogram, HistogramSum, ListenerCounters, MethodWord, MoveCause, PerWorker, Phase,
    PoolCounters, RefuseCause, RequestKey, RouteCounters, StickyOutcome, StickyToken,
    WorkerCounters,
};
pub use metrics::{Families, Family};
pub use reason::{Reason, Source};
pub use trace_context::TraceContext;
