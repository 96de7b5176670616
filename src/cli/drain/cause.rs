//! What a drain still waits for, and on which backends.

use super::super::out;
use super::left::{Left, Target};

/// What is waited for: of several things the one that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Those who are bound, and served there.
    Sessions,
    /// Those who are bound and have not come back since the deadline: they move when they do.
    Absent,
    /// Tunnels.
    Tunnels,
    /// Exchanges.
    Exchanges,
    /// Counts that know of everybody: there may be visitors that nobody has seen.
    Counts,
}

impl Cause {
    /// None where nobody is bound any more.
    pub(super) fn of(left: &Left) -> Option<Self> {
        Some(match left {
            Left { empty: true, .. } => return None,
            Left { sessions: 1.., over, .. } if *over => Self::Absent,
            Left { sessions: 1.., .. } => Self::Sessions,
            Left { tunnels: 1.., .. } => Self::Tunnels,
            Left { exchanges: 1.., .. } => Self::Exchanges,
            _ => Self::Counts,
        })
    }

    /// For programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Absent => "absent_sessions",
            Self::Tunnels => "tunnels",
            Self::Exchanges => "exchanges",
            Self::Counts => "counts",
        }
    }
}

/// The cause that was told last.
#[derive(Debug, Default)]
pub(super) struct Causes(Option<(Cause, Vec<Target>)>);

impl Causes {
    /// What is waited for now, where that is news and the figures do not tell it.
    pub(super) fn news(&mut self, left: &Left) -> Option<String> {
        let now = (Cause::of(left)?, left.waiting.clone());
        if self.0.as_ref() == Some(&now) {
            return None;
        }
        let first = self.0.is_none();
        let (cause, waiting) = self.0.insert(now);
        let names: Vec<String> = waiting.iter().map(|(pool, id)| format!("{pool}/{id}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let names = out::listed(&names);
        Some(match cause {
            // The figures are of this one, and say so.
            Cause::Sessions if first && waiting.len() == 1 => return None,
            Cause::Sessions => format!("waiting for visitors who are bound to {names}"),
            Cause::Absent => format!(
                "the deadline has passed, and who comes back to {names} is moved; waiting for \
                 those who have not come back, until their idle time is over (--wait=deadline does \
                 not wait for them)"
            ),
            Cause::Tunnels if left.over => format!("waiting for the tunnels of {names} to end"),
            Cause::Tunnels => {
                format!("waiting for the tunnels of {names} to end; --tunnels close closes them")
            }
            Cause::Exchanges => format!("waiting for the exchanges of {names} to end"),
            Cause::Counts => {
                let time = left.incomplete.map(|(_, until)| format!(", in {}", out::rough(until)));
                let time = time.unwrap_or_default();
                format!(
                    "nobody is known to be bound to {names}; waiting until the counts are \
                     complete{time}, for there may be visitors whom they have not seen"
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::admin::view::Nodes;

    use super::super::left::tests::node;
    use super::*;

    fn left(sessions: u64, complete: bool) -> Left {
        let nodes = Nodes { nodes: vec![node("lb1", sessions, complete)] };
        Left::of(&nodes, &[("shop".to_owned(), "a".to_owned())], &mut None).unwrap()
    }

    #[test]
    fn each_cause_is_told_once_and_what_the_figures_tell_is_not() {
        let mut causes = Causes::default();
        assert_eq!(causes.news(&left(5, true)), None);
        assert_eq!(causes.news(&left(4, true)), None);
        let over = Left { over: true, ..left(3, true) };
        let told = causes.news(&over).unwrap();
        assert!(told.contains("who comes back to shop/a is moved"), "{told}");
        assert_eq!(causes.news(&over), None);
        let tunnels = Left { sessions: 0, ..left(1, true) };
        assert!(causes.news(&tunnels).unwrap().contains("--tunnels close"));
        let exchanges = Left { tunnels: 0, ..tunnels };
        assert!(causes.news(&exchanges).unwrap().contains("exchanges of shop/a"));
        let counts = Left { tunnels: 0, exchanges: 0, ..left(0, false) };
        let told = causes.news(&counts).unwrap();
        assert!(told.contains("until the counts are complete, in 26m"), "{told}");
        assert_eq!(causes.news(&left(0, true)), None, "it is empty");
    }

    #[test]
    fn of_several_backends_those_that_are_not_empty_yet_are_named() {
        let mut causes = Causes::default();
        let target = |pool: &str| (pool.to_owned(), "a".to_owned());
        let both = Left { waiting: vec![target("shop"), target("api")], ..left(5, true) };
        let told = causes.news(&both).unwrap();
        assert_eq!(told, "waiting for visitors who are bound to shop/a and api/a");
        let one = Left { waiting: vec![target("api")], ..both };
        assert_eq!(causes.news(&one).unwrap(), "waiting for visitors who are bound to api/a");
    }
}
