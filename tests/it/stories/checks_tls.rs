//! Checks over TLS: the pool's name, authority and verification hold for them.

use std::sync::Arc;

use tempfile::TempDir;

use crate::harness::{Config, PLAIN, Proxy, SOON, TlsOrigin, default_route, pki, within};

fn farm(origin: &TlsOrigin, tls: &str, health: &str) -> Config {
    let address = origin.address();
    Config::new(format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
         tls = {{ {tls} }}\n\
         health = {{ interval = \"200ms\", rise = 1, fall = 2, {health} }}\n",
        default_route("web")
    ))
}

async fn start(config: Config) -> Proxy {
    let folder = Arc::new(TempDir::new().unwrap());
    pki::authority(folder.path());
    Proxy::start_in(folder, config).await
}

/// Waits until the last check says something that begins so.
async fn says(proxy: &Proxy, begins: &str) {
    within(SOON, &format!("a check that says {begins}"), async || {
        let status = proxy.status().await;
        let detail = &status["pools"][0]["backends"][0]["last_check"]["detail"];
        detail.as_str()?.starts_with(begins).then_some(())
    })
    .await;
}

const SHOP: &str = "ca = \"ca.crt\", server_name = \"shop.test\"";

#[tokio::test]
async fn a_check_by_tls_is_a_handshake_and_no_request() {
    let origin = TlsOrigin::start(&["shop.test"]).await;
    let proxy = start(farm(&origin, SHOP, "tls = true")).await;
    proxy.verdict("a", true).await;
    says(&proxy, "TLS agreed on").await;
    within(SOON, "three handshakes", async || (origin.asked().len() >= 3).then_some(())).await;
    let asked = origin.asked();
    assert!(asked.iter().all(|(name, request)| name == "shop.test" && !request), "{asked:?}");
    // Each handshake is from the beginning: no ticket hides the new certificate.
    origin.becomes(&["other.test"]);
    proxy.verdict("a", false).await;
    says(&proxy, "TLS: ").await;
    origin.becomes(&["shop.test"]);
    proxy.verdict("a", true).await;
    assert_eq!(proxy.door().get("/").await.status, 200);
}

#[tokio::test]
async fn a_check_by_http_has_the_pools_name_and_authority() {
    let origin = TlsOrigin::start(&["shop.test"]).await;
    let mut proxy = start(farm(&origin, SHOP, "http = \"/\"")).await;
    proxy.verdict("a", true).await;
    says(&proxy, "HTTP 200").await;
    assert!(origin.asked().iter().any(|asked| *asked == ("shop.test".to_owned(), true)));
    let other = "ca = \"ca.crt\", server_name = \"other.test\"";
    proxy.apply(farm(&origin, other, "http = \"/\"")).await;
    proxy.verdict("a", false).await;
    says(&proxy, "TLS: ").await;
    let unverified = "server_name = \"other.test\", verify = false";
    proxy.apply(farm(&origin, unverified, "http = \"/\"")).await;
    proxy.verdict("a", true).await;
}
