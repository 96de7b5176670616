//! What a check may ask, where, and what it may expect of the answer.

use crate::harness::{Config, GrpcHealth, Origin, PLAIN, Proxy, SOON, default_route, within};

fn checked(origin: &Origin, health: &str) -> Config {
    let (id, address) = (origin.name(), origin.address());
    Config::new(format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"{id}\", address = \"{address}\" }}]\n\
         health = {{ interval = \"200ms\", rise = 1, fall = 2, {health} }}\n",
        default_route("web")
    ))
}

#[tokio::test]
async fn a_check_may_go_to_another_port_of_the_backend() {
    let (origin, admin) = (Origin::start("a"), Origin::start("admin"));
    let health = format!("http = \"/healthz\", port = {}", admin.address().port());
    let proxy = Proxy::start(checked(&origin, &health)).await;
    assert_eq!(proxy.door().get("/").await.name(), "a");
    assert_eq!(origin.checks(), 0);
    admin.healthy(false);
    proxy.verdict("a", false).await;
}

#[tokio::test]
async fn a_check_sends_fields_and_looks_into_the_body() {
    let origin = Origin::start("a");
    // This origin tells what it was sent.
    let fields = "http = \"/told\", headers = { \"x-check\" = \"deep\", user-agent = \"watch\" }";
    let text = format!("{fields}, expect_body = '[\"x-check\",\"deep\"]'");
    let mut proxy = Proxy::start(checked(&origin, &text)).await;
    proxy.verdict("a", true).await;
    assert_eq!(origin.last().one("user-agent"), Some("watch"));
    let pattern = format!("{fields}, expect_body = {{ regex = 'x-check\",\"[a-c]' }}");
    proxy.apply(checked(&origin, &pattern)).await;
    proxy.verdict("a", false).await;
    let status = proxy.status().await;
    let detail = &status["pools"][0]["backends"][0]["last_check"]["detail"];
    assert!(detail.as_str().unwrap().contains("does not match its body"), "{detail}");
}

#[tokio::test]
async fn a_check_by_grpc_wants_serving() {
    let (origin, health) = (Origin::start("a"), GrpcHealth::start(false).await);
    let port = health.address().port();
    let asks = format!("grpc = \"shop\", port = {port}");
    let proxy = Proxy::start(checked(&origin, &asks)).await;
    assert_eq!(proxy.door().get("/").await.name(), "a");
    assert_eq!(health.last(), b"\0\0\0\0\x06\x0a\x04shop");
    health.status(2);
    proxy.verdict("a", false).await;
    let status = proxy.status().await;
    assert_eq!(status["pools"][0]["backends"][0]["last_check"]["detail"], "gRPC NOT_SERVING");
    health.status(1);
    proxy.verdict("a", true).await;
}

#[tokio::test]
async fn a_check_by_grpc_agrees_on_http2_where_the_pool_has_tls() {
    let health = GrpcHealth::start(true).await;
    let pool = |id: &str, check: &str| {
        let address = health.address();
        Config::new(format!(
            "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"{id}\", address = \"{address}\" }}]\n\
             tls = {{ verify = false }}\n\
             health = {{ interval = \"200ms\", rise = 1, fall = 2, {check} }}\n",
            default_route("web")
        ))
    };
    let mut proxy = Proxy::start(pool("a", "grpc = \"\"")).await;
    proxy.verdict("a", true).await;
    // The same server has no HTTP/1.1 to offer.
    proxy.apply(pool("b", "http = \"/\"")).await;
    within(SOON, "a check that fails in TLS", async || {
        let status = proxy.status().await;
        let detail = &status["pools"][0]["backends"][0]["last_check"]["detail"];
        detail.as_str()?.starts_with("TLS").then_some(())
    })
    .await;
}
