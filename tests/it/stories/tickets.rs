//! Session tickets: who resumes where, and for how long.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

use crate::harness::{Config, Origin, Proxy, SECURE, default_route, pki, pool};

const SHARED: &str = "tls.ticket_keys = [\"${file:ticket.key}\"]\n";

fn key(folder: &Path, name: &str, byte: u8) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(folder.join(name)).unwrap();
    file.write_all(format!("{byte:02x}").repeat(32).as_bytes()).unwrap();
}

fn config(origin: &Origin, lines: &str) -> Config {
    Config::new(format!("{SECURE}{lines}{}{}", default_route("web"), pool("web", &[origin], "")))
}

/// A node whose first key is made of this byte.
async fn node(origin: &Origin, byte: u8, lines: &str) -> Proxy {
    let folder = Arc::new(TempDir::new().unwrap());
    key(folder.path(), "ticket.key", byte);
    Proxy::start_in(folder, config(origin, lines)).await
}

/// Clients of either version, each with a memory of its own.
fn clients() -> [Arc<ClientConfig>; 2] {
    [&TLS12, &TLS13].map(|version| pki::client_that_shows(&["http/1.1"], None, &[version]))
}

/// One request on a connection of its own; whether its session was resumed.
async fn resumed(proxy: &Proxy, client: &Arc<ClientConfig>) -> bool {
    let count = async || {
        proxy.metric("ostler_tls_handshakes_total", &["resumed=\"true\"", "result=\"ok\""]).await
    };
    let before = count().await;
    assert_eq!(proxy.secure("http/1.1").with(client).get("/").await.status, 200);
    count().await > before
}

#[tokio::test]
async fn nodes_with_the_same_ticket_keys_resume_each_others_sessions() {
    let origin = Origin::start("a");
    let (one, two) = (node(&origin, 1, SHARED).await, node(&origin, 1, SHARED).await);
    for client in clients() {
        assert!(!resumed(&one, &client).await);
        assert!(resumed(&two, &client).await);
        assert!(resumed(&one, &client).await, "with what the other has sealed");
    }
}

#[tokio::test]
async fn nodes_without_common_keys_begin_anew() {
    let origin = Origin::start("a");
    let (one, other) = (node(&origin, 1, SHARED).await, node(&origin, 2, SHARED).await);
    let own = node(&origin, 1, "").await;
    for client in clients() {
        assert!(!resumed(&one, &client).await);
        assert!(!resumed(&other, &client).await);
        assert!(!resumed(&own, &client).await);
        assert!(resumed(&own, &client).await);
    }
}

#[tokio::test]
async fn keys_are_rotated_without_a_visitor_who_begins_anew_and_a_dropped_one_opens_nothing() {
    let origin = Origin::start("a");
    let mut node = node(&origin, 1, SHARED).await;
    key(node.directory().path(), "next.key", 2);
    let both = "tls.ticket_keys = [\"${file:next.key}\", \"${file:ticket.key}\"]\n";
    let next = "tls.ticket_keys = [\"${file:next.key}\"]\n";
    let [client, late] = clients();
    assert!(!resumed(&node, &client).await && !resumed(&node, &late).await);
    node.apply(config(&origin, both)).await;
    assert!(resumed(&node, &client).await, "the old key opens");
    node.apply(config(&origin, next)).await;
    assert!(resumed(&node, &client).await, "the new one has sealed");
    assert!(!resumed(&node, &late).await, "the old one is gone");
}

#[tokio::test]
async fn a_key_that_changes_in_its_file_holds_after_a_reload() {
    let origin = Origin::start("a");
    let mut node = node(&origin, 1, SHARED).await;
    let [_, client] = clients();
    assert!(!resumed(&node, &client).await);
    let told = node.reload().await.expect(0).stdout;
    assert!(!told.contains("listener"), "{told}");
    assert!(resumed(&node, &client).await, "a reload alone resets nothing");
    key(node.directory().path(), "ticket.key", 2);
    let told = node.reload().await.expect(0).stdout;
    assert!(told.contains("~ listener web"), "{told}");
    assert!(!resumed(&node, &client).await);
    assert!(resumed(&node, &client).await);
}
