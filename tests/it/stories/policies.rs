//! Policies that look at the request, at answer times, or at how long a backend has been up.

use std::time::Duration;

use crate::harness::{
    Config, Door, Fault, Jar, Origin, PLAIN, Proxy, SOON, default_route, distinct, pool, spawn,
    unchecked, within,
};

/// A pool without checks by a policy.
async fn front(origins: &[Origin], policy: &str) -> Proxy {
    let pool = unchecked("web", origins, "").replace("policy = \"round-robin\"\n", policy);
    Proxy::start(Config::new(format!("{PLAIN}{}{pool}", default_route("web")))).await
}

/// Where the request of each key goes.
async fn homes(door: &Door, ask: impl Fn(&Door, u32) -> http::request::Builder) -> Vec<String> {
    let mut names = Vec::new();
    for key in 0..24 {
        names.push(door.send(ask(door, key), "").await.name());
    }
    names
}

#[tokio::test]
async fn a_hash_finds_the_same_backend_on_every_node() {
    type Ask = fn(&Door, u32) -> http::request::Builder;
    let origins = Origin::three();
    let kinds: [(&str, Ask); 3] = [
        ("header:x-key", |door, key| door.request("GET", "/any").header("x-key", key)),
        ("path", |door, key| door.request("GET", &format!("/file/{key}?tag={key}{key}"))),
        ("query:id", |door, key| door.request("GET", &format!("/{key}?x=1&id={}", key * 7))),
    ];
    for (on, ask) in kinds {
        let policy = format!("policy = \"hash\"\nhash_on = \"{on}\"\n");
        let (one, two) = (front(&origins, &policy).await, front(&origins, &policy).await);
        let first = homes(&one.door(), ask).await;
        assert_eq!(distinct(&first), ["a", "b", "c"], "{on}");
        assert_eq!(homes(&two.door(), ask).await, first, "{on}");
        assert_eq!(homes(&one.door(), ask).await, first, "{on}");
    }
}

#[tokio::test]
async fn a_backend_that_dies_takes_only_its_own_keys_along() {
    let mut origins = Origin::three();
    let policy = "policy = \"hash\"\nhash_on = \"path\"\nejection = { base = \"1h\" }\n";
    let proxy = front(&origins, policy).await;
    let ask = |door: &Door, key: u32| door.request("GET", &format!("/file/{key}"));
    let before = homes(&proxy.door(), ask).await;
    origins[0].kill();
    let after = homes(&proxy.door(), ask).await;
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || before == "a", "{before} became {after}");
        assert_ne!(after, "a");
    }
    assert_eq!(distinct(&after), ["b", "c"]);
}

#[tokio::test]
async fn whichever_pool_takes_over_hashes_by_what_it_was_told_to() {
    let origins = Origin::three();
    let spare = unchecked("spare", &origins, "")
        .replace("policy = \"round-robin\"\n", "policy = \"hash\"\nhash_on = \"path\"\n");
    let dead = "[pools.web]\npolicy = \"hash\"\nhash_on = \"header:x-key\"\n\
                backends = [{ address = \"127.0.0.1:9\", state = \"maint\" }]\n\
                when_all_down = { pool = \"middle\" }\n\
                [pools.middle]\n\
                backends = [{ address = \"127.0.0.1:9\", state = \"maint\" }]\n\
                when_all_down = { pool = \"spare\" }\n";
    let body = format!("{PLAIN}{}{dead}{spare}", default_route("web"));
    let proxy = Proxy::start(Config::new(body)).await;
    let ask = |door: &Door, key: u32| {
        door.request("GET", &format!("/{key}")).header("x-key", fastrand::u64(..))
    };
    let first = homes(&proxy.door(), ask).await;
    assert_eq!(homes(&proxy.door(), ask).await, first);
}

#[tokio::test]
async fn by_answer_times_the_fast_one_gets_clearly_more() {
    let origins = ["slow", "fast"].map(Origin::start);
    origins[0].fault(Fault::Late(Duration::from_millis(100)));
    let proxy = front(&origins, "policy = \"peak-ewma\"\n").await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let mut connection = proxy.door().connect().await;
        tasks.push(spawn(async move {
            for _ in 0..40 {
                connection.get("/ask").await.name();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let [slow, fast] = [origins[0].count(), origins[1].count()];
    assert!(slow >= 1 && fast > 3 * slow, "{slow} and {fast}");
}

#[tokio::test]
async fn who_comes_up_is_given_a_part_at_first_and_its_own_visitors_at_once() {
    let origins = ["a", "b"].map(Origin::start);
    let policy = "policy = \"least-request\"\nslow_start = \"1h\"\nsticky.by = \"cookie\"\n";
    let proxy = front(&origins, policy).await;
    let mut jar = Jar::new();
    while jar.get(&proxy.door(), "/").await.name() != "b" {
        jar = Jar::new();
    }
    proxy.command(&["drain", "web/b"]).await.expect(0);
    assert_eq!(proxy.door().get("/").await.name(), "a");
    proxy.command(&["ready", "web/b"]).await.expect(0);
    within(SOON, "b to be up", async || {
        let labels = ["backend=\"b\"", "state=\"up\""];
        (proxy.metric("ostler_backend_state", &labels).await > 0.5).then_some(())
    })
    .await;
    let mut names = Vec::new();
    for _ in 0..150 {
        names.push(proxy.door().get("/new").await.name());
    }
    let few = names.iter().filter(|name| *name == "b").count();
    assert!((1..=50).contains(&few), "{few} of 150");
    assert_eq!(distinct(&jar.visits(&proxy.door(), 20).await), ["b"]);
}

#[tokio::test]
async fn two_hundred_requests_held_elsewhere_do_not_throw_everybody_at_who_has_recovered() {
    let mut origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let pool = pool("web", &all, "slow_start = \"1h\"")
        .replace("policy = \"round-robin\"\n", "policy = \"least-request\"\n");
    let body = format!("{PLAIN}{}{pool}", default_route("web"));
    let proxy = Proxy::start(Config::new(body)).await;
    origins[2].kill();
    proxy.verdict("c", false).await;
    let held: Vec<_> = (0..200)
        .map(|_| {
            let door = proxy.door();
            spawn(async move { door.get("/gate").await.status })
        })
        .collect();
    within(SOON, "200 requests that two backends hold", async || {
        (origins[0].count() + origins[1].count() == 200).then_some(())
    })
    .await;
    origins[2].revive();
    proxy.verdict("c", true).await;
    let before = origins[2].count();
    for _ in 0..200 {
        assert_eq!(proxy.door().get("/new").await.status, 200);
    }
    // A tenth beside two wholes, which is ten of 200; by load alone it would be all of them.
    let given = origins[2].count() - before;
    assert!(given <= 30, "{given} of 200");
    for origin in &origins {
        origin.open_gate();
    }
    for request in held {
        assert_eq!(request.await.unwrap(), 200);
    }
}
