//! `ostler probe`: a backend's check, now, with the whole conversation.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::admin::view::mark_time;
use crate::admin::view::probe::{Probed, ProbedCheck};
use crate::backend::Verdict;

use super::args;
use super::client::{Places, block_on, understood};
use super::fail::{self, Fail};
use super::out;

/// From the end of one probe to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// Probes until it passes or the time is over; says whether it passed by the exit code.
///
/// # Errors
/// Where the running process does not agree, or nobody answers.
pub(super) fn probe(places: &Places, probe: &args::Probe) -> Result<ExitCode, Fail> {
    let (pool, backend) = out::backend(&probe.target)?;
    let patience = probe.retry.as_deref().map(mark_time).transpose();
    let patience = patience.map_err(|error| Fail::Usage(format!("--retry: {error}")))?;
    let page = format!("/api/v1/pools/{pool}/backends/{backend}/probe");
    let (answer, probed) = block_on(until_it_passes(places, &page, patience))??;
    if probe.json {
        out::json(&answer)?;
    } else {
        out::print(&shown(&probed))?;
    }
    Ok(if probed.passed { ExitCode::SUCCESS } else { ExitCode::from(fail::REFUSED) })
}

async fn until_it_passes(
    places: &Places,
    page: &str,
    patience: Option<Duration>,
) -> Result<(Value, Probed), Fail> {
    let begun = Instant::now();
    loop {
        let answer = places.asking(Method::POST, page, None).await?;
        let probed: Probed = understood(answer.clone())?;
        let again = patience.is_some_and(|patience| begun.elapsed() + AGAIN < patience);
        if probed.passed || !again {
            return Ok((answer, probed));
        }
        for check in probed.checks.iter().filter(|check| !check.passed) {
            out::note(&format!("{}: {}", check.asks, out::plain(&check.detail)));
        }
        sleep(AGAIN).await;
    }
}

fn shown(probed: &Probed) -> String {
    let mut text = String::new();
    for check in &probed.checks {
        let whom = format!("{}/{} at {}", probed.pool, probed.backend, probed.address);
        let _ = writeln!(text, "{} of {}", out::plain(&check.asks), out::plain(&whom));
        conversation(&mut text, check);
    }
    let verdict = match probed.verdict {
        Verdict::Up => "up",
        Verdict::Down => "down",
        Verdict::Unchecked => "not checked yet",
    };
    let _ = writeln!(text, "its state by its checks is {verdict}; a probe changes nothing");
    text
}

/// When, what, and the words, those of several lines below each other.
fn conversation(text: &mut String, check: &ProbedCheck) {
    for step in &check.steps {
        let mut lines = step.text.lines();
        let first = out::plain(lines.next().unwrap_or_default());
        let _ = writeln!(text, "  {:>8.1} ms  {:<11}  {first}", step.at_ms, step.step);
        for line in lines {
            let _ = writeln!(text, "{:28}{}", "", out::plain(line));
        }
    }
    let ends = if check.passed { "passed" } else { "failed" };
    let detail = out::plain(&check.detail);
    let _ = writeln!(text, "  {:>8.1} ms  {ends:<11}  {detail}", check.took_ms);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_conversation_is_told_in_the_order_of_time_and_moves_no_cursor() {
        let probed: Probed = serde_json::from_value(json!({
            "pool": "shop", "backend": "a", "address": "10.0.0.1:80", "passed": false,
            "verdict": "up", "checks": [{"asks": "GET /healthz", "passed": false,
            "detail": "HTTP 503", "took_ms": 3.25, "steps": [
                {"at_ms": 0.4, "step": "connect", "text": "10.0.0.1:80 connected"},
                {"at_ms": 3.0, "step": "received", "text": "HTTP/1.1 503 No\nx: \u{1b}[2J"}]}]}))
        .unwrap();
        let text = shown(&probed);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "GET /healthz of shop/a at 10.0.0.1:80");
        assert_eq!(lines[1], "       0.4 ms  connect      10.0.0.1:80 connected");
        assert_eq!(lines[2], "       3.0 ms  received     HTTP/1.1 503 No");
        assert_eq!(lines[3].trim_start(), "x: \u{fffd}[2J");
        assert_eq!(lines[3].find('x'), lines[2].find("HTTP"));
        assert_eq!(lines[4], "       3.2 ms  failed       HTTP 503");
        assert_eq!(lines.len(), 6);
    }
}
