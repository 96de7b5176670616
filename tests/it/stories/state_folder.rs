//! The state folder: two processes in one, and what cannot be used as one.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{
    Config, Origin, PLAIN, Proxy, SOON, default_route, ostler_in, pool, spawn, within,
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

#[tokio::test]
async fn what_a_start_would_refuse_is_refused_before_it_in_the_same_words() {
    let origin = Origin::start("a");
    let mut proxy = Proxy::start(farm(&origin)).await;
    let folder = proxy.folder().display().to_string();
    let text = proxy.file();
    let log = format!("{text}[log]\nto = \"logs/access.log\"\n");
    let state = text.replace(&format!("{folder}/state"), &format!("{folder}/no/state"));
    let words = [
        (log, format!("the access log {folder}/logs/access.log cannot be opened: there is no")),
        (state, format!("the state folder {folder}/no/state cannot be used: there is no")),
    ];
    for (text, words) in words {
        proxy.rewrite_raw(&text);
        let check = proxy.command(&["check", "-c", "ostler.toml"]).await.expect(1);
        for told in [&words, "ostler.toml:", "mkdir -p"] {
            assert!(check.stderr.contains(told), "{told} in {}", check.stderr);
        }
        let reload = proxy.reload().await.expect(1);
        assert!(reload.text().contains(&words), "{}", reload.text());
        // Elsewhere, so that nothing else keeps it from starting.
        let other = text.replace(&format!("{folder}/admin.sock"), &format!("{folder}/b.sock"));
        std::fs::write(proxy.path("other.toml"), other).unwrap();
        let start = ostler_in(proxy.folder(), &["run", "-c", "other.toml"]).await.expect(1);
        assert!(start.stderr.contains(&words), "{}", start.stderr);
        assert!(!start.stderr.contains("File(\""), "{}", start.stderr);
    }
    assert!(!proxy.path("logs").exists() && !proxy.path("no").exists());
    assert_eq!(proxy.door().get("/").await.name(), "a", "the old one is in force");
}

#[tokio::test]
async fn a_log_folder_that_has_gone_since_the_start_holds_up_no_reload() {
    let origin = Origin::start("a");
    let folder = Arc::new(TempDir::new().unwrap());
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    let log = farm(&origin).table("[log]\nto = \"logs/access.log\"");
    let mut proxy = Proxy::start_in(folder, log.clone()).await;
    std::fs::remove_dir_all(proxy.path("logs")).unwrap();
    proxy.rewrite(log.runtime("stop_delay = \"1s\""));
    let output = proxy.reload().await.expect(0);
    assert!(output.text().contains("access.log cannot be opened"), "{}", output.text());
}
