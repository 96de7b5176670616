//! What the file may say of checks.

use super::{START, errors, good};
use crate::config::model::{BodyTest, Health, HealthKind};

fn health(text: &str) -> Health {
    let text = format!("{START}[pools.p]\nhealth = {{ {text} }}\n");
    good(&text).model.pools.remove(0).health.unwrap()
}

#[test]
fn a_check_has_fields_a_port_and_a_text_or_a_pattern_for_the_body() {
    let found = health("http = \"/\", port = 81, headers = { a = \"1\" }, expect_body = \"ok\"");
    assert_eq!(found.port, Some(81));
    let HealthKind::Http { headers, expect_body, .. } = found.kind else { panic!("no http") };
    assert_eq!(headers, [("a".to_owned(), "1".to_owned())]);
    assert_eq!(expect_body, Some(BodyTest::Text("ok".to_owned())));
    let found = health("http = \"/\", expect_body = { regex = \"^ok\" }");
    let HealthKind::Http { headers, expect_body, .. } = &found.kind else { panic!("no http") };
    assert!(headers.is_empty());
    assert!(matches!(expect_body, Some(BodyTest::Pattern(pattern)) if pattern.0.is_match(b"ok")));
    assert_eq!(found, health("http = \"/\", expect_body = { regex = \"^ok\" }"));
    assert_ne!(found, health("http = \"/\", expect_body = { regex = \"^on\" }"));
}

#[test]
fn fields_take_values_from_the_environment_and_the_effective_file_does_not_tell_them() {
    let text = format!("{START}[pools.p]\nhealth.http = \"/\"\nhealth.headers.a = \"${{APP}}\"\n");
    let loaded = good(&text);
    let HealthKind::Http { headers, .. } = &loaded.model.pools[0].health.as_ref().unwrap().kind
    else {
        panic!("no http")
    };
    assert_ne!(headers[0].1, "${APP}");
    let page = crate::config::effective(&loaded);
    assert!(page.contains("health.headers = { a = \"${APP}\" }"), "{page}");
}

#[test]
fn a_check_by_grpc_has_a_service_and_shuts_out_what_is_of_http() {
    let found = health("grpc = \"shop.v1.Cart\", host = \"shop\"");
    let HealthKind::Grpc { service, host, headers } = found.kind else { panic!("no grpc") };
    assert_eq!((&*service, &*host, headers.len()), ("shop.v1.Cart", "shop", 0));
    let text = format!(
        "[defaults.pools]\nhealth = {{ http = \"/h\", interval = \"5s\" }}\n{START}\
         [pools.p]\nhealth.grpc = \"\"\n"
    );
    let loaded = good(&text);
    let page = crate::config::effective(&loaded);
    assert!(page.contains("health.grpc = \"\"") && !page.contains("health.method"), "{page}");
}

#[test]
fn a_check_by_tls_wants_the_pools_tls_and_nothing_of_http() {
    let text = format!("{START}[pools.p]\ntls = {{}}\nhealth.tls = true\n");
    let found = good(&text).model.pools.remove(0).health.unwrap();
    assert_eq!(found.kind, HealthKind::Tls);
    let without = errors(&format!("{START}[pools.p]\nhealth.tls = true\n"));
    assert!(without[0].contains("a check by tls of a pool without `tls`"), "{without:?}");
    let wrong = errors(&format!(
        "{START}[pools.p]\ntls = {{}}\nhealth = {{ tls = true, expect = \"200\" }}\n"
    ));
    assert!(wrong[0].contains("`expect` means nothing to a check by tls"), "{wrong:?}");
}

#[test]
fn a_check_may_ask_in_full_now_and_then_where_there_is_more_to_ask_than_a_connection() {
    assert_eq!(health("http = \"/\"").full_every, 1);
    assert_eq!(health("http = \"/\", full_every = 5").full_every, 5);
    for (text, what) in [
        ("tcp = true, full_every = 5", "`full_every` means nothing to a check by tcp"),
        ("http = \"/\", full_every = 0", "full_every = 0 is out of range"),
    ] {
        let wrong = errors(&format!("{START}[pools.p]\nhealth = {{ {text} }}\n"));
        assert!(wrong[0].contains(what), "{wrong:?}");
    }
}

#[test]
fn other_intervals_come_from_the_interval_where_they_are_not_given() {
    let found = health("tcp = true, interval = \"4s\"");
    let seconds = std::time::Duration::from_secs;
    assert_eq!((found.interval_down, found.interval_changing), (seconds(4), seconds(1)));
    let found =
        health("tcp = true, interval = \"4s\", interval_down = \"1m\", interval_changing = \"2s\"");
    assert_eq!((found.interval_down, found.interval_changing), (seconds(60), seconds(2)));
    let text = "health = { tcp = true, interval = \"1s\", interval_changing = \"2s\" }";
    let wrong = errors(&format!("{START}[pools.p]\n{text}\n"));
    assert!(wrong[0].contains("more seldom than others"), "{wrong:?}");
}
