//! Live sessions and drains, read from what runs into the shape that is shown.

use jiff::Timestamp;

use super::facts::{Facts, Mark, MarkWord};
use super::status::state_word;
use super::view::{BackendSessions, Drain, PoolSessions, Sessions};
use crate::backend::Standing;
use crate::config::model::{AdminState, By};
use crate::event::{Then, Tunnels};
use crate::snapshot::{Member, Pool};
use crate::sticky::Stickiness;

/// Which of them are wanted; nothing named is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Of this pool.
    pub(super) pool: Option<String>,
    /// Backends of this id.
    pub(super) backend: Option<String>,
}

impl Filter {
    /// What a query says. Names hold nothing that a query has to escape.
    pub(super) fn of(query: Option<&str>) -> Self {
        let named = |name: &str| {
            let mut pairs = query.into_iter().flat_map(|query| query.split('&'));
            pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        Self { pool: named("pool"), backend: named("backend") }
    }

    /// As a query, for a peer.
    pub(super) fn query(&self) -> String {
        let pairs = [("pool", &self.pool), ("backend", &self.backend)];
        let written = pairs.into_iter().filter_map(|(name, value)| {
            let value = value.as_ref()?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            value.bytes().all(plain).then(|| format!("{name}={value}"))
        });
        written.collect::<Vec<_>>().join("&")
    }
}

/// What is wanted of all.
pub(super) fn gather(facts: &Facts, filter: &Filter) -> Sessions {
    let now = Timestamp::now();
    let marks = facts.marks();
    let wanted = |name: &Option<String>, is: &str| name.as_deref().is_none_or(|it| it == is);
    let snapshot = facts.current.load();
    let pools = snapshot.pools.iter().filter(|pool| wanted(&filter.pool, &pool.name)).map(|pool| {
        let mut shown = show(pool, &marks, now);
        shown.backends.retain(|backend| wanted(&filter.backend, &backend.id));
        shown
    });
    Sessions {
        node: facts.node.clone(),
        kept: facts.state_dir.is_some(),
        uptime_seconds: between(facts.started, now),
        pools: pools.collect(),
    }
}

fn show(pool: &Pool, marks: &[Mark], now: Timestamp) -> PoolSessions {
    let sticky = pool.sticky.as_deref();
    let seconds = u32::try_from(now.as_second()).unwrap_or(0);
    let sessions = &pool.state.sessions;
    let total = sessions.total(seconds);
    let complete = sticky.is_none() || sessions.is_complete(seconds);
    let complete_at = sessions.complete_at().filter(|_| !complete);
    let left = complete_at.map_or(0, |at| at.saturating_sub(seconds));
    // Counts are complete when a whole idle time has been counted, over restarts that lose nothing.
    let counted =
        |sticky: &Stickiness| u64::from(sticky.longest().saturating_add(1).saturating_sub(left));
    PoolSessions {
        name: pool.name.to_string(),
        by: sticky.map_or_else(|| "none".to_owned(), |sticky| by(sticky.by())),
        sessions: total.sessions,
        exact: total.exact,
        complete,
        complete_in_seconds: left.into(),
        counted_for_seconds: sticky.filter(|_| !complete).map(counted),
        issued: pool.counters.sum(|counters| counters.sessions_issued.get()),
        backends: present(pool).map(|member| backend(pool, member, marks, now)).collect(),
    }
}

/// Ghosts that have ended are not shown.
fn present(pool: &Pool) -> impl Iterator<Item = &Member> {
    pool.members.iter().filter(|member| member.backend.standing() != Standing::Gone)
}

/// What binds visitors, as the file says it.
pub(super) fn by(by: &By) -> String {
    match by {
        By::Cookie => "cookie".to_owned(),
        By::Header(name) => format!("header:{name}"),
        By::Query(name) => format!("query:{name}"),
        By::AppCookie(name) => format!("app_cookie:{name}"),
        By::Source { .. } => "source".to_owned(),
        By::LearnHeader(name) => format!("learn:header:{name}"),
        By::LearnCookie(name) => format!("learn:cookie:{name}"),
    }
}

fn backend(pool: &Pool, member: &Member, marks: &[Mark], now: Timestamp) -> BackendSessions {
    let backend = &member.backend;
    let seconds = u32::try_from(now.as_second()).unwrap_or(0);
    let tally = member.seat.as_deref().map(|seat| pool.state.sessions.tally(seat, seconds));
    let tunnels = backend.state.tunnels();
    let state = |mark: &&Mark| {
        matches!(mark.says, MarkWord::State(_))
            && *mark.pool == *backend.pool
            && *mark.backend == *backend.id
    };
    let mark = marks.iter().find(state);
    BackendSessions {
        id: backend.id.to_string(),
        state: state_word(backend).to_owned(),
        sessions: tally.map_or(0, |tally| tally.sessions),
        exact: tally.is_none_or(|tally| tally.exact),
        exchanges: backend.state.in_flight().saturating_sub(tunnels),
        tunnels,
        empty: pool.is_drained(member, seconds),
        drain: mark.and_then(|mark| drain(mark, backend.state.drain.moved(), now)),
    }
}

/// The drain that a mark began.
fn drain(mark: &Mark, moved: u64, now: Timestamp) -> Option<Drain> {
    if mark.says != MarkWord::State(AdminState::Drain) {
        return None;
    }
    let terms = mark.drain;
    let deadline = terms.and_then(|terms| terms.deadline);
    Some(Drain {
        since: mark.when,
        deadline,
        over: deadline.is_some_and(|deadline| deadline <= now),
        quiet_seconds: terms.and_then(|terms| terms.quiet_seconds),
        then: terms.map_or(Then::Move, |terms| terms.then),
        tunnels: terms.map_or(Tunnels::Keep, |terms| terms.tunnels),
        moved,
    })
}

fn between(then: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_second().saturating_sub(then.as_second())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::facts::{DrainTerms, lock};
    use super::super::tests::facts;
    use super::*;

    #[test]
    fn a_filter_is_read_from_a_query_and_written_to_one() {
        let filter = Filter::of(Some("x=1&pool=shop&backend=a"));
        let wanted = Filter { pool: Some("shop".to_owned()), backend: Some("a".to_owned()) };
        assert_eq!((&filter, &*filter.query()), (&wanted, "pool=shop&backend=a"));
        assert_eq!(Filter::of(None).query(), "");
        assert_eq!(Filter::of(Some("pool=a%26b")).query(), "");
    }

    #[test]
    fn a_drain_is_shown_with_its_terms_where_it_is_wanted() {
        let facts = facts();
        let terms = DrainTerms {
            deadline: Some(Timestamp::UNIX_EPOCH),
            quiet_seconds: Some(300),
            then: Then::Cut,
            tunnels: Tunnels::Close,
        };
        lock(&facts.marks).push(Mark {
            pool: "shop".to_owned(),
            backend: "a".to_owned(),
            says: MarkWord::State(AdminState::Drain),
            who: "uid 0".to_owned(),
            when: Timestamp::UNIX_EPOCH,
            why: None,
            until: None,
            in_file: true,
            drain: Some(terms),
        });
        let all = gather(&facts, &Filter::default());
        assert_eq!((all.node.as_str(), all.kept, all.pools.len()), ("one", false, 1));
        let [a, b] = all.pools[0].backends.as_slice() else { panic!("{all:?}") };
        let drain = a.drain.as_ref().unwrap();
        assert!(drain.over && drain.then == Then::Cut && drain.quiet_seconds == Some(300));
        assert_eq!(b.drain, None);
        let one = gather(&facts, &Filter::of(Some("pool=shop&backend=b")));
        assert_eq!(one.pools[0].backends, std::slice::from_ref(b));
        assert_eq!(gather(&facts, &Filter::of(Some("pool=none"))).pools, []);
    }
}
