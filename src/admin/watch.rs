//! Live sessions as server-sent events: what changed, once a second.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::answer::{self, Answer, refusal};
use super::api::Api;
use super::facts::Facts;
use super::sessions::{self, Filter};
use super::view::Sessions;
use crate::task;

/// How often we look.
const LOOK: Duration = Duration::from_secs(1);
/// After so many looks without news a comment shows that we are still there.
const QUIET: u32 = 15;
/// Events that a slow reader may be behind.
const BEHIND: usize = 4;

/// The stream, until the reader, its connection's lifetime or the process ends. Of the places for
/// connections only some may be taken by readers of streams.
pub(super) fn stream(api: &Api, filter: Filter) -> Answer {
    let Ok(place) = Arc::clone(&api.streams).try_acquire_owned() else {
        return answer::problem(&refusal(503, "too many read this stream already"));
    };
    let (sender, receiver) = mpsc::channel(BEHIND);
    let (facts, closing) = (Arc::clone(&api.facts), api.closing.clone());
    drop(task::spawn("admin-events", async move {
        let _: Option<()> = closing.run_until_cancelled(tell(&facts, &filter, &sender)).await;
        drop(place);
    }));
    answer::stream("text/event-stream", receiver)
}

async fn tell(facts: &Facts, filter: &Filter, sender: &mpsc::Sender<Bytes>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut news = News::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sender.closed() => return,
        }
        let text = news.since(sessions::gather(facts, filter));
        if !text.is_empty() && sender.send(text.into()).await.is_err() {
            return;
        }
    }
}

/// What a reader knows already.
#[derive(Debug, Default)]
struct News {
    known: Option<Sessions>,
    quiet: u32,
}

impl News {
    /// The events that lead from what is known to what is now; a comment after a while without.
    fn since(&mut self, now: Sessions) -> String {
        let mut text = String::new();
        let before = self.known.as_ref();
        if before.is_none_or(|before| timeless(before) != timeless(&now)) {
            event(&mut text, "sessions", &now);
        }
        if let Some(before) = before {
            drained(&mut text, before, &now);
        }
        self.known = Some(now);
        self.quiet = if text.is_empty() { self.quiet + 1 } else { 0 };
        if self.quiet == QUIET {
            self.quiet = 0;
            text.push_str(": nothing new\n\n");
        }
        text
    }
}

/// Without what runs on by itself.
fn timeless(sessions: &Sessions) -> Sessions {
    let mut still = Sessions { uptime_seconds: 0, ..sessions.clone() };
    for pool in &mut still.pools {
        pool.complete_in_seconds = 0;
    }
    still
}

/// Backends whose drain is under way and that have become empty.
fn drained(text: &mut String, before: &Sessions, now: &Sessions) {
    for pool in &now.pools {
        let was = before.pools.iter().find(|it| it.name == pool.name);
        for backend in &pool.backends {
            let was = was.and_then(|was| was.backends.iter().find(|it| it.id == backend.id));
            let Some(drain) = backend.drain.as_ref().filter(|_| backend.empty) else { continue };
            let same = |since| since == Some(drain.since);
            if was.is_some_and(|it| it.empty && same(it.drain.as_ref().map(|it| it.since))) {
                continue;
            }
            let told = json!({"pool": &pool.name, "backend": &backend.id, "moved": drain.moved});
            event(text, "drained", &told);
        }
    }
}

fn event(text: &mut String, name: &str, data: &impl Serialize) {
    // These shapes have no maps with odd keys: they can always be written, and in one line.
    let data = serde_json::to_string(data).unwrap_or_default();
    let _ = write!(text, "event: {name}\ndata: {data}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(sessions: u64, uptime: u64) -> Sessions {
        serde_json::from_value(json!({"node": "one", "kept": true, "uptime_seconds": uptime,
            "pools": [{"name": "shop", "by": "cookie", "sessions": sessions, "exact": true,
            "complete": false, "complete_in_seconds": 60 - uptime, "issued": 9, "backends": [{
            "id": "a", "state": "drain", "sessions": sessions, "exact": true, "exchanges": 0,
            "tunnels": 0, "empty": sessions == 0, "drain": {"since": "2026-11-24T10:00:00Z",
            "deadline": null, "over": false, "quiet_seconds": null, "then": "move",
            "tunnels": "keep", "moved": 2}}]}]}))
        .unwrap()
    }

    #[test]
    fn only_what_changed_is_told_and_a_drain_that_ends_is_an_event_of_its_own() {
        let mut news = News::default();
        assert!(news.since(now(2, 0)).starts_with("event: sessions\ndata: {\"node\":\"one\""));
        assert_eq!(news.since(now(2, 1)), "");
        assert!(!news.since(now(1, 2)).contains("drained"));
        let text = news.since(now(0, 3));
        let end = "event: drained\ndata: {\"backend\":\"a\",\"moved\":2,\"pool\":\"shop\"}\n\n";
        assert!(text.starts_with("event: sessions\n") && text.ends_with(end), "{text}");
        assert_eq!(news.since(now(0, 4)), "");
    }

    #[test]
    fn a_comment_comes_when_nothing_else_does() {
        let mut news = News::default();
        news.since(now(2, 0));
        let texts: Vec<String> = (0..2 * QUIET).map(|_| news.since(now(2, 0))).collect();
        let comments = texts.iter().filter(|text| *text == ": nothing new\n\n").count();
        assert_eq!((comments, texts[14].is_empty()), (2, false));
    }
}
