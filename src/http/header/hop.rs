//! Hop-by-hop fields (RFC 9110 §7.6.1): they never travel.

use std::collections::HashSet;

use http::header::{
    CONNECTION, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE,
};

use crate::net::fields::Fields;

use super::client_cert;
use super::seen::Seen;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Fields that `Connection` cannot take away: a client could otherwise remove what we or the
/// backend rely on.
fn protected(name: &HeaderName) -> bool {
    use http::header as h;
    [
        h::HOST,
        h::CONTENT_LENGTH,
        h::CONTENT_TYPE,
        h::COOKIE,
        h::SET_COOKIE,
        h::AUTHORIZATION,
        h::FORWARDED,
        h::VIA,
        h::DATE,
        h::CACHE_CONTROL,
    ]
    .contains(name)
        || name.as_str().starts_with("x-forwarded-")
        || matches!(name.as_str(), "x-real-ip" | "x-request-id" | "traceparent")
        || client_cert::tells(name)
}

/// Whether a list field has this token.
pub fn has_token(headers: &Fields, name: HeaderName, token: &str) -> bool {
    headers.get_all(name).any(|value| tokens(value).any(|one| one.eq_ignore_ascii_case(token)))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|one| !one.is_empty())
}

/// Takes out what is meant for this hop only, and what `Connection` names.
pub fn strip(headers: &mut Fields, seen: Seen) {
    if seen.any(Seen::CONNECTION) {
        // A set: thousands may be named.
        let mut named: HashSet<HeaderName> = HashSet::new();
        // `close` and `keep-alive` are nearly all there ever is.
        let usual = |value: &[u8]| {
            value.eq_ignore_ascii_case(b"close") || value.eq_ignore_ascii_case(b"keep-alive")
        };
        for value in headers.get_all(CONNECTION) {
            if usual(value.as_bytes()) {
                continue;
            }
            for token in tokens(value) {
                if usual(token.as_bytes()) {
                    continue;
                }
                if let Ok(name) = HeaderName::try_from(token)
                    && !protected(&name)
                {
                    named.insert(name);
                }
            }
        }
        headers.retain(|name| *name != CONNECTION && !named.contains(name));
    }
    if seen.any(Seen::HOP) {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
        headers.remove(TRANSFER_ENCODING);
        headers.remove(UPGRADE);
        headers.remove(TE);
        headers.remove(HTTP2_SETTINGS);
        headers.remove(PROXY_AUTHENTICATE);
    }
}

/// Seconds of a `Keep-Alive: timeout=N` field.
pub fn keep_alive_timeout(headers: &Fields) -> Option<u64> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    value.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_names_goes_but_never_what_others_rely_on() {
        let mut headers = Fields::of(&[
            ("connection", "x-hop, Cookie, Host, X-Forwarded-For, close"),
            ("x-hop", "1"),
            ("cookie", "a=b"),
            ("host", "x"),
            ("x-forwarded-for", "1.2.3.4"),
            ("keep-alive", "timeout=5, max=100"),
            ("te", "trailers"),
            ("x-end", "1"),
        ]);
        assert_eq!(keep_alive_timeout(&headers), Some(5));
        let seen = Seen::of(&headers);
        strip(&mut headers, seen);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cookie", "host", "x-end", "x-forwarded-for"]);
    }

    #[test]
    fn of_thousands_that_connection_names_those_that_are_there_go() {
        let named = (0..5000).rev().map(|number| format!("x-{number}")).collect::<Vec<_>>();
        let mut headers = Fields::of(&[("x-0", "1"), ("x-5000", "2"), ("x-77", "3"), ("x-0", "4")]);
        headers.append(CONNECTION, HeaderValue::try_from(named.join(",")).unwrap());
        let seen = Seen::of(&headers);
        strip(&mut headers, seen);
        assert_eq!(headers, Fields::of(&[("x-5000", "2")]));
    }
}
