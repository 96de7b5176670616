//! Who may use a route, and what a route asks of a request beside host and path.

use crate::harness::{Answer, Config, Door, Origin, PLAIN, Proxy, default_route, pool, spawn};

/// Routes that each answer with their name, behind a listener that believes 127.0.0.1.
async fn routes(routes: &[(&str, &str)]) -> Proxy {
    let routes: Vec<String> = routes
        .iter()
        .map(|(name, lines)| {
            format!("[[routes]]\nname = \"{name}\"\nrespond.body = \"{name}\"\n{lines}\n")
        })
        .collect();
    let listener = format!("{PLAIN}trusted_proxies = [\"127.0.0.1\"]\n");
    Proxy::start(Config::new(format!("{listener}{}", routes.concat()))).await
}

async fn ask(door: &Door, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
    let request = door.request(method, target);
    let request =
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    door.send(request, "").await
}

#[tokio::test]
async fn who_is_denied_or_not_allowed_is_answered_by_403() {
    let origin = Origin::start("a");
    let listener = format!("{PLAIN}trusted_proxies = [\"127.0.0.1\"]\n");
    let lines = "allow = [\"10.0.0.0/8\", \"2001:db8::/32\"]\ndeny = [\"10.1.0.0/16\"]\n";
    let body = format!("{listener}{}{lines}{}", default_route("web"), pool("web", &[&origin], ""));
    let proxy = Proxy::start(Config::new(body)).await;
    let door = proxy.door();
    for (client, status) in [
        ("10.2.3.4", 200),
        ("2001:db8::5", 200),
        ("10.1.2.3", 403),
        ("192.0.2.1", 403),
        ("10.2.3.4, 192.0.2.1", 403),
    ] {
        let answer = ask(&door, "GET", "/", &[("x-forwarded-for", client)]).await;
        assert_eq!(answer.status, status, "{client}");
    }
    assert_eq!(ask(&door, "GET", "/own", &[]).await.status, 403, "nobody else is named");
    assert_eq!(proxy.logged("/own").await["reason"], "denied");
    assert_eq!(origin.count(), 2);
    let words = ["explain", "--client", "10.1.2.3", "http://localhost/"];
    let explained = proxy.command(&words).await.text();
    assert!(explained.contains("10.1.2.3 is not let in: 403, reason denied"), "{explained}");
    let lists = "access    deny 10.1.0.0/16; allow 10.0.0.0/8, 2001:db8::/32\n";
    assert!(explained.contains(lists), "{explained}");
}

#[tokio::test]
async fn the_route_with_the_most_conditions_that_are_met_is_taken() {
    let proxy = routes(&[
        ("plain", "path = \"/a\""),
        ("beta", "path = \"/a\"\nheaders = { x-beta = \"1\" }"),
        ("writer", "path = \"/a\"\nheaders = { x-beta = \"1\" }\nmethods = [\"PUT\", \"POST\"]"),
        ("cookie", "path = \"/b\"\ncookies = { group = { regex = \"blue|green\" } }"),
        ("query", "path = \"/c\"\nquery = { debug = { present = true } }"),
        ("inside", "path = \"/d\"\nsources = [\"10.0.0.0/8\"]"),
        ("any", ""),
    ])
    .await;
    let door = proxy.door();
    let beta = ("x-beta", "1");
    for (method, target, fields, route) in [
        ("GET", "/a/x", &[][..], "plain"),
        ("GET", "/a/x", &[beta][..], "beta"),
        ("GET", "/a/x", &[("x-beta", "2")][..], "plain"),
        ("PUT", "/a/x", &[beta][..], "writer"),
        ("PUT", "/a/x", &[][..], "plain"),
        ("GET", "/b", &[("cookie", "a=b; group=blue")][..], "cookie"),
        ("GET", "/b", &[("cookie", "group=bluegreen")][..], "any"),
        ("GET", "/c?a=b&debug", &[][..], "query"),
        ("GET", "/c?debugs=1", &[][..], "any"),
        ("GET", "/d", &[("x-forwarded-for", "10.9.9.9")][..], "inside"),
        ("GET", "/d", &[("x-forwarded-for", "11.9.9.9")][..], "any"),
    ] {
        let answer = ask(&door, method, target, fields).await;
        assert_eq!(answer.text(), route, "{method} {target} {fields:?}");
    }
}

#[tokio::test]
async fn who_is_left_for_its_method_alone_is_told_the_methods() {
    let proxy = routes(&[
        ("read", "path = \"/a\"\nmethods = [\"GET\"]"),
        ("write", "path = \"/a\"\nmethods = [\"PUT\"]"),
        ("beta", "path = \"/a\"\nmethods = [\"PATCH\"]\nheaders = { x-beta = \"1\" }"),
    ])
    .await;
    let door = proxy.door();
    assert_eq!(ask(&door, "HEAD", "/a", &[]).await.status, 200, "HEAD is GET without its body");
    let answer = ask(&door, "DELETE", "/a", &[]).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, PUT")));
    assert_eq!(proxy.tells("/a", "reason", "not_supported").await["status"], 405);
    let answer = ask(&door, "DELETE", "/a", &[("x-beta", "1")]).await;
    assert_eq!(answer.header("allow"), Some("GET, HEAD, PATCH, PUT"));
    let answer = ask(&door, "DELETE", "/b", &[]).await;
    assert_eq!((answer.status, answer.header("allow")), (404, None));
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let limited = |limit: &str, other: &str| {
        let listener = format!("{PLAIN}trusted_proxies = [\"127.0.0.1\"]\n");
        let route = format!(
            "[[routes]]\nname = \"one\"\nrate_limit = {{ {limit} }}\nrespond.body = \"{other}\"\n"
        );
        Config::new(format!("{listener}{route}"))
    };
    let hourly = "rate = \"2/h\", burst = 3";
    let mut proxy = Proxy::start(limited(hourly, "one")).await;
    let by = |client: &'static str| [("x-forwarded-for", client)];
    for turn in 0..5 {
        let answer = ask(&proxy.door(), "GET", "/limited", &by("192.0.2.1")).await;
        assert_eq!(answer.status, if turn < 3 { 200 } else { 429 }, "{turn}");
        if turn == 4 {
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=1800).contains(&wait), "{wait}");
        }
    }
    assert_eq!(proxy.tells("/limited", "reason", "rate_limited").await["status"], 429);
    let one_network = ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ff::3"];
    for client in one_network {
        assert_eq!(ask(&proxy.door(), "GET", "/", &by(client)).await.status, 200);
    }
    assert_eq!(ask(&proxy.door(), "GET", "/", &by("2001:db8:1:2::9")).await.status, 429);
    assert_eq!(ask(&proxy.door(), "GET", "/", &by("2001:db8:1:3::9")).await.status, 200);
    // A reload that does not touch the limit leaves the buckets as they are.
    proxy.apply(limited(hourly, "two")).await;
    assert_eq!(ask(&proxy.door(), "GET", "/", &by("192.0.2.1")).await.status, 429);
    assert_eq!(ask(&proxy.door(), "GET", "/", &by("192.0.2.2")).await.text(), "two");
    proxy.apply(limited("rate = \"2/h\", burst = 4", "two")).await;
    assert_eq!(ask(&proxy.door(), "GET", "/", &by("192.0.2.1")).await.status, 200);
    // By a key of the application's; who has none is counted by address.
    proxy.apply(limited("by = \"header:x-api-key\", rate = \"2/h\", burst = 1", "three")).await;
    let with = |key: &'static str| [("x-api-key", key)];
    assert_eq!(ask(&proxy.door(), "GET", "/", &with("k1")).await.status, 200);
    assert_eq!(ask(&proxy.door(), "GET", "/", &with("k1")).await.status, 429);
    assert_eq!(ask(&proxy.door(), "GET", "/", &with("k2")).await.status, 200);
    assert_eq!(ask(&proxy.door(), "GET", "/", &[]).await.status, 200);
    assert_eq!(ask(&proxy.door(), "GET", "/", &[]).await.status, 429);
}

#[tokio::test]
async fn all_workers_together_let_no_more_than_the_burst_through() {
    let route = "[[routes]]\nrate_limit = { rate = \"1/h\", burst = 40 }\nrespond.body = \"ok\"\n";
    let config = Config::new(format!("{PLAIN}{route}")).runtime("workers = 4");
    let proxy = Proxy::start(config).await;
    let door = proxy.door();
    let clients = (0..20).map(|_| {
        let door = door.clone();
        spawn(async move {
            let mut served = 0;
            for _ in 0..5 {
                served += usize::from(door.get("/").await.status == 200);
            }
            served
        })
    });
    let mut served = 0;
    for client in clients.collect::<Vec<_>>() {
        served += client.await.unwrap();
    }
    assert_eq!(served, 40);
}
