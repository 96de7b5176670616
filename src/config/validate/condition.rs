//! What a route asks of a request beside host and path, and whom it lets in.

use http::{HeaderName, Method};
use regex::bytes::RegexBuilder;

use super::by;
use super::check::{Check, is_token, whole_regex};
use super::listener::networks;
use crate::config::defaults as d;
use crate::config::model::{
    Access, Conditions, FieldCondition, FieldName, Place, RateLimit, ValueTest,
};
use crate::config::text::{
    At, ConditionsText, List, RouteText, ValueText, ValueWord, WordOr, Words as _,
};
use crate::config::unit::Rate;

pub(super) fn conditions(text: &RouteText, check: &mut Check<'_>) -> Conditions {
    let mut fields = Vec::new();
    of_kind(&text.headers, header, &mut fields, check);
    of_kind(&text.query, query, &mut fields, check);
    of_kind(&text.cookies, cookie, &mut fields, check);
    not_empty("sources", text.sources.as_ref(), check);
    Conditions {
        methods: methods(text.methods.as_ref(), check),
        fields,
        sources: networks(text.sources.as_ref(), check),
    }
}

fn of_kind(
    given: &ConditionsText,
    named: Name,
    fields: &mut Vec<FieldCondition>,
    check: &mut Check<'_>,
) {
    for (name, at) in given {
        let field = named(name, &at.place(), check);
        let test = test(name, at, check);
        if let (Some(field), Some(test)) = (field, test) {
            fields.push(FieldCondition { field, test });
        }
        if fields.len() == d::MAX_CONDITIONS + 1 {
            check
                .error(format!("more than {} conditions", d::MAX_CONDITIONS), &at.place())
                .hint("let the backend tell such requests apart");
        }
    }
}

pub(super) fn access(text: &RouteText, check: &mut Check<'_>) -> Access {
    let deny = networks(text.deny.as_ref(), check);
    Access { deny, allow: networks(text.allow.as_ref(), check) }
}

/// None where it cannot be read.
pub(super) fn rate_limit(text: &RouteText, check: &mut Check<'_>) -> Option<RateLimit> {
    let at = text.rate_limit.as_ref()?;
    let by = by::rate_by(at.value.by.as_ref(), check);
    let burst = at.value.burst.as_ref();
    let burst = burst.map(|at| check.number("burst", Some(at), 1..=d::MAX_BURST, 1));
    let Some(rate) = &at.value.rate else {
        if !check.is_broken(&at.span) {
            check.error("a rate_limit without `rate`", &at.place()).hint("add rate = \"50/s\"");
        }
        return None;
    };
    let Rate { count, per } = rate.value;
    let most = u32::try_from(d::MAX_BURST).unwrap_or(u32::MAX);
    let burst = burst.unwrap_or_else(|| count.min(most));
    Some(RateLimit { by, count, per, burst })
}

fn not_empty(key: &str, list: Option<&List<String>>, check: &mut Check<'_>) {
    if let Some(list) = list.filter(|list| list.value.is_empty() && !check.is_broken(&list.span)) {
        check
            .error(format!("`{key}` is empty: the route would never match"), &list.place())
            .hint(format!("leave `{key}` out for any"));
    }
}

fn methods(list: Option<&List<String>>, check: &mut Check<'_>) -> Vec<Method> {
    not_empty("methods", list, check);
    let mut methods = Vec::new();
    for at in list.iter().flat_map(|list| &list.value) {
        let method = Method::from_bytes(at.value.as_bytes()).ok();
        match method.filter(|_| !at.value.bytes().any(|byte| byte.is_ascii_lowercase())) {
            None => {
                check
                    .error(format!("`{}` is no method", at.value), &at.place())
                    .hint("as in methods = [\"GET\", \"POST\"], in capitals");
            }
            Some(Method::CONNECT | Method::TRACE) => {
                check
                    .error(format!("{} is never served", at.value), &at.place())
                    .hint("leave it out: it is answered by 405, whatever the routes say");
            }
            Some(method) => methods.push(method),
        }
    }
    // RFC 9110 §9.3.2: HEAD is GET without its body.
    if methods.contains(&Method::GET) {
        methods.push(Method::HEAD);
    }
    methods.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    methods.dedup();
    methods
}

type Name = fn(&str, &Place, &mut Check<'_>) -> Option<FieldName>;

fn header(name: &str, place: &Place, check: &mut Check<'_>) -> Option<FieldName> {
    let hint = match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => "letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 §5.1)",
        Ok(read) if read == http::header::HOST => "for hosts there is `hosts`",
        Ok(read) if read == http::header::COOKIE => "for cookies there is `cookies`",
        Ok(read) => return Some(FieldName::Header(read)),
    };
    check.error(format!("`{name}` cannot be asked for in `headers`"), place).hint(hint);
    None
}

fn query(name: &str, place: &Place, check: &mut Check<'_>) -> Option<FieldName> {
    if name.is_empty() {
        check.error("a parameter without a name", place).hint("as in query = { beta = \"1\" }");
        return None;
    }
    Some(FieldName::Query(name.into()))
}

fn cookie(name: &str, place: &Place, check: &mut Check<'_>) -> Option<FieldName> {
    if !is_token(name) {
        check
            .error(format!("`{name}` is no cookie name"), place)
            .hint("letters, digits and !#$%&'*+-.^_`|~ (RFC 6265 §4.1.1)");
        return None;
    }
    Some(FieldName::Cookie(name.into()))
}

fn test(
    name: &str,
    at: &At<WordOr<ValueWord, ValueText>>,
    check: &mut Check<'_>,
) -> Option<ValueTest> {
    let table = match &at.value {
        WordOr::Word(ValueWord(text)) => return Some(ValueTest::Is(text.as_str().into())),
        WordOr::Table(table) => table,
    };
    match (&table.regex, &table.present) {
        (Some(at), None) => {
            let build = |text: &str| RegexBuilder::new(text).size_limit(d::MAX_REGEX).build();
            whole_regex(at, "value", build, check).map(ValueTest::Matches)
        }
        (None, Some(at)) if at.value => Some(ValueTest::Present),
        (None, Some(_)) => Some(ValueTest::Absent),
        (None, None) if check.is_broken(&at.span) => None,
        (None, None) => {
            check
                .error(format!("nothing is asked of `{name}`"), &at.place())
                .hint(ValueWord::FORMS);
            None
        }
        (Some(_), Some(present)) => {
            check
                .error("one of `regex` and `present` is enough", &present.place())
                .hint("what matches is there");
            None
        }
    }
}
