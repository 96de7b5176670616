//! Who changed what and why, for the log and for `audit.log` in the state folder.

use jiff::Timestamp;
use serde_json::json;

use super::state::StateDir;
use crate::event::Actor;

const FILE: &str = "audit.log";

/// Writes the audit log.
#[derive(Debug, Clone)]
pub(super) struct Audit(StateDir);

impl Audit {
    pub(super) fn new(state: StateDir) -> Self {
        Self(state)
    }

    /// One change that was made. `what` is a word (`reload`, `mark`, `stop`), `subject` what it
    /// was done to.
    pub(super) fn record(&self, actor: &Actor, what: &str, subject: &str, why: Option<&str>) {
        let who = actor.0.as_str();
        tracing::info!(target: "audit", who, what, subject, why = why.unwrap_or_default());
        let time = Timestamp::now();
        let line =
            json!({ "time": time, "who": who, "what": what, "subject": subject, "why": why });
        if let Err(error) = self.0.append(FILE, &line.to_string()) {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::at;
    use super::*;

    #[test]
    fn each_change_is_one_line_with_who_what_and_why() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(at(folder.path()));
        audit.record(&Actor("uid 0 pid 9".to_owned()), "mark", "shop/a: drain", Some("a\n\"b\""));
        audit.record(&Actor("SIGHUP".to_owned()), "reload", "generation 2", None);
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["who"], "uid 0 pid 9");
        assert_eq!(lines[0]["why"], "a\n\"b\"");
        assert_eq!(lines[1]["subject"], "generation 2");
    }
}
