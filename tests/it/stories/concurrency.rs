//! What a backend bears at once, found by how long it takes to answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{
    Config, Origin, PLAIN, Proxy, backend, default_route, pool_of, soon, spawn, within,
};

/// Longer than a limit takes to be found, on a machine that has other things to do as well.
const FOUND: Duration = Duration::from_mins(1);
const CROWD: usize = 120;

fn front(origin: &Origin, lines: &str) -> Config {
    let lines = format!("{lines}\nqueue.timeout = \"1m\"\nejection = \"off\"");
    let pool = pool_of("web", &[backend(origin, "")], &lines);
    Config::new(format!("{PLAIN}{}{pool}", default_route("web")))
}

/// The limit that is in force, as `status` has it.
async fn limit(proxy: &Proxy) -> Option<u64> {
    proxy.status().await["pools"][0]["backends"][0]["limit"].as_u64()
}

#[tokio::test]
async fn a_backend_of_ten_slots_is_given_little_more_than_ten_requests_at_once() {
    let origin = Origin::start("a");
    origin.slots(10, Duration::from_millis(50));
    let mut proxy = Proxy::start(front(&origin, "concurrency = \"adaptive\"")).await;
    let over = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let (door, over) = (proxy.door(), Arc::clone(&over));
            spawn(async move {
                let mut kept = door.connect().await;
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(kept.get("/work").await.status, 200);
                }
            })
        })
        .collect();
    within(FOUND, "a limit that has grown", async || limit(&proxy).await.filter(|it| *it >= 9))
        .await;
    // What it does then, for as long as it takes to answer everybody several times.
    origin.most_inside();
    let before = origin.count();
    let answered = 8 * CROWD;
    within(FOUND, "answers", async || {
        let limit = limit(&proxy).await.unwrap();
        assert!((5..=60).contains(&limit), "{limit}");
        (origin.count() >= before + answered).then_some(())
    })
    .await;
    let most = origin.most_inside();
    assert!((8..=60).contains(&most), "{most} at once");
    let told = proxy.metric("ostler_backend_concurrency_limit", &["backend=\"a\""]).await;
    assert!((5.0..=60.0).contains(&told), "{told}");
    // Nobody asks for it any more: everybody comes in at once.
    proxy.apply(front(&origin, "")).await;
    within(FOUND, "the crowd", async || (origin.most_inside() > CROWD / 2 + 5).then_some(())).await;
    assert_eq!(limit(&proxy).await, None);
    over.store(true, Ordering::Relaxed);
    for one in crowd {
        soon("the end of a crowd", one).await.unwrap();
    }
}

#[tokio::test]
async fn of_two_limits_the_smaller_one_holds() {
    let origin = Origin::start("a");
    origin.slots(50, Duration::from_millis(20));
    let bounds = "concurrency = { min = 8, max = 100 }";
    let pool = pool_of("web", &[backend(&origin, "max_requests = 3")], bounds);
    let proxy = Proxy::start(Config::new(format!("{PLAIN}{}{pool}", default_route("web")))).await;
    let crowd: Vec<_> = (0..20)
        .map(|_| {
            let door = proxy.door();
            spawn(async move {
                let mut kept = door.connect().await;
                for _ in 0..10 {
                    assert_eq!(kept.get("/work").await.status, 200);
                }
            })
        })
        .collect();
    for one in crowd {
        soon("an end", one).await.unwrap();
    }
    assert!(origin.most_inside() <= 3);
    assert_eq!(origin.count(), 200);
}
