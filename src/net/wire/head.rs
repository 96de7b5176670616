//! HTTP/1 heads as bytes: what is refused before a lenient parser would repair it.

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
    /// RFC 9112 §6.1: `Transfer-Encoding` that is not `chunked` once, or in HTTP/1.0.
    TransferEncoding,
    /// RFC 9112 §6.1: both lengths.
    BothLengths,
    /// An `Upgrade` with a body.
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
    const ALL: [Self; 20] = [
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
    /// Nothing follows (of a response: whatever status and method say).
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

/// Which kind of head is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// From a client.
    Request,
    /// From a backend.
    Response,
}

/// A head that may go on to hyper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// What follows.
    pub(super) framing: Framing,
    /// Whether it asks to change to the WebSocket protocol.
    pub(super) websocket: bool,
    /// Status of a response, 0 for a request.
    pub(super) status: u16,
}

/// Length of the head at the front of `bytes`, its empty line included, if it is complete.
/// `searched`: how much of it is known to hold no end.
pub(super) fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    let mut from = searched.saturating_sub(3);
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

/// Checks a complete head, its final empty line included.
///
/// # Errors
/// The first thing for which it is refused.
pub(super) fn check(bytes: &[u8], kind: Kind, limits: &HeadLimits) -> Result<Head, Refusal> {
    let mut lines = Lines(bytes);
    let first = lines.next().ok_or(Refusal::RequestLine)??;
    let (http10, status) = match kind {
        Kind::Request => (request_line(first, limits)?, 0),
        Kind::Response => status_line(first)?,
    };
    let mut found = Found { http10, ..Found::default() };
    for fields in 0.. {
        let line = lines.next().ok_or(Refusal::LineEnd)??;
        if line.is_empty() {
            break;
        }
        if fields >= limits.fields {
            return Err(Refusal::TooManyFields);
        }
        found.field(line)?;
    }
    let framing = found.framing()?;
    if kind == Kind::Request && found.upgrade && framing != Framing::None {
        return Err(Refusal::UpgradeWithBody);
    }
    Ok(Head { framing, websocket: found.websocket, status })
}

/// Checks one trailer line, without its end.
pub(super) fn check_trailer(line: &[u8]) -> Result<(), Refusal> {
    split(line).map(drop).map_err(|_| Refusal::Trailers)
}

/// Lines that end with CR LF, without their ends.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr::memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at_checked(end + 1)?;
        self.0 = rest;
        Some(match line {
            [line @ .., b'\r', b'\n'] => Ok(line),
            _ => Err(Refusal::LineEnd),
        })
    }
}

fn request_line(line: &[u8], limits: &HeadLimits) -> Result<bool, Refusal> {
    let space = memchr::memchr(b' ', line).ok_or(Refusal::RequestLine)?;
    let (method, rest) = line.split_at_checked(space).ok_or(Refusal::RequestLine)?;
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Refusal::RequestLine);
    }
    let rest = rest.get(1..).unwrap_or_default();
    // HTTP/0.9 has no second space.
    let space = memchr::memchr(b' ', rest).ok_or(Refusal::RequestLine)?;
    let (target, version) = rest.split_at_checked(space).ok_or(Refusal::RequestLine)?;
    if target.len() > limits.target {
        return Err(Refusal::UriTooLong);
    }
    let http10 = match version {
        b" HTTP/1.1" => false,
        b" HTTP/1.0" => true,
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::Version);
        }
        _ => return Err(Refusal::RequestLine),
    };
    if target.is_empty() || !is_target(target) {
        return Err(Refusal::Target);
    }
    Ok(http10)
}

fn status_line(line: &[u8]) -> Result<(bool, u16), Refusal> {
    let (version, rest) = line.split_at_checked(9).ok_or(Refusal::StatusLine)?;
    let http10 = match version {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return Err(Refusal::StatusLine),
    };
    let (code, phrase) = rest.split_at_checked(3).ok_or(Refusal::StatusLine)?;
    let digits = code.iter().all(u8::is_ascii_digit);
    let status =
        code.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0') % 10));
    // RFC 9110 §15: three digits, the first from 1 to 5; 6 to 9 are passed on as they are.
    if !digits || status < 100 || !(phrase.is_empty() || phrase.starts_with(b" ")) {
        return Err(Refusal::StatusLine);
    }
    if has_control(phrase) {
        return Err(Refusal::StatusLine);
    }
    Ok((http10, status))
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
struct Found {
    http10: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    websocket: bool,
}

impl Found {
    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let (name, value) = split(line)?;
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                self.websocket |= value.eq_ignore_ascii_case(b"websocket");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let before = self.length.replace(number(value)?);
                // Said twice is refused even where both agree: two parsers might not.
                return before.map_or(Ok(()), |_| Err(Refusal::ContentLength));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || self.http10 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self) -> Result<Framing, Refusal> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Refusal::BothLengths),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0) | None) => Ok(Framing::None),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }
}

/// Name and value of a field line, white space around the value removed.
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::Fold);
    }
    let colon = memchr::memchr(b':', line).ok_or(Refusal::FieldName)?;
    let (name, value) = line.split_at_checked(colon).ok_or(Refusal::FieldName)?;
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(Refusal::FieldName);
    }
    let value = value.get(1..).unwrap_or_default();
    if has_control(value) {
        return Err(Refusal::FieldValue);
    }
    Ok((name, value.trim_ascii()))
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

/// Without an early end, so that the compiler makes vector code of it.
fn has_control(bytes: &[u8]) -> bool {
    let control = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
    bytes.iter().fold(false, |found, byte| found | control(*byte))
}

/// What the `http` crate takes for path and query, so that no head passes here which hyper then
/// refuses by itself, without a line in the log: visible ASCII but for `#`, `<` and `>`, and in a
/// path the backtick and the question mark, in a query the quotation mark.
fn is_target(target: &[u8]) -> bool {
    let visible = |byte: u8| (0x21..0x7f).contains(&byte) && !matches!(byte, b'#' | b'<' | b'>');
    let question = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(question).unwrap_or_default();
    path.iter().all(|byte| visible(*byte) && *byte != b'`')
        && query.iter().all(|byte| visible(*byte) && *byte != b'"')
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            #[expect(clippy::cast_possible_truncation, reason = "below 128")]
            #[expect(clippy::indexing_slicing, reason = "below 128")]
            {
                table[byte] = (byte as u8).is_ascii_alphanumeric()
                    || matches!(
                        byte as u8,
                        b'!' | b'#'
                            | b'$'
                            | b'%'
                            | b'&'
                            | b'\''
                            | b'*'
                            | b'+'
                            | b'-'
                            | b'.'
                            | b'^'
                            | b'_'
                            | b'`'
                            | b'|'
                            | b'~'
                    );
            }
            byte += 1;
        }
        table
    };
    #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
    TOKEN[usize::from(byte)]
}
