//! What is logged: a level, or a filter by module.

use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing_subscriber::EnvFilter;

/// A level (`off`, `error`, `warn`, `info`, `debug` or `trace`), or some with the modules that they
/// are for, such as `info,ostler::health=debug`. A release build has nothing to say at `trace` that
/// it does not say at `debug` (`Cargo.toml`).
///
/// # Errors
/// What is wrong with it.
pub fn filter(text: &str) -> Result<EnvFilter, String> {
    let parts: Result<Vec<String>, String> =
        text.split(',').map(|part| lowered(part.trim())).collect();
    EnvFilter::try_new(parts?.join(",")).map_err(|error| format!("log level {text:?}: {error}"))
}

/// One part with a level that there is: of one that was left out of the program the library tells
/// standard error by itself, which may be gone.
// It also takes a bare word for the name of a target: a typing mistake would log nothing.
fn lowered(part: &str) -> Result<String, String> {
    let (module, level) =
        part.rsplit_once('=').map_or((None, part), |(module, level)| (Some(module), level));
    let known = Some(level).filter(|level| !level.is_empty());
    let Some(level) = known.and_then(|level| level.parse::<LevelFilter>().ok()) else {
        return Err(format!("unknown log level {part:?}"));
    };
    let level = level.min(STATIC_MAX_LEVEL);
    Ok(module.map_or_else(|| level.to_string(), |module| format!("{module}={level}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for level in ["info", "off", "TRACE", "warn,ostler::health=debug", "info, h2[poll]=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["infoo", "", "info,", "info,ostler=loud", "info,h2", "info,h2=", "h2[a=b]"] {
            assert!(filter(level).is_err(), "{level}");
        }
    }

    #[test]
    fn no_level_is_asked_for_that_was_left_out_of_the_program() {
        assert_eq!(lowered("h2=trace").as_deref(), Ok(&*format!("h2={STATIC_MAX_LEVEL}")));
        assert_eq!(lowered("info").as_deref(), Ok("info"));
    }
}
