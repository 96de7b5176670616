//! The access log in a file: reopened by a signal, and never in the way of a request.

use rustix::process::Signal;

use crate::harness::{Config, Origin, PLAIN, Proxy, SOON, default_route, pool, within};

#[tokio::test]
async fn a_log_file_is_opened_anew_at_sigusr1() {
    let origin = Origin::start("a");
    let body = format!("{PLAIN}{}{}", default_route("web"), pool("web", &[&origin], ""));
    // A relative path starts at the file's own folder.
    let proxy = Proxy::start(Config::new(body).table("[log]\nto = \"access.log\"")).await;
    let holds = |name: &str, text: &str| {
        std::fs::read_to_string(proxy.path(name)).is_ok_and(|log| log.contains(text)).then_some(())
    };
    proxy.door().get("/before").await;
    within(SOON, "the first line", async || holds("access.log", "/before")).await;
    std::fs::rename(proxy.path("access.log"), proxy.path("access.log.1")).unwrap();
    proxy.signal(Signal::USR1);
    within(SOON, "a new file", async || proxy.path("access.log").exists().then_some(())).await;
    proxy.door().get("/after").await;
    within(SOON, "the second line", async || holds("access.log", "/after")).await;
    assert!(holds("access.log.1", "/after").is_none());
}

#[tokio::test]
async fn a_log_that_is_off_says_nothing() {
    let origin = Origin::start("a");
    let body = format!("{PLAIN}{}{}", default_route("web"), pool("web", &[&origin], ""));
    let mut proxy = Proxy::start(Config::new(body).table("[log]\naccess = \"off\"")).await;
    proxy.door().get("/silent").await;
    assert!(proxy.stop().await.success());
    assert!(proxy.log().is_empty());
}
