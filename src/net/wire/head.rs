//! HTTP/1 heads as bytes: what is refused before a lenient parser would repair it.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::line::{First, request_line};
use super::scan::{control, split_at, token_length};
use super::word::Word;

const UPGRADE: Word = Word::new(b"upgrade");
const CONTENT_LENGTH: Word = Word::new(b"content-length");

/// Why a head or a body's framing is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// RFC 9112 §3: no request line of three parts.
    RequestLine = 1,
    /// RFC 9112 §2.3: a version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A target with a fragment, a control or a byte beyond ASCII.
    Target,
    /// A target beyond the limit.
    UriTooLong,
    /// RFC 9112 §2.2: a line that ends without CR, or a CR alone.
    LineEnd,
    /// RFC 9112 §5.2: a field line continued on the next.
    Fold,
    /// RFC 9112 §5.1: no colon, white space before it, or a name that is no token.
    FieldName,
    /// RFC 9110 §5.5: a control in a field value.
    FieldValue,
    /// RFC 9112 §6.3: `Content-Length` that is no number, or is said twice.
    ContentLength,
    /// RFC 9112 §6.3: `Transfer-Encoding` that does not end with `chunked`, said once, or in
    /// HTTP/1.0.
    TransferEncoding,
    /// RFC 9112 §6.1: well framed, but in a coding that is not ours to undo.
    TransferCoding,
    /// RFC 9112 §6.1: both lengths.
    BothLengths,
    /// An `Upgrade` to WebSocket with a body. (Others are dropped: `curl --http2` sends some.)
    UpgradeWithBody,
    /// More fields than the limit.
    TooManyFields,
    /// A head beyond the limit.
    HeadTooLarge,
    /// The head's last byte did not come in time.
    Timeout,
    /// RFC 9112 §7.1: a chunk size or its line.
    ChunkSize,
    /// Trailers beyond their limit or malformed.
    Trailers,
    /// RFC 9112 §4: no status line.
    StatusLine,
    /// More interim answers than the limit.
    TooManyInterim,
    /// The connection ended within a head.
    Truncated,
}

impl Refusal {
    const ALL: [Self; 21] = [
        Self::RequestLine,
        Self::Version,
        Self::Target,
        Self::UriTooLong,
        Self::LineEnd,
        Self::Fold,
        Self::FieldName,
        Self::FieldValue,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::TransferCoding,
        Self::BothLengths,
        Self::UpgradeWithBody,
        Self::TooManyFields,
        Self::HeadTooLarge,
        Self::Timeout,
        Self::ChunkSize,
        Self::Trailers,
        Self::StatusLine,
        Self::TooManyInterim,
        Self::Truncated,
    ];

    /// From its number.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestLine => "request_line",
            Self::Version => "version",
            Self::Target => "target",
            Self::UriTooLong => "uri_too_long",
            Self::LineEnd => "line_end",
            Self::Fold => "obs_fold",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::TransferCoding => "transfer_coding",
            Self::BothLengths => "both_lengths",
            Self::UpgradeWithBody => "upgrade_with_body",
            Self::TooManyFields => "too_many_fields",
            Self::HeadTooLarge => "head_too_large",
            Self::Timeout => "header_timeout",
            Self::ChunkSize => "chunk_size",
            Self::Trailers => "trailers",
            Self::StatusLine => "status_line",
            Self::TooManyInterim => "too_many_interim",
            Self::Truncated => "truncated_head",
        }
    }
}

/// How the bytes after a head are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing follows.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Limits of one head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes in all.
    pub size: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of the target.
    pub target: usize,
}

/// A request's head that may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// What follows.
    pub(super) framing: Framing,
    /// Whether it asks to change to the WebSocket protocol.
    pub(super) websocket: bool,
}

static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// Length of the head at the front of `bytes`, its empty line included, if it is complete.
/// `searched`: how much of it is known to hold no end.
pub(super) fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    let mut from = searched.saturating_sub(3);
    // Nearly every head that is complete ends like this. One that has ended with bare line feeds
    // before is refused as a whole all the same.
    if let Some(offset) = END.find(bytes.get(from..)?) {
        return Some(from + offset + 4);
    }
    while let Some(offset) = memchr::memchr(b'\n', bytes.get(from..)?) {
        let line_end = from + offset;
        // A head that ends with bare line feeds is complete too: it is refused as a whole.
        match bytes.get(line_end + 1..)? {
            [b'\r', b'\n', ..] => return Some(line_end + 3),
            [b'\n', ..] => return Some(line_end + 2),
            _ => from = line_end + 1,
        }
    }
    None
}

/// Checks the request's head at the front of `bytes`, its final empty line included, in one pass.
/// `None` while it is not complete; else what it says, and its length.
///
/// # Errors
/// The first thing for which it is refused, also where more of it is to come.
pub(super) fn check(bytes: &[u8], limits: &HeadLimits) -> Unfinished<(Head, usize)> {
    let Some(line) = request_line(bytes, limits)? else { return Ok(None) };
    let First { rest, http10 } = line.first;
    let mut found = Found { http10, ..Found::default() };
    let Some(after) = fields(rest, limits, &mut found, |_, _| ())? else { return Ok(None) };
    let framing = found.framing()?;
    if found.websocket && framing != Framing::None {
        return Err(Refusal::UpgradeWithBody);
    }
    let head = Head { framing, websocket: found.websocket };
    Ok(Some((head, bytes.len() - after.len())))
}

/// Reads field lines up to the empty one, and shows name and value of each, white space around the
/// value included. What comes behind them.
pub(super) fn fields<'a>(
    mut rest: &'a [u8],
    limits: &HeadLimits,
    found: &mut Found,
    mut see: impl FnMut(&'a [u8], Value<'a>),
) -> Unfinished<&'a [u8]> {
    let mut fields = 0;
    loop {
        match rest {
            [b'\r', b'\n', after @ ..] => return Ok(Some(after)),
            [] | [b'\r'] => return Ok(None),
            _ => {}
        }
        if fields >= limits.fields {
            return Err(Refusal::TooManyFields);
        }
        fields += 1;
        let Some((name, value, after)) = field_line(rest)? else { return Ok(None) };
        found.field(name, value.get())?;
        see(name, value);
        rest = after;
    }
}

/// A field's value: no control but tabs is in it, for [`field_line`] alone makes one.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// Its bytes.
    pub(in crate::net) fn get(self) -> &'a [u8] {
        self.0
    }

    /// Without the white space around it.
    pub(super) fn trimmed(self) -> Self {
        // Nearly always there is one blank, or none.
        let value = self.0.strip_prefix(b" ").unwrap_or(self.0);
        match value {
            [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => Self(value.trim_ascii()),
            _ => Self(value),
        }
    }
}

/// What was looked for; none while it is not complete.
pub(super) type Unfinished<T> = Result<Option<T>, Refusal>;

/// Name and value of a field, white space around the value included, and what comes behind it.
pub(super) fn field_line(bytes: &[u8]) -> Unfinished<(&[u8], Value<'_>, &[u8])> {
    let (name, rest) = split_at(bytes, token_length(bytes));
    let value_and_more = match rest {
        [] => return Ok(None),
        [b':', after @ ..] if !name.is_empty() => after,
        [b' ' | b'\t', ..] if name.is_empty() => return Err(Refusal::Fold),
        [b'\n', ..] => return Err(Refusal::LineEnd),
        _ => return Err(Refusal::FieldName),
    };
    let Some(end) = control(value_and_more) else { return Ok(None) };
    let (value, rest) = split_at(value_and_more, end);
    match rest {
        [b'\r', b'\n', after @ ..] => Ok(Some((name, Value(value), after))),
        [] | [b'\r'] => Ok(None),
        [b'\n', ..] => Err(Refusal::LineEnd),
        _ => Err(Refusal::FieldValue),
    }
}

/// A field's value up to its line end, white space around it included, and the length of both. None
/// where it is not complete, or not that.
pub(super) fn value_line(bytes: &[u8]) -> Option<(Value<'_>, usize)> {
    let (value, rest) = split_at(bytes, control(bytes)?);
    rest.starts_with(b"\r\n").then(|| (Value(value), value.len() + 2))
}

/// Whether a list has this token.
pub(super) fn says(list: &[u8], token: &[u8]) -> bool {
    let mut tokens = list.split(|byte| *byte == b',');
    tokens.any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
}

/// What the fields of a head say about its framing, and what else is looked for in passing.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub(super) struct Found {
    pub(super) http10: bool,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) websocket: bool,
    /// Whether trailers are taken (RFC 9110 §10.1.4).
    pub(super) trailers: bool,
}

impl Found {
    /// Another field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => self.trailers |= says(value, b"trailers"),
            7 if UPGRADE.is(name) => {
                self.websocket |= value.trim_ascii().eq_ignore_ascii_case(b"websocket");
            }
            14 if CONTENT_LENGTH.is(name) => {
                let before = self.length.replace(number(value.trim_ascii())?);
                // Said twice is refused even where both agree: two parsers might not.
                return before.map_or(Ok(()), |_| Err(Refusal::ContentLength));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let value = value.trim_ascii();
                if self.chunked || self.http10 {
                    return Err(Refusal::TransferEncoding);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(other_coding(value));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn framing(&self) -> Result<Framing, Refusal> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Refusal::BothLengths),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0) | None) => Ok(Framing::None),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }
}

/// A list of codings other than `chunked` alone: where `chunked` comes last, and only there, the
/// message is framed and its coding is what cannot be done.
fn other_coding(value: &[u8]) -> Refusal {
    let chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let known = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && token_length(coding) == coding.len() && !chunked(coding)
    };
    let mut codings = value.rsplit(|byte| *byte == b',');
    let framed = codings.next().is_some_and(chunked) && codings.all(known);
    if framed { Refusal::TransferCoding } else { Refusal::TransferEncoding }
}

fn number(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::ContentLength);
    }
    let mut number = 0u64;
    for digit in value {
        number = number
            .checked_mul(10)
            .and_then(|number| number.checked_add(u64::from(digit - b'0')))
            .ok_or(Refusal::ContentLength)?;
    }
    Ok(number)
}
