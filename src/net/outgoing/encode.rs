//! The parts of a message as HTTP/1.1 has them on the wire (pure).

use std::collections::HashSet;
use std::io::Write as _;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING,
};

use crate::net::fields::Fields;

/// Names of trailers; none where there are none.
pub(super) type Announced = Option<Box<HashSet<HeaderName>>>;

/// How the body of a message is told from what comes behind it (RFC 9112 §6).
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are to come.
    Length(u64),
    /// Chunks, and trailers of these names behind them.
    Chunked(Announced),
    /// Whatever comes until the connection is closed: an answer's alone.
    Close,
}

/// Writes a field's line.
pub fn field(to: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    to.extend_from_slice(name);
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

/// Writes the line that tells a body's length.
pub fn length(to: &mut Vec<u8>, bytes: u64) {
    to.extend_from_slice(b"content-length: ");
    to.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
    to.extend_from_slice(b"\r\n");
}

/// Names of the trailers that a head announces (RFC 9110 §6.6.2).
pub fn announced(headers: &Fields) -> Announced {
    let lists = headers.get_all(TRAILER).filter_map(|list| list.to_str().ok());
    let names = lists.flat_map(|list| list.split(','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    let names: HashSet<_> = names.collect();
    (!names.is_empty()).then(|| Box::new(names))
}

/// What goes before a chunk's data; a line end goes behind it.
pub(super) fn chunk(to: &mut Vec<u8>, data: &Bytes) {
    // Memory takes whatever is written to it.
    let _ = write!(to, "{:x}\r\n", data.len());
}

/// The last chunk, and the trailers of these that were announced (RFC 9110 §6.5.1) and may be one.
pub(super) fn last_chunk(
    to: &mut Vec<u8>,
    announced: Option<&HashSet<HeaderName>>,
    trailers: Option<&HeaderMap>,
) {
    to.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if announced.is_some_and(|names| names.contains(name)) && !belongs_in_head(name) {
            field(to, name, value);
        }
    }
    to.extend_from_slice(b"\r\n");
}

/// What frames, routes, authenticates or modifies a message cannot come after it.
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

    #[test]
    fn trailers_are_those_that_were_announced_and_frame_nothing() {
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "x-other", "host"] {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        let announced = announced(&Fields::of(&[("trailer", "X-Sum, Host, x-sum"), ("a", "b")]));
        let announced = announced.as_deref();
        let names = HashSet::from(["host", "x-sum"].map(HeaderName::from_static));
        assert_eq!(announced, Some(&names));
        let mut to = Vec::new();
        chunk(&mut to, &Bytes::from_static(&[b'x'; 26]));
        last_chunk(&mut to, announced, Some(&trailers));
        last_chunk(&mut to, announced, None);
        assert_eq!(to, b"1a\r\n0\r\nx-sum: 1\r\n\r\n0\r\n\r\n");
    }
}
