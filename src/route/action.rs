//! Answers that are made here: redirects and fixed responses, compiled.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::config::model::{Redirect, Respond, TemplatePiece};

/// Why an answer cannot be compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not a status for this kind of answer.
    #[error("the status does not fit this kind of answer")]
    Status,
    /// A space, a control character or a byte above 126 in the text of a redirect.
    #[error("the target of a redirect has a character that must be encoded")]
    Target,
    /// Not a value that a header field can have.
    #[error("the content type is no header value")]
    ContentType,
}

/// A redirect, ready to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectPlan {
    status: StatusCode,
    pieces: Box<[TemplatePiece]>,
    literal_length: usize,
}

impl RedirectPlan {
    /// Compiles a route's redirect.
    pub fn new(redirect: &Redirect) -> Result<Self, PlanError> {
        let redirects = matches!(redirect.status, 301 | 302 | 303 | 307 | 308);
        let status = StatusCode::from_u16(redirect.status).ok().filter(|_| redirects);
        let status = status.ok_or(PlanError::Status)?;
        let mut literal_length = 0;
        for piece in &redirect.to {
            if let TemplatePiece::Literal(text) = piece {
                if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(PlanError::Target);
                }
                literal_length += text.len();
            }
        }
        Ok(Self { status, pieces: redirect.to.clone().into(), literal_length })
    }

    /// The 308 of a listener with `redirect_https`: same host and path, on this port.
    pub fn to_https(port: u16) -> Self {
        let mut pieces = vec![TemplatePiece::Literal("https://".to_owned()), TemplatePiece::Host];
        if port != 443 {
            pieces.push(TemplatePiece::Literal(format!(":{port}")));
        }
        pieces.push(TemplatePiece::Path);
        Self {
            status: StatusCode::PERMANENT_REDIRECT,
            pieces: pieces.into(),
            literal_length: "https://:65535".len(),
        }
    }

    /// 301, 302, 303, 307 or 308.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether the target names the host asked for, so that a request without one has none.
    pub fn needs_host(&self) -> bool {
        self.pieces.contains(&TemplatePiece::Host)
    }

    /// The `Location`. Its bytes are visible ASCII whatever the request held: the rest is
    /// percent-encoded, so that no request can end the field. A target that begins with the
    /// path stays on this host even where the path begins with two slashes (RFC 3986 §4.2).
    pub fn location(&self, scheme: &str, host: &str, path_and_query: &str) -> String {
        let length = self.literal_length + scheme.len() + host.len() + path_and_query.len();
        let mut target = String::with_capacity(length + 2);
        for piece in &self.pieces {
            match piece {
                TemplatePiece::Literal(text) => target.push_str(text),
                TemplatePiece::Scheme => push_visible(&mut target, scheme),
                TemplatePiece::Host => push_visible(&mut target, host),
                TemplatePiece::Path => push_path(&mut target, path_and_query),
            }
        }
        target
    }
}

fn push_path(target: &mut String, path: &str) {
    let rest = path.strip_prefix('/').unwrap_or(path);
    if target.is_empty() && rest.starts_with(['/', '\\']) {
        target.push_str("/.");
    }
    // Also where the path has none: else `{host}{path}` would let it, such as `@evil.example`, name
    // the host.
    target.push('/');
    push_visible(target, rest);
}

fn push_visible(target: &mut String, text: &str) {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        target.push_str(text);
        return;
    }
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            target.push(char::from(byte));
        } else {
            target.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                target.push(digit.to_ascii_uppercase());
            }
        }
    }
}

/// A fixed response, ready to be sent; its parts are cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RespondPlan {
    /// 200 to 599.
    pub status: StatusCode,
    /// Empty where the status allows no body.
    pub body: Bytes,
    /// None where the status allows no body.
    pub content_type: Option<HeaderValue>,
}

impl RespondPlan {
    /// Compiles a route's fixed response.
    pub fn new(respond: &Respond) -> Result<Self, PlanError> {
        let final_status = matches!(respond.status, 200..=599);
        let status = StatusCode::from_u16(respond.status).ok().filter(|_| final_status);
        let status = status.ok_or(PlanError::Status)?;
        let content_type = HeaderValue::from_str(&respond.content_type);
        let content_type = content_type.map_err(|_| PlanError::ContentType)?;
        // RFC 9110 §15.3.5, §15.3.6 and §15.4.5.
        if matches!(respond.status, 204 | 205 | 304) {
            return Ok(Self { status, body: Bytes::new(), content_type: None });
        }
        let body = Bytes::copy_from_slice(respond.body.as_bytes());
        Ok(Self { status, body, content_type: Some(content_type) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(to: Vec<TemplatePiece>) -> Result<RedirectPlan, PlanError> {
        RedirectPlan::new(&Redirect { to, status: 308 })
    }

    fn literal(text: &str) -> TemplatePiece {
        TemplatePiece::Literal(text.to_owned())
    }

    #[test]
    fn a_template_is_filled_in() {
        let pieces = vec![TemplatePiece::Scheme, literal("://new."), TemplatePiece::Host];
        let plan = plan([pieces, vec![TemplatePiece::Path]].concat()).unwrap();
        assert_eq!(plan.location("http", "a.example", "/x?y=z"), "http://new.a.example/x?y=z");
        assert!(plan.needs_host());
    }

    #[test]
    fn https_on_its_own_port_is_not_spelled_out() {
        let default = RedirectPlan::to_https(443);
        assert_eq!(default.location("http", "a", "/x"), "https://a/x");
        assert_eq!(default.status(), StatusCode::PERMANENT_REDIRECT);
        let other = RedirectPlan::to_https(8443);
        assert_eq!(other.location("http", "[::1]", "/"), "https://[::1]:8443/");
    }

    #[test]
    fn a_path_cannot_lead_to_another_host() {
        let bare = plan(vec![TemplatePiece::Path]).unwrap();
        assert_eq!(bare.location("http", "a", "//evil.example/x"), "/.//evil.example/x");
        assert_eq!(bare.location("http", "a", "/\\evil.example"), "/./\\evil.example");
        assert_eq!(bare.location("http", "a", "\\evil.example"), "/./\\evil.example");
        assert_eq!(bare.location("http", "a", "/fine"), "/fine");
        let host = plan(vec![literal("https://"), TemplatePiece::Host, TemplatePiece::Path]);
        assert_eq!(host.unwrap().location("http", "a", "@evil"), "https://a/@evil");
    }

    #[test]
    fn what_cannot_stand_in_a_target_is_refused() {
        for text in ["a\r\nb", "a b", "é", "\0"] {
            assert_eq!(plan(vec![literal(text)]), Err(PlanError::Target), "{text:?}");
        }
        let status = RedirectPlan::new(&Redirect { to: Vec::new(), status: 304 });
        assert_eq!(status, Err(PlanError::Status));
    }

    #[test]
    fn statuses_without_a_body_have_none() {
        let respond =
            |status| Respond { status, body: "x".to_owned(), content_type: "text/plain".into() };
        assert_eq!(RespondPlan::new(&respond(200)).unwrap().body, "x");
        let empty = RespondPlan::new(&respond(204)).unwrap();
        assert!(empty.body.is_empty() && empty.content_type.is_none());
        assert_eq!(RespondPlan::new(&respond(101)), Err(PlanError::Status));
        let crooked = Respond { content_type: "a\nb".into(), ..respond(200) };
        assert_eq!(RespondPlan::new(&crooked), Err(PlanError::ContentType));
    }

    proptest! {
        #[test]
        fn a_location_is_always_a_header_value(
            scheme in "\\PC{0,8}", host in "(\\PC|\r|\n){0,16}", path in "(\\PC|\r|\n){0,32}",
        ) {
            let location = RedirectPlan::to_https(1).location(&scheme, &host, &path);
            prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
