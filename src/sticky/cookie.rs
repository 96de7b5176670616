//! `Cookie` fields read without allocating, and rewritten without our own cookies.

use std::sync::Arc;

/// What every cookie of ours begins with, whatever its scope.
const PREFIXES: [&[u8]; 3] = [b"ostler-", b"__Host-ostler-", b"__Secure-ostler-"];

/// The values of every cookie of this name in one field, in the order they came.
///
/// As lenient as servers have to be (RFC 6265 §4.2 and its successor): any blanks around `;` and
/// `=`, repeated names, empty values; quotes belong to the value.
pub fn values<'a>(field: &'a [u8], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    pairs(field).filter(move |(other, _)| *other == name).map(|(_, value)| value)
}

/// Names and values of one field. A pair without `=` has no name and is left out.
pub(super) fn pairs(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    pieces(field).filter_map(|pair| {
        let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
        Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
    })
}

/// What stands between semicolons.
fn pieces(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(field);
    std::iter::from_fn(move || {
        let field = rest?;
        let Some(end) = memchr::memchr(b';', field) else { return rest.take() };
        rest = field.get(end + 1..);
        field.get(..end)
    })
}

/// Whether a cookie of this name is ours to read and take out: by its prefix, or because some
/// pool's `cookie` key names it.
pub fn is_ours(name: &[u8], configured: &[Arc<str>]) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || configured.iter().any(|other| other.as_bytes() == name)
}

/// A `Cookie` field without our cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stripped {
    /// There was none of ours: the field as it is.
    Unchanged,
    /// There was no other: no field at all.
    Empty,
    /// The others, byte for byte, in their order.
    Rewritten(Vec<u8>),
}

/// Takes our cookies out of one field.
pub fn strip(field: &[u8], is_ours: impl Fn(&[u8]) -> bool) -> Stripped {
    let ours = |pair: &[u8]| {
        // A pair without `=` may be taken for a name by the backend.
        let name = memchr::memchr(b'=', pair).and_then(|end| pair.get(..end)).unwrap_or(pair);
        is_ours(name.trim_ascii())
    };
    let (mut any_of_ours, mut any_other) = (false, false);
    for pair in pieces(field) {
        if ours(pair) {
            any_of_ours = true;
        } else {
            any_other |= !pair.trim_ascii().is_empty();
        }
    }
    match (any_of_ours, any_other) {
        (false, _) => return Stripped::Unchanged,
        (true, false) => return Stripped::Empty,
        (true, true) => {}
    }
    let mut rest = Vec::with_capacity(field.len());
    let mut begun = false;
    for pair in pieces(field).filter(|pair| !ours(pair)) {
        if begun {
            rest.push(b';');
            rest.extend_from_slice(pair);
        } else {
            // Its blank separated it from a pair before it that is gone.
            rest.extend_from_slice(pair.trim_ascii_start());
        }
        begun = true;
    }
    Stripped::Rewritten(rest)
}

/// The fields of one request as one: HTTP/2 lets a client send a field for each cookie (RFC 9113
/// §8.2.3), and a backend over HTTP/1 must see one.
pub fn join<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut joined = Vec::new();
    for field in fields {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(field);
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all<'a>(field: &'a str, name: &str) -> Vec<&'a str> {
        let found = values(field.as_bytes(), name.as_bytes());
        found.map(|value| std::str::from_utf8(value).unwrap()).collect()
    }

    fn stripped(field: &str) -> Stripped {
        strip(field.as_bytes(), |name| is_ours(name, &[Arc::from("mine")]))
    }

    fn rewritten(field: &str) -> Stripped {
        Stripped::Rewritten(field.as_bytes().to_vec())
    }

    #[test]
    fn values_are_found_however_they_are_spelled() {
        assert_eq!(all("a=1; b=2; a=3", "a"), ["1", "3"]);
        assert_eq!(all("a=1;b=2", "b"), ["2"]);
        assert_eq!(all("  b = 2 ;", "b"), ["2"]);
        assert_eq!(all("a=; b", "a"), [""]);
        assert_eq!(all("a=; b", "b"), Vec::<&str>::new());
        assert_eq!(all("a=\"x y\"; b==", "a"), ["\"x y\""]);
        assert_eq!(all("b==", "b"), ["="]);
        assert_eq!(all("ab=1; A=2; xa=3", "a"), Vec::<&str>::new());
        assert_eq!(all("", "a"), Vec::<&str>::new());
        assert_eq!(all(";;=;;=x", ""), ["", "x"]);
    }

    #[test]
    fn ours_are_told_by_prefix_or_by_name() {
        for name in ["ostler-web", "__Host-ostler-web", "__Secure-ostler-x", "mine"] {
            assert!(is_ours(name.as_bytes(), &[Arc::from("mine")]), "{name}");
        }
        for name in ["ostler", "xostler-web", "__Host-other", "mine2", ""] {
            assert!(!is_ours(name.as_bytes(), &[Arc::from("mine")]), "{name}");
        }
    }

    #[test]
    fn other_cookies_stay_byte_for_byte() {
        assert_eq!(stripped("a=1; b=2"), Stripped::Unchanged);
        assert_eq!(stripped(""), Stripped::Unchanged);
        assert_eq!(stripped("ostler-web=1"), Stripped::Empty);
        assert_eq!(stripped("ostler-web=1; mine=2;"), Stripped::Empty);
        assert_eq!(stripped("ostler-web"), Stripped::Empty);
        assert_eq!(stripped("ostler-web=1; a=\"1\""), rewritten("a=\"1\""));
        assert_eq!(stripped("a=1; __Host-ostler-web=1"), rewritten("a=1"));
        assert_eq!(stripped("a=1; ostler-web=1; b=2"), rewritten("a=1; b=2"));
        assert_eq!(stripped("a=1;mine=x;b=2;a=3"), rewritten("a=1;b=2;a=3"));
        assert_eq!(stripped("a==1 ; mine=x;  b=\u{e9}"), rewritten("a==1 ;  b=\u{e9}"));
    }

    #[test]
    fn crumbs_become_one_field() {
        assert_eq!(join([&b"a=1"[..], b"b=2; c=3", b"d"]), b"a=1; b=2; c=3; d");
        assert_eq!(join([]), b"");
    }

    proptest! {
        #[test]
        fn stripping_leaves_the_others_and_none_of_ours(
            cookies in proptest::collection::vec(
                ("(a|b|ostler-x|__Host-ostler-y|mine)", "[!-:<-~]{0,8}"), 0..8,
            ),
            separator in "(;|; |;  )",
        ) {
            let ours = |name: &str| is_ours(name.as_bytes(), &[Arc::from("mine")]);
            let write = |cookies: &[(String, String)]| {
                let pairs = cookies.iter().map(|(name, value)| format!("{name}={value}"));
                pairs.collect::<Vec<_>>().join(&separator)
            };
            let others: Vec<_> =
                cookies.iter().filter(|(name, _)| !ours(name)).cloned().collect();
            let expected = if others.len() == cookies.len() {
                Stripped::Unchanged
            } else if others.is_empty() {
                Stripped::Empty
            } else {
                rewritten(&write(&others))
            };
            prop_assert_eq!(stripped(&write(&cookies)), expected);
        }

        #[test]
        fn any_bytes_are_read(field in proptest::collection::vec(any::<u8>(), 0..64)) {
            let stripped = strip(&field, |name| name.starts_with(b"a"));
            if let Stripped::Rewritten(rest) = stripped {
                prop_assert!(rest.len() < field.len());
                let pairs = rest.split(|byte| *byte == b';');
                prop_assert!(pairs.into_iter().all(|pair| !pair.trim_ascii().starts_with(b"a")));
            }
        }
    }
}
