//! Whether a client's connection has to go because memory is short.

use std::time::Duration;

use crate::net::pressure::{IDLE, Level};
use crate::net::wire::Handle;

/// At the highest level, a connection on which nothing has moved for so long is cut.
const STILL: u64 = 2000;

/// How it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    /// It is told, and may finish what it has begun.
    Told,
    /// Now.
    Cut,
}

/// What one connection is asked by. Times are milliseconds on the worker's clock.
#[derive(Debug)]
pub(super) struct Press {
    began: u64,
    /// What had moved when that was last looked at, and since when it has not.
    seen: (u64, u64),
    since: u64,
}

impl Press {
    /// Of a connection that begins.
    pub(super) fn new(now: u64) -> Self {
        Self { began: now, seen: (0, 0), since: now }
    }

    /// Whether it has to go.
    pub(super) fn asks(&mut self, level: Level, handle: &Handle, now: u64) -> Option<Go> {
        if level == Level::Calm {
            return handle.has_shed().then_some(Go::Told);
        }
        if let Some(idle) = handle.idle_for(now) {
            // Who has just come may still be about to say something.
            let said = handle.heads() > 0 || level >= Level::Handshakes;
            let age = Duration::from_millis(now.saturating_sub(self.began));
            return (handle.has_shed() || (said && idle.min(age) >= IDLE)).then_some(Go::Told);
        }
        if level < Level::Everybody {
            return handle.has_shed().then_some(Go::Told);
        }
        let moved = (handle.turns().moves(), handle.exchanges_done());
        if moved != self.seen {
            (self.seen, self.since) = (moved, now);
        }
        Some(if now.saturating_sub(self.since) >= STILL { Go::Cut } else { Go::Told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(level: Level, handle: &Handle, age: u64) -> Option<Go> {
        Press::new(10_000).asks(level, handle, 10_000 + age)
    }

    #[test]
    fn who_is_idle_goes_first_and_who_has_said_nothing_next() {
        let silent = Handle::default();
        assert_eq!(asked(Level::Idle, &silent, 60_000), None);
        assert_eq!(asked(Level::Handshakes, &silent, 900), None);
        assert_eq!(asked(Level::Handshakes, &silent, 1000), Some(Go::Told));
        let idle = Handle::default();
        idle.begun();
        idle.done(10_500);
        assert_eq!(asked(Level::Calm, &idle, 60_000), None);
        assert_eq!(asked(Level::Idle, &idle, 1400), None);
        assert_eq!(asked(Level::Idle, &idle, 1500), Some(Go::Told));
    }

    #[test]
    fn what_is_going_on_ends_at_the_highest_level_only_and_at_once_where_nothing_moves() {
        let busy = Handle::default();
        busy.begun();
        assert_eq!(asked(Level::Sessions, &busy, 60_000), None);
        let mut press = Press::new(0);
        assert_eq!(press.asks(Level::Everybody, &busy, 1000), Some(Go::Told));
        busy.turns().moved();
        assert_eq!(press.asks(Level::Everybody, &busy, 2500), Some(Go::Told));
        assert_eq!(press.asks(Level::Everybody, &busy, 4400), Some(Go::Told));
        assert_eq!(press.asks(Level::Everybody, &busy, 4500), Some(Go::Cut));
    }

    #[test]
    fn whose_request_was_refused_is_told_to_go_whatever_holds_by_then() {
        let shed = Handle::default();
        shed.begun();
        shed.shed();
        assert_eq!(asked(Level::Calm, &shed, 0), Some(Go::Told));
        assert_eq!(asked(Level::Sessions, &shed, 0), Some(Go::Told));
    }
}
