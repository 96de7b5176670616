//! The maintenance folder: a file that is touched drains, one that is removed gives back.

use crate::harness::{Config, Crowd, Origin, PLAIN, Proxy, SOON, pool, within};

/// Two pools that share their backends.
async fn two_pools(origins: &[Origin]) -> Proxy {
    let all: Vec<&Origin> = origins.iter().collect();
    let sticky = "sticky.by = \"cookie\"";
    let body = format!(
        "{PLAIN}[[routes]]\npool = \"web\"\n[[routes]]\npath = \"/two\"\npool = \"two\"\n{}{}",
        pool("web", &all, sticky),
        pool("two", &all, sticky)
    );
    Proxy::start(Config::new(body).admin("maintenance_dir = \"maintenance\"")).await
}

async fn state(proxy: &Proxy, pool: &str, backend: &str) -> String {
    proxy.sessions_of(pool, backend).await["state"].as_str().unwrap().to_owned()
}

async fn becomes(proxy: &Proxy, pool: &str, backend: &str, word: &str) {
    within(SOON, &format!("{pool}/{backend} in state {word}"), async || {
        (state(proxy, pool, backend).await == word).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_file_named_by_an_address_drains_it_in_every_pool_until_it_is_removed() {
    let origins = Origin::three();
    let proxy = two_pools(&origins).await;
    let mut crowd = Crowd::gather(&proxy.door(), 9).await;
    let file = proxy.path("maintenance").join(origins[1].address().to_string());
    std::fs::write(&file, "2h\nnew disk in rack 7\n").unwrap();
    for pool in ["web", "two"] {
        becomes(&proxy, pool, "b", "drain").await;
        assert!(proxy.sessions_of(pool, "b").await["drain"]["deadline"].is_string());
    }
    let text = proxy.command(&["status"]).await.expect(0).stdout;
    assert!(text.contains("new disk in rack 7") && text.contains("maintenance folder"), "{text}");
    assert!(crowd.visit(&proxy.door()).await.is_empty(), "who is bound stays");
    assert_eq!(Crowd::gather(&proxy.door(), 6).await.on("b"), 0);

    let proxy = proxy.restart().await;
    assert_eq!(state(&proxy, "two", "b").await, "drain", "over a restart, too");
    std::fs::remove_file(&file).unwrap();
    for pool in ["web", "two"] {
        becomes(&proxy, pool, "b", "up").await;
    }
    assert!(Crowd::gather(&proxy.door(), 9).await.on("b") > 0);
}

#[tokio::test]
async fn a_file_named_by_pool_and_id_drains_one_and_an_operator_may_say_otherwise() {
    let origins = Origin::three();
    let proxy = two_pools(&origins).await;
    let file = proxy.path("maintenance").join("web:c");
    std::fs::write(&file, "").unwrap();
    becomes(&proxy, "web", "c", "drain").await;
    assert_eq!(state(&proxy, "two", "c").await, "up");
    proxy.command(&["ready", "web/c"]).await.expect(0);
    becomes(&proxy, "web", "c", "up").await;
    std::fs::write(proxy.path("maintenance").join("web:nobody"), "").unwrap();
    proxy.hears("web has no backend nobody").await;
    assert_eq!(state(&proxy, "web", "c").await, "up", "it is not contradicted");
    std::fs::write(proxy.path("maintenance").join("the third one"), "").unwrap();
    proxy.hears("this names no backend").await;
}
