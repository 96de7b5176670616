//! `health` of a pool: what is asked, how often, and what is expected.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use regex::bytes::RegexBuilder;

use super::Object;
use super::check::{Check, is_token, no_regex};
use crate::config::defaults as d;
use crate::config::model::{BodyPattern, BodyTest, Health, HealthKind, Initial, Place};
use crate::config::text::{
    At, BodyPatternText, BodyWord, HealthText, InitialWord, PoolText, WordOr, Words,
};
use crate::config::unit::Time;

pub(super) fn health(
    object: &Object<PoolText>,
    at: &At<HealthText>,
    check: &mut Check<'_>,
) -> Option<Health> {
    let text = &at.value;
    let place = if at.span.is_empty() { object.place.clone() } else { at.place() };
    let given = [
        text.http.as_ref().map(|at| ("http", at.place())),
        text.tcp.as_ref().map(|at| ("tcp", at.place())),
        text.tls.as_ref().map(|at| ("tls", at.place())),
        text.grpc.as_ref().map(|at| ("grpc", at.place())),
    ];
    if let [(first, _), (second, place), ..] = &*given.into_iter().flatten().collect::<Vec<_>>() {
        check
            .error(format!("a check by both `{first}` and `{second}`"), place)
            .hint("keep one; a check by http or grpc opens the connection anyway");
        return None;
    }
    let kind = match (&text.http, &text.tcp, &text.tls, &text.grpc) {
        (Some(path), ..) => http(path, text, check),
        (_, Some(at), ..) => {
            bare("tcp", at, text, check);
            let layers = text.full_every.as_ref().filter(|at| at.value != 1);
            meaningless("tcp", "full_every", layers.map(At::place), check);
            HealthKind::Tcp
        }
        (_, _, Some(at), _) => {
            bare("tls", at, text, check);
            if object.text.tls.is_none() && !object.broken {
                check
                    .error("a check by tls of a pool without `tls`", &at.place())
                    .hint("add tls = {} to the pool, or check by tcp");
            }
            HealthKind::Tls
        }
        (.., Some(service)) => grpc(service, text, check),
        _ if object.broken => return None,
        _ => {
            check
                .error("a check that says none of `http`, `tcp`, `tls` and `grpc`", &place)
                .hint("add http = \"/healthz\", or tcp = true");
            return None;
        }
    };
    let count = 1..=d::MAX_HEALTH_COUNT;
    let interval = check.finite(
        "interval",
        text.interval.as_ref(),
        d::MIN_HEALTH_INTERVAL,
        d::HEALTH_INTERVAL,
    );
    let mut other = |key, at: Option<&At<Time>>, default| {
        check.finite(key, at, d::MIN_HEALTH_INTERVAL, default)
    };
    let interval_down = other("interval_down", text.interval_down.as_ref(), interval);
    let closer = (interval / 4).max(d::MIN_HEALTH_INTERVAL);
    let interval_changing = other("interval_changing", text.interval_changing.as_ref(), closer);
    if let Some(at) = text.interval_changing.as_ref().filter(|_| interval_changing > interval) {
        check
            .error("a verdict that may turn is looked at more seldom than others", &at.place())
            .hint(format!("at most `interval`, \"{}\"", Time(Some(interval))));
    }
    let timeout =
        check.finite("timeout", text.timeout.as_ref(), Duration::from_millis(1), d::HEALTH_TIMEOUT);
    if let Some(at) = text.timeout.as_ref().filter(|_| timeout > interval) {
        let (timeout, interval) = (Time(Some(timeout)), Time(Some(interval)));
        check
            .warning(format!("timeout is longer than interval, \"{interval}\""), &at.place())
            .hint(format!(
                "a backend that says nothing is checked once in \"{timeout}\" only, so that `fall` \
                 of them take so much longer"
            ));
    }
    Some(Health {
        kind,
        port: text.port.as_ref().map(|at| check.number("port", Some(at), 1..=65_535, 0)),
        interval,
        interval_down,
        interval_changing,
        timeout,
        rise: check.number("rise", text.rise.as_ref(), count.clone(), d::HEALTH_RISE),
        fall: check.number("fall", text.fall.as_ref(), count, d::HEALTH_FALL),
        full_every: check.number(
            "full_every",
            text.full_every.as_ref(),
            1..=d::MAX_HEALTH_FULL_EVERY,
            d::HEALTH_FULL_EVERY,
        ),
        initial: match text.initial.as_ref().map(|at| at.value) {
            Some(InitialWord::Up) => Initial::Up,
            Some(InitialWord::Down) => Initial::Down,
            Some(InitialWord::Checking) | None => Initial::Checking,
        },
    })
}

/// A check that asks nothing once the connection is there.
fn bare(kind: &str, at: &At<bool>, text: &HealthText, check: &mut Check<'_>) {
    if !at.value {
        check
            .error(format!("{kind} = false checks nothing"), &at.place())
            .hint("leave `health` out, or write http = \"/healthz\"");
    }
    let place = |at: &Option<At<String>>| at.as_ref().map(At::place);
    meaningless(kind, "host", place(&text.host), check);
    meaningless(kind, "method", place(&text.method), check);
    meaningless(kind, "expect", place(&text.expect), check);
    meaningless(kind, "headers", text.headers.values().next().map(At::place), check);
    meaningless(kind, "expect_body", text.expect_body.as_ref().map(At::place), check);
}

fn grpc(service: &At<String>, text: &HealthText, check: &mut Check<'_>) -> HealthKind {
    if !visible(&service.value) || service.value.len() > d::MAX_SERVICE {
        check
            .error(format!("`{}` is no name of a service", service.value), &service.place())
            .hint("as in \"shop.v1.Cart\"; \"\" is the server as a whole");
    }
    let place = |at: &Option<At<String>>| at.as_ref().map(At::place);
    meaningless("grpc", "method", place(&text.method), check);
    meaningless("grpc", "expect", place(&text.expect), check);
    meaningless("grpc", "expect_body", text.expect_body.as_ref().map(At::place), check);
    HealthKind::Grpc {
        service: service.value.clone(),
        host: host(text, check),
        headers: headers(&text.headers, check),
    }
}

fn host(text: &HealthText, check: &mut Check<'_>) -> String {
    if let Some(at) = text.host.as_ref().filter(|at| !visible(&at.value)) {
        check
            .error(format!("`{}` is no host", at.value), &at.place())
            .hint("what the Host field shall say, as in \"www.example.com\"");
    }
    text.host.as_ref().map(|at| at.value.clone()).unwrap_or_default()
}

fn visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn meaningless(kind: &str, key: &str, place: Option<Place>, check: &mut Check<'_>) {
    if let Some(place) = place {
        check
            .error(format!("`{key}` means nothing to a check by {kind}"), &place)
            .hint("leave it out, or check by http");
    }
}

fn http(path: &At<String>, text: &HealthText, check: &mut Check<'_>) -> HealthKind {
    if !path.value.starts_with('/') || !visible(&path.value) || path.value.contains('#') {
        check
            .error(format!("`{}` is no path for a check", path.value), &path.place())
            .hint("path and query, as in \"/healthz?full=1\"");
    }
    let host = host(text, check);
    let method = text.method.as_ref().map_or(d::HEALTH_METHOD, |at| at.value.as_str());
    if let Some(at) = text.method.as_ref().filter(|at| !is_token(&at.value)) {
        check.error(format!("`{}` is no method", at.value), &at.place()).hint("GET or HEAD");
    }
    let expect = match &text.expect {
        Some(at) => statuses(&at.value).unwrap_or_else(|| {
            check
                .error(format!("`{}` are no statuses", at.value), &at.place())
                .hint("from 200 to 599, single or from-to: \"200-399\", \"200,204,300-399\"");
            Vec::new()
        }),
        None => statuses(d::HEALTH_EXPECT).unwrap_or_default(),
    };
    let headers = headers(&text.headers, check);
    let expect_body = text.expect_body.as_ref().and_then(|at| body(at, check));
    if let (Some(at), "HEAD") = (&text.expect_body, method) {
        check
            .error("an answer to HEAD has no body", &at.place())
            .hint("leave `expect_body` out, or ask with GET");
    }
    HealthKind::Http {
        path: path.value.clone(),
        host,
        method: method.to_owned(),
        headers,
        expect,
        expect_body,
    }
}

/// Fields that are made by the check itself.
const OWN_FIELDS: &[(&str, &str)] = &[
    ("host", "that is the key `host`"),
    ("connection", "a check closes its connection"),
    ("content-length", "a check sends no body of yours"),
    ("content-type", "a check sends no body of yours"),
    ("te", "a check asks for trailers where it needs them"),
    ("transfer-encoding", "a check sends no body of yours"),
];

fn headers(given: &BTreeMap<String, At<String>>, check: &mut Check<'_>) -> Vec<(String, String)> {
    for (name, at) in given {
        let own = OWN_FIELDS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        let legal = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if let Some((_, hint)) = own {
            check.error(format!("`{name}` cannot be set here"), &at.place()).hint(*hint);
        } else if !is_token(name) {
            check
                .error(format!("`{name}` is no name of a field"), &at.place())
                .hint("as in \"x-check\"");
        } else if !at.value.bytes().all(legal) || at.value.trim() != at.value {
            check
                .error(format!("the value of `{name}` cannot be sent"), &at.place())
                .hint("visible ASCII, with spaces between");
        }
    }
    given.iter().map(|(name, at)| (name.clone(), at.value.clone())).collect()
}

fn body(at: &At<WordOr<BodyWord, BodyPatternText>>, check: &mut Check<'_>) -> Option<BodyTest> {
    let pattern = match &at.value {
        WordOr::Word(BodyWord(text)) if text.is_empty() => {
            check
                .error("every body has the empty text in it", &at.place())
                .hint("say which text, or leave `expect_body` out");
            return None;
        }
        WordOr::Word(BodyWord(text)) => return Some(BodyTest::Text(text.clone())),
        WordOr::Table(table) => &table.regex,
    };
    let Some(pattern) = pattern else {
        if !check.is_broken(&at.span) {
            check
                .error("an `expect_body` that expects nothing", &at.place())
                .hint(<BodyWord as Words>::FORMS);
        }
        return None;
    };
    match RegexBuilder::new(&pattern.value).size_limit(d::MAX_REGEX).build() {
        Ok(regex) => Some(BodyTest::Pattern(BodyPattern(regex))),
        Err(error) => {
            no_regex(pattern, &error, check).hint("look-around and back-references do not exist");
            None
        }
    }
}

/// `200-399`, `200,204,300-399`.
fn statuses(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let status = |text: &str| {
        let number: u16 = text.trim().parse().ok()?;
        (200..=599).contains(&number).then_some(number)
    };
    text.split(',')
        .map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (status(low)?, status(high)?);
            (low <= high).then_some(low..=high)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_single_or_ranges() {
        assert_eq!(statuses("200-399"), Some(vec![200..=399]));
        assert_eq!(statuses("200, 204,300-399"), Some(vec![200..=200, 204..=204, 300..=399]));
        for wrong in ["", "100", "600", "399-200", "200-", "2xx"] {
            assert_eq!(statuses(wrong), None, "{wrong}");
        }
    }
}
