//! Who may use a route, and what a route asks of a request beside host and path.

use crate::harness::{Answer, Config, Door, Origin, PLAIN, Proxy, default_route, pool};

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
    assert_eq!(proxy.logged("/a").await["reason"], "not_supported");
    let answer = ask(&door, "DELETE", "/a", &[("x-beta", "1")]).await;
    assert_eq!(answer.header("allow"), Some("GET, HEAD, PATCH, PUT"));
    let answer = ask(&door, "DELETE", "/b", &[]).await;
    assert_eq!((answer.status, answer.header("allow")), (404, None));
}
