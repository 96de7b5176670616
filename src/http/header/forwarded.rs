//! What the backend is told about the client: rebuilt for strangers, continued for the trusted.

use std::net::IpAddr;

use http::header::{HeaderName, HeaderValue};

use crate::net::fields::Fields;
use crate::net::trust::TrustSet;

use super::seen::Seen;

pub(crate) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who the client is and how it came, as far as those in between are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Address of the first one that is not a trusted proxy.
    pub address: IpAddr,
    /// Whether it came by https.
    pub https: bool,
}

/// Walks `X-Forwarded-For` from right to left over trusted addresses. Garbage ends the walk.
pub fn client(headers: &Fields, peer: IpAddr, https: bool, trusted: &TrustSet) -> Client {
    if !trusted.contains(peer) {
        return Client { address: peer, https };
    }
    let mut address = peer;
    let fields: Vec<&HeaderValue> = headers.get_all(FOR).collect();
    'walk: for field in fields.into_iter().rev() {
        let Ok(text) = field.to_str() else { break };
        for hop in text.rsplit(',') {
            let Some(hop) = parse(hop.trim()) else { break 'walk };
            address = hop;
            if !trusted.contains(hop) {
                break 'walk;
            }
        }
    }
    let proto = headers.get(PROTO).map(HeaderValue::as_bytes);
    let https = match proto {
        Some(proto) if proto.eq_ignore_ascii_case(b"https") => true,
        Some(proto) if proto.eq_ignore_ascii_case(b"http") => false,
        _ => https,
    };
    Client { address, https }
}

/// An address, with or without port and brackets.
fn parse(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .ok()
        .or_else(|| hop.parse().map(|with_port: std::net::SocketAddr| with_port.ip()).ok())
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// Writes `X-Forwarded-*` for the backend. From strangers nothing is kept, in any spelling. `seen`:
/// at least what is there of them.
pub fn write(
    headers: &mut Fields,
    peer: &HeaderValue,
    https: bool,
    host: Option<&HeaderValue>,
    (believed, seen): (bool, Seen),
) {
    if believed {
        append(headers, peer);
        if !headers.contains_key(PROTO) {
            headers.insert(PROTO, scheme(https));
        }
        if let Some(host) = host
            && !headers.contains_key(HOST)
        {
            headers.insert(HOST, host.clone());
        }
        return;
    }
    if seen.any(Seen::FORWARDED) {
        forget(headers);
    }
    debug_assert!(![FOR, PROTO, HOST].iter().any(|name| headers.contains_key(name)));
    headers.append(FOR, peer.clone());
    headers.append(PROTO, scheme(https));
    if let Some(host) = host {
        headers.append(HOST, host.clone());
    }
}

fn append(headers: &mut Fields, peer: &HeaderValue) {
    let mut chain: Vec<u8> = Vec::new();
    for value in headers.get_all(FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.as_bytes());
    let value = HeaderValue::from_bytes(&chain).unwrap_or_else(|_| peer.clone());
    headers.insert(FOR, value);
}

/// Takes out what a stranger says of itself: any `X-Forwarded-*`, in the spelling with underscores
/// too, which some backends read as the same field.
fn forget(headers: &mut Fields) {
    headers.retain(|name| !tells(name));
}

pub(in crate::http) fn tells(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let begins = |text: &str| name.get(..text.len()).is_some_and(|start| like(text, start));
    let is = |text: &str| name.len() == text.len() && like(text, name);
    matches!(name.first(), Some(b'x' | b'f'))
        && (begins("x-forwarded-") || is("x-real-ip") || is("forwarded"))
}

/// Whether it is `X-Request-Id`, in any spelling that some backends read so.
pub(in crate::http) fn is_request_id(name: &HeaderName) -> bool {
    const NAME: &str = "x-request-id";
    name.as_str().len() == NAME.len() && like(NAME, name.as_str().as_bytes())
}

/// Whether one begins as the other does, where `_` may stand for `-`.
pub(super) fn like(text: &str, other: &[u8]) -> bool {
    text.bytes().zip(other).all(|(one, other)| one == *other || (one == b'-' && *other == b'_'))
}

fn scheme(https: bool) -> HeaderValue {
    HeaderValue::from_static(if https { "https" } else { "http" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(network: &str) -> TrustSet {
        TrustSet::new(&[network.parse().unwrap()])
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let mut head = Fields::of(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-user", "root"),
            ("x_forwarded_for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ]);
        let peer = "9.9.9.9".parse().unwrap();
        let found = client(&head, peer, false, &trust("10.0.0.0/8"));
        assert_eq!(found, Client { address: peer, https: false });
        let seen = Seen::of(&head);
        write(&mut head, &HeaderValue::from_static("9.9.9.9"), false, None, (false, seen));
        let left: Vec<String> = head
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.contains(&"x-forwarded-for=9.9.9.9".to_owned()));
        assert!(left.contains(&"x-forwarded-proto=http".to_owned()));
    }

    #[test]
    fn a_chain_is_walked_from_the_right_over_the_trusted() {
        let trusted = trust("10.0.0.0/8");
        for (chain, expected) in [
            ("6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
            ("1.2.3.4", "1.2.3.4"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("1.2.3.4, garbage, 10.0.0.2", "10.0.0.2"),
            ("[2001:db8::1]:443, 10.0.0.2", "2001:db8::1"),
        ] {
            let head = Fields::from_iter([(FOR, HeaderValue::from_static(chain))]);
            let found = client(&head, "10.0.0.1".parse().unwrap(), false, &trusted);
            assert_eq!(found.address, expected.parse::<IpAddr>().unwrap(), "{chain}");
        }
    }
}
