//! Clients that show who they are by certificates, and those that cannot.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

use crate::harness::pki::{self, Shown};
use crate::harness::{Config, Door, Origin, Proxy, SECURE, SOON, default_route, pool, within};

const HANDSHAKES: &str = "ostler_tls_handshakes_total";

/// A folder with the authority's certificate and an empty revocation list.
fn folder() -> Arc<TempDir> {
    let folder = Arc::new(TempDir::new().unwrap());
    pki::authority(folder.path());
    pki::revoke(&folder.path().join("clients.crl"), &[], 2199);
    folder
}

/// Behind TLS with these lines.
async fn front(folder: &Arc<TempDir>, origin: &Origin, lines: &str) -> Proxy {
    let body = format!("{SECURE}{lines}{}{}", default_route("web"), pool("web", &[origin], ""));
    Proxy::start_in(Arc::clone(folder), Config::new(body)).await
}

fn asked(mode: &str) -> String {
    format!(
        "tls.client_auth = \"{mode}\"\ntls.client_ca = \"ca.crt\"\ntls.crl = [\"clients.crl\"]\n"
    )
}

fn showing(door: &Door, shown: Option<&Shown>) -> Door {
    door.with(&pki::client_that_shows(&["http/1.1"], shown, &[&TLS13]))
}

/// The status of a request; none: the connection was refused.
async fn status(door: &Door) -> Option<u16> {
    let mut connection = door.try_connect().await.ok()?;
    let answer = connection.try_send(door.request("GET", "/"), "").await;
    answer.ok().map(|answer| answer.status)
}

#[tokio::test]
async fn who_shows_none_or_one_that_does_not_hold_is_refused_and_counted_by_its_cause() {
    let (folder, origin) = (folder(), Origin::start("a"));
    pki::revoke(&folder.path().join("clients.crl"), &[7], 2199);
    let proxy = front(&folder, &origin, &asked("require")).await;
    let door = proxy.secure("http/1.1");
    let (known, revoked) = (pki::issue_client("known", 5), pki::issue_client("revoked", 7));
    let foreign = pki::foreign_client("known");
    assert_eq!(status(&showing(&door, Some(&known))).await, Some(200));
    assert_eq!(status(&showing(&door, None)).await, None);
    assert_eq!(status(&showing(&door, Some(&revoked))).await, None);
    assert_eq!(status(&showing(&door, Some(&foreign))).await, None);
    assert_eq!(origin.count(), 1);
    for result in ["no_certificate", "certificate_revoked", "certificate_unknown_issuer", "ok"] {
        let label = format!("result=\"{result}\"");
        within(SOON, result, async || {
            (proxy.metric(HANDSHAKES, &[&label]).await >= 1.0).then_some(())
        })
        .await;
    }
    let refused = "ostler_connections_refused_total";
    assert!(proxy.metric(refused, &["cause=\"client_certificate\""]).await >= 3.0);
    let expiry = "ostler_crl_expiry_timestamp_seconds";
    assert!(proxy.metric(expiry, &["listener=\"web\""]).await > 0.0);
}

#[tokio::test]
async fn who_is_only_requested_may_show_none_but_no_wrong_one() {
    let (folder, origin) = (folder(), Origin::start("a"));
    let proxy = front(&folder, &origin, &asked("request")).await;
    let door = proxy.secure("http/1.1");
    assert_eq!(status(&showing(&door, None)).await, Some(200));
    assert_eq!(status(&showing(&door, Some(&pki::issue_client("known", 5)))).await, Some(200));
    assert_eq!(status(&showing(&door, Some(&pki::foreign_client("known")))).await, None);
}

#[tokio::test]
async fn backends_are_told_what_was_shown_and_never_what_a_client_says_itself() {
    let (folder, origin) = (folder(), Origin::start("a"));
    let lines = format!("{}tls.client_cert_header = true\n", asked("request"));
    let proxy = front(&folder, &origin, &lines).await;
    let known = pki::issue_client("known", 5);
    let own = format!(":{}:", STANDARD.encode(&known.0));
    for protocol in ["http/1.1", "h2"] {
        let door = proxy.secure(protocol);
        for (shown, told) in [(Some(&known), &[own.as_str()][..]), (None, &[][..])] {
            let config = pki::client_that_shows(&[protocol], shown, &[&TLS13]);
            let door = door.with(&config);
            let request = door
                .request("GET", "/")
                .header("Client-Cert", ":AAAA:")
                .header("Client_Cert", ":AAAA:")
                .header("client-cert-chain", ":AAAA:");
            assert_eq!(door.send(request, "").await.status, 200);
            let seen = origin.last();
            assert_eq!(seen.all("client-cert"), told, "{protocol}");
            assert!(seen.all("client_cert").is_empty() && seen.all("client-cert-chain").is_empty());
        }
    }
}

#[tokio::test]
async fn a_route_for_those_with_a_certificate_takes_who_has_shown_one_and_nobody_who_says_so() {
    let folder = folder();
    let body = format!(
        "{SECURE}{}tls.client_cert_header = true\n\
         [[routes]]\nheaders = {{ client-cert = {{ present = true }} }}\n\
         respond = {{ status = 200, body = \"members\" }}\n\
         [[routes]]\nrespond = {{ status = 200, body = \"everybody\" }}\n",
        asked("request")
    );
    let proxy = Proxy::start_in(folder, Config::new(body)).await;
    let known = pki::issue_client("known", 5);
    for protocol in ["http/1.1", "h2"] {
        for (shown, said) in [(Some(&known), "members"), (None, "everybody")] {
            let door = proxy.secure(protocol);
            let door = door.with(&pki::client_that_shows(&[protocol], shown, &[&TLS13]));
            let forged = door.request("GET", "/").header("client-cert", ":AAAA:");
            assert_eq!(door.send(forged, "").await.text(), said, "{protocol}");
            assert_eq!(door.get("/").await.text(), said, "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_tells_the_certificate_of_its_client() {
    let (folder, origin) = (folder(), Origin::start("a"));
    let lines = format!("{SECURE}trusted_proxies = [\"127.0.0.1\"]\n{}", asked("request"));
    let lines = format!("{lines}tls.client_cert_header = true\n");
    let body = format!("{lines}{}{}", default_route("web"), pool("web", &[&origin], ""));
    let proxy = Proxy::start_in(folder, Config::new(body)).await;
    let door = showing(&proxy.secure("http/1.1"), Some(&pki::issue_client("proxy", 5)));
    door.send(door.request("GET", "/").header("client-cert", ":AAAA:"), "").await;
    assert_eq!(origin.last().all("client-cert"), [":AAAA:"]);
    door.get("/").await;
    assert!(origin.last().all("client-cert").is_empty(), "not that of the proxy itself");
}

#[tokio::test]
async fn who_is_revoked_while_connected_before_does_not_come_back_by_any_session() {
    let (folder, origin) = (folder(), Origin::start("a"));
    let proxy = front(&folder, &origin, &asked("require")).await;
    let shown = pki::issue_client("known", 5);
    let other = pki::issue_client("other", 6);
    let doors = [&TLS12, &TLS13].map(|version| {
        let config = pki::client_that_shows(&["http/1.1"], Some(&shown), &[version]);
        proxy.secure("http/1.1").with(&config)
    });
    for door in &doors {
        assert_eq!(status(door).await, Some(200));
        assert_eq!(status(door).await, Some(200));
    }
    pki::revoke(&proxy.path("clients.crl"), &[5], 2199);
    for door in &doors {
        within(SOON, "the new list", async || status(door).await.is_none().then_some(())).await;
        assert_eq!(status(door).await, None);
    }
    assert_eq!(status(&showing(&proxy.secure("http/1.1"), Some(&other))).await, Some(200));
    assert!(proxy.metric("ostler_config_generation", &[]).await < 1.5, "without a reload");
    assert!(proxy.metric(HANDSHAKES, &["resumed=\"true\""]).await < 0.5);
    // What cannot be used changes nothing, and is told of.
    std::fs::write(proxy.path("clients.crl"), "garbage").unwrap();
    within(SOON, "the complaint", async || {
        proxy.said().contains("is no revocation list").then_some(())
    })
    .await;
    assert_eq!(status(&doors[0]).await, None);
    assert_eq!(status(&showing(&proxy.secure("http/1.1"), Some(&other))).await, Some(200));
}

#[tokio::test]
async fn a_session_of_one_listener_opens_no_other_with_another_policy() {
    let (folder, origin) = (folder(), Origin::start("a"));
    let closed = SECURE.replace("listeners.web", "listeners.closed");
    let lines = format!("{closed}{}", asked("require"));
    let proxy = front(&folder, &origin, &lines).await;
    for version in [&TLS12, &TLS13] {
        let config = pki::client_that_shows(&["http/1.1"], None, &[version]);
        let open = proxy.secure("http/1.1").with(&config);
        let closed = Door::tls(proxy.address("closed"), "http/1.1").with(&config);
        assert_eq!(status(&open).await, Some(200));
        assert_eq!(status(&closed).await, None);
        assert_eq!(status(&open).await, Some(200));
        assert_eq!(status(&open).await, Some(200));
    }
    let resumed = async |listener| {
        let label = format!("listener=\"{listener}\"");
        proxy.metric(HANDSHAKES, &["resumed=\"true\"", &label]).await
    };
    assert!(resumed("web").await >= 2.0, "sessions are resumed where nobody is asked");
    assert!(resumed("closed").await < 0.5);
}

#[tokio::test]
async fn a_reload_to_another_policy_holds_for_who_has_a_session_already() {
    let (folder, origin) = (folder(), Origin::start("a"));
    let mut proxy = front(&folder, &origin, "").await;
    let config = pki::client_that_shows(&["http/1.1"], None, &[&TLS13]);
    assert_eq!(status(&proxy.secure("http/1.1").with(&config)).await, Some(200));
    let lines = asked("require");
    let body = format!("{SECURE}{lines}{}{}", default_route("web"), pool("web", &[&origin], ""));
    proxy.apply(Config::new(body)).await;
    assert_eq!(status(&proxy.secure("http/1.1").with(&config)).await, None);
}

#[tokio::test]
async fn a_list_that_has_ended_covers_nobody_and_is_told_of() {
    let (folder, origin) = (folder(), Origin::start("a"));
    pki::revoke(&folder.path().join("clients.crl"), &[], 2021);
    let proxy = front(&folder, &origin, &asked("request")).await;
    assert!(proxy.said().contains("has ended"), "{}", proxy.said());
    let problems = proxy.status().await["problems"].to_string();
    assert!(problems.contains("critical") && problems.contains("the revocation list of"));
    let door = proxy.secure("http/1.1");
    let known = showing(&door, Some(&pki::issue_client("known", 5)));
    assert_eq!(status(&known).await, None);
    assert_eq!(status(&showing(&door, None)).await, Some(200));
    within(SOON, "its cause", async || {
        let unchecked = ["result=\"certificate_unchecked\""];
        (proxy.metric(HANDSHAKES, &unchecked).await >= 1.0).then_some(())
    })
    .await;
    pki::revoke(&proxy.path("clients.crl"), &[], 2199);
    within(SOON, "a new list", async || (status(&known).await == Some(200)).then_some(())).await;
    assert!(!proxy.status().await["problems"].to_string().contains("the revocation list of"));
}
