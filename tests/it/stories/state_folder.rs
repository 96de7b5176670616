//! The state folder: two processes in one.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{
    Config, Origin, PLAIN, Proxy, SOON, default_route, pool, spawn, within,
};

const SHARED: &str = "ostler_state_dir_shared";

fn farm(origin: &Origin) -> Config {
    let pool = pool("web", &[origin], "");
    Config::new(format!("{PLAIN}{}{pool}", default_route("web")))
}

/// A folder of its own, whose state is that of another one.
fn beside(other: &Path) -> Arc<TempDir> {
    let folder = Arc::new(TempDir::new().unwrap());
    symlink(other.join("state"), folder.path().join("state")).unwrap();
    folder
}

async fn shared(proxy: &Proxy, wanted: bool) {
    within(SOON, &format!("{SHARED} to be {wanted}"), async || {
        ((proxy.metric(SHARED, &[]).await > 0.5) == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_process_in_one_folder_names_the_first_until_that_ends() {
    let origin = Origin::start("a");
    let mut first = Proxy::start(farm(&origin)).await;
    let second = Proxy::start_in(beside(first.folder()), farm(&origin)).await;
    second.hears("state_dir_shared").await;
    let pid = first.status().await["pid"].clone();
    let problems = second.status().await["problems"].to_string();
    assert!(problems.contains(&format!("pid {pid} keeps its state in the same")), "{problems}");
    assert!(second.said().contains("each overwrites the marks"), "{}", second.said());
    shared(&second, true).await;
    shared(&first, false).await;
    assert_eq!(second.door().get("/").await.name(), "a", "it serves all the same");
    assert!(first.stop().await.success());
    shared(&second, false).await;
    assert!(!second.status().await["problems"].to_string().contains("same folder"));
    // Now it is its own.
    let third = Proxy::start_in(beside(second.folder()), farm(&origin)).await;
    shared(&third, true).await;
}

#[tokio::test]
async fn a_restart_hands_the_folder_over_even_while_the_old_process_ends() {
    let origin = Origin::start("a");
    let mut first = Proxy::start(farm(&origin).runtime("drain_timeout = \"15s\"")).await;
    let door = first.door();
    let last = spawn(async move { door.get("/gate").await });
    within(SOON, "a request at the backend", async || (origin.count() == 1).then_some(())).await;
    let door = first.door();
    first.signal(Signal::TERM);
    within(SOON, "no new connections", async || door.try_connect().await.err()).await;
    let second = Proxy::start_in(beside(first.folder()), farm(&origin)).await;
    shared(&second, false).await;
    assert!(!second.said().contains("state_dir_shared"), "{}", second.said());
    origin.open_gate();
    assert_eq!(last.await.unwrap().name(), "a");
    assert!(first.ended().await.success());
    let second = second.restart().await;
    assert!(!second.said().contains("state_dir_shared"), "{}", second.said());
}
