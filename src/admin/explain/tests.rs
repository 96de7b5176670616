//! Requests over a small configuration, explained.

use serde_json::json;

use super::super::tests::facts_of;
use super::*;
use crate::sticky::Token;

const FILE: &str = r#"
[sessions]
keys = ["BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]
[listeners.web]
bind = ["127.0.0.1:0"]
[[routes]]
name = "old"
path = "/old"
redirect = { to = "https://{host}/new", status = 301 }
[[routes]]
name = "shop"
hosts = ["shop.example.com"]
pool = "shop"
[[routes]]
name = "user"
hosts = ["user.example.com"]
pool = "user"
[pools.shop]
sticky = { by = "cookie", lifetime = "1h" }
backends = [{ id = "a", address = "127.0.0.1:1" }, { id = "b", address = "127.0.0.1:2" }]
[pools.user]
sticky.by = "header:x-user"
backends = [{ id = "a", address = "127.0.0.1:1" }, { id = "b", address = "127.0.0.1:2" }]
"#;

fn explained(facts: &Facts, body: &Value) -> Explained {
    serde_json::from_value(explain(facts, body.to_string().as_bytes()).unwrap()).unwrap()
}

/// A cookie that binds to a backend of the pool shop, written so many seconds ago.
fn bound(facts: &Facts, backend: usize, ago: u32) -> String {
    let snapshot = facts.current.load();
    let pool = snapshot.pool("shop").unwrap();
    let sticky = pool.sticky.as_ref().unwrap();
    let now = u32::try_from(Timestamp::now().as_second()).unwrap() - ago;
    let token = Token::begin(7, pool.hash, pool.members[backend].backend.name, now);
    sticky.keys().seal(sticky.scope().as_bytes(), &token, [1; 12]).as_str().to_owned()
}

#[test]
fn a_request_without_a_cookie_goes_by_route_and_policy() {
    let facts = facts_of(FILE);
    let shop = explained(&facts, &json!({"url": "http://Shop.Example.com:8080/cart?a=1#top"}));
    assert_eq!((shop.listener.as_deref(), shop.listener_note), (Some("web"), None));
    assert_eq!((shop.route.as_deref(), &*shop.action), (Some("shop"), "forward to pool shop"));
    let now = shop.now.unwrap();
    assert_eq!((now.backend, &*now.why), (None, "by policy least-request among a, b"));
    let other = explained(&facts, &json!({"url": "https://shop.example.com/"}));
    assert!(other.listener_note.unwrap().starts_with("no listener serves https on port 443"));
    let old = explained(&facts, &json!({"url": "http://a.example:8080/old/x"}));
    assert_eq!(old.action, "301 to https://a.example/new");
    let none = explained(&facts, &json!({"url": "http://a.example:8080/"}));
    assert!(none.route.is_none() && none.now.is_none() && none.action.contains("404"));
    let nowhere = explained(&facts, &json!({"url": "https://a.example/"}));
    let note = nowhere.listener_note.unwrap();
    assert!(note.ends_with(", and none has a route for it: this is the first"), "{note}");
}

#[test]
fn who_is_let_in_how_often_and_by_which_method_is_told() {
    let facts = facts_of(
        r#"
[listeners.web]
bind = ["127.0.0.1:0"]
[[routes]]
name = "orders"
path = "/orders"
methods = ["GET", "POST"]
deny = ["10.66.0.0/16"]
allow = ["10.0.0.0/8", "2001:db8::/32"]
rate_limit = { by = "header:x-key", rate = "10/m", burst = 5 }
respond = { status = 200 }
[[routes]]
name = "office"
path = "/orders"
methods = ["DELETE"]
sources = ["192.0.2.0/24"]
respond = { status = 204 }
"#,
    );
    let ask = |method: &str, client: Option<&str>| {
        let url = "http://a.example:8080/orders";
        explained(&facts, &json!({"method": method, "url": url, "client": client}))
    };
    let anybody = ask("GET", None);
    assert_eq!(anybody.access.unwrap(), "deny 10.66.0.0/16; allow 10.0.0.0/8, 2001:db8::/32");
    let rate = "10/m by header:x-key, 5 at once; beyond it 429, reason rate_limited";
    assert_eq!((anybody.rate.as_deref(), anybody.route_note), (Some(rate), None));
    let action = "a fixed answer with status 200, for clients who are let in: see --client";
    assert_eq!(anybody.action, action);
    let out = "10.66.0.1 is not let in: 403, reason denied";
    assert_eq!(ask("POST", Some("10.66.0.1")).action, out);
    assert_eq!(ask("POST", Some("10.1.0.1")).action, "a fixed answer with status 200");
    let other = ask("DELETE", None);
    let wanted = "no route takes DELETE: 405, Allow: GET, HEAD, POST, reason not_supported";
    assert_eq!((other.route, &*other.action), (None, wanted));
    let note = "for clients in 192.0.2.0/24 route office: see --client";
    assert_eq!(other.route_note.as_deref(), Some(note));
    let inside = ask("DELETE", Some("192.0.2.7"));
    assert_eq!((inside.route.as_deref(), inside.route_note), (Some("office"), None));
    assert!(ask("PUT", Some("192.0.2.7")).action.contains("Allow: DELETE, GET, HEAD, POST"));
}

#[test]
fn routes_that_conditions_keep_away_are_told_in_their_order() {
    let facts = facts_of(
        r#"
[listeners.web]
bind = ["127.0.0.1:0"]
[[routes]]
name = "beta"
path = "/a"
headers = { x-beta = "1" }
cookies = { group = "b" }
respond = { status = 201 }
[[routes]]
name = "write"
path = "/a"
methods = ["POST"]
respond = { status = 202 }
[[routes]]
name = "inside"
sources = ["10.0.0.0/8"]
respond = { status = 203 }
[[routes]]
name = "rest"
respond = { status = 200 }
"#,
    );
    let ask = |more: Value| {
        let mut body = json!({"url": "http://a.example:8080/a"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let explained = explained(&facts, &body);
        (explained.route.unwrap(), explained.unmet)
    };
    let beta = "not route beta, which asks for header x-beta and cookie group";
    let (route, unmet) = ask(json!({}));
    assert_eq!((&*route, unmet.len()), ("rest", 2));
    assert_eq!(unmet[0], beta);
    assert_eq!(unmet[1], "not route write, which asks for methods POST");
    let (route, unmet) = ask(json!({"client": "192.0.2.1"}));
    assert_eq!((&*route, unmet.len()), ("rest", 3));
    assert_eq!(unmet[2], "not route inside, which asks for sources");
    let headers = json!([["x-beta", "1"], ["cookie", "group=b"]]);
    let (route, unmet) = ask(json!({"headers": headers}));
    assert_eq!((&*route, unmet.len()), ("beta", 0));
    assert_eq!(ask(json!({"method": "POST"})).1, [beta]);
}

#[test]
fn a_cookie_is_opened_however_it_is_given() {
    let facts = facts_of(FILE);
    let value = bound(&facts, 1, 60);
    for cookie in [
        value.clone(),
        format!("ostler-shop={value}\n"),
        format!("Cookie: a=1; ostler-shop={value}; b=2"),
        format!("set-cookie: ostler-shop={value}; Path=/; HttpOnly"),
        format!("something={value}"),
        format!(
            "# Netscape HTTP Cookie File\n\n#HttpOnly_shop.example.com\tFALSE\t/\tFALSE\t0\t\
             ostler-shop\t{value}\nshop.example.com\tFALSE\t/\tFALSE\t0\tbasket\t17\n"
        ),
    ] {
        let body = json!({"url": "http://shop.example.com:8080/", "cookie": cookie});
        let explained = explained(&facts, &body);
        let session = explained.session.unwrap();
        assert_eq!((&*session.scope, session.cookies.len()), ("shop", 1), "{cookie}");
        let token = session.cookies[0].token.as_ref().unwrap();
        assert_eq!((&*token.session, &*token.backend), ("0000000000000007", "b"));
        assert_eq!((&*token.pool, &*token.home), ("shop", "b"));
        assert!((1735..=1740).contains(&token.idle_left_seconds), "{token:?}");
        assert!(token.lifetime_left_seconds.is_some_and(|left| (3535..=3540).contains(&left)));
        assert_eq!(session.cookies[0].key.as_deref(), Some("4b"));
        let now = explained.now.unwrap();
        assert_eq!((now.backend.as_deref(), now.token.as_deref()), (Some("b"), Some("valid")));
        assert_eq!(now.why, "it is bound to it: state up");
    }
}

#[test]
fn what_would_become_of_a_visitor_follows_the_state_of_its_backend() {
    use crate::config::model::AdminState;
    let facts = facts_of(FILE);
    let fate = |cookie: String| {
        let body = json!({"url": "http://shop.example.com:8080/",
            "headers": [["cookie", format!("ostler-shop={cookie}")]]});
        explained(&facts, &body).now.unwrap()
    };
    let snapshot = facts.current.load();
    let state = |index: usize| &snapshot.pool("shop").unwrap().members[index].backend.state;
    state(1).set_mark(Some(AdminState::Drain), None);
    let now = fate(bound(&facts, 1, 0));
    assert_eq!((now.token.as_deref(), now.backend.as_deref()), (Some("draining"), Some("b")));
    assert_eq!(now.why, "it is bound to it: state drain, the bound stay");
    state(1).set_mark(Some(AdminState::Maint), None);
    let now = fate(bound(&facts, 1, 0));
    assert_eq!((now.cause.as_deref(), now.backend.as_deref()), (Some("maint"), Some("a")));
    assert!(now.why.starts_with("its backend b (maint) is in maint"), "{}", now.why);
    let now = fate(bound(&facts, 1, 3_000));
    assert_eq!((now.token.as_deref(), now.outcome.as_deref()), (Some("expired"), Some("bound")));
    assert_eq!(now.why, "its session has ended; a is the only one that takes anybody");
    state(0).set_mark(Some(AdminState::Maint), None);
    let now = fate(bound(&facts, 1, 0));
    assert_eq!(now.why, "it is refused with reason no_backend_admin");
}

#[test]
fn a_value_and_what_is_wrong_with_a_cookie_are_told() {
    let facts = facts_of(FILE);
    let body = json!({"url": "http://user.example.com:8080/", "headers": [["X-User", "alice"]]});
    let now = explained(&facts, &body).now.unwrap();
    assert!(now.backend.is_some() && now.why == "by the hash of its value", "{now:?}");
    let mut flipped = bound(&facts, 0, 0);
    let middle = flipped.len() / 2;
    let other = if flipped.as_bytes()[middle] == b'x' { "y" } else { "x" };
    flipped.replace_range(middle..=middle, other);
    for (cookie, problem) in [("nonsense", "not a token"), (&*flipped, "a token ")] {
        let body = json!({"url": "http://shop.example.com:8080/", "cookie": cookie});
        let session = explained(&facts, &body).session.unwrap();
        let told = session.cookies[0].problem.as_deref().unwrap();
        assert!(told.starts_with(problem), "{cookie}: {told}");
    }
    for wrong in [
        json!({"url": "/cart"}),
        json!({"url": "http://a.example/%00"}),
        json!({"url": "http://a.example/", "method": "G T"}),
        json!({"url": "http://a.example/", "headers": [["a b", "c"]]}),
    ] {
        assert_eq!(explain(&facts, wrong.to_string().as_bytes()).unwrap_err().status, 422);
    }
}
