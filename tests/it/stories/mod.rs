//! The stories, one file a subject, told against the binary alone.

mod admin;
mod bodies;
mod checks;
mod cli;
mod connection_names;
mod crowds;
mod forwarding;
mod framing;
mod harness;
mod http2;
mod logs;
mod metrics;
mod quiet;
mod reload;
mod responses;
mod retries;
mod routing;
mod sessions;
mod sessions_drain;
mod sessions_over_time;
mod stop;
mod websocket;
mod wire;
