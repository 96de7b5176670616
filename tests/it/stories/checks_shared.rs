//! One check for all pools that ask the same of the same backend, sooner where it may turn.

use crate::harness::{Config, Origin, PLAIN, Proxy, SOON, default_route, pool, within};

#[tokio::test]
async fn pools_that_share_a_backend_share_its_check() {
    let origin = Origin::start("a");
    let body = format!(
        "{PLAIN}{}{}{}",
        default_route("one"),
        pool("one", &[&origin], ""),
        pool("two", &[&origin], "")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    within(SOON, "twelve checks", async || (origin.checks() >= 12).then_some(())).await;
    let asked = f64::from(u32::try_from(origin.checks()).unwrap());
    for name in ["pool=\"one\"", "pool=\"two\""] {
        let passed = proxy.metric("ostler_backend_checks_total", &[name, "result=\"pass\""]).await;
        // The last one may not have been answered yet.
        assert!(asked <= passed + 1.0, "asked {asked} times for {passed} results of {name}");
    }
    origin.healthy(false);
    for name in ["pool=\"one\"", "pool=\"two\""] {
        within(SOON, "both pools to see it down", async || {
            (proxy.metric("ostler_backend_up", &[name]).await < 0.5).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_pool_that_comes_later_has_the_verdict_at_once() {
    let origin = Origin::start("a");
    let first = pool("one", &[&origin], "");
    let slow = |name: &str| {
        let address = origin.address();
        format!(
            "[pools.{name}]\nbackends = [{{ id = \"{name}\", address = \"{address}\" }}]\n\
             health = {{ http = \"/healthz\", interval = \"10m\" }}\n"
        )
    };
    let file = Config::new(format!("{PLAIN}{}{first}{}", default_route("one"), slow("two")));
    let mut proxy = Proxy::start(file.clone()).await;
    origin.healthy(false);
    let three = format!("{}{}{}", default_route("three"), slow("two"), slow("three"));
    proxy.apply(file.body(format!("{PLAIN}{first}{three}"))).await;
    // The check they share comes every ten minutes: what pool two knows is good for pool three.
    assert_eq!(proxy.door().get("/").await.name(), "a");
}

#[tokio::test]
async fn a_first_failure_is_looked_at_again_before_the_interval_is_over() {
    let origin = Origin::start("a");
    let address = origin.address();
    let body = format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
         health = {{ http = \"/healthz\", interval = \"1s\", fall = 30 }}\n",
        default_route("web")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    origin.healthy(false);
    // At one check a second it would take too long.
    within(SOON, "thirty failures in a row", async || {
        (proxy.metric("ostler_backend_up", &["backend=\"a\""]).await < 0.5).then_some(())
    })
    .await;
}
