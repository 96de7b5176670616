//! Credentials that were found right, for a while: a table that never grows.
// Nobody waits, and nothing is written here but what was found right. An entry is three words,
// which may be read while another one is written over them: then they match nobody, for no one has
// a tag of which one half is another's.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Lines of the table, in all 96 KiB.
const LINES: u64 = 1 << 10;
/// Entries of a line.
const WAYS: usize = 4;

/// What stands for credentials: half of a keyed hash, which nobody outside can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub [u64; 2]);

/// The table.
#[derive(Debug)]
pub struct Verified {
    /// Seconds that an entry is kept after it was of use.
    keep: u32,
    lines: Box<[[Entry; WAYS]]>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The second from which it is void; 0: there is none.
    until: AtomicU32,
    tag: [AtomicU64; 2],
}

impl Verified {
    /// An empty one that keeps each entry for so many seconds after it was of use.
    pub fn new(keep: u32) -> Self {
        Self { keep, lines: (0..LINES).map(|_| Default::default()).collect() }
    }

    /// Whether these were found right. `now`: Unix seconds.
    pub fn holds(&self, tag: Tag, now: u32) -> bool {
        let Some(line) = self.line(tag) else { return false };
        let Some((entry, until)) = line.iter().find_map(|entry| {
            let until = entry.until.load(Ordering::Acquire);
            (until > now && entry.is(tag)).then_some((entry, until))
        }) else {
            return false;
        };
        // Written only now and then, so that workers do not fight over it.
        if until - now < self.keep / 2 {
            entry.until.store(now.saturating_add(self.keep), Ordering::Release);
        }
        true
    }

    /// These were found right.
    pub fn add(&self, tag: Tag, now: u32) {
        let Some(line) = self.line(tag) else { return };
        let until = now.saturating_add(self.keep);
        let place = line.iter().min_by_key(|entry| {
            let until = entry.until.load(Ordering::Relaxed);
            (!entry.is(tag), if until > now { until } else { 0 })
        });
        let Some(entry) = place else { return };
        entry.until.store(0, Ordering::Release);
        for (word, new) in entry.tag.iter().zip(tag.0) {
            word.store(new, Ordering::Release);
        }
        entry.until.store(until, Ordering::Release);
    }

    fn line(&self, tag: Tag) -> Option<&[Entry; WAYS]> {
        let [first, _] = tag.0;
        usize::try_from(first % LINES).ok().and_then(|at| self.lines.get(at))
    }
}

impl Entry {
    fn is(&self, tag: Tag) -> bool {
        // All of it, whatever differs: how much is right takes no time to show.
        let differs =
            self.tag.iter().zip(tag.0).fold(0, |differs, (word, wanted)| {
                differs | (word.load(Ordering::Acquire) ^ wanted)
            });
        differs == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const KEEP: u32 = 300;

    #[test]
    fn what_was_found_right_is_known_while_it_is_of_use() {
        let verified = Verified::new(KEEP);
        let (one, other) = (Tag([1, 2]), Tag([1, 3]));
        assert!(!verified.holds(one, 1000));
        verified.add(one, 1000);
        assert!(verified.holds(one, 1000) && !verified.holds(other, 1000));
        assert!(verified.holds(one, 1000 + KEEP - 1));
        // That was of use: it is kept on.
        assert!(verified.holds(one, 1000 + KEEP + 1));
        assert!(!verified.holds(one, 1000 + 3 * KEEP));
    }

    #[test]
    fn an_empty_table_holds_nothing_not_even_zeros() {
        assert!(!Verified::new(KEEP).holds(Tag([0, 0]), 0));
    }

    #[test]
    fn of_too_many_the_oldest_makes_room() {
        let verified = Verified::new(KEEP);
        let tag = |number: u64| Tag([number * LINES, number]);
        for number in 1..=5 {
            verified.add(tag(number), 1000 + u32::try_from(number).unwrap());
        }
        assert!(!verified.holds(tag(1), 1010));
        assert!((2..=5).all(|number| verified.holds(tag(number), 1010)));
    }

    proptest! {
        /// Beside a map that forgets nothing: what is held was added, and is not void.
        #[test]
        fn nothing_is_held_that_was_not_added(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..12, 0_u32..200), 1..200),
        ) {
            let verified = Verified::new(KEEP);
            let mut model: HashMap<u64, u32> = HashMap::new();
            let mut now = 1000;
            for (add, number, pause) in steps {
                now += pause;
                let tag = Tag([number % 3 * LINES, number]);
                if add {
                    verified.add(tag, now);
                    model.insert(number, now);
                    prop_assert!(verified.holds(tag, now));
                } else if verified.holds(tag, now) {
                    let used = model.insert(number, now);
                    prop_assert!(used.is_some_and(|used| now - used < KEEP));
                }
            }
        }
    }
}
