//! What binds a visitor or is hashed, and which keys that leaves without a meaning.

use http::HeaderName;

use super::Object;
use super::check::{Check, is_token};
use crate::config::defaults as d;
use crate::config::model::{By, HashOn, Place};
use crate::config::text::{At, OnDownWord, PolicyWord, PoolText, StickyText, WordOr};

const FORMS: &str = "one of: \"cookie\", \"header:NAME\", \"query:NAME\", \"app_cookie:NAME\", \
                     \"source\", \"learn:header:NAME\", \"learn:cookie:NAME\"";
const HASH_FORMS: &str = "one of: \"source\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\", \
                          \"path\"";

const RATE_FORMS: &str = "one of: \"client_ip\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\"";
const SOURCE: &str = "for the client's address write \"source\"";

/// What a name is wanted for, in the words of mistakes.
struct Purpose {
    /// What a header of the proxy's own cannot do.
    cannot: &'static str,
    /// Who asks for the header of cookies.
    cookie: &'static str,
    /// Who asks for another header of the proxy's own.
    example: &'static str,
    /// Who asks for one of our cookies.
    ours: &'static str,
    /// Who asks for a field that tells addresses.
    client: &'static str,
}

const BIND: Purpose = Purpose {
    cannot: "bind a visitor",
    cookie: "for a cookie write \"app_cookie:NAME\" or \"learn:cookie:NAME\"",
    example: "name one that tells visitors apart, as \"x-user\"",
    ours: "to bind by them write by = \"cookie\"",
    client: SOURCE,
};
const HASH: Purpose = Purpose {
    cannot: "be hashed",
    cookie: "for a cookie write \"cookie:NAME\"",
    example: "name one that tells requests apart, as \"x-tenant\"",
    ours: "to keep visitors on their backend write sticky.by = \"cookie\"",
    client: SOURCE,
};

const RATE: Purpose = Purpose {
    cannot: "tell clients apart",
    cookie: "for a cookie write \"cookie:NAME\"",
    example: "name one that tells clients apart, as \"x-api-key\"",
    ours: "everybody gets a new one for the asking: write by = \"client_ip\"",
    client: "for the client's address write \"client_ip\"",
};

/// Cookies of ours: a backend never sees them, and so cannot have made them.
const OURS: [&str; 3] = ["ostler-", "__Host-ostler-", "__Secure-ostler-"];
/// Headers that the proxy writes, or that end at it.
const OWNED: [&str; 17] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
];

/// What else the proxy tells of a client.
const TOLD: [&str; 8] = [
    "client-cert",
    "client-cert-chain",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-uri",
];

/// What `by` says; none where it cannot be read.
pub(super) fn by(text: &StickyText, check: &mut Check<'_>) -> Option<By> {
    let Some(at) = &text.by else { return Some(By::Cookie) };
    let named = |kind: &str| at.value.strip_prefix(kind);
    match at.value.as_str() {
        "cookie" => return Some(By::Cookie),
        "source" => return Some(source(text, check)),
        _ => {}
    }
    if let Some(name) = named("header:") {
        return header(name, at, &BIND, check).map(By::Header);
    }
    if let Some(name) = named("learn:header:") {
        return header(name, at, &BIND, check).map(By::LearnHeader);
    }
    if let Some(name) = named("app_cookie:") {
        return cookie(name, at, &BIND, check).map(By::AppCookie);
    }
    if let Some(name) = named("learn:cookie:") {
        return cookie(name, at, &BIND, check).map(By::LearnCookie);
    }
    if let Some(name) = named("query:") {
        return query(name, at, check).map(By::Query);
    }
    check.error(format!("unknown value \"{}\"", at.value), &at.place()).hint(FORMS);
    None
}

/// What `rate_limit.by` says; the client's address where it cannot be read.
pub(super) fn rate_by(at: Option<&At<String>>, check: &mut Check<'_>) -> HashOn {
    let Some(at) = at else { return HashOn::Source };
    let named = |kind: &str| at.value.strip_prefix(kind);
    let read = if let Some(name) = named("header:") {
        header(name, at, &RATE, check).map(HashOn::Header)
    } else if let Some(name) = named("cookie:") {
        cookie(name, at, &RATE, check).map(HashOn::Cookie)
    } else if let Some(name) = named("query:") {
        query(name, at, check).map(HashOn::Query)
    } else {
        if at.value != "client_ip" {
            check.error(format!("unknown value \"{}\"", at.value), &at.place()).hint(RATE_FORMS);
        }
        None
    };
    read.unwrap_or(HashOn::Source)
}

/// What `hash_on` says; the client's address where it cannot be read.
pub(super) fn hash_on(object: &Object<PoolText>, check: &mut Check<'_>) -> HashOn {
    let Some(at) = &object.text.hash_on else { return HashOn::Source };
    let policy = object.text.policy.as_ref();
    if policy.is_none_or(|at| at.value != PolicyWord::Hash) && !object.broken {
        check
            .error("hash_on: only with policy = \"hash\"", &at.place())
            .also(&policy.map(At::place).unwrap_or_default(), "backends are picked by this")
            .hint("leave it out, or write policy = \"hash\"");
    }
    let named = |kind: &str| at.value.strip_prefix(kind);
    let read = if let Some(name) = named("header:") {
        header(name, at, &HASH, check).map(HashOn::Header)
    } else if let Some(name) = named("cookie:") {
        cookie(name, at, &HASH, check).map(HashOn::Cookie)
    } else if let Some(name) = named("query:") {
        query(name, at, check).map(HashOn::Query)
    } else {
        match at.value.as_str() {
            "source" => {}
            "path" => return HashOn::Path,
            other => {
                check.error(format!("unknown value \"{other}\""), &at.place()).hint(HASH_FORMS);
            }
        }
        None
    };
    read.unwrap_or(HashOn::Source)
}

fn source(text: &StickyText, check: &mut Check<'_>) -> By {
    let prefix = &text.source_prefix;
    By::Source {
        ipv4: check.number("ipv4", prefix.ipv4.as_ref(), 1..=32, d::SOURCE_IPV4),
        ipv6: check.number("ipv6", prefix.ipv6.as_ref(), 1..=128, d::SOURCE_IPV6),
    }
}

fn header(
    name: &str,
    at: &At<String>,
    purpose: &Purpose,
    check: &mut Check<'_>,
) -> Option<HeaderName> {
    let Ok(read) = HeaderName::from_bytes(name.as_bytes()) else {
        check
            .error(format!("`{name}` is no name of a header"), &at.place())
            .hint("letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 §5.1)");
        return None;
    };
    let name = read.as_str();
    let hint = match name {
        "cookie" | "set-cookie" => purpose.cookie,
        "x-real-ip" | "forwarded" => purpose.client,
        _ if name.starts_with("x-forwarded-") => purpose.client,
        _ if OWNED.contains(&name) => purpose.example,
        _ => return Some(read),
    };
    check
        .error(
            format!("`{name}` cannot {}: Ostler writes it itself, or it ends here", purpose.cannot),
            &at.place(),
        )
        .hint(hint);
    None
}

/// A field that is to tell a backend who asks. What else a stranger's `X-Forwarded-*` say is not
/// theirs to say either, and so is free.
pub(super) fn told(at: &At<String>, check: &mut Check<'_>) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(at.value.as_bytes()) else {
        check
            .error(format!("`{}` is no name of a header", at.value), &at.place())
            .hint("letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 §5.1)");
        return None;
    };
    // In any spelling: some backends read `x_request_id` as `x-request-id`.
    let text = name.as_str().replace('_', "-");
    let written = matches!(&*text, "cookie" | "set-cookie") || OWNED.contains(&&*text);
    if written || TOLD.contains(&&*text) {
        check
            .error(format!("`{name}` cannot tell who asks: it says something else"), &at.place())
            .hint("name one that the backend reads, as \"remote-user\"");
        return None;
    }
    Some(name)
}

/// A field of the client that a server is to be told which is asked about it.
pub(super) fn passed_on(at: &At<String>, check: &mut Check<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(at.value.as_bytes());
    match name {
        Ok(name) if !OWNED.contains(&name.as_str()) => return Some(name),
        Ok(name) => check
            .error(format!("`{name}` cannot be passed on"), &at.place())
            .hint("Ostler writes it itself, or it ends here: leave it out"),
        Err(_) => check
            .error(format!("`{}` is no name of a header", at.value), &at.place())
            .hint("letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 §5.1)"),
    };
    None
}

fn cookie(
    name: &str,
    at: &At<String>,
    purpose: &Purpose,
    check: &mut Check<'_>,
) -> Option<Box<str>> {
    if !is_token(name) {
        check
            .error(format!("`{name}` is no cookie name"), &at.place())
            .hint("letters, digits and !#$%&'*+-.^_`|~ (RFC 6265 §4.1.1)");
        return None;
    }
    if OURS.iter().any(|prefix| name.starts_with(prefix)) {
        check
            .error(format!("`{name}` is a name of our own cookies"), &at.place())
            .hint(purpose.ours);
        return None;
    }
    Some(name.into())
}

fn query(name: &str, at: &At<String>, check: &mut Check<'_>) -> Option<Box<str>> {
    let wrong = |c: char| c.is_control() || matches!(c, '&' | '=' | '#');
    if name.is_empty() || name.contains(wrong) {
        check
            .error(format!("`{name}` is no name of a query parameter"), &at.place())
            .hint("as it stands in the URL, without `&`, `=` and `#`");
        return None;
    }
    Some(name.into())
}

/// Keys that mean nothing where visitors are bound by this.
pub(super) fn meaningless(text: &StickyText, by: &By, check: &mut Check<'_>) {
    let because = text.by.as_ref().map(At::place).unwrap_or_default();
    if !matches!(by, By::Source { .. }) {
        let prefix = &text.source_prefix;
        let bits = [("ipv4", &prefix.ipv4), ("ipv6", &prefix.ipv6)];
        for (key, at) in bits.into_iter().filter_map(|(key, at)| Some((key, at.as_ref()?))) {
            check
                .error(format!("source_prefix.{key}: only with by = \"source\""), &at.place())
                .also(&because, "visitors are bound by this")
                .hint("leave it out, or write by = \"source\"");
        }
    }
    if *by == By::Cookie {
        return;
    }
    for (key, place) in of_cookie(text) {
        check
            .error(format!("{key}: only with by = \"cookie\""), &place)
            .also(&because, "visitors are bound by this")
            .hint("leave it out, or bind by our own cookie");
    }
    if let Some(at) = text.on_down.as_ref().filter(|at| at.value == OnDownWord::ReturnHome) {
        check
            .error("on_down = \"return_home\": only with by = \"cookie\"", &at.place())
            .also(&because, "visitors are bound by this")
            .hint("our own cookie alone knows a visitor's home: use \"rebind\" or \"strict\"");
    }
}

/// Keys of our own cookie that are set.
fn of_cookie(text: &StickyText) -> impl Iterator<Item = (&'static str, Place)> {
    fn set<T>(key: &'static str, at: Option<&At<T>>) -> Option<(&'static str, Place)> {
        at.map(|at| (key, at.place()))
    }
    let moves = text.rebalance.as_ref().filter(|at| matches!(at.value, WordOr::Table(_)));
    [
        set("scope", text.scope.as_ref()),
        set("cookie", text.cookie.as_ref()),
        set("cookie_hash", text.cookie_hash.as_ref()),
        set("path", text.path.as_ref()),
        set("domain", text.domain.as_ref()),
        set("same_site", text.same_site.as_ref()),
        set("secure", text.secure.as_ref()),
        set("http_only", text.http_only.as_ref()),
        set("partitioned", text.partitioned.as_ref()),
        set("max_age", text.max_age.as_ref()),
        set("lifetime", text.lifetime.as_ref()),
        set("home_stable", text.home_stable.as_ref()),
        set("on_cacheable", text.on_cacheable.as_ref()),
        set("pass", text.pass.as_ref()),
        set("keys", text.keys.as_ref()),
        set("rebalance", moves),
    ]
    .into_iter()
    .flatten()
}
