//! A request's head as HTTP/2 has it (RFC 9113 §8.3.1).

use http::Uri;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, TE, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::net::fields::Fields;
use crate::net::message::Request;

/// Makes it so: `Host` becomes `:authority`, and what HTTP/1.1 needs for framing goes. `own`: the
/// backend's configured host, for a request that names none.
pub fn write<B>(request: &mut Request<B>, https: bool, own: &str) {
    let host = request.head.headers.remove(HOST);
    let authority = host
        .and_then(|host| {
            Authority::from_maybe_shared(bytes::Bytes::copy_from_slice(host.as_bytes())).ok()
        })
        .or_else(|| own.parse().ok());
    let mut parts = std::mem::take(&mut request.head.uri).into_parts();
    parts.scheme = Some(if https { Scheme::HTTPS } else { Scheme::HTTP });
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    parts.authority = authority;
    request.head.uri = Uri::from_parts(parts).unwrap_or_default();
    request.head.version = http::Version::HTTP_2;
    let headers = &mut request.head.headers;
    headers.remove(TRANSFER_ENCODING);
    if is_grpc(headers) {
        // gRPC servers take this for a sign that nothing on the way loses trailers.
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether a message says that it is gRPC's.
pub fn is_grpc(headers: &Fields) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::message::RequestHead;

    fn written(target: &str, host: Option<&'static str>) -> Request<()> {
        let mut request = Request { head: RequestHead::default(), body: () };
        request.head.uri = target.parse().unwrap();
        if let Some(host) = host {
            request.head.headers.insert(HOST, HeaderValue::from_static(host));
        }
        request.head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        write(&mut request, true, "10.0.0.1");
        request
    }

    #[test]
    fn host_becomes_authority_and_the_target_stays_as_it_came() {
        let request = written("/a%2Fb/../c?d=%20", Some("shop.example:8443"));
        assert_eq!(request.head.uri, "https://shop.example:8443/a%2Fb/../c?d=%20");
        assert!(request.head.headers.is_empty());
    }

    #[test]
    fn a_request_without_a_host_is_for_the_backends_own() {
        assert_eq!(written("/", None).head.uri, "https://10.0.0.1/");
        assert_eq!(written("/", Some("")).head.uri, "https://10.0.0.1/");
    }

    #[test]
    fn the_asterisk_stays() {
        let request = written("*", Some("a"));
        assert_eq!(request.head.uri.path_and_query().unwrap(), "*");
        assert_eq!(request.head.uri.authority().unwrap(), "a");
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        let with = |value: &'static str| {
            is_grpc(&Fields::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]))
        };
        assert!(with("application/grpc"));
        assert!(with("application/grpc+proto"));
        assert!(!with("application/grpc-web+proto"), "which is HTTP/1.1's");
        assert!(!with("application/json"));
        assert!(!is_grpc(&Fields::new()));
    }
}
