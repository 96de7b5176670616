//! What a review has found: each was wrong once.

use super::*;
use crate::backend::DrainTerms;

fn asked(pool: &Pool, visitor: &Visitor) -> Result<Selected, Reason> {
    ask(pool, visitor, &Tried::default(), &mut Cursor::new(1))
}

fn chosen(pool: &Pool, visitor: Visitor) -> (String, Choice) {
    select(pool, visitor, &Tried::default())
}

fn seen(pool: &Pool, id: &str, session: u64, at: u32) {
    let seat = pool.member(id).unwrap().seat.as_ref().unwrap();
    pool.state.sessions.touch(session, seat, at);
}

fn limited(by: &str) -> Arc<Pool> {
    let list = backends(&["a", "b"]).replace(" }", ", max_requests = 1 }");
    House::new().pool_by(&list, by)
}

#[test]
fn an_unknown_learned_value_waits_for_a_full_backend_and_does_not_ask_for_ever() {
    let pool = limited("sticky.by = \"learn:cookie:JSESSIONID\"");
    let visitor = who(Presented::Value(7));
    let owner = chosen(&pool, visitor).1.member;
    let _place = pool.members[owner].backend.state.begin(1).unwrap();
    assert_eq!(asked(&pool, &visitor), Ok(Selected::Wait(Some(owner))));
}

#[test]
fn a_ghost_that_was_marked_ready_in_its_time_takes_nobody_new() {
    let mut house = House::new();
    let old = house.pool(&backends(&["a", "b"]), "");
    let address = old.member("b").unwrap().backend.address.clone();
    old.member("b").unwrap().backend.state.set_mark(Some(AdminState::Up), None);
    let until = NOW + 600;
    house.ghosts.push(Ghost {
        pool: "web".into(),
        id: "b".into(),
        address,
        max_requests: 0,
        until,
    });
    let pool = house.pool(&backends(&["a"]), "");
    assert_eq!(pool.usable(), 1);
    for fresh in 0..30 {
        assert_eq!(chosen(&pool, Visitor { fresh, ..who(Presented::None) }).0, "a");
    }
    assert_eq!(chosen(&pool, who(Presented::Valid(token_for(&pool, "b")))).0, "b");
}

#[test]
fn the_second_request_with_the_old_cookie_follows_the_first_that_was_moved_for_quiet() {
    let pool = House::new().pool(&backends(&["a", "b"]), "");
    let token = Token { last_seen: NOW - 50, ..token_for(&pool, "b") };
    let state = &pool.member("b").unwrap().backend.state;
    state.set_mark(Some(AdminState::Drain), None);
    state.drain.set(Some(DrainTerms {
        since: NOW - 60,
        deadline: None,
        quiet: Some(20),
        cut: false,
        close_tunnels: false,
        spread: 0,
    }));
    seen(&pool, "b", token.session, NOW - 40);
    let (id, choice) = chosen(&pool, who(Presented::Valid(token)));
    assert_eq!((id.as_str(), choice.sent_off), ("a", Some(1)));
    seen(&pool, "a", token.session, NOW);
    let (id, choice) = chosen(&pool, who(Presented::Valid(token)));
    assert_eq!((id.as_str(), choice.sent_off), ("a", None), "and is counted once");
}

#[test]
fn who_was_placed_by_us_is_at_home_there_and_who_was_driven_off_keeps_its_home() {
    let pool = House::new().pool(&backends(&["a", "b"]), "sticky.on_down = \"return_home\"");
    let token = token_for(&pool, "b");
    let moved_by = |choice: Choice| {
        let Issue::Move(token) = choice.issue else { panic!("{choice:?}") };
        token
    };
    let state = &pool.member("b").unwrap().backend.state;
    state.set_mark(Some(AdminState::Maint), None);
    let driven_off = moved_by(chosen(&pool, who(Presented::Valid(token))).1);
    assert_eq!(driven_off.home, token.home);
    state.set_mark(Some(AdminState::Drain), None);
    state.drain.set(Some(DrainTerms {
        since: NOW - 60,
        deadline: Some(NOW),
        quiet: None,
        cut: false,
        close_tunnels: false,
        spread: 0,
    }));
    let placed = moved_by(chosen(&pool, who(Presented::Valid(token))).1);
    assert_eq!(placed.home, name_of("a"));
}

#[test]
fn small_differences_are_never_evened_out() {
    let more = "sticky.rebalance = { idle = \"1m\", percent = 50, per = \"1m\" }";
    for sessions in 1..4 {
        let pool = House::new().pool(&backends(&["a", "b"]), more);
        pool.state.allow_moves(9);
        (0..sessions).for_each(|number| seen(&pool, "a", 100 + number, NOW - 90));
        (1..sessions).for_each(|number| seen(&pool, "b", 200 + number, NOW - 90));
        let token = Token { session: 100, last_seen: NOW - 90, ..token_for(&pool, "a") };
        assert_eq!(chosen(&pool, who(Presented::Valid(token))).0, "a", "{sessions}");
    }
}

#[test]
fn a_hashed_value_spills_or_is_refused_where_its_backend_is_full() {
    let known = |pool: &Pool| {
        let visitor = who(Presented::Value(7));
        let (id, choice) = chosen(pool, visitor);
        seen(pool, &id, 7, NOW);
        (visitor, choice.member)
    };
    let pool = limited("sticky.by = \"header:x-user\"\nsticky.on_full = \"spill\"");
    let (visitor, owner) = known(&pool);
    let _place = pool.members[owner].backend.state.begin(1).unwrap();
    let (_, choice) = chosen(&pool, visitor);
    assert_ne!(choice.member, owner);
    assert_eq!(outcome(&choice).1, StickyOutcome::Spilled);
    assert_eq!(choice.seen.unwrap().member, owner, "it counts where it belongs");
    let pool = limited("sticky.by = \"header:x-user\"\nsticky.on_full = \"reject\"");
    let (visitor, owner) = known(&pool);
    let _place = pool.members[owner].backend.state.begin(1).unwrap();
    assert_eq!(asked(&pool, &visitor), Err(Reason::SessionBackendFull));
    let pool = limited("sticky.by = \"header:x-user\"");
    let (visitor, owner) = known(&pool);
    let _place = pool.members[owner].backend.state.begin(1).unwrap();
    assert_eq!(asked(&pool, &visitor), Ok(Selected::Wait(Some(owner))));
    let spill = Visitor { spill: true, ..visitor };
    assert_eq!(outcome(&chosen(&pool, spill).1).1, StickyOutcome::Spilled);
}

#[test]
fn the_limit_of_sessions_holds_for_the_new_after_a_failed_attempt_too() {
    let pool = House::new().pool(&backends(&["a", "b"]), "sticky.max_sessions = 2");
    (0..2).for_each(|session| seen(&pool, "b", 100 + session, NOW));
    let mut tried = Tried::default();
    tried.add(0);
    let refused = ask(&pool, &who(Presented::None), &tried, &mut Cursor::new(1));
    assert_eq!(refused.unwrap_err(), Reason::PoolFull);
    let bound = who(Presented::Valid(token_for(&pool, "a")));
    assert!(ask(&pool, &bound, &tried, &mut Cursor::new(1)).is_ok());
}

#[test]
fn a_spill_on_the_way_off_a_draining_backend_counts_where_the_cookie_says() {
    let list = backends(&["a", "b", "c"]).replace(" }", ", max_requests = 1 }");
    let pool = House::new().pool(&list, "sticky.on_full = \"spill\"");
    let token = token_for(&pool, "b");
    let state = &pool.member("b").unwrap().backend.state;
    state.set_mark(Some(AdminState::Drain), None);
    state.drain.set(Some(DrainTerms {
        since: NOW - 60,
        deadline: Some(NOW),
        quiet: None,
        cut: false,
        close_tunnels: false,
        spread: 0,
    }));
    let target = chosen(&pool, who(Presented::Valid(token))).1.member;
    let _place = pool.members[target].backend.state.begin(1).unwrap();
    let (_, choice) = chosen(&pool, who(Presented::Valid(token)));
    assert_eq!(outcome(&choice).1, StickyOutcome::Spilled);
    assert_eq!((choice.seen.unwrap().member, choice.sent_off), (1, None));
}

#[test]
fn a_backend_that_takes_over_a_former_name_has_a_seat_of_its_own() {
    let mut house = House::new();
    let old = house.pool(&backends(&["a", "b"]), "");
    seen(&old, "b", 9, NOW);
    let renamed = backend("b").replace("\"b\"", "\"blue\"");
    let next = house.pool(&format!("{}, {renamed}", backend("a")), "");
    let seat = |pool: &Pool, id: &str| Arc::clone(pool.member(id).unwrap().seat.as_ref().unwrap());
    let blue = seat(&next, "blue");
    assert!(Arc::ptr_eq(&seat(&old, "b"), &blue));
    next.state.sessions.rename(blue.backend(), name_of("blue"));
    let newcomer = "{ id = \"b\", address = \"10.0.0.9:80\" }";
    let list = format!("{}, {renamed}, {newcomer}", backend("a"));
    for _ in 0..2 {
        let pool = house.pool(&list, "");
        assert!(Arc::ptr_eq(&seat(&pool, "blue"), &blue));
        assert!(!Arc::ptr_eq(&seat(&pool, "b"), &blue));
    }
}
