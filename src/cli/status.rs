//! `ostler status`: how the running process is, problems first.

use std::fmt::Write as _;
use std::process::ExitCode;

use http::Method;
use jiff::Timestamp;

use crate::admin::facts::Discovered;
use crate::admin::view::{self, Backend, Severity, Status};

use super::client::Places;
use super::fail::Fail;
use super::out::{self, Table, ago, span};

/// Prints the status, for people or as JSON.
///
/// # Errors
/// That nobody answers, or nobody who may be asked.
pub(super) fn status(places: &Places, json: bool) -> Result<(), Fail> {
    if json {
        return out::json(&places.ask(Method::GET, "/api/v1/status", None)?);
    }
    out::print(&page(&places.get("status")?, Timestamp::now()))
}

/// One line and an exit code, as monitoring plug-ins have it: 0 fine, 1 warning, 2 critical or no
/// running process, 3 cannot tell.
pub(super) fn check(places: &Places) -> ExitCode {
    let (code, line) = match places.get::<Status>("status") {
        Ok(status) => verdict(&status),
        Err(Fail::NoProcess(message)) => (2, format!("CRITICAL: {message}")),
        Err(fail) => (3, format!("UNKNOWN: {}", fail.text())),
    };
    let line = line.lines().next().unwrap_or_default();
    match out::print(&format!("{}\n", out::plain(line))) {
        Ok(()) => ExitCode::from(code),
        Err(fail) => fail.report(),
    }
}

fn verdict(status: &Status) -> (u8, String) {
    let worst = status.problems.iter().map(|problem| problem.severity).max();
    let (code, word) = match worst {
        Some(Severity::Critical) => (2, "CRITICAL"),
        Some(Severity::Warning) => (1, "WARNING"),
        Some(Severity::Info) | None => (0, "OK"),
    };
    let told: Vec<&str> = status
        .problems
        .iter()
        .filter(|problem| problem.severity > Severity::Info)
        .map(|problem| problem.text.as_str())
        .collect();
    let what =
        if told.is_empty() { format!("{}, no problems", phase(status)) } else { told.join("; ") };
    (code, format!("{word}: {what}"))
}

/// What it does, and for how long it has been up.
fn phase(status: &Status) -> String {
    let between = if status.phase == "stopping" { ", up" } else { "" };
    format!("{}{between} for {}", status.phase, span(status.uptime_seconds))
}

/// The whole page.
fn page(status: &Status, now: Timestamp) -> String {
    let mut text = format!(
        "ostler {} on {}, pid {}, {}\n",
        status.version,
        status.node,
        status.pid,
        phase(status)
    );
    let file = status.file.as_deref().map_or_else(String::new, |file| format!(" of {file}"));
    let differs = if status.file_differs { ", which differs on disk" } else { "" };
    let _ = writeln!(
        text,
        "generation {}{file}{differs}, loaded {} ago by {}",
        status.generation,
        ago(status.loaded_at, now),
        status.loaded_by
    );
    problems(status, &mut text);
    section(&mut text, "marks", &marks(status));
    section(&mut text, "listeners", &listeners(status));
    for pool in &status.pools {
        let full = pool.full_every.map(|every| format!(", one check of {every} in full"));
        let title = format!(
            "pool {}: {}, {} of {} usable{}",
            pool.name,
            pool.policy,
            pool.usable,
            pool.backends.len(),
            full.unwrap_or_default()
        );
        section(&mut text, &title, &backends(&pool.backends, now));
    }
    section(&mut text, "names", &names(&status.discovered, now));
    section(&mut text, "routes", &routes(status));
    section(&mut text, "certificates", &certificates(status));
    text
}

fn problems(status: &Status, text: &mut String) {
    text.push('\n');
    let told: Vec<_> =
        status.problems.iter().filter(|problem| problem.severity > Severity::Info).collect();
    if told.is_empty() {
        text.push_str("no problems\n");
    }
    for problem in told {
        let word = match problem.severity {
            Severity::Critical => "CRITICAL",
            Severity::Warning | Severity::Info => "warning",
        };
        let _ = writeln!(text, "{word}: {}", out::plain(&problem.text));
    }
}

fn section(text: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        let _ = write!(text, "\n{title}\n{body}");
    }
}

fn marks(status: &Status) -> String {
    let line = |mark| format!("  {}\n", out::plain(&view::mark_line(mark)));
    status.marks.iter().map(line).collect()
}

fn listeners(status: &Status) -> String {
    let mut table = Table::new(&["NAME", "ADDRESS", "PROTOCOLS"], &[]);
    for one in &status.listeners {
        let protocols = one.protocols.join(" ");
        let protocols = if one.tls { format!("{protocols} over TLS") } else { protocols };
        let mut name = one.name.clone();
        for bound in &one.bound {
            table.row([std::mem::take(&mut name), bound.to_string(), protocols.clone()]);
        }
        if one.bound.is_empty() {
            table.row([name, "not open".to_owned(), protocols]);
        }
    }
    if let Some(bound) = status.metrics.bound {
        table.row(["(metrics)".to_owned(), bound.to_string(), "http/1.1".to_owned()]);
    }
    if let Some(bound) = status.admin.bound {
        table.row(["(admin)".to_owned(), bound.to_string(), "http/1.1".to_owned()]);
    }
    filled(&table)
}

fn backends(all: &[Backend], now: Timestamp) -> String {
    let header = ["BACKEND", "ADDRESS", "STATE", "WEIGHT", "BUSY", "REQUESTS", "CHECKED"];
    let mut table = Table::new(&header, &[3, 4, 5]);
    for backend in all {
        let star = |differs| if differs { "*" } else { "" };
        let checked = match &backend.last_check {
            None => "-".to_owned(),
            Some(check) if check.passed => format!("{} ago", ago(check.at, now)),
            Some(check) => format!("failed {} ago", ago(check.at, now)),
        };
        table.row([
            backend.id.clone(),
            backend.address.clone(),
            format!("{}{}{}", backend.state, star(backend.mark.is_some()), itself(backend)),
            format!("{}{}", backend.weight, star(backend.weight != backend.weight_in_file)),
            match backend.limit {
                None => backend.in_flight.to_string(),
                Some(limit) => format!("{}/{limit}", backend.in_flight),
            },
            backend.requests.to_string(),
            checked,
        ]);
    }
    let mut text = filled(&table);
    let marked = |one: &Backend| one.mark.is_some() || one.weight != one.weight_in_file;
    if all.iter().any(marked) {
        text.push_str("  * other than in the file: by a mark, or by its own word\n");
    }
    text
}

/// A backend that nobody but itself has drained.
fn itself(backend: &Backend) -> &'static str {
    if backend.leaving {
        return " (left DNS)";
    }
    let says = backend.own_word.as_ref().is_some_and(|word| word.contains("drain"));
    let drains = backend.state == "drain" && backend.mark.is_none();
    if says && drains { " (by itself)" } else { "" }
}

fn names(all: &[Discovered], now: Timestamp) -> String {
    let mut table = Table::new(&["NAME", "POOL", "BACKENDS", "LEAVING", "ANSWERED"], &[2, 3]);
    for one in all {
        table.row([
            one.name.clone(),
            one.pool.clone(),
            one.backends.to_string(),
            one.leaving.to_string(),
            one.answered.map_or_else(|| "never".to_owned(), |at| format!("{} ago", ago(at, now))),
        ]);
    }
    filled(&table)
}

fn routes(status: &Status) -> String {
    let mut table = Table::new(&["NAME", "POOL", "REQUESTS", "ERRORS"], &[2, 3]);
    for route in &status.routes {
        table.row([
            route.name.clone(),
            route.pool.clone().unwrap_or_else(|| "-".to_owned()),
            route.requests.to_string(),
            route.errors.to_string(),
        ]);
    }
    filled(&table)
}

fn certificates(status: &Status) -> String {
    let mut table = Table::new(&["LISTENER", "NAMES", "ENDS", "DAYS"], &[3]);
    for one in &status.certificates {
        let names = match one.names.as_slice() {
            [] => "-".to_owned(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        let ends = one.not_after.to_string();
        let day = ends.split('T').next().unwrap_or_default().to_owned();
        table.row([one.listener.clone(), names, day, one.days_left.to_string()]);
    }
    filled(&table)
}

fn filled(table: &Table) -> String {
    if table.is_empty() { String::new() } else { table.text() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Status {
        let backend = json!({"id": "a", "address": "10.0.0.11:8080", "state": "down",
            "state_in_file": "up", "weight": 3, "weight_in_file": 1, "mark": null,
            "verdict": "down", "in_flight": 2, "requests": 41, "last_check": {
                "at": "2026-11-24T10:00:00Z", "passed": false, "detail": "HTTP 503",
                "took_ms": 1.5, "in_a_row": 3}});
        serde_json::from_value(json!({
            "version": "0.1.0", "node": "one", "pid": 7, "uptime_seconds": 7_320,
            "phase": "serving", "generation": 4, "loaded_at": "2026-11-24T09:59:00Z",
            "loaded_by": "SIGHUP", "file": "ostler.toml", "file_differs": true,
            "last_reload_ok": true,
            "problems": [{"severity": "critical", "text": "pool shop has no usable backend"},
                {"severity": "info", "text": "shop/a is marked"}],
            "marks": [{"pool": "shop", "backend": "a", "weight": 3, "who": "uid 0 pid 9",
                "when": "2026-11-24T09:00:00Z", "why": "load test", "in_file": true}],
            "listeners": [{"name": "web", "bound": ["127.0.0.1:8443", "[::1]:8443"], "tls": true,
                "protocols": ["h2", "http/1.1"]}],
            "metrics": {"bound": "127.0.0.1:9900"},
            "pools": [{"name": "shop", "policy": "random", "usable": 0, "backends": [backend]}],
            "routes": [{"name": "shop", "pool": "shop", "requests": 44, "errors": 3}],
            "certificates": [{"listener": "web", "names": ["a.example", "b.example"],
                "not_after": "2027-01-24T10:00:00Z", "days_left": 61}],
        }))
        .unwrap()
    }

    #[test]
    fn a_process_that_stops_has_not_been_stopping_since_it_started() {
        let stopping = Status { phase: "stopping".into(), problems: Vec::new(), ..example() };
        let text = page(&stopping, "2026-11-24T10:00:02Z".parse().unwrap());
        assert!(text.contains(", stopping, up for 2h 2m\n"), "{text}");
        assert_eq!(verdict(&stopping), (0, "OK: stopping, up for 2h 2m, no problems".into()));
    }

    #[test]
    fn problems_come_before_every_table_and_lines_fit_a_terminal() {
        let text = page(&example(), "2026-11-24T10:00:02Z".parse().unwrap());
        let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words} in\n{text}"));
        assert!(at("CRITICAL: pool shop has no usable") < at("\nmarks\n"));
        assert!(at("\nmarks\n") < at("\nlisteners\n") && at("\nlisteners\n") < at("\npool shop"));
        at("serving for 2h 2m");
        at("of ostler.toml, which differs on disk, loaded 1m 2s ago by SIGHUP");
        at("shop/a weight 3 by uid 0 pid 9 at 2026-11-24T09:00:00Z: load test");
        at("3*");
        at("  * other than in the file: by a mark, or by its own word");
        at("failed 2s ago");
        at("a.example and 1 more");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_plug_in_goes_by_the_worst_problem_and_not_by_what_was_wanted() {
        let mut status = example();
        let (code, line) = verdict(&status);
        assert_eq!((code, &*line), (2, "CRITICAL: pool shop has no usable backend"));
        status.problems.remove(0);
        assert_eq!(verdict(&status).0, 0);
        status.problems[0].severity = Severity::Warning;
        assert_eq!(verdict(&status).0, 1);
    }
}
