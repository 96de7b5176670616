//! Routing: by host and path, the most specific first.

use crate::harness::{Config, Origin, PLAIN, Proxy, SECURE, pool};

fn respond(conditions: &str, body: &str) -> String {
    format!("[[routes]]\n{conditions}\nrespond = {{ status = 200, body = \"{body}\" }}\n")
}

#[tokio::test]
async fn an_exact_host_goes_before_a_wildcard_before_any() {
    let body = format!(
        "{PLAIN}{}{}{}",
        respond("", "any"),
        respond("hosts = [\"*.example.com\"]", "wildcard"),
        respond("hosts = [\"www.example.com\"]", "exact")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    for (host, expected) in [
        ("www.example.com", "exact"),
        ("WWW.Example.COM", "exact"),
        ("www.example.com:8080", "exact"),
        ("www.example.com.", "exact"),
        ("shop.example.com", "wildcard"),
        ("a.b.example.com", "wildcard"),
        ("example.com", "any"),
        ("wwwexample.com", "any"),
        ("127.0.0.1", "any"),
    ] {
        assert_eq!(proxy.door().host(host).get("/").await.text(), expected, "{host}");
    }
}

#[tokio::test]
async fn paths_go_by_exactness_and_prefixes_end_on_segments() {
    let body = format!(
        "{PLAIN}{}{}{}{}{}",
        respond("", "any"),
        respond("path = \"/api\"", "prefix"),
        respond("path = \"/api/v2\"", "longer"),
        respond("path_exact = \"/api/v2/status\"", "exact"),
        respond("path_regex = \"/api/item-[0-9]+\"", "regex"),
    );
    let proxy = Proxy::start(Config::new(body)).await;
    for (path, expected) in [
        ("/api", "prefix"),
        ("/api/", "prefix"),
        ("/api/x?y=1", "prefix"),
        ("/api?y=1", "prefix"),
        ("/apiary", "any"),
        ("/API", "any"),
        ("/api/v2", "longer"),
        ("/api/v20", "prefix"),
        ("/api/v2/status", "exact"),
        ("/api/v2/status/", "longer"),
        ("/api/item-12", "regex"),
        ("/api/item-12/x", "prefix"),
        ("/", "any"),
        ("/x/../api/v2", "longer"),
        ("/%61pi", "prefix"),
    ] {
        assert_eq!(proxy.door().get(path).await.text(), expected, "{path}");
    }
}

#[tokio::test]
async fn the_backend_gets_the_path_as_it_was_typed() {
    let origin = Origin::start("a");
    let body = format!("{PLAIN}[[routes]]\npool = \"web\"\n{}", pool("web", &[&origin], ""));
    let proxy = Proxy::start(Config::new(body)).await;
    for path in ["/a%2Fb", "/a//b", "/%7euser", "/x;v=1?q=a%20b&&c", "/a/./b", "/a/../b", "/?"] {
        assert_eq!(proxy.door().get(path).await.json()["target"], path);
    }
}

#[tokio::test]
async fn nothing_matches_is_a_404_that_says_why_in_the_log() {
    let body = format!("{PLAIN}{}", respond("hosts = [\"www.example.com\"]", "ours"));
    let proxy = Proxy::start(Config::new(body)).await;
    let answer = proxy.door().host("other.example").get("/lost").await;
    assert_eq!(answer.status, 404);
    let line = proxy.logged("/lost").await;
    assert_eq!(line["reason"], "no_route");
    assert_eq!(line["source"], "client");
}

#[tokio::test]
async fn a_redirect_fills_in_host_and_path() {
    let body = format!(
        "{PLAIN}[[routes]]\npath = \"/old\"\n\
         redirect = {{ to = \"https://{{host}}{{path}}\", status = 301 }}\n"
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let answer = proxy.door().host("www.example.com:8080").get("/old/x?y=1").await;
    assert_eq!(answer.status, 301);
    assert_eq!(answer.header("location"), Some("https://www.example.com/old/x?y=1"));
}

#[tokio::test]
async fn a_redirecting_listener_needs_no_route() {
    let body = format!("{PLAIN}redirect_https = 8443\n{SECURE}{}", respond("", "secure"));
    let proxy = Proxy::start(Config::new(body)).await;
    let answer = proxy.door().host("www.example.com").get("/x?y=1").await;
    assert_eq!(answer.status, 308);
    assert_eq!(answer.header("location"), Some("https://www.example.com:8443/x?y=1"));
    assert_eq!(proxy.secure("h2").get("/x").await.text(), "secure");
}

#[tokio::test]
async fn a_fixed_response_is_sent_as_it_stands() {
    let body = format!(
        "{PLAIN}[[routes]]\nrespond = {{ status = 418, body = \"{{}}\", \
         content_type = \"application/json\" }}\n"
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let answer = proxy.door().get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "{}"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let door = proxy.door();
    let head = door.send(door.request("HEAD", "/"), "").await;
    assert_eq!((head.status, head.text().as_str()), (418, ""));
    assert_eq!(head.header("content-length"), Some("2"));
}

#[tokio::test]
async fn a_route_of_one_listener_is_not_seen_on_another() {
    let body = format!(
        "{PLAIN}{SECURE}{}{}",
        respond("listeners = [\"http\"]", "plain"),
        respond("listeners = [\"web\"]\npath = \"/only\"", "secure")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    assert_eq!(proxy.door().get("/only").await.text(), "plain");
    assert_eq!(proxy.secure("http/1.1").get("/only").await.text(), "secure");
    assert_eq!(proxy.secure("http/1.1").get("/").await.status, 404);
}

#[tokio::test]
async fn a_certificate_is_picked_by_server_name_and_a_wrong_host_is_misdirected() {
    let body = format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"site.crt\", key = \"site.key\" }}, \
         {{ cert = \"other.crt\", key = \"other.key\" }}]\n{}",
        respond("", "here")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    // The client of the harness verifies the name: the handshake alone proves the choice.
    assert_eq!(proxy.secure("h2").get("/").await.status, 200);
    assert_eq!(proxy.secure("h2").host("other.test").get("/").await.status, 421);
    assert_eq!(proxy.secure("h2").host("unknown.test").get("/").await.status, 200);
}
