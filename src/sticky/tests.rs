//! Tests of reading, judging and writing a session.

use proptest::prelude::*;

use super::*;
use crate::config::model::{By, Located, OnDown, OnFull, OnRemove, SameSite, SecretKey};

fn model() -> Sticky {
    Sticky {
        by: By::Cookie,
        scope: Located::nowhere(Arc::from("shop")),
        cookie_https: Arc::from("__Host-ostler-shop"),
        cookie_http: Arc::from("ostler-shop"),
        path: "/".to_owned(),
        domain: None,
        same_site: None,
        secure: None,
        http_only: true,
        partitioned: false,
        max_age: None,
        idle: Duration::from_mins(30),
        lifetime: None,
        on_cacheable: OnCacheable::Skip,
        pass: false,
        keys: None,
        on_down: OnDown::Rebind,
        home_stable: Duration::from_mins(1),
        on_full: OnFull::Wait,
        on_remove: OnRemove::Move,
        max_sessions: 0,
        rebalance: None,
    }
}

fn ring(key: u8) -> Arc<KeyRing> {
    Arc::new(KeyRing::new(&[SecretKey([key; 32])]).unwrap())
}

fn sticky(model: &Sticky) -> Stickiness {
    Stickiness::new(model, ring(1), Shared::Not)
}

const NOW: u32 = 1_800_000_000;

fn token(session: u64) -> Token {
    Token::begin(session, 2, 3, NOW)
}

/// `NAME=VALUE` of a token as a client would send it back.
fn pair(sticky: &Stickiness, token: &Token, https: bool) -> String {
    let set = String::from_utf8(sticky.set_cookie(token, https, [9; 12])).unwrap();
    set.split(';').next().unwrap().to_owned()
}

fn read(sticky: &Stickiness, cookies: &str, https: bool, now: u32) -> Presented {
    sticky.read([cookies.as_bytes()], https, now, &mut Memo::default())
}

fn attributes(model: &Sticky, https: bool) -> String {
    let set = String::from_utf8(sticky(model).set_cookie(&token(1), https, [9; 12])).unwrap();
    let (name, rest) = set.split_once('=').unwrap();
    let (_, attributes) = rest.split_once(';').unwrap();
    format!("{name};{attributes}")
}

#[test]
fn attributes_go_by_the_clients_scheme() {
    let secure = "__Host-ostler-shop; Path=/; HttpOnly; Secure; SameSite=None";
    assert_eq!(attributes(&model(), true), secure);
    assert_eq!(attributes(&model(), false), "ostler-shop; Path=/; HttpOnly; SameSite=Lax");
}

#[test]
fn configured_attributes_are_written() {
    let model = Sticky {
        path: "/app".to_owned(),
        domain: Some("example.com".to_owned()),
        same_site: Some(SameSite::Strict),
        secure: Some(true),
        http_only: false,
        partitioned: true,
        max_age: Some(Duration::from_hours(1)),
        ..model()
    };
    let written = "Path=/app; Domain=example.com; Max-Age=3600; Secure; SameSite=Strict";
    let expected = format!("ostler-shop; {written}; Partitioned");
    assert_eq!(attributes(&model, false), expected);
}

#[test]
fn what_browsers_refuse_is_never_written() {
    let model = Sticky { same_site: Some(SameSite::None), partitioned: true, ..model() };
    assert_eq!(attributes(&model, false), "ostler-shop; Path=/; HttpOnly; SameSite=Lax");
}

#[test]
fn a_token_comes_back_over_the_scheme_it_was_set_on() {
    let sticky = sticky(&model());
    for https in [true, false] {
        let cookies = format!("a=1; {}; b=2", pair(&sticky, &token(1), https));
        assert_eq!(read(&sticky, &cookies, https, NOW), Presented::Valid(token(1)));
    }
}

#[test]
fn over_https_both_names_are_read_and_the_guarded_one_wins() {
    let sticky = sticky(&model());
    let (guarded, plain) = (pair(&sticky, &token(1), true), pair(&sticky, &token(2), false));
    let both = format!("{plain}; {guarded}");
    assert_eq!(read(&sticky, &both, true, NOW), Presented::Valid(token(1)));
    assert_eq!(read(&sticky, &plain, true, NOW), Presented::Valid(token(2)));
    assert_eq!(read(&sticky, &both, false, NOW), Presented::Valid(token(2)));
    assert_eq!(read(&sticky, &guarded, false, NOW), Presented::None);
}

#[test]
fn of_several_the_first_that_opens_wins() {
    let sticky = sticky(&model());
    let other = Stickiness::new(&model(), ring(2), Shared::Not);
    let unknown = pair(&other, &token(5), true);
    let cookies = format!(
        "__Host-ostler-shop=x; {unknown}; {}; {}",
        pair(&sticky, &token(1), true),
        pair(&sticky, &token(2), true),
    );
    assert_eq!(read(&sticky, &cookies, true, NOW), Presented::Valid(token(1)));
    let fields = ["a=1".to_owned(), pair(&sticky, &token(3), true)];
    let fields = fields.iter().map(String::as_bytes);
    let found = sticky.read(fields, true, NOW, &mut Memo::default());
    assert_eq!(found, Presented::Valid(token(3)));
}

#[test]
fn at_most_two_candidates_are_opened() {
    let sticky = sticky(&model());
    let elsewhere = Sticky { scope: Located::nowhere(Arc::from("other")), ..model() };
    let elsewhere = Stickiness::new(&elsewhere, ring(1), Shared::Not);
    let forged = pair(&elsewhere, &token(9), true);
    let good = pair(&sticky, &token(1), true);
    let one = format!("{forged}; {good}");
    assert_eq!(read(&sticky, &one, true, NOW), Presented::Valid(token(1)));
    let two = format!("{forged}; {forged}; {good}");
    assert_eq!(read(&sticky, &two, true, NOW), Presented::Invalid);
}

#[test]
fn no_cookie_and_no_good_cookie_are_told_apart() {
    let sticky = sticky(&model());
    assert_eq!(read(&sticky, "", true, NOW), Presented::None);
    assert_eq!(read(&sticky, "ostler-other=1; a=2", true, NOW), Presented::None);
    assert_eq!(read(&sticky, "__Host-ostler-shop=", true, NOW), Presented::Invalid);
    assert_eq!(read(&sticky, "ostler-shop=1", true, NOW), Presented::Invalid);
}

#[test]
fn the_same_bytes_are_opened_once_for_each_scope_and_ring() {
    let sticky = sticky(&model());
    let cookies = pair(&sticky, &token(1), true);
    let mut memo = Memo::default();
    let mut ask = |sticky: &Stickiness| sticky.read([cookies.as_bytes()], true, NOW, &mut memo);
    assert_eq!(ask(&sticky), Presented::Valid(token(1)));
    assert_eq!(ask(&sticky), Presented::Valid(token(1)));
    let rotated = Stickiness::new(&model(), ring(2), Shared::Not);
    assert_eq!(ask(&rotated), Presented::Invalid);
    let elsewhere = Sticky { scope: Located::nowhere(Arc::from("other")), ..model() };
    assert_eq!(ask(&Stickiness::new(&elsewhere, ring(1), Shared::Not)), Presented::Invalid);
    // A memo's token is judged anew each time.
    let late = sticky.read([cookies.as_bytes()], true, NOW + 10_000, &mut memo);
    assert_eq!(late, Presented::Expired(token(1)));
}

#[test]
fn what_a_worker_remembers_is_no_token_for_another_ring_or_scope() {
    let sticky = sticky(&model());
    let cookies = pair(&sticky, &token(1), true);
    let mut recent = Recent::default();
    let mut ask = |sticky: &Stickiness, now| {
        // Each on a new connection.
        sticky.read_field(cookies.as_bytes(), true, now, &mut (&mut Memo::default(), &mut recent))
    };
    assert_eq!(ask(&sticky, NOW), (Presented::Valid(token(1)), false), "opened");
    assert_eq!(ask(&sticky, NOW), (Presented::Valid(token(1)), true), "remembered");
    assert_eq!(ask(&sticky, NOW + 10_000), (Presented::Expired(token(1)), true));
    let rotated = Stickiness::new(&model(), ring(2), Shared::Not);
    assert_eq!(ask(&rotated, NOW).0, Presented::Invalid);
    let elsewhere = Sticky { scope: Located::nowhere(Arc::from("other")), ..model() };
    assert_eq!(ask(&Stickiness::new(&elsewhere, ring(1), Shared::Not), NOW).0, Presented::Invalid);
    assert_eq!(ask(&sticky, NOW), (Presented::Valid(token(1)), true), "and still is");
}

#[test]
fn a_session_ends_when_idle_or_old() {
    let model = Sticky { lifetime: Some(Duration::from_hours(24)), ..model() };
    let sticky = sticky(&model);
    let state = |token: &Token, now| match read(&sticky, &pair(&sticky, token, true), true, now) {
        Presented::Valid(_) => "valid",
        Presented::Expired(_) => "expired",
        _ => "lost",
    };
    // Half an hour and the minute that clocks may differ.
    assert_eq!(state(&token(1), NOW + 1860), "valid");
    assert_eq!(state(&token(1), NOW + 1861), "expired");
    let day_old = token(1).touched(NOW + 86_400);
    assert_eq!(state(&day_old, NOW + 86_460), "valid");
    assert_eq!(state(&day_old, NOW + 86_461), "expired");
    assert_eq!(state(&token(1).touched(NOW + 5000), NOW), "valid");
}

#[test]
fn a_short_limit_is_not_stretched_by_a_minute() {
    let sticky = sticky(&Sticky { idle: Duration::from_secs(2), ..model() });
    let cookies = pair(&sticky, &token(1), true);
    assert_eq!(read(&sticky, &cookies, true, NOW + 2), Presented::Valid(token(1)));
    assert_eq!(read(&sticky, &cookies, true, NOW + 3), Presented::Expired(token(1)));
}

#[test]
fn a_token_is_refreshed_when_a_tenth_has_passed() {
    let by_idle = sticky(&model());
    assert!(!by_idle.refresh_due(&token(1), NOW + 179));
    assert!(by_idle.refresh_due(&token(1), NOW + 180));
    assert!(!by_idle.refresh_due(&token(1), NOW - 5));
    let by_max_age = sticky(&Sticky { max_age: Some(Duration::from_secs(100)), ..model() });
    assert!(by_max_age.refresh_due(&token(1), NOW + 10));
}

#[test]
fn a_pool_is_compared_only_where_a_route_chooses_between_several() {
    let [alone, by_id, by_pool] = [Shared::Not, Shared::ById, Shared::ByPool]
        .map(|shared| Stickiness::new(&model(), ring(1), shared));
    let (own, other) = (2, 77);
    for all in [&alone, &by_id, &by_pool] {
        assert!(all.is_of_pool(&token(1), own) && all.binds_in(&token(1), own));
    }
    assert!(alone.is_of_pool(&token(1), other) && alone.binds_in(&token(1), other));
    assert!(!by_id.is_of_pool(&token(1), other) && by_id.binds_in(&token(1), other));
    assert!(!by_pool.is_of_pool(&token(1), other) && !by_pool.binds_in(&token(1), other));
}

proptest! {
    #[test]
    fn any_cookies_are_read(field in "[ -~]{0,80}", https: bool) {
        let found = read(&sticky(&model()), &field, https, NOW);
        prop_assert!(matches!(found, Presented::None | Presented::Invalid));
    }
}
