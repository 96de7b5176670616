//! Backends that are full: who waits, who spills, who is refused, and who comes first.

use std::time::Duration;

use crate::harness::{
    Answer, Config, Connection, Crowd, Door, Fault, Jar, Origin, PLAIN, Proxy, SOON, backend,
    default_route, distinct, pool_of, spawn, sticky_farm, within,
};

/// Backends that take so many requests at once, and further lines of their pool.
fn limited(origins: &[&Origin], most: u32, lines: &str) -> Config {
    let most = format!("max_requests = {most}");
    let backends: Vec<String> = origins.iter().map(|origin| backend(origin, &most)).collect();
    Config::new(format!("{PLAIN}{}{}", default_route("web"), pool_of("web", &backends, lines)))
}

/// One of two backends is at its limit of one request, with a visitor who is bound to it.
struct Full {
    origins: [Origin; 2],
    proxy: Proxy,
    jar: Jar,
    held: tokio::task::JoinHandle<Answer>,
}

impl Full {
    async fn with(lines: &str) -> Self {
        let origins = ["a", "b"].map(Origin::start);
        let proxy = Proxy::start(limited(&[&origins[0], &origins[1]], 1, lines)).await;
        let mut jar = Jar::new();
        while jar.get(&proxy.door(), "/").await.name() != "a" {
            jar = Jar::new();
            nothing_runs(&proxy).await;
        }
        nothing_runs(&proxy).await;
        let held = hold(&proxy.door(), &jar);
        arrived(&origins[0], "/gate", 1).await;
        Self { origins, proxy, jar, held }
    }

    /// Its own backend has a place again, and it is there.
    async fn at_home_again(mut self) {
        self.origins[0].open_gate();
        assert_eq!(self.held.await.unwrap().name(), "a");
        for _ in 0..3 {
            nothing_runs(&self.proxy).await;
            assert_eq!(self.jar.get(&self.proxy.door(), "/").await.name(), "a");
        }
        assert_eq!(self.proxy.moved("").await, 0);
    }
}

/// A request that lasts until the gate of its origin opens.
fn hold(door: &Door, jar: &Jar) -> tokio::task::JoinHandle<Answer> {
    let (door, mut jar) = (door.clone(), jar.clone());
    spawn(async move { jar.get(&door, "/gate").await })
}

/// A place is free a moment after its answer has come.
async fn nothing_runs(proxy: &Proxy) {
    within(SOON, "nothing in flight", async || {
        let running = proxy.metric("ostler_backend_requests_in_flight", &[]).await;
        (running.abs() < 0.5).then_some(())
    })
    .await;
}

async fn arrived(origin: &Origin, path: &str, count: usize) {
    within(SOON, &format!("{count} of {path} at {}", origin.name()), async || {
        let seen = origin.seen();
        (seen.iter().filter(|seen| seen.target == path).count() >= count).then_some(())
    })
    .await;
}

async fn waiting(proxy: &Proxy, count: usize) {
    within(SOON, &format!("{count} who wait"), async || {
        (proxy.waiting("web").await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bound_visitor_waits_for_a_place_at_their_own_backend() {
    let mut full = Full::with("sticky.by = \"cookie\"\nqueue.timeout = \"20s\"").await;
    let (door, mut jar) = (full.proxy.door(), full.jar.clone());
    let waits = spawn(async move { jar.get(&door, "/waits").await });
    waiting(&full.proxy, 1).await;
    // Somebody without a binding finds the other backend free.
    assert_eq!(full.proxy.door().get("/new").await.name(), "b");
    full.origins[0].open_gate();
    let answer = waits.await.unwrap();
    assert_eq!((answer.name(), answer.set_cookies().len()), ("a".to_owned(), 0));
    let line = full.proxy.logged("/waits").await;
    assert_eq!(line["session"], "kept");
    assert!(line["t_queue"].as_f64().unwrap() > 0.0, "{line}");
    waiting(&full.proxy, 0).await;
    assert_eq!(full.jar.get(&full.proxy.door(), "/").await.name(), "a");
}

#[tokio::test]
async fn who_has_waited_in_vain_spills_and_stays_bound() {
    let mut full = Full::with("sticky.by = \"cookie\"\nqueue.timeout = \"300ms\"").await;
    let answer = full.jar.get(&full.proxy.door(), "/spills").await;
    assert_eq!((answer.name(), answer.set_cookies().len()), ("b".to_owned(), 0));
    let line = full.proxy.logged("/spills").await;
    assert_eq!((&line["session"], &line["token"]), (&"spilled".into(), &"full".into()));
    full.at_home_again().await;
}

#[tokio::test]
async fn a_pool_that_spills_lets_nobody_wait() {
    let keys = "sticky = { by = \"cookie\", on_full = \"spill\" }\nqueue.timeout = \"1h\"";
    let mut full = Full::with(keys).await;
    let answer = full.jar.get(&full.proxy.door(), "/spills").await;
    assert_eq!((answer.name(), answer.set_cookies().len()), ("b".to_owned(), 0));
    assert_eq!(full.proxy.logged("/spills").await["session"], "spilled");
    full.at_home_again().await;
}

#[tokio::test]
async fn a_pool_that_rebinds_moves_who_finds_their_backend_full() {
    let mut full = Full::with("sticky = { by = \"cookie\", on_full = \"rebind\" }").await;
    let answer = full.jar.get(&full.proxy.door(), "/moves").await;
    assert_eq!((answer.name(), answer.set_cookies().len()), ("b".to_owned(), 1));
    assert_eq!(full.proxy.logged("/moves").await["cause"], "full");
    full.origins[0].open_gate();
    full.held.await.unwrap().name();
    for _ in 0..3 {
        nothing_runs(&full.proxy).await;
        assert_eq!(full.jar.get(&full.proxy.door(), "/").await.name(), "b");
    }
    assert_eq!((full.proxy.moved("full").await, full.proxy.moved("").await), (1, 1));
}

#[tokio::test]
async fn a_pool_that_rejects_says_when_to_come_back() {
    let mut full = Full::with("sticky = { by = \"cookie\", on_full = \"reject\" }").await;
    let answer = full.jar.get(&full.proxy.door(), "/refused").await;
    assert_eq!((answer.status, answer.set_cookies().len()), (503, 0));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(full.proxy.logged("/refused").await["reason"], "session_backend_full");
    full.at_home_again().await;
}

#[tokio::test]
async fn where_all_are_full_a_request_waits_and_is_told_when_it_was_in_vain() {
    let origin = Origin::start("a");
    let config = limited(&[&origin], 1, "queue.timeout = \"300ms\"");
    let proxy = Proxy::start(config).await;
    let held = hold(&proxy.door(), &Jar::new());
    arrived(&origin, "/gate", 1).await;
    let answer = proxy.door().get("/late").await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
    assert_eq!(proxy.logged("/late").await["reason"], "queue_timeout");
    origin.open_gate();
    assert_eq!(held.await.unwrap().name(), "a");
    assert_eq!(proxy.door().get("/").await.name(), "a");
}

#[tokio::test]
async fn a_queue_without_room_refuses_at_once() {
    let origin = Origin::start("a");
    let config = limited(&[&origin], 1, "queue = { size = 0, timeout = \"1h\" }");
    let proxy = Proxy::start(config).await;
    let held = hold(&proxy.door(), &Jar::new());
    arrived(&origin, "/gate", 1).await;
    let answer = proxy.door().get("/full").await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
    assert_eq!(proxy.logged("/full").await["reason"], "queue_full");
    origin.open_gate();
    assert_eq!(held.await.unwrap().name(), "a");
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(limited(&[&origin], 1, "queue.timeout = \"20s\"")).await;
    let held = hold(&proxy.door(), &Jar::new());
    arrived(&origin, "/gate", 1).await;
    let mut tasks = Vec::new();
    for turn in 1..=8 {
        let door = proxy.door();
        tasks.push(spawn(async move { door.get(&format!("/turn{turn}")).await }));
        waiting(&proxy, turn).await;
    }
    origin.open_gate();
    held.await.unwrap().name();
    for task in tasks {
        task.await.unwrap().name();
    }
    let order: Vec<String> = origin.seen().into_iter().skip(1).map(|seen| seen.target).collect();
    let due: Vec<String> = (1..=8).map(|turn| format!("/turn{turn}")).collect();
    assert_eq!(order, due);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_in_the_queue_to_another() {
    let origin = Origin::start("a");
    let config = limited(&[&origin], 1, "queue = { size = 1, timeout = \"20s\" }");
    let proxy = Proxy::start(config).await;
    let held = hold(&proxy.door(), &Jar::new());
    arrived(&origin, "/gate", 1).await;
    let mut leaves = proxy.raw().await;
    leaves.write("GET /leaves HTTP/1.1\r\nHost: a\r\n\r\n").await;
    waiting(&proxy, 1).await;
    assert_eq!(proxy.door().get("/no-room").await.status, 503);
    drop(leaves);
    waiting(&proxy, 0).await;
    let door = proxy.door();
    let stays = spawn(async move { door.get("/stays").await });
    waiting(&proxy, 1).await;
    origin.open_gate();
    assert_eq!(stays.await.unwrap().name(), "a");
    assert_eq!(held.await.unwrap().name(), "a");
    assert!(origin.seen().iter().all(|seen| seen.target != "/leaves"), "nobody waits for it");
}

/// So many requests after one another on a connection.
async fn keep_asking(mut connection: Connection, count: usize) {
    let mut jar = Jar::new();
    for _ in 0..count {
        jar.get_on(&mut connection, "/ask").await.name();
    }
}

#[tokio::test]
async fn no_call_is_lost_where_two_hundred_ask_for_four_places() {
    let origins = ["a", "b"].map(Origin::start);
    let lines = "queue.timeout = \"20s\"\nsticky.by = \"cookie\"";
    let proxy = Proxy::start(limited(&[&origins[0], &origins[1]], 2, lines)).await;
    let mut tasks = Vec::new();
    for _ in 0..200 {
        tasks.push(spawn(keep_asking(proxy.door().connect().await, 4)));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(origins[0].count() + origins[1].count(), 800);
    waiting(&proxy, 0).await;
    nothing_runs(&proxy).await;
}

#[tokio::test]
async fn clients_that_leave_while_they_wait_take_nobodys_turn() {
    let origins = ["a", "b"].map(Origin::start);
    let lines = "queue.timeout = \"20s\"\nsticky.by = \"cookie\"";
    let proxy = Proxy::start(limited(&[&origins[0], &origins[1]], 1, lines)).await;
    let mut jar = Jar::new();
    jar.get(&proxy.door(), "/").await;
    let mut tasks = Vec::new();
    for number in 0..60_u64 {
        let (door, jar) = (proxy.door(), jar.clone());
        tasks.push(spawn(async move {
            // Some without a session, some of one and the same; each third is in a hurry.
            let mut jar = if number % 2 == 0 { Jar::new() } else { jar };
            for round in 0..4 {
                let answer = jar.get(&door, "/ask");
                if number % 3 == 0 {
                    let patience = Duration::from_millis(number % 7 + round);
                    let _ = tokio::time::timeout(patience, answer).await;
                } else {
                    answer.await.name();
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    waiting(&proxy, 0).await;
    nothing_runs(&proxy).await;
    assert_eq!(jar.get(&proxy.door(), "/").await.status, 200);
}

#[tokio::test]
async fn a_backend_that_dies_lets_those_who_wait_for_it_go_elsewhere() {
    let mut full = Full::with("sticky.by = \"cookie\"\nqueue.timeout = \"1h\"").await;
    let (door, mut jar) = (full.proxy.door(), full.jar.clone());
    let waits = spawn(async move { jar.get(&door, "/waits").await });
    waiting(&full.proxy, 1).await;
    full.origins[1].open_gate();
    full.origins[0].kill();
    assert_eq!(waits.await.unwrap().name(), "b");
    assert_eq!(full.held.await.unwrap().name(), "b", "it is sent again");
}

#[tokio::test]
async fn above_max_sessions_nobody_new_comes_until_a_quarter_has_left() {
    let origins = ["a", "b"].map(Origin::start);
    let keys = "idle = \"5s\", max_sessions = 4";
    let proxy = Proxy::start(sticky_farm(&origins, keys)).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 4).await;
    while crowd.len() < 8 {
        crowd.grow(&door, 1).await;
    }
    assert_eq!((crowd.on("a"), crowd.on("b")), (4, 4));
    let answer = door.get("/full").await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
    assert_eq!(proxy.logged("/full").await["reason"], "pool_full");
    assert!(crowd.visit(&door).await.is_empty(), "who is bound is served");

    // Three of four are no quarter less.
    crowd.keep("a", 3);
    within(SOON, "one to be idle", async || {
        crowd.visit(&door).await;
        (proxy.live("a").await == 3 && proxy.live("b").await == 0).then_some(())
    })
    .await;
    for _ in 0..6 {
        assert_eq!(door.get("/other").await.name(), "b");
    }
    crowd.keep("a", 2);
    within(SOON, "two to be idle", async || {
        crowd.visit(&door).await;
        (proxy.live("a").await == 2).then_some(())
    })
    .await;
    let mut names = Vec::new();
    for _ in 0..6 {
        names.push(door.get("/again").await.name());
    }
    assert_eq!(distinct(&names), ["a", "b"]);
}

#[tokio::test]
async fn nobody_is_admitted_after_the_time_of_the_queue() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(limited(&[&origin], 1, "queue.timeout = \"600ms\"")).await;
    origin.fault(Fault::Late(Duration::from_millis(80)));
    let mut tasks = Vec::new();
    for _ in 0..24 {
        let door = proxy.door();
        tasks.push(spawn(async move { door.get("/rush").await.status }));
    }
    let mut codes = Vec::new();
    for task in tasks {
        codes.push(task.await.unwrap());
    }
    assert_eq!(distinct(&codes), [200, 503], "{codes:?}");
    let lines = within(SOON, "all lines of the log", async || {
        let mut lines = proxy.log();
        lines.retain(|line| line["path"] == "/rush");
        (lines.len() == codes.len()).then_some(lines)
    })
    .await;
    for line in lines.iter().filter(|line| line["status"] == 200) {
        assert!(line["t_queue"].as_f64().unwrap_or(0.0) <= 600.0, "{line}");
    }
}
