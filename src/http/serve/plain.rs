//! An answer of ours as bytes, for a connection that hyper was not started for.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Response;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http_body::Body as _;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::http::body::Body;
use crate::net::clock;

/// What the head is likely to need.
const HEAD: usize = 512;

/// All of it as HTTP/1.1 says it (RFC 9112 §4), and that the connection ends. Its exchange ends
/// here, so its body must be ours: nothing of a backend's is awaited.
pub(super) fn bytes(response: Response<Body>) -> Bytes {
    let (head, mut body) = response.into_parts();
    let mut content = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) {
        content.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    let mut text = BytesMut::with_capacity(HEAD + content.len());
    let reason = head.status.canonical_reason().unwrap_or_default();
    put(&mut text, &[b"HTTP/1.1 ", head.status.as_str().as_bytes(), b" ", reason.as_bytes()]);
    for (name, value) in &head.headers {
        put(&mut text, &[name.as_str().as_bytes(), b": ", value.as_bytes()]);
    }
    if !head.headers.contains_key(CONNECTION) {
        put(&mut text, &[b"connection: close"]);
    }
    // An answer to HEAD has one already.
    if !head.headers.contains_key(CONTENT_LENGTH) {
        let length = itoa::Buffer::new().format(content.len()).to_owned();
        put(&mut text, &[b"content-length: ", length.as_bytes()]);
    }
    if let Some(date) = date(clock::unix()) {
        put(&mut text, &[b"date: ", date.as_bytes()]);
    }
    put(&mut text, &[]);
    text.put_slice(&content);
    text.freeze()
}

fn put(text: &mut BytesMut, line: &[&[u8]]) {
    line.iter().chain(&[&b"\r\n"[..]]).for_each(|part| text.put_slice(part));
}

/// RFC 9110 §5.6.7.
fn date(unix: u32) -> Option<String> {
    let moment = Timestamp::from_second(unix.into()).ok()?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_answer_is_what_hyper_would_have_written() {
        let mut response = Response::new(Body::full(Bytes::from_static(b"too late\n")));
        *response.status_mut() = http::StatusCode::REQUEST_TIMEOUT;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let text = bytes(response);
        let text = std::str::from_utf8(&text).unwrap();
        let (head, date) = text.split_once("date: ").unwrap();
        assert_eq!(
            head,
            "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 9\r\n"
        );
        assert!(date.ends_with(" GMT\r\n\r\ntoo late\n"), "{date}");
    }

    #[test]
    fn the_date_is_in_the_form_that_http_wants() {
        assert_eq!(date(784_111_777).as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    }
}
