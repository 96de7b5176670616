//! How often each client may ask: a bucket for every key, in a table that never grows.
// A bucket is one word: part of the key's hash, and the moment at which it would be full again
// (GCRA's theoretical arrival time). So a word changes as a whole, whoever writes; nobody waits.
// A key keeps its word until its bucket is full again and nothing is lost by forgetting it. Keys
// that find no such word share a bucket with the others of their line: under a flood of keys nobody
// gets more than is theirs, and newcomers get less. Two workers that meet a new key in the same
// instant, while a word of its line is just becoming free, may each give it one; that is one
// request too many.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Lines of the table: 512 KiB.
const LINES: usize = 1 << 13;
/// Buckets of a line that belong to keys; the last word is for all others.
const OWN: usize = 7;
/// Bits of a moment; above them is the key's part.
const MOMENT: u32 = 40;
const MOMENTS: u64 = (1 << MOMENT) - 1;
/// A moment is a part of the time in which one request is earned.
const PARTS: u64 = 16;
/// Workers read the clock one after the other: by so much one may be behind.
const BEHIND: Duration = Duration::from_secs(10);

/// So many requests in such a time, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// Not zero.
    pub per: Duration,
    /// At least 1.
    pub burst: u32,
}

/// A table of buckets.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    /// How far ahead of now a bucket's moment may be.
    most: u64,
    /// Further ahead is nobody: what looks so has been forgotten for days.
    horizon: u64,
    start: Instant,
    hash: RandomState,
    lines: Box<[Line]>,
}

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    own: [AtomicU64; OWN],
    shared: AtomicU64,
}

impl Limiter {
    /// All buckets are full. The hash is secret, so that nobody can look for keys that meet.
    pub fn new(rate: Rate, start: Instant, hash: RandomState) -> Self {
        let most = PARTS * u64::from(rate.burst);
        let behind = parts(rate, BEHIND);
        let lines = (0..LINES).map(|_| Line::default()).collect();
        Self { rate, most, horizon: most.saturating_add(behind), start, hash, lines }
    }

    /// What it was made for.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one request out of the key's bucket.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self, key: impl Hash, now: Instant) -> Result<(), Duration> {
        let hash = self.hash.hash_one(key);
        let now = parts(self.rate, now.saturating_duration_since(self.start)) & MOMENTS;
        let place = usize::try_from(hash).unwrap_or(usize::MAX) % LINES;
        let Some(line) = self.lines.get(place) else { return Ok(()) };
        // Never 0: that is a word that nobody has used.
        let tag = (hash >> MOMENT).max(1) << MOMENT;
        loop {
            // Who loses a race looks again: somebody else has come on.
            if let Some(taken) = self.try_take(line, tag, now) {
                return taken;
            }
        }
    }

    fn try_take(&self, line: &Line, tag: u64, now: u64) -> Option<Result<(), Duration>> {
        let mut free = None;
        for bucket in &line.own {
            let word = bucket.load(Ordering::Relaxed);
            if word & !MOMENTS == tag {
                return self.charge(bucket, word, tag, now);
            }
            if free.is_none() && self.ahead(word, now) == 0 {
                free = Some((bucket, word));
            }
        }
        match free {
            Some((bucket, word)) => self.charge(bucket, word, tag, now),
            None => self.charge(&line.shared, line.shared.load(Ordering::Relaxed), 0, now),
        }
    }

    /// None where somebody was faster.
    fn charge(
        &self,
        bucket: &AtomicU64,
        word: u64,
        tag: u64,
        now: u64,
    ) -> Option<Result<(), Duration>> {
        let ahead = self.ahead(word, now) + PARTS;
        if ahead > self.most {
            return Some(Err(self.time(ahead - self.most)));
        }
        let next = tag | ((now + ahead) & MOMENTS);
        let swapped = bucket.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
        swapped.is_ok().then_some(Ok(()))
    }

    /// How far a bucket is from being full.
    fn ahead(&self, word: u64, now: u64) -> u64 {
        let ahead = (word & MOMENTS).wrapping_sub(now) & MOMENTS;
        if ahead > self.horizon { 0 } else { ahead }
    }

    fn time(&self, parts: u64) -> Duration {
        let nanos = u128::from(parts) * self.rate.per.as_nanos()
            / (u128::from(PARTS) * u128::from(self.rate.count));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn parts(rate: Rate, time: Duration) -> u64 {
    let earned = time.as_nanos() * u128::from(PARTS) * u128::from(rate.count);
    u64::try_from(earned / rate.per.as_nanos().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicU32;

    use proptest::prelude::*;

    use super::*;

    fn limiter(count: u32, per: Duration, burst: u32) -> (Limiter, Instant) {
        let start = Instant::now();
        (Limiter::new(Rate { count, per, burst }, start, RandomState::new()), start)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_let_through_and_then_what_is_earned() {
        let (limiter, start) = limiter(10, SECOND, 3);
        let at = |millis| start + Duration::from_millis(millis);
        for _ in 0..3 {
            assert_eq!(limiter.take("a", at(0)), Ok(()));
        }
        let wait = limiter.take("a", at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(limiter.take("a", at(99)).is_err());
        assert_eq!(limiter.take("a", at(100)), Ok(()));
        assert!(limiter.take("a", at(100)).is_err());
        assert_eq!(limiter.take("b", at(100)), Ok(()), "another key has another bucket");
        for _ in 0..3 {
            assert_eq!(limiter.take("a", at(10_000)), Ok(()));
        }
        assert!(limiter.take("a", at(10_000)).is_err(), "no more is saved than a burst");
    }

    #[test]
    fn whose_clock_is_behind_gets_nothing_by_it() {
        let (limiter, start) = limiter(10, SECOND, 2);
        let late = start + SECOND;
        assert!(limiter.take("a", late).is_ok() && limiter.take("a", late).is_ok());
        assert!(limiter.take("a", start + Duration::from_millis(999)).is_err());
        assert!(limiter.take("a", start).is_err());
    }

    #[test]
    fn workers_together_get_no_more_than_the_burst() {
        let (limiter, start) = limiter(1, Duration::from_hours(1), 1000);
        let taken = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let ok = limiter.take("a", start).is_ok();
                        taken.fetch_add(u32::from(ok), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 1000);
    }

    #[test]
    fn a_flood_of_keys_takes_no_bucket_from_those_that_have_one_and_gives_none_a_second() {
        let (limiter, start) = limiter(1, Duration::from_hours(1), 2);
        assert!(limiter.take("honest", start).is_ok());
        let mut served = 0_usize;
        for key in 0..300_000_u32 {
            served += usize::from(limiter.take(key, start).is_ok());
        }
        // Each own bucket once, as no key came twice, and each shared one for its burst.
        assert!(served <= LINES * (OWN + 2), "{served}");
        assert!(served > LINES * OWN, "{served}");
        assert!(limiter.take("honest", start).is_ok());
        assert!(limiter.take("honest", start).is_err());
        // When they are full again, they are anybody's.
        let later = start + Duration::from_hours(3);
        assert!((0..1000_u32).all(|key| limiter.take(("later", key), later).is_ok()));
    }

    #[test]
    fn what_was_forgotten_for_long_does_not_come_back() {
        let (limiter, start) = limiter(100_000, SECOND, 1);
        assert!(limiter.take("a", start).is_ok());
        // Once around the moments, and a little less.
        let around = limiter.time(MOMENTS);
        assert!(limiter.take("a", start + around / 2).is_ok());
        assert!(limiter.take("a", start + around * 9 / 10).is_ok());
    }

    proptest! {
        /// Beside the textbook's bucket, with its fractions in units.
        #[test]
        fn each_key_has_a_bucket_as_the_textbook_has_it(
            count in 1_u32..50,
            burst in 1_u32..20,
            asked in proptest::collection::vec((0_u8..4, 0_u64..400), 1..300),
        ) {
            let (limiter, start) = limiter(count, SECOND, burst);
            let mut model: HashMap<u8, u64> = HashMap::new();
            let mut millis = 0;
            for (key, pause) in asked {
                millis += pause;
                // In parts, as they are counted.
                let now = millis * u64::from(count) * PARTS / 1000;
                let full = model.entry(key).or_insert(0);
                let next = now.max(*full) + PARTS;
                let fits = next - now <= u64::from(burst) * PARTS;
                if fits {
                    *full = next;
                }
                let taken = limiter.take(key, start + Duration::from_millis(millis));
                prop_assert_eq!(taken.is_ok(), fits, "key {} at {} ms", key, millis);
            }
        }
    }
}
