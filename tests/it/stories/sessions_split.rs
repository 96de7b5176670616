//! Routes that split their visitors over pools: one token for pool and backend.

use std::fmt::Write;

use http::header::COOKIE;

use crate::harness::{Config, Crowd, Jar, Origin, PLAIN, Proxy, distinct, pool};

/// Two pools of two backends each, named `v1` and `v2`.
struct Versions {
    old: [Origin; 2],
    new: [Origin; 2],
}

impl Versions {
    fn start() -> Self {
        Self { old: ["a", "b"].map(Origin::start), new: ["y", "z"].map(Origin::start) }
    }

    /// Shares by weight; a pool without one is no part of the split.
    fn config(&self, old: Option<u32>, new: Option<u32>) -> Config {
        let mut split = String::new();
        for (name, weight) in [("v1", old), ("v2", new)] {
            if let Some(weight) = weight {
                let _ = write!(split, "{{ pool = \"{name}\", weight = {weight} }}, ");
            }
        }
        let sticky = "sticky = { by = \"cookie\", idle = \"10m\" }";
        let old: Vec<&Origin> = self.old.iter().collect();
        let new: Vec<&Origin> = self.new.iter().collect();
        Config::new(format!(
            "{PLAIN}[[routes]]\nname = \"app\"\nsticky_scope = \"app\"\nsplit = [{split}]\n\
             [[routes]]\nname = \"old\"\npath = \"/old\"\npool = \"v1\"\n{}{}",
            pool("v1", &old, sticky),
            pool("v2", &new, sticky)
        ))
    }
}

fn on_new(crowd: &Crowd) -> usize {
    crowd.on("y") + crowd.on("z")
}

#[tokio::test]
async fn shares_follow_the_weights_and_nobody_changes_sides() {
    let versions = Versions::start();
    let mut proxy = Proxy::start(versions.config(Some(80), Some(20))).await;
    let door = proxy.door();
    let mut jar = Jar::new();
    jar.get(&door, "/").await;
    assert_eq!(jar.token().0, "ostler-app", "one token, under the route's scope");
    assert_eq!(jar.line().matches("ostler-").count(), 1);
    let mut crowd = Crowd::gather(&door, 200).await;
    // Mean 40, standard deviation below 6.
    assert!((12..=75).contains(&on_new(&crowd)), "{} of 200 on v2", on_new(&crowd));
    assert_eq!(crowd.homes(), ["a", "b", "y", "z"]);
    for (old, new) in [(80, 20), (0, 100), (1, 1), (100, 0)] {
        proxy.apply(versions.config(Some(old), Some(new))).await;
        assert!(crowd.visit(&proxy.door()).await.is_empty(), "weights {old} and {new}");
        let newcomers = Crowd::gather(&proxy.door(), 12).await;
        if old == 0 {
            assert_eq!(on_new(&newcomers), 12);
        } else if new == 0 {
            assert_eq!(on_new(&newcomers), 0);
        }
    }
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn a_pool_that_leaves_the_split_moves_its_visitors_once() {
    let versions = Versions::start();
    let mut proxy = Proxy::start(versions.config(Some(1), Some(1))).await;
    let mut crowd = Crowd::gather(&proxy.door(), 40).await;
    let moving = on_new(&crowd);
    assert!(moving > 0);
    proxy.apply(versions.config(Some(1), None)).await;
    let moves = crowd.visit(&proxy.door()).await;
    assert_eq!(moves.len(), moving, "{moves:?}");
    assert!(crowd.visit(&proxy.door()).await.is_empty());
    assert_eq!(on_new(&crowd), 0);
    assert_eq!((proxy.moved("removed").await, proxy.moved("").await), (moving, moving));
    proxy.apply(versions.config(Some(1), Some(1))).await;
    assert!(crowd.visit(&proxy.door()).await.is_empty(), "who has gone does not come back");
}

#[tokio::test]
async fn where_a_whole_pool_is_down_its_visitors_go_to_the_other_and_stay() {
    let mut versions = Versions::start();
    let proxy = Proxy::start(versions.config(Some(1), Some(1))).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 40).await;
    let moving = on_new(&crowd);
    for origin in &mut versions.new {
        origin.kill();
    }
    for name in ["y", "z"] {
        proxy.verdict(name, false).await;
    }
    let moves = crowd.visit(&door).await;
    assert_eq!(moves.len(), moving, "{moves:?}");
    assert_eq!(on_new(&crowd), 0);
    assert!(crowd.visit(&door).await.is_empty());
    for origin in &mut versions.new {
        origin.revive();
    }
    for name in ["y", "z"] {
        proxy.verdict(name, true).await;
    }
    assert!(crowd.visit(&door).await.is_empty(), "they stay");
    assert_eq!((proxy.moved("down").await, proxy.moved("").await), (moving, moving));
    let live = proxy.live("a").await + proxy.live("b").await;
    assert_eq!((live, proxy.live("y").await + proxy.live("z").await), (40, 0));
}

#[tokio::test]
async fn of_two_backends_of_a_split_pool_the_one_that_lives_is_next() {
    let mut versions = Versions::start();
    let proxy = Proxy::start(versions.config(Some(1), Some(1))).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 40).await;
    let there = crowd.on("y");
    versions.new[0].kill();
    let moves = crowd.visit(&door).await;
    assert_eq!(moves.len(), there, "{moves:?}");
    assert!(moves.iter().all(|(from, to)| from == "y" && to == "z"), "{moves:?}");
    assert!(crowd.visit(&door).await.is_empty());
}

#[tokio::test]
async fn a_token_of_the_split_is_none_in_the_scope_of_its_pool() {
    let versions = Versions::start();
    let proxy = Proxy::start(versions.config(Some(1), Some(0))).await;
    let door = proxy.door();
    let mut jar = Jar::new();
    jar.visits(&door, 2).await;
    let (_, value) = jar.token();
    let request = door.request("GET", "/old").header(COOKIE, format!("ostler-v1={value}"));
    let answer = door.send(request, "").await;
    assert_eq!(answer.set_cookies().len(), 1, "{answer:?}");
    assert_eq!(proxy.logged("/old").await["token"], "invalid");
    // And in its own scope it goes on.
    assert!(jar.get(&door, "/").await.set_cookies().is_empty());
    let names = jar.visits(&door, 3).await;
    assert_eq!(distinct(&names).len(), 1);
}

#[tokio::test]
async fn pools_that_share_a_scope_keep_a_visitor_on_the_same_machine() {
    let [pages, sockets] = [["a", "b"], ["a", "b"]].map(|ids| ids.map(Origin::start));
    let sticky = "sticky = { by = \"cookie\", scope = \"shop\" }";
    let proxy = Proxy::start(Config::new(format!(
        "{PLAIN}[[routes]]\npath = \"/\"\npool = \"pages\"\n\
         [[routes]]\npath = \"/socket\"\npool = \"sockets\"\n{}{}",
        pool("pages", &pages.each_ref(), sticky),
        pool("sockets", &sockets.each_ref(), sticky)
    )))
    .await;
    let door = proxy.door();
    for _ in 0..6 {
        let mut jar = Jar::new();
        let home = jar.get(&door, "/").await.name();
        let cookie = jar.line();
        for path in ["/socket", "/", "/socket"] {
            assert_eq!(jar.get(&door, path).await.name(), home, "{path}");
        }
        assert_eq!(jar.line(), cookie, "one cookie, which nobody writes anew");
    }
    assert_eq!(proxy.moved("").await, 0);
}
