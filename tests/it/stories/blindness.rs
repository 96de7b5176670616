//! All checks fail at once: whose fault it is, and what holds meanwhile.

use crate::harness::{Config, Origin, PLAIN, Proxy, SOON, pool, within};

const ROUTES: &str = "[[routes]]\npath = \"/shop\"\npool = \"shop\"\n\
    [[routes]]\npath = \"/api\"\npool = \"api\"\n";

async fn front(shop: &Origin, api: &Origin, runtime: &str) -> Proxy {
    let pools = format!("{}{}", pool("shop", &[shop], ""), pool("api", &[api], ""));
    Proxy::start(Config::new(format!("{PLAIN}{ROUTES}{pools}")).runtime(runtime)).await
}

#[tokio::test]
async fn with_the_guard_the_verdicts_before_hold_until_a_check_passes() {
    let [shop, api] = ["a", "b"].map(Origin::start);
    let proxy = front(&shop, &api, "blind_guard = true").await;
    assert_eq!(proxy.probe("/readyz").await.0, 200);
    shop.healthy(false);
    api.healthy(false);
    let (_, text) = within(SOON, "a red /readyz that names the cause", async || {
        Some(proxy.probe("/readyz").await).filter(|(_, text)| text.contains("all checks fail"))
    })
    .await;
    assert!(text.starts_with("not ready"), "{text}");
    assert_eq!(proxy.probe("/readyz").await.0, 503);
    for origin in [&shop, &api] {
        proxy.verdict(origin.name(), true).await;
    }
    for (path, origin) in [("/shop", &shop), ("/api", &api)] {
        assert_eq!(proxy.door().get(path).await.name(), origin.name(), "it goes on serving");
    }
    let status = proxy.status().await;
    let first = status["problems"][0]["text"].to_string();
    assert!(status["blind"] == true && first.contains("all checks fail at once"), "{status}");
    // One that passes ends it: the other is down by its own fault.
    api.healthy(true);
    proxy.verdict("a", false).await;
    proxy.verdict("b", true).await;
    assert_eq!(proxy.probe("/readyz").await.0, 200);
    assert_eq!(proxy.door().get("/shop").await.status, 503);
    assert_eq!(proxy.door().get("/api").await.name(), "b");
    assert!(proxy.said().contains("blind_over"), "{}", proxy.said());
}

#[tokio::test]
async fn without_the_guard_all_are_down() {
    let [shop, api] = ["a", "b"].map(Origin::start);
    let proxy = front(&shop, &api, "").await;
    shop.healthy(false);
    api.healthy(false);
    for origin in [&shop, &api] {
        proxy.verdict(origin.name(), false).await;
    }
    let (status, text) = proxy.probe("/readyz").await;
    assert!(status == 503 && !text.contains("all checks fail"), "{text}");
    assert_eq!(proxy.door().get("/shop").await.status, 503);
}
