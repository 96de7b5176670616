//! `ostler probe`: a check that somebody looks at, which changes nothing.

use std::sync::Arc;

use tempfile::TempDir;

use crate::harness::{
    Config, GrpcHealth, Origin, Output, PLAIN, Proxy, TlsOrigin, default_route, pki, pool,
};

async fn probed(proxy: &Proxy, code: i32, backend: &str) -> serde_json::Value {
    let output = proxy.command(&["probe", backend, "--json"]).await.expect(code);
    serde_json::from_str(&output.stdout).unwrap()
}

/// The text of a step of the only check.
fn step(probed: &serde_json::Value, name: &str) -> String {
    let steps = probed["checks"][0]["steps"].as_array().unwrap();
    let found = steps.iter().find(|step| step["step"] == name);
    let found = found.unwrap_or_else(|| panic!("no step {name} in {probed}"));
    found["text"].as_str().unwrap().to_owned()
}

fn says(output: &Output, text: &str) {
    assert!(output.stdout.contains(text), "{text} is not in\n{}", output.text());
}

#[tokio::test]
async fn the_whole_conversation_is_shown_and_secrets_are_not() {
    let origin = Origin::start("a");
    let address = origin.address();
    let body = format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
         health = {{ http = \"/healthz\", interval = \"10m\", \
         headers = {{ authorization = \"Bearer 4711\", x-check = \"deep\" }} }}\n",
        default_route("web")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    proxy.verdict("a", true).await;
    let output = proxy.command(&["probe", "web/a"]).await.expect(0);
    says(&output, &format!("GET /healthz of web/a at {address}\n"));
    says(&output, &format!("connect      {address} connected\n"));
    says(&output, "sent         GET /healthz HTTP/1.1\n");
    says(&output, "authorization: (hidden)\n");
    says(&output, "x-check: deep\n");
    says(&output, "received     HTTP/1.1 200 ");
    says(&output, "body         checked\n");
    says(&output, "passed       HTTP 200\n");
    says(&output, "its state by its checks is up; a probe changes nothing\n");
    assert!(!output.text().contains("4711"));

    let counted = async || proxy.metric("ostler_backend_checks_total", &["backend=\"a\""]).await;
    let before = counted().await;
    origin.healthy(false);
    for _ in 0..5 {
        let output = proxy.command(&["probe", "web/a"]).await.expect(1);
        says(&output, "received     HTTP/1.1 503 ");
        says(&output, "failed       HTTP 503\n");
    }
    proxy.verdict("a", true).await;
    assert_eq!(proxy.door().get("/").await.name(), "a");
    assert!((counted().await - before).abs() < 0.5, "a probe counts nowhere");
}

#[tokio::test]
async fn a_retry_ends_when_it_passes() {
    let mut origin = Origin::start("a");
    let proxy = Proxy::start(Config::new(format!(
        "{PLAIN}{}{}",
        default_route("web"),
        pool("web", &[&origin], "")
    )))
    .await;
    origin.kill();
    let output = proxy.command(&["probe", "web/a", "--retry", "1s"]).await.expect(1);
    says(&output, "Connection refused\n");
    let trying = async || proxy.command(&["probe", "web/a", "--retry", "10m"]).await;
    let reviving = async {
        proxy.verdict("a", false).await;
        origin.revive();
    };
    let (output, ()) = tokio::join!(trying(), reviving);
    let output = output.expect(0);
    says(&output, "passed       HTTP 200\n");
}

#[tokio::test]
async fn what_is_no_http_is_shown_as_it_came() {
    let origin = Origin::start("a");
    origin.script(b"220 mail.example.com ESMTP\r\n");
    let address = origin.address();
    let body = format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
         health = {{ http = \"/\", interval = \"10m\" }}\n",
        default_route("web")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let output = proxy.command(&["probe", "web/a"]).await.expect(1);
    says(&output, "received     220 mail.example.com ESMTP\n");
}

#[tokio::test]
async fn a_certificate_that_is_not_believed_is_shown() {
    let folder = Arc::new(TempDir::new().unwrap());
    pki::authority(folder.path());
    let origin = TlsOrigin::start(&["shop.test"]).await;
    let address = origin.address();
    let body = |tls: &str| {
        Config::new(format!(
            "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
             tls = {{ ca = \"ca.crt\", {tls} }}\nhealth = {{ http = \"/\", interval = \"10m\" }}\n",
            default_route("web")
        ))
    };
    let mut proxy = Proxy::start_in(folder, body("server_name = \"shop.test\"")).await;
    let good = probed(&proxy, 0, "web/a").await;
    assert!(
        step(&good, "tls").starts_with("agreed for server name shop.test, TLSv1_3, "),
        "{good}"
    );
    assert!(step(&good, "certificate").contains("\nnames shop.test\nvalid "), "{good}");
    assert!(step(&good, "received").starts_with("HTTP/1.1 200 "), "{good}");
    proxy.apply(body("server_name = \"other.test\"")).await;
    let bad = probed(&proxy, 1, "web/a").await;
    assert!(step(&bad, "certificate").contains("\nnames shop.test\nvalid "), "{bad}");
    assert!(step(&bad, "tls").starts_with("failed for server name other.test: TLS: "), "{bad}");
    assert!(bad["checks"][0]["detail"].as_str().unwrap().starts_with("TLS: "), "{bad}");
}

#[tokio::test]
async fn a_conversation_by_grpc_is_shown_with_its_trailers() {
    let health = GrpcHealth::start(false).await;
    let address = health.address();
    let body = format!(
        "{PLAIN}{}[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
         health = {{ grpc = \"shop\", interval = \"10m\" }}\n",
        default_route("web")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let seen = probed(&proxy, 0, "web/a").await;
    assert_eq!(seen["checks"][0]["asks"], "grpc shop");
    assert!(step(&seen, "sent").contains("/grpc.health.v1.Health/Check HTTP/2\n"), "{seen}");
    assert!(step(&seen, "received").starts_with("HTTP/2 200 OK\n"), "{seen}");
    assert_eq!(step(&seen, "trailers"), "grpc-status: 0");
}

#[tokio::test]
async fn a_backend_that_is_not_there_or_has_no_check_cannot_be_probed() {
    let origin = Origin::start("a");
    let address = origin.address();
    let pool = format!("[pools.web]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n");
    let body = format!("{PLAIN}{}{pool}", default_route("web"));
    let proxy = Proxy::start(Config::new(body)).await;
    let why = proxy.command(&["probe", "web/a"]).await.expect(1).stderr;
    assert!(why.contains("pool web has no `health`"), "{why}");
    let why = proxy.command(&["probe", "web/z"]).await.expect(1).stderr;
    assert!(why.contains("pool web has no backend z"), "{why}");
    proxy.command(&["probe", "web"]).await.expect(2);
    proxy.command(&["probe", "web/a", "--retry", "none"]).await.expect(2);
}
