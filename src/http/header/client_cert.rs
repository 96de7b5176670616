//! What the backend is told of the client's certificate (RFC 9440), by us or by a trusted proxy.

use http::header::{HeaderName, HeaderValue};

use crate::net::fields::Fields;

use super::forwarded::like;
use super::seen::Seen;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// Writes `Client-Cert` for the backend. From strangers nothing is kept, in any spelling (§4);
/// `own` is what they have shown in the handshake, where backends are to be told. A trusted proxy
/// speaks for its clients and not for itself, so what it shows is not told in their place.
pub fn write(headers: &mut Fields, own: Option<&HeaderValue>, (believed, seen): (bool, Seen)) {
    if believed {
        return;
    }
    if seen.any(Seen::CLIENT_CERT) {
        headers.retain(|name| !tells(name));
    }
    if let Some(own) = own {
        headers.insert(CLIENT_CERT, own.clone());
    }
}

/// Also with underscores, which some backends read as the same field.
pub(in crate::http) fn tells(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let is = |text: &str| name.len() == text.len() && like(text, name);
    is("client-cert") || is("client-cert-chain")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: HeaderValue = HeaderValue::from_static(":AAAA:");
    const SPELLINGS: [&str; 4] =
        ["client-cert", "client_cert", "client-cert-chain", "client_cert_chain"];

    fn head() -> Fields {
        let field = |name| (HeaderName::from_static(name), HeaderValue::from_static(":BBBB:"));
        SPELLINGS.into_iter().map(field).collect()
    }

    #[test]
    fn a_strangers_own_words_are_forgotten_and_a_trusted_proxys_kept() {
        for (own, left) in [(None, 0), (Some(&OWN), 1)] {
            let mut headers = head();
            let seen = Seen::of(&headers);
            write(&mut headers, own, (false, seen));
            assert_eq!((headers.len(), headers.get(CLIENT_CERT)), (left, own));
            let mut headers = head();
            write(&mut headers, own, (true, seen));
            assert_eq!(headers, head());
        }
    }

    #[test]
    fn nobody_else_is_meant() {
        for name in ["client-certs", "xclient-cert", "client.cert", "client-cert-chains", "client"]
        {
            assert!(!tells(&HeaderName::from_static(name)), "{name}");
        }
    }
}
