//! What a backend is before its first check, and how often and how many are checked.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::harness::{Config, Origin, PLAIN, Proxy, SOON, default_route, within};

/// A pool for each of these, with its own way to be checked.
fn farm(pools: &[(&Origin, &str)]) -> Config {
    let mut body = format!("{PLAIN}{}", default_route(pools[0].0.name()));
    for (origin, health) in pools {
        let (id, address) = (origin.name(), origin.address());
        let _ = write!(
            body,
            "[pools.{id}]\nbackends = [{{ id = \"{id}\", address = \"{address}\" }}]\n\
             health = {{ http = \"/healthz\", {health} }}\n"
        );
    }
    Config::new(body)
}

#[tokio::test]
async fn a_backend_that_begins_up_takes_traffic_until_it_falls() {
    let origin = Origin::start("a");
    origin.healthy(false);
    let health =
        |fall: u32| format!("initial = \"up\", interval = \"100ms\", rise = 1, fall = {fall}");
    let mut proxy = Proxy::start(farm(&[(&origin, &health(1_000))])).await;
    within(SOON, "checks that failed", async || (origin.checks() >= 3).then_some(())).await;
    assert_eq!(proxy.door().get("/").await.name(), "a");
    proxy.apply(farm(&[(&origin, &health(2))])).await;
    proxy.verdict("a", false).await;
    assert_eq!(proxy.door().get("/").await.status, 503);
}

#[tokio::test]
async fn a_backend_that_begins_down_takes_none_until_it_has_risen() {
    let origin = Origin::start("a");
    let health =
        |rise: u32| format!("initial = \"down\", interval = \"100ms\", rise = {rise}, fall = 2");
    let mut proxy = Proxy::start(farm(&[(&origin, &health(1_000))])).await;
    within(SOON, "checks that passed", async || (origin.checks() >= 3).then_some(())).await;
    assert_eq!(proxy.door().get("/").await.status, 503);
    assert_eq!(origin.count(), 0);
    proxy.apply(farm(&[(&origin, &health(2))])).await;
    proxy.verdict("a", true).await;
    assert_eq!(proxy.door().get("/").await.name(), "a");
}

#[tokio::test]
async fn a_backend_that_is_down_may_be_checked_more_seldom() {
    let (dead, alive) = (Origin::start("dead"), Origin::start("alive"));
    let often = "interval = \"100ms\", rise = 1, fall = 2";
    let seldom = format!("{often}, interval_down = \"10m\"");
    let proxy = Proxy::start(farm(&[(&dead, &seldom), (&alive, often)])).await;
    proxy.verdict("dead", true).await;
    dead.healthy(false);
    proxy.verdict("dead", false).await;
    let (before, begun) = (dead.checks(), alive.checks());
    within(SOON, "ten checks of the other", async || (alive.checks() >= begun + 10).then_some(()))
        .await;
    assert_eq!(dead.checks(), before);
}

#[tokio::test]
async fn a_backend_that_is_well_is_asked_in_full_now_and_then_and_one_that_is_ill_each_time() {
    let origin = Origin::start("a");
    let health = "interval = \"100ms\", interval_changing = \"100ms\", timeout = \"10s\", \
                  full_every = 5, fall = 2";
    let proxy = Proxy::start(farm(&[(&origin, health)])).await;
    let knocks = || origin.connections() - origin.checks();
    within(SOON, "twenty checks that only connect", async || (knocks() >= 20).then_some(())).await;
    let (full, knocked) = (origin.checks(), knocks());
    // One may be under way that has not asked yet.
    assert!(full + 1 >= knocked / 4 && full <= knocked / 4 + 2, "{full} full, {knocked} not");
    // The one that may end between the two pages is no matter.
    let in_full = proxy.metric("ostler_backend_full_checks_total", &["result=\"pass\""]).await;
    let all = proxy.metric("ostler_backend_checks_total", &["result=\"pass\""]).await;
    assert!(in_full >= 1.0 && in_full * 3.0 < all, "{in_full} of {all}");
    let status = proxy.command(&["status"]).await.text();
    assert!(status.contains("1 of 1 usable, one check of 5 in full"), "{status}");
    origin.healthy(false);
    proxy.verdict("a", false).await;
    let knocked = knocks();
    let full = origin.checks();
    within(SOON, "five more in full", async || (origin.checks() >= full + 5).then_some(())).await;
    assert!(knocks() <= knocked + 1, "who is down is not up because its port is open");
    origin.healthy(true);
    proxy.verdict("a", true).await;
}

#[tokio::test]
async fn no_more_than_256_checks_are_under_way_at_once() {
    const ALL: usize = 300;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let came = Arc::new(AtomicUsize::new(0));
    let gate = watch::Sender::new(false);
    let (counted, opened) = (Arc::clone(&came), gate.subscribe());
    let serving = crate::harness::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            counted.fetch_add(1, Ordering::Relaxed);
            let mut opened = opened.clone();
            crate::harness::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = opened.wait_for(|open| *open).await;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            });
        }
    });
    // Each asks something else, so that none shares its check.
    let mut body = format!("{PLAIN}{}", default_route("p0"));
    for index in 0..ALL {
        let _ = write!(
            body,
            "[pools.p{index}]\nbackends = [{{ id = \"a\", address = \"{address}\" }}]\n\
             health = {{ http = \"/{index}\", interval = \"10m\", timeout = \"5m\" }}\n"
        );
    }
    let proxy = Proxy::start(Config::new(body)).await;
    let seen = || came.load(Ordering::Relaxed);
    within(SOON, "as many as may be", async || (seen() >= 256).then_some(())).await;
    // The process answers: whoever would have come has come.
    proxy.status().await;
    assert_eq!(seen(), 256);
    gate.send_replace(true);
    within(SOON, "the others", async || (seen() >= ALL).then_some(())).await;
    serving.abort();
}
