//! Pools without a backend that is up: they fail, try all the same, hand over, or say so.

use crate::harness::{Config, Jar, Origin, PLAIN, Proxy, SECURE, default_route, pool};

/// One pool of these, checked, with sessions.
async fn front(origins: &[Origin], lines: &str) -> Proxy {
    let origins: Vec<&Origin> = origins.iter().collect();
    let lines = format!("sticky.by = \"cookie\"\n{lines}");
    let body = format!("{PLAIN}{}{}", default_route("web"), pool("web", &origins, &lines));
    Proxy::start(Config::new(body)).await
}

async fn all_down(proxy: &Proxy, origins: &[Origin]) {
    for origin in origins {
        origin.healthy(false);
    }
    for origin in origins {
        proxy.verdict(origin.name(), false).await;
    }
}

#[tokio::test]
async fn a_pool_that_fails_binds_nobody_anew_and_loses_nobody() {
    let origins = ["a", "b"].map(Origin::start);
    let proxy = front(&origins, "when_all_down = \"fail\"").await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    all_down(&proxy, &origins).await;
    let answer = jar.get(&proxy.door(), "/down").await;
    assert_eq!((answer.status, answer.set_cookies().len()), (503, 0));
    assert_eq!(proxy.logged("/down").await["reason"], "no_backend_down");
    for origin in &origins {
        origin.healthy(true);
        proxy.verdict(origin.name(), true).await;
    }
    assert_eq!(jar.get(&proxy.door(), "/").await.name(), home);
}

#[tokio::test]
async fn a_pool_that_tries_all_serves_where_only_the_checks_fail() {
    let origins = ["a", "b"].map(Origin::start);
    let proxy = front(&origins, "when_all_down = \"try-all\"").await;
    let mut jars = Vec::new();
    for _ in 0..6 {
        let mut jar = Jar::new();
        let home = jar.get(&proxy.door(), "/").await.name();
        jars.push((jar, home));
    }
    all_down(&proxy, &origins).await;
    for _ in 0..3 {
        for (jar, home) in &mut jars {
            let answer = jar.get(&proxy.door(), "/bound").await;
            assert_eq!((&answer.name(), answer.set_cookies().len()), (&*home, 0));
        }
    }
    assert_eq!(proxy.moved("").await, 0, "nobody's backend is worse than another");
    let mut newcomer = Jar::new();
    let home = newcomer.get(&proxy.door(), "/new").await.name();
    assert_eq!(newcomer.visits(&proxy.door(), 3).await, [&*home; 3]);
    // One that is up is better than those that may be.
    origins[1].healthy(true);
    proxy.verdict("b", true).await;
    for (mut jar, _) in jars {
        assert_eq!(jar.get(&proxy.door(), "/").await.name(), "b");
    }
}

#[tokio::test]
async fn a_pool_of_one_that_tries_all_keeps_its_visitors() {
    let mut origins = [Origin::start("a")];
    let proxy = front(&origins, "when_all_down = \"try-all\"").await;
    let mut jar = Jar::new();
    jar.get(&proxy.door(), "/").await.name();
    all_down(&proxy, &origins).await;
    assert_eq!(jar.visits(&proxy.door(), 3).await, ["a", "a", "a"]);
    origins[0].kill();
    assert_eq!(jar.get(&proxy.door(), "/dead").await.status, 502);
    assert_eq!(proxy.logged("/dead").await["reason"], "connect_refused");
}

#[tokio::test]
async fn siblings_that_begin_where_all_are_down_stay_together() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let lines = "sticky.by = \"cookie\"\nwhen_all_down = \"try-all\"";
    let body = format!("{SECURE}{}{}", default_route("web"), pool("web", &all, lines));
    let proxy = Proxy::start(Config::new(body)).await;
    all_down(&proxy, &origins).await;
    for _ in 0..5 {
        let mut one = proxy.secure("h2").connect().await;
        let (mut two, mut three) = (one.share(), one.share());
        let (one, two, three) = tokio::join!(one.get("/1"), two.get("/2"), three.get("/3"));
        let names = [one.name(), two.name(), three.name()];
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    }
}

/// A checked pool `web` of `a` with sessions, and a spare one with sessions of its own.
async fn spared(origins: &[Origin; 2]) -> Proxy {
    let own = "sticky.by = \"cookie\"\nwhen_all_down = { pool = \"spare\" }";
    let body = format!(
        "{PLAIN}{}{}{}",
        default_route("web"),
        pool("web", &[&origins[0]], own),
        pool("spare", &[&origins[1]], "sticky.by = \"cookie\"")
    );
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn another_pool_serves_and_binds_nobody() {
    let origins = ["a", "spare"].map(Origin::start);
    let proxy = spared(&origins).await;
    let mut jar = Jar::new();
    assert_eq!(jar.get(&proxy.door(), "/").await.name(), "a");
    let token = jar.token();
    all_down(&proxy, &origins[..1]).await;
    for mut visitor in [jar.clone(), Jar::new()] {
        let answer = visitor.get(&proxy.door(), "/spared").await;
        assert_eq!((answer.name(), answer.set_cookies().len()), ("spare".to_owned(), 0));
        assert!(origins[1].last().all("cookie").is_empty(), "our cookie is nobody's business");
    }
    assert_eq!(proxy.logged("/spared").await["pool"], "spare");
    origins[0].healthy(true);
    proxy.verdict("a", true).await;
    let answer = jar.get(&proxy.door(), "/back").await;
    assert_eq!((answer.name(), answer.set_cookies().len()), ("a".to_owned(), 0));
    assert_eq!(jar.token(), token);
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn where_the_other_pool_is_down_too_it_is_a_503() {
    let origins = ["a", "spare"].map(Origin::start);
    let proxy = spared(&origins).await;
    all_down(&proxy, &origins).await;
    assert_eq!(proxy.door().get("/none").await.status, 503);
    assert_eq!(proxy.logged("/none").await["reason"], "no_backend_down");
}

#[tokio::test]
async fn a_page_of_its_own_says_when_to_come_back() {
    let origins = ["a", "b"].map(Origin::start);
    let page = "{ status = 503, body = \"back soon\", content_type = \"text/html\" }";
    let proxy = front(&origins, &format!("when_all_down.respond = {page}")).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    all_down(&proxy, &origins).await;
    let answer = jar.get(&proxy.door(), "/page").await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "back soon"));
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("retry-after").is_some());
    assert!(answer.set_cookies().is_empty());
    let line = proxy.logged("/page").await;
    assert_eq!((&line["reason"], &line["status"]), (&"no_backend_down".into(), &503.into()));
    for origin in &origins {
        origin.healthy(true);
        proxy.verdict(origin.name(), true).await;
    }
    assert_eq!(jar.get(&proxy.door(), "/").await.name(), home);
}
