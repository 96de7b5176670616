//! How often each backend's checks passed and failed, for whoever exports it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::blind::Blindness;

/// Pool and id.
pub type CheckedName = (Arc<str>, Arc<str>);

/// The checks of one backend so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckCounts {
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
    /// Those of them that passed and had asked in full, not only connected.
    pub full_passed: u64,
    /// Those of them that failed and had asked in full.
    pub full_failed: u64,
    /// How long the last one took.
    pub last: Duration,
}

/// The checks of all backends that are checked. Written and read on the control thread.
#[derive(Debug, Default)]
pub struct Checks {
    counts: Mutex<HashMap<CheckedName, CheckCounts>>,
    /// Whether they fail for a reason of our own.
    pub blindness: Blindness,
}

impl Checks {
    /// Shows each checked backend's counts, in no order.
    pub fn visit(&self, mut show: impl FnMut(&str, &str, CheckCounts)) {
        for ((pool, backend), counts) in
            &*self.counts.lock().unwrap_or_else(PoisonError::into_inner)
        {
            show(pool, backend, *counts);
        }
    }

    /// The counts of one backend, if it is checked and was.
    pub fn of(&self, pool: &str, backend: &str) -> Option<CheckCounts> {
        let name = (Arc::from(pool), Arc::from(backend));
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(&name).copied()
    }

    /// Counts one that took so long. `full`: it has asked, not only connected.
    pub(super) fn count(&self, name: &CheckedName, passed: bool, (took, full): (Duration, bool)) {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = all.entry(name.clone()).or_default();
        let (these, in_full) = if passed {
            (&mut counts.passed, &mut counts.full_passed)
        } else {
            (&mut counts.failed, &mut counts.full_failed)
        };
        *these += 1;
        *in_full += u64::from(full);
        counts.last = took;
    }

    /// Forgets those that are not checked any more.
    pub(super) fn retain(&self, checked: impl Fn(&CheckedName) -> bool) {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| checked(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_and_failures_are_counted_until_the_backend_is_forgotten() {
        let checks = Checks::default();
        let name: CheckedName = (Arc::from("shop"), Arc::from("a"));
        checks.count(&name, true, (Duration::from_millis(3), true));
        checks.count(&name, true, (Duration::from_millis(3), false));
        checks.count(&name, false, (Duration::from_millis(5), true));
        let counts = CheckCounts {
            passed: 2,
            failed: 1,
            full_passed: 1,
            full_failed: 1,
            last: Duration::from_millis(5),
        };
        assert_eq!(checks.of("shop", "a"), Some(counts));
        let mut seen = Vec::new();
        checks.visit(|pool, backend, _| seen.push(format!("{pool}/{backend}")));
        assert_eq!(seen, ["shop/a"]);
        checks.retain(|_| false);
        assert_eq!(checks.of("shop", "a"), None);
    }
}
