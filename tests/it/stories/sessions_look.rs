//! What an operator may look at: a backend before visitors come, and who a cookie is bound to.

use serde_json::{Value, json};

use crate::harness::{Crowd, Jar, Origin, Proxy, distinct, sticky_farm};

/// What `ostler token` gives for plain HTTP, in a jar.
async fn look_at(proxy: &Proxy, backend: &str) -> Jar {
    let output = proxy.command(&["token", backend]).await.expect(0);
    let mut jar = Jar::new();
    for pair in output.stdout.trim().split("; ") {
        let (name, value) = pair.split_once('=').unwrap();
        jar.put(name, value);
    }
    jar
}

/// What would happen to a GET of this visitor.
async fn explain(proxy: &Proxy, jar: &Jar) -> Value {
    let url = format!("http://localhost:{}/cart", proxy.address("http").port());
    let line = jar.line();
    let cookie = if line.is_empty() { Value::Null } else { line.into() };
    let asked = json!({ "url": url, "cookie": cookie });
    let (status, page) = proxy.api("POST", "explain", &asked.to_string()).await;
    assert_eq!(status, 200, "{page}");
    page
}

#[tokio::test]
async fn an_operator_looks_at_a_backend_that_takes_nobody() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    proxy.command(&["maint", "web/b"]).await.expect(0);
    let mut look = look_at(&proxy, "web/b").await;
    assert_eq!(distinct(&look.visits(&proxy.door(), 5).await), ["b"]);
    assert_eq!(Crowd::gather(&proxy.door(), 6).await.on("b"), 0);
    assert_eq!(proxy.live("b").await, 0, "an operator is no visitor");
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn a_look_at_a_dead_backend_says_so_and_goes_nowhere_else() {
    let mut origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let mut look = look_at(&proxy, "web/b").await;
    origins[1].kill();
    let answer = look.get(&proxy.door(), "/look").await;
    assert!([502, 503].contains(&answer.status), "{answer:?}");
    assert!(answer.set_cookies().is_empty(), "and moves nobody");
}

#[tokio::test]
async fn a_cookie_is_explained_as_the_request_would_go() {
    let mut origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let door = proxy.door();
    let mut jar = Crowd::gather(&door, 6).await.pick("b");
    let page = explain(&proxy, &jar).await;
    let token = &page["session"]["cookies"][0]["token"];
    assert_eq!((&token["pool"], &token["backend"]), (&"web".into(), &"b".into()), "{page}");
    assert_eq!(page["now"]["backend"], "b", "{page}");
    assert_eq!(page["now"]["outcome"], "kept", "{page}");

    let stranger = explain(&proxy, &Jar::new()).await;
    assert_eq!(stranger["now"]["token"], "none", "{stranger}");
    let mut forged = jar.clone();
    forged.put(&jar.token().0, "forged");
    let page = explain(&proxy, &forged).await;
    assert_eq!(page["now"]["token"], "invalid", "{page}");

    origins[1].kill();
    proxy.verdict("b", false).await;
    let before = origins[0].count() + origins[2].count();
    let page = explain(&proxy, &jar).await;
    let now = &page["now"];
    assert_eq!((&now["outcome"], &now["cause"]), (&"moved".into(), &"down".into()), "{page}");
    assert_eq!(origins[0].count() + origins[2].count(), before, "nothing was sent");
    assert_eq!(jar.get(&door, "/cart").await.name(), now["backend"], "as it was told");
}
