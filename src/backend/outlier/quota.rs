//! How many backends of a pool may be out at once, and how many are.

use std::sync::atomic::{AtomicU32, Ordering};

/// The most of so many usable backends that may be ejected at once: this share, rounded down; at
/// least one where there are two or more, for half of three is still one; and never the last. A
/// share of 0 ejects nobody.
pub fn most_ejected(usable: u32, percent: u8) -> u32 {
    if usable < 2 || percent == 0 {
        return 0;
    }
    let share = u64::from(usable) * u64::from(percent) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).clamp(1, usable - 1)
}

/// The places of a pool: who ejects takes one, who lets in again gives it back. Kept by the
/// `PoolState`, across generations.
#[derive(Debug, Default)]
pub struct Quota {
    held: AtomicU32,
    most: AtomicU32,
}

impl Quota {
    /// Places that are held now.
    pub fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    /// How many may be held.
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    /// Sets how many may be held; control thread only.
    pub(super) fn allow(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Sets what is held to what is true, unless somebody has taken or given one meanwhile.
    pub(super) fn correct(&self, held: u32, truth: u32) {
        let order = Ordering::Relaxed;
        let _ = self.held.compare_exchange(held, truth, order, order);
    }

    /// Takes a place, if one is left.
    pub(super) fn take(&self) -> bool {
        let most = self.most();
        let one_more = |held: u32| (held < most).then(|| held.saturating_add(1));
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    pub(super) fn give(&self) {
        let one_less = |held: u32| held.checked_sub(1);
        let _ = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_of_a_pool_may_be_out_and_one_of_two() {
        let half = [0, 1, 2, 3, 4, 5, 10].map(|usable| most_ejected(usable, 50));
        assert_eq!(half, [0, 0, 1, 1, 2, 2, 5]);
        assert_eq!([most_ejected(4, 100), most_ejected(4, 1), most_ejected(4, 0)], [3, 1, 0]);
    }

    #[test]
    fn a_correction_gives_way_to_whoever_was_faster() {
        let quota = Quota::default();
        quota.allow(3);
        assert!(quota.take() && quota.take());
        quota.correct(1, 0);
        assert_eq!(quota.held(), 2);
        quota.correct(2, 0);
        assert_eq!(quota.held(), 0);
        quota.give();
        assert_eq!(quota.held(), 0);
    }

    proptest! {
        #[test]
        fn the_last_one_is_never_ejected(usable: u32, percent in 0_u8..=100) {
            let most = most_ejected(usable, percent);
            prop_assert!(most < usable.max(1));
            let share = u64::from(usable) * u64::from(percent) / 100;
            prop_assert!(u64::from(most) <= share.max(1));
        }
    }
}
