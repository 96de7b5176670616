//! Crowds: several first requests at once, and many jars while a backend dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{
    Config, Crowd, Jar, Origin, PLAIN, Proxy, SECURE, SOON, default_route, distinct, spawn,
    sticky_pool, within,
};

/// Six requests without a token, at once on one HTTP/2 connection of this listener: who answered,
/// and how many sessions were begun.
async fn six_first_requests(listener: &str) -> (Vec<String>, f64) {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{listener}{}{}", default_route("web"), sticky_pool("web", &all));
    let proxy = Proxy::start(Config::new(body)).await;
    let connection = proxy.secure("h2").connect().await;
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let mut handle = connection.share();
            spawn(async move { handle.get("/gate").await })
        })
        .collect();
    within(SOON, "six requests at the backends", async || {
        let count: usize = origins.iter().map(Origin::count).sum();
        (count == 6).then_some(())
    })
    .await;
    for origin in &origins {
        origin.open_gate();
    }
    let mut names = Vec::new();
    for task in tasks {
        names.push(task.await.unwrap().name());
    }
    let issued = proxy.metric("ostler_sessions_issued_total", &["pool=\"web\""]).await;
    (names, issued)
}

#[tokio::test]
async fn six_first_requests_on_one_http2_connection_make_one_session() {
    let (names, issued) = six_first_requests(SECURE).await;
    assert_eq!(distinct(&names).len(), 1, "{names:?}");
    assert!((issued - 1.0).abs() < 0.5, "{issued} sessions");
}

#[tokio::test]
async fn six_first_requests_by_a_trusted_proxy_are_six_visitors() {
    let listener = format!("{SECURE}trusted_proxies = [\"127.0.0.1/32\"]\n");
    let (names, issued) = six_first_requests(&listener).await;
    assert!(distinct(&names).len() > 1, "{names:?}");
    assert!((issued - 6.0).abs() < 0.5, "{issued} sessions");
}

#[tokio::test]
async fn a_killed_backend_moves_each_of_thirty_jars_once_under_parallel_requests() {
    let mut origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &all));
    let proxy = Proxy::start(Config::new(body)).await;
    let door = proxy.door();
    let mut jars = Vec::new();
    for _ in 0..30 {
        let mut jar = Jar::new();
        let home = jar.get(&door, "/").await.name();
        jars.push((jar, home));
    }
    origins[1].kill();
    let tasks: Vec<_> = jars
        .into_iter()
        .map(|(jar, home)| {
            let door = door.clone();
            spawn(async move {
                // Two requests at once with the same token, as a browser would.
                let (mut left, mut right) = (jar.clone(), jar);
                let (one, other) = tokio::join!(left.get(&door, "/"), right.get(&door, "/"));
                let mut names = vec![one.name(), other.name()];
                names.extend(left.visits(&door, 3).await);
                (home, names)
            })
        })
        .collect();
    let mut moved = 0;
    for task in tasks {
        let (home, names) = task.await.unwrap();
        assert_eq!(distinct(&names).len(), 1, "home {home}, then {names:?}");
        moved += usize::from(names[0] != home);
        assert_eq!(home == "b", names[0] != home, "only who lived there moves");
    }
    assert!(moved > 0, "no jar lived on the killed backend");
}

#[tokio::test]
async fn a_backend_killed_under_running_requests_fails_none_and_moves_each_jar_to_one_other() {
    let mut origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &all));
    let proxy = Proxy::start(Config::new(body)).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 12).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for home in ["a", "b", "c"] {
        for _ in 0..crowd.on(home) {
            let jar = crowd.pick(home);
            // Two at once with the same token, as a browser would, each on its own connection.
            let ways = [0, 1].map(|_| {
                let (mut jar, door, done) = (jar.clone(), door.clone(), Arc::clone(&done));
                spawn(async move {
                    let mut connection = door.connect().await;
                    let mut names = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        // Fails on anything but a 200.
                        names.push(jar.get_on(&mut connection, "/busy").await.name());
                    }
                    names
                })
            });
            tasks.push((home, ways));
        }
    }
    let busy = origins[1].count() + 50;
    within(SOON, "many requests", async || (origins[1].count() > busy).then_some(())).await;
    origins[1].kill();
    let later = origins[0].count() + 200;
    within(SOON, "many more", async || (origins[0].count() > later).then_some(())).await;
    done.store(true, Ordering::Relaxed);
    for (home, ways) in tasks {
        let mut names = Vec::new();
        for way in ways {
            names.extend(way.await.unwrap());
        }
        let homes = distinct(&names);
        let next = homes.iter().filter(|name| *name != home).count();
        assert_eq!(next, usize::from(home == "b"), "home {home}, then {homes:?}");
    }
}

#[tokio::test]
async fn visitors_without_a_jar_are_never_moved() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &all));
    let proxy = Proxy::start(Config::new(body)).await;
    for _ in 0..30 {
        proxy.door().get("/").await.name();
    }
    let moved = proxy.metric("ostler_sessions_moved_total", &[]).await;
    assert!(moved < 0.5, "moved {moved}");
}
