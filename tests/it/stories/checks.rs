//! Active checks: no traffic before the first pass, and patience with a single failure.

use crate::harness::{Config, Origin, PLAIN, Proxy, SOON, default_route, pool, within};

#[tokio::test]
async fn a_backend_without_a_first_pass_takes_no_traffic() {
    let origins = Origin::three();
    origins[0].healthy(false);
    let body =
        format!("{PLAIN}{}{}", default_route("web"), pool("web", &[&origins[0], &origins[1]], ""));
    let proxy = Proxy::start(Config::new(body)).await;
    for _ in 0..10 {
        assert_eq!(proxy.door().get("/").await.name(), "b");
    }
    assert_eq!(origins[0].count(), 0);
    assert!(origins[0].checks() > 0, "it was asked how it is");
    origins[0].healthy(true);
    proxy.verdict("a", true).await;
    let mut names = Vec::new();
    for _ in 0..10 {
        names.push(proxy.door().get("/").await.name());
    }
    assert!(names.contains(&"a".to_owned()), "{names:?}");
}

#[tokio::test]
async fn all_failing_their_checks_is_a_503_with_the_reason() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{PLAIN}{}{}", default_route("web"), pool("web", &all, ""));
    let proxy = Proxy::start(Config::new(body)).await;
    for origin in &origins {
        origin.healthy(false);
    }
    for name in ["a", "b", "c"] {
        proxy.verdict(name, false).await;
    }
    assert_eq!(proxy.door().get("/down").await.status, 503);
    assert_eq!(proxy.logged("/down").await["reason"], "no_backend_down");
}

#[tokio::test]
async fn one_failure_now_and_then_takes_nobody_down() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{PLAIN}{}{}", default_route("web"), pool("web", &all, ""));
    let proxy = Proxy::start(Config::new(body)).await;
    origins[0].flapping(true);
    let before = origins[0].checks();
    within(SOON, "ten more checks, each other one failing", async || {
        let up = proxy.metric("ostler_backend_up", &["backend=\"a\""]).await;
        assert!(up > 0.5, "`fall` in a row are needed");
        (origins[0].checks() >= before + 10).then_some(())
    })
    .await;
    let failed =
        proxy.metric("ostler_backend_checks_total", &["backend=\"a\"", "result=\"fail"]).await;
    assert!(failed >= 3.0, "{failed} failures were counted");
}

#[tokio::test]
async fn a_tcp_check_wants_an_open_port_and_no_more() {
    let mut origins = Origin::three();
    origins[0].healthy(false);
    let address = origins[0].address();
    let body = format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
         health = {{ tcp = true, interval = \"200ms\", rise = 1, fall = 2 }}\n",
        default_route("web")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    assert_eq!(proxy.door().get("/").await.name(), "a");
    origins[0].kill();
    proxy.verdict("a", false).await;
    origins[0].revive();
    proxy.verdict("a", true).await;
    assert_eq!(proxy.door().get("/").await.name(), "a");
}

#[tokio::test]
async fn the_status_that_passes_is_the_one_expected() {
    let origin = Origin::start("a");
    origin.healthy(false);
    let address = origin.address();
    let body = format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
         health = {{ http = \"/healthz\", expect = \"503\", interval = \"200ms\", rise = 1 }}\n",
        default_route("web")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    proxy.verdict("a", true).await;
    assert_eq!(proxy.door().get("/").await.name(), "a");
}

#[tokio::test]
async fn a_backend_may_have_a_name_and_an_unknown_name_is_down() {
    let origin = Origin::start("a");
    let port = origin.address().port();
    let body = format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"localhost:{port}\" }}, \
         {{ id = \"lost\", address = \"no-such-name.invalid:80\" }}]\n\
         health = {{ http = \"/healthz\", interval = \"200ms\", rise = 1 }}\n",
        default_route("web")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    proxy.verdict("a", true).await;
    for _ in 0..5 {
        assert_eq!(proxy.door().get("/").await.name(), "a");
    }
}
