//! Sessions: a visitor stays with the backend that knows them, and moves once when it dies.

use http::header::COOKIE;

use crate::harness::{
    Config, Jar, Origin, PLAIN, Proxy, SECURE, default_route, distinct, pool, sticky_farm,
    sticky_pool,
};

fn farm(listener: &str, origins: &[Origin]) -> Config {
    let origins: Vec<&Origin> = origins.iter().collect();
    Config::new(format!("{listener}{}{}", default_route("web"), sticky_pool("web", &origins)))
}

#[tokio::test]
async fn one_jar_sticks_and_twenty_visitors_spread() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(PLAIN, &origins)).await;
    let names = Jar::new().visits(&proxy.door(), 20).await;
    assert_eq!(distinct(&names).len(), 1, "{names:?}");
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(proxy.door().get("/visit").await.name());
    }
    assert_eq!(distinct(&strangers), ["a", "b", "c"]);
}

#[tokio::test]
async fn one_jar_sticks_over_http2_and_over_http1_with_tls() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(SECURE, &origins)).await;
    let mut jar = Jar::new();
    let mut names = jar.visits(&proxy.secure("h2"), 10).await;
    names.extend(jar.visits(&proxy.secure("http/1.1"), 10).await);
    assert_eq!(distinct(&names).len(), 1, "{names:?}");
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(proxy.secure("h2").get("/visit").await.name());
    }
    assert_eq!(distinct(&strangers), ["a", "b", "c"]);
}

#[tokio::test]
async fn the_cookie_has_the_attributes_of_its_scheme() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(&format!("{PLAIN}{SECURE}"), &origins)).await;
    let answer = proxy.secure("h2").get("/").await;
    let cookie = answer.set_cookies()[0].to_owned();
    assert!(cookie.starts_with("__Host-ostler-web="), "{cookie}");
    for attribute in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=None"] {
        assert!(cookie.contains(attribute), "{attribute} in {cookie}");
    }
    assert!(!cookie.contains("Domain") && !cookie.contains("Max-Age"), "{cookie}");
    let answer = proxy.door().get("/").await;
    let cookie = answer.set_cookies()[0].to_owned();
    assert!(cookie.starts_with("ostler-web="), "{cookie}");
    assert!(cookie.contains("SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn a_killed_backend_moves_its_jar_once_and_it_fails_no_request() {
    let mut origins = Origin::three();
    let proxy = Proxy::start(farm(PLAIN, &origins)).await;
    let mut jar = Jar::new();
    let home = jar.visits(&proxy.door(), 3).await.pop().unwrap();
    let index = origins.iter().position(|origin| origin.name() == home).unwrap();
    origins[index].kill();
    // From the very first request on, which no check has announced; `visits` fails on any non-200.
    let names = jar.visits(&proxy.door(), 10).await;
    assert_eq!(distinct(&names).len(), 1, "{names:?}");
    assert_ne!(names[0], home);
    origins[index].revive();
    proxy.verdict(&home, true).await;
    assert_eq!(distinct(&jar.visits(&proxy.door(), 5).await), distinct(&names), "it moved once");
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(proxy.door().get("/visit").await.name());
    }
    assert!(strangers.contains(&home), "it takes visitors again: {strangers:?}");
    let moved = proxy.metric("ostler_sessions_moved_total", &["cause=\"down\""]).await;
    assert!((moved - 1.0).abs() < 0.5, "moved {moved} times");
}

#[tokio::test]
async fn a_tampered_token_is_as_none() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(PLAIN, &origins)).await;
    let mut jar = Jar::new();
    jar.get(&proxy.door(), "/").await;
    let (name, value) = jar.token();
    for position in 0..value.len() {
        let mut bytes = value.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(bytes).unwrap();
        let request = proxy.door().request("GET", "/").header(COOKIE, format!("{name}={forged}"));
        let answer = proxy.door().send(request, "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.set_cookies().len(), 1, "byte {position} changed, and it was believed");
    }
}

#[tokio::test]
async fn a_token_of_another_scope_is_as_none() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!(
        "{PLAIN}[[routes]]\npath = \"/one\"\npool = \"one\"\n[[routes]]\npath = \"/two\"\n\
         pool = \"two\"\n{}{}",
        sticky_pool("one", &all),
        sticky_pool("two", &all)
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let mut jar = Jar::new();
    jar.get(&proxy.door(), "/one").await;
    let (_, value) = jar.token();
    let cookie = format!("ostler-two={value}");
    let request = proxy.door().request("GET", "/two").header(COOKIE, cookie);
    assert_eq!(proxy.door().send(request, "").await.set_cookies().len(), 1);
}

#[tokio::test]
async fn of_several_tokens_the_first_that_opens_wins() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(PLAIN, &origins)).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    let (name, value) = jar.token();
    let cookies = format!("{name}=garbage; {name}=; {name}={value}; {name}=more");
    for _ in 0..6 {
        let request = proxy.door().request("GET", "/").header(COOKIE, &cookies);
        let answer = proxy.door().send(request, "").await;
        assert_eq!(answer.name(), home);
        assert!(answer.set_cookies().is_empty(), "a token that holds is not replaced");
    }
}

#[tokio::test]
async fn our_cookies_are_hidden_and_others_arrive_byte_for_byte() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(PLAIN, &origins)).await;
    let door = proxy.door();
    let mut jar = Jar::new();
    let home = jar.get(&door, "/").await.name();
    let (name, value) = jar.token();
    let seen = |home: &str| origins.iter().find(|origin| origin.name() == home).unwrap().last();

    let odd = "a=\"x y\"; b=; __Host-other=1;c=%20;  Odd=Case";
    let request = door.request("GET", "/").header(COOKIE, format!("{odd}; {name}={value}"));
    assert_eq!(door.send(request, "").await.name(), home);
    assert_eq!(seen(&home).one("cookie"), Some(odd));

    let line = format!("first=1; {name}={value}; ostler-elsewhere=x; last=2");
    let request = door.request("GET", "/").header(COOKIE, line);
    door.send(request, "").await.name();
    assert_eq!(seen(&home).one("cookie"), Some("first=1; last=2"));

    let request = door.request("GET", "/").header(COOKIE, format!("{name}={value}"));
    door.send(request, "").await.name();
    assert_eq!(seen(&home).one("cookie"), None, "an emptied field is dropped");

    let request = door.request("GET", "/").header(COOKIE, "plain=1; other=2");
    let name = door.send(request, "").await.name();
    assert_eq!(seen(&name).one("cookie"), Some("plain=1; other=2"));
}

#[tokio::test]
async fn answers_of_our_own_and_failures_carry_no_cookie() {
    let mut origins = Origin::three();
    let one = [&origins[0]];
    let body = format!(
        "{PLAIN}[[routes]]\npath = \"/shop\"\npool = \"web\"\n\
         [[routes]]\npath = \"/old\"\nredirect = {{ to = \"https://{{host}}/new\" }}\n\
         [[routes]]\npath = \"/text\"\nrespond = {{ status = 200, body = \"hello\" }}\n{}",
        sticky_pool("web", &one)
    );
    let proxy = Proxy::start(Config::new(body)).await;
    assert_eq!(proxy.door().get("/shop").await.set_cookies().len(), 1);
    for (path, status) in [("/old", 308), ("/text", 200), ("/nowhere", 404)] {
        let answer = proxy.door().get(path).await;
        assert_eq!(answer.status, status);
        assert!(answer.set_cookies().is_empty(), "{path} set {:?}", answer.set_cookies());
    }
    origins[0].kill();
    proxy.verdict("a", false).await;
    let answer = proxy.door().get("/shop").await;
    assert_eq!(answer.status, 503);
    assert!(answer.set_cookies().is_empty());
}

#[tokio::test]
async fn a_public_asset_carries_no_cookie() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(PLAIN, &origins)).await;
    let answer = proxy.door().get("/cacheable").await;
    assert!(answer.set_cookies().is_empty());
    assert_eq!(answer.header("cache-control"), Some("public, max-age=600"));
    let line = proxy.logged("/cacheable").await;
    assert_eq!(line["session"], "none", "nobody is bound by it: {line}");
    let answer = proxy.door().get("/page").await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(answer.header("cache-control"), Some("private"), "it must not be shared now");
}

#[tokio::test]
async fn a_pool_may_bind_by_public_assets_and_show_its_cookie() {
    let origin = Origin::start("a");
    let keys = "on_cacheable = \"private\", pass = true";
    let proxy = Proxy::start(sticky_farm([&origin], keys)).await;
    let mut jar = Jar::new();
    let answer = jar.get(&proxy.door(), "/cacheable").await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(answer.header("cache-control"), Some("private, max-age=600"));
    jar.put("theirs", "1");
    jar.get(&proxy.door(), "/").await;
    assert_eq!(origin.last().one("cookie"), Some(&*jar.line()));
}

#[tokio::test]
async fn a_not_modified_answer_carries_no_cookie() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(PLAIN, &origins)).await;
    let answer = proxy.door().get("/status/304").await;
    assert_eq!(answer.status, 304);
    assert!(answer.set_cookies().is_empty());
}

#[tokio::test]
async fn a_preflight_never_binds() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(PLAIN, &origins)).await;
    let door = proxy.door();
    let request = door
        .request("OPTIONS", "/api")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "PUT");
    let answer = door.send(request, "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.set_cookies().is_empty());
}

#[tokio::test]
async fn the_backends_own_set_cookie_fields_stay_apart() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &all));
    let proxy = Proxy::start(Config::new(body)).await;
    for origin in &origins {
        origin.script(
            b"HTTP/1.1 200 OK\r\nset-cookie: id=1; Path=/a, b\r\nset-cookie: lang=de\r\n\
              content-length: 2\r\n\r\nok",
        );
    }
    let answer = proxy.door().get("/").await;
    let cookies = answer.set_cookies();
    assert_eq!(cookies.len(), 3, "{cookies:?}");
    assert!(cookies.contains(&"id=1; Path=/a, b") && cookies.contains(&"lang=de"), "{cookies:?}");
}

#[tokio::test]
async fn a_pool_without_sticky_sets_nothing() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!("{PLAIN}{}{}", default_route("web"), pool("web", &all, ""));
    let proxy = Proxy::start(Config::new(body)).await;
    let answer = proxy.door().get("/").await;
    assert!(answer.set_cookies().is_empty());
    assert_eq!(answer.header("cache-control"), None);
}

#[tokio::test]
async fn a_backend_that_cannot_serve_yet_is_nobodys_home() {
    let origin = Origin::start("a");
    let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &[&origin]));
    let proxy = Proxy::start(Config::new(body)).await;
    origin.script(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let answer = proxy.door().get("/").await;
    assert_eq!((answer.status, answer.header("set-cookie")), (503, None));
}
