//! The head of a backend's answer: checked and read in one pass.

use bytes::Bytes;
use http::{StatusCode, Version};
use hyper::ext::ReasonPhrase;

use crate::net::fields::Fields;
use crate::net::message::ResponseHead;

use super::head::{Found, HeadLimits, Refusal, end_of_head, fields};
use super::line::status_line;
use super::plain::{self, Hop};

/// How every answer begins.
const BEGINNING: &[u8] = b"HTTP/1.";

/// What the head of an answer says.
#[derive(Debug)]
pub struct Answer {
    /// Any status from 100 to 999, with hyper's `ReasonPhrase` where the backend's is not the usual
    /// one. All fields are there, but for what `Connection` usually says.
    pub head: ResponseHead,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub chunked: bool,
    /// Whether the backend goes on after this answer, by `Connection` and its version (RFC 9112
    /// §9.3).
    pub keeps: bool,
}

/// Whether the head at the front of `bytes` is complete. `searched`: how much of it is known to
/// hold no end.
///
/// # Errors
/// For what cannot become a head, or none within the limits.
pub fn is_whole_answer(
    bytes: &[u8],
    searched: usize,
    limits: &HeadLimits,
) -> Result<bool, Refusal> {
    let end = end_of_head(bytes, searched);
    if end.unwrap_or(bytes.len()) > limits.size {
        return Err(Refusal::HeadTooLarge);
    }
    if end.is_none() && bytes.iter().zip(BEGINNING).any(|(byte, expected)| byte != expected) {
        return Err(Refusal::StatusLine);
    }
    Ok(end.is_some())
}

/// Reads the head at the front. None while it is not complete; else what it says, and its length.
/// `headers`: an empty list, whose memory is used again.
///
/// # Errors
/// The first thing for which it is refused.
pub fn read_answer(
    bytes: &Bytes,
    limits: &HeadLimits,
    headers: &mut Fields,
) -> Result<Option<(Answer, usize)>, Refusal> {
    let Some((first, status, phrase)) = status_line(bytes)? else { return Ok(None) };
    let empty = || Found { http10: first.http10, ..Found::default() };
    let (mut found, mut hop) = (empty(), Hop::default());
    let from = bytes.len() - first.rest.len();
    headers.prepare();
    let read = plain::fields(bytes, from, limits, (&mut found, &mut hop), headers);
    let Some(length) = read else {
        headers.clear();
        let careful = fields(first.rest, limits, &mut empty(), |_, _| ())?;
        // All of it but a name that is none.
        return careful.map_or(Ok(None), |_| Err(Refusal::FieldName));
    };
    if length > limits.size {
        return Err(Refusal::HeadTooLarge);
    }
    found.framing()?;
    let status = StatusCode::from_u16(status).map_err(|_| Refusal::StatusLine)?;
    let mut head = ResponseHead {
        status,
        version: if first.http10 { Version::HTTP_10 } else { Version::HTTP_11 },
        headers: std::mem::take(headers),
        ..ResponseHead::default()
    };
    if status.canonical_reason().map(str::as_bytes) != Some(phrase)
        && let Ok(reason) = ReasonPhrase::try_from(phrase)
    {
        head.extensions.insert(reason);
    }
    let answer = Answer {
        head,
        length: found.length,
        chunked: found.chunked,
        keeps: hop.goes_on(first.http10),
    };
    Ok(Some((answer, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { size: 1024, fields: 8, target: 0 };

    fn read(text: &str) -> Result<Answer, Refusal> {
        assert!(is_whole_answer(text.as_bytes(), 0, &LIMITS)?, "{text:?}");
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let (head, length) =
            read_answer(&bytes, &LIMITS, &mut Fields::new())?.expect("a whole head");
        assert!(text[..length].ends_with("\r\n\r\n"));
        Ok(head)
    }

    #[test]
    fn a_head_says_how_its_body_is_framed_and_whether_the_backend_goes_on() {
        let head = read("HTTP/1.1 200 OK\r\nContent-Length: 5 \r\nA:  b\r\nA: c\r\n\r\nhello");
        let Answer { head, length, chunked, keeps } = head.unwrap();
        assert_eq!((head.status.as_u16(), head.version), (200, Version::HTTP_11));
        assert_eq!((length, chunked, keeps), (Some(5), false, true));
        let fields = Fields::of(&[("content-length", "5"), ("a", "b"), ("a", "c")]);
        assert_eq!(head.headers, fields);
        for (text, reason) in [
            ("HTTP/1.1 200 OK\r\n\r\n", None),
            ("HTTP/1.1 200 Fine\r\n\r\n", Some(&b"Fine"[..])),
            ("HTTP/1.1 200\r\n\r\n", Some(b"")),
            ("HTTP/1.1 299 \r\n\r\n", Some(b"")),
        ] {
            let head = read(text).unwrap().head;
            let told = head.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
            assert_eq!(told, reason, "{text:?}");
        }
        for (text, keeps) in [
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.1 200\r\nConnection: x, Close\r\nConnection: keep-alive\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n\r\n", false),
            ("HTTP/1.1 204 \r\nTransfer-Encoding: chunked\r\n\r\n", true),
        ] {
            let head = read(text).unwrap();
            assert_eq!(head.keeps, keeps, "{text:?}");
            assert_eq!(head.chunked, text.contains("chunked"));
        }
    }

    #[test]
    fn odd_answers_are_refused() {
        for (text, expected) in [
            ("HTTP/1.1 20 OK\r\n\r\n", Refusal::StatusLine),
            ("HTTP/2 200 OK\r\n\r\n", Refusal::StatusLine),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Refusal::BothLengths,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                Refusal::ContentLength,
            ),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::TransferEncoding),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Refusal::Fold),
            ("HTTP/1.1 200 OK\nA: b\n\n", Refusal::LineEnd),
            ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", Refusal::FieldValue),
            ("HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", Refusal::FieldName),
            ("garbage\r\n\r\n", Refusal::StatusLine),
        ] {
            assert_eq!(read(text).unwrap_err(), expected, "{text:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(9));
        assert_eq!(read(&many).unwrap_err(), Refusal::TooManyFields);
    }

    #[test]
    fn what_can_be_no_answer_is_not_awaited() {
        let whole = |text: &str| is_whole_answer(text.as_bytes(), 0, &LIMITS);
        assert_eq!(whole("HTT"), Ok(false));
        assert_eq!(whole("HTTP/1.1 200 OK\r\nA: b\r\n"), Ok(false));
        assert_eq!(whole("\x15\x03\x01"), Err(Refusal::StatusLine));
        assert_eq!(whole("HTTP/2"), Err(Refusal::StatusLine));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(1024));
        assert_eq!(whole(&long), Err(Refusal::HeadTooLarge));
        assert_eq!(whole(&format!("{long}\r\n\r\n")), Err(Refusal::HeadTooLarge));
    }
}
