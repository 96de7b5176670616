//! Trailer fields of a request: what we say of a client in the head, nobody says behind the body.

use http::header::{HeaderMap, HeaderName};

use super::{client_cert, forwarded};

/// Takes out what tells who the client is: a backend that takes trailers for fields of the head
/// (RFC 9110 §6.5.1 forbids it) would believe them as ours.
pub fn strip(trailers: &mut HeaderMap) {
    let tells = |name: &&HeaderName| forwarded::tells(name) || client_cert::tells(name);
    let names: Vec<HeaderName> = trailers.keys().filter(tells).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn nobody_says_behind_a_body_who_the_client_is() {
        let mut trailers = HeaderMap::new();
        for name in ["client-cert", "x_forwarded_for", "forwarded", "grpc-status", "x-checksum"] {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        strip(&mut trailers);
        assert!(trailers.contains_key("grpc-status") && trailers.contains_key("x-checksum"));
        assert_eq!(trailers.len(), 2);
    }
}
