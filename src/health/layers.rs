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
    /// early, and neither makes a backend up nor hides from the others that it is ill.
    pub(super) fn is_full(&mut self, last: Option<Pace>) -> bool {
        if last == Some(Pace::Steady) && self.left > 0 {
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
        let full: Vec<bool> = (0..11).map(|_| layers.is_full(last.replace(Pace::Steady))).collect();
        let fifth = [true, false, false, false, false];
        assert_eq!(full, [&fifth[..], &fifth, &[true]].concat());
    }

    proptest! {
        /// A backend that accepts connections and answers wrongly, or right, as a list has it.
        #[test]
        fn no_check_that_only_connects_turns_a_verdict(
            every in 1_u32..8,
            rise in 1_u32..4,
            fall in 1_u32..4,
            answers in proptest::collection::vec(any::<bool>(), 1..80),
        ) {
            let mut layers = Layers::new(every);
            let mut count = Count::new(Verdict::Unchecked);
            let mut last = None;
            let mut since_full = 0;
            for answers in answers {
                let before = count.verdict();
                let full = layers.is_full(last);
                since_full = if full { 0 } else { since_full + 1 };
                prop_assert!(since_full < every);
                let after = count.observe(Threshold { rise, fall }, !full || answers);
                prop_assert!(full || (before, after) == (Verdict::Up, Verdict::Up));
                last = Some(Pace::of(count));
            }
        }
    }
}
