//! Tests of the table: specificity, boundaries, ties, and a slow model to compare with.

use std::sync::Arc;

use http::Method;
use proptest::prelude::*;
use regex::Regex;

use super::*;
use crate::net::fields::Fields;
use crate::route::Head;

fn exact(host: &str) -> HostPattern {
    HostPattern::Exact(Arc::from(host))
}

fn wildcard(suffix: &str) -> HostPattern {
    HostPattern::Wildcard(Arc::from(suffix))
}

fn prefix(path: &str) -> PathPattern {
    PathPattern::Prefix(Arc::from(path))
}

fn whole(path: &str) -> PathPattern {
    PathPattern::Exact(Arc::from(path))
}

fn regex(pattern: &str) -> PathPattern {
    PathPattern::Regex(Regex::new(pattern).unwrap())
}

fn rule<T>(hosts: &[HostPattern], path: PathPattern, value: T) -> Rule<T> {
    Rule { hosts: hosts.to_vec(), path, conditions: None, value }
}

fn found<'a, T>(table: &'a Table<T>, host: Option<&str>, path: &str) -> Option<&'a T> {
    table.find(host, path, |_| true)
}

fn by_methods(methods: &[Method], value: &'static str) -> Rule<&'static str> {
    let written = model::Conditions { methods: methods.to_vec(), ..Default::default() };
    Rule { conditions: Conditions::new(&written), ..rule(&[], prefix("/a"), value) }
}

fn table(rules: Vec<Rule<&'static str>>) -> Table<&'static str> {
    Table::build(rules).unwrap()
}

fn ties<T: std::fmt::Debug>(rules: Vec<Rule<T>>) -> Vec<(usize, usize)> {
    let ties = Table::build(rules).unwrap_err();
    ties.into_iter().map(|tie| (tie.first, tie.second)).collect()
}

#[test]
fn the_most_specific_host_wins() {
    let table = table(vec![
        rule(&[], PathPattern::Any, "any"),
        rule(&[wildcard("example.com")], PathPattern::Any, "wide"),
        rule(&[wildcard("b.example.com")], PathPattern::Any, "narrow"),
        rule(&[exact("a.b.example.com")], PathPattern::Any, "exact"),
    ]);
    let find = |host| found(&table, Some(host), "/").copied();
    assert_eq!(find("a.b.example.com"), Some("exact"));
    assert_eq!(find("c.b.example.com"), Some("narrow"));
    assert_eq!(find("x.c.b.example.com"), Some("narrow"));
    assert_eq!(find("b.example.com"), Some("wide"));
    assert_eq!(find("example.com"), Some("any"));
    assert_eq!(find("notexample.com"), Some("any"));
    assert_eq!(found(&table, None, "/").copied(), Some("any"));
}

#[test]
fn without_a_host_only_rules_for_any_host_match() {
    let table = table(vec![
        rule(&[exact("a")], PathPattern::Any, "a"),
        rule(&[wildcard("b")], PathPattern::Any, "b"),
    ]);
    assert_eq!(found(&table, None, "/"), None);
}

#[test]
fn a_prefix_matches_on_segment_boundaries() {
    for spelled in ["/api", "/api/"] {
        let table = table(vec![rule(&[], prefix(spelled), "api")]);
        for path in ["/api", "/api/", "/api/x", "/api//x", "/api/x/y/z"] {
            assert_eq!(found(&table, None, path), Some(&"api"), "{path}");
        }
        for path in ["/", "/apiary", "/ap", "/x/api", "//api", "/api;v=1", "*"] {
            assert_eq!(found(&table, None, path), None, "{path}");
        }
    }
}

#[test]
fn within_a_host_exact_beats_regex_beats_the_longest_prefix() {
    let table = table(vec![
        rule(&[], prefix("/"), "root"),
        rule(&[], prefix("/a"), "short"),
        rule(&[], prefix("/a/b"), "long"),
        rule(&[], regex("^(?:/a/b/[0-9]+)$"), "number"),
        rule(&[], regex("^(?:/a/b/1.*)$"), "later"),
        rule(&[], whole("/a/b/1"), "exact"),
    ]);
    let find = |path| found(&table, Some("h"), path).copied();
    assert_eq!(find("/a/b/1"), Some("exact"));
    assert_eq!(find("/a/b/12"), Some("number"));
    assert_eq!(find("/a/b/1x"), Some("later"));
    assert_eq!(find("/a/b/x"), Some("long"));
    assert_eq!(find("/a/bb"), Some("short"));
    assert_eq!(find("/b"), Some("root"));
    assert_eq!(find("*"), Some("root"));
}

#[test]
fn a_host_without_a_rule_for_the_path_leaves_it_to_the_next_wider_one() {
    let table = table(vec![
        rule(&[exact("a.b.c")], prefix("/exact"), "exact"),
        rule(&[wildcard("b.c")], prefix("/narrow"), "narrow"),
        rule(&[wildcard("c")], prefix("/wide"), "wide"),
        rule(&[], prefix("/any"), "any"),
    ]);
    for word in ["exact", "narrow", "wide", "any"] {
        assert_eq!(found(&table, Some("a.b.c"), &format!("/{word}/x")).copied(), Some(word));
    }
    assert_eq!(found(&table, Some("a.b.c"), "/none"), None);
}

#[test]
fn patterns_are_normalised_as_requests_are() {
    let table = table(vec![
        rule(&[], prefix("/%7euser/caf%c3%a9"), "prefix"),
        rule(&[], whole("/x/%2e%2e/y"), "exact"),
    ]);
    assert_eq!(found(&table, None, "/~user/caf%C3%A9/1"), Some(&"prefix"));
    assert_eq!(found(&table, None, "/y"), Some(&"exact"));
}

#[test]
fn rules_that_tie_are_named() {
    let a = [exact("a")];
    assert_eq!(ties(vec![rule(&[], prefix("/x"), 0), rule(&[], prefix("/x/"), 1)]), [(0, 1)]);
    assert_eq!(ties(vec![rule(&a, prefix("/"), 0), rule(&a, PathPattern::Any, 1)]), [(0, 1)]);
    assert_eq!(ties(vec![rule(&a, whole("/x"), 0), rule(&a, whole("/x"), 1)]), [(0, 1)]);
    assert_eq!(ties(vec![rule(&a, regex("x"), 0), rule(&a, regex("x"), 1)]), [(0, 1)]);
    let three = (0..3).map(|n| rule(&a, whole("/x"), n)).collect();
    assert_eq!(ties(three), [(0, 1), (0, 2)]);
    let both = [exact("a"), wildcard("a")];
    assert_eq!(ties(vec![rule(&both, whole("/x"), 0), rule(&both, whole("/x"), 1)]), [(0, 1)]);
}

#[test]
fn different_kinds_and_hosts_do_not_tie() {
    let rules = vec![
        rule(&[exact("a"), exact("a")], prefix("/x"), 0),
        rule(&[exact("a")], whole("/x"), 1),
        rule(&[exact("a")], regex("^/x$"), 2),
        rule(&[wildcard("a")], prefix("/x"), 3),
        rule(&[], prefix("/x"), 4),
    ];
    assert_eq!(Table::build(rules).unwrap().len(), 5);
}

#[test]
fn a_rule_whose_conditions_are_not_met_leaves_it_to_the_less_specific() {
    let table = table(vec![
        rule(&[], PathPattern::Any, "any"),
        rule(&[], prefix("/a"), "plain"),
        by_methods(&[Method::PUT, Method::POST], "change"),
        by_methods(&[Method::DELETE], "delete"),
        Rule { path: whole("/a/b"), ..by_methods(&[Method::PUT], "exact") },
    ]);
    let find = |method: &Method, path| {
        let headers = Fields::new();
        let head = Head { method, headers: &headers, query: None, client: [0; 4].into() };
        table.find(None, path, |conditions| conditions.meet(&head)).copied()
    };
    assert_eq!(find(&Method::PUT, "/a/b"), Some("exact"));
    assert_eq!(find(&Method::POST, "/a/b"), Some("change"));
    assert_eq!(find(&Method::DELETE, "/a/b"), Some("delete"));
    assert_eq!(find(&Method::GET, "/a/b"), Some("plain"));
    assert_eq!(find(&Method::PUT, "/b"), Some("any"));
    assert_eq!(table.conditions(None, "/a/b").len(), 3);
    assert_eq!(table.conditions(None, "/a/c").len(), 2);
}

#[test]
fn conditions_tie_where_one_request_may_meet_as_many_of_two_rules() {
    let both = [by_methods(&[Method::PUT, Method::GET], "1"), by_methods(&[Method::GET], "2")];
    assert_eq!(ties(both.to_vec()), [(0, 1)]);
    let [first, _] = both;
    assert!(Table::build(vec![first, by_methods(&[Method::POST], "3")]).is_ok());
}

#[test]
fn long_prefixes_and_paths_of_many_slashes_meet() {
    let long = format!("/{}", "segment/".repeat(40));
    let table = table(vec![rule(&[], prefix(&long), "long"), rule(&[], prefix("/"), "root")]);
    assert_eq!(found(&table, None, &format!("{long}{}", "/".repeat(30_000))), Some(&"long"));
    assert_eq!(found(&table, None, &"/".repeat(30_000)), Some(&"root"));
    assert_eq!(found(&table, None, &long), Some(&"long"));
    let without_slash = long.trim_end_matches('/');
    assert_eq!(found(&table, None, without_slash), Some(&"long"));
    assert_eq!(found(&table, None, &format!("{without_slash}x")), Some(&"root"));
}

/// What the table must do, written down slowly.
fn slow_find(rules: &[(u8, Vec<u8>)], path: &[u8]) -> Option<usize> {
    let matches = |kind: u8, pattern: &[u8]| match kind {
        0 => path == pattern,
        _ => path.starts_with(pattern) && matches!(path.get(pattern.len()), None | Some(b'/')),
    };
    let mut best: Option<(u8, usize, usize)> = None;
    for (index, (kind, pattern)) in rules.iter().enumerate() {
        let rank = (1 - *kind, pattern.len());
        if matches(*kind, pattern) && best.is_none_or(|(a, b, _)| rank > (a, b)) {
            best = Some((rank.0, rank.1, index));
        }
    }
    best.map(|(_, _, index)| index)
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_slow_model(
        patterns in proptest::collection::btree_set((0u8..2, "(/[ab]{0,2}){1,4}"), 1..12),
        path in "(/[ab]{0,2}){1,6}",
    ) {
        let mut slow = Vec::new();
        let mut rules = Vec::new();
        for (kind, pattern) in patterns {
            let (key, path) = match kind {
                0 => (pattern.clone(), whole(&pattern)),
                _ => (pattern.strip_suffix('/').unwrap_or(&pattern).to_owned(), prefix(&pattern)),
            };
            if slow.contains(&(kind, key.clone().into_bytes())) {
                continue;
            }
            slow.push((kind, key.into_bytes()));
            rules.push(rule(&[], path, slow.len() - 1));
        }
        let table = Table::build(rules).unwrap();
        prop_assert_eq!(found(&table, None, &path).copied(), slow_find(&slow, path.as_bytes()));
    }
}
