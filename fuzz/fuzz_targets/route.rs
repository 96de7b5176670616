//! Routes: the table finds what a walk over all rules finds.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ostler::config::model::{HostPattern, PathPattern};
use ostler::route::{Rule, Table, fold_host, normalise, parse_authority};
use regex::Regex;

const MOST: usize = 24;

static REGEXES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    ["/old/[0-9]+", "/a.*", "/[a-z]*/x", ".*", "/(a|b)(/.*)?"]
        .iter()
        .map(|text| Regex::new(&format!(r"\A(?:{text})\z")).expect("a regex"))
        .collect()
});

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.lines();
    // The first line is what is asked for, each other line a rule: HOST PATH.
    let asked = lines.next().unwrap_or_default();
    let (host, path) = asked.split_once(' ').unwrap_or(("", asked));
    let mut buffer = [0; 256];
    let host = parse_authority(host).ok().map(|it| fold_host(it.host, &mut buffer).to_owned());
    let Ok(path) = normalise(path) else { return };
    let written: Vec<(Option<HostPattern>, PathPattern)> =
        lines.filter_map(rule).take(MOST).collect();
    let rules = written.iter().enumerate().map(|(value, (host, path))| Rule {
        hosts: host.iter().cloned().collect(),
        path: path.clone(),
        conditions: None,
        value,
    });
    let twins = (0..written.len()).any(|at| {
        written[..at]
            .iter()
            .any(|other| other.0 == written[at].0 && key(&other.1) == key(&written[at].1))
    });
    match Table::build(rules.collect()) {
        Err(ties) => {
            assert!(twins, "{ties:?} in {written:?}");
            for tie in ties {
                assert!(tie.first < tie.second);
                let (one, other) = (&written[tie.first], &written[tie.second]);
                assert_eq!((&one.0, key(&one.1)), (&other.0, key(&other.1)));
            }
        }
        Ok(table) => {
            assert!(!twins, "a tie was not told: {written:?}");
            assert_eq!(table.len(), written.len());
            let found = table.find(host.as_deref(), &path, |_| true).copied();
            assert_eq!(
                found,
                walk(&written, host.as_deref(), &path),
                "{host:?} {path} {written:?}"
            );
        }
    }
});

fn rule(line: &str) -> Option<(Option<HostPattern>, PathPattern)> {
    let (host, path) = line.split_once(' ')?;
    let name = |text: &str| {
        let mut buffer = [0; 256];
        let name = parse_authority(text).ok().filter(|it| it.port.is_none())?;
        Some(fold_host(name.host, &mut buffer).into())
    };
    let host = match host.strip_prefix("*.") {
        _ if host == "*" => None,
        Some(suffix) => Some(HostPattern::Wildcard(name(suffix)?)),
        None => Some(HostPattern::Exact(name(host)?)),
    };
    let path = match path.as_bytes() {
        [] => PathPattern::Any,
        [b'=', ..] => PathPattern::Exact(normalise(&path[1..]).ok()?.into()),
        [b'~', number] => {
            PathPattern::Regex(REGEXES.get(usize::from(number.wrapping_sub(b'0')))?.clone())
        }
        _ => PathPattern::Prefix(normalise(path).ok()?.into()),
    };
    Some((host, path))
}

/// What two rules of one host must not have in common.
fn key(path: &PathPattern) -> (u8, &str) {
    match path {
        PathPattern::Any => (0, ""),
        PathPattern::Exact(path) => (1, path),
        PathPattern::Prefix(path) => (0, path.strip_suffix('/').unwrap_or(path)),
        PathPattern::Regex(regex) => (2, regex.as_str()),
    }
}

/// The most specific rule, by the words of the documentation.
fn walk(
    rules: &[(Option<HostPattern>, PathPattern)],
    host: Option<&str>,
    path: &str,
) -> Option<usize> {
    let of_host = |pattern: &Option<HostPattern>| match (pattern, host) {
        (None, _) => Some(0),
        (Some(HostPattern::Exact(name)), Some(host)) => (**name == *host).then_some(usize::MAX),
        (Some(HostPattern::Wildcard(suffix)), Some(host)) => {
            let below = host.strip_suffix(&**suffix).and_then(|label| label.strip_suffix('.'));
            below.map(|_| 1 + suffix.len())
        }
        (Some(_), None) => None,
    };
    let of_path = |pattern: &PathPattern| match pattern {
        PathPattern::Any => Some((0, 0)),
        PathPattern::Exact(exact) => (**exact == *path).then_some((3, 0)),
        // Of several, the first in the file.
        PathPattern::Regex(regex) => regex.is_match(path).then_some((2, 0)),
        PathPattern::Prefix(prefix) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            let rest = path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((1, prefix.len()))
        }
    };
    let matches = rules.iter().enumerate().filter_map(|(at, (host, path))| {
        Some(((of_host(host)?, of_path(path)?), std::cmp::Reverse(at)))
    });
    matches.max().map(|(_, at)| at.0)
}
