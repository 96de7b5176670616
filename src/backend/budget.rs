//! What repetitions of requests that a backend may have seen can cost a pool (pure).

use std::time::Duration;

/// A share of a pool's requests; in its place, where that is less, a few a second, so that small
/// traffic is helped too. What was never sent is repeated for nothing: it adds no load to any
/// backend, and a dead backend's visitors are more than a share.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// In hundredths of a repetition, as is all of this.
    credit: u64,
    /// What requests may save up.
    most: u64,
    /// What they had earned at the last look, in all.
    earned: u64,
    /// What the floor has given and requests have not earned since: they do so first.
    advance: u64,
    /// What they have earned beyond the floor's pace, for up to a second: so long a pause of a pool
    /// with more traffic than the floor is for brings nothing beside its share.
    ahead: u64,
    /// When the last look was.
    looked: Duration,
}

/// What the floor gives in a second, and saves up: ten repetitions.
const FLOOR: u64 = 1_000;
/// Repetitions that requests may save up, for each worker.
const MOST: u64 = 100;
/// No longer time is looked back at: by then the floor has given all that it saves.
const LONGEST: Duration = Duration::from_mins(1);

impl Budget {
    /// One with what a second is worth. `earned`: what requests had earned before it began.
    pub fn new(workers: usize, earned: u64) -> Self {
        let workers = u64::try_from(workers).unwrap_or(u64::MAX).max(1);
        let most = workers.saturating_mul(MOST * 100);
        let (credit, advance) = (FLOOR, FLOOR);
        Self { credit, most, earned, advance, ahead: 0, looked: Duration::ZERO }
    }

    /// Takes a repetition out, if there is one. `earned`: by all requests so far, a percent of one
    /// each; `now`: on a clock that never goes back.
    pub fn spend(&mut self, earned: u64, now: Duration) -> bool {
        let more = earned.saturating_sub(self.earned);
        self.earned = earned;
        let owed = more.min(self.advance);
        self.advance -= owed;
        self.credit = self.credit.saturating_add(more - owed).min(self.most);
        self.ahead = self.ahead.saturating_add(more - owed);

        let floor = self.floor(now);
        let given = floor.saturating_sub(self.ahead).min(FLOOR.saturating_sub(self.credit));
        self.ahead = self.ahead.saturating_sub(floor).min(FLOOR);
        self.credit += given;
        self.advance = (self.advance + given).min(FLOOR);

        let paid = self.credit.checked_sub(100);
        self.credit = paid.unwrap_or(self.credit);
        paid.is_some()
    }

    /// What the floor has brought since the last look, in whole milliseconds.
    fn floor(&mut self, now: Duration) -> u64 {
        let since = now.saturating_sub(self.looked).min(LONGEST);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            // A part of one is left for the next look.
            let part = Duration::from_millis(millis);
            self.looked = if since == LONGEST { now } else { self.looked + part };
        }
        millis.saturating_mul(FLOOR) / 1000
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pool, of which all that is asked fails.
    struct Failing {
        budget: Budget,
        earned: u64,
        now: Duration,
        repeated: u64,
    }

    impl Failing {
        fn new() -> Self {
            Self { budget: Budget::new(2, 0), earned: 0, now: Duration::ZERO, repeated: 0 }
        }

        fn passes(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        /// A request comes, and its first attempt fails.
        fn asks(&mut self) -> bool {
            self.earned += 20;
            self.fails()
        }

        fn fails(&mut self) -> bool {
            let paid = self.budget.spend(self.earned, self.now);
            self.repeated += u64::from(paid);
            paid
        }

        /// So many requests in a second, for so long.
        fn for_seconds(mut self, rate: u64, seconds: u64) -> u64 {
            for request in 0..rate * seconds {
                self.now = Duration::from_secs(request) / u32::try_from(rate).unwrap();
                self.asks();
                while self.fails() {}
            }
            self.repeated
        }
    }

    #[test]
    fn repetitions_stay_a_share_of_requests() {
        let mut pool = Failing::new();
        (0..1_000).for_each(|_| _ = pool.asks());
        assert_eq!(pool.repeated, 200);
        pool.passes(1_000);
        assert!(!pool.fails(), "that second had its share");
        pool.passes(1_000);
        (0..10).for_each(|_| assert!(pool.fails(), "a quiet one brings ten more"));
        assert!(!pool.fails());
    }

    #[test]
    fn the_floor_is_in_place_of_the_share_and_there_in_full() {
        // From two and a half times what earns as much as the floor gives, down to a part of it.
        for (rate, least, most) in [(10, 100, 110), (25, 100, 110), (125, 250, 250)] {
            let repeated = Failing::new().for_seconds(rate, 10);
            assert!((least..=most).contains(&repeated), "{rate} a second: {repeated}");
        }
        // Five in ten seconds: there for each of them.
        let mut quiet = Failing::new();
        for _ in 0..5 {
            assert!(quiet.asks());
            quiet.passes(2_000);
        }
        // After a long time it is a second's, however long it was.
        quiet.passes(100_000_000);
        assert_eq!((0..50).filter(|_| quiet.fails()).count(), 10);
    }

    #[test]
    fn a_part_of_a_millisecond_is_not_lost() {
        let mut pool = Failing::new();
        while pool.fails() {}
        let mut paid = 0;
        for _ in 0..10_000 {
            pool.now += Duration::from_micros(300);
            paid += u32::from(pool.fails());
        }
        assert_eq!(paid, 30, "in three seconds");
    }

    #[test]
    fn good_times_are_saved_up_for_bad_ones() {
        let mut pool = Failing::new();
        pool.earned = 10_000_000;
        (0..200).for_each(|_| assert!(pool.fails(), "a hundred for each worker"));
        assert!(!pool.fails());
    }

    proptest! {
        /// 500 requests a second with pauses of less than a second, in which only what is late
        /// fails: never more than a fifth, to the last one.
        #[test]
        fn the_share_of_a_busy_pool_is_never_exceeded(
            rounds in proptest::collection::vec((500..2_000_u64, 0..950_u64), 1..12),
        ) {
            let mut pool = Failing::new();
            for (requests, pause) in rounds {
                for _ in 0..requests {
                    pool.asks();
                    pool.passes(2);
                }
                for _ in 0..=pause {
                    pool.passes(1);
                    while pool.fails() {}
                }
                prop_assert!(pool.repeated * 100 <= pool.earned);
                prop_assert!(pool.repeated * 100 + 200 > pool.earned, "all of it is there");
            }
        }

        /// Whatever comes: the share and what the floor brings are never exceeded together.
        #[test]
        fn never_more_than_the_share_and_the_floor(
            steps in proptest::collection::vec((0..30_u64, 0..3_000_u64, 0..40_u64), 1..60),
        ) {
            let mut pool = Failing::new();
            for (requests, passed, failures) in steps {
                pool.earned += requests * 20;
                (0..failures).for_each(|_| _ = pool.fails());
                let floor = u64::try_from(pool.now.as_millis()).unwrap() + FLOOR;
                prop_assert!(pool.repeated * 100 <= pool.earned + floor);
                pool.passes(passed);
            }
        }
    }
}
