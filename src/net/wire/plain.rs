//! Field lines that have nothing odd, read in one pass into names and values.

use bytes::Bytes;
use http::header::{self, HeaderName};

use super::super::fields::Fields;
use super::super::sys;
use super::head::{Found, HeadLimits, says, value_line};
use super::word::Word;

const CONNECTION: Word = Word::new(b"connection");
const CLOSE: Word = Word::new(b"close");
const KEEP_ALIVE: Word = Word::new(b"keep-alive");

/// What `Connection` says about the connection (RFC 9112 §9.3, §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hop {
    pub(super) closes: bool,
    pub(super) keeps: bool,
}

impl Hop {
    /// Whether the connection goes on, after a message of this version.
    pub(super) fn goes_on(self, http10: bool) -> bool {
        !self.closes && (self.keeps || !http10)
    }

    /// Takes a value that says nothing else, as most do.
    fn takes(&mut self, value: &[u8]) -> bool {
        let closes = CLOSE.is(value);
        let keeps = KEEP_ALIVE.is(value);
        self.closes |= closes;
        self.keeps |= keeps;
        closes || keeps
    }

    #[cold]
    fn reads(&mut self, value: &[u8]) {
        self.closes |= says(value, b"close");
        self.keeps |= says(value, b"keep-alive");
    }
}

/// Reads field lines from `from` on up to the empty one into a list, but for a `Connection` that
/// says nothing to others than us. Where the head ends; none where it is not complete or has
/// anything that may be wrong: what that is tells [`super::head::fields`].
///
/// A name is checked as it becomes one, so that its bytes are looked at once.
// The same code for requests and answers: the second one finds it in the caches.
#[inline(never)]
pub(super) fn fields(
    head: &Bytes,
    from: usize,
    limits: &HeadLimits,
    (found, hop): (&mut Found, &mut Hop),
    list: &mut Fields,
) -> Option<usize> {
    let mut at = from;
    let mut left = limits.fields;
    loop {
        let line = head.get(at..)?;
        if line.starts_with(b"\r\n") {
            return Some(at + 2);
        }
        left = left.checked_sub(1)?;
        let colon = colon(line)?;
        let (name, value_and_more) = line.split_at_checked(colon)?;
        let (value, length) = value_line(value_and_more.get(1..)?)?;
        let value = value.trimmed();
        at += colon + 1 + length;
        if CONNECTION.is(name) {
            if hop.takes(value.get()) {
                continue;
            }
            hop.reads(value.get());
        }
        found.field(name, value.get()).ok()?;
        let name = usual(name).or_else(|| HeaderName::from_bytes(name).ok())?;
        list.append(name, sys::field_value(head, value));
    }
}

/// The names that most heads have. Length and first letter leave one or two to compare with, which
/// is cheaper than to fold every letter and look for the result.
fn usual(name: &[u8]) -> Option<HeaderName> {
    macro_rules! one_of {
        ($($length:literal $first:literal: $($text:literal => $name:ident),+;)*) => {
            match (name.len(), name.first()? | 0x20) {
                $(($length, $first) => {
                    $(
                        const { assert!($text.len() == $length && $text[0] == $first) }
                        if const { Word::new($text) }.is(name) {
                            return Some(header::$name);
                        }
                    )+
                    None
                })*
                _ => None,
            }
        };
    }
    one_of! {
        4 b'h': b"host" => HOST;
        4 b'd': b"date" => DATE;
        4 b'e': b"etag" => ETAG;
        4 b'v': b"vary" => VARY;
        6 b'a': b"accept" => ACCEPT;
        6 b'c': b"cookie" => COOKIE;
        6 b's': b"server" => SERVER;
        7 b'r': b"referer" => REFERER;
        10 b'u': b"user-agent" => USER_AGENT;
        10 b's': b"set-cookie" => SET_COOKIE;
        12 b'c': b"content-type" => CONTENT_TYPE;
        13 b'l': b"last-modified" => LAST_MODIFIED;
        13 b'a': b"accept-ranges" => ACCEPT_RANGES;
        13 b'c': b"cache-control" => CACHE_CONTROL;
        14 b'c': b"content-length" => CONTENT_LENGTH;
        15 b'a': b"accept-encoding" => ACCEPT_ENCODING, b"accept-language" => ACCEPT_LANGUAGE;
    }
}

/// Where the first colon stands. Eight bytes at a time: most names have no more than sixteen.
fn colon(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const COLONS: u64 = u64::from_ne_bytes([b':'; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let different = u64::from_le_bytes(*word) ^ COLONS;
        // The lowest mark is right: a borrow marks bytes above it only.
        let marks = different.wrapping_sub(ONES) & !different & HIGH;
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| *byte == b':').map(|place| words.len() * 8 + place)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::string::string_regex;

    use super::super::head as careful;
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { size: 1024, fields: 6, target: 0 };

    type Seen = Vec<(Vec<u8>, Vec<u8>)>;

    fn here(text: &[u8]) -> Option<(Seen, usize)> {
        let head = Bytes::copy_from_slice(text);
        let (mut list, mut found, mut hop) = (Fields::new(), Found::default(), Hop::default());
        let end = fields(&head, 0, &LIMITS, (&mut found, &mut hop), &mut list)?;
        let seen = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
        };
        Some((list.iter().map(seen).collect(), end))
    }

    fn there(text: &[u8]) -> Option<(Seen, usize)> {
        let (mut seen, mut found) = (Vec::new(), Found::default());
        let rest = careful::fields(text, &LIMITS, &mut found, |name, value| {
            seen.push((name.to_ascii_lowercase(), value.get().trim_ascii().to_vec()));
        });
        Some((seen, text.len() - rest.ok()??.len()))
    }

    /// A field line, or nearly one.
    fn line() -> impl Strategy<Value = String> {
        let known =
            "Host|Date|ETag|eTag|Vary|Accept|Server|[Rr]eferer|[Uu]ser-[Aa]gent|Content-Length";
        let name = format!("({known}|[A-Za-z:\"\x01 -]{{0,12}}|x-a|x~!'b)");
        let value = "[ \t]{0,2}[ -~\t\u{e9}]{0,9}";
        (string_regex(&name).unwrap(), value, "(\r\n|\r\n|\r\n|\n|\r|)")
            .prop_map(|(name, value, end)| format!("{name}:{value}{end}"))
    }

    #[test]
    fn the_usual_names_are_what_they_would_be_without() {
        let names = [
            "Host",
            "Date",
            "ETag",
            "Vary",
            "Accept",
            "Cookie",
            "Server",
            "Referer",
            "User-Agent",
            "Set-Cookie",
            "Content-Type",
            "Last-Modified",
            "Accept-Ranges",
            "Cache-Control",
            "Content-Length",
            "Accept-Encoding",
            "Accept-Language",
        ];
        for name in names {
            let lower = name.to_ascii_lowercase();
            for spelling in [name, &lower, &name.to_ascii_uppercase()] {
                let there = HeaderName::from_bytes(spelling.as_bytes()).unwrap();
                assert_eq!(usual(spelling.as_bytes()), Some(there), "{spelling}");
            }
            // A hyphen and this differ by the bit that a letter's case does.
            let odd = name.replace('-', "\r");
            assert_eq!(usual(odd.as_bytes()).is_some(), odd == name, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_here_is_what_the_careful_reading_finds(
            lines in vec(line(), 0..8),
            end in "(\r\n|\r\n|\r\n|\n|)",
        ) {
            let text = lines.concat() + &end + "behind";
            prop_assert_eq!(here(text.as_bytes()), there(text.as_bytes()));
        }

        #[test]
        fn the_first_colon_is_found(
            bytes in vec(prop_oneof![Just(b':'), Just(b';'), any::<u8>()], 0..40),
        ) {
            prop_assert_eq!(colon(&bytes), bytes.iter().position(|byte| *byte == b':'));
        }
    }
}
