//! A `Set-Cookie` field, rendered but for its value when the snapshot is compiled.

use crate::config::model::{SameSite, Sticky};

use super::seconds;
use super::token::Sealed;

/// The session cookie of a pool over one scheme.
#[derive(Debug, Clone)]
pub(super) struct SetCookie {
    /// `NAME=`.
    prefix: Box<str>,
    /// `; Path=/; …`.
    suffix: Box<str>,
}

impl SetCookie {
    /// Attributes that browsers accept together: `SameSite=None` and `Partitioned` need `Secure`,
    /// and what the file leaves open goes by the scheme.
    pub(super) fn new(sticky: &Sticky, https: bool) -> Self {
        let name = if https { &sticky.cookie_https } else { &sticky.cookie_http };
        let secure = sticky.secure.unwrap_or(https);
        let by_scheme = if https { SameSite::None } else { SameSite::Lax };
        let same_site = match sticky.same_site.unwrap_or(by_scheme) {
            SameSite::None if secure => "None",
            SameSite::None | SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
        };
        let mut suffix = format!("; Path={}", sticky.path);
        if let Some(domain) = &sticky.domain {
            suffix.push_str("; Domain=");
            suffix.push_str(domain);
        }
        if let Some(max_age) = sticky.max_age {
            suffix.push_str("; Max-Age=");
            suffix.push_str(&seconds(max_age).to_string());
        }
        if sticky.http_only {
            suffix.push_str("; HttpOnly");
        }
        if secure {
            suffix.push_str("; Secure");
        }
        suffix.push_str("; SameSite=");
        suffix.push_str(same_site);
        if sticky.partitioned && secure {
            suffix.push_str("; Partitioned");
        }
        Self { prefix: format!("{name}=").into(), suffix: suffix.into() }
    }

    /// The whole field value.
    pub(super) fn render(&self, sealed: &Sealed) -> Vec<u8> {
        let value = sealed.as_bytes();
        let mut field = Vec::with_capacity(self.prefix.len() + value.len() + self.suffix.len());
        field.extend_from_slice(self.prefix.as_bytes());
        field.extend_from_slice(value);
        field.extend_from_slice(self.suffix.as_bytes());
        field
    }

    pub(super) fn name(&self) -> &str {
        self.prefix.strip_suffix('=').unwrap_or(&self.prefix)
    }
}
