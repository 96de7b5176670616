//! What is shown of the running process, in the shape in which it travels.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::model::AdminState;
use crate::config::unit::Time;

use super::facts::{Discovered, DrainTerms, Mark, MarkWord};
use crate::event::{Then, Tunnels, Until};

mod certificates;
pub mod explain;
mod memory;
pub mod probe;
mod sessions;

pub use certificates::{Certificate, RevocationList};
pub use memory::Memory;
pub use sessions::{BackendSessions, Drain, Nodes, PoolSessions, Sessions};

/// Everything `ostler status` shows, problems first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Name of this node.
    pub node: String,
    /// Process id.
    pub pid: u32,
    /// Since its start.
    pub uptime_seconds: u64,
    /// `starting`, `serving` or `stopping`.
    pub phase: String,
    /// Number of the configuration in force.
    pub generation: u64,
    /// When it was applied.
    pub loaded_at: Timestamp,
    /// Who had it applied.
    pub loaded_by: String,
    /// The file; none for the demo and the proxy.
    pub file: Option<String>,
    /// Whether the file on disk is not what is in force.
    pub file_differs: bool,
    /// Whether the last reload was applied.
    pub last_reload_ok: bool,
    /// Whether all checks have failed at once, so that the verdicts before hold.
    #[serde(default)]
    pub blind: bool,
    /// Memory against its budget, where the file has one.
    #[serde(default)]
    pub memory: Option<Memory>,
    /// Another process that keeps its state in our folder, as `pid 812`.
    #[serde(default)]
    pub state_dir_rival: Option<String>,
    /// The worst first.
    pub problems: Vec<Problem>,
    /// In force, those of backends not in the file too.
    pub marks: Vec<Mark>,
    /// In file order.
    pub listeners: Vec<Listener>,
    /// Where metrics are served.
    pub metrics: Metrics,
    /// Where the API is served over TCP.
    #[serde(default)]
    pub admin: AdminAddress,
    /// In file order.
    pub pools: Vec<Pool>,
    /// Names that stand for backends.
    #[serde(default)]
    pub discovered: Vec<Discovered>,
    /// In file order.
    pub routes: Vec<Route>,
    /// By listener, in file order.
    pub certificates: Vec<Certificate>,
    /// By listener, in file order.
    #[serde(default)]
    pub revocation_lists: Vec<RevocationList>,
}

/// How bad a problem is, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody wanted it so.
    Info,
    /// To be looked at today.
    Warning,
    /// Visitors notice it, or will within days.
    Critical,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in one line.
    pub text: String,
}

/// A listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listener {
    /// Configured name.
    pub name: String,
    /// Addresses that are accepted on, with what port 0 became.
    pub bound: Vec<SocketAddr>,
    /// Whether it terminates TLS.
    pub tls: bool,
    /// What a client may speak here.
    pub protocols: Vec<String>,
}

/// The metrics listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Metrics {
    /// Its address, if there is one.
    pub bound: Option<SocketAddr>,
}

/// The API over TCP.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AdminAddress {
    /// Its address, if there is one.
    pub bound: Option<SocketAddr>,
}

/// A pool and its backends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pool {
    /// Configured name.
    pub name: String,
    /// How it picks.
    pub policy: String,
    /// Backends that take anybody.
    pub usable: usize,
    /// The tier that serves new visitors, where backends stand in tiers.
    #[serde(default)]
    pub tier: Option<u8>,
    /// How many usable backends it wants, where the file says so.
    #[serde(default)]
    pub quorum: Option<Quorum>,
    /// Of so many checks one asks in full, where the others only connect.
    #[serde(default)]
    pub full_every: Option<u32>,
    /// In file order.
    pub backends: Vec<Backend>,
}

/// The quorum of a pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Quorum {
    /// With fewer usable backends it is lost.
    pub min: usize,
    /// With so many it is there again.
    pub again: usize,
    /// Where new visitors go meanwhile.
    pub pool: String,
    /// Whether it is lost.
    pub lost: bool,
}

/// A backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Backend {
    /// Stable id within the pool.
    pub id: String,
    /// As configured.
    pub address: String,
    /// What holds: `up`, `drain`, `maint`, `down` or `unchecked`.
    pub state: String,
    /// What the file says.
    pub state_in_file: AdminState,
    /// In force.
    pub weight: u32,
    /// What the file says.
    pub weight_in_file: u32,
    /// It serves new visitors while no backend of a lower tier is usable.
    #[serde(default)]
    pub tier: u8,
    /// The mark in force on its state.
    pub mark: Option<AdminState>,
    /// The name behind which DNS tells it; none where the file lists it.
    #[serde(default)]
    pub found: Option<String>,
    /// Whether DNS tells it no more, so that it finishes what is bound to it.
    #[serde(default)]
    pub leaving: bool,
    /// What it says about itself on the answers to its checks: `drain`, `ready`, `weight=50%`.
    #[serde(default)]
    pub own_word: Option<String>,
    /// What its checks say; none where it is not checked.
    pub verdict: Option<String>,
    /// How its last check went.
    pub last_check: Option<Check>,
    /// Requests it works on, tunnels too.
    pub in_flight: u32,
    /// Tunnels.
    #[serde(default)]
    pub tunnels: u32,
    /// What it may have in flight now, tunnels apart, where that follows its response times.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Sessions that are bound to it, in a pool that keeps them.
    #[serde(default)]
    pub sessions: Option<u64>,
    /// Attempts so far.
    pub requests: u64,
}

/// How a check went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    /// When it ended.
    pub at: Timestamp,
    /// Whether it passed.
    pub passed: bool,
    /// What it saw.
    pub detail: String,
    /// How long it took.
    pub took_ms: f64,
    /// Results of this kind in a row.
    pub in_a_row: u32,
}

/// A route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Route {
    /// Configured or made name.
    pub name: String,
    /// Where it forwards to, if it forwards.
    pub pool: Option<String>,
    /// Exchanges since the start.
    pub requests: u64,
    /// Those of them that failed on our side or a backend's.
    pub errors: u64,
}

/// A mark in one line: what, where, who, when, why, until when.
pub fn mark_line(mark: &Mark) -> String {
    let says = match mark.says {
        MarkWord::State(AdminState::Up) => "up".to_owned(),
        MarkWord::State(AdminState::Drain) => "drain".to_owned(),
        MarkWord::State(AdminState::Maint) => "maint".to_owned(),
        MarkWord::Weight(weight) => format!("weight {weight}"),
    };
    let when = whole_seconds(mark.when);
    let mut line = format!("{}/{} {says} by {} at {when}", mark.pool, mark.backend, mark.who);
    if let Some(until) = mark.until {
        let _ = write!(line, " until {}", whole_seconds(until));
    }
    if let Some(terms) = &mark.drain {
        let _ = write!(line, ", {}", terms_line(terms));
    }
    if let Some(why) = &mark.why {
        let _ = write!(line, ": {why}");
    }
    if !mark.in_file {
        line.push_str(" (not in the file)");
    }
    line
}

/// The terms of a drain in words.
fn terms_line(terms: &DrainTerms) -> String {
    let then = match terms.then {
        Then::Move => "move",
        Then::Cut => "cut",
    };
    let mut line = match terms.deadline {
        Some(deadline) => format!("deadline {}, then {then}", whole_seconds(deadline)),
        None => "no deadline".to_owned(),
    };
    if let Some(quiet) = terms.quiet_seconds {
        let _ = write!(line, "; quiet {}", Time(Some(Duration::from_secs(quiet.into()))));
    }
    if terms.tunnels == Tunnels::Close {
        line.push_str("; tunnels close");
    }
    line
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// For how long a mark is asked for, as `2h`.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn mark_time(text: &str) -> Result<Duration, String> {
    match Time::from_str(text) {
        Ok(Time(Some(time))) if !time.is_zero() => Ok(time),
        Ok(_) => Err("a mark that ends needs a time such as 2h; leave it out for none".to_owned()),
        Err(error) => Err(format!("{}: {}", error.message, error.hint)),
    }
}

/// When a drain is to be over, as `1h` or `none`.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn drain_deadline(text: &str) -> Result<Until, String> {
    match Time::from_str(text) {
        Ok(Time(Some(time))) => Ok(Until::After(time)),
        Ok(Time(None)) => Ok(Until::Never),
        Err(error) => Err(format!("{}: {}", error.message, error.hint)),
    }
}

/// How quiet a visitor must have been to be moved by a drain, as `5m`.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn drain_quiet(text: &str) -> Result<Duration, String> {
    match Time::from_str(text) {
        Ok(Time(Some(time))) if time >= Duration::from_secs(1) => Ok(time),
        Ok(_) => Err("write at least a second, as 5m; leave it out for no such rule".to_owned()),
        Err(error) => Err(format!("{}: {}", error.message, error.hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_who_and_why_in_one_line() {
        let mut mark = Mark {
            pool: "shop".to_owned(),
            backend: "a".to_owned(),
            says: MarkWord::State(AdminState::Drain),
            who: "uid 0 pid 7".to_owned(),
            when: "2026-11-24T10:00:00.25Z".parse().unwrap(),
            why: Some("rack 7".to_owned()),
            until: None,
            in_file: true,
            drain: None,
        };
        assert_eq!(mark_line(&mark), "shop/a drain by uid 0 pid 7 at 2026-11-24T10:00:00Z: rack 7");
        mark.says = MarkWord::Weight(0);
        mark.until = Some("2026-11-24T12:00:00Z".parse().unwrap());
        mark.in_file = false;
        assert!(mark_line(&mark).ends_with("until 2026-11-24T12:00:00Z: rack 7 (not in the file)"));
    }

    #[test]
    fn the_terms_of_a_drain_are_told_in_words() {
        let mut terms = DrainTerms {
            deadline: Some("2026-11-24T11:00:00.5Z".parse().unwrap()),
            quiet_seconds: Some(300),
            then: Then::Move,
            tunnels: Tunnels::Close,
        };
        let line = "deadline 2026-11-24T11:00:00Z, then move; quiet 5m; tunnels close";
        assert_eq!(terms_line(&terms), line);
        terms = DrainTerms { deadline: None, quiet_seconds: None, tunnels: Tunnels::Keep, ..terms };
        assert_eq!(terms_line(&terms), "no deadline");
    }

    #[test]
    fn a_marks_time_has_an_end_and_is_not_over_at_once() {
        assert_eq!(mark_time("1h30m"), Ok(Duration::from_mins(90)));
        for wrong in ["none", "0s", "soon", "5"] {
            assert!(mark_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn critical_is_the_worst() {
        assert!(Severity::Critical > Severity::Warning && Severity::Warning > Severity::Info);
    }
}
