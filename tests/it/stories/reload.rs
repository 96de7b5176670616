//! Reload: all or nothing, and nothing is reset that the change does not touch.

use rustix::process::Signal;

use crate::harness::{Config, Origin, PLAIN, Proxy, SOON, default_route, pool, within};

fn respond(body: &str) -> String {
    format!("[[routes]]\nrespond = {{ status = 200, body = \"{body}\" }}\n")
}

fn generation(status: &serde_json::Value) -> u64 {
    let generation = &status["generation"];
    generation.as_u64().or_else(|| generation["number"].as_u64()).unwrap()
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_says_where() {
    let config = Config::new(format!("{PLAIN}{}", respond("one")));
    let mut proxy = Proxy::start(config.clone()).await;
    let before = generation(&proxy.status().await);
    let text = config.render(proxy.folder());
    let broken = text.replace("status = 200", "status = \"two hundred\"");
    let line = broken.lines().position(|line| line.contains("two hundred")).unwrap() + 1;
    let column = broken.lines().nth(line - 1).unwrap().find("\"two hundred").unwrap() + 1;
    proxy.rewrite_raw(&broken);
    let output = proxy.reload().await.expect(1);
    let place = format!("ostler.toml:{line}:{column}");
    assert!(output.text().contains(&place), "{place} in {}", output.text());
    assert_eq!(proxy.door().get("/").await.text(), "one");
    assert_eq!(generation(&proxy.status().await), before, "only good ones count");
    let failed = proxy.metric("ostler_config_last_reload_success", &[]).await;
    assert!(failed < 0.5);

    proxy.rewrite_raw(&text.replace("\"one\"", "\"two\""));
    proxy.reload().await.expect(0);
    assert_eq!(proxy.door().get("/").await.text(), "two");
    assert_eq!(generation(&proxy.status().await), before + 1);
    assert!(proxy.metric("ostler_config_last_reload_success", &[]).await > 0.5);
}

#[tokio::test]
async fn what_holds_from_the_next_start_is_told_until_it_is_taken_back() {
    let body = |text: &str| format!("{PLAIN}{}", respond(text));
    let config = Config::new(body("one")).runtime("workers = 1");
    let mut proxy = Proxy::start(config.clone()).await;
    let other = Config::new(body("two")).runtime("workers = 2");
    for config in [other.clone(), other.body(body("three"))] {
        proxy.rewrite(config);
        let told = proxy.reload().await.expect(0).text();
        assert!(told.contains("runtime.workers takes effect at the next start"), "{told}");
    }
    proxy.rewrite(config);
    let told = proxy.reload().await.expect(0).text();
    assert!(told.contains("~ [runtime]") && !told.contains("next start"), "{told}");
}

#[tokio::test]
async fn every_mistake_is_reported_at_once() {
    let config = Config::new(format!("{PLAIN}{}", respond("one")));
    let mut proxy = Proxy::start(config.clone()).await;
    let broken = config.render(proxy.folder())
        + "[[routes]]\npath = \"/x\"\npool = \"nowhere\"\n\
           [pools.web]\npolcy = \"random\"\nbackends = [{ address = \"no port\" }]\n\
           health = { http = \"/\", interval = 5 }\nsticky.by = \"magic\"\n";
    proxy.rewrite_raw(&broken);
    let text = proxy.reload().await.expect(1).text();
    for word in ["nowhere", "polcy", "no port", "interval", "magic"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[tokio::test]
async fn a_configuration_that_was_replaced_is_let_go_of() {
    let config = Config::new(format!("{PLAIN}{}", respond("one")));
    let mut proxy = Proxy::start(config.clone()).await;
    for body in ["two", "three"] {
        assert!(!proxy.door().get("/").await.text().is_empty());
        proxy.rewrite(config.body(format!("{PLAIN}{}", respond(body))));
        proxy.reload().await.expect(0);
    }
    within(SOON, "nobody who keeps it", async || {
        let alive = proxy.metric("ostler_snapshots_live", &[]).await;
        ((alive - 1.0).abs() < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_next_request_on_the_same_connection_sees_the_change() {
    let config = Config::new(format!("{PLAIN}{}", respond("one")));
    let mut proxy = Proxy::start(config.clone()).await;
    let mut connection = proxy.door().connect().await;
    assert_eq!(connection.get("/").await.text(), "one");
    proxy.apply(config.body(format!("{PLAIN}{}", respond("two")))).await;
    assert_eq!(connection.get("/").await.text(), "two");
}

#[tokio::test]
async fn listeners_are_added_and_removed() {
    let config = Config::new(format!("{PLAIN}{}", respond("one")));
    let mut proxy = Proxy::start(config.clone()).await;
    let address = proxy.address("http");
    let second = "[listeners.second]\nbind = [\"127.0.0.1:0\"]\n";
    proxy.apply(config.body(format!("{PLAIN}{second}{}", respond("one")))).await;
    assert_eq!(proxy.address("http"), address, "the other was not touched");
    let door = crate::harness::Door::plain(proxy.address("second"));
    assert_eq!(door.get("/").await.text(), "one");
    proxy.apply(config).await;
    assert!(!proxy.has_listener("second"));
    within(SOON, "no listener there", async || door.try_connect().await.err()).await;
    assert_eq!(proxy.door().get("/").await.text(), "one");
}

#[tokio::test]
async fn sighup_reloads_as_well() {
    let config = Config::new(format!("{PLAIN}{}", respond("one")));
    let mut proxy = Proxy::start(config.clone()).await;
    proxy.rewrite(config.body(format!("{PLAIN}{}", respond("two"))));
    proxy.signal(Signal::HUP);
    within(SOON, "the new answer", async || {
        (proxy.door().get("/").await.text() == "two").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watched_file_is_applied_by_itself_and_an_unwatched_one_is_not() {
    let config = Config::new(format!("{PLAIN}{}", respond("one")));
    let watched = config.clone().runtime("watch = [\"certificates\", \"file\"]");
    let mut proxy = Proxy::start(watched.clone()).await;
    proxy.rewrite(watched.body(format!("{PLAIN}{}", respond("two"))));
    within(SOON, "the new answer", async || {
        (proxy.door().get("/").await.text() == "two").then_some(())
    })
    .await;

    let mut proxy = Proxy::start(config.clone()).await;
    proxy.rewrite(config.body(format!("{PLAIN}{}", respond("two"))));
    within(SOON, "word that the file on disk differs", async || {
        let differs = proxy.metric("ostler_config_file_differs", &[]).await;
        (differs > 0.5).then_some(())
    })
    .await;
    assert_eq!(proxy.door().get("/").await.text(), "one");
}

#[tokio::test]
async fn a_request_under_way_ends_as_it_began() {
    let origin = Origin::start("a");
    let config =
        Config::new(format!("{PLAIN}{}{}", default_route("web"), pool("web", &[&origin], "")));
    let mut proxy = Proxy::start(config.clone()).await;
    let door = proxy.door();
    let slow = crate::harness::spawn(async move { door.get("/gate").await });
    within(SOON, "the request at the backend", async || (origin.count() == 1).then_some(())).await;
    proxy.apply(config.body(format!("{PLAIN}{}", respond("gone")))).await;
    assert_eq!(proxy.door().get("/").await.text(), "gone");
    origin.open_gate();
    assert_eq!(slow.await.unwrap().name(), "a");
}

#[tokio::test]
async fn verdicts_and_counters_survive_a_reload() {
    let origins = Origin::three();
    origins[1].healthy(false);
    let all: Vec<&Origin> = origins.iter().collect();
    let config = Config::new(format!("{PLAIN}{}{}", default_route("web"), pool("web", &all, "")));
    let mut proxy = Proxy::start(config.clone()).await;
    for _ in 0..6 {
        proxy.door().get("/").await.name();
    }
    let before = proxy.metric("ostler_requests_total", &[]).await;
    let other = format!(
        "{PLAIN}[[routes]]\npath = \"/\"\nname = \"other\"\npool = \"web\"\n{}",
        pool("web", &all, "")
    );
    proxy.apply(config.body(other)).await;
    for _ in 0..6 {
        assert_ne!(proxy.door().get("/").await.name(), "b", "its verdict was kept");
    }
    let after = proxy.metric("ostler_requests_total", &[]).await;
    assert!((after - before - 6.0).abs() < 0.5, "{before} then {after}");
}

#[tokio::test]
async fn certificates_are_replaced_without_a_reload() {
    let body = format!("{}{}", crate::harness::SECURE, respond("secure"));
    let proxy = Proxy::start(Config::new(body)).await;
    let expiry = "ostler_certificate_expiry_timestamp_seconds";
    assert!(proxy.metric(expiry, &[]).await > 0.0);
    // The other certificate is not for `localhost`: once it serves, the client refuses it.
    std::fs::copy(proxy.path("other.key"), proxy.path("site.key")).unwrap();
    std::fs::copy(proxy.path("other.crt"), proxy.path("site.crt")).unwrap();
    let door = proxy.secure("h2");
    within(SOON, "the new certificate", async || door.try_connect().await.err()).await;
}
