//! How short memory is against its budget, and who goes first for it.
// One number for all of the process: who serves reads it, and nobody waits for it. Without a budget
// it stays at [`Level::Calm`], and each look costs a load.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// Who has to go, each with all that stand before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nobody.
    Calm,
    /// Connections on which nothing is going on, those to backends as well.
    Idle,
    /// New TLS connections, those who have not said what they want, and answers that are not read.
    Handshakes,
    /// Requests that belong to no session.
    Sessions,
    /// Everybody who asks for something, and whatever does not move.
    Everybody,
}

/// The levels above the first, with the percentage of the budget from which each holds.
const LEVELS: [(Level, u64); 4] =
    [(Level::Idle, 70), (Level::Handshakes, 80), (Level::Sessions, 88), (Level::Everybody, 95)];

/// A level ends this much (in percent of the budget) below where it begins: what it gives back must
/// not end it at once.
const SLACK: u64 = 6;

/// A connection is idle when nothing has been going on for so long.
pub const IDLE: Duration = Duration::from_secs(1);

impl Level {
    /// The level that follows this one, by how much of the budget (not zero) is used.
    #[must_use]
    pub fn next(self, used: u64, budget: u64) -> Self {
        let percent = u128::from(used) * 100 / u128::from(budget.max(1));
        let holds = |(level, from): &(Self, u64)| {
            let from = if *level <= self { from - SLACK } else { *from };
            percent >= u128::from(from)
        };
        LEVELS.iter().rev().find(|one| holds(one)).map_or(Self::Calm, |(level, _)| *level)
    }

    /// Its word, for log, status and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Idle => "idle",
            Self::Handshakes => "handshakes",
            Self::Sessions => "sessions",
            Self::Everybody => "everybody",
        }
    }

    /// Whom it hurts, for people.
    pub const fn who(self) -> &'static str {
        match self {
            Self::Calm => "nobody has to go",
            Self::Idle => "idle connections are closed",
            Self::Handshakes => "new TLS connections are refused",
            Self::Sessions => "whoever has no session is refused",
            Self::Everybody => "everybody is refused",
        }
    }

    fn of(code: u8) -> Self {
        match code {
            0 => Self::Calm,
            1 => Self::Idle,
            2 => Self::Handshakes,
            3 => Self::Sessions,
            _ => Self::Everybody,
        }
    }

    /// How long an answer may wait for a client that does not take it; none as long as the listener
    /// allows.
    pub const fn patience(self) -> Option<Duration> {
        match self {
            Self::Calm | Self::Idle => None,
            Self::Handshakes => Some(Duration::from_secs(5)),
            Self::Sessions => Some(Duration::from_secs(1)),
            Self::Everybody => Some(Duration::from_millis(500)),
        }
    }
}

/// What was measured last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Bytes that there are for the process.
    pub budget: u64,
    /// Bytes that it has, code and all.
    pub used: u64,
    /// What holds.
    pub level: Level,
}

/// Nobody has a budget: 0.
static BUDGET: AtomicU64 = AtomicU64::new(0);
static USED: AtomicU64 = AtomicU64::new(0);
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The level in force.
pub fn level() -> Level {
    Level::of(LEVEL.load(Ordering::Relaxed))
}

/// Bytes that there are for the process; none where nobody has said.
pub fn budget() -> Option<u64> {
    Some(BUDGET.load(Ordering::Relaxed)).filter(|budget| *budget > 0)
}

/// What was measured last; none without a budget.
pub fn reading() -> Option<Reading> {
    let budget = budget()?;
    Some(Reading { budget, used: USED.load(Ordering::Relaxed), level: level() })
}

/// There is so much from now on.
pub fn set_budget(budget: Option<u64>) {
    BUDGET.store(budget.unwrap_or(0), Ordering::Relaxed);
    if budget.is_none() {
        calm();
    }
}

/// Nobody has to go: there is no budget.
pub fn calm() {
    LEVEL.store(Level::Calm as u8, Ordering::Relaxed);
}

/// So much is used; the level that follows, and the one before. Where it has changed, those who
/// wait have to be told. For the one thread that measures.
pub fn measured(used: u64, budget: u64) -> (Level, Level) {
    let before = level();
    let level = before.next(used, budget);
    USED.store(used, Ordering::Relaxed);
    LEVEL.store(level as u8, Ordering::Relaxed);
    (level, before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Level; 5] =
        [Level::Calm, Level::Idle, Level::Handshakes, Level::Sessions, Level::Everybody];

    #[test]
    fn they_go_in_order_and_come_back_later_than_they_went() {
        let mut level = Level::Calm;
        let mut course = Vec::new();
        for used in (0..=100).chain((0..100).rev()) {
            let next = level.next(used, 100);
            if next != level {
                course.push((used, next));
            }
            level = next;
        }
        let expected = [
            (70, Level::Idle),
            (80, Level::Handshakes),
            (88, Level::Sessions),
            (95, Level::Everybody),
            (88, Level::Sessions),
            (81, Level::Handshakes),
            (73, Level::Idle),
            (63, Level::Calm),
        ];
        assert_eq!(course, expected);
    }

    #[test]
    fn a_level_survives_its_code() {
        for level in ALL {
            assert_eq!(Level::of(level as u8), level);
        }
    }

    proptest! {
        #[test]
        fn more_use_is_never_a_lower_level(
            before in 0..5_usize,
            used in any::<u64>(),
            more in any::<u64>(),
            budget in any::<u64>(),
        ) {
            let before = ALL[before];
            let most = used.saturating_add(more);
            prop_assert!(before.next(used, budget) <= before.next(most, budget));
        }

        #[test]
        fn a_level_holds_while_nothing_changes(
            before in 0..5_usize, used in 0..400_u64, budget in 1..300_u64,
        ) {
            let level = ALL[before].next(used, budget);
            prop_assert_eq!(level.next(used, budget), level);
        }

        #[test]
        fn whoever_comes_from_above_is_no_lower(
            one in 0..5_usize, other in 0..5_usize, used in 0..400_u64, budget in 1..300_u64,
        ) {
            let (low, high) = (one.min(other), one.max(other));
            prop_assert!(ALL[low].next(used, budget) <= ALL[high].next(used, budget));
        }
    }
}
