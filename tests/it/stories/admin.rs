//! The operator's side: status, marks, exit codes and the audit log.

use crate::harness::{
    Config, Origin, PLAIN, Proxy, default_route, ostler, ostler_in, pool, pool_of, sticky_pool,
};

async fn front(origins: &[Origin]) -> Proxy {
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &all));
    Proxy::start(Config::new(body)).await
}

#[tokio::test]
async fn status_says_what_runs() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    let text = proxy.command(&["status"]).await.expect(0).stdout;
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    let status = proxy.status().await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["pid"].as_u64().unwrap() > 1);
    assert_eq!(status["listeners"][0]["name"], "http");
}

#[tokio::test]
async fn problems_come_first() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    origins[1].healthy(false);
    proxy.verdict("b", false).await;
    let text = proxy.command(&["status"]).await.expect(0).stdout;
    assert!(text.contains("web/b") && text.contains("503"), "the failed check is shown: {text}");
}

#[tokio::test]
async fn status_check_exits_as_monitoring_expects() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    proxy.command(&["status", "--check"]).await.expect(0);
    origins[1].healthy(false);
    proxy.verdict("b", false).await;
    proxy.command(&["status", "--check"]).await.expect(1);
    for origin in &origins {
        origin.healthy(false);
    }
    for name in ["a", "c"] {
        proxy.verdict(name, false).await;
    }
    proxy.command(&["status", "--check"]).await.expect(2);
    ostler(&["status", "--check", "--socket", "/nowhere/at/all.sock"]).await.expect(2);
    ostler(&["status", "--check", "--nonsense"]).await.expect(3);
}

#[tokio::test]
async fn exit_codes_tell_refusals_from_usage_from_absence() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    proxy.command(&["drain", "web/nobody"]).await.expect(1);
    proxy.command(&["drain", "nowhere/a"]).await.expect(1);
    proxy.command(&["drain"]).await.expect(2);
    proxy.command(&["dance"]).await.expect(2);
    proxy.command(&["weight", "web/a", "many"]).await.expect(2);
    for words in [&["status"][..], &["reload"], &["stop"], &["drain", "web/a"]] {
        let words: Vec<&str> =
            words.iter().copied().chain(["--socket", "/nowhere/at/all.sock"]).collect();
        let output = ostler(&words).await.expect(3);
        assert!(output.stderr.contains("/nowhere/at/all.sock"), "{}", output.text());
    }
}

#[tokio::test]
async fn marks_carry_who_and_why_and_go_to_the_audit_log() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    let words = ["drain", "web/a", "--reason", "kernel update on rack 7"];
    proxy.command(&words).await.expect(0);
    proxy.hears("kernel update on rack 7").await;
    let said = proxy.said();
    let line = said.lines().find(|line| line.contains("kernel update on rack 7")).unwrap();
    assert!(line.contains("audit") && line.contains("web/a") && line.contains("uid"), "{line}");
    let text = proxy.command(&["status"]).await.expect(0).stdout;
    assert!(text.contains("kernel update on rack 7") && text.contains("web/a"), "{text}");
    assert!(proxy.metric("ostler_backend_mark", &["backend=\"a\"", "mark=\"drain\""]).await > 0.5);
    proxy.command(&["unmark", "web/a"]).await.expect(0);
    assert!(!proxy.command(&["status"]).await.expect(0).stdout.contains("kernel update"));
}

#[tokio::test]
async fn a_mark_that_would_empty_the_pool_is_refused_unless_forced() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    proxy.command(&["maint", "web/a"]).await.expect(0);
    proxy.command(&["maint", "web/b"]).await.expect(0);
    let output = proxy.command(&["maint", "web/c"]).await.expect(1);
    assert!(output.text().contains("--force"), "{}", output.text());
    let address = origins[2].address().to_string();
    let output = proxy.command(&["maint", "--address", &address]).await.expect(1).text();
    assert!(output.contains(&format!("{address} is web/c")), "{output}");
    assert_eq!(proxy.door().get("/").await.name(), "c");
    proxy.command(&["maint", "web/c", "--force"]).await.expect(0);
    assert_eq!(proxy.door().get("/closed").await.status, 503);
    assert_eq!(proxy.logged("/closed").await["reason"], "no_backend_admin");
}

#[tokio::test]
async fn only_what_was_marked_is_audited_as_unmarked() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    proxy.command(&["weight", "web/a", "3"]).await.expect(0);
    for _ in 0..2 {
        proxy.command(&["unmark", "web/a"]).await.expect(0);
    }
    proxy.command(&["weight", "web/b", "3"]).await.expect(0);
    let audit = std::fs::read_to_string(proxy.path("state/audit.log")).unwrap();
    assert_eq!(audit.matches("web/a: unmark").count(), 1, "{audit}");
    assert_eq!(audit.lines().count(), 3, "{audit}");
}

#[tokio::test]
async fn an_address_marks_every_pool_that_has_it() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!(
        "{PLAIN}[[routes]]\npath = \"/one\"\npool = \"one\"\n[[routes]]\npath = \"/two\"\n\
         pool = \"two\"\n{}{}",
        pool("one", &all, ""),
        pool("two", &all, "")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let address = origins[0].address().to_string();
    let output = proxy.command(&["maint", "--address", &address]).await.expect(0);
    assert!(output.text().contains("one/a") && output.text().contains("two/a"));
    for path in ["/one", "/two"] {
        for _ in 0..6 {
            assert_ne!(proxy.door().get(path).await.name(), "a");
        }
    }
}

#[tokio::test]
async fn marks_survive_reload_and_restart() {
    let origins = Origin::three();
    let mut proxy = front(&origins).await;
    proxy.command(&["maint", "web/b", "--reason", "broken disk"]).await.expect(0);
    let output = proxy.reload().await.expect(0);
    assert!(output.text().contains("web/b"), "marks in force are told: {}", output.text());
    let proxy = proxy.restart().await;
    for _ in 0..9 {
        assert_ne!(proxy.door().get("/").await.name(), "b");
    }
    assert!(proxy.command(&["status"]).await.expect(0).stdout.contains("broken disk"));
}

#[tokio::test]
async fn a_mark_may_end_by_itself() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    proxy.command(&["maint", "web/b", "--for", "1s"]).await.expect(0);
    assert!(proxy.metric("ostler_backend_mark", &["backend=\"b\"", "mark=\"maint\""]).await > 0.5);
    crate::harness::within(crate::harness::SOON, "the end of the mark", async || {
        let mark = proxy.metric("ostler_backend_mark", &["backend=\"b\""]).await;
        (mark < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_socket_is_for_its_owner_only_and_speaks_json() {
    use std::os::unix::fs::PermissionsExt;
    let origins = Origin::three();
    let proxy = front(&origins).await;
    let mode = std::fs::metadata(proxy.path("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let stream = tokio::net::UnixStream::connect(proxy.path("admin.sock")).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, driver) = hyper::client::conn::http1::handshake(io).await.unwrap();
    crate::harness::spawn(driver);
    let request = http::Request::get("/api/v1/status")
        .header("host", "localhost")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn check_tells_right_from_wrong_without_a_process() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    ostler_in(proxy.folder(), &["check", "-c", "ostler.toml"]).await.expect(0);
    let effective = ["check", "-c", "ostler.toml", "--effective"];
    let output = ostler_in(proxy.folder(), &effective).await.expect(0);
    assert!(output.stdout.contains("drain_timeout"), "{}", output.stdout);
    std::fs::write(proxy.path("effective.toml"), &output.stdout).unwrap();
    ostler_in(proxy.folder(), &["check", "-c", "effective.toml"]).await.expect(0);

    std::fs::write(
        proxy.path("wrong.toml"),
        "[listeners.http]\nbind = [\"127.0.0.1\"]\ncolour = \"red\"\n\
         [[routes]]\npool = \"web\"\n\
         [pools.other]\nbackends = []\npolicy = \"best\"\n\
         health = { http = \"/\", rise = \"2\" }\n",
    )
    .unwrap();
    let output = ostler_in(proxy.folder(), &["check", "-c", "wrong.toml"]).await.expect(1);
    for place in ["2:9", "3:1", "5:8", "8:10", "9:31"] {
        let place = format!("wrong.toml:{place}");
        assert!(output.text().contains(&place), "{place} in {}", output.text());
    }
    let words = ["check", "-c", "wrong.toml", "--format", "json"];
    let output = ostler_in(proxy.folder(), &words).await.expect(1);
    let mistakes: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(mistakes.as_array().unwrap().len() >= 5, "{mistakes}");
    assert!(mistakes[0]["line"].is_number() && mistakes[0]["column"].is_number());
}

#[tokio::test]
async fn check_connect_dials_each_backend() {
    let mut origins = Origin::three();
    let proxy = front(&origins).await;
    let words = ["check", "-c", "ostler.toml", "--connect"];
    ostler_in(proxy.folder(), &words).await.expect(0);
    origins[2].kill();
    let output = ostler_in(proxy.folder(), &words).await.expect(1);
    assert!(output.text().contains(&origins[2].address().to_string()), "{}", output.text());
}

#[tokio::test]
async fn ready_waits_where_it_is_asked_to() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    proxy.command(&["maint", "web/a"]).await.expect(0);
    proxy.command(&["ready", "web/a", "--wait"]).await.expect(0);
    let status = proxy.command(&["status", "--json"]).await.expect(0).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["pools"][0]["backends"][0]["state"], "up");
}

#[tokio::test]
async fn who_waits_for_a_backend_that_is_ill_is_told_what_is_wrong_and_not_kept_for_ever() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    origins[0].healthy(false);
    proxy.verdict("a", false).await;
    let words = ["ready", "web/a", "--wait", "--timeout", "1s"];
    let text = proxy.command(&words).await.expect(1).text();
    let why = "waiting for web/a: it is down; its last check failed: HTTP 503";
    assert!(text.contains(&format!("\n{why}\n")), "{text}");
    assert!(text.contains(&format!("error: after 1s still {why}")), "{text}");
    assert_eq!(proxy.status().await["marks"][0]["backend"], "a", "the mark stays");
    proxy.command(&["ready", "web/a", "--timeout", "1s"]).await.expect(2);
}

#[tokio::test]
async fn a_drain_where_nobody_serves_says_that_it_changes_nothing() {
    let [one, two] = [(), ()].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let backends = [("a", &one), ("b", &two)].map(|(id, socket)| {
        format!("{{ id = \"{id}\", address = \"{}\" }}", socket.local_addr().unwrap())
    });
    drop((one, two));
    let body = format!("{PLAIN}{}{}", default_route("web"), pool_of("web", &backends, ""));
    let proxy = Proxy::start(Config::new(body)).await;
    let told = "warning: pool web has no usable backend, with this mark or without";
    for words in [&["drain", "web/a"][..], &["maint", "web/b"]] {
        let text = proxy.command(words).await.expect(0).text();
        assert!(text.contains(told), "{text}");
    }
    let text = proxy.command(&["ready", "web/a"]).await.expect(0).text();
    assert!(!text.contains(told), "{text}");
}
