//! A second reader of HTTP/1, strict and slow, written from RFC 9112 and not from ours.

/// Name and value, without the blanks around it.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// Why nothing was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// More bytes are to come.
    Short,
    /// The grammar has no such thing.
    Wrong(&'static str),
}

pub type Read<T> = Result<T, Unread>;

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// Up to the end of the connection.
    ToEnd,
}

/// A request of which the head is whole.
#[derive(Debug)]
pub struct Request<'a> {
    pub start: usize,
    pub head_end: usize,
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub minor: u8,
    pub fields: Vec<Field<'a>>,
    pub framing: Framing,
    /// The body without its framing, and where it ends.
    pub body: Read<(Vec<u8>, usize)>,
}

impl<'a> Request<'a> {
    /// All values of a field, its name in lower case.
    pub fn all(&self, name: &str) -> Vec<&'a [u8]> {
        all(&self.fields, name)
    }

    /// Whether it asks for a WebSocket.
    pub fn websocket(&self) -> bool {
        self.all("upgrade").iter().any(|value| value.eq_ignore_ascii_case(b"websocket"))
    }
}

/// A response of which the head is whole.
#[derive(Debug)]
pub struct Response<'a> {
    pub head_end: usize,
    pub status: u16,
    pub minor: u8,
    pub fields: Vec<Field<'a>>,
    pub framing: Framing,
    pub body: Read<(Vec<u8>, usize)>,
}

fn all<'a>(fields: &[Field<'a>], name: &str) -> Vec<&'a [u8]> {
    let same = fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
    same.map(|(_, value)| *value).collect()
}

/// All requests of a connection up to the first whose body is not whole, and why there is no other.
pub fn requests(bytes: &[u8]) -> (Vec<Request<'_>>, Unread) {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        match request(bytes, at) {
            Ok(request) => {
                let end = request.body.as_ref().map(|(_, end)| *end).map_err(|why| *why);
                found.push(request);
                match end {
                    Ok(end) => at = end,
                    Err(why) => return (found, why),
                }
            }
            Err(why) => return (found, why),
        }
    }
}

/// The request at a place, empty lines before it passed over (RFC 9112 §2.2).
pub fn request(bytes: &[u8], mut at: usize) -> Read<Request<'_>> {
    while bytes[at..].starts_with(b"\r\n") {
        at += 2;
    }
    let (lines, head_end) = lines(bytes, at)?;
    let mut words = lines[0].split(|byte| *byte == b' ');
    let (method, target, version) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some(version), None) => (method, target, version),
        _ => return Err(Unread::Wrong("request line")),
    };
    if !token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Unread::Wrong("request line"));
    }
    let minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        _ => return Err(Unread::Wrong("version")),
    };
    let fields = fields(&lines[1..])?;
    let framing = framing(&fields, minor)?.unwrap_or(Framing::None);
    let body = body(bytes, head_end, framing, false);
    Ok(Request { start: at, head_end, method, target, minor, fields, framing, body })
}

/// The response at a place. `bodiless`: to HEAD. `ended`: nothing comes behind these bytes.
pub fn response(bytes: &[u8], at: usize, bodiless: bool, ended: bool) -> Read<Response<'_>> {
    let (lines, head_end) = lines(bytes, at)?;
    let line = lines[0];
    let minor = match line.get(..9) {
        Some(b"HTTP/1.1 ") => 1,
        Some(b"HTTP/1.0 ") => 0,
        _ => return Err(Unread::Wrong("status line")),
    };
    let code = line.get(9..12).filter(|code| code.iter().all(u8::is_ascii_digit));
    let code = code.ok_or(Unread::Wrong("status line"))?;
    let phrase = &line[12..];
    if !(phrase.is_empty() || phrase[0] == b' ') || !phrase.iter().all(|byte| text(*byte)) {
        return Err(Unread::Wrong("reason phrase"));
    }
    let status = code.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if status < 100 {
        return Err(Unread::Wrong("status"));
    }
    let fields = fields(&lines[1..])?;
    let framing = framing(&fields, minor)?.unwrap_or(Framing::ToEnd);
    let none = bodiless || status < 200 || status == 204 || status == 304;
    let framing = if none { Framing::None } else { framing };
    let body = body(bytes, head_end, framing, ended);
    Ok(Response { head_end, status, minor, fields, framing, body })
}

/// The first response that is not interim, and where it begins.
pub fn final_response(
    bytes: &[u8],
    mut at: usize,
    bodiless: bool,
    ended: bool,
) -> Read<Response<'_>> {
    loop {
        let found = response(bytes, at, bodiless, ended)?;
        if found.status >= 200 || found.status == 101 {
            return Ok(found);
        }
        at = found.head_end;
    }
}

/// The lines up to the empty one, of which there is at least one, and where that one ends.
fn lines(bytes: &[u8], mut at: usize) -> Read<(Vec<&[u8]>, usize)> {
    let mut found = Vec::new();
    loop {
        let (line, next) = line(bytes, at)?;
        at = next;
        if line.is_empty() {
            break;
        }
        found.push(line);
    }
    if found.is_empty() { Err(Unread::Wrong("empty line")) } else { Ok((found, at)) }
}

/// A line that ends with CR LF and has neither of them elsewhere.
fn line(bytes: &[u8], at: usize) -> Read<(&[u8], usize)> {
    let rest = &bytes[at..];
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Unread::Short)?;
    let line = rest[..end].strip_suffix(b"\r").ok_or(Unread::Wrong("line end"))?;
    if line.contains(&b'\r') {
        return Err(Unread::Wrong("bare CR"));
    }
    Ok((line, at + end + 1))
}

fn fields<'a>(lines: &[&'a [u8]]) -> Read<Vec<Field<'a>>> {
    lines.iter().map(|line| field(line)).collect()
}

fn field(line: &[u8]) -> Read<Field<'_>> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Unread::Wrong("no colon"))?;
    let (name, value) = (&line[..colon], blanks_off(&line[colon + 1..]));
    if !token(name) {
        return Err(Unread::Wrong("field name"));
    }
    if !value.iter().all(|byte| text(*byte)) {
        return Err(Unread::Wrong("field value"));
    }
    Ok((name, value))
}

fn blanks_off(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// RFC 9112 §6.3, of which what is ambiguous is left out.
fn framing(fields: &[Field<'_>], minor: u8) -> Read<Option<Framing>> {
    let lengths = all(fields, "content-length");
    let codings = all(fields, "transfer-encoding");
    match (&*lengths, &*codings) {
        ([], []) => Ok(None),
        ([length], []) => {
            let digits = std::str::from_utf8(length)
                .ok()
                .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
            let number = digits.and_then(|text| text.parse().ok());
            number.map(|number| Some(Framing::Length(number))).ok_or(Unread::Wrong("length"))
        }
        ([], [coding]) if minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Some(Framing::Chunked))
        }
        _ => Err(Unread::Wrong("framing")),
    }
}

fn body(bytes: &[u8], at: usize, framing: Framing, ended: bool) -> Read<(Vec<u8>, usize)> {
    match framing {
        Framing::None => Ok((Vec::new(), at)),
        Framing::Length(length) => {
            let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
            let body = end.and_then(|end| bytes.get(at..end)).ok_or(Unread::Short)?;
            Ok((body.to_vec(), at + body.len()))
        }
        Framing::Chunked => chunks(bytes, at),
        Framing::ToEnd if ended => Ok((bytes[at..].to_vec(), bytes.len())),
        Framing::ToEnd => Err(Unread::Short),
    }
}

/// RFC 9112 §7.1; blanks behind a size are tolerated, as everybody does.
fn chunks(bytes: &[u8], mut at: usize) -> Read<(Vec<u8>, usize)> {
    let mut whole = Vec::new();
    loop {
        let (line, next) = line(bytes, at)?;
        at = next;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&line[..digits]).ok();
        let size = size.and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.ok_or(Unread::Wrong("chunk size"))?;
        let extension = blanks_off(&line[digits..]);
        if !(extension.is_empty() || extension[0] == b';') || line.iter().any(|byte| control(*byte))
        {
            return Err(Unread::Wrong("chunk extension"));
        }
        if size == 0 {
            break;
        }
        let end = at.checked_add(size).ok_or(Unread::Short)?;
        whole.extend_from_slice(bytes.get(at..end).ok_or(Unread::Short)?);
        match &bytes[end..] {
            [b'\r', b'\n', ..] => at = end + 2,
            [] | [b'\r'] => return Err(Unread::Short),
            _ => return Err(Unread::Wrong("chunk end")),
        }
    }
    let trailer = |why| if why == Unread::Short { why } else { Unread::Wrong("trailer") };
    loop {
        let (line, next) = line(bytes, at).map_err(trailer)?;
        at = next;
        if line.is_empty() {
            return Ok((whole, at));
        }
        field(line).map_err(trailer)?;
    }
}

fn token(word: &[u8]) -> bool {
    let mark = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
}

fn control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t'
}

fn text(byte: u8) -> bool {
    !control(byte) && byte != 0x7f
}
