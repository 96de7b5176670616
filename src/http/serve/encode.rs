//! The head of an answer as HTTP/1.1 has it on the wire.

use std::cell::RefCell;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, TRAILER, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use hyper::ext::ReasonPhrase;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::net::clock;
use crate::net::message::ResponseHead;
use crate::net::outgoing::{Framing, announced, field, length};

/// How a request wants to be answered.
#[expect(clippy::struct_excessive_bools, reason = "four answers of its head, each on its own")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Its client knows HTTP/1.0 only.
    pub(super) http10: bool,
    /// It is a HEAD, whose answer has no content (RFC 9110 §9.3.2).
    pub(super) head: bool,
    /// Whether the connection goes on after it.
    pub(super) keeps: bool,
    /// Whether the client takes trailers.
    pub(super) trailers: bool,
}

impl Wanted {
    /// For a request that was not understood: nothing is answered behind it.
    pub(super) fn last(method: &Method) -> Self {
        let head = *method == Method::HEAD;
        Self { http10: false, head, keeps: false, trailers: false }
    }
}

/// Content that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// None.
    None,
    /// So many bytes.
    Known(u64),
    /// As much as comes.
    Unknown,
}

/// Writes a head. How its content goes behind it, none of which may where the request or the status
/// want none; and whether the connection goes on.
///
/// Its framing is told by the content at hand: what fields say of it counts where there is none.
pub(super) fn head(
    to: &mut Vec<u8>,
    answer: &ResponseHead,
    content: Content,
    wanted: Wanted,
) -> (Framing, bool) {
    let empty = matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let chunks = content == Content::Unknown && !wanted.http10;
    status_line(to, answer, wanted.http10);
    let (mut said, mut closes, mut dated, mut trails) = (None, !wanted.keeps, false, false);
    for (name, value) in &answer.headers {
        if name == CONTENT_LENGTH {
            said = Some(value);
        } else if name == CONNECTION {
            closes |= value == "close";
        } else if name == TRAILER {
            trails = chunks;
            if chunks {
                field(to, name, value);
            }
        } else if name != TRANSFER_ENCODING {
            dated |= name == DATE;
            field(to, name, value);
        }
    }
    if !dated {
        date(to);
    }
    let framing = match content {
        Content::Known(bytes) if !empty => {
            length(to, bytes);
            Framing::Length(bytes)
        }
        Content::Unknown if chunks && !empty && !wanted.head => {
            to.extend_from_slice(b"transfer-encoding: chunked\r\n");
            let told = trails && wanted.trailers;
            Framing::Chunked(if told { announced(&answer.headers) } else { None })
        }
        Content::Unknown if !empty => Framing::Close,
        _ => {
            match said {
                // It is what a GET would have been answered with.
                Some(value) if wanted.head && !empty => field(to, &CONTENT_LENGTH, value),
                _ if empty || wanted.head => {}
                _ => length(to, 0),
            }
            Framing::Length(0)
        }
    };
    let framing = if wanted.head { Framing::Length(0) } else { framing };
    closes |= framing == Framing::Close;
    if closes {
        to.extend_from_slice(b"connection: close\r\n");
    } else if wanted.http10 {
        to.extend_from_slice(b"connection: keep-alive\r\n");
    }
    to.extend_from_slice(b"\r\n");
    (framing, !closes)
}

/// RFC 9112 §4.
fn status_line(to: &mut Vec<u8>, answer: &ResponseHead, http10: bool) {
    let reason = answer.extensions.get::<ReasonPhrase>();
    if !http10 && answer.status == StatusCode::OK && reason.is_none() {
        to.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    to.extend_from_slice(if http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    to.extend_from_slice(answer.status.as_str().as_bytes());
    to.push(b' ');
    let usual = answer.status.canonical_reason().unwrap_or_default().as_bytes();
    to.extend_from_slice(reason.map_or(usual, ReasonPhrase::as_bytes));
    to.extend_from_slice(b"\r\n");
}

thread_local! {
    /// The line of a second.
    static DATED: RefCell<(u32, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
}

/// RFC 9110 §6.6.1: who passes an answer on gives it a date where it has none.
fn date(to: &mut Vec<u8>) {
    let now = clock::unix();
    DATED.with_borrow_mut(|(second, line)| {
        if *second != now || line.is_empty() {
            line.clear();
            if let Some(date) = written(now) {
                field(line, &DATE, &date);
            }
            *second = now;
        }
        to.extend_from_slice(line);
    });
}

/// RFC 9110 §5.6.7.
fn written(unix: u32) -> Option<HeaderValue> {
    let moment = Timestamp::from_second(unix.into()).ok()?;
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).ok()?;
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::net::fields::Fields;

    const USUAL: Wanted = Wanted { http10: false, head: false, keeps: true, trailers: false };

    fn answer(status: u16, fields: &[(&'static str, &'static str)]) -> ResponseHead {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = Fields::of(&[&[("date", "x")], fields].concat());
        ResponseHead { status, headers, ..ResponseHead::default() }
    }

    /// What is written behind the status line and the date.
    fn rest(answer: &ResponseHead, content: Content, wanted: Wanted) -> (String, Framing, bool) {
        let mut to = Vec::new();
        let (framing, keeps) = head(&mut to, answer, content, wanted);
        let text = String::from_utf8(to).unwrap();
        let (_, text) = text.split_once("date: x\r\n").unwrap();
        (text.strip_suffix("\r\n").unwrap().to_owned(), framing, keeps)
    }

    #[test]
    fn content_is_framed_by_what_is_there() {
        let lies = answer(200, &[("content-length", "9"), ("transfer-encoding", "chunked")]);
        for (content, wanted, text, framing) in [
            (Content::Known(5), USUAL, "content-length: 5\r\n", Framing::Length(5)),
            (Content::None, USUAL, "content-length: 0\r\n", Framing::Length(0)),
            (Content::Unknown, USUAL, "transfer-encoding: chunked\r\n", Framing::Chunked(None)),
            (
                Content::None,
                Wanted { head: true, ..USUAL },
                "content-length: 9\r\n",
                Framing::Length(0),
            ),
            (Content::Unknown, Wanted { head: true, ..USUAL }, "", Framing::Length(0)),
            (
                Content::Known(5),
                Wanted { head: true, ..USUAL },
                "content-length: 5\r\n",
                Framing::Length(0),
            ),
        ] {
            let (written, framed, _) = rest(&lies, content, wanted);
            assert_eq!((&*written, framed), (text, framing), "{content:?} {wanted:?}");
        }
    }

    #[test]
    fn no_content_and_not_modified_have_none_and_tell_no_length() {
        for status in [204, 304] {
            let answer = answer(status, &[("content-length", "5"), ("etag", "y")]);
            for content in [Content::None, Content::Known(5), Content::Unknown] {
                for head in [false, true] {
                    let (text, framing, keeps) = rest(&answer, content, Wanted { head, ..USUAL });
                    let none = ("etag: y\r\n", Framing::Length(0), true);
                    assert_eq!((&*text, framing, keeps), none, "{status} {content:?} {head}");
                }
            }
        }
    }

    #[test]
    fn the_connection_goes_on_where_both_sides_want_it_to() {
        let length = "content-length: 5\r\n";
        let close = "content-length: 5\r\nconnection: close\r\n";
        let kept = "content-length: 5\r\nconnection: keep-alive\r\n";
        let old = Wanted { http10: true, ..USUAL };
        for (fields, wanted, text) in [
            (&[][..], USUAL, length),
            (&[("connection", "close")], USUAL, close),
            (&[], Wanted { keeps: false, ..USUAL }, close),
            (&[], old, kept),
            (&[("connection", "close")], old, close),
        ] {
            let (written, _, keeps) = rest(&answer(200, fields), Content::Known(5), wanted);
            assert_eq!((&*written, keeps), (text, text != close), "{fields:?} {wanted:?}");
        }
        // HTTP/1.0 has no chunks.
        let (written, framing, keeps) = rest(&answer(200, &[]), Content::Unknown, old);
        assert_eq!((&*written, framing, keeps), ("connection: close\r\n", Framing::Close, false));
    }

    #[test]
    fn trailers_go_where_they_are_announced_and_taken() {
        let answer = answer(200, &[("trailer", "X-Sum")]);
        let takes = Wanted { trailers: true, ..USUAL };
        let announced = "trailer: X-Sum\r\ntransfer-encoding: chunked\r\n";
        let (text, framing, _) = rest(&answer, Content::Unknown, takes);
        let names = HashSet::from([http::HeaderName::from_static("x-sum")]);
        assert_eq!((&*text, framing), (announced, Framing::Chunked(Some(Box::new(names)))));
        let (_, framing, _) = rest(&answer, Content::Unknown, USUAL);
        assert_eq!(framing, Framing::Chunked(None));
        let old = Wanted { http10: true, ..takes };
        let (text, _, _) = rest(&answer, Content::Unknown, old);
        assert_eq!(text, "connection: close\r\n");
    }

    #[test]
    fn the_first_line_says_what_the_backend_said() {
        let line = |status, reason: Option<&'static [u8]>, http10| {
            let mut answer = answer(status, &[]);
            if let Some(reason) = reason {
                answer.extensions.insert(ReasonPhrase::from_static(reason));
            }
            let mut to = Vec::new();
            head(&mut to, &answer, Content::None, Wanted { http10, ..USUAL });
            String::from_utf8(to).unwrap().split_once("\r\n").unwrap().0.to_owned()
        };
        assert_eq!(line(200, None, false), "HTTP/1.1 200 OK");
        assert_eq!(line(200, None, true), "HTTP/1.0 200 OK");
        assert_eq!(line(200, Some(b"Fine"), false), "HTTP/1.1 200 Fine");
        assert_eq!(line(404, None, false), "HTTP/1.1 404 Not Found");
        assert_eq!(line(299, None, false), "HTTP/1.1 299 ");
    }

    #[test]
    fn the_date_is_in_the_form_that_http_wants() {
        assert_eq!(written(784_111_777).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut to = Vec::new();
        let answer = ResponseHead::default();
        head(&mut to, &answer, Content::None, USUAL);
        let text = String::from_utf8(to).unwrap();
        assert!(text.contains("\r\ndate: ") && text.contains(" GMT\r\n"), "{text}");
    }
}
