//! Backends that say on the answers to their checks how they want to be treated.

use crate::harness::{Jar, Origin, Proxy, SOON, sticky_farm, within};

async fn own_word(proxy: &Proxy, backend: usize, word: &serde_json::Value) {
    within(SOON, &format!("own word {word}"), async || {
        let status = proxy.status().await;
        (status["pools"][0]["backends"][backend]["own_word"] == *word).then_some(())
    })
    .await;
}

async fn newcomers(proxy: &Proxy) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..12 {
        names.push(proxy.door().get("/").await.name());
    }
    names
}

#[tokio::test]
async fn a_backend_drains_itself_and_comes_back_when_it_says_so_no_more() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "")).await;
    let mut jar = Jar::new();
    let home = loop {
        let name = jar.get(&proxy.door(), "/").await.name();
        if name == "a" {
            break name;
        }
        jar = Jar::new();
    };
    origins[0].says(Some("drain"));
    own_word(&proxy, 0, &"drain".into()).await;
    assert!(!newcomers(&proxy).await.contains(&home), "nobody new");
    assert_eq!(jar.get(&proxy.door(), "/").await.name(), home, "the bound stay");
    let page = proxy.command(&["status"]).await.expect(0).stdout;
    assert!(page.contains("drain (by itself)"), "{page}");
    // An operator knows better.
    proxy.command(&["ready", "web/a"]).await.expect(0);
    assert!(newcomers(&proxy).await.contains(&home));
    proxy.command(&["unmark", "web/a"]).await.expect(0);
    assert!(!newcomers(&proxy).await.contains(&home));
    origins[0].says(None);
    own_word(&proxy, 0, &serde_json::Value::Null).await;
    assert!(newcomers(&proxy).await.contains(&home));
}

#[tokio::test]
async fn a_backend_may_ask_for_less_and_for_nobody_new() {
    let origins = Origin::three();
    let proxy = Proxy::start(sticky_farm(&origins, "")).await;
    origins[0].says(Some("weight=50%"));
    own_word(&proxy, 0, &"weight=50%".into()).await;
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..50 {
        *counts.entry(proxy.door().get("/").await.name()).or_insert(0) += 1;
    }
    // In turn by weight, on each worker: a half, one and one.
    assert!(counts["a"] < counts["b"] && counts["a"] < counts["c"], "{counts:?}");
    origins[0].says(Some("weight=0%"));
    own_word(&proxy, 0, &"weight=0%".into()).await;
    assert!(!newcomers(&proxy).await.contains(&"a".to_owned()));
}
