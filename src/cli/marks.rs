//! `ostler maint`, `weight` and `unmark`, and what all commands that set marks share.

use std::fmt::Write as _;

use http::Method;
use serde_json::{Value, json};

use crate::admin::facts::Mark;
use crate::admin::view;
use crate::event::MarkAction;

use super::args::{self, MarkOptions};
use super::client::Places;
use super::fail::Fail;
use super::out;

/// Sets or lifts a mark of the state.
///
/// # Errors
/// What the running process has against it, or that nobody answers.
pub(super) fn mark(places: &Places, mark: &args::Mark, action: MarkAction) -> Result<(), Fail> {
    let page = page(mark.target.as_deref(), &mark.options)?;
    send(places, &page, &mark.options, action).map(drop)
}

/// Sets a mark of the weight.
///
/// # Errors
/// As [`mark`].
pub(super) fn weight(places: &Places, weight: &args::Weight) -> Result<(), Fail> {
    let (target, number) = match (weight.words.as_slice(), &weight.options.address) {
        ([number], Some(_)) => (None, number),
        ([target, number], None) => (Some(target.as_str()), number),
        _ => {
            let usage = "write `ostler weight POOL/BACKEND N` or `ostler weight --address IP N`";
            return Err(Fail::Usage(usage.to_owned()));
        }
    };
    let most = u32::try_from(crate::config::defaults::MAX_WEIGHT).unwrap_or(u32::MAX);
    let number = number.parse().ok().filter(|number| *number <= most).ok_or_else(|| {
        Fail::Usage(format!("`{number}` is no weight: write a whole number from 0 to {most}"))
    })?;
    let page = page(target, &weight.options)?;
    send(places, &page, &weight.options, MarkAction::Weight(number)).map(drop)
}

/// Pools and ids of the backends that a mark was for, on all nodes.
pub(super) fn matched(answer: &Value) -> Vec<(String, String)> {
    let member = |of: &Value, name| of.get(name).and_then(Value::as_str).map(str::to_owned);
    let nodes = answer.get("nodes").and_then(Value::as_array).into_iter().flatten();
    let backends = std::iter::once(answer)
        .chain(nodes)
        .filter_map(|of| of.get("backends")?.as_array())
        .flatten()
        .filter_map(|it| Some((member(it, "pool")?, member(it, "id")?)));
    let mut found = Vec::new();
    for backend in backends {
        if !found.contains(&backend) {
            found.push(backend);
        }
    }
    found
}

/// Sets or lifts a mark, and prints what came of it.
///
/// # Errors
/// As [`mark`].
pub(super) fn send(
    places: &Places,
    page: &str,
    options: &MarkOptions,
    action: MarkAction,
) -> Result<Value, Fail> {
    let answer = places.ask(Method::PATCH, page, Some(&body(options, action)?))?;
    print(&answer, options.json)?;
    Ok(answer)
}

/// Prints what came of a mark.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn print(answer: &Value, json: bool) -> Result<(), Fail> {
    if json { out::json(answer) } else { out::print(&told(answer)) }
}

/// The page of the backend that is meant, or that of all marks.
pub(super) fn page(target: Option<&str>, options: &MarkOptions) -> Result<String, Fail> {
    let nodes = if options.this_node { "" } else { "?all_nodes=true" };
    let Some(target) = target else { return Ok(format!("/api/v1/marks{nodes}")) };
    if options.address.is_some() {
        let text = "write either POOL/BACKEND or --address, not both";
        return Err(Fail::Usage(text.to_owned()));
    }
    let (pool, backend) = out::backend(target)?;
    Ok(format!("/api/v1/pools/{pool}/backends/{backend}{nodes}"))
}

/// What is asked, as the API takes it.
pub(super) fn body(options: &MarkOptions, action: MarkAction) -> Result<Value, Fail> {
    let (name, value) = match action {
        MarkAction::Ready => ("state", json!("up")),
        MarkAction::Drain(_) => ("state", json!("drain")),
        MarkAction::Maint => ("state", json!("maint")),
        MarkAction::Weight(weight) => ("weight", json!(weight)),
        MarkAction::Unmark => ("unmark", json!(true)),
    };
    let mut body = serde_json::Map::new();
    body.insert(name.to_owned(), value);
    body.insert("force".to_owned(), json!(options.force));
    if let Some(reason) = &options.reason {
        body.insert("reason".to_owned(), json!(reason));
    }
    if let Some(address) = &options.address {
        body.insert("address".to_owned(), json!(address));
    }
    if let Some(time) = &options.time {
        view::mark_time(time).map_err(|problem| Fail::Usage(format!("--for: {problem}")))?;
        body.insert("for".to_owned(), json!(time));
    }
    Ok(Value::Object(body))
}

/// What was matched and on which nodes, then the marks in force, then what to know about them.
fn told(answer: &Value) -> String {
    let mut text = String::new();
    let list = |name| answer.get(name).and_then(Value::as_array).into_iter().flatten();
    let on = whose(answer);
    for backend in list("backends") {
        let member = |name| backend.get(name).and_then(Value::as_str).unwrap_or_default();
        let (pool, id, address) = (member("pool"), member("id"), member("address"));
        let _ = writeln!(text, "{}", out::plain(&format!("{pool}/{id} ({address}){on}")));
    }
    text.push_str(&in_force(answer));
    for warning in list("warnings").filter_map(Value::as_str) {
        let _ = writeln!(text, "warning: {}", out::plain(warning));
    }
    text
}

/// Whose marks they are.
fn whose(answer: &Value) -> String {
    let nodes = answer.get("nodes").and_then(Value::as_array).into_iter().flatten();
    let nodes: Vec<&str> = nodes.filter_map(|node| node.get("node")?.as_str()).collect();
    match (nodes.as_slice(), answer.get("node").and_then(Value::as_str)) {
        ([_, _, ..], _) => format!(" on {}", out::listed(&nodes)),
        (_, Some(node)) => format!(" on this node ({node})"),
        (_, None) => String::new(),
    }
}

/// The marks in force that come with an answer, one a line.
pub(super) fn in_force(answer: &Value) -> String {
    let marks = answer.get("marks").cloned().unwrap_or_default();
    let marks: Vec<Mark> = serde_json::from_value(marks).unwrap_or_default();
    if marks.is_empty() {
        return "no marks in force\n".to_owned();
    }
    let mut text = "marks in force:\n".to_owned();
    for mark in &marks {
        let _ = writeln!(text, "  {}", out::plain(&view::mark_line(mark)));
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::event::DrainPlan;

    use super::*;

    fn options(address: Option<&str>, time: Option<&str>) -> MarkOptions {
        MarkOptions {
            address: address.map(str::to_owned),
            reason: Some("rack 7".to_owned()),
            time: time.map(str::to_owned),
            force: false,
            this_node: false,
            json: false,
        }
    }

    #[test]
    fn a_backend_is_named_by_its_pool_and_its_id() {
        let nothing = options(None, None);
        let page_of = |target| page(Some(target), &nothing).map_err(|fail| fail.code());
        assert_eq!(page_of("shop/a").unwrap(), "/api/v1/pools/shop/backends/a?all_nodes=true");
        for wrong in ["shop", "/a", "shop/", "a/b/c", "shop/..", "sh op/a", "shop/a?force"] {
            assert_eq!(page_of(wrong), Err(2), "{wrong}");
        }
        assert_eq!(page(Some("shop/a"), &options(Some("10.0.0.1"), None)).unwrap_err().code(), 2);
        let here = MarkOptions { this_node: true, ..options(Some("10.0.0.1"), None) };
        assert_eq!(page(None, &here).unwrap(), "/api/v1/marks");
    }

    #[test]
    fn what_was_matched_is_listed_first() {
        let answer = json!({
            "backends": [{"pool": "shop", "id": "a", "address": "10.0.0.1:80"}],
            "marks": [{"pool": "shop", "backend": "a", "state": "drain", "who": "uid 0 pid 1",
                "when": "2026-11-24T10:00:00Z", "why": "rack 7"}],
            "warnings": ["they will not survive a restart"],
            "node": "lb1",
        });
        let text = told(&answer);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["shop/a (10.0.0.1:80) on this node (lb1)", "marks in force:"]);
        assert!(lines[2].contains("shop/a drain") && lines[2].contains("rack 7"), "{text}");
        assert_eq!(lines[3], "warning: they will not survive a restart");
        assert_eq!(told(&json!({})), "no marks in force\n");
        let all = json!({"node": "lb1", "backends": [{"pool": "shop", "id": "a"}], "nodes": [
            {"node": "lb1", "backends": [{"pool": "shop", "id": "a"}]},
            {"node": "lb2", "backends": [{"pool": "shop", "id": "b"}]}]});
        assert!(told(&all).starts_with("shop/a () on lb1 and lb2\n"));
        assert_eq!(matched(&all).len(), 2);
    }

    #[test]
    fn what_is_asked_is_written_as_the_api_takes_it() {
        let asked =
            body(&options(Some("10.0.0.1"), Some("2h")), MarkAction::Drain(DrainPlan::default()))
                .unwrap();
        let expected = json!({"state": "drain", "force": false, "reason": "rack 7",
            "address": "10.0.0.1", "for": "2h"});
        assert_eq!(asked, expected);
        let asked = body(&options(None, None), MarkAction::Weight(0)).unwrap();
        assert_eq!(asked["weight"], 0);
        assert_eq!(
            body(&options(None, Some("soon")), MarkAction::Drain(DrainPlan::default()))
                .unwrap_err()
                .code(),
            2
        );
    }
}
