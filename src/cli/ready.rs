//! `ostler ready`: sets the mark, and with `--wait` returns when the backend takes traffic.

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::admin::facts::{Mark, MarkWord};
use crate::admin::view::{Backend, Check, Nodes};
use crate::config::unit::Time;
use crate::event::MarkAction;

use super::client::{Places, block_on};
use super::drain::{Target, find, query};
use super::fail::Fail;
use super::{args, marks, out};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(200);
/// So long it waits where nobody says how long.
const PATIENCE: Duration = Duration::from_mins(10);

/// Marks a backend as up, and waits where asked to until it takes traffic.
///
/// # Errors
/// What the running process has against it, or that nobody answers; with `--wait` also that a
/// backend has left the configuration meanwhile, or does not take traffic in time.
pub(super) fn ready(places: &Places, ready: &args::Ready) -> Result<(), Fail> {
    let patience = patience(ready.timeout.as_deref())?;
    let options = &ready.mark.options;
    let page = marks::page(ready.mark.target.as_deref(), options)?;
    let answer = marks::send(places, &page, options, MarkAction::Ready)?;
    if !ready.wait {
        return Ok(());
    }
    block_on(wait(places, options.this_node, &marks::matched(&answer), patience))?
}

/// None: for ever.
fn patience(text: Option<&str>) -> Result<Option<Duration>, Fail> {
    let Some(text) = text else { return Ok(Some(PATIENCE)) };
    let wrong = |problem: String| Fail::Usage(format!("--timeout: {problem}"));
    let time = Time::from_str(text).map_err(|it| wrong(format!("{}: {}", it.message, it.hint)))?;
    match time.0 {
        Some(Duration::ZERO) => Err(wrong("a time such as 5m, or none".to_owned())),
        time => Ok(time),
    }
}

async fn wait(
    places: &Places,
    this_node: bool,
    all: &[Target],
    patience: Option<Duration>,
) -> Result<(), Fail> {
    let begun = Instant::now();
    let mut told = String::new();
    loop {
        let waiting = waiting(places, this_node, all).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let text = line(&waiting);
        if let Some(patience) = patience.filter(|patience| begun.elapsed() >= *patience) {
            let time = out::rough(patience.as_secs());
            return Err(Fail::refused(format!(
                "after {time} still {text}; the mark stays (--timeout says how long to wait)"
            )));
        }
        if text != told {
            out::note(&text);
            told = text;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Backends that do not take traffic yet, each with what keeps it.
async fn waiting(
    places: &Places,
    this_node: bool,
    all: &[Target],
) -> Result<Vec<(Target, String)>, Fail> {
    let nodes = places.sessions(this_node, &query(all)).await?;
    let marks: Vec<Mark> = places.getting("marks").await?;
    let mut waiting = Vec::new();
    for target in all {
        let (pool, id) = target;
        let missing = missing(&nodes, target)?;
        let backend: Backend = places.getting(&format!("pools/{pool}/backends/{id}")).await?;
        let is_meant = |mark: &&Mark| {
            mark.pool == *pool && mark.backend == *id && matches!(mark.says, MarkWord::State(_))
        };
        let marked = marks.iter().find(is_meant).map(|mark| mark.when);
        if let Some(why) = missing.or_else(|| unproven(backend.last_check.as_ref(), marked)) {
            let failed = backend.last_check.as_ref().filter(|check| !check.passed);
            let seen = failed.map(|check| format!("; its last check failed: {}", check.detail));
            waiting.push((target.clone(), format!("{why}{}", seen.unwrap_or_default())));
        }
    }
    Ok(waiting)
}

/// The state that keeps a backend from taking traffic, and on which nodes.
fn missing(nodes: &Nodes, (pool, id): &Target) -> Result<Option<String>, Fail> {
    let mut on = Vec::new();
    let mut state = None;
    for node in &nodes.nodes {
        let Some(backend) = find(node, pool, id) else {
            let text = format!("{pool}/{id} has left the configuration of {}", node.node);
            return Err(Fail::refused(text));
        };
        if backend.state != "up" {
            state.get_or_insert(&backend.state);
            on.push(&*node.node);
        }
    }
    let several = nodes.nodes.len() > 1;
    let whose = if several { format!(" on {}", out::listed(&on)) } else { String::new() };
    Ok(state.map(|state| format!("it is {state}{whose}")))
}

/// Why the last check here proves nothing: a verdict from before a restart says nothing about what
/// runs now.
fn unproven(check: Option<&Check>, marked: Option<Timestamp>) -> Option<String> {
    let check = check?;
    if !check.passed {
        return Some("it is not well".to_owned());
    }
    let before = marked.is_some_and(|when| check.at < when);
    before.then(|| "it has not been checked since it was marked".to_owned())
}

fn line(waiting: &[(Target, String)]) -> String {
    let name = |(pool, id): &Target| format!("{pool}/{id}");
    let Some(((first, why), rest)) = waiting.split_first() else { return String::new() };
    let rest: Vec<String> = rest.iter().map(|(target, _)| name(target)).collect();
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let more =
        if rest.is_empty() { String::new() } else { format!(" (and for {})", out::listed(&rest)) };
    out::plain(&format!("waiting for {}: {why}{more}", name(first)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(pool: &str) -> Target {
        (pool.to_owned(), "a".to_owned())
    }

    fn nodes(states: &[(&str, &str)]) -> Nodes {
        let node = |(node, state): &(&str, &str)| {
            serde_json::from_value(json!({"node": node, "kept": true, "uptime_seconds": 9,
                "pools": [{"name": "shop", "by": "none", "sessions": 0, "exact": true,
                "complete": true, "complete_in_seconds": 0, "issued": 0, "backends": [{
                "id": "a", "state": state, "sessions": 0, "exact": true, "exchanges": 0,
                "tunnels": 0, "empty": true, "drain": null}]}]}))
            .unwrap()
        };
        Nodes { nodes: states.iter().map(node).collect() }
    }

    #[test]
    fn whom_and_what_it_waits_for_is_told() {
        let shop = target("shop");
        let missing = |states: &[_]| missing(&nodes(states), &shop).unwrap();
        assert_eq!(missing(&[("lb1", "up"), ("lb2", "up")]), None);
        assert_eq!(missing(&[("lb1", "down")]).unwrap(), "it is down");
        let on = missing(&[("lb1", "up"), ("lb2", "down"), ("lb3", "unchecked")]).unwrap();
        assert_eq!(on, "it is down on lb2 and lb3");
        assert!(super::missing(&nodes(&[("lb1", "up")]), &target("api")).is_err());
        let waiting = [(shop, on), (target("api"), String::new())];
        let text = line(&waiting);
        assert_eq!(text, "waiting for shop/a: it is down on lb2 and lb3 (and for api/a)");
    }

    #[test]
    fn a_check_from_before_the_mark_proves_nothing() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let check = |passed| Check {
            at: second(10),
            passed,
            detail: "HTTP 503".to_owned(),
            took_ms: 1.0,
            in_a_row: 1,
        };
        assert_eq!(unproven(None, Some(second(9))), None, "what is not checked needs no proof");
        assert_eq!(unproven(Some(&check(true)), Some(second(9))), None);
        assert_eq!(unproven(Some(&check(true)), None), None);
        assert!(unproven(Some(&check(true)), Some(second(11))).is_some());
        assert!(unproven(Some(&check(false)), Some(second(9))).is_some());
    }

    #[test]
    fn it_waits_for_ten_minutes_or_as_long_as_is_said() {
        assert_eq!(patience(None).unwrap(), Some(PATIENCE));
        assert_eq!(patience(Some("90s")).unwrap(), Some(Duration::from_secs(90)));
        assert_eq!(patience(Some("none")).unwrap(), None);
        for wrong in ["0s", "soon"] {
            assert_eq!(patience(Some(wrong)).unwrap_err().code(), 2, "{wrong}");
        }
    }
}
