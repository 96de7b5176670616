//! Who is moved, who is not, and the cause that is told: weights, homes, ghosts, scale-out.

use rustix::process::Signal;

use crate::harness::{
    Config, Crowd, Jar, Origin, PLAIN, Proxy, SOON, backend, default_route, distinct, pool_of,
    spawn, sticky_farm, within,
};

/// The backends as they are written, and how sessions are kept.
fn front(backends: &[String], sticky: &str) -> Config {
    let sticky = format!("sticky = {{ by = \"cookie\", {sticky} }}");
    Config::new(format!("{PLAIN}{}{}", default_route("web"), pool_of("web", backends, &sticky)))
}

#[tokio::test]
async fn weight_nought_in_the_file_exiles_nobody_and_raising_it_moves_nobody() {
    let origins = Origin::three();
    let weighted = |weight: u32| {
        let first = backend(&origins[0], &format!("weight = {weight}"));
        front(&[first, backend(&origins[1], ""), backend(&origins[2], "")], "idle = \"10m\"")
    };
    let mut proxy = Proxy::start(weighted(1)).await;
    let mut crowd = Crowd::gather(&proxy.door(), 30).await;
    let mut strangers = Vec::new();
    for weight in [0, 5, 0, 100] {
        proxy.apply(weighted(weight)).await;
        assert!(crowd.visit(&proxy.door()).await.is_empty(), "weight {weight}");
        let newcomers = Crowd::gather(&proxy.door(), 8).await;
        assert_eq!(newcomers.on("a") == 0, weight == 0, "weight {weight}");
        strangers.push(newcomers);
    }
    for newcomers in &mut strangers {
        assert!(newcomers.visit(&proxy.door()).await.is_empty());
    }
    proxy.command(&["weight", "web/a", "0"]).await.expect(0);
    assert!(crowd.visit(&proxy.door()).await.is_empty());
    proxy.command(&["weight", "web/a", "200"]).await.expect(0);
    assert!(crowd.visit(&proxy.door()).await.is_empty());
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn a_strict_pool_refuses_the_bound_of_a_dead_backend_and_they_find_it_again() {
    let mut origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "on_down = \"strict\"")).await;
    let door = proxy.door();
    let mut jar = Crowd::gather(&door, 6).await.pick("b");
    origins[1].kill();
    // Before a check has noticed, and after.
    for path in ["/refused", "/gone"] {
        let answer = jar.get(&door, path).await;
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{path}");
        assert!(answer.set_cookies().is_empty(), "the token is kept");
        assert_eq!(proxy.logged(path).await["reason"], "session_backend_down");
        proxy.verdict("b", false).await;
    }
    assert_eq!(Crowd::gather(&door, 6).await.on("b"), 0, "who is new goes elsewhere");
    origins[1].revive();
    proxy.verdict("b", true).await;
    assert_eq!(distinct(&jar.visits(&door, 3).await), ["b"]);
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn a_post_that_is_refused_is_served_elsewhere_and_moves_only_who_is_well_served() {
    let mut origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let door = proxy.door();
    let jar = Crowd::gather(&door, 6).await.pick("b");
    origins[1].kill();
    let post = async |path: &str| {
        let mut jar = jar.clone();
        let request = door.request("POST", path);
        jar.send_on(&mut door.connect().await, request, "two of them").await
    };
    // Whoever is next is no home while it cannot serve.
    let answer = post("/status/503").await;
    assert_eq!((answer.status, answer.set_cookies().len()), (503, 0));
    assert_eq!(proxy.moved("").await, 0);
    let before = origins[0].count() + origins[2].count();
    let answer = post("/order").await;
    assert_ne!(answer.name(), "b");
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(origins[0].count() + origins[2].count(), before + 1, "once");
    assert_eq!(proxy.moved("down").await, 1);
}

#[tokio::test]
async fn who_was_served_elsewhere_goes_home_when_home_has_been_well_for_long_enough() {
    let mut origins = Origin::three();
    let keys = "on_down = \"return_home\", home_stable = \"2s\"";
    let proxy = Proxy::start(sticky_farm(&origins, keys)).await;
    let door = proxy.door();
    let mut jar = Crowd::gather(&door, 6).await.pick("b");
    origins[1].kill();
    let elsewhere = jar.visits(&door, 4).await;
    assert_eq!(distinct(&elsewhere).len(), 1, "{elsewhere:?}");
    assert_ne!(elsewhere[0], "b");
    origins[1].revive();
    proxy.verdict("b", true).await;
    within(SOON, "the way home", async || {
        let name = jar.get(&door, "/home").await.name();
        assert!(name == "b" || name == elsewhere[0], "{name}");
        (name == "b").then_some(())
    })
    .await;
    assert_eq!(distinct(&jar.visits(&door, 5).await), ["b"]);
    assert_eq!(proxy.tells("/home", "session", "moved").await["cause"], "home");
    let moves = (proxy.moved("down").await, proxy.moved("home").await, proxy.moved("").await);
    assert_eq!(moves, (1, 1, 2));
}

#[tokio::test]
async fn who_was_sent_away_for_maintenance_comes_home_after_it() {
    let origins = Origin::three();
    let keys = "on_down = \"return_home\", home_stable = \"1s\"";
    let proxy = Proxy::start(sticky_farm(&origins, keys)).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 15).await;
    let bound = crowd.on("b");
    proxy.command(&["maint", "web/b"]).await.expect(0);
    assert_eq!(crowd.visit(&door).await.len(), bound);
    assert!(crowd.visit(&door).await.is_empty());
    proxy.command(&["unmark", "web/b"]).await.expect(0);
    let mut moves = Vec::new();
    within(SOON, "everybody at home", async || {
        moves.extend(crowd.visit(&door).await);
        (moves.len() >= bound).then_some(())
    })
    .await;
    assert!(moves.iter().all(|(_, to)| to == "b"), "{moves:?}");
    assert!(crowd.visit(&door).await.is_empty());
    assert_eq!((proxy.moved("maint").await, proxy.moved("home").await), (bound, bound));
}

#[tokio::test]
async fn a_removed_backend_serves_its_visitors_as_a_ghost_until_its_time_is_over() {
    let origins = Origin::three();
    let rest = &origins[1..];
    let keys = "on_remove = { ghost = \"8s\" }";
    let mut proxy = Proxy::start(sticky_farm(&origins, keys)).await;
    let mut crowd = Crowd::gather(&proxy.door(), 15).await;
    let bound = crowd.on("a");
    proxy.apply(sticky_farm(rest, keys)).await;
    assert!(crowd.visit(&proxy.door()).await.is_empty(), "its visitors notice nothing");
    assert_eq!(Crowd::gather(&proxy.door(), 6).await.on("a"), 0, "nobody new");
    let ghost = ["backend=\"a\"", "state=\"ghost\""];
    assert!(proxy.metric("ostler_backend_state", &ghost).await > 0.5);
    proxy.signal(Signal::KILL);
    proxy.ended().await;
    let mut proxy = Proxy::start_in(proxy.directory(), sticky_farm(rest, keys)).await;
    assert!(crowd.visit(&proxy.door()).await.is_empty(), "a ghost survives even a kill");

    let door = proxy.door();
    let mut last = crowd.pick("a");
    within(SOON, "the end of its time", async || {
        (last.get(&door, "/last").await.name() != "a").then_some(())
    })
    .await;
    let moves = crowd.visit(&door).await;
    assert_eq!(moves.len(), bound - 1, "{moves:?}");
    assert!(moves.iter().all(|(from, _)| from == "a"), "{moves:?}");
    assert!(crowd.visit(&door).await.is_empty());
    assert_eq!((proxy.moved("removed").await, proxy.moved("").await), (bound, bound));
    proxy.apply(sticky_farm(&origins, keys)).await;
    assert!(crowd.visit(&proxy.door()).await.is_empty(), "who has gone does not come back");
}

#[tokio::test]
async fn a_ghost_that_comes_back_into_the_file_was_never_away() {
    let origins = Origin::three();
    let mut proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let mut crowd = Crowd::gather(&proxy.door(), 15).await;
    for _ in 0..2 {
        proxy.apply(sticky_farm(&origins[1..], "idle = \"10m\"")).await;
        assert!(crowd.visit(&proxy.door()).await.is_empty());
        proxy.apply(sticky_farm(&origins, "idle = \"10m\"")).await;
        assert!(crowd.visit(&proxy.door()).await.is_empty());
    }
    assert!(Crowd::gather(&proxy.door(), 9).await.on("a") > 0, "it takes visitors again");
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn a_ghost_ends_by_its_first_failed_check() {
    let origins = Origin::three();
    let mut proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let mut crowd = Crowd::gather(&proxy.door(), 15).await;
    let bound = crowd.on("a");
    proxy.apply(sticky_farm(&origins[1..], "idle = \"10m\"")).await;
    assert!(crowd.visit(&proxy.door()).await.is_empty());
    origins[0].healthy(false);
    proxy.hears("a ghost has ended").await;
    within(SOON, "a status that tells of it no more", async || {
        let status = proxy.command(&["status"]).await.text();
        (!status.contains("ghost") && !status.contains("web/a")).then_some(())
    })
    .await;
    let moves = crowd.visit(&proxy.door()).await;
    assert_eq!(moves.len(), bound, "{moves:?}");
    origins[0].healthy(true);
    assert!(crowd.visit(&proxy.door()).await.is_empty(), "they move once");
    assert_eq!(proxy.moved("").await, bound);
}

#[tokio::test]
async fn without_a_ghost_visitors_of_a_removed_backend_move_at_their_next_request() {
    let origins = Origin::three();
    let keys = "on_remove = \"move\"";
    let mut proxy = Proxy::start(sticky_farm(&origins, keys)).await;
    let mut crowd = Crowd::gather(&proxy.door(), 15).await;
    let bound = crowd.on("a");
    proxy.apply(sticky_farm(&origins[1..], keys)).await;
    let moves = crowd.visit(&proxy.door()).await;
    assert_eq!(moves.len(), bound, "{moves:?}");
    assert!(crowd.visit(&proxy.door()).await.is_empty());
    assert_eq!((proxy.moved("removed").await, proxy.moved("").await), (bound, bound));
}

#[tokio::test]
async fn after_a_scale_out_idle_sessions_move_and_no_faster_than_they_may() {
    let origins = Origin::three();
    let keys = "rebalance = { idle = \"3s\", percent = 10, per = \"1h\" }";
    let mut proxy = Proxy::start(sticky_farm(&origins[..2], "idle = \"10m\"")).await;
    let mut crowd = Crowd::gather(&proxy.door(), 40).await;
    let (mut busy, mut poster) = (crowd.pick("a"), crowd.pick("b"));
    proxy.apply(sticky_farm(&origins, keys)).await;
    proxy.verdict("c", true).await;
    let door = proxy.door();
    let (mut moved, mut looks) = (0, 0);
    within(SOON, "moves to the new backend", async || {
        assert_eq!(busy.get(&door, "/busy").await.name(), "a", "who is busy stays");
        looks += 1;
        // The others come now and then only.
        if looks % 180 == 0 {
            moved += crowd.visit(&door).await.len();
        }
        (moved > 0).then_some(())
    })
    .await;
    let mut connection = door.connect().await;
    let request = door.request("POST", "/order");
    let answer = poster.send_on(&mut connection, request, "two of them").await;
    assert_eq!(answer.name(), "b", "nobody is moved in the middle of a form");
    moved += crowd.visit(&door).await.len();
    assert!((1..=4).contains(&moved), "{moved} of 40 in one period");
    assert_eq!(crowd.on("c"), moved);
    assert_eq!((proxy.moved("rebalance").await, proxy.moved("").await), (moved, moved));
}

#[tokio::test]
async fn a_burst_of_idle_visitors_moves_no_more_than_may_move() {
    let origins = Origin::three();
    let keys = "rebalance = { idle = \"1s\", percent = 10, per = \"1h\" }";
    let mut proxy = Proxy::start(sticky_farm(&origins[..2], "idle = \"10m\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 30).await;
    proxy.apply(sticky_farm(&origins, keys)).await;
    proxy.verdict("c", true).await;
    let mut strangers = 0;
    within(SOON, "a while", async || {
        door.get("/stranger").await.name();
        strangers += 1;
        (strangers > 100).then_some(())
    })
    .await;
    let mut tasks = Vec::new();
    while crowd.len() > 0 {
        let (door, home) = (proxy.door(), crowd.homes()[0].clone());
        let mut jar = crowd.pick(&home);
        tasks.push(spawn(async move { jar.get(&door, "/gate").await.name() }));
    }
    // All are under way before the first is answered.
    let at = |origin: &Origin| origin.seen().iter().filter(|it| it.target == "/gate").count();
    within(SOON, "all at the backends", async || {
        (origins.iter().map(at).sum::<usize>() == 30).then_some(())
    })
    .await;
    let moved = at(&origins[2]);
    assert!((1..=3).contains(&moved), "{moved} of 30");
    origins.iter().for_each(Origin::open_gate);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(proxy.moved("rebalance").await, moved);
}

#[tokio::test]
async fn the_causes_that_are_counted_add_up_to_the_moves_that_visitors_saw() {
    let mut origins = Origin::three();
    let fourth = Origin::start("d");
    let keys = "on_remove = \"move\"";
    let all = origins.iter().chain([&fourth]);
    let mut proxy = Proxy::start(sticky_farm(all, keys)).await;
    let mut crowd = Crowd::gather(&proxy.door(), 40).await;
    let mut seen = Vec::new();

    proxy.command(&["maint", "web/a"]).await.expect(0);
    seen.push(("maint", crowd.visit(&proxy.door()).await.len()));
    proxy.command(&["unmark", "web/a"]).await.expect(0);

    origins[1].kill();
    seen.push(("down", crowd.visit(&proxy.door()).await.len()));
    origins[1].revive();
    proxy.verdict("b", true).await;

    proxy.apply(sticky_farm(&origins, keys)).await;
    seen.push(("removed", crowd.visit(&proxy.door()).await.len()));

    proxy.command(&["drain", "web/c", "--deadline", "1s"]).await.expect(0);
    let door = proxy.door();
    let mut moves = 0;
    within(SOON, "the deadline", async || {
        moves += crowd.visit(&door).await.len();
        (moves > 0 && crowd.on("c") == 0).then_some(())
    })
    .await;
    seen.push(("deadline", moves));

    assert!(seen.iter().all(|(_, count)| *count > 0), "{seen:?}");
    for (cause, count) in &seen {
        assert_eq!(proxy.moved(cause).await, *count, "{cause} of {seen:?}");
        within(SOON, &format!("{count} moves for {cause} in the log"), async || {
            let log = proxy.log();
            let lines = log.iter().filter(|it| it["session"] == "moved" && it["cause"] == *cause);
            (lines.count() == *count).then_some(())
        })
        .await;
    }
    let total: usize = seen.iter().map(|(_, count)| count).sum();
    assert_eq!(proxy.moved("").await, total);
    let mut last = Jar::new();
    last.visits(&proxy.door(), 2).await;
    assert_eq!(proxy.moved("").await, total);
}
