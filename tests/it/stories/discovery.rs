//! Names that stand for backends: who comes, who leaves, and what is kept while DNS fails.

use std::net::IpAddr;

use serde_json::Value;

use crate::harness::{
    Config, Crowd, Dns, Jar, Mood, Origin, PLAIN, Proxy, SOON, default_route, distinct, ostler_in,
    within,
};

const NAME: &str = "app.internal";

fn ip(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

fn ips(lasts: &[u8]) -> Vec<IpAddr> {
    lasts.iter().map(|last| ip(*last)).collect()
}

fn id(origins: &[Origin], last: u8) -> String {
    format!("127.0.0.{last}-{}", origins[0].address().port())
}

/// One sticky, checked pool of what this backend of the file stands for.
fn farm(dns: &Dns, backend: &str, more: &str) -> Config {
    let route = default_route("web");
    Config::new(format!(
        "{PLAIN}{route}[pools.web]\npolicy = \"round-robin\"\nbackends = [{backend}]\n\
         health = {{ http = \"/healthz\", interval = \"200ms\", rise = 1, fall = 2 }}\n{more}\n"
    ))
    .runtime(&dns.resolvers())
}

fn by_dns(origins: &[Origin]) -> String {
    let port = origins[0].address().port();
    format!("{{ address = \"{NAME}:{port}\", discover = \"dns\" }}")
}

const STICKY: &str = "sticky = { by = \"cookie\", idle = \"10m\" }";

/// The backends that are there, and those that leave with a star.
async fn backends(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status().await;
    let star = |one: &Value| if one["leaving"] == true { "*" } else { "" };
    let shown = |one: &Value| format!("{}{}", one["id"].as_str().unwrap(), star(one));
    status["pools"][0]["backends"].as_array().unwrap().iter().map(shown).collect()
}

async fn until(proxy: &Proxy, wanted: &[String]) {
    within(SOON, &format!("the backends {wanted:?}"), async || {
        (backends(proxy).await == wanted).then_some(())
    })
    .await;
}

async fn problem(proxy: &Proxy) -> Value {
    proxy.status().await["discovered"][0]["problem"].clone()
}

#[tokio::test]
async fn who_joins_the_answer_serves_and_who_leaves_it_keeps_its_visitors() {
    let origins = Origin::row(3);
    let dns = Dns::start();
    dns.addresses(NAME, &ips(&[1, 2]));
    let sticky = "sticky = { by = \"cookie\", idle = \"5s\" }";
    let proxy = Proxy::start(farm(&dns, &by_dns(&origins), sticky)).await;
    let door = proxy.door();
    let [one, two, three] = [1, 2, 3].map(|last| id(&origins, last));
    until(&proxy, &[one.clone(), two.clone()]).await;
    let mut crowd = Crowd::gather(&door, 20).await;
    assert_eq!(crowd.homes(), ["127.0.0.1", "127.0.0.2"]);
    let before = proxy.status().await["generation"].as_u64().unwrap();
    let reloads = proxy.metric("ostler_config_reloads_total", &[]).await;
    let requests = proxy.metric("ostler_backend_attempts_total", &[&one]).await;
    assert!(requests > 0.0);

    dns.addresses(NAME, &ips(&[3, 1]));
    until(&proxy, &[one.clone(), three.clone(), format!("{two}*")]).await;
    proxy.hears("\"discovered\"").await;
    proxy.verdict(&three, true).await;
    assert!(crowd.visit(&door).await.is_empty(), "nobody is moved");
    let newcomers = Crowd::gather(&door, 20).await;
    assert_eq!(newcomers.homes(), ["127.0.0.1", "127.0.0.3"], "nobody new comes to who leaves");
    assert!(proxy.status().await["generation"].as_u64().unwrap() > before);
    let after = proxy.metric("ostler_config_reloads_total", &[]).await;
    assert!((after - reloads).abs() < 0.5, "it is no reload");
    assert!(proxy.metric("ostler_backend_attempts_total", &[&one]).await > requests);

    // It has gone when the last of its visitors has.
    until(&proxy, &[one.clone(), three.clone()]).await;
    assert_eq!(proxy.moved("").await, 0);
    let (_, metrics) = proxy.probe("/metrics").await;
    let gauge = |line: &str| line.starts_with("ostler_backend_up{") && line.contains(&two);
    assert!(!metrics.lines().any(gauge), "its gauges go with it");
    dns.addresses(NAME, &ips(&[1, 2, 3]));
    until(&proxy, &[one, two.clone(), three]).await;
    proxy.verdict(&two, true).await;
    let crowd = Crowd::gather(&door, 12).await;
    assert!(crowd.on("127.0.0.2") > 0, "who comes back serves as before");
}

#[tokio::test]
async fn who_comes_back_while_it_leaves_has_never_left() {
    let origins = Origin::row(2);
    let dns = Dns::start();
    dns.addresses(NAME, &ips(&[1, 2]));
    let proxy = Proxy::start(farm(&dns, &by_dns(&origins), STICKY)).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 10).await;
    let [one, two] = [1, 2].map(|last| id(&origins, last));
    dns.addresses(NAME, &ips(&[1]));
    until(&proxy, &[one.clone(), format!("{two}*")]).await;
    let deadline = "ostler_backend_drain_deadline_timestamp_seconds";
    assert!(proxy.metric(deadline, &[&two]).await > 1.7e9, "it drains by the pool's deadline");
    let word = &proxy.status().await["pools"][0]["backends"][1]["state"];
    assert_eq!(word, "drain");
    dns.addresses(NAME, &ips(&[2, 1]));
    until(&proxy, &[one, two]).await;
    assert!(crowd.visit(&door).await.is_empty());
    assert!(Crowd::gather(&door, 10).await.on("127.0.0.2") > 0);
    assert_eq!(proxy.moved("").await, 0);
}

#[tokio::test]
async fn the_pools_deadline_moves_who_is_still_bound_to_an_address_that_left() {
    let origins = Origin::row(2);
    let dns = Dns::start();
    dns.addresses(NAME, &ips(&[1, 2]));
    let more = format!("{STICKY}\ndrain.deadline = \"2s\"");
    // Sessions cannot be known to be all so soon after a start: time alone lets go of it.
    let config = farm(&dns, &by_dns(&origins), &more).runtime("drain_timeout = \"1s\"");
    let proxy = Proxy::start(config).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 10).await;
    let bound = crowd.on("127.0.0.2");
    dns.addresses(NAME, &ips(&[1]));
    within(SOON, "everybody on the one that is left", async || {
        crowd.visit(&door).await;
        (crowd.on("127.0.0.1") == crowd.len()).then_some(())
    })
    .await;
    assert_eq!(proxy.moved("deadline").await, bound);
    assert_eq!(proxy.moved("").await, bound);
    until(&proxy, &[id(&origins, 1)]).await;
}

#[tokio::test]
async fn the_last_good_answer_is_kept_whatever_dns_says_or_does_not_say() {
    let origins = Origin::row(3);
    let dns = Dns::start();
    dns.addresses(NAME, &ips(&[1, 2]));
    let proxy = Proxy::start(farm(&dns, &by_dns(&origins), STICKY)).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 10).await;
    let both = [1, 2].map(|last| id(&origins, last));
    for mood in [Some(Mood::Code(2)), Some(Mood::Code(3)), None] {
        match mood {
            Some(mood) => dns.mood(mood),
            // A name that exists and has nothing.
            None => dns.addresses(NAME, &[]),
        }
        within(SOON, &format!("word of {mood:?}"), async || {
            (!problem(&proxy).await.is_null()).then_some(())
        })
        .await;
        assert_eq!(backends(&proxy).await, both, "{mood:?}");
        assert!(crowd.visit(&door).await.is_empty(), "{mood:?}");
        let text = proxy.command(&["status"]).await.expect(0).text();
        assert!(text.contains("the 2 backends of its last answer are kept"), "{text}");
        dns.mood(Mood::Well);
        dns.addresses(NAME, &ips(&[1, 2]));
        within(SOON, "a good answer", async || problem(&proxy).await.is_null().then_some(())).await;
    }
    dns.mood(Mood::Silent);
    let asked = dns.asked();
    within(SOON, "a question into the void", async || (dns.asked() > asked + 2).then_some(()))
        .await;
    assert_eq!(backends(&proxy).await, both);
    assert!(crowd.visit(&door).await.is_empty());
    dns.mood(Mood::Well);
    dns.addresses(NAME, &ips(&[1, 2, 3]));
    until(&proxy, &[1, 2, 3].map(|last| id(&origins, last))).await;
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_a_pool_without_backends_and_no_failed_start() {
    let origins = Origin::row(1);
    let dns = Dns::start();
    let proxy = Proxy::start(farm(&dns, &by_dns(&origins), STICKY)).await;
    assert_eq!(proxy.door().get("/early").await.status, 503);
    assert_eq!(proxy.logged("/early").await["reason"], "no_backend_empty");
    let text = proxy.command(&["status"]).await.expect(0).text();
    assert!(text.contains("NXDOMAIN") && text.contains("it is empty"), "{text}");
    dns.addresses(NAME, &ips(&[1]));
    within(SOON, "an answer by it", async || {
        (proxy.door().get("/late").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_order_of_the_answer_is_no_change() {
    let origins = Origin::row(3);
    let dns = Dns::start();
    dns.addresses(NAME, &ips(&[1, 2, 3]));
    let proxy = Proxy::start(farm(&dns, &by_dns(&origins), STICKY)).await;
    let before = proxy.status().await["generation"].clone();
    for order in [[3, 2, 1], [2, 3, 1]] {
        dns.addresses(NAME, &ips(&order));
        let asked = dns.asked();
        within(SOON, "a few questions", async || (dns.asked() > asked + 4).then_some(())).await;
    }
    assert_eq!(proxy.status().await["generation"], before);
    let told = proxy.said().matches("a name has other backends").count();
    assert_eq!(told, 1, "nobody came and nobody went");
}

#[tokio::test]
async fn srv_records_tell_ports_and_weights_and_the_best_priority_serves_alone() {
    let origins = Origin::three();
    let dns = Dns::start();
    let [a, b, c] = [0, 1, 2].map(|at| origins[at].address().port());
    let service = "_http._tcp.app.internal";
    let hosts = ["one.app.internal", "two.app.internal"];
    for host in hosts {
        dns.addresses(host, &ips(&[1]));
    }
    dns.services(service, &[(20, 9, c, hosts[1]), (10, 3, a, hosts[0]), (10, 1, b, hosts[1])]);
    let backend = format!("{{ id = \"x\", address = \"{service}\", discover = \"srv\" }}");
    let proxy = Proxy::start(farm(&dns, &backend, "")).await;
    let mut wanted = [(a, 3), (b, 1)].map(|(port, weight)| (format!("x-127.0.0.1-{port}"), weight));
    wanted.sort();
    let status = proxy.status().await;
    let shown = |one: &Value| (one["id"].as_str().unwrap().to_owned(), one["weight"].as_u64());
    let mut seen: Vec<_> =
        status["pools"][0]["backends"].as_array().unwrap().iter().map(shown).collect();
    seen.sort();
    assert_eq!(seen, wanted.clone().map(|(id, weight)| (id, Some(weight))));
    for _ in 0..16 {
        proxy.door().get("/").await.name();
    }
    // Each worker makes rounds of its own, and the last one of each may be cut short.
    let [first, second, spare] = [0, 1, 2].map(|at| origins[at].count());
    assert!((3..=5).contains(&second), "{first} {second}");
    assert_eq!((first + second, spare), (16, 0));
    dns.services(service, &[(20, 9, c, hosts[1])]);
    until(&proxy, &[format!("x-127.0.0.1-{c}")]).await;
    assert_eq!(proxy.door().get("/").await.name(), "c");
}

#[tokio::test]
async fn a_restart_while_dns_is_down_finds_the_backends_and_their_visitors() {
    let origins = Origin::row(3);
    let dns = Dns::start();
    dns.addresses(NAME, &ips(&[1, 2, 3]));
    let proxy = Proxy::start(farm(&dns, &by_dns(&origins), STICKY)).await;
    let mut crowd = Crowd::gather(&proxy.door(), 30).await;
    assert_eq!(crowd.homes().len(), 3);
    dns.mood(Mood::Code(2));
    let proxy = proxy.restart().await;
    assert_eq!(backends(&proxy).await, [1, 2, 3].map(|last| id(&origins, last)));
    assert!(crowd.visit(&proxy.door()).await.is_empty(), "nobody is moved by a restart");
    dns.mood(Mood::Well);
    dns.addresses(NAME, &ips(&[3, 2]));
    until(&proxy, &[id(&origins, 2), id(&origins, 3), format!("{}*", id(&origins, 1))]).await;
    assert!(crowd.visit(&proxy.door()).await.is_empty());
}

#[tokio::test]
async fn a_file_may_turn_from_addresses_to_a_name_and_back_under_its_visitors() {
    let origins = Origin::row(2);
    let dns = Dns::start();
    dns.addresses(NAME, &ips(&[1, 2]));
    let [one, two] = [0, 1].map(|at| origins[at].address());
    let listed =
        format!("{{ id = \"a\", address = \"{one}\" }}, {{ id = \"b\", address = \"{two}\" }}");
    let mut proxy = Proxy::start(farm(&dns, &listed, STICKY)).await;
    let door = proxy.door();
    let mut crowd = Crowd::gather(&door, 10).await;
    let mut visits = Vec::new();
    for backend in [by_dns(&origins), listed.clone()] {
        proxy.apply(farm(&dns, &backend, STICKY)).await;
        // There is nobody to wait for: the name was known before it was to serve.
        visits.extend(crowd.visit(&door).await);
        assert_eq!(Jar::new().get(&door, "/").await.status, 200);
    }
    assert_eq!(visits, []);
    assert_eq!(backends(&proxy).await, ["a", "b"]);
    // A name that the file has no more drains, as an address does that has left its answer.
    let only = format!("{{ id = \"a\", address = \"{one}\" }}");
    proxy.apply(farm(&dns, &by_dns(&origins), STICKY)).await;
    proxy.apply(farm(&dns, &only, STICKY)).await;
    assert_eq!(backends(&proxy).await, ["a".to_owned(), format!("{}*", id(&origins, 2))]);
    assert!(crowd.visit(&door).await.is_empty());
    assert_eq!(distinct(&Crowd::gather(&door, 6).await.homes()), ["127.0.0.1"]);
}

#[tokio::test]
async fn check_connect_asks_dns_and_dials_what_it_tells() {
    let origins = Origin::row(2);
    let dns = Dns::start();
    dns.addresses(NAME, &ips(&[1, 2]));
    let proxy = Proxy::start(farm(&dns, &by_dns(&origins), STICKY)).await;
    let words = ["check", "-c", "ostler.toml", "--connect"];
    let text = ostler_in(proxy.folder(), &words).await.expect(0).text();
    for last in [1, 2] {
        assert!(text.contains(&format!("web/{}", id(&origins, last))), "{text}");
    }
    dns.mood(Mood::Code(3));
    let text = ostler_in(proxy.folder(), &words).await.expect(1).text();
    assert!(text.contains(NAME) && text.contains("NXDOMAIN"), "{text}");
}
