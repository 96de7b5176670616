//! Whether a client may ask once more.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use http::header::{COOKIE, HeaderValue};

use crate::net::message::RequestHead;
use crate::snapshot::{HashOn, RateLimit};
use crate::sticky::{cookie, query_value};

use super::failure::Failure;
use super::header::forwarded::Client;

/// What a bucket belongs to.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Value(&'a [u8]),
    Address(IpAddr),
}

/// Takes a request out of the client's bucket.
///
/// # Errors
/// 429, with the seconds after which there is one again.
pub(super) fn take(limit: &RateLimit, head: &RequestHead, client: Client) -> Result<(), Failure> {
    let taken = limit.limiter.take(key(&limit.by, head, client), Instant::now());
    taken.map_err(|wait| Failure::rate_limited(seconds(wait)))
}

/// Who leaves out what is counted by is counted by address: nobody escapes by saying nothing.
fn key<'a>(by: &HashOn, head: &'a RequestHead, client: Client) -> Key<'a> {
    let value = match by {
        HashOn::Source => None,
        HashOn::Header(name) => head.headers.get(name).map(HeaderValue::as_bytes),
        HashOn::Cookie(name) => head.headers.get(COOKIE).and_then(|field| {
            cookie::values(field.as_bytes(), name.as_bytes()).find(|value| !value.is_empty())
        }),
        HashOn::Query(name) => head.uri.query().and_then(|query| query_value(query, name)),
        HashOn::Path => Some(head.uri.path().as_bytes()),
    };
    match value.filter(|value| !value.is_empty()) {
        Some(value) => Key::Value(value),
        None => Key::Address(network(client.address)),
    }
}

/// Whoever has one IPv6 address has the other 2^64 of its network, too.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        four @ IpAddr::V4(_) => four,
    }
}

fn seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fields::Fields;

    #[test]
    fn who_brings_no_value_is_counted_by_address_and_ipv6_by_network() {
        let client = |text: &str| Client { address: text.parse().unwrap(), https: false };
        let uri = http::Uri::from_static("/?k=1");
        let headers = Fields::of(&[("x-key", "a"), ("cookie", "k=")]);
        let head = RequestHead { uri, headers, ..RequestHead::default() };
        let of = |by: HashOn, address| key(&by, &head, client(address));
        assert_eq!(
            of(HashOn::Header(http::HeaderName::from_static("x-key")), "192.0.2.1"),
            Key::Value(b"a")
        );
        assert_eq!(of(HashOn::Query("k".into()), "192.0.2.1"), Key::Value(b"1"));
        let address = Key::Address("192.0.2.1".parse().unwrap());
        assert_eq!(
            of(HashOn::Header(http::HeaderName::from_static("x-other")), "192.0.2.1"),
            address
        );
        assert_eq!(of(HashOn::Cookie("k".into()), "::ffff:192.0.2.1"), address);
        let network = Key::Address("2001:db8:1:2::".parse().unwrap());
        assert_eq!(of(HashOn::Source, "2001:db8:1:2:3:4:5:6"), network);
        assert_eq!(seconds(Duration::from_millis(1)), "1");
        assert_eq!(seconds(Duration::from_secs(2)), "2");
    }
}
