//! Two nodes that know each other: commands act on both, counts add up, and absence is named.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Config, Crowd, Origin, Proxy, sticky_farm};

const SECRET: &str = "k3Jd9sPq7ZrT1vXw5yBn8mLc4hGf2aEu";

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A node whose API listens on one port and which knows the other node by its.
async fn node(origins: &[Origin], idle: &str, own: u16, (peer, port): (&str, u16)) -> Proxy {
    let directory = Arc::new(TempDir::new().unwrap());
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(directory.path().join("peer.token")).unwrap();
    file.write_all(SECRET.as_bytes()).unwrap();
    let admin = format!(
        "bind = \"127.0.0.1:{own}\"\n\
         tokens = [{{ name = \"peer\", file = \"peer.token\", role = \"operate\" }}]\n\
         peers = [{{ name = \"{peer}\", url = \"http://127.0.0.1:{port}\", \
         token_file = \"peer.token\" }}]"
    );
    let keys = format!("[sessions]\nkeys = [\"{:064x}\"]", 0xa0);
    let config: Config = sticky_farm(origins, idle).table(&keys).admin(&admin);
    Proxy::start_in(directory, config).await
}

async fn pair(origins: &[Origin], idle: &str) -> (Proxy, Proxy) {
    let (left, right) = (free_port(), free_port());
    let one = node(origins, idle, left, ("lb2", right)).await;
    let two = node(origins, idle, right, ("lb1", left)).await;
    (one, two)
}

async fn state(node: &Proxy, backend: &str) -> Value {
    node.sessions_of("web", backend).await["state"].clone()
}

#[tokio::test]
async fn a_drain_holds_on_both_nodes_and_waits_for_both() {
    let origins = Origin::three();
    let (one, two) = pair(&origins, "idle = \"3s\"").await;
    let mut crowd = Crowd::gather(&one.door(), 12).await;
    let bound = crowd.on("b");
    assert!(crowd.visit(&two.door()).await.is_empty());
    let page = one.command(&["sessions", "--json"]).await.expect(0).stdout;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["nodes"].as_array().unwrap().len(), 2, "{page}");
    for nodes in page["nodes"].as_array().unwrap() {
        assert_eq!(nodes["pools"][0]["sessions"], 12, "each counts who came to it: {page}");
    }
    let words = ["drain", "web/b", "--deadline", "2s", "--wait", "--strict"];
    let visits = async {
        let mut moves = 0;
        while moves < bound {
            for node in [&one, &two] {
                moves += crowd.visit(&node.door()).await.len();
            }
        }
        moves
    };
    let (output, moves) = tokio::join!(one.command(&words), visits);
    assert_eq!(moves, bound, "once, whichever node they ask");
    output.expect(4);
    for node in [&one, &two] {
        assert_eq!(state(node, "b").await, "drain");
        assert_eq!(Crowd::gather(&node.door(), 4).await.on("b"), 0);
    }
    two.command(&["ready", "web/b"]).await.expect(0);
    for node in [&one, &two] {
        assert_eq!(state(node, "b").await, "up");
    }
}

#[tokio::test]
async fn a_command_that_cannot_reach_the_other_node_changes_nothing_and_names_it() {
    let origins = Origin::three();
    let (one, mut two) = pair(&origins, "idle = \"10m\"").await;
    assert!(two.stop().await.success());
    for words in [&["drain", "web/b"][..], &["maint", "web/b"], &["sessions"]] {
        let output = one.command(words).await.expect(1);
        assert!(output.text().contains("lb2"), "{words:?}: {}", output.text());
    }
    assert_eq!(state(&one, "b").await, "up", "nothing has changed");
    one.command(&["drain", "web/b", "--this-node"]).await.expect(0);
    assert_eq!(state(&one, "b").await, "drain");
    let text = one.command(&["sessions", "--this-node"]).await.expect(0).stdout;
    assert!(text.contains("drain"), "{text}");
}
