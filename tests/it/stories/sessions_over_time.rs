//! Sessions outlive changes: other nodes, restarts, renames, reloads and marks.

use crate::harness::{
    Config, Jar, Origin, PLAIN, Proxy, default_route, distinct, pool, sticky_pool,
};

const KEYS: &str = "[sessions]\n\
    keys = [\"5f0c1d2e3b4a59687786a5b4c3d2e1f00112233445566778899aabbccddeeff0\"]";

fn farm(origins: &[Origin]) -> Config {
    let origins: Vec<&Origin> = origins.iter().collect();
    Config::new(format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &origins)))
}

#[tokio::test]
async fn a_second_ostler_with_the_same_keys_knows_the_visitors() {
    let origins = Origin::three();
    let one = Proxy::start(farm(&origins).table(KEYS)).await;
    let two = Proxy::start(farm(&origins).table(KEYS)).await;
    for _ in 0..6 {
        let mut jar = Jar::new();
        let mut names = jar.visits(&one.door(), 2).await;
        names.extend(jar.visits(&two.door(), 2).await);
        names.extend(jar.visits(&one.door(), 2).await);
        assert_eq!(distinct(&names).len(), 1, "{names:?}");
    }
}

#[tokio::test]
async fn a_second_ostler_with_other_keys_does_not() {
    let origins = Origin::three();
    let one = Proxy::start(farm(&origins)).await;
    let two = Proxy::start(farm(&origins)).await;
    let mut jar = Jar::new();
    jar.get(&one.door(), "/").await;
    assert_eq!(jar.get(&two.door(), "/").await.set_cookies().len(), 1);
}

#[tokio::test]
async fn keys_are_rotated_in_two_steps_and_nobody_moves() {
    let origins = Origin::three();
    let mut proxy = Proxy::start(farm(&origins).table(KEYS)).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    let old = "5f0c1d2e3b4a59687786a5b4c3d2e1f00112233445566778899aabbccddeeff0";
    let new = "00ff1d2e3b4a59687786a5b4c3d2e1f00112233445566778899aabbccddeeffa";
    for keys in [[old, new], [new, old]] {
        let table = format!("[sessions]\nkeys = [\"{}\", \"{}\"]", keys[0], keys[1]);
        proxy.apply(farm(&origins).table(&table)).await;
        assert_eq!(distinct(&jar.visits(&proxy.door(), 3).await), [&*home]);
    }
}

#[tokio::test]
async fn a_restart_with_a_state_folder_moves_nobody() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(&origins)).await;
    let mut jars = Vec::new();
    for _ in 0..6 {
        let mut jar = Jar::new();
        let home = jar.get(&proxy.door(), "/").await.name();
        jars.push((jar, home));
    }
    let proxy = proxy.restart().await;
    for (mut jar, home) in jars {
        assert_eq!(distinct(&jar.visits(&proxy.door(), 2).await), [home]);
    }
}

#[tokio::test]
async fn a_backend_renamed_at_its_address_keeps_its_visitors() {
    let origins = Origin::three();
    let config = farm(&origins);
    let mut proxy = Proxy::start(config.clone()).await;
    let mut jars = Vec::new();
    for _ in 0..9 {
        let mut jar = Jar::new();
        let home = jar.get(&proxy.door(), "/").await.name();
        jars.push((jar, home));
    }
    let body = config.render(proxy.folder()).replace("id = \"b\"", "id = \"bravo\"");
    proxy.rewrite_raw(&body);
    proxy.reload().await.expect(0);
    for (mut jar, home) in jars {
        assert_eq!(distinct(&jar.visits(&proxy.door(), 2).await), [home]);
    }
}

#[tokio::test]
async fn other_backends_may_come_go_and_change_order() {
    let origins = Origin::three();
    let extra = Origin::start("d");
    let mut proxy = Proxy::start(farm(&origins)).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    let index = origins.iter().position(|origin| origin.name() == home).unwrap();
    let [mine, next] = [&origins[index], &origins[(index + 1) % 3]];
    for order in [vec![&extra, mine, next], vec![mine], vec![next, &extra, mine]] {
        let body = format!("{PLAIN}{}{}", default_route("web"), sticky_pool("web", &order));
        proxy.apply(Config::new(body)).await;
        assert_eq!(distinct(&jar.visits(&proxy.door(), 3).await), [&*home]);
    }
}

#[tokio::test]
async fn a_pool_renamed_with_its_scope_keeps_its_sessions() {
    let origins = Origin::three();
    let all: Vec<&Origin> = origins.iter().collect();
    let mut proxy = Proxy::start(farm(&origins)).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    let sticky = "sticky = { by = \"cookie\", scope = \"web\" }";
    let body = format!("{PLAIN}{}{}", default_route("shop"), pool("shop", &all, sticky));
    proxy.apply(Config::new(body)).await;
    assert_eq!(distinct(&jar.visits(&proxy.door(), 3).await), [home]);
}

#[tokio::test]
async fn in_drain_the_bound_stay_and_nobody_new_comes() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(&origins)).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    proxy.command(&["drain", &format!("web/{home}")]).await.expect(0);
    assert_eq!(distinct(&jar.visits(&proxy.door(), 5).await), [&*home]);
    for _ in 0..15 {
        assert_ne!(proxy.door().get("/").await.name(), home);
    }
    proxy.command(&["ready", &format!("web/{home}")]).await.expect(0);
    let mut strangers = Vec::new();
    for _ in 0..15 {
        strangers.push(proxy.door().get("/").await.name());
    }
    assert!(strangers.contains(&home), "{strangers:?}");
}

#[tokio::test]
async fn maint_moves_a_visitor_once() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(&origins)).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    proxy.command(&["maint", &format!("web/{home}")]).await.expect(0);
    let names = jar.visits(&proxy.door(), 6).await;
    assert_eq!(distinct(&names).len(), 1, "{names:?}");
    assert_ne!(names[0], home);
    proxy.command(&["unmark", &format!("web/{home}")]).await.expect(0);
    assert_eq!(distinct(&jar.visits(&proxy.door(), 3).await), distinct(&names));
    let moved = proxy.metric("ostler_sessions_moved_total", &["cause=\"maint\""]).await;
    assert!((moved - 1.0).abs() < 0.5, "moved {moved} times");
}

#[tokio::test]
async fn weight_nought_takes_nobody_new_and_exiles_nobody() {
    let origins = Origin::three();
    let proxy = Proxy::start(farm(&origins)).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    proxy.command(&["weight", &format!("web/{home}"), "0"]).await.expect(0);
    assert_eq!(distinct(&jar.visits(&proxy.door(), 5).await), [&*home]);
    for _ in 0..12 {
        assert_ne!(proxy.door().get("/").await.name(), home);
    }
}

#[tokio::test]
async fn reloads_throughout_move_nobody() {
    let origins = Origin::three();
    let mut proxy = Proxy::start(farm(&origins)).await;
    let mut jar = Jar::new();
    let home = jar.get(&proxy.door(), "/").await.name();
    for round in 0..8 {
        let weight = format!("# round {round}\n[runtime]");
        let text = farm(&origins).render(proxy.folder()).replace("[runtime]", &weight);
        proxy.rewrite_raw(&text);
        proxy.reload().await.expect(0);
        assert_eq!(distinct(&jar.visits(&proxy.door(), 2).await), [&*home]);
    }
}
