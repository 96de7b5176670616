//! Who goes where, over generations compiled from files.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use crate::backend::{DrainTerms, Verdict};
use crate::config::model::{AdminState, SecretKey};
use crate::config::{self, FixedEnvironment};
use crate::snapshot::compile::{Inputs, compile};
use crate::snapshot::registry::Registry;
use crate::tls::server::Resumption;

use super::*;
use crate::snapshot::ghost::Ghost;

mod reviewed;
mod terms;
mod tiers;

/// Generations of one process.
struct House {
    registry: Registry,
    generation: u64,
    ghosts: Vec<Ghost>,
}

impl House {
    fn new() -> Self {
        let registry = Registry::new(1, Resumption::new().unwrap());
        Self { registry, generation: 0, ghosts: Vec::new() }
    }

    /// The pool `web` with these backends, as TOML, put into force.
    fn pool(&mut self, backends: &str, more: &str) -> Arc<Pool> {
        self.pool_by(backends, &format!("sticky.by = \"cookie\"\n{more}"))
    }

    /// The same, bound as `more` says.
    fn pool_by(&mut self, backends: &str, more: &str) -> Arc<Pool> {
        let text = format!(
            "[listeners.l]\nbind = [\"127.0.0.1:0\"]\n[[routes]]\npool = \"web\"\n\
             [pools.web]\nbackends = [{backends}]\n{more}"
        );
        let path = Path::new("/x/ostler.toml");
        let loaded = config::parse(&text, path, &FixedEnvironment::default());
        let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
        let mut report = loaded.report();
        self.generation += 1;
        let made_keys = [SecretKey([7; 32])];
        let inputs = Inputs {
            model: &loaded.model,
            made_keys: &made_keys,
            generation: self.generation,
            ghosts: &self.ghosts,
            again: None,
        };
        let compiled = compile(inputs, &mut self.registry, &mut report);
        let compiled = compiled.unwrap_or_else(|| panic!("{report}"));
        self.registry.adopt(&compiled.snapshot, Instant::now());
        Arc::clone(compiled.snapshot.pool("web").unwrap())
    }
}

const NOW: u32 = 1_800_000_000;

fn backend(id: &str) -> String {
    let port = 1000 + id.bytes().map(u32::from).sum::<u32>();
    format!("{{ id = \"{id}\", address = \"10.0.0.1:{port}\" }}")
}

fn backends(ids: &[&str]) -> String {
    ids.iter().map(|id| backend(id)).collect::<Vec<_>>().join(", ")
}

fn who(presented: Presented) -> Visitor {
    Visitor {
        presented,
        join: None,
        fresh: 42,
        now: NOW,
        plain: true,
        desperate: false,
        key: None,
        spill: false,
        called: false,
        evicted: None,
    }
}

fn ask(
    pool: &Pool,
    visitor: &Visitor,
    tried: &Tried,
    cursor: &mut Cursor,
) -> Result<Selected, Reason> {
    pool.select(pool.sticky.as_deref(), visitor, tried, cursor)
}

fn select(pool: &Pool, visitor: Visitor, tried: &Tried) -> (String, Choice) {
    let mut cursor = Cursor::new(1);
    let Selected::Now(choice) = ask(pool, &visitor, tried, &mut cursor).unwrap() else {
        panic!("nobody was to wait");
    };
    (pool.members[choice.member].backend.id.to_string(), choice)
}

fn token_for(pool: &Pool, id: &str) -> Token {
    Token::begin(9, pool.hash, pool.member(id).unwrap().backend.name, NOW)
}

fn outcome(choice: &Choice) -> (StickyToken, StickyOutcome, Option<MoveCause>) {
    let told = choice.told.unwrap();
    (told.token, told.outcome, told.cause)
}

/// Another pool of the scope `site`, and how routes lead to it.
fn sibling(name: &str, ids: &[&str], routes: &str) -> String {
    format!(
        "{routes}\n[pools.{name}]\nbackends = [{}]\n\
         sticky = {{ by = \"cookie\", scope = \"site\" }}\n",
        backends(ids)
    )
}

fn of_sibling(name: &str, id: &str) -> Token {
    Token::begin(9, crate::backend::name_hash(name), crate::backend::name_hash(id), NOW)
}

#[test]
fn a_visitor_of_a_sibling_pool_finds_the_backend_of_the_same_id() {
    let mut house = House::new();
    let route = "sticky.scope = \"site\"\n[[routes]]\npath = \"/other\"\npool = \"other\"";
    let pool = house.pool(&backends(&["a", "b", "c"]), &sibling("other", &["a", "b"], route));
    let valid = |id| who(Presented::Valid(of_sibling("other", id)));
    for id in ["a", "b"] {
        let (home, choice) = select(&pool, valid(id), &Tried::default());
        assert_eq!((home.as_str(), choice.issue), (id, Issue::Nothing), "the cookie is left alone");
        assert_eq!(outcome(&choice), (StickyToken::Valid, StickyOutcome::Kept, None));
    }
    let (_, choice) = select(&pool, valid("z"), &Tried::default());
    let removed = (StickyToken::Unknown, StickyOutcome::Moved, Some(MoveCause::Removed));
    assert_eq!(outcome(&choice), removed, "no backend of that id");
    // Whoever was served by the sibling last is not moved when that is renamed.
    let route = "sticky.scope = \"site\"\n[[routes]]\npath = \"/other\"\npool = \"renamed\"";
    let pool = house.pool(&backends(&["a", "b"]), &sibling("renamed", &["a", "b"], route));
    let (home, choice) = select(&pool, valid("b"), &Tried::default());
    assert_eq!((home.as_str(), choice.issue), ("b", Issue::Nothing));
    // To look at a backend of the sibling is not to look at this one.
    let look = Token::look(1, crate::backend::name_hash("renamed"), name_of("b"), NOW, NOW + 600);
    let refused = ask(&pool, &who(Presented::Look(look)), &Tried::default(), &mut Cursor::new(1));
    assert_eq!(refused.unwrap_err(), Reason::SessionBackendDown);
}

#[test]
fn where_a_route_chooses_between_pools_each_has_its_own_visitors() {
    let mut house = House::new();
    let routes = "sticky.scope = \"site\"\n[[routes]]\npath = \"/split\"\nsticky_scope = \"site\"\n\
                  split = [{ pool = \"web\" }, { pool = \"other\" }]";
    let pool = house.pool(&backends(&["a", "b"]), &sibling("other", &["a", "b"], routes));
    let visitor = who(Presented::Valid(of_sibling("other", "a")));
    let (_, choice) = select(&pool, visitor, &Tried::default());
    let removed = (StickyToken::Unknown, StickyOutcome::Moved, Some(MoveCause::Removed));
    assert_eq!(outcome(&choice), removed);
    assert!(choice.issue.token().is_some_and(|token| token.pool == pool.hash), "once, and for all");
    let evicted = Visitor { evicted: Some(MoveCause::Down), ..visitor };
    let (_, choice) = select(&pool, evicted, &Tried::default());
    assert_eq!(outcome(&choice).2, Some(MoveCause::Down));
    // What counts is that our own cookie binds them, and that there are two to choose from.
    let one = routes.replace("{ pool = \"web\" }, ", "");
    let pool = house.pool(&backends(&["a", "b"]), &sibling("other", &["a", "b"], &one));
    let (home, choice) = select(&pool, visitor, &Tried::default());
    assert_eq!((home.as_str(), choice.issue), ("a", Issue::Nothing));
}

#[test]
fn a_request_of_a_sibling_pool_follows_its_session_off_a_draining_backend() {
    let mut house = House::new();
    let route = "sticky.scope = \"site\"\n[[routes]]\npath = \"/other\"\npool = \"other\"";
    let pool = house.pool(&backends(&["a", "b"]), &sibling("other", &["a", "b"], route));
    let state = &pool.member("a").unwrap().backend.state;
    state.set_mark(Some(AdminState::Drain), None);
    state.drain.set(Some(DrainTerms { quiet: Some(60), ..terms::TERMS }));
    let old = Token { last_seen: NOW - 300, ..of_sibling("other", "a") };
    let (home, choice) = select(&pool, who(Presented::Valid(old)), &Tried::default());
    assert_eq!((home.as_str(), outcome(&choice).2), ("b", Some(MoveCause::Quiet)));
    let seat = pool.member("b").unwrap().seat.as_deref().unwrap();
    pool.state.sessions.note(old.session, seat, NOW);
    let (home, _) = select(&pool, who(Presented::Valid(old)), &Tried::default());
    assert_eq!(home, "b", "its other request, with the old cookie");
}

#[test]
fn what_a_sibling_has_decided_is_not_undone() {
    let mut house = House::new();
    let keys = "sticky.scope = \"site\"\nsticky.on_down = \"return_home\"\n\
                sticky.home_stable = \"1s\"\nsticky.rebalance = { idle = \"1m\" }\n\
                [[routes]]\npath = \"/other\"\npool = \"other\"";
    let pool = house.pool(&backends(&["a", "b"]), &sibling("other", &["a", "b"], keys));
    // This pool has seen the session at its home, where a tunnel is, say.
    let moved = Token { last_seen: NOW - 60, ..of_sibling("other", "a") };
    let moved = moved.moved(moved.pool, name_of("b"), NOW - 60);
    let seat = pool.member("a").unwrap().seat.as_deref().unwrap();
    pool.state.sessions.note(moved.session, seat, NOW);
    let (home, choice) = select(&pool, who(Presented::Valid(moved)), &Tried::default());
    assert_eq!((home.as_str(), outcome(&choice).1), ("b", StickyOutcome::Kept));
    let own = Token { pool: pool.hash, ..moved };
    let (home, _) = select(&pool, who(Presented::Valid(own)), &Tried::default());
    assert_eq!(home, "a", "a token of its own follows the session");
}

#[test]
fn a_visitor_without_a_token_is_bound_by_what_answers() {
    let pool = House::new().pool(&backends(&["a", "b"]), "");
    let (id, choice) = select(&pool, who(Presented::None), &Tried::default());
    let Issue::Bind(token) = choice.issue else { panic!("{choice:?}") };
    assert_eq!(token.session, 42);
    assert_eq!(token.backend, pool.member(&id).unwrap().backend.name);
    assert_eq!(outcome(&choice), (StickyToken::None, StickyOutcome::Bound, None));
}

#[test]
fn a_bound_visitor_stays_while_its_backend_drains_and_is_moved_once_by_maint() {
    let mut house = House::new();
    let pool = house.pool(&backends(&["a", "b", "c"]), "");
    let token = token_for(&pool, "b");
    let (id, choice) = select(&pool, who(Presented::Valid(token)), &Tried::default());
    assert_eq!((id.as_str(), choice.issue), ("b", Issue::Nothing));
    let state = Arc::clone(&pool.member("b").unwrap().backend.state);
    state.set_mark(Some(AdminState::Drain), None);
    let (id, choice) = select(&pool, who(Presented::Valid(token)), &Tried::default());
    assert_eq!(id, "b");
    assert_eq!(outcome(&choice), (StickyToken::Draining, StickyOutcome::Kept, None));
    for fresh in 0..50 {
        let visitor = Visitor { fresh, ..who(Presented::None) };
        assert_ne!(select(&pool, visitor, &Tried::default()).0, "b", "nobody new");
    }
    state.set_mark(Some(AdminState::Maint), None);
    let (first, choice) = select(&pool, who(Presented::Valid(token)), &Tried::default());
    assert_ne!(first, "b");
    let maint = Some(MoveCause::Maint);
    assert_eq!(outcome(&choice), (StickyToken::Down, StickyOutcome::Moved, maint));
    let Issue::Move(moved) = choice.issue else { panic!("{choice:?}") };
    assert_eq!(moved.session, token.session, "the session keeps its id");
    let again = select(&pool, who(Presented::Valid(token)), &Tried::default()).0;
    assert_eq!(again, first, "parallel requests agree");
    let (id, choice) = select(&pool, who(Presented::Valid(moved)), &Tried::default());
    assert_eq!((id, choice.issue), (first, Issue::Nothing), "once");
}

#[test]
fn a_checked_backend_takes_nobody_before_its_first_pass() {
    let pool = House::new().pool(&backends(&["a"]), "health.tcp = true");
    let mut cursor = Cursor::new(1);
    let visitor = who(Presented::None);
    let result = ask(&pool, &visitor, &Tried::default(), &mut cursor);
    assert_eq!(result.unwrap_err(), Reason::NoBackendUnchecked);
    pool.members[0].backend.state.set_verdict(Verdict::Down);
    let result = ask(&pool, &visitor, &Tried::default(), &mut cursor);
    assert_eq!(result.unwrap_err(), Reason::NoBackendDown);
    pool.members[0].backend.state.set_verdict(Verdict::Up);
    assert!(ask(&pool, &visitor, &Tried::default(), &mut cursor).is_ok());
}

#[test]
fn a_failed_attempt_moves_the_bound_and_the_new_alike() {
    let pool = House::new().pool(&backends(&["a", "b", "c"]), "");
    let mut tried = Tried::default();
    tried.add(0);
    let token = token_for(&pool, "a");
    let (first, choice) = select(&pool, who(Presented::Valid(token)), &tried);
    assert_ne!(first, "a");
    assert_eq!(choice.told.unwrap().cause, Some(MoveCause::Down));
    let visitor = Visitor { fresh: token.session, ..who(Presented::None) };
    assert_eq!(select(&pool, visitor, &tried).0, first, "by rendezvous of the session");
}

#[test]
fn a_sibling_joins_the_session_that_begins() {
    let pool = House::new().pool(&backends(&["a", "b", "c"]), "");
    let token = token_for(&pool, "c");
    let visitor = Visitor { join: Some(token), ..who(Presented::None) };
    let (id, choice) = select(&pool, visitor, &Tried::default());
    assert_eq!((id.as_str(), choice.issue), ("c", Issue::Bind(token)));
}

#[test]
fn a_renamed_backend_keeps_its_visitors_and_gives_them_its_new_name() {
    let mut house = House::new();
    let old = house.pool(&backends(&["a", "b"]), "");
    let token = token_for(&old, "b");
    let renamed = backend("b").replace("\"b\"", "\"blue\"");
    let new = house.pool(&format!("{}, {renamed}", backend("a")), "");
    let (id, choice) = select(&new, who(Presented::Valid(token)), &Tried::default());
    assert_eq!(id, "blue");
    let Issue::Refresh(token) = choice.issue else { panic!("{choice:?}") };
    assert_eq!(token.backend, name_of("blue"));
    let slot = |pool: &Pool, id: &str| pool.member(id).unwrap().slot;
    assert_eq!(slot(&old, "b"), slot(&new, "blue"), "its connections stay too");
}

#[test]
fn another_address_is_another_backend_that_nothing_is_known_of() {
    let mut house = House::new();
    let old = house.pool(&backend("a"), "health.tcp = true");
    old.members[0].backend.state.set_verdict(Verdict::Up);
    let same = house.pool(&backend("a"), "health.tcp = true\npolicy = \"random\"");
    assert_eq!(same.members[0].backend.state.verdict(), Verdict::Up, "kept across reloads");
    let moved = backend("a").replace("10.0.0.1", "10.0.0.2");
    let new = house.pool(&moved, "health.tcp = true");
    assert_eq!(new.members[0].backend.state.verdict(), Verdict::Unchecked);
    assert_ne!(new.members[0].slot, old.members[0].slot, "old connections are not used for it");
}

fn name_of(id: &str) -> u64 {
    crate::backend::name_hash(id)
}

proptest! {
    #[test]
    fn no_change_of_other_backends_moves_anybody(
        changes in proptest::collection::vec(
            (proptest::sample::subsequence(vec!["a", "c", "d", "e"], 0..4), any::<bool>(), 0u32..9),
            1..6,
        ),
    ) {
        let mut house = House::new();
        let token = token_for(&house.pool(&backends(&["a", "b", "c"]), ""), "b");
        for (others, first, weight) in changes {
            let mut list: Vec<String> = others
                .iter()
                .map(|id| backend(id).replace(" }", &format!(", weight = {weight} }}")))
                .collect();
            list.insert(if first { 0 } else { list.len() }, backend("b"));
            let pool = house.pool(&list.join(", "), "");
            let (id, choice) = select(&pool, who(Presented::Valid(token)), &Tried::default());
            prop_assert_eq!((id.as_str(), choice.issue), ("b", Issue::Nothing));
        }
    }
}
