//! Rise and fall: how many checks in a row turn a verdict.

use crate::backend::Verdict;

/// How many results in a row turn a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Passes in a row until a backend that was down is up.
    pub rise: u32,
    /// Failures in a row until a backend that was up is down.
    pub fall: u32,
}

/// A verdict and the results in a row that may turn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    verdict: Verdict,
    passing: bool,
    in_a_row: u32,
}

impl Count {
    /// Begins with what is known already.
    pub fn new(verdict: Verdict) -> Self {
        Self { verdict, passing: false, in_a_row: 0 }
    }

    /// The verdict now.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Results like the last one in a row.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Whether the last result was another one than the verdict, so that the next may turn it.
    pub fn is_turning(&self) -> bool {
        match self.verdict {
            Verdict::Unchecked => false,
            Verdict::Up => self.in_a_row > 0 && !self.passing,
            Verdict::Down => self.in_a_row > 0 && self.passing,
        }
    }

    /// Takes in a result. The first one of a backend of which nothing is known decides at once:
    /// nobody is served by it yet, so that waiting protects nothing.
    pub fn observe(&mut self, threshold: Threshold, passed: bool) -> Verdict {
        if self.in_a_row > 0 && self.passing == passed {
            self.in_a_row = self.in_a_row.saturating_add(1);
        } else {
            self.passing = passed;
            self.in_a_row = 1;
        }
        let (verdict, needed) =
            if passed { (Verdict::Up, threshold.rise) } else { (Verdict::Down, threshold.fall) };
        if self.verdict == Verdict::Unchecked || self.in_a_row >= needed {
            self.verdict = verdict;
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TWO_THREE: Threshold = Threshold { rise: 2, fall: 3 };

    fn after(begin: Verdict, results: &[bool]) -> Verdict {
        let mut count = Count::new(begin);
        results.iter().fold(begin, |_, passed| count.observe(TWO_THREE, *passed))
    }

    #[test]
    fn the_first_result_of_an_unchecked_backend_decides() {
        assert_eq!(after(Verdict::Unchecked, &[true]), Verdict::Up);
        assert_eq!(after(Verdict::Unchecked, &[false]), Verdict::Down);
    }

    #[test]
    fn a_backend_falls_after_three_failures_and_rises_after_two_passes() {
        assert_eq!(after(Verdict::Up, &[false, false]), Verdict::Up);
        assert_eq!(after(Verdict::Up, &[false, false, true, false, false]), Verdict::Up);
        assert_eq!(after(Verdict::Up, &[false, false, false]), Verdict::Down);
        assert_eq!(after(Verdict::Down, &[true, false, true]), Verdict::Down);
        assert_eq!(after(Verdict::Down, &[true, true]), Verdict::Up);
    }

    #[test]
    fn a_count_is_turning_from_the_first_result_against_the_verdict_until_it_turns() {
        let mut count = Count::new(Verdict::Up);
        assert!(!count.is_turning());
        let turning = [true, false, false, false, false, true, true, true].map(|passed| {
            count.observe(TWO_THREE, passed);
            count.is_turning()
        });
        assert_eq!(turning, [false, true, true, false, false, true, false, false]);
    }

    proptest! {
        /// The reference looks at the whole history each time.
        #[test]
        fn a_verdict_is_what_the_last_results_in_a_row_make_it(
            rise in 1_u32..5,
            fall in 1_u32..5,
            results in proptest::collection::vec(any::<bool>(), 1..60),
        ) {
            let threshold = Threshold { rise, fall };
            let mut count = Count::new(Verdict::Unchecked);
            let mut expected = Verdict::Unchecked;
            for end in 1..=results.len() {
                let history = &results[..end];
                let last = history[end - 1];
                let row = history.iter().rev().take_while(|passed| **passed == last).count();
                let needed = match (expected, last) {
                    (Verdict::Unchecked, _) => 1,
                    (_, true) => rise,
                    (_, false) => fall,
                };
                if row >= usize::try_from(needed).unwrap() {
                    expected = if last { Verdict::Up } else { Verdict::Down };
                }
                prop_assert_eq!(count.observe(threshold, last), expected);
                prop_assert_eq!(usize::try_from(count.in_a_row()).unwrap(), row);
            }
        }
    }
}
