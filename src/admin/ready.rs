//! `/readyz`: whether this process can serve, and what it lacks.

use http::StatusCode;

use super::answer::{self, Answer};
use super::facts::{Facts, Phase};
use crate::snapshot::Snapshot;

/// The answer, for the whole or for the pool that the query names.
pub(super) fn page(facts: &Facts, query: Option<&str>) -> Answer {
    let asked = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("pool="));
    let blind = facts.checks.blindness.is_blind();
    let readiness = readiness(facts.phase.get(), blind, &facts.current.load(), asked);
    let status = match readiness {
        Readiness::Unknown(_) => StatusCode::NOT_FOUND,
        Readiness::Ready(_) => StatusCode::OK,
        Readiness::Not(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let (Readiness::Unknown(text) | Readiness::Ready(text) | Readiness::Not(text)) = readiness;
    answer::text(status, text)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Readiness {
    /// It can serve; empty pools are named.
    Ready(String),
    /// It cannot, and this is why.
    Not(String),
    /// There is no such pool.
    Unknown(String),
}

/// Ready: neither starting nor stopping nor blind, and at least one routed pool and every required
/// one has a usable backend. Where no route needs a pool, none is missing.
fn readiness(phase: Phase, blind: bool, snapshot: &Snapshot, asked: Option<&str>) -> Readiness {
    let mut lacks = Vec::new();
    match phase {
        Phase::Starting => lacks.push("starting".to_owned()),
        Phase::Serving => {}
        Phase::Stopping => lacks.push("stopping".to_owned()),
    }
    if blind {
        lacks.push(
            "all checks fail at once (runtime.blind_guard): the fault may be here".to_owned(),
        );
    }
    let mut notes = Vec::new();
    if let Some(name) = asked {
        // Names hold nothing that a query has to escape.
        let Some(pool) = snapshot.pool(name) else {
            return Readiness::Unknown("there is no such pool\n".to_owned());
        };
        if pool.usable() == 0 {
            lacks.push(format!("pool {name} has no usable backend"));
        }
    } else {
        let mut routed = snapshot.routes.iter().flat_map(|route| route.pools()).peekable();
        if routed.peek().is_some() && routed.all(|pool| pool.usable() == 0) {
            lacks.push("no routed pool has a usable backend".to_owned());
        }
        for (index, pool) in snapshot.pools.iter().enumerate() {
            if pool.usable() > 0 {
                continue;
            }
            if snapshot.ready_requires.contains(&index) {
                lacks.push(format!("pool {}, which is required, has no usable backend", pool.name));
            } else {
                notes.push(format!("pool {} has no usable backend", pool.name));
            }
        }
    }
    let ready = lacks.is_empty();
    let word = if ready { "ready" } else { "not ready" };
    let lines = std::iter::once(word.to_owned()).chain(lacks).chain(notes);
    let text = lines.map(|line| line + "\n").collect();
    if ready { Readiness::Ready(text) } else { Readiness::Not(text) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    const FILE: &str = "[metrics]\nready_requires = [\"api\"]\n\
        [listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
        [[routes]]\npath = \"/shop\"\npool = \"shop\"\n\
        [[routes]]\npath = \"/api\"\npool = \"api\"\n\
        [[routes]]\npath = \"/old\"\npool = \"old\"\n\
        [pools.shop]\nbackends = [{ id = \"a\", address = \"127.0.0.1:1\", state = \"STATE\" }]\n\
        [pools.api]\nbackends = [{ id = \"a\", address = \"127.0.0.1:2\", state = \"up\" }]\n\
        [pools.old]\nbackends = [{ id = \"a\", address = \"127.0.0.1:3\", state = \"maint\" }]\n";

    #[test]
    fn one_empty_pool_does_not_turn_it_red_but_a_required_one_does() {
        let one_empty = snapshot(&FILE.replace("STATE", "up"));
        let Readiness::Ready(text) = readiness(Phase::Serving, false, &one_empty, None) else {
            panic!()
        };
        assert!(text.starts_with("ready\n") && text.contains("pool old"), "{text}");
        let without = FILE
            .replace("STATE", "up")
            .replace("\"up\" }]\n[pools.old]", "\"maint\" }]\n[pools.old]");
        let Readiness::Not(text) = readiness(Phase::Serving, false, &snapshot(&without), None)
        else {
            panic!()
        };
        assert!(text.contains("pool api, which is required"), "{text}");
    }

    #[test]
    fn a_pool_can_be_asked_for_by_name() {
        let snapshot = snapshot(&FILE.replace("STATE", "drain"));
        let of = |pool| readiness(Phase::Serving, false, &snapshot, Some(pool));
        assert_eq!(of("api"), Readiness::Ready("ready\n".to_owned()));
        assert!(matches!(of("shop"), Readiness::Not(_)), "draining takes nobody new");
        assert!(matches!(of("nothing"), Readiness::Unknown(_)));
    }

    #[test]
    fn neither_before_the_listeners_open_nor_once_it_stops() {
        let snapshot = snapshot(&FILE.replace("STATE", "up"));
        for phase in [Phase::Starting, Phase::Stopping] {
            assert!(matches!(readiness(phase, false, &snapshot, None), Readiness::Not(_)));
            assert!(matches!(readiness(phase, false, &snapshot, Some("api")), Readiness::Not(_)));
        }
    }

    #[test]
    fn a_blind_process_is_not_ready_and_says_why() {
        let snapshot = snapshot(&FILE.replace("STATE", "up"));
        let of = |asked| readiness(Phase::Serving, true, &snapshot, asked);
        let Readiness::Not(text) = of(None) else { panic!() };
        assert!(text.contains("all checks fail at once"), "{text}");
        assert!(matches!(of(Some("api")), Readiness::Not(_)));
    }

    #[test]
    fn a_file_that_only_redirects_lacks_no_backend() {
        let text = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n[[routes]]\n\
            redirect = { to = \"https://{host}{path}\" }\n";
        let ready = Readiness::Ready("ready\n".to_owned());
        assert_eq!(readiness(Phase::Serving, false, &snapshot(text), None), ready);
    }
}
