//! Which tier of a pool serves new visitors, and when a lower one is given them back.

use std::time::Duration;

use crate::config::model::Failback;

/// The tier that serves new visitors: the lowest that can, or the one in force where a lower one
/// is still held back. `usable`: the tiers of all usable backends; none where there is none.
pub fn serving(failback: Failback, held: u8, usable: impl Iterator<Item = u8>) -> Option<u8> {
    let (mut lowest, mut holds) = (None, false);
    for tier in usable {
        lowest = Some(lowest.map_or(tier, |lowest: u8| lowest.min(tier)));
        holds |= tier == held;
    }
    let waits = matches!(failback, Failback::After(_) | Failback::Manual);
    if waits && holds { Some(held) } else { lowest }
}

/// The tier in force over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hold {
    tier: u8,
    /// The lowest usable tier below the one in force, and since when it has been that.
    lower: Option<(u8, Duration)>,
}

/// Another tier serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The one before.
    pub from: u8,
    /// The one from now on.
    pub to: u8,
}

impl Hold {
    /// The tier in force.
    pub fn tier(&self) -> u8 {
        self.tier
    }

    /// Looks at the tiers of all usable backends (`now`: on any clock that does not go back).
    pub fn look(
        &mut self,
        now: Duration,
        failback: Failback,
        mut usable: impl Iterator<Item = u8> + Clone,
    ) -> Option<Turn> {
        let Some(lowest) = usable.clone().min() else {
            // Nobody serves: whoever comes first begins anew.
            self.lower = None;
            return None;
        };
        let holds = usable.any(|tier| tier == self.tier);
        if !holds || lowest == self.tier {
            return self.turn(lowest);
        }
        match failback {
            Failback::Auto | Failback::NewSessions => self.turn(lowest),
            Failback::Manual => None,
            Failback::After(time) => {
                let since = match self.lower {
                    Some((tier, since)) if tier == lowest => since,
                    _ => now,
                };
                self.lower = Some((lowest, since));
                if now.saturating_sub(since) >= time { self.turn(lowest) } else { None }
            }
        }
    }

    /// An operator gives a lower tier its visitors back; none where there is none to give to.
    pub fn give_back(&mut self, usable: impl Iterator<Item = u8>) -> Option<Turn> {
        let lowest = usable.min()?;
        if lowest < self.tier { self.turn(lowest) } else { None }
    }

    fn turn(&mut self, to: u8) -> Option<Turn> {
        self.lower = None;
        let from = std::mem::replace(&mut self.tier, to);
        (from != to).then_some(Turn { from, to })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failback() -> impl Strategy<Value = Failback> {
        prop_oneof![
            Just(Failback::Auto),
            Just(Failback::Manual),
            Just(Failback::NewSessions),
            (1u64..20).prop_map(|seconds| Failback::After(Duration::from_secs(seconds))),
        ]
    }

    #[test]
    fn a_lower_tier_waits_for_its_time_and_a_flap_begins_it_anew() {
        let after = Failback::After(Duration::from_secs(10));
        let mut hold = Hold::default();
        let mut look = |second, usable: &[u8]| {
            hold.look(Duration::from_secs(second), after, usable.iter().copied())
        };
        assert_eq!(look(0, &[0, 1]), None);
        assert_eq!(look(1, &[1]), Some(Turn { from: 0, to: 1 }));
        assert_eq!((look(2, &[0, 1]), look(11, &[0, 1])), (None, None));
        assert_eq!((look(12, &[1]), look(13, &[0, 1]), look(22, &[0, 1])), (None, None, None));
        assert_eq!(look(23, &[0, 1]), Some(Turn { from: 1, to: 0 }));
    }

    #[test]
    fn by_hand_it_is_held_back_until_the_word_or_until_nobody_else_serves() {
        let mut hold = Hold { tier: 1, lower: None };
        let second = Duration::from_secs;
        assert_eq!(hold.look(second(9), Failback::Manual, [0, 1].into_iter()), None);
        assert_eq!(hold.give_back([1].into_iter()), None);
        assert_eq!(hold.give_back([0, 1].into_iter()), Some(Turn { from: 1, to: 0 }));
        let mut hold = Hold { tier: 1, lower: None };
        let turn = hold.look(second(9), Failback::Manual, [0, 2].into_iter());
        assert_eq!(turn, Some(Turn { from: 1, to: 0 }));
    }

    proptest! {
        #[test]
        fn a_usable_tier_serves_and_it_changes_only_as_it_may(
            failback in failback(),
            steps in proptest::collection::vec(
                (0u64..8, proptest::collection::vec(0u8..4, 0..5)), 1..40,
            ),
        ) {
            let (mut hold, mut now) = (Hold::default(), Duration::ZERO);
            // For how long each tier has been the lowest usable one at every look.
            let mut lowest_since: Option<(u8, Duration)> = None;
            for (pause, usable) in steps {
                now += Duration::from_secs(pause);
                let lowest = usable.iter().copied().min();
                lowest_since = lowest.map(|tier| match lowest_since {
                    Some((before, since)) if before == tier => (tier, since),
                    _ => (tier, now),
                });
                let before = hold.tier();
                let turn = hold.look(now, failback, usable.iter().copied());
                let at = serving(failback, hold.tier(), usable.iter().copied());
                prop_assert_eq!(at.is_some(), lowest.is_some());
                prop_assert!(at.is_none_or(|at| usable.contains(&at)));
                // Requests between two looks and the look itself say the same.
                prop_assert!(at.is_none() || at == Some(hold.tier()));
                prop_assert_eq!(turn.is_some(), before != hold.tier());
                if hold.tier() > before {
                    prop_assert!(!usable.contains(&before) && lowest == Some(hold.tier()));
                }
                let held_on = usable.contains(&before);
                match failback {
                    Failback::Auto | Failback::NewSessions => prop_assert!(at == lowest),
                    Failback::Manual => prop_assert!(!held_on || turn.is_none()),
                    Failback::After(time) if held_on && turn.is_some() => {
                        let (_, since) = lowest_since.unwrap_or_default();
                        prop_assert!(now.saturating_sub(since) >= time);
                    }
                    Failback::After(_) => {}
                }
            }
        }
    }
}
