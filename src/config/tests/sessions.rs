//! Stories about ways to bind, splits, and control over TCP.

use std::time::Duration;

use http::HeaderName;

use super::{START, effective, errors, good, read, warnings};
use crate::config::model::{
    Action, By, Model, OnDown, OnFull, OnRemove, Peer, Pool, Rebalance, Role, Share, Sticky,
};

/// A pool of one backend with these keys.
fn pool(keys: &str) -> Pool {
    let text = format!(
        "{START}[pools.p]\nbackends = [{{ id = \"b\", address = \"10.0.0.1:80\" }}]\n{keys}\n"
    );
    good(&text).model.pools.remove(0)
}

fn sticky(keys: &str) -> Sticky {
    pool(&format!("[pools.p.sticky]\n{keys}")).sticky.unwrap()
}

/// Errors of a `sticky` table.
fn sticky_errors(keys: &str) -> Vec<String> {
    errors(&format!("{START}[pools.p]\nbackends = []\n[pools.p.sticky]\n{keys}\n"))
}

#[test]
fn what_the_file_does_not_say_of_sessions_has_its_default() {
    let pool = pool("sticky = {}");
    assert_eq!((pool.queue.size, pool.queue.timeout), (1_000, Duration::from_secs(5)));
    assert_eq!(pool.drain_deadline, Some(Duration::from_hours(1)));
    assert_eq!(pool.backends[0].max_requests, 0);
    let sticky = pool.sticky.unwrap();
    assert_eq!(sticky.by, By::Cookie);
    assert_eq!((sticky.on_down, sticky.on_full), (OnDown::Rebind, OnFull::Wait));
    assert_eq!(sticky.home_stable, Duration::from_mins(1));
    assert_eq!((sticky.max_sessions, sticky.rebalance), (0, None));
}

#[test]
fn every_way_to_bind_is_read() {
    for (text, by) in [
        ("cookie", By::Cookie),
        ("header:X-User", By::Header(HeaderName::from_static("x-user"))),
        ("query:user id", By::Query("user id".into())),
        ("app_cookie:JSESSIONID", By::AppCookie("JSESSIONID".into())),
        ("source", By::Source { ipv4: 32, ipv6: 64 }),
        ("learn:header:Mcp-Session-Id", By::LearnHeader(HeaderName::from_static("mcp-session-id"))),
        ("learn:cookie:JSESSIONID", By::LearnCookie("JSESSIONID".into())),
    ] {
        assert_eq!(sticky(&format!("by = \"{text}\"")).by, by, "{text}");
    }
    let narrowed = sticky("by = \"source\"\nsource_prefix = { ipv4 = 24, ipv6 = 48 }");
    assert_eq!(narrowed.by, By::Source { ipv4: 24, ipv6: 48 });
    for wrong in ["Cookie", "header", "learn:query:x", "learn:x", "source:24", ""] {
        let found = sticky_errors(&format!("by = \"{wrong}\""));
        assert!(found.len() == 1 && found[0].contains("unknown value"), "{wrong}: {found:?}");
    }
}

#[test]
fn names_that_cannot_bind_are_refused() {
    for (by, wrong) in [
        ("header:", "no name of a header"),
        ("header:a b", "no name of a header"),
        ("header:Host", "cannot bind"),
        ("header:Cookie", "cannot bind"),
        ("header:X-Forwarded-Anything", "cannot bind"),
        ("header:X-Request-Id", "cannot bind"),
        ("learn:header:Set-Cookie", "cannot bind"),
        ("learn:header:Connection", "cannot bind"),
        ("app_cookie:a;b", "no cookie name"),
        ("app_cookie:ostler-web", "our own"),
        ("learn:cookie:", "no cookie name"),
        ("query:", "no name of a query"),
        ("query:a&b", "no name of a query"),
        ("query:a\\u0007", "no name of a query"),
    ] {
        let found = sticky_errors(&format!("by = \"{by}\""));
        assert!(found.len() == 1 && found[0].contains(wrong), "{by}: {found:?}");
    }
}

#[test]
fn keys_of_our_cookie_are_mistakes_where_something_else_binds() {
    let key = "ab".repeat(32);
    for line in [
        "scope = \"a\"",
        "cookie = \"a\"",
        "cookie_hash = false",
        "path = \"/\"",
        "domain = \"example.com\"",
        "same_site = \"auto\"",
        "secure = true",
        "http_only = true",
        "partitioned = true",
        "max_age = \"1h\"",
        "lifetime = \"1h\"",
        "home_stable = \"1m\"",
        "on_cacheable = \"skip\"",
        "pass = true",
        &format!("keys = [\"{key}\"]"),
        "rebalance = {}",
        "on_down = \"return_home\"",
    ] {
        assert!(read(&format!("{START}[pools.p.sticky]\n{line}\n")).is_ok(), "{line}");
        for by in ["header:x-user", "source", "learn:cookie:a"] {
            let found = sticky_errors(&format!("by = \"{by}\"\n{line}"));
            let only = found.len() == 1 && found[0].contains("only with by = \"cookie\"");
            assert!(only, "{by}, {line}: {found:?}");
        }
    }
    sticky("by = \"query:a\"\non_down = \"strict\"\nidle = \"1h\"\nrebalance = \"off\"");
    let found = sticky_errors("source_prefix.ipv6 = 48");
    assert!(found[0].contains("only with by = \"source\""), "{found:?}");
}

#[test]
fn defaults_of_our_cookie_do_not_reach_a_pool_that_binds_otherwise() {
    let text = format!(
        "[defaults.pools.sticky]\nhttp_only = false\nidle = \"1h\"\nsource_prefix.ipv4 = 24\n\
         {START}[[routes]]\npath = \"/q\"\npool = \"q\"\n\
         [pools.p]\nbackends = []\nsticky.by = \"source\"\n\
         [pools.q]\nbackends = []\nsticky.by = \"cookie\"\n"
    );
    let model = good(&text).model;
    let [p, q] = [0, 1].map(|index: usize| model.pools[index].sticky.clone().unwrap());
    assert_eq!((p.idle, p.by), (Duration::from_hours(1), By::Source { ipv4: 24, ipv6: 64 }));
    assert!(p.http_only && !q.http_only);
    assert!(effective(&good(&text)).contains("sticky.http_only = false  # [defaults.pools]"));
}

#[test]
fn a_hashed_cookie_name_hides_the_scope() {
    let long = sticky("cookie_hash = true\nscope = \"partner-program-of-acme\"");
    let hash = long.cookie_http.strip_prefix("ostler-").unwrap();
    assert!(hash.len() == 16 && hash.bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
    assert_eq!(*long.cookie_https, *format!("__Host-ostler-{hash}"));
    // Fixed for ever: a visitor's cookie must keep its name.
    assert_eq!(&*sticky("cookie_hash = true").cookie_http, "ostler-be20e5191d449b87");
    let narrowed = sticky("cookie_hash = true\npath = \"/shop\"");
    assert!(narrowed.cookie_https.starts_with("__Secure-ostler-"));
}

#[test]
fn a_removed_backend_goes_on_as_a_ghost_where_checks_would_find_it_gone() {
    let ghost = |minutes| OnRemove::Ghost(Duration::from_mins(minutes));
    let with_checks = pool("health.tcp = true\nsticky = {}").sticky.unwrap();
    assert_eq!(with_checks.on_remove, ghost(10));
    assert_eq!(sticky("").on_remove, OnRemove::Move);
    assert_eq!(sticky("on_remove = { ghost = \"1h\" }").on_remove, ghost(60));
    assert_eq!(sticky("on_remove = {}").on_remove, ghost(10));
    let moved = pool("health.tcp = true\nsticky.on_remove = \"move\"").sticky.unwrap();
    assert_eq!(moved.on_remove, OnRemove::Move);
}

#[test]
fn words_and_numbers_of_sessions_are_read() {
    let text = "on_down = \"return_home\"\nhome_stable = \"5m\"\non_full = \"reject\"\n\
                max_sessions = 500\nrebalance = { idle = \"5m\", percent = 20 }";
    let sticky = sticky(text);
    assert_eq!((sticky.on_down, sticky.on_full), (OnDown::ReturnHome, OnFull::Reject));
    assert_eq!(sticky.home_stable, Duration::from_mins(5));
    assert_eq!(sticky.max_sessions, 500);
    let (idle, per) = (Duration::from_mins(5), Duration::from_mins(1));
    assert_eq!(sticky.rebalance, Some(Rebalance { idle, percent: 20, per }));
    let pool = pool("queue.size = 0\ndrain.deadline = \"none\"\nprotocol = \"http/1.1\"");
    assert_eq!((pool.queue.size, pool.drain_deadline), (0, None));
}

/// A file with two sticky pools, `v1` with these keys, and this route.
fn split(route: &str, keys: &str) -> String {
    format!(
        "[listeners.a]\nbind = [\"127.0.0.1:80\"]\n[[routes]]\n{route}\n\
         [pools.v1]\nbackends = [{{ id = \"a\", address = \"10.0.0.1:80\" }}]\n\
         [pools.v1.sticky]\nhttp_only = false\n{keys}\n\
         [pools.v2]\nbackends = [{{ id = \"a\", address = \"10.0.0.2:80\" }}]\n\
         [pools.v2.sticky]\nhttp_only = false\n{keys}\n"
    )
}

const BOTH: &str = "split = [{ pool = \"v1\", weight = 95 }, { pool = \"v2\" }]";

#[test]
fn a_split_route_binds_in_a_scope_of_its_own() {
    let loaded = good(&split(&format!("name = \"shop\"\n{BOTH}"), ""));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let route = &loaded.model.routes[0];
    let Action::Split(shares) = &route.action else { panic!("no split: {route:?}") };
    assert_eq!(shares, &[Share { pool: 0, weight: 95 }, Share { pool: 1, weight: 1 }]);
    let sticky = route.sticky.as_ref().unwrap();
    assert_eq!((&*sticky.scope.value, &*sticky.cookie_https), ("shop", "__Host-ostler-shop"));
    assert!(!sticky.http_only, "attributes are those of the pools");
    let named = good(&split(&format!("sticky_scope = \"mine\"\n{BOTH}"), "path = \"/x\""));
    let sticky = named.model.routes[0].sticky.clone().unwrap();
    assert_eq!((&*sticky.scope.value, &*sticky.cookie_http), ("mine", "ostler-mine"));
    assert_eq!(&*sticky.cookie_https, "__Secure-ostler-mine");
    let host = good(&split(&format!("hosts = [\"a.example\"]\n{BOTH}"), ""));
    assert_eq!(&*host.model.routes[0].sticky.as_ref().unwrap().scope.value, "a.example");
}

#[test]
fn a_plain_route_binds_in_its_pools_scope_unless_it_names_another() {
    let second = "\n[[routes]]\npath = \"/v2\"\npool = \"v2\"";
    let scoped = |keys: &str| {
        let route = format!("pool = \"v1\"\nsticky_scope = \"mine\"{second}");
        good(&split(&route, keys)).model.routes
    };
    let routes = scoped("");
    assert_eq!(&*routes[0].sticky.as_ref().unwrap().cookie_http, "ostler-mine");
    assert!(routes[1].sticky.is_none());
    let text = split(&format!("pool = \"v1\"\nsticky_scope = \"mine\"{second}"), "cookie = \"c\"");
    let sticky = good(&text).model.routes.remove(0).sticky.unwrap();
    assert_eq!((&*sticky.cookie_https, &*sticky.scope.value), ("c", "mine"));
    let told = warnings(&text);
    assert!(told.iter().any(|one| one.contains("bind under one cookie, `c`")), "{told:?}");
}

#[test]
fn pools_of_one_scope_that_do_not_fit_are_warned_of() {
    let routes = "path = \"/v1\"\npool = \"v1\"\n[[routes]]\npath = \"/v2\"\npool = \"v2\"";
    let text = split(routes, "scope = \"shop\"");
    assert_eq!(warnings(&text), Vec::<String>::new(), "both have an \"a\"");
    let other_id = |text: &str| {
        text.replacen("id = \"a\", address = \"10.0.0.2", "id = \"b\", address = \"10.0.0.2", 1)
    };
    let told = warnings(&other_id(&text));
    let expected = "the pools v1 and v2 bind in one scope, \"shop\", but have not the same ids";
    assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
    let told = warnings(&format!("{text}idle = \"5m\"\non_down = \"strict\"\n"));
    let expected =
        "the pools v1 and v2 bind in one scope, \"shop\", but do not agree on sticky.idle";
    assert!(told.len() == 1 && told[0].ends_with(expected), "{told:?}");
    let both = format!("name = \"shop\"\n{BOTH}");
    assert_eq!(warnings(&other_id(&split(&both, ""))), Vec::<String>::new(), "a route chooses");
    let beside =
        format!("{both}\n[[routes]]\npath = \"/v1\"\npool = \"v1\"\nsticky_scope = \"shop\"");
    assert_eq!(warnings(&other_id(&split(&beside, ""))), Vec::<String>::new(), "one of them");
    let beside =
        format!("{beside}\n[[routes]]\npath = \"/v2\"\npool = \"v2\"\nsticky_scope = \"shop\"");
    let told = warnings(&split(&beside, ""));
    let expected = "the pool v2 binds in \"shop\", which a route splits";
    assert!(told.len() == 1 && told[0].ends_with(expected), "{told:?}");
}

#[test]
fn pools_of_a_split_under_one_cookie_are_no_mistake() {
    let text = split(&format!("name = \"shop\"\n{BOTH}"), "cookie = \"c\"");
    assert_eq!(warnings(&text), Vec::<String>::new());
    let text = split(&format!("name = \"shop\"\n{BOTH}"), "by = \"app_cookie:u\"");
    let text = text.replace("http_only = false\n", "");
    assert!(good(&text).model.routes[0].sticky.is_some());
}

/// `[admin]` with these keys, in a file with a sticky pool and a session key.
fn admin(keys: &str) -> String {
    format!(
        "[admin]\n{keys}\n[sessions]\nkeys = [\"${{file:session.key}}\"]\n\
         {START}[pools.p]\nbackends = []\nsticky.by = \"cookie\"\n"
    )
}

const TOKEN: &str = "tokens = [{ name = \"o\", file = \"oncall.token\", role = \"operate\" }]";

fn model(text: &str) -> Model {
    good(text).model
}

#[test]
fn control_over_tcp_takes_tokens_and_beyond_loopback_tls() {
    let found = model(&admin(&format!("bind = \"[::1]:9901\"\n{TOKEN}"))).admin;
    assert_eq!(found.bind.map(|bind| bind.value.to_string()).as_deref(), Some("[::1]:9901"));
    assert!(found.tokens[0].secret.matches(b"oncall-0123456789abcdef"));
    assert_eq!((&*found.tokens[0].name, found.tokens[0].role), ("o", Role::Operate));
    assert!(Role::Admin > Role::Operate && Role::Operate > Role::Read);
    let tls = "tls = { cert = \"a.crt\", key = \"a.key\" }";
    let found = model(&admin(&format!("bind = \"0.0.0.0:9901\"\n{tls}\n{TOKEN}"))).admin;
    assert_eq!(found.tls.unwrap().key.to_str(), Some("/etc/ostler/a.key"));
    for (keys, wrong) in [
        (format!("bind = \"0.0.0.0:9901\"\n{TOKEN}"), "needs TLS"),
        ("bind = \"127.0.0.1:9901\"".to_owned(), "always needs a token"),
        ("bind = \"127.0.0.1:9901\"\ntokens = []".to_owned(), "always needs a token"),
        (format!("bind = \"127.0.0.1:9900\"\n{TOKEN}"), "bound already ([metrics] bind)"),
        (format!("bind = \":9901\"\n{TOKEN}"), "no address to listen on"),
    ] {
        let found = errors(&admin(&keys));
        assert!(found.len() == 1 && found[0].contains(wrong), "{keys}: {found:?}");
    }
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    let peer = "peers = [{ name = \"l\", url = \"https://lb2\", token_file = \"lb2.token\" }]";
    let loaded = good(&admin(&format!("bind = \"127.0.0.1:9901\"\n{TOKEN}\n{peer}")));
    let page = effective(&loaded);
    let model = format!("{:?}", loaded.model);
    assert!(page.contains("oncall.token") && model.contains("AdminSecret(redacted)"));
    for shown in [page, model] {
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }
}

#[test]
fn peers_are_reached_over_tls_or_loopback() {
    let peer = |url: &str| {
        let peer = format!("{{ name = \"l\", url = \"{url}\", token_file = \"lb2.token\" }}");
        admin(&format!("peers = [{peer}]"))
    };
    let url = |peer: &Peer| peer.url.value.clone();
    for (given, kept) in [
        ("https://lb2:9901/", "https://lb2:9901"),
        ("https://lb2.example.com", "https://lb2.example.com"),
        ("http://127.0.0.1:9901", "http://127.0.0.1:9901"),
        ("http://[::1]:9901", "http://[::1]:9901"),
        ("http://localhost:9901", "http://localhost:9901"),
    ] {
        assert_eq!(url(&model(&peer(given)).admin.peers[0]), kept);
    }
    for wrong in [
        "",
        "lb2",
        "lb2:9901",
        "ftp://lb2",
        "http://lb2:9901",
        "http://10.0.0.1",
        "https://lb2/api",
        "https://lb2/?a",
        "https://u:p@lb2",
        "https:///",
    ] {
        assert_eq!(errors(&peer(wrong)).len(), 1, "{wrong}");
    }
}

#[test]
fn peers_need_common_keys() {
    let peers = "peers = [{ name = \"l\", url = \"https://lb2\", token_file = \"lb2.token\" }]";
    let keyless = admin(peers).replace("keys = [", "# ");
    let found = errors(&keyless);
    assert!(found.len() == 1 && found[0].contains("nodes without common keys"), "{found:?}");
    let own = keyless + "sticky.keys = [\"${file:session.key}\"]\n";
    assert_eq!(warnings(&own).len(), 1, "of a pool without backends");
    // A list that could not be read is one mistake, not two.
    let gone = admin(peers).replace("session.key", "gone.key");
    assert_eq!(errors(&gone).len(), 1);
    let learned = admin(peers).replace("by = \"cookie\"", "by = \"learn:header:Mcp-Session-Id\"");
    let told = warnings(&learned.replace("keys = [", "# "));
    assert!(told.iter().any(|one| one.contains("other nodes do not know it")), "{told:?}");
}

#[test]
fn the_effective_file_shows_tables_in_place_of_words_whole() {
    let text = format!(
        "{START}[pools.p]\nbackends = []\n[pools.p.sticky]\nrebalance.percent = 9\n\
         on_remove = {{ ghost = \"1h\" }}\n"
    );
    let page = effective(&good(&text));
    let rebalance = "sticky.rebalance = { idle = \"10m\", percent = 9, per = \"1m\" }";
    assert!(page.contains(&format!("{rebalance}  # line 8; default: idle, per")), "{page}");
    assert!(page.contains("sticky.on_remove = { ghost = \"1h\" }  # line 9"), "{page}");
    assert!(!page.contains("source_prefix"), "{page}");
    let source = text.replace("rebalance.percent = 9", "by = \"source\"");
    let page = effective(&good(&source));
    assert!(page.contains("sticky.source_prefix.ipv4 = 32  # default"), "{page}");
    assert!(!page.contains("sticky.path") && !page.contains("rebalance"), "{page}");
    assert!(read(&page).is_ok(), "{page}");
}
