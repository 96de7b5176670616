//! Terms under which the bound stay or go: drains, limits, homes, values.

use std::time::Duration;

use super::*;
use crate::backend::{DrainTerms, InFlight};

fn sticky(more: &str) -> String {
    format!("sticky.idle = \"10m\"\n{more}")
}

fn pool(ids: &[&str], more: &str) -> Arc<Pool> {
    House::new().pool(&backends(ids), &sticky(more))
}

fn bound(token: Token) -> Visitor {
    who(Presented::Valid(token))
}

fn asked(pool: &Pool, visitor: &Visitor) -> Result<Selected, Reason> {
    ask(pool, visitor, &Tried::default(), &mut Cursor::new(1))
}

fn chosen(pool: &Pool, visitor: Visitor) -> (String, Choice) {
    select(pool, visitor, &Tried::default())
}

fn drain(pool: &Pool, id: &str, terms: DrainTerms) {
    let state = &pool.member(id).unwrap().backend.state;
    state.set_mark(Some(AdminState::Drain), None);
    state.drain.set(Some(terms));
}

pub(super) const TERMS: DrainTerms = DrainTerms {
    since: NOW - 60,
    deadline: None,
    quiet: None,
    cut: false,
    close_tunnels: false,
    spread: 0,
};

fn seen(pool: &Pool, id: &str, session: u64, at: u32) {
    let seat = pool.member(id).unwrap().seat.as_ref().unwrap();
    pool.state.sessions.touch(session, seat, at);
}

#[test]
fn the_deadline_of_a_drain_moves_who_is_left_and_says_from_where() {
    let pool = pool(&["a", "b", "c"], "");
    let token = token_for(&pool, "b");
    drain(&pool, "b", DrainTerms { deadline: Some(NOW + 1), ..TERMS });
    let (id, choice) = chosen(&pool, bound(token));
    assert_eq!((id.as_str(), choice.sent_off), ("b", None));
    drain(&pool, "b", DrainTerms { deadline: Some(NOW), ..TERMS });
    let (id, choice) = chosen(&pool, bound(token));
    assert_ne!(id, "b");
    assert_eq!(choice.sent_off, Some(1));
    let deadline = Some(MoveCause::Deadline);
    assert_eq!(outcome(&choice), (StickyToken::Draining, StickyOutcome::Moved, deadline));
}

#[test]
fn a_drain_without_anybody_else_keeps_its_visitors_beyond_the_deadline() {
    let pool = pool(&["a"], "");
    drain(&pool, "a", DrainTerms { deadline: Some(NOW - 1), ..TERMS });
    assert_eq!(chosen(&pool, bound(token_for(&pool, "a"))).0, "a");
}

#[test]
fn who_was_quiet_is_moved_by_what_the_table_knows_and_not_by_an_old_cookie() {
    let pool = pool(&["a", "b"], "");
    let token = Token { last_seen: NOW - 50, ..token_for(&pool, "b") };
    drain(&pool, "b", DrainTerms { quiet: Some(20), ..TERMS });
    seen(&pool, "b", token.session, NOW - 19);
    assert_eq!(chosen(&pool, bound(token)).0, "b", "its cookie is only written now and then");
    let quiet = Token { session: 10, ..token };
    seen(&pool, "b", quiet.session, NOW - 20);
    let (id, choice) = chosen(&pool, bound(quiet));
    assert_eq!((id.as_str(), choice.told.unwrap().cause), ("a", Some(MoveCause::Quiet)));
}

#[test]
fn a_strict_pool_refuses_rather_than_moves_who_is_bound_to_a_dead_backend() {
    let pool = pool(&["a", "b"], "sticky.on_down = \"strict\"\nhealth.tcp = true");
    let verdict = |id: &str, verdict| pool.member(id).unwrap().backend.state.set_verdict(verdict);
    verdict("a", Verdict::Up);
    verdict("b", Verdict::Down);
    let refused = asked(&pool, &bound(token_for(&pool, "b")));
    assert_eq!(refused.unwrap_err(), Reason::SessionBackendDown);
    assert_eq!(chosen(&pool, who(Presented::None)).0, "a");
    let mut tried = Tried::default();
    tried.add(0);
    let visitor = bound(token_for(&pool, "a"));
    let refused = ask(&pool, &visitor, &tried, &mut Cursor::new(1));
    assert_eq!(refused.unwrap_err(), Reason::SessionBackendDown);
}

#[test]
fn a_visitor_returns_home_when_home_has_been_well_for_long_enough() {
    let more = "sticky.on_down = \"return_home\"\nsticky.home_stable = \"1m\"";
    let pool = pool(&["a", "b"], more);
    let token = token_for(&pool, "b").moved(pool.hash, name_of("a"), NOW);
    let home = &pool.member("b").unwrap().backend.state;
    home.came_up(NOW - 59);
    assert_eq!(chosen(&pool, bound(token)).0, "a");
    home.came_up(NOW - 60);
    let (id, choice) = chosen(&pool, bound(token));
    assert_eq!((id.as_str(), choice.told.unwrap().cause), ("b", Some(MoveCause::Home)));
    home.connect_failed(NOW - 1);
    assert_eq!(chosen(&pool, bound(token)).0, "a");
}

/// Two backends that take one request at once, and the places that are taken.
fn full(more: &str, places: &[&str]) -> (Arc<Pool>, Vec<InFlight>) {
    let list = backends(&["a", "b"]).replace(" }", ", max_requests = 1 }");
    let pool = House::new().pool(&list, &sticky(more));
    let take = |id: &&str| pool.member(id).unwrap().backend.state.begin(1).unwrap();
    let taken = places.iter().map(take).collect();
    (pool, taken)
}

#[test]
fn a_full_backend_is_waited_for_spilled_left_or_refused_as_the_pool_says() {
    let ask_b = |more: &str, places: &[&str], spill: bool| {
        let (pool, _taken) = full(more, places);
        let visitor = Visitor { spill, ..bound(token_for(&pool, "b")) };
        asked(&pool, &visitor)
    };
    let by = |selected: Result<Selected, Reason>| match selected.unwrap() {
        Selected::Now(choice) => (choice.member, choice.told.unwrap().outcome),
        Selected::Wait(at) => panic!("waits at {at:?}"),
    };
    let on_full = |word: &str| format!("sticky.on_full = \"{word}\"");
    assert_eq!(ask_b("", &["b"], false), Ok(Selected::Wait(Some(1))));
    assert_eq!(by(ask_b("", &["b"], true)), (0, StickyOutcome::Spilled));
    assert_eq!(ask_b("", &["a", "b"], true), Err(Reason::QueueTimeout));
    assert_eq!(by(ask_b(&on_full("spill"), &["b"], false)), (0, StickyOutcome::Spilled));
    assert_eq!(ask_b(&on_full("spill"), &["a", "b"], false), Ok(Selected::Wait(None)));
    assert_eq!(by(ask_b(&on_full("rebind"), &["b"], false)), (0, StickyOutcome::Moved));
    assert_eq!(ask_b(&on_full("reject"), &["b"], false), Err(Reason::SessionBackendFull));
}

#[test]
fn the_new_go_where_there_is_room_and_wait_behind_those_who_wait() {
    let (pool, taken) = full("", &["b"]);
    assert_eq!(chosen(&pool, who(Presented::None)).0, "a");
    let other = pool.member("a").unwrap().backend.state.begin(1).unwrap();
    assert_eq!(asked(&pool, &who(Presented::None)), Ok(Selected::Wait(None)));
    let ticket = pool.state.queue.join(None, 9).unwrap();
    drop((taken, other));
    assert_eq!(asked(&pool, &who(Presented::None)), Ok(Selected::Wait(None)));
    let called = Visitor { called: true, ..who(Presented::None) };
    assert!(matches!(asked(&pool, &called), Ok(Selected::Now(_))));
    drop(ticket);
    assert!(matches!(asked(&pool, &who(Presented::None)), Ok(Selected::Now(_))));
}

#[test]
fn a_spilled_visitor_counts_where_it_is_bound() {
    let (pool, _taken) = full("sticky.on_full = \"spill\"", &["b"]);
    let (_, choice) = chosen(&pool, bound(token_for(&pool, "b")));
    assert_eq!((choice.member, choice.seen.unwrap().member), (0, 1));
    assert_eq!(choice.issue, Issue::Nothing);
}

#[test]
fn a_crowded_backend_takes_nobody_new_and_serves_who_is_bound() {
    let pool = pool(&["a", "b"], "sticky.max_sessions = 4");
    (0..4).for_each(|session| seen(&pool, "a", 100 + session, NOW));
    for fresh in 0..20 {
        assert_eq!(chosen(&pool, Visitor { fresh, ..who(Presented::None) }).0, "b");
    }
    assert_eq!(chosen(&pool, bound(token_for(&pool, "a"))).0, "a");
    (0..4).for_each(|session| seen(&pool, "b", 200 + session, NOW));
    assert_eq!(asked(&pool, &who(Presented::None)), Err(Reason::PoolFull));
    let token = Token { backend: 77, ..token_for(&pool, "a") };
    assert!(asked(&pool, &bound(token)).is_ok(), "who loses its backend is served all the same");
}

#[test]
fn idle_sessions_move_from_above_to_below_the_share_as_fast_as_allowed() {
    let more = "sticky.rebalance = { idle = \"1m\", percent = 50, per = \"1m\" }";
    let pool = pool(&["a", "b"], more);
    (0..9).for_each(|session| seen(&pool, "a", 100 + session, NOW - 90));
    let token = Token { session: 100, ..token_for(&pool, "a") };
    let token = Token { last_seen: NOW - 90, ..token };
    assert_eq!(chosen(&pool, bound(token)).0, "a", "nothing is allowed yet");
    pool.state.allow_moves(1);
    let post = Visitor { plain: false, ..bound(token) };
    assert_eq!(chosen(&pool, post).0, "a", "never with a body");
    seen(&pool, "a", 101, NOW);
    let active = Token { session: 101, ..token };
    assert_eq!(chosen(&pool, bound(active)).0, "a", "never who is active");
    let (id, choice) = chosen(&pool, bound(token));
    assert_eq!((id.as_str(), choice.told.unwrap().cause), ("b", Some(MoveCause::Rebalance)));
    assert!(choice.evens_out && pool.state.take_move());
    let other = Token { session: 102, ..token };
    assert_eq!(chosen(&pool, bound(other)).0, "a", "one was allowed");
}

/// Or its exchange would ask for a move that nobody may make any more, again and again.
#[test]
fn a_request_that_follows_its_session_takes_no_move() {
    let pool =
        pool(&["a", "b"], "sticky.rebalance = { idle = \"1m\", percent = 50, per = \"1m\" }");
    seen(&pool, "b", 100, NOW);
    let old = Token { session: 100, last_seen: NOW - 90, ..token_for(&pool, "a") };
    let (id, choice) = chosen(&pool, bound(old));
    assert_eq!((id.as_str(), choice.told.unwrap().cause), ("b", Some(MoveCause::Rebalance)));
    assert!(!choice.evens_out);
}

#[test]
fn a_request_that_follows_its_session_to_a_full_backend_waits_for_its_turn() {
    let more = "sticky.rebalance = { idle = \"1m\", percent = 50, per = \"1m\" }";
    let (pool, _taken) = full(more, &["b"]);
    seen(&pool, "b", 100, NOW);
    let old = Token { session: 100, last_seen: NOW - 90, ..token_for(&pool, "a") };
    assert_eq!(asked(&pool, &bound(old)).unwrap(), Selected::Wait(Some(1)));
    let tired = Visitor { spill: true, ..bound(old) };
    let Selected::Now(choice) = asked(&pool, &tired).unwrap() else { panic!("it spills") };
    assert_eq!((choice.member, choice.issue), (0, Issue::Nothing));
    assert_eq!(choice.seen.unwrap().member, 1, "it is at home where it has gone");
}

#[test]
fn a_look_reaches_its_backend_in_any_state_and_never_another_one() {
    let pool = pool(&["a", "b"], "");
    let look = Token::look(1, pool.hash, name_of("b"), NOW, NOW + 600);
    pool.member("b").unwrap().backend.state.set_mark(Some(AdminState::Maint), None);
    let (id, choice) = chosen(&pool, who(Presented::Look(look)));
    assert_eq!((id.as_str(), choice.issue, choice.seen), ("b", Issue::Nothing, None));
    let mut tried = Tried::default();
    tried.add(1);
    let visitor = who(Presented::Look(look));
    let refused = ask(&pool, &visitor, &tried, &mut Cursor::new(1));
    assert_eq!(refused.unwrap_err(), Reason::SessionBackendDown);
}

#[test]
fn an_old_cookie_is_good_while_the_table_has_seen_its_session() {
    let pool = pool(&["a", "b"], "sticky.lifetime = \"1h\"");
    let old = Token { last_seen: NOW - 3000, first_seen: NOW - 3000, ..token_for(&pool, "b") };
    let expired = who(Presented::Expired(old));
    assert_eq!(outcome(&chosen(&pool, expired).1).0, StickyToken::Expired);
    seen(&pool, "b", old.session, NOW - 5);
    let (id, choice) = chosen(&pool, expired);
    assert_eq!((id.as_str(), outcome(&choice).0), ("b", StickyToken::Valid));
    let outlived = Token { first_seen: NOW - 7200, ..old };
    let choice = chosen(&pool, who(Presented::Expired(outlived))).1;
    assert_eq!(outcome(&choice).0, StickyToken::Expired);
}

/// Pools whose visitors bring a header.
fn hashed(ids: &[&str]) -> Arc<Pool> {
    let text = "sticky.by = \"header:x-user\"\n";
    House::new().pool_by(&backends(ids), text)
}

#[test]
fn a_value_goes_to_one_backend_whatever_happens_to_the_others() {
    let all = hashed(&["a", "b", "c"]);
    for value in 1..200 {
        let visitor = who(Presented::Value(value));
        let (id, choice) = chosen(&all, visitor);
        assert_eq!(outcome(&choice), (StickyToken::None, StickyOutcome::Bound, None));
        let without: Vec<&str> =
            ["a", "b", "c"].into_iter().filter(|other| *other != "a" || id == "a").collect();
        assert_eq!(chosen(&hashed(&without), visitor).0, id);
        let (member, session) = (choice.member, choice.seen.unwrap().session);
        seen(&all, &id, session, NOW);
        assert_eq!(chosen(&all, visitor).1.member, member);
        assert_eq!(outcome(&chosen(&all, visitor).1).1, StickyOutcome::Kept);
    }
}

#[test]
fn values_that_a_draining_backend_knows_stay_and_new_ones_go_elsewhere() {
    let pool = hashed(&["a", "b"]);
    let of_b: Vec<u64> =
        (0..100).filter(|value| chosen(&pool, who(Presented::Value(*value))).0 == "b").collect();
    let (known, new) = of_b.split_at(of_b.len() / 2);
    for value in known {
        seen(&pool, "b", *value, NOW);
    }
    drain(&pool, "b", TERMS);
    for value in known {
        let (id, choice) = chosen(&pool, who(Presented::Value(*value)));
        assert_eq!((id.as_str(), outcome(&choice).0), ("b", StickyToken::Draining));
    }
    for value in new {
        assert_eq!(chosen(&pool, who(Presented::Value(*value))).0, "a");
    }
    drain(&pool, "b", DrainTerms { deadline: Some(NOW), ..TERMS });
    let (id, choice) = chosen(&pool, who(Presented::Value(known[0])));
    assert_eq!((id.as_str(), choice.told.unwrap().cause), ("a", Some(MoveCause::Deadline)));
}

#[test]
fn a_learned_value_goes_home_and_an_unknown_one_always_to_the_same() {
    let text = "sticky.by = \"learn:cookie:JSESSIONID\"\n";
    let pool = House::new().pool_by(&backends(&["a", "b", "c"]), text);
    let seat = pool.member("c").unwrap().seat.clone().unwrap();
    assert!(pool.state.sessions.note(5, &seat, NOW));
    let (id, choice) = chosen(&pool, who(Presented::Value(5)));
    assert_eq!((id.as_str(), outcome(&choice).1), ("c", StickyOutcome::Kept));
    let unknown = who(Presented::Value(6));
    let first = chosen(&pool, unknown).0;
    assert!((0..20).all(|_| chosen(&pool, unknown).0 == first));
    pool.member("c").unwrap().backend.state.set_mark(Some(AdminState::Maint), None);
    let (id, choice) = chosen(&pool, who(Presented::Value(5)));
    assert_ne!(id, "c");
    assert_eq!(choice.told.unwrap().cause, Some(MoveCause::Maint));
    assert_eq!(choice.seen.unwrap().member, choice.member, "it is remembered there");
}

#[test]
fn a_ghost_serves_who_is_bound_until_it_ends() {
    let mut house = House::new();
    let old = house.pool(&backends(&["a", "b"]), &sticky(""));
    let token = token_for(&old, "b");
    let address = old.member("b").unwrap().backend.address.clone();
    let ghost =
        Ghost { pool: "web".into(), id: "b".into(), address, max_requests: 0, until: NOW + 600 };
    house.ghosts.push(ghost);
    let pool = house.pool(&backends(&["a"]), &sticky(""));
    let (id, choice) = chosen(&pool, bound(token));
    assert_eq!((id.as_str(), outcome(&choice).0), ("b", StickyToken::Draining));
    let same = |pool: &Pool| Arc::clone(&pool.member("b").unwrap().backend.state);
    assert!(Arc::ptr_eq(&same(&old), &same(&pool)));
    assert!(
        (0..20).all(|fresh| { chosen(&pool, Visitor { fresh, ..who(Presented::None) }).0 == "a" })
    );
    same(&pool).end();
    let (id, choice) = chosen(&pool, bound(token));
    assert_eq!((id.as_str(), choice.told.unwrap().cause), ("a", Some(MoveCause::Removed)));
    let back = house.pool(&backends(&["a", "b"]), &sticky(""));
    assert!(!back.member("b").unwrap().backend.ghost, "what is in the file is no ghost");
}

#[test]
fn waits_are_limited_by_the_pool() {
    let (pool, _taken) = full("queue = { size = 3, timeout = \"2s\" }", &[]);
    assert_eq!((pool.queue.size, pool.queue.timeout), (3, Duration::from_secs(2)));
    assert!(pool.limited);
}
