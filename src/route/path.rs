//! The form of a path in which routes compare it; what travels on is the path as it came.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Empty, or without its leading slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("the path has a percent sign without two hexadecimal digits")]
    InvalidEscape,
    /// `%00`.
    #[error("the path has an encoded NUL")]
    Nul,
    /// A control character, a space, `?`, `#`, or a byte above 126.
    #[error("the path has a character that must be encoded")]
    RawCharacter,
    /// `..` with nothing left to take away.
    #[error("the path climbs above its root")]
    AboveRoot,
}

/// Decodes escapes of unreserved characters, writes the others in upper case and takes out dot
/// segments however they are spelled (RFC 3986 §6.2.2 and §5.2.4). `//`, `%2F` and `;` stay.
/// Borrowed when nothing changes. Where RFC 3986 ignores a `..` at the root, we refuse: backends
/// do not agree on it.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(path.as_bytes())? {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path.as_bytes());
    let normal = remove_dot_segments(&decoded)?;
    Ok(Cow::Owned(normal))
}

/// Checks every byte, and whether the path is in normal form already.
fn is_normal(path: &[u8]) -> Result<bool, PathError> {
    let mut normal = true;
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'/' => normal &= !begins_with_dot_segment(tail),
            b'%' => {
                let [high, low, after @ ..] = tail else { return Err(PathError::InvalidEscape) };
                let value = escaped(*high, *low).ok_or(PathError::InvalidEscape)?;
                if value == 0 {
                    return Err(PathError::Nul);
                }
                let lower = high.is_ascii_lowercase() || low.is_ascii_lowercase();
                normal &= !lower && !is_unreserved(value);
                rest = after;
            }
            b'?' | b'#' | 0..=b' ' | 0x7f.. => return Err(PathError::RawCharacter),
            _ => {}
        }
    }
    Ok(normal)
}

fn begins_with_dot_segment(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

fn decode(path: &[u8]) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%'
            && let [high, low, after @ ..] = tail
        {
            rest = after;
            match escaped(*high, *low) {
                Some(value) if is_unreserved(value) => decoded.push(char::from(value)),
                _ => {
                    decoded.push('%');
                    decoded.push(char::from(high.to_ascii_uppercase()));
                    decoded.push(char::from(low.to_ascii_uppercase()));
                }
            }
        } else {
            decoded.push(char::from(*byte));
        }
    }
    decoded
}

fn remove_dot_segments(path: &str) -> Result<String, PathError> {
    let mut normal = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                let parent = normal.rfind('/').ok_or(PathError::AboveRoot)?;
                normal.truncate(parent);
            }
            _ => {
                normal.push('/');
                normal.push_str(segment);
                continue;
            }
        }
        // `/a/.` and `/a/b/..` are `/a/`: the name of a folder keeps its slash.
        if segments.peek().is_none() {
            normal.push('/');
        }
    }
    Ok(normal)
}

fn escaped(high: u8, low: u8) -> Option<u8> {
    Some(hex(high)? << 4 | hex(low)?)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_normal_path_is_borrowed() {
        for path in [
            "/",
            "//",
            "/a",
            "/a/",
            "/a//b",
            "/.well-known/x",
            "/...",
            "/..a",
            "/a.",
            "/.a.",
            "/a%2Fb",
            "/%25",
            "/a;b=c/d",
            "/..;/x",
            "/@:!$&'()*+,=",
            "/%E2%82%AC",
            "/a|b",
        ] {
            let same = matches!(normalise(path), Ok(Cow::Borrowed(normal)) if normal == path);
            assert!(same, "{path}");
        }
    }

    #[test]
    fn different_spellings_become_one() {
        for (path, normal) in [
            ("/%7Euser", "/~user"),
            ("/%61pi", "/api"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%2fb", "/a%2Fb"),
            ("/%252e%252e/", "/%252e%252e/"),
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../c", "/a/c"),
            ("/a/%2e%2E/c", "/c"),
            ("/a/.%2e/c", "/c"),
            ("/a/%2e/c", "/a/c"),
            ("//..", "/"),
            ("//../a", "/a"),
            ("/a//../b", "/a/b"),
            ("/a/b/c/../../d", "/a/d"),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn what_backends_would_read_differently_is_refused() {
        use PathError::{AboveRoot, InvalidEscape, NotAbsolute, Nul, RawCharacter};
        for (path, error) in [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("a/b", NotAbsolute),
            ("/%", InvalidEscape),
            ("/%4", InvalidEscape),
            ("/%zz", InvalidEscape),
            ("/%+1", InvalidEscape),
            ("/a%00", Nul),
            ("/a b", RawCharacter),
            ("/a\tb", RawCharacter),
            ("/a\r\nb", RawCharacter),
            ("/a\u{0}", RawCharacter),
            ("/a\u{7f}", RawCharacter),
            ("/é", RawCharacter),
            ("/a#b", RawCharacter),
            ("/a?b", RawCharacter),
            ("/..", AboveRoot),
            ("/../a", AboveRoot),
            ("/%2e%2e/a", AboveRoot),
            ("/a/../../b", AboveRoot),
            ("/./..", AboveRoot),
        ] {
            assert_eq!(normalise(path), Err(error), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_normal(path in "(/|\\.|%2e|%2E|%2f|%41|%c3|;|a|B){0,24}") {
            let path = format!("/{path}");
            if let Ok(normal) = normalise(&path) {
                let again = normalise(&normal);
                prop_assert!(matches!(again, Ok(Cow::Borrowed(same)) if same == &*normal));
                prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn any_text_is_normalised_or_refused(path in "\\PC{0,32}") {
            if let Ok(normal) = normalise(&path) {
                prop_assert!(normal.starts_with('/') && normal.is_ascii());
            }
        }
    }
}
