//! `ostler reload` and `ostler stop`.

use std::fmt::Write as _;

use http::Method;
use serde_json::Value;

use super::client::Places;
use super::fail::Fail;
use super::{marks, out};

/// Has the file read again and says what changed.
///
/// # Errors
/// Every mistake of the file, or that nobody answers.
pub(super) fn reload(places: &Places, json: bool) -> Result<(), Fail> {
    let answer = places.ask(Method::POST, "/api/v1/reload", None)?;
    if json { out::json(&answer) } else { out::print(&told(&answer)) }
}

/// Has the process drain and end; it does so by itself from here.
///
/// # Errors
/// That nobody answers.
pub(super) fn stop(places: &Places) -> Result<(), Fail> {
    let answer = places.ask(Method::POST, "/api/v1/stop", None)?;
    let connections = answer.get("connections").and_then(Value::as_u64).unwrap_or_default();
    let timeout = answer.get("drain_timeout").and_then(Value::as_str);
    let at_most = timeout.map_or_else(String::new, |time| format!(", at most {time}"));
    out::print(&format!("draining {connections} open connections{at_most}\n"))
}

/// What changed, line by line, then the marks in force and the file's warnings.
fn told(answer: &Value) -> String {
    let generation = answer.get("generation").and_then(Value::as_u64).unwrap_or_default();
    let mut text = format!("generation {generation}\n");
    let lines = answer.get("lines").and_then(Value::as_array).into_iter().flatten();
    for line in lines.filter_map(Value::as_str) {
        let _ = writeln!(text, "  {}", out::plain(line));
    }
    let marks = answer.get("marks").and_then(Value::as_array);
    if marks.is_some_and(|marks| !marks.is_empty()) {
        text.push_str(&marks::in_force(answer));
    }
    let warnings = answer.get("warnings_text").and_then(Value::as_str).unwrap_or_default();
    if !warnings.is_empty() {
        let _ = write!(text, "\n{warnings}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_lines_of_the_answer_are_what_is_printed() {
        let answer = json!({"generation": 4, "lines": ["+ pool shop", "~ backend shop/a"]});
        assert_eq!(told(&answer), "generation 4\n  + pool shop\n  ~ backend shop/a\n");
        let marked = json!({"generation": 5, "lines": ["nothing changed"], "marks": [{
            "pool": "shop", "backend": "b", "state": "maint", "who": "uid 0 pid 1",
            "when": "2026-11-24T10:00:00Z"}]});
        let text = told(&marked);
        assert!(text.contains("marks in force:\n  shop/b maint"), "{text}");
    }
}
