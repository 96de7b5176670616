//! Events for operators: always on standard error, so that access lines stay alone on the other.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Starts logging at `level`: `off`, `error`, `warn`, `info`, `debug` or `trace`, or a filter such
/// as `info,ostler::health=debug`. A terminal gets text for people (without colours where
/// `NO_COLOR` is set), anything else one JSON object a line.
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

/// Whether [`init`] would take this level.
///
/// # Errors
/// What is wrong with it.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    // The library takes a bare word for the name of a target: a typing mistake would log nothing.
    for part in level.split(',').map(str::trim).filter(|part| !part.contains('=')) {
        if part.is_empty() || part.parse::<LevelFilter>().is_err() {
            return Err(format!("unknown log level {part:?}"));
        }
    }
    EnvFilter::try_new(level).map_err(|error| format!("log level {level:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        assert!(filter("info").is_ok());
        assert!(filter("warn,ostler::health=debug").is_ok());
        assert!(filter("infoo").is_err());
        assert!(filter("").is_err());
        assert!(filter("info,ostler=loud").is_err());
    }
}
