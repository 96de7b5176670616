//! A request as HTTP/1.1 has it on the wire (pure).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Uri};

use crate::net::fields::Fields;
use crate::net::outgoing::{Framing, announced, field, length};

/// Writes a head. `exact`: bytes of its body, where that is known; none without one.
///
/// Its framing is told by the body at hand: nothing that the fields say of it is written, but that
/// there is none.
pub(super) fn head(
    to: &mut Vec<u8>,
    (method, uri): (&Method, &Uri),
    headers: &Fields,
    exact: Option<u64>,
) -> Framing {
    to.extend_from_slice(method.as_str().as_bytes());
    to.push(b' ');
    match uri.path_and_query() {
        Some(path) => to.extend_from_slice(path.as_str().as_bytes()),
        None => to.push(b'/'),
    }
    to.extend_from_slice(b" HTTP/1.1\r\n");
    let mut says_length = false;
    for (name, value) in headers {
        if name == CONTENT_LENGTH {
            says_length = true;
        } else if name != TRANSFER_ENCODING {
            field(to, name, value);
        }
    }
    let framing = match exact {
        None => {
            to.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked(announced(headers))
        }
        Some(bytes) => {
            if bytes > 0 || says_length {
                length(to, bytes);
            }
            Framing::Length(bytes)
        }
    };
    to.extend_from_slice(b"\r\n");
    framing
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn written(fields: &[(&'static str, &'static str)], exact: Option<u64>) -> (String, Framing) {
        let headers = Fields::of(fields);
        let mut to = Vec::new();
        let uri = Uri::from_static("/a?b");
        let framing = head(&mut to, (&Method::PUT, &uri), &headers, exact);
        (String::from_utf8(to).unwrap(), framing)
    }

    #[test]
    fn a_head_is_framed_by_its_body() {
        let (text, framing) = written(&[("host", "x"), ("a", "b")], Some(0));
        assert_eq!(text, "PUT /a?b HTTP/1.1\r\nhost: x\r\na: b\r\n\r\n");
        assert_eq!(framing, Framing::Length(0));
        let (text, framing) = written(&[("content-length", "5")], Some(5));
        assert_eq!(text, "PUT /a?b HTTP/1.1\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(framing, Framing::Length(5));
        let (text, _) = written(&[], Some(7));
        assert_eq!(text, "PUT /a?b HTTP/1.1\r\ncontent-length: 7\r\n\r\n");
        let (text, _) = written(&[("content-length", "0")], Some(0));
        assert_eq!(text, "PUT /a?b HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
        let (text, framing) = written(&[("trailer", "X-Sum, b\"d, host")], None);
        let rest = "trailer: X-Sum, b\"d, host\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(text, format!("PUT /a?b HTTP/1.1\r\n{rest}"));
        let names = ["host", "x-sum"].map(HeaderName::from_static);
        assert_eq!(framing, Framing::Chunked(Some(Box::new(names.into()))));
    }

    #[test]
    fn fields_say_nothing_else_about_the_framing() {
        let lies = [
            ("content-length", "5"),
            ("content-length", "7"),
            ("transfer-encoding", "gzip, chunked"),
        ];
        for (exact, told) in [
            (Some(0), "content-length: 0"),
            (Some(3), "content-length: 3"),
            (None, "transfer-encoding: chunked"),
        ] {
            let (text, _) = written(&lies, exact);
            assert_eq!(text, format!("PUT /a?b HTTP/1.1\r\n{told}\r\n\r\n"));
        }
    }
}
