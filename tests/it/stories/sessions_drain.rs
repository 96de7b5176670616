//! Drains: who is bound stays until they go, are quiet, or the deadline moves them.

use rustix::process::Signal;

use crate::harness::{Crowd, Jar, Origin, Proxy, SOON, distinct, spawn, sticky_farm, within};

const DRAINED: &str = "backend is drained";

async fn complete(proxy: &Proxy) -> bool {
    proxy.metric("ostler_sessions_complete", &["pool=\"web\""]).await > 0.5
}

#[tokio::test]
async fn a_drain_ends_when_the_last_visitor_has_gone_by_themselves() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"5s\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 150).await;
    let bound = crowd.on("b");
    assert!(bound >= 30, "{bound} of 150");
    proxy.command(&["drain", "web/b"]).await.expect(0);
    assert!(crowd.visit(&door).await.is_empty(), "who is bound stays");
    assert_eq!(proxy.live("b").await, bound);
    assert_eq!(Crowd::gather(&door, 12).await.on("b"), 0, "nobody new comes");
    let half = bound / 2;
    crowd.keep("b", half);
    within(SOON, "the other half to be gone", async || {
        assert!(crowd.visit(&door).await.is_empty());
        (proxy.live("b").await == half).then_some(())
    })
    .await;
    assert!(!proxy.said().contains(DRAINED), "somebody is still there");
    proxy.hears(DRAINED).await;
    assert_eq!(proxy.live("b").await, 0);
    assert_eq!(proxy.moved("").await, 0);
    assert_eq!(proxy.sessions_of("web", "b").await["empty"], true);
}

#[tokio::test]
async fn the_deadline_of_a_drain_moves_those_left_exactly_once() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"8s\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 60).await;
    let bound = crowd.on("b");
    proxy.command(&["drain", "web/b", "--deadline", "4s"]).await.expect(0);
    let deadline = proxy.metric("ostler_backend_drain_deadline_timestamp_seconds", &[]).await;
    assert!(deadline > 1.7e9, "{deadline}");
    assert!(crowd.visit(&door).await.is_empty(), "not before the deadline");
    let mut first = crowd.pick("b");
    within(SOON, "the deadline", async || {
        (first.get(&door, "/first").await.name() != "b").then_some(())
    })
    .await;
    let moves = crowd.visit(&door).await;
    assert_eq!(moves.len(), bound - 1, "{moves:?}");
    assert!(moves.iter().all(|(from, _)| from == "b"), "{moves:?}");
    for _ in 0..2 {
        assert!(crowd.visit(&door).await.is_empty(), "moved once");
    }
    assert_eq!(proxy.moved("deadline").await, bound);
    assert_eq!(proxy.moved("").await, bound);
    let drain = proxy.sessions_of("web", "b").await["drain"].clone();
    assert_eq!((&drain["over"], &drain["moved"]), (&true.into(), &bound.into()));
    assert_eq!(proxy.tells("/first", "session", "moved").await["cause"], "deadline");
    proxy.hears(DRAINED).await;
}

#[tokio::test]
async fn parallel_requests_of_a_visitor_are_one_move() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 30).await;
    let bound = crowd.on("b");
    proxy.command(&["drain", "web/b", "--deadline", "1s"]).await.expect(0);
    let mut first = crowd.pick("b");
    within(SOON, "the deadline", async || {
        (first.get(&door, "/first").await.name() != "b").then_some(())
    })
    .await;
    while crowd.on("b") > 0 {
        let jar = crowd.pick("b");
        let ways = [0, 1, 2, 3].map(|_| {
            let (mut jar, door) = (jar.clone(), door.clone());
            spawn(async move { jar.get(&door, "/parallel").await })
        });
        let mut names = Vec::new();
        for way in ways {
            names.push(way.await.unwrap().name());
        }
        assert_eq!(distinct(&names).len(), 1, "{names:?}");
        assert_ne!(names[0], "b");
    }
    assert_eq!(proxy.sessions_of("web", "b").await["drain"]["moved"], bound);
    assert_eq!((proxy.moved("deadline").await, proxy.moved("").await), (bound, bound));
}

#[tokio::test]
async fn the_deadline_moves_nobody_where_nobody_else_serves() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(sticky_farm([&origin], "idle = \"3s\"")).await;
    let door = proxy.door();
    let mut jar = Jar::new();
    jar.visits(&door, 2).await;
    proxy.command(&["drain", "web/a", "--deadline", "1s"]).await.expect(1);
    proxy.command(&["drain", "web/a", "--deadline", "1s", "--force"]).await.expect(0);
    let mut looks = 0;
    within(SOON, "some time beyond the deadline", async || {
        assert_eq!(jar.get(&door, "/").await.name(), "a", "it is better than nobody");
        let over = proxy.sessions_of("web", "a").await["drain"]["over"] == true;
        looks += u32::from(over);
        (looks > 60).then_some(())
    })
    .await;
    assert_eq!(door.get("/new").await.status, 503);
    assert_eq!(proxy.logged("/new").await["reason"], "no_backend_admin");
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn the_end_of_a_drain_is_an_event() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"2s\"")).await;
    let mut crowd = Crowd::gather(&proxy.door(), 9).await;
    let mut events = proxy.events("sessions/events?pool=web&backend=b").await;
    proxy.command(&["drain", "web/b", "--deadline", "none"]).await.expect(0);
    crowd.visit(&proxy.door()).await;
    let text = events.until("event: drained").await;
    assert!(text.contains("event: sessions"), "{text}");
    let counts = text.matches("\"sessions\":3").count();
    assert!(counts > 0, "it began with three: {text}");
}

#[tokio::test]
async fn a_quiet_visitor_of_a_drain_is_moved_and_a_busy_one_is_not() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 12).await;
    let (mut quiet, mut busy) = (crowd.pick("b"), crowd.pick("b"));
    proxy.command(&["drain", "web/b", "--deadline", "none", "--quiet", "2s"]).await.expect(0);
    let mut looks = 0;
    within(SOON, "a quiet time", async || {
        assert_eq!(busy.get(&door, "/busy").await.name(), "b");
        looks += 1;
        (looks > 150).then_some(())
    })
    .await;
    let answer = quiet.get(&door, "/quiet").await;
    assert_ne!(answer.name(), "b");
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(proxy.logged("/quiet").await["cause"], "quiet");
    assert_eq!(busy.get(&door, "/busy").await.name(), "b");
    assert_eq!((proxy.moved("quiet").await, proxy.moved("").await), (1, 1));
}

#[tokio::test]
async fn a_thousand_requests_without_a_cookie_count_for_nothing_and_hold_up_no_drain() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"2s\"")).await;
    let crawl = |count: usize| {
        let door = proxy.door();
        spawn(async move {
            let mut connection = door.connect().await;
            for _ in 0..count {
                assert_eq!(connection.get("/crawl").await.set_cookies().len(), 1);
            }
        })
    };
    for crawler in [crawl(500), crawl(500)] {
        crawler.await.unwrap();
    }
    for backend in ["a", "b", "c"] {
        assert_eq!(proxy.live(backend).await, 0, "sessions on {backend}");
    }
    let issued = proxy.metric("ostler_sessions_issued_total", &["pool=\"web\""]).await;
    assert!((issued - 1000.0).abs() < 0.5, "{issued} issued");
    let crawler = crawl(100_000);
    proxy.command(&["drain", "web/b", "--deadline", "none"]).await.expect(0);
    proxy.hears(DRAINED).await;
    crawler.abort();
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn a_drain_goes_on_after_a_restart_with_its_mark_its_deadline_and_its_counts() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"6s\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 30).await;
    proxy.command(&["drain", "web/b", "--deadline", "1h", "--reason", "new disk"]).await.expect(0);
    within(SOON, "complete counts", async || {
        assert!(crowd.visit(&door).await.is_empty());
        complete(&proxy).await.then_some(())
    })
    .await;
    let (marks, bound) = (proxy.status().await["marks"].clone(), crowd.on("b"));
    assert_eq!(proxy.live("b").await, bound);
    assert!(marks[0]["drain"]["deadline"].is_string(), "{marks}");

    let proxy = proxy.restart().await;
    assert!(complete(&proxy).await, "an orderly stop loses nothing");
    assert_eq!(proxy.live("b").await, bound);
    assert_eq!(proxy.status().await["marks"], marks);
    assert!(crowd.visit(&proxy.door()).await.is_empty());
    assert_eq!(Crowd::gather(&proxy.door(), 6).await.on("b"), 0);
    assert!(!proxy.said().contains(DRAINED), "{bound} are still there");
}

#[tokio::test]
async fn after_a_kill_nothing_is_said_to_be_empty_before_the_idle_time_has_passed() {
    let origins = Origin::three();
    let config = sticky_farm(&origins, "idle = \"4s\"");
    let mut proxy = Proxy::start(config.clone()).await;
    let mut jar = Crowd::gather(&proxy.door(), 6).await.pick("b");
    proxy.command(&["drain", "web/b", "--deadline", "none"]).await.expect(0);
    proxy.signal(Signal::KILL);
    proxy.ended().await;

    let proxy = Proxy::start_in(proxy.directory(), config).await;
    let page = proxy.sessions_of("web", "b").await;
    // The count first, the rest after: what was incomplete before was so when the page was made.
    if !complete(&proxy).await {
        assert_eq!(page["empty"], false, "{page}");
        assert!(!proxy.said().contains(DRAINED));
    }
    assert_eq!(jar.get(&proxy.door(), "/").await.name(), "b", "its mark and its key are there");
    assert_eq!(Crowd::gather(&proxy.door(), 4).await.on("b"), 0);
    proxy.hears(DRAINED).await;
    assert!(complete(&proxy).await);
}

#[tokio::test]
async fn who_waits_for_a_drain_is_told_how_many_the_deadline_moved() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"3s\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 12).await;
    let bound = crowd.on("b");
    let visitors = spawn(async move {
        loop {
            crowd.visit(&door).await;
        }
    });
    let words = ["drain", "web/b", "--deadline", "4s", "--wait", "--strict"];
    let output = proxy.command(&words).await.expect(4);
    visitors.abort();
    assert!(output.text().contains("is empty"), "{}", output.text());
    assert!(output.text().contains(&format!("moved {bound} at the deadline")), "{}", output.text());
}

#[tokio::test]
async fn who_waits_for_a_drain_that_nobody_is_bound_to_is_back_at_once() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"1s\"")).await;
    Jar::new().get(&proxy.door(), "/").await;
    let output = proxy.command(&["drain", "web/b", "--wait", "--strict"]).await.expect(0);
    assert!(output.text().contains("is empty"), "{}", output.text());
    assert!(!output.text().contains("moved"), "{}", output.text());
}

#[tokio::test]
async fn who_waits_past_the_deadline_is_told_for_whom() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"6s\"")).await;
    let mut crowd = Crowd::gather(&proxy.door(), 9).await;
    crowd.visit(&proxy.door()).await;
    let text = proxy.command(&["drain", "web/b", "--deadline", "1s", "--wait"]).await.expect(0);
    let text = text.text();
    assert!(
        text.contains("who comes back to web/b is moved; waiting for those who have"),
        "{text}"
    );
    assert!(text.contains("web/b is empty"), "{text}");
}

#[tokio::test]
async fn who_waits_for_the_deadline_waits_for_nobody_who_has_not_come_back() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let mut crowd = Crowd::gather(&proxy.door(), 12).await;
    crowd.visit(&proxy.door()).await;
    let bound = crowd.on("b");
    let words = ["drain", "web/b", "--deadline", "2s", "--wait=deadline"];
    let text = proxy.command(&words).await.expect(0).text();
    assert!(text.contains("the deadline of web/b has passed: nothing is under way"), "{text}");
    assert!(text.contains(&format!("≥ {bound} sessions still bound: each moves")), "{text}");
    assert!(!text.contains("is empty"), "{text}");
    assert_eq!(crowd.visit(&proxy.door()).await.len(), bound);
    // Somebody may have been moved whom nobody has counted.
    proxy.command(&[&words[..], &["--strict"]].concat()).await.expect(4);
    let none = ["drain", "web/b", "--deadline", "none", "--wait=deadline"];
    proxy.command(&none).await.expect(2);
}

#[tokio::test]
async fn counts_that_a_restart_carries_on_are_as_old_as_they_were() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let counted = async |proxy: &Proxy| {
        let (_, page) = proxy.api("GET", "sessions", "").await;
        page["pools"][0]["counted_for_seconds"].as_u64().unwrap()
    };
    within(SOON, "some seconds of counting", async || (counted(&proxy).await >= 3).then_some(()))
        .await;
    let proxy = proxy.restart().await;
    assert!(counted(&proxy).await >= 3, "it has not begun with the new process");
    let text = proxy.command(&["sessions"]).await.expect(0).text();
    assert!(text.contains("counted for ") && text.contains(" so far, complete in "), "{text}");
}
