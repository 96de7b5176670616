//! The line that tells how a drain goes: what is left, how fast it leaves, how long it may take.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::super::fail::Fail;
use super::super::out;
use super::cause::Cause;
use super::left::Left;

/// The rate is that of so long.
const WINDOW: Duration = Duration::from_mins(1);
/// Before that nothing is said of a rate.
const FIRST: Duration = Duration::from_secs(5);
/// Where nobody sees a line rewritten, another one comes no sooner.
const PAUSE: Duration = Duration::from_secs(10);
/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// Where it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A terminal, in place.
    Rewrite,
    /// A file or pipe, line by line.
    Lines,
    /// An object a line.
    Json,
}

/// The line, and what has been told.
#[derive(Debug)]
pub(super) struct Line {
    way: Way,
    rate: Rate,
    told: Option<(Left, Instant)>,
    /// What is new but not told yet.
    pending: Option<String>,
    open: bool,
}

impl Line {
    pub(super) fn new(json: bool) -> Self {
        let way = match (json, io::stdout().is_terminal()) {
            (true, _) => Way::Json,
            (false, true) => Way::Rewrite,
            (false, false) => Way::Lines,
        };
        Self { way, rate: Rate::default(), told: None, pending: None, open: false }
    }

    /// Tells what is left, where there is something new to tell.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn show(&mut self, left: &Left, at: Instant, now: Timestamp) -> Result<(), Fail> {
        self.rate.add(at, left);
        match self.way {
            Way::Rewrite => {
                self.open = true;
                let line = cut(&text(left, &self.rate, now), columns());
                return out::print(&format!("\r{line}\u{1b}[K"));
            }
            Way::Json if self.is_news(left) => {
                self.told = Some((left.clone(), at));
                return out::print(&format!("{}\n", object(left, &self.rate, now)));
            }
            Way::Json => return Ok(()),
            Way::Lines if !self.is_news(left) => return Ok(()),
            Way::Lines => {}
        }
        let line = format!("{}\n", text(left, &self.rate, now));
        let soon = self.told.as_ref().is_some_and(|(_, last)| at.duration_since(*last) < PAUSE);
        if soon {
            self.pending = Some(line);
            return Ok(());
        }
        self.pending = None;
        self.told = Some((left.clone(), at));
        out::print(&line)
    }

    /// Ends the line: what follows stands below it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn end(&mut self) -> Result<(), Fail> {
        if let Some(line) = self.pending.take() {
            out::print(&line)?;
        }
        if std::mem::take(&mut self.open) { out::print("\n") } else { Ok(()) }
    }

    /// Whether the figures are others than those that were told.
    fn is_news(&self, left: &Left) -> bool {
        let figures = |left: &Left| {
            let complete = left.incomplete.is_none();
            let counts = (left.sessions, left.exchanges, left.tunnels, left.moved);
            (counts, left.exact, complete, left.over, left.empty)
        };
        self.told.as_ref().is_none_or(|(told, _)| figures(told) != figures(left))
    }
}

/// How many sessions leave a minute.
#[derive(Debug, Default)]
struct Rate {
    seen: VecDeque<(Instant, u64)>,
    uptime: u64,
}

impl Rate {
    fn add(&mut self, at: Instant, left: &Left) {
        // After a start counts begin anew, which is no leaving.
        if left.uptime < self.uptime {
            self.seen.clear();
        }
        self.uptime = left.uptime;
        self.seen.push_back((at, left.sessions));
        while self.seen.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= WINDOW) {
            self.seen.pop_front();
        }
    }

    /// Those that left and the milliseconds that took; `None` before anything can be said.
    fn leaving(&self) -> Option<(u64, u64)> {
        let (first, most) = self.seen.front()?;
        let (last, sessions) = self.seen.back()?;
        let took = last.duration_since(*first);
        let millis = u64::try_from(took.as_millis()).ok()?;
        (took >= FIRST).then(|| (most.saturating_sub(*sessions), millis))
    }

    fn per_minute(&self) -> Option<u64> {
        let (left, millis) = self.leaving()?;
        left.saturating_mul(60_000).saturating_add(millis / 2).checked_div(millis)
    }

    /// Seconds until nobody is left, as it goes now.
    fn remaining(&self, sessions: u64) -> Option<u64> {
        let (left, millis) = self.leaving()?;
        sessions.saturating_mul(millis).checked_div(left).map(|millis| millis.div_ceil(1_000))
    }
}

/// Seconds until the deadline.
fn until_deadline(left: &Left, now: Timestamp) -> Option<u64> {
    let seconds = left.deadline?.as_second().saturating_sub(now.as_second());
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Never more than the deadline leaves.
fn estimate(left: &Left, rate: &Rate, now: Timestamp) -> Option<u64> {
    // Of exchanges and tunnels alone nobody can tell.
    let by_rate = rate.remaining(left.sessions).filter(|_| left.sessions > 0)?;
    let most = until_deadline(left, now).filter(|_| !left.over);
    Some(most.map_or(by_rate, |most| by_rate.min(most)))
}

fn text(left: &Left, rate: &Rate, now: Timestamp) -> String {
    let sessions = match (left.incomplete, left.exact) {
        (Some(_), _) => format!("≥ {}", out::counted(left.sessions, "session")),
        (None, true) => out::counted(left.sessions, "session"),
        (None, false) => format!("~ {}", out::counted(left.sessions, "session")),
    };
    let incomplete = left.incomplete.map_or_else(String::new, |(since, until)| {
        let (since, until) = (out::rough(since), out::rough(until));
        format!(" (counted for {since}, complete in {until})")
    });
    let exchanges = out::counted(left.exchanges, "exchange");
    let tunnels = out::counted(left.tunnels, "tunnel");
    let per_minute = rate.per_minute().map_or_else(|| "–".to_owned(), out::grouped);
    let estimate = estimate(left, rate, now)
        .map_or_else(|| "–".to_owned(), |it| format!("about {}", out::rough(it)));
    let deadline = match until_deadline(left, now) {
        None => "no deadline".to_owned(),
        Some(_) if left.over => "the deadline has passed".to_owned(),
        Some(seconds) => format!("deadline in {}", out::rough(seconds)),
    };
    format!(
        "{sessions}{incomplete}, {exchanges}, {tunnels}; {per_minute}/min leave, {estimate}; \
         {deadline}"
    )
}

fn object(left: &Left, rate: &Rate, now: Timestamp) -> serde_json::Value {
    json!({
        "sessions": left.sessions,
        "exact": left.exact,
        "complete": left.incomplete.is_none(),
        "complete_in_seconds": left.incomplete.map_or(0, |(_, until)| until),
        "exchanges": left.exchanges,
        "tunnels": left.tunnels,
        "leaving_per_minute": rate.per_minute(),
        "estimate_seconds": estimate(left, rate, now),
        "deadline": left.deadline,
        "over": left.over,
        "moved": left.moved,
        "empty": left.empty,
        "waiting_for": Cause::of(left).map(Cause::word),
    })
}

/// Not wider than the terminal: a line that wraps cannot be rewritten.
fn cut(line: &str, columns: usize) -> String {
    line.chars().take(columns.saturating_sub(1)).collect()
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or(COLUMNS, |size| if size.ws_col == 0 { COLUMNS } else { size.ws_col.into() })
}

#[cfg(test)]
mod tests {
    use crate::admin::view::Nodes;

    use super::super::left::tests::node;
    use super::*;

    fn left(sessions: u64, complete: bool) -> Left {
        let nodes = Nodes { nodes: vec![node("lb1", sessions, complete)] };
        Left::of(&nodes, &[("shop".to_owned(), "a".to_owned())], &mut None).unwrap()
    }

    fn at(seconds: u64, begin: Instant) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn the_line_tells_rate_and_estimate_and_the_deadline_bounds_it() {
        let begin = Instant::now();
        let now: Timestamp = "2026-11-24T10:12:00Z".parse().unwrap();
        let mut rate = Rate::default();
        rate.add(begin, &left(30, true));
        let line = text(&left(30, true), &rate, now);
        assert_eq!(line, "30 sessions, 3 exchanges, 1 tunnel; –/min leave, –; deadline in 48m");
        rate.add(at(30, begin), &left(25, true));
        let line = text(&left(25, true), &rate, now);
        assert!(line.ends_with("; 10/min leave, about 3m; deadline in 48m"), "{line}");
        let slow = Left { sessions: 100_000, ..left(25, true) };
        assert_eq!(estimate(&slow, &rate, now), Some(48 * 60));
        let never = Left { deadline: None, ..slow };
        assert!(estimate(&never, &rate, now).unwrap() > 48 * 60);
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute_and_begins_anew_with_the_process() {
        let begin = Instant::now();
        let mut rate = Rate::default();
        for second in 0..=120 {
            rate.add(at(second, begin), &left(if second < 60 { 100 } else { 160 - second }, true));
        }
        assert_eq!(rate.per_minute(), Some(60));
        let started = Left { uptime: 1, ..left(0, true) };
        rate.add(at(121, begin), &started);
        assert_eq!(rate.per_minute(), None);
    }

    #[test]
    fn incomplete_counts_say_so() {
        let line = text(&left(12, false), &Rate::default(), Timestamp::UNIX_EPOCH);
        let wanted = "≥ 12 sessions (counted for 4m, complete in 26m), ";
        assert!(line.starts_with(wanted), "{line}");
        let estimated = Left { sessions: 123_456, exact: false, ..left(1, true) };
        let line = text(&estimated, &Rate::default(), Timestamp::UNIX_EPOCH);
        assert!(line.starts_with("~ 123,456 sessions, "), "{line}");
        assert_eq!(object(&left(0, true), &Rate::default(), Timestamp::UNIX_EPOCH)["empty"], true);
        assert_eq!(cut("≥ 12 sessions", 5), "≥ 12");
    }
}
