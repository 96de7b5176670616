//! Which of the checks ask in full, and which only connect.

use super::rhythm::Pace;

/// Counts the checks of one backend: each `every`th asks in full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers {
    every: u32,
    /// Checks that may only connect before the next one in full.
    left: u32,
}

impl Layers {
    /// The first check asks in full.
    pub(super) fn new(every: u32) -> Self {
        Self { every, left: 0 }
    }

    /// Whether the next check asks in full, when the last one has left it like this. All do but
    /// those of a backend that is up and has just passed: one that only connects tells trouble
    /// early, and neither makes a backend up nor hides from the others that it is ill. `speaks`: it
    /// has said something about itself, and is asked whether that still holds.
    pub(super) fn is_full(&mut self, last: Option<Pace>, speaks: bool) -> bool {
        if last == Some(Pace::Steady) && !speaks && self.left > 0 {
            self.left -= 1;
            return false;
        }
        self.left = self.every.saturating_sub(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backend::Verdict;
    use crate::health::{Count, Threshold};

    #[test]
    fn each_fifth_check_asks_in_full_while_all_pass() {
        let mut layers = Layers::new(5);
        let mut last = None;
        let full: Vec<bool> =
            (0..11).map(|_| layers.is_full(last.replace(Pace::Steady), false)).collect();
        let fifth = [true, false, false, false, false];
        assert_eq!(full, [&fifth[..], &fifth, &[true]].concat());
        assert!((0..11).all(|_| layers.is_full(Some(Pace::Steady), true)));
    }

    proptest! {
        /// A backend that refuses connections, or answers wrongly, or right, as a list has it.
        #[test]
        fn a_connection_that_opens_turns_no_verdict(
            every in 1_u32..8,
            rise in 1_u32..4,
            fall in 1_u32..4,
            answers in proptest::collection::vec((0..8_u8, any::<bool>()), 1..80),
        ) {
            let mut layers = Layers::new(every);
            let mut count = Count::new(Verdict::Unchecked);
            let mut last = None;
            let mut since_full = 0;
            for (opens, right) in answers {
                let opens = opens > 0;
                let before = count.verdict();
                let full = layers.is_full(last, false);
                since_full = if full { 0 } else { since_full + 1 };
                prop_assert!(since_full < every);
                let passed = opens && (right || !full);
                let after = count.observe(Threshold { rise, fall }, passed);
                prop_assert!(full || before == Verdict::Up);
                prop_assert!(full || !opens || after == Verdict::Up);
                last = Some(Pace::of(count));
            }
        }
    }
}
