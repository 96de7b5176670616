//! Tiers: who goes to which, and who goes home when a lower one is back.

use super::*;
use crate::sticky::Presented::{Valid, Value};

/// Two backends in tier 0 and two in tier 1, up without checks.
fn tiered(more: &str) -> Arc<Pool> {
    House::new().pool_by(&four(), more)
}

fn four() -> String {
    let in_tier = |id: &str, tier: u8| backend(id).replace(" }", &format!(", tier = {tier} }}"));
    [in_tier("a", 0), in_tier("b", 0), in_tier("c", 1), in_tier("d", 1)].join(", ")
}

fn mark(pool: &Pool, ids: &str, state: Option<AdminState>) {
    for id in ids.split(' ') {
        pool.member(id).unwrap().backend.state.set_mark(state, None);
    }
}

fn maint(pool: &Pool, ids: &str) {
    mark(pool, ids, Some(AdminState::Maint));
}

/// Whom so many new visitors met, in order.
fn met(pool: &Pool) -> String {
    let mut cursor = Cursor::new(1);
    let mut one = |fresh| {
        let visitor = Visitor { fresh, ..who(Presented::None) };
        let met = ask(pool, &visitor, &Tried::default(), &mut cursor);
        let Ok(Selected::Now(choice)) = met else { panic!("{met:?}") };
        pool.members[choice.member].backend.id.to_string()
    };
    let mut ids: Vec<String> = (0..40).map(&mut one).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.join(" ")
}

const BY_COOKIE: &str = "policy = \"random\"\nsticky.by = \"cookie\"\n";

#[test]
fn a_higher_tier_serves_only_while_every_lower_one_cannot() {
    for policy in ["round-robin", "least-request", "random", "peak-ewma", "hash"] {
        let pool = tiered(&format!("policy = \"{policy}\"\nsticky.by = \"cookie\""));
        let some = |ids: &str| {
            let met = met(&pool);
            assert!(met.split(' ').all(|id| ids.contains(id)), "{policy}: {met} of {ids}");
        };
        some("a b");
        maint(&pool, "a");
        some("b");
        maint(&pool, "b");
        some("c d");
        mark(&pool, "b", Some(AdminState::Drain));
        some("c d");
        mark(&pool, "a b", None);
        some("a b");
        maint(&pool, "a b c d");
        let mut cursor = Cursor::new(1);
        let none = ask(&pool, &who(Presented::None), &Tried::default(), &mut cursor);
        assert_eq!(none, Err(Reason::NoBackendAdmin));
    }
}

#[test]
fn who_has_failed_in_the_lower_tier_is_tried_in_the_higher() {
    let pool = tiered(BY_COOKIE);
    let mut tried = Tried::default();
    tried.add(0);
    assert_eq!(select(&pool, who(Presented::None), &tried).0, "b");
    tried.add(1);
    assert!(["c", "d"].contains(&&*select(&pool, who(Presented::None), &tried).0));
}

#[test]
fn a_visitor_of_a_lower_tier_that_is_back_goes_home_once() {
    let pool = tiered(BY_COOKIE);
    let token = token_for(&pool, "b");
    maint(&pool, "a b");
    let (up, choice) = select(&pool, who(Valid(token)), &Tried::default());
    assert!(up == "c" || up == "d");
    let Issue::Move(moved) = choice.issue else { panic!("{choice:?}") };
    assert_eq!(select(&pool, who(Valid(moved)), &Tried::default()).0, up, "it stays there");
    mark(&pool, "a b", None);
    let (id, choice) = select(&pool, who(Valid(moved)), &Tried::default());
    let home = Some(MoveCause::Home);
    assert_eq!((&*id, outcome(&choice)), ("b", (StickyToken::Valid, StickyOutcome::Moved, home)));
    let Issue::Move(back) = choice.issue else { panic!("{choice:?}") };
    let (id, choice) = select(&pool, who(Valid(back)), &Tried::default());
    assert_eq!((&*id, choice.issue), ("b", Issue::Nothing));
    // One that began in the higher tier: all its requests agree on where it goes.
    let token = token_for(&pool, "c");
    let first = select(&pool, who(Valid(token)), &Tried::default()).0;
    assert!(["a", "b"].contains(&&*first));
    assert_eq!(select(&pool, who(Valid(token)), &Tried::default()).0, first);
}

#[test]
fn with_new_sessions_or_strict_the_bound_stay_where_they_are() {
    for keys in ["failback = \"new-sessions\"", "sticky.on_down = \"strict\""] {
        let pool = tiered(&format!("{BY_COOKIE}{keys}"));
        let (id, choice) = select(&pool, who(Valid(token_for(&pool, "c"))), &Tried::default());
        assert_eq!((&*id, choice.issue), ("c", Issue::Nothing), "{keys}");
        assert_eq!(met(&pool), "a b", "{keys}");
    }
}

#[test]
fn a_tier_that_is_held_back_gets_nobody_but_those_who_are_bound_to_it() {
    let pool = tiered(&format!("{BY_COOKIE}failback = \"manual\""));
    pool.state.set_tier(1);
    assert_eq!(met(&pool), "c d");
    for id in ["a", "c"] {
        assert_eq!(select(&pool, who(Valid(token_for(&pool, id))), &Tried::default()).0, id);
    }
    // Rather one that is held back than nobody.
    maint(&pool, "c d");
    assert_eq!(met(&pool), "a b");
}

#[test]
fn who_is_known_by_a_value_goes_home_or_stays_as_well() {
    let by_value = "sticky.by = \"header:x-user\"\n";
    let pool = tiered(by_value);
    let value = 77;
    let home = select(&pool, who(Value(value)), &Tried::default()).0;
    assert!(["a", "b"].contains(&&*home));
    seen(&pool, "c", value, NOW);
    let (id, choice) = select(&pool, who(Value(value)), &Tried::default());
    assert_eq!((&id, outcome(&choice).2), (&home, Some(MoveCause::Home)));
    let pool = tiered(&format!("{by_value}failback = \"new-sessions\""));
    seen(&pool, "c", value, NOW);
    let (id, choice) = select(&pool, who(Value(value)), &Tried::default());
    assert_eq!((&*id, outcome(&choice).1), ("c", StickyOutcome::Kept));
}

fn seen(pool: &Pool, id: &str, session: u64, at: u32) {
    let seat = pool.member(id).unwrap().seat.as_ref().unwrap();
    pool.state.sessions.touch(session, seat, at);
}
