//! Whether a pool has backends enough for new visitors, with hysteresis.

use crate::config::model::Quorum;

/// Whether the quorum is lost, with so many usable backends. `was`: whether it was before.
pub fn is_lost(was: bool, usable: usize, quorum: &Quorum) -> bool {
    usable < if was { quorum.again } else { quorum.min }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_lost_below_the_one_and_there_again_from_the_other_on() {
        let quorum = Quorum { min: 2, again: 4, pool: 0 };
        let mut lost = false;
        let course = [4, 2, 1, 2, 3, 4, 3, 2, 0].map(|usable| {
            lost = is_lost(lost, usable, &quorum);
            lost
        });
        assert_eq!(course, [false, false, true, true, true, false, false, false, true]);
    }

    proptest! {
        #[test]
        fn it_turns_only_across_its_bounds(
            min in 1usize..6,
            more in 0usize..5,
            course in proptest::collection::vec(0usize..12, 1..60),
        ) {
            let quorum = Quorum { min, again: min + more, pool: 0 };
            let mut lost = false;
            for usable in course {
                let before = lost;
                lost = is_lost(before, usable, &quorum);
                if usable < min {
                    prop_assert!(lost);
                } else if usable >= quorum.again {
                    prop_assert!(!lost);
                } else {
                    prop_assert_eq!(lost, before);
                }
            }
        }
    }
}
