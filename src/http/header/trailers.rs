//! Trailer fields of a request: what we say of it in the head, nobody says behind the body.

use http::header::{HeaderMap, HeaderName};

use super::{client_cert, forwarded};

/// Takes out what tells who the client is, and what the request is called: a backend that takes
/// trailers for fields of the head (RFC 9110 §6.5.1 forbids it) would believe them as ours.
pub fn strip(trailers: &mut HeaderMap) {
    let tells = |name: &&HeaderName| {
        forwarded::tells(name)
            || client_cert::tells(name)
            || forwarded::is_request_id(name)
            || matches!(name.as_str(), "traceparent" | "tracestate")
    };
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
        let told = ["client-cert", "x_forwarded_for", "forwarded", "x_request_id", "traceparent"];
        for name in told.into_iter().chain(["grpc-status", "x-checksum"]) {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        strip(&mut trailers);
        assert!(trailers.contains_key("grpc-status") && trailers.contains_key("x-checksum"));
        assert_eq!(trailers.len(), 2);
    }
}
