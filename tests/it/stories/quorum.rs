//! Pools that have lost their quorum: who is new goes elsewhere, who is bound stays.

use crate::harness::{Config, Jar, Origin, PLAIN, Proxy, SOON, default_route, pool, within};

/// A pool `web` of `a`, `b` and `c` that wants two of them, and a spare one.
async fn front(origins: &[Origin; 3], spare: &Origin, lines: &str) -> Proxy {
    let own = format!("quorum = {{ min = 2, again = 3, pool = \"spare\" }}\n{lines}");
    let body = format!(
        "{PLAIN}{}{}{}",
        default_route("web"),
        pool("web", &[&origins[0], &origins[1], &origins[2]], &own),
        pool("spare", &[spare], "sticky.by = \"cookie\""),
    );
    Proxy::start(Config::new(body)).await
}

async fn turn(proxy: &Proxy, origin: &Origin, up: bool) {
    origin.healthy(up);
    proxy.verdict(origin.name(), up).await;
}

/// Waits until the pool's quorum is lost, or there again.
async fn quorum(proxy: &Proxy, lost: bool) {
    within(SOON, &format!("lost = {lost}"), async || {
        let status = proxy.status().await;
        (status["pools"][0]["quorum"]["lost"] == lost).then_some(())
    })
    .await;
}

#[tokio::test]
async fn below_it_new_visitors_go_elsewhere_and_the_bound_stay() {
    let origins = Origin::three();
    let spare = Origin::start("spare");
    let proxy = front(&origins, &spare, "sticky.by = \"cookie\"").await;
    let mut bound = Jar::new();
    while bound.get(&proxy.door(), "/").await.name() != origins[0].name() {
        bound = Jar::new();
    }
    turn(&proxy, &origins[1], false).await;
    quorum(&proxy, false).await;
    assert_ne!(proxy.door().get("/two").await.name(), "spare", "two are enough");
    turn(&proxy, &origins[2], false).await;
    quorum(&proxy, true).await;
    let home = origins[0].name();
    assert_eq!(bound.visits(&proxy.door(), 3).await, [home; 3]);
    let mut newcomer = Jar::new();
    for _ in 0..3 {
        let answer = newcomer.get(&proxy.door(), "/new").await;
        assert_eq!((answer.name(), answer.set_cookies().len()), ("spare".to_owned(), 0));
    }
    assert_eq!(proxy.logged("/new").await["pool"], "spare");
    let usable = proxy.metric("ostler_pool_usable_backends", &["pool=\"web\""]).await;
    assert!((usable - 1.0).abs() < 0.5, "{usable}");
    let status = proxy.status().await["problems"].to_string();
    assert!(status.contains("lost its quorum"), "{status}");
    let explained = proxy.command(&["explain", "http://example.com/"]).await.text();
    assert!(explained.contains("lost its quorum"), "{explained}");
    assert!(proxy.said().contains("quorum_lost"), "{}", proxy.said());
    // Two were enough before; to come back it takes all three.
    turn(&proxy, &origins[1], true).await;
    quorum(&proxy, true).await;
    assert_eq!(newcomer.get(&proxy.door(), "/").await.name(), "spare");
    turn(&proxy, &origins[2], true).await;
    quorum(&proxy, false).await;
    let own = newcomer.get(&proxy.door(), "/").await.name();
    assert_ne!(own, "spare");
    assert_eq!(newcomer.visits(&proxy.door(), 3).await, [&*own; 3]);
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn where_the_other_pool_cannot_serve_too_few_are_better_than_none() {
    let origins = Origin::three();
    let spare = Origin::start("spare");
    let proxy = front(&origins, &spare, "").await;
    for origin in [&origins[1], &origins[2]] {
        turn(&proxy, origin, false).await;
    }
    quorum(&proxy, true).await;
    assert_eq!(proxy.door().get("/").await.name(), "spare", "without sessions all are new");
    turn(&proxy, &spare, false).await;
    assert_eq!(proxy.door().get("/").await.name(), origins[0].name());
}
