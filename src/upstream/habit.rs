//! How long a backend leaves idle connections open, learned from when it closed them (pure).
// Some say it with every answer (`Keep-Alive: timeout=5`). Others do not, gunicorn with its 2 s and
// uvicorn with its 5 among them, and close just when the next request is on its way.

use std::time::Duration;

/// So many times in a row that connections were closed at about the same age make a habit…
const ALIKE: u8 = 3;
/// …if so much lies between them (ms): a backend that ends closes all of its connections at once.
const APART: u64 = 500;

/// Ages of connections (milliseconds idle) at which their backend closed them, unannounced.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Habit {
    /// The least of those that are alike.
    age: u64,
    alike: u8,
    /// When the last of them was counted, on the worker's clock (ms).
    counted: u64,
}

impl Habit {
    /// The backend closed a connection at this age. `now`: when, on the worker's clock (ms).
    pub(super) fn closed(&mut self, age: u64, now: u64) {
        if self.alike == 0 || age.abs_diff(self.age) > blur(self.age.max(age)) {
            *self = Self { age, alike: 1, counted: now };
            return;
        }
        self.age = self.age.min(age);
        if now.saturating_sub(self.counted) >= APART {
            self.alike = ALIKE.min(self.alike + 1);
            self.counted = now;
        }
    }

    /// It closed one that had been idle for so long, and was taken for a request. What is hardly
    /// idle is rather lost because its backend has died.
    pub(super) fn lost(&mut self, age: u64, now: u64) {
        if age >= APART {
            self.closed(age, now);
        }
    }

    /// A connection of this age was open: whoever leaves one open for longer has no such habit.
    pub(super) fn left_open(&mut self, age: u64) {
        if age > self.age.saturating_add(blur(self.age)) {
            *self = Self::default();
        }
    }

    /// How long it leaves them open, once that is known.
    pub(super) fn keeps(&self) -> Option<Duration> {
        (self.alike == ALIKE).then(|| Duration::from_millis(self.age))
    }
}

/// Ages that differ by less are alike: an eighth, and two ticks of the worker's clock.
fn blur(age: u64) -> u64 {
    200 + age / 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Closed at these ages, a second apart.
    fn after(ages: &[u64]) -> Habit {
        let mut habit = Habit::default();
        for (second, age) in (1..).zip(ages) {
            habit.closed(*age, second * 1000);
        }
        habit
    }

    #[test]
    fn three_alike_make_a_habit_and_the_least_counts() {
        assert_eq!(after(&[5_000, 5_100]).keeps(), None);
        assert_eq!(after(&[5_000, 5_100, 4_900]).keeps(), Some(Duration::from_millis(4_900)));
        assert_eq!(after(&[0, 100, 0]).keeps(), Some(Duration::ZERO));
    }

    #[test]
    fn a_backend_that_ends_has_no_habit() {
        assert_eq!(after(&[300, 9_000, 4_000, 40_000, 700]).keeps(), None, "of several ages");
        let mut habit = Habit::default();
        (0..100).for_each(|_| habit.closed(0, 7_000));
        assert_eq!(habit.keeps(), None, "all at once");
        for second in 0..100 {
            habit.lost(0, second * 1000);
        }
        assert_eq!(habit.keeps(), None, "under requests, time and again");
    }

    #[test]
    fn another_idle_time_is_learned_as_the_first_was() {
        let mut habit = after(&[60_000; 9]);
        for second in 20..23 {
            habit.lost(5_000, second * 1000);
        }
        assert_eq!(habit.keeps(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn one_that_is_open_for_longer_ends_it() {
        let mut habit = after(&[5_000; 3]);
        habit.left_open(5_100);
        assert!(habit.keeps().is_some(), "the close may be on its way");
        habit.left_open(6_000);
        assert_eq!(habit.keeps(), None);
    }

    proptest! {
        /// Whatever came before: what is learned is an age at which it closed connections, and
        /// never one much below that at which another was open since.
        #[test]
        fn nothing_is_learned_that_was_not_seen(
            events in proptest::collection::vec(
                (any::<bool>(), 0..100_000_u64, 0..2_000_u64), 1..60,
            ),
        ) {
            let mut habit = Habit::default();
            let (mut closed, mut now) = (Vec::new(), 0);
            for (closes, age, passed) in events {
                now += passed;
                if closes {
                    habit.closed(age, now);
                    closed.push(age);
                } else {
                    habit.left_open(age);
                    let left = habit.keeps().map_or(u128::MAX, |own| own.as_millis());
                    let bearable = u128::from(age) <= left.saturating_add(blur(age).into());
                    prop_assert!(bearable);
                }
                if let Some(own) = habit.keeps() {
                    prop_assert!(closed.iter().any(|age| u128::from(*age) == own.as_millis()));
                    prop_assert!(closed.len() >= usize::from(ALIKE));
                }
            }
        }
    }
}
