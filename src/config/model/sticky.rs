//! Session keeping, as it holds.

use std::sync::Arc;
use std::time::Duration;

use super::Located;

/// Session keeping of a pool by our own cookie.
#[derive(Debug, Clone)]
pub struct Sticky {
    /// Where a binding holds; the pool's name unless the file says otherwise.
    pub scope: Located<Arc<str>>,
    /// Cookie name when the client came by https.
    pub cookie_https: Arc<str>,
    /// Cookie name when the client came by http.
    pub cookie_http: Arc<str>,
    /// Attribute.
    pub path: String,
    /// Attribute; none by default.
    pub domain: Option<String>,
    /// Attribute; `None` here means by scheme: None over https, Lax over http.
    pub same_site: Option<SameSite>,
    /// Attribute; `None`: by the client's scheme.
    pub secure: Option<bool>,
    /// Attribute.
    pub http_only: bool,
    /// Attribute.
    pub partitioned: bool,
    /// Attribute, sliding; none: a browser session.
    pub max_age: Option<Duration>,
    /// Unused for so long: a new session.
    pub idle: Duration,
    /// Absolute end of a session.
    pub lifetime: Option<Duration>,
    /// What happens on publicly cacheable answers.
    pub on_cacheable: OnCacheable,
    /// Whether the backend sees our cookies.
    pub pass: bool,
    /// This pool's own keys in place of `[sessions] keys`.
    pub keys: Option<Vec<SecretKey>>,
}

/// The `SameSite` attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// `None`, which browsers accept with `Secure` only.
    None,
    /// `Lax`.
    Lax,
    /// `Strict`.
    Strict,
}

/// Whether a cookie goes out on publicly cacheable answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCacheable {
    /// No cookie is set or refreshed there.
    Skip,
    /// Always set, always with `Cache-Control: private`.
    Private,
}

/// A 32-byte secret that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(pub [u8; 32]);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}
