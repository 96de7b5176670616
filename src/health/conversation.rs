//! What was said in a probe, step by step, for an operator who wants to see it.

use std::fmt::Write as _;

use ::http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Bytes of a head and of a body that are shown.
const MAX_HEAD: usize = 8 << 10;
const MAX_BODY: usize = 1 << 10;
/// Parts of the names of fields whose values are nobody's business.
const SECRETS: &[&str] =
    &["auth", "cookie", "credential", "key", "password", "secret", "session", "token"];

/// One thing that happened in a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Milliseconds since the probe began.
    pub at_ms: f64,
    /// `name`, `connect`, `tls`, `certificate`, `sent`, `received`, `body` or `trailers`.
    pub step: String,
    /// What it was; a head has several lines, its secrets hidden.
    pub text: String,
}

/// Takes down what is said, where somebody wants to know it.
#[derive(Debug)]
pub(super) struct Notes(Option<(Instant, Vec<Step>)>);

impl Notes {
    /// For a check that nobody looks at.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Takes down from now on.
    pub(super) fn begin() -> Self {
        Self(Some((Instant::now(), Vec::new())))
    }

    /// Whether somebody wants to know.
    pub(super) fn wanted(&self) -> bool {
        self.0.is_some()
    }

    /// This happens now.
    pub(super) fn note(&mut self, step: &str, text: impl FnOnce() -> String) {
        self.note_at(Instant::now(), step, text);
    }

    /// This happened then.
    pub(super) fn note_at(&mut self, at: Instant, step: &str, text: impl FnOnce() -> String) {
        if let Some((begun, steps)) = &mut self.0 {
            let at_ms = at.saturating_duration_since(*begun).as_secs_f64() * 1e3;
            steps.push(Step { at_ms, step: step.to_owned(), text: text() });
        }
    }

    /// All of it.
    pub(super) fn into_steps(self) -> Vec<Step> {
        self.0.map(|(_, steps)| steps).unwrap_or_default()
    }
}

/// The head of a message as it was on the wire; all of it, where it is no head.
pub(super) fn head(bytes: &[u8]) -> String {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap_or(bytes.len()).min(MAX_HEAD);
    let mut text = String::new();
    let shown = bytes.get(..end).unwrap_or(bytes);
    for line in String::from_utf8_lossy(shown).split("\r\n") {
        // The first line has no name before its colon, if it has one.
        match line.split_once(':') {
            Some((name, _)) if !text.is_empty() && is_secret(name) => {
                let _ = writeln!(text, "{name}: (hidden)");
            }
            _ => text = text + line + "\n",
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Fields of a head that was never text.
pub(super) fn fields(first: String, headers: &HeaderMap) -> String {
    let mut text = first;
    for (name, value) in headers {
        let value = if is_secret(name.as_str()) {
            HeaderValue::from_static("(hidden)")
        } else {
            value.clone()
        };
        let _ = write!(text, "\n{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    text
}

/// The beginning of a body.
pub(super) fn body(bytes: &[u8]) -> String {
    let shown = bytes.get(..MAX_BODY).unwrap_or(bytes);
    let mut text = String::from_utf8_lossy(shown).trim_end().to_owned();
    if shown.len() < bytes.len() {
        let _ = write!(text, "\n(the first {MAX_BODY} of {} bytes read)", bytes.len());
    }
    text
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_head_are_hidden_and_its_body_is_not_in_it() {
        let wire = b"GET /token: HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\
                     X-Api-Key: y\r\n\r\nbody";
        let shown = "GET /token: HTTP/1.1\nHost: a\nAuthorization: (hidden)\nX-Api-Key: (hidden)";
        assert_eq!(head(wire), shown);
        assert_eq!(head(b"220 mail ESMTP\r\n"), "220 mail ESMTP");
        let mut headers = HeaderMap::new();
        headers.insert("set-cookie", HeaderValue::from_static("a=b"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        assert_eq!(
            fields("HTTP/2 200".to_owned(), &headers),
            "HTTP/2 200\nset-cookie: (hidden)\nte: trailers"
        );
    }

    #[test]
    fn a_long_body_is_cut_and_said_to_be() {
        assert_eq!(body(b"ok\n"), "ok");
        let long = body(&[b'x'; 2_000]);
        assert!(long.ends_with("x\n(the first 1024 of 2000 bytes read)"), "{long}");
    }

    #[test]
    fn nothing_is_taken_down_where_nobody_wants_to_know() {
        let mut notes = Notes::none();
        notes.note("connect", || panic!("not to be made"));
        assert_eq!(notes.into_steps(), []);
        let mut notes = Notes::begin();
        notes.note("connect", || "10.0.0.1:80 connected".to_owned());
        assert_eq!(notes.into_steps()[0].step, "connect");
    }
}
