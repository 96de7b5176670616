//! The authority of a request, read strictly, and the form of a host that routes compare.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest host without its final dot (RFC 1035 §2.3.4, in text form).
const MAX_HOST: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Host and port of a request, as spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name (perhaps with its final dot), an IPv4 address, or an IPv6 address in brackets.
    pub host: &'a str,
    /// Where it was given.
    pub port: Option<u16>,
}

/// Why an authority is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Nothing, or nothing before the port.
    #[error("the host is empty")]
    EmptyHost,
    /// More than 253 bytes, or a label of more than 63.
    #[error("the host, or one of its labels, is too long")]
    TooLong,
    /// Two dots in a row, a leading dot, or a label of nothing but hyphens.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// Not a letter, digit, hyphen, underscore or dot.
    #[error("the host has a character that no host name has")]
    Character,
    /// A number in the place of the last label, but no IPv4 address.
    #[error("the host looks like an IPv4 address but is none")]
    Ipv4,
    /// Not an IPv6 address in brackets.
    #[error("the host is no IPv6 address in brackets")]
    Ipv6,
    /// Empty, zero, above 65535, or not of one to five digits.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

/// Reads the value of `Host` or `:authority` (RFC 9110 §7.2, RFC 3986 §3.2) without userinfo.
///
/// Stricter than RFC 3986 where nobody's host needs the freedom and parsers disagree about it: no
/// escapes, no sub-delimiters, no empty port, no `IPvFuture`, no IPv6 zone.
pub fn parse_authority(authority: &str) -> Result<Authority<'_>, AuthorityError> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or(AuthorityError::Ipv6)?;
        let (host, rest) = authority.split_at(end + 1);
        ipv6(host).ok_or(AuthorityError::Ipv6)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if rest.is_empty() => None,
            None => return Err(AuthorityError::Ipv6),
        };
        return Ok(Authority { host, port });
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (authority, None),
    };
    check_name(host)?;
    Ok(Authority { host, port })
}

/// The host in lower case without its final dot, an IPv6 address in its one canonical spelling
/// (RFC 5952), as the model has it; the buffer is used only when something changes.
/// A host longer than the buffer, which `parse_authority` never lets through, keeps its case.
pub fn fold_host<'a>(host: &'a str, buffer: &'a mut [u8; 256]) -> &'a str {
    if let Some(address) = ipv6(host) {
        let mut rest = buffer.as_mut_slice();
        let written = write!(rest, "[{address}]");
        let length = 256 - rest.len();
        let canonical = buffer.get(..length).and_then(|text| std::str::from_utf8(text).ok());
        return canonical.filter(|_| written.is_ok()).unwrap_or(host);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host;
    }
    let Some(folded) = buffer.get_mut(..host.len()) else { return host };
    folded.copy_from_slice(host.as_bytes());
    folded.make_ascii_lowercase();
    std::str::from_utf8(folded).unwrap_or(host)
}

/// The address in brackets.
fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn parse_port(port: &str) -> Result<u16, AuthorityError> {
    // `u16::from_str` would take a plus sign and any number of leading zeros.
    let digits = matches!(port.len(), 1..=5) && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { port.parse().unwrap_or(0) } else { 0 };
    if number == 0 { Err(AuthorityError::Port) } else { Ok(number) }
}

fn check_name(host: &str) -> Result<(), AuthorityError> {
    if host.is_empty() {
        return Err(AuthorityError::EmptyHost);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > MAX_HOST {
        return Err(AuthorityError::TooLong);
    }
    let mut last_is_number = false;
    for label in name.split('.') {
        if label.len() > MAX_LABEL {
            return Err(AuthorityError::TooLong);
        }
        let mut hyphens_only = true;
        let mut digits_only = true;
        for byte in label.bytes() {
            match byte {
                b'0'..=b'9' => hyphens_only = false,
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                    hyphens_only = false;
                    digits_only = false;
                }
                b'-' => digits_only = false,
                _ => return Err(AuthorityError::Character),
            }
        }
        if hyphens_only {
            return Err(AuthorityError::EmptyLabel);
        }
        last_is_number = digits_only;
    }
    if last_is_number && name.parse::<Ipv4Addr>().is_err() {
        return Err(AuthorityError::Ipv4);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (authority, host, port) in [
            ("a", "a", None),
            ("a.", "a.", None),
            ("A.Example.com:8080", "A.Example.com", Some(8080)),
            ("a:1", "a", Some(1)),
            ("a:65535", "a", Some(65535)),
            ("a:00080", "a", Some(80)),
            ("a_b.-c.d-", "a_b.-c.d-", None),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("1a", "1a", None),
            ("1.2.3.4", "1.2.3.4", None),
            ("1.2.3.4:80", "1.2.3.4", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:443", "[::1]", Some(443)),
            ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", None),
        ] {
            assert_eq!(parse_authority(authority), Ok(Authority { host, port }), "{authority}");
        }
    }

    #[test]
    fn hostile_authorities_are_refused() {
        use AuthorityError::{Character, EmptyHost, EmptyLabel, Ipv4, Ipv6, Port};
        for (authority, error) in [
            ("", EmptyHost),
            (":80", EmptyHost),
            (".", EmptyLabel),
            ("..", EmptyLabel),
            ("a..b", EmptyLabel),
            (".a", EmptyLabel),
            ("a..", EmptyLabel),
            ("-", EmptyLabel),
            ("a.--", EmptyLabel),
            ("a:", Port),
            ("a:0", Port),
            ("a:65536", Port),
            ("a:000080", Port),
            ("a:+80", Port),
            ("a:-1", Port),
            ("a:x", Port),
            ("a:80x", Port),
            ("a:80:80", Port),
            ("::1", Port),
            ("user@a", Character),
            ("user:pw@a", Port),
            ("a b", Character),
            (" a", Character),
            ("a\t", Character),
            ("a\r\nb", Character),
            ("a\0", Character),
            ("a/b", Character),
            ("a\\b", Character),
            ("a?b", Character),
            ("a#b", Character),
            ("a,b", Character),
            ("%61", Character),
            ("é", Character),
            ("*", Character),
            ("1.2.3", Ipv4),
            ("1", Ipv4),
            ("1.2.3.256", Ipv4),
            ("1.2.3.04", Ipv4),
            ("1.2.3.4.5", Ipv4),
            ("[::1", Ipv6),
            ("[]", Ipv6),
            ("[1.2.3.4]", Ipv6),
            ("[::1%25eth0]", Ipv6),
            ("[v1.a]", Ipv6),
            ("[::1]a", Ipv6),
            ("[::1]80", Ipv6),
            ("[::1]:", Port),
            ("[::1]:80:80", Port),
            ("[[::1]]", Ipv6),
        ] {
            assert_eq!(parse_authority(authority), Err(error), "{authority:?}");
        }
    }

    #[test]
    fn lengths_have_limits() {
        let label = "a".repeat(63);
        assert!(parse_authority(&label).is_ok());
        assert_eq!(parse_authority(&format!("{label}a")), Err(AuthorityError::TooLong));
        let longest = [&*label, &*label, &*label, &*"a".repeat(61)].join(".");
        assert_eq!(longest.len(), 253);
        assert!(parse_authority(&longest).is_ok());
        assert!(parse_authority(&format!("{longest}.")).is_ok());
        assert_eq!(parse_authority(&format!("{longest}a")), Err(AuthorityError::TooLong));
    }

    #[test]
    fn folding_lowers_letters_and_drops_the_final_dot() {
        let mut buffer = [0; 256];
        assert_eq!(fold_host("WWW.Example.COM.", &mut buffer), "www.example.com");
        assert_eq!(fold_host("already.lower", &mut buffer), "already.lower");
        assert_eq!(fold_host("[2001:DB8::1]", &mut buffer), "[2001:db8::1]");
        assert_eq!(fold_host("[0:0:0:0:0:0:0:1]", &mut buffer), "[::1]");
        assert_eq!(fold_host("[::FFFF:1.2.3.4]", &mut buffer), "[::ffff:1.2.3.4]");
        let too_long = "A".repeat(300);
        assert_eq!(fold_host(&too_long, &mut buffer), too_long);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_made_of_what_was_given(text in "[a-zA-Z0-9.:\\[\\]@%/_ -]{0,20}") {
            if let Ok(Authority { host, port }) = parse_authority(&text) {
                prop_assert!(text.starts_with(host));
                prop_assert_eq!(port.is_some(), text.len() > host.len());
                let mut buffer = [0; 256];
                prop_assert!(!fold_host(host, &mut buffer).ends_with('.'));
            }
        }
    }
}
