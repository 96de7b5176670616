//! `ostler run` and `ostler demo`: serve in the foreground.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::admin::view::Status;
use crate::app::{self, Source, Start};
use crate::demo;

use super::args;
use super::client::Places;
use super::fail::Fail;
use super::{find, out};

/// Serves the file that was named, else the one that is found.
///
/// # Errors
/// What keeps it from serving.
pub(super) fn run(file: Option<&Path>, socket: Option<PathBuf>) -> Result<ExitCode, Fail> {
    let source = Source::File(find::configuration(file)?);
    Ok(app::serve(Start { source, socket, ready: None })?)
}

/// Serves the demo, or prints its configuration: that of one that runs, else of one that would.
///
/// # Errors
/// What keeps it from serving.
pub(super) fn demo(
    demo: &args::Demo,
    socket: Option<PathBuf>,
    places: &Places,
) -> Result<ExitCode, Fail> {
    if !demo.print {
        return Ok(demo::serve(demo.backends, socket)?);
    }
    let running = places.get::<Status>("status").ok();
    out::print(&demo::configuration(demo.backends, running.as_ref())?)?;
    Ok(ExitCode::SUCCESS)
}
