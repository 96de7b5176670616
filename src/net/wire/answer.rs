//! The head of a backend's answer: checked and read in one pass.

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderValue};
use http::{StatusCode, Version};

use super::head::{Found, HeadLimits, Refusal, end_of_head, fields};
use super::line::status_line;
use super::plain;

/// How every answer begins.
const BEGINNING: &[u8] = b"HTTP/1.";

/// What the head of an answer says.
#[derive(Debug)]
pub struct AnswerHead {
    /// From 100 to 999.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// As the backend wrote it.
    pub reason: Bytes,
    /// All of them, but for what `Connection` usually says.
    pub headers: HeaderMap,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub chunked: bool,
    /// Whether the backend goes on after this answer, by `Connection` and its version (RFC 9112
    /// §9.3).
    pub keeps: bool,
}

/// Length of the head at the front of `bytes`, its empty line included, if it is complete.
/// `searched`: how much of it is known to hold no end.
///
/// # Errors
/// For what cannot become a head, or none within the limits.
pub fn end_of_answer(
    bytes: &[u8],
    searched: usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, Refusal> {
    let end = end_of_head(bytes, searched);
    if end.unwrap_or(bytes.len()) > limits.size {
        return Err(Refusal::HeadTooLarge);
    }
    if end.is_none() && bytes.iter().zip(BEGINNING).any(|(byte, expected)| byte != expected) {
        return Err(Refusal::StatusLine);
    }
    Ok(end)
}

/// Reads a complete head. `headers`: an empty map, whose memory is used again.
///
/// # Errors
/// The first thing for which it is refused.
pub fn read_answer(
    head: &Bytes,
    limits: &HeadLimits,
    mut headers: HeaderMap,
) -> Result<AnswerHead, Refusal> {
    let line = status_line(head)?;
    let (first, status, phrase) = line.ok_or(Refusal::StatusLine)?;
    let mut found = Found { http10: first.http10, ..Found::default() };
    let (mut keeps, mut closes) = (!first.http10, false);
    let from = head.len() - first.rest.len();
    let read = plain::fields(head, from, limits, &mut found, |name, value| {
        if name == CONNECTION {
            let hop = Hop::of(&value);
            closes |= hop.closes;
            keeps |= hop.keeps;
            if hop.is_usual {
                return;
            }
        }
        headers.append(name, value);
    });
    if read.is_none() {
        let mut found = Found { http10: first.http10, ..Found::default() };
        fields(first.rest, limits, &mut found, |_, _| ())?.ok_or(Refusal::Truncated)?;
        // All of it but a name that is none.
        return Err(Refusal::FieldName);
    }
    found.framing()?;
    Ok(AnswerHead {
        status: StatusCode::from_u16(status).map_err(|_| Refusal::StatusLine)?,
        version: if first.http10 { Version::HTTP_10 } else { Version::HTTP_11 },
        reason: head.slice_ref(phrase),
        headers,
        length: found.length,
        chunked: found.chunked,
        keeps: keeps && !closes,
    })
}

/// What a `Connection` says about the connection.
pub(super) struct Hop {
    pub(super) closes: bool,
    pub(super) keeps: bool,
    /// It says nothing else, and needs not go with the other fields.
    pub(super) is_usual: bool,
}

impl Hop {
    pub(super) fn of(value: &HeaderValue) -> Self {
        let closes = value.as_bytes().eq_ignore_ascii_case(b"close");
        let keeps = value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
        if closes || keeps {
            return Self { closes, keeps, is_usual: true };
        }
        let (closes, keeps) = (says(value, b"close"), says(value, b"keep-alive"));
        Self { closes, keeps, is_usual: false }
    }
}

/// Whether a list has this token.
pub(super) fn says(list: &HeaderValue, token: &[u8]) -> bool {
    let mut tokens = list.as_bytes().split(|byte| *byte == b',');
    tokens.any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { size: 1024, fields: 8, target: 0 };

    fn read(text: &str) -> Result<AnswerHead, Refusal> {
        let end = end_of_answer(text.as_bytes(), 0, &LIMITS)?;
        let head = Bytes::copy_from_slice(&text.as_bytes()[..end.expect("a whole head")]);
        read_answer(&head, &LIMITS, HeaderMap::new())
    }

    #[test]
    fn a_head_says_how_its_body_is_framed_and_whether_the_backend_goes_on() {
        let head = read("HTTP/1.1 200 OK\r\nContent-Length: 5 \r\nA:  b\r\nA: c\r\n\r\nhello");
        let head = head.unwrap();
        assert_eq!((head.status.as_u16(), head.version), (200, Version::HTTP_11));
        assert_eq!((head.length, head.chunked, head.keeps), (Some(5), false, true));
        let values: Vec<_> = head.headers.get_all("a").iter().collect();
        assert_eq!(
            (values, &*head.reason),
            (vec![&HeaderValue::from_static("b"), &HeaderValue::from_static("c")], &b"OK"[..])
        );
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
        let end = |text: &str| end_of_answer(text.as_bytes(), 0, &LIMITS);
        assert_eq!(end("HTT"), Ok(None));
        assert_eq!(end("HTTP/1.1 200 OK\r\nA: b\r\n"), Ok(None));
        assert_eq!(end("\x15\x03\x01"), Err(Refusal::StatusLine));
        assert_eq!(end("HTTP/2"), Err(Refusal::StatusLine));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(1024));
        assert_eq!(end(&long), Err(Refusal::HeadTooLarge));
        assert_eq!(end(&format!("{long}\r\n\r\n")), Err(Refusal::HeadTooLarge));
    }
}
