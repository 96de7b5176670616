//! `ostler sessions`: live sessions of each backend, and how drains go.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::admin::view::{BackendSessions, Drain, Nodes, PoolSessions, Sessions};
use crate::event::Then;

use super::args;
use super::client::{Places, block_on};
use super::fail::Fail;
use super::out::{self, Table};

/// Prints live sessions, added up over nodes.
///
/// # Errors
/// That nobody answers, that a peer is out of reach, or that there is no such pool.
pub(super) fn sessions(places: &Places, sessions: &args::Sessions) -> Result<(), Fail> {
    let query = match &sessions.pool {
        Some(pool) if !out::is_name(pool) => {
            return Err(Fail::Usage(format!("`{pool}` is no name of a pool")));
        }
        Some(pool) => format!("pool={pool}"),
        None => String::new(),
    };
    let nodes = block_on(places.sessions(sessions.this_node, &query))??;
    if let Some(pool) = &sessions.pool
        && nodes.nodes.iter().all(|node| node.pools.is_empty())
    {
        return Err(Fail::refused(format!("there is no pool {pool}")));
    }
    if sessions.json { out::json(&nodes) } else { out::print(&page(&nodes, Timestamp::now())) }
}

/// The whole page.
fn page(nodes: &Nodes, now: Timestamp) -> String {
    let names: Vec<&str> = nodes.nodes.iter().map(|node| &*node.node).collect();
    let mut text = match names.as_slice() {
        [only] => format!("on this node ({only})\n"),
        all => format!("on {}, added up\n", out::listed(all)),
    };
    for name in pools(nodes) {
        pool(&mut text, nodes, name, now);
    }
    text
}

/// Names of all pools, in the order in which they come.
fn pools(nodes: &Nodes) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for pool in nodes.nodes.iter().flat_map(|node| &node.pools) {
        if !names.contains(&&*pool.name) {
            names.push(&pool.name);
        }
    }
    names
}

fn pool(text: &mut String, nodes: &Nodes, name: &str, now: Timestamp) {
    let of = |node: &'_ Sessions| node.pools.iter().position(|pool| pool.name == name);
    let shown: Vec<(&Sessions, &PoolSessions)> =
        nodes.nodes.iter().filter_map(|node| Some((node, node.pools.get(of(node)?)?))).collect();
    let Some((_, first)) = shown.first() else { return };
    let pools = || shown.iter().map(|(_, pool)| *pool);
    let complete = pools().all(|pool| pool.complete);
    let all =
        count(pools().map(|pool| pool.sessions).sum(), pools().all(|pool| pool.exact), complete);
    let issued = out::grouped(pools().map(|pool| pool.issued).sum());
    let _ = match &*first.by {
        "none" => writeln!(text, "\npool {name}: nobody is bound"),
        by => writeln!(text, "\npool {name}: by {by}, {all} sessions, {issued} issued"),
    };
    let mut ids: Vec<&str> = Vec::new();
    for backend in pools().flat_map(|pool| &pool.backends) {
        if !ids.contains(&&*backend.id) {
            ids.push(&backend.id);
        }
    }
    let mut table = Table::new(HEADER, &[2, 3, 4]);
    for id in ids {
        let on: Vec<On<'_>> = shown
            .iter()
            .filter_map(|(node, pool)| {
                let backend = pool.backends.iter().find(|it| it.id == id)?;
                Some(On { node: &node.node, complete: pool.complete, backend })
            })
            .collect();
        rows(&mut table, &on, complete, nodes.nodes.len() > 1, now);
    }
    if !table.is_empty() {
        text.push_str(&table.text());
    }
    for (node, pool) in shown.iter().filter(|(_, pool)| !pool.complete) {
        let whose = if shown.len() > 1 { format!("{}: ", node.node) } else { String::new() };
        let since = out::rough(node.counted(pool));
        let until = out::rough(pool.complete_in_seconds);
        let _ = writeln!(text, "  {whose}counted for {since} so far, complete in {until}");
    }
}

const HEADER: &[&str] = &["BACKEND", "STATE", "SESSIONS", "EXCHANGES", "TUNNELS", "DRAIN"];

/// A backend on one node, and whether that has seen all its sessions.
struct On<'a> {
    node: &'a str,
    complete: bool,
    backend: &'a BackendSessions,
}

/// A backend, and where there are several nodes each of them below it.
fn rows(table: &mut Table, on: &[On<'_>], complete: bool, several: bool, now: Timestamp) {
    let all = || on.iter().map(|one| one.backend);
    let Some(first) = all().next() else { return };
    let state =
        if all().all(|it| it.state == first.state) { first.state.clone() } else { "mixed".into() };
    let drains: Vec<&Drain> = all().filter_map(|it| it.drain.as_ref()).collect();
    table.row([
        first.id.clone(),
        state,
        count(all().map(|it| it.sessions).sum(), all().all(|it| it.exact), complete),
        out::grouped(all().map(|it| u64::from(it.exchanges)).sum()),
        out::grouped(all().map(|it| u64::from(it.tunnels)).sum()),
        drain(&drains, all().all(|it| it.empty), now),
    ]);
    for On { node, complete, backend } in on.iter().filter(|_| several) {
        table.row([
            format!("  on {node}"),
            backend.state.clone(),
            count(backend.sessions, backend.exact, *complete),
            out::grouped(backend.exchanges.into()),
            out::grouped(backend.tunnels.into()),
            String::new(),
        ]);
    }
}

/// `≥ 12` while incomplete, `~ 123,456` where it is an estimate.
fn count(number: u64, exact: bool, complete: bool) -> String {
    let number = out::grouped(number);
    match (complete, exact) {
        (false, _) => format!("≥ {number}"),
        (true, false) => format!("~ {number}"),
        (true, true) => number,
    }
}

/// How the drains of one backend go, those of all nodes together.
fn drain(drains: &[&Drain], empty: bool, now: Timestamp) -> String {
    let Some(first) = drains.first() else { return String::new() };
    if empty {
        return with_moved("empty".to_owned(), drains);
    }
    let then = if first.then == Then::Cut { "cut" } else { "move" };
    let last = drains.iter().map(|drain| drain.deadline).collect::<Option<Vec<_>>>();
    let mut text = match last.and_then(|all| all.into_iter().max()) {
        None => "no deadline".to_owned(),
        Some(_) if drains.iter().all(|drain| drain.over) => format!("deadline passed, {then}"),
        Some(deadline) => {
            let left = deadline.as_second().saturating_sub(now.as_second());
            format!("{then} in {}", out::rough(u64::try_from(left).unwrap_or(0)))
        }
    };
    if let Some(quiet) = first.quiet_seconds {
        let _ = write!(text, ", quiet {}", out::rough(quiet.into()));
    }
    with_moved(text, drains)
}

fn with_moved(text: String, drains: &[&Drain]) -> String {
    match drains.iter().map(|drain| drain.moved).sum::<u64>() {
        0 => text,
        moved => format!("{text}, moved {}", out::grouped(moved)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, sessions: u64, complete: bool) -> Sessions {
        let backend = |id: &str, sessions: u64, drain| {
            json!({"id": id, "state": "up", "sessions": sessions, "exact": true, "exchanges": 2,
                "tunnels": 0, "empty": false, "drain": drain})
        };
        let drain = json!({"since": "2026-11-24T10:00:00Z", "deadline": "2026-11-24T11:00:00Z",
            "over": false, "quiet_seconds": 300, "then": "move", "tunnels": "keep", "moved": 3});
        serde_json::from_value(json!({"node": name, "kept": true, "uptime_seconds": 240, "pools": [
            {"name": "shop", "by": "cookie", "sessions": sessions + 1, "exact": true,
            "complete": complete, "complete_in_seconds": 1560, "issued": 9,
            "backends": [backend("a", sessions, drain), backend("b", 1, json!(null))]}]}))
        .unwrap()
    }

    fn shown(nodes: Vec<Sessions>) -> String {
        let text = page(&Nodes { nodes }, "2026-11-24T10:48:00Z".parse().unwrap());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text
    }

    #[test]
    fn a_node_alone_says_that_it_is_alone() {
        let text = shown(vec![node("lb1", 1_200, true)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "on this node (lb1)");
        assert_eq!(lines[2], "pool shop: by cookie, 1,201 sessions, 9 issued");
        let cells: Vec<&str> = lines[4].split("  ").filter(|cell| !cell.is_empty()).collect();
        let cells: Vec<&str> = cells.into_iter().map(str::trim).collect();
        assert_eq!(cells, ["a", "up", "1,200", "2", "0", "move in 12m, quiet 5m, moved 3"]);
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn several_nodes_are_added_up_and_told_apart_and_incomplete_counts_are_said_to_be_so() {
        let text = shown(vec![node("lb1", 5, true), node("lb2", 7, false)]);
        assert!(text.starts_with("on lb1 and lb2, added up\n"), "{text}");
        assert!(text.contains("≥ 14 sessions, 18 issued"), "{text}");
        assert!(text.contains("moved 6") && text.contains("    on lb2"), "{text}");
        assert!(text.ends_with("  lb2: counted for 4m so far, complete in 26m\n"), "{text}");
        let mut restarted = node("lb1", 5, false);
        restarted.pools[0].counted_for_seconds = Some(1_200);
        let text = shown(vec![restarted]);
        assert!(text.ends_with("  counted for 20m so far, complete in 26m\n"), "{text}");
        assert_eq!(
            (count(123_456, false, true), count(1, true, true)),
            ("~ 123,456".into(), "1".into())
        );
    }
}
