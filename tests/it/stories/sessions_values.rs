//! Sessions known by a value that the client brings or the backend invents.

use std::collections::BTreeMap;

use http::header::COOKIE;

use crate::harness::{
    Answer, Config, Door, Jar, Origin, PLAIN, Proxy, SOON, default_route, distinct, pool, within,
};

fn farm<'a>(origins: impl IntoIterator<Item = &'a Origin>, by: &str) -> Config {
    let origins: Vec<&Origin> = origins.into_iter().collect();
    let listener = format!("{PLAIN}trusted_proxies = [\"127.0.0.1/32\"]\n");
    let sticky = format!("sticky = {{ {by} }}");
    Config::new(format!("{listener}{}{}", default_route("web"), pool("web", &origins, &sticky)))
}

/// A request that brings a value in the way of its pool.
async fn bring(door: &Door, by: &str, value: &str) -> Answer {
    let request = match by {
        "header" => door.request("GET", "/visit").header("x-user", value),
        "query" => door.request("GET", &format!("/visit?other=1&user={value}&user=second")),
        "cookie" => door.request("GET", "/visit").header(COOKIE, format!("a=b; user={value}")),
        _ => door.request("GET", "/visit").header("x-forwarded-for", value),
    };
    let answer = door.send(request, "").await;
    assert!(answer.set_cookies().is_empty(), "there is nothing to write: {answer:?}");
    answer
}

async fn homes(door: &Door, by: &str, values: &[String]) -> BTreeMap<String, String> {
    let mut homes = BTreeMap::new();
    for value in values {
        homes.insert(value.clone(), bring(door, by, value).await.name());
    }
    homes
}

fn values(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("user{number}")).collect()
}

#[tokio::test]
async fn a_value_leads_to_the_same_backend_on_each_node() {
    let origins = Origin::three();
    let ways =
        [("header", "header:X-User"), ("query", "query:user"), ("cookie", "app_cookie:user")];
    for (way, by) in ways {
        let by = format!("by = \"{by}\"");
        let one = Proxy::start(farm(&origins, &by)).await;
        // Another order of backends is no other view of them.
        let two = Proxy::start(farm(origins.iter().rev(), &by)).await;
        let first = homes(&one.door(), way, &values(30)).await;
        assert_eq!(distinct(&first.values().collect::<Vec<_>>()).len(), 3, "{way}: {first:?}");
        for door in [two.door(), one.door()] {
            assert_eq!(homes(&door, way, &values(30)).await, first, "{way}");
        }
        assert_eq!(one.moved("").await, 0, "{way}");
    }
}

#[tokio::test]
async fn other_backends_move_only_those_values_that_must() {
    let origins = Origin::three();
    let fourth = Origin::start("d");
    let by = "by = \"header:x-user\", on_remove = \"move\"";
    let mut proxy = Proxy::start(farm(&origins, by)).await;
    let before = homes(&proxy.door(), "header", &values(60)).await;
    proxy.apply(farm(origins.iter().chain([&fourth]), by)).await;
    proxy.verdict("d", true).await;
    let after = homes(&proxy.door(), "header", &values(60)).await;
    let went: Vec<&String> = after.iter().filter(|(k, v)| before[*k] != **v).map(|e| e.1).collect();
    assert!(!went.is_empty() && went.len() < 30, "{went:?}");
    assert!(went.iter().all(|home| *home == "d"), "to the new one only: {went:?}");
    proxy.apply(farm(&origins, by)).await;
    let again = homes(&proxy.door(), "header", &values(60)).await;
    assert_eq!(again, before, "it was the only change");
}

#[tokio::test]
async fn a_drain_keeps_the_values_that_were_there() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(&origins, "by = \"header:x-user\"")).await;
    let door = proxy.door();
    let known = homes(&door, "header", &values(30)).await;
    proxy.command(&["drain", "web/b"]).await.expect(0);
    assert_eq!(homes(&door, "header", &values(30)).await, known);
    let new: Vec<String> = (100..140).map(|number| format!("user{number}")).collect();
    let theirs = homes(&door, "header", &new).await;
    assert!(theirs.values().all(|home| home != "b"), "{theirs:?}");
    let bound = known.values().filter(|home| *home == "b").count();
    assert_eq!(proxy.live("b").await, bound);
}

#[tokio::test]
async fn without_a_value_nobody_is_bound() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(&origins, "by = \"header:x-user\"")).await;
    let mut names = Vec::new();
    for _ in 0..12 {
        let answer = proxy.door().get("/visit").await;
        assert!(answer.set_cookies().is_empty());
        names.push(answer.name());
    }
    assert_eq!(distinct(&names), ["a", "b", "c"], "each by the policy alone");
    assert_eq!(proxy.logged("/visit").await["session"], "none");
    for backend in ["a", "b", "c"] {
        assert_eq!(proxy.live(backend).await, 0);
    }
}

#[tokio::test]
async fn a_network_is_one_visitor_where_the_prefix_says_so() {
    let origins = Origin::three();
    let by = "by = \"source\", source_prefix = { ipv4 = 24, ipv6 = 64 }";
    let proxy = Proxy::start(farm(&origins, by)).await;
    let mut networks = Vec::new();
    for network in 0..20 {
        let hosts: Vec<String> = [1, 77, 254].map(|host| format!("198.51.{network}.{host}")).into();
        let names: Vec<String> =
            homes(&proxy.door(), "source", &hosts).await.into_values().collect();
        assert_eq!(distinct(&names).len(), 1, "{hosts:?}: {names:?}");
        networks.push(names[0].clone());
    }
    assert_eq!(distinct(&networks), ["a", "b", "c"], "one network says nothing of another");
    let hosts = ["2001:db8:0:7::1", "2001:db8:0:7:ffff::2"].map(str::to_owned);
    let names: Vec<String> = homes(&proxy.door(), "source", &hosts).await.into_values().collect();
    assert_eq!(distinct(&names).len(), 1, "{names:?}");
}

#[tokio::test]
async fn a_value_whose_backend_is_down_moves_and_is_counted() {
    let mut origins = Origin::three();
    let proxy = Proxy::start(farm(&origins, "by = \"header:x-user\"")).await;
    let door = proxy.door();
    let before = homes(&door, "header", &values(30)).await;
    origins[1].kill();
    proxy.verdict("b", false).await;
    let during = homes(&door, "header", &values(30)).await;
    let went = before.values().filter(|home| *home == "b").count();
    for (value, home) in &before {
        assert_eq!(home == "b", during[value] != *home, "{value}: only who was there goes");
    }
    assert_eq!(homes(&door, "header", &values(30)).await, during);
    assert_eq!(proxy.moved("down").await, went);
}

/// Logs in and out of the application, which invents what it is known by.
async fn log_in(door: &Door) -> (Jar, String, String) {
    let mut jar = Jar::new();
    let answer = jar.get(door, "/login").await;
    let id = answer.header("mcp-session-id").unwrap().to_owned();
    (jar, id, answer.name())
}

async fn with_id(door: &Door, id: &str) -> String {
    let request = door.request("POST", "/call").header("mcp-session-id", id);
    door.send(request, "{}").await.name()
}

#[tokio::test]
async fn a_cookie_of_the_application_is_learned_and_survives_reload_and_restart() {
    let origins = Origin::three();
    let by = "by = \"learn:cookie:JSESSIONID\"";
    let mut proxy = Proxy::start(farm(&origins, by)).await;
    let mut visitors = Vec::new();
    for _ in 0..9 {
        visitors.push(log_in(&proxy.door()).await);
    }
    for round in 0..3 {
        for (jar, _, home) in &mut visitors {
            assert_eq!(distinct(&jar.visits(&proxy.door(), 6).await), [&**home], "round {round}");
        }
        match round {
            0 => proxy.apply(farm(origins.iter().rev(), by)).await,
            1 => proxy = proxy.restart().await,
            _ => {}
        }
    }
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn a_field_that_the_backend_invents_is_learned() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(&origins, "by = \"learn:header:Mcp-Session-Id\"")).await;
    let door = proxy.door();
    for _ in 0..3 {
        let (_, id, home) = log_in(&door).await;
        for _ in 0..50 {
            assert_eq!(with_id(&door, &id).await, home);
        }
    }
    for number in 0..10 {
        let id = format!("nobody-knows-{number}");
        let mut names = Vec::new();
        for _ in 0..3 {
            names.push(with_id(&door, &id).await);
        }
        assert_eq!(distinct(&names).len(), 1, "{id}: {names:?}");
    }
}

#[tokio::test]
async fn a_learned_value_whose_backend_dies_moves_once_and_is_remembered_there() {
    let mut origins = Origin::three();
    let proxy = Proxy::start(farm(&origins, "by = \"learn:header:Mcp-Session-Id\"")).await;
    let door = proxy.door();
    let (_, id, home) = log_in(&door).await;
    with_id(&door, &id).await;
    let index = origins.iter().position(|origin| origin.name() == home).unwrap();
    origins[index].kill();
    proxy.verdict(&home, false).await;
    let next = with_id(&door, &id).await;
    assert_ne!(next, home);
    origins[index].revive();
    proxy.verdict(&home, true).await;
    for _ in 0..5 {
        assert_eq!(with_id(&door, &id).await, next, "it stays where it went");
    }
    assert_eq!(proxy.moved("down").await, 1);
}

#[tokio::test]
async fn learned_values_hold_a_drain_until_they_are_idle() {
    let origins = Origin::three();
    let by = "by = \"learn:cookie:JSESSIONID\", idle = \"2s\"";
    let proxy = Proxy::start(farm(&origins, by)).await;
    let door = proxy.door();
    let (mut jar, _, home) = log_in(&door).await;
    jar.visits(&door, 1).await;
    proxy.command(&["drain", &format!("web/{home}")]).await.expect(0);
    for _ in 0..3 {
        assert_eq!(jar.visits(&door, 1).await, [&*home]);
        assert_ne!(log_in(&door).await.2, home);
    }
    assert_eq!(proxy.live(&home).await, 1);
    within(SOON, "nobody there", async || (proxy.live(&home).await == 0).then_some(())).await;
    proxy.hears("backend is drained").await;
}
