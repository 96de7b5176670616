//! What a route asks of a request beside host and path.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::COOKIE;
use http::{HeaderValue, Method};
use ipnet::IpNet;

use super::sources::Sources;
use crate::config::model::{self, FieldCondition, FieldName, ValueTest};
use crate::net::fields::Fields;

/// A request's head, as far as routes ask about it.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its fields, with no more than one `Cookie`.
    pub headers: &'a Fields,
    /// What follows the question mark.
    pub query: Option<&'a str>,
    /// Who asks.
    pub client: IpAddr,
}

/// Conditions of a route, compiled: all of them must hold.
#[derive(Debug, Clone)]
pub struct Conditions {
    written: model::Conditions,
    sources: Sources,
}

impl Conditions {
    /// None where nothing is asked.
    pub fn new(written: &model::Conditions) -> Option<Self> {
        (written.count() > 0)
            .then(|| Self { written: written.clone(), sources: Sources::new(&written.sources) })
    }

    /// What was compiled.
    pub(super) fn written(&self) -> &model::Conditions {
        &self.written
    }

    /// Networks of the clients that they are for; empty: any.
    pub fn sources(&self) -> &[IpNet] {
        &self.written.sources
    }

    /// Whether a request meets them.
    pub fn meet(&self, head: &Head<'_>) -> bool {
        self.has_method(head) && self.meet_any_method(head)
    }

    /// Those that a request does not meet, each in words. The client's address counts where it is
    /// `known`.
    pub fn unmet(&self, head: &Head<'_>, known: bool) -> Vec<String> {
        let mut unmet = Vec::new();
        if !self.has_method(head) {
            let methods: Vec<&str> = self.written.methods.iter().map(Method::as_str).collect();
            unmet.push(format!("methods {}", methods.join(", ")));
        }
        let fields = self.written.fields.iter().filter(|condition| !holds(condition, head));
        unmet.extend(fields.map(|condition| match &condition.field {
            FieldName::Header(name) => format!("header {name}"),
            FieldName::Query(name) => format!("query {name}"),
            FieldName::Cookie(name) => format!("cookie {name}"),
        }));
        if known && !self.written.sources.is_empty() && !self.sources.contains(head.client) {
            unmet.push("sources".to_owned());
        }
        unmet
    }

    /// Whether a request would meet them from an address of `sources`.
    pub fn meet_from_anywhere(&self, head: &Head<'_>) -> bool {
        self.has_method(head) && self.has_fields(head)
    }

    /// Whether a request would meet them by another method.
    fn meet_any_method(&self, head: &Head<'_>) -> bool {
        (self.written.sources.is_empty() || self.sources.contains(head.client))
            && self.has_fields(head)
    }

    fn has_method(&self, head: &Head<'_>) -> bool {
        let methods = &self.written.methods;
        methods.is_empty() || methods.contains(head.method)
    }

    fn has_fields(&self, head: &Head<'_>) -> bool {
        self.written.fields.iter().all(|field| holds(field, head))
    }
}

/// For a request that no route takes: the methods by which one would, as `Allow` lists them. None
/// where it is not for the method that it was left.
pub fn allowed<'a>(
    head: &Head<'_>,
    routes: impl Iterator<Item = &'a Conditions>,
) -> Option<HeaderValue> {
    let others = routes.filter(|conditions| conditions.meet_any_method(head));
    let mut methods: Vec<&str> =
        others.flat_map(|conditions| &conditions.written.methods).map(Method::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    (!methods.is_empty()).then(|| HeaderValue::try_from(methods.join(", ")).ok()).flatten()
}

fn holds(condition: &FieldCondition, head: &Head<'_>) -> bool {
    let test = &condition.test;
    match &condition.field {
        FieldName::Header(name) => {
            passes(test, head.headers.get_all(name).map(|it| it.as_bytes().trim_ascii()))
        }
        FieldName::Query(name) => {
            let pairs = head.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
            let named = pairs.filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (*decoded(key) == *name.as_bytes()).then(|| decoded(value))
            });
            passes(test, named)
        }
        FieldName::Cookie(name) => {
            let field = head.headers.get(COOKIE).map(HeaderValue::as_bytes).unwrap_or_default();
            let named = field.split(|byte| *byte == b';').filter_map(|pair| {
                let equals = memchr::memchr(b'=', pair)?;
                let (key, value) = pair.split_at_checked(equals)?;
                let value = value.get(1..).unwrap_or_default();
                (key.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
            });
            passes(test, named)
        }
    }
}

fn passes(test: &ValueTest, mut values: impl Iterator<Item = impl AsRef<[u8]>>) -> bool {
    match test {
        ValueTest::Is(text) => values.any(|value| value.as_ref() == text.as_bytes()),
        ValueTest::Matches(regex) => values.any(|value| regex.is_match(value.as_ref())),
        ValueTest::Present => values.next().is_some(),
        ValueTest::Absent => values.next().is_none(),
    }
}

/// As forms write it: `+` is a space, `%41` an A. What is no escape stays.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                _ => decoded.push(b'%'),
            },
            _ => decoded.push(*byte),
        }
    }
    Cow::Owned(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(field: FieldName, text: &str) -> FieldCondition {
        FieldCondition { field, test: ValueTest::Is(text.into()) }
    }

    fn asks(field: FieldCondition, headers: &[(&'static str, &'static str)], query: &str) -> bool {
        let written = model::Conditions { fields: vec![field], ..Default::default() };
        let headers = &Fields::of(headers);
        let client = [192, 0, 2, 1].into();
        let head = Head { method: &Method::GET, headers, query: Some(query), client };
        Conditions::new(&written).unwrap().meet(&head)
    }

    #[test]
    fn a_header_is_met_by_one_of_its_values() {
        let field = || FieldName::Header(http::HeaderName::from_static("x-beta"));
        assert!(asks(is(field(), "1"), &[("x-beta", "0"), ("x-beta", " 1 ")], ""));
        assert!(!asks(is(field(), "1"), &[("x-beta", "11")], ""));
        let matches = || FieldCondition {
            field: field(),
            test: ValueTest::Matches(regex::bytes::Regex::new(r"\A(?:1|2)\z").unwrap()),
        };
        assert!(asks(matches(), &[("x-beta", "2")], ""));
        assert!(!asks(matches(), &[("x-beta", "12")], ""));
        let absent = || FieldCondition { field: field(), test: ValueTest::Absent };
        assert!(asks(absent(), &[("x-alpha", "")], ""));
        assert!(!asks(absent(), &[("x-beta", "")], ""));
        let present = FieldCondition { field: field(), test: ValueTest::Present };
        assert!(asks(present, &[("x-beta", "")], ""));
    }

    #[test]
    fn a_parameter_is_compared_as_it_is_meant() {
        let field = || FieldName::Query("a b".into());
        for query in ["a+b=c%20d", "x=1&a%20b=c+d", "%61+b=%63 d&a+b=other"] {
            assert!(asks(is(field(), "c d"), &[], query), "{query}");
        }
        for query in ["", "a b", "ab=c d", "a+b=c%2", "a+b=c%20d%"] {
            assert!(!asks(is(field(), "c d"), &[], query), "{query}");
        }
        assert!(asks(is(field(), ""), &[], "a+b"));
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let field = || FieldName::Cookie("beta".into());
        assert!(asks(is(field(), "1"), &[("cookie", "a=b; beta=1; c")], ""));
        assert!(asks(is(field(), "x=y"), &[("cookie", "beta=x=y")], ""));
        assert!(!asks(is(field(), "1"), &[("cookie", "xbeta=1; beta2=1; beta")], ""));
    }

    #[test]
    fn who_is_left_for_its_method_is_told_the_others() {
        let of = |methods: &[Method], header: Option<&str>| {
            let field = |text| is(FieldName::Header(http::header::ACCEPT), text);
            let fields = header.map(field).into_iter().collect();
            let methods = methods.to_vec();
            Conditions::new(&model::Conditions { methods, fields, sources: Vec::new() }).unwrap()
        };
        let routes = [of(&[Method::POST, Method::GET], None), of(&[Method::PUT], Some("never"))];
        let head = Head {
            method: &Method::DELETE,
            headers: &Fields::new(),
            query: None,
            client: [192, 0, 2, 1].into(),
        };
        assert_eq!(allowed(&head, routes.iter()).unwrap(), "GET, POST");
        assert_eq!(allowed(&head, routes[1..].iter()), None);
    }
}
