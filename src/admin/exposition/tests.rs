//! A page over a small process.

use std::collections::BTreeSet;

use http_body_util::BodyExt as _;

use super::super::tests::facts;
use super::*;

fn page(facts: &Arc<Facts>) -> String {
    let answer = Exposition::new(Arc::clone(facts)).page();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn no_series_comes_twice() {
    let facts = Arc::new(facts());
    let text = page(&facts);
    let series: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    assert_eq!(series.iter().collect::<BTreeSet<_>>().len(), series.len());
    assert!(text.contains("ostler_pool_usable_backends{pool=\"shop\"} 2\n"), "{text}");
}

#[test]
fn counts_of_all_workers_are_added_up() {
    let facts = Arc::new(facts());
    let snapshot = facts.current.load();
    for (worker, bytes) in [(0, 5), (1, 7)] {
        let counters = snapshot.routes[0].counters.get(worker);
        counters.record(&http::Method::GET, 200, Reason::None);
        counters.request_bytes.add(bytes);
    }
    let text = page(&facts);
    let sum = "{code=\"200\",method=\"GET\",reason=\"none\",route=\"all\"} 2\n";
    let ordered = text.lines().find(|line| line.starts_with("ostler_requests_total")).unwrap();
    for label in ["code=\"200\"", "method=\"GET\"", "reason=\"none\"", "route=\"all\""] {
        assert!(ordered.contains(label), "{ordered} against {sum}");
    }
    assert!(ordered.ends_with(" 2"), "{ordered}");
    assert!(text.contains("ostler_request_bytes_total{route=\"all\"} 12\n"), "{text}");
}

#[test]
fn exactly_one_state_holds_of_a_backend() {
    let facts = Arc::new(facts());
    let state = Arc::clone(&facts.current.load().pools[0].members[0].backend.state);
    state.set_mark(Some(AdminState::Maint), None);
    let text = page(&facts);
    let of_a =
        |line: &&str| line.starts_with("ostler_backend_state{") && line.contains("backend=\"a\"");
    let holds: Vec<&str> = text.lines().filter(of_a).filter(|line| line.ends_with(" 1")).collect();
    assert_eq!(holds.len(), 1);
    assert!(holds[0].contains("state=\"maint\""), "{holds:?}");
    assert_eq!(text.lines().filter(of_a).count(), STATES.len());
}
