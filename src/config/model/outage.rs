//! What a pool does about backends that fail, as it holds.

use std::time::Duration;

use super::Respond;

/// When failures of real requests take a backend out. An ejected backend gets nobody new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each word of the file's list")]
pub struct Ejection {
    /// A connection that was refused or not up in time counts.
    pub connect: bool,
    /// A connection that broke before any answer counts.
    pub reset: bool,
    /// An answer that did not come in time counts.
    pub timeout: bool,
    /// A 5xx of the backend counts.
    pub status_5xx: bool,
    /// Failures in a row that eject, 1 to 1,000.
    pub consecutive: u16,
    /// How long the first ejection lasts, 1 s to 1 h; later ones last longer.
    pub base: Duration,
    /// Backends in percent that may be ejected at a time, 0 to 100.
    pub max_ejected: u8,
}

/// Bounds of a limit of requests to a backend that follows how long it takes to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    /// It never falls below this, and begins with it; 1 to `max`.
    pub min: u32,
    /// It never rises above this; up to 1,000,000.
    pub max: u32,
}

/// What happens to requests while no backend of their pool is usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenAllDown {
    /// They fail with 503.
    Fail,
    /// Backends that are down are tried all the same.
    TryAll,
    /// They go to this pool (an index into `Model::pools`); no chain of such comes back.
    Pool(usize),
    /// They get a fixed response.
    Respond(Respond),
}

/// What happens when a lower tier of a pool is usable again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failback {
    /// It serves at once, and the bound of the higher tier move at their next request.
    Auto,
    /// As `Auto`, when it has been usable for so long.
    After(Duration),
    /// As `Auto`, when an operator says so.
    Manual,
    /// It serves new visitors at once; the bound stay where they are.
    NewSessions,
}

/// How many usable backends a pool must have to take new visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// With fewer it is lost, at least 1.
    pub min: usize,
    /// With so many it is there again, `min` or more.
    pub again: usize,
    /// Where new visitors go meanwhile (an index into `Model::pools`), never the pool itself.
    pub pool: usize,
}
