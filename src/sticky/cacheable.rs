//! What an answer's `Cache-Control` says about setting a cookie on it.

/// Whether the answer says `public`, `s-maxage` or `immutable`: shared caches would hand our
/// cookie to everyone, or would stop to cache the answer because of it.
pub fn is_publicly_cacheable<'a>(cache_control: impl IntoIterator<Item = &'a [u8]>) -> bool {
    has_any(cache_control, &["public", "s-maxage", "immutable"])
}

/// Whether the answer says itself how long it may be stored, or that it may not: then nothing is
/// added. Otherwise caches may guess (RFC 9111 §4.2.2), and `Cache-Control: private` is called
/// for. `expires`: it has an `Expires` field.
pub fn explicit_freshness<'a>(
    cache_control: impl IntoIterator<Item = &'a [u8]>,
    expires: bool,
) -> bool {
    expires || has_any(cache_control, &["max-age", "s-maxage", "no-store", "no-cache", "private"])
}

fn has_any<'a>(fields: impl IntoIterator<Item = &'a [u8]>, names: &[&str]) -> bool {
    fields.into_iter().flat_map(Directives).any(|directive| {
        let name = directive.split(|byte| *byte == b'=').next().unwrap_or(directive);
        names.iter().any(|other| name.trim_ascii().eq_ignore_ascii_case(other.as_bytes()))
    })
}

/// The parts of a field between commas outside of quotes (RFC 9110 §5.6.1 and §5.6.4).
struct Directives<'a>(&'a [u8]);

impl<'a> Iterator for Directives<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let mut quoted = false;
        let mut escaped = false;
        let end = self.0.iter().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        });
        let (directive, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        Some(directive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(fields: &[&str]) -> bool {
        is_publicly_cacheable(fields.iter().map(|field| field.as_bytes()))
    }

    fn explicit(fields: &[&str]) -> bool {
        explicit_freshness(fields.iter().map(|field| field.as_bytes()), false)
    }

    #[test]
    fn shared_caches_are_told_by_three_words() {
        for field in ["public", "max-age=60, Public", "s-maxage=5", "IMMUTABLE", "a=\"x,\",public"]
        {
            assert!(public(&[field]), "{field}");
        }
        for field in ["", "private", "max-age=60", "publicity", "x=\"public\"", "x=\"a, public\""] {
            assert!(!public(&[field]), "{field}");
        }
        assert!(public(&["max-age=60", "public"]));
        assert!(!public(&[]));
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_quoted_text() {
        assert!(!public(&[r#"x="\", public""#]));
        assert!(public(&[r#"x="\\", public"#]));
    }

    #[test]
    fn freshness_is_explicit_by_age_or_refusal() {
        for field in ["max-age=0", "no-store", "no-cache=\"set-cookie\"", "Private", "s-maxage=1"] {
            assert!(explicit(&[field]), "{field}");
        }
        for field in ["", "must-revalidate", "public", "x-max-age=1"] {
            assert!(!explicit(&[field]), "{field}");
        }
        assert!(explicit_freshness([], true));
    }
}
