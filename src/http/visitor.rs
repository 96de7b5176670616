//! Who asks: the session that a request brings, and what a backend's answer says about one.

use http::Uri;
use http::header::{COOKIE, SET_COOKIE};

use crate::net::fields::Fields;
use crate::net::message::RequestHead;
use crate::snapshot::HashOn;
use crate::snapshot::choice::Visitor;
use crate::sticky::{By, Presented, Stickiness, cookie, prefix_hash, query_value, value_hash};
use crate::telemetry::counters::ClientProtocol;

use super::forward;
use super::header::forwarded::Client;
use super::header::seen::Seen;
use super::local;
use super::peer::Peer;
use super::recent;

/// Reads the session, and takes our cookies out of the backend's sight. `now`: Unix seconds.
/// `alone`: the connection carries one client's requests only.
pub(super) fn read(
    head: &mut RequestHead,
    seen: Seen,
    sticky: Option<&Stickiness>,
    peer: &Peer,
    client: Client,
    (now, alone): (u32, bool),
) -> Visitor {
    let plain = head.method == http::Method::GET && !seen.any(Seen::CONTENT_LENGTH);
    let mut visitor = Visitor {
        presented: Presented::None,
        join: None,
        fresh: local::random(),
        now,
        plain,
        desperate: false,
        key: None,
        spill: false,
        called: false,
        evicted: None,
    };
    let cookies = seen.any(Seen::COOKIE);
    let Some(sticky) = sticky else {
        if cookies {
            forward::hide_cookies(&mut head.headers, None);
        }
        return visitor;
    };
    if *sticky.by() == By::Cookie {
        if cookies && let Some(cookie) = head.headers.get(COOKIE) {
            let field = cookie.as_bytes();
            let (presented, alone) = recent::tokens(|recent| {
                let memory = &mut (&mut *peer.memo(), recent);
                sticky.read_field(field, client.https, now, memory)
            });
            visitor.presented = presented;
            if alone && !sticky.pass() {
                head.headers.remove(COOKIE);
                return visitor;
            }
        }
        if visitor.presented == Presented::None && peer.protocol == ClientProtocol::Http2 && alone {
            visitor.join = peer.join(sticky.domain());
        }
    } else if let Some(value) = brought(head, sticky.by(), client) {
        visitor.presented = Presented::Value(value);
    }
    if cookies && !sticky.pass() {
        forward::hide_cookies(&mut head.headers, Some(sticky));
    }
    visitor
}

/// What a pool that hashes is asked by, as a number.
pub(super) fn key(headers: &Fields, uri: &Uri, on: &HashOn, client: Client) -> Option<u64> {
    match on {
        HashOn::Source => Some(prefix_hash(client.address, 32, 128)),
        HashOn::Header(name) => headers.get(name).and_then(|value| value_hash(value.as_bytes())),
        HashOn::Query(name) => query_value(uri.query()?, name).and_then(value_hash),
        HashOn::Cookie(name) => {
            let field = headers.get(COOKIE)?.as_bytes();
            cookie::values(field, name.as_bytes()).find_map(value_hash)
        }
        HashOn::Path => value_hash(uri.path().as_bytes()),
    }
}

/// The value that stands for the client's session, as a number.
fn brought(head: &RequestHead, by: &By, client: Client) -> Option<u64> {
    match by {
        By::Cookie => None,
        By::Header(name) | By::LearnHeader(name) => {
            head.headers.get(name).and_then(|value| value_hash(value.as_bytes()))
        }
        By::Query(name) => query_value(head.uri.query()?, name).and_then(value_hash),
        By::AppCookie(name) | By::LearnCookie(name) => {
            let field = head.headers.get(COOKIE)?.as_bytes();
            cookie::values(field, name.as_bytes()).find_map(value_hash)
        }
        By::Source { ipv4, ipv6 } => Some(prefix_hash(client.address, *ipv4, *ipv6)),
    }
}

/// The value that a backend has made for its client's session, as a number.
pub(super) fn made(headers: &Fields, by: &By) -> Option<u64> {
    match by {
        By::LearnHeader(name) => headers.get(name).and_then(|value| value_hash(value.as_bytes())),
        By::LearnCookie(name) => {
            let fields = headers.get_all(SET_COOKIE);
            fields
                .filter_map(|field| set_to(field.as_bytes(), name.as_bytes()))
                .find_map(value_hash)
        }
        By::Cookie | By::Header(_) | By::Query(_) | By::AppCookie(_) | By::Source { .. } => None,
    }
}

/// The value that a `Set-Cookie` field gives to the cookie of this name (RFC 6265 §5.2).
fn set_to<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let pair = field.split(|byte| *byte == b';').next()?;
    let equals = memchr::memchr(b'=', pair)?;
    let (key, value) = pair.split_at_checked(equals)?;
    (key.trim_ascii() == name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_set_cookie_field_is_found_by_its_name() {
        assert_eq!(
            set_to(b"JSESSIONID=abc.n1; Path=/; HttpOnly", b"JSESSIONID"),
            Some(&b"abc.n1"[..])
        );
        assert_eq!(set_to(b" JSESSIONID = abc ", b"JSESSIONID"), Some(&b"abc"[..]));
        assert_eq!(set_to(b"other=1; JSESSIONID=2", b"JSESSIONID"), None);
        assert_eq!(set_to(b"JSESSIONID", b"JSESSIONID"), None);
    }

    #[test]
    fn what_the_backend_makes_and_what_the_client_brings_are_one_number() {
        let by = By::LearnCookie("JSESSIONID".into());
        let fields = [("set-cookie", "a=1"), ("set-cookie", "JSESSIONID=x=y; Path=/")];
        let made = made(&Fields::of(&fields), &by);
        let headers = Fields::of(&[("cookie", "a=1; JSESSIONID=x=y")]);
        let head = RequestHead { headers, ..RequestHead::default() };
        let client = Client { address: [127, 0, 0, 1].into(), https: false };
        assert!(made.is_some());
        assert_eq!(brought(&head, &by, client), made);
    }
}
