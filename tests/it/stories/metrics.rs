//! `/metrics`, `/livez`, `/readyz`: what they hold, and what they never hold.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{Config, Jar, Origin, PLAIN, Proxy, SECURE, default_route, pool, sticky_pool};

async fn front(origins: &[Origin]) -> Proxy {
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{PLAIN}{SECURE}{}{}", default_route("web"), sticky_pool("web", &all));
    let proxy = Proxy::start(Config::new(body)).await;
    let mut jar = Jar::new();
    for path in ["/", "/", "/status/404", "/status/500", "/sink"] {
        jar.get(&proxy.door(), path).await;
        jar.get(&proxy.secure("h2"), path).await;
    }
    proxy
}

#[tokio::test]
async fn the_families_of_the_contract_are_there() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    let (status, text) = proxy.probe("/metrics").await;
    assert_eq!(status, 200);
    for family in [
        "ostler_requests_total",
        "ostler_request_duration_seconds",
        "ostler_request_bytes_total",
        "ostler_response_bytes_total",
        "ostler_connections_open",
        "ostler_connections_total",
        "ostler_tls_handshakes_total",
        "ostler_certificate_expiry_timestamp_seconds",
        "ostler_backend_attempts_total",
        "ostler_backend_duration_seconds",
        "ostler_backend_up",
        "ostler_backend_state",
        "ostler_backend_weight",
        "ostler_backend_requests_in_flight",
        "ostler_backend_connections",
        "ostler_backend_checks_total",
        "ostler_backend_check_duration_seconds",
        "ostler_pool_usable_backends",
        "ostler_sessions_issued_total",
        "ostler_sticky_requests_total",
        "ostler_config_generation",
        "ostler_config_last_reload_success",
        "ostler_config_last_reload_timestamp_seconds",
        "ostler_config_file_differs",
        "ostler_snapshots_live",
        "ostler_access_log_dropped_total",
        "ostler_build_info",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(text.contains(&format!("# TYPE {family} ")), "no family {family}");
        assert!(text.contains(&format!("# HELP {family} ")), "no help for {family}");
    }
}

#[tokio::test]
async fn promtool_has_nothing_to_object_to() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    let (_, text) = proxy.probe("/metrics").await;
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("promtool is not installed: nothing was checked");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let objections = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{objections}");
}

#[tokio::test]
async fn exchanges_are_counted_by_what_the_file_names() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    let count = async |labels: &[&str]| proxy.metric("ostler_requests_total", labels).await;
    let near = |value: f64, expected: f64| (value - expected).abs() < 0.5;
    assert!(near(count(&[]).await, 10.0), "{}", count(&[]).await);
    assert!(near(count(&["code=\"404\"", "reason=\"none\""]).await, 2.0));
    assert!(near(count(&["code=\"500\"", "reason=\"backend_status\""]).await, 2.0));
    assert!(near(count(&["method=\"GET\""]).await, 10.0));
}

#[tokio::test]
async fn what_a_client_invents_makes_no_series() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    let lines = async || proxy.probe("/metrics").await.1.lines().count();
    let door = proxy.door();
    // Series of each backend come with its first request.
    for _ in 0..60 {
        door.send(door.request("BREW", "/"), "").await;
    }
    let before = lines().await;
    for index in 0..30 {
        let door = door.host(&format!("host-{index}.example"));
        door.send(door.request(&format!("METHOD{index}"), &format!("/path-{index}")), "").await;
    }
    let (_, text) = proxy.probe("/metrics").await;
    assert!(!text.contains("path-7") && !text.contains("host-7") && !text.contains("METHOD7"));
    assert_eq!(lines().await, before);
}

#[tokio::test]
async fn probes_tell_life_from_readiness() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let other = Origin::start("d");
    let body = format!(
        "{PLAIN}{}[[routes]]\npath = \"/other\"\npool = \"other\"\n{}{}",
        default_route("web"),
        pool("web", &all, ""),
        pool("other", &[&other], "")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    assert_eq!(proxy.probe("/livez").await.0, 200);
    assert_eq!(proxy.probe("/readyz").await.0, 200);
    assert_eq!(proxy.probe("/").await.0, 404);
    assert_eq!(proxy.probe("/api/v1/status").await.0, 404, "and nothing else");

    other.healthy(false);
    proxy.verdict("d", false).await;
    let (status, text) = proxy.probe("/readyz").await;
    assert_eq!(status, 200, "one team's pool does not take the others off the address");
    assert!(text.contains("other"), "but it is named: {text}");
    assert_eq!(proxy.probe("/readyz?pool=other").await.0, 503);
    assert_eq!(proxy.probe("/readyz?pool=web").await.0, 200);
    for origin in &origins {
        origin.healthy(false);
    }
    for name in ["a", "b", "c"] {
        proxy.verdict(name, false).await;
    }
    assert_eq!(proxy.probe("/readyz").await.0, 503);
    assert_eq!(proxy.probe("/livez").await.0, 200);
}

#[tokio::test]
async fn the_access_log_says_one_line_an_exchange() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    let line = proxy.logged("/sink").await;
    for key in [
        "time",
        "request_id",
        "trace_id",
        "node",
        "listener",
        "client",
        "peer",
        "protocol",
        "tls",
        "method",
        "host",
        "path",
        "status",
        "reason",
        "source",
        "route",
        "pool",
        "backend",
        "attempts",
        "session",
        "token",
        "bytes_in",
        "bytes_out",
        "t_total",
        "upstream_reused",
    ] {
        assert!(line.get(key).is_some(), "no {key} in {line}");
    }
    assert_eq!((line["pool"].as_str(), line["method"].as_str()), (Some("web"), Some("GET")));
    crate::harness::within(crate::harness::SOON, "ten lines", async || {
        (proxy.log().len() == 10).then_some(())
    })
    .await;
    let sessions: Vec<String> =
        proxy.log().iter().map(|line| line["session"].to_string()).collect();
    assert!(sessions.iter().filter(|it| *it == "\"kept\"").count() >= 7, "{sessions:?}");
}

#[tokio::test]
async fn secrets_of_a_query_are_not_logged() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    proxy.door().get("/query?password=hunter2&page=1").await;
    proxy.logged("/query").await;
    assert!(!proxy.said().contains("hunter2"));
}

#[tokio::test]
async fn what_no_route_took_is_counted_too() {
    let origins = Origin::three();
    let proxy = front(&origins).await;
    let mut raw = proxy.raw().await;
    raw.write("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 400"));
    let labels = ["route=\"(none)\"", "code=\"400\"", "reason=\"bad_request\""];
    let refused = proxy.metric("ostler_requests_total", &labels).await;
    assert!((refused - 1.0).abs() < 0.5, "{refused}");
}
