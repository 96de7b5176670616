//! Sessions through changes of everything else: reloads, names, keys, and a second node.

use crate::harness::{
    Config, Crowd, Jar, Origin, PLAIN, Proxy, SECURE, SOON, default_route, distinct, pool, spawn,
    sticky_farm, within,
};

#[tokio::test]
async fn reloads_all_the_time_move_nobody() {
    let origins = Origin::three();
    let extra = Origin::start("d");
    let proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 40).await;
    let visits = spawn(async move {
        for _ in 0..30 {
            let moves = crowd.visit(&door).await;
            assert!(moves.is_empty(), "{moves:?}");
        }
    });
    let orders: [Vec<&Origin>; 3] = [
        origins.iter().rev().collect(),
        origins.iter().chain([&extra]).collect(),
        origins.iter().collect(),
    ];
    let mut reloads = 0;
    let mut orders = orders.iter().cycle();
    within(SOON, "the end of the visits", async || {
        let config = sticky_farm(orders.next().unwrap().iter().copied(), "idle = \"10m\"");
        proxy.rewrite_raw(&format!("# {reloads}\n{}", config.render(proxy.folder())));
        let (status, page) = proxy.api("POST", "reload", "").await;
        assert_eq!(status, 200, "{page}");
        reloads += 1;
        (visits.is_finished() && reloads > 10).then_some(())
    })
    .await;
    visits.await.unwrap();
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn a_former_name_is_remembered_over_a_restart() {
    let origins = Origin::three();
    let mut proxy = Proxy::start(sticky_farm(&origins, "idle = \"10m\"")).await;
    let mut crowd = Crowd::gather(&proxy.door(), 15).await;
    let bound = crowd.on("b");
    let text = sticky_farm(&origins, "idle = \"10m\"").render(proxy.folder());
    let (_, body) = text.split_once("[listeners").unwrap();
    let body = format!("[listeners{body}").replace("id = \"b\"", "id = \"bravo\"");
    proxy.apply(Config::new(body)).await;
    assert_eq!(proxy.live("bravo").await, bound, "counted under the new name");
    // Nobody has come since, so that all tokens have the old name.
    let proxy = proxy.restart().await;
    assert_eq!(proxy.live("bravo").await, bound);
    assert!(crowd.visit(&proxy.door()).await.is_empty());
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn two_nodes_whose_keys_are_rotated_again_and_again_move_nobody() {
    let origins = Origin::three();
    let key = |number: u64| format!("\"{number:064x}\"");
    let with = |keys: &[u64]| {
        let keys: Vec<String> = keys.iter().map(|number| key(*number)).collect();
        let table = format!("[sessions]\nkeys = [{}]", keys.join(", "));
        sticky_farm(&origins, "idle = \"10s\"").table(&table)
    };
    let mut nodes = [Proxy::start(with(&[0xa0])).await, Proxy::start(with(&[0xa0])).await];
    let mut crowd = Crowd::gather(&nodes[0].door(), 20).await;
    // The old key goes when no token is left that it has sealed.
    let mut old = 0xa0;
    for round in 1..=5 {
        let new = 0xa0 + round;
        for keys in [[old, new], [new, old]] {
            for changed in 0..nodes.len() {
                nodes[changed].apply(with(&keys)).await;
                for node in &nodes {
                    let moves = crowd.visit(&node.door()).await;
                    assert!(moves.is_empty(), "round {round}: {moves:?}");
                }
            }
        }
        let before = crowd.tokens();
        within(SOON, "all tokens to be written anew", async || {
            assert!(crowd.visit(&nodes[0].door()).await.is_empty());
            let mut now = crowd.tokens().into_iter().zip(&before);
            now.all(|(now, before)| now != *before).then_some(())
        })
        .await;
        old = new;
    }
    for node in &nodes {
        assert_eq!(node.moved("").await, 0);
        let invalid = node.metric("ostler_sticky_requests_total", &["token=\"invalid\""]).await;
        assert!(invalid.abs() < 0.5, "{invalid} tokens were not understood");
    }
}

#[tokio::test]
async fn two_nodes_that_see_a_backend_die_send_its_visitors_to_the_same_others() {
    let mut origins = Origin::three();
    let table = format!("[sessions]\nkeys = [\"{:064x}\"]", 0xa0);
    let config = sticky_farm(&origins, "idle = \"10m\"").table(&table);
    let one = Proxy::start(config.clone()).await;
    let two = Proxy::start(config).await;
    let mut crowd = Crowd::gather(&one.door(), 24).await;
    let bound = crowd.on("b");
    let mut twins = crowd.clone();
    origins[1].kill();
    // One by its checks, the other by the refused connections perhaps.
    one.verdict("b", false).await;
    let first = crowd.visit(&one.door()).await;
    assert_eq!(first.len(), bound, "{first:?}");
    assert_eq!(twins.visit(&two.door()).await, first, "they agree without a word");
    assert_eq!(distinct(&first.into_iter().map(|(_, to)| to).collect::<Vec<_>>()), ["a", "c"]);
    assert!(crowd.visit(&two.door()).await.is_empty());
    assert!(twins.visit(&one.door()).await.is_empty());
}

#[tokio::test]
async fn two_pools_on_one_host_do_not_disturb_each_other() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!(
        "{PLAIN}[[routes]]\npath = \"/one\"\npool = \"one\"\n[[routes]]\npath = \"/two\"\n\
         pool = \"two\"\n{}{}",
        pool("one", &all, "sticky.by = \"cookie\""),
        pool("two", &all, "sticky.by = \"cookie\"")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    let door = proxy.door();
    let mut parted = 0;
    for _ in 0..12 {
        let mut jar = Jar::new();
        let one = jar.get(&door, "/one").await.name();
        // So that the turns of the two pools are not the same.
        door.get("/two").await.name();
        let two = jar.get(&door, "/two").await.name();
        for _ in 0..3 {
            assert_eq!(jar.get(&door, "/one").await.name(), one);
            assert_eq!(jar.get(&door, "/two").await.name(), two);
        }
        assert_eq!(jar.line().matches("ostler-").count(), 2, "{}", jar.line());
        parted += usize::from(one != two);
    }
    assert!(parted > 0, "one and two are not one session");
    for origin in &origins {
        assert!(origin.seen().iter().all(|seen| seen.one("cookie").is_none()));
    }
}

#[tokio::test]
async fn http_and_https_of_one_pool_share_one_session() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let body = format!(
        "{PLAIN}{SECURE}{}{}",
        default_route("web"),
        pool("web", &all, "sticky.by = \"cookie\"")
    );
    let proxy = Proxy::start(Config::new(body)).await;
    for _ in 0..6 {
        let mut jar = Jar::new();
        let home = jar.get(&proxy.door(), "/").await.name();
        let mut names = jar.visits(&proxy.secure("h2"), 2).await;
        names.extend(jar.visits(&proxy.door(), 2).await);
        names.extend(jar.visits(&proxy.secure("http/1.1"), 2).await);
        assert_eq!(distinct(&names), [home]);
    }
}
