//! Pools whose backends stand in tiers: who serves in bad times, and how they end.

use crate::harness::{
    Config, Jar, Origin, PLAIN, Proxy, SOON, backend, default_route, pool_of, within,
};

/// A pool of `a` in tier 0 and `b` in tier 1, with sessions.
async fn tiered(origins: &[Origin; 2], lines: &str) -> Proxy {
    let backends = [backend(&origins[0], "tier = 0"), backend(&origins[1], "tier = 1")];
    let lines = format!("sticky.by = \"cookie\"\n{lines}");
    let body = format!("{PLAIN}{}{}", default_route("web"), pool_of("web", &backends, &lines));
    Proxy::start(Config::new(body)).await
}

async fn turn(proxy: &Proxy, origin: &Origin, up: bool) {
    origin.healthy(up);
    proxy.verdict(origin.name(), up).await;
}

/// Who serves somebody new.
async fn newcomer(proxy: &Proxy) -> String {
    Jar::new().get(&proxy.door(), "/new").await.name()
}

/// Waits until the status names the tier that serves.
async fn serves(proxy: &Proxy, tier: u64) {
    within(SOON, &format!("tier {tier} in the status"), async || {
        let status = proxy.status().await;
        (status["pools"][0]["tier"] == tier).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_higher_tier_serves_in_bad_times_and_its_visitors_go_home_at_once() {
    let origins = ["a", "b"].map(Origin::start);
    let proxy = tiered(&origins, "").await;
    let (mut early, mut late) = (Jar::new(), Jar::new());
    assert_eq!(early.visits(&proxy.door(), 3).await, ["a", "a", "a"]);
    assert_eq!(origins[1].count(), 0, "nobody asks the higher tier in good times");
    turn(&proxy, &origins[0], false).await;
    assert_eq!(early.get(&proxy.door(), "/").await.name(), "b");
    assert_eq!(late.get(&proxy.door(), "/").await.name(), "b");
    let text = proxy.status().await["problems"].to_string();
    assert!(text.contains("pool web is served by tier 1"), "{text}");
    turn(&proxy, &origins[0], true).await;
    for jar in [&mut early, &mut late] {
        assert_eq!(jar.visits(&proxy.door(), 3).await, ["a", "a", "a"]);
    }
    assert_eq!((proxy.moved("down").await, proxy.moved("home").await), (1, 2));
    assert_eq!(newcomer(&proxy).await, "a");
}

#[tokio::test]
async fn with_new_sessions_the_bound_of_the_higher_tier_stay() {
    let origins = ["a", "b"].map(Origin::start);
    let proxy = tiered(&origins, "failback = \"new-sessions\"").await;
    turn(&proxy, &origins[0], false).await;
    let mut bound = Jar::new();
    assert_eq!(bound.get(&proxy.door(), "/").await.name(), "b");
    turn(&proxy, &origins[0], true).await;
    assert_eq!(newcomer(&proxy).await, "a");
    assert_eq!(bound.visits(&proxy.door(), 3).await, ["b", "b", "b"]);
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn a_manual_failback_waits_for_the_operator() {
    let origins = ["a", "b"].map(Origin::start);
    let proxy = tiered(&origins, "failback = \"manual\"").await;
    let refused = proxy.command(&["failback", "web"]).await.expect(1).text();
    assert!(refused.contains("no tier below tier 0"), "{refused}");
    turn(&proxy, &origins[0], false).await;
    let mut bound = Jar::new();
    assert_eq!(bound.get(&proxy.door(), "/").await.name(), "b");
    within(SOON, "the turn in the log", async || {
        proxy.said().contains("a higher tier of the pool serves").then_some(())
    })
    .await;
    turn(&proxy, &origins[0], true).await;
    assert_eq!(newcomer(&proxy).await, "b");
    assert_eq!(bound.visits(&proxy.door(), 2).await, ["b", "b"]);
    let text = proxy.status().await["problems"].to_string();
    assert!(text.contains("ostler failback web"), "{text}");
    let explained = proxy.command(&["explain", "http://example.com/"]).await.text();
    assert!(explained.contains("tier 1"), "{explained}");
    let said = proxy.command(&["failback", "web", "--reason", "synced"]).await.expect(0).stdout;
    assert!(said.contains("tier 0 serves"), "{said}");
    assert_eq!(newcomer(&proxy).await, "a");
    assert_eq!(bound.visits(&proxy.door(), 2).await, ["a", "a"]);
    assert_eq!(proxy.moved("home").await, 1);
    proxy.command(&["failback", "none"]).await.expect(1);
    proxy.command(&["failback", "web/a"]).await.expect(2);
}

#[tokio::test]
async fn a_failback_after_a_time_comes_by_itself() {
    let origins = ["a", "b"].map(Origin::start);
    let proxy = tiered(&origins, "failback = { after = \"3s\" }").await;
    turn(&proxy, &origins[0], false).await;
    serves(&proxy, 1).await;
    let mut bound = Jar::new();
    assert_eq!(bound.get(&proxy.door(), "/").await.name(), "b");
    turn(&proxy, &origins[0], true).await;
    serves(&proxy, 0).await;
    assert_eq!(bound.get(&proxy.door(), "/").await.name(), "a");
    assert_eq!(newcomer(&proxy).await, "a");
}

#[tokio::test]
async fn a_drain_of_the_lower_tier_sends_new_visitors_up_and_keeps_the_bound() {
    let origins = ["a", "b"].map(Origin::start);
    let proxy = tiered(&origins, "").await;
    let mut bound = Jar::new();
    assert_eq!(bound.get(&proxy.door(), "/").await.name(), "a");
    proxy.command(&["drain", "web/a"]).await.expect(0);
    let mut late = Jar::new();
    assert_eq!(late.get(&proxy.door(), "/").await.name(), "b");
    assert_eq!(bound.visits(&proxy.door(), 3).await, ["a", "a", "a"]);
    assert_eq!(proxy.moved("").await, 0);
    proxy.command(&["unmark", "web/a"]).await.expect(0);
    assert_eq!(late.get(&proxy.door(), "/").await.name(), "a");
    assert_eq!(proxy.moved("home").await, 1);
}
