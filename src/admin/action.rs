//! Changes that are asked for over the API, each an event with an answer.

use std::time::SystemTime;

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::answer::{self, Answer, refusal};
use super::view;
use crate::config::defaults::MAX_WEIGHT;
use crate::config::model::AdminState;
use crate::event::{
    self, Actor, DrainPlan, Event, Failback, MarkAction, MarkChange, MarkTarget, Refusal, Reply,
    Then, Tunnels, Until,
};

/// Bytes of a request's body: a mark with the longest of reasons.
const MAX_BODY: usize = 64 << 10;
/// Characters of a reason: it stands in one line of the status and of the audit log.
const MAX_REASON: usize = 500;

/// Reads the file again.
pub(super) async fn reload(events: &event::Sender, actor: Actor) -> Answer {
    answer::outcome(ask(events, |reply| Event::Reload { actor, reply: Some(reply) }).await)
}

/// Drains and ends.
pub(super) async fn stop(events: &event::Sender, actor: Actor) -> Answer {
    answer::outcome(ask(events, |reply| Event::Stop { actor, reply: Some(reply) }).await)
}

/// Gives a pool's lowest usable tier its visitors back.
///
/// # Errors
/// Says what makes no sense in the body, or why no lower tier can serve.
pub(super) async fn failback(
    events: &event::Sender,
    actor: Actor,
    pool: &str,
    body: &[u8],
) -> Result<Value, Refusal> {
    let asked: AskedBack = if body.is_empty() {
        AskedBack::default()
    } else {
        serde_json::from_slice(body)
            .map_err(|error| refusal(400, format!("the body is no failback: {error}")))?
    };
    let reason = said(asked.reason)?;
    let wish = Failback { pool: pool.to_owned(), reason };
    ask(events, |reply| Event::Failback { wish, actor, reply }).await
}

/// What the page of a pool's failback takes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AskedBack {
    reason: Option<String>,
}

/// A reason that fits into a line.
fn said(reason: Option<String>) -> Result<Option<String>, Refusal> {
    if reason.as_ref().is_some_and(|text| text.chars().count() > MAX_REASON) {
        return Err(refusal(422, format!("`reason` has at most {MAX_REASON} characters")));
    }
    Ok(reason)
}

/// What a page is asked with.
///
/// # Errors
/// Where it is too large, or breaks off.
pub(super) async fn read<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = Limited::new(body, MAX_BODY).collect().await;
    let collected = collected
        .map_err(|error| refusal(413, format!("the body cannot be read whole: {error}")))?;
    Ok(collected.to_bytes())
}

/// The change that a body asks for: of the backend whose page was asked for, else of an address.
///
/// # Errors
/// Says what makes no sense in it.
pub(super) fn change(body: &[u8], page: Option<MarkTarget>) -> Result<MarkChange, Refusal> {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|error| refusal(400, format!("the body is no mark: {error}")))?;
    asked.change(page, SystemTime::now())
}

/// What a mark's page takes. One of `state`, `weight` and `unmark`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    state: Option<AdminState>,
    weight: Option<u32>,
    unmark: Option<bool>,
    reason: Option<String>,
    r#for: Option<String>,
    until: Option<Timestamp>,
    address: Option<String>,
    force: bool,
    deadline: Option<String>,
    quiet: Option<String>,
    then: Option<Then>,
    tunnels: Option<Tunnels>,
}

impl Asked {
    fn change(self, page: Option<MarkTarget>, now: SystemTime) -> Result<MarkChange, Refusal> {
        let plan = self.plan()?;
        let target = match (page, self.address) {
            (Some(target), None) => target,
            (None, Some(address)) => MarkTarget::Address(address),
            (Some(_), Some(_)) => return Err(refusal(422, "`address` belongs to /api/v1/marks")),
            (None, None) => return Err(refusal(422, "`address` is missing")),
        };
        let action = match (self.state, self.weight, self.unmark) {
            (Some(AdminState::Up), None, None) => MarkAction::Ready,
            (Some(AdminState::Drain), None, None) => MarkAction::Drain(plan.unwrap_or_default()),
            (Some(AdminState::Maint), None, None) => MarkAction::Maint,
            (None, Some(weight), None) if i64::from(weight) <= MAX_WEIGHT => {
                MarkAction::Weight(weight)
            }
            (None, Some(_), None) => {
                return Err(refusal(422, format!("`weight` is at most {MAX_WEIGHT}")));
            }
            (None, None, Some(true)) => MarkAction::Unmark,
            _ => {
                let text = "write one of `state`: \"up\", \"drain\" or \"maint\", `weight`: a \
                            number, and `unmark`: true";
                return Err(refusal(422, text));
            }
        };
        if plan.is_some() && !matches!(action, MarkAction::Drain(_)) {
            let text = "`deadline`, `quiet`, `then` and `tunnels` belong to `state`: \"drain\"";
            return Err(refusal(422, text));
        }
        let reason = said(self.reason)?;
        let until = match (self.r#for, self.until) {
            (None, None) => None,
            (None, Some(until)) => {
                let until = SystemTime::try_from(until);
                Some(until.map_err(|_| refusal(422, "`until` is no time of this system"))?)
            }
            (Some(text), None) => {
                let time = view::mark_time(&text);
                let time = time.map_err(|error| refusal(422, format!("`for`: {error}")))?;
                now.checked_add(time)
            }
            (Some(_), Some(_)) => return Err(refusal(422, "write one of `for` and `until`")),
        };
        if action == MarkAction::Unmark && until.is_some() {
            return Err(refusal(422, "lifting a mark has no end: leave out `for` and `until`"));
        }
        Ok(MarkChange { target, action, reason, until, force: self.force })
    }

    /// How to drain; `None` where nothing is said of it.
    fn plan(&self) -> Result<Option<DrainPlan>, Refusal> {
        let said = self.deadline.is_some() || self.quiet.is_some();
        if !said && self.then.is_none() && self.tunnels.is_none() {
            return Ok(None);
        }
        let wrong = |name| move |error| refusal(422, format!("`{name}`: {error}"));
        let deadline = self.deadline.as_deref().map(view::drain_deadline).transpose();
        let quiet = self.quiet.as_deref().map(view::drain_quiet).transpose();
        Ok(Some(DrainPlan {
            deadline: deadline.map_err(wrong("deadline"))?.unwrap_or(Until::Default),
            quiet: quiet.map_err(wrong("quiet"))?,
            then: self.then.unwrap_or_default(),
            tunnels: self.tunnels.unwrap_or_default(),
        }))
    }
}

/// Sends an event and waits for what comes of it.
pub(super) async fn ask(
    events: &event::Sender,
    event: impl FnOnce(Reply) -> Event,
) -> Result<Value, Refusal> {
    let (reply, answered) = oneshot::channel();
    let sent = events.send(event(reply)).await.is_ok();
    match answered.await {
        Ok(outcome) if sent => outcome,
        Ok(_) | Err(_) => Err(refusal(503, "the process is ending")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn change(text: &str, page: bool) -> Result<MarkChange, u16> {
        let target =
            page.then(|| MarkTarget::Backend { pool: "shop".to_owned(), backend: "a".to_owned() });
        let asked: Asked = serde_json::from_str(text).map_err(|_| 400_u16)?;
        asked.change(target, SystemTime::UNIX_EPOCH).map_err(|refused| refused.status)
    }

    #[test]
    fn a_mark_says_one_thing_about_one_backend_or_address() {
        let drain = change(r#"{"state": "drain", "reason": "rack 7", "for": "2h"}"#, true).unwrap();
        assert_eq!(drain.action, MarkAction::Drain(DrainPlan::default()));
        assert_eq!(drain.until, Some(SystemTime::UNIX_EPOCH + Duration::from_hours(2)));
        let weight =
            change(r#"{"weight": 0, "address": "10.0.0.1", "force": true}"#, false).unwrap();
        assert_eq!(weight.action, MarkAction::Weight(0));
        assert_eq!(weight.target, MarkTarget::Address("10.0.0.1".to_owned()));
        assert!(weight.force);
        assert_eq!(change(r#"{"unmark": true}"#, true).unwrap().action, MarkAction::Unmark);
    }

    #[test]
    fn a_drain_may_say_how() {
        let text = r#"{"state": "drain", "deadline": "1h", "quiet": "5m", "then": "cut",
            "tunnels": "close"}"#;
        let plan = DrainPlan {
            deadline: Until::After(Duration::from_hours(1)),
            quiet: Some(Duration::from_mins(5)),
            then: Then::Cut,
            tunnels: Tunnels::Close,
        };
        assert_eq!(change(text, true).unwrap().action, MarkAction::Drain(plan));
        let never = change(r#"{"state": "drain", "deadline": "none"}"#, true).unwrap();
        let plan = DrainPlan { deadline: Until::Never, ..DrainPlan::default() };
        assert_eq!(never.action, MarkAction::Drain(plan));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "{}",
            r#"{"state": "up", "weight": 1}"#,
            r#"{"weight": 65536}"#,
            r#"{"unmark": false}"#,
            r#"{"state": "up", "address": "10.0.0.1"}"#,
            r#"{"state": "up", "for": "none"}"#,
            r#"{"state": "up", "for": "1h", "until": "2030-01-01T00:00:00Z"}"#,
            r#"{"unmark": true, "for": "1h"}"#,
            r#"{"state": "up", "deadline": "1h"}"#,
            r#"{"state": "maint", "then": "cut"}"#,
            r#"{"weight": 1, "tunnels": "keep"}"#,
            r#"{"state": "drain", "deadline": "soon"}"#,
            r#"{"state": "drain", "quiet": "none"}"#,
            r#"{"state": "drain", "quiet": "0s"}"#,
        ] {
            assert_eq!(change(text, true), Err(422), "{text}");
        }
        assert_eq!(change(r#"{"state": "up"}"#, false), Err(422));
        for text in [
            r#"{"state": "drain", "then": "stay"}"#,
            r#"{"state": "ghost"}"#,
            r#"{"colour": 1}"#,
            "3",
            "{",
        ] {
            assert_eq!(change(text, true), Err(400), "{text}");
        }
    }
}
