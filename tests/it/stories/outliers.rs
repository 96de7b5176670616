//! Backends that fail real requests: ejected, spared, tried again, and back.

use crate::harness::{
    Config, Fault, Jar, Origin, PLAIN, Proxy, SOON, default_route, unchecked, within,
};

/// A budget that never ends, where the story is not about it.
const FREELY: &str = "retry.budget = \"100%\"\n";

/// One worker and no checks: what is known of a backend is what its requests come to.
async fn front(origins: &[Origin], lines: &str) -> Proxy {
    let pool = unchecked("web", origins, lines);
    let body = format!("{PLAIN}{}{FREELY}{pool}", default_route("web"));
    Proxy::start(Config::new(body).runtime("workers = 1")).await
}

/// Two pools of the same backends, by path: one may eject and tells that there was cause to.
async fn beside(origins: &[Origin], lines: &str, told: &str) -> Proxy {
    let route = |path: &str| format!("[[routes]]\npath = \"/{path}\"\npool = \"{path}\"\n{FREELY}");
    let (plain, other) = (unchecked("plain", origins, lines), unchecked("told", origins, told));
    let body = format!("{PLAIN}{}{}{plain}{other}", route("plain"), route("told"));
    Proxy::start(Config::new(body).runtime("workers = 1")).await
}

/// How many backends of a pool are in this state.
async fn count(proxy: &Proxy, pool: &str, state: &str) -> usize {
    let labels = [format!("pool=\"{pool}\""), format!("state=\"{state}\"")];
    let sum = proxy.metric("ostler_backend_state", &[&labels[0], &labels[1]]).await;
    format!("{:.0}", sum.abs()).parse().unwrap()
}

/// New visitors come until so many backends of the pool are ejected.
async fn ejects(proxy: &Proxy, pool: &str, path: &str, wanted: usize) {
    within(SOON, &format!("{wanted} ejected of {pool}"), async || {
        proxy.door().get(path).await;
        (count(proxy, pool, "ejected").await == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_ejected_backend_gets_nobody_new_and_keeps_those_it_has() {
    let mut origins = Origin::three();
    let lines = "ejection = { consecutive = 3, base = \"1h\" }\nsticky.by = \"cookie\"";
    let proxy = front(&origins, lines).await;
    let mut jar = Jar::new();
    while jar.get(&proxy.door(), "/").await.name() != "a" {
        jar = Jar::new();
    }
    origins[0].fault(Fault::ResetAfterHead);
    ejects(&proxy, "web", "/new", 1).await;
    proxy.hears("\"event\":\"ejected\"").await;
    let status = proxy.status().await;
    let first = &status["pools"][0]["backends"][0];
    assert_eq!((&first["id"], &first["state"]), (&"a".into(), &"ejected".into()));

    origins[0].fault(Fault::None);
    let before = origins[0].count();
    for _ in 0..20 {
        assert_ne!(proxy.door().get("/").await.name(), "a");
    }
    assert_eq!(origins[0].count(), before);
    for _ in 0..10 {
        let answer = jar.get(&proxy.door(), "/bound").await;
        assert_eq!((answer.name(), answer.set_cookies().len()), ("a".to_owned(), 0));
    }
    assert_eq!(proxy.moved("").await, 0);
    // Until a connect really fails.
    origins[0].kill();
    assert_ne!(jar.get(&proxy.door(), "/bound").await.name(), "a");
    assert_eq!((proxy.moved("down").await, proxy.moved("").await), (1, 1));
}

#[tokio::test]
async fn who_was_ejected_is_tried_after_its_time_and_comes_back() {
    let mut origins = Origin::three();
    let proxy = front(&origins, "ejection = { consecutive = 3, base = \"1s\" }").await;
    origins[0].kill();
    ejects(&proxy, "web", "/", 1).await;
    origins[0].revive();
    let before = origins[0].count();
    within(SOON, "all three to be up", async || {
        proxy.door().get("/").await.name();
        (count(&proxy, "web", "up").await == 3).then_some(())
    })
    .await;
    assert!(origins[0].count() >= before + 5, "it was tried with a few requests first");
    proxy.hears("\"event\":\"trial\"").await;
    proxy.hears("\"event\":\"returned\"").await;
    // It begins with a small share, which grows.
    within(SOON, "a to be served by again", async || {
        (proxy.door().get("/").await.name() == "a").then_some(())
    })
    .await;
}

/// A pool that is checked by connecting, and ejects for so long that only a check brings anybody
/// back. No check takes anybody down.
async fn knocked(origins: &[Origin], port: &str) -> Proxy {
    let lines = format!(
        "ejection = {{ consecutive = 3, base = \"1h\" }}\n\
         health = {{ tcp = true, interval = \"200ms\", rise = 1, fall = 1000{port} }}"
    );
    front(origins, &lines).await
}

#[tokio::test]
async fn who_refused_connections_is_back_with_the_next_check_that_passes() {
    let mut origins = Origin::three();
    let proxy = knocked(&origins, "").await;
    origins[0].kill();
    ejects(&proxy, "web", "/", 1).await;
    origins[0].revive();
    within(SOON, "all three to be up", async || {
        (count(&proxy, "web", "up").await == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_check_of_another_port_brings_nobody_back() {
    let mut origins = Origin::three();
    let port = origins[1].address().port();
    let proxy = knocked(&origins, &format!(", port = {port}")).await;
    origins[0].kill();
    ejects(&proxy, "web", "/", 1).await;
    let passed = async || {
        let labels = ["backend=\"a\"", "result=\"pass\""];
        proxy.metric("ostler_backend_checks_total", &labels).await
    };
    // Looks are taken once a second.
    let enough = passed().await + 15.0;
    within(SOON, "checks to pass", async || (passed().await >= enough).then_some(())).await;
    assert_eq!(count(&proxy, "web", "ejected").await, 1, "its own port refuses still");
}

#[tokio::test]
async fn an_application_that_answers_5xx_is_ejected_only_by_asking() {
    let origins = ["a", "b"].map(Origin::start);
    let five = "ejection = { on = [\"5xx\"], consecutive = 5, base = \"1h\" }";
    let silent = "ejection = { consecutive = 5, base = \"1h\" }";
    let proxy = beside(&origins, silent, five).await;
    origins[0].fault(Fault::Status(503));
    for _ in 0..40 {
        proxy.door().get("/plain").await;
    }
    ejects(&proxy, "told", "/told", 1).await;
    assert_eq!(count(&proxy, "plain", "up").await, 2);
    let mut codes = Vec::new();
    for _ in 0..4 {
        assert_eq!(proxy.door().get("/told").await.status, 200);
        codes.push(proxy.door().get("/plain").await.status);
    }
    assert_eq!(codes.iter().filter(|code| **code == 503).count(), 2, "{codes:?}");
}

#[tokio::test]
async fn where_ejection_is_off_nobody_is_ejected() {
    let mut origins = ["a", "b"].map(Origin::start);
    let proxy = beside(&origins, "ejection = \"off\"", "ejection = { base = \"1h\" }").await;
    origins[0].kill();
    for _ in 0..40 {
        assert_eq!(proxy.door().get("/plain").await.status, 200, "asked elsewhere");
    }
    ejects(&proxy, "told", "/told", 1).await;
    assert_eq!(count(&proxy, "plain", "ejected").await, 0);
}

#[tokio::test]
async fn never_more_than_the_share_is_ejected() {
    let mut origins = ["a", "b", "c", "d"].map(Origin::start);
    let lines = "ejection = { consecutive = 2, base = \"1h\", max_ejected = \"50%\" }";
    let proxy = front(&origins, lines).await;
    for origin in &mut origins {
        origin.kill();
    }
    ejects(&proxy, "web", "/", 2).await;
    for _ in 0..10 {
        for _ in 0..6 {
            assert_eq!(proxy.door().get("/").await.status, 502);
        }
        assert_eq!(count(&proxy, "web", "ejected").await, 2);
    }
    // What is not ejected is asked, and so is found to be back.
    let up = proxy.status().await["pools"][0]["backends"].clone();
    let spared = up.as_array().unwrap().iter().position(|one| one["state"] == "up").unwrap();
    origins[spared].revive();
    for _ in 0..10 {
        assert_eq!(proxy.door().get("/").await.name(), origins[spared].name());
    }
}

#[tokio::test]
async fn the_last_backend_is_never_ejected() {
    let mut origins = ["a", "b"].map(Origin::start);
    let lines = "ejection = { consecutive = 2, base = \"1h\", max_ejected = \"100%\" }";
    let proxy = front(&origins, lines).await;
    for origin in &mut origins {
        origin.kill();
    }
    ejects(&proxy, "web", "/", 1).await;
    for _ in 0..30 {
        proxy.door().get("/").await;
    }
    assert_eq!(count(&proxy, "web", "ejected").await, 1);
}

#[tokio::test]
async fn rather_an_ejected_backend_than_none() {
    let mut origins = ["a", "b"].map(Origin::start);
    let proxy = front(&origins, "ejection = { consecutive = 2, base = \"1h\" }").await;
    origins[0].fault(Fault::ResetAfterHead);
    ejects(&proxy, "web", "/", 1).await;
    origins[0].fault(Fault::None);
    origins[1].kill();
    assert_eq!(proxy.door().get("/").await.name(), "a");
}
