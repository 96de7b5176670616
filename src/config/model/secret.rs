//! Secrets, which never show themselves.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// A 32-byte secret that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(pub [u8; 32]);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

/// What somebody who controls the process must say: text that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminSecret(String);

impl AdminSecret {
    /// Takes the text in, which validation has found to be long enough.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether this was given, in a time that tells nothing of how much of it was right.
    pub fn matches(&self, given: &[u8]) -> bool {
        // Hashes have one length, so that not even that of the secret shows.
        let (own, given) = (digest(&SHA256, self.0.as_bytes()), digest(&SHA256, given));
        verify_slices_are_equal(own.as_ref(), given.as_ref()).is_ok()
    }

    /// The text itself, to be sent to a peer over TLS or loopback and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AdminSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminSecret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_alone_and_never_shows() {
        let secret = AdminSecret::new("0123456789abcdef");
        assert!(secret.matches(b"0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef ", "0123456789abcdeF"] {
            assert!(!secret.matches(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{secret:?}"), "AdminSecret(redacted)");
    }
}
