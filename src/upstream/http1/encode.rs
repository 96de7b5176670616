//! A request as HTTP/1.1 has it on the wire (pure).

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING,
};
use http::{Method, Uri};

/// How the body of a request is told from what comes behind it (RFC 9112 §6).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are to come.
    Length(u64),
    /// Chunks, and trailers of these names behind them.
    Chunked(Vec<HeaderName>),
}

/// Writes a head. `exact`: bytes of its body, where that is known; none without one.
///
/// Its framing is told by the body at hand: nothing that the fields say of it is written, but that
/// there is none.
pub(super) fn head(
    to: &mut Vec<u8>,
    (method, uri): (&Method, &Uri),
    headers: &HeaderMap,
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
            let lists = headers.get_all(TRAILER).iter().filter_map(|list| list.to_str().ok());
            let names = lists.flat_map(|list| list.split(','));
            let names =
                names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
            Framing::Chunked(names.collect())
        }
        Some(length) => {
            if length > 0 || says_length {
                to.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
            }
            Framing::Length(length)
        }
    };
    to.extend_from_slice(b"\r\n");
    framing
}

fn field(to: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    to.reserve(name.len() + value.len() + 4);
    to.extend_from_slice(name);
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

/// What goes before a chunk's data; a line end goes behind it.
pub(super) fn chunk(to: &mut Vec<u8>, data: &Bytes) {
    to.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
}

/// The last chunk, and the trailers of these that were announced (RFC 9110 §6.5.1) and may be one.
pub(super) fn last_chunk(to: &mut Vec<u8>, announced: &[HeaderName], trailers: Option<&HeaderMap>) {
    to.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if announced.contains(name) && !belongs_in_head(name) {
            field(to, name, value);
        }
    }
    to.extend_from_slice(b"\r\n");
}

/// What frames, routes, authenticates or modifies a request cannot come after it.
fn belongs_in_head(name: &HeaderName) -> bool {
    let others = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        HOST,
        MAX_FORWARDS,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ];
    others.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fields: &[(&'static str, &'static str)], exact: Option<u64>) -> (String, Framing) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
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
        let names = ["x-sum", "host"].map(HeaderName::from_static);
        assert_eq!(framing, Framing::Chunked(names.to_vec()));
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

    #[test]
    fn trailers_are_those_that_were_announced_and_frame_nothing() {
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "x-other", "host"] {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        let announced = ["x-sum", "host"].map(HeaderName::from_static);
        let mut to = Vec::new();
        chunk(&mut to, &Bytes::from_static(&[b'x'; 26]));
        last_chunk(&mut to, &announced, Some(&trailers));
        last_chunk(&mut to, &announced, None);
        assert_eq!(to, b"1a\r\n0\r\nx-sum: 1\r\n\r\n0\r\n\r\n");
    }
}
