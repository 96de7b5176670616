//! Second attempts beside a first one that is slow.

use std::time::{Duration, Instant};

use crate::harness::{Config, Fault, Jar, Origin, PLAIN, Proxy, default_route, spawn, unchecked};

/// Later than any hedge, sooner than any deadline.
const LATE: Duration = Duration::from_secs(3);
const SOON: &str = "retry = { hedge = \"100ms\", hedge_budget = \"100%\" }";

/// One worker, so that backends take turns.
async fn front(origins: &[Origin], retry: &str, lines: &str) -> Proxy {
    let pool = unchecked("web", origins, &format!("ejection = \"off\"\n{lines}"));
    let body = format!("{PLAIN}{}{retry}\n{pool}", default_route("web"));
    Proxy::start(Config::new(body).runtime("workers = 1")).await
}

fn two() -> [Origin; 2] {
    ["a", "b"].map(Origin::start)
}

#[tokio::test]
async fn who_is_slow_is_overtaken() {
    let origins = two();
    let proxy = front(&origins, SOON, "").await;
    origins[0].fault(Fault::Late(LATE));
    for round in 0..6 {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let path = format!("/{method}/{round}");
            let answer = proxy.door().send(proxy.door().request(method, &path), "").await;
            assert_eq!(answer.status, 200, "{path}");
            let line = proxy.logged(&path).await;
            assert_eq!(line["backend"], "b", "{line}");
            let to_a = origins[0].seen().iter().any(|seen| seen.target == path);
            assert_eq!(line["attempts"], if to_a { 2 } else { 1 }, "{line}");
        }
    }
    assert!(origins[0].count() > 0, "it was asked as well");
    assert_eq!(origins[1].count(), 18);
}

#[tokio::test]
async fn what_may_not_be_sent_twice_is_not() {
    let origins = two();
    let proxy = front(&origins, SOON, "").await;
    for origin in &origins {
        origin.fault(Fault::Late(Duration::from_millis(400)));
    }
    let door = proxy.door();
    for (method, body) in [("POST", "body"), ("PUT", ""), ("DELETE", ""), ("GET", "body")] {
        let before = origins[0].count() + origins[1].count();
        assert_eq!(door.send(door.request(method, "/once"), body).await.status, 200, "{method}");
        assert_eq!(origins[0].count() + origins[1].count(), before + 1, "{method}");
    }
}

#[tokio::test]
async fn who_is_bound_is_answered_by_their_own_backend_however_slow_it_is() {
    let origins = two();
    let proxy = front(&origins, SOON, "sticky.by = \"cookie\"").await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/first").await.name();
    for origin in &origins {
        origin.fault(Fault::Late(Duration::from_millis(400)));
    }
    let before = origins[0].count() + origins[1].count();
    assert_eq!(jar.get(&proxy.door(), "/second").await.name(), home);
    assert_eq!(origins[0].count() + origins[1].count(), before + 1);
}

#[tokio::test]
async fn a_second_one_that_fails_leaves_it_to_the_first() {
    let origins = two();
    let proxy = front(&origins, SOON, "").await;
    origins[0].fault(Fault::Late(Duration::from_millis(600)));
    origins[1].fault(Fault::ResetAfterHead);
    for _ in 0..4 {
        assert_eq!(proxy.door().get("/slow").await.name(), "a");
    }
    assert_eq!(origins[0].count(), 4);
}

#[tokio::test]
async fn a_pool_that_is_slow_as_a_whole_is_not_asked_twice_as_much() {
    let origins = two();
    let proxy = front(&origins, "retry.hedge = \"20ms\"", "").await;
    for origin in &origins {
        origin.fault(Fault::Late(Duration::from_millis(150)));
    }
    let began = Instant::now();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let door = proxy.door();
            spawn(async move {
                let mut kept = door.connect().await;
                for _ in 0..20 {
                    assert_eq!(kept.get("/slow").await.status, 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // A twentieth of the requests; in its place ten a second, where these are few.
    let share = 20.max(10 * (1 + began.elapsed().as_secs())) + 10;
    let attempts = u64::try_from(origins[0].count() + origins[1].count()).unwrap();
    assert!(attempts > 400 && attempts <= 400 + share, "{attempts} attempts, {share} beside");
}
