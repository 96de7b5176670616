//! What a mark is for, what it leaves of a pool, and how it joins those in force.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;

use crate::admin::facts::{DrainTerms, Mark, MarkWord};
use crate::backend::{self, Backend, Standing, Verdict};
use crate::config::model::{AddressHost, AdminState};
use crate::control::refused;
use crate::event::{DrainPlan, MarkAction, MarkTarget, Refusal, Then, Tunnels, Until};
use crate::snapshot::{Pool, Snapshot};

/// Pool and id of a backend that a mark is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::control) struct Named {
    pub(in crate::control) pool: String,
    pub(in crate::control) backend: String,
}

impl Named {
    fn of(backend: &Backend) -> Self {
        Self { pool: backend.pool.to_string(), backend: backend.id.to_string() }
    }

    pub(super) fn has(&self, mark: &Mark) -> bool {
        mark.pool == self.pool && mark.backend == self.backend
    }
}

/// The backends that are meant. One that has left the file is known by its mark.
pub(super) fn targets(
    target: &MarkTarget,
    snapshot: &Snapshot,
    marks: &[Mark],
) -> Result<Vec<Named>, Refusal> {
    let members = || snapshot.pools.iter().flat_map(|pool| &pool.members).map(|m| &m.backend);
    match target {
        MarkTarget::Backend { pool, backend } => {
            let named = Named { pool: pool.clone(), backend: backend.clone() };
            if members().any(|member| Named::of(member) == named)
                || marks.iter().any(|mark| named.has(mark))
            {
                return Ok(vec![named]);
            }
            let Some(found) = snapshot.pool(pool) else {
                let names = list(snapshot.pools.iter().map(|pool| &*pool.name));
                return Err(refused(404, format!("there is no pool {pool}; there are {names}")));
            };
            let ids = list(found.members.iter().map(|member| &*member.backend.id));
            Err(refused(404, format!("pool {pool} has no backend {backend}; it has {ids}")))
        }
        MarkTarget::Address(address) => {
            let wanted = Wanted::read(address);
            let found: BTreeSet<Named> =
                members().filter(|backend| wanted.is(backend)).map(Named::of).collect();
            if found.is_empty() {
                return Err(refused(404, format!("no pool has a backend at {address}")));
            }
            Ok(found.into_iter().collect())
        }
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 10;
    let mut names: Vec<&str> = names.take(SHOWN + 1).collect();
    if names.len() > SHOWN {
        names.truncate(SHOWN);
        names.push("…");
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// An address as an operator writes it.
enum Wanted<'a> {
    Ip(IpAddr),
    Socket(SocketAddr),
    /// As the file has it: a name and port.
    Text(&'a str),
}

impl<'a> Wanted<'a> {
    fn read(text: &'a str) -> Self {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            Self::Ip(ip)
        } else if let Ok(socket) = text.parse() {
            Self::Socket(socket)
        } else {
            Self::Text(text)
        }
    }

    fn is(&self, backend: &Backend) -> bool {
        let address = &backend.address;
        match self {
            Self::Ip(ip) => {
                address.host == AddressHost::Ip(*ip)
                    || backend.state.addresses().iter().any(|socket| socket.ip() == *ip)
            }
            Self::Socket(socket) => {
                (address.host == AddressHost::Ip(socket.ip()) && address.port == socket.port())
                    || backend.state.addresses().contains(socket)
            }
            Self::Text(text) => address.to_string().eq_ignore_ascii_case(text),
        }
    }
}

/// Refuses what would take the last usable backend from a pool that has one.
pub(super) fn leaves_each_pool_usable(
    targets: &[Named],
    action: MarkAction,
    snapshot: &Snapshot,
) -> Result<(), Refusal> {
    let mut emptied = Vec::new();
    let names: BTreeSet<&str> = targets.iter().map(|target| &*target.pool).collect();
    for pool in names.into_iter().filter_map(|name| snapshot.pool(name)) {
        if usable(pool, |_| None) > 0 && usable(pool, |b| after(b, targets, action)) == 0 {
            emptied.push(pool.name.to_string());
        }
    }
    if emptied.is_empty() {
        return Ok(());
    }
    let pools = emptied.join(", ");
    let mut refusal = refused(409, format!("this would leave {pools} without a usable backend"));
    "make another backend ready first, or say --force".clone_into(&mut refusal.detail);
    refusal.members.insert("pools".to_owned(), emptied.into());
    Err(refusal)
}

/// Where an address was refused, what it stands for.
pub(super) fn with_matches(
    mut refusal: Refusal,
    target: &MarkTarget,
    matches: &[Named],
) -> Refusal {
    if let MarkTarget::Address(address) = target {
        let names: Vec<String> =
            matches.iter().map(|named| format!("{}/{}", named.pool, named.backend)).collect();
        let shown = list(names.iter().map(String::as_str));
        refusal.detail = format!("{address} is {shown}; {}", refusal.detail);
        refusal.members.insert("matches".to_owned(), names.into());
    }
    refusal
}

/// State and weight after the change, where it is for this backend.
fn after(backend: &Backend, targets: &[Named], action: MarkAction) -> Option<(AdminState, u32)> {
    targets.contains(&Named::of(backend)).then(|| {
        let (state, weight) = (backend.admin_state(), backend.effective_weight());
        match action {
            MarkAction::Ready => (AdminState::Up, weight),
            MarkAction::Drain(_) => (AdminState::Drain, weight),
            MarkAction::Maint => (AdminState::Maint, weight),
            MarkAction::Weight(weight) => (state, weight),
            MarkAction::Unmark => (backend.unmarked_state(), backend.unmarked_weight()),
        }
    })
}

/// Backends that take anybody, were some of them marked otherwise.
fn usable(pool: &Pool, marked: impl Fn(&Backend) -> Option<(AdminState, u32)>) -> usize {
    let open = |backend: &Backend| match marked(backend) {
        None => backend.standing() == Standing::Open,
        Some((state, weight)) => {
            state == AdminState::Up
                && weight > 0
                && !backend.departs()
                && backend.state.resolved()
                && (!backend.checked || backend.state.verdict() == Verdict::Up)
        }
    };
    pool.members.iter().filter(|member| open(&member.backend)).count()
}

/// Adds a mark to those in force in place of its like, or lifts both of a backend's.
pub(super) fn merge(
    marks: &mut Vec<Mark>,
    target: &Named,
    action: MarkAction,
    new: impl Fn(&Named, MarkWord) -> Mark,
) {
    let says = match action {
        MarkAction::Ready => MarkWord::State(AdminState::Up),
        MarkAction::Drain(_) => MarkWord::State(AdminState::Drain),
        MarkAction::Maint => MarkWord::State(AdminState::Maint),
        MarkAction::Weight(weight) => MarkWord::Weight(weight),
        MarkAction::Unmark => {
            marks.retain(|mark| !target.has(mark));
            return;
        }
    };
    let kind = std::mem::discriminant(&says);
    marks.retain(|mark| !(target.has(mark) && std::mem::discriminant(&mark.says) == kind));
    let place = marks
        .partition_point(|mark| (&*mark.pool, &*mark.backend) <= (&*target.pool, &*target.backend));
    marks.insert(place, new(target, says));
}

/// What the marks say of one backend.
pub(super) fn in_force(
    marks: &[Mark],
    pool: &str,
    backend: &str,
) -> (Option<AdminState>, Option<u32>) {
    let mut found = (None, None);
    for mark in marks.iter().filter(|mark| mark.pool == pool && mark.backend == backend) {
        match mark.says {
            MarkWord::State(state) => found.0 = Some(state),
            MarkWord::Weight(weight) => found.1 = Some(weight),
        }
    }
    found
}

/// A plan whose times begin to run now.
pub(super) fn terms(
    plan: &DrainPlan,
    now: Timestamp,
    target: &Named,
    snapshot: &Snapshot,
) -> DrainTerms {
    let after = match plan.deadline {
        Until::Default => snapshot.pool(&target.pool).and_then(|pool| pool.drain_deadline),
        Until::Never => None,
        Until::After(time) => Some(time),
    };
    DrainTerms {
        // One beyond the calendar is none.
        deadline: after.and_then(|after| now.checked_add(after).ok()),
        quiet_seconds: plan.quiet.map(|quiet| u32::try_from(quiet.as_secs()).unwrap_or(u32::MAX)),
        then: plan.then,
        tunnels: plan.tunnels,
    }
}

/// What the workers are told of a backend that DNS tells no more, where no mark drains it.
pub(super) fn parting(backend: &Backend, spread: u32) -> Option<backend::DrainTerms> {
    let leaving = backend.leaving()?;
    Some(backend::DrainTerms {
        since: leaving.since,
        deadline: leaving.until,
        quiet: None,
        cut: false,
        close_tunnels: false,
        spread,
    })
}

/// What the drain of a backend tells the workers, where a mark drains it. `spread`: milliseconds
/// over which tunnels are closed.
pub(super) fn orders(
    marks: &[Mark],
    backend: &Backend,
    spread: u32,
) -> Option<backend::DrainTerms> {
    let drains = |mark: &&Mark| {
        mark.pool == *backend.pool
            && mark.backend == *backend.id
            && mark.says == MarkWord::State(AdminState::Drain)
    };
    let mark = marks.iter().find(drains)?;
    let seconds = |time: Timestamp| u32::try_from(time.as_second()).unwrap_or(0);
    // Whoever is moved is moved at the deadline, not in the second before it.
    let not_before =
        |time: Timestamp| seconds(time).saturating_add(u32::from(time.subsec_nanosecond() > 0));
    Some(backend::DrainTerms {
        since: seconds(mark.when),
        deadline: mark.drain.and_then(|drain| drain.deadline).map(not_before),
        quiet: mark.drain.and_then(|drain| drain.quiet_seconds),
        cut: mark.drain.is_some_and(|drain| drain.then == Then::Cut),
        close_tunnels: mark.drain.is_some_and(|drain| drain.tunnels == Tunnels::Close),
        spread,
    })
}

/// The new id of a backend that left the file under the mark's id and came back under another.
pub(super) fn renamed(mark: &Mark, old: &Snapshot, new: &Snapshot) -> Option<String> {
    let pool = new.pool(&mark.pool)?;
    if pool.member(&mark.backend).is_some() {
        return None;
    }
    let was = old.pool(&mark.pool)?.member(&mark.backend)?;
    let is = pool.members.iter().find(|m| Arc::ptr_eq(&m.backend.state, &was.backend.state))?;
    Some(is.backend.id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::snapshot;
    use crate::event::DrainPlan;

    const TWO_POOLS: &str = r#"
        [pools.shop]
        backends = [{ id = "a", address = "10.0.0.1:80" }, { id = "b", address = "10.0.0.2:80" }]
        [pools.api]
        backends = [{ id = "a", address = "10.0.0.1:81" }, { id = "n", address = "n.internal:80" }]
    "#;

    fn named(pool: &str, backend: &str) -> Named {
        Named { pool: pool.to_owned(), backend: backend.to_owned() }
    }

    fn new(target: &Named, says: MarkWord) -> Mark {
        let Named { pool, backend } = target.clone();
        let when = Timestamp::UNIX_EPOCH;
        Mark {
            pool,
            backend,
            says,
            who: String::new(),
            when,
            why: None,
            until: None,
            in_file: true,
            drain: None,
        }
    }

    #[test]
    fn an_address_matches_in_every_pool_that_has_it() {
        let snapshot = snapshot(TWO_POOLS);
        let of = |text: &str| targets(&MarkTarget::Address(text.to_owned()), &snapshot, &[]);
        assert_eq!(of("10.0.0.1").unwrap(), [named("api", "a"), named("shop", "a")]);
        assert_eq!(of("10.0.0.1:80").unwrap(), [named("shop", "a")]);
        assert_eq!(of("N.internal:80").unwrap(), [named("api", "n")]);
        assert_eq!(of("10.0.0.9").unwrap_err().status, 404);
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_there_is() {
        let snapshot = snapshot(TWO_POOLS);
        let of = |pool: &str, backend: &str, marks: &[Mark]| {
            let target = MarkTarget::Backend { pool: pool.to_owned(), backend: backend.to_owned() };
            targets(&target, &snapshot, marks)
        };
        assert_eq!(of("shop", "b", &[]).unwrap(), [named("shop", "b")]);
        let no_backend = of("shop", "c", &[]).unwrap_err();
        assert_eq!(
            (no_backend.status, &*no_backend.title),
            (404, "pool shop has no backend c; it has a, b")
        );
        assert!(of("ship", "a", &[]).unwrap_err().title.contains("shop"));
        let left = new(&named("old", "a"), MarkWord::Weight(0));
        assert_eq!(of("old", "a", &[left]).unwrap(), [named("old", "a")]);
    }

    #[test]
    fn the_last_usable_backend_of_a_pool_is_kept() {
        let snapshot = snapshot(TWO_POOLS);
        let check = |targets: &[Named], action| leaves_each_pool_usable(targets, action, &snapshot);
        assert!(check(&[named("shop", "a")], MarkAction::Maint).is_ok());
        let both = [named("shop", "a"), named("shop", "b")];
        for action in
            [MarkAction::Maint, MarkAction::Drain(DrainPlan::default()), MarkAction::Weight(0)]
        {
            assert_eq!(check(&both, action).unwrap_err().status, 409);
        }
        assert!(check(&both, MarkAction::Weight(3)).is_ok());
        let address = MarkTarget::Address("10.0.0.0".to_owned());
        let refusal = with_matches(check(&both, MarkAction::Maint).unwrap_err(), &address, &both);
        assert!(refusal.detail.starts_with("10.0.0.0 is shop/a, shop/b; "), "{}", refusal.detail);
        assert_eq!(refusal.members["matches"], serde_json::json!(["shop/a", "shop/b"]));
        // The other one of this pool does not resolve.
        assert_eq!(
            check(&[named("api", "a")], MarkAction::Drain(DrainPlan::default()))
                .unwrap_err()
                .status,
            409
        );
    }

    #[test]
    fn state_and_weight_are_marked_apart_and_lifted_together() {
        let mut marks = Vec::new();
        let a = named("shop", "a");
        merge(&mut marks, &a, MarkAction::Drain(DrainPlan::default()), new);
        merge(&mut marks, &a, MarkAction::Weight(7), new);
        merge(&mut marks, &named("api", "n"), MarkAction::Maint, new);
        merge(&mut marks, &a, MarkAction::Ready, new);
        assert_eq!(in_force(&marks, "shop", "a"), (Some(AdminState::Up), Some(7)));
        assert_eq!(
            marks.iter().map(|mark| &*mark.pool).collect::<Vec<_>>(),
            ["api", "shop", "shop"]
        );
        merge(&mut marks, &a, MarkAction::Unmark, new);
        assert_eq!(in_force(&marks, "shop", "a"), (None, None));
        assert_eq!(marks.len(), 1);
    }
}
