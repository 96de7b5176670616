//! The first line of a head: a request's, an answer's.

use super::head::{HeadLimits, Refusal, Unfinished};
use super::scan::{control, is_target, split_at, target_length, token_length};

/// What a first line says, and what comes behind it.
pub(super) struct First<'a> {
    pub(super) rest: &'a [u8],
    pub(super) http10: bool,
}

/// The first line of a request.
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) first: First<'a>,
}

/// Reads one. None while it is not complete.
///
/// # Errors
/// For what cannot become one.
pub(super) fn request_line<'a>(
    bytes: &'a [u8],
    limits: &HeadLimits,
) -> Unfinished<RequestLine<'a>> {
    let (method, rest) = split_at(bytes, token_length(bytes));
    let target_and_more = match rest {
        [] => return Ok(None),
        [b' ', after @ ..] if !method.is_empty() => after,
        _ => return Err(Refusal::RequestLine),
    };
    let (target, rest) = split_at(target_and_more, target_length(target_and_more));
    if target.len() > limits.target {
        return Err(Refusal::UriTooLong);
    }
    let first = match rest {
        [] => None,
        [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b'\r', b'\n', rest @ ..]
            if is_target(target) =>
        {
            Some(First { rest, http10: false })
        }
        // HTTP/0.9 has no second space.
        [b'\r' | b'\n', ..] => return Err(Refusal::RequestLine),
        [b' ', rest @ ..] => other_version(target, rest)?,
        _ => return Err(Refusal::Target),
    };
    Ok(first.map(|first| RequestLine { method, target, first }))
}

/// The end of a request line that does not say HTTP/1.1.
fn other_version<'a>(target: &[u8], rest: &'a [u8]) -> Unfinished<First<'a>> {
    let Some((version, rest)) = line(rest)? else { return Ok(None) };
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" if !is_target(target) => Err(Refusal::Target),
        b"HTTP/1.0" => Ok(Some(First { rest, http10: true })),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refusal::Version)
        }
        _ => Err(Refusal::RequestLine),
    }
}

/// Status and reason phrase of an answer, and what else its first line says.
pub(super) fn status_line(bytes: &[u8]) -> Unfinished<(First<'_>, u16, &[u8])> {
    let Some((line, rest)) = line(bytes)? else { return Ok(None) };
    let (version, code_and_more) = line.split_at_checked(9).ok_or(Refusal::StatusLine)?;
    let http10 = match version {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return Err(Refusal::StatusLine),
    };
    let (code, phrase) = code_and_more.split_at_checked(3).ok_or(Refusal::StatusLine)?;
    let digits = code.iter().all(u8::is_ascii_digit);
    let status =
        code.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0') % 10));
    // RFC 9110 §15: three digits, the first from 1 to 5; 6 to 9 are passed on as they are.
    if !digits || status < 100 || !(phrase.is_empty() || phrase.starts_with(b" ")) {
        return Err(Refusal::StatusLine);
    }
    if control(phrase).is_some() {
        return Err(Refusal::StatusLine);
    }
    let phrase = phrase.get(1..).unwrap_or_default();
    Ok(Some((First { rest, http10 }, status, phrase)))
}

/// A line without its CR LF, and what comes behind it.
fn line(bytes: &[u8]) -> Unfinished<(&[u8], &[u8])> {
    let Some(end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
    let (line, rest) = split_at(bytes, end + 1);
    match line {
        [line @ .., b'\r', b'\n'] => Ok(Some((line, rest))),
        _ => Err(Refusal::LineEnd),
    }
}
