//! A WebSocket's beginning over HTTP/2 (RFC 8441), as the handshake of HTTP/1.1 it stands for.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, StatusCode};
use hyper::ext::Protocol;

use crate::net::message::{RequestHead, Response};

use super::failure::Failure;

/// RFC 6455 §1.3: what the accepted key is made of, beside the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a backend says when it has understood a handshake. The client of HTTP/2 has no key that it
/// could verify this by, so we do.
#[derive(Debug, Clone)]
pub(super) struct Accept(HeaderValue);

impl Accept {
    fn of(key: &[u8]) -> Self {
        Self(encoded(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat())))
    }

    /// Whether an answer's head says so.
    pub(super) fn is_said<B>(&self, response: &Response<B>) -> bool {
        response.headers().get(SEC_WEBSOCKET_ACCEPT) == Some(&self.0)
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> HeaderValue {
    // Base64 is a field's value always.
    HeaderValue::try_from(STANDARD.encode(bytes)).unwrap_or(HeaderValue::from_static(""))
}

/// Makes a GET with `Upgrade: websocket` of a CONNECT that asks for it (RFC 8441 §5): routes, their
/// conditions and the log know one kind of WebSocket. True where it was one; every other CONNECT
/// stays as it is, to be refused. `random`: for the key, which is no secret.
pub(super) fn translate(head: &mut RequestHead, mut random: impl FnMut() -> u64) -> bool {
    if head.method != Method::CONNECT {
        return false;
    }
    let protocol = head.extensions.get::<Protocol>();
    if !protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket")) {
        return false;
    }
    head.method = Method::GET;
    let key = encoded([random().to_le_bytes(), random().to_le_bytes()].concat());
    head.extensions.insert(Accept::of(key.as_bytes()));
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    head.headers.insert(SEC_WEBSOCKET_KEY, key);
    true
}

/// Whether a CONNECT names a protocol (RFC 8441 §4).
pub(super) fn is_extended(head: &RequestHead) -> bool {
    head.extensions.get::<Protocol>().is_some()
}

/// To a client of HTTP/2 every success is a tunnel (RFC 9113 §8.5), so an answer of ours must not
/// look like one.
///
/// # Errors
/// Where it would.
pub(super) fn checked<B>(response: Response<B>) -> Result<Response<B>, Failure> {
    if response.status().is_success() {
        return Err(Failure::not_supported(StatusCode::NOT_IMPLEMENTED, "websocket"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(protocol: Option<&'static str>) -> RequestHead {
        let mut request = http::Request::connect("https://a/chat").body(()).unwrap();
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(Protocol::from_static(protocol));
        }
        request.into_parts().0.into()
    }

    #[test]
    fn the_key_of_the_standards_example_is_accepted_as_it_says() {
        let accept = Accept::of(b"dGhlIHNhbXBsZSBub25jZQ==");
        let mut response = Response::new(());
        assert!(!accept.is_said(&response));
        let said = HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, said);
        assert!(accept.is_said(&response), "RFC 6455 §1.3");
    }

    #[test]
    fn a_websocket_becomes_the_handshake_it_stands_for_and_nothing_else_does() {
        let mut head = connect(Some("websocket"));
        // A key that a client has no reason to send is not ours to answer for.
        head.headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("theirs"));
        assert!(translate(&mut head, || 7));
        assert_eq!(head.method, Method::GET);
        assert_eq!(head.headers[UPGRADE], "websocket");
        let keys: Vec<_> = head.headers.get_all(SEC_WEBSOCKET_KEY).collect();
        assert_eq!((keys.len(), keys[0].len()), (1, 24));
        for other in [None, Some("connect-udp"), Some("")] {
            let mut head = connect(other);
            assert!(!translate(&mut head, || 7), "{other:?}");
            assert_eq!((&head.method, is_extended(&head)), (&Method::CONNECT, other.is_some()));
            assert!(head.headers.is_empty());
        }
    }

    #[test]
    fn no_answer_but_a_tunnel_is_a_success() {
        let with = |status: u16| {
            let mut response = Response::new(());
            response.head.status = StatusCode::from_u16(status).unwrap();
            response
        };
        assert_eq!(checked(with(403)).unwrap().status(), 403);
        assert_eq!(checked(with(204)).unwrap_err().status(), StatusCode::NOT_IMPLEMENTED);
    }
}
