//! Stories about policies, ejection, slow start, and pools without a usable backend.

use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderName;

use super::{START, effective, errors, good, read, warnings};
use crate::config::model::{
    Concurrency, Ejection, Failback, HashOn, PolicyKind, Pool, Quorum, Respond, WhenAllDown,
};

/// A file whose pool `p` has these keys and a backend.
fn file(keys: &str) -> String {
    format!("{START}[pools.p]\nbackends = [{{ id = \"b\", address = \"10.0.0.1:80\" }}]\n{keys}\n")
}

fn pool(keys: &str) -> Pool {
    good(&file(keys)).model.pools.remove(0)
}

/// The one error of a pool with these keys, without its place.
fn error(keys: &str) -> String {
    let found = errors(&file(keys));
    assert_eq!(found.len(), 1, "{keys}: {found:?}");
    found[0].split_once(' ').unwrap().1.to_owned()
}

/// Pools by name, each with what it does when all of it is down, of which the first has the route.
fn pools(all: &[(&str, &str)]) -> String {
    let route = all[0].0;
    let mut text =
        format!("[listeners.a]\nbind = [\"127.0.0.1:80\"]\n[[routes]]\npool = \"{route}\"\n");
    for (name, all_down) in all {
        let backend = "backends = [{ id = \"b\", address = \"10.0.0.1:80\" }]";
        writeln!(text, "[pools.{name}]\n{backend}\nwhen_all_down = {all_down}").unwrap();
    }
    text
}

#[test]
fn http2_to_backends_is_agreed_on_by_tls_or_known_before() {
    assert!(!pool("protocol = \"http/1.1\"").http2);
    assert!(pool("protocol = \"h2c\"").http2);
    assert!(pool("protocol = \"h2\"\ntls = {}").http2);
    assert!(error("protocol = \"h2\"").contains("needs TLS"));
    assert!(error("protocol = \"h2c\"\ntls = {}").contains("without TLS"));
    assert!(error("protocol = \"h2c\"\nsend_proxy = \"v2\"").contains("carries many"));
}

#[test]
fn every_pool_ejects_and_fails_unless_the_file_says_otherwise() {
    let silent = pool("");
    assert_eq!(
        silent.ejection,
        Some(Ejection {
            connect: true,
            reset: true,
            timeout: true,
            status_5xx: false,
            consecutive: 5,
            base: Duration::from_secs(10),
            max_ejected: 50,
        })
    );
    assert_eq!((silent.slow_start, silent.when_all_down), (None, WhenAllDown::Fail));
    assert_eq!((silent.policy, silent.hash_on), (PolicyKind::LeastRequest, HashOn::Source));
    assert_eq!(pool("ejection = {}").ejection, silent.ejection);
}

#[test]
fn an_adaptive_limit_has_bounds_and_is_asked_for() {
    let bounds = |min, max| Some(Concurrency { min, max });
    for (keys, concurrency) in [
        ("", None),
        ("concurrency = \"off\"", None),
        ("concurrency = \"adaptive\"", bounds(5, 1_000)),
        ("concurrency = {}", bounds(5, 1_000)),
        ("concurrency.max = 3", bounds(3, 3)),
        ("concurrency = { min = 20, max = 50 }", bounds(20, 50)),
    ] {
        assert_eq!(pool(keys).concurrency, concurrency, "{keys}");
    }
    let error = error("concurrency = { min = 20, max = 10 }");
    assert!(error.contains("min = 20 is above max = 10"), "{error}");
}

#[test]
fn a_route_hedges_by_asking_and_with_a_second_try_to_do_it_with() {
    let retry = |keys: &str| {
        let pool = "[pools.p]\nbackends = [{ id = \"b\", address = \"10.0.0.1:80\" }]\n";
        let text = format!("{START}{keys}\n{pool}");
        read(&text).map(|loaded| loaded.model.routes.first().map(|route| route.retry))
    };
    let silent = retry("").unwrap().unwrap();
    assert_eq!((silent.hedge, silent.hedge_percent), (None, 5));
    let asked = retry("retry = { hedge = \"50ms\", hedge_budget = \"9%\" }").unwrap().unwrap();
    assert_eq!((asked.hedge, asked.hedge_percent), (Some(Duration::from_millis(50)), 9));
    assert!(retry("retry = { hedge = \"50ms\", tries = 1 }").is_err());
    assert!(retry("retry = { hedge = \"none\", tries = 1 }").is_ok());
}

#[test]
fn every_policy_and_everything_that_can_be_hashed_is_read() {
    assert_eq!(pool("policy = \"peak-ewma\"").policy, PolicyKind::PeakEwma);
    for (text, hash_on) in [
        ("source", HashOn::Source),
        ("header:X-Tenant", HashOn::Header(HeaderName::from_static("x-tenant"))),
        ("cookie:Tenant", HashOn::Cookie("Tenant".into())),
        ("query:tenant id", HashOn::Query("tenant id".into())),
        ("path", HashOn::Path),
    ] {
        let pool = pool(&format!("policy = \"hash\"\nhash_on = \"{text}\""));
        assert_eq!((pool.policy, pool.hash_on), (PolicyKind::Hash, hash_on));
    }
    let sticky = pool("policy = \"hash\"\nsticky.by = \"cookie\"");
    assert!(sticky.policy == PolicyKind::Hash && sticky.sticky.is_some());
}

#[test]
fn what_cannot_be_hashed_is_refused() {
    for (hash_on, wrong) in [
        ("", "unknown value"),
        ("Source", "unknown value"),
        ("host", "unknown value"),
        ("app_cookie:a", "unknown value"),
        ("header:", "no name of a header"),
        ("header:Cookie", "`cookie` cannot be hashed"),
        ("header:X-Forwarded-For", "cannot be hashed"),
        ("cookie:a b", "no cookie name"),
        ("cookie:ostler-web", "our own"),
        ("query:a=b", "no name of a query"),
    ] {
        let found = error(&format!("policy = \"hash\"\nhash_on = \"{hash_on}\""));
        assert!(found.contains(wrong), "{hash_on}: {found}");
    }
    for policy in ["", "policy = \"random\"", "policy = \"peak-ewma\""] {
        let found = error(&format!("{policy}\nhash_on = \"path\""));
        assert_eq!(found, "hash_on: only with policy = \"hash\"");
    }
    // What was meant by a policy that cannot be read is not known.
    assert_eq!(error("policy = \"hsah\"\nhash_on = \"path\""), "unknown value \"hsah\"");
}

#[test]
fn a_default_of_what_is_hashed_reaches_the_pools_that_hash() {
    let text = format!(
        "[defaults.pools]\npolicy = \"hash\"\nhash_on = \"path\"\n{}",
        pools(&[("a", "\"fail\""), ("b", "{ pool = \"a\" }"), ("c", "{ pool = \"a\" }")])
    )
    .replace("[pools.b]", "[pools.b]\npolicy = \"random\"");
    let [a, b] = [0, 1].map(|at: usize| good(&text).model.pools[at].clone());
    assert_eq!((a.policy, a.hash_on), (PolicyKind::Hash, HashOn::Path));
    assert_eq!((b.policy, b.hash_on), (PolicyKind::Random, HashOn::Source));
}

#[test]
fn slow_start_has_an_end() {
    assert_eq!(pool("slow_start = \"30s\"").slow_start, Some(Duration::from_secs(30)));
    assert_eq!(pool("slow_start = \"1h\"").slow_start, Some(Duration::from_hours(1)));
    for none in ["0s", "0ms", "none"] {
        assert_eq!(pool(&format!("slow_start = \"{none}\"")).slow_start, None);
    }
    assert!(error("slow_start = \"1h1s\"").contains("is too long"));
}

#[test]
fn ejection_is_read_with_the_defaults_of_what_it_leaves_out() {
    assert_eq!(pool("ejection = \"off\"").ejection, None);
    let keys = "ejection = { on = [\"5xx\", \"reset\"], consecutive = 1000, max_ejected = \"0%\" }";
    assert_eq!(
        pool(keys).ejection,
        Some(Ejection {
            connect: false,
            reset: true,
            timeout: false,
            status_5xx: true,
            consecutive: 1_000,
            base: Duration::from_secs(10),
            max_ejected: 0,
        })
    );
    for (keys, wrong) in [
        ("on = []", "an ejection on no failure"),
        ("on = [\"502\"]", "unknown value \"502\""),
        ("consecutive = 0", "out of range"),
        ("consecutive = 1001", "out of range"),
        ("base = \"999ms\"", "too short"),
        ("base = \"2h\"", "too long"),
        ("base = \"none\"", "must end"),
        ("max_ejected = \"101%\"", "more than 100%"),
        ("max_ejected = 50", "has no unit"),
    ] {
        let found = error(&format!("ejection = {{ {keys} }}"));
        assert!(found.contains(wrong), "{keys}: {found}");
    }
    assert_eq!(error("ejection = \"on\""), "unknown value \"on\"");
    assert!(error("ejection = false").contains("expected a word or a table"));
}

#[test]
fn a_pool_without_a_usable_backend_fails_tries_or_falls_back() {
    assert_eq!(pool("when_all_down = \"try-all\"").when_all_down, WhenAllDown::TryAll);
    let sorry = Respond {
        status: 503,
        body: "Back soon".to_owned(),
        content_type: "text/plain; charset=utf-8".to_owned(),
    };
    let keys = "[pools.p.when_all_down.respond]\nbody = \"Back soon\"";
    assert_eq!(pool(keys).when_all_down, WhenAllDown::Respond(sorry));
    let text = pools(&[("a", "{ pool = \"b\" }"), ("b", "{ pool = \"c\" }"), ("c", "\"fail\"")]);
    assert_eq!(warnings(&text), Vec::<String>::new(), "all are used");
    let found = good(&text).model.pools;
    assert_eq!(found[0].when_all_down, WhenAllDown::Pool(1));
    assert_eq!(found[1].when_all_down, WhenAllDown::Pool(2));
    for (keys, wrong) in [
        ("when_all_down = \"retry\"", "unknown value \"retry\""),
        ("when_all_down = {}", "neither `pool` nor `respond`"),
        ("[pools.p.when_all_down]", "neither `pool` nor `respond`"),
        ("when_all_down = { pool = \"p\", respond = {} }", "both `pool` and `respond`"),
        ("when_all_down = { pool = \"q\" }", "pool \"q\" is not defined"),
        ("when_all_down = { redirect = \"/\" }", "unknown key `redirect`"),
        ("when_all_down.respond.status = 199", "out of range"),
        ("when_all_down.respond = { status = 204, body = \"x\" }", "a 204 has no body"),
    ] {
        let found = error(keys);
        assert!(found.contains(wrong), "{keys}: {found}");
    }
}

#[test]
fn pools_that_fall_back_in_a_circle_are_named() {
    let to = |name: &str| format!("{{ pool = \"{name}\" }}");
    assert_eq!(error("when_all_down = { pool = \"p\" }"), "pool \"p\" falls back to itself");
    let (a, b, c, d) = (to("a"), to("b"), to("c"), to("d"));
    // `in` and `out` only lead to the circle of `c`, `d` and `b`, and are no mistake.
    let text = pools(&[("in", &d), ("b", &c), ("c", &d), ("d", &b), ("out", &b), ("a", &a)]);
    let found = errors(&text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with("in a circle: \"b\" to \"c\" to \"d\" to \"b\""), "{found:?}");
    assert!(found[1].ends_with("pool \"a\" falls back to itself"), "{found:?}");
}

#[test]
fn a_default_fallback_excludes_the_pool_that_says_otherwise() {
    let text = format!(
        "[defaults.pools]\nwhen_all_down = {{ pool = \"spare\" }}\n{}[pools.spare]\n\
         backends = [{{ id = \"b\", address = \"10.0.0.2:80\" }}]\n",
        file("")
    );
    assert!(errors(&text)[0].ends_with("pool \"spare\" falls back to itself"));
    let pools = good(&(text.clone() + "when_all_down = \"fail\"\n")).model.pools;
    assert_eq!(pools[0].when_all_down, WhenAllDown::Pool(1));
    assert_eq!(pools[1].when_all_down, WhenAllDown::Fail);
    let pools = good(&(text + "when_all_down.respond = {}\n")).model.pools;
    assert!(matches!(pools[1].when_all_down, WhenAllDown::Respond(_)));
}

#[test]
fn tiers_and_how_a_lower_one_comes_back_are_read() {
    let silent = pool("");
    assert_eq!((silent.failback, silent.backends[0].tier), (Failback::Auto, 0));
    for (word, failback) in [
        ("\"auto\"", Failback::Auto),
        ("\"manual\"", Failback::Manual),
        ("\"new-sessions\"", Failback::NewSessions),
        ("{ after = \"90s\" }", Failback::After(Duration::from_secs(90))),
    ] {
        assert_eq!(pool(&format!("failback = {word}")).failback, failback);
    }
    let tier = |tier: &str| file("").replace("80\" }", &format!("80\", tier = {tier} }}"));
    assert_eq!(good(&tier("9")).model.pools[0].backends[0].tier, 9);
    assert!(errors(&tier("10"))[0].contains("out of range"));
    assert!(error("failback = {}").contains("does not say `after`"));
    assert!(error("failback.after = \"none\"").contains("this must end"));
    assert!(error("failback.after = \"25h\"").contains("too long"));
    assert!(error("failback.after = \"500ms\"").contains("too short"));
    assert!(error("failback = \"never\"").contains("never"));
}

#[test]
fn a_quorum_is_read_and_leads_to_another_pool() {
    let spare = "[pools.spare]\nbackends = [{ id = \"s\", address = \"10.0.0.9:80\" }]\n";
    let of = |keys: &str| format!("{}{spare}", file(keys));
    let read = |keys: &str| good(&of(keys)).model.pools[0].quorum;
    assert_eq!(read(""), None);
    let whole = "quorum = { min = 1, again = 1, pool = \"spare\" }";
    assert_eq!(read(whole), Some(Quorum { min: 1, again: 1, pool: 1 }));
    assert_eq!(read("quorum = { min = 1, pool = \"spare\" }"), read(whole));
    for (keys, wrong) in [
        ("quorum = { pool = \"spare\" }", "without `min` or `pool`"),
        ("quorum.min = 1", "without `min` or `pool`"),
        ("quorum = { min = 0, pool = \"spare\" }", "out of range"),
        ("quorum = { min = 3, again = 2, pool = \"spare\" }", "less than min"),
        ("quorum = { min = 1, pool = \"spar\" }", "is not defined"),
        ("quorum = { min = 1, pool = \"p\" }", "leads to itself"),
    ] {
        let found = errors(&of(keys));
        assert!(found.iter().any(|error| error.contains(wrong)), "{keys}: {found:?}");
    }
    let found = warnings(&of("quorum = { min = 2, pool = \"spare\" }"));
    assert!(found.iter().any(|one| one.contains("wants 2 backends, but it has 1")), "{found:?}");
}

#[test]
fn the_effective_file_shows_what_a_pool_does_about_failures() {
    let page = effective(&good(&file("")));
    let ejection = "ejection = { on = [\"connect\", \"reset\", \"timeout\"], consecutive = 5, \
                    base = \"10s\", max_ejected = \"50%\" }";
    for line in [
        &format!("{ejection}  # default"),
        "slow_start = \"0s\"  # default",
        "when_all_down = \"fail\"  # default",
    ] {
        assert!(page.contains(line), "{page}");
    }
    assert!(!page.contains("hash_on"), "{page}");
    let keys = "policy = \"hash\"\nejection.consecutive = 9\nwhen_all_down.respond.body = \"x\"";
    let page = effective(&good(&file(keys)));
    for line in [
        "hash_on = \"source\"  # default",
        &format!(
            "{}  # line 8; default: on, base, max_ejected",
            ejection.replace("consecutive = 5", "consecutive = 9")
        ),
        "when_all_down = { respond.status = 503, respond.body = \"x\", respond.content_type = \
         \"text/plain; charset=utf-8\" }  # line 9; default: respond.status, respond.content_type",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(read(&page).is_ok(), "{page}");
    let text = pools(&[("a", "{ pool = \"b\" }"), ("b", "\"try-all\"")]);
    let page = effective(&good(&text));
    assert!(page.contains("when_all_down = { pool = \"b\" }  # line 7\n"), "{page}");
}
