//! Events for operators: always on standard error, so that access lines stay alone on the other.

use std::io::{self, IsTerminal};

use crate::config::level::filter;

/// Starts logging at `level`, which [`filter`] reads. A terminal gets text for people (without
/// colours where `NO_COLOR` is set), anything else one JSON object a line.
///
/// # Errors
/// When the level is not one, or when logging has been started before.
pub fn init(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // Telling that standard error is gone would be told there, with a panic.
        .log_internal_errors(false);
    if io::stderr().is_terminal() {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        builder.compact().with_target(false).with_ansi(colours).try_init()
    } else {
        builder.json().flatten_event(true).with_ansi(false).try_init()
    }
    .map_err(|error| error.to_string())
}
