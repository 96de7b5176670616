//! Checks and certificates while configurations come and go.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::net::TcpListener;

use super::{House, pool, run};
use crate::admin::facts::{Facts, Phase, lock};
use crate::backend::Verdict;

fn checked(id: &str, port: u16) -> String {
    format!(
        "[pools.shop]\nhealth = {{ tcp = true, interval = \"100ms\" }}\n\
         backends = [{{ id = \"{id}\", address = \"127.0.0.1:{port}\" }}]\n"
    )
}

async fn origin() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn verdicts_and_counts_are_kept_over_a_reload() {
    run(async {
        let (_listener, port) = origin().await;
        let house = House::start(&checked("a", port));
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        // The listeners opened with the first verdict.
        assert_eq!(house.facts.current.load().pool("shop").unwrap().usable(), 1);
        house.until(|facts| facts.checks.of("shop", "a").unwrap().passed > 2).await;
        let passed = house.facts.checks.of("shop", "a").unwrap().passed;
        house.write(&format!("{}[pools.other]\nbackends = []\n", checked("a", port)));
        let _ = house.reload().await;
        house.write(&format!("# Nothing.\n{}", checked("a", port)));
        house.reload().await.unwrap();
        assert!(house.generation() > 1);
        assert!(house.facts.checks.of("shop", "a").unwrap().passed >= passed);
        assert_eq!(house.facts.current.load().pool("shop").unwrap().usable(), 1);
    });
}

#[test]
fn a_pool_whose_backends_are_all_replaced_never_stands_empty() {
    run(async {
        let ((_one, first), (_two, second)) = (origin().await, origin().await);
        let house = House::start(&checked("a", first));
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        house.write(&checked("b", second));
        house
            .until(|facts| {
                let snapshot = facts.current.load();
                assert_eq!(snapshot.pool("shop").unwrap().usable(), 1);
                snapshot.generation == 2
            })
            .await;
    });
}

#[test]
fn a_backend_that_dies_goes_down_with_its_reason() {
    run(async {
        let (listener, port) = origin().await;
        let house = House::start(&checked("a", port));
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        drop(listener);
        let state = |facts: &Facts| {
            let snapshot = facts.current.load();
            snapshot.pool("shop").unwrap().member("a").unwrap().backend.state.clone()
        };
        house.until(|facts| state(facts).verdict() == Verdict::Down).await;
        let check = state(&house.facts).last_check().unwrap();
        assert_eq!(check.detail, "connect: Connection refused");
        assert!(check.in_a_row >= 3);
    });
}

#[test]
fn a_reload_that_fails_leaves_verdicts_alone() {
    run(async {
        let (_listener, port) = origin().await;
        let house = House::start(&checked("a", port));
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        // Without checks, and with a certificate that is not there: it fails after compiling pools.
        house.write(&format!(
            "[listeners.tls]\nbind = [\"127.0.0.1:0\"]\n\
             tls.certificates = [{{ cert = \"no.crt\", key = \"no.key\" }}]\n\
             [pools.shop]\nbackends = [{{ id = \"a\", address = \"127.0.0.1:{port}\" }}]\n"
        ));
        house.reload().await.unwrap_err();
        assert_eq!(house.facts.current.load().pool("shop").unwrap().usable(), 1);
    });
}

fn certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = folder.join("site.key");
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(folder.join("site.crt"), made.cert.pem()).unwrap();
}

/// A listener with the certificate above.
const TLS: &str = "[listeners.tls]\nbind = [\"127.0.0.1:0\"]\n\
    tls.certificates = [{ cert = \"site.crt\", key = \"site.key\" }]\n";

/// Names of the certificate in force; none where no listener has one.
fn names(facts: &Facts) -> Vec<String> {
    let snapshot = facts.current.load();
    let tls = snapshot.listeners.iter().find_map(|listener| listener.tls.as_ref());
    let first =
        tls.map(|tls| tls.server.store.load().certificates().first().unwrap().names.clone());
    first.unwrap_or_default()
}

#[test]
fn a_certificate_that_is_renewed_goes_into_force_without_a_generation() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path(), "old.example.com");
        let file = folder.path().join("ostler.toml");
        std::fs::write(file, super::text(folder.path(), TLS)).unwrap();
        let house = House::start_in(folder);
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        assert_eq!(names(&house.facts), ["old.example.com"]);
        certificate(house.folder.path(), "new.example.com");
        house.until(|facts| names(facts) == ["new.example.com"]).await;
        assert_eq!(house.generation(), 1);
        assert_eq!(house.reload().await.unwrap()["result"], "unchanged");
    });
}

#[test]
fn a_certificate_that_is_replaced_between_its_reading_and_the_swap_is_not_missed() {
    run(async {
        let house = House::start(&pool("a", 1));
        house.until(|facts| facts.phase.get() == Phase::Serving).await;
        let folder = house.folder.path().to_owned();
        certificate(&folder, "read.example.com");
        let replaced = move || certificate(&folder, "replaced.example.com");
        *lock(&house.sockets.meanwhile) = Some(Box::new(replaced));
        house.write(TLS);
        house.until(|facts| names(facts) == ["replaced.example.com"]).await;
        assert!(lock(&house.sockets.meanwhile).is_none(), "it was replaced after it was read");
        assert_eq!(house.generation(), 2);
        assert_eq!(house.reload().await.unwrap()["result"], "unchanged");
    });
}
